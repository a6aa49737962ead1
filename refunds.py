"""Refunds as an admin asks for them: a payment goes back, whole or in part, and is followed to its end."""

import datetime as dt
import logging
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field, StringConstraints
from ulid import ULID

import api
import clock
import gateway
import money
import payments
import refundbook
from auth import Admin, CurrentUser, Instant
from errors import (
    Forbidden,
    IdempotencyKeyReused,
    InvalidCursor,
    NotFound,
    PaymentRequired,
    Problem,
    StillRunning,
    Unauthenticated,
)
from gateway import GatewayRefused, GatewayUnavailable, NoSuchEntity
from money import PositiveRupeesIn, RupeesOut
from orders import AmountBelowMinimum
from refundbook import Refund
from users import User

log = logging.getLogger(__name__)

# --- vocabulary ---------------------------------------------------------------------------------

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


# --- routes -------------------------------------------------------------------------------------

router = APIRouter(prefix="/api/payment/refunds", tags=["payment"])


class RefundIn(BaseModel):
    """What to refund; without an amount all that is left of the payment."""

    payment_id: Annotated[str, Field(max_length=100)]
    amount: PositiveRupeesIn | None = None
    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=200)]


class RefundOut(BaseModel):
    """A refund. `pending` until Razorpay says that it went off (`processed`) or not (`failed`).

    `due` is what had been spent when it was taken; the next recharge pays it first.
    """

    refund_id: str
    razorpay_refund_id: str | None
    payment_id: str
    order_id: str
    user_id: str
    amount: RupeesOut
    status: Literal["pending", "processed", "failed"]
    message: str
    reason: str | None
    requested_by: str | None
    transaction_id: str | None
    due: RupeesOut
    created_at: Instant


class RefundsOut(BaseModel):
    """A page of refunds."""

    page: list[RefundOut] = Field(serialization_alias="refunds")
    next_cursor: str | None


@router.post(
    "",
    status_code=201,
    response_model=RefundOut,
    responses=api.documented(
        Unauthenticated,
        Forbidden,
        NotFound,
        NotRefundable,
        RefundExceedsUnspent,
        AmountBelowMinimum,
        IdempotencyKeyReused,
        StillRunning,
        GatewayRefused,
        GatewayUnavailable,
    ),
)
async def post_refund(body: RefundIn, admin: Admin, request: Request) -> Response:
    """Send money of a payment back to who paid it: at most what the wallet has neither spent nor
    reserved. Send an `Idempotency-Key`: then a repetition is harmless."""

    async def work(seed: str) -> api.Answer:
        record = await create(
            body.payment_id,
            amount_paise=body.amount,
            reason=body.reason,
            by=admin.id,
            seed=seed,
        )
        return api.Answer(201, _out(record))

    return await api.once(request, admin.id, work)


@router.get("", response_model=RefundsOut, responses=api.documented(Unauthenticated, InvalidCursor))
async def get_refunds(
    user: CurrentUser,
    payment_id: Annotated[str | None, Query(max_length=100)] = None,
    limit: Annotated[int, Query(ge=1, le=api.PAGE_LIMIT_MAX)] = api.PAGE_LIMIT_DEFAULT,
    cursor: Annotated[str | None, Query(max_length=1_000)] = None,
) -> RefundsOut:
    """The user's refunds, newest first; for an admin everybody's."""
    page, following = await refundbook.page(
        _scope(user), payment_id=payment_id, limit=limit, cursor=cursor
    )
    return RefundsOut(page=[_out(record) for record in page], next_cursor=following)


@router.get(
    "/{refund_id}",
    response_model=RefundOut,
    responses=api.documented(Unauthenticated, NotFound),
)
async def get_refund(refund_id: str, user: CurrentUser) -> RefundOut:
    """A refund, by our id or Razorpay's."""
    return _out(await refundbook.find(refund_id, _scope(user)))


def _scope(user: User) -> str | None:
    return None if user.role == "admin" else user.id


def _out(record: Refund) -> RefundOut:
    return RefundOut(
        refund_id=record["_id"],
        razorpay_refund_id=record["gateway_id"],
        payment_id=record["payment_id"],
        order_id=record["order_id"],
        user_id=record["user_id"],
        amount=record["amount_paise"],
        status="pending" if record["status"] == "reserved" else record["status"],
        message=_message(record),
        reason=record["reason"],
        requested_by=record["requested_by"],
        transaction_id=record["transaction_id"],
        due=record["due_paise"],
        created_at=record["created_at"],
    )


def _message(record: Refund) -> str:
    """What happened and what happens next, in plain words."""
    amount = f"Rs {money.text(int(record['amount_paise']))}"
    match record["status"]:
        case "reserved":
            why = record["failure"] or "Razorpay is being asked."
            return f"{amount} are reserved. {why}"
        case "pending":
            return f"{amount} are reserved; Razorpay has the refund and sends it off."
        case "processed":
            return f"{amount} went off to who paid; banks take 5 to 7 working days."
    return f"The refund failed, {amount} stay in the wallet. {record['failure'] or ''}".strip()
