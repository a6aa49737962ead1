"""Campaign routes: create, upload, show, pause, resume, cancel."""

import asyncio
import datetime as dt
import hashlib
import json
from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, Query, Request, Response, UploadFile
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, Field

from api import middleware, problems
from api.calls import SimulateIn, Url, to_scenario
from api.campaign_results import visible_campaign
from api.dependencies import CurrentUser, Page, PayingKey, may_change, sees_everybody
from api.fields import (
    Instant,
    Message,
    Phone,
    RequestModel,
    RupeesOut,
    Title,
    blank_is_absent,
    require_each_field_once,
)
from api.idempotency import Answer, Idempotent
from billing.limits import SpendingKey
from calls.placing import CallSpec, MachineDetection
from campaigns import contact_import, contacts, creation
from campaigns import records as campaign_records
from campaigns.contact_import import TooManyRows
from campaigns.contacts import ContactTotals, Counts
from campaigns.creation import MAX_CONCURRENT_DEFAULT, CampaignPlan, NoUsableRow
from campaigns.phone_columns import ChosenBy, NoPhoneColumn
from campaigns.records import Campaign, InvalidTransition, PauseReason, Status
from core import clock
from core.csv_files import FileTooLarge, UnreadableFile
from core.errors import (
    PAYMENT_REQUIRED,
    BodyTooLarge,
    Forbidden,
    IdempotencyKeyReused,
    InvalidRequest,
    NotFound,
    Problem,
    TooManyRequests,
)
from core.phone_numbers import DestinationNotAllowed, InvalidNumber
from users import User

router = APIRouter(prefix="/api/campaigns", tags=["campaigns"], route_class=problems.Route)
_LIST_BYTES_MAX: Final = 4 * 1024 * 1024
_START_WITHIN_DAYS: Final = 366


middleware.allow_large_body("/api/campaigns", _LIST_BYTES_MAX)


# The limit has some room for the other fields and the boundaries of the form.
middleware.allow_large_body("/api/campaigns/upload", contact_import.FILE_BYTES_MAX + 64 * 1024)


# --- shapes -------------------------------------------------------------------------------------


def _moment(text: object) -> object:
    if text is not None and not isinstance(text, str):
        raise ValueError("must be a moment such as 2026-11-24T09:00:00+05:30")
    return text


