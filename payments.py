"""Payments: recharge orders, verification, capture, the credit, and polling of what is open."""

import asyncio
import contextlib
import datetime as dt
import logging
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NoReturn, NotRequired, TypedDict, cast

import gateway
import ledger
import wallet
from auth import rate_limits
from core import clock, config, database, leases, money, pagination
from core.database import Document, Index, Update, db
from core.errors import Problem, TooManyRequests
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
    attempted_at: NotRequired[dt.datetime]  # when we learned of its latest payment
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


class TooManyOpenOrders(Problem):
    """As many orders as a user may open in `seconds` without paying them were opened: `limit`."""

    code, status, title = "too_many_open_orders", 429, "Too many open orders"


class OrderNotFound(Problem):
    """There is no such order, or it belongs to somebody else."""

    code, status, title = "order_not_found", 404, "Order not found"


class Sweep(TypedDict):
    """A record of `payment_sweeps`: until when Razorpay's list of payments was looked through."""

    _id: str  # the mode
    next_at: dt.datetime
    seen_until: dt.datetime


# How often Razorpay's list of payments is looked through, and how far back: a payment appears in it
# when it is attempted, and its order is checked from then on.
_SWEEP_PAUSE_SECONDS = 60.0
_SWEEP_PAUSE_SECONDS_SANDBOX = 5.0
_SWEEP_OVERLAP_SECONDS = 300.0
_SWEEP_SECONDS_MAX = 86_400.0  # reconciliation looks further back

# At which ages an order is checked that nobody is known to have tried to pay; then no more.
_EARLY_CHECKS_SECONDS = (20.0, 90.0, 420.0)
_EARLY_CHECKS_SECONDS_SANDBOX = (5.0, 20.0, 90.0)
# How long, and how often, an order is checked that was signed, or that somebody has tried to pay.
_CHECKED_DAYS_MAX = 180
_CHECK_PAUSE_SECONDS_MIN = 10.0
_CHECK_PAUSE_SECONDS_SANDBOX = 5.0
_SIGNED_PAUSE_SECONDS_MAX = 86_400.0
_ATTEMPTED_PAUSE_SECONDS_MAX = 30 * 86_400.0
_PENDING_CHECK_AFTER_SECONDS = 2.0
_OWNER_CHECK_PAUSE_SECONDS = 2.0
_OWNER_CHECK_PAUSE_SECONDS_LATER = 30.0
_OWNER_CHECKS_OFTEN_SECONDS = 3_600
_GATEWAY_SECONDS = 8.0  # for each request that `confirm` waits for
_IN_DOUBT_DAYS = 3
_ATTEMPTED_DAYS = 7
_POLL_BATCH = 8
_AT_ONCE = 8
_READ_BATCH = 100
_DECISIONS_MAX = 5
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
    earlier: NotRequired["Review"]  # the review before; of those no more than two are kept


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


class Settled(TypedDict):
    """How Razorpay settled a payment; the fee includes the tax."""

    fee_paise: int
    tax_paise: int
    settlement_id: str
    settled_at: dt.datetime | None


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
    same order. Raises AmountBelowMinimum, AmountAboveMaximum, TooManyOpenOrders, GatewayUnavailable,
    GatewayRefused.
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
        await _require_few_open_orders(opening)
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
                "next_check_at": clock.after(_early_checks_seconds(mode)[0], since=now),
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


