"""MongoDB access: connection, collections, indexes, transactions, companion writes, batched reads."""

import asyncio
import collections
import contextlib
import contextvars
import dataclasses
import datetime as dt
import functools
import hashlib
import logging
import threading
import time
import types
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, Final, Generic, Literal, NotRequired, TypedDict, TypeVar, cast

import bson
import pymongo
from bson import Int64
from bson.codec_options import CodecOptions
from motor import core as motor_core
from motor import motor_asyncio as motor
from motor.frameworks import asyncio as asyncio_framework
from motor.metaprogramming import create_class_with_framework
from pymongo import IndexModel, InsertOne, MongoClient, UpdateOne, monitoring
from pymongo import collection as pymongo_collection
from pymongo import database as pymongo_database
from pymongo.client_session import ClientSession
from pymongo.errors import (
    BulkWriteError,
    CollectionInvalid,
    ConnectionFailure,
    DuplicateKeyError,
    ExecutionTimeout,
    OperationFailure,
    PyMongoError,
    WriteConcernError,
    WriteError,
)
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference
from pymongo.write_concern import WriteConcern
from ulid import ULID

from core import clock
from core.errors import Unavailable

log = logging.getLogger(__name__)

# --- vocabulary ---------------------------------------------------------------------------------

Document = dict[str, Any]
Collection = motor.AsyncIOMotorCollection[Document]
Session = motor.AsyncIOMotorClientSession
SynchronousDatabase = pymongo_database.Database[Document]
SynchronousCollection = pymongo_collection.Collection[Document]

# BSON's 64-bit integer, which the validators ask for: the driver stores a small int as 32 bits.
Long = Int64
T = TypeVar("T")
Q = TypeVar("Q")
A = TypeVar("A")

DuplicateKey: Final = DuplicateKeyError
AnyError: Final = PyMongoError
# MongoDB cannot be reached, or does not answer in time: 503, never "not found" and never zero.
# Every operation of `db` that fails because MongoDB is away raises one of these (`is_away`).
AWAY: Final = (ConnectionFailure, ExecutionTimeout)

_DUPLICATE_KEY = 11000
# The operations have limits of their own (`Kind`); this is for what has none.
_SERVER_SELECTION_MS = 3_000
_CONNECT_MS = 2_000
_HEARTBEAT_MS = 500
_ATOMIC_SECONDS = 10.0
_COMMIT_SECONDS = 5.0
_PING_SECONDS = 1.5
_PREPARATION_SECONDS = 30
_PROGRESS_SECONDS = 5.0


class LostRace(Exception):
    """What was loaded is no longer what is stored; load it again."""


@dataclasses.dataclass(frozen=True, slots=True)
class Insert:
    """A companion write: add `document` to `collection`."""

    collection: str
    document: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Update:
    """A companion write: `update` the one document of `collection` that `where` finds."""

    collection: str
    where: Mapping[str, Any]
    update: Mapping[str, Any]
    upsert: bool = False


Write = Insert | Update


@dataclasses.dataclass(frozen=True, slots=True)
class Index:
    """An index of a declared collection. `keys` are names; a leading `-` means descending.

    `only_where` is a function where it depends on a setting: with another value it is another index,
    made at the next start, of another name.
    """

    keys: tuple[str, ...]
    unique: bool = False
    only_where: Document | Callable[[], Document] | None = None
    expire_seconds: int | None = None

    @property
    def name(self) -> str:
        """Its name in the database, for a hint."""
        return str(self.model().document["name"])

    def model(self) -> IndexModel:
        """The driver's form of it."""
        only_where = self.only_where() if callable(self.only_where) else self.only_where
        given = {
            "unique": self.unique or None,
            "partialFilterExpression": only_where,
            "expireAfterSeconds": self.expire_seconds,  # 0 counts: at the time in the document
        }
        options: Document = {name: value for name, value in given.items() if value is not None}
        keys = [(key.lstrip("-"), -1 if key[0] == "-" else 1) for key in self.keys]
        if callable(self.only_where):
            digest = hashlib.sha256(repr(only_where).encode()).hexdigest()
            options["name"] = "_".join([*(f"{key}_{way}" for key, way in keys), digest[:8]])
        return IndexModel(keys, **options)


class SchemaState(TypedDict):
    """The one record of `meta`: which declarations the database was prepared for."""

    _id: Literal["schema"]
    fingerprint: NotRequired[str]  # absent until the first process has finished
    at: NotRequired[dt.datetime]
    lease_until: dt.datetime | None  # a process prepares it until then
    owner: NotRequired[str]  # which one; 0.2.1 does not say it


_declared: dict[str, tuple[Document | None, tuple[Index, ...]]] = {}


def declare(
    collection: str, *, indexes: Sequence[Index] = (), schema: Document | None = None
) -> None:
    """Register a collection's indexes and `$jsonSchema`; called by the module that owns it."""
    _declared[collection] = (schema, tuple(indexes))


Migration = Callable[[], Coroutine[Any, Any, None]]
_migrations: dict[str, Migration] = {}


def migrate(name: str, body: Migration) -> None:
    """Register a migration of an older database; called by the module that owns the collections.

    `prepare` runs `body` when the collections exist. It must be idempotent: it runs
    again whenever the declarations change, and a second process may run it when the first is slow.
    """
    _migrations[name] = body


