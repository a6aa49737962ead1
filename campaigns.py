"""Campaigns over HTTP: created from a list, watched, paused and resumed, their results as CSV."""

import asyncio
import datetime as dt
import hashlib
from collections.abc import AsyncGenerator
from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

import api
import campaignbook
import clock
import contacts
import history
import intake
import money
import phonebook
from auth import CurrentUser, Instant
from calls import MachineDetection
from campaignbook import InvalidTransition, PauseReason, Status
from contacts import Contact, Counted, Counts, Tally
from database import Document
from errors import (
    PAYMENT_REQUIRED,
    BodyTooLarge,
    IdempotencyKeyReused,
    InvalidCursor,
    InvalidRequest,
    NotFound,
    Problem,
    StillRunning,
    Unauthenticated,
    Unavailable,
)
from intake import CampaignIn, NoUsableRow, UploadIn
from money import RupeesOut
from phonebook import NoPhoneColumn, TooManyRows
from sheets import UnreadableFile
from telephony.numbers import DestinationNotAllowed, InvalidNumber
from users import User

# --- vocabulary ---------------------------------------------------------------------------------

_LIST_BYTES_MAX: Final = 4 * 1024 * 1024
_RESULT_ROWS: Final = 100

api.allow_large_body("/api/campaigns", _LIST_BYTES_MAX)
# The other fields and the boundaries of the form need some room beside the file.
api.allow_large_body("/api/campaigns/upload", phonebook.FILE_BYTES_MAX + 64 * 1024)


class RejectedOut(BaseModel):
    """A row that is not called. `row` is the line of the file, or the position in the list."""

    row: int
    value: str
    code: str
    message: str


class CampaignOut(BaseModel):
    """A campaign as its owner sees it."""

    campaign_id: str
    user_id: str
    name: str
    status: Status
    pause_reason: PauseReason | None
    counts: Counts
    spent: RupeesOut
    budget: RupeesOut | None = Field(None, description="There are no budgets yet: always null")
    rejected_count: int
    message: str | None
    audio_url: str | None
    connect_to: str | None
    max_duration_seconds: int | None
    machine_detection: MachineDetection | None = None
    max_concurrent: int
    calls_per_minute: int | None
    start_at: Instant | None
    created_at: Instant
    started_at: Instant | None
    completed_at: Instant | None


class CreatedOut(CampaignOut):
    """A campaign that was created, and the rows of its list that are not called."""

    rejected: list[RejectedOut]


class CampaignsOut(BaseModel):
    """A page of campaigns, newest first."""

    campaigns: list[CampaignOut]
    next_cursor: str | None


class ContactsOut(BaseModel):
    """A page of contacts, in the order of the list."""

    contacts: list[Contact]
    next_cursor: str | None


# --- verbs --------------------------------------------------------------------------------------


async def results_of(campaign_id: str, *, byte_order_mark: bool) -> AsyncGenerator[str, None]:
    """What became of everybody on the list as CSV (RFC 4180), a piece a batch: constant memory."""
    head = (history.BYTE_ORDER_MARK if byte_order_mark else "") + history.lines([list(_RESULT)])
    rows: list[list[str]] = []
    async for contact in contacts.everyone(campaign_id):
        rows.append(_result(contact))
        if len(rows) >= _RESULT_ROWS:
            yield head + history.lines(rows)
            head, rows = "", []
    if head or rows:
        yield head + history.lines(rows)


_RESULT: Final = (
    *("row", "to", "state", "reason", "attempts", "call_id"),
    *("duration_seconds", "cost", "updated_at"),
)


def _result(contact: Document) -> list[str]:
    duration = contact["duration_seconds"]
    return [
        str(contact["row"]),
        history.harmless(contact["to"]),
        contacts.counted(contact),
        history.harmless(contact["reason"] or ""),
        str(contact["attempts"]),
        contact["call_id"] or "",
        "" if duration is None else str(duration),
        money.text(contact["cost_paise"]),
        clock.iso(contact["updated_at"]),
    ]


