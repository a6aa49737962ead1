"""Uploads: a list of 1,000 rows while another user sends the worst files that the limits let through.

    .venv/bin/python -m tests.bench uploads

The service runs in one process of its own. Somebody sends a kind of file again and again over several
connections; somebody else uploads a list of 1,000 rows, with names and cities, one after the other.
The figure is the slowest of all these lists, whatever the kind of file.

Then a list of 500,000 rows is imported by its job: rows a second beside a plain `insert_many` of the
same documents, the growth of memory of the service, and another user's balance meanwhile.
"""

import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
from pymongo import MongoClient

from tests.bench import harness
from tests.bench.harness import Figure, Scale
from tests.support.processes import Processes
from tests.support.service import Person

DATABASE = "wallet"
RUPEES = 100_000
FILE_BYTES = 50 * 1024 * 1024
CONNECTIONS = 2
BOUNDARY = b"----a-boundary-of-the-benchmark"
LIST = "name,phone,city\n" + "".join(
    f"Somebody with a name {i},+9198{i:08d},Mumbai\n" for i in range(1_000)
)


def worst_files(size: int) -> dict[str, bytes]:
    """Files of up to `size` bytes, by what is bad about them."""
    wide = b",".join(f"98{i:08d}".encode() for i in range(1_000)) + b"\n"
    odd = b"".join(b"%d,+9%037d\n" % (i, i) for i in range(499_999))
    return {
        "line breaks": b"\n" * size,
        "carriage returns and line breaks": b"\r\n" * (size // 2),
        "a million columns": b"," * min(size, 1_000_000) + b"\n9876543210\n",
        "one quoted cell": b'phone\n"' + b"9" * (size - 8) + b'"',
        "one quoted cell of lines": b'phone\n"' + b"9\n" * (size // 2 - 4) + b'"',
        "a mark that is not closed": b'phone\n"' + b"9876543210\n" * (size // 11 - 1),
        "a thousand columns of numbers": wide * (size // len(wide)),
        "a thousand columns, blank": (b"," * 999 + b"\n") * (size // 1_000),
        "half a million odd numbers": (b"row,phone\n" + odd)[:size],
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
        *await measure_import(scale, harness.folder_in(folder, "import")),
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


# --- a list of half a million rows --------------------------------------------------------------

IMPORTED_ROWS = 500_000
# Of so many of its documents the plain `insert_many` is measured.
PLAIN_ROWS = 50_000
BATCH_ROWS = 500


async def measure_import(scale: Scale, folder: Path) -> list[Figure]:
    """A large list as a job: its rows a second, the memory of the service, and what another user's
    balance takes meanwhile."""
    count = scale.count(IMPORTED_ROWS)
    body = form_of(b"name,phone,city\n" + b"".join(imported_rows(count)))
    async with harness.service(folder) as whole:
        sender, other = [await whole.service.signup() for _ in range(2)]
        for person in (sender, other):
            await whole.recharge(person, RUPEES)
        await one_list(whole, sender)  # warmed up
        before = peak = memory_mb(whole.pid)
        waits: list[float] = []
        began = time.perf_counter()
        sending = asyncio.create_task(imported(whole, sender, body))
        while not sending.done():
            asked = time.perf_counter()
            await whole.service.balance(other)
            waits.append((time.perf_counter() - asked) * 1_000)
            peak = max(peak, memory_mb(whole.pid))
            await asyncio.sleep(0.02)
        campaign_id = await sending
        took = time.perf_counter() - began
        plain = await asyncio.to_thread(plain_rate, whole.mongodb_uri(), campaign_id)
    waits.sort()
    return [
        Figure(
            name="import_rate",
            value=count / took / plain,
            parts={"rows a second": count / took, "plain insert_many, rows a second": plain},
            note=f"{count:,} rows in {took:.1f} s, from the request to the end of the job",
        ),
        Figure(name="import_memory", value=peak - before, unit="MB", note="of the process"),
        Figure(
            name="balance_beside_import",
            value=waits[len(waits) * 99 // 100],
            unit="ms",
            note=f"p99 of {len(waits)}; the median is {statistics.median(waits):.1f} ms",
        ),
    ]


def imported_rows(count: int) -> Iterator[bytes]:
    """Rows with a name and a city, as operators have them."""
    return (b"Somebody with a name %d,+9198%08d,Mumbai\n" % (i, i) for i in range(count))


async def imported(whole: Processes, person: Person, body: bytes) -> str:
    """Upload a list and wait until it is a campaign; its id."""
    answer = await send(whole, person, body)
    if answer.status_code not in (201, 202):
        raise SystemExit(f"the list was not taken: {answer.status_code} {answer.text[:500]}")
    job = answer.json()
    while answer.status_code == 202 and job["state"] != "completed":
        if job["state"] == "failed":
            raise SystemExit(f"the import failed: {job['error']}")
        await asyncio.sleep(0.2)
        job = (await whole.service.get(f"/api/campaigns/imports/{job['job_id']}", person)).json()
    campaign_id: str = job["campaign_id"]
    return campaign_id


def plain_rate(uri: str, campaign_id: str) -> float:
    """Rows a second of `insert_many` of the same documents, in batches as large, without indexes."""
    with MongoClient[dict[str, Any]](uri) as client:
        database = client.get_database(DATABASE)
        where = {"campaign_id": campaign_id}
        documents = list(database["contacts"].find(where).limit(PLAIN_ROWS))
        plain = database["plain_contacts"]
        began = time.perf_counter()
        for at in range(0, len(documents), BATCH_ROWS):
            plain.insert_many(documents[at : at + BATCH_ROWS], ordered=False)
        took = time.perf_counter() - began
        plain.drop()
    return len(documents) / took


def memory_mb(pid: int) -> float:
    """What a process has in memory, without what it shares with files."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) / 1024
