"""A payment becomes money: once, exactly, and only if Razorpay says that it was captured."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

import gateway
import payments
import wallet
from core import clock, config, database
from core.database import db
from gateway import client as gateway_client
from gateway import signatures
from tests.support import payments as paying
from tests.support.service import Person, Service, running, test_settings


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for all tests of this file; each test has users of its own."""
    async with running(test_settings(mongodb_uri, signups_per_hour=100_000)) as started:
        await paying.webhooks(started, enabled=False)
        yield started


@pytest.fixture(autouse=True)
async def no_faults(service: Service) -> AsyncIterator[None]:
    yield
    await paying.all_faults_over(service)


async def rupees(service: Service, person: Person) -> float:
    found: float = (await service.balance(person))["balance"]
    return found


async def check_now(order_id: str) -> None:
    """What the worker does when the order's time has come."""
    await payments.check_order(await payments.get_order(order_id, None))


async def waiting_payments(service: Service, admin: Person) -> set[str]:
    answer = await service.get("/api/admin/reconciliation", admin)
    return {payment["payment_id"] for payment in answer.json()["payments_in_review"]}


async def credited_by_the_poller(service: Service, person: Person, expected: float) -> None:
    """What the worker does, without its pauses."""
    for _ in range(50):
        await db.orders.update_many(
            {"user_id": person.id, "next_check_at": {"$type": "date"}},
            {"$set": {"next_check_at": clock.after(-60)}},
        )
        await payments.poll_pending()
        if await rupees(service, person) == expected:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"not credited: {await service.balance(person)}")


async def credited_by_itself(service: Service, person: Person, expected: float) -> None:
    for _ in range(600):
        if await rupees(service, person) == expected:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"not credited: {await service.balance(person)}")


# --- once ---------------------------------------------------------------------------------------


async def test_a_verified_payment_is_in_the_wallet(service: Service) -> None:
    person = await service.signup()
    order_id = await paying.open_order(service, person, 150.5)
    paid = await paying.pay(service, order_id)
    answer = await paying.verify(service, person, paid)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["transaction_id"].startswith("txn_")
    assert body == {
        "status": "credited",
        "already_processed": False,
        "amount": 150.5,
        "balance": 150.5,
        "transaction_id": body["transaction_id"],
    }
    again = await paying.verify(service, person, paid)
    assert again.status_code == 200
    assert again.json() == body | {"already_processed": True}
    assert await rupees(service, person) == 150.5
    entry = await db.transactions.find_one({"_id": body["transaction_id"]})
    assert entry is not None
    assert entry["key"] == f"recharge:{paid['razorpay_payment_id']}"
    assert (entry["category"], entry["contra"]) == ("recharge", "gateway:razorpay")
    assert (entry["order_id"], entry["payment_id"]) == (order_id, paid["razorpay_payment_id"])


async def test_one_payment_verified_fifty_times_at_once_is_credited_once(service: Service) -> None:
    person = await service.signup()
    paid = await paying.pay(service, await paying.open_order(service, person))
    answers = await asyncio.gather(*(paying.verify(service, person, paid) for _ in range(50)))
    assert {answer.status_code for answer in answers} == {200}
    bodies = [answer.json() for answer in answers]
    assert sum(not body.pop("already_processed") for body in bodies) == 1
    assert all(body == bodies[0] for body in bodies)
    assert bodies[0]["balance"] == 100.0
    assert await db.transactions.count_documents({"user_id": person.id}) == 1
    assert await rupees(service, person) == 100.0


async def test_browser_and_poller_at_once_credit_once(service: Service) -> None:
    person = await service.signup()
    order_id = await paying.open_order(service, person)
    paid = await paying.pay(service, order_id)
    await asyncio.gather(
        *(paying.verify(service, person, paid) for _ in range(10)),
        *(check_now(order_id) for _ in range(10)),
    )
    assert await rupees(service, person) == 100.0
    assert await db.transactions.count_documents({"user_id": person.id}) == 1


async def test_a_repetition_is_answered_while_razorpay_is_down(service: Service) -> None:
    person = await service.signup()
    paid = await paying.pay(service, await paying.open_order(service, person))
    first = await paying.verify(service, person, paid)
    await paying.fault(service, "500", count=100)
    again = await paying.verify(service, person, paid)
    assert again.status_code == 200
    assert again.json() == first.json() | {"already_processed": True}


