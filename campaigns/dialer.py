"""Campaign dialer: who is called when, why a campaign waits or pauses, and when it resumes."""

import asyncio
import dataclasses
import datetime as dt
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

import telephony
from billing import charging, pricing
from billing.charging import Outlook
from calls import placing
from calls import records as call_records
from calls.placing import CallSpec
from calls.records import Call
from campaigns import contacts, options, records, retries
from campaigns.contacts import ClaimedContact
from campaigns.records import Campaign, CampaignEvent, PauseReason, Status
from core import clock, database, leases
from core.errors import (
    InsufficientBalance,
    PaymentRequired,
    Problem,
    SpendCapReached,
    TooManyCalls,
    Unavailable,
    WalletFrozen,
)
from core.outbox import Event
from telephony import NETWORK_DOWN, NETWORK_FAULTS, OVER, RANK, throttle

log = logging.getLogger(__name__)


# --- vocabulary ---------------------------------------------------------------------------------

# This many calls are placed at once; then the lease is renewed, if the campaign still runs.
_WAVE: Final = 8
_BATCH_MAX: Final = 200
_PARALLEL_MAX: Final = 8

# How soon a campaign is checked again without an event. The end of a call, a recharge and its owner
# make it due at once; these times are for events that were lost.
_WAITS_SECONDS: Final = 1.0
_LIVE_SECONDS: Final = 5.0
_NETWORK_SECONDS: Final = 5.0
_BALANCE_SECONDS: Final = 30.0
_DAY_SECONDS: Final = 60.0
# When a network that accepts no calls is tried again: after twice the time each time, up to the
# maximum.
_PROBE_SECONDS: Final = 15.0
_PROBE_SECONDS_MAX: Final = 300.0
# Calls that end within this time cause one check of their campaign.
_CHECK_DELAY_SECONDS: Final = 0.05

# In how many seconds a campaign is due again; None: at its next event.
Pause = float | None


@dataclasses.dataclass(frozen=True, slots=True)
class Placed:
    """The network accepted the call, or its number cannot be called: the campaign continues."""


@dataclasses.dataclass(frozen=True, slots=True)
class Unknown:
    """It is unknown whether the telephone network accepted the call."""


@dataclasses.dataclass(frozen=True, slots=True)
class Refused:
    """The call was refused for a reason that holds for the whole campaign."""

    problem: Problem


@dataclasses.dataclass(frozen=True, slots=True)
class NetworkFault:
    """The telephone network accepted no call, and the number is not the reason."""

    reason: str


Heeded = Refused | NetworkFault  # these apply to the whole campaign
Outcome = Placed | Unknown | Heeded

# The campaigns that this process checks in a moment, and the checks that are running.
_checked_soon: set[str] = set()
_checks: set[asyncio.Task[None]] = set()


# --- verbs --------------------------------------------------------------------------------------


async def dial_due_campaigns() -> int:
    """Dial for the campaigns that are due; how many there were. Any number of processes may do it."""
    ids = await records.list_due_campaigns(_BATCH_MAX)

    async def dial(campaign_id: str) -> None:
        try:
            await dial_campaign(campaign_id)
        except Exception as problem:
            if database.is_away(problem) or isinstance(problem, Unavailable):
                raise
            log.exception("campaign %s: %s", campaign_id, type(problem).__name__)

    await leases.gather_bounded(dial, ids, _PARALLEL_MAX)
    return len(ids)


async def dial_campaign(campaign_id: str) -> None:
    """Dial for a campaign now. If another process has its lease, the campaign is due again after it."""
    campaign = await records.acquire_lease(campaign_id)
    if campaign is None:
        await records.mark_due(campaign_id, clock.now())
        return
    again_seconds: Pause = _NETWORK_SECONDS
    try:
        again_seconds = await _step(campaign)
    finally:
        await records.release_lease(campaign, again_seconds)


