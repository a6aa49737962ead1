"""A committed call is dialled by one caller, or by nobody; what a dead process left is ended."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

import telephony
import worker
from billing import charging
from billing.charging import Reservation
from calls import lifecycle, monitor, placing, records
from calls.placing import CallSpec
from calls.records import Call
from core import clock, database
from core.database import db
from core.errors import Unavailable
from reporting import audit
from telephony import Ambiguous, Dial, Simulate
from telephony.simulator import Simulator
from tests.support import calls as calling
from tests.support.service import Person, Service, running, test_settings

SILENT = CallSpec(simulate=Simulate(duration_seconds=30, wall_seconds=3_000))


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    settings = test_settings(mongodb_uri, call_slice_minutes=1, signups_per_hour=100_000)
    with pytest.MonkeyPatch.context() as patient:
        patient.setattr(worker, "JOBS", calling.chores_in_turn())
        async with running(settings) as started:
            yield started


@pytest.fixture
async def person(service: Service) -> Person:
    found = await service.signup()
    await service.fund(found, 100)
    return found


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The calls that the network was asked for, once each time."""
    asked: list[str] = []
    place = Simulator.place

    async def counted(network: Simulator, dial: Dial) -> str:
        asked.append(dial.call_id)
        return await place(network, dial)

    monkeypatch.setattr(Simulator, "place", counted)
    return asked


async def reserved(person: Person) -> Call:
    # Of a campaign, so that no job dials it as a single call.
    return await placing.reserve_call(
        person.id,
        call_id=database.new_id("call"),
        to=calling.NUMBER,
        spec=SILENT,
        campaign_id="camp_of_nobody",
        caller_id="+918000000000",
        attempt_number=2,
    )


async def kept(call: Call) -> Call:
    return await records.get_call(call["_id"])


async def overdue(call: Call) -> None:
    """As if its check had become due; then what the worker does."""
    async with calling.turn:
        due = {"$set": {"next_check_at": clock.after(-1)}}
        await db.calls.update_one({"_id": call["_id"]}, due)
        await monitor.sweep_overdue_calls()


async def test_a_reserved_call_holds_its_money_and_nobody_is_dialled(
    service: Service, person: Person, dialled: list[str]
) -> None:
    call = await reserved(person)
    assert {**call, "updated_at": None} == {**await kept(call), "updated_at": None}
    assert (call["status"], call["billing_status"], call["attempt_number"]) == (
        "created",
        "held",
        2,
    )
    assert (await service.balance(person))["held"] == 10.0
    assert dialled == []
    again = await placing.reserve_call(person.id, call_id=call["_id"], to="+919000000000")
    assert again["held_paise"] == call["held_paise"]
    assert again["to"] == calling.NUMBER


async def test_many_who_submit_a_call_dial_it_once(person: Person, dialled: list[str]) -> None:
    call = await reserved(person)
    found = await asyncio.gather(*(placing.submit_call(call) for _ in range(8)))
    assert dialled == [call["_id"]]
    assert {one["status"] for one in found} <= {"submitting", "queued"}
    assert (await kept(call))["status"] == "queued"


async def test_a_withdrawn_call_is_dialled_by_nobody_and_its_money_is_free(
    service: Service, person: Person, dialled: list[str]
) -> None:
    call = await reserved(person)
    for _ in range(2):
        await placing.withdraw_call(call, "campaign_paused")
    ended = await placing.submit_call(call)
    assert (ended["status"], ended["failure_reason"]) == ("canceled", "campaign_paused")
    assert (ended["billing_status"], ended["cost_paise"], dialled) == ("released", 0, [])
    assert (await service.balance(person))["held"] == 0.0
    assert await db.events.count_documents({"name": "CallEnded", "data.call_id": call["_id"]}) == 1
    assert (await audit.audit(person.id)).ok


async def test_a_call_is_either_submitted_or_withdrawn_and_never_both(
    person: Person, dialled: list[str]
) -> None:
    calls = [await reserved(person) for _ in range(6)]
    await asyncio.gather(
        *(placing.submit_call(call) for call in calls),
        *(placing.withdraw_call(call, "campaign_paused") for call in calls),
    )
    for call in calls:
        is_dialled = call["_id"] in dialled
        assert (await kept(call))["status"] == ("queued" if is_dialled else "canceled")


