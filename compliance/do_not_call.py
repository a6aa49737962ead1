"""Do-not-call lists: numbers that a user, or the whole platform, does not call, with source and time.

A number is kept in E.164. Who asks to be erased is kept as a keyed hash only: still not called, no
longer shown. The list of the platform (`PLATFORM`) holds for everybody.
"""

import asyncio
import contextlib
import datetime as dt
import hmac
import re
import secrets
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypedDict, cast

from core import clock, csv_files, database
from core.database import Index, db
from core.errors import NotFound, Problem, Unavailable
from core.pagination import Order, newest_first

# --- vocabulary ---------------------------------------------------------------------------------

PLATFORM: Final = "platform"

# Where a listing comes from: one of these, or what somebody wrote.
SOURCES: Final = (
    "manual",  # entered by a person
    "upload",  # in a file
    "key_press",  # pressed during a call, to be called no more
    "complaint",
    "scrub",  # the register said so
)

NOTE_LENGTH_MAX: Final = 500
_BATCH: Final = 1_000
_SINGLY_MAX: Final = 10
_KEY_ID: Final = "hash_key"
_NEWEST: Final = newest_first("added_at")
_BY_NUMBER: Final = Order((("number", str),), name="number", ascending=True)


class Listing(TypedDict):
    """A number on a list, a document of `do_not_call`. `number` is None when it was erased."""

    _id: str
    owner: str  # a user's id, or PLATFORM
    number: str | None
    source: str
    note: str
    added_at: dt.datetime
    added_by: str
    erased_at: dt.datetime | None


@dataclass(frozen=True, slots=True)
class Added:
    """What became of numbers that were added: new on the list, and on it already."""

    added: int
    already_listed: int


class DoNotCall(Problem):
    """This number is on a do-not-call list, so it is not called; `list` is `own` or `platform`."""

    code, status, title = "do_not_call", 422, "Do not call"

    def __init__(self, number: str, listing: Listing) -> None:
        whose = "platform" if listing["owner"] == PLATFORM else "own"
        super().__init__(
            f"{number} is on the {'platform' if whose == 'platform' else 'account'}'s do-not-call list.",
            list=whose,
            source=listing["source"],
            added_at=clock.iso(listing["added_at"]),
        )


# --- verbs --------------------------------------------------------------------------------------


async def find_listed(user_id: str, numbers: Iterable[str]) -> dict[str, Listing]:
    """Those of `numbers` (E.164) that this user may not call, each with its listing: the user's own, or
    the platform's. Any count of numbers; a thousand cost one query, and four that ask who lists any."""
    wanted = list(dict.fromkeys(numbers))
    key, found = await _hash_key(), dict[str, Listing]()
    if len(wanted) <= _SINGLY_MAX:
        return await _find_together(user_id, wanted, key)
    plain, erased = await _owners_of_listings((user_id, PLATFORM))
    if not plain and not erased:
        return found
    for start in range(0, len(wanted), _BATCH):
        part = wanted[start : start + _BATCH]
        ids = {_id(owner, number): number for number in part for owner in plain}
        ids |= {one: number for number in part for one in _erased_ids(erased, number, key)}
        rows = db.do_not_call.find({"_id": {"$in": list(ids)}})
        for row in await rows.to_list(None):
            number = ids[row["_id"]]
            if number not in found or row["owner"] != PLATFORM:
                found[number] = cast(Listing, row)
    return found


async def find_listings(number: str, owners: Sequence[str]) -> list[Listing]:
    """Where a number (E.164) is listed: by these owners, and by the platform."""
    key = await _hash_key()
    ids = _ids((*owners, PLATFORM), number, key)
    rows = await db.do_not_call.find({"_id": {"$in": ids}}).to_list(None)
    return cast(list[Listing], rows)


async def require_callable(user_id: str, *numbers: str) -> None:
    """Raise DoNotCall when one of the numbers (E.164) is on a list that holds for this user."""
    for number, listing in (await find_listed(user_id, numbers)).items():
        raise DoNotCall(number, listing)


