"""Charging: reserve before a call, extend while it lasts, settle or release at its end."""

import asyncio
import dataclasses
import datetime as dt
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, NamedTuple, NotRequired, TypedDict

import ledger
import wallet
from billing import limits, pricing, rates
from billing.limits import CampaignBudget, Limits, SpendingKey
from billing.pricing import Rate, RatedCall, RatedLeg
from core import config, database, money
from core.database import AnyError, Write
from core.errors import BalanceHeld, PaymentRequired, SpendCapReached, TooManyCalls, Unavailable
from ledger import Outcome
from wallet import Balance

log = logging.getLogger(__name__)


# --- vocabulary ---------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Reservation:
    """What is reserved for a call, and the seconds that it buys. `repeated`: it was reserved before.

    `counted_on` is the day (in India) on which it counts for its user's limits, if it does,
    `key_counted_on` that on which it counts for its API key's cap; `is_in_budget`: it counts for the
    budget of its campaign.
    `affordable_seconds` is what all that is free in the wallet would buy on top of it.
    """

    held_paise: int
    limit_seconds: int
    repeated: bool = False
    counted_on: str | None = None
    affordable_seconds: int = 0
    key_counted_on: str | None = None
    is_in_budget: bool = False


class BilledCall(RatedCall):
    """The part of a call's record that charging reads."""

    _id: str
    user_id: str
    to: str
    connect_to: str | None
    campaign_id: str | None
    created_at: dt.datetime
    held_paise: int
    limit_seconds: int
    counted_on: NotRequired[str | None]  # the day in India on which it counts for its user's limits
    api_key_id: NotRequired[
        str | None
    ]  # the API key with which it was placed, or its campaign made
    api_key_cap_paise: NotRequired[int | None]
    key_counted_on: NotRequired[str | None]  # the day on which it counts for the key's cap
    is_in_budget: NotRequired[bool]  # it counts for the budget of its campaign


@dataclasses.dataclass(frozen=True, slots=True)
class Charge:
    """How a call was charged. `repeated`: it was resolved before, nothing changed now.

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


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What a user may do and can pay for at one moment, from facts that are read once.

    An estimate for campaigns: `reserve` decides. `rate` is that of the next call; it is None when
    the rate depends on a destination that is not known, and then the minimum balance is required.
    """

    rate: Rate | None
    balance: Balance
    limits: Limits
    spend_refusal: SpendCapReached | None  # the day's cap does not leave enough for a call
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
        """How many calls the user may have at once, those that run included: at most so many as the
        whole balance pays a full slice (or with `whole` all) of; at least one."""
        slice_paise = self.required_paise
        if self.rate is not None:
            slice_paise = pricing.hold_paise(self.rate, seconds_max, whole=whole)
        carried = money.floor_div(self.balance.balance_paise, slice_paise)
        return max(1, min(self.limits.concurrent_calls, carried))


# --- may a call be placed -----------------------------------------------------------------------


async def get_outlook(
    user_id: str,
    number: str | None = None,
    *,
    connect_to: str | None = None,
    key: SpendingKey | None = None,
) -> Outlook:
    """What the user may do and can pay for now, if the next call goes to `number`, is connected to
    `connect_to` and counts for the cap of `key`."""
    rate, balance, allowed = await asyncio.gather(
        rates.find_likely_rate(user_id, number, connect_to),
        wallet.get_balance(user_id),
        limits.get_limits(user_id),
    )
    spend_refusal: SpendCapReached | None = None
    try:
        await limits.check_spend_cap(user_id, allowed, _required_paise(rate))
        if key is not None:
            await limits.check_spend_cap(key.id, key.limits, _required_paise(rate))
    except SpendCapReached as refusal:
        spend_refusal = refusal
    return Outlook(
        rate=rate,
        balance=balance,
        limits=allowed,
        spend_refusal=spend_refusal,
        calls_are_used_up=await limits.is_call_limit_reached(user_id, allowed),
    )


async def require_can_start(
    user_id: str,
    number: str | None = None,
    *,
    connect_to: str | None = None,
    key: SpendingKey | None = None,
) -> None:
    """Whether a call (to `number`, connected to `connect_to`) could be placed now; reserves nothing.
    Raises the 402s that `reserve` raises."""
    outlook = await get_outlook(user_id, number, connect_to=connect_to, key=key)
    if outlook.refusal is not None:
        raise outlook.refusal