# --- who and what -------------------------------------------------------------------------------


async def test_another_users_order_is_not_found_and_credits_nobody(service: Service) -> None:
    owner, other = await service.signup(), await service.signup()
    paid = await paying.pay(service, await paying.open_order(service, owner))
    answer = await paying.verify(service, other, paid)
    assert (answer.status_code, answer.json()["code"]) == (404, "order_not_found")
    assert await rupees(service, other) == 0


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"razorpay_signature": "0" * 64}, 400, "invalid_signature"),
        ({"razorpay_signature": ""}, 400, "invalid_signature"),
        ({"razorpay_signature": "é" * 64}, 400, "invalid_signature"),
        ({"razorpay_payment_id": "pay_AAAAAAAAAAAAAA"}, 400, "invalid_signature"),
        ({"razorpay_payment_id": "../orders"}, 400, "invalid_signature"),
        ({"razorpay_order_id": "order_AAAAAAAAAAAAAA"}, 404, "order_not_found"),
        ({"razorpay_order_id": "a/../b"}, 404, "order_not_found"),
        ({"razorpay_order_id": "\x00"}, 404, "order_not_found"),
        ({"razorpay_order_id": {"$ne": None}}, 422, "validation_error"),
        ({"razorpay_payment_id": None}, 422, "validation_error"),
        ({"razorpay_signature": 1}, 422, "validation_error"),
        ({"razorpay_signature": "0" * 501}, 422, "validation_error"),
    ],
)
async def test_a_forged_report_is_refused_and_changes_nothing(
    service: Service, change: dict[str, Any], status: int, code: str
) -> None:
    person = await service.signup()
    order_id = await paying.open_order(service, person)
    paid = await paying.pay(service, order_id)
    # The poller must not be what credits here.
    await db.orders.update_one({"order_id": order_id}, {"$unset": {"next_check_at": ""}})
    answer = await paying.verify(service, person, paid | change)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert await rupees(service, person) == 0


async def test_a_payment_of_another_order_is_refused(service: Service) -> None:
    """Signed by us, as a Razorpay that mixes up orders would."""
    person = await service.signup()
    small = await paying.open_order(service, person, 10)
    large = await paying.open_order(service, person, 500_000)
    paid = await paying.pay(service, small)
    payment_id = paid["razorpay_payment_id"]
    forged = {
        "razorpay_order_id": large,
        "razorpay_payment_id": payment_id,
        "razorpay_signature": signatures.sign_checkout(
            large, payment_id, service.settings.gateway_key_secret
        ),
    }
    answer = await paying.verify(service, person, forged)
    assert (answer.status_code, answer.json()["code"]) == (409, "payment_mismatch")
    assert answer.json()["reason"] == "other_order"


async def test_row_12_the_amount_is_the_orders_whatever_the_browser_says(service: Service) -> None:
    """Two tabs with two carts, and a browser that tells of other amounts and users."""
    person, other = await service.signup(), await service.signup()
    for amount in (10, 250.5):
        order_id = await paying.open_order(service, person, amount)
        paid = await paying.pay(service, order_id)
        for lie in ({"amount": 99_999}, {"amount_paise": 1}, {"user_id": other.id}):
            answer = await paying.verify(service, person, paid | lie)
            assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")
        answer = await paying.verify(service, person, paid)
        assert (answer.status_code, answer.json()["amount"]) == (200, amount)
    assert (await rupees(service, person), await rupees(service, other)) == (260.5, 0)


async def test_an_order_of_another_mode_is_refused(service: Service) -> None:
    person = await service.signup()
    order_id = await paying.open_order(service, person)
    paid = await paying.pay(service, order_id)
    await db.orders.update_one({"order_id": order_id}, {"$set": {"mode": "test"}})
    answer = await paying.verify(service, person, paid)
    assert (answer.status_code, answer.json()["code"]) == (409, "payment_mismatch")
    assert answer.json()["reason"] == "mode"
    assert await rupees(service, person) == 0


