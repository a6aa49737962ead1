"""The second factor: set up, asked for, used once each; and what is open without one."""

import asyncio
import datetime as dt
import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any

import pyotp
import pytest
from pydantic import SecretStr

import users
from auth import rate_limits, totp
from core import clock, config, database
from tests.support.service import (
    PASSWORD,
    Person,
    Service,
    running,
    status_of,
    test_settings,
)

Advance = Callable[[int], None]


@pytest.fixture(scope="module")
async def shared(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for the questions of this module."""
    settings = test_settings(mongodb_uri, login_attempts_per_minute=1000)
    async with running(settings) as started:
        yield started


@pytest.fixture
def advance(monkeypatch: pytest.MonkeyPatch) -> Advance:
    """Moves the clock of this process ahead by so many seconds: each code is of a time of its own."""
    real, ahead = clock.now, dt.timedelta()

    def move(seconds: int) -> None:
        nonlocal ahead
        ahead += dt.timedelta(seconds=seconds)

    monkeypatch.setattr(clock, "now", lambda: real() + ahead)
    return move


def code_of(secret: str) -> str:
    """What the app shows: of the next half minute, which is taken for a whole minute from now on."""
    return pyotp.TOTP(secret).at(clock.now() + dt.timedelta(seconds=30))


async def log_in(service: Service, person: Person, code: str | None = None, **headers: str) -> Any:
    body = {"email": person.email, "password": PASSWORD}
    if code is not None:
        body["totp_code"] = code
    return await service.post("/api/auth/login", json=body, headers=headers)


async def set_up(service: Service, person: Person) -> tuple[str, list[str]]:
    """The secret and the recovery codes of a second factor that is confirmed."""
    secret = (await service.post("/api/auth/totp", person)).json()["secret"]
    answer = await service.post("/api/auth/totp/confirm", person, json={"code": code_of(secret)})
    assert answer.status_code == 200, answer.text
    return secret, answer.json()["recovery_codes"]


async def test_a_second_factor_counts_once_the_app_has_shown_that_it_has_the_secret(
    shared: Service, advance: Advance
) -> None:
    person = await shared.signup()
    none = await shared.post("/api/auth/totp/confirm", person, json={"code": "123456"})
    assert none.status_code == 404
    first = (await shared.post("/api/auth/totp", person)).json()
    started = (await shared.post("/api/auth/totp", person)).json()
    assert first["secret"] != started["secret"], "beginning again replaces it"
    assert pyotp.parse_uri(started["otpauth_uri"]).secret == started["secret"]
    assert (await log_in(shared, person)).status_code == 200, "not confirmed: it does not count"
    other = (await log_in(shared, person)).json()["access_token"]
    for wrong in (code_of(first["secret"]), "12345", "x" * 40):
        answer = await shared.post("/api/auth/totp/confirm", person, json={"code": wrong})
        assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")
    code = code_of(started["secret"])
    confirmed = await shared.post(
        "/api/auth/totp/confirm", person, json={"code": f"{code[:3]} {code[3:]}"}
    )
    codes = confirmed.json()["recovery_codes"]
    assert len(set(codes)) == totp.RECOVERY_CODES
    assert await status_of(shared, other) == 401, "it has not shown a second factor"
    assert (await shared.get("/api/auth/me", person)).json()["second_factor"] is True
    stored = str(await database.db.users.find_one({"_id": person.id}))
    for secret in (started["secret"], *codes):
        assert secret not in stored
    for path, body in (("/api/auth/totp", None), ("/api/auth/totp/confirm", {"code": code})):
        answer = await shared.post(path, person, json=body)
        assert (answer.status_code, answer.json()["code"]) == (409, "second_factor_active")


async def test_a_log_in_needs_a_code_and_takes_none_twice(
    shared: Service, advance: Advance
) -> None:
    person = await shared.signup()
    secret, codes = await set_up(shared, person)
    without = await log_in(shared, person)
    assert (without.status_code, without.json()["code"]) == (401, "second_factor_required")
    assert without.headers["www-authenticate"] == "Bearer"
    wrong_password = await shared.post(
        "/api/auth/login", json={"email": person.email, "password": "wrong", "totp_code": "1"}
    )
    assert wrong_password.json()["code"] == "invalid_credentials"
    advance(60)
    code = code_of(secret)
    answers = await asyncio.gather(*(log_in(shared, person, code) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401, 401]
    answers = await asyncio.gather(*(log_in(shared, person, codes[3].upper()) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401, 401]
    advance(60)
    form = {"username": person.email, "password": PASSWORD}
    refused = await shared.post("/api/auth/token", data=form)
    assert refused.json()["code"] == "second_factor_required"
    taken = await shared.post("/api/auth/token", data=form | {"client_secret": code_of(secret)})
    assert taken.status_code == 200


async def test_guesses_of_a_code_are_limited_and_a_known_device_is_let_through(
    shared: Service, advance: Advance, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = 3  # each guess costs a hash of the password
    monkeypatch.setattr(rate_limits, "SECOND_FACTOR_FAILURES_PER_HOUR", limit)
    person = await shared.signup()
    _, codes = await set_up(shared, person)
    token = (await log_in(shared, person, codes[0])).json()["device_token"]
    statuses = [(await log_in(shared, person, "000000")).status_code for _ in range(limit + 1)]
    assert statuses == [401] * limit + [429]
    locked = await log_in(shared, person, codes[1])
    assert locked.status_code == 429
    assert int(locked.headers["retry-after"]) >= 1
    known = await log_in(shared, person, codes[1], **{"X-Device-Token": token})
    assert known.status_code == 200


@pytest.mark.parametrize("proof", ["password", "code", "recovery code"])
async def test_removing_the_second_factor_needs_a_proof(
    shared: Service, advance: Advance, proof: str
) -> None:
    person = await shared.signup()
    secret, codes = await set_up(shared, person)
    advance(60)
    bodies: list[tuple[dict[str, str], int]] = [
        ({}, 422),
        ({"password": "not the password"}, 401),
        ({"code": "000000"}, 401),
    ]
    for body, status in bodies:
        answer = await shared.request("DELETE", "/api/auth/totp", person, json=body)
        assert answer.status_code == status, body
    good = {
        "password": {"password": PASSWORD},
        "code": {"code": code_of(secret)},
        "recovery code": {"code": codes[0]},
    }[proof]
    for status in (204, 404):
        answer = await shared.request("DELETE", "/api/auth/totp", person, json=good)
        assert answer.status_code == status
    assert (await log_in(shared, person)).status_code == 200


async def test_an_admin_resets_the_second_factor_of_somebody_who_lost_it(
    shared: Service, advance: Advance
) -> None:
    person, admin = await shared.signup(), await shared.admin()
    await set_up(shared, person)
    path = f"/api/admin/users/{person.id}/totp"
    assert (await shared.request("DELETE", path, person)).status_code == 403
    for _ in range(2):
        assert (await shared.request("DELETE", path, admin)).status_code == 204
    assert await status_of(shared, person.token) == 401
    assert (await log_in(shared, person)).status_code == 200


async def test_where_a_second_factor_is_required_admins_set_one_up_before_anything_else(
    shared: Service, advance: Advance
) -> None:
    customer, boss = await shared.signup(), await shared.signup()
    await database.db.users.update_one({"_id": boss.id}, {"$set": {"role": "operator"}})
    users._remove_from_cache(boss.id)
    config.use(shared.settings.model_copy(update={"require_2fa": True}))
    try:
        assert (await shared.get("/api/wallet/balance", customer)).status_code == 200
        refused = await shared.get("/api/wallet/balance", boss)
        assert refused.json()["code"] == "second_factor_setup_required"
        assert refused.status_code == 403
        assert (await shared.get("/api/auth/me", boss)).status_code == 200
        await set_up(shared, boss)
        assert (await shared.get("/api/wallet/balance", boss)).status_code == 200
    finally:
        config.use(shared.settings)


async def test_a_second_factor_outlives_two_changes_of_the_secret(
    shared: Service, advance: Advance
) -> None:
    person = await shared.signup()
    secret, codes = await set_up(shared, person)
    secrets = [shared.settings.jwt_secret, *(SecretStr(letter * 40) for letter in "ab")]
    try:
        for previous, current in itertools.pairwise(secrets):
            changes = {"jwt_secret": current, "jwt_secret_previous": previous}
            config.use(shared.settings.model_copy(update=changes))
            advance(60)
            before = await log_in(shared, person, code_of(secret))
            assert before.status_code == 200, "the previous key opens it"
            assert await users.reencrypt_second_factors() >= 1
            assert await users.reencrypt_second_factors() == 0
        config.use(shared.settings.model_copy(update={"jwt_secret": SecretStr("c" * 40)}))
        advance(60)
        lost = await log_in(shared, person, code_of(secret))
        assert lost.json()["code"] == "second_factor_required", "no key of ours opens it"
        assert await users.reencrypt_second_factors() == 0
        assert (await log_in(shared, person, codes[0])).status_code == 200, "needs no key"
    finally:
        config.use(shared.settings)
        await users.remove_second_factor(person.id)
