"""Threads and time limits of database operations, by kind, and what happens while there is no primary."""

import asyncio
import collections
import contextlib
import contextvars
import dataclasses
import functools
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar

import pymongo
from pymongo import monitoring
from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    ExecutionTimeout,
    OperationFailure,
    PyMongoError,
    WriteConcernError,
)

log = logging.getLogger(__name__)

T = TypeVar("T")


# --- vocabulary ---------------------------------------------------------------------------------


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