async def add_numbers(
    owner: str, numbers: Sequence[str], *, source: str, by: str, note: str = ""
) -> Added:
    """Put numbers (E.164) on the list of a user, or of PLATFORM. What is on it keeps its source and
    time, so a repetition changes nothing."""
    wanted, key, added = list(dict.fromkeys(numbers)), await _hash_key(), 0
    now = clock.now()
    for start in range(0, len(wanted), _BATCH):
        part = wanted[start : start + _BATCH]
        known = {one: number for number in part for one in _ids((owner,), number, key)}
        rows = await db.do_not_call.find({"_id": {"$in": list(known)}}, {"_id": 1}).to_list(None)
        there = {known[row["_id"]] for row in rows}
        new: list[Listing] = [
            {
                "_id": _id(owner, number),
                "owner": owner,
                "number": number,
                "source": source,
                "note": note[:NOTE_LENGTH_MAX],
                "added_at": now,
                "added_by": by,
                "erased_at": None,
            }
            for number in part
            if number not in there
        ]
        added += await _insert(new)
    return Added(added, len(wanted) - added)


async def remove_number(owner: str, number: str) -> Listing:
    """Take a number (E.164) off a list, erased or not; the listing as it was. Raises NotFound."""
    key = await _hash_key()
    ids = _ids((owner,), number, key)
    found = await db.do_not_call.find_one_and_delete({"_id": {"$in": ids}})
    if found is None:
        raise NotFound("This number is not on the list.")
    return cast(Listing, found)


async def erase_number(owner: str, number: str, *, by: str) -> Listing:
    """Keep only a keyed hash of a number, on the list if it was not there yet: it is still not called,
    and nothing shows it. Repeated: nothing changes."""
    now, key = clock.now(), await _hash_key()
    before = await db.do_not_call.find_one({"_id": _id(owner, number)})
    erased: Listing = {
        "_id": _erased_id(owner, number, key),
        "owner": owner,
        "number": None,
        "source": before["source"] if before else "manual",
        "note": "",
        "added_at": before["added_at"] if before else now,
        "added_by": before["added_by"] if before else by,
        "erased_at": now,
    }
    await _insert([erased])
    # Afterwards, so that the number is on the list at every moment.
    await db.do_not_call.delete_one({"_id": _id(owner, number)})
    found = await db.do_not_call.find_one({"_id": erased["_id"]})
    return cast(Listing, found or erased)


async def list_numbers(
    owner: str, *, search: str | None = None, limit: int, cursor: str | None
) -> tuple[list[Listing], str | None]:
    """A page of a list, newest first, and the next cursor; with `search`, the numbers that begin with
    these digits (or with + and these digits), in their order."""
    if search is None:
        where = {"$and": [{"owner": owner}, _NEWEST.behind(cursor)]}
        rows = db.do_not_call.find(where, sort=_NEWEST.sort, limit=limit + 1)
        return _NEWEST.cut(cast(list[Listing], await rows.to_list(None)), limit)
    begins = {"$regex": f"^{re.escape(search if search.startswith('+') else f'+{search}')}"}
    where = {"$and": [{"owner": owner, "number": begins}, _BY_NUMBER.behind(cursor)]}
    rows = db.do_not_call.find(where, sort=_BY_NUMBER.sort, limit=limit + 1)
    return _BY_NUMBER.cut(cast(list[Listing], await rows.to_list(None)), limit)


async def count_numbers(owner: str) -> int:
    """How many numbers a list has, erased ones included."""
    return await db.do_not_call.count_documents({"owner": owner})


