"""Transactions: the entries of the ledger, appended once, never changed; pages and sums of them."""

import asyncio
import dataclasses
import datetime as dt
from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import Any, Final, TypedDict, cast, get_args

from core import clock, database, pagination
from core.database import Document, Index, Long, Session, Transaction, db
from core.errors import NotFound
from ledger import Category, Contra, Entry, Type

# --- vocabulary ---------------------------------------------------------------------------------

TYPES: Final[tuple[Type, ...]] = get_args(Type)
CATEGORIES: Final[tuple[Category, ...]] = get_args(Category)


class EntryRecord(TypedDict):
    """A record of `transactions`: an `Entry` as it is stored, its id as `_id`."""

    _id: str
    user_id: str
    key: str
    category: Category
    amount_paise: Long
    contra: Contra
    description: str
    call_id: str | None
    campaign_id: str | None
    order_id: str | None
    payment_id: str | None
    refund_id: str | None
    seq: Long
    type: Type
    balance_after_paise: Long
    credited_paise: Long
    debited_paise: Long
    credit_count: Long
    debit_count: Long
    created_at: dt.datetime
    prev_hash: str
    hash: str


_TOTALS = ("credited_paise", "debited_paise", "credit_count", "debit_count")

# One order everywhere: newest first. Entries of one commit share a millisecond; within it they
# are sorted by wallet, then by `seq`.
_ORDER: Final = pagination.Order(
    (("created_at", dt.datetime), ("user_id", str), ("seq", int)), name="txn"
)

# Where a page ends: the values of `_ORDER`.
_Position = tuple[dt.datetime, str, int]

# `amount_paise` and `type` at an index's end let a sum be read from the index alone.
_BY_SEQ = Index(("user_id", "seq"), unique=True)
_BY_USER = Index(("user_id", "-created_at", "-seq"))
_BY_USER_AND_KIND = Index(("user_id", "type", "category", "-created_at", "-seq", "amount_paise"))
_BY_KIND = Index(("type", "category", "-created_at", "-user_id", "-seq", "amount_paise"))
_BY_CAMPAIGN = Index(
    ("campaign_id", "type", "category", "-created_at", "-user_id", "-seq", "amount_paise"),
    only_where={"campaign_id": {"$gt": ""}},
)
_BY_CALL = Index(("call_id",), only_where={"call_id": {"$gt": ""}})


database.declare(
    "transactions",
    # `_id` is derived from user and key, which makes posting idempotent.
    indexes=[_BY_SEQ, _BY_USER, _BY_USER_AND_KIND, _BY_KIND, _BY_CAMPAIGN, _BY_CALL],
    schema={
        "bsonType": "object",
        "required": [name for name in EntryRecord.__annotations__ if name != "_id"],
        "properties": {
            "user_id": {"bsonType": "string"},
            "seq": {"bsonType": "long", "minimum": 1},
            "type": {"enum": ["credit", "debit"]},
            "category": {"enum": list(get_args(Category))},
            "amount_paise": {"bsonType": "long", "minimum": 1},
            "balance_after_paise": {"bsonType": "long", "minimum": 0},
            "credited_paise": {"bsonType": "long", "minimum": 0},
            "debited_paise": {"bsonType": "long", "minimum": 0},
            "created_at": {"bsonType": "date"},
            "prev_hash": {"bsonType": "string", "minLength": 64, "maxLength": 64},
            "hash": {"bsonType": "string", "minLength": 64, "maxLength": 64},
        },
    },
)


class Sum(TypedDict):
    """What the entries of one kind come to. `contra` is there for recovered dues alone, which go to
    more than one account."""

    type: Type
    category: Category
    contra: Contra | None
    paise: Long
    count: Long


# India has had no other offset since 1945, and a fixed one is faster to compute.
_DAY: Final = {"$dateTrunc": {"date": "$created_at", "unit": "day", "timezone": "+05:30"}}


