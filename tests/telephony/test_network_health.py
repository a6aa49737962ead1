"""The circuit breaker of a network: opened by failures and refusals of the account, closed by a probe."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from core import clock
from core.database import db
from telephony import BUSY, TOO_SLOW, Ambiguous, NotSent, Refused, network_health
from telephony.network_health import ACCEPTED, Outcome, outcome_of
from telephony.provider import NETWORK_DOWN, SUSPENDED, UNREACHABLE
from tests.support import calls as calling
from tests.support.service import Service, running, test_settings

NAME = "plivo"  # no call goes there in these tests
FAILED = Outcome("failed", network_health.NO_ANSWER)
STOPPED = Outcome("stopped", SUSPENDED)


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    async with running(test_settings(mongodb_uri, signups_per_hour=100_000)) as started:
        yield started


@pytest.fixture(autouse=True)
async def _forgotten(service: Service) -> AsyncIterator[None]:
    await calling.forget_network_health()
    yield
    await calling.forget_network_health()


async def record(*outcomes: Outcome) -> None:
    for outcome in outcomes:
        await network_health.record_outcome(NAME, outcome)
        network_health._cached.clear()  # as in another process


async def time_has_come() -> None:
    """As if the network had been left alone for long enough."""
    past = {"$set": {"until": clock.after(-1)}}
    await db.network_health.update_one({"_id": NAME}, past)
    network_health._cached.clear()


async def is_open() -> bool:
    network_health._cached.clear()
    return (await network_health.get_health(NAME)).is_open


def test_what_each_answer_of_a_network_says_about_it() -> None:
    assert outcome_of(Refused("provider_refused: 400")) == ACCEPTED  # of this number, so it works
    assert outcome_of(Ambiguous("502")) == FAILED
    assert outcome_of(NotSent(UNREACHABLE)).kind == "failed"
    for reason in (BUSY, TOO_SLOW):
        assert outcome_of(NotSent(reason)).kind == "neutral"
    for reason in NETWORK_DOWN - {UNREACHABLE}:
        assert outcome_of(NotSent(reason)) == Outcome("stopped", reason)


async def test_a_refusal_of_the_account_opens_at_once_and_says_why() -> None:
    await record(ACCEPTED, ACCEPTED, STOPPED)
    health = await network_health.get_health(NAME)
    assert (health.is_open, health.reason) == (True, SUSPENDED)
    assert 1 <= health.retry_after_seconds <= network_health.STOPPED_SECONDS
    assert not await network_health.admit(NAME)


async def test_a_network_that_fails_half_of_the_time_is_left_alone_and_one_that_fails_rarely_is_not() -> (
    None
):
    await record(*([ACCEPTED] * 8 + [FAILED]) * 3)
    assert not await is_open()
    await calling.forget_network_health()
    await record(*[FAILED, ACCEPTED] * 2, FAILED)
    assert not await is_open()  # too few to tell
    await record(ACCEPTED, FAILED)
    assert await is_open()
    assert (await network_health.get_health(NAME)).reason == network_health.NO_ANSWER


async def test_failures_of_long_ago_do_not_count() -> None:
    await record(*[FAILED] * 5)
    old = {"$set": {"window_at": clock.after(-network_health.WINDOW_SECONDS - 1)}}
    await db.network_health.update_one({"_id": NAME}, old)
    await record(FAILED)
    assert not await is_open()


async def test_one_caller_probes_and_its_answer_closes() -> None:
    await record(STOPPED)
    await record(ACCEPTED)  # it was asked for before it opened
    assert await is_open()
    await time_has_come()
    assert not await is_open()  # somebody may try it
    admitted = await asyncio.gather(*(network_health.admit(NAME) for _ in range(10)))
    assert admitted.count(True) == 1
    assert await is_open()  # and nobody else before there is an answer
    await record(ACCEPTED)
    assert not await is_open()
    assert await network_health.admit(NAME)
    assert await network_health.admit(NAME)


async def test_a_probe_that_fails_makes_the_next_one_wait_twice_as_long() -> None:
    waits = []
    for _ in range(3):
        await time_has_come()
        assert await network_health.admit(NAME)
        await record(STOPPED)
        health = await network_health.get_health(NAME)
        assert health.until is not None
        waits.append(round((health.until - clock.now()).total_seconds() / 15))
    assert waits == [1, 2, 4]
    # A probe whose process died is followed by another.
    await time_has_come()
    assert await network_health.admit(NAME)
    lost = {"$set": {"probe_until": clock.after(-1)}}
    await db.network_health.update_one({"_id": NAME}, lost)
    network_health._cached.clear()
    assert await network_health.admit(NAME)


async def test_many_processes_that_find_it_out_together_open_it_once() -> None:
    await asyncio.gather(*(network_health.record_outcome(NAME, STOPPED) for _ in range(10)))
    found = await db.network_health.find_one({"_id": NAME})
    assert found is not None
    assert found["times"] == 1
