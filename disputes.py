"""Disputes (chargebacks): money reserved when opened, taken when lost, given back when won."""

import asyncio
import contextlib
import datetime as dt
import logging
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final, Literal, NotRequired, TypedDict, cast

import gateway
import ledger
import payments
import refunds
import users
import wallet
from core import clock, config, database, fail_points, outbox, pagination
from core.database import Document, Index, Insert, Long, Update, Write, db
from core.errors import HoldNotFound, NotFound, Problem
from gateway import GatewayRefused, GatewayUnavailable, entities
from ledger import Outcome
from payments import Payment
from refunds import Decided, Refund
from wallet import RecordChanged

log = logging.getLogger(__name__)


# --- vocabulary ---------------------------------------------------------------------------------

DisputeState = Literal[
    "reserved",  # open: as much of its money as was available is reserved
    "debited",  # lost: the money is debited, what was missing is due
    "refunded",  # lost, and debited by the refund that paid it back
    "released",  # won or closed: the reserve is released
    "ignored",  # of a payment that was never credited: there is nothing to debit
]

# Why a person has to say which refund, if any, paid a lost dispute back.
UnclearReason = Literal[
    "several_disputes",  # more disputes over this amount were lost than refunds were made
    "other_amount",  # a refund of what was disputed, but Razorpay deducted another amount
    "refund_failed",  # the refund that paid it back has failed
    "earlier_phase",  # the refund may have paid the loss of an earlier phase back, unseen by us
    "unknown_at_razorpay",  # Razorpay does not know the dispute any more
]

# What a person may decide: nothing is to change; the refund named paid it back; no refund did; its
# money is the wallet's again; its money is taken.
Action = Literal["keep", "pair", "unpair", "release", "take"]

_PHASES: Final = ("fraud", "retrieval", "chargeback", "pre_arbitration", "arbitration")
_STATUSES: Final = {"open": 0, "under_review": 1, "won": 2, "lost": 2, "closed": 2}
_DECIDED: Final = ("won", "lost", "closed")
_BATCH: Final = 100
_DECISIONS_MAX: Final = 40
_NEWEST: Final = pagination.newest_first("created_at")
_STEPS: Final = {
    "Reserve": "dispute.reserved",
    "Collect": "dispute.collected",
    "Unreserve": "dispute.released",
    "Credit": "dispute.given_back",
}


class NotPairable(Problem):
    """This refund cannot be the one that paid the dispute back."""

    code, status, title = "refund_not_pairable", 409, "Refund not pairable"


class Unclear(TypedDict):
    """What a person has to decide about a dispute, and the refunds and disputes it is about."""

    reason: UnclearReason
    refund_ids: list[str]
    dispute_ids: list[str]
    at: dt.datetime


class Dispute(TypedDict):
    """A record of `disputes`."""

    _id: str  # Razorpay's
    payment_id: str
    order_id: str
    user_id: str
    amount_paise: int
    reserve_id: str  # of its latest attempt: a dispute that claims its money again has a new one
    state: DisputeState
    refund_id: str | None  # of the refund that paid the loss back
    transaction_id: str | None
    due_paise: int  # what was already spent when it was debited
    taken_paise: NotRequired[int]  # what it debited and did not give back, whatever of it is due
    created_at: dt.datetime
    # As Razorpay has it:
    status: entities.DisputeStatus
    phase: str
    deducted_paise: int
    reason_code: str
    respond_by: dt.datetime | None
    updated_at: dt.datetime
    # Absent in what release 0.2.1 wrote:
    revision: NotRequired[int]  # counts the changes: a decision holds for the revision that it read
    attempt: NotRequired[int]  # how often its money was reserved; absent: once
    phase_since: NotRequired[dt.datetime]  # when a later phase than its first was seen here
    unclear: NotRequired[Unclear | None]
    decided: NotRequired[list[Decided]]
    decided_for: NotRequired[
        list[str] | None
    ]  # phase and status in which a person took or released


database.declare(
    "disputes",
    indexes=[
        Index(("user_id", "-created_at", "-_id")),
        Index(("payment_id", "_id")),
        Index(("state", "_id")),
        Index(("state", "-created_at", "-_id")),
        Index(("-created_at", "-_id")),
        Index(("unclear.at",), only_where={"unclear.at": {"$type": "date"}}),
    ],
    schema={
        "bsonType": "object",
        "required": ["payment_id", "user_id", "amount_paise", "status", "state", "created_at"],
        "properties": {
            "amount_paise": {"bsonType": "long", "minimum": 1},
            "taken_paise": {"bsonType": "long", "minimum": 0},
            "state": {"enum": ["reserved", "debited", "refunded", "released", "ignored"]},
        },
    },
)


