"""Hashes, tokens, revocations that every process hears, and limits that hold across processes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

import main
import users
from auth import devices, rate_limits
from auth.devices import Client
from core import config, database
from core.errors import TooManyRequests, Unavailable
from tests.support.service import (
    PASSWORD,
    ROOT,
    Service,
    new_key,
    running,
    second_process,
    test_settings,
)

NUMBER = "+919876543210"


@pytest.fixture(scope="module")
async def limited(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for the tests of the table."""
    async with running(test_settings(mongodb_uri)) as started:
        yield started


# --- rate limits --------------------------------------------------------------------------------


async def test_wrong_passwords_are_limited_across_processes_and_right_ones_are_not(
    mongodb_uri: str,
) -> None:
    async with running(test_settings(mongodb_uri, login_attempts_per_minute=4)) as service:
        person, other = await service.signup(), await service.signup()
        right = {"email": person.email, "password": PASSWORD}
        for _ in range(8):
            assert (await service.post("/api/auth/login", json=right)).status_code == 200
        async with second_process(service.settings) as there:
            wrong = {"email": person.email.upper(), "password": "not the password"}
            statuses = []
            for turn in range(5):
                client = (service.client, there)[turn % 2]
                answer = await client.post("/api/auth/login", json=wrong)
                statuses.append(answer.status_code)
            assert statuses == [401] * 4 + [429]
            for client in (service.client, there):
                answer = await client.post("/api/auth/login", json=right)
                assert answer.status_code == 429, "locked for whoever asks, on both"
                assert answer.json()["code"] == "rate_limited"
                assert 1 <= int(answer.headers["retry-after"]) <= 60
        elsewhere = {"email": other.email, "password": PASSWORD}
        assert (await service.post("/api/auth/login", json=elsewhere)).status_code == 200


async def test_somebody_who_guesses_elsewhere_does_not_keep_the_owner_out(
    mongodb_uri: str,
) -> None:
    settings = test_settings(mongodb_uri, login_attempts_per_minute=1)
    async with running(settings) as service:
        person = await service.signup()
        right = {"email": person.email, "password": PASSWORD}
        token = (await service.post("/api/auth/login", json=right)).json()["device_token"]
        account = users.email_key(person.email)

        async def guess(address: str) -> bool:
            """Whether the guess reached the password."""
            wrong = users.log_in(person.email, "wrong", client=Client(address))
            with pytest.raises((users.InvalidCredentials, TooManyRequests)) as refused:
                await wrong
            return isinstance(refused.value, users.InvalidCredentials)

        assert [await guess("203.0.113.7") for _ in range(2)] == [True, False]
        assert (await service.post("/api/auth/login", json=right)).status_code == 200
        # From many networks: the whole account has an hour's attempts, and they are used up.
        addresses = [f"2001:db8:{number:x}::1" for number in range(20)]
        reached = [await guess(address) for address in addresses]
        spent = settings.login_attempts_per_minute * rate_limits.LOGIN_FAILURES_PER_ACCOUNT
        assert reached.count(True) == spent - 1
        stranger = await service.post("/api/auth/login", json=right)
        assert stranger.status_code == 429
        assert 60 < int(stranger.headers["retry-after"]) <= 3_600
        known = {"X-Device-Token": token}
        for _ in range(3):
            answer = await service.post("/api/auth/login", json=right, headers=known)
            assert answer.status_code == 200, "a known device is let through"
        # It is known to this account alone, and has attempts of its own, which end as well.
        other = await service.signup()
        assert devices.find_device(token, users.email_key(other.email)) is None
        assert devices.find_device(person.token, account) is None, "no access token is one"
        assert devices.find_device(token[:-4] + "AAAA", account) is None
        wrong = {"email": person.email, "password": "wrong"}
        statuses = [
            (await service.post("/api/auth/login", json=wrong, headers=known)).status_code
            for _ in range(2)
        ]
        assert statuses == [401, 429]
        me = await service.get("/api/auth/me", headers={"Authorization": f"Bearer {token}"})
        assert me.status_code == 401, "a device token opens nothing"


@pytest.fixture
def one_a_minute(book: config.Settings) -> None:
    config.use(book.model_copy(update={"login_attempts_per_minute": 1}))


