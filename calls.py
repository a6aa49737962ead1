"""Calls: placed once their money is reserved, shown to their owner, hung up on request."""

import dataclasses
import datetime as dt
import logging
from collections.abc import Iterable
from typing import Annotated, Final, Literal, NotRequired, TypedDict, cast
from urllib.parse import urlsplit

from fastapi import APIRouter, Query, Request, Response
from pydantic import AfterValidator, BaseModel, Field, model_validator

import api
import billing
import callbook
import clock
import config
import database
import deadlines
import pacing
import tariffs
import telephony
from auth import CurrentUser, Instant
from billing import Reservation
from callrecords import BillingStatus, Call, Status
from database import Document, Write
from errors import (
    PAYMENT_REQUIRED,
    IdempotencyKeyReused,
    InvalidCursor,
    InvalidRequest,
    NotFound,
    StillRunning,
    TooManyCalls,
    Unauthenticated,
    Unavailable,
    invalid,
)
from money import RupeesOut
from quotes import Phone
from ratecards import DestinationNotRated
from rates import Rate, Source
from telephony import OVER, RANK, CannotHangUp, Capabilities, Provider, Simulate, numbers
from telephony.numbers import DestinationNotAllowed, InvalidNumber
from users import User

log = logging.getLogger(__name__)

# --- vocabulary ---------------------------------------------------------------------------------

MachineDetection = Literal[
    "report",  # say who answered
    "hang_up",  # and end the call when it was a machine
]

RING_SECONDS: Final = 60
# After this long it is too late to ask the network: the sweeper may have given the hold back.
SUBMIT_SECONDS: Final = 20


class Scenario(TypedDict):
    """What a simulated call shall do, as it is stored (`Simulate`)."""

    outcome: str
    duration_seconds: int
    wall_seconds: float
    answered_by: str


class SpecFields(TypedDict):
    """A `CallSpec` as it is stored, among the fields of a campaign."""

    message: str | None
    audio_url: str | None
    connect_to: str | None
    max_duration_seconds: int | None
    machine_detection: NotRequired[MachineDetection | None]
    simulate: Scenario | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CallSpec:
    """What a call says and how it is made, whomever it goes to; at most one of `message`,
    `audio_url` and `connect_to`."""

    message: str | None = None
    audio_url: str | None = None
    connect_to: str | None = None
    max_duration_seconds: int | None = None
    machine_detection: MachineDetection | None = None
    simulate: Simulate | None = None

    def check(self, network: Provider) -> None:
        """Raise InvalidRequest for what does not go together, or what the network cannot do."""
        purposes = {name: getattr(self, name) for name in ("message", "audio_url", "connect_to")}
        chosen = [name for name, value in purposes.items() if value is not None]
        if len(chosen) > 1:
            raise invalid(chosen[1], "send one of message, audio_url and connect_to")
        if self.simulate is not None and not network.can.can_simulate:
            raise invalid("simulate", "works only where the simulator is the telephone network")
        if self.machine_detection is not None and not network.can.can_detect_machines:
            raise invalid(
                "machine_detection", f"{network.name.title()} does not find out who answers"
            )

    def normalized(self) -> "CallSpec":
        """The same with `connect_to` in E.164. Raises InvalidNumber and DestinationNotAllowed."""
        if self.connect_to is None:
            return self
        return dataclasses.replace(self, connect_to=numbers.checked(self.connect_to))

    def fields(self) -> SpecFields:
        """How it is stored."""
        return {
            "message": self.message,
            "audio_url": self.audio_url,
            "connect_to": self.connect_to,
            "max_duration_seconds": self.max_duration_seconds,
            "machine_detection": self.machine_detection,
            "simulate": (
                None if self.simulate is None else cast(Scenario, dataclasses.asdict(self.simulate))
            ),
        }

    @classmethod
    def of(cls, stored: SpecFields) -> "CallSpec":
        """What `fields` gave."""
        scenario = stored["simulate"]
        return cls(
            message=stored["message"],
            audio_url=stored["audio_url"],
            connect_to=stored["connect_to"],
            max_duration_seconds=stored["max_duration_seconds"],
            machine_detection=stored.get("machine_detection"),
            simulate=None if scenario is None else Simulate(**scenario),
        )


PLAIN: Final = CallSpec()

# --- verbs --------------------------------------------------------------------------------------


