"""Refunds of the Razorpay on this machine: asked for once, made outside, failing in every way."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import razorpay

from core import clock
from sandbox import payments as sandbox_payments
from sandbox import refunds as sandbox_refunds
from tests.sandbox.test_razorpay import ask, opened, payment
from tests.support import payments as paying
from tests.support.service import Service, running, test_settings


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for all tests of this file; each makes its own payments."""
    async with running(test_settings(mongodb_uri)) as started:
        yield started


@pytest.fixture(autouse=True)
async def quick(service: Service, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    monkeypatch.setattr(sandbox_refunds, "PROCESSED_AFTER_SECONDS", 0.15)
    monkeypatch.setattr(sandbox_refunds, "FAILS_LATE_AFTER_SECONDS", 1.5)
    yield
    await paying.all_faults_over(service)


async def paid(service: Service) -> str:
    """The id of a captured payment of Rs 50."""
    order_id = (await opened(service))["id"]
    return (await paying.pay(service, order_id))["razorpay_payment_id"]


async def refund(service: Service, payment_id: str, key: str = "", **body: Any) -> httpx.Response:
    headers = {"X-Refund-Idempotency": key} if key else {}
    return await ask(service, "POST", f"/payments/{payment_id}/refund", json=body, headers=headers)


async def refunded(service: Service, payment_id: str, **body: Any) -> dict[str, Any]:
    answer = await refund(service, payment_id, **body)
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def outside(service: Service, path: str, **body: Any) -> httpx.Response:
    return await service.client.post(f"/sandbox{path}", json=body)


async def becomes(service: Service, refund_id: str, status: str) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while True:
            found: dict[str, Any] = (await ask(service, "GET", f"/refunds/{refund_id}")).json()
            if found["status"] == status:
                return found
            await asyncio.sleep(0.03)


async def events(service: Service, about: str) -> list[str]:
    """The names of the events about an entity, the oldest first."""
    listed = (await service.client.get("/sandbox/webhooks", params={"about": about})).json()
    return [event["event"] for event in listed["items"]][::-1]


def money_of(found: dict[str, Any]) -> tuple[str, int, str | None]:
    return found["status"], found["amount_refunded"], found["refund_status"]


async def test_a_refund_looks_like_razorpays_and_the_payment_follows(service: Service) -> None:
    payment_id = await paid(service)
    made = await refunded(service, payment_id, amount=2_000, notes={"a": "b"}, receipt="r 1")
    assert re.fullmatch(r"rfnd_[A-Za-z0-9]{14}", made["id"])
    assert abs(made.pop("created_at") - int(clock.now().timestamp())) <= 2
    assert made == {
        "id": made["id"],
        "entity": "refund",
        "amount": 2_000,
        "currency": "INR",
        "payment_id": payment_id,
        "notes": {"a": "b"},
        "receipt": "r 1",
        "acquirer_data": {"arn": None},
        "batch_id": None,
        "status": "pending",
    }
    assert money_of(await payment(service, payment_id)) == ("captured", 2_000, "partial")
    await becomes(service, made["id"], "processed")
    assert money_of(await payment(service, payment_id)) == ("captured", 2_000, "partial")
    rest = await refunded(service, payment_id, speed="optimum")
    assert (rest["amount"], rest["notes"], rest["receipt"]) == (3_000, [], None)
    assert (rest["speed_requested"], rest["speed_processed"]) == ("optimum", "normal")
    await becomes(service, rest["id"], "processed")
    assert money_of(await payment(service, payment_id)) == ("refunded", 5_000, "full")
    assert await events(service, rest["id"]) == ["refund.created", "refund.processed"]
    again = await refund(service, payment_id)
    assert again.json()["error"]["description"] == "The payment has been fully refunded already"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"amount": 5_001}, "amount"),
        ({"amount": 99}, "amount"),
        ({"amount": "500"}, "amount"),
        ({"amount": True}, "amount"),
        ({"speed": "instant"}, "speed"),
        ({"notes": {str(n): "x" for n in range(16)}}, "notes"),
        ({"receipt": "r" * 41}, "receipt"),
        ({"surprise": 1}, "surprise"),
    ],
)
async def test_a_refund_that_razorpay_would_refuse_is_refused(
    service: Service, body: dict[str, Any], field: str
) -> None:
    payment_id = await paid(service)
    answer = await refund(service, payment_id, **body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert (error["code"], error["field"]) == ("BAD_REQUEST_ERROR", field)
    assert error["reason"]
    assert (await ask(service, "GET", f"/payments/{payment_id}/refunds")).json()["count"] == 0


async def test_only_a_captured_payment_is_refunded(service: Service) -> None:
    order_id = (await opened(service))["id"]
    for status in ("created", "authorized", "failed"):
        forced = await paying.force_payment(service, order_id, status=status)
        answer = await refund(service, forced["razorpay_payment_id"])
        assert answer.json()["error"]["reason"] == "payment_not_captured", status
    assert (await refund(service, "pay_A")).status_code == 400
    assert (await ask(service, "GET", "/refunds/rfnd_A")).status_code == 400


async def test_ten_refunds_at_once_never_exceed_the_payment(service: Service) -> None:
    payment_id = await paid(service)
    answers = await asyncio.gather(*(refund(service, payment_id, amount=1_500) for _ in range(10)))
    assert [answer.status_code for answer in answers].count(200) == 3
    assert (await payment(service, payment_id))["amount_refunded"] == 4_500
    assert (await refund(service, payment_id)).json()["amount"] == 500


async def test_a_key_makes_a_refund_happen_once(service: Service) -> None:
    payment_id, other_id = await paid(service), await paid(service)
    key = f"key-{payment_id}"
    first = await refund(service, payment_id, key, amount=1_000)
    assert (await refund(service, payment_id, key, amount=1_000)).json()["id"] == first.json()["id"]
    for payment_of, body in ((payment_id, {"amount": 999}), (other_id, {"amount": 1_000})):
        answer = await refund(service, payment_of, key, **body)
        assert answer.status_code == 409
        text = "Different request with the same idempotency key has already been processed."
        assert answer.json()["error"]["description"] == text
    for bad in ("short", "has a space", "dot.dot.dot"):
        assert (await refund(service, payment_id, bad, amount=1_000)).status_code == 400
    key = f"refused-{payment_id}"
    assert (await refund(service, payment_id, key, amount=9_000)).status_code == 400
    assert (await refund(service, payment_id, key, amount=2_000)).status_code == 200
    key = f"hurry-{payment_id}"
    answers = await asyncio.gather(*(refund(service, other_id, key) for _ in range(8)))
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 200}) == 1
    assert (await payment(service, other_id))["amount_refunded"] == 5_000


