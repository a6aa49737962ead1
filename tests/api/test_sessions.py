"""One's own sessions: listed, ended, in a cookie, and the events of new devices."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from auth import devices, sessions
from core import clock, database
from tests.support.service import (
    PASSWORD,
    Person,
    Service,
    running,
    status_of,
    test_settings,
)

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


@pytest.fixture(scope="module")
async def shared(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for the questions of this module."""
    settings = test_settings(mongodb_uri, login_attempts_per_minute=1000)
    async with running(settings) as started:
        yield started


async def log_in(service: Service, person: Person, *, agent: str = FIREFOX, **more: Any) -> Any:
    headers = {"User-Agent": agent, **more.pop("headers", {})}
    body = {"email": person.email, "password": PASSWORD, **more}
    answer = await service.post("/api/auth/login", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


async def listed(service: Service, person: Person) -> list[dict[str, Any]]:
    answer = await service.get("/api/auth/sessions", person)
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, Any]] = answer.json()["sessions"]
    return rows


# --- what a user agent says ---------------------------------------------------------------------

_WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("agent", "said"),
    [
        (FIREFOX, "Firefox on Linux"),
        (
            f"Mozilla/5.0 (Windows NT 10.0) {_WEBKIT} Chrome/140.0 Safari/537.36",
            "Chrome on Windows",
        ),
        (
            f"Mozilla/5.0 (Windows NT 10.0) {_WEBKIT} Chrome/140.0 Safari/537.36 Edg/140.0",
            "Edge on Windows",
        ),
        (
            f"Mozilla/5.0 (Linux; Android 15) {_WEBKIT} Chrome/140.0 Mobile Safari/537.36",
            "Chrome on Android",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Safari/604.1",
            "Safari on iPhone",
        ),
        ("python-httpx/0.28.1", "python-httpx/0.28.1"),
        ("curl/8.5.0", "curl/8.5.0"),
        ("x" * 500, "x" * 60),
        ("", "unknown"),
        ("\x00<script>", "unknown"),
    ],
)
def test_a_user_agent_in_a_few_words(agent: str, said: str) -> None:
    assert devices.describe(agent) == said


# --- the list -----------------------------------------------------------------------------------


async def test_my_sessions_are_listed_and_ended_one_by_one_or_all_but_this(
    shared: Service,
) -> None:
    person, stranger = await shared.signup(), await shared.signup()
    browser = (await log_in(shared, person)).json()["access_token"]
    phone = (await log_in(shared, person, agent="Wallet/2.0 (phone)")).json()["access_token"]
    rows = await listed(shared, person)
    assert [row["device"] for row in rows] == [
        "Wallet/2.0",
        "Firefox on Linux",
        "python-httpx/0.28.1",
    ]
    assert [row["current"] for row in rows] == [False, False, True]
    assert {row["address"] for row in rows} == {"127.0.0.1"}
    assert all(row["created_at"].endswith("Z") and row["last_used_at"] for row in rows)
    path = f"/api/auth/sessions/{rows[1]['session_id']}"
    assert (await shared.request("DELETE", path, stranger)).status_code == 404
    for _ in range(2):
        assert (await shared.request("DELETE", path, person)).status_code == 204
    assert await status_of(shared, browser) == 401
    assert await status_of(shared, phone) == 200
    assert (await shared.request("DELETE", "/api/auth/sessions", person)).status_code == 204
    assert await status_of(shared, phone) == 401
    assert [row["current"] for row in await listed(shared, person)] == [True]
    assert (await shared.request("DELETE", "/api/auth/sessions")).status_code == 401
    page = await shared.get("/api/auth/sessions?cursor=none", person)
    assert page.json()["code"] == "invalid_cursor"


async def test_the_last_use_is_written_together_with_others_and_never_moves_back(
    shared: Service,
) -> None:
    person = await shared.signup()
    [row] = await listed(shared, person)
    session_id = row["session_id"]
    await sessions.record_use()
    assert session_id not in sessions._used_at

    async def stored() -> Any:
        found = await database.db.sessions.find_one({"_id": session_id})
        assert found is not None
        return found["last_used_at"]

    used_at = await stored()
    sessions._used_at[session_id] = clock.after(-3_600)  # another process wrote a later use
    await sessions.record_use()
    assert await stored() == used_at


async def test_a_session_of_an_older_release_is_listed_without_what_it_did_not_note(
    shared: Service,
) -> None:
    person = await shared.signup()
    older = {
        "_id": "ses_of_0_2_1",
        "user_id": person.id,
        "created_at": clock.now(),
        "expires_at": clock.after(600),
        "revoked_at": None,
    }
    await database.db.sessions.insert_one(older)
    row = (await listed(shared, person))[0]
    assert (row["session_id"], row["device"], row["last_used_at"]) == ("ses_of_0_2_1", None, None)