def _soon(moment: dt.datetime) -> dt.datetime:
    ahead = moment - clock.now()
    if not dt.timedelta(days=-1) < ahead < dt.timedelta(days=_START_WITHIN_DAYS):
        raise ValueError(f"must be a moment within the next {_START_WITHIN_DAYS} days")
    utc = moment.astimezone(dt.UTC)
    return utc.replace(microsecond=utc.microsecond // 1000 * 1000)


def _not_yet(value: object) -> None:
    if value is not None:
        raise ValueError("is not supported yet; leave it out")


def _texts(values: object) -> object:
    """Raise one error for the first number that is not a string, not one for each of 100,000."""
    if isinstance(values, list):
        for position, value in enumerate(values, 1):
            if not isinstance(value, str):
                raise ValueError(f"number {position} is no string; send numbers as strings")
    return values


def _json(text: object) -> object:
    try:
        return json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        raise ValueError("must be JSON, as in a body") from None


def _empty_is_absent(value: object) -> object:
    return None if value == "" else value


NotYet = Annotated[None, BeforeValidator(_not_yet)]
Starts = Annotated[AwareDatetime, BeforeValidator(_moment), AfterValidator(_soon)]


class Options(RequestModel):
    """What a campaign says, how fast, and when; at most one of `message`, `audio_url` and
    `connect_to`."""

    name: Title
    message: Message | None = None
    audio_url: Url | None = None
    connect_to: Phone | None = None
    max_duration_seconds: Annotated[int, Field(strict=True, ge=1, le=86_400)] | None = None
    machine_detection: MachineDetection | None = None
    max_concurrent: Annotated[int, Field(strict=True, ge=1, le=1_000)] = MAX_CONCURRENT_DEFAULT
    calls_per_minute: Annotated[int, Field(strict=True, ge=1, le=10_000)] | None = None
    simulate: SimulateIn | None = None
    start: Annotated[bool, Field(strict=True)] = True
    start_at: Starts | None = None
    window: NotYet = None
    retry: NotYet = None
    budget: NotYet = None


class CampaignIn(Options):
    """A campaign whose numbers come with it."""

    numbers: Annotated[list[str], Field(min_length=1), BeforeValidator(_texts)]


_blank = BeforeValidator(_empty_is_absent)


class UploadIn(Options):
    """A campaign whose numbers stand in a CSV file. A field that is left blank is not set."""

    # The Swagger page offers a file to choose for `binary`.
    file: Annotated[UploadFile, Field(json_schema_extra={"format": "binary"})]
    phone_column: Annotated[str | None, Field(max_length=200), BeforeValidator(blank_is_absent)] = (
        None
    )
    message: Annotated[Message | None, _blank] = None
    audio_url: Annotated[Url | None, _blank] = None
    connect_to: Annotated[Phone | None, _blank] = None
    max_duration_seconds: Annotated[Annotated[int, Field(ge=1, le=86_400)] | None, _blank] = None
    machine_detection: Annotated[MachineDetection | None, _blank] = None
    max_concurrent: Annotated[int, Field(ge=1, le=1_000)] = MAX_CONCURRENT_DEFAULT
    calls_per_minute: Annotated[Annotated[int, Field(ge=1, le=10_000)] | None, _blank] = None
    simulate: Annotated[SimulateIn | None, BeforeValidator(_json), _blank] = None
    start: bool = True
    start_at: Annotated[Starts | None, _blank] = None


def _plan(options: Options, key: SpendingKey | None) -> CampaignPlan:
    return CampaignPlan(
        name=options.name,
        spec=CallSpec(
            message=options.message,
            audio_url=options.audio_url,
            connect_to=options.connect_to,
            max_duration_seconds=options.max_duration_seconds,
            machine_detection=options.machine_detection,
            simulate=to_scenario(options.simulate),
        ),
        max_concurrent=options.max_concurrent,
        calls_per_minute=options.calls_per_minute,
        start=options.start,
        start_at=options.start_at,
        key=key,
    )


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
    phone_column: str | None = Field(
        None,
        description="The column from which the numbers were read, `column 2` in a file without names; "
        "null for `numbers`",
    )
    chosen_by: ChosenBy | None = Field(
        None,
        description="How it was chosen: it was named in the request, by its name, by its content, as "
        "the only column; or the numbers came as a list. Null for campaigns of older versions",
    )
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


# --- routes -------------------------------------------------------------------------------------

_CREATING: Final[tuple[type[Problem], ...]] = (
    *PAYMENT_REQUIRED,
    BodyTooLarge,
    Forbidden,
    TooManyRows,
    TooManyRequests,
    InvalidRequest,
    InvalidNumber,
    DestinationNotAllowed,
    NoUsableRow,
)
_moving = problems.documented(NotFound, Forbidden, InvalidTransition)


@router.post(
    "", status_code=201, response_model=CreatedOut, responses=problems.documented(*_CREATING)
)
async def create_campaign(
    user: CurrentUser, key: PayingKey, body: CampaignIn, once: Idempotent
) -> Response:
    """Call everybody on a list. Numbers that cannot be called are told in `rejected`."""

    async def work(seed: str) -> Answer:
        campaign = creation.plan_campaign(f"cmp_{seed}", user.id, _plan(body, key))
        return await _created(
            await creation.create_campaign(
                campaign, contact_import.read_list_contacts(body.numbers, user_id=user.id)
            )
        )

    return await once(user.id, work)


@router.post(
    "/upload",
    status_code=201,
    response_model=CreatedOut,
    responses=problems.documented(
        *_CREATING, IdempotencyKeyReused, FileTooLarge, UnreadableFile, NoPhoneColumn
    ),
)
async def upload_campaign(
    request: Request,
    user: CurrentUser,
    key: PayingKey,
    form: Annotated[UploadIn, Form(media_type="multipart/form-data")],
    once: Idempotent,
) -> Response:
    """Call everybody in a CSV file: UTF-8, its columns parted by `,` `;` tab or `|`, up to 100,000
    rows. The numbers stand in `phone_column`, or else in the one column whose name or content says
    so; the answer says which. Two that may be meant are 422 with `candidates`."""
    await require_each_field_once(request)
    content = await form.file.read()

    async def work(seed: str) -> Answer:
        campaign = creation.plan_campaign(f"cmp_{seed}", user.id, _plan(form, key))
        rows = contact_import.read_csv_contacts(
            content, user_id=user.id, phone_column=form.phone_column
        )
        return await _created(await creation.create_campaign(campaign, rows))

    digest = await asyncio.to_thread(hashlib.sha256, content)
    digest.update(form.model_dump_json(exclude={"file"}).encode())
    return await once(user.id, work, fingerprint=digest.digest())


@router.get(
    "",
    response_model=CampaignsOut,
    responses=problems.documented(InvalidRequest),
)
async def list_campaigns(
    user: CurrentUser,
    page: Page,
    status: Status | None = None,
    user_id: Annotated[str | None, Query(max_length=64)] = None,
) -> CampaignsOut:
    """The user's campaigns, newest first; an operator or admin sees everybody's, or those of
    `user_id`."""
    whose = user_id if sees_everybody(user) else user.id
    found, next_cursor = await campaign_records.list_campaigns(
        whose, status=status, limit=page.limit, cursor=page.cursor
    )
    return CampaignsOut(campaigns=await _shown(found), next_cursor=next_cursor)


@router.get(
    "/{campaign_id}",
    response_model=CampaignOut,
    responses=problems.documented(NotFound),
)
async def one_campaign(campaign_id: str, user: CurrentUser) -> CampaignOut:
    """One campaign and how far it is."""
    return await _one(await visible_campaign(campaign_id, user))


@router.post("/{campaign_id}/pause", response_model=CampaignOut, responses=_moving)
async def pause(campaign_id: str, user: CurrentUser) -> CampaignOut:
    """Place no more calls; those that are up end as they will."""
    campaign = await _changeable(campaign_id, user)
    return await _one(await campaign_records.pause_campaign(campaign))


@router.post(
    "/{campaign_id}/resume",
    response_model=CampaignOut,
    responses=_moving | problems.documented(*PAYMENT_REQUIRED),
)
async def resume(campaign_id: str, user: CurrentUser, key: PayingKey) -> CampaignOut:
    """Go on, or start a draft."""
    campaign = await _changeable(campaign_id, user)
    return await _one(await campaign_records.resume_campaign(campaign, key=key))


@router.post("/{campaign_id}/cancel", response_model=CampaignOut, responses=_moving)
async def cancel(campaign_id: str, user: CurrentUser) -> CampaignOut:
    """Call nobody else; calls that are up end as they will."""
    campaign = await _changeable(campaign_id, user)
    return await _one(await campaign_records.cancel_campaign(campaign))


# --- how a campaign is shown --------------------------------------------------


async def _shown(campaigns: list[Campaign]) -> list[CampaignOut]:
    """Campaigns as their owner sees them; the contacts of those that can still change are counted."""
    counted = await contacts.count_contacts([c["_id"] for c in campaigns if c["counts"] is None])
    return [CampaignOut(**_fields(c, counted.get(c["_id"]))) for c in campaigns]


def _fields(campaign: Campaign, counted: ContactTotals | None) -> dict[str, Any]:
    stored: dict[str, Any] = {**campaign}
    same = {n: stored[n] for n in CampaignOut.model_fields if n in stored}
    if counted is not None:
        same["counts"] = counted.counts
    spent_paise = campaign["spent_paise"] if counted is None else counted.spent_paise
    return same | {"campaign_id": campaign["_id"], "spent": spent_paise}


async def _changeable(campaign_id: str, user: User) -> Campaign:
    """The same for what moves it: an operator, who sees everybody's, may not."""
    campaign = await visible_campaign(campaign_id, user)
    if not may_change(user, campaign["user_id"]):
        raise Forbidden("An operator looks at the campaigns of others and does not move them.")
    return campaign


async def _one(campaign: Campaign) -> CampaignOut:
    return (await _shown([campaign]))[0]


async def _created(campaign: Campaign) -> Answer:
    rejected = [RejectedOut(**row) for row in campaign["rejected"]]
    return Answer(201, CreatedOut(**dict(await _one(campaign)), rejected=rejected))
