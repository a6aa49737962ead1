"""Telephone numbers: read, checked, and allowed or refused by destination."""

from typing import Final

import phonenumbers
from phonenumbers import PhoneNumberType

from core import config
from core.errors import Problem

# --- vocabulary ---------------------------------------------------------------------------------

TEXT_LENGTH_MAX: Final = 40


class InvalidNumber(Problem):
    """This is no telephone number."""

    code, status, title = "invalid_number", 422, "Invalid number"


class DestinationNotAllowed(Problem):
    """This number exists, but calls to its country or its kind are not allowed."""

    code, status, title = "destination_not_allowed", 422, "Destination not allowed"


# --- numbers that are called --------------------------------------------------------------------


def checked(text: str) -> str:
    """The number in E.164 (`+919876543210`), read as people in `DEFAULT_REGION` write it.

    Raises InvalidNumber and DestinationNotAllowed, whose `reason` is one of `unparseable`,
    `invalid_number`, `country_not_allowed`, `wrong_type`, `not_a_test_number`;
    the countries are `ALLOWED_COUNTRIES`, the kinds `ALLOWED_NUMBER_TYPES`.
    """
    chosen = config.settings()
    # phonenumbers converts letters to keypad digits, and accepts an extension that no network dials.
    if len(text) > TEXT_LENGTH_MAX or any(c.isalpha() for c in text):
        raise InvalidNumber(
            "Send a telephone number such as +919876543210, without extension.",
            reason="unparseable",
        )
    try:
        number = phonenumbers.parse(text, chosen.default_region)
    except phonenumbers.NumberParseException:
        raise InvalidNumber(
            "Send a telephone number such as +919876543210.", reason="unparseable"
        ) from None
    # Each of these searches the plan of a country: once is enough.
    country = phonenumbers.region_code_for_number(number)
    kind = phonenumbers.number_type(number)
    is_valid = country is not None and phonenumbers.is_valid_number_for_region(number, country)
    if number.extension or not is_valid or _is_service_number(number, kind):
        raise InvalidNumber(f"There is no number {_shown(number)}.", reason="invalid_number")
    if country not in chosen.allowed_countries:
        raise DestinationNotAllowed(
            f"Calls to {country or 'this country'} are not allowed; "
            f"allowed are {', '.join(chosen.allowed_countries)}.",
            reason="country_not_allowed",
        )
    allowed = {getattr(PhoneNumberType, name) for name in chosen.allowed_number_types}
    if kind not in allowed:
        raise DestinationNotAllowed(
            "Calls to this kind of number are not allowed; "
            f"allowed are {', '.join(chosen.allowed_number_types)}.",
            reason="wrong_type",
        )
    found = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    # Every number that is dialled comes through here: `to`, `connect_to`, the contacts of campaigns.
    if chosen.callable_numbers is not None and found not in chosen.callable_numbers:
        raise DestinationNotAllowed(
            "The wallets hold play money here: only the numbers in TEST_CALL_NUMBERS are called.",
            reason="not_a_test_number",
        )
    return found


def _is_service_number(number: phonenumbers.PhoneNumber, kind: int) -> bool:
    """Indian mobiles begin with 6 to 9; the metadata also counts the service series 1600 as mobile."""
    return (
        number.country_code == 91
        and kind == PhoneNumberType.MOBILE
        and phonenumbers.national_significant_number(number)[0] not in "6789"
    )


def _shown(number: phonenumbers.PhoneNumber) -> str:
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


# --- numbers that are only stored ---------------------------------------------------------------


def phone_of(text: str) -> str:
    """The phone number in `text` as E.164; ValueError when it cannot be one.

    Numbers without a country code are of `DEFAULT_REGION`. The number is not called, so it only has
    to be possible: numbering plans change faster than their published lists.
    """
    try:
        number = phonenumbers.parse(text, config.settings().default_region)
    except phonenumbers.NumberParseException:
        raise ValueError("must be a phone number, such as +91 98765 43210") from None
    if not phonenumbers.is_possible_number(number) or number.extension:
        raise ValueError("must be a phone number, such as +91 98765 43210")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
