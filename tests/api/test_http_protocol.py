"""The HTTP edge: heads, bodies, pipelines and connections are bounded, and others are served meanwhile."""

import asyncio
import contextlib
import gc
import json
from collections.abc import AsyncIterator, Iterator

import pytest
from uvicorn.server import ServerState

from api import http_protocol
from api.http_protocol import BoundedHttp, Bounds
from core import config
from tests.support.service import Service, running, until
from tests.support.service import test_settings as settings_of_tests

HOST = b"Host: 127.0.0.1\r\n"
ENDLESS = 4 * 1024 * 1024


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for all tests of this file."""
    async with running(settings_of_tests(mongodb_uri, max_connections=40)) as started:
        yield started


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Connections of this test are swept a hundred times a second, and may wait for two sweeps."""
    monkeypatch.setattr(
        BoundedHttp,
        "bounds",
        Bounds(
            head_seconds=2,
            body_seconds=2,
            linger_seconds=2,
            stalled_seconds=2,
            sweep_seconds=0.01,
        ),
    )
    crowds: dict[ServerState, http_protocol._Crowd] = {}
    monkeypatch.setattr(http_protocol, "_crowds", crowds)
    yield
    for crowd in crowds.values():
        if crowd._timer is not None:
            crowd._timer.cancel()


# --- a client that keeps to nothing -------------------------------------------------------------


