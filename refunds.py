"""Refunds: asked for by an admin or made at Razorpay, reserved, followed to their end."""

import asyncio
import contextlib
import datetime as dt
import logging
import random
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NotRequired, TypedDict, cast

from ulid import ULID

import gateway
import ledger
import payments
import wallet
from core import clock, config, database, fail_points, leases, money, outbox, pagination
from core.database import Document, Index, Insert, Long, Update, Write, db
from core.errors import HoldNotFound, NotFound, PaymentRequired, Problem
from gateway import GatewayRefused, GatewayUnavailable, NoSuchEntity, entities
from ledger import Outcome
from payments import AmountBelowMinimum, Payment
from wallet import RecordChanged

log = logging.getLogger(__name__)


# --- vocabulary ---------------------------------------------------------------------------------

RefundStatus = Literal[
    "reserved",  # its money is reserved, Razorpay has not confirmed that it has the refund
    "pending",  # Razorpay has it
    "processed",  # Razorpay paid it out, and the wallet is debited
    "failed",  # it failed, and the money is in the wallet again
]

# What it does to the wallet. The refund of a payment that was never credited debits nothing. What
# release 0.2.1 recorded as `dispute` was debited by the dispute that it pays back.
RefundEffect = Literal["debit", "none", "dispute"]

# Why a refund waits for a person.
RefundDoubt = Literal[
    "unknown_at_razorpay",  # Razorpay had it, and does not know its id any more
    "other_facts",  # Razorpay reports another amount or another payment for it
]

OPEN_STATUSES: Final = ("reserved", "pending")


class Decided(TypedDict):
    """What a person decided about a refund or a dispute, and why."""

    action: str
    by: str
    reason: str
    at: dt.datetime


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
    # Absent in what release 0.2.1 wrote:
    revision: NotRequired[int]  # counts the changes: a decision holds for the revision that it read
    attempt: NotRequired[int]  # how often its money was reserved; absent: once
    reserve_id: NotRequired[str]  # in the wallet; absent: the refund's own id
    taken_paise: NotRequired[int]  # what it debited and did not give back, whatever of it is due
    given_up: NotRequired[
        bool
    ]  # it failed because we gave it up; Razorpay may make it all the same
    not_for: NotRequired[list[str]]  # disputes that were open when it existed: it pays none of them
    waits: NotRequired[RefundDoubt | None]  # why a person has to decide
    decided: NotRequired[list[Decided]]
    handed_by: NotRequired[
        str
    ]  # the dispute that reserved or debited its money, and handed it over
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
_DECISIONS_MAX: Final = 40
_STEPS: Final = {
    "Reserve": "refund.reserved_again",
    "Collect": "refund.collected",
    "Unreserve": "refund.released",
    "Credit": "refund.reversed",
}
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
    if payment.status != "captured" or payment.amount_paise <= payment.amount_refunded_paise:
        detail = f"The payment is {payment.status}; only captured money can be refunded."
        raise NotRefundable(detail, payment_status=payment.status)
    opened = new_refund(refund_id, record, 1)
    opened["reason"] = reason
    opened["requested_by"] = by
    for _ in range(_DECISIONS_MAX):
        left_paise = await _left_paise(payment)
        wanted_paise = left_paise if amount_paise is None else amount_paise
        if wanted_paise > left_paise or left_paise == 0:
            raise await _too_much(opened, left_paise)
        if wanted_paise < _REFUND_PAISE_MIN:
            raise AmountBelowMinimum(
                f"Razorpay refunds no less than Rs {money.text(_REFUND_PAISE_MIN)}.",
                minimum=money.rupees(_REFUND_PAISE_MIN),
            )
        opened["amount_paise"] = Long(wanted_paise)
        claim = payments.refund_claim(payment_id, refund_id, wanted_paise)
        try:
            await insert_refund(opened, amount_paise_min=wanted_paise, claim=claim)
        except RecordChanged:
            continue  # another refund of this payment was first
        except PaymentRequired:
            raise await _too_much(opened, left_paise) from None
        fail_points.reach("refund.reserved")
        log.info("refund %s of %s: %d paise, by %s", refund_id, payment_id, wanted_paise, by)
        return opened
    raise await _too_much(opened, await _left_paise(payment))


