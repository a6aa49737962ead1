"""Leases: due work claimed by one process at a time, and worked on a bounded number at once."""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

from core import clock
from core.database import Collection, Document

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
    found = await collection.find_one({"_id": document_id, field: {"$lte": clock.now()}})
    if found is None:
        return None
    # Not one findAndModify: on shards that has to name the shard key.
    claimed = await collection.update_one({"_id": document_id, field: found[field]}, lease)
    return found if claimed.modified_count else None


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
