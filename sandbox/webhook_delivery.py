"""Webhook delivery: signed, repeated until it is answered 2xx, and faulty on request."""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import hmac
import logging
from typing import Protocol

import httpx
from pymongo import ReturnDocument

from core import clock
from sandbox import faults, responses
from sandbox.events import Outbox
from sandbox.faults import Faults
from sandbox.responses import Document, Refusal

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 5.0
LEASE_SECONDS = 7.0
BACKOFF_SECONDS_FIRST, BACKOFF_SECONDS_MAX = 1.0, 3_600.0
GIVEN_UP_AFTER_SECONDS = 86_400.0

# So long the next event waits for an answer to the one before: quick receivers see the order of
# the events, slow ones do not stop the others.
PATIENCE_SECONDS = 0.25
IN_FLIGHT_MAX = 16
DELIVERIES_PER_ROUND = 50
# An event of this process wakes its delivery; this finds what another process left behind.
IDLE_SECONDS_MAX, IDLE_SECONDS_MIN = 5.0, 0.02
OVERTAKEN_AFTER_SECONDS = 0.3
_SIGNINGS = {
    "webhook_old_secret": "previous",
    "webhook_wrong_secret": "wrong",
    "webhook_unsigned": "unsigned",
}


class Scheduled(Protocol):
    """Something that has changes that are due at a certain time."""

    async def apply_due(self) -> None:
        """Make the changes that are due."""

    async def next_due(self) -> dt.datetime | None:
        """When the next change is due."""


@dataclasses.dataclass(frozen=True, slots=True)
class Receiver:
    """Where webhooks go, and the secrets that it knows."""

    url: str
    secret: str
    secret_previous: str

    def signature(self, signing: str, body: bytes) -> str | None:
        """`signing`: current, previous, wrong or unsigned. Raises Refusal."""
        if signing == "unsigned":
            return None
        secret = {
            "current": self.secret,
            "previous": self.secret_previous,
            "wrong": f"not {self.secret}",
        }[signing]
        if not secret:
            raise Refusal(f"There is no {signing} webhook secret", "input_validation_failed")
        return hmac.new(secret.encode(), body, "sha256").hexdigest()


