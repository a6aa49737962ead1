"""Payments: recharge orders, verification, capture, the credit, and polling of what is open."""

import asyncio
import datetime as dt
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal, NoReturn, NotRequired, TypedDict, cast

import gateway
import ledger
import wallet
from core import clock, config, database, leases, money, pagination
from core.database import Document, Index, Update, db
from core.errors import Problem
from gateway import GatewayRefused, GatewayUnavailable, NoSuchEntity, entities, signatures
from ledger import Outcome

log = logging.getLogger(__name__)


# --- vocabulary: orders -------------------------------------------------------------------------

CHECKOUT_URL = "https://checkout.razorpay.com/v1/checkout.js"


class _Opening(TypedDict):
    """A record of `orders` that Razorpay has not confirmed yet (`creating`); never shown."""

    _id: str  # the receipt
    user_id: str
    order_id: None
    payment_id: None
    mode: str
    amount_paise: int
    currency: str
    status: Literal["creating"]
    created_at: dt.datetime
    updated_at: dt.datetime


class Order(TypedDict):
    """A record of `orders`, as soon as Razorpay has confirmed the order."""

    _id: str  # the receipt
    user_id: str
    order_id: str  # Razorpay's
    payment_id: str | None  # of the payment that pays the order
    mode: str
    amount_paise: int
    currency: str
    status: Literal["created", "attempted", "paid"]
    created_at: dt.datetime
    updated_at: dt.datetime
    next_check_at: NotRequired[dt.datetime]  # absent: the order is not checked any more
    asked_at: NotRequired[dt.datetime]  # when a read of the order last caused a check
    pending_payment_id: NotRequired[str]  # signed, and not credited yet
    pending_since: NotRequired[dt.datetime]
    transaction_id: NotRequired[str]
    paid_at: NotRequired[dt.datetime]


class AmountBelowMinimum(Problem):
    """The amount is smaller than the smallest one allowed, which is in `minimum`."""

    code, status, title = "amount_below_minimum", 422, "Amount below the minimum"


class AmountAboveMaximum(Problem):
    """The recharge is larger than the largest one allowed, which is in `maximum`."""

    code, status, title = "amount_above_maximum", 422, "Amount above the maximum"


class OrderNotFound(Problem):
    """There is no such order, or it belongs to somebody else."""

    code, status, title = "order_not_found", 404, "Order not found"


# How long, and how often, an order that is not paid is checked at Razorpay.
_CHECKED_DAYS_MAX = 180
_CHECK_PAUSE_SECONDS_MIN = 10.0
_CHECK_PAUSE_SECONDS_MAX = 86_400.0
_CHECK_PAUSE_SECONDS_SANDBOX = 5.0
_SANDBOX_CHECKED_OFTEN_SECONDS = 1_800
_PENDING_CHECK_AFTER_SECONDS = 2.0
_LAST_CHECK_AFTER_SECONDS = 5.0
_OWNER_CHECK_PAUSE_SECONDS = 2.0
_POLL_BATCH = 8
_READ_BATCH = 100
_NEWEST_FIRST = pagination.newest_first("created_at")


# --- vocabulary: payments -----------------------------------------------------------------------

# Why a payment waits for a person's review: money was taken, and not credited automatically.
ReviewReason = Literal[
    "amount_mismatch",  # another amount or currency than the order's (a fee on top, an offer)
    "second_payment",  # the order is paid by another payment; Razorpay refunds this one itself
    "refunded",  # it was refunded, in whole or in part, before it was credited
    "came_back",  # its refund failed after a person had decided, perhaps by an adjustment
]

# How a review ended: the whole payment was refunded, or a person decided.
Resolution = Literal["refunded", "manual"]


class Review(TypedDict):
    """Why a payment was not credited automatically, and whether its review is open."""

    reason: ReviewReason
    at: dt.datetime
    resolved_at: NotRequired[dt.datetime | None]  # None or absent: the review is open
    resolved_by: NotRequired[str]
    resolution: NotRequired[Resolution | None]  # absent in what release 0.2.1 resolved
    note: NotRequired[str | None]
    earlier: NotRequired["Review"]  # an earlier review


