"""The rules of money, against a plain model, without a database."""

import datetime as dt
import hashlib
import json
import pickle
from typing import Any, get_args

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ledger
from core.errors import (
    BalanceHeld,
    HoldNotFound,
    InsufficientBalance,
    PaymentRequired,
    Problem,
    TooManyCalls,
    WalletFrozen,
)
from ledger import (
    GENESIS_HASH,
    Collect,
    Command,
    Credit,
    Debit,
    Entry,
    ExtendHold,
    Freeze,
    FreezeCause,
    Hold,
    Outcome,
    Release,
    Reserve,
    Settle,
    Unreserve,
    Wallet,
)

NOON = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)
USER = "usr_1"


class Book:
    """A wallet, its entries and its known keys, as the committer keeps them."""

    def __init__(self) -> None:
        self.wallet = ledger.opened(USER, NOON)
        self.entries: list[Entry] = []
        self.at = NOON

    def do(self, command: Command) -> Outcome:
        known = {entry.id: entry for entry in self.entries}
        outcome = ledger.apply(self.wallet, command, at=self.at, known=known)
        if not outcome.replayed:
            self.wallet = outcome.wallet
            self.entries += outcome.entries
        return outcome


def credit(paise: int, key: str = "recharge:pay_1", category: Any = "recharge") -> Credit:
    return Credit(
        user_id=USER,
        key=key,
        category=category,
        amount_paise=paise,
        contra="gateway:razorpay",
        description="Recharge",
    )


def debit(paise: int, key: str = "adjust:1") -> Debit:
    return Debit(
        user_id=USER,
        key=key,
        category="adjustment",
        amount_paise=paise,
        contra="adjustment",
        description="Adjustment",
    )


def hold(call_id: str, paise: int, paise_min: int | None = None, **more: Any) -> Hold:
    return Hold(
        user_id=USER,
        call_id=call_id,
        amount_paise=paise,
        amount_paise_min=paise if paise_min is None else paise_min,
        **more,
    )


def extend(call_id: str, paise: int, paise_min: int) -> ExtendHold:
    return ExtendHold(user_id=USER, call_id=call_id, amount_paise=paise, amount_paise_min=paise_min)


def settle(call_id: str, cost_paise: int) -> Settle:
    return Settle(user_id=USER, call_id=call_id, cost_paise=cost_paise, description="Call")


def release(call_id: str) -> Release:
    return Release(user_id=USER, call_id=call_id)


def reserve(reserve_id: str, paise: int, paise_min: int = 0) -> Reserve:
    return Reserve(
        user_id=USER, reserve_id=reserve_id, amount_paise=paise, amount_paise_min=paise_min
    )


def collect(reserve_id: str, paise: int, key: str | None = None) -> Collect:
    return Collect(
        user_id=USER,
        reserve_id=reserve_id,
        key=key or f"refund:{reserve_id}",
        category="refund",
        amount_paise=paise,
        contra="gateway:razorpay",
        description="Refund",
        refund_id=reserve_id,
    )


def unreserve(reserve_id: str) -> Unreserve:
    return Unreserve(user_id=USER, reserve_id=reserve_id)


def freeze(frozen: bool, cause: FreezeCause = "admin") -> Freeze:
    return Freeze(user_id=USER, frozen=frozen, cause=cause)


def check_invariants(wallet: Wallet, entries: list[Entry]) -> None:
    assert wallet.balance_paise >= 0
    assert 0 <= wallet.held_paise <= wallet.balance_paise
    assert wallet.held_paise == sum(wallet.holds.values()) + sum(wallet.reserves.values())
    assert wallet.due_paise == sum(wallet.dues.values())
    assert all(paise > 0 for paise in [*wallet.holds.values(), *wallet.dues.values()])
    credits = [e.amount_paise for e in entries if e.type == "credit"]
    debits = [e.amount_paise for e in entries if e.type == "debit"]
    assert wallet.balance_paise == sum(credits) - sum(debits)
    assert (wallet.credited_paise, wallet.credit_count) == (sum(credits), len(credits))
    assert (wallet.debited_paise, wallet.debit_count) == (sum(debits), len(debits))
    assert [e.seq for e in entries] == list(range(1, len(entries) + 1))
    previous = ledger.GENESIS_HASH
    for entry in entries:
        assert entry.prev_hash == previous
        assert entry.hash == ledger.hash_of(entry)
        previous = entry.hash
    assert wallet.head_hash == previous
    assert len({e.id for e in entries}) == len(entries)
    if entries:
        assert entries[-1].balance_after_paise == wallet.balance_paise
        assert entries[-1].credited_paise == wallet.credited_paise


