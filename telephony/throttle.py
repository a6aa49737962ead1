"""Provider throttle: new calls a second, kept by all processes together."""

import asyncio
import datetime as dt
from typing import Final, TypedDict, cast

from core import clock, config, database
from core.database import db
from telephony import BUSY, NotSent, Provider

# --- vocabulary ---------------------------------------------------------------------------------

# How long a call waits for its turn, with its money reserved; a longer queue accepts no more calls.
PATIENCE_SECONDS: Final = 10.0


class Queue(TypedDict):
    """A document of `turns`: the queue of one telephone network."""

    _id: str  # the network's name
    asked_at: dt.datetime
    first_at: dt.datetime
    next_at: dt.datetime
    taken: float  # how many turns were taken at `asked_at`


database.declare("turns")


# --- verbs --------------------------------------------------------------------------------------


async def take_turns(network: Provider, count: int) -> list[dt.datetime]:
    """Up to `count` moments from now on at which the network may be asked for a call; fewer, or
    none, when the queue is long. A turn that is not used is lost.

    They are an interval apart, by the database's clock, and missed ones are not repeated later:
    networks limit the calls in each second. Source: `Capabilities.calls_per_second`.
    """
    rate = _calls_per_second(network)
    if rate is None:
        return [clock.now()] * count
    interval_ms = 1_000 / rate
    left_ms = {"$subtract": [{"$add": ["$asked_at", PATIENCE_SECONDS * 1_000]}, "$first_at"]}
    fitting = {"$add": [1, {"$floor": {"$divide": [left_ms, interval_ms]}}]}
    found = await db.turns.find_one_and_update(
        {"_id": network.name},
        [
            {"$set": {"asked_at": "$$NOW", "first_at": {"$max": ["$next_at", "$$NOW"]}}},
            {"$set": {"taken": {"$max": [0, {"$min": [count, fitting]}]}}},
            {"$set": {"next_at": {"$add": ["$first_at", {"$multiply": ["$taken", interval_ms]}]}}},
        ],
        upsert=True,
        return_document=True,
    )
    queue = cast(Queue, found)
    wait_seconds = (queue["first_at"] - queue["asked_at"]).total_seconds()
    return [
        clock.after(wait_seconds + place * interval_ms / 1_000)
        for place in range(int(queue["taken"]))
    ]


async def wait_for_turn(network: Provider, turn_at: dt.datetime | None) -> None:
    """Wait for the turn at `turn_at`, or with None for the next one; NotSent when the queue is full."""
    if turn_at is None:
        if not (found := await take_turns(network, 1)):
            raise NotSent(BUSY)
        turn_at = found[0]
    await asyncio.sleep((turn_at - clock.now()).total_seconds())


def _calls_per_second(network: Provider) -> float | None:
    chosen = config.settings()
    if chosen.telephony_calls_per_second:
        return chosen.telephony_calls_per_second
    # A server that replaces a network in tests has no account, and so none of its limits.
    return None if chosen.is_replaced(network.name) else network.can.calls_per_second
