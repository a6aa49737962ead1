"""Rate limits of log-ins, sign-ups and look-ups, counted in MongoDB for all processes."""

import ipaddress
import math
import time
from typing import Final

from limits import RateLimitItemPerHour, RateLimitItemPerMinute
from limits.aio.storage import MongoDBStorage
from limits.aio.strategies import FixedWindowRateLimiter
from limits.limits import RateLimitItem

from core import config, database
from core.errors import TooManyRequests

LOGIN_FAILURES_PER_ADDRESS: Final = 10  # times the account's limit: an office shares an address


# --- verbs --------------------------------------------------------------------------------------

_limiter_of_client: tuple[object, FixedWindowRateLimiter] | None = None


async def limit_signups(address: str) -> None:
    """Count a sign-up from `address`; TooManyRequests above the limit an hour."""
    await _count(RateLimitItemPerHour(config.settings().signup_limit), "signup", _network(address))


async def limit_lookups(user_id: str) -> None:
    """Count a look-up at Razorpay for this user; TooManyRequests above the limit a minute."""
    allowed = config.settings().payment_lookups_per_minute
    await _count(RateLimitItemPerMinute(allowed), "lookup", user_id)


async def limit_logins(address: str, account: str) -> None:
    """Count an attempt to log in, once for the address and once for the account.

    TooManyRequests above the limit a minute. `forgive_login` removes the attempt.
    """
    for limit, scope, name in _login_limits(address, account):
        await _count(limit, scope, name)


async def forgive_login(address: str, account: str) -> None:
    """Remove an attempt that succeeded: it counts neither for the address nor for the account."""
    (address_limit, scope, name), (account_limit, account_scope, account_name) = _login_limits(
        address, account
    )
    limiter = _limiter()
    await limiter.storage.incr(
        address_limit.key_for(scope, name), address_limit.get_expiry(), amount=-1
    )
    await limiter.clear(account_limit, account_scope, account_name)


def _login_limits(address: str, account: str) -> list[tuple[RateLimitItem, str, str]]:
    allowed = config.settings().login_attempts_per_minute
    return [
        (
            RateLimitItemPerMinute(allowed * LOGIN_FAILURES_PER_ADDRESS),
            "login-address",
            _network(address),
        ),
        (RateLimitItemPerMinute(allowed), "login-account", database.stable_id("acc", account)),
    ]


async def _count(limit: RateLimitItem, scope: str, name: str) -> None:
    limiter = _limiter()
    if await limiter.hit(limit, scope, name):
        return
    window = await limiter.get_window_stats(limit, scope, name)
    seconds = min(max(math.ceil(window.reset_time - time.time()), 1), limit.get_expiry())
    raise TooManyRequests(
        f"Too many attempts; try again in {seconds} seconds.",
        headers={"Retry-After": str(seconds)},
        retry_after_seconds=seconds,
    )


def forget_connection() -> None:
    """Drop the limiter of a client that is closed: the next one makes its own."""
    global _limiter_of_client
    _limiter_of_client = None


class _Counters(MongoDBStorage):
    """The library's counters over this process's own connections.

    The library itself would open its own pool and close it when it is garbage-collected.
    """

    def __init__(self, client: object) -> None:
        super().__init__(
            "async+mongodb://localhost",
            database_name=database.database_name(),
            counter_collection_name="rate_limit_counters",
            window_collection_name="rate_limit_windows",
            connect=False,
        )
        self.storage.close()  # never connected
        self.storage = client

    def __del__(self) -> None:
        """Leave the client open: `core.database` closes it."""


def _limiter() -> FixedWindowRateLimiter:
    """Counts in MongoDB, so that the limit holds across processes and restarts."""
    global _limiter_of_client
    client = database.client()
    if _limiter_of_client is None or _limiter_of_client[0] is not client:
        _limiter_of_client = (client, FixedWindowRateLimiter(_Counters(client)))
    return _limiter_of_client[1]


def network_of(address: str) -> str:
    """What counts as one address: the address itself, or for IPv6 the network of one customer."""
    return _network(address)


def _network(address: str) -> str:
    """The address, or for IPv6 its /64, which one customer has as a whole."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, 64), strict=False))