# --- examples -----------------------------------------------------------------------------------


def test_a_recharge_a_call_and_the_rest() -> None:
    book = Book()
    book.do(credit(100_00))
    assert book.do(hold("call_1", 50_00)).held_paise == 50_00
    assert book.wallet.available_paise == 50_00
    outcome = book.do(settle("call_1", 5_00))
    assert (outcome.charged_paise, outcome.due_paise) == (5_00, 0)
    assert (book.wallet.balance_paise, book.wallet.held_paise) == (95_00, 0)
    assert [e.balance_after_paise for e in book.entries] == [100_00, 95_00]
    check_invariants(book.wallet, book.entries)


def test_exactly_the_minimum_can_be_held_and_a_paisa_less_cannot() -> None:
    book = Book()
    book.do(credit(10_00))
    assert book.do(hold("call_1", 10_00)).held_paise == 10_00
    other = Book()
    other.do(credit(9_99))
    with pytest.raises(InsufficientBalance) as refusal:
        other.do(hold("call_1", 10_00))
    assert refusal.value.extra["shortfall"] == 0.01
    assert refusal.value.extra["required"] == 10.0


def test_a_hold_takes_what_is_affordable_of_a_slice() -> None:
    book = Book()
    book.do(credit(23_00))
    assert book.do(hold("call_1", 50_00, 10_00)).held_paise == 23_00


def test_money_that_running_calls_reserved_is_a_refusal_of_its_own() -> None:
    book = Book()
    book.do(credit(15_00))
    book.do(hold("call_1", 10_00))
    with pytest.raises(BalanceHeld) as refusal:
        book.do(hold("call_2", 10_00))
    assert "Retry-After" in refusal.value.headers
    with pytest.raises(BalanceHeld):
        book.do(debit(10_00))


def test_the_cap_on_concurrent_calls_is_held_where_the_money_is() -> None:
    book = Book()
    book.do(credit(100_00))
    book.do(hold("call_1", 10_00, holds_max=1))
    with pytest.raises(TooManyCalls):
        book.do(hold("call_2", 10_00, holds_max=1))


def test_a_call_that_cost_more_than_its_hold_takes_what_is_there_and_owes_the_rest() -> None:
    book = Book()
    book.do(credit(12_00))
    book.do(hold("call_1", 10_00))
    outcome = book.do(settle("call_1", 15_00))
    assert (outcome.charged_paise, outcome.due_paise) == (12_00, 3_00)
    assert (book.wallet.balance_paise, book.wallet.due_paise) == (0, 3_00)


def test_a_call_never_takes_what_another_call_has_reserved() -> None:
    book = Book()
    book.do(credit(20_00))
    book.do(hold("call_1", 10_00))
    book.do(hold("call_2", 10_00))
    outcome = book.do(settle("call_1", 15_00))
    assert (outcome.charged_paise, outcome.due_paise) == (10_00, 5_00)
    assert book.wallet.held_paise == 10_00
    check_invariants(book.wallet, book.entries)


def test_the_next_recharge_pays_what_is_due_first_by_an_entry_that_names_the_call() -> None:
    book = Book()
    book.do(credit(10_00))
    book.do(hold("call_1", 10_00))
    book.do(settle("call_1", 14_00))
    outcome = book.do(credit(100_00, "recharge:pay_2"))
    assert [(e.category, e.amount_paise) for e in outcome.entries] == [
        ("recharge", 100_00),
        ("due_recovery", 4_00),
    ]
    assert outcome.entries[1].call_id == "call_1"
    assert (book.wallet.balance_paise, book.wallet.due_paise) == (96_00, 0)
    check_invariants(book.wallet, book.entries)


