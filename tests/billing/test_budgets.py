"""The budget of a campaign: what its calls cost and have reserved together is never more."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing import charging, limits
from billing.charging import BilledCall, Reservation
from billing.limits import CampaignBudget, Day
from billing.pricing import Rate
from core import clock, database
from core.database import db
from core.errors import BalanceHeld, BudgetReached, InvalidRequest
from tests.support.service import Person, Service, running
from tests.support.service import test_settings as settings_of_tests

RATE = Rate(rate_paise_per_minute=1_000)


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for all tests of this file; a call reserves Rs 10."""
    async with running(settings_of_tests(mongodb_uri, call_slice_minutes=1)) as started:
        yield started


async def funded(service: Service, rupees: int = 1_000) -> Person:
    person = await service.signup()
    await service.fund(person, rupees)
    return person


async def reserve(person: Person, budget: CampaignBudget) -> BilledCall:
    """A call of this campaign as it is stored, as far as charging reads it."""
    call_id = database.new_id("call")
    reservation: Reservation = await charging.reserve(
        person.id,
        call_id=call_id,
        rate=RATE,
        seconds_max=3_600,
        budget=budget,
        companions=lambda _: [],
    )
    call: dict[str, Any] = {
        "_id": call_id,
        "user_id": person.id,
        "to": "+919876543210",
        "campaign_id": budget.campaign_id,
        "created_at": clock.now(),
        "held_paise": reservation.held_paise,
        "limit_seconds": reservation.limit_seconds,
        "is_in_budget": reservation.is_in_budget,
        "rate_paise_per_minute": RATE.rate_paise_per_minute,
        "pulse_seconds": 1,
        "minimum_billable_seconds": 0,
        "connection_fee_paise": 0,
    }
    return cast(BilledCall, call)


async def used(budget: CampaignBudget) -> Day:
    found = await limits.find_budget_use(budget.campaign_id)
    assert found is not None
    return found


async def test_calls_at_once_cannot_pass_the_budget_of_their_campaign(service: Service) -> None:
    person = await funded(service)
    budget = CampaignBudget(database.new_id("cmp"), 5_500)
    answers = await asyncio.gather(
        *(reserve(person, budget) for _ in range(20)), return_exceptions=True
    )
    placed = [answer for answer in answers if isinstance(answer, dict)]
    refused = [answer for answer in answers if isinstance(answer, BudgetReached)]
    assert (len(placed), len(refused)) == (5, 15)
    assert all(refusal.is_held for refusal in refused)
    assert (await service.balance(person))["held"] == 50.0
    for call in placed:  # what they cost takes the place of what they could
        await charging.settle(call, duration_seconds=30, companions=lambda _: [])
    assert (await used(budget)).spent_paise == 2_500
    assert [(await reserve(person, budget))["held_paise"] for _ in range(3)] == [1_000] * 3
    with pytest.raises(BudgetReached):
        await reserve(person, budget)


async def test_a_running_call_is_not_extended_past_the_budget(service: Service) -> None:
    person = await funded(service)
    budget = CampaignBudget(database.new_id("cmp"), 1_500)
    call = await reserve(person, budget)
    extended = await charging.extend(
        call, seconds_more=60, seconds_max=3_600, companions=lambda _: []
    )
    assert (extended.held_paise, extended.limit_seconds) == (1_500, 90)
    call |= {"held_paise": 1_500, "limit_seconds": 90}
    with pytest.raises(BudgetReached):
        await charging.extend(call, seconds_more=60, seconds_max=3_600, companions=lambda _: [])


async def test_a_refusal_of_the_wallet_leaves_nothing_in_the_budget(service: Service) -> None:
    person = await funded(service, rupees=10)
    budget = CampaignBudget(database.new_id("cmp"), 100_000)
    call = await reserve(person, budget)
    with pytest.raises(BalanceHeld):
        await reserve(person, CampaignBudget(budget.campaign_id, 100_000))
    assert (await used(budget)).held == {call["_id"]: 1_000}
    await charging.release(call, companions=lambda _: [])
    assert (await used(budget)).held_paise == 0


async def test_the_budget_that_was_set_last_holds_for_whoever_remembers_another(
    service: Service,
) -> None:
    person = await funded(service)
    budget = CampaignBudget(database.new_id("cmp"), 100_000)
    await reserve(person, budget)
    with pytest.raises(InvalidRequest):  # Rs 10 are reserved
        await limits.change_budget(CampaignBudget(budget.campaign_id, 999))
    await limits.change_budget(CampaignBudget(budget.campaign_id, 1_000))
    with pytest.raises(BudgetReached):
        await reserve(person, budget)
    await limits.change_budget(CampaignBudget(budget.campaign_id, 2_000))
    await reserve(person, budget)
    found = await db.usage.find_one({"user_id": budget.campaign_id})
    assert found is not None
    assert found["expires_at"] is None


async def test_what_was_spent_before_there_was_a_budget_counts(service: Service) -> None:
    person = await funded(service)
    budget = CampaignBudget(database.new_id("cmp"), 2_000)
    await limits.change_budget(budget, spent_before_paise=1_500)
    with pytest.raises(BudgetReached) as refused:
        await reserve(person, budget)
    assert not refused.value.is_held
    await limits.delete_budget(budget.campaign_id)
    assert await limits.find_budget_use(budget.campaign_id) is None


@given(
    st.integers(0, 5_000),
    st.lists(
        st.tuples(st.sampled_from("abcdef"), st.integers(1, 1_500), st.booleans()), max_size=30
    ),
)
def test_no_order_of_calls_reserves_more_than_the_budget(
    budget_paise: int, steps: list[tuple[str, int, bool]]
) -> None:
    day = Day(budget_paise=budget_paise)
    for call_id, paise, ends in steps:
        if ends:
            limits.settle(day, call_id=call_id, cost_paise=min(paise, day.held.get(call_id, 0)))
            continue
        before = dict(day.held)
        try:
            limits.reserve_of_budget(
                day, call_id=call_id, amount_paise=paise, amount_paise_min=paise // 2
            )
        except BudgetReached:
            assert day.held == before
        assert day.spent_paise + day.held_paise <= budget_paise
