"""Every refund and how far it is: the record, what Razorpay tells of it, and what becomes of its money."""

import datetime as dt
import logging
from collections.abc import AsyncIterator
from typing import Any, Final, Literal

import api
import clock
import database
import entities
import events
import ledger
import payments
import wallet
from config import settings
from database import Document, Index, Insert, Update, Write, db
from errors import HoldNotFound, NotFound
from ledger import Outcome

log = logging.getLogger(__name__)

# --- vocabulary ---------------------------------------------------------------------------------

Status = Literal[
    "reserved",  # its money is set aside, Razorpay has not confirmed that it has the refund
    "pending",  # Razorpay has it
    "processed",  # Razorpay sent it off, and the money is taken
    "failed",  # it did not go through, and the money is here again
]
# What it does to the wallet. A payment that was never credited leaves nothing to take, and the
# refund of a lost dispute is taken as the dispute.
Effect = Literal["debit", "none", "dispute"]

OPEN: Final = ("reserved", "pending")
_PAUSE_SECONDS_MIN: Final = 2.0
_PAUSE_SECONDS_MAX: Final = 3_600.0
_BATCH: Final = 100


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

# --- the record ---------------------------------------------------------------------------------


def fresh(refund_id: str, payment: Document, amount_paise: int) -> Document:
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
        "requested_by": None,  # None: it was made at Razorpay
        "status": "reserved",
        "effect": "debit" if payment.get("transaction_id") else "none",
        "dispute_id": None,
        "transaction_id": None,
        "due_paise": database.long(0),
        "failure": None,
        "created_at": now,
        "updated_at": now,
        "next_check_at": clock.after(_PAUSE_SECONDS_MIN),
    }


async def reserve(record: Document, *, amount_paise_min: int) -> None:
    """The record and its reserve in one commit; the record alone if the wallet is not concerned."""
    if record["effect"] != "debit":
        await db.refunds.insert_one(record)
        return
    await wallet.post(
        ledger.Reserve(
            user_id=record["user_id"],
            reserve_id=record["_id"],
            amount_paise=int(record["amount_paise"]),
            amount_paise_min=amount_paise_min,
        ),
        lambda _: [Insert("refunds", record)],
    )


# --- what Razorpay tells ------------------------------------------------------------------------


async def notice(told: entities.Refund) -> str:
    """Take in a refund that Razorpay told of, and say in words what it meant: once, whoever brings it.

    One of ours goes on. One that somebody made at Razorpay is taken from the wallet as far as there
    is money; what is missing is due. A payment that was never credited leaves nothing to take.
    """
    record = await known_at_gateway(told.id)
    if record is None and told.receipt.startswith("refund_"):
        ours = {"_id": told.receipt, "payment_id": told.payment_id}
        record = await db.refunds.find_one(ours)
    if record is None:
        record = await _adopt(told)
    if record is None:
        return "ignored: of a payment that is not ours"
    if record["effect"] == "none":
        record = await _concern(record)
    return f"refund {(await learn(record, told))['status']}"


async def record_for_dispute(told: entities.Refund, payment: Document, dispute_id: str) -> None:
    """Keep a refund that pays a dispute back; the dispute takes the money."""
    record = _told(told, payment) | {"effect": "dispute", "dispute_id": dispute_id}
    try:
        await db.refunds.insert_one(record | {"status": told.status, "next_check_at": None})
    except database.DuplicateKey:
        await db.refunds.update_one({"_id": told.id}, {"$set": {"status": told.status}})


async def claim_for_dispute(
    payment_id: str, amount_paise: int, since: dt.datetime, dispute_id: str
) -> bool:
    """Whether a refund made at Razorpay since then has taken this dispute's money: it is the same."""
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


def _told(told: entities.Refund, payment: Document) -> Document:
    return fresh(told.id, payment, told.amount_paise) | {
        "gateway_id": told.id,
        "reason": "Made at Razorpay",
        "told_at": told.created_at or clock.now(),
    }


async def _adopt(told: entities.Refund) -> Document | None:
    """A record of a refund that was made at Razorpay, its money reserved; None if it is not ours."""
    payment = await payments.known(told.payment_id)
    if payment is None:
        return None
    record = _told(told, payment)
    try:
        await reserve(record, amount_paise_min=0)
    except database.AnyError as problem:
        if not database.is_duplicate(problem):
            raise
        return await known_at_gateway(told.id)  # another messenger was first
    await payments.claim_refund(payment["_id"], told.id, told.amount_paise)
    log.warning("refund %s of %s was made at Razorpay", told.id, told.payment_id)
    return record


