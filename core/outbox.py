"""Transactional outbox: events written in the commit of their cause, delivered to handlers afterwards."""

import asyncio
import collections
import contextlib
import dataclasses
import datetime as dt
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, Literal, NotRequired, TypedDict, cast, get_args

from core import clock, database, leases, pagination
from core.database import Document, Index, Insert, Update, db
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
    retries: NotRequired[int]  # how often a person asked for it again
    outcome: NotRequired[str | None]  # what the last handler returned
    failure: NotRequired[str | None]  # why the last attempt failed


Handler = Callable[[Event], Awaitable[object]]


@dataclasses.dataclass(frozen=True, slots=True)
class Lane:
    """A queue of its own for some kinds of events: no event of another lane makes them wait.

    In each process `at_once` of its events are handled at the same time. A handler that takes longer
    than `limit_seconds` is cancelled; that is a failed attempt.
    """

    name: str
    at_once: int = 16
    limit_seconds: float = 60.0


# The lane of an event whose handlers were registered without one.
OTHERS: Final = Lane("others")

# Renewed while the event waits in this process and is handled; so long it waits after a crash.
_LEASE_SECONDS = 10.0
# How often a lane looks for events of other processes, and at most how often for those of its own.
_POLL_SECONDS = 1.0
_PAUSE_SECONDS = 0.01
_WOKEN_SECONDS = 30.0
_STALLED_SECONDS = 60.0
_ATTEMPTS_MAX = 20
_AWAY_SECONDS_MAX = 86_400
_KEPT_DAYS = 90
_NEWEST: Final = pagination.newest_first("at")

_handlers: dict[str, list[Handler]] = {}
_lanes: dict[str, Lane] = {}  # by the name of the event
_deliveries: dict[Lane, "_Delivery"] = {}
# When this process recorded a pending event of this name: its lane is woken by the commit.
_recorded_at: dict[str, float] = {}


class CannotSucceed(Exception):
    """A retry cannot succeed: the event becomes `dead`, for the reason given."""


class TookTooLong(Exception):
    """A handler did not end within the limit of its lane."""


