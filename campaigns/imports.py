"""Imports: large lists, stored as they come and read by a job that any process continues."""

import asyncio
import datetime as dt
import logging
from collections.abc import AsyncGenerator, AsyncIterable
from typing import Any, Final, Literal, NotRequired, TypedDict, cast

from campaigns import contact_import, contacts, creation, records, rejections
from campaigns.contact_import import ContactChunk
from campaigns.creation import Intake
from campaigns.records import InvalidTransition, NewCampaign
from core import clock, database, leases
from core.database import Document, Index, db
from core.errors import NotFound, Problem, TooManyRequests, Unavailable
from core.leases import Lease

log = logging.getLogger(__name__)

# --- vocabulary ---------------------------------------------------------------------------------

State = Literal[
    "queued",  # its file is stored
    "running",
    "finishing",  # all rows are stored; it can no longer be canceled
    "completed",  # the campaign is as if its list had come with the request
    "failed",  # `error` says why; there is no campaign
    "canceled",
]
_OPEN: Final[tuple[State, ...]] = ("queued", "running")

# Larger files are imported by a job, smaller ones while their request waits.
FILE_BYTES_WAITED_FOR: Final = 2 * 1024 * 1024
OPEN_PER_USER_MAX: Final = 3
_RETRY_SECONDS: Final = 5.0
_LEASE_SECONDS: Final = 20.0
_CHUNKS_PER_PROGRESS: Final = 4
# So often in a row it is begun without getting any further.
_ATTEMPTS_MAX: Final = 10
_KEPT_DAYS: Final = 90
_FILE_KEPT_DAYS: Final = 7


class Import(TypedDict):
    """A document of `imports`: a list that is read into a campaign, and how far that is."""

    _id: str
    campaign_id: str
    user_id: str
    state: State
    campaign: NewCampaign  # what was asked for
    phone_column: str | None
    called_within_days: int | None
    file_bytes: int
    done_row: int  # the rows of the file up to this one are stored
    rows_done: int
    rows_total: int | None  # None until the file was read once
    usable: int
    refused: dict[str, int]  # rows, by code
    error: dict[str, Any] | None  # the problem of a failed one
    attempts: int  # since it got further
    created_at: dt.datetime
    updated_at: dt.datetime
    ended_at: dt.datetime | None
    lease_until: dt.datetime | None  # when a process may continue it; None: nothing is left to do
    lease_owner: NotRequired[str | None]


class ImportPiece(TypedDict):
    """A document of `import_files`: a piece of a file that waits to be read."""

    _id: str  # the import's id and the place of the piece
    import_id: str
    place: int
    content: bytes
    created_at: dt.datetime


class ImportStopped(Problem):
    """The list was begun several times and could not be read to its end."""

    code, status, title = "import_stopped", 422, "Import stopped"


# --- verbs --------------------------------------------------------------------------------------


async def create_import(
    campaign: NewCampaign,
    content: AsyncIterable[bytes],
    *,
    phone_column: str | None,
    called_within_days: int | None,
) -> Import:
    """Store a file and the job that makes this planned campaign of it.

    For a campaign whose import exists already, returns that one. Raises what `create_campaign` raises
    before the list is read, and TooManyRequests while `OPEN_PER_USER_MAX` lists of this user wait.
    """
    import_id = f"imp_{campaign['_id'].removeprefix('cmp_')}"
    known = await db.imports.find_one({"_id": import_id})
    if known is not None:
        return cast(Import, known)
    await creation.check_campaign(campaign)
    await _require_room(campaign["user_id"])
    now = clock.now()
    record: Import = {
        "_id": import_id,
        "campaign_id": campaign["_id"],
        "user_id": campaign["user_id"],
        "state": "queued",
        "campaign": campaign,
        "phone_column": phone_column,
        "called_within_days": called_within_days,
        "file_bytes": await _store_file(import_id, content),
        "done_row": 0,
        "rows_done": 0,
        "rows_total": None,
        "usable": 0,
        "refused": {},
        "error": None,
        "attempts": 0,
        "created_at": now,
        "updated_at": now,
        "ended_at": None,
        # If this process dies now, another one makes the draft.
        "lease_until": clock.after(_RETRY_SECONDS),
    }
    await db.imports.insert_one(cast(Document, record))
    await records.create_draft(campaign, import_id=import_id)
    await db.imports.update_one({"_id": import_id}, {"$min": {"lease_until": clock.now()}})
    return record


