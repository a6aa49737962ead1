"""New orders and payments: the documents as they are first stored."""

from core import clock
from sandbox import responses
from sandbox.responses import Document, Refusal

_ORDER_FIELDS = {
    "amount",
    "currency",
    "receipt",
    "notes",
    "payment",
    "payment_capture",
    "partial_payment",
    "unique_receipt",
    "customer_id",
    "method",
}
AMOUNT_PAISE_MIN = 100


def order_of(body: Document) -> Document:
    """The order that this request asks for. Raises Refusal."""
    amount = responses.only(body, *_ORDER_FIELDS).get("amount")
    if type(amount) is not int:
        raise Refusal("The amount must be an integer.", "input_validation_failed", field="amount")
    if amount < AMOUNT_PAISE_MIN:
        raise Refusal(
            "Order amount less than minimum amount allowed",
            "amount_less_than_minimum_amount",
            field="amount",
            step="order_creation",
        )
    if body.get("currency") != "INR":
        raise Refusal("Currency is not supported", "input_validation_failed", field="currency")
    payment = body.get("payment", {"capture": "automatic"})
    if not isinstance(payment, dict):
        raise Refusal("The payment is not valid", "input_validation_failed", field="payment")
    return {
        "_id": responses.new_id("order"),
        "amount": amount,
        "currency": "INR",
        "receipt": responses.receipt_of(body),
        "notes": responses.notes_of(body),
        "captures": payment.get("capture") == "automatic",
        "status": "created",
        "attempts": 0,
        "created_at": clock.now(),
    }


def payment_of(order: Document, amount_paise: int) -> Document:
    """A payment of this order that has just begun."""
    return {
        "_id": responses.new_id("pay"),
        "order_id": order["_id"],
        "amount": amount_paise,
        "amount_refunded": 0,
        "currency": order["currency"],
        "status": "created",
        "created_at": clock.now(),
    }
