"""Refunds: asked for by an admin or made at Razorpay, reserved, followed to their end."""

import datetime as dt
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Final, Literal, NotRequired, TypedDict, cast

from ulid import ULID

import gateway
import ledger
import payments
import wallet
from core import clock, config, database, leases, money, outbox, pagination
from core.database import Document, Index, Insert, Update, Write, db
from core.errors import HoldNotFound, NotFound, PaymentRequired, Problem
from gateway import GatewayRefused, GatewayUnavailable, NoSuchEntity, entities
from ledger import Outcome
from payments import AmountBelowMinimum, Payment

log = logging.getLogger(__name__)


# --- vocabulary ---------------------------------------------------------------------------------

RefundStatus = Literal[
    "reserved",  # its money is reserved, Razorpay has not confirmed that it has the refund
    "pending",  # Razorpay has it
    "processed",  # Razorpay paid it out, and the wallet is debited
    "failed",  # it failed, and the money is in the wallet again
]

# What it does to the wallet. The refund of a payment that was never credited debits nothing, and
# that of a lost dispute is debited as the dispute.
RefundEffect = Literal["debit", "none", "dispute"]

OPEN_STATUSES: Final = ("reserved", "pending")


class Refund(TypedDict):
    """A record of `refunds`."""

    _id: str  # ours (`refund_…`), or Razorpay's when it was made there
    gateway_id: str | None  # Razorpay's
    payment_id: str
    order_id: str
    user_id: str
    amount_paise: int
    reason: str | None
    requested_by: str | None  # the admin; None: it was made at Razorpay
    status: RefundStatus
    effect: RefundEffect
    dispute_id: str | None  # of the lost dispute that took the same money
    transaction_id: str | None
    due_paise: int  # what was already spent when it was debited
    failure: str | None  # for people: why it is still open, or why it failed
    created_at: dt.datetime
    updated_at: dt.datetime
    next_check_at: dt.datetime | None  # None: it has ended
    told_at: NotRequired[dt.datetime]  # when it was made at Razorpay
    settlement_id: NotRequired[str]
    settled_at: NotRequired[dt.datetime | None]


class Settled(TypedDict):
    """How Razorpay settled a refund."""

    settlement_id: str
    settled_at: dt.datetime | None


class RefundExceedsUnspent(Problem):
    """More than is left of the payment, or than the wallet has free; `refundable` is what could be."""

    code, status, title = "refund_exceeds_unspent", 409, "Refund exceeds what is unspent"


class NotRefundable(Problem):
    """There is no captured money of this payment that could go back."""

    code, status, title = "payment_not_refundable", 409, "Payment not refundable"


_REFUND_PAISE_MIN: Final = 100  # Razorpay, "create a normal refund"
_REFUSED_DAYS_MAX: Final = 3
_CLAIM_ABANDONED_AFTER_SECONDS: Final = 600.0
_CHECK_PAUSE_SECONDS_MIN: Final = 2.0
_CHECK_PAUSE_SECONDS_MAX: Final = 3_600.0
_POLL_BATCH: Final = 16
_READ_BATCH: Final = 100
_NEWEST_FIRST: Final = pagination.newest_first("created_at")


# --- requested by an admin ----------------------------------------------------------------------


async def create_refund(
    payment_id: str, *, amount_paise: int | None, reason: str, by: str, seed: str
) -> Refund:
    """Refund a payment, in full or in part (None: all that is left of it); the refund as it is then.

    The wallet's money is reserved before Razorpay is called, and only what is neither spent nor held:
    what is refunded can pay for no call. The same `seed` leads to the same refund. When
    Razorpay does not answer, the refund stays `pending` and is requested again with the same
    idempotency key. Raises NotFound, NotRefundable, RefundExceedsUnspent, AmountBelowMinimum,
    GatewayUnavailable and GatewayRefused (when the payment cannot be fetched: then there is no refund).
    """
    refund_id = f"refund_{seed}"
    earlier = await find_refund(refund_id)
    if earlier is None:
        earlier = await _open(refund_id, payment_id, amount_paise, reason, by)
    if earlier["status"] != "reserved":
        return earlier
    return await _request_refund(earlier)