# --- what follows from what Razorpay says: pure -------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The one command for the wallet, and the one change of the record, that come next.

    Neither: the record agrees with Razorpay. `refund`: the write that pairs a refund with it, in the
    same commit. `rules_out`: refunds that exist while the dispute is not lost, so they pay it back
    in no case. `ask_again`: only a report that is fetched after the record was read decides.
    """

    command: ledger.Command | None = None
    changes: Document = field(default_factory=dict)
    event: str | None = None
    refund: Write | None = None
    rules_out: tuple[str, ...] = ()
    ask_again: bool = False

    @property
    def is_rest(self) -> bool:
        """Whether there is nothing to do."""
        work = (self.command, self.refund, self.rules_out, self.ask_again, self.changes)
        return not any(work)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """All that a decision depends on: the dispute's record and what Razorpay says of it, its payment's
    refunds and other disputes.

    `newcomer` is among the refunds, and not recorded yet. `is_fresh`: `reported` was fetched after
    the rest was read. `by_hand`: a person decides, who knows better than what was ruled out.
    """

    record: Dispute
    reported: entities.Dispute
    is_credited: bool
    refunds: list[Refund]
    others: list[Dispute]
    newcomer: Refund | None = None
    is_fresh: bool = False
    by_hand: bool = False

    @property
    def loss_paise(self) -> int:
        """What a loss takes: what Razorpay deducted, or all that is disputed."""
        return self.reported.deducted_paise or self.reported.amount_paise

    @property
    def facts(self) -> Document:
        """Razorpay's facts that the record does not have yet."""
        changed = {
            name: new
            for name, new in _facts(self.reported).items()
            if cast(Document, self.record).get(name) != new
        }
        if "phase" in changed:
            changed["phase_since"] = clock.now()
        return changed

    @property
    def is_older(self) -> bool:
        """Whether the report says less than what is known: an earlier phase, or that the dispute is
        open in the phase in which it was decided. Razorpay may also have opened it again."""
        if self.reported.phase != self.record["phase"]:
            return _phase_rank(self.reported.phase) < _phase_rank(self.record["phase"])
        return _STATUSES[self.reported.status] < _STATUSES[self.record["status"]]

    @property
    def contradicts(self) -> bool:
        """Whether the report decides otherwise, in the same phase, than what is known: the older of
        the two may have come last."""
        both = (self.record["status"], self.reported.status)
        same_phase = self.record["phase"] == self.reported.phase
        return same_phase and both[0] != both[1] and all(each in _DECIDED for each in both)

    def candidates(self, amount_paise: int) -> list[Refund]:
        """The refunds of this amount that may have paid the dispute back, the oldest first."""
        opened_at = self.reported.created_at or self.record["created_at"]
        possible = [
            each
            for each in self.refunds
            if each["amount_paise"] == amount_paise
            and refunds.could_pay_back(each, self.record["_id"], opened_at)
        ]
        return sorted(possible, key=lambda each: (each["created_at"], each["_id"]))


def decide(case: Case) -> Decision:
    """What comes next for a dispute, given what Razorpay says of it now.

    The money follows Razorpay's status: reserved while the dispute is open, taken once it is lost,
    free when it was won or closed. A loss that a refund has paid back is debited by the refund
    alone; what a new phase claims is another sum. Where two steps are needed, each decides anew.
    """
    record, reported = case.record, case.reported
    if case.is_older and not case.is_fresh:
        return Decision(ask_again=True)
    if not case.is_credited:
        return Decision(changes=case.facts)
    if record.get("decided_for") == [reported.phase, reported.status]:
        return Decision(changes=case.facts)
    if record["state"] == "refunded" and reported.phase != record["phase"]:
        return _leave_to_refund(case)
    if reported.status == "lost":
        return _decide_lost(case)
    unpaired = [each for each in case.candidates(case.loss_paise) if each["dispute_id"] is None]
    doubtful = [each["_id"] for each in unpaired if each is not case.newcomer]
    if doubtful:
        return Decision(rules_out=tuple(doubtful)) if case.is_fresh else Decision(ask_again=True)
    if reported.status in ("won", "closed"):
        return _decide_ended(case)
    return _decide_open(case)


def _leave_to_refund(case: Case) -> Decision:
    """The phase that a refund paid back is over, and the refund pays for no other: Razorpay's new
    phase is decided next, like that of a dispute of which nothing is reserved."""
    record = case.record
    changes: Document = case.facts | {"state": "released", "refund_id": None}
    if case.reported.status == "lost":
        changes |= {"status": "open"}  # until its money is taken, in the next steps
    for refund in case.refunds:
        if refund["_id"] == record["refund_id"] and record["_id"] not in refund.get("not_for", []):
            not_for = {"not_for": [*refund.get("not_for", []), record["_id"]]}
            return Decision(changes=changes, refund=refunds.pair(refund, record["_id"], not_for))
    return Decision(changes=changes)


def _decide_open(case: Case) -> Decision:
    state = case.record["state"]
    if state == "reserved":
        return Decision(changes=case.facts)
    if state == "debited":
        if case.record["refund_id"] is not None:
            return _hand_over_to_pair(case)
        if case.reported.deducted_paise:  # in a new phase; Razorpay keeps what it deducted
            return Decision(changes=case.facts)
        return _give_back(case, f"reopened:{case.reported.phase}")
    return _reserve(case)


