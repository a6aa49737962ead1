"""Rate limits: one table of what a user or an address may do, counted in MongoDB for all processes."""

import contextvars
import dataclasses
import ipaddress
import math
import time
from typing import Final, Literal

from limits import RateLimitItemPerDay, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.aio.storage import MongoDBStorage
from limits.aio.strategies import FixedWindowRateLimiter
from limits.limits import RateLimitItem

from core import clock, config, database
from core.errors import TooManyRequests, Unavailable

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


# --- the table ----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """How often something may be done: `allowed` times in a window of the clock.

    `routes` are counted when a request is admitted, before its body is read (`api/problems.py`).
    `production` and `elsewhere` hold while the setting is empty. When the counter cannot be asked,
    the request is answered 503, unless what is limited costs nothing but time: `lets_through`.
    """

    counts: str
    per: Literal["user", "address"]
    window_seconds: int
    setting: str
    production: int
    elsewhere: int
    routes: tuple[str, ...] = ()
    lets_through: bool = False

    @property
    def allowed(self) -> int:
        """How often, by the settings of this process."""
        chosen = config.settings()
        given: int | None = getattr(chosen, self.setting.lower())
        if given is not None:
            return given
        return self.production if chosen.app_env == "production" else self.elsewhere


_MINUTE: Final = 60
_HOUR: Final = 3_600

# docs/operations.md has this table ("Limits"); tests/auth/test_rate_limits.py compares them. The calls
# and the rupees of a user are counted with the money, in billing/limits.py.
LIMITS: Final[dict[str, Limit]] = {
    "signups": Limit(
        counts="sign-ups",
        per="address",
        window_seconds=_HOUR,
        setting="SIGNUPS_PER_HOUR",
        production=100,
        elsewhere=10_000,
    ),
    "orders": Limit(
        counts="recharge orders asked for",
        per="user",
        window_seconds=_MINUTE,
        setting="ORDERS_PER_MINUTE",
        production=10,
        elsewhere=10_000,
        routes=("POST /api/payment/create-order",),
    ),
    "lookups": Limit(
        counts="payments and open orders looked up at Razorpay",
        per="user",
        window_seconds=_MINUTE,
        setting="PAYMENT_LOOKUPS_PER_MINUTE",
        production=60,
        elsewhere=60,
    ),
    "campaigns": Limit(
        counts="campaigns created, drafts too",
        per="user",
        window_seconds=_HOUR,
        setting="CAMPAIGNS_PER_HOUR",
        production=60,
        elsewhere=10_000,
        routes=("POST /api/campaigns", "POST /api/campaigns/upload"),
    ),
    "uploads": Limit(
        counts="files uploaded",
        per="user",
        window_seconds=_MINUTE,
        setting="UPLOADS_PER_MINUTE",
        production=6,
        elsewhere=1_000,
        routes=(
            "POST /api/campaigns/upload",
            "POST /api/do-not-call/upload",
            "POST /api/campaigns/preview",
            "POST /api/admin/rate-cards",
            "POST /api/admin/rate-cards/preview",
        ),
    ),
    "downloads": Limit(
        counts="CSV files downloaded",
        per="user",
        window_seconds=_MINUTE,
        setting="DOWNLOADS_PER_MINUTE",
        production=20,
        elsewhere=1_000,
        routes=(
            "GET /api/transactions/download",
            "GET /api/calls/download",
            "GET /api/campaigns/{campaign_id}/results",
            "GET /api/campaigns/{campaign_id}/attempts",
            "GET /api/do-not-call/download",
            "GET /api/complaints/download",
            "GET /api/campaigns/{campaign_id}/rejected",
            "GET /api/admin/rate-cards/{version}/download",
            "GET /api/admin/metrics/download",
            "GET /api/admin/users/download",
        ),
        lets_through=True,
    ),
    "quotes": Limit(
        counts="quotes",
        per="user",
        window_seconds=_MINUTE,
        setting="QUOTES_PER_MINUTE",
        production=300,
        elsewhere=100_000,
        routes=("POST /api/calls/quote",),
        lets_through=True,
    ),
    "checkouts": Limit(
        counts="reads of an order by its payment page",
        per="address",
        window_seconds=_MINUTE,
        setting="CHECKOUTS_PER_MINUTE",
        production=600,
        elsewhere=100_000,
        lets_through=True,
    ),
    "idempotency_keys": Limit(
        counts="requests with an `Idempotency-Key`: each key is kept for a week",
        per="user",
        window_seconds=_HOUR,
        setting="IDEMPOTENCY_KEYS_PER_HOUR",
        production=20_000,
        elsewhere=1_000_000,
    ),
}


def limits_of_route(methods: frozenset[str], path: str) -> tuple[str, ...]:
    """The names of the limits that a route counts for."""
    routes = {f"{method} {path}" for method in methods}
    return tuple(name for name, limit in LIMITS.items() if routes & set(limit.routes))


# --- verbs --------------------------------------------------------------------------------------

_limiter_of_client: tuple[object, FixedWindowRateLimiter] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Standing:
    """Where a limit stands after something was counted: what the `RateLimit-*` headers say."""

    allowed: int
    remaining: int
    reset_seconds: int


_standings: contextvars.ContextVar[list[Standing] | None] = contextvars.ContextVar(
    "rate_limit_standings", default=None
)


def collect() -> list[Standing]:
    """The list to which everything that is counted in this context from now on is added."""
    found: list[Standing] = []
    _standings.set(found)
    return found


async def limit_signups(address: str) -> None:
    """Count a sign-up from `address`; TooManyRequests above the limit an hour."""
    await count("signups", _network(address))


async def limit_checkouts(address: str) -> None:
    """Count a read of an order by its payment page; TooManyRequests above the limit a minute."""
    await count("checkouts", _network(address))


async def limit_lookups(user_id: str) -> None:
    """Count a look-up at Razorpay for this user; TooManyRequests above the limit a minute."""
    await count("lookups", user_id)


async def count(name: str, whose: str) -> None:
    """Count one for the limit `name` of this user or network; TooManyRequests above it.

    A process takes a twentieth of the limit from the shared counter at once, in one atomic update, and
    spends it by itself: most counts cost no round trip, and the limit is never passed, whatever
    processes there are. What a process took and did not need is lost until the window ends.
    Raises what the database raises when it cannot be asked, unless the limit lets through.
    """
    limit = LIMITS[name]
    allowed, at = limit.allowed, clock.now().timestamp()
    window = int(at // limit.window_seconds)
    reset_seconds = max(1, math.ceil((window + 1) * limit.window_seconds - at))
    share = _share(name, whose, window, at)
    while share.left == 0 and share.counted < allowed:  # what was taken, another request may spend
        try:
            await _take(share, limit, allowed, f"{name}/{whose}/{window}")
        except Exception as problem:
            is_unknown = isinstance(problem, Unavailable) or database.is_away(problem)
            if limit.lets_through and is_unknown:
                return
            raise
    is_allowed = share.left > 0
    share.left -= is_allowed
    remaining = share.left + max(0, allowed - share.counted)
    if (standings := _standings.get()) is not None:
        standings.append(Standing(allowed, remaining, reset_seconds))
    if not is_allowed:
        raise TooManyRequests(
            f"{allowed} in {_in_words(limit.window_seconds)} are allowed ({limit.counts}); "
            f"try again in {reset_seconds} seconds.",
            headers={"Retry-After": str(reset_seconds)},
            retry_after_seconds=reset_seconds,
            limited_by=name,
            limit=allowed,
        )


_SHARES_MAX: Final = 20_000
_TAKEN_AT_ONCE_MAX: Final = 100


@dataclasses.dataclass(slots=True)
class _Share:
    """What this process has of one window: `left` of what it took, and all that was `counted`."""

    window: int
    ends_at: float
    left: int = 0
    counted: int = 0


_shares: dict[tuple[str, str], _Share] = {}


def _share(name: str, whose: str, window: int, at: float) -> _Share:
    share = _shares.get((name, whose))
    if share is None or share.window != window:
        if len(_shares) >= _SHARES_MAX:
            for key in [key for key, each in _shares.items() if each.ends_at <= at]:
                del _shares[key]
            if len(_shares) >= _SHARES_MAX:
                _shares.clear()  # what they had left is lost: stricter, never looser
        ends_at = (window + 1.0) * LIMITS[name].window_seconds
        share = _shares[name, whose] = _Share(window, ends_at)
    return share


async def _take(share: _Share, limit: Limit, allowed: int, key: str) -> None:
    """Take as many from the shared counter as it has, up to a twentieth of what is allowed."""
    wanted = max(1, min(allowed // 20, _TAKEN_AT_ONCE_MAX))
    storage = _limiter().storage
    counted = await storage.incr(f"limit/{key}", limit.window_seconds, amount=wanted)
    share.counted = max(share.counted, counted)
    share.left += max(0, wanted - max(0, counted - allowed))


def _in_words(seconds: int) -> str:
    return {_MINUTE: "a minute", _HOUR: "an hour"}[seconds]


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
    _shares.clear()
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


def network_of(address: str) -> str:
    """What counts as one address: the address itself, or for IPv6 the network of one customer."""
    return _network(address)


def _network(address: str, *, ipv6_prefix: int = 64) -> str:
    """The address, or for IPv6 its /64, which one customer has as a whole."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, ipv6_prefix), strict=False))