async def place(
    user_id: str,
    *,
    call_id: str,
    to: str,
    spec: CallSpec = PLAIN,
    campaign_id: str | None = None,
    turn_at: dt.datetime | None = None,
) -> Call:
    """Reserve the money for a call, then ask the network for it; the call as it stands.

    With the `call_id` of a call that exists, that call: nothing is dialled twice. It waits for its
    turn at the network: that of `turn_at`, or the next. Raises InvalidRequest, InvalidNumber,
    DestinationNotAllowed, DestinationNotRated, the 402s, TooManyCalls, and Unavailable; then there
    is no call. A call that the network refuses comes back as `failed`, its money released.
    """
    known = await callbook.known(call_id)
    if known is not None:
        return known
    network = telephony.chosen()
    spec.check(network)
    script = (spec.simulate or Simulate()) if network.can.can_simulate else None
    longest_seconds = min(config.settings().max_call_minutes * 60, network.can.limit_seconds_max)
    number = numbers.checked(to)
    rate = await tariffs.rate_for(user_id, number)
    spec = spec.normalized()
    call = _fresh(user_id, call_id, number, rate, script) | {
        "message": spec.message,
        "audio_url": spec.audio_url,
        "connect_to": spec.connect_to,
        "max_duration_seconds": min(longest_seconds, spec.max_duration_seconds or longest_seconds),
        "machine_detection": spec.machine_detection,
        "campaign_id": campaign_id,
        "provider": network.name,
    }

    def with_call(reservation: Reservation) -> Iterable[Write]:
        return [callbook.written(cast(Call, call | _reserved(reservation, network.can)))]

    reservation = await billing.reserve(
        user_id,
        call_id=call_id,
        rate=rate,
        seconds_max=call["max_duration_seconds"],
        whole=network.can.reserves_whole,
        companions=with_call,
    )
    if reservation.repeated:  # another attempt with this id is at it
        return await callbook.find(call_id)
    held = cast(Call, call | _reserved(reservation, network.can))
    return await _submit(held, script, turn_at)


def _fresh(
    user_id: str, call_id: str, number: str, rate: Rate, script: Simulate | None
) -> Document:
    now = clock.now()
    rings_seconds = script.wall_seconds - script.talk_wall_seconds if script else RING_SECONDS
    return {
        "_id": call_id,
        "user_id": user_id,
        "to": number,
        "status": "submitting",
        "rank": RANK["submitting"],
        "billing_status": "held",
        # The rate of this moment: a change does not touch a call that is placed.
        "rate_paise_per_minute": database.long(rate.rate_paise_per_minute),
        "pulse_seconds": rate.pulse_seconds,
        "first_pulse_seconds": rate.opening_seconds,
        "minimum_billable_seconds": rate.minimum_billable_seconds,
        "connection_fee_paise": database.long(rate.connection_fee_paise),
        "rate_source": rate.source,
        "rate_card_version": rate.card_version,
        "rate_prefix": rate.prefix,
        "provider_call_id": None,
        # How fast the call's seconds pass, and how long it rings, in real seconds.
        "pace": script.pace if script else 1.0,
        "ring_seconds": rings_seconds,
        "duration_seconds": None,
        "cost_paise": None,
        "due_paise": database.long(0),
        "created_at": now,
        "answered_at": None,
        "ended_at": None,
        "failure_reason": None,
        "explanation": None,
        "review_reason": None,
        "events": [],
        "checks": 0,
        "next_check_at": clock.after(deadlines.VISIBILITY_SECONDS, since=now),
    }


def _reserved(reservation: Reservation, can: Capabilities) -> Document:
    """What is reserved, and the limit that the network is told: what that buys, or where we have to
    end the call ourselves (it can be hung up, its limit not raised) all that could be had for it."""
    by_hand = can.can_hang_up and not can.can_extend
    return {
        "held_paise": database.long(reservation.held_paise),
        "limit_seconds": reservation.limit_seconds,
        "told_limit_seconds": (
            reservation.affordable_seconds if by_hand else reservation.limit_seconds
        ),
        "counted_on": reservation.counted_on,
    }