async def test_a_receipt_stands_once_for_a_payment(service: Service) -> None:
    payment_id = await paid(service)
    await refunded(service, payment_id, amount=1_000, receipt="once")
    answer = await refund(service, payment_id, amount=1_000, receipt="once")
    text = "Duplicate receipt found for this refund request."
    assert (answer.status_code, answer.json()["error"]["description"]) == (400, text)
    await refunded(service, await paid(service), amount=1_000, receipt="once")


async def test_payments_and_refunds_are_listed_newest_first_and_by_time(service: Service) -> None:
    payment_ids = [await paid(service) for _ in range(3)]
    made = [(await refunded(service, payment_ids[0], amount=1_000))["id"] for _ in range(3)]

    async def listed(path: str) -> list[str]:
        answer = (await ask(service, "GET", path)).json()
        assert (answer["entity"], answer["count"]) == ("collection", len(answer["items"]))
        return [item["id"] for item in answer["items"]]

    now = int(clock.now().timestamp())
    assert await listed("/payments?count=3") == payment_ids[::-1]
    assert await listed("/payments?count=1&skip=1") == [payment_ids[1]]
    assert await listed("/refunds?count=3") == made[::-1]
    assert await listed(f"/payments/{payment_ids[0]}/refunds") == made[::-1]
    assert await listed(f"/payments/{payment_ids[1]}/refunds") == []
    for kind, newest in (("payments", payment_ids[2]), ("refunds", made[2])):
        assert newest in await listed(f"/{kind}?from={now - 60}&to={now + 1}&count=100")
        assert await listed(f"/{kind}?from={now + 60}") == []
        assert await listed(f"/{kind}?to={now - 3_600}") == []
        for query in ("count=101", "from=x", "to=-1", "skip=99999999"):
            assert (await ask(service, "GET", f"/{kind}?{query}")).status_code == 400, query


