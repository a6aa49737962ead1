"""Campaign statistics: what became of the calls of a campaign, each counted once when it has ended."""

import asyncio
import collections
import datetime as dt
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NotRequired, TypedDict, cast

from calls import lifecycle
from calls import records as call_records
from calls.records import Call, CountedResult
from campaigns.contacts import Counts
from campaigns.records import Campaign
from compliance import calling_hours
from core import clock, database
from core.database import Document, Index, Long, Transaction, Update, Write, db
from core.outbox import Event
from telephony import NETWORK_FAULTS, OVER

# --- vocabulary ---------------------------------------------------------------------------------

WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_DISPOSITIONS: Final = {
    "completed": "answered",
    "no_answer": "no_answer",
    "busy": "busy",
    "failed": "failed",
    "canceled": "canceled",
}
# A call that has none of its own was dialled from the number of the settings.
NO_CALLER_ID: Final = "default"
_caller_id_form = re.compile(r"\+?[0-9]{3,15}")

# Of so many calls the moments of their ends are kept: what the pace is worked out from.
_ENDS_KEPT: Final = 200
_PACE_MINUTES: Final = 10
_PACE_ENDS_MIN: Final = 5
_PACE_SECONDS_MIN: Final = 10.0

_ETA_MINUTES_MAX: Final = 366 * 24 * 60
_OPENINGS_MAX: Final = 200

_BATCH_MAX: Final = 200
_ATTEMPTS_MAX: Final = 12
_OLDER_VERSIONS: Final = "calls of older versions are counted"


class Tally(TypedDict, total=False):
    """How many calls were dialled, and how many of them were picked up; absent: none."""

    dialled: int
    answered: int


class Statistics(TypedDict):
    """A record of `campaign_statistics`: the calls of a campaign that have ended, or of all
    campaigns of a user. What is absent is zero."""

    _id: str  # of the campaign, or of the user
    user_id: str
    updated_at: dt.datetime
    ended: NotRequired[int]  # calls, also those that no network accepted
    dialled: NotRequired[int]  # those that the network accepted
    answered: NotRequired[int]  # by a person or a machine
    talk_seconds: NotRequired[int]
    cost_paise: NotRequired[Long]
    by_disposition: NotRequired[dict[str, int]]  # `machine` apart from `answered`
    by_hour: NotRequired[dict[str, Tally]]  # when it was dialled, in India: `mon-09`
    by_caller_id: NotRequired[dict[str, Tally]]
    by_attempt: NotRequired[dict[str, Tally]]  # `1` is the first call of a contact
    ends: NotRequired[list[dt.datetime]]  # of the latest calls


# Of the path of a figure, as in an update: by how much it changes.
Delta = collections.Counter[str]


# --- what one call adds -------------------------------------------------------------------------


def result_of(call: Call) -> CountedResult:
    """What a call that has ended is counted as."""
    status = call["status"]
    disposition = _DISPOSITIONS[status]
    if status == "completed" and call.get("answered_by") == "machine":
        disposition = "machine"
    was_accepted = call["provider_call_id"] is not None
    return {
        "disposition": disposition,
        "is_dialled": status == "completed"
        or (was_accepted and call["failure_reason"] not in NETWORK_FAULTS),
        "talk_seconds": call["duration_seconds"] or 0,
        "cost_paise": int(call["cost_paise"] or 0),
    }


def _add(delta: Delta, call: Call, result: CountedResult, times: int) -> None:
    """Add the figures of a call, or take them out with -1."""
    is_answered = result["disposition"] in ("answered", "machine")
    delta["ended"] += times
    delta[f"by_disposition.{result['disposition']}"] += times
    delta["talk_seconds"] += times * result["talk_seconds"]
    delta["cost_paise"] += times * result["cost_paise"]
    if not result["is_dialled"]:
        return
    for place in ("", *_places_of(call)):
        delta[f"{place}dialled"] += times
        delta[f"{place}answered"] += times * is_answered


def _places_of(call: Call) -> list[str]:
    """In which parts of the statistics a dialled call is counted, as the beginnings of paths."""
    dialled_at = call["created_at"].astimezone(clock.IST)
    caller_id = call.get("caller_id") or NO_CALLER_ID
    if not _caller_id_form.fullmatch(caller_id):
        caller_id = NO_CALLER_ID
    return [
        f"by_hour.{WEEKDAYS[dialled_at.weekday()]}-{dialled_at.hour:02d}.",
        f"by_caller_id.{caller_id}.",
        f"by_attempt.{call.get('attempt_number') or 1}.",
    ]


