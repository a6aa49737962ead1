"""Calling hours: when a number may be called, by purpose, weekday, holiday and time zone.

Three things narrow each other: the hard floor of a purpose, which no setting widens; the platform's
hours, which admins change in versions; and the window of a campaign. The first two are hours where
the person who is called lives, the last one has a time zone of its own. All are half-open, and a
call may begin only if its ring is over before they end. `CALLING_HOURS=off` (never in production)
leaves only the campaign's own window.
"""

import datetime as dt
import functools
import logging
import re
import time
import zoneinfo
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NotRequired, TypedDict, cast, get_args

from core import clock, config, database
from core.database import Document, db
from core.errors import Problem, invalid

log = logging.getLogger(__name__)

# --- vocabulary ---------------------------------------------------------------------------------

Purpose = Literal["promotional", "service", "transactional", "collection"]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
PURPOSES: Final[tuple[Purpose, ...]] = get_args(Purpose)
WEEKDAYS: Final[tuple[Weekday, ...]] = get_args(Weekday)
HOME_TIME_ZONE: Final = "Asia/Kolkata"

# Before a call is answered it rings for as long, so it may begin only that long before the end.
RING: Final = dt.timedelta(seconds=60)
_DAYS_AHEAD_MAX: Final = 400
_ALWAYS: Final = dt.timedelta(days=8)  # what is open so long has no end
_CACHED_SECONDS: Final = 1.0


class Hours(TypedDict):
    """Hours of a day, `HH:MM`, the end not included and at most `24:00`."""

    start: str
    end: str


class Window(TypedDict):
    """The hours and weekdays that a user allows for a campaign, in a time zone of its own."""

    days: list[Weekday]
    start: str
    end: str
    timezone: str


class Rules(TypedDict):
    """What holds for one purpose: frozen in a campaign at its start, and part of every result."""

    purpose: Purpose
    version: int  # of the platform's hours; 0 are the built-in ones
    hours: Hours | None  # None: CALLING_HOURS=off
    timezone: str
    holidays: list[str]  # YYYY-MM-DD


class Holiday(TypedDict):
    """A day on which nobody is called for these purposes."""

    date: str
    name: str
    purposes: list[Purpose]


class PlatformHours(TypedDict):
    """A version of the platform's hours, a document of `calling_rules`; the highest one holds."""

    _id: int
    hours: dict[Purpose, Hours]
    holidays: list[Holiday]
    note: str
    created_at: dt.datetime
    created_by: str
    is_built_in: NotRequired[bool]


# What India's rules and practice know: promotion by preference bands, recovery by the RBI's code.
DEFAULT_HOURS: Final[dict[Purpose, Hours]] = {
    "promotional": {"start": "10:00", "end": "21:00"},
    "service": {"start": "09:00", "end": "21:00"},
    "transactional": {"start": "09:00", "end": "21:00"},
    "collection": {"start": "08:00", "end": "19:00"},
}
# The hard floor: no admin, no user and no document in the database makes a call outside of it.
WIDEST_HOURS: Final[dict[Purpose, Hours]] = {
    "promotional": {"start": "09:00", "end": "21:00"},
    "service": {"start": "08:00", "end": "21:00"},
    "transactional": {"start": "08:00", "end": "21:00"},
    "collection": {"start": "08:00", "end": "19:00"},
}

Reason = Literal[
    "open",
    "outside_hours",  # of the platform, for this purpose
    "holiday",
    "outside_window",  # of the campaign
    "invalid_window",  # nobody can say when it is open, so it never is
    "invalid_rules",
    "invalid_timezone",
    "never_open",  # the window and the hours have nothing in common
]


@dataclass(frozen=True, slots=True)
class Opening:
    """Whether a call may begin now, why not, and when that changes (None: not by itself)."""

    is_open: bool
    changes_at: dt.datetime | None
    reason: Reason


class StaleRules(Problem):
    """The calling rules were changed meanwhile: read them again, then decide."""

    code, status, title = "stale_rules", 409, "Stale rules"


# --- rules, without a database ------------------------------------------------------------------

Span = tuple[dt.datetime, dt.datetime]


