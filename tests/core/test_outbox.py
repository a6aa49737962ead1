"""The outbox: at least once, never lost, out of the way when it is dead."""

import asyncio
import collections
import contextlib
import random
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from core import clock, config, database, outbox
from core.database import Document, db
from core.errors import Problem, Unavailable
from core.outbox import Event, Lane
from gateway import GatewayUnavailable
from tests.support.service import until


@pytest.fixture(autouse=True)
def no_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    """None but the test's own."""
    monkeypatch.setattr(outbox, "_handlers", {})
    monkeypatch.setattr(outbox, "_lanes", {})


async def happen(name: str, *, pending: bool = True, **data: Any) -> str:
    write = outbox.record_event(name, user_id="usr_1", pending=pending, **data)
    await database.write_all([write])
    return str(write.document["_id"])


async def state_of(event_id: str) -> str:
    found = await db.events.find_one({"_id": event_id})
    assert found is not None
    return str(found["state"])


async def test_a_pending_event_reaches_its_handler_and_is_done(
    book: config.Settings,
) -> None:
    heard: list[Event] = []

    async def hear(event: Event) -> None:
        heard.append(event)

    outbox.on("SomethingHappened", hear)
    outbox.on("SomethingHappened", hear)  # said twice, heard once
    event_id = await happen("SomethingHappened", amount_paise=5)
    recorded = await happen("SomethingHappened", pending=False)
    assert await outbox.deliver_due() == 1
    assert [(e["_id"], e["data"]) for e in heard] == [(event_id, {"amount_paise": 5})]
    assert await state_of(event_id) == "done"
    assert await state_of(recorded) == "recorded"
    assert await outbox.deliver_due() == 0


async def test_a_failing_handler_is_tried_again_and_in_the_end_the_event_is_dead(
    book: config.Settings,
) -> None:
    async def fail(_: Event) -> None:
        raise RuntimeError("not today")

    outbox.on("SomethingHappened", fail)
    event_id = await happen("SomethingHappened")
    await outbox.deliver_due()
    assert await state_of(event_id) == "pending"
    assert await outbox.deliver_due() == 0  # it pauses first
    last = {"due_at": clock.after(-1), "attempts": 19}
    await db.events.update_one({"_id": event_id}, {"$set": last})
    await outbox.deliver_due()
    found = await db.events.find_one({"_id": event_id})
    assert found is not None
    assert (found["state"], found["failure"]) == ("dead", "RuntimeError: not today")


async def test_an_event_without_a_handler_in_this_process_stays_pending(
    book: config.Settings,
    caplog: pytest.LogCaptureFixture,
) -> None:
    event_id = await happen("SomethingHappened")
    assert await outbox.deliver_due() == 0
    found = await db.events.find_one({"_id": event_id})
    assert found is not None
    assert (found["state"], found["attempts"]) == ("pending", 0)
    await outbox.report_unhandled()
    assert f"event {event_id} SomethingHappened: this process has no handler" in caplog.text
    heard: list[str] = []

    async def hear(event: Event) -> None:
        heard.append(event["_id"])

    outbox.on("SomethingHappened", hear)  # the process with the handler, or the next release
    caplog.clear()
    await outbox.report_unhandled()
    assert caplog.text == ""
    assert await outbox.deliver_due() == 1
    assert heard == [event_id]
    assert await state_of(event_id) == "done"


async def test_an_event_outlives_an_outage_of_hours_and_not_of_days(
    book: config.Settings,
) -> None:
    """It is not its fault that Razorpay, or the ledger, does not answer."""
    away: list[Problem] = [Unavailable("away"), GatewayUnavailable("away")]

    async def fail(_: Event) -> None:
        raise away[-1]

    outbox.on("SomethingHappened", fail)
    event_id = await happen("SomethingHappened")
    for age_seconds, state in ((43_200, "pending"), (43_200, "pending"), (172_800, "dead")):
        old = {"due_at": clock.after(-1), "attempts": 300, "at": clock.after(-age_seconds)}
        await db.events.update_one({"_id": event_id}, {"$set": old})
        await outbox.deliver_due()
        assert await state_of(event_id) == state
        away.insert(0, away.pop())


