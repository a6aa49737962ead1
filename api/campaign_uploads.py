"""Upload routes of campaigns: a list as a CSV file, its preview, its import and its refused rows."""

import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Form, Query, Request, Response, UploadFile
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, BeforeValidator, Field, model_validator

from api import downloads, middleware, problems
from api.campaign_answers import CreatedOut, ImportOut, created, import_out
from api.campaign_options import Days, Options, plan_of
from api.campaign_results import visible_campaign
from api.campaigns import CREATING
from api.dependencies import CurrentUser, PayingKey, may_change, may_see
from api.fields import RequestModel, blank_is_absent, require_each_field_once
from api.idempotency import Answer, Idempotent
from campaigns import contact_import, creation, imports, rejections
from campaigns.contact_import import Content, TooManyRows
from campaigns.imports import Import
from campaigns.phone_columns import ChosenBy, NoPhoneColumn
from campaigns.records import InvalidTransition
from core import texts
from core.csv_files import FileTooLarge, UnreadableFile
from core.errors import (
    BodyTooLarge,
    Forbidden,
    IdempotencyKeyReused,
    InvalidRequest,
    NotFound,
    TooManyRequests,
)
from users import User

router = APIRouter(prefix="/api/campaigns", tags=["campaigns"], route_class=problems.Route)
# The limit has some room for the other fields and the boundaries of the form.
_FORM_BYTES_MAX: Final = contact_import.FILE_BYTES_MAX + 64 * 1024

# So much of a file is in memory at a time.
_PIECE_BYTES: Final = 128 * 1024

middleware.allow_large_body("/api/campaigns/upload", _FORM_BYTES_MAX)
middleware.allow_large_body("/api/campaigns/preview", _FORM_BYTES_MAX)


# --- forms --------------------------------------------------------------------------------------


# The Swagger page offers a file to choose for `binary`.
File = Annotated[UploadFile, Field(json_schema_extra={"format": "binary"})]
PhoneColumn = Annotated[str | None, Field(max_length=200), BeforeValidator(blank_is_absent)]


def _texts() -> Iterator[str]:
    """The names of the options that are a text."""
    for name, schema in Options.model_json_schema()["properties"].items():
        if any(part.get("type") == "string" for part in (schema, *schema.get("anyOf", ()))):
            yield name


_TEXTS: Final = frozenset(_texts())
_NO_TEXTS: Final = frozenset({*Options.model_fields, "skip_called_within_days"}) - _TEXTS


def _as_in_json(value: Any) -> Any:
    """What a field that is no text is in JSON; itself where it is none, and then the field refuses it."""
    if isinstance(value, list) and len(value) == 1:  # of a field that may be sent several times
        return _as_in_json(value[0])
    if not isinstance(value, str) or texts.is_blank(value):
        return None if isinstance(value, str) else value
    try:
        return json.loads(value.lower() if value in ("True", "False") else value)
    except (ValueError, RecursionError):
        return value


def _from_form(values: Any) -> Any:
    """The fields of a form as they would stand in a body; those that were left blank are not there."""
    read = {n: _as_in_json(value) if n in _NO_TEXTS else value for n, value in dict(values).items()}
    return {
        name: value for name, value in read.items() if name == "name" or value not in (None, "")
    }


class UploadIn(Options):
    """A campaign whose numbers stand in a CSV file. A field that is left blank is not set; one that is
    no text is written as in a JSON body."""

    file: File
    phone_column: PhoneColumn = None
    skip_called_within_days: Days | None = None

    _read_form = model_validator(mode="before")(_from_form)


class PreviewIn(RequestModel):
    """A CSV file that is looked at."""

    file: File
    phone_column: PhoneColumn = None


class DialectOut(BaseModel):
    """How a file was read."""

    encoding: Literal["utf-8", "utf-16-le", "utf-16-be", "cp1252"]
    delimiter: str
    has_header: bool


class CandidateOut(BaseModel):
    """A column that may be meant, and how many numbers are in the first rows of it."""

    column: str
    numbers: int


class PreviewRowOut(BaseModel):
    """A row as it was read: `to` is its number, else `code` and `message` say why there is none."""

    row: int
    cells: list[str]
    to: str | None
    code: str | None
    message: str | None


class PreviewCountsOut(BaseModel):
    """What becomes of the rows. `refused` is by code; null while no column is chosen."""

    rows: int
    usable: int | None
    duplicates: int | None
    refused: dict[str, int]


class PreviewOut(BaseModel):
    """What would be read out of a file: `phone_column` is null, and `question` says why, when
    `candidates` are to be chosen from. Who may not be called, and who was called lately, is found when
    the list is uploaded."""

    dialect: DialectOut
    columns: list[str]
    phone_column: str | None
    chosen_by: ChosenBy | None
    candidates: list[CandidateOut]
    question: str | None
    rows: list[PreviewRowOut]
    counts: PreviewCountsOut


# --- routes -------------------------------------------------------------------------------------

