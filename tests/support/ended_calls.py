"""Calls of a campaign that have ended, as the call lifecycle stores them, for the tests of results."""

import datetime as dt
from typing import Any

from core import clock, database
from core.database import db

DIALLED_AT = dt.datetime(2026, 11, 23, 5, 30, tzinfo=dt.UTC)  # Monday, 11:00 in India
_PAISE = ("rate_paise_per_minute", "connection_fee_paise", "held_paise", "due_paise")


def ended_call(campaign_id: str, user_id: str = "usr_a", **changes: Any) -> dict[str, Any]:
    """A call that was answered for 30 seconds."""
    call_id = changes.pop("_id", None) or database.new_id("call")
    created_at = changes.get("created_at", DIALLED_AT)
    call: dict[str, Any] = {
        "_id": call_id,
        "user_id": user_id,
        "to": "+919876543210",
        "campaign_id": campaign_id,
        "status": "completed",
        "rank": 9,
        "billing_status": "settled",
        "created_at": created_at,
        "answered_at": clock.after(5, since=created_at),
        "ended_at": clock.after(35, since=created_at),
        "failure_reason": None,
        "provider": "simulator",
        "provider_call_id": f"sim_{call_id}",
        "duration_seconds": 30,
        "cost_paise": 500,
        "limit_seconds": 300,
        "events": [],
        **dict.fromkeys(_PAISE, 0),
        **changes,
    }
    if call["status"] != "completed":
        unpaid = {"answered_at": None, "duration_seconds": 0, "cost_paise": 0}
        reason = call["failure_reason"] or call["status"]
        call |= unpaid | {"billing_status": "released", "failure_reason": reason}
    for name in (*_PAISE, "cost_paise"):
        call[name] = database.long(call[name])
    return call


async def store(*calls: dict[str, Any]) -> list[str]:
    """Store the calls; their ids."""
    await db.calls.insert_many([{**call} for call in calls])
    return [call["_id"] for call in calls]
