"""Review queue: what waits for a person's decision, by kind."""

from dataclasses import dataclass
from typing import cast

import disputes
import payments
import refunds
import wallet
from calls import records as call_records
from calls.records import Call
from core.database import Document, db
from core.outbox import Event
from disputes import Dispute
from payments import Payment
from reconciliation import webhooks
from refunds import Refund
from wallet import Adjustment

_SHOWN = 50


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is in review now: of each kind the oldest fifty."""

    payments: list[Payment]
    webhooks: list[Event]
    calls: list[Call]
    disputes: list[Dispute]
    refunds: list[Refund]
    doubtful_refunds: list[Refund]  # `waits` says why
    unclear_disputes: list[Dispute]  # `unclear` says why
    adjustments: list[Adjustment]  # each waits for a second admin


async def find_waiting() -> Waiting:
    """Find what is in review now."""
    adjustments, _ = await wallet.list_waiting_adjustments(limit=_SHOWN)
    return Waiting(
        payments=await payments.list_in_review(_SHOWN),
        webhooks=await list_dead_webhooks(_SHOWN),
        calls=await call_records.list_calls_in_review(_SHOWN),
        disputes=await list_open_disputes(_SHOWN),
        refunds=await list_refused_refunds(_SHOWN),
        doubtful_refunds=await refunds.list_waiting(_SHOWN),
        unclear_disputes=await disputes.list_unclear_pairs(_SHOWN),
        adjustments=adjustments,
    )


async def list_dead_webhooks(limit: int) -> list[Event]:
    """The webhooks that no retry can handle, the oldest first."""
    dead = db.events.find({"name": webhooks.EVENT, "state": "dead"}, sort=_oldest_first("at"))
    return cast(list[Event], await dead.limit(limit).to_list(None))


async def list_open_disputes(limit: int) -> list[Dispute]:
    """The disputes whose money is reserved until Razorpay decides, the oldest first."""
    disputed = db.disputes.find({"state": "reserved"}, sort=_oldest_first("created_at"))
    return cast(list[Dispute], await disputed.limit(limit).to_list(None))


async def list_refused_refunds(limit: int) -> list[Refund]:
    """The refunds that Razorpay refuses for now, the oldest first."""
    # One that is not checked any more has ended: the index is over the others.
    open_ones: Document = {"next_check_at": {"$type": "date"}, "status": "reserved"}
    open_ones["failure"] = {"$type": "string"}
    refused = db.refunds.find(open_ones, sort=_oldest_first("created_at"))
    return cast(list[Refund], await refused.limit(limit).to_list(None))


def _oldest_first(since: str) -> list[tuple[str, int]]:
    return [(since, 1), ("_id", 1)]
