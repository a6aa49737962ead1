"""Signing up, logging in and out, and being somebody, over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pymongo.errors import ConnectionFailure

import wallet
from core import database
from tests.support.service import PASSWORD, Service, running, test_settings


@pytest.fixture(scope="module")
async def shared(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for the many small questions of this module."""
    settings = test_settings(mongodb_uri, login_attempts_per_minute=1000)
    async with running(settings) as started:
        yield started


async def test_a_sign_up_answers_with_a_token_and_an_empty_wallet(shared: Service) -> None:
    answer = await shared.post(
        "/api/auth/signup",
        json={
            "email": "  Asha@Example.com ",
            "password": PASSWORD,
            "name": " Asha Rao ",
            "phone": "98765 43210",
        },
    )
    assert answer.status_code == 201
    body = answer.json()
    assert body["token_type"] == "bearer"
    assert body["expires_in"] == 12 * 3600
    user = body["user"]
    assert user["id"].startswith("usr_")
    assert {key: user[key] for key in user if key != "id"} == {
        "email": "Asha@Example.com",
        "name": "Asha Rao",
        "phone": "+919876543210",
        "role": "user",
        "wallet_balance": 0,
    }
    me = await shared.get(
        "/api/auth/me", headers={"Authorization": f"Bearer {body['access_token']}"}
    )
    assert me.status_code == 200
    more = {"created_at": me.json()["created_at"], "second_factor": False}
    assert {**user, **more} == me.json()
    assert me.json()["created_at"].endswith("Z")


async def test_log_in_by_json_and_by_the_form_give_tokens_that_work(shared: Service) -> None:
    person = await shared.signup("ravi@example.com")
    await shared.fund(person, 150)
    by_json = await shared.post(
        "/api/auth/login", json={"email": "RAVI@example.com ", "password": PASSWORD}
    )
    assert by_json.status_code == 200
    assert by_json.json()["user"]["wallet_balance"] == 150
    by_form = await shared.post(
        "/api/auth/token", data={"username": "ravi@example.com", "password": PASSWORD}
    )
    assert by_form.status_code == 200
    assert set(by_form.json()) == {"access_token", "token_type"}
    for token in (by_json.json()["access_token"], by_form.json()["access_token"]):
        me = await shared.get("/api/auth/me", headers={"Authorization": f"Bearer {token}"})
        assert me.json()["id"] == person.id


async def test_a_logged_out_token_is_dead(shared: Service) -> None:
    person = await shared.signup()
    answer = await shared.post("/api/auth/logout", person)
    assert answer.status_code == 204
    assert not answer.content
    refused = await shared.get("/api/auth/me", person)
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Bearer"
    assert refused.headers["content-type"] == "application/problem+json"


async def test_a_password_change_kills_every_session_but_the_one_it_was_made_in(
    shared: Service,
) -> None:
    here = await shared.signup("meera@example.com")
    elsewhere = await shared.post(
        "/api/auth/login", json={"email": "meera@example.com", "password": PASSWORD}
    )
    other = {"Authorization": f"Bearer {elsewhere.json()['access_token']}"}
    assert (await shared.get("/api/auth/me", headers=other)).status_code == 200
    changed = await shared.post(
        "/api/auth/change-password",
        here,
        json={"current_password": PASSWORD, "new_password": "another good one 7"},
    )
    assert changed.status_code == 204
    assert (await shared.get("/api/auth/me", here)).status_code == 200
    assert (await shared.get("/api/auth/me", headers=other)).status_code == 401
    for password, status in ((PASSWORD, 401), ("another good one 7", 200)):
        answer = await shared.post(
            "/api/auth/login", json={"email": "meera@example.com", "password": password}
        )
        assert answer.status_code == status


async def test_the_first_admin_of_the_settings_can_log_in(shared: Service) -> None:
    admin = await shared.admin()
    assert (await shared.get("/api/auth/me", admin)).json()["role"] == "admin"


# --- refusals -----------------------------------------------------------------------------------

GOOD: dict[str, Any] = {"email": "new@example.com", "password": PASSWORD, "name": "New"}

BAD_SIGN_UPS: list[tuple[str, Any]] = [
    ("email", {"$gt": ""}),
    ("email", ["a@example.com"]),
    ("email", 5),
    ("email", None),
    ("email", "nobody"),
    ("email", "a\u0000@example.com"),
    ("email", "a" * 250 + "@example.com"),
    ("password", {"$ne": None}),
    ("password", 12345678901),
    ("password", "short"),
    ("password", "password123"),
    ("password", "new@example.com"),
    ("password", "x" * 129),
    ("password", "x" * 2_000),
    ("name", {"$gt": ""}),
    ("name", "   "),
    ("name", "n" * 101),
    ("name", "a\u0000b"),
    ("name", True),
    ("phone", "123"),
    ("phone", {"$gt": ""}),
    ("phone", 9876543210),
]