def opening(
    rules: Mapping[str, Any],
    window: Mapping[str, Any] | None,
    at: dt.datetime,
    *,
    timezone: str | None = None,
) -> Opening:
    """Whether a call may begin at the moment `at`, and when that changes.

    `rules` are those of `freeze_rules` or `in_force`, `timezone` is where the person lives who is
    called (default: India). What cannot be understood is closed, with `changes_at` None and a reason
    that begins with `invalid_`; nothing is raised.
    """
    try:
        outer = _Outer.of(rules, timezone)
        inner = None if window is None else _Inner.of(window)
    except _Nonsense as nonsense:
        return Opening(False, None, nonsense.reason)
    if outer.hours is None and inner is None:
        return Opening(True, None, "open")
    for start, end in _joined(_spans(outer, inner, at)):
        last = end - RING
        if start <= at < last:
            return Opening(True, None if end - start > _ALWAYS else last, "open")
        if start > at and start < last:
            return Opening(False, start, _reason(outer, inner, at))
    return Opening(False, None, "never_open")


def check_window(window: Mapping[str, Any], *, field: str = "window") -> None:
    """Raise InvalidRequest for a window that would never be open, so that it is not stored."""
    try:
        inner = _Inner.of(window)
    except _Nonsense as nonsense:
        raise invalid(field, nonsense.detail) from None
    if inner.end - inner.start <= RING:
        raise invalid(
            field, f"must be longer than the {RING.seconds} seconds for which a call rings"
        )


def check_time_zone(name: str) -> bool:
    """Whether this is the name of a time zone, such as `Asia/Kolkata`."""
    return _zone(name) is not None


class _Nonsense(Exception):
    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class _Outer:
    """The platform's hours where the person lives who is called; None: at any hour."""

    hours: tuple[dt.timedelta, dt.timedelta] | None
    zone: zoneinfo.ZoneInfo
    holidays: frozenset[dt.date]

    @classmethod
    def of(cls, rules: Mapping[str, Any], timezone: str | None) -> "_Outer":
        zone = _zone(timezone or HOME_TIME_ZONE)
        if zone is None:
            raise _Nonsense("invalid_timezone", "This is no time zone.")
        try:
            floor = WIDEST_HOURS[rules["purpose"]]
            days = frozenset(map(dt.date.fromisoformat, rules["holidays"]))
            given = rules["hours"]
            hours = None if given is None else _narrowed(_times(given), _times(floor))
        except (KeyError, TypeError, ValueError):
            raise _Nonsense("invalid_rules", "The calling rules cannot be read.") from None
        return cls(hours, zone, days if given is not None else frozenset())

    def span(self, day: dt.date) -> Span | None:
        if self.hours is None:
            return _span(day, (dt.timedelta(0), dt.timedelta(days=1)), self.zone)
        return None if day in self.holidays else _span(day, self.hours, self.zone)


@dataclass(frozen=True, slots=True)
class _Inner:
    """A campaign's own window."""

    days: frozenset[int]
    start: dt.timedelta
    end: dt.timedelta
    zone: zoneinfo.ZoneInfo

    @classmethod
    def of(cls, window: Mapping[str, Any]) -> "_Inner":
        zone = _zone(window.get("timezone") or HOME_TIME_ZONE)
        if zone is None:
            raise _Nonsense("invalid_window", "timezone must be such as Asia/Kolkata")
        days = window.get("days")
        if not isinstance(days, list) or not days or not set(days) <= set(WEEKDAYS):
            raise _Nonsense("invalid_window", f"days must name some of {', '.join(WEEKDAYS)}")
        try:
            start, end = _times(window)
        except (KeyError, TypeError, ValueError):
            raise _Nonsense(
                "invalid_window", "start and end must be HH:MM, the start before the end"
            ) from None
        return cls(frozenset(WEEKDAYS.index(day) for day in days), start, end, zone)

    def span(self, day: dt.date) -> Span | None:
        if day.weekday() not in self.days:
            return None
        return _span(day, (self.start, self.end), self.zone)


_TIME: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")


