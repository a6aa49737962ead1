"""The turns of new calls: no network is asked faster than it takes them, by however many processes."""

import asyncio
import datetime as dt
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import pytest

import telephony
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
    made = await asyncio.gather(*(calling.place(service, person) for _ in range(8)))
    assert "failed" not in {call["status"] for call in made}
    assert len(asked) == 8
    # Never before its turn; a busy machine may come later.
    for turn, at in enumerate(sorted(asked)):
        assert (at - begun_at).total_seconds() > turn / 20 - 0.01


async def test_who_gets_no_turn_takes_none(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls_per_second(service, 0.01)
    assert await throttle.take_turn(SIMULATOR, "single") == 0.0
    before = await db.turns.find_one({"_id": "simulator"})
    assert await throttle.take_turn(SIMULATOR, "single") > 0
    after = await db.turns.find_one({"_id": "simulator"})
    assert before is not None
    assert after is not None
    assert after["next_at"] == before["next_at"]  # who was sent away made nobody wait longer


async def test_campaigns_place_no_more_calls_than_have_their_turn(service: Service) -> None:
    calls_per_second(service, 3)
    person = await service.signup()
    await service.fund(person, 2_000)
    both = [await campaigning.create(service, person, 20, max_concurrent=20) for _ in range(2)]
    for campaign in both:
        await campaigning.until(service, person, campaign, lambda c: c["counts"]["answered"] >= 2)
        await campaigning.act(service, person, campaign, "pause")
    # What was withdrawn before the request (both lists have the same people) used no turn.
    called = await campaigning.calls_of(service, person)
    placed = [call for call in called if call["status"] != "canceled"]
    assert [call["failure_reason"] for call in placed if call["failure_reason"]] == []
    for campaign in both:
        await campaigning.act(service, person, campaign, "cancel")


async def test_a_turn_is_taken_now_or_not_at_all_and_none_is_made_up_for(
    service: Service,
) -> None:
    calls_per_second(service, 0.5)
    assert await throttle.take_turn(SIMULATOR, "campaign") == 0.0
    for _ in range(3):
        assert 1.5 < await throttle.take_turn(SIMULATOR, "campaign") <= 2.0
    past = {"$set": {"next_at": clock.after(-1_000)}}
    await db.turns.update_one({"_id": "simulator"}, past)
    assert await throttle.take_turn(SIMULATOR, "campaign") == 0.0
    assert 1.5 < await throttle.take_turn(SIMULATOR, "campaign") <= 2.0


async def test_of_many_who_ask_at_once_one_has_the_turn(service: Service) -> None:
    calls_per_second(service, 0.5)
    asked = await asyncio.gather(*(throttle.take_turn(SIMULATOR, "single") for _ in range(20)))
    assert asked.count(0.0) == 1


async def turns_of(asking: Sequence[throttle.Share], count: int) -> Counter[str]:
    """Who gets the next `count` turns, when these ask again and again."""
    taken: Counter[str] = Counter()
    while taken.total() < count:
        await db.turns.update_one({"_id": "simulator"}, {"$set": {"next_at": clock.after(-60)}})
        for share in asking:
            if await throttle.take_turn(SIMULATOR, share) == 0.0:
                taken[share] += 1
                await throttle.take_turn(SIMULATOR, share)  # and it waits for another
    return taken


async def test_while_both_wait_single_calls_have_their_share_whoever_asks_first(
    service: Service,
) -> None:
    calls_per_second(service, 0.5)
    either: tuple[throttle.Share, throttle.Share] = ("campaign", "single")
    for asking in (either, either[::-1]):
        await db.turns.delete_many({})
        for share in ("single", *asking):  # one has the first turn, and now both wait
            await throttle.take_turn(SIMULATOR, share)
        assert await turns_of(asking, 40) == {"single": 30, "campaign": 10}


async def test_either_takes_what_the_other_leaves(service: Service) -> None:
    calls_per_second(service, 0.5)
    assert await turns_of(["campaign"], 6) == {"campaign": 6}
    assert await turns_of(["single"], 6) == {"single": 6}
    assert await turns_of(["campaign"], 6) == {"campaign": 6}
    # One that asked and did not come back is waited for no longer than a moment.
    await throttle.take_turn(SIMULATOR, "single")
    gone = {"$set": {"next_at": clock.after(-60), "single_until": clock.after(-0.1)}}
    await db.turns.update_one({"_id": "simulator"}, gone)
    assert await throttle.take_turn(SIMULATOR, "campaign") == 0.0


async def test_a_network_without_a_limit_has_no_queue(service: Service) -> None:
    assert await throttle.take_turn(SIMULATOR, "single") == 0.0
    assert await db.turns.find_one({}) is None


@pytest.mark.parametrize(("name", "rate"), [("twilio", 1), ("plivo", 2), ("exotel", 3)])
async def test_each_real_network_has_the_limit_that_it_gives_every_account(
    service: Service, name: str, rate: int
) -> None:
    network = telephony.get_provider(name)
    assert await throttle.take_turn(network, "single") == 0.0
    assert 0.5 / rate < await throttle.take_turn(network, "single") <= 1 / rate
    stand_in = {f"{name}_base_url": "http://127.0.0.1:1"}
    config.use(service.settings.model_copy(update=stand_in))
    assert [await throttle.take_turn(network, "single") for _ in range(3)] == [0.0] * 3
    calls_per_second(service, 0.5)
    assert await throttle.take_turn(network, "single") > 0
