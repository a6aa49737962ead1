"""One real mongod for the run, one database and one real server for each test that asks."""

import datetime as dt
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from auth import passwords
from core import clock, config, embedded_mongodb
from gateway import traffic
from tests.support import processes, queries
from tests.support.service import Service, committer, running, test_settings

# How long an example takes says more of what else the machine does than of the code.
hypothesis.settings.register_profile(
    "wallet", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)


hypothesis.settings.load_profile("wallet")

# A folder: the queries of the product are recorded into it (docs/testing.md, "Queries and their plans").
RECORDED = os.environ.get("RECORD_QUERIES")


# What the tests' MongoDBs write is on no disk where the machine has memory for it: they commit, make and
# drop databases all the time, and what they promise of a killed process needs no disk.
_MEMORY = Path("/dev/shm")
_MEMORY_BYTES_MIN = 8_000_000_000


def pytest_configure() -> None:
    recording = queries.recorder()
    recording.is_on = bool(RECORDED)
    if os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _MEMORY_BYTES_MIN:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))
    # A hash that costs what it has to costs more than the rest of a sign-up; tests/auth/test_passwords.py
    # is about the real one.
    passwords._hasher = CHEAP_HASHER


def pytest_unconfigure() -> None:
    processes.end_importer()
    if RECORDED:
        queries.recorder().write(Path(RECORDED))


REAL_HASHER = passwords._hasher
CHEAP_HASHER = passwords._hasher.using(memory_cost=64, rounds=1)


@pytest.fixture
def real_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords are hashed with the parameters of the product."""
    monkeypatch.setattr(passwords, "_hasher", REAL_HASHER)
    monkeypatch.setattr(passwords, "_dummy", None)


@pytest.fixture(autouse=True)
def closed_circuit() -> None:
    """A Razorpay that did not answer in one test opens no circuit in the next."""
    traffic.forget()


@pytest.fixture(scope="session")
def mongodb_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of a real one-node replica set that lives as long as the test run, or of the one that
    `TEST_MONGODB_URI` names: many short runs share it (tests/mutation)."""
    if given := os.environ.get("TEST_MONGODB_URI"):
        yield given
        return
    running = embedded_mongodb.start(tmp_path_factory.mktemp("mongod"))
    yield running.uri
    running.stop()


Ahead = Callable[[], None]


@pytest.fixture
def past_the_boundary(monkeypatch: pytest.MonkeyPatch) -> Ahead:
    """Moves the clock of this process ahead, so that what follows does not reach over the end of the
    clock's minute, nor of the day in India; where neither is near, nothing moves."""
    real = clock.now

    def move_ahead() -> None:
        at = clock.now()
        day_end = clock.ist_day_end(clock.ist_date(at))
        ahead = dt.timedelta()
        if day_end - at < dt.timedelta(minutes=5):
            ahead = day_end - at + dt.timedelta(seconds=1)
        elif at.second > 30:
            ahead = dt.timedelta(seconds=61 - at.second)
        shift = at + ahead - real()
        monkeypatch.setattr(clock, "now", lambda: real() + shift)

    return move_ahead


@pytest.fixture
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """The service with the settings of the tests."""
    async with running(test_settings(mongodb_uri)) as started:
        yield started


@pytest.fixture
async def book(mongodb_uri: str) -> AsyncIterator[config.Settings]:
    """The settings of this process, whose wallet is started: no HTTP, no worker."""
    async with committer(mongodb_uri) as chosen:
        yield chosen


# The files that take longest begin first: some at a time, the last ones are then short.
SLOW = (
    "test_contract",
    "test_manage",
    "test_bench",
    "test_campaign_chaos",
    "test_dispatcher",
    "test_problems",
    "test_credit_control",
    "test_kill_minus_nine",
    "test_reconcile",
    "test_query_plans",
    "test_fail_points",
    "test_failover",
    "test_two_processes",
    "test_lost_majority",
    "test_refund_dispute_races",
    "test_payment_sequences",
    "test_call_sequences",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {name: place for place, name in enumerate(SLOW)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(SLOW)))


@pytest.fixture
def settings() -> Iterator[config.Settings]:
    """The settings of the tests, without a service."""
    before = config._current
    chosen = test_settings("", port=8000)
    config.use(chosen)
    yield chosen
    config.use(before)
