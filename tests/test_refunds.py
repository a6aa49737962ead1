"""Refunds: reserved first, asked for once, and in the right state whatever Razorpay does."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from ulid import ULID

import gateway
import ledger
import payments
import refunds
import wallet
from core import clock, config, database
from core.database import db
from gateway import client as gateway_client
from refunds import Refund
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
async def quick(service: Service, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    monkeypatch.setattr(sandbox_refunds, "PROCESSED_AFTER_SECONDS", 0.1)
    monkeypatch.setattr(sandbox_refunds, "FAILS_LATE_AFTER_SECONDS", 1.5)
    yield
    await paying.all_faults_over(service)


@pytest.fixture(scope="module")
async def admin(service: Service) -> Person:
    return await service.admin()


async def refund(service: Service, admin: Person, payment_id: str, **body: Any) -> httpx.Response:
    headers = {"Idempotency-Key": database.new_id("key")} | body.pop("headers", {})
    body = {"payment_id": payment_id, "reason": "asked by mail"} | body
    return await service.post("/api/payment/refunds", admin, json=body, headers=headers)


async def refunded(service: Service, admin: Person, payment_id: str, **body: Any) -> str:
    answer = await refund(service, admin, payment_id, **body)
    assert answer.status_code == 201, answer.text
    refund_id: str = answer.json()["refund_id"]
    return refund_id


async def followed(refund_id: str, status: str) -> Refund:
    """The refund, followed as the worker does it, until it is there."""
    async with asyncio.timeout(60):
        while True:
            record = await refunds.check_refund(await refunds.get_refund(refund_id, None))
            if record["status"] == status:
                return record
            await asyncio.sleep(0.05)


async def categories(person: Person) -> list[str]:
    found = db.transactions.find({"user_id": person.id}).sort("seq", 1)
    return [entry["category"] async for entry in found]


async def test_a_refund_is_reserved_then_taken_when_it_went_off(
    service: Service, admin: Person
) -> None:
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    answer = await refund(service, admin, payment_id, amount=40)
    assert answer.status_code == 201, answer.text
    body = answer.json()
    assert (body["status"], body["amount"], body["payment_id"]) == ("pending", 40.0, payment_id)
    balance = await service.balance(person)
    assert (balance["balance"], balance["held"], balance["available"]) == (100.0, 40.0, 60.0)
    await followed(body["refund_id"], "processed")
    balance = await service.balance(person)
    assert (balance["balance"], balance["held"]) == (60.0, 0.0)
    shown = (await service.get(f"/api/payment/refunds/{body['refund_id']}", person)).json()
    assert (shown["status"], shown["due"]) == ("processed", 0.0)
    entry = await db.transactions.find_one({"_id": shown["transaction_id"]})
    assert entry is not None
    assert (entry["category"], entry["refund_id"]) == ("refund", body["refund_id"])
    assert (entry["payment_id"], entry["contra"]) == (payment_id, "gateway:razorpay")
    await paying.audited(service, person)


async def test_without_an_amount_all_that_is_left_goes_back_and_then_nothing_is(
    service: Service, admin: Person
) -> None:
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    await followed(await refunded(service, admin, payment_id, amount=30), "processed")
    second = await refunded(service, admin, payment_id)
    assert (await followed(second, "processed"))["amount_paise"] == 7_000
    assert (await service.balance(person))["balance"] == 0.0
    answer = await refund(service, admin, payment_id)
    assert (answer.status_code, answer.json()["code"]) == (409, "payment_not_refundable")
    listed = (await service.get("/api/payment/refunds", person)).json()
    assert [each["amount"] for each in listed["refunds"]] == [70.0, 30.0]
    await paying.audited(service, person)


async def test_what_is_spent_or_held_is_never_refunded(service: Service, admin: Person) -> None:
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    call = {"to": "+919876543210", "simulate": {"duration_seconds": 60, "wall_seconds": 30}}
    placed = await service.post("/api/call", person, json=call)
    assert placed.status_code == 202
    available = (await service.balance(person))["available"]
    answer = await refund(service, admin, payment_id)
    assert (answer.status_code, answer.json()["code"]) == (409, "refund_exceeds_unspent")
    assert answer.json()["refundable"] == available
    await refunded(service, admin, payment_id, amount=available)
    await service.post(f"/api/calls/{placed.json()['call_id']}/hangup", person)
    await paying.audited(service, person)


async def test_refunds_asked_for_at_once_never_pass_the_payment_together(
    service: Service, admin: Person
) -> None:
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    await service.fund(person, 1_000)
    answers = await asyncio.gather(
        *(refund(service, admin, payment_id, amount=30) for _ in range(12))
    )
    made = [answer for answer in answers if answer.status_code == 201]
    assert len(made) == 3
    assert {a.json()["code"] for a in answers if a not in made} == {"refund_exceeds_unspent"}
    for answer in made:
        await followed(answer.json()["refund_id"], "processed")
    assert (await service.balance(person))["balance"] == 1_010.0
    await paying.audited(service, person)


async def test_row_24_a_refund_whose_answer_was_lost_is_asked_for_again_and_made_once(
    service: Service, admin: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_client, "READ_SECONDS", 1.5)
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    path = f"/payments/{payment_id}/refund"
    await paying.fault(service, "lost_response", path=path, method="POST", count=2)
    key = {"Idempotency-Key": "refund-once"}
    answer = await refund(service, admin, payment_id, amount=40, headers=key)
    assert (answer.status_code, answer.json()["status"]) == (201, "pending")
    again = await refund(service, admin, payment_id, amount=40, headers=key)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.json()["refund_id"] == answer.json()["refund_id"]
    assert (await service.balance(person))["held"] == 40.0
    await followed(answer.json()["refund_id"], "processed")
    assert (await service.balance(person))["balance"] == 60.0
    assert len(await gateway.fetch_refunds_of(payment_id)) == 1
    await paying.audited(service, person)


@pytest.mark.parametrize(
    "kind", ["timeout", "reset", "429", "500", "502_html", "200_html", "error_null", "empty_list"]
)
async def test_when_razorpay_does_not_answer_the_money_stays_reserved_until_it_does(
    service: Service, admin: Person, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_client, "READ_SECONDS", 1.5)
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    await paying.fault(service, kind, path=f"/payments/{payment_id}/refund", seconds=2)
    answer = await refund(service, admin, payment_id, amount=40)
    assert (answer.status_code, answer.json()["status"]) == (201, "pending"), answer.text
    assert (await service.balance(person))["held"] == 40.0
    await followed(answer.json()["refund_id"], "processed")
    assert (await service.balance(person))["balance"] == 60.0
    await paying.audited(service, person)


@pytest.mark.parametrize("kind", ["merchant_balance_low", "refund_nonsense", "refund_in_progress"])
async def test_row_35_a_refusal_that_may_pass_keeps_the_refund_pending_and_asks_again(
    service: Service, admin: Person, kind: str
) -> None:
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    await paying.fault(service, kind, path=f"/payments/{payment_id}/refund", count=2)
    refund_id = await refunded(service, admin, payment_id, amount=40)
    shown = (await service.get(f"/api/payment/refunds/{refund_id}", admin)).json()
    assert shown["status"] == "pending"
    assert "asked for again" in shown["message"]
    waiting = (await service.get("/api/admin/reconciliation", admin)).json()["waiting"]
    assert ("refund", refund_id) in [(each["kind"], each["id"]) for each in waiting]
    assert (await followed(refund_id, "processed"))["failure"] is None
    assert (await service.balance(person))["balance"] == 60.0


async def test_a_refund_refused_for_three_days_is_given_up_and_the_money_is_free(
    service: Service, admin: Person
) -> None:
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    await paying.fault(service, "merchant_balance_low", path=payment_id, count=9)
    refund_id = await refunded(service, admin, payment_id, amount=40)
    days_ago = {"created_at": clock.after(-3 * 86_400 - 60)}
    await db.refunds.update_one({"_id": refund_id}, {"$set": days_ago})
    record = await followed(refund_id, "failed")
    assert "refused" in (record["failure"] or "")
    assert (await service.balance(person))["available"] == 100.0
    await paying.audited(service, person)
    await paying.all_faults_over(service)
    await refunded(service, admin, payment_id)  # nothing of the payment is spoken for


async def test_a_refund_that_fails_gives_the_money_back(service: Service, admin: Person) -> None:
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    await paying.fault(service, "refund_fails")
    refund_id = await refunded(service, admin, payment_id, amount=40)
    await followed(refund_id, "failed")
    balance = await service.balance(person)
    assert (balance["balance"], balance["available"]) == (100.0, 100.0)
    assert await categories(person) == ["recharge"]
    shown = (await service.get(f"/api/payment/refunds/{refund_id}", person)).json()
    assert shown["status"] == "failed"
    await paying.audited(service, person)


async def test_a_refund_that_fails_after_it_was_processed_is_reversed_by_an_entry(
    service: Service, admin: Person
) -> None:
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    refund_id = await refunded(service, admin, payment_id, amount=40)
    record = await followed(refund_id, "processed")
    await paying.outside(service, f"/refunds/{record['gateway_id']}", status="failed")
    assert record["gateway_id"] is not None
    for _ in range(3):  # reported as often as it likes
        await refunds.apply_update(await gateway.fetch_refund(record["gateway_id"]))
    assert (await refunds.get_refund(refund_id, None))["status"] == "failed"
    assert (await service.balance(person))["balance"] == 100.0
    assert await categories(person) == ["recharge", "refund", "refund_reversal"]
    await paying.audited(service, person)


async def test_row_26_partial_refunds_made_at_razorpay_are_booked_once_each(
    service: Service, admin: Person
) -> None:
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    for amount in (1_000, 2_500):
        made = await paying.outside(service, f"/payments/{payment_id}/refunds", amount=amount)
        told = await gateway.fetch_refund(made["id"])
        await asyncio.gather(*(refunds.apply_update(told) for _ in range(5)))
        await followed(made["id"], "processed")
    assert (await service.balance(person))["balance"] == 65.0
    assert await categories(person) == ["recharge", "refund", "refund"]
    listed = (await service.get("/api/payment/refunds", person)).json()["refunds"]
    assert {each["reason"] for each in listed} == {"Made at Razorpay"}
    answer = await refund(service, admin, payment_id, amount=65.01)
    assert answer.json()["code"] == "refund_exceeds_unspent"
    await paying.audited(service, person)


async def test_a_refund_made_at_razorpay_of_money_that_is_spent_becomes_due(
    service: Service, admin: Person
) -> None:
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    spent = {"type": "debit", "amount": 80, "reason": "spent elsewhere"}
    answer = await service.post(
        f"/api/admin/users/{person.id}/adjustments", admin, json=spent, headers=new_key()
    )
    assert answer.status_code == 201
    made = await paying.outside(service, f"/payments/{payment_id}/refunds", amount=5_000)
    await refunds.apply_update(await gateway.fetch_refund(made["id"]))
    await followed(made["id"], "processed")
    balance = await service.balance(person)
    assert (balance["balance"], balance["due"]) == (0.0, 30.0)
    await paying.recharge(service, person)
    balance = await service.balance(person)
    assert (balance["balance"], balance["due"]) == (70.0, 0.0)
    await paying.audited(service, person)


async def test_a_refund_of_spent_money_that_fails_after_all_owes_nothing(
    service: Service, admin: Person
) -> None:
    """What came back pays first what the refund itself had left due."""
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    spent = {"type": "debit", "amount": 80, "reason": "spent elsewhere"}
    await service.post(
        f"/api/admin/users/{person.id}/adjustments", admin, json=spent, headers=new_key()
    )
    made = await paying.outside(service, f"/payments/{payment_id}/refunds", amount=5_000)
    await refunds.apply_update(await gateway.fetch_refund(made["id"]))
    await followed(made["id"], "processed")
    assert (await service.balance(person))["due"] == 30.0
    await paying.outside(service, f"/refunds/{made['id']}", status="failed")
    await refunds.apply_update(await gateway.fetch_refund(made["id"]))
    balance = await service.balance(person)
    assert (balance["balance"], balance["due"]) == (20.0, 0.0)
    await paying.audited(service, person)


async def test_row_11_the_refund_of_a_payment_that_was_never_credited_takes_nothing(
    service: Service, admin: Person
) -> None:
    person = await service.signup()
    order_id = await paying.open_order(service, person)
    forced = await paying.force_payment(service, order_id, status="authorized", amount=10_500)
    await paying.verify(service, person, forced)  # another amount: kept for review
    payment_id = forced["razorpay_payment_id"]
    await paying.outside(service, f"/payments/{payment_id}/auto-refund")
    for told in await gateway.fetch_refunds_of(payment_id):
        await refunds.apply_update(told)
    assert await categories(person) == []
    assert (await service.balance(person))["balance"] == 0.0
    await paying.audited(service, person)


async def test_a_payment_in_review_is_refunded_without_touching_the_wallet(
    service: Service, admin: Person
) -> None:
    person = await service.signup()
    await service.fund(person, 50)
    order_id = await paying.open_order(service, person)
    forced = await paying.force_payment(service, order_id, status="captured", amount=10_500)
    assert (await paying.verify(service, person, forced)).status_code == 409
    refund_id = await refunded(service, admin, forced["razorpay_payment_id"])
    await followed(refund_id, "processed")
    assert (await service.balance(person))["balance"] == 50.0
    await paying.audited(service, person)


async def test_a_payment_in_review_that_went_back_waits_for_nobody(
    service: Service, admin: Person
) -> None:
    """Whoever sent it back, and in however many parts."""
    person = await service.signup()
    order_id = await paying.open_order(service, person)
    forced = await paying.force_payment(service, order_id, status="captured", amount=10_500)
    assert (await paying.verify(service, person, forced)).status_code == 409
    payment_id = forced["razorpay_payment_id"]
    first = await paying.outside(
        service, f"/payments/{payment_id}/refunds", amount=500, status="processed"
    )
    await refunds.apply_update(await gateway.fetch_refund(first["id"]))
    assert payment_id in [waiting["_id"] for waiting in await payments.list_in_review(1_000)]
    refund_id = await refunded(service, admin, payment_id)
    await followed(refund_id, "processed")
    assert payment_id not in [waiting["_id"] for waiting in await payments.list_in_review(1_000)]
    known = await payments.find_payment(payment_id)
    assert known is not None
    assert known["review"]["resolution"] == "refunded"
    assert known["review"]["resolved_by"] == admin.id  # who asked for the last part
    shown = await service.get(f"/api/payment/orders/{order_id}", person)
    assert "it has been dealt with" in shown.json()["message"]


async def test_a_payment_in_review_waits_again_when_its_refund_fails_after_all(
    service: Service, admin: Person
) -> None:
    person = await service.signup()
    order_id = await paying.open_order(service, person)
    forced = await paying.force_payment(service, order_id, status="captured", amount=10_500)
    assert (await paying.verify(service, person, forced)).status_code == 409
    payment_id = forced["razorpay_payment_id"]
    made = await paying.outside(service, f"/payments/{payment_id}/refunds", status="processed")
    await refunds.apply_update(await gateway.fetch_refund(made["id"]))
    assert payment_id not in [waiting["_id"] for waiting in await payments.list_in_review(1_000)]
    await paying.outside(service, f"/refunds/{made['id']}", status="failed")
    assert await refunds.apply_update(await gateway.fetch_refund(made["id"])) == "refund failed"
    assert payment_id in [waiting["_id"] for waiting in await payments.list_in_review(1_000)]
    assert (await service.balance(person))["balance"] == 0.0


async def test_a_refund_noticed_before_its_payment_was_credited_is_taken_afterwards(
    service: Service, admin: Person
) -> None:
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    made = await paying.outside(service, f"/payments/{payment_id}/refunds", amount=4_000)
    # As if the notice had come first: the record was made when nothing was credited.
    told = await gateway.fetch_refund(made["id"])
    payment = await payments.find_payment(payment_id)
    assert payment is not None
    del payment["transaction_id"]
    early = refunds.new_refund(made["id"], payment, 4_000)
    await db.refunds.insert_one({**early, "gateway_id": made["id"]})
    await refunds.apply_update(told)
    await followed(made["id"], "processed")
    assert (await service.balance(person))["balance"] == 60.0
    await paying.audited(service, person)


async def test_a_refund_reported_before_its_payment_was_credited_is_due_when_the_money_is_spent(
    service: Service, admin: Person
) -> None:
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    made = await paying.outside(
        service, f"/payments/{payment_id}/refunds", amount=4_000, status="processed"
    )
    payment = await payments.find_payment(payment_id)
    assert payment is not None
    del payment["transaction_id"]
    early = refunds.new_refund(made["id"], payment, 4_000)
    await db.refunds.insert_one({**early, "gateway_id": made["id"]})
    spent = {"type": "debit", "amount": 90, "reason": "spent elsewhere"}
    await service.post(
        f"/api/admin/users/{person.id}/adjustments", admin, json=spent, headers=new_key()
    )
    assert await refunds.apply_update(await gateway.fetch_refund(made["id"])) == "refund processed"
    balance = await service.balance(person)
    assert (balance["balance"], balance["due"]) == (0.0, 30.0)
    await paying.audited(service, person)


async def test_a_run_finds_only_refunds_that_went_off_among_the_booked(
    service: Service, admin: Person
) -> None:
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    since = clock.now()
    await paying.fault(service, "refund_fails", count=1)
    failed = await refunded(service, admin, payment_id, amount=10)
    await followed(failed, "failed")
    processed = await refunded(service, admin, payment_id, amount=20)
    await followed(processed, "processed")
    await paying.fault(service, "refund_slow", path=f"/payments/{payment_id}/refund")
    pending = await refunded(service, admin, payment_id, amount=30)
    batches = refunds.processed_refunds_between(since, clock.after(1))
    found = {record["_id"] async for batch in batches for record in batch}
    assert found & {failed, processed, pending} == {processed}


async def test_refunds_are_paged_the_newest_first_and_those_of_one_moment_by_their_id(
    service: Service,
) -> None:
    person = await service.signup()
    payment = await payments.find_payment(await paying.recharge(service, person))
    assert payment is not None
    at = clock.now()
    ids = [f"refund_{person.id}_{number}" for number in range(5)]
    times = [at, clock.after(-1, since=at), at, clock.after(-2, since=at), at]
    for refund_id, created_at in zip(ids, times, strict=True):
        record = refunds.new_refund(refund_id, payment, 100)
        ended = {"created_at": created_at, "status": "failed", "next_check_at": None}
        await db.refunds.insert_one({**record, **ended})
    listed: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        query = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = (await service.get("/api/payment/refunds", person, params=query)).json()
        listed += [each["refund_id"] for each in page["refunds"]]
        cursor = page["next_cursor"]
    assert listed == [ids[4], ids[2], ids[0], ids[1], ids[3]]


async def test_a_due_refund_is_taken_by_one_of_five_polls_and_asked_about_ever_later(
    service: Service,
) -> None:
    person = await service.signup()
    payment = await payments.find_payment(await paying.recharge(service, person))
    assert payment is not None
    record = refunds.new_refund(f"refund_{person.id}", payment, 100)
    # Far in the past: it is the first in line, before what other tests have left.
    await db.refunds.insert_one({**record, "next_check_at": clock.after(-86_400)})
    claims = await asyncio.gather(*(refunds.claim_due_refunds(1) for _ in range(5)))
    taken = [each["_id"] for claim in claims for each in claim]
    assert taken.count(record["_id"]) <= 1  # the worker of the service may have been the one
    claimed = await refunds.get_refund(record["_id"], None)
    assert claimed["next_check_at"] is not None
    assert claimed["next_check_at"] > clock.now()


@pytest.mark.parametrize(
    ("age_seconds", "mode", "pause_seconds"),
    [
        (0, "live", 2),
        (40, "live", 10),
        (4_000, "live", 1_000),
        (40_000, "live", 3_600),
        (4, "sandbox", 2),
        (40_000, "sandbox", 5),
    ],
)
async def test_the_pauses_between_questions_about_a_refund_grow_to_an_hour(
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
    age_seconds: float,
    mode: str,
    pause_seconds: float,
) -> None:
    person = await service.signup()
    payment = await payments.find_payment(await paying.recharge(service, person))
    assert payment is not None
    record = refunds.new_refund("refund_of_some_age", payment, 100)
    record["created_at"] = clock.after(-age_seconds)
    if mode == "live":
        other = service.settings.model_copy(update={"razorpay_key_id": "rzp_live_0123456789abcd"})
        monkeypatch.setattr(config, "settings", lambda: other)
    assert refunds.refund_pause_seconds(record) == pytest.approx(pause_seconds, abs=0.5)


async def test_row_25_a_refund_that_razorpay_made_after_we_gave_it_up_is_taken_all_the_same(
    service: Service, admin: Person
) -> None:
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    await paying.fault(service, "lost_response", path=f"/payments/{payment_id}/refund", seconds=0)
    refund_id = await refunded(service, admin, payment_id, amount=40)
    await refunds.mark_failed(await refunds.get_refund(refund_id, None), "given up")
    assert (await service.balance(person))["available"] == 100.0
    await asyncio.sleep(0.15)
    [told] = await gateway.fetch_refunds_of(payment_id)
    await refunds.apply_update(told)
    assert (await refunds.get_refund(refund_id, None))["status"] == "processed"
    assert (await service.balance(person))["balance"] == 60.0
    await paying.audited(service, person)


async def test_a_refund_that_we_gave_up_and_razorpay_still_makes_is_asked_about_again(
    service: Service, admin: Person
) -> None:
    """Else its money is reserved for ever when no webhook tells how it ended."""
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    await paying.fault(service, "refund_slow", path=f"/payments/{payment_id}/refund")
    refund_id = await refunded(service, admin, payment_id, amount=40)
    record = await refunds.mark_failed(await refunds.get_refund(refund_id, None), "given up")
    assert record["next_check_at"] is None
    assert record["gateway_id"] is not None
    await refunds.apply_update(await gateway.fetch_refund(record["gateway_id"]))
    assert (await service.balance(person))["available"] == 60.0
    assert (await refunds.get_refund(refund_id, None))["next_check_at"] is not None
    await paying.outside(service, f"/refunds/{record['gateway_id']}", status="processed")
    await followed(refund_id, "processed")
    assert (await service.balance(person))["balance"] == 60.0
    await paying.audited(service, person)


async def test_a_process_that_died_after_its_claim_blocks_the_payment_for_ten_minutes_at_most(
    service: Service, admin: Person
) -> None:
    person = await service.signup()
    payment_id = await paying.recharge(service, person)

    async def claimed(seconds_ago: float) -> None:
        unborn = f"refund_{ULID.from_datetime(clock.after(-seconds_ago))}"  # it has no record
        claims = {"$set": {"refunds": {unborn: 10_000}}}
        await db.payments.update_one({"_id": payment_id}, claims)

    await claimed(seconds_ago=540)
    answer = await refund(service, admin, payment_id, amount=100)
    assert (answer.status_code, answer.json()["code"]) == (409, "refund_exceeds_unspent")
    await claimed(seconds_ago=660)
    await refunded(service, admin, payment_id, amount=100)


async def test_what_razorpay_never_refunds_is_refused_before_anything_is_reserved(
    service: Service, admin: Person
) -> None:
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    answer = await refund(service, admin, payment_id, amount=0.99)
    assert (answer.status_code, answer.json()["code"]) == (422, "amount_below_minimum")
    assert answer.json()["minimum"] == 1.0
    await followed(await refunded(service, admin, payment_id, amount=99.5), "processed")
    rest = await refund(service, admin, payment_id)  # half a rupee is left
    assert (rest.status_code, rest.json()["code"]) == (422, "amount_below_minimum")
    assert (await service.balance(person))["available"] == 0.5


@pytest.mark.parametrize("amount", [0, -1, 1.001, "1", True, 1e12, float("nan")])
async def test_no_odd_amount_is_refunded(service: Service, admin: Person, amount: Any) -> None:
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    if amount != amount:
        text = f'{{"payment_id": "{payment_id}", "amount": NaN, "reason": "why"}}'
        headers = {"content-type": "application/json", "Idempotency-Key": "not-a-number"}
        answer = await service.post("/api/payment/refunds", admin, content=text, headers=headers)
    else:
        answer = await refund(service, admin, payment_id, amount=amount)
    assert answer.status_code in (400, 409, 422), answer.text
    assert (await service.balance(person))["available"] == 100.0


async def test_a_user_asks_for_no_refund_and_sees_nobody_elses(
    service: Service, admin: Person
) -> None:
    person, other = await service.signup(), await service.signup()
    payment_id = await paying.recharge(service, person)
    assert (await refund(service, person, payment_id)).status_code == 403
    refund_id = await refunded(service, admin, payment_id, amount=10)
    assert (await service.get(f"/api/payment/refunds/{refund_id}", other)).status_code == 404
    assert (await service.get("/api/payment/refunds", other)).json()["refunds"] == []
    assert (await refund(service, admin, "pay_unknown")).status_code == 404
    assert (await refund(service, admin, "pay_/../orders")).status_code == 404


async def there(collection: str) -> Any:
    """Razorpay's own records."""
    return database.client()[f"{database.database_name()}_sandbox"][collection]


