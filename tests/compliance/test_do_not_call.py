"""Do-not-call lists: of users and of the platform, where they are kept and where they are asked."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

import compliance
from compliance import do_not_call
from compliance.do_not_call import PLATFORM
from core import database
from tests.support.service import Person, Service, running, test_settings

LISTED = "+919812345678"
FREE = "+919876543210"


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for all of them."""
    async with running(test_settings(mongodb_uri)) as started:
        yield started


@pytest.fixture
async def person(service: Service) -> Person:
    found = await service.signup()
    await service.fund(found, 100)
    return found


async def listed(service: Service, person: Person, **query: Any) -> list[dict[str, Any]]:
    answer = await service.get("/api/do-not-call", person, params=query)
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, Any]] = answer.json()["numbers"]
    return rows


async def test_a_listed_number_is_not_called_in_either_leg(
    service: Service, person: Person
) -> None:
    body = {"numbers": [LISTED, "not a number", "098123 45678"], "source": "letter", "note": "=1+1"}
    answer = await service.post("/api/do-not-call", person, json=body)
    assert answer.status_code == 201
    assert answer.json()["added"] == 1
    assert [one["row"] for one in answer.json()["rejected"]] == [2]
    [row] = await listed(service, person)
    assert (row["number"], row["source"], row["added_by"]) == (LISTED, "letter", person.email)

    refused = await service.post("/api/call", person, json={"to": LISTED})
    assert (refused.status_code, refused.json()["code"]) == (422, "do_not_call")
    assert refused.json()["list"] == "own"
    second = await service.post("/api/call", person, json={"to": FREE, "connect_to": LISTED})
    assert (second.status_code, second.json()["code"]) == (422, "do_not_call")
    assert (await service.balance(person))["held"] == 0
    other = await service.signup()
    await service.fund(other, 100)
    simulate = {"outcome": "busy", "wall_seconds": 0}
    taken = await service.post("/api/call", other, json={"to": LISTED, "simulate": simulate})
    assert taken.status_code == 202  # it is not on their list

    csv = (await service.get("/api/do-not-call/download", person)).text
    assert f"{LISTED},letter,'=1+1," in csv
    removed = await service.request(
        "DELETE", "/api/do-not-call", person, params={"number": "9812345678"}
    )
    assert removed.status_code == 204
    assert await listed(service, person) == []
    again = await service.request("DELETE", "/api/do-not-call", person, params={"number": LISTED})
    assert again.status_code == 404


async def test_the_platforms_list_holds_for_everybody_and_only_admins_write_it(
    service: Service, person: Person
) -> None:
    body = {"number": "+919812300001", "list": "platform"}
    assert (await service.post("/api/do-not-call", person, json=body)).status_code == 403
    assert (
        await service.get("/api/do-not-call", person, params={"list": "platform"})
    ).status_code == 403
    admin = await service.admin()
    assert (await service.post("/api/do-not-call", admin, json=body)).status_code == 201
    refused = await service.post("/api/call", person, json={"to": body["number"]})
    assert (refused.json()["code"], refused.json()["list"]) == ("do_not_call", "platform")
    operator = await service.operator()
    assert (await service.post("/api/do-not-call", operator, json=body)).status_code == 403
    rows = await listed(service, operator, list="platform")
    assert body["number"] in {row["number"] for row in rows}
    found = await compliance.check_number(person.id, body["number"])
    assert found is not None
    assert (found.code, found.is_final) == ("do_not_call", True)


async def test_an_erased_number_is_not_called_and_nothing_shows_it(
    service: Service, person: Person
) -> None:
    body = {"number": "+919812300002"}
    await service.post("/api/do-not-call", person, json=body | {"note": "called her twice"})
    for _ in range(2):
        answer = await service.post("/api/do-not-call/erase", person, json=body)
        assert answer.status_code == 200
        assert (answer.json()["number"], answer.json()["note"]) == (None, "")
    rows = await database.db.do_not_call.find({"owner": person.id}).to_list(None)
    assert len(rows) == 1
    assert "9812300002" not in str(rows)
    refused = await service.post("/api/call", person, json={"to": body["number"]})
    assert refused.json()["code"] == "do_not_call"
    # It is there already, though nobody can see it.
    repeated = await service.post("/api/do-not-call", person, json=body)
    assert repeated.json()["already_listed"] == 1
    found = await do_not_call.find_listed(person.id, [body["number"], FREE])
    assert set(found) == {body["number"]}


async def test_a_file_is_listed_searched_and_paged(service: Service, person: Person) -> None:
    numbers = [f"+9198111{n:05}" for n in range(40)]
    content = "name;mobile\n" + "".join(f"A;{number}\n" for number in numbers) + "B;12\n"
    answer = await service.post(
        "/api/do-not-call/upload", person, files={"file": ("list.csv", content.encode())}
    )
    assert answer.status_code == 201, answer.text
    body = answer.json()
    assert (body["added"], body["rejected_count"], body["rejected"][0]["row"]) == (40, 1, 42)
    first = await service.get("/api/do-not-call", person, params={"limit": 25})
    cursor = first.json()["next_cursor"]
    second = await service.get("/api/do-not-call", person, params={"limit": 25, "cursor": cursor})
    shown = [row["number"] for page in (first, second) for row in page.json()["numbers"]]
    assert (sorted(shown), second.json()["next_cursor"]) == (numbers, None)
    found = await listed(service, person, search="91981110001", limit=200)
    assert [row["number"] for row in found] == [n for n in numbers if n.startswith("+91981110001")]
    # Every one of a batch, and of the few that a call asks for.
    assert len(await do_not_call.find_listed(person.id, [*numbers, FREE])) == 40
    assert set(await do_not_call.find_listed(person.id, [numbers[0], FREE])) == {numbers[0]}


async def test_what_two_add_at_once_is_there_once(service: Service) -> None:
    numbers = [f"+9198222{n:05}" for n in range(50)]
    done = await asyncio.gather(
        *(
            do_not_call.add_numbers(PLATFORM, numbers, source="upload", by="a test")
            for _ in range(4)
        )
    )
    assert sum(one.added for one in done) == 50
    assert sum(one.already_listed for one in done) == 150


async def test_a_long_list_finds_listings_of_every_kind(service: Service, person: Person) -> None:
    """Only what an owner has is looked up: their numbers, their erased ones, and the platform's."""
    numbers = [f"+9198333{n:05}" for n in range(30)]
    expected: dict[str, str] = {}
    for place, owner in enumerate((person.id, PLATFORM)):
        plain, erased, both = numbers[3 * place], numbers[3 * place + 1], numbers[9]
        await do_not_call.erase_number(owner, erased, by="a test")
        expected[erased] = owner
        found = await do_not_call.find_listed(person.id, numbers)
        assert {number: one["owner"] for number, one in found.items()} == expected
        await do_not_call.add_numbers(owner, [plain, both], source="manual", by="a test")
        expected |= {plain: owner, both: person.id}  # the own listing is the one that is told
        found = await do_not_call.find_listed(person.id, numbers)
        assert {number: one["owner"] for number, one in found.items()} == expected
        # The few numbers of a call are looked up in another way, and found just so.
        for number, whose in expected.items():
            (one,) = (await do_not_call.find_listed(person.id, [number, FREE])).values()
            assert one["owner"] == whose