async def test_a_withdrawal_that_was_interrupted_is_finished(
    service: Service, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = await reserved(person)

    async def dies(*_: Any, **__: Any) -> Any:
        raise Unavailable("killed here")

    with monkeypatch.context() as killed:
        killed.setattr(charging, "release", dies)
        with pytest.raises(Unavailable):
            await placing.withdraw_call(call, "campaign_paused")
    assert (await kept(call))["billing_status"] == "held"
    await overdue(call)
    ended = await kept(call)
    assert (ended["status"], ended["failure_reason"]) == ("canceled", "campaign_paused")
    assert (ended["billing_status"], "next_check_at" in ended) == ("released", False)
    assert (await service.balance(person))["held"] == 0.0


async def test_a_call_whose_process_died_before_it_asked_the_network_is_withdrawn(
    service: Service, person: Person, dialled: list[str]
) -> None:
    call = await reserved(person)
    assert clock.now() < call["next_check_at"] <= clock.after(30)
    await overdue(call)
    ended = await kept(call)
    assert (ended["status"], ended["failure_reason"]) == ("canceled", "not_submitted")
    assert dialled == []
    assert (await service.balance(person))["held"] == 0.0


async def test_a_call_whose_process_died_when_it_asked_is_asked_about_and_never_dialled_again(
    service: Service, person: Person, dialled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    call = await reserved(person)

    async def dies(*_: Any) -> Any:
        raise Unavailable("killed here")

    with monkeypatch.context() as killed:
        killed.setattr(lifecycle, "mark_queued", dies)
        with pytest.raises(Unavailable):
            await placing.submit_call(call)
    assert (await kept(call))["status"] == "submitting"
    assert (await placing.submit_call(call))["status"] == "submitting"
    await overdue(call)
    assert (await kept(call))["status"] == "queued"
    assert len(dialled) == 1


@pytest.mark.parametrize("knows_it", [True, False])
async def test_without_an_answer_the_call_is_unknown_until_the_network_is_asked(
    service: Service, person: Person, monkeypatch: pytest.MonkeyPatch, knows_it: bool
) -> None:
    place = Simulator.place

    async def no_answer(network: Simulator, dial: Dial) -> str:
        if knows_it:
            await place(network, dial)
        raise Ambiguous("no answer")

    call = await reserved(person)
    with monkeypatch.context() as broken:
        broken.setattr(Simulator, "place", no_answer)
        assert (await placing.submit_call(call))["status"] == "unknown"
    assert (await service.balance(person))["held"] == 10.0
    long_ago = {"submitted_at": clock.after(-300)}
    await db.calls.update_one({"_id": call["_id"]}, {"$set": long_ago})
    await overdue(call)
    found = await kept(call)
    if knows_it:
        assert found["status"] == "queued"
    else:
        assert (found["status"], found["failure_reason"]) == ("failed", telephony.NOT_PLACED)
        assert found["billing_status"] == "released"


async def test_a_submission_that_is_stopped_for_too_long_dials_nobody(
    service: Service, person: Person, dialled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    call = await reserved(person)
    claim = lifecycle.claim_submission

    async def slowly(call: Call) -> Call | None:
        claimed = await claim(call)
        assert claimed is not None
        return {**claimed, "submitted_at": clock.after(-30)}

    monkeypatch.setattr(lifecycle, "claim_submission", slowly)
    ended = await placing.submit_call(call)
    assert (ended["status"], ended["failure_reason"]) == ("failed", telephony.TOO_SLOW)
    assert dialled == []
    assert (await service.balance(person))["held"] == 0.0


async def test_an_attempt_that_finds_its_own_commit_goes_on(
    service: Service, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit was repeated after a lost answer, and is a replay of itself."""
    reserve = charging.reserve

    async def repeated(user_id: str, **options: Any) -> Reservation:
        await reserve(user_id, **options)
        return await reserve(user_id, **options)

    monkeypatch.setattr(charging, "reserve", repeated)
    assert (await reserved(person))["status"] == "created"
    assert (await service.balance(person))["held"] == 10.0
