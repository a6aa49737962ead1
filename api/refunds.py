"""Refund routes: ask for one, list them."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field, StringConstraints

import refunds
from api import problems
from api.dependencies import Admin, CurrentUser, PageOfLongCursor, scope_of
from api.fields import Instant, PositiveRupeesIn, RequestModel, RupeesOut
from api.idempotency import Answer, IdempotentRequired
from auth import audit_log
from auth.audit_log import Target
from core import money
from core.errors import InvalidCursor, NotFound
from gateway import GatewayRefused, GatewayUnavailable
from payments import AmountBelowMinimum
from refunds import NotRefundable, Refund, RefundDoubt, RefundExceedsUnspent

router = APIRouter(prefix="/api/payment/refunds", tags=["payment"], route_class=problems.Route)


# --- shapes -------------------------------------------------------------------------------------


class RefundIn(RequestModel):
    """What to refund; without an amount all that is left of the payment."""

    payment_id: Annotated[str, Field(max_length=100)]
    amount: PositiveRupeesIn | None = None
    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=200)]


class ResolveRefundIn(RequestModel):
    """How the refund ended, and how that is known."""

    outcome: Literal["processed", "failed"]
    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=200)]


class DecisionOut(BaseModel):
    """What an admin decided about a refund or a dispute, and why."""

    action: str
    by: str
    reason: str
    at: Instant


class RefundOut(BaseModel):
    """A refund. `pending` until Razorpay says that it went off (`processed`) or not (`failed`).

    `taken` is what the wallet has paid for it and did not get back; `due` is what of that had been
    spent by then, and the next recharge pays first. `waits_for` says why an admin has to decide how
    it ended. `dispute_id` is of the lost dispute that it paid back.
    """

    refund_id: str
    razorpay_refund_id: str | None
    payment_id: str
    order_id: str
    user_id: str
    amount: RupeesOut
    status: Literal["pending", "processed", "failed"]
    message: str
    reason: str | None
    requested_by: str | None
    transaction_id: str | None
    taken: RupeesOut
    due: RupeesOut
    dispute_id: str | None
    waits_for: RefundDoubt | None
    decisions: list[DecisionOut]
    created_at: Instant


class RefundsOut(BaseModel):
    """A page of refunds."""

    page: list[RefundOut] = Field(serialization_alias="refunds")
    next_cursor: str | None


# --- routes -------------------------------------------------------------------------------------


@router.post(
    "",
    status_code=201,
    response_model=RefundOut,
    responses=problems.documented(
        NotFound,
        NotRefundable,
        RefundExceedsUnspent,
        AmountBelowMinimum,
        GatewayRefused,
        GatewayUnavailable,
    ),
)
async def post_refund(body: RefundIn, admin: Admin, once: IdempotentRequired) -> Response:
    """Send money of a payment back to who paid it: at most what the wallet has neither spent nor
    reserved. An `Idempotency-Key` is required: a repetition with it is harmless."""

    async def work(seed: str) -> Answer:
        record = await refunds.create_refund(
            body.payment_id,
            amount_paise=body.amount,
            reason=body.reason,
            by=admin.id,
            seed=seed,
        )
        audit_log.describe(
            "refund.create",
            Target("payment", body.payment_id),
            after={
                "refund_id": record["_id"],
                "user_id": record["user_id"],
                "amount_paise": int(record["amount_paise"]),
                "status": record["status"],
                "reason": body.reason,
            },
        )
        return Answer(201, _out(record))

    return await once(admin.id, work)


@router.get("", response_model=RefundsOut, responses=problems.documented(InvalidCursor))
async def get_refunds(
    user: CurrentUser,
    page: PageOfLongCursor,
    payment_id: Annotated[str | None, Query(max_length=100)] = None,
) -> RefundsOut:
    """The user's refunds, newest first; for an operator or admin everybody's."""
    records, next_cursor = await refunds.list_refunds(
        scope_of(user), payment_id=payment_id, limit=page.limit, cursor=page.cursor
    )
    return RefundsOut(page=[_out(record) for record in records], next_cursor=next_cursor)


@router.get(
    "/{refund_id}",
    response_model=RefundOut,
    responses=problems.documented(NotFound),
)
async def get_refund(refund_id: str, user: CurrentUser) -> RefundOut:
    """A refund, by our id or Razorpay's."""
    return _out(await refunds.get_refund(refund_id, scope_of(user)))


@router.post(
    "/{refund_id}/resolve",
    response_model=RefundOut,
    responses=problems.documented(NotFound),
)
async def resolve_refund(refund_id: str, body: ResolveRefundIn, admin: Admin) -> RefundOut:
    """End a refund that Razorpay does not know any more, or reports with other facts: its money went
    back, or it is the wallet's again. Harmless when repeated; what Razorpay reports later counts."""
    before = await refunds.get_refund(refund_id, None)
    ended = await refunds.resolve(refund_id, outcome=body.outcome, by=admin.id, reason=body.reason)
    audit_log.describe(
        "refund.resolve",
        Target("refund", refund_id),
        before={"status": before["status"]},
        after={"status": ended["status"], "outcome": body.outcome, "reason": body.reason},
    )
    return _out(ended)


# --- how a refund is shown ----------------------------------------------------------------------


def _out(record: Refund) -> RefundOut:
    return RefundOut(
        refund_id=record["_id"],
        razorpay_refund_id=record["gateway_id"],
        payment_id=record["payment_id"],
        order_id=record["order_id"],
        user_id=record["user_id"],
        amount=record["amount_paise"],
        status="pending" if record["status"] == "reserved" else record["status"],
        message=_message(record),
        reason=record["reason"],
        requested_by=record["requested_by"],
        transaction_id=record["transaction_id"],
        taken=refunds.taken_paise_of(record),
        due=record["due_paise"],
        dispute_id=record["dispute_id"],
        waits_for=record.get("waits"),
        decisions=[DecisionOut(**each) for each in record.get("decided", [])],
        created_at=record["created_at"],
    )


def _message(record: Refund) -> str:
    """A sentence about what happened and what happens next."""
    amount = f"Rs {money.text(int(record['amount_paise']))}"
    match record["status"]:
        case "reserved":
            why = record["failure"] or "Razorpay is being asked."
            return f"{amount} are reserved. {why}"
        case "pending":
            return f"{amount} are reserved; Razorpay has the refund and sends it off."
        case "processed":
            return f"{amount} went off to who paid; banks take 5 to 7 working days."
    return f"The refund failed, {amount} stay in the wallet. {record['failure'] or ''}".strip()
