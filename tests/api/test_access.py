"""Admission: who calls is found out before the body is read; nothing nested breaks or stops it."""

import asyncio
import base64
import io
from collections.abc import AsyncIterator

import httpx
import pytest
import requests
from fastapi import APIRouter, FastAPI

from api import access, problems
from api.middleware import BODY_BYTES_MAX
from auth import sessions
from gateway import GatewayUnavailable, client
from telephony import InvalidCallbackSignature, exotel, http
from tests.support.service import Service, running
from tests.support.service import test_settings as settings_of_tests

DEEP = b"[" * 60_000


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for all tests of this file; each test has users of its own."""
    async with running(settings_of_tests(mongodb_uri, signups_per_hour=100_000)) as started:
        yield started


async def status_without_a_body(
    service: Service, method: str, path: str, token: str = "", *, declared: int = 30_000
) -> int:
    """The status that comes although nothing of the declared body was sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.settings.port)
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {declared}"]
    lines += ["Content-Type: application/json"] + ([f"Authorization: Bearer {token}"] * bool(token))
    writer.write("\r\n".join([*lines, "", ""]).encode())
    try:
        line = await asyncio.wait_for(reader.readline(), 60)
    finally:
        writer.close()
    return int(line.split()[1])


# --- before the body ----------------------------------------------------------------------------


async def test_nobody_is_refused_at_every_route_that_needs_a_user_before_a_body_is_sent(
    service: Service,
) -> None:
    """Bodies are read and parsed before anybody is authenticated."""
    for (method, path), entry in access.ROUTES.items():
        if entry.roles is not None:
            given = path.replace("{version}", "1").replace("{", "").replace("}", "")
            assert await status_without_a_body(service, method, given) == 401, (method, path)


@pytest.mark.parametrize(
    "path", ["/api/campaigns", "/api/campaigns/upload", "/api/admin/rate-cards"]
)
async def test_who_may_not_send_a_large_body_is_refused_before_it(
    service: Service, path: str
) -> None:
    """Sibling: the role, too, is looked at before the upload and not after it."""
    asha, operator = await service.signup(), await service.operator()
    declared = 3 * 1024 * 1024
    assert await status_without_a_body(service, "POST", path, declared=declared) == 401
    ask = status_without_a_body(service, "POST", path, operator.token, declared=declared)
    assert await ask == 403
    if path == "/api/admin/rate-cards":
        ask = status_without_a_body(service, "POST", path, asha.token, declared=declared)
        assert await ask == 403