async def test_without_an_idempotency_key_nothing_is_refunded(
    service: Service, admin: Person
) -> None:
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    body = {"payment_id": payment_id, "amount": 10, "reason": "asked by mail"}
    answer = await service.post("/api/payment/refunds", admin, json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_required")
    assert (await service.balance(person))["available"] == 100.0


async def test_what_can_be_had_is_named_and_all_that_is_left_is_refunded(
    service: Service, admin: Person
) -> None:
    """Razorpay does not know yet what is being refunded here: it says that all is left."""
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    await service.fund(person, 1_000)
    await paying.fault(service, "merchant_balance_low", path=payment_id, count=99)
    await refunded(service, admin, payment_id, amount=60)
    refused = await refund(service, admin, payment_id, amount=50)
    assert (refused.status_code, refused.json()["code"]) == (409, "refund_exceeds_unspent")
    assert refused.json()["refundable"] == 40.0
    rest = await refund(service, admin, payment_id)
    assert (rest.status_code, rest.json().get("amount")) == (201, 40.0), rest.text
    nothing = await refund(service, admin, payment_id)
    assert (nothing.status_code, nothing.json()["refundable"]) == (409, 0.0)


async def test_an_admin_ends_a_refund_that_razorpay_does_not_know_any_more(
    service: Service, admin: Person
) -> None:
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    await paying.fault(service, "refund_slow", path=payment_id)
    refund_id = await refunded(service, admin, payment_id, amount=40)
    record = await refunds.get_refund(refund_id, None)
    await (await there("refunds")).delete_one({"_id": record["gateway_id"]})
    assert (await refunds.check_refund(record))["status"] == "pending"
    assert refund_id in [each["_id"] for each in await refunds.list_waiting(1_000)]
    shown = (await service.get(f"/api/payment/refunds/{refund_id}", admin)).json()
    assert shown["waits_for"] == "unknown_at_razorpay"
    assert (await service.balance(person))["held"] == 40.0
    path = f"/api/payment/refunds/{refund_id}/resolve"
    decision = {"outcome": "failed", "reason": "support says it was never made"}
    for _ in range(2):
        answer = await service.post(path, admin, json=decision)
        assert answer.status_code == 200, answer.text
        ended = answer.json()
        assert (ended["status"], ended["waits_for"], ended["taken"]) == ("failed", None, 0.0)
    assert [each["by"] for each in ended["decisions"]] == [admin.id]
    assert (await service.balance(person))["available"] == 100.0
    assert refund_id not in [each["_id"] for each in await refunds.list_waiting(1_000)]
    # And the other way: the money had gone off after all.
    answer = await service.post(path, admin, json=decision | {"outcome": "processed"})
    assert (answer.json()["status"], answer.json()["taken"]) == ("processed", 40.0)
    balance = await service.balance(person)
    assert (balance["balance"], balance["held"]) == (60.0, 0.0)
    assert not await refunds.mark_unknown(await refunds.get_refund(refund_id, None))
    await paying.audited(service, person)


async def test_a_refund_of_another_amount_than_ours_waits_for_an_admin(
    service: Service, admin: Person
) -> None:
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    await paying.fault(service, "refund_slow", path=payment_id)
    refund_id = await refunded(service, admin, payment_id, amount=40)
    record = await refunds.get_refund(refund_id, None)
    where = {"_id": record["gateway_id"]}
    await (await there("refunds")).update_one(where, {"$set": {"amount": 3_000}})
    waiting = await refunds.check_refund(record)
    assert (waiting["status"], waiting.get("waits")) == ("pending", "other_facts")
    assert (await service.balance(person))["held"] == 40.0
    await (await there("refunds")).update_one(where, {"$set": {"amount": 4_000}})
    assert (await refunds.check_refund(waiting)).get("waits") is None


async def test_a_refund_whose_reserve_is_gone_is_reserved_again_and_taken(
    service: Service, admin: Person
) -> None:
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    await paying.fault(service, "refund_slow", path=payment_id)
    refund_id = await refunded(service, admin, payment_id, amount=40)
    await wallet.post(ledger.Unreserve(user_id=person.id, reserve_id=refund_id))
    record = await refunds.get_refund(refund_id, None)
    await paying.outside(service, f"/refunds/{record['gateway_id']}", status="processed")
    ended = await followed(refund_id, "processed")
    assert (ended.get("attempt"), ended.get("taken_paise")) == (2, 4_000)
    assert (await service.balance(person))["balance"] == 60.0
    await paying.audited(service, person)
