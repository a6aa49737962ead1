"""Benchmark of the group commit: beside the bare writes, its own prototype, and the textbook transaction.

    .venv/bin/python -m tests.bench ledger

Each comparison is made in alternating rounds on one MongoDB, so that a slower moment of the machine
hits both sides; the ratio is what counts.

- The group commit is `wallet.post`, as the service uses it, in a process whose garbage collector is
  set as the service sets it.
- The bare loop writes the same documents as fast as the driver can, one batch after the other, in one
  thread: it reads nothing, refuses nothing, hashes nothing, and nobody waits for it.
- The prototype is the group commit before it had holds, deadlines, companions and a chain of hashes:
  documents of a few fields, one index, no validators.
- The textbook is a transaction for every posting, a conditional update of the wallet and an insert of
  the entry, into the same collections as the group commit.
"""

import asyncio
import dataclasses
import hashlib
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, cast

from bson import Int64
from motor.motor_asyncio import AsyncIOMotorClient
from pydantic import SecretStr
from pymongo import MongoClient, UpdateOne
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

import ledger
import main as service
import wallet
from core import clock, config, database, embedded_mongodb
from core.database import db
from core.errors import InsufficientBalance
from ledger import Credit, Debit
from tests.bench.harness import Figure, Scale, ratio_of

START_PAISE = 10**11
PAISE = 10
WALLETS = 1_000
DATABASE = "bench_ledger"
MAJORITY = WriteConcern(w="majority", j=True)
SNAPSHOT = ReadConcern("snapshot")

Document = dict[str, Any]
Measured = Callable[[float], Awaitable[float]]  # postings a second, over so many seconds


# --- many callers -------------------------------------------------------------------------------


async def postings_a_second(
    post: Callable[[int], Awaitable[object]], *, callers: int, seconds: float
) -> tuple[int, float]:
    """How many postings `callers` make who each wait for one before the next; and how many a second."""
    numbers, done = itertools.count(), 0
    began = time.perf_counter()

    async def caller() -> None:
        nonlocal done
        while time.perf_counter() < began + seconds:
            await post(next(numbers))
            done += 1

    await asyncio.gather(*(caller() for _ in range(callers)))
    return done, done / (time.perf_counter() - began)


def require_spent(design: str, spent_paise: int, postings: int) -> None:
    """SystemExit when money is wrong: no speed excuses that."""
    if spent_paise != PAISE * postings:
        raise SystemExit(f"{design}: {postings} postings, but {spent_paise} paise were spent")


# --- into the collections of the product --------------------------------------------------------


class Customers:
    """Wallets with money, and a posting for each number."""

    def __init__(self, name: str, wallets: int) -> None:
        self.run = database.new_id(name)
        self.people = [f"{self.run}_{n}" for n in range(wallets)]

    async def fund(self) -> None:
        await asyncio.gather(*(wallet.post(self.start(user_id)) for user_id in self.people))

    def start(self, user_id: str) -> Credit:
        return Credit(
            user_id=user_id,
            key="start",
            category="recharge",
            amount_paise=START_PAISE,
            contra="gateway:razorpay",
            description="Start",
        )

    def spend(self, key: str, number: int) -> Debit:
        return Debit(
            user_id=self.people[number % len(self.people)],
            key=key,
            category="call_charge",
            amount_paise=PAISE,
            contra="revenue:calls",
            description="Call",
        )

    async def spent_paise(self) -> int:
        found = db.wallets.find({"user_id": {"$in": self.people}})
        return sum([START_PAISE - row["balance_paise"] async for row in found])


def over_wallets(
    name: str, post: Callable[[Debit], Awaitable[object]], *, wallets: int, callers: int
) -> Measured:
    """A design that posts commands to wallets."""
    customers: Customers | None = None

    async def measured(seconds: float) -> float:
        nonlocal customers
        if customers is None:
            customers = Customers(name, wallets)
            await customers.fund()
        before_paise = await customers.spent_paise()
        run = database.new_id("run")

        async def one(number: int) -> None:
            await post(customers.spend(f"{run}:{number}", number))

        postings, speed = await postings_a_second(one, callers=callers, seconds=seconds)
        require_spent(name, await customers.spent_paise() - before_paise, postings)
        return speed

    return measured


