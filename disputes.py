"""Disputes: a customer's bank wants a payment back; its money waits, and is taken once if it is lost."""

import contextlib
import datetime as dt
import logging
from collections.abc import AsyncIterator
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel

import adjustments
import api
import clock
import config
import database
import entities
import events
import gateway
import ledger
import payments
import refundbook
import wallet
from auth import Admin, Instant
from database import Document, Index, Insert, Update, Write, db
from errors import (
    Forbidden,
    HoldNotFound,
    InvalidCursor,
    InvalidRequest,
    NotFound,
    Unauthenticated,
)
from ledger import Outcome
from money import RupeesOut

log = logging.getLogger(__name__)

# --- vocabulary ---------------------------------------------------------------------------------

State = Literal[
    "reserved",  # open: as much of its money as there was is set aside
    "debited",  # lost: the money is taken, what was missing is due
    "refunded",  # lost, and taken by the refund that paid it back
    "released",  # won or closed: the money is free again
    "ignored",  # of a payment that was never credited: there is nothing to take
]

_PHASES: Final = ("fraud", "retrieval", "chargeback", "pre_arbitration", "arbitration")
_BATCH: Final = 100
_STATUSES: Final = {"open": 0, "under_review": 1, "won": 2, "lost": 2, "closed": 2}

database.declare(
    "disputes",
    indexes=[
        Index(("payment_id",)),
        Index(("state", "-created_at", "-_id")),
        Index(("-created_at", "-_id")),
    ],
    schema={
        "bsonType": "object",
        "required": ["payment_id", "user_id", "amount_paise", "status", "state", "created_at"],
        "properties": {
            "amount_paise": {"bsonType": "long", "minimum": 1},
            "state": {"enum": ["reserved", "debited", "refunded", "released", "ignored"]},
        },
    },
)

# --- what Razorpay tells ------------------------------------------------------------------------


async def notice(told: entities.Dispute) -> str:
    """Take in how a dispute stands, and say in words what it meant: once, whoever brings it.

    `told` has just been fetched, so the order in which messages come does not matter.
    """
    payment = await payments.known(told.payment_id)
    if payment is None:
        return "ignored: of a payment that is not ours"
    record = await db.disputes.find_one({"_id": told.id})
    if record is None or record["state"] == "ignored":
        record = await _open(told, payment)
    if _rank(told.phase, told.status) < _rank(record["phase"], record["status"]):
        return f"dispute {record['state']}: known further"
    if _holds_again(record, told):
        record = await _reopen(record, told)
    await db.disputes.update_one({"_id": told.id}, {"$set": _facts(told)})
    if record["state"] == "reserved" and told.status == "lost":
        record = await _lose(record, told)
    elif record["state"] == "reserved" and told.status in ("won", "closed"):
        record = await _end(record, "released")
    elif record["state"] == "debited" and told.status == "won" and record["refund_id"] is None:
        record = await _credit_back(record, f"won:{told.phase}", "released")
    return f"dispute {record['state']}"


async def refund_seen(told: entities.Refund) -> str:
    """Take in a refund that Razorpay told of: of its own, or the one that pays a lost dispute back."""
    payment = await payments.known(told.payment_id)
    if payment is not None and not told.receipt and await refundbook.known(told.id) is None:
        record = await _paid_back_by(told)
        if record is not None:
            await refundbook.record_for_dispute(told, payment, record["_id"])
            if record["state"] == "reserved":
                await _debit(record, int(record["amount_paise"]))
            return "refund of a dispute"
    said = await refundbook.notice(told)
    twice = {"payment_id": told.payment_id, "state": "debited", "refund_id": None}
    async for record in db.disputes.find(twice):
        await _once(record)
    return said


async def state_of(dispute_id: str) -> State | None:
    """What a dispute's money does, None when we do not know the dispute."""
    found = await db.disputes.find_one({"_id": dispute_id}, {"state": 1})
    return found["state"] if found else None


async def of_payments(payment_ids: list[str]) -> list[Document]:
    """The disputes about these payments."""
    return await db.disputes.find({"payment_id": {"$in": payment_ids}}).to_list(None)


async def page(
    state: State | None, *, limit: int, cursor: str | None
) -> tuple[list[Document], str | None]:
    """Disputes, the newest first, those in one state if it is given; and the next cursor."""
    where: Document = {} if state is None else {"state": state}
    where |= api.behind(cursor, "created_at")
    found = db.disputes.find(where).sort([("created_at", -1), ("_id", -1)])
    return api.cut(await found.to_list(limit + 1), "created_at", limit)


async def known_here(*, decided_since: dt.datetime | None) -> AsyncIterator[list[Document]]:
    """The disputes that are open, and of those made since then the decided ones, in batches."""
    kinds: list[Document] = [{"state": "reserved"}]
    if decided_since is not None:
        kinds.append({"created_at": {"$gte": decided_since}})
    last = ""
    while True:
        found = db.disputes.find({"$or": kinds, "_id": {"$gt": last}}).sort("_id", 1)
        batch = await found.to_list(_BATCH)
        if not batch:
            return
        yield batch
        last = batch[-1]["_id"]


