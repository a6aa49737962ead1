"""Campaign routes: create, show, pause, resume, cancel."""

import datetime as dt
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Response
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
)
from api.idempotency import Answer, Idempotent
from billing.limits import SpendingKey
from calls.placing import CallSpec, MachineDetection
from campaigns import contact_import, contacts, creation
from campaigns import records as campaign_records
from campaigns.contact_import import TooManyRows
from campaigns.contacts import ContactTotals, Counts
from campaigns.creation import MAX_CONCURRENT_DEFAULT, CampaignPlan, NoUsableRow
from campaigns.phone_columns import ChosenBy
from campaigns.records import Campaign, InvalidTransition, PauseReason, Status
from core import clock
from core.errors import (
    PAYMENT_REQUIRED,
    BodyTooLarge,
    Forbidden,
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


def plan_of(options: Options, key: SpendingKey | None) -> CampaignPlan:
    """The plan that a body or a form describes; `key` is the API key that it came with."""
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

# What creating a campaign may be refused with, whatever its list came in.
CREATING: Final[tuple[type[Problem], ...]] = (
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
    "", status_code=201, response_model=CreatedOut, responses=problems.documented(*CREATING)
)
async def create_campaign(
    user: CurrentUser, key: PayingKey, body: CampaignIn, once: Idempotent
) -> Response:
    """Call everybody on a list. Numbers that cannot be called are told in `rejected`."""

    async def work(seed: str) -> Answer:
        campaign = creation.plan_campaign(f"cmp_{seed}", user.id, plan_of(body, key))
        return await created(
            await creation.create_campaign(
                campaign, contact_import.read_list_contacts(body.numbers, user_id=user.id)
            )
        )

    return await once(user.id, work)


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


async def created(campaign: Campaign) -> Answer:
    """The answer 201 of a campaign that was created, with the rows that are not called."""
    rejected = [RejectedOut(**row) for row in campaign["rejected"]]
    return Answer(201, CreatedOut(**dict(await _one(campaign)), rejected=rejected))
