"""Campaign contacts: each claimed once, called once, with its outcome."""

import dataclasses
import datetime as dt
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Final, Literal, NamedTuple, NotRequired, TypedDict, cast, get_args

from calls.records import Call
from core import clock, database, leases
from core.database import Document, Index, Update, Write, db
from core.pagination import Order

# --- vocabulary ---------------------------------------------------------------------------------

State = Literal[
    "pending",  # waits for its turn
    "claimed",  # a process is placing its call, whose id it has already
    "in_call",  # its call was placed and is not over
    "done",  # its call ended, as the disposition says
    "skipped",  # it cannot be called, for the reason that is stored
    "exhausted",  # every attempt failed
    "canceled",  # the campaign was canceled before its turn, or its call before the answer
]
Disposition = Literal["answered", "no_answer", "busy", "failed"]

# The names of a campaign's counts, which are also the filter of its contacts.
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

# A process that claimed a contact places its call well within this time, or has died.
_CLAIM_SECONDS: Final = 60
# How often the call of a contact is checked when no event reports its end.
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


class NewContact(NamedTuple):
    """A row of a list: the number, the cells of its columns, and its own time zone."""

    row: int
    to: str
    cells: list[str] | None = None
    timezone: str | None = None


class _Fields(TypedDict):
    _id: str  # the campaign's id and the number
    campaign_id: str
    user_id: str
    to: str
    row: int  # of the list
    cells: NotRequired[list[str]]  # of its row, in the order of the campaign's `columns`
    timezone: NotRequired[str | None]
    state: State
    disposition: Disposition | None
    reason: str | None
    attempts: int
    lease_until: dt.datetime | None
    duration_seconds: int | None
    cost_paise: int
    updated_at: dt.datetime


class Contact(_Fields):
    """A document of `contacts`: one number of a campaign, and the result of its call."""

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
    """The totals of a campaign's contacts."""

    counts: Counts
    spent_paise: int = 0


def counted_as(contact: Contact) -> ContactCategory:
    """The category in which a contact is counted."""
    return _counted(contact["state"], contact["disposition"])


def _counted(state: State, disposition: Disposition | None) -> ContactCategory:
    if state == "claimed":
        return "in_call"
    return cast(ContactCategory, disposition if state == "done" else state)


# --- the list -----------------------------------------------------------------------------------


async def create_contacts(
    campaign_id: str, user_id: str, rows: Iterable[NewContact | tuple[int, str]]
) -> None:
    """Add rows to a campaign; a number that is in it already is not changed."""
    now = clock.now()
    people = [_new_contact(campaign_id, user_id, NewContact(*row), now) for row in rows]
    try:
        await db.contacts.insert_many(cast(list[Document], people), ordered=False)
    except database.AnyError as problem:
        if not database.is_duplicate(problem):
            raise