def _decide_ended(case: Case) -> Decision:
    record = case.record
    if record["state"] == "reserved":
        return Decision(
            command=ledger.Unreserve(user_id=record["user_id"], reserve_id=record["reserve_id"]),
            changes=case.facts | {"state": "released"},
        )
    if record["state"] == "debited":
        if record["refund_id"] is not None:
            return _hand_over_to_pair(case)
        if case.contradicts and not case.is_fresh:
            return Decision(ask_again=True)
        return _give_back(case, f"{case.reported.status}:{case.reported.phase}")
    if record["state"] == "ignored":
        return Decision(changes=case.facts | {"state": "released"})
    return Decision(changes=case.facts)


def _decide_lost(case: Case) -> Decision:
    record = case.record
    if record["state"] == "refunded":
        return Decision(changes=case.facts | _doubt_about_pair(case))
    if record["state"] == "debited" and record["refund_id"] is not None:
        return _hand_over_to_pair(case)
    if case.contradicts and not case.is_fresh:
        return Decision(ask_again=True)
    for refund in case.candidates(case.loss_paise):
        if refund["dispute_id"] in (None, record["_id"]):
            return _pair(case, refund)
    if record["state"] == "reserved":
        return _take(case, case.loss_paise)
    if record["state"] == "debited":
        if taken_paise_of(record) == case.loss_paise:
            return Decision(changes=case.facts)
        if not case.is_fresh:
            return Decision(ask_again=True)
        return _give_back(case, f"corrected:{case.loss_paise}")
    return _reserve(case)


def _reserve(case: Case) -> Decision:
    """As much of the disputed money as is there is reserved, under an id that was never used."""
    record, attempt = case.record, attempt_of(case.record) + 1
    first = f"{record['_id']}:{case.reported.phase}"
    reserve_id = first if attempt == 1 else f"{first}:{attempt}"
    changes = case.facts | {
        "state": "reserved",
        "attempt": attempt,
        "reserve_id": reserve_id,
        "taken_paise": Long(0),
        "due_paise": Long(0),
        "refund_id": None,
        "decided_for": None,
    }
    if case.reported.status in _DECIDED:
        # The decision comes next: until then the record says what its money does.
        changes |= {"status": "open"}
    command = ledger.Reserve(
        user_id=record["user_id"],
        reserve_id=reserve_id,
        amount_paise=int(record["amount_paise"]),
        amount_paise_min=0,
    )
    return Decision(command=command, changes=changes, event="DisputeOpened")


def _take(case: Case, amount_paise: int) -> Decision:
    record = case.record
    command = ledger.Collect(
        user_id=record["user_id"],
        key=collect_key_of(record),
        category="refund",
        amount_paise=amount_paise,
        contra="gateway:razorpay",
        description=f"Dispute {record['_id']} lost: the bank took the payment back",
        order_id=record["order_id"],
        payment_id=record["payment_id"],
        refund_id=record["_id"],
        reserve_id=record["reserve_id"],
    )
    changes = case.facts | {"state": "debited"} | _doubt_about_loss(case)
    return Decision(command=command, changes=changes, event="DisputeLost")


def _give_back(case: Case, why: str, changes: Document | None = None) -> Decision:
    """What was debited is credited: a later decision, or the refund has debited it, too."""
    record = case.record
    command = ledger.Credit(
        user_id=record["user_id"],
        key=f"dispute_back:{record['reserve_id']}:{why}",
        category="refund_reversal",
        amount_paise=taken_paise_of(record),
        contra="gateway:razorpay",
        description=f"Dispute {record['_id']}: what it took is back",
        order_id=record["order_id"],
        payment_id=record["payment_id"],
        refund_id=record["_id"],
    )
    free: Document = {"state": "released", "taken_paise": Long(0), "due_paise": Long(0)}
    return Decision(command=command, changes=case.facts | free | (changes or {}))


def _pair(case: Case, refund: Refund) -> Decision:
    """The loss is the refund's: what the dispute has reserved or taken is handed over to it or, where
    the refund has reserved or taken the same, free again."""
    record = case.record
    paired: Document = {"state": "refunded", "refund_id": refund["_id"]}
    changes = case.facts | paired | {"taken_paise": Long(0), "due_paise": Long(0)}
    changes |= _doubt_about_loss(case) or _doubt_about_phase(case, refund)
    with_refund = refunds.pair(refund, record["_id"], by_hand=case.by_hand)
    if record["state"] == "reserved":
        if not refunds.taken_paise_of(refund):
            return _hand_over(case, refund, changes, refunds.reserved_as(record["reserve_id"]))
        if refund["due_paise"]:
            return _take(case, case.loss_paise)  # given back next: it pays what is due
        command = ledger.Unreserve(user_id=record["user_id"], reserve_id=record["reserve_id"])
        return Decision(command=command, changes=changes, refund=with_refund)
    if record["state"] == "debited":
        same_amount = taken_paise_of(record) == refund["amount_paise"]
        if refunds.taken_paise_of(refund) or not same_amount:
            given_back = _give_back(case, "refunded", changes)
            return Decision(
                command=given_back.command, changes=given_back.changes, refund=with_refund
            )
        return _hand_over(case, refund, changes, _taken_by(record))
    if refund is case.newcomer:  # it is recorded first, and paired with the next look
        return Decision()
    return Decision(changes=changes, refund=with_refund)


