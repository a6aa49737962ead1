"""Calls live as long as money is reserved for them, and an end that nobody reported is found."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

import telephony
import wallet
import worker
from calls import lifecycle, monitor, records, timing
from calls.records import Call
from core import clock, config
from core.database import db
from core.outbox import Event
from reporting import audit
from telephony import Ambiguous, NetworkCall, Report
from telephony.simulator import Simulator
from telephony.simulator.lifecycle import SimulatedCall
from telephony.simulator.runner import Runner
from tests.support import calls as calling
from tests.support.service import Person, Service, running, test_settings, until


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for all tests of this file, with slices of a minute; each has its own users."""
    settings = test_settings(mongodb_uri, call_slice_minutes=1, signups_per_hour=100_000)
    with pytest.MonkeyPatch.context() as patient:
        patient.setattr(worker, "JOBS", calling.chores_in_turn())
        async with running(settings) as started:
            yield started


async def funded(service: Service, rupees: int) -> Person:
    person = await service.signup()
    await service.fund(person, rupees)
    return person


async def kept(call_id: str) -> Call:
    found = await db.calls.find_one({"_id": call_id})
    assert found is not None
    return cast(Call, found)


async def due_now(call_id: str, field: str, **changes: Any) -> None:
    """As if the time had come; then what the worker does."""
    async with calling.turn:
        await db.calls.update_one({"_id": call_id}, {"$set": {field: clock.after(-1), **changes}})
        await (
            monitor.sweep_overdue_calls()
            if field == "next_check_at"
            else monitor.extend_due_calls()
        )


# --- the next slice -----------------------------------------------------------------------------


async def test_a_long_call_is_kept_alive_slice_by_slice(service: Service) -> None:
    person = await funded(service, 100)
    call = await calling.place(service, person, {"duration_seconds": 150, "wall_seconds": 1})
    assert (call["held"], call["limit_seconds"]) == (10.0, 60)
    call = await calling.over(service, person, call["call_id"])
    assert (call["duration_seconds"], call["cost"], call["due"]) == (150, 25.0, 0.0)
    assert 150 <= call["limit_seconds"] <= 600
    balance = await service.balance(person)
    assert (balance["balance"], balance["held"]) == (75.0, 0.0)
    assert (await audit.audit(person.id)).ok


async def test_a_call_ends_when_its_money_is_gone(service: Service) -> None:
    """Rs 15 buy 90 seconds; the network ends the call there, whatever it would have lasted."""
    person = await funded(service, 15)
    call = await calling.place(service, person, {"duration_seconds": 600, "wall_seconds": 3})
    call = await calling.over(service, person, call["call_id"])
    assert (call["status"], call["duration_seconds"]) == ("completed", 90)
    assert (call["cost"], call["due"]) == (15.0, 0.0)
    balance = await service.balance(person)
    assert (balance["balance"], balance["held"], balance["due"]) == (0.0, 0.0, 0.0)


async def test_a_recharge_during_the_call_lets_it_go_on(service: Service) -> None:
    person = await funded(service, 10)
    call = await calling.place(service, person, {"duration_seconds": 90, "wall_seconds": 1})
    await calling.until(service, person, call["call_id"], "in_progress")
    await asyncio.sleep(0.6)
    await service.fund(person, 50)
    call = await calling.over(service, person, call["call_id"])
    assert (call["duration_seconds"], call["cost"]) == (90, 15.0)


async def test_a_call_may_not_last_longer_than_its_user_wants(service: Service) -> None:
    person = await funded(service, 100)
    call = await calling.place(
        service, person, {"duration_seconds": 60, "wall_seconds": 0.3}, max_duration_seconds=24
    )
    assert (call["held"], call["limit_seconds"], call["max_duration_seconds"]) == (10.0, 24, 24)
    call = await calling.over(service, person, call["call_id"])
    assert (call["duration_seconds"], call["cost"]) == (24, 4.0)


async def talking(service: Service, person: Person) -> str:
    """A call in progress of which only the test reports."""
    call_id: str = (await calling.place(service, person, calling.SILENT))["call_id"]
    await calling.report(service, call_id, "in_progress")
    # It has talked for nearly as long as is reserved: the next slice is due.
    found = await kept(call_id)
    talked_seconds = found["limit_seconds"] / found["pace"] - 10
    await db.calls.update_one(
        {"_id": call_id}, {"$set": {"answered_at": clock.after(-talked_seconds)}}
    )
    return call_id