async def _submit(call: Call, script: Simulate | None, turn_at: dt.datetime | None) -> Call:
    """Ask the network for a call that is committed. Whatever happens, its hold has an owner."""
    call_id, network = call["_id"], telephony.provider(call["provider"])
    dial = telephony.Dial(
        call_id=call_id,
        to=call["to"],
        callback_url=telephony.callback_url(network.name, call_id),
        answer_url=telephony.answer_url(network.name, call_id),
        limit_seconds=call["told_limit_seconds"],
        ring_seconds=RING_SECONDS,
        message=call["message"],
        audio_url=call["audio_url"],
        connect_to=call["connect_to"],
        machine_detection=call["machine_detection"],
        simulate=script,
    )
    try:
        await pacing.wait(network, turn_at)
        if clock.now() > clock.after(SUBMIT_SECONDS, since=call["created_at"]):
            raise telephony.NotSent(telephony.TOO_SLOW)
        provider_call_id = await network.place(dial)
    except (telephony.Refused, telephony.NotSent) as refusal:
        log.warning("call %s was not placed: %s", call_id, refusal)
        await callbook.finish(
            call_id, status="failed", duration_seconds=0, reason=str(refusal)[:200]
        )
        return await callbook.find(call_id)
    except telephony.Ambiguous as problem:
        log.warning("call %s: unknown whether it was placed: %s", call_id, problem)
        return await callbook.unknown(call)
    return await callbook.queued(call, provider_call_id)


async def hang_up(call_id: str) -> Call:
    """Ask the network to end a call; the call as it stands. Its end is reported like any other.

    Harmless when repeated and when the call is over. Unavailable when the network does not answer,
    CannotHangUp when it is one that cannot do this.
    """
    call = await callbook.find(call_id)
    if call["rank"] < OVER:
        network = telephony.provider(call["provider"])
        if not network.can.can_hang_up:
            raise CannotHangUp(
                f"{network.name.title()} cannot end a call on request; it ends after "
                f"{call['limit_seconds']} s at the latest."
            )
        try:
            await network.hang_up(call)
        except telephony.Ambiguous as problem:
            raise Unavailable("The telephone network does not answer; try again.") from problem
        log.info("call %s: hang-up asked for", call_id)
    return call


async def hang_up_on_machine(call_id: str) -> None:
    """A machine answered: end the call, if that is what its user wants. Raises Unavailable."""
    if (await callbook.find(call_id)).get("machine_detection") == "hang_up":
        await hang_up(call_id)


# --- routes: shapes -----------------------------------------------------------------------------

router = APIRouter(tags=["calls"])


def _http_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or any(map(str.isspace, text)):
        raise ValueError("must be an http:// or https:// address")
    return text


Url = Annotated[str, Field(max_length=2_048), AfterValidator(_http_url)]


class SimulateIn(BaseModel):
    """What a simulated call shall do: take `wall_seconds` of real time, report `duration_seconds`."""

    outcome: Literal["completed", "busy", "no_answer", "failed"] = "completed"
    duration_seconds: Annotated[int, Field(strict=True, ge=0, le=14_400)] = 30
    wall_seconds: Annotated[float, Field(strict=True, ge=0, le=3_600, allow_inf_nan=False)] = 1.0
    answered_by: Literal["human", "machine"] = "human"


def scenario_of(simulate: SimulateIn | None) -> Simulate | None:
    """What the body of a request says about the simulation."""
    return None if simulate is None else Simulate(**simulate.model_dump())


class CallIn(BaseModel):
    """A call to place; at most one of `message`, `audio_url` and `connect_to`."""

    to: Phone
    message: Annotated[str, Field(min_length=1, max_length=1_000)] | None = None
    audio_url: Url | None = None
    connect_to: Phone | None = None
    max_duration_seconds: Annotated[int, Field(strict=True, ge=1, le=86_400)] | None = None
    machine_detection: MachineDetection | None = None
    simulate: SimulateIn | None = None

    @model_validator(mode="after")
    def _one_purpose(self) -> "CallIn":
        chosen = [v for v in (self.message, self.audio_url, self.connect_to) if v is not None]
        if len(chosen) > 1:
            raise ValueError("send one of message, audio_url and connect_to, not several")
        return self


class CallOut(BaseModel):
    """A call as its owner sees it."""

    call_id: str
    user_id: str
    to: str
    status: Status
    billing_status: BillingStatus
    rate_per_minute: RupeesOut
    pulse_seconds: int
    first_pulse_seconds: int
    minimum_billable_seconds: int
    connection_fee: RupeesOut
    rate_source: Source
    rate_card_version: int | None
    rate_prefix: str | None
    held: RupeesOut
    max_duration_seconds: int
    limit_seconds: int
    machine_detection: MachineDetection | None
    answered_by: Literal["human", "machine"] | None
    duration_seconds: int | None
    billable_seconds: int | None
    pulse_count: int | None
    cost: RupeesOut | None
    due: RupeesOut
    explanation: str | None
    provider: str
    provider_call_id: str | None
    campaign_id: str | None
    created_at: Instant
    answered_at: Instant | None
    ended_at: Instant | None
    failure_reason: str | None


