"""Settings of MongoDB's members that the service depends on: looked at, and reported when they differ."""

import asyncio
import contextlib
import logging

from prometheus_client import Gauge

from core import database

log = logging.getLogger(__name__)

# A killed process leaves its wallets locked for so long; docs/operations.md says how to set it.
LIFETIME_SECONDS = 5
_PAUSE_SECONDS = 60.0

_lifetime = Gauge(
    "mongodb_transaction_lifetime_seconds",
    "The largest transactionLifetimeLimitSeconds that a member was found with",
    multiprocess_mode="max",
)
_task: asyncio.Task[None] | None = None


async def start() -> None:
    """Look at the members now and every minute: a setting of one that was restarted may be gone."""
    global _task
    _task = asyncio.create_task(_look_always(), name="members of MongoDB")


async def stop() -> None:
    """Stop looking."""
    global _task
    task, _task = _task, None
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _look_always() -> None:
    reported: int | None = None
    while True:
        with contextlib.suppress(*database.AWAY):
            reported = await _look(reported)
        await asyncio.sleep(_PAUSE_SECONDS)


async def _look(reported: int | None) -> int | None:
    """Warn of another value than the one that is asked for, once for each value; what was reported."""
    try:
        seconds = max(await database.transaction_lifetimes())
    except database.AnyError as refused:
        if reported is None:
            log.info("transactionLifetimeLimitSeconds cannot be read: %s", refused)
        return 0
    _lifetime.set(seconds)
    if seconds > LIFETIME_SECONDS and seconds != reported:
        log.warning(
            "a member of MongoDB has transactionLifetimeLimitSeconds=%d: after a kill of this service"
            " wallets stay locked for so long. Set it to %d in each member's configuration"
            " (docs/operations.md).",
            seconds,
            LIFETIME_SECONDS,
        )
    return seconds