async def get_available_paise(user_id: str) -> int:
    """What is free in the wallet of this user for another call."""
    return (await wallet.get_balance(user_id)).available_paise


async def is_frozen(user_id: str) -> bool:
    """Whether an admin has frozen this user's wallet: no money can be reserved for a new call."""
    return (await wallet.get_balance(user_id)).frozen


def _required_paise(rate: Rate | None) -> int:
    return config.settings().minimum_balance_paise if rate is None else pricing.hold_paise_min(rate)


def _refusal_of(balance: Balance, required_paise: int) -> PaymentRequired | None:
    """The ledger's refusal of a hold of `required_paise`; None when it would accept one."""
    if not balance.frozen and balance.available_paise >= required_paise:
        return None
    return ledger.refusal(balance, required_paise)


# --- the money of a call ------------------------------------------------------------------------


async def reserve(
    user_id: str,
    *,
    call_id: str,
    rate: Rate,
    seconds_max: int,
    whole: bool = False,
    key: SpendingKey | None = None,
    budget: CampaignBudget | None = None,
    calls_over: int = 0,
    companions: WithReservation,
) -> Reservation:
    """Count a call for its user's limits, the cap of the API key it is placed with and the budget of
    its campaign, and reserve its first slice, together with `companions`; with `whole` all of it.
    `calls_over` is how many of the user's calls have a hold and no line any more.

    The call is counted first, and the count is undone when the wallet refuses: a crash in between
    leaves the limits stricter for that minute or day, never looser. Raises InsufficientBalance,
    BalanceHeld, SpendCapReached and BudgetReached (402), TooManyCalls (429), Unavailable.
    """
    allowed = await limits.get_limits(user_id)
    amount_paise = pricing.hold_paise(rate, seconds_max, whole=whole)
    least_paise = pricing.hold_paise_min(rate)
    asked = _Asked(call_id, amount_paise, least_paise)
    counts = await _count(user_id, allowed, key, budget, asked)
    amount_paise = min([amount_paise, *(count.amount_paise for count in counts)])
    days = _days_of(counts, user_id, key, budget)
    command = ledger.Hold(
        user_id=user_id,
        call_id=call_id,
        amount_paise=amount_paise,
        amount_paise_min=min(amount_paise, least_paise),
        holds_max=allowed.concurrent_calls + calls_over,
    )
    try:
        outcome = await wallet.post(
            command,
            lambda outcome: companions(_reservation(outcome, rate, seconds_max, days)),
        )
    except (PaymentRequired, TooManyCalls) as refusal:
        for count in counts:
            await count.undo()
        if isinstance(refusal, TooManyCalls):
            refusal.extra.setdefault("limited_by", "concurrent_calls")
        raise
    for count in counts:
        if count.is_capped and outcome.held_paise < count.amount_paise:
            await count.lower_to(outcome.held_paise)
    return _reservation(outcome, rate, seconds_max, days)


class _Asked(NamedTuple):
    """What is wanted for a call, and the least that it can do with."""

    call_id: str
    amount_paise: int
    amount_paise_min: int


async def _count(
    user_id: str,
    allowed: Limits,
    key: SpendingKey | None,
    budget: CampaignBudget | None,
    asked: _Asked,
) -> list[limits.Counted]:
    """Count a call for its user, of what is granted there as much for its key as its cap allows, and
    of that as much for its campaign as the budget allows."""
    counting: list[Callable[[_Asked], Awaitable[limits.Counted]]] = []
    if allowed.are_counted:
        counting.append(lambda least: limits.reserve_today(user_id, allowed, **least._asdict()))
    if key is not None and key.spend_cap_paise is not None:
        counting.append(lambda least: _count_for_key(key, least))
    if budget is not None:
        counting.append(lambda least: limits.count_for_budget(budget, **least._asdict()))
    counts: list[limits.Counted] = []
    for count in counting:
        try:
            counts.append(await count(asked))
        except (PaymentRequired, TooManyCalls):
            for other in counts:
                await other.undo()
            raise
        asked = asked._replace(amount_paise=counts[-1].amount_paise)
    return counts


async def _count_for_key(key: SpendingKey, asked: _Asked) -> limits.Counted:
    try:
        return await limits.reserve_today(key.id, key.limits, **asked._asdict())
    except SpendCapReached as refusal:
        refusal.extra["limited_by"] = "api_key"
        raise


