"""Campaigns: calls dialled a second, what a claim costs in a long list, and who waits for whom.

    .venv/bin/python -m tests.bench campaigns

The service runs in one process, on its simulated network without a limit of calls a second, unless it
is said.

1. Dialled: `POST /api/call` by 32 callers, then a campaign with as many contacts; both as calls a
   second, in alternating rounds. A call is served when it is answered with 202, and dialled when the
   network has it.
2. Claims: the next contact of a list of 1,000 and of one of 500,000, in alternating rounds.
3. Fair shares: ten users with 100 contacts each, at 100 calls a second; then the same, but one of them
   has 100,000. The figure is when the nine have been called, with the long list beside them, by when
   they have been without it.
"""

import asyncio
import statistics
import time
from pathlib import Path
from typing import Any

from campaigns import contacts
from core import database
from core.database import db
from tests.bench import harness
from tests.bench.harness import Figure, Scale
from tests.support import campaigns as campaigning
from tests.support.processes import Processes
from tests.support.service import Person

CALLERS = 32
CONCURRENT = 1_000
LASTING = {"outcome": "completed", "duration_seconds": 30, "wall_seconds": 3_600}
BRIEF = {"outcome": "completed", "duration_seconds": 30, "wall_seconds": 0.05}
RUPEES = 500_000
FAIR_CALLS_PER_SECOND = 100.0


async def measure(scale: Scale, folder: Path) -> list[Figure]:
    """The three figures."""
    async with harness.service(harness.folder_in(folder, "dialled")) as whole:
        await database.connect(whole.mongodb_uri(), "wallet")
        await database.ping()  # the driver looks for the primary from its first operation on
        try:
            figures = [await _dialled(whole, scale), await _claims(scale)]
        finally:
            await database.close()
    slow, fair = FAIR_CALLS_PER_SECOND, harness.folder_in(folder, "fair")
    async with harness.service(fair, telephony_calls_per_second=slow) as whole:
        await database.connect(whole.mongodb_uri(), "wallet")
        await database.ping()
        try:
            return [*figures, await _fair(whole, scale)]
        finally:
            await database.close()


# --- dialled ------------------------------------------------------------------------------------


async def _dialled(whole: Processes, scale: Scale) -> Figure:
    count = scale.count(CONCURRENT, at_least=20)
    served, dialled = [], []
    for _ in range(scale.rounds):
        person = await whole.service.signup()
        await whole.recharge(person, RUPEES)
        began = time.perf_counter()
        await harness.place(whole, person, count, connections=CALLERS)
        served.append(count / (time.perf_counter() - began))
        await _until_dialled(person, count)
        began = time.perf_counter()
        await campaigning.create(
            whole.service, person, count, simulate=LASTING, max_concurrent=count
        )
        await _until_dialled(person, 2 * count)
        dialled.append(count / (time.perf_counter() - began))
    return harness.ratio_of(
        "dial_rate", dialled, served, parts=("dialled, /s", "POST /api/call, /s")
    )


async def _until_dialled(person: Person, count: int) -> None:
    """Wait until the network has so many calls of this person; seldom asked, because each answer reads all
    of them."""
    placed = {"user_id": person.id, "provider_call_id": {"$type": "string"}}
    for _ in range(6_000):
        if await db.calls.count_documents(placed) >= count:
            return
        await asyncio.sleep(0.1)
    raise SystemExit(f"{count} calls were not dialled in ten minutes")


# --- claims -------------------------------------------------------------------------------------


async def _claims(scale: Scale) -> Figure:
    lists = {"few": 1_000, "many": scale.count(500_000, at_least=1_000)}
    for name, count in lists.items():
        rows = [(row, f"+9198{row:08d}") for row in range(2, count + 2)]
        for start in range(0, count, 1_000):
            await contacts.create_contacts(f"bench_{name}", "bench", rows[start : start + 1_000])
    took: dict[str, list[float]] = {name: [] for name in lists}
    for _ in range(scale.count(300, at_least=5)):
        for name, times in took.items():
            began = time.perf_counter()
            await contacts.claim_contacts(f"bench_{name}", 1)
            times.append((time.perf_counter() - began) * 1_000)
    few, many = (statistics.median(took[name]) for name in ("few", "many"))
    return Figure(
        name="claim_cost",
        value=many / few,
        parts={"of 500,000 contacts, ms": many, "of 1,000, ms": few},
    )


# --- fair shares --------------------------------------------------------------------------------


async def _fair(whole: Processes, scale: Scale) -> Figure:
    count = scale.count(100, at_least=5)
    alone, beside = [], []
    for _ in range(min(2, scale.rounds)):
        alone.append(await _seconds_of_nine(whole, count, count))
        beside.append(await _seconds_of_nine(whole, count, scale.count(100_000, at_least=50)))
    return harness.ratio_of(
        "fair_share", beside, alone, parts=("beside 100,000, s", "ten equals, s")
    )


async def _seconds_of_nine(whole: Processes, count: int, first_count: int) -> float:
    """How long nine users with `count` contacts take, beside a tenth who began before them."""
    people = [await whole.service.signup() for _ in range(10)]
    for person in people:
        await whole.recharge(person, RUPEES)
    first = await _begun(whole, people[0], first_count)
    began = time.perf_counter()
    begun = [await _begun(whole, person, count) for person in people[1:]]
    await _until_over([created["campaign_id"] for created in begun])
    took = time.perf_counter() - began
    await campaigning.act(whole.service, people[0], first, "cancel")
    return took


async def _until_over(campaign_ids: list[str]) -> None:
    """Wait for the ends of these campaigns; the service is not asked, because each answer costs it as much
    as a part of a call."""
    over = {"_id": {"$in": campaign_ids}, "status": "completed"}
    for _ in range(6_000):
        if await db.campaigns.count_documents(over) == len(campaign_ids):
            return
        await asyncio.sleep(0.1)
    raise SystemExit(f"{len(campaign_ids)} campaigns were not over in ten minutes")


async def _begun(whole: Processes, person: Person, count: int) -> dict[str, Any]:
    return await campaigning.create(
        whole.service, person, count, simulate=BRIEF, max_concurrent=CONCURRENT
    )
