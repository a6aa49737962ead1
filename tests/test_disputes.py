"""Disputes: their money waits, is taken once when they are lost, and is free again when they are won."""

import asyncio
import dataclasses
import datetime as dt
from collections.abc import AsyncIterator

import pytest

import disputes
import gateway
import ledger
import refunds
import wallet
from core import config, database, fail_points
from core.database import db
from reconciliation import webhooks
from sandbox import refunds as sandbox_refunds
from tests.support import payments as paying
from tests.support.service import Person, Service, new_key, running, test_settings


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for all tests of this file, without webhooks; each test has users of its own."""
    async with running(test_settings(mongodb_uri, signups_per_hour=100_000)) as started:
        await paying.webhooks(started, enabled=False)
        yield started


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox_refunds, "PROCESSED_AFTER_SECONDS", 0.05)


@pytest.fixture(scope="module")
async def admin(service: Service) -> Person:
    return await service.admin()


async def disputed(service: Service, payment_id: str, **facts: object) -> str:
    """A dispute at Razorpay that we have not heard of."""
    made = await paying.outside(service, f"/payments/{payment_id}/disputes", **facts)
    return str(made["id"])


async def told(dispute_id: str) -> str:
    """What the webhook and the reconciliation do."""
    return await disputes.apply_update(await gateway.fetch_dispute(dispute_id))


async def at_razorpay(dispute_id: str, **facts: object) -> None:
    """What no page of the sandbox brings about: a decision that is changed in the same phase."""
    there = database.client()[f"{database.database_name()}_sandbox"]
    await there["disputes"].update_one({"_id": dispute_id}, {"$set": facts})


async def becomes(service: Service, dispute_id: str, **facts: object) -> str:
    await paying.outside(service, f"/disputes/{dispute_id}", **facts)
    return await told(dispute_id)


async def spend(service: Service, admin: Person, person: Person, rupees: float) -> None:
    body = {"type": "debit", "amount": rupees, "reason": "spent elsewhere"}
    path = f"/api/admin/users/{person.id}/adjustments"
    answer = await service.post(path, admin, json=body, headers=new_key())
    assert answer.status_code == 201


async def state_of(dispute_id: str) -> str:
    """What our record of the dispute says has become of its money."""
    record = await db.disputes.find_one({"_id": dispute_id})
    assert record is not None
    return str(record["state"])


async def money(service: Service, person: Person) -> tuple[float, float, float]:
    found = await service.balance(person)
    return found["balance"], found["held"], found["due"]


async def test_row_27_a_dispute_holds_its_money_and_a_lost_one_takes_it_once(
    service: Service, admin: Person
) -> None:
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    dispute_id = await disputed(service, payment_id, amount=6_000)
    await asyncio.gather(*(told(dispute_id) for _ in range(5)))
    assert await money(service, person) == (100.0, 60.0, 0.0)
    assert await state_of(dispute_id) == "reserved"
    await becomes(service, dispute_id, status="under_review")
    assert await money(service, person) == (100.0, 60.0, 0.0)
    assert await state_of(dispute_id) == "reserved"
    await paying.outside(service, f"/disputes/{dispute_id}", status="lost")
    await asyncio.gather(*(told(dispute_id) for _ in range(5)))
    assert await money(service, person) == (40.0, 0.0, 0.0)
    shown = (await service.get("/api/admin/disputes?state=debited", admin)).json()["disputes"]
    mine = next(each for each in shown if each["dispute_id"] == dispute_id)
    assert (mine["status"], mine["amount"], mine["user_id"]) == ("lost", 60.0, person.id)
    await paying.audited(service, person)


@pytest.mark.parametrize("end", ["won", "closed"])
async def test_row_27_what_a_dispute_held_is_free_again_when_it_is_won_or_closed(
    service: Service, end: str
) -> None:
    person = await service.signup()
    dispute_id = await disputed(service, await paying.recharge(service, person))
    await told(dispute_id)
    assert (await service.balance(person))["available"] == 0.0
    assert await becomes(service, dispute_id, status=end) == "dispute released"
    assert await state_of(dispute_id) == "released"
    assert await money(service, person) == (100.0, 0.0, 0.0)
    await paying.audited(service, person)


async def test_each_step_of_a_dispute_is_a_point_at_which_a_process_may_end(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tests/resilience/test_fail_points.py ends one at each of them."""
    reached: list[str] = []
    monkeypatch.setattr(fail_points, "reach", reached.append)
    person = await service.signup()
    dispute_id = await disputed(service, await paying.recharge(service, person))

    async def reaches(*points: str) -> None:
        await told(dispute_id)
        assert reached == list(points)
        reached.clear()

    await reaches("dispute.decided", "dispute.reserved")
    await paying.outside(service, f"/disputes/{dispute_id}", status="under_review")
    await reaches("dispute.decided", "dispute.noted")
    await paying.outside(service, f"/disputes/{dispute_id}", status="lost")
    await reaches("dispute.decided", "dispute.collected")
    await paying.outside(service, f"/disputes/{dispute_id}", phase="pre_arbitration")
    await reaches(
        *("dispute.decided", "dispute.given_back"), *("dispute.decided", "dispute.reserved")
    )
    await paying.outside(service, f"/disputes/{dispute_id}", status="won")
    await reaches("dispute.decided", "dispute.released")