async def _concern(record: Document) -> Document:
    """The record, its money reserved (again) as far as there is any, if its payment was credited."""
    payment = await payments.known(record["payment_id"])
    if payment is None or not payment.get("transaction_id"):
        return record
    changed: Document = {"effect": "debit", "status": "reserved", "failure": None}
    changed["next_check_at"] = clock.after(_PAUSE_SECONDS_MIN)  # it is open again
    where = {"_id": record["_id"], "status": record["status"]}
    await wallet.post(
        ledger.Reserve(
            user_id=record["user_id"],
            reserve_id=record["_id"],
            amount_paise=int(record["amount_paise"]),
            amount_paise_min=0,
        ),
        lambda _: [Update("refunds", where, {"$set": changed})],
    )
    return await latest(record["_id"])


async def learn(record: Document, told: entities.Refund) -> Document:
    """Go on to what Razorpay told; never back."""
    if record["amount_paise"] != told.amount_paise or record["payment_id"] != told.payment_id:
        log.error("refund %s: Razorpay tells of another amount or payment", record["_id"])
        return record
    if record["gateway_id"] is None:
        await db.refunds.update_one({"_id": record["_id"]}, {"$set": {"gateway_id": told.id}})
    if record["status"] == "failed" and told.status != "failed":
        if record["transaction_id"] is not None:
            return record  # it was taken, and has come back since
        record = await _concern(record)  # we had given up, and Razorpay did it after all
    if told.status == "processed" and record["status"] in OPEN:
        return await _take(record)
    if told.status == "failed" and record["status"] in OPEN:
        return await give_back(record, "The bank did not take it.")
    if told.status == "failed" and record["status"] == "processed":
        return await _reverse(record)
    if told.status == "pending" and record["status"] == "reserved":
        await _change(record, status="pending", failure=None)
    return await latest(record["_id"])


# --- the ends -----------------------------------------------------------------------------------


async def _take(record: Document) -> Document:
    """It went off: take its money, once."""
    if record["effect"] != "debit":
        await _change(record, status="processed", next_check_at=None, failure=None)
        await _end_review(record)
        return await latest(record["_id"])

    def with_record(outcome: Outcome) -> list[Write]:
        return [
            _changed(
                record,
                status="processed",
                failure=None,
                transaction_id=outcome.entry.id if outcome.entry else None,
                due_paise=database.long(outcome.due_paise),
                next_check_at=None,
            ),
            _event(record, "RefundProcessed"),
        ]

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
    except HoldNotFound:  # another messenger was first
        return await latest(record["_id"])
    if outcome.due_paise:
        log.error("refund %s: %d paise were spent, they are due", record["_id"], outcome.due_paise)
    return await latest(record["_id"])


async def _end_review(record: Document) -> None:
    """A payment that waited for a person and went back whole waits for nobody any more."""
    payment = await payments.known(record["payment_id"])
    back = await of_payments([record["payment_id"]])
    back_paise = sum(int(each["amount_paise"]) for each in back if each["status"] == "processed")
    if payment is not None and back_paise >= payment["amount_paise"]:
        by = record["requested_by"] or "razorpay"
        await payments.resolve_refunded(payment["_id"], by=by)


async def give_back(record: Document, why: str) -> Document:
    """It did not go through: what was reserved is free again."""
    log.warning("refund %s failed: %s", record["_id"], why)
    failed = {"status": "failed", "failure": why, "next_check_at": None}
    if record["effect"] != "debit":
        await _change(record, **failed)
    else:
        await wallet.post(
            ledger.Unreserve(user_id=record["user_id"], reserve_id=record["_id"]),
            lambda _: [_changed(record, **failed), _event(record, "RefundFailed")],
        )
    await payments.unclaim_refund(record["payment_id"], record["_id"])
    return await latest(record["_id"])


async def _reverse(record: Document) -> Document:
    """It failed after it had gone off: the money is here again, by an entry of its own."""
    failed = {"status": "failed", "failure": "The bank sent it back.", "next_check_at": None}
    if record["effect"] != "debit":
        where = {"_id": record["_id"], "status": "processed"}
        await db.refunds.update_one(where, {"$set": {**failed, "updated_at": clock.now()}})
        await payments.wait_again(record["payment_id"])
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
            lambda _: [_changed(record, **failed), _event(record, "RefundFailed")],
        )
    log.error("refund %s failed after it was processed", record["_id"])
    await payments.unclaim_refund(record["payment_id"], record["_id"])
    return await latest(record["_id"])


