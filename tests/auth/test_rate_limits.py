"""Hashes, tokens, revocations that every process hears, and limits that hold across processes."""

from typing import Any

from auth import rate_limits
from core import database
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