@dataclasses.dataclass(frozen=True, slots=True)
class Period:
    """From `since` (included) until `until` (not included); None is open."""

    since: dt.datetime | None = None
    until: dt.datetime | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which entries to return. No `user_id` means every user's."""

    user_id: str | None = None
    type: Type | None = None
    category: Category | None = None
    period: Period = Period()
    campaign_id: str | None = None
    call_id: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Summary:
    """The sums over the entries of a filter."""

    credited_paise: int = 0
    debited_paise: int = 0
    credit_count: int = 0
    debit_count: int = 0

    def less(self, other: "Summary") -> "Summary":
        """The difference to `other`, which is a part of it."""
        return Summary(*(getattr(self, name) - getattr(other, name) for name in _TOTALS))

    def only(self, kind: Type | None) -> "Summary":
        """Its credits or its debits alone."""
        if kind == "credit":
            return Summary(credited_paise=self.credited_paise, credit_count=self.credit_count)
        if kind == "debit":
            return Summary(debited_paise=self.debited_paise, debit_count=self.debit_count)
        return self


# --- history ------------------------------------------------------------------------------------


async def get_transaction(entry_id: str, user_id: str | None) -> Entry:
    """The entry, when it is this user's (None: any user's). Raises NotFound."""
    record = cast(EntryRecord | None, await db.transactions.find_one({"_id": entry_id}))
    if record is None or user_id not in (None, record["user_id"]):
        raise NotFound("There is no such transaction.")
    return entry_from(record)


async def list_transactions(
    chosen: Filter, *, limit: int, cursor: str | None = None
) -> tuple[list[Entry], str | None]:
    """One page of entries, newest first, and the cursor of the next (None at the end).

    A cursor is a position in the order and not a number of rows: entries that are added meanwhile
    do not shift the pages. Raises InvalidCursor.
    """
    rows = _cursor_over(chosen, after=cursor).limit(limit + 1).batch_size(limit + 1)
    records, next_cursor = _ORDER.cut(cast(list[EntryRecord], await rows.to_list(None)), limit)
    return [entry_from(record) for record in records], next_cursor


async def batches(chosen: Filter, *, size: int = 1_000) -> AsyncGenerator[list[Entry], None]:
    """All entries of the filter, newest first, `size` at a time, from one server cursor."""
    cursor = _cursor_over(chosen).batch_size(size)
    try:
        batch: list[Entry] = []
        async for document in cursor:
            batch.append(entry_from(cast(EntryRecord, document)))
            if len(batch) == size:
                yield batch
                batch = []
        if batch:
            yield batch
    finally:
        await cursor.close()


async def rows(
    chosen: Filter, fields: Sequence[str], *, size: int = 2_000
) -> AsyncGenerator[list[Document], None]:
    """All entries of the filter, newest first, `size` at a time, as stored documents with these fields;
    their moments are in UTC and do not say so.

    Each batch is a query of its own from where the one before ended, so nothing at the database
    waits for a slow reader. The next one is read while the caller works on this one.
    """
    shown = dict.fromkeys((*fields, "created_at", "user_id", "seq"), 1)
    reading = asyncio.create_task(_read_raw(chosen, None, shown, size))
    try:
        while True:
            batch = await asyncio.to_thread(database.decode_raw, await reading)
            if len(batch) == size:
                last = batch[-1]
                at = last["created_at"].replace(tzinfo=dt.UTC)
                position = (at, last["user_id"], int(last["seq"]))
                reading = asyncio.create_task(_read_raw(chosen, position, shown, size))
            if batch:
                yield batch
            if len(batch) < size:
                return
    finally:
        reading.cancel()


async def _read_raw(chosen: Filter, after: _Position | None, shown: Document, size: int) -> bytes:
    where, order, hint = _query_over(chosen, after)
    found = db.transactions.find_raw_batches(
        where, shown, sort=order, hint=hint, limit=size, batch_size=size
    )
    return await database.read_raw(found)