async def test_the_caller_is_looked_up_once_for_each_request(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    asha, asked = await service.signup(), []
    claims_of = sessions.get_claims

    async def counted(token: str) -> sessions.Claims:
        asked.append(token)
        return await claims_of(token)

    monkeypatch.setattr(sessions, "get_claims", counted)
    body = {"current_password": "wrong one", "new_password": "another horse battery"}
    assert (await service.post("/api/auth/change-password", asha, json=body)).status_code == 401
    assert asked == [asha.token], "user and claims were asked for, and read once"


# --- sizes --------------------------------------------------------------------------------------


async def test_a_body_has_64_kib_and_more_only_where_lists_are_sent(service: Service) -> None:
    asha = await service.signup()

    async def create(path: str, size: int) -> httpx.Response:
        content = b'{"amount": 100' + b" " * (size - 15) + b"}"
        return await service.post(
            path, asha, content=content, headers={"content-type": "application/json"}
        )

    order = "/api/payment/create-order"
    assert (await create(order, BODY_BYTES_MAX)).status_code == 201
    assert (await create(order, BODY_BYTES_MAX + 1)).status_code == 413
    assert (await create("/api/campaigns", BODY_BYTES_MAX + 1)).status_code == 422
    assert (await create("/api/campaigns", 4 * 1024 * 1024 + 1)).status_code == 413
    assert (await create("/api/auth/login", BODY_BYTES_MAX + 1)).status_code == 413


# --- deep JSON ----------------------------------------------------------------------------------


def _encoded(text: bytes) -> str:
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


@pytest.mark.parametrize(
    "token",
    [
        _encoded(b"[" * 1_400) + ".e30.AAAA",
        _encoded(b'{"a":' * 280) + ".e30.AAAA",
        _encoded(b'{"alg": "HS256"}') + "." + _encoded(b"[" * 1_300) + ".AAAA",
        _encoded(b"[" * 700 + b"]" * 700) + "." + _encoded(b"[1]") + ".AAAA",
    ],
)
async def test_a_token_of_deeply_nested_json_is_401(service: Service, token: str) -> None:
    """`Authorization: Bearer` with deeply nested JSON (500, anonymous)."""
    answer = await service.get("/api/wallet/balance", headers={"Authorization": f"Bearer {token}"})
    assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/api/auth/login", DEEP),
        ("/api/auth/signup", b'{"email":' * 6_000),
        ("/api/payment/create-order", b'{"amount":' + DEEP),
        ("/api/api-keys", b'{"scopes":' + b"[" * 900 + b"]" * 900 + b"}"),
        ("/api/campaigns", b'{"name":"A","numbers":[' + b"[" * 100_000),
        ("/api/campaigns", b'{"name":"A","numbers":' + b"[" * 900 + b"]" * 900 + b"}"),
        ("/api/campaigns", (b"[" * 900 + b"]" * 900 + b",") * 500),
    ],
)
async def test_deep_json_is_refused_as_what_it_is(
    service: Service, path: str, content: bytes
) -> None:
    """Deep JSON is refused without blocking the loop."""
    asha = await service.signup()
    answer = await service.post(
        path, asha, content=content, headers={"content-type": "application/json"}
    )
    assert answer.status_code in (400, 422), answer.text
    assert answer.json()["code"] in ("malformed_body", "validation_error")


async def test_a_deep_form_field_and_a_deep_cursor_are_refused(service: Service) -> None:
    """Siblings: JSON within a form, and within a cursor."""
    asha = await service.signup()
    files = {"file": ("list.csv", b"phone\n+919876543210\n")}
    data = {"name": "A", "simulate": "[" * 50_000}
    form = await service.post("/api/campaigns/upload", asha, data=data, files=files)
    assert form.status_code == 422
    cursor = _encoded(b"[" * 5_000)
    page = await service.get(f"/api/transactions?cursor={cursor}", asha)
    assert (page.status_code, page.json()["code"]) == (422, "invalid_cursor")


def test_deep_json_in_an_answer_of_razorpay_or_a_network_is_no_defect() -> None:
    """Siblings: what comes back from outside is JSON, too."""
    answer = requests.Response()
    answer.status_code, answer.raw = 200, io.BytesIO(DEEP)
    with pytest.raises(GatewayUnavailable):
        client._refuse_errors(answer)
    assert http._object(httpx.Response(200, content=DEEP)) is None


def test_a_callback_of_parts_within_parts_is_refused_at_once() -> None:
    """Sibling: 55 KB of nested multipart took Exotel's reader 13 seconds and ended as a 500."""
    nested = b"".join(
        b"--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n" % (depth, depth + 1)
        for depth in range(1_000)
    )
    for body in (nested, b"--b0\r\n\r\n" * 7_000):
        with pytest.raises(InvalidCallbackSignature):
            exotel._fields("multipart/form-data; boundary=b0", body)
    flat = b'--b0\r\nContent-Disposition: form-data; name="Status"\r\n\r\nbusy\r\n--b0--\r\n'
    assert exotel._fields("multipart/form-data; boundary=b0", flat) == {"Status": "busy"}


# --- the table ----------------------------------------------------------------------------------


async def test_a_route_without_an_entry_is_closed() -> None:
    app, router = FastAPI(), APIRouter(route_class=problems.Route)

    @router.get("/things")
    async def show() -> str:
        return "what nobody was asked for"

    app.include_router(router)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://wallet") as asking:
        with pytest.raises(RuntimeError, match="no entry in api/access"):
            await asking.get("/things")