class Payment(TypedDict):
    """A record of `payments`: a payment as Razorpay reports it, and what was done with it here."""

    _id: str  # Razorpay's
    user_id: str
    order_id: str
    amount_paise: int
    currency: str
    status: str  # created | authorized | captured | refunded | failed
    method: str
    error_code: str
    error_reason: str
    error_description: str
    amount_refunded_paise: int
    fee_paise: NotRequired[int]  # includes the tax; absent until Razorpay knows it
    tax_paise: NotRequired[int]
    created_at: dt.datetime
    seen_at: dt.datetime
    transaction_id: NotRequired[str]  # of the credit
    updated_at: NotRequired[dt.datetime]  # of the credit
    review: NotRequired[Review]
    refunds: NotRequired[dict[str, int]]  # refund id -> paise that it claims
    confirmed_by: NotRequired[str]  # the reconciliation run that found it at Razorpay
    settlement_id: NotRequired[str]
    settled_at: NotRequired[dt.datetime | None]


@dataclass(frozen=True, slots=True)
class Receipt:
    """A payment that is credited to the wallet."""

    amount_paise: int
    balance_paise: int
    transaction_id: str
    already_processed: bool


class InvalidSignature(Problem):
    """Razorpay did not sign this payment for this order."""

    code, status, title = "invalid_signature", 400, "Invalid signature"


class PaymentMismatch(Problem):
    """This payment cannot be credited for this order; `reason` says why."""

    code, status, title = "payment_mismatch", 409, "Payment mismatch"


_REVIEW_TEXT: dict[ReviewReason, str] = {
    "amount_mismatch": "Another amount was paid than was ordered.",
    "second_payment": "The order had been paid by another payment before.",
    "refunded": "The payment was refunded before it could be credited.",
    "came_back": "The payment's refund failed after a person had dealt with it.",
}

_WENT_BACK_NOTE = "It went back."


# --- orders: opened, read, marked ---------------------------------------------------------------


async def open_order(user_id: str, *, amount_paise: int, seed: str) -> Order:
    """An order over `amount_paise` for this user, at Razorpay and here.

    Our record is written first, and its id is the receipt, so an order whose creation was not
    answered is found by its receipt instead of being created twice. The same `seed` leads to the
    same order. Raises AmountBelowMinimum, AmountAboveMaximum, GatewayUnavailable, GatewayRefused.
    """
    _require_within_limits(amount_paise)
    receipt, now, mode = f"rcpt_{seed}", clock.now(), config.settings().gateway_mode
    opening: _Opening = {
        "_id": receipt,
        "user_id": user_id,
        "order_id": None,
        "payment_id": None,
        "mode": mode,
        "amount_paise": database.long(amount_paise),
        "currency": gateway.CURRENCY,
        "status": "creating",
        "created_at": now,
        "updated_at": now,
    }
    try:
        await db.orders.insert_one(dict(opening))
        at_razorpay = None
    except database.DuplicateKey:
        confirmed = {"_id": receipt, "user_id": user_id, "order_id": {"$type": "string"}}
        if (earlier := await _find_order(confirmed)) is not None:
            return earlier
        at_razorpay = await gateway.find_order_by_receipt(receipt)
    if at_razorpay is None:
        at_razorpay = await _create_at_gateway(receipt, user_id, amount_paise)
    await db.orders.update_one(
        {"_id": receipt, "order_id": None},
        {
            "$set": {
                "order_id": at_razorpay.id,
                "status": "created",
                "mode": mode,
                "next_check_at": clock.after(_check_pause_seconds(mode, since=now)),
                "updated_at": now,
            }
        },
    )
    order = await _find_order({"_id": receipt})
    assert order is not None
    assert order["amount_paise"] == at_razorpay.amount_paise
    log.info("order %s opened for %s: %d paise", order["order_id"], user_id, amount_paise)
    return order


def _require_within_limits(amount_paise: int) -> None:
    least, most = config.settings().recharge_paise_min, config.settings().recharge_paise_max
    if amount_paise < least:
        raise AmountBelowMinimum(
            f"The smallest recharge is Rs {money.text(least)}.", minimum=money.rupees(least)
        )
    if amount_paise > most:
        raise AmountAboveMaximum(
            f"The largest recharge is Rs {money.text(most)}.", maximum=money.rupees(most)
        )