async def _step(campaign: Campaign) -> Pause:
    campaign_id, status = campaign["_id"], campaign["status"]
    if campaign["is_loading"]:
        log.warning("campaign %s: its list never came in, it is forgotten", campaign_id)
        await records.delete_draft(campaign_id)
        return None
    if status == "scheduled":
        await records.apply_event(campaign, CampaignEvent.START_TIME_CAME)
        return 0.0
    if status not in ("running", "paused", "canceled"):
        return None
    await _recover(campaign)
    if status == "canceled":
        await contacts.mark_pending_canceled(campaign_id)
    if await contacts.has_contacts(campaign_id, ("pending",)):
        work = _WORK.get((status, campaign["pause_reason"]), _wait_for_calls)
        return await work(campaign)
    if await contacts.has_contacts(campaign_id, contacts.LIVE):
        return _LIVE_SECONDS
    await records.close_campaign(campaign)
    return None


async def _recover(campaign: Campaign) -> None:
    """Release the contacts whose process died before their call was stored; of the others, record what
    their call has become. Nobody is called twice."""
    for contact in await contacts.claim_stalled_contacts():
        call = await call_records.find_call(contact["call_id"])
        if call is None:
            await contacts.release_contact(contact)
        elif _was_not_accepted(call):
            await contacts.release_contact(contact, contacts.LIVE)
        elif call["rank"] == OVER and call["billing_status"] != "pending_duration":
            await contacts.apply_call_end(
                call["_id"],
                contacts.CallEnd(
                    status=call["status"],
                    answered_by=call.get("answered_by"),
                    duration_seconds=call["duration_seconds"] or 0,
                    cost_paise=int(call["cost_paise"] or 0),
                ),
            )
        else:
            await contacts.mark_still_in_call(contact)


async def _wait_for_calls(campaign: Campaign) -> Pause:
    """Wait for the live calls of a campaign that its owner has stopped."""
    return _LIVE_SECONDS if await contacts.has_contacts(campaign["_id"], contacts.LIVE) else None


# --- dialing ------------------------------------------------------------------------------------


async def _run(campaign: Campaign) -> Pause:
    """Place as many calls as the limits and the money allow."""
    if (network_seconds := await _network_seconds(campaign)) is not None:
        return network_seconds
    outlook = await _outlook_of(campaign)
    if outlook.refusal is not None:
        return await _handle_refusals(campaign, [Refused(outlook.refusal)])
    paced, pause_seconds = _pace(campaign)
    room = min(paced, await _room(campaign, outlook))
    if probing := campaign.get("probes", 0) > 0:
        room = min(room, 1)
    while room > 0:
        turns = await throttle.take_turns(telephony.get_chosen_provider(), min(room, _WAVE))
        wave = await contacts.claim_contacts(campaign["_id"], len(turns)) if turns else []
        if not wave:
            break
        if not await records.renew_lease(campaign, paced_at=_paced_after(campaign, len(wave))):
            await asyncio.gather(*(contacts.release_contact(contact) for contact in wave))
            return 0.0
        outcomes = await asyncio.gather(*map(partial(_place, campaign), wave, turns))
        if all(isinstance(outcome, Unknown) for outcome in outcomes):
            return await _pause_for_network(campaign, "it does not answer")
        refusals = [outcome for outcome in outcomes if isinstance(outcome, Heeded)]
        if refusals:
            return max(pause_seconds, await _handle_refusals(campaign, refusals))
        if probing:
            await records.mark_probed(campaign, wave[0]["call_id"])
            return _WAITS_SECONDS
        room -= len(wave)
    return pause_seconds


async def _outlook_of(campaign: Campaign) -> Outlook:
    # A price may depend on the destination: the number that is called next stands for all.
    number = await contacts.find_next_number(campaign["_id"])
    key = charging.key_of(campaign)
    return await charging.get_outlook(
        campaign["user_id"], number, connect_to=campaign["connect_to"], key=key
    )


