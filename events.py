"""What happened, written with the money and handled afterwards: the transactional outbox."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import clock
import database
from database import Document, Index, Insert, db

log = logging.getLogger(__name__)

# --- vocabulary ---------------------------------------------------------------------------------

Handler = Callable[[Document], Awaitable[None]]

_BATCH_MAX = 100
_LEASE_SECONDS = 60
_ATTEMPTS_MAX = 20
_KEPT_DAYS = 90

_handlers: dict[str, list[Handler]] = {}
_wake = asyncio.Event()

database.declare(
    "events",
    indexes=[
        # Only what waits is in this index, so finding work costs nothing however long the history.
        Index(("due_at",), only_where={"state": "pending"}),
        Index(("user_id", "-at")),
        Index(("at",), expire_seconds=_KEPT_DAYS * 86_400),
    ],
)

# --- verbs --------------------------------------------------------------------------------------


def record(name: str, *, user_id: str, pending: bool = False, **data: Any) -> Insert:
    """A companion write that keeps the event `name` (past tense: `WalletCredited`).

    With `pending` it is handed to the handlers of that name after the commit, at least once.
    """
    now = clock.now()
    document: Document = {
        "_id": database.new_id("evt"),
        "name": name,
        "user_id": user_id,
        "data": data,
        "at": now,
        "state": "pending" if pending else "recorded",
    }
    if pending:
        document |= {"due_at": now, "attempts": 0}
    return Insert("events", document)


def on(name: str, handler: Handler) -> None:
    """Call `handler(event)` for every pending event `name`. It may be called more than once for
    one event and by any process, so it must be harmless when repeated."""
    known = _handlers.setdefault(name, [])
    if handler not in known:
        known.append(handler)


def nudge() -> None:
    """Something pending was committed by this process: look now instead of at the next tick."""
    _wake.set()


async def wait_for_work(seconds: float) -> None:
    """Until `nudge`, or `seconds` at most."""
    try:
        await asyncio.wait_for(_wake.wait(), seconds)
    except TimeoutError:
        pass
    _wake.clear()


async def deliver() -> int:
    """Hand what is due to its handlers; the number of events that were handled.

    A batch is claimed by moving `due_at` ahead in one conditional update a process; a process
    that dies leaves its claims to be due again. A failing handler is tried again with a growing
    pause, and after `_ATTEMPTS_MAX` the event is `dead`, with the reason, for a person to see.
    """
    claimed = await _claim()
    for event in claimed:
        try:
            for handler in _handlers.get(event["name"], ()):
                await handler(event)
        except Exception as problem:
            await _put_back(event, problem)
        else:
            await db.events.update_one(
                {"_id": event["_id"]}, {"$set": {"state": "done"}, "$unset": {"due_at": ""}}
            )
    return len(claimed)


# --- storage ------------------------------------------------------------------------------------


async def _claim() -> list[Document]:
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
    return await db.events.find({"_id": {"$in": ids}, "claim": claim}, sort=[("_id", 1)]).to_list(
        None
    )


async def _put_back(event: Document, problem: Exception) -> None:
    dead = event["attempts"] >= _ATTEMPTS_MAX
    log.log(
        logging.ERROR if dead else logging.WARNING,
        "event %s %s: attempt %d failed: %s",
        event["_id"],
        event["name"],
        event["attempts"],
        type(problem).__name__,
        exc_info=problem,
    )
    pause_seconds = min(300, 2 ** event["attempts"])
    await db.events.update_one(
        {"_id": event["_id"]},
        {
            "$set": {
                "state": "dead" if dead else "pending",
                "due_at": clock.after(pause_seconds),
                "failure": f"{type(problem).__name__}: {problem}"[:500],
            }
        },
    )
