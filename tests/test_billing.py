"""What a call costs, what money buys, and what a call reserves."""

import dataclasses
import random
from collections.abc import AsyncIterator
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor
from typing import Any, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import wallet
from billing import charging, pricing
from billing.charging import BilledCall
from billing.pricing import Rate
from core import config, database
from core.errors import (
    BalanceHeld,
    InsufficientBalance,
    PaymentRequired,
    TooManyCalls,
    WalletFrozen,
)
from ledger import Freeze
from tests.conftest import Service, running
from tests.conftest import test_settings as settings_of_tests


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for all tests of this file; each test has users of its own."""
    async with running(settings_of_tests(mongodb_uri)) as started:
        yield started


TEN_RUPEES = Rate(rate_paise_per_minute=1000)


rates_of_all_kinds = st.builds(
    Rate,
    rate_paise_per_minute=st.integers(1, 100_000),
    pulse_seconds=st.one_of(st.sampled_from([1, 6, 30, 60]), st.integers(1, 3_600)),
    first_pulse_seconds=st.one_of(
        st.none(), st.sampled_from([1, 6, 30, 60]), st.integers(1, 3_600)
    ),
    minimum_billable_seconds=st.one_of(st.just(0), st.integers(0, 3_600)),
    connection_fee_paise=st.one_of(st.just(0), st.integers(0, 10_000)),
)


def oracle(duration_seconds: int, rate: Rate) -> int:
    """The price by exact fractions, written independently of the meter."""
    if duration_seconds == 0:
        return 0
    first = rate.first_pulse_seconds or rate.pulse_seconds
    talked = max(duration_seconds, rate.minimum_billable_seconds)
    billed = first
    if talked > first:
        billed += ceil(Fraction(talked - first, rate.pulse_seconds)) * rate.pulse_seconds
    exact = Fraction(billed, 60) * rate.rate_paise_per_minute
    return rate.connection_fee_paise + floor(exact + Fraction(1, 2))


# --- the meter ----------------------------------------------------------------------------------
@given(st.integers(0, 86_400), rates_of_all_kinds)
@example(30, TEN_RUPEES)
def test_the_cost_is_the_exact_price_rounded_half_up_once(duration: int, rate: Rate) -> None:
    assert pricing.cost_paise(duration, rate) == oracle(duration, rate)


@given(st.integers(0, 10_000_000), rates_of_all_kinds)
@example(999, TEN_RUPEES)
@example(1000, TEN_RUPEES)
def test_the_seconds_that_money_buys_are_the_most_that_it_can_pay(amount: int, rate: Rate) -> None:
    seconds = pricing.affordable_seconds(amount, rate)
    assert 0 <= seconds <= pricing.SECONDS_MAX
    assert oracle(seconds, rate) <= amount
    if pricing.billable_seconds(seconds + 1, rate) <= pricing.SECONDS_MAX:
        assert oracle(seconds + 1, rate) > amount


@given(st.integers(0, 86_400), rates_of_all_kinds)
def test_the_price_of_a_duration_buys_at_least_that_duration(duration: int, rate: Rate) -> None:
    price = pricing.cost_paise(duration, rate)
    if pricing.billable_seconds(duration, rate) <= pricing.SECONDS_MAX:
        assert pricing.affordable_seconds(price, rate) >= duration


@given(st.integers(0, 86_399), rates_of_all_kinds)
def test_a_longer_call_never_costs_less(duration: int, rate: Rate) -> None:
    assert pricing.cost_paise(duration, rate) <= pricing.cost_paise(duration + 1, rate)


@pytest.mark.parametrize(
    ("duration", "by_second", "by_minute", "thirty_then_six"),
    [
        (0, 0, 0, 0),
        (1, 2, 120, 60),
        (30, 60, 120, 60),
        (31, 62, 120, 72),
        (60, 120, 120, 120),
        (61, 122, 240, 132),
        (121, 242, 360, 252),
    ],
)
def test_the_rate_cards_of_the_field(
    duration: int, by_second: int, by_minute: int, thirty_then_six: int
) -> None:
    assert pricing.cost_paise(duration, one_twenty()) == by_second
    assert pricing.cost_paise(duration, one_twenty(pulse_seconds=60)) == by_minute
    for thirty in ({"first_pulse_seconds": 30}, {"minimum_billable_seconds": 30}):
        blocks = one_twenty(pulse_seconds=6, **thirty)
        assert pricing.cost_paise(duration, blocks) == thirty_then_six


def one_twenty(**terms: Any) -> Rate:
    """Rs 1.20 a minute."""
    return dataclasses.replace(Rate(rate_paise_per_minute=120), **terms)


def test_two_hundred_tariffs_agree_with_exact_fractions_for_every_duration_up_to_two_hours() -> (
    None
):
    chance = random.Random(2026)
    for _ in range(200):
        first, pulse = (chance.choice([1, 6, 15, 30, 60, chance.randint(1, 300)]) for _ in "ab")
        rate = Rate(
            rate_paise_per_minute=chance.randint(1, 10_000),
            first_pulse_seconds=first,
            pulse_seconds=pulse,
            minimum_billable_seconds=chance.choice([0, 0, 10, 30, chance.randint(1, 300)]),
            connection_fee_paise=chance.choice([0, 50, chance.randint(1, 1_000)]),
        )
        for duration in range(7_201):
            got = pricing.cost_paise(duration, rate)
            assert got == oracle(duration, rate), (duration, rate)


@given(st.integers(1, 14_400), st.integers(0, 1_000_000), rates_of_all_kinds)
def test_a_call_that_talks_until_its_limit_never_costs_more_than_its_hold(
    seconds_max: int, available: int, rate: Rate
) -> None:
    before = config._current
    config.use(CHEAP)
    try:
        least = pricing.hold_paise_min(rate)
        held = max(least, min(available, pricing.hold_paise(rate, seconds_max)))
        limit = min(pricing.affordable_seconds(held, rate), seconds_max)
        assert limit >= 1
        assert pricing.cost_paise(limit, rate) <= held
        # And so after it was extended by a second or a slice, as `extend` does it.
        wanted = min(seconds_max, limit + 300)
        more = max(held, pricing.cost_paise(wanted, rate))
        longer = min(pricing.affordable_seconds(more, rate), seconds_max)
        assert longer >= wanted
        assert pricing.cost_paise(longer, rate) <= more
    finally:
        config.use(before)


CHEAP = settings_of_tests("", minimum_balance=Decimal("0.01"))


def test_thirty_seconds_at_ten_rupees_are_five_rupees() -> None:
    assert pricing.cost_paise(30, TEN_RUPEES) == 500
    assert pricing.explanation(30, TEN_RUPEES) == "30 s at Rs 10.00 a minute: Rs 5.00"


def test_the_seconds_of_one_rupee_twenty_a_minute() -> None:
    assert pricing.affordable_seconds(1000, one_twenty()) == 500
    assert pricing.affordable_seconds(1000, one_twenty(pulse_seconds=60)) == 480
    blocks = one_twenty(pulse_seconds=6, first_pulse_seconds=30)
    assert pricing.affordable_seconds(1000, blocks) == 498
    assert pricing.affordable_seconds(50, blocks) == 0
    assert pricing.affordable_seconds(60, blocks) == 30


def test_a_rate_of_zero_buys_a_day() -> None:
    assert pricing.affordable_seconds(0, Rate(rate_paise_per_minute=0)) == pricing.SECONDS_MAX


TEN = {"rate_paise_per_minute": 1000}


@pytest.mark.parametrize(
    ("duration", "terms", "sentence"),
    [
        (125, TEN | {"pulse_seconds": 60}, "125 s = 3 pulses of 60 s × Rs 10.00 = Rs 30.00"),
        (5, TEN | {"pulse_seconds": 60}, "5 s = 1 pulse of 60 s × Rs 10.00 = Rs 10.00"),
        (
            61,
            {"pulse_seconds": 60, "connection_fee_paise": 50},
            "61 s = 2 pulses of 60 s × Rs 1.20 + a connection fee of Rs 0.50 = Rs 2.90",
        ),
        (
            31,
            {"pulse_seconds": 6, "first_pulse_seconds": 30},
            "31 s = 1 pulse of 30 s + 1 pulse of 6 s = 36 s at Rs 1.20 a minute = Rs 0.72",
        ),
        (
            12,
            {"rate_paise_per_minute": 125, "pulse_seconds": 6},
            "12 s = 2 pulses of 6 s = 12 s at Rs 1.25 a minute = Rs 0.25",
        ),
        (
            5,
            {"pulse_seconds": 6, "minimum_billable_seconds": 20},
            "5 s, at least 20 s, = 4 pulses of 6 s × Rs 0.12 = Rs 0.48",
        ),
        (
            5,
            {"minimum_billable_seconds": 20, "connection_fee_paise": 50},
            "5 s, billed as 20 s, at Rs 1.20 a minute and a connection fee of Rs 0.50: Rs 0.90",
        ),
        (0, {}, "not answered: Rs 0.00"),
    ],
)
def test_the_explanation_is_a_sum_that_a_person_can_follow(
    duration: int, terms: dict[str, int], sentence: str
) -> None:
    assert pricing.explanation(duration, one_twenty(**terms)) == sentence


# --- the gate -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("slice_minutes", "seconds_max", "rate", "hold"),
    [
        (1, 14_400, TEN_RUPEES, 1000),
        (5, 14_400, TEN_RUPEES, 5000),
        (5, 120, TEN_RUPEES, 2000),
        (5, 6, TEN_RUPEES, 1000),  # never below the minimum balance
        (1, 14_400, Rate(rate_paise_per_minute=50), 1000),
        (1, 14_400, Rate(rate_paise_per_minute=500, connection_fee_paise=2000), 2500),
    ],
)
def test_a_call_reserves_a_slice_and_never_less_than_the_minimum(
    slice_minutes: int, seconds_max: int, rate: Rate, hold: int
) -> None:
    before = config._current
    config.use(settings_of_tests("", call_slice_minutes=slice_minutes))
    try:
        assert pricing.hold_paise(rate, seconds_max) == hold
        assert pricing.hold_paise_min(rate) <= hold
    finally:
        config.use(before)


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


async def test_a_hold_takes_what_is_there_between_the_minimum_and_the_slice(
    service: Service,
) -> None:
    person = await service.signup()
    await service.fund(person, 73)
    first = await reserve(person.id, database.new_id("call"))
    second = await reserve(person.id, database.new_id("call"))
    assert (first.held_paise, first.limit_seconds) == (5000, 300)
    assert (second.held_paise, second.limit_seconds) == (2300, 138)


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