async def _create_at_gateway(receipt: str, user_id: str, amount_paise: int) -> entities.Order:
    """Create the order, or find the one that was created without an answer."""
    try:
        return await gateway.create_order(amount_paise, receipt, {"user_id": user_id})
    except (GatewayUnavailable, GatewayRefused) as problem:
        # After a refusal, too: some accounts answer a known receipt with 400.
        if isinstance(problem, GatewayUnavailable) and not problem.sent:
            raise
        try:
            found = await gateway.find_order_by_receipt(receipt)
        except (GatewayUnavailable, GatewayRefused):
            raise problem from None
        if found is None or found.amount_paise != amount_paise:
            raise
        return found


async def get_order(order_id: str, user_id: str | None) -> Order:
    """The order with Razorpay's `order_id`; `user_id` None: any user's. Raises OrderNotFound."""
    where = {"order_id": order_id} | ({} if user_id is None else {"user_id": user_id})
    found = await _find_order(where) if entities.is_id("order", order_id) else None
    if found is None:
        raise OrderNotFound("There is no such order.")
    return found


async def list_orders(
    user_id: str | None, *, limit: int, cursor: str | None
) -> tuple[list[Order], str | None]:
    """Orders, newest first, and the next cursor. `user_id` None: of all users."""
    where: Document = {"order_id": {"$type": "string"}}
    if user_id is not None:
        where["user_id"] = user_id
    where |= _NEWEST_FIRST.behind(cursor)
    found = db.orders.find(where, sort=_NEWEST_FIRST.sort)
    return _NEWEST_FIRST.cut(cast(list[Order], await found.to_list(limit + 1)), limit)


async def claim_order(order: Order, payment_id: str) -> bool:
    """Whether this payment is the one that pays the order: the first captured one is."""
    claimed = await db.orders.update_one(
        {"_id": order["_id"], "payment_id": {"$in": [None, payment_id]}},
        {"$set": {"payment_id": payment_id}},
    )
    return claimed.matched_count == 1


def order_paid(order: Order, *, payment_id: str, transaction_id: str, at: dt.datetime) -> Update:
    """The companion write of the credit: the order is paid, and no payment is expected any more.

    It is checked once more a little later, for the attempts on it that failed before.
    """
    facts = {
        "status": "paid",
        "payment_id": payment_id,
        "transaction_id": transaction_id,
        "paid_at": at,
        "updated_at": at,
        "next_check_at": clock.after(_LAST_CHECK_AFTER_SECONDS, since=at),
    }
    ended = {"pending_payment_id": "", "pending_since": ""}
    return Update("orders", {"_id": order["_id"]}, {"$set": facts, "$unset": ended})


async def mark_order_attempted(order: Order) -> None:
    """Set the state `attempted`, unless the order is paid."""
    await db.orders.update_one(
        {"_id": order["_id"], "status": "created"},
        {"$set": {"status": "attempted", "updated_at": clock.now()}},
    )


async def mark_payment_pending(order: Order, payment_id: str) -> None:
    """A signed payment that is not credited yet: check soon."""
    facts = {
        "pending_payment_id": payment_id,
        "pending_since": clock.now(),
        "next_check_at": clock.after(_PENDING_CHECK_AFTER_SECONDS),
    }
    await db.orders.update_one({"_id": order["_id"], "status": {"$ne": "paid"}}, {"$set": facts})


async def _find_order(where: Document) -> Order | None:
    return cast(Order | None, await db.orders.find_one(where))


# --- orders: when they are checked at Razorpay --------------------------------------------------


def order_checked_until(order: Order) -> dt.datetime | None:
    """Until when the order is checked at Razorpay; None once no payment is expected."""
    if order["status"] == "paid" or not order.get("next_check_at"):
        return None
    return clock.after(86_400 * _CHECKED_DAYS_MAX, since=_waits_since(order))


async def claim_order_check(order: Order) -> bool:
    """Whether a read of the order may check it at Razorpay: it is open, and was not checked just now."""
    if order["status"] == "paid" or order["mode"] != config.settings().gateway_mode:
        return False
    recently = clock.after(-_OWNER_CHECK_PAUSE_SECONDS)
    asked = await db.orders.update_one(
        {"_id": order["_id"], "asked_at": {"$not": {"$gt": recently}}},
        {"$set": {"asked_at": clock.now()}},
    )
    return asked.modified_count == 1