def _hand_over(case: Case, refund: Refund, changes: Document, handed: Document) -> Decision:
    """What the dispute has reserved or debited is from now on the refund's. What the refund has
    reserved itself is free again."""
    record = case.record
    attempt = max(1, refunds.attempt_of(refund))
    handed = handed | {"attempt": attempt, "handed_by": record["_id"]}
    if refund is case.newcomer:
        first = refunds.first_paired(refund, record["_id"], handed)
        return Decision(changes=changes, refund=first)
    command = None
    if refund["effect"] == "debit":
        reserve_id = refunds.reserve_id_of(refund)
        command = ledger.Unreserve(user_id=record["user_id"], reserve_id=reserve_id)
    write = refunds.pair(refund, record["_id"], handed, by_hand=case.by_hand)
    return Decision(command=command, changes=changes, refund=write)


def _taken_by(record: Dispute) -> Document:
    """What the dispute has debited, in the fields of a refund."""
    return {
        "effect": "debit",
        "reserve_id": record["reserve_id"],
        "taken_paise": Long(taken_paise_of(record)),
        "transaction_id": record["transaction_id"],
        "due_paise": Long(record["due_paise"]),
    }


def _hand_over_to_pair(case: Case) -> Decision:
    """Release 0.2.1 left the money with the dispute that a refund paid back: it becomes the refund's.
    If that has failed, the dispute keeps it, and a person decides."""
    record = case.record
    pair = [each for each in case.refunds if each["_id"] == record["refund_id"]]
    if not pair or pair[0]["status"] == "failed":
        alone: Document = {"refund_id": None}
        return Decision(changes=alone | _unclear("refund_failed", pair, [record["_id"]]))
    free: Document = {"state": "refunded", "taken_paise": Long(0), "due_paise": Long(0)}
    return _hand_over(case, pair[0], free, _taken_by(record))


def _doubt_about_loss(case: Case) -> Document:
    """What a person has to decide about a loss: whether it was this one, of several, that a refund
    paid back. The money is right until one of them changes."""
    record = case.record
    possible = case.candidates(case.loss_paise)
    others = [
        each["_id"]
        for each in case.others
        if each["status"] == "lost"
        and (each["deducted_paise"] or each["amount_paise"]) == case.loss_paise
        and any(each["_id"] not in refund.get("not_for", []) for refund in possible)
    ]
    if possible and len(possible) <= len(others):
        return _unclear("several_disputes", possible, [record["_id"], *others])
    if case.loss_paise != case.reported.amount_paise:
        whole = case.candidates(case.reported.amount_paise)
        if unpaired := [each for each in whole if each["dispute_id"] is None]:
            return _unclear("other_amount", unpaired, [record["_id"]])
    return {}


def _doubt_about_phase(case: Case, refund: Refund) -> Document:
    """What a person has to decide about a refund that existed before we saw the phase which was lost,
    or the present phase of another dispute over the same amount: it may have paid the loss of the phase
    before it, which we did not see."""
    if case.by_hand:
        return {}
    told_at = refund.get("told_at", refund["created_at"])
    about = [
        each["_id"]
        for each in case.others
        if each["amount_paise"] == case.reported.amount_paise and _is_after(each, told_at)
    ]
    since = case.facts.get("phase_since") or case.record.get("phase_since")
    if not about and (since is None or told_at > since):
        return {}
    return _unclear("earlier_phase", [refund], [case.record["_id"], *about])


def _is_after(record: Dispute, told_at: dt.datetime) -> bool:
    """Whether we saw the dispute's phase after this moment."""
    since = record.get("phase_since")
    return since is not None and told_at <= since


def _doubt_about_pair(case: Case) -> Document:
    record = case.record
    failed = [
        each
        for each in case.refunds
        if each["_id"] == record["refund_id"] and each["status"] == "failed"
    ]
    known = record.get("unclear")
    if not failed or (known is not None and known["reason"] == "refund_failed"):
        return {}
    return _unclear("refund_failed", failed, [record["_id"]])


def _unclear(reason: UnclearReason, about: list[Refund], dispute_ids: list[str]) -> Document:
    unclear: Unclear = {
        "reason": reason,
        "refund_ids": [each["_id"] for each in about],
        "dispute_ids": sorted(dispute_ids),
        "at": clock.now(),
    }
    return {"unclear": unclear}