async def test_row_29_what_was_credited_is_confirmed_also_after_a_change_of_mode(
    service: Service,
) -> None:
    person = await service.signup()
    order_id = await paying.open_order(service, person)
    paid = await paying.pay(service, order_id)
    assert (await paying.verify(service, person, paid)).status_code == 200
    await db.orders.update_one({"order_id": order_id}, {"$set": {"mode": "test"}})
    paid["razorpay_signature"] = "0" * 64  # of a key that is not known here any more
    again = await paying.verify(service, person, paid)
    assert (again.status_code, again.json()["already_processed"]) == (200, True)
    assert await rupees(service, person) == 100.0
    paid["razorpay_payment_id"] = "pay_AAAAAAAAAAAAAA"
    other = await paying.verify(service, person, paid)
    assert (other.status_code, other.json()["reason"]) == (409, "mode")


# --- states -------------------------------------------------------------------------------------


async def test_an_authorized_payment_is_captured_and_credited(service: Service) -> None:
    person = await service.signup()
    paid = await paying.pay(service, await paying.open_order(service, person), paying.AUTHORIZED)
    answers = await asyncio.gather(*(paying.verify(service, person, paid) for _ in range(10)))
    assert {answer.status_code for answer in answers} == {200}
    assert await rupees(service, person) == 100.0


async def test_a_capture_that_somebody_else_made_counts(service: Service) -> None:
    person = await service.signup()
    paid = await paying.pay(service, await paying.open_order(service, person), paying.AUTHORIZED)
    await paying.fault(service, "captured_elsewhere", path="/capture")
    answer = await paying.verify(service, person, paid)
    assert answer.status_code == 200, answer.text
    assert await rupees(service, person) == 100.0


async def test_a_failed_capture_leaves_the_payment_pending(service: Service) -> None:
    person = await service.signup()
    paid = await paying.pay(service, await paying.open_order(service, person), paying.AUTHORIZED)
    await paying.fault(service, "500", path="/capture", count=100)
    answer = await paying.verify(service, person, paid)
    assert (answer.status_code, answer.json()["status"]) == (202, "pending")
    assert await rupees(service, person) == 0
    await paying.all_faults_over(service)
    await credited_by_the_poller(service, person, 100.0)


async def test_a_payment_that_the_bank_confirms_late_is_pending_then_credited(
    service: Service,
) -> None:
    person = await service.signup()
    order_id = await paying.open_order(service, person)
    paid = await paying.pay(service, order_id, paying.LATE)
    answer = await paying.verify(service, person, paid)
    assert answer.status_code == 202
    assert answer.json() == {"status": "pending", "order_id": order_id}
    await service.client.post(
        f"/sandbox/payments/{paid['razorpay_payment_id']}", json={"status": "captured"}
    )
    answer = await paying.verify(service, person, paid)
    assert answer.status_code == 200
    assert await rupees(service, person) == 100.0


async def test_a_failed_payment_is_refused_and_counted_and_may_succeed_later(
    service: Service,
) -> None:
    person = await service.signup()
    order_id = await paying.open_order(service, person)
    paid = await paying.force_payment(service, order_id, status="failed")
    payment_id = paid["razorpay_payment_id"]
    answer = await paying.verify(service, person, paid)
    assert (answer.status_code, answer.json()["code"]) == (409, "payment_mismatch")
    assert answer.json()["reason"] == "failed"
    assert await db.payments.count_documents({"_id": payment_id, "status": "failed"}) == 1
    # Late authorisation: failed is not final.
    await service.client.post(f"/sandbox/payments/{payment_id}", json={"status": "authorized"})
    answer = await paying.verify(service, person, paid)
    assert answer.status_code == 200, answer.text
    assert await rupees(service, person) == 100.0
    assert await db.payments.count_documents({"_id": payment_id, "status": "captured"}) == 1


@pytest.mark.parametrize("status", ["captured", "authorized"])
@pytest.mark.parametrize(
    "facts", [{"amount": 10_001}, {"amount": 9_999}, {"amount": 0}, {"currency": "USD"}]
)
async def test_another_amount_than_ordered_goes_to_review_and_is_not_credited(
    service: Service, status: str, facts: dict[str, Any]
) -> None:
    person = await service.signup()
    order_id = await paying.open_order(service, person)
    paid = await paying.force_payment(service, order_id, status=status, **facts)
    answer = await paying.verify(service, person, paid)
    assert (answer.status_code, answer.json()["code"]) == (409, "payment_mismatch")
    assert answer.json()["reason"] == "amount_mismatch"
    await check_now(order_id)
    kept = await payments.find_payment(paid["razorpay_payment_id"])
    assert kept is not None
    assert kept["review"]["reason"] == "amount_mismatch"
    assert await rupees(service, person) == 0