# --- counting -----------------------------------------------------------------------------------


async def on_call_ended(event: Event) -> None:
    """Count the call of a campaign that ended (`CallEnded`), or whose result has changed afterwards
    (`CallResultChanged`). However often this is called, each call counts once, as it is now."""
    await count_call(event["data"]["call_id"])


# Calls that wait to be counted: those that come while a transaction runs go together in the next one.
_waiting: dict[str, asyncio.Future[None]] = {}
_counting: asyncio.Task[None] | None = None


async def count_call(call_id: str) -> None:
    """Count a call if it has ended and is not counted as it is now; it may be asked for repeatedly.

    Raises what the database does; then it is not known whether it was counted, and asking again is safe.
    """
    global _counting
    loop = asyncio.get_running_loop()
    if _counting is None or _counting.done() or _counting.get_loop() is not loop:
        _waiting.clear()
        _counting = None
    future = _waiting.get(call_id)
    if future is None:
        future = _waiting[call_id] = loop.create_future()
    if _counting is None:
        _counting = asyncio.create_task(_count_waiting(), name="count calls")
    await asyncio.shield(future)


async def _count_waiting() -> None:
    while _waiting:
        await asyncio.sleep(0)  # more are arriving: they go with this batch
        ids = list(_waiting)[:_BATCH_MAX]
        batch = [_waiting.pop(call_id) for call_id in ids]
        problem: Exception | None = None
        try:
            await count_calls(ids)
        except Exception as raised:
            problem = raised
        for future in batch:
            if future.done():
                continue
            if problem is None:
                future.set_result(None)
            else:
                future.set_exception(problem)
                future.exception()  # whoever asked may be gone


async def count_calls(call_ids: Sequence[str]) -> None:
    """Count those of the calls that have ended and are not counted as they are now, in one commit:
    what was counted is written on the call together with the figures."""
    for attempt in range(_ATTEMPTS_MAX):
        try:
            async with database.transaction() as transaction:
                await transaction.commit(lambda: _count(transaction, call_ids))
            return
        except database.AnyError as problem:
            if not database.is_transient(problem) or attempt == _ATTEMPTS_MAX - 1:
                raise
        # Another process counts calls of the same campaign.
        await asyncio.sleep(random.uniform(0.002, 0.01) * (attempt + 1))  # noqa: S311


def _count(transaction: Transaction, call_ids: Sequence[str]) -> None:
    changes: dict[str, Delta] = collections.defaultdict(collections.Counter)
    ends: dict[str, list[dt.datetime]] = collections.defaultdict(list)
    user_of: dict[str, str] = {}
    writes: list[Write] = []
    for call in call_records.read_calls(transaction, call_ids):
        counted, result = call.get("counted"), result_of(call) if call["rank"] == OVER else None
        if call["campaign_id"] is None or result is None or counted == result:
            continue
        writes.append(lifecycle.update_of_counted(call, result))
        for scope in (call["campaign_id"], call["user_id"]):
            user_of[scope] = call["user_id"]
            if counted is None:
                ends[scope].append(call["ended_at"] or clock.now())
            else:
                _add(changes[scope], call, counted, -1)
            _add(changes[scope], call, result, 1)
    writes += [
        _update_of(scope, user_of[scope], delta, ends[scope]) for scope, delta in changes.items()
    ]
    if writes:
        transaction.write_all(writes)


def _update_of(scope: str, user_id: str, delta: Delta, ends: Sequence[dt.datetime]) -> Update:
    by = {path: Long(by) if path == "cost_paise" else by for path, by in delta.items() if by}
    update: Document = {"$set": {"user_id": user_id, "updated_at": clock.now()}}
    if by:
        update["$inc"] = by
    if ends:
        update["$push"] = {"ends": {"$each": sorted(ends), "$slice": -_ENDS_KEPT}}
    return Update("campaign_statistics", {"_id": scope}, update, upsert=True)


# --- queries ------------------------------------------------------------------------------------


async def find_statistics(scope: str) -> Statistics | None:
    """The statistics of a campaign, or of all campaigns of a user; one document at any size. None when
    no call has ended yet."""
    return cast("Statistics | None", await db.campaign_statistics.find_one({"_id": scope}))


