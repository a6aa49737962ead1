"""Recharges as their owner sees them: the orders, their payments, and what became of them."""

import logging
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

import api
import clock
import gateway
import money
import orders
import payments
from auth import CurrentUser
from database import Document
from errors import InvalidCursor, NotFound, Unauthenticated
from gateway import GatewayRefused, GatewayUnavailable, NoSuchEntity
from money import RupeesOut
from orders import OrderNotFound
from users import User

log = logging.getLogger(__name__)

# --- vocabulary ---------------------------------------------------------------------------------

_LOOK_SECONDS = 3.0

# What became of a payment. review: money was taken and a person decides what happens to it.
Fate = Literal["credited", "pending", "failed", "review"]

# --- verbs --------------------------------------------------------------------------------------


async def find_order(order_id: str, user_id: str | None) -> tuple[Document, list[Document]]:
    """An order and its payments; an open one is checked first. `user_id` None: anybody's.

    While Razorpay cannot be reached it is what we know. Raises OrderNotFound.
    """
    order = await orders.find(order_id, user_id)
    if await orders.may_ask(order):
        try:
            await payments.look(order, seconds=_LOOK_SECONDS)
        except (GatewayUnavailable, GatewayRefused) as problem:
            log.info("order %s shown as known: %s", order_id, problem.detail)
        order = await orders.find(order_id, user_id)
    return order, (await payments.seen([order]))[order_id]


async def list_orders(
    user_id: str | None, *, limit: int, cursor: str | None
) -> tuple[list[tuple[Document, list[Document]]], str | None]:
    """Orders, newest first, each with its payments as we know them, and the next cursor."""
    page, following = await orders.page(user_id, limit=limit, cursor=cursor)
    by_order = await payments.seen(page)
    return [(order, by_order[order["order_id"]]) for order in page], following


async def find_payment(
    payment_id: str, user_id: str | None
) -> tuple[gateway.Payment, Document | None]:
    """A payment as Razorpay has it now, and what we know of it; `user_id` None: anybody's.

    Raises NotFound, GatewayUnavailable, GatewayRefused.
    """
    missing = NotFound("There is no such payment.")
    try:
        payment = await gateway.fetch_payment(payment_id)
        if user_id is not None:
            await orders.find(payment.order_id, user_id)
    except (NoSuchEntity, OrderNotFound):
        raise missing from None
    return payment, await payments.known(payment_id)


# --- routes -------------------------------------------------------------------------------------

router = APIRouter(prefix="/api/payment", tags=["payment"])


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
    outcome: Fate
    review_reason: str | None
    transaction_id: str | None
    created_at: str | None


class FetchedPaymentOut(PaymentOut):
    """A payment as Razorpay has it now. The fee includes its tax; both are null at first."""

    amount_refunded: RupeesOut
    fee: RupeesOut | None
    tax: RupeesOut | None


class OrderOut(BaseModel):
    """An order, its payments, and in `message` what happened, in plain words."""

    order_id: str
    user_id: str
    receipt: str
    amount: RupeesOut
    amount_paise: int
    currency: str
    mode: str
    status: str
    message: str
    payment_id: str | None
    transaction_id: str | None
    attempts: list[PaymentOut] = Field(serialization_alias="payments")
    created_at: str
    paid_at: str | None


class OrdersOut(BaseModel):
    """A page of orders."""

    page: list[OrderOut] = Field(serialization_alias="orders")
    next_cursor: str | None


@router.get(
    "/orders", response_model=OrdersOut, responses=api.documented(Unauthenticated, InvalidCursor)
)
async def get_orders(
    user: CurrentUser,
    limit: Annotated[int, Query(ge=1, le=api.PAGE_LIMIT_MAX)] = api.PAGE_LIMIT_DEFAULT,
    cursor: Annotated[str | None, Query(max_length=1_000)] = None,
) -> OrdersOut:
    """The user's orders, newest first; for an admin everybody's."""
    page, following = await list_orders(_scope(user), limit=limit, cursor=cursor)
    return OrdersOut(page=[_order_out(*row) for row in page], next_cursor=following)


@router.get(
    "/orders/{order_id}",
    response_model=OrderOut,
    responses=api.documented(Unauthenticated, OrderNotFound),
)
async def get_order(order_id: str, user: CurrentUser) -> OrderOut:
    """What became of an order. An open one is checked with Razorpay first."""
    return _order_out(*await find_order(order_id, _scope(user)))


@router.get(
    "/payments/{payment_id}",
    response_model=FetchedPaymentOut,
    responses=api.documented(Unauthenticated, NotFound, GatewayRefused, GatewayUnavailable),
)
async def get_payment(payment_id: str, user: CurrentUser) -> FetchedPaymentOut:
    """A payment as Razorpay has it now."""
    payment, known = await find_payment(payment_id, _scope(user))
    review = known.get("review") if known else None
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
        outcome=_fate(payment.status, known),
        review_reason=review["reason"] if review else None,
        transaction_id=known.get("transaction_id") if known else None,
        created_at=clock.iso(payment.created_at) if payment.created_at else None,
        amount_refunded=payment.amount_refunded_paise,
        fee=payment.fee_paise,
        tax=payment.tax_paise,
    )


def _scope(user: User) -> str | None:
    """Whose payments this user may see: None is everybody's."""
    return None if user.role == "admin" else user.id


def _fate(status: str, known: Document | None) -> Fate:
    if known is not None and known.get("transaction_id"):
        return "credited"
    if known is not None and known.get("review"):
        return "review"
    return "failed" if status == "failed" else "pending"


def _payment_out(known: Document) -> PaymentOut:
    return PaymentOut(
        payment_id=known["_id"],
        order_id=known["order_id"],
        amount=known["amount_paise"],
        currency=known["currency"],
        status=known["status"],
        method=known["method"],
        error_code=known["error_code"],
        error_reason=known["error_reason"],
        error_description=known["error_description"],
        outcome=_fate(known["status"], known),
        review_reason=known["review"]["reason"] if known.get("review") else None,
        transaction_id=known.get("transaction_id"),
        created_at=clock.iso(known["created_at"]),
    )


def _order_out(order: Document, seen: list[Document]) -> OrderOut:
    attempts = [_payment_out(known) for known in seen]
    return OrderOut(
        order_id=order["order_id"],
        user_id=order["user_id"],
        receipt=order["_id"],
        amount=order["amount_paise"],
        amount_paise=order["amount_paise"],
        currency=order["currency"],
        mode=order["mode"],
        status=order["status"],
        message=_message(order, attempts),
        payment_id=order["payment_id"],
        transaction_id=order.get("transaction_id"),
        attempts=attempts,
        created_at=clock.iso(order["created_at"]),
        paid_at=clock.iso(order["paid_at"]) if order.get("paid_at") else None,
    )


def _message(order: Document, attempts: list[PaymentOut]) -> str:
    """What happened, in plain words."""
    amount = f"Rs {money.text(int(order['amount_paise']))}"
    if order["status"] == "paid":
        return f"Paid: {amount} were added to the wallet."
    outcomes = {attempt.outcome for attempt in attempts}
    if "review" in outcomes:
        return "A payment arrived that could not be credited by itself; a person will look at it."
    if "pending" in outcomes or order.get("pending_payment_id"):
        return "A payment is on its way; it is credited by itself as soon as Razorpay confirms it."
    if "failed" in outcomes:
        return "The last attempt to pay failed; no money was taken. The order can still be paid."
    return f"Not paid yet: {amount} are to be paid."