def _new_contact(campaign_id: str, user_id: str, row: NewContact, now: dt.datetime) -> Contact:
    contact: Contact = {
        # The primary key is the guard: a number is in a campaign once.
        "_id": f"{campaign_id}:{row.to}",
        "campaign_id": campaign_id,
        "user_id": user_id,
        "to": row.to,
        "row": row.row,
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
    if row.cells is not None:
        contact["cells"] = row.cells
    if row.timezone is not None:
        contact["timezone"] = row.timezone
    return contact


async def delete_contacts(campaign_id: str) -> None:
    """Delete the contacts of a campaign whose list was not completed."""
    while ids := await _batch_of_ids({"campaign_id": campaign_id}):
        await db.contacts.delete_many({"_id": {"$in": ids}})


async def count_contacts(campaign_ids: Sequence[str]) -> dict[str, ContactTotals]:
    """Count the contacts of each campaign and add up what they cost; one covered index scan.

    They are counted anew each time, so that the figures cannot differ from the contacts.
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
    """All contacts in the order of the list, from a cursor that reads a batch at a time."""
    found = db.contacts.find({"campaign_id": campaign_id}, sort=[("row", 1)], batch_size=_BATCH_MAX)
    return cast(AsyncIterator[Contact], found)


# --- claims and results -------------------------------------------------------------------------


async def count_live_contacts(campaign_id: str) -> int:
    """How many of a campaign's contacts are being called."""
    return await db.contacts.count_documents(
        {"campaign_id": campaign_id, "state": {"$in": list(LIVE)}}
    )


async def find_next_number(campaign_id: str) -> str | None:
    """The number that the campaign calls next; None when nobody is left."""
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
    """Claim the next `count` contacts at most; no other process gets them.

    Each carries the id of the call that will be placed for it, stored before anything is dialled:
    after a crash another process can find out whether that call exists.
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
    changes: Document = {"state": "pending", "call_id": None, "lease_until": None}
    await _change(contact, states, changes, attempts=-1)


async def release_contact_of_call(call_id: str) -> bool:
    """Release the contact of a call that the network did not accept; False when no contact has this
    call (any more)."""
    contact = await db.contacts.find_one({"call_id": {"$eq": call_id, "$type": "string"}})
    if contact is not None:
        await release_contact(cast(ClaimedContact, contact), LIVE)
    return contact is not None


async def mark_in_call(contact: ClaimedContact) -> None:
    """Record that its call was placed, or still lasts."""
    lease_until = clock.after(_CALL_SECONDS)
    await _change(contact, LIVE, {"state": "in_call", "lease_until": lease_until})


async def mark_skipped(contact: ClaimedContact, reason: str) -> None:
    """Record that it cannot be called, now or later, and why."""
    changes: Document = {"state": "skipped", "reason": reason, "call_id": None, "lease_until": None}
    await _change(contact, ("claimed",), changes, attempts=-1)


async def apply_call_end(
    call_id: str,
    *,
    status: str,
    duration_seconds: int,
    cost_paise: int,
    answered_by: str | None = None,
) -> bool:
    """Record the end of a call on its contact; harmless when repeated, and for a call of no contact.

    True when the end was recorded before and only its cost has changed: a person decided it later.
    """
    state, disposition = _ENDS[status]
    is_machine = disposition == "answered" and answered_by == "machine"
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
                "reason": "answered_by_machine" if is_machine else None,
                "duration_seconds": duration_seconds,
                "cost_paise": database.long(cost_paise),
                "lease_until": None,
                "updated_at": clock.now(),
            }
        },
        projection={"state": 1},
    )
    return before is not None and before["state"] not in LIVE


async def apply_late_result(call: Call) -> None:
    """Record on its contact what became known of a call after its end: who answered. Harmless when
    repeated, and for a call of no contact, or that is not its contact's last."""
    answered_by = call.get("answered_by")
    if answered_by is None:
        return
    reason = "answered_by_machine" if answered_by == "machine" else None
    await db.contacts.update_one(
        {
            "call_id": {"$eq": call["_id"], "$type": "string"},
            "state": "done",
            "disposition": "answered",
            "reason": {"$in": [None, "answered_by_machine"]},
        },
        {"$set": {"answered_by": answered_by, "reason": reason, "updated_at": clock.now()}},
    )


async def mark_pending_canceled(campaign_id: str) -> None:
    """Cancel all contacts that still wait; live calls continue to their end."""
    waiting: Document = {"campaign_id": campaign_id, "state": "pending"}
    canceled = {"$set": {"state": "canceled", "updated_at": clock.now()}}
    while ids := await _batch_of_ids(waiting):
        await db.contacts.update_many({"_id": {"$in": ids}, "state": "pending"}, canceled)


async def claim_due_contacts(campaign_id: str) -> list[ClaimedContact]:
    """Claim the contacts whose process died or whose call's end was not reported: the lease is moved
    ahead, so that no other process checks them at the same time."""
    claimed = await leases.claim_due(
        db.contacts,
        "lease_until",
        next_at=lambda _: clock.after(_CLAIM_SECONDS),
        limit=_BATCH_MAX,
        where={"campaign_id": campaign_id, "state": {"$in": list(LIVE)}},
    )
    return cast(list[ClaimedContact], claimed)


# --- storage ------------------------------------------------------------------------------------

# One index for three queries: who is next, how many are in each category, and what they cost.
_TALLY: Final = Index(("campaign_id", "state", "disposition", "row", "cost_paise"))

database.declare(
    "contacts",
    indexes=[
        _TALLY,
        Index(("campaign_id", "row"), unique=True),
        Index(("campaign_id", "lease_until"), only_where={"lease_until": {"$type": "date"}}),
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


async def _batch_of_ids(where: Document) -> list[str]:
    """The ids of a batch: one write to 100,000 contacts would delay all others."""
    found = await db.contacts.find(where, {"_id": 1}, limit=_WRITTEN_MAX).to_list(None)
    return [contact["_id"] for contact in found]


async def _change(
    contact: ClaimedContact, states: Sequence[State], changes: Document, *, attempts: int = 0
) -> None:
    """Change a contact if its call is still the one that it was claimed with."""
    update: Document = {"$set": changes | {"updated_at": clock.now()}}
    if attempts:
        update["$inc"] = {"attempts": attempts}
    await db.contacts.update_one(
        {"_id": contact["_id"], "call_id": contact["call_id"], "state": {"$in": list(states)}},
        update,
    )
