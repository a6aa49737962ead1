"""Prepared databases that one test after the other uses: to make one takes longer than most tests."""

import asyncio
import collections
from typing import Any

from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorDatabase
from pymongo import WriteConcern

Document = dict[str, Any]
Database = AsyncIOMotorDatabase[Document]

_DOCUMENTS_MAX = 5_000  # of a collection: to drop it is faster than to empty it
_spare: dict[str, list[str]] = collections.defaultdict(list)
_shapes: dict[str, Document] = {}


def take(uri: str, name: str) -> str:
    """The name of a database that is prepared and empty, or `name` when there is none."""
    return _spare[uri].pop() if _spare[uri] else name


async def give_back(uri: str, name: str) -> None:
    """Empty this database and its sandbox's for the next test; one in which a test changed more than
    documents is dropped."""
    client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(uri)
    try:
        mine, sandbox = client[name], client[f"{name}_sandbox"]
        shape = await _shape_of(mine)
        if shape == _shapes.setdefault(uri, shape) and await _empty(mine) and await _empty(sandbox):
            _spare[uri].append(name)
        else:
            await client.drop_database(mine)
            await client.drop_database(sandbox)
    finally:
        client.close()


async def _shape_of(database: Database) -> Document:
    """Its collections, with their options and indexes."""
    found = {each["name"]: each.get("options") async for each in await database.list_collections()}
    names = sorted(found)
    indexes = await asyncio.gather(*(database[name].index_information() for name in names))
    return {name: (found[name], index) for name, index in zip(names, indexes, strict=True)}


async def _empty(database: Database) -> bool:
    """Whether it is empty now; what says that it is prepared stays."""
    for name in await database.list_collection_names():
        if name != "meta":
            collection = database.get_collection(name, write_concern=WriteConcern(w=1))
            if await collection.estimated_document_count() > _DOCUMENTS_MAX:
                return False
            await collection.delete_many({})
    return True