async def test_a_fee_on_top_goes_to_review(service: Service) -> None:
    person = await service.signup()
    order_id = await paying.open_order(service, person)
    await paying.fault(service, "fee_on_top")
    paid = await paying.pay(service, order_id)
    answer = await paying.verify(service, person, paid)
    assert (answer.status_code, answer.json()["reason"]) == (409, "amount_mismatch")
    assert await rupees(service, person) == 0


@pytest.mark.parametrize(
    "facts", [{"status": "refunded", "amount_refunded": 10_000}, {"amount_refunded": 1}]
)
async def test_money_that_went_back_is_not_credited(
    service: Service, facts: dict[str, Any]
) -> None:
    person = await service.signup()
    order_id = await paying.open_order(service, person)
    paid = await paying.force_payment(service, order_id, **({"status": "captured"} | facts))
    answer = await paying.verify(service, person, paid)
    assert (answer.status_code, answer.json()["reason"]) == (409, "refunded")
    assert await rupees(service, person) == 0


async def refunded_before_it_was_credited(service: Service, person: Person) -> tuple[str, str, str]:
    """A payment of which a part went back first; its order, its own id, and the refund's."""
    order_id = await paying.open_order(service, person)
    payment_id = (await paying.pay(service, order_id))["razorpay_payment_id"]
    made = await paying.outside(service, f"/payments/{payment_id}/refunds", amount=4_000)
    await check_now(order_id)
    return order_id, payment_id, made["id"]


async def test_a_payment_whose_refund_failed_is_credited_and_waits_for_nobody_any_more(
    service: Service,
) -> None:
    """A person who found it waiting would put its money into the wallet a second time."""
    admin, person = await service.admin(), await service.signup()
    order_id, payment_id, refund_id = await refunded_before_it_was_credited(service, person)
    assert payment_id in await waiting_payments(service, admin)
    await paying.outside(service, f"/refunds/{refund_id}", status="failed")
    await check_now(order_id)
    assert await rupees(service, person) == 100.0
    assert payment_id not in await waiting_payments(service, admin)
    answer = await service.post(
        f"/api/admin/payments/{payment_id}/resolve", admin, json={"note": "by hand"}
    )
    assert answer.status_code == 404
    await paying.audited(service, person)


# The second one is what the service itself writes when a payment went back.
@pytest.mark.parametrize("text", ["Rs 60 credited by hand", "It went back."])
async def test_a_payment_that_a_person_has_dealt_with_is_not_credited_when_its_refund_fails(
    service: Service, text: str
) -> None:
    """The person may have put its money into the wallet by an adjustment, whatever they wrote."""
    admin, person = await service.admin(), await service.signup()
    order_id, payment_id, refund_id = await refunded_before_it_was_credited(service, person)
    resolve, note = f"/api/admin/payments/{payment_id}/resolve", {"note": text}
    assert (await service.post(resolve, admin, json=note)).status_code == 200
    await paying.outside(service, f"/refunds/{refund_id}", status="failed")
    await check_now(order_id)
    assert await rupees(service, person) == 0
    assert payment_id in await waiting_payments(service, admin)
    known = await payments.find_payment(payment_id)
    assert known is not None
    assert known["review"]["reason"] == "came_back"
    assert known["review"]["earlier"]["note"] == text
    assert known["review"]["earlier"]["resolution"] == "manual"
    assert (await service.post(resolve, admin, json=note)).status_code == 200
    await check_now(order_id)
    assert await rupees(service, person) == 0
    assert payment_id not in await waiting_payments(service, admin)


async def resolved_by_release_0_2_1(payment_id: str, by: str, refunds: dict[str, int]) -> None:
    """The review as 0.2.1 kept it: the sentence is there, who decided is not."""
    review = {"review.resolved_at": clock.now(), "review.resolved_by": by}
    await db.payments.update_one(
        {"_id": payment_id},
        {
            "$set": {**review, "review.note": "It went back.", "refunds": refunds},
            "$unset": {"review.resolution": ""},
        },
    )


