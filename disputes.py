"""Disputes (chargebacks): money reserved when opened, taken when lost, given back when won."""

import datetime as dt
import logging
from collections.abc import AsyncIterator
from typing import Final, Literal, NotRequired, TypedDict, cast

import gateway
import ledger
import payments
import refunds
import users
import wallet
from core import clock, config, database, outbox, pagination
from core.database import Document, Index, Insert, Update, Write, db
from core.errors import HoldNotFound
from gateway import entities
from ledger import Outcome
from payments import Payment

log = logging.getLogger(__name__)

DisputeState = Literal[
    "reserved",  # open: as much of its money as was available is reserved
    "debited",  # lost: the money is debited, what was missing is due
    "refunded",  # lost, and debited by the refund that paid it back
    "released",  # won or closed: the reserve is released
    "ignored",  # of a payment that was never credited: there is nothing to debit
]

_PHASES: Final = ("fraud", "retrieval", "chargeback", "pre_arbitration", "arbitration")
_BATCH: Final = 100
_NEWEST: Final = pagination.newest_first("created_at")
_STATUSES: Final = {"open": 0, "under_review": 1, "won": 2, "lost": 2, "closed": 2}


class Dispute(TypedDict):
    """A record of `disputes`."""

    _id: str  # Razorpay's
    payment_id: str
    order_id: str
    user_id: str
    amount_paise: int
    reserve_id: str  # of its phase: a dispute that is opened again has a new reserve
    state: DisputeState
    refund_id: str | None  # of the refund that paid it back
    transaction_id: str | None
    due_paise: int  # what was already spent when it was debited
    taken_paise: NotRequired[int]  # once it is lost
    created_at: dt.datetime
    # As Razorpay has it:
    status: entities.DisputeStatus
    phase: str
    deducted_paise: int
    reason_code: str
    respond_by: dt.datetime | None
    updated_at: dt.datetime


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


# --- what Razorpay reports ----------------------------------------------------------------------


async def apply_update(reported: entities.Dispute) -> str:
    """Apply a dispute as Razorpay has it, and describe the effect: once, whoever reports it.

    `reported` has just been fetched, so the order of the reports does not matter.
    """
    payment = await payments.find_payment(reported.payment_id)
    if payment is None:
        return "ignored: of a payment that is not ours"
    record = await _find(reported.id)
    if record is None or record["state"] == "ignored":
        record = await _open(reported, payment)
    if _rank(reported.phase, reported.status) < _rank(record["phase"], record["status"]):
        return f"dispute {record['state']}: known further"
    if _claims_money_again(record, reported):
        record = await _reopen(record, reported)
    await db.disputes.update_one({"_id": reported.id}, {"$set": _facts(reported)})
    if record["state"] == "reserved" and reported.status == "lost":
        record = await _lose(record, reported)
    elif record["state"] == "reserved" and reported.status in ("won", "closed"):
        record = await _end(record, "released")
    elif record["state"] == "debited" and reported.status == "won" and record["refund_id"] is None:
        record = await _credit_back(record, f"won:{reported.phase}", "released")
    return f"dispute {record['state']}"


async def claim_refund(refund: entities.Refund) -> bool:
    """Whether this refund, if we have no record of it, pays a lost dispute back. Then it is recorded
    as such, and its money is debited as the dispute's."""
    payment = await payments.find_payment(refund.payment_id)
    if payment is None or refund.receipt or await refunds.find_refund(refund.id) is not None:
        return False
    record = await _paid_back_by(refund)
    if record is None:
        return False
    await refunds.record_dispute_refund(refund, payment, record["_id"])
    if record["state"] == "reserved":
        await _debit(record, int(record["amount_paise"]))
    return True


async def give_back_what_was_taken_twice(payment_id: str) -> None:
    """Credit back once what a refund and a lost dispute of this payment, for the same money, both
    debited."""
    twice = {"payment_id": payment_id, "state": "debited", "refund_id": None}
    for record in cast(list[Dispute], await db.disputes.find(twice).to_list(None)):
        await _correct_double_debit(record)


async def find_dispute_state(dispute_id: str) -> DisputeState | None:
    """The state of a dispute's money; None when we do not know the dispute."""
    found = await _find(dispute_id)
    return found["state"] if found else None


async def find_disputes_of_payments(payment_ids: list[str]) -> list[Dispute]:
    """The disputes about these payments."""
    found = db.disputes.find({"payment_id": {"$in": payment_ids}})
    return cast(list[Dispute], await found.to_list(None))


