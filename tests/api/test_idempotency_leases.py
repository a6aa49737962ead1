"""The lease of an idempotency key: short, renewed while the work goes on, and of one owner."""

import asyncio
from typing import Any

import pytest
from fastapi import Request
from pydantic import BaseModel

from api import idempotency
from core import clock, leases
from core.database import db
from core.errors import IdempotencyKeyRequired, StillRunning, Unavailable
from tests.support.service import until


class Out(BaseModel):
    """An answer."""

    number: int


def once(key: str | None, *, required: bool = False) -> idempotency.Once:
    """`Once` of a request with this key."""
    headers = [] if key is None else [(b"idempotency-key", key.encode())]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/x",
        "query_string": b"",
        "headers": headers,
    }

    async def body() -> dict[str, object]:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    return idempotency.Once(Request(scope | {"server": ("test", 80)}, body), required=required)


class Slow:
    """Work that waits until it may go on; the seeds with which it was done."""

    def __init__(self) -> None:
        self.seeds: list[str] = []
        self.may_end = asyncio.Event()

    async def __call__(self, seed: str) -> idempotency.Answer:
        self.seeds.append(seed)
        await self.may_end.wait()
        return idempotency.Answer(201, Out(number=len(self.seeds)))


async def record_of_key() -> dict[str, Any]:
    found = await db.idempotency_keys.find_one({})
    assert found is not None
    return found


@pytest.mark.usefixtures("book")
async def test_a_lease_is_renewed_while_the_work_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "_LEASE_SECONDS", 0.3)
    work = Slow()
    first = asyncio.create_task(once("k")("usr_1", work))
    began = clock.now()

    async def outlasted() -> bool:
        keys = db.idempotency_keys.find({"lease_until": {"$gt": clock.after(0.9, since=began)}})
        return bool(await keys.to_list(None))

    await until(outlasted)
    with pytest.raises(StillRunning):
        await once("k")("usr_1", work)
    work.may_end.set()
    assert (await first).status_code == 201
    replayed = await once("k")("usr_1", work)
    assert (replayed.body, replayed.headers["Idempotency-Replayed"]) == (b'{"number":1}', "true")
    assert len(work.seeds) == 1


@pytest.mark.usefixtures("book")
async def test_the_key_of_a_dead_process_is_free_after_seconds_with_the_same_seed() -> None:
    work = Slow()
    dead = asyncio.create_task(once("k")("usr_1", work))
    await until(lambda: asyncio.sleep(0, bool(work.seeds)))
    before = await record_of_key()
    assert before["lease_until"] <= clock.after(5)
    expired = {"lease_until": clock.after(-1)}
    await db.idempotency_keys.update_one({}, {"$set": expired})
    second = asyncio.create_task(once("k")("usr_1", work))
    await until(lambda: asyncio.sleep(0, len(work.seeds) == 2))
    assert len(set(work.seeds)) == 1
    assert (await record_of_key())["lease_owner"] != before["lease_owner"]
    dead.cancel()  # it releases nothing that is not its own any more
    await asyncio.gather(dead, return_exceptions=True)
    with pytest.raises(StillRunning):
        await once("k")("usr_1", work)
    work.may_end.set()
    assert (await second).status_code == 201


@pytest.mark.usefixtures("book")
async def test_only_the_owner_of_the_lease_stores_the_answer() -> None:
    late, work = Slow(), Slow()
    first = asyncio.create_task(once("k")("usr_1", late))
    await until(lambda: asyncio.sleep(0, bool(late.seeds)))
    await db.idempotency_keys.update_one({}, {"$set": {"lease_owner": "another"}})
    late.may_end.set()
    assert (await first).status_code == 201  # what it did is true, it is not what is given again
    assert (await record_of_key())["answer"] is None
    await db.idempotency_keys.update_one({}, {"$set": {"lease_until": None}})
    work.may_end.set()
    assert (await once("k")("usr_1", work)).status_code == 201
    assert (await record_of_key())["answer"] is not None


@pytest.mark.usefixtures("book")
async def test_a_database_that_is_away_delays_neither_the_answer_nor_the_next_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It does not confirm the end of the lease: the request is answered, the lease runs out."""
    monkeypatch.setattr(idempotency, "_CONFIRM_SECONDS", 0.05)
    monkeypatch.setattr(idempotency, "_LEASE_SECONDS", 0.3)
    away = asyncio.Event()

    async def never(_: leases.Lease) -> None:
        await away.wait()

    async def refused(_: str) -> idempotency.Answer:
        raise Unavailable("away")

    with monkeypatch.context() as outage:
        outage.setattr(leases.Lease, "release", never)
        with pytest.raises(Unavailable):
            await once("k")("usr_1", refused)
    work = Slow()
    work.may_end.set()

    async def is_free() -> bool:
        try:
            return (await once("k")("usr_1", work)).status_code == 201
        except StillRunning:
            return False

    await until(is_free)
    away.set()
    await asyncio.gather(*idempotency._finishing)
    assert len(work.seeds) == 1


@pytest.mark.usefixtures("book")
async def test_where_a_key_is_required_a_request_without_one_is_422() -> None:
    work = Slow()
    work.may_end.set()
    with pytest.raises(IdempotencyKeyRequired) as refused:
        await once(None, required=True)("usr_1", work)
    assert (refused.value.status, refused.value.code) == (422, "idempotency_key_required")
    assert work.seeds == []
    assert (await once("k", required=True)("usr_1", work)).status_code == 201
