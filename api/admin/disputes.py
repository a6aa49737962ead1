"""Admin routes of disputes: list them, and decide what only a person can."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

import disputes
from api import problems
from api.dependencies import Admin, Operator, Page
from api.disputes import DisputeFacts, facts_of
from api.fields import Instant, Reason, RequestModel
from api.refunds import DecisionOut
from auth import audit_log
from auth.audit_log import Target
from core.errors import InvalidRequest, NotFound
from disputes import Action, Dispute, DisputeState, NotPairable, Unclear, UnclearReason

router = APIRouter(prefix="/api/admin", tags=["admin"], route_class=problems.Route)


class UnclearOut(BaseModel):
    """What an admin has to decide: which of these refunds paid which of these disputes back, or what
    becomes of the money of a dispute that Razorpay does not know any more."""

    reason: UnclearReason
    refund_ids: list[str]
    dispute_ids: list[str]
    since: Instant


class DisputeOut(DisputeFacts):
    """A dispute as those see it who decide: what is `unclear` about it, and what was decided."""

    unclear: UnclearOut | None
    decisions: list[DecisionOut]


class ResolveDisputeIn(RequestModel):
    """What is decided, and why; with `pair`, which refund paid the loss back."""

    action: Action
    refund_id: Annotated[str, Field(max_length=100)] | None = None
    reason: Reason


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
    _: Operator,
    page: Page,
    state: DisputeState | None = None,
    unclear: Annotated[bool, Query()] = False,
) -> DisputesOut:
    """The latest disputes; answer the open ones in Razorpay's dashboard before `respond_by`. With
    `unclear` those that an admin has to decide, the oldest first."""
    if unclear:
        waiting = await disputes.list_unclear_pairs(page.limit)
        return DisputesOut(disputes=[_out(each) for each in waiting], next_cursor=None)
    found, next_cursor = await disputes.list_disputes(state, limit=page.limit, cursor=page.cursor)
    return DisputesOut(disputes=[_out(each) for each in found], next_cursor=next_cursor)


@router.get(
    "/disputes/{dispute_id}",
    response_model=DisputeOut,
    responses=problems.documented(NotFound),
)
async def get_dispute(dispute_id: str, _: Operator) -> DisputeOut:
    """A dispute, with what was decided about it."""
    return _out(await disputes.get_dispute(dispute_id))


@router.post(
    "/disputes/{dispute_id}/resolve",
    response_model=DisputeOut,
    responses=problems.documented(NotFound, NotPairable),
)
async def resolve_dispute(dispute_id: str, body: ResolveDisputeIn, admin: Admin) -> DisputeOut:
    """Decide what is unclear about a dispute, or end one that Razorpay does not know any more: name
    the refund that paid it back (`pair`), say that none did (`unpair`) or that all is right (`keep`),
    give its money back to the wallet (`release`), or take it (`take`). Harmless when repeated."""
    before = await disputes.find_dispute_state(dispute_id)
    decided = await disputes.resolve(
        dispute_id,
        action=body.action,
        refund_id=body.refund_id,
        by=admin.id,
        reason=body.reason,
    )
    audit_log.describe(
        "dispute.resolve",
        Target("dispute", dispute_id),
        before={"state": before},
        after={
            "state": decided["state"],
            "refund_id": decided["refund_id"],
            "action": body.action,
            "reason": body.reason,
        },
    )
    return _out(decided)


def _unclear(found: Unclear | None) -> UnclearOut | None:
    if found is None:
        return None
    return UnclearOut(
        reason=found["reason"],
        refund_ids=found["refund_ids"],
        dispute_ids=found["dispute_ids"],
        since=found["at"],
    )


def _out(record: Dispute) -> DisputeOut:
    return DisputeOut(
        **facts_of(record),
        unclear=_unclear(record.get("unclear")),
        decisions=[DecisionOut(**each) for each in record.get("decided", [])],
    )
