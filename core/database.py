"""MongoDB access: connection, collections, indexes, transactions, companion writes, batched reads."""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import hashlib
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, NotRequired, TypedDict, TypeVar, cast

import bson
from bson import Int64
from bson.codec_options import CodecOptions
from motor import motor_asyncio as motor
from pymongo import IndexModel, InsertOne, MongoClient, UpdateOne
from pymongo.errors import (
    BulkWriteError,
    CollectionInvalid,
    ConnectionFailure,
    DuplicateKeyError,
    ExecutionTimeout,
    OperationFailure,
    PyMongoError,
    WTimeoutError,
)
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference
from pymongo.write_concern import WriteConcern
from ulid import ULID

from core import clock
from core.errors import Unavailable

# --- vocabulary ---------------------------------------------------------------------------------

Document = dict[str, Any]
Collection = motor.AsyncIOMotorCollection[Document]
Session = motor.AsyncIOMotorClientSession

# BSON's 64-bit integer, which the validators ask for: the driver stores a small int as 32 bits.
Long = Int64
T = TypeVar("T")

DuplicateKey: Final = DuplicateKeyError
AnyError: Final = PyMongoError
# MongoDB cannot be reached, or does not answer in time: 503, never "not found" and never zero.
AWAY: Final = (ConnectionFailure, ExecutionTimeout, WTimeoutError)

_NOT_PRIMARY_CODES = {91, 189, 10107, 11600, 11602, 13435, 13436}
_DUPLICATE_KEY = 11000
_SERVER_SELECTION_MS = 3_000
_SOCKET_MS = 30_000
_SESSION_IDLE_SECONDS = 300  # the server ends a session that was idle for 30 minutes
_ATOMIC_SECONDS = 10.0


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
    """An index of a declared collection. `keys` are names; a leading `-` means descending."""

    keys: tuple[str, ...]
    unique: bool = False
    only_where: Document | None = None
    expire_seconds: int | None = None

    def model(self) -> IndexModel:
        """The driver's form of it."""
        given = {
            "unique": self.unique or None,
            "partialFilterExpression": self.only_where,
            "expireAfterSeconds": self.expire_seconds,  # 0 counts: at the time in the document
        }
        options = {name: value for name, value in given.items() if value is not None}
        keys = [(key.lstrip("-"), -1 if key[0] == "-" else 1) for key in self.keys]
        return IndexModel(keys, **options)


class SchemaState(TypedDict):
    """The one record of `meta`: which declarations the database was prepared for."""

    _id: Literal["schema"]
    fingerprint: NotRequired[str]  # absent until the first process has finished
    at: NotRequired[dt.datetime]
    lease_until: dt.datetime | None  # a process prepares it until then


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


# --- the connection -----------------------------------------------------------------------------

_client: motor.AsyncIOMotorClient[Document] | None = None
_database: motor.AsyncIOMotorDatabase[Document] | None = None


def _connected() -> motor.AsyncIOMotorDatabase[Document]:
    if _database is None:
        raise Unavailable("The database is not connected yet; try again in a moment.")
    return _database


class _Database:
    """`db.wallets` is the collection `wallets` of the connected database."""

    def __getattr__(self, name: str) -> Collection:
        return self[name]

    def __getitem__(self, name: str) -> Collection:
        return _connected()[name]


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
    """Connect this process. Majority-committed, journaled writes, primary reads, bounded waits."""
    global _client, _database
    _client = motor.AsyncIOMotorClient(
        uri,
        tz_aware=True,
        maxPoolSize=50,
        serverSelectionTimeoutMS=_SERVER_SELECTION_MS,
        connectTimeoutMS=_SERVER_SELECTION_MS,
        socketTimeoutMS=_SOCKET_MS,
        waitQueueTimeoutMS=_SERVER_SELECTION_MS,
        retryWrites=True,
        retryReads=True,
        appname="wallet",
    )
    _database = _client.get_database(
        name,
        write_concern=WriteConcern(w="majority", j=True, wtimeout=10_000),
        read_preference=ReadPreference.PRIMARY,
    )


