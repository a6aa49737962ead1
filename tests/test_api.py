"""What every route shares: cursors, idempotency keys, request ids, bodies, problems."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import clock, pagination
from core.database import db
from core.errors import InvalidCursor
from tests.conftest import Service, running
from tests.conftest import test_settings as settings_of_tests

NOON = dt.datetime(2026, 11, 10, 6, 30, 0, 123000, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for all tests of this file; each test has users of its own."""
    async with running(settings_of_tests(mongodb_uri)) as started:
        yield started


# --- cursors ------------------------------------------------------------------------------------
def test_a_cursor_is_read_back() -> None:
    cursor = pagination.encode_cursor("txn", NOON, 42)
    assert pagination.decode_cursor(cursor, str, dt.datetime, int) == ["txn", NOON, 42]


@given(st.text(max_size=200) | st.binary(max_size=60).map(lambda b: b.decode("latin-1")))
def test_whatever_is_sent_as_a_cursor_is_refused_and_breaks_nothing(cursor: str) -> None:
    with pytest.raises(InvalidCursor):
        pagination.decode_cursor(cursor, str, dt.datetime, int)


@pytest.mark.parametrize(
    "parts",
    [
        ("txn",),
        ("txn", 1, NOON),
        (1, NOON, 1),
        ("txn", NOON, True),
        ("txn", NOON, 2**70),
        ("\ud800", NOON, 1),
    ],
)
def test_the_cursor_of_another_list_is_refused(parts: tuple[str | int | dt.datetime, ...]) -> None:
    with pytest.raises(InvalidCursor):
        pagination.decode_cursor(pagination.encode_cursor(*parts), str, dt.datetime, int)


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


# --- the gate -----------------------------------------------------------------------------------
async def test_a_request_id_is_kept_or_made(service: Service) -> None:
    given = await service.get("/health", headers={"X-Request-Id": "abc-123"})
    assert given.headers["x-request-id"] == "abc-123"
    made = await service.get("/health", headers={"X-Request-Id": "<script>"})
    assert made.headers["x-request-id"] not in ("<script>", "")
    assert made.headers["x-content-type-options"] == "nosniff"


async def test_ten_megabytes_are_refused_with_and_without_a_declared_length(
    service: Service,
) -> None:
    asha = await service.signup()
    large = b'{"amount": ' + b" " * 10_000_000 + b"1}"

    async def pieces() -> object:
        for begin in range(0, len(large), 100_000):
            yield large[begin : begin + 100_000]

    headers = {"content-type": "application/json"}
    for content in (large, pieces()):
        answer = await service.post(
            "/api/payment/create-order", asha, content=content, headers=headers
        )
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert await db.orders.count_documents({"user_id": asha.id}) == 0


@pytest.mark.parametrize(
    ("content", "content_type", "status", "code"),
    [
        (b"{", "application/json", 400, "malformed_body"),
        (b"\xff\xfe", "application/json", 400, "malformed_body"),
        (b'{"amount": 100}', "text/plain", 415, "unsupported_media_type"),
        (b"amount=100", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
        (b"[]", "application/json", 422, "validation_error"),
        (b'{"amount": {"$gt": 0}}', "application/json", 422, "validation_error"),
        (b'{"amount": NaN}', "application/json", 422, "validation_error"),
        (b'{"amount": ' + b"9" * 5_000 + b"}", "application/json", 400, "malformed_body"),
        (b"[" * 100_000, "application/json", 400, "malformed_body"),
    ],
)
async def test_a_body_that_cannot_be_read_has_a_clear_answer(
    service: Service, content: bytes, content_type: str, status: int, code: str
) -> None:
    asha = await service.signup()
    answer = await service.post(
        "/api/payment/create-order", asha, content=content, headers={"content-type": content_type}
    )
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


async def test_what_is_not_there_is_a_problem_too(service: Service) -> None:
    missing = await service.get("/api/nothing")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    wrong = await service.request("DELETE", "/api/wallet/balance")
    assert (wrong.status_code, wrong.json()["code"]) == (405, "method_not_allowed")
