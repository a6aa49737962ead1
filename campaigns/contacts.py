"""Campaign contacts: each claimed once, called once, with its outcome."""

import dataclasses
import datetime as dt
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Final, Literal, TypedDict, cast, get_args

from core import clock, database, leases
from core.database import Document, Index, Update, Write, db
from core.pagination import Order

# --- vocabulary ---------------------------------------------------------------------------------

State = Literal[
    "pending",  # waits for its turn
    "claimed",  # a process is placing its call; the call's id is on it already
    "in_call",  # its call was placed and is not over
    "done",  # its call ended; the disposition says how
    "skipped",  # it cannot be called; the reason says why
    "exhausted",  # every attempt failed
    "canceled",  # the campaign was canceled before its turn, or its call before the answer
]
Disposition = Literal["answered", "no_answer", "busy", "failed"]

# What the counts of a campaign, and the filter of its contacts, are called.
ContactCategory = Literal[
    "pending",
    "in_call",
    "answered",
    "no_answer",
    "busy",
    "failed",
    "skipped",
    "exhausted",
    "canceled",
]

_BY_ROW: Final = Order((("row", int),), ascending=True)
LIVE: Final[tuple[State, ...]] = ("claimed", "in_call")

# A process that claimed a contact places its call well within this time, or is dead.
_CLAIM_SECONDS: Final = 60
# How often the call of a contact is looked up when no event reports its end.
_CALL_SECONDS: Final = 90
_BATCH_MAX: Final = 500
_WRITTEN_MAX: Final = 1_000

_ENDS: Final[dict[str, tuple[State, Disposition | None]]] = {
    "completed": ("done", "answered"),
    "no_answer": ("done", "no_answer"),
    "busy": ("done", "busy"),
    "failed": ("done", "failed"),
    "canceled": ("canceled", None),
}


class _Fields(TypedDict):
    _id: str  # the campaign's id and the number
    campaign_id: str
    user_id: str
    to: str
    row: int  # of the list, from which it came
    state: State
    disposition: Disposition | None
    reason: str | None
    attempts: int
    lease_until: dt.datetime | None
    duration_seconds: int | None
    cost_paise: int
    updated_at: dt.datetime


class Contact(_Fields):
    """A document of `contacts`: one person of a campaign, and what became of them."""

    call_id: str | None  # of the call that was placed for it last


class ClaimedContact(_Fields):
    """A contact that was claimed: there is a call for it, or will be."""

    call_id: str


@dataclasses.dataclass(slots=True)
class Counts:
    """How many contacts of a campaign are where."""

    pending: int = 0
    in_call: int = 0
    answered: int = 0
    no_answer: int = 0
    busy: int = 0
    failed: int = 0
    skipped: int = 0
    exhausted: int = 0
    canceled: int = 0
    total: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class ContactTotals:
    """What a campaign's contacts add up to."""

    counts: Counts
    spent_paise: int = 0


def counted_as(contact: Contact) -> ContactCategory:
    """Under which name a contact is counted."""
    return _counted(contact["state"], contact["disposition"])


def _counted(state: State, disposition: Disposition | None) -> ContactCategory:
    if state == "claimed":
        return "in_call"
    return cast(ContactCategory, disposition if state == "done" else state)


# --- the list -----------------------------------------------------------------------------------


async def create_contacts(campaign_id: str, user_id: str, rows: Iterable[tuple[int, str]]) -> None:
    """Add `(row, number)` to a campaign; who is in it already is left as it is."""
    now = clock.now()
    people: list[Contact] = [
        {
            # The primary key is the guard: a number is in a campaign once.
            "_id": f"{campaign_id}:{to}",
            "campaign_id": campaign_id,
            "user_id": user_id,
            "to": to,
            "row": row,
            "state": "pending",
            "disposition": None,
            "reason": None,
            "attempts": 0,
            "call_id": None,
            "lease_until": None,
            "duration_seconds": None,
            "cost_paise": database.long(0),
            "updated_at": now,
        }
        for row, to in rows
    ]
    try:
        await db.contacts.insert_many(cast(list[Document], people), ordered=False)
    except database.AnyError as problem:
        if not database.is_duplicate(problem):
            raise


async def delete_contacts(campaign_id: str) -> None:
    """Delete the contacts of a campaign whose list did not come in."""
    while ids := await _some({"campaign_id": campaign_id}):
        await db.contacts.delete_many({"_id": {"$in": ids}})


