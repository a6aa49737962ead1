"""Payment routes: create an order, verify a payment, list recharges."""

import logging
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

import disputes
import gateway
import payments
import refunds
import users
from api import dependencies, problems
from api.dependencies import CurrentUser, PageOfLongCursor, scope_of, sees_everybody
from api.disputes import PaymentDisputeOut, dispute_out, message_of
from api.fields import RequestModel, RupeesIn, RupeesOut
from api.idempotency import Answer, Idempotent
from auth import rate_limits
from core import clock, config, money
from core.errors import (
    IdempotencyKeyReused,
    InvalidCursor,
    InvalidRequest,
    NotFound,
    TooManyRequests,
)
from disputes import Dispute
from gateway import GatewayRefused, GatewayUnavailable, NoSuchEntity, entities
from payments import (
    CHECKOUT_URL,
    AmountAboveMaximum,
    AmountBelowMinimum,
    InvalidSignature,
    Order,
    OrderNotFound,
    Payment,
    PaymentMismatch,
    TooManyOpenOrders,
)
from refunds import Refund
from users import User

log = logging.getLogger(__name__)
router = APIRouter(prefix="/api/payment", tags=["payment"], route_class=problems.Route)
_CHECK_SECONDS = 3.0

# The outcome of a payment. review: money was taken, and a person decides about it.
PaymentOutcome = Literal["credited", "pending", "failed", "review"]


# --- shapes -------------------------------------------------------------------------------------


class KeyOut(BaseModel):
    """What a front end needs to open Checkout."""

    key_id: str
    mode: str
    checkout_url: str


class CheckoutOut(KeyOut):
    """What a page needs that opens Checkout for one order, whoever is in front of it. `is_pending`: a
    payment is on its way already, so whoever pays now may pay twice."""

    order_id: str
    amount: RupeesOut
    currency: str
    is_paid: bool
    is_pending: bool
    can_be_paid: bool


class OrderIn(RequestModel):
    """How much to recharge."""

    amount: RupeesIn


class OpenedOut(BaseModel):
    """A fresh order, for Checkout."""

    order_id: str
    amount: RupeesOut
    amount_paise: int
    currency: str
    key_id: str
    receipt: str
    status: str
    created_at: str
    pay_url: str | None = Field(description="Sandbox only: a page on which a person can pay")


class VerifyIn(RequestModel):
    """What Checkout handed to the browser."""

    razorpay_order_id: Annotated[str, Field(max_length=100)]
    razorpay_payment_id: Annotated[str, Field(max_length=100)]
    razorpay_signature: Annotated[str, Field(max_length=500)]


class CreditedOut(BaseModel):
    """The payment is in the wallet."""

    status: Literal["credited"] = "credited"
    already_processed: bool
    amount: RupeesOut
    balance: RupeesOut
    transaction_id: str


class PendingOut(BaseModel):
    """The payment will be in the wallet as soon as Razorpay confirms it; nothing has to be done."""

    status: Literal["pending"] = "pending"
    order_id: str


class PaymentOut(BaseModel):
    """A payment, and what became of it."""

    payment_id: str
    order_id: str
    amount: RupeesOut
    currency: str
    status: str
    method: str
    error_code: str
    error_reason: str
    error_description: str
    outcome: PaymentOutcome
    review_reason: str | None
    transaction_id: str | None
    created_at: str | None


class FetchedPaymentOut(PaymentOut):
    """A payment as Razorpay has it now. The fee includes its tax; both are null at first."""

    amount_refunded: RupeesOut
    fee: RupeesOut | None
    tax: RupeesOut | None


class OrderOut(BaseModel):
    """An order, its payments, and in `message` what happened, in plain words. `is_pending`: a payment is
    on its way. `user_email` is there for operators and admins."""

    order_id: str
    user_id: str
    user_email: str | None = None
    receipt: str
    amount: RupeesOut
    amount_paise: int
    currency: str
    mode: str
    status: str
    message: str
    is_pending: bool
    payment_id: str | None
    transaction_id: str | None
    attempts: list[PaymentOut] = Field(serialization_alias="payments")
    refunded: RupeesOut
    disputes: list[PaymentDisputeOut]
    next_check_at: str | None = Field(description="When Razorpay is asked about it again")
    created_at: str
    paid_at: str | None


class OrdersOut(BaseModel):
    """A page of orders."""

    page: list[OrderOut] = Field(serialization_alias="orders")
    next_cursor: str | None


# --- routes -------------------------------------------------------------------------------------


