"""Every kind of trouble that the audit knows, and an admin's way out of it, walked over HTTP."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

import disputes
import gateway
import ledger
import refunds
import wallet
from core import database
from core.database import db
from sandbox import refunds as sandbox_refunds
from tests.support import calls as calling
from tests.support import payments as paying
from tests.support.service import Person, Service, new_key, running, test_settings


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for all tests of this file, without webhooks; each test has users of its own."""
    settings = test_settings(mongodb_uri, signups_per_hour=100_000, adjustment_confirm_above=1_000)
    async with running(settings) as started:
        await paying.webhooks(started, enabled=False)
        yield started


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox_refunds, "PROCESSED_AFTER_SECONDS", 0.05)


@pytest.fixture(scope="module")
async def admin(service: Service) -> Person:
    return await service.admin()


class Case:
    """A user in trouble, and the admin who looks."""

    def __init__(self, service: Service, admin: Person, person: Person) -> None:
        self.service, self.admin, self.person = service, admin, person

    async def audit(self) -> dict[str, Any]:
        path = f"/api/admin/audit?user_id={self.person.id}"
        answer = await self.service.get(path, self.admin)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def findings(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.audit())["violations"]
        return found

    async def repair(self, action: str, subject: str, **more: Any) -> Any:
        headers = more.pop("headers", None) or new_key()
        body = {"action": action, "user_id": self.person.id, "subject": subject} | more
        path, reason = "/api/admin/audit/repairs", {"reason": "found by the audit"}
        return await self.service.post(path, self.admin, json=body | reason, headers=headers)

    async def adjust(self, kind: str, amount: float) -> Any:
        body = {"type": kind, "amount": amount, "reason": "as the audit found"}
        path = f"/api/admin/users/{self.person.id}/adjustments"
        answer = await self.service.post(path, self.admin, json=body, headers=new_key())
        assert answer.status_code == 201, answer.text
        return answer

    async def money(self) -> tuple[float, float, float]:
        found = await self.service.balance(self.person)
        return found["balance"], found["held"], found["due"]

    async def set_wallet(self, **fields: Any) -> None:
        await db.wallets.update_one({"user_id": self.person.id}, {"$set": fields})


@pytest.fixture
async def case(service: Service, admin: Person) -> Case:
    return Case(service, admin, await service.signup())


# --- the troubles -------------------------------------------------------------------------------


async def hold_of_nothing(case: Case) -> None:
    await case.service.fund(case.person, 100)
    await wallet.post(
        ledger.Hold(
            user_id=case.person.id, call_id="call_ghost", amount_paise=4000, amount_paise_min=4000
        )
    )


async def hold_of_a_call_that_is_over(case: Case) -> None:
    await case.service.fund(case.person, 100)
    call = await calling.place(case.service, case.person, {"outcome": "busy", "wall_seconds": 0})
    await calling.over(case.service, case.person, call["call_id"])
    await wallet.post(
        ledger.Hold(
            user_id=case.person.id,
            call_id=call["call_id"],
            amount_paise=4000,
            amount_paise_min=4000,
        )
    )


async def reserve_of_nothing(case: Case) -> None:
    await case.service.fund(case.person, 100)
    await reserve(case, "refund_ghost")


async def reserve(case: Case, reserve_id: str) -> None:
    await wallet.post(
        ledger.Reserve(
            user_id=case.person.id, reserve_id=reserve_id, amount_paise=4000, amount_paise_min=0
        )
    )


async def refunded(case: Case, *, until: str = "processed") -> str:
    """A refund of Rs 40 of a payment of Rs 100, which is that far."""
    payment_id = await paying.recharge(case.service, case.person)
    path, body = "/api/payment/refunds", {"payment_id": payment_id, "amount": 40, "reason": "asked"}
    if until == "pending":
        await paying.fault(case.service, "refund_slow")
    made = (await case.service.post(path, case.admin, json=body, headers=new_key())).json()
    refund_id = str(made["refund_id"])
    record = await refunds.find_refund(refund_id)
    assert record is not None
    for _ in range(400):
        if record["status"] == until:
            return refund_id
        record = await refunds.check_refund(record)
    raise AssertionError(record)


