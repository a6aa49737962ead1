"""What is open between Razorpay, the networks and us: reports, and what waits for a person."""

import datetime as dt
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field, StringConstraints

import api
import callbook
import calls
import clearing
import clock
import events
import payments
import settlements
import webhooks
from auth import Admin, Instant
from calls import CallOut
from database import Document, db
from errors import (
    Forbidden,
    InvalidCursor,
    InvalidRequest,
    NotFound,
    StillRunning,
    Unauthenticated,
    Unavailable,
)
from money import RupeesOut

# --- vocabulary ---------------------------------------------------------------------------------

_SHOWN = 50

# --- verbs --------------------------------------------------------------------------------------


async def waiting() -> Document:
    """What waits for a person now, by kind: how many, and the oldest fifty of them."""
    reviews = await payments.waiting(_SHOWN)
    dead, _ = await events.page(webhooks.EVENT, state="dead", limit=_SHOWN)
    open_disputes = db.disputes.find({"state": "reserved"}, {"_id": 1, "respond_by": 1})
    refunds = db.refunds.find({"status": "reserved", "failure": {"$type": "string"}})
    return {
        "payments": reviews,
        "webhooks": dead,
        "calls": await callbook.waiting(_SHOWN),
        "disputes": await open_disputes.to_list(_SHOWN),
        "refunds": await refunds.to_list(_SHOWN),
    }


# --- routes -------------------------------------------------------------------------------------

router = APIRouter(prefix="/api/admin", tags=["admin"])
_refusals = (Unauthenticated, Forbidden)


class ReportOut(BaseModel):
    """One reconciliation: what was looked at, what was repaired, what it leaves to a person.

    The lists are cut at 200, the counts are not. `unanswered`: Razorpay did not answer there; the
    next run looks again.
    """

    run_id: str
    trigger: str
    started_at: Instant
    finished_at: Instant
    since: Instant
    until: Instant
    ok: bool
    checked: dict[str, int]
    repaired_count: int
    repaired: list[dict[str, Any]]
    findings_count: int
    findings: list[dict[str, Any]]
    unanswered: list[str]


class WaitingPaymentOut(BaseModel):
    """A payment that was taken and not credited by itself."""

    payment_id: str
    order_id: str
    user_id: str
    amount: RupeesOut
    status: str
    reason: str
    since: Instant


class WaitingOut(BaseModel):
    """Something else that waits, and why."""

    kind: str
    id: str
    detail: str | None


class ReconciliationOut(BaseModel):
    """The latest reports, and what waits for a person now."""

    runs: list[ReportOut]
    payments_in_review: list[WaitingPaymentOut]
    waiting: list[WaitingOut]


class RunIn(BaseModel):
    """Leave alone what is younger than this many minutes."""

    older_than_minutes: Annotated[int, Field(strict=True, ge=0, le=60 * 24 * 30)] = (
        clearing.OLDER_THAN_MINUTES
    )


class ResolveIn(BaseModel):
    """What was done about it."""

    note: Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=500)]


class ResolveCallIn(ResolveIn):
    """What was done about it; for a call whose money is still held, how long it was talked."""

    duration_seconds: Annotated[int, Field(strict=True, ge=0, le=86_400)] | None = None


class SettlementOut(BaseModel):
    """What Razorpay paid out at once. The fee includes its tax; `net` went to our bank."""

    settlement_id: str
    day: str
    utr: str
    lines: int
    gross: RupeesOut
    fee: RupeesOut
    tax: RupeesOut
    net: RupeesOut
    unmatched: list[str]


class SettlementsOut(BaseModel):
    """Settlements, the latest first."""

    settlements: list[SettlementOut]
    next_cursor: str | None


