"""What a call costs, what money buys, and what a call reserves."""

import dataclasses
import functools
import random
from decimal import Decimal
from fractions import Fraction
from math import floor
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from billing import pricing
from billing.pricing import Rate
from core import config
from tests.support.service import test_settings as settings_of_tests

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
    """The price in exact numbers, written independently of the meter."""
    if duration_seconds == 0:
        return 0
    first = rate.first_pulse_seconds or rate.pulse_seconds
    talked = max(duration_seconds, rate.minimum_billable_seconds)
    billed = first
    if talked > first:
        billed += -((first - talked) // rate.pulse_seconds) * rate.pulse_seconds
    return rate.connection_fee_paise + rounded_half_up(billed, rate.rate_paise_per_minute)


@functools.lru_cache(maxsize=64)
def rounded_half_up(seconds: int, paise_per_minute: int) -> int:
    return floor(Fraction(seconds, 60) * paise_per_minute + Fraction(1, 2))


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


# --- two legs -----------------------------------------------------------------------------------


def connected(to: Rate, connect_to: Rate) -> Rate:
    return dataclasses.replace(to, connect_rate=connect_to)


def oracle_of_legs(duration: int, *legs: Rate) -> int:
    """Each leg in its own pulses, the sum rounded once."""
    if duration == 0:
        return 0
    exact = Fraction(0)
    for leg in legs:
        first, minimum = leg.opening_seconds, leg.minimum_billable_seconds
        pulses_after = max(0, -((first - max(duration, minimum)) // leg.pulse_seconds))
        seconds = first + pulses_after * leg.pulse_seconds
        exact += Fraction(seconds * leg.rate_paise_per_minute, 60) + leg.connection_fee_paise
    return floor(exact + Fraction(1, 2))


@given(st.integers(0, 86_400), rates_of_all_kinds, rates_of_all_kinds)
def test_two_legs_cost_the_sum_of_both_rates_rounded_once(
    duration: int, to: Rate, connect_to: Rate
) -> None:
    cost = pricing.cost_paise(duration, connected(to, connect_to))
    assert cost == oracle_of_legs(duration, to, connect_to)
    apart = pricing.cost_paise(duration, to) + pricing.cost_paise(duration, connect_to)
    assert abs(cost - apart) <= 1


@given(st.integers(0, 10_000_000), rates_of_all_kinds, rates_of_all_kinds)
@example(999, TEN_RUPEES, TEN_RUPEES)
def test_the_seconds_that_money_buys_of_two_legs_are_the_most_that_it_can_pay(
    amount: int, to: Rate, connect_to: Rate
) -> None:
    seconds = pricing.affordable_seconds(amount, connected(to, connect_to))
    assert 0 <= seconds <= pricing.SECONDS_MAX
    assert oracle_of_legs(seconds, to, connect_to) <= amount
    if seconds < pricing.SECONDS_MAX:
        assert oracle_of_legs(seconds + 1, to, connect_to) > amount


@settings(max_examples=50)
@given(st.integers(0, 86_400), st.integers(1, 86_400), rates_of_all_kinds, rates_of_all_kinds)
def test_what_two_legs_reserve_pays_for_every_call_within_its_limit(
    talked: int, seconds_max: int, to: Rate, connect_to: Rate
) -> None:
    rate, before = connected(to, connect_to), config._current
    config.use(CHEAP)
    try:
        for whole in (True, False):
            held = pricing.hold_paise(rate, seconds_max, whole=whole)
            limit = min(pricing.affordable_seconds(held, rate), seconds_max)
            assert held >= pricing.hold_paise_min(rate) >= pricing.cost_paise(1, rate)
            assert limit >= 1
            assert held >= pricing.cost_paise(min(talked, limit), rate)
    finally:
        config.use(before)


def test_a_premium_number_behind_a_cheap_one_is_paid() -> None:
    cheap, premium = Rate(rate_paise_per_minute=100), Rate(rate_paise_per_minute=399_00)
    rate = connected(cheap, premium)
    assert pricing.cost_paise(60, rate) == 400_00
    assert pricing.explanation(30, rate) == (
        "called number 30 s at Rs 1.00 a minute + connected number 30 s at Rs 399.00 a minute: "
        "Rs 200.00"
    )
    in_minutes = dataclasses.replace(premium, pulse_seconds=60, connection_fee_paise=50)
    assert pricing.explanation(61, connected(cheap, in_minutes)) == (
        "called number 61 s at Rs 1.00 a minute + connected number 61 s, billed as 120 s at "
        "Rs 399.00 a minute in 2 pulses of 60 s and a connection fee of Rs 0.50: Rs 799.52"
    )


# --- cards --------------------------------------------------------------------------------------


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
            20,
            {"pulse_seconds": 6, "minimum_billable_seconds": 20},
            "20 s = 4 pulses of 6 s × Rs 0.12 = Rs 0.48",
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


# --- where a rate comes from ---------------------------------------------------------------------


@pytest.mark.parametrize(("first", "opening"), [(None, 6), (30, 30)])
def test_a_price_a_minute_has_the_terms_of_the_settings(first: int | None, opening: int) -> None:
    before = config._current
    terms: dict[str, Any] = {"pulse_seconds": 6, "minimum_billable_seconds": 12}
    terms["connection_fee"] = Decimal("0.50")
    if first is not None:
        terms["first_pulse_seconds"] = first
    try:
        config.use(settings_of_tests("", **terms))
        rate = pricing.rate_with_default_terms(120, source="user")
    finally:
        config.use(before)
    assert rate == Rate(
        rate_paise_per_minute=120,
        pulse_seconds=6,
        first_pulse_seconds=opening,
        minimum_billable_seconds=12,
        connection_fee_paise=50,
        source="user",
    )


def test_a_call_keeps_the_rate_that_was_stored_with_it() -> None:
    stored: Any = {
        "rate_paise_per_minute": 120,
        "pulse_seconds": 6,
        "minimum_billable_seconds": 12,
        "connection_fee_paise": 50,
    }
    old = pricing.rate_of(stored)  # of release 0.2.1
    assert (old.source, old.card_version, old.prefix, old.opening_seconds) == (
        ("default", None, None, 6)
    )
    more: Any = {"first_pulse_seconds": 30, "rate_source": "card", "rate_card_version": 7}
    new = pricing.rate_of(stored | more | {"rate_prefix": "91"})
    assert (new.source, new.card_version, new.prefix, new.opening_seconds) == ("card", 7, "91", 30)
    assert (new.rate_paise_per_minute, new.pulse_seconds) == (120, 6)
    assert (new.minimum_billable_seconds, new.connection_fee_paise) == (12, 50)


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
