"""Refunds: requested by the merchant, made in the dashboard, or begun by Razorpay itself."""

import dataclasses
import datetime as dt
import functools
import json
import re
from typing import Any

from pymongo.errors import DuplicateKeyError

from core import clock
from sandbox import factories, faults, responses
from sandbox.faults import Faults
from sandbox.payments import PaymentStore, Session, payment_entity
from sandbox.responses import NEWEST_FIRST, Document, Page, Refusal

PROCESSED_AFTER_SECONDS = 2.0
FAILS_LATE_AFTER_SECONDS = 3.0
KEY_LEASE_SECONDS = 10.0
STATES = ("pending", "processed", "failed")
_COUNTING = ("pending", "processed")
_SPEEDS = ("normal", "optimum")


@dataclasses.dataclass(frozen=True, slots=True)
class RefundRequest:
    """A refund that is asked for; without an amount, of all that is left."""

    amount_paise: int | None = None
    speed: str | None = None
    notes: Document = dataclasses.field(default_factory=dict)
    receipt: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """A later status of a refund, and how many seconds after its creation it comes."""

    status: str
    seconds: float


def refund_entity(refund: Document) -> Document:
    """A refund as the API shows it; the speeds are there only if one was asked for."""
    speed = refund["speed"]
    speeds = {"speed_requested": speed, "speed_processed": "normal"} if speed else {}
    return {
        "id": refund["_id"],
        "entity": "refund",
        "amount": refund["amount"],
        "currency": refund["currency"],
        "payment_id": refund["payment_id"],
        "notes": refund["notes"] or [],
        "receipt": refund["receipt"],
        "acquirer_data": {"arn": None},
        "created_at": responses.seconds(refund["created_at"]),
        "batch_id": None,
        "status": refund["status"],
        **speeds,
    }


def refusal_of(fault: str) -> Refusal:
    """How Razorpay refuses to refund, for reasons that are not in the request."""
    nothing: Document = {"source": None, "step": None}
    if fault == "merchant_balance_low":
        text = "Your account does not have enough balance to carry out the refund operation."
        return Refusal(text, None)
    if fault == "refund_nonsense":
        return Refusal("invalid request sent", None, **nothing)
    text = "Another request with the same idempotency key is still in progress."
    return Refusal(text, None, status=409)