async def csv_of_list(owner: str) -> AsyncGenerator[str, None]:
    """A list as CSV, newest first, in pieces; an erased number is an empty cell."""
    yield csv_files.lines([("number", "source", "note", "added_at", "added_by", "erased_at")])
    piece: list[Sequence[str]] = []
    with database.long_work():
        async for row in db.do_not_call.find({"owner": owner}, sort=_NEWEST.sort):
            erased_at = row["erased_at"]
            piece.append(
                (
                    row["number"] or "",
                    csv_files.harmless(row["source"]),
                    csv_files.harmless(row["note"]),
                    clock.iso(row["added_at"]),
                    csv_files.harmless(row["added_by"]),
                    clock.iso(erased_at) if erased_at else "",
                )
            )
            if len(piece) >= _BATCH:
                yield csv_files.lines(piece)
                piece = []
    if piece:
        yield csv_files.lines(piece)


async def _owners_of_listings(owners: Sequence[str]) -> tuple[list[str], list[str]]:
    """Those of the owners who have listings with their number, and those who have erased ones: for the
    others nothing has to be looked up."""
    has_number: Any = {"$type": "string"}

    async def having(number: Any) -> list[str]:
        listed = await asyncio.gather(
            *(
                db.do_not_call.find_one(
                    {"owner": owner, "number": number}, {"_id": 1}, hint=_OF_NUMBER.name
                )
                for owner in owners
            )
        )
        return [owner for owner, one in zip(owners, listed, strict=True) if one is not None]

    return await having(has_number), await having(None)


async def _find_together(user_id: str, numbers: Sequence[str], key: bytes) -> dict[str, Listing]:
    """The same for the few numbers of a call: one query for all calls that ask at the same time."""
    owners = (PLATFORM, user_id)  # the user's own last: it is the one that is said
    ids = [(number, one) for number in numbers for one in _ids(owners, number, key)]
    rows = await asyncio.gather(*(database.find_together("do_not_call", one) for _, one in ids))
    return {number: cast(Listing, row) for (number, _), row in zip(ids, rows, strict=True) if row}


# --- storage ------------------------------------------------------------------------------------

_keys: dict[str, bytes] = {}


async def _insert(listings: Sequence[Listing]) -> int:
    """How many were inserted; those that another process inserted meanwhile are there."""
    if not listings:
        return 0
    try:
        done = await db.do_not_call.insert_many([dict(one) for one in listings], ordered=False)
    except database.AnyError as problem:
        if not database.is_duplicate(problem):
            raise
        return int(getattr(problem, "details", {}).get("nInserted", 0))
    return len(done.inserted_ids)


async def _hash_key() -> bytes:
    """The key of the hashes of this database, made once: without it a hash of ten digits is a number."""
    name = database.database_name()
    if name not in _keys:
        new = {"$setOnInsert": {"key": secrets.token_hex(32)}}
        with contextlib.suppress(database.DuplicateKey):  # another process made it
            await db.do_not_call.update_one({"_id": _KEY_ID}, new, upsert=True)
        found = await db.do_not_call.find_one({"_id": _KEY_ID})
        if found is None:
            raise Unavailable("The key of the do-not-call lists cannot be read.")
        _keys[name] = bytes.fromhex(found["key"])
    return _keys[name]


def _id(owner: str, number: str) -> str:
    return f"{owner}:{number}"


def _erased_id(owner: str, number: str, key: bytes) -> str:
    return f"{owner}#{hmac.digest(key, number.encode(), 'sha256').hex()[:40]}"


def _erased_ids(owners: Sequence[str], number: str, key: bytes) -> list[str]:
    """The same for several owners; the number is hashed once."""
    if not owners:
        return []
    hashed = _erased_id("", number, key)
    return [owner + hashed for owner in owners]


def _ids(owners: Sequence[str], number: str, key: bytes) -> list[str]:
    """Under which ids a number may be listed, owner by owner, erased or not."""
    pairs = zip(owners, _erased_ids(owners, number, key), strict=True)
    return [one for owner, erased in pairs for one in (_id(owner, number), erased)]


_OF_NUMBER: Final = Index(("owner", "number"))

database.declare(
    "do_not_call",
    indexes=[
        Index(("owner", "-added_at", "-_id")),
        _OF_NUMBER,
    ],
)
