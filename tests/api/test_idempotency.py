"""Idempotency keys: a repeated POST gets the first answer, also after crashes and at the same time."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator

import pytest

from core import clock
from core.database import db
from tests.support.service import Service, running
from tests.support.service import test_settings as settings_of_tests

NOON = dt.datetime(2026, 11, 10, 6, 30, 0, 123000, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for all tests of this file; each test has users of its own."""
    async with running(settings_of_tests(mongodb_uri)) as started:
        yield started


# --- idempotency --------------------------------------------------------------------------------


async def test_the_same_key_and_body_replays_the_first_answer(service: Service) -> None:
    asha, bela = await service.signup(), await service.signup()
    first = await service.post(
        "/api/payment/create-order", asha, json={"amount": 100}, headers={"Idempotency-Key": "k"}
    )
    again = await service.post(
        "/api/payment/create-order", asha, json={"amount": 100}, headers={"Idempotency-Key": "k"}
    )
    assert first.status_code == again.status_code == 201
    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    other = await service.post(
        "/api/payment/create-order", asha, json={"amount": 101}, headers={"Idempotency-Key": "k"}
    )
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    hers = await service.post(
        "/api/payment/create-order", bela, json={"amount": 100}, headers={"Idempotency-Key": "k"}
    )
    assert hers.json()["order_id"] != first.json()["order_id"]


async def test_twenty_requests_with_one_key_at_once_do_it_once(service: Service) -> None:
    asha = await service.signup()
    answers = await asyncio.gather(
        *(
            service.post(
                "/api/payment/create-order",
                asha,
                json={"amount": 100},
                headers={"Idempotency-Key": "k"},
            )
            for _ in range(20)
        )
    )
    assert {a.status_code for a in answers} <= {201, 409}
    assert len({a.json()["order_id"] for a in answers if a.status_code == 201}) == 1
    for refused in (a for a in answers if a.status_code == 409):
        assert refused.json()["code"] == "request_in_progress"
        assert refused.headers["retry-after"]
    assert await db.orders.count_documents({"user_id": asha.id}) == 1


async def test_after_a_402_the_same_key_may_be_tried_again(service: Service) -> None:
    asha = await service.signup()
    body = {"to": "+919876543210", "simulate": {"wall_seconds": 60}}
    headers = {"Idempotency-Key": "k"}
    refused = await service.post("/api/call", asha, json=body, headers=headers)
    assert refused.status_code == 402
    await service.fund(asha, 100)
    placed = await service.post("/api/call", asha, json=body, headers=headers)
    assert placed.status_code == 202, placed.text
    again = await service.post("/api/call", asha, json=body, headers=headers)
    assert again.json()["call_id"] == placed.json()["call_id"]
    assert await db.calls.count_documents({"user_id": asha.id}) == 1


async def test_a_crash_between_the_work_and_its_answer_does_not_do_it_twice(
    service: Service,
) -> None:
    """The record says that the first attempt is running, its lease is over, the work was done."""
    asha = await service.signup()
    await service.fund(asha, 100)
    body = {"to": "+919876543210", "simulate": {"wall_seconds": 60}}
    headers = {"Idempotency-Key": "k"}
    first = await service.post("/api/call", asha, json=body, headers=headers)
    forgotten = {"answer": None, "lease_until": clock.after(-1)}
    await db.idempotency_keys.update_one({"user_id": asha.id}, {"$set": forgotten})
    again = await service.post("/api/call", asha, json=body, headers=headers)
    assert again.status_code == 202
    assert again.json()["call_id"] == first.json()["call_id"]
    assert await db.calls.count_documents({"user_id": asha.id}) == 1


@pytest.mark.parametrize("key", ["with space", "x" * 256, "ü"])
async def test_a_key_that_cannot_be_one_is_422(service: Service, key: str) -> None:
    asha = await service.signup()
    answer = await service.client.post(
        "/api/payment/create-order",
        json={"amount": 100},
        headers=[
            (b"authorization", asha.headers["Authorization"].encode()),
            (b"idempotency-key", key.encode()),
        ],
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")
