"""The record of a call: its fields, its states, and the reports that it keeps."""

import datetime as dt
from typing import Final, Literal, NotRequired, TypedDict

from billing import BilledCall

# --- vocabulary ---------------------------------------------------------------------------------

Status = Literal[
    "created",
    "submitting",  # committed with its hold, the network is being asked
    "unknown",  # the network was asked and its answer did not come: nothing is dialled again
    "queued",  # the network has it
    "initiated",
    "ringing",
    "in_progress",
    "completed",
    "busy",
    "no_answer",
    "failed",
    "canceled",
]
BillingStatus = Literal[
    "held",  # its hold is in the wallet
    "settled",  # charged (or owed), the hold is gone
    "released",  # cost nothing, the hold is gone
    "pending_duration",  # it ended, the network has not said after how long
    "review",  # a person has to look; the hold stays
]

RESOLVED: Final = ("settled", "released")


class CallEvent(TypedDict):
    """A report of the network, as the call keeps it."""

    id: str
    status: str
    duration_seconds: int | None
    occurred_at: dt.datetime
    received_at: dt.datetime


class CallReview(TypedDict):
    """Who decided on a call that waited for a person, and what they wrote."""

    by: str
    note: str
    at: dt.datetime


class Call(BilledCall):
    """A document of `calls`. What is not required is set later, or was not written by an older
    version; what charging reads is in `BilledCall`."""

    # what was asked for
    message: str | None
    audio_url: str | None
    connect_to: str | None
    max_duration_seconds: int
    machine_detection: NotRequired[Literal["report", "hang_up"] | None]
    # how far it is
    status: Status
    rank: int  # of the status, in `telephony.RANK`
    billing_status: BillingStatus
    answered_at: dt.datetime | None
    ended_at: dt.datetime | None
    answered_by: NotRequired[Literal["human", "machine"]]
    failure_reason: str | None
    events: list[CallEvent]
    # the network, and the limit that it was given
    provider: str
    provider_call_id: str | None
    provider_leg_id: NotRequired[str]  # the second id that some networks give a call
    told_limit_seconds: int
    # how fast its seconds pass, and how long it rings, in real seconds
    pace: float
    ring_seconds: float
    # what it cost; None until it has ended
    duration_seconds: int | None
    billable_seconds: NotRequired[int]
    pulse_count: NotRequired[int]
    cost_paise: int | None
    due_paise: int
    explanation: str | None
    # what is done for it by itself; absent when there is nothing more to do
    checks: int
    next_check_at: NotRequired[dt.datetime]
    next_extend_at: NotRequired[dt.datetime]
    warned_at: NotRequired[int]  # the seconds that were left when `CallRunsOut` was recorded last
    # what a person has to look at, and what they decided
    review_reason: str | None
    reviewed: NotRequired[CallReview]