@router.get("/razorpay-key", response_model=KeyOut)
async def razorpay_key(user: CurrentUser) -> KeyOut:
    """The public key, the mode that it belongs to, and the script that opens Checkout."""
    return _key()


def _key() -> KeyOut:
    chosen = config.settings()
    sandbox = chosen.gateway_mode == "sandbox"
    return KeyOut(
        key_id=chosen.gateway_key_id,
        mode=chosen.gateway_mode,
        checkout_url=f"{chosen.base_url}/sandbox/v1/checkout.js" if sandbox else CHECKOUT_URL,
    )


@router.get(
    "/orders/{order_id}/checkout",
    response_model=CheckoutOut,
    responses=problems.documented(OrderNotFound, TooManyRequests),
)
async def get_checkout(request: Request, order_id: str) -> CheckoutOut:
    """What the payment page of an order shows: the amount and whether it is paid, nothing about whose
    it is. Open: who was sent the link may pay. It is our record, Razorpay is not asked."""
    await rate_limits.limit_checkouts(dependencies.client_address(request))
    order = await payments.get_order(order_id, None)
    is_paid = order.get("transaction_id") is not None
    is_ours = order["mode"] == config.settings().gateway_mode
    return CheckoutOut(
        **_key().model_dump(),
        order_id=order["order_id"],
        amount=order["amount_paise"],
        currency=order["currency"],
        is_paid=is_paid,
        is_pending=not is_paid and order.get("pending_payment_id") is not None,
        can_be_paid=is_ours and not is_paid and order["status"] in ("created", "attempted"),
    )


@router.post(
    "/create-order",
    status_code=201,
    response_model=OpenedOut,
    responses=problems.documented(
        IdempotencyKeyReused,
        InvalidRequest,
        AmountBelowMinimum,
        AmountAboveMaximum,
        TooManyOpenOrders,
        GatewayRefused,
        GatewayUnavailable,
    ),
)
async def create_order(body: OrderIn, user: CurrentUser, once: Idempotent) -> Response:
    """Open an order to recharge the wallet by `amount` rupees; then open Checkout with it."""

    async def work(seed: str) -> Answer:
        order = await payments.open_order(user.id, amount_paise=body.amount, seed=seed)
        chosen = config.settings()
        sandbox = chosen.gateway_mode == "sandbox"
        answer = OpenedOut(
            order_id=order["order_id"],
            amount=order["amount_paise"],
            amount_paise=order["amount_paise"],
            currency=order["currency"],
            key_id=chosen.gateway_key_id,
            receipt=order["_id"],
            status=order["status"],
            created_at=clock.iso(order["created_at"]),
            pay_url=f"{chosen.base_url}/sandbox/pay/{order['order_id']}" if sandbox else None,
        )
        return Answer(201, answer)

    return await once(user.id, work)


@router.post(
    "/verify",
    response_model=CreditedOut | PendingOut,
    responses={
        **problems.documented(OrderNotFound, InvalidSignature, PaymentMismatch),
        202: {"model": PendingOut, "description": "Razorpay has not confirmed the payment yet"},
    },
)
async def verify(body: VerifyIn, user: CurrentUser, response: Response) -> CreditedOut | PendingOut:
    """Credit the payment that Checkout reports; safe to repeat, credited once."""
    receipt = await payments.confirm(
        user.id,
        order_id=body.razorpay_order_id,
        payment_id=body.razorpay_payment_id,
        signature=body.razorpay_signature,
    )
    if receipt is None:
        response.status_code = 202
        response.headers["Retry-After"] = "3"
        return PendingOut(order_id=body.razorpay_order_id)
    return CreditedOut(
        already_processed=receipt.already_processed,
        amount=receipt.amount_paise,
        balance=receipt.balance_paise,
        transaction_id=receipt.transaction_id,
    )


@router.get(
    "/orders",
    response_model=OrdersOut,
    response_model_exclude_unset=True,
    responses=problems.documented(InvalidCursor),
)
async def get_orders(
    user: CurrentUser,
    page: PageOfLongCursor,
    user_id: Annotated[str | None, Query(max_length=100)] = None,
) -> OrdersOut:
    """The user's orders, newest first; an operator or admin sees everybody's, or those of `user_id`."""
    whose = user_id if sees_everybody(user) else user.id
    histories, next_cursor = await _list_order_histories(
        whose, limit=page.limit, cursor=page.cursor
    )
    return OrdersOut(page=await _orders_out(histories, user), next_cursor=next_cursor)


