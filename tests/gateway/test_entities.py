"""Razorpay's entities as they come: with missing keys, `[]` for `{}`, "" for null, and new fields."""

from typing import Any

import pytest

from gateway import entities
from gateway.entities import UnreadableEntity

# --- reading ------------------------------------------------------------------------------------

OFFICIAL = {  # Razorpay's own sample of a captured card payment: no fee yet, and `notes` a list
    "id": "pay_DESlfW9H8K9uqM",
    "entity": "payment",
    "amount": 100,
    "currency": "INR",
    "status": "captured",
    "order_id": "order_DESlLckIVRkHWj",
    "method": "netbanking",
    "amount_refunded": 0,
    "refund_status": None,
    "captured": True,
    "notes": [],
    "fee": None,
    "tax": None,
    "error_code": "",
    "error_reason": "NA",
    "created_at": 1567674599,
    "a_field_of_tomorrow": {"x": 1},
}


def test_reading_is_tolerant_in_what_does_not_matter() -> None:
    payment = entities.read_payment(OFFICIAL)
    assert (payment.error_code, payment.error_reason, payment.error_description) == ("", "", "")
    assert payment.fee_paise is None
    assert payment.created_at is not None
    assert payment.created_at.year == 2019
    bare = {k: OFFICIAL[k] for k in ("id", "amount")}
    assert entities.read_payment(bare).status == ""  # which credits nothing


@pytest.mark.parametrize(
    "change",
    [{"amount": "100"}, {"amount": True}, {"amount": 1.0}, {"amount": -1}, {"id": "x"}, {"id": 1}],
)
def test_reading_is_strict_in_what_money_depends_on(change: dict[str, Any]) -> None:
    with pytest.raises(UnreadableEntity):
        entities.read_payment({**OFFICIAL, **change})


REFUND = {
    "id": "rfnd_FS8TWyPrCsa0OB",
    "entity": "refund",
    "amount": 50000,
    "currency": "INR",
    "payment_id": "pay_FPoJKWQQ8lK13n",
    "notes": [],
    "receipt": None,
    "acquirer_data": {"arn": None},
    "created_at": 1597734071,
    "batch_id": None,
    "status": "processed",
}

DISPUTE = {
    "id": "disp_EsIAlDcoUr8CaQ",
    "entity": "dispute",
    "payment_id": "pay_EFtmUsbwpXwBHI",
    "amount": 39000,
    "currency": "INR",
    "amount_deducted": 0,
    "reason_code": "processed_invalid_expired_card",
    "respond_by": 1590431400,
    "status": "open",
    "evidence": {"amount": 39000, "summary": None},
    "phase": "chargeback",
    "created_at": 1589907957,
}

LINE = {
    "entity_id": "pay_DEXrnipqTmWVGE",
    "type": "payment",
    "debit": 0,
    "credit": 97100,
    "amount": 100000,
    "fee": 2900,
    "tax": 442,
    "settled": True,
    "settlement_id": "setl_DHlrYsxkGtaLhw",
    "settlement_utr": "kQR6Vh",
    "notes": "",
    "payment_id": None,
    "settled_at": 1568176960,
}


def test_a_refund_is_read() -> None:
    refund = entities.read_refund(REFUND)
    assert (refund.id, refund.payment_id) == ("rfnd_FS8TWyPrCsa0OB", "pay_FPoJKWQQ8lK13n")
    assert (refund.amount_paise, refund.status, refund.receipt) == (50_000, "processed", "")


def test_a_dispute_is_read_and_an_unknown_phase_is_kept() -> None:
    dispute = entities.read_dispute(DISPUTE)
    assert (dispute.amount_paise, dispute.deducted_paise) == (39_000, 0)
    assert (dispute.status, dispute.phase) == ("open", "chargeback")
    assert (
        entities.read_dispute({**DISPUTE, "phase": "$a.b"}).phase == "ab"
    )  # it becomes a field's name
    assert entities.read_dispute({**DISPUTE, "phase": None}).phase == "chargeback"


def test_a_line_of_a_settlement_is_read_whatever_its_notes_are() -> None:
    kinds: list[Any] = ["", "a text", {"a": 1}, [], None]
    for notes in kinds:
        line = entities.read_settlement_line({**LINE, "notes": notes})
        assert (line.credit_paise, line.fee_paise, line.tax_paise) == (97_100, 2_900, 442)
        assert line.credit_paise == line.amount_paise - line.fee_paise
        assert line.payment_id == ""


@pytest.mark.parametrize(
    ("read", "whole", "change"),
    [
        (entities.read_refund, REFUND, {"status": "done"}),
        (entities.read_refund, REFUND, {"payment_id": None}),
        (entities.read_refund, REFUND, {"amount": "50000"}),
        (entities.read_dispute, DISPUTE, {"status": ""}),
        (entities.read_dispute, DISPUTE, {"id": "disp_/../payments"}),
        (entities.read_settlement_line, LINE, {"credit": None}),
        (entities.read_order, {}, {}),
        (entities.read_order, [], {}),
    ],
)
def test_what_money_depends_on_is_never_guessed(read: Any, whole: Any, change: Any) -> None:
    with pytest.raises(UnreadableEntity):
        read({**whole, **change} if isinstance(whole, dict) else whole)


@pytest.mark.parametrize("answer", [None, [], {}, {"items": {}}, "items", {"items": None}])
def test_a_list_without_items_is_nonsense(answer: Any) -> None:
    with pytest.raises(UnreadableEntity):
        entities.read_items(answer)
