"""What follows from what Razorpay says of a dispute, of our record and of its payment's refunds: pure."""

import datetime as dt
from typing import Any

import pytest
from bson import Int64

import disputes
import ledger
import refunds
from core import clock
from core.database import Insert, Update
from core.errors import NotFound
from disputes import Case, Decision, Dispute, NotPairable
from gateway import entities
from refunds import Refund

OPENED = dt.datetime(2026, 11, 1, 12, tzinfo=dt.UTC)
AN_HOUR = dt.timedelta(hours=1)


def record(**facts: Any) -> Dispute:
    """A dispute over Rs 60 whose money is reserved."""
    known: Any = {
        "_id": "disp_1",
        "payment_id": "pay_1",
        "order_id": "order_1",
        "user_id": "usr_1",
        "amount_paise": Int64(6_000),
        "reserve_id": "disp_1:chargeback",
        "state": "reserved",
        "refund_id": None,
        "transaction_id": None,
        "due_paise": Int64(0),
        "created_at": OPENED + AN_HOUR,  # when we heard of it
        "status": "open",
        "phase": "chargeback",
        "deducted_paise": Int64(0),
        "reason_code": "fraud",
        "respond_by": None,
        "updated_at": OPENED,
        "revision": 3,
        **facts,
    }
    return known  # type: ignore[no-any-return]


def debited(**facts: Any) -> Dispute:
    """It was lost, and its money taken."""
    taken = {"state": "debited", "status": "lost", "taken_paise": Int64(6_000)}
    return record(**{**taken, "transaction_id": "txn_1", **facts})


def reported(**facts: Any) -> entities.Dispute:
    known = {
        "id": "disp_1",
        "payment_id": "pay_1",
        "amount_paise": 6_000,
        "deducted_paise": 0,
        "status": "open",
        "phase": "chargeback",
        "reason_code": "fraud",
        "respond_by": None,
        "created_at": OPENED,
    }
    return entities.Dispute(**{**known, **facts})


def refund(**facts: Any) -> Refund:
    """A refund of the same amount that was made at Razorpay two hours after the dispute was opened."""
    known: Any = {
        "_id": "rfnd_1",
        "gateway_id": "rfnd_1",
        "payment_id": "pay_1",
        "order_id": "order_1",
        "user_id": "usr_1",
        "amount_paise": Int64(6_000),
        "reason": "Made at Razorpay",
        "requested_by": None,
        "status": "pending",
        "effect": "none",
        "dispute_id": None,
        "transaction_id": None,
        "due_paise": Int64(0),
        "failure": None,
        "created_at": OPENED + 2 * AN_HOUR,
        "told_at": OPENED + 2 * AN_HOUR,
        "updated_at": OPENED,
        "next_check_at": None,
        "revision": 5,
        "attempt": 0,
        **facts,
    }
    return known  # type: ignore[no-any-return]


def decided(
    known: Dispute, told: entities.Dispute, *back: Refund, fresh: bool = True, **more: Any
) -> Decision:
    given: dict[str, Any] = {"is_credited": True, "others": [], "is_fresh": fresh, **more}
    return disputes.decide(Case(record=known, reported=told, refunds=list(back), **given))


def change_of(decision: Decision) -> dict[str, Any]:
    """The write that pairs the refund, as one dictionary."""
    write = decision.refund
    assert isinstance(write, Update)
    assert write.where["_id"] == "rfnd_1"
    return dict(write.update["$set"])


def test_the_first_record_of_a_dispute_has_no_money(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: OPENED + AN_HOUR)
    payment: Any = {"_id": "pay_1", "order_id": "order_1", "user_id": "usr_1"}
    told = reported(status="lost", deducted_paise=2_500)
    first = disputes._new_dispute(told, payment)
    nothing: Any = {"state": "ignored", "created_at": OPENED, "taken_paise": 0, "attempt": 0}
    assert first == record(**nothing, deducted_paise=2_500, revision=0, updated_at=OPENED + AN_HOUR)
    unheard_of = disputes._new_dispute(reported(created_at=None), payment)
    assert unheard_of["created_at"] == OPENED + AN_HOUR
    for phase, is_later in (("chargeback", False), ("retrieval", False), ("arbitration", True)):
        assert ("phase_since" in disputes._new_dispute(reported(phase=phase), payment)) == is_later


