"""Traffic to Razorpay: one budget of requests for all processes, by priority, and a circuit breaker."""

import asyncio
import collections
import concurrent.futures
import contextlib
import contextvars
import dataclasses
import datetime as dt
import logging
import math
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal, TypedDict

from prometheus_client import Counter, Gauge

from core import clock, config, database
from core.database import Index, db
from core.errors import Problem

log = logging.getLogger(__name__)


# --- vocabulary ---------------------------------------------------------------------------------

# Whom a request is for, the most urgent first.
Purpose = Literal["user", "webhook", "poller", "reconciliation"]
PURPOSES: Final[tuple[Purpose, ...]] = ("user", "webhook", "poller", "reconciliation")

THREADS: Final = 16
# How many requests of a purpose, together with the less urgent ones, may run at once. When Razorpay
# is slow, background work occupies its own threads and none of those that are left to users.
_AT_ONCE: Final[dict[Purpose, int]] = {
    "user": THREADS,
    "webhook": 12,
    "poller": 8,
    "reconciliation": 6,
}
# What has to be left of the budget, as a share of it, for a request to be sent: the rest is for what
# is more urgent. Users may use up the next seconds' budget; the others then wait until it is even.
_LEFT_OVER: Final[dict[Purpose, float]] = {
    "user": -1.0,
    "webhook": 0.0,
    "poller": 0.25,
    "reconciliation": 0.5,
}
_BUDGET_SECONDS: Final = 2.0
_BUDGET_MIN: Final = 4.0

_ALIVE_SECONDS: Final = 30.0
_ALIVE_AGAIN_SECONDS: Final = 5.0

_WINDOW_SECONDS: Final = 60.0
_FAILURES_MIN: Final = 6
_FAILED_SHARE: Final = 0.5
_OPEN_SECONDS_MIN: Final = 2.0
_OPEN_SECONDS_MAX: Final = 60.0

_sent = Counter(
    "razorpay_requests_total", "Requests to Razorpay, by whom they are for", ["purpose"]
)
_circuit_open = Gauge(
    "razorpay_circuit_open",
    "1 while requests to Razorpay fail at once because it did not answer",
    multiprocess_mode="livemax",
)


class GatewayUnavailable(Problem):
    """Razorpay cannot be reached, is throttling, or answers nonsense; nothing is known, try again."""

    code, status, title = "gateway_unavailable", 503, "Payment gateway unavailable"

    def __init__(self, detail: str, *, retry_after_seconds: float = 5, sent: bool = True) -> None:
        seconds = max(1, math.ceil(retry_after_seconds))
        super().__init__(detail, headers={"Retry-After": str(seconds)})
        self.retry_after_seconds = seconds
        self.sent = sent  # False: no connection was made, so Razorpay cannot have acted


class GatewayProcess(TypedDict):
    """A record of `gateway_processes`: a process that sends requests to Razorpay."""

    _id: str
    alive_until: dt.datetime


database.declare("gateway_processes", indexes=[Index(("alive_until",), expire_seconds=0)])


# --- verbs --------------------------------------------------------------------------------------

_purpose: contextvars.ContextVar[Purpose] = contextvars.ContextVar(
    "razorpay_purpose", default="user"
)


@contextlib.contextmanager
def on_behalf_of(purpose: Purpose) -> Iterator[None]:
    """Send the requests of this block, and of the tasks begun in it, for `purpose`; else for a user."""
    before = _purpose.set(purpose)
    try:
        yield
    finally:
        _purpose.reset(before)


def retry_after_seconds() -> float:
    """The seconds until a request has a chance of an answer: 0.0 unless the circuit is open."""
    return _gate.circuit.open_seconds()


async def send(
    threads: concurrent.futures.Executor, call: Callable[[], Any], *, seconds: float
) -> Any:
    """The result of `call` in one of `threads`, within `seconds`: it waits there for its turn, too.

    Raises GatewayUnavailable when that takes longer, at once while the circuit is open, and what
    `call` raises. `sent` is False when `call` was not begun.
    """
    gate, purpose, begun = _gate, _purpose.get(), False
    try:
        async with asyncio.timeout(seconds):  # `wait_for` may forget to be cancelled
            await gate.enter(purpose)
            try:
                is_probe = gate.circuit.admit()
            except GatewayUnavailable:
                gate.leave(purpose)
                raise
            begun = True
            _sent.labels(purpose).inc()
            future = threads.submit(call)
            future.add_done_callback(gate.on_end(purpose, is_probe=is_probe))
            return await asyncio.wrap_future(future)
    except TimeoutError:
        raise GatewayUnavailable("Razorpay takes too long to answer.", sent=begun) from None


