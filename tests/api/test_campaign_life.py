"""Campaign life over HTTP: options, validated, changed, copied, called again, archived, deleted."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from billing import limits
from billing.limits import CampaignBudget
from campaigns import budgets
from core import clock, database
from core.database import db
from tests.support.campaigns import (
    FAST,
    ONCE,
    SLOW,
    act,
    calls_placed,
    create,
    is_over,
    list_of,
    numbers_of,
    shown,
    until,
)
from tests.support.service import Person, Service, running
from tests.support.service import test_settings as settings_of_tests

WINDOW = {"days": ["mon", "tue"], "start": "10:00", "end": "18:00", "timezone": "Asia/Kolkata"}


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for all tests of this file; each test has users of its own."""
    async with running(settings_of_tests(mongodb_uri, signups_per_hour=100_000)) as started:
        yield started


@pytest.fixture
async def person(service: Service) -> Person:
    someone = await service.signup()
    await service.fund(someone, 1_000)
    return someone


async def draft_of(service: Service, person: Person, **options: Any) -> dict[str, Any]:
    return await create(service, person, 2, start=False, **options)


async def change(
    service: Service, person: Person, campaign: dict[str, Any], **changes: Any
) -> tuple[int, dict[str, Any]]:
    path = f"/api/campaigns/{campaign['campaign_id']}"
    answer = await service.request("PATCH", path, person, json=changes)
    return answer.status_code, answer.json()


async def test_what_was_asked_for_is_shown(service: Service, person: Person) -> None:
    end_at = clock.iso(clock.after(20 * 86_400))
    options: dict[str, Any] = {
        "purpose": "collection",
        "window": WINDOW,
        "retry": {"max_attempts": 4, "delays_minutes": {"busy": [10, 20]}},
        "budget": 250.5,
        "caller_ids": ["+91 120 456 7890", "911204567890", "+911204567890"],
        "language": "hi-IN",
        "keys": {"1": "confirm", "9": "stop"},
        "expected_duration_seconds": 40,
    }
    draft = await draft_of(service, person, message="नमस्ते", end_at=end_at, **options)
    expected = options | {"caller_ids": ["+911204567890", "911204567890"], "end_at": end_at}
    assert {name: draft[name] for name in expected} == expected
    plain = await create(service, person, 1, start=False, retry=None)
    assert plain["retry"]["max_attempts"] == 3
    assert (plain["purpose"], plain["budget"], plain["window"]) == ("service", None, None)
    once = await draft_of(service, person, retry={"max_attempts": 0})
    assert once["retry"]["max_attempts"] == 1


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"purpose": "promotional", "caller_ids": ["+919876543210"]}, "caller_id_not_allowed"),
        ({"message": "Namaste {{name}}"}, "missing_variable"),
        (
            {"start_at": "2027-02-01T00:00:00Z", "end_at": "2027-01-01T00:00:00Z"},
            "validation_error",
        ),
        ({"end_at": "2026-11-01T00:00:00Z"}, "validation_error"),
        ({"window": WINDOW | {"start": "18:00"}}, "validation_error"),
        ({"caller_ids": ["+9112045"] * 21}, "validation_error"),
    ],
)
async def test_what_could_never_call_is_refused(
    service: Service, person: Person, options: dict[str, Any], code: str
) -> None:
    body = {"name": "Diwali", "numbers": numbers_of(1), **options}
    refused = await service.post("/api/campaigns", person, json=body)
    assert (refused.status_code, refused.json()["code"]) == (422, code)


async def test_a_draft_is_changed_and_a_running_campaign_is_not(
    service: Service, person: Person
) -> None:
    draft = await draft_of(service, person, budget=100)
    status, changed = await change(
        service, person, draft, name="Holi", message="Hello", window=WINDOW, budget=200.5
    )
    assert status == 200, changed
    assert (changed["name"], changed["window"], changed["budget"]) == ("Holi", WINDOW, 200.5)
    status, changed = await change(service, person, draft, window=None, caller_ids=None)
    assert status == 200, changed
    assert (changed["window"], changed["caller_ids"]) == (None, [])
    for wrong in (
        {"message": "{{name}}"},
        {"end_at": "2026-11-01T00:00:00Z"},
        {"purpose": "service"},
    ):
        assert (await change(service, person, draft, **wrong))[0] == 422, wrong
    far = clock.iso(clock.after(86_400))
    later = await create(service, person, 1, start_at=far)
    assert (await change(service, person, later, name="Late"))[0] == 409
    assert await act(service, person, later, "pause") == 200
    assert (await change(service, person, later, name="Late"))[1]["name"] == "Late"


async def test_the_budget_cannot_be_less_than_what_is_spent(
    service: Service, person: Person
) -> None:
    created = await create(service, person, 2, budget=50)
    over = await until(service, person, created, is_over)
    assert over["spent"] == 10.0
    assert await act(service, person, created, "pause") == 409
    await database.db.campaigns.update_one(
        {"_id": created["campaign_id"]},
        {"$set": {"status": "paused", "pause_reason": "user", "counts": None}},
    )
    status, refused = await change(service, person, created, budget=10)
    assert (status, refused.get("budget")) == (200, 10.0)
    await limits.change_budget(CampaignBudget(created["campaign_id"], 5_000))
    await limits.count_for_budget(
        CampaignBudget(created["campaign_id"], 5_000),
        call_id="call_01ARZ3NDEKTSV4RRFFQ69G5FAV",
        amount_paise=2_000,
        amount_paise_min=1_000,
    )
    # Its process died before the call was there: what it reserved comes back.
    await budgets.settle_forgotten(created["campaign_id"])
    used = await limits.find_budget_use(created["campaign_id"])
    assert used is not None
    assert used.held == {}
    assert (await change(service, person, created, budget=None))[0] == 422


