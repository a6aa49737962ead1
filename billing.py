"""The gate and the meter: reserve before a call, charge after it."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import config
import ledger
import money
import rates
import wallet
from database import Write
from errors import BalanceHeld, InsufficientBalance
from ledger import Outcome
from rates import Rate

# --- vocabulary ---------------------------------------------------------------------------------

# No call is longer than a day: where the rate is zero, this is what money can buy.
SECONDS_MAX: Final = 86_400


@dataclasses.dataclass(frozen=True, slots=True)
class Reservation:
    """What is reserved for a call, and the seconds that it buys. `repeated`: it was so before.

    `affordable_seconds` is what all that is free in the wallet would buy on top of it.
    """

    held_paise: int
    limit_seconds: int
    repeated: bool = False
    affordable_seconds: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Charge:
    """What became of a call's money. `repeated`: it was resolved before, nothing changed now."""

    cost_paise: int
    charged_paise: int
    due_paise: int
    repeated: bool = False


# Writes that commit with the reservation, or with the charge.
WithReservation = Callable[[Reservation], Iterable[Write]]
WithCharge = Callable[[Charge], Iterable[Write]]


# --- the meter ----------------------------------------------------------------------------------


def billable_seconds(duration_seconds: int, rate: Rate) -> int:
    """What of a duration is paid for: at least the minimum, rounded up to the pulse.

    60/60 or 30/6 of a rate card is minimum/pulse. Nothing is billable of a call that was not
    answered.
    """
    if duration_seconds <= 0:
        return 0
    at_least = max(duration_seconds, rate.minimum_billable_seconds)
    return -(-at_least // rate.pulse_seconds) * rate.pulse_seconds


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
    whole_pulses = affordable // rate.pulse_seconds * rate.pulse_seconds
    return whole_pulses if whole_pulses >= billable_seconds(1, rate) else 0


def explanation(duration_seconds: int, rate: Rate) -> str:
    """The price of a call in a sentence: `30 s at Rs 10.00 a minute: Rs 5.00`."""
    cost = f"Rs {money.text(cost_paise(duration_seconds, rate))}"
    if duration_seconds <= 0:
        return f"not answered: {cost}"
    billable = billable_seconds(duration_seconds, rate)
    counted = f"{duration_seconds} s"
    if billable != duration_seconds:
        counted += f", billed as {billable} s,"
    sentence = f"{counted} at Rs {money.text(rate.rate_paise_per_minute)} a minute"
    if rate.connection_fee_paise:
        sentence += f" and a connection fee of Rs {money.text(rate.connection_fee_paise)}"
    return f"{sentence}: {cost}"


def rate_of(call: Mapping[str, Any]) -> Rate:
    """The rate that was snapshotted on a call."""
    return Rate(
        rate_paise_per_minute=int(call["rate_paise_per_minute"]),
        pulse_seconds=call["pulse_seconds"],
        minimum_billable_seconds=call["minimum_billable_seconds"],
        connection_fee_paise=int(call["connection_fee_paise"]),
    )


# --- the gate -----------------------------------------------------------------------------------


def hold_paise_min(rate: Rate) -> int:
    """What has to be available for a call: the minimum balance, or the first pulse if that is more."""
    return max(config.settings().minimum_balance_paise, cost_paise(1, rate))


def hold_paise(rate: Rate, seconds_max: int, *, whole: bool = False) -> int:
    """What a call reserves when it is placed: one slice of `CALL_SLICE_MINUTES`, less if the call
    may not last that long, never less than `hold_paise_min`. With `whole` all that it may cost."""
    slice_seconds = seconds_max if whole else config.settings().call_slice_minutes * 60
    return max(hold_paise_min(rate), cost_paise(min(slice_seconds, seconds_max), rate))


async def can_start(user_id: str) -> None:
    """Whether a call could be placed now; reserves nothing. Raises the 402s that `reserve` raises."""
    required_paise = hold_paise_min(await rates.current())
    balance = await wallet.balance_of(user_id)
    if balance.available_paise >= required_paise:
        return
    needs = f"A call needs Rs {money.text(required_paise)}"
    if balance.balance_paise >= required_paise:
        raise BalanceHeld(
            f"{needs}; running calls have reserved Rs {money.text(balance.held_paise)}. "
            "Try again when one has ended.",
            required_paise=required_paise,
            available_paise=balance.available_paise,
            retry_after_seconds=5,
        )
    raise InsufficientBalance(
        f"{needs}; the wallet has Rs {money.text(balance.available_paise)} available.",
        required_paise=required_paise,
        available_paise=balance.available_paise,
    )


async def affordable_calls(user_id: str) -> int:
    """How many calls could be placed right now (a hint for those who dial many; `reserve` decides)."""
    balance = await wallet.balance_of(user_id)
    rate = await rates.current()
    return money.floor_div(balance.available_paise, hold_paise_min(rate))


async def capacity(user_id: str, seconds_max: int, *, whole: bool = False) -> int:
    """How many calls the whole wallet carries at once with a full slice (or `whole`) each, those
    that run included; at least one (a hint for sharing it out)."""
    balance = await wallet.balance_of(user_id)
    slice_paise = hold_paise(await rates.current(), seconds_max, whole=whole)
    return max(1, money.floor_div(balance.balance_paise, slice_paise))


async def reserve(
    user_id: str,
    *,
    call_id: str,
    rate: Rate,
    seconds_max: int,
    whole: bool = False,
    companions: WithReservation,
) -> Reservation:
    """Reserve the first slice of a call, together with `companions`; with `whole` all of it.

    Raises InsufficientBalance and BalanceHeld (402), TooManyCalls (429), Unavailable.
    """
    command = ledger.Hold(
        user_id=user_id,
        call_id=call_id,
        amount_paise=hold_paise(rate, seconds_max, whole=whole),
        amount_paise_min=hold_paise_min(rate),
        holds_max=config.settings().max_concurrent_calls,
    )
    outcome = await wallet.post(
        command, lambda outcome: companions(_reservation(outcome, rate, seconds_max))
    )
    return _reservation(outcome, rate, seconds_max)


async def can_extend(call: Mapping[str, Any], *, seconds_more: int, seconds_max: int) -> bool:
    """Whether `seconds_more` could be reserved for a running call now; reserves nothing."""
    wanted = min(seconds_max, call["limit_seconds"] + seconds_more)
    more_paise = cost_paise(wanted, rate_of(call)) - int(call["held_paise"])
    return (await wallet.balance_of(call["user_id"])).available_paise >= more_paise


async def extend(
    call: Mapping[str, Any], *, seconds_more: int, seconds_max: int, companions: WithReservation
) -> Reservation:
    """Reserve `seconds_more` for a running call, or what can be had of it, with `companions`.

    Raises InsufficientBalance and BalanceHeld when not even one more second can be had,
    HoldNotFound when the call is settled already, Unavailable.
    """
    rate = rate_of(call)
    wanted = min(seconds_max, call["limit_seconds"] + seconds_more)
    command = ledger.ExtendHold(
        user_id=call["user_id"],
        call_id=call["_id"],
        amount_paise=cost_paise(wanted, rate),
        amount_paise_min=cost_paise(call["limit_seconds"] + 1, rate),
    )
    outcome = await wallet.post(
        command, lambda outcome: companions(_reservation(outcome, rate, seconds_max))
    )
    return _reservation(outcome, rate, seconds_max)


async def settle(
    call: Mapping[str, Any], *, duration_seconds: int, companions: WithCharge
) -> Charge:
    """Charge a call that was answered for `duration_seconds` and release the rest of its hold.

    A call is charged once: settled or released before, the first result stands (`repeated`).
    Raises HoldNotFound when it was resolved without an entry, and Unavailable.
    """
    rate = rate_of(call)
    price_paise = cost_paise(duration_seconds, rate)
    command = ledger.Settle(
        user_id=call["user_id"],
        call_id=call["_id"],
        cost_paise=price_paise,
        description=f"Call to {call['to']}, {explanation(duration_seconds, rate)}",
        campaign_id=call.get("campaign_id"),
    )
    outcome = await wallet.post(command, lambda outcome: companions(_charge(outcome, price_paise)))
    return _charge(outcome, price_paise)


async def release(call: Mapping[str, Any], *, companions: WithCharge) -> Charge:
    """Give back the hold of a call that costs nothing; harmless when repeated."""
    command = ledger.Release(user_id=call["user_id"], call_id=call["_id"])
    outcome = await wallet.post(command, lambda outcome: companions(_charge(outcome, 0)))
    return _charge(outcome, 0)


def _reservation(outcome: Outcome, rate: Rate, seconds_max: int) -> Reservation:
    held_paise, free_paise = outcome.held_paise, outcome.wallet.available_paise
    return Reservation(
        held_paise,
        min(seconds_affordable(held_paise, rate), seconds_max),
        outcome.replayed,
        min(seconds_affordable(held_paise + free_paise, rate), seconds_max),
    )


def _charge(outcome: Outcome, price_paise: int) -> Charge:
    return Charge(price_paise, outcome.charged_paise, outcome.due_paise, outcome.replayed)