async def claim_due_orders(limit: int) -> list[Order]:
    """Orders that are due for a check, claimed by this process alone.

    In the sandbox that is every 5 seconds for half an hour; else at growing intervals, a quarter
    of the order's age, from 10 seconds to a day, for half a year: an order never expires, and a
    failed payment may be authorized days later (Razorpay, "late authorisation").
    """
    claimed = await leases.claim_due(
        db.orders,
        "next_check_at",
        next_at=lambda order: _next_check_at(cast(Order, order)),
        limit=limit,
        where={"mode": config.settings().gateway_mode},
    )
    return cast(list[Order], claimed)


def _next_check_at(order: Order) -> dt.datetime | None:
    """When the order is checked the next time; None when this check is the last one."""
    since = _waits_since(order)
    if order["status"] == "paid" or clock.now() - since > dt.timedelta(days=_CHECKED_DAYS_MAX):
        return None
    return clock.after(_check_pause_seconds(order["mode"], since=since))


def _waits_since(order: Order) -> dt.datetime:
    return order.get("pending_since") or order["created_at"]


def _check_pause_seconds(mode: str, *, since: dt.datetime) -> float:
    """The pause before the next check of an order that has waited `since` then."""
    age_seconds = (clock.now() - since).total_seconds()
    if mode == "sandbox" and age_seconds < _SANDBOX_CHECKED_OFTEN_SECONDS:
        return _CHECK_PAUSE_SECONDS_SANDBOX
    return max(_CHECK_PAUSE_SECONDS_MIN, min(_CHECK_PAUSE_SECONDS_MAX, age_seconds / 4))


async def unpaid_orders_between(
    since: dt.datetime, until: dt.datetime
) -> AsyncIterator[list[Order]]:
    """The orders of that time that are not paid, the oldest first, in batches."""
    last = (since, "")
    while True:
        at, order_id = last
        found = db.orders.find(
            {
                "status": {"$in": ["created", "attempted"]},
                "mode": config.settings().gateway_mode,
                "created_at": {"$gte": at, "$lt": until},
                "$or": [{"created_at": {"$gt": at}}, {"_id": {"$gt": order_id}}],
            }
        )
        rows = await found.sort([("created_at", 1), ("_id", 1)]).to_list(_READ_BATCH)
        batch = cast(list[Order], rows)
        if not batch:
            return
        yield batch
        last = (batch[-1]["created_at"], batch[-1]["_id"])


# --- payments: verified, captured, credited -----------------------------------------------------


async def confirm(
    user_id: str, *, order_id: str, payment_id: str, signature: str
) -> Receipt | None:
    """Verify and credit what Checkout passed to the browser; None while it is pending.

    Answered from our own record when it was credited before, so a repetition works while Razorpay
    is down. When Razorpay does not answer, `poll_pending` credits it later. Raises
    OrderNotFound, InvalidSignature, PaymentMismatch.
    """
    order = await get_order(order_id, user_id)
    is_in_the_wallet = order["status"] == "paid" and order["payment_id"] == payment_id
    if order["mode"] != config.settings().gateway_mode and not is_in_the_wallet:
        raise PaymentMismatch(
            f"This order was made in {order['mode']} mode, which is switched off.", reason="mode"
        )
    # The order id that is verified is ours, not the one that the browser sends. What another
    # mode's key has signed cannot be verified any more; it is the user's own, and credits nothing.
    is_checked = order["mode"] == config.settings().gateway_mode
    if is_checked and not signatures.checkout_is_valid(order["order_id"], payment_id, signature):
        raise InvalidSignature("The signature does not belong to this order and payment.")
    if is_in_the_wallet:
        paise = (await wallet.get_balance(user_id)).balance_paise
        return Receipt(int(order["amount_paise"]), paise, order["transaction_id"], True)
    try:
        payment = await gateway.fetch_payment(payment_id)
    except NoSuchEntity:
        raise PaymentMismatch("Razorpay does not know this payment.", reason="unknown") from None
    except (GatewayUnavailable, GatewayRefused) as problem:
        log.warning("payment %s waits: %s", payment_id, problem.detail)
        receipt = None
    else:
        receipt = await credit(order, payment)
    if receipt is None:
        await mark_payment_pending(order, payment_id)
    return receipt


