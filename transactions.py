"""Transactions: the entries of the ledger, appended once, never changed; pages and sums of them."""

import dataclasses
import datetime as dt
from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import Any, Final, get_args

from core import database, pagination
from core.database import Document, Index, Session, db
from core.errors import NotFound
from ledger import Category, Entry, Type

# --- vocabulary ---------------------------------------------------------------------------------
TYPES: Final[tuple[Type, ...]] = get_args(Type)


CATEGORIES: Final[tuple[Category, ...]] = get_args(Category)


_FIELDS = tuple(field.name for field in dataclasses.fields(Entry) if field.name != "id")


_LONGS = frozenset(
    {
        "seq",
        "amount_paise",
        "balance_after_paise",
        "credited_paise",
        "debited_paise",
        "credit_count",
        "debit_count",
    }
)


_TOTALS = ("credited_paise", "debited_paise", "credit_count", "debit_count")


# One order everywhere: newest first. Entries of one commit share a millisecond, so within it a
# wallet's entries stand together, in their own order.
_ORDER: Final = pagination.Order(
    (("created_at", dt.datetime), ("user_id", str), ("seq", int)), name="txn"
)


# `amount_paise` and `type` at an index's end let a sum be read from the index alone.
_BY_SEQ = Index(("user_id", "seq"), unique=True)


_BY_USER = Index(("user_id", "-created_at", "-seq"))


_BY_USER_AND_KIND = Index(("user_id", "type", "category", "-created_at", "-seq", "amount_paise"))


_BY_KIND = Index(("type", "category", "-created_at", "-user_id", "-seq", "amount_paise"))


_BY_CAMPAIGN = Index(
    ("campaign_id", "-created_at", "-user_id", "-seq", "type", "category", "amount_paise"),
    only_where={"campaign_id": {"$gt": ""}},
)


_BY_CALL = Index(("call_id",), only_where={"call_id": {"$gt": ""}})