def _event(record: Document, name: str) -> Insert:
    return events.record(
        name,
        user_id=record["user_id"],
        refund_id=record["_id"],
        payment_id=record["payment_id"],
        amount_paise=int(record["amount_paise"]),
    )


def pause_seconds(record: Document) -> float:
    """A quarter of its age: soon at first, hourly in the end; in the sandbox never slow."""
    age_seconds = (clock.now() - record["created_at"]).total_seconds()
    most = 5.0 if settings().gateway_mode == "sandbox" else _PAUSE_SECONDS_MAX
    return float(max(_PAUSE_SECONDS_MIN, min(most, age_seconds / 4)))


async def claim_due(limit: int) -> list[Document]:
    """The refunds whose time to be asked about has come, taken by this process alone."""
    found = db.refunds.find({"next_check_at": {"$lte": clock.now(), "$type": "date"}})
    mine = []
    for record in await found.sort("next_check_at", 1).to_list(limit):
        taken = await db.refunds.update_one(
            {"_id": record["_id"], "next_check_at": record["next_check_at"]},
            {"$set": {"next_check_at": clock.after(pause_seconds(record))}},
        )
        if taken.modified_count:
            mine.append(record)
    return mine


async def open_before(until: dt.datetime) -> AsyncIterator[list[Document]]:
    """The refunds asked for before `until` that are not at their end, in batches."""
    found = db.refunds.find({"next_check_at": {"$type": "date"}, "created_at": {"$lt": until}})
    while batch := await found.to_list(_BATCH):
        yield batch


async def processed_between(
    since: dt.datetime, until: dt.datetime
) -> AsyncIterator[list[Document]]:
    """The refunds of that time that went off, in batches."""
    where = {"created_at": {"$gte": since, "$lt": until}, "status": "processed"}
    found = db.refunds.find(where | {"gateway_id": {"$type": "string"}})
    while batch := await found.to_list(_BATCH):
        yield batch


# --- storage ------------------------------------------------------------------------------------


async def find(refund_id: str, user_id: str | None) -> Document:
    """The refund with our id or Razorpay's; `user_id` None: anybody's. Raises NotFound."""
    where: Document = {"$or": [{"_id": refund_id}, {"gateway_id": refund_id}]}
    if user_id is not None:
        where["user_id"] = user_id
    found = await db.refunds.find_one(where)
    if found is None:
        raise NotFound("There is no such refund.")
    return found


async def page(
    user_id: str | None, *, payment_id: str | None, limit: int, cursor: str | None
) -> tuple[list[Document], str | None]:
    """Refunds, newest first, and the next cursor. `user_id` None: everybody's."""
    where: Document = {} if user_id is None else {"user_id": user_id}
    if payment_id is not None:
        where["payment_id"] = payment_id
    where |= api.behind(cursor, "created_at")
    found = db.refunds.find(where).sort([("created_at", -1), ("_id", -1)])
    return api.cut(await found.to_list(limit + 1), "created_at", limit)


async def of_payments(payment_ids: list[str]) -> list[Document]:
    """The refunds of these payments, the oldest first."""
    return await db.refunds.find({"payment_id": {"$in": payment_ids}}, sort=[("_id", 1)]).to_list(
        None
    )


async def known(refund_id: str) -> Document | None:
    """The record of a refund by our id, if there is one."""
    return await db.refunds.find_one({"_id": refund_id})


async def known_at_gateway(gateway_id: str) -> Document | None:
    """The record of a refund by Razorpay's id, if there is one."""
    return await db.refunds.find_one({"gateway_id": gateway_id})


async def latest(refund_id: str) -> Document:
    """The record of a refund that there is."""
    found = await db.refunds.find_one({"_id": refund_id})
    assert found is not None
    return found


def _changed(record: Document, **changes: Any) -> Update:
    return Update(
        "refunds", {"_id": record["_id"]}, {"$set": {**changes, "updated_at": clock.now()}}
    )


async def _change(record: Document, **changes: Any) -> None:
    await db.refunds.update_one(
        {"_id": record["_id"], "status": {"$in": list(OPEN)}},
        {"$set": {**changes, "updated_at": clock.now()}},
    )


async def later(record: Document, why: str) -> Document:
    """It is not known yet, `why`: the reserve stays, and it is asked again."""
    await _change(record, failure=why, next_check_at=clock.after(pause_seconds(record)))
    return await latest(record["_id"])
