"""Background jobs: the list of what every process repeats, and of the handlers of events."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable

import payments
import refunds
from calls import monitor, submissions
from campaigns import dialer
from core import database, outbox
from reconciliation import reconcile, webhooks

log = logging.getLogger(__name__)


# --- vocabulary ---------------------------------------------------------------------------------

Job = Callable[[], Awaitable[object]]

# Each job claims what it works on by leases in MongoDB, so any number of processes may run it.
JOBS: dict[str, tuple[Job, float]] = {
    "extend calls": (monitor.extend_due_calls, 0.25),
    "sweep calls": (monitor.sweep_overdue_calls, 2.0),
    "release submissions": (submissions.release_abandoned, 0.5),
    "dial campaigns": (dialer.dial_due_campaigns, 0.5),
    "poll payments": (payments.poll_pending, 2.0),
    "poll refunds": (refunds.poll_due_refunds, 2.0),
    "reconcile": (reconcile.run_when_due, 30.0),
}

# The handlers of each event of the outbox. Each is idempotent (core/outbox.py).
HANDLERS: dict[str, list[outbox.Handler]] = {
    "CallEnded": [dialer.on_call_ended],
    "WalletCredited": [dialer.on_wallet_credited],
    "WalletUnfrozen": [dialer.on_wallet_credited],
    "WalletFrozen": [monitor.end_calls_of_frozen],
    webhooks.EVENT: [webhooks.apply_webhook],
}

_tasks: list[asyncio.Task[None]] = []


# --- verbs --------------------------------------------------------------------------------------


async def start() -> None:
    """Register the handlers of events and start this process's jobs."""
    register_handlers()
    _tasks.append(asyncio.create_task(_deliver_events(), name="deliver events"))
    for name, (job, pause_seconds) in JOBS.items():
        _tasks.append(asyncio.create_task(_repeat(name, job, pause_seconds), name=name))


def register_handlers() -> None:
    """Register the handlers at the outbox; idempotent. Code that delivers events without `start` calls
    this before."""
    for name, handlers in HANDLERS.items():
        for handler in handlers:
            outbox.on(name, handler)


async def stop() -> None:
    """Stop them; what they had claimed is claimed again when its lease runs out."""
    for task in _tasks:
        task.cancel()
    await asyncio.gather(*_tasks, return_exceptions=True)
    _tasks.clear()


def is_running() -> bool:
    """Whether every job of this process runs (for `/ready`)."""
    return bool(_tasks) and not any(task.done() for task in _tasks)


async def _deliver_events() -> None:
    async def once() -> None:
        while await outbox.deliver_due():
            pass

    while True:
        await _guarded("deliver events", once)
        await outbox.wait_for_work(1.0)


async def _repeat(name: str, job: Job, pause_seconds: float) -> None:
    while True:
        await _guarded(name, job)
        # A little jitter keeps processes from querying at the same moments.
        await asyncio.sleep(pause_seconds * random.uniform(0.8, 1.2))  # noqa: S311


async def _guarded(name: str, job: Job) -> None:
    """Run a job; an exception is logged, and the job is repeated: it does not end the worker."""
    try:
        await job()
    except Exception as problem:
        if database.is_away(problem):
            log.warning("%s: database away: %s", name, type(problem).__name__)
        else:
            log.exception("%s failed", name)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.sleep(1.0)
