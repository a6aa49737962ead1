"""Campaign result routes: the contacts of a campaign, and its results as CSV."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from api import downloads, problems
from api.dependencies import CurrentUser, Page, may_see
from api.fields import Instant, RupeesOut
from campaigns import contacts
from campaigns import records as campaign_records
from campaigns import results as campaign_results
from campaigns.contacts import ContactCategory
from campaigns.records import Campaign
from core.errors import InvalidRequest, NotFound
from users import User

router = APIRouter(prefix="/api/campaigns", tags=["campaigns"], route_class=problems.Route)


# --- shapes -------------------------------------------------------------------------------------


class Contact(BaseModel):
    """One person of a campaign, as its owner sees it."""

    contact_id: str
    row: int
    to: str
    state: ContactCategory
    reason: str | None
    attempts: int
    call_id: str | None
    duration_seconds: int | None
    cost: RupeesOut
    updated_at: Instant


class ContactsOut(BaseModel):
    """A page of contacts, in the order of the list."""

    contacts: list[Contact]
    next_cursor: str | None


# --- routes -------------------------------------------------------------------------------------


@router.get(
    "/{campaign_id}/contacts",
    response_model=ContactsOut,
    responses=problems.documented(NotFound, InvalidRequest),
)
async def list_contacts(
    campaign_id: str,
    user: CurrentUser,
    page: Page,
    state: ContactCategory | None = None,
) -> ContactsOut:
    """Who is on the list and what became of them, in the order of the list."""
    await visible_campaign(campaign_id, user)
    found, next_cursor = await contacts.list_contacts(
        campaign_id, state=state, limit=page.limit, cursor=page.cursor
    )
    return ContactsOut(contacts=[_contact(contact) for contact in found], next_cursor=next_cursor)


@router.get(
    "/{campaign_id}/results",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/csv": {}}, "description": "The CSV"},
        **problems.documented(NotFound),
    },
)
async def results(
    campaign_id: str,
    user: CurrentUser,
    excel: Annotated[bool, Query(description="Begin with a byte order mark")] = False,
) -> StreamingResponse:
    """Everybody on the list with what became of them, as CSV."""
    await visible_campaign(campaign_id, user)
    pieces = campaign_results.results_csv(campaign_id, byte_order_mark=excel)
    return await downloads.attachment(pieces, f"{campaign_id}-results.csv")


# --- how a contact is shown ---------------------------------------------------------------------


def _contact(contact: contacts.Contact) -> Contact:
    return Contact(
        contact_id=contact["_id"],
        row=contact["row"],
        to=contact["to"],
        state=contacts.counted_as(contact),
        reason=contact["reason"],
        attempts=contact["attempts"],
        call_id=contact["call_id"],
        duration_seconds=contact["duration_seconds"],
        cost=contact["cost_paise"],
        updated_at=contact["updated_at"],
    )


async def visible_campaign(campaign_id: str, user: User) -> Campaign:
    """The campaign if it is the user's own or the user sees everybody's; else there is none."""
    campaign = await campaign_records.get_campaign(campaign_id)
    if not may_see(user, campaign["user_id"]):
        raise NotFound("There is no campaign with this id.")
    return campaign
