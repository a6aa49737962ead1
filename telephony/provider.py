"""The provider protocol: what an adapter does, its capabilities, its reports and refusals."""

import dataclasses
import datetime as dt
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NotRequired, Protocol, TypedDict

from core.errors import Problem

# --- vocabulary ---------------------------------------------------------------------------------

# How far along a call is. A status is accepted only when its rank is higher than the known one, so
# late, repeated and out-of-order reports change nothing; the last rank is final.
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
    duration_in_callback: bool  # else the network has to be asked for it after the end
    can_simulate: bool = False
    can_detect_machines: bool = False
    limit_seconds_max: int = 86_400  # the longest call that it accepts
    calls_per_second: float | None = None  # new ones that an account may ask for; None: any number
    calls_at_once: int | None = None  # how many an account may have at one time; None: any number
    can_collect_keys: bool = False  # the person called can answer by pressing a key
    visible_after_seconds: int = 60  # by then it can be asked about a call that it accepted
    duration_after_seconds: int = 0  # how long after the end its duration may become known

    @property
    def reserves_whole(self) -> bool:
        """It can neither raise a limit nor hang up: all that a call may cost is reserved first."""
        return not (self.can_extend or self.can_hang_up)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Simulate:
    """The behaviour of a simulated call: it takes `wall_seconds` and reports `duration_seconds`."""

    outcome: str = "completed"
    duration_seconds: int = 30
    wall_seconds: float = 1.0
    answered_by: str = "human"
    press_key: str | None = None  # what the person presses once the call is answered

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
    answer_url: str = ""  # where the network asks what to do when somebody answers
    message: str | None = None
    audio_url: str | None = None
    connect_to: str | None = None
    machine_detection: str | None = None  # `report` who answered, or `hang_up` on a machine
    caller_id: str | None = None  # the number that is shown; None: the configured one
    language: str | None = None  # of the message (BCP-47); None: by its script
    voice: str | None = None  # as the network names it; None: that of the language
    keys: Mapping[str, str] | None = None  # the keys that are asked for, and what each means
    simulate: Simulate | None = None


