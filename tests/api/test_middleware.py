"""Request ids, the size of bodies, bodies that cannot be read, addresses that are not there."""

import logging
import re
from collections.abc import AsyncIterator

import httpx
import pytest

import main
from api import middleware
from core import config, logs
from core.database import db
from tests.support.service import Service, new_key, running
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
    assert signed_up.user_id == asha.id


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
        (b"[" * 60_000, "application/json", 400, "malformed_body"),
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


# --- addresses, methods and hosts -----------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/api/calls%0A2026-11-28%20ERROR%20forged",
        "/api/calls/x%0D%0AERROR%20forged",
        "/api/calls/x%C2%85ERROR%20forged",
        "/sandbox/nothing%0AERROR%20forged",
        "/health%0A",  # `$` in a route's pattern overlooks it
        "/metrics%0A",  # a proxy that keeps /metrics inside would let it through
        "/%00",
        "/%E2%80%A8forged",
    ],
)
async def test_no_address_has_a_line_break_and_none_forges_a_line_of_the_log(
    service: Service, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    caplog.set_level(logging.INFO, "api")
    answer = await service.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert answer.headers["content-type"] == "application/problem+json"
    written = [record.getMessage() for record in caplog.records if record.name == "api"]
    assert any(path in line for line in written)
    assert not any(line.splitlines()[1:] for line in written)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/api/calls", "GET, HEAD, OPTIONS"),
        ("DELETE", "/api/campaigns", "GET, HEAD, POST, OPTIONS"),
        ("PATCH", "/api/payment/refunds", "GET, HEAD, POST, OPTIONS"),
        ("POST", "/api/calls/x", "GET, HEAD, OPTIONS"),
        ("PROPFIND", "/api/call", "POST, OPTIONS"),
        ("POST", "/docs-assets/favicon.png", "GET, HEAD, OPTIONS"),
    ],
)
async def test_405_names_all_methods_of_the_address(
    service: Service, method: str, path: str, allowed: str
) -> None:
    answer = await service.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == allowed
    asked = await service.request("OPTIONS", path)
    assert (asked.status_code, asked.headers["allow"]) == (204, allowed)


async def test_options_of_what_is_not_there_is_404(service: Service) -> None:
    assert (await service.request("OPTIONS", "/api/nothing")).status_code == 404


async def test_head_is_get_without_the_body(service: Service) -> None:
    asha = await service.signup()
    for path in ("/health", "/ready", "/api/wallet/balance", "/api/nothing", "/api/calls/x"):
        full = await service.get(path, asha)
        head = await service.request("HEAD", path, asha)
        assert (head.status_code, head.content) == (full.status_code, b""), path
        assert head.headers["content-length"] == full.headers["content-length"]
    assert (await service.request("HEAD", "/api/wallet/balance")).status_code == 401
    assert (await service.request("HEAD", "/api/call", asha)).status_code == 405


async def test_a_slash_at_the_end_is_another_address_and_no_host_is_repeated(
    service: Service,
) -> None:
    for path in ("/api/calls/", "/sandbox", "/api/calls", "/", "/docs/"):
        answer = await service.get(path, headers={"Host": "attacker.example"})
        assert "attacker" not in str(answer.headers) + answer.text, path
    assert (await service.get("/api/calls/")).status_code == 404


async def test_an_idempotency_key_is_the_same_whatever_the_host(service: Service) -> None:
    asha = await service.signup()
    body, key = {"amount": 100}, new_key()
    answers = [
        await service.post(
            "/api/payment/create-order", asha, json=body, headers={**key, "Host": host}
        )
        for host in ("127.0.0.1", "attacker.example:80")
    ]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[1].json()["order_id"] == answers[0].json()["order_id"]


async def test_an_odd_method_or_address_is_no_label_of_the_metrics(service: Service) -> None:
    for number, method in enumerate(("PROPFIND", "MKCOL", "ODD", "TRACE")):
        assert (await service.request(method, "/health")).status_code in (400, 405)
        await service.get(f"/api/nothing-{number}")
    text = (await service.get("/metrics")).text
    assert not re.search("ODD|PROPFIND|MKCOL|TRACE", text)
    assert 'method="other",route="/health",status="405"' in text
    assert "nothing-" not in text
    assert 'method="GET",route="other",status="404"' in text


async def test_production_serves_nothing_that_came_in_without_the_bounds(
    settings: config.Settings,
) -> None:
    config.use(settings.model_copy(update={"app_env": "production"}))
    unbounded = httpx.ASGITransport(app=main.create_app())
    async with httpx.AsyncClient(transport=unbounded, base_url="http://service") as client:
        answer = await client.get("/health")
    assert (answer.status_code, answer.json()["code"]) == (503, "service_unavailable")