def test_a_recharge_smaller_than_the_due_pays_what_it_can() -> None:
    book = Book()
    book.do(credit(10_00))
    book.do(hold("call_1", 10_00))
    book.do(settle("call_1", 40_00))
    book.do(credit(20_00, "recharge:pay_2"))
    assert (book.wallet.balance_paise, book.wallet.due_paise) == (0, 10_00)
    book.do(credit(20_00, "recharge:pay_3"))
    assert (book.wallet.balance_paise, book.wallet.due_paise) == (10_00, 0)
    check_invariants(book.wallet, book.entries)


def test_a_replay_is_answered_with_the_first_result_before_funds_are_questioned() -> None:
    book = Book()
    book.do(credit(10_00))
    first = book.do(debit(10_00))
    before = pickle.dumps(book.wallet.head_hash)
    again = book.do(debit(10_00))
    assert again.replayed
    assert again.entry == first.entry
    assert pickle.dumps(book.wallet.head_hash) == before
    book.do(credit(5_00, "recharge:pay_2"))
    book.do(hold("call_1", 5_00))
    settled = book.do(settle("call_1", 2_00))
    assert book.do(settle("call_1", 2_00)).entry == settled.entry
    assert book.do(settle("call_1", 2_00)).charged_paise == 2_00


def test_a_free_call_leaves_no_entry_and_is_over_once() -> None:
    book = Book()
    book.do(credit(10_00))
    book.do(hold("call_1", 10_00))
    assert book.do(settle("call_1", 0)).entries == ()
    assert book.wallet.held_paise == 0
    assert book.do(release("call_1")).replayed


def test_a_charge_after_the_release_is_refused() -> None:
    book = Book()
    book.do(credit(10_00))
    book.do(hold("call_1", 10_00))
    book.do(release("call_1"))
    with pytest.raises(HoldNotFound):
        book.do(settle("call_1", 5_00))
    with pytest.raises(HoldNotFound):
        book.do(extend("call_1", 20_00, 10_00))


def test_an_extension_names_the_total_so_that_repeating_it_changes_nothing() -> None:
    book = Book()
    book.do(credit(25_00))
    book.do(hold("call_1", 10_00))
    assert book.do(extend("call_1", 20_00, 11_00)).held_paise == 20_00
    assert book.do(extend("call_1", 20_00, 11_00)).replayed
    assert book.do(extend("call_1", 30_00, 21_00)).held_paise == 25_00
    with pytest.raises(PaymentRequired):
        book.do(extend("call_1", 35_00, 26_00))


def test_time_never_runs_backwards_within_a_wallet() -> None:
    book = Book()
    book.do(credit(10_00))
    book.at = NOON - dt.timedelta(hours=1)
    book.do(debit(1_00))
    assert book.entries[1].created_at == book.entries[0].created_at


def test_one_changed_paisa_breaks_the_chain() -> None:
    book = Book()
    book.do(credit(10_00))
    forged = book.entries[0]._replace(amount_paise=11_00)
    assert ledger.hash_of(forged) != forged.hash


_text = st.text(max_size=20)
_id = st.none() | _text


@given(_text, _text, _text, _id, _id, _id, st.integers(0, 10**6))
def test_a_hash_is_that_of_the_json_array_that_the_documents_describe(
    user_id: str,
    key: str,
    description: str,
    call_id: str | None,
    order_id: str | None,
    refund_id: str | None,
    seconds: int,
) -> None:
    at = NOON + dt.timedelta(seconds=seconds, milliseconds=seconds % 1000)
    given_facts = Credit(
        user_id=user_id,
        key=key,
        category="recharge",
        amount_paise=seconds + 1,
        contra="gateway:razorpay",
        description=description,
        call_id=call_id,
        order_id=order_id,
        refund_id=refund_id,
    )
    entry = ledger.apply(ledger.opened(user_id, NOON), given_facts, at=at, known={}).entries[0]
    place = [entry.prev_hash, user_id, 1, "credit", "recharge", seconds + 1, seconds + 1]
    why = ["gateway:razorpay", key, description, call_id, None, order_id, None, refund_id]
    moment = at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"
    facts = json.dumps([*place, *why, moment], separators=(",", ":"))
    assert entry.hash == hashlib.sha256(facts.encode()).hexdigest() == ledger.hash_of(entry)


