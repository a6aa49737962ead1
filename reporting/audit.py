"""Audit: every invariant of the money, checked against what is stored."""

import asyncio
import dataclasses
import datetime as dt
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, cast

import ledger
import transactions
import wallet
from calls.records import Call
from core import clock, database
from core.database import Document, Session, db
from disputes import Dispute
from disputes import collect_key_of as key_of_dispute
from disputes import taken_paise_of as taken_by_dispute
from ledger import Entry, Wallet
from payments import Payment
from refunds import OPEN_STATUSES, Refund, reserve_id_of
from refunds import collect_key_of as key_of_refund
from refunds import taken_paise_of as taken_by_refund
from wallet import Adjustment, WalletRecord

log = logging.getLogger(__name__)

# --- vocabulary ---------------------------------------------------------------------------------

VIOLATIONS_MAX: Final = 1_000
# The billing states of a call that still has its hold (docs/money.md).
HOLDING: Final = ("held", "pending_duration", "review")

_WALLETS_AT_ONCE: Final = 100
_READ_BATCH: Final = 1_000
# Between two slices the event loop serves others: some milliseconds of work.
_SLICE: Final = 50
# A captured payment that nobody has credited, and that waits for no review, for so long.
_CREDITED_WITHIN_SECONDS: Final = 3_600.0
_SEQ_END: Final = 2**62
_MOVED: Final = ("refund", "refund_reversal", "due_recovery")


@dataclasses.dataclass(frozen=True, slots=True)
class Violation:
    """One violated invariant: which one, of which user, at which entry, and what was found.

    `subject` is what it is about: the id of a call, an entry, a record, or the name of a check.
    """

    invariant: str
    user_id: str | None
    seq: int | None
    detail: str
    subject: str = ""

    @property
    def finding_id(self) -> str:
        """The same for the same finding in every audit, whatever the amounts are by then."""
        return database.stable_id("fnd", self.invariant, self.user_id or "", self.subject)


@dataclasses.dataclass(slots=True)
class Report:
    """The result of an audit: how much was checked, and the violations, without those that an admin
    has acknowledged. `after` is the last user whose wallet was checked."""

    wallets: int = 0
    entries: int = 0
    violations: list[Violation] = dataclasses.field(default_factory=list)
    acknowledged: list[Violation] = dataclasses.field(default_factory=list)
    accounts: dict[str, int] = dataclasses.field(default_factory=dict)
    balance_paise: int = 0
    after: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.violations

    def add(self, found: Iterable[Violation]) -> None:
        """Add violations, up to `VIOLATIONS_MAX`."""
        room = VIOLATIONS_MAX - len(self.violations)
        self.violations += list(found)[:room]


# The user of what concerns all wallets together.
EVERYBODY: Final = "everybody"

Progress = Callable[[Report], Awaitable[None]]


# --- the audit ----------------------------------------------------------------------------------


async def audit(
    user_id: str | None = None, *, report: Report | None = None, progress: Progress | None = None
) -> Report:
    """Check every invariant of one wallet, or of all and the trial balance.

    It may run beside live traffic: each wallet is compared with the entries up to its own `seq`,
    and what the records of a user say is checked again in one snapshot before it is reported.
    Everything is read in batches of bounded size, and others run in between, so memory stays
    constant, no query takes long, and the work is proportional to the number of entries.

    `progress` is awaited after each batch of wallets. With the `report` of an interrupted audit of
    everybody it goes on where that one stopped.
    """
    report = report or Report()
    if user_id is not None:
        states = await _wallets({"user_id": user_id})
        await _Batch(states, report).run(after=None, last=user_id)
    else:
        while states := await _wallets({"user_id": {"$gt": report.after}}):
            last = states[-1].user_id
            await _Batch(states, report).run(after=report.after, last=last)
            report.after = last
            log.info("audit: %d wallets, %d entries", report.wallets, report.entries)
            if progress is not None:
                await progress(report)
        await _Batch([], report).run(after=report.after, last=None)
        await report_found(books_balance(report.balance_paise, report.accounts), report)
    for violation in report.violations:
        log.error("violation: %s", violation)
    return report