# --- kinds of operations, and what means that MongoDB is away -----------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """Operations of one kind: how many run at once, and for how many seconds each.

    Each kind has threads of its own, so one that is slow delays no other.
    """

    name: str
    at_once: int
    seconds: float | None  # None: as long as it takes


POINT: Final = Kind("point", 32, 8.0)  # one document, and every write
WORK: Final = Kind(
    "work", 16, 20.0
)  # reads of many documents, for jobs and for requests that change
PAGE: Final = Kind("page", 12, 10.0)  # the same for requests that only show: `find`
SUM: Final = Kind("sum", 4, 20.0)  # the same: `aggregate`, `count_documents`, `distinct`
LONG: Final = Kind("long", 6, 3_600.0)  # the same for exports and audits: who asks for it says so
BUILD: Final = Kind("build", 2, None)  # indexes, validators, migrations
STREAM: Final = Kind("stream", 8, None)  # change streams, which wait by themselves
PROBE: Final = Kind("probe", 2, 1.5)  # is there a primary?
COMMIT: Final = Kind("commit", 8, 8.0)  # the group commit

KINDS: Final = (POINT, WORK, PAGE, SUM, LONG, BUILD, STREAM, PROBE, COMMIT)
THREADS_MAX: Final = sum(kind.at_once for kind in KINDS)

PATIENCE_SECONDS: Final = 2.0  # an operation waits that long for its turn
# So long there may be no primary before operations are refused at once, and no longer wait for one.
AWAY_AFTER_SECONDS: Final = 1.5
_CONNECT_SECONDS: Final = 4.0  # the same, when there has not been one yet
_LOOK_SECONDS: Final = 0.5  # and one that begins then still waits that long

# The methods of the driver that read many documents; `_refresh` gets a batch of a cursor.
_FINDS: Final = {"_refresh"}
_SUMS: Final = {"aggregate", "count_documents", "distinct"}
_STREAMS: Final = {"_try_next", "_lazy_init"}

_UNREACHABLE: Final = {6, 7, 89, 9001}  # a host or a network that does not answer
_NOT_PRIMARY: Final = {91, 189, 10107, 11600, 11602, 13435, 13436}  # or not any more
_OUT_OF_TIME: Final = {50, 64, 262}  # the operation, or its write concern
_MAJORITY_UNKNOWN: Final = {134}
_AWAY_CODES: Final = _UNREACHABLE | _NOT_PRIMARY | _OUT_OF_TIME | _MAJORITY_UNKNOWN
# Methods of a session: what comes after them uses the session, so they have to have ended.
_OF_SESSIONS: Final = {"start_session", "end_session", "commit_transaction", "abort_transaction"}
_LABELS: Final = (
    "TransientTransactionError",
    "UnknownTransactionCommitResult",
    "RetryableWriteError",
    "NoWritesPerformed",
)


class Away(ConnectionFailure):
    """MongoDB cannot do it now: no primary, no majority, or another member while it changes."""


class Busy(ConnectionFailure):
    """As many operations of this kind run as may, and none ended in time."""


def is_away(problem: BaseException) -> bool:
    """Whether MongoDB cannot be reached, has no primary or no majority, or does not answer in time,
    as opposed to refusing a command.

    A bulk write is away when a write or the write concern of it was: a duplicate key goes first.
    """
    if isinstance(problem, ConnectionFailure | ExecutionTimeout | WriteConcernError):
        return True
    if isinstance(problem, BulkWriteError):
        failed = problem.details.get("writeErrors", ())
        if failed:
            return all(error.get("code") in _AWAY_CODES for error in failed)
        return bool(problem.details.get("writeConcernErrors"))
    return isinstance(problem, OperationFailure) and problem.code in _AWAY_CODES


# --- the kind of an operation -------------------------------------------------------------------

_chosen: contextvars.ContextVar[Kind | None] = contextvars.ContextVar("kind", default=None)


@contextlib.contextmanager
def use(kind: Kind) -> Iterator[None]:
    """In the block, operations of this task are of `kind`.

    `PAGE` and `LONG` concern only the reads of many documents; in `PAGE` sums are `SUM`.
    """
    before = _chosen.get()
    _chosen.set(kind)
    try:
        yield
    finally:
        # Not by a token: the end of a generator may run in another context than its beginning.
        _chosen.set(before)


def _kind_of(method: Callable[..., object]) -> Kind:
    name = getattr(method, "__name__", "")
    chosen = _chosen.get()
    if name in _STREAMS:
        return STREAM
    if name not in _FINDS and name not in _SUMS:
        return POINT if chosen is None or chosen in (PAGE, LONG) else chosen
    if chosen is None:
        return WORK
    return SUM if chosen is PAGE and name in _SUMS else chosen


# --- the primary --------------------------------------------------------------------------------


class Primary(monitoring.TopologyListener):
    """Whether the driver knows a primary, and since when it knows none."""

    def __init__(self) -> None:
        self.lost_at: float | None = None
        self._had_one = False
        self.is_closing = False

    def opened(self, event: monitoring.TopologyOpenedEvent) -> None:
        """The client has begun to look."""

    def description_changed(self, event: monitoring.TopologyDescriptionChangedEvent) -> None:
        """What the driver knows has changed."""
        if event.new_description.has_writable_server():
            if self.lost_at is not None:
                log.info("MongoDB: there is a primary")
            self.lost_at, self._had_one = None, True
        elif self.lost_at is None:
            if self._had_one and not self.is_closing:
                log.warning("MongoDB: there is no primary")
            self.lost_at = time.monotonic()

    def closed(self, event: monitoring.TopologyClosedEvent) -> None:
        """The client is closed."""

    @property
    def is_away(self) -> bool:
        """Whether there has been none for so long that it is not worth waiting for."""
        lost_at = self.lost_at
        patience = AWAY_AFTER_SECONDS if self._had_one else _CONNECT_SECONDS
        return lost_at is not None and time.monotonic() - lost_at > patience


# --- threads ------------------------------------------------------------------------------------


class _Gate:
    """The threads of one kind, and who waits for one."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.threads = ThreadPoolExecutor(kind.at_once, thread_name_prefix=f"mongodb {kind.name}")
        self.running = 0
        self.waiting: collections.deque[asyncio.Future[None]] = collections.deque()

    @property
    def has_room(self) -> bool:
        return self.running < self.kind.at_once

    async def enter(self) -> None:
        """Wait for a thread; raises Busy when none is free in time."""
        if self.has_room:
            self.running += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append(turn)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await turn
        except TimeoutError:
            raise Busy(f"{self.kind.at_once} operations of kind {self.kind.name} run") from None
        finally:
            if turn.cancelled():
                with contextlib.suppress(ValueError):
                    self.waiting.remove(turn)

    def leave(self) -> None:
        while self.waiting:
            turn = self.waiting.popleft()
            if not turn.done():
                turn.set_result(None)  # its thread is the one that was left
                return
        self.running -= 1