@pytest.mark.parametrize("paise", [0, -1, 10**15 + 1])
def test_an_entry_of_nothing_or_less_is_a_defect(paise: int) -> None:
    with pytest.raises(ValueError, match="positive"):
        Book().do(credit(paise))


def test_the_largest_amount_is_an_entry() -> None:
    book = Book()
    book.do(credit(10**15))
    assert book.wallet.balance_paise == 10**15


# --- what goes back -----------------------------------------------------------------------------


def test_reserved_money_pays_for_no_call_and_is_taken_once() -> None:
    book = Book()
    book.do(credit(100_00))
    assert book.do(reserve("refund_1", 60_00, 60_00)).held_paise == 60_00
    assert book.wallet.available_paise == 40_00
    with pytest.raises(InsufficientBalance):
        book.do(hold("call_1", 50_00))
    outcome = book.do(collect("refund_1", 60_00))
    assert (outcome.charged_paise, outcome.due_paise) == (60_00, 0)
    assert (book.wallet.balance_paise, book.wallet.held_paise) == (40_00, 0)
    assert book.do(collect("refund_1", 60_00)).replayed
    with pytest.raises(HoldNotFound):
        book.do(collect("refund_1", 60_00, key="refund:another"))
    check_invariants(book.wallet, book.entries)


def test_a_reserve_that_is_given_back_is_free_again_and_cannot_be_taken() -> None:
    book = Book()
    book.do(credit(100_00))
    book.do(reserve("refund_1", 60_00, 60_00))
    book.do(unreserve("refund_1"))
    assert book.wallet.available_paise == 100_00
    assert book.do(unreserve("refund_1")).replayed
    with pytest.raises(HoldNotFound):
        book.do(collect("refund_1", 60_00))


def test_a_reserve_with_a_minimum_is_all_or_nothing_and_without_one_never_refused() -> None:
    book = Book()
    with pytest.raises(InsufficientBalance):
        book.do(reserve("refund_1", 60_00, 60_00))
    assert book.do(reserve("disp_1:chargeback", 60_00)).held_paise == 0
    assert book.do(reserve("disp_1:chargeback", 60_00)).replayed
    assert "disp_1:chargeback" in book.wallet.reserves


@pytest.mark.parametrize(("paise", "paise_min"), [(0, 0), (10_00, 10_01), (10_00, -1)])
def test_a_reserve_whose_amounts_make_no_sense_is_a_defect(paise: int, paise_min: int) -> None:
    book = Book()
    book.do(credit(100_00))
    with pytest.raises(ValueError, match="a reserve needs"):
        book.do(reserve("refund_1", paise, paise_min))
    assert not book.wallet.reserves


@pytest.mark.parametrize(("paise", "paise_min"), [(10_00, 0), (10_00, 10_01)])
def test_a_hold_whose_amounts_make_no_sense_is_a_defect(paise: int, paise_min: int) -> None:
    book = Book()
    book.do(credit(100_00))
    with pytest.raises(ValueError, match="a hold needs"):
        book.do(hold("call_1", paise, paise_min))
    assert not book.wallet.holds


def test_what_a_lost_dispute_finds_missing_is_due_and_the_next_recharge_pays_it_first() -> None:
    book = Book()
    book.do(credit(20_00))
    book.do(reserve("disp_1:chargeback", 50_00))
    outcome = book.do(collect("disp_1:chargeback", 50_00, key="dispute:disp_1:chargeback"))
    assert (outcome.charged_paise, outcome.due_paise) == (20_00, 30_00)
    assert (book.wallet.balance_paise, book.wallet.due_paise) == (0, 30_00)
    entry, paid = book.do(credit(100_00, key="recharge:pay_2")).entries
    assert (entry.amount_paise, paid.amount_paise, paid.category) == (100_00, 30_00, "due_recovery")
    assert (paid.contra, paid.call_id) == ("gateway:razorpay", None)
    assert "disp_1:chargeback" in paid.description
    assert (book.wallet.balance_paise, book.wallet.due_paise) == (70_00, 0)
    check_invariants(book.wallet, book.entries)