async def report_found(found: Sequence[Violation], report: Report) -> None:
    """Add what was found to the report: to `acknowledged` what an admin has acknowledged."""
    if not found:
        return
    wanted = {each.finding_id for each in found}
    users = {each.user_id or EVERYBODY for each in found}
    acts = db.adjustments.find(
        {"user_id": {"$in": list(users)}, "action": "acknowledge"}, {"subject_id": 1}
    )
    known = {act["subject_id"] async for act in acts} & wanted
    report.add(each for each in found if each.finding_id not in known)
    room = VIOLATIONS_MAX - len(report.acknowledged)
    report.acknowledged += [each for each in found if each.finding_id in known][:room]


class _Batch:
    """The audit of some wallets that follow each other in the order of their users."""

    def __init__(self, states: Sequence[Wallet], report: Report) -> None:
        self.states = {state.user_id: state for state in states}
        self.report = report
        self.found: dict[str, list[Violation]] = defaultdict(list)
        self.chains = {state.user_id: Chain(state.user_id) for state in states}
        self.charges: dict[str, int] = defaultdict(int)  # user -> charges that belong to a call
        self.open_calls: dict[str, set[str]] = defaultdict(set)
        self.waiting: dict[str, list[Entry]] = defaultdict(list)

    async def run(self, *, after: str | None, last: str | None) -> None:
        """Check them. The entries are those of the users behind `after` up to `last`, so that ones
        without a wallet are found; `after` None: those of `last` alone."""
        for state in self.states.values():
            self.report.wallets += 1
            self.report.balance_paise += state.balance_paise
            self._add(balance_covers_holds(state))
        await self._read_entries(after, last)
        for user_id, state in self.states.items():
            self._add(self.chains[user_id].ends_at(state))
        if self.states:
            await self._read_calls()
            await self._read_orders()
            await self._read_payments()
            await self._read_adjustments()
            await self._check_records()
        for found in self.found.values():
            await report_found(found, self.report)

    def _add(self, found: Iterable[Violation]) -> None:
        for each in found:
            self.found[each.user_id or EVERYBODY].append(each)

    # entries, and what caused them

    async def _read_entries(self, after: str | None, last: str | None) -> None:
        position = (last or "", 0) if after is None else (after, _SEQ_END)
        until = None if last is None else (last, _SEQ_END)
        if after is None and last in self.states:
            until = (str(last), self.states[str(last)].seq)
        while entries := await transactions.read_chains(position, until=until, limit=_READ_BATCH):
            position = (entries[-1].user_id, entries[-1].seq)
            for number, entry in enumerate(entries):
                if number % _SLICE == 0:
                    await asyncio.sleep(0)
                state = self.states.get(entry.user_id)
                if state is None:
                    position = (entry.user_id, _SEQ_END)  # the next user's
                    await self._check_orphan(entry)
                    break
                if entry.seq <= state.seq:
                    await self._take(entry)
        for check in _CAUSES:
            await self._check_causes(check)

    async def _check_orphan(self, entry: Entry) -> None:
        if await db.wallets.find_one({"user_id": entry.user_id}, {"_id": 1}) is None:
            detail = f"{entry.id} and what follows it belong to a wallet that does not exist"
            self._add([_of("entries_have_their_wallet", entry, detail)])
            signed_paise = entry.amount_paise if entry.type == "credit" else -entry.amount_paise
            self._count(entry.contra, signed_paise)

    async def _take(self, entry: Entry) -> None:
        self.report.entries += 1
        self._add(self.chains[entry.user_id].link(entry))
        signed_paise = entry.amount_paise if entry.type == "credit" else -entry.amount_paise
        self._count(entry.contra, signed_paise)
        if entry.category in _CAUSES:
            self.waiting[entry.category].append(entry)
            if len(self.waiting[entry.category]) >= _READ_BATCH:
                await self._check_causes(entry.category)

    def _count(self, account: str, paise: int) -> None:
        self.report.accounts[account] = self.report.accounts.get(account, 0) + paise

    async def _check_causes(self, category: str) -> None:
        entries = self.waiting.pop(category, [])
        if not entries:
            return
        found = await _CAUSES[category](entries)
        self._add(found)
        if category == "call_charge":
            wrong = {each.subject for each in found}
            for entry in entries:
                self.charges[entry.user_id] += entry.id not in wrong

    # causes, and the entries they must have

    async def _read_calls(self) -> None:
        """Every settled call has its one charge: as many as there are charges that belong to a call.
        Where the numbers differ, the calls are looked at one by one."""
        settled: dict[str, int] = defaultdict(int)
        found = db.calls.find(self._whose(), _CALL_FIELDS, batch_size=_READ_BATCH)
        async for calls in _batches(found):
            for call in calls:
                user_id = call["user_id"]
                if call["billing_status"] in HOLDING or call.get("due_paise"):
                    self.open_calls[user_id].add(call["_id"])
                if _charge_paise(call) > 0:
                    settled[user_id] += 1
        for user_id in self.states:
            if settled[user_id] != self.charges[user_id]:
                self._add([each async for each in ended_calls_are_charged_once(user_id)])

    async def _read_orders(self) -> None:
        paid = self._whose() | {"status": "paid"}
        async for orders in _batches(db.orders.find(paid, batch_size=_READ_BATCH)):
            self._add(await captured_payments_are_credited_once(orders))

    async def _read_payments(self) -> None:
        async for payments in _batches(db.payments.find(self._whose(), batch_size=_READ_BATCH)):
            self._add(await payments_agree_with_the_ledger(cast(list[Payment], payments)))

    async def _read_adjustments(self) -> None:
        posted = self._whose() | {"transaction_id": {"$type": "string"}}
        async for acts in _batches(db.adjustments.find(posted, batch_size=_READ_BATCH)):
            self._add(await adjustments_are_posted(cast(list[Adjustment], acts)))

    def _whose(self) -> Document:
        return {"user_id": {"$in": list(self.states)}}

    # records that are few for each user

    async def _check_records(self) -> None:
        for facts in await load_facts(self.states.values(), self.open_calls):
            if not records_agree(facts):
                continue
            # What changed between two of the queries is no violation: again, in one snapshot.
            user_id = facts.wallet.user_id
            self._add(await check_records(user_id, self.open_calls[user_id]))


