"""API keys over HTTP: made, shown once, used where a token goes, rotated, revoked."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

import users
from core import clock
from core.database import db
from tests.support.service import Person, Service, new_key, running, until
from tests.support.service import test_settings as settings_of_tests


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for all tests of this file; each test has users of its own."""
    async with running(settings_of_tests(mongodb_uri, signups_per_hour=100_000)) as started:
        yield started


async def made(service: Service, person: Person, **changes: Any) -> dict[str, Any]:
    body = {"name": "CRM", "scopes": ["wallet:read"], **changes}
    answer = await service.post("/api/api-keys", person, json=body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def status_with(service: Service, key: str) -> int:
    headers = {"Authorization": f"Bearer {key}"}
    return (await service.get("/api/wallet/balance", headers=headers)).status_code


async def test_a_key_is_shown_once_and_goes_where_a_token_goes(service: Service) -> None:
    asha = await service.signup()
    await service.fund(asha, 100)
    key = await made(
        service, asha, scopes=["wallet:read", "calls:read"], daily_spend_cap=250.5, name="  CRM  "
    )
    assert (key["name"], key["daily_spend_cap"], key["last_used_at"]) == ("CRM", 250.5, None)
    assert key["key"].startswith(key["prefix"])
    headers = {"Authorization": f"bearer {key['key']}"}
    balance = await service.get("/api/wallet/balance", headers=headers)
    assert balance.json()["balance"] == 100
    quote = {"to": "+919876543210", "duration_seconds": 30}
    quoted = await service.post("/api/calls/quote", headers=headers, json=quote)
    assert quoted.status_code == 200
    listed = await service.get("/api/api-keys", asha)
    assert [row["key_id"] for row in listed.json()["api_keys"]] == [key["key_id"]]
    assert key["key"] not in listed.text

    async def use_is_shown() -> bool:
        (row,) = (await service.get("/api/api-keys", asha)).json()["api_keys"]
        return row["last_used_at"] is not None

    await until(use_is_shown)


async def test_a_repetition_is_the_same_key_without_its_secret(service: Service) -> None:
    asha, header = await service.signup(), new_key()
    body = {"name": "CRM", "scopes": ["wallet:read"]}
    first, again = [
        await service.post("/api/api-keys", asha, json=body, headers=header) for _ in range(2)
    ]
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json() == {**first.json(), "key": None}
    stored = await db.idempotency_keys.find({"user_id": asha.id}).to_list(None)
    assert len(stored) == 1
    assert first.json()["key"] not in str(stored)
    other = await service.post("/api/api-keys", asha, json={**body, "name": "Shop"}, headers=header)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    rotated = f"/api/api-keys/{first.json()['key_id']}/rotate"
    header = new_key()
    new, replayed = [await service.post(rotated, asha, headers=header) for _ in range(2)]
    assert replayed.json() == {**new.json(), "key": None}
    assert await status_with(service, new.json()["key"]) == 200


async def test_a_rotation_leaves_the_text_before_it_valid_for_a_day_or_not_at_all(
    service: Service,
) -> None:
    asha = await service.signup()
    key = await made(service, asha)
    path = f"/api/api-keys/{key['key_id']}/rotate"
    first = await service.post(path, asha)
    assert first.status_code == 201
    assert first.json()["key_id"] == key["key_id"]
    assert first.json()["previous_valid_until"] > clock.iso(clock.after(86_000))
    for text in (key["key"], first.json()["key"]):
        assert await status_with(service, text) == 200
    second = await service.post(path, asha, json={"overlap_seconds": 0})
    assert second.json()["previous_valid_until"] is None
    texts = (key["key"], first.json()["key"], second.json()["key"])
    assert [await status_with(service, text) for text in texts] == [401, 401, 200]


async def test_a_key_is_dead_when_it_is_revoked_also_by_another_process(service: Service) -> None:
    asha, ravi = await service.signup(), await service.signup()
    mine, other = await made(service, asha), await made(service, asha)
    for key in (mine, other):
        assert await status_with(service, key["key"]) == 200
    path = f"/api/api-keys/{mine['key_id']}"
    assert (await service.request("DELETE", path, ravi)).status_code == 404
    for _ in range(2):
        assert (await service.request("DELETE", path, asha)).status_code == 204
    assert await status_with(service, mine["key"]) == 401
    # As another process writes it: this one learns of it from the change stream.
    revoked = {"$set": {"revoked_at": clock.now(), "slot": None}}
    await db.api_keys.update_one({"_id": other["key_id"]}, revoked)

    async def is_dead() -> bool:
        return await status_with(service, other["key"]) == 401

    await until(is_dead)
    assert (await service.get("/api/api-keys", asha)).json()["api_keys"] == []


async def test_the_keys_of_a_disabled_or_deleted_account_are_dead(service: Service) -> None:
    disabled = await service.disabled()
    await db.users.update_one({"_id": disabled.id}, {"$set": {"disabled_at": None}})

    async def is_back() -> bool:
        return (await service.get("/api/auth/me", disabled)).status_code == 200

    await until(is_back)
    key = (await made(service, disabled))["key"]
    assert await status_with(service, key) == 200
    await db.users.update_one({"_id": disabled.id}, {"$set": {"disabled_at": clock.now()}})

    async def is_dead() -> bool:
        return await status_with(service, key) == 403

    await until(is_dead)
    gone = await service.signup()
    key = (await made(service, gone))["key"]
    await users.delete_user(gone.id)
    assert await status_with(service, key) == 401


async def test_a_key_of_somebody_who_is_no_operator_any_more_sees_their_own_only(
    service: Service,
) -> None:
    operator = await service.operator()
    key = await made(service, operator, scopes=["admin:read", "calls:read"])
    headers = {"Authorization": f"Bearer {key['key']}"}
    assert (await service.get("/api/admin/users", headers=headers)).status_code == 200
    await db.users.update_one({"_id": operator.id}, {"$set": {"role": "user"}})

    async def is_refused() -> bool:
        return (await service.get("/api/admin/users", headers=headers)).status_code == 403

    await until(is_refused)
    assert (await service.get("/api/calls", headers=headers)).json()["calls"] == []


@pytest.mark.parametrize(
    "changes",
    [
        {"name": " "},
        {"name": "x" * 101},
        {"name": "a\u202eb"},
        {"name": 7},
        {"scopes": []},
        {"scopes": ["everything"]},
        {"scopes": "wallet:read"},
        {"scopes": ["admin:read"]},
        {"expires_at": "2020-01-01T00:00:00Z"},
        {"expires_at": "9999-12-31T18:30:00Z"},
        {"expires_at": "tomorrow"},
        {"expires_at": 4_000_000_000},
        {"daily_spend_cap": 0},
        {"daily_spend_cap": -1},
        {"daily_spend_cap": 10.005},
        {"daily_spend_cap": "100"},
    ],
)
async def test_a_key_that_cannot_be_is_refused_with_its_field(
    service: Service, changes: dict[str, Any]
) -> None:
    asha = await service.signup()
    body = {"name": "CRM", "scopes": ["wallet:read"], **changes}
    answer = await service.post("/api/api-keys", asha, json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error"), answer.text
    assert answer.json()["errors"][0]["field"].split(".")[0] in changes
    assert (await service.get("/api/api-keys", asha)).json()["api_keys"] == []


async def test_a_key_ends_at_its_time(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    asha = await service.signup()
    key = await made(service, asha, expires_at=clock.iso(clock.after(3_600)))
    assert await status_with(service, key["key"]) == 200
    at = clock.after(3_601)
    monkeypatch.setattr("auth.api_keys.clock.now", lambda: at)
    assert await status_with(service, key["key"]) == 401
