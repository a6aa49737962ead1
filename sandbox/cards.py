"""What a card reader takes: the number, the expiry and the CVV of a card."""

import re

from core import clock
from sandbox.payments import CARDS, GOOD_CARD, Card
from sandbox.responses import Refusal


def card_of(number: str, expiry: str, cvv: str) -> Card:
    """The card with this number. Raises Refusal for what no card reader takes."""
    digits = re.sub(r"[\s-]", "", number)
    if not re.fullmatch(r"[0-9]{12,19}", digits) or not _passes_luhn(digits):
        raise Refusal("Your card number is not valid", "input_validation_failed", field="number")
    if expiry and not _is_future(expiry):
        raise Refusal("Your card has expired", "card_expired", field="expiry")
    if cvv and not re.fullmatch(r"[0-9]{3,4}", cvv):
        raise Refusal("The CVV is not valid", "input_validation_failed", field="cvv")
    return CARDS.get(digits, GOOD_CARD)


def _passes_luhn(digits: str) -> bool:
    doubled = [int(d) * (2 if i % 2 else 1) for i, d in enumerate(reversed(digits))]
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0


def _is_future(expiry: str) -> bool:
    form = re.fullmatch(r"\s*(0?[1-9]|1[0-2])\s*/?\s*(20)?([0-9]{2})\s*", expiry)
    if form is None:
        return False
    today = clock.ist_date(clock.now())
    return (2000 + int(form[3]), int(form[1])) >= (today.year, today.month)