async def check_records(user_id: str, call_ids: Iterable[str] = ()) -> list[Violation]:
    """What the records of a user say against the wallet and the entries, in one snapshot: calls that
    are open or owed for (`call_ids`, and those of the wallet), refunds, disputes, dues."""
    async with database.snapshot() as session:
        states = await _wallets({"user_id": user_id}, session)
        again = await load_facts(states, {user_id: set(call_ids)}, session)
    return [each for facts in again for each in records_agree(facts)]


# --- invariants of a wallet and its entries -----------------------------------------------------


def balance_covers_holds(state: Wallet) -> list[Violation]:
    """1. balance >= 0, 0 <= held <= balance, held = sum of holds and reserves; due = sum of dues."""
    reserved_paise = sum(state.holds.values()) + sum(state.reserves.values())
    checks = [
        ("balance", state.balance_paise >= 0, f"balance {state.balance_paise} is negative"),
        (
            "range of held",
            0 <= state.held_paise <= state.balance_paise,
            f"held {state.held_paise} is not within 0..{state.balance_paise}",
        ),
        (
            "sum of held",
            state.held_paise == reserved_paise,
            f"held {state.held_paise} is not the sum of its holds and reserves, {reserved_paise}",
        ),
        (
            "sum of dues",
            state.due_paise == sum(state.dues.values()),
            f"due {state.due_paise} is not the sum of its dues",
        ),
    ]
    return [
        Violation("balance_covers_holds", state.user_id, state.seq, detail, subject)
        for subject, holds, detail in checks
        if not holds
    ]


