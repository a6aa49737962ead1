"""Billing of calls: their price, and the money that is reserved, extended, charged, released."""

import asyncio
import dataclasses
import datetime as dt
import logging
from collections.abc import Callable, Iterable
from typing import Final, NotRequired, TypedDict

import commands
import ledger
import tariffs
import usage
import wallet
from commands import Outcome
from core import config, money
from core.database import AnyError, Write
from core.errors import BalanceHeld, PaymentRequired, SpendCapReached, TooManyCalls, Unavailable
from rates import Rate, Source
from usage import Limits
from wallet import Balance

log = logging.getLogger(__name__)


# --- vocabulary ---------------------------------------------------------------------------------

# No call is longer than a day: where the rate is zero, this is what money can buy.
SECONDS_MAX: Final = 86_400


@dataclasses.dataclass(frozen=True, slots=True)
class Reservation:
    """What is reserved for a call, and the seconds that it buys. `repeated`: it was so before.

    `counted_on` is the day (in India) on which it counts for its user's limits, if it does.
    `affordable_seconds` is what all that is free in the wallet would buy on top of it.
    """

    held_paise: int
    limit_seconds: int
    repeated: bool = False
    counted_on: str | None = None
    affordable_seconds: int = 0


class RatedCall(TypedDict):
    """The rate that a call was placed at, as its record keeps it: a change of rates does not touch
    it. Calls of older versions have no `rate_source` and no first pulse."""

    rate_paise_per_minute: int
    pulse_seconds: int
    first_pulse_seconds: NotRequired[int]
    minimum_billable_seconds: int
    connection_fee_paise: int
    rate_source: NotRequired[Source]
    rate_card_version: NotRequired[int | None]
    rate_prefix: NotRequired[str | None]


class BilledCall(RatedCall):
    """The part of a call's record that charging reads."""

    _id: str
    user_id: str
    to: str
    campaign_id: str | None
    created_at: dt.datetime
    held_paise: int
    limit_seconds: int
    counted_on: NotRequired[str | None]  # the day in India on which it counts for its user's limits


@dataclasses.dataclass(frozen=True, slots=True)
class Charge:
    """What became of a call's money. `repeated`: it was resolved before, nothing changed now.

    `reserved_paise` is what was reserved for it when it was settled.
    """

    cost_paise: int
    charged_paise: int
    due_paise: int
    repeated: bool = False
    reserved_paise: int = 0


# Writes that commit with the reservation, or with the charge.
WithReservation = Callable[[Reservation], Iterable[Write]]


WithCharge = Callable[[Charge], Iterable[Write]]


# --- pricing ------------------------------------------------------------------------------------
def billable_seconds(duration_seconds: int, rate: Rate) -> int:
    """What of a duration is paid for: at least the minimum, rounded up to whole pulses.

    30/6 of a rate card is a first pulse of 30 seconds and others of 6. Nothing is billable of a call
    that was not answered.
    """
    following = pulse_count(duration_seconds, rate) - 1
    return 0 if following < 0 else rate.opening_seconds + following * rate.pulse_seconds


def pulse_count(duration_seconds: int, rate: Rate) -> int:
    """How many pulses are paid for, the first one included."""
    if duration_seconds <= 0:
        return 0
    at_least = max(duration_seconds, rate.minimum_billable_seconds)
    after_the_first = max(0, at_least - rate.opening_seconds)
    return 1 + money.ceil_div(after_the_first, rate.pulse_seconds)


def cost_paise(duration_seconds: int, rate: Rate) -> int:
    """The price of a call: `billable seconds / 60 × rate` plus the connection fee, once.

    Rounded half up to the paisa, once, at the end (docs/money.md). A call of zero seconds is free.
    """
    if duration_seconds <= 0:
        return 0
    numerator = rate.rate_paise_per_minute * billable_seconds(duration_seconds, rate)
    return rate.connection_fee_paise + money.div_half_up(numerator, 60)


def seconds_affordable(amount_paise: int, rate: Rate) -> int:
    """The largest duration whose cost is at most `amount_paise`: the exact inverse of the cost.

    Half-up rounding of `b × rate / 60` stays within m exactly when `2 × b × rate < 60 × (2m + 1)`,
    so the most that can be billed is `b = floor((60 m + 29) / rate)`. At most `SECONDS_MAX`.
    """
    minutes_paise = amount_paise - rate.connection_fee_paise
    if minutes_paise < 0:
        return 0
    affordable = SECONDS_MAX
    if rate.rate_paise_per_minute > 0:
        most = money.floor_div(60 * minutes_paise + 29, rate.rate_paise_per_minute)
        affordable = min(SECONDS_MAX, most)
    if affordable < billable_seconds(1, rate):  # the first pulse, and the minimum
        return 0
    following = (affordable - rate.opening_seconds) // rate.pulse_seconds
    return rate.opening_seconds + following * rate.pulse_seconds