async def test_a_dispute_over_spent_money_leaves_a_due_that_the_next_recharge_pays(
    service: Service, admin: Person
) -> None:
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    await spend(service, admin, person, 70)
    dispute_id = await disputed(service, payment_id)
    await told(dispute_id)
    assert await money(service, person) == (30.0, 30.0, 0.0)
    assert await state_of(dispute_id) == "reserved"
    await becomes(service, dispute_id, status="lost")
    assert await money(service, person) == (0.0, 0.0, 70.0)
    assert await state_of(dispute_id) == "debited"
    await paying.recharge(service, person)
    assert await money(service, person) == (30.0, 0.0, 0.0)
    paid = await db.transactions.find_one({"user_id": person.id, "category": "due_recovery"})
    assert paid is not None
    assert dispute_id in paid["description"]
    await paying.audited(service, person)


async def test_the_end_of_a_dispute_may_be_the_first_that_we_hear_of_it(service: Service) -> None:
    person = await service.signup()
    dispute_id = await disputed(service, await paying.recharge(service, person), amount=2_500)
    assert await becomes(service, dispute_id, status="lost") == "dispute debited"
    assert await money(service, person) == (75.0, 0.0, 0.0)
    assert await state_of(dispute_id) == "debited"


async def test_a_won_dispute_that_comes_back_in_a_new_phase_holds_its_money_again(
    service: Service,
) -> None:
    person = await service.signup()
    dispute_id = await disputed(service, await paying.recharge(service, person))
    await told(dispute_id)
    await becomes(service, dispute_id, status="won")
    await paying.outside(service, f"/disputes/{dispute_id}", phase="pre_arbitration")
    assert await told(dispute_id) == "dispute reserved"
    assert await money(service, person) == (100.0, 100.0, 0.0)
    assert await state_of(dispute_id) == "reserved"
    await becomes(service, dispute_id, status="lost")
    assert await money(service, person) == (0.0, 0.0, 0.0)
    assert await state_of(dispute_id) == "debited"
    await paying.audited(service, person)


async def test_a_dispute_that_is_lost_after_it_was_won_takes_its_money_once(
    service: Service,
) -> None:
    person = await service.signup()
    dispute_id = await disputed(service, await paying.recharge(service, person), amount=4_000)
    await becomes(service, dispute_id, status="won")
    assert await state_of(dispute_id) == "released"
    await at_razorpay(dispute_id, status="lost", amount_deducted=4_000)
    for _ in range(3):
        assert await told(dispute_id) == "dispute debited"
    assert await state_of(dispute_id) == "debited"
    assert await money(service, person) == (60.0, 0.0, 0.0)
    await paying.audited(service, person)


@pytest.mark.parametrize("first", ["refund", "dispute", "both"])
async def test_row_27_a_lost_dispute_that_also_arrives_as_a_refund_is_taken_once(
    service: Service, first: str
) -> None:
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    dispute_id = await disputed(service, payment_id, amount=4_000)
    if first != "refund":
        await told(dispute_id)
    await paying.outside(service, f"/disputes/{dispute_id}", status="lost", as_refund=True)
    await asyncio.sleep(0.1)
    [refund] = await gateway.fetch_refunds_of(payment_id)
    if first == "both":
        await asyncio.gather(told(dispute_id), webhooks.apply_refund_update(refund))
    elif first == "refund":
        await webhooks.apply_refund_update(refund)
        await told(dispute_id)
    else:
        await told(dispute_id)
        await webhooks.apply_refund_update(refund)
    for _ in range(2):
        await webhooks.apply_refund_update(refund)
        await told(dispute_id)
    assert await money(service, person) == (60.0, 0.0, 0.0)
    await paying.audited(service, person)