class Pools:
    """The threads in which this process's database operations run."""

    def __init__(self) -> None:
        self.primary = Primary()
        self._gates = {kind: _Gate(kind) for kind in KINDS}
        # What waits for an answer and may be given up when the primary is gone.
        self._open: set[asyncio.Future[Any]] = set()
        self._watch: asyncio.Task[None] | None = None

    def close(self) -> None:
        """No new operations; the threads end with what they do."""
        self.primary.is_closing = True
        if self._watch is not None:
            self._watch.cancel()
        for gate in self._gates.values():
            gate.threads.shutdown(wait=False, cancel_futures=True)

    def run(
        self, loop: asyncio.AbstractEventLoop, method: Callable[..., T], *args: Any, **options: Any
    ) -> "asyncio.Future[T]":
        """Run a method of the driver in a thread of its kind, within the time of its kind."""
        return self._run(loop, _kind_of(method), method, *args, **options)

    def _run(
        self,
        loop: asyncio.AbstractEventLoop,
        kind: Kind,
        method: Callable[..., T],
        *args: Any,
        **options: Any,
    ) -> "asyncio.Future[T]":
        context = contextvars.copy_context()
        work = functools.partial(context.run, _limited, kind.seconds, method, *args, **options)
        gate = self._gates[kind]
        if not gate.has_room or (self.primary.is_away and kind is not STREAM):
            return loop.create_task(self._run_later(loop, gate, work))
        gate.running += 1
        return self._submit(loop, gate, work, may_give_up=_may_give_up(method, args, options))

    async def commit(self, work: Callable[[], T]) -> T:
        """`work`, which uses the driver synchronously, in a thread of the group commit."""
        return await self.run_as(COMMIT, work)

    async def run_as(self, kind: Kind, work: Callable[[], T]) -> T:
        """`work` in a thread of `kind`, within its time for each operation of the driver."""
        return await self._run(asyncio.get_running_loop(), kind, work)

    async def _run_later(
        self, loop: asyncio.AbstractEventLoop, gate: _Gate, work: Callable[[], T]
    ) -> T:
        await self._await_primary(loop)
        await gate.enter()
        return await self._submit(loop, gate, work, may_give_up=False)

    async def _await_primary(self, loop: asyncio.AbstractEventLoop) -> None:
        until = loop.time() + _LOOK_SECONDS
        while self.primary.is_away:
            if loop.time() > until:
                raise Away("MongoDB has no primary")
            await asyncio.sleep(0.02)

    def _submit(
        self,
        loop: asyncio.AbstractEventLoop,
        gate: _Gate,
        work: Callable[[], T],
        *,
        may_give_up: bool,
    ) -> "asyncio.Future[T]":
        answer: asyncio.Future[T] = loop.create_future()

        def finish(done: Future[T]) -> None:
            gate.leave()
            self._open.discard(answer)
            if answer.done():
                return
            problem = None if done.cancelled() else done.exception()
            if done.cancelled():
                answer.cancel()
            elif problem is not None:
                answer.set_exception(problem)
            else:
                answer.set_result(done.result())

        def from_thread(done: Future[T]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(finish, done)

        try:
            done = gate.threads.submit(work)
        except RuntimeError:
            gate.leave()
            raise Away("the database is disconnected") from None
        done.add_done_callback(from_thread)
        if may_give_up and gate.kind not in (STREAM, BUILD, COMMIT):
            self._open.add(answer)
            if self._watch is None:
                self._watch = loop.create_task(self._give_up_when_away())
        return answer

    async def _give_up_when_away(self) -> None:
        """Answer what waits in the driver for a primary that does not come; the threads are bounded by
        the time of their operations."""
        while True:
            await asyncio.sleep(0.25)
            if self.primary.is_away:
                for answer in list(self._open):
                    if not answer.done():
                        answer.set_exception(Away("MongoDB has no primary"))
                self._open.clear()


def _may_give_up(
    method: Callable[..., object], args: tuple[Any, ...], options: dict[str, Any]
) -> bool:
    """Whether nothing that follows depends on the operation having ended, as it does in a session."""
    if options.get("session") is not None or getattr(method, "__name__", "") in _OF_SESSIONS:
        return False
    return not args or getattr(args[0], "session", None) is None  # the session of a cursor


def _limited(seconds: float | None, method: Callable[..., T], *args: Any, **options: Any) -> T:
    """Call `method`; what says in another way that MongoDB is away is raised as `Away`."""
    try:
        with pymongo.timeout(seconds) if seconds is not None else contextlib.nullcontext():
            return method(*args, **options)
    except PyMongoError as problem:
        if is_away(problem) and not isinstance(problem, ConnectionFailure | ExecutionTimeout):
            labels = [label for label in _LABELS if problem.has_error_label(label)]
            raise Away(str(problem), error_labels=labels) from problem
        raise


# --- the connection -----------------------------------------------------------------------------

_client: motor.AsyncIOMotorClient[Document] | None = None
_database: motor.AsyncIOMotorDatabase[Document] | None = None
_pools: Pools | None = None


def _connected() -> motor.AsyncIOMotorDatabase[Document]:
    if _database is None:
        raise Unavailable("The database is not connected yet; try again in a moment.")
    return _database


def _connected_pools() -> Pools:
    if _pools is None:
        raise Unavailable("The database is not connected yet; try again in a moment.")
    return _pools


def _client_class() -> type[motor.AsyncIOMotorClient[Document]]:
    """Motor's client, whose operations run in our threads.

    Motor makes its classes for a framework, a module of functions; with its own one for asyncio every
    operation of every client runs in one pool of five threads a processor, where slow reads stop money.
    """
    framework = types.ModuleType("wallet_framework")
    vars(framework).update(vars(asyncio_framework))
    vars(framework)["run_on_executor"] = _run_in_our_threads
    made = create_class_with_framework(motor_core.AgnosticClient, framework, __name__)
    return cast(type[motor.AsyncIOMotorClient[Document]], made)


def _run_in_our_threads(
    loop: asyncio.AbstractEventLoop, method: Callable[..., Any], *args: Any, **options: Any
) -> "asyncio.Future[Any]":
    if _pools is None:
        raise Unavailable("The database is not connected yet; try again in a moment.")
    return _pools.run(loop, method, *args, **options)


_Client = _client_class()


_collections: dict[str, Collection] = {}
_synchronous_collections: dict[str, SynchronousCollection] = {}


class _Database:
    """`db.wallets` is the collection `wallets` of the connected database."""

    def __getattr__(self, name: str) -> Collection:
        return self[name]

    def __getitem__(self, name: str) -> Collection:
        found = _collections.get(name)
        if found is None:  # the driver makes a new object for each access, which is slow
            found = _collections[name] = _connected()[name]
        return found


db = _Database()


def long(paise: int) -> Long:
    """`paise` as BSON's 64-bit integer."""
    return Long(paise)


def new_id(kind: str) -> str:
    """A new identifier that begins with its kind and sorts by time: `call_01J…`."""
    return f"{kind}_{ULID()}"


def stable_id(kind: str, *facts: str) -> str:
    """The identifier that is derived from these facts by a hash, always the same: `txn_…`."""
    return f"{kind}_{hashlib.sha256(chr(0).join(facts).encode()).hexdigest()[:32]}"


async def connect(uri: str, name: str) -> None:
    """Connect this process. Majority-committed, journaled writes; reads from the primary of what a
    majority has; every operation bounded (`Kind`)."""
    global _client, _database, _pools
    _forget_connection()
    _pools = Pools()
    _client = _Client(
        uri,
        tz_aware=True,
        maxPoolSize=THREADS_MAX,  # no thread waits for a connection
        serverSelectionTimeoutMS=_SERVER_SELECTION_MS,
        connectTimeoutMS=_CONNECT_MS,
        heartbeatFrequencyMS=_HEARTBEAT_MS,
        waitQueueTimeoutMS=_SERVER_SELECTION_MS,
        retryWrites=True,
        retryReads=True,
        appname="wallet",
        event_listeners=[_pools.primary],
    )
    _database = _client.get_database(
        name,
        write_concern=WriteConcern(w="majority", j=True, wtimeout=10_000),
        # What was read stays, whatever happens: an answer may rest on it (docs/adr/0004-group-commit.md).
        read_concern=ReadConcern("majority"),
        read_preference=ReadPreference.PRIMARY,
    )


async def close() -> None:
    """Disconnect."""
    global _client, _database, _pools
    _forget_connection()
    if _pools is not None:
        _pools.close()
    if _client is not None:
        _client.close()
    _client = _database = _pools = None


def _forget_connection() -> None:
    """Forget what belongs to the connection before."""
    for kept in (_look_ups, _looks_at_several, _single_writes):
        kept.clear()
    _collections.clear()
    _synchronous_collections.clear()


def client() -> motor.AsyncIOMotorClient[Document]:
    """The connected client (for the start command and the tests)."""
    return _connected().client


def database_name() -> str:
    """The name of the connected database (for libraries that have their own collections)."""
    return _connected().name


async def ping() -> None:
    """Ping the primary; raises one of `AWAY` when it does not answer within two seconds."""
    pools = _connected_pools()
    if pools.primary.is_away:
        raise Away("MongoDB has no primary")
    try:
        async with asyncio.timeout(_PING_SECONDS):
            hello = await pools.run_as(PROBE, _hello)
    except TimeoutError:
        raise Away("the primary does not answer") from None
    if not hello.get("isWritablePrimary"):
        raise Away("MongoDB has no primary")


def _hello() -> Document:
    return dict(synchronous().client.admin.command("hello"))


def synchronous() -> SynchronousDatabase:
    """The connected database for code that runs in a thread of its own (`in_commit_thread`): the
    driver's synchronous interface, over the same connections and with the same concerns."""
    return cast(SynchronousDatabase, _connected().delegate)


def _synchronous(name: str) -> SynchronousCollection:
    found = _synchronous_collections.get(name)
    if found is None:
        found = _synchronous_collections[name] = synchronous()[name]
    return found


async def in_commit_thread(work: Callable[[], T]) -> T:
    """`work()` in a thread that only the group commit uses, so that nothing else delays it.

    `work` calls the driver through `synchronous()`; all of its operations together take at most
    `COMMIT.seconds`. Raises what it raises, and one of `AWAY` when MongoDB is away.
    """
    return await _connected_pools().commit(work)


def long_work() -> AbstractContextManager[None]:
    """In the block, reads of many documents (`find`, `aggregate`) may take as long as they need, a
    few at a time: for exports, audits, and what else no one waits for. Elsewhere they have seconds."""
    return use(LONG)


def only_showing() -> AbstractContextManager[None]:
    """In the block, reads of many documents share a few threads of their own, and are refused when
    these are taken (503): for requests that change nothing, so that many slow ones stop nothing else."""
    return use(PAGE)


async def refuse_standalone() -> None:
    """RuntimeError when the server is neither a replica set nor a mongos: it has no transactions."""
    hello = await client().admin.command("hello")
    if "setName" not in hello and hello.get("msg") != "isdbgrid":
        raise RuntimeError(
            "MONGODB_URI points at a standalone MongoDB, which has no transactions. "
            "Start it with --replSet rs0 and run rs.initiate() once, or leave MONGODB_URI empty "
            "for the embedded one."
        )


async def transaction_lifetimes() -> set[int]:
    """`transactionLifetimeLimitSeconds` of the primary and of one other member, in seconds.

    Raises `AnyError` when this user may not read it.
    """
    asked = {"getParameter": 1, "transactionLifetimeLimitSeconds": 1}
    members = (ReadPreference.PRIMARY, ReadPreference.SECONDARY_PREFERRED)
    answers = [await client().admin.command(asked, read_preference=each) for each in members]
    return {int(answer["transactionLifetimeLimitSeconds"]) for answer in answers}


# --- collections and indexes --------------------------------------------------------------------


async def prepare() -> None:
    """Create what the modules declared, and migrate an older database: by one process at a time,
    idempotent.

    Their fingerprint is stored in `meta`, so a start that changes nothing sends one query. Other
    processes wait until the one that holds the lease is done, and say so in the log: an index of
    many documents takes minutes. A process that dies holds the lease for half a minute more.
    """
    declared = (
        [
            (name, schema, [index.model().document for index in indexes])
            for name, (schema, indexes) in sorted(_declared.items())
        ],
        sorted(_migrations),
    )
    fingerprint = hashlib.sha256(repr(declared).encode()).hexdigest()
    me = new_id("process")
    waiting = _Progress("another process prepares the database")
    while True:
        known = cast(SchemaState | None, await db.meta.find_one({"_id": "schema"}))
        if known and known.get("fingerprint") == fingerprint:
            return
        if not await _take_preparation(me, fingerprint):
            waiting.say()
            await asyncio.sleep(0.1)
            continue
        renewing = asyncio.create_task(_keep_preparation(me))
        try:
            with use(BUILD):
                await _create_all()
                for body in _migrations.values():
                    await body()
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
        done = {"fingerprint": fingerprint, "lease_until": None, "at": clock.now()}
        await db.meta.update_one({"_id": "schema"}, {"$set": done})
        return


async def _take_preparation(me: str, fingerprint: str) -> bool:
    """Whether this process prepares the database now: nobody else does, nor has since it was read."""
    free = [{"lease_until": {"$lt": clock.now()}}, {"lease_until": None}]
    mine: Document = {"_id": "schema", "fingerprint": {"$ne": fingerprint}, "$or": free}
    lease = {"owner": me, "lease_until": clock.after(_PREPARATION_SECONDS)}
    try:
        await db.meta.update_one(mine, {"$set": lease}, upsert=True)
    except DuplicateKeyError:
        return False
    return True


async def _keep_preparation(me: str) -> None:
    """Renew the lease for as long as the preparation takes, and log that it goes on."""
    working = _Progress("the database is being prepared (indexes, validators, migrations)")
    renew_at = 0.0
    while True:
        await asyncio.sleep(1)
        working.say()
        if (now := asyncio.get_running_loop().time()) < renew_at:
            continue
        renew_at = now + _PREPARATION_SECONDS / 3
        with contextlib.suppress(*AWAY):  # the preparation itself will say so
            await db.meta.update_one(
                {"_id": "schema", "owner": me},
                {"$set": {"lease_until": clock.after(_PREPARATION_SECONDS)}},
            )


class _Progress:
    """Logs what is being waited for, every few seconds, and for how long it has been."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._since = self._said_at = asyncio.get_running_loop().time()

    def say(self, more: str = "") -> None:
        """Log it, unless that was done a moment ago."""
        now = asyncio.get_running_loop().time()
        if now >= self._said_at + _PROGRESS_SECONDS:
            self._said_at = now
            log.warning("waiting for %.0f s: %s%s", now - self._since, self._what, more)


async def when_back(step: Callable[[], Awaitable[T]]) -> T:
    """`await step()`, begun again until MongoDB is not away; the log says that it is waited for.

    For the start of the service. `step` may run several times. Raises everything else that it raises.
    """
    waiting = _Progress("MongoDB cannot be reached, or has no primary")
    while True:
        try:
            return await step()
        except (*AWAY, Unavailable) as away:
            last = str(away)[:200]
        waiting.say(f": {last}")
        await asyncio.sleep(0.2)


def is_known_to_be_away() -> bool:
    """Whether the driver has not known a primary for so long that operations are refused at once."""
    return _pools is not None and _pools.primary.is_away


async def _create_all() -> None:
    database = _connected()
    have = set(await database.list_collection_names())
    for name, (schema, indexes) in _declared.items():
        if name not in have:
            with contextlib.suppress(CollectionInvalid):  # another process created it first
                await database.create_collection(name)
        if schema is not None:
            await database.command("collMod", name, validator={"$jsonSchema": schema})
        if indexes:
            # A member that is down must not keep the others from starting: by default all have to build it.
            await database[name].create_indexes(
                [index.model() for index in indexes], commitQuorum="majority"
            )


# --- transactions and companion writes ----------------------------------------------------------

_TRANSACTION: Final[dict[str, Any]] = {
    "read_concern": ReadConcern("snapshot"),
    "write_concern": WriteConcern(w="majority", j=True),
    "max_commit_time_ms": 10_000,
}


class Transaction:
    """One attempt at a transaction, in the threads of the group commit.

    `find`, `insert` and `write_all` block: they are for the functions that `run` and `commit` carry
    out in such a thread. The way there and back costs as much as a fast command of MongoDB, so what
    can be done in one go is.
    """

    def __init__(self) -> None:
        self._session: ClientSession | None = None
        # A task that is cancelled leaves its thread at work: what comes next waits for that.
        self._lock = threading.Lock()

    async def run(self, work: Callable[[], T]) -> T:
        """Carry out `work` in the transaction, which stays open."""
        return await self._in_thread(lambda: self._begun(work))

    async def commit(self, work: Callable[[], None]) -> None:
        """Carry out `work` in the transaction, and commit it, also when it only read: what was read
        is then what a majority has."""

        def carry_out_and_commit() -> None:
            self._begun(work)
            assert self._session is not None
            self._session.commit_transaction()
            self._end()

        await self._in_thread(carry_out_and_commit)

    async def abort(self) -> None:
        """Undo everything; there is nothing to undo after `commit`."""
        if self._session is not None or self._lock.locked():
            await self._in_thread(self._end)

    def find(
        self,
        collection: str,
        where: Document,
        *,
        sort: Sequence[tuple[str, int]] | None = None,
        limit: int = 0,
    ) -> list[Document]:
        """The documents that `where` finds: all, or the first `limit`."""
        documents = synchronous()[collection]
        found = documents.find(
            where, sort=sort, limit=limit, batch_size=1_000, session=self._session
        )
        return found.to_list()

    def insert(self, collection: str, documents: Sequence[Mapping[str, Any]]) -> None:
        """Insert all of `documents`."""
        self._write({"insert": collection, "documents": documents})

    def write_all(self, writes: Iterable[Write]) -> int:
        """Carry out writes, those of a kind and a collection together; how many were inserted or matched."""
        inserts: dict[str, list[Mapping[str, Any]]] = {}
        updates: dict[str, list[Document]] = {}
        for write in writes:
            if isinstance(write, Insert):
                inserts.setdefault(write.collection, []).append(write.document)
            else:
                statement = {"q": write.where, "u": write.update, "upsert": write.upsert}
                updates.setdefault(write.collection, []).append(statement)
        done = 0
        for collection, documents in inserts.items():
            done += self._write({"insert": collection, "documents": documents})
        for collection, statements in updates.items():
            done += self._write({"update": collection, "updates": statements})
        return done

    def _write(self, command: Document) -> int:
        # Not by `bulk_write`: the driver spends more time on each operation of it than on encoding it.
        reply = synchronous().command({**command, "ordered": False}, session=self._session)
        if reply.get("writeErrors"):
            raise BulkWriteError(reply)
        return int(reply["n"])

    def _begun(self, work: Callable[[], T]) -> T:
        if self._session is None:
            self._session = synchronous().client.start_session()
            self._session.start_transaction(**_TRANSACTION)
        return work()

    def _end(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.end_session()  # aborts what is not committed

    async def _in_thread(self, work: Callable[[], T]) -> T:
        def alone() -> T:
            with self._lock:
                return work()

        return await in_commit_thread(alone)


@contextlib.asynccontextmanager
async def transaction() -> AsyncIterator[Transaction]:
    """One attempt at a transaction: snapshot reads, majority commit; aborted when the block raises.

    `is_transient` decides whether to try the block again. Make no other network calls inside it.
    """
    attempt = Transaction()
    try:
        yield attempt
    except BaseException as problem:
        aborting = asyncio.create_task(attempt.abort())
        _aborting.add(aborting)
        aborting.add_done_callback(_aborted)
        # The next attempt needs what this one has locked; without a server there is nothing to wait for.
        if isinstance(problem, Exception) and not is_away(problem):
            with contextlib.suppress(*AWAY):
                await asyncio.shield(aborting)
        raise


_aborting: set[asyncio.Task[None]] = set()


def _aborted(task: asyncio.Task[None]) -> None:
    """Without a server there is nothing to abort: else asyncio would report that nobody asked for it."""
    _aborting.discard(task)
    if not task.cancelled() and (problem := task.exception()) is not None:
        log.warning("a transaction ends by itself: %s", type(problem).__name__)


@contextlib.asynccontextmanager
async def snapshot() -> AsyncIterator[Session]:
    """Reads of one moment; unlike a transaction's they may take minutes, and block no writer."""
    with long_work():
        async with await client().start_session(snapshot=True) as session:
            yield session


async def atomic(body: Callable[[Session], Coroutine[Any, Any, T]]) -> T:
    """Run `body` in a transaction; it may run more than once and must make no other network calls."""
    until = asyncio.get_running_loop().time() + _ATOMIC_SECONDS

    async def attempt(session: Session) -> T:
        try:
            return await body(session)
        except AWAY as away:
            if asyncio.get_running_loop().time() < until:
                raise  # the driver would retry for two minutes: longer than any caller waits
            raise Unavailable("The database cannot be reached right now; try again.") from away

    async with await client().start_session() as session:
        try:
            # Motor repeats a commit whose result is unknown for two minutes, too.
            async with asyncio.timeout(_ATOMIC_SECONDS + _COMMIT_SECONDS):
                return cast(T, await session.with_transaction(attempt, **_TRANSACTION))
        except TimeoutError as late:
            raise Unavailable("The database does not answer in time; try again.") from late


def is_transient(problem: BaseException) -> bool:
    """Whether the same transaction, tried again, may well succeed: a write conflict, a race for a
    unique key, an unknown commit result (the keys make a repetition safe)."""
    if isinstance(problem, LostRace) or is_duplicate(problem):
        return True
    labels = ("TransientTransactionError", "UnknownTransactionCommitResult")
    return isinstance(problem, PyMongoError) and any(map(problem.has_error_label, labels))


def is_duplicate_error(error: Mapping[str, Any]) -> bool:
    """Whether this is the error of a bulk's write that a unique index refused."""
    return error.get("code") == _DUPLICATE_KEY


def is_duplicate(problem: BaseException) -> bool:
    """Whether a unique index refused the write."""
    if isinstance(problem, BulkWriteError):
        return any(map(is_duplicate_error, problem.details.get("writeErrors", ())))
    return isinstance(problem, DuplicateKeyError)


def inserted_count(problem: BaseException) -> int:
    """How many documents an unordered insert added although a unique index refused others."""
    assert isinstance(problem, BulkWriteError)
    return int(problem.details["nInserted"])


async def write_all(writes: Iterable[Write], session: Session | None = None) -> int:
    """Carry out companion writes, one bulk a collection; how many were inserted or matched."""
    bulks: dict[str, list[InsertOne[Document] | UpdateOne]] = {}
    for write in writes:
        bulks.setdefault(write.collection, []).append(_operation(write))
    done = 0
    for collection, operations in bulks.items():
        result = await db[collection].bulk_write(operations, ordered=False, session=session)
        done += result.inserted_count + result.matched_count + result.upserted_count
    return done


def _operation(write: Write) -> InsertOne[Document] | UpdateOne:
    if isinstance(write, Insert):
        return InsertOne(cast(Document, write.document))
    return UpdateOne(write.where, write.update, upsert=write.upsert)


# --- batched reads and writes -------------------------------------------------------------------


class _Batches(Generic[Q, A]):
    """Requests of one kind: those that arrive while a batch is carried out go together in the next."""

    def __init__(self, carry_out: Callable[[Sequence[Q]], Sequence[A | Exception]]) -> None:
        self._carry_out = carry_out  # runs in a thread; one answer for each request
        self._waiting: list[tuple[Q, asyncio.Future[A]]] = []
        self._batch: list[tuple[Q, asyncio.Future[A]]] = []
        self._task: asyncio.Task[None] | None = None

    async def ask(self, request: Q) -> A:
        future: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, future))
        if self._task is None:
            self._task = asyncio.create_task(self._work())
            self._task.add_done_callback(self._refuse_when_cancelled)
        return await future

    async def _work(self) -> None:
        while self._waiting:
            counted = 0
            while counted < len(self._waiting):  # more are arriving: add them to this batch
                counted = len(self._waiting)
                await asyncio.sleep(0)
            self._batch, self._waiting = self._waiting, []
            await self._answer(self._batch)
        self._task = None

    def _refuse_when_cancelled(self, task: asyncio.Task[None]) -> None:
        """Nobody waits for ever, and whoever asks next is answered."""
        if not task.cancelled():
            return
        refused, self._batch, self._waiting, self._task = (
            [*self._batch, *self._waiting],
            [],
            [],
            None,
        )
        for _, future in refused:
            if not future.done():
                future.set_exception(Unavailable("The service is stopping; try again."))

    async def _answer(self, batch: Sequence[tuple[Q, asyncio.Future[A]]]) -> None:
        work = functools.partial(self._carry_out, [request for request, _ in batch])
        answers: Sequence[A | Exception]
        try:
            answers = await _connected_pools().run_as(POINT, work)
        except Exception as problem:
            answers = [problem] * len(batch)
        for (_, future), answer in zip(batch, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)