@dataclasses.dataclass(slots=True)
class Chain:
    """Invariants 2 and 3 over a wallet's entries, one after the other."""

    user_id: str
    seq: int = 0
    head_hash: str = ledger.GENESIS_HASH
    balance_paise: int = 0
    credited_paise: int = 0
    debited_paise: int = 0

    def link(self, entry: Entry) -> list[Violation]:
        """3. seq runs 1..n without a gap, each hash follows from the one before; 2. every
        `balance_after` and every running total is what the entry before it and its amount add up
        to. A break is reported once: what follows is compared with the entry as it is stored."""
        is_credit = entry.type == "credit"
        credited_paise = self.credited_paise + (entry.amount_paise if is_credit else 0)
        debited_paise = self.debited_paise + (0 if is_credit else entry.amount_paise)
        balance_paise = self.balance_paise + (1 if is_credit else -1) * entry.amount_paise
        checks = (
            ("seq", entry.seq == self.seq + 1, f"follows {self.seq}"),
            ("link", entry.prev_hash == self.head_hash, "does not name the hash before it"),
            ("hash", entry.hash == ledger.hash_of(entry), "was changed after it was written"),
            ("amount", entry.amount_paise > 0, "has no amount"),
            (
                "balance",
                entry.balance_after_paise == balance_paise,
                f"balance after is {entry.balance_after_paise}, not {balance_paise}",
            ),
            (
                "totals",
                (entry.credited_paise, entry.debited_paise) == (credited_paise, debited_paise),
                "running totals do not add up",
            ),
        )
        self.seq, self.head_hash = entry.seq, entry.hash
        self.balance_paise = entry.balance_after_paise
        self.credited_paise, self.debited_paise = entry.credited_paise, entry.debited_paise
        return [
            dataclasses.replace(
                _of("chain_follows", entry, f"{entry.id}: {detail}"), subject=f"{entry.id}: {name}"
            )
            for name, holds, detail in checks
            if not holds
        ]

    def ends_at(self, state: Wallet) -> list[Violation]:
        """2. the wallet's balance = credits - debits = the last entry's; nothing is missing."""
        totals = (self.credited_paise, self.debited_paise)
        checks = (
            (
                "balance",
                state.balance_paise == self.balance_paise,
                f"balance {state.balance_paise} is not credits - debits = {self.balance_paise}",
            ),
            (
                "last entry",
                state.seq == self.seq,
                f"seq {state.seq}, but the entries end at {self.seq}",
            ),
            (
                "head hash",
                state.head_hash == self.head_hash,
                "the head hash is not the last entry's",
            ),
            (
                "totals",
                (state.credited_paise, state.debited_paise) == totals
                and state.credited_paise - state.debited_paise == state.balance_paise,
                "credited or debited totals differ from the entries",
            ),
        )
        return [
            Violation("balance_is_its_entries", self.user_id, state.seq, detail, subject)
            for subject, holds, detail in checks
            if not holds
        ]


def books_balance(balance_paise: int, accounts: Mapping[str, int]) -> list[Violation]:
    """6. the wallets' balances add up to what the other accounts gave and took, by account."""
    if balance_paise == sum(accounts.values()):
        return []
    detail = f"wallets hold {balance_paise}, the accounts say {sum(accounts.values())}: {accounts}"
    return [Violation("books_balance", None, None, detail, "books")]


# --- every entry has its cause ------------------------------------------------------------------


async def charges_belong_to_ended_calls(charges: Sequence[Entry]) -> list[Violation]:
    """4. every charge names a call that is settled, for that amount plus what is due."""
    ids = [charge.call_id for charge in charges if charge.call_id]
    calls = await _by_id(db.calls.find(_among(ids), _CALL_FIELDS))
    violations = []
    for charge in charges:
        call = calls.get(charge.call_id or "")
        if call is None or call["billing_status"] != "settled" or call["user_id"] != charge.user_id:
            detail = f"{charge.id} charges {charge.call_id}, which is not settled"
        elif _charge_paise(call) != charge.amount_paise:
            detail = f"{charge.id} charges {charge.amount_paise}, {charge.call_id} cost otherwise"
        else:
            continue
        violations.append(_of("charges_belong_to_ended_calls", charge, detail))
    return violations


async def recharges_have_their_payment(recharges: Sequence[Entry]) -> list[Violation]:
    """4. every recharge names a payment of its user that says it is credited by it, and that
    payment's order, which is paid by it, over the same amount."""
    payment_ids = [entry.payment_id for entry in recharges if entry.payment_id]
    payments = await _by_id(db.payments.find(_among(payment_ids)))
    order_ids = [entry.order_id for entry in recharges if entry.order_id]
    found = await db.orders.find({"order_id": {"$in": order_ids}}).to_list(None)
    orders = {order["order_id"]: order for order in found}
    violations = []
    for entry in recharges:
        payment = payments.get(entry.payment_id or "", {})
        order = orders.get(entry.order_id or "", {})
        if (payment.get("transaction_id"), payment.get("user_id")) != (entry.id, entry.user_id):
            detail = f"{entry.id} credits {entry.payment_id}, which does not say so"
        elif (order.get("payment_id"), order.get("amount_paise"), order.get("status")) != (
            entry.payment_id,
            entry.amount_paise,
            "paid",
        ):
            detail = f"{entry.id} credits {entry.order_id}, which is not paid so"
        else:
            continue
        violations.append(_of("entries_have_their_cause", entry, detail))
    return violations


