"""Admin routes of the audit: run it, see what it found, repair what can be repaired."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, StringConstraints

from api import problems
from api.admin.customers import ByHandOut, Reason, by_hand_out
from api.dependencies import Admin, Operator
from api.fields import Instant, RequestModel
from api.idempotency import Answer, IdempotentRequired
from auth import audit_log
from auth.audit_log import Target
from core import clock, money
from core.errors import BalanceHeld, InsufficientBalance, NotFound, Unavailable
from gateway import GatewayRefused, GatewayUnavailable
from payments import PaymentMismatch
from reporting import audit, audit_runs, repairs
from reporting.audit import EVERYBODY, Report, Violation
from reporting.audit_runs import AuditRun
from reporting.repairs import NothingToRepair, SecondAdminNeeded, StillOpen
from wallet import OwnWallet

router = APIRouter(prefix="/api/admin", tags=["admin"], route_class=problems.Route)

# An audit of everybody that takes long is not begun again before it is this old.
_FRESH_SECONDS = 3_600.0


# --- shapes -------------------------------------------------------------------------------------


class ViolationOut(BaseModel):
    """One thing that must not be. `repairs` are the ways out of it, `subject` is what they are about."""

    invariant: str
    user_id: str | None
    seq: int | None
    detail: str
    subject: str
    finding_id: str
    repairs: list[repairs.Action]


class RunOut(BaseModel):
    """An audit of everybody that is under way, or has ended."""

    run_id: str
    state: Literal["running", "finished", "failed"]
    started_at: Instant
    finished_at: Instant | None
    entries: int
    entries_expected: int


class AuditOut(BaseModel):
    """The result of an audit. `acknowledged`: what an admin has acknowledged, which is no violation any
    more. `run` is there when there are too many entries to wait for it: the run that this is the
    result of. `running`: the one that is under way, whose result comes later."""

    ok: bool
    wallets: int
    entries: int
    violations: list[ViolationOut]
    trial_balance: dict[str, float]
    acknowledged: list[ViolationOut] | None = None
    run: RunOut | None = None
    running: RunOut | None = None


class RepairIn(RequestModel):
    """What to repair: the `subject` of a finding (for `acknowledge` its `finding_id`), whose, and why.
    Without `user_id`: what concerns all wallets together."""

    action: repairs.Action
    user_id: Annotated[str | None, StringConstraints(max_length=100)] = None
    subject: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    reason: Reason


# --- routes -------------------------------------------------------------------------------------


@router.get("/audit", response_model=AuditOut)
async def audit_route(
    reader: Operator, user_id: Annotated[str | None, Query(max_length=100)] = None
) -> Response:
    """Check every invariant of the money, of one user or of everybody. With very many entries the
    audit of everybody is a job: the answer is what the last one found, and a new one is begun."""
    if user_id is not None:
        report = await audit.audit(user_id)
        return _answer(_out(report, await _trial_balance()))
    if await audit_runs.can_wait():
        report = await audit.audit()
        return _answer(_out(report, report.accounts))
    finished, running = await audit_runs.find_finished(), await audit_runs.find_running()
    if _is_due(finished, running):
        running = await audit_runs.start_run(by=reader.id)
    shown = finished or running
    assert shown is not None
    report = audit_runs.report_of(shown)
    out = _out(report, report.accounts)
    out.ok = finished is not None and report.ok
    out.run = _run_out(shown)
    if finished is not None and running is not None:
        out.running = _run_out(running)
    return _answer(out)


@router.post("/audit", status_code=202, response_model=RunOut)
async def start_audit(admin: Admin) -> RunOut:
    """Begin an audit of everybody now, in a process of its own; the one that is under way, if one is."""
    return _run_out(await audit_runs.start_run(by=admin.id))


@router.post(
    "/audit/repairs",
    status_code=201,
    response_model=ByHandOut,
    responses=problems.documented(
        NotFound,
        StillOpen,
        NothingToRepair,
        SecondAdminNeeded,
        OwnWallet,
        Unavailable,
        InsufficientBalance,
        BalanceHeld,
        PaymentMismatch,
        GatewayUnavailable,
        GatewayRefused,
    ),
)
async def post_repair(body: RepairIn, admin: Admin, once: IdempotentRequired) -> Response:
    """Repair what the audit has found, or acknowledge what nothing can undo, with a reason."""

    async def work(seed: str) -> Answer:
        request = repairs.Request(
            action=body.action,
            user_id=body.user_id or EVERYBODY,
            subject=body.subject,
            reason=body.reason,
            by=admin.id,
            seed=f"adj_{seed}",
        )
        record = await repairs.repair(request)
        audit_log.describe(
            "audit.repair",
            Target("user", request.user_id),
            after={
                "action": body.action,
                "subject": body.subject,
                "reason": body.reason,
                "transaction_id": record["transaction_id"],
                "status": record.get("status"),
            },
        )
        return Answer(201, by_hand_out(record))

    return await once(admin.id, work)


# --- how an audit is shown ----------------------------------------------------------------------


def _is_due(finished: AuditRun | None, running: AuditRun | None) -> bool:
    if running is not None:
        return running["lease_until"] < clock.now()  # its process has ended
    return finished is None or finished["started_at"] < clock.after(-_FRESH_SECONDS)


async def _trial_balance() -> dict[str, int]:
    """That of everybody: of this moment, or with very many entries that of the last audit."""
    if await audit_runs.can_wait():
        return await audit.trial_balance()
    finished = await audit_runs.find_finished()
    return {} if finished is None else audit_runs.report_of(finished).accounts


def _answer(out: AuditOut) -> Response:
    """Without what is not there: an audit that was waited for has no `run`."""
    absent = {name for name in ("acknowledged", "run", "running") if getattr(out, name) is None}
    return Response(out.model_dump_json(exclude=absent), media_type="application/json")


def _out(report: Report, accounts: dict[str, int]) -> AuditOut:
    out = AuditOut(
        ok=report.ok,
        wallets=report.wallets,
        entries=report.entries,
        violations=[_violation_out(each) for each in report.violations],
        trial_balance={account: money.rupees(paise) for account, paise in accounts.items()},
    )
    if report.acknowledged:
        out.acknowledged = [_violation_out(each) for each in report.acknowledged]
    return out


def _violation_out(violation: Violation) -> ViolationOut:
    return ViolationOut(
        invariant=violation.invariant,
        user_id=violation.user_id,
        seq=violation.seq,
        detail=violation.detail,
        subject=violation.subject,
        finding_id=violation.finding_id,
        repairs=repairs.ways_out(violation),
    )


def _run_out(run: AuditRun) -> RunOut:
    return RunOut(
        run_id=run["_id"],
        state=run["state"],
        started_at=run["started_at"],
        finished_at=run["finished_at"],
        entries=run["entries"],
        entries_expected=run["entries_expected"],
    )
