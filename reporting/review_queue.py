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
    dead = db.events.find({"name": webhooks.EVENT, "state": "dead"}, sort=_oldest_first("at"))
    disputed = db.disputes.find({"state": "reserved"}, sort=_oldest_first("created_at"))
    # One that is not checked any more has ended: the index is over the others.
    open_ones: Document = {"next_check_at": {"$type": "date"}, "status": "reserved"}
    open_ones["failure"] = {"$type": "string"}
    refused = db.refunds.find(open_ones, sort=_oldest_first("created_at"))
    adjustments, _ = await wallet.list_waiting_adjustments(limit=_SHOWN)
    return Waiting(
        payments=await payments.list_in_review(_SHOWN),
        webhooks=cast(list[Event], await dead.limit(_SHOWN).to_list(None)),
        calls=await call_records.list_calls_in_review(_SHOWN),
        disputes=cast(list[Dispute], await disputed.limit(_SHOWN).to_list(None)),
        refunds=cast(list[Refund], await refused.limit(_SHOWN).to_list(None)),
        doubtful_refunds=await refunds.list_waiting(_SHOWN),
        unclear_disputes=await disputes.list_unclear_pairs(_SHOWN),
        adjustments=adjustments,
    )


def _oldest_first(since: str) -> list[tuple[str, int]]:
    return [(since, 1), ("_id", 1)]
