"""Dial queue: which user, and which campaign of the user, has the next turn; fair over all processes."""

import asyncio
import datetime as dt
from typing import Final, NotRequired, TypedDict, cast

from core import clock, database
from core.database import Document, Index, db

# --- vocabulary ---------------------------------------------------------------------------------


class QueuedUser(TypedDict):
    """A document of `dial_queue`: a user who has, or had, something to dial."""

    _id: str  # the user's id
    served_at: dt.datetime  # who was served least recently has the next turn
    is_ready: NotRequired[bool]  # a campaign of theirs may be dialled; absent: none may
    wakes: (
        int  # how often one became so: who finds nothing to dial puts the user away only unchanged
    )


_LONG_AGO: Final = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)

# Set when something of this process may be dialled; other processes see it at their next poll.
_woken: dict[asyncio.AbstractEventLoop, asyncio.Event] = {}


# --- verbs --------------------------------------------------------------------------------------


async def wake_user(user_id: str) -> None:
    """Give the user turns: a campaign of theirs may be dialled. Called after the campaign says so."""
    await db.dial_queue.update_one(
        {"_id": user_id},
        {
            "$set": {"is_ready": True},
            "$inc": {"wakes": 1},
            "$setOnInsert": {"served_at": _LONG_AGO},
        },
        upsert=True,
    )
    woken().set()


async def take_user() -> QueuedUser | None:
    """The user who was served least recently of those who have something to dial, served now; None
    when nobody has. No two processes get the same user for one turn."""
    found = await db.dial_queue.find_one_and_update(
        {"is_ready": True},
        {"$set": {"served_at": clock.now()}},
        sort=[("served_at", 1)],
        return_document=True,
    )
    return cast("QueuedUser | None", found)


async def rest_user(user: QueuedUser) -> None:
    """Give the user no more turns until the next `wake_user`: nothing of theirs can be dialled now.
    Nothing happens when something became so since the user was taken."""
    await db.dial_queue.update_one(
        {"_id": user["_id"], "wakes": user["wakes"]}, {"$unset": {"is_ready": ""}}
    )


async def count_ready_users(limit: int) -> int:
    """How many users have something to dial, `limit` at most."""
    return await db.dial_queue.count_documents({"is_ready": True}, limit=limit, hint=_READY.name)


async def is_anybody_ready() -> bool:
    """Whether any user has something to dial."""
    ready: Document = {"is_ready": True}
    found = await db.dial_queue.find_one(ready, {"_id": 1}, hint=_READY.name)
    return found is not None


def woken() -> asyncio.Event:
    """The event that is set when something became dialable in this process."""
    loop = asyncio.get_running_loop()
    if loop not in _woken:
        _woken.clear()
        _woken[loop] = asyncio.Event()
    return _woken[loop]


# --- storage ------------------------------------------------------------------------------------

# It holds only the users who have something to dial.
_READY: Final = Index(("served_at",), only_where={"is_ready": True})

database.declare("dial_queue", indexes=[_READY])
