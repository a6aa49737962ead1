"""Money as integer paise: rupees read and written, and the only divisions of paise."""

import decimal
from decimal import Decimal

PAISE_MAX = 10**15  # ten thousand crore rupees: far above any wallet, far below 2**53 and int64


# --- rupees read and written --------------------------------------------------------------------


def paise_of(rupees: object) -> int:
    """Rupees as JSON numbers (`150`, `150.5`) or `Decimal` to paise.

    Raises ValueError, in words for the client, for booleans, strings, NaN, infinities, a third
    decimal, and amounts beyond `PAISE_MAX`. A float is read by its shortest decimal form
    (`repr`), which is what the client wrote.
    """
    if isinstance(rupees, bool) or not isinstance(rupees, int | float | Decimal):
        raise ValueError("must be a number in rupees, such as 150.50")
    amount = rupees if isinstance(rupees, Decimal) else Decimal(repr(rupees))
    if not amount.is_finite():
        raise ValueError("must be a finite number in rupees")
    if abs(amount) > PAISE_MAX:
        raise ValueError("is larger than any amount this service handles")
    paise = amount.scaleb(2)
    if paise != paise.to_integral_value():
        raise ValueError("must have at most two decimals")
    if abs(paise) > PAISE_MAX:
        raise ValueError("is larger than any amount this service handles")
    return int(paise)


def paise_of_text(text: str) -> int:
    """Rupees as written in a query string or a CSV cell (`15.0`) to paise; ValueError as above."""
    try:
        if "_" in text or not text.isascii():  # Decimal reads `1_5` as 15
            raise decimal.InvalidOperation
        amount = Decimal(text.strip())
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
