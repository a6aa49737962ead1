"""Request ids, the size of bodies, bodies that cannot be read, addresses that are not there."""

from collections.abc import AsyncIterator

import pytest

from api import middleware
from core import logs
from core.database import db
from tests.support.service import Service, running
from tests.support.service import test_settings as settings_of_tests


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for all tests of this file; each test has users of its own."""
    async with running(settings_of_tests(mongodb_uri, signups_per_hour=100_000)) as started:
        yield started


# --- the gate -----------------------------------------------------------------------------------


async def test_a_request_id_is_kept_or_made(service: Service) -> None:
    given = await service.get("/health", headers={"X-Request-Id": "abc-123"})
    assert given.headers["x-request-id"] == "abc-123"
    made = await service.get("/health", headers={"X-Request-Id": "<script>"})
    assert made.headers["x-request-id"] not in ("<script>", "")
    assert made.headers["x-content-type-options"] == "nosniff"


async def test_the_line_of_a_request_names_its_user_and_the_next_line_does_not(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Log lines carry the user."""
    seen: list[logs.Actor] = []
    monkeypatch.setattr(middleware.log, "info", lambda *_: seen.append(logs.actor.get()))
    asha = await service.signup()
    await service.get("/api/auth/me", asha)
    await service.get("/api/auth/me")
    signed_up, known, unknown = seen
    assert (known.user_id, known.role, known.key_id) == (asha.id, "user", None)
    assert unknown == logs.Actor(user_id=None, role="nobody", address="127.0.0.1")
    assert signed_up.user_id is None


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