async def _left_paise(payment: entities.Payment) -> int:
    """What of a payment can still be refunded: less what Razorpay has refunded, and less what is being
    refunded here and is not known there yet."""
    await _release_abandoned_claims(payment.id)
    record = await payments.find_payment(payment.id)
    claimed_paise = sum(record.get("refunds", {}).values()) if record is not None else 0
    unsent = [
        int(each["amount_paise"])
        for each in await find_refunds_of_payments([payment.id])
        if each["status"] in OPEN_STATUSES and each["gateway_id"] is None
    ]
    at_razorpay_paise = payment.amount_paise - payment.amount_refunded_paise - sum(unsent)
    return max(0, min(at_razorpay_paise, payment.amount_paise - claimed_paise))


async def _too_much(wanted: Refund, left_paise: int) -> RefundExceedsUnspent:
    """The refusal, with what could be refunded instead."""
    refundable_paise = left_paise
    if wanted["effect"] == "debit":
        balance = await wallet.get_balance(wanted["user_id"])
        refundable_paise = min(left_paise, balance.available_paise)
    return RefundExceedsUnspent(
        f"Rs {money.text(refundable_paise)} can be refunded: of this payment Rs "
        f"{money.text(left_paise)} are left, less what is being refunded already, and no more than "
        "what the wallet has neither spent nor reserved.",
        refundable=money.rupees(refundable_paise),
    )


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
    fail_points.reach("refund.requested")
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
    """Release what is claimed of a payment by refunds that failed, where a process ended before it
    did that; and by those of release 0.2.1, whose process ended before it wrote their record."""
    payment = await payments.find_payment(payment_id)
    for refund_id in payment.get("refunds", {}) if payment is not None else ():
        record = await find_refund(refund_id)
        is_unborn = record is None and _asked_at(refund_id) < clock.after(
            -_CLAIM_ABANDONED_AFTER_SECONDS
        )
        if is_unborn or (record is not None and record["status"] == "failed"):
            await payments.release_refund_claim(payment_id, refund_id)


def _asked_at(refund_id: str) -> dt.datetime:
    """When a refund of ours was requested: its id has the time in it."""
    if not refund_id.startswith("refund_"):
        return clock.now()
    return ULID.from_str(refund_id.removeprefix("refund_")).datetime