async def summary(chosen: Filter) -> Summary:
    """The sums over the whole filter, independent of the page.

    Every entry has the running totals of its wallet, so a period of a wallet is the difference of
    two entries, however many lie between them. A category is a sum over the index; but nearly
    every entry is a call's charge, so those are the total minus the other categories, read in one
    snapshot. A campaign, a call, or every user's entries of some days are a sum over the index.
    """
    has_totals = chosen.user_id is not None or chosen.period == Period()
    if chosen.campaign_id is not None or chosen.call_id is not None or not has_totals:
        return await _summed(chosen)
    everything = dataclasses.replace(chosen, category=None, type=None)
    if chosen.category is None:
        return (await _difference_of_totals(everything)).only(chosen.type)
    if chosen.category != "call_charge":
        return await _summed(chosen)
    others = [category for category in CATEGORIES if category != "call_charge"]
    async with database.snapshot() as session:
        total = await _difference_of_totals(everything, session)
        rest = await _summed(everything, session, categories=others)
    return total.less(rest).only(chosen.type)


async def sums_by_day(chosen: Filter, *, by_contra: bool) -> dict[dt.date, list[Sum]]:
    """What the entries of each day in India come to: for each type and category, and for recovered
    dues each account, the `paise` and the `count`. Read from the index alone, but for those dues."""
    days: dict[dt.date, list[Sum]] = {}
    dues: list[Category] = ["due_recovery"]
    others: list[Category] = [each for each in CATEGORIES if each not in dues]
    for categories, contra in ((others, None), (dues, "$contra" if by_contra else None)):
        where, hint = _plan(chosen, categories)
        kind = {"type": "$type", "category": "$category", "contra": contra}
        sums = {"paise": {"$sum": "$amount_paise"}, "count": {"$sum": 1}}
        pipeline = [{"$match": where}, {"$group": {"_id": {"day": _DAY, **kind}, **sums}}]
        async for row in db.transactions.aggregate(pipeline, hint=hint):
            key = row["_id"]
            found: Sum = {
                "type": key["type"],
                "category": key["category"],
                "contra": key.get("contra"),
                "paise": Long(row["paise"]),
                "count": Long(row["count"]),
            }
            days.setdefault(clock.ist_date(key["day"]), []).append(found)
    return days


async def are_few(chosen: Filter, limit: int) -> bool:
    """Whether the filter has at most `limit` entries; of more than that no more are counted."""
    where, hint = _plan(chosen, CATEGORIES)
    count: int = await db.transactions.count_documents(where, hint=hint, limit=limit + 1)
    return count <= limit


async def first_moment(chosen: Filter) -> dt.datetime | None:
    """When the first entry of the filter was made; None when there is none."""
    where, hint = _plan(chosen, CATEGORIES)
    found = db.transactions.find(where, {"created_at": 1}, hint=hint).sort("created_at", 1)
    async for row in found.limit(1):
        at: dt.datetime = row["created_at"]
        return at
    return None


# --- storage ------------------------------------------------------------------------------------


def append(entries: Iterable[Entry], transaction: Transaction) -> None:
    """Insert new entries; only wallet.py calls this, inside its commit."""
    transaction.insert("transactions", [record_of(entry) for entry in entries])


def read_known(ids: Iterable[str], transaction: Transaction) -> dict[str, Entry]:
    """The entries among `ids` that exist, as a commit reads them."""
    found = transaction.find("transactions", {"_id": {"$in": list(ids)}})
    return {row["_id"]: entry_from(cast(EntryRecord, row)) for row in found}


async def find_transactions(ids: Iterable[str]) -> dict[str, Entry]:
    """The entries among `ids` that exist."""
    found = db.transactions.find({"_id": {"$in": list(ids)}}, batch_size=1_000)
    return {row["_id"]: entry_from(cast(EntryRecord, row)) async for row in found}