def _facts(reported: entities.Dispute) -> Document:
    """The fields of a dispute that are as Razorpay has them."""
    return {
        "status": reported.status,
        "phase": reported.phase,
        "deducted_paise": Long(reported.deducted_paise),
        "reason_code": reported.reason_code,
        "respond_by": reported.respond_by,
    }


def _phase_rank(phase: str) -> int:
    """The order of the phases; one that is not known comes first."""
    return _PHASES.index(phase) if phase in _PHASES else -1


def attempt_of(record: Dispute) -> int:
    """How often its money was reserved."""
    return record.get("attempt", 1)


def collect_key_of(record: Dispute) -> str:
    """The key of the entry that takes the money of its latest attempt."""
    return f"dispute:{record['reserve_id']}"


def taken_paise_of(record: Dispute) -> int:
    """What it debited and did not give back, whatever of it was or is due. A process of release 0.2.1
    leaves the figure when it gives the money back."""
    if record["state"] != "debited":
        return 0
    return int(record.get("taken_paise", 0)) or int(record["amount_paise"])


# --- what Razorpay reports ----------------------------------------------------------------------


async def apply_update(reported: entities.Dispute) -> str:
    """Apply a dispute as Razorpay has it, and describe the effect: once, whoever reports it, and in
    whatever order the reports come."""
    payment = await payments.find_payment(reported.payment_id)
    if payment is None:
        return "ignored: of a payment that is not ours"
    return f"dispute {(await _settle(reported, payment))['state']}"


async def settle_paid_back_by(refund: entities.Refund) -> list[str]:
    """Pair a refund with the lost dispute that it pays back, if there is one, so that the money is
    taken once; the disputes that are not lost, which it therefore does not pay back.

    Called before the refund is applied, and after it: what the one misses because a process is
    between two steps, the other finds. Raises GatewayUnavailable.
    """
    known_disputes = await find_disputes_of_payments([refund.payment_id])
    payment = await payments.find_payment(refund.payment_id) if known_disputes else None
    if payment is None or refund.receipt or refund.status == "failed":
        return await _doubt_failed(refund, payment)
    if not payment.get("transaction_id"):
        return []
    known = await refunds.find_refund_by_gateway_id(refund.id)
    newcomer = refunds.made_at_gateway(refund, payment) if known is None else None
    record = known or newcomer
    if record is None or record["requested_by"] is not None or record["dispute_id"] is not None:
        return []
    not_lost = []
    for dispute in known_disputes:
        if dispute["_id"] in record.get("not_for", []) or dispute["refund_id"] is not None:
            continue
        if not refunds.could_pay_back(record, dispute["_id"], dispute["created_at"]):
            continue
        reported = await gateway.fetch_dispute(dispute["_id"])
        if reported.status != "lost":
            not_lost.append(dispute["_id"])
            continue
        await _settle(reported, payment, newcomer)
    return not_lost


async def _doubt_failed(refund: entities.Refund, payment: Payment | None) -> list[str]:
    """A refund that paid a dispute back and failed: what that means a person decides."""
    if payment is not None and refund.status == "failed":
        paid = {"payment_id": payment["_id"], "refund_id": refund.id}
        for dispute in cast(list[Dispute], await db.disputes.find(paid).to_list(None)):
            await _settle(await gateway.fetch_dispute(dispute["_id"]), payment)
    return []


async def _settle(
    reported: entities.Dispute, payment: Payment, newcomer: Refund | None = None
) -> Dispute:
    """Decide and carry out, until the record agrees with what Razorpay reports; the record then.

    Every decision is carried out on the records that it was made for, or not at all: when another
    report was first, they are read and decided again.
    """
    last: RecordChanged | None = None
    for _ in range(_DECISIONS_MAX):
        case = await _read_case(reported, payment, newcomer)
        decision = decide(case)
        if decision.ask_again:
            reported = await gateway.fetch_dispute(reported.id)
            case = Case(**{**_fields_of(case), "reported": reported, "is_fresh": True})
            decision = decide(case)
        if decision.is_rest:
            return case.record
        try:
            await _carry_out(case.record, decision)
        except RecordChanged as changed:
            last = changed
            await _pause()
    raise last or RecordChanged("The dispute does not come to rest. Try again.")


async def _read_case(reported: entities.Dispute, payment: Payment, newcomer: Refund | None) -> Case:
    """What a decision about the dispute depends on, as it is stored. A dispute that is not known yet
    is recorded first: then nothing has happened to its money."""
    beside = await find_disputes_of_payments([payment["_id"]])
    about = await refunds.find_refunds_of_payments([payment["_id"]])
    mine = [each for each in beside if each["_id"] == reported.id]
    if not mine:
        mine = [await _record(_new_dispute(reported, payment))]
    if newcomer is not None and any(each["_id"] == newcomer["_id"] for each in about):
        newcomer = None
    return Case(
        record=mine[0],
        reported=reported,
        is_credited=bool(payment.get("transaction_id")),
        refunds=about if newcomer is None else [*about, newcomer],
        others=[each for each in beside if each["_id"] != reported.id],
        newcomer=newcomer,
    )