async def credit(order: Order, payment: entities.Payment) -> Receipt | None:
    """Credit a captured payment to the wallet of the order's user: once, whoever reports it.

    Browser, webhook, poller and reconciliation all call this. The amount and the user are
    our order's, the state is Razorpay's: `payment` has just been fetched. An authorized payment is
    captured first. The key is the payment's id, and the order's `paid` commits with the entry.
    None: not captured yet. Raises PaymentMismatch for what cannot be credited; if money was taken
    nevertheless, it is recorded for review. An order is credited once: Razorpay refunds a second
    captured payment itself (Razorpay, "auto refunds"), so crediting it would pay it out twice.
    """
    if payment.order_id != order["order_id"]:
        raise PaymentMismatch("This payment belongs to another order.", reason="other_order")
    if payment.status == "authorized":
        await _require_creditable(order, payment)
        payment = await _capture(payment, int(order["amount_paise"]))
    await _record_payment(payment, order)
    if payment.status == "failed":
        raise PaymentMismatch(
            "The payment failed and no money was taken. The order can be paid again.",
            reason="failed",
        )
    if payment.status not in ("captured", "refunded"):
        return None
    await _require_creditable(order, payment)
    if not await claim_order(order, payment.id):
        await _reject_for_review(payment, order, "second_payment")
    return await _post_credit(order, payment)


async def _capture(payment: entities.Payment, amount_paise: int) -> entities.Payment:
    """The payment after trying to capture it; unchanged when Razorpay does not answer."""
    try:
        try:
            await gateway.capture_payment(payment.id, amount_paise)
        except GatewayRefused:
            log.info("capture of %s refused; somebody else may have captured it", payment.id)
        return await gateway.fetch_payment(payment.id)
    except (GatewayUnavailable, GatewayRefused):
        return payment


async def _require_creditable(order: Order, payment: entities.Payment) -> None:
    """Raise PaymentMismatch, and record it for review, for money that is not exactly what was ordered."""
    if payment.amount_paise != order["amount_paise"] or payment.currency != order["currency"]:
        await _reject_for_review(payment, order, "amount_mismatch")
    went_back = payment.status == "refunded" or payment.amount_refunded_paise > 0
    in_the_wallet = order["status"] == "paid" and order["payment_id"] == payment.id
    if went_back and not in_the_wallet:
        await _reject_for_review(payment, order, "refunded")
    if order["payment_id"] not in (None, payment.id):
        await _reject_for_review(payment, order, "second_payment")
    if not in_the_wallet and await _is_decided_by_hand(payment.id):
        await _reject_for_review(payment, order, "came_back")


async def _is_decided_by_hand(payment_id: str) -> bool:
    """Whether a person has decided about this payment: its money may be in the wallet already."""
    by_hand = {"review.resolved_at": {"$type": "date"}, "$nor": [_RESOLVED_AS_REFUNDED]}
    decided: Document = {"_id": payment_id, "transaction_id": None}
    decided["$or"] = [by_hand, {"review.earlier": {"$type": "object"}}]
    return await db.payments.find_one(decided, {"_id": 1}) is not None


async def _reject_for_review(
    payment: entities.Payment, order: Order, reason: ReviewReason
) -> NoReturn:
    """Record the payment for a person's review, and raise PaymentMismatch."""
    await _record_payment(payment, order)
    review: Review = {"reason": reason, "at": clock.now()}
    if payment.status == "refunded":  # refunded in full: there is nothing to decide
        review["resolved_at"] = clock.now()
        review["resolved_by"] = "razorpay"
        review["resolution"] = "refunded"
        review["note"] = _WENT_BACK_NOTE
    waits = {"_id": payment.id, "review.reason": {"$ne": reason}}
    kept = {"$mergeObjects": [{"$literal": review}, {"earlier": "$review"}]}
    is_new = await db.payments.update_one(waits, [{"$set": {"review": kept}}])
    if is_new.matched_count:
        log.error("payment %s of order %s needs review: %s", payment.id, order["order_id"], reason)
    elif payment.status == "refunded":
        await resolve_review_as_refunded(payment.id, by="razorpay")
    raise PaymentMismatch(
        f"{_REVIEW_TEXT[reason]} Nothing was added to the wallet; the payment is kept for review.",
        reason=reason,
    )


