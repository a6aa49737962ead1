"""Rupees come in as JSON numbers and go out again; inside there are only integers."""

import json
import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from api import fields
from core import money


class Body(BaseModel):
    amount: fields.RupeesIn


class Answer(BaseModel):
    amount: fields.RupeesOut


@pytest.mark.parametrize(
    ("sent", "paise"),
    [
        *(("0", 0), ("1", 100), ("150.5", 15050), ("0.01", 1), ("-2.5", -250), ("1e2", 10000)),
        *(("1.10", 110), ("4.35", 435), ("1.0e0", 100), ("99999999.99", 9999999999)),
    ],
)
def test_a_json_number_is_read_to_the_paisa(sent: str, paise: int) -> None:
    assert Body.model_validate_json(f'{{"amount": {sent}}}').amount == paise
    assert Body(amount=json.loads(sent)).amount == paise


def test_row_22_no_float_loses_a_paisa() -> None:
    for text, paise in (("199.99", 19_999), ("1.15", 115), ("8.2", 820), ("1136.1", 113_610)):
        assert Body.model_validate_json(f'{{"amount": {text}}}').amount == paise
        assert Body(amount=float(text)).amount == paise
    assert int(1.15 * 100) == 114  # how it is done elsewhere
    with pytest.raises(ValidationError):
        Body.model_validate_json('{"amount": "199.99"}')


@pytest.mark.parametrize(
    "sent",
    [
        *('"100"', "true", "false", "null", "[]", "{}", "0.001", "100.123", "NaN", "Infinity"),
        *("-Infinity", "1e300", "1e18", "10000000000000.01", "0.30000000000000004"),
    ],
)
def test_what_is_no_amount_is_refused(sent: str) -> None:
    with pytest.raises(ValidationError):
        Body.model_validate(json.loads(f'{{"amount": {sent}}}'))


def test_the_largest_amount_is_read_and_a_paisa_more_is_not() -> None:
    largest = Decimal(money.PAISE_MAX).scaleb(-2)
    assert money.paise_of(largest) == money.PAISE_MAX == 10**15
    assert money.paise_of(-largest) == -money.PAISE_MAX
    for too_much in (largest + Decimal("0.01"), -largest - Decimal("0.01")):
        with pytest.raises(ValueError, match="larger than any amount"):
            money.paise_of(too_much)


def test_text_is_read_where_there_is_only_text() -> None:
    assert money.paise_of_text(" 15.0 ") == 1500
    for text in ("", "abc", "1,5", "1_5", "\u0967\u096b", "NaN", "inf", "1.005", "0x10"):
        with pytest.raises(ValueError, match="must"):
            money.paise_of_text(text)


@given(st.integers(-money.PAISE_MAX // 100, money.PAISE_MAX // 100))
def test_every_amount_survives_the_wire(paise: int) -> None:
    wire = Answer(amount=paise).model_dump_json()
    assert Body.model_validate_json(wire).amount == paise
    assert Body(**json.loads(wire)).amount == paise
    assert money.paise_of(Decimal(money.text(paise))) == paise


@given(st.integers(0, 10**12), st.integers(1, 10**6))
def test_the_divisions_round_as_they_say(numerator: int, denominator: int) -> None:
    exact = Fraction(numerator, denominator)
    assert money.floor_div(numerator, denominator) == math.floor(exact)
    assert money.ceil_div(numerator, denominator) == math.ceil(exact)
    assert money.div_half_up(numerator, denominator) == math.floor(exact + Fraction(1, 2))


@pytest.mark.parametrize(
    ("paise", "text"), [(0, "0.00"), (5, "0.05"), (15050, "150.50"), (-1, "-0.01"), (-250, "-2.50")]
)
def test_text_has_two_decimals_and_no_grouping(paise: Any, text: str) -> None:
    assert money.text(paise) == text