async def _room(campaign: Campaign, outlook: Outlook) -> int:
    """How many more live calls the campaign may have now. The calls that a user may have and can pay at
    once are shared evenly among the running campaigns."""
    running = await records.count_running_campaigns(campaign["user_id"])
    calls_max = outlook.limits.concurrent_calls
    if running > 1:
        longest_seconds = campaign["max_duration_seconds"] or pricing.SECONDS_MAX
        whole = telephony.get_chosen_provider().can.reserves_whole
        calls_max = min(calls_max, outlook.capacity(longest_seconds, whole=whole))
    calls_max = min(campaign["max_concurrent"], _share(calls_max, running))
    free = calls_max - await contacts.count_live_contacts(campaign["_id"])
    return min(free, _share(outlook.affordable_calls, running))


def _share(limit: int, running: int) -> int:
    return -(-limit // max(1, running))


def _pace(campaign: Campaign) -> tuple[int, float]:
    """How many calls `calls_per_minute` allows now, and after how many seconds to ask again.

    `paced_at` moves ahead by an interval a call and is at most a second behind the clock, so
    that no burst of calls follows a pause.
    """
    if campaign["calls_per_minute"] is None:
        return _BATCH_MAX, _WAITS_SECONDS
    interval_seconds = 60 / campaign["calls_per_minute"]
    lag_seconds = (clock.now() - _paced_from(campaign, interval_seconds)).total_seconds()
    allowed = int(lag_seconds / interval_seconds)
    rest_seconds = (allowed + 1) * interval_seconds - lag_seconds
    return allowed, min(_WAITS_SECONDS, max(0.05, rest_seconds))


def _paced_from(campaign: Campaign, interval_seconds: float) -> dt.datetime:
    earliest = clock.after(-max(1.0, interval_seconds))
    return max(earliest, campaign["paced_at"] or earliest)


def _paced_after(campaign: Campaign, calls_placed: int) -> dt.datetime | None:
    if campaign["calls_per_minute"] is None:
        return None
    interval_seconds = 60 / campaign["calls_per_minute"]
    since = _paced_from(campaign, interval_seconds)
    campaign["paced_at"] = clock.after(calls_placed * interval_seconds, since=since)
    return campaign["paced_at"]


async def _place(campaign: Campaign, contact: ClaimedContact, turn_at: dt.datetime) -> Outcome:
    """Call one contact."""
    try:
        call = await placing.place_call(
            campaign["user_id"],
            call_id=contact["call_id"],
            to=contact["to"],
            spec=CallSpec.of(campaign),
            campaign_id=campaign["_id"],
            key=charging.key_of(campaign),
            turn_at=turn_at,
        )
    except (PaymentRequired, TooManyCalls) as refusal:
        await contacts.release_contact(contact)
        return Refused(refusal)
    except Unavailable as refusal:
        # Perhaps the call was committed: the contact stays claimed until its lease has expired, and
        # then `_recover` looks for the call.
        log.warning("campaign %s: %s: %s", campaign["_id"], contact["call_id"], refusal)
        return Refused(refusal)
    except Problem as refusal:
        await contacts.mark_skipped(contact, refusal.code)
        return Placed()
    if call["rank"] < OVER:
        await contacts.fence_contact(contact)
        await contacts.mark_in_call(contact)
    elif (reason := _fault_of(call)) is not None:
        await contacts.release_contact(contact)
        return NetworkFault(reason)
    return Unknown() if call["status"] == "unknown" else Placed()


def _fault_of(call: Call) -> str | None:
    """The network fault for which a call failed; None when it did not, or the number was the reason."""
    reason = call["failure_reason"]
    return reason if call["status"] == "failed" and reason in NETWORK_FAULTS else None


def _was_not_accepted(call: Call) -> bool:
    return _fault_of(call) is not None


async def _handle_refusals(campaign: Campaign, refusals: Sequence[Heeded]) -> float:
    """Pause a campaign after refusals and network faults, or let it wait; for how many seconds."""
    problems = [refusal.problem for refusal in refusals if isinstance(refusal, Refused)]
    faults = [refusal.reason for refusal in refusals if isinstance(refusal, NetworkFault)]
    for problem in problems:
        if isinstance(problem, InsufficientBalance | WalletFrozen):
            return await _pause_for_money(campaign, problem)
    for fault in faults:
        if fault in NETWORK_DOWN:
            return await _pause_for_network(campaign, fault)
    if faults or any(isinstance(problem, Unavailable) for problem in problems):
        await records.mark_network_resting(campaign["_id"], clock.after(_NETWORK_SECONDS))
        return _NETWORK_SECONDS
    return max([await _wait_for_room(campaign, problem) for problem in problems])


# --- the network --------------------------------------------------------------------------------


async def _pause_for_network(campaign: Campaign, why: str) -> float:
    tries = min(campaign.get("probes", 0), 9)
    wait_seconds = min(math.ldexp(_PROBE_SECONDS, tries), _PROBE_SECONDS_MAX)
    probe_at = clock.after(wait_seconds)
    paused = await records.apply_event(campaign, CampaignEvent.NETWORK_FAILED, probe_at=probe_at)
    if paused is not None:
        log.error("campaign %s: paused, the telephone network: %s", campaign["_id"], why)
    return wait_seconds


async def _network_seconds(campaign: Campaign) -> float | None:
    """In how many seconds to check again, because the network accepts no calls or is tried with one
    call; None when calls may be placed.

    It accepts calls again when that call rings or ends; one that is only queued may still be refused.
    """
    rests_until, now = campaign.get("rests_until"), clock.now()
    if rests_until is not None and rests_until > now:
        return (rests_until - now).total_seconds()
    call_id = campaign.get("probe_call_id")
    call = await call_records.find_call(call_id) if call_id is not None else None
    if call is None or _was_not_accepted(call):
        return None
    reports_ringing = telephony.get_provider(call["provider"]).can.reports_ringing
    if call["rank"] < RANK["ringing" if reports_ringing else "queued"]:
        return _WAITS_SECONDS
    await records.mark_network_back(campaign)
    return 0.0


async def _wait_for_network(campaign: Campaign) -> Pause:
    """Resume with one call at `probe_at`; in how many seconds to check again."""
    left_seconds = (campaign["probe_at"] - clock.now()).total_seconds()
    if left_seconds > 0:
        return left_seconds
    await records.apply_event(campaign, CampaignEvent.NETWORK_PROBED)
    return 0.0


# --- money --------------------------------------------------------------------------------------


async def _pause_for_money(campaign: Campaign, refusal: Problem) -> float:
    is_frozen = isinstance(refusal, WalletFrozen)
    event = CampaignEvent.WALLET_FROZEN if is_frozen else CampaignEvent.MONEY_RAN_OUT
    await records.apply_event(campaign, event)
    # A recharge may have come between the refusal and the pause, and found nothing to resume.
    return await _wait_for_money(campaign)


async def _wait_for_money(campaign: Campaign) -> float:
    outlook = await _outlook_of(campaign)
    return 0.0 if await _resume_with_money(campaign["user_id"], outlook) else _BALANCE_SECONDS


async def _resume_with_money(user_id: str, outlook: Outlook) -> bool:
    """Resume the campaigns that wait for money if there is enough for a call, also where a call has
    reserved it now: then it is available again when that ends. Money that a refund or a dispute
    reserves may stay so for weeks: they wait for it as for a recharge."""
    if isinstance(outlook.refusal, InsufficientBalance | WalletFrozen):
        return False
    await records.resume_campaigns_with_money(user_id)
    return True


async def _wait_for_room(campaign: Campaign, refusal: Problem) -> float:
    """For how many seconds to wait after a refusal that is not for lack of money. A limit of the day
    pauses the campaign."""
    if await _is_for_the_day(campaign, refusal):
        await records.apply_event(campaign, CampaignEvent.DAY_USED_UP)
        return _DAY_SECONDS
    if isinstance(refusal, TooManyCalls) and refusal.extra.get("limited_by") == "calls_per_minute":
        return float(refusal.headers["Retry-After"])
    return _WAITS_SECONDS


async def _is_for_the_day(campaign: Campaign, refusal: Problem) -> bool:
    if isinstance(refusal, SpendCapReached):
        return not refusal.is_held
    if isinstance(refusal, TooManyCalls):
        return (await charging.get_outlook(campaign["user_id"])).calls_are_used_up
    return False


async def _wait_for_next_day(campaign: Campaign) -> Pause:
    """Resume if the day's limits allow a call. A refusal for another reason then pauses it again."""
    outlook = await _outlook_of(campaign)
    is_spent = isinstance(outlook.refusal, SpendCapReached) and not outlook.refusal.is_held
    if is_spent or outlook.calls_are_used_up:
        return _DAY_SECONDS
    await records.apply_event(campaign, CampaignEvent.DAY_BEGAN)
    return 0.0


# The work for a campaign that has somebody left to call.
_WORK: Final[dict[tuple[Status, PauseReason | None], Callable[[Campaign], Awaitable[Pause]]]] = {
    ("running", None): _run,
    ("paused", "user"): _wait_for_calls,
    ("paused", "balance"): _wait_for_money,
    ("paused", "frozen"): _wait_for_money,
    ("paused", "cap"): _wait_for_next_day,
    ("paused", "provider"): _wait_for_network,
    ("canceled", None): _wait_for_calls,
}


# --- events -------------------------------------------------------------------------------------


async def on_wallet_credited(event: Event) -> None:
    """Resume campaigns that wait for money, if it suffices (`WalletCredited`, `WalletUnfrozen`)."""
    user_id = event["user_id"]
    assert user_id is not None
    if await records.is_any_waiting_for_money(user_id):
        await _resume_with_money(user_id, await charging.get_outlook(user_id))


async def on_call_ended(event: Event) -> None:
    """Record the result of a contact whose call ended (`CallEnded`), or release the contact when the
    network did not accept the call; then check the campaign."""
    data = event["data"]
    call = await call_records.get_call(data["call_id"]) if data["status"] == "failed" else None
    fault = None if call is None else _fault_of(call)
    if fault is not None:
        if await contacts.release_contact_of_call(data["call_id"]):
            campaign = await records.get_campaign(data["campaign_id"])
            if fault in NETWORK_DOWN:
                await _pause_for_network(campaign, fault)
            else:
                await records.mark_network_resting(campaign["_id"], clock.after(_NETWORK_SECONDS))
    else:
        campaign = await records.get_campaign(data["campaign_id"])
        if await contacts.apply_call_end(
            data["call_id"],
            contacts.CallEnd(
                status=data["status"],
                duration_seconds=data["duration_seconds"],
                cost_paise=data["cost_paise"],
                answered_by=data.get("answered_by"),
            ),
            partial(_decide, campaign),
        ):
            await records.update_counts(data["campaign_id"])
    campaign_id = data["campaign_id"]
    if campaign_id not in _checked_soon:
        _checked_soon.add(campaign_id)
        check = asyncio.create_task(_check_soon(campaign_id))
        _checks.add(check)
        check.add_done_callback(_checks.discard)


def _decide(
    campaign: Campaign, contact: contacts.Contact, _: retries.Cause
) -> retries.Retry | retries.Stop:
    """Whether and when a contact of this campaign is called again."""
    attempts = retries.Attempts(
        contact_id=contact["_id"],
        causes=tuple(contact.get("causes", ())),
        called_at=tuple(contact.get("called_at", ())),
    )
    end_at = campaign.get("end_at")
    return retries.next_attempt(options.retry_of(campaign), attempts, clock.now(), end_at=end_at)


async def _check_soon(campaign_id: str) -> None:
    """Dial for a campaign in a task of its own, so that the delivery of events need not wait. If it
    fails, or the process ends before, `dial_due_campaigns` does it: a campaign with live calls is due
    again in a few seconds anyway."""
    try:
        await asyncio.sleep(_CHECK_DELAY_SECONDS)
    finally:
        _checked_soon.discard(campaign_id)  # a call that ends from here on causes another check
    try:
        await dial_campaign(campaign_id)
    except Exception as problem:
        if database.is_away(problem) or isinstance(problem, Unavailable):
            log.warning("campaign %s: looked at later: %s", campaign_id, type(problem).__name__)
        else:
            log.exception("campaign %s", campaign_id)
