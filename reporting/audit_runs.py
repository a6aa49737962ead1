"""Audit runs: the audit of everybody as a job in a process of its own, with progress that is kept."""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, TypedDict, cast

import transactions
from core import clock, config, database, logs
from core.database import Document, Index, db
from core.errors import Unavailable
from reporting import audit
from reporting.audit import Report, Violation

log = logging.getLogger(__name__)

# --- vocabulary ---------------------------------------------------------------------------------

# With no more entries than these, an audit takes about a second: it is made while one waits.
ENTRIES_AT_ONCE_MAX = 20_000
_LEASE_SECONDS: Final = 30.0
_BEAT_SECONDS: Final = 2.0
_KEPT_DAYS: Final = 90
_ROOT: Final = Path(__file__).resolve().parent.parent

RunState = Literal["running", "finished", "failed"]


class AuditRun(TypedDict):
    """A record of `audit_runs`: one audit of everybody."""

    _id: str
    state: RunState
    by: str
    started_at: dt.datetime
    finished_at: dt.datetime | None
    lease_until: dt.datetime  # a process works on it until then
    entries_expected: int
    entries: int  # so far
    kept: (
        Document  # the `Report` up to the last batch of wallets: an interrupted run goes on from it
    )


database.declare(
    "audit_runs",
    indexes=[
        Index(("state",), unique=True, only_where={"state": "running"}),
        Index(("started_at",), expire_seconds=_KEPT_DAYS * 86_400),
    ],
)


# --- verbs --------------------------------------------------------------------------------------


async def can_wait() -> bool:
    """Whether an audit of everybody is short enough to be made while somebody waits for it."""
    return await transactions.count_roughly() <= ENTRIES_AT_ONCE_MAX


async def start_run(*, by: str) -> AuditRun:
    """Start an audit of everybody, or take over one whose process has died; the one that runs, if one
    does. It is one for all processes of the service."""
    now = clock.now()
    run: AuditRun = {
        "_id": database.new_id("audit"),
        "state": "running",
        "by": by,
        "started_at": now,
        "finished_at": None,
        "lease_until": clock.after(_LEASE_SECONDS),
        "entries_expected": await transactions.count_roughly(),
        "entries": 0,
        "kept": _document_of(Report()),
    }
    try:
        await db.audit_runs.insert_one(cast(Document, run))
    except database.DuplicateKey:
        taken = await db.audit_runs.find_one_and_update(
            {"state": "running", "lease_until": {"$lt": now}},
            {"$set": {"lease_until": clock.after(_LEASE_SECONDS)}},
            return_document=True,
        )
        if taken is None:
            return await find_running() or await start_run(by=by)
        run = cast(AuditRun, taken)
        log.warning("audit %s goes on: its process has ended", run["_id"])
    await _spawn(run["_id"])
    return run


async def find_running() -> AuditRun | None:
    """The run that is under way."""
    return cast(AuditRun | None, await db.audit_runs.find_one({"state": "running"}))


async def find_finished() -> AuditRun | None:
    """The last run that came to its end."""
    found = await db.audit_runs.find_one({"state": "finished"}, sort=[("started_at", -1)])
    return cast(AuditRun | None, found)


def report_of(run: AuditRun) -> Report:
    """What a run has found (so far)."""
    kept = dict(run["kept"])
    for name in ("violations", "acknowledged"):
        kept[name] = [Violation(**each) for each in kept[name]]
    kept["accounts"] = {account: int(paise) for account, paise in kept["accounts"]}
    return Report(**kept)


# --- the process of a run -----------------------------------------------------------------------

_children: dict[asyncio.subprocess.Process, asyncio.Task[None]] = {}


async def _spawn(run_id: str) -> None:
    chosen = config.settings()
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, cwd=_ROOT, stdin=asyncio.subprocess.PIPE
    )
    assert child.stdin is not None
    # Not as arguments: the URI may hold a password, and arguments are public.
    task = {"run_id": run_id, "uri": chosen.mongodb_uri, "name": chosen.mongodb_db}
    with contextlib.suppress(ConnectionError):
        child.stdin.write(json.dumps(task).encode())
        await child.stdin.drain()
    child.stdin.close()
    _children[child] = asyncio.create_task(_wait_for(child), name=f"audit {run_id}")


async def _wait_for(child: asyncio.subprocess.Process) -> None:
    await child.wait()
    _children.pop(child, None)


async def stop() -> None:
    """End the audits that this process has started; another process goes on with them when it is asked."""
    for child, task in list(_children.items()):
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await task


def _serve(source: BinaryIO) -> None:
    """Carry out the run that `source` names, in the child process."""
    if hasattr(os, "nice"):
        os.nice(10)  # requests come first
    task = json.loads(source.read())
    uri, name = task["uri"], task["name"]
    config.use(config.Settings(_env_file=None, mongodb_uri=uri, mongodb_db=name))
    logs.configure()
    asyncio.run(_connected(uri, name, task["run_id"]))


async def _connected(uri: str, name: str, run_id: str) -> None:
    await database.connect(uri, name)
    try:
        await work_on(run_id)
    finally:
        await database.close()


async def work_on(run_id: str) -> None:
    """Carry out a run from where it stands, renewing its lease; what it finds is kept on the way."""
    run = await database.when_back(lambda: _find(run_id))
    if run is None:
        return
    report = report_of(run)
    beats = asyncio.create_task(_beat(run_id, report))
    try:
        await audit.audit(report=report, progress=lambda done: _keep(run_id, done))
    except Exception as problem:
        if database.is_away(problem) or isinstance(problem, Unavailable):
            log.warning("audit %s failed: database away: %s", run_id, type(problem).__name__)
        else:
            log.exception("audit %s failed", run_id)
        await _finish(run_id, state="failed")
    else:
        kept = {"kept": _document_of(report), "entries": report.entries}
        await _finish(run_id, state="finished", **kept)
    finally:
        beats.cancel()


async def _beat(run_id: str, report: Report) -> None:
    while True:
        await asyncio.sleep(_BEAT_SECONDS)
        with contextlib.suppress(database.AnyError):
            lease = clock.after(_LEASE_SECONDS)
            await _change(run_id, lease_until=lease, entries=report.entries)


async def _keep(run_id: str, report: Report) -> None:
    await _change(run_id, kept=_document_of(report))


async def _find(run_id: str) -> AuditRun | None:
    return cast(AuditRun | None, await db.audit_runs.find_one({"_id": run_id}))


async def _finish(run_id: str, **facts: Any) -> None:
    """Store how the run ended, also when that has to wait for the database."""
    finished_at = clock.now()
    await database.when_back(lambda: _change(run_id, finished_at=finished_at, **facts))


async def _change(run_id: str, **facts: Any) -> None:
    await db.audit_runs.update_one({"_id": run_id, "state": "running"}, {"$set": facts})


def _document_of(report: Report) -> Document:
    document = dataclasses.asdict(report)
    # As pairs: the name of an account may hold what a field's name must not.
    document["accounts"] = [[account, paise] for account, paise in report.accounts.items()]
    return document


if __name__ == "__main__":
    _serve(sys.stdin.buffer)
