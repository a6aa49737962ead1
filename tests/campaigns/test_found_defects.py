"""What the old dialer did to contacts, each as a test that says what it did (issue 11)."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import telephony
from calls import lifecycle, placing
from calls.placing import CallSpec
from calls.records import Call
from campaigns import contacts, dispatcher
from core import clock
from core.database import db
from core.errors import invalid
from telephony import Dial, Provider, Report, network_health, throttle
from telephony.simulator import Simulator
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
    until,
)
from tests.support.processes import processes
from tests.support.service import Person, Service, running
from tests.support.service import test_settings as settings_of_tests


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for all tests of this file; each test has users of its own."""
    settings = settings_of_tests(mongodb_uri, telephony_calls_per_second=20)
    async with running(settings) as started:
        yield started


@pytest.fixture
async def person(service: Service) -> Person:
    await db.network_health.delete_many({})
    network_health._cached.clear()
    someone = await service.signup()
    await service.fund(someone, 1_000)
    return someone


class Requests:
    """The numbers that the network is asked to call, in their order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.numbers: list[str] = []
        place = Simulator.place

        async def placed(network: Simulator, dial: Dial) -> str:
            self.numbers.append(dial.to)
            return await place(network, dial)

        monkeypatch.setattr(Simulator, "place", placed)


async def test_a_restart_at_one_call_a_second_loses_nobody(tmp_path: Path) -> None:
    # 0.2.1: whoever had waited for a turn was marked as failed, 5 of 12.
    async with processes(tmp_path, telephony_calls_per_second=1) as whole:
        person = await whole.service.signup()
        await whole.recharge(person, 500)
        created = await create(whole.service, person, 12, max_concurrent=12)
        await until(whole.service, person, created, lambda c: c["counts"]["answered"] >= 3)
        await whole.stop()
        await whole.start()
        over = await until(whole.service, person, created, is_over, seconds=120)
        assert over["counts"]["answered"] == over["counts"]["total"] == 12
        called = [c for c in await calls_of(whole.service, person) if c["provider_call_id"]]
        assert sorted(call["to"] for call in called) == sorted(numbers_of(12))
        assert over["spent"] == 60.0


async def test_twelve_calls_take_twelve_turns(
    service: Service, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 0.2.1: 48, because a turn was taken before it was known whether there was a call for it.
    take, taken = throttle.take_turn, 0

    async def counted(network: Provider, share: throttle.Share) -> float:
        nonlocal taken
        wait_seconds = await take(network, share)
        taken += share == "campaign" and wait_seconds == 0
        return wait_seconds

    monkeypatch.setattr(throttle, "take_turn", counted)
    created = await create(service, person, 12, max_concurrent=3)
    over = await until(service, person, created, is_over)
    assert over["counts"]["answered"] == 12
    # An end of a call may wake the campaign for a turn that its neighbour's end has used already.
    assert 12 <= taken < 24


async def test_after_a_pause_is_answered_at_most_who_was_being_asked_for_is_called(
    service: Service, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 0.2.1: five more people were called.
    requests = Requests(monkeypatch)
    created = await create(service, person, 60, max_concurrent=60, simulate=SLOW)
    await calls_placed(service, person, 5)
    assert await act(service, person, created, "pause") == 200
    answered = len(requests.numbers)
    await until(
        service, person, created, lambda c: c["counts"]["pending"] == 60 - c["counts"]["in_call"]
    )
    # Those that were being asked for: at 20 calls a second three turns are used at once.
    assert len(requests.numbers) <= answered + dispatcher._lanes_max() == answered + 3
    assert await act(service, person, created, "cancel") == 200


async def test_a_pause_between_the_claim_and_the_request_calls_nobody(
    service: Service, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserve, requests = placing.reserve_call, Requests(monkeypatch)
    reserved, go_on = asyncio.Event(), asyncio.Event()

    async def slow(*given: Any, **options: Any) -> Call:
        call = await reserve(*given, **options)
        reserved.set()
        await go_on.wait()
        return call

    monkeypatch.setattr(placing, "reserve_call", slow)
    created = await create(service, person, 1)
    await asyncio.wait_for(reserved.wait(), 30)
    assert await act(service, person, created, "pause") == 200
    go_on.set()
    await until(service, person, created, lambda c: c["counts"]["pending"] == 1)
    assert requests.numbers == []
    async with asyncio.timeout(30):
        while (await service.balance(person))["held"]:  # noqa: ASYNC110 - nobody says
            await asyncio.sleep(0.05)
    (contact,) = await list_of(service, person, created)
    assert (contact["attempts"], contact["call_id"]) == (0, None)
    monkeypatch.setattr(placing, "reserve_call", reserve)
    assert await act(service, person, created, "resume") == 200
    over = await until(service, person, created, is_over)
    assert (over["counts"]["answered"], requests.numbers) == (1, numbers_of(1))


async def test_a_network_without_an_option_of_the_campaign_pauses_it_and_skips_nobody(
    service: Service, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 0.2.1: after a change of the provider the whole list was skipped for good.
    requests = Requests(monkeypatch)
    check = CallSpec.check

    def refusing(spec: CallSpec, network: Provider) -> None:
        if network is telephony.get_chosen_provider():
            raise invalid("keys", "the new network does not report which keys are pressed")
        check(spec, network)

    created = await create(service, person, 4, start=False)
    monkeypatch.setattr(CallSpec, "check", refusing)
    assert await act(service, person, created, "resume") == 200
    paused = await until(service, person, created, lambda c: c["status"] == "paused")
    assert (paused["pause_reason"], paused["counts"]["pending"]) == ("provider", 4)
    assert "does not report which keys" in paused["waiting_for"]["text"]
    monkeypatch.setattr(CallSpec, "check", check)
    assert await act(service, person, created, "resume") in (200, 409)  # 409: it went on by itself
    over = await until(service, person, created, is_over)
    assert (over["counts"]["answered"], sorted(requests.numbers)) == (4, numbers_of(4))


async def test_a_call_whose_duration_comes_minutes_later_takes_no_place_of_its_campaign(
    service: Service, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 0.2.1 with Exotel: two calls a minute, because each kept its place for five minutes.
    late = dataclasses.replace(Simulator.can, duration_after_seconds=300)
    monkeypatch.setattr(Simulator, "can", late)
    monkeypatch.setattr(dispatcher, "_LIVE_SECONDS", 0.1)
    created = await create(service, person, 6, max_concurrent=1, simulate=SLOW)
    for count in range(1, 7):
        call = (await calls_placed(service, person, count))[0]
        assert len([c for c in await calls_of(service, person) if c["ended_at"] is None]) <= 1
        report = Report(
            event_id=f"late-{count}",
            provider_call_id=call["provider_call_id"],
            status="completed",
            duration_seconds=None,
            occurred_at=clock.now(),
        )
        await lifecycle.apply_report(call["call_id"], report, via="simulator")
    found = await calls_of(service, person)
    assert {call["billing_status"] for call in found} == {"pending_duration"}
    assert sorted(call["to"] for call in found) == numbers_of(6)
    assert await act(service, person, created, "cancel") == 200


async def test_nothing_is_claimed_of_a_campaign_that_waits_for_money(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A claim that is refused again and again would be a loop that no network slows down."""
    claim, claims = contacts.claim, 0

    async def counted(*given: Any, **options: Any) -> contacts.Claim:
        nonlocal claims
        claims += 1
        return await claim(*given, **options)

    monkeypatch.setattr(contacts, "claim", counted)
    monkeypatch.setattr(dispatcher, "_BALANCE_SECONDS", 0.2)
    person = await service.signup()
    await service.fund(person, 10)
    created = await create(service, person, 4)
    paused = await until(service, person, created, lambda c: c["pause_reason"] == "balance")
    assert paused["counts"]["answered"] == 1
    before = claims
    for _ in range(20):
        await dispatcher.check_due_campaigns()
        await dispatcher.dispatch()
    assert claims <= before + 1  # the one that was under way when it paused


async def test_the_counts_that_are_kept_are_the_counts_of_the_list(
    service: Service, person: Person
) -> None:
    created = await create(service, person, 8, max_concurrent=4, simulate=FAST)
    await until(service, person, created, is_over)
    kept, counted = await contacts.verify_counts(created["campaign_id"])
    assert kept == counted
    assert kept.counts.answered == 8