async def _open(
    refund_id: str, payment_id: str, amount_paise: int | None, reason: str, by: str
) -> Refund:
    record = await payments.find_payment(payment_id)
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
    if amount_paise < _REFUND_PAISE_MIN:
        raise AmountBelowMinimum(
            f"Razorpay refunds no less than Rs {money.text(_REFUND_PAISE_MIN)}.",
            minimum=money.rupees(_REFUND_PAISE_MIN),
        )
    too_much = RefundExceedsUnspent(
        f"Of this payment Rs {money.text(left_paise)} are left to refund, less what is being "
        "refunded already.",
        refundable=money.rupees(left_paise),
    )
    if amount_paise > left_paise:
        raise too_much
    if not await payments.claim_for_refund(payment_id, refund_id, amount_paise):
        await _release_abandoned_claims(payment_id)
        if not await payments.claim_for_refund(payment_id, refund_id, amount_paise):
            raise too_much
    opened = new_refund(refund_id, record, amount_paise)
    opened["reason"] = reason
    opened["requested_by"] = by
    try:
        await insert_refund(opened, amount_paise_min=amount_paise)
    except PaymentRequired as refusal:
        await payments.release_refund_claim(payment_id, refund_id)
        raise RefundExceedsUnspent(
            f"The wallet has Rs {money.text(refusal.available_paise)} that are neither spent nor "
            "reserved; no more than that can be refunded.",
            refundable=money.rupees(min(left_paise, refusal.available_paise)),
        ) from None
    log.info("refund %s of %s: %d paise, by %s", refund_id, payment_id, amount_paise, by)
    return opened


async def _request_refund(record: Refund) -> Refund:
    """Request a refund, whose money is reserved, from Razorpay; the refund as it is then."""
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
        return await postpone_refund(record, problem.detail)
    except GatewayRefused as refusal:
        return await _handle_refusal(record, refusal)
    return await advance_refund(record, reported)


async def _handle_refusal(record: Refund, refusal: GatewayRefused) -> Refund:
    """Handle a refusal by Razorpay. It may have the refund already, or our account there may lack the
    money just now (its messages vary): the reserve is kept until that is certain.
    """
    try:
        payment = await gateway.fetch_payment(record["payment_id"])
        for reported in await gateway.fetch_refunds_of(record["payment_id"]):
            if reported.receipt == record["_id"]:
                return await advance_refund(record, reported)
    except (GatewayUnavailable, GatewayRefused) as problem:
        return await postpone_refund(record, problem.detail)
    # 409: the same refund is being made at this moment. 401, 403: it is our key that is refused.
    if refusal.http_status in (400, 404):
        left_paise = payment.amount_paise - payment.amount_refunded_paise
        if payment.status != "captured" or left_paise < record["amount_paise"]:
            return await mark_failed(record, "Not that much is left of the payment.")
        if clock.now() - record["created_at"] > dt.timedelta(days=_REFUSED_DAYS_MAX):
            why = f"Razorpay refused it for {_REFUSED_DAYS_MAX} days."
            return await mark_failed(record, why)
    log.error(
        "refund %s: Razorpay refuses it (HTTP %d); is our balance there too low? asking again",
        record["_id"],
        refusal.http_status,
    )
    return await postpone_refund(record, "Razorpay refuses it for now; it is asked for again.")


async def _release_abandoned_claims(payment_id: str) -> None:
    """Release what was claimed of a payment by refunds whose process ended before it wrote their record."""
    payment = await payments.find_payment(payment_id)
    for refund_id in payment.get("refunds", {}) if payment is not None else ():
        asked_at = _asked_at(refund_id)
        if (
            asked_at < clock.after(-_CLAIM_ABANDONED_AFTER_SECONDS)
            and await find_refund(refund_id) is None
        ):
            await payments.release_refund_claim(payment_id, refund_id)


def _asked_at(refund_id: str) -> dt.datetime:
    """When a refund of ours was requested: its id has the time in it."""
    if not refund_id.startswith("refund_"):
        return clock.now()
    return ULID.from_str(refund_id.removeprefix("refund_")).datetime


# --- what Razorpay reports ----------------------------------------------------------------------