async def test_a_refund_pays_back_the_lost_dispute_and_not_an_open_one_of_the_same_amount(
    service: Service,
) -> None:
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    waiting = await disputed(service, payment_id, amount=3_000)
    lost = await disputed(service, payment_id, amount=3_000)
    await told(waiting)
    await told(lost)
    assert [await state_of(each) for each in (waiting, lost)] == ["reserved", "reserved"]
    assert await money(service, person) == (100.0, 60.0, 0.0)
    await paying.outside(service, f"/disputes/{lost}", status="lost", as_refund=True)
    await asyncio.sleep(0.1)
    [refund] = await gateway.fetch_refunds_of(payment_id)
    assert await webhooks.apply_refund_update(refund) == "refund processed"
    await told(lost)
    assert [await state_of(each) for each in (waiting, lost)] == ["reserved", "refunded"]
    assert await money(service, person) == (70.0, 30.0, 0.0)
    await becomes(service, waiting, status="won")
    assert await state_of(waiting) == "released"
    assert await money(service, person) == (70.0, 0.0, 0.0)
    await paying.audited(service, person)


async def test_refund_and_dispute_that_both_took_the_money_give_it_back_once(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What two processes can bring about that hear of both in the same millisecond."""
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    dispute_id = await disputed(service, payment_id, amount=4_000)
    await told(dispute_id)
    await paying.outside(service, f"/disputes/{dispute_id}", status="lost", as_refund=True)
    await asyncio.sleep(0.1)
    [refund] = await gateway.fetch_refunds_of(payment_id)
    await refunds.apply_update(refund)  # as if no dispute were known yet

    async def no_refund_yet(payment_ids: list[str]) -> list[refunds.Refund]:
        return []

    with monkeypatch.context() as before:
        before.setattr(refunds, "find_refunds_of_payments", no_refund_yet)
        await told(dispute_id)
    assert await state(dispute_id) == ("debited", 4_000, 0)
    assert await money(service, person) == (20.0, 0.0, 0.0)
    await webhooks.apply_refund_update(refund)
    assert await state(dispute_id) == ("refunded", 0, 0)
    await told(dispute_id)
    assert await money(service, person) == (60.0, 0.0, 0.0)
    await paying.audited(service, person)


async def state(dispute_id: str) -> tuple[str | None, int, int]:
    """What its money does, what was taken, and what of that is due."""
    record = await db.disputes.find_one({"_id": dispute_id})
    assert record is not None
    return record["state"], record.get("taken_paise", 0), record["due_paise"]


async def test_the_refund_of_a_lost_dispute_takes_its_money_before_the_dispute_is_reported_lost(
    service: Service,
) -> None:
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    dispute_id = await disputed(service, payment_id, amount=4_000)
    await told(dispute_id)
    await paying.outside(service, f"/disputes/{dispute_id}", status="lost", as_refund=True)
    await asyncio.sleep(0.1)
    [refund] = await gateway.fetch_refunds_of(payment_id)
    assert await webhooks.apply_refund_update(refund) == "refund processed"
    assert await money(service, person) == (60.0, 0.0, 0.0)
    assert await state(dispute_id) == ("refunded", 0, 0)
    [entry] = await db.transactions.find({"user_id": person.id, "type": "debit"}).to_list(None)
    assert (entry["category"], entry["contra"]) == ("refund", "gateway:razorpay")
    kept = await refunds.find_refund(refund.id)
    assert kept is not None
    assert (kept["effect"], kept["dispute_id"]) == ("debit", dispute_id)
    assert (kept["transaction_id"], kept.get("taken_paise")) == (entry["_id"], 4_000)
    await paying.audited(service, person)


async def test_a_lost_dispute_takes_what_razorpay_deducted(service: Service) -> None:
    """Not what was disputed: a bank may take a part."""
    person = await service.signup()
    dispute_id = await disputed(service, await paying.recharge(service, person), amount=6_000)
    await told(dispute_id)
    dispute = await gateway.fetch_dispute(dispute_id)
    lost = dataclasses.replace(dispute, status="lost", deducted_paise=2_500)
    assert await disputes.apply_update(lost) == "dispute debited"
    assert await money(service, person) == (75.0, 0.0, 0.0)
    assert await state(dispute_id) == ("debited", 2_500, 0)
    await paying.audited(service, person)


async def test_a_lost_dispute_that_is_won_in_a_later_phase_gives_back_what_it_took(
    service: Service,
) -> None:
    person = await service.signup()
    dispute_id = await disputed(service, await paying.recharge(service, person), amount=6_000)
    assert await becomes(service, dispute_id, status="lost") == "dispute debited"
    dispute = await gateway.fetch_dispute(dispute_id)
    won = dataclasses.replace(dispute, phase="arbitration", status="won")
    for _ in range(3):
        assert await disputes.apply_update(won) == "dispute released"
    assert await state(dispute_id) == ("released", 0, 0)
    assert await money(service, person) == (100.0, 0.0, 0.0)
    back = await db.transactions.find(
        {"category": "refund_reversal", "user_id": person.id}
    ).to_list(None)
    assert [(entry["amount_paise"], entry["contra"]) for entry in back] == [
        (6_000, "gateway:razorpay")
    ]
    await paying.audited(service, person)


async def test_a_refund_made_before_the_dispute_is_not_the_disputes_money(
    service: Service,
) -> None:
    """Of the same amount and reported late: both went back."""
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    made = await paying.outside(service, f"/payments/{payment_id}/refunds", amount=3_000)
    dispute_id = await disputed(service, payment_id, amount=3_000)
    dispute = await gateway.fetch_dispute(dispute_id)
    refund = await gateway.fetch_refund(made["id"])
    assert dispute.created_at is not None
    earlier = dispute.created_at - dt.timedelta(days=1)
    await webhooks.apply_refund_update(dataclasses.replace(refund, created_at=earlier))
    assert await becomes(service, dispute_id, status="lost") == "dispute debited"
    await refunds_off(refund.id)
    assert await money(service, person) == (40.0, 0.0, 0.0)
    await paying.audited(service, person)


async def refunds_off(refund_id: str) -> None:
    """The refund went off, as the worker hears of it."""
    async with asyncio.timeout(30):
        while True:
            record = await refunds.check_refund(await refunds.get_refund(refund_id, None))
            if record["status"] == "processed":
                return
            await asyncio.sleep(0.05)


async def test_a_dispute_about_somebody_elses_payment_is_none_of_ours(service: Service) -> None:
    person = await service.signup()
    order_id = await paying.open_order(service, person)
    forced = await paying.force_payment(service, order_id, status="captured", amount=9_900)
    dispute_id = await disputed(service, forced["razorpay_payment_id"])
    assert await told(dispute_id) == "ignored: of a payment that is not ours"
    await paying.verify(service, person, forced)  # known now, but in review: never credited
    assert await told(dispute_id) == "dispute ignored"
    assert await state_of(dispute_id) == "ignored"
    assert await money(service, person) == (0.0, 0.0, 0.0)


async def test_by_policy_a_dispute_freezes_the_wallet(service: Service) -> None:
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    config.use(service.settings.model_copy(update={"dispute_freezes_wallet": True}))
    try:
        dispute_id = await disputed(service, payment_id, amount=1_000)
        await told(dispute_id)
    finally:
        config.use(service.settings)
    assert await state_of(dispute_id) == "reserved"
    assert (await service.balance(person))["frozen"]
    by_hand = await db.adjustments.find_one({"user_id": person.id})
    assert by_hand is not None
    assert (by_hand["by"], by_hand["reason"]) == ("policy", f"Dispute {dispute_id}")


async def resolved(
    service: Service, admin: Person, dispute_id: str, action: str, **facts: str
) -> dict[str, object]:
    body = {"action": action, "reason": "the dashboard says so", **facts}
    answer = await service.post(f"/api/admin/disputes/{dispute_id}/resolve", admin, json=body)
    assert answer.status_code == 200, answer.text
    shown: dict[str, object] = answer.json()
    return shown


async def test_of_two_lost_disputes_of_one_amount_an_admin_says_which_a_refund_paid_back(
    service: Service, admin: Person
) -> None:
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    first = await disputed(service, payment_id, amount=3_000)
    second = await disputed(service, payment_id, amount=3_000)
    await becomes(service, first, status="lost")
    assert (await told(second), await money(service, person)) == (
        "dispute reserved",
        (70.0, 30.0, 0.0),
    )
    await paying.outside(service, f"/disputes/{second}", status="lost", as_refund=True)
    await asyncio.sleep(0.1)
    [refund] = await gateway.fetch_refunds_of(payment_id)
    await webhooks.apply_refund_update(refund)
    await told(second)
    assert await money(service, person) == (40.0, 0.0, 0.0)  # whichever it was
    path = "/api/admin/disputes?unclear=true"
    waiting = (await service.get(path, admin)).json()["disputes"]
    mine = [each for each in waiting if each["user_id"] == person.id]
    assert {each["unclear"]["reason"] for each in mine} == {"several_disputes"}
    assert mine[0]["unclear"]["refund_ids"] == [refund.id]
    assert sorted(mine[0]["unclear"]["dispute_ids"]) == sorted([first, second])
    shown = await resolved(service, admin, second, "pair", refund_id=refund.id)
    assert (shown["state"], shown["refund_id"], shown["unclear"]) == ("refunded", refund.id, None)
    for each in mine:
        await resolved(service, admin, each["dispute_id"], "keep")
    assert await state_of(first) == "debited"
    assert await money(service, person) == (40.0, 0.0, 0.0)
    # So what is opened again is the one that was debited by itself.
    await paying.outside(service, f"/disputes/{first}", phase="pre_arbitration")
    await told(first)
    assert await money(service, person) == (70.0, 30.0, 0.0)
    await paying.audited(service, person)


async def test_an_admin_says_that_a_refund_was_for_something_else(
    service: Service, admin: Person
) -> None:
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    dispute_id = await disputed(service, payment_id, amount=3_000)
    await becomes(service, dispute_id, status="lost")
    made = await paying.outside(service, f"/payments/{payment_id}/refunds", amount=3_000)
    await paying.outside(service, f"/refunds/{made['id']}", status="processed")
    await webhooks.apply_refund_update(await gateway.fetch_refund(made["id"]))
    assert await money(service, person) == (70.0, 0.0, 0.0)
    for _ in range(2):
        shown = await resolved(service, admin, dispute_id, "unpair", refund_id=made["id"])
        assert (shown["state"], shown["taken"], shown["refund_id"]) == ("debited", 30.0, None)
        assert await money(service, person) == (40.0, 0.0, 0.0)
        await webhooks.apply_refund_update(await gateway.fetch_refund(made["id"]))
    await paying.audited(service, person)


async def test_an_admin_rules_out_every_refund_of_a_payment_for_a_dispute(
    service: Service, admin: Person
) -> None:
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    dispute_id = await disputed(service, payment_id, amount=3_000)
    await told(dispute_id)
    made = await paying.outside(service, f"/payments/{payment_id}/refunds", amount=2_000)
    await webhooks.apply_refund_update(await gateway.fetch_refund(made["id"]))
    # As if it had come while the dispute was lost.
    await db.refunds.update_one({"gateway_id": made["id"]}, {"$unset": {"not_for": True}})
    for action, ruled_out in (("keep", []), ("unpair", [dispute_id])):
        shown = await resolved(service, admin, dispute_id, action)
        assert shown["state"] == "reserved"
        record = await refunds.find_refund_by_gateway_id(made["id"])
        assert record is not None
        assert record.get("not_for", []) == ruled_out


async def test_a_loss_whose_reserve_is_gone_is_reserved_again_and_taken(service: Service) -> None:
    person = await service.signup()
    dispute_id = await disputed(service, await paying.recharge(service, person), amount=3_000)
    await told(dispute_id)
    gone = ledger.Unreserve(user_id=person.id, reserve_id=f"{dispute_id}:chargeback")
    await wallet.post(gone)
    assert await money(service, person) == (100.0, 0.0, 0.0)
    assert await becomes(service, dispute_id, status="lost") == "dispute debited"
    assert await money(service, person) == (70.0, 0.0, 0.0)
    record = await db.disputes.find_one({"_id": dispute_id})
    assert record is not None
    assert record["reserve_id"] == f"{dispute_id}:chargeback:2"
    await paying.audited(service, person)


async def test_an_admin_gives_back_what_a_lost_dispute_took(
    service: Service, admin: Person
) -> None:
    person = await service.signup()
    dispute_id = await disputed(service, await paying.recharge(service, person), amount=3_000)
    await becomes(service, dispute_id, status="lost")
    assert await money(service, person) == (70.0, 0.0, 0.0)
    for _ in range(2):
        shown = await resolved(service, admin, dispute_id, "release")
        assert (shown["state"], shown["taken"], shown["status"]) == ("released", 0.0, "lost")
        await told(dispute_id)
        assert await money(service, person) == (100.0, 0.0, 0.0)
    entry = await db.transactions.find_one({"user_id": person.id, "category": "refund_reversal"})
    assert entry is not None
    assert entry["key"] == f"dispute_back:{dispute_id}:chargeback:by_hand"
    await paying.audited(service, person)


async def test_a_refund_that_paid_a_dispute_back_and_fails_waits_for_an_admin(
    service: Service, admin: Person
) -> None:
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    dispute_id = await disputed(service, payment_id, amount=3_000)
    await paying.outside(service, f"/disputes/{dispute_id}", status="lost", as_refund=True)
    [refund] = await gateway.fetch_refunds_of(payment_id)
    await told(dispute_id)
    await asyncio.sleep(0.1)
    await webhooks.apply_refund_update(await gateway.fetch_refund(refund.id))
    assert await money(service, person) == (70.0, 0.0, 0.0)
    await paying.outside(service, f"/refunds/{refund.id}", status="failed")
    await webhooks.apply_refund_update(await gateway.fetch_refund(refund.id))
    assert await money(service, person) == (100.0, 0.0, 0.0)
    for _ in range(2):  # the failure says it already, and the dispute says nothing else
        record = await db.disputes.find_one({"_id": dispute_id})
        assert record is not None
        assert (record["state"], record["unclear"]["reason"]) == ("refunded", "refund_failed")
        await told(dispute_id)
    assert (await resolved(service, admin, dispute_id, "take"))["state"] == "debited"
    await told(dispute_id)
    assert await money(service, person) == (70.0, 0.0, 0.0)
    await paying.audited(service, person)


@pytest.mark.parametrize(
    ("action", "left"), [("release", (100.0, 0.0, 0.0)), ("take", (60.0, 0.0, 0.0))]
)
async def test_an_admin_ends_a_dispute_that_razorpay_does_not_know_any_more(
    service: Service, admin: Person, action: str, left: tuple[float, float, float]
) -> None:
    person = await service.signup()
    dispute_id = await disputed(service, await paying.recharge(service, person), amount=4_000)
    await told(dispute_id)
    opened = await gateway.fetch_dispute(dispute_id)
    [record] = await disputes.find_disputes_of_payments([opened.payment_id])
    assert await disputes.mark_unknown(record)
    waiting = {each["_id"]: each["unclear"] for each in await disputes.list_unclear_pairs(1_000)}
    unclear = waiting[dispute_id]
    assert unclear is not None
    assert (unclear["reason"], unclear["dispute_ids"]) == ("unknown_at_razorpay", [dispute_id])
    for _ in range(2):
        shown = await resolved(service, admin, dispute_id, action)
        assert shown["unclear"] is None
        assert await disputes.apply_update(opened)  # of that phase and status it is decided
        assert await money(service, person) == left
    [record] = await disputes.find_disputes_of_payments([opened.payment_id])
    assert not await disputes.mark_unknown(record)
    lost = dataclasses.replace(opened, status="lost", deducted_paise=4_000)
    await disputes.apply_update(lost)  # and what is new counts
    assert await money(service, person) == (60.0, 0.0, 0.0)
    await paying.audited(service, person)


async def test_what_cannot_have_paid_a_dispute_back_is_not_paired(
    service: Service, admin: Person
) -> None:
    person = await service.signup()
    dispute_id = await disputed(service, await paying.recharge(service, person), amount=4_000)
    await told(dispute_id)
    other = await paying.recharge(service, person)
    made = await paying.outside(service, f"/payments/{other}/refunds", amount=4_000)
    await webhooks.apply_refund_update(await gateway.fetch_refund(made["id"]))
    path = f"/api/admin/disputes/{dispute_id}/resolve"
    body = {"action": "pair", "refund_id": made["id"], "reason": "the dashboard says so"}
    assert (await service.post(path, admin, json=body)).status_code == 404
    mine = await disputes.find_disputes_of_payments([other])
    assert mine == []
    unknown = {"action": "release", "reason": "never heard of it"}
    path = "/api/admin/disputes/disp_unknown/resolve"
    assert (await service.post(path, admin, json=unknown)).status_code == 404