async def count_contacts(campaign_ids: Sequence[str]) -> dict[str, ContactTotals]:
    """Count the contacts of each campaign and add up what they cost; one covered index scan.

    Counted and not kept, so that the figures cannot drift from the contacts.
    """
    groups = db.contacts.aggregate(
        [
            {"$match": {"campaign_id": {"$in": list(campaign_ids)}}},
            {
                "$group": {
                    "_id": {"of": "$campaign_id", "state": "$state", "as": "$disposition"},
                    "count": {"$sum": 1},
                    "cost_paise": {"$sum": "$cost_paise"},
                }
            },
        ],
        hint="_".join(f"{key}_1" for key in _TALLY.keys),
    )
    found = {campaign_id: Counts() for campaign_id in campaign_ids}
    spent_paise = dict.fromkeys(campaign_ids, 0)
    async for group in groups:
        key = group["_id"]
        counts = found[key["of"]]
        name = _counted(key["state"], key["as"])
        setattr(counts, name, getattr(counts, name) + group["count"])
        counts.total += group["count"]
        spent_paise[key["of"]] += int(group["cost_paise"])
    return {of: ContactTotals(counts, spent_paise[of]) for of, counts in found.items()}


async def list_contacts(
    campaign_id: str, *, state: ContactCategory | None, limit: int, cursor: str | None
) -> tuple[list[Contact], str | None]:
    """Contacts in the order of the list, and the next cursor."""
    where: Document = {"campaign_id": campaign_id, **_BY_ROW.behind(cursor)}
    if state == "in_call":
        where |= {"state": {"$in": list(LIVE)}, "disposition": None}
    elif state in get_args(Disposition):
        where |= {"state": "done", "disposition": state}
    elif state is not None:
        where |= {"state": state, "disposition": None}
    found = db.contacts.find(where, sort=_BY_ROW.sort)
    return _BY_ROW.cut(cast(list[Contact], await found.to_list(limit + 1)), limit)


def iterate_contacts(campaign_id: str) -> AsyncIterator[Contact]:
    """All contacts in the order of the list, from a cursor that holds a batch at a time."""
    found = db.contacts.find({"campaign_id": campaign_id}, sort=[("row", 1)], batch_size=_BATCH_MAX)
    return cast(AsyncIterator[Contact], found)


# --- calling them -------------------------------------------------------------------------------


async def count_live_contacts(campaign_id: str) -> int:
    """How many of a campaign's contacts are being called."""
    return await db.contacts.count_documents(
        {"campaign_id": campaign_id, "state": {"$in": list(LIVE)}}
    )


async def find_next_number(campaign_id: str) -> str | None:
    """Whom the campaign calls next; None when nobody is left."""
    found = await db.contacts.find_one(
        {"campaign_id": campaign_id, "state": "pending", "disposition": None},
        {"to": 1},
        sort=[("row", 1)],
    )
    return None if found is None else str(found["to"])


async def has_contacts(campaign_id: str, states: Sequence[State]) -> bool:
    """Whether any of a campaign's contacts is in one of these states."""
    where = {"campaign_id": campaign_id, "state": {"$in": list(states)}}
    return await db.contacts.find_one(where, {"_id": 1}) is not None


async def claim_contacts(campaign_id: str, count: int) -> list[ClaimedContact]:
    """Claim up to `count` contacts whose turn it is; nobody else gets them.

    Each carries the id of the call that will be placed for it, stored before anything is dialled:
    whoever finds it after a crash can tell whether that call exists.
    """
    waiting = await db.contacts.find(
        {"campaign_id": campaign_id, "state": "pending", "disposition": None},
        {"_id": 1},
        sort=[("row", 1)],
    ).to_list(count)
    if not waiting:
        return []
    calls_to_be = {contact["_id"]: database.new_id("call") for contact in waiting}
    lease = {"lease_until": clock.after(_CLAIM_SECONDS), "updated_at": clock.now()}
    claims: list[Write] = [
        Update(
            "contacts",
            {"_id": contact_id, "state": "pending"},
            {"$set": {"state": "claimed", "call_id": call_id, **lease}, "$inc": {"attempts": 1}},
        )
        for contact_id, call_id in calls_to_be.items()
    ]
    await database.write_all(claims)
    mine = {"call_id": {"$in": list(calls_to_be.values()), "$type": "string"}}
    claimed = await db.contacts.find(mine, sort=[("row", 1)]).to_list(None)
    return cast(list[ClaimedContact], claimed)


async def release_contact(contact: ClaimedContact, states: Sequence[State] = ("claimed",)) -> None:
    """Release a claim, because the call could not be placed now: no attempt was used."""
    waits: Document = {"state": "pending", "call_id": None, "lease_until": None}
    await _change(contact, states, waits, attempts=-1)