async def get_import(import_id: str) -> Import:
    """The import; NotFound when there is none (any more)."""
    found = await db.imports.find_one({"_id": import_id})
    if found is None:
        raise NotFound("There is no import with this id.")
    return cast(Import, found)


async def find_import(import_id: str) -> Import | None:
    """The import; None when there is none (any more)."""
    return cast("Import | None", await db.imports.find_one({"_id": import_id}))


async def cancel_import(import_id: str) -> Import:
    """Cancel an import; its campaign is deleted. Harmless when repeated. Raises InvalidTransition when
    it is over otherwise, or as good as over."""
    ended: Document = {"state": "canceled", "ended_at": clock.now(), "lease_owner": None}
    # Cleaned up when the process that reads it has noticed.
    ended |= {"lease_until": clock.after(_LEASE_SECONDS), "updated_at": clock.now()}
    await db.imports.update_one({"_id": import_id, "state": {"$in": list(_OPEN)}}, {"$set": ended})
    found = await get_import(import_id)
    if found["state"] != "canceled":
        raise InvalidTransition(
            f"The import is {found['state']}; it cannot be canceled now.",
            import_state=found["state"],
        )
    return found


async def continue_due_import() -> None:
    """Continue the import that waits the longest, to its end or until this process ends: a job."""
    for import_id in await leases.due_ids(db.imports, "lease_until", limit=1):
        lease = await leases.acquire(db.imports, import_id, seconds=_LEASE_SECONDS)
        if lease is not None:
            await _continue(lease)


# --- one import ---------------------------------------------------------------------------------


async def _continue(lease: Lease) -> None:
    await db.imports.update_one(lease.mine, {"$inc": {"attempts": 1}})
    record = await get_import(lease.document_id)
    again_at: dt.datetime | None = clock.now()
    try:
        async with leases.renewing(lease.renew, seconds=lease.seconds):
            if record["state"] in ("completed", "failed", "canceled"):
                await _clean_up(record)
                again_at = None
            else:
                await _read(record, lease)
    except Exception as problem:
        again_at = await _after(problem, record, lease)
    finally:
        # Shielded: a process that is stopped gives it to the next one at once.
        free = {"$set": {"lease_until": again_at, "lease_owner": None}}
        await asyncio.shield(db.imports.update_one(lease.mine, free))


async def _after(problem: Exception, record: Import, lease: Lease) -> dt.datetime:
    """What follows from an exception: the import has failed, or is begun again at this moment."""
    is_final = isinstance(problem, Problem) and problem.status < 500
    if not is_final and record["attempts"] < _ATTEMPTS_MAX:
        log.warning("import %s: %s; it is continued", record["_id"], type(problem).__name__)
        return clock.after(_RETRY_SECONDS)
    if not isinstance(problem, Problem) or not is_final:
        trace = None if database.is_away(problem) else problem
        log.error("import %s was begun too often", record["_id"], exc_info=trace)
        problem = ImportStopped(
            "The list could not be read to its end; check it and send it again."
        )
    log.info("import %s failed: %s", record["_id"], problem.code)
    failed = {"state": "failed", "error": problem.body(), **_ended()}
    await db.imports.update_one(lease.mine, {"$set": failed})
    return clock.now()


async def _read(record: Import, lease: Lease) -> None:
    """Store the rows that are not stored yet, and launch the campaign."""
    campaign_id, import_id = record["campaign_id"], record["_id"]
    if await records.find_campaign(campaign_id) is not None:  # a process died behind the launch
        await db.imports.update_one(lease.mine, {"$set": {"state": "completed", **_ended()}})
        return
    await records.create_draft(record["campaign"], import_id=import_id)
    # A process that died may have stored rows that it did not count.
    await contacts.delete_contacts(campaign_id, behind_row=record["done_row"])
    await rejections.delete_rejections(campaign_id, behind_row=record["done_row"])
    intake = await creation.open_intake(record["campaign"], record["called_within_days"])
    progress = _Progress(intake, done_row=record["done_row"])
    chunks = contact_import.read_stored_contacts(
        _file_of(record), phone_column=record["phone_column"]
    )
    async for chunk in chunks:
        usable = await intake.take(chunk)
        if _last_row(chunk) <= record["done_row"]:
            continue  # stored by a process that died, and only counted again
        await creation.store_rows(record["campaign"], usable, intake.refused)
        progress.add(chunk)
        if not progress.waiting % _CHUNKS_PER_PROGRESS and not await progress.stored(lease):
            return  # canceled, or another process has it
    intake.require_somebody()
    if await progress.stored(lease, state="finishing"):
        await records.launch_campaign(campaign_id, intake.fields())
        log.info(
            "import %s: %d to call, %d refused", import_id, intake.count, intake.rejected_count
        )
        await db.imports.update_one(lease.mine, {"$set": {"state": "completed", **_ended()}})