async def _require_few_open_orders(opening: _Opening) -> None:
    """Raise TooManyOpenOrders, and remove the record, when there are too many earlier ones of its user.

    It is counted with the record written, so that of orders opened at once the earliest pass.
    """
    chosen, mine = config.settings(), (opening["created_at"], opening["_id"])
    where = {
        "user_id": opening["user_id"],
        "created_at": {"$gte": clock.after(-86_400), "$lte": opening["created_at"]},
        "status": {"$ne": "paid"},
    }
    newest_first = [("created_at", -1), ("_id", -1)]
    found = db.orders.find(
        where,
        {"created_at": 1, "status": 1},
        sort=newest_first,
        hint=[("user_id", 1), *newest_first],
    )
    minute_ago = clock.after(-60)
    earlier = [
        order["created_at"]
        for order in await found.to_list(None)
        if (order["created_at"], order["_id"]) < mine
        # What Razorpay did not confirm cannot be paid: after an outage it does not count for long.
        and (order["status"] != "creating" or order["created_at"] > minute_ago)
    ]
    for limit, seconds in (
        (chosen.unpaid_orders_per_hour, 3_600),
        (chosen.unpaid_orders_per_day, 86_400),
    ):
        if len(earlier) < limit or earlier[limit - 1] <= clock.after(-seconds):
            continue
        await db.orders.delete_one({"_id": opening["_id"], "order_id": None})
        until_room = clock.after(seconds, since=earlier[limit - 1]) - clock.now()
        raise TooManyOpenOrders(
            f"{limit} orders were opened and not paid; pay one of them, or try again later.",
            headers={"Retry-After": str(max(1, math.ceil(until_room.total_seconds())))},
            limit=limit,
            seconds=seconds,
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
    """The order with Razorpay's `order_id`; `user_id` None: any user's. Raises OrderNotFound. Callers of
    any user's share the document: it is not changed."""
    found: Order | None = None
    if user_id is None and entities.is_id("order", order_id):
        found = cast(
            "Order | None", await database.find_together("orders", order_id, field="order_id")
        )
    elif entities.is_id("order", order_id):
        found = await _find_order({"order_id": order_id, "user_id": user_id})
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


def order_paid(order: Order, *, payment_id: str, transaction_id: str, at: dt.datetime) -> Update:
    """The companion write of the credit: the order is paid, and no payment is expected any more.

    It matches only while no other payment pays the order: the first captured one does.
    """
    facts = {
        "status": "paid",
        "payment_id": payment_id,
        "transaction_id": transaction_id,
        "paid_at": at,
        "updated_at": at,
    }
    ended = {"pending_payment_id": "", "pending_since": "", "next_check_at": ""}
    return Update(
        "orders",
        {"_id": order["_id"], "payment_id": {"$in": [None, payment_id]}},
        {"$set": facts, "$unset": ended},
    )


async def mark_order_attempted(order: Order) -> None:
    """Somebody has tried to pay the order now, unless it is paid: it is `attempted`, and checked."""
    now = clock.now()
    facts = {
        "status": "attempted",
        "attempted_at": now,
        "next_check_at": clock.after(_check_pause_seconds_min(order["mode"])),
        "updated_at": now,
    }
    if "pending_since" in order:
        del facts["next_check_at"]  # it is checked sooner
    await db.orders.update_one({"_id": order["_id"], "status": {"$ne": "paid"}}, {"$set": facts})


async def mark_payment_pending(order: Order, payment_id: str) -> None:
    """A signed or authorized payment that is not credited yet: check soon."""
    facts: Document = {"next_check_at": clock.after(_PENDING_CHECK_AFTER_SECONDS)}
    if order.get("pending_payment_id") != payment_id:
        facts |= {"pending_payment_id": payment_id, "pending_since": clock.now()}
    await db.orders.update_one({"_id": order["_id"], "status": {"$ne": "paid"}}, {"$set": facts})


async def _find_order(where: Document) -> Order | None:
    return cast(Order | None, await db.orders.find_one(where))


# --- orders: when they are checked at Razorpay --------------------------------------------------


def order_checked_until(order: Order) -> dt.datetime | None:
    """Until when the order is checked at Razorpay; None once no payment is expected."""
    if order["status"] == "paid" or not order.get("next_check_at"):
        return None
    since = _expected_since(order)
    if since is None:
        last = _early_checks_seconds(order["mode"])[-1]
        return max(order["next_check_at"], clock.after(last, since=order["created_at"]))
    return clock.after(86_400 * _CHECKED_DAYS_MAX, since=since)


async def claim_order_check(order: Order, *, by: str | None) -> bool:
    """Whether a read of the order may check it at Razorpay: it is open, was not checked just now, and
    the user `by` has looked up few enough (None: an admin, without a limit)."""
    if order["status"] == "paid" or order["mode"] != config.settings().gateway_mode:
        return False
    is_young = order["created_at"] > clock.after(-_OWNER_CHECKS_OFTEN_SECONDS)
    pause = _OWNER_CHECK_PAUSE_SECONDS if is_young else _OWNER_CHECK_PAUSE_SECONDS_LATER
    asked = await db.orders.update_one(
        {"_id": order["_id"], "asked_at": {"$not": {"$gt": clock.after(-pause)}}},
        {"$set": {"asked_at": clock.now()}},
    )
    if not asked.modified_count:
        return False
    try:
        await limit_lookups(by)
    except TooManyRequests:
        return False
    return True


async def limit_lookups(user_id: str | None) -> None:
    """Count a look-up at Razorpay for this user (None: an admin, without a limit). Raises
    TooManyRequests above the limit a minute."""
    if user_id is not None:
        await rate_limits.limit_lookups(user_id)


async def claim_due_orders(limit: int) -> list[Order]:
    """Orders that are due for a check, claimed by this process alone.

    One that nobody is known to have tried to pay is checked a few times in its first minutes: its
    payment will be in Razorpay's list of payments, which is looked through all the time. One with a
    signed or authorized payment is checked after a quarter of the time that it has waited, at least
    daily; one with any other attempt after half of that time. Both for half a year: an order
    never expires, and a failed payment may be authorized days later (Razorpay, "late authorisation").
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
    now = clock.now()
    if order["status"] == "paid":
        return None
    if (since := _expected_since(order)) is None:
        age_seconds = (now - order["created_at"]).total_seconds()
        ahead = (age for age in _early_checks_seconds(order["mode"]) if age > age_seconds)
        age = next(ahead, None)
        return None if age is None else clock.after(age, since=order["created_at"])
    if now - since > dt.timedelta(days=_CHECKED_DAYS_MAX):
        return None
    waited_seconds = (now - since).total_seconds()
    if "pending_since" in order:
        pause = min(_SIGNED_PAUSE_SECONDS_MAX, waited_seconds / 4)
    else:
        pause = min(_ATTEMPTED_PAUSE_SECONDS_MAX, waited_seconds / 2)
    return clock.after(max(_check_pause_seconds_min(order["mode"]), pause))


def _expected_since(order: Order) -> dt.datetime | None:
    """Since when a payment of the order may become money; None: nobody has tried to pay it."""
    since = order.get("pending_since") or order.get("attempted_at")
    if since is None and order["status"] == "attempted":
        return order["created_at"]  # by release 0.2.1, which did not keep when
    return since


def _early_checks_seconds(mode: str) -> tuple[float, ...]:
    return _EARLY_CHECKS_SECONDS_SANDBOX if mode == "sandbox" else _EARLY_CHECKS_SECONDS


def _check_pause_seconds_min(mode: str) -> float:
    return _CHECK_PAUSE_SECONDS_SANDBOX if mode == "sandbox" else _CHECK_PAUSE_SECONDS_MIN


async def orders_in_doubt(until: dt.datetime, *, deep: bool) -> AsyncIterator[list[Order]]:
    """The orders that are not paid although somebody signed or authorized a payment, in the three days
    before `until`, the oldest first, in batches. With `deep` those of half a year, and after them all
    orders of the last seven days that somebody has tried to pay."""
    days = _CHECKED_DAYS_MAX if deep else _IN_DOUBT_DAYS
    signed: Document = {"mode": config.settings().gateway_mode, "status": {"$ne": "paid"}}
    async for batch in _in_order_of("pending_since", signed, days, until):
        yield batch
    if deep:
        tried: Document = {"mode": config.settings().gateway_mode, "status": "attempted"}
        tried["pending_since"] = None
        async for batch in _in_order_of("created_at", tried, _ATTEMPTED_DAYS, until):
            yield batch


async def _in_order_of(
    field: str, where: Document, days: int, until: dt.datetime
) -> AsyncIterator[list[Order]]:
    """The orders that `where` matches whose `field` is in the `days` before `until`, in batches."""
    last: tuple[dt.datetime, str] = (clock.after(-86_400 * days, since=until), "")
    while True:
        at, order_id = last
        page = {
            **where,
            # The type is named because only then MongoDB uses a partial index over dates.
            field: {"$gte": at, "$lt": until, "$type": "date"},
            "$or": [{field: {"$gt": at}}, {"_id": {"$gt": order_id}}],
        }
        rows = await db.orders.find(page).sort([(field, 1), ("_id", 1)]).to_list(_READ_BATCH)
        batch = cast(list[Order], rows)
        if not batch:
            return
        yield batch
        last = (cast(dict[str, dt.datetime], batch[-1])[field], batch[-1]["_id"])


# --- payments: verified, captured, credited -----------------------------------------------------


async def confirm(
    user_id: str, *, order_id: str, payment_id: str, signature: str
) -> Receipt | None:
    """Verify and credit what Checkout passed to the browser; None while it is pending.

    Answered from our own record when it was credited before, so a repetition works while Razorpay
    is down. When Razorpay does not answer in time, `poll_pending` credits it later; also when it says
    that it knows no such payment, because it has signed it. Raises OrderNotFound, InvalidSignature,
    PaymentMismatch.
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
        async with _in_time(_GATEWAY_SECONDS):
            payment = await gateway.fetch_payment(payment_id)
    except (GatewayUnavailable, GatewayRefused) as problem:
        log.warning("payment %s waits: %s", payment_id, problem.detail)
        receipt = None
    else:
        receipt = await credit(order, payment)
    if receipt is None:
        await mark_payment_pending(order, payment_id)
    return receipt


@contextlib.asynccontextmanager
async def _in_time(seconds: float | None) -> AsyncIterator[None]:
    """GatewayUnavailable when the block takes longer; None: as long as it takes."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise GatewayUnavailable("Razorpay takes too long to answer.") from None


async def credit(
    order: Order, payment: entities.Payment, *, beside: Sequence[entities.Payment] | None = None
) -> Receipt | None:
    """Credit a captured payment to the wallet of the order's user: once, whoever reports it.

    Browser, webhook, poller and reconciliation all call this. The amount and the user are
    our order's, the state is Razorpay's: `payment` has just been fetched, and so were the order's
    payments `beside` it, if they are given. An authorized payment is captured first. The key is the
    payment's id, and the order's `paid` commits with the entry.
    None: not captured yet. Raises PaymentMismatch for what cannot be credited; if money was taken
    nevertheless, it is recorded for review. An order is credited once: Razorpay refunds a second
    captured payment itself (Razorpay, "auto refunds"), so crediting it would pay it out twice.
    """
    if payment.order_id != order["order_id"]:
        raise PaymentMismatch("This payment belongs to another order.", reason="other_order")
    if payment.status == "authorized":
        payment = await _captured(order, payment, beside)
    if payment.status not in ("captured", "refunded"):
        if await _record_payment(payment, order):
            await mark_order_attempted(order)
        if payment.status == "failed":
            raise PaymentMismatch(
                "The payment failed and no money was taken. The order can be paid again.",
                reason="failed",
            )
        return None
    for _ in range(_DECISIONS_MAX):
        known = await find_payment(payment.id)
        await _require_creditable(order, payment, known)
        try:
            return await _post_credit(order, payment, known)
        except wallet.RecordChanged as changed:  # another payment, or a person, was first
            refusal = changed
            order = await get_order(order["order_id"], None)
    raise refusal


async def _captured(
    order: Order, payment: entities.Payment, beside: Sequence[entities.Payment] | None
) -> entities.Payment:
    """An authorized payment after trying to capture it; unchanged when Razorpay does not answer.

    Beside another payment that pays the order it is not captured: Razorpay sends it back itself.
    """
    order = await get_order(order["order_id"], None)  # another payment may have paid it meanwhile
    await _require_creditable(order, payment, await find_payment(payment.id))
    try:
        async with _in_time(_GATEWAY_SECONDS):
            if beside is None:
                beside = await gateway.fetch_order_payments(order["order_id"])
            if any(
                other.id != payment.id and other.status in ("captured", "refunded")
                for other in beside
            ):
                await _reject_for_review(payment, order, "second_payment")
            try:
                await gateway.capture_payment(payment.id, int(order["amount_paise"]))
            except GatewayRefused:
                log.info("capture of %s refused; somebody else may have captured it", payment.id)
            return await gateway.fetch_payment(payment.id)
    except (GatewayUnavailable, GatewayRefused):
        return payment


async def _require_creditable(
    order: Order, payment: entities.Payment, known: Payment | None
) -> None:
    """Raise PaymentMismatch, and record it for review, for money that is not exactly what was ordered.

    `known` is our record of the payment; one that is in the wallet passes."""
    if payment.amount_paise != order["amount_paise"] or payment.currency != order["currency"]:
        await _reject_for_review(payment, order, "amount_mismatch")
    if known is not None and known.get("transaction_id"):
        return
    in_the_wallet = order["status"] == "paid" and order["payment_id"] == payment.id
    went_back = payment.status == "refunded" or payment.amount_refunded_paise > 0
    if went_back and not in_the_wallet:
        await _reject_for_review(payment, order, "refunded")
    if order["payment_id"] not in (None, payment.id):
        await _reject_for_review(payment, order, "second_payment")
    has_review = known is not None and "review" in known
    if has_review and not in_the_wallet and await _is_decided_by_hand(payment.id):
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
    kept = {"$mergeObjects": [{"$literal": review}, {"earlier": _LATEST_REVIEWS}]}
    is_new = await db.payments.update_one(waits, [{"$set": {"review": kept}}])
    if is_new.matched_count:
        log.error("payment %s of order %s needs review: %s", payment.id, order["order_id"], reason)
    elif payment.status == "refunded":
        await resolve_review_as_refunded(payment.id, by="razorpay")
    raise PaymentMismatch(
        f"{_REVIEW_TEXT[reason]} Nothing was added to the wallet; the payment is kept for review.",
        reason=reason,
    )


async def _post_credit(order: Order, payment: entities.Payment, known: Payment | None) -> Receipt:
    """Credit the payment, in one commit with its record and the order's. Raises RecordChanged when
    another payment pays the order by now, or when the record is not `known` any more."""
    amount_paise, user_id = int(order["amount_paise"]), order["user_id"]

    def companions(outcome: Outcome) -> list[database.Write]:
        entry = outcome.entry
        assert entry is not None
        credited = {"transaction_id": entry.id, "updated_at": entry.created_at}
        where: Document = {"_id": payment.id}
        if known is not None:
            review = known.get("review")
            where["review.resolved_at"] = review.get("resolved_at") if review else None
        return [
            order_paid(order, payment_id=payment.id, transaction_id=entry.id, at=entry.created_at),
            Update("payments", where, _facts_of(payment, order, credited), upsert=known is None),
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


async def _record_payment(payment: entities.Payment, order: Order) -> bool:
    """Store a payment as Razorpay reports it; whether it is new. A captured one never returns to an
    earlier status."""
    where: Document = {"_id": payment.id}
    if payment.status not in ("captured", "refunded"):
        where["status"] = {"$nin": ["captured", "refunded"]}
    try:
        kept = await db.payments.update_one(where, _facts_of(payment, order, {}), upsert=True)
    except database.DuplicateKey:
        return False  # it is captured by now
    return kept.upserted_id is not None


def _facts_of(payment: entities.Payment, order: Order, more: Document) -> Document:
    """The update that stores a payment as Razorpay reports it, with `more` facts."""
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
        **more,
    }
    if payment.fee_paise is not None:
        facts |= {"fee_paise": database.long(payment.fee_paise)}
    if payment.tax_paise is not None:
        facts |= {"tax_paise": database.long(payment.tax_paise)}
    now = clock.now()
    return {
        "$set": facts,
        "$setOnInsert": {"created_at": payment.created_at or now, "seen_at": now},
    }


# --- payments: polled ---------------------------------------------------------------------------


async def poll_pending() -> int:
    """Look through Razorpay's new payments, and check the orders that are due; how many those were.
    Any number of processes may run it.

    This also credits a payment whose browser was closed before it reported it.
    """
    with gateway.on_behalf_of("poller"):
        if gateway.retry_after_seconds() > 0:
            return 0  # nothing is claimed while Razorpay does not answer
        await sweep_payments()
        count = 0
        while True:
            batch = await claim_due_orders(_POLL_BATCH)
            answers = await asyncio.gather(*map(_try_check_order, batch))
            count += len(batch)
            if len(batch) < _POLL_BATCH or not all(answers):
                return count


async def sweep_payments() -> int:
    """Credit, or follow, what is new in Razorpay's list of payments, if it is time to; how many were new.

    The list is looked through from a while before the end of the last time. What is in it was
    attempted, so its order is checked from then on, whatever becomes of the payment.
    """
    sweep = await _claim_sweep()
    if sweep is None:
        return 0
    until = clock.now()
    overlapping = clock.after(-_SWEEP_OVERLAP_SECONDS, since=sweep["seen_until"])
    since = max(overlapping, clock.after(-_SWEEP_SECONDS_MAX, since=until))
    count = 0
    try:
        async for page in gateway.payments_between(since, until):
            news = await _news_of(page)
            await leases.gather_bounded(_follow, news, _AT_ONCE)
            count += len(news)
    except (GatewayUnavailable, GatewayRefused) as problem:
        log.warning("razorpay's payments not looked through: %s", problem.detail)
        return count
    await db.payment_sweeps.update_one({"_id": sweep["_id"]}, {"$max": {"seen_until": until}})
    return count


async def _claim_sweep() -> Sweep | None:
    """The record of the sweep, claimed by this process alone; None when it is not time yet."""
    mode, now = config.settings().gateway_mode, clock.now()
    is_sandbox = mode == "sandbox"
    again_at = clock.after(_SWEEP_PAUSE_SECONDS_SANDBOX if is_sandbox else _SWEEP_PAUSE_SECONDS)
    found = cast(Sweep | None, await db.payment_sweeps.find_one({"_id": mode}))
    if found is None:
        first: Sweep = {
            "_id": mode,
            "next_at": again_at,
            "seen_until": clock.after(-_SWEEP_SECONDS_MAX),
        }
        try:
            await db.payment_sweeps.insert_one(dict(first))
        except database.DuplicateKey:
            return None
        return first
    if found["next_at"] > now:
        return None
    claimed = await db.payment_sweeps.update_one(
        {"_id": mode, "next_at": found["next_at"]}, {"$set": {"next_at": again_at}}
    )
    return found if claimed.modified_count else None


async def _news_of(page: list[entities.Payment]) -> list[tuple[Order, entities.Payment]]:
    """Those of these payments, with their orders, of which we do not know what Razorpay says."""
    where = {
        "order_id": {"$in": [payment.order_id for payment in page]},
        "mode": config.settings().gateway_mode,
    }
    rows = cast(list[Order], await db.orders.find(where).to_list(None))
    orders = {order["order_id"]: order for order in rows}
    known = await find_payments([payment.id for payment in page if payment.order_id in orders])
    return [
        (orders[payment.order_id], payment)
        for payment in page
        if payment.order_id in orders and not is_known(payment, known.get(payment.id))
    ]


async def _follow(news: tuple[Order, entities.Payment]) -> None:
    order, payment = news
    try:
        receipt = await credit(order, payment)
    except PaymentMismatch as mismatch:
        log.info("payment %s not credited: %s", payment.id, mismatch.extra.get("reason"))
    else:
        if receipt is None and payment.status == "authorized":
            await mark_payment_pending(order, payment.id)


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

    Returns the new credits. Raises GatewayUnavailable (also when all of it takes longer than
    `seconds`: the rest is done by the next check) and GatewayRefused.
    """
    async with _in_time(seconds):
        found = await gateway.fetch_order_payments(order["order_id"])
        known = await find_payments([payment.id for payment in found])
        credited = []
        # Captured ones first: an authorized one beside them is then not captured as well.
        for payment in sorted(found, key=lambda p: p.status != "captured"):
            if is_known(payment, known.get(payment.id)):
                continue
            try:
                receipt = await credit(order, payment, beside=found)
            except PaymentMismatch as mismatch:
                log.info("payment %s not credited: %s", payment.id, mismatch.extra.get("reason"))
                continue
            if receipt is None and payment.status == "authorized":
                await mark_payment_pending(order, payment.id)
            elif receipt is not None and not receipt.already_processed:
                credited.append(receipt)
    return credited


# --- payments: read and marked ------------------------------------------------------------------


async def find_payment(payment_id: str) -> Payment | None:
    """The record of a payment, None when we do not know it. Callers share it: it is not changed."""
    return cast("Payment | None", await database.find_together("payments", payment_id))


async def find_payments(payment_ids: list[str]) -> dict[str, Payment]:
    """Our records of those of these payments that we know, by id."""
    found = db.payments.find({"_id": {"$in": payment_ids}})
    return {each["_id"]: each for each in cast(list[Payment], await found.to_list(None))}


def is_known(payment: entities.Payment, known: Payment | None) -> bool:
    """Whether our record says the same as Razorpay, and nothing is left to do about the payment."""
    if known is None or known["status"] != payment.status:
        return False
    if known["amount_refunded_paise"] != payment.amount_refunded_paise:
        return False
    if payment.status not in ("authorized", "captured", "refunded"):
        return True
    return bool(known.get("transaction_id") or "review" in known)


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
    """Mark those of these captured payments that are credited as found at Razorpay, once; their ids."""
    mine = {"_id": {"$in": payment_ids}, "transaction_id": {"$type": "string"}}
    found = await db.payments.find(mine, {"confirmed_by": 1}).to_list(None)
    fresh = [payment["_id"] for payment in found if not payment.get("confirmed_by")]
    if fresh:
        await db.payments.update_many({"_id": {"$in": fresh}}, {"$set": {"confirmed_by": run_id}})
    return {payment["_id"] for payment in found}


async def find_confirmed(payment_ids: list[str]) -> set[str]:
    """Those of these payments that `mark_confirmed` has marked."""
    mine = {"_id": {"$in": payment_ids}, "confirmed_by": {"$type": "string"}}
    found = db.payments.find(mine, {"_id": 1})
    return {payment["_id"] for payment in await found.to_list(None)}


async def record_settlements(lines: Mapping[str, Settled]) -> set[str]:
    """Store how these payments were settled, where it is not stored yet; the ids that we know."""
    known = await find_payments(list(lines))
    for payment_id, payment in known.items():
        facts = lines[payment_id]
        if any(payment.get(name) != value for name, value in facts.items()):
            await db.payments.update_one({"_id": payment_id}, {"$set": facts})
    return set(known)


# --- payments: in review ------------------------------------------------------------------------


async def list_in_review(limit: int) -> list[Payment]:
    """The payments in review, the oldest first."""
    found = db.payments.find(_IN_REVIEW).sort("review.at", 1)
    return cast(list[Payment], await found.to_list(limit))


async def count_in_review() -> int:
    """How many payments are in review."""
    return await db.payments.count_documents(_IN_REVIEW)


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

# The review that there is, and the one before it without its own earlier one: what became of older
# ones stands in the log.
_EARLIER_ALONE: Document = {
    "$arrayToObject": {
        "$filter": {
            "input": {"$objectToArray": "$review.earlier"},
            "cond": {"$ne": ["$$this.k", "earlier"]},
        }
    }
}
_LATEST_REVIEWS: Document = {
    "$switch": {
        "branches": [
            {
                "case": {"$eq": [{"$type": "$review.earlier"}, "object"]},
                "then": {"$mergeObjects": ["$review", {"earlier": _EARLIER_ALONE}]},
            },
            {"case": {"$eq": [{"$type": "$review"}, "object"]}, "then": "$review"},
        ],
        "default": "$$REMOVE",
    }
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
        Index(("mode", "status", "created_at", "_id")),
        # Partial indexes over what is still expected: they do not grow with the history.
        Index(("mode", "next_check_at"), only_where={"next_check_at": {"$type": "date"}}),
        Index(("mode", "pending_since", "_id"), only_where={"pending_since": {"$type": "date"}}),
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


database.declare("payment_sweeps")


database.declare(
    "payments",
    indexes=[
        Index(("user_id", "-created_at")),
        Index(("order_id",)),
        Index(("status", "created_at")),
        Index(("review.resolved_at", "review.at"), only_where={"review.at": {"$type": "date"}}),
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
