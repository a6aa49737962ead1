"""Network health: whether new calls may go to a network now, for all processes, and why not."""

import dataclasses
import datetime as dt
import logging
import math
import time
from collections import deque
from typing import Final, Literal, NotRequired, TypedDict, cast

from core import clock, database
from core.database import Document, db
from telephony.provider import BUSY, NETWORK_DOWN, TOO_SLOW, UNREACHABLE, NotSent, Refused

log = logging.getLogger(__name__)


# --- vocabulary ---------------------------------------------------------------------------------

State = Literal[
    "closed",  # calls go to the network
    "open",  # no call does before `until`; then one does, to find out (half-open)
]


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """How a network answered a new call: `accepted` (also when it refused the number: it works), `failed`
    (no usable answer), `stopped` (it accepts no call of this account, `reason` says why) or `neutral`
    (it says nothing about the network)."""

    kind: Literal["accepted", "failed", "stopped", "neutral"]
    reason: str | None = None


ACCEPTED: Final = Outcome("accepted")

# Of the outcomes of this long, at least so many are needed, and this share of failures, to open.
WINDOW_SECONDS: Final = 30
OUTCOMES_MIN: Final = 6
FAILED_SHARE: Final = 0.5
NO_ANSWER: Final = "provider_does_not_answer"

# How long the network is left alone: twice as long each time it opens again soon, up to the maximum.
OPEN_SECONDS: Final = 5.0
STOPPED_SECONDS: Final = 15.0
OPEN_SECONDS_MAX: Final = 300.0
# A network that was closed for so long begins with the shortest time again.
_FORGET_SECONDS: Final = 600
# Nobody else may try the network while a probe is on its way, or until it is certainly lost.
_PROBE_SECONDS: Final = 30
# More than this need not be remembered of what a network accepted: it works.
_ACCEPTED_MAX: Final = 1_000
# What others stored is known here this much later at most.
_CACHE_SECONDS: Final = 0.5


class NetworkState(TypedDict):
    """A document of `network_health`: the circuit breaker of one telephone network."""

    _id: str  # the network's name
    state: State
    reason: NotRequired[str | None]
    opened_at: NotRequired[dt.datetime | None]
    until: NotRequired[dt.datetime | None]
    probe_until: NotRequired[dt.datetime | None]
    times: NotRequired[int]  # how often it opened, each time soon after the last
    # the outcomes since `window_at`
    window_at: NotRequired[dt.datetime]
    accepted: NotRequired[int]
    failed: NotRequired[int]


@dataclasses.dataclass(frozen=True, slots=True)
class Health:
    """Whether a network accepts no calls now, why not, and when it is tried again.

    While `is_open` no call is placed; when `until` has passed, one caller may try it (`admit`).
    """

    is_open: bool
    reason: str | None = None
    until: dt.datetime | None = None

    @property
    def retry_after_seconds(self) -> int:
        """In how many seconds it is tried again, at least one."""
        if self.until is None:
            return 1
        return max(1, math.ceil((self.until - clock.now()).total_seconds()))


database.declare("network_health")

# What was read last of each network, and when (monotonic); when it accepted what is not stored yet.
_cached: dict[str, tuple[float, NetworkState | None]] = {}
_accepted: dict[str, deque[float]] = {}


# --- verbs --------------------------------------------------------------------------------------


async def get_health(name: str) -> Health:
    """Whether the network `name` accepts no calls now. Of what is known here, at most half a second
    old. Raises what the database raises: unknown is not healthy."""
    state = await _state_of(name)
    if state is None or state["state"] == "closed":
        return Health(False)
    now, until, probe_until = clock.now(), state.get("until"), state.get("probe_until")
    waits_until = until
    if probe_until is not None and (until is None or probe_until > until):
        waits_until = probe_until
    is_open = waits_until is not None and waits_until > now
    return Health(is_open, state.get("reason"), waits_until)


async def list_states() -> dict[str, NetworkState]:
    """What is stored of each network that has ever failed, by its name."""
    found = await db.network_health.find({}).to_list(None)
    return {state["_id"]: cast(NetworkState, state) for state in found}


async def admit(name: str) -> bool:
    """Whether the caller may place one call at the network `name` now.

    While it is open nobody may; afterwards one caller at a time over all processes, whose outcome
    decides: that caller has to place its call and `record_outcome`.
    """
    state = await _state_of(name)
    if state is None or state["state"] == "closed":
        return True
    now = clock.now()
    if (state.get("until") or now) > now or (state.get("probe_until") or now) > now:
        return False
    probe = await db.network_health.update_one(
        {
            "_id": name,
            "state": "open",
            "until": {"$lte": now},
            "$or": [{"probe_until": None}, {"probe_until": {"$lte": now}}],
        },
        {"$set": {"probe_until": clock.after(_PROBE_SECONDS)}},
    )
    _cached.pop(name, None)
    return bool(probe.modified_count)