_READING: Final = (FileTooLarge, UnreadableFile, TooManyRows, BodyTooLarge, InvalidRequest)


@router.post(
    "/preview",
    response_model=PreviewOut,
    responses=problems.documented(*_READING, TooManyRequests),
)
async def preview(
    request: Request,
    user: CurrentUser,
    form: Annotated[PreviewIn, Form(media_type="multipart/form-data")],
) -> PreviewOut:
    """What would be read out of a CSV file: its dialect, its columns, the column of the numbers, its
    first rows, and what becomes of all of them. Nothing is stored."""
    await require_each_field_once(request)
    content = await _content_of(form.file)
    found = await contact_import.preview_csv(
        content, user_id=user.id, phone_column=form.phone_column
    )
    dialect = DialectOut(**{name: found[name] for name in DialectOut.model_fields})  # type: ignore[literal-required]
    return PreviewOut(dialect=dialect, **found)


@router.post(
    "/upload",
    status_code=201,
    response_model=CreatedOut,
    responses={
        202: {"model": ImportOut, "description": "The list is read by a job"},
        **problems.documented(*CREATING, *_READING, IdempotencyKeyReused, NoPhoneColumn),
    },
)
async def upload_campaign(
    request: Request,
    user: CurrentUser,
    key: PayingKey,
    form: Annotated[UploadIn, Form(media_type="multipart/form-data")],
    once: Idempotent,
) -> Response:
    """Call everybody in a CSV file: UTF-8, its columns parted by `,` `;` tab or `|`, up to 500,000
    rows and 50 MiB. The numbers stand in `phone_column`, or else in the one column whose name or
    content says so; the answer says which. Two that may be meant are 422 with `candidates`.

    A file of more than 2 MiB is stored and read by a job: the answer is 202, and the campaign is a
    draft that nothing moves until the job is completed. What a small file is refused with is then the
    `error` of the job."""
    await require_each_field_once(request)

    async def work(seed: str) -> Answer:
        campaign = creation.plan_campaign(f"cmp_{seed}", user.id, plan_of(form, key))
        if (form.file.size or 0) > imports.FILE_BYTES_WAITED_FOR:
            job = await imports.create_import(
                campaign,
                _pieces_of(form.file),
                phone_column=form.phone_column,
                called_within_days=form.skip_called_within_days,
            )
            return Answer(202, import_out(job))
        rows = contact_import.read_csv_contacts(
            await _content_of(form.file), user_id=user.id, phone_column=form.phone_column
        )
        return await created(
            await creation.create_campaign(
                campaign, rows, called_within_days=form.skip_called_within_days
            )
        )

    digest = hashlib.sha256()
    async for piece in _pieces_of(form.file):
        digest.update(piece)
    digest.update(form.model_dump_json(exclude={"file"}).encode())
    return await once(user.id, work, fingerprint=digest.digest())


@router.get("/imports/{job_id}", response_model=ImportOut, responses=problems.documented(NotFound))
async def one_import(job_id: str, user: CurrentUser) -> ImportOut:
    """How far the job is that reads a list, and why it failed."""
    return import_out(await _visible_import(job_id, user))


@router.post(
    "/imports/{job_id}/cancel",
    response_model=ImportOut,
    responses=problems.documented(NotFound, Forbidden, InvalidTransition),
)
async def cancel_import(job_id: str, user: CurrentUser) -> ImportOut:
    """Read no more of a list, and delete its campaign."""
    job = await _visible_import(job_id, user)
    if not may_change(user, job["user_id"]):
        raise Forbidden("An operator looks at the imports of others and does not cancel them.")
    return import_out(await imports.cancel_import(job_id))


@router.get(
    "/{campaign_id}/rejected",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/csv": {}}, "description": "The CSV"},
        **problems.documented(NotFound),
    },
)
async def rejected_rows(
    campaign_id: str,
    user: CurrentUser,
    excel: Annotated[bool, Query(description="Begin with a byte order mark")] = False,
) -> StreamingResponse:
    """All rows of the list that are not called as CSV: `row`, `value`, `code` and `message`, then the
    columns of the file."""
    campaign = await visible_campaign(campaign_id, user)
    pieces = rejections.rejected_csv(
        campaign_id, campaign.get("columns", []), byte_order_mark=excel
    )
    return await downloads.attachment(pieces, f"{campaign_id}-rejected.csv")


async def _visible_import(job_id: str, user: User) -> Import:
    job = await imports.get_import(job_id)
    if not may_see(user, job["user_id"]):
        raise NotFound("There is no import with this id.")
    return job


async def _content_of(file: UploadFile) -> Content:
    """A file: its bytes, or the pieces of one that is too large to be held in memory."""
    if file.size is not None and file.size > _PIECE_BYTES:
        return _pieces_of(file)
    await file.seek(0)
    return await file.read()


async def _pieces_of(file: UploadFile) -> AsyncIterator[bytes]:
    await file.seek(0)
    while piece := await file.read(_PIECE_BYTES):
        yield piece
