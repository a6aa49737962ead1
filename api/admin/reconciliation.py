"""Admin routes of reconciliation: runs, settlements, the review queue and its decisions."""

import datetime as dt
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field, StringConstraints

import payments
from api import calls as calls_routes
from api import problems
from api.calls import CallOut
from api.dependencies import Admin, Operator, Page
from api.fields import Instant, RequestModel, RupeesOut
from auth import audit_log
from auth.audit_log import Target
from calls import lifecycle
from core import clock
from core.errors import InvalidRequest, NotFound, StillRunning
from disputes import Dispute
from payments import Payment
from reconciliation import reconcile, settlements
from reconciliation.reconcile import Reconciliation
from reconciliation.settlements import Settlement
from reporting import review_queue

router = APIRouter(prefix="/api/admin", tags=["admin"], route_class=problems.Route)


# --- shapes -------------------------------------------------------------------------------------


class ReportOut(BaseModel):
    """One reconciliation: what was looked at, what was repaired, what it leaves to a person.

    The lists are cut at 200, the counts are not. `unanswered`: Razorpay did not answer there, or has not
    decided; the next run looks again.
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
    unanswered_count: int


class RunningOut(BaseModel):
    """The reconciliation that is under way, and how far it is."""

    run_id: str
    trigger: str
    started_at: Instant
    step: str
    checked: dict[str, int]
    repaired_count: int
    findings_count: int
    unanswered_count: int


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
    """The latest reports, the run under way, and what waits for a person now."""

    runs: list[ReportOut]
    running: RunningOut | None
    payments_in_review: list[WaitingPaymentOut]
    waiting: list[WaitingOut]


class RunIn(RequestModel):
    """Leave alone what is younger than this many minutes."""

    older_than_minutes: Annotated[int, Field(strict=True, ge=0, le=60 * 24 * 30)] = (
        reconcile.OLDER_THAN_MINUTES
    )


class ResolveIn(RequestModel):
    """What was done about it."""

    note: Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=500)]


class ResolveCallIn(ResolveIn):
    """What was done about it; for a call whose money is still held, how long it was talked."""

    duration_seconds: Annotated[int, Field(strict=True, ge=0, le=86_400)] | None = None


class SettlementOut(BaseModel):
    """What Razorpay paid out at once. The fee includes its tax; `refunded` is what was kept back for refunds
    and lost disputes, and `net` = `gross` - `fee` - `refunded` went to our bank."""

    settlement_id: str
    day: str
    utr: str
    lines: int
    gross: RupeesOut
    fee: RupeesOut
    tax: RupeesOut
    refunded: RupeesOut
    net: RupeesOut
    unmatched: list[str]


class SettlementsOut(BaseModel):
    """Settlements, the latest first."""

    settlements: list[SettlementOut]
    next_cursor: str | None


# --- routes -------------------------------------------------------------------------------------


@router.get("/reconciliation", response_model=ReconciliationOut)
async def get_reconciliation(
    _: Operator, limit: Annotated[int, Query(ge=1, le=100)] = 10
) -> ReconciliationOut:
    """The latest reports and what waits for a person. Nothing at all is the normal state."""
    found = await review_queue.find_waiting()
    progress = await reconcile.find_progress()
    return ReconciliationOut(
        runs=[_report(run) for run in await reconcile.list_reports(limit)],
        running=RunningOut.model_validate(progress) if progress is not None else None,
        payments_in_review=[_payment(each) for each in found.payments],
        waiting=[
            *(_waiting("webhook", row, row.get("failure")) for row in found.webhooks),
            *(_waiting("refund", row, row["failure"]) for row in found.refunds),
            *(_waiting("refund", row, row.get("waits")) for row in found.doubtful_refunds),
            *(_waiting("dispute", row, row["respond_by"]) for row in found.disputes),
            *(_waiting("dispute", row, _why_unclear(row)) for row in found.unclear_disputes),
            *(_waiting("call", row, row.get("review_reason")) for row in found.calls),
            *(_waiting("adjustment", row, row["reason"]) for row in found.adjustments),
        ],
    )


@router.post(
    "/reconciliation/run",
    response_model=ReportOut,
    responses=problems.documented(StillRunning),
)
async def run_reconciliation(admin: Admin, body: RunIn | None = None) -> ReportOut:
    """Compare with Razorpay now, repair what can be repaired, and answer the report. When it takes longer
    than half a minute the answer is 409, and it goes on: GET shows how far it is, then its report."""
    minutes = body.older_than_minutes if body else reconcile.OLDER_THAN_MINUTES
    report = await reconcile.run_and_wait(older_than_minutes=minutes, trigger=admin.id)
    audit_log.describe(
        "reconciliation.run",
        Target("reconciliation", report.run_id),
        after={"older_than_minutes": minutes},
    )
    return _report(await reconcile.get_report(report.run_id))


@router.post(
    "/payments/{payment_id}/resolve",
    response_model=WaitingPaymentOut,
    responses=problems.documented(NotFound),
)
async def resolve_payment(payment_id: str, body: ResolveIn, admin: Admin) -> WaitingPaymentOut:
    """Take a payment out of the review, after it was refunded or credited by an adjustment."""
    resolved = await payments.resolve_review(payment_id, by=admin.id, note=body.note)
    if resolved is None:
        raise NotFound("There is no payment with this id that waits for a person.")
    audit_log.describe(
        "payment.resolve",
        Target("payment", payment_id),
        before={"review": resolved["review"]["reason"]},
        after={"note": body.note},
    )
    return _payment(resolved)


@router.post(
    "/calls/{call_id}/resolve",
    response_model=CallOut,
    responses=problems.documented(NotFound),
)
async def resolve_call(call_id: str, body: ResolveCallIn, admin: Admin) -> CallOut:
    """Take a call out of the review. One whose money is still held is charged for `duration_seconds`,
    at the rate that it was placed at, and the rest is free again; 0 costs nothing."""
    resolved = await lifecycle.resolve_review(
        call_id, duration_seconds=body.duration_seconds, by=admin.id, note=body.note
    )
    audit_log.describe(
        "call.resolve",
        Target("call", call_id),
        before={"review": resolved.get("review_reason")},
        after={
            "duration_seconds": body.duration_seconds,
            "cost_paise": resolved.get("cost_paise"),
            "note": body.note,
        },
    )
    return calls_routes.call_out(resolved)


@router.get(
    "/settlements",
    response_model=SettlementsOut,
    responses=problems.documented(InvalidRequest),
)
async def get_settlements(
    _: Operator,
    page: Page,
) -> SettlementsOut:
    """What Razorpay paid out to our bank, with its fees and their tax."""
    found, next_cursor = await settlements.list_settlements(limit=page.limit, cursor=page.cursor)
    return SettlementsOut(settlements=[_settlement(s) for s in found], next_cursor=next_cursor)


# --- how reports and what waits are shown -------------------------------------------------------


def _report(run: Reconciliation) -> ReportOut:
    return ReportOut(
        run_id=run["_id"],
        trigger=run["trigger"],
        started_at=run["started_at"],
        finished_at=run["finished_at"],
        since=run["since"],
        until=run["until"],
        ok=run["ok"],
        checked=run["checked"],
        repaired_count=run["repaired_count"],
        repaired=run["repaired"],
        findings_count=run["findings_count"],
        findings=run["findings"],
        unanswered=run["unanswered"],
        unanswered_count=run.get("unanswered_count", len(run["unanswered"])),
    )


def _payment(record: Payment) -> WaitingPaymentOut:
    return WaitingPaymentOut(
        payment_id=record["_id"],
        order_id=record["order_id"],
        user_id=record["user_id"],
        amount=record["amount_paise"],
        status=record["status"],
        reason=record["review"]["reason"],
        since=record["review"]["at"],
    )


def _waiting(kind: str, row: Mapping[str, Any], why: dt.datetime | str | None) -> WaitingOut:
    detail = clock.iso(why) if isinstance(why, dt.datetime) else why
    return WaitingOut(kind=kind, id=row["_id"], detail=detail)


def _why_unclear(record: Dispute) -> str | None:
    unclear = record.get("unclear")
    return unclear["reason"] if unclear else None


def _settlement(record: Settlement) -> SettlementOut:
    return SettlementOut(
        settlement_id=record["_id"],
        day=record["day"],
        utr=record["utr"],
        lines=record["lines"],
        gross=record["gross_paise"],
        fee=record["fee_paise"],
        tax=record["tax_paise"],
        refunded=record["refunded_paise"],
        net=record["net_paise"],
        unmatched=record["unmatched"],
    )
