"""Campaign dispatcher: one call at a time, its turn, user, campaign and contact, and why none is placed."""

import asyncio
import dataclasses
import datetime as dt
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final
from zoneinfo import ZoneInfo

import compliance
import telephony
from billing import charging, pricing
from calls import placing
from calls import records as call_records
from calls.placing import CallSpec
from calls.records import Call
from campaigns import budgets, contacts, dial_queue, options, records, retries, variables
from campaigns.contacts import ClaimedContact, ClaimLimits
from campaigns.records import Campaign, CampaignEvent
from compliance import calling_hours, contact_limits
from core import clock, database, leases
from core.errors import (
    BudgetReached,
    InsufficientBalance,
    PaymentRequired,
    Problem,
    SpendCapReached,
    TooManyCalls,
    Unavailable,
    WalletFrozen,
)
from core.outbox import Event
from telephony import NETWORK_FAULTS, OVER, network_health, throttle

log = logging.getLogger(__name__)


# --- vocabulary ---------------------------------------------------------------------------------

# So many calls of campaigns are being placed at once by one process, so that a network without a
# limit is not waited for, and a slow one does not take all of the process.
_AT_ONCE: Final = 32
_BATCH_MAX: Final = 16
_CHECKS_AT_ONCE: Final = 8
# Turns of a limited network that are being used at once: those of the time that one needs.
_LANES_MAX: Final = 8
_TURN_SECONDS: Final = 0.15
_IN_A_ROW: Final = 4
# A turn goes on to the next candidate when one is refused, so often.
_CANDIDATES_MAX: Final = 50

# How soon a campaign is checked again without an event. The end of a call, a recharge and its owner
# wake it at once; these times are for events that were lost.
_ROOM_SECONDS: Final = 1.0
_LIVE_SECONDS: Final = 5.0
_NETWORK_SECONDS: Final = 5.0
_BALANCE_SECONDS: Final = 30.0
_DAY_SECONDS: Final = 60.0
# Calls that end within this time wake their campaign once.
_WAKE_DELAY_SECONDS: Final = 0.02
# An unreadable rule that no time ends is asked about again.
_RULE_SECONDS: Final = 3_600.0

_WAITS: Final[dict[str, str]] = {
    "start": "It starts at its time.",
    "user": "Its owner has paused it; it goes on when they resume it.",
    "balance": "The balance does not suffice for a call; a recharge ends that.",
    "frozen": "The wallet is frozen by an admin.",
    "cap": "The calls or the spending of the day are used up; the next day ends that.",
    "budget": "The budget of the campaign is used up; a higher one ends that.",
    "window": "No calls may be placed now; the next opening of its window ends that.",
    "provider": "The telephone network accepts no calls now; it is tried again by itself.",
    "options": "The telephone network does not have an option of this campaign.",
    "retry": "Everybody left is called again later; the next attempt ends that.",
    "calls": "Everybody left is in a call; their ends end that.",
    "max_concurrent": "As many calls as it may have at once are running.",
    "calls_per_minute": "Its calls are spread over the minute.",
    "concurrent_calls": "As many calls as the account may have at once are running.",
    "money_held": "The money is reserved by running calls; their ends free what they do not use.",
    "service": "The database cannot be reached; it is tried again by itself.",
}


@dataclasses.dataclass(frozen=True, slots=True)
class WaitingFor:
    """Why a campaign dials nobody now, until when at most (None: until that changes), and what ends it."""

    reason: str
    until: dt.datetime | None
    text: str


# The calls that this process is placing, the wakes that it does in a moment, and whether it dispatches.
_placing: set[asyncio.Task[None]] = set()
_wakes: dict[str, asyncio.Task[None]] = {}
_dispatching: set[asyncio.AbstractEventLoop] = set()


# --- turns --------------------------------------------------------------------------------------