@pytest.mark.parametrize(
    ("by", "refunds", "balance"),
    [
        ("razorpay", {}, 100.0),  # Razorpay's own refund wrote it
        ("usr_of_an_admin", {"refund_whole": 10_000}, 100.0),  # an admin's refunds wrote it
        ("usr_of_an_admin", {"rfnd_a": 4_000, "refund_b": 6_000}, 100.0),
        ("usr_of_an_admin", {"rfnd_a": 4_000}, 0.0),  # an admin wrote it
        ("usr_of_an_admin", {}, 0.0),
    ],
)
async def test_a_review_of_release_0_2_1_tells_a_refund_from_a_person(
    service: Service, by: str, refunds: dict[str, int], balance: float
) -> None:
    person = await service.signup()
    order_id, payment_id, refund_id = await refunded_before_it_was_credited(service, person)
    await resolved_by_release_0_2_1(payment_id, by, refunds)
    await paying.outside(service, f"/refunds/{refund_id}", status="failed")
    await check_now(order_id)
    assert await rupees(service, person) == balance
    await paying.audited(service, person)


@pytest.mark.parametrize(
    ("resolution", "by", "note", "balance"),
    [
        # The new release saw it go back; 0.2.1 reopened it, and a person decided there.
        ("refunded", "usr_of_an_admin", "Rs 60 credited by hand", 0.0),
        # The new release reopened it; 0.2.1 saw it go back.
        (None, "razorpay", "It went back.", 100.0),
    ],
)
async def test_a_review_that_both_releases_wrote_tells_a_refund_from_a_person(
    service: Service, resolution: str | None, by: str, note: str, balance: float
) -> None:
    """While processes of 0.2.1 run on beside new ones, which leave `resolution` as it is."""
    person = await service.signup()
    order_id, payment_id, refund_id = await refunded_before_it_was_credited(service, person)
    review = {
        "review.resolved_at": clock.now(),
        "review.resolved_by": by,
        "review.resolution": resolution,
        "review.note": note,
    }
    await db.payments.update_one({"_id": payment_id}, {"$set": review})
    await paying.outside(service, f"/refunds/{refund_id}", status="failed")
    await check_now(order_id)
    assert await rupees(service, person) == balance
    await paying.audited(service, person)


@pytest.mark.parametrize(("by", "waits"), [("razorpay", True), ("usr_of_an_admin", False)])
async def test_what_went_back_under_release_0_2_1_waits_again_and_what_a_person_decided_does_not(
    service: Service, by: str, waits: bool
) -> None:
    person = await service.signup()
    _, payment_id, _ = await refunded_before_it_was_credited(service, person)
    await resolved_by_release_0_2_1(payment_id, by, {})
    await payments.reopen_review(payment_id)
    assert (payment_id in await waiting_payments(service, await service.admin())) == waits


async def test_an_order_buys_once_and_a_second_payment_goes_to_review(service: Service) -> None:
    person = await service.signup()
    order_id = await paying.open_order(service, person)
    first = await paying.pay(service, order_id)
    second = await paying.force_payment(service, order_id, status="captured")
    both = await asyncio.gather(
        *(paying.verify(service, person, paid) for paid in (first, second) * 5)
    )
    assert sorted({answer.status_code for answer in both}) == [200, 409]
    assert {a.json()["reason"] for a in both if a.status_code == 409} == {"second_payment"}
    assert await rupees(service, person) == 100.0
    assert await db.transactions.count_documents({"user_id": person.id}) == 1
    assert await db.payments.count_documents({"order_id": order_id, "review": {"$ne": None}}) == 1


async def test_a_second_authorized_payment_is_not_even_captured(service: Service) -> None:
    person = await service.signup()
    order_id = await paying.open_order(service, person)
    await paying.verify(service, person, await paying.pay(service, order_id))
    second = await paying.force_payment(service, order_id, status="authorized")
    answer = await paying.verify(service, person, second)
    assert (answer.status_code, answer.json()["reason"]) == (409, "second_payment")
    there = await gateway.fetch_payment(second["razorpay_payment_id"])
    assert there.status == "authorized"