def calls_per_minute(found: Statistics | None, at: dt.datetime) -> float | None:
    """How many calls ended a minute lately; None when that is too few to say."""
    since = at - dt.timedelta(minutes=_PACE_MINUTES)
    kept = [] if found is None else found.get("ends", [])
    ends = [end for end in kept if since < end <= at]
    if len(ends) < _PACE_ENDS_MIN:
        return None
    seconds = max(_PACE_SECONDS_MIN, (at - min(ends)).total_seconds())
    return 60 * len(ends) / seconds


def find_eta(
    campaign: Campaign, counts: Counts, found: Statistics | None, at: dt.datetime
) -> dt.datetime | None:
    """When the last contact will have been called, at the pace of the last minutes, at the end of the
    campaign at the latest. None when that cannot be known: it does not run, too few calls have ended
    lately, or nobody is left. Hours in which it may not call are not counted.
    """
    left = counts.pending + counts.in_call + counts.retry_wait
    pace = calls_per_minute(found, at)
    if campaign["status"] != "running" or not left or pace is None or found is None:
        return None
    if campaign["calls_per_minute"] is not None:
        pace = min(pace, float(campaign["calls_per_minute"]))
    # Some contacts need several calls; how many, those that are done with say.
    reached = counts.answered + counts.no_answer + counts.busy + counts.failed + counts.exhausted
    calls_each = max(1.0, found.get("ended", 0) / max(1, reached))
    minutes = min(_ETA_MINUTES_MAX, left * calls_each / pace)
    eta = _after_open_time(campaign, at, dt.timedelta(minutes=minutes))
    end_at = campaign.get("end_at")
    return eta if end_at is None or eta is None else min(eta, end_at)


def _after_open_time(campaign: Campaign, at: dt.datetime, left: dt.timedelta) -> dt.datetime | None:
    """The moment by which the campaign may have called for so long; None when that never comes."""
    rules, window = campaign.get("rules"), campaign.get("window")
    if not rules:  # it was started by an older version
        return at + left
    for _ in range(_OPENINGS_MAX):
        found = calling_hours.opening(rules, window, at)
        if found.is_open and (found.changes_at is None or at + left <= found.changes_at):
            return at + left
        if found.changes_at is None:
            return None
        left -= found.changes_at - at if found.is_open else dt.timedelta()
        at = found.changes_at
    return None


# --- verification -------------------------------------------------------------------------------


async def recount(campaign_id: str) -> dict[str, int]:
    """The figures of a campaign as its calls say now, by their paths; reads all of them."""
    delta: Delta = collections.Counter()
    with database.long_work():
        async for call in call_records.iterate_calls_of(campaign_id):
            if call["rank"] == OVER:
                _add(delta, call, result_of(call), 1)
    return {path: count for path, count in delta.items() if count}


async def find_differences(campaign_id: str) -> dict[str, tuple[int, int]]:
    """Where the statistics of a campaign differ from its calls: by path what was counted, and what the
    calls say. While calls end, one that is not counted yet is a difference."""
    found = await find_statistics(campaign_id)
    counted = dict(_figures(cast("Mapping[str, Any]", found or {})))
    expected = await recount(campaign_id)
    return {
        path: (counted.get(path, 0), expected.get(path, 0))
        for path in sorted(counted.keys() | expected.keys())
        if counted.get(path, 0) != expected.get(path, 0)
    }


def _figures(fields: Mapping[str, Any], path: str = "") -> Iterable[tuple[str, int]]:
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from _figures(value, f"{path}{name}.")
        elif isinstance(value, int) and not isinstance(value, bool):
            yield f"{path}{name}", int(value)


# --- storage ------------------------------------------------------------------------------------

database.declare(
    "campaign_statistics", indexes=[Index(("updated_at", "user_id")), Index(("user_id",))]
)


async def _count_older_calls() -> None:
    """Count the calls that ended before there were statistics; once for a database."""
    if await db.campaign_statistics.find_one({"_id": _OLDER_VERSIONS}) is not None:
        return
    while ids := await call_records.list_uncounted_ids(limit=_BATCH_MAX):
        await count_calls(ids)
    done = {"$set": {"user_id": "", "updated_at": clock.now()}}
    await db.campaign_statistics.update_one({"_id": _OLDER_VERSIONS}, done, upsert=True)


database.migrate("count the calls of campaigns", _count_older_calls)
