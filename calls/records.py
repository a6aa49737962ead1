"""Call records: the fields and states of a call, its queries and conditional updates."""

import dataclasses
import datetime as dt
from collections.abc import AsyncIterator, Sequence
from typing import Final, Literal, NamedTuple, NotRequired, TypedDict, cast

from billing.charging import BilledCall
from core import clock, database, pagination
from core.database import Document, Transaction, db
from core.errors import NotFound
from telephony import OVER

# --- vocabulary ---------------------------------------------------------------------------------

Status = Literal[
    "created",  # committed with its hold, it waits for its turn at the network
    "submitting",  # it has its turn, the network is being asked
    "unknown",  # the network was asked and did not answer: nothing is dialled again
    "queued",  # the network accepted it
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
    "pending_duration",  # it ended, the network has not reported its duration yet
    "review",  # a person has to decide; the hold stays
]

RESOLVED: Final = ("settled", "released")

_OPEN: Final[tuple[Status, ...]] = (
    "created",
    "submitting",
    "unknown",
    "queued",
    "initiated",
    "ringing",
    "in_progress",
)
_ENDS: Final[tuple[Status, ...]] = ("completed", "busy", "no_answer", "failed", "canceled")


class Transition(NamedTuple):
    """A row of the state table: who changes a call of these statuses to that one, and when."""

    before: tuple[Status, ...]
    after: Status
    by: str


# The state table of calls: every change of a status is one of these (docs/states.md is made from it).
TRANSITIONS: Final = (
    Transition(("created",), "submitting", "whoever has a turn for it: one caller alone"),
    Transition(("created",), "canceled", "its dispatcher withdraws it, or nobody submitted it"),
    Transition(("created",), "failed", "it got no turn in time"),
    Transition(("submitting",), "unknown", "the network was asked and gave no answer"),
    Transition(("submitting",), "failed", "the network refused it, or was not reached"),
    Transition(
        ("submitting", "unknown"), "failed", "the network was asked again and has no such call"
    ),
    *(
        Transition(_OPEN[: _OPEN.index(status)], status, "the network accepts or reports it")
        for status in _OPEN[_OPEN.index("queued") :]
    ),
    *(Transition(_OPEN, status, "the network reports its end") for status in _ENDS),
    Transition(_OPEN[1:], "failed", "the network cannot say any more what became of it"),
    *(
        Transition(("failed",), status, "the network reports the end of a lost one after all")
        for status in _ENDS
        if status != "failed"
    ),
    Transition(_ENDS, "completed", "a person who reviews it decides that somebody talked"),
)


def may_become(status: Status) -> Document:
    """The filter that matches a call which may take this status."""
    before = {before for row in TRANSITIONS if row.after == status for before in row.before}
    return {"status": {"$in": sorted(before)}}


IN_REVIEW: Final[Document] = {"review_reason": {"$type": "string"}}

# Why a call failed of which its network does not know any more what became of it.
LOST_BY_NETWORK: Final = "lost_by_network"

# A network that queues calls may begin one this much later than it was placed.
_NEAR_SECONDS: Final = 1_000

_NEWEST: Final = pagination.newest_first("created_at")


class CallEvent(TypedDict):
    """A report of the network, as it is stored on the call."""

    id: str
    status: str
    duration_seconds: int | None
    occurred_at: dt.datetime
    received_at: dt.datetime


class PressedKey(TypedDict):
    """The key that the person called pressed, and what it means by the call's `keys`."""

    key: str
    meaning: str
    at: dt.datetime


class Reserved(TypedDict):
    """What was reserved for a call from a moment on, and the seconds that it bought. The first one has
    the moment of the call's `created_at`."""

    at: dt.datetime
    held_paise: int
    limit_seconds: int


class CallReview(TypedDict):
    """Who reviewed a call, and the note that they left."""

    by: str
    note: str
    at: dt.datetime


class CountedResult(TypedDict):
    """What the statistics of a campaign have counted of a call; counted again when it has changed."""

    disposition: str
    is_dialled: bool
    talk_seconds: int
    cost_paise: int


class Scenario(TypedDict):
    """The behaviour of a simulated call (`Simulate`), as it is stored."""

    outcome: str
    duration_seconds: int
    wall_seconds: float
    answered_by: str
    press_key: NotRequired[str | None]