async def network_limit(call_id: str) -> int:
    found = await db.simulated_calls.find_one({"reference": call_id})
    assert found is not None
    limit: int = found["limit_seconds"]
    return limit


async def test_many_processes_extend_a_call_once(service: Service) -> None:
    person = await funded(service, 100)
    call_id = await talking(service, person)
    async with calling.turn:
        await db.calls.update_one({"_id": call_id}, {"$set": {"next_extend_at": clock.after(-1)}})
        await asyncio.gather(*(monitor.extend_due_calls() for _ in range(5)))
    found = await kept(call_id)
    assert (found["limit_seconds"], found["told_limit_seconds"]) == (120, 120)
    assert await network_limit(call_id) == 120
    assert (await service.balance(person))["held"] == 20.0
    assert found["next_extend_at"] > clock.now()


async def test_money_is_reserved_before_the_network_is_told(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network cannot be told: the slice stays reserved, and is told the next time."""
    person = await funded(service, 100)
    call_id = await talking(service, person)

    async def unreachable(*_: Any) -> bool:
        raise Ambiguous("timeout")

    with monkeypatch.context() as broken:
        broken.setattr(Simulator, "extend", unreachable)
        await due_now(call_id, "next_extend_at")
        found = await kept(call_id)
        assert (found["limit_seconds"], found["told_limit_seconds"]) == (120, 60)
        assert (await network_limit(call_id), int(found["held_paise"])) == (60, 2_000)
        # It is tried again, several times before the limit is reached.
        assert clock.now() < found["next_extend_at"] < clock.after(timing.LEAD_SECONDS / 3)
    await due_now(call_id, "next_extend_at")
    found = await kept(call_id)
    assert (found["limit_seconds"], found["told_limit_seconds"]) == (120, 120)
    assert await network_limit(call_id) == 120
    assert (await service.balance(person))["held"] == 20.0


async def test_without_money_for_a_slice_the_limit_stays_and_is_tried_again(
    service: Service,
) -> None:
    person = await funded(service, 10)
    call_id = await talking(service, person)
    await due_now(call_id, "next_extend_at")
    found = await kept(call_id)
    assert (found["limit_seconds"], await network_limit(call_id)) == (60, 60)
    assert found["next_extend_at"] > clock.now()
    await service.fund(person, 5)
    await due_now(call_id, "next_extend_at")
    assert await network_limit(call_id) == 90
    assert (await service.balance(person))["available"] == 0.0


async def test_a_call_that_was_settled_meanwhile_is_not_extended(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await funded(service, 100)
    call_id = await talking(service, person)
    stale = await kept(call_id)
    await calling.report(service, call_id, "completed", 30)
    await monitor._extend(stale)
    assert (await service.balance(person))["held"] == 0.0
    assert await network_limit(call_id) == 60
    assert "next_extend_at" not in await kept(call_id)


@given(st.integers(1, 14_400), st.sampled_from([0.01, 0.5, 1.0]))
def test_a_call_in_real_time_is_extended_ahead_of_its_limit(limit: int, pace: float) -> None:
    since = clock.now()
    call = cast(Call, {"pace": pace})
    at = timing.next_extension_at(call, since, seconds=limit)
    lead_seconds = limit / pace - (at - since).total_seconds()
    assert 0 < lead_seconds <= timing.LEAD_SECONDS + 0.001
    assert at > since


# --- the lost end -------------------------------------------------------------------------------


async def test_a_call_whose_callbacks_are_all_lost_is_settled_by_asking(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def gives_up(*_: Any) -> None:
        return None

    monkeypatch.setattr(Runner, "_deliver", gives_up)
    person = await funded(service, 100)
    # Its whole length is one slice, so no extension asks the network before the sweeper does.
    scenario = {"duration_seconds": 30, "wall_seconds": 0.1}
    call = await calling.place(service, person, scenario, max_duration_seconds=60)
    await asyncio.sleep(0.3)
    found = await kept(call["call_id"])
    assert (found["status"], found["billing_status"]) == ("queued", "held")
    # Ring time, talk time and grace, in real time: it is asked about by itself soon enough.
    assert found["next_check_at"] <= clock.after(timing.GRACE_SECONDS + 1)
    await due_now(call["call_id"], "next_check_at")
    call = await calling.over(service, person, call["call_id"])
    assert (call["status"], call["duration_seconds"], call["cost"]) == ("completed", 30, 5.0)
    assert call["answered_at"] is not None
    assert await calling.debits(service, person) == [5.0]


async def test_many_processes_ask_the_network_once(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await funded(service, 100)
    call_id = (await calling.place(service, person, calling.SILENT))["call_id"]
    asked: list[str] = []
    real = Simulator.look_up

    async def counted(self: Simulator, call: NetworkCall, *others: object) -> Report | None:
        asked.append(call["_id"])
        return await real(self, call)

    monkeypatch.setattr(Simulator, "look_up", counted)
    async with calling.turn:
        await db.calls.update_one({"_id": call_id}, {"$set": {"next_check_at": clock.after(-1)}})
        await asyncio.gather(*(monitor.sweep_overdue_calls() for _ in range(5)))
    assert asked.count(call_id) == 1
    found = await kept(call_id)
    assert (found["status"], found["billing_status"]) == ("queued", "held")
    assert found["next_check_at"] > clock.now()


async def test_no_hold_dies_of_age_alone(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network cannot be asked, for days: a person is told, and the money stays reserved."""
    person = await funded(service, 100)
    call_id = (await calling.place(service, person, calling.SILENT))["call_id"]

    async def unreachable(*_: Any) -> None:
        raise Ambiguous("timeout")

    with monkeypatch.context() as broken:
        broken.setattr(Simulator, "look_up", unreachable)
        days_ago = clock.after(-5 * 86_400)
        await due_now(call_id, "next_check_at", created_at=days_ago)
        assert (await kept(call_id))["billing_status"] == "held"
        await due_now(call_id, "next_check_at", checks=30)
        found = await kept(call_id)
        assert found["billing_status"] == "review"
        assert found["review_reason"] == "the network cannot be asked"
        assert (await service.balance(person))["held"] == 10.0
    await service.post(f"/api/calls/{call_id}/hangup", person)
    call = await calling.over(service, person, call_id)  # it could be asked again
    assert (call["status"], call["billing_status"]) == ("canceled", "released")


async def test_a_call_that_the_network_took_and_forgot_keeps_its_money(
    service: Service,
) -> None:
    person = await funded(service, 100)
    call_id = (await calling.place(service, person, calling.SILENT))["call_id"]
    await db.simulated_calls.delete_one({"reference": call_id})
    await due_now(call_id, "next_check_at", created_at=clock.after(-86_400))
    found = await kept(call_id)
    assert (found["status"], found["billing_status"]) == ("queued", "held")
    assert found["next_check_at"] > clock.now()
    assert (await service.balance(person))["held"] == 10.0


async def test_a_call_that_the_network_forgot_for_good_is_over_and_its_money_waits_for_a_person(
    service: Service,
) -> None:
    person = await funded(service, 100)
    call_id = (await calling.place(service, person, calling.SILENT))["call_id"]
    await db.calls.update_one({"_id": call_id}, {"$set": {"campaign_id": "camp_forgotten"}})
    await db.simulated_calls.delete_one({"reference": call_id})
    for _ in range(2):  # and once only
        await due_now(call_id, "next_check_at", checks=8)
    found = await kept(call_id)
    assert (found["status"], found["failure_reason"]) == ("failed", "lost_by_network")
    assert (found["billing_status"], found["rank"]) == ("review", telephony.OVER)
    assert await records.count_unbilled_calls(person.id) == 1
    assert (await service.balance(person))["held"] == 10.0
    told = {"name": "CallEnded", "data.call_id": call_id}
    events = await db.events.find(told).to_list(None)
    assert [event["data"]["status"] for event in events] == ["failed"]
    # What the network reports after all decides about the money.
    await calling.report(service, call_id, "completed", 30)
    found = await kept(call_id)
    assert (found["billing_status"], found["cost_paise"]) == ("settled", 500)
    assert found["review_reason"] is None
    assert await records.count_unbilled_calls(person.id) == 0


async def test_a_line_is_free_when_its_call_is_over_also_while_its_price_is_not_known(
    service: Service,
) -> None:
    person = await funded(service, 100)
    config.use(service.settings.model_copy(update={"max_concurrent_calls": 1}))
    first = await calling.place(service, person, calling.SILENT)
    assert (await calling.ask(service, person, calling.SILENT)).status_code == 429
    await calling.report(service, first["call_id"], "completed")
    found = await kept(first["call_id"])
    assert (found["status"], found["billing_status"]) == ("completed", "pending_duration")
    second = await calling.place(service, person, calling.SILENT)
    assert (await calling.ask(service, person, calling.SILENT)).status_code == 429
    await calling.report(service, first["call_id"], "completed", 30)
    await calling.report(service, second["call_id"], "completed", 30)
    assert await calling.debits(service, person) == [5.0, 5.0]
    assert (await audit.audit(person.id)).ok
    config.use(service.settings)


@pytest.mark.parametrize("field", ["next_extend_at", "next_check_at"])
async def test_an_answer_that_does_not_come_delays_no_other_call(
    service: Service, monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    """The network does not answer about more calls than were worked on at once before."""
    person, other = await funded(service, 1_000), await funded(service, 100)
    silent = [await talking(service, person) for _ in range(18)]
    last = await talking(service, other)
    answers = asyncio.Event()
    asked: list[str] = []
    extend, look_up = Simulator.extend, Simulator.look_up

    async def slow_extend(network: Simulator, call: NetworkCall, limit_seconds: int) -> bool:
        asked.append(call["_id"])
        if call["_id"] in silent:
            await answers.wait()
        return await extend(network, call, limit_seconds)

    async def slow_look_up(network: Simulator, call: NetworkCall, *others: Any) -> Report | None:
        asked.append(call["_id"])
        if call["_id"] in silent:
            await answers.wait()
        return await look_up(network, call, *others)

    monkeypatch.setattr(Simulator, "extend", slow_extend)
    monkeypatch.setattr(Simulator, "look_up", slow_look_up)
    start = monitor.start_checks if field == "next_check_at" else monitor.start_extensions
    async with calling.turn:
        now = clock.now()
        for at, call_id in enumerate((*silent, last)):
            due = {"$set": {field: clock.after(at - 100, since=now)}}
            await db.calls.update_one({"_id": call_id}, due)
        await start()

        async def is_asked_about() -> bool:
            return last in asked

        await until(is_asked_about)
        assert 1 <= len(set(asked) & set(silent)) <= 16  # this user's others wait
        answers.set()
        await lifecycle.wait_for_due_calls()


async def test_the_answer_whose_news_was_lost_does_not_cut_the_call(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network did not say that the call was answered; it is asked before the limit."""
    real = Runner._deliver

    async def only_the_end(self: Runner, call: SimulatedCall, state: Any) -> float | None:
        return await real(self, call, state) if state.changes_at is None else None

    monkeypatch.setattr(Runner, "_deliver", only_the_end)
    person = await funded(service, 100)
    call = await calling.place(service, person, {"duration_seconds": 100, "wall_seconds": 1})
    call = await calling.over(service, person, call["call_id"])
    assert (call["duration_seconds"], call["cost"]) == (100, 16.67)


# --- the frozen wallet ----------------------------------------------------------------------------


async def test_a_call_that_cannot_be_hung_up_does_not_keep_the_others_of_a_frozen_wallet_up(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await funded(service, 100)
    call_ids = [await talking(service, person) for _ in range(3)]
    network_answers = False
    hang_up = Simulator.hang_up

    async def hung_up(network: Simulator, call: NetworkCall) -> None:
        if call["_id"] == call_ids[1] and not network_answers:
            raise Ambiguous("it answered 502")
        await hang_up(network, call)

    monkeypatch.setattr(Simulator, "hang_up", hung_up)
    await wallet.set_frozen(person.id, frozen=True, reason="fraud", by="usr_admin")
    for call_id in (call_ids[0], call_ids[2]):
        await calling.over(service, person, call_id)
    assert (await kept(call_ids[1]))["status"] == "in_progress"
    network_answers = True
    await calling.over(service, person, call_ids[1])  # it is tried again by itself


async def test_the_calls_of_a_wallet_that_was_thawed_meanwhile_go_on(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await funded(service, 100)
    await talking(service, person)
    hung_up: list[str] = []

    async def hang_up(network: Simulator, call: NetworkCall) -> None:
        hung_up.append(call["_id"])

    monkeypatch.setattr(Simulator, "hang_up", hang_up)
    frozen: Event = {
        "_id": "evt_1",
        "name": "WalletFrozen",
        "user_id": person.id,
        "data": {},
        "at": clock.now(),
        "state": "pending",
    }
    await monitor.end_calls_of_frozen(frozen)
    assert hung_up == []