# --- what follows from what Razorpay says: pure -------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The one command for the wallet, and the one change of the record, that come next.

    Neither: the record agrees with Razorpay. `ask_again`: the report contradicts the record and may
    be older than it, so only one that is fetched after the record was read decides.
    """

    command: ledger.Command | None = None
    changes: Document = field(default_factory=dict)
    event: str | None = None
    ask_again: bool = False

    @property
    def is_rest(self) -> bool:
        """Whether there is nothing to do."""
        return self.command is None and not self.changes and not self.ask_again


def decide(
    record: Refund, reported: entities.Refund, *, is_credited: bool, is_fresh: bool
) -> Decision:
    """What comes next for this record, given what Razorpay says of the refund now.

    `is_credited`: its payment is in the wallet. `is_fresh`: `reported` was fetched after the record
    was read. The money follows Razorpay's status: reserved while it is pending, taken once it is
    processed, free when it failed. Where two steps are needed, each decides anew.
    """
    same_amount = record["amount_paise"] == reported.amount_paise
    if not same_amount or record["payment_id"] != reported.payment_id:
        return Decision(changes=_changed(record, {"waits": "other_facts"}))
    noted: Document = {"waits": None} if record.get("waits") else {}
    if record["gateway_id"] is None:
        noted["gateway_id"] = reported.id
    if record["effect"] != "debit":
        if record["effect"] == "none" and is_credited and reported.status != "failed":
            return _reserve_again(record, noted)
        return _decide_without_money(record, reported, noted)
    if record["status"] in OPEN_STATUSES:
        return _decide_open(record, reported, noted)
    if record["status"] == "processed":
        if reported.status == "failed":
            return _give_back(record, noted, "The bank sent it back.")
        return Decision(changes=noted)
    if reported.status == "failed":
        return Decision(changes=noted | _changed(record, {"given_up": False}, default=False))
    if not record.get("given_up") and not is_fresh:
        return Decision(ask_again=True)
    return _reserve_again(record, noted)  # Razorpay made it after all


def _decide_open(record: Refund, reported: entities.Refund, noted: Document) -> Decision:
    taken_paise = taken_paise_of(record)
    if reported.status == "pending":
        return Decision(changes=noted | _changed(record, {"status": "pending", "failure": None}))
    if reported.status == "processed":
        return _take(record, noted)
    if taken_paise:
        return _give_back(record, noted, "The bank did not take it.")
    return _give_up(record, noted, "The bank did not take it.")


def _take(record: Refund, noted: Document) -> Decision:
    """The money leaves the wallet, unless a dispute has taken it and handed it over."""
    processed: Document = {"status": "processed", "failure": None, "next_check_at": None}
    if taken_paise_of(record):
        return Decision(changes=noted | processed)
    by_hand = record["requested_by"] is not None
    command = ledger.Collect(
        user_id=record["user_id"],
        key=f"refund:{_attempt_id(record)}",
        category="refund",
        amount_paise=int(record["amount_paise"]),
        contra="gateway:razorpay",
        description=f"Refund: {record['reason']}" if by_hand else "Refund made at Razorpay",
        order_id=record["order_id"],
        payment_id=record["payment_id"],
        refund_id=record["_id"],
        reserve_id=reserve_id_of(record),
    )
    return Decision(command=command, changes=noted | processed, event="RefundProcessed")


def _give_up(record: Refund, noted: Document, why: str, *, by_us: bool = False) -> Decision:
    """The reserve is released; nothing was taken."""
    failed: Document = {"status": "failed", "failure": why, "next_check_at": None}
    failed["given_up"] = by_us
    command = ledger.Unreserve(user_id=record["user_id"], reserve_id=reserve_id_of(record))
    return Decision(command=command, changes=noted | failed, event="RefundFailed")


def _give_back(record: Refund, noted: Document, why: str) -> Decision:
    """What was taken comes back, whatever part of it was an entry and what a due."""
    failed: Document = {"status": "failed", "failure": why, "next_check_at": None}
    failed |= {"given_up": False, "taken_paise": Long(0), "due_paise": Long(0)}
    command = ledger.Credit(
        user_id=record["user_id"],
        key=f"refund_reversal:{_attempt_id(record)}",
        category="refund_reversal",
        amount_paise=taken_paise_of(record),
        contra="gateway:razorpay",
        description="A refund failed: its money is back",
        order_id=record["order_id"],
        payment_id=record["payment_id"],
        refund_id=record["_id"],
    )
    return Decision(command=command, changes=noted | failed, event="RefundFailed")


def _reserve_again(record: Refund, noted: Document) -> Decision:
    """As much of the money as is there is reserved, under an id that was never used."""
    attempt = attempt_of(record) + 1
    again: Refund = {**record, "attempt": attempt}
    reserve_id = _attempt_id(again)
    changes: Document = {
        "effect": "debit",
        "status": "reserved",
        "failure": None,
        "given_up": False,
        "attempt": attempt,
        "reserve_id": reserve_id,
        "taken_paise": Long(0),
        "due_paise": Long(0),
        "next_check_at": clock.after(_CHECK_PAUSE_SECONDS_MIN),  # it is open again
    }
    command = ledger.Reserve(
        user_id=record["user_id"],
        reserve_id=reserve_id,
        amount_paise=int(record["amount_paise"]),
        amount_paise_min=0,
    )
    return Decision(command=command, changes=noted | changes)


def _decide_without_money(record: Refund, reported: entities.Refund, noted: Document) -> Decision:
    """A refund that debits nothing of its own: the record follows Razorpay, never back."""
    order = ("reserved", "pending", "processed", "failed")
    has_ended = record["status"] == "failed" and not record.get("given_up")
    if has_ended or reported.status == record["status"]:
        return Decision(changes=noted)
    if record["status"] != "failed" and order.index(reported.status) < order.index(
        record["status"]
    ):
        return Decision(changes=noted)
    changes: Document = {"status": reported.status, "failure": None, "given_up": False}
    if reported.status != "pending":
        changes["next_check_at"] = None
    if reported.status == "failed":
        before = record["status"] == "processed"
        changes["failure"] = "The bank sent it back." if before else "The bank did not take it."
    return Decision(changes=noted | changes)


def _changed(record: Refund, changes: Document, *, default: object = None) -> Document:
    """Those of `changes` that differ from the record."""
    return {name: new for name, new in changes.items() if record.get(name, default) != new}


def attempt_of(record: Refund) -> int:
    """How often its money was reserved."""
    return record.get("attempt", 1)


def _attempt_id(record: Refund) -> str:
    """What the keys of this attempt are made of: that of the first is the refund's own id."""
    attempt = attempt_of(record)
    return record["_id"] if attempt <= 1 else f"{record['_id']}:{attempt}"