def test_a_dispute_over_an_empty_wallet_is_due_once() -> None:
    book = Book()
    book.do(reserve("disp_1:chargeback", 50_00))
    outcome = book.do(collect("disp_1:chargeback", 50_00))
    assert (outcome.entries, outcome.due_paise) == ((), 50_00)
    with pytest.raises(HoldNotFound):  # no entry guards it, the used-up reserve does
        book.do(collect("disp_1:chargeback", 50_00))
    assert book.wallet.due_paise == 50_00


def test_a_frozen_wallet_starts_and_prolongs_no_call_but_books_what_happened() -> None:
    book = Book()
    book.do(credit(100_00))
    book.do(hold("call_1", 10_00))
    book.do(freeze(True))
    assert book.do(freeze(True)).replayed
    for command in (hold("call_2", 10_00), extend("call_1", 20_00, 11_00)):
        with pytest.raises(WalletFrozen):
            book.do(command)
    assert book.do(hold("call_1", 10_00)).replayed
    assert book.do(settle("call_1", 5_00)).charged_paise == 5_00
    book.do(credit(10_00, key="recharge:pay_2"))
    book.do(reserve("refund_1", 10_00, 10_00))
    book.do(collect("refund_1", 10_00))
    book.do(freeze(False))
    assert book.do(hold("call_2", 10_00)).held_paise == 10_00
    check_invariants(book.wallet, book.entries)


def test_a_wallet_that_is_frozen_for_two_causes_stays_so_until_both_are_gone() -> None:
    book = Book()
    book.do(credit(100_00))
    for cause in ("account", "admin"):
        assert not book.do(freeze(True, cause)).replayed
        assert book.do(freeze(True, cause)).replayed
    assert list(book.wallet.frozen_for) == ["account", "admin"]
    assert not book.do(freeze(False, "account")).replayed
    assert book.do(freeze(False, "account")).replayed
    with pytest.raises(WalletFrozen):
        book.do(hold("call_1", 10_00))
    book.do(freeze(False))
    assert not book.wallet.frozen
    assert not book.wallet.frozen_for
    assert book.do(hold("call_1", 10_00)).held_paise == 10_00


def test_what_a_dispute_reserves_is_lacking_and_not_held_by_calls() -> None:
    book = Book()
    book.do(credit(100_00))
    book.do(reserve("disp_1:chargeback", 70_00))
    book.do(hold("call_1", 25_00))
    with pytest.raises(BalanceHeld) as held:
        book.do(hold("call_2", 30_00))  # all that is not disputed: there when call_1 ends
    assert "running calls have reserved Rs 25.00" in held.value.detail
    assert held.value.headers["Retry-After"] == "5"
    for command in (hold("call_2", 30_01), debit(30_01), reserve("refund_1", 30_01, 30_01)):
        with pytest.raises(InsufficientBalance) as lacking:
            book.do(command)
        assert "has Rs 5.00 available, Rs 70.00 are reserved for refunds or" in lacking.value.detail
        assert "Recharge at least Rs 25.01." in lacking.value.detail
        assert "Retry-After" not in lacking.value.headers


def test_a_call_does_not_wait_for_its_own_end() -> None:
    book = Book()
    book.do(credit(20_00))
    book.do(hold("call_1", 20_00))
    with pytest.raises(InsufficientBalance):
        book.do(extend("call_1", 30_00, 20_01))
    book.do(release("call_1"))
    book.do(hold("call_1", 15_00))
    book.do(hold("call_2", 5_00))
    with pytest.raises(BalanceHeld):
        book.do(extend("call_1", 30_00, 20_00))
    with pytest.raises(InsufficientBalance):
        book.do(extend("call_1", 30_00, 20_01))