async def find_of_categories(
    user_ids: Sequence[str], categories: Sequence[Category], session: Session | None = None
) -> list[Entry]:
    """The entries of these users in these categories, in no order: for those that are few."""
    where = {
        "user_id": {"$in": list(user_ids)},
        "type": {"$in": TYPES},
        "category": {"$in": list(categories)},
    }
    found = db.transactions.find(where, hint=_BY_USER_AND_KIND.name, session=session)
    return [entry_from(cast(EntryRecord, row)) for row in await found.to_list(None)]


async def read_chains(
    after: tuple[str, int], *, until: tuple[str, int] | None, limit: int
) -> list[Entry]:
    """At most `limit` entries behind the user and `seq` of `after`, in the order of user and `seq`;
    up to those of `until`, these included. A seek in the index: no server cursor stays open."""
    if until is not None and after >= until:
        return []
    user_id, seq = after
    found = db.transactions.find({}).hint([("user_id", 1), ("seq", 1)])
    found = found.min([("user_id", user_id), ("seq", seq + 1)])
    if until is not None:
        found = found.max([("user_id", until[0]), ("seq", until[1] + 1)])
    rows = await found.limit(limit).to_list(None)
    return [entry_from(cast(EntryRecord, row)) for row in rows]


async def count_roughly() -> int:
    """How many entries there are, by MongoDB's own count of the collection, which costs nothing."""
    return int(await db.transactions.estimated_document_count())


def record_of(entry: Entry) -> EntryRecord:
    """How an entry is stored."""
    return {
        "_id": entry.id,
        "user_id": entry.user_id,
        "key": entry.key,
        "category": entry.category,
        "amount_paise": Long(entry.amount_paise),
        "contra": entry.contra,
        "description": entry.description,
        "call_id": entry.call_id,
        "campaign_id": entry.campaign_id,
        "order_id": entry.order_id,
        "payment_id": entry.payment_id,
        "refund_id": entry.refund_id,
        "seq": Long(entry.seq),
        "type": entry.type,
        "balance_after_paise": Long(entry.balance_after_paise),
        "credited_paise": Long(entry.credited_paise),
        "debited_paise": Long(entry.debited_paise),
        "credit_count": Long(entry.credit_count),
        "debit_count": Long(entry.debit_count),
        "created_at": entry.created_at,
        "prev_hash": entry.prev_hash,
        "hash": entry.hash,
    }


def entry_from(record: EntryRecord) -> Entry:
    """The entry that is stored in a record."""
    return Entry(
        id=record["_id"],
        user_id=record["user_id"],
        key=record["key"],
        category=record["category"],
        amount_paise=record["amount_paise"],
        contra=record["contra"],
        description=record["description"],
        call_id=record["call_id"],
        campaign_id=record["campaign_id"],
        order_id=record["order_id"],
        payment_id=record["payment_id"],
        refund_id=record["refund_id"],
        seq=record["seq"],
        type=record["type"],
        balance_after_paise=record["balance_after_paise"],
        credited_paise=record["credited_paise"],
        debited_paise=record["debited_paise"],
        credit_count=record["credit_count"],
        debit_count=record["debit_count"],
        created_at=record["created_at"],
        prev_hash=record["prev_hash"],
        hash=record["hash"],
    )


# --- which index answers what -------------------------------------------------------------------


def _plan(chosen: Filter, categories: Sequence[Category] = ()) -> tuple[Document, str]:
    """The MongoDB filter, and the name of the index that serves it in order.

    Where an index has type and category before the time, the filter always has both: with
    equalities in front MongoDB merges the few ranges and need not sort.
    """
    equal_to = ("user_id", "campaign_id", "call_id", "type", "category")
    where: Document = {
        name: value for name in equal_to if (value := getattr(chosen, name)) is not None
    }
    index = _index_for(chosen, has_kind=bool(chosen.type or chosen.category or categories))
    if index in (_BY_USER_AND_KIND, _BY_KIND, _BY_CAMPAIGN):
        where.setdefault("type", {"$in": TYPES})
        where.setdefault("category", {"$in": list(categories) or CATEGORIES})
    bounds = {"$gte": chosen.period.since, "$lt": chosen.period.until}
    if time := {operator: at for operator, at in bounds.items() if at is not None}:
        where["created_at"] = time
    return where, index.name


