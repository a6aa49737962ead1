"""Campaigns that come in: what is refused, lists of any length, and processes that die over them."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from campaigns import contacts, creation
from campaigns import records as campaign_records
from campaigns.contact_import import ContactChunk
from campaigns.creation import CampaignPlan
from campaigns.records import NewCampaign
from core import clock, database
from core.errors import Unavailable
from tests.support.campaigns import act, is_over, nothing_of, numbers_of, shown, until, upload
from tests.support.service import Person, Service, running
from tests.support.service import test_settings as settings_of_tests


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


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": None}, "name"),
        ({"name": "  "}, "name"),
        ({"name": {"$gt": ""}}, "name"),
        ({"numbers": []}, "numbers"),
        ({"numbers": [9876543210] * 1_000}, "numbers"),
        ({"numbers": {"$ne": 1}}, "numbers"),
        ({"message": "Hello", "audio_url": "https://example.com/a.mp3"}, "audio_url"),
        ({"audio_url": "file:///etc/passwd"}, "audio_url"),
        ({"max_concurrent": 0}, "max_concurrent"),
        ({"max_concurrent": True}, "max_concurrent"),
        ({"max_concurrent": "5"}, "max_concurrent"),
        ({"calls_per_minute": 1.5}, "calls_per_minute"),
        ({"machine_detection": "yes"}, "machine_detection"),
        ({"start": "yes"}, "start"),
        ({"start_at": "2026-11-24"}, "start_at"),
        ({"start_at": 1_800_000_000}, "start_at"),
        ({"start_at": "9999-12-31T23:59:59-12:00"}, "start_at"),
        ({"start_at": "0001-01-01T00:00:00+14:00"}, "start_at"),
        ({"budget": 9.99}, "budget"),
        ({"budget": True}, "budget"),
        ({"window": {"start": "18:00", "end": "09:00"}}, "window"),
        ({"window": {"start": "9", "end": "21:00"}}, "window"),
        ({"window": {"start": "09:00", "end": "21:00", "timezone": "Mars"}}, "window"),
        ({"window": {"days": ["fun"], "start": "09:00", "end": "21:00"}}, "window.days.0"),
        ({"retry": {"max_attempts": 11}}, "retry.max_attempts"),
        (
            {"retry": {"max_attempts": 2, "delays_minutes": {"busy": [-1]}}},
            "retry.delays_minutes.busy.0",
        ),
        ({"end_at": "2026-11-24"}, "end_at"),
        ({"end_at": "2026-01-01T00:00:00Z"}, "end_at"),
        ({"purpose": "spam"}, "purpose"),
        ({"language": "hindi"}, "language"),
        ({"keys": {"12": "stop"}}, "keys.12.[key]"),
        ({"caller_ids": ["hello"]}, "caller_ids"),
        ({"message": "Namaste {{name"}, "message"),
    ],
)
async def test_what_cannot_be_meant_is_refused_by_its_name(
    service: Service, person: Person, changes: dict[str, Any], field: str
) -> None:
    body = {"name": "Diwali", "numbers": numbers_of(1), **changes}
    refused = await service.post("/api/campaigns", person, json=body)
    assert refused.status_code == 422, refused.text
    assert [error["field"] for error in refused.json()["errors"]] == [field]
    assert await nothing_of(service, person)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": ""}, "name"),
        ({"message": "Hello", "connect_to": "9876543210"}, "connect_to"),
        ({"max_concurrent": "many"}, "max_concurrent"),
        ({"machine_detection": "true"}, "machine_detection"),
        ({"start_at": "tomorrow"}, "start_at"),
        ({"simulate": "{"}, "simulate"),
        ({"budget": "9.99"}, "budget"),
        ({"retry": '{"max_attempts": 99}'}, "retry"),
        ({"window": '{"start": "18:00", "end": "09:00"}'}, "window"),
    ],
)
async def test_a_form_is_refused_by_the_name_of_its_field(
    service: Service, person: Person, changes: dict[str, str], field: str
) -> None:
    answer = await service.post(
        "/api/campaigns/upload",
        person,
        files={"file": ("people.csv", "9876543210")},
        data={"name": "Diwali", **changes},
    )
    assert answer.status_code == 422, answer.text
    assert [error["field"].split(".")[0] for error in answer.json()["errors"]] == [field]
    assert await nothing_of(service, person)


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 422, "unreadable_file"),
        (b"phone\n", 422, "no_usable_row"),
        (bytes(range(256)) * 8, 422, "unreadable_file"),
        ("phone\n9876543210\n".encode("utf-16-le"), 422, "unreadable_file"),
        (b"name,city\nAsha,Pune\n", 422, "phone_column_not_found"),
        (b"phone\n9.87654321E+09\n12\n", 422, "no_usable_row"),
        (b"phone\n" + b"1\n" * 500_001, 413, "too_many_rows"),
        (b"1" * (51 * 1024 * 1024), 413, "body_too_large"),
    ],
)
async def test_a_file_without_anybody_to_call_is_no_campaign(
    service: Service, person: Person, content: bytes, status: int, code: str
) -> None:
    answer = await service.post(
        "/api/campaigns/upload",
        person,
        files={"file": ("people.csv", content)},
        data={"name": "Diwali"},
    )
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    if code == "no_usable_row" and b"E+09" in content:
        assert "as text" in answer.json()["rejected"][0]["message"]
        assert answer.json()["rejected_count"] == 2
    assert await nothing_of(service, person)


async def test_a_list_that_is_too_long_or_no_json_is_refused(
    service: Service, person: Person
) -> None:
    body = {"name": "Diwali", "numbers": ["9876543210"] * 100_001}
    answer = await service.post("/api/campaigns", person, json=body)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_many_rows")
    body["numbers"] = ["1" * 60] * 100_000
    answer = await service.post("/api/campaigns", person, json=body)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    answer = await service.post("/api/campaigns", person, data={"name": "Diwali"})
    assert answer.status_code == 415
    answer = await service.post("/api/campaigns/upload", person, json={"name": "Diwali"})
    assert answer.status_code == 422
    assert await nothing_of(service, person)


async def test_a_thousand_refused_rows_are_told_and_all_are_counted(
    service: Service, person: Person
) -> None:
    content = "\n".join(["phone", "9876543210", *["nobody"] * 2_500])
    created = await upload(service, person, content)
    assert (len(created["rejected"]), created["rejected_count"]) == (1_000, 2_500)
    assert (await shown(service, person, created))["rejected_count"] == 2_500


# --- long lists -----------------------------------------------------------------------------------


async def test_thirty_thousand_rows_come_in_whole_and_hold_nobody_up(
    service: Service, person: Person
) -> None:
    content = "name,phone\n" + "\n".join(f"N,{to}" for to in numbers_of(30_000))
    waits: list[float] = []

    async def somebody_else() -> None:
        other = await service.signup()
        while not done.is_set():
            began = time.perf_counter()
            await service.balance(other)
            waits.append(time.perf_counter() - began)
            await asyncio.sleep(0.02)

    done = asyncio.Event()
    waiting = asyncio.create_task(somebody_else())
    began = time.perf_counter()
    created = await upload(service, person, content, start="false")
    whole = time.perf_counter() - began
    done.set()
    await waiting
    assert (created["counts"]["pending"], created["counts"]["total"]) == (30_000, 30_000)
    waits.sort()
    # Reading it takes seconds of a processor. Nobody waits for that, on a slow machine neither.
    assert waits[len(waits) * 99 // 100] < whole / 4, (waits[-10:], whole)
    answer = await service.get(f"/api/campaigns/{created['campaign_id']}/results", person)
    assert answer.text.count("\n") == 30_001
    assert await act(service, person, created, "cancel") == 200
    await until(service, person, created, lambda c: c["counts"]["canceled"] == 30_000)


# --- lists that break off -------------------------------------------------------------------------


def draft_of(person: Person, campaign_id: str) -> NewCampaign:
    return creation.plan_campaign(campaign_id, person.id, CampaignPlan(name="Diwali"))


async def test_a_list_that_breaks_off_leaves_nothing(service: Service, person: Person) -> None:
    async def breaks_off() -> AsyncIterator[ContactChunk]:
        yield ContactChunk(usable=list(enumerate(numbers_of(500), 1)))
        raise Unavailable("The list could not be read to its end; try again.")

    with pytest.raises(Unavailable):
        await creation.create_campaign(draft_of(person, "cmp_breaks"), breaks_off())  # type: ignore[arg-type]
    assert await nothing_of(service, person)


async def test_a_list_whose_process_died_is_forgotten_and_may_be_sent_again(
    service: Service, person: Person
) -> None:
    campaign = draft_of(person, "cmp_dead")
    assert await campaign_records.create_draft(campaign)
    await contacts.create_contacts("cmp_dead", person.id, enumerate(numbers_of(1_500), 1))
    assert (await service.get("/api/campaigns/cmp_dead", person)).status_code == 404
    await database.db.campaigns.update_one(
        {"_id": "cmp_dead"}, {"$set": {"look_at": clock.after(-1)}}
    )
    async with asyncio.timeout(60):
        while not await nothing_of(service, person):  # noqa: ASYNC110 - the dialer does not say
            await asyncio.sleep(0.05)

    async def chunks() -> AsyncIterator[ContactChunk]:
        yield ContactChunk(usable=[(1, numbers_of(1)[0])])

    again = await creation.create_campaign(campaign, chunks())  # type: ignore[arg-type]
    assert again["status"] == "running"
    same = await creation.create_campaign(campaign, chunks())  # type: ignore[arg-type]
    assert same["created_at"] == again["created_at"]
    # Giving up an attempt that is behind does not touch what another one completed.
    await campaign_records.delete_draft("cmp_dead")
    over = await until(service, person, {"campaign_id": "cmp_dead"}, is_over)
    assert over["counts"]["answered"] == over["counts"]["total"] == 1
