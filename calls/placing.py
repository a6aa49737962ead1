"""Placing calls: money reserved, then the network asked or the call withdrawn; hanging up."""

import asyncio
import dataclasses
import datetime as dt
import logging
from typing import Any, Final, Literal, NotRequired, TypedDict, cast

import telephony
from billing import charging, rates
from billing.charging import Reservation
from billing.limits import CampaignBudget, SpendingKey
from billing.pricing import Rate
from calls import lifecycle, records, timing
from calls.records import Call, Scenario
from compliance import contact_limits, do_not_call
from core import clock, config, database, phone_numbers
from core.database import Document
from core.errors import TooManyCalls, Unavailable, invalid
from telephony import (
    OVER,
    RANK,
    CannotHangUp,
    Capabilities,
    Provider,
    Simulate,
    network_health,
)

log = logging.getLogger(__name__)

MachineDetection = Literal[
    "report",  # report who answered
    "hang_up",  # and end the call when it was a machine
]

RING_SECONDS: Final = 60
# So long after a call was claimed for its submission it is too late to ask the network: the check of
# overdue calls may ask it soon, and would find no call.
SUBMIT_SECONDS: Final = 20
# Who hangs up a call that the network is being asked for waits so long for the answer.
_SUBMITTING_SECONDS: Final = 3.0


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


async def reserve_call(
    user_id: str,
    *,
    call_id: str,
    to: str,
    spec: CallSpec = PLAIN_CALL,
    campaign_id: str | None = None,
    key: SpendingKey | None = None,
    budget: CampaignBudget | None = None,
    caller_id: str | None = None,
    attempt_number: int | None = None,
    is_new: bool = False,
) -> Call:
    """Reserve the money for a call and commit it with its hold: `created`, and nothing is dialled.

    With the `call_id` of a call that exists, returns that call as it is. `is_new` says that the id
    was made for this attempt, so it needs no look-up. It counts for the cap of the API `key` that asks
    for it, or whose campaign it is of, and for the `budget` of its campaign. `caller_id` is the number
    that it shows, if not the network's default; `attempt_number` says how often its contact was called
    with it.

    Raises InvalidRequest, InvalidNumber, DestinationNotAllowed, DestinationNotRated, DoNotCall, the
    402s, BudgetReached and TooManyCalls; then there is no call. After Unavailable there may be one, and the
    same `call_id` finds out. What is neither submitted nor withdrawn is withdrawn by the check of
    overdue calls.
    """
    known = None if is_new else await records.find_call(call_id)
    if known is not None:
        return known
    network = telephony.get_chosen_provider()
    spec.check(network)
    script = _script_of(spec, network)
    longest_seconds = min(config.settings().max_call_minutes * 60, network.can.limit_seconds_max)
    number, spec = phone_numbers.checked(to), spec.normalized()
    await _require_callable(user_id, number, spec)
    rate = await rates.get_rate(user_id, number, spec.connect_to)
    call = _new_call(user_id, call_id, number, rate, script, campaign_id) | {
        "message": spec.message,
        "audio_url": spec.audio_url,
        "connect_to": spec.connect_to,
        "max_duration_seconds": min(longest_seconds, spec.max_duration_seconds or longest_seconds),
        "machine_detection": spec.machine_detection,
        "language": spec.language,
        "voice": spec.voice,
        "keys": spec.keys,
        "caller_id": caller_id,
        "attempt_number": attempt_number,
        **charging.key_fields(key),
        "provider": network.name,
    }

    def reserved(reservation: Reservation) -> Call:
        fields = _fields_of_reservation(reservation, network.can, call["created_at"])
        return cast(Call, call | fields)

    reservation = await _reserved(
        user_id,
        call_id=call_id,
        rate=rate,
        seconds_max=call["max_duration_seconds"],
        whole=network.can.reserves_whole,
        key=key,
        budget=budget,
        companions=lambda made: [lifecycle.written(reserved(made))],
    )
    if reservation.repeated:  # by another attempt with this id, or by this one after a lost answer
        return await records.get_call(call_id)
    return reserved(reservation)


async def _reserved(user_id: str, **options: Any) -> Reservation:
    """`charging.reserve`. A call that is over keeps its hold until its price is known, but not its line:
    where all that the user may have at once are held, those that are over do not count."""
    try:
        return await charging.reserve(user_id, **options)
    except TooManyCalls as refusal:
        if refusal.extra.get("limited_by") != "concurrent_calls":
            raise
        calls_over = await records.count_unbilled_calls(user_id)
        if not calls_over:
            raise
    return await charging.reserve(user_id, calls_over=calls_over, **options)


async def _require_callable(user_id: str, number: str, spec: CallSpec) -> None:
    """Raise DoNotCall when one of the two legs is on a do-not-call list."""
    second = [] if spec.connect_to is None else [spec.connect_to]
    await do_not_call.require_callable(user_id, number, *second)


async def submit_call(call: Call) -> Call:
    """Ask the network for a committed call now, in a turn that the caller has; the call as it is then.

    Only a call that is still `created` is submitted, and by one caller alone: any other is returned
    as it is. Whatever happens, the call and its hold are stored, and what has become of it is found
    by the check of overdue calls. A call that the network refuses is returned as `failed`, its money
    released; one of which it is not known whether the network has it, as `unknown`.
    """
    claimed = await lifecycle.claim_submission(call)
    if claimed is None:
        return await records.get_call(call["_id"])
    return await submit_claimed(claimed)


