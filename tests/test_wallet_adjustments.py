"""What a person does to a wallet by hand: once, with a reason, and seen by whom."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from core.database import db
from tests.support import calls as calling
from tests.support import payments as paying
from tests.support.service import Person, Service, new_key, running, test_settings


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for all tests of this file; each test has users of its own."""
    settings = test_settings(mongodb_uri, call_slice_minutes=1, signups_per_hour=100_000)
    async with running(settings) as started:
        yield started


@pytest.fixture(scope="module")
async def admin(service: Service) -> Person:
    return await service.admin()


async def adjust(service: Service, admin: Person, person: Person, **body: Any) -> Any:
    headers = body.pop("headers", None) or new_key()
    body = {"type": "credit", "amount": 50, "reason": "goodwill for the outage"} | body
    path = f"/api/admin/users/{person.id}/adjustments"
    return await service.post(path, admin, json=body, headers=headers)


async def freeze(service: Service, admin: Person, person: Person, what: str = "freeze") -> Any:
    path = f"/api/admin/users/{person.id}/{what}"
    answer = await service.post(path, admin, json={"reason": "looks like toll fraud"})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_credit_and_a_debit_by_hand_are_entries_that_say_why_and_who(
    service: Service, admin: Person
) -> None:
    person = await service.signup()
    answer = await adjust(service, admin, person)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["type"], made["category"], made["amount"]) == ("credit", "adjustment", 50.0)
    assert (made["balance_after"], made["description"]) == (50.0, "goodwill for the outage")
    taken = await adjust(service, admin, person, type="debit", amount=20.5, reason="a mistake")
    assert taken.json()["balance_after"] == 29.5
    shown = (await service.get("/api/transactions", person)).json()["transactions"]
    assert [each["description"] for each in shown] == ["a mistake", "goodwill for the outage"]
    path = f"/api/admin/users/{person.id}/adjustments"
    by_hand = (await service.get(path, admin)).json()["adjustments"]
    assert [(each["action"], each["by"]) for each in by_hand] == [
        ("debit", admin.id),
        ("credit", admin.id),
    ]
    await paying.audited(service, person)


