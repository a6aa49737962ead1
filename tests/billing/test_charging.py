"""What a call costs, what money buys, and what a call reserves."""

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import cast

import pytest

import wallet
from billing import charging
from billing.charging import BilledCall
from core import config, database
from core.errors import (
    BalanceHeld,
    InsufficientBalance,
    PaymentRequired,
    TooManyCalls,
    WalletFrozen,
)
from ledger import Freeze
from tests.billing.test_pricing import TEN_RUPEES
from tests.support.service import Service, running
from tests.support.service import test_settings as settings_of_tests

RATE_FIELDS = (
    "rate_paise_per_minute",
    "pulse_seconds",
    "first_pulse_seconds",
    "minimum_billable_seconds",
    "connection_fee_paise",
)


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for all tests of this file; each test has users of its own."""
    async with running(settings_of_tests(mongodb_uri)) as started:
        yield started


async def test_the_first_pulse_is_required_where_it_is_more_than_the_minimum(
    service: Service,
) -> None:
    person = await service.signup()
    await service.fund(person, 29)
    minutes = {"pulse_seconds": 60, "default_call_rate": Decimal(30)}
    config.use(service.settings.model_copy(update=minutes))
    try:
        with pytest.raises(InsufficientBalance) as refusal:
            await charging.require_can_start(person.id)
        assert refusal.value.required_paise == 3000
        assert refusal.value.available_paise == 2900
        await service.fund(person, 1)
        await charging.require_can_start(person.id)
    finally:
        config.use(service.settings)


async def reserve(user_id: str, call_id: str) -> charging.Reservation:
    return await charging.reserve(
        user_id, call_id=call_id, rate=TEN_RUPEES, seconds_max=14_400, companions=lambda _: []
    )


async def test_exactly_the_minimum_passes_and_a_paisa_less_does_not(service: Service) -> None:
    person = await service.signup()
    await service.fund(person, 9)
    with pytest.raises(InsufficientBalance):
        await charging.require_can_start(person.id)
    await service.fund(person, 1)
    await charging.require_can_start(person.id)
    reservation = await reserve(person.id, database.new_id("call"))
    assert (reservation.held_paise, reservation.limit_seconds) == (1000, 60)
    with pytest.raises(BalanceHeld) as refusal:
        await charging.require_can_start(person.id)
    assert refusal.value.headers["Retry-After"]
    assert refusal.value.body()["shortfall"] == 10.0


async def test_who_asks_first_is_refused_in_the_words_of_who_reserves(service: Service) -> None:
    person = await service.signup()

    async def both_refuse(kind: type[PaymentRequired]) -> None:
        with pytest.raises(kind) as asked:
            await charging.require_can_start(person.id)
        with pytest.raises(kind) as reserved:
            await reserve(person.id, database.new_id("call"))
        assert asked.value.body() == reserved.value.body()

    await both_refuse(InsufficientBalance)
    await service.fund(person, 10)
    await reserve(person.id, database.new_id("call"))
    await both_refuse(BalanceHeld)
    await wallet.post(Freeze(user_id=person.id, frozen=True))
    await both_refuse(WalletFrozen)


async def test_the_outlook_of_a_user_says_what_they_can_pay_for(service: Service) -> None:
    person = await service.signup()
    await service.fund(person, 73)
    outlook = await charging.get_outlook(person.id, "+919876543210")
    assert outlook.refusal is None
    assert (outlook.required_paise, outlook.affordable_calls) == (1000, 7)
    # A slice of five minutes is Rs 50, a whole call of one minute is Rs 10.
    assert outlook.capacity(14_400) == 1
    assert outlook.capacity(60, whole=True) == 7
    assert not outlook.calls_are_used_up
    await reserve(person.id, database.new_id("call"))
    later = await charging.get_outlook(person.id, "+919876543210")
    assert (later.affordable_calls, later.capacity(14_400)) == (2, 1)
    assert later.limits.concurrent_calls == service.settings.max_concurrent_calls


async def test_a_user_may_have_one_call_at_once_and_no_more_than_the_account_may(
    service: Service,
) -> None:
    person = await service.signup()
    await service.fund(person, 20)
    poor = await charging.get_outlook(person.id, "+919876543210")
    assert poor.capacity(14_400) == 1  # less than a slice, enough for a call
    await service.fund(person, 980)
    config.use(service.settings.model_copy(update={"max_concurrent_calls": 3}))
    try:
        rich = await charging.get_outlook(person.id, "+919876543210")
    finally:
        config.use(service.settings)
    assert rich.capacity(14_400) == 3
    assert rich.affordable_calls == 100


async def test_a_hold_takes_what_is_there_between_the_minimum_and_the_slice(
    service: Service,
) -> None:
    person = await service.signup()
    await service.fund(person, 73)
    first = await reserve(person.id, database.new_id("call"))
    second = await reserve(person.id, database.new_id("call"))
    assert (first.held_paise, first.limit_seconds) == (5000, 300)
    assert (second.held_paise, second.limit_seconds) == (2300, 138)


async def test_a_call_is_extended_by_a_second_at_least_or_not_at_all(service: Service) -> None:
    person = await service.signup()
    await service.fund(person, 10)
    call_id = database.new_id("call")
    reserved = await reserve(person.id, call_id)
    call = cast(
        BilledCall,
        {
            "_id": call_id,
            "user_id": person.id,
            "limit_seconds": reserved.limit_seconds,
            "held_paise": reserved.held_paise,
            **{name: getattr(TEN_RUPEES, name) for name in RATE_FIELDS},
        },
    )

    async def extend(seconds_max: int = 14_400) -> charging.Reservation:
        return await charging.extend(
            call, seconds_more=60, seconds_max=seconds_max, companions=lambda _: []
        )

    with pytest.raises(InsufficientBalance) as refusal:
        await extend()
    assert refusal.value.required_paise == 17  # of one second, 16 2/3
    await service.fund(person, 1)
    longer = await extend()
    assert (longer.held_paise, longer.limit_seconds) == (1100, 66)
    assert (
        await extend(66)
    ).limit_seconds == 66  # the longest that a call may be: nothing more is needed


async def test_the_same_call_reserves_once(service: Service) -> None:
    person = await service.signup()
    await service.fund(person, 100)
    call_id = database.new_id("call")
    first, again = await reserve(person.id, call_id), await reserve(person.id, call_id)
    assert not first.repeated
    assert again.repeated
    assert (await service.balance(person))["held"] == 50.0


async def test_a_release_charges_nothing_and_frees_the_hold(service: Service) -> None:
    person = await service.signup()
    await service.fund(person, 100)
    call_id = database.new_id("call")
    await reserve(person.id, call_id)
    call = cast(BilledCall, {"_id": call_id, "user_id": person.id})
    charge = await charging.release(call, companions=lambda _: [])
    assert (charge.cost_paise, charge.charged_paise, charge.due_paise) == (0, 0, 0)
    assert not charge.repeated
    balance = await service.balance(person)
    assert (balance["balance"], balance["held"]) == (100.0, 0.0)


async def test_no_more_calls_at_once_than_the_account_may_have(service: Service) -> None:
    person = await service.signup()
    await service.fund(person, 1_000)
    config.use(service.settings.model_copy(update={"max_concurrent_calls": 2}))
    try:
        for _ in range(2):
            await reserve(person.id, database.new_id("call"))
        with pytest.raises(TooManyCalls) as refusal:
            await reserve(person.id, database.new_id("call"))
        assert refusal.value.headers["Retry-After"]
    finally:
        config.use(service.settings)