async def reserve_of_a_refund_that_is_over(case: Case) -> None:
    await reserve(case, await refunded(case))


async def disputed(case: Case) -> str:
    payment_id = await paying.recharge(case.service, case.person)
    made = await paying.outside(case.service, f"/payments/{payment_id}/disputes", amount=4_000)
    await disputes.apply_update(await gateway.fetch_dispute(made["id"]))
    return str(made["id"])


async def reserve_of_a_dispute_that_is_over(case: Case) -> None:
    dispute_id = await disputed(case)
    await paying.outside(case.service, f"/disputes/{dispute_id}", status="won")
    await disputes.apply_update(await gateway.fetch_dispute(dispute_id))
    record = await db.disputes.find_one({"_id": dispute_id})
    assert record is not None
    await reserve(case, record["reserve_id"])


async def refund_without_reserve(case: Case) -> None:
    refund_id = await refunded(case, until="pending")
    await wallet.post(ledger.Unreserve(user_id=case.person.id, reserve_id=refund_id))


async def dispute_without_reserve(case: Case) -> None:
    record = await db.disputes.find_one({"_id": await disputed(case)})
    assert record is not None
    command = ledger.Unreserve(user_id=case.person.id, reserve_id=record["reserve_id"])
    await wallet.post(command)


async def call_without_hold(case: Case) -> None:
    await case.service.fund(case.person, 100)
    talks = {"outcome": "completed", "duration_seconds": 50, "wall_seconds": 40}
    call = await calling.place(case.service, case.person, talks)
    await wallet.post(ledger.Release(user_id=case.person.id, call_id=call["call_id"]))


async def reserve_of_a_refund_that_is_taken_already(case: Case) -> None:
    """The entry is there; the record says that the refund is open."""
    refund_id = await refunded(case)
    await db.refunds.update_one(
        {"_id": refund_id}, {"$set": {"status": "pending", "taken_paise": database.long(0)}}
    )
    await reserve(case, refund_id)


async def due_of_nothing(case: Case) -> None:
    await case.set_wallet(dues={"refund_ghost": database.long(700)}, due_paise=database.long(700))


async def sums_of_what_is_held_and_due(case: Case) -> None:
    await case.service.fund(case.person, 100)
    await case.set_wallet(held_paise=database.long(4000), due_paise=database.long(100))


async def paid_order_without_credit(case: Case) -> None:
    """The entry never came: here the records of a payment are put beside another wallet."""
    payment_id = await paying.recharge(case.service, case.person)
    await forget_entries(case, payment_id)
    unpaid = {"$unset": {"transaction_id": ""}}
    await db.payments.update_one({"_id": payment_id}, unpaid)
    await db.orders.update_one({"payment_id": payment_id}, unpaid)


async def captured_payment_that_nobody_credited(case: Case) -> None:
    order_id = await paying.open_order(case.service, case.person)
    paid = await paying.pay(case.service, order_id)
    order = await db.orders.find_one({"order_id": order_id})
    assert order is not None
    await db.payments.insert_one(
        {
            "_id": paid["razorpay_payment_id"],
            "user_id": case.person.id,
            "order_id": order_id,
            "amount_paise": database.long(10_000),
            "status": "captured",
            "created_at": order["created_at"].replace(year=2025),
        }
    )


async def forget_entries(case: Case, payment_id: str) -> None:
    """As if the commit of the credit had never been: no entry, and nothing of it in the wallet."""
    await db.transactions.delete_many({"payment_id": payment_id})
    state = ledger.opened(case.person.id, (await wallet_of(case)).created_at)
    await db.wallets.replace_one({"user_id": case.person.id}, dict(wallet.record_of(state)))


async def wallet_of(case: Case) -> ledger.Wallet:
    record = await db.wallets.find_one({"user_id": case.person.id})
    assert record is not None
    return wallet.wallet_from(record)  # type: ignore[arg-type]


async def released(case: Case, found: dict[str, Any]) -> None:
    assert (await case.repair("release", found["subject"])).status_code == 201


Trouble = Callable[[Case], Awaitable[object]]

