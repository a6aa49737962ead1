"""Transactional outbox: events written in the commit of their cause, delivered to handlers afterwards."""

import asyncio
import datetime as dt
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, NotRequired, TypedDict, cast

from core import clock, database, leases, pagination
from core.database import Document, Index, Insert, db
from core.errors import Problem

log = logging.getLogger(__name__)


# --- vocabulary ---------------------------------------------------------------------------------

EventState = Literal[
    "recorded",  # kept for people to read; no handler is called
    "pending",  # due at its time
    "done",
    "dead",  # it failed too often, or cannot succeed: a person decides
]


class Event(TypedDict):
    """A record of `events`: something that happened, and how far its handlers have come."""

    _id: str
    name: str  # past tense: `WalletCredited`
    user_id: str | None
    data: dict[str, Any]  # what the name says
    at: dt.datetime
    state: EventState
    # of events with handlers
    due_at: NotRequired[dt.datetime]  # when a process claims it next
    attempts: NotRequired[int]
    claim: NotRequired[str]  # of the process that handles it, or did
    outcome: NotRequired[str | None]  # what the last handler answered
    failure: NotRequired[str | None]  # why the last attempt failed


Handler = Callable[[Event], Awaitable[object]]
_BATCH_MAX = 100
_AT_ONCE = 16
_LEASE_SECONDS = 60
_ATTEMPTS_MAX = 20
_AWAY_SECONDS_MAX = 86_400
_NO_HANDLER_SECONDS = 60
_KEPT_DAYS = 90
_NEWEST: Final = pagination.newest_first("at")

_handlers: dict[str, list[Handler]] = {}
_wake = asyncio.Event()


class CannotSucceed(Exception):
    """Trying again cannot help: the event is dead, for the reason given."""


database.declare(
    "events",
    indexes=[
        # Only what waits is in this index, so finding work costs nothing however long the history.
        Index(("due_at",), only_where={"state": "pending"}),
        Index(("user_id", "-at")),
        Index(("name", "state", "-at", "-_id")),
        Index(("at",), expire_seconds=_KEPT_DAYS * 86_400),
    ],
)


# --- verbs --------------------------------------------------------------------------------------


def record_event(
    name: str,
    *,
    user_id: str | None,
    pending: bool = False,
    event_id: str | None = None,
    **data: Any,
) -> Insert:
    """A companion write that keeps the event `name` (past tense: `WalletCredited`).

    With `pending` it is handed to the handlers of that name after the commit, at least once. With
    an `event_id` made from a fact, it is kept once.
    """
    now = clock.now()
    event: Event = {
        "_id": event_id or database.new_id("evt"),
        "name": name,
        "user_id": user_id,
        "data": data,
        "at": now,
        "state": "pending" if pending else "recorded",
    }
    if pending:
        event["due_at"] = now
        event["attempts"] = 0
    return Insert("events", event)


def on(name: str, handler: Handler) -> None:
    """Call `handler(event)` for every pending event `name`. It may be called more than once for
    one event and by any process, so it must be harmless when repeated."""
    known = _handlers.setdefault(name, [])
    if handler not in known:
        known.append(handler)


def wake() -> None:
    """Something pending was committed by this process: look now instead of at the next tick."""
    _wake.set()


async def wait_for_work(seconds: float) -> None:
    """Until `wake` is called, or `seconds` at most."""
    try:
        # Not `wait_for`: in Python 3.11 it forgets to be cancelled when there is work at that moment.
        async with asyncio.timeout(seconds):
            await _wake.wait()
    except TimeoutError:
        pass
    _wake.clear()


async def deliver_due() -> int:
    """Hand what is due to its handlers; the number of events that were handled.

    A batch is claimed by moving `due_at` ahead in one conditional update a process; a process
    that dies leaves its claims to be due again. A failing handler is tried again with a growing
    pause, and after `_ATTEMPTS_MAX` the event is `dead`, with the reason, for a person to see. Where
    somebody did not answer, that is not the event's fault: it is tried for a day. An event whose
    name has no handler in this process stays pending.
    """
    claimed = await _claim()
    await leases.gather_bounded(_handle, claimed, _AT_ONCE)
    return len(claimed)


async def store_event(event: Insert) -> bool:
    """Keep an event that belongs to no commit; False when it is kept already.

    When this returns, a crash loses nothing: it is on the majority's disks.
    """
    try:
        await database.write_all([event])
    except database.AnyError as problem:
        if not database.is_duplicate(problem):
            raise
        return False
    wake()
    return True


