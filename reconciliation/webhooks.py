"""Razorpay webhooks: verified, stored once, handled after the answer, replayed on request."""

import asyncio
import datetime as dt
import hashlib
import json
import logging
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

from prometheus_client import Counter

import disputes
import gateway
import payments
import refunds
from core import clock, config, fail_points, outbox
from core.outbox import CannotSucceed, Event
from gateway import GatewayRefused, GatewayUnavailable, NoSuchEntity, entities, signatures
from payments import InvalidSignature, OrderNotFound, PaymentMismatch
from reconciliation import settlements

log = logging.getLogger(__name__)
EVENT: Final = "RazorpayReported"
_NAME_LENGTH_MAX: Final = 100
_UNKNOWN_ATTEMPTS: Final = 5

# So many payments that wait at once are read from Razorpay's list of payments, a hundred in a request,
# and at most once in so many seconds; fewer are fetched one by one. Of the list, at most one page is
# read for so many payments.
_LISTED_MIN: Final = 8
_LISTED_EVERY_SECONDS: Final = 0.1
_A_PAGE_FOR: Final = 10
_WINDOW_SECONDS_MAX: Final = 3_600

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
    with gateway.on_behalf_of("webhook"):
        return await _apply(event["data"]["event"], body, event)


async def _apply(name: str, body: Any, event: Event) -> str:
    log.info("webhook %s: %s", event["_id"], name)
    try:
        if name.startswith("payment.dispute."):
            dispute_id = _entity_id(body, "dispute", "disp")
            return await disputes.apply_update(await gateway.fetch_dispute(dispute_id))
        if name.startswith("payment.downtime."):
            return "ignored: nothing is done about this event"
        if name.startswith("payment.") or name == "order.paid":
            return await _payment(_entity_id(body, "payment", "pay"), _made_at(body))
        if name.startswith("refund."):
            refund_id = _entity_id(body, "refund", "rfnd")
            return await apply_refund_update(await gateway.fetch_refund(refund_id))
        if name == "settlement.processed":
            count, strangers = await settlements.match_day(_day_of(body))
            return f"{count} lines settled, {len(strangers)} of them not ours"
    except NoSuchEntity:
        if event["attempts"] < _UNKNOWN_ATTEMPTS:  # it may be a hiccup of Razorpay's
            raise GatewayUnavailable("Razorpay does not know what this reports.") from None
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


async def _payment(payment_id: str, made_at: dt.datetime | None) -> str:
    payment = await _fetches.fetch(payment_id, made_at)
    try:
        order = await payments.get_order(payment.order_id, None)
    except OrderNotFound:
        return "ignored: of an order that is not ours"
    try:
        receipt = await payments.credit(order, payment)
    except PaymentMismatch as mismatch:
        return f"not credited: {mismatch.extra.get('reason')}"
    if receipt is None:
        await payments.mark_payment_pending(order, payment_id)
        return f"not credited yet: {payment.status}"
    return "was credited before" if receipt.already_processed else "credited"


# --- payments fetched together ------------------------------------------------------------------


class _Wanted(NamedTuple):
    """Who waits for a payment, and when it was made, if the webhook says so."""

    made_at: dt.datetime | None
    futures: list["asyncio.Future[entities.Payment]"]


class _Fetches:
    """Payments as Razorpay has them now, for the webhooks that are handled at the same time.

    One request for each webhook is one that Razorpay throttles when many come, and the most work of
    ours. Payments that were reported together were made together, so they stand together in the list of
    payments; which one the list does not show is fetched by its id.
    """

    def __init__(self) -> None:
        self.waiting: dict[str, _Wanted] = {}
        self.task: asyncio.Task[None] | None = None
        self.answering: set[asyncio.Task[None]] = set()
        self.next_at = 0.0

    async def fetch(self, payment_id: str, made_at: dt.datetime | None) -> entities.Payment:
        """The payment as it is after this was called. Raises as `gateway.fetch_payment`."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[entities.Payment] = loop.create_future()
        self.waiting.setdefault(payment_id, _Wanted(made_at, [])).futures.append(future)
        if self.task is None or self.task.done() or self.task.get_loop() is not loop:
            self.task = loop.create_task(self._run())
        return await future

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self.waiting:
            await asyncio.sleep(self.next_at - loop.time())  # meanwhile others arrive
            self.next_at = loop.time() + _LISTED_EVERY_SECONDS
            batch, self.waiting = self.waiting, {}
            # A slow answer delays none of the next batches.
            self.answering.add(task := loop.create_task(_answer(batch)))
            task.add_done_callback(self.answering.discard)


async def _answer(batch: dict[str, _Wanted]) -> None:
    try:
        found = await _listed(batch)
    except Exception as problem:
        for wanted in batch.values():
            _fail(wanted, problem)
        return
    for payment_id, payment in found.items():
        _give(batch.pop(payment_id), payment)
    await asyncio.gather(*(_fetched(each, wanted) for each, wanted in batch.items()))


async def _listed(batch: Mapping[str, _Wanted]) -> dict[str, entities.Payment]:
    """Those payments of the batch that Razorpay's list shows where they should stand, by id."""
    times = sorted(wanted.made_at for wanted in batch.values() if wanted.made_at is not None)
    if len(times) < _LISTED_MIN:
        return {}
    # Not further than an hour before the last one: payments of many days are fetched by their ids.
    until = times[-1] + dt.timedelta(seconds=1)
    since = max(times[0], until - dt.timedelta(seconds=_WINDOW_SECONDS_MAX))
    found: dict[str, entities.Payment] = {}
    pages = 0
    try:
        async for page in gateway.payments_between(since, until, lambda _: None):
            found |= {payment.id: payment for payment in page if payment.id in batch}
            pages += 1
            if len(found) == len(batch) or pages * _A_PAGE_FOR >= len(batch):
                break
    except GatewayRefused:
        log.warning("razorpay refuses its list of payments; they are fetched one by one")
    return found


async def _fetched(payment_id: str, wanted: _Wanted) -> None:
    try:
        payment = await gateway.fetch_payment(payment_id)
    except Exception as problem:
        _fail(wanted, problem)
    else:
        _give(wanted, payment)


def _give(wanted: _Wanted, payment: entities.Payment) -> None:
    for future in wanted.futures:
        if not future.done():
            future.set_result(payment)


def _fail(wanted: _Wanted, problem: Exception) -> None:
    for future in wanted.futures:
        if not future.done():
            future.set_exception(problem)


_fetches = _Fetches()


# --- what a webhook says ------------------------------------------------------------------------


def _made_at(body: Any) -> dt.datetime | None:
    """When the payment was made, by the webhook; None when it does not say."""
    try:
        return entities.read_time(body["payload"]["payment"]["entity"].get("created_at"))
    except (TypeError, KeyError, AttributeError):
        return None


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
