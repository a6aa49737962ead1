"""Orders to recharge: opened at Razorpay and here, expected until they are paid."""

import datetime as dt
import logging
from collections.abc import AsyncIterator
from typing import Literal, NotRequired, TypedDict, cast

import gateway
from core import clock, config, database, money, pagination
from core.database import Document, Index, Update, db
from core.errors import Problem
from gateway import GatewayRefused, GatewayUnavailable, entities

log = logging.getLogger(__name__)


CHECKOUT_URL = "https://checkout.razorpay.com/v1/checkout.js"


_CHECKED_DAYS_MAX = 180


_SANDBOX_PAUSE_SECONDS = 5.0


_SANDBOX_EAGER_SECONDS = 1_800


_PAUSE_SECONDS_MIN = 10.0


_PAUSE_SECONDS_MAX = 86_400.0


_EXPECTED_AFTER_SECONDS = 2.0


_LAST_LOOK_SECONDS = 5.0


_BATCH = 100


_ASKED_AGAIN_AFTER_SECONDS = 2.0


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
    payment_id: str | None  # of the payment that the order buys with
    mode: str
    amount_paise: int
    currency: str
    status: Literal["created", "attempted", "paid"]
    created_at: dt.datetime
    updated_at: dt.datetime
    next_check_at: NotRequired[dt.datetime]  # absent: Razorpay is not asked any more
    asked_at: NotRequired[dt.datetime]  # when its owner's look last asked Razorpay
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


database.declare(
    "orders",
    indexes=[
        Index(("user_id", "order_id"), unique=True, only_where={"order_id": {"$type": "string"}}),
        Index(("order_id",)),
        Index(("user_id", "-created_at", "-_id")),
        Index(("-created_at", "-_id")),
        Index(("status", "created_at", "_id")),
        # Only what is still expected is in this index, however long the history grows.
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


async def open_order(user_id: str, *, amount_paise: int, seed: str) -> Order:
    """An order over `amount_paise` for this user, at Razorpay and here.

    Our record comes first, and its id is the receipt, so a creation whose answer was lost is found
    again by its receipt instead of being repeated. The same `seed` leads to the same order. Raises
    AmountBelowMinimum, AmountAboveMaximum, GatewayUnavailable, GatewayRefused.
    """
    _check_limits(amount_paise)
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
        if (earlier := await _find_one(confirmed)) is not None:
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
                "next_check_at": clock.after(_pause_seconds(mode, since=now)),
                "updated_at": now,
            }
        },
    )
    order = await _find_one({"_id": receipt})
    assert order is not None
    assert order["amount_paise"] == at_razorpay.amount_paise
    log.info("order %s opened for %s: %d paise", order["order_id"], user_id, amount_paise)
    return order


async def find(order_id: str, user_id: str | None) -> Order:
    """The order with Razorpay's `order_id`; `user_id` None: anybody's. Raises OrderNotFound."""
    where = {"order_id": order_id} | ({} if user_id is None else {"user_id": user_id})
    found = await _find_one(where) if entities.is_id("order", order_id) else None
    if found is None:
        raise OrderNotFound("There is no such order.")
    return found


async def page(
    user_id: str | None, *, limit: int, cursor: str | None
) -> tuple[list[Order], str | None]:
    """Orders, newest first, and the next cursor. `user_id` None: everybody's."""
    where: Document = {"order_id": {"$type": "string"}}
    if user_id is not None:
        where["user_id"] = user_id
    where |= pagination.behind(cursor, "created_at")
    found = db.orders.find(where).sort([("created_at", -1), ("_id", -1)])
    rows, next_cursor = pagination.cut(await found.to_list(limit + 1), "created_at", limit)
    return cast(list[Order], rows), next_cursor


async def claim(order: Order, payment_id: str) -> bool:
    """Whether this payment is the one that the order buys with: the first captured one is."""
    claimed = await db.orders.update_one(
        {"_id": order["_id"], "payment_id": {"$in": [None, payment_id]}},
        {"$set": {"payment_id": payment_id}},
    )
    return claimed.matched_count == 1


def paid(order: Order, *, payment_id: str, transaction_id: str, at: dt.datetime) -> Update:
    """The companion write of the credit: the order is paid, and expected no longer.

    One last look at it comes a little later, for the attempts on it that failed before.
    """
    facts = {
        "status": "paid",
        "payment_id": payment_id,
        "transaction_id": transaction_id,
        "paid_at": at,
        "updated_at": at,
        "next_check_at": clock.after(_LAST_LOOK_SECONDS, since=at),
    }
    ended = {"pending_payment_id": "", "pending_since": ""}
    return Update("orders", {"_id": order["_id"]}, {"$set": facts, "$unset": ended})


