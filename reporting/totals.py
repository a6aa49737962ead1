"""Totals: the sums of the ledger by day, kept once a day is closed, so that no sum reads all entries."""

import asyncio
import calendar
import dataclasses
import datetime as dt
import itertools
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Final, TypedDict, cast

import transactions
from core import clock, database
from core.database import Index, Long, Update, db
from transactions import Filter, Period, Sum, Summary

# --- vocabulary ---------------------------------------------------------------------------------

# A commit may take some seconds: later than this after its end, a day or hour gets no more entries.
CLOSED_AFTER: Final = dt.timedelta(minutes=10)
_DAYS_AT_ONCE: Final = 7
_HOUR: Final = dt.timedelta(hours=1)
# So many entries are added up sooner than the sums of their days are found.
_FEW: Final = 2_000
_EVERYBODY: Final = "all"


class KeptTotals(TypedDict):
    """A record of `entry_totals`: the sums of a closed month or day in India, or hour. Entries
    are never changed, so they are added up once."""

    # Whose, and when: `all/2026-11`, `all/2026-11-24`, `all/2026-11-24T13`, `cmp_…/2026-11`.
    _id: str
    sums: list[Sum]
    worked_out_at: dt.datetime


database.declare("entry_totals", indexes=[Index(("worked_out_at",))])


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """A day or an hour, or a part of one at an end of the period; `key` names it when it is whole and
    closed."""

    since: dt.datetime | None
    until: dt.datetime | None
    key: str | None = None
    days: tuple["Part", ...] = ()  # of a month


# --- verbs --------------------------------------------------------------------------------------


async def summary(chosen: Filter) -> Summary:
    """The sums over a whole filter, like `transactions.summary`, without reading all of its entries.

    What a wallet's running totals do not answer (everybody's entries, a campaign's, a category) is
    added up from the sums of closed days, and of the entries before and after them.
    """
    period = chosen.period
    if period.since is not None and period.until is not None and period.since >= period.until:
        return Summary()
    is_of_a_wallet = chosen.user_id is not None and chosen.campaign_id is None
    if chosen.call_id is not None or (is_of_a_wallet and chosen.category is None):
        return await transactions.summary(chosen)
    if is_of_a_wallet and chosen.category == "call_charge":
        return await transactions.summary(chosen)
    whole = dataclasses.replace(chosen, type=None, category=None)
    if await transactions.are_few(whole, _FEW):
        return await transactions.summary(chosen)
    found = Summary()
    async for _, sums in _sums(whole, has_months=True):
        found = _added(found, sums, chosen)
    return found


async def days(period: Period) -> dict[dt.date, list[Sum]]:
    """The sums over everybody's entries of each day (in India) of a period that has both ends."""
    found: dict[dt.date, list[Sum]] = {}
    async for since, sums in _sums(Filter(period=period), has_months=False):
        assert since is not None
        found.setdefault(clock.ist_date(since), []).extend(sums)
    return found


async def days_of(user_id: str, period: Period) -> dict[dt.date, list[Sum]]:
    """The sums over a user's entries of each day (in India) of a period that has both ends."""
    whole = Filter(user_id=user_id, period=period)
    if await transactions.are_few(whole, _FEW):
        return await transactions.sums_by_day(whole, by_contra=True)
    found: dict[dt.date, list[Sum]] = {}
    async for since, sums in _sums(whole, has_months=False):
        assert since is not None
        found.setdefault(clock.ist_date(since), []).extend(sums)
    return found


async def keep_closed_days() -> None:
    """Add up the days and hours of everybody's entries that have been closed since, so that nobody
    has to wait for it. Any number of processes may run it."""
    async for _ in _sums(Filter(), has_months=True):
        await asyncio.sleep(0)


# --- a period in parts --------------------------------------------------------------------------


async def _sums(
    whole: Filter, *, has_months: bool
) -> AsyncIterator[tuple[dt.datetime | None, list[Sum]]]:
    """The beginning and the sums of every part of a filter's period: of months if `has_months`, days,
    hours, and of what is not closed."""
    first = await transactions.first_moment(dataclasses.replace(whole, period=Period()))
    if first is None:
        return
    period = Period(max(first, whole.period.since or first), whole.period.until)
    scope = "/".join(filter(None, (whole.user_id, whole.campaign_id))) or _EVERYBODY
    parts = list(_parts(period, scope, has_hours=scope == _EVERYBODY))
    if has_months:
        parts = _months(parts, scope)
    keys = [part.key for part in parts if part.key is not None]
    kept: dict[str, list[Sum]] = {}
    async for record in db.entry_totals.find({"_id": {"$in": keys}}, batch_size=1_000):
        found = cast(KeptTotals, record)
        kept[found["_id"]] = found["sums"]
    missing: list[Part] = []
    for part in parts:
        if part.key in kept:
            yield part.since, kept[str(part.key)]
        else:
            missing.append(part)
    for run in _runs(part for part in missing if not part.days):
        async for worked_out in _worked_out(whole, run):
            yield worked_out
    for month in missing:
        if month.days:
            yield month.since, await _of_month(whole, month)


