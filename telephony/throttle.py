"""Provider throttle: new calls a second, for all processes, shared by single calls and campaigns."""

import datetime as dt
from collections.abc import Sequence
from typing import Any, Final, Literal, NotRequired, TypedDict, cast

from core import config, database
from core.database import Document, db
from telephony import Provider

# --- vocabulary ---------------------------------------------------------------------------------

Share = Literal["single", "campaign"]

# How long a single call waits for its turn, with its money reserved.
PATIENCE_SECONDS: Final = 10.0

# Of the turns while both kinds wait. Somebody waits in front of a screen for a single call, and 15 of
# them, one in each second at one turn a second, have to be placed before their patience ends.
SINGLE_SHARE: Final = 0.75

# Who comes later than its turn by this part of an interval does not make the next turn later.
_LATE_SHARE: Final = 0.1
# When to ask again after the other kind's turn, and how long one that asked counts as waiting.
_AGAIN_SECONDS: Final = 0.05
_WAITS_SECONDS: Final = 0.5
_TRIES_MAX: Final = 5


class Queue(TypedDict):
    """A document of `turns`: when one telephone network may be asked for the next call."""

    _id: str  # the network's name
    asked_at: dt.datetime
    next_at: dt.datetime
    is_taken: bool  # whether whoever asked at `asked_at` took the turn
    # until when the kinds of calls that were refused a turn count as waiting for one
    single_until: NotRequired[dt.datetime]
    campaign_until: NotRequired[dt.datetime]
    single_user: NotRequired[str]  # whose single call had a turn last
    single_due: NotRequired[float]  # while both wait: from 1 on, a single call has the next turn


database.declare("turns")


# --- verbs --------------------------------------------------------------------------------------


async def take_turn(network: Provider, share: Share) -> float:
    """Take a turn at the network now: 0.0 when the caller has it, else the seconds after which to ask
    again. Nothing is booked ahead, and a turn that is not used is lost.

    Turns are an interval apart by the database's clock (`Capabilities.calls_per_second`, or the
    setting), and missed ones are not made up for. While both kinds of calls wait, `SINGLE_SHARE` of
    them go to single calls; either kind takes what the other leaves.
    """
    if (rate := calls_per_second(network)) is None:
        return 0.0
    stages = _stages(share, interval_ms=1_000 / rate)
    found = await db.turns.find_one_and_update(
        {"_id": network.name}, stages, upsert=True, return_document=True
    )
    queue = cast(Queue, found)
    if queue["is_taken"]:
        return 0.0
    wait_seconds = (queue["next_at"] - queue["asked_at"]).total_seconds()
    return wait_seconds if wait_seconds > 0 else min(_AGAIN_SECONDS, 1 / rate)


def _stages(share: Share, *, interval_ms: float) -> list[Document]:
    """The update that takes a turn for `share` if there is one for it, and else notes that it waits."""
    other = "campaign" if share == "single" else "single"
    due: Any = {"$ifNull": ["$single_due", 1.0]}
    is_its_turn: Any = {"$gte": [due, 1]} if share == "single" else {"$lt": [due, 1]}
    does_other_wait: Any = {"$gt": [{"$ifNull": [f"${other}_until", None]}, "$$NOW"]}
    more_due: Any = {"$min": [{"$add": [due, SINGLE_SHARE]}, 1 + SINGLE_SHARE]}
    if share == "single":
        more_due = {"$cond": ["$both_wait", {"$subtract": [{"$add": [due, SINGLE_SHARE]}, 1]}, due]}
    earliest: Any = {"$subtract": ["$$NOW", interval_ms * _LATE_SHARE]}
    next_at: Any = {"$add": [{"$max": ["$next_at", earliest]}, interval_ms]}
    waits_ms: Any = {"$max": [0, {"$subtract": ["$next_at", "$$NOW"]}]}
    until: Any = {"$add": ["$$NOW", waits_ms, _WAITS_SECONDS * 1_000]}
    taken: Any = "$is_taken"
    return [
        {
            "$set": {
                "asked_at": "$$NOW",
                "next_at": {"$ifNull": ["$next_at", "$$NOW"]},
                "both_wait": does_other_wait,
            }
        },
        {
            "$set": {
                "is_taken": {
                    "$and": [
                        {"$lte": ["$next_at", "$$NOW"]},
                        {"$or": [{"$not": ["$both_wait"]}, is_its_turn]},
                    ]
                }
            }
        },
        {
            "$set": {
                "next_at": {"$cond": [taken, next_at, "$next_at"]},
                "single_due": {"$cond": [taken, more_due, due]},
                f"{share}_until": {"$cond": [taken, "$$NOW", until]},
            }
        },
        {"$unset": "both_wait"},
    ]


def is_limited(network: Provider) -> bool:
    """Whether calls have to wait for turns at this network."""
    return calls_per_second(network) is not None


async def take_user(network: Provider, users: Sequence[str]) -> str:
    """Whose turn it is of these users (not empty) that wait for single calls: one after the other, over
    all processes. At most one turn is given twice when two processes ask at once and one gives up."""
    order = sorted(users)
    for _ in range(_TRIES_MAX):
        queue = await db.turns.find_one({"_id": network.name}, {"single_user": 1}) or {}
        last = queue.get("single_user")
        chosen = next((user for user in order if last is None or user > last), order[0])
        moved = await db.turns.update_one(
            {"_id": network.name, "single_user": last}, {"$set": {"single_user": chosen}}
        )
        if moved.matched_count:
            return chosen
    return order[0]


def calls_per_second(network: Provider) -> float | None:
    """How many new calls a second this network is asked for at most; None is no limit."""
    chosen = config.settings()
    if chosen.telephony_calls_per_second:
        return chosen.telephony_calls_per_second
    # A server that replaces a network in tests has no account, and so none of its limits.
    return None if chosen.is_replaced(network.name) else network.can.calls_per_second
