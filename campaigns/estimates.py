"""Campaign estimates: what calling a list will cost, how much of it is affordable, and what to recharge."""

import asyncio
import dataclasses
from collections.abc import Iterable, Sequence
from typing import Final, Literal

from billing import charging, pricing, rates
from billing.pricing import Rate
from billing.rate_cards import DestinationNotRated
from billing.rates import Pricing
from campaigns import statistics
from campaigns.options import EstimateFields, RateGroup
from core import config, money

# --- vocabulary ---------------------------------------------------------------------------------

DurationSource = Literal[
    "given",  # in the request
    "average",  # of the answered calls of the user's campaigns
    "default",  # the user has not called yet
]

DURATION_SECONDS_DEFAULT: Final = 30
# Groups beyond so many are counted in the last one.
_GROUPS_MAX: Final = 200


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


@dataclasses.dataclass(frozen=True, slots=True)
class Basis:
    """What the estimates of one user depend on, read once for any number of campaigns."""

    pricing: Pricing
    available_paise: int
    average_seconds: int | None  # of the answered calls of the user's campaigns


async def get_basis(user_id: str) -> Basis:
    """The basis of this user's estimates now. Raises Unavailable."""
    user_pricing, available_paise, so_far = await asyncio.gather(
        rates.get_pricing(user_id),
        charging.get_available_paise(user_id),
        statistics.find_statistics(user_id),
    )
    answered = 0 if so_far is None else so_far.get("answered", 0)
    average_seconds = None
    if so_far is not None and answered:
        average_seconds = max(1, money.div_half_up(so_far.get("talk_seconds", 0), answered))
    return Basis(user_pricing, available_paise, average_seconds)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is left of a campaign, as far as an estimate needs to know it."""

    groups: Sequence[RateGroup]
    contacts: int
    connect_to: str | None = None
    duration_seconds: int | None = None  # that its owner expects
    duration_seconds_max: int | None = None
    budget_left_paise: int | None = None


def estimate(basis: Basis, work: Work) -> Estimate:
    """What this work costs at the rates of now; the cost of a call is that of both its legs.

    It reads no contact: what it takes does not depend on the length of the list.
    """
    duration_seconds, source = _duration(basis, work)
    listed = sum(group["count"] for group in work.groups)
    found: list[GroupEstimate] = []
    left = work.contacts
    for position, group in enumerate(work.groups):
        # Nobody knows which of them are left: the same share of each group.
        share = money.div_half_up(group["count"] * work.contacts, max(1, listed))
        count = left if position == len(work.groups) - 1 else min(left, share)
        left -= count
        rate = _rate_of(basis.pricing, group["number"], work.connect_to)
        found.append(_group_of(rate, count, duration_seconds))
    cost_paise = sum(group.cost_paise for group in found)
    payable_paise = cost_paise
    if work.budget_left_paise is not None:
        payable_paise = min(cost_paise, work.budget_left_paise)
    rated = [group for group in found if group.rate_paise_per_minute]
    return Estimate(
        contacts=work.contacts,
        duration_seconds=duration_seconds,
        duration_source=source,
        cost_paise=cost_paise,
        affordable_contacts=_affordable(rated, min(basis.available_paise, payable_paise)),
        recharge_paise=_recharge_paise(payable_paise, basis.available_paise),
        unrated_contacts=sum(group.contacts for group in found if not group.rate_paise_per_minute),
        groups=found,
    )


def _duration(basis: Basis, work: Work) -> tuple[int, DurationSource]:
    source: DurationSource
    if work.duration_seconds is not None:
        seconds, source = work.duration_seconds, "given"
    elif basis.average_seconds is not None:
        seconds, source = basis.average_seconds, "average"
    else:
        seconds, source = DURATION_SECONDS_DEFAULT, "default"
    return min(seconds, work.duration_seconds_max or seconds), source


def _group_of(rate: Rate | None, count: int, duration_seconds: int) -> GroupEstimate:
    """The estimate for so many numbers with this rate; None: they cannot be called."""
    if rate is None:
        return GroupEstimate(None, count, 0, 0)
    second = rate.connect_rate
    return GroupEstimate(
        prefix=rate.prefix,
        contacts=count,
        rate_paise_per_minute=rate.rate_paise_per_minute
        + (0 if second is None else second.rate_paise_per_minute),
        cost_paise=count * pricing.cost_paise(duration_seconds, rate),
    )


def _rate_of(user_pricing: Pricing, number: str, connect_to: str | None) -> Rate | None:
    try:
        return user_pricing.rate_of(number, connect_to)
    except DestinationNotRated:
        return None


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