def _days_of(
    counts: Iterable[limits.Counted],
    user_id: str,
    key: SpendingKey | None,
    budget: CampaignBudget | None,
) -> "_Days":
    """The days on which a call counts for caps: of its user, and of its key."""
    capped = {count.user_id: count.on for count in counts if count.is_capped}
    key_counted_on = None if key is None else capped.get(key.id)
    return _Days(capped.get(user_id), key_counted_on, budget is not None)


async def can_extend(call: BilledCall, *, seconds_more: int, seconds_max: int) -> bool:
    """Whether `seconds_more` could be reserved for a running call now; reserves nothing."""
    wanted = min(seconds_max, call["limit_seconds"] + seconds_more)
    more_paise = pricing.cost_paise(wanted, pricing.rate_of(call)) - int(call["held_paise"])
    return (await wallet.get_balance(call["user_id"])).available_paise >= more_paise


async def extend(
    call: BilledCall, *, seconds_more: int, seconds_max: int, companions: WithReservation
) -> Reservation:
    """Reserve `seconds_more` for a running call, or what the balance and the day's cap allow of it, with
    `companions`.

    Raises InsufficientBalance, BalanceHeld, SpendCapReached and BudgetReached when not even one more
    second can be reserved, HoldNotFound when the call is settled already, Unavailable.
    """
    rate = pricing.rate_of(call)
    wanted = min(seconds_max, call["limit_seconds"] + seconds_more)
    amount_paise = pricing.cost_paise(wanted, rate)
    least_paise = pricing.cost_paise(min(seconds_max, call["limit_seconds"] + 1), rate)
    counted_on = call.get("counted_on")
    if counted_on is not None:
        # What the wallet then refuses of it stays reserved of the cap until the call is settled.
        amount_paise = await limits.extend_reservation(
            call["user_id"],
            counted_on,
            call_id=call["_id"],
            amount_paise=amount_paise,
            amount_paise_min=least_paise,
        )
    key, key_counted_on = key_of(call), call.get("key_counted_on")
    if key is not None and key_counted_on is not None:
        amount_paise = await limits.extend_reservation_of_key(
            key,
            key_counted_on,
            call_id=call["_id"],
            amount_paise=amount_paise,
            amount_paise_min=least_paise,
        )
    campaign_id = call.get("campaign_id")
    is_in_budget = campaign_id is not None and call.get("is_in_budget", False)
    if campaign_id is not None and is_in_budget:
        amount_paise = await limits.extend_for_budget(
            campaign_id,
            call_id=call["_id"],
            amount_paise=amount_paise,
            amount_paise_min=least_paise,
        )
    days = _Days(counted_on, key_counted_on, is_in_budget)
    command = ledger.ExtendHold(
        user_id=call["user_id"],
        call_id=call["_id"],
        amount_paise=amount_paise,
        amount_paise_min=least_paise,
    )
    outcome = await wallet.post(
        command, lambda outcome: companions(_reservation(outcome, rate, seconds_max, days))
    )
    return _reservation(outcome, rate, seconds_max, days)


async def settle(call: BilledCall, *, duration_seconds: int, companions: WithCharge) -> Charge:
    """Charge a call that was answered for `duration_seconds` and release the rest of its hold.

    A call is charged once: settled or released before, the first result stands (`repeated`).
    Raises HoldNotFound when it was resolved without an entry, and Unavailable.
    """
    rate = pricing.rate_of(call)
    price_paise = pricing.cost_paise(duration_seconds, rate)
    command = ledger.Settle(
        user_id=call["user_id"],
        call_id=call["_id"],
        cost_paise=price_paise,
        description=f"Call to {_numbers_of(call)}, {pricing.explanation(duration_seconds, rate)}",
        campaign_id=call.get("campaign_id"),
    )
    outcome = await wallet.post(command, lambda outcome: companions(_charge(outcome, price_paise)))
    await record_price_of_day(call, price_paise)
    return _charge(outcome, price_paise)


def _numbers_of(call: BilledCall) -> str:
    """The number that was called, and that to which it was connected, where that was paid."""
    if call.get("connect_rate") is None:
        return call["to"]
    return f"{call['to']}, connected to {call.get('connect_to')}"


async def release(call: BilledCall, *, companions: WithCharge) -> Charge:
    """Release the hold of a call that costs nothing; harmless when repeated."""
    command = ledger.Release(user_id=call["user_id"], call_id=call["_id"])
    outcome = await wallet.post(command, lambda outcome: companions(_charge(outcome, 0)))
    await record_price_of_day(call, 0)
    return _charge(outcome, 0)