async def close() -> None:
    """Disconnect."""
    global _client, _database
    _look_ups.clear()
    _idle_sessions.clear()
    if _client is not None:
        _client.close()
    _client = _database = None


def client() -> motor.AsyncIOMotorClient[Document]:
    """The connected client (for the start command and the tests)."""
    return _connected().client


def database_name() -> str:
    """The name of the connected database (for libraries that have their own collections)."""
    return _connected().name


async def ping() -> None:
    """Ping the primary; raises one of `AWAY` when it does not answer."""
    hello = await client().admin.command("hello", maxTimeMS=2_000)
    if not hello.get("isWritablePrimary"):
        raise ConnectionFailure("no primary")


async def refuse_standalone() -> None:
    """RuntimeError when the server is neither a replica set nor a mongos: it has no transactions."""
    hello = await client().admin.command("hello")
    if "setName" not in hello and hello.get("msg") != "isdbgrid":
        raise RuntimeError(
            "MONGODB_URI points at a standalone MongoDB, which has no transactions. "
            "Start it with --replSet rs0 and run rs.initiate() once, or leave MONGODB_URI empty "
            "for the embedded one."
        )


# --- collections and indexes --------------------------------------------------------------------


async def prepare(*, wait_seconds: float = 60) -> None:
    """Create what the modules declared, and migrate an older database: by one process at a time,
    idempotent.

    Their fingerprint is stored in `meta`, so a start that changes nothing sends one query. Other
    processes wait until the one that holds the lease is done.
    """
    declared = (sorted(_declared.items()), sorted(_migrations))
    fingerprint = hashlib.sha256(repr(declared).encode()).hexdigest()
    deadline = asyncio.get_running_loop().time() + wait_seconds
    while True:
        known = cast(SchemaState | None, await db.meta.find_one({"_id": "schema"}))
        if known and known.get("fingerprint") == fingerprint:
            return
        now = clock.now()
        try:
            await db.meta.update_one(
                {"_id": "schema", "$or": [{"lease_until": {"$lt": now}}, {"lease_until": None}]},
                {"$set": {"lease_until": clock.after(30)}},
                upsert=True,
            )
        except DuplicateKeyError:
            if asyncio.get_running_loop().time() > deadline:
                raise RuntimeError("another process prepares the database, and is stuck") from None
            await asyncio.sleep(0.1)
            continue
        await _create_all()
        for body in _migrations.values():
            await body()
        done = {"fingerprint": fingerprint, "lease_until": None, "at": now}
        await db.meta.update_one({"_id": "schema"}, {"$set": done})
        return


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
            await database[name].create_indexes([index.model() for index in indexes])


# --- transactions and companion writes ----------------------------------------------------------

_TRANSACTION: Final[dict[str, Any]] = {
    "read_concern": ReadConcern("snapshot"),
    "write_concern": WriteConcern(w="majority", j=True),
    "max_commit_time_ms": 10_000,
}


@contextlib.asynccontextmanager
async def transaction() -> AsyncIterator[Session]:
    """One attempt at a transaction: snapshot reads, majority commit, abort when the block raises.

    `is_transient` decides whether to try the block again. Make no other network calls inside it.
    """
    session = await _borrowed()
    try:
        async with session.start_transaction(**_TRANSACTION):
            yield session
    except BaseException:
        await session.end_session()
        raise
    _idle_sessions.append((asyncio.get_running_loop().time(), session))


# Starting and ending a session costs two round trips, so the committer reuses its own.
_idle_sessions: list[tuple[float, Session]] = []


async def _borrowed() -> Session:
    while _idle_sessions:
        since, session = _idle_sessions.pop()
        if asyncio.get_running_loop().time() < since + _SESSION_IDLE_SECONDS:
            return session
        await session.end_session()
    return await client().start_session()


@contextlib.asynccontextmanager
async def snapshot() -> AsyncIterator[Session]:
    """Reads of one moment; unlike a transaction's they may take minutes, and block no writer."""
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
        return cast(T, await session.with_transaction(attempt, **_TRANSACTION))


