"""Statistics count each call of a campaign once, whatever is repeated, late, or breaks off."""

import asyncio
import datetime as dt
from typing import Any

import pytest

from campaigns import statistics
from campaigns.contacts import Counts
from core import clock, config, database
from core.database import Transaction, db
from telephony import OVER
from tests.support.ended_calls import DIALLED_AT, ended_call, store

NOON = DIALLED_AT + dt.timedelta(hours=1)


def calls_of_all_kinds() -> list[dict[str, Any]]:
    return [
        ended_call("cmp_a", caller_id="+911409876543"),
        ended_call("cmp_a", created_at=NOON, answered_by="machine", caller_id="+911409876543"),
        ended_call("cmp_a", status="busy", attempt_number=2),
        ended_call("cmp_a", status="no_answer", created_at=NOON),
        ended_call("cmp_a", status="failed", provider_call_id=None, failure_reason="no_route"),
        ended_call("cmp_b", status="no_answer"),
    ]


async def figures(scope: str) -> dict[str, Any]:
    found: Any = await statistics.find_statistics(scope)
    assert found is not None
    return {key: found[key] for key in found if key not in ("_id", "updated_at", "ends", "user_id")}


async def test_the_figures_are_those_of_the_calls(book: config.Settings) -> None:
    await statistics.count_calls(await store(*calls_of_all_kinds()))
    assert await figures("cmp_a") == {
        "ended": 5,
        "dialled": 4,
        "answered": 2,
        "talk_seconds": 60,
        "cost_paise": 1000,
        "by_disposition": {"answered": 1, "machine": 1, "busy": 1, "no_answer": 1, "failed": 1},
        "by_hour": {
            "mon-11": {"dialled": 2, "answered": 1},
            "mon-12": {"dialled": 2, "answered": 1},
        },
        "by_caller_id": {
            "+911409876543": {"dialled": 2, "answered": 2},
            "default": {"dialled": 2},
        },
        "by_attempt": {"1": {"dialled": 3, "answered": 2}, "2": {"dialled": 1}},
    }
    assert (await figures("usr_a"))["dialled"] == 5
    assert await statistics.find_differences("cmp_a") == {}


async def test_calls_counted_again_at_once_and_by_parts_count_once(book: config.Settings) -> None:
    ids = await store(*calls_of_all_kinds())
    await asyncio.gather(
        *(statistics.count_call(call_id) for call_id in ids * 5),
        *(statistics.count_calls(ids[start:]) for start in range(4)),
    )
    await statistics.count_calls(ids)
    assert await statistics.find_differences("cmp_a") == {}
    assert (await figures("cmp_a"))["ended"] == 5
    assert (await figures("usr_a"))["ended"] == 6


