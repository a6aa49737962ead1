"""Refunds as an admin asks for them: a payment goes back, whole or in part, and is followed to its end."""

import datetime as dt
import logging
from typing import Final

from ulid import ULID

import gateway
import payments
import refundbook
from core import clock, money
from core.errors import NotFound, PaymentRequired, Problem
from gateway import GatewayRefused, GatewayUnavailable, NoSuchEntity
from orders import AmountBelowMinimum
from refundbook import Refund

log = logging.getLogger(__name__)


_PAISE_MIN: Final = 100  # Razorpay, "create a normal refund"


_REFUSED_DAYS_MAX: Final = 3


_POLL_BATCH: Final = 16


_ABANDONED_AFTER_SECONDS: Final = 600.0


class RefundExceedsUnspent(Problem):
    """More than is left of the payment, or than the wallet has free; `refundable` is what could be."""

    code, status, title = "refund_exceeds_unspent", 409, "Refund exceeds what is unspent"


class NotRefundable(Problem):
    """There is no captured money of this payment that could go back."""

    code, status, title = "payment_not_refundable", 409, "Payment not refundable"


# --- asked for by an admin ----------------------------------------------------------------------
async def create(
    payment_id: str, *, amount_paise: int | None, reason: str, by: str, seed: str
) -> Refund:
    """Refund a payment, whole or in part (None: all that is left of it); the refund as it stands.

    The wallet's money is reserved before Razorpay is asked, and only what is neither spent nor held:
    what goes back to the bank can pay for no call. The same `seed` leads to the same refund. When
    Razorpay does not answer, the refund stays `pending` and is asked for again with the same
    idempotency key. Raises NotFound, NotRefundable, RefundExceedsUnspent, AmountBelowMinimum,
    GatewayUnavailable and GatewayRefused (when the payment cannot be looked at: then there is no refund).
    """
    refund_id = f"refund_{seed}"
    earlier = await refundbook.known(refund_id)
    if earlier is None:
        earlier = await _open(refund_id, payment_id, amount_paise, reason, by)
    if earlier["status"] != "reserved":
        return earlier
    return await _ask(earlier)


async def _open(
    refund_id: str, payment_id: str, amount_paise: int | None, reason: str, by: str
) -> Refund:
    record = await payments.known(payment_id)
    if record is None:
        raise NotFound("There is no such payment.")
    try:
        payment = await gateway.fetch_payment(payment_id)
    except NoSuchEntity:
        raise NotFound("Razorpay does not know this payment.") from None
    left_paise = payment.amount_paise - payment.amount_refunded_paise
    if payment.status != "captured" or left_paise <= 0:
        detail = f"The payment is {payment.status}; only captured money can be refunded."
        raise NotRefundable(detail, payment_status=payment.status)
    amount_paise = left_paise if amount_paise is None else amount_paise
    if amount_paise < _PAISE_MIN:
        raise AmountBelowMinimum(
            f"Razorpay refunds no less than Rs {money.text(_PAISE_MIN)}.",
            minimum=money.rupees(_PAISE_MIN),
        )
    too_much = RefundExceedsUnspent(
        f"Of this payment Rs {money.text(left_paise)} are left to refund, less what is being "
        "refunded already.",
        refundable=money.rupees(left_paise),
    )
    if amount_paise > left_paise:
        raise too_much
    if not await payments.claim_refund(payment_id, refund_id, amount_paise):
        await _unclaim_abandoned(payment_id)
        if not await payments.claim_refund(payment_id, refund_id, amount_paise):
            raise too_much
    opened = refundbook.fresh(refund_id, record, amount_paise)
    opened["reason"] = reason
    opened["requested_by"] = by
    try:
        await refundbook.reserve(opened, amount_paise_min=amount_paise)
    except PaymentRequired as refusal:
        await payments.unclaim_refund(payment_id, refund_id)
        raise RefundExceedsUnspent(
            f"The wallet has Rs {money.text(refusal.available_paise)} that are neither spent nor "
            "reserved; no more than that can be refunded.",
            refundable=money.rupees(min(left_paise, refusal.available_paise)),
        ) from None
    log.info("refund %s of %s: %d paise, by %s", refund_id, payment_id, amount_paise, by)
    return opened