# --- what is known, and what is told ------------------------------------------------------------


@pytest.mark.parametrize("earlier", range(5))
@pytest.mark.parametrize("later", range(5))
def test_a_report_of_an_earlier_phase_is_older(earlier: int, later: int) -> None:
    phases = ("fraud", "retrieval", "chargeback", "pre_arbitration", "arbitration")
    case = Case(
        record=record(phase=phases[later]),
        reported=reported(phase=phases[earlier]),
        is_credited=True,
        refunds=[],
        others=[],
    )
    assert case.is_older == (earlier < later)


def test_a_phase_that_nobody_knows_comes_before_all_others() -> None:
    told = reported(phase="something_new", status="lost")
    assert decided(record(phase="fraud"), told, fresh=False).ask_again
    assert not decided(
        record(phase="something_new"), reported(phase="fraud"), fresh=False
    ).ask_again


@pytest.mark.parametrize(
    ("known", "told", "older"),
    [
        ("open", "open", False),
        ("open", "under_review", False),
        ("under_review", "open", True),
        ("lost", "under_review", True),
        ("won", "lost", False),
        ("closed", "won", False),
        ("under_review", "closed", False),
    ],
)
def test_in_one_phase_a_decision_is_newer_than_no_decision(
    known: Any, told: Any, older: bool
) -> None:
    case = Case(
        record=record(status=known),
        reported=reported(status=told),
        is_credited=True,
        refunds=[],
        others=[],
    )
    assert case.is_older == older


def test_of_a_payment_that_was_never_credited_only_the_facts_are_noted() -> None:
    decision = decided(record(), reported(status="lost"), is_credited=False)
    assert decision == Decision(changes={"status": "lost"})


def test_what_a_person_decided_holds_until_razorpay_says_something_else() -> None:
    known = record(decided_for=["chargeback", "lost"])
    assert decided(known, reported(status="lost")) == Decision(changes={"status": "lost"})
    assert decided(known, reported(status="won")).command is not None


def test_rest_is_nothing_to_do() -> None:
    assert Decision().is_rest
    assert not Decision(ask_again=True).is_rest
    assert not Decision(changes={"status": "lost"}).is_rest
    assert not Decision(rules_out=("rfnd_1",)).is_rest
    assert decided(record(), reported()).is_rest


# --- open ---------------------------------------------------------------------------------------


def test_an_open_dispute_reserves_what_is_there_under_an_id_of_its_attempt() -> None:
    free = record(state="released", attempt=1, refund_id="rfnd_0", decided_for=["fraud", "won"])
    decision = decided(free, reported(phase="pre_arbitration"))
    command = decision.command
    assert isinstance(command, ledger.Reserve)
    assert (command.user_id, command.amount_paise, command.amount_paise_min) == ("usr_1", 6_000, 0)
    assert command.reserve_id == "disp_1:pre_arbitration:2"
    assert decision.event == "DisputeOpened"
    changes = dict(decision.changes)
    assert changes.pop("phase_since")
    assert changes == {
        "phase": "pre_arbitration",
        "state": "reserved",
        "attempt": 2,
        "reserve_id": "disp_1:pre_arbitration:2",
        "taken_paise": 0,
        "due_paise": 0,
        "refund_id": None,
        "decided_for": None,
    }
    never = decided(record(state="released", attempt=0), reported())
    assert never.changes["reserve_id"] == "disp_1:chargeback"
    assert "status" not in never.changes


def test_a_loss_of_what_is_not_reserved_is_reserved_before_it_is_taken() -> None:
    decision = decided(record(state="released", attempt=1), reported(status="lost"))
    assert isinstance(decision.command, ledger.Reserve)
    assert decision.changes["status"] == "open"


