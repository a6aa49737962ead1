"""Admin routes of disputes: list them."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

import disputes
from api import problems
from api.dependencies import Admin
from api.fields import Instant, RupeesOut
from core import pagination
from core.errors import Forbidden, InvalidCursor, InvalidRequest, Unauthenticated
from disputes import Dispute, DisputeState

router = APIRouter(prefix="/api/admin", tags=["admin"])


class DisputeOut(BaseModel):
    """A dispute: how it stands at Razorpay (`status`), and what its money does here (`state`)."""

    dispute_id: str
    payment_id: str
    order_id: str
    user_id: str
    amount: RupeesOut
    due: RupeesOut
    status: str
    phase: str
    state: DisputeState
    reason_code: str
    refund_id: str | None
    transaction_id: str | None
    respond_by: Instant | None
    created_at: Instant


class DisputesOut(BaseModel):
    """A page of disputes, the newest first."""

    disputes: list[DisputeOut]
    next_cursor: str | None


@router.get(
    "/disputes",
    response_model=DisputesOut,
    responses=problems.documented(Unauthenticated, Forbidden, InvalidRequest, InvalidCursor),
)
async def get_disputes(
    _: Admin,
    state: DisputeState | None = None,
    limit: Annotated[
        int, Query(ge=1, le=pagination.PAGE_LIMIT_MAX)
    ] = pagination.PAGE_LIMIT_DEFAULT,
    cursor: Annotated[str | None, Query(max_length=500)] = None,
) -> DisputesOut:
    """The latest disputes; answer the open ones in Razorpay's dashboard before `respond_by`."""
    found, next_cursor = await disputes.list_disputes(state, limit=limit, cursor=cursor)
    return DisputesOut(disputes=[_out(each) for each in found], next_cursor=next_cursor)


def _out(record: Dispute) -> DisputeOut:
    return DisputeOut(
        dispute_id=record["_id"],
        payment_id=record["payment_id"],
        order_id=record["order_id"],
        user_id=record["user_id"],
        amount=record["amount_paise"],
        due=record["due_paise"],
        status=record["status"],
        phase=record["phase"],
        state=record["state"],
        reason_code=record["reason_code"],
        refund_id=record["refund_id"],
        transaction_id=record["transaction_id"],
        respond_by=record["respond_by"],
        created_at=record["created_at"],
    )