async def apply_update(reported: entities.Refund) -> str:
    """Apply a refund as Razorpay has it, and describe the effect: once, whoever reports it.

    One of ours is advanced. One that somebody made at Razorpay is debited as far as there is money;
    what is missing is due. That of a payment that was never credited debits nothing. A refund that
    pays a lost dispute back does not get here: `disputes.claim_refund` is called first.
    """
    record = await find_refund_by_gateway_id(reported.id)
    if record is None and reported.receipt.startswith("refund_"):
        record = await _find_one({"_id": reported.receipt, "payment_id": reported.payment_id})
    if record is None:
        record = await _record_made_at_gateway(reported)
    if record is None:
        return "ignored: of a payment that is not ours"
    if record["effect"] == "none":
        record = await _reserve_if_credited(record)
    return f"refund {(await advance_refund(record, reported))['status']}"


async def _record_made_at_gateway(reported: entities.Refund) -> Refund | None:
    """A record of a refund that was made at Razorpay, its money reserved; None if it is not ours."""
    payment = await payments.find_payment(reported.payment_id)
    if payment is None:
        return None
    record = _made_at_gateway(reported, payment)
    try:
        await insert_refund(record, amount_paise_min=0)
    except database.AnyError as problem:
        if not database.is_duplicate(problem):
            raise
        return await find_refund_by_gateway_id(reported.id)  # another report of it was first
    await payments.claim_for_refund(payment["_id"], reported.id, reported.amount_paise)
    log.warning("refund %s of %s was made at Razorpay", reported.id, reported.payment_id)
    return record


def _made_at_gateway(reported: entities.Refund, payment: Payment) -> Refund:
    record = new_refund(reported.id, payment, reported.amount_paise)
    record["gateway_id"] = reported.id
    record["reason"] = "Made at Razorpay"
    record["told_at"] = reported.created_at or clock.now()
    return record


async def _reserve_if_credited(record: Refund) -> Refund:
    """The record, its money reserved (again) as far as there is any, if its payment was credited."""
    payment = await payments.find_payment(record["payment_id"])
    if payment is None or not payment.get("transaction_id"):
        return record
    changes: Document = {"effect": "debit", "status": "reserved", "failure": None}
    changes["next_check_at"] = clock.after(_CHECK_PAUSE_SECONDS_MIN)  # it is open again
    where = {"_id": record["_id"], "status": record["status"]}
    await wallet.post(_reserve(record, 0), lambda _: [Update("refunds", where, {"$set": changes})])
    return await _get_refund_by_id(record["_id"])


async def advance_refund(record: Refund, reported: entities.Refund) -> Refund:
    """Move the refund forward to the status that Razorpay reports; never back."""
    is_other_money = record["amount_paise"] != reported.amount_paise
    if is_other_money or record["payment_id"] != reported.payment_id:
        log.error("refund %s: Razorpay reports another amount or payment", record["_id"])
        return record
    if record["gateway_id"] is None:
        record = await _set({"_id": record["_id"]}, {"gateway_id": reported.id}) or record
    if record["status"] == "failed" and reported.status != "failed":
        if record["transaction_id"] is not None:
            return record  # it was debited, and has been reversed since
        # It had counted as failed, and Razorpay made it after all.
        record = await _reserve_if_credited(record)
    if reported.status == "processed" and record["status"] in OPEN_STATUSES:
        return await _debit(record)
    if reported.status == "failed" and record["status"] in OPEN_STATUSES:
        return await mark_failed(record, "The bank did not take it.")
    if reported.status == "failed" and record["status"] == "processed":
        return await _reverse(record)
    if reported.status == "pending" and record["status"] == "reserved":
        return await _change_open(record, {"status": "pending", "failure": None})
    return record


async def record_dispute_refund(
    reported: entities.Refund, payment: Payment, dispute_id: str
) -> None:
    """Record a refund that pays a dispute back; the dispute debits the money."""
    record = _made_at_gateway(reported, payment)
    record["effect"] = "dispute"
    record["dispute_id"] = dispute_id
    record["status"] = reported.status
    record["next_check_at"] = None
    try:
        await db.refunds.insert_one(dict(record))
    except database.DuplicateKey:
        await db.refunds.update_one({"_id": reported.id}, {"$set": {"status": reported.status}})


async def claim_refund_for_dispute(
    payment_id: str, amount_paise: int, since: dt.datetime, dispute_id: str
) -> bool:
    """Whether a refund made at Razorpay since then has debited the same money as this dispute."""
    claimed = await db.refunds.update_one(
        {
            "payment_id": payment_id,
            "amount_paise": amount_paise,
            "requested_by": None,
            "effect": "debit",
            "status": {"$in": ["pending", "processed"]},
            "told_at": {"$gte": since},
            "dispute_id": {"$in": [None, dispute_id]},
        },
        {"$set": {"dispute_id": dispute_id}},
    )
    return claimed.matched_count == 1


