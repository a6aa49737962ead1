"""What Razorpay and the banks behind it do: orders, payments, captures, and cards that misbehave."""

import dataclasses
import datetime as dt
import hmac
import re
import secrets
import string
from typing import Any

from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import ReturnDocument

import clock
import money

Document = dict[str, Any]

_ID_LETTERS = string.ascii_letters + string.digits
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
FEE_KNOWN_AFTER_SECONDS = 5
LATE_SECONDS = 10.0


@dataclasses.dataclass(frozen=True, slots=True)
class Card:
    """What a test card does."""

    status: str
    means: str
    description: str = ""
    reason: str = ""
    source: str = "bank"


GOOD_CARD = Card("captured", "succeeds")
CARDS = {
    "4111111111111111": GOOD_CARD,
    "4000000000000002": Card(
        "failed",
        "is declined",
        "Your payment was declined by the bank. Try another card.",
        "payment_failed",
    ),
    "4000000000009995": Card(
        "failed",
        "has too little money",
        "Your card does not have enough balance. Try another card.",
        "insufficient_funds",
        "customer",
    ),
    "4000000000000077": Card("authorized", "is authorized, and waits for the merchant's capture"),
    "4000000000003220": Card(
        "created", f"is confirmed by the bank {LATE_SECONDS:.0f} seconds late"
    ),
}


class Refusal(Exception):
    """An error answer, with the members that Razorpay gives it."""

    def __init__(self, description: str, reason: str, *, status: int = 400, **more: Any) -> None:
        super().__init__(description)
        self.status = status
        self.error: Document = {
            "code": "BAD_REQUEST_ERROR",
            "description": description,
            "source": "business",
            "step": "payment_initiation",
            "reason": reason,
            "metadata": {},
            **more,
        }


def _unknown_id() -> Refusal:
    return Refusal("The id provided does not exist", "input_validation_failed")


def _new_id(kind: str) -> str:
    return f"{kind}_" + "".join(secrets.choice(_ID_LETTERS) for _ in range(14))


def _seconds(moment: dt.datetime) -> int:
    return int(moment.timestamp())


# --- what the API shows -------------------------------------------------------------------------


def order_entity(order: Document) -> Document:
    """An order as the API shows it; empty notes are a list, as in PHP."""
    paid_paise = order["amount"] if order["status"] == "paid" else 0
    return {
        "id": order["_id"],
        "entity": "order",
        "amount": order["amount"],
        "amount_paid": paid_paise,
        "amount_due": order["amount"] - paid_paise,
        "currency": order["currency"],
        "receipt": order["receipt"],
        "offer_id": None,
        "status": order["status"],
        "attempts": order["attempts"],
        "notes": order["notes"] or [],
        "created_at": _seconds(order["created_at"]),
    }


def payment_entity(payment: Document) -> Document:
    """A payment as the API shows it. Fee and tax are null until some seconds after the capture."""
    at = payment.get("captured_at")
    known = at is not None and clock.now() > clock.after(FEE_KNOWN_AFTER_SECONDS, since=at)
    bare_paise = money.div_half_up(payment["amount"] * 2, 100)
    tax_paise = money.div_half_up(bare_paise * 18, 100)
    failure = payment.get("error") or {}
    return {
        "id": payment["_id"],
        "entity": "payment",
        "amount": payment["amount"],
        "currency": payment["currency"],
        "base_amount": payment["amount"],
        "status": payment["status"],
        "order_id": payment["order_id"],
        "invoice_id": None,
        "international": False,
        "method": "card",
        "amount_refunded": payment["amount_refunded"],
        "refund_status": None,
        # Razorpay's own samples say so beside `authorized`, too: no merchant may rely on it.
        "captured": payment["status"] in ("authorized", "captured", "refunded"),
        "description": None,
        "card_id": None,
        "bank": None,
        "wallet": None,
        "vpa": None,
        "email": "",
        "contact": "",
        "notes": [],
        "fee": bare_paise + tax_paise if known else None,
        "tax": tax_paise if known else None,
        "error_code": failure.get("code", ""),
        "error_description": failure.get("description", ""),
        "error_source": failure.get("source"),
        "error_step": failure.get("step"),
        "error_reason": failure.get("reason"),
        "acquirer_data": {"auth_code": None},
        "created_at": _seconds(payment["created_at"]),
    }