def _times(hours: Mapping[str, Any]) -> tuple[dt.timedelta, dt.timedelta]:
    """Start and end since midnight; ValueError unless the start is before the end."""
    start = _time(hours["start"])
    end = dt.timedelta(days=1) if hours["end"] == "24:00" else _time(hours["end"])
    if start >= end:
        raise ValueError("the start must be before the end")
    return start, end


def _time(text: str) -> dt.timedelta:
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError("a time of day is HH:MM")
    return dt.timedelta(hours=int(found[1]), minutes=int(found[2]))


def _narrowed(
    hours: tuple[dt.timedelta, dt.timedelta], floor: tuple[dt.timedelta, dt.timedelta]
) -> tuple[dt.timedelta, dt.timedelta]:
    """What is common to both; ValueError when nothing is."""
    start, end = max(hours[0], floor[0]), min(hours[1], floor[1])
    if start >= end:
        raise ValueError("nothing of these hours is allowed")
    return start, end


def _zone(name: object) -> zoneinfo.ZoneInfo | None:
    try:
        return zoneinfo.ZoneInfo(name) if isinstance(name, str) else None
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return None


@functools.lru_cache(maxsize=4_096)
def _span(
    day: dt.date, hours: tuple[dt.timedelta, dt.timedelta], zone: zoneinfo.ZoneInfo
) -> Span | None:
    """The hours of this day in UTC. Where a clock is set back or forward the narrower reading holds."""
    midnight = dt.datetime.combine(day, dt.time())
    start = max(_utc_readings(midnight + hours[0], zone))
    end = min(_utc_readings(midnight + hours[1], zone))
    return (start, end) if start < end else None


def _utc_readings(local: dt.datetime, zone: zoneinfo.ZoneInfo) -> list[dt.datetime]:
    return [local.replace(tzinfo=zone, fold=fold).astimezone(dt.UTC) for fold in (0, 1)]


def _spans(outer: _Outer, inner: _Inner | None, at: dt.datetime) -> Iterator[Span]:
    """What is common to both, in order, from the day before `at` on."""
    for day in _days_from(at, outer.zone):
        span = outer.span(day)
        if span is None:
            continue
        if inner is None:
            yield span
            continue
        first = span[0].astimezone(inner.zone).date()
        for offset in range(-1, 3):
            other = inner.span(first + dt.timedelta(days=offset))
            if other is not None and (start := max(span[0], other[0])) < (
                end := min(span[1], other[1])
            ):
                yield start, end


def _days_from(at: dt.datetime, zone: zoneinfo.ZoneInfo) -> Iterator[dt.date]:
    first = at.astimezone(zone).date()
    for offset in range(-1, _DAYS_AHEAD_MAX):
        yield first + dt.timedelta(days=offset)


def _joined(spans: Iterable[Span]) -> Iterator[Span]:
    """Spans that touch or overlap, as one: no gap for the ring at midnight."""
    current: Span | None = None
    for span in spans:
        if current is not None and span[0] <= current[1]:
            current = (current[0], max(current[1], span[1]))
            if current[1] - current[0] > _ALWAYS:
                break
            continue
        if current is not None:
            yield current
        current = span
    if current is not None:
        yield current


def _reason(outer: _Outer, inner: _Inner | None, at: dt.datetime) -> Reason:
    """Which of the rules is the first that is shut."""
    day = at.astimezone(outer.zone).date()
    if outer.hours is not None and day in outer.holidays:
        return "holiday"
    span = outer.span(day)
    if span is None or not span[0] <= at < span[1] - RING:
        return "outside_hours" if outer.hours is not None else "outside_window"
    return "outside_window"


# --- verbs --------------------------------------------------------------------------------------

_current: tuple[float, str, PlatformHours] | None = None


async def get_platform_hours() -> PlatformHours:
    """The platform's hours and holidays as they are now: the newest version, or the built-in ones."""
    found = await db.calling_rules.find_one({}, sort=[("_id", -1)])
    return cast(PlatformHours, found) if found is not None else _built_in()


async def list_platform_hours(*, limit: int, before: int | None = None) -> list[PlatformHours]:
    """The versions, newest first, those before the version `before`."""
    where = {} if before is None else {"_id": {"$lt": before}}
    found = await db.calling_rules.find(where, sort=[("_id", -1)], limit=limit).to_list(None)
    return cast(list[PlatformHours], found)