# What an admin does about each: the invariant that is violated, the repair, and what is then held.
WALKS: list[tuple[Trouble, str, str, tuple[float, float, float]]] = [
    (hold_of_nothing, "running_calls_and_holds_agree", "release", (100.0, 0.0, 0.0)),
    (hold_of_a_call_that_is_over, "running_calls_and_holds_agree", "release", (100.0, 0.0, 0.0)),
    (call_without_hold, "running_calls_and_holds_agree", "reserve", (100.0, 100.0, 0.0)),
    (reserve_of_nothing, "reserves_have_their_reason", "release", (100.0, 0.0, 0.0)),
    (reserve_of_a_refund_that_is_over, "reserves_have_their_reason", "release", (60.0, 0.0, 0.0)),
    (reserve_of_a_dispute_that_is_over, "reserves_have_their_reason", "release", (100.0, 0.0, 0.0)),
    (refund_without_reserve, "reserves_have_their_reason", "reserve", (100.0, 40.0, 0.0)),
    (dispute_without_reserve, "reserves_have_their_reason", "reserve", (100.0, 40.0, 0.0)),
    (due_of_nothing, "dues_have_their_debtor", "write_off", (0.0, 0.0, 0.0)),
    (sums_of_what_is_held_and_due, "balance_covers_holds", "recount", (100.0, 0.0, 0.0)),
    (paid_order_without_credit, "captured_payments_are_credited_once", "post", (100.0, 0.0, 0.0)),
    (
        *(captured_payment_that_nobody_credited, "payments_agree_with_the_ledger", "post"),
        (100.0, 0.0, 0.0),
    ),
]


@pytest.mark.parametrize(
    ("trouble", "invariant", "action", "money"), WALKS, ids=[walk[0].__name__ for walk in WALKS]
)
async def test_an_admin_repairs_it_once_and_the_audit_is_clean(
    case: Case, trouble: Trouble, invariant: str, action: str, money: tuple[float, float, float]
) -> None:
    await trouble(case)
    found = await case.findings()
    assert {each["invariant"] for each in found} == {invariant}
    assert action in found[0]["repairs"]
    key = new_key()
    answers = [await case.repair(action, found[0]["subject"], headers=key) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201], answers[0].text
    assert answers[0].json()["action"] == action
    assert await case.findings() == []
    balance, held, due = await case.money()
    assert (balance, due) == (money[0], money[2])
    assert held == money[1] if trouble is not call_without_hold else held > 0
    path = f"/api/admin/users/{case.person.id}/adjustments"
    by_hand = (await case.service.get(path, case.admin)).json()["adjustments"][0]
    assert (by_hand["action"], by_hand["by"]) == (action, case.admin.id)
    assert by_hand["reason"] == "found by the audit"
    again = await case.repair(action, found[0]["subject"])
    assert again.status_code in (201, 409), again.text
    assert await case.money() == (balance, held, due)


# --- what nothing can undo ----------------------------------------------------------------------


async def changed_entry(case: Case) -> None:
    await case.service.fund(case.person, 100)
    await db.transactions.update_one(
        {"user_id": case.person.id}, {"$set": {"description": "something else"}}
    )


async def lost_entry(case: Case) -> None:
    await case.service.fund(case.person, 100)
    await case.service.fund(case.person, 50)
    gone = await db.transactions.find_one_and_delete({"user_id": case.person.id, "seq": 1})
    assert gone is not None
    await db.adjustments.delete_one({"transaction_id": gone["_id"]})


async def changed_balance(case: Case) -> None:
    await case.service.fund(case.person, 100)
    await case.set_wallet(balance_paise=database.long(99_00))


async def entry(case: Case, category: ledger.Category, **facts: Any) -> None:
    """Rs 10 that nothing stands behind."""
    await case.service.fund(case.person, 100)
    is_credit = category in ("recharge", "refund_reversal", "adjustment")
    posting = ledger.Credit if is_credit else ledger.Debit
    await wallet.post(
        posting(
            user_id=case.person.id,
            category=category,
            amount_paise=1000,
            contra="adjustment",
            description="nobody",
            **facts,
        )
    )


async def recharge_without_payment(case: Case) -> None:
    await entry(case, "recharge", key="recharge:pay_never", payment_id="pay_never")


async def refund_without_record(case: Case) -> None:
    await entry(case, "refund", key="refund:refund_never", refund_id="refund_never")


