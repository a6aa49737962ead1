"""Slow reads stop nothing else, and a database that is away is said to be away, soon and by everything."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    DuplicateKeyError,
    ExecutionTimeout,
    NotPrimaryError,
    OperationFailure,
    PyMongoError,
    WriteConcernError,
    WTimeoutError,
)

import wallet
from core import config, database
from core.database import Away, Busy, Kind, db
from ledger import Credit
from tests.support.service import Service


@pytest.fixture
def held() -> Iterator[threading.Event]:
    """What slow reads wait for; they end with the test."""
    event = threading.Event()
    yield event
    event.set()


def pools() -> database.Pools:
    return database._connected_pools()


async def begin(kind: Kind, count: int, work: Callable[[], object]) -> list[asyncio.Task[object]]:
    """That many operations of `kind`, begun."""
    tasks = [asyncio.create_task(pools().run_as(kind, work)) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


async def test_fifty_slow_reads_and_sums_stop_neither_money_nor_readiness(
    service: Service, held: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "PATIENCE_SECONDS", 0.2)
    person = await service.signup()
    slow: list[asyncio.Task[object]] = []
    for kind in (database.PAGE, database.SUM, database.LONG, database.WORK):
        slow += await begin(kind, 50, held.wait)
    for n in range(3):
        await wallet.post(
            Credit(
                user_id=person.id,
                key=f"adjust:{n}",
                category="adjustment",
                amount_paise=100,
                contra="adjustment",
                description="beside slow reads",
            )
        )
    assert (await service.balance(person))["balance"] == 3.0
    assert (await service.get("/ready")).status_code == 200
    refused = await service.get("/api/transactions", person)
    assert (refused.status_code, refused.json()["code"]) == (503, "service_unavailable")
    assert refused.headers["retry-after"]
    held.set()
    done = await asyncio.gather(*slow, return_exceptions=True)
    assert {type(each) for each in done} == {bool, Busy}
    assert (await service.get("/api/transactions", person)).status_code == 200


async def test_what_waits_for_a_thread_gets_the_next_one(
    book: config.Settings, held: threading.Event
) -> None:
    for _ in range(2):
        begun = await begin(database.PROBE, 5, held.wait)
        held.set()
        assert await asyncio.gather(*begun) == [True] * 5
    assert await begin(database.PROBE, 1, held.wait)


async def test_a_page_and_a_sum_of_a_request_that_shows_have_threads_of_their_own(
    book: config.Settings,
) -> None:
    cursor = db.wallets.find()
    methods = {
        "page": type(cursor.delegate)._refresh,
        "sum": type(db.wallets.delegate).aggregate,
        "point": type(db.wallets.delegate).find_one,
    }
    of = database._kind_of
    assert [of(method).name for method in methods.values()] == ["work", "work", "point"]
    with database.only_showing():
        assert [of(method).name for method in methods.values()] == list(methods)
        with database.long_work():
            assert [of(method).name for method in methods.values()] == ["long", "long", "point"]
        assert of(methods["sum"]) is database.SUM


async def test_an_operation_ends_when_the_time_of_its_kind_is_over(
    book: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await db.things.insert_one({"_id": 1})
    short = Kind("short", 1, 0.2)
    monkeypatch.setitem(pools()._gates, short, database._Gate(short))
    slow = {"$function": {"body": "function(){sleep(60000)}", "args": [], "lang": "js"}}
    with database.use(short), pytest.raises(database.AWAY):
        await db.things.find({"$expr": slow}).to_list(None)
    with database.use(short):
        assert await db.things.find({}, batch_size=1).to_list(None) == [{"_id": 1}]


async def test_without_a_primary_operations_are_refused_at_once_and_those_under_way_given_up(
    book: config.Settings, held: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[bool] = []
    (waiting,) = await begin(database.POINT, 1, held.wait)
    # What the driver finds out meanwhile is that there is one: here there is none until the end.
    monkeypatch.setattr(pools().primary, "description_changed", lambda event: None)
    pools().primary.lost_at = time.monotonic() - 60
    with pytest.raises(Away):
        await waiting
    with pytest.raises(Away):
        await pools().run_as(database.POINT, lambda: calls.append(True))
    with pytest.raises(Away):
        await database.ping()
    assert database.is_known_to_be_away()
    assert not calls
    pools().primary.lost_at = None
    await database.ping()
    assert await db.wallets.count_documents({}) == 0


def bulk(**details: object) -> BulkWriteError:
    return BulkWriteError({"writeErrors": [], "writeConcernErrors": [], **details})


@pytest.mark.parametrize(
    "problem",
    [
        AutoReconnect("gone"),
        NotPrimaryError("not any more"),
        ExecutionTimeout("too slow", 50),
        WTimeoutError("no majority", 64),
        WriteConcernError("no majority", 100),
        OperationFailure("interrupted", 11602),
        OperationFailure("not primary", 10107),
        OperationFailure("time is over", 262),
        bulk(writeConcernErrors=[{"code": 64, "errmsg": "waiting for replication timed out"}]),
        bulk(writeErrors=[{"code": 11602}], writeConcernErrors=[{"code": 64}]),
        bulk(writeErrors=[{"code": 10107}, {"code": 189}]),
    ],
    ids=repr,
)
def test_whatever_means_away_is_away_and_is_raised_as_that(problem: PyMongoError) -> None:
    def fail() -> None:
        raise problem

    assert database.is_away(problem)
    with pytest.raises(database.AWAY):
        database._limited(5.0, fail)


@pytest.mark.parametrize(
    "problem",
    [
        DuplicateKeyError("taken", 11000),
        OperationFailure("document failed validation", 121),
        bulk(writeErrors=[{"code": 11000}], writeConcernErrors=[{"code": 64}]),
        bulk(writeErrors=[{"code": 11602}, {"code": 121}]),
        bulk(),
    ],
    ids=repr,
)
def test_what_was_refused_is_not_away(problem: PyMongoError) -> None:
    def fail() -> None:
        raise problem

    assert not database.is_away(problem)
    with pytest.raises(type(problem)):
        database._limited(5.0, fail)


def test_the_labels_by_which_a_transaction_is_repeated_are_kept() -> None:
    def fail() -> None:
        raise OperationFailure("stepped down", 11602, {"errorLabels": labels})

    labels = ["TransientTransactionError", "UnknownTransactionCommitResult"]
    with pytest.raises(Away) as raised:
        database._limited(None, fail)
    assert all(raised.value.has_error_label(label) for label in labels)
    assert database.is_transient(raised.value)


async def test_reads_are_of_what_a_majority_has(book: config.Settings) -> None:
    assert db.wallets.read_concern.level == "majority"
    assert database.synchronous().wallets.read_concern.level == "majority"
    assert await database.in_commit_thread(database.synchronous().wallets.find_one) is None
