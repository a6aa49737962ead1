"""The shelf: indexes as declared, one preparation, look-ups that are asked together."""

import asyncio
import contextlib
import datetime as dt
import threading
from pathlib import Path

import pytest
from pymongo.errors import AutoReconnect

from core import config, database
from core.database import Index, Insert, Update, db
from core.errors import Unavailable
from tests.support.replica_set import replica_set


@pytest.fixture(autouse=True)
def declarations(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test declares is forgotten after it."""
    monkeypatch.setattr(database, "_declared", dict(database._declared))
    monkeypatch.setattr(database, "_migrations", dict(database._migrations))


async def test_indexes_have_the_options_that_were_declared(
    book: config.Settings,
) -> None:
    database.declare(
        "things",
        indexes=[
            Index(("user_id", "-created_at"), unique=True),
            Index(("expires_at",), expire_seconds=0),  # zero is a time to live, too
            Index(("state",), only_where={"state": "pending"}),
        ],
        schema={"bsonType": "object", "required": ["user_id"]},
    )
    await database.prepare()
    found = await db.things.index_information()
    assert found["user_id_1_created_at_-1"]["unique"]
    assert found["expires_at_1"]["expireAfterSeconds"] == 0
    assert found["state_1"]["partialFilterExpression"] == {"state": "pending"}
    with pytest.raises(database.AnyError, match="validation"):
        await db.things.insert_one({"_id": 1})


async def test_many_processes_prepare_at_once_and_it_is_harmless_when_repeated(
    book: config.Settings,
) -> None:
    database.declare("others", indexes=[Index(("name",), unique=True)])
    await asyncio.gather(*(database.prepare() for _ in range(8)))
    await database.prepare()
    assert "name_1" in await db.others.index_information()


async def test_a_migration_is_run_by_one_process_when_the_collections_are_there(
    book: config.Settings,
) -> None:
    runs: list[bool] = []

    async def body() -> None:
        runs.append("name_1" in await db.migrated.index_information())

    database.declare("migrated", indexes=[Index(("name",), unique=True)])
    database.migrate("a test", body)
    await asyncio.gather(*(database.prepare() for _ in range(8)))
    await database.prepare()
    assert runs == [True]


async def test_what_a_dead_process_left_half_prepared_is_finished(
    book: config.Settings,
) -> None:
    database.declare("more", indexes=[Index(("name",))])
    lost = {"lease_until": None, "fingerprint": "half"}
    await db.meta.update_one({"_id": "schema"}, {"$set": lost})
    await database.prepare()
    assert "name_1" in await db.more.index_information()


async def test_a_preparation_that_takes_longer_than_its_lease_is_not_taken_over(
    book: config.Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An index of many documents takes minutes: its process renews the lease, the others wait and say so."""
    monkeypatch.setattr(database, "_PREPARATION_SECONDS", 2)
    monkeypatch.setattr(database, "_PROGRESS_SECONDS", 0.1)
    real, begun = database._create_all, 0

    async def slow() -> None:
        nonlocal begun
        begun += 1
        leases: set[dt.datetime] = set()
        while len(leases) < 5:  # renewed four times: longer than one lease
            leases.add((await db.meta.find_one({"_id": "schema"}) or {})["lease_until"])
            await asyncio.sleep(0.05)
        await real()

    monkeypatch.setattr(database, "_create_all", slow)
    database.declare("slowly", indexes=[Index(("name",))])
    await asyncio.gather(*(database.prepare() for _ in range(3)))
    assert begun == 1
    assert "name_1" in await db.slowly.index_information()
    assert "another process prepares the database" in caplog.text
    assert "the database is being prepared" in caplog.text


async def test_an_index_that_takes_longer_than_any_request_does_not_keep_the_service_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MongoDB holds the build of an index back until an operation would long have been too late."""
    short = database.Kind("short", 1, 3.0)
    alone = replica_set(tmp_path / "set", size=1, parameters=["enableTestCommands=1"])
    async with alone as members, contextlib.AsyncExitStack() as stack:
        await database.connect(members.uri, "slow_index")
        stack.push_async_callback(database.close)
        gates = database._connected_pools()._gates
        monkeypatch.setitem(gates, short, database._Gate(short))
        await db.people.insert_many([{"name": n} for n in range(10)])
        database.declare("people", indexes=[Index(("name",))])
        fail_point = {"configureFailPoint": "hangAfterStartingIndexBuild"}
        with members.members[0].connect() as client:
            client.admin.command(fail_point | {"mode": "alwaysOn"})
            preparing = asyncio.create_task(database.prepare())
            with database.use(short), pytest.raises(database.AWAY):
                await db.people.create_index("name")  # too long for an operation of a request
            assert not preparing.done()
            client.admin.command(fail_point | {"mode": "off"})
        await preparing
        assert "name_1" in await db.people.index_information()


async def test_when_mongodb_is_back_the_start_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    tries = 0

    async def step() -> int:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise database.Away("no primary")
        return tries

    assert await database.when_back(step) == 3


async def test_a_thousand_look_ups_at_once_are_a_few_queries(
    book: config.Settings,
) -> None:
    await db.things.insert_many([{"_id": f"t{n}", "n": n} for n in range(1_000)])
    await database.client().admin.command("profile", 0)
    profiled = database.client()[book.mongodb_db]
    await profiled.command("profile", 2)
    found = await asyncio.gather(
        *(database.find_together("things", f"t{n}") for n in range(1_000)),
        database.find_together("things", "t0"),
        database.find_together("things", "nobody"),
    )
    await profiled.command("profile", 0)
    assert [f and f["n"] for f in found] == [*range(1_000), 0, None]
    queries = await profiled["system.profile"].count_documents(
        {"op": "query", "ns": f"{book.mongodb_db}.things"}
    )
    assert 1 <= queries <= 5


async def test_a_snapshot_reads_one_moment_whatever_is_written_meanwhile(
    book: config.Settings,
) -> None:
    await db.things.insert_one({"_id": 1, "paise": 5})
    async with database.snapshot() as session:
        first = await db.things.find_one({"_id": 1}, session=session)
        await db.things.update_one({"_id": 1}, {"$set": {"paise": 7}})
        await db.things.insert_one({"_id": 2, "paise": 1})
        second = await db.things.find({}, session=session).to_list(None)
    assert first == {"_id": 1, "paise": 5}
    assert second == [first]
    assert await db.things.count_documents({}) == 2


async def test_what_a_transaction_does_is_there_after_its_commit_and_not_without(
    book: config.Settings,
) -> None:
    await db.things.insert_one({"_id": 0, "paise": 1})
    writes: list[database.Write] = [
        database.Insert("things", {"_id": 1}),
        database.Insert("others", {"_id": 1}),
        database.Update("things", {"_id": 0}, {"$inc": {"paise": 1}}),
        database.Update("things", {"_id": 7}, {"$inc": {"paise": 1}}),
        database.Update("things", {"_id": 2}, {"$set": {"paise": 5}}, upsert=True),
    ]
    counted = []

    async def attempt(*, fails: bool) -> None:
        async with database.transaction() as transaction:
            found = await transaction.run(lambda: transaction.find("things", {"_id": 0}))
            assert found[0]["paise"] == 1
            await transaction.run(lambda: counted.append(transaction.write_all(writes)))
            if fails:
                raise database.LostRace("on purpose")
            await transaction.commit(lambda: transaction.insert("things", [{"_id": 3}]))

    with pytest.raises(database.LostRace):
        await attempt(fails=True)
    assert await db.things.find({}).to_list(None) == [{"_id": 0, "paise": 1}]
    await attempt(fails=False)
    assert counted == [4, 4]
    ids = [row["_id"] async for row in db.things.find({}, sort=[("_id", 1)])]
    assert ids == [0, 1, 2, 3]


async def test_a_duplicate_in_a_transaction_is_known_as_one_and_undoes_all(
    book: config.Settings,
) -> None:
    await db.things.insert_one({"_id": 1})
    with pytest.raises(database.AnyError) as refused:
        async with database.transaction() as transaction:
            await transaction.commit(
                lambda: transaction.insert("things", [{"_id": 0}, {"_id": 1}, {"_id": 2}])
            )
    assert database.is_duplicate(refused.value)
    assert database.is_transient(refused.value)
    assert await db.things.count_documents({}) == 1


async def test_a_cancelled_transaction_leaves_no_lock(book: config.Settings) -> None:
    await db.things.insert_one({"_id": 1, "paise": 1})
    change = database.Update("things", {"_id": 1}, {"$inc": {"paise": 1}})
    written, go_on = threading.Event(), threading.Event()

    async def attempt() -> None:
        async with database.transaction() as transaction:

            def work() -> None:
                transaction.write_all([change])
                written.set()
                go_on.wait(60)

            await transaction.run(work)

    task = asyncio.create_task(attempt())
    await asyncio.to_thread(written.wait, 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    await db.things.update_one({"_id": 1}, {"$inc": {"paise": 10}})  # waits for the abort
    assert await db.things.find_one({"_id": 1}) == {"_id": 1, "paise": 11}


async def test_a_transaction_does_not_wait_for_minutes_for_a_database_that_stays_away(
    book: config.Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(database, "_ATOMIC_SECONDS", 0.5)
    attempts = 0

    async def unreachable(_: database.Session) -> None:
        nonlocal attempts
        attempts += 1
        await asyncio.sleep(0.01)
        # What the driver raises inside of a transaction: it calls that worth another attempt.
        raise AutoReconnect("no server", errors={"errorLabels": ["TransientTransactionError"]})

    async with asyncio.timeout(60):
        with pytest.raises(Unavailable):
            await database.atomic(unreachable)
    assert attempts > 1, "a short absence is worth another attempt"


async def test_without_a_connection_it_is_503_and_not_nothing() -> None:
    with pytest.raises(Unavailable):
        await database.find_together("things", "t1")
    with pytest.raises(Unavailable):
        database.client()


def test_a_fact_leads_to_one_id_and_ids_sort_by_time() -> None:
    assert database.stable_id("x", "a", "b") == database.stable_id("x", "a", "b")
    assert database.stable_id("x", "ab") != database.stable_id("x", "a", "b")
    assert database.new_id("call").startswith("call_")


async def test_many_look_ups_in_several_collections_are_a_few_queries(
    book: config.Settings,
) -> None:
    await db.things.insert_many([{"_id": f"t{n}", "n": n} for n in range(100)])
    await db.others.insert_one({"_id": "o", "n": -1})
    profiled = database.client()[book.mongodb_db]
    await profiled.command("profile", 2)
    found = await asyncio.gather(
        *(database.find_all_together({"things": f"t{n}", "others": "o"}) for n in range(100)),
        database.find_all_together({"things": "o", "others": "t0"}),
    )
    await profiled.command("profile", 0)
    assert [row and row["n"] for rows in found[:100] for row in rows] == [
        value for n in range(100) for value in (n, -1)
    ]
    assert found[100] == [None, None], "an id of one collection is none of another"
    # MongoDB 6.0 notes an aggregate, and the query of each other collection in it.
    queries = await profiled["system.profile"].count_documents({"op": "command"})
    assert queries <= 5


async def test_single_writes_of_many_are_a_few_bulks_and_each_learns_its_own_end(
    book: config.Settings,
) -> None:
    await db.things.insert_many([{"_id": n, "paise": 0} for n in range(100)])
    profiled = database.client()[book.mongodb_db]
    await profiled.command("profile", 2)
    all_match = await asyncio.gather(
        *(
            database.write_together(Update("things", {"_id": n}, {"$inc": {"paise": n}}))
            for n in range(100)
        )
    )
    await profiled.command("profile", 0)
    assert all_match == [True] * 100
    assert [row["paise"] async for row in db.things.find({}, sort=[("_id", 1)])] == [*range(100)]
    noted = profiled["system.profile"]
    bulks = await noted.distinct(
        "command.lsid.id", {"op": "update", "ns": f"{book.mongodb_db}.things"}
    )
    assert len(bulks) <= 5


async def test_a_write_that_fails_or_matches_nothing_does_so_alone(book: config.Settings) -> None:
    await db.things.insert_many([{"_id": 1, "paise": 0}, {"_id": 2, "paise": "x"}])
    found = await asyncio.gather(
        database.write_together(Insert("things", {"_id": 1})),
        database.write_together(Insert("things", {"_id": 3})),
        database.write_together(Update("things", {"_id": 1}, {"$inc": {"paise": 1}})),
        database.write_together(Update("things", {"_id": 2}, {"$inc": {"paise": 1}})),
        return_exceptions=True,
    )
    assert isinstance(found[0], database.DuplicateKey)
    assert found[1] is True
    # It did match, which nobody can say of a bulk of which another write failed.
    assert found[2] is False
    assert isinstance(found[3], database.AnyError)
    assert [row["_id"] async for row in db.things.find({}, sort=[("_id", 1)])] == [1, 2, 3]
    kept = await db.things.find_one({"_id": 1})
    assert kept == {"_id": 1, "paise": 1}
    nobody = Update("things", {"_id": "nobody"}, {"$set": {"paise": 1}})
    assert await database.write_together(nobody) is False


async def test_grouped_writes_without_a_connection_fail_and_the_next_ones_work(
    book: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Insert("things", {"_id": "a"})
    with monkeypatch.context() as patch:
        patch.setattr(database, "_pools", None)
        answers = await asyncio.gather(
            *(database.write_together(write) for _ in range(3)), return_exceptions=True
        )
        assert [type(answer) for answer in answers] == [Unavailable] * 3
        with pytest.raises(Unavailable):
            await database.find_all_together({"things": "a", "others": "b"})
    breaks_off = asyncio.create_task(database.write_together(write))
    await asyncio.sleep(0)
    writer = database._single_writes["things"]._task
    assert writer is not None
    writer.cancel()
    with pytest.raises(Unavailable):
        await breaks_off
    assert await database.write_together(write) is True
    assert await database.find_all_together({"things": "a", "others": "b"}) == [{"_id": "a"}, None]
