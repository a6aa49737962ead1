"""Admin routes of the calling rules: hours by purpose and holidays, in versions."""

import datetime as dt
from typing import Annotated, Final, Literal, cast

from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, Field

from api import problems
from api.dependencies import Admin, Operator
from api.fields import Instant, RequestModel, Title
from auth import audit_log
from auth.audit_log import Target
from compliance import calling_hours
from compliance.calling_hours import (
    PURPOSES,
    WIDEST_HOURS,
    Holiday,
    Hours,
    PlatformHours,
    Purpose,
    StaleRules,
)
from core import config, texts
from core.errors import InvalidRequest, invalid

router = APIRouter(prefix="/api/admin/calling-rules", tags=["admin"], route_class=problems.Route)

_HOLIDAYS_MAX: Final = 500
_VERSIONS_SHOWN: Final = 20

# --- shapes -------------------------------------------------------------------------------------

_TimeText = Annotated[
    str, Field(strict=True, pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$", examples=["09:00"])
]


class HoursIn(RequestModel):
    """Hours of a day where the person lives who is called; the end is not included."""

    start: _TimeText
    end: _TimeText


class HolidayIn(RequestModel):
    """A day on which nobody is called for these purposes; for none at all, unless they are named."""

    date: Annotated[str, Field(strict=True, pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]
    name: Title
    purposes: Annotated[
        list[Purpose],
        Field(default_factory=lambda: list(PURPOSES), min_length=1, max_length=len(PURPOSES)),
    ]


class CallingRulesIn(RequestModel):
    """The version that is changed, and what changes: purposes that are not named keep their hours, and
    without `holidays` they stay."""

    version: Annotated[int, Field(strict=True, ge=0, le=2**31 - 1)]
    hours: Annotated[dict[Purpose, HoursIn], Field(default_factory=dict)]
    holidays: Annotated[list[HolidayIn], Field(max_length=_HOLIDAYS_MAX)] | None = None
    note: Annotated[str, Field(max_length=500), AfterValidator(texts.trimmed)] = ""


class HoursOut(BaseModel):
    """Hours of a day; the end is not included."""

    start: str
    end: str


class HolidayOut(BaseModel):
    """A day on which nobody is called for these purposes."""

    date: str
    name: str
    purposes: list[Purpose]


class VersionOut(BaseModel):
    """A version of the calling rules; 0 is built in."""

    version: int
    hours: dict[Purpose, HoursOut]
    holidays: list[HolidayOut]
    note: str
    created_at: Instant | None
    created_by: str


class CallingRulesOut(VersionOut):
    """The rules in force, the hours that nothing widens, whether hours are kept at all
    (`CALLING_HOURS`), and the latest versions, newest first."""

    calling_hours: Literal["on", "off"]
    widest_hours: dict[Purpose, HoursOut]
    ring_seconds: int
    versions: list[VersionOut]


# --- routes -------------------------------------------------------------------------------------


@router.get("", response_model=CallingRulesOut)
async def get_calling_rules(_: Operator) -> CallingRulesOut:
    """At what hours people are called, by purpose, and on which days they are not."""
    return await _out(await calling_hours.get_platform_hours())


@router.put(
    "",
    response_model=CallingRulesOut,
    responses=problems.documented(InvalidRequest, StaleRules),
)
async def change_calling_rules(admin: Admin, body: CallingRulesIn) -> CallingRulesOut:
    """Put a new version in force, for every campaign within a second or so. Running campaigns keep the
    hours they started with where those are narrower."""
    before = await calling_hours.get_platform_hours()
    holidays = before["holidays"] if body.holidays is None else _holidays(body.holidays)
    after = await calling_hours.create_platform_hours(
        hours={purpose: cast(Hours, one.model_dump()) for purpose, one in body.hours.items()},
        holidays=holidays,
        note=body.note,
        based_on=body.version,
        by=admin.email,
    )
    audit_log.describe(
        "calling_rules.change",
        Target("calling_rules", str(after["_id"])),
        before={"version": before["_id"], "hours": before["hours"], "holidays": before["holidays"]},
        after={"version": after["_id"], "hours": after["hours"], "holidays": after["holidays"]},
    )
    return await _out(after)


# --- how they are read and shown ----------------------------------------------------------------


def _holidays(given: list[HolidayIn]) -> list[Holiday]:
    for day in given:
        try:
            dt.date.fromisoformat(day.date)
        except ValueError:
            raise invalid("holidays", f"{day.date} is no day") from None
    dates = [day.date for day in given]
    if len(set(dates)) < len(dates):
        raise invalid("holidays", "names a day twice")
    return [cast(Holiday, day.model_dump()) for day in given]


def _version(one: PlatformHours) -> VersionOut:
    return VersionOut(
        version=one["_id"],
        hours={purpose: HoursOut(**hours) for purpose, hours in one["hours"].items()},
        holidays=[HolidayOut(**day) for day in one["holidays"]],
        note=one["note"],
        created_at=None if one.get("is_built_in") else one["created_at"],
        created_by=one["created_by"],
    )


async def _out(one: PlatformHours) -> CallingRulesOut:
    versions = await calling_hours.list_platform_hours(limit=_VERSIONS_SHOWN)
    return CallingRulesOut(
        **_version(one).model_dump(),
        calling_hours=config.settings().calling_hours,
        widest_hours={purpose: HoursOut(**hours) for purpose, hours in WIDEST_HOURS.items()},
        ring_seconds=calling_hours.RING.seconds,
        versions=[_version(version) for version in versions],
    )
