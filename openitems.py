"""What is open between Razorpay, the networks and us: reports, and what waits for a person."""

from dataclasses import dataclass
from typing import cast

import callbook
import payments
import webhooks
from callrecords import Call
from core import outbox
from core.database import Document, db
from disputes import Dispute
from payments import Payment
from refundbook import Refund

_SHOWN = 50


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits for a person now: of each kind the oldest fifty."""

    payments: list[Payment]
    webhooks: list[Document]
    calls: list[Call]
    disputes: list[Dispute]
    refunds: list[Refund]


async def waiting() -> Waiting:
    """What waits for a person now."""
    disputed = await db.disputes.find({"state": "reserved"}).to_list(_SHOWN)
    dead, _ = await outbox.page(webhooks.EVENT, state="dead", limit=_SHOWN)
    refunds = db.refunds.find({"status": "reserved", "failure": {"$type": "string"}})
    return Waiting(
        payments=await payments.waiting(_SHOWN),
        webhooks=dead,
        calls=await callbook.waiting(_SHOWN),
        disputes=cast(list[Dispute], disputed),
        refunds=cast(list[Refund], await refunds.to_list(_SHOWN)),
    )