async def list_disputes(
    state: DisputeState | None, *, limit: int, cursor: str | None
) -> tuple[list[Dispute], str | None]:
    """Disputes, the newest first, those in one state if it is given; and the next cursor."""
    where: Document = {} if state is None else {"state": state}
    where |= _NEWEST.behind(cursor)
    found = db.disputes.find(where, sort=_NEWEST.sort)
    return _NEWEST.cut(cast(list[Dispute], await found.to_list(limit + 1)), limit)


async def disputes_to_check(*, decided_since: dt.datetime | None) -> AsyncIterator[list[Dispute]]:
    """The open disputes, and the decided ones that were made since `decided_since`, in batches."""
    kinds: list[Document] = [{"state": "reserved"}]
    if decided_since is not None:
        kinds.append({"created_at": {"$gte": decided_since}})
    last = ""
    while True:
        found = db.disputes.find({"$or": kinds, "_id": {"$gt": last}}).sort("_id", 1)
        batch = cast(list[Dispute], await found.to_list(_BATCH))
        if not batch:
            return
        yield batch
        last = batch[-1]["_id"]


# --- transitions --------------------------------------------------------------------------------


async def _open(reported: entities.Dispute, payment: Payment) -> Dispute:
    """The record, the disputed amount reserved as far as there is money."""
    record: Dispute = {
        "_id": reported.id,
        "payment_id": reported.payment_id,
        "order_id": payment["order_id"],
        "user_id": payment["user_id"],
        "amount_paise": database.long(reported.amount_paise),
        "reserve_id": _reserve_id(reported),
        "state": "reserved",
        "refund_id": None,
        "transaction_id": None,
        "due_paise": database.long(0),
        "created_at": reported.created_at or clock.now(),
        "status": "open",
        "phase": reported.phase,
        "deducted_paise": database.long(reported.deducted_paise),
        "reason_code": reported.reason_code,
        "respond_by": reported.respond_by,
        "updated_at": clock.now(),
    }
    if not payment.get("transaction_id"):
        record["state"] = "ignored"
        await db.disputes.update_one({"_id": reported.id}, {"$setOnInsert": record}, upsert=True)
        return record
    await db.disputes.delete_one({"_id": reported.id, "state": "ignored"})  # credited since
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
        log.error(
            "dispute %s of %s: %d paise", reported.id, reported.payment_id, reported.amount_paise
        )
    return await _get(reported.id)


async def _freeze(record: Dispute) -> None:
    """Freeze the wallet by policy, before the dispute is written: after a crash in between it is repeated."""
    if config.settings().dispute_freezes_wallet:
        reason = f"Dispute {record['_id']}"
        if await users.find_user(record["user_id"]) is not None:  # a deleted user cannot spend it
            await wallet.set_frozen(record["user_id"], frozen=True, reason=reason, by="policy")


async def _reopen(record: Dispute, reported: entities.Dispute) -> Dispute:
    """Reserve again for a dispute that was opened again in a new phase."""
    again: Dispute = {**record, "reserve_id": _reserve_id(reported)}
    changes = {"state": "reserved", "reserve_id": again["reserve_id"], "phase": reported.phase}
    where = {"_id": record["_id"], "state": "released"}
    await _freeze(record)
    await wallet.post(
        _reserve(again),
        lambda _: [Update("disputes", where, {"$set": changes}), _event(record, "DisputeOpened")],
    )
    log.error("dispute %s is back: %s", reported.id, reported.phase)
    return await _get(reported.id)


async def _lose(record: Dispute, reported: entities.Dispute) -> Dispute:
    """Debit a lost dispute, unless a refund has debited the same money."""
    amount_paise = reported.deducted_paise or reported.amount_paise
    since = reported.created_at or record["created_at"]
    if await refunds.claim_refund_for_dispute(
        reported.payment_id, amount_paise, since, reported.id
    ):
        return await _end(record, "refunded")
    return await _correct_double_debit(await _debit(record, amount_paise))


async def _correct_double_debit(record: Dispute) -> Dispute:
    """Credit the money back once, if the refund and the dispute were reported at the same moment
    and both debited it."""
    amount_paise, since = int(record.get("taken_paise", 0)), record["created_at"]
    if record["state"] == "debited" and await refunds.claim_refund_for_dispute(
        record["payment_id"], amount_paise, since, record["_id"]
    ):
        return await _credit_back(record, "refunded", "refunded")
    return record