def test_refunds_do_not_count_as_calls_that_run() -> None:
    book = Book()
    book.do(credit(100_00))
    for n in range(3):
        book.do(reserve(f"refund_{n}", 10_00, 10_00))
    book.do(hold("call_1", 10_00, holds_max=1))
    with pytest.raises(TooManyCalls):
        book.do(hold("call_2", 10_00, holds_max=1))


# --- any sequence -------------------------------------------------------------------------------

_call = st.sampled_from([f"call_{n}" for n in range(6)])
_paise = st.integers(1, 60_00)
_back = st.sampled_from([f"refund_{n}" for n in range(4)])
_commands = st.one_of(
    st.builds(credit, _paise, st.sampled_from([f"recharge:pay_{n}" for n in range(9)])),
    st.builds(debit, _paise, st.sampled_from([f"adjust:{n}" for n in range(9)])),
    st.builds(lambda c, a, b: hold(c, max(a, b), min(a, b)), _call, _paise, _paise),
    st.builds(lambda c, a, b: extend(c, max(a, b), min(a, b)), _call, _paise, _paise),
    st.builds(settle, _call, st.integers(0, 90_00)),
    st.builds(release, _call),
    st.builds(lambda r, a, b: reserve(r, max(a, b), min(a, b)), _back, _paise, _paise),
    st.builds(reserve, _back, _paise),
    st.builds(collect, _back, _paise),
    st.builds(unreserve, _back),
    st.builds(freeze, st.booleans(), st.sampled_from([*get_args(FreezeCause)])),
)


class Model:
    """The same rules in the plainest words: dictionaries and ifs."""

    def __init__(self) -> None:
        self.balance = 0
        self.holds: dict[str, int] = {}
        self.dues: dict[str, int] = {}
        self.reserves: dict[str, int] = {}
        self.frozen_for: set[str] = set()
        self.keys: set[str] = set()

    def do(self, command: Command) -> str:  # noqa: C901 - a case for each command, plain to compare
        available = self.balance - sum(self.holds.values()) - sum(self.reserves.values())
        match command:
            case Credit() | Debit() | Collect() if command.key in self.keys:
                return "replayed"
            case Credit():
                self.keys.add(command.key)
                self.balance += command.amount_paise
                available += command.amount_paise
                for call_id in sorted(self.dues):
                    paid = min(self.dues[call_id], available)
                    available -= paid
                    self.balance -= paid
                    self.dues[call_id] -= paid
                    if not self.dues[call_id]:
                        del self.dues[call_id]
            case Debit():
                if command.amount_paise > available:
                    return "refused"
                self.keys.add(command.key)
                self.balance -= command.amount_paise
            case Hold():
                if command.call_id in self.holds:
                    return "replayed"
                if self.frozen_for or available < command.amount_paise_min:
                    return "refused"
                self.holds[command.call_id] = min(command.amount_paise, available)
            case ExtendHold():
                if command.call_id not in self.holds:
                    return "refused"
                had = self.holds[command.call_id]
                if self.frozen_for or had + available < command.amount_paise_min:
                    return "refused"
                if command.amount_paise <= had or not available:
                    return "replayed"
                self.holds[command.call_id] = min(command.amount_paise, had + available)
            case Settle():
                if command.cost_paise and f"call:{command.call_id}" in self.keys:
                    return "replayed"
                if command.call_id not in self.holds:
                    return "refused" if command.cost_paise else "replayed"
                available += self.holds.pop(command.call_id)
                charged = min(command.cost_paise, available)
                if charged:
                    self.keys.add(f"call:{command.call_id}")
                self.balance -= charged
                if command.cost_paise > charged:
                    self.dues[command.call_id] = command.cost_paise - charged
            case Release():
                if command.call_id not in self.holds:
                    return "replayed"
                del self.holds[command.call_id]
            case Freeze():
                if (command.cause in self.frozen_for) == command.frozen:
                    return "replayed"
                self.frozen_for ^= {command.cause}
            case _:
                return self.go_back(command, available)
        return "done"

    def go_back(self, command: Command, available: int) -> str:
        match command:
            case Reserve():
                if command.reserve_id in self.reserves:
                    return "replayed"
                if available < command.amount_paise_min:
                    return "refused"
                self.reserves[command.reserve_id] = min(command.amount_paise, available)
            case Unreserve():
                if command.reserve_id not in self.reserves:
                    return "replayed"
                del self.reserves[command.reserve_id]
            case Collect():
                if command.reserve_id not in self.reserves:
                    return "refused"
                available += self.reserves.pop(command.reserve_id)
                taken = min(command.amount_paise, available)
                if taken:
                    self.keys.add(command.key)
                self.balance -= taken
                if command.amount_paise > taken:
                    owed = self.dues.get(command.reserve_id, 0)
                    self.dues[command.reserve_id] = owed + command.amount_paise - taken
        return "done"


