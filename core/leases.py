"""Leases: due work claimed by one process at a time, and worked on a bounded number at once."""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

from core import clock, database
from core.database import Collection, Document
from core.errors import Unavailable

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")


# --- claims -------------------------------------------------------------------------------------


async def due_ids(
    collection: Collection, field: str, *, limit: int, where: Mapping[str, Any] | None = None
) -> list[str]:
    """The ids of at most `limit` documents whose `field` (a time) has passed, the longest due first.

    Claims nothing; `where` narrows it. For work that is claimed one by one, with `claim`, when it begins.
    """
    found = collection.find(_due(field, where), {"_id": 1}, sort=[(field, 1)], limit=limit)
    return [document["_id"] for document in await found.to_list(None)]


async def claim(
    collection: Collection,
    document_id: str,
    field: str,
    *,
    until: dt.datetime,
    count: str | None = None,
) -> Document | None:
    """The document as it was, claimed until `until`; None when another caller claimed it first.

    `field` is moved to `until` if it has passed: after a crash of the process it is due again then.
    With `count` that field is incremented by one.
    """
    lease: Document = {"$set": {field: until}}
    if count is not None:
        lease["$inc"] = {count: 1}
    return await collection.find_one_and_update(
        {"_id": document_id, field: {"$lte": clock.now()}}, lease
    )


async def claim_due(
    collection: Collection,
    field: str,
    *,
    next_at: Callable[[Document], dt.datetime | None],
    limit: int,
    where: Mapping[str, Any] | None = None,
) -> list[Document]:
    """At most `limit` documents whose `field` (a time) has passed, claimed for this caller alone.

    Each is claimed by moving `field` to `next_at(document)` before anything is done: after a
    crash the document is due again at that time. None ends it: the field is removed. A document
    whose `field` has changed since it was read was claimed by another caller, and is left out.
    """
    found = collection.find(_due(field, where), sort=[(field, 1)], limit=limit)
    claimed = []
    for document in await found.to_list(None):
        again_at = next_at(document)
        moved = await collection.update_one(
            {"_id": document["_id"], field: document[field]},
            {"$unset": {field: ""}} if again_at is None else {"$set": {field: again_at}},
        )
        if moved.modified_count:
            claimed.append(document)
    return claimed


def _due(field: str, where: Mapping[str, Any] | None) -> Document:
    # The type is named because only then MongoDB uses a partial index over dates.
    return {**(where or {}), field: {"$lte": clock.now(), "$type": "date"}}


# --- leases that have an owner ------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Lease:
    """The lease of one document: `owner` works on it until `until_field`, and renews it meanwhile.

    It is short, because nobody works on the document for the rest of it after a crash. It excludes
    nobody for certain: a process that was stopped for longer goes on when it continues, so what it
    does has to be harmless when done twice, and what it stores names the owner in its filter
    (`mine`).
    """

    collection: Collection
    document_id: str
    owner: str
    seconds: float
    until_field: str = "lease_until"
    owner_field: str = "lease_owner"

    @property
    def mine(self) -> Document:
        """The filter that matches the document only while nobody else has taken the lease."""
        return {"_id": self.document_id, self.owner_field: self.owner}

    async def renew(self) -> bool:
        """Extend it by its seconds from now; False when another owner has it."""
        until = {"$set": {self.until_field: clock.after(self.seconds)}}
        return bool((await self.collection.update_one(self.mine, until)).matched_count)

    async def release(self) -> None:
        """End it now, if it is still this owner's."""
        ended = {"$set": {self.until_field: None, self.owner_field: None}}
        await self.collection.update_one(self.mine, ended)


async def acquire(
    collection: Collection,
    document_id: str,
    *,
    seconds: float,
    until_field: str = "lease_until",
    owner_field: str = "lease_owner",
) -> Lease | None:
    """The lease of an existing document for a new owner; None while somebody else has it.

    A lease without `until_field` (or with null) is free, also one that an older version wrote.
    """
    lease = Lease(
        collection, document_id, database.new_id("owner"), seconds, until_field, owner_field
    )
    free = [{until_field: None}, {until_field: {"$lte": clock.now()}}]
    taken = await collection.update_one(
        {"_id": document_id, "$or": free},
        {"$set": {until_field: clock.after(seconds), owner_field: lease.owner}},
    )
    return lease if taken.matched_count else None


class Renewal:
    """The state of a renewal: whether the lease was lost to another owner meanwhile."""

    is_lost = False


@contextlib.asynccontextmanager
async def renewing(
    renew: Callable[[], Awaitable[bool]], *, seconds: float
) -> AsyncIterator[Renewal]:
    """Renew a lease of `seconds` three times in that time while the block runs, by `renew` (that of a
    `Lease`, or another); the block reads `is_lost` before what must not happen twice.

    The lease is neither acquired nor released here. While the database is away it cannot be renewed:
    it then runs out, `is_lost` stays False, and the filter of what is stored decides. Nothing is sent
    for a block that is shorter than a third of the lease.
    """
    renewal = Renewal()
    tasks: list[asyncio.Task[None]] = []

    async def keep() -> None:
        while not renewal.is_lost:
            try:
                renewal.is_lost = not await renew()
            except (Unavailable, database.AnyError) as problem:
                log.warning("a lease was not renewed: %s", type(problem).__name__)
            await asyncio.sleep(seconds / 3)

    loop = asyncio.get_running_loop()
    first = loop.call_later(seconds / 3, lambda: tasks.append(loop.create_task(keep())))
    try:
        yield renewal
    finally:
        first.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


# --- bounded concurrency ------------------------------------------------------------------------


async def gather_bounded(
    work: Callable[[Item], Awaitable[Result]], items: Iterable[Item], limit: int
) -> list[Result]:
    """`work` for every item, at most `limit` at a time; the results in the order of the items.

    An exception does not stop the others: when all are done, the first one is raised.
    """
    slots = asyncio.Semaphore(limit)

    async def one(item: Item) -> Result:
        async with slots:
            return await work(item)

    results = await asyncio.gather(*map(one, items), return_exceptions=True)
    done: list[Result] = []
    for result in results:
        if isinstance(result, BaseException):
            raise result
        done.append(result)
    return done