@pytest.mark.usefixtures("one_a_minute")
async def test_the_pauses_between_guesses_grow() -> None:
    pauses: list[int] = []
    for _ in range(15):
        try:
            await rate_limits.limit_logins("203.0.113.7", "a@example.com")
        except TooManyRequests as refused:
            pauses.append(int(refused.headers["Retry-After"]))
        # As if the windows that are over first had ended: no test waits for a minute.
        rate_limits._refused.clear()
        of_address, minute, hour, *_ = rate_limits._login_budgets(
            "203.0.113.7", "a@example.com", None
        )
        over = [of_address, minute, hour] if pauses else [of_address, minute]
        for budget in over:
            await rate_limits._limiter().clear(*budget)
    assert 60 < pauses[0] <= 3_600, "of the hour"
    assert 3_600 < pauses[-1] <= 86_400, "of the day"


@pytest.mark.usefixtures("one_a_minute")
async def test_a_refused_guess_costs_no_question_to_the_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted = 0
    count = rate_limits._count

    async def counting(*budget: Any) -> None:
        nonlocal counted
        counted += 1
        await count(*budget)

    monkeypatch.setattr(rate_limits, "_count", counting)
    refused = 0
    for number in range(200):
        with contextlib.suppress(TooManyRequests):
            await rate_limits.limit_logins("203.0.113.7", f"somebody{number}@example.com")
            continue
        refused += 1
    allowed = rate_limits.LOGIN_FAILURES_PER_ADDRESS
    assert refused == 200 - allowed
    assert counted < 5 * allowed + 20


async def test_one_address_cannot_try_passwords_on_many_accounts(mongodb_uri: str) -> None:
    async with running(test_settings(mongodb_uri, login_attempts_per_minute=1)) as service:
        statuses = []
        for turn in range(rate_limits.LOGIN_FAILURES_PER_ADDRESS + 1):
            form = {"username": f"nobody{turn}@example.com", "password": PASSWORD}
            statuses.append((await service.post("/api/auth/token", data=form)).status_code)
        assert statuses == [401] * rate_limits.LOGIN_FAILURES_PER_ADDRESS + [429]


async def test_sign_ups_from_one_address_are_limited(mongodb_uri: str) -> None:
    async with running(test_settings(mongodb_uri, signups_per_hour=2)) as service:
        await service.signup()
        await service.signup()
        body = {"email": "third@example.com", "password": PASSWORD, "name": "Third"}
        answer = await service.post("/api/auth/signup", json=body)
        assert answer.status_code == 429
        assert 1 <= int(answer.headers["retry-after"]) <= 3600
        assert await database.db.users.find_one({"email_key": body["email"]}) is None


def test_the_default_limit_of_sign_ups_is_tighter_in_production(settings: config.Settings) -> None:
    def limit(**changes: Any) -> int:
        config.use(settings.model_copy(update=changes))
        return rate_limits.LIMITS["signups"].allowed

    assert limit(app_env="production") == 100
    assert limit(app_env="development") == 10_000
    assert limit(app_env="development", signups_per_hour=3) == 3


# --- the table of limits ------------------------------------------------------------------------


def test_the_documents_have_the_table_of_limits() -> None:
    page = (ROOT / "docs" / "operations.md").read_text().split("## Limits\n", 1)[1]
    windows = {60: "minute", 3_600: "hour"}
    for limit in rate_limits.LIMITS.values():
        row = (
            f"| {limit.counts} | {limit.per} | {windows[limit.window_seconds]} | `{limit.setting}` "
            f"| {limit.production:,} | {limit.elsewhere:,} "
            f"| {'let through' if limit.lets_through else '503'} |"
        )
        assert row in page, row


def test_every_limit_has_its_setting_and_its_routes(settings: config.Settings) -> None:
    schema = main.create_app().openapi()
    routes = {f"{method} {path}" for path, methods in schema["paths"].items() for method in methods}
    for limit in rate_limits.LIMITS.values():
        assert limit.setting.lower() in config.Settings.model_fields
        assert limit.production <= limit.elsewhere
        for route in limit.routes:
            method, path = route.split(" ")
            assert f"{method.lower()} {path}" in routes, route
            assert "429" in schema["paths"][path][method.lower()]["responses"], route


