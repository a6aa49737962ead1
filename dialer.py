"""What moves a campaign by itself: who is called when, why it waits, and when it goes on."""

import asyncio
import datetime as dt
import logging
import math
from collections.abc import Sequence
from functools import partial
from typing import Final

import billing
import callbook
import calls
import campaignbook
import clock
import contacts
import database
import pacing
import telephony
from callrecords import Call
from database import Document
from errors import (
    InsufficientBalance,
    PaymentRequired,
    Problem,
    SpendCapReached,
    TooManyCalls,
    Unavailable,
    WalletFrozen,
)
from telephony import NETWORK_DOWN, NETWORK_FAULTS, OVER, RANK, Simulate

log = logging.getLogger(__name__)

# --- vocabulary ---------------------------------------------------------------------------------

# So many calls are placed at once; then it is asked again whether the campaign still runs.
_WAVE: Final = 8
_BATCH_MAX: Final = 200
_PARALLEL_MAX: Final = 8

# How soon a campaign is looked at again when nothing happens to it before. The end of a call, a
# recharge and its owner bring it back at once; this is for news that was lost.
_WAITS_SECONDS: Final = 1.0
_LIVE_SECONDS: Final = 5.0
_NETWORK_SECONDS: Final = 5.0
_BALANCE_SECONDS: Final = 30.0
_DAY_SECONDS: Final = 60.0
# When a network that takes no calls is tried again: twice as late each time, up to the maximum.
_PROBE_SECONDS: Final = 15.0
_PROBE_SECONDS_MAX: Final = 300.0
# Calls that end together are one look at their campaign.
_TOGETHER_SECONDS: Final = 0.05


class _NetworkFault(Exception):
    """The telephone network took no call, and the fault is not the number's."""


class _NoAnswer(Exception):
    """Nobody knows whether the telephone network took the call."""


# Which campaigns this process is about to look at, and the looks that go on.
_soon: set[str] = set()
_looks: set[asyncio.Task[None]] = set()

# --- verbs --------------------------------------------------------------------------------------


async def tick() -> int:
    """Look after the campaigns whose time has come; how many there were. Any process may."""
    ids = await campaignbook.due(_BATCH_MAX)
    slots = asyncio.Semaphore(_PARALLEL_MAX)

    async def one(campaign_id: str) -> None:
        async with slots:
            try:
                await look_after(campaign_id)
            except Exception as problem:
                if database.is_away(problem):
                    raise
                log.exception("campaign %s: %s", campaign_id, type(problem).__name__)

    await asyncio.gather(*(one(campaign_id) for campaign_id in ids))
    return len(ids)


async def look_after(campaign_id: str) -> None:
    """Do what is to do for a campaign now; whoever is at it already is told to look again."""
    campaign = await campaignbook.take(campaign_id)
    if campaign is None:
        return await campaignbook.look_again(campaign_id, clock.now())
    again_seconds: float | None = _NETWORK_SECONDS
    try:
        again_seconds = await _work(campaign)
    finally:
        await campaignbook.put_down(campaign, again_seconds)
    return None


async def _work(campaign: Document) -> float | None:
    """In how many seconds it should be looked at again; None when not until there is news."""
    campaign_id, status = campaign["_id"], campaign["status"]
    if campaign["is_loading"]:
        log.warning("campaign %s: its list never came in, it is forgotten", campaign_id)
        await campaignbook.forget(campaign_id)
        return None
    if status == "scheduled":
        await campaignbook.start_scheduled(campaign)
        return 0.0
    if status not in ("running", "paused", "canceled"):
        return None
    await _recover(campaign)
    if status == "canceled":
        await contacts.cancel_pending(campaign_id)
    if await contacts.has_any(campaign_id, ("pending",)):
        if status == "running":
            return await _run(campaign)
        if campaign["pause_reason"] in ("balance", "frozen"):
            return 0.0 if await _has_money_again(campaign) else _BALANCE_SECONDS
        if campaign["pause_reason"] == "cap":
            return 0.0 if await _has_the_day_again(campaign) else _DAY_SECONDS
        if campaign["pause_reason"] == "provider":
            return await _try_the_network(campaign)
        return _LIVE_SECONDS if await contacts.has_any(campaign_id, contacts.LIVE) else None
    if await contacts.has_any(campaign_id, contacts.LIVE):
        return _LIVE_SECONDS
    await campaignbook.close(campaign)
    return None