async def create_platform_hours(
    *,
    hours: Mapping[Purpose, Hours],
    holidays: Iterable[Holiday],
    note: str,
    based_on: int,
    by: str,
) -> PlatformHours:
    """Put new hours in force, in every process within about a second; purposes that are not named
    keep theirs. Running campaigns are narrowed by them, never widened (`in_force`).

    Raises InvalidRequest for hours that are wider than the floor or that cannot be read, and
    StaleRules when `based_on` is not the version that holds.
    """
    before = await get_platform_hours()
    if before["_id"] != based_on:
        raise _stale(before["_id"])
    for purpose, given in hours.items():
        _check_hours(purpose, given)
    version: PlatformHours = {
        "_id": based_on + 1,
        "hours": {**before["hours"], **hours},
        "holidays": sorted(holidays, key=lambda day: day["date"]),
        "note": note,
        "created_at": clock.now(),
        "created_by": by,
    }
    try:
        await db.calling_rules.insert_one(cast(Document, version))
    except database.DuplicateKey:
        raise _stale(based_on + 1) from None
    log.info("calling rules: version %d, by %s", version["_id"], by)
    _forget()
    return version


async def freeze_rules(purpose: Purpose) -> Rules:
    """The rules of a purpose as they are now, for a campaign that starts."""
    return _rules_of(await _cached_platform_hours(), purpose)


async def in_force(purpose: Purpose, frozen: Mapping[str, Any] | None = None) -> Rules:
    """What holds now for a campaign with these frozen rules: those, narrowed by the platform's present
    ones, so that an admin who shortens the hours is obeyed at once and nothing is ever widened.

    Without frozen rules (campaigns of older versions, single calls): the present ones.
    """
    present = await freeze_rules(purpose)
    if frozen is None:
        return present
    combined = cast(Rules, {**frozen})
    if present["hours"] is None:
        return {**combined, "hours": None}
    combined["holidays"] = sorted({*frozen.get("holidays", ()), *present["holidays"]})
    old, new = frozen.get("hours"), present["hours"]
    combined["hours"] = (
        new
        if old is None
        else {"start": max(old["start"], new["start"]), "end": min(old["end"], new["end"])}
    )
    return combined


def _check_hours(purpose: Purpose, given: Hours) -> None:
    field, floor = f"hours.{purpose}", WIDEST_HOURS[purpose]
    try:
        start, end = _times(given)
    except (KeyError, TypeError, ValueError):
        raise invalid(field, "start and end must be HH:MM, the start before the end") from None
    widest = _times(floor)
    if start < widest[0] or end > widest[1]:
        raise invalid(
            field, f"must be within {floor['start']} to {floor['end']}, which no setting widens"
        )
    if end - start <= RING:
        raise invalid(field, f"must be longer than the {RING.seconds} seconds of a ring")


def _rules_of(platform: PlatformHours, purpose: Purpose) -> Rules:
    return {
        "purpose": purpose,
        "version": platform["_id"],
        "hours": platform["hours"][purpose] if config.settings().calling_hours == "on" else None,
        "timezone": HOME_TIME_ZONE,
        "holidays": [day["date"] for day in platform["holidays"] if purpose in day["purposes"]],
    }


async def _cached_platform_hours() -> PlatformHours:
    global _current
    now, name = time.monotonic(), database.database_name()
    if _current is None or _current[0] < now or _current[1] != name:
        _current = (now + _CACHED_SECONDS, name, await get_platform_hours())
    return _current[2]


def _forget() -> None:
    global _current
    _current = None


def _built_in() -> PlatformHours:
    return {
        "_id": 0,
        "hours": DEFAULT_HOURS,
        "holidays": [],
        "note": "built in",
        "created_at": dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        "created_by": "",
        "is_built_in": True,
    }


def _stale(version: int) -> StaleRules:
    return StaleRules(f"Version {version} of the calling rules holds.", version=version)


# --- storage ------------------------------------------------------------------------------------

database.declare("calling_rules")