class Raw:
    """A connection on which anything can be sent."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        """Send it, or as much of it as is taken before the connection ends."""
        with contextlib.suppress(OSError):
            self.writer.write(data)
            await self.writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The status, the headers and the body of the next answer."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode().strip().split("\r\n")
        headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines)}
        body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return int(first.split()[1]), headers, body

    async def is_closed(self) -> bool:
        """Whether the server ends the connection and sends nothing else; waits for that."""
        try:
            return await self.reader.read() == b""
        except ConnectionError:
            return True


@contextlib.asynccontextmanager
async def connection(service: Service) -> AsyncIterator[Raw]:
    reader, writer = await asyncio.open_connection("127.0.0.1", service.settings.port)
    try:
        yield Raw(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def refusal(service: Service, sent: bytes) -> tuple[int, str]:
    """Status and code of the refusal, after which the connection is closed and others are served."""
    async with connection(service) as raw:
        sending = asyncio.create_task(raw.send(sent))
        status, headers, body = await raw.answer()
        assert (await service.get("/health")).status_code == 200
        assert await raw.is_closed()
        await sending
    assert headers["connection"] == "close"
    assert headers["content-type"] == "application/problem+json"
    return status, json.loads(body)["code"]


# --- heads --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        pytest.param(
            b"GET /health HTTP/1.1\r\n" + HOST + b"A: b\r\n" * 100 + b"\r\n",
            431,
            "headers_too_large",
            id="101 headers",
        ),
        pytest.param(
            b"GET /health HTTP/1.1\r\n" + HOST + b"A: " + b"b" * 33_000 + b"\r\n\r\n",
            431,
            "headers_too_large",
            id="a header of 33,000 bytes",
        ),
        pytest.param(
            b"GET /health HTTP/1.1\r\n" + HOST + b"A: " + b"b" * ENDLESS,
            431,
            "headers_too_large",
            id="a header without an end",
        ),
        pytest.param(
            b"GET /health HTTP/1.1\r\n" + HOST + b"a" * ENDLESS,
            431,
            "headers_too_large",
            id="a header's name without an end",
        ),
        pytest.param(
            b"GET /health HTTP/1.1\r\n" + (b"A: " + b"b" * 500 + b"\r\n") * 8_000,
            431,
            "headers_too_large",
            id="headers without an end",
        ),
        pytest.param(b"\r\n" * ENDLESS, 431, "headers_too_large", id="empty lines without an end"),
        pytest.param(
            b"GET /" + b"a" * 8_192 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
            414,
            "url_too_long",
            id="a long address",
        ),
        pytest.param(
            b"GET /?" + b"a" * ENDLESS, 414, "url_too_long", id="an address without an end"
        ),
        pytest.param(b"\x16\x03\x01\x02\x00\x01", 400, "bad_request", id="TLS on a plain port"),
        pytest.param(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "bad_request", id="HTTP/2 without asking"
        ),
        pytest.param(
            b"CONNECT a:1 HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad_request", id="CONNECT"
        ),
        pytest.param(b"GET /health HTTP/1.1\r\n\r\n", 400, "bad_request", id="no Host"),
        pytest.param(
            b"GET /health HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400, "bad_request", id="two Hosts"
        ),
        pytest.param(
            b"GET /health HTTP/1.1\r\nHost: a/b?c#d\r\n\r\n",
            400,
            "bad_request",
            id="a Host with a path",
        ),
        pytest.param(
            b"GET /health HTTP/1.1\r\nHost: [\r\n\r\n", 400, "bad_request", id="a Host that is none"
        ),
        pytest.param(
            b"POST /api/auth/login HTTP/1.1\r\n"
            + HOST
            + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
            "bad_request",
            id="two lengths of one body",
        ),
    ],
)
async def test_a_head_that_is_no_request_of_ours_is_refused_and_the_connection_closed(
    service: Service, sent: bytes, status: int, code: str
) -> None:
    assert await refusal(service, sent) == (status, code)


async def test_a_head_within_the_bounds_is_served(service: Service) -> None:
    async with connection(service) as raw:
        headers = HOST + b"A: b\r\n" * 98 + b"C: " + b"d" * 30_000 + b"\r\n"
        for _ in range(2):
            await raw.send(b"GET /health?" + b"a" * 8_000 + b" HTTP/1.1\r\n" + headers + b"\r\n")
            assert (await raw.answer())[0] == 200


async def test_half_a_request_is_ended(service: Service, quick: None) -> None:
    assert await refusal(service, b"GET /health HTTP/1.1\r\n" + HOST) == (408, "request_timeout")


async def test_a_header_a_second_does_not_keep_a_connection(service: Service, quick: None) -> None:
    async with connection(service) as raw:
        await raw.send(b"GET /health HTTP/1.1\r\n")
        for _ in range(1_000):
            await raw.send(b"A: b\r\n")
            await asyncio.sleep(0.001)
            if raw.reader.at_eof() or raw.reader._buffer:  # type: ignore[attr-defined]
                break
        assert (await raw.answer())[0] in (408, 431)
        assert await raw.is_closed()


async def test_a_connection_on_which_nothing_comes_is_closed(service: Service, quick: None) -> None:
    async with connection(service) as raw:
        assert await raw.is_closed()
    async with connection(service) as raw:
        await raw.send(b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n")
        assert (await raw.answer())[0] == 200
        await raw.send(b"\r\n")  # it would stop the clock of an idle connection, and begins nothing
        assert (await raw.answer())[0] == 408
        assert await raw.is_closed()


# --- bodies -------------------------------------------------------------------------------------

LOGIN = b"POST /api/auth/login HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
CHUNKED = LOGIN + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        pytest.param(
            LOGIN + b"Content-Length: 1000000000000\r\n\r\n" + b" " * ENDLESS,
            413,
            "body_too_large",
            id="a long body",
        ),
        pytest.param(
            CHUNKED + (b"1000\r\n" + b" " * 0x1000 + b"\r\n") * 1_000,
            413,
            "body_too_large",
            id="chunks without an end",
        ),
        pytest.param(
            CHUNKED + b"1\r\n \r\n" * 100_000, 400, "bad_request", id="chunks of one byte"
        ),
        pytest.param(
            CHUNKED + b"1;" + b"a" * ENDLESS, 400, "bad_request", id="an extension without an end"
        ),
        pytest.param(
            CHUNKED + b"2\r\n{}\r\n0\r\n" + b"A: b\r\n" * 200,
            431,
            "headers_too_large",
            id="trailers without an end",
        ),
    ],
)
async def test_a_body_without_an_end_is_refused_and_the_connection_closed(
    service: Service, sent: bytes, status: int, code: str
) -> None:
    assert await refusal(service, sent) == (status, code)


async def test_a_body_that_comes_too_slowly_is_ended(service: Service, quick: None) -> None:
    sent = LOGIN + b"Content-Length: 100\r\n\r\n{"
    assert await refusal(service, sent) == (408, "request_timeout")


async def test_what_is_left_of_a_body_that_nobody_read_is_bounded(service: Service) -> None:
    async with connection(service) as raw:  # a route that reads no body answers before it is there
        await raw.send(b"GET /health HTTP/1.1\r\n" + HOST + b"Content-Length: 60000\r\n\r\n")
        assert (await raw.answer())[0] == 200
        await raw.send(b" " * 60_000 + b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n")
        assert (await raw.answer())[0] == 200
    async with connection(service) as raw:
        await raw.send(b"GET /health HTTP/1.1\r\n" + HOST + b"Content-Length: 600000\r\n\r\n")
        status, headers, _ = await raw.answer()
        assert (status, headers["connection"]) == (413, "close")
        assert await raw.is_closed()


async def test_expect_100_continue_is_asked_for_the_body_only_when_it_is_read(
    service: Service,
) -> None:
    body = b'{"email": "nobody@example.com", "password": "not the password"}'
    expect = b"Expect: 100-continue\r\nContent-Length: "
    async with connection(service) as raw:
        await raw.send(LOGIN + expect + str(len(body)).encode() + b"\r\n\r\n")
        assert (await raw.answer())[0] == 100
        await raw.send(body)
        assert (await raw.answer())[0] == 401
    async with connection(service) as raw:
        await raw.send(LOGIN + expect + b"10000000000\r\n\r\n")
        assert (await raw.answer())[0] == 413
        assert await raw.is_closed()


async def test_a_trailer_is_no_header(service: Service) -> None:
    asha = await service.signup()
    token = asha.headers["Authorization"].encode()
    async with connection(service) as raw:
        await raw.send(
            b"POST /api/auth/logout HTTP/1.1\r\n"
            + HOST
            + b"Transfer-Encoding: chunked\r\n\r\n0\r\nAuthorization: "
            + token
            + b"\r\n\r\n"
        )
        assert (await raw.answer())[0] == 401


# --- pipelines and upgrades ---------------------------------------------------------------------


async def test_requests_sent_at_once_are_answered_in_order_and_not_without_end(
    service: Service,
) -> None:
    health = b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n"
    async with connection(service) as raw:
        await raw.send(health + b"GET /nothing HTTP/1.1\r\n" + HOST + b"\r\n" + health)
        assert [(await raw.answer())[0] for _ in range(3)] == [200, 404, 200]
    async with connection(service) as raw:
        await raw.send(health * 5_000)
        assert (await raw.answer())[0] == 200  # the one that was being answered
        assert await raw.is_closed()


async def test_a_bad_request_does_not_spoil_the_answer_before_it(service: Service) -> None:
    async with connection(service) as raw:
        await raw.send(b"GET /ready HTTP/1.1\r\n" + HOST + b"\r\n" + b"nonsense\r\n\r\n")
        status, _, body = await raw.answer()
        assert (status, json.loads(body)) == (200, {"status": "ready"})
        assert await raw.is_closed()


async def test_nothing_is_upgraded(service: Service) -> None:
    async with connection(service) as raw:
        await raw.send(
            b"GET /health HTTP/1.1\r\n"
            + HOST
            + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            + b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert (await raw.answer())[0] == 200
        assert await raw.is_closed()


# --- connections --------------------------------------------------------------------------------

HALF = b"GET /health HTTP/1.1\r\n"


async def test_a_refused_connection_leaves_nothing_for_the_garbage_collector(
    service: Service,
) -> None:
    """117 MB stayed: the traceback of a refusal held what was being parsed."""

    def connections() -> int:
        return sum(isinstance(each, BoundedHttp) for each in gc.get_objects())

    gc.collect()
    before = connections()
    gc.disable()
    try:
        for _ in range(5):
            sent = b"GET /health HTTP/1.1\r\n" + HOST + b"A: " + b"b" * 100_000
            assert await refusal(service, sent) == (431, "headers_too_large")

        async def are_gone() -> bool:
            return connections() <= before

        await until(are_gone)
    finally:
        gc.enable()


async def test_half_requests_on_all_places_lock_nobody_out(service: Service) -> None:
    async with contextlib.AsyncExitStack() as stack:
        held = []
        for _ in range(60):  # there are 40 places
            raw = await stack.enter_async_context(connection(service))
            await raw.send(HALF)
            held.append(raw)
        async with connection(service) as raw:
            await raw.send(HALF + HOST + b"\r\n")
            assert (await raw.answer())[0] == 200

        async def have_made_room() -> bool:
            return sum(raw.reader.at_eof() or bool(raw.reader.exception()) for raw in held) >= 20

        await until(have_made_room)


async def test_one_address_has_not_all_places(service: Service) -> None:
    changes = {"trusted_proxies": "203.0.113.7", "max_connections_per_address": 5}
    config.use(service.settings.model_copy(update=changes))
    try:
        async with contextlib.AsyncExitStack() as stack:
            held = [await stack.enter_async_context(connection(service)) for _ in range(5)]
            await held[-1].send(HALF + HOST + b"\r\n")
            assert (await held[-1].answer())[0] == 200
            async with connection(service) as raw:
                status, headers, body = await raw.answer()
                assert (status, json.loads(body)["code"]) == (503, "service_unavailable")
                assert headers["retry-after"] == "1"
                assert await raw.is_closed()
            held[0].writer.close()

            async def is_served_again() -> bool:
                async with connection(service) as raw:
                    await raw.send(HALF + HOST + b"\r\n")
                    return (await raw.answer())[0] == 200

            await until(is_served_again)
    finally:
        config.use(service.settings)


def test_a_proxy_is_not_one_address() -> None:
    is_trusted = http_protocol._is_trusted
    assert is_trusted("127.0.0.1", "10.0.0.1, 127.0.0.0/8")
    assert is_trusted("2001:db8::1", "2001:db8::/32")
    assert not is_trusted("198.51.100.1", "10.0.0.1,127.0.0.0/8,balancer")
    assert not is_trusted("unknown", "127.0.0.1")
