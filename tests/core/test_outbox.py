"""The outbox: at least once, never lost, out of the way when it is dead."""

import asyncio
from typing import Any

import pytest

from core import clock, config, database, outbox
from core.database import db
from core.errors import Problem, Unavailable
from core.outbox import Event
from gateway import GatewayUnavailable


@pytest.fixture(autouse=True)
def no_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    """None but the test's own."""
    monkeypatch.setattr(outbox, "_handlers", {})


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
    for _ in range(25):  # more often than a failing event is tried
        await outbox.deliver_due()
        assert await outbox.deliver_due() == 0  # it pauses
        await db.events.update_one({"_id": event_id}, {"$set": {"due_at": clock.after(-1)}})
    found = await db.events.find_one({"_id": event_id})
    assert found is not None
    assert (found["state"], found["attempts"]) == ("pending", 0)
    assert "no handler" in caplog.text
    heard: list[str] = []

    async def hear(event: Event) -> None:
        heard.append(event["_id"])

    outbox.on("SomethingHappened", hear)  # the process with the handler, or the next release
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
    assert len(await outbox._claim()) == 1  # and this process dies here
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


@pytest.mark.parametrize("turns", range(5))
async def test_waiting_for_work_is_cancelled_though_there_is_work_at_that_moment(
    turns: int,
) -> None:
    """Else the worker that stops waits for ever for its task."""
    waiting = asyncio.create_task(outbox.wait_for_work(60))
    for _ in range(3):
        await asyncio.sleep(0)
    outbox.wake()
    for _ in range(turns):
        await asyncio.sleep(0)
    if waiting.cancel():
        await asyncio.gather(waiting, return_exceptions=True)
        assert waiting.cancelled()
    else:
        assert waiting.result() is None
