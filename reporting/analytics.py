"""Analytics: recharges, calls and failed payments by day, and the figures of this moment."""

import asyncio
import dataclasses
import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Any, Final, TypedDict, cast

from core import clock, config, database
from core.database import Document, Long, Update, db
from core.errors import invalid
from transactions import TYPES, Period

DAYS_DEFAULT: Final = 30
DAYS_MAX: Final = 400

# A commit may take some seconds: later than this after its end, a day gets no more entries.
_CLOSED_AFTER: Final = dt.timedelta(minutes=10)
_DAYS_AT_ONCE: Final = 31
# India has had no other offset since 1945, and a fixed one is faster to compute.
_IST_OFFSET: Final = "+05:30"


class DailyMetrics(TypedDict):
    """A record of `daily_metrics`: the figures of a closed day. Entries are never changed, so they
    are computed once."""

    _id: str  # the day in India: `2026-11-24`
    recharge_count: Long
    recharged_paise: Long
    spent_paise: Long
    call_count: Long
    answered_count: Long
    cost_paise: Long
    open_count: Long  # always 0
    worked_out_at: dt.datetime


database.declare("daily_metrics")


@dataclasses.dataclass(frozen=True, slots=True)
class Day:
    """The figures of a day in India: recharges, what was spent on calls, calls placed."""

    recharge_count: int = 0
    recharged_paise: int = 0
    spent_paise: int = 0
    call_count: int = 0
    answered_count: int = 0
    cost_paise: int = 0
    # Calls of the day whose cost is not known yet: it cannot be stored as final.
    open_count: int = 0


_DAY_FIELDS: Final = tuple(field.name for field in dataclasses.fields(Day))


