"""Hashes, tokens, revocations that every process hears, and limits that hold across processes."""

import contextlib
from typing import Any

import pytest

import users
from auth import devices, rate_limits
from auth.devices import Client
from core import config, database
from core.errors import TooManyRequests
from tests.support.service import PASSWORD, running, second_process, test_settings

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


def test_the_default_limit_of_sign_ups_is_tighter_in_production() -> None:
    def limit(**changes: Any) -> int:
        return test_settings("mongodb://127.0.0.1:1", **changes).signup_limit

    assert limit(app_env="production") == 100
    assert limit(app_env="development") == 10_000
    assert limit(app_env="development", signups_per_hour=3) == 3


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