async def _shown(campaigns: list[Document]) -> list[CampaignOut]:
    """Campaigns as their owner sees them; of those that can still change the contacts are counted."""
    counted = await contacts.tally([c["_id"] for c in campaigns if c["counts"] is None])
    return [CampaignOut(**_fields(c, counted.get(c["_id"]))) for c in campaigns]


def _fields(campaign: Document, counted: Tally | None) -> dict[str, Any]:
    same = {n: campaign[n] for n in CampaignOut.model_fields if n in campaign}
    if counted is not None:
        same["counts"] = counted.counts
    spent_paise = campaign["spent_paise"] if counted is None else counted.spent_paise
    return same | {"campaign_id": campaign["_id"], "spent": spent_paise}


# --- routes -------------------------------------------------------------------------------------

router = APIRouter(prefix="/api/campaigns", tags=["campaigns"])

_CREATING: Final[tuple[type[Problem], ...]] = (
    Unauthenticated,
    *PAYMENT_REQUIRED,
    BodyTooLarge,
    TooManyRows,
    InvalidRequest,
    InvalidNumber,
    DestinationNotAllowed,
    NoUsableRow,
    IdempotencyKeyReused,
    StillRunning,
    Unavailable,
)
_moving = api.documented(Unauthenticated, NotFound, InvalidTransition, Unavailable)


async def _visible(campaign_id: str, user: User) -> Document:
    """The campaign if it is the user's own or the user is an admin; else there is none."""
    campaign = await campaignbook.find(campaign_id)
    if user.role != "admin" and campaign["user_id"] != user.id:
        raise NotFound("There is no campaign with this id.")
    return campaign


async def _one(campaign: Document) -> CampaignOut:
    return (await _shown([campaign]))[0]


async def _created(campaign: Document) -> api.Answer:
    rejected = [RejectedOut(**row) for row in campaign["rejected"]]
    return api.Answer(201, CreatedOut(**dict(await _one(campaign)), rejected=rejected))


@router.post("", status_code=201, response_model=CreatedOut, responses=api.documented(*_CREATING))
async def create_campaign(request: Request, user: CurrentUser, body: CampaignIn) -> Response:
    """Call everybody on a list. Numbers that cannot be called are told in `rejected`."""

    async def work(seed: str) -> api.Answer:
        campaign = intake.planned(f"cmp_{seed}", user.id, body)
        return await _created(await intake.create(campaign, phonebook.read_list(body.numbers)))

    return await api.once(request, user.id, work)


@router.post(
    "/upload",
    status_code=201,
    response_model=CreatedOut,
    responses=api.documented(*_CREATING, UnreadableFile, NoPhoneColumn),
)
async def upload_campaign(
    request: Request,
    user: CurrentUser,
    form: Annotated[UploadIn, Form(media_type="multipart/form-data")],
) -> Response:
    """Call everybody in a CSV file: UTF-8, its columns parted by `,` `;` tab or `|`, up to 100,000
    rows. The numbers stand in `phone_column`, or in the column that is called `phone`, `mobile`,
    `number` and the like."""
    content = await form.file.read()

    async def work(seed: str) -> api.Answer:
        campaign = intake.planned(f"cmp_{seed}", user.id, form)
        rows = phonebook.read_file(content, phone_column=form.phone_column)
        return await _created(await intake.create(campaign, rows))

    digest = await asyncio.to_thread(hashlib.sha256, content)
    digest.update(form.model_dump_json(exclude={"file"}).encode())
    return await api.once(request, user.id, work, fingerprint=digest.digest())


