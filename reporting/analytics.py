"""Analytics: recharges, calls and failed payments by day, and the figures of this moment."""

import asyncio
import collections
import dataclasses
import datetime as dt
from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import Any, Final, TypedDict, cast

import payments
from core import clock, config, csv_files, database, money
from core.database import Document, Long, Update, db
from core.errors import invalid
from reporting import totals
from telephony import OVER
from transactions import Period, Sum

DAYS_DEFAULT: Final = 30
DAYS_MAX: Final = 400
# So many reasons of failed payments are told apart; the rest are counted together.
REASONS_MAX: Final = 12

# Release 0.2.1 kept days without a version, in which what a lost dispute was owed counted as spent and
# an answered call without a report of its answer as not answered: those days are counted again.
_VERSION: Final = 2
_DAYS_AT_ONCE: Final = 31
# India has had no other offset since 1945, and a fixed one is faster to compute.
_IST_OFFSET: Final = "+05:30"
_DAY: Final[Document] = {
    "$dateTrunc": {"date": "$created_at", "unit": "day", "timezone": _IST_OFFSET}
}


class DailyCalls(TypedDict):
    """A record of `daily_metrics`: the calls of a closed day that have all ended."""

    _id: str  # the day in India, and the version of what is counted: `2026-11-24/2`
    call_count: Long
    answered_count: Long
    cost_paise: Long
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


@dataclasses.dataclass(frozen=True, slots=True)
class UsersDay:
    """The figures of one user's day in India, all from the ledger: a call counts on the day on which
    it was charged."""

    recharge_count: int = 0
    recharged_paise: int = 0
    spent_paise: int = 0
    charged_call_count: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Calls:
    """The calls of a day: how many, how many of them were answered, and what they cost."""

    call_count: int = 0
    answered_count: int = 0
    cost_paise: int = 0
    # Those whose cost is not known yet: the day cannot be stored as final.
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
            and self.until + totals.CLOSED_AFTER <= at
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
class FailureReason:
    """Why payments failed, as Razorpay said, and how many; both empty: it said nothing."""

    reason: str
    code: str
    count: int


@dataclasses.dataclass(frozen=True, slots=True)
class Failures:
    """The payments of a range that failed: by day, and by reason, the most frequent first. `other_count`:
    those of reasons that are not told apart."""

    by_day: dict[dt.date, int]
    reasons: list[FailureReason]
    other_count: int


@dataclasses.dataclass(frozen=True, slots=True)
class Metrics:
    """The figures of a range of days, and of this moment."""

    user_count: int
    holdings: Holdings
    days: dict[dt.date, Day]
    failures: Failures
    live_call_count: int
    payments_in_review_count: int

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
    user_count, holdings, days, failures, live_count, review_count = await asyncio.gather(
        db.users.count_documents({}),
        _holdings(),
        _days(windows),
        _failures(windows[0].since, windows[-1].until),
        # Both conditions are those of an index over what is open.
        db.calls.count_documents({"user_id": {"$gt": ""}, "rank": {"$lt": OVER}}),
        payments.count_in_review(),
    )
    return Metrics(user_count, holdings, days, failures, live_count, review_count)


CSV_COLUMNS: Final = (
    "date",
    "recharges",
    "recharged",
    "failed_payments",
    "calls",
    "answered",
    "call_cost",
    "spent",
)


async def csv_of(windows: Sequence[Window]) -> AsyncGenerator[str, None]:
    """The days of the range as CSV, oldest first; amounts in rupees."""
    found = await metrics(windows)
    rows = [
        (
            date.isoformat(),
            str(day.recharge_count),
            money.text(day.recharged_paise),
            str(found.failures.by_day.get(date, 0)),
            str(day.call_count),
            str(day.answered_count),
            money.text(day.cost_paise),
            money.text(day.spent_paise),
        )
        for date, day in found.days.items()
    ]
    yield csv_files.lines([CSV_COLUMNS, *rows])


async def days_of(user_id: str, windows: Sequence[Window]) -> dict[dt.date, UsersDay]:
    """What a user recharged and spent on each of these days."""
    period = Period(windows[0].since, windows[-1].until)
    entries = await totals.days_of(user_id, period)
    return {window.day: _users_day_of(entries.get(window.day, ())) for window in windows}


def _users_day_of(sums: Sequence[Sum]) -> UsersDay:
    whole = _day_of(sums, Calls())
    return UsersDay(
        recharge_count=whole.recharge_count,
        recharged_paise=whole.recharged_paise,
        spent_paise=whole.spent_paise,
        charged_call_count=sum(int(s["count"]) for s in sums if s["category"] == "call_charge"),
    )


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