async def reversal_without_record(case: Case) -> None:
    await entry(case, "refund_reversal", key="x", refund_id="refund_never")


async def adjustment_without_act(case: Case) -> None:
    await entry(case, "adjustment", key="adjust:nobody")


async def charge_without_call(case: Case) -> None:
    await entry(case, "call_charge", key="call:call_never", call_id="call_never")


async def recovery_of_nothing(case: Case) -> None:
    await entry(case, "due_recovery", key=f"due:call_never:txn_{'0' * 32}")


async def refund_that_is_not_taken(case: Case) -> None:
    refund_id = await refunded(case, until="pending")
    await wallet.post(ledger.Unreserve(user_id=case.person.id, reserve_id=refund_id))
    await db.refunds.update_one({"_id": refund_id}, {"$set": {"status": "processed"}})


async def failed_refund_that_is_taken(case: Case) -> None:
    refund_id = await refunded(case)
    await db.refunds.update_one({"_id": refund_id}, {"$set": {"status": "failed"}})


async def lost_dispute_that_is_not_taken(case: Case) -> None:
    record = await db.disputes.find_one({"_id": await disputed(case)})
    assert record is not None
    command = ledger.Unreserve(user_id=case.person.id, reserve_id=record["reserve_id"])
    await wallet.post(command)
    taken = {"state": "debited", "taken_paise": database.long(4000)}
    await db.disputes.update_one({"_id": record["_id"]}, {"$set": taken})


async def act_without_entry(case: Case) -> None:
    await case.service.fund(case.person, 100)
    await wallet.record_act(
        case.person.id,
        action="credit",
        subject_id="x",
        reason="goodwill",
        by="usr_2",
        seed=database.new_id("adj"),
        transaction_id="txn_never",
    )


async def call_without_charge(case: Case) -> None:
    await case.service.fund(case.person, 100)
    call = await calling.place(case.service, case.person, {"outcome": "busy", "wall_seconds": 0})
    await calling.over(case.service, case.person, call["call_id"])
    charged = {"billing_status": "settled", "cost_paise": database.long(500)}
    await db.calls.update_one({"_id": call["call_id"]}, {"$set": charged})


# The invariant that is violated, and by what adjustment the money is put right.
IRREVERSIBLE: list[tuple[Trouble, str, str | None]] = [
    (changed_entry, "chain_follows", None),
    (lost_entry, "chain_follows", None),
    (changed_balance, "balance_is_its_entries", None),
    (recharge_without_payment, "entries_have_their_cause", "debit"),
    (refund_without_record, "entries_have_their_cause", "credit"),
    (reversal_without_record, "entries_have_their_cause", "debit"),
    (adjustment_without_act, "entries_have_their_cause", "debit"),
    (charge_without_call, "charges_belong_to_ended_calls", "credit"),
    (recovery_of_nothing, "entries_have_their_cause", "credit"),
    (refund_that_is_not_taken, "what_went_back_is_taken_once", "debit"),
    (failed_refund_that_is_taken, "what_went_back_is_taken_once", "credit"),
    (lost_dispute_that_is_not_taken, "what_went_back_is_taken_once", "debit"),
    (act_without_entry, "adjustments_are_posted", None),
    (call_without_charge, "ended_calls_are_charged_once", "debit"),
]


@pytest.mark.parametrize(
    ("trouble", "invariant", "adjustment"),
    IRREVERSIBLE,
    ids=[walk[0].__name__ for walk in IRREVERSIBLE],
)
async def test_what_nothing_can_undo_is_put_right_by_an_adjustment_and_acknowledged(
    case: Case, trouble: Trouble, invariant: str, adjustment: str | None
) -> None:
    await trouble(case)
    found = await case.findings()
    assert {each["invariant"] for each in found} == {invariant}
    if adjustment is not None:
        await case.adjust(adjustment, 10)
    for each in found:
        assert each["repairs"][-1] == "acknowledge"
        answer = await case.repair("acknowledge", each["finding_id"])
        assert answer.status_code == 201, answer.text
    report = await case.audit()
    assert (report["ok"], report["violations"]) == (True, [])
    ids = {each["finding_id"] for each in report["acknowledged"]}
    assert ids == {each["finding_id"] for each in found}
    path = f"/api/admin/users/{case.person.id}/adjustments"
    by_hand = (await case.service.get(path, case.admin)).json()["adjustments"]
    acts = {each["subject_id"] for each in by_hand if each["action"] == "acknowledge"}
    assert acts == ids