database.declare(
    "transactions",
    # `_id` is made from user and key: it is the idempotency guard.
    indexes=[_BY_SEQ, _BY_USER, _BY_USER_AND_KIND, _BY_KIND, _BY_CAMPAIGN, _BY_CALL],
    schema={
        "bsonType": "object",
        "required": [*_FIELDS],
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


@dataclasses.dataclass(frozen=True, slots=True)
class Period:
    """From `since` (included) until `until` (not included); None is open."""

    since: dt.datetime | None = None
    until: dt.datetime | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which entries are asked for. No `user_id` means everybody's."""

    user_id: str | None = None
    type: Type | None = None
    category: Category | None = None
    period: Period = Period()
    campaign_id: str | None = None
    call_id: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Summary:
    """What the entries of a filter add up to."""

    credited_paise: int = 0
    debited_paise: int = 0
    credit_count: int = 0
    debit_count: int = 0

    def less(self, other: "Summary") -> "Summary":
        """What is in this and not in `other`, which is a part of it."""
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
    """The entry, when it is this user's (None: whoever's it is). Raises NotFound."""
    document = await db.transactions.find_one({"_id": entry_id})
    if document is None or user_id not in (None, document["user_id"]):
        raise NotFound("There is no such transaction.")
    return entry_from(document)


async def list_transactions(
    chosen: Filter, *, limit: int, cursor: str | None = None
) -> tuple[list[Entry], str | None]:
    """One page of entries, newest first, and the cursor of the next (None at the end).

    A cursor is a place in the order and not a number of rows: entries that come in meanwhile move
    nothing. Raises InvalidCursor.
    """
    rows = _found(chosen, after=cursor).limit(limit + 1).batch_size(limit + 1)
    documents, next_cursor = _ORDER.cut(await rows.to_list(None), limit)
    return [entry_from(document) for document in documents], next_cursor


async def batches(chosen: Filter, *, size: int = 1_000) -> AsyncGenerator[list[Entry], None]:
    """All entries of the filter, newest first, `size` at a time, from one server cursor."""
    cursor = _found(chosen).batch_size(size)
    try:
        batch: list[Entry] = []
        async for document in cursor:
            batch.append(entry_from(document))
            if len(batch) == size:
                yield batch
                batch = []
        if batch:
            yield batch
    finally:
        await cursor.close()


async def summary(chosen: Filter) -> Summary:
    """What the whole filter adds up to, whatever the page.

    Every entry carries the running totals of its wallet, so a period of a wallet is the difference
    of two entries, however many lie between them. A category is a sum over the index; but nearly
    every entry is a call's charge, so those are everything less the other categories, counted in
    one snapshot. A campaign, a call, or everybody's entries of some days are a sum over the index.
    """
    has_totals = chosen.user_id is not None or chosen.period == Period()
    if chosen.campaign_id is not None or chosen.call_id is not None or not has_totals:
        return await _summed(chosen)
    everything = dataclasses.replace(chosen, category=None, type=None)
    if chosen.category is None:
        return (await _running(everything)).only(chosen.type)
    if chosen.category != "call_charge":
        return await _summed(chosen)
    others = [category for category in CATEGORIES if category != "call_charge"]
    async with database.snapshot() as session:
        total = await _running(everything, session)
        rest = await _summed(everything, session, categories=others)
    return total.less(rest).only(chosen.type)


# --- storage ------------------------------------------------------------------------------------
async def append(entries: Sequence[Entry], session: Session) -> None:
    """Insert new entries; only wallet.py calls this, inside its commit."""
    await db.transactions.insert_many(
        [document_of(entry) for entry in entries], ordered=False, session=session
    )


async def find_transactions(ids: Iterable[str], session: Session | None = None) -> dict[str, Entry]:
    """The entries among `ids` that exist."""
    found = db.transactions.find({"_id": {"$in": list(ids)}}, batch_size=1_000, session=session)
    return {document["_id"]: entry_from(document) async for document in found}


def document_of(entry: Entry) -> Document:
    """How an entry is stored."""
    document: Document = {"_id": entry.id}
    for name in _FIELDS:
        value = getattr(entry, name)
        document[name] = database.long(value) if name in _LONGS else value
    return document


def entry_from(document: Document) -> Entry:
    """The entry that a stored document holds."""
    return Entry(id=document["_id"], **{name: document[name] for name in _FIELDS})


def _plan(chosen: Filter, categories: Sequence[Category] = ()) -> tuple[Document, str]:
    """What to look for, and the name of the index that finds it in order.

    Where an index has type and category before the time, both are always named: with points in
    front MongoDB merges the few ranges and need not sort.
    """
    where: Document = {}
    if chosen.user_id is not None:
        where["user_id"] = chosen.user_id
    if chosen.campaign_id is not None:
        where["campaign_id"] = chosen.campaign_id
    if chosen.call_id is not None:
        where["call_id"] = chosen.call_id
    narrow = "campaign_id" in where or "call_id" in where
    kinds = bool(chosen.type or chosen.category or categories)
    if chosen.type is not None or not narrow:
        where["type"] = chosen.type or {"$in": TYPES}
    if chosen.category is not None or not narrow:
        where["category"] = chosen.category or {"$in": list(categories) or CATEGORIES}
    if "call_id" in where:
        index = _BY_CALL
    elif "campaign_id" in where:
        index = _BY_CAMPAIGN
    elif "user_id" in where and not kinds:
        index = _BY_USER
        del where["type"], where["category"]
    else:
        index = _BY_USER_AND_KIND if "user_id" in where else _BY_KIND
    time: Document = {}
    if chosen.period.since is not None:
        time["$gte"] = chosen.period.since
    if chosen.period.until is not None:
        time["$lt"] = chosen.period.until
    if time:
        where["created_at"] = time
    return where, _name(index)


def _found(chosen: Filter, *, after: str | None = None) -> Any:
    """The server cursor over the filter in the one order, from behind the page cursor `after`."""
    where, hint = _plan(chosen)
    if after is not None:
        at, user_id, seq = _ORDER.position(after)
        where["created_at"] = {**where.get("created_at", {}), "$lte": at}
        where["$or"] = [
            {"created_at": {"$lt": at}},
            {"user_id": {"$lt": user_id}},
            {"user_id": user_id, "seq": {"$lt": seq}},
        ]
    order = _ORDER.sort
    if chosen.user_id is not None:
        del order[1]
    return db.transactions.find(where, sort=order, hint=hint)


def _name(index: Index) -> str:
    return str(index.model().document["name"])


async def _running(chosen: Filter, session: Session | None = None) -> Summary:
    """The difference of the running totals at the two ends of the period."""
    total = await _totals(chosen.user_id, chosen.period.until, session)
    if chosen.period.since is None:
        return total
    return total.less(await _totals(chosen.user_id, chosen.period.since, session))


async def _totals(
    user_id: str | None, before: dt.datetime | None, session: Session | None
) -> Summary:
    """The running totals at a moment: one entry a wallet, jumped to in the index."""
    pipeline: list[Document] = []
    if before is not None:
        pipeline.append({"$match": {"created_at": {"$lt": before}}})
    if user_id is not None:
        pipeline.insert(0, {"$match": {"user_id": user_id}})
    pipeline += [
        {"$sort": {"user_id": 1, "created_at": -1, "seq": -1}},
        {"$group": {"_id": "$user_id", **{name: {"$first": f"${name}"} for name in _TOTALS}}},
    ]
    return await _one(pipeline, _name(_BY_USER), session)


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
    return await _one([{"$match": where}, {"$group": {"_id": None, **totals}}], hint, session)


async def _one(pipeline: list[Document], hint: str, session: Session | None) -> Summary:
    """What the groups that `pipeline` ends with add up to."""
    totals = {name: {"$sum": f"${name}"} for name in _TOTALS}
    cursor = db.transactions.aggregate(
        [*pipeline, {"$group": {"_id": None, **totals}}], hint=hint, session=session
    )
    async for found in cursor:
        return Summary(*(int(found[name]) for name in _TOTALS))
    return Summary()
