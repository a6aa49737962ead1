"""What one user may do in a minute and on a day: no number of calls at once gets past it."""

import asyncio
import contextlib
import datetime as dt
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import Any, NoReturn

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymongo.errors import AutoReconnect

from billing import charging, limits
from billing.limits import Day, Limits
from calls import lifecycle
from campaigns import dispatcher
from core import clock, config, database
from core.database import db
from core.errors import SpendCapReached, TooManyCalls, Unavailable
from telephony import Dial, NotSent
from telephony.simulator import Simulator
from tests.conftest import Ahead
from tests.support import calls as calling
from tests.support import campaigns as campaigning
from tests.support.service import Person, Service, running
from tests.support.service import test_settings as settings_of_tests

AT = dt.datetime(2026, 11, 25, 10, 30, 20, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for all tests of this file; a call reserves Rs 10."""
    async with running(settings_of_tests(mongodb_uri, call_slice_minutes=1)) as started:
        yield started


@contextlib.contextmanager
def limited(service: Service, **bounds: Any) -> Iterator[None]:
    """The service with these settings."""
    config.use(service.settings.model_copy(update=bounds))
    try:
        yield
    finally:
        config.use(service.settings)


async def funded(service: Service, rupees: int = 1_000) -> Person:
    person = await service.signup()
    await service.fund(person, rupees)
    return person


async def at_once(service: Service, person: Person, count: int) -> list[httpx.Response]:
    """So many calls at the same moment; they ring until the test is over."""
    asked = (calling.ask(service, person, calling.SILENT) for _ in range(count))
    return list(await asyncio.gather(*asked))


def outcomes(answers: list[httpx.Response]) -> Counter[str]:
    return Counter(a.json().get("code", "placed") for a in answers)


async def day_of(person: Person) -> dict[str, Any]:
    found = await db.usage.find_one({"user_id": person.id})
    assert found is not None
    return dict(found)


@pytest.fixture(autouse=True)
def within_a_day(past_the_boundary: Ahead) -> None:
    """No test reaches over midnight in India: its limits are those of one day."""
    past_the_boundary()


# --- the rules ----------------------------------------------------------------------------------

steps = st.lists(
    st.tuples(
        st.sampled_from(["take", "raise", "settle", "give_back"]),
        st.integers(0, 9),
        st.integers(1, 4_000),
        st.integers(0, 100),
    ),
    max_size=60,
)


@given(steps, st.integers(1, 10_000))
def test_what_was_spent_and_what_is_held_never_pass_the_cap(
    taken: list[tuple[str, int, int, int]], cap: int
) -> None:
    """Whatever happens in whatever order, while no call costs more than its hold."""
    day, bounds = Day(), Limits(concurrent_calls=100, spend_cap_paise=cap)
    for step, number, amount, percent in taken:
        call_id = f"call_{number}"
        is_running = call_id in day.held
        asked: dict[str, Any] = {
            "call_id": call_id,
            "amount_paise": amount,
            "amount_paise_min": amount // 4,
        }
        with contextlib.suppress(SpendCapReached):
            if step == "take" and not is_running:
                granted = limits.reserve(day, bounds, at=AT, **asked)
                assert amount // 4 <= granted <= amount
            elif step == "raise" and is_running:
                before = (dict(day.held), day.spent_paise, day.calls)
                held_before = day.held[call_id]
                try:
                    held = limits.extend(day, cap, at=AT, **asked)
                except SpendCapReached:
                    assert (day.held, day.spent_paise, day.calls) == before
                    raise
                assert held == day.held[call_id]
                assert max(held_before, amount // 4) <= held <= max(held_before, amount)
            elif step == "settle":
                held = day.held.get(call_id, amount)
                limits.settle(day, call_id=call_id, cost_paise=held * percent // 100)
            elif step == "give_back" and is_running:
                limits.cancel(day, call_id=call_id, at=AT)
        assert day.spent_paise + day.held_paise <= cap


def test_a_minute_is_a_minute_of_the_clock_and_a_refusal_counts_nothing() -> None:
    day, bounds = Day(), Limits(concurrent_calls=9, calls_per_minute=2, calls_per_day=3)

    def take(seconds: float) -> int:
        at = clock.after(seconds, since=AT)
        return limits.reserve(day, bounds, call_id="c", amount_paise=1, amount_paise_min=1, at=at)

    take(0)
    take(1)
    with pytest.raises(TooManyCalls) as refusal:
        take(2)
    assert refusal.value.headers["Retry-After"] == "38"  # it is 10:30:22
    assert refusal.value.extra["limited_by"] == "calls_per_minute"
    take(40)
    assert (day.calls, day.minute_calls) == (3, 1)
    with pytest.raises(TooManyCalls) as refusal:
        take(41)
    assert refusal.value.extra["limited_by"] == "calls_per_day"
    assert refusal.value.extra["resets_at"] == "2026-11-25T18:30:00.000Z"  # midnight in India
    limits.cancel(day, call_id="c", at=clock.after(40, since=AT))
    assert (day.calls, day.minute_calls) == (2, 0)


def test_a_call_is_counted_once_when_its_end_is_told_twice() -> None:
    day = Day(held={"c": 1_000})
    for _ in range(2):
        limits.settle(day, call_id="c", cost_paise=500)
    assert (day.spent_paise, day.held) == (500, {})


@pytest.mark.parametrize(
    ("held", "spent", "asked", "least", "granted"),
    [
        (100, 0, 400, 101, 400),
        (100, 700, 400, 101, 300),  # the cap leaves 200 more
        (100, 700, 400, 300, 300),  # exactly the least
        (100, 700, 400, 301, None),
        (100, 900, 400, 101, None),
        (100, 900, 400, 100, None),  # it has the least already, and wants more
        (100, 900, 100, 100, 100),  # no more than it has: also when the cap is used up
        (300, 0, 200, 101, 300),  # and never less
    ],
)
def test_a_running_call_is_granted_at_least_the_least_or_the_day_stays_as_it_is(
    held: int, spent: int, asked: int, least: int, granted: int | None
) -> None:
    day = Day(held={"c": held}, spent_paise=spent)

    def extend() -> int:
        return limits.extend(
            day, 1_000, call_id="c", amount_paise=asked, amount_paise_min=least, at=AT
        )

    if granted is None:
        with pytest.raises(SpendCapReached) as refusal:
            extend()
        assert refusal.value.required_paise == max(0, least - held)
        assert (day.held, day.spent_paise) == ({"c": held}, spent)
    else:
        assert extend() == granted
        assert (day.held, day.spent_paise) == ({"c": granted}, spent)


# --- where the money is reserved ----------------------------------------------------------------


async def test_calls_at_once_cannot_pass_the_days_cap(service: Service) -> None:
    person = await funded(service)
    with limited(service, daily_spend_cap=Decimal(105)):
        answers = await at_once(service, person, 30)
        assert outcomes(answers) == {"placed": 10, "spend_cap_reached": 20}
        refused = next(a for a in answers if a.status_code == 402)
        body = refused.json()
        assert (body["cap"], body["required"], body["available"]) == (105.0, 10.0, 5.0)
        midnight = clock.ist_day_end(clock.ist_date(clock.now()))
        assert body["resets_at"] == clock.iso(midnight)
        assert refused.headers["Retry-After"] == "5"  # when a call ends there may be room
        assert (await service.balance(person))["held"] == 100.0
        # What the calls did cost takes the place of what they could: there is room again.
        placed = [a.json()["call_id"] for a in answers if a.status_code == 202]
        for call_id in placed:
            for _ in range(2):  # told twice, counted once
                assert (await calling.report(service, call_id, "completed", 30)).status_code == 204
        day = await day_of(person)
        assert (int(day["spent_paise"]), day["held"], day["calls"]) == (5_000, {}, 10)
        assert outcomes(await at_once(service, person, 10)) == {
            "placed": 5,
            "spend_cap_reached": 5,
        }


async def test_what_the_day_has_spent_is_spent_until_the_next(service: Service) -> None:
    person = await funded(service)
    with limited(service, daily_spend_cap=Decimal(12)):
        call = await calling.place(service, person, calling.SILENT)
        await calling.report(service, call["call_id"], "completed", 30)
        refused = await calling.ask(service, person, calling.SILENT)
        assert refused.json()["code"] == "spend_cap_reached"
        resets_at = clock.ist_day_end(clock.ist_date(clock.now()))
        seconds_left = (resets_at - clock.now()).total_seconds()
        assert abs(int(refused.headers["Retry-After"]) - seconds_left) < 30
        campaign = await service.post(
            "/api/campaigns", person, json={"name": "A", "numbers": [calling.NUMBER]}
        )
        assert campaign.json()["code"] == "spend_cap_reached"
        kept = await day_of(person)  # as if it had been another day
        await db.usage.delete_one({"_id": kept["_id"]})
        await db.usage.insert_one(kept | {"_id": f"{person.id}:2026-01-01"})
        assert (await calling.ask(service, person, calling.SILENT)).status_code == 202


async def test_calls_at_once_cannot_pass_the_limits_of_the_minute_and_the_day(
    service: Service, past_the_boundary: Ahead
) -> None:
    person, other = await funded(service), await funded(service)
    past_the_boundary()
    with limited(service, calls_per_minute=4):
        answers = await at_once(service, person, 20)
        assert outcomes(answers) == {"placed": 4, "too_many_calls": 16}
        refused = next(a for a in answers if a.status_code == 429)
        assert refused.json()["limited_by"] == "calls_per_minute"
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        assert outcomes(await at_once(service, other, 1)) == {"placed": 1}
    with limited(service, calls_per_day=6):
        answers = await at_once(service, person, 10)
        assert outcomes(answers) == {"placed": 2, "too_many_calls": 8}
        refused = next(a for a in answers if a.status_code == 429)
        assert refused.json()["limited_by"] == "calls_per_day"
    with limited(service, max_concurrent_calls=6):
        refused = await calling.ask(service, person, calling.SILENT)
        assert refused.json()["limited_by"] == "concurrent_calls"


async def test_a_call_that_the_network_did_not_take_is_none_of_the_days_calls(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await funded(service)
    place = Simulator.place

    async def not_placed(network: Simulator, dial: Dial) -> str:
        raise NotSent("provider_unreachable")

    with limited(service, calls_per_day=2):
        monkeypatch.setattr(Simulator, "place", not_placed)
        for _ in range(5):
            call = await calling.place(service, person, calling.SILENT)
            assert (call["status"], call["billing_status"]) == ("failed", "released")
        assert (await day_of(person))["calls"] == 0
        monkeypatch.setattr(Simulator, "place", place)
        answers = [await calling.ask(service, person, calling.SILENT) for _ in range(3)]
        assert outcomes(answers) == {"placed": 2, "too_many_calls": 1}
        late = answers[0].json()["call_id"]  # a network that says so only when it is over
        await lifecycle.end_call(late, status="failed", duration_seconds=0, reason="provider_busy")
        assert (await day_of(person))["calls"] == 1
        assert (await calling.ask(service, person, calling.SILENT)).status_code == 202


async def test_processes_that_count_the_same_user_do_not_pass_a_limit_together(
    service: Service,
) -> None:
    """A lane is what a process has of a user's day: eight at a time, as eight processes would."""
    person = await service.signup()
    at = clock.now()  # a day long ago would expire
    on = clock.ist_date(at).isoformat()
    bounds = Limits(concurrent_calls=100, calls_per_day=25, spend_cap_paise=10**9)

    async def process(number: int) -> list[Any]:
        told: list[Any] = []
        for count in range(8):
            lane = limits._Lane(person.id, on)
            answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

            def rule(day: Day, call_id: str = f"call_{number}_{count}") -> int:
                return limits.reserve(
                    day, bounds, call_id=call_id, amount_paise=7, amount_paise_min=7, at=at
                )

            lane.waiting.append((rule, answer))
            await lane.work()
            told += await asyncio.gather(answer, return_exceptions=True)
        return told

    told = [answer for some in await asyncio.gather(*map(process, range(8))) for answer in some]
    assert [answer for answer in told if answer == 7] == [7] * 25
    assert sum(isinstance(answer, TooManyCalls) for answer in told) == 64 - 25
    day = await day_of(person)
    assert (day["calls"], len(day["held"])) == (25, 25)


async def test_an_end_that_was_not_counted_is_counted_when_it_is_told_again(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(*_: Any, **__: Any) -> None:
        raise Unavailable("as if the process had died here")

    person = await funded(service)
    with limited(service, daily_spend_cap=Decimal(100)):
        call = await calling.place(service, person, calling.SILENT)
        with monkeypatch.context() as patch:
            patch.setattr(limits, "settle_on_day", lost)
            await calling.report(service, call["call_id"], "completed", 30)
        assert (await calling.shown(service, person, call["call_id"]))["cost"] == 5.0
        assert len((await day_of(person))["held"]) == 1  # stricter, not looser
        await calling.report(service, call["call_id"], "completed", 30)
        day = await day_of(person)
        assert (int(day["spent_paise"]), day["held"]) == (500, {})


@pytest.mark.parametrize(("status", "duration"), [("busy", None), ("no_answer", 0)])
async def test_a_call_that_costs_nothing_frees_its_share_of_the_day(
    service: Service, status: str, duration: int | None
) -> None:
    person = await funded(service)
    with limited(service, daily_spend_cap=Decimal(10)):
        call = await calling.place(service, person, calling.SILENT)
        assert (await calling.ask(service, person, calling.SILENT)).status_code == 402
        await calling.report(service, call["call_id"], status, duration)
        day = await day_of(person)
        assert (int(day["spent_paise"]), day["held"], day["calls"]) == (0, {}, 1)
        assert (await calling.ask(service, person, calling.SILENT)).status_code == 202


async def test_the_day_holds_no_more_than_the_wallet_does(service: Service) -> None:
    """A slice costs Rs 50 and the wallet has Rs 23: what the cap lost for the rest is given back."""
    person = await funded(service, 23)
    with limited(service, daily_spend_cap=Decimal(100), call_slice_minutes=5):
        call = await calling.place(service, person, calling.SILENT)
        assert call["held"] == 23.0
        assert (await day_of(person))["held"] == {call["call_id"]: 2_300}


async def test_all_who_wait_for_an_absent_database_are_answered_and_the_next_change_works(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Away:
        def __getattr__(self, _: str) -> NoReturn:
            raise AutoReconnect("no server")

    person = await service.signup()
    bounds = Limits(concurrent_calls=9, calls_per_day=9)

    async def take() -> limits.Counted:
        call_id = database.new_id("call")
        return await limits.reserve_today(
            person.id, bounds, call_id=call_id, amount_paise=1, amount_paise_min=1
        )

    with monkeypatch.context() as patch:
        patch.setattr(limits, "db", Away())
        async with asyncio.timeout(10):
            answers = await asyncio.gather(*(take() for _ in range(5)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [Unavailable] * 5
    async with asyncio.timeout(10):
        await take()
    assert (await day_of(person))["calls"] == 1


async def test_whoever_waits_for_a_change_that_is_broken_off_is_answered_and_the_next_one_works(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await service.signup()
    begun = asyncio.Event()

    async def hangs(*_: Any) -> NoReturn:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError("it was woken")

    def change() -> asyncio.Task[None]:
        return asyncio.create_task(limits._change(person.id, "2026-11-25", lambda day: None))

    with monkeypatch.context() as patch:
        patch.setattr(limits._Lane, "_write", hangs)
        written = change()
        await begun.wait()
        waiting = change()
        await asyncio.sleep(0)
        lane = limits._lanes[f"{person.id}:2026-11-25"]
        assert lane.task is not None
        lane.task.cancel()
        async with asyncio.timeout(30):
            answers = await asyncio.gather(written, waiting, return_exceptions=True)
    assert [type(answer) for answer in answers] == [Unavailable] * 2
    async with asyncio.timeout(30):
        await change()
    assert (await day_of(person))["calls"] == 0


async def test_a_defect_in_a_rule_is_no_absence_of_the_database(service: Service) -> None:
    person = await service.signup()

    def broken(_: Day) -> None:
        raise ZeroDivisionError

    async with asyncio.timeout(10):
        with pytest.raises(ZeroDivisionError):
            await limits._change(person.id, "2026-11-25", broken)
        await limits._change(person.id, "2026-11-25", lambda day: None)
    assert (await day_of(person))["calls"] == 0


async def test_a_call_that_the_wallet_refuses_does_not_count(service: Service) -> None:
    person = await funded(service, 25)
    with limited(service, calls_per_day=50, daily_spend_cap=Decimal(500)):
        answers = await at_once(service, person, 8)
        assert outcomes(answers) == {"placed": 2, "balance_held": 6}
        day = await day_of(person)
        assert (day["calls"], day["minute_calls"] <= 2, len(day["held"])) == (2, True, 2)
        assert sum(map(int, day["held"].values())) == 2_000


async def test_a_running_call_is_not_extended_past_the_cap(service: Service) -> None:
    person = await funded(service)
    with limited(service, daily_spend_cap=Decimal(25)):
        script = {"outcome": "completed", "duration_seconds": 600, "wall_seconds": 1}
        call = await calling.place(service, person, script)
        call = await calling.over(service, person, call["call_id"])
        assert (call["duration_seconds"], call["cost"]) == (150, 25.0)
        async with asyncio.timeout(30):  # the price is counted a moment after the charge
            while not int((await day_of(person))["spent_paise"]):  # noqa: ASYNC110 - nobody says
                await asyncio.sleep(0.02)
        assert int((await day_of(person))["spent_paise"]) == 2_500


async def test_a_new_account_may_do_less_until_it_is_older(service: Service) -> None:
    person = await funded(service)
    lower = {
        "new_account_days": 7,
        "new_account_concurrent_calls": 3,
        "new_account_daily_spend_cap": Decimal(20),
    }
    with limited(service, **lower):
        assert outcomes(await at_once(service, person, 6)) == {
            "placed": 2,
            "spend_cap_reached": 4,
        }
    with limited(service, **lower | {"new_account_daily_spend_cap": Decimal(500)}):
        assert outcomes(await at_once(service, person, 6)) == {"placed": 1, "too_many_calls": 5}
        await db.users.update_one(
            {"_id": person.id}, {"$set": {"created_at": clock.after(-8 * 86_400)}}
        )
        assert outcomes(await at_once(service, person, 6)) == {"placed": 6}


async def test_nothing_is_counted_where_nothing_is_limited(service: Service) -> None:
    person = await funded(service)
    assert outcomes(await at_once(service, person, 3)) == {"placed": 3}
    assert await db.usage.find_one({"user_id": person.id}) is None


# --- campaigns ----------------------------------------------------------------------------------


async def test_a_campaign_pauses_at_the_cap_and_goes_on_when_there_is_room(
    service: Service,
) -> None:
    person = await funded(service)
    with limited(service, daily_spend_cap=Decimal(22)):
        campaign = await campaigning.create(service, person, 6)
        paused = await campaigning.until(
            service, person, campaign, lambda c: c["status"] == "paused", 30
        )
        assert paused["pause_reason"] == "cap"
        assert (paused["counts"]["answered"], paused["counts"]["pending"]) == (3, 3)
        resume = f"/api/campaigns/{campaign['campaign_id']}/resume"
        answer = await service.post(resume, person)
        assert (answer.status_code, answer.json()["code"]) == (402, "spend_cap_reached")
        await dispatcher.check_campaign(campaign["campaign_id"])
        assert (await campaigning.shown(service, person, campaign))["pause_reason"] == "cap"
    # As if the next day had begun.
    await db.usage.delete_many({"user_id": person.id})
    await dispatcher.check_campaign(campaign["campaign_id"])
    done = await campaigning.until(service, person, campaign, campaigning.is_over, 30)
    assert (done["counts"]["answered"], done["counts"]["failed"]) == (6, 0)


async def test_a_campaign_waits_for_the_next_minute_and_loses_nobody(
    service: Service, past_the_boundary: Ahead
) -> None:
    person = await funded(service)
    past_the_boundary()
    with limited(service, calls_per_minute=2):
        campaign = await campaigning.create(service, person, 4)
        waiting = await campaigning.until(
            service,
            person,
            campaign,
            lambda c: (
                c["counts"]["answered"] == c["counts"]["pending"] == 2
                and (c["waiting_for"] or {}).get("reason") == "calls_per_minute"
            ),
        )
        assert (waiting["status"], waiting["counts"]["pending"]) == ("running", 2)
        kept = await db.campaigns.find_one({"_id": campaign["campaign_id"]})
        assert kept is not None
        assert kept["look_at"] > clock.now()
    await dispatcher.check_campaign(campaign["campaign_id"])
    done = await campaigning.until(service, person, campaign, campaigning.is_over)
    assert done["counts"]["answered"] == 4


async def test_a_campaign_that_used_up_the_days_calls_waits_for_the_next_day(
    service: Service,
) -> None:
    person = await funded(service)
    with limited(service, calls_per_day=2):
        campaign = await campaigning.create(service, person, 3)
        paused = await campaigning.until(
            service, person, campaign, lambda c: c["status"] == "paused"
        )
        assert paused["pause_reason"] == "cap"
        assert (await charging.get_outlook(person.id)).calls_are_used_up
    await dispatcher.check_campaign(campaign["campaign_id"])
    done = await campaigning.until(service, person, campaign, campaigning.is_over)
    assert done["counts"]["answered"] == 3