# --- its life -----------------------------------------------------------------------------------


async def _open(told: entities.Dispute, payment: Document) -> Document:
    """The record, the disputed amount reserved as far as there is money."""
    record: Document = {
        "_id": told.id,
        "payment_id": told.payment_id,
        "order_id": payment["order_id"],
        "user_id": payment["user_id"],
        "amount_paise": database.long(told.amount_paise),
        "reserve_id": _reserve_id(told),
        "state": "reserved",
        "refund_id": None,
        "transaction_id": None,
        "due_paise": database.long(0),
        "created_at": told.created_at or clock.now(),
        **_facts(told),
        "status": "open",
    }
    if not payment.get("transaction_id"):
        ignored = record | {"state": "ignored"}
        await db.disputes.update_one({"_id": told.id}, {"$setOnInsert": ignored}, upsert=True)
        return ignored
    await db.disputes.delete_one({"_id": told.id, "state": "ignored"})  # credited since
    await _freeze(record)
    try:
        await wallet.post(
            _reserve(record),
            lambda _: [Insert("disputes", record), _event(record, "DisputeOpened")],
        )
    except database.AnyError as problem:
        if not database.is_duplicate(problem):
            raise
    else:
        log.error("dispute %s of %s: %d paise", told.id, told.payment_id, told.amount_paise)
    return await _latest(told.id)


async def _freeze(record: Document) -> None:
    """By policy, before the dispute is written: a crash in between repeats this, and forgets nothing."""
    if config.settings().dispute_freezes_wallet:
        reason = f"Dispute {record['_id']}"
        with contextlib.suppress(NotFound):  # nobody is there who could spend it
            await adjustments.freeze(record["user_id"], frozen=True, reason=reason, by="policy")


async def _reopen(record: Document, told: entities.Dispute) -> Document:
    """It came back in a new phase: reserve again."""
    again = record | {"reserve_id": _reserve_id(told)}
    changes = {"state": "reserved", "reserve_id": again["reserve_id"], "phase": told.phase}
    where = {"_id": record["_id"], "state": "released"}
    await _freeze(record)
    await wallet.post(
        _reserve(again),
        lambda _: [Update("disputes", where, {"$set": changes}), _event(record, "DisputeOpened")],
    )
    log.error("dispute %s is back: %s", told.id, told.phase)
    return await _latest(told.id)


async def _lose(record: Document, told: entities.Dispute) -> Document:
    """Lost: the money is gone, by this debit or by the refund that said the same."""
    amount_paise = told.deducted_paise or told.amount_paise
    since = told.created_at or record["created_at"]
    if await refundbook.claim_for_dispute(told.payment_id, amount_paise, since, told.id):
        return await _end(record, "refunded")
    return await _once(await _debit(record, amount_paise))


async def _once(record: Document) -> Document:
    """If the refund and the dispute were told at the same moment and both took the money, give it
    back once."""
    amount_paise, since = int(record.get("taken_paise", 0)), record["created_at"]
    if record["state"] == "debited" and await refundbook.claim_for_dispute(
        record["payment_id"], amount_paise, since, record["_id"]
    ):
        return await _credit_back(record, "refunded", "refunded")
    return record


async def _debit(record: Document, amount_paise: int) -> Document:
    def with_record(outcome: Outcome) -> list[Write]:
        facts = {
            "state": "debited",
            "taken_paise": database.long(amount_paise),
            "transaction_id": outcome.entry.id if outcome.entry else None,
            "due_paise": database.long(outcome.due_paise),
        }
        return [
            Update("disputes", {"_id": record["_id"]}, {"$set": facts}),
            _event(record, "DisputeLost"),
        ]

    try:
        outcome = await wallet.post(
            ledger.Collect(
                user_id=record["user_id"],
                key=f"dispute:{record['reserve_id']}",
                category="refund",
                amount_paise=amount_paise,
                contra="gateway:razorpay",
                description=f"Dispute {record['_id']} lost: the bank took the payment back",
                order_id=record["order_id"],
                payment_id=record["payment_id"],
                refund_id=record["_id"],
                reserve_id=record["reserve_id"],
            ),
            with_record,
        )
    except HoldNotFound:  # another messenger was first
        return await _latest(record["_id"])
    if outcome.due_paise:
        log.error("dispute %s: %d paise were spent, they are due", record["_id"], outcome.due_paise)
    return await _latest(record["_id"])


async def _end(record: Document, state: State) -> Document:
    await wallet.post(
        ledger.Unreserve(user_id=record["user_id"], reserve_id=record["reserve_id"]),
        lambda _: [Update("disputes", {"_id": record["_id"]}, {"$set": {"state": state}})],
    )
    return await _latest(record["_id"])