async def test_a_count_that_breaks_off_before_its_commit_is_made_again(
    book: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await store(*calls_of_all_kinds())
    write = Transaction.write_all

    def die(self: Transaction, writes: Any) -> int:
        write(self, writes)
        raise RuntimeError("killed between the writes and the commit")

    monkeypatch.setattr(Transaction, "write_all", die)
    with pytest.raises(RuntimeError, match="killed"):
        await statistics.count_call(ids[0])
    monkeypatch.undo()
    assert await statistics.find_statistics("cmp_a") is None
    await statistics.count_call(ids[0])
    assert (await figures("cmp_a"))["ended"] == 1


async def test_a_commit_whose_result_is_unknown_counts_once(
    book: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await store(*calls_of_all_kinds())
    commit = Transaction.commit
    lost: list[int] = []

    async def commit_and_lose(self: Transaction, work: Any) -> None:
        await commit(self, work)
        if not lost:
            lost.append(1)
            raise database.Away("no answer", error_labels=["UnknownTransactionCommitResult"])

    monkeypatch.setattr(Transaction, "commit", commit_and_lose)
    await statistics.count_calls(ids)
    assert lost
    assert await statistics.find_differences("cmp_a") == {}
    assert (await figures("cmp_a"))["ended"] == 5


async def test_what_becomes_known_later_replaces_what_was_counted(book: config.Settings) -> None:
    machine, reviewed = await store(
        ended_call("cmp_a"),
        ended_call("cmp_a", billing_status="review", cost_paise=0, duration_seconds=None),
    )
    await statistics.count_calls([machine, reviewed])
    assert (await figures("cmp_a"))["cost_paise"] == 500
    await db.calls.update_one({"_id": machine}, {"$set": {"answered_by": "machine"}})
    decided = {"cost_paise": database.long(1500), "duration_seconds": 90}
    await db.calls.update_one({"_id": reviewed}, {"$set": decided})
    for _ in range(2):
        await statistics.count_calls([machine, reviewed])
    found = await figures("cmp_a")
    assert (found["ended"], found["cost_paise"], found["talk_seconds"]) == (2, 2000, 120)
    assert found["by_disposition"] == {"answered": 1, "machine": 1}
    assert await statistics.find_differences("cmp_a") == {}


async def test_calls_that_last_or_are_of_no_campaign_are_not_counted(book: config.Settings) -> None:
    ids = await store(ended_call("cmp_a", rank=OVER - 1, status="in_progress"))
    single = ended_call("cmp_a")
    ids += await store({**single, "campaign_id": None})
    await statistics.count_calls([*ids, "call_of_nobody"])
    assert await statistics.find_statistics("cmp_a") is None


async def test_a_difference_is_found(book: config.Settings) -> None:
    await statistics.count_calls(await store(ended_call("cmp_a"), ended_call("cmp_a")))
    await db.campaign_statistics.update_one(
        {"_id": "cmp_a"}, {"$inc": {"by_hour.mon-11.answered": 1}}
    )
    assert await statistics.find_differences("cmp_a") == {"by_hour.mon-11.answered": (3, 2)}


async def test_calls_of_an_older_version_are_counted_once_when_the_database_is_prepared(
    book: config.Settings,
) -> None:
    await db.campaign_statistics.delete_many({})
    await store(*calls_of_all_kinds())
    await statistics._count_older_calls()
    assert (await figures("cmp_a"))["ended"] == 5
    late = await store(ended_call("cmp_a"))
    await statistics._count_older_calls()
    assert (await figures("cmp_a"))["ended"] == 5
    await statistics.count_calls(late)
    assert (await figures("cmp_a"))["ended"] == 6


def test_the_pace_is_that_of_the_last_minutes_and_unknown_when_few_calls_ended() -> None:
    at = clock.now()
    ends = [at - dt.timedelta(seconds=seconds) for seconds in range(60, 0, -2)]
    old = [at - dt.timedelta(hours=1)] * 50
    kept: Any = {"_id": "cmp_a", "user_id": "usr_a", "updated_at": at, "ends": old + ends}
    assert statistics.calls_per_minute(kept, at) == pytest.approx(30)
    few: Any = {**kept, "ends": old + ends[:3]}
    assert statistics.calls_per_minute(few, at) is None
    assert statistics.calls_per_minute(None, at) is None


def test_the_estimate_counts_retries_and_skips_the_hours_in_which_nobody_is_called() -> None:
    at = dt.datetime(
        2026, 11, 23, 15, 19, tzinfo=dt.UTC
    )  # 20:49 in India, ten minutes before the last
    ends = [at - dt.timedelta(seconds=seconds) for seconds in range(60, 0, -2)]  # 30 a minute
    found: Any = {"_id": "cmp_a", "user_id": "usr_a", "updated_at": at, "ends": ends, "ended": 100}
    campaign: Any = {"status": "running", "calls_per_minute": None, "end_at": None}
    counts = Counts(pending=150, answered=50)  # two calls a contact: ten minutes

    def minutes(**changes: Any) -> float | None:
        eta = statistics.find_eta(campaign | changes, counts, found, at)
        return None if eta is None else (eta - at).total_seconds() / 60

    rules = {
        "purpose": "service",
        "version": 0,
        "hours": {"start": "09:00", "end": "21:00"},
        "timezone": "Asia/Kolkata",
        "holidays": [],
    }
    assert minutes() == pytest.approx(10)
    assert minutes(rules=rules) == pytest.approx(10)
    assert minutes(calls_per_minute=15) == pytest.approx(20)
    over_night = minutes(rules=rules, calls_per_minute=15)
    assert over_night == pytest.approx(12 * 60 + 11 + 10)
    assert minutes(calls_per_minute=15, end_at=at + dt.timedelta(minutes=3)) == pytest.approx(3)
    assert minutes(rules=rules | {"hours": "nonsense"}) is None
    assert minutes(status="paused") is None
    assert statistics.find_eta(campaign, Counts(answered=50), found, at) is None
    assert statistics.find_eta(campaign, counts, None, at) is None
