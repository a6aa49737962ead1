"""Hashes, tokens, revocations that every process hears, and limits that hold across processes."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jose import jwt
from pymongo.errors import ConnectionFailure

import users
from auth import passwords, rate_limits, sessions
from core import clock, config, database
from core.errors import Unauthenticated
from tests.conftest import PASSWORD, ROOT, Person, Service, free_port, running, test_settings

SECRET = "a-secret-for-the-tests-only-0123456789"  # conftest.test_settings


@contextlib.asynccontextmanager
async def second_process(settings: config.Settings) -> AsyncIterator[httpx.AsyncClient]:
    """Another real process of the same service, on the same database."""
    port = free_port()
    environment = {
        **os.environ,
        "APP_ENV": "test",
        "PORT": str(port),
        "MONGODB_URI": settings.mongodb_uri,
        "MONGODB_DB": settings.mongodb_db,
        "JWT_SECRET": settings.jwt_secret.get_secret_value(),
        "LOGIN_ATTEMPTS_PER_MINUTE": str(settings.login_attempts_per_minute),
        "LOG_LEVEL": "WARNING",
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uvicorn", "main:app", "--port", str(port)),
        *("--no-access-log", "--log-level", "warning"),
        cwd=ROOT,
        env=environment,
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            for _ in range(300):
                assert process.returncode is None, "the second process did not start"
                with contextlib.suppress(httpx.TransportError):
                    if (await client.get("/health")).status_code == 200:
                        break
                await asyncio.sleep(0.1)
            yield client
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def until(question: Any, *, seconds: float = 60.0) -> float:
    """Ask until the answer is true; how many seconds it took."""
    began = time.monotonic()
    while not await question():
        assert time.monotonic() - began < seconds, "it never became true"
        await asyncio.sleep(0.02)
    return time.monotonic() - began


async def in_step() -> bool:
    return sessions.is_current()


async def status_of(service: Service, token: str) -> int:
    answer = await service.get("/api/auth/me", headers={"Authorization": f"Bearer {token}"})
    return answer.status_code


def claims_of(person: Person) -> dict[str, Any]:
    found: dict[str, Any] = jwt.get_unverified_claims(person.token)
    return found


# --- tokens -------------------------------------------------------------------------------------
async def test_a_token_is_refused_unless_it_is_ours_in_time_and_of_a_session(
    service: Service,
) -> None:
    person = await service.signup()
    good = claims_of(person)
    assert await status_of(service, jwt.encode(good, SECRET, algorithm="HS256")) == 200

    def unsigned(header: dict[str, Any]) -> str:
        parts = (json.dumps(part).encode() for part in (header, good))
        return ".".join(urlsafe_b64encode(part).decode().rstrip("=") for part in parts) + "."

    now = int(time.time())
    refused = {
        "expired": jwt.encode({**good, "exp": now - 1}, SECRET),
        "another key": jwt.encode(good, "x" * 40),
        "another algorithm": jwt.encode(good, SECRET, algorithm="HS512"),
        "alg none": unsigned({"alg": "none", "typ": "JWT"}),
        "alg None": unsigned({"alg": None}),
        "another issuer": jwt.encode({**good, "iss": "somebody"}, SECRET),
        "nobody's": jwt.encode({**good, "sub": "usr_nobody"}, SECRET),
        "an operator as user": jwt.encode({**good, "sid": {"$gt": ""}}, SECRET),
        "endless": jwt.encode({**good, "exp": float("inf")}, SECRET),
        "changed": person.token[:-2] + ("AA" if person.token[-2:] != "AA" else "BB"),
        "longer": person.token + "A" * 3000,
        "no token at all": "x",
        "not ASCII": "\xe4\xf6",
    }
    for claim in ("exp", "iat", "iss", "sub", "sid", "epoch"):
        without = {key: value for key, value in good.items() if key != claim}
        refused[f"without {claim}"] = jwt.encode(without, SECRET)
    for what, token in refused.items():
        headers = [(b"authorization", f"Bearer {token}".encode("latin-1"))]
        answer = await service.client.get("/api/auth/me", headers=headers)
        assert answer.status_code == 401, what
        assert answer.json()["code"] == "not_authenticated", what
        assert answer.headers["www-authenticate"] == "Bearer", what
    for header in ("", "Bearer", f"Basic {person.token}", person.token):
        answer = await service.client.get("/api/auth/me", headers={"Authorization": header})
        assert answer.status_code == 401, header


@given(
    st.one_of(st.text(), st.from_regex(r"[\w-]{0,40}\.[\w-]{0,40}\.[\w-]{0,40}", fullmatch=True))
)
def test_no_text_that_we_did_not_sign_is_a_token_or_a_defect(token: str) -> None:
    config.use(test_settings("mongodb://127.0.0.1:1"))
    try:
        with pytest.raises(Unauthenticated):
            sessions._decode(token)
    finally:
        config.use(None)


# --- passwords ----------------------------------------------------------------------------------
async def test_an_unknown_account_costs_the_same_hash_as_a_known_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = await passwords.hash_password(PASSWORD)
    assert real.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    verified: list[str] = []
    verify = passwords._verify

    def counted(password: str, password_hash: str) -> bool:
        verified.append(password_hash)
        return verify(password, password_hash)

    monkeypatch.setattr(passwords, "_verify", counted)
    assert await passwords.verify_password(PASSWORD, real)
    assert not await passwords.verify_password("another one", real)
    assert not await passwords.verify_password(PASSWORD, None)
    assert len(verified) == 3
    known, unknown = (found.rsplit("$", 2)[0] for found in (verified[0], verified[2]))
    assert known == unknown, "the same kind of hash with the same parameters"


async def test_a_password_typed_on_another_keyboard_is_the_same_password() -> None:
    composed, decomposed = "caf\u00e9 am See 12", "cafe\u0301 am See 12"
    assert await passwords.verify_password(decomposed, await passwords.hash_password(composed))


async def test_hashing_leaves_the_loop_free_and_a_flood_is_refused() -> None:
    beats = 0

    async def heart() -> None:
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0.005)

    beating = asyncio.create_task(heart())
    results = await asyncio.gather(
        *(passwords.hash_password(PASSWORD) for _ in range(passwords.HASHES_WAITING_MAX + 5)),
        return_exceptions=True,
    )
    beating.cancel()
    refused = [r for r in results if isinstance(r, Exception)]
    assert len(refused) == 5
    assert {type(r).__name__ for r in refused} == {"Unavailable"}
    assert beats > 50


# --- revocations --------------------------------------------------------------------------------
async def test_a_second_process_refuses_within_a_second_what_the_first_one_ended(
    service: Service,
) -> None:
    await until(in_step)
    async with second_process(service.settings) as other:

        async def status_there(person: Person, path: str = "/api/auth/me") -> int:
            return (await other.get(path, headers=person.headers)).status_code

        gone, stays, deleted, promoted = [await service.signup() for _ in range(4)]
        await asyncio.sleep(1.2)  # the second process follows the stream by now
        for person in (gone, stays, deleted, promoted):
            assert await status_there(person) == 200  # and remembers these

        assert (await service.post("/api/auth/logout", gone)).status_code == 204
        assert (await service.get("/api/auth/me", gone)).status_code == 401, "here at once"

        async def is_refused() -> bool:
            return await status_there(gone) == 401

        assert await until(is_refused) < 10  # else when it expires

        login = await other.post(
            "/api/auth/login", json={"email": stays.email, "password": PASSWORD}
        )
        newer = Person(stays.id, stays.email, login.json()["access_token"])
        answer = await service.post(
            "/api/auth/change-password",
            newer,
            json={"current_password": PASSWORD, "new_password": "a new one, not common"},
        )
        assert answer.status_code == 204

        async def old_is_refused() -> bool:
            return await status_there(stays) == 401

        assert await until(old_is_refused) < 10  # else when it expires
        assert await status_there(newer) == 200
        assert (await service.get("/api/auth/me", newer)).status_code == 200

        await users.delete_user(deleted.id)
        assert (await service.get("/api/auth/me", deleted)).status_code == 401, "here at once"

        async def deleted_is_refused() -> bool:
            return await status_there(deleted) == 401

        assert await until(deleted_is_refused) < 10  # else when it expires

        # An operator changes a role in the database itself.
        await database.db.users.update_one({"_id": promoted.id}, {"$set": {"role": "admin"}})

        async def is_admin() -> bool:
            me = await other.get("/api/auth/me", headers=promoted.headers)
            return bool(me.json()["role"] == "admin")

        assert await until(is_admin) < 10  # else when it expires


async def test_no_request_asks_for_its_session_while_the_stream_vouches_for_it(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    await until(in_step)
    person = await service.signup()
    asked: list[str] = []
    find_together = database.find_together

    async def counted(collection: str, value: str, **options: Any) -> Any:
        asked.append(collection)
        return await find_together(collection, value, **options)

    monkeypatch.setattr(database, "find_together", counted)
    for _ in range(20):
        assert (await service.get("/api/auth/me", person)).status_code == 200
    assert asked.count("sessions") == 0
    assert asked.count("users") <= 2  # the first one; a sign-up heard in between costs one more


async def test_without_the_stream_a_session_is_looked_up(service: Service) -> None:
    person, other = await service.signup(), await service.signup()
    await sessions.stop()
    assert not sessions.is_current()
    assert (await service.get("/api/auth/me", person)).status_code == 200
    # As another process would; nothing tells this one.
    await database.db.sessions.update_one(
        {"_id": claims_of(person)["sid"]}, {"$set": {"revoked_at": clock.now()}}
    )
    assert (await service.get("/api/auth/me", person)).status_code == 401
    assert (await service.get("/api/auth/me", other)).status_code == 200
    await database.db.sessions.delete_one({"_id": claims_of(other)["sid"]})
    assert (await service.get("/api/auth/me", other)).status_code == 401
    await sessions.start()


async def test_what_was_revoked_before_the_stream_opened_is_known_to_it(service: Service) -> None:
    person = await service.signup()
    await sessions.stop()
    await database.db.sessions.update_one(
        {"_id": claims_of(person)["sid"]}, {"$set": {"revoked_at": clock.now()}}
    )
    await sessions.start()
    await until(in_step)
    assert claims_of(person)["sid"] in sessions._revoked
    assert (await service.get("/api/auth/me", person)).status_code == 401


async def test_a_stream_that_falls_silent_is_not_believed(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    await until(in_step)
    person = await service.signup()
    await sessions.stop()

    @contextlib.asynccontextmanager
    async def stuck(where: Any) -> AsyncIterator[Any]:
        async def turns() -> AsyncIterator[None]:
            yield None
            await asyncio.sleep(3600)

        yield turns()

    with monkeypatch.context() as patch:
        patch.setattr(database, "changes", stuck)
        await sessions.start()
        await until(in_step)
        await database.db.sessions.update_one(
            {"_id": claims_of(person)["sid"]}, {"$set": {"revoked_at": clock.now()}}
        )

        async def is_refused() -> bool:
            return (await service.get("/api/auth/me", person)).status_code == 401

        took = await until(is_refused)
        assert 0.5 < took < sessions.STREAM_SILENCE_SECONDS_MAX + 5
        await sessions.stop()
    await sessions.start()


async def test_a_log_out_of_a_session_that_expired_from_the_collection_still_counts(
    service: Service,
) -> None:
    person = await service.signup()
    session_id = claims_of(person)["sid"]
    await database.db.sessions.delete_one({"_id": session_id})
    await until(in_step)
    assert (await service.post("/api/auth/logout", person)).status_code == 204
    kept = await database.db.sessions.find_one({"_id": session_id})
    assert kept is not None
    assert kept["revoked_at"] is not None
    assert (await service.get("/api/auth/me", person)).status_code == 401


async def test_expired_revocations_are_forgotten(service: Service) -> None:
    sessions._revoked["ses_old"] = clock.after(-1)
    sessions._revoked["ses_young"] = clock.after(60)
    sessions._forget_expired()
    assert "ses_old" not in sessions._revoked
    assert "ses_young" in sessions._revoked


async def test_a_database_that_does_not_answer_is_503_and_never_401(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await service.signup()
    await sessions.stop()

    async def away(*_: Any, **__: Any) -> None:
        raise ConnectionFailure("gone")

    async def never(*_: Any, **__: Any) -> None:
        await asyncio.sleep(3600)

    monkeypatch.setattr(sessions, "LOOK_UP_SECONDS_MAX", 0.2)
    for behaviour in (away, never):
        with monkeypatch.context() as patch:
            patch.setattr(database, "find_together", behaviour)
            answer = await service.get("/api/auth/me", person)
            assert answer.status_code == 503
            assert answer.headers["retry-after"]
    assert (await service.get("/api/auth/me", person)).status_code == 200
    await sessions.start()


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


# --- the real thing frozen ----------------------------------------------------------------------
async def test_a_frozen_mongod_is_503_and_thaws_without_a_restart(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    await until(in_step)
    person = await service.signup()
    monkeypatch.setattr(sessions, "LOOK_UP_SECONDS_MAX", 0.5)
    hello = await database.client().admin.command("serverStatus")
    process_id = int(hello["pid"])
    os.kill(process_id, signal.SIGSTOP)
    try:
        await asyncio.sleep(sessions.STREAM_SILENCE_SECONDS_MAX + 0.6)
        answer = await service.get("/api/auth/me", person)
        assert answer.status_code == 503
    finally:
        os.kill(process_id, signal.SIGCONT)

    async def works() -> bool:
        return (await service.get("/api/auth/me", person)).status_code == 200

    await until(works, seconds=60)
    await until(in_step, seconds=60)