@router.get(
    "",
    response_model=CampaignsOut,
    responses=api.documented(Unauthenticated, InvalidRequest, InvalidCursor, Unavailable),
)
async def list_campaigns(
    user: CurrentUser,
    status: Status | None = None,
    user_id: Annotated[str | None, Query(max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=api.PAGE_LIMIT_MAX)] = api.PAGE_LIMIT_DEFAULT,
    cursor: Annotated[str | None, Query(max_length=500)] = None,
) -> CampaignsOut:
    """The user's campaigns, newest first; an admin sees everybody's, or those of `user_id`."""
    whose = user_id if user.role == "admin" else user.id
    where: Document = {} if whose is None else {"user_id": whose}
    if status is not None:
        where["status"] = status
    after = None
    if cursor is not None:
        at, campaign_id = api.decode_cursor(cursor, dt.datetime, str)
        after = (at, campaign_id)
    found = await campaignbook.page(where, after=after, limit=limit + 1)
    more, found = len(found) > limit, found[:limit]
    last = api.encode_cursor(found[-1]["created_at"], found[-1]["_id"]) if more else None
    return CampaignsOut(campaigns=await _shown(found), next_cursor=last)


@router.get(
    "/{campaign_id}",
    response_model=CampaignOut,
    responses=api.documented(Unauthenticated, NotFound, Unavailable),
)
async def one_campaign(campaign_id: str, user: CurrentUser) -> CampaignOut:
    """One campaign and how far it is."""
    return await _one(await _visible(campaign_id, user))


@router.get(
    "/{campaign_id}/contacts",
    response_model=ContactsOut,
    responses=api.documented(Unauthenticated, NotFound, InvalidRequest, InvalidCursor, Unavailable),
)
async def list_contacts(
    campaign_id: str,
    user: CurrentUser,
    state: Counted | None = None,
    limit: Annotated[int, Query(ge=1, le=api.PAGE_LIMIT_MAX)] = api.PAGE_LIMIT_DEFAULT,
    cursor: Annotated[str | None, Query(max_length=500)] = None,
) -> ContactsOut:
    """Who is on the list and what became of them, in the order of the list."""
    await _visible(campaign_id, user)
    after_row = 0 if cursor is None else api.decode_cursor(cursor, int)[0]
    found = await contacts.page(campaign_id, state=state, after_row=after_row, limit=limit + 1)
    more, found = len(found) > limit, found[:limit]
    return ContactsOut(
        contacts=[contacts.shown(contact) for contact in found],
        next_cursor=api.encode_cursor(found[-1]["row"]) if more else None,
    )


@router.get(
    "/{campaign_id}/results",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/csv": {}}, "description": "The CSV"},
        **api.documented(Unauthenticated, NotFound, Unavailable),
    },
)
async def results(
    campaign_id: str,
    user: CurrentUser,
    excel: Annotated[bool, Query(description="Begin with a byte order mark")] = False,
) -> StreamingResponse:
    """Everybody on the list with what became of them, as CSV."""
    await _visible(campaign_id, user)
    pieces = results_of(campaign_id, byte_order_mark=excel)
    return await history.attachment(pieces, f"{campaign_id}-results.csv")


@router.post("/{campaign_id}/pause", response_model=CampaignOut, responses=_moving)
async def pause(campaign_id: str, user: CurrentUser) -> CampaignOut:
    """Place no more calls; those that are up end as they will."""
    await _visible(campaign_id, user)
    return await _one(await campaignbook.pause(campaign_id))


@router.post(
    "/{campaign_id}/resume",
    response_model=CampaignOut,
    responses=_moving | api.documented(*PAYMENT_REQUIRED),
)
async def resume(campaign_id: str, user: CurrentUser) -> CampaignOut:
    """Go on, or start a draft."""
    await _visible(campaign_id, user)
    return await _one(await campaignbook.resume(campaign_id))


@router.post("/{campaign_id}/cancel", response_model=CampaignOut, responses=_moving)
async def cancel(campaign_id: str, user: CurrentUser) -> CampaignOut:
    """Call nobody else; calls that are up end as they will."""
    await _visible(campaign_id, user)
    return await _one(await campaignbook.cancel(campaign_id))
