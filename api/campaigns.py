"""Campaign routes: create, show, pause, resume, cancel."""

from typing import Annotated, Final

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel

from api import campaign_answers as answers
from api import middleware, problems
from api.campaign_answers import CampaignOut, CreatedOut
from api.campaign_options import CampaignIn, plan_of
from api.campaign_results import visible_campaign
from api.dependencies import CurrentUser, Page, PayingKey, may_change, sees_everybody
from api.idempotency import Answer, Idempotent
from billing.rate_cards import DestinationNotRated
from campaigns import contact_import, creation
from campaigns import records as campaign_records
from campaigns.contact_import import TooManyRows
from campaigns.creation import NoUsableRow
from campaigns.records import Campaign, InvalidTransition, Status, TooManyDrafts
from campaigns.variables import MissingVariable
from compliance.caller_ids import CallerIdNotAllowed
from compliance.do_not_call import DoNotCall
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
from telephony import LanguageNotSupported
from users import User

router = APIRouter(prefix="/api/campaigns", tags=["campaigns"], route_class=problems.Route)
_LIST_BYTES_MAX: Final = 4 * 1024 * 1024


middleware.allow_large_body("/api/campaigns", _LIST_BYTES_MAX)


# --- shapes -------------------------------------------------------------------------------------


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
    DestinationNotRated,
    DoNotCall,
    CallerIdNotAllowed,
    LanguageNotSupported,
    MissingVariable,
    TooManyDrafts,
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
        return await answers.created(
            await creation.create_campaign(
                campaign,
                contact_import.read_list_contacts(body.numbers, user_id=user.id),
                called_within_days=body.skip_called_within_days,
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
    archived: Annotated[bool, Query(description="Also those that were archived")] = False,
    user_id: Annotated[str | None, Query(max_length=64)] = None,
) -> CampaignsOut:
    """The user's campaigns, newest first; an operator or admin sees everybody's, or those of
    `user_id`."""
    whose = user_id if sees_everybody(user) else user.id
    found, next_cursor = await campaign_records.list_campaigns(
        whose, status=status, archived=archived, limit=page.limit, cursor=page.cursor
    )
    return CampaignsOut(campaigns=await answers.shown(found), next_cursor=next_cursor)


@router.get(
    "/{campaign_id}",
    response_model=CampaignOut,
    responses=problems.documented(NotFound),
)
async def one_campaign(campaign_id: str, user: CurrentUser) -> CampaignOut:
    """One campaign and how far it is."""
    return await answers.one(await visible_campaign(campaign_id, user))


@router.post("/{campaign_id}/pause", response_model=CampaignOut, responses=_moving)
async def pause(campaign_id: str, user: CurrentUser) -> CampaignOut:
    """Place no more calls; those that are up end as they will."""
    campaign = await changeable_campaign(campaign_id, user)
    return await answers.one(await campaign_records.pause_campaign(campaign))


@router.post(
    "/{campaign_id}/resume",
    response_model=CampaignOut,
    responses=_moving | problems.documented(*PAYMENT_REQUIRED),
)
async def resume(campaign_id: str, user: CurrentUser, key: PayingKey) -> CampaignOut:
    """Go on, or start a draft. The hours of its purpose are frozen at the first start."""
    campaign = await changeable_campaign(campaign_id, user)
    return await answers.one(await campaign_records.resume_campaign(campaign, key=key))


@router.post("/{campaign_id}/cancel", response_model=CampaignOut, responses=_moving)
async def cancel(campaign_id: str, user: CurrentUser) -> CampaignOut:
    """Call nobody else; calls that are up end as they will."""
    campaign = await changeable_campaign(campaign_id, user)
    return await answers.one(await campaign_records.cancel_campaign(campaign))


async def changeable_campaign(campaign_id: str, user: User) -> Campaign:
    """The campaign, if the user may move it: an operator, who sees everybody's, may not. Nobody does
    while its list is being imported: InvalidTransition."""
    campaign = await visible_campaign(campaign_id, user)
    if not may_change(user, campaign["user_id"]):
        raise Forbidden("An operator looks at the campaigns of others and does not move them.")
    if campaign["is_loading"]:
        raise InvalidTransition(
            "Its list is being imported; wait for the job, or cancel that.",
            campaign_status=campaign["status"],
        )
    return campaign
