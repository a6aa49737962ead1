"""Orders, payments and captures of the simulated Razorpay, and its test cards."""

import dataclasses
import datetime as dt
import hmac
import re
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorClientSession
from pymongo import ReturnDocument

from core import clock, money
from sandbox import factories, responses
from sandbox.events import Outbox
from sandbox.responses import NEWEST_FIRST, Document, Page, Refusal

Session = AsyncIOMotorClientSession
Result = TypeVar("Result")

CAPTURABLE = ("created", "authorized", "failed")
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
        "created_at": responses.seconds(order["created_at"]),
    }


def payment_entity(payment: Document) -> Document:
    """A payment as the API shows it. Fee and tax are null until some seconds after the capture."""
    at = payment.get("captured_at")
    known = at is not None and clock.now() > clock.after(FEE_KNOWN_AFTER_SECONDS, since=at)
    fee_paise, tax_paise = fee_and_tax(payment["amount"])
    refunded_paise = payment["amount_refunded"]
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
        "amount_refunded": refunded_paise,
        "amount_transferred": 0,
        "refund_status": (
            None
            if not refunded_paise
            else "partial"
            if refunded_paise < payment["amount"]
            else "full"
        ),
        # Razorpay's own samples say so beside `authorized`, too: no merchant may rely on it.
        "captured": payment["status"] in ("authorized", "captured", "refunded")
        and "sent_back_at" not in payment,
        "description": None,
        "card_id": None,
        "bank": None,
        "wallet": None,
        "vpa": None,
        "email": "",
        "contact": "",
        "notes": [],
        "fee": fee_paise if known else None,
        "tax": tax_paise if known else None,
        "error_code": failure.get("code", ""),
        "error_description": failure.get("description", ""),
        "error_source": failure.get("source"),
        "error_step": failure.get("step"),
        "error_reason": failure.get("reason"),
        "acquirer_data": {"auth_code": None},
        "created_at": responses.seconds(payment["created_at"]),
    }


def fee_and_tax(amount_paise: int) -> tuple[int, int]:
    """What Razorpay keeps of a payment: 2 % and 18 % GST on that, and the GST alone."""
    bare_paise = money.div_half_up(amount_paise * 2, 100)
    tax_paise = money.div_half_up(bare_paise * 18, 100)
    return bare_paise + tax_paise, tax_paise


# --- orders and payments ------------------------------------------------------------------------


