"""Networks: how the telephone networks and Razorpay are, from what is recorded; nothing is asked of them."""

import asyncio
import collections
import dataclasses
import datetime as dt
from typing import Final, Literal

import gateway
import telephony
from core import clock, config
from core.database import db
from telephony import OVER, network_health, throttle
from telephony.network_health import WINDOW_SECONDS, NetworkState

# --- vocabulary ---------------------------------------------------------------------------------

State = Literal[
    "accepting",  # calls go to it
    "resting",  # no call goes to it before `until`
    "trying",  # its rest is over: the next call, or one that is on its way, finds out whether it is back
]

_MINUTE_SECONDS: Final = 60


@dataclasses.dataclass(frozen=True, slots=True)
class Network:
    """A telephone network: its breaker (`reason`, `since`, `until` unless it is accepting), its limits
    and the calls there are at it. `failed_count` of the last half minute."""

    name: str
    is_chosen: bool
    state: State
    reason: str | None
    since: dt.datetime | None
    until: dt.datetime | None
    failed_count: int
    calls_per_second: float | None
    calls_at_once: int | None
    placed_count: int  # in the last minute
    live_counts: dict[str, int]  # by the status of the call


@dataclasses.dataclass(frozen=True, slots=True)
class Razorpay:
    """Razorpay as this process knows it: for how long requests fail at once, because it did not answer."""

    is_answering: bool
    retry_after_seconds: float
    process_count: int  # that share the budget of requests
    requests_per_second: float | None


# --- verbs --------------------------------------------------------------------------------------


async def find_networks() -> list[Network]:
    """The network that new calls go to, and each other one that has calls or has failed."""
    states, live, placed = await asyncio.gather(
        network_health.list_states(), _live_counts(), _placed_counts()
    )
    chosen = telephony.get_chosen_provider()
    return [
        _network_of(network, states.get(network.name), live[network.name], placed[network.name])
        for network in sorted(telephony.list_providers(), key=lambda each: each is not chosen)
        if network is chosen or network.name in states or network.name in live
    ]


async def find_razorpay() -> Razorpay:
    """How Razorpay is."""
    seconds = gateway.retry_after_seconds()
    return Razorpay(
        is_answering=seconds == 0,
        retry_after_seconds=seconds,
        process_count=await db.gateway_processes.count_documents(
            {"alive_until": {"$gt": clock.now()}}
        ),
        requests_per_second=config.settings().gateway_requests_per_second,
    )


# --- what is recorded ---------------------------------------------------------------------------


def _network_of(
    network: telephony.Provider,
    stored: NetworkState | None,
    live_counts: dict[str, int],
    placed_count: int,
) -> Network:
    state = _state_of(stored)
    is_open = stored is not None and state != "accepting"
    return Network(
        name=network.name,
        is_chosen=network is telephony.get_chosen_provider(),
        state=state,
        reason=stored.get("reason") if stored and is_open else None,
        since=stored.get("opened_at") if stored and is_open else None,
        until=stored.get("until") if stored and is_open else None,
        failed_count=_failed_lately(stored),
        calls_per_second=throttle.calls_per_second(network),
        calls_at_once=network.can.calls_at_once,
        placed_count=placed_count,
        live_counts=live_counts,
    )


def _state_of(stored: NetworkState | None) -> State:
    if stored is None or stored["state"] == "closed":
        return "accepting"
    until = stored.get("until")
    return "resting" if until is not None and until > clock.now() else "trying"


def _failed_lately(stored: NetworkState | None) -> int:
    """The failures of the last half minute: older ones are forgotten when the next one comes."""
    if stored is None or (since := stored.get("window_at")) is None:
        return 0
    return stored.get("failed", 0) if since > clock.after(-WINDOW_SECONDS) else 0


async def _live_counts() -> dict[str, dict[str, int]]:
    """The calls that are not over, by network and status."""
    # Both conditions are those of an index over what is open.
    is_open = {"user_id": {"$gt": ""}, "rank": {"$lt": OVER}}
    group = {"_id": {"network": "$provider", "status": "$status"}, "count": {"$sum": 1}}
    counts: dict[str, dict[str, int]] = collections.defaultdict(dict)
    async for found in db.calls.aggregate([{"$match": is_open}, {"$group": group}]):
        counts[found["_id"].get("network", "")][found["_id"]["status"]] = int(found["count"])
    return counts


async def _placed_counts() -> collections.Counter[str]:
    """The calls of the last minute, by network."""
    lately = {"created_at": {"$gt": clock.after(-_MINUTE_SECONDS)}}
    group = {"_id": "$provider", "count": {"$sum": 1}}
    counts: collections.Counter[str] = collections.Counter()
    async for found in db.calls.aggregate([{"$match": lately}, {"$group": group}]):
        counts[found["_id"] or ""] = int(found["count"])
    return counts