def reserve_id_of(record: Refund) -> str:
    """The id of its reserve in the wallet."""
    return record.get("reserve_id") or record["_id"]


def taken_paise_of(record: Refund) -> int:
    """What it debited and did not give back, whatever of it was or is due.

    A process of release 0.2.1 knows no `taken_paise`, and may have changed the status beside it.
    """
    if record["status"] == "failed":
        return 0
    taken_paise = int(record.get("taken_paise", 0))
    if record["status"] == "processed" and record["effect"] == "debit":
        return taken_paise or int(record["amount_paise"])
    return taken_paise


# --- what Razorpay reports ----------------------------------------------------------------------


async def apply_update(reported: entities.Refund) -> str:
    """Apply a refund as Razorpay has it, and describe the effect: once, whoever reports it.

    One of ours is advanced. One that somebody made at Razorpay is debited as far as there is money;
    what is missing is due. That of a payment that was never credited debits nothing. Whether it
    pays a lost dispute back is decided by `disputes`, before and after it is applied.
    """
    record = await find_refund_by_gateway_id(reported.id)
    if record is None and reported.receipt.startswith("refund_"):
        record = await _find_one({"_id": reported.receipt, "payment_id": reported.payment_id})
    if record is None:
        record = await _record_made_at_gateway(reported)
    if record is None:
        return "ignored: of a payment that is not ours"
    return f"refund {(await advance_refund(record, reported))['status']}"


async def advance_refund(record: Refund, reported: entities.Refund) -> Refund:
    """Decide and carry out, until the record agrees with what Razorpay reports; the record then.

    Every decision is carried out on the record that it was made for, or not at all: when another
    report of the refund was first, it is read and decided again.
    """
    last: RecordChanged | None = None
    is_known = record["status"] == "processed"
    for _ in range(_DECISIONS_MAX):
        is_credited = record["effect"] == "none" and await _is_credited(record)
        decision = decide(record, reported, is_credited=is_credited, is_fresh=False)
        if decision.ask_again:
            reported = await gateway.fetch_refund(reported.id)
            decision = decide(record, reported, is_credited=is_credited, is_fresh=True)
        if decision.is_rest:
            if not is_known or record["effect"] != "debit" or record["status"] != "processed":
                await _follow_up(record)
            return record
        try:
            await _carry_out(record, decision)
        except RecordChanged as changed:
            last = changed
            await asyncio.sleep(random.uniform(0, 0.02))  # noqa: S311 - a pause, not a secret
        record = await _get_refund_by_id(record["_id"])
    raise last or RecordChanged("The refund does not come to rest. Try again.")


async def _carry_out(record: Refund, decision: Decision) -> None:
    """Post the command with the change of the record in one commit, or change the record alone.

    Raises RecordChanged when the record is not the one any more that the decision was made for.
    """
    changes = {**decision.changes, "updated_at": clock.now()}
    command = decision.command
    if command is None:
        await _change_unless_changed(record, changes)
        fail_points.reach("refund.noted")
        return

    def writes(outcome: Outcome) -> list[Write]:
        events = [] if decision.event is None else [_event(record, decision.event)]
        return [_update_of(record, changes | _facts_of(command, outcome)), *events]

    fail_points.reach("refund.decided")
    try:
        outcome = await wallet.post(command, writes)
    except HoldNotFound:
        # Another report was first, or the reserve is gone: then it is reserved again.
        again = _reserve_again(record, {"status": record["status"]})
        await _carry_out(record, again)
        return
    fail_points.reach(_STEPS[type(command).__name__])
    if outcome.replayed:  # by another report, which changed the record; else it is changed now
        await _change_unless_changed(record, changes | _facts_of(command, outcome))
    if isinstance(command, ledger.Collect) and outcome.due_paise:
        log.error("refund %s: %d paise were spent, they are due", record["_id"], outcome.due_paise)
    if isinstance(command, ledger.Credit):
        log.error("refund %s failed after it was processed", record["_id"])


def _facts_of(command: ledger.Command, outcome: Outcome) -> Document:
    """What only the wallet knows: the entry, and what is due."""
    if not isinstance(command, ledger.Collect):
        return {}
    return {
        "taken_paise": Long(command.amount_paise),
        "transaction_id": outcome.entry.id if outcome.entry else None,
        "due_paise": Long(command.amount_paise - outcome.charged_paise),
    }


