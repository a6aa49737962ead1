"""The sandbox is for its own machine: foreign hosts, foreign pages and foreign clients are refused."""

from collections.abc import AsyncIterator

import pytest

from sandbox.control import OwnMachineMiddleware
from tests.support.service import Service, running
from tests.support.service import test_settings as settings_of_tests


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for all tests of this file."""
    async with running(settings_of_tests(mongodb_uri)) as started:
        yield started


FOREIGN = {
    "DNS rebinding": {"Host": "evil.example.com"},
    "DNS rebinding with the port": {"Host": "evil.example.com:8000"},
    "a host that begins like this machine": {"Host": "127.0.0.1.evil.example.com"},
    "an empty host": {"Host": ""},
    "the page of a stranger": {"Origin": "https://evil.example.com"},
    "a page without an origin": {"Origin": "null"},
    "a page of another port": {"Origin": "http://127.0.0.1:1"},
    "a client behind the proxy": {"X-Forwarded-For": "203.0.113.9"},
}


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN)
async def test_what_comes_from_elsewhere_is_refused(
    service: Service, headers: dict[str, str]
) -> None:
    """Its control endpoints refuse foreign origins; DNS rebinding: the Host must be loopback."""
    asked = {"kind": "server_error", "count": 1}
    for path in ("/sandbox/faults", "/sandbox/settle", "/sandbox/webhooks"):
        answer = await service.post(path, json=asked, headers=headers)
        assert (answer.status_code, answer.json()["error"]["reason"]) == (403, "access_denied")
    assert (await service.get("/sandbox/webhooks", headers=headers)).status_code == 403
    assert (await service.get("/sandbox/faults")).json()["waiting"] == []


async def test_this_machine_and_the_page_of_the_sandbox_are_let_in(service: Service) -> None:
    port = service.settings.port
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}"):
        for headers in ({"Host": host}, {"Host": host, "Origin": f"http://{host}"}):
            answer = await service.post("/sandbox/settle", json={}, headers=headers)
            assert answer.status_code == 201, headers


async def test_a_client_that_is_not_known_is_refused() -> None:
    """As over a socket of the file system, through which a proxy may bring anybody."""
    sent: list[dict[str, object]] = []

    async def nothing(*_: object) -> None:
        raise AssertionError("it was let in")

    async def send(message: object) -> None:
        assert isinstance(message, dict)
        sent.append(message)

    scope = {"type": "http", "client": None, "headers": [(b"host", b"127.0.0.1")], "method": "GET"}
    await OwnMachineMiddleware(nothing)(scope, nothing, send)  # type: ignore[arg-type]
    assert sent[0]["status"] == 403