class Refunds:
    """Refunds. Each change also changes the payment and records an event, in one transaction."""

    def __init__(self, store: PaymentStore, asked_for: Faults) -> None:
        self._store, self._faults = store, asked_for
        self.refunds, self._keys = store.database["refunds"], store.database["refund_keys"]
        store.send_back = lambda payment_id, session: self.open_usual(
            payment_id, RefundRequest(), session
        )

    async def start(self) -> None:
        """Create the indexes."""
        await self.refunds.create_index(
            [("payment_id", 1), ("receipt", 1)],
            unique=True,
            partialFilterExpression={"receipt": {"$type": "string"}},
        )
        await self.refunds.create_index([("payment_id", 1), *NEWEST_FIRST])
        await self.refunds.create_index(NEWEST_FIRST)
        await self.refunds.create_index("due_at", sparse=True)
        await self._keys.create_index("created_at", expireAfterSeconds=30 * 86_400)

    async def create(self, payment_id: str, body: Document, *, key: str | None) -> Document:
        """POST /v1/payments/:id/refund; a key makes it happen once."""
        wanted = _read(body)
        if key is not None:
            earlier = await self._claim(key, json.dumps([payment_id, body], sort_keys=True))
            if earlier is not None:
                return earlier
        path = f"/v1/payments/{payment_id}/refund"

        async def made(session: Session) -> Document:
            refund = await self.open(payment_id, wanted, steps, session)
            if key is not None:
                mine, made_for = {"_id": key, "refund_id": None}, {"refund_id": refund["_id"]}
                kept = await self._keys.update_one(mine, {"$set": made_for}, session=session)
                if not kept.modified_count:  # another took the key over when its lease ended
                    raise refusal_of("refund_in_progress")
            return refund

        try:
            await self._store.payment(payment_id)
            fault = await self._faults.take(faults.OF_REFUNDING, "POST", path)
            steps = _steps(fault["kind"] if fault else "")
            return await self._store.atomic(made)
        finally:
            if key is not None:
                await self._keys.delete_one({"_id": key, "refund_id": None})

    async def open(
        self,
        payment_id: str,
        wanted: RefundRequest,
        steps: list[Step],
        session: Session,
        *,
        uncaptured: bool = False,
    ) -> Document:
        """A new refund, pending, as part of a transaction. Raises Refusal.

        `uncaptured`: of a payment that was never captured, which only Razorpay itself can do.
        """
        payment = await self._store.payments.find_one({"_id": payment_id}, session=session)
        if payment is None:
            raise responses.unknown_id()
        amount_paise = _amount(payment, wanted, uncaptured=uncaptured)
        if wanted.receipt is not None and await self.refunds.find_one(
            {"payment_id": payment_id, "receipt": wanted.receipt}, session=session
        ):
            text = "Duplicate receipt found for this refund request."
            raise Refusal(text, "input_validation_failed", field="receipt")
        refund = {
            "_id": responses.new_id("rfnd"),
            "payment_id": payment_id,
            "amount": amount_paise,
            "currency": payment["currency"],
            "notes": wanted.notes,
            "receipt": wanted.receipt,
            "speed": wanted.speed,
            "status": "pending",
            "uncaptured": uncaptured,
            "created_at": clock.now(),
            **_schedule([(step.status, clock.after(step.seconds)) for step in steps]),
        }
        await self.refunds.insert_one(refund, session=session)
        change: Document = {"$inc": {"amount_refunded": amount_paise}}
        if uncaptured:
            change["$set"] = {"status": "refunded", "sent_back_at": clock.now()}
            change["$unset"] = {"becomes": "", "becomes_at": ""}
        await self._store.payments.update_one({"_id": payment_id}, change, session=session)
        await self._report("refund.created", refund, session)
        return refund

    async def open_usual(
        self, payment_id: str, wanted: RefundRequest, session: Session
    ) -> Document:
        """A refund that Razorpay makes itself and that succeeds, as part of a transaction."""
        return await self.open(payment_id, wanted, _steps(), session)

    async def move(self, refund: Document, status: str, session: Session) -> Document:
        """Set the status of a refund and what follows from it for the payment, in a transaction."""
        changed = refund | {"status": status}
        await self.refunds.update_one(
            {"_id": refund["_id"]}, {"$set": {"status": status}}, session=session
        )
        counted_paise, processed_paise = (
            refund["amount"] * ((status in states) - (refund["status"] in states))
            for states in (_COUNTING, ("processed",))
        )
        payments, where = self._store.payments, {"_id": refund["payment_id"]}
        payment = await payments.find_one(where, session=session)
        assert payment is not None
        if payment["amount_refunded"] + counted_paise > payment["amount"]:
            raise Refusal("Other refunds took its place", "refund_limit_crossed")
        back_paise = payment.get("refunds_processed", 0) + processed_paise
        facts = {
            "amount_refunded": payment["amount_refunded"] + counted_paise,
            "refunds_processed": back_paise,
        }
        if not refund["uncaptured"]:
            facts["status"] = "refunded" if back_paise >= payment["amount"] else "captured"
        await payments.update_one(where, {"$set": facts}, session=session)
        if status != "pending":
            await self._report(f"refund.{status}", changed, session)
        return changed

    async def refund(self, refund_id: str) -> Document:
        """GET /v1/refunds/:id."""
        found = await self.refunds.find_one({"_id": refund_id})
        if found is None:
            raise responses.unknown_id()
        return await self._advanced(found)

    async def listed(self, page: Page, payment_id: str | None = None) -> list[Document]:
        """GET /v1/refunds, and GET /v1/payments/:id/refunds: the newest first."""
        where: Document = {}
        if payment_id is not None:
            where = {"payment_id": (await self._store.payment(payment_id))["_id"]}
        return [await self._advanced(refund) for refund in await page.of(self.refunds, where)]

    async def from_outside(self, payment_id: str, body: Document) -> Document:
        """`{amount?, status?}`: a refund that somebody makes in Razorpay's dashboard."""
        wanted = RefundRequest(amount_paise=_read_amount(responses.only(body, "amount", "status")))
        status = body.get("status")
        if status is not None and status not in STATES:
            raise responses.not_valid("status")
        steps = _steps("refund_slow" if status else "")

        async def made(session: Session) -> Document:
            refund = await self.open(payment_id, wanted, steps, session)
            if status in (None, "pending"):
                return refund
            return await self.move(refund, status, session)

        return await self._store.atomic(made)

    async def send_back(self, payment_id: str) -> Document:
        """Razorpay returns a payment that nobody captured."""

        async def made(session: Session) -> Document:
            return await self.open(payment_id, RefundRequest(), _steps(), session, uncaptured=True)

        return await self._store.atomic(made)

    async def add_surplus_payment(self, order_id: str, facts: Document) -> Document:
        """A second captured payment of a paid order, which Razorpay refunds by itself."""
        order = await self._store.order(order_id)
        if order["status"] != "paid" or facts.get("status") != "captured":
            text = "auto_refund is for a captured payment of an order that is paid already"
            raise Refusal(text, "input_validation_failed", field="auto_refund")
        payment = factories.payment_of(order, order["amount"]) | facts

        async def made(session: Session) -> None:
            await self._store.insert_payment(payment, session, buys=False)
            await self.open_usual(payment["_id"], RefundRequest(), session)

        await self._store.atomic(made)
        return await self._store.payment(payment["_id"])

    async def change(self, refund_id: str, body: Document) -> Document:
        """`{status}`: change a refund from outside; it then stays as it is."""
        status = responses.only(body, "status").get("status")
        if status not in STATES:
            raise responses.not_valid("status")
        await self.refund(refund_id)

        async def changed(session: Session) -> Document:
            refund = await self.refunds.find_one({"_id": refund_id}, session=session)
            assert refund is not None
            stays = {"$set": {"steps": []}, "$unset": {"due_at": ""}}
            await self.refunds.update_one({"_id": refund_id}, stays, session=session)
            same = refund["status"] == status
            return refund if same else await self.move(refund, status, session)

        return await self._store.atomic(changed)

    async def apply_due(self) -> None:
        """Give the refunds whose next status is due that status."""
        async for refund in self.refunds.find({"due_at": {"$lte": clock.now()}}):
            await self._advanced(refund)

    async def next_due(self) -> dt.datetime | None:
        """When the next one changes by itself."""
        found = self.refunds.find({"due_at": {"$gt": responses.moment_of(0)}})
        async for refund in found.sort("due_at", 1).limit(1):
            due: dt.datetime = refund["due_at"]
            return due
        return None

    async def _advanced(self, refund: Document) -> Document:
        """The refund, after the steps of it that are due."""
        while refund.get("due_at", clock.after(1)) <= clock.now():
            refund = await self._store.atomic(functools.partial(self._step, refund))
        return refund

    async def _step(self, due: Document, session: Session) -> Document:
        refund = await self.refunds.find_one({"_id": due["_id"]}, session=session)
        assert refund is not None
        if refund.get("due_at") != due["due_at"]:
            return refund  # somebody else was first
        (status, _), *later = refund["steps"]
        schedule = _schedule([(status, at) for status, at in later])
        change: Document = {"$set": schedule}
        if not later:
            change["$unset"] = {"due_at": ""}
            del refund["due_at"]
        await self.refunds.update_one({"_id": refund["_id"]}, change, session=session)
        return await self.move(refund | schedule, status, session)

    async def _claim(self, key: str, request: str) -> Document | None:
        """None when this request is to be done now, or the refund that it had before."""
        if not re.fullmatch(r"[A-Za-z0-9_-]{10,}", key):
            text = "The idempotency key must have at least 10 of the characters A-Z a-z 0-9 - _"
            raise Refusal(text, "input_validation_failed", field="X-Refund-Idempotency")
        until = clock.after(KEY_LEASE_SECONDS)
        claim = {"request": request, "refund_id": None, "until": until, "created_at": clock.now()}
        try:
            await self._keys.insert_one({"_id": key, **claim})
        except DuplicateKeyError:
            held = await self._keys.find_one({"_id": key})
        else:
            return None
        if held is not None and held["request"] != request:
            text = "Different request with the same idempotency key has already been processed."
            raise Refusal(text, None, status=409)
        if held is not None and held["refund_id"] is not None:
            return await self.refund(held["refund_id"])
        died = {"_id": key, "refund_id": None, "until": {"$lt": clock.now()}}
        if (await self._keys.update_one(died, {"$set": {"until": until}})).modified_count:
            return None
        raise refusal_of("refund_in_progress")

    async def _report(self, event: str, refund: Document, session: Session) -> None:
        payment = await self._store.payments.find_one(
            {"_id": refund["payment_id"]}, session=session
        )
        assert payment is not None
        await self._store.outbox.record(
            event, session, refund=refund_entity(refund), payment=payment_entity(payment)
        )