async def _credit_back(record: Document, why: str, state: State) -> Document:
    """What was taken comes back: a later phase was won, or the refund had taken it, too."""
    await wallet.post(
        ledger.Credit(
            user_id=record["user_id"],
            key=f"dispute_back:{record['reserve_id']}:{why}",
            category="refund_reversal",
            amount_paise=int(record["taken_paise"]),
            contra="gateway:razorpay",
            description=f"Dispute {record['_id']}: what it took is back",
            order_id=record["order_id"],
            payment_id=record["payment_id"],
            refund_id=record["_id"],
        ),
        lambda _: [Update("disputes", {"_id": record["_id"]}, {"$set": {"state": state}})],
    )
    return await _latest(record["_id"])


# --- reading ------------------------------------------------------------------------------------


def _facts(told: entities.Dispute) -> Document:
    return {
        "status": told.status,
        "phase": told.phase,
        "deducted_paise": database.long(told.deducted_paise),
        "reason_code": told.reason_code,
        "respond_by": told.respond_by,
        "updated_at": clock.now(),
    }


def _rank(phase: str, status: str) -> tuple[int, int]:
    """How far along a dispute is: it never goes back."""
    return (_PHASES.index(phase) if phase in _PHASES else 0, _STATUSES.get(status, 0))


def _holds_again(record: Document, told: entities.Dispute) -> bool:
    """Whether a decided dispute wants its money again: in a new phase, or lost after all."""
    further = _rank(told.phase, "open") > _rank(record["phase"], "open")
    return record["state"] == "released" and (further or told.status == "lost")


def _reserve_id(told: entities.Dispute) -> str:
    return f"{told.id}:{told.phase}"


def _reserve(record: Document) -> ledger.Reserve:
    return ledger.Reserve(
        user_id=record["user_id"],
        reserve_id=record["reserve_id"],
        amount_paise=int(record["amount_paise"]),
        amount_paise_min=0,
    )


def _event(record: Document, name: str) -> Insert:
    return events.record(
        name,
        user_id=record["user_id"],
        dispute_id=record["_id"],
        payment_id=record["payment_id"],
        amount_paise=int(record["amount_paise"]),
    )


async def _latest(dispute_id: str) -> Document:
    found = await db.disputes.find_one({"_id": dispute_id})
    assert found is not None
    return found


async def _paid_back_by(told: entities.Refund) -> Document | None:
    """The lost dispute that this refund pays back, if there is one; it is this refund's from then on.

    Razorpay is asked which are lost: we may not have heard, and an open one takes nothing yet.
    """
    same = {
        "payment_id": told.payment_id,
        "amount_paise": told.amount_paise,
        "state": {"$in": ["reserved", "debited"]},
        "refund_id": {"$in": [None, told.id]},
        "created_at": {"$lte": told.created_at or clock.now()},
    }
    for record in await db.disputes.find(same).sort("created_at", 1).to_list(None):
        dispute = await gateway.fetch_dispute(record["_id"])
        if dispute.status == "lost" and await _pair(record, told.id):
            return record
    return None


async def _pair(record: Document, refund_id: str) -> bool:
    """Whether this refund is the one that pays the dispute back; the first one is."""
    paired = await db.disputes.update_one(
        {"_id": record["_id"], "refund_id": {"$in": [None, refund_id]}},
        {"$set": {"refund_id": refund_id}},
    )
    return paired.matched_count == 1


# --- routes -------------------------------------------------------------------------------------

router = APIRouter(prefix="/api/admin", tags=["admin"])


class DisputeOut(BaseModel):
    """A dispute: how it stands at Razorpay (`status`), and what its money does here (`state`)."""

    dispute_id: str
    payment_id: str
    order_id: str
    user_id: str
    amount: RupeesOut
    due: RupeesOut
    status: str
    phase: str
    state: State
    reason_code: str
    refund_id: str | None
    transaction_id: str | None
    respond_by: Instant | None
    created_at: Instant


class DisputesOut(BaseModel):
    """A page of disputes, the newest first."""

    disputes: list[DisputeOut]
    next_cursor: str | None


@router.get(
    "/disputes",
    response_model=DisputesOut,
    responses=api.documented(Unauthenticated, Forbidden, InvalidRequest, InvalidCursor),
)
async def get_disputes(
    _: Admin,
    state: State | None = None,
    limit: Annotated[int, Query(ge=1, le=api.PAGE_LIMIT_MAX)] = api.PAGE_LIMIT_DEFAULT,
    cursor: Annotated[str | None, Query(max_length=500)] = None,
) -> DisputesOut:
    """The latest disputes; answer the open ones in Razorpay's dashboard before `respond_by`."""
    found, next_cursor = await page(state, limit=limit, cursor=cursor)
    return DisputesOut(disputes=[_out(each) for each in found], next_cursor=next_cursor)


def _out(record: Document) -> DisputeOut:
    same = {name: record[name] for name in DisputeOut.model_fields if name in record}
    return DisputeOut(
        dispute_id=record["_id"],
        amount=record["amount_paise"],
        due=record["due_paise"],
        **same,
    )
