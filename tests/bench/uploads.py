"""Uploads: a list of 1,000 rows while another user sends the worst files that the limits let through.

    .venv/bin/python -m tests.bench uploads

The service runs in one process of its own. Somebody sends a kind of file again and again over several
connections; somebody else uploads a list of 1,000 rows, with names and cities, one after the other.
The figure is the slowest of all these lists, whatever the kind of file.
"""

import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx

from tests.bench import harness
from tests.bench.harness import Figure, Scale
from tests.support.processes import Processes
from tests.support.service import Person

RUPEES = 100_000
FILE_BYTES = 32 * 1024 * 1024
CONNECTIONS = 2
BOUNDARY = b"----a-boundary-of-the-benchmark"
LIST = "name,phone,city\n" + "".join(
    f"Somebody with a name {i},+9198{i:08d},Mumbai\n" for i in range(1_000)
)


def worst_files(size: int) -> dict[str, bytes]:
    """Files of up to `size` bytes, by what is bad about them."""
    wide = b",".join(f"98{i:08d}".encode() for i in range(1_000)) + b"\n"
    odd = b"".join(b"%d,+9%037d\n" % (i, i) for i in range(99_999))
    return {
        "line breaks": b"\n" * size,
        "carriage returns and line breaks": b"\r\n" * (size // 2),
        "a million columns": b"," * min(size, 1_000_000) + b"\n9876543210\n",
        "one quoted cell": b'phone\n"' + b"9" * (size - 8) + b'"',
        "one quoted cell of lines": b'phone\n"' + b"9\n" * (size // 2 - 4) + b'"',
        "a mark that is not closed": b'phone\n"' + b"9876543210\n" * (size // 11 - 1),
        "a thousand columns of numbers": wide * (size // len(wide)),
        "a thousand columns, blank": (b"," * 999 + b"\n") * (size // 1_000),
        "a hundred thousand odd numbers": (b"row,phone\n" + odd)[:size],
    }


def form_of(content: bytes) -> bytes:
    """The body of an upload, once, so that the load costs little beside the service."""
    fields = {"name": b"Diwali", "start": b"false"}
    parts = [
        b'--%s\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
        % (BOUNDARY, name.encode(), value)
        for name, value in fields.items()
    ]
    file = b'Content-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
    return b"".join([*parts, b"--%s\r\n" % BOUNDARY, file, content, b"\r\n--%s--\r\n" % BOUNDARY])


async def send(whole: Processes, person: Person, body: bytes) -> httpx.Response:
    """Upload a prepared form."""
    content_type = f"multipart/form-data; boundary={BOUNDARY.decode()}"
    return await whole.client.post(
        "/api/campaigns/upload",
        content=body,
        headers={**person.headers, "Content-Type": content_type},
        timeout=300,
    )


@contextlib.asynccontextmanager
async def sending(whole: Processes, person: Person, body: bytes) -> AsyncIterator[list[int]]:
    """Send the same file again and again; the statuses of the answers."""
    statuses: list[int] = []

    async def again() -> None:
        while True:
            answer = await send(whole, person, body)
            statuses.append(answer.status_code)
            if answer.status_code >= 500 and answer.status_code != 503:
                raise SystemExit(f"{answer.status_code}: {answer.text}")

    tasks = [asyncio.create_task(again()) for _ in range(CONNECTIONS)]
    await asyncio.sleep(0.3)
    try:
        yield statuses
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def one_list(whole: Processes, person: Person) -> float:
    """Seconds until a list of 1,000 rows is a campaign."""
    began = time.perf_counter()
    answer = await send(whole, person, form_of(LIST.encode()))
    took = time.perf_counter() - began
    if answer.status_code != 201 or answer.json()["counts"]["total"] != 1_000:
        raise SystemExit(f"the list was not taken: {answer.status_code} {answer.text[:500]}")
    return took


async def measure(scale: Scale, folder: Path) -> list[Figure]:
    """The slowest list beside each kind of file, and alone."""
    async with harness.service(folder) as whole:
        sender, other = [await whole.service.signup() for _ in range(2)]
        for person in (sender, other):
            await whole.recharge(person, RUPEES)
        await one_list(whole, other)  # warmed up
        alone = [await one_list(whole, other) for _ in range(scale.rounds)]
        beside: dict[str, list[float]] = {}
        answered: dict[str, str] = {}
        for kind, content in worst_files(scale.count(FILE_BYTES)).items():
            async with sending(whole, sender, form_of(content)) as statuses:
                beside[kind] = [await one_list(whole, other) for _ in range(scale.rounds)]
            answered[kind] = f"{len(statuses)} answers {sorted(set(statuses))}"
    slowest = max(beside, key=lambda kind: max(beside[kind]))
    return [
        Figure(
            name="list_beside_uploads",
            value=max(beside[slowest]),
            unit="s",
            parts={"alone, s": statistics.median(alone)},
            note=f"the slowest beside {slowest}",
        ),
        *(
            Figure(
                name=f"list of 1,000 rows beside {kind}",
                value=max(took),
                unit="s",
                rounds=took,
                note=answered[kind],
            )
            for kind, took in beside.items()
        ),
    ]
