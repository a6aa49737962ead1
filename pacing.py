"""How fast a telephone network is asked for new calls: each has its turn, over all processes."""

import asyncio
from typing import Final

import clock
import config
import database
from database import db
from telephony import BUSY, NotSent, Provider

# --- vocabulary ---------------------------------------------------------------------------------

# So long a call waits for its turn, with its money reserved; a longer queue takes nobody.
PATIENCE_SECONDS: Final = 10.0

database.declare("turns")

# --- verbs --------------------------------------------------------------------------------------


async def turn(network: Provider) -> None:
    """Wait until the network may be asked for one more call. Raises NotSent when the queue is long.

    Turns are an interval apart, by the database's clock, and one that is not used is not made up
    for: what networks count is calls in a second. Source: `Capabilities.calls_per_second`.
    """
    interval_seconds = _interval_seconds(network)
    if interval_seconds == 0:
        return
    too_late = {"$add": ["$asked_at", PATIENCE_SECONDS * 1_000]}
    after_it = {"$add": ["$turn_at", interval_seconds * 1_000]}
    queue = await db.turns.find_one_and_update(
        {"_id": network.name},
        [
            {"$set": {"asked_at": "$$NOW", "turn_at": {"$max": ["$next_at", "$$NOW"]}}},
            {"$set": {"is_taken": {"$lte": ["$turn_at", too_late]}}},
            {"$set": {"next_at": {"$cond": ["$is_taken", after_it, "$next_at"]}}},
        ],
        upsert=True,
        return_document=True,
    )
    if not queue["is_taken"]:
        raise NotSent(BUSY)
    await asyncio.sleep((queue["turn_at"] - queue["asked_at"]).total_seconds())


async def room(network: Provider, *, most: int) -> int:
    """How many calls would have their turn now, about, and at `most`."""
    interval_seconds = _interval_seconds(network)
    if interval_seconds == 0:
        return most
    queue = await db.turns.find_one({"_id": network.name})
    queued_seconds = 0.0 if queue is None else (queue["next_at"] - clock.now()).total_seconds()
    return min(most, int((PATIENCE_SECONDS - max(0.0, queued_seconds)) / interval_seconds))


def _interval_seconds(network: Provider) -> float:
    calls_per_second = config.settings().telephony_calls_per_second
    rate = calls_per_second or network.can.calls_per_second
    return 0.0 if rate is None else 1 / rate