async def _post_credit(order: Order, payment: entities.Payment) -> Receipt:
    amount_paise, user_id = int(order["amount_paise"]), order["user_id"]

    def companions(outcome: Outcome) -> list[database.Write]:
        entry = outcome.entry
        assert entry is not None
        credited = {"transaction_id": entry.id, "updated_at": entry.created_at}
        return [
            order_paid(order, payment_id=payment.id, transaction_id=entry.id, at=entry.created_at),
            Update("payments", {"_id": payment.id}, {"$set": credited}),  # `credit` recorded it
        ]

    outcome = await wallet.post(
        ledger.Credit(
            user_id=user_id,
            key=f"recharge:{payment.id}",
            category="recharge",
            amount_paise=amount_paise,
            contra="gateway:razorpay",
            description=f"Recharge of Rs {money.text(amount_paise)}",
            order_id=order["order_id"],
            payment_id=payment.id,
        ),
        companions,
    )
    assert outcome.entry is not None
    if not outcome.replayed:
        log.info("payment %s credited to %s: %d paise", payment.id, user_id, amount_paise)
    return Receipt(
        amount_paise,
        outcome.wallet.balance_paise,
        outcome.entry.id,
        already_processed=outcome.replayed,
    )


async def _record_payment(payment: entities.Payment, order: Order) -> None:
    """Store a payment as Razorpay reports it. A captured one never returns to an earlier status."""
    where: Document = {"_id": payment.id}
    if payment.status not in ("captured", "refunded"):
        where["status"] = {"$nin": ["captured", "refunded"]}
    facts: Document = {
        "user_id": order["user_id"],
        "order_id": order["order_id"],
        "amount_paise": database.long(payment.amount_paise),
        "currency": payment.currency,
        "status": payment.status,
        "method": payment.method,
        "error_code": payment.error_code,
        "error_reason": payment.error_reason,
        "error_description": payment.error_description,
        "amount_refunded_paise": database.long(payment.amount_refunded_paise),
    }
    if payment.fee_paise is not None:
        facts |= {"fee_paise": database.long(payment.fee_paise)}
    if payment.tax_paise is not None:
        facts |= {"tax_paise": database.long(payment.tax_paise)}
    now = clock.now()
    try:
        await db.payments.update_one(
            where,
            {
                "$set": facts,
                "$setOnInsert": {"created_at": payment.created_at or now, "seen_at": now},
            },
            upsert=True,
        )
    except database.DuplicateKey:
        pass  # it is captured by now


# --- payments: polled ---------------------------------------------------------------------------


async def poll_pending() -> int:
    """Check the orders that are due; how many there were. Any number of processes may run it.

    This also credits a payment whose browser was closed before it reported it.
    """
    count = 0
    while True:
        batch = await claim_due_orders(_POLL_BATCH)
        answers = await asyncio.gather(*map(_try_check_order, batch))
        count += len(batch)
        if len(batch) < _POLL_BATCH or not all(answers):
            return count


async def _try_check_order(order: Order) -> bool:
    """Check an order; whether Razorpay answered."""
    try:
        await check_order(order)
    except NoSuchEntity:
        log.error("order %s is unknown to Razorpay", order["order_id"])
    except (GatewayUnavailable, GatewayRefused) as problem:
        log.warning("order %s not checked: %s", order["order_id"], problem.detail)
        return False
    return True


async def check_order(order: Order, *, seconds: float | None = None) -> list[Receipt]:
    """Fetch the order's payments from Razorpay, store them, credit what was captured.

    Returns the new credits. Raises GatewayUnavailable (also after `seconds` without an answer)
    and GatewayRefused.
    """
    try:
        async with asyncio.timeout(seconds):
            found = await gateway.fetch_order_payments(order["order_id"])
    except TimeoutError:
        raise GatewayUnavailable("Razorpay takes too long to answer.") from None
    if found:
        await mark_order_attempted(order)
    credited = []
    # Captured ones first: an authorized one beside them is then not captured as well.
    for payment in sorted(found, key=lambda p: p.status != "captured"):
        try:
            receipt = await credit(order, payment)
        except PaymentMismatch as mismatch:
            log.info("payment %s not credited: %s", payment.id, mismatch.extra.get("reason"))
        else:
            if receipt is not None and not receipt.already_processed:
                credited.append(receipt)
    return credited


