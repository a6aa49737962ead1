"""What follows from what Razorpay says of a refund, and of our record: pure."""

import datetime as dt
from typing import Any

import pytest
from bson import Int64

import ledger
import refunds
from core import clock, config
from gateway import entities
from refunds import Decision, Refund
from tests.support.service import test_settings as settings_of_tests

MADE = dt.datetime(2026, 11, 1, 12, tzinfo=dt.UTC)
BACK: dict[str, Any] = {"status": "failed", "next_check_at": None, "given_up": False}


def record(**facts: Any) -> Refund:
    """A refund of Rs 40 that an admin requested, whose money is reserved."""
    known: Any = {
        "_id": "refund_1",
        "gateway_id": "rfnd_1",
        "payment_id": "pay_1",
        "order_id": "order_1",
        "user_id": "usr_1",
        "amount_paise": Int64(4_000),
        "reason": "asked by mail",
        "requested_by": "usr_admin",
        "status": "pending",
        "effect": "debit",
        "dispute_id": None,
        "transaction_id": None,
        "due_paise": Int64(0),
        "failure": None,
        "created_at": MADE,
        "updated_at": MADE,
        "next_check_at": MADE,
        "revision": 5,
        "attempt": 1,
        "reserve_id": "refund_1",
        "taken_paise": Int64(0),
        **facts,
    }
    return known  # type: ignore[no-any-return]


def processed(**facts: Any) -> Refund:
    return record(**{"status": "processed", "taken_paise": Int64(4_000), **facts})


def reported(status: Any, **facts: Any) -> entities.Refund:
    known = {"id": "rfnd_1", "payment_id": "pay_1", "amount_paise": 4_000, "receipt": "refund_1"}
    return entities.Refund(**{**known, "status": status, "created_at": MADE, **facts})


def decided(known: Refund, told: entities.Refund, **given: Any) -> Decision:
    return refunds.decide(known, told, **{"is_credited": True, "is_fresh": True, **given})


@pytest.mark.parametrize("facts", [{"amount_paise": 3_999}, {"payment_id": "pay_2"}])
def test_a_report_with_other_facts_waits_for_a_person(facts: dict[str, Any]) -> None:
    told = reported("processed", **facts)
    assert decided(record(), told) == Decision(changes={"waits": "other_facts"})
    assert decided(record(waits="other_facts"), told).is_rest
    right = decided(record(waits="other_facts"), reported("pending"))
    assert right == Decision(changes={"waits": None})


def test_the_id_at_razorpay_is_noted_when_it_is_first_heard() -> None:
    new = record(gateway_id=None, status="reserved", failure="no answer")
    changes = {"gateway_id": "rfnd_1", "status": "pending", "failure": None}
    assert decided(new, reported("pending")) == Decision(changes=changes)
    assert decided(record(), reported("pending")).is_rest


def test_a_processed_refund_takes_its_money_once() -> None:
    decision = decided(record(), reported("processed"))
    command = decision.command
    assert isinstance(command, ledger.Collect)
    assert (command.user_id, command.key, command.amount_paise) == (
        "usr_1",
        "refund:refund_1",
        4_000,
    )
    assert (command.category, command.contra) == ("refund", "gateway:razorpay")
    assert (command.payment_id, command.order_id) == ("pay_1", "order_1")
    assert (command.refund_id, command.reserve_id) == ("refund_1", "refund_1")
    assert command.description == "Refund: asked by mail"
    assert decision.changes == {"status": "processed", "failure": None, "next_check_at": None}
    assert decision.event == "RefundProcessed"
    assert decided(processed(), reported("processed")).is_rest
    theirs = decided(record(requested_by=None), reported("processed")).command
    assert isinstance(theirs, ledger.Collect)
    assert theirs.description == "Refund made at Razorpay"
    # A dispute has taken it, and handed it over.
    handed = decided(record(taken_paise=Int64(4_000)), reported("processed"))
    assert handed.command is None
    assert handed.changes == decision.changes


def test_the_keys_of_a_later_attempt_are_its_own() -> None:
    command = decided(record(attempt=2, reserve_id="refund_1:2"), reported("processed")).command
    assert isinstance(command, ledger.Collect)
    assert (command.key, command.reserve_id) == ("refund:refund_1:2", "refund_1:2")
    of_0_2_1 = record()
    for name in ("attempt", "reserve_id", "taken_paise", "revision"):
        del of_0_2_1[name]  # type: ignore[misc]
    command = decided(of_0_2_1, reported("processed")).command
    assert isinstance(command, ledger.Collect)
    assert (command.key, command.reserve_id) == ("refund:refund_1", "refund_1")


def test_a_refund_that_fails_while_it_is_open_frees_its_reserve() -> None:
    decision = decided(record(), reported("failed"))
    assert decision.command == ledger.Unreserve(user_id="usr_1", reserve_id="refund_1")
    assert decision.changes == BACK | {"failure": "The bank did not take it."}
    assert decision.event == "RefundFailed"


@pytest.mark.parametrize(
    ("known", "why"),
    [
        (processed(), "The bank sent it back."),
        (record(taken_paise=Int64(4_000)), "The bank did not take it."),
        (processed(taken_paise=Int64(0)), "The bank sent it back."),  # as release 0.2.1 wrote it
    ],
)
def test_what_was_taken_comes_back_when_it_fails(known: Refund, why: str) -> None:
    decision = decided(known, reported("failed"))
    command = decision.command
    assert isinstance(command, ledger.Credit)
    assert (command.key, command.amount_paise) == ("refund_reversal:refund_1", 4_000)
    assert (command.category, command.contra) == ("refund_reversal", "gateway:razorpay")
    assert (command.payment_id, command.order_id, command.refund_id) == (
        ("pay_1", "order_1", "refund_1")
    )
    nothing = {"taken_paise": 0, "due_paise": 0}
    assert decision.changes == BACK | nothing | {"failure": why}
    assert decision.event == "RefundFailed"


