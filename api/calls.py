"""Call routes: place, quote, show, list, hang up."""

from collections.abc import Iterable
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import AfterValidator, BaseModel, Field, model_validator

from api import downloads, problems
from api.dependencies import CurrentUser, Page, PayingKey, may_change, may_see, sees_everybody
from api.fields import Instant, Message, Phone, RequestModel, RupeesOut, number_of
from api.idempotency import Answer, Idempotent
from billing import pricing, rates
from billing.pricing import Rate, Source
from billing.rate_cards import DestinationNotRated
from calls import placing, single_calls
from calls import records as call_records
from calls.placing import CallSpec, MachineDetection
from calls.records import BillingStatus, Call, CallFilter, Status
from calls.timeline import Step, timeline_of
from compliance.do_not_call import DoNotCall
from core import clock, csv_files, money, phone_numbers
from core.database import Document
from core.errors import PAYMENT_REQUIRED, Forbidden, InvalidRequest, NotFound, TooManyCalls
from core.phone_numbers import DestinationNotAllowed, InvalidNumber
from telephony import CannotHangUp, LanguageNotSupported, Simulate
from users import User

router = APIRouter(tags=["calls"], route_class=problems.Route)


# --- shapes -------------------------------------------------------------------------------------


def _http_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or any(map(str.isspace, text)):
        raise ValueError("must be an http:// or https:// address")
    return text


Url = Annotated[
    str,
    Field(max_length=2_048, json_schema_extra={"format": "uri", "pattern": "^https?://"}),
    AfterValidator(_http_url),
]


# BCP-47 as networks name languages: a language and a region.
Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}-[A-Z]{2}$", examples=["en-IN", "hi-IN"])]
Voice = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$", examples=["Polly.Aditi"])]
# `stop` adds the number to the do-not-call list of the user; any other meaning is only recorded.
Keys = Annotated[
    dict[
        Annotated[str, Field(pattern=r"^[0-9*#]$")],
        Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")],
    ],
    Field(min_length=1, max_length=12, examples=[{"1": "confirm", "9": "stop"}]),
]


class SimulateIn(RequestModel):
    """What a simulated call shall do: take `wall_seconds` of real time, report `duration_seconds`. What
    is `mixed` is drawn for each call: most are answered, for at most so many seconds."""

    outcome: Literal["completed", "busy", "no_answer", "failed", "mixed"] = "completed"
    duration_seconds: Annotated[int, Field(strict=True, ge=0, le=14_400)] = 30
    wall_seconds: Annotated[float, Field(strict=True, ge=0, le=3_600, allow_inf_nan=False)] = 1.0
    answered_by: Literal["human", "machine"] = "human"
    press_key: Annotated[str, Field(pattern=r"^[0-9*#]$")] | None = None


def to_scenario(simulate: SimulateIn | None) -> Simulate | None:
    """What the body of a request says about the simulation."""
    return None if simulate is None else Simulate(**simulate.model_dump())


class CallIn(RequestModel):
    """A call to place; at most one of `message`, `audio_url` and `connect_to`."""

    to: Phone
    message: Message | None = None
    audio_url: Url | None = None
    connect_to: Phone | None = None
    max_duration_seconds: Annotated[int, Field(strict=True, ge=1, le=86_400)] | None = None
    machine_detection: MachineDetection | None = None
    language: Language | None = None
    voice: Voice | None = None
    keys: Keys | None = None
    simulate: SimulateIn | None = None

    @model_validator(mode="after")
    def _one_purpose(self) -> "CallIn":
        chosen = [v for v in (self.message, self.audio_url, self.connect_to) if v is not None]
        if len(chosen) > 1:
            raise ValueError("send one of message, audio_url and connect_to, not several")
        return self


class LegOut(BaseModel):
    """One leg of a call: the number that is called, or that to which it is connected; its own rate,
    and what of the call is billed in it (None: it is not over)."""

    number: str
    rate_per_minute: RupeesOut
    pulse_seconds: int
    first_pulse_seconds: int
    minimum_billable_seconds: int
    connection_fee: RupeesOut
    rate_source: Source
    rate_card_version: int | None
    rate_prefix: str | None
    billable_seconds: int | None


class PressedOut(BaseModel):
    """The key that the person pressed, and what it means in this call."""

    key: str
    meaning: str
    at: Instant


class CallOut(BaseModel):
    """A call as its owner sees it. `rate_per_minute` and `connection_fee` are those of the whole call,
    which `legs` has by leg; the pulses and the source beside them are of the number called."""

    call_id: str
    user_id: str
    to: str
    connect_to: str | None
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
    legs: list[LegOut]
    held: RupeesOut
    max_duration_seconds: int
    limit_seconds: int
    machine_detection: MachineDetection | None
    answered_by: Literal["human", "machine"] | None
    language: str | None
    voice: str | None
    keys: dict[str, str] | None
    pressed: PressedOut | None
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


class StepOut(BaseModel):
    """Something that happened to a call. `status` is there for what the network reports, with when the
    report arrived; `held` and `limit_seconds` for a reservation; `key` and `meaning` for a pressed key."""

    at: Instant
    what: Step
    status: Status | None
    received_at: Instant | None
    held: RupeesOut | None
    limit_seconds: int | None
    key: str | None
    meaning: str | None