# --- processed, failed, reversed ----------------------------------------------------------------


async def _debit(record: Refund) -> Refund:
    """Debit a refund that Razorpay has processed, once."""
    processed: Document = {"status": "processed", "failure": None, "next_check_at": None}
    if record["effect"] != "debit":
        record = await _change_open(record, processed)
        await _end_review(record)
        return record

    def with_record(outcome: Outcome) -> list[Write]:
        taken = {
            "transaction_id": outcome.entry.id if outcome.entry else None,
            "due_paise": database.long(outcome.due_paise),
        }
        return [_update_of(record, processed | taken), _event(record, "RefundProcessed")]

    by_hand = record["requested_by"] is not None
    try:
        outcome = await wallet.post(
            ledger.Collect(
                user_id=record["user_id"],
                key=f"refund:{record['_id']}",
                category="refund",
                amount_paise=int(record["amount_paise"]),
                contra="gateway:razorpay",
                description=f"Refund: {record['reason']}" if by_hand else "Refund made at Razorpay",
                order_id=record["order_id"],
                payment_id=record["payment_id"],
                refund_id=record["_id"],
                reserve_id=record["_id"],
            ),
            with_record,
        )
    except HoldNotFound:  # another report of it was first
        return await _get_refund_by_id(record["_id"])
    if outcome.due_paise:
        log.error("refund %s: %d paise were spent, they are due", record["_id"], outcome.due_paise)
    return await _get_refund_by_id(record["_id"])


async def _end_review(record: Refund) -> None:
    """End the review of a payment that was refunded in full."""
    payment = await payments.find_payment(record["payment_id"])
    back = await find_refunds_of_payments([record["payment_id"]])
    back_paise = sum(int(each["amount_paise"]) for each in back if each["status"] == "processed")
    if payment is not None and back_paise >= payment["amount_paise"]:
        by = record["requested_by"] or "razorpay"
        await payments.resolve_review_as_refunded(payment["_id"], by=by)


async def mark_failed(record: Refund, why: str) -> Refund:
    """Record that a refund failed: its reserve is released."""
    log.warning("refund %s failed: %s", record["_id"], why)
    failed: Document = {"status": "failed", "failure": why, "next_check_at": None}
    if record["effect"] != "debit":
        await _change_open(record, failed)
    else:
        await wallet.post(
            ledger.Unreserve(user_id=record["user_id"], reserve_id=record["_id"]),
            lambda _: [_update_of(record, failed), _event(record, "RefundFailed")],
        )
    await payments.release_refund_claim(record["payment_id"], record["_id"])
    return await _get_refund_by_id(record["_id"])


async def _reverse(record: Refund) -> Refund:
    """Credit back a refund that failed after it was processed, by an entry of its own."""
    failed: Document = {
        "status": "failed",
        "failure": "The bank sent it back.",
        "next_check_at": None,
    }
    if record["effect"] != "debit":
        where = {"_id": record["_id"], "status": "processed"}
        await _set(where, {**failed, "updated_at": clock.now()})
        await payments.reopen_review(record["payment_id"])
    else:
        await wallet.post(
            ledger.Credit(
                user_id=record["user_id"],
                key=f"refund_reversal:{record['_id']}",
                category="refund_reversal",
                amount_paise=int(record["amount_paise"]),
                contra="gateway:razorpay",
                description="A refund failed: its money is back",
                order_id=record["order_id"],
                payment_id=record["payment_id"],
                refund_id=record["_id"],
            ),
            lambda _: [_update_of(record, failed), _event(record, "RefundFailed")],
        )
    log.error("refund %s failed after it was processed", record["_id"])
    await payments.release_refund_claim(record["payment_id"], record["_id"])
    return await _get_refund_by_id(record["_id"])


def _event(record: Refund, name: str) -> Insert:
    return outbox.record_event(
        name,
        user_id=record["user_id"],
        refund_id=record["_id"],
        payment_id=record["payment_id"],
        amount_paise=int(record["amount_paise"]),
    )


# --- open refunds, polled -----------------------------------------------------------------------