async def release_contact_of_call(call_id: str) -> bool:
    """Release the contact of a call that the network did not take; False when no contact has it (any
    more)."""
    contact = await db.contacts.find_one({"call_id": {"$eq": call_id, "$type": "string"}})
    if contact is not None:
        await release_contact(cast(ClaimedContact, contact), LIVE)
    return contact is not None


async def mark_in_call(contact: ClaimedContact) -> None:
    """Note that its call was placed, or still lasts."""
    lease_until = clock.after(_CALL_SECONDS)
    await _change(contact, LIVE, {"state": "in_call", "lease_until": lease_until})


async def mark_skipped(contact: ClaimedContact, reason: str) -> None:
    """Note that it cannot be called, now or later, and why."""
    gone: Document = {"state": "skipped", "reason": reason, "call_id": None, "lease_until": None}
    await _change(contact, ("claimed",), gone, attempts=-1)


async def apply_call_end(
    call_id: str,
    *,
    status: str,
    duration_seconds: int,
    cost_paise: int,
    answered_by: str | None = None,
) -> bool:
    """The call with this id ended; harmless when repeated, and when the call is not a contact's.

    True when the end was known and only its cost has changed: a person decided on it later.
    """
    state, disposition = _ENDS[status]
    by_machine = disposition == "answered" and answered_by == "machine"
    costs_more = {"state": {"$in": ["done", "canceled"]}, "cost_paise": {"$lt": cost_paise}}
    before = await db.contacts.find_one_and_update(
        {
            "call_id": {"$eq": call_id, "$type": "string"},
            "$or": [{"state": {"$in": list(LIVE)}}, costs_more],
        },
        {
            "$set": {
                "state": state,
                "disposition": disposition,
                "reason": "answered_by_machine" if by_machine else None,
                "duration_seconds": duration_seconds,
                "cost_paise": database.long(cost_paise),
                "lease_until": None,
                "updated_at": clock.now(),
            }
        },
        projection={"state": 1},
    )
    return before is not None and before["state"] not in LIVE


async def mark_pending_canceled(campaign_id: str) -> None:
    """Cancel everybody who still waits; calls that are up end as they will."""
    waiting: Document = {"campaign_id": campaign_id, "state": "pending"}
    canceled = {"$set": {"state": "canceled", "updated_at": clock.now()}}
    while ids := await _some(waiting):
        await db.contacts.update_many({"_id": {"$in": ids}, "state": "pending"}, canceled)


async def claim_due_contacts(campaign_id: str) -> list[ClaimedContact]:
    """Claim the contacts whose process died or whose call's end was not reported: the lease is moved
    ahead, so that no other process looks into them at the same time."""
    claimed = await leases.claim_due(
        db.contacts,
        "lease_until",
        next_at=lambda _: clock.after(_CLAIM_SECONDS),
        limit=_BATCH_MAX,
        where={"campaign_id": campaign_id, "state": {"$in": list(LIVE)}},
    )
    return cast(list[ClaimedContact], claimed)


# --- storage ------------------------------------------------------------------------------------

# Whose turn it is, how many are where, and what they cost: one index answers all three.
_TALLY: Final = Index(("campaign_id", "state", "disposition", "row", "cost_paise"))


database.declare(
    "contacts",
    indexes=[
        _TALLY,
        Index(("campaign_id", "row"), unique=True),
        Index(("call_id",), unique=True, only_where={"call_id": {"$type": "string"}}),
    ],
    schema={
        "bsonType": "object",
        "required": ["campaign_id", "user_id", "to", "row", "state", "cost_paise"],
        "properties": {
            "state": {"enum": list(get_args(State))},
            "disposition": {"enum": [*get_args(Disposition), None]},
            "attempts": {"bsonType": "int", "minimum": 0},
            "cost_paise": {"bsonType": "long", "minimum": 0},
        },
    },
)


async def _some(where: Document) -> list[str]:
    """A batch of those: 100,000 contacts in one write would keep everybody else waiting."""
    found = await db.contacts.find(where, {"_id": 1}, limit=_WRITTEN_MAX).to_list(None)
    return [contact["_id"] for contact in found]


async def _change(
    contact: ClaimedContact, states: Sequence[State], changes: Document, *, attempts: int = 0
) -> None:
    """Change a contact whose call is still the one that it was claimed with."""
    update: Document = {"$set": changes | {"updated_at": clock.now()}}
    if attempts:
        update["$inc"] = {"attempts": attempts}
    await db.contacts.update_one(
        {"_id": contact["_id"], "call_id": contact["call_id"], "state": {"$in": list(states)}},
        update,
    )
