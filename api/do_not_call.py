"""Do-not-call routes: add, remove, erase, upload, download, search."""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Form, Query, Request, Response, UploadFile
from fastapi.responses import StreamingResponse
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from api import downloads, fields, middleware, problems
from api.dependencies import CurrentUser, Page, may_change, may_see
from api.fields import Instant, RequestModel
from api.idempotency import Answer, Idempotent
from auth import audit_log
from auth.audit_log import Target
from campaigns import contact_import
from campaigns.contact_import import TooManyRows
from campaigns.phone_columns import NoPhoneColumn
from compliance import do_not_call
from compliance.do_not_call import PLATFORM, Listing
from core import clock, texts
from core.csv_files import FileTooLarge, UnreadableFile
from core.errors import (
    Forbidden,
    IdempotencyKeyReused,
    InvalidCursor,
    InvalidRequest,
    NotFound,
    TooManyRequests,
    invalid,
)
from core.phone_numbers import InvalidNumber
from users import User

router = APIRouter(prefix="/api/do-not-call", tags=["do not call"], route_class=problems.Route)

_NUMBERS_MAX: Final = 1_000
_REJECTED_SHOWN_MAX: Final = 100

middleware.allow_large_body("/api/do-not-call/upload", contact_import.FILE_BYTES_MAX + 64 * 1024)

# --- shapes -------------------------------------------------------------------------------------

WhichList = Literal["own", "platform"]

_Source = Annotated[
    str, Field(strict=True, min_length=1, max_length=100), AfterValidator(texts.required)
]
_Note = Annotated[str, Field(max_length=do_not_call.NOTE_LENGTH_MAX), AfterValidator(texts.trimmed)]
_blank = BeforeValidator(fields.blank_is_absent)


class NumbersIn(RequestModel):
    """Numbers that are not to be called: one, or up to 1,000. `list` `platform` is for admins and holds
    for everybody; `source` says where the wish comes from."""

    number: fields.Phone | None = None
    numbers: Annotated[list[fields.Phone], Field(default_factory=list, max_length=_NUMBERS_MAX)]
    list: WhichList = "own"
    source: _Source = "manual"
    note: _Note = ""


class EraseIn(RequestModel):
    """A number whose owner wants it forgotten, and not called."""

    number: fields.Phone
    list: WhichList = "own"


class UploadIn(RequestModel):
    """A CSV file of numbers that are not to be called."""

    # The Swagger page offers a file to choose for `binary`.
    file: Annotated[UploadFile, Field(json_schema_extra={"format": "binary"})]
    phone_column: Annotated[str | None, Field(max_length=200), _blank] = None
    list: Annotated[WhichList | None, _blank] = None
    note: _Note = ""


class RejectedOut(BaseModel):
    """What is no number. `row` is the line of the file, or the position in the request, from 1 on."""

    row: int
    value: str
    code: str
    message: str


class AddedOut(BaseModel):
    """What became of the numbers. Of the rejected ones the first hundred are shown."""

    added: int
    already_listed: int
    rejected_count: int
    rejected: list[RejectedOut]


class ListingOut(BaseModel):
    """A number on a list. An erased one is null: only a keyed hash of it is kept."""

    number: str | None
    list: WhichList
    source: str
    note: str
    added_at: Instant
    added_by: str
    erased_at: Instant | None


class ListingsOut(BaseModel):
    """A page of a list, newest first; by number where a search was asked for."""

    numbers: list[ListingOut]
    next_cursor: str | None


# --- routes -------------------------------------------------------------------------------------

_List = Annotated[WhichList, Query(alias="list")]
_OfUser = Annotated[
    str | None, Query(max_length=100, description="Whose list, for operators and admins")
]


@router.get("", response_model=ListingsOut, responses=problems.documented(InvalidCursor))
async def list_numbers(
    user: CurrentUser,
    page: Page,
    which: _List = "own",
    search: Annotated[
        str | None, Query(min_length=1, max_length=20, pattern=r"^\+?[0-9]+$")
    ] = None,
    user_id: _OfUser = None,
) -> ListingsOut:
    """The numbers that are not called: one's own list; for operators and admins also the platform's,
    and any user's. `search`: those that begin with these digits, country code first."""
    owner = _readable(user, which, user_id)
    found, next_cursor = await do_not_call.list_numbers(
        owner, search=search, limit=page.limit, cursor=page.cursor
    )
    return ListingsOut(numbers=[_out(one) for one in found], next_cursor=next_cursor)


@router.post(
    "",
    status_code=201,
    response_model=AddedOut,
    responses=problems.documented(InvalidRequest, InvalidNumber),
)
async def add_numbers(user: CurrentUser, body: NumbersIn, once: Idempotent) -> Response:
    """Put numbers on the list: from now on no call and no campaign of yours dials them. What is on it
    already keeps its source and time."""
    owner = _writable(user, body.list)
    given = [*([] if body.number is None else [body.number]), *body.numbers]
    if not given:
        raise invalid("numbers", "send at least one number")

    async def work(_: str) -> Answer:
        usable, rejected = _read(given)
        if not usable:
            raise InvalidNumber(rejected[0].message, reason=rejected[0].code)
        added = await do_not_call.add_numbers(
            owner, usable, source=body.source, by=user.email, note=body.note
        )
        _describe("do_not_call.add", body.list, added=added.added)
        return Answer(201, _added(added.added, added.already_listed, rejected))

    return await once(user.id, work)