def explanation(duration_seconds: int, rate: Rate) -> str:
    """The price of a call in a sentence: `30 s at Rs 10.00 a minute: Rs 5.00`, and in pulses
    `125 s = 3 pulses of 60 s × Rs 10.00 = Rs 30.00`."""
    cost = f"Rs {money.text(cost_paise(duration_seconds, rate))}"
    if duration_seconds <= 0:
        return f"not answered: {cost}"
    price = f"at Rs {money.text(rate.rate_paise_per_minute)} a minute"
    fee = f"a connection fee of Rs {money.text(rate.connection_fee_paise)}"
    billable = billable_seconds(duration_seconds, rate)
    counted = f"{duration_seconds} s"
    if rate.opening_seconds == rate.pulse_seconds == 1:
        if billable != duration_seconds:
            counted += f", billed as {billable} s,"
        sentence = f"{counted} {price}" + (f" and {fee}" if rate.connection_fee_paise else "")
        return f"{sentence}: {cost}"
    if duration_seconds < rate.minimum_billable_seconds:
        counted += f", at least {rate.minimum_billable_seconds} s,"
    pulses = _pulses(pulse_count(duration_seconds, rate), rate)
    pulse_paise_by_60 = rate.rate_paise_per_minute * rate.pulse_seconds
    if rate.opening_seconds == rate.pulse_seconds and pulse_paise_by_60 % 60 == 0:
        pulses += f" × Rs {money.text(money.div_half_up(pulse_paise_by_60, 60))}"
    else:  # a pulse costs no whole paise: the sum is rounded, once
        pulses += f" = {billable} s {price}"
    sentence = f"{counted} = {pulses}" + (f" + {fee}" if rate.connection_fee_paise else "")
    return f"{sentence} = {cost}"


def _pulses(count: int, rate: Rate) -> str:
    first, others = rate.opening_seconds, rate.pulse_seconds
    if first == others:
        return f"{count} {'pulse' if count == 1 else 'pulses'} of {others} s"
    rest = f" + {count - 1} {'pulse' if count == 2 else 'pulses'} of {others} s"
    return f"1 pulse of {first} s" + (rest if count > 1 else "")


def rate_of(call: RatedCall) -> Rate:
    """The rate that was snapshotted on a call."""
    return Rate(
        rate_paise_per_minute=int(call["rate_paise_per_minute"]),
        pulse_seconds=call["pulse_seconds"],
        first_pulse_seconds=call.get("first_pulse_seconds"),
        minimum_billable_seconds=call["minimum_billable_seconds"],
        connection_fee_paise=int(call["connection_fee_paise"]),
        source=call.get("rate_source", "default"),
        card_version=call.get("rate_card_version"),
        prefix=call.get("rate_prefix"),
    )


# --- charging -----------------------------------------------------------------------------------
def hold_paise_min(rate: Rate) -> int:
    """What has to be available for a call: the minimum balance, or the first pulse if that is more."""
    return max(config.settings().minimum_balance_paise, cost_paise(1, rate))