@router.get(
    "/orders/{order_id}",
    response_model=OrderOut,
    response_model_exclude_unset=True,
    responses=problems.documented(OrderNotFound),
)
async def get_order(order_id: str, user: CurrentUser) -> OrderOut:
    """What became of an order. An open one is checked with Razorpay first."""
    return (await _orders_out([await _get_order_history(order_id, scope_of(user))], user))[0]


@router.get(
    "/payments/{payment_id}",
    response_model=FetchedPaymentOut,
    responses=problems.documented(NotFound, TooManyRequests, GatewayRefused, GatewayUnavailable),
)
async def get_payment(payment_id: str, user: CurrentUser) -> FetchedPaymentOut:
    """A payment as Razorpay has it now."""
    payment, record = await _fetch_payment(payment_id, scope_of(user))
    review = record.get("review") if record else None
    return FetchedPaymentOut(
        payment_id=payment.id,
        order_id=payment.order_id,
        amount=payment.amount_paise,
        currency=payment.currency,
        status=payment.status,
        method=payment.method,
        error_code=payment.error_code,
        error_reason=payment.error_reason,
        error_description=payment.error_description,
        outcome=_outcome(payment.status, record),
        review_reason=review["reason"] if review else None,
        transaction_id=record.get("transaction_id") if record else None,
        created_at=clock.iso(payment.created_at) if payment.created_at else None,
        amount_refunded=payment.amount_refunded_paise,
        fee=payment.fee_paise,
        tax=payment.tax_paise,
    )


# --- how an order and a payment are shown -------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _OrderHistory:
    """An order, every attempt to pay it, and the refunds and disputes of the payment that paid it."""

    order: Order
    payments: list[Payment]
    refunds: list[Refund]
    disputes: list[Dispute]


async def _get_order_history(order_id: str, user_id: str | None) -> _OrderHistory:
    """An order with its payments, refunds and disputes; an open one is checked at Razorpay first.

    `user_id` None: any user's. While Razorpay does not answer it is our record. Raises OrderNotFound.
    """
    order = await payments.get_order(order_id, user_id)
    if await payments.claim_order_check(order, by=user_id):
        try:
            await payments.check_order(order, seconds=_CHECK_SECONDS)
        except (GatewayUnavailable, GatewayRefused) as problem:
            log.info("order %s shown as last known: %s", order_id, problem.detail)
        order = await payments.get_order(order_id, user_id)
    return (await _histories([order]))[0]


async def _list_order_histories(
    user_id: str | None, *, limit: int, cursor: str | None
) -> tuple[list[_OrderHistory], str | None]:
    """Orders, newest first, each with its payments, refunds and disputes as we have them, and the
    next cursor."""
    page, next_cursor = await payments.list_orders(user_id, limit=limit, cursor=cursor)
    return await _histories(page), next_cursor


async def _histories(page: list[Order]) -> list[_OrderHistory]:
    attempts = await payments.find_payments_of_orders(page)
    paid_by = [order["payment_id"] for order in page if order["payment_id"] is not None]
    refunded = await refunds.find_refunds_of_payments(paid_by) if paid_by else []
    disputed = await disputes.find_disputes_of_payments(paid_by) if paid_by else []
    return [
        _OrderHistory(
            order=order,
            payments=attempts[order["order_id"]],
            refunds=[each for each in refunded if each["payment_id"] == order["payment_id"]],
            disputes=[each for each in disputed if each["payment_id"] == order["payment_id"]],
        )
        for order in page
    ]


async def _fetch_payment(
    payment_id: str, user_id: str | None
) -> tuple[entities.Payment, Payment | None]:
    """A payment as Razorpay has it now, and our record of it; `user_id` None: any user's.

    Raises NotFound, TooManyRequests, GatewayUnavailable, GatewayRefused.
    """
    missing = NotFound("There is no such payment.")
    known = await payments.find_payment(payment_id)
    if user_id is not None and known is not None and known["user_id"] != user_id:
        raise missing
    await payments.limit_lookups(user_id)
    try:
        payment = await gateway.fetch_payment(payment_id)
        if user_id is not None and known is None:
            await payments.get_order(payment.order_id, user_id)
    except (NoSuchEntity, OrderNotFound):
        raise missing from None
    return payment, await payments.find_payment(payment_id)


def _outcome(status: str, record: Payment | None) -> PaymentOutcome:
    if record is not None and record.get("transaction_id"):
        return "credited"
    if record is not None and record.get("review"):
        return "review"
    return "failed" if status == "failed" else "pending"


