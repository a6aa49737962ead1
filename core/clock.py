"""Time: now in UTC to the millisecond, and days in India."""

import datetime as dt
from zoneinfo import ZoneInfo

IST = ZoneInfo("Asia/Kolkata")


def now() -> dt.datetime:
    """The current moment, aware, in UTC, cut to the millisecond that MongoDB keeps."""
    moment = dt.datetime.now(dt.UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def after(seconds: float, *, since: dt.datetime | None = None) -> dt.datetime:
    """The moment `seconds` after `since` (default: now)."""
    return (since or now()) + dt.timedelta(seconds=seconds)


def iso(moment: dt.datetime) -> str:
    """ISO 8601 in UTC with milliseconds and a `Z`: `2026-11-23T04:05:06.789Z`."""
    return moment.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def ist_day_start(day: dt.date) -> dt.datetime:
    """The UTC moment at which `day` begins in Asia/Kolkata."""
    return dt.datetime.combine(day, dt.time(), IST).astimezone(dt.UTC)


def ist_day_end(day: dt.date) -> dt.datetime:
    """The UTC moment at which `day` is over in Asia/Kolkata (the start of the next day)."""
    return ist_day_start(day + dt.timedelta(days=1))


def ist_date(moment: dt.datetime) -> dt.date:
    """The calendar day of `moment` in Asia/Kolkata."""
    return moment.astimezone(IST).date()


def ist_text(moment: dt.datetime) -> str:
    """A time of day in India, as people say it: `14:05 (IST) on 2026-11-24`."""
    return moment.astimezone(IST).strftime("%H:%M (IST) on %Y-%m-%d")