def is_transient(problem: BaseException) -> bool:
    """Whether the same transaction, tried again, may well succeed: a write conflict, a race for a
    unique key, an unknown commit result (the keys make a repetition safe)."""
    if isinstance(problem, LostRace) or is_duplicate(problem):
        return True
    labels = ("TransientTransactionError", "UnknownTransactionCommitResult")
    return isinstance(problem, PyMongoError) and any(map(problem.has_error_label, labels))


def is_duplicate(problem: BaseException) -> bool:
    """Whether a unique index refused the write."""
    if isinstance(problem, BulkWriteError):
        return any(e.get("code") == _DUPLICATE_KEY for e in problem.details.get("writeErrors", ()))
    return isinstance(problem, DuplicateKeyError)


def is_away(problem: BaseException) -> bool:
    """Whether MongoDB cannot be reached or has no primary, as opposed to refusing a command."""
    return isinstance(problem, AWAY) or (
        isinstance(problem, OperationFailure) and problem.code in _NOT_PRIMARY_CODES
    )


async def write_all(writes: Iterable[Write], session: Session | None = None) -> int:
    """Carry out companion writes, one bulk a collection; how many were inserted or matched."""
    bulks: dict[str, list[InsertOne[Document] | UpdateOne]] = {}
    for write in writes:
        bulk = bulks.setdefault(write.collection, [])
        if isinstance(write, Insert):
            bulk.append(InsertOne(cast(Document, write.document)))
        else:
            bulk.append(UpdateOne(write.where, write.update, upsert=write.upsert))
    done = 0
    for collection, operations in bulks.items():
        result = await db[collection].bulk_write(operations, ordered=False, session=session)
        done += result.inserted_count + result.matched_count + result.upserted_count
    return done


# --- batched reads ------------------------------------------------------------------------------


class _LookUps:
    """Batches the look-ups of one collection by one field: one query at a time, for all callers."""

    def __init__(self, collection: str, field: str) -> None:
        self.collection, self.field = collection, field
        self.waiting: dict[str, list[asyncio.Future[Document | None]]] = {}
        self.task: asyncio.Task[None] | None = None

    async def ask(self) -> None:
        while self.waiting:
            counted = 0
            while counted < len(self.waiting):  # more look-ups are arriving: add them to this query
                counted = len(self.waiting)
                await asyncio.sleep(0)
            batch, self.waiting = self.waiting, {}
            where = {self.field: {"$in": list(batch)}}
            try:
                rows = await db[self.collection].find(where, batch_size=1_000).to_list(None)
            except Exception as problem:
                for future in itertools.chain(*batch.values()):
                    if not future.done():
                        future.set_exception(problem)
                continue
            found = {row[self.field]: row for row in rows}
            for value, futures in batch.items():
                for future in futures:
                    if not future.done():
                        future.set_result(found.get(value))
        self.task = None


_look_ups: dict[tuple[str, str], _LookUps] = {}


async def find_together(collection: str, value: str, *, field: str = "_id") -> Document | None:
    """The document of `collection` whose uniquely indexed `field` is `value`, or None.

    Look-ups that arrive while a query runs are combined into the next one: a thousand
    simultaneous callbacks cause a few queries. Callers share the document: do not change it.
    """
    look_ups = _look_ups.get((collection, field))
    if look_ups is None:
        look_ups = _look_ups[collection, field] = _LookUps(collection, field)
    future: asyncio.Future[Document | None] = asyncio.get_running_loop().create_future()
    look_ups.waiting.setdefault(value, []).append(future)
    if look_ups.task is None:
        look_ups.task = asyncio.create_task(look_ups.ask())
    return await future


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


def ask(port: int, command: Document, *, wait_seconds: float = 2) -> Document:
    """What the mongod on this machine's `port` answers to an admin `command`; raises `AnyError`."""
    with MongoClient[Document](
        "127.0.0.1",
        port,
        directConnection=True,
        serverSelectionTimeoutMS=int(wait_seconds * 1_000),
        connectTimeoutMS=int(wait_seconds * 1_000),
        socketTimeoutMS=20_000,
        appname="wallet-start",
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
