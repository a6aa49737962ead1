"""The SDK against the sandbox over HTTP, and everything that may go wrong on the way."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import requests
from pydantic import SecretStr

import gateway
from core import config, database
from gateway import GatewayRefused, GatewayUnavailable, NoSuchEntity, entities
from gateway import client as gateway_client
from tests.support import payments as paying
from tests.support.service import Service, free_port, running, test_settings


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for all tests of this file; each test makes its own receipts."""
    async with running(test_settings(mongodb_uri)) as started:
        yield started


@pytest.fixture
def receipt() -> str:
    return database.new_id("rcpt")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits ten seconds in a test."""
    monkeypatch.setattr(gateway_client, "READ_SECONDS", 0.4)


@pytest.fixture
async def elsewhere() -> AsyncIterator[Any]:
    """Point the gateway to another address, without a service."""

    def point(base_url: str, secret: str = "key_secret") -> None:
        config.use(
            config.Settings(
                _env_file=None,
                jwt_secret=SecretStr("a-secret-for-the-tests-only-0123456789"),
                razorpay_key_id="rzp_test_elsewhere",
                razorpay_key_secret=SecretStr(secret),
                razorpay_base_url=base_url,
            )
        )

    before = config._current
    yield point
    config.use(before)


# --- ids ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["", "order_", "order_a/../../payments", "order_a?x=1", "pay_a", "order_a\n", "order_é"],
)
async def test_only_ids_reach_the_url(text: str, elsewhere: Any) -> None:
    elsewhere("http://127.0.0.1:1")  # nobody listens: a request would be GatewayUnavailable
    assert not entities.is_id("order", text)
    with pytest.raises(NoSuchEntity):
        await gateway.fetch_order(text)
    with pytest.raises(NoSuchEntity):
        await gateway.fetch_order_payments(text)


# --- the happy path -----------------------------------------------------------------------------


async def test_an_order_is_created_found_and_fetched(service: Service, receipt: str) -> None:
    created = await gateway.create_order(12_345, receipt, {})
    assert (created.amount_paise, created.currency, created.status) == (12_345, "INR", "created")
    assert await gateway.fetch_order(created.id) == created
    assert await gateway.find_order_by_receipt(receipt) == created
    assert await gateway.fetch_order_payments(created.id) == []


async def test_a_receipt_is_found_only_by_all_of_it(service: Service, receipt: str) -> None:
    longer = await gateway.create_order(100, f"{receipt}0", {})
    assert await gateway.find_order_by_receipt(receipt) is None
    assert await gateway.find_order_by_receipt(f"{receipt}0") == longer


async def test_an_authorized_payment_is_captured_once(service: Service, receipt: str) -> None:
    order = await gateway.create_order(5_000, receipt, {})
    paid = await paying.pay(service, order.id, paying.AUTHORIZED)
    payment_id = paid["razorpay_payment_id"]
    assert (await gateway.fetch_payment(payment_id)).status == "authorized"
    with pytest.raises(GatewayRefused):
        await gateway.capture_payment(payment_id, 4_999)
    captured = await gateway.capture_payment(payment_id, 5_000)
    assert captured.status == "captured"
    with pytest.raises(GatewayRefused) as refused:
        await gateway.capture_payment(payment_id, 5_000)
    assert refused.value.http_status == 400
    assert (await gateway.fetch_order(order.id)).status == "paid"
    [only] = await gateway.fetch_order_payments(order.id)
    assert only.id == payment_id


async def test_parallel_captures_never_post_each_others_amounts(service: Service) -> None:
    async def one(number: int) -> bool:
        amount_paise = 1_000 + number
        order = await gateway.create_order(amount_paise, database.new_id("rcpt"), {})
        paid = await paying.pay(service, order.id, paying.AUTHORIZED)
        captured = await gateway.capture_payment(paid["razorpay_payment_id"], amount_paise)
        return captured.amount_paise == amount_paise and captured.status == "captured"

    assert all(await asyncio.gather(*map(one, range(60))))


# --- what goes wrong ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("timeout", GatewayUnavailable),
        ("lost_response", GatewayUnavailable),
        ("lost_connection", GatewayUnavailable),
        ("reset", GatewayUnavailable),
        ("429", GatewayUnavailable),
        ("500", GatewayUnavailable),
        ("502_html", GatewayUnavailable),
        ("200_html", GatewayUnavailable),
        ("error_null", GatewayUnavailable),
        ("empty_list", GatewayUnavailable),
        ("401", GatewayRefused),
    ],
)
async def test_every_fault_has_its_answer_and_the_next_request_works(
    kind: str, expected: type[Exception], service: Service, receipt: str, quick: None, capfd: Any
) -> None:
    order = await gateway.create_order(100, receipt, {})
    await paying.fault(service, kind, count=2, method="GET", path="/v1/orders/")
    with pytest.raises(expected) as raised:
        await gateway.fetch_order(order.id)
    assert not isinstance(raised.value, NoSuchEntity)
    if expected is GatewayUnavailable:
        assert int(raised.value.headers["Retry-After"]) > 0  # type: ignore[attr-defined]
    await paying.all_faults_over(service)
    assert await gateway.fetch_order(order.id) == order
    assert capfd.readouterr().out == ""  # the SDK prints what it sees going wrong


async def test_a_question_survives_one_broken_connection(service: Service, receipt: str) -> None:
    order = await gateway.create_order(100, receipt, {})
    await paying.fault(service, "reset", count=1, method="GET")
    assert await gateway.fetch_order(order.id) == order


async def test_a_creation_is_never_repeated_by_itself(
    service: Service, receipt: str, quick: None
) -> None:
    await paying.fault(service, "lost_connection", count=1, method="POST")
    with pytest.raises(GatewayUnavailable) as lost:
        await gateway.create_order(100, receipt, {})
    assert lost.value.sent
    found = await service.client.get(
        "/sandbox/v1/orders",
        params={"receipt": receipt},
        auth=(service.settings.gateway_key_id, service.settings.gateway_key_secret),
    )
    assert found.json()["count"] == 1


async def test_what_was_never_sent_is_known_not_to_have_happened(elsewhere: Any) -> None:
    elsewhere(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(GatewayUnavailable) as refused:
        await gateway.create_order(100, "rcpt_1", {})
    assert not refused.value.sent


async def test_a_wrong_key_is_refused_and_no_unknown_id(
    service: Service, receipt: str, elsewhere: Any
) -> None:
    order = await gateway.create_order(100, receipt, {})
    elsewhere(f"{service.settings.own_url}/sandbox")
    with pytest.raises(GatewayRefused) as refused:
        await gateway.fetch_order(order.id)
    assert refused.value.http_status == 401
    assert not isinstance(refused.value, NoSuchEntity)


async def test_an_unknown_id_is_told_from_a_refusal(service: Service) -> None:
    with pytest.raises(NoSuchEntity):
        await gateway.fetch_order("order_AAAAAAAAAAAAAA")
    with pytest.raises(NoSuchEntity):
        await gateway.fetch_payment("pay_AAAAAAAAAAAAAA")


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (400, {"code": "SERVER_ERROR"}, GatewayUnavailable),
        (400, {"code": "GATEWAY_ERROR"}, GatewayUnavailable),
        (200, {"code": "SERVICE_UNAVAILABLE"}, GatewayUnavailable),
        (400, {"code": "BAD_REQUEST_ERROR"}, GatewayRefused),
        (400, {"code": {"$ne": 1}}, GatewayRefused),
        (400, {}, GatewayRefused),
    ],
)
def test_trouble_of_razorpays_own_is_no_refusal_whatever_its_http_status(
    status: int, error: dict[str, Any], expected: type[Exception]
) -> None:
    answer = requests.Response()
    answer.status_code = status
    answer._content = json.dumps({"error": error}).encode()
    with pytest.raises(expected):
        gateway_client._refuse_errors(answer)


async def test_a_silent_gateway_holds_nobody_longer_than_the_limit(
    elsewhere: Any, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More callers than threads: the last ones are told, too, instead of queueing for ever."""
    monkeypatch.setattr(gateway_client, "TOTAL_SECONDS", 1.0)
    monkeypatch.setattr(gateway_client, "READ_SECONDS", 30.0)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(200)
        elsewhere(f"http://127.0.0.1:{silent.getsockname()[1]}")
        began = time.perf_counter()
        answers = await asyncio.gather(
            *(gateway.fetch_payment(f"pay_{n}") for n in range(gateway.THREADS * 4)),
            return_exceptions=True,
        )
        assert time.perf_counter() - began < 20
        assert all(isinstance(answer, GatewayUnavailable) for answer in answers)


async def test_redirects_are_not_followed(elsewhere: Any) -> None:
    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n")
        writer.write(b"Content-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(redirect, "127.0.0.1", 0) as server:
        elsewhere(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(GatewayUnavailable, match="cannot be understood"):
            await gateway.fetch_payment("pay_1")