async def submit_claimed(claimed: Call) -> Call:
    """`submit_call` for a call that the caller has claimed (`lifecycle.claim_submission`)."""
    call_id, network = claimed["_id"], telephony.get_provider(claimed["provider"])
    try:
        if clock.now() > clock.after(SUBMIT_SECONDS, since=timing.submitted_at(claimed)):
            raise telephony.NotSent(telephony.TOO_SLOW)
        if claimed["campaign_id"] is None:  # the dispatcher has counted those of campaigns
            await contact_limits.record_attempt(claimed["user_id"], claimed["to"], call_id)
        provider_call_id = await network.place(_dial_of(claimed))
    except (telephony.Refused, telephony.NotSent) as refusal:
        log.warning("call %s was not placed: %s", call_id, refusal)
        reason = str(refusal)[:200]
        await network_health.record_outcome(network.name, network_health.outcome_of(refusal))
        await lifecycle.end_call(call_id, status="failed", duration_seconds=0, reason=reason)
        return await records.get_call(call_id)
    except telephony.Ambiguous as problem:
        log.warning("call %s: unknown whether it was placed: %s", call_id, problem)
        await network_health.record_outcome(network.name, network_health.outcome_of(problem))
        return await lifecycle.mark_unknown(claimed)
    await network_health.record_outcome(network.name, network_health.ACCEPTED)
    return await lifecycle.mark_queued(claimed, provider_call_id)


async def withdraw_call(call: Call, reason: str) -> None:
    """End a committed call that nobody was called for: `canceled` with `reason`, its hold released.

    Idempotent; a call that was submitted meanwhile stays as it is.
    """
    await lifecycle.end_unsubmitted(call, status="canceled", reason=reason)


def _dial_of(call: Call) -> telephony.Dial:
    scenario = call.get("simulate")
    return telephony.Dial(
        call_id=call["_id"],
        to=call["to"],
        callback_url=telephony.callback_url(call["provider"], call["_id"]),
        answer_url=telephony.answer_url(call["provider"], call["_id"]),
        limit_seconds=call["told_limit_seconds"],
        ring_seconds=RING_SECONDS,
        message=call["message"],
        audio_url=call["audio_url"],
        connect_to=call["connect_to"],
        machine_detection=call.get("machine_detection"),
        caller_id=call.get("caller_id"),
        language=call.get("language"),
        voice=call.get("voice"),
        keys=call.get("keys"),
        simulate=None if scenario is None else Simulate(**scenario),
    )


def _script_of(spec: CallSpec, network: Provider) -> Simulate | None:
    return (spec.simulate or Simulate()) if network.can.can_simulate else None


def _new_call(
    user_id: str,
    call_id: str,
    number: str,
    rate: Rate,
    script: Simulate | None,
    campaign_id: str | None,
) -> Document:
    now = clock.now()
    rings_seconds = script.wall_seconds - script.talk_wall_seconds if script else RING_SECONDS
    return {
        "_id": call_id,
        "user_id": user_id,
        "campaign_id": campaign_id,
        "to": number,
        "status": "created",
        "rank": RANK["created"],
        "billing_status": "held",
        # The rate of this moment: a later change does not affect a call that is placed.
        **charging.rate_fields(rate),
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
        "next_check_at": clock.after(timing.UNSUBMITTED_SECONDS, since=now),
        # So that another process can submit it: of a campaign its dispatcher, else whoever finds it.
        **({"dial_at": now} if campaign_id is None else {}),
        "simulate": None if script is None else dataclasses.asdict(script),
    }


def _fields_of_reservation(
    reservation: Reservation, can: Capabilities, at: dt.datetime
) -> Document:
    """The reservation, and the limit that is sent to the network: the reserved seconds, or where we have
    to end the call ourselves (it can be hung up, its limit not raised) all that the wallet affords."""
    is_ended_by_us = can.can_hang_up and not can.can_extend
    return {
        "held_paise": database.long(reservation.held_paise),
        "limit_seconds": reservation.limit_seconds,
        "reservations": [lifecycle.reserved_of(reservation, at)],
        "told_limit_seconds": (
            reservation.affordable_seconds if is_ended_by_us else reservation.limit_seconds
        ),
        "counted_on": reservation.counted_on,
        "key_counted_on": reservation.key_counted_on,
        "is_in_budget": reservation.is_in_budget,
    }


async def hang_up_call(call_id: str) -> Call:
    """Ask the network to end a call; the call as it was before. Its end is reported like any other.

    Harmless when repeated and when the call is over. One that waits for its turn is not dialled any
    more. Unavailable when the network does not answer, CannotHangUp when it is one without this
    capability.
    """
    call = await _hung_up_before(await records.get_call(call_id))
    if call["rank"] < OVER or call["failure_reason"] == records.LOST_BY_NETWORK:
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


async def _hung_up_before(call: Call) -> Call:
    """The call when it is known whether the network has it; ended, if nobody has submitted it."""
    if call["status"] == "created":
        await withdraw_call(call, "hung_up")
        call = await records.get_call(call["_id"])
    give_up_at = clock.after(_SUBMITTING_SECONDS)
    while call["status"] == "submitting" and clock.now() < give_up_at:
        await asyncio.sleep(0.05)
        call = await records.get_call(call["_id"])
    return call


async def hang_up_on_machine(call_id: str) -> None:
    """End a call that a machine answered, if its user asked for that. Raises Unavailable."""
    if (await records.get_call(call_id)).get("machine_detection") == "hang_up":
        await hang_up_call(call_id)