# --- the bank -----------------------------------------------------------------------------------


class Bank:
    """The state, in a MongoDB database of its own, so that any number of processes share it."""

    def __init__(self, mongodb_uri: str, database: str, key_secret: str) -> None:
        self._uri, self._name, self._key_secret = mongodb_uri, database, key_secret

    async def start(self) -> None:
        """Connect, and make the indexes."""
        self._client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(
            self._uri, tz_aware=True, serverSelectionTimeoutMS=3_000, appname="sandbox"
        )
        self.database = self._client[self._name]
        self._orders, self._payments = self.database["orders"], self.database["payments"]
        await self._orders.create_index("receipt")
        await self._orders.create_index([("created_at", -1), ("_id", -1)])
        await self._payments.create_index("order_id")

    async def stop(self) -> None:
        """Disconnect."""
        self._client.close()

    async def open_order(self, body: Document) -> Document:
        """POST /v1/orders."""
        order = _read_order(body)
        if body.get("unique_receipt") and order["receipt"]:
            earlier = await self._orders.find_one({"receipt": order["receipt"]})
            if earlier is not None:
                return earlier
        await self._orders.insert_one(order)
        return order

    async def order(self, order_id: str) -> Document:
        """GET /v1/orders/:id."""
        found = await self._orders.find_one({"_id": order_id})
        if found is None:
            raise _unknown_id()
        return found

    async def orders(self, *, receipt: str | None, count: int, skip: int) -> list[Document]:
        """GET /v1/orders: the newest first; a receipt is looked for anywhere in the order's."""
        where = {} if receipt is None else {"receipt": {"$regex": re.escape(receipt)}}
        found = self._orders.find(where).sort([("created_at", -1), ("_id", -1)])
        return await found.skip(skip).limit(count).to_list(None)

    async def payment(self, payment_id: str) -> Document:
        """GET /v1/payments/:id."""
        found = await self._payments.find_one({"_id": payment_id})
        if found is None:
            raise _unknown_id()
        return await self._ripened(found)

    async def payments_of(self, order_id: str) -> list[Document]:
        """GET /v1/orders/:id/payments: the newest first."""
        await self.order(order_id)
        found = self._payments.find({"order_id": order_id}).sort([("created_at", -1), ("_id", -1)])
        return [await self._ripened(payment) async for payment in found]

    async def capture(self, payment_id: str, body: Document) -> Document:
        """POST /v1/payments/:id/capture."""
        payment = await self.payment(payment_id)
        if payment["status"] == "captured":
            raise Refusal("This payment has already been captured", "payment_already_captured")
        if payment["status"] != "authorized":
            raise Refusal(
                "Only payments which have been authorized can be captured", "capture_failed"
            )
        if type(body.get("amount")) is not int or body["amount"] != payment["amount"]:
            raise Refusal(
                "Capture amount must be equal to the amount authorized",
                "input_validation_failed",
                field="amount",
            )
        if body.get("currency") != payment["currency"]:
            raise Refusal(
                "The currency should be the payment's", "input_validation_failed", field="currency"
            )
        if not await self._buy(payment["order_id"]):
            raise Refusal("The order is already paid", "order_already_paid")
        return await self._captured(payment_id)

    async def pay(self, order_id: str, card: Card, *, late: bool, fee_paise: int) -> Document:
        """A customer pays with this card, and Razorpay captures if the order says so.

        `late`: the capture takes its time; `fee_paise`: what the customer pays on top. Raises
        Refusal, with the failed payment in its metadata, when the card does not pay.
        """
        order = await self.order(order_id)
        if order["status"] == "paid":
            raise Refusal("This order has already been paid", "order_already_paid")
        if any(p["status"] == "authorized" for p in await self.payments_of(order_id)):
            raise Refusal("Another payment of this order is being processed", "order_in_progress")
        payment = _new_payment(order, order["amount"] + fee_paise)
        payment["status"] = "authorized" if card.status == "captured" else card.status
        captures = card.status == "captured" and order["captures"]
        if (captures and late) or card.status == "created":
            payment["becomes"], payment["becomes_at"] = "captured", clock.after(LATE_SECONDS)
        if card.status == "failed":
            payment["error"] = {
                "code": "BAD_REQUEST_ERROR",
                "description": card.description,
                "source": card.source,
                "step": "payment_authorization",
                "reason": card.reason,
                "metadata": {"payment_id": payment["_id"], "order_id": order_id},
            }
        await self._payments.insert_one(payment)
        await self._orders.update_one({"_id": order_id}, {"$inc": {"attempts": 1}})
        await self._orders.update_one(
            {"_id": order_id, "status": "created"}, {"$set": {"status": "attempted"}}
        )
        if "error" in payment:
            failure = {
                k: v for k, v in payment["error"].items() if k not in ("description", "reason")
            }
            raise Refusal(card.description, card.reason, **failure)
        if captures and not late and await self._buy(order_id):
            return await self._captured(payment["_id"])
        return payment

    async def add_payment(self, order_id: str, facts: Document) -> Document:
        """A payment that simply is as `facts` say: what no page can bring about."""
        order = await self.order(order_id)
        payment = _new_payment(order, order["amount"]) | facts
        await self._payments.insert_one(payment)
        return payment

    async def change_payment(self, payment_id: str, facts: Document) -> Document:
        """Change a payment as the world outside does: late, refunded by hand, failed after all."""
        await self.payment(payment_id)
        await self._payments.update_one({"_id": payment_id}, {"$set": facts})
        return await self.payment(payment_id)

    def checkout_answer(self, payment: Document) -> Document:
        """What Checkout hands to the merchant's page."""
        message = f"{payment['order_id']}|{payment['_id']}".encode()
        return {
            "razorpay_payment_id": payment["_id"],
            "razorpay_order_id": payment["order_id"],
            "razorpay_signature": hmac.new(
                self._key_secret.encode(), message, "sha256"
            ).hexdigest(),
        }

    async def _buy(self, order_id: str) -> bool:
        """Whether this capture is the one that pays the order."""
        bought = await self._orders.update_one(
            {"_id": order_id, "status": {"$ne": "paid"}}, {"$set": {"status": "paid"}}
        )
        return bought.modified_count == 1

    async def _captured(self, payment_id: str) -> Document:
        captured = await self._payments.find_one_and_update(
            {"_id": payment_id},
            {
                "$set": {"status": "captured", "captured_at": clock.now()},
                "$unset": {"becomes": "", "becomes_at": ""},
            },
            return_document=ReturnDocument.AFTER,
        )
        assert captured is not None
        return captured

    async def _ripened(self, payment: Document) -> Document:
        """The payment, after what was to become of it by now."""
        if "becomes_at" not in payment or payment["becomes_at"] > clock.now():
            return payment
        await self._buy(payment["order_id"])
        return await self._captured(payment["_id"])