class CallsOut(BaseModel):
    """A page of calls, newest first."""

    calls: list[CallOut]
    next_cursor: str | None


def shown(call: Call) -> CallOut:
    """A stored call as its owner sees it."""
    rate = billing.rate_of(call)
    facts: Document = {
        "call_id": call["_id"],
        "rate_per_minute": rate.rate_paise_per_minute,
        "first_pulse_seconds": rate.opening_seconds,
        "connection_fee": rate.connection_fee_paise,
        "rate_source": rate.source,
        "held": call["held_paise"],
        "cost": call["cost_paise"],
        "due": call["due_paise"],
    }
    return CallOut(**{name: call.get(name) for name in CallOut.model_fields} | facts)


# --- routes -------------------------------------------------------------------------------------


async def _visible(call_id: str, user: User) -> Call:
    """The call if it is the user's own or the user is an admin; else there is none."""
    call = await callbook.find(call_id)
    if user.role != "admin" and call["user_id"] != user.id:
        raise NotFound("There is no call with this id.")
    return call


@router.post(
    "/api/call",
    status_code=202,
    response_model=CallOut,
    responses=api.documented(
        Unauthenticated,
        *PAYMENT_REQUIRED,
        InvalidRequest,
        InvalidNumber,
        DestinationNotAllowed,
        DestinationNotRated,
        IdempotencyKeyReused,
        StillRunning,
        TooManyCalls,
        Unavailable,
    ),
)
async def place_call(request: Request, user: CurrentUser, body: CallIn) -> Response:
    """Place a call. Its money is reserved first and charged when the network reports its end."""
    spec = CallSpec(
        message=body.message,
        audio_url=body.audio_url,
        connect_to=body.connect_to,
        max_duration_seconds=body.max_duration_seconds,
        machine_detection=body.machine_detection,
        simulate=scenario_of(body.simulate),
    )

    async def work(seed: str) -> api.Answer:
        call = await place(user.id, call_id=f"call_{seed}", to=body.to, spec=spec)
        return api.Answer(202, shown(call))

    return await api.once(request, user.id, work)


@router.get(
    "/api/calls",
    response_model=CallsOut,
    responses=api.documented(Unauthenticated, InvalidRequest, InvalidCursor),
)
async def list_calls(
    user: CurrentUser,
    status: Status | None = None,
    user_id: Annotated[str | None, Query(max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=api.PAGE_LIMIT_MAX)] = api.PAGE_LIMIT_DEFAULT,
    cursor: Annotated[str | None, Query(max_length=500)] = None,
) -> CallsOut:
    """The user's calls, newest first; an admin sees everybody's, or those of `user_id`."""
    where: Document = {}
    if user.role != "admin":
        where["user_id"] = user.id
    elif user_id is not None:
        where["user_id"] = user_id
    if status is not None:
        where["status"] = status
    after = None
    if cursor is not None:
        at, call_id = api.decode_cursor(cursor, dt.datetime, str)
        after = (at, call_id)
    found = await callbook.page(where, after=after, limit=limit + 1)
    more = len(found) > limit
    found = found[:limit]
    last = api.encode_cursor(found[-1]["created_at"], found[-1]["_id"]) if more else None
    return CallsOut(calls=[shown(call) for call in found], next_cursor=last)


@router.get(
    "/api/calls/{call_id}",
    response_model=CallOut,
    responses=api.documented(Unauthenticated, NotFound),
)
async def one_call(call_id: str, user: CurrentUser) -> CallOut:
    """One call."""
    return shown(await _visible(call_id, user))


@router.post(
    "/api/calls/{call_id}/hangup",
    status_code=202,
    response_model=CallOut,
    responses=api.documented(Unauthenticated, NotFound, CannotHangUp, Unavailable),
)
async def hang_up_call(call_id: str, user: CurrentUser) -> CallOut:
    """End a call. The seconds talked until now are charged when the network reports the end; a
    call that is over stays as it is, so this may be repeated."""
    await _visible(call_id, user)
    return shown(await hang_up(call_id))
