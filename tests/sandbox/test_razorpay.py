"""The Razorpay on this machine answers as the real one does, and misbehaves when it is asked to."""

import asyncio
import hmac
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from core import clock, config
from sandbox import faults
from sandbox import payments as sandbox_payments
from sandbox.app import create_app
from tests.support import payments as paying
from tests.support.service import Service, running, test_settings


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for all tests of this file; each makes its own orders."""
    async with running(test_settings(mongodb_uri)) as started:
        await paying.webhooks(started, enabled=False)
        yield started


@pytest.fixture(autouse=True)
async def no_faults(service: Service) -> AsyncIterator[None]:
    yield
    await paying.all_faults_over(service)


async def ask(service: Service, method: str, path: str, **options: Any) -> httpx.Response:
    """As a merchant, with the key."""
    key = (service.settings.gateway_key_id, service.settings.gateway_key_secret)
    return await service.client.request(method, f"/sandbox/v1{path}", auth=key, **options)


async def opened(service: Service, **body: Any) -> dict[str, Any]:
    answer = await ask(service, "POST", "/orders", json={"amount": 5_000, "currency": "INR"} | body)
    assert answer.status_code == 200, answer.text
    order: dict[str, Any] = answer.json()
    return order


async def pay(service: Service, order_id: str, card: str = paying.GOOD) -> httpx.Response:
    return await service.client.post(f"/sandbox/pay/{order_id}", json={"card_number": card})


async def payment(service: Service, payment_id: str) -> dict[str, Any]:
    found: dict[str, Any] = (await ask(service, "GET", f"/payments/{payment_id}")).json()
    return found


# --- the API ------------------------------------------------------------------------------------


async def test_an_order_looks_like_razorpays(service: Service) -> None:
    order = await opened(service, receipt="rcpt 1", notes={})
    assert re.fullmatch(r"order_[A-Za-z0-9]{14}", order["id"])
    now = int(clock.now().timestamp())
    assert abs(order.pop("created_at") - now) <= 2
    assert order == {
        "id": order["id"],
        "entity": "order",
        "amount": 5_000,
        "amount_paid": 0,
        "amount_due": 5_000,
        "currency": "INR",
        "receipt": "rcpt 1",
        "offer_id": None,
        "status": "created",
        "attempts": 0,
        "notes": [],  # empty notes are a list there
    }
    assert (await opened(service, notes={"a": "b"}))["notes"] == {"a": "b"}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"amount": 99}, "amount"),
        ({"amount": "5000"}, "amount"),
        ({"amount": 50.5}, "amount"),
        ({"amount": True}, "amount"),
        ({"amount": None}, "amount"),
        ({"currency": "USD"}, "currency"),
        ({"receipt": "r" * 41}, "receipt"),
        ({"receipt": 7}, "receipt"),
        ({"notes": {str(n): "x" for n in range(16)}}, "notes"),
        ({"payment": "automatic"}, "payment"),
        ({"surprise": 1}, "surprise"),
    ],
)
async def test_an_order_that_razorpay_would_refuse_is_refused(
    service: Service, change: dict[str, Any], field: str
) -> None:
    answer = await ask(
        service, "POST", "/orders", json={"amount": 5_000, "currency": "INR"} | change
    )
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["field"]) == ("BAD_REQUEST_ERROR", field)
    assert set(error) >= {"description", "source", "step", "reason", "metadata"}


@pytest.mark.parametrize("body", ["", "[]", "null", "{", '"x"'])
async def test_a_body_that_is_no_object_is_refused(service: Service, body: str) -> None:
    answer = await ask(service, "POST", "/orders", content=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "BAD_REQUEST_ERROR")


@pytest.mark.parametrize("authorization", ["", "Basic", "Basic !!", "Basic YTpi", "Bearer x"])
async def test_the_api_asks_for_the_key(service: Service, authorization: str) -> None:
    for method, path in (
        ("POST", "/orders"),
        ("GET", "/orders"),
        ("GET", "/orders/order_A"),
        ("GET", "/orders/order_A/payments"),
        ("GET", "/payments/pay_A"),
        ("POST", "/payments/pay_A/capture"),
        ("GET", "/payments"),
        ("POST", "/payments/pay_A/refund"),
        ("GET", "/payments/pay_A/refunds"),
        ("GET", "/refunds"),
        ("GET", "/refunds/rfnd_A"),
        ("GET", "/disputes"),
        ("GET", "/disputes/disp_A"),
        ("GET", "/settlements"),
        ("GET", "/settlements/setl_A"),
        ("GET", "/settlements/recon/combined"),
    ):
        answer = await service.client.request(
            method, f"/sandbox/v1{path}", headers={"authorization": authorization}
        )
        assert answer.status_code == 401, path
        assert answer.json()["error"]["description"] == "Authentication failed"


async def test_an_unknown_id_is_a_bad_request_as_there(service: Service) -> None:
    for path in ("/orders/order_A", "/orders/order_A/payments", "/payments/pay_A"):
        answer = await ask(service, "GET", path)
        assert answer.status_code == 400
        assert answer.json()["error"]["description"] == "The id provided does not exist"
    assert (await ask(service, "GET", "/nothing")).status_code == 404
    assert (await pay(service, "order_A")).status_code == 400


async def test_orders_are_listed_newest_first_and_found_by_part_of_a_receipt(
    service: Service,
) -> None:
    ids = [(await opened(service, receipt=f"list.{n}"))["id"] for n in range(3)]

    async def listed(query: str) -> list[str]:
        answer = await ask(service, "GET", f"/orders?{query}")
        assert answer.json()["entity"] == "collection"
        assert answer.json()["count"] == len(answer.json()["items"])
        return [order["id"] for order in answer.json()["items"]]

    assert await listed("receipt=list.") == ids[::-1]
    assert await listed("receipt=list.1") == [ids[1]]
    assert await listed("receipt=listX1") == []  # a dot is a dot
    assert await listed("receipt=list.&count=1&skip=1") == [ids[1]]
    for query in ("count=101", "count=x", "count=-1", "skip=99999999"):
        assert (await ask(service, "GET", f"/orders?{query}")).status_code == 400, query


# --- paying -------------------------------------------------------------------------------------


async def test_a_good_card_pays_and_the_answer_is_signed(service: Service) -> None:
    order = await opened(service)
    answer = await pay(service, order["id"])
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"razorpay_payment_id", "razorpay_order_id", "razorpay_signature"}
    message = f"{order['id']}|{body['razorpay_payment_id']}".encode()
    secret = service.settings.gateway_key_secret.encode()
    assert body["razorpay_signature"] == hmac.new(secret, message, "sha256").hexdigest()
    found = await payment(service, body["razorpay_payment_id"])
    assert (found["status"], found["amount"], found["order_id"]) == ("captured", 5_000, order["id"])
    assert (found["fee"], found["tax"], found["notes"]) == (None, None, [])
    order = (await ask(service, "GET", f"/orders/{order['id']}")).json()
    assert (order["status"], order["amount_paid"], order["amount_due"]) == ("paid", 5_000, 0)
    again = await pay(service, order["id"])
    assert again.status_code == 400
    assert again.json()["error"]["reason"] == "order_already_paid"


@pytest.mark.parametrize(
    ("card", "reason"),
    [("4000 0000 0000 0002", "payment_failed"), ("4000000000009995", "insufficient_funds")],
)
async def test_a_declined_card_fails_and_the_order_can_still_be_paid(
    service: Service, card: str, reason: str
) -> None:
    order_id = (await opened(service))["id"]
    answer = await pay(service, order_id, card)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["reason"]) == ("BAD_REQUEST_ERROR", reason)
    assert error["metadata"]["order_id"] == order_id
    found = await payment(service, error["metadata"]["payment_id"])
    assert (found["status"], found["error_reason"]) == ("failed", reason)
    order = (await ask(service, "GET", f"/orders/{order_id}")).json()
    assert (order["status"], order["attempts"]) == ("attempted", 1)
    assert (await pay(service, order_id)).status_code == 200
    listed = (await ask(service, "GET", f"/orders/{order_id}/payments")).json()
    assert [item["status"] for item in listed["items"]] == ["captured", "failed"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"card_number": ""}, "number"),
        ({"card_number": "4111 1111 1111 1112"}, "number"),
        ({"card_number": "411111111111"}, "number"),
        ({"card_number": "4111x1111x1111x1111"}, "number"),
        ({"card_number": "४१११११११११११११११"}, "number"),
        ({"expiry": "01/20"}, "expiry"),
        ({"expiry": "13/40"}, "expiry"),
        ({"expiry": "soon"}, "expiry"),
        ({"cvv": "12"}, "cvv"),
        ({"cvv": "abc"}, "cvv"),
    ],
)
async def test_what_no_card_reader_takes_is_no_payment_at_all(
    service: Service, fields: dict[str, str], field: str
) -> None:
    order_id = (await opened(service))["id"]
    answer = await service.client.post(
        f"/sandbox/pay/{order_id}", json={"card_number": paying.GOOD} | fields
    )
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, field)
    listed = (await ask(service, "GET", f"/orders/{order_id}/payments")).json()
    assert listed == {"entity": "collection", "count": 0, "items": []}


async def test_any_card_in_order_pays_by_form_by_json_and_nested(service: Service) -> None:
    in_three_years = clock.now().year + 3
    fields = {"card_number": "5555-5555-5555-4444", "expiry": f"12/{in_three_years}", "cvv": "123"}
    nested = {"card": {"number": "5555555555554444", "expiry": f"1/{in_three_years % 100}"}}
    ways: list[dict[str, Any]] = [{"data": fields}, {"json": fields}, {"json": nested}]
    for way in ways:
        order_id = (await opened(service))["id"]
        answer = await service.client.post(f"/sandbox/pay/{order_id}", **way)
        assert answer.status_code == 200, answer.text


async def test_ten_customers_at_once_pay_an_order_once(service: Service) -> None:
    order_id = (await opened(service))["id"]
    await asyncio.gather(*(pay(service, order_id) for _ in range(10)))
    listed = (await ask(service, "GET", f"/orders/{order_id}/payments")).json()["items"]
    assert [item["status"] for item in listed].count("captured") == 1


async def test_only_an_authorized_payment_is_captured_in_full_and_once(service: Service) -> None:
    order_id = (await opened(service))["id"]
    payment_id = (await pay(service, order_id, paying.AUTHORIZED)).json()["razorpay_payment_id"]
    found = await payment(service, payment_id)
    assert (found["status"], found["captured"]) == ("authorized", True)  # as their samples lie
    assert (await pay(service, order_id)).status_code == 400  # one at a time

    async def capture(**body: Any) -> httpx.Response:
        return await ask(service, "POST", f"/payments/{payment_id}/capture", json=body)

    for body in ({"amount": 4_999}, {"amount": "5000"}, {}, {"amount": 5_000, "currency": "USD"}):
        refused = await capture(**({"currency": "INR"} | body))
        assert refused.status_code == 400, body
    answers = await asyncio.gather(*(capture(amount=5_000, currency="INR") for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400, 400]
    again = await capture(amount=5_000, currency="INR")
    assert again.json()["error"]["reason"] == "payment_already_captured"
    assert (await ask(service, "GET", f"/orders/{order_id}")).json()["status"] == "paid"


async def test_an_order_without_automatic_capture_waits_for_the_merchant(service: Service) -> None:
    order_id = (await opened(service, payment={"capture": "manual"}))["id"]
    payment_id = (await pay(service, order_id)).json()["razorpay_payment_id"]
    assert (await payment(service, payment_id))["status"] == "authorized"


async def test_a_bank_that_is_late_confirms_in_the_end(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox_payments, "LATE_SECONDS", 1.5)
    order_id = (await opened(service))["id"]
    payment_id = (await pay(service, order_id, paying.LATE)).json()["razorpay_payment_id"]
    assert (await payment(service, payment_id))["status"] == "created"
    async with asyncio.timeout(60):
        while (await payment(service, payment_id))["status"] != "captured":  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert (await ask(service, "GET", f"/orders/{order_id}")).json()["status"] == "paid"


async def test_fee_and_tax_are_known_a_moment_after_the_capture(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox_payments, "FEE_KNOWN_AFTER_SECONDS", -1)
    order_id = (await opened(service, amount=10_000))["id"]
    payment_id = (await pay(service, order_id)).json()["razorpay_payment_id"]
    found = await payment(service, payment_id)
    assert (found["fee"], found["tax"]) == (236, 36)  # 2 % and 18 % GST on it, tax included


# --- the page and the script --------------------------------------------------------------------


async def test_a_person_can_pay_on_a_page_that_says_what_it_is(service: Service) -> None:
    order = await opened(service)
    answer = await service.client.get(f"/sandbox/pay/{order['id']}")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    page = answer.text
    assert "This is a simulator." in page
    embedded = re.search(r'<script type="application/json" id="state">(.*?)</script>', page, re.S)
    assert embedded is not None
    state = json.loads(embedded[1])
    assert state["order"]["amount"] == 5_000
    assert state["verify_url"] == f"{service.settings.own_url}/api/payment/verify"
    assert {card["number"] for card in state["cards"]} >= {paying.GOOD, paying.DECLINED}
    assert "https://" not in page  # nothing comes from the internet
    assert "$state" not in page


async def test_the_page_refuses_orders_and_keys_that_are_not_its_own(service: Service) -> None:
    order = await opened(service)
    for path in ("order_A", f"{order['id']}?key=rzp_test_other", "%3Cscript%3E"):
        answer = await service.client.get(f"/sandbox/pay/{path}")
        assert answer.status_code == 404, path
    answer = await service.client.get(
        f"/sandbox/pay/{order['id']}", params={"name": "</script><script>alert(1)</script>"}
    )
    assert "alert(1)" not in answer.text


async def test_the_script_is_razorpays_and_needs_nothing_from_elsewhere(service: Service) -> None:
    answer = await service.client.get("/sandbox/v1/checkout.js")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/javascript")
    for member in ("open", "close", "on"):
        assert f"Razorpay.prototype.{member} = " in answer.text
    for word in ("handler", "ondismiss", "payment.failed", "callback_url", "order_id"):
        assert word in answer.text
    assert "https://" not in answer.text


# --- faults -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"kind": "explode"},
        {"kind": ["500"]},
        {"kind": "500", "count": 0},
        {"kind": "500", "count": 1_001},
        {"kind": "500", "count": "1"},
        {"kind": "500", "seconds": 121},
        {"kind": "500", "path": 1},
        {"kind": "webhook_old_secret"},  # there is none
    ],
)
async def test_a_fault_that_there_is_not_is_refused(service: Service, body: Any) -> None:
    answer = await service.client.post("/sandbox/faults", json=body)
    assert answer.status_code == 400, answer.text
    assert (await service.client.get("/sandbox/faults")).json()["waiting"] == []


async def test_every_kind_of_fault_is_listed_with_what_it_does(service: Service) -> None:
    answer = (await service.client.get("/sandbox/faults")).json()
    assert answer["kinds"] == faults.KINDS
    assert all(answer["kinds"].values())


async def test_a_fault_is_used_up_once_however_many_ask(service: Service) -> None:
    order_id = (await opened(service))["id"]
    await paying.fault(service, "500", count=3, method="get", path=order_id)
    answers = await asyncio.gather(*(ask(service, "GET", f"/orders/{order_id}") for _ in range(10)))
    assert [answer.status_code for answer in answers].count(500) == 3
    assert [answer.status_code for answer in answers].count(200) == 7


async def test_a_fault_concerns_its_path_and_method_alone(service: Service) -> None:
    order_id = (await opened(service))["id"]
    await paying.fault(service, "500", method="POST", path="/orders")
    await paying.fault(service, "429", path="/payments/")
    assert (await ask(service, "GET", f"/orders/{order_id}")).status_code == 200
    assert (await pay(service, order_id)).status_code == 200  # people can always pay
    assert (await ask(service, "POST", "/orders", json={})).status_code == 500
    assert (await ask(service, "GET", "/payments/pay_A")).status_code == 429
    assert (await service.client.get("/sandbox/faults")).json()["waiting"] == []


async def test_a_lost_answer_means_that_it_happened(service: Service) -> None:
    await paying.fault(service, "lost_response", seconds=0, method="POST", path="/orders")
    lost = await ask(
        service, "POST", "/orders", json={"amount": 700, "currency": "INR", "receipt": "lost 1"}
    )
    assert lost.status_code == 502
    assert (await ask(service, "GET", "/orders?receipt=lost 1")).json()["count"] == 1
    await paying.fault(service, "timeout", seconds=0, method="POST", path="/orders")
    await ask(
        service, "POST", "/orders", json={"amount": 700, "currency": "INR", "receipt": "lost 2"}
    )
    assert (await ask(service, "GET", "/orders?receipt=lost 2")).json()["count"] == 0


async def test_a_connection_can_break(service: Service) -> None:
    await paying.fault(service, "reset")
    with pytest.raises(httpx.HTTPError):
        await ask(service, "GET", "/orders")


# --- where it is --------------------------------------------------------------------------------


def app_with(key_id: str) -> object:
    return create_app(
        mongodb_uri="mongodb://127.0.0.1:1",
        database="nothing",
        key_id=key_id,
        key_secret="secret",
        webhook_secret="secret",
        webhook_url="http://127.0.0.1:1/",
    )


async def test_play_money_is_not_within_reach_of_production(service: Service) -> None:
    for key_id in ("rzp_live_x", "rzp_test_x", ""):
        with pytest.raises(ValueError, match="sandbox key"):
            app_with(key_id)
    assert app_with("rzp_sandbox_x") is not None
    config.use(service.settings.model_copy(update={"app_env": "production"}))
    try:
        with pytest.raises(ValueError, match="outside production"):
            app_with("rzp_sandbox_x")
    finally:
        config.use(service.settings)


async def test_orders_survive_a_restart_and_are_shared_by_processes(service: Service) -> None:
    """A second payment store on the same database, as another process has it."""
    order = await opened(service, receipt="shared")
    other = sandbox_payments.PaymentStore(
        service.settings.mongodb_uri, f"{service.settings.mongodb_db}_sandbox", "secret"
    )
    await other.start()
    try:
        assert (await other.order(order["id"]))["receipt"] == "shared"
    finally:
        await other.stop()