@router.get(
    "/reconciliation", response_model=ReconciliationOut, responses=api.documented(*_refusals)
)
async def get_reconciliation(
    _: Admin, limit: Annotated[int, Query(ge=1, le=100)] = 10
) -> ReconciliationOut:
    """The latest reports and what waits for a person. Nothing at all is the normal state."""
    found = await waiting()
    return ReconciliationOut(
        runs=[_report(run) for run in await clearing.latest(limit)],
        payments_in_review=[_payment(each) for each in found["payments"]],
        waiting=[
            *_waiting("webhook", found["webhooks"], "failure"),
            *_waiting("refund", found["refunds"], "failure"),
            *_waiting("dispute", found["disputes"], "respond_by"),
            *_waiting("call", found["calls"], "review_reason"),
        ],
    )


@router.post(
    "/reconciliation/run",
    response_model=ReportOut,
    responses=api.documented(*_refusals, InvalidRequest, StillRunning),
)
async def run_reconciliation(admin: Admin, body: RunIn | None = None) -> ReportOut:
    """Compare with Razorpay now, repair what can be repaired, and tell. It may take some minutes."""
    minutes = body.older_than_minutes if body else clearing.OLDER_THAN_MINUTES
    report = await clearing.run(older_than_minutes=minutes, trigger=admin.id)
    return _report(await clearing.find(report.run_id))


@router.post(
    "/payments/{payment_id}/resolve",
    response_model=WaitingPaymentOut,
    responses=api.documented(*_refusals, NotFound, InvalidRequest),
)
async def resolve_payment(payment_id: str, body: ResolveIn, admin: Admin) -> WaitingPaymentOut:
    """Take a payment out of the review, after it was refunded or credited by an adjustment."""
    resolved = await payments.resolve(payment_id, by=admin.id, note=body.note)
    if resolved is None:
        raise NotFound("There is no payment with this id that waits for a person.")
    return _payment(resolved)


@router.post(
    "/calls/{call_id}/resolve",
    response_model=CallOut,
    responses=api.documented(*_refusals, NotFound, InvalidRequest, Unavailable),
)
async def resolve_call(call_id: str, body: ResolveCallIn, admin: Admin) -> CallOut:
    """Take a call out of the review. One whose money is still held is charged for `duration_seconds`,
    at the rate that it was placed at, and the rest is free again; 0 costs nothing."""
    resolved = await callbook.resolve(
        call_id, duration_seconds=body.duration_seconds, by=admin.id, note=body.note
    )
    return calls.shown(resolved)


@router.get(
    "/settlements",
    response_model=SettlementsOut,
    responses=api.documented(*_refusals, InvalidRequest, InvalidCursor),
)
async def get_settlements(
    _: Admin,
    limit: Annotated[int, Query(ge=1, le=api.PAGE_LIMIT_MAX)] = api.PAGE_LIMIT_DEFAULT,
    cursor: Annotated[str | None, Query(max_length=500)] = None,
) -> SettlementsOut:
    """What Razorpay paid out to our bank, with its fees and their tax."""
    found, next_cursor = await settlements.page(limit=limit, cursor=cursor)
    return SettlementsOut(settlements=[_settlement(s) for s in found], next_cursor=next_cursor)


def _report(run: Document) -> ReportOut:
    same = {name: run[name] for name in ReportOut.model_fields if name != "run_id"}
    return ReportOut(run_id=run["_id"], **same)


def _payment(known: Document) -> WaitingPaymentOut:
    return WaitingPaymentOut(
        payment_id=known["_id"],
        order_id=known["order_id"],
        user_id=known["user_id"],
        amount=known["amount_paise"],
        status=known["status"],
        reason=known["review"]["reason"],
        since=known["review"]["at"],
    )


def _waiting(kind: str, rows: list[Document], why: str) -> list[WaitingOut]:
    return [WaitingOut(kind=kind, id=row["_id"], detail=_detail(row.get(why))) for row in rows]


def _detail(why: dt.datetime | str | None) -> str | None:
    return clock.iso(why) if isinstance(why, dt.datetime) else why


def _settlement(known: Document) -> SettlementOut:
    return SettlementOut(
        settlement_id=known["_id"],
        day=known["day"],
        utr=known["utr"],
        lines=known["lines"],
        gross=known["gross_paise"],
        fee=known["fee_paise"],
        tax=known["tax_paise"],
        net=known["net_paise"],
        unmatched=known["unmatched"],
    )