def _payment_out(record: Payment) -> PaymentOut:
    review = record.get("review")
    return PaymentOut(
        payment_id=record["_id"],
        order_id=record["order_id"],
        amount=record["amount_paise"],
        currency=record["currency"],
        status=record["status"],
        method=record["method"],
        error_code=record["error_code"],
        error_reason=record["error_reason"],
        error_description=record["error_description"],
        outcome=_outcome(record["status"], record),
        review_reason=review["reason"] if review else None,
        transaction_id=record.get("transaction_id"),
        created_at=clock.iso(record["created_at"]),
    )


async def _orders_out(histories: list[_OrderHistory], user: User) -> list[OrderOut]:
    """The orders as the user may see them."""
    shown = [_order_out(each) for each in histories]
    if sees_everybody(user):
        emails = await users.find_emails({each.user_id for each in shown})
        for each in shown:
            each.user_email = emails.get(each.user_id)
    return shown


def _order_out(history: _OrderHistory) -> OrderOut:
    order = history.order
    attempts = [_payment_out(record) for record in history.payments]
    refunded = [each for each in history.refunds if each["status"] == "processed"]
    paid_at = order.get("paid_at")
    return OrderOut(
        order_id=order["order_id"],
        user_id=order["user_id"],
        receipt=order["_id"],
        amount=order["amount_paise"],
        amount_paise=order["amount_paise"],
        currency=order["currency"],
        mode=order["mode"],
        status=order["status"],
        message=_message(history, attempts),
        is_pending=_is_pending(order, attempts),
        payment_id=order["payment_id"],
        transaction_id=order.get("transaction_id"),
        attempts=attempts,
        refunded=sum(int(each["amount_paise"]) for each in refunded),
        disputes=[dispute_out(each) for each in history.disputes],
        next_check_at=clock.iso(order["next_check_at"])
        if payments.order_checked_until(order) is not None
        else None,
        created_at=clock.iso(order["created_at"]),
        paid_at=clock.iso(paid_at) if paid_at else None,
    )


def _waits(record: Payment) -> bool:
    """Whether a payment that was not credited automatically is in review."""
    return "review" in record and record["review"].get("resolved_at") is None


def _is_pending(order: Order, attempts: list[PaymentOut]) -> bool:
    """Whether a payment is on its way that may pay the order by itself."""
    if order["status"] == "paid":
        return False
    failed_ids = {attempt.payment_id for attempt in attempts if attempt.outcome == "failed"}
    is_awaited = order.get("pending_payment_id") not in {None, *failed_ids}
    return is_awaited or any(attempt.outcome == "pending" for attempt in attempts)


def _message(history: _OrderHistory, attempts: list[PaymentOut]) -> str:
    """A sentence about what happened and what happens next."""
    order = history.order
    amount = f"Rs {money.text(int(order['amount_paise']))}"
    if order["status"] == "paid":
        returned = [
            *map(_refund_message, history.refunds),
            *map(message_of, history.disputes),
        ]
        return " ".join([f"Paid: {amount} were added to the wallet.", *returned])
    again = ""
    if (until := payments.order_checked_until(order)) is not None:
        soon, last = clock.ist_text(order["next_check_at"]), clock.ist_date(until).isoformat()
        again = f" We ask Razorpay again at {soon} and go on until {last}."
    outcomes = {attempt.outcome for attempt in attempts}
    if "review" in outcomes:
        waits = any(map(_waits, history.payments))
        then = "a person will look at it" if waits else "it has been dealt with"
        return f"A payment arrived that could not be credited by itself; {then}."
    if _is_pending(order, attempts):
        return (
            "A payment is on its way: the bank or Razorpay has not confirmed it yet. It is credited "
            f"by itself as soon as they do; there is nothing to do.{again}"
        )
    if "failed" in outcomes:
        failed = [attempt for attempt in attempts if attempt.outcome == "failed"][-1]
        why = f" ({failed.error_description.rstrip('.')})" if failed.error_description else ""
        return (
            f"The last attempt to pay failed{why}; no money was taken. The order can still be paid. "
            f"Should the bank take the money after all, it is credited by itself.{again}"
        )
    return f"Not paid yet: {amount} are to be paid."


def _refund_message(refund: Refund) -> str:
    amount = f"Rs {money.text(int(refund['amount_paise']))}"
    match refund["status"]:
        case "processed":
            return f"{amount} were refunded."
        case "failed":
            return f"A refund of {amount} failed; the money is in the wallet."
    return f"A refund of {amount} is on its way."