async def _failures(since: dt.datetime, until: dt.datetime) -> Failures:
    """Payment attempts that failed, by the day they were made and by reason. They are few, and one that
    failed may be captured later, so they are counted each time and not stored."""
    match = {"status": "failed", "created_at": {"$gte": since, "$lt": until}}
    by_day: collections.Counter[dt.date] = collections.Counter()
    by_reason: collections.Counter[tuple[str, str]] = collections.Counter()
    reason = {name: {"$ifNull": [f"${name}", ""]} for name in ("error_reason", "error_code")}
    group = {"_id": {"day": _DAY, **reason}, "count": {"$sum": 1}}
    async for found in db.payments.aggregate([{"$match": match}, {"$group": group}]):
        of, count = found["_id"], int(found["count"])
        by_day[clock.ist_date(of["day"])] += count
        by_reason[of["error_reason"], of["error_code"]] += count
    ranked = [FailureReason(*why, count) for why, count in by_reason.most_common()]
    others = sum(each.count for each in ranked[REASONS_MAX:])
    return Failures(dict(by_day), ranked[:REASONS_MAX], others)


async def _days(windows: Sequence[Window]) -> dict[dt.date, Day]:
    """The figures of each day: of its entries (`totals`), and of its calls."""
    period = Period(windows[0].since, windows[-1].until)
    entries, calls = await asyncio.gather(totals.days(period), _calls(windows))
    return {
        window.day: _day_of(entries.get(window.day, ()), calls.get(window.day, Calls()))
        for window in windows
    }


def _day_of(sums: Iterable[Sum], calls: Calls) -> Day:
    """A recovered due was spent when it was owed for a call; what was owed for a refund or a dispute
    went back to the bank."""
    recharge_count = recharged_paise = spent_paise = 0
    for each in sums:
        paise = int(each["paise"])
        if each["category"] == "recharge":
            recharge_count += int(each["count"])
            recharged_paise += paise
        elif each["category"] == "call_charge" or each["contra"] == "revenue:calls":
            spent_paise += paise
    return Day(
        recharge_count=recharge_count,
        recharged_paise=recharged_paise,
        spent_paise=spent_paise,
        call_count=calls.call_count,
        answered_count=calls.answered_count,
        cost_paise=calls.cost_paise,
    )


# --- the calls of a day -------------------------------------------------------------------------


async def _calls(windows: Sequence[Window]) -> dict[dt.date, Calls]:
    """The calls of each day: stored sums of closed days, the others counted.

    Empty days are not stored: they cost nothing to count.
    """
    now = clock.now()
    closed = {_key(window.day): window.day for window in windows if window.is_closed(now)}
    days: dict[dt.date, Calls] = {}
    async for found in db.daily_metrics.find({"_id": {"$in": list(closed)}}, batch_size=1_000):
        kept = cast(DailyCalls, found)
        days[closed[kept["_id"]]] = Calls(
            kept["call_count"], kept["answered_count"], kept["cost_paise"]
        )
    for run in _runs(window for window in windows if window.day not in days):
        counted = await _counted(run[0].since, run[-1].until)
        days |= counted
        await _store({day: counted[day] for day in closed.values() if day in counted})
    return days


def _key(day: dt.date) -> str:
    return f"{day}/{_VERSION}"


def _runs(windows: Iterable[Window]) -> list[list[Window]]:
    """Adjacent days together, so that each run is one query, of bounded size."""
    runs: list[list[Window]] = []
    for window in windows:
        if runs and runs[-1][-1].until == window.since and len(runs[-1]) < _DAYS_AT_ONCE:
            runs[-1].append(window)
        else:
            runs.append([window])
    return runs


async def _counted(since: dt.datetime, until: dt.datetime) -> dict[dt.date, Calls]:
    """The days from `since` to `until` that have calls, with their sums. A call was answered when
    the network said so, or when it lasted: the report of the answer may be late, or never come."""
    answered = {"$or": [{"$gt": ["$answered_at", None]}, {"$gt": ["$duration_seconds", 0]}]}
    group = {
        "call_count": {"$sum": 1},
        "answered_count": {"$sum": {"$cond": [answered, 1, 0]}},
        "cost_paise": {"$sum": {"$ifNull": ["$cost_paise", 0]}},
        "open_count": {
            "$sum": {"$cond": [{"$in": ["$billing_status", ["settled", "released"]]}, 0, 1]}
        },
    }
    within = {"created_at": {"$gte": since, "$lt": until}}
    return {
        day: Calls(**{name: int(found[name]) for name in group})
        async for day, found in _by_day("calls", within, group)
    }


async def _by_day(collection: str, match: Document, group: Document) -> Any:
    """The groups of the matches by their day in India."""
    async for found in db[collection].aggregate(
        [{"$match": match}, {"$group": {"_id": _DAY, **group}}]
    ):
        yield clock.ist_date(found["_id"]), found


async def _store(days: dict[dt.date, Calls]) -> None:
    """Store closed days whose calls have all ended. Another process would have counted the same."""
    now = clock.now()
    await database.write_all(
        Update(
            "daily_metrics",
            {"_id": _key(day)},
            {
                "$setOnInsert": {
                    "call_count": Long(calls.call_count),
                    "answered_count": Long(calls.answered_count),
                    "cost_paise": Long(calls.cost_paise),
                    "worked_out_at": now,
                }
            },
            upsert=True,
        )
        for day, calls in days.items()
        if not calls.open_count
    )