async def adjustments_have_their_act(entries: Sequence[Entry]) -> list[Violation]:
    """4. every adjustment has the record that says who did it and why."""
    ids = [entry.key.removeprefix("adjust:") for entry in entries]
    acts = await _by_id(db.adjustments.find(_among(ids)))
    return [
        _of("entries_have_their_cause", entry, f"{entry.id} is an adjustment that nobody made")
        for entry in entries
        if acts.get(entry.key.removeprefix("adjust:"), {}).get("transaction_id") != entry.id
    ]


_CAUSES: Final[dict[str, Callable[[Sequence[Entry]], Awaitable[list[Violation]]]]] = {
    "call_charge": charges_belong_to_ended_calls,
    "recharge": recharges_have_their_payment,
    "adjustment": adjustments_have_their_act,
}


# --- every cause has its entry ------------------------------------------------------------------

_CALL_FIELDS: Final = ("user_id", "billing_status", "cost_paise", "due_paise")


def _charge_paise(call: Mapping[str, Any]) -> int:
    """What a call must have been charged: zero unless it is settled."""
    if call["billing_status"] != "settled":
        return 0
    return int(call["cost_paise"] or 0) - int(call.get("due_paise") or 0)


async def ended_calls_are_charged_once(user_id: str) -> AsyncIterator[Violation]:
    """4. every settled call that cost something has its one charge, or an explicit due."""
    settled = db.calls.find({"user_id": user_id, "billing_status": "settled"}, _CALL_FIELDS)
    async for calls in _batches(settled.batch_size(_READ_BATCH)):
        ids = {call["_id"]: ledger.entry_id(user_id, f"call:{call['_id']}") for call in calls}
        entries = await transactions.find_transactions(ids.values())
        for call in calls:
            entry = entries.get(ids[call["_id"]])
            charged_paise = entry.amount_paise if entry else 0
            if charged_paise != _charge_paise(call):
                detail = (
                    f"{call['_id']} cost {call['cost_paise']}: charged {charged_paise}, "
                    f"due {call['due_paise']}"
                )
                yield Violation("ended_calls_are_charged_once", user_id, None, detail, call["_id"])


async def captured_payments_are_credited_once(orders: Sequence[Document]) -> list[Violation]:
    """4. every paid order has the one credit of its payment, for its amount."""
    ids = {
        order["_id"]: ledger.entry_id(order["user_id"], f"recharge:{order['payment_id']}")
        for order in orders
    }
    entries = await transactions.find_transactions(ids.values())
    violations = []
    for order in orders:
        entry = entries.get(ids[order["_id"]])
        if entry is None or entry.amount_paise != order["amount_paise"]:
            detail = f"{order['order_id']} is paid by {order['payment_id']}, not credited so"
            name, user_id = "captured_payments_are_credited_once", order["user_id"]
            violations.append(Violation(name, user_id, None, detail, order["payment_id"] or ""))
    return violations


async def payments_agree_with_the_ledger(payments: Sequence[Payment]) -> list[Violation]:
    """4. every payment that says it is credited has that entry, and a captured one is credited or
    waits for a person."""
    entries = await transactions.find_transactions(
        payment["transaction_id"] for payment in payments if payment.get("transaction_id")
    )
    late = clock.after(-_CREDITED_WITHIN_SECONDS)
    violations = []
    for payment in payments:
        transaction_id = payment.get("transaction_id")
        if transaction_id:
            entry = entries.get(transaction_id)
            if entry is not None and entry.payment_id == payment["_id"]:
                continue
            detail = f"{payment['_id']} says that {transaction_id} credits it, which does not"
        elif payment["status"] == "captured" and not _waits(payment) and _seen(payment) < late:
            detail = f"{payment['_id']} is captured, not credited, and waits for nobody"
        else:
            continue
        name, user_id = "payments_agree_with_the_ledger", payment["user_id"]
        violations.append(Violation(name, user_id, None, detail, payment["_id"]))
    return violations