async def textbook(command: Debit) -> None:
    """One posting, one transaction, repeated by the driver while another one was first."""

    async def body(session: database.Session) -> None:
        changes = dict.fromkeys(("seq", "version", "debit_count"), 1)
        after = await db.wallets.find_one_and_update(
            {"user_id": command.user_id, "balance_paise": {"$gte": command.amount_paise}},
            {"$inc": {**changes, "balance_paise": -PAISE, "debited_paise": PAISE}},
            return_document=True,
            session=session,
        )
        if after is None:
            raise InsufficientBalance("", required_paise=0, available_paise=0)
        entry = entry_document(after, command.key, clock.now())
        await db.transactions.insert_one(entry, session=session)

    await database.atomic(body)


def entry_document(state: Document, key: str, at: object) -> Document:
    """The document of an entry after which its wallet is as in `state`; it hashes nothing."""
    return {
        "_id": "txn_" + hashlib.sha256(f"{state['user_id']} {key}".encode()).hexdigest()[:32],
        "user_id": state["user_id"],
        "key": key,
        "category": "call_charge",
        "amount_paise": Int64(PAISE),
        "contra": "revenue:calls",
        "description": "Call",
        "call_id": None,
        "campaign_id": None,
        "order_id": None,
        "payment_id": None,
        "refund_id": None,
        "seq": Int64(state["seq"]),
        "type": "debit",
        "balance_after_paise": Int64(state["balance_paise"]),
        "credited_paise": Int64(state["credited_paise"]),
        "debited_paise": Int64(state["debited_paise"]),
        "credit_count": Int64(state["credit_count"]),
        "debit_count": Int64(state["debit_count"]),
        "created_at": at,
        "prev_hash": ledger.GENESIS_HASH,
        "hash": ledger.GENESIS_HASH,
    }


# --- the bare loop ------------------------------------------------------------------------------


@dataclasses.dataclass
class BareLoop:
    """The same writes, in batches of `size`, with nothing around them."""

    uri: str
    size: int
    states: list[Document] = dataclasses.field(default_factory=list)

    async def measured(self, seconds: float) -> float:
        return await asyncio.to_thread(self._loop, seconds)

    def _loop(self, seconds: float) -> float:
        with MongoClient[Document](self.uri, tz_aware=True) as client:
            target = client.get_database(DATABASE, write_concern=MAJORITY)
            if not self.states:
                self._open_wallets(target)
            run = database.new_id("bare")
            numbers = itertools.count()
            began = time.perf_counter()
            with client.start_session() as session:
                while time.perf_counter() < began + seconds:
                    updates, entries = self._batch(run, numbers)
                    with session.start_transaction(SNAPSHOT, MAJORITY):
                        target.wallets.bulk_write(updates, ordered=False, session=session)
                        target.transactions.insert_many(entries, ordered=False, session=session)
            took = time.perf_counter() - began
            postings = target.transactions.count_documents({"key": {"$gt": run, "$lt": f"{run}~"}})
        return postings / took

    def _open_wallets(self, target: Any) -> None:
        run = database.new_id("bare")
        for n in range(WALLETS):
            opened = ledger.opened(f"{run}_{n}", clock.now())
            state = cast(Document, wallet.record_of(opened))
            self.states.append({**state, "balance_paise": Int64(START_PAISE)})
        target.wallets.insert_many([dict(state) for state in self.states])

    def _batch(self, run: str, numbers: Iterator[int]) -> tuple[list[UpdateOne], list[Document]]:
        now = clock.now()
        updates, entries = [], []
        for number in itertools.islice(numbers, self.size):
            state = self.states[number % WALLETS]
            guard = {"user_id": state["user_id"], "version": state["version"]}
            changed = {
                "balance_paise": Int64(state["balance_paise"] - PAISE),
                "debited_paise": Int64(state["debited_paise"] + PAISE),
                "seq": Int64(state["seq"] + 1),
                "version": Int64(state["version"] + 1),
                "debit_count": Int64(state["debit_count"] + 1),
                "head_hash": ledger.GENESIS_HASH,
                "updated_at": now,
            }
            state.update(changed)
            updates.append(UpdateOne(guard, {"$set": changed}))
            entries.append(entry_document(state, f"{run}:{number}", now))
        return updates, entries


# --- the prototype ------------------------------------------------------------------------------


