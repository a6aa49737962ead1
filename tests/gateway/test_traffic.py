"""Requests to Razorpay: who goes first, how many there are, and none while it does not answer."""

import asyncio
import concurrent.futures
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import gateway
from core import clock, config
from core.database import db
from gateway import GatewayRefused, GatewayUnavailable, Purpose, traffic
from tests.support.service import committer
from tests.support.service import test_settings as settings_of_tests


@pytest.fixture
def threads() -> Iterator[concurrent.futures.ThreadPoolExecutor]:
    pool = concurrent.futures.ThreadPoolExecutor(traffic.THREADS)
    yield pool
    pool.shutdown(wait=False, cancel_futures=True)


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> Iterator[float]:
    """A budget of fifty requests a second."""
    before = config._current
    config.use(settings_of_tests("", razorpay_requests_per_second=50.0))
    yield 50.0
    config.use(before)


class Razorpay:
    """What the threads do: answer, or not, and count how many ask at once."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.go_on = threading.Event()
        self.running = self.most = self.asked = 0
        self.problem: Exception | None = None

    def answers(self) -> str:
        """At once."""
        self.asked += 1
        if self.problem is not None:
            raise self.problem
        return "answered"

    def hangs(self) -> str:
        """Until `go_on` is set."""
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
        self.go_on.wait(30)
        with self.lock:
            self.running -= 1
        return self.answers()


@pytest.fixture
def razorpay() -> Iterator[Razorpay]:
    made = Razorpay()
    yield made
    made.go_on.set()


async def until(condition: Any) -> None:
    for _ in range(2_000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it does not happen")


async def failing(threads: Any, razorpay: Razorpay, count: int) -> None:
    razorpay.problem = GatewayUnavailable("502")
    for _ in range(count):
        with pytest.raises(GatewayUnavailable):
            await traffic.send(threads, razorpay.answers, seconds=20)


# --- the circuit breaker ------------------------------------------------------------------------


async def test_after_some_failures_nothing_is_sent_and_everybody_is_told_when_to_come_back(
    threads: Any, razorpay: Razorpay
) -> None:
    await failing(threads, razorpay, 6)
    assert razorpay.asked == 6
    with pytest.raises(GatewayUnavailable) as refused:
        await traffic.send(threads, razorpay.answers, seconds=20)
    assert razorpay.asked == 6
    assert not refused.value.sent
    assert 0 < refused.value.retry_after_seconds <= 2
    assert refused.value.headers["Retry-After"] == str(refused.value.retry_after_seconds)
    assert 0 < gateway.retry_after_seconds() <= 2


async def test_few_failures_among_answers_and_refusals_open_nothing(
    threads: Any, razorpay: Razorpay
) -> None:
    for number in range(60):
        razorpay.problem = GatewayUnavailable("502") if number % 3 == 2 else None
        if number % 3 == 1:
            razorpay.problem = GatewayRefused("no", http_status=400)
        if razorpay.problem is None:
            assert await traffic.send(threads, razorpay.answers, seconds=20) == "answered"
            continue
        with pytest.raises(type(razorpay.problem)):
            await traffic.send(threads, razorpay.answers, seconds=20)
    assert (razorpay.asked, gateway.retry_after_seconds()) == (60, 0.0)


async def test_one_request_at_a_time_tries_whether_it_is_back_and_its_answer_closes_the_circuit(
    threads: Any, razorpay: Razorpay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traffic, "_OPEN_SECONDS_MIN", 0.05)
    traffic.forget()
    await failing(threads, razorpay, 6)
    await until(lambda: gateway.retry_after_seconds() == 0)
    razorpay.problem = None
    asking = [
        asyncio.create_task(traffic.send(threads, razorpay.hangs, seconds=20)) for _ in range(10)
    ]
    await until(lambda: sum(task.done() for task in asking) == 9)
    assert razorpay.most == 1
    razorpay.go_on.set()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert [answer for answer in answers if isinstance(answer, str)] == ["answered"]
    assert gateway.retry_after_seconds() == 0.0
    assert await traffic.send(threads, razorpay.answers, seconds=20) == "answered"


async def test_a_probe_without_an_answer_makes_the_next_pause_longer(
    threads: Any, razorpay: Razorpay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traffic, "_OPEN_SECONDS_MIN", 0.05)
    traffic.forget()
    await failing(threads, razorpay, 6)
    await until(lambda: gateway.retry_after_seconds() == 0)
    monkeypatch.setattr(traffic, "_OPEN_SECONDS_MAX", 40.0)
    traffic._gate.circuit._pause_seconds = 10.0
    await failing(threads, razorpay, 1)
    assert 10 < gateway.retry_after_seconds() <= 20
    assert razorpay.asked == 7


async def test_what_waits_for_a_thread_fails_as_soon_as_the_circuit_opens(
    threads: Any, razorpay: Razorpay
) -> None:
    razorpay.problem = GatewayUnavailable("504")
    asking = [
        asyncio.create_task(traffic.send(threads, razorpay.hangs, seconds=60)) for _ in range(100)
    ]
    await until(lambda: razorpay.running == traffic.THREADS)
    razorpay.go_on.set()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert all(isinstance(answer, GatewayUnavailable) for answer in answers)
    assert razorpay.asked <= 2 * traffic.THREADS
    unsent = [a for a in answers if isinstance(a, GatewayUnavailable) and not a.sent]
    assert len(unsent) == 100 - razorpay.asked


async def test_a_request_that_nobody_waits_for_any_more_keeps_its_thread_until_it_ends(
    threads: Any, razorpay: Razorpay
) -> None:
    with pytest.raises(GatewayUnavailable) as late:
        await traffic.send(threads, razorpay.hangs, seconds=0.05)
    assert late.value.sent
    assert traffic._gate._running.total() == 1
    razorpay.go_on.set()
    await until(lambda: traffic._gate._running.total() == 0)


# --- who goes first -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("purpose", "most"), [("webhook", 12), ("poller", 8), ("reconciliation", 6)]
)
async def test_a_slow_razorpay_leaves_threads_to_users(
    threads: Any, razorpay: Razorpay, purpose: Purpose, most: int
) -> None:
    with gateway.on_behalf_of(purpose):
        behind = [
            asyncio.create_task(traffic.send(threads, razorpay.hangs, seconds=60))
            for _ in range(40)
        ]
    await until(lambda: razorpay.running == most)
    assert await traffic.send(threads, razorpay.answers, seconds=20) == "answered"
    assert (razorpay.running, razorpay.most) == (most, most)
    razorpay.go_on.set()
    assert await asyncio.gather(*behind) == ["answered"] * 40
    assert razorpay.most == most


async def test_the_most_urgent_of_those_who_wait_is_next(threads: Any, razorpay: Razorpay) -> None:
    for _ in range(traffic.THREADS):
        traffic._gate._running["user"] += 1
    order: list[str] = []

    async def ask(purpose: Purpose) -> None:
        with gateway.on_behalf_of(purpose):
            await traffic._gate.enter(purpose)
        order.append(purpose)

    asking = [asyncio.create_task(ask(purpose)) for purpose in reversed(traffic.PURPOSES)]
    await until(lambda: sum(map(len, traffic._gate._waiting.values())) == 4)
    for _ in range(traffic.THREADS):
        traffic._gate.leave("user")
        await asyncio.sleep(0)
    await asyncio.gather(*asking)
    assert order == list(traffic.PURPOSES)


# --- the budget ---------------------------------------------------------------------------------


async def test_background_work_leaves_a_part_of_the_budget_and_users_never_wait_for_it(
    threads: Any, razorpay: Razorpay, limited: float
) -> None:
    with gateway.on_behalf_of("reconciliation"):
        began = time.monotonic()
        for _ in range(60):
            await traffic.send(threads, razorpay.answers, seconds=20)
        seconds = time.monotonic() - began
    # A hundred fit into two seconds; half of them are left to others.
    assert 50 + seconds * limited + 1 >= 60
    assert traffic._gate._budget.missing_seconds("reconciliation") > 0
    assert traffic._gate._budget.missing_seconds("user") == 0
    assert traffic._gate._budget.missing_seconds("webhook") == 0


async def test_users_may_use_the_next_seconds_budget_and_the_others_wait_for_them(
    threads: Any, razorpay: Razorpay, limited: float
) -> None:
    for _ in range(150):
        await traffic.send(threads, razorpay.answers, seconds=20)
    assert traffic._gate._budget.missing_seconds("user") == 0
    with gateway.on_behalf_of("webhook"), pytest.raises(GatewayUnavailable) as refused:
        await traffic.send(threads, razorpay.answers, seconds=0.05)
    assert not refused.value.sent


@pytest.fixture
async def connected(mongodb_uri: str) -> AsyncIterator[config.Settings]:
    async with committer(mongodb_uri) as settings:
        yield settings


async def test_processes_share_one_budget(connected: config.Settings, limited: float) -> None:
    await gateway.start()
    try:
        assert traffic._requests_per_second() == 50.0
        alive_until = clock.after(60)
        others = [{"_id": f"gateway_{n}", "alive_until": alive_until} for n in range(4)]
        await db.gateway_processes.insert_many(others)
        await db.gateway_processes.insert_one({"_id": "dead", "alive_until": clock.after(-1)})
        await traffic._stay_alive("gateway_0")
        assert traffic._requests_per_second() == 10.0
    finally:
        await gateway.stop()
        traffic._processes = 1
    left = await db.gateway_processes.distinct("_id")
    assert sorted(left) == ["dead", *sorted(f"gateway_{n}" for n in range(4))]
