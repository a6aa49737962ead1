"""What Razorpay reports by itself: verified, stored once, answered at once, and handled afterwards."""

import datetime as dt
import hashlib
import json
import logging
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request
from prometheus_client import Counter
from pydantic import BaseModel

import api
import clock
import disputes
import entities
import events
import gateway
import orders
import payments
import refundbook
import settlements
import signatures
from auth import Admin, Instant
from config import settings
from database import Document
from errors import Forbidden, InvalidCursor, NotFound, Unauthenticated
from events import Hopeless
from gateway import NoSuchEntity
from orders import OrderNotFound
from payments import InvalidSignature, PaymentMismatch

log = logging.getLogger(__name__)

# --- vocabulary ---------------------------------------------------------------------------------

EVENT: Final = "RazorpayReported"
_NAME_LENGTH_MAX: Final = 100

_received = Counter("webhooks_received_total", "Webhooks of Razorpay received", ["result"])

State = Literal["pending", "done", "dead"]

# --- verbs --------------------------------------------------------------------------------------


async def receive(body: bytes, *, signature: str, event_id: str) -> bool:
    """Verify and store a webhook; False when it is stored already. Nothing else happens before the
    answer: Razorpay waits five seconds, and repeats for a day what was not answered with 2xx.

    It is stored once by its bytes. Razorpay's event id stands outside the signature: whoever took
    it for the key could be made to drop an event by sending an old one under a new one's id.
    Raises InvalidSignature.
    """
    if not signatures.webhook_is_valid(body, signature):
        _received.labels("refused").inc()
        log.warning(
            "webhook refused: its signature is wrong; if it is Razorpay's, the secrets differ"
        )
        raise InvalidSignature("The signature does not belong to this body.")
    digest = hashlib.sha256(body).hexdigest()
    fresh = await events.keep(
        events.record(
            EVENT,
            user_id=None,
            pending=True,
            event_id=f"hook_{digest[:40]}",
            event=_name_of(body),
            razorpay_event_id=event_id[:_NAME_LENGTH_MAX],
            mode=settings().gateway_mode,
            body=body.decode("utf-8", "replace"),
        )
    )
    _received.labels("stored" if fresh else "repeated").inc()
    return fresh


def _name_of(body: bytes) -> str:
    try:
        name: str = json.loads(body)["event"]
        name.encode()  # JSON can name half a character, which MongoDB cannot keep
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return "unreadable"
    return name[:_NAME_LENGTH_MAX]


async def handle(event: Document) -> str:
    """Do what a stored webhook asks for; in words, what it meant.

    It says what to look at, not what is true: it is a snapshot that may be days old and come in any
    order, so what it is about is fetched, and handled as every other report of it. Raises
    Hopeless when trying again cannot help, and GatewayUnavailable to be tried again.
    """
    try:
        body = json.loads(event["data"]["body"])
    except (ValueError, RecursionError):
        raise Hopeless("The body is no JSON.") from None
    name = event["data"]["event"]
    log.info("webhook %s: %s", event["_id"], name)
    try:
        if name.startswith("payment.dispute."):
            dispute_id = _entity_id(body, "dispute", "disp")
            return await disputes.notice(await gateway.fetch_dispute(dispute_id))
        if name.startswith("payment.downtime."):
            return "ignored: nothing is done about this event"
        if name.startswith("payment.") or name == "order.paid":
            return await _payment(_entity_id(body, "payment", "pay"))
        if name.startswith("refund."):
            refund_id = _entity_id(body, "refund", "rfnd")
            return await apply_refund_update(await gateway.fetch_refund(refund_id))
        if name == "settlement.processed":
            count, strangers = await settlements.match(_day_of(body))
            return f"{count} lines settled, {len(strangers)} of them not ours"
    except NoSuchEntity:
        raise Hopeless(
            "Razorpay does not know what this tells of. A webhook of another mode or account?"
        ) from None
    return "ignored: nothing is done about this event"


async def apply_refund_update(refund: entities.Refund) -> str:
    """Take in a refund as Razorpay has it now, and say in words what it meant: once, whoever reports
    it. Everything that is reported of refunds enters here.

    Disputes are asked first, because the refund that pays a lost dispute back takes no money of its
    own; what is no dispute's is `refundbook`'s.
    """
    if await disputes.claim_refund(refund):
        return "refund of a dispute"
    meaning = await refundbook.notice(refund)
    await disputes.give_back_what_was_taken_twice(refund.payment_id)
    return meaning


