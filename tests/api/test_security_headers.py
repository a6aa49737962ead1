"""Security headers on every answer, the policies of the pages, and /.well-known/security.txt."""

import base64
import datetime as dt
import hashlib
import re
from collections.abc import AsyncIterator

import pytest

from core import clock, config
from tests.support.service import Service, running
from tests.support.service import test_settings as settings_of_tests


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for all tests of this file."""
    contact = {"security_contact": "mailto:security@example.org"}
    async with running(settings_of_tests(mongodb_uri, **contact)) as started:
        yield started


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/health", 200),
        ("/api/auth/me", 401),
        ("/nothing/here", 404),
        ("/openapi.json", 200),
        ("/docs", 200),
        ("/docs-assets/swagger-ui.css", 200),
        ("/", 200),
        ("/calls", 200),
        ("/pay/order_1", 200),
        ("/api/transactions/download", 401),
    ],
)
async def test_every_answer_makes_the_browser_careful(
    service: Service, path: str, status: int
) -> None:
    """CSP, frame-ancestors, nosniff, referrer policy; HSTS only behind TLS."""
    answer = await service.get(path)
    assert answer.status_code == status
    policy = answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert "base-uri 'none'" in policy
    assert "default-src 'none'" in policy or path == "/docs"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] in ("no-referrer", "strict-origin-when-cross-origin")
    assert "strict-transport-security" not in answer.headers
    behind_tls = await service.get(path, headers={"X-Forwarded-Proto": "https"})
    assert behind_tls.headers["strict-transport-security"] == "max-age=31536000"


async def test_a_body_that_is_too_large_is_refused_with_the_same_headers(service: Service) -> None:
    answer = await service.post("/api/auth/login", content=b" " * 2_000_000)
    assert answer.status_code == 413
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


async def test_the_swagger_page_runs_its_own_script_and_no_other(service: Service) -> None:
    page = await service.get("/docs")
    (script,) = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    named = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    scripts = re.findall(r"script-src ([^;]*)", page.headers["content-security-policy"])
    assert scripts == [f"'self' 'sha256-{named}'"]


async def test_the_payment_page_runs_its_own_script_and_is_framed_on_this_machine(
    service: Service,
) -> None:
    asha = await service.signup()
    order = await service.post("/api/payment/create-order", asha, json={"amount": 100})
    path = f"/sandbox/pay/{order.json()['order_id']}"
    first, second = await service.get(path), await service.get(path)
    policies = [page.headers["content-security-policy"] for page in (first, second)]
    nonces = [re.findall(r"script-src 'nonce-([\w-]{20,})';", policy)[0] for policy in policies]
    assert nonces[0] != nonces[1]
    assert first.text.count(f'nonce="{nonces[0]}"') == 2
    assert "frame-ancestors 'self' http://127.0.0.1:* http://localhost:*" in policies[0]
    listed = await service.get("/sandbox/faults")
    assert "default-src 'none'" in listed.headers["content-security-policy"]


async def test_who_finds_a_weakness_is_told_where_to_report_it(service: Service) -> None:
    """/.well-known/security.txt: contact from SECURITY_CONTACT, with Expires; 404 when not set."""
    answer = await service.get("/.well-known/security.txt")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    fields = dict(line.split(": ", 1) for line in answer.text.splitlines())
    assert fields["Contact"] == "mailto:security@example.org"
    assert fields["Canonical"] == f"{service.settings.own_url}/.well-known/security.txt"
    ahead = dt.datetime.fromisoformat(fields["Expires"]) - clock.now()
    assert dt.timedelta(days=30) < ahead < dt.timedelta(days=366), "RFC 9116: less than a year"
    config.use(service.settings.model_copy(update={"security_contact": ""}))
    try:
        assert (await service.get("/.well-known/security.txt")).status_code == 404
    finally:
        config.use(service.settings)