# --- reading ------------------------------------------------------------------------------------


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


def _new_payment(order: Document, amount_paise: int) -> Document:
    return {
        "_id": _new_id("pay"),
        "order_id": order["_id"],
        "amount": amount_paise,
        "amount_refunded": 0,
        "currency": order["currency"],
        "status": "created",
        "created_at": clock.now(),
    }


def _read_order(body: Document) -> Document:
    for field in body.keys() - _ORDER_FIELDS:
        raise Refusal(
            f"{field} is/are not required and should not be sent", "extra_field_sent", field=field
        )
    amount, notes, receipt = body.get("amount"), body.get("notes") or {}, body.get("receipt")
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
    if receipt is not None and (not isinstance(receipt, str) or len(receipt) > 40):
        raise Refusal(
            "The receipt may not be greater than 40 characters.",
            "input_validation_failed",
            field="receipt",
        )
    if not isinstance(notes, dict) or len(notes) > 15:
        raise Refusal("The notes are not valid", "input_validation_failed", field="notes")
    payment = body.get("payment", {"capture": "automatic"})
    if not isinstance(payment, dict):
        raise Refusal("The payment is not valid", "input_validation_failed", field="payment")
    return {
        "_id": _new_id("order"),
        "amount": amount,
        "currency": "INR",
        "receipt": receipt,
        "notes": notes,
        "captures": payment.get("capture") == "automatic",
        "status": "created",
        "attempts": 0,
        "created_at": clock.now(),
    }