async def start() -> None:
    """Take part in the budget that all processes share."""
    global _alive
    forget()
    process_id = database.new_id("gateway")
    await _stay_alive(process_id)
    _alive = asyncio.create_task(_stay_alive_for_ever(process_id), name="gateway budget")


async def stop() -> None:
    """Leave this process's share of the budget to the others."""
    global _alive
    if _alive is not None:
        _alive.cancel()
        await asyncio.gather(_alive, return_exceptions=True)
    _alive = None
    forget()


def forget() -> None:
    """Forget how Razorpay has answered so far: the circuit is closed, the budget whole."""
    global _gate
    _gate = _Gate()


# --- the circuit breaker ------------------------------------------------------------------------


class Circuit:
    """Opens when at least half of the requests of a minute had no answer, and then lets one request at a time
    try whether Razorpay is back, after growing pauses; the first answer closes it."""

    def __init__(self) -> None:
        self._outcomes: collections.deque[tuple[float, bool]] = collections.deque()
        self._open_until: float | None = None
        self._pause_seconds = _OPEN_SECONDS_MIN
        self._is_probed = False

    def open_seconds(self) -> float:
        """How long requests fail at once: 0.0 when the next one is sent."""
        if self._open_until is None:
            return 0.0
        left = self._open_until - time.monotonic()
        return max(left, 1.0 if self._is_probed else 0.0)

    def refuse_if_open(self) -> None:
        """Raise GatewayUnavailable while requests fail at once."""
        if (seconds := self.open_seconds()) > 0:
            raise GatewayUnavailable(
                "Razorpay has not answered for a while; nothing was sent. Try again shortly.",
                retry_after_seconds=seconds,
                sent=False,
            )

    def admit(self) -> bool:
        """Whether the request that is sent now is the probe. Raises as `refuse_if_open`."""
        self.refuse_if_open()
        self._is_probed = self._open_until is not None
        return self._is_probed

    def record(self, *, answered: bool | None, is_probe: bool) -> bool:
        """Note how a request ended (None: it was never sent); whether that opened the circuit."""
        now = time.monotonic()
        if is_probe:
            self._is_probed = False
            if answered:
                log.warning("razorpay answers again")
                self._close()
            elif answered is False:
                self._pause_seconds = min(_OPEN_SECONDS_MAX, 2 * self._pause_seconds)
                self._open_until = now + self._pause_seconds
            return False
        if answered is None or self._open_until is not None:
            return False
        self._outcomes.append((now, answered))
        while self._outcomes[0][0] < now - _WINDOW_SECONDS:
            self._outcomes.popleft()
        failed = sum(not was_answered for _, was_answered in self._outcomes)
        if failed < _FAILURES_MIN or failed < _FAILED_SHARE * len(self._outcomes):
            return False
        log.error("razorpay does not answer: %d of %d requests", failed, len(self._outcomes))
        _circuit_open.set(1)
        self._open_until = now + self._pause_seconds
        return True

    def _close(self) -> None:
        _circuit_open.set(0)
        self._outcomes.clear()
        self._open_until = None
        self._pause_seconds = _OPEN_SECONDS_MIN


# --- the budget ---------------------------------------------------------------------------------


@dataclasses.dataclass(slots=True)
class _Budget:
    """A token bucket: this process's share of the requests a second."""

    tokens: float | None = None  # None: nothing was sent yet, it is full
    counted_at: float = 0.0

    def missing_seconds(self, purpose: Purpose) -> float:
        """How long this purpose has to wait; 0.0 when it may send now."""
        rate = _requests_per_second()
        if rate is None:
            return 0.0
        full = max(_BUDGET_MIN, rate * _BUDGET_SECONDS)
        now = time.monotonic()
        before = full if self.tokens is None else self.tokens
        self.tokens = min(full, before + (now - self.counted_at) * rate)
        self.counted_at = now
        return max(0.0, (1 + _LEFT_OVER[purpose] * full - self.tokens) / rate)

    def take(self) -> None:
        """Count a request."""
        if self.tokens is not None:
            self.tokens -= 1