def checked_until(order: Order) -> dt.datetime | None:
    """Until when Razorpay is asked about the order; None once there is nothing to wait for."""
    if order["status"] == "paid" or not order.get("next_check_at"):
        return None
    return clock.after(86_400 * _CHECKED_DAYS_MAX, since=_waits_since(order))


async def attempted(order: Order) -> None:
    """Somebody tried to pay; never back from `paid`."""
    await db.orders.update_one(
        {"_id": order["_id"], "status": "created"},
        {"$set": {"status": "attempted", "updated_at": clock.now()}},
    )


async def expect(order: Order, payment_id: str) -> None:
    """A signed payment that is not credited yet: check soon."""
    facts = {
        "pending_payment_id": payment_id,
        "pending_since": clock.now(),
        "next_check_at": clock.after(_EXPECTED_AFTER_SECONDS),
    }
    await db.orders.update_one({"_id": order["_id"], "status": {"$ne": "paid"}}, {"$set": facts})


async def may_ask(order: Order) -> bool:
    """Whether a look at this order may ask Razorpay now: it is open, and nobody asked just now."""
    if order["status"] == "paid" or order["mode"] != config.settings().gateway_mode:
        return False
    recently = clock.after(-_ASKED_AGAIN_AFTER_SECONDS)
    asked = await db.orders.update_one(
        {"_id": order["_id"], "asked_at": {"$not": {"$gt": recently}}},
        {"$set": {"asked_at": clock.now()}},
    )
    return asked.modified_count == 1


async def due(limit: int) -> list[Order]:
    """Orders whose time to be checked has come, taken by this process alone.

    In the sandbox that is every 5 seconds for half an hour; else at growing intervals, a quarter
    of the order's age, from 10 seconds to a day, for half a year: an order never expires, and a
    failed payment may be authorized days later (Razorpay, "late authorisation").
    """
    now, mine = clock.now(), []
    # The type is named because only then MongoDB takes the partial index.
    where = {
        "next_check_at": {"$lte": now, "$type": "date"},
        "mode": config.settings().gateway_mode,
    }
    found = await db.orders.find(where).sort("next_check_at", 1).to_list(limit)
    for order in cast(list[Order], found):
        waited = now - _waits_since(order)
        over = order["status"] == "paid" or waited > dt.timedelta(days=_CHECKED_DAYS_MAX)
        # The next time is set before the work: a process that dies loses a turn, not an order.
        taken = await db.orders.update_one(
            {"_id": order["_id"], "next_check_at": order["next_check_at"]},
            {"$unset": {"next_check_at": ""}}
            if over
            else {"$set": {"next_check_at": clock.after(_next_pause_seconds(order))}},
        )
        if taken.modified_count:
            mine.append(order)
    return mine


async def open_between(since: dt.datetime, until: dt.datetime) -> AsyncIterator[list[Order]]:
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
        rows = await found.sort([("created_at", 1), ("_id", 1)]).to_list(_BATCH)
        batch = cast(list[Order], rows)
        if not batch:
            return
        yield batch
        last = (batch[-1]["created_at"], batch[-1]["_id"])


def _check_limits(amount_paise: int) -> None:
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
    """Create the order, or find the one that was created although the answer was lost."""
    try:
        return await gateway.create_order(amount_paise, receipt, {"user_id": user_id})
    except (GatewayUnavailable, GatewayRefused) as problem:
        # A refusal, too: some accounts answer a receipt that is known with 400.
        if isinstance(problem, GatewayUnavailable) and not problem.sent:
            raise
        try:
            found = await gateway.find_order_by_receipt(receipt)
        except (GatewayUnavailable, GatewayRefused):
            raise problem from None
        if found is None or found.amount_paise != amount_paise:
            raise
        return found


def _waits_since(order: Order) -> dt.datetime:
    return order.get("pending_since") or order["created_at"]


def _next_pause_seconds(order: Order) -> float:
    return _pause_seconds(order["mode"], since=_waits_since(order))


def _pause_seconds(mode: str, *, since: dt.datetime) -> float:
    """How long to wait before Razorpay is asked about an order that has waited `since` then."""
    age_seconds = (clock.now() - since).total_seconds()
    if mode == "sandbox" and age_seconds < _SANDBOX_EAGER_SECONDS:
        return _SANDBOX_PAUSE_SECONDS
    return max(_PAUSE_SECONDS_MIN, min(_PAUSE_SECONDS_MAX, age_seconds / 4))


async def _find_one(where: Document) -> Order | None:
    return cast(Order | None, await db.orders.find_one(where))
