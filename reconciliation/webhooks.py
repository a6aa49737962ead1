"""Razorpay webhooks: verified, stored once, handled after the answer, replayed on request."""

import datetime as dt
import hashlib
import json
import logging
from typing import Any, Final, Literal

from prometheus_client import Counter

import disputes
import gateway
import payments
import refunds
from core import clock, config, fail_points, outbox
from core.outbox import CannotSucceed, Event
from gateway import NoSuchEntity, entities, signatures
from payments import InvalidSignature, OrderNotFound, PaymentMismatch
from reconciliation import settlements

log = logging.getLogger(__name__)
EVENT: Final = "RazorpayReported"
_NAME_LENGTH_MAX: Final = 100

_received = Counter("webhooks_received_total", "Webhooks of Razorpay received", ["result"])
WebhookState = Literal["pending", "done", "dead"]


async def record_webhook(body: bytes, *, signature: str, event_id: str) -> bool:
    """Verify and store a webhook; False when it is stored already. Nothing else is done before the
    answer: Razorpay waits five seconds, and repeats for a day what was not answered with 2xx.

    It is stored once by its bytes. The signature does not cover Razorpay's event id: if that were
    the key, an old event sent again under a new event's id would suppress the new one.
    Raises InvalidSignature.
    """
    if not signatures.webhook_is_valid(body, signature):
        _received.labels("refused").inc()
        log.warning(
            "webhook refused: its signature is wrong; if it is Razorpay's, the secrets differ"
        )
        raise InvalidSignature("The signature does not belong to this body.")
    digest = hashlib.sha256(body).hexdigest()
    fresh = await outbox.store_event(
        outbox.record_event(
            EVENT,
            user_id=None,
            pending=True,
            event_id=f"hook_{digest[:40]}",
            event=_name_of(body),
            razorpay_event_id=event_id[:_NAME_LENGTH_MAX],
            mode=config.settings().gateway_mode,
            body=body.decode("utf-8", "replace"),
        )
    )
    _received.labels("stored" if fresh else "repeated").inc()
    return fresh


def _name_of(body: bytes) -> str:
    try:
        name: str = json.loads(body)["event"]
        name.encode()  # JSON can hold a lone surrogate, which BSON cannot
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return "unreadable"
    return name[:_NAME_LENGTH_MAX]


async def apply_webhook(event: Event) -> str:
    """Process a stored webhook; a description of its effect.

    Only its ids are used: it is a snapshot that may be days old, and webhooks arrive in any order,
    so its entity is fetched and applied like every other report of it. Raises CannotSucceed when a
    retry cannot succeed, and GatewayUnavailable to be retried.
    """
    try:
        body = json.loads(event["data"]["body"])
    except (ValueError, RecursionError):
        raise CannotSucceed("The body is no JSON.") from None
    name = event["data"]["event"]
    log.info("webhook %s: %s", event["_id"], name)
    try:
        if name.startswith("payment.dispute."):
            dispute_id = _entity_id(body, "dispute", "disp")
            return await disputes.apply_update(await gateway.fetch_dispute(dispute_id))
        if name.startswith("payment.downtime."):
            return "ignored: nothing is done about this event"
        if name.startswith("payment.") or name == "order.paid":
            return await _payment(_entity_id(body, "payment", "pay"))
        if name.startswith("refund."):
            refund_id = _entity_id(body, "refund", "rfnd")
            return await apply_refund_update(await gateway.fetch_refund(refund_id))
        if name == "settlement.processed":
            count, strangers = await settlements.match_day(_day_of(body))
            return f"{count} lines settled, {len(strangers)} of them not ours"
    except NoSuchEntity:
        raise CannotSucceed(
            "Razorpay does not know what this tells of. A webhook of another mode or account?"
        ) from None
    return "ignored: nothing is done about this event"


async def apply_refund_update(refund: entities.Refund) -> str:
    """Apply a refund as Razorpay has it now, and describe the effect: once, whoever reports it. Every
    report of a refund is passed to this function.

    A refund that pays a lost dispute back is paired with it before it is applied, so that it takes
    over what the dispute has reserved or debited; and after it, because the dispute may have been
    reported lost meanwhile.
    """
    not_lost = await disputes.settle_paid_back_by(refund)
    fail_points.reach("webhook.paired")
    meaning = await refunds.apply_update(refund)
    fail_points.reach("webhook.applied")
    if not_lost:
        await refunds.rule_out([refund.id], not_lost)
    await disputes.settle_paid_back_by(refund)
    return meaning


async def _payment(payment_id: str) -> str:
    payment = await gateway.fetch_payment(payment_id)
    try:
        order = await payments.get_order(payment.order_id, None)
    except OrderNotFound:
        return "ignored: of an order that is not ours"
    await payments.mark_order_attempted(order)
    try:
        receipt = await payments.credit(order, payment)
    except PaymentMismatch as mismatch:
        return f"not credited: {mismatch.extra.get('reason')}"
    if receipt is None:
        await payments.mark_payment_pending(order, payment_id)
        return f"not credited yet: {payment.status}"
    return "was credited before" if receipt.already_processed else "credited"


def _entity_id(body: Any, name: str, kind: str) -> str:
    """The id of the payload's entity; the payload may lack anything else."""
    try:
        found = body["payload"][name]["entity"]["id"]
    except (TypeError, KeyError, IndexError):
        found = None
    if not isinstance(found, str) or not entities.is_id(kind, found):
        raise CannotSucceed(f"The payload names no {name}.")
    return found


def _day_of(body: Any) -> dt.date:
    at = entities.read_time(body.get("created_at")) if isinstance(body, dict) else None
    return clock.ist_date(at or clock.now())