async def list_events(
    name: str, *, state: EventState | None, cursor: str | None = None, limit: int
) -> tuple[list[Event], str | None]:
    """A page of the events `name`, the newest first, and the next cursor. Raises InvalidCursor."""
    where: Document = {"name": name} | _NEWEST.behind(cursor)
    if state is not None:
        where["state"] = state
    found = db.events.find(where, sort=_NEWEST.sort, limit=limit + 1)
    return _NEWEST.cut(cast(list[Event], await found.to_list(None)), limit)


async def retry_event(event_id: str, name: str) -> Event | None:
    """Hand an event to its handlers once more, whatever became of it; None when there is none."""
    found = await db.events.find_one_and_update(
        {"_id": event_id, "name": name},
        {"$set": {"state": "pending", "due_at": clock.now(), "attempts": 0, "failure": None}},
        return_document=True,
    )
    wake()
    return cast(Event | None, found)


async def _handle(event: Event) -> None:
    handlers = _handlers.get(event["name"])
    if not handlers:
        await _leave_to_another(event)
        return
    outcome: object = None
    try:
        for handler in handlers:
            outcome = await handler(event)
    except Exception as problem:
        await _put_back(event, problem)
        return
    done = {
        "state": "done",
        "outcome": outcome if isinstance(outcome, str) else None,
        "failure": None,
    }
    await db.events.update_one(_mine(event), {"$set": done, "$unset": {"due_at": ""}})


# --- storage ------------------------------------------------------------------------------------


async def _claim() -> list[Event]:
    now = clock.now()
    waiting = db.events.find(
        {"state": "pending", "due_at": {"$lte": now}}, {"_id": 1}, sort=[("due_at", 1)]
    )
    ids = [found["_id"] for found in await waiting.to_list(_BATCH_MAX)]
    if not ids:
        return []
    claim = database.new_id("claim")
    await db.events.update_many(
        {"_id": {"$in": ids}, "state": "pending", "due_at": {"$lte": now}},
        {
            "$set": {"due_at": clock.after(_LEASE_SECONDS), "claim": claim},
            "$inc": {"attempts": 1},
        },
    )
    claimed = db.events.find({"_id": {"$in": ids}, "claim": claim}, sort=[("_id", 1)])
    return cast(list[Event], await claimed.to_list(None))


def _mine(event: Event) -> Document:
    """What finds the event only while this claim holds: one that was asked for again meanwhile stays
    pending, and what another process did after the lease stays done."""
    return {"_id": event["_id"], "claim": event["claim"], "attempts": {"$gt": 0}}


async def _leave_to_another(event: Event) -> None:
    """Keep an event pending that this process has no handler for: another process, or the next
    release, may have one. It does not count as an attempt, so the event never becomes dead by it."""
    log.error("event %s %s: this process has no handler for it", event["_id"], event["name"])
    await db.events.update_one(
        _mine(event),
        {"$set": {"due_at": clock.after(_NO_HANDLER_SECONDS)}, "$inc": {"attempts": -1}},
    )


async def _put_back(event: Event, problem: Exception) -> None:
    dead = _is_dead(event, problem)
    log.log(
        logging.ERROR if dead else logging.WARNING,
        "event %s %s: attempt %d failed: %s",
        event["_id"],
        event["name"],
        event["attempts"],
        type(problem).__name__,
        exc_info=None if isinstance(problem, CannotSucceed | Problem) else problem,
    )
    kind = "" if isinstance(problem, CannotSucceed) else f"{type(problem).__name__}: "
    pause_seconds = min(300, 2 ** event["attempts"])
    await db.events.update_one(
        _mine(event),
        {
            "$set": {
                "state": "dead" if dead else "pending",
                "due_at": clock.after(pause_seconds),
                "failure": f"{kind}{problem}"[:500],
            }
        },
    )


def _is_dead(event: Event, problem: Exception) -> bool:
    """Whether the event is not tried again after `problem`."""
    if isinstance(problem, CannotSucceed) or event["attempts"] < _ATTEMPTS_MAX:
        return isinstance(problem, CannotSucceed)
    is_away = database.is_away(problem) or (isinstance(problem, Problem) and problem.status == 503)
    return not is_away or event["at"] < clock.after(-_AWAY_SECONDS_MAX)
