"""A Razorpay that does not answer stops neither calls nor campaigns nor credits of other kinds."""

import asyncio
import json
import time
from collections.abc import AsyncIterator

import pytest

import gateway
import worker
from core import outbox
from core.database import db
from gateway import entities
from tests.support import calls as calling
from tests.support import campaigns as campaigning
from tests.support.service import Person, Service, running, test_settings, until

WEBHOOKS = 100


@pytest.fixture
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    async with running(test_settings(mongodb_uri, signups_per_hour=100_000)) as started:
        yield started


class SilentRazorpay:
    """Every payment that it is asked about waits until it may be answered."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = 0
        self.may_answer = asyncio.Event()
        monkeypatch.setattr(gateway, "fetch_payment", self.fetch_payment)

    async def fetch_payment(self, payment_id: str) -> entities.Payment:
        self.asked += 1
        await self.may_answer.wait()
        raise gateway.NoSuchEntity(payment_id, http_status=400)


async def webhooks_wait(razorpay: SilentRazorpay) -> None:
    for n in range(WEBHOOKS):
        payment = {"payment": {"entity": {"id": f"pay_nobody{n:06d}"}}}
        body = {"event": "payment.captured", "payload": payment}
        await outbox.store_event(
            outbox.record_event(
                "RazorpayReported",
                user_id=None,
                pending=True,
                event="payment.captured",
                razorpay_event_id="",
                mode="sandbox",
                body=json.dumps(body),
            )
        )
    await until(lambda: asyncio.sleep(0, razorpay.asked == worker.RAZORPAY.at_once))


async def freeze(service: Service, admin: Person, person: Person) -> None:
    path = f"/api/admin/users/{person.id}/freeze"
    answer = await service.post(path, admin, json={"reason": "stolen account"})
    assert answer.status_code == 200, answer.text


async def resolved(call_id: str) -> bool:
    states = {"$in": ["settled", "released"]}
    return await db.calls.find_one({"_id": call_id, "billing_status": states}) is not None


async def test_the_calls_of_a_frozen_wallet_are_hung_up_while_webhooks_wait(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin, person = await service.admin(), await service.signup()
    await service.fund(person, 100)
    talk = {"outcome": "completed", "duration_seconds": 600, "wall_seconds": 600}
    call = await calling.place(service, person, talk)
    razorpay = SilentRazorpay(monkeypatch)
    await webhooks_wait(razorpay)
    began = time.monotonic()
    await freeze(service, admin, person)
    await until(lambda: resolved(call["call_id"]))
    print(f"{WEBHOOKS} webhooks wait: hung up after {time.monotonic() - began:.2f} s")
    assert razorpay.asked == worker.RAZORPAY.at_once  # not one of them had ended
    razorpay.may_answer.set()


async def test_a_campaign_that_waits_for_money_goes_on_while_webhooks_wait(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await service.signup()
    await service.fund(person, 25)
    created = await campaigning.create(service, person, 8)
    await campaigning.until(service, person, created, lambda c: c["pause_reason"] == "balance")
    razorpay = SilentRazorpay(monkeypatch)
    await webhooks_wait(razorpay)
    await service.fund(person, 100)
    await campaigning.until(service, person, created, lambda c: c["status"] == "completed")
    assert razorpay.asked == worker.RAZORPAY.at_once
    razorpay.may_answer.set()