def _waits(payment: Payment) -> bool:
    """Whether a person reviews the payment or has, or its money went back."""
    return bool(
        payment.get("review") or payment.get("refunds") or payment.get("amount_refunded_paise")
    )


def _seen(payment: Payment) -> dt.datetime:
    return payment.get("seen_at") or payment["created_at"]


async def adjustments_are_posted(acts: Sequence[Adjustment]) -> list[Violation]:
    """4. every act that says it moved money has its entry."""
    entries = await transactions.find_transactions(str(act["transaction_id"]) for act in acts)
    return [
        Violation(
            "adjustments_are_posted",
            act["user_id"],
            None,
            f"{act['_id']} names {act['transaction_id']}, which does not exist",
            act["_id"],
        )
        for act in acts
        if act["transaction_id"] not in entries
    ]


# --- the records of a user ----------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Facts:
    """What is stored about a user beside the charges and the recharges: few documents.

    `calls` are the open ones, and those that the wallet or an entry names. `written_off` is what
    admins have written off, by what it was owed for.
    """

    wallet: Wallet
    calls: dict[str, Call]
    refunds: dict[str, Refund]
    disputes: dict[str, Dispute]
    entries: list[Entry]  # of the categories refund, refund_reversal and due_recovery
    written_off: dict[str, int]

    def owed(self, owner_id: str) -> tuple[int, int]:
        """What was recovered of the dues of a call, refund or dispute plus what is still due; and
        what of them was written off."""
        paise = sum(
            entry.amount_paise
            for entry in self.entries
            if entry.category == "due_recovery" and _belongs(owed_for(entry), owner_id)
        )
        paise += sum(due for key, due in self.wallet.dues.items() if _belongs(key, owner_id))
        off = sum(off for key, off in self.written_off.items() if _belongs(key, owner_id))
        return paise, off

    def taken(self, owner_id: str) -> int:
        """What the entries took for a refund or a dispute, less what they gave back."""
        return sum(
            entry.amount_paise if entry.category == "refund" else -entry.amount_paise
            for entry in self.entries
            if entry.refund_id == owner_id and entry.category != "due_recovery"
        )

    def is_collected(self, owner_id: str) -> bool:
        """Whether the reserve that a refund or dispute has now, its latest, was collected. What an
        earlier attempt took, and handed over or gave back, does not count."""
        refund = self.refunds.get(owner_id)
        key = key_of_refund(refund) if refund else key_of_dispute(self.disputes[owner_id])
        return any(entry.key == key for entry in self.entries)

    def owner_of(self, reservation_id: str) -> str | None:
        """The call, refund or dispute that a hold, reserve or due is for; None: of none."""
        if reservation_id in self.calls or reservation_id in self.refunds:
            return reservation_id
        owners = [*self.refunds, *self.disputes]
        return next((key for key in owners if _belongs(reservation_id, key)), None)


def owed_for(recovery: Entry) -> str:
    """What a `due_recovery` was owed for: a call, a refund, or a dispute and its phase."""
    return recovery.key.removeprefix("due:").rpartition(":")[0]


def _belongs(reservation_id: str, owner_id: str) -> bool:
    """Whether a reserve or due is of this owner: a refund has one an attempt, a dispute one a phase
    and attempt."""
    return reservation_id == owner_id or reservation_id.startswith(f"{owner_id}:")


async def load_facts(
    states: Iterable[Wallet],
    call_ids: Mapping[str, Iterable[str]],
    session: Session | None = None,
) -> list[Facts]:
    """The facts about these users; `call_ids`: calls to be looked at beside those of the wallets."""
    wallets = {state.user_id: state for state in states}
    whose = {"user_id": {"$in": list(wallets)}}
    entries: dict[str, list[Entry]] = defaultdict(list)
    for entry in await transactions.find_of_categories(list(wallets), _MOVED, session):
        entries[entry.user_id].append(entry)
    wanted: dict[str, set[str]] = {}
    for user_id, state in wallets.items():
        recoveries = {owed_for(e) for e in entries[user_id] if e.category == "due_recovery"}
        wanted[user_id] = {*call_ids.get(user_id, ()), *state.holds, *state.dues, *recoveries}
    named = _among(set().union(*wanted.values()))
    calls = await _by_id(db.calls.find(named, session=session))
    refunds = await _by_user(db.refunds.find(whose, session=session))
    disputes = await _by_user(db.disputes.find(whose, session=session))
    acts = whose | {"action": "write_off"}
    written_off = await _by_user(db.adjustments.find(acts, session=session))
    facts = []
    for user_id, state in wallets.items():
        off: dict[str, int] = defaultdict(int)
        for act in written_off[user_id]:
            off[act["subject_id"]] += int(act["amount_paise"])
        facts.append(
            Facts(
                state,
                {i: cast(Call, calls[i]) for i in wanted[user_id] if i in calls},
                {each["_id"]: cast(Refund, each) for each in refunds[user_id]},
                {each["_id"]: cast(Dispute, each) for each in disputes[user_id]},
                entries[user_id],
                dict(off),
            )
        )
    return facts


