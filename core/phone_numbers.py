"""Telephone numbers: read, checked, and allowed or refused by destination."""

import functools
import re
import unicodedata
from typing import Any, Final

import phonenumbers
from phonenumbers import PhoneNumberType

from core import config, texts
from core.csv_files import SCIENTIFIC
from core.errors import Problem

# --- vocabulary ---------------------------------------------------------------------------------

TEXT_LENGTH_MAX: Final = 40
# Of a text with the spaces and invisible characters that are removed from it.
_CELL_LENGTH_MAX: Final = 4 * TEXT_LENGTH_MAX


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
    found = _plain_mobile(text)
    if found is None:
        found = _checked(text)
    # Every number that is dialled comes through here: `to`, `connect_to`, the contacts of campaigns.
    if chosen.callable_numbers is not None and found not in chosen.callable_numbers:
        raise DestinationNotAllowed(
            "The wallets hold play money here: only the numbers in TEST_CALL_NUMBERS are called.",
            reason="not_a_test_number",
        )
    return found


# A mobile of India as most lists write it, so that a list of half a million takes seconds.
_PLAIN_MOBILE: Final = re.compile(r"(\+91)?([6-9][0-9]{9})")


def _plain_mobile(text: str) -> str | None:
    """The number of a text that is plainly a mobile of India that may be called, by the same plan of
    numbers; None where it takes a closer look."""
    chosen, written = config.settings(), _PLAIN_MOBILE.fullmatch(text)
    if written is None or (written[1] is None and chosen.default_region != "IN"):
        return None
    if "IN" not in chosen.allowed_countries or "MOBILE" not in chosen.allowed_number_types:
        return None
    mobile, others = _mobiles_of_india()
    national = written[2]
    if mobile.fullmatch(national) is None or any(one.fullmatch(national) for one in others):
        return None
    return f"+91{national}"


@functools.cache
def _mobiles_of_india() -> tuple[re.Pattern[str], list[re.Pattern[str]]]:
    """The national numbers of mobiles, and of every other kind."""
    plan: Any = phonenumbers.PhoneMetadata.metadata_for_region("IN")
    others = [
        kind.national_number_pattern
        for kind in (
            plan.premium_rate,
            plan.toll_free,
            plan.shared_cost,
            plan.voip,
            plan.personal_number,
            plan.pager,
            plan.uan,
            plan.voicemail,
            plan.fixed_line,
        )
        if kind is not None
    ]
    patterns = [re.compile(pattern) for pattern in others if pattern is not None]
    return re.compile(plan.mobile.national_number_pattern), patterns


