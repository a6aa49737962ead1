"""Hashes, tokens, revocations that every process hears, and limits that hold across processes."""

import asyncio
import contextlib
import json
import os
import signal
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jose import jwt
from pydantic import SecretStr
from pymongo.errors import ConnectionFailure

import users
from auth import sessions
from core import clock, config, database
from core.errors import Unauthenticated
from tests.support.service import (
    PASSWORD,
    SECRET,
    Person,
    Service,
    in_step,
    second_process,
    status_of,
    test_settings,
    until,
)


def claims_of(person: Person) -> dict[str, Any]:
    found: dict[str, Any] = jwt.get_unverified_claims(person.token)
    return found


# --- tokens -------------------------------------------------------------------------------------


async def test_a_change_of_the_secret_logs_nobody_out(service: Service) -> None:
    person = await service.signup()
    kid = jwt.get_unverified_header(person.token)["kid"]
    of_0_2_1 = jwt.encode(claims_of(person), SECRET, algorithm="HS256")
    assert "kid" not in jwt.get_unverified_header(of_0_2_1)
    fresh = SecretStr("b" * 40)
    changes = {"jwt_secret": fresh, "jwt_secret_previous": service.settings.jwt_secret}
    config.use(service.settings.model_copy(update=changes))
    for token in (person.token, of_0_2_1):
        assert await status_of(service, token) == 200
    login = {"email": person.email, "password": PASSWORD}
    new = (await service.post("/api/auth/login", json=login)).json()["access_token"]
    assert jwt.get_unverified_header(new)["kid"] != kid
    forged = {
        "signed with the previous key under the new one's name": jwt.encode(
            claims_of(person), SECRET, headers={"kid": jwt.get_unverified_header(new)["kid"]}
        ),
        "a key that is not ours": jwt.encode(claims_of(person), SECRET, headers={"kid": "x"}),
        "a kid that is no text": jwt.encode(claims_of(person), SECRET, headers={"kid": ["x"]}),
    }
    for what, token in forged.items():
        assert await status_of(service, token) == 401, what
    # The previous key goes: what it signed goes with it, also where it was verified before.
    config.use(service.settings.model_copy(update={"jwt_secret": fresh}))
    assert [await status_of(service, token) for token in (new, person.token, of_0_2_1)] == [
        200,
        401,
        401,
    ]
    config.use(service.settings)


@pytest.mark.parametrize("where", ["header", "claims"])
async def test_a_token_of_deeply_nested_json_is_refused_as_any_other(
    service: Service, where: str
) -> None:
    def part(text: str) -> str:
        return urlsafe_b64encode(text.encode()).decode().rstrip("=")

    deep = "[" * 1_400
    header = deep if where == "header" else '{"alg": "HS256"}'
    answer = await service.get(
        "/api/auth/me", headers={"Authorization": f"Bearer {part(header)}.{part(deep)[:1000]}.AA"}
    )
    assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")


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
            sessions._claims_of(token)
    finally:
        config.use(None)


def test_a_token_that_was_verified_before_ends_in_time_and_with_its_key(
    settings: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = int(time.time())
    claims = {"iss": "wallet", "sub": "usr_1", "sid": "ses_1", "epoch": 3, "iat": now}
    token = jwt.encode({**claims, "exp": now + 60}, SECRET)
    for _ in range(2):
        assert sessions._claims_of(token) == sessions.Claims("usr_1", "ses_1", 3)
    with monkeypatch.context() as patch:
        patch.setattr("auth.sessions.time.time", lambda: now + 60.9)
        assert sessions._claims_of(token).user_id == "usr_1"  # its last second
        patch.setattr("auth.sessions.time.time", lambda: now + 61.0)
        patch.setattr(sessions, "_verify", lambda _: pytest.fail("verified again"))
        with pytest.raises(pytest.fail.Exception):
            sessions._claims_of(token)
    assert sessions._claims_of(token).user_id == "usr_1"
    config.use(settings.model_copy(update={"jwt_secret": SecretStr("another key" * 4)}))
    with pytest.raises(Unauthenticated):
        sessions._claims_of(token)


def test_only_so_many_verified_tokens_are_remembered(
    settings: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "_verified_tokens", {})
    monkeypatch.setattr(sessions, "_VERIFIED_TOKENS_MAX", 2)
    now = int(time.time())
    claims = {"iss": "wallet", "sub": "usr_1", "epoch": 0, "iat": now, "exp": now + 60}
    tokens = [jwt.encode({**claims, "sid": f"ses_{n}"}, SECRET) for n in range(3)]
    assert [sessions._claims_of(token).session_id for token in tokens] == [
        "ses_0",
        "ses_1",
        "ses_2",
    ]
    assert list(sessions._verified_tokens) == tokens[1:]
    with pytest.raises(Unauthenticated):
        sessions._claims_of("x")
    assert list(sessions._verified_tokens) == tokens[1:], "what is not ours is not remembered"


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