def _requests_per_second() -> float | None:
    """What this process may send in a second; None is no limit."""
    allowed = config.settings().gateway_requests_per_second
    return None if allowed is None else allowed / _processes


class _Gate:
    """Lets requests through, the most urgent first, as threads and the budget allow."""

    def __init__(self) -> None:
        self.circuit = Circuit()
        self._budget = _Budget()
        self._running: collections.Counter[Purpose] = collections.Counter()
        self._waiting: dict[Purpose, collections.deque[asyncio.Future[None]]] = {
            purpose: collections.deque() for purpose in PURPOSES
        }
        self._timer: asyncio.TimerHandle | None = None

    async def enter(self, purpose: Purpose) -> None:
        """Wait for the turn of a request; `leave` ends it. Raises GatewayUnavailable."""
        self.circuit.refuse_if_open()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[purpose].append(turn)
        self._let_through()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.leave(purpose)
            raise

    def leave(self, purpose: Purpose) -> None:
        """A request is over: its thread is free."""
        self._running[purpose] -= 1
        self._let_through()

    def on_end(
        self, purpose: Purpose, *, is_probe: bool
    ) -> Callable[[concurrent.futures.Future[Any]], None]:
        """What to call when the thread is free, also if nobody waits for its answer any more."""
        loop = asyncio.get_running_loop()

        def end(future: concurrent.futures.Future[Any]) -> None:
            answered = None if future.cancelled() else not _is_unanswered(future.exception())
            if self.circuit.record(answered=answered, is_probe=is_probe):
                self._refuse_all()
            self.leave(purpose)

        def in_the_thread(future: concurrent.futures.Future[Any]) -> None:
            try:
                loop.call_soon_threadsafe(end, future)
            except RuntimeError:  # the loop is closed: nobody waits
                self._running[purpose] -= 1

        return in_the_thread

    def _let_through(self) -> None:
        for place, purpose in enumerate(PURPOSES):
            waiting = self._waiting[purpose]
            while waiting:
                if waiting[0].done():  # its caller does not wait any more
                    waiting.popleft()
                    continue
                if sum(self._running[each] for each in PURPOSES[place:]) >= _AT_ONCE[purpose]:
                    break
                if self._running.total() >= THREADS:
                    return
                if (seconds := self._budget.missing_seconds(purpose)) > 0:
                    self._try_again_after(seconds)
                    return
                self._budget.take()
                self._running[purpose] += 1
                waiting.popleft().set_result(None)

    def _try_again_after(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(seconds, self._let_through)

    def _refuse_all(self) -> None:
        """The circuit has opened: what waits fails at once, too."""
        for waiting in self._waiting.values():
            while waiting:
                turn = waiting.popleft()
                if not turn.done():
                    try:
                        self.circuit.refuse_if_open()
                    except GatewayUnavailable as refusal:
                        turn.set_exception(refusal)


def _is_unanswered(problem: BaseException | None) -> bool:
    return isinstance(problem, GatewayUnavailable)


# --- the processes that share the budget --------------------------------------------------------

_gate = _Gate()
_processes = 1
_alive: asyncio.Task[None] | None = None


async def _stay_alive(process_id: str) -> None:
    """Say that this process sends requests, and count those that do."""
    global _processes
    alive = {"$set": {"alive_until": clock.after(_ALIVE_SECONDS)}}
    await db.gateway_processes.update_one({"_id": process_id}, alive, upsert=True)
    others = {"alive_until": {"$gt": clock.now()}}
    _processes = max(1, await db.gateway_processes.count_documents(others))


async def _stay_alive_for_ever(process_id: str) -> None:
    try:
        while True:
            await asyncio.sleep(_ALIVE_AGAIN_SECONDS)
            try:
                await _stay_alive(process_id)
            except database.AnyError as problem:  # the share stays as it is until it answers again
                log.warning("the budget of requests is not shared anew: %s", type(problem).__name__)
    finally:
        with contextlib.suppress(database.AnyError):
            await db.gateway_processes.delete_one({"_id": process_id})
