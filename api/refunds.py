"""Refund routes: ask for one, list them."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field, StringConstraints

import refunds
from api import problems
from api.dependencies import Admin, CurrentUser, PageOfLongCursor, scope_of
from api.fields import Instant, PositiveRupeesIn, RupeesOut
from api.idempotency import Answer, Idempotent
from core import money
from core.errors import InvalidCursor, NotFound
from gateway import GatewayRefused, GatewayUnavailable
from payments import AmountBelowMinimum
from refunds import NotRefundable, Refund, RefundExceedsUnspent

router = APIRouter(prefix="/api/payment/refunds", tags=["payment"], route_class=problems.Route)


# --- shapes -------------------------------------------------------------------------------------


class RefundIn(BaseModel):
    """What to refund; without an amount all that is left of the payment."""

    payment_id: Annotated[str, Field(max_length=100)]
    amount: PositiveRupeesIn | None = None
    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=200)]


class RefundOut(BaseModel):
    """A refund. `pending` until Razorpay says that it went off (`processed`) or not (`failed`).

    `due` is what had been spent when it was taken; the next recharge pays it first.
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
    due: RupeesOut
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
async def post_refund(body: RefundIn, admin: Admin, once: Idempotent) -> Response:
    """Send money of a payment back to who paid it: at most what the wallet has neither spent nor
    reserved. Send an `Idempotency-Key`: then a repetition is harmless."""

    async def work(seed: str) -> Answer:
        record = await refunds.create_refund(
            body.payment_id,
            amount_paise=body.amount,
            reason=body.reason,
            by=admin.id,
            seed=seed,
        )
        return Answer(201, _out(record))

    return await once(admin.id, work)


@router.get("", response_model=RefundsOut, responses=problems.documented(InvalidCursor))
async def get_refunds(
    user: CurrentUser,
    page: PageOfLongCursor,
    payment_id: Annotated[str | None, Query(max_length=100)] = None,
) -> RefundsOut:
    """The user's refunds, newest first; for an admin everybody's."""
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
        due=record["due_paise"],
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
