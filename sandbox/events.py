"""Webhook events: recorded in the transaction that causes them, listed, switched on and off."""

import asyncio
import json
import time
from typing import Any

from motor.motor_asyncio import AsyncIOMotorClientSession, AsyncIOMotorDatabase

from core import clock
from sandbox import responses
from sandbox.responses import Document

ACCOUNT_ID = "acc_SandboxAccount"
# As at Razorpay: a browser that comes back is usually faster than the first webhook.
FIRST_AFTER_SECONDS = 1.5
KEPT_SECONDS = 30 * 86_400
# In Razorpay's sample of order.paid the payment has fewer members than elsewhere.
_LACKING_IN_ORDER_PAID = {
    "base_amount",
    "amount_transferred",
    "acquirer_data",
    "error_source",
    "error_step",
    "error_reason",
}


class Outbox:
    """The events. A state is waiting, delivered, lost, or held (webhooks are switched off)."""

    def __init__(self, database: AsyncIOMotorDatabase[Document]) -> None:
        self.events = database["webhook_events"]
        self._switch = database["switches"]
        self.woken = asyncio.Event()  # something happened in this process

    async def start(self) -> None:
        """Create the indexes."""
        due = [("next_at", 1), ("seq", 1)]
        await self.events.create_index([("state", 1), *due])
        await self.events.create_index([("state", 1), ("failures", 1), *due])
        await self.events.create_index([("seq", -1)])
        await self.events.create_index("about")
        await self.events.create_index("overtaken", sparse=True)
        await self.events.create_index("created_at", expireAfterSeconds=KEPT_SECONDS)

    async def record(
        self, event: str, session: AsyncIOMotorClientSession, **entities: Document
    ) -> None:
        """Record that `event` happened, with a snapshot of the entities, as part of the
        transaction that causes it."""
        at = clock.now()
        if event == "order.paid":
            payment = entities["payment"]
            entities["payment"] = {
                k: v for k, v in payment.items() if k not in _LACKING_IN_ORDER_PAID
            }
        body = {
            "entity": "event",
            "account_id": ACCOUNT_ID,
            "event": event,
            "contains": list(entities),
            "payload": {kind: {"entity": entity} for kind, entity in entities.items()},
            "created_at": responses.seconds(at),
        }
        await self.events.insert_one(
            {
                "_id": responses.letters(14),
                "event": event,
                "about": [entity["id"] for entity in entities.values()],
                "entity_ids": {kind: entity["id"] for kind, entity in entities.items()},
                "body": json.dumps(body, separators=(",", ":"), ensure_ascii=False),
                "state": "waiting" if await self._is_on(session) else "held",
                "attempts": 0,
                "failures": 0,
                "last_status": None,
                "seq": time.time_ns(),
                "next_at": clock.after(FIRST_AFTER_SECONDS, since=at),
                "created_at": at,
            },
            session=session,
        )

    async def event(self, event_id: str) -> Document:
        """One of them. Raises Refusal."""
        found = await self.events.find_one({"_id": event_id})
        if found is None:
            raise responses.unknown_id()
        return found

    async def listed(
        self, *, event: str | None, about: str | None, state: str | None, count: int, skip: int
    ) -> list[Document]:
        """The newest first."""
        wanted: Document = {"event": event, "about": about, "state": state}
        where = {field: value for field, value in wanted.items() if value is not None}
        found = self.events.find(where, {"body": 0}).sort("seq", -1)
        return await found.skip(skip).limit(count).to_list(None)

    async def switch(self, *, enabled: bool) -> None:
        """On or off, for all processes. What waits when webhooks go off is held back."""
        await self._switch.update_one(
            {"_id": "webhooks"}, {"$set": {"enabled": enabled}}, upsert=True
        )
        if not enabled:
            await self.events.update_many({"state": "waiting"}, {"$set": {"state": "held"}})

    async def is_on(self) -> bool:
        """Whether events are sent."""
        return await self._is_on(None)

    async def _is_on(self, session: AsyncIOMotorClientSession | None) -> bool:
        found = await self._switch.find_one({"_id": "webhooks"}, session=session)
        return found is None or bool(found["enabled"])


def event_entity(event: Document) -> Document:
    """An event as the sandbox lists it; with its body, where that was read."""
    shown: dict[str, Any] = {
        "id": event["_id"],
        "event": event["event"],
        "entity_ids": event["entity_ids"],
        "state": event["state"],
        "attempts": event["attempts"],
        "last_status": event["last_status"],
        "created_at": clock.iso(event["created_at"]),
        "next_at": clock.iso(event["next_at"]) if event["state"] == "waiting" else None,
    }
    return shown | ({"body": event["body"]} if "body" in event else {})
