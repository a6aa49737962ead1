"""Dispute routes: what the banks of those who paid dispute, as the owner of the wallet may see it."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

import disputes
from api import problems
from api.dependencies import CurrentUser, Page, scope_of
from api.fields import Instant, RupeesOut
from core import money
from core.errors import InvalidCursor, NotFound
from disputes import Dispute, DisputeState

router = APIRouter(prefix="/api/payment/disputes", tags=["payment"], route_class=problems.Route)


# --- shapes -------------------------------------------------------------------------------------


class DisputeFacts(BaseModel):
    """A dispute: how it stands at Razorpay (`status`), and what its money does here (`state`)."""

    dispute_id: str
    payment_id: str
    order_id: str
    user_id: str
    amount: RupeesOut
    taken: RupeesOut = Field(description="What it has debited and did not give back")
    due: RupeesOut = Field(description="What of that had been spent by then")
    status: str
    phase: str
    state: DisputeState
    reason_code: str
    refund_id: str | None
    transaction_id: str | None
    respond_by: Instant | None
    created_at: Instant


class PaymentDisputeOut(DisputeFacts):
    """A dispute as the owner of the wallet sees it, in words, too (`message`)."""

    message: str


class PaymentDisputesOut(BaseModel):
    """A page of disputes, the newest first."""

    disputes: list[PaymentDisputeOut]
    next_cursor: str | None


# --- routes -------------------------------------------------------------------------------------


@router.get("", response_model=PaymentDisputesOut, responses=problems.documented(InvalidCursor))
async def get_disputes(user: CurrentUser, page: Page) -> PaymentDisputesOut:
    """The disputes of the user's payments, newest first; for an operator or admin everybody's."""
    found, next_cursor = await disputes.list_disputes(
        None, user_id=scope_of(user), limit=page.limit, cursor=page.cursor
    )
    return PaymentDisputesOut(
        disputes=[dispute_out(each) for each in found], next_cursor=next_cursor
    )


@router.get(
    "/{dispute_id}", response_model=PaymentDisputeOut, responses=problems.documented(NotFound)
)
async def get_dispute(dispute_id: str, user: CurrentUser) -> PaymentDisputeOut:
    """A dispute of a payment of the user's; of anybody's for an operator or admin."""
    return dispute_out(await disputes.get_dispute(dispute_id, scope_of(user)))


# --- how a dispute is shown ---------------------------------------------------------------------


def dispute_out(record: Dispute) -> PaymentDisputeOut:
    """A dispute as the owner of the wallet sees it: what a person decided about it stays inside."""
    return PaymentDisputeOut(**facts_of(record), message=message_of(record))


def facts_of(record: Dispute) -> dict[str, Any]:
    """The fields of `DisputeFacts`."""
    return {
        "dispute_id": record["_id"],
        "payment_id": record["payment_id"],
        "order_id": record["order_id"],
        "user_id": record["user_id"],
        "amount": record["amount_paise"],
        "taken": disputes.taken_paise_of(record),
        "due": record["due_paise"],
        "status": record["status"],
        "phase": record["phase"],
        "state": record["state"],
        "reason_code": record["reason_code"],
        "refund_id": record["refund_id"],
        "transaction_id": record["transaction_id"],
        "respond_by": record["respond_by"],
        "created_at": record["created_at"],
    }


def message_of(dispute: Dispute) -> str:
    """A sentence about what the dispute does to the wallet; empty where it does nothing of its own."""
    amount = f"Rs {money.text(int(dispute['amount_paise']))}"
    match dispute["state"]:
        case "reserved":
            return f"The customer's bank disputes {amount}; they wait until it is decided."
        case "debited":
            return f"A dispute was lost: {amount} went back to the customer's bank."
        case "released":
            return f"A dispute over {amount} was decided for you."
    return ""
