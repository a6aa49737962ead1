"""Campaigns over HTTP: from a list to results, paused, resumed, canceled, and seen by whom."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator
from typing import Any

import pytest

from core import clock
from tests.support import calls as calling
from tests.support.campaigns import (
    FAST,
    SLOW,
    act,
    calls_of,
    calls_placed,
    create,
    is_over,
    list_of,
    numbers_of,
    shown,
    until,
    upload,
)
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


async def test_everybody_on_the_list_is_called_once_and_paid_once(
    service: Service, person: Person
) -> None:
    created = await create(service, person, 3)
    assert created["status"] == "running"
    assert created["counts"]["total"] == 3
    assert created["rejected"] == []
    over = await until(service, person, created, is_over)
    assert over["counts"] == {**dict.fromkeys(over["counts"], 0), "answered": 3, "total": 3}
    assert over["spent"] == 15.0
    assert over["completed_at"] is not None
    balance = await service.balance(person)
    assert (balance["balance"], balance["held"]) == (985.0, 0.0)
    told = await service.get(f"/api/transactions?campaign_id={created['campaign_id']}", person)
    assert told.json()["summary"]["debit_count"] == 3


async def test_a_csv_file_is_called_and_its_results_are_a_csv_file(
    service: Service, person: Person
) -> None:
    content = "name;phone\nAsha;9876543210\nRavi;12\nUma;+919812345678\nAsha;09876543210\n"
    created = await upload(service, person, content, message="Hello")
    assert [(r["row"], r["code"]) for r in created["rejected"]] == [
        (3, "invalid_number"),
        (5, "duplicate_in_file"),
    ]
    assert created["rejected_count"] == 2
    await until(service, person, created, is_over)
    answer = await service.get(f"/api/campaigns/{created['campaign_id']}/results", person)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert f"{created['campaign_id']}-results.csv" in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(r["row"], r["to"], r["state"], r["duration_seconds"], r["cost"]) for r in rows] == [
        ("2", "'+919876543210", "answered", "30", "5.00"),
        ("4", "'+919812345678", "answered", "30", "5.00"),
    ]


async def test_what_became_of_each_is_told_and_only_answers_cost(
    service: Service, person: Person
) -> None:
    for outcome in ("busy", "no_answer", "failed"):
        created = await create(service, person, 2, simulate=FAST | {"outcome": outcome})
        over = await until(service, person, created, is_over)
        assert over["counts"][outcome] == 2
        assert over["spent"] == 0.0
        assert [c["state"] for c in await list_of(service, person, created)] == [outcome] * 2
    assert (await service.balance(person))["balance"] == 1_000.0


async def test_contacts_come_in_pages_and_by_state(service: Service, person: Person) -> None:
    created = await create(service, person, 5, start=False)
    path = f"/api/campaigns/{created['campaign_id']}/contacts"
    rows, query = [], "?limit=2"
    while True:
        page = (await service.get(path + query, person)).json()
        rows += [(c["row"], c["to"], c["state"]) for c in page["contacts"]]
        if page["next_cursor"] is None:
            break
        query = f"?limit=2&cursor={page['next_cursor']}"
    assert rows == [(i + 1, to, "pending") for i, to in enumerate(numbers_of(5))]
    assert await list_of(service, person, created, "?state=answered") == []
    assert len(await list_of(service, person, created, "?state=pending")) == 5
    for query in ("?state=claimed", "?limit=0", "?limit=201", "?cursor=x", "?cursor=eyIkZ3QiOjF9"):
        assert (await service.get(path + query, person)).status_code == 422, query


# --- what its owner does --------------------------------------------------------------------------


async def test_a_paused_campaign_places_no_calls_and_goes_on_where_it_was(
    service: Service, person: Person
) -> None:
    script = FAST | {"wall_seconds": 0.5}
    created = await create(service, person, 6, max_concurrent=2, simulate=script)
    await until(service, person, created, lambda c: c["counts"]["in_call"] == 2)
    assert await act(service, person, created, "pause") == 200
    assert await act(service, person, created, "pause") == 409
    rest = await until(service, person, created, lambda c: c["counts"]["in_call"] == 0)
    assert (rest["status"], rest["pause_reason"]) == ("paused", "user")
    await asyncio.sleep(1)
    assert (await shown(service, person, created))["counts"] == rest["counts"]
    assert await act(service, person, created, "resume") == 200
    assert await act(service, person, created, "resume") == 409
    over = await until(service, person, created, is_over)
    assert over["counts"]["answered"] == 6
    for verb in ("pause", "resume", "cancel"):
        assert await act(service, person, created, verb) == 409


async def test_of_a_machine_that_answered_the_result_says_so(
    service: Service, person: Person
) -> None:
    script = FAST | {"answered_by": "machine"}
    options: dict[str, Any] = {"machine_detection": "hang_up", "simulate": script}
    created = await create(service, person, 2, **options)
    assert created["machine_detection"] == "hang_up"
    over = await until(service, person, created, is_over)
    assert over["counts"]["answered"] == 2
    found = await list_of(service, person, created, "?state=answered")
    assert [c["reason"] for c in found] == ["answered_by_machine"] * 2
    sent = await upload(service, person, "9876543210", machine_detection="report", start="false")
    assert sent["machine_detection"] == "report"
    plain = await create(service, person, 1)
    await until(service, person, plain, is_over)
    assert [c["reason"] for c in await list_of(service, person, plain)] == [None]


async def test_what_a_person_decides_after_the_campaign_is_counted_to_it(
    service: Service, person: Person
) -> None:
    created = await create(service, person, 2, max_concurrent=2, simulate=SLOW)
    placed = await calls_placed(service, person, 2)
    for call, seconds in zip(placed, (30, 99_999), strict=True):
        told = await calling.report(service, call["call_id"], "completed", seconds)
        assert told.status_code == 204
    over = await until(service, person, created, is_over)
    assert (over["spent"], over["counts"]["answered"]) == (5.0, 2)
    decided = await service.post(
        f"/api/admin/calls/{placed[1]['call_id']}/resolve",
        await service.admin(),
        json={"note": "asked the network", "duration_seconds": 60},
    )
    assert decided.json()["cost"] == 10.0
    await until(service, person, created, lambda c: c["spent"] == 15.0)
    costs = sorted(c["cost"] for c in await list_of(service, person, created))
    assert costs == [5.0, 10.0]


async def test_a_canceled_campaign_lets_its_calls_end_and_calls_nobody_else(
    service: Service, person: Person
) -> None:
    created = await create(service, person, 5, max_concurrent=2, simulate=SLOW)
    await until(service, person, created, lambda c: c["counts"]["in_call"] == 2)
    await calls_placed(service, person, 2)
    assert await act(service, person, created, "cancel") == 200
    found = await shown(service, person, created)
    assert (found["counts"]["canceled"], found["counts"]["in_call"]) == (3, 2)
    for call in await calls_of(service, person):
        assert (await service.post(f"/api/calls/{call['call_id']}/hangup", person)).is_success
    end = await until(service, person, created, lambda c: c["counts"]["in_call"] == 0)
    assert (end["status"], end["counts"]["total"]) == ("canceled", 5)
    assert len(await calls_of(service, person)) == 2
    assert (await service.balance(person))["held"] == 0.0
    assert await act(service, person, created, "cancel") == 409


async def test_a_draft_waits_for_its_owner_and_a_schedule_for_its_time(
    service: Service, person: Person
) -> None:
    draft = await create(service, person, 1, start=False)
    soon = clock.iso(clock.after(1.5))
    scheduled = await create(service, person, 1, start_at=soon)
    assert (draft["status"], scheduled["status"]) == ("draft", "scheduled")
    assert scheduled["start_at"] == soon
    over = await until(service, person, scheduled, is_over)
    assert over["started_at"] >= soon
    assert (await shown(service, person, draft))["status"] == "draft"
    assert await act(service, person, draft, "pause") == 409
    assert await act(service, person, draft, "resume") == 200
    await until(service, person, draft, is_over)


async def test_a_campaign_is_its_owners_and_the_admins(service: Service, person: Person) -> None:
    created = await create(service, person, 1, start=False)
    path = f"/api/campaigns/{created['campaign_id']}"
    stranger, boss = await service.signup(), await service.admin()
    for tail in ("", "/contacts", "/results"):
        assert (await service.get(path + tail, stranger)).status_code == 404
        assert (await service.get(path + tail)).status_code == 401
        assert (await service.get(path + tail, boss)).status_code == 200
    for verb in ("pause", "resume", "cancel"):
        assert (await service.post(f"{path}/{verb}", stranger)).status_code == 404
    listed = await service.get(f"/api/campaigns?user_id={person.id}", stranger)
    assert listed.json()["campaigns"] == []
    listed = await service.get(f"/api/campaigns?user_id={person.id}", boss)
    assert [c["campaign_id"] for c in listed.json()["campaigns"]] == [created["campaign_id"]]


async def test_campaigns_come_newest_first_in_pages(service: Service, person: Person) -> None:
    made = [(await create(service, person, 1, start=False))["campaign_id"] for _ in range(5)]
    seen, query = [], "?limit=2"
    while True:
        page = (await service.get(f"/api/campaigns{query}", person)).json()
        seen += [c["campaign_id"] for c in page["campaigns"]]
        if page["next_cursor"] is None:
            break
        query = f"?limit=2&cursor={page['next_cursor']}"
    assert seen == made[::-1]
    assert (await service.get("/api/campaigns?status=running", person)).json()["campaigns"] == []
    assert (await service.get("/api/campaigns?status=gone", person)).status_code == 422


# --- repeated -------------------------------------------------------------------------------------


async def test_the_same_request_with_the_same_key_is_one_campaign(
    service: Service, person: Person
) -> None:
    key = {"Idempotency-Key": "diwali-1"}
    body = {"name": "Diwali", "numbers": numbers_of(2), "start": False}
    first, *others = await asyncio.gather(
        *(service.post("/api/campaigns", person, json=body, headers=key) for _ in range(5))
    )
    again = await service.post("/api/campaigns", person, json=body, headers=key)
    assert again.headers["idempotency-replayed"] == "true"
    assert {a.status_code for a in (first, *others)} <= {201, 409}
    assert len((await service.get("/api/campaigns", person)).json()["campaigns"]) == 1

    async def sent(content: str) -> Any:
        files = {"file": ("people.csv", content)}
        data = {"name": "Diwali", "start": "false"}
        path = "/api/campaigns/upload"
        return await service.post(path, person, files=files, data=data, headers=key)

    created, replayed = await sent("9876543210"), await sent("9876543210")
    assert (created.status_code, replayed.status_code) == (201, 201)
    assert created.json() == replayed.json()
    assert (await sent("9876543211")).json()["code"] == "idempotency_key_reused"


# --- whom a list means ----------------------------------------------------------------------------


async def test_the_answer_says_which_column_was_read_and_how_it_was_chosen(
    service: Service, person: Person
) -> None:
    content = "name,Ph No,number\nAsha,9876543210,1\nRavi,9812345678,2\n"
    created = await upload(service, person, content, start="false")
    assert (created["phone_column"], created["chosen_by"]) == ("Ph No", "name")
    assert (await shown(service, person, created))["phone_column"] == "Ph No"
    named = await upload(service, person, content, start="false", phone_column="ph no")
    assert (named["phone_column"], named["chosen_by"]) == ("Ph No", "named")
    listed = await create(service, person, 1, start=False)
    assert (listed["phone_column"], listed["chosen_by"]) == (None, "list")


async def sent_file(
    service: Service, person: Person, content: str, *more: tuple[str, Any], **fields: str
) -> tuple[int, dict[str, Any]]:
    answer = await service.post(
        "/api/campaigns/upload",
        person,
        files=[("file", ("people.csv", content)), *more],
        data={"name": "Diwali", "start": "false", **fields},
    )
    return answer.status_code, answer.json()


async def test_two_columns_that_may_be_meant_are_told_with_their_numbers(
    service: Service, person: Person
) -> None:
    content = "पति का मोबाइल,पिता का मोबाइल\n9876543210,9812345678\n9876543211,\n"
    status, body = await sent_file(service, person, content)
    assert (status, body["code"]) == (422, "phone_column_not_found")
    assert body["candidates"] == [
        {"column": "पति का मोबाइल", "numbers": 2},
        {"column": "पिता का मोबाइल", "numbers": 1},
    ]
    status, body = await sent_file(service, person, content, phone_column="पिता का मोबाइल")
    assert (status, body["counts"]["total"]) == (201, 1)
    status, body = await sent_file(service, person, content, phone_column="  ")
    assert status == 422


async def test_two_files_are_refused(service: Service, person: Person) -> None:
    """The second was called, and the first ignored."""
    second = ("file", ("more.csv", "9812345678\n"))
    status, body = await sent_file(service, person, "9876543210\n", second)
    assert (status, body["code"]) == (422, "validation_error")
    assert body["errors"] == [{"field": "file", "message": "is there 2 times; send it once"}]
    twice = ("phone_column", (None, "a"))
    status, body = await sent_file(service, person, "a,b\n1,2\n", twice, phone_column="b")
    assert (status, body["errors"][0]["field"]) == (422, "phone_column")


async def test_none_of_the_rows_read_is_refused_with_the_column(
    service: Service, person: Person
) -> None:
    status, body = await sent_file(service, person, "name,phone\nAsha,9.87654E+09\n")
    assert (status, body["code"], body["phone_column"]) == (422, "no_usable_row", "phone")
    assert "Format the column as text" in body["rejected"][0]["message"]


@pytest.mark.parametrize("blank", [" ", "\u200b", "\u2800", "\u3164", "\x00"], ids=ascii)
async def test_a_blank_name_or_message_is_refused(
    service: Service, person: Person, blank: str
) -> None:
    for field in ("name", "message"):
        body = {"name": "Diwali", "numbers": numbers_of(1), "start": False, field: blank}
        answer = await service.post("/api/campaigns", person, json=body)
        assert answer.status_code == 422
        assert [e["field"] for e in answer.json()["errors"]] == [field]
        status, found = await sent_file(service, person, "9876543210\n", **{field: blank})
        assert (status, [e["field"] for e in found["errors"]]) == (422, [field])


@pytest.mark.parametrize(
    ("content", "limit"),
    [("a," * 1_000_000, "columns"), ("a,b\n" + "a," + "b" * 40_000, "characters in one cell")],
    ids=["a million columns", "a long cell"],
)
async def test_a_file_with_more_than_is_read_is_413_that_says_why(
    service: Service, person: Person, content: str, limit: str
) -> None:
    status, body = await sent_file(service, person, content)
    assert (status, body["code"], body["limit"]) == (413, "file_too_large", limit)