def records_agree(facts: Facts) -> list[Violation]:
    """4. what is reserved, taken and owed is what the user's calls, refunds and disputes say."""
    return [
        *running_calls_and_holds_agree(facts),
        *reserves_have_their_reason(facts),
        *what_went_back_is_taken_once(facts),
        *dues_have_their_debtor(facts),
        *movements_have_their_record(facts),
    ]


def running_calls_and_holds_agree(facts: Facts) -> list[Violation]:
    """4. every hold belongs to a call that is not over, every such call has its hold."""
    holds, violations = facts.wallet.holds, []
    for call_id in sorted({*holds, *facts.calls}):
        call = facts.calls.get(call_id)
        status = None if call is None else call["billing_status"]
        if (call_id in holds) != (status in HOLDING):
            held = "has a hold" if call_id in holds else "has no hold"
            detail = f"{call_id} {held}, its billing is {status}"
            violations.append(_about(facts, "running_calls_and_holds_agree", call_id, detail))
    return violations


def open_reserves(facts: Facts) -> dict[str, str]:
    """What has to be reserved: the reserve of every open refund and dispute, with its owner."""
    wanted = {
        reserve_id_of(refund): record_id
        for record_id, refund in facts.refunds.items()
        if refund["effect"] == "debit"
        and refund["status"] in OPEN_STATUSES
        and not taken_by_refund(refund)  # a dispute debited it, and handed it over
    }
    return wanted | {
        dispute["reserve_id"]: dispute_id
        for dispute_id, dispute in facts.disputes.items()
        if dispute["state"] == "reserved"
    }


def reserves_have_their_reason(facts: Facts) -> list[Violation]:
    """4. every reserve belongs to a refund or dispute that is open, and of which nothing is taken
    yet; every such one has its reserve."""
    name, violations = "reserves_have_their_reason", []
    reserves, wanted = set(facts.wallet.reserves), open_reserves(facts)
    for reserve_id in sorted(reserves | set(wanted)):
        is_taken = reserve_id in wanted and facts.is_collected(wanted[reserve_id])
        if reserve_id in reserves and reserve_id not in wanted:
            detail = f"{reserve_id} has a reserve, and is over"
        elif reserve_id in reserves and is_taken:
            detail = f"{reserve_id} has a reserve, and its entry exists already"
        elif reserve_id not in reserves and not is_taken:
            detail = f"{reserve_id} has no reserve, and is open"
        else:
            continue
        violations.append(_about(facts, name, reserve_id, detail))
    return violations


def what_went_back_is_taken_once(facts: Facts) -> list[Violation]:
    """4. a refund that is processed and a dispute that is lost are taken once: what the entries took,
    what was recovered later and what is still due add up to it. Of any other nothing is taken, or
    it was given back."""
    violations = []
    for record_id, status, expected_paise, owners in _what_went_back(facts):
        moved_paise = sum(facts.taken(owner) for owner in owners)
        owed = [facts.owed(owner) for owner in owners]
        owed_paise, off_paise = sum(paise for paise, _ in owed), sum(off for _, off in owed)
        settled = {moved_paise + owed_paise + off_paise}
        if not expected_paise:
            settled.add(moved_paise + owed_paise)  # what was never owed is written off, too
        if expected_paise not in settled:
            detail = (
                f"{record_id} is {status}, so {expected_paise} are to be taken: "
                f"taken {moved_paise}, recovered or due {owed_paise}, written off {off_paise}"
            )
            violations.append(_about(facts, "what_went_back_is_taken_once", record_id, detail))
    return violations