@pytest.mark.parametrize(("field", "value"), BAD_SIGN_UPS)
async def test_a_bad_sign_up_names_the_field_and_changes_nothing(
    shared: Service, field: str, value: Any
) -> None:
    before = await database.db.users.count_documents({})
    answer = await shared.post("/api/auth/signup", json={**GOOD, field: value})
    assert answer.status_code == 422
    body = answer.json()
    assert body["code"] == "validation_error"
    assert [error["field"] for error in body["errors"]] == [field]
    assert await database.db.users.count_documents({}) == before


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"", "application/json", 422),
        (b"[]", "application/json", 422),
        (b"null", "application/json", 422),
        (
            b'{"email": "\\ud800@example.com", "password": "x", "name": "x"}',
            "application/json",
            422,
        ),
        (b"email=a%40example.com&password=x", "application/x-www-form-urlencoded", 415),
        (b"<a/>", "application/xml", 415),
        (b"\xff\xfe\x00", "application/json", 400),
        (b"[" * 60_000, "application/json", 400),
        (b"[" * 100_000, "application/json", 413),
        (b" " * 66_000, "application/json", 413),
    ],
)
async def test_a_body_that_cannot_be_read_is_a_clear_4xx(
    shared: Service, content: bytes, content_type: str, status: int
) -> None:
    for path in ("/api/auth/signup", "/api/auth/login"):
        answer = await shared.post(path, content=content, headers={"Content-Type": content_type})
        assert answer.status_code == status, (path, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"


async def test_operators_are_no_credentials(shared: Service) -> None:
    person = await shared.signup()
    for body in (
        {"email": {"$gt": ""}, "password": {"$gt": ""}},
        {"email": person.email, "password": {"$ne": None}},
        {"email": [person.email], "password": PASSWORD},
    ):
        assert (await shared.post("/api/auth/login", json=body)).status_code == 422


async def test_wrong_credentials_get_one_answer_whoever_they_name(shared: Service) -> None:
    person = await shared.signup()
    answers = [
        await shared.post("/api/auth/login", json={"email": email, "password": password})
        for email, password in (
            (person.email, "not the password"),
            (person.email, ""),
            ("nobody@example.com", PASSWORD),
            ("not an address \u0000", PASSWORD),
        )
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.text for answer in answers}) == 1
    assert answers[0].json()["code"] == "invalid_credentials"
    assert answers[0].headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"username=%ff%fe&password=%ff", 401),
        (b"username=a&password=" + b"x" * 5_000, 401),
        (b"username=a", 422),
        (b"username=a&password=b&grant_type=client_credentials", 422),
        (b"username[$gt]=&password[$gt]=", 422),
    ],
)
async def test_the_form_refuses_what_is_no_password_flow(
    shared: Service, content: bytes, status: int
) -> None:
    answer = await shared.post(
        "/api/auth/token",
        content=content,
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_password_change_asks_for_the_old_one_and_for_a_good_new_one(
    shared: Service,
) -> None:
    person = await shared.signup()
    for current, new, status, code in (
        ("not the password", "another good one 7", 401, "invalid_credentials"),
        (PASSWORD, "short", 422, "validation_error"),
        (PASSWORD, "password123", 422, "validation_error"),
        (PASSWORD, person.email, 422, "validation_error"),
    ):
        answer = await shared.post(
            "/api/auth/change-password",
            person,
            json={"current_password": current, "new_password": new},
        )
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["errors"][0]["field"] == "new_password"
    assert (await shared.get("/api/auth/me", person)).status_code == 200
    login = {"email": person.email, "password": PASSWORD}
    assert (await shared.post("/api/auth/login", json=login)).status_code == 200


async def test_two_simultaneous_password_changes_leave_one_password(shared: Service) -> None:
    person = await shared.signup()
    news = ("first new one 77", "second new one 88")
    answers = await asyncio.gather(
        *(
            shared.post(
                "/api/auth/change-password",
                person,
                json={"current_password": PASSWORD, "new_password": new},
            )
            for new in news
        )
    )
    assert sorted(answer.status_code for answer in answers) == [204, 401]
    winner = news[[answer.status_code for answer in answers].index(204)]
    login = {"email": person.email, "password": winner}
    assert (await shared.post("/api/auth/login", json=login)).status_code == 200


async def test_every_route_of_somebody_refuses_nobody(shared: Service) -> None:
    for method, path in (
        ("GET", "/api/auth/me"),
        ("POST", "/api/auth/logout"),
        ("POST", "/api/auth/change-password"),
    ):
        answer = await shared.request(method, path, json={})
        assert answer.status_code == 401, path
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_wallet_that_cannot_be_read_is_503_and_not_a_zero(
    shared: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await shared.signup()

    async def away(_: str) -> int:
        raise ConnectionFailure("gone")

    monkeypatch.setattr(wallet, "get_balance", away)
    answer = await shared.get("/api/auth/me", person)
    assert answer.status_code == 503
    assert "wallet_balance" not in answer.text


async def test_an_optional_phone_may_be_left_out_null_or_blank(shared: Service) -> None:
    blanks: list[dict[str, Any]] = [{}, {"phone": None}, {"phone": " "}]
    for number, phone in enumerate(blanks):
        body = {**GOOD, "email": f"no-phone-{number}@example.com", **phone}
        answer = await shared.post("/api/auth/signup", json=body)
        assert answer.status_code == 201
        assert answer.json()["user"]["phone"] is None
