"""Transactional outbox: events written in the commit of their cause, delivered to handlers afterwards."""

import asyncio
import datetime as dt
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, NotRequired, TypedDict, cast, get_args

from core import clock, database, leases, pagination
from core.database import Document, Index, Insert, db
from core.errors import Problem

log = logging.getLogger(__name__)


# --- vocabulary ---------------------------------------------------------------------------------

EventState = Literal[
    "recorded",  # stored for people to read; no handler is called
    "pending",  # due at its time
    "done",
    "dead",  # it failed too often, or cannot succeed: a person has to decide
]


class Event(TypedDict):
    """A record of `events`: something that happened, and the state of its delivery."""

    _id: str
    name: str  # past tense: `WalletCredited`
    user_id: str | None
    data: dict[str, Any]  # the fields that belong to the name
    at: dt.datetime
    state: EventState
    # of events with handlers
    due_at: NotRequired[dt.datetime]  # when a process claims it next
    attempts: NotRequired[int]
    claim: NotRequired[str]  # of the process that handles it, or did
    outcome: NotRequired[str | None]  # what the last handler returned
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
    """A retry cannot succeed: the event becomes `dead`, for the reason given."""


database.declare(
    "events",
    indexes=[
        # A partial index over what is pending, so that finding work does not slow down with the history.
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
    """A companion write that stores the event `name` (past tense: `WalletCredited`).

    With `pending` it is passed to the handlers of that name after the commit, at least once. With
    an `event_id` derived from a fact, it is stored once.
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
    one event and by any process, so it must be idempotent."""
    known = _handlers.setdefault(name, [])
    if handler not in known:
        known.append(handler)


def wake() -> None:
    """Deliver now, not at the next poll: this process has committed a pending event."""
    _wake.set()


async def wait_for_work(seconds: float) -> None:
    """Wait until `wake` is called, `seconds` at most."""
    try:
        # Not `wait_for`: in Python 3.11 it loses a cancellation that coincides with `wake`.
        async with asyncio.timeout(seconds):
            await _wake.wait()
    except TimeoutError:
        pass
    _wake.clear()


async def deliver_due() -> int:
    """Pass the due events to their handlers; the number of events that were claimed.

    A batch is claimed by moving `due_at` ahead in one conditional update; after a crash of the
    process its claims are due again. A failing handler is retried with growing pauses, and after
    `_ATTEMPTS_MAX` attempts the event is `dead`, with the reason, for a person to see. When the
    database or another service did not answer, it is retried for at least a day. An event whose
    name has no handler in this process stays pending.
    """
    claimed = await _claim()
    await leases.gather_bounded(_handle, claimed, _AT_ONCE)
    return len(claimed)


async def store_event(event: Insert) -> bool:
    """Store an event that belongs to no other write; False when it is stored already.

    When this returns, a majority of the replica set has written it to disk.
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
    # All states are named, because the index has them before the time: their ranges are merged.
    states = get_args(EventState) if state is None else (state,)
    where: Document = {"name": name, "state": {"$in": list(states)}} | _NEWEST.behind(cursor)
    found = db.events.find(where, sort=_NEWEST.sort, limit=limit + 1)
    return _NEWEST.cut(cast(list[Event], await found.to_list(None)), limit)


async def retry_event(event_id: str, name: str) -> Event | None:
    """Pass an event to its handlers once more, whatever its state; None when there is no such event."""
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
        await _postpone_without_handler(event)
        return
    outcome: object = None
    try:
        for handler in handlers:
            outcome = await handler(event)
    except Exception as problem:
        await _record_failure(event, problem)
        return
    done = {
        "state": "done",
        "outcome": outcome if isinstance(outcome, str) else None,
        "failure": None,
    }
    await db.events.update_one(_while_claimed(event), {"$set": done, "$unset": {"due_at": ""}})


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


def _while_claimed(event: Event) -> Document:
    """The filter that matches the event only while this claim holds: one that was retried meanwhile
    stays pending, and what another process did after the lease stays done."""
    return {"_id": event["_id"], "claim": event["claim"], "attempts": {"$gt": 0}}


async def _postpone_without_handler(event: Event) -> None:
    """Keep an event pending that this process has no handler for: another process, or the next
    release, may have one. It does not count as an attempt, so the event does not become dead by it."""
    log.error("event %s %s: this process has no handler for it", event["_id"], event["name"])
    await db.events.update_one(
        _while_claimed(event),
        {"$set": {"due_at": clock.after(_NO_HANDLER_SECONDS)}, "$inc": {"attempts": -1}},
    )


async def _record_failure(event: Event, problem: Exception) -> None:
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
        _while_claimed(event),
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
