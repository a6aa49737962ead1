"""Disputes: opened by a customer's bank, decided by the bank or Razorpay."""

from pymongo import ReturnDocument

from core import clock
from sandbox import responses
from sandbox.payments import PaymentStore, Session, payment_entity
from sandbox.refunds import RefundRequest, Refunds
from sandbox.responses import NEWEST_FIRST, Document, Page, Refusal

PHASES = ("chargeback", "fraud", "retrieval", "pre_arbitration", "arbitration")
DECIDED = ("won", "lost", "closed")
STATES = ("under_review", "action_required", "won", "lost", "closed")
REASON_CODE = "processed_invalid_expired_card"
ANSWER_WITHIN_SECONDS = 7 * 86_400
_EVIDENCE = (
    "summary",
    "shipping_proof",
    "billing_proof",
    "cancellation_proof",
    "customer_communication",
    "proof_of_service",
    "explanation_letter",
    "refund_confirmation",
    "access_activity_log",
    "refund_cancellation_policy",
    "term_and_conditions",
    "others",
    "submitted_at",
)


def dispute_entity(dispute: Document) -> Document:
    """A dispute as the API shows it."""
    return {
        "id": dispute["_id"],
        "entity": "dispute",
        "payment_id": dispute["payment_id"],
        "amount": dispute["amount"],
        "currency": dispute["currency"],
        "amount_deducted": dispute["amount_deducted"],
        "reason_code": dispute["reason_code"],
        "respond_by": responses.seconds(dispute["respond_by"]),
        "status": dispute["status"],
        "evidence": {"amount": dispute["amount"]} | dict.fromkeys(_EVIDENCE),
        "phase": dispute["phase"],
        "created_at": responses.seconds(dispute["created_at"]),
    }


class Disputes:
    """Disputes. Control routes open and decide them; the merchant's API only reads them."""

    def __init__(self, store: PaymentStore, refunds: Refunds) -> None:
        self._store, self._refunds = store, refunds
        self.disputes = store.database["disputes"]

    async def start(self) -> None:
        """Create the index."""
        await self.disputes.create_index(NEWEST_FIRST)

    async def open(self, payment_id: str, body: Document) -> Document:
        """`{amount?, phase?, reason_code?, deduct_at_onset?}`: a bank disputes a payment."""
        responses.only(body, "amount", "phase", "reason_code", "deduct_at_onset")
        payment = await self._store.payment(payment_id)
        amount = body.get("amount", payment["amount"])
        if type(amount) is not int or not 0 < amount <= payment["amount"]:
            raise responses.not_valid("amount")
        reason_code = body.get("reason_code", REASON_CODE)
        if not isinstance(reason_code, str):
            raise responses.not_valid("reason_code")
        if "captured_at" not in payment:
            raise Refusal("Only captured payments are disputed", "payment_not_captured")
        at_onset = bool(body.get("deduct_at_onset"))
        dispute = {
            "_id": responses.new_id("disp"),
            "payment_id": payment_id,
            "amount": amount,
            "currency": payment["currency"],
            "amount_deducted": amount if at_onset else 0,
            "at_onset": at_onset,
            "reason_code": reason_code,
            "respond_by": clock.after(ANSWER_WITHIN_SECONDS),
            "status": "open",
            "phase": _phase(body.get("phase", PHASES[0])),
            "created_at": clock.now(),
        }

        async def opened(session: Session) -> Document:
            await self.disputes.insert_one(dispute, session=session)
            await self._report("created", dispute, session)
            return dispute

        return await self._store.atomic(opened)

    async def change(self, dispute_id: str, body: Document) -> Document:
        """`{status?, phase?, as_refund?}`: another phase opens it again, then the status holds.

        `action_required` is an event alone. `as_refund`: what is lost is taken by a refund.
        """
        status, phase = responses.only(body, "status", "phase", "as_refund").get("status"), None
        if status not in (STATES if "phase" not in body else (None, *STATES)):
            raise responses.not_valid("status")
        if "phase" in body:
            phase = _phase(body["phase"])
        if body.get("as_refund") and status != "lost":
            raise responses.not_valid("as_refund")

        async def changed(session: Session) -> Document:
            dispute = await self.disputes.find_one({"_id": dispute_id}, session=session)
            if dispute is None:
                raise responses.unknown_id()
            if phase not in (None, dispute["phase"]):
                onset_paise = dispute["amount"] if dispute["at_onset"] else 0
                reopened = {"phase": phase, "status": "open", "amount_deducted": onset_paise}
                reopened["respond_by"] = clock.after(ANSWER_WITHIN_SECONDS)
                dispute = await self._set(dispute_id, reopened, session)
                await self._report("created", dispute, session)
            if status is None:
                return dispute
            if dispute["status"] in DECIDED:  # only another phase opens it again
                raise responses.not_valid("status")
            return await self._decide(dispute, status, session, bool(body.get("as_refund")))

        return await self._store.atomic(changed)

    async def dispute(self, dispute_id: str) -> Document:
        """GET /v1/disputes/:id."""
        found = await self.disputes.find_one({"_id": dispute_id})
        if found is None:
            raise responses.unknown_id()
        return found

    async def listed(self, page: Page) -> list[Document]:
        """GET /v1/disputes: the newest first."""
        return await page.of(self.disputes, {})

    async def _decide(
        self, dispute: Document, status: str, session: Session, as_refund: bool
    ) -> Document:
        facts: Document = {} if status == "action_required" else {"status": status}
        if status == "lost":
            facts |= {"amount_deducted": dispute["amount"], "by_refund": as_refund}
        elif status in ("won", "closed"):
            facts["amount_deducted"] = 0
        changed = await self._set(dispute["_id"], facts, session) if facts else dispute
        await self._report(status, changed, session)
        if as_refund:
            wanted = RefundRequest(amount_paise=dispute["amount"])
            refund = await self._refunds.open_usual(dispute["payment_id"], wanted, session)
            # Not shown: at Razorpay nothing says which refund belongs to which dispute.
            paid_by = [*dispute.get("paid_by", []), refund["_id"]]
            changed = await self._set(dispute["_id"], {"paid_by": paid_by}, session)
        return changed

    async def _set(self, dispute_id: str, facts: Document, session: Session) -> Document:
        changed = await self.disputes.find_one_and_update(
            {"_id": dispute_id},
            {"$set": facts},
            session=session,
            return_document=ReturnDocument.AFTER,
        )
        assert changed is not None
        return changed

    async def _report(self, event: str, dispute: Document, session: Session) -> None:
        payment = await self._store.payments.find_one(
            {"_id": dispute["payment_id"]}, session=session
        )
        assert payment is not None
        await self._store.outbox.record(
            f"payment.dispute.{event}",
            session,
            payment=payment_entity(payment),
            dispute=dispute_entity(dispute),
        )


def _phase(value: object) -> str:
    if not isinstance(value, str) or value not in PHASES:
        raise responses.not_valid("phase")
    return value