async def test_a_second_payment_beside_one_that_is_not_credited_yet_is_not_captured(
    service: Service,
) -> None:
    """Both are in one answer of Razorpay's; it sends the second one back by itself."""
    person = await service.signup()
    order_id = await paying.open_order(service, person)
    await paying.force_payment(service, order_id, status="captured")
    second = await paying.force_payment(service, order_id, status="authorized")
    await check_now(order_id)
    there = await gateway.fetch_payment(second["razorpay_payment_id"])
    assert there.status == "authorized"
    assert await rupees(service, person) == 100.0


async def test_a_second_payment_that_is_reported_first_is_not_captured(service: Service) -> None:
    """Nobody has told us of the captured one, and the browser brings the other."""
    person = await service.signup()
    order_id = await paying.open_order(service, person)
    first = await paying.force_payment(service, order_id, status="captured")
    second = await paying.force_payment(service, order_id, status="authorized")
    answer = await paying.verify(service, person, second)
    assert (answer.status_code, answer.json()["reason"]) == (409, "second_payment")
    there = await gateway.fetch_payment(second["razorpay_payment_id"])
    assert there.status == "authorized"
    assert (await paying.verify(service, person, first)).status_code == 200
    assert await rupees(service, person) == 100.0


async def test_a_person_who_decides_while_a_payment_is_credited_is_not_overtaken(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The decision falls between the reading of the record and the commit of the credit."""
    admin, person = await service.admin(), await service.signup()

    async def nothing_is_due(*_: Any) -> list[Any]:
        return []

    # The worker would credit it as soon as its refund has failed, before anybody decides.
    monkeypatch.setattr(payments, "sweep_payments", nothing_is_due)
    monkeypatch.setattr(payments, "claim_due_orders", nothing_is_due)
    order_id, payment_id, refund_id = await refunded_before_it_was_credited(service, person)
    await paying.outside(service, f"/refunds/{refund_id}", status="failed")
    post = wallet.post

    async def decided_meanwhile(*given: Any) -> Any:
        await payments.resolve_review(payment_id, by=admin.id, note="Rs 100 by hand")
        return await post(*given)

    with monkeypatch.context() as slow:
        slow.setattr(wallet, "post", decided_meanwhile)
        await check_now(order_id)
    assert await rupees(service, person) == 0
    known = await payments.find_payment(payment_id)
    assert known is not None
    assert known["review"]["reason"] == "came_back"


async def test_of_two_captured_payments_the_one_that_commits_second_goes_to_review(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await service.signup()
    order_id = await paying.open_order(service, person)
    ids = [
        (await paying.force_payment(service, order_id, status="captured"))["razorpay_payment_id"]
        for _ in range(2)
    ]
    order = await payments.get_order(order_id, None)  # both decide on this
    found = [await gateway.fetch_payment(payment_id) for payment_id in ids]
    answers = await asyncio.gather(
        *(payments.credit(order, payment) for payment in found), return_exceptions=True
    )
    assert sum(isinstance(answer, payments.Receipt) for answer in answers) == 1
    [refused] = [answer for answer in answers if isinstance(answer, payments.PaymentMismatch)]
    assert refused.extra["reason"] == "second_payment"
    assert await rupees(service, person) == 100.0


async def test_no_more_than_two_earlier_reviews_are_kept(service: Service) -> None:
    person = await service.signup()
    order_id = await paying.open_order(service, person)
    paid = await paying.force_payment(service, order_id, status="captured", amount=5_000)
    payment_id = paid["razorpay_payment_id"]
    await check_now(order_id)
    payment = await gateway.fetch_payment(payment_id)
    order = await payments.get_order(order_id, None)
    reasons: list[payments.ReviewReason] = ["refunded", "second_payment", "came_back"]
    for reason in reasons * 5:
        with pytest.raises(payments.PaymentMismatch):
            await payments._reject_for_review(payment, order, reason)
    known = await payments.find_payment(payment_id)
    assert known is not None
    review = known["review"]
    assert review["reason"] == "came_back"
    assert review["earlier"]["reason"] == "second_payment"
    assert review["earlier"]["earlier"]["reason"] == "refunded"
    assert "earlier" not in review["earlier"]["earlier"]


async def test_a_credit_reads_one_record_and_commits(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything that belongs to it is in the commit: no write before it, none after it."""
    person = await service.signup()
    order_id = await paying.open_order(service, person)
    paid = await paying.force_payment(service, order_id, status="captured")
    payment = await gateway.fetch_payment(paid["razorpay_payment_id"])
    order = await payments.get_order(order_id, None)
    profiled = database.client()[service.settings.mongodb_db]
    post = wallet.post

    async def unseen(*given: Any) -> Any:
        await profiled.command("profile", 0)
        outcome = await post(*given)
        await profiled.command("profile", 2)
        return outcome

    monkeypatch.setattr(wallet, "post", unseen)
    await profiled.command("profile", 2)
    assert await payments.credit(order, payment) is not None
    await profiled.command("profile", 0)
    outside = [
        (found["op"], found["ns"].partition(".")[2])
        async for found in profiled["system.profile"].find({"ns": {"$not": {"$regex": "profile"}}})
        if any(text in str(found["command"]) for text in (payment.id, order_id, order["_id"]))
    ]
    assert outside == [("query", "payments")]


# --- looking through Razorpay's payments --------------------------------------------------------


async def sweep_now() -> int:
    """What the worker does when the list's time has come."""
    await db.payment_sweeps.update_one({"_id": "sandbox"}, {"$set": {"next_at": clock.after(-1)}})
    return await payments.sweep_payments()


async def test_a_payment_of_an_order_that_is_not_asked_about_is_found_in_the_list(
    service: Service,
) -> None:
    person = await service.signup()
    order_id = await paying.open_order(service, person)
    old = {"$set": {"created_at": clock.after(-100 * 86_400)}, "$unset": {"next_check_at": ""}}
    await db.orders.update_one({"order_id": order_id}, old)
    await paying.pay(service, order_id)
    await sweep_now()
    assert await rupees(service, person) == 100.0


async def test_an_attempt_that_is_found_in_the_list_makes_its_order_asked_about(
    service: Service,
) -> None:
    person = await service.signup()
    order_id = await paying.open_order(service, person)
    await db.orders.update_one({"order_id": order_id}, {"$unset": {"next_check_at": ""}})
    await paying.decline(service, order_id)
    await sweep_now()
    for _ in range(100):  # the worker of the service may be the one that looks through it
        order = await payments.get_order(order_id, None)
        if order["status"] == "attempted":
            break
        await asyncio.sleep(0.05)
    assert (order["status"], "next_check_at" in order) == ("attempted", True)
    assert await sweep_now() == 0  # once is enough


async def test_an_authorized_payment_in_the_list_that_cannot_be_captured_is_asked_about_soon(
    service: Service,
) -> None:
    person = await service.signup()
    order_id = await paying.open_order(service, person)
    await db.orders.update_one({"order_id": order_id}, {"$unset": {"next_check_at": ""}})
    await paying.fault(service, "500", path="/capture", count=3)
    forced = await paying.force_payment(service, order_id, status="authorized")
    await sweep_now()
    for _ in range(100):
        order = await payments.get_order(order_id, None)
        if "pending_payment_id" in order:
            break
        await asyncio.sleep(0.05)
    assert order["pending_payment_id"] == forced["razorpay_payment_id"]
    assert order["next_check_at"] < clock.after(60)
    await paying.all_faults_over(service)
    await credited_by_the_poller(service, person, 100.0)


async def test_while_razorpay_does_not_answer_the_poller_claims_nothing(service: Service) -> None:
    person = await service.signup()
    order_id = await paying.open_order(service, person)
    due = {"$set": {"next_check_at": clock.after(-60)}}
    await paying.fault(service, "500", count=1_000)
    for _ in range(6):
        with pytest.raises(gateway.GatewayUnavailable):
            await gateway.fetch_order(order_id)
    assert gateway.retry_after_seconds() > 0
    await db.orders.update_one({"order_id": order_id}, due)
    assert await payments.poll_pending() == 0
    order = await payments.get_order(order_id, None)
    assert order["next_check_at"] < clock.now()


# --- while Razorpay is away ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", ["500", "429", "502_html", "200_html", "error_null", "reset", "401"]
)
async def test_a_signed_payment_is_pending_while_razorpay_is_away_and_credited_after(
    service: Service, kind: str
) -> None:
    person = await service.signup()
    order_id = await paying.open_order(service, person)
    paid = await paying.pay(service, order_id)
    await paying.fault(service, kind, count=1_000)
    answer = await paying.verify(service, person, paid)
    assert answer.status_code == 202, answer.text
    assert answer.json() == {"status": "pending", "order_id": order_id}
    assert await rupees(service, person) == 0
    await paying.all_faults_over(service)
    await credited_by_the_poller(service, person, 100.0)
    again = await paying.verify(service, person, paid)
    assert again.json()["already_processed"] is True


