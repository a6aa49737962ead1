"""Rate limits of log-ins, sign-ups and look-ups, counted in MongoDB for all processes."""

import ipaddress
import math
import time
from typing import Final

from limits import RateLimitItemPerDay, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.aio.storage import MongoDBStorage
from limits.aio.strategies import FixedWindowRateLimiter
from limits.limits import RateLimitItem

from core import config, database
from core.errors import TooManyRequests

# Times LOGIN_ATTEMPTS_PER_MINUTE. An office shares an address; somebody who guesses has many.
LOGIN_FAILURES_PER_ADDRESS: Final = 10  # a minute
LOGIN_FAILURES_PER_ACCOUNT: Final = 10  # an hour
# The pauses grow: when a minute's attempts are used up, then an hour's, then a day's.
LOGIN_FAILURES_PER_HOUR: Final = 3
LOGIN_FAILURES_PER_DAY: Final = 10
SECOND_FACTOR_FAILURES_PER_HOUR: Final = 10
SECOND_FACTOR_FAILURES_PER_DAY: Final = 30
# So long a process refuses without asking the database again.
_REFUSED_WITHOUT_ASKING_SECONDS: Final = 2.0
_REFUSALS_REMEMBERED_MAX: Final = 10_000


# --- verbs --------------------------------------------------------------------------------------

_limiter_of_client: tuple[object, FixedWindowRateLimiter] | None = None


async def limit_signups(address: str) -> None:
    """Count a sign-up from `address`; TooManyRequests above the limit an hour."""
    await _count(RateLimitItemPerHour(config.settings().signup_limit), "signup", _network(address))


async def limit_lookups(user_id: str) -> None:
    """Count a look-up at Razorpay for this user; TooManyRequests above the limit a minute."""
    allowed = config.settings().payment_lookups_per_minute
    await _count(RateLimitItemPerMinute(allowed), "lookup", user_id)


# --- log-ins ------------------------------------------------------------------------------------

Budget = tuple[RateLimitItem, str, str]  # how many in what time, of what, of whom


async def limit_logins(address: str, account: str, *, device_id: str | None = None) -> None:
    """Count an attempt to log in to `account` (an e-mail key).

    It counts for the network that it comes from, for account and network together, and for the account
    from wherever; an attempt from a known device (`devices.find_device`) counts for that device alone,
    so it is let through although others have used up what the account has. TooManyRequests when one of
    them is used up. `forgive_login` removes the attempt.
    """
    for budget in _login_budgets(address, account, device_id):
        await _count_or_refuse(budget)


async def forgive_login(address: str, account: str, *, device_id: str | None = None) -> None:
    """Remove an attempt that succeeded. Failures before it are forgiven where it came from; what the
    network and the account have in all is not given back by it."""
    for limit, scope, name in _login_budgets(address, account, device_id):
        if scope in ("login-address", "login-account"):
            await _limiter().storage.incr(limit.key_for(scope, name), limit.get_expiry(), amount=-1)
        else:
            await _limiter().clear(limit, scope, name)


async def limit_second_factor(user_id: str, *, device_id: str | None = None) -> None:
    """Count a guess of a second factor, which only somebody with the password can make; from a known
    device for itself. TooManyRequests when the hour's or the day's are used up.
    `forgive_second_factor` removes it."""
    for budget in _second_factor_budgets(device_id or user_id):
        await _count_or_refuse(budget)


async def forgive_second_factor(user_id: str, *, device_id: str | None = None) -> None:
    """Remove the guesses before one that was right."""
    for limit, scope, name in _second_factor_budgets(device_id or user_id):
        await _limiter().clear(limit, scope, name)


def login_network(address: str) -> str:
    """The network that an attempt to log in is counted for: an IPv4 address, or of IPv6 the /48, which
    is what one site has."""
    return _network(address, ipv6_prefix=48)


def _login_budgets(address: str, account: str, device_id: str | None) -> list[Budget]:
    allowed = config.settings().login_attempts_per_minute
    per_minute = RateLimitItemPerMinute(allowed)
    per_hour = RateLimitItemPerHour(allowed * LOGIN_FAILURES_PER_HOUR)
    per_day = RateLimitItemPerDay(allowed * LOGIN_FAILURES_PER_DAY)
    if device_id is not None:
        return [(limit, "login-device", device_id) for limit in (per_minute, per_hour, per_day)]
    network, whose = login_network(address), database.stable_id("acc", account)
    pair = database.stable_id("pair", whose, network)
    return [
        (
            RateLimitItemPerMinute(allowed * LOGIN_FAILURES_PER_ADDRESS),
            "login-address",
            network,
        ),
        (per_minute, "login-pair", pair),
        (per_hour, "login-pair", pair),
        (per_day, "login-pair", pair),
        (RateLimitItemPerHour(allowed * LOGIN_FAILURES_PER_ACCOUNT), "login-account", whose),
    ]


def _second_factor_budgets(whose: str) -> list[Budget]:
    return [
        (RateLimitItemPerHour(SECOND_FACTOR_FAILURES_PER_HOUR), "second-factor", whose),
        (RateLimitItemPerDay(SECOND_FACTOR_FAILURES_PER_DAY), "second-factor", whose),
    ]


# What was refused a moment ago: until when it is refused without asking, and when to come back.
_refused: dict[str, tuple[float, int]] = {}


async def _count_or_refuse(budget: Budget) -> None:
    """`_count`, which refuses again what it has just refused: a hundred guesses a second must cost
    nothing."""
    key = budget[0].key_for(*budget[1:])
    known = _refused.get(key)
    if known is not None and known[0] > time.monotonic():
        raise _too_many(known[1])
    try:
        await _count(*budget)
    except TooManyRequests as refusal:
        if len(_refused) >= _REFUSALS_REMEMBERED_MAX:
            _refused.clear()
        seconds: int = refusal.extra["retry_after_seconds"]
        until = time.monotonic() + min(seconds, _REFUSED_WITHOUT_ASKING_SECONDS)
        _refused[key] = (until, seconds)
        raise


# --- counting -----------------------------------------------------------------------------------


async def _count(limit: RateLimitItem, scope: str, name: str) -> None:
    limiter = _limiter()
    if await limiter.hit(limit, scope, name):
        return
    window = await limiter.get_window_stats(limit, scope, name)
    seconds = min(max(math.ceil(window.reset_time - time.time()), 1), limit.get_expiry())
    raise _too_many(seconds)


def _too_many(seconds: int) -> TooManyRequests:
    return TooManyRequests(
        f"Too many attempts; try again in {seconds} seconds.",
        headers={"Retry-After": str(seconds)},
        retry_after_seconds=seconds,
    )


def forget_connection() -> None:
    """Drop the limiter of a client that is closed: the next one makes its own."""
    global _limiter_of_client
    _limiter_of_client = None
    _refused.clear()


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


def _network(address: str, *, ipv6_prefix: int = 64) -> str:
    """The address, or for IPv6 its /64, which one customer has as a whole."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, ipv6_prefix), strict=False))