def test_a_failed_refund_that_was_made_after_all_is_reserved_again() -> None:
    failed = record(status="failed")
    assert decided(failed, reported("failed")).is_rest
    assert decided(failed, reported("processed"), is_fresh=False).ask_again
    given_up = record(status="failed", given_up=True)
    assert decided(given_up, reported("failed")).changes == {"given_up": False}
    for known, fresh in ((failed, True), (given_up, False)):
        decision = decided(known, reported("processed"), is_fresh=fresh)
        command = decision.command
        assert isinstance(command, ledger.Reserve)
        assert (command.reserve_id, command.amount_paise) == ("refund_1:2", 4_000)
        assert command.amount_paise_min == 0
        changes = dict(decision.changes)
        assert changes.pop("next_check_at") is not None
        assert changes == {
            "effect": "debit",
            "status": "reserved",
            "failure": None,
            "given_up": False,
            "attempt": 2,
            "reserve_id": "refund_1:2",
            "taken_paise": 0,
            "due_paise": 0,
        }


def test_a_refund_that_was_noticed_before_its_payment_was_credited_is_reserved_then() -> None:
    noticed = record(effect="none", attempt=0, requested_by=None)
    for status in ("pending", "processed"):
        command = decided(noticed, reported(status)).command
        assert isinstance(command, ledger.Reserve)
        assert command.reserve_id == "refund_1"
        assert decided(noticed, reported(status), is_credited=False).command is None
    assert decided(noticed, reported("failed")).command is None
    disputes_money = record(effect="dispute")
    assert decided(disputes_money, reported("processed")).command is None


@pytest.mark.parametrize(
    ("known", "told", "changes"),
    [
        ("reserved", "pending", {"status": "pending"}),
        ("pending", "pending", None),
        ("processed", "pending", None),
        ("pending", "processed", {"status": "processed", "next_check_at": None}),
        (
            "pending",
            "failed",
            {"status": "failed", "next_check_at": None, "failure": "The bank did not take it."},
        ),
        (
            "processed",
            "failed",
            {"status": "failed", "next_check_at": None, "failure": "The bank sent it back."},
        ),
        ("failed", "processed", None),
        ("failed", "pending", None),
    ],
)
def test_a_refund_that_debits_nothing_follows_razorpay_and_never_back(
    known: str, told: str, changes: dict[str, Any] | None
) -> None:
    without = record(effect="none", status=known)
    decision = decided(without, reported(told), is_credited=False)
    if changes is None:
        assert decision.is_rest
    else:
        assert decision.changes == {"failure": None, "given_up": False, **changes}
        assert decision.command is None


def test_one_that_we_gave_up_and_razorpay_has_follows_it_again() -> None:
    given_up = record(effect="none", status="failed", given_up=True)
    told = decided(given_up, reported("pending"), is_credited=False)
    assert told.changes == {"status": "pending", "failure": None, "given_up": False}


# --- by hand ------------------------------------------------------------------------------------


def test_a_person_ends_what_razorpay_does_not_know_any_more() -> None:
    decided_by: Any = {"action": "failed", "by": "usr_admin", "reason": "asked them", "at": MADE}
    waiting = record(waits="unknown_at_razorpay", decided=[decided_by])
    noted = {"waits": None, "decided": [decided_by, decided_by]}

    def by_hand(known: Refund, outcome: str) -> Decision:
        return refunds._decide_by_hand(known, outcome, decided_by)

    free = by_hand(waiting, "failed")
    assert isinstance(free.command, ledger.Unreserve)
    assert free.changes == noted | BACK | {"failure": "asked them", "given_up": True}
    assert isinstance(by_hand(waiting, "processed").command, ledger.Collect)
    assert isinstance(by_hand(processed(), "failed").command, ledger.Credit)
    assert isinstance(by_hand(record(status="failed"), "processed").command, ledger.Reserve)
    assert by_hand(processed(), "processed").is_rest
    assert by_hand(processed(waits="other_facts"), "processed").changes["waits"] is None
    without = by_hand(record(effect="none", waits="other_facts"), "failed")
    assert without.command is None
    assert (without.changes["status"], without.changes["failure"]) == ("failed", "asked them")
    assert without.changes["next_check_at"] is None


# --- when it is looked at again -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("age", "sandbox", "live"), [(0, 2, 2), (12, 3, 3), (100, 5, 25), (100_000, 5, 3_600)]
)
def test_the_pause_is_a_quarter_of_its_age_within_bounds(
    monkeypatch: pytest.MonkeyPatch, age: int, sandbox: int, live: int
) -> None:
    monkeypatch.setattr(clock, "now", lambda: MADE + dt.timedelta(seconds=age))
    before = config._current
    keys = {"razorpay_key_id": "rzp_live_1", "razorpay_key_secret": "a-secret"}
    try:
        for settings, pause in (({}, sandbox), (keys, live)):
            config.use(settings_of_tests("", **settings))
            assert refunds.refund_pause_seconds(record()) == pause
    finally:
        config.use(before)