def test_a_debited_dispute_that_is_open_again_gives_back_unless_razorpay_has_kept_it() -> None:
    phase: dict[str, Any] = {"phase": "pre_arbitration"}
    decision = decided(debited(), reported(**phase))
    command = decision.command
    assert isinstance(command, ledger.Credit)
    assert command.key == "dispute_back:disp_1:chargeback:reopened:pre_arbitration"
    assert command.amount_paise == 6_000
    assert decision.changes["state"] == "released"
    assert decision.changes["taken_paise"] == decision.changes["due_paise"] == 0
    kept = decided(debited(), reported(**phase, deducted_paise=6_000))
    assert kept.command is None
    assert kept.changes.keys() == {"phase", "status", "deducted_paise", "phase_since"}


def test_a_refund_that_exists_while_a_dispute_is_not_lost_is_ruled_out_for_it() -> None:
    assert decided(record(), reported(), refund(), fresh=False).ask_again
    decision = decided(record(), reported(), refund(), refund(_id="rfnd_2"))
    assert decision.rules_out == ("rfnd_1", "rfnd_2")
    assert decision.command is None
    newcomer = refund()
    assert not decided(record(), reported(), newcomer, newcomer=newcomer).rules_out
    assert not decided(record(), reported(), refund(dispute_id="disp_2")).rules_out


# --- won and closed -----------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["won", "closed"])
def test_what_was_reserved_is_released_when_it_is_won_or_closed(end: Any) -> None:
    decision = decided(record(), reported(status=end))
    assert decision.command == ledger.Unreserve(user_id="usr_1", reserve_id="disp_1:chargeback")
    assert decision.changes == {"status": end, "state": "released"}
    ignored = decided(record(state="ignored"), reported(status=end))
    assert ignored == Decision(changes={"status": end, "state": "released"})
    free = decided(record(state="released"), reported(status=end))
    assert free == Decision(changes={"status": end})


@pytest.mark.parametrize("end", ["won", "closed"])
def test_a_loss_that_is_won_after_all_is_given_back_once_that_is_certain(end: Any) -> None:
    assert decided(debited(), reported(status=end), fresh=False).ask_again
    command = decided(debited(), reported(status=end)).command
    assert isinstance(command, ledger.Credit)
    assert command.key == f"dispute_back:disp_1:chargeback:{end}:chargeback"
    # In a later phase nothing is contradicted.
    later = reported(status=end, phase="arbitration")
    assert decided(debited(), later, fresh=False).command is not None


# --- lost ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("deducted", "taken"), [(0, 6_000), (2_500, 2_500)])
def test_a_loss_takes_what_razorpay_deducted_or_all_that_is_disputed(
    deducted: int, taken: int
) -> None:
    decision = decided(record(), reported(status="lost", deducted_paise=deducted))
    command = decision.command
    assert isinstance(command, ledger.Collect)
    assert command.amount_paise == taken
    assert command.key == "dispute:disp_1:chargeback"
    assert command.reserve_id == "disp_1:chargeback"
    assert (command.category, command.contra) == ("refund", "gateway:razorpay")
    assert (command.payment_id, command.order_id, command.refund_id) == (
        ("pay_1", "order_1", "disp_1")
    )
    assert decision.event == "DisputeLost"
    assert decision.changes["state"] == "debited"
    assert "unclear" not in decision.changes


def test_a_loss_whose_amount_is_corrected_is_given_back_before_it_is_taken_again() -> None:
    assert decided(debited(), reported(status="lost")).is_rest
    told = reported(status="lost", deducted_paise=5_000)
    assert decided(debited(), told, fresh=False).ask_again
    command = decided(debited(), told).command
    assert isinstance(command, ledger.Credit)
    assert command.key == "dispute_back:disp_1:chargeback:corrected:5000"
    assert command.amount_paise == 6_000
    # What release 0.2.1 debited has no figure of its own.
    assert decided(debited(taken_paise=Int64(0)), reported(status="lost")).is_rest


def test_won_then_lost_in_one_phase_is_asked_again_before_it_is_reserved() -> None:
    won = record(state="released", status="won")
    assert decided(won, reported(status="lost"), fresh=False).ask_again
    assert isinstance(decided(won, reported(status="lost")).command, ledger.Reserve)


