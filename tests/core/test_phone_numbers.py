"""Which numbers may be called, who signs what, and the network on localhost."""

import contextlib
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from phonenumbers import PhoneNumberType

from core import config, phone_numbers
from core.errors import Problem
from core.phone_numbers import DestinationNotAllowed, InvalidNumber
from tests.support.service import test_settings

# --- numbers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("+919876543210", "+919876543210"),
        ("9876543210", "+919876543210"),
        ("09876543210", "+919876543210"),
        ("919876543210", "+919876543210"),
        ("00919876543210", "+919876543210"),
        ("+91 98765-43210", "+919876543210"),
        ("(+91) 98765 43210", "+919876543210"),
        ("'9876543210", "+919876543210"),  # what a spreadsheet leaves
        ("९८७६५४३२१०", "+919876543210"),
        ("\u200e+91 9876543210\u200e", "+919876543210"),
        (
            "\u206698765\u206943210",
            "+919876543210",
        ),  # what telephones copy around a contact's number
        ("98765\u200943210", "+919876543210"),  # a thin space
        ("98765\u202f43210", "+919876543210"),  # a narrow no-break space
        ("+91\u00a098765\u00a043210", "+919876543210"),
        ("98765\u201143210", "+919876543210"),  # a hyphen that does not break
        ("9876543210.00", "+919876543210"),
        ("+919876543210.0", "+919876543210"),
        ("p:+919876543210", "+919876543210"),  # advertising exports
        ("tel:+91-98765-43210", "+919876543210"),
        ("whatsapp:+919876543210", "+919876543210"),
        ("0919876543210", "+919876543210"),
        ("+91 (0) 98765 43210", "+919876543210"),
        ("\u2018+919876543210", "+919876543210"),
        ("+91 11 2345 6789", "+911123456789"),
        ("011 2345 6789", "+911123456789"),
    ],
)
def test_a_number_is_read_as_people_write_it(
    settings: config.Settings, text: str, number: str
) -> None:
    assert phone_numbers.checked(text) == number


@pytest.mark.parametrize(
    ("text", "kind", "reason"),
    [
        ("", InvalidNumber, "unparseable"),
        (" ", InvalidNumber, "unparseable"),
        ("\x00", InvalidNumber, "unparseable"),
        ("call me", InvalidNumber, "unparseable"),
        ("98765-FLOWERS", InvalidNumber, "unparseable"),
        ("9.87654321E+09", InvalidNumber, "unparseable"),
        ("9876543210 ext 5", InvalidNumber, "unparseable"),
        ("9" * 41, InvalidNumber, "unparseable"),
        ("12345", InvalidNumber, "invalid_number"),
        ("112", InvalidNumber, "invalid_number"),
        ("1909", InvalidNumber, "invalid_number"),
        ("#######", InvalidNumber, "unparseable"),  # a column that was too narrow
        ("#NAME?", InvalidNumber, "unparseable"),
        ("9876543210, 9812345678", InvalidNumber, "unparseable"),
        ("9876543210.50", InvalidNumber, "invalid_number"),
        ("9876543210\n9812345678", InvalidNumber, "unparseable"),
        ("0912345", InvalidNumber, "invalid_number"),
        ("\u2800\u3164", InvalidNumber, "unparseable"),
        ("9876543210,,123", InvalidNumber, "invalid_number"),
        ("9876543210 #5", InvalidNumber, "invalid_number"),
        ("+91 98765 4321", InvalidNumber, "invalid_number"),
        ("1600 123456", InvalidNumber, "invalid_number"),
        ("+999 123 456 789", InvalidNumber, None),
        ("+1 650 253 0000", DestinationNotAllowed, "country_not_allowed"),
        ("+44 20 7946 0958", DestinationNotAllowed, "country_not_allowed"),
        ("+977 984 1234567", DestinationNotAllowed, "country_not_allowed"),
        ("+881 612345678", DestinationNotAllowed, "country_not_allowed"),
        ("1800 103 1111", DestinationNotAllowed, "wrong_type"),
        ("1860 266 1234", DestinationNotAllowed, "wrong_type"),
        ("140 1234567", DestinationNotAllowed, "wrong_type"),
    ],
)
def test_what_may_not_be_called_is_refused_with_the_reason(
    settings: config.Settings, text: str, kind: type[Problem], reason: str | None
) -> None:
    with pytest.raises(kind) as refusal:
        phone_numbers.checked(text)
    if reason is not None:
        assert refusal.value.extra["reason"] == reason


def test_the_countries_are_a_setting(settings: config.Settings) -> None:
    config.use(settings.model_copy(update={"allowed_countries": ["IN", "GB"]}))
    assert phone_numbers.checked("+44 20 7946 0958") == "+442079460958"
    config.use(settings.model_copy(update={"default_region": "GB", "allowed_countries": ["GB"]}))
    assert phone_numbers.checked("020 7946 0958") == "+442079460958"
    with pytest.raises(DestinationNotAllowed):
        phone_numbers.checked("+919876543210")


def test_the_kinds_of_numbers_are_a_setting(settings: config.Settings) -> None:
    config.use(settings.model_copy(update={"allowed_number_types": ["TOLL_FREE"]}))
    assert phone_numbers.checked("1800 103 1111") == "+9118001031111"
    with pytest.raises(DestinationNotAllowed) as refusal:
        phone_numbers.checked("9876543210")
    assert refusal.value.extra["reason"] == "wrong_type"


def test_every_kind_that_can_be_set_is_one_that_the_library_tells_apart() -> None:
    known = {name for name in vars(PhoneNumberType) if name.isupper()} - {"UNKNOWN"}
    assert set(get_args(config.NumberType)) == known


@given(st.text(max_size=60))
def test_no_text_breaks_the_number_check(text: str) -> None:
    before = config._current
    config.use(test_settings("", port=8000))
    try:
        with contextlib.suppress(InvalidNumber, DestinationNotAllowed):
            assert phone_numbers.checked(text).startswith("+91")
    finally:
        config.use(before)


def test_a_plain_mobile_is_what_the_whole_plan_of_numbers_says(settings: config.Settings) -> None:
    """Every beginning of four digits, so that no series is read otherwise by the short way."""
    short = 0
    for beginning in range(6_000, 10_000):
        national = f"{beginning}{beginning * 7_919 % 1_000_000:06d}"
        for text in (national, f"+91{national}"):
            if (found := phone_numbers._plain_mobile(text)) is not None:
                assert phone_numbers._checked(text) == found
                short += 1
    assert short > 4_000