async def test_a_hanging_razorpay_makes_it_pending(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_client, "READ_SECONDS", 1.5)
    person = await service.signup()
    paid = await paying.pay(service, await paying.open_order(service, person))
    await paying.fault(service, "timeout", count=1, path="/v1/payments/")
    answer = await paying.verify(service, person, paid)
    assert answer.status_code == 202
    await credited_by_the_poller(service, person, 100.0)


async def test_a_signed_payment_that_razorpay_says_once_not_to_know_is_pending(
    service: Service,
) -> None:
    """It has signed it, so it knows it: a 400 is a fault of the moment."""
    person = await service.signup()
    order_id = await paying.open_order(service, person)
    paid = await paying.pay(service, order_id)
    await paying.fault(service, "captured_elsewhere", path="/v1/payments/", method="GET")
    answer = await paying.verify(service, person, paid)
    assert (answer.status_code, answer.json()["status"]) == (202, "pending")
    order = await payments.get_order(order_id, None)
    if order["status"] != "paid":  # the worker may have been quick
        assert order["pending_payment_id"] == paid["razorpay_payment_id"]
    await credited_by_the_poller(service, person, 100.0)


async def test_a_payment_whose_browser_was_closed_arrives_by_itself(service: Service) -> None:
    person = await service.signup()
    await paying.pay(service, await paying.open_order(service, person))
    await credited_by_itself(service, person, 100.0)


