"""What networks report: late, twice, in any order, without a duration, or impossible."""

import asyncio
import dataclasses
import itertools
from collections.abc import AsyncIterator
from typing import Any, cast

import httpx
import pytest

from calls import lifecycle, monitor
from calls.records import RESOLVED, Call
from core import clock
from core.database import Document, db
from reporting import audit
from telephony import OVER, RANK, Ambiguous, Report
from telephony.simulator import Simulator
from tests.support import calls as calling
from tests.support.service import Person, Service, running, test_settings


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for all tests of this file, with slices of a minute; each has its own users."""
    settings = test_settings(mongodb_uri, call_slice_minutes=1, signups_per_hour=100_000)
    async with running(settings) as started:
        yield started


async def with_call(service: Service, rupees: int = 100) -> tuple[Person, str]:
    """Somebody with money, and a call of which only the test reports."""
    person = await service.signup()
    await service.fund(person, rupees)
    return person, (await calling.place(service, person, calling.SILENT))["call_id"]


async def kept(call_id: str) -> Call:
    found = await db.calls.find_one({"_id": call_id})
    assert found is not None
    return cast(Call, found)


async def assert_sound(person: Person) -> None:
    report = await audit.audit(person.id)
    assert report.ok, report.violations


# --- order --------------------------------------------------------------------------------------

NEWS: list[tuple[str, int | None]] = [("ringing", None), ("in_progress", None), ("completed", 30)]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_in_any_order_and_twice_the_news_lead_to_the_same_end(
    service: Service, order: tuple[int, ...]
) -> None:
    person, call_id = await with_call(service)
    for index in [*order, *reversed(order)]:
        assert (await calling.report(service, call_id, *NEWS[index])).status_code == 204
    call = await calling.shown(service, person, call_id)
    assert (call["status"], call["billing_status"], call["cost"]) == ("completed", "settled", 5.0)
    assert await calling.debits(service, person) == [5.0]
    balance = await service.balance(person)
    assert (balance["balance"], balance["held"]) == (95.0, 0.0)
    found = await kept(call_id)
    assert sorted(event["status"] for event in found["events"]) == sorted(s for s, _ in NEWS)
    assert found["review_reason"] is None
    assert "next_check_at" not in found
    assert "next_extend_at" not in found


async def test_a_status_never_goes_back(service: Service) -> None:
    person, call_id = await with_call(service)
    await calling.report(service, call_id, "in_progress")
    await calling.report(service, call_id, "ringing")
    await calling.report(service, call_id, "queued")
    assert (await calling.shown(service, person, call_id))["status"] == "in_progress"


async def test_news_that_was_overtaken_by_the_end_does_not_bring_the_call_back(
    service: Service,
) -> None:
    """It was read while the call rang, and is written when the call is over."""
    person, call_id = await with_call(service)
    stale = await kept(call_id)
    await calling.report(service, call_id, "completed", 30)
    before = await kept(call_id)
    news = Report(
        event_id="late",
        provider_call_id=stale["provider_call_id"],
        status="in_progress",
        duration_seconds=None,
        occurred_at=clock.now(),
    )
    await lifecycle._advance(stale, news)
    assert await kept(call_id) == before
    await lifecycle._end(stale, dataclasses.replace(news, status="completed", duration_seconds=30))
    assert await calling.debits(service, person) == [5.0]


async def test_calls_that_are_queued_together_each_know_how_they_are(service: Service) -> None:
    """Their writes are one bulk, of which some match nothing because a callback was earlier."""
    ids = [(await with_call(service))[1] for _ in range(3)]
    submitting = {"status": "submitting", "rank": RANK["submitting"], "provider_call_id": None}
    await db.calls.update_many({"_id": {"$in": ids}}, {"$set": submitting})
    calls = [await kept(call_id) for call_id in ids]
    earlier = {"status": "ringing", "rank": RANK["ringing"]}
    await db.calls.update_one({"_id": ids[1]}, {"$set": earlier})
    await db.calls.update_one({"_id": ids[2]}, {"$set": earlier | {"provider_call_id": "earlier"}})
    told = await asyncio.gather(
        *(lifecycle.mark_queued(call, f"sim_{n}") for n, call in enumerate(calls))
    )
    assert [(call["status"], call["provider_call_id"]) for call in told] == [
        ("queued", "sim_0"),
        ("ringing", "sim_1"),
        ("ringing", "earlier"),
    ]
    assert told == [await kept(call_id) for call_id in ids]
    alone = await lifecycle.mark_queued({**calls[0], "_id": ids[0]}, "sim_again")
    assert alone == await kept(ids[0])
    assert alone["provider_call_id"] == "sim_0"


async def test_a_call_that_is_queued_is_answered_as_it_is_stored(service: Service) -> None:
    _, call_id = await with_call(service)
    submitting = {"status": "submitting", "rank": RANK["submitting"], "provider_call_id": None}
    await db.calls.update_one({"_id": call_id}, {"$set": submitting})
    assert await lifecycle.mark_queued(await kept(call_id), "sim_1") == await kept(call_id)


async def test_one_end_reported_twenty_times_at_once_is_charged_once(service: Service) -> None:
    person, call_id = await with_call(service)
    answers = await asyncio.gather(
        *(calling.report(service, call_id, "completed", 30) for _ in range(20))
    )
    assert {answer.status_code for answer in answers} == {204}
    assert await calling.debits(service, person) == [5.0]
    assert await db.events.count_documents({"name": "CallEnded", "user_id": person.id}) == 1
    await assert_sound(person)


async def test_of_two_ends_the_first_stands_and_a_person_is_told(service: Service) -> None:
    person, call_id = await with_call(service)
    await calling.report(service, call_id, "completed", 30)
    for status, duration in (("busy", None), ("completed", 50)):
        assert (await calling.report(service, call_id, status, duration)).status_code == 204
    call = await calling.shown(service, person, call_id)
    assert (call["status"], call["duration_seconds"], call["cost"]) == ("completed", 30, 5.0)
    assert await calling.debits(service, person) == [5.0]
    found = await kept(call_id)
    assert found["review_reason"] == "the network later reported completed, 50 s"
    assert [event["status"] for event in found["events"]] == ["completed", "busy", "completed"]
    await assert_sound(person)


async def test_the_same_free_end_under_two_ids_contradicts_nothing(service: Service) -> None:
    person, call_id = await with_call(service)
    for event_id, duration in (("first", 0), ("second", None), ("third", 0)):
        await calling.report(service, call_id, "busy", duration, event_id=event_id)
    found = await kept(call_id)
    assert (found["status"], found["duration_seconds"], found["cost_paise"]) == ("busy", 0, 0)
    assert [event["id"] for event in found["events"]] == ["first", "second", "third"]
    assert found["review_reason"] is None
    await assert_sound(person)


async def test_a_second_end_without_a_duration_contradicts_nothing(service: Service) -> None:
    _, call_id = await with_call(service)
    for event_id, duration in (("first", 30), ("second", None)):
        await calling.report(service, call_id, "completed", duration, event_id=event_id)
    found = await kept(call_id)
    assert (found["duration_seconds"], found["cost_paise"]) == (30, 500)
    assert [event["id"] for event in found["events"]] == ["first", "second"]
    assert found["review_reason"] is None


async def test_different_ends_at_once_leave_one_whole_end(service: Service) -> None:
    person, call_id = await with_call(service)
    ends: list[tuple[str, int | None]] = [("completed", 30), ("busy", None), ("completed", 12)]
    await asyncio.gather(*(calling.report(service, call_id, *end) for end in ends * 5))
    call = await calling.shown(service, person, call_id)
    expected = {("completed", 30): [5.0], ("busy", 0): [], ("completed", 12): [2.0]}
    assert (
        await calling.debits(service, person) == expected[call["status"], call["duration_seconds"]]
    )
    assert (await kept(call_id))["review_reason"] is not None
    assert (await service.balance(person))["held"] == 0.0
    await assert_sound(person)


async def test_a_report_about_another_call_of_the_network_is_refused(service: Service) -> None:
    person, call_id = await with_call(service)
    answer = await calling.report(
        service, call_id, "completed", 30, provider_call_id="sim_SOMEBODY_ELSE"
    )
    assert (answer.status_code, answer.json()["code"]) == (403, "invalid_callback_signature")
    assert (await service.balance(person))["held"] == 10.0


async def test_a_talkative_network_does_not_fill_the_record(service: Service) -> None:
    _, call_id = await with_call(service)
    for number in range(40):
        await calling.report(service, call_id, "queued", event_id=f"noise {number}")
    found = await kept(call_id)
    assert [event["id"] for event in found["events"]] == [f"noise {n}" for n in range(10, 40)]


# --- durations ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "duration"),
    [("completed", 0), ("busy", None), ("busy", 7), ("no_answer", 0), ("canceled", None)],
)
async def test_a_call_without_talk_is_free(
    service: Service, status: str, duration: int | None
) -> None:
    person, call_id = await with_call(service)
    await calling.report(service, call_id, status, duration)
    call = await calling.shown(service, person, call_id)
    assert (call["status"], call["billing_status"], call["cost"]) == (status, "released", 0)
    assert await calling.debits(service, person) == []
    assert (await service.balance(person))["available"] == 100.0


async def test_an_answered_call_without_a_duration_waits_for_it(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    person, call_id = await with_call(service)
    await calling.report(service, call_id, "completed")
    call = await calling.shown(service, person, call_id)
    assert (call["status"], call["billing_status"]) == ("completed", "pending_duration")
    assert (call["cost"], call["held"]) == (None, 10.0)
    assert (await service.balance(person))["held"] == 10.0
    # It was answered: an end that says it was not is for a person, and releases nothing.
    await calling.report(service, call_id, "busy")
    call = await calling.shown(service, person, call_id)
    assert (call["status"], call["billing_status"]) == ("completed", "pending_duration")
    assert (await kept(call_id))["review_reason"] is not None

    async def knows(_: Simulator, asked: Document, *others: object) -> Report:
        return Report(
            event_id="details",
            provider_call_id=asked["provider_call_id"],
            status="completed",
            duration_seconds=24,
            occurred_at=clock.now(),
        )

    monkeypatch.setattr(Simulator, "look_up", knows)
    await db.calls.update_one({"_id": call_id}, {"$set": {"next_check_at": clock.after(-1)}})
    await monitor.sweep_overdue_calls()
    call = await calling.over(service, person, call_id)
    assert (call["duration_seconds"], call["cost"]) == (24, 4.0)
    assert await calling.debits(service, person) == [4.0]
    await assert_sound(person)


@pytest.mark.parametrize("duration", [-1, 121, 2_000_000_000])
async def test_an_impossible_duration_is_not_charged_and_its_money_stays_held(
    service: Service, duration: int
) -> None:
    """The limit was 60 s; a minute more is what a network may take to hang up."""
    person, call_id = await with_call(service)
    for _ in range(2):
        assert (await calling.report(service, call_id, "completed", duration)).status_code == 204
    call = await calling.shown(service, person, call_id)
    assert (call["status"], call["billing_status"], call["cost"]) == ("completed", "review", None)
    balance = await service.balance(person)
    assert (balance["balance"], balance["held"]) == (100.0, 10.0)
    assert (await kept(call_id))["review_reason"] == f"{duration} s reported, 60 s were the limit"
    assert await db.events.count_documents({"name": "CallEnded", "user_id": person.id}) == 1
    await calling.report(service, call_id, "no_answer")
    assert (await service.balance(person))["held"] == 10.0
    # The network corrects itself: that is an end that can be charged.
    await calling.report(service, call_id, "completed", 30)
    call = await calling.shown(service, person, call_id)
    assert (call["billing_status"], call["cost"]) == ("settled", 5.0)
    await assert_sound(person)


# --- a person decides -----------------------------------------------------------------------------


async def in_review(service: Service) -> tuple[Person, str]:
    """A call whose network says that it lasted an hour and its limit was a minute."""
    person, call_id = await with_call(service)
    await calling.report(service, call_id, "completed", 3_600)
    return person, call_id


async def resolve(
    service: Service, call_id: str, duration_seconds: Any = None, note: str = "asked the network"
) -> httpx.Response:
    body = {"note": note, "duration_seconds": duration_seconds}
    return await service.post(
        f"/api/admin/calls/{call_id}/resolve", await service.admin(), json=body
    )


async def waits_for_a_person(service: Service, call_id: str) -> str | None:
    """Why, if it does."""
    page = await service.get("/api/admin/reconciliation", await service.admin())
    found = [w["detail"] for w in page.json()["waiting"] if w["id"] == call_id]
    return found[0] if found else None


@pytest.mark.parametrize(("seconds", "cost"), [(40, 6.67), (0, 0.0), (3_600, 600.0)])
async def test_a_person_says_how_long_a_call_in_review_was_and_it_is_charged(
    service: Service, seconds: int, cost: float
) -> None:
    person, call_id = await in_review(service)
    assert await waits_for_a_person(service, call_id) == "3600 s reported, 60 s were the limit"
    for wrong in (None, -1, 86_401, 1.5, "40"):
        refused = await resolve(service, call_id, wrong)
        assert (refused.status_code, refused.json()["code"]) == (422, "validation_error"), wrong
    answer = await resolve(service, call_id, seconds)
    assert answer.status_code == 200, answer.text
    call = answer.json()
    assert (call["status"], call["duration_seconds"]) == ("completed", seconds)
    assert call["billing_status"] == ("settled" if cost else "released")
    assert (call["cost"], call["due"]) == (cost, max(0.0, cost - 100))
    balance = await service.balance(person)
    assert (balance["held"], balance["balance"]) == (0.0, round(max(0.0, 100 - cost), 2))
    assert await waits_for_a_person(service, call_id) is None
    assert (await resolve(service, call_id, seconds)).status_code == 404
    reviewed = (await kept(call_id))["reviewed"]
    assert (reviewed["by"], reviewed["note"]) == (
        (await service.admin()).id,
        "asked the network",
    )
    await assert_sound(person)


async def test_a_decision_keeps_why_the_call_failed(service: Service) -> None:
    _, call_id = await with_call(service)
    open_call = await kept(call_id)
    decided = lifecycle.report_of_decision(open_call, 0, by="usr_admin")
    assert (decided.status, decided.reason) == ("failed", "reviewed")
    assert abs((decided.occurred_at - clock.now()).total_seconds()) < 5
    ended: Call = {
        **open_call,
        "status": "no_answer",
        "rank": OVER,
        "failure_reason": "nobody there",
        "ended_at": open_call["created_at"],
    }
    decided = lifecycle.report_of_decision(ended, 0, by="usr_admin")
    assert (decided.status, decided.reason) == ("no_answer", "nobody there")
    assert decided.occurred_at == open_call["created_at"]


async def test_a_decision_and_the_network_at_once_charge_once(service: Service) -> None:
    person, call_id = await in_review(service)
    answers = await asyncio.gather(
        *(resolve(service, call_id, 40) for _ in range(5)),
        *(calling.report(service, call_id, "completed", 40) for _ in range(5)),
    )
    assert {answer.status_code for answer in answers} <= {200, 204, 404}
    assert await calling.debits(service, person) == [6.67]
    assert (await service.balance(person))["held"] == 0.0
    await assert_sound(person)


async def test_a_call_whose_ends_contradict_each_other_is_taken_out_with_a_note(
    service: Service,
) -> None:
    person, call_id = await with_call(service)
    await calling.report(service, call_id, "completed", 30)
    await calling.report(service, call_id, "completed", 50)
    why = "the network later reported completed, 50 s"
    assert await waits_for_a_person(service, call_id) == why
    answer = await resolve(service, call_id)
    assert (answer.status_code, answer.json()["cost"]) == (200, 5.0)
    assert await waits_for_a_person(service, call_id) is None
    assert (await resolve(service, call_id)).status_code == 404
    assert await calling.debits(service, person) == [5.0]


async def test_a_call_that_waits_for_nobody_is_not_decided(service: Service) -> None:
    person, call_id = await with_call(service)
    for some_id in (call_id, "call_none"):
        assert (await resolve(service, some_id, 30)).status_code == 404
    assert (await service.balance(person))["held"] == 10.0


async def test_what_cost_more_than_was_reserved_waits_for_a_person(service: Service) -> None:
    person, call_id = await with_call(service, 10)
    await calling.report(service, call_id, "completed", 90)
    call = await calling.shown(service, person, call_id)
    assert (call["billing_status"], call["cost"], call["due"]) == ("settled", 15.0, 5.0)
    why = "it cost 1500 paise, 1000 were reserved"
    assert await waits_for_a_person(service, call_id) == why
    assert (await resolve(service, call_id)).status_code == 200
    assert await waits_for_a_person(service, call_id) is None


# --- what is missing ------------------------------------------------------------------------------


async def test_what_the_wallet_cannot_cover_is_due_and_collected_first(service: Service) -> None:
    person, call_id = await with_call(service, 15)
    await calling.report(service, call_id, "completed", 120)  # Rs 20, within the tolerance
    call = await calling.shown(service, person, call_id)
    assert (call["billing_status"], call["cost"], call["due"]) == ("settled", 20.0, 5.0)
    balance = await service.balance(person)
    assert (balance["balance"], balance["held"], balance["due"]) == (0.0, 0.0, 5.0)
    await service.fund(person, 50)
    balance = await service.balance(person)
    assert (balance["balance"], balance["due"]) == (45.0, 0.0)
    assert await calling.debits(service, person) == [15.0, 5.0]
    await assert_sound(person)


# --- storage ------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["next_check_at", "next_extend_at"])
async def test_finding_what_is_due_reads_an_index_of_what_is_open(
    service: Service, field: str
) -> None:
    due: Any = db.calls.find({field: {"$lte": clock.now()}}, sort=[(field, 1)], limit=200)
    plan = str((await due.explain())["queryPlanner"]["winningPlan"])
    assert "IXSCAN" in plan
    assert f"{field}_1" in plan
    indexes = await db.calls.index_information()
    assert indexes[f"{field}_1"]["partialFilterExpression"] == {field: {"$exists": True}}


async def test_one_call_that_fails_keeps_no_other_up_and_only_a_defect_is_an_error(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ids = [(await with_call(service))[1] for _ in range(3)]
    problems: dict[str, Exception] = {ids[0]: Ambiguous("it answered 502"), ids[1]: KeyError("x")}
    seen: list[str] = []
    all_seen = asyncio.Event()

    async def work(call: Call) -> None:
        if call["_id"] in ids:
            seen.append(call["_id"])
            if len(seen) == len(ids):
                all_seen.set()
            if call["_id"] in problems:
                raise problems[call["_id"]]

    monkeypatch.setattr(monitor, "_check", work)  # the worker may be faster than this test
    caplog.set_level("WARNING", "calls")
    await db.calls.update_many(
        {"_id": {"$in": ids}}, {"$set": {"next_check_at": clock.after(-3_600)}}
    )
    await monitor.sweep_overdue_calls()
    async with asyncio.timeout(10):
        await all_seen.wait()
    levels = {r.getMessage().split(":")[0]: r.levelname for r in caplog.records}
    assert levels[f"call {ids[0]}"] == "WARNING"
    assert levels[f"call {ids[1]}"] == "ERROR"
    assert f"call {ids[2]}" not in levels
    assert sorted(seen) == sorted(ids)
    for call_id in ids:
        assert (await kept(call_id))["next_check_at"] > clock.now()  # the lease


async def test_a_call_whose_money_is_resolved_is_not_changed_any_more(service: Service) -> None:
    _, call_id = await with_call(service)
    call = await kept(call_id)
    await calling.report(service, call_id, "busy")
    await lifecycle.update_open_call(call, next_extend_at=clock.now(), limit_seconds=9_999)
    found = await kept(call_id)
    assert found["billing_status"] in RESOLVED
    assert "next_extend_at" not in found
    assert found["limit_seconds"] == 60