async def _follow_up(record: Refund) -> None:
    """What follows from the refund for its payment: its claim, and the end of a review. Repeated
    with every report, so that a crash before it changes nothing."""
    if record["status"] == "failed":
        await payments.release_refund_claim(record["payment_id"], record["_id"])
    else:
        amount_paise = int(record["amount_paise"])
        await payments.claim_for_refund(record["payment_id"], record["_id"], amount_paise)
    if record["effect"] != "debit" and record["status"] not in OPEN_STATUSES:
        await _end_review(record)


async def _is_credited(record: Refund) -> bool:
    payment = await payments.find_payment(record["payment_id"])
    return payment is not None and bool(payment.get("transaction_id"))


async def _record_made_at_gateway(reported: entities.Refund) -> Refund | None:
    """The record of a refund that was made at Razorpay; None if it is not ours."""
    payment = await payments.find_payment(reported.payment_id)
    if payment is None:
        return None
    record = made_at_gateway(reported, payment)
    with contextlib.suppress(database.DuplicateKey):  # another report of it was first
        await db.refunds.insert_one(dict(record))
        fail_points.reach("refund.recorded")
        log.warning("refund %s of %s was made at Razorpay", reported.id, reported.payment_id)
    return await find_refund_by_gateway_id(reported.id)


def made_at_gateway(reported: entities.Refund, payment: Payment) -> Refund:
    """The record, not stored, of a refund that somebody made at Razorpay: it debits nothing yet."""
    record = new_refund(reported.id, payment, reported.amount_paise)
    record["effect"] = "none"
    record["attempt"] = 0
    record["gateway_id"] = reported.id
    record["reason"] = "Made at Razorpay"
    record["told_at"] = reported.created_at or clock.now()
    return record


async def _end_review(record: Refund) -> None:
    """End the review of a payment that was refunded in full, or open it again when that failed."""
    payment = await payments.find_payment(record["payment_id"])
    back = await find_refunds_of_payments([record["payment_id"]])
    back_paise = sum(int(each["amount_paise"]) for each in back if each["status"] == "processed")
    if payment is None:
        return
    if back_paise >= payment["amount_paise"]:
        by = record["requested_by"] or "razorpay"
        await payments.resolve_review_as_refunded(payment["_id"], by=by)
    elif record["status"] == "failed":
        await payments.reopen_review(payment["_id"])


async def mark_failed(record: Refund, why: str) -> Refund:
    """Give a refund up that Razorpay does not have: its reserve is released. Should Razorpay report
    that it made the refund after all, its money is reserved and taken again."""
    while record["status"] in OPEN_STATUSES and not taken_paise_of(record):
        log.warning("refund %s failed: %s", record["_id"], why)
        decision = _give_up(record, {}, why, by_us=True)
        if record["effect"] != "debit":
            decision = Decision(changes=decision.changes)
        try:
            await _carry_out(record, decision)
        except RecordChanged:
            await asyncio.sleep(random.uniform(0, 0.02))  # noqa: S311 - a pause, not a secret
        record = await _get_refund_by_id(record["_id"])
    await _follow_up(record)
    return record


def _event(record: Refund, name: str) -> Insert:
    return outbox.record_event(
        name,
        user_id=record["user_id"],
        refund_id=record["_id"],
        payment_id=record["payment_id"],
        amount_paise=int(record["amount_paise"]),
    )


# --- paired with a dispute ----------------------------------------------------------------------


def could_pay_back(record: Refund, dispute_id: str, opened_at: dt.datetime) -> bool:
    """Whether this may be the refund with which Razorpay pays a lost dispute back: made there, since
    the dispute was opened, not failed, and not known to be for something else."""
    return (
        record["requested_by"] is None
        and record["status"] != "failed"
        and record.get("told_at", record["created_at"]) >= opened_at
        and dispute_id not in record.get("not_for", [])
    )


def pair(
    record: Refund,
    dispute_id: str | None,
    changes: Document | None = None,
    *,
    by_hand: bool = False,
) -> Update:
    """The companion write that pairs a refund with a dispute (None: with none any more), made for
    the record as it was read. `changes` are what the dispute hands over. `by_hand`: a person says
    so, whatever was ruled out before."""
    paired: Document = {"dispute_id": dispute_id, **(changes or {}), "updated_at": clock.now()}
    where = _unchanged(record) | {"dispute_id": record["dispute_id"]}
    update: Document = {"$set": paired, "$inc": {"revision": 1}}
    if by_hand:
        update["$pull"] = {"not_for": dispute_id}
    elif dispute_id is not None:
        where["not_for"] = {"$ne": dispute_id}
    return Update("refunds", where, update)


