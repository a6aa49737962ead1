"""A database that is away is one line of warning, wherever it is noticed: no ERROR, no traceback."""

import ast
import asyncio
import gc
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from campaigns import dispatcher, records
from core import clock, config, database, outbox
from core.database import db
from core.errors import Unavailable
from core.outbox import Event
from reconciliation import reconcile
from reporting import audit, audit_runs
from tests.support.service import ROOT

AWAY = database.Away("no primary")
# These log the traceback of what is no question of the database any more.
ASKED_BEFORE = {
    "main.py": "the start waits for the database (`database.when_back`)",
    "api/problems.py": "`on_database` answers before `on_defect`",
    "core/logs.py": "writes the line",
}


async def away(*_: object, **__: object) -> None:
    raise AWAY


def one_warning(caplog: pytest.LogCaptureFixture) -> str:
    [line] = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert (line.levelname, line.exc_info) == ("WARNING", None)
    assert "Traceback" not in caplog.text
    return line.getMessage()


@pytest.fixture
def no_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "_handlers", {})
    monkeypatch.setattr(outbox, "_lanes", {})


@pytest.mark.usefixtures("no_handlers")
async def test_a_handler_without_a_database(
    book: config.Settings, caplog: pytest.LogCaptureFixture
) -> None:
    outbox.on("SomethingHappened", away)
    event = outbox.record_event("SomethingHappened", user_id=None, pending=True)
    await database.write_all([event])
    await outbox.deliver_due()
    found = await db.events.find_one({"_id": event.document["_id"]})
    assert found is not None
    assert (found["state"], found["failure"]) == ("pending", "Away: no primary")
    assert "attempt 1 failed: database away: Away" in one_warning(caplog)


@pytest.mark.usefixtures("no_handlers")
async def test_a_handler_whose_failure_cannot_be_stored_either(
    book: config.Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def break_off(_: Event) -> None:
        monkeypatch.setattr(type(db.events), "update_one", away)
        raise AWAY

    outbox.on("SomethingHappened", break_off)
    event = outbox.record_event("SomethingHappened", user_id=None, pending=True)
    await database.write_all([event])
    await outbox.deliver_due()
    monkeypatch.undo()
    assert "database away" in one_warning(caplog)


async def test_a_step_of_the_reconciliation(
    book: config.Settings, caplog: pytest.LogCaptureFixture
) -> None:
    lease = await reconcile._Lease.take()
    assert lease is not None
    report = reconcile.Report("recon_1", clock.now(), clock.now())
    await reconcile._run_step("payments", away, report, lease, deep=False)
    assert one_warning(caplog) == "reconciliation of payments not finished: database away: Away"
    assert report.unanswered == ["payments: Away"]


@pytest.mark.parametrize("problem", [AWAY, Unavailable("later")], ids=["away", "unavailable"])
async def test_a_campaign(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, problem: Exception
) -> None:
    async def due(_: int) -> list[str]:
        return ["cmp_1"]

    async def fail(*_: object) -> None:
        raise problem

    monkeypatch.setattr(records, "list_due_campaigns", due)
    monkeypatch.setattr(records, "claim_look", fail)
    monkeypatch.setattr(records, "wake_campaign", fail)
    with pytest.raises(type(problem)):  # the worker's own line
        await dispatcher.check_due_campaigns()
    assert not caplog.records
    dispatcher._wake_later("cmp_1", "usr_1", clock.now())
    await dispatcher._wakes["cmp_1"]
    assert "checked later" in one_warning(caplog)


async def test_an_audit(
    book: config.Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It fails, and says so as soon as it can."""
    tries = 0
    change = audit_runs._change

    async def change_when_back(run_id: str, **facts: Any) -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise AWAY
        await change(run_id, **facts)

    async def no_process(_: str) -> None: ...

    monkeypatch.setattr(audit_runs, "_spawn", no_process)
    monkeypatch.setattr(audit, "audit", away)
    monkeypatch.setattr(audit_runs, "_change", change_when_back)
    run = await audit_runs.start_run(by="usr_1")
    await audit_runs.work_on(run["_id"])
    found = await db.audit_runs.find_one({"_id": run["_id"]})
    assert found is not None
    assert found["state"] == "failed"
    assert "database away: Away" in one_warning(caplog)


async def test_a_transaction_that_cannot_be_aborted(
    book: config.Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(database.Transaction, "abort", away)
    with pytest.raises(database.Away):
        async with database.transaction():
            raise AWAY
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    gc.collect()  # a task whose exception nobody asked for is reported when it goes
    assert one_warning(caplog) == "a transaction ends by itself: Away"


def functions_with_tracebacks() -> Iterator[tuple[str, str]]:
    for path in sorted(ROOT.rglob("*.py")):
        name = str(path.relative_to(ROOT))
        if name.startswith((".", "tests/")):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                source = ast.unparse(node)
                if "log.exception(" in source or "exc_info=" in source:
                    yield name, source


def test_whoever_logs_a_traceback_asks_first_whether_the_database_is_away() -> None:
    found = list(functions_with_tracebacks())
    assert {"core/outbox.py", "worker.py", "wallet.py"} <= {name for name, _ in found}
    unasked = [name for name, source in found if "is_away" not in source]
    assert set(unasked) <= set(ASKED_BEFORE), unasked
