"""Call monitor: running calls extended, warned and cut off; lost ends found by asking."""

import datetime as dt
import logging
import math
from collections.abc import Iterable
from typing import Final

import telephony
from billing import charging
from billing.charging import Reservation
from calls import lifecycle, records, timing
from calls.records import RESOLVED, Call
from calls.timing import LEAD_SECONDS, WARNED_AT_SECONDS
from core import clock, config, leases
from core.database import Write
from core.errors import HoldNotFound, PaymentRequired, Unavailable
from core.outbox import Event
from telephony import OVER, RANK, Report

log = logging.getLogger(__name__)


# --- vocabulary ---------------------------------------------------------------------------------

# How long before the reserved money is used up a call is hung up, where the network accepts no
# new limit: hanging up takes a moment.
HANG_UP_LEAD_SECONDS: Final = 2.0
# The warning "when 60 seconds are left" may be recorded this much earlier.
_EARLY_SECONDS: Final = 3
# How often a call that rings in real time is asked about, near the end of its first slice.
_RINGING_PAUSE_SECONDS: Final = 5.0
_CHECKS_MAX: Final = 30
# Of a network that answers and does not know the call: about 20 minutes after its latest end.
_FORGOTTEN_CHECKS_MAX: Final = 8
_FROZEN_BATCH: Final = 10_000
_PARALLEL_MAX: Final = 16
_CHECK_PAUSE_SECONDS_MAX: Final = 3_600


# --- the next slice -----------------------------------------------------------------------------


async def extend_due_calls() -> int:
    """Reserve the next slice of the running calls that near their limit; how many were checked.

    The hold is extended first and the network's limit raised afterwards, so that at every moment the
    reservation covers the network's limit. Any process may do it; each call is claimed by a lease.
    """
    return await lifecycle.claim_due_calls("next_extend_at", _extend)


async def start_extensions() -> int:
    """`extend_due_calls`, without waiting until they are done: none waits for another's network."""
    return len(await lifecycle.start_due_calls("next_extend_at", _extend))


async def _extend(call: Call) -> None:
    network = telephony.get_provider(call["provider"])
    if call["status"] != "in_progress":  # it still rings, or the report of the answer was lost
        answered = await _find_answered(call)
        if answered is None:
            return None
        call = answered
    before_seconds = call["told_limit_seconds"] if network.can.can_extend else call["limit_seconds"]
    if await _is_too_early(call):
        again_at = clock.after(-LEAD_SECONDS, since=timing.talk_ends_at(call))
        return await lifecycle.update_open_call(call, next_extend_at=again_at)
    if not network.can.can_extend and call["limit_seconds"] >= timing.limit_seconds_max(call):
        return await _runs_out(call)  # its network ends it there, and accepts no other limit
    try:
        limit_seconds = await _reserved_limit(call)
    except PaymentRequired:
        return await _runs_out(call)
    except HoldNotFound:
        return await lifecycle.update_open_call(call, forget="next_extend_at")
    if network.can.can_extend:
        if not await network.extend(call, limit_seconds):
            return await lifecycle.update_open_call(call, forget="next_extend_at")
        await lifecycle.update_open_call(call, told_limit_seconds=limit_seconds)
    log.info("call %s: may last %d s", call["_id"], limit_seconds)
    if limit_seconds >= call["max_duration_seconds"]:
        return await lifecycle.update_open_call(call, forget="next_extend_at")
    again_at = _next_balance_check_at(call, before_seconds, limit_seconds)
    return await lifecycle.update_open_call(call, next_extend_at=again_at)


def _next_balance_check_at(call: Call, before_seconds: int, limit_seconds: int) -> dt.datetime:
    """When to check a call again whose limit was raised from `before_seconds`."""
    reached_at = clock.now()
    if call["pace"] <= 1 and call["answered_at"] is not None:
        reached_at = clock.after(before_seconds / call["pace"], since=call["answered_at"])
    added_seconds = limit_seconds - before_seconds
    return timing.next_balance_check_at(call, reached_at, seconds=added_seconds)


async def _find_answered(call: Call) -> Call | None:
    """The call as it is now, if its network reports it as in progress; None when it rings (then it
    is checked again later) and when it is over."""
    report = await _ask(call)
    if report is None or report.rank < RANK["in_progress"]:
        pause_seconds = 1.0 if call["pace"] > 1 else _RINGING_PAUSE_SECONDS
        await lifecycle.update_open_call(call, next_extend_at=clock.after(pause_seconds))
        return None
    await lifecycle.apply_report(call["_id"], report, via=call["provider"])
    return None if report.rank == OVER else await records.get_call(call["_id"])