def first_paired(record: Refund, dispute_id: str, changes: Document) -> Insert:
    """The companion write that records a new refund together with the dispute that it pays back."""
    return Insert("refunds", {**record, "dispute_id": dispute_id, **changes})


def reserved_as(reserve_id: str) -> Document:
    """The changes of a refund that takes over a reserve."""
    next_check_at = clock.after(_CHECK_PAUSE_SECONDS_MIN)
    changes: Document = {"effect": "debit", "reserve_id": reserve_id}
    return changes | {"status": "reserved", "failure": None, "next_check_at": next_check_at}


async def rule_out(refund_ids: Iterable[str], dispute_ids: Iterable[str]) -> None:
    """Note that these refunds, which exist, are for none of these disputes, which are not lost."""
    # The type is named because only then MongoDB uses the partial index.
    known = {"$in": list(refund_ids), "$type": "string"}
    where: Document = {"gateway_id": known, "dispute_id": None}
    not_for = {"$addToSet": {"not_for": {"$each": list(dispute_ids)}}}
    await db.refunds.update_many(where, not_for)


# --- decided by a person ------------------------------------------------------------------------


async def mark_unknown(record: Refund) -> bool:
    """Note that Razorpay does not know this refund any more; whether a person has to decide that."""
    if record.get("decided"):
        return False
    waits: Document = {"waits": "unknown_at_razorpay"}
    if record["status"] in OPEN_STATUSES:
        waits["next_check_at"] = clock.after(_CHECK_PAUSE_SECONDS_MAX)
    await db.refunds.update_one({"_id": record["_id"]}, {"$set": waits})
    return True


async def list_waiting(limit: int) -> list[Refund]:
    """The refunds that a person has to decide, the oldest first: those that Razorpay does not know
    any more, or reports with other facts."""
    oldest_first = [("created_at", 1), ("_id", 1)]
    found = db.refunds.find({"waits": {"$type": "string"}}, sort=oldest_first)
    return cast(list[Refund], await found.to_list(limit))


async def resolve(
    refund_id: str, *, outcome: Literal["processed", "failed"], by: str, reason: str
) -> Refund:
    """End a refund by a person's decision: its money went back (`processed`), or it is the wallet's
    again (`failed`). Harmless when repeated. What Razorpay reports later still counts. Raises NotFound.
    """
    record = await get_refund(refund_id, None)
    for _ in range(_DECISIONS_MAX):
        decided: Decided = {"action": outcome, "by": by, "reason": reason, "at": clock.now()}
        decision = _decide_by_hand(record, outcome, decided)
        if decision.is_rest:
            break
        try:
            await _carry_out(record, decision)
        except RecordChanged:
            await asyncio.sleep(random.uniform(0, 0.02))  # noqa: S311 - a pause, not a secret
        record = await _get_refund_by_id(record["_id"])
        log.warning("refund %s: %s by %s: %s", record["_id"], outcome, by, reason)
    await _follow_up(record)
    return record


def _decide_by_hand(record: Refund, outcome: str, decided: Decided) -> Decision:
    noted: Document = {"waits": None, "decided": [*record.get("decided", []), decided]}
    if record["status"] == outcome:
        return Decision(changes=noted if record.get("waits") else {})
    if record["effect"] != "debit":
        ended = {"status": outcome, "failure": decided["reason"], "next_check_at": None}
        return Decision(changes=noted | ended)
    if outcome == "processed":
        return _reserve_again(record, {}) if record["status"] == "failed" else _take(record, noted)
    if taken_paise_of(record):
        return _give_back(record, noted, decided["reason"])
    return _give_up(record, noted, decided["reason"], by_us=True)


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
    except NoSuchEntity:
        log.error("refund %s: Razorpay does not know it any more", record["_id"])
        await mark_unknown(record)
        return await _get_refund_by_id(record["_id"])
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
    where: Document = {"$or": [{"_id": refund_id}, _of_gateway(refund_id)]}
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
    return await _find_one(_of_gateway(gateway_id))


def _of_gateway(gateway_id: str) -> Document:
    # The type is named because only then MongoDB uses the partial index.
    return {"gateway_id": {"$eq": gateway_id, "$type": "string"}}


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


