"""The worker: one list of handlers that the outbox knows, and jobs that do not stop each other."""

import ast
import asyncio
import collections
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

import worker
from core import config, database, outbox
from core.errors import Unavailable
from tests.support.service import ROOT, until

OTHERS = {"tests", "bench", "sandbox"}

MODULES = [
    path
    for path in [*ROOT.glob("*.py"), *ROOT.glob("[a-z]*/**/*.py")]
    if path.relative_to(ROOT).parts[0] not in OTHERS
]


def names_in(path: Path) -> set[str]:
    """The texts of a module, among which are the names of the events that it records."""
    tree = ast.parse(path.read_text())
    texts = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return {text for text in texts if isinstance(text, str)}


@pytest.mark.parametrize("name", sorted(worker.HANDLERS))
def test_an_event_that_has_handlers_is_recorded_by_somebody(name: str) -> None:
    recorders = [
        path.name
        for path in MODULES
        if path.name != "worker.py"
        and "outbox.record_event(" in path.read_text()
        and name in names_in(path)
    ]
    assert recorders, f"{name} has handlers, and no module records it"


def test_the_outbox_knows_each_handler_once_however_often_they_are_registered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outbox, "_handlers", {})
    monkeypatch.setattr(outbox, "_lanes", {})
    worker.register_handlers()
    worker.register_handlers()
    listed = {name: handlers for name, (_, handlers) in worker.HANDLERS.items()}
    assert outbox._handlers == listed
    assert outbox._lanes == {name: lane for name, (lane, _) in worker.HANDLERS.items()}
    assert outbox.lanes() == [worker.CALLS, worker.CREDITS, worker.FREEZES, worker.RAZORPAY]


# --- jobs ---------------------------------------------------------------------------------------


@pytest.fixture
async def jobs(
    book: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[dict[str, tuple[worker.Job, float]]]:
    """The jobs of the worker that the test starts: only its own, and no events."""
    listed: dict[str, tuple[worker.Job, float]] = {}
    monkeypatch.setattr(worker, "JOBS", listed)
    monkeypatch.setattr(worker, "HANDLERS", {})
    monkeypatch.setattr(outbox, "_lanes", {})
    yield listed
    await worker.stop()


async def test_a_job_that_fails_dies_or_hangs_stops_no_other_and_readiness_says_so(
    jobs: dict[str, tuple[worker.Job, float]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    turns: collections.Counter[str] = collections.Counter()
    released = asyncio.Event()

    def job(name: str, body: Callable[[], Awaitable[object]]) -> worker.Job:
        async def run() -> None:
            turns[name] += 1
            await body()

        return run

    async def works() -> None:
        return

    async def fails() -> None:
        raise ValueError("a defect")

    async def is_cancelled() -> None:
        raise asyncio.CancelledError

    async def hangs() -> None:
        while not released.is_set():  # it does not even end when it is cancelled
            with contextlib.suppress(asyncio.CancelledError):
                await released.wait()

    for body in (works, fails, is_cancelled, hangs):
        jobs[body.__name__] = (job(body.__name__, body), 0.0)
    monkeypatch.setattr(worker, "LIMIT_SECONDS", 0.2)
    await worker.start()
    await until(lambda: asyncio.sleep(0, worker.stuck_jobs() == ["hangs"]))
    assert not worker.is_running()
    await until(lambda: asyncio.sleep(0, min(turns["fails"], turns["is_cancelled"]) >= 2))
    assert turns["works"] > turns["fails"]
    assert turns["hangs"] == 1
    assert "a defect" in caplog.text
    released.set()
    await until(lambda: asyncio.sleep(0, worker.is_running()))
    assert "hangs took longer than 0.2 s" in caplog.text


async def test_a_job_is_cancelled_at_its_limit_and_repeated(
    jobs: dict[str, tuple[worker.Job, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = 0

    async def hangs() -> None:
        nonlocal turns
        turns += 1
        await asyncio.Event().wait()

    jobs["hangs"] = (hangs, 0.0)
    monkeypatch.setattr(worker, "LIMIT_SECONDS", 0.1)
    await worker.start()
    await until(lambda: asyncio.sleep(0, turns >= 2))


@pytest.mark.parametrize(
    "problem", [Unavailable("away"), database.AWAY[0]("away")], ids=["unavailable", "away"]
)
async def test_a_database_that_is_away_is_one_line_of_warning(
    jobs: dict[str, tuple[worker.Job, float]],
    caplog: pytest.LogCaptureFixture,
    problem: Exception,
) -> None:
    async def fails() -> None:
        raise problem

    jobs["polls"] = (fails, 0.0)
    await worker.start()
    await until(lambda: asyncio.sleep(0, bool(caplog.records)))
    [line] = caplog.records
    assert (line.levelname, line.exc_info) == ("WARNING", None)
    assert line.getMessage() == f"polls: database away: {type(problem).__name__}"


def test_only_the_worker_registers_handlers() -> None:
    found = [
        path.name
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "outbox.on"
    ]
    assert found == ["worker.py"]
