"""Campaign life routes: validate, change, copy, call the unreached again, archive and delete."""

from fastapi import APIRouter, Response
from pydantic import BaseModel

from api import campaign_answers as answers
from api import problems
from api.campaign_answers import CampaignOut, CreatedOut, EstimateOut
from api.campaign_options import ChangesIn, Numbers, Seconds, changes_of
from api.campaign_results import visible_campaign
from api.campaigns import CREATING, changeable_campaign
from api.dependencies import CurrentUser
from api.fields import RequestModel, Title
from api.idempotency import Answer, Idempotent
from campaigns import contact_import, contacts, editing, validation
from campaigns import records as campaign_records
from campaigns.contacts import Counts
from campaigns.records import Campaign, InvalidTransition
from campaigns.validation import Severity
from campaigns.variables import MissingVariable
from compliance.caller_ids import CallerIdNotAllowed
from core.errors import PAYMENT_REQUIRED, Forbidden, InvalidRequest, NotFound
from telephony import LanguageNotSupported

router = APIRouter(prefix="/api/campaigns", tags=["campaigns"], route_class=problems.Route)


# --- shapes -------------------------------------------------------------------------------------


class ValidateIn(RequestModel):
    """What is assumed."""

    duration_seconds: Seconds | None = None


class FindingOut(BaseModel):
    """Something that keeps a campaign from calling some of its contacts, or all (count null)."""

    code: str
    message: str
    count: int | None
    severity: Severity


class ValidationOut(BaseModel):
    """What would happen if the campaign went on now. `ok`: no problem is an error."""

    ok: bool
    problems: list[FindingOut]
    estimate: EstimateOut


class CopyIn(RequestModel):
    """A copy: of the list too, unless it comes with other numbers."""

    name: Title | None = None
    numbers: Numbers | None = None


_moving = problems.documented(NotFound, Forbidden, InvalidTransition)


# --- routes -------------------------------------------------------------------------------------


@router.post(
    "/{campaign_id}/validate",
    response_model=ValidationOut,
    responses=problems.documented(NotFound, InvalidRequest),
)
async def validate(
    campaign_id: str, user: CurrentUser, body: ValidateIn | None = None
) -> ValidationOut:
    """Whether the campaign can call, whom it cannot call and why, and what calling will cost."""
    campaign = await visible_campaign(campaign_id, user)
    found = await validation.validate_campaign(
        campaign,
        await _counts(campaign),
        duration_seconds=None if body is None else body.duration_seconds,
    )
    return ValidationOut(
        ok=found.ok,
        problems=[
            FindingOut(code=f.code, message=f.message, count=f.count, severity=f.severity)
            for f in found.findings
        ],
        estimate=answers.estimate_out(found.estimate),
    )


@router.patch(
    "/{campaign_id}",
    response_model=CampaignOut,
    responses=_moving
    | problems.documented(
        InvalidRequest, CallerIdNotAllowed, LanguageNotSupported, MissingVariable
    ),
)
async def change(campaign_id: str, user: CurrentUser, body: ChangesIn) -> CampaignOut:
    """Change what has not been used yet of a draft or paused campaign. A field that is not sent stays;
    null takes an option away. Calls that were placed keep what they were placed with."""
    campaign = await changeable_campaign(campaign_id, user)
    return await answers.one(await editing.change_campaign(campaign, changes_of(body)))


@router.post(
    "/{campaign_id}/copy",
    status_code=201,
    response_model=CreatedOut,
    responses=problems.documented(NotFound, *CREATING),
)
async def copy(
    campaign_id: str, user: CurrentUser, once: Idempotent, body: CopyIn | None = None
) -> Response:
    """A draft with the same options and the same list, or with other `numbers`. Its rows are checked
    again, and it has no start and no end yet."""
    asked = body or CopyIn()

    async def work(seed: str) -> Answer:
        source = await changeable_campaign(campaign_id, user)
        numbers = None
        if asked.numbers is not None:
            numbers = contact_import.read_list_contacts(asked.numbers, user_id=source["user_id"])
        return await answers.created(
            await editing.copy_campaign(source, f"cmp_{seed}", name=asked.name, numbers=numbers)
        )

    return await once(user.id, work)


@router.post(
    "/{campaign_id}/retry-unreached",
    response_model=CampaignOut,
    responses=_moving | problems.documented(*PAYMENT_REQUIRED),
)
async def retry_unreached(campaign_id: str, user: CurrentUser) -> CampaignOut:
    """Call everybody again who was not reached (no answer, busy, failed, exhausted, expired), each with
    all attempts: the campaign goes on, also when it was completed. Whom it reached stays as it is."""
    campaign = await changeable_campaign(campaign_id, user)
    return await answers.one(await editing.retry_unreached(campaign))


@router.post("/{campaign_id}/archive", response_model=CampaignOut, responses=_moving)
async def archive(campaign_id: str, user: CurrentUser) -> CampaignOut:
    """Hide a draft or a campaign that is over from the list; `?archived=true` shows it."""
    campaign = await changeable_campaign(campaign_id, user)
    return await answers.one(await campaign_records.archive_campaign(campaign))


@router.post("/{campaign_id}/unarchive", response_model=CampaignOut, responses=_moving)
async def unarchive(campaign_id: str, user: CurrentUser) -> CampaignOut:
    """Show it in the list again."""
    campaign = await changeable_campaign(campaign_id, user)
    return await answers.one(await campaign_records.archive_campaign(campaign, is_archived=False))


@router.delete("/{campaign_id}", status_code=204, responses=_moving)
async def delete(campaign_id: str, user: CurrentUser) -> None:
    """Delete a draft or a campaign that is over, with its contacts. Its calls and charges stay."""
    await campaign_records.forget_campaign(await changeable_campaign(campaign_id, user))


async def _counts(campaign: Campaign) -> Counts:
    return (await contacts.count_contacts([campaign["_id"]]))[campaign["_id"]].counts