class CallWithTimelineOut(CallOut):
    """A call with what happened to it, the oldest first. Calls of older versions lack the moments of
    their reservations. `pace`: how many of its seconds pass in one of ours, which is 1 but for the
    simulator."""

    pace: float
    timeline: list[StepOut]


class CallsOut(BaseModel):
    """A page of calls, newest first."""

    calls: list[CallOut]
    next_cursor: str | None


class QuoteIn(RequestModel):
    """A call to price."""

    to: Phone
    connect_to: Phone | None = None
    duration_seconds: Annotated[int, Field(strict=True, ge=0, le=86_400)]


class QuoteOut(BaseModel):
    """What it would cost at the rate of this moment, and what that is computed from."""

    cost: RupeesOut
    rate_per_minute: RupeesOut
    billable_seconds: int
    pulse_count: int
    first_pulse_seconds: int
    pulse_seconds: int
    minimum_billable_seconds: int
    connection_fee: RupeesOut
    rate_source: Source
    rate_card_version: int | None
    rate_prefix: str | None
    legs: list[LegOut]
    explanation: str


# --- routes -------------------------------------------------------------------------------------


@router.post(
    "/api/call",
    status_code=202,
    response_model=CallOut,
    responses=problems.documented(
        *PAYMENT_REQUIRED,
        InvalidRequest,
        InvalidNumber,
        DestinationNotAllowed,
        DoNotCall,
        DestinationNotRated,
        LanguageNotSupported,
        TooManyCalls,
    ),
)
async def place_call(user: CurrentUser, key: PayingKey, body: CallIn, once: Idempotent) -> Response:
    """Order a call. It is answered when its money is reserved (`created`); then it is dialled, and
    charged when the network reports its end."""
    spec = CallSpec(
        message=body.message,
        audio_url=body.audio_url,
        connect_to=body.connect_to,
        max_duration_seconds=body.max_duration_seconds,
        machine_detection=body.machine_detection,
        language=body.language,
        voice=body.voice,
        keys=body.keys,
        simulate=to_scenario(body.simulate),
    )

    async def work(seed: str) -> Answer:
        call = await single_calls.order_call(
            user.id,
            call_id=f"call_{seed}",
            to=body.to,
            spec=spec,
            key=key,
            is_new=once.seed_is_new,
        )
        return Answer(202, call_out(call))

    return await once(user.id, work)


def _chosen(
    user: CurrentUser,
    status: Status | None = None,
    number: Annotated[
        str | None, Query(max_length=40, description="Only calls to this number")
    ] = None,
    live: Annotated[bool, Query(description="Only calls that are not over")] = False,
    user_id: Annotated[str | None, Query(max_length=64)] = None,
) -> CallFilter:
    """The calls that are asked for, and that this caller may see."""
    return CallFilter(
        user_id=user_id if sees_everybody(user) else user.id,
        status=status,
        number=None if number is None else number_of(number),
        is_live=live,
    )


Chosen = Annotated[CallFilter, Depends(_chosen)]


@router.get(
    "/api/calls",
    response_model=CallsOut,
    responses=problems.documented(InvalidRequest, InvalidNumber),
)
async def list_calls(page: Page, chosen: Chosen) -> CallsOut:
    """The user's calls, newest first; an operator or admin sees everybody's, or those of
    `user_id`."""
    found, next_cursor = await call_records.list_calls(chosen, limit=page.limit, cursor=page.cursor)
    return CallsOut(calls=[call_out(call) for call in found], next_cursor=next_cursor)


@router.get(
    "/api/calls/download",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/csv": {}}, "description": "The CSV"},
        **problems.documented(InvalidRequest, InvalidNumber),
    },
)
async def download_calls(
    chosen: Chosen,
    excel: Annotated[bool, Query(description="Begin with a byte order mark")] = False,
) -> StreamingResponse:
    """All calls of the filter as CSV, newest first, times in India. A download that breaks off was not
    complete."""
    found = call_records.iterate_calls(chosen)
    pieces = csv_files.pieces(found, _CSV_COLUMNS, _csv_cells, mark=excel)
    return await downloads.attachment(pieces, f"calls-{clock.ist_date(clock.now())}.csv")


@router.post(
    "/api/calls/quote",
    response_model=QuoteOut,
    responses=problems.documented(
        InvalidRequest, InvalidNumber, DestinationNotAllowed, DestinationNotRated
    ),
)
async def quote(user: CurrentUser, body: QuoteIn) -> QuoteOut:
    """What a call would cost: computed by the code that charges. With `connect_to` it has two legs,
    and costs the sum of both rates."""
    to = phone_numbers.checked(body.to)
    connect_to = None if body.connect_to is None else phone_numbers.checked(body.connect_to)
    rate = await rates.get_rate(user.id, to, connect_to)
    return QuoteOut(
        cost=pricing.cost_paise(body.duration_seconds, rate),
        rate_per_minute=rate.total_paise_per_minute,
        billable_seconds=pricing.billable_seconds(body.duration_seconds, rate),
        pulse_count=pricing.pulse_count(body.duration_seconds, rate),
        first_pulse_seconds=rate.opening_seconds,
        pulse_seconds=rate.pulse_seconds,
        minimum_billable_seconds=rate.minimum_billable_seconds,
        connection_fee=rate.total_fee_paise,
        rate_source=rate.source,
        rate_card_version=rate.card_version,
        rate_prefix=rate.prefix,
        legs=_legs_out(rate, (to, connect_to), body.duration_seconds),
        explanation=pricing.explanation(body.duration_seconds, rate),
    )