async def _record(new: Dispute) -> Dispute:
    """The record of this dispute as it is stored, by whomever first."""
    with contextlib.suppress(database.DuplicateKey):
        await db.disputes.update_one({"_id": new["_id"]}, {"$setOnInsert": new}, upsert=True)
    found = await _find(new["_id"])
    assert found is not None
    return found


def _fields_of(case: Case) -> Document:
    return {name: getattr(case, name) for name in Case.__dataclass_fields__}


def _new_dispute(reported: entities.Dispute, payment: Payment) -> Dispute:
    """The first record of a dispute: nothing has happened to its money."""
    new: Dispute = {
        "_id": reported.id,
        "payment_id": reported.payment_id,
        "order_id": payment["order_id"],
        "user_id": payment["user_id"],
        "amount_paise": Long(reported.amount_paise),
        "reserve_id": f"{reported.id}:{reported.phase}",
        "state": "ignored",
        "refund_id": None,
        "transaction_id": None,
        "due_paise": Long(0),
        "taken_paise": Long(0),
        "created_at": reported.created_at or clock.now(),
        "status": "open",
        "phase": reported.phase,
        "deducted_paise": Long(reported.deducted_paise),
        "reason_code": reported.reason_code,
        "respond_by": reported.respond_by,
        "updated_at": clock.now(),
        "revision": 0,
        "attempt": 0,
    }
    if _phase_rank(reported.phase) > _phase_rank("chargeback"):
        new["phase_since"] = clock.now()
    return new


async def _carry_out(record: Dispute, decision: Decision) -> None:
    """Post the command with the changes of the records in one commit, or change the records alone.

    Raises RecordChanged when a record is not the one any more that the decision was made for.
    """
    if decision.rules_out:
        await refunds.rule_out(decision.rules_out, [record["_id"]])
        return
    command = decision.command
    if isinstance(command, ledger.Reserve):
        await _freeze(record)

    def writes(outcome: Outcome | None) -> list[Write]:
        changes = {**decision.changes, **_facts_of(command, outcome), "updated_at": clock.now()}
        where: Document = {"_id": record["_id"], "state": record["state"]}
        where["revision"] = record.get("revision")
        own = Update("disputes", where, {"$set": changes, "$inc": {"revision": 1}})
        events = [_event(record, decision.event)] if decision.event is not None else []
        return [own, *([decision.refund] if decision.refund is not None else []), *events]

    try:
        fail_points.reach("dispute.decided")
        if command is None:
            await wallet.write_companions(writes(None))
            fail_points.reach("dispute.noted")
            return
        outcome = await wallet.post(command, writes)
        fail_points.reach(_STEPS[type(command).__name__])
        if outcome.replayed:  # by another report, which changed the record; else it is changed now
            await wallet.write_companions(writes(outcome))
    except HoldNotFound:
        # Another report was first, or the reserve is gone: then it is reserved again.
        await _reserve_what_is_gone(record)
        return
    except database.AnyError as problem:
        if not database.is_duplicate(problem):
            raise
        raise RecordChanged("Another report of it was first. Try again.") from None
    _log(record, command, outcome)


def _facts_of(command: ledger.Command | None, outcome: Outcome | None) -> Document:
    """What only the wallet knows: the entry, and what is due."""
    if not isinstance(command, ledger.Collect) or outcome is None:
        return {}
    return {
        "taken_paise": Long(command.amount_paise),
        "transaction_id": outcome.entry.id if outcome.entry else None,
        "due_paise": Long(command.amount_paise - outcome.charged_paise),
    }


async def _reserve_what_is_gone(record: Dispute) -> None:
    attempt = attempt_of(record) + 1
    reserve_id = f"{record['_id']}:{record['phase']}:{attempt}"
    again = ledger.Reserve(
        user_id=record["user_id"],
        reserve_id=reserve_id,
        amount_paise=int(record["amount_paise"]),
        amount_paise_min=0,
    )
    changes: Document = {"attempt": attempt, "reserve_id": reserve_id}
    await _carry_out(record, Decision(command=again, changes=changes))


def _log(record: Dispute, command: ledger.Command, outcome: Outcome) -> None:
    match command:
        case ledger.Reserve():
            log.error(
                "dispute %s of %s: %d paise, %d of them reserved",
                record["_id"],
                record["payment_id"],
                record["amount_paise"],
                outcome.held_paise,
            )
        case ledger.Collect() if outcome.due_paise:
            due_paise = outcome.due_paise
            log.error("dispute %s: %d paise were spent, they are due", record["_id"], due_paise)


async def _freeze(record: Dispute) -> None:
    """Freeze the wallet by policy, before the dispute is written: after a crash in between it is repeated."""
    if config.settings().dispute_freezes_wallet:
        reason = f"Dispute {record['_id']}"
        if await users.find_user(record["user_id"]) is not None:  # a deleted user cannot spend it
            await wallet.set_frozen(record["user_id"], frozen=True, reason=reason, by="policy")


