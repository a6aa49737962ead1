"""Campaign result routes: contacts, statistics, and results and attempts as CSV."""

import datetime as dt
from typing import Annotated, Any, cast

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, BeforeValidator, Field

from api import downloads, problems
from api.dependencies import CurrentUser, Page, may_see, sees_everybody
from api.fields import Instant, RupeesOut, blank_is_absent
from campaigns import contacts, statistics
from campaigns import records as campaign_records
from campaigns import results as campaign_results
from campaigns.contacts import ContactCategory, Counts
from campaigns.records import Campaign
from compliance.calling_hours import Weekday
from core import clock
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


class RateOut(BaseModel):
    """How many calls were dialled, and how many of them were picked up, by a person or a machine."""

    dialled: int
    answered: int
    connect_rate: float | None = Field(
        description="`answered / dialled`; null when none was dialled"
    )


class HourOut(RateOut):
    """The calls that were dialled in an hour of a weekday, in India."""

    weekday: Weekday
    hour: int


class CallerIdOut(RateOut):
    """The calls that were dialled from a number; `default` is that of the settings."""

    caller_id: str


class AttemptOut(RateOut):
    """The first, second, … calls of all contacts."""

    attempt: int


class CallFiguresOut(RateOut):
    """The calls that have ended. `ended` counts also those that no network accepted."""

    ended: int
    talk_seconds: int
    average_talk_seconds: float | None = Field(
        description="Of those that were answered; null when none was"
    )
    spent: RupeesOut
    calls_per_minute: float | None = Field(
        description="How many ended a minute lately; null when that is too few to say"
    )
    by_disposition: dict[str, int] = Field(
        description="`answered`, `machine`, `no_answer`, `busy`, `failed`, `canceled`"
    )
    by_attempt: list[AttemptOut]
    by_caller_id: list[CallerIdOut]
    heat_map: list[HourOut]


class StatisticsOut(BaseModel):
    """The figures of one campaign."""

    campaign_id: str
    taken_at: Instant
    counts: Counts
    eta: Instant | None = Field(
        description="When the last contact will have been called at the pace of the last minutes; "
        "null when that is not known"
    )
    calls: CallFiguresOut


class AllStatisticsOut(BaseModel):
    """The figures of all campaigns of a user together."""

    user_id: str
    taken_at: Instant
    calls: CallFiguresOut


# --- routes -------------------------------------------------------------------------------------


@router.get("/statistics", response_model=AllStatisticsOut)
async def all_figures(
    user: CurrentUser, user_id: Annotated[str | None, Query(max_length=64)] = None
) -> AllStatisticsOut:
    """What became of the calls of all one's campaigns together; an operator or admin may name
    another user."""
    whose = user_id if user_id is not None and sees_everybody(user) else user.id
    found, now = await statistics.find_statistics(whose), clock.now()
    return AllStatisticsOut(user_id=whose, taken_at=now, calls=_figures(found, now))


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
    search: Annotated[
        Annotated[str, Field(max_length=100)] | None,
        BeforeValidator(blank_is_absent),
        Query(
            description="The beginning of a number, or a part of a cell of the list. A page may then "
            "be short or empty and have a `next_cursor` nevertheless: go on with it",
        ),
    ] = None,
) -> ContactsOut:
    """Who is on the list and what became of them, in the order of the list; those that a number was
    searched for in the order of the numbers."""
    await visible_campaign(campaign_id, user)
    if search is None:
        found, next_cursor = await contacts.list_contacts(
            campaign_id, state=state, limit=page.limit, cursor=page.cursor
        )
    else:
        found, next_cursor = await campaign_results.search_contacts(
            campaign_id, search, state=state, limit=page.limit, cursor=page.cursor
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
    """Everybody on the list with what became of them, and the columns of the list, as CSV."""
    campaign = await visible_campaign(campaign_id, user)
    pieces = campaign_results.results_csv(campaign, byte_order_mark=excel)
    return await downloads.attachment(pieces, f"{campaign_id}-results.csv")


@router.get(
    "/{campaign_id}/attempts",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/csv": {}}, "description": "The CSV"},
        **problems.documented(NotFound),
    },
)
async def attempts(
    campaign_id: str,
    user: CurrentUser,
    excel: Annotated[bool, Query(description="Begin with a byte order mark")] = False,
) -> StreamingResponse:
    """Every call of the campaign, the oldest first, as CSV."""
    campaign = await visible_campaign(campaign_id, user)
    pieces = campaign_results.attempts_csv(campaign, byte_order_mark=excel)
    return await downloads.attachment(pieces, f"{campaign_id}-attempts.csv")


@router.get(
    "/{campaign_id}/statistics",
    response_model=StatisticsOut,
    responses=problems.documented(NotFound),
)
async def campaign_figures(campaign_id: str, user: CurrentUser) -> StatisticsOut:
    """What became of the calls: when and from which number people are reached, what it cost, and
    when it will be done. It takes the same time for any number of contacts."""
    campaign = await visible_campaign(campaign_id, user)
    totals = await contacts.count_contacts([campaign_id])
    found, now = await statistics.find_statistics(campaign_id), clock.now()
    counts = totals[campaign_id].counts
    return StatisticsOut(
        campaign_id=campaign_id,
        taken_at=now,
        counts=counts,
        eta=statistics.find_eta(campaign, counts, found, now),
        calls=_figures(found, now),
    )


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


# --- how statistics are shown -------------------------------------------------------------------


def _figures(found: statistics.Statistics | None, now: dt.datetime) -> CallFiguresOut:
    kept: dict[str, Any] = {} if found is None else {**found}
    answered = kept.get("answered", 0)
    talk_seconds = kept.get("talk_seconds", 0)
    return CallFiguresOut(
        **_rate(kept),
        ended=kept.get("ended", 0),
        talk_seconds=talk_seconds,
        average_talk_seconds=round(talk_seconds / answered, 1) if answered else None,
        spent=int(kept.get("cost_paise", 0)),
        calls_per_minute=_rounded(statistics.calls_per_minute(found, now)),
        by_disposition={name: n for name, n in kept.get("by_disposition", {}).items() if n},
        by_attempt=sorted(
            (
                AttemptOut(**_rate(tally), attempt=int(number))
                for number, tally in _of(kept, "attempt")
            ),
            key=lambda shown: shown.attempt,
        ),
        by_caller_id=[
            CallerIdOut(**_rate(tally), caller_id=number)
            for number, tally in _of(kept, "caller_id")
        ],
        heat_map=[
            HourOut(**_rate(tally), weekday=cast(Weekday, hour[:3]), hour=int(hour[4:]))
            for hour, tally in sorted(_of(kept, "hour"), key=_by_weekday)
        ],
    )


def _of(kept: dict[str, Any], name: str) -> list[tuple[str, dict[str, int]]]:
    """The parts of the figures that have calls; what was corrected may have left some without."""
    return [
        (key, tally) for key, tally in kept.get(f"by_{name}", {}).items() if any(tally.values())
    ]


def _by_weekday(part: tuple[str, dict[str, int]]) -> tuple[int, str]:
    return statistics.WEEKDAYS.index(part[0][:3]), part[0]


def _rate(tally: dict[str, Any]) -> dict[str, Any]:
    dialled, answered = tally.get("dialled", 0), tally.get("answered", 0)
    rate = round(answered / dialled, 4) if dialled else None
    return {"dialled": dialled, "answered": answered, "connect_rate": rate}


def _rounded(figure: float | None) -> float | None:
    return None if figure is None else round(figure, 1)