async def _recover(campaign: Document) -> None:
    """Contacts whose process died go back, unless their call exists: nobody is called twice."""
    for contact in await contacts.overdue(campaign["_id"]):
        call = await callbook.known(contact["call_id"])
        if call is None:
            await contacts.put_back(contact)
        elif _was_never_called(call):
            await contacts.put_back(contact, contacts.LIVE)
        elif call["rank"] == OVER and call["billing_status"] != "pending_duration":
            await contacts.end(
                call["_id"],
                status=call["status"],
                answered_by=call.get("answered_by"),
                duration_seconds=call["duration_seconds"] or 0,
                cost_paise=int(call["cost_paise"] or 0),
            )
        else:
            await contacts.in_call(contact)


# --- dialing ------------------------------------------------------------------------------------


async def _run(campaign: Document) -> float:
    """Place as many calls as the limits and the money allow."""
    campaign_id, user_id = campaign["_id"], campaign["user_id"]
    if (network_seconds := await _network_seconds(campaign)) is not None:
        return network_seconds
    # A price may depend on the destination: what can be afforded is guessed by whom it calls next.
    number = await contacts.next_number(campaign_id)
    try:
        await billing.can_start(user_id, number)
    except (InsufficientBalance, WalletFrozen) as refusal:
        return await _pause_for_money(campaign, refusal)
    except PaymentRequired as refusal:
        return await _wait_for_room(campaign, refusal)
    # What a user may have and can pay at once is shared evenly among the campaigns that run.
    running = await campaignbook.running_count(user_id)
    calls_max = await billing.concurrent_calls_max(user_id)
    if running > 1:
        longest_seconds = campaign["max_duration_seconds"] or billing.SECONDS_MAX
        whole = telephony.chosen().can.reserves_whole
        capacity = await billing.capacity(user_id, longest_seconds, number, whole=whole)
        calls_max = min(calls_max, capacity)
    calls_max = min(campaign["max_concurrent"], _share(calls_max, running))
    paced, pause_seconds = _pace(campaign)
    room = min(
        paced,
        calls_max - await contacts.live_count(campaign_id),
        _share(await billing.affordable_calls(user_id, number), running),
    )
    if probing := campaign.get("probes", 0) > 0:
        room = min(room, 1)
    while room > 0:
        turns = await pacing.turns(telephony.chosen(), min(room, _WAVE))
        wave = await contacts.claim(campaign_id, len(turns)) if turns else []
        if not wave:
            break
        if not await campaignbook.goes_on(campaign, paced_at=_paced_after(campaign, len(wave))):
            await asyncio.gather(*(contacts.put_back(contact) for contact in wave))
            return 0.0
        refusals, unknown_count = await _place_all(campaign, wave, turns)
        if unknown_count == len(wave):
            return await _pause_for_the_network(campaign, "it does not answer")
        if refusals:
            return max(pause_seconds, await _heed(campaign, refusals))
        if probing:
            await campaignbook.probed_with(campaign, wave[0]["call_id"])
            return _WAITS_SECONDS
        room -= len(wave)
    return pause_seconds


async def _heed(campaign: Document, refusals: Sequence[Exception]) -> float:
    """Pause, or for how many seconds to wait, after what the whole campaign has to heed."""
    for refusal in refusals:
        if isinstance(refusal, InsufficientBalance | WalletFrozen):
            return await _pause_for_money(campaign, refusal)
    for refusal in refusals:
        if isinstance(refusal, _NetworkFault) and str(refusal) in NETWORK_DOWN:
            return await _pause_for_the_network(campaign, str(refusal))
    if any(isinstance(refusal, Unavailable | _NetworkFault) for refusal in refusals):
        await campaignbook.rest(campaign["_id"], clock.after(_NETWORK_SECONDS))
        return _NETWORK_SECONDS
    return max([await _wait_for_room(campaign, refusal) for refusal in refusals])


