"""Complaints, the history of a number, and the calling rules that admins change."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from compliance import calling_hours, complaints
from core import clock, config, database
from tests.support.calls import over, place
from tests.support.service import Person, Service, new_key, running, test_settings

NUMBER = "+919876543210"


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


async def complain(service: Service, person: Person, **body: Any) -> dict[str, Any]:
    answer = await service.post(
        "/api/complaints", person, json={"number": NUMBER, "source": "network", **body}
    )
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_complaint_gathers_the_evidence_and_ends_the_calls(
    service: Service, person: Person
) -> None:
    call = await place(service, person, {"outcome": "busy", "wall_seconds": 0})
    await over(service, person, call["call_id"])
    made = await complain(service, person, text="At night", received_at="2026-11-01")
    assert [one["call_id"] for one in made["evidence"]["calls"]] == [call["call_id"]]
    assert made["evidence"]["calls"][0]["purpose"] == "service"
    assert made["received_at"].startswith("2026-11-01T18:29:59")  # the end of that day in India
    refused = await service.post("/api/call", person, json={"to": NUMBER})
    assert refused.json()["code"] == "do_not_call"

    why = await service.get(f"/api/numbers/{NUMBER}/history", person)
    assert why.status_code == 200, why.text
    found = why.json()
    assert [one["call_id"] for one in found["calls"]] == [call["call_id"]]
    assert found["do_not_call"][0]["source"] == "complaint"
    assert found["complaints"][0]["complaint_id"] == made["complaint_id"]
    assert found["attempts"][0]["call_id"] == call["call_id"]

    kept = await service.get(f"/api/complaints/{made['complaint_id']}", person)
    assert kept.json()["evidence"] == made["evidence"]
    other = await service.signup()
    strange = await service.get(f"/api/complaints/{made['complaint_id']}", other)
    assert strange.status_code == 404
    assert (await service.get(f"/api/numbers/{NUMBER}/history", other)).json()["calls"] == []
    operator = await service.operator()
    everybody = await service.get(f"/api/numbers/{NUMBER}/history", operator)
    assert call["call_id"] in {one["call_id"] for one in everybody.json()["calls"]}


async def test_five_in_ten_days_are_the_limit_and_three_warn(
    service: Service, person: Person
) -> None:
    levels = []
    for number in range(5):
        made = await complain(service, person, number=f"+9198123{number:05}")
        levels.append((made["complaints_in_ten_days"], made["level"]))
    assert levels == [
        *((1, "ok"), (2, "ok"), (3, "warning"), (4, "warning"), (5, "limit_reached")),
    ]
    assert "15 days" in made["what_follows"]
    old = await complain(
        service,
        person,
        number="+919812399999",
        received_at=clock.iso(clock.after(-10 * 86_400 - 60)),
    )
    assert old["complaints_in_ten_days"] == 5
    page = await service.get("/api/complaints", person, params={"limit": 2})
    assert (page.json()["complaints_in_ten_days"], len(page.json()["complaints"])) == (5, 2)
    assert page.json()["next_cursor"]
    csv = (await service.get("/api/complaints/download", person)).text
    assert csv.count("\n") == 7
    ahead = {"number": NUMBER, "source": "network", "received_at": "2999-01-01"}
    assert (await service.post("/api/complaints", person, json=ahead)).status_code == 422


async def test_the_same_request_is_one_complaint(service: Service, person: Person) -> None:
    key, body = new_key(), {"number": NUMBER, "source": "customer"}
    answers = [
        await service.post("/api/complaints", person, json=body, headers=key) for _ in range(2)
    ]
    assert answers[0].json() == answers[1].json()
    assert (await complaints.get_standing(person.id)).count == 1


async def test_an_admins_complaint_is_the_platforms(service: Service, person: Person) -> None:
    admin = await service.admin()
    foreign = {"number": NUMBER, "source": "network", "user_id": "usr_other"}
    assert (await service.post("/api/complaints", person, json=foreign)).status_code == 403
    made = await complain(service, admin, number="+919812377777")
    assert made["user_id"] is None
    refused = await service.post("/api/call", person, json={"to": "+919812377777"})
    assert (refused.json()["code"], refused.json()["list"]) == ("do_not_call", "platform")


async def test_admins_change_the_hours_in_versions_and_never_beyond_the_floor(
    service: Service, person: Person
) -> None:
    admin = await service.admin()
    path = "/api/admin/calling-rules"
    before = (await service.get(path, admin)).json()
    assert (before["version"], before["hours"]["promotional"]["start"]) == (0, "10:00")
    wide = {"version": 0, "hours": {"collection": {"start": "07:59", "end": "19:00"}}}
    refused = await service.request("PUT", path, admin, json=wide)
    assert (refused.status_code, refused.json()["code"]) == (422, "validation_error")
    next_week = str(clock.ist_date(clock.after(7 * 86_400)))
    body = {
        "version": 0,
        "hours": {"promotional": {"start": "11:00", "end": "18:00"}},
        "holidays": [
            {"date": "2027-01-26", "name": "Republic Day", "purposes": ["promotional"]},
            soon := {"date": next_week, "name": "A feast", "purposes": ["collection"]},
        ],
        "note": "fewer calls",
    }
    changed = await service.request("PUT", path, admin, json=body)
    assert changed.status_code == 200, changed.text
    assert changed.json()["version"] == 1
    assert changed.json()["hours"]["service"] == {"start": "09:00", "end": "21:00"}
    told = (await service.get("/api/calling-hours", person)).json()
    assert (told["calling_hours"], told["timezone"]) == ("off", "Asia/Kolkata")
    assert told["hours"] == changed.json()["hours"]
    assert soon in told["closed_days"]
    stale = await service.request("PUT", path, admin, json=body)
    assert (stale.status_code, stale.json()["code"]) == (409, "stale_rules")
    rows = await database.db.audit_log.find({"action": "calling_rules.change"}).to_list(None)
    assert [(row["before"]["version"], row["after"]["version"]) for row in rows] == [(0, 1)]

    # A campaign that started before keeps what is narrower, and never gets anything wider.
    config.use(service.settings.model_copy(update={"calling_hours": "on"}))
    try:
        frozen = {"hours": {"start": "10:00", "end": "17:00"}, "holidays": ["2027-08-15"]}
        rules = await calling_hours.in_force("promotional", {"purpose": "promotional", **frozen})
        assert rules["hours"] == {"start": "11:00", "end": "17:00"}
        assert rules["holidays"] == ["2027-01-26", "2027-08-15"]
        assert (await calling_hours.freeze_rules("promotional"))["version"] == 1
    finally:
        config.use(service.settings)
    assert (await calling_hours.freeze_rules("promotional"))["hours"] is None