database.declare(
    "events",
    indexes=[
        # A partial index over what is pending, so that finding the work of a lane slows down neither
        # with the history nor with what waits in other lanes.
        Index(("name", "due_at"), only_where={"state": "pending"}),
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
        _recorded_at[name] = time.monotonic()
    return Insert("events", event)


def on(name: str, handler: Handler, lane: Lane = OTHERS) -> None:
    """Call `handler(event)` for every pending event `name`, in `lane`. It may be called more than once
    for one event and by any process, so it must be idempotent. All handlers of a name share a lane."""
    known = _handlers.setdefault(name, [])
    if handler not in known:
        known.append(handler)
    _lanes[name] = lane


def lanes() -> list[Lane]:
    """The lanes of the events that have handlers."""
    return sorted(set(_lanes.values()), key=lambda lane: lane.name)


def wake() -> None:
    """Deliver now, not at the next poll: this process has committed a pending event."""
    since = time.monotonic() - _WOKEN_SECONDS
    for name, at in _recorded_at.items():
        delivery = _deliveries.get(_lanes.get(name, OTHERS))
        if delivery is not None and at > since:
            delivery.has_work.set()


async def deliver(lane: Lane) -> None:
    """Deliver the events of a lane until this is cancelled; any number of processes may do so.

    Due events are claimed many at a time, by moving `due_at` ahead in one conditional update, and
    handled as slots become free; their leases are renewed until then, so after a crash they are due
    again within seconds. A failing handler is retried with growing pauses, and after
    `_ATTEMPTS_MAX` attempts the event is `dead`, with the reason, for a person to see. When the
    database or another service did not answer, it is retried for at least a day. An event whose
    name has no handler in this process stays pending. When cancelled, it gives back what waits.
    """
    delivery = _deliveries[lane] = _Delivery(lane)
    try:
        await delivery.run()
    finally:
        if _deliveries.get(lane) is delivery:
            del _deliveries[lane]
        await delivery.stop()


def stalled_lanes() -> list[str]:
    """The lanes of this process that have not looked for events for a while."""
    since = time.monotonic() - _STALLED_SECONDS
    return [lane.name for lane, delivery in _deliveries.items() if delivery.turned_at < since]


async def deliver_due() -> int:
    """Deliver what is due now, once, and wait for it; the number of events that were claimed. For code
    that runs no lanes."""
    claimed: list[Event] = []
    for lane in lanes():
        found, _ = await _claim(lane, limit=100)
        claimed += found
    await leases.gather_bounded(_handle, claimed, OTHERS.at_once)
    return len(claimed)


async def report_unhandled() -> None:
    """Log which pending events have no handler in this process. They stay pending: another process, or
    the next release, may have one."""
    where: Document = {"state": "pending", "name": {"$nin": sorted(_lanes)}}
    found = db.events.find(where, {"name": 1}, sort=[("name", 1)], limit=10)
    for event in await found.to_list(None):
        log.error("event %s %s: this process has no handler for it", event["_id"], event["name"])


async def store_event(event: Insert) -> bool:
    """Store an event that belongs to no other write; False when it is stored already.

    When this returns, a majority of the replica set has it. Events that arrive together are one
    write.
    """
    try:
        await database.write_together(event)
    except database.DuplicateKey:
        return False
    wake()
    return True


async def list_events(
    name: str, *, state: EventState | None, cursor: str | None = None, limit: int
) -> tuple[list[Event], str | None]:
    """A page of the events `name`, the newest first, and the next cursor. Raises InvalidCursor."""
    # Each state is a range of the index, and the page a merge of them.
    states = {"$in": list(get_args(EventState))} if state is None else state
    where: Document = {"name": name, "state": states} | _NEWEST.behind(cursor)
    found = db.events.find(where, sort=_NEWEST.sort, limit=limit + 1)
    return _NEWEST.cut(cast(list[Event], await found.to_list(None)), limit)


async def find_event(event_id: str, name: str) -> Event | None:
    """An event `name` by its id; None when there is none."""
    return cast(Event | None, await db.events.find_one({"_id": event_id, "name": name}))


async def retry_event(event_id: str, name: str) -> Event | None:
    """Pass an event to its handlers once more, whatever its state; None when there is no such event."""
    found = await db.events.find_one_and_update(
        {"_id": event_id, "name": name},
        {
            "$set": {"state": "pending", "due_at": clock.now(), "attempts": 0, "failure": None},
            "$inc": {"retries": 1},
        },
        return_document=True,
    )
    _recorded_at[name] = time.monotonic()
    wake()
    return cast(Event | None, found)


# --- delivery -----------------------------------------------------------------------------------


class _Delivery:
    """The running delivery of one lane in this process."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.has_work = asyncio.Event()
        self.waiting: collections.deque[Event] = collections.deque()
        self.running: dict[str, asyncio.Task[None]] = {}
        self.claimed: dict[str, Event] = {}  # waiting or running
        self.may_have_more = False
        self.paused_until = 0.0
        self.turned_at = time.monotonic()

    async def run(self) -> None:
        """Claim and start events for ever; an error of the database ends nothing."""
        async with leases.renewing(self._renew, seconds=_LEASE_SECONDS):
            while True:
                self.turned_at = time.monotonic()
                self.has_work.clear()
                try:
                    await self._claim_more()
                except Exception as problem:
                    self._log("claiming", problem)
                self._start_waiting()
                # Not a query for each commit, nor for each event that has ended.
                await asyncio.sleep(_PAUSE_SECONDS)
                if not (self.may_have_more and self._has_room()):
                    await self._wait()

    async def stop(self) -> None:
        """Cancel what runs, and give back what has not ended."""
        claimed = list(self.claimed.values())
        for task in self.running.values():
            task.cancel()
        await asyncio.gather(*self.running.values(), return_exceptions=True)
        with contextlib.suppress(Problem, database.AnyError):
            await _release(claimed)

    async def _wait(self) -> None:
        """Until there may be work: an event was committed, a slot is free, or another process has
        recorded something."""
        seconds = max(_POLL_SECONDS, min(10.0, self.paused_until - time.monotonic()))
        # Not `wait_for`: in Python 3.11 it loses a cancellation that coincides with the event.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.has_work.wait()

    def _has_room(self) -> bool:
        is_paused = time.monotonic() < self.paused_until
        return len(self.claimed) <= self.lane.at_once and not is_paused

    async def _claim_more(self) -> None:
        """Claim events for the free slots, and as many to wait, so that a slot is never free while they
        are claimed."""
        if self._has_room():
            wanted = 2 * self.lane.at_once - len(self.claimed)
            found, self.may_have_more = await _claim(self.lane, limit=wanted)
            self.waiting.extend(found)
            self.claimed.update((event["_id"], event) for event in found)

    def _start_waiting(self) -> None:
        while self.waiting and len(self.running) < self.lane.at_once:
            event = self.waiting.popleft()
            task = asyncio.create_task(self._one(event), name=f"event {event['_id']}")
            self.running[event["_id"]] = task

    async def _one(self, event: Event) -> None:
        try:
            pause_seconds = await _handle(event)
            if pause_seconds:
                self.paused_until = time.monotonic() + pause_seconds
        except Exception as problem:
            self._log(f"event {event['_id']}", problem)
        finally:
            # Not there when it was claimed again meanwhile: the machine slept longer than a lease lasts.
            self.running.pop(event["_id"], None)
            self.claimed.pop(event["_id"], None)
            self._start_waiting()
            if self.may_have_more:
                self.has_work.set()

    async def _renew(self) -> bool:
        """Extend the leases of what this process has; those that others have taken stay theirs."""
        for_claims = sorted({event["claim"] for event in self.claimed.values()})
        if for_claims:
            await db.events.update_many(
                {"_id": {"$in": sorted(self.claimed)}, "claim": {"$in": for_claims}, **_UNDONE},
                {"$set": {"due_at": clock.after(_LEASE_SECONDS)}},
            )
        return True

    def _log(self, doing: str, problem: Exception) -> None:
        if database.is_away(problem) or _is_503(problem):
            log.warning("%s: %s: database away: %s", self.lane.name, doing, type(problem).__name__)
        else:
            log.error("%s: %s failed", self.lane.name, doing, exc_info=problem)


async def _handle(event: Event) -> float:
    """Pass an event to its handlers and store the outcome; for how many seconds its lane shall pause,
    because a service that the handlers ask said so."""
    lane = _lanes.get(event["name"], OTHERS)
    outcome: object = None
    try:
        async with asyncio.timeout(lane.limit_seconds) as limit:
            for handler in _handlers[event["name"]]:
                outcome = await handler(event)
    except Exception as problem:
        if isinstance(problem, TimeoutError) and limit.expired():
            problem = TookTooLong(f"The handler took longer than {lane.limit_seconds:g} s.")
        return await _record_failure(event, problem)
    done = {
        "state": "done",
        "outcome": outcome if isinstance(outcome, str) else None,
        "failure": None,
    }
    # Whoever finishes says so, also after its lease was over: else an event that takes longer than a
    # lease would be handled for ever. One that a person asked for again meanwhile stays pending.
    finished: Document = {"_id": event["_id"], "retries": event.get("retries")}
    finished |= {"state": {"$in": ["pending", "dead"]}}
    change = {"$set": done, "$unset": {"due_at": ""}}
    await database.write_together(Update("events", finished, change))
    return 0.0


# --- storage ------------------------------------------------------------------------------------


_UNDONE: Final[Document] = {"state": "pending"}


async def _claim(lane: Lane, *, limit: int) -> tuple[list[Event], bool]:
    """Claim due events of a lane, and whether there may be more, because so many were due or another
    process was first."""
    names = sorted(name for name, its_lane in _lanes.items() if its_lane == lane)
    now = clock.now()
    due = {"state": "pending", "name": {"$in": names}, "due_at": {"$lte": now}}
    waiting = db.events.find(due, {"_id": 1}, sort=[("due_at", 1)], limit=limit)
    ids = [found["_id"] for found in await waiting.to_list(None)]
    if not ids:
        return [], False
    claim = database.new_id("claim")
    await db.events.update_many(
        {"_id": {"$in": ids}, "state": "pending", "due_at": {"$lte": now}},
        {
            "$set": {"due_at": clock.after(_LEASE_SECONDS), "claim": claim},
            "$inc": {"attempts": 1},
        },
    )
    found = db.events.find({"_id": {"$in": ids}, "claim": claim}, sort=[("_id", 1)])
    claimed = cast(list[Event], await found.to_list(None))
    return claimed, len(ids) == limit or len(claimed) < len(ids)


async def _release(events: Iterable[Event]) -> None:
    """Give back events that this process has claimed and not finished: they are due at once, and this was
    no attempt."""
    by_claim: dict[str, list[str]] = {}
    for event in events:
        by_claim.setdefault(event["claim"], []).append(event["_id"])
    for claim, ids in by_claim.items():
        await db.events.update_many(
            {"_id": {"$in": ids}, "claim": claim, **_UNDONE},
            {"$set": {"due_at": clock.now()}, "$inc": {"attempts": -1}},
        )


async def _record_failure(event: Event, problem: Exception) -> float:
    """Store why an attempt failed, and when the next one is; for how many seconds the lane shall pause.

    A service that says when to ask again is not asked sooner. When it was not asked at all (a circuit
    breaker, no connection), this was no attempt, and the lane pauses: the next event would end alike.
    """
    asked_seconds = float(getattr(problem, "retry_after_seconds", 0) or 0)
    was_asked = bool(getattr(problem, "sent", True))
    dead = was_asked and _is_dead(event, problem)
    is_away = database.is_away(problem)
    is_expected = is_away or isinstance(problem, CannotSucceed | Problem | TookTooLong)
    log.log(
        logging.ERROR if dead else logging.WARNING,
        "event %s %s: attempt %d failed: %s%s",
        event["_id"],
        event["name"],
        event["attempts"],
        "database away: " if is_away else "",
        type(problem).__name__,
        exc_info=None if is_expected else problem,
    )
    kind = "" if isinstance(problem, CannotSucceed) else f"{type(problem).__name__}: "
    growing_seconds = _growing_seconds(event["attempts"]) if was_asked else 1.0
    failed: Document = {
        "$set": {
            "state": "dead" if dead else "pending",
            "due_at": clock.after(max(asked_seconds, growing_seconds)),
            "failure": f"{kind}{problem}"[:500],
        }
    }
    if not was_asked:
        failed["$inc"] = {"attempts": -1}
    # Only while the claim holds: what another process did after the lease stays done.
    held = {"_id": event["_id"], "claim": event["claim"], "retries": event.get("retries")}
    # While the database is away this cannot be stored either: the event is due when its lease is over.
    with contextlib.suppress(*(database.AWAY if is_away else ())):
        await db.events.update_one(held | _UNDONE, failed)
    return 0.0 if was_asked else asked_seconds


def _growing_seconds(attempts: int) -> float:
    """The pause after so many failed attempts."""
    return min(300.0, 2.0 ** min(attempts, 9))


def _is_dead(event: Event, problem: Exception) -> bool:
    """Whether the event is not tried again after `problem`."""
    if isinstance(problem, CannotSucceed) or event["attempts"] < _ATTEMPTS_MAX:
        return isinstance(problem, CannotSucceed)
    is_away = database.is_away(problem) or _is_503(problem)
    return not is_away or event["at"] < clock.after(-_AWAY_SECONDS_MAX)


def _is_503(problem: Exception) -> bool:
    return isinstance(problem, Problem) and problem.status == 503