# --- payments: read and marked ------------------------------------------------------------------


async def find_payment(payment_id: str) -> Payment | None:
    """The record of a payment, None when we do not know it."""
    return cast(Payment | None, await db.payments.find_one({"_id": payment_id}))


async def find_payments_of_orders(page: list[Order]) -> dict[str, list[Payment]]:
    """Our records of the payments of these orders, by order, the oldest first."""
    by_order: dict[str, list[Payment]] = {order["order_id"]: [] for order in page}
    # Razorpay's times are whole seconds.
    oldest_first = [("created_at", 1), ("seen_at", 1), ("_id", 1)]
    found = db.payments.find({"order_id": {"$in": list(by_order)}}).sort(oldest_first)
    for payment in cast(list[Payment], await found.to_list(None)):
        by_order[payment["order_id"]].append(payment)
    return by_order


async def has_uncaptured_payment(order: Order) -> bool:
    """Whether a payment of this order is authorized and not captured yet."""
    where = {"order_id": order["order_id"], "status": "authorized"}
    return await db.payments.find_one(where, {"_id": 1}) is not None


async def claim_for_refund(payment_id: str, refund_id: str, amount_paise: int) -> bool:
    """Claim this much of the payment for a refund; whether other refunds left that much unclaimed.

    One conditional update: parallel refunds of one payment never exceed its amount together.
    """
    claim = await db.payments.update_one(
        {
            "_id": payment_id,
            f"refunds.{refund_id}": None,
            "$expr": {"$lte": [{"$add": [_REFUND_CLAIMED_PAISE, amount_paise]}, "$amount_paise"]},
        },
        {"$set": {f"refunds.{refund_id}": database.long(amount_paise)}},
    )
    if claim.matched_count:
        return True
    mine = {"_id": payment_id, f"refunds.{refund_id}": amount_paise}
    return await db.payments.find_one(mine, {"_id": 1}) is not None


def refund_claim(payment_id: str, refund_id: str, amount_paise: int) -> Update:
    """The companion write that claims this much of the payment for a refund. It matches nothing when
    other refunds have left less: then the refund is refused with it."""
    room = {"$lte": [{"$add": [_REFUND_CLAIMED_PAISE, amount_paise]}, "$amount_paise"]}
    free = {f"refunds.{refund_id}": None, "$expr": room}
    mine = {f"refunds.{refund_id}": amount_paise}
    claimed = {"$set": {f"refunds.{refund_id}": database.long(amount_paise)}}
    return Update("payments", {"_id": payment_id, "$or": [free, mine]}, claimed)


async def release_refund_claim(payment_id: str, refund_id: str) -> None:
    """Release what this refund had claimed of the payment."""
    await db.payments.update_one({"_id": payment_id}, {"$unset": {f"refunds.{refund_id}": ""}})


async def mark_confirmed(run_id: str, payment_ids: list[str]) -> set[str]:
    """Mark those of these captured payments that are credited as found by this run; their ids."""
    mine = {"_id": {"$in": payment_ids}, "transaction_id": {"$type": "string"}}
    await db.payments.update_many(mine, {"$set": {"confirmed_by": run_id}})
    return await find_confirmed(run_id, payment_ids)


async def find_confirmed(run_id: str, payment_ids: list[str]) -> set[str]:
    """Those of these payments that `mark_confirmed` marked in this run."""
    found = db.payments.find({"_id": {"$in": payment_ids}, "confirmed_by": run_id}, {"_id": 1})
    return {payment["_id"] for payment in await found.to_list(None)}


async def record_settlement(
    payment_id: str,
    *,
    fee_paise: int,
    tax_paise: int,
    settlement_id: str,
    settled_at: dt.datetime | None,
) -> bool:
    """Store how a payment was settled; whether we know the payment."""
    facts = {
        "fee_paise": database.long(fee_paise),
        "tax_paise": database.long(tax_paise),
        "settlement_id": settlement_id,
        "settled_at": settled_at,
    }
    kept = await db.payments.update_one({"_id": payment_id}, {"$set": facts})
    return kept.matched_count == 1


# --- payments: in review ------------------------------------------------------------------------


async def list_in_review(limit: int) -> list[Payment]:
    """The payments in review, the oldest first."""
    found = db.payments.find(_IN_REVIEW).sort("review.at", 1)
    return cast(list[Payment], await found.to_list(limit))


