"""Campaign contacts: their states, each claimed and called by one process at a time, and their counts."""

import asyncio
import dataclasses
import datetime as dt
import random
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import (
    Final,
    Generic,
    Literal,
    NamedTuple,
    NotRequired,
    TypedDict,
    TypeVar,
    cast,
    get_args,
)

from calls.records import Call
from campaigns.retries import Cause, Retry, Stop
from core import clock, database
from core.database import Document, Index, Transaction, Update, Write, db
from core.errors import Unavailable
from core.pagination import Order

# --- vocabulary ---------------------------------------------------------------------------------

State = Literal[
    "pending",  # waits for its turn
    "claimed",  # a process is placing its call, whose id it has already
    "in_call",  # the network was asked for its call, which is not over
    "retry_wait",  # it is called again at `due_at`
    "done",  # its last call ended, as the disposition says
    "skipped",  # it cannot be called, for the reason that is stored
    "exhausted",  # every attempt failed
    "expired",  # the campaign ended before it could be called (again)
    "canceled",  # the campaign was canceled before its turn, or its call before the answer
]
Disposition = Literal["answered", "no_answer", "busy", "failed"]

# The names of a campaign's counts, which are also the filter of its contacts.
ContactCategory = Literal[
    "pending",
    "in_call",
    "retry_wait",
    "answered",
    "no_answer",
    "busy",
    "failed",
    "skipped",
    "exhausted",
    "expired",
    "canceled",
]

LIVE: Final[tuple[State, ...]] = ("claimed", "in_call")
WAITING: Final[tuple[State, ...]] = ("pending", "retry_wait")
FINAL: Final[tuple[State, ...]] = ("done", "skipped", "exhausted", "expired", "canceled")


class Move(NamedTuple):
    """One row of the table of contacts: what happens, the states before, and the states after."""

    event: str
    before: tuple[State, ...]
    after: tuple[State, ...]


# Every change of a contact's state; `_View.move` refuses what is not in it.
MOVES: Final = (
    Move("claimed for a call", WAITING, ("claimed",)),
    Move("the network is about to be asked", ("claimed",), ("in_call",)),
    Move("nobody was called", LIVE, WAITING),
    Move("its number cannot be called", LIVE, ("skipped",)),
    Move("the campaign was canceled", WAITING, ("canceled",)),
    Move("the campaign has ended", (*WAITING, *LIVE), ("expired",)),
    Move("its owner calls the unreached again", ("done", "exhausted", "expired"), ("pending",)),
    Move("its call ended", LIVE, ("retry_wait", "done", "exhausted", "expired", "canceled")),
)

_BY_ROW: Final = Order((("row", int),), ascending=True)

# A process that claimed a contact asks the network well within this time, or has died.
_CLAIM_SECONDS: Final = 60
# How often the call of a contact is checked when no event reports its end.
_CALL_SECONDS: Final = 90
_BATCH_MAX: Final = 500
_WRITTEN_MAX: Final = 500
# So few of a list end in one commit that the contacts of others do not wait for it.
_ENDED_MAX: Final = 200