def _share(limit: int, running: int) -> int:
    return -(-limit // max(1, running))


def _pace(campaign: Document) -> tuple[int, float]:
    """How many calls `calls_per_minute` allows now, and after how many seconds to ask again.

    `paced_at` moves ahead by an interval a call and lags at most a second behind the clock, so
    that a pause is not made up for by a burst.
    """
    if campaign["calls_per_minute"] is None:
        return _BATCH_MAX, _WAITS_SECONDS
    interval_seconds = 60 / campaign["calls_per_minute"]
    lag_seconds = (clock.now() - _paced_from(campaign)).total_seconds()
    allowed = int(lag_seconds / interval_seconds)
    rest_seconds = (allowed + 1) * interval_seconds - lag_seconds
    return allowed, min(_WAITS_SECONDS, max(0.05, rest_seconds))


def _paced_from(campaign: Document) -> dt.datetime:
    earliest = clock.after(-max(1.0, 60 / campaign["calls_per_minute"]))
    return max(earliest, campaign["paced_at"] or earliest)


def _paced_after(campaign: Document, calls_placed: int) -> dt.datetime | None:
    if campaign["calls_per_minute"] is None:
        return None
    seconds = calls_placed * 60 / campaign["calls_per_minute"]
    campaign["paced_at"] = clock.after(seconds, since=_paced_from(campaign))
    return campaign["paced_at"]  # type: ignore[no-any-return]


async def _place_all(
    campaign: Document, wave: Sequence[Document], turns: Sequence[dt.datetime]
) -> tuple[list[Exception], int]:
    """What the whole campaign has to heed, and of how many calls nobody knows whether they are."""
    results = await asyncio.gather(*map(partial(_place, campaign), wave, turns))
    refusals = [r for r in results if r is not None and not isinstance(r, _NoAnswer)]
    return refusals, sum(isinstance(r, _NoAnswer) for r in results)


async def _place(campaign: Document, contact: Document, turn_at: dt.datetime) -> Exception | None:
    """Call one contact; the refusal, when it is one that the whole campaign has to heed."""
    try:
        call = await calls.place(
            campaign["user_id"],
            call_id=contact["call_id"],
            to=contact["to"],
            message=campaign["message"],
            audio_url=campaign["audio_url"],
            connect_to=campaign["connect_to"],
            max_duration_seconds=campaign["max_duration_seconds"],
            machine_detection=campaign.get("machine_detection"),
            simulate=Simulate(**campaign["simulate"]) if campaign["simulate"] else None,
            campaign_id=campaign["_id"],
            turn_at=turn_at,
        )
    except (PaymentRequired, TooManyCalls) as refusal:
        await contacts.put_back(contact)
        return refusal
    except Unavailable as refusal:
        # Perhaps the call was committed: the contact stays claimed until its lease is over, and
        # then the call is looked for.
        log.warning("campaign %s: %s: %s", campaign["_id"], contact["call_id"], refusal)
        return refusal
    except Problem as refusal:
        await contacts.skip(contact, refusal.code)
        return None
    if call["rank"] < OVER:
        await contacts.in_call(contact)
    elif _was_never_called(call):
        await contacts.put_back(contact)
        return _NetworkFault(call["failure_reason"])
    return _NoAnswer() if call["status"] == "unknown" else None


def _was_never_called(call: Call) -> bool:
    """Whether the network took no call, and the number has nothing to do with it."""
    return call["status"] == "failed" and call["failure_reason"] in NETWORK_FAULTS


# --- the network --------------------------------------------------------------------------------


async def _pause_for_the_network(campaign: Document, why: str) -> float:
    tries: int = min(campaign.get("probes", 0), 9)
    wait_seconds = min(math.ldexp(_PROBE_SECONDS, tries), _PROBE_SECONDS_MAX)
    await campaignbook.pause_for_the_network(campaign, why, clock.after(wait_seconds))
    return wait_seconds


async def _network_seconds(campaign: Document) -> float | None:
    """After how many seconds to look again, because the network rests or is tried with a call; None
    when a call may be placed.

    It is back when that call rings or ends. What a network only took, it may yet refuse.
    """
    rests_until, now = campaign.get("rests_until"), clock.now()
    if rests_until is not None and rests_until > now:
        return float((rests_until - now).total_seconds())
    call_id = campaign.get("probe_call_id")
    call = await callbook.known(call_id) if call_id is not None else None
    if call is None or _was_never_called(call):
        return None
    tells_ringing = telephony.provider(call["provider"]).can.reports_ringing
    if call["rank"] < RANK["ringing" if tells_ringing else "queued"]:
        return _WAITS_SECONDS
    await campaignbook.network_is_back(campaign)
    return 0.0


async def _try_the_network(campaign: Document) -> float:
    """Go on with one call when it is time; else in how many seconds it is."""
    left_seconds = (campaign["probe_at"] - clock.now()).total_seconds()
    if left_seconds > 0:
        return float(left_seconds)
    await campaignbook.probe_the_network(campaign)
    return 0.0


# --- money --------------------------------------------------------------------------------------


async def _pause_for_money(campaign: Document, refusal: Problem) -> float:
    frozen = isinstance(refusal, WalletFrozen)
    await campaignbook.pause_for_money(campaign, "frozen" if frozen else "balance")
    # A recharge may have come between the refusal and the pause, and found nothing to resume.
    return 0.0 if await _has_money_again(campaign) else _BALANCE_SECONDS


async def _has_money_again(campaign: Document) -> bool:
    number = await contacts.next_number(campaign["_id"])
    return await _resume_with_money(campaign["user_id"], number)


async def _resume_with_money(user_id: str, number: str | None = None) -> bool:
    """Let the campaigns that wait for money go on if there is enough for a call (to `number`)."""
    try:
        await billing.can_start(user_id, number)
    except (InsufficientBalance, WalletFrozen):
        return False
    except PaymentRequired:
        pass  # there is enough, and it is free again when a call ends
    await campaignbook.resume_with_money(user_id)
    return True


async def _wait_for_room(campaign: Document, refusal: Exception) -> float:
    """For how many seconds to wait after a refusal that is not for want of money. What only the
    next day brings pauses the campaign."""
    if await _is_for_the_day(campaign, refusal):
        await campaignbook.pause_for_the_day(campaign)
        return _DAY_SECONDS
    if isinstance(refusal, TooManyCalls) and refusal.extra.get("limited_by") == "calls_per_minute":
        return float(refusal.headers["Retry-After"])
    return _WAITS_SECONDS


async def _is_for_the_day(campaign: Document, refusal: Exception) -> bool:
    if isinstance(refusal, SpendCapReached):
        return not refusal.is_held
    return isinstance(refusal, TooManyCalls) and await billing.calls_are_used_up(
        campaign["user_id"]
    )


async def _has_the_day_again(campaign: Document) -> bool:
    """Let a campaign that waits for the next day go on if there is room for a call."""
    number = await contacts.next_number(campaign["_id"])
    try:
        await billing.can_start(campaign["user_id"], number)
    except SpendCapReached as refusal:
        if not refusal.is_held:
            return False
    except PaymentRequired:
        pass  # it will wait, or pause, for that
    if await billing.calls_are_used_up(campaign["user_id"]):
        return False
    await campaignbook.resume_with_the_day(campaign)
    return True


# --- news ---------------------------------------------------------------------------------------


async def on_wallet_credited(event: Document) -> None:
    """There may be money again (`WalletCredited`, `WalletUnfrozen`): campaigns that wait for it go on."""
    if await campaignbook.waits_for_money(event["user_id"]):
        await _resume_with_money(event["user_id"])


async def on_call_ended(event: Document) -> None:
    """A call of a campaign may have ended (`CallEnded`): its contact has a result, or its turn again."""
    data = event["data"]
    call = await callbook.find(data["call_id"]) if data["status"] == "failed" else None
    if call is not None and _was_never_called(call):
        if await contacts.put_back_of(call["_id"]):
            campaign = await campaignbook.find(data["campaign_id"])
            if call["failure_reason"] in NETWORK_DOWN:
                await _pause_for_the_network(campaign, call["failure_reason"])
            else:
                await campaignbook.rest(campaign["_id"], clock.after(_NETWORK_SECONDS))
    else:
        facts = ("status", "duration_seconds", "cost_paise", "answered_by")
        if await contacts.end(data["call_id"], **{name: data.get(name) for name in facts}):
            await campaignbook.recount(data["campaign_id"])
    campaign_id = data["campaign_id"]
    if campaign_id not in _soon:
        _soon.add(campaign_id)
        look = asyncio.create_task(_look_soon(campaign_id))
        _looks.add(look)
        look.add_done_callback(_looks.discard)


async def _look_soon(campaign_id: str) -> None:
    """Look beside the delivery of events, which goes on. If it fails, or the process ends before,
    `tick` does it: a campaign with calls is due again in a few seconds anyway."""
    try:
        await asyncio.sleep(_TOGETHER_SECONDS)
    finally:
        _soon.discard(campaign_id)  # what ends from here on is another look
    try:
        await look_after(campaign_id)
    except (Unavailable, database.AnyError) as problem:
        log.warning("campaign %s: looked at later: %s", campaign_id, type(problem).__name__)
    except Exception:
        log.exception("campaign %s", campaign_id)
