"""State transitions of a call: what a network's report changes in the record; no database."""

from typing import Final

import billing
from billing import Charge
from callrecords import Call
from core import clock, database, outbox
from core.database import Document, Insert
from telephony import OVER, Report

# --- vocabulary ---------------------------------------------------------------------------------

# What a network may report above the limit it was given: it rounds, and takes a moment to hang up.
OVERRUN_SECONDS: Final = 60


_EVENTS_KEPT: Final = 30


# --- what a report sets -------------------------------------------------------------------------
def facts(report: Report) -> Document:
    """What it says beside the status: ids, and who answered."""
    given = {
        "provider_call_id": report.provider_call_id,
        "provider_leg_id": report.leg_id,
        "answered_by": report.answered_by,
    }
    return {name: value for name, value in given.items() if value is not None}


def event(report: Report) -> Document:
    """The `$push` that keeps it among the latest reports of the call."""
    kept = {
        "id": report.event_id,
        "status": report.status,
        "duration_seconds": report.duration_seconds,
        "occurred_at": report.occurred_at,
        "received_at": clock.now(),
    }
    return {"events": {"$each": [kept], "$slice": -_EVENTS_KEPT}}


def ended(report: Report) -> Document:
    """What every end sets."""
    changes: Document = {"status": report.status, "rank": OVER, "ended_at": report.occurred_at}
    if report.answered_at is not None:
        changes["answered_at"] = report.answered_at
    changes |= facts(report)
    if report.status != "completed":
        changes["failure_reason"] = report.reason or report.status
    return changes


def charged(call: Call, report: Report, charge: Charge, *, seconds: int) -> Document:
    """What the end sets that settles or releases the call; what cost more than was reserved is for
    a person to look at."""
    rate = billing.rate_of(call)
    too_much = charge.cost_paise > charge.reserved_paise
    overrun = f"it cost {charge.cost_paise} paise, {charge.reserved_paise} were reserved"
    return ended(report) | {
        "billing_status": "settled" if charge.cost_paise else "released",
        "review_reason": overrun if too_much else None,
        "duration_seconds": seconds,
        "billable_seconds": billing.billable_seconds(seconds, rate),
        "pulse_count": billing.pulse_count(seconds, rate),
        "cost_paise": database.long(charge.cost_paise),
        "due_paise": database.long(charge.due_paise),
        "held_paise": database.long(0),
        "explanation": billing.explanation(seconds, rate),
    }


def ended_event(call: Call, report: Report, *, seconds: int, cost_paise: int) -> Insert:
    """The event that goes with every end."""
    return outbox.record(
        "CallEnded",
        user_id=call["user_id"],
        pending=call["campaign_id"] is not None,
        call_id=call["_id"],
        campaign_id=call["campaign_id"],
        status=report.status,
        answered_by=report.answered_by or call.get("answered_by"),
        duration_seconds=seconds,
        cost_paise=cost_paise,
    )


def decided(call: Call, duration_seconds: int, *, by: str) -> Report:
    """The end that a person decided on."""
    status = "completed" if duration_seconds else "failed"
    if call["rank"] == OVER and not duration_seconds:
        status = call["status"]
    return Report(
        event_id=f"reviewed:{by}",
        provider_call_id=None,
        status=status,
        duration_seconds=duration_seconds,
        occurred_at=call["ended_at"] or clock.now(),
        reason=call["failure_reason"] or "reviewed",
    )


# --- what a person has to look at ---------------------------------------------------------------
def impossible(call: Call, report: Report) -> str | None:
    """Why the duration cannot be true; None when it can."""
    limit_seconds = max(call["limit_seconds"], call["told_limit_seconds"])
    duration = report.duration_seconds
    if duration is None or 0 <= duration <= limit_seconds + OVERRUN_SECONDS:
        return None
    return f"{duration} s reported, {limit_seconds} s were the limit"


def contradiction(call: Call, report: Report) -> str | None:
    """How a second end contradicts the first; None when it does not."""
    if report.rank < OVER or report.is_unverified:
        return None
    known = (call["status"], call["duration_seconds"] or 0)
    reported = (report.status, report.duration_seconds or 0)
    if report.duration_seconds is None and report.status == call["status"]:
        reported = known  # it does not say how long, so it contradicts nothing
    if reported == known:
        return None
    return f"the network later reported {report.status}, {report.duration_seconds} s"
