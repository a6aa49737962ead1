"""Placing calls: money reserved, provider asked, and hanging up on request."""

import dataclasses
import datetime as dt
import logging
from collections.abc import Iterable
from typing import Final, Literal, NotRequired, TypedDict, cast

import telephony
from billing import charging, rates
from billing.charging import Reservation
from billing.limits import CampaignBudget, SpendingKey
from billing.pricing import Rate
from calls import lifecycle, records, submissions, timing
from calls.records import Call
from core import clock, config, database, phone_numbers
from core.database import Document, Write
from core.errors import Unavailable, invalid
from telephony import OVER, RANK, CannotHangUp, Capabilities, Provider, Simulate, throttle

log = logging.getLogger(__name__)

MachineDetection = Literal[
    "report",  # report who answered
    "hang_up",  # and end the call when it was a machine
]

RING_SECONDS: Final = 60
# After this long it is too late to ask the network: the check of overdue calls may have ended the
# call and released its hold.
SUBMIT_SECONDS: Final = 20


class Scenario(TypedDict):
    """The behaviour of a simulated call (`Simulate`), as it is stored."""

    outcome: str
    duration_seconds: int
    wall_seconds: float
    answered_by: str
    press_key: NotRequired[str | None]


class SpecFields(TypedDict):
    """A `CallSpec` as it is stored, among the fields of a campaign."""

    message: str | None
    audio_url: str | None
    connect_to: str | None
    max_duration_seconds: int | None
    machine_detection: NotRequired[MachineDetection | None]
    simulate: Scenario | None
    language: NotRequired[str | None]  # BCP-47; None: by the script of the message
    voice: NotRequired[str | None]  # the name of a voice of the network
    keys: NotRequired[dict[str, str] | None]  # what pressing a key means: {"1": "confirm"}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CallSpec:
    """The content and the options of a call, without its number; at most one of `message`,
    `audio_url` and `connect_to` is given."""

    message: str | None = None
    audio_url: str | None = None
    connect_to: str | None = None
    max_duration_seconds: int | None = None
    machine_detection: MachineDetection | None = None
    language: str | None = None
    voice: str | None = None
    keys: dict[str, str] | None = None
    simulate: Simulate | None = None

    def check(self, network: Provider) -> None:
        """Raise InvalidRequest for options that exclude each other or that the network does not have,
        and LanguageNotSupported for a message that it cannot read."""
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
        if self.keys and self.connect_to is not None:
            raise invalid(
                "keys", "are asked for after a message or a sound, not in a connected call"
            )
        if self.keys and not network.can.can_collect_keys:
            raise invalid("keys", f"{network.name.title()} does not report which keys are pressed")
        if self.connect_to is None and self.audio_url is None:
            telephony.check_speech(network.name, self.language, self.voice, text=self.message)

    def normalized(self) -> "CallSpec":
        """The same with `connect_to` in E.164. Raises InvalidNumber and DestinationNotAllowed."""
        if self.connect_to is None:
            return self
        return dataclasses.replace(self, connect_to=phone_numbers.checked(self.connect_to))

    def fields(self) -> SpecFields:
        """The fields in which it is stored; `of` reads them."""
        return {
            "message": self.message,
            "audio_url": self.audio_url,
            "connect_to": self.connect_to,
            "max_duration_seconds": self.max_duration_seconds,
            "machine_detection": self.machine_detection,
            "language": self.language,
            "voice": self.voice,
            "keys": self.keys,
            "simulate": (
                None if self.simulate is None else cast(Scenario, dataclasses.asdict(self.simulate))
            ),
        }

    @classmethod
    def of(cls, stored: SpecFields) -> "CallSpec":
        """The specification that `fields` stored."""
        scenario = stored["simulate"]
        return cls(
            message=stored["message"],
            audio_url=stored["audio_url"],
            connect_to=stored["connect_to"],
            max_duration_seconds=stored["max_duration_seconds"],
            machine_detection=stored.get("machine_detection"),
            language=stored.get("language"),
            voice=stored.get("voice"),
            keys=stored.get("keys"),
            simulate=None if scenario is None else Simulate(**scenario),
        )


PLAIN_CALL: Final = CallSpec()