class WebhookDelivery:
    """One task in each process; an event is leased, so that one process sends it."""

    def __init__(
        self, outbox: Outbox, asked_for: Faults, receiver: Receiver, scheduled: list[Scheduled]
    ) -> None:
        self._outbox, self._events, self._faults = outbox, outbox.events, asked_for
        self._receiver, self._scheduled = receiver, scheduled
        self._flying: set[asyncio.Task[None]] = set()
        self._held_back: list[int] = []  # the places of events that wait to be overtaken

    async def start(self) -> None:
        """Begin to deliver."""
        self._client = httpx.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=False)
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End at once; what was in flight is delivered again when its lease is over."""
        tasks = [self._task, *self._flying]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.aclose()

    async def replay(
        self, event_id: str, *, signing: str = "current", new_event_id: bool = False
    ) -> Document:
        """Send an event now, whatever its state; what the receiver answered."""
        event = await self._outbox.event(event_id)
        sent_as = responses.letters(14) if new_event_id else event_id
        status = await self._post(event, signing, sent_as)
        change: Document = {"$set": {"last_status": status}, "$inc": {"attempts": 1}}
        if _is_good(status):
            change["$set"]["state"] = "delivered"
        await self._events.update_one({"_id": event_id}, change)
        return {"event_id": sent_as, "status": status}

    async def _run(self) -> None:
        while True:
            self._outbox.woken.clear()
            pause = 1.0
            try:
                pause = await self._round()
            except Exception as problem:  # the database is away, for example
                log.debug("webhooks: %r", problem)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):  # `wait_for` may forget to be cancelled
                    await self._outbox.woken.wait()

    async def _round(self) -> float:
        """Do all that is due; the seconds until something is due again."""
        for part in self._scheduled:
            try:
                await part.apply_due()
            except Exception as problem:  # one that cannot must not stop the others
                log.debug("webhooks: %r", problem)
        behind = self._events.find({"overtaken": False}, {"seq": 1})
        self._held_back = [event["seq"] async for event in behind]
        for _ in range(DELIVERIES_PER_ROUND):
            if (event := await self._claimed()) is None:
                break
            await self._dispatch(event)
        dues = [await part.next_due() for part in self._scheduled] + [await self._next_due()]
        now = clock.now()
        waits = [(due - now).total_seconds() for due in dues if due is not None]
        return max(IDLE_SECONDS_MIN, min([*waits, IDLE_SECONDS_MAX]))

    async def _next_due(self) -> dt.datetime | None:
        async for event in self._events.find({"state": "waiting"}).sort("next_at", 1).limit(1):
            due: dt.datetime = event["next_at"]
            return due
        return None

    async def _claimed(self) -> Document | None:
        """The oldest event that is due, leased; what failed before comes after what did not."""
        return await self._events.find_one_and_update(
            {"state": "waiting", "next_at": {"$lte": clock.now()}},
            {"$set": {"next_at": clock.after(LEASE_SECONDS)}, "$inc": {"leases": 1}},
            sort=[("failures", 1), ("next_at", 1), ("seq", 1)],
            return_document=ReturnDocument.AFTER,
        )

    async def _dispatch(self, event: Document) -> None:
        if "signing" not in event and await self._is_kept_back_by_a_fault(event):
            return
        delivery = asyncio.create_task(self._deliver(event))
        self._flying.add(delivery)
        delivery.add_done_callback(self._flying.discard)
        await asyncio.wait({delivery}, timeout=PATIENCE_SECONDS)
        if len(self._flying) >= IN_FLIGHT_MAX:
            await asyncio.wait(self._flying, return_when=asyncio.FIRST_COMPLETED)

    async def _is_kept_back_by_a_fault(self, event: Document) -> bool:
        """Apply the fault that was asked for this event; whether it is not sent now because of it."""
        fault = await self._faults.take(
            faults.OF_WEBHOOKS, "POST", event["event"], since=event["created_at"]
        )
        if fault is None:
            event["signing"] = "current"
            return False
        kind = fault["kind"]
        facts: Document = {"signing": _SIGNINGS.get(kind, "current")}
        if kind == "webhook_repeated":
            facts["copies"] = 3
        if kind == "webhook_lost":
            facts["state"] = "lost"
        if kind in ("webhook_late", "webhook_reordered"):
            facts["next_at"] = clock.after(fault["seconds"])
        if kind == "webhook_reordered":
            facts["overtaken"] = False
            self._held_back.append(event["seq"])
        await self._events.update_one({"_id": event["_id"], "state": "waiting"}, {"$set": facts})
        event |= facts
        return "state" in facts or "next_at" in facts

    async def _deliver(self, event: Document) -> None:
        try:
            sent = [
                self._post(event, event["signing"], event["_id"])
                for _ in range(event.get("copies", 1))
            ]
            await self._note(event, await asyncio.gather(*sent))
        except Exception as problem:  # the lease runs out, and it is tried again
            log.debug("webhook %s: %r", event["_id"], problem)

    async def _note(self, event: Document, statuses: list[int | None]) -> None:
        """Store what was answered, and release the events that waited to be overtaken by this one."""
        good = all(map(_is_good, statuses))
        facts: Document = {"last_status": statuses[-1], "signing": event["signing"]}
        if good:
            facts["state"] = "delivered"
        elif clock.now() > clock.after(GIVEN_UP_AFTER_SECONDS, since=event["created_at"]):
            facts["state"] = "lost"
        else:
            failures = event["failures"]
            wait = min(BACKOFF_SECONDS_FIRST * 2 ** min(failures, 20), BACKOFF_SECONDS_MAX)
            facts |= {"failures": failures + 1, "next_at": clock.after(wait), "copies": 1}
        change = {"$set": facts, "$inc": {"attempts": len(statuses)}}
        mine = {"_id": event["_id"], "leases": event["leases"]}
        await self._events.update_one(mine, change)
        overtakes = any(seq < event["seq"] for seq in self._held_back)
        if overtakes:
            await self._events.update_many(
                {"overtaken": False, "seq": {"$lt": event["seq"]}},
                {"$set": {"overtaken": True, "next_at": clock.after(OVERTAKEN_AFTER_SECONDS)}},
            )
            self._held_back = [seq for seq in self._held_back if seq > event["seq"]]
        if not good or overtakes:
            self._outbox.woken.set()

    async def _post(self, event: Document, signing: str, sent_as: str) -> int | None:
        """The status that the receiver answered; None when there was no answer in time."""
        body = event["body"].encode()
        headers = {"content-type": "application/json", "x-razorpay-event-id": sent_as}
        signature = self._receiver.signature(signing, body)
        if signature is not None:
            headers["X-Razorpay-Signature"] = signature
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                answer = await self._client.post(self._receiver.url, content=body, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as problem:
            log.debug("webhook %s: %r", event["_id"], problem)
            return None
        log.debug("webhook %s: %s", event["_id"], answer.status_code)
        return answer.status_code


def _is_good(status: int | None) -> bool:
    return status is not None and 200 <= status < 300
