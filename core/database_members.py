"""Settings of MongoDB's members that the service depends on: looked at, and reported when they differ."""

import logging

from prometheus_client import Gauge

from core import database

log = logging.getLogger(__name__)

# A killed process leaves its wallets locked for so long; docs/operations.md says how to set it.
LIFETIME_SECONDS = 5

_lifetime = Gauge(
    "mongodb_transaction_lifetime_seconds",
    "The largest transactionLifetimeLimitSeconds that a member was found with",
    multiprocess_mode="max",
)
_reported: str | None = None


async def find_wrong_setting() -> str | None:
    """What a member is set to that it should not be, with what to do; None when all is right, or when
    this user of MongoDB may not read it. Raises one of `database.AWAY`."""
    try:
        seconds = max(await database.transaction_lifetimes())
    except database.AWAY:
        raise
    except database.AnyError as refused:
        log.debug("transactionLifetimeLimitSeconds cannot be read: %s", refused)
        return None
    _lifetime.set(seconds)
    if seconds <= LIFETIME_SECONDS:
        return None
    return (
        f"a member of MongoDB has transactionLifetimeLimitSeconds={seconds}: after a kill of this "
        f"service wallets stay locked for so long. Set it to {LIFETIME_SECONDS} in each member's "
        "configuration (docs/operations.md)."
    )


async def report_wrong_setting() -> None:
    """Warn of another setting than the one that is asked for, once for each. A job: a setting that was
    made at run time is gone when its member restarts."""
    global _reported
    wrong = await find_wrong_setting()
    if wrong is not None and wrong != _reported:
        log.warning("%s", wrong)
    _reported = wrong