async def test_a_copy_has_the_options_and_the_list(service: Service, person: Person) -> None:
    source = await draft_of(service, person, purpose="collection", window=WINDOW, message="Hello")
    path = f"/api/campaigns/{source['campaign_id']}/copy"
    copied = (await service.post(path, person)).json()
    same = ("purpose", "window", "message", "retry", "max_concurrent")
    assert {name: copied[name] for name in same} == {name: source[name] for name in same}
    assert (copied["status"], copied["counts"]["total"]) == ("draft", 2)
    assert copied["campaign_id"] != source["campaign_id"]
    assert [c["to"] for c in await list_of(service, person, copied)] == numbers_of(2)
    headers = {"Idempotency-Key": "copy-with-others"}
    body = {"name": "Others", "numbers": numbers_of(3, 50)}
    once, again = [
        (await service.post(path, person, json=body, headers=headers)).json() for _ in range(2)
    ]
    assert once["campaign_id"] == again["campaign_id"]
    assert [c["to"] for c in await list_of(service, person, once)] == numbers_of(3, 50)


async def test_the_unreached_are_called_again_and_the_others_are_not(
    service: Service, person: Person
) -> None:
    created = await create(service, person, 2, simulate=FAST | {"outcome": "busy"}, retry=ONCE)
    path = f"/api/campaigns/{created['campaign_id']}/retry-unreached"
    await until(service, person, created, is_over)
    answered = await create(service, person, 1, simulate=FAST)
    await until(service, person, answered, is_over)
    refused = await service.post(
        f"/api/campaigns/{answered['campaign_id']}/retry-unreached", person
    )
    assert (refused.status_code, refused.json()["code"]) == (409, "invalid_transition")
    again = await service.post(path, person)
    assert again.status_code == 200, again.text
    assert again.json()["completed_at"] is None
    over = await until(service, person, created, is_over)
    assert (over["counts"]["busy"], over["counts"]["pending"]) == (2, 0)
    assert [c["attempts"] for c in await list_of(service, person, created)] == [1, 1]
    assert len(await calls_placed(service, person, 5)) == 5


async def test_what_is_over_is_archived_or_deleted_and_what_runs_is_not(
    service: Service, person: Person
) -> None:
    draft = await draft_of(service, person, budget=100)
    slow = await create(service, person, 1, simulate=SLOW)
    assert await act(service, person, slow, "archive") == 409
    for _ in range(2):
        assert await act(service, person, draft, "archive") == 200
    listed = (await service.get("/api/campaigns", person)).json()["campaigns"]
    assert [c["campaign_id"] for c in listed] == [slow["campaign_id"]]
    assert len((await service.get("/api/campaigns?archived=true", person)).json()["campaigns"]) == 2
    assert await act(service, person, draft, "unarchive") == 200
    assert (await shown(service, person, draft))["archived_at"] is None
    for campaign, status in ((slow, 409), (draft, 204), (draft, 404)):
        path = f"/api/campaigns/{campaign['campaign_id']}"
        assert (await service.request("DELETE", path, person)).status_code == status
    contacts_left = {"campaign_id": draft["campaign_id"]}
    deadline = clock.after(60)
    while await db.contacts.count_documents(contacts_left):
        assert clock.now() < deadline


async def test_a_list_without_a_price_or_on_a_list_is_told_row_by_row(
    service: Service, person: Person
) -> None:
    from compliance import do_not_call

    to = numbers_of(3)
    await do_not_call.add_numbers(person.id, to[:1], source="manual", by=person.id)
    created = await create(service, person, 3, start=False)
    assert [(r["row"], r["code"]) for r in created["rejected"]] == [(1, "do_not_call")]
    assert created["counts"]["total"] == 2
    body = {"name": "Desk", "numbers": to[1:], "connect_to": to[0]}
    refused = await service.post("/api/campaigns", person, json=body)
    assert (refused.status_code, refused.json()["code"]) == (422, "do_not_call")


async def test_validation_says_why_nobody_would_be_called(service: Service) -> None:
    poor = await service.signup()
    await service.fund(poor, 10)
    created = await create(service, poor, 3, start=False, budget=100)
    path = f"/api/campaigns/{created['campaign_id']}/validate"
    await database.db.campaigns.update_one(
        {"_id": created["campaign_id"]},
        {"$set": {"end_at": clock.after(-60), "machine_detection": None, "budget_paise": 500}},
    )
    found = (await service.post(path, poor)).json()
    assert found["ok"] is False
    codes = {problem["code"] for problem in found["problems"]}
    assert {"budget_reached", "ends_before_window"} <= codes
    # An older version has not counted the list by rates: the estimate is not zero for that.
    await database.db.campaigns.update_one(
        {"_id": created["campaign_id"]}, {"$unset": {"rate_groups": 1}}
    )
    assert (await shown(service, poor, created))["estimate"]["cost"] == 15.0


async def test_a_campaign_stops_at_its_budget_and_goes_on_with_a_higher_one(
    service: Service, person: Person
) -> None:
    created = await create(service, person, 8, budget=20)
    paused = await until(service, person, created, lambda c: c["pause_reason"] == "budget")
    # Each costs Rs 5 and has to have Rs 10.
    assert (paused["spent"], paused["counts"]["answered"]) == (15.0, 3)
    assert paused["waiting_for"]["reason"] == "budget"
    status, changed = await change(service, person, created, budget=200)
    assert (status, changed["status"]) == (200, "running")
    over = await until(service, person, created, is_over)
    assert (over["spent"], over["counts"]["answered"]) == (40.0, 8)