def hold_paise(rate: Rate, seconds_max: int, *, whole: bool = False) -> int:
    """What a call reserves when it is placed: one slice of `CALL_SLICE_MINUTES`, less if the call
    may not last that long, never less than `hold_paise_min`. With `whole` all that it may cost."""
    slice_seconds = seconds_max if whole else config.settings().call_slice_minutes * 60
    return max(hold_paise_min(rate), cost_paise(min(slice_seconds, seconds_max), rate))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What a user may do and can pay for at one moment, from facts that are read once.

    A hint for those who dial many: `reserve` decides. `rate` is that of the next call; it is None
    when that depends on whom it goes to, and then the minimum balance is asked for.
    """

    rate: Rate | None
    balance: Balance
    limits: Limits
    spend_refusal: SpendCapReached | None  # the day's cap leaves no room for a call
    calls_are_used_up: bool  # no more calls may be started today

    @property
    def required_paise(self) -> int:
        """What has to be available for a call."""
        return _required_paise(self.rate)

    @property
    def refusal(self) -> PaymentRequired | None:
        """Why a call would be refused now with 402; None when it would not be."""
        refusal = _refusal_of(self.balance, self.required_paise)
        if refusal is None or isinstance(refusal, BalanceHeld):
            return self.spend_refusal or refusal
        return refusal

    @property
    def affordable_calls(self) -> int:
        """How many calls could be placed right now."""
        return money.floor_div(self.balance.available_paise, self.required_paise)

    def capacity(self, seconds_max: int, *, whole: bool = False) -> int:
        """How many calls the whole wallet carries at once with a full slice (or `whole`) each, those
        that run included, and the account may have; at least one."""
        slice_paise = self.required_paise
        if self.rate is not None:
            slice_paise = hold_paise(self.rate, seconds_max, whole=whole)
        carried = money.floor_div(self.balance.balance_paise, slice_paise)
        return max(1, min(self.limits.concurrent_calls, carried))


async def outlook(user_id: str, number: str | None = None) -> Outlook:
    """What the user may do and can pay for now, if the next call goes to `number`."""
    rate, balance, allowed = await asyncio.gather(
        tariffs.likely(user_id, number), wallet.balance_of(user_id), usage.limits_of(user_id)
    )
    spend_refusal: SpendCapReached | None = None
    try:
        await usage.refuse_when_spent(user_id, allowed, _required_paise(rate))
    except SpendCapReached as refusal:
        spend_refusal = refusal
    return Outlook(
        rate=rate,
        balance=balance,
        limits=allowed,
        spend_refusal=spend_refusal,
        calls_are_used_up=await usage.calls_are_used_up(user_id, allowed),
    )


async def can_start(user_id: str, number: str | None = None) -> None:
    """Whether a call (to `number`) could be placed now; reserves nothing. Raises the 402s that
    `reserve` raises."""
    if (refusal := (await outlook(user_id, number)).refusal) is not None:
        raise refusal


def _required_paise(rate: Rate | None) -> int:
    return config.settings().minimum_balance_paise if rate is None else hold_paise_min(rate)


def _refusal_of(balance: Balance, required_paise: int) -> PaymentRequired | None:
    """Why `required_paise` cannot be had, in the words of the ledger; None when it can be."""
    if not balance.frozen and balance.available_paise >= required_paise:
        return None
    return ledger.refusal(balance, required_paise)


async def is_frozen(user_id: str) -> bool:
    """Whether an admin has frozen this user's wallet: it takes no new call."""
    return (await wallet.balance_of(user_id)).frozen


async def reserve(
    user_id: str,
    *,
    call_id: str,
    rate: Rate,
    seconds_max: int,
    whole: bool = False,
    companions: WithReservation,
) -> Reservation:
    """Count a call for its user's limits and reserve its first slice, together with `companions`;
    with `whole` all of it.

    The limits come first and are given back when the wallet refuses: a crash in between leaves them
    stricter for that minute or day, never looser. Raises InsufficientBalance, BalanceHeld and
    SpendCapReached (402), TooManyCalls (429), Unavailable.
    """
    allowed = await usage.limits_of(user_id)
    amount_paise = hold_paise(rate, seconds_max, whole=whole)
    least_paise = hold_paise_min(rate)
    taken: usage.Taken | None = None
    if allowed.are_counted:
        taken = await usage.take_now(
            user_id,
            allowed,
            call_id=call_id,
            amount_paise=amount_paise,
            amount_paise_min=least_paise,
        )
        amount_paise = taken.amount_paise
    is_capped = taken is not None and allowed.spend_cap_paise is not None
    counted_on = taken.on if taken is not None and is_capped else None
    command = commands.Hold(
        user_id=user_id,
        call_id=call_id,
        amount_paise=amount_paise,
        amount_paise_min=min(amount_paise, least_paise),
        holds_max=allowed.concurrent_calls,
    )
    try:
        outcome = await wallet.post(
            command,
            lambda outcome: companions(_reservation(outcome, rate, seconds_max, counted_on)),
        )
    except (PaymentRequired, TooManyCalls) as refusal:
        if taken is not None:
            await taken.undo()
        if isinstance(refusal, TooManyCalls):
            refusal.extra.setdefault("limited_by", "concurrent_calls")
        raise
    if taken is not None and is_capped and outcome.held_paise < amount_paise:
        await taken.lower_to(outcome.held_paise)
    return _reservation(outcome, rate, seconds_max, counted_on)


