"""How often a number may be called: over campaigns and single calls, over processes, by a moved clock."""

import asyncio
import datetime as dt

import pytest

from compliance import contact_limits
from compliance.contact_limits import Attempt, Limits, reserve_attempt, verdict
from core import clock, config, database
from tests.support.calls import NUMBER, over, place
from tests.support.service import Service

USER = "usr_1"
NOON = dt.datetime(2026, 11, 28, 6, 30, tzinfo=dt.UTC)  # 12:00 in India


def after(minutes: float) -> dt.datetime:
    return NOON + dt.timedelta(minutes=minutes)


@pytest.fixture
def limits(book: config.Settings) -> config.Settings:
    """A database, and the limits that hold unless somebody sets others."""
    chosen = book.model_copy(
        update={
            "contact_gap_minutes": 60,
            "contact_calls_per_day": 3,
            "contact_calls_per_week": 6,
        }
    )
    config.use(chosen)
    return chosen


async def call(call_id: str, at: dt.datetime, user_id: str = USER) -> contact_limits.Verdict:
    """A call that is over as soon as it was allowed."""
    found = await reserve_attempt(user_id, NUMBER, call_id, at)
    if found.allowed:
        await contact_limits.end_attempt(user_id, NUMBER, call_id, at)
    return found


async def test_the_gap_delays_the_day_waits_for_tomorrow_and_the_week_for_its_end(
    limits: config.Settings,
) -> None:
    assert (await call("call_1", NOON)).allowed
    early = await call("call_2", after(59))
    assert (early.allowed, early.limited_by, early.not_before) == (False, "gap", after(60))
    assert (await call("call_2", after(60))).allowed
    assert (await call("call_3", after(120))).allowed
    full = await call("call_4", after(200))
    assert (full.limited_by, full.not_before) == (
        "calls_per_day",
        clock.ist_day_end(dt.date(2026, 11, 28)),
    )
    tomorrow = 24 * 60
    for number in (4, 5, 6):
        assert (await call(f"call_{number}", after(tomorrow + number * 60))).allowed
    week = await call("call_7", after(2 * tomorrow))
    assert week.limited_by == "calls_per_week"
    # Three leave the seven days at once, when the first day has left them.
    assert week.not_before == clock.ist_day_start(dt.date(2026, 12, 5))
    assert (await call("call_7", week.not_before)).allowed


async def test_one_user_does_not_limit_another(limits: config.Settings) -> None:
    assert (await call("call_1", NOON)).allowed
    assert (await call("call_2", NOON, user_id="usr_2")).allowed


async def test_the_same_call_counts_once_and_what_no_network_took_counts_not_at_all(
    limits: config.Settings,
) -> None:
    for _ in range(3):
        assert (await reserve_attempt(USER, NUMBER, "call_1", NOON)).allowed
    assert len(await contact_limits.find_attempts(USER, NUMBER)) == 1
    for _ in range(2):
        await contact_limits.cancel_attempt(USER, NUMBER, "call_1")
    assert await contact_limits.find_attempts(USER, NUMBER) == []
    assert (await reserve_attempt(USER, NUMBER, "call_2", NOON)).allowed


async def test_a_single_call_is_never_refused_and_counts(limits: config.Settings) -> None:
    for number in range(9):
        await contact_limits.record_attempt(USER, NUMBER, f"call_{number}", after(number))
        await contact_limits.record_attempt(USER, NUMBER, f"call_{number}", after(number))
        await contact_limits.end_attempt(USER, NUMBER, f"call_{number}", after(number))
    assert len(await contact_limits.find_attempts(USER, NUMBER)) == 9
    assert (await call("call_9", after(30))).limited_by == "calls_per_week"


async def test_of_fifty_at_once_one_is_allowed(limits: config.Settings) -> None:
    found = await asyncio.gather(
        *(reserve_attempt(USER, NUMBER, f"call_{n}", NOON) for n in range(50))
    )
    assert sum(one.allowed for one in found) == 1
    assert {one.limited_by for one in found} <= {None, "live_call", "gap"}


async def test_without_limits_two_calls_still_never_run_at_once(book: config.Settings) -> None:
    assert (book.contact_gap_minutes, book.contact_calls_per_day) == (0, 0)
    assert (await reserve_attempt(USER, NUMBER, "call_1", NOON)).allowed
    second = await reserve_attempt(USER, NUMBER, "call_2", after(1))
    assert (second.allowed, second.limited_by) == (False, "live_call")
    await contact_limits.end_attempt(USER, NUMBER, "call_1", after(2))
    assert (await reserve_attempt(USER, NUMBER, "call_2", after(2))).allowed


def test_the_gap_counts_from_the_end_of_a_call(settings: config.Settings) -> None:
    long_call: Attempt = {"call_id": "call_1", "at": NOON, "ended_at": after(50)}
    found = verdict([long_call], Limits(60, 0, 0), "call_2", after(61))
    assert (found.limited_by, found.not_before) == ("gap", after(110))


def test_an_end_that_nobody_reports_does_not_block_a_number_for_ever(
    settings: config.Settings,
) -> None:
    lost: Attempt = {"call_id": "call_1", "at": NOON}
    longest = settings.max_call_minutes
    assert not verdict([lost], Limits(0, 0, 0), "call_2", after(longest)).allowed
    assert verdict([lost], Limits(0, 0, 0), "call_2", after(longest + 16)).allowed


async def test_a_document_ends_by_itself(limits: config.Settings) -> None:
    await reserve_attempt(USER, NUMBER, "call_1", NOON)
    found = await database.db.contact_attempts.find_one({})
    assert found is not None
    assert found["expires_at"] == NOON + dt.timedelta(days=9)


async def test_single_calls_of_the_api_are_counted_and_end(service: Service) -> None:
    person = await service.signup()
    await service.fund(person, 100)
    first = await place(service, person, {"outcome": "busy", "wall_seconds": 0})
    await over(service, person, first["call_id"])
    second = await place(service, person, {"outcome": "busy", "wall_seconds": 0})
    await over(service, person, second["call_id"])
    for _ in range(200):
        found = await contact_limits.find_attempts(person.id, NUMBER)
        if len(found) == 2 and all("ended_at" in one for one in found):
            break
        await asyncio.sleep(0.02)
    assert [one["call_id"] for one in found] == [first["call_id"], second["call_id"]]
    assert all("ended_at" in one for one in found)