async def test_what_a_dead_process_had_claimed_is_due_again(
    book: config.Settings,
) -> None:
    heard = []

    async def hear(event: Event) -> None:
        heard.append(event["_id"])

    outbox.on("SomethingHappened", hear)
    event_id = await happen("SomethingHappened")
    claimed, _ = await outbox._claim(outbox.OTHERS, limit=100)
    assert len(claimed) == 1  # and this process dies here
    assert await outbox.deliver_due() == 0
    await db.events.update_one({"_id": event_id}, {"$set": {"due_at": clock.after(-1)}})
    assert await outbox.deliver_due() == 1
    assert heard == [event_id]


async def test_who_fails_after_its_lease_does_not_undo_what_another_process_did(
    book: config.Settings,
) -> None:
    async def too_late(event: Event) -> None:
        theirs = {"claim": "claim_of_another", "state": "done", "attempts": 2}
        await db.events.update_one({"_id": event["_id"]}, {"$set": theirs})
        raise RuntimeError("after a minute")

    outbox.on("SomethingHappened", too_late)
    event_id = await happen("SomethingHappened")
    await outbox.deliver_due()
    assert await state_of(event_id) == "done"


async def test_deliveries_at_once_hand_each_event_over_once(
    book: config.Settings,
) -> None:
    heard = []

    async def hear(event: Event) -> None:
        await asyncio.sleep(0)
        heard.append(event["_id"])

    outbox.on("SomethingHappened", hear)
    ids = [await happen("SomethingHappened") for _ in range(30)]
    while sum(await asyncio.gather(*(outbox.deliver_due() for _ in range(4)))):
        pass
    assert sorted(heard) == sorted(ids)


