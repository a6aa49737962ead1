"""Leases: what is due is taken by one process alone, and what a dead one had is due again."""

import asyncio
import datetime as dt
from typing import Final

import pytest

from core import clock, leases
from core.database import Collection, Document, db
from core.errors import Unavailable
from tests.support.service import until

FIELD: Final = "next_check_at"


async def stored(*ages_seconds: float | None) -> Collection:
    """Documents `job_0`, `job_1`, … that became due so long ago; None: they are never due."""
    documents: list[Document] = [
        {"_id": f"job_{n}", "kind": "job", FIELD: None if age is None else clock.after(-age)}
        for n, age in enumerate(ages_seconds)
    ]
    await db.jobs.insert_many(documents)
    return db.jobs


def in_a_minute(_: Document) -> dt.datetime:
    return clock.after(60)


@pytest.mark.usefixtures("book")
async def test_what_is_due_is_claimed_once_the_longest_due_first() -> None:
    jobs = await stored(10, 30, None, -60, 20)
    assert await leases.due_ids(jobs, FIELD, limit=10) == ["job_1", "job_4", "job_0"]
    claimed = await leases.claim_due(jobs, FIELD, next_at=in_a_minute, limit=2)
    assert [job["_id"] for job in claimed] == ["job_1", "job_4"]
    rest = await leases.claim_due(jobs, FIELD, next_at=in_a_minute, limit=10)
    assert [job["_id"] for job in rest] == ["job_0"]
    assert await leases.claim_due(jobs, FIELD, next_at=in_a_minute, limit=10) == []


@pytest.mark.usefixtures("book")
async def test_claims_at_once_share_the_work_and_take_nothing_twice() -> None:
    jobs = await stored(*range(1, 41))
    claims = [leases.claim_due(jobs, FIELD, next_at=in_a_minute, limit=20) for _ in range(6)]
    taken = [job["_id"] for mine in await asyncio.gather(*claims) for job in mine]
    while more := await leases.claim_due(jobs, FIELD, next_at=in_a_minute, limit=20):
        taken += [job["_id"] for job in more]
    assert sorted(taken) == sorted(f"job_{n}" for n in range(40))


@pytest.mark.usefixtures("book")
async def test_each_document_has_its_own_next_time_and_none_ends_it() -> None:
    jobs = await stored(10, 20)
    over_at = clock.after(600)

    def next_at(job: Document) -> dt.datetime | None:
        return None if job["_id"] == "job_0" else over_at

    assert len(await leases.claim_due(jobs, FIELD, next_at=next_at, limit=10)) == 2
    first, second = await jobs.find(sort=[("_id", 1)]).to_list(None)
    assert FIELD not in first
    assert second[FIELD] == over_at


@pytest.mark.usefixtures("book")
async def test_where_narrows_what_is_claimed() -> None:
    jobs = await stored(10, 20)
    narrow = {"_id": "job_0"}
    assert await leases.due_ids(jobs, FIELD, limit=10, where=narrow) == ["job_0"]
    claimed = await leases.claim_due(jobs, FIELD, next_at=in_a_minute, limit=10, where=narrow)
    assert [job["_id"] for job in claimed] == ["job_0"]


@pytest.mark.usefixtures("book")
async def test_one_document_is_claimed_until_its_lease_is_over() -> None:
    jobs = await stored(10)
    until = clock.after(60)
    before = await leases.claim(jobs, "job_0", FIELD, until=until, count="checks")
    assert before is not None
    assert before[FIELD] < until
    assert await leases.claim(jobs, "job_0", FIELD, until=until, count="checks") is None
    await jobs.update_one({"_id": "job_0"}, {"$set": {FIELD: clock.after(-1)}})
    again = await leases.claim(jobs, "job_0", FIELD, until=until, count="checks")
    assert again is not None
    assert again["checks"] == 1


async def test_no_more_than_the_limit_run_at_once_and_results_keep_their_order() -> None:
    running = most = 0

    async def work(item: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001 * (10 - item))
        running -= 1
        return item * item

    assert await leases.gather_bounded(work, range(10), 3) == [n * n for n in range(10)]
    assert most == 3


async def test_one_that_fails_stops_no_other_and_is_raised_at_the_end() -> None:
    done = []

    async def work(item: int) -> None:
        if item in (2, 5):
            raise ValueError(f"no {item}")
        await asyncio.sleep(0)
        done.append(item)

    with pytest.raises(ValueError, match="no 2"):
        await leases.gather_bounded(work, range(8), 2)
    assert sorted(done) == [0, 1, 3, 4, 6, 7]


# --- leases that have an owner ------------------------------------------------------------------


@pytest.mark.usefixtures("book")
async def test_a_lease_is_acquired_by_one_owner_and_given_to_the_next_when_it_is_over() -> None:
    jobs = await stored(10)
    offers = await asyncio.gather(*(leases.acquire(jobs, "job_0", seconds=60) for _ in range(8)))
    [first] = [lease for lease in offers if lease is not None]
    assert await first.renew()
    await jobs.update_one({"_id": "job_0"}, {"$set": {"lease_until": clock.after(-1)}})
    second = await leases.acquire(jobs, "job_0", seconds=60)
    assert second is not None
    assert not await first.renew()
    await first.release()  # it is not its own any more
    assert await leases.acquire(jobs, "job_0", seconds=60) is None
    await second.release()
    assert await leases.acquire(jobs, "job_0", seconds=60) is not None
    assert await leases.acquire(jobs, "job_unknown", seconds=60) is None


@pytest.mark.usefixtures("book")
async def test_a_renewed_lease_outlasts_its_seconds_and_says_when_it_was_lost() -> None:
    jobs = await stored(10)
    lease = await leases.acquire(jobs, "job_0", seconds=0.3)
    assert lease is not None
    began = clock.now()
    async with leases.renewing(lease.renew, seconds=lease.seconds) as renewal:
        while clock.now() < clock.after(0.9, since=began):
            assert await leases.acquire(jobs, "job_0", seconds=60) is None
            await asyncio.sleep(0.02)
        assert not renewal.is_lost
        await jobs.update_one({"_id": "job_0"}, {"$set": {"lease_owner": "another"}})
        await until(lambda: asyncio.sleep(0, renewal.is_lost))


async def test_a_renewal_goes_on_after_an_outage_and_ends_with_its_block() -> None:
    asked = 0

    async def renew() -> bool:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise Unavailable("away")
        return True

    async with leases.renewing(renew, seconds=0.03) as renewal:
        await until(lambda: asyncio.sleep(0, asked >= 4))
    assert not renewal.is_lost
    ended_at = asked
    await asyncio.sleep(0.1)
    assert asked == ended_at