class Prototype:
    """One transaction for all postings that wait, to one wallet; as it was before it was a product."""

    BATCH_MAX = 256

    def __init__(self, uri: str, callers: int) -> None:
        self.client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(
            uri, maxPoolSize=100, w="majority"
        )
        self.db = self.client[f"{DATABASE}_prototype"]
        self.callers = callers
        self.waiting: asyncio.Queue[tuple[str, asyncio.Future[None]]] = asyncio.Queue()

    async def measured(self, seconds: float) -> float:
        await self.db.wallets.drop()
        await self.db.entries.drop()
        await self.db.wallets.insert_one({"_id": 0, "balance": START_PAISE, "seq": 0})
        await self.db.entries.create_index([("wallet", 1), ("key", 1)], unique=True)
        lane = asyncio.create_task(self._commit_for_ever())
        postings, speed = await postings_a_second(self._post, callers=self.callers, seconds=seconds)
        lane.cancel()
        await asyncio.gather(lane, return_exceptions=True)
        after = await self.db.wallets.find_one({"_id": 0})
        assert after is not None
        require_spent("prototype", START_PAISE - after["balance"], postings)
        return speed

    async def _post(self, number: int) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.put_nowait((f"call:{number}", future))
        await future

    async def _commit_for_ever(self) -> None:
        while True:
            batch = [await self.waiting.get()]
            while len(batch) < self.BATCH_MAX and not self.waiting.empty():
                batch.append(self.waiting.get_nowait())
            async with await self.client.start_session() as session:
                await session.with_transaction(
                    lambda session, batch=batch: self._write(session, [key for key, _ in batch])
                )
            for _, future in batch:
                future.set_result(None)

    async def _write(self, session: database.Session, keys: list[str]) -> None:
        found = self.db.entries.find({"key": {"$in": keys}}, {"key": 1}, session=session)
        known = {entry["key"] async for entry in found}
        state = await self.db.wallets.find_one({"_id": 0}, session=session)
        assert state is not None
        guard = {"_id": 0, "seq": state["seq"]}
        entries = []
        for key in keys:
            if key not in known and state["balance"] >= PAISE:
                known.add(key)
                state["balance"] -= PAISE
                state["seq"] += 1
                facts = {"seq": state["seq"], "paise": -PAISE, "after": state["balance"]}
                entries.append({"wallet": 0, "key": key, **facts})
        change = {"$set": {"balance": state["balance"], "seq": state["seq"]}}
        done = await self.db.wallets.bulk_write([UpdateOne(guard, change)], session=session)
        assert done.matched_count == 1
        await self.db.entries.insert_many(entries, ordered=False, session=session)


# --- the rounds ---------------------------------------------------------------------------------


async def alternate(
    name: str, ours: Measured, beside: Measured, scale: Scale, *, other: str
) -> Figure:
    """The median ratio of both, each measured once a round."""
    speeds: tuple[list[float], list[float]] = ([], [])
    for _ in range(scale.rounds):
        for measured, into in zip((beside, ours), reversed(speeds), strict=True):
            into.append(await measured(scale.seconds))
    return ratio_of(name, *speeds, parts=("group commit, /s", f"{other}, /s"))


async def figures(uri: str, scale: Scale) -> list[Figure]:
    def group(wallets: int, callers: int) -> Measured:
        return over_wallets("group", wallet.post, wallets=wallets, callers=callers)

    small, large = BareLoop(uri, 32), BareLoop(uri, 256)
    prototype = Prototype(uri, 256)
    by_the_book = over_wallets("textbook", textbook, wallets=1, callers=32)
    plan = (
        ("wallets_32", group(WALLETS, 32), small.measured, "bare loop"),
        ("wallets_256", group(WALLETS, 256), large.measured, "bare loop"),
        ("busy_256", group(1, 256), prototype.measured, "prototype"),
        ("busy_32", group(1, 32), by_the_book, "textbook"),
    )
    found = [
        await alternate(name, ours, beside, scale, other=other)
        for name, ours, beside, other in plan
    ]
    prototype.client.close()
    return found


async def measure(scale: Scale, folder: Path) -> list[Figure]:
    """The figures of the ledger."""
    config.use(config.Settings(_env_file=None, jwt_secret=SecretStr("only for the benchmark")))
    running = embedded_mongodb.start(folder)
    try:
        await database.connect(running.uri, DATABASE)
        await database.prepare()
        await wallet.start()
        service.calm_the_collector()
        found = await figures(running.uri, scale)
        await wallet.stop()
        await database.close()
    finally:
        running.stop()
        config.use(None)
    return found
