"""Adjustments above the limit: they wait for a second admin, who confirms or rejects them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

import users
from core.database import db
from tests.support import payments as paying
from tests.support.service import Person, Service, new_key, running, test_settings


async def adjust(service: Service, admin: Person, person: Person, **body: Any) -> Any:
    headers = body.pop("headers", None) or new_key()
    body = {"type": "credit", "amount": 50, "reason": "goodwill for the outage"} | body
    path = f"/api/admin/users/{person.id}/adjustments"
    return await service.post(path, admin, json=body, headers=headers)


@pytest.fixture(scope="module")
async def careful(mongodb_uri: str) -> AsyncIterator[Service]:
    """A service where more than Rs 100 waits for a second admin, and two more admins."""
    settings = test_settings(mongodb_uri, adjustment_confirm_above=100, signups_per_hour=100_000)
    async with running(settings) as started:
        await users.create_admin("second@example.com", "another horse battery")
        yield started


async def second_admin(service: Service) -> Person:
    known = {"email": "second@example.com", "password": "another horse battery"}
    body = (await service.post("/api/auth/login", json=known)).json()
    return Person(body["user"]["id"], known["email"], body["access_token"])


async def decide(service: Service, admin: Person, adjustment_id: str, what: str) -> Any:
    return await service.post(f"/api/admin/adjustments/{adjustment_id}/{what}", admin)


async def waiting(service: Service, admin: Person) -> list[str]:
    found = (await service.get("/api/admin/adjustments", admin)).json()["adjustments"]
    return [each["adjustment_id"] for each in found]


async def test_a_large_adjustment_waits_for_another_admin_and_is_posted_once(
    careful: Service,
) -> None:
    first, second = await careful.admin(), await second_admin(careful)
    person = await careful.signup()
    assert (await adjust(careful, first, person, amount=100)).status_code == 201
    key = new_key()
    asked = [await adjust(careful, first, person, amount=100.01, headers=key) for _ in range(2)]
    assert {each.status_code for each in asked} == {202}
    made = asked[0].json()
    assert (made["status"], made["amount"]) == ("waits_for_second_admin", 100.01)
    assert (await careful.balance(person))["balance"] == 100.0
    adjustment_id = made["adjustment_id"]
    assert await waiting(careful, second) == [adjustment_id]
    queue = (await careful.get("/api/admin/reconciliation", second)).json()["waiting"]
    assert ("adjustment", adjustment_id) in [(each["kind"], each["id"]) for each in queue]
    refused = await decide(careful, first, adjustment_id, "confirm")
    assert (refused.status_code, refused.json()["code"]) == (403, "same_admin")
    answers = await asyncio.gather(
        *(decide(careful, second, adjustment_id, "confirm") for _ in range(5))
    )
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert (await careful.balance(person))["balance"] == 200.01
    assert await waiting(careful, second) == []
    late = await decide(careful, second, adjustment_id, "reject")
    assert (late.status_code, late.json()["code"]) == (409, "already_decided")
    path = f"/api/admin/users/{person.id}/adjustments"
    shown = (await careful.get(path, first)).json()["adjustments"][0]
    assert (shown["status"], shown["by"]) == ("posted", first.id)
    assert shown["decided_by"] == second.id
    await paying.audited(careful, person)


async def test_a_rejected_adjustment_is_never_posted(careful: Service) -> None:
    first, second = await careful.admin(), await second_admin(careful)
    person = await careful.signup()
    made = (await adjust(careful, first, person, amount=500)).json()
    for _ in range(2):
        rejected = await decide(careful, second, made["adjustment_id"], "reject")
        assert (rejected.status_code, rejected.json()["status"]) == (200, "rejected")
    late = await decide(careful, second, made["adjustment_id"], "confirm")
    assert (late.status_code, late.json()["code"]) == (409, "already_decided")
    assert (await careful.balance(person))["balance"] == 0.0
    for what in ("confirm", "reject"):
        assert (await decide(careful, second, "adj_nothing", what)).status_code == 404
    at_once = (await adjust(careful, first, person, amount=1)).json()
    record = await db.adjustments.find_one({"transaction_id": at_once["id"]})
    assert record is not None
    assert (await decide(careful, second, record["_id"], "confirm")).status_code == 404
    await paying.audited(careful, person)


async def test_confirming_and_rejecting_at_once_end_in_one_of_them(careful: Service) -> None:
    first, second = await careful.admin(), await second_admin(careful)
    for _ in range(5):
        person = await careful.signup()
        made = (await adjust(careful, first, person, amount=500)).json()
        answers = await asyncio.gather(
            *(
                decide(careful, second, made["adjustment_id"], what)
                for what in ("confirm", "reject", "confirm")
            )
        )
        record = await db.adjustments.find_one({"_id": made["adjustment_id"]})
        assert record is not None
        was_posted = record["status"] == "posted"
        assert (await careful.balance(person))["balance"] == (500.0 if was_posted else 0.0)
        assert [answer.status_code for answer in answers] == (
            [200, 409, 200] if was_posted else [409, 200, 409]
        )
        await paying.audited(careful, person)


async def test_nobody_confirms_an_adjustment_of_a_wallet_of_his_own(careful: Service) -> None:
    first, second = await careful.admin(), await second_admin(careful)
    made = (await adjust(careful, first, second, amount=500)).json()
    refused = await decide(careful, second, made["adjustment_id"], "confirm")
    assert (refused.status_code, refused.json()["code"]) == (403, "own_wallet")
    assert (await careful.balance(second))["balance"] == 0.0