async def poll_due_refunds() -> int:
    """Check the refunds that are due; how many there were. Any number of processes may run it."""
    with gateway.on_behalf_of("poller"):
        mine = await claim_due_refunds(_POLL_BATCH)
        for record in mine:
            await check_refund(record)
        return len(mine)


async def check_refund(record: Refund) -> Refund:
    """Fetch an open refund, or request it again when it is not known whether Razorpay has it."""
    if record["status"] not in OPEN_STATUSES:
        return record
    if record["gateway_id"] is None:
        return await _request_refund(record)
    try:
        return await advance_refund(record, await gateway.fetch_refund(record["gateway_id"]))
    except (GatewayUnavailable, GatewayRefused) as problem:
        log.warning("refund %s not checked: %s", record["_id"], problem.detail)
        return record


async def claim_due_refunds(limit: int) -> list[Refund]:
    """The refunds that are due for a check, claimed by this process alone."""
    claimed = await leases.claim_due(
        db.refunds,
        "next_check_at",
        next_at=lambda record: clock.after(refund_pause_seconds(cast(Refund, record))),
        limit=limit,
    )
    return cast(list[Refund], claimed)


def refund_pause_seconds(record: Refund) -> float:
    """The pause before the next check: a quarter of its age, at most an hour; short in the sandbox."""
    age_seconds = (clock.now() - record["created_at"]).total_seconds()
    most = 5.0 if config.settings().gateway_mode == "sandbox" else _CHECK_PAUSE_SECONDS_MAX
    return float(max(_CHECK_PAUSE_SECONDS_MIN, min(most, age_seconds / 4)))


async def postpone_refund(record: Refund, why: str) -> Refund:
    """Check again later, because it is not known how it ended, for the reason `why`: the reserve stays."""
    again_at = clock.after(refund_pause_seconds(record))
    return await _change_open(record, {"failure": why, "next_check_at": again_at})


async def open_refunds_before(until: dt.datetime) -> AsyncIterator[list[Refund]]:
    """The refunds requested before `until` that are still open, in batches."""
    found = db.refunds.find({"next_check_at": {"$type": "date"}, "created_at": {"$lt": until}})
    while batch := cast(list[Refund], await found.to_list(_READ_BATCH)):
        yield batch


async def processed_refunds_between(
    since: dt.datetime, until: dt.datetime
) -> AsyncIterator[list[Refund]]:
    """The refunds of that time that are processed, in batches."""
    where = {"created_at": {"$gte": since, "$lt": until}, "status": "processed"}
    found = db.refunds.find(where | {"gateway_id": {"$type": "string"}})
    while batch := cast(list[Refund], await found.to_list(_READ_BATCH)):
        yield batch


# --- reading ------------------------------------------------------------------------------------


async def get_refund(refund_id: str, user_id: str | None) -> Refund:
    """The refund with our id or Razorpay's; `user_id` None: any user's. Raises NotFound."""
    where: Document = {"$or": [{"_id": refund_id}, {"gateway_id": refund_id}]}
    if user_id is not None:
        where["user_id"] = user_id
    found = await _find_one(where)
    if found is None:
        raise NotFound("There is no such refund.")
    return found


async def list_refunds(
    user_id: str | None, *, payment_id: str | None, limit: int, cursor: str | None
) -> tuple[list[Refund], str | None]:
    """Refunds, newest first, and the next cursor. `user_id` None: of all users."""
    where: Document = {} if user_id is None else {"user_id": user_id}
    if payment_id is not None:
        where["payment_id"] = payment_id
    where |= _NEWEST_FIRST.behind(cursor)
    found = db.refunds.find(where, sort=_NEWEST_FIRST.sort)
    return _NEWEST_FIRST.cut(cast(list[Refund], await found.to_list(limit + 1)), limit)


async def find_refunds_of_payments(payment_ids: list[str]) -> list[Refund]:
    """The refunds of these payments, the oldest first."""
    found = db.refunds.find({"payment_id": {"$in": payment_ids}}, sort=[("_id", 1)])
    return cast(list[Refund], await found.to_list(None))


async def find_refund(refund_id: str) -> Refund | None:
    """The record of a refund by our id, if there is one."""
    return await _find_one({"_id": refund_id})


async def find_refund_by_gateway_id(gateway_id: str) -> Refund | None:
    """The record of a refund by Razorpay's id, if there is one."""
    return await _find_one({"gateway_id": gateway_id})