def _frozen(wallet: Wallet) -> tuple[Any, ...]:
    return tuple(sorted(value.items()) if hasattr(value, "items") else value for value in wallet)


@hypothesis.settings(max_examples=300, deadline=None)
@given(st.lists(_commands, max_size=60))
def test_any_sequence_of_commands_equals_the_plain_model(sequence: list[Command]) -> None:
    book, model = Book(), Model()
    for command in sequence:
        before, entries = _frozen(book.wallet), len(book.entries)
        try:
            result = "replayed" if book.do(command).replayed else "done"
        except Problem:
            result = "refused"
        assert result == model.do(command), command
        if result != "done":  # a refusal or a replay leaves everything as it was
            assert _frozen(book.wallet) == before
            assert len(book.entries) == entries
        assert book.wallet.balance_paise == model.balance
        assert dict(book.wallet.holds) == model.holds
        assert dict(book.wallet.dues) == model.dues
        assert dict(book.wallet.reserves) == model.reserves
        check_invariants(book.wallet, book.entries)


@hypothesis.settings(max_examples=200, deadline=None)
@given(st.lists(_commands, max_size=40))
def test_doing_everything_twice_is_doing_it_once(sequence: list[Command]) -> None:
    """Hold, extend and release are repeated at once, as a retry does; the keyed ones at any time."""
    once, twice = Book(), Book()
    for command in sequence:
        for book, times in ((once, 1), (twice, 2)):
            for _ in range(times):
                try:
                    book.do(command)
                except Problem:
                    pass
        assert _frozen(once.wallet) == _frozen(twice.wallet)