# --- paid back by a refund ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "possible"),
    [
        ({}, True),
        ({"amount_paise": Int64(5_999)}, False),
        ({"requested_by": "usr_admin"}, False),
        ({"status": "failed"}, False),
        ({"not_for": ["disp_1"]}, False),
        ({"not_for": ["disp_2"]}, True),
        ({"dispute_id": "disp_2"}, False),
        ({"dispute_id": "disp_1"}, True),
        ({"told_at": OPENED}, True),
        ({"told_at": OPENED - AN_HOUR}, False),
        ({"told_at": OPENED + AN_HOUR / 2}, True),  # since it was opened, before we heard of it
    ],
)
def test_a_loss_is_the_refunds_that_may_have_paid_it_back(
    facts: dict[str, Any], possible: bool
) -> None:
    decision = decided(record(), reported(status="lost"), refund(**facts))
    assert (decision.changes["state"] == "refunded") == possible


def test_without_a_time_at_razorpay_a_dispute_was_opened_when_we_heard_of_it() -> None:
    told = reported(status="lost", created_at=None)
    before = refund(told_at=OPENED + AN_HOUR / 2)
    assert decided(record(), told, before).changes["state"] == "debited"
    assert decided(record(), told, refund()).changes["state"] == "refunded"


def test_the_oldest_refund_is_the_one() -> None:
    newer = refund(_id="rfnd_0", created_at=OPENED + 3 * AN_HOUR)
    decision = decided(record(), reported(status="lost"), newer, refund())
    assert decision.changes["refund_id"] == "rfnd_1"


def test_a_reserve_is_handed_over_to_the_refund_that_has_none() -> None:
    decision = decided(record(), reported(status="lost"), refund())
    assert decision.command is None
    assert decision.changes == {
        "status": "lost",
        "state": "refunded",
        "refund_id": "rfnd_1",
        "taken_paise": 0,
        "due_paise": 0,
    }
    handed = change_of(decision)
    assert (handed["dispute_id"], handed["handed_by"]) == ("disp_1", "disp_1")
    assert (handed["effect"], handed["status"]) == ("debit", "reserved")
    assert (handed["reserve_id"], handed["attempt"]) == ("disp_1:chargeback", 1)
    assert handed["next_check_at"] is not None


def test_a_refund_that_is_not_recorded_yet_is_recorded_with_what_is_handed_over() -> None:
    newcomer = refund()
    decision = decided(record(), reported(status="lost"), newcomer, newcomer=newcomer)
    assert isinstance(decision.refund, Insert)
    assert decision.refund.document["dispute_id"] == "disp_1"
    assert decision.refund.document["effect"] == "debit"
    free = record(state="released")
    assert decided(free, reported(status="lost"), newcomer, newcomer=newcomer).is_rest


def test_a_refund_that_has_reserved_the_same_frees_its_own() -> None:
    own = refund(effect="debit", status="pending", reserve_id="rfnd_1", attempt=2)
    decision = decided(record(), reported(status="lost"), own)
    assert decision.command == ledger.Unreserve(user_id="usr_1", reserve_id="rfnd_1")
    assert change_of(decision)["attempt"] == 2


def test_a_refund_that_has_taken_the_same_frees_the_disputes_reserve() -> None:
    took = refund(effect="debit", status="processed", taken_paise=Int64(6_000))
    decision = decided(record(), reported(status="lost"), took)
    assert decision.command == ledger.Unreserve(user_id="usr_1", reserve_id="disp_1:chargeback")
    assert decision.changes["state"] == "refunded"
    assert change_of(decision).keys() == {"dispute_id", "updated_at"}
    # Where a part of it is still due, the dispute's money pays that: taken now, given back next.
    due = refund(
        effect="debit", status="processed", taken_paise=Int64(6_000), due_paise=Int64(1_000)
    )
    assert isinstance(decided(record(), reported(status="lost"), due).command, ledger.Collect)