async def record_settlements(lines: Mapping[str, Settled]) -> set[str]:
    """Store how these refunds (by Razorpay's id) were settled, where it is not stored yet; the ids that
    we know."""
    ids = {"gateway_id": {"$in": list(lines), "$type": "string"}}
    known = cast(list[Refund], await db.refunds.find(ids).to_list(None))
    for record in known:
        facts = lines[record["gateway_id"] or ""]
        if any(record.get(name) != value for name, value in facts.items()):
            await db.refunds.update_one({"_id": record["_id"]}, {"$set": facts})
    return {record["gateway_id"] or "" for record in known}


# --- storage ------------------------------------------------------------------------------------

database.declare(
    "refunds",
    indexes=[
        Index(("gateway_id",), unique=True, only_where={"gateway_id": {"$type": "string"}}),
        Index(("payment_id",)),
        Index(("user_id", "-created_at", "-_id")),
        Index(("-created_at", "-_id")),
        Index(("next_check_at",), only_where={"next_check_at": {"$type": "date"}}),
    ],
    schema={
        "bsonType": "object",
        "required": ["payment_id", "user_id", "amount_paise", "status", "effect", "created_at"],
        "properties": {
            "amount_paise": {"bsonType": "long", "minimum": 1},
            "status": {"enum": ["reserved", "pending", "processed", "failed"]},
            "effect": {"enum": ["debit", "none", "dispute"]},
        },
    },
)


def new_refund(refund_id: str, payment: Payment, amount_paise: int) -> Refund:
    """A record of a refund over `amount_paise` of a payment that we know."""
    now = clock.now()
    return {
        "_id": refund_id,
        "gateway_id": None,
        "payment_id": payment["_id"],
        "order_id": payment["order_id"],
        "user_id": payment["user_id"],
        "amount_paise": database.long(amount_paise),
        "reason": None,
        "requested_by": None,
        "status": "reserved",
        "effect": "debit" if payment.get("transaction_id") else "none",
        "dispute_id": None,
        "transaction_id": None,
        "due_paise": database.long(0),
        "failure": None,
        "created_at": now,
        "updated_at": now,
        "next_check_at": clock.after(_CHECK_PAUSE_SECONDS_MIN),
    }


async def insert_refund(record: Refund, *, amount_paise_min: int) -> None:
    """The record and its reserve in one commit; the record alone if it debits nothing."""
    if record["effect"] != "debit":
        await db.refunds.insert_one(dict(record))
        return
    await wallet.post(_reserve(record, amount_paise_min), lambda _: [Insert("refunds", record)])


def _reserve(record: Refund, amount_paise_min: int) -> ledger.Reserve:
    return ledger.Reserve(
        user_id=record["user_id"],
        reserve_id=record["_id"],
        amount_paise=int(record["amount_paise"]),
        amount_paise_min=amount_paise_min,
    )


async def _find_one(where: Document) -> Refund | None:
    return cast(Refund | None, await db.refunds.find_one(where))


async def _get_refund_by_id(refund_id: str) -> Refund:
    """The record as it is stored now. After a posting it has to be read, because another process
    may have changed it."""
    found = await _find_one({"_id": refund_id})
    assert found is not None
    return found


async def _set(where: Document, changes: Document) -> Refund | None:
    """The changed record, None when `where` matches none."""
    changed = await db.refunds.find_one_and_update(where, {"$set": changes}, return_document=True)
    return cast(Refund | None, changed)


async def _change_open(record: Refund, changes: Document) -> Refund:
    """The record after these changes; unchanged when it has ended already."""
    where = {"_id": record["_id"], "status": {"$in": list(OPEN_STATUSES)}}
    changed = await _set(where, {**changes, "updated_at": clock.now()})
    return changed or await _get_refund_by_id(record["_id"])


def _update_of(record: Refund, changes: Document) -> Update:
    """The companion write of these changes."""
    return Update(
        "refunds", {"_id": record["_id"]}, {"$set": {**changes, "updated_at": clock.now()}}
    )


def as_it_was_read(record: Refund) -> Update:
    """A companion write that finds the record only as long as its money is where it was read: what
    reserves or releases for it outside of this file rests on that."""
    fields = ("status", "amount_paise", "transaction_id", "revision")
    where = {name: record.get(name) for name in fields} | {"_id": record["_id"]}
    return Update("refunds", where, {"$set": {"reservation_repaired_at": clock.now()}})