_DISPOSITIONS: Final[dict[str, Disposition]] = {
    "completed": "answered",
    "no_answer": "no_answer",
    "busy": "busy",
    "failed": "failed",
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
    disposition: Disposition | None  # of a contact that is done
    reason: str | None  # why it was skipped, failed, or waits
    attempts: int  # that the network accepted
    causes: NotRequired[list[Cause]]  # how those ended that may be repeated, the oldest first
    called_at: NotRequired[list[dt.datetime]]  # when they began
    due_at: NotRequired[dt.datetime | None]  # when it is called again
    lease_until: dt.datetime | None
    is_stalled: NotRequired[bool]  # its claim has run out: whoever holds it may not call any more
    answered_by: NotRequired[str | None]
    pressed: NotRequired[str | None]  # the meaning of the key that was pressed
    duration_seconds: int | None
    cost_paise: int  # of all its calls
    call_cost_paise: NotRequired[int]  # of the last one
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
    retry_wait: int = 0
    answered: int = 0
    no_answer: int = 0
    busy: int = 0
    failed: int = 0
    skipped: int = 0
    exhausted: int = 0
    expired: int = 0
    canceled: int = 0
    total: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class ContactTotals:
    """The totals of a campaign's contacts."""

    counts: Counts
    spent_paise: int = 0


class CountsRecord(TypedDict):
    """A document of `contact_counts`: the totals of a campaign, changed in the commit that changes a
    contact, and what its next claim depends on."""

    _id: str  # the campaign's id
    counts: dict[str, int]
    spent_paise: int
    turns: NotRequired[int]  # how many contacts were claimed: retries and others take turns
    paced_at: NotRequired[dt.datetime | None]  # up to when `calls_per_minute` is used up


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ClaimLimits:
    """What a campaign may dial at this moment; None is no limit."""

    max_concurrent: int | None = None
    calls_per_minute: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Claim:
    """The contacts that were claimed; where there are fewer than wanted, what limits them, and if a
    time ends that, which."""

    contacts: list[ClaimedContact]
    limited_by: Literal["contacts", "max_concurrent", "calls_per_minute"] | None = None
    until: dt.datetime | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CallEnd:
    """How the call of a contact ended."""

    status: str
    duration_seconds: int = 0
    cost_paise: int = 0
    answered_by: str | None = None
    reason: str | None = None
    pressed: str | None = None
    called_at: dt.datetime | None = None


# What follows on the end of a call that may be repeated: a rule of the campaign.
Decision = Callable[[Contact, Cause], Retry | Stop]


def never_again(contact: Contact, cause: Cause) -> Stop:
    """The decision of a campaign that calls each contact once."""
    return Stop("final")


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
    """Add rows to a campaign; a number that is in it already is not changed.

    While a list comes in its counts are only about right: `recount_contacts` ends that.
    """
    now = clock.now()
    people = [_new_contact(campaign_id, user_id, NewContact(*row), now) for row in rows]
    added = len(people)
    try:
        await db.contacts.insert_many(cast(list[Document], people), ordered=False)
    except database.AnyError as problem:
        if not database.is_duplicate(problem):
            raise
        added = database.inserted_count(problem)
    if added:
        await db.contact_counts.update_one(
            {"_id": campaign_id},
            {
                "$inc": {"counts.pending": added, "counts.total": added},
                "$setOnInsert": {"spent_paise": database.long(0)},
            },
            upsert=True,
        )


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


async def delete_contacts(campaign_id: str, *, behind_row: int = 0) -> None:
    """Delete the contacts of a campaign behind this row of its list, with the counts of all."""
    while ids := await _batch_of_ids({"campaign_id": campaign_id, "row": {"$gt": behind_row}}):
        await db.contacts.delete_many({"_id": {"$in": ids}})
    await db.contact_counts.delete_one({"_id": campaign_id})


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


async def find_next_number(campaign_id: str) -> str | None:
    """The number that the campaign calls next; None when nobody is left that was not called."""
    found = await db.contacts.find_one(
        {"campaign_id": campaign_id, "state": "pending", "disposition": None},
        {"to": 1},
        sort=[("row", 1)],
    )
    return None if found is None else str(found["to"])


async def find_next_retry(campaign_id: str) -> dt.datetime | None:
    """When the first contact that waits for another attempt is due; None when none waits."""
    found = await db.contacts.find_one(
        {"campaign_id": campaign_id, "due_at": {"$type": "date"}},
        {"due_at": 1},
        sort=[("due_at", 1)],
    )
    return None if found is None else cast(dt.datetime, found["due_at"])


async def has_contacts(campaign_id: str, states: Sequence[State]) -> bool:
    """Whether any of a campaign's contacts is in one of these states."""
    where = {"campaign_id": campaign_id, "state": {"$in": list(states)}}
    return await db.contacts.find_one(where, {"_id": 1}) is not None


# --- counts -------------------------------------------------------------------------------------


async def count_contacts(campaign_ids: Sequence[str]) -> dict[str, ContactTotals]:
    """The counts of each campaign's contacts and what they cost: one document a campaign."""
    found = db.contact_counts.find({"_id": {"$in": list(campaign_ids)}})
    records = {record["_id"]: record for record in await found.to_list(None)}
    return {
        campaign_id: _totals_of(cast("CountsRecord | None", records.get(campaign_id)))
        for campaign_id in campaign_ids
    }


def _totals_of(record: CountsRecord | None) -> ContactTotals:
    if record is None:
        return ContactTotals(Counts())
    known = {field.name for field in dataclasses.fields(Counts)}
    counts = Counts(**{name: n for name, n in record["counts"].items() if name in known})
    return ContactTotals(counts, int(record["spent_paise"]))


async def count_live_contacts(campaign_id: str) -> int:
    """How many of a campaign's contacts are being called."""
    return (await count_contacts([campaign_id]))[campaign_id].counts.in_call


async def recount_contacts(campaign_id: str) -> ContactTotals:
    """Count a campaign's contacts anew and store the result: when its list is complete, in a database
    of an older version, and for `verify_counts`. Nobody may be dialled meanwhile."""
    totals = await _counted_anew(campaign_id)
    await db.contact_counts.update_one(
        {"_id": campaign_id},
        {
            "$set": {
                "counts": dataclasses.asdict(totals.counts),
                "spent_paise": database.long(totals.spent_paise),
            }
        },
        upsert=True,
    )
    return totals


async def verify_counts(campaign_id: str) -> tuple[ContactTotals, ContactTotals]:
    """The counts as they are kept, and as they are when every contact is counted."""
    kept = (await count_contacts([campaign_id]))[campaign_id]
    return kept, await _counted_anew(campaign_id)


async def _counted_anew(campaign_id: str) -> ContactTotals:
    """One covered index scan over the contacts of a campaign."""
    with database.long_work():
        groups = db.contacts.aggregate(
            [
                {"$match": {"campaign_id": campaign_id}},
                {
                    "$group": {
                        "_id": {"state": "$state", "as": "$disposition"},
                        "count": {"$sum": 1},
                        "cost_paise": {"$sum": "$cost_paise"},
                    }
                },
            ],
            hint=_TALLY.name,
        )
        counts, spent_paise = Counts(), 0
        async for group in groups:
            name = _counted(group["_id"]["state"], group["_id"]["as"])
            setattr(counts, name, getattr(counts, name) + group["count"])
            counts.total += group["count"]
            spent_paise += int(group["cost_paise"])
    return ContactTotals(counts, spent_paise)


async def _count_old_campaigns() -> None:
    """Count the campaigns of a database that an older version wrote, once."""
    newest = None
    while True:
        where: Document = {} if newest is None else {"campaign_id": {"$gt": newest}}
        found = await db.contacts.find_one(
            where, {"campaign_id": 1}, sort=[("campaign_id", 1)], hint=_TALLY.name
        )
        if found is None:
            return
        newest = found["campaign_id"]
        if await db.contact_counts.find_one({"_id": newest}, {"_id": 1}) is None:
            await recount_contacts(newest)


database.migrate("contacts are counted in a document for each campaign", _count_old_campaigns)


# --- claims and results -------------------------------------------------------------------------


async def claim_contacts(
    campaign_id: str, count: int, limits: ClaimLimits | None = None
) -> list[ClaimedContact]:
    """`claim` without what limits it."""
    return (await claim(campaign_id, count, limits or ClaimLimits())).contacts


async def claim(campaign_id: str, count: int, limits: ClaimLimits) -> Claim:
    """Claim the next `count` contacts at most, as far as the limits allow; no other process gets them.

    Retries that are due and contacts that were not called take turns, so that while both wait each
    gets half. Each carries the id of the call that will be placed for it, stored before anything is
    dialled: after a crash another process can find out whether that call exists.
    """

    def fold(view: "_View") -> Claim:
        return _claimed(view, campaign_id, count, limits)

    return await _committer.ask(_Request(fold))


async def fence_contact(contact: ClaimedContact) -> bool:
    """Whether its network may be asked now: it still carries the call with which it was claimed, and
    the claim has not run out. From then on it is in a call. The last thing before the request."""

    def fold(view: "_View") -> bool:
        found = view.contact(contact["_id"])
        if found is None or not _is_of(found, contact["call_id"], ("claimed",)):
            return False
        lease_until = found["lease_until"]
        if found.get("is_stalled") or lease_until is None or lease_until <= clock.now():
            return False
        view.move(found, "in_call", lease_until=clock.after(_CALL_SECONDS))
        return True

    return await _committer.ask(_Request(fold, contact_id=contact["_id"]))


async def release_contact(
    contact: ClaimedContact,
    states: Sequence[State] = ("claimed",),
    *,
    due_at: dt.datetime | None = None,
    reason: str | None = None,
) -> bool:
    """Release a claim, because nobody was called: no attempt was used. With `due_at` it waits until
    then, for `reason`. False when it has another call, or none, by now."""

    def fold(view: "_View") -> bool:
        found = view.contact(contact["_id"])
        if found is None or not _is_of(found, contact["call_id"], states):
            return False
        _release(view, found, due_at, reason)
        return True

    return await _committer.ask(_Request(fold, contact_id=contact["_id"]))


async def release_contact_of_call(call_id: str, *, due_at: dt.datetime | None = None) -> bool:
    """Release the contact of a call that the network did not accept; False when no contact has this
    call (any more)."""

    def fold(view: "_View") -> bool:
        found = view.contact_of_call(call_id)
        if found is None or found["state"] not in LIVE:
            return False
        _release(view, found, due_at, None)
        return True

    return await _committer.ask(_Request(fold, call_id=call_id))


async def mark_in_call(contact: ClaimedContact) -> None:
    """Record that the network accepted its call, or that it still lasts: an attempt is used."""
    attempts = len(contact.get("causes", ())) + 1
    await database.write_together(
        Update(
            "contacts",
            {"_id": contact["_id"], "call_id": contact["call_id"], "state": "in_call"},
            {"$set": {"attempts": attempts, "lease_until": clock.after(_CALL_SECONDS)}},
        )
    )


async def mark_still_in_call(contact: ClaimedContact) -> None:
    """Record that the call of a stalled contact exists and lasts: it is checked again later."""

    def fold(view: "_View") -> None:
        found = view.contact(contact["_id"])
        if found is None or not _is_of(found, contact["call_id"], LIVE):
            return
        lease_until = clock.after(_CALL_SECONDS)
        if found["state"] == "claimed":
            view.move(found, "in_call", lease_until=lease_until)
        else:
            view.change(found, lease_until=lease_until)

    await _committer.ask(_Request(fold, contact_id=contact["_id"]))


async def mark_skipped(contact: ClaimedContact, reason: str) -> None:
    """Record that it cannot be called, now or later, and why."""

    def fold(view: "_View") -> None:
        found = view.contact(contact["_id"])
        if found is not None and _is_of(found, contact["call_id"], LIVE):
            view.move(found, "skipped", reason=reason, call_id=None, lease_until=None)

    await _committer.ask(_Request(fold, contact_id=contact["_id"]))


async def apply_call_end(call_id: str, end: CallEnd, decide: Decision = never_again) -> bool:
    """Record the end of a call on its contact; harmless when repeated, and for a call of no contact.
    `decide` says what follows where the call may be repeated.

    True when the end was recorded before and only its cost has changed: a person decided it later.
    """

    def fold(view: "_View") -> bool:
        found = view.contact_of_call(call_id)
        if found is None:
            return False
        if found["state"] in LIVE:
            _end_call(view, found, end, decide)
            return False
        more_paise = end.cost_paise - int(found.get("call_cost_paise", found["cost_paise"]))
        if found["state"] not in FINAL or more_paise <= 0:
            return False
        view.change(
            found,
            cost_paise=database.long(int(found["cost_paise"]) + more_paise),
            call_cost_paise=database.long(end.cost_paise),
            duration_seconds=end.duration_seconds,
        )
        return True

    return await _committer.ask(_Request(fold, call_id=call_id))


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


async def mark_pressed(call_id: str, meaning: str) -> None:
    """Record the meaning of the key that was pressed in the call of a contact."""
    await db.contacts.update_one(
        {"call_id": {"$eq": call_id, "$type": "string"}}, {"$set": {"pressed": meaning}}
    )


async def mark_pending_canceled(campaign_id: str, *, at_most: int | None = None) -> None:
    """Cancel the contacts that still wait, all of them or about `at_most`; live calls continue to their
    end."""
    await _end_waiting(campaign_id, "canceled", None, at_most)


async def mark_pending_expired(campaign_id: str) -> None:
    """End all contacts that still wait, because the campaign has ended; live calls continue."""
    await _end_waiting(campaign_id, "expired", "campaign_ended")


async def requeue_unreached(campaign_id: str) -> int:
    """Let all contacts wait for a call again that nobody was reached at, with all their attempts; how
    many they are. Those that were answered, skipped or canceled stay as they are."""
    unreached: Document = {
        "campaign_id": campaign_id,
        "$or": [
            {"state": "done", "disposition": {"$in": ["no_answer", "busy", "failed"]}},
            {"state": {"$in": ["exhausted", "expired"]}},
        ],
    }

    def fold(view: "_View") -> int:
        found = view.find(unreached)
        for contact in found:
            view.move(
                contact,
                "pending",
                disposition=None,
                reason=None,
                causes=[],
                due_at=None,
                call_id=None,
            )
        return len(found)

    total = 0
    while count := await _committer.ask(_Request(fold)):
        total += count
    return total


async def _end_waiting(
    campaign_id: str, state: State, reason: str | None, at_most: int | None = None
) -> None:
    def fold(view: "_View") -> int:
        where: Document = {"campaign_id": campaign_id, "state": {"$in": list(WAITING)}}
        waiting = view.find(where, limit=_ENDED_MAX)
        for contact in waiting:
            view.move(contact, state, reason=contact["reason"] or reason, due_at=None)
        return len(waiting)

    ended = 0
    while more := await _committer.ask(_Request(fold)):
        ended += more
        if at_most is not None and ended >= at_most:
            return


async def claim_stalled_contacts(limit: int = _BATCH_MAX) -> list[ClaimedContact]:
    """The contacts whose process died or whose call's end was not reported, for this caller alone for
    a while. Whoever had claimed them can no longer ask the network for their calls."""
    found = db.contacts.find(
        {"lease_until": {"$lte": clock.now(), "$type": "date"}},
        {"_id": 1},
        sort=[("lease_until", 1)],
        limit=limit,
    )
    ids = [contact["_id"] for contact in await found.to_list(None)]

    def fold_of(contact_id: str) -> Callable[["_View"], ClaimedContact | None]:
        def fold(view: "_View") -> ClaimedContact | None:
            contact = view.contact(contact_id)
            if contact is None or contact["state"] not in LIVE:
                return None
            lease_until = contact["lease_until"]
            if lease_until is None or lease_until > clock.now():
                return None
            view.change(contact, lease_until=clock.after(_CLAIM_SECONDS), is_stalled=True)
            return cast(ClaimedContact, contact)

        return fold

    asked = [_committer.ask(_Request(fold_of(each), contact_id=each)) for each in ids]
    return [contact for contact in await asyncio.gather(*asked) if contact is not None]


# --- rules, on what a commit has read -----------------------------------------------------------


def _is_of(contact: Contact, call_id: str, states: Sequence[State]) -> bool:
    return contact["call_id"] == call_id and contact["state"] in states


def _release(
    view: "_View", contact: Contact, due_at: dt.datetime | None, reason: str | None
) -> None:
    waits = due_at is not None or bool(contact.get("causes"))
    view.move(
        contact,
        "retry_wait" if waits else "pending",
        due_at=(due_at or clock.now()) if waits else None,
        reason=reason,
        call_id=None,
        lease_until=None,
        attempts=len(contact.get("causes", ())),
    )


def _end_call(view: "_View", contact: Contact, end: CallEnd, decide: Decision) -> None:
    disposition = _DISPOSITIONS.get(end.status)
    is_machine = disposition == "answered" and end.answered_by == "machine"
    fields: Document = {
        "duration_seconds": end.duration_seconds,
        "cost_paise": database.long(int(contact["cost_paise"]) + end.cost_paise),
        "call_cost_paise": database.long(end.cost_paise),
        "answered_by": end.answered_by,
        "reason": "answered_by_machine" if is_machine else end.reason,
        "attempts": len(contact.get("causes", ())) + 1,
        "lease_until": None,
        "due_at": None,
    }
    if end.pressed is not None:
        fields["pressed"] = end.pressed
    if disposition is None:
        view.move(contact, "canceled", **fields)
        return
    if disposition == "answered" and not is_machine:
        view.move(contact, "done", disposition=disposition, **fields)
        return
    cause: Cause = "machine" if is_machine else cast(Cause, disposition)
    fields["causes"] = [*contact.get("causes", ()), cause]
    fields["called_at"] = [*contact.get("called_at", ()), end.called_at or clock.now()]
    follows = decide(cast(Contact, contact | fields), cause)
    if isinstance(follows, Retry):
        fields["reason"] = fields["reason"] or cause
        view.move(contact, "retry_wait", **(fields | {"due_at": follows.due_at}))
    elif follows.why == "final" or is_machine:
        view.move(contact, "done", disposition=disposition, **fields)
    else:
        fields["reason"] = fields["reason"] or cause
        view.move(contact, follows.why, **fields)


def _claimed(view: "_View", campaign_id: str, wanted: int, limits: ClaimLimits) -> Claim:
    record = view.record(campaign_id)
    allowed = _allowed(record, wanted, limits)
    if allowed.number == 0:
        return Claim([], allowed.limited_by, allowed.until)
    chosen = _next_contacts(view, campaign_id, allowed.number, record.get("turns", 0))
    lease_until = clock.after(_CLAIM_SECONDS)
    for contact in chosen:
        fields: Document = {"call_id": database.new_id("call"), "lease_until": lease_until}
        fields |= {"due_at": None, "is_stalled": False}
        view.move(contact, "claimed", **fields)
    if chosen:
        record["turns"] = record.get("turns", 0) + len(chosen)
        if limits.calls_per_minute is not None:
            record["paced_at"] = _paced_after(record, limits.calls_per_minute, len(chosen))
        view.store(record)
    limited_by: Literal["contacts"] | None = "contacts" if len(chosen) < allowed.number else None
    short = len(chosen) == allowed.number < wanted
    return Claim(
        cast(list[ClaimedContact], chosen),
        allowed.limited_by if short else limited_by,
        allowed.until if short else None,
    )


class _Allowed(NamedTuple):
    number: int
    limited_by: Literal["max_concurrent", "calls_per_minute"] | None = None
    until: dt.datetime | None = None


def _allowed(record: CountsRecord, wanted: int, limits: ClaimLimits) -> _Allowed:
    """How many contacts may be claimed, and what limits them to fewer than `wanted`."""
    best = _Allowed(wanted)
    if limits.max_concurrent is not None:
        free = max(0, limits.max_concurrent - record["counts"].get("in_call", 0))
        if free < best.number:
            best = _Allowed(free, "max_concurrent")
    if limits.calls_per_minute is not None:
        interval_seconds = 60 / limits.calls_per_minute
        since = _paced_from(record, interval_seconds)
        due = int((clock.now() - since).total_seconds() / interval_seconds)
        if due < best.number:
            until = clock.after((max(0, due) + 1) * interval_seconds, since=since)
            best = _Allowed(max(0, due), "calls_per_minute", until)
    return best


def _paced_from(record: CountsRecord, interval_seconds: float) -> dt.datetime:
    """`paced_at`, or at most a second before now, so that no burst of calls follows a pause."""
    earliest = clock.after(-max(1.0, interval_seconds))
    return max(earliest, record.get("paced_at") or earliest)


def _paced_after(record: CountsRecord, calls_per_minute: int, count: int) -> dt.datetime:
    interval_seconds = 60 / calls_per_minute
    return clock.after(count * interval_seconds, since=_paced_from(record, interval_seconds))


def _next_contacts(view: "_View", campaign_id: str, count: int, turns: int) -> list[Contact]:
    """Retries that are due and contacts that were not called, in turns."""
    due = view.find(
        {"campaign_id": campaign_id, "due_at": {"$lte": clock.now(), "$type": "date"}},
        sort=[("due_at", 1)],
        limit=count,
    )
    fresh = view.find(
        {"campaign_id": campaign_id, "state": "pending", "disposition": None},
        sort=[("row", 1)],
        limit=count,
    )
    chosen: list[Contact] = []
    while len(chosen) < count and (due or fresh):
        is_turn_of_due = (turns + len(chosen)) % 2 == 0
        first, second = (due, fresh) if is_turn_of_due else (fresh, due)
        chosen.append((first or second).pop(0))
    return chosen


# --- the commit of many changes -----------------------------------------------------------------

Answer = TypeVar("Answer")

_REQUESTS_MAX: Final = 256
_TRIES_MAX: Final = 40


@dataclasses.dataclass(frozen=True, slots=True)
class _Request(Generic[Answer]):
    """A change of contacts: `fold` says what it is, from what the commit has read."""

    fold: Callable[["_View"], Answer]
    contact_id: str | None = None
    call_id: str | None = None


class _View:
    """What one commit has read, with the changes that its requests have made so far."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._contacts: dict[str, Contact] = {}
        self._changes: dict[str, Document] = {}
        self._records: dict[str, CountsRecord] = {}
        self._stored: set[str] = set()
        self._more: dict[str, dict[str, int]] = {}

    def load(self, requests: Sequence[_Request[object]]) -> None:
        """Read the contacts that the requests name."""
        if ids := [each.contact_id for each in requests if each.contact_id is not None]:
            self._keep(self._transaction.find("contacts", {"_id": {"$in": ids}}))
        if calls := [each.call_id for each in requests if each.call_id is not None]:
            where: Document = {"call_id": {"$in": calls, "$type": "string"}}
            self._keep(self._transaction.find("contacts", where))

    def _keep(self, found: list[Document]) -> list[Contact]:
        return [
            self._contacts.setdefault(document["_id"], cast(Contact, document))
            for document in found
        ]

    def contact(self, contact_id: str) -> Contact | None:
        """A contact that was loaded."""
        return self._contacts.get(contact_id)

    def contact_of_call(self, call_id: str) -> Contact | None:
        """The contact that carries this call."""
        for contact in self._contacts.values():
            if contact["call_id"] == call_id:
                return contact
        return None

    def find(
        self, where: Document, *, sort: list[tuple[str, int]] | None = None, limit: int = 0
    ) -> list[Contact]:
        """The contacts that `where` finds and that no request of this commit has changed."""
        more = len(self._changes)
        found = self._transaction.find(
            "contacts", where, sort=sort, limit=(limit or _WRITTEN_MAX) + more
        )
        untouched = [each for each in found if each["_id"] not in self._changes]
        return self._keep(untouched[: limit or _WRITTEN_MAX])

    def record(self, campaign_id: str) -> CountsRecord:
        """The counts of a campaign, with the changes so far; read once in a commit."""
        if campaign_id not in self._records:
            found = self._transaction.find("contact_counts", {"_id": campaign_id})
            empty: Document = {"_id": campaign_id, "counts": {}, "spent_paise": 0}
            self._records[campaign_id] = cast(CountsRecord, found[0] if found else empty)
            for name, more in self._more.get(campaign_id, {}).items():
                self._add(self._records[campaign_id], name, more)
        return self._records[campaign_id]

    def store(self, record: CountsRecord) -> None:
        """Store what a claim has changed in the counts, beside the counts themselves."""
        self._stored.add(record["_id"])

    def move(self, contact: Contact, state: State, **fields: object) -> None:
        """Give a contact another state, if the table has such a change, and other fields."""
        before = contact["state"]
        assert any(before in row.before and state in row.after for row in MOVES), (before, state)
        self.change(contact, state=state, **fields)

    def change(self, contact: Contact, **fields: object) -> None:
        """Change fields of a contact, and the counts with them."""
        before, paid = counted_as(contact), int(contact["cost_paise"])
        contact.update(cast(Contact, fields | {"updated_at": clock.now()}))
        self._changes.setdefault(contact["_id"], {}).update(fields)
        after, campaign_id = counted_as(contact), contact["campaign_id"]
        if before != after:
            self._count(campaign_id, f"counts.{before}", -1)
            self._count(campaign_id, f"counts.{after}", 1)
        self._count(campaign_id, "spent_paise", int(contact["cost_paise"]) - paid)

    def _count(self, campaign_id: str, name: str, more: int) -> None:
        if more:
            sums = self._more.setdefault(campaign_id, {})
            sums[name] = sums.get(name, 0) + more
            if campaign_id in self._records:
                self._add(self._records[campaign_id], name, more)

    @staticmethod
    def _add(record: CountsRecord, name: str, more: int) -> None:
        first, _, second = name.partition(".")
        place = cast(Document, record["counts"] if second else record)
        place[second or first] = int(place.get(second or first, 0)) + more

    def writes(self) -> list[Write]:
        """The changes of the contacts, and of the counts of their campaigns."""
        now = {"updated_at": clock.now()}
        writes: list[Write] = [
            Update("contacts", {"_id": contact_id}, {"$set": fields | now})
            for contact_id, fields in self._changes.items()
        ]
        for campaign_id in sorted(self._more.keys() | self._stored):
            update: Document = {}
            if sums := {name: n for name, n in self._more.get(campaign_id, {}).items() if n}:
                update["$inc"] = {
                    name: n if name.startswith("counts.") else database.long(n)
                    for name, n in sums.items()
                }
            if campaign_id in self._stored:
                record = self._records[campaign_id]
                update["$set"] = {
                    "turns": record.get("turns", 0),
                    "paced_at": record.get("paced_at"),
                }
            if update:
                writes.append(Update("contact_counts", {"_id": campaign_id}, update))
        return writes


class _Committer:
    """Commits changes of contacts: all that wait go together, with the counts of their campaigns.

    Each batch reads what it needs and decides on that, in one transaction; when another process was
    first, it is decided again on what that left. So limits hold over all processes.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[_Request[object], asyncio.Future[object]]] = []
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def ask(self, request: _Request[Answer]) -> Answer:
        """Commit a change; what its fold answered. Raises Unavailable."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # the tests have a loop for each module
            self._loop, self._waiting, self._task = loop, [], None
        future: asyncio.Future[object] = loop.create_future()
        self._waiting.append((cast("_Request[object]", request), future))
        if self._task is None:
            self._task = loop.create_task(self._work())
            self._task.add_done_callback(self._refuse_when_cancelled)
        return cast(Answer, await future)

    def _refuse_when_cancelled(self, task: asyncio.Task[None]) -> None:
        """Nobody waits for ever, and whoever asks next is answered."""
        if task.cancelled():
            waiting, self._waiting, self._task = self._waiting, [], None
            for _, future in waiting:
                if not future.done():
                    future.set_exception(Unavailable("The service is stopping; try again."))

    async def _work(self) -> None:
        while self._waiting:
            await asyncio.sleep(0)  # those that are about to ask go along
            batch = self._waiting[:_REQUESTS_MAX]
            del self._waiting[:_REQUESTS_MAX]
            try:
                answers = await self._commit([request for request, _ in batch])
            except asyncio.CancelledError:
                self._waiting = [*batch, *self._waiting]
                raise
            except Exception as problem:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(problem)
                continue
            for (_, future), answer in zip(batch, answers, strict=True):
                if not future.done():
                    future.set_result(answer)
        self._task = None

    async def _commit(self, requests: Sequence[_Request[object]]) -> list[object]:
        for attempt in range(_TRIES_MAX):
            answers: list[object] = []
            try:
                async with database.transaction() as transaction:
                    await transaction.commit(lambda: _carry_out(transaction, requests, answers))  # noqa: B023
                return answers
            except database.AnyError as problem:
                if not database.is_transient(problem):
                    raise
            await asyncio.sleep(random.uniform(0, min(0.1, 0.001 * 2**attempt)))  # noqa: S311
        raise Unavailable("Too many changes of the same contacts; try again.")


def _carry_out(
    transaction: Transaction, requests: Sequence[_Request[object]], answers: list[object]
) -> None:
    view = _View(transaction)
    view.load(requests)
    answers[:] = [request.fold(view) for request in requests]
    if writes := view.writes():
        transaction.write_all(writes)


_committer: Final = _Committer()


# --- storage ------------------------------------------------------------------------------------

# One index for two queries: who is next, and how many are in each category with what they cost.
_TALLY: Final = Index(("campaign_id", "state", "disposition", "row", "cost_paise"))

database.declare(
    "contacts",
    indexes=[
        _TALLY,
        Index(("campaign_id", "row"), unique=True),
        Index(("campaign_id", "due_at"), only_where={"due_at": {"$type": "date"}}),
        Index(("lease_until",), only_where={"lease_until": {"$type": "date"}}),
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
database.declare("contact_counts")


async def _batch_of_ids(where: Document) -> list[str]:
    """The ids of a batch: one write to 100,000 contacts would delay all others."""
    found = await db.contacts.find(where, {"_id": 1}, limit=1_000).to_list(None)
    return [contact["_id"] for contact in found]
