"""Background jobs: the list of what every process repeats, and of the handlers of events."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final

import payments
import refunds
from auth import sessions
from calls import monitor, single_calls
from campaigns import dispatcher, imports, results, statistics
from core import database, database_members, outbox
from core.errors import Problem
from core.outbox import Lane
from reconciliation import reconcile, webhooks
from reporting import audit_runs, live, totals

log = logging.getLogger(__name__)


# --- vocabulary ---------------------------------------------------------------------------------

Job = Callable[[], Awaitable[object]]

# Each job claims what it works on by leases in MongoDB, so any number of processes may run it.
JOBS: dict[str, tuple[Job, float]] = {
    "extend calls": (monitor.start_extensions, 0.25),
    "sweep calls": (monitor.start_checks, 2.0),
    "dial single calls": (single_calls.dial_committed, 0.5),
    "dial campaigns": (dispatcher.dispatch, 0.1),
    "check campaigns": (dispatcher.check_due_campaigns, 0.25),
    # Two, so that a list waits for one long one only while another is being read.
    "import lists": (imports.continue_due_import, 0.5),
    "import more lists": (imports.continue_due_import, 0.5),
    "poll payments": (payments.poll_pending, 2.0),
    "poll refunds": (refunds.poll_due_refunds, 2.0),
    "reconcile": (reconcile.run_when_due, 30.0),
    "report unhandled events": (outbox.report_unhandled, 60.0),
    "keep totals": (totals.keep_closed_days, 300.0),
    "tell live events": (live.poll, live.POLL_SECONDS),
    "record uses of sessions": (sessions.record_use, 60.0),
    "look at MongoDB's members": (database_members.report_wrong_setting, 60.0),
}

# A job that takes longer than this hangs: it is cancelled and repeated, and `/ready` says so meanwhile.
LIMIT_SECONDS: Final = 300.0
LIMITS_SECONDS: Final = {
    "import lists": 3_600.0,
    "import more lists": 3_600.0,
    "dial campaigns": 3_600.0,
    "reconcile": 7_200.0,
}

# The lanes of events: none waits for another, whatever its handlers wait for.
FREEZES: Final = Lane("freezes", at_once=8, limit_seconds=120)
CALLS: Final = Lane("calls", at_once=32, limit_seconds=60)
CREDITS: Final = Lane("credits", at_once=32, limit_seconds=60)
RAZORPAY: Final = Lane("razorpay", at_once=64, limit_seconds=120)

# The lane and the handlers of each event of the outbox. Each is idempotent (core/outbox.py).
HANDLERS: dict[str, tuple[Lane, list[outbox.Handler]]] = {
    "CallEnded": (CALLS, [dispatcher.on_call_ended, statistics.on_call_ended]),
    "KeyPressed": (CALLS, [results.on_key_pressed]),
    "CallResultChanged": (CALLS, [results.on_result_changed, statistics.on_call_ended]),
    "WalletCredited": (CREDITS, [dispatcher.on_wallet_credited]),
    "WalletUnfrozen": (CREDITS, [dispatcher.on_wallet_credited]),
    "WalletFrozen": (FREEZES, [monitor.end_calls_of_frozen]),
    webhooks.EVENT: (RAZORPAY, [webhooks.apply_webhook]),
}

_tasks: dict[str, asyncio.Task[None]] = {}
# When the running turn of a job has to be over.
_deadlines: dict[str, float] = {}


# --- verbs --------------------------------------------------------------------------------------


async def start() -> None:
    """Register the handlers of events and start this process's jobs."""
    register_handlers()
    for lane in outbox.lanes():
        name = f"deliver {lane.name}"
        _tasks[name] = asyncio.create_task(_deliver(name, lane), name=name)
    for name, (job, pause_seconds) in JOBS.items():
        _tasks[name] = asyncio.create_task(_repeat(name, job, pause_seconds), name=name)


def register_handlers() -> None:
    """Register the handlers at the outbox; idempotent. Code that delivers events without `start` calls
    this before."""
    for name, (lane, handlers) in HANDLERS.items():
        for handler in handlers:
            outbox.on(name, handler, lane)


async def stop() -> None:
    """Stop them; what they had claimed is given back, or claimed again when its lease runs out."""
    for task in _tasks.values():
        task.cancel()
    await asyncio.gather(*_tasks.values(), return_exceptions=True)
    _tasks.clear()
    _deadlines.clear()
    await single_calls.stop()
    await monitor.stop()
    await reconcile.stop()
    await audit_runs.stop()


def is_running() -> bool:
    """Whether every job of this process runs and none hangs (for `/ready`)."""
    return bool(_tasks) and not stuck_jobs()


def stuck_jobs() -> list[str]:
    """The names of the jobs that have ended or hang."""
    now = time.monotonic()
    late = {name for name, deadline in _deadlines.items() if now > deadline}
    late.update(f"deliver {name}" for name in outbox.stalled_lanes())
    return sorted(late | {name for name, task in _tasks.items() if task.done()})


async def _deliver(name: str, lane: Lane) -> None:
    """Deliver the events of a lane; when that ends, which it never should, begin again."""
    while True:
        await _guarded(name, lambda: outbox.deliver(lane))
        await asyncio.sleep(1.0)


async def _repeat(name: str, job: Job, pause_seconds: float) -> None:
    while True:
        seconds = LIMITS_SECONDS.get(name, LIMIT_SECONDS)
        _deadlines[name] = time.monotonic() + seconds
        await _guarded(name, job, seconds=seconds)
        del _deadlines[name]
        # A little jitter keeps processes from querying at the same moments.
        await asyncio.sleep(pause_seconds * random.uniform(0.8, 1.2))  # noqa: S311


async def _guarded(name: str, job: Job, *, seconds: float | None = None) -> None:
    """Run a job, for `seconds` at most. Whatever comes of it is logged, and the job is repeated: neither
    an exception nor a cancellation that is not ours ends the worker."""
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            await job()
        if not limit.expired():
            return
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        log.error("%s was cancelled from inside", name)
    except Exception as problem:
        is_passing = isinstance(problem, Problem) and problem.status == 503
        if is_passing or database.is_away(problem):
            log.warning("%s: database away: %s", name, type(problem).__name__)
        elif not limit.expired():
            log.error("%s failed", name, exc_info=problem)
    if limit.expired():
        log.error("%s took longer than %g s: cancelled, and repeated", name, seconds)
    await asyncio.sleep(1.0)