async def test_a_password_change_may_answer_with_a_new_token(shared: Service) -> None:
    person = await shared.signup()
    elsewhere = (await log_in(shared, person)).json()["access_token"]
    body = {"current_password": PASSWORD, "new_password": "another good one 7"}
    answer = await shared.post("/api/auth/change-password", person, json=body | {"new_token": True})
    assert answer.status_code == 200
    assert set(answer.json()) == {"access_token", "token_type", "expires_in"}
    fresh = Person(person.id, person.email, answer.json()["access_token"])
    for token in (person.token, elsewhere):
        assert await status_of(shared, token) == 401
    assert [row["current"] for row in await listed(shared, fresh)] == [True]


# --- cookies ------------------------------------------------------------------------------------


async def test_a_cookie_session_has_no_token_and_its_writes_need_our_origin(
    shared: Service,
) -> None:
    person = await shared.signup()
    ours = {"Origin": f"http://127.0.0.1:{shared.settings.port}"}
    body = {"email": person.email, "password": PASSWORD, "session": "cookie"}
    origins: list[dict[str, str]] = [{}, {"Origin": "https://evil.example"}]
    for origin in origins:
        refused = await shared.post("/api/auth/login", json=body, headers=origin)
        assert (refused.status_code, refused.json()["code"]) == (403, "foreign_origin")
    answer = await shared.post("/api/auth/login", json=body, headers=ours)
    assert answer.status_code == 200
    assert answer.json()["access_token"] is None
    given = answer.headers.get_list("set-cookie")
    assert [cookie.split("=")[0] for cookie in given] == ["session", "device"]
    for one in given:
        for part in ("HttpOnly", "SameSite=strict", "Path=/"):
            assert part in one
        assert "Domain" not in one
    shared.client.cookies.clear()  # each request below says what it sends
    cookie = {"Cookie": given[0].split(";")[0]}
    assert (await shared.get("/api/auth/me", headers=cookie)).json()["id"] == person.id
    path = "/api/payment/create-order"
    for headers, status in (
        (cookie, 403),
        (cookie | {"Origin": "null"}, 403),
        (cookie | {"Origin": "https://evil.example"}, 403),
        (cookie | {"Origin": ours["Origin"] + ".evil.example"}, 403),
        (cookie | ours, 201),
    ):
        answer = await shared.post(path, json={"amount": 100}, headers=headers)
        assert answer.status_code == status, headers
    bearer = await shared.post(path, person, json={"amount": 100})
    assert bearer.status_code == 201, "a token in a header is no cookie, and needs no origin"
    out = await shared.post("/api/auth/logout", headers=cookie | ours)
    assert out.status_code == 204
    assert 'session=""' in out.headers["set-cookie"]
    assert (await shared.get("/api/auth/me", headers=cookie)).status_code == 401
    shared.client.cookies.clear()


async def test_a_password_change_in_a_cookie_session_gives_a_new_cookie(shared: Service) -> None:
    person = await shared.signup()
    ours = {"Origin": f"http://127.0.0.1:{shared.settings.port}"}
    answer = await log_in(shared, person, session="cookie", headers=ours)
    shared.client.cookies.clear()
    cookie = {"Cookie": answer.headers.get_list("set-cookie")[0].split(";")[0]}
    body = {"current_password": PASSWORD, "new_password": "another good one 7", "new_token": True}
    changed = await shared.post("/api/auth/change-password", json=body, headers=cookie | ours)
    assert changed.json()["access_token"] is None
    fresh = {"Cookie": changed.headers["set-cookie"].split(";")[0]}
    shared.client.cookies.clear()
    assert (await shared.get("/api/auth/me", headers=fresh)).status_code == 200
    assert (await shared.get("/api/auth/me", headers=cookie)).status_code == 401


# --- notices ------------------------------------------------------------------------------------


async def test_a_log_in_from_a_new_device_or_network_is_an_event(shared: Service) -> None:
    person = await shared.signup()  # with httpx, from here
    await log_in(shared, person, agent="python-httpx/0.28.1")
    token = (await log_in(shared, person)).json()["device_token"]
    await log_in(shared, person)
    await log_in(shared, person, agent="curl/8", headers={"X-Device-Token": token})
    await database.db.users.update_one({"_id": person.id}, {"$unset": {"known_networks": ""}})
    await log_in(shared, person)
    events = database.db.events.find({"user_id": person.id, "name": "SignedIn"}, sort=[("at", 1)])
    told = [
        (event["data"]["device"], event["data"]["new_device"], event["data"]["new_network"])
        for event in await events.to_list(None)
    ]
    assert told == [("Firefox on Linux", True, False), ("Firefox on Linux", False, True)]