def _index_for(chosen: Filter, *, has_kind: bool) -> Index:
    """The index for entries of this filter; `has_kind`: of a type or of some categories only."""
    if chosen.call_id is not None:
        return _BY_CALL
    if chosen.campaign_id is not None:
        return _BY_CAMPAIGN
    if chosen.user_id is None:
        return _BY_KIND
    return _BY_USER_AND_KIND if has_kind else _BY_USER


def _cursor_over(chosen: Filter, *, after: str | None = None) -> Any:
    """The server cursor over the filter in the order of all lists, after the page cursor `after`."""
    position = None if after is None else cast(_Position, tuple(_ORDER.position(after)))
    where, order, hint = _query_over(chosen, position)
    return db.transactions.find(where, sort=order, hint=hint)


def _query_over(
    chosen: Filter, after: _Position | None
) -> tuple[Document, list[tuple[str, int]], str]:
    """The MongoDB filter, the order of all lists and the index, for what comes after a position."""
    where, hint = _plan(chosen)
    if after is not None:
        at, user_id, seq = after
        where["created_at"] = {**where.get("created_at", {}), "$lte": at}
        where["$or"] = [
            {"created_at": {"$lt": at}},
            {"user_id": {"$lt": user_id}},
            {"user_id": user_id, "seq": {"$lt": seq}},
        ]
    order = _ORDER.sort
    # The index of campaigns has the user between the time and `seq`: without it MongoDB would sort.
    if chosen.user_id is not None and hint != _BY_CAMPAIGN.name:
        del order[1]
    return where, order, hint


async def _difference_of_totals(chosen: Filter, session: Session | None = None) -> Summary:
    """The difference of the running totals at the two ends of the period."""
    total = await _totals(chosen.user_id, chosen.period.until, session)
    if chosen.period.since is None:
        return total
    return total.less(await _totals(chosen.user_id, chosen.period.since, session))


async def _totals(
    user_id: str | None, before: dt.datetime | None, session: Session | None
) -> Summary:
    """The running totals at a moment: one entry a wallet, found by a seek in the index."""
    pipeline: list[Document] = []
    if before is not None:
        pipeline.append({"$match": {"created_at": {"$lt": before}}})
    if user_id is not None:
        pipeline.insert(0, {"$match": {"user_id": user_id}})
    pipeline += [
        {"$sort": {"user_id": 1, "created_at": -1, "seq": -1}},
        {"$group": {"_id": "$user_id", **{name: {"$first": f"${name}"} for name in _TOTALS}}},
    ]
    return await _sum_of_groups(pipeline, _BY_USER.name, session)


async def _summed(
    chosen: Filter, session: Session | None = None, *, categories: Sequence[Category] = ()
) -> Summary:
    """The sum over the matches, from the index alone where it has the amount."""
    where, hint = _plan(chosen, categories)

    def when(kind: Type, value: Any) -> Document:
        return {"$sum": {"$cond": [{"$eq": ["$type", kind]}, value, 0]}}

    totals = {
        "credited_paise": when("credit", "$amount_paise"),
        "debited_paise": when("debit", "$amount_paise"),
        "credit_count": when("credit", 1),
        "debit_count": when("debit", 1),
    }
    return await _sum_of_groups(
        [{"$match": where}, {"$group": {"_id": None, **totals}}], hint, session
    )


async def _sum_of_groups(pipeline: list[Document], hint: str, session: Session | None) -> Summary:
    """The sums over the groups that `pipeline` ends with."""
    totals = {name: {"$sum": f"${name}"} for name in _TOTALS}
    cursor = db.transactions.aggregate(
        [*pipeline, {"$group": {"_id": None, **totals}}], hint=hint, session=session
    )
    async for found in cursor:
        return Summary(*(int(found[name]) for name in _TOTALS))
    return Summary()