class Call(BilledCall):
    """A document of `calls`. What is not required is set later, or was not written by an older
    version; what charging reads is in `BilledCall`."""

    # what was asked for
    message: str | None
    audio_url: str | None
    max_duration_seconds: int
    machine_detection: NotRequired[Literal["report", "hang_up"] | None]
    caller_id: NotRequired[str | None]  # the number that is shown; None: the configured one
    language: NotRequired[str | None]  # of the message (BCP-47); None: by its script
    voice: NotRequired[str | None]
    keys: NotRequired[dict[str, str] | None]  # the keys that are asked for, and what each means
    simulate: NotRequired[Scenario | None]  # how a simulated call behaves
    attempt_number: NotRequired[int | None]  # how often its contact was called with it
    # its state
    attempt: NotRequired[str | None]  # which attempt submits it, or submitted it
    unbilled_since: NotRequired[dt.datetime]  # it ended, its money is not settled or released yet
    dial_at: NotRequired[dt.datetime]  # a single call waits since then for its turn
    submitted_at: NotRequired[dt.datetime]  # when that began; absent: the network was never asked
    accepted_at: NotRequired[
        dt.datetime
    ]  # when the network's answer to our request was that it has it
    reservations: NotRequired[list[Reserved]]  # the latest ones, the oldest first
    status: Status
    rank: int  # of the status, in `telephony.RANK`
    billing_status: BillingStatus
    answered_at: dt.datetime | None
    ended_at: dt.datetime | None
    answered_by: NotRequired[Literal["human", "machine"]]
    pressed: NotRequired[PressedKey]
    failure_reason: str | None
    events: list[CallEvent]
    # the network, and the limit that was sent to it
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
    # when the call monitor checks and extends it; absent when there is nothing more to do
    checks: int
    next_check_at: NotRequired[dt.datetime]
    next_extend_at: NotRequired[dt.datetime]
    warned_at: NotRequired[int]  # the seconds that were left when `CallRunsOut` was recorded last
    # why a person has to review it, and what they decided
    review_reason: str | None
    reviewed: NotRequired[CallReview]
    updated_at: NotRequired[dt.datetime]  # when its state changed last
    counted: NotRequired[CountedResult]  # of a call of a campaign that has ended


# --- queries ------------------------------------------------------------------------------------


async def get_call(call_id: str) -> Call:
    """The call; NotFound when there is none."""
    found = await db.calls.find_one({"_id": call_id})
    if found is None:
        raise NotFound("There is no call with this id.")
    return cast(Call, found)


async def find_call(call_id: str) -> Call | None:
    """The call if there is one; callers share the document and do not change it."""
    return cast("Call | None", await database.find_together("calls", call_id))


@dataclasses.dataclass(frozen=True, slots=True)
class CallFilter:
    """Which calls: `user_id` None: everybody's; `status` None: all; `number`: those to this one (E.164);
    `is_live`: those that are not over."""

    user_id: str | None
    status: Status | None = None
    number: str | None = None
    is_live: bool = False

    def where(self) -> Document:
        """The condition of MongoDB."""
        found: Document = {} if self.user_id is None else {"user_id": self.user_id}
        if self.status is not None:
            found["status"] = self.status
        if self.number is not None:
            found["to"] = self.number
        if self.is_live:
            found["rank"] = {"$lt": OVER}
        return found


async def list_calls(
    chosen: CallFilter, *, limit: int, cursor: str | None
) -> tuple[list[Call], str | None]:
    """Calls, newest first, and the next cursor."""
    where = chosen.where() | _NEWEST.behind(cursor)
    found = db.calls.find(where, sort=_NEWEST.sort, limit=limit + 1)
    return _NEWEST.cut(cast(list[Call], await found.to_list(None)), limit)


def iterate_calls(chosen: CallFilter) -> AsyncIterator[Call]:
    """All these calls, newest first, from a cursor that reads a batch at a time."""
    found = db.calls.find(chosen.where(), sort=_NEWEST.sort, batch_size=500)
    return cast(AsyncIterator[Call], found)