def outcome_of(problem: Exception) -> Outcome:
    """The outcome that an exception of `Provider.place` is."""
    if isinstance(problem, Refused):
        return ACCEPTED
    reason = str(problem)
    if isinstance(problem, NotSent) and reason in (BUSY, TOO_SLOW):
        return Outcome("neutral")
    if isinstance(problem, NotSent) and reason != UNREACHABLE:
        return outcome_of_fault(reason)
    return Outcome("failed", UNREACHABLE if isinstance(problem, NotSent) else NO_ANSWER)


def outcome_of_fault(reason: str) -> Outcome:
    """The outcome that a call is which the network took and then failed for `reason`."""
    is_stopped = reason in NETWORK_DOWN and reason != UNREACHABLE
    return Outcome("stopped", reason) if is_stopped else Outcome("neutral")


async def record_outcome(name: str, outcome: Outcome) -> None:
    """Count how the network `name` answered a new call, open the breaker when it does not answer or
    accepts nothing of this account, and close it when a probe was accepted.

    What is accepted in good times is only counted in this process. A failure to store is logged:
    the call goes on.
    """
    if outcome.kind == "neutral":
        return
    try:
        if outcome.kind == "accepted":
            _accepted.setdefault(name, deque(maxlen=_ACCEPTED_MAX)).append(time.monotonic())
            state = await _state_of(name)
            if state is not None and state["state"] == "open":
                await _close(name)
        else:
            await _store(name, outcome)
    except database.AnyError as problem:
        log.warning("%s: its health is not stored: %s", name, type(problem).__name__)


# --- the breaker --------------------------------------------------------------------------------


async def _state_of(name: str) -> NetworkState | None:
    read_at, state = _cached.get(name, (-math.inf, None))
    if time.monotonic() - read_at > _CACHE_SECONDS:
        state = cast("NetworkState | None", await db.network_health.find_one({"_id": name}))
        _cached[name] = (time.monotonic(), state)
    return state


async def _store(name: str, outcome: Outcome) -> None:
    now, since = clock.now(), time.monotonic() - WINDOW_SECONDS
    accepted = sum(at > since for at in _accepted.pop(name, ()))
    before = clock.after(-2 * WINDOW_SECONDS)
    old = {"$lt": [{"$ifNull": ["$window_at", before]}, clock.after(-WINDOW_SECONDS)]}

    def counted(field: str, more: int) -> Document:
        kept = {"$cond": [old, 0, {"$ifNull": [f"${field}", 0]}]}
        return {"$add": [kept, more]}

    found = await db.network_health.find_one_and_update(
        {"_id": name},
        [
            {
                "$set": {
                    "state": {"$ifNull": ["$state", "closed"]},
                    "accepted": counted("accepted", accepted),
                    "failed": counted("failed", 1),
                    "window_at": {"$cond": [old, now, "$window_at"]},
                }
            }
        ],
        upsert=True,
        return_document=True,
    )
    state = cast(NetworkState, found)
    failed, total = state.get("failed", 0), state.get("failed", 0) + state.get("accepted", 0)
    is_probe = state["state"] == "open" and (state.get("probe_until") or now) > now
    is_failing = total >= OUTCOMES_MIN and failed >= FAILED_SHARE * total
    if outcome.kind == "stopped" or is_probe or is_failing:
        await _open(state, outcome)
    _cached.pop(name, None)


async def _open(state: NetworkState, outcome: Outcome) -> None:
    now, until = clock.now(), state.get("until")
    if state["state"] == "open" and until is not None and until > now:
        return  # it was asked before it opened
    forgotten = clock.after(-_FORGET_SECONDS)
    times = state.get("times", 0) if (state.get("opened_at") or forgotten) > forgotten else 0
    first_seconds = STOPPED_SECONDS if outcome.kind == "stopped" else OPEN_SECONDS
    wait_seconds = min(OPEN_SECONDS_MAX, math.ldexp(first_seconds, min(times, 9)))
    opened = await db.network_health.update_one(
        {"_id": state["_id"], "until": until},  # by one of those that found it out together
        {
            "$set": {
                "state": "open",
                "reason": outcome.reason,
                "opened_at": now,
                "until": clock.after(wait_seconds, since=now),
                "probe_until": None,
                "times": times + 1,
                "accepted": 0,
                "failed": 0,
            }
        },
    )
    if opened.modified_count:
        log.error(
            "%s accepts no calls: %s; tried again in %.0f s",
            state["_id"],
            outcome.reason,
            wait_seconds,
        )


async def _close(name: str) -> None:
    """Close it if a probe is on its way: what was asked before it opened proves nothing."""
    closed = await db.network_health.update_one(
        {"_id": name, "state": "open", "probe_until": {"$gt": clock.now()}},
        {
            "$set": {
                "state": "closed",
                "reason": None,
                "until": None,
                "probe_until": None,
                "accepted": 0,
                "failed": 0,
            }
        },
    )
    if closed.modified_count:
        log.warning("%s accepts calls again", name)
    _cached.pop(name, None)