class _Progress:
    """How far an import is."""

    def __init__(self, intake: Intake, *, done_row: int) -> None:
        self._intake, self._row = intake, done_row
        self._total: int | None = None
        self.waiting = 0  # chunks since it was stored

    def add(self, chunk: ContactChunk) -> None:
        """Note a chunk that was stored."""
        self._row, self._total = _last_row(chunk), chunk.rows_total
        self.waiting += 1

    async def stored(self, lease: Lease, *, state: State = "running") -> bool:
        """Store it; False when this process no longer has the import."""
        usable, refused = self._intake.count, self._intake.rejected_by_code
        fields: Document = {"state": state, "done_row": self._row, "usable": usable}
        fields |= {"rows_done": usable + sum(refused.values()), "refused": refused}
        fields |= {"attempts": 0, "updated_at": clock.now()}
        if self._total is not None:
            fields["rows_total"] = self._total
        mine = await db.imports.update_one(lease.mine, {"$set": fields})
        self.waiting = 0
        return mine.matched_count > 0


def _last_row(chunk: ContactChunk) -> int:
    usable = chunk.usable[-1][0] if chunk.usable else 0
    return max(usable, chunk.rejected[-1].row if chunk.rejected else 0)


def _ended() -> Document:
    return {"ended_at": clock.now(), "updated_at": clock.now()}


async def _clean_up(record: Import) -> None:
    """Delete the file, and the campaign that did not come about with its rows."""
    if record["state"] != "completed":
        await records.delete_draft(record["campaign_id"])
    where = {"import_id": record["_id"]}
    while piece := await db.import_files.find_one(where, {"_id": 1}):
        await db.import_files.delete_one({"_id": piece["_id"]})


async def _require_room(user_id: str) -> None:
    waiting = {"user_id": user_id, "state": {"$in": list(_OPEN)}}
    if await db.imports.count_documents(waiting, limit=OPEN_PER_USER_MAX) < OPEN_PER_USER_MAX:
        return
    raise TooManyRequests(
        f"{OPEN_PER_USER_MAX} lists of yours are being imported; try again when one is done.",
        headers={"Retry-After": "10"},
        retry_after_seconds=10,
    )


# --- files --------------------------------------------------------------------------------------


async def _store_file(import_id: str, content: AsyncIterable[bytes]) -> int:
    """Store a file in pieces; its size. A piece that is there already is the same: the same request was
    repeated."""
    size = place = 0
    async for piece in content:
        stored: ImportPiece = {
            "_id": _piece_id(import_id, place),
            "import_id": import_id,
            "place": place,
            "content": piece,
            "created_at": clock.now(),
        }
        try:
            await db.import_files.insert_one(cast(Document, stored))
        except database.DuplicateKey:
            log.info("import %s: piece %d was stored before", import_id, place)
        size, place = size + len(piece), place + 1
    return size


async def _file_of(record: Import) -> AsyncGenerator[bytes, None]:
    """The pieces of a file. Raises Unavailable when one is missing."""
    size = place = 0
    while size < record["file_bytes"]:
        piece = await db.import_files.find_one({"_id": _piece_id(record["_id"], place)})
        if piece is None:
            raise Unavailable("The file is no longer stored.")
        yield piece["content"]
        size, place = size + len(piece["content"]), place + 1


def _piece_id(import_id: str, place: int) -> str:
    return f"{import_id}:{place:05d}"


# --- storage ------------------------------------------------------------------------------------

database.declare(
    "imports",
    indexes=[
        Index(("lease_until",), only_where={"lease_until": {"$type": "date"}}),
        Index(("user_id", "state")),
        Index(("updated_at", "user_id")),  # for live events
        Index(("ended_at",), expire_seconds=_KEPT_DAYS * 86_400),
    ],
)
database.declare(
    "import_files",
    indexes=[
        Index(("import_id",)),
        Index(("created_at",), expire_seconds=_FILE_KEPT_DAYS * 86_400),
    ],
)
