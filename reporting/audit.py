"""Audit: every invariant of the money, checked against what is stored."""

import dataclasses
import logging
from collections.abc import AsyncIterator, Iterable
from typing import Any, cast

import ledger
import transactions
import wallet
from calls.records import Call
from core import database
from core.database import Document, Session, db
from ledger import Entry, Wallet
from wallet import WalletRecord

log = logging.getLogger(__name__)
VIOLATIONS_MAX = 1_000
_BATCH = 1_000
_PROGRESS_EVERY = 1_000

# The billing states of a call that still has its hold (docs/money.md).
_HOLDING = ("held", "pending_duration", "review")


@dataclasses.dataclass(frozen=True, slots=True)
class Violation:
    """One violated invariant: which one, of which user, at which entry, and what was found."""

    invariant: str
    user_id: str | None
    seq: int | None
    detail: str


@dataclasses.dataclass(slots=True)
class Report:
    """The result of an audit: how much was checked, and the violations."""

    wallets: int = 0
    entries: int = 0
    violations: list[Violation] = dataclasses.field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.violations

    def add(self, found: Iterable[Violation]) -> None:
        """Add violations, up to `VIOLATIONS_MAX`."""
        room = VIOLATIONS_MAX - len(self.violations)
        self.violations += list(found)[:room]


async def audit(user_id: str | None = None) -> Report:
    """Check every invariant of one wallet, or of all and the trial balance.

    It may run beside live traffic: each wallet is compared with the entries up to its own `seq`,
    and a violation about a call is checked again before it is reported. Memory stays
    constant; the work is proportional to the number of entries.
    """
    report = Report()
    async for state in _wallets(user_id):
        report.wallets += 1
        report.add(balance_covers_holds(state))
        await _audit_chain(state, report)
        report.add([v async for v in running_calls_and_holds_agree(state)])
        report.add([v async for v in ended_calls_are_charged_once(state.user_id)])
        report.add([v async for v in captured_payments_are_credited_once(state.user_id)])
        report.add(await reserves_have_their_reason(state.user_id))
        report.add([v async for v in what_went_back_is_taken_once(state.user_id)])
        if report.wallets % _PROGRESS_EVERY == 0:
            log.info("audit: %d wallets, %d entries", report.wallets, report.entries)
    if user_id is None:
        report.add(await books_balance())
    for violation in report.violations:
        log.error("violation: %s", violation)
    return report


# --- the invariants -----------------------------------------------------------------------------