async def can_extend(call: BilledCall, *, seconds_more: int, seconds_max: int) -> bool:
    """Whether `seconds_more` could be reserved for a running call now; reserves nothing."""
    wanted = min(seconds_max, call["limit_seconds"] + seconds_more)
    more_paise = cost_paise(wanted, rate_of(call)) - int(call["held_paise"])
    return (await wallet.balance_of(call["user_id"])).available_paise >= more_paise


async def extend(
    call: BilledCall, *, seconds_more: int, seconds_max: int, companions: WithReservation
) -> Reservation:
    """Reserve `seconds_more` for a running call, or what can be had of it, with `companions`.

    Raises InsufficientBalance, BalanceHeld and SpendCapReached when not even one more second can be
    had, HoldNotFound when the call is settled already, Unavailable.
    """
    rate = rate_of(call)
    wanted = min(seconds_max, call["limit_seconds"] + seconds_more)
    amount_paise = cost_paise(wanted, rate)
    least_paise = cost_paise(min(seconds_max, call["limit_seconds"] + 1), rate)
    counted_on = call.get("counted_on")
    if counted_on is not None:
        # What the wallet then refuses of it stays reserved here until the call is settled.
        amount_paise = await usage.raise_now(
            call["user_id"],
            counted_on,
            call_id=call["_id"],
            amount_paise=amount_paise,
            amount_paise_min=least_paise,
        )
    command = commands.ExtendHold(
        user_id=call["user_id"],
        call_id=call["_id"],
        amount_paise=amount_paise,
        amount_paise_min=least_paise,
    )
    outcome = await wallet.post(
        command, lambda outcome: companions(_reservation(outcome, rate, seconds_max, counted_on))
    )
    return _reservation(outcome, rate, seconds_max, counted_on)


async def settle(call: BilledCall, *, duration_seconds: int, companions: WithCharge) -> Charge:
    """Charge a call that was answered for `duration_seconds` and release the rest of its hold.

    A call is charged once: settled or released before, the first result stands (`repeated`).
    Raises HoldNotFound when it was resolved without an entry, and Unavailable.
    """
    rate = rate_of(call)
    price_paise = cost_paise(duration_seconds, rate)
    command = commands.Settle(
        user_id=call["user_id"],
        call_id=call["_id"],
        cost_paise=price_paise,
        description=f"Call to {call['to']}, {explanation(duration_seconds, rate)}",
        campaign_id=call.get("campaign_id"),
    )
    outcome = await wallet.post(command, lambda outcome: companions(_charge(outcome, price_paise)))
    await count(call, price_paise)
    return _charge(outcome, price_paise)


async def release(call: BilledCall, *, companions: WithCharge) -> Charge:
    """Give back the hold of a call that costs nothing; harmless when repeated."""
    command = commands.Release(user_id=call["user_id"], call_id=call["_id"])
    outcome = await wallet.post(command, lambda outcome: companions(_charge(outcome, 0)))
    await count(call, 0)
    return _charge(outcome, 0)


async def count(call: BilledCall, price_paise: int) -> None:
    """Put the price of a call in the place of what its user's day had reserved for it, once.

    The money has moved before: if this fails, the rest of that day is stricter until somebody
    reports the end again.
    """
    counted_on = call.get("counted_on")
    if counted_on is None:
        return
    try:
        await usage.settle_on(
            call["user_id"], counted_on, call_id=call["_id"], cost_paise=price_paise
        )
    except (Unavailable, AnyError) as problem:
        log.warning("call %s: not counted: %s", call["_id"], type(problem).__name__)


async def uncount(call: BilledCall) -> None:
    """A call that the network did not take is none of its user's calls of that day.

    If this fails, the rest of that day is stricter.
    """
    user_id, at = call["user_id"], call["created_at"]
    try:
        if (await usage.limits_of(user_id)).are_counted:
            await usage.give_back_on(user_id, call_id=call["_id"], at=at)
    except (Unavailable, AnyError) as problem:
        log.warning("call %s: still counted: %s", call["_id"], type(problem).__name__)


def _reservation(
    outcome: Outcome, rate: Rate, seconds_max: int, counted_on: str | None
) -> Reservation:
    held_paise, free_paise = outcome.held_paise, outcome.wallet.available_paise
    return Reservation(
        held_paise,
        min(seconds_affordable(held_paise, rate), seconds_max),
        outcome.replayed,
        counted_on,
        min(seconds_affordable(held_paise + free_paise, rate), seconds_max),
    )


def _charge(outcome: Outcome, price_paise: int) -> Charge:
    return Charge(
        price_paise,
        outcome.charged_paise,
        outcome.due_paise,
        outcome.replayed,
        outcome.held_paise,
    )