async def _pause() -> None:
    await asyncio.sleep(random.uniform(0, 0.02))  # noqa: S311 - a pause, not a secret


def _event(record: Dispute, name: str) -> Insert:
    return outbox.record_event(
        name,
        user_id=record["user_id"],
        dispute_id=record["_id"],
        payment_id=record["payment_id"],
        amount_paise=int(record["amount_paise"]),
    )


# --- decided by a person ------------------------------------------------------------------------


async def mark_unknown(record: Dispute) -> bool:
    """Note that Razorpay does not know this dispute any more; whether a person has to decide that."""
    if record.get("decided"):
        return False
    if record.get("unclear") is None:
        note = {"$set": _unclear("unknown_at_razorpay", [], [record["_id"]])}
        await db.disputes.update_one({"_id": record["_id"], "unclear": None}, note)
    return True


async def list_unclear_pairs(limit: int) -> list[Dispute]:
    """The disputes of which a person has to decide what `unclear` says, the oldest first."""
    found = db.disputes.find({"unclear.at": {"$type": "date"}}, sort=[("unclear.at", 1)])
    return cast(list[Dispute], await found.to_list(limit))


async def resolve(
    dispute_id: str, *, action: Action, refund_id: str | None = None, by: str, reason: str
) -> Dispute:
    """Carry out a person's decision about a dispute. Harmless when repeated.

    `pair` names the refund that paid the loss back, `unpair` says that none did, or not this one:
    what follows is applied to all disputes of the payment, as Razorpay has them. `release` and `take`
    decide about the money itself, until Razorpay reports another phase or status. Raises NotFound
    and NotPairable.
    """
    decided: Decided = {"action": action, "by": by, "reason": reason, "at": clock.now()}
    last: RecordChanged | None = None
    for _ in range(_DECISIONS_MAX):
        record = await _find(dispute_id)
        if record is None:
            raise NotFound("There is no such dispute.")
        noted: Document = {"unclear": None, "decided": [*record.get("decided", []), decided]}
        try:
            if await _resolve_step(record, action, refund_id, noted):
                break
        except RecordChanged as changed:
            last = changed
            await _pause()
    else:
        raise last or RecordChanged("The dispute does not come to rest. Try again.")
    log.warning("dispute %s: %s by %s: %s", dispute_id, action, by, reason)
    if action in ("pair", "unpair"):
        await _settle_all(record["payment_id"])
    found = await _find(dispute_id)
    assert found is not None
    return found


async def _resolve_step(
    record: Dispute, action: Action, refund_id: str | None, noted: Document
) -> bool:
    """Carry out one step of a person's decision; whether it was the last."""
    if action in ("release", "take"):
        return await _move_by_hand(record, action, noted)
    if action == "pair":
        return await _pair_step(record, await _pairable(record, refund_id), noted)
    about = await refunds.find_refunds_of_payments([record["payment_id"]])
    paired = [
        each
        for each in about
        if each["dispute_id"] == record["_id"] and refund_id in (None, each["_id"])
    ]
    if action == "unpair" and paired:
        await _unpair(record, paired[0], noted)
        return len(paired) == 1
    if action == "unpair":  # the refunds of its payment are for something else
        await refunds.rule_out([each["_id"] for each in about], [record["_id"]])
    await _carry_out(record, Decision(changes=noted))
    return True


async def _pair_step(record: Dispute, wanted: Refund, noted: Document) -> bool:
    if record["state"] == "refunded" and record["refund_id"] == wanted["_id"]:
        await _carry_out(record, Decision(changes=noted))
        return True
    if wanted["dispute_id"] not in (None, record["_id"]):
        other = await _find(str(wanted["dispute_id"]))
        assert other is not None  # disputes are never removed
        await _unpair(other, wanted, {})
        return False
    if record["state"] == "refunded" and record["refund_id"] is not None:
        before = await refunds.find_refund(record["refund_id"])
        assert before is not None  # nor are refunds
        await _unpair(record, before, {})
        return False
    decision = _pair_by_hand(record, wanted, noted)
    await _carry_out(record, decision)
    return decision.refund is not None


async def _pairable(record: Dispute, refund_id: str | None) -> Refund:
    found = await refunds.find_refund(refund_id or "")
    if found is None or found["payment_id"] != record["payment_id"]:
        raise NotFound("There is no such refund of this payment.")
    if found["requested_by"] is not None or found["status"] == "failed":
        raise NotPairable(
            "Only a refund that was made at Razorpay, and has not failed, pays it back."
        )
    if record["status"] != "lost" or record["state"] == "ignored":
        raise NotPairable("The dispute is not lost: there is nothing to pay back.")
    return found


def _pair_by_hand(record: Dispute, refund: Refund, noted: Document) -> Decision:
    case = Case(
        record=record,
        reported=_as_reported(record),
        is_credited=True,
        refunds=[refund],
        others=[],
        is_fresh=True,
        by_hand=True,
    )
    decision = _pair(case, refund)
    return Decision(
        command=decision.command,
        changes=decision.changes | noted,
        event=decision.event,
        refund=decision.refund,
    )