@pytest.mark.parametrize(
    ("setting", "method", "path", "body"),
    [
        ("orders_per_minute", "POST", "/api/payment/create-order", {"amount": 100}),
        ("campaigns_per_hour", "POST", "/api/campaigns", {}),
        ("uploads_per_minute", "POST", "/api/campaigns/upload", {}),
        ("downloads_per_minute", "GET", "/api/transactions/download", None),
        ("quotes_per_minute", "POST", "/api/calls/quote", {"to": NUMBER, "duration_seconds": 60}),
        ("idempotency_keys_per_hour", "POST", "/api/call", {"to": NUMBER}),
    ],
)
async def test_what_is_limited_is_counted_for_each_user_and_says_so(
    limited: Service, past_the_boundary: Any, setting: str, method: str, path: str, body: Any
) -> None:
    past_the_boundary()
    asha, ravi = await limited.signup(), await limited.signup()
    config.use(limited.settings.model_copy(update={setting: 3}))
    try:
        answers = [
            await limited.request(method, path, asha, json=body, headers=new_key())
            for _ in range(5)
        ]
        other = await limited.request(method, path, ravi, json=body, headers=new_key())
    finally:
        config.use(limited.settings)
    statuses = [answer.status_code for answer in answers]
    assert 429 not in [*statuses[:3], other.status_code]
    assert statuses[3:] == [429, 429]
    assert [answer.headers["ratelimit-remaining"] for answer in answers] == list("21000")
    assert {answer.headers["ratelimit-limit"] for answer in answers} == {"3"}
    refused = answers[-1]
    assert refused.json()["code"] == "rate_limited"
    assert refused.json()["limit"] == 3
    assert refused.headers["retry-after"] == refused.headers["ratelimit-reset"]
    assert 1 <= int(refused.headers["retry-after"]) <= 3_600


async def test_a_limit_holds_across_processes_and_most_counts_ask_nobody(
    limited: Service, past_the_boundary: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    past_the_boundary()
    whose, asked = database.new_id("usr"), []
    storage = rate_limits._limiter().storage
    incr = type(storage).incr

    async def counted(self: Any, key: str, expiry: int, amount: int = 1) -> int:
        asked.append(key)
        return await incr(self, key, expiry, amount)

    monkeypatch.setattr(type(storage), "incr", counted)
    processes: list[dict[Any, Any]] = [{}, {}]
    config.use(limited.settings.model_copy(update={"quotes_per_minute": 200}))
    allowed = 0
    try:
        for turn in range(400):
            monkeypatch.setattr(rate_limits, "_shares", processes[turn % 2])
            with contextlib.suppress(TooManyRequests):
                await rate_limits.count("quotes", whose)
                allowed += 1
    finally:
        config.use(limited.settings)
    assert allowed == 200
    assert len(asked) <= 22, (
        "a twentieth of the limit is taken at once, and a refusal is remembered"
    )


async def test_requests_at_once_never_pass_a_limit_nor_miss_what_is_left(
    limited: Service, past_the_boundary: Any
) -> None:
    past_the_boundary()
    whose = database.new_id("usr")
    config.use(limited.settings.model_copy(update={"quotes_per_minute": 50}))
    try:
        told = await asyncio.gather(
            *(rate_limits.count("quotes", whose) for _ in range(80)), return_exceptions=True
        )
    finally:
        config.use(limited.settings)
    assert sum(answer is None for answer in told) == 50
    assert sum(isinstance(answer, TooManyRequests) for answer in told) == 30


async def test_a_counter_that_cannot_be_asked_is_not_zero(
    limited: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any, **__: Any) -> int:
        raise Unavailable("The database is away.")

    monkeypatch.setattr(type(rate_limits._limiter().storage), "incr", away)
    asha = database.new_id("usr")
    for name, limit in rate_limits.LIMITS.items():
        if limit.lets_through:
            await rate_limits.count(name, asha)
        else:
            with pytest.raises(Unavailable):
                await rate_limits.count(name, asha)


def test_production_limits_calls_and_rupees_unless_told_otherwise(
    settings: config.Settings,
) -> None:
    def of(**changes: Any) -> tuple[int | None, int | None, int | None]:
        chosen = settings.model_copy(update=changes)
        return (chosen.call_limit_per_minute, chosen.call_limit_per_day, chosen.spend_cap_paise)

    assert of() == (None, None, None)
    assert of(app_env="production") == (300, 10_000, 50_000_00)
    none = {"calls_per_minute": 0, "calls_per_day": 0, "daily_spend_cap": Decimal(0)}
    assert of(app_env="production", **none) == (None, None, None)
    assert of(calls_per_day=5) == (None, 5, None)


def test_one_ipv6_customer_is_one_address() -> None:
    network = rate_limits._network
    assert network("2001:db8:1:2:3:4:5:6") == network("2001:db8:1:2:ffff::1")
    assert network("2001:db8:1:2::1") != network("2001:db8:1:3::1")
    assert network("::ffff:203.0.113.7") == network("203.0.113.7") == "203.0.113.7"
    assert network("unknown") == "unknown"
    # For log-ins it is what one site has, and one site has many /64.
    site = rate_limits.login_network
    assert site("2001:db8:1:2::1") == site("2001:db8:1:3::1") != site("2001:db8:2:2::1")
    assert site("203.0.113.7") == "203.0.113.7"