@hypothesis.settings(max_examples=100, deadline=None)
@given(st.integers(0, 1_000_00), st.integers(1, 100_00), st.integers(0, 60))
def test_exactly_floor_of_available_by_hold_parallel_calls_are_accepted(
    balance_paise: int, hold_paise: int, calls_wanted: int
) -> None:
    book = Book()
    if balance_paise:
        book.do(credit(balance_paise))
    accepted = 0
    for n in range(calls_wanted):
        try:
            book.do(hold(f"call_{n}", hold_paise))
        except Problem:
            continue
        accepted += 1
    assert accepted == min(calls_wanted, balance_paise // hold_paise)


@pytest.mark.parametrize(
    ("paid_paise", "held_paise", "frozen", "kind"),
    [
        (50_00, 0, False, InsufficientBalance),
        (150_00, 100_00, False, BalanceHeld),
        (150_00, 100_00, True, WalletFrozen),
        (50_00, 0, True, WalletFrozen),
    ],
)
def test_a_refusal_is_the_same_whether_the_ledger_or_a_caller_makes_it(
    paid_paise: int, held_paise: int, *, frozen: bool, kind: type[PaymentRequired]
) -> None:
    book = Book()
    book.do(credit(paid_paise))
    if held_paise:
        book.do(hold("call_0", held_paise))
    if frozen:
        book.do(Freeze(user_id=USER, frozen=True))
    made = ledger.refusal(book.wallet, 100_00)
    with pytest.raises(kind) as raised:
        book.do(hold("call_1", 100_00))
    assert type(made) is kind
    assert made.body() == raised.value.body()


def test_a_frozen_wallet_still_pays_and_its_shortage_is_named_as_such() -> None:
    book = Book()
    book.do(credit(50_00))
    book.do(Freeze(user_id=USER, frozen=True))
    with pytest.raises(InsufficientBalance):
        book.do(
            Debit(
                user_id=USER,
                key="adj",
                category="adjustment",
                amount_paise=60_00,
                contra="adjustment",
                description="A correction",
            )
        )


def test_a_new_wallet_is_empty_and_an_outcome_says_nothing_by_itself() -> None:
    wallet = ledger.opened(USER, NOON)
    assert wallet == Wallet(user_id=USER, created_at=NOON, updated_at=NOON, head_hash=GENESIS_HASH)
    amounts = {name: value for name, value in wallet._asdict().items() if type(value) is int}
    assert set(amounts.values()) == {0}
    assert (wallet.frozen, wallet.currency) == (False, "INR")
    assert not wallet.holds
    assert not wallet.reserves
    assert not wallet.dues
    bare = Outcome(wallet=wallet)
    assert (bare.held_paise, bare.charged_paise, bare.due_paise) == (0, 0, 0)
    assert not bare.replayed
    assert bare.entry is None


def test_every_command_that_changes_a_wallet_counts_one_version() -> None:
    book = Book()

    def changes(command: Command, *, by: int = 1) -> None:
        before = book.wallet
        book.at += dt.timedelta(seconds=1)
        book.do(command)
        assert book.wallet.version == before.version + by, command
        assert book.wallet.updated_at == (book.at if by else before.updated_at), command

    changes(credit(10_000))
    changes(credit(10_000), by=0)
    changes(Freeze(user_id=USER, frozen=True))
    changes(Freeze(user_id=USER, frozen=True), by=0)
    changes(Freeze(user_id=USER, frozen=False))
    reserve = Reserve(user_id=USER, reserve_id="r", amount_paise=20_000, amount_paise_min=0)
    changes(reserve)
    changes(reserve, by=0)
    changes(Unreserve(user_id=USER, reserve_id="r"))
    changes(Unreserve(user_id=USER, reserve_id="r"), by=0)
    owed = ledger.WriteOff(user_id=USER, owed_for="call_1", amount_paise=300)
    changes(owed, by=0)
    book.wallet = book.wallet._replace(dues=book.wallet.dues.set("call_1", 500), due_paise=500)
    changes(owed)
    assert (book.wallet.due_paise, dict(book.wallet.dues)) == (200, {"call_1": 200})
    changes(owed)
    assert (book.wallet.due_paise, dict(book.wallet.dues)) == (0, {})
    changes(ledger.Recount(user_id=USER), by=0)
    changes(reserve)
    changes(credit(500, key="recharge:pay_2"))
    changes(Hold(user_id=USER, call_id="call_2", amount_paise=500, amount_paise_min=1))
    changes(ledger.Recount(user_id=USER), by=0)
    book.wallet = book.wallet._replace(held_paise=7, due_paise=7)
    changes(ledger.Recount(user_id=USER))
    assert (book.wallet.held_paise, book.wallet.due_paise) == (10_500, 0)


def test_a_credit_pays_the_oldest_dues_as_far_as_it_goes_and_makes_no_entry_of_nothing() -> None:
    book = Book()
    dues = book.wallet.dues.set("call_1", 150).set("call_2", 50).set("call_3", 50)
    book.wallet = book.wallet._replace(dues=dues, due_paise=250)
    outcome = book.do(credit(100))
    assert [(e.category, e.amount_paise) for e in outcome.entries] == [
        ("recharge", 100),
        ("due_recovery", 100),
    ]
    assert dict(book.wallet.dues) == {"call_1": 50, "call_2": 50, "call_3": 50}
    outcome = book.do(credit(100, key="recharge:pay_2"))
    assert [e.amount_paise for e in outcome.entries] == [100, 50, 50]
    assert dict(book.wallet.dues) == {"call_3": 50}
    assert (book.wallet.balance_paise, book.wallet.due_paise) == (0, 50)
