"""Money as integer paise: rupees read and written, and the only divisions of paise."""

import decimal
from decimal import Decimal
from typing import Final

PAISE_MAX: Final = 10**15  # a million crore rupees: far above any wallet, far below 2**53 and int64
RUPEES_MAX: Final = PAISE_MAX // 100
_PAISA: Final = Decimal("0.01")
_TEXT_LENGTH_MAX: Final = 40


class WrittenFloat(float):
    """A JSON number with a fraction or an exponent, which knows its `text`: as a float alone,
    `10.00000000000000000001` is ten rupees."""

    text: str

    def __new__(cls, text: str) -> "WrittenFloat":
        """The number that `text` writes. Raises ValueError when it writes none."""
        number = super().__new__(cls, text)
        number.text = text
        return number


# --- rupees read and written --------------------------------------------------------------------


def paise_of(rupees: object) -> int:
    """Rupees as JSON numbers (`150`, `150.5`) or `Decimal` to paise.

    Raises ValueError, in words for the client, for booleans, strings, NaN, infinities, a third
    decimal, and amounts beyond `PAISE_MAX`. A float is read by what the client wrote, which is its
    `text` (`WrittenFloat`) or its shortest decimal form (`repr`).
    """
    if isinstance(rupees, bool) or not isinstance(rupees, int | float | Decimal):
        raise ValueError("must be a number in rupees, such as 150.50")
    if isinstance(rupees, WrittenFloat):
        return paise_of_text(rupees.text)
    # Comparisons are exact; arithmetic is not: it rounds to 28 digits, and overflows.
    amount = Decimal(repr(rupees)) if isinstance(rupees, float) else rupees
    if isinstance(amount, Decimal) and not amount.is_finite():
        raise ValueError("must be a finite number in rupees")
    if not -RUPEES_MAX <= amount <= RUPEES_MAX:
        raise ValueError("is larger than any amount this service handles")
    if isinstance(amount, int):
        return amount * 100
    rounded = amount.quantize(_PAISA)
    if rounded != amount:
        raise ValueError("must have at most two decimals")
    return int(rounded.scaleb(2))


def paise_of_text(text: str) -> int:
    """Rupees as written in a query string or a CSV cell (`15.0`) to paise; ValueError as above."""
    written = text.strip()
    try:
        if "_" in written or not written.isascii():  # Decimal reads `1_5` as 15
            raise decimal.InvalidOperation
        if len(written) > _TEXT_LENGTH_MAX:
            raise ValueError(f"must be a number of at most {_TEXT_LENGTH_MAX} characters")
        amount = Decimal(written)
    except decimal.InvalidOperation:
        raise ValueError("must be a number in rupees, such as 15.0") from None
    return paise_of(amount)


def rupees(paise: int) -> float:
    """Paise as the JSON number of the API: `15050` is `150.5`."""
    return paise / 100


def text(paise: int) -> str:
    """Paise as people and spreadsheets read them, without grouping: `15050` is `150.50`."""
    sign = "-" if paise < 0 else ""
    whole, rest = divmod(abs(paise), 100)
    return f"{sign}{whole}.{rest:02d}"


# --- the only divisions -------------------------------------------------------------------------


def div_half_up(numerator: int, denominator: int) -> int:
    """`numerator / denominator` for non-negative numbers, rounded half up to an integer."""
    return (2 * numerator + denominator) // (2 * denominator)


def ceil_div(numerator: int, denominator: int) -> int:
    """`numerator / denominator`, rounded up."""
    return -(-numerator // denominator)


def floor_div(numerator: int, denominator: int) -> int:
    """`numerator / denominator`, rounded down."""
    return numerator // denominator