# --- lanes --------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def delivering(*lanes: Lane) -> AsyncIterator[None]:
    """The lanes run in this process."""
    tasks = [asyncio.create_task(outbox.deliver(lane)) for lane in lanes]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Slow:
    """A handler that takes until it is allowed to end; what it began, and what it has ended."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.ended: list[str] = []
        self.may_end = asyncio.Event()

    async def __call__(self, event: Event) -> None:
        self.began.append(event["_id"])
        await self.may_end.wait()
        self.ended.append(event["_id"])


async def hold(event_id: str, **fields: Any) -> bool:
    return await db.events.find_one({"_id": event_id, **fields}) is not None


async def test_a_lane_that_is_full_of_slow_events_delays_no_other_lane(
    book: config.Settings,
) -> None:
    slow, quick = Lane("slow", at_once=2), Lane("quick", at_once=2)
    handler, heard = Slow(), asyncio.Event()

    async def hear(_: Event) -> None:
        heard.set()

    outbox.on("SlowThing", handler, slow)
    outbox.on("QuickThing", hear, quick)
    for _ in range(20):
        await happen("SlowThing")
    async with delivering(slow, quick):
        await until(lambda: asyncio.sleep(0, len(handler.began) == 2))
        event_id = await happen("QuickThing")
        outbox.wake()
        await heard.wait()
        await until(lambda: hold(event_id, state="done"))
        assert len(handler.began) == 2
        handler.may_end.set()
        await until(lambda: asyncio.sleep(0, len(handler.ended) == 20))
    assert len(handler.began) == 20


async def test_a_slow_event_occupies_its_own_slot_and_no_other(book: config.Settings) -> None:
    lane = Lane("mixed", at_once=2)
    blocked = asyncio.Event()
    heard: list[str] = []

    async def hear(event: Event) -> None:
        if event["data"]["slow"]:
            await blocked.wait()
        heard.append(event["_id"])

    outbox.on("SomethingHappened", hear, lane)
    slow = await happen("SomethingHappened", slow=True)
    quick = [await happen("SomethingHappened", slow=False) for _ in range(20)]
    async with delivering(lane):
        await until(lambda: asyncio.sleep(0, sorted(heard) == sorted(quick)))
        blocked.set()
        await until(lambda: hold(slow, state="done"))


async def test_an_event_that_an_older_version_wrote_is_delivered_in_its_lane(
    book: config.Settings,
) -> None:
    """Release 0.2.1 knew no lanes, and its claim lasted a minute."""
    lane, handler = Lane("a lane"), Slow()
    handler.may_end.set()
    outbox.on("SomethingHappened", handler, lane)
    event: Document = {
        "_id": "evt_old",
        "name": "SomethingHappened",
        "user_id": None,
        "data": {},
        "at": clock.after(-100),
        "state": "pending",
        "due_at": clock.after(-40),
        "attempts": 1,
        "claim": "claim_of_a_process_that_died",
    }
    await db.events.insert_one(event)
    async with delivering(lane):
        await until(lambda: hold("evt_old", state="done", attempts=2))


async def test_a_claim_examines_only_what_is_due_in_its_lane(book: config.Settings) -> None:
    names = ["CallEnded", "WalletCredited", "RazorpayReported"]
    for n in range(300):
        await happen(names[n % 3], pending=n < 90)
    due = {
        "state": "pending",
        "name": {"$in": names[:2]},
        "due_at": {"$lte": clock.now()},
    }
    plan = await database.client()[database.database_name()].command(
        "explain",
        {"find": "events", "filter": due, "sort": {"due_at": 1}, "limit": 100},
        verbosity="executionStats",
    )
    assert plan["executionStats"]["totalDocsExamined"] == 60
    assert "SORT_MERGE" in str(plan["queryPlanner"]["winningPlan"])


# --- leases and limits of time ------------------------------------------------------------------


@pytest.fixture
def short_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "_LEASE_SECONDS", 0.3)
    monkeypatch.setattr(outbox, "_POLL_SECONDS", 0.02)


@pytest.mark.usefixtures("short_leases")
async def test_the_lease_of_what_runs_and_of_what_waits_is_renewed(book: config.Settings) -> None:
    lane, handler = Lane("slow", at_once=1), Slow()
    outbox.on("SlowThing", handler, lane)
    ids = [await happen("SlowThing") for _ in range(2)]
    async with delivering(lane):
        await until(lambda: asyncio.sleep(0, len(handler.began) == 1))
        later = clock.after(0.9)  # three leases
        for event_id in ids:
            await until(partial(hold, event_id, attempts=1, due_at={"$gt": later}))
        assert await outbox.deliver_due() == 0  # another process finds nothing
        handler.may_end.set()
        await until(lambda: hold(ids[1], state="done"))
    assert handler.ended == handler.began == ids


async def test_an_event_that_outlasts_its_lease_is_done_when_the_first_finishes(
    book: config.Settings,
) -> None:
    """Its lease could not be renewed, and another process handles it, too. In release 0.2.1 neither of
    them could say that it was done."""
    handler = Slow()
    outbox.on("SlowThing", handler)
    event_id = await happen("SlowThing")
    first = asyncio.create_task(outbox.deliver_due())
    await until(lambda: asyncio.sleep(0, len(handler.began) == 1))
    await db.events.update_one({"_id": event_id}, {"$set": {"due_at": clock.after(-1)}})
    blocked, handler.may_end = handler.may_end, asyncio.Event()
    second = asyncio.create_task(outbox.deliver_due())
    await until(lambda: asyncio.sleep(0, len(handler.began) == 2))
    blocked.set()
    await first
    assert await state_of(event_id) == "done"
    handler.may_end.set()
    await second
    assert await state_of(event_id) == "done"
    assert await outbox.deliver_due() == 0


async def test_a_handler_that_hangs_is_a_failed_attempt_and_in_the_end_dead(
    book: config.Settings,
) -> None:
    lane = Lane("short", limit_seconds=0.05)
    outbox.on("SlowThing", Slow(), lane)
    event_id = await happen("SlowThing")
    await outbox.deliver_due()
    assert await hold(event_id, state="pending", attempts=1)
    last = {"due_at": clock.after(-1), "attempts": 19}
    await db.events.update_one({"_id": event_id}, {"$set": last})
    await outbox.deliver_due()
    why = "TookTooLong: The handler took longer than 0.05 s."
    assert await hold(event_id, state="dead", failure=why)


async def test_what_a_stopped_process_has_not_ended_is_due_at_once_and_was_no_attempt(
    book: config.Settings,
) -> None:
    lane, handler = Lane("slow", at_once=1), Slow()
    outbox.on("SlowThing", handler, lane)
    ids = [await happen("SlowThing") for _ in range(2)]
    async with delivering(lane):
        await until(lambda: asyncio.sleep(0, len(handler.began) == 1))
        await until(lambda: hold(ids[1], attempts=1))
    for event_id in ids:
        assert await hold(event_id, state="pending", attempts=0, due_at={"$lte": clock.now()})


async def test_one_that_a_person_asked_for_again_meanwhile_is_handled_again(
    book: config.Settings,
) -> None:
    handler = Slow()
    outbox.on("SlowThing", handler)
    event_id = await happen("SlowThing")
    running = asyncio.create_task(outbox.deliver_due())
    await until(lambda: asyncio.sleep(0, len(handler.began) == 1))
    assert await outbox.retry_event(event_id, "SlowThing") is not None
    handler.may_end.set()
    await running
    assert await state_of(event_id) == "pending"
    assert await outbox.deliver_due() == 1
    assert handler.ended == [event_id, event_id]
    assert await state_of(event_id) == "done"


async def test_a_service_that_was_not_asked_pauses_its_lane_and_counts_no_attempt(
    book: config.Settings,
) -> None:
    lane = Lane("razorpay", at_once=1)
    asked: list[str] = []

    class Open(Problem):
        code, status, title = "gateway_unavailable", 503, "Away"
        retry_after_seconds, sent = 1, False

    async def refuse(event: Event) -> None:
        asked.append(event["_id"])
        if len(asked) <= 2:
            raise Open("nothing was sent")

    outbox.on("SomethingHappened", refuse, lane)
    ids = [await happen("SomethingHappened") for _ in range(5)]
    async with delivering(lane):
        for event_id in ids:
            await until(partial(hold, event_id, state="done", attempts=1))
    assert asked[:2] == ids[:2]  # what was claimed already; the others waited
    assert sorted(asked[2:]) == ids


async def test_a_pause_that_a_service_asks_for_is_kept(book: config.Settings) -> None:
    class Throttled(Problem):
        code, status, title = "gateway_unavailable", 503, "Away"
        retry_after_seconds, sent = 40, True

    async def refuse(_: Event) -> None:
        raise Throttled("slower")

    outbox.on("SomethingHappened", refuse)
    event_id = await happen("SomethingHappened")
    await outbox.deliver_due()
    assert await hold(event_id, state="pending", due_at={"$gt": clock.after(30)})


@pytest.mark.usefixtures("short_leases")
@pytest.mark.parametrize("seed", range(3))
async def test_every_event_ends_once_done_whatever_is_slow_fails_or_dies(
    book: config.Settings, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Two processes (two deliveries of a lane), handlers that take longer than the lease, leases that
    are not renewed, failures, and deliveries that are stopped in the middle."""
    chosen = random.Random(seed)
    lane = Lane("fuzzed", at_once=4, limit_seconds=5)
    ended: collections.Counter[str] = collections.Counter()
    running: collections.Counter[str] = collections.Counter()
    renew = outbox._Delivery._renew

    async def sometimes(delivery: Any) -> bool:
        return True if chosen.random() < 0.3 else await renew(delivery)

    async def hear(event: Event) -> None:
        running[event["_id"]] += 1
        await asyncio.sleep(chosen.choice([0, 0.01, 0.1, 0.5]))
        if chosen.random() < 0.1:
            raise Unavailable("away")
        ended[event["_id"]] += 1

    monkeypatch.setattr(outbox._Delivery, "_renew", sometimes)
    monkeypatch.setattr(outbox, "_growing_seconds", lambda _: 0.05)
    outbox.on("SomethingHappened", hear, lane)
    ids = [await happen("SomethingHappened") for _ in range(40)]

    async def process() -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(chosen.uniform(0.3, 2)):
                    await outbox.deliver(lane)

    async def all_done() -> bool:
        return await db.events.count_documents({"state": "done"}) == len(ids)

    processes = [asyncio.create_task(process()) for _ in range(2)]
    try:
        await until(all_done)
    finally:
        for task in processes:
            task.cancel()
        await asyncio.gather(*processes, return_exceptions=True)
    assert set(ended) == set(ids)
    handled = sum(running.values())
    await asyncio.sleep(0.4)  # longer than a lease: nothing begins again
    assert sum(running.values()) == handled