class NetworkCall(TypedDict):
    """The part of a call's record that an adapter reads."""

    _id: str
    to: str
    rank: int
    created_at: dt.datetime
    provider_call_id: str | None
    provider_leg_id: NotRequired[str]
    message: str | None
    audio_url: str | None
    connect_to: str | None
    caller_id: NotRequired[str | None]
    language: NotRequired[str | None]
    voice: NotRequired[str | None]
    keys: NotRequired[dict[str, str] | None]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a network reports about a call, in a callback or when it is asked.

    `duration_seconds` is the time that was talked, never computed from timestamps; None when the
    network has not reported it. `event_id` is the same when the same report comes again. `leg_id` is the
    second id that some networks give a call. `answered_by` is `human` or `machine`, where the
    network was asked to find out and did. `is_unverified`: it came without a signature, so that the
    network has to be asked before money moves. `key` is what the person called has pressed.
    """

    event_id: str
    provider_call_id: str | None
    status: str
    duration_seconds: int | None
    occurred_at: dt.datetime
    answered_at: dt.datetime | None = None
    reason: str | None = None
    leg_id: str | None = None
    answered_by: str | None = None
    is_unverified: bool = False
    key: str | None = None

    @property
    def rank(self) -> int:
        """How far along the call is."""
        return RANK[self.status]


class Refused(Exception):
    """The network refused the call (a 4xx): there is no call."""


class NotSent(Exception):
    """There is no call, for a reason that is not the call's: the network was never asked (no
    connection), or accepts no call of ours. It may be tried again.

    The reason is a network fault; `detail` is what the network said of it, where it said anything.
    """

    def __init__(self, reason: str, detail: str | None = None) -> None:
        super().__init__(reason)
        self.detail = detail


class Ambiguous(Exception):
    """It is unknown whether there is a call (a read timeout, a 5xx): keep its hold, ask later."""


class InvalidCallbackSignature(Problem):
    """The callback was not signed by the telephone network, or not for this call."""

    code, status, title = "invalid_callback_signature", 403, "Invalid callback signature"


class LanguageNotSupported(Problem):
    """The telephone network cannot read this text in this language, or not with this voice."""

    code, status, title = "language_not_supported", 422, "Language not supported"


class CannotHangUp(Problem):
    """The network of this call cannot end it on request: it ends by itself, at `limit_seconds` at the
    latest."""

    code, status, title = "cannot_hang_up", 409, "Cannot hang up"


# Why a call failed when our account at the network has no credit. The operator has to pay; it does
# not concern the wallet of the user.
OUT_OF_CREDIT: Final = "provider_out_of_credit"
# With these, too, nobody can be called before the operator, or the network, has repaired it.
UNREACHABLE: Final = "provider_unreachable"
CREDENTIALS_REFUSED: Final = "provider_credentials_refused"
SUSPENDED: Final = "provider_account_suspended"
# The account or the caller id of this service is not what the network knows.
MISCONFIGURED: Final = "provider_misconfigured"
# The account may not call the country of the number: its geographic permissions leave it out.
COUNTRY_NOT_ENABLED: Final = "provider_country_not_enabled"
# The network does not let the account show this caller id.
CALLER_ID_REFUSED: Final = "provider_caller_id_refused"
# What the operator's account at the network is refused for, whoever is called.
ACCOUNT_REFUSALS: Final = frozenset(
    {
        OUT_OF_CREDIT,
        CREDENTIALS_REFUSED,
        SUSPENDED,
        MISCONFIGURED,
        COUNTRY_NOT_ENABLED,
        CALLER_ID_REFUSED,
    }
)
NETWORK_DOWN: Final = ACCOUNT_REFUSALS | {UNREACHABLE}
# These pass in a moment. With every network fault it is certain that nobody was called.
BUSY: Final = "provider_busy"
TOO_SLOW: Final = "service_too_slow"
# The network was asked, perhaps, and has no such call.
NOT_PLACED: Final = "not_placed"
NETWORK_FAULTS: Final = NETWORK_DOWN | {BUSY, TOO_SLOW, NOT_PLACED}


@dataclasses.dataclass(frozen=True, slots=True)
class Script:
    """What a network is to do when somebody answers, in its own language."""

    media_type: str
    text: str


Others = Callable[[], Awaitable[Sequence[NetworkCall]]]


async def no_others() -> Sequence[NetworkCall]:
    """The `Others` of a call that no other can be confused with."""
    return ()


class Provider(Protocol):
    """The adapter of one network."""

    name: str
    can: Capabilities

    async def start(self) -> None:
        """Open connections and start background tasks, if the adapter has any."""

    async def stop(self) -> None:
        """Close the connections and stop the tasks."""

    async def place(self, dial: Dial) -> str:
        """Place the call; the network's id of it. Raises Refused, NotSent, Ambiguous."""

    async def extend(self, call: NetworkCall, limit_seconds: int) -> bool:
        """Raise the limit of a live call; False when it is over. Raises Ambiguous."""

    async def hang_up(self, call: NetworkCall) -> None:
        """End the call, answered or not; nothing when it is over. Raises Ambiguous."""

    async def look_up(self, call: NetworkCall, others: Others = no_others) -> Report | None:
        """The state of the call; None when the network does not know it. Raises Ambiguous.

        A call without `provider_call_id` (the answer to `place` was lost) is found by its number
        and time; `others` lists our other calls to that number at about that time.
        """

    def read_callback(
        self, headers: Mapping[str, str], body: bytes, url: str, address: str = ""
    ) -> Report:
        """Verify that the network sent this to `url` (from `address`), and read it.

        Raises InvalidCallbackSignature. A report of an unknown kind has the status `created`.
        """

    def script(self, call: NetworkCall, *, keys_url: str = "", pressed: str = "") -> Script:
        """What is said, played or connected when the call is answered. Raises NotFound.

        A call with `keys` asks for one of them, to be reported at `keys_url`; with `pressed`, the
        meaning of the key, it is what is said after that.
        """