_look_ups: dict[tuple[str, str], _Batches[str, Document | None]] = {}
_looks_at_several: dict[tuple[str, ...], _Batches[tuple[str, ...], list[Document | None]]] = {}
_single_writes: dict[str, _Batches[Write, bool]] = {}


async def find_together(collection: str, value: str, *, field: str = "_id") -> Document | None:
    """The document of `collection` whose uniquely indexed `field` is `value`, or None.

    Look-ups that arrive while a query runs are combined into the next one: a thousand
    simultaneous callbacks cause a few queries. Callers share the document: do not change it.
    """
    look_ups = _look_ups.get((collection, field))
    if look_ups is None:

        def look_up(values: Sequence[str]) -> Sequence[Document | None]:
            where = {field: {"$in": list(dict.fromkeys(values))}}
            rows = _synchronous(collection).find(where, batch_size=1_000)
            found = {row[field]: row for row in rows}
            return [found.get(value) for value in values]

        look_ups = _look_ups[collection, field] = _Batches(look_up)
    return await look_ups.ask(value)


async def find_all_together(ids: Mapping[str, str]) -> list[Document | None]:
    """Of each collection in `ids` the document with this `_id`, or None, in their order.

    One query for all of them and for all callers that ask while another one runs, so that what is read
    for every call costs one round trip. Callers share the documents: do not change them.
    """
    names = tuple(ids)
    look_ups = _looks_at_several.get(names)
    if look_ups is None:

        def look_up(wanted: Sequence[tuple[str, ...]]) -> Sequence[list[Document | None]]:
            first, *others = [
                _tagged(place, {values[place] for values in wanted}) for place in range(len(names))
            ]
            for name, stages in zip(names[1:], others, strict=True):
                first.append({"$unionWith": {"coll": name, "pipeline": stages}})
            rows = _synchronous(names[0]).aggregate(first, batchSize=1_000)
            found = {(row["place"], row["found"]["_id"]): row["found"] for row in rows}
            return [[found.get(key) for key in enumerate(values)] for values in wanted]

        look_ups = _looks_at_several[names] = _Batches(look_up)
    return await look_ups.ask(tuple(ids.values()))