@router.get(
    "/api/calls/{call_id}",
    response_model=CallWithTimelineOut,
    responses=problems.documented(NotFound),
)
async def one_call(call_id: str, user: CurrentUser) -> CallWithTimelineOut:
    """One call, and its timeline: what happened to it, and when."""
    call = await _visible(call_id, user)
    steps = [
        StepOut(
            at=step.at,
            what=step.what,
            status=step.status,
            received_at=step.received_at,
            held=step.held_paise,
            limit_seconds=step.limit_seconds,
            key=step.key,
            meaning=step.meaning,
        )
        for step in timeline_of(call)
    ]
    return CallWithTimelineOut(**_fields_of(call), pace=call["pace"], timeline=steps)


@router.post(
    "/api/calls/{call_id}/hangup",
    status_code=202,
    response_model=CallOut,
    responses=problems.documented(NotFound, Forbidden, CannotHangUp),
)
async def hang_up_call(call_id: str, user: CurrentUser) -> CallOut:
    """End a call. The seconds talked until now are charged when the network reports the end; a
    call that is over stays as it is, so this may be repeated."""
    call = await _visible(call_id, user)
    if not may_change(user, call["user_id"]):
        raise Forbidden("An operator looks at the calls of others and does not end them.")
    return call_out(await placing.hang_up_call(call_id))


# --- how a call is shown ------------------------------------------------------------------------


def call_out(call: Call) -> CallOut:
    """A stored call as its owner sees it."""
    return CallOut(**_fields_of(call))


def _fields_of(call: Call) -> Document:
    rate = pricing.rate_of(call)
    facts: Document = {
        "call_id": call["_id"],
        "rate_per_minute": rate.total_paise_per_minute,
        "first_pulse_seconds": rate.opening_seconds,
        "connection_fee": rate.total_fee_paise,
        "rate_source": rate.source,
        "legs": _legs_out(rate, (call["to"], call["connect_to"]), call["duration_seconds"]),
        "held": call["held_paise"],
        "cost": call["cost_paise"],
        "due": call["due_paise"],
    }
    return {name: call.get(name) for name in CallOut.model_fields} | facts


def _legs_out(
    rate: Rate, numbers: Iterable[str | None], duration_seconds: int | None
) -> list[LegOut]:
    return [
        LegOut(
            number=str(number),
            rate_per_minute=leg.rate_paise_per_minute,
            pulse_seconds=leg.pulse_seconds,
            first_pulse_seconds=leg.opening_seconds,
            minimum_billable_seconds=leg.minimum_billable_seconds,
            connection_fee=leg.connection_fee_paise,
            rate_source=leg.source,
            rate_card_version=leg.card_version,
            rate_prefix=leg.prefix,
            billable_seconds=(
                None
                if duration_seconds is None
                else pricing.billable_seconds(duration_seconds, leg)
            ),
        )
        for leg, number in zip(rate.legs, numbers, strict=False)
    ]


async def _visible(call_id: str, user: User) -> Call:
    """The call if it is the user's own or the user sees everybody's; else there is none."""
    call = await call_records.get_call(call_id)
    if not may_see(user, call["user_id"]):
        raise NotFound("There is no call with this id.")
    return call


# --- the CSV ------------------------------------------------------------------------------------

_CSV_COLUMNS: Final = (
    "call_id",
    "created_ist",
    "user_id",
    "to",
    "connect_to",
    "caller_id",
    "status",
    "failure_reason",
    "answered_by",
    "answered_ist",
    "ended_ist",
    "duration_seconds",
    "rate_per_minute",
    "cost",
    "billing_status",
    "campaign_id",
    "attempt",
)


def _csv_cells(call: Call) -> list[str]:
    harmless, ist = csv_files.harmless, csv_files.ist
    duration, cost_paise = call["duration_seconds"], call["cost_paise"]
    return [
        call["_id"],
        ist(call["created_at"]),
        call["user_id"],
        harmless(call["to"]),
        harmless(call.get("connect_to") or ""),
        harmless(call.get("caller_id") or ""),
        call["status"],
        harmless(call["failure_reason"] or ""),
        call.get("answered_by") or "",
        ist(call["answered_at"]),
        ist(call["ended_at"]),
        "" if duration is None else str(duration),
        money.text(pricing.rate_of(call).total_paise_per_minute),
        "" if cost_paise is None else money.text(int(cost_paise)),
        call["billing_status"],
        call.get("campaign_id") or "",
        str(call.get("attempt_number") or 1),
    ]