async def resolve_review(payment_id: str, *, by: str, note: str) -> Payment | None:
    """End the review of a payment by a person's decision; None when it was not in review."""
    return await _resolve_review(payment_id, "manual", by=by, note=note)


async def resolve_review_as_refunded(payment_id: str, *, by: str) -> None:
    """End the review of a payment that was refunded in full, by the refund that `by` asked for."""
    await _resolve_review(payment_id, "refunded", by=by, note=_WENT_BACK_NOTE)


async def _resolve_review(
    payment_id: str, resolution: Resolution, *, by: str, note: str
) -> Payment | None:
    facts = {
        "review.resolved_at": clock.now(),
        "review.resolved_by": by,
        "review.resolution": resolution,
        "review.note": note,
    }
    resolved = await db.payments.find_one_and_update(
        {"_id": payment_id, **_IN_REVIEW},
        {"$set": facts},
        return_document=True,
    )
    return cast(Payment | None, resolved)


async def reopen_review(payment_id: str) -> None:
    """Open the review of a refunded payment again, because its refund failed."""
    facts = {
        "review.at": clock.now(),
        "review.resolved_at": None,
        "review.resolution": None,
        "review.note": None,
    }
    await db.payments.update_one({"_id": payment_id, **_RESOLVED_AS_REFUNDED}, {"$set": facts})


# --- storage ------------------------------------------------------------------------------------

_REFUND_CLAIMS: Document = {"$objectToArray": {"$ifNull": ["$refunds", {}]}}
_REFUND_CLAIMED_PAISE: Document = {"$sum": {"$map": {"input": _REFUND_CLAIMS, "in": "$$this.v"}}}

# Closed because it was refunded. Release 0.2.1 kept no resolution, only the note, and a person
# could type the same sentence: without a resolution it counts only when Razorpay's refund wrote it,
# or when refunds cover the whole payment (then it was an admin's refund, with the admin in `resolved_by`).
# Anything else is a person's decision. Beside a process of 0.2.1, which neither writes nor removes
# a resolution, "refunded" counts only with its note.
_RESOLVED_AS_REFUNDED: Document = {
    "$or": [
        {"review.resolution": "refunded", "review.note": _WENT_BACK_NOTE},
        {
            "review.resolution": None,
            "review.note": _WENT_BACK_NOTE,
            "$or": [
                {"review.resolved_by": "razorpay"},
                {"$expr": {"$gte": [_REFUND_CLAIMED_PAISE, "$amount_paise"]}},
            ],
        },
    ]
}

# Not credited: a refund may have failed, and the payment been credited, since it was recorded.
_IN_REVIEW: Document = {
    "review.at": {"$type": "date"},
    "review.resolved_at": None,
    "transaction_id": None,
}


database.declare(
    "orders",
    indexes=[
        Index(("user_id", "order_id"), unique=True, only_where={"order_id": {"$type": "string"}}),
        Index(("order_id",)),
        Index(("user_id", "-created_at", "-_id")),
        Index(("-created_at", "-_id")),
        Index(("status", "created_at", "_id")),
        # A partial index over what is still expected: it does not grow with the history.
        Index(("next_check_at",), only_where={"next_check_at": {"$type": "date"}}),
    ],
    schema={
        "bsonType": "object",
        "required": ["user_id", "amount_paise", "currency", "mode", "status", "created_at"],
        "properties": {
            "amount_paise": {"bsonType": "long", "minimum": 1},
            "currency": {"enum": ["INR"]},
            "mode": {"enum": ["sandbox", "test", "live"]},
            # creating: Razorpay has not confirmed the order yet; never shown.
            "status": {"enum": ["creating", "created", "attempted", "paid"]},
        },
    },
)


database.declare(
    "payments",
    indexes=[
        Index(("user_id", "-created_at")),
        Index(("order_id",)),
        Index(("status", "created_at")),
        Index(("review.at",), only_where={"review.at": {"$type": "date"}}),
    ],
    schema={
        "bsonType": "object",
        "required": ["user_id", "order_id", "amount_paise", "status", "created_at"],
        "properties": {
            "amount_paise": {"bsonType": "long", "minimum": 0},
            "status": {"bsonType": "string"},
        },
    },
)
