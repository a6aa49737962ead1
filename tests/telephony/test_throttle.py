"""The turns of new calls: no network is asked faster than it takes them, by however many processes."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest

import telephony
from calls import placing
from core import clock, config
from core.database import db
from telephony import Dial, throttle
from telephony.simulator import Simulator
from tests.support import calls as calling
from tests.support import campaigns as campaigning
from tests.support.service import Service, running
from tests.support.service import test_settings as settings_of_tests

SIMULATOR = Simulator()


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    settings = settings_of_tests(mongodb_uri, signups_per_hour=100_000)
    async with running(settings) as started:
        yield started


@pytest.fixture(autouse=True)
async def _no_queue(service: Service) -> AsyncIterator[None]:
    await db.turns.delete_many({})
    yield
    config.use(service.settings)


def calls_per_second(service: Service, rate: float) -> None:
    config.use(service.settings.model_copy(update={"telephony_calls_per_second": rate}))


async def test_calls_that_are_placed_at_once_reach_the_network_one_after_the_other(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls_per_second(service, 20)
    asked: list[dt.datetime] = []
    place = Simulator.place

    async def placed(network: Simulator, dial: Dial) -> str:
        asked.append(clock.now())
        return await place(network, dial)

    monkeypatch.setattr(Simulator, "place", placed)
    person = await service.signup()
    await service.fund(person, 1_000)
    begun_at = clock.now()
    made = await asyncio.gather(
        *(
            placing.place_call(person.id, call_id=f"call_paced_{i}", to="+919876543210")
            for i in range(8)
        )
    )
    assert {call["status"] for call in made} == {"queued"}
    # Never before its turn; a busy machine may come later.
    for turn, at in enumerate(sorted(asked)):
        assert (at - begun_at).total_seconds() > turn / 20 - 0.01


async def test_a_queue_that_is_too_long_takes_nobody_and_a_call_in_it_costs_nothing(
    service: Service,
) -> None:
    calls_per_second(service, 0.01)
    person = await service.signup()
    await service.fund(person, 100)
    assert (await calling.place(service, person))["status"] == "queued"
    assert await throttle.take_turns(SIMULATOR, 5) == []
    before = await db.turns.find_one({"_id": "simulator"})
    call = await calling.place(service, person)
    assert (call["status"], call["failure_reason"]) == ("failed", "provider_busy")
    assert (call["billing_status"], call["cost"]) == ("released", 0.0)
    after = await db.turns.find_one({"_id": "simulator"})
    assert before is not None
    assert after is not None
    assert after["next_at"] == before["next_at"]  # who was sent away made the queue no longer


async def test_campaigns_place_no_more_calls_than_have_their_turn(service: Service) -> None:
    calls_per_second(service, 3)
    person = await service.signup()
    await service.fund(person, 2_000)
    both = [await campaigning.create(service, person, 20, max_concurrent=20) for _ in range(2)]
    for campaign in both:
        await campaigning.until(service, person, campaign, lambda c: c["counts"]["answered"] >= 2)
        await campaigning.act(service, person, campaign, "pause")
    placed = await campaigning.calls_of(service, person)
    assert [call["failure_reason"] for call in placed if call["failure_reason"]] == []
    for campaign in both:
        await campaigning.act(service, person, campaign, "cancel")


async def test_turns_are_given_as_far_as_the_queue_goes_and_none_is_made_up_for(
    service: Service,
) -> None:
    calls_per_second(service, 0.5)
    given = await throttle.take_turns(SIMULATOR, 4)
    assert [(b - a).total_seconds() for a, b in pairwise(given)] == pytest.approx(
        [2.0] * 3, abs=0.1
    )
    past = {"$set": {"next_at": clock.after(-1_000)}}
    await db.turns.update_one({"_id": "simulator"}, past)
    assert len(await throttle.take_turns(SIMULATOR, 100)) == 6  # one now, and one every two seconds
    future = {"$set": {"next_at": clock.after(100)}}
    await db.turns.update_one({"_id": "simulator"}, future)
    assert await throttle.take_turns(SIMULATOR, 1) == []


async def test_a_network_without_a_limit_has_no_queue(service: Service) -> None:
    assert len(await throttle.take_turns(SIMULATOR, 200)) == 200
    assert await db.turns.find_one({}) is None


@pytest.mark.parametrize(("name", "rate"), [("twilio", 1), ("plivo", 2), ("exotel", 3)])
async def test_each_real_network_has_the_limit_that_it_gives_every_account(
    service: Service, name: str, rate: int
) -> None:
    network = telephony.get_provider(name)
    assert len(await throttle.take_turns(network, 200)) == rate * throttle.PATIENCE_SECONDS + 1
    await db.turns.delete_many({})
    stand_in = {f"{name}_base_url": "http://127.0.0.1:1"}
    config.use(service.settings.model_copy(update=stand_in))
    assert len(await throttle.take_turns(network, 500)) == 500
    calls_per_second(service, 30)
    assert len(await throttle.take_turns(network, 500)) >= 300
