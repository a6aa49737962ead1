"""Contact limits: how often a user may call one number, over all campaigns and single calls.

`CONTACT_GAP_MINUTES` lie between two calls, at most `CONTACT_CALLS_PER_DAY` are made on a day in
India and `CONTACT_CALLS_PER_WEEK` on seven such days; 0 is no limit. Two calls of one user to one
number never run at once. The attempts on a number are one document for each user, so a decision is
atomic over all processes.
"""

import asyncio
import datetime as dt
import random
from dataclasses import dataclass
from typing import Final, Literal, NotRequired, TypedDict, cast

from core import clock, config, database
from core.database import Document, Index, Update
from core.errors import Unavailable

# --- vocabulary ---------------------------------------------------------------------------------

_WEEK_DAYS: Final = 7
_KEPT_DAYS: Final = 9
_KEPT_MAX: Final = 1_000
_TRIES_MAX: Final = 50
# A call that nobody reports as ended is over for certain so long after its longest duration.
_LOST_END: Final = dt.timedelta(minutes=15)
# When the call that is up has ended is not known before.
_LOOK_AGAIN: Final = dt.timedelta(seconds=30)

LimitedBy = Literal["live_call", "gap", "calls_per_day", "calls_per_week"]


class Attempt(TypedDict):
    """A call that a user made to a number, or is making."""

    call_id: str
    at: dt.datetime
    ended_at: NotRequired[dt.datetime]