def read_calls(transaction: Transaction, call_ids: Sequence[str]) -> list[Call]:
    """These calls as a transaction sees them; in its thread."""
    return cast(list[Call], transaction.find("calls", {"_id": {"$in": list(call_ids)}}))


def iterate_calls_of(campaign_id: str) -> AsyncIterator[Call]:
    """All calls of a campaign, the oldest first, from a cursor that reads a batch at a time."""
    found = db.calls.find(
        {"campaign_id": {"$eq": campaign_id, "$type": "string"}},
        sort=[("created_at", 1), ("_id", 1)],
        batch_size=500,
    )
    return cast(AsyncIterator[Call], found)


async def list_calls_to(user_id: str, numbers: Sequence[str], campaign_id: str) -> list[Call]:
    """The calls of a campaign to some numbers, with what tells one from another and when it was."""
    if not numbers:
        return []
    found = db.calls.find(
        {"user_id": user_id, "to": {"$in": list(numbers)}, "campaign_id": campaign_id},
        {"to": 1, "created_at": 1},
    )
    return cast(list[Call], await found.to_list(None))


async def list_uncounted_ids(limit: int) -> list[str]:
    """The ids of calls of campaigns that have ended and are in no statistics, for a migration."""
    uncounted = {
        "campaign_id": {"$type": "string"},
        "rank": OVER,
        "counted": {"$exists": False},
    }
    found = db.calls.find(uncounted, {"_id": 1}, limit=limit)
    return [call["_id"] async for call in found]


async def list_live_calls(user_id: str, *, limit: int) -> list[Call]:
    """At most `limit` calls of a user that are not over, newest first."""
    live = {"user_id": user_id, "rank": {"$lt": OVER}}
    found = db.calls.find(live, sort=_NEWEST.sort, limit=limit)
    return cast(list[Call], await found.to_list(None))


async def count_unbilled_calls(user_id: str) -> int:
    """How many calls of a user are over, and their money is still held: their lines are free."""
    return await db.calls.count_documents({"user_id": user_id, "unbilled_since": {"$exists": True}})


async def count_calls_without_duration(campaign_id: str) -> int:
    """How many calls of a campaign are over, and their network says later how long they were."""
    return await db.calls.count_documents(
        {"campaign_id": campaign_id, "billing_status": "pending_duration"}
    )


async def list_committed_calls(*, limit: int) -> list[Call]:
    """At most `limit` single calls of all users that are committed and wait for their turn at the
    network, the oldest first."""
    found = db.calls.find({"dial_at": {"$exists": True}}, sort=[("dial_at", 1)], limit=limit)
    return cast(list[Call], await found.to_list(None))


async def list_similar_calls(call: Call) -> list[Call]:
    """Our other calls to the same number that are live or were placed at about that time, for a
    network that cannot distinguish them."""
    near = {"$gte": clock.after(-_NEAR_SECONDS, since=call["created_at"])}
    near["$lte"] = clock.after(_NEAR_SECONDS, since=call["created_at"])
    found = db.calls.find(
        {
            "$or": [{"created_at": near}, {"next_check_at": {"$exists": True}}],
            "to": call["to"],
            "provider": call["provider"],
            "_id": {"$ne": call["_id"]},
        }
    )
    return cast(list[Call], await found.to_list(None))


async def find_called_numbers(user_id: str, numbers: Sequence[str], since: dt.datetime) -> set[str]:
    """Those of these numbers (E.164) that this user has called since then, answered or not; a call that
    no network accepted does not count."""
    where = {"user_id": user_id, "to": {"$in": list(numbers)}, "created_at": {"$gte": since}}
    shown = {"_id": 0, "to": 1, "status": 1, "provider_call_id": 1}
    found = cast(list[Call], await db.calls.find(where, shown).to_list(None))
    never = ("failed", "canceled")
    return {call["to"] for call in found if call["provider_call_id"] or call["status"] not in never}


async def list_calls_in_review(limit: int) -> list[Call]:
    """The calls that need a review, the oldest first: their money is still held, or the reports of
    their network contradict each other."""
    found = db.calls.find(IN_REVIEW, sort=[("created_at", 1)], limit=limit)
    return cast(list[Call], await found.to_list(None))
