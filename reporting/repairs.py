"""Repairs: an admin's way out of what the audit finds, with a reason, and only where it is right."""

import dataclasses
from collections.abc import Awaitable, Callable
from typing import Final, Literal, cast, get_args

import disputes
import gateway
import ledger
import payments
import refunds
import users
import wallet
from core import database, money
from core.database import Update, db
from core.errors import NotFound, Problem
from gateway import NoSuchEntity
from ledger import Wallet
from reporting import audit, audit_runs
from reporting.audit import EVERYBODY, HOLDING, Facts, Violation
from wallet import Adjustment, AdjustmentAction, RecordChanged, WalletRecord

# --- vocabulary ---------------------------------------------------------------------------------

Action = Literal["release", "reserve", "write_off", "recount", "post", "acknowledge"]
ACTIONS: Final[tuple[Action, ...]] = get_args(Action)

# What a wallet of more entries has is read from the last audit of everybody.
_ENTRIES_AUDITED_MAX: Final = 20_000
_ATTEMPTS: Final = 5


class StillOpen(Problem):
    """What this is reserved for, or owed for, is open: it ends by itself, or by a decision about it."""

    code, status, title = "still_open", 409, "Still open"


class NothingToRepair(Problem):
    """There is nothing of this kind to repair: the audit does not find it (any more)."""

    code, status, title = "nothing_to_repair", 409, "Nothing to repair"


class SecondAdminNeeded(Problem):
    """So much is not written off by one admin; an adjustment that a second one confirms pays it."""

    code, status, title = "second_admin_needed", 403, "A second admin is needed"


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """A repair that an admin asks for: `subject` is the id that the finding is about; for
    `acknowledge` the id of the finding."""

    action: Action
    user_id: str
    subject: str
    reason: str
    by: str
    seed: str


def ways_out(finding: Violation) -> list[Action]:
    """What an admin can do about a finding, the right thing first. (What is wrong with the amount of
    a balance is corrected by an adjustment as well.)"""
    by_invariant: dict[str, list[Action]] = {
        "running_calls_and_holds_agree": ["release", "reserve"],
        "reserves_have_their_reason": ["release", "reserve"],
        "dues_have_their_debtor": ["write_off"],
        "what_went_back_is_taken_once": ["write_off"],
        "captured_payments_are_credited_once": ["post"],
        "payments_agree_with_the_ledger": ["post"],
    }
    ways = by_invariant.get(finding.invariant, [])
    if finding.subject in ("sum of held", "sum of dues", "range of held"):
        ways = ["recount"]
    return [*ways, "acknowledge"]


# --- verbs --------------------------------------------------------------------------------------


async def repair(request: Request) -> Adjustment:
    """Repair what the audit finds; the record that says who did it and why. Once for each `seed`.

    `release`: the hold or reserve `subject` that belongs to nothing open. `reserve`: what is open and
    has lost its hold or reserve, as much as is available. `write_off`: the due `subject`.
    `recount`: what is held and due in all becomes the sums again. `post`: the credit of the captured
    payment `subject`. `acknowledge`: the finding `subject` stays as it is, and is no violation any more.

    Raises NotFound, StillOpen, NothingToRepair, SecondAdminNeeded, OwnWallet, and for `post` what
    `payments.credit` and the gateway raise.
    """
    earlier = await db.adjustments.find_one({"_id": request.seed})
    if earlier is not None:
        return await wallet.get_adjustment(request.seed)
    if request.user_id != EVERYBODY:
        await users.get_user(request.user_id)
    if request.action == "acknowledge":
        return await _acknowledge(request)
    if request.action == "post":
        return await _post_credit(request)
    for _ in range(_ATTEMPTS):
        facts = await _facts(request.user_id, request.subject)
        try:
            if (record := await _DECIDE[request.action](request, facts)) is not None:
                return record
        except RecordChanged:
            continue  # its record has changed since it was read: decide again
        raise NothingToRepair(f"There is nothing to do about {request.subject} any more.")
    raise RecordChanged("What this is about changes all the time; try again.")


async def _facts(user_id: str, subject: str) -> Facts:
    async with database.snapshot() as session:
        record = await db.wallets.find_one({"user_id": user_id}, session=session)
        if record is None:
            raise NotFound("This user has no wallet.")
        state = wallet.wallet_from(cast(WalletRecord, record))
        found = await audit.load_facts([state], {user_id: {subject}}, session)
    return found[0]


async def _release(request: Request, facts: Facts) -> Adjustment | None:
    state, subject = facts.wallet, request.subject
    if subject in state.holds:
        call = facts.calls.get(subject)
        if call is not None and call["billing_status"] in HOLDING:
            raise StillOpen(f"{subject} is not over; hang it up, or decide its review.")
        # A call that is over stays over, so nothing of it has to hold at the commit.
        command: ledger.Command = ledger.Release(user_id=state.user_id, call_id=subject)
        return await _posted(request, command)
    if subject not in state.reserves:
        raise NothingToRepair(f"Nothing is reserved for {subject}.")
    owner_id = audit.open_reserves(facts).get(subject)
    if owner_id is not None and not facts.is_collected(owner_id):
        raise StillOpen(f"{owner_id} is open; the money is reserved until Razorpay decides.")
    command = ledger.Unreserve(user_id=state.user_id, reserve_id=subject)
    return await _posted(request, command, *_conditions(facts, subject))