async def _is_too_early(call: Call) -> bool:
    """Whether the next slice can wait: it is not due yet, and there is money for it."""
    if call["pace"] > 1 or call["limit_seconds"] > call["told_limit_seconds"]:
        return False
    left_seconds = (timing.talk_ends_at(call) - clock.now()).total_seconds()
    ceiling_seconds = timing.limit_seconds_max(call)
    if left_seconds <= LEAD_SECONDS + 1 or call["limit_seconds"] >= ceiling_seconds:
        return False
    return await charging.can_extend(
        call, seconds_more=WARNED_AT_SECONDS[0], seconds_max=ceiling_seconds
    )


async def _reserved_limit(call: Call) -> int:
    """Reserve the next slice; the seconds that the call may last now in all.

    Of a call whose seconds are faster than ours, at least a real second is reserved.
    """
    if call["limit_seconds"] > call["told_limit_seconds"]:
        return call["limit_seconds"]  # reserved before, but not passed on to the network
    slice_seconds = config.settings().call_slice_minutes * 60

    def with_hold(reservation: Reservation) -> Iterable[Write]:
        return [lifecycle.update_of_limit(call, reservation)]

    reservation = await charging.extend(
        call,
        seconds_more=max(slice_seconds, math.ceil(call["pace"])),
        seconds_max=timing.limit_seconds_max(call),
        companions=with_hold,
    )
    return reservation.limit_seconds


async def _runs_out(call: Call) -> None:
    """Handle a call without money for a slice. A recharge may come until the limit; then the call is
    ended: by its network where that enforces the limit, else by us, shortly before it costs more
    than is reserved."""
    network = telephony.get_provider(call["provider"])
    left_seconds = (timing.talk_ends_at(call) - clock.now()).total_seconds()
    talk_seconds = max(0, round(left_seconds * call["pace"]))
    reached = [at for at in WARNED_AT_SECONDS if talk_seconds <= at + _EARLY_SECONDS]
    if reached:
        await lifecycle.record_running_out(call, seconds_left=talk_seconds, warned_at=min(reached))
    log.info("call %s: no money for more than %d s", call["_id"], call["limit_seconds"])
    if call["pace"] > 1:
        left_seconds += telephony.PATIENCE_SECONDS
    # Where the network's limit is above what is reserved, it does not end the call in time.
    is_ended_by_us = (
        not network.can.can_extend and call["limit_seconds"] < call["told_limit_seconds"]
    )
    margin_seconds = HANG_UP_LEAD_SECONDS if is_ended_by_us else 0.5
    if left_seconds > margin_seconds:
        # Half of what is left, but not past the moments at which a warning is recorded.
        stops = [left_seconds - at for at in (*WARNED_AT_SECONDS, margin_seconds)]
        pause_seconds = min(left_seconds / 2, *(stop for stop in stops if stop > 0))
        return await lifecycle.update_open_call(
            call, next_extend_at=clock.after(max(0.5, pause_seconds))
        )
    if is_ended_by_us:
        await network.hang_up(call)
        log.info("call %s: hung up, its money is used up", call["_id"])
    return await lifecycle.update_open_call(call, forget="next_extend_at")


# --- lost ends ----------------------------------------------------------------------------------


async def sweep_overdue_calls() -> int:
    """Ask the network about calls whose end should have been reported; how many were checked.

    No hold is released because of its age: the network's report decides.
    """
    return await lifecycle.claim_due_calls("next_check_at", _check)


async def start_checks() -> int:
    """`sweep_overdue_calls`, without waiting until they are done."""
    return len(await lifecycle.start_due_calls("next_check_at", _check))


async def stop() -> None:
    """Stop what was started and is not done."""
    await lifecycle.stop_due_calls()


async def _ask(call: Call) -> Report | None:
    """The network's report of a call; only where its id was lost, our similar calls are read, too.

    Raises Ambiguous, also for an answer that has not the form which the network documents.
    """

    async def others() -> list[Call]:
        return await records.list_similar_calls(call)

    try:
        return await telephony.get_provider(call["provider"]).look_up(call, others)
    except (AttributeError, LookupError, TypeError, ValueError) as problem:
        raise telephony.Ambiguous(f"its answer cannot be read: {problem!r}") from problem