class PaymentStore:
    """Orders and payments, in a MongoDB database that any number of processes share."""

    def __init__(self, mongodb_uri: str, database: str, key_secret: str) -> None:
        self._uri, self._name, self._key_secret = mongodb_uri, database, key_secret
        self.send_back: Callable[[str, Session], Coroutine[Any, Any, object]] | None = None

    async def start(self) -> None:
        """Connect, and create the indexes."""
        self._client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(
            self._uri, tz_aware=True, serverSelectionTimeoutMS=3_000, appname="sandbox"
        )
        self.database = self._client[self._name]
        self.outbox = Outbox(self.database)
        self._orders, self.payments = self.database["orders"], self.database["payments"]
        await self._orders.create_index("receipt")
        await self._orders.create_index(NEWEST_FIRST)
        await self.payments.create_index("order_id")
        await self.payments.create_index(NEWEST_FIRST)
        await self.payments.create_index("becomes_at", sparse=True)
        await self.outbox.start()

    async def stop(self) -> None:
        """Disconnect."""
        self._client.close()

    async def atomic(self, work: Callable[[Session], Coroutine[Any, Any, Result]]) -> Result:
        """Do all of `work` or nothing, again if others were in the way; then report events."""
        async with await self._client.start_session() as session:
            done: Result = await session.with_transaction(work)
        self.outbox.woken.set()
        return done

    async def open_order(self, body: Document) -> Document:
        """POST /v1/orders."""
        order = factories.order_of(body)
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
            raise responses.unknown_id()
        return found

    async def orders(self, *, receipt: str | None, count: int, skip: int) -> list[Document]:
        """GET /v1/orders: the newest first; a receipt is looked for anywhere in the order's."""
        where = {} if receipt is None else {"receipt": {"$regex": re.escape(receipt)}}
        found = self._orders.find(where).sort(NEWEST_FIRST)
        return await found.skip(skip).limit(count).to_list(None)

    async def payment(self, payment_id: str) -> Document:
        """GET /v1/payments/:id."""
        found = await self.payments.find_one({"_id": payment_id})
        if found is None:
            raise responses.unknown_id()
        return await self._advanced(found)

    async def listed(self, page: Page) -> list[Document]:
        """GET /v1/payments: the newest first."""
        return [await self._advanced(payment) for payment in await page.of(self.payments, {})]

    async def payments_of(self, order_id: str) -> list[Document]:
        """GET /v1/orders/:id/payments: the newest first."""
        await self.order(order_id)
        found = self.payments.find({"order_id": order_id}).sort(NEWEST_FIRST)
        return [await self._advanced(payment) async for payment in found]

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
        payment = factories.payment_of(order, order["amount"] + fee_paise)
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
        await self.atomic(lambda session: self._attempted(payment, session))
        if "error" in payment:
            failure = {
                k: v for k, v in payment["error"].items() if k not in ("description", "reason")
            }
            raise Refusal(card.description, card.reason, **failure)
        if captures and not late:
            try:
                return await self._captured(payment["_id"])
            except Refusal:  # another payment was first: this one stays authorized
                pass
        return payment

    async def add_payment(self, order_id: str, facts: Document) -> Document:
        """A new payment with these `facts`, also one that the payment page cannot make."""
        order = await self.order(order_id)
        payment = factories.payment_of(order, order["amount"]) | facts

        async def added(session: Session) -> Document:
            return await self.insert_payment(payment, session)

        return await self.atomic(added)

    async def insert_payment(
        self, payment: Document, session: Session, *, buys: bool = True
    ) -> Document:
        """Store a payment, and change its order by the payment's status."""
        if payment["status"] == "captured":
            payment["captured_at"] = clock.now()
        await self.payments.insert_one(payment, session=session)
        await self._happened(None, payment, session, buys=buys)
        return payment

    async def change_payment(self, payment_id: str, facts: Document) -> Document:
        """Change a payment from outside: captured late, refunded by hand, failed after all."""

        async def changed(session: Session) -> Document:
            before = await self.payments.find_one({"_id": payment_id}, session=session)
            if before is None:
                raise responses.unknown_id()
            change: Document = {"$set": dict(facts)}
            if facts.get("status") == "captured" and "captured_at" not in before:
                change = _capture() | {"$set": _capture()["$set"] | facts}
            after = await self._change(payment_id, change, session)
            await self._happened(before, after, session)
            return after

        await self.payment(payment_id)
        await self.atomic(changed)
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

    async def apply_due(self) -> None:
        """Make the late captures that are due."""
        async for payment in self.payments.find({"becomes_at": {"$lte": clock.now()}}):
            await self._advanced(payment)

    async def next_due(self) -> dt.datetime | None:
        """When the next late capture is due."""
        found = self.payments.find({"becomes_at": {"$gt": responses.moment_of(0)}})
        async for payment in found.sort("becomes_at", 1).limit(1):
            due: dt.datetime = payment["becomes_at"]
            return due
        return None

    async def _attempted(self, payment: Document, session: Session) -> None:
        await self.payments.insert_one(payment, session=session)
        order_id = payment["order_id"]
        await self._orders.update_one({"_id": order_id}, {"$inc": {"attempts": 1}}, session=session)
        await self._orders.update_one(
            {"_id": order_id, "status": "created"},
            {"$set": {"status": "attempted"}},
            session=session,
        )
        await self._happened(None, payment, session)

    async def _captured(self, payment_id: str, *, although_paid: bool = False) -> Document:
        """The payment, captured by this call. Raises Refusal when it or the order was before.

        `although_paid`: a bank was late, and a second payment of an order goes back by itself.
        """

        async def captured(session: Session) -> Document:
            before = await self.payments.find_one(
                {"_id": payment_id, "status": {"$in": list(CAPTURABLE)}}, session=session
            )
            if before is None:
                raise Refusal("This payment has already been captured", "payment_already_captured")
            order = await self._orders.find_one({"_id": before["order_id"]}, session=session)
            surplus = order is not None and order["status"] == "paid"
            if surplus and not although_paid:
                raise Refusal("The order is already paid", "order_already_paid")
            after = await self._change(payment_id, _capture(), session)
            await self._happened(before, after, session)
            if surplus and self.send_back is not None:
                await self.send_back(payment_id, session)
            return after

        return await self.atomic(captured)

    async def _change(self, payment_id: str, change: Document, session: Session) -> Document:
        changed = await self.payments.find_one_and_update(
            {"_id": payment_id}, change, session=session, return_document=ReturnDocument.AFTER
        )
        assert changed is not None
        return changed

    async def _happened(
        self, before: Document | None, payment: Document, session: Session, *, buys: bool = True
    ) -> None:
        """Report what became of a payment; the first capture pays its order."""
        was, status, shown = (
            (before or {}).get("status"),
            payment["status"],
            payment_entity(payment),
        )
        if status == was:
            return
        if status in ("authorized", "captured") and was not in ("authorized", "captured"):
            late = {"late_authorized": True} if was == "failed" else {}
            shown_then = shown | {"status": "authorized", "fee": None, "tax": None} | late
            await self.outbox.record("payment.authorized", session, payment=shown_then)
        if status == "failed":
            await self.outbox.record("payment.failed", session, payment=shown)
        if status != "captured":
            return
        await self.outbox.record("payment.captured", session, payment=shown)
        if not buys:
            return
        order = await self._orders.find_one_and_update(
            {
                "_id": payment["order_id"],
                "status": {"$ne": "paid"},
                "amount": {"$lte": payment["amount"]},
                "currency": payment["currency"],
            },
            {"$set": {"status": "paid"}},
            session=session,
            return_document=ReturnDocument.AFTER,
        )
        if order is not None:
            shown_order = order_entity(order)
            await self.outbox.record("order.paid", session, payment=shown, order=shown_order)

    async def _advanced(self, payment: Document) -> Document:
        """The payment, after its late capture if that is due."""
        if "becomes_at" not in payment or payment["becomes_at"] > clock.now():
            return payment
        try:
            await self._captured(payment["_id"], although_paid=True)
            return await self.payments.find_one({"_id": payment["_id"]}) or payment
        except Refusal:  # somebody else was first
            await self.payments.update_one(
                {"_id": payment["_id"]}, {"$unset": {"becomes": "", "becomes_at": ""}}
            )
            return await self.payments.find_one({"_id": payment["_id"]}) or payment


def _capture() -> Document:
    return {
        "$set": {"status": "captured", "captured_at": clock.now()},
        "$unset": {"becomes": "", "becomes_at": "", "error": ""},
    }