async def test_the_poller_stops_asking_when_razorpay_is_away(service: Service) -> None:
    person = await service.signup()
    ids = [await paying.open_order(service, person) for _ in range(12)]
    await paying.fault(service, "500", count=1_000)
    await db.orders.update_many(
        {"order_id": {"$in": ids}}, {"$set": {"next_check_at": clock.after(-60)}}
    )
    assert await payments.poll_pending() <= 12
    waiting = await db.orders.count_documents(
        {"order_id": {"$in": ids}, "next_check_at": {"$type": "date"}}
    )
    assert waiting == 12  # none was forgotten


async def test_a_crash_before_the_commit_leaves_an_order_that_is_found_again(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order is claimed for the payment, then the process dies before the money is posted."""
    person = await service.signup()
    order_id = await paying.open_order(service, person)
    await paying.pay(service, order_id)

    async def crash(*_: Any) -> Any:
        raise RuntimeError("kill -9")

    with monkeypatch.context() as dying:
        dying.setattr(wallet, "post", crash)
        with pytest.raises(RuntimeError):
            await check_now(order_id)
    assert await rupees(service, person) == 0
    await credited_by_the_poller(service, person, 100.0)


async def test_modes_are_told_by_the_key_and_never_mixed(service: Service) -> None:
    assert config.settings().gateway_mode == "sandbox"
    person = await service.signup()
    order_id = await paying.open_order(service, person)
    await paying.pay(service, order_id)
    await db.orders.update_one(
        {"order_id": order_id}, {"$set": {"mode": "live", "next_check_at": clock.after(-60)}}
    )
    await payments.poll_pending()
    await service.get(f"/api/payment/orders/{order_id}", person)
    assert await rupees(service, person) == 0


async def test_an_attempt_that_failed_before_the_good_one_is_counted(service: Service) -> None:
    person = await service.signup()
    order_id = await paying.open_order(service, person, 100)
    await paying.decline(service, order_id)
    await paying.verify(service, person, await paying.pay(service, order_id))
    assert await rupees(service, person) == 100.0
    await sweep_now()
    for _ in range(100):
        seen = await db.payments.find({"order_id": order_id}).to_list(None)
        if len(seen) == 2:
            break
        await asyncio.sleep(0.05)
    assert sorted(payment["status"] for payment in seen) == ["captured", "failed"]
    order = await db.orders.find_one({"order_id": order_id})
    assert order is not None
    assert (order["status"], "next_check_at" in order) == ("paid", False)
    assert await rupees(service, person) == 100.0