async def _debit(record: Dispute, amount_paise: int) -> Dispute:
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
    except HoldNotFound:  # another report of it was first
        return await _get(record["_id"])
    if outcome.due_paise:
        log.error("dispute %s: %d paise were spent, they are due", record["_id"], outcome.due_paise)
    return await _get(record["_id"])


async def _end(record: Dispute, state: DisputeState) -> Dispute:
    await wallet.post(
        ledger.Unreserve(user_id=record["user_id"], reserve_id=record["reserve_id"]),
        lambda _: [Update("disputes", {"_id": record["_id"]}, {"$set": {"state": state}})],
    )
    return await _get(record["_id"])


async def _credit_back(record: Dispute, why: str, state: DisputeState) -> Dispute:
    """Credit back what was debited: a later phase was won, or the refund had debited it, too."""
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
    return await _get(record["_id"])


# --- records ------------------------------------------------------------------------------------


def _facts(reported: entities.Dispute) -> Document:
    """The fields of a dispute that are as Razorpay has them."""
    return {
        "status": reported.status,
        "phase": reported.phase,
        "deducted_paise": database.long(reported.deducted_paise),
        "reason_code": reported.reason_code,
        "respond_by": reported.respond_by,
        "updated_at": clock.now(),
    }


def _rank(phase: str, status: str) -> tuple[int, int]:
    """The order of a dispute's phases and statuses: it never moves back."""
    return (_PHASES.index(phase) if phase in _PHASES else 0, _STATUSES.get(status, 0))


def _claims_money_again(record: Dispute, reported: entities.Dispute) -> bool:
    """Whether a decided dispute reserves its money again: in a new phase, or lost after all."""
    further = _rank(reported.phase, "open") > _rank(record["phase"], "open")
    return record["state"] == "released" and (further or reported.status == "lost")


def _reserve_id(reported: entities.Dispute) -> str:
    return f"{reported.id}:{reported.phase}"


def _reserve(record: Dispute) -> ledger.Reserve:
    return ledger.Reserve(
        user_id=record["user_id"],
        reserve_id=record["reserve_id"],
        amount_paise=int(record["amount_paise"]),
        amount_paise_min=0,
    )


def _event(record: Dispute, name: str) -> Insert:
    return outbox.record_event(
        name,
        user_id=record["user_id"],
        dispute_id=record["_id"],
        payment_id=record["payment_id"],
        amount_paise=int(record["amount_paise"]),
    )


async def _find(dispute_id: str) -> Dispute | None:
    return cast(Dispute | None, await db.disputes.find_one({"_id": dispute_id}))


async def _get(dispute_id: str) -> Dispute:
    found = await _find(dispute_id)
    assert found is not None
    return found


async def _paid_back_by(refund: entities.Refund) -> Dispute | None:
    """The lost dispute that this refund pays back, if there is one; it is marked as paid by this refund.

    Each is fetched from Razorpay: it may be lost without a report, and an open one debits nothing yet.
    """
    same = {
        "payment_id": refund.payment_id,
        "amount_paise": refund.amount_paise,
        "state": {"$in": ["reserved", "debited"]},
        "refund_id": {"$in": [None, refund.id]},
        "created_at": {"$lte": refund.created_at or clock.now()},
    }
    found = await db.disputes.find(same).sort("created_at", 1).to_list(None)
    for record in cast(list[Dispute], found):
        dispute = await gateway.fetch_dispute(record["_id"])
        if dispute.status == "lost" and await _mark_paid_back(record, refund.id):
            return record
    return None


async def _mark_paid_back(record: Dispute, refund_id: str) -> bool:
    """Whether this refund is the one that pays the dispute back; the first one is."""
    paired = await db.disputes.update_one(
        {"_id": record["_id"], "refund_id": {"$in": [None, refund_id]}},
        {"$set": {"refund_id": refund_id}},
    )
    return paired.matched_count == 1


def as_it_was_read(record: Dispute) -> Update:
    """A companion write that finds the record only as long as its money is where it was read: what
    reserves or releases for it outside of this file rests on that."""
    fields = ("state", "amount_paise", "transaction_id", "revision")
    where = {name: record.get(name) for name in fields} | {"_id": record["_id"]}
    return Update("disputes", where, {"$set": {"reservation_repaired_at": clock.now()}})