@router.delete(
    "",
    status_code=204,
    response_model=None,
    responses=problems.documented(NotFound, InvalidNumber),
)
async def remove_number(
    user: CurrentUser,
    number: Annotated[str, Query(min_length=1, max_length=40)],
    which: _List = "own",
) -> Response:
    """Take a number off the list; it may be called again."""
    owner = _writable(user, which)
    await do_not_call.remove_number(owner, fields.number_of(number))
    _describe("do_not_call.remove", which, number=number)
    return Response(status_code=204)


@router.post("/erase", response_model=ListingOut, responses=problems.documented(InvalidNumber))
async def erase_number(user: CurrentUser, body: EraseIn) -> ListingOut:
    """Keep only a keyed hash of a number: it is still not called, and nobody can read it here."""
    owner = _writable(user, body.list)
    found = await do_not_call.erase_number(owner, fields.number_of(body.number), by=user.email)
    _describe("do_not_call.erase", body.list)
    return _out(found)


@router.post(
    "/upload",
    status_code=201,
    response_model=AddedOut,
    responses=problems.documented(
        InvalidRequest,
        FileTooLarge,
        UnreadableFile,
        NoPhoneColumn,
        TooManyRows,
        TooManyRequests,
        IdempotencyKeyReused,
    ),
)
async def upload_numbers(
    request: Request,
    user: CurrentUser,
    form: Annotated[UploadIn, Form(media_type="multipart/form-data")],
    once: Idempotent,
) -> Response:
    """Put all numbers of a CSV file on the list: the one column that holds telephone numbers, or
    `phone_column`."""
    await fields.require_each_field_once(request)
    which: WhichList = form.list or "own"
    owner = _writable(user, which)
    content = await form.file.read()

    async def work(_: str) -> Answer:
        added, listed, rejected = 0, 0, list[RejectedOut]()
        async for chunk in contact_import.read_csv_contacts(
            content, user_id=user.id, phone_column=form.phone_column
        ):
            done = await do_not_call.add_numbers(
                owner,
                [row[1] for row in chunk.usable],
                source="upload",
                by=user.email,
                note=form.note,
            )
            added, listed = added + done.added, listed + done.already_listed
            rejected += [
                RejectedOut(row=one.row, value=one.value, code=one.code, message=one.message)
                for one in chunk.rejected
            ]
        _describe("do_not_call.upload", which, added=added)
        return Answer(201, _added(added, listed, rejected))

    digest = await asyncio.to_thread(hashlib.sha256, content)
    digest.update(form.model_dump_json(exclude={"file"}).encode())
    return await once(user.id, work, fingerprint=digest.digest())


@router.get(
    "/download",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/csv": {}}, "description": "The CSV"}},
)
async def download_numbers(
    user: CurrentUser, which: _List = "own", user_id: _OfUser = None
) -> StreamingResponse:
    """The whole list as CSV, newest first."""
    owner = _readable(user, which, user_id)
    name = f"do-not-call-{which}-{clock.ist_date(clock.now())}.csv"
    return await downloads.attachment(do_not_call.csv_of_list(owner), name)


# --- whose list ---------------------------------------------------------------------------------


def _readable(user: User, which: WhichList, user_id: str | None) -> str:
    """The owner of the list that is asked for. Raises Forbidden."""
    owner = PLATFORM if which == "platform" else user_id or user.id
    if not may_see(user, owner):
        raise Forbidden("This needs the role operator or admin.")
    return owner


def _writable(user: User, which: WhichList) -> str:
    """The same, for a change. Raises Forbidden."""
    owner = PLATFORM if which == "platform" else user.id
    if not may_change(user, owner):
        raise Forbidden("This needs the role admin.")
    return owner


def _describe(action: str, which: WhichList, **after: object) -> None:
    audit_log.describe(action, Target("do_not_call", which), after=after)


# --- how numbers are read and shown -------------------------------------------------------------


def _read(given: Sequence[str]) -> tuple[list[str], list[RejectedOut]]:
    usable: list[str] = []
    rejected: list[RejectedOut] = []
    for row, text in enumerate(given, 1):
        try:
            usable.append(fields.number_of(text))
        except InvalidNumber as refusal:
            rejected.append(
                RejectedOut(row=row, value=text, code="invalid_number", message=refusal.detail)
            )
    return usable, rejected


def _added(added: int, listed: int, rejected: Sequence[RejectedOut]) -> AddedOut:
    return AddedOut(
        added=added,
        already_listed=listed,
        rejected_count=len(rejected),
        rejected=list(rejected[:_REJECTED_SHOWN_MAX]),
    )


def _out(one: Listing) -> ListingOut:
    return ListingOut(
        number=one["number"],
        list="platform" if one["owner"] == PLATFORM else "own",
        source=one["source"],
        note=one["note"],
        added_at=one["added_at"],
        added_by=one["added_by"],
        erased_at=one["erased_at"],
    )
