"""The external scrubber: asked over HTTP, its verdicts kept, and nobody called without one."""

import asyncio
import datetime as dt
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import SecretStr

import compliance
from compliance import scrubbing
from core import clock, config, database

GOOD, BAD = "+919812345678", "+919812345679"
TOKEN = "what the scrubber knows us by"


class Scrubber:
    """A server that says which numbers may be called."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.heads: list[str] = []
        self.bodies: list[bytes] = []
        self.status = 200
        self.answer: dict[str, Any] | None = None
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(
            int(line.split(":")[1])
            for line in head.splitlines()
            if line.lower().startswith("content-length")
        )
        content = await reader.readexactly(length)
        self.heads.append(head)
        self.bodies.append(content)
        self.asked.append(json.loads(content))
        verdicts = [{"number": n, "allowed": n != BAD} for n in self.asked[-1]["numbers"]]
        body = json.dumps(self.answer or {"verdicts": verdicts}).encode()
        writer.write(f"HTTP/1.1 {self.status} -\r\nContent-Length: {len(body)}\r\n\r\n".encode())
        writer.write(body)
        await writer.drain()
        writer.close()
        await writer.wait_closed()


@pytest.fixture
async def scrubber(book: config.Settings) -> AsyncIterator[Scrubber]:
    """The scrubber, and a database whose settings name it."""
    found = Scrubber()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    named = {
        "scrubber_url": f"http://127.0.0.1:{found.port}/scrub",
        "scrubber_token": SecretStr(TOKEN),
    }
    config.use(book.model_copy(update=named))
    scrubbing.forget_failure()
    yield found
    server.close()
    await server.wait_closed()
    scrubbing.forget_failure()


async def refusal(number: str, purpose: Any = "promotional", **options: Any) -> str | None:
    found = await compliance.check_number("usr_1", number, purpose=purpose, **options)
    return None if found is None else found.code


async def test_numbers_are_asked_for_once_and_the_verdict_is_kept_with_its_time(
    scrubber: Scrubber,
) -> None:
    assert [await refusal(GOOD), await refusal(BAD)] == [None, "scrub_refused"]
    assert [await refusal(GOOD), await refusal(BAD)] == [None, "scrub_refused"]
    assert [one["numbers"] for one in scrubber.asked] == [[GOOD], [BAD]]
    assert await refusal(GOOD, purpose="transactional") is None  # it is not asked for these
    assert len(scrubber.asked) == 2
    signature = hmac.new(TOKEN.encode(), scrubber.bodies[0], hashlib.sha256).hexdigest()
    assert f"Bearer {TOKEN}" in scrubber.heads[0]
    assert f"sha256={signature}" in scrubber.heads[0]
    [kept] = await scrubbing.find_verdicts(GOOD)
    assert kept["allowed"]
    assert kept["valid_until"] == kept["checked_at"] + dt.timedelta(days=7)

    later = clock.after(7 * 86_400 + 60)
    assert await refusal(GOOD, at=later) is None
    assert len(scrubber.asked) == 3
    [kept] = await scrubbing.find_verdicts(GOOD)
    assert [one["allowed"] for one in kept["history"]] == [True, True]


async def test_a_list_is_asked_for_in_batches(scrubber: Scrubber) -> None:
    numbers = [f"+9198765{n:05}" for n in range(scrubbing.BATCH + 1)]
    found = await scrubbing.get_verdicts(numbers, "promotional")
    assert len(found) == len(numbers)
    assert [len(one["numbers"]) for one in scrubber.asked] == [scrubbing.BATCH, 1]


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (500, None),
        (302, None),
        (200, {"verdicts": "all of them"}),
        (200, {"verdicts": []}),
        (200, {"verdicts": [{"number": GOOD, "allowed": "yes"}]}),
        (200, {"verdicts": [{"number": "+919800000000", "allowed": True}]}),
        (200, {"verdicts": [{"number": GOOD, "allowed": True, "valid_until": "soon"}]}),
    ],
)
async def test_without_a_clear_verdict_nobody_is_called(
    scrubber: Scrubber, status: int, answer: dict[str, Any] | None
) -> None:
    scrubber.status, scrubber.answer = status, answer
    found = await compliance.check_number("usr_1", GOOD, purpose="promotional")
    assert found is not None
    assert (found.code, found.is_final) == ("scrub_unknown", False)
    assert found.not_before is not None
    assert await database.db.scrub_verdicts.count_documents({}) == 0


async def test_a_scrubber_that_fails_is_left_alone_for_a_while(scrubber: Scrubber) -> None:
    scrubber.status = 503
    assert [await refusal(GOOD) for _ in range(5)] == ["scrub_unknown"] * 5
    assert len(scrubber.asked) == 1
    scrubber.status = 200
    scrubbing.forget_failure()
    assert await refusal(GOOD) is None


async def test_a_verdict_that_ends_earlier_is_asked_for_again(scrubber: Scrubber) -> None:
    until = clock.after(3_600)
    row = {"number": GOOD, "allowed": True, "valid_until": clock.iso(until)}
    scrubber.answer = {"verdicts": [row]}
    assert await refusal(GOOD) is None
    assert await refusal(GOOD, at=until - dt.timedelta(seconds=1)) is None
    assert len(scrubber.asked) == 1
    assert await refusal(GOOD, at=until) == "scrub_unknown"  # the same answer, and no longer valid
    assert len(scrubber.asked) == 2


async def test_without_a_scrubber_nothing_is_asked(book: config.Settings) -> None:
    assert not scrubbing.is_required("promotional")
    assert await refusal(GOOD) is None
