"""Review queue: what waits for a person's decision, by kind."""

from dataclasses import dataclass
from typing import cast

import payments
from calls import records as call_records
from calls.records import Call
from core import outbox
from core.database import db
from core.outbox import Event
from disputes import Dispute
from payments import Payment
from reconciliation import webhooks
from refunds import Refund

_SHOWN = 50


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is in review now: of each kind the oldest fifty."""

    payments: list[Payment]
    webhooks: list[Event]
    calls: list[Call]
    disputes: list[Dispute]
    refunds: list[Refund]


async def find_waiting() -> Waiting:
    """Find what is in review now."""
    disputed = await db.disputes.find({"state": "reserved"}).to_list(_SHOWN)
    dead, _ = await outbox.list_events(webhooks.EVENT, state="dead", limit=_SHOWN)
    refunds = db.refunds.find({"status": "reserved", "failure": {"$type": "string"}})
    return Waiting(
        payments=await payments.list_in_review(_SHOWN),
        webhooks=dead,
        calls=await call_records.list_calls_in_review(_SHOWN),
        disputes=cast(list[Dispute], disputed),
        refunds=cast(list[Refund], await refunds.to_list(_SHOWN)),
    )
