"""`kill -9` of the primary, of a worker, and of both under load: every acknowledged answer holds, once.

`FAILOVER_ROUNDS=60 python -m pytest tests/resilience/test_failover.py -s -k under_load` runs it long, and
prints for each round how long writes were away, and how much later than the database they were back.
"""

import asyncio
import collections
import contextlib
import dataclasses
import os
import re
import signal
import statistics
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymongo.read_concern import ReadConcern

from core import database
from tests.support.processes import Processes
from tests.support.replica_set import Client, ReplicaSet, replica_set
from tests.support.service import Person

ROUNDS = int(os.environ.get("FAILOVER_ROUNDS", "2"))
LOAD_SECONDS = 2.0  # before and after what is killed
FAULTS = ("primary", "worker", "primary and worker")
AGAIN = {409, 500, 502, 503, 504}  # 409: the first request with this key is still running


@pytest.fixture
async def members(tmp_path: Path) -> AsyncIterator[ReplicaSet]:
    async with replica_set(tmp_path / "set") as started:
        yield started


@contextlib.asynccontextmanager
async def serving(folder: Path, members: ReplicaSet) -> AsyncIterator[Processes]:
    """The service with two workers on the replica set."""
    await asyncio.to_thread(folder.mkdir)
    whole = Processes(folder, web_concurrency=2, max_concurrent_calls=100_000, log_level="INFO")
    whole.settings = whole.settings.model_copy(update={"mongodb_uri": members.uri})
    try:
        await whole.start()
        yield whole
    finally:
        await whole.stop()
        await whole.client.aclose()


# --- load ---------------------------------------------------------------------------------------


@dataclasses.dataclass
class Acknowledged:
    """What clients were told, by what they asked for."""

    adjustments: dict[str, str] = dataclasses.field(default_factory=dict)  # reason -> entry
    recharges: dict[str, str] = dataclasses.field(default_factory=dict)  # order -> entry
    calls: dict[str, str] = dataclasses.field(default_factory=dict)  # message -> call
    statuses: collections.Counter[int] = dataclasses.field(default_factory=collections.Counter)
    slowest: tuple[float, str] = (0.0, "")  # the longest that the service kept somebody waiting