async def _unpair(record: Dispute, refund: Refund, noted: Document) -> None:
    """The refund is not the one that paid this dispute back; each debits its own."""
    not_for = [*refund.get("not_for", []), record["_id"]]
    changes: Document = {**noted, "updated_at": clock.now()}
    if record["refund_id"] in (None, refund["_id"]):  # else it paid an earlier phase back
        changes["refund_id"] = None
        if record["state"] == "refunded":
            changes["state"] = "released"
    unpaired: Document = {"not_for": not_for}
    if refund["effect"] == "dispute":  # of release 0.2.1: it debited nothing, and does now
        unpaired |= {"effect": "none", "attempt": 0}
    write = refunds.pair(refund, None, unpaired)
    await _carry_out(record, Decision(changes=changes, refund=write))


async def _move_by_hand(record: Dispute, action: Action, noted: Document) -> bool:
    """Release or take the money of a dispute; whether that was the last step."""
    case = Case(
        record=record,
        reported=_as_reported(record),
        is_credited=True,
        refunds=[],
        others=[],
        is_fresh=True,
    )
    ended = noted | {"decided_for": [record["phase"], record["status"]]}
    if action == "take" and record["state"] == "reserved":
        taken = _take(case, case.loss_paise)
        decision = Decision(command=taken.command, changes=taken.changes | ended, event=taken.event)
    elif action == "take" and record["state"] in ("released", "refunded"):
        reserved = _reserve(case)
        await _carry_out(
            record,
            Decision(
                command=reserved.command,
                changes=reserved.changes | {"status": record["status"]},
                event=reserved.event,
            ),
        )
        return False
    elif action == "release" and record["state"] == "reserved":
        command = ledger.Unreserve(user_id=record["user_id"], reserve_id=record["reserve_id"])
        decision = Decision(command=command, changes=ended | {"state": "released"})
    elif action == "release" and record["state"] == "debited":
        back = _give_back(case, "by_hand")
        decision = Decision(command=back.command, changes=back.changes | ended)
    else:
        decision = Decision(changes=ended)
    await _carry_out(record, decision)
    return True


def _as_reported(record: Dispute) -> entities.Dispute:
    """What the record says that Razorpay says."""
    return entities.Dispute(
        id=record["_id"],
        payment_id=record["payment_id"],
        amount_paise=int(record["amount_paise"]),
        deducted_paise=int(record["deducted_paise"]),
        status=record["status"],
        phase=record["phase"],
        reason_code=record["reason_code"],
        respond_by=record["respond_by"],
        created_at=record["created_at"],
    )


async def _settle_all(payment_id: str) -> None:
    """Apply every dispute of a payment as Razorpay has it now. One without an answer is left to the
    next reconciliation."""
    for record in await find_disputes_of_payments([payment_id]):
        try:
            await apply_update(await gateway.fetch_dispute(record["_id"]))
        except (GatewayUnavailable, GatewayRefused) as problem:
            log.warning("dispute %s not settled yet: %s", record["_id"], problem.detail)


# --- reading ------------------------------------------------------------------------------------


async def find_dispute_state(dispute_id: str) -> DisputeState | None:
    """The state of a dispute's money; None when we do not know the dispute."""
    found = await _find(dispute_id)
    return found["state"] if found else None


async def find_disputes_of_payments(payment_ids: list[str]) -> list[Dispute]:
    """The disputes about these payments, the oldest first."""
    found = db.disputes.find({"payment_id": {"$in": payment_ids}}, sort=[("_id", 1)])
    records = cast(list[Dispute], await found.to_list(None))
    return sorted(records, key=lambda each: (each["created_at"], each["_id"]))


async def get_dispute(dispute_id: str, user_id: str | None = None) -> Dispute:
    """The dispute, when it is of this user's payment (None: any user's). Raises NotFound."""
    found = await _find(dispute_id)
    if found is None or user_id not in (None, found["user_id"]):
        raise NotFound("There is no such dispute.")
    return found


async def list_disputes(
    state: DisputeState | None, *, user_id: str | None = None, limit: int, cursor: str | None
) -> tuple[list[Dispute], str | None]:
    """Disputes, the newest first, those in one state or of one user's payments if it is given; and
    the next cursor."""
    where: Document = {} if state is None else {"state": state}
    if user_id is not None:
        where["user_id"] = user_id
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


def as_it_was_read(record: Dispute) -> Update:
    """A companion write that finds the record only as long as its money is where it was read: what
    reserves or releases for it outside of this file rests on that."""
    fields = ("state", "amount_paise", "transaction_id", "revision")
    where = {name: record.get(name) for name in fields} | {"_id": record["_id"]}
    return Update("disputes", where, {"$set": {"reservation_repaired_at": clock.now()}})


async def _find(dispute_id: str) -> Dispute | None:
    return cast(Dispute | None, await db.disputes.find_one({"_id": dispute_id}))