async def test_the_same_key_adjusts_once_however_often_it_is_sent(
    service: Service, admin: Person
) -> None:
    person = await service.signup()
    key = {"Idempotency-Key": "goodwill-1"}
    answers = [await adjust(service, admin, person, headers=key) for _ in range(3)]
    assert {answer.json()["id"] for answer in answers} == {answers[0].json()["id"]}
    assert (await service.balance(person))["balance"] == 50.0
    other = await adjust(service, admin, person, amount=51, headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_a_debit_takes_what_is_available_and_no_more(service: Service, admin: Person) -> None:
    person = await service.signup()
    await adjust(service, admin, person)
    answers = await asyncio.gather(
        *(adjust(service, admin, person, type="debit", amount=20) for _ in range(5))
    )
    assert sorted(answer.status_code for answer in answers) == [201, 201, 402, 402, 402]
    refused = next(answer for answer in answers if answer.status_code == 402).json()
    assert (refused["code"], refused["required"]) == ("insufficient_balance", 20.0)
    assert (await service.balance(person))["balance"] == 10.0


@pytest.mark.parametrize(
    "body",
    [
        {"amount": 0},
        {"amount": -5},
        {"amount": 1.001},
        {"amount": "50"},
        {"amount": True},
        {"type": "gift"},
        {"reason": ""},
        {"reason": "  "},
        {"reason": None},
    ],
)
async def test_an_adjustment_that_makes_no_sense_changes_nothing(
    service: Service, admin: Person, body: dict[str, Any]
) -> None:
    person = await service.signup()
    answer = await adjust(service, admin, person, **body)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")
    assert (await service.balance(person))["balance"] == 0.0


async def test_an_adjustment_for_nobody_makes_no_wallet(service: Service, admin: Person) -> None:
    nobody = Person(id="usr_nobody", email="", token="")
    assert (await adjust(service, admin, nobody)).status_code == 404
    assert await db.wallets.find_one({"user_id": "usr_nobody"}) is None


async def test_a_frozen_wallet_calls_nobody_and_says_why(service: Service, admin: Person) -> None:
    person = await service.signup()
    await service.fund(person, 100)
    assert (await freeze(service, admin, person))["changed"]
    assert not (await freeze(service, admin, person))["changed"]
    assert (await service.balance(person))["frozen"]
    refused = await service.post("/api/call", person, json={"to": "+919876543210"})
    assert (refused.status_code, refused.json()["code"]) == (402, "wallet_frozen")
    body = {"name": "Diwali", "numbers": ["+919876543210"]}
    refused = await service.post("/api/campaigns", person, json=body)
    assert (refused.status_code, refused.json()["code"]) == (402, "wallet_frozen")
    await paying.recharge(service, person)  # money may come in all the same
    assert (await freeze(service, admin, person, "unfreeze"))["changed"]
    assert (await service.post("/api/call", person, json={"to": "+919876543210"})).is_success
    path = f"/api/admin/users/{person.id}/adjustments"
    by_hand = (await service.get(path, admin)).json()["adjustments"]
    assert [each["action"] for each in by_hand] == ["unfreeze", "freeze", "credit"]


async def test_freezing_ends_the_calls_that_are_live_and_charges_what_was_talked(
    service: Service, admin: Person
) -> None:
    person = await service.signup()
    await service.fund(person, 100)
    call = await calling.place(service, person, {"duration_seconds": 50, "wall_seconds": 30})
    await freeze(service, admin, person)
    async with asyncio.timeout(60):
        while True:
            shown = (await service.get(f"/api/calls/{call['call_id']}", person)).json()
            if shown["billing_status"] in ("settled", "released"):
                break
            await asyncio.sleep(0.05)
    assert shown["status"] in ("completed", "canceled")
    assert (await service.balance(person))["held"] == 0.0
    await paying.audited(service, person)


async def test_a_campaign_of_a_frozen_wallet_waits_and_goes_on_when_it_is_thawed(
    service: Service, admin: Person
) -> None:
    person = await service.signup()
    await service.fund(person, 100)
    numbers = [f"+9198765432{n:02}" for n in range(6)]
    script = {"duration_seconds": 6, "wall_seconds": 0.2}
    body = {"name": "Diwali", "numbers": numbers, "simulate": script, "calls_per_minute": 120}
    created = (await service.post("/api/campaigns", person, json=body)).json()
    path = f"/api/campaigns/{created['campaign_id']}"
    await freeze(service, admin, person)
    waiting = await _becomes(service, person, path, "paused")
    assert waiting["pause_reason"] == "frozen"
    assert waiting["counts"]["pending"] > 0
    await freeze(service, admin, person, "unfreeze")
    done = await _becomes(service, person, path, "completed")
    assert done["counts"]["answered"] + done["counts"]["failed"] == 6
    await paying.audited(service, person)


async def _becomes(service: Service, person: Person, path: str, status: str) -> dict[str, Any]:
    for _ in range(600):
        shown: dict[str, Any] = (await service.get(path, person)).json()
        if shown["status"] == status:
            return shown
        await asyncio.sleep(0.1)
    raise AssertionError(f"not {status}: {shown}")


# --- who may adjust what ------------------------------------------------------------------------


async def test_an_adjustment_needs_a_key(service: Service, admin: Person) -> None:
    person = await service.signup()
    path = f"/api/admin/users/{person.id}/adjustments"
    body = {"type": "credit", "amount": 50, "reason": "goodwill for the outage"}
    refused = await service.post(path, admin, json=body)
    assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_key_required")
    assert (await service.balance(person))["balance"] == 0.0


async def test_an_admin_cannot_adjust_a_wallet_of_his_own(service: Service, admin: Person) -> None:
    refused = await adjust(service, admin, admin)
    assert (refused.status_code, refused.json()["code"]) == (403, "own_wallet")
    assert (await service.balance(admin))["balance"] == 0.0
