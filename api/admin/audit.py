"""Admin routes of the audit: run it, see what it found."""

import dataclasses

from fastapi import APIRouter, Query
from pydantic import BaseModel

from api import problems
from api.dependencies import Admin
from core import money
from reporting import audit

router = APIRouter(prefix="/api/admin", tags=["admin"], route_class=problems.Route)


class ViolationOut(BaseModel):
    """One thing that must not be."""

    invariant: str
    user_id: str | None
    seq: int | None
    detail: str


class AuditOut(BaseModel):
    """The result of an audit."""

    ok: bool
    wallets: int
    entries: int
    violations: list[ViolationOut]
    trial_balance: dict[str, float]


@router.get("/audit", response_model=AuditOut)
async def audit_route(admin: Admin, user_id: str | None = Query(None, max_length=100)) -> AuditOut:
    """Check every invariant of the money, of one user or of everybody."""
    report = await audit.audit(user_id)
    return AuditOut(
        ok=report.ok,
        wallets=report.wallets,
        entries=report.entries,
        violations=[ViolationOut(**dataclasses.asdict(v)) for v in report.violations],
        trial_balance={
            account: money.rupees(paise) for account, paise in (report.accounts).items()
        },
    )