@dataclasses.dataclass(frozen=True, slots=True)
class Window:
    """A day of the range, or the part of it inside the range."""

    day: dt.date
    since: dt.datetime
    until: dt.datetime

    def is_closed(self, at: dt.datetime) -> bool:
        """Whether it is a whole day that gets no more entries."""
        return (
            self.since == clock.ist_day_start(self.day)
            and self.until == clock.ist_day_end(self.day)
            and self.until + _CLOSED_AFTER <= at
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Holdings:
    """The sums over all wallets, now."""

    balance_paise: int = 0
    held_paise: int = 0
    due_paise: int = 0
    wallet_count: int = 0
    low_count: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Metrics:
    """The figures of a range of days, and of this moment."""

    user_count: int
    holdings: Holdings
    days: dict[dt.date, Day]
    failed_payments: dict[dt.date, int]

    @property
    def total(self) -> Day:
        """All days of the range together."""
        return Day(*(sum(getattr(d, name) for d in self.days.values()) for name in _DAY_FIELDS))


# --- metrics ------------------------------------------------------------------------------------


def windows_of(period: Period) -> list[Window]:
    """The days that a range covers, oldest first. Open ends make it the last thirty days up to
    today or to its end. Raises InvalidRequest for a range that is empty or longer than allowed."""
    until = period.until or clock.ist_day_end(clock.ist_date(clock.now()))
    last = clock.ist_date(until - dt.timedelta(milliseconds=1))
    try:
        since = period.since or clock.ist_day_start(last - dt.timedelta(days=DAYS_DEFAULT - 1))
    except OverflowError:
        raise invalid("to", "is too early") from None
    if since >= until:
        raise invalid("from", "must not be after `to`, which is today unless given")
    first = clock.ist_date(since)
    if (last - first).days >= DAYS_MAX:
        raise invalid("from", f"the range must not be longer than {DAYS_MAX} days")
    days = [first + dt.timedelta(days=n) for n in range((last - first).days + 1)]
    return [
        Window(day, max(since, clock.ist_day_start(day)), min(until, clock.ist_day_end(day)))
        for day in days
    ]


async def metrics(windows: Sequence[Window]) -> Metrics:
    """The figures of these days, and the sums over the wallets now."""
    user_count, holdings, days, failed = await asyncio.gather(
        db.users.count_documents({}),
        _holdings(),
        _days(windows),
        _failed_payments(windows[0].since, windows[-1].until),
    )
    return Metrics(user_count, holdings, days, failed)


async def _holdings() -> Holdings:
    """One pass over the wallets."""
    available = {"$subtract": ["$balance_paise", "$held_paise"]}
    low = {"$lt": [available, config.settings().minimum_balance_paise]}
    group = {
        "_id": None,
        "balance_paise": {"$sum": "$balance_paise"},
        "held_paise": {"$sum": "$held_paise"},
        "due_paise": {"$sum": "$due_paise"},
        "wallet_count": {"$sum": 1},
        "low_count": {"$sum": {"$cond": [low, 1, 0]}},
    }
    async for found in db.wallets.aggregate([{"$group": group}]):
        return Holdings(**{name: int(value) for name, value in found.items() if name != "_id"})
    return Holdings()


async def _failed_payments(since: dt.datetime, until: dt.datetime) -> dict[dt.date, int]:
    """Payment attempts that failed, by the day they were made. They are few, and one that failed
    may be captured later, so they are counted each time and not stored."""
    match = {"status": "failed", "created_at": {"$gte": since, "$lt": until}}
    return {
        day: int(found["count"])
        async for day, found in _by_day("payments", match, {"count": {"$sum": 1}})
    }


async def _days(windows: Sequence[Window]) -> dict[dt.date, Day]:
    """The figures of each day: stored ones of closed days, the others computed from the collections.

    Empty days are not stored: they cost nothing to compute, and entries that are imported from
    another system for the time before the first one are then counted.
    """
    now = clock.now()
    days = {window.day: Day() for window in windows}
    closed = [window.day for window in windows if window.is_closed(now)]
    known: set[dt.date] = set()
    async for kept in db.daily_metrics.find({"_id": {"$in": [str(day) for day in closed]}}):
        day, sums = _day_from(cast(DailyMetrics, kept))
        days[day] = sums
        known.add(day)
    for run in _runs(window for window in windows if window.day not in known):
        found = await _computed(run[0].since, run[-1].until)
        days |= found
        await _store({day: found[day] for day in closed if day in found})
    return days


def _runs(windows: Iterable[Window]) -> list[list[Window]]:
    """Adjacent days together, so that each run is one query, of bounded size."""
    runs: list[list[Window]] = []
    for window in windows:
        if runs and runs[-1][-1].until == window.since and len(runs[-1]) < _DAYS_AT_ONCE:
            runs[-1].append(window)
        else:
            runs.append([window])
    return runs


async def _computed(since: dt.datetime, until: dt.datetime) -> dict[dt.date, Day]:
    """The days from `since` to `until` that have entries or calls, with their figures."""
    sums: dict[dt.date, dict[str, int]] = {}
    within = {"$gte": since, "$lt": until}
    # Type and category are in the filter, so that the sum is read from an index alone.
    entries = {
        "type": {"$in": TYPES},
        "category": {"$in": ["recharge", "call_charge", "due_recovery"]},
        "created_at": within,
    }
    is_recharge = {"$eq": ["$category", "recharge"]}
    came_to = {
        "recharge_count": {"$sum": {"$cond": [is_recharge, 1, 0]}},
        "recharged_paise": {"$sum": {"$cond": [is_recharge, "$amount_paise", 0]}},
        "spent_paise": {"$sum": {"$cond": [is_recharge, 0, "$amount_paise"]}},
    }
    placed = {
        "call_count": {"$sum": 1},
        "answered_count": {"$sum": {"$cond": [{"$gt": ["$answered_at", None]}, 1, 0]}},
        "cost_paise": {"$sum": {"$ifNull": ["$cost_paise", 0]}},
        "open_count": {
            "$sum": {"$cond": [{"$in": ["$billing_status", ["settled", "released"]]}, 0, 1]}
        },
    }
    for collection, match, group in (
        ("transactions", entries, came_to),
        ("calls", {"created_at": within}, placed),
    ):
        async for day, found in _by_day(collection, match, group):
            sums.setdefault(day, {}).update({name: int(found[name]) for name in group})
    return {day: Day(**found) for day, found in sums.items()}


async def _by_day(collection: str, match: Document, group: Document) -> Any:
    """The groups of the matches by their day in India."""
    day = {"$dateTrunc": {"date": "$created_at", "unit": "day", "timezone": _IST_OFFSET}}
    async for found in db[collection].aggregate(
        [{"$match": match}, {"$group": {"_id": day, **group}}]
    ):
        yield clock.ist_date(found["_id"]), found


def _record_of(day: dt.date, sums: Day, at: dt.datetime) -> DailyMetrics:
    return {
        "_id": str(day),
        "recharge_count": Long(sums.recharge_count),
        "recharged_paise": Long(sums.recharged_paise),
        "spent_paise": Long(sums.spent_paise),
        "call_count": Long(sums.call_count),
        "answered_count": Long(sums.answered_count),
        "cost_paise": Long(sums.cost_paise),
        "open_count": Long(sums.open_count),
        "worked_out_at": at,
    }


def _day_from(record: DailyMetrics) -> tuple[dt.date, Day]:
    return dt.date.fromisoformat(record["_id"]), Day(
        recharge_count=record["recharge_count"],
        recharged_paise=record["recharged_paise"],
        spent_paise=record["spent_paise"],
        call_count=record["call_count"],
        answered_count=record["answered_count"],
        cost_paise=record["cost_paise"],
        open_count=record["open_count"],
    )


async def _store(days: dict[dt.date, Day]) -> None:
    """Store closed days that are final. Another process would have computed the same."""
    now = clock.now()
    final = {day: sums for day, sums in days.items() if not sums.open_count}
    await database.write_all(
        Update(
            "daily_metrics",
            {"_id": str(day)},
            {"$setOnInsert": _record_of(day, sums, now)},
            upsert=True,
        )
        for day, sums in final.items()
    )