async def _reserve(request: Request, facts: Facts) -> Adjustment | None:
    state, subject = facts.wallet, request.subject
    call = facts.calls.get(subject)
    if call is not None and call["billing_status"] in HOLDING and subject not in state.holds:
        # Its end settles it: what a paisa does not cover of its price, the balance or a due does.
        command: ledger.Command = ledger.Hold(
            user_id=state.user_id,
            call_id=subject,
            amount_paise=max(1, int(call["held_paise"])),
            amount_paise_min=1,
        )
        return await _posted(request, command)
    owner_id = audit.open_reserves(facts).get(subject)
    if owner_id is None or subject in state.reserves or facts.is_collected(owner_id):
        raise NothingToRepair(f"{subject} is not open, or has its money reserved.")
    record = facts.refunds.get(owner_id) or facts.disputes[owner_id]
    command = ledger.Reserve(
        user_id=state.user_id,
        reserve_id=subject,
        amount_paise=int(record["amount_paise"]),
        amount_paise_min=0,
    )
    return await _posted(request, command, *_conditions(facts, subject))


async def _write_off(request: Request, facts: Facts) -> Adjustment | None:
    state, subject = facts.wallet, request.subject
    keys = [key for key in state.dues if key == subject or facts.owner_of(key) == subject]
    if not keys:
        raise NothingToRepair(f"Nothing is due for {subject}.")
    amount_paise = state.dues[keys[0]]
    if wallet.needs_second_admin(amount_paise):
        raise SecondAdminNeeded(
            f"Rs {money.text(amount_paise)} are due. Credit them by an adjustment, which a second "
            "admin confirms: it pays the due."
        )
    command = ledger.WriteOff(user_id=state.user_id, owed_for=keys[0], amount_paise=amount_paise)
    return await _posted(dataclasses.replace(request, subject=keys[0]), command)


async def _recount(request: Request, facts: Facts) -> Adjustment | None:
    state: Wallet = facts.wallet
    return await _posted(request, ledger.Recount(user_id=state.user_id))


_DECIDE: Final[dict[Action, Callable[[Request, Facts], Awaitable[Adjustment | None]]]] = {
    "release": _release,
    "reserve": _reserve,
    "write_off": _write_off,
    "recount": _recount,
}


async def _posted(
    request: Request, command: ledger.Command, *conditions: Update
) -> Adjustment | None:
    action: AdjustmentAction = request.action
    return await wallet.repair(
        command,
        action=action,
        subject_id=request.subject,
        reason=request.reason,
        by=request.by,
        seed=request.seed,
        conditions=conditions,
    )


def _conditions(facts: Facts, reserve_id: str) -> list[Update]:
    """What the decision rests on has to be so at the commit: the record of the refund or dispute."""
    owner_id = facts.owner_of(reserve_id) or ""
    if owner_id in facts.refunds:
        return [refunds.as_it_was_read(facts.refunds[owner_id])]
    if owner_id in facts.disputes:
        return [disputes.as_it_was_read(facts.disputes[owner_id])]
    return []


# --- what moves no reserved money ---------------------------------------------------------------


async def _post_credit(request: Request) -> Adjustment:
    payment = await payments.find_payment(request.subject)
    if payment is None or payment["user_id"] != request.user_id:
        raise NotFound("This user has no such payment.")
    order = await payments.get_order(payment["order_id"], request.user_id)
    try:
        reported = await gateway.fetch_payment(payment["_id"])
    except NoSuchEntity:
        raise NotFound("Razorpay does not know this payment.") from None
    receipt = await payments.credit(order, reported)
    if receipt is None:
        raise NothingToRepair(f"The payment is {reported.status}: nothing was captured.")
    return await wallet.record_act(
        request.user_id,
        action="post",
        subject_id=request.subject,
        reason=request.reason,
        by=request.by,
        seed=request.seed,
        transaction_id=receipt.transaction_id,
    )


async def _acknowledge(request: Request) -> Adjustment:
    if not any(each.finding_id == request.subject for each in await _findings(request.user_id)):
        raise NothingToRepair("The audit does not find this (any more).")
    return await wallet.record_act(
        request.user_id,
        action="acknowledge",
        subject_id=request.subject,
        reason=request.reason,
        by=request.by,
        seed=request.seed,
    )


async def _findings(user_id: str) -> list[Violation]:
    """What the audit finds about this user, or about all together."""
    run = await audit_runs.find_finished()
    found = [] if run is None else audit_runs.report_of(run).violations
    if user_id == EVERYBODY:
        if await audit_runs.can_wait():
            found = (await audit.audit()).violations
        return [each for each in found if each.user_id is None]
    record = await db.wallets.find_one({"user_id": user_id}, {"seq": 1})
    if record is not None and record["seq"] <= _ENTRIES_AUDITED_MAX:
        return (await audit.audit(user_id)).violations
    return [each for each in found if each.user_id == user_id]