def _what_went_back(facts: Facts) -> list[tuple[str, str, int, list[str]]]:
    """Each refund and dispute: its id, its state, what it has taken, and whose entries that may be. A
    dispute's are also those of the refunds that it handed its money over to."""
    heads: dict[str, tuple[str, int, list[str]]] = {}
    for dispute_id, dispute in facts.disputes.items():
        heads[dispute_id] = (dispute["state"], taken_by_dispute(dispute), [dispute_id])
    for refund_id, refund in facts.refunds.items():
        taken_paise = taken_by_refund(refund)
        head = refund.get("handed_by", "")
        if head in heads:
            state, paise, owners = heads[head]
            heads[head] = (state, paise + taken_paise, [*owners, refund_id])
        else:
            heads[refund_id] = (refund["status"], taken_paise, [refund_id])
    return [(head, *rest) for head, rest in heads.items()]


def dues_have_their_debtor(facts: Facts) -> list[Violation]:
    """4. what is due, was recovered and was written off for a call is what could not be collected
    when it ended; nothing is due for what does not exist."""
    name, violations = "dues_have_their_debtor", []
    for key in sorted(facts.wallet.dues):
        if facts.owner_of(key) is None:
            violations.append(_about(facts, name, key, f"{key} is due, and does not exist"))
    for call_id, call in sorted(facts.calls.items()):
        due_paise = int(call.get("due_paise") or 0)
        owed_paise, off_paise = facts.owed(call_id)
        if due_paise not in {owed_paise + off_paise, owed_paise if not due_paise else -1}:
            detail = (
                f"{call_id} left {due_paise} due: recovered or due {owed_paise}, "
                f"written off {off_paise}"
            )
            violations.append(_about(facts, name, call_id, detail))
    return violations


def movements_have_their_record(facts: Facts) -> list[Violation]:
    """4. every refund and reversal names a refund or dispute, every recovery what was owed."""
    violations = []
    for entry in facts.entries:
        if entry.category == "due_recovery":
            cause, known = owed_for(entry), facts.owner_of(owed_for(entry)) is not None
        else:
            cause = entry.refund_id or ""
            known = cause in facts.refunds or cause in facts.disputes
        if not known:
            detail = (
                f"{entry.id} ({entry.category}) is for {cause or 'nothing'}, which does not exist"
            )
            violations.append(_of("entries_have_their_cause", entry, detail))
    return violations


def _about(facts: Facts, invariant: str, subject: str, detail: str) -> Violation:
    return Violation(invariant, facts.wallet.user_id, None, detail, subject)


def _of(invariant: str, entry: Entry, detail: str) -> Violation:
    return Violation(invariant, entry.user_id, entry.seq, detail, entry.id)


# --- reading ------------------------------------------------------------------------------------


async def trial_balance() -> dict[str, int]:
    """What each contra account paid to the wallets (positive) or received from them, in paise. One
    pass over all entries: an audit of very many has it in its report."""
    signed = {
        "$cond": [
            {"$eq": ["$type", "credit"]},
            "$amount_paise",
            {"$subtract": [0, "$amount_paise"]},
        ]
    }
    found = db.transactions.aggregate([{"$group": {"_id": "$contra", "paise": {"$sum": signed}}}])
    return {row["_id"]: int(row["paise"]) async for row in found}


async def _wallets(where: Document, session: Session | None = None) -> list[Wallet]:
    """The first wallets in the order of their users."""
    found = db.wallets.find(where, session=session).sort("user_id", 1).limit(_WALLETS_AT_ONCE)
    records = cast(list[WalletRecord], await found.to_list(None))
    return [wallet.wallet_from(record) for record in records]


def _among(ids: Iterable[str]) -> Document:
    return {"_id": {"$in": list(ids)}}


async def _by_id(found: Any) -> dict[str, Document]:
    return {each["_id"]: each for each in await found.to_list(None)}


async def _by_user(found: Any) -> dict[str, list[Document]]:
    rows: dict[str, list[Document]] = defaultdict(list)
    for row in await found.to_list(None):
        rows[row["user_id"]].append(row)
    return rows


async def _batches(cursor: Any) -> AsyncIterator[list[Document]]:
    """What the cursor finds; others run between two batches."""
    while found := await cursor.to_list(_READ_BATCH):
        yield found
        await asyncio.sleep(0)
