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
    """The ids of at most `limit` documents whose `field` (a time) has come, the longest due first.

    Claims nothing; `where` narrows it. For work that `claim` takes one by one, when it is begun.
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
    """The document as it was, for this caller until `until`; None when somebody else was faster.

    `field` is moved to `until` if it has come: a process that dies leaves the document due again.
    With `count` that field of it is raised by one.
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
    """At most `limit` documents whose `field` (a time) has come, taken by this caller alone.

    Each is claimed by moving `field` to `next_at(document)` before anything is done: a process that
    dies loses a turn, never the document. None ends it: the field is removed. Who finds another
    value in `field` than the one it read was not first, and leaves the document alone.
    """
    found = collection.find(_due(field, where), sort=[(field, 1)], limit=limit)
    mine = []
    for document in await found.to_list(None):
        again_at = next_at(document)
        taken = await collection.update_one(
            {"_id": document["_id"], field: document[field]},
            {"$unset": {field: ""}} if again_at is None else {"$set": {field: again_at}},
        )
        if taken.modified_count:
            mine.append(document)
    return mine


def _due(field: str, where: Mapping[str, Any] | None) -> Document:
    # The type is named because only then MongoDB takes an index that holds dates alone.
    return {**(where or {}), field: {"$lte": clock.now(), "$type": "date"}}


# --- some at once -------------------------------------------------------------------------------


async def gather_bounded(
    work: Callable[[Item], Awaitable[Result]], items: Iterable[Item], limit: int
) -> list[Result]:
    """`work` for every item, at most `limit` at a time; the results in the order of the items.

    One that raises stops no other: when all are done, the first exception is raised.
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