async def _ask(record: Refund) -> Refund:
    """Ask Razorpay for a refund whose money is reserved; the refund as it stands then."""
    refund_id, payment_id = record["_id"], record["payment_id"]
    try:
        reported = await gateway.create_refund(
            payment_id,
            int(record["amount_paise"]),
            key=refund_id,
            notes={"refund_id": refund_id},
        )
    except GatewayUnavailable as problem:
        log.warning("refund %s: not known yet: %s", refund_id, problem.detail)
        return await refundbook.later(record, problem.detail)
    except GatewayRefused as refusal:
        return await _refused(record, refusal)
    return await refundbook.learn(record, reported)


async def _refused(record: Refund, refusal: GatewayRefused) -> Refund:
    """Razorpay said no. Perhaps it has the refund already, perhaps our account there is short of
    money just now (it says so in ever different words): the reserve is kept until that is certain.
    """
    try:
        payment = await gateway.fetch_payment(record["payment_id"])
        for reported in await gateway.fetch_refunds_of(record["payment_id"]):
            if reported.receipt == record["_id"]:
                return await refundbook.learn(record, reported)
    except (GatewayUnavailable, GatewayRefused) as problem:
        return await refundbook.later(record, problem.detail)
    # 409: the same refund is being made at this moment. 401, 403: it is our key that is refused.
    if refusal.http_status in (400, 404):
        left_paise = payment.amount_paise - payment.amount_refunded_paise
        if payment.status != "captured" or left_paise < record["amount_paise"]:
            return await refundbook.give_back(record, "Not that much is left of the payment.")
        if clock.now() - record["created_at"] > dt.timedelta(days=_REFUSED_DAYS_MAX):
            why = f"Razorpay refused it for {_REFUSED_DAYS_MAX} days."
            return await refundbook.give_back(record, why)
    log.error(
        "refund %s: Razorpay refuses it (HTTP %d); is our balance there too low? asking again",
        record["_id"],
        refusal.http_status,
    )
    return await refundbook.later(record, "Razorpay refuses it for now; it is asked for again.")


async def _unclaim_abandoned(payment_id: str) -> None:
    """Let go what was claimed of a payment by refunds whose process died before their record."""
    payment = await payments.known(payment_id)
    for refund_id in payment.get("refunds", {}) if payment is not None else ():
        asked_at = _asked_at(refund_id)
        if (
            asked_at < clock.after(-_ABANDONED_AFTER_SECONDS)
            and await refundbook.known(refund_id) is None
        ):
            await payments.unclaim_refund(payment_id, refund_id)


def _asked_at(refund_id: str) -> dt.datetime:
    """When a refund of ours was asked for: its id carries the time."""
    if not refund_id.startswith("refund_"):
        return clock.now()
    return ULID.from_str(refund_id.removeprefix("refund_")).datetime


# --- what is still open -------------------------------------------------------------------------
async def poll() -> int:
    """Go on with the refunds whose time has come; how many there were. Any number of processes may."""
    mine = await refundbook.claim_due(_POLL_BATCH)
    for record in mine:
        await follow(record)
    return len(mine)


async def follow(record: Refund) -> Refund:
    """Ask about an open refund, or for it if nobody knows whether Razorpay has it."""
    if record["status"] not in refundbook.OPEN:
        return record
    if record["gateway_id"] is None:
        return await _ask(record)
    try:
        return await refundbook.learn(record, await gateway.fetch_refund(record["gateway_id"]))
    except (GatewayUnavailable, GatewayRefused) as problem:
        log.warning("refund %s not checked: %s", record["_id"], problem.detail)
        return record
