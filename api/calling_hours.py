"""Calling hours route: at what hours one's campaigns may call, by purpose."""

from typing import Final, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from api import problems
from api.dependencies import CurrentUser
from compliance import calling_hours
from compliance.calling_hours import Purpose
from core import clock, config

router = APIRouter(prefix="/api/calling-hours", tags=["campaigns"], route_class=problems.Route)

_DAYS_SHOWN: Final = 60


class PurposeHoursOut(BaseModel):
    """Hours of a day, `HH:MM`; the end is not included."""

    start: str
    end: str


class ClosedDayOut(BaseModel):
    """A day of the next 60 on which nobody is called for these purposes."""

    date: str
    name: str
    purposes: list[Purpose]


class CallingHoursOut(BaseModel):
    """When people in India may be called. A campaign's own window narrows it."""

    calling_hours: Literal["on", "off"] = Field(description="`off`: only the campaigns' windows")
    timezone: str
    hours: dict[Purpose, PurposeHoursOut]
    closed_days: list[ClosedDayOut]


@router.get("", response_model=CallingHoursOut)
async def get_calling_hours(_: CurrentUser) -> CallingHoursOut:
    """The hours of each purpose, and the next days on which nobody is called."""
    found = await calling_hours.get_platform_hours()
    moments = (clock.now(), clock.after(_DAYS_SHOWN * 86_400))
    first, last = (str(clock.ist_date(moment)) for moment in moments)
    return CallingHoursOut(
        calling_hours=config.settings().calling_hours,
        timezone=calling_hours.HOME_TIME_ZONE,
        hours={purpose: PurposeHoursOut(**hours) for purpose, hours in found["hours"].items()},
        closed_days=[
            ClosedDayOut(**day) for day in found["holidays"] if first <= day["date"] <= last
        ],
    )