async def test_the_official_sdk_refunds_with_a_key(service: Service) -> None:
    settings = service.settings
    client = razorpay.Client(
        auth=(settings.gateway_key_id, settings.gateway_key_secret),
        base_url=settings.gateway_base_url,
    )
    payment_id = await paid(service)

    def refund_twice() -> list[dict[str, Any]]:
        return [
            client.payment.refund(
                payment_id,
                {"amount": 700},
                headers={"X-Refund-Idempotency": f"sdk-{payment_id}"},
                timeout=5,
            )
            for _ in range(2)
        ]

    first, second = await asyncio.to_thread(refund_twice)
    client.session.close()
    assert (first["id"], first["amount"]) == (second["id"], 700)


# --- when it goes wrong -------------------------------------------------------------------------


async def test_a_refund_that_fails_gives_the_money_back_to_the_payment(service: Service) -> None:
    payment_id = await paid(service)
    await paying.fault(service, "refund_fails")
    failing = await refunded(service, payment_id)
    assert money_of(await payment(service, payment_id)) == ("captured", 5_000, "full")
    await becomes(service, failing["id"], "failed")
    assert money_of(await payment(service, payment_id)) == ("captured", 0, None)
    assert await events(service, failing["id"]) == ["refund.created", "refund.failed"]
    await becomes(service, (await refunded(service, payment_id))["id"], "processed")


async def test_a_late_payment_of_an_order_that_is_paid_by_then_goes_back_by_itself(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox_payments, "LATE_SECONDS", 3.0)
    order_id = (await opened(service))["id"]
    late = (await paying.pay(service, order_id, paying.LATE))["razorpay_payment_id"]
    await paying.pay(service, order_id)
    async with asyncio.timeout(60):
        while (await payment(service, late))["amount_refunded"] != 5_000:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    [sent_back] = (await ask(service, "GET", f"/payments/{late}/refunds")).json()["items"]
    await becomes(service, sent_back["id"], "processed")
    assert money_of(await payment(service, late)) == ("refunded", 5_000, "full")


async def test_a_processed_refund_can_fail_late(service: Service) -> None:
    payment_id = await paid(service)
    await paying.fault(service, "refund_fails_late")
    failing = await refunded(service, payment_id)
    await becomes(service, failing["id"], "processed")
    assert money_of(await payment(service, payment_id)) == ("refunded", 5_000, "full")
    await becomes(service, failing["id"], "failed")
    assert money_of(await payment(service, payment_id)) == ("captured", 0, None)
    named = ["refund.created", "refund.processed", "refund.failed"]
    assert await events(service, failing["id"]) == named


async def test_a_slow_refund_waits_for_somebody_outside(service: Service) -> None:
    payment_id = await paid(service)
    await paying.fault(service, "refund_slow")
    slow = await refunded(service, payment_id, amount=1_000)
    await asyncio.sleep(0.4)
    await becomes(service, slow["id"], "pending")
    for status in ("processed", "processed", "failed", "processed"):
        answer = await outside(service, f"/refunds/{slow['id']}", status=status)
        assert answer.json()["status"] == status
    named = ["refund.created", "refund.processed", "refund.failed", "refund.processed"]
    assert await events(service, slow["id"]) == named
    assert money_of(await payment(service, payment_id)) == ("captured", 1_000, "partial")
    for path in (f"/refunds/{slow['id']}", "/refunds/rfnd_A"):
        assert (await outside(service, path, status="lost")).status_code == 400


@pytest.mark.parametrize(
    ("kind", "status", "text"),
    [
        ("merchant_balance_low", 400, "Your account does not have enough balance"),
        ("refund_nonsense", 400, "invalid request sent"),
        ("refund_in_progress", 409, "Another request with the same idempotency key"),
    ],
)
async def test_razorpay_can_refuse_for_reasons_of_its_own(
    service: Service, kind: str, status: int, text: str
) -> None:
    payment_id = await paid(service)
    await paying.fault(service, kind)
    answer = await refund(service, payment_id, f"refuse-{payment_id}")
    error = answer.json()["error"]
    assert (answer.status_code, error["reason"]) == (status, None)
    assert error["description"].startswith(text)
    assert (await payment(service, payment_id))["amount_refunded"] == 0
    assert (await refund(service, payment_id, f"refuse-{payment_id}")).status_code == 200