def _tagged(place: int, ids: Iterable[str]) -> list[Document]:
    """The stages that find documents and say from which of several collections they are."""
    shown = {"_id": 0, "place": {"$literal": place}, "found": "$$ROOT"}
    return [{"$match": {"_id": {"$in": sorted(ids)}}}, {"$project": shown}]


async def write_together(write: Write) -> bool:
    """Carry out a single write, in one bulk with those that others ask for while another one runs.

    True: it was inserted, or it matched a document. False: it may have matched nothing (a bulk does
    not say which did not): read the document. Raises DuplicateKey for an insert whose id exists.
    """
    writes = _single_writes.get(write.collection)
    if writes is None:
        carry_out = functools.partial(_write_singly, write.collection)
        writes = _single_writes[write.collection] = _Batches(carry_out)
    return await writes.ask(write)


def _write_singly(name: str, writes: Sequence[Write]) -> Sequence[bool | Exception]:
    collection = _synchronous(name)
    failed: dict[int, Exception] = {}
    done = 0
    try:
        result = collection.bulk_write([_operation(write) for write in writes], ordered=False)
        done = result.inserted_count + result.matched_count + result.upserted_count
    except BulkWriteError as problem:
        if is_away(problem) or problem.details.get("writeConcernErrors"):
            raise
        for error in problem.details["writeErrors"]:
            kind = DuplicateKeyError if error["code"] == _DUPLICATE_KEY else WriteError
            failed[error["index"]] = kind(error["errmsg"], error["code"], error)
    return [
        failed.get(place) or isinstance(write, Insert) or done == len(writes)
        for place, write in enumerate(writes)
    ]


