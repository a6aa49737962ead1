"""Complaints of people who were called: kept with their evidence, and counted against India's limit.

Five complaints in ten days make a network act against a sender; a warning comes at three. What is
counted is what was received in the last ten days, for each user and for the platform as a whole,
because the networks know only the platform's numbers.
"""

import datetime as dt
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypedDict, cast

from compliance import do_not_call
from compliance.do_not_call import PLATFORM
from core import clock, csv_files, database
from core.database import Document, Index, db
from core.errors import NotFound
from core.pagination import Order, newest_first

# --- vocabulary ---------------------------------------------------------------------------------

WARNING_AT: Final = 3
LIMIT: Final = 5
COUNTED_DAYS: Final = 10
TEXT_LENGTH_MAX: Final = 2_000
_BATCH: Final = 500
_NEWEST: Final[Order] = newest_first("received_at")

Level = Literal["ok", "warning", "limit_reached"]


class Complaint(TypedDict):
    """A document of `complaints`. `owner`: whose call it is about, a user's id or PLATFORM.

    `evidence` is what was known when it was recorded: later changes do not reach it.
    """

    _id: str
    owner: str
    number: str
    source: str  # who passed it on: network, TRAI's app, the person, a regulator
    text: str
    received_at: dt.datetime
    recorded_at: dt.datetime
    recorded_by: str
    evidence: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Standing:
    """How many complaints came in the last ten days, and what follows."""

    count: int
    level: Level
    what_follows: str


# --- rules, without a database ------------------------------------------------------------------


def standing_of(count: int) -> Standing:
    """What so many complaints within ten days mean."""
    if count >= LIMIT:
        return Standing(
            count,
            "limit_reached",
            f"{count} complaints in {COUNTED_DAYS} days: at {LIMIT} the networks act against the "
            "sender, within 5 days. A first violation bars outgoing calls for 15 days, a repeated one "
            "takes all numbers for up to a year. Stop the campaigns concerned and check their lists.",
        )
    left = (
        f"{LIMIT - count} more within {COUNTED_DAYS} days and the networks act against the sender"
    )
    if count >= WARNING_AT:
        return Standing(
            count,
            "warning",
            f"Warning: {count} complaints in {COUNTED_DAYS} days, {left}. Look at what these calls "
            "have in common: list, consent, purpose, hours.",
        )
    return Standing(count, "ok", f"{count} in {COUNTED_DAYS} days; {left}.")


# --- verbs --------------------------------------------------------------------------------------


async def record_complaint(
    complaint_id: str,
    owner: str,
    number: str,
    *,
    source: str,
    text: str,
    received_at: dt.datetime,
    by: str,
    evidence: Mapping[str, Any],
) -> Complaint:
    """Note a complaint, once by its id, and put the number (E.164) on the do-not-call list of `owner`.

    The number first: whatever happens afterwards, nobody is called again.
    """
    await do_not_call.add_numbers(owner, [number], source="complaint", by=by)
    complaint: Complaint = {
        "_id": complaint_id,
        "owner": owner,
        "number": number,
        "source": source,
        "text": text,
        "received_at": received_at,
        "recorded_at": clock.now(),
        "recorded_by": by,
        "evidence": dict(evidence),
    }
    try:
        await db.complaints.insert_one(cast(Document, complaint))
    except database.DuplicateKey:
        return await get_complaint(complaint_id)
    return complaint


async def get_complaint(complaint_id: str, owner: str | None = None) -> Complaint:
    """A complaint with its evidence, of this owner (None: of anybody); NotFound when there is none."""
    where = {"_id": complaint_id} | ({} if owner is None else {"owner": owner})
    found = await db.complaints.find_one(where)
    if found is None:
        raise NotFound("There is no such complaint.")
    return cast(Complaint, found)


