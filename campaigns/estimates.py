"""Campaign estimates: what calling a list will cost, how much of it is affordable, and what to recharge."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Final, Literal, NotRequired, TypedDict

from billing import charging, pricing, rates
from billing.limits import CampaignBudget
from billing.pricing import Rate
from billing.rate_cards import DestinationNotRated
from billing.rates import Pricing
from calls import records as call_records
from core import config, money

# --- vocabulary ---------------------------------------------------------------------------------

DurationSource = Literal[
    "given",  # in the request
    "average",  # of the user's last calls that were answered
    "default",  # the user has not called yet
]

DURATION_SECONDS_DEFAULT: Final = 30
_CALLS_AVERAGED: Final = 50
# Groups beyond so many are counted in the last one.
_GROUPS_MAX: Final = 200


class RateGroup(TypedDict):
    """The numbers of a list that have the same rate: one of them, and how many they are."""

    number: str
    count: int


class EstimateFields(TypedDict):
    """What an estimate needs to know of a list, stored with its campaign when the list comes in."""

    rate_groups: NotRequired[list[RateGroup]]


@dataclasses.dataclass(frozen=True, slots=True)
class GroupEstimate:
    """The part of an estimate for the numbers that have the same rate."""

    prefix: str | None  # of the rate card; None: the rate does not depend on the number
    contacts: int
    rate_paise_per_minute: int  # of both legs, where there are two
    cost_paise: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What it will cost to call the contacts that are left, if everybody answers.

    `affordable_contacts` is how many of them the money pays that is available now (or is left of the
    budget), `recharge_paise` what is missing in the wallet for all of them, or for what the budget
    allows of them. `unrated_contacts` cannot be called at the rates of now, and cost nothing.
    """

    contacts: int
    duration_seconds: int
    duration_source: DurationSource
    cost_paise: int
    affordable_contacts: int
    recharge_paise: int
    unrated_contacts: int
    groups: list[GroupEstimate]


# --- the rates of a list ------------------------------------------------------------------------


class RateGroups:
    """The numbers of a list by their rate, counted while it comes in."""

    def __init__(self, rates_of_user: Pricing) -> None:
        self._pricing = rates_of_user
        self._groups: dict[str | None, RateGroup] = {}

    def find_unrated(self, numbers: Iterable[str]) -> set[str]:
        """Those of these numbers (E.164) that have no price, and so cannot be called."""
        if self._pricing.is_same_for_all:
            return set()
        return {number for number in numbers if self._prefix_of(number) is _UNRATED}

    def add(self, numbers: Sequence[str]) -> None:
        """Count numbers that have a price."""
        if self._pricing.is_same_for_all and numbers:
            self._add(None, numbers[0], len(numbers))
            return
        for number in numbers:
            self._add(self._prefix_of(number), number, 1)

    def fields(self) -> EstimateFields:
        """What is stored with the campaign."""
        return {"rate_groups": list(self._groups.values())}

    def _add(self, prefix: str | None, number: str, count: int) -> None:
        if prefix not in self._groups and len(self._groups) >= _GROUPS_MAX:
            prefix = next(reversed(self._groups))
        group = self._groups.setdefault(prefix, {"number": number, "count": 0})
        group["count"] += count

    def _prefix_of(self, number: str) -> str | None:
        try:
            return self._pricing.rate_of(number).prefix
        except DestinationNotRated:
            return _UNRATED


_UNRATED: Final = "unrated"


# --- verbs --------------------------------------------------------------------------------------


async def estimate(
    user_id: str,
    groups: Sequence[RateGroup],
    *,
    contacts: int,
    connect_to: str | None = None,
    duration_seconds: int | None = None,
    duration_seconds_max: int | None = None,
    budget_left_paise: int | None = None,
) -> Estimate:
    """What calling `contacts` of a list costs that has these groups, at the rates of now.

    The cost of a call is that of both its legs. Without `duration_seconds` the user's average counts.
    It reads no contact: what it costs does not depend on the length of the list.
    """
    user_pricing = await rates.get_pricing(user_id)
    source: DurationSource = "given"
    if duration_seconds is None:
        duration_seconds, source = await _usual_duration(user_id)
    if duration_seconds_max is not None:
        duration_seconds = min(duration_seconds, duration_seconds_max)
    second_leg = None if connect_to is None else user_pricing.rate_of(connect_to)
    listed = sum(group["count"] for group in groups)
    found: list[GroupEstimate] = []
    left = contacts
    for position, group in enumerate(groups):
        # Nobody knows which of them are left: the same share of each group.
        share = money.div_half_up(group["count"] * contacts, max(1, listed))
        count = left if position == len(groups) - 1 else min(left, share)
        left -= count
        found.append(_group_of(user_pricing, group["number"], count, second_leg, duration_seconds))
    rated = [group for group in found if group.rate_paise_per_minute]
    cost_paise = sum(group.cost_paise for group in found)
    payable_paise = cost_paise if budget_left_paise is None else min(cost_paise, budget_left_paise)
    available_paise = (await charging.get_outlook(user_id)).balance.available_paise
    spendable_paise = min(available_paise, payable_paise)
    return Estimate(
        contacts=contacts,
        duration_seconds=duration_seconds,
        duration_source=source,
        cost_paise=cost_paise,
        affordable_contacts=_affordable(rated, spendable_paise),
        recharge_paise=_recharge_paise(payable_paise, available_paise),
        unrated_contacts=sum(group.contacts for group in found if not group.rate_paise_per_minute),
        groups=found,
    )


def _group_of(
    user_pricing: Pricing, number: str, count: int, second_leg: Rate | None, duration_seconds: int
) -> GroupEstimate:
    try:
        legs = [user_pricing.rate_of(number)] + ([] if second_leg is None else [second_leg])
    except DestinationNotRated:
        return GroupEstimate(None, count, 0, 0)
    cost_paise = sum(pricing.cost_paise(duration_seconds, leg) for leg in legs)
    rate_paise = sum(leg.rate_paise_per_minute for leg in legs)
    return GroupEstimate(legs[0].prefix, count, rate_paise, count * cost_paise)


async def _usual_duration(user_id: str) -> tuple[int, DurationSource]:
    """The average of the user's last calls that were answered."""
    last, _ = await call_records.list_calls(
        user_id, status="completed", limit=_CALLS_AVERAGED, cursor=None
    )
    seconds = [call["duration_seconds"] for call in last if call["duration_seconds"]]
    if not seconds:
        return DURATION_SECONDS_DEFAULT, "default"
    return max(1, money.div_half_up(sum(seconds), len(seconds))), "average"


def _affordable(groups: Sequence[GroupEstimate], spendable_paise: int) -> int:
    """How many contacts this money pays, those of each group in the same share."""
    contacts = sum(group.contacts for group in groups)
    cost_paise = sum(group.cost_paise for group in groups)
    if cost_paise <= spendable_paise:
        return contacts
    return min(contacts, money.floor_div(contacts * spendable_paise, cost_paise))


def _recharge_paise(payable_paise: int, available_paise: int) -> int:
    """What is missing, in whole rupees; at least what a call has to have available."""
    if payable_paise == 0:
        return 0
    least_paise = max(payable_paise, config.settings().minimum_balance_paise)
    return 100 * money.ceil_div(max(0, least_paise - available_paise), 100)


def budget_left_paise(budget: CampaignBudget | None, used_paise: int) -> int | None:
    """What is left of a budget; None where there is none."""
    return None if budget is None else max(0, budget.budget_paise - used_paise)