async def _payment(payment_id: str) -> str:
    payment = await gateway.fetch_payment(payment_id)
    try:
        order = await orders.find(payment.order_id, None)
    except OrderNotFound:
        return "ignored: of an order that is not ours"
    await orders.attempted(order)
    try:
        receipt = await payments.credit(order, payment)
    except PaymentMismatch as mismatch:
        return f"not credited: {mismatch.extra.get('reason')}"
    if receipt is None:
        await orders.expect(order, payment_id)
        return f"not credited yet: {payment.status}"
    return "was credited before" if receipt.already_processed else "credited"


def _entity_id(body: Any, name: str, kind: str) -> str:
    """The id of what the payload is about; it may lack anything else."""
    try:
        found = body["payload"][name]["entity"]["id"]
    except (TypeError, KeyError, IndexError):
        found = None
    if not isinstance(found, str) or not entities.is_id(kind, found):
        raise Hopeless(f"The payload names no {name}.")
    return found


def _day_of(body: Any) -> dt.date:
    at = entities.moment(body.get("created_at")) if isinstance(body, dict) else None
    return clock.ist_date(at or clock.now())


# --- routes -------------------------------------------------------------------------------------

router = APIRouter()


class ReceivedOut(BaseModel):
    """`repeated`: it is stored already."""

    status: Literal["stored", "repeated"]


class WebhookOut(BaseModel):
    """A stored webhook and what came of it: `outcome` when it is done, else why not in `failure`."""

    webhook_id: str
    event: str
    razorpay_event_id: str
    state: str
    outcome: str | None
    failure: str | None
    attempts: int
    received_at: Instant


class WebhookDetailOut(WebhookOut):
    """With what was received, byte by byte."""

    body: str


class WebhooksOut(BaseModel):
    """A page of webhooks."""

    webhooks: list[WebhookOut]
    next_cursor: str | None


_header = {"in": "header", "schema": {"type": "string"}}
_openapi = {
    "requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}},
    "parameters": [
        {"name": "X-Razorpay-Signature", "required": True, **_header},
        {"name": "x-razorpay-event-id", "required": False, **_header},
    ],
}


@router.post(
    "/api/payment/webhook",
    tags=["payment"],
    response_model=ReceivedOut,
    responses=api.documented(InvalidSignature),
    openapi_extra=_openapi,
)
async def post_webhook(request: Request) -> ReceivedOut:
    """Razorpay reports an event. Answered when it is stored; what follows from it comes after."""
    fresh = await receive(
        await request.body(),
        signature=request.headers.get("x-razorpay-signature", ""),
        event_id=request.headers.get("x-razorpay-event-id", ""),
    )
    return ReceivedOut(status="stored" if fresh else "repeated")


@router.post(
    "/api/payment/webhook/{mode}",
    tags=["payment"],
    response_model=ReceivedOut,
    responses=api.documented(InvalidSignature, NotFound),
    openapi_extra=_openapi,
)
async def post_webhook_of_mode(mode: Literal["test", "live"], request: Request) -> ReceivedOut:
    """The same at an address for one mode: a webhook does not say which mode it is of."""
    if mode != settings().gateway_mode:
        raise NotFound(f"This service runs in {settings().gateway_mode} mode.")
    return await post_webhook(request)


@router.get(
    "/api/admin/webhooks",
    tags=["admin"],
    response_model=WebhooksOut,
    responses=api.documented(Unauthenticated, Forbidden, InvalidCursor),
)
async def get_webhooks(
    _: Admin,
    state: State | None = None,
    limit: Annotated[int, Query(ge=1, le=api.PAGE_LIMIT_MAX)] = api.PAGE_LIMIT_DEFAULT,
    cursor: Annotated[str | None, Query(max_length=1_000)] = None,
) -> WebhooksOut:
    """What Razorpay reported, the newest first; `state=dead` for what needs a person."""
    found, next_cursor = await events.page(EVENT, state=state, cursor=cursor, limit=limit)
    return WebhooksOut(webhooks=[_out(event) for event in found], next_cursor=next_cursor)


@router.post(
    "/api/admin/webhooks/{webhook_id}/replay",
    tags=["admin"],
    response_model=WebhookDetailOut,
    responses=api.documented(Unauthenticated, Forbidden, NotFound),
)
async def replay_webhook(webhook_id: str, _: Admin) -> WebhookDetailOut:
    """Handle a webhook once more, whatever became of it. It credits nothing twice."""
    event = await events.again(webhook_id, EVENT)
    if event is None:
        raise NotFound("There is no such webhook.")
    return WebhookDetailOut(**_out(event).model_dump(), body=event["data"]["body"])


def _out(event: Document) -> WebhookOut:
    return WebhookOut(
        webhook_id=event["_id"],
        event=event["data"]["event"],
        razorpay_event_id=event["data"]["razorpay_event_id"],
        state=event["state"],
        outcome=event.get("outcome"),
        failure=event.get("failure"),
        attempts=event["attempts"],
        received_at=event["at"],
    )