class Load:
    """Customers and an admin who ask again until they have an answer."""

    def __init__(self, whole: Processes, admin: Person, people: list[Person]) -> None:
        self.whole, self.admin, self.people = whole, admin, people
        self.told = Acknowledged()
        self._last_write = 0.0  # when the latest change was acknowledged
        self._written = asyncio.Event()
        # A connection for each try: nothing of it was sent to a worker that is dead.
        self._prober = httpx.AsyncClient(
            base_url=whole.client.base_url, timeout=120, headers={"connection": "close"}
        )
        self._over = False
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self) -> None:
        self._over = False
        kinds = [self._adjust, self._adjust, self._recharge, self._recharge, self._call, self._call]
        self._tasks = [
            asyncio.create_task(self._repeat(kind, self.people[n % len(self.people)]))
            for n, kind in enumerate(kinds)
        ]
        self._tasks.append(asyncio.create_task(self._probe()))

    async def end(self) -> None:
        """Ask for nothing new, and wait until what was asked for is answered."""
        self._over = True
        await asyncio.gather(*self._tasks)

    async def close(self) -> None:
        """Close its own connections."""
        await self._prober.aclose()

    async def next_write(self, *, after: float) -> float:
        """The moment of the first acknowledged change after the moment `after`."""
        async with asyncio.timeout(180):
            while self._last_write < after:
                self._written.clear()
                await self._written.wait()
        return self._last_write

    async def _repeat(self, ask: Any, person: Person) -> None:
        while not self._over:
            await ask(person)

    async def _probe(self) -> None:
        """Change something again and again, each time something else, to see when changes are taken."""
        path = f"/api/admin/users/{self.people[0].id}/adjustments"
        while not self._over:
            reason = database.new_id("probe")
            body = {"type": "credit", "amount": 1, "reason": reason}
            headers = self.admin.headers | {"Idempotency-Key": reason}
            with contextlib.suppress(httpx.TransportError):
                answer = await self._prober.post(path, json=body, headers=headers)
                assert answer.status_code in (201, 503), answer.text
                if answer.status_code == 201:
                    self.told.adjustments[reason] = answer.json()["id"]
                    self._last_write = time.monotonic()
                    self._written.set()
            await asyncio.sleep(0.1)

    async def _adjust(self, person: Person) -> None:
        reason = database.new_id("reason")
        body = {"type": "credit", "amount": 7, "reason": reason}
        path = f"/api/admin/users/{person.id}/adjustments"
        answer = await self._insist(path, self.admin, body, key=reason, status=201)
        self.told.adjustments[reason] = answer["id"]

    async def _recharge(self, person: Person) -> None:
        key = database.new_id("order")
        order = await self._insist(
            "/api/payment/create-order", person, {"amount": 11}, key=key, status=201
        )
        order_id = order["order_id"]
        card = {"card_number": "4111 1111 1111 1111"}
        paid = await self._insist(f"/sandbox/pay/{order_id}", None, card, status=200)
        proof = {name: paid[name] for name in paid if name.startswith("razorpay_")}
        if not proof:
            return  # paid by a try whose answer was lost: the webhook brings the money
        done = await self._insist("/api/payment/verify", person, proof, status=200)
        self.told.recharges[order_id] = done["transaction_id"]

    async def _call(self, person: Person) -> None:
        message = database.new_id("message")
        scenario = {"outcome": "completed", "duration_seconds": 30, "wall_seconds": 0.3}
        body = {"to": "+919876543210", "message": message, "simulate": scenario}
        answer = await self._insist("/api/call", person, body, key=message, status=202)
        self.told.calls[message] = answer["call_id"]

    async def _insist(
        self,
        path: str,
        person: Person | None,
        body: dict[str, Any],
        *,
        status: int,
        key: str = "",
    ) -> dict[str, Any]:
        """Ask until the answer is `status`; every other answer than "later" is a defect."""
        headers = (person.headers if person else {}) | ({"Idempotency-Key": key} if key else {})
        client = self.whole.client
        while True:
            began = time.monotonic()
            answer: httpx.Response | None = None
            with contextlib.suppress(httpx.TransportError):  # its worker was killed
                answer = await client.post(path, json=body, headers=headers)
            if not path.startswith("/sandbox"):
                waited = (time.monotonic() - began, path)
                self.told.slowest = max(self.told.slowest, waited)
            if answer is not None:
                self.told.statuses[answer.status_code] += 1
                if answer.status_code == status:
                    found: dict[str, Any] = answer.json()
                    return found
                if path.startswith("/sandbox") and "order_already_paid" in answer.text:
                    return {}
                ours = not path.startswith("/sandbox")
                may_repeat = answer.status_code in AGAIN or answer.status_code == 202
                # Another try of ours, whose answer was lost, still has the order at Razorpay.
                may_repeat = may_repeat or (not ours and "order_in_progress" in answer.text)
                assert may_repeat, (path, answer.status_code, answer.text)
                assert not (ours and answer.status_code == 500), (path, answer.text)
            await asyncio.sleep(0.2)


def both_workers_serve(whole: Processes) -> bool:
    """Whether what replaced a killed worker serves: killing the other one then leaves one."""
    said = (whole.folder / "service.log").read_text()
    served = {int(found) for found in re.findall(r"ready in process (\d+)", said)}
    return len(served & set(whole.workers())) == 2


async def until(true: Callable[[], object]) -> None:
    """Wait until `true()`, which asks MongoDB."""
    async with asyncio.timeout(180):
        found = await asyncio.to_thread(true)
        while not found:
            await asyncio.sleep(0.02)
            found = await asyncio.to_thread(true)


# --- faults -------------------------------------------------------------------------------------


@dataclasses.dataclass
class Round:
    """One fault, as measured."""

    what: str
    database_seconds: float  # from the fault until a bare majority write goes through
    later_seconds: float  # from then until the service has acknowledged a change


async def strike(what: str, whole: Processes, members: ReplicaSet, load: Load) -> Round:
    """Kill it under load, wait until changes are acknowledged again, make the set whole."""
    await until(lambda: both_workers_serve(whole))
    primary = await members.until_whole()
    load.begin()
    await asyncio.sleep(LOAD_SECONDS)
    struck_at = time.monotonic()
    if "primary" in what:
        await asyncio.to_thread(primary.kill)
    if "worker" in what:
        os.kill(whole.workers()[0], signal.SIGKILL)
    database_at = await members.until_writable()
    back_at = max(database_at, await load.next_write(after=database_at - 0.5))
    await asyncio.sleep(LOAD_SECONDS)
    if "primary" in what:
        primary.start()
    await load.end()
    return Round(what, database_at - struck_at, back_at - database_at)