def _checked(text: str) -> str:
    """The same, whatever is written, in the whole plan of numbers."""
    chosen = config.settings()
    number, country = _valid(text)
    kind = phonenumbers.number_type(number)
    if _is_service_number(number, kind):
        raise _no_such_number(number)
    if country not in chosen.allowed_countries:
        raise DestinationNotAllowed(
            f"Calls to {country} are not allowed; "
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
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _is_service_number(number: phonenumbers.PhoneNumber, kind: int) -> bool:
    """Indian mobiles begin with 6 to 9; the metadata also counts the service series 1600 as mobile."""
    return (
        number.country_code == 91
        and kind == PhoneNumberType.MOBILE
        and phonenumbers.national_significant_number(number)[0] not in "6789"
    )


def country_code() -> str:
    """The digits with which numbers in `DEFAULT_REGION` begin: `91`."""
    return str(phonenumbers.country_code_for_region(config.settings().default_region))


# --- numbers that are only stored ---------------------------------------------------------------


def phone_of(text: str) -> str:
    """The phone number in `text` as E.164; ValueError when there is none. It is read as one that is
    called, but may be of any country and kind."""
    try:
        number, _ = _valid(text)
    except InvalidNumber as refusal:
        raise ValueError(
            f"must be a phone number, such as +91 98765 43210. {refusal.detail}"
        ) from None
    return _shown(number)


# --- reading ------------------------------------------------------------------------------------

# What programs write before a number: advertising exports `p:+91…`, links `tel:`, networks `whatsapp:`.
_LABEL: Final = re.compile(r"(?:p|ph|phone|mob|mobile|tel|callto|whatsapp) ?: ?", re.IGNORECASE)
# A spreadsheet that took the number for a quantity writes 9876543210.00.
_QUANTITY: Final = re.compile(r"(\+?\d{6,})\.0+")
# What a spreadsheet shows for a number that its column is too narrow for, or cannot calculate.
_SPREADSHEET_ERROR: Final = re.compile(r"#+|#[A-Z0/]+[!?]?")


def _valid(text: str) -> tuple[phonenumbers.PhoneNumber, str]:
    """The number in `text`, and its country. Raises InvalidNumber when there is no such number."""
    if len(text) > _CELL_LENGTH_MAX:
        raise _unreadable("Send a telephone number such as +919876543210, and nothing else.")
    written = _written(text)
    if not written:
        raise _unreadable("There is no number.")
    if SCIENTIFIC.fullmatch(written):
        raise _unreadable(
            "The spreadsheet shortened this number and its last digits are lost. Format the "
            "column as text, enter the numbers again, and export it once more."
        )
    if _SPREADSHEET_ERROR.fullmatch(written):
        raise _unreadable(
            "The spreadsheet wrote this in place of the number. Format the column as text, make it "
            "wide enough, and export it once more."
        )
    # phonenumbers converts letters to keypad digits, and accepts an extension that no network dials.
    if len(written) > TEXT_LENGTH_MAX or any(c.isalpha() for c in written):
        raise _unreadable("Send a telephone number such as +919876543210, without extension.")
    region = config.settings().default_region
    number, country = _parsed(written, region)
    if number.extension:
        raise InvalidNumber(
            f"This is {_shown(number)} with an extension, which cannot be dialled. "
            "Send the number without it.",
            reason="invalid_number",
        )
    if country is None and (again := _with_trunk_prefix(written, region)) is not None:
        number, country = _parsed(again, region)
    if country is None:
        raise _no_such_number(number)
    return number, country


def _written(text: str) -> str:
    """`text` as it was meant: without invisible characters, labels and the marks of spreadsheets, and
    with plain spaces and hyphens, of which Unicode has many."""
    plain = "".join(map(_plain, text)) if not text.isascii() or "\0" in text else text
    plain = texts.trimmed(plain).lstrip("'`\u2018\u2019").strip()
    plain = _LABEL.sub("", plain, count=1) if _LABEL.match(plain) else plain
    quantity = _QUANTITY.fullmatch(plain)
    return quantity[1] if quantity else plain


def _plain(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cf" or character == "\0":
        return ""
    if category == "Zs" or (texts.is_blank(character) and character not in "\n\r\t"):
        return " "
    return "-" if category == "Pd" else character


def _parsed(text: str, region: str) -> tuple[phonenumbers.PhoneNumber, str | None]:
    """The number, and its country; None when no such number exists."""
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        raise _unreadable("Send a telephone number such as +919876543210.") from None
    # Each of these searches the plan of a country: once is enough.
    country = phonenumbers.region_code_for_number(number)
    if country is None or not phonenumbers.is_valid_number_for_region(number, country):
        return number, None
    return number, country


def _with_trunk_prefix(text: str, region: str) -> str | None:
    """The international form of `0919876543210`: the country's code behind the 0 of a long-distance
    call."""
    code = str(phonenumbers.country_code_for_region(region))
    digits = "".join(c for c in text if c.isdigit())
    if "+" in text or not digits.startswith(f"0{code}"):
        return None
    return f"+{digits.removeprefix('0')}"


def _unreadable(detail: str) -> InvalidNumber:
    return InvalidNumber(detail, reason="unparseable")


def _no_such_number(number: phonenumbers.PhoneNumber) -> InvalidNumber:
    return InvalidNumber(f"There is no number {_shown(number)}.", reason="invalid_number")


def _shown(number: phonenumbers.PhoneNumber) -> str:
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