class KeyFields(TypedDict, total=False):
    """The API key in the record of a call or a campaign; older records have none."""

    api_key_id: str | None
    api_key_cap_paise: int | None


def rate_fields(rate: Rate) -> RatedCall:
    """The fields in which a call stores its rate, of both legs; `pricing.rate_of` reads them."""
    connected = rate.connect_rate
    return {
        **_leg_fields(rate),
        "connect_rate": None if connected is None else _leg_fields(connected),
    }


def _leg_fields(rate: Rate) -> RatedLeg:
    return {
        "rate_paise_per_minute": database.long(rate.rate_paise_per_minute),
        "pulse_seconds": rate.pulse_seconds,
        "first_pulse_seconds": rate.opening_seconds,
        "minimum_billable_seconds": rate.minimum_billable_seconds,
        "connection_fee_paise": database.long(rate.connection_fee_paise),
        "rate_source": rate.source,
        "rate_card_version": rate.card_version,
        "rate_prefix": rate.prefix,
    }


def key_fields(key: SpendingKey | None) -> KeyFields:
    """The fields in which a key is stored; `key_of` reads them."""
    if key is None:
        return {"api_key_id": None, "api_key_cap_paise": None}
    cap_paise = key.spend_cap_paise
    return {
        "api_key_id": key.id,
        "api_key_cap_paise": None if cap_paise is None else database.long(cap_paise),
    }


def key_of(stored: Mapping[str, Any]) -> SpendingKey | None:
    """The API key with which a call was placed or a campaign made; None when it was a person."""
    key_id, cap_paise = stored.get("api_key_id"), stored.get("api_key_cap_paise")
    return None if key_id is None else SpendingKey(key_id, cap_paise)


class _Days(NamedTuple):
    """The days on which a call counts for the cap of its user and of its API key, and whether it
    counts for the budget of its campaign."""

    counted_on: str | None
    key_counted_on: str | None
    is_in_budget: bool


def _reservation(outcome: Outcome, rate: Rate, seconds_max: int, days: _Days) -> Reservation:
    held_paise, free_paise = outcome.held_paise, outcome.wallet.available_paise
    return Reservation(
        held_paise,
        min(pricing.affordable_seconds(held_paise, rate), seconds_max),
        outcome.replayed,
        days.counted_on,
        min(pricing.affordable_seconds(held_paise + free_paise, rate), seconds_max),
        days.key_counted_on,
        days.is_in_budget,
    )


def _charge(outcome: Outcome, price_paise: int) -> Charge:
    return Charge(
        price_paise,
        outcome.charged_paise,
        outcome.due_paise,
        outcome.replayed,
        outcome.held_paise,
    )


# --- the limits of the day ----------------------------------------------------------------------


async def record_price_of_day(call: BilledCall, price_paise: int) -> None:
    """Replace what the day's cap had reserved for a call by its price, once.

    The charge is committed before: if this fails, the limits are stricter for the rest of that day,
    or until the end of the call is reported again; a budget is set right by `campaigns.budgets`.
    """
    days = [(call["user_id"], call.get("counted_on"))]
    if (key := key_of(call)) is not None:
        days.append((key.id, call.get("key_counted_on")))
    try:
        for name, on in days:
            if on is not None:
                await limits.settle_on_day(name, on, call_id=call["_id"], cost_paise=price_paise)
        campaign_id = call.get("campaign_id")
        if campaign_id is not None and call.get("is_in_budget", False):
            await limits.settle_for_budget(campaign_id, call_id=call["_id"], cost_paise=price_paise)
    except (Unavailable, AnyError) as problem:
        log.warning("call %s: not counted: %s", call["_id"], type(problem).__name__)


async def cancel_count_of_day(call: BilledCall) -> None:
    """Take a call that the network did not accept out of its user's calls of that day.

    If this fails, the limits are stricter for the rest of that day.
    """
    user_id, at = call["user_id"], call["created_at"]
    try:
        if (await limits.get_limits(user_id)).are_counted:
            await limits.cancel_on_day(user_id, call_id=call["_id"], at=at)
    except (Unavailable, AnyError) as problem:
        log.warning("call %s: still counted: %s", call["_id"], type(problem).__name__)
