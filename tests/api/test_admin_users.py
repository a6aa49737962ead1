"""What admins do about accounts: create, show, change, disable; and who stays an admin."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

import users
import wallet
from auth import sessions
from core import database
from core.errors import Forbidden
from tests.support import calls as calling
from tests.support import campaigns as campaigning
from tests.support.service import (
    PASSWORD,
    Person,
    Service,
    new_key,
    running,
    status_of,
    test_settings,
    until,
)


@pytest.fixture(scope="module")
async def shared(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for the questions of this module."""
    settings = test_settings(mongodb_uri, login_attempts_per_minute=1000)
    async with running(settings) as started:
        yield started


@pytest.fixture(scope="module")
async def admin(shared: Service) -> Person:
    return await shared.admin()


async def change(service: Service, admin: Person, user_id: str, **body: Any) -> Any:
    answer = await service.request("PATCH", f"/api/admin/users/{user_id}", admin, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def log_in(service: Service, email: str, password: str) -> Any:
    return await service.post("/api/auth/login", json={"email": email, "password": password})


async def another_admin(service: Service, admin: Person) -> Person:
    person = await service.signup()
    await change(service, admin, person.id, role="admin")
    return person


# --- creating -----------------------------------------------------------------------------------


async def test_an_admin_creates_an_operator_with_a_one_time_password(
    shared: Service, admin: Person
) -> None:
    body = {"email": "Operator@example.org", "name": "Op", "phone": "98765 43210"}
    key = new_key()
    answers = [
        await shared.post("/api/admin/users", admin, json=body | {"role": "operator"}, headers=key)
        for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    assert answers[1].headers["idempotency-replayed"] == "true"
    made = answers[0].json()
    assert (made["role"], made["phone"]) == ("operator", "+919876543210")
    # Kept nowhere: neither in the answer that is kept nor in the record.
    for collection in ("idempotency_keys", "users"):
        stored = await database.db[collection].find({}).to_list(None)
        assert made["one_time_password"] not in str(stored), collection
    admitted = await log_in(shared, body["email"], made["one_time_password"])
    assert admitted.status_code == 200
    assert admitted.json()["password_change_required"] is True
    newcomer = Person(made["id"], body["email"], admitted.json()["access_token"])
    refused = await shared.get("/api/wallet/balance", newcomer)
    assert (refused.status_code, refused.json()["code"]) == (403, "password_change_required")
    changed = await shared.post(
        "/api/auth/change-password",
        newcomer,
        json={"current_password": made["one_time_password"], "new_password": PASSWORD},
    )
    assert changed.status_code == 204
    assert (await shared.get("/api/wallet/balance", newcomer)).status_code == 200
    later = await shared.post(
        "/api/admin/users", admin, json=body | {"role": "operator"}, headers=key
    )
    assert later.json()["one_time_password"] is None


async def test_creating_a_user_refuses_a_taken_address_and_a_weak_password(
    shared: Service, admin: Person
) -> None:
    person = await shared.signup()
    taken = {"email": person.email.upper(), "name": "Twice"}
    answer = await shared.post("/api/admin/users", admin, json=taken)
    assert (answer.status_code, answer.json()["code"]) == (409, "email_taken")
    weak = {"email": "weak@example.org", "name": "Weak", "password": "password1"}
    answer = await shared.post("/api/admin/users", admin, json=weak)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")
    given = weak | {"password": "given by an admin 7"}
    answer = await shared.post("/api/admin/users", admin, json=given)
    assert answer.status_code == 201
    assert answer.json()["one_time_password"] is None
    refused = await shared.post("/api/admin/users", person, json=taken)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


async def test_a_creation_whose_answer_was_lost_is_found_again(shared: Service) -> None:
    facts: Any = {"email": "lost@example.org", "name": "Lost", "phone": None, "role": "user"}
    made = await users.create_user(user_id="usr_lost", password=None, **facts)
    await database.db.wallets.delete_one({"user_id": made.id})  # it died before the wallet
    again = await users.create_user(user_id="usr_lost", password=None, **facts)
    assert again == made
    assert (await wallet.get_balance(made.id)).balance_paise == 0
    assert await database.db.wallets.count_documents({"user_id": made.id}) == 1
    with pytest.raises(users.EmailTaken):
        await users.create_user(user_id="usr_other", password=None, **facts)


# --- roles --------------------------------------------------------------------------------------


async def test_a_role_is_in_force_at_once_and_nobody_decides_about_themselves(
    shared: Service, admin: Person
) -> None:
    person = await another_admin(shared, admin)
    assert (await shared.get("/api/admin/users", person)).status_code == 200
    shown = await change(shared, admin, person.id, role="operator")
    assert shown["role"] == "operator"
    body = {"role": "user"}
    answer = await shared.request("PATCH", f"/api/admin/users/{person.id}", person, json=body)
    assert answer.status_code == 403
    decisions: list[dict[str, Any]] = [{"role": "user"}, {"disabled": True}]
    for decision in decisions:
        answer = await shared.request("PATCH", f"/api/admin/users/{admin.id}", admin, json=decision)
        assert (answer.status_code, answer.json()["code"]) == (403, "own_account")
    assert (await shared.request("DELETE", f"/api/admin/users/{admin.id}/totp", admin)).json()[
        "code"
    ] == "own_account"
    nobody = await shared.request("PATCH", "/api/admin/users/usr_none", admin, json=body)
    assert nobody.status_code == 404


@pytest.mark.parametrize("how", ["role", "disabled"])
async def test_two_admins_who_remove_each_other_at_once_leave_one(
    shared: Service, admin: Person, how: str
) -> None:
    people = [await users.get_user((await another_admin(shared, admin)).id) for _ in range(2)]

    async def remove(by: users.User, whom: users.User) -> None:
        if how == "role":
            await users.set_role(whom.id, "user", by=by)
        else:
            await users.set_disabled(whom.id, disabled=True, by=by)

    results = await asyncio.gather(
        remove(*people), remove(people[1], people[0]), return_exceptions=True
    )
    left = [await users.get_user(person.id) for person in people]
    still = [person for person in left if person.role == "admin" and not person.disabled]
    assert len(still) == 1, results
    assert sorted(type(result).__name__ for result in results) == ["Forbidden", "NoneType"]


async def test_an_admin_who_was_demoted_meanwhile_decides_nothing(
    shared: Service, admin: Person
) -> None:
    former = await users.get_user((await another_admin(shared, admin)).id)
    person = await shared.signup()
    await change(shared, admin, former.id, role="user")
    for decision in (
        users.set_role(person.id, "admin", by=former),
        users.set_disabled(person.id, disabled=True, by=former),
    ):
        with pytest.raises(Forbidden):
            await decision
    found = await users.get_user(person.id)
    assert (found.role, found.disabled) == ("user", False)
    assert not (await wallet.get_balance(person.id)).frozen


# --- disabling ----------------------------------------------------------------------------------


async def test_a_disabled_user_is_refused_everywhere_and_keeps_the_money(
    shared: Service, admin: Person
) -> None:
    person = await shared.signup()
    await shared.fund(person, 100)
    shown = await change(shared, admin, person.id, disabled=True)
    assert (shown["disabled"], shown["frozen"], shown["balance"]) == (True, True, 100)
    for answer in (
        await shared.get("/api/wallet/balance", person),
        await shared.get("/api/auth/me", person),
        await log_in(shared, person.email, PASSWORD),
    ):
        assert (answer.status_code, answer.json()["code"]) == (403, "account_disabled")
    wrong = await log_in(shared, person.email, "not the password")
    assert wrong.json()["code"] == "invalid_credentials", "only who knows the password is told"
    shown = await change(shared, admin, person.id, disabled=False)
    assert (shown["disabled"], shown["frozen"], shown["balance"]) == (False, False, 100)
    assert await status_of(shared, person.token) == 401, "the tokens of before stay dead"
    assert (await log_in(shared, person.email, PASSWORD)).status_code == 200


async def test_a_process_hears_that_another_one_has_disabled_an_account(shared: Service) -> None:
    person = await shared.signup()
    assert await status_of(shared, person.token) == 200
    await until(lambda: asyncio.sleep(0, sessions.is_current()))
    # As another process does it: this one hears of it by the change stream alone.
    await database.db.users.update_one({"_id": person.id}, {"$currentDate": {"disabled_at": True}})

    async def is_refused() -> bool:
        return await status_of(shared, person.token) == 403

    await until(is_refused)


async def test_the_calls_of_a_disabled_user_end_and_the_campaigns_wait_until_it_is_enabled(
    shared: Service, admin: Person
) -> None:
    person = await shared.signup()
    await shared.fund(person, 100)
    call_id = (await calling.place(shared, person, calling.SILENT))["call_id"]
    await calling.report(shared, call_id, "in_progress")
    await change(shared, admin, person.id, disabled=True)
    await calling.over(shared, admin, call_id)
    body = {"name": "Waits", "numbers": ["+919876543210"]}
    assert (await shared.post("/api/campaigns", person, json=body)).status_code == 403
    await change(shared, admin, person.id, disabled=False)
    person.token = (await log_in(shared, person.email, PASSWORD)).json()["access_token"]
    campaign = await campaigning.create(shared, person, 1, start=False)
    await change(shared, admin, person.id, disabled=True)
    # It was started a moment before: the dialer finds the wallet frozen.
    await database.db.campaigns.update_one(
        {"_id": campaign["campaign_id"]},
        {"$set": {"status": "running"}, "$currentDate": {"look_at": True}},
    )

    def waits(shown: dict[str, Any]) -> bool:
        return (shown["status"], shown["pause_reason"]) == ("paused", "frozen")

    await campaigning.until(shared, admin, campaign, waits)
    assert await database.db.calls.count_documents({"user_id": person.id}) == 1
    await change(shared, admin, person.id, disabled=False)
    await campaigning.until(shared, admin, campaign, campaigning.is_over)


async def test_enabling_an_account_does_not_thaw_a_wallet_that_an_admin_froze(
    shared: Service, admin: Person
) -> None:
    person = await shared.signup()
    path = f"/api/admin/users/{person.id}"
    await shared.post(f"{path}/freeze", admin, json={"reason": "fraud"})
    await change(shared, admin, person.id, disabled=True)
    assert (await change(shared, admin, person.id, disabled=False))["frozen"] is True
    await change(shared, admin, person.id, disabled=True)
    thawed = await shared.post(f"{path}/unfreeze", admin, json={"reason": "all is well"})
    assert thawed.json() == {"user_id": person.id, "frozen": True, "changed": True}
    assert (await change(shared, admin, person.id, disabled=False))["frozen"] is False


async def test_a_wallet_that_an_older_process_froze_or_thawed_is_read_as_it_meant(
    shared: Service,
) -> None:
    person = await shared.signup()
    where = {"user_id": person.id}

    async def read(**fields: Any) -> bool:
        await database.db.wallets.update_one(where, {"$set": fields})
        return (await wallet.get_balance(person.id)).frozen

    await database.db.wallets.update_one(where, {"$unset": {"frozen_for": ""}})
    assert await read(frozen=True)
    assert await wallet.set_frozen(person.id, frozen=False, reason="a test", by="usr_admin")
    assert not await read(frozen=False, frozen_for=["admin"])
    assert await read(frozen=False, frozen_for=["admin", "account"])


# --- one user's story, limits, sessions ---------------------------------------------------------


async def test_one_users_whole_story(shared: Service, admin: Person) -> None:
    person = await shared.signup()
    await shared.fund(person, 50)
    answer = await shared.get(f"/api/admin/users/{person.id}", admin)
    assert answer.status_code == 200
    story = answer.json()
    assert (story["id"], story["email"], story["balance"]) == (person.id, person.email, 50)
    assert (story["disabled"], story["second_factor"]) == (False, False)
    assert story["counts"] == dict.fromkeys(
        ("calls", "campaigns", "orders", "refunds", "disputes"), 0
    )
    assert [row["action"] for row in story["adjustments"]] == ["credit"]
    assert [row["device"] for row in story["sessions"]] == ["python-httpx/0.28.1"]
    assert story["limits"]["concurrent_calls"] == shared.settings.max_concurrent_calls
    assert story["own_limits"] == dict.fromkeys(story["limits"])
    assert (await shared.get("/api/admin/users/usr_none", admin)).status_code == 404
    assert (await shared.get(f"/api/admin/users/{person.id}", person)).status_code == 403
    listed = await shared.get("/api/admin/users", admin, params={"search": person.id})
    assert listed.json()["users"][0]["disabled"] is False


async def test_a_users_own_limits_come_before_those_of_the_settings(
    shared: Service, admin: Person
) -> None:
    person = await shared.signup()
    await shared.fund(person, 100)
    story = await change(
        shared, admin, person.id, limits={"calls_per_day": 1, "daily_spend_cap": 40.5}
    )
    assert story["own_limits"]["calls_per_day"] == 1
    assert story["limits"]["daily_spend_cap"] == 40.5
    await calling.place(shared, person, calling.SILENT)
    refused = await calling.ask(shared, person, calling.SILENT)
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_calls")
    more: dict[str, Any] = {"calls_per_day": None, "daily_spend_cap": 80}
    story = await change(shared, admin, person.id, limits=more)
    assert story["own_limits"] == dict.fromkeys(story["limits"]) | {"daily_spend_cap": 80}
    await calling.place(shared, person, {"outcome": "busy", "wall_seconds": 0})


async def test_an_admin_logs_a_user_out_everywhere(shared: Service, admin: Person) -> None:
    person = await shared.signup()
    other = (await log_in(shared, person.email, PASSWORD)).json()["access_token"]
    path = f"/api/admin/users/{person.id}/sessions"
    ended = [(await shared.request("DELETE", path, admin)).json()["ended"] for _ in range(2)]
    assert ended == [2, 0]
    for token in (person.token, other):
        assert await status_of(shared, token) == 401