async def get_standing(owner: str | None, at: dt.datetime | None = None) -> Standing:
    """The complaints about a user's calls (None: about everybody's) that were received in the ten days
    before `at`."""
    moment = at or clock.now()
    since = moment - dt.timedelta(days=COUNTED_DAYS)
    where: Document = {"received_at": {"$gt": since, "$lte": moment}}
    if owner is not None:
        where["owner"] = owner
    return standing_of(await db.complaints.count_documents(where))


async def find_owners_at_limit(*, limit: int) -> list[tuple[str, int, dt.datetime]]:
    """Whose calls have reached the limit of complaints in the last ten days, those whose latest
    complaint is the oldest first: the owner, how many complaints, and when the latest one came.
    PLATFORM is there when all complaints together have reached it."""
    since = clock.now() - dt.timedelta(days=COUNTED_DAYS)
    of_all = {"_id": {"$literal": PLATFORM}}
    latest: Document = {"count": {"$sum": 1}, "latest": {"$max": "$received_at"}}
    reached: Document = {"$match": {"count": {"$gte": LIMIT}}}
    found = []
    for group in ({"_id": "$owner"}, of_all):
        rows = db.complaints.aggregate(
            [
                {"$match": {"received_at": {"$gt": since}}},
                {"$group": group | latest},
                reached,
                {"$sort": {"latest": 1, "_id": 1}},
                {"$limit": limit},
            ]
        )
        found += [(row["_id"], row["count"], row["latest"]) async for row in rows]
    return list({owner: (owner, count, at) for owner, count, at in found}.values())


async def list_complaints(
    owner: str | None, *, limit: int, cursor: str | None
) -> tuple[list[Complaint], str | None]:
    """A page of the complaints about a user's calls (None: everybody's), the latest first, without
    their evidence, and the next cursor."""
    where = {"$and": [{} if owner is None else {"owner": owner}, _NEWEST.behind(cursor)]}
    rows = db.complaints.find(where, {"evidence": 0}, sort=_NEWEST.sort, limit=limit + 1)
    return _NEWEST.cut(cast(list[Complaint], await rows.to_list(None)), limit)


async def find_complaints(number: str, owner: str | None, *, limit: int) -> list[Complaint]:
    """The complaints of one number (E.164), the latest first, without their evidence."""
    where = {"number": number} | ({} if owner is None else {"owner": owner})
    rows = db.complaints.find(where, {"evidence": 0}, sort=[("received_at", -1)], limit=limit)
    return cast(list[Complaint], await rows.to_list(None))


async def csv_of_complaints(owner: str | None) -> AsyncGenerator[str, None]:
    """The complaints as CSV, the latest first, times in India, in pieces."""
    yield csv_files.lines(
        [
            (
                "complaint_id",
                "user_id",
                "number",
                "source",
                "received_at_ist",
                "recorded_at_ist",
                "text",
            )
        ]
    )
    where = {} if owner is None else {"owner": owner}
    rows = db.complaints.find(where, {"evidence": 0}, sort=_NEWEST.sort)
    piece: list[Sequence[str]] = []
    async for row in rows:
        piece.append(_csv_row(cast(Complaint, row)))
        if len(piece) >= _BATCH:
            yield csv_files.lines(piece)
            piece = []
    if piece:
        yield csv_files.lines(piece)


def _csv_row(row: Complaint) -> Sequence[str]:
    times = [
        row[name].astimezone(clock.IST).strftime("%Y-%m-%d %H:%M:%S")
        for name in ("received_at", "recorded_at")
    ]
    whose = "" if row["owner"] == PLATFORM else row["owner"]
    text = csv_files.harmless(row["text"])
    return (row["_id"], whose, row["number"], csv_files.harmless(row["source"]), *times, text)


# --- storage ------------------------------------------------------------------------------------

database.declare(
    "complaints",
    indexes=[
        Index(("owner", "-received_at", "-_id")),
        Index(("-received_at", "-_id")),
        Index(("number", "-received_at")),
        Index(("owner", "number", "-received_at")),
    ],
)
