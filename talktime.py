"""The talk-time contract: a call lasts as long as money is reserved for it, and its end is found."""

import logging
import math
from collections.abc import Iterable
from typing import Final

import billing
import callbook
import clock
import config
import events
import telephony
from billing import Reservation
from callbook import RESOLVED
from database import Document, Write
from errors import HoldNotFound, PaymentRequired
from telephony import OVER, RANK

log = logging.getLogger(__name__)

# --- vocabulary ---------------------------------------------------------------------------------

# A network may need this long to know a call that it took.
VISIBILITY_SECONDS: Final = callbook.VISIBILITY_SECONDS
_CHECKS_MAX: Final = 30
_FROZEN_BATCH: Final = 10_000
_CHECK_PAUSE_SECONDS_MAX: Final = 3_600

# --- the next slice -----------------------------------------------------------------------------


async def extend_due() -> int:
    """Reserve the next slice of the running calls that near their limit; how many were looked at.

    The hold is extended first and the network told afterwards, so what the network lets a call
    cost is reserved at every moment. Any process may do it; each call is claimed by a lease.
    """
    return await callbook.claim_due("next_extend_at", _extend)


async def _extend(call: Document) -> None:
    network = telephony.provider(call["provider"])
    if call["status"] != "in_progress":  # it rings for long, or the news of the answer was lost
        report = await network.look_up(call)
        if report is None or report.rank < RANK["in_progress"]:
            return await callbook.change(call, next_extend_at=clock.after(1.0))
        await callbook.receive(call["_id"], report, via=call["provider"])
        if report.rank == OVER:
            return None
        call = await callbook.find(call["_id"])
    try:
        limit_seconds = await _reserved_limit(call)
    except PaymentRequired:
        return await _retry_extend(call)
    except HoldNotFound:
        return await callbook.change(call, forget="next_extend_at")
    if not await network.extend(call, limit_seconds):
        return await callbook.change(call, forget="next_extend_at")
    log.info("call %s: may last %d s", call["_id"], limit_seconds)
    if limit_seconds >= call["max_duration_seconds"]:
        return await callbook.change(
            call, forget="next_extend_at", told_limit_seconds=limit_seconds
        )
    reached_at = clock.now()
    if call["pace"] <= 1 and call["answered_at"] is not None:
        reached_at = clock.after(
            call["told_limit_seconds"] / call["pace"], since=call["answered_at"]
        )
    again_at = callbook.extend_at(
        call, reached_at, seconds=limit_seconds - call["told_limit_seconds"]
    )
    return await callbook.change(call, next_extend_at=again_at, told_limit_seconds=limit_seconds)


async def _reserved_limit(call: Document) -> int:
    """Reserve the next slice; the seconds that the call may last now, all in all.

    Of a call whose seconds are faster than ours, at least a real second is reserved.
    """
    if call["limit_seconds"] > call["told_limit_seconds"]:
        limit_seconds: int = call["limit_seconds"]  # whoever reserved this could not tell it
        return limit_seconds
    slice_seconds = config.settings().call_slice_minutes * 60

    def with_hold(reservation: Reservation) -> Iterable[Write]:
        return [callbook.limit_raised(call, reservation)]

    reservation = await billing.extend(
        call, seconds_more=max(slice_seconds, math.ceil(call["pace"])), companions=with_hold
    )
    return reservation.limit_seconds


async def _retry_extend(call: Document) -> None:
    """No money for a slice. It may come until the limit is reached; then the network ends the call."""
    talk_seconds = call["limit_seconds"] / call["pace"]
    patience_seconds = telephony.PATIENCE_SECONDS if call["pace"] > 1 else 0.0
    ends_at = clock.after(
        talk_seconds + patience_seconds, since=call["answered_at"] or call["created_at"]
    )
    left_seconds = (ends_at - clock.now()).total_seconds()
    log.info("call %s: no money for more than %d s", call["_id"], call["limit_seconds"])
    if left_seconds > 0.5:
        again_at = clock.after(max(0.5, left_seconds / 2))
        return await callbook.change(call, next_extend_at=again_at)
    return await callbook.change(call, forget="next_extend_at")


# --- the lost end -------------------------------------------------------------------------------


async def sweep() -> int:
    """Ask the network about calls whose end should have been reported; how many were looked at.

    No hold is given back because of its age: the network says what became of the call.
    """
    return await callbook.claim_due("next_check_at", _check)


async def _check(call: Document) -> None:
    if call["billing_status"] in RESOLVED:
        return await callbook.change(call, forget="next_check_at")
    try:
        report = await telephony.provider(call["provider"]).look_up(call)
    except telephony.Ambiguous as problem:
        log.warning("call %s: the network does not answer: %s", call["_id"], problem)
        return await _check_later(call, "the network cannot be asked")
    log.info(
        "call %s: asked, the network says %s", call["_id"], report.status if report else "nothing"
    )
    if report is not None:
        await callbook.receive(call["_id"], report, via=call["provider"])
        if report.rank < OVER or report.duration_seconds is None:
            await _check_later(call, "the network does not say how it ended")
        return None
    if call["rank"] > RANK["submitting"]:
        return await _check_later(call, "the network took this call and does not know it now")
    if clock.now() < clock.after(VISIBILITY_SECONDS, since=call["created_at"]):
        return await _check_later(call, "the network does not know it yet")
    return await callbook.finish(
        call["_id"], status="failed", duration_seconds=0, reason="not_placed"
    )


async def _check_later(call: Document, reason: str) -> None:
    """Ask again after a growing pause; when that has gone on for long, a person should look, too."""
    pause_seconds = min(_CHECK_PAUSE_SECONDS_MAX, 5 * 2 ** min(call["checks"], 10))
    again_at = clock.after(pause_seconds)
    if call["checks"] < _CHECKS_MAX:
        return await callbook.change(call, next_check_at=again_at)
    return await callbook.change(
        call, next_check_at=again_at, billing_status="review", review_reason=reason
    )


# --- the frozen wallet --------------------------------------------------------------------------


async def _end_calls_of_frozen(event: Document) -> None:
    """Hang up what is live. None can have begun since: a frozen wallet takes no hold."""
    live = {"user_id": event["user_id"], "rank": {"$lt": OVER}}
    for call in await callbook.page(live, after=None, limit=_FROZEN_BATCH):
        log.warning("call %s: hung up, its wallet was frozen", call["_id"])
        await telephony.provider(call["provider"]).hang_up(call)


events.on("WalletFrozen", _end_calls_of_frozen)
