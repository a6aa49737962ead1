"""The webhooks of the Razorpay on this machine: signed, delivered until 2xx, and wrong on request."""

import asyncio
import contextlib
import dataclasses
import hmac
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import uvicorn
from motor.motor_asyncio import AsyncIOMotorClient
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from core import clock, config
from sandbox import app as sandbox_app
from sandbox import events as sandbox_events
from sandbox import payments as sandbox_payments
from sandbox import refunds as sandbox_refunds
from sandbox import webhook_delivery
from tests.sandbox.test_razorpay import ask, opened
from tests.support import payments as paying
from tests.support.service import KEEP_ALIVE_SECONDS, Service, free_port, test_settings

SECRET, PREVIOUS = "the secret of today", "the secret of yesterday"


@dataclasses.dataclass
class Receipt:
    """What arrived."""

    body: bytes
    event_id: str
    signature: str | None
    at: float

    @property
    def event(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    def signed_with(self, secret: str) -> bool:
        return self.signature == hmac.new(secret.encode(), self.body, "sha256").hexdigest()


class Receiver:
    """A merchant's endpoint that keeps everything, and answers with the status that the test chose."""

    def __init__(self) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self.arrived: list[Receipt] = []
        self.answers: list[int] = []
        self.slow_seconds = 0.0

    async def receive(self, request: Request) -> Response:
        body, headers = await request.body(), request.headers
        at = asyncio.get_running_loop().time()
        event_id = headers["x-razorpay-event-id"]
        self.arrived.append(Receipt(body, event_id, headers.get("x-razorpay-signature"), at))
        await asyncio.sleep(self.slow_seconds)
        return Response(status_code=self.answers.pop(0) if self.answers else 200)

    async def about(self, entity_id: str, count: int) -> list[Receipt]:
        """The first `count` that arrived about an entity, when they have."""
        async with asyncio.timeout(60):
            while True:
                found = [receipt for receipt in self.arrived if entity_id.encode() in receipt.body]
                if len(found) >= count:
                    return found
                await asyncio.sleep(0.01)


@pytest.fixture(scope="module")
async def receiver() -> Receiver:
    return Receiver()


@pytest.fixture(scope="module")
async def service(mongodb_uri: str, receiver: Receiver) -> AsyncIterator[Service]:
    """A sandbox alone, whose merchant is the receiver, in one server."""
    settings = test_settings(mongodb_uri, port=int(receiver.url.rpartition(":")[2]))
    config.use(settings)
    app = sandbox_app.create_app(
        mongodb_uri=mongodb_uri,
        database=f"{settings.mongodb_db}_sandbox",
        key_id=settings.gateway_key_id,
        key_secret=settings.gateway_key_secret,
        webhook_secret=SECRET,
        webhook_secret_previous=PREVIOUS,
        webhook_url=f"{receiver.url}/hook",
    )
    routes = [Mount("/sandbox", app=app), Route("/hook", receiver.receive, methods=["POST"])]

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with app.router.lifespan_context(app):
            yield

    whole = Starlette(routes=routes, lifespan=lifespan)
    quiet: dict[str, Any] = {"log_config": None, "access_log": False}
    quiet["timeout_keep_alive"] = KEEP_ALIVE_SECONDS
    server = uvicorn.Server(uvicorn.Config(whole, port=settings.port, **quiet))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        assert not serving.done()
        await asyncio.sleep(0.01)
    async with httpx.AsyncClient(base_url=receiver.url, timeout=30) as client:
        yield Service(client, settings)
    server.should_exit = True
    await serving
    config.use(None)
    cleaner: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(mongodb_uri)
    await cleaner.drop_database(f"{settings.mongodb_db}_sandbox")
    cleaner.close()


@pytest.fixture(autouse=True)
async def calm(
    service: Service, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[None]:
    monkeypatch.setattr(sandbox_refunds, "PROCESSED_AFTER_SECONDS", 0.15)
    monkeypatch.setattr(sandbox_events, "FIRST_AFTER_SECONDS", 0.0)
    monkeypatch.setattr(webhook_delivery, "BACKOFF_SECONDS_FIRST", 0.1)
    yield
    receiver.answers, receiver.slow_seconds = [], 0.0
    await paying.all_faults_over(service)
    await outside(service, "/webhooks", enabled=True)


async def outside(service: Service, path: str, **body: Any) -> dict[str, Any]:
    answer = await service.client.post(f"/sandbox{path}", json=body)
    assert answer.is_success, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def listed(service: Service, about: str, **query: Any) -> list[dict[str, Any]]:
    """The events about an entity, the oldest first."""
    answer = await service.client.get("/sandbox/webhooks", params={"about": about, **query})
    events: list[dict[str, Any]] = answer.json()["items"][::-1]
    return events


async def until(service: Service, about: str, *states: str) -> list[dict[str, Any]]:
    """The events about an entity, once their states are these."""
    async with asyncio.timeout(60):
        while True:
            found = await listed(service, about)
            if [event["state"] for event in found] == list(states):
                return found
            await asyncio.sleep(0.02)


async def pay(service: Service, card: str = paying.GOOD) -> str:
    """The id of a payment of Rs 50."""
    order_id = (await opened(service))["id"]
    answer = await service.client.post(f"/sandbox/pay/{order_id}", json={"card_number": card})
    if answer.status_code == 400:
        failed: str = answer.json()["error"]["metadata"]["payment_id"]
        return failed
    paid: str = answer.json()["razorpay_payment_id"]
    return paid


async def test_a_payment_is_reported_at_once_and_signed(
    service: Service, receiver: Receiver
) -> None:
    payment_id = await pay(service)
    began = asyncio.get_running_loop().time()
    authorized, captured, paid = await receiver.about(payment_id, 3)
    assert authorized.at - began < 0.5
    assert all(receipt.signed_with(SECRET) for receipt in (authorized, captured, paid))
    assert len({receipt.event_id for receipt in (authorized, captured, paid)}) == 3
    event = captured.event
    assert set(event) == {"entity", "account_id", "event", "contains", "payload", "created_at"}
    assert (event["entity"], event["event"]) == ("event", "payment.captured")
    assert event["contains"] == ["payment"]
    assert abs(event["created_at"] - clock.now().timestamp()) < 5
    entity = event["payload"]["payment"]["entity"]
    assert (entity["id"], entity["status"], entity["amount"]) == (payment_id, "captured", 5_000)
    assert (entity["fee"], entity["tax"]) == (None, None)  # a snapshot: not known yet
    assert captured.body == json.dumps(event, separators=(",", ":")).encode()
    assert authorized.event["payload"]["payment"]["entity"]["status"] == "authorized"
    assert paid.event["event"] == "order.paid"
    assert paid.event["contains"] == ["payment", "order"]
    assert paid.event["payload"]["order"]["entity"]["status"] == "paid"
    assert "acquirer_data" not in paid.event["payload"]["payment"]["entity"]
    events = await until(service, payment_id, "delivered", "delivered", "delivered")
    assert [event["attempts"] for event in events] == [1, 1, 1]
    assert {event["last_status"] for event in events} == {200}


async def test_every_way_to_change_a_payment_is_reported(
    service: Service, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def names(payment_id: str, count: int) -> list[str]:
        return [receipt.event["event"] for receipt in await receiver.about(payment_id, count)]

    whole = ["payment.authorized", "payment.captured", "order.paid"]
    failed = await pay(service, paying.DECLINED)
    assert await names(failed, 1) == ["payment.failed"]
    await outside(service, f"/payments/{failed}", status="authorized")
    late = (await receiver.about(failed, 2))[1].event["payload"]["payment"]["entity"]
    assert late["late_authorized"] is True
    await outside(service, f"/payments/{failed}", status="captured")
    assert await names(failed, 4) == ["payment.failed", *whole]
    monkeypatch.setattr(sandbox_payments, "LATE_SECONDS", 0.2)
    assert await names(await pay(service, paying.LATE), 3) == whole  # nobody reads it
    await paying.fault(service, "late_capture")
    assert await names(await pay(service), 3) == whole
    waiting = await pay(service, paying.AUTHORIZED)
    body = {"amount": 5_000, "currency": "INR"}
    await asyncio.gather(
        *(ask(service, "POST", f"/payments/{waiting}/capture", json=body) for _ in range(4))
    )
    assert await names(waiting, 3) == whole
    order_id = (await opened(service))["id"]
    for expected in (whole, whole[:2]):  # the second does not pay the order again
        forced = await paying.force_payment(service, order_id, status="captured")
        assert await names(forced["razorpay_payment_id"], len(expected)) == expected


async def test_a_refund_is_reported_with_its_payment(service: Service, receiver: Receiver) -> None:
    payment_id = await pay(service, paying.AUTHORIZED)
    refund_id = (await outside(service, f"/payments/{payment_id}/auto-refund"))["id"]
    created, processed = await receiver.about(refund_id, 2)
    assert created.event["event"] == "refund.created"
    assert created.event["payload"]["refund"]["entity"]["status"] == "pending"
    assert processed.event["event"] == "refund.processed"
    assert processed.event["contains"] == ["refund", "payment"]
    payment = processed.event["payload"]["payment"]["entity"]
    assert (payment["captured"], payment["amount_refunded"]) == (False, 5_000)


async def test_what_is_not_answered_with_2xx_comes_again_and_the_same(
    service: Service, receiver: Receiver
) -> None:
    receiver.answers = [500, 302, 404]
    payment_id = await pay(service, paying.DECLINED)
    first, second, third, fourth = await receiver.about(payment_id, 4)
    assert len({(r.event_id, r.body, r.signature) for r in (first, second, third, fourth)}) == 1
    assert fourth.at - third.at > second.at - first.at  # the pauses grow
    (event,) = await until(service, payment_id, "delivered")
    assert event["attempts"] == 4


async def test_an_answer_that_does_not_come_is_a_failure_and_stops_nobody_else(
    service: Service, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_delivery, "TIMEOUT_SECONDS", 3.0)
    receiver.slow_seconds = 5.0
    slow = await pay(service, paying.DECLINED)
    await receiver.about(slow, 1)
    receiver.slow_seconds = 0.0
    quick = await pay(service, paying.DECLINED)
    await until(service, quick, "delivered")
    (event,) = await listed(service, slow)
    assert (event["state"], event["attempts"]) == ("waiting", 0)
    (event,) = await until(service, slow, "delivered")
    assert event["attempts"] == 2


async def test_an_event_is_given_up_after_a_day(
    service: Service, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_delivery, "GIVEN_UP_AFTER_SECONDS", -1)
    # Whatever is delivered: on a busy machine also another event, or this one when its lease has run out.
    receiver.answers = [503] * 1_000
    (event,) = await until(service, await pay(service, paying.DECLINED), "lost")
    assert (event["attempts"], event["last_status"]) == (1, 503)


async def test_while_webhooks_are_off_events_are_held_and_can_be_replayed(
    service: Service, receiver: Receiver
) -> None:
    assert await outside(service, "/webhooks", enabled=False) == {"enabled": False}
    payment_id = await pay(service, paying.DECLINED)
    await outside(service, "/webhooks", enabled=True)
    await receiver.about(await pay(service, paying.DECLINED), 1)
    (event,) = await until(service, payment_id, "held")
    assert not any(payment_id.encode() in receipt.body for receipt in receiver.arrived)
    receiver.answers = [418]
    path = f"/webhooks/{event['id']}/replay"
    assert await outside(service, path) == {"event_id": event["id"], "status": 418}
    assert (await outside(service, path))["status"] == 200
    await until(service, payment_id, "delivered")
    assert [r.event_id for r in await receiver.about(payment_id, 2)] == [event["id"]] * 2
    shown = (await service.client.get(f"/sandbox/webhooks/{event['id']}")).json()
    assert shown["body"].encode() == receiver.arrived[-1].body
    for body in ({"secret": "mine"}, {"surprise": 1}):
        assert (await service.client.post(f"/sandbox{path}", json=body)).status_code == 400
    for path, status in (("/webhooks/none", 400), ("/webhooks?count=x", 400)):
        assert (await service.client.get(f"/sandbox{path}")).status_code == status
    assert (await service.client.post("/sandbox/webhooks", json={})).status_code == 400


async def test_a_replay_can_be_signed_otherwise_and_carry_another_id(
    service: Service, receiver: Receiver
) -> None:
    payment_id = await pay(service, paying.DECLINED)
    await receiver.about(payment_id, 1)
    (event,) = await until(service, payment_id, "delivered")
    path = f"/webhooks/{event['id']}/replay"
    other = await outside(service, path, secret="previous", new_event_id=True)
    await outside(service, path, secret="wrong")
    await outside(service, path, unsigned=True)
    _, previous, wrong, unsigned = await receiver.about(payment_id, 4)
    assert previous.signed_with(PREVIOUS)
    assert previous.event_id == other["event_id"] != event["id"]
    assert not wrong.signed_with(SECRET)
    assert not wrong.signed_with(PREVIOUS)
    assert (wrong.signature is None, unsigned.signature) == (False, None)


# --- faults -------------------------------------------------------------------------------------


async def test_a_webhook_can_be_lost_and_a_path_names_the_event(
    service: Service, receiver: Receiver
) -> None:
    await paying.fault(service, "webhook_lost", path="payment.captured")
    payment_id = await pay(service)
    events = await until(service, payment_id, "delivered", "lost", "delivered")
    assert [event["event"] for event in events if event["state"] == "lost"] == ["payment.captured"]
    assert len(await receiver.about(payment_id, 2)) == 2
    await outside(service, f"/webhooks/{events[1]['id']}/replay")
    await until(service, payment_id, "delivered", "delivered", "delivered")


async def test_a_webhook_can_be_late(service: Service, receiver: Receiver) -> None:
    await paying.fault(service, "webhook_late", seconds=0.5)
    payment_id = await pay(service, paying.DECLINED)
    began = asyncio.get_running_loop().time()
    assert 0.3 < (await receiver.about(payment_id, 1))[0].at - began < 1.5


async def test_a_webhook_can_come_three_times_at_once(service: Service, receiver: Receiver) -> None:
    await paying.fault(service, "webhook_repeated")
    receiver.slow_seconds = 0.1
    payment_id = await pay(service, paying.DECLINED)
    receipts = await receiver.about(payment_id, 3)
    assert receipts[2].at - receipts[0].at < 0.1
    assert len({(receipt.event_id, receipt.body) for receipt in receipts}) == 1
    (event,) = await until(service, payment_id, "delivered")
    assert event["attempts"] == 3


async def test_webhooks_can_come_in_another_order(service: Service, receiver: Receiver) -> None:
    await paying.fault(service, "webhook_reordered", path="payment.authorized")
    receipts = await receiver.about(await pay(service), 3)
    named = [receipt.event["event"] for receipt in receipts]
    assert named == ["payment.captured", "order.paid", "payment.authorized"]
    await paying.fault(service, "webhook_reordered", path="refund.created")
    payment_id = await pay(service)
    refund_id = (await outside(service, f"/payments/{payment_id}/refunds"))["id"]
    named = [receipt.event["event"] for receipt in await receiver.about(refund_id, 2)]
    assert named == ["refund.processed", "refund.created"]


async def test_webhooks_can_be_signed_with_another_secret_or_not_at_all(
    service: Service, receiver: Receiver
) -> None:
    for kind, right in (
        ("webhook_old_secret", {PREVIOUS}),
        ("webhook_wrong_secret", set()),
        ("webhook_unsigned", set()),
    ):
        await paying.fault(service, kind)
        (receipt,) = await receiver.about(await pay(service, paying.DECLINED), 1)
        assert {s for s in (SECRET, PREVIOUS) if receipt.signed_with(s)} == right, kind
        assert (receipt.signature is None) == (kind == "webhook_unsigned")
    (receipt,) = await receiver.about(await pay(service, paying.DECLINED), 1)
    assert receipt.signed_with(SECRET)


async def test_what_another_process_left_behind_is_delivered_once(
    service: Service, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two more processes on the same database wake up at the same time."""
    monkeypatch.setattr(webhook_delivery, "IDLE_SECONDS_MAX", 0.1)
    database = f"{service.settings.mongodb_db}_sandbox"
    apps = [
        sandbox_app.create_app(
            mongodb_uri=service.settings.mongodb_uri,
            database=database,
            key_id=service.settings.gateway_key_id,
            key_secret=service.settings.gateway_key_secret,
            webhook_secret=SECRET,
            webhook_url=f"{receiver.url}/hook",
        )
        for _ in range(2)
    ]
    async with (
        apps[0].router.lifespan_context(apps[0]),
        apps[1].router.lifespan_context(apps[1]),
    ):
        ids = [await pay(service, paying.DECLINED) for _ in range(10)]
        for payment_id in ids:
            await until(service, payment_id, "delivered")
    for payment_id in ids:
        assert len(await receiver.about(payment_id, 1)) == 1