def test_what_a_dispute_debited_is_handed_over_or_given_back_when_the_refund_took_it_too() -> None:
    decision = decided(debited(due_paise=Int64(500)), reported(status="lost"), refund())
    assert decision.command is None
    handed = change_of(decision)
    assert (handed["effect"], handed["taken_paise"], handed["due_paise"]) == ("debit", 6_000, 500)
    assert (handed["reserve_id"], handed["transaction_id"]) == ("disp_1:chargeback", "txn_1")
    took = refund(effect="debit", status="processed", taken_paise=Int64(6_000))
    command = decided(debited(), reported(status="lost"), took).command
    assert isinstance(command, ledger.Credit)
    assert command.key == "dispute_back:disp_1:chargeback:refunded"
    other = debited(taken_paise=Int64(5_000))
    assert isinstance(decided(other, reported(status="lost"), refund()).command, ledger.Credit)


def test_a_loss_of_nothing_reserved_is_only_paired() -> None:
    decision = decided(record(state="released"), reported(status="lost"), refund())
    assert decision.command is None
    assert decision.changes["state"] == "refunded"
    assert change_of(decision)["dispute_id"] == "disp_1"


def test_what_release_0_2_1_left_with_the_dispute_becomes_the_refunds() -> None:
    paired = debited(refund_id="rfnd_1")
    for told in ("lost", "won", "open"):
        phase = "chargeback" if told == "lost" else "arbitration"
        decision = decided(paired, reported(status=told, phase=phase), refund(dispute_id="disp_1"))
        assert decision.changes["state"] == "refunded"
        assert change_of(decision)["taken_paise"] == 6_000
    failed = refund(dispute_id="disp_1", status="failed")
    for back in ([failed], []):
        unclear = decided(paired, reported(status="lost"), *back).changes
        assert unclear["refund_id"] is None
        assert unclear["unclear"]["reason"] == "refund_failed"
        assert unclear["unclear"]["refund_ids"] == [each["_id"] for each in back]


def test_in_a_new_phase_the_refund_pays_for_no_other() -> None:
    paid = record(state="refunded", status="lost", refund_id="rfnd_1")
    mine = refund(dispute_id="disp_1", not_for=["disp_0"])
    decision = decided(paid, reported(phase="arbitration"), mine, refund(_id="rfnd_2"))
    assert (decision.changes["state"], decision.changes["refund_id"]) == ("released", None)
    assert decision.changes["status"] == "open"
    assert change_of(decision)["not_for"] == ["disp_0", "disp_1"]
    assert change_of(decision)["dispute_id"] == "disp_1"
    lost = decided(paid, reported(phase="arbitration", status="lost"), mine)
    assert lost.changes["status"] == "open"
    assert lost.changes["phase"] == "arbitration"
    won = decided(paid, reported(phase="arbitration", status="won"), mine)
    assert won.changes["status"] == "won"
    ruled_out = refund(dispute_id="disp_1", not_for=["disp_1"])
    assert decided(paid, reported(phase="arbitration"), ruled_out).refund is None


# --- what a person has to decide ----------------------------------------------------------------


def test_a_refund_for_one_of_several_losses_is_unclear() -> None:
    other = debited(_id="disp_0")
    told = reported(status="lost")
    unclear = decided(record(), told, refund(), others=[other]).changes["unclear"]
    assert (unclear["reason"], unclear["refund_ids"]) == ("several_disputes", ["rfnd_1"])
    assert unclear["dispute_ids"] == ["disp_0", "disp_1"]
    two = decided(record(), told, refund(), refund(_id="rfnd_2"), others=[other])
    assert "unclear" not in two.changes
    for facts in ({"status": "won"}, {"amount_paise": Int64(1)}, {"deducted_paise": Int64(1)}):
        decision = decided(record(), told, refund(), others=[debited(_id="disp_0", **facts)])
        assert "unclear" not in decision.changes
    not_its = refund(not_for=["disp_0"])
    assert "unclear" not in decided(record(), told, not_its, others=[other]).changes