class ContactAttempts(TypedDict):
    """A document of `contact_attempts`: the last calls of one user to one number."""

    _id: str
    user_id: str
    number: str
    attempts: list[Attempt]
    version: int
    expires_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Limits:
    """What holds for one number; 0 is no limit."""

    gap_minutes: int
    calls_per_day: int
    calls_per_week: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the call may be made now; if not, why, and when it may be tried at the earliest."""

    allowed: bool
    not_before: dt.datetime | None = None
    limited_by: LimitedBy | None = None


ALLOWED: Final = Verdict(True)


# --- rules, without a database ------------------------------------------------------------------


def verdict(attempts: list[Attempt], limits: Limits, call_id: str, at: dt.datetime) -> Verdict:
    """Whether one more call to this number is allowed at `at`. A call that is counted already is."""
    if any(attempt["call_id"] == call_id for attempt in attempts):
        return ALLOWED
    refusals = [
        refusal
        for rule in (_running, _gap, _today, _this_week)
        if (refusal := rule(attempts, limits, at)) is not None
    ]
    # The one that lasts longest says when there is any sense in trying again.
    return max(refusals, key=lambda one: one.not_before or at, default=ALLOWED)


def _running(attempts: list[Attempt], _: Limits, at: dt.datetime) -> Verdict | None:
    longest = dt.timedelta(minutes=config.settings().max_call_minutes) + _LOST_END
    if any("ended_at" not in one and at < one["at"] + longest for one in attempts):
        return Verdict(False, at + _LOOK_AGAIN, "live_call")
    return None


def _gap(attempts: list[Attempt], limits: Limits, at: dt.datetime) -> Verdict | None:
    last = max((one.get("ended_at", one["at"]) for one in attempts), default=None)
    if last is None or not limits.gap_minutes:
        return None
    until = last + dt.timedelta(minutes=limits.gap_minutes)
    return Verdict(False, until, "gap") if at < until else None


def _today(attempts: list[Attempt], limits: Limits, at: dt.datetime) -> Verdict | None:
    today = clock.ist_date(at)
    count = sum(clock.ist_date(one["at"]) == today for one in attempts)
    if limits.calls_per_day and count >= limits.calls_per_day:
        return Verdict(False, clock.ist_day_end(today), "calls_per_day")
    return None


def _this_week(attempts: list[Attempt], limits: Limits, at: dt.datetime) -> Verdict | None:
    since = clock.ist_date(at) - dt.timedelta(days=_WEEK_DAYS - 1)
    days = sorted(day for one in attempts if (day := clock.ist_date(one["at"])) >= since)
    if not limits.calls_per_week or len(days) < limits.calls_per_week:
        return None
    # When so many have left the seven days that one more fits.
    leaves = days[len(days) - limits.calls_per_week]
    return Verdict(
        False, clock.ist_day_start(leaves + dt.timedelta(days=_WEEK_DAYS)), "calls_per_week"
    )


# --- verbs --------------------------------------------------------------------------------------


async def reserve_attempt(
    user_id: str, number: str, call_id: str, at: dt.datetime | None = None
) -> Verdict:
    """Count a call of a campaign to this number (E.164), unless a limit forbids it; then nothing is
    counted. With a `call_id` that is counted already: allowed, and counted once. Raises Unavailable.
    """
    moment, key = at or clock.now(), _id(user_id, number)
    for attempt in range(_TRIES_MAX):
        found = await _find(key)
        before = found["attempts"] if found else []
        answer = verdict(before, _limits(), call_id, moment)
        if not answer.allowed or any(one["call_id"] == call_id for one in before):
            return answer
        guard = {"version": found["version"] if found else {"$exists": False}}
        if await _push(user_id, number, call_id, moment, guard=guard):
            return answer
        await asyncio.sleep(random.uniform(0, min(0.1, 0.002 * 2**attempt)))  # noqa: S311 - no secret
    raise Unavailable("Other calls to this number were first; try again.")


async def record_attempt(
    user_id: str, number: str, call_id: str, at: dt.datetime | None = None
) -> None:
    """Count a single call, which no limit refuses: a person wants it now. Repeated: counted once."""
    guard = {"attempts.call_id": {"$ne": call_id}}
    await _push(user_id, number, call_id, at or clock.now(), guard=guard)


async def cancel_attempt(user_id: str, number: str, call_id: str) -> None:
    """Undo the count of a call that no network took: nobody was called. Harmless when repeated."""
    where = {"_id": _id(user_id, number), "attempts.call_id": call_id}
    change = {"$pull": {"attempts": {"call_id": call_id}}, "$inc": {"version": 1}}
    await database.write_together(Update("contact_attempts", where, change))


async def end_attempt(
    user_id: str, number: str, call_id: str, at: dt.datetime | None = None
) -> None:
    """The call is over: the gap to the next one counts from here. Harmless when repeated, and for a
    call that was never counted."""
    mine = {"call_id": call_id, "ended_at": {"$exists": False}}
    where = {"_id": _id(user_id, number), "attempts": {"$elemMatch": mine}}
    change = {"$set": {"attempts.$.ended_at": at or clock.now()}, "$inc": {"version": 1}}
    await database.write_together(Update("contact_attempts", where, change))


async def find_attempts(user_id: str, number: str) -> list[Attempt]:
    """The calls of this user to this number that are counted: those of the last days."""
    found = await _find(_id(user_id, number))
    return list(found["attempts"]) if found else []


def _limits() -> Limits:
    chosen = config.settings()
    return Limits(
        chosen.contact_gap_minutes, chosen.contact_calls_per_day, chosen.contact_calls_per_week
    )


# --- storage ------------------------------------------------------------------------------------


async def _find(key: str) -> ContactAttempts | None:
    return cast("ContactAttempts | None", await database.find_together("contact_attempts", key))


async def _push(
    user_id: str, number: str, call_id: str, at: dt.datetime, *, guard: Document
) -> bool:
    """Add an attempt where `guard` holds, making the document; False when it may not have held."""
    change = {
        "$setOnInsert": {"user_id": user_id, "number": number},
        "$push": {"attempts": {"$each": [{"call_id": call_id, "at": at}], "$slice": -_KEPT_MAX}},
        "$inc": {"version": 1},
        "$max": {"expires_at": clock.after(_KEPT_DAYS * 86_400, since=at)},
    }
    where = {"_id": _id(user_id, number), **guard}
    try:
        return await database.write_together(Update("contact_attempts", where, change, upsert=True))
    except database.AnyError as problem:
        if not database.is_duplicate(problem):
            raise
        return False  # the document exists, and the guard does not hold


def _id(user_id: str, number: str) -> str:
    return f"{user_id}:{number}"


database.declare("contact_attempts", indexes=[Index(("expires_at",), expire_seconds=0)])