# --- checks -------------------------------------------------------------------------------------


async def until_calls_have_ended(members: ReplicaSet) -> None:
    with Client(members.uri) as client:
        calls = client.wallet.get_collection("calls", read_concern=ReadConcern("majority"))
        until = time.monotonic() + 180
        while time.monotonic() < until:
            open_calls: dict[str, Any] = {"billing_status": {"$nin": ["settled", "released"]}}
            if len(FAULTS) >= ROUNDS:  # the network is asked about these after a minute
                open_calls["status"] = {"$nin": ["submitting", "unknown"]}
            if not await asyncio.to_thread(calls.count_documents, open_calls):
                return
            await asyncio.sleep(0.5)
        raise AssertionError("calls stay open")


def check(members: ReplicaSet, told: Acknowledged) -> None:
    """Every acknowledged answer is in the books, once; what was not acknowledged at most once."""
    with Client(members.uri) as client:
        found = client.get_database("wallet", read_concern=ReadConcern("majority"))
        entries = list(found.transactions.find())
        ids = {entry["_id"] for entry in entries}
        assert len(ids) == len(entries)
        by = {
            name: collections.Counter(e[name] for e in entries if e["category"] == category)
            for name, category in (
                ("description", "adjustment"),
                ("order_id", "recharge"),
                ("call_id", "call_charge"),
            )
        }
        for counts in by.values():
            assert set(counts.values()) <= {1}
        assert set(told.adjustments.values()) | set(told.recharges.values()) <= ids
        assert set(told.adjustments) <= set(by["description"])
        assert set(told.recharges) <= set(by["order_id"])
        calls = {call["message"]: call["_id"] for call in found.calls.find({}, {"message": 1})}
        assert len(calls) == found.calls.count_documents({})
        assert told.calls.items() <= calls.items()


@pytest.mark.timeout(600 + 120 * ROUNDS)
async def test_a_killed_primary_and_killed_workers_lose_and_double_nothing_under_load(
    tmp_path: Path, members: ReplicaSet
) -> None:
    """Recharges, calls and adjustments go on while the primary, a worker and both are killed: every
    acknowledged answer holds once, no answer is 500, and the audit is clean."""
    async with contextlib.AsyncExitStack() as stack:
        whole = await stack.enter_async_context(serving(tmp_path / "service", members))
        admin = await whole.service.admin()
        people = [await whole.service.signup() for _ in range(3)]
        load = Load(whole, admin, people)
        stack.push_async_callback(load.close)
        for person in people:
            await whole.recharge(person, 10_000)
        rounds = []
        for number in range(ROUNDS):
            rounds.append(await strike(FAULTS[number % len(FAULTS)], whole, members, load))
            print(f"{number + 1}: {rounds[-1]}", flush=True)
        await members.until_whole()
        await until_calls_have_ended(members)
        await asyncio.to_thread(check, members, load.told)
        report = (await whole.service.get("/api/admin/audit", admin)).json()
        assert report["ok"], report["violations"]
        assert load.told.adjustments
        assert load.told.recharges
        assert load.told.calls
        said = (tmp_path / "service" / "service.log").read_text()
        assert "Traceback" not in said
        report_figures(rounds, load.told)


def report_figures(rounds: list[Round], told: Acknowledged) -> None:
    print(f"{len(told.adjustments)} adjustments, {len(told.recharges)} recharges,", end=" ")
    print(f"{len(told.calls)} calls; statuses {dict(told.statuses)}; slowest {told.slowest}")
    for what in FAULTS:
        later = [r.later_seconds for r in rounds if r.what == what]
        away = [r.database_seconds for r in rounds if r.what == what]
        if later:
            print(
                f"{what}: the database was away for {statistics.median(away):.1f} s (max {max(away):.1f});"
                f" the service was back {statistics.median(later):.1f} s later (max {max(later):.1f})"
            )