def test_a_refund_of_what_was_disputed_beside_another_deduction_is_unclear() -> None:
    told = reported(status="lost", deducted_paise=2_500)
    decision = decided(record(), told, refund())
    assert decision.changes["state"] == "debited"
    unclear = decision.changes["unclear"]
    assert (unclear["reason"], unclear["refund_ids"]) == ("other_amount", ["rfnd_1"])
    assert "unclear" not in decided(record(), told, refund(dispute_id="disp_9")).changes


def test_a_refund_from_before_the_phase_that_was_lost_is_unclear() -> None:
    told = reported(status="lost")
    made_at = OPENED + 2 * AN_HOUR
    for since, doubtful in ((made_at, True), (made_at - AN_HOUR, False), (made_at + AN_HOUR, True)):
        changes = decided(record(phase_since=since), told, refund()).changes
        assert ("unclear" in changes) == doubtful
        other = record(_id="disp_0", phase_since=since)
        beside = decided(record(), told, refund(), others=[other]).changes
        assert ("unclear" in beside) == doubtful
        if doubtful:
            assert changes["unclear"]["reason"] == "earlier_phase"
            assert beside["unclear"]["dispute_ids"] == ["disp_0", "disp_1"]
    later = record(_id="disp_0", phase_since=made_at, amount_paise=Int64(1))
    assert "unclear" not in decided(record(), told, refund(), others=[later]).changes
    by_hand = decided(record(phase_since=made_at), told, refund(), by_hand=True)
    assert "unclear" not in by_hand.changes
    assert "$pull" in getattr(by_hand.refund, "update", {})


def test_a_pair_whose_refund_failed_is_unclear_once() -> None:
    paid = record(state="refunded", status="lost", refund_id="rfnd_1")
    told = reported(status="lost")
    failed = refund(dispute_id="disp_1", status="failed")
    unclear = decided(paid, told, failed).changes["unclear"]
    assert (unclear["reason"], unclear["refund_ids"]) == ("refund_failed", ["rfnd_1"])
    assert decided(paid, told, refund(dispute_id="disp_1")).is_rest
    assert decided(paid, told, refund(_id="rfnd_2", status="failed")).is_rest
    known = record(state="refunded", status="lost", refund_id="rfnd_1", unclear=unclear)
    assert decided(known, told, failed).is_rest
    other: Any = {**unclear, "reason": "several_disputes"}
    again = record(state="refunded", status="lost", refund_id="rfnd_1", unclear=other)
    assert decided(again, told, failed).changes["unclear"]["reason"] == "refund_failed"


def test_what_a_refund_takes_over_is_checked_soon() -> None:
    taken_over = refunds.reserved_as("disp_1:chargeback")
    assert taken_over["next_check_at"] is not None
    assert taken_over["failure"] is None


# --- by hand, and beside ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("known", "made", "problem"),
    [
        (record(status="lost"), refund(), None),
        (debited(), refund(status="processed"), None),
        (record(status="lost"), None, NotFound),
        (record(status="lost"), refund(payment_id="pay_2"), NotFound),
        (record(status="lost"), refund(requested_by="usr_admin"), NotPairable),
        (record(status="lost"), refund(status="failed"), NotPairable),
        (record(), refund(), NotPairable),
        (record(status="lost", state="ignored"), refund(), NotPairable),
    ],
)
async def test_a_person_pairs_a_lost_dispute_with_a_refund_that_was_made_at_razorpay(
    monkeypatch: pytest.MonkeyPatch,
    known: Dispute,
    made: Refund | None,
    problem: type[Exception] | None,
) -> None:
    async def find_refund(refund_id: str) -> Refund | None:
        return made

    monkeypatch.setattr(refunds, "find_refund", find_refund)
    if problem is None:
        assert await disputes._pairable(known, "rfnd_1") is made
    else:
        with pytest.raises(problem):
            await disputes._pairable(known, "rfnd_1")


def test_what_is_repaired_rests_on_the_money_as_it_was_read() -> None:
    where = disputes.as_it_was_read(debited()).where
    assert where == {
        "_id": "disp_1",
        "state": "debited",
        "amount_paise": 6_000,
        "transaction_id": "txn_1",
        "revision": 3,
    }