def as_it_was_read(record: Refund) -> Update:
    """A companion write that finds the record only as long as its money is where it was read: what
    reserves or releases for it outside of this file rests on that."""
    fields = ("status", "amount_paise", "transaction_id", "revision")
    where = {name: record.get(name) for name in fields} | {"_id": record["_id"]}
    return Update("refunds", where, {"$set": {"reservation_repaired_at": clock.now()}})


# --- storage ------------------------------------------------------------------------------------

database.declare(
    "refunds",
    indexes=[
        Index(("gateway_id",), unique=True, only_where={"gateway_id": {"$type": "string"}}),
        Index(("payment_id",)),
        Index(("user_id", "-created_at", "-_id")),
        Index(("-created_at", "-_id")),
        Index(("next_check_at",), only_where={"next_check_at": {"$type": "date"}}),
        Index(("status", "created_at"), only_where={"failure": {"$type": "string"}}),
        Index(("created_at", "_id"), only_where={"waits": {"$type": "string"}}),
    ],
    schema={
        "bsonType": "object",
        "required": ["payment_id", "user_id", "amount_paise", "status", "effect", "created_at"],
        "properties": {
            "amount_paise": {"bsonType": "long", "minimum": 1},
            "taken_paise": {"bsonType": "long", "minimum": 0},
            "status": {"enum": ["reserved", "pending", "processed", "failed"]},
            "effect": {"enum": ["debit", "none", "dispute"]},
        },
    },
)


def new_refund(refund_id: str, payment: Payment, amount_paise: int) -> Refund:
    """A record of a refund over `amount_paise` of a payment that we know."""
    now, is_credited = clock.now(), bool(payment.get("transaction_id"))
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
        "effect": "debit" if is_credited else "none",
        "revision": 0,
        "attempt": 1 if is_credited else 0,
        "reserve_id": refund_id,
        "taken_paise": database.long(0),
        "dispute_id": None,
        "transaction_id": None,
        "due_paise": database.long(0),
        "failure": None,
        "created_at": now,
        "updated_at": now,
        "next_check_at": clock.after(_CHECK_PAUSE_SECONDS_MIN),
    }


async def insert_refund(
    record: Refund, *, amount_paise_min: int, claim: Write | None = None
) -> None:
    """The record, its reserve and its claim on the payment in one commit; without a reserve if it
    debits nothing. Raises RecordChanged when the payment has no room for the claim."""
    writes: list[Write] = [Insert("refunds", record)]
    if claim is not None:
        writes.append(claim)
    if record["effect"] != "debit":
        await wallet.write_companions(writes)
        return
    command = ledger.Reserve(
        user_id=record["user_id"],
        reserve_id=reserve_id_of(record),
        amount_paise=int(record["amount_paise"]),
        amount_paise_min=amount_paise_min,
    )
    outcome = await wallet.post(command, lambda _: writes)
    if outcome.replayed:  # reserved, and no record: a person removed it
        await wallet.write_companions(writes)


async def _find_one(where: Document) -> Refund | None:
    return cast(Refund | None, await db.refunds.find_one(where))


async def _get_refund_by_id(refund_id: str) -> Refund:
    """The record as it is stored now. After a posting it has to be read, because another process
    may have changed it."""
    found = await _find_one({"_id": refund_id})
    assert found is not None
    return found


async def _change_open(record: Refund, changes: Document) -> Refund:
    """The record after these changes, which no decision depends on; unchanged when it has ended."""
    where = {"_id": record["_id"], "status": {"$in": list(OPEN_STATUSES)}}
    changed = await db.refunds.find_one_and_update(
        where, {"$set": {**changes, "updated_at": clock.now()}}, return_document=True
    )
    return cast(Refund | None, changed) or await _get_refund_by_id(record["_id"])


def _unchanged(record: Refund) -> Document:
    """The filter that finds the record only as it was read. Release 0.2.1 counts no revisions."""
    return {"_id": record["_id"], "status": record["status"], "revision": record.get("revision")}


def _update_of(record: Refund, changes: Document) -> Update:
    """The companion write of these changes, decided on the record as it was read."""
    return Update("refunds", _unchanged(record), {"$set": changes, "$inc": {"revision": 1}})


async def _change_unless_changed(record: Refund, changes: Document) -> None:
    """Change the record as it was read. Raises RecordChanged when it is another one by now."""
    await wallet.write_companions([_update_of(record, changes)])