async def _check(call: Call) -> None:
    if call["billing_status"] in RESOLVED:
        return await lifecycle.update_open_call(call, forget="next_check_at")
    if call["status"] == "created" or lifecycle.is_end_unfinished(call):
        log.warning("call %s: nobody submitted it", call["_id"])
        return await lifecycle.end_unsubmitted(call, status="canceled", reason="not_submitted")
    try:
        report = await _ask(call)
    except telephony.Ambiguous as problem:
        log.warning("call %s: the network gives no answer: %s", call["_id"], problem)
        return await _check_later(call, "the network cannot be asked")
    log.info(
        "call %s: asked, the network says %s", call["_id"], report.status if report else "nothing"
    )
    if report is not None:
        await lifecycle.apply_report(call["_id"], report, via=call["provider"])
        if report.rank < OVER:
            await _cut_off(call, report)
        if report.rank < OVER or report.duration_seconds is None:
            await _check_later(call, "the network does not say how it ended")
        return None
    if call["rank"] > RANK["submitting"]:
        reason = "the network took this call and does not know it now"
        return await _check_later(call, reason, checks_max=_FORGOTTEN_CHECKS_MAX)
    if clock.now() < timing.visible_at(call):
        return await _check_later(call, "the network does not know it yet")
    return await lifecycle.end_call(
        call["_id"], status="failed", duration_seconds=0, reason=telephony.NOT_PLACED
    )


async def _cut_off(call: Call, report: Report) -> None:
    """End a call that its network should have ended long ago."""
    network = telephony.get_provider(call["provider"])
    answered_at = call["answered_at"]
    if report.status != "in_progress" or answered_at is None or not network.can.can_hang_up:
        return
    if clock.now() > timing.latest_end_at(call, answered_at):
        log.error("call %s is up after its limit of %d s", call["_id"], call["limit_seconds"])
        try:
            await network.hang_up(call)
        except telephony.Ambiguous as problem:
            log.warning("call %s: not hung up: %s", call["_id"], problem)


async def _check_later(call: Call, reason: str, *, checks_max: int = _CHECKS_MAX) -> None:
    """Check again after a growing pause; after `checks_max` checks the call is lost, and needs a review,
    too."""
    pause_seconds = min(_CHECK_PAUSE_SECONDS_MAX, 5 * 2 ** min(call["checks"], 10))
    # A network that knows a duration only minutes later need not be asked every second.
    pause_seconds = max(pause_seconds, timing.capabilities_of(call).duration_after_seconds)
    if call["checks"] >= checks_max:
        await lifecycle.mark_lost(call, reason)
    await lifecycle.update_open_call(call, next_check_at=clock.after(pause_seconds))


# --- frozen wallets -----------------------------------------------------------------------------


async def end_calls_of_frozen(event: Event) -> None:
    """Hang up the live calls of the event's user. None can have begun since: a frozen wallet accepts
    no hold.

    Raises Unavailable when one could not be hung up, after all were tried: the event is delivered
    again, as long as the wallet is frozen.
    """
    user_id = event["user_id"]
    assert user_id is not None
    if not await charging.is_frozen(user_id):
        return
    found = await records.list_live_calls(user_id, limit=_FROZEN_BATCH)

    async def hang_up(call: Call) -> bool:
        network = telephony.get_provider(call["provider"])
        if call["status"] == "created":  # its money was held before the wallet was frozen
            await lifecycle.end_unsubmitted(call, status="canceled", reason="wallet_frozen")
            call = await records.get_call(call["_id"])
        if call["rank"] == OVER:
            return True
        if call["status"] == "submitting":  # the network cannot be asked to end it yet
            return False
        if not network.can.can_hang_up:  # it ends at its limit, which is paid for
            return True
        try:
            await network.hang_up(call)
        except telephony.Ambiguous as problem:
            log.warning("call %s: not hung up, its wallet is frozen: %s", call["_id"], problem)
            return False
        log.warning("call %s: hung up, its wallet was frozen", call["_id"])
        return True

    left = (await leases.gather_bounded(hang_up, found, _PARALLEL_MAX)).count(False)
    if left:
        raise Unavailable(f"{left} calls of a frozen wallet are not hung up yet.")
