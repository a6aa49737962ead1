"""Simulated call: what it does at which second, as pure functions of its record."""

import dataclasses
import datetime as dt
import hmac
import random
from typing import Final, NotRequired, TypedDict

from core import clock, config, database
from core.database import Index
from telephony.provider import RANK, Dial, Report, Simulate
from telephony.speech import speech_of

# --- vocabulary ---------------------------------------------------------------------------------

SIGNATURE_HEADER: Final = "x-simulator-signature"

# A call whose seconds are faster than ours reaches its limit before it could be extended, so its
# seconds stop there for this long (real time) before the network ends it. Its duration is the limit
# all the same; a call in real time ends at once.
PATIENCE_SECONDS: Final = 2.0
_KEPT_DAYS: Final = 30

# What becomes of calls whose outcome is `mixed`: of a hundred so many.
_MIXED: Final = {"completed": 62, "no_answer": 22, "busy": 12, "failed": 4}
_MACHINES_OF_HUNDRED: Final = 12
_KEYS_OF_HUNDRED: Final = 35
_SECONDS_MIN: Final = 6


database.declare(
    "simulated_calls",
    indexes=[
        Index(("owner",), only_where={"open": True}),
        Index(("placed_at",), expire_seconds=_KEPT_DAYS * 86_400),
    ],
)


class SimulatedEnd(TypedDict):
    """How a simulated call ended, once that is final."""

    status: str
    duration_seconds: int | None
    at: dt.datetime


class SimulatedCall(TypedDict):
    """A document of `simulated_calls`."""

    _id: str
    reference: str  # our id of the call
    to: str
    callback_url: str
    outcome: str
    duration_seconds: int
    answered_by: NotRequired[str | None]
    press_key: NotRequired[str | None]
    # what a real network would be told, for whoever looks at what was asked for
    caller_id: NotRequired[str | None]
    language: NotRequired[str | None]
    voice: NotRequired[str | None]
    pace: float
    placed_at: dt.datetime
    ring_at: dt.datetime
    pick_up_at: dt.datetime
    # Talk is counted from here; raising the limit sets the base anew, because the seconds may have
    # stopped at the old one.
    base_at: dt.datetime
    base_seconds: float
    limit_seconds: int
    ended: SimulatedEnd | None
    version: int
    owner: str  # the process that sends its callbacks
    open: bool


@dataclasses.dataclass(frozen=True, slots=True)
class State:
    """The state of a simulated call at one moment."""

    status: str
    at: dt.datetime  # since when
    changes_at: dt.datetime | None  # when it becomes something else; None when it is over
    duration_seconds: int | None = None


# --- the lifecycle ------------------------------------------------------------------------------


def state_of(call: SimulatedCall, now: dt.datetime) -> State:
    """The state of a simulated call: a function of its document and the time, and of nothing else.

    So every process, also after a restart, comes to the same state.
    """
    if call["ended"] is not None:
        end = call["ended"]
        return State(end["status"], end["at"], None, end["duration_seconds"])
    if now < call["ring_at"]:
        return State("queued", call["placed_at"], call["ring_at"])
    if now < call["pick_up_at"]:
        return State("ringing", call["ring_at"], call["pick_up_at"])
    if call["outcome"] != "completed":
        return State(call["outcome"], call["pick_up_at"], None, 0)
    seconds, wait_seconds = call["duration_seconds"], 0.0
    if call["limit_seconds"] < seconds:
        seconds = call["limit_seconds"]
        wait_seconds = PATIENCE_SECONDS if call["pace"] > 1 else 0.0
    talk_wall_seconds = (seconds - call["base_seconds"]) / call["pace"]
    ends_at = clock.after(talk_wall_seconds + wait_seconds, since=call["base_at"])
    if now < ends_at:
        return State("in_progress", call["pick_up_at"], ends_at)
    return State("completed", ends_at, None, seconds)


def talked_seconds(call: SimulatedCall, now: dt.datetime) -> float:
    """The simulated seconds that an answered call has lasted until `now`."""
    passed = (now - call["base_at"]).total_seconds() * call["pace"]
    return float(min(call["base_seconds"] + passed, call["limit_seconds"]))


def drawn(script: Simulate, call_id: str) -> Simulate:
    """What one call of a `mixed` campaign does, drawn from its id: answered or not, by whom, and for how
    long, up to the duration that was asked for. Any other script is itself."""
    if script.outcome != "mixed":
        return script
    draw = random.Random(call_id)  # noqa: S311 - nothing secret
    outcome = draw.choices(list(_MIXED), list(_MIXED.values()))[0]
    if outcome != "completed":
        return dataclasses.replace(script, outcome=outcome, press_key=None)
    longest = max(script.duration_seconds, 1)
    shortest = min(_SECONDS_MIN, longest)
    seconds = round(draw.triangular(shortest, longest, shortest + (longest - shortest) / 3))
    is_machine = draw.randrange(100) < _MACHINES_OF_HUNDRED
    presses = not is_machine and draw.randrange(100) < _KEYS_OF_HUNDRED
    return dataclasses.replace(
        script,
        outcome=outcome,
        duration_seconds=seconds,
        wall_seconds=script.wall_seconds * seconds / longest,
        answered_by="machine" if is_machine else script.answered_by,
        press_key=script.press_key if presses else None,
    )


def document_of(dial: Dial, now: dt.datetime, owner: str) -> SimulatedCall:
    """The document of a call that is placed now, whose callbacks the process `owner` sends."""
    script = drawn(dial.simulate or Simulate(), dial.call_id)
    speech = speech_of("simulator", dial.message or "", dial.language, dial.voice)
    rings_seconds = script.wall_seconds - script.talk_wall_seconds
    pick_up_at = clock.after(rings_seconds, since=now)
    return {
        "_id": id_of(dial.call_id),
        "reference": dial.call_id,
        "to": dial.to,
        "callback_url": dial.callback_url,
        "outcome": script.outcome,
        "duration_seconds": script.duration_seconds,
        "answered_by": script.answered_by if dial.machine_detection else None,
        "press_key": script.press_key if dial.keys else None,
        "caller_id": dial.caller_id,
        "language": speech.language,
        "voice": dial.voice,
        "pace": script.pace,
        "placed_at": now,
        "ring_at": clock.after(rings_seconds * 0.3, since=now),
        "pick_up_at": pick_up_at,
        "base_at": pick_up_at,
        "base_seconds": 0.0,
        "limit_seconds": dial.limit_seconds,
        "ended": None,
        "version": 0,
        "owner": owner,
        "open": True,
    }


def id_of(call_id: str) -> str:
    """The network's id of our call; the same whenever the call is placed."""
    return f"sim_{call_id.removeprefix('call_')}"


def report_of(call: SimulatedCall, state: State) -> Report:
    """What the network reports of the call in this state."""
    answered = call["outcome"] == "completed" and RANK[state.status] >= RANK["in_progress"]
    is_answered = answered and state.status != "canceled"
    return Report(
        event_id=f"{call['_id']}:{RANK[state.status]}",
        provider_call_id=call["_id"],
        status=state.status,
        duration_seconds=state.duration_seconds,
        occurred_at=state.at,
        answered_at=call["pick_up_at"] if is_answered else None,
        answered_by=call.get("answered_by") if is_answered else None,
        key=call.get("press_key") if is_answered else None,
    )


def sign(url: str, body: bytes) -> str:
    """HMAC-SHA256 over the address and the body, in hexadecimal."""
    secret = config.settings().simulator_auth_token.encode()
    return hmac.digest(secret, url.encode() + b"\n" + body, "sha256").hex()