async def test_a_lost_answer_to_a_refund_is_found_by_its_key(service: Service) -> None:
    payment_id, key = await paid(service), "lost-answer"
    await paying.fault(service, "lost_response", seconds=0, path="/refund", method="POST")
    assert (await refund(service, payment_id, key, amount=1_000)).status_code == 502
    found = (await refund(service, payment_id, key, amount=1_000)).json()
    listed = (await ask(service, "GET", f"/payments/{payment_id}/refunds")).json()["items"]
    assert [item["id"] for item in listed] == [found["id"]]


async def test_a_receipt_can_be_refused_with_and_without_an_order(service: Service) -> None:
    for kind, count in (("receipt_refused", 1), ("receipt_refused_wrongly", 0)):
        body = {"amount": 5_000, "currency": "INR", "receipt": kind}
        for _ in range(2):
            await paying.fault(service, kind)
            answer = await ask(service, "POST", "/orders", json=body)
            assert answer.status_code == 400
            assert answer.json()["error"]["description"] == "Order receipt should be unique."
        listed = (await ask(service, "GET", f"/orders?receipt={kind}")).json()["items"]
        assert [order["receipt"] for order in listed].count(kind) == count


# --- from outside -------------------------------------------------------------------------------


async def test_somebody_refunds_in_the_dashboard(service: Service) -> None:
    payment_id = await paid(service)
    by_itself = (await outside(service, f"/payments/{payment_id}/refunds", amount=1_000)).json()
    assert (by_itself["receipt"], by_itself["notes"]) == (None, [])
    await becomes(service, by_itself["id"], "processed")
    at_once = await outside(service, f"/payments/{payment_id}/refunds", status="processed")
    assert at_once.status_code == 201
    assert (at_once.json()["amount"], at_once.json()["status"]) == (4_000, "processed")
    assert money_of(await payment(service, payment_id)) == ("refunded", 5_000, "full")
    for body in ({"amount": 1}, {"status": "lost"}, {"receipt": "x"}, {}):
        refused = await outside(service, f"/payments/{payment_id}/refunds", **body)
        assert refused.status_code == 400


async def test_a_payment_that_nobody_captured_is_sent_back(service: Service) -> None:
    order_id = (await opened(service))["id"]
    payment_id = (await paying.pay(service, order_id, paying.AUTHORIZED))["razorpay_payment_id"]
    answer = await outside(service, f"/payments/{payment_id}/auto-refund")
    assert (answer.status_code, answer.json()["amount"]) == (201, 5_000)
    found = await payment(service, payment_id)
    assert money_of(found) == ("refunded", 5_000, "full")
    assert found["captured"] is False
    await becomes(service, answer.json()["id"], "processed")
    assert await events(service, answer.json()["id"]) == ["refund.created", "refund.processed"]
    assert (await outside(service, f"/payments/{payment_id}/auto-refund")).status_code == 400


async def test_a_second_payment_of_an_order_is_refunded_by_itself(service: Service) -> None:
    order_id = (await opened(service))["id"]
    wanted = {"status": "captured", "auto_refund": True}
    path = f"/orders/{order_id}/payments"
    assert (await outside(service, path, **wanted)).status_code == 400  # it is not paid yet
    await paying.pay(service, order_id)
    second = await paying.force_payment(service, order_id, **wanted)
    payment_id = second["razorpay_payment_id"]
    listed = (await ask(service, "GET", f"/payments/{payment_id}/refunds")).json()["items"]
    assert [item["amount"] for item in listed] == [5_000]
    await becomes(service, listed[0]["id"], "processed")
    assert money_of(await payment(service, payment_id)) == ("refunded", 5_000, "full")
    assert await events(service, payment_id) == [
        *("payment.authorized", "payment.captured"),
        *("refund.created", "refund.processed"),
    ]