async def test_a_reserve_whose_entry_exists_is_released_and_the_record_acknowledged(
    case: Case,
) -> None:
    await reserve_of_a_refund_that_is_taken_already(case)
    found = {each["invariant"]: each for each in await case.findings()}
    assert set(found) == {"reserves_have_their_reason", "what_went_back_is_taken_once"}
    assert "its entry exists already" in found["reserves_have_their_reason"]["detail"]
    subject = found["reserves_have_their_reason"]["subject"]
    assert (await case.repair("release", subject)).status_code == 201
    assert await case.money() == (60.0, 0.0, 0.0)
    [rest] = await case.findings()
    assert (await case.repair("acknowledge", rest["finding_id"])).status_code == 201
    assert await case.findings() == []


# --- what must not be done ----------------------------------------------------------------------


async def test_what_is_open_keeps_its_money(case: Case) -> None:
    refund_id = await refunded(case, until="pending")
    for subject in (refund_id, await open_call(case)):
        refused = await case.repair("release", subject)
        assert (refused.status_code, refused.json()["code"]) == (409, "still_open")
    assert await case.findings() == []


async def open_call(case: Case) -> str:
    talks = {"outcome": "completed", "duration_seconds": 50, "wall_seconds": 40}
    return str((await calling.place(case.service, case.person, talks))["call_id"])


async def test_nothing_is_repaired_that_is_right(case: Case) -> None:
    await case.service.fund(case.person, 100)
    for action in ("release", "reserve", "write_off", "recount", "acknowledge"):
        refused = await case.repair(action, "call_never")
        assert (refused.status_code, refused.json()["code"]) == (409, "nothing_to_repair"), action
    assert (await case.repair("post", "pay_never")).status_code == 404
    nobody = await case.repair("release", "x", user_id="usr_nobody")
    assert nobody.status_code == 404
    assert await case.money() == (100.0, 0.0, 0.0)


async def test_an_admin_repairs_no_wallet_of_his_own(service: Service, admin: Person) -> None:
    case = Case(service, admin, admin)
    await case.set_wallet(dues={"x": database.long(700)}, due_paise=database.long(700))
    refused = await case.repair("write_off", "x")
    assert (refused.status_code, refused.json()["code"]) == (403, "own_wallet")
    await case.set_wallet(dues={}, due_paise=database.long(0))


async def test_a_large_due_is_not_written_off_by_one_admin(case: Case) -> None:
    paise = database.long(1_000_01)
    await case.set_wallet(dues={"refund_ghost": paise}, due_paise=paise)
    refused = await case.repair("write_off", "refund_ghost")
    assert (refused.status_code, refused.json()["code"]) == (403, "second_admin_needed")
    assert (await case.money())[2] == 1000.01


async def test_a_repair_needs_a_key_and_a_reason(case: Case) -> None:
    path = "/api/admin/audit/repairs"
    body = {"action": "release", "user_id": case.person.id, "subject": "x", "reason": "a reason"}
    refused = await case.service.post(path, case.admin, json=body)
    assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_key_required")
    for wrong in ({"reason": " "}, {"action": "give"}, {"subject": ""}):
        answer = await case.service.post(path, case.admin, json=body | wrong, headers=new_key())
        assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")


async def test_a_reserve_is_not_released_when_its_refund_changes_meanwhile(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refund counts as failed; before the release commits, Razorpay has made it after all."""
    refund_id = await refunded(case, until="pending")
    await db.refunds.update_one({"_id": refund_id}, {"$set": {"status": "failed"}})
    real = wallet.repair

    async def late(*given: Any, **facts: Any) -> Any:
        await db.refunds.update_one({"_id": refund_id}, {"$set": {"status": "reserved"}})
        return await real(*given, **facts)

    monkeypatch.setattr(wallet, "repair", late)
    refused = await case.repair("release", refund_id)
    assert (refused.status_code, refused.json()["code"]) == (409, "still_open")
    assert (await case.money())[1] == 40.0