# --- change streams -----------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def changes(where: Document) -> AsyncIterator[AsyncIterator[Mapping[str, Any] | None]]:
    """The changes from now on that `where` matches, with the full document of an update.

    The stream is open on the server before the block is entered, so what is read inside the block
    and what the stream reports leave no gap. Each item is an answer of the server: a change, or None
    when half a second passed without one. No item for longer than that means that the stream is down.
    """
    async with _connected().watch(
        [{"$match": where}], full_document="updateLookup", max_await_time_ms=500
    ) as stream:
        first = await stream.try_next()  # Motor opens the stream at the first call

        async def answers() -> AsyncIterator[Mapping[str, Any] | None]:
            yield first
            while cast(bool, stream.alive):  # a property; the stubs call it a method
                yield await stream.try_next()
            raise ConnectionFailure("the change stream ended")

        yield answers()


# --- one command to one server (the start command, before there is a connection) ----------------


@dataclasses.dataclass(frozen=True, slots=True)
class Login:
    """Who asks: a user of the database `source`."""

    name: str
    password: str
    source: str


def ask(
    port: int, command: Document, *, login: Login | None = None, wait_seconds: float = 2
) -> Document:
    """What the mongod on this machine's `port` answers to an admin `command`; raises `AnyError`."""
    who: Document = {}
    if login is not None:
        who = {"username": login.name, "password": login.password, "authSource": login.source}
    with MongoClient[Document](
        "127.0.0.1",
        port,
        directConnection=True,
        serverSelectionTimeoutMS=int(wait_seconds * 1_000),
        connectTimeoutMS=int(wait_seconds * 1_000),
        socketTimeoutMS=20_000,
        appname="wallet-start",
        **who,
    ) as direct:
        return dict(direct.admin.command(command))


# --- raw reads ----------------------------------------------------------------------------------

_RAW: Final[CodecOptions[Document]] = CodecOptions(tz_aware=False)


async def read_raw(found: Any) -> bytes:
    """The documents of a raw cursor (`find_raw_batches`), as they are stored, not decoded."""
    return b"".join([batch async for batch in found])


def decode_raw(documents: bytes) -> list[Document]:
    """The documents that `read_raw` has read; moments in them are in UTC and do not say so. It needs no
    event loop: for exports of very many documents, in a thread."""
    return bson.decode_all(documents, _RAW)