async def place_call(
    user_id: str,
    *,
    call_id: str,
    to: str,
    spec: CallSpec = PLAIN_CALL,
    campaign_id: str | None = None,
    key: SpendingKey | None = None,
    budget: CampaignBudget | None = None,
    turn_at: dt.datetime | None = None,
    is_new: bool = False,
) -> Call:
    """Reserve the money for a call, then ask the network for it; the call as it is then.

    With the `call_id` of a call that exists, returns that call: nothing is dialled twice, and what an
    attempt without an answer left behind is submitted (`submissions.take_over`). `is_new` says that
    the id was made for this attempt, so it needs no look-up. The call waits for
    its turn at the network: that of `turn_at`, or the next. It counts for the cap of the API `key`
    that asks for it, or whose campaign it is of, and for the `budget` of its campaign. Raises
    InvalidRequest, InvalidNumber, DestinationNotAllowed, DestinationNotRated, the 402s, BudgetReached
    and TooManyCalls; then there is no call. After Unavailable there may be one, and the same `call_id`
    finds out. A call that the network refuses is returned as `failed`, its money released.
    """
    attempt = database.new_id("attempt")
    known = None if is_new else await records.find_call(call_id)
    if known is not None:
        return await _repeat(known, attempt, spec, turn_at)
    network = telephony.get_chosen_provider()
    spec.check(network)
    script = _script_of(spec, network)
    longest_seconds = min(config.settings().max_call_minutes * 60, network.can.limit_seconds_max)
    number = phone_numbers.checked(to)
    rate = await rates.get_rate(user_id, number)
    spec = spec.normalized()
    call = _new_call(user_id, call_id, number, rate, script) | {
        "message": spec.message,
        "audio_url": spec.audio_url,
        "connect_to": spec.connect_to,
        "max_duration_seconds": min(longest_seconds, spec.max_duration_seconds or longest_seconds),
        "machine_detection": spec.machine_detection,
        "language": spec.language,
        "voice": spec.voice,
        "keys": spec.keys,
        "campaign_id": campaign_id,
        **charging.key_fields(key),
        "provider": network.name,
        "attempt": attempt,
    }

    def with_call(reservation: Reservation) -> Iterable[Write]:
        return [
            lifecycle.written(cast(Call, call | _fields_of_reservation(reservation, network.can)))
        ]

    async with submissions.attempted(call_id, attempt):
        reservation = await charging.reserve(
            user_id,
            call_id=call_id,
            rate=rate,
            seconds_max=call["max_duration_seconds"],
            whole=network.can.reserves_whole,
            key=key,
            budget=budget,
            companions=with_call,
        )
    if reservation.repeated:  # by another attempt with this id, or by this one after a lost answer
        return await _repeat(await records.get_call(call_id), attempt, spec, turn_at)
    held = cast(Call, call | _fields_of_reservation(reservation, network.can))
    return await _submit(held, script, turn_at)


async def _repeat(known: Call, attempt: str, spec: CallSpec, turn_at: dt.datetime | None) -> Call:
    """The call that exists already; submitted now, if its attempt ended before it asked the network."""
    call = await submissions.take_over(known, attempt)
    if call["status"] != "submitting" or call.get("attempt") != attempt:
        return call
    network = telephony.get_provider(call["provider"])
    return await _submit(call, _script_of(spec, network), turn_at)


def _script_of(spec: CallSpec, network: Provider) -> Simulate | None:
    return (spec.simulate or Simulate()) if network.can.can_simulate else None


def _new_call(
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
        # The rate of this moment: a later change does not affect a call that is placed.
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
        "next_check_at": clock.after(timing.VISIBILITY_SECONDS, since=now),
    }


def _fields_of_reservation(reservation: Reservation, can: Capabilities) -> Document:
    """The reservation, and the limit that is sent to the network: the reserved seconds, or where we have
    to end the call ourselves (it can be hung up, its limit not raised) all that the wallet affords."""
    is_ended_by_us = can.can_hang_up and not can.can_extend
    return {
        "held_paise": database.long(reservation.held_paise),
        "limit_seconds": reservation.limit_seconds,
        "told_limit_seconds": (
            reservation.affordable_seconds if is_ended_by_us else reservation.limit_seconds
        ),
        "counted_on": reservation.counted_on,
        "key_counted_on": reservation.key_counted_on,
        "is_in_budget": reservation.is_in_budget,
    }


async def _submit(call: Call, script: Simulate | None, turn_at: dt.datetime | None) -> Call:
    """Ask the network for a call that is committed. Whatever happens, the call and its hold are stored,
    and a due check of the call releases a hold that is left over."""
    call_id, network = call["_id"], telephony.get_provider(call["provider"])
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
        caller_id=call.get("caller_id"),
        language=call.get("language"),
        voice=call.get("voice"),
        keys=call.get("keys"),
        simulate=script,
    )
    attempt = call.get("attempt") or ""
    try:
        async with submissions.attempted(call_id, attempt):
            await throttle.wait_for_turn(network, turn_at)
        if clock.now() > clock.after(SUBMIT_SECONDS, since=call["created_at"]):
            raise telephony.NotSent(telephony.TOO_SLOW)
        provider_call_id = await network.place(dial)
    except (telephony.Refused, telephony.NotSent) as refusal:
        log.warning("call %s was not placed: %s", call_id, refusal)
        async with submissions.attempted(call_id, attempt):
            await lifecycle.end_call(
                call_id, status="failed", duration_seconds=0, reason=str(refusal)[:200]
            )
        return await records.get_call(call_id)
    except telephony.Ambiguous as problem:
        log.warning("call %s: unknown whether it was placed: %s", call_id, problem)
        return await submissions.record_unknown(call)
    return await lifecycle.mark_queued(call, provider_call_id)


async def hang_up_call(call_id: str) -> Call:
    """Ask the network to end a call; the call as it was before. Its end is reported like any other.

    Harmless when repeated and when the call is over. Unavailable when the network does not answer,
    CannotHangUp when it is one without this capability.
    """
    call = await records.get_call(call_id)
    if call["rank"] < OVER:
        network = telephony.get_provider(call["provider"])
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
    """End a call that a machine answered, if its user asked for that. Raises Unavailable."""
    if (await records.get_call(call_id)).get("machine_detection") == "hang_up":
        await hang_up_call(call_id)