def _steps(kind: str = "") -> list[Step]:
    if kind == "refund_slow":
        return []
    if kind == "refund_fails":
        return [Step("failed", PROCESSED_AFTER_SECONDS)]
    late = [Step("failed", PROCESSED_AFTER_SECONDS + FAILS_LATE_AFTER_SECONDS)]
    return [
        Step("processed", PROCESSED_AFTER_SECONDS),
        *(late if kind == "refund_fails_late" else []),
    ]


def _schedule(steps: list[tuple[str, Any]]) -> Document:
    return {"steps": steps} | ({"due_at": steps[0][1]} if steps else {})


def _amount(payment: Document, wanted: RefundRequest, *, uncaptured: bool) -> int:
    """What goes back. Raises Refusal in the cases in which Razorpay refuses."""
    left_paise: int = payment["amount"] - payment["amount_refunded"]
    wanted_paise = left_paise if wanted.amount_paise is None else wanted.amount_paise
    if payment["status"] == "refunded" or (payment["status"] == "captured" and left_paise <= 0):
        raise Refusal("The payment has been fully refunded already", "payment_fully_refunded")
    if payment["status"] != ("authorized" if uncaptured else "captured"):
        text = "The payment status should be captured for action to be taken"
        if uncaptured:
            text = "Only an authorized payment is sent back by itself"
        raise Refusal(text, "payment_not_captured")
    if wanted_paise > payment["amount"]:
        text = "The refund amount provided is greater than amount captured"
        raise Refusal(text, "refund_limit_crossed", field="amount")
    if wanted_paise > left_paise:
        text = "The total refund amount is greater than the refund payment amount"
        raise Refusal(text, "refund_limit_crossed", field="amount")
    return wanted_paise


def _read(body: Document) -> RefundRequest:
    speed = responses.only(body, "amount", "speed", "notes", "receipt").get("speed")
    if speed is not None and speed not in _SPEEDS:
        raise responses.not_valid("speed")
    return RefundRequest(
        _read_amount(body), speed, responses.notes_of(body), responses.receipt_of(body)
    )


def _read_amount(body: Document) -> int | None:
    amount = body.get("amount")
    if amount is None:
        return None
    if type(amount) is not int:
        raise Refusal("The amount must be an integer.", "input_validation_failed", field="amount")
    if amount < factories.AMOUNT_PAISE_MIN:
        text = "The amount must be at least INR 1.00"
        raise Refusal(text, "input_validation_failed", field="amount")
    return amount
