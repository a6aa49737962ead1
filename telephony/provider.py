"""What a telephone network is to this service: the words that every adapter speaks."""

import dataclasses
import datetime as dt
from collections.abc import Mapping
from typing import Any, Final, Protocol

from errors import Problem

# --- vocabulary ---------------------------------------------------------------------------------

# How far along a call is. A status is accepted only when it is further than what is known, so
# late, repeated and out-of-order news changes nothing; the last rank absorbs everything.
OVER: Final = 9
RANK: Final[dict[str, int]] = {
    "created": 0,
    "submitting": 1,
    "unknown": 1,
    "queued": 2,
    "initiated": 3,
    "ringing": 4,
    "in_progress": 5,
    "completed": OVER,
    "busy": OVER,
    "no_answer": OVER,
    "failed": OVER,
    "canceled": OVER,
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a network can do; it decides how calls are kept within their reservations."""

    can_extend: bool  # a live call's limit can be raised
    can_hang_up: bool
    reports_ringing: bool
    duration_in_callback: bool  # else it has to be looked up after the end
    can_simulate: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Simulate:
    """What a simulated call shall do: take `wall_seconds` and report `duration_seconds`."""

    outcome: str = "completed"
    duration_seconds: int = 30
    wall_seconds: float = 1.0

    @property
    def talk_wall_seconds(self) -> float:
        """The real time between the answer and the end; the time before it is ringing."""
        if self.outcome != "completed" or self.duration_seconds == 0:
            return 0.0
        return self.wall_seconds * 0.7

    @property
    def pace(self) -> float:
        """Simulated seconds of talk in a real second."""
        if self.talk_wall_seconds <= 0:
            return 1.0 if self.duration_seconds == 0 else PACE_MAX
        return min(PACE_MAX, self.duration_seconds / self.talk_wall_seconds)


PACE_MAX: Final = 1_000_000.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Dial:
    """A call as a network is asked to place it."""

    call_id: str
    to: str
    callback_url: str
    limit_seconds: int
    ring_seconds: int
    message: str | None = None
    audio_url: str | None = None
    connect_to: str | None = None
    simulate: Simulate | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a network says about a call, in a callback or when it is asked.

    `duration_seconds` is the time that was talked, never computed from timestamps; None when the
    network has not told it. `event_id` is the same when the same news comes again.
    """

    event_id: str
    provider_call_id: str | None
    status: str
    duration_seconds: int | None
    occurred_at: dt.datetime
    answered_at: dt.datetime | None = None
    reason: str | None = None
    raw: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def rank(self) -> int:
        """How far along the call is."""
        return RANK[self.status]


class Refused(Exception):
    """The network said no (a 4xx): there is no call."""


class NotSent(Exception):
    """The network was never asked (no connection): there is no call, and it may be tried again."""


class Ambiguous(Exception):
    """Nobody knows whether there is a call (a read timeout, a 5xx): keep its hold, ask later."""


class InvalidSignature(Problem):
    """The callback was not signed by the network."""

    code, status, title = "invalid_signature", 403, "Invalid signature"


class Provider(Protocol):
    """One adapter a network. `call` is the document of `calls`: its `_id`, `provider_call_id`, ..."""

    name: str
    can: Capabilities

    async def start(self) -> None:
        """Open connections; start what runs by itself."""

    async def stop(self) -> None:
        """The opposite."""

    async def place(self, dial: Dial) -> str:
        """Place the call; the network's id of it. Raises Refused, NotSent, Ambiguous."""

    async def extend(self, call: Mapping[str, Any], limit_seconds: int) -> bool:
        """Raise the limit of a live call; False when it is over. Raises Ambiguous."""

    async def hang_up(self, call: Mapping[str, Any]) -> None:
        """End the call, answered or not; nothing when it is over. Raises Ambiguous."""

    async def look_up(self, call: Mapping[str, Any]) -> Report | None:
        """How the call stands; None when the network never saw it. Raises Ambiguous."""

    def read_callback(self, headers: Mapping[str, str], body: bytes, url: str) -> Report:
        """Verify that the network sent this to `url`, and read it. Raises InvalidSignature."""