def balance_covers_holds(state: Wallet) -> list[Violation]:
    """1. balance >= 0, 0 <= held <= balance, held = sum of holds and reserves; due = sum of dues."""
    checks = {
        f"balance {state.balance_paise} is negative": state.balance_paise >= 0,
        f"held {state.held_paise} is not within 0..{state.balance_paise}": (
            0 <= state.held_paise <= state.balance_paise
        ),
        f"held {state.held_paise} is not the sum of its holds and reserves": (
            state.held_paise == sum(state.holds.values()) + sum(state.reserves.values())
        ),
        f"due {state.due_paise} is not the sum of its dues": (
            state.due_paise == sum(state.dues.values())
        ),
    }
    return [
        Violation("balance_covers_holds", state.user_id, state.seq, detail)
        for detail, holds in checks.items()
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
        `balance_after` and every running total is what the entries so far add up to."""
        if entry.type == "credit":
            self.credited_paise += entry.amount_paise
        else:
            self.debited_paise += entry.amount_paise
        self.balance_paise = self.credited_paise - self.debited_paise
        totals = (entry.credited_paise, entry.debited_paise)
        checks = {
            f"follows {self.seq}": entry.seq == self.seq + 1,
            "does not name the hash before it": entry.prev_hash == self.head_hash,
            "was changed after it was written": entry.hash == ledger.hash_of(entry),
            "has no amount": entry.amount_paise > 0,
            f"balance after is {entry.balance_after_paise}, not {self.balance_paise}": (
                entry.balance_after_paise == self.balance_paise
            ),
            "running totals do not add up": totals == (self.credited_paise, self.debited_paise),
        }
        self.seq, self.head_hash = entry.seq, entry.hash
        return [
            Violation("chain_follows", self.user_id, entry.seq, f"{entry.id}: {detail}")
            for detail, holds in checks.items()
            if not holds
        ]

    def ends_at(self, state: Wallet) -> list[Violation]:
        """2. the wallet's balance = credits - debits = the last entry's; nothing is missing."""
        checks = {
            f"balance {state.balance_paise} is not credits - debits = {self.balance_paise}": (
                state.balance_paise == self.balance_paise
            ),
            f"seq {state.seq}, but the entries end at {self.seq}": state.seq == self.seq,
            "the head hash is not the last entry's": state.head_hash == self.head_hash,
            "credited or debited totals differ from the entries": (
                (state.credited_paise, state.debited_paise)
                == (self.credited_paise, self.debited_paise)
            ),
        }
        return [
            Violation("balance_is_its_entries", self.user_id, state.seq, detail)
            for detail, holds in checks.items()
            if not holds
        ]


async def _audit_chain(state: Wallet, report: Report) -> None:
    chain = Chain(state.user_id)
    batch: list[Entry] = []
    async for entry in transactions.read_chain(state.user_id, seq_max=state.seq):
        report.entries += 1
        report.add(chain.link(entry))
        if entry.category == "call_charge":
            batch.append(entry)
        if len(batch) >= _BATCH:
            report.add(await charges_belong_to_ended_calls(batch))
            batch.clear()
    report.add(await charges_belong_to_ended_calls(batch))
    report.add(chain.ends_at(state))


async def charges_belong_to_ended_calls(charges: list[Entry]) -> list[Violation]:
    """4. every charge names a call that is settled, for that amount plus what is due."""
    calls = await _calls_by_id([c.call_id for c in charges if c.call_id])
    violations = []
    for charge in charges:
        call = calls.get(charge.call_id or "")
        if call is None or call["billing_status"] != "settled":
            detail = f"{charge.id} charges {charge.call_id}, which is not settled"
        elif call["cost_paise"] != charge.amount_paise + call["due_paise"]:
            detail = f"{charge.id} charges {charge.amount_paise}, {charge.call_id} cost otherwise"
        else:
            continue
        violations.append(
            Violation("charges_belong_to_ended_calls", charge.user_id, charge.seq, detail)
        )
    return violations


async def ended_calls_are_charged_once(user_id: str) -> AsyncIterator[Violation]:
    """4. every settled call that cost something has its one charge, or an explicit due."""
    settled = db.calls.find(
        {"user_id": user_id, "billing_status": "settled", "cost_paise": {"$gt": 0}},
        {"cost_paise": 1, "due_paise": 1},
    )
    async for calls in _batches(settled):
        ids = {call["_id"]: ledger.entry_id(user_id, f"call:{call['_id']}") for call in calls}
        entries = await transactions.find_transactions(ids.values())
        for call in calls:
            entry = entries.get(ids[call["_id"]])
            charged_paise = entry.amount_paise if entry else 0
            if charged_paise + call["due_paise"] != call["cost_paise"]:
                detail = (
                    f"{call['_id']} cost {call['cost_paise']}: charged {charged_paise}, "
                    f"due {call['due_paise']}"
                )
                yield Violation("ended_calls_are_charged_once", user_id, None, detail)


async def running_calls_and_holds_agree(state: Wallet) -> AsyncIterator[Violation]:
    """4. every hold belongs to a call that is not over, every such call has its hold."""
    user_id = state.user_id
    calls = await _calls_by_id(list(state.holds))
    suspects = {c for c in state.holds if _billing_status(calls.get(c)) not in _HOLDING}
    running = db.calls.find(
        {"user_id": user_id, "billing_status": {"$in": list(_HOLDING)}}, {"_id": 1}
    )
    async for found in _batches(running):
        suspects |= {call["_id"] for call in found if call["_id"] not in state.holds}
    if not suspects:
        return
    # Calls began and ended meanwhile: check both again, in one snapshot.
    async with database.snapshot() as session:
        now, again = await _wallet_and_calls(user_id, suspects, session)
    for call_id in sorted(suspects):
        status = _billing_status(again.get(call_id))
        if (call_id in now.holds) != (status in _HOLDING):
            held = "has a hold" if call_id in now.holds else "has no hold"
            detail = f"{call_id} {held}, its billing is {status}"
            yield Violation("running_calls_and_holds_agree", user_id, None, detail)


async def _wallet_and_calls(
    user_id: str, call_ids: set[str], session: Session
) -> tuple[Wallet, dict[str, Call]]:
    record = cast(
        WalletRecord | None, await db.wallets.find_one({"user_id": user_id}, session=session)
    )
    assert record is not None
    return wallet.wallet_from(record), await _calls_by_id(list(call_ids), session)


def _billing_status(call: Call | None) -> str | None:
    return None if call is None else call["billing_status"]


async def captured_payments_are_credited_once(user_id: str) -> AsyncIterator[Violation]:
    """4. every paid order has the one credit of its payment, for its amount."""
    paid = db.orders.find({"user_id": user_id, "status": "paid"})
    async for orders in _batches(paid):
        ids = {
            order["_id"]: ledger.entry_id(user_id, f"recharge:{order['payment_id']}")
            for order in orders
        }
        entries = await transactions.find_transactions(ids.values())
        for order in orders:
            entry = entries.get(ids[order["_id"]])
            if entry is None or entry.amount_paise != order["amount_paise"]:
                detail = f"{order['order_id']} is paid by {order['payment_id']}, not credited so"
                yield Violation("captured_payments_are_credited_once", user_id, None, detail)


async def reserves_have_their_reason(user_id: str) -> list[Violation]:
    """4. every reserve belongs to a refund or dispute that is open, every such one has its reserve."""
    async with database.snapshot() as session:
        refunds = db.refunds.find(
            {
                "user_id": user_id,
                "effect": "debit",
                "status": {"$in": ["reserved", "pending"]},
                "taken_paise": {"$not": {"$gt": 0}},  # a dispute took it, and handed it over
            },
            session=session,
        )
        disputes = db.disputes.find({"user_id": user_id, "state": "reserved"}, session=session)
        wanted = {record.get("reserve_id", record["_id"]) async for record in refunds}
        wanted |= {record["reserve_id"] async for record in disputes}
        document = await db.wallets.find_one({"user_id": user_id}, session=session)
    reserves = set((document or {}).get("reserves", {}))
    return [
        Violation(
            "reserves_have_their_reason",
            user_id,
            None,
            f"{reserve_id} {'has a reserve' if reserve_id in reserves else 'has no reserve'}, "
            f"{'and is over' if reserve_id in reserves else 'and is open'}",
        )
        for reserve_id in sorted(reserves ^ wanted)
    ]


async def what_went_back_is_taken_once(user_id: str) -> AsyncIterator[Violation]:
    """4. every processed refund and every lost dispute has its one debit, or an explicit due."""
    refunds = db.refunds.find({"user_id": user_id, "effect": "debit", "status": "processed"})
    disputes = db.disputes.find({"user_id": user_id, "state": "debited"})
    taken = [
        (f"refund:{record['_id']}", record["amount_paise"], record)
        for record in await refunds.to_list(None)
    ]
    taken += [
        (f"dispute:{record['reserve_id']}", record["taken_paise"], record)
        for record in await disputes.to_list(None)
    ]
    entries = await transactions.find_transactions(
        record["transaction_id"] for _, _, record in taken if record["transaction_id"]
    )
    for key, amount_paise, record in taken:
        entry = entries.get(record["transaction_id"])
        taken_paise = entry.amount_paise if entry else 0
        if taken_paise + record["due_paise"] != amount_paise:
            detail = f"{key} is over {amount_paise}: taken {taken_paise}, due {record['due_paise']}"
            yield Violation("what_went_back_is_taken_once", user_id, None, detail)


async def books_balance() -> list[Violation]:
    """6. the wallets' balances add up to what the other accounts gave and took, by account."""
    async with database.snapshot() as session:
        wallets = await db.wallets.aggregate(
            [{"$group": {"_id": None, "balance": {"$sum": "$balance_paise"}}}], session=session
        ).to_list(1)
        accounts = await trial_balance(session)
    balance_paise = wallets[0]["balance"] if wallets else 0
    if balance_paise == sum(accounts.values()):
        return []
    detail = f"wallets hold {balance_paise}, the accounts say {sum(accounts.values())}: {accounts}"
    return [Violation("books_balance", None, None, detail)]


async def trial_balance(session: Session | None = None) -> dict[str, int]:
    """What each contra account paid to the wallets (positive) or received from them, in paise."""
    signed = {
        "$cond": [
            {"$eq": ["$type", "credit"]},
            "$amount_paise",
            {"$subtract": [0, "$amount_paise"]},
        ]
    }
    found = db.transactions.aggregate(
        [{"$group": {"_id": "$contra", "paise": {"$sum": signed}}}], session=session
    )
    return {row["_id"]: int(row["paise"]) async for row in found}


async def _wallets(user_id: str | None) -> AsyncIterator[Wallet]:
    """The wallets in the order of their users, in batches, so that no cursor expires in a slow audit."""
    last = ""
    while True:
        where: Document = {"user_id": user_id} if user_id else {"user_id": {"$gt": last}}
        found = await db.wallets.find(where, {"user_id": 1}).sort("user_id", 1).to_list(100)
        for each in found:
            # Read singly: its entries are compared with its current state, not with that of minutes ago.
            fresh = await db.wallets.find_one({"user_id": each["user_id"]})
            if fresh is not None:
                yield wallet.wallet_from(cast(WalletRecord, fresh))
        if user_id or not found:
            return
        last = found[-1]["user_id"]


async def _calls_by_id(ids: list[str], session: Session | None = None) -> dict[str, Call]:
    if not ids:
        return {}
    found = db.calls.find({"_id": {"$in": ids}}, session=session)
    return {call["_id"]: cast(Call, call) async for call in found}


async def _batches(cursor: Any) -> AsyncIterator[list[Document]]:
    while found := await cursor.to_list(_BATCH):
        yield found