def _parts(period: Period, scope: str, *, has_hours: bool) -> list[Part]:
    """The days of a period that has a beginning, those that are not whole or not closed in hours if
    `has_hours`; the rest at both ends."""
    assert period.since is not None
    closed_at = clock.now() - CLOSED_AFTER
    parts: list[Part] = []
    since = period.since
    while period.until is None or since < period.until:
        day = clock.ist_date(since)
        day_end = clock.ist_day_end(day)
        is_whole = since == clock.ist_day_start(day) and day_end <= closed_at
        if is_whole and (period.until is None or day_end <= period.until):
            parts.append(Part(since, day_end, f"{scope}/{day}"))
            since = day_end
            continue
        if since > closed_at:
            parts.append(Part(since, period.until))
            break
        end = day_end if period.until is None else min(day_end, period.until)
        if not has_hours:
            parts.append(Part(since, end))
        else:
            parts += _hours(since, end, day, scope, closed_at)
        since = end
    return parts


def _months(parts: Sequence[Part], scope: str) -> list[Part]:
    """The parts, the days of a month that is whole together."""
    found: list[Part] = []
    for month, some in itertools.groupby(parts, _month_of):
        days = list(some)
        whole = month is not None and len(days) == calendar.monthrange(*month)[1]
        if month is None or not whole:
            found += days
        else:
            key = f"{scope}/{month[0]}-{month[1]:02d}"
            found.append(Part(days[0].since, days[-1].until, key, tuple(days)))
    return found


def _month_of(part: Part) -> tuple[int, int] | None:
    """The month of a whole day; None of what is no whole day."""
    if part.since is None or not _is_day(part):
        return None
    day = clock.ist_date(part.since)
    return day.year, day.month


async def _of_month(whole: Filter, month: Part) -> list[Sum]:
    """Add up the days of a month, which are kept as well, and keep the sum."""
    days = dataclasses.replace(whole, period=Period(month.since, month.until))
    sums = _together([each async for _, some in _sums(days, has_months=False) for each in some])
    await _keep([(month, sums)])
    return sums


async def _keep(sums_of: Iterable[tuple[Part, list[Sum]]]) -> None:
    """Keep the sums of closed parts. Another process would have found the same."""
    now = clock.now()
    await database.write_all(
        Update(
            "entry_totals",
            {"_id": part.key},
            {"$setOnInsert": {"sums": sums, "worked_out_at": now}},
            upsert=True,
        )
        for part, sums in sums_of
        if part.key is not None
    )


def _hours(
    since: dt.datetime, until: dt.datetime, day: dt.date, scope: str, closed_at: dt.datetime
) -> list[Part]:
    start = clock.ist_day_start(day)
    parts = []
    while since < until:
        number = (since - start) // _HOUR
        hour_start, hour_end = start + number * _HOUR, start + (number + 1) * _HOUR
        if since == hour_start and hour_end <= min(until, closed_at):
            parts.append(Part(since, hour_end, f"{scope}/{day}T{number:02d}"))
        elif parts and parts[-1].key is None:
            parts[-1] = Part(parts[-1].since, min(hour_end, until))
        else:
            parts.append(Part(since, min(hour_end, until)))
        since = min(hour_end, until)
    return parts


def _runs(parts: Iterable[Part]) -> list[list[Part]]:
    """Adjacent whole days together, so that each run is one query, of bounded size."""
    runs: list[list[Part]] = []
    for part in parts:
        last = runs[-1][-1] if runs else None
        is_next = last is not None and last.until == part.since and _is_day(last)
        if is_next and _is_day(part) and len(runs[-1]) < _DAYS_AT_ONCE:
            runs[-1].append(part)
        else:
            runs.append([part])
    return runs


def _is_day(part: Part) -> bool:
    return part.key is not None and "T" not in part.key.rpartition("/")[2]


async def _worked_out(
    whole: Filter, run: Sequence[Part]
) -> AsyncIterator[tuple[dt.datetime | None, list[Sum]]]:
    """Add up the entries of adjacent parts, and keep the sums of those that are closed. (What is
    imported for the time before the first entry is counted: it comes before every part.)"""
    period = Period(run[0].since, run[-1].until)
    chosen = dataclasses.replace(whole, period=period)
    found = await transactions.sums_by_day(chosen, by_contra=True)
    if len(run) == 1:
        # One part is not always a day: all of it together.
        sums = _together(sum_ for sums in found.values() for sum_ in sums)
        by_part = [(run[0], sums)]
    else:
        by_part = [
            (part, found.get(clock.ist_date(cast(dt.datetime, part.since)), [])) for part in run
        ]
    await _keep(by_part)
    for part, sums in by_part:
        yield part.since, sums


def _together(sums: Iterable[Sum]) -> list[Sum]:
    added: dict[tuple[str, str, str | None], Sum] = {}
    for each in sums:
        key = (each["type"], each["category"], each["contra"])
        if key in added:
            before = added[key]
            paise, count = before["paise"] + each["paise"], before["count"] + each["count"]
            added[key] = {**before, "paise": Long(paise), "count": Long(count)}
        else:
            added[key] = each
    return list(added.values())


def _added(found: Summary, sums: Iterable[Sum], chosen: Filter) -> Summary:
    for each in sums:
        if chosen.type not in (None, each["type"]):
            continue
        if chosen.category not in (None, each["category"]):
            continue
        paise, count = int(each["paise"]), int(each["count"])
        if each["type"] == "credit":
            found = dataclasses.replace(
                found,
                credited_paise=found.credited_paise + paise,
                credit_count=found.credit_count + count,
            )
        else:
            found = dataclasses.replace(
                found,
                debited_paise=found.debited_paise + paise,
                debit_count=found.debit_count + count,
            )
    return found