async def dispatch() -> int:
    """Dial until nobody can be dialled now; how many calls were begun. One loop in a process does it,
    and any number of processes: each turn, user, campaign and contact is one process's."""
    loop = asyncio.get_running_loop()
    if loop in _dispatching:
        return 0
    _dispatching.add(loop)
    begun = in_a_row = 0
    using: set[asyncio.Task[int]] = set()
    try:
        while (wanted := await _free_turns()) > 0:
            using.add(asyncio.create_task(_use_turns(wanted)))
            # One turn after the other, until it is seen that there is somebody for each.
            if len(using) >= min(1 + in_a_row // _IN_A_ROW, _lanes_max()):
                done, using = await asyncio.wait(using, return_when=asyncio.FIRST_COMPLETED)
                used = [task.result() for task in done]
                begun += sum(used)
                in_a_row = in_a_row + len(used) if all(used) else 0
        begun += sum(await asyncio.gather(*using))
    finally:
        await asyncio.gather(*using, return_exceptions=True)
        _dispatching.discard(loop)
    return begun


def _lanes_max() -> int:
    """In so many turns at once somebody is looked for: what a turn needs takes a part of a second, in which
    a fast network has the next ones. With a slow one, and without a limit, it is one."""
    rate = throttle.calls_per_second(telephony.get_chosen_provider())
    return 1 if rate is None else max(1, min(_LANES_MAX, int(rate * _TURN_SECONDS)))


async def _free_turns() -> int:
    """Turns at the network, when somebody can be dialled, it is healthy and this process has room; it is
    waited for the turn, with no money reserved. 0: nobody can be dialled now."""
    network = telephony.get_chosen_provider()
    while True:
        _placing.difference_update([task for task in _placing if task.done()])
        # Few large batches cost less than many small ones.
        if len(_placing) > _AT_ONCE - _BATCH_MAX:
            await asyncio.wait(_placing, return_when=asyncio.FIRST_COMPLETED)
            continue
        if not await dial_queue.is_anybody_ready():
            return 0
        health = await network_health.get_health(network.name)
        if health.is_open:
            return 0
        wait_seconds = await throttle.take_turn(network, "campaign")
        if wait_seconds > 0:
            await asyncio.sleep(wait_seconds)
            continue
        if health.reason is not None:  # it is tried with one call
            return 1 if await network_health.admit(network.name) else 0
        if throttle.is_limited(network):
            return 1
        return _BATCH_MAX


async def _use_turns(wanted: int) -> int:
    """Begin calls for so many turns, fairly; how many were begun. A candidate that is refused does not
    use the turn up: the next one gets it."""
    begun = 0
    users = await dial_queue.count_ready_users(wanted) if wanted > 1 else 1
    each = max(1, wanted // max(1, users))
    for _ in range(_CANDIDATES_MAX):
        if begun >= wanted:
            break
        user = await dial_queue.take_user()
        if user is None:
            break
        campaign = await records.take_campaign(user["_id"])
        if campaign is None:
            await dial_queue.rest_user(user)
            continue
        for contact in await _claim(campaign, min(each, wanted - begun)):
            is_asked: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            task = asyncio.create_task(_dial(campaign, contact, is_asked))
            _placing.add(task)
            # With many turns at hand nobody is waited for: what a refused call leaves, the next round uses.
            begun += int(wanted > 1 or await asyncio.shield(is_asked))
    return begun


async def _claim(campaign: Campaign, wanted: int) -> list[ClaimedContact]:
    """The next contacts of a campaign, claimed; when there is none, the campaign rests until there may
    be one."""
    now, end_at = clock.now(), campaign.get("end_at")
    if end_at is not None and end_at <= now:
        await records.rest_campaign(campaign, "window", None, look_at=now)
        return []
    if not await _is_open(campaign, now) or not await _has_options(campaign):
        return []
    limits = ClaimLimits(
        max_concurrent=await _contacts_max(campaign), calls_per_minute=campaign["calls_per_minute"]
    )
    claim = await contacts.claim(campaign["_id"], wanted, limits)
    if not claim.contacts:
        await _rest(campaign, claim)
    return claim.contacts


async def _rest(campaign: Campaign, claim: contacts.Claim) -> None:
    if claim.limited_by != "contacts":
        until = claim.until or clock.after(_LIVE_SECONDS)
        await records.rest_campaign(
            campaign, claim.limited_by or "calls", claim.until, look_at=until
        )
        if claim.until is not None:  # in a moment
            _wake_later(campaign["_id"], campaign["user_id"], claim.until)
        return
    due_at = await contacts.find_next_retry(campaign["_id"])
    if due_at is None:
        look_at = clock.after(_LIVE_SECONDS)
        await records.rest_campaign(campaign, "calls", None, look_at=look_at)
        if not await contacts.has_contacts(campaign["_id"], contacts.LIVE):
            await check_campaign(campaign["_id"])  # it is done
    else:
        await records.rest_campaign(campaign, "retry", due_at, look_at=min(due_at, _ends(campaign)))


def _ends(campaign: Campaign) -> dt.datetime:
    return campaign.get("end_at") or dt.datetime.max.replace(tzinfo=dt.UTC)


async def _is_open(campaign: Campaign, now: dt.datetime) -> bool:
    """Whether its window is open now; else it rests until it is, or pauses when it never is."""
    rules = await calling_hours.in_force(options.purpose_of(campaign), campaign.get("rules"))
    opening = calling_hours.opening(rules, campaign.get("window"), now)
    if opening.is_open:
        return True
    if opening.changes_at is None:
        wait = {"reason": "window", "until": None, "detail": opening.reason}
        await records.apply_event(campaign, CampaignEvent.NEVER_OPEN, waiting_for=wait)
    else:
        look_at = min(opening.changes_at, _ends(campaign))
        await records.rest_campaign(campaign, "window", opening.changes_at, look_at=look_at)
    return False


async def _has_options(campaign: Campaign) -> bool:
    """Whether the network has what the campaign asks for; else it pauses, and loses nobody."""
    try:
        CallSpec.of(campaign).check(telephony.get_chosen_provider())
    except Problem as lacking:
        wait = {"reason": "options", "until": None, "detail": lacking.detail}
        await records.apply_event(campaign, CampaignEvent.OPTIONS_LACKING, waiting_for=wait)
        return False
    return True


async def _contacts_max(campaign: Campaign) -> int:
    """How many of its contacts may be in a call. One whose call is over counts until its network has
    said how long it was, which takes Exotel five minutes; its line is free."""
    calls_max = await _calls_max(campaign)
    if telephony.get_chosen_provider().can.duration_after_seconds == 0:
        return calls_max
    return calls_max + await call_records.count_calls_without_duration(campaign["_id"])


async def _calls_max(campaign: Campaign) -> int:
    """How many live calls it may have: those that its user may have and pay at once are shared evenly
    among the running campaigns."""
    running = await records.count_running_campaigns(campaign["user_id"])
    if running <= 1:
        return campaign["max_concurrent"]
    number = await contacts.find_next_number(campaign["_id"])
    outlook = await charging.get_outlook(
        campaign["user_id"],
        number,
        connect_to=campaign["connect_to"],
        key=charging.key_of(campaign),
    )
    longest_seconds = campaign["max_duration_seconds"] or pricing.SECONDS_MAX
    whole = telephony.get_chosen_provider().can.reserves_whole
    share = -(-outlook.capacity(longest_seconds, whole=whole) // running)
    return min(campaign["max_concurrent"], share)


# --- one call -----------------------------------------------------------------------------------


async def _dial(
    campaign: Campaign, contact: ClaimedContact, is_asked: asyncio.Future[bool]
) -> None:
    """Place the call of a contact. `is_asked` says, as soon as it is known, whether the network is
    asked for it."""
    try:
        call = await _reserved(campaign, contact)
        if call is None:
            return
        if await _fence(campaign, contact, call):
            is_asked.set_result(True)
            await _submit(campaign, contact, call)
        else:
            _wake_later(campaign["_id"], campaign["user_id"], clock.after(_WAKE_DELAY_SECONDS))
    except Exception as problem:
        # The contact stays claimed, and what has become of its call is found out after its lease.
        if database.is_away(problem) or isinstance(problem, Unavailable):
            log.warning("campaign %s: %s", campaign["_id"], type(problem).__name__)
            await _rest_quietly(campaign)
        else:
            log.exception("campaign %s: contact %s", campaign["_id"], contact["_id"])
    finally:
        if not is_asked.done():
            is_asked.set_result(False)


async def _rest_quietly(campaign: Campaign) -> None:
    try:
        until = clock.after(_LIVE_SECONDS)
        await records.rest_campaign(campaign, "service", until, look_at=until)
    except (Unavailable, database.AnyError):
        await asyncio.sleep(1)  # the turn is not used faster than the database can come back


async def _reserved(campaign: Campaign, contact: ClaimedContact) -> Call | None:
    """The call of a contact, committed with its money; None when there is none, and the contact waits
    or is skipped."""
    try:
        return await placing.reserve_call(
            campaign["user_id"],
            call_id=contact["call_id"],
            to=contact["to"],
            spec=_spec_of(campaign, contact),
            campaign_id=campaign["_id"],
            key=charging.key_of(campaign),
            budget=options.budget_of(campaign["_id"], campaign),
            caller_id=_caller_id_of(campaign, contact),
            attempt_number=len(contact.get("causes", ())) + 1,
            is_new=True,
        )
    except (PaymentRequired, TooManyCalls) as refusal:
        await contacts.release_contact(contact)
        await _wait_after(campaign, refusal)
    except Unavailable:
        raise
    except Problem as refusal:
        await contacts.mark_skipped(contact, refusal.code)
    return None


def _spec_of(campaign: Campaign, contact: ClaimedContact) -> CallSpec:
    spec = CallSpec.of(campaign)
    if spec.message is None:
        return spec
    cells = contact.get("cells", [])
    message = variables.render(spec.message, campaign.get("columns", []), cells)
    return dataclasses.replace(spec, message=message)


def _caller_id_of(campaign: Campaign, contact: ClaimedContact) -> str | None:
    """The caller ids take turns along the list, and each attempt shows another one."""
    pool = campaign.get("caller_ids") or []
    place = contact["row"] + len(contact.get("causes", ()))
    return pool[place % len(pool)] if pool else None


async def _fence(campaign: Campaign, contact: ClaimedContact, call: Call) -> bool:
    """Whether the network may be asked for this call at this moment: the number may be called, the
    contact still carries the call, and the campaign runs. Else the call is withdrawn."""
    user_id, number, call_id = campaign["user_id"], call["to"], call["_id"]
    refusal = await compliance.check_number(
        user_id,
        number,
        purpose=options.purpose_of(campaign),
        window=campaign.get("window"),
        rules=campaign.get("rules"),
        timezone=contact.get("timezone"),
    )
    if refusal is not None:
        await placing.withdraw_call(call, refusal.code)
        if refusal.is_final:
            await contacts.mark_skipped(contact, refusal.code)
        else:
            due_at = refusal.not_before or clock.after(_RULE_SECONDS)
            await contacts.release_contact(contact, due_at=due_at, reason=refusal.code)
        return False
    verdict = await contact_limits.reserve_attempt(user_id, number, call_id)
    if not verdict.allowed:
        await placing.withdraw_call(call, verdict.limited_by or "contact_limit")
        due_at = verdict.not_before or clock.after(_RULE_SECONDS)
        await contacts.release_contact(contact, due_at=due_at, reason=verdict.limited_by)
        return False
    if await contacts.fence_contact(contact) and await records.is_running(campaign["_id"]):
        return True
    await placing.withdraw_call(call, "campaign_stopped")
    await contact_limits.cancel_attempt(user_id, number, call_id)
    await contacts.release_contact(contact, contacts.LIVE)
    return False


async def _submit(campaign: Campaign, contact: ClaimedContact, call: Call) -> None:
    """Ask the network for a call. Whoever was not called keeps the attempt."""
    asked = await placing.submit_call(call)
    if was_not_placed(asked):
        await contact_limits.cancel_attempt(call["user_id"], call["to"], call["_id"])
        await contacts.release_contact(contact, contacts.LIVE)
        until = clock.after(_NETWORK_SECONDS)
        await records.rest_campaign(campaign, "provider", until, look_at=until)
    elif asked["rank"] < OVER and asked["status"] != "unknown":
        await contacts.mark_in_call(contact)


def was_not_placed(call: Call) -> bool:
    """Whether it is certain that nobody was called, for a reason that is not the contact's: the network
    accepted nothing, or was never asked."""
    if call["rank"] < OVER:
        return False
    if call.get("submitted_at") is None and call["provider_call_id"] is None:
        return call["status"] in ("canceled", "failed")
    return call["status"] == "failed" and call["failure_reason"] in NETWORK_FAULTS


# --- refusals -----------------------------------------------------------------------------------


async def _wait_after(campaign: Campaign, refusal: Problem) -> None:
    """Pause a campaign after a refusal, or let it rest until there may be room for a call."""
    if isinstance(refusal, InsufficientBalance | WalletFrozen):
        is_frozen = isinstance(refusal, WalletFrozen)
        event = CampaignEvent.WALLET_FROZEN if is_frozen else CampaignEvent.MONEY_RAN_OUT
        await records.apply_event(campaign, event)
        # A recharge may have come between the refusal and the pause, and found nothing to resume.
        await _resume_with_money(campaign["user_id"], await _outlook_of(campaign))
    elif isinstance(refusal, BudgetReached) and not refusal.is_held:
        await records.apply_event(campaign, CampaignEvent.BUDGET_USED_UP)
    elif await _is_for_the_day(campaign, refusal):
        await records.apply_event(campaign, CampaignEvent.DAY_USED_UP)
    else:
        seconds, reason = _ROOM_SECONDS, "money_held"
        if isinstance(refusal, BudgetReached):  # unless a process died before it could give it back
            await budgets.settle_forgotten(campaign["_id"])
        if isinstance(refusal, TooManyCalls):
            reason = str(refusal.extra.get("limited_by", "concurrent_calls"))
            if reason == "calls_per_minute":
                seconds = float(refusal.headers["Retry-After"])
        until = clock.after(seconds)
        await records.rest_campaign(campaign, reason, None, look_at=until)


async def _outlook_of(campaign: Campaign) -> charging.Outlook:
    # A price may depend on the destination: the number that is called next stands for all.
    number = await contacts.find_next_number(campaign["_id"])
    return await charging.get_outlook(
        campaign["user_id"],
        number,
        connect_to=campaign["connect_to"],
        key=charging.key_of(campaign),
    )


async def _resume_with_money(user_id: str, outlook: charging.Outlook) -> bool:
    """Resume the campaigns that wait for money if there is enough for a call, also where a call has
    reserved it now: then it is available again when that ends. Money that a refund or a dispute
    reserves may stay so for weeks: they wait for it as for a recharge."""
    if isinstance(outlook.refusal, InsufficientBalance | WalletFrozen):
        return False
    await records.resume_campaigns_with_money(user_id)
    return True


async def _is_for_the_day(campaign: Campaign, refusal: Problem) -> bool:
    if isinstance(refusal, SpendCapReached):
        return not refusal.is_held
    if isinstance(refusal, TooManyCalls):
        return (await charging.get_outlook(campaign["user_id"])).calls_are_used_up
    return False


# --- checks of campaigns ------------------------------------------------------------------------


async def check_due_campaigns() -> int:
    """Check the campaigns that are due: start, expire and complete them, end their waits; how many
    there were. Then the contacts whose process died. Any number of processes may do it."""
    ids = await records.list_due_campaigns(_BATCH_MAX * 10)

    async def check(campaign_id: str) -> None:
        campaign = await records.claim_look(campaign_id)
        if campaign is not None:
            await _checked(partial(_check, campaign), campaign_id)

    await leases.gather_bounded(check, ids, _CHECKS_AT_ONCE)
    for contact in await contacts.claim_stalled_contacts():
        await _checked(partial(_recover, contact), contact["_id"])
    return len(ids)


async def _checked(check: Callable[[], Awaitable[object]], what: str) -> None:
    try:
        await check()
    except Exception as problem:
        if database.is_away(problem) or isinstance(problem, Unavailable):
            raise
        log.exception("%s: %s", what, type(problem).__name__)


async def check_campaign(campaign_id: str) -> None:
    """Check a campaign now, whether it is due or not."""
    await records.mark_due(campaign_id, clock.now())
    campaign = await records.claim_look(campaign_id)
    if campaign is not None:
        await _check(campaign)


async def _check(campaign: Campaign) -> None:
    campaign_id, status, now = campaign["_id"], campaign["status"], clock.now()
    if campaign["is_loading"]:
        log.warning("campaign %s: its list never came in, it is forgotten", campaign_id)
        await records.delete_draft(campaign_id)
        return
    if status not in ("scheduled", "running", "paused", "canceled"):
        await records.look_again(campaign, None)
        return
    if status == "canceled":
        await contacts.mark_pending_canceled(campaign_id)
    elif _ends(campaign) <= now:
        await contacts.mark_pending_expired(campaign_id)
    elif status == "scheduled":
        await records.apply_event(campaign, CampaignEvent.START_TIME_CAME)
        return
    if await contacts.has_contacts(campaign_id, contacts.WAITING):
        if status == "running":
            await records.wake_campaign(campaign_id, campaign["user_id"])
        elif status == "paused":
            await _check_pause(campaign)
    elif await contacts.has_contacts(campaign_id, contacts.LIVE):
        await records.look_again(campaign, clock.after(_LIVE_SECONDS))
    else:
        await records.close_campaign(campaign)
        await records.look_again(campaign, None)


async def _check_pause(campaign: Campaign) -> None:
    """End a pause whose reason has passed; else check again later, at its end at the latest."""
    seconds = None
    match campaign["pause_reason"]:
        case "balance" | "frozen":
            if await _resume_with_money(campaign["user_id"], await _outlook_of(campaign)):
                return
            seconds = _BALANCE_SECONDS
        case "cap":
            outlook = await _outlook_of(campaign)
            refusal = outlook.refusal
            is_spent = isinstance(refusal, SpendCapReached) and not refusal.is_held
            if not is_spent and not outlook.calls_are_used_up:
                await records.apply_event(campaign, CampaignEvent.DAY_BEGAN)
                return
            seconds = _DAY_SECONDS
        case "provider":
            await records.apply_event(campaign, CampaignEvent.NETWORK_BACK)
            await _has_options(campaign | {"status": "running", "pause_reason": None})
            seconds = _DAY_SECONDS
    at = None if seconds is None else clock.after(seconds)
    end_at = campaign.get("end_at")
    if end_at is not None:
        at = end_at if at is None else min(at, end_at)
    await records.look_again(campaign, at)


async def _recover(contact: ClaimedContact) -> None:
    """Release a contact whose process died before the network was asked; of another, record what its
    call has become. Nobody is called twice: the one that had it can no longer ask the network."""
    call = await call_records.find_call(contact["call_id"])
    if call is not None and call["status"] == "created":
        await placing.withdraw_call(call, "process_died")
        call = await call_records.get_call(contact["call_id"])
    if call is None or was_not_placed(call):
        await contact_limits.cancel_attempt(contact["user_id"], contact["to"], contact["call_id"])
        await contacts.release_contact(contact, contacts.LIVE)
        await records.wake_campaign(contact["campaign_id"], contact["user_id"])
    elif call["rank"] == OVER and call["billing_status"] != "pending_duration":
        await _apply_end(call)
        await records.wake_campaign(contact["campaign_id"], contact["user_id"])
    else:
        await contacts.mark_still_in_call(contact)


# --- events -------------------------------------------------------------------------------------


async def on_wallet_credited(event: Event) -> None:
    """Resume campaigns that wait for money, if it suffices (`WalletCredited`, `WalletUnfrozen`)."""
    user_id = event["user_id"]
    assert user_id is not None
    if await records.is_any_waiting_for_money(user_id):
        await _resume_with_money(user_id, await charging.get_outlook(user_id))


async def on_call_ended(event: Event) -> None:
    """Record the result of a contact whose call ended (`CallEnded`), or release the contact when nobody
    was called; then its campaign has turns again."""
    data = event["data"]
    call = await call_records.find_call(data["call_id"])
    if call is None:
        return
    if was_not_placed(call):
        await contact_limits.cancel_attempt(call["user_id"], call["to"], call["_id"])
        await contacts.release_contact_of_call(call["_id"])
        if call["status"] == "failed":  # its campaign tries again in a moment
            if (
                call["provider_call_id"] is not None
            ):  # the network says only now that it took nothing
                outcome = network_health.outcome_of_fault(call["failure_reason"] or "")
                await network_health.record_outcome(call["provider"], outcome)
            await records.mark_due(data["campaign_id"], clock.after(_NETWORK_SECONDS))
            return
    else:
        await contact_limits.end_attempt(call["user_id"], call["to"], call["_id"])
        if await _apply_end(call):
            await records.update_counts(data["campaign_id"])
    _wake_later(data["campaign_id"], call["user_id"], clock.after(_WAKE_DELAY_SECONDS))


async def _apply_end(call: Call) -> bool:
    """Record the end of a call on its contact, and whether it is called again."""
    campaign_id = call["campaign_id"]
    campaign = None if campaign_id is None else await records.find_campaign_briefly(campaign_id)
    end = contacts.CallEnd(
        status=call["status"],
        duration_seconds=call["duration_seconds"] or 0,
        cost_paise=int(call["cost_paise"] or 0),
        answered_by=call.get("answered_by"),
        reason=call["failure_reason"] if call["status"] == "failed" else None,
        called_at=call["created_at"],
    )
    if campaign is None:
        return await contacts.apply_call_end(call["_id"], end)
    rules = await calling_hours.in_force(options.purpose_of(campaign), campaign.get("rules"))
    return await contacts.apply_call_end(call["_id"], end, partial(_decide, campaign, rules))


def _decide(
    campaign: Campaign, rules: Any, contact: contacts.Contact, _: retries.Cause
) -> retries.Retry | retries.Stop:
    """Whether and when a contact of this campaign is called again."""
    if campaign["status"] == "canceled":
        return retries.Stop("final")
    timezone = compliance.time_zone_of(contact["to"], contact.get("timezone"))

    def opens(moment: dt.datetime) -> dt.datetime | None:
        found = calling_hours.opening(rules, campaign.get("window"), moment, timezone=timezone)
        return moment if found.is_open else found.changes_at

    attempts = retries.Attempts(
        contact_id=contact["_id"],
        causes=tuple(contact.get("causes", ())),
        called_at=tuple(contact.get("called_at", ())),
        zone=ZoneInfo(timezone),
    )
    return retries.next_attempt(
        options.retry_of(campaign),
        attempts,
        clock.now(),
        end_at=campaign.get("end_at"),
        opening=opens,
    )


def _wake_later(campaign_id: str, user_id: str, at: dt.datetime) -> None:
    """Wake a campaign at `at`, in a task of its own, so that the delivery of events need not wait. If it
    fails, or the process ends before, the check of due campaigns does it."""
    if campaign_id in _wakes:
        return

    async def wake() -> None:
        await asyncio.sleep(max(0.0, (at - clock.now()).total_seconds()))
        _wakes.pop(campaign_id, None)  # a call that ends from here on causes another wake
        try:
            if not await records.wake_campaign(campaign_id, user_id):
                await check_campaign(campaign_id)
            await dispatch()
        except Exception as problem:
            if database.is_away(problem) or isinstance(problem, Unavailable):
                log.warning("campaign %s: checked later: %s", campaign_id, type(problem).__name__)
            else:
                log.exception("campaign %s", campaign_id)

    _wakes[campaign_id] = asyncio.create_task(wake())


# --- for its owner ------------------------------------------------------------------------------


async def get_waiting_for(campaign: Campaign) -> WaitingFor | None:
    """Why a campaign dials nobody now, and what ends that; None when it dials, or is over."""
    status, stored = campaign["status"], campaign.get("waiting_for")
    if status == "scheduled":
        return _waiting_for("start", campaign["start_at"])
    if status == "paused":
        reason, detail = str(campaign["pause_reason"]), None
        if stored is not None:
            reason, detail = stored["reason"], stored.get("detail")
        return _waiting_for(reason, None, detail)
    if status != "running":
        return None
    health = await network_health.get_health(telephony.get_chosen_provider().name)
    if health.is_open:
        return _waiting_for("provider", health.until, health.reason)
    if stored is not None:
        return _waiting_for(stored["reason"], stored["until"], stored.get("detail"))
    return None


def _waiting_for(reason: str, until: dt.datetime | None, detail: str | None = None) -> WaitingFor:
    text = _WAITS.get(reason, "A limit of the account is reached; it is tried again by itself.")
    return WaitingFor(reason, until, text if detail is None else f"{text} ({detail})")
