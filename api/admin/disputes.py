"""Admin routes of disputes: list them."""

from fastapi import APIRouter
from pydantic import BaseModel

import disputes
from api import problems
from api.dependencies import Admin, Page
from api.fields import Instant, RupeesOut
from core.errors import InvalidRequest
from disputes import Dispute, DisputeState

router = APIRouter(prefix="/api/admin", tags=["admin"], route_class=problems.Route)


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
    responses=problems.documented(InvalidRequest),
)
async def get_disputes(
    _: Admin,
    page: Page,
    state: DisputeState | None = None,
) -> DisputesOut:
    """The latest disputes; answer the open ones in Razorpay's dashboard before `respond_by`."""
    found, next_cursor = await disputes.list_disputes(state, limit=page.limit, cursor=page.cursor)
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
