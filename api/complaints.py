"""Complaint routes: record one with its evidence, list them, download them."""

import datetime as dt
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import AfterValidator, BaseModel, Field

from api import downloads, fields, problems
from api.dependencies import CurrentUser, Page, may_see, scope_of
from api.fields import Instant, RequestModel
from api.idempotency import Answer, Idempotent
from auth import audit_log
from auth.audit_log import Target
from compliance import complaints
from compliance.complaints import Complaint, Level
from compliance.do_not_call import PLATFORM
from core import clock, texts
from core.errors import Forbidden, InvalidCursor, InvalidRequest, NotFound, invalid
from core.phone_numbers import InvalidNumber
from reporting import number_history
from users import User

router = APIRouter(prefix="/api/complaints", tags=["complaints"], route_class=problems.Route)

_EARLIER_DAYS_MAX: Final = 366

# --- shapes -------------------------------------------------------------------------------------


class ComplaintIn(RequestModel):
    """Somebody complained about a call. `received_at`: when, a day in India or a moment (now, unless
    given); `source`: who passed it on. `user_id`: whose call it was, for admins; without it theirs is
    the platform's."""

    number: fields.Phone
    source: Annotated[
        str, Field(strict=True, min_length=1, max_length=100), AfterValidator(texts.required)
    ]
    received_at: fields.WhenText | None = None
    text: Annotated[
        str, Field(max_length=complaints.TEXT_LENGTH_MAX), AfterValidator(texts.trimmed)
    ] = ""
    user_id: Annotated[str | None, Field(max_length=100)] = None


class ComplaintOut(BaseModel):
    """A complaint. `user_id` is null where it is about the platform as a whole."""

    complaint_id: str
    user_id: str | None
    number: str
    source: str
    text: str
    received_at: Instant
    recorded_at: Instant
    recorded_by: str


class StandingOut(BaseModel):
    """The complaints of the last ten days, and what follows from their number."""

    complaints_in_ten_days: int
    warning_at: int
    limit: int
    level: Level
    what_follows: str


class ComplaintWithEvidenceOut(ComplaintOut, StandingOut):
    """A complaint with what was known about the number when it was recorded: calls, campaigns with the
    row of their list and its consent, do-not-call entries, scrub verdicts. The number is on the
    do-not-call list."""

    evidence: dict[str, Any]


class ComplaintsOut(StandingOut):
    """A page of complaints, the latest first."""

    complaints: list[ComplaintOut]
    next_cursor: str | None


# --- routes -------------------------------------------------------------------------------------


@router.post(
    "",
    status_code=201,
    response_model=ComplaintWithEvidenceOut,
    responses=problems.documented(InvalidRequest, InvalidNumber),
)
async def record_complaint(user: CurrentUser, body: ComplaintIn, once: Idempotent) -> Response:
    """Record a complaint: its number is not called any more, the evidence is gathered, and the answer
    says how many complaints the last ten days had, and what follows."""
    owner = _owner(user, body.user_id)
    number = fields.number_of(body.number)
    received_at = _received(body.received_at)

    async def work(seed: str) -> Answer:
        complaint = await complaints.record_complaint(
            f"cpl_{seed}",
            owner,
            number,
            source=body.source,
            text=body.text,
            received_at=received_at,
            by=user.email,
            evidence=await number_history.get_history(number, None if owner == PLATFORM else owner),
        )
        audit_log.describe("complaint.record", Target("complaint", complaint["_id"]))
        return Answer(201, await _with_evidence(complaint))

    return await once(user.id, work)


@router.get("", response_model=ComplaintsOut, responses=problems.documented(InvalidCursor))
async def list_complaints(
    user: CurrentUser,
    page: Page,
    user_id: Annotated[str | None, Query(max_length=100)] = None,
) -> ComplaintsOut:
    """The complaints about one's own calls; for operators and admins about everybody's, or a user's."""
    owner = _visible(user, user_id)
    found, next_cursor = await complaints.list_complaints(
        owner, limit=page.limit, cursor=page.cursor
    )
    return ComplaintsOut(
        complaints=[ComplaintOut(**_fields(one)) for one in found],
        next_cursor=next_cursor,
        **await _standing(owner),
    )


@router.get(
    "/download",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/csv": {}}, "description": "The CSV"}},
)
async def download_complaints(
    user: CurrentUser, user_id: Annotated[str | None, Query(max_length=100)] = None
) -> StreamingResponse:
    """The same as CSV, without the evidence; times in India."""
    owner = _visible(user, user_id)
    name = f"complaints-{clock.ist_date(clock.now())}.csv"
    return await downloads.attachment(complaints.csv_of_complaints(owner), name)


@router.get(
    "/{complaint_id}",
    response_model=ComplaintWithEvidenceOut,
    responses=problems.documented(NotFound),
)
async def get_complaint(complaint_id: str, user: CurrentUser) -> ComplaintWithEvidenceOut:
    """A complaint with the evidence of the moment at which it was recorded."""
    return await _with_evidence(await complaints.get_complaint(complaint_id, scope_of(user)))


# --- whose complaint, and when ------------------------------------------------------------------


def _owner(user: User, user_id: str | None) -> str:
    """Whose calls a new complaint is about. Raises Forbidden."""
    if user_id is not None and user_id != user.id and user.role != "admin":
        raise Forbidden("This needs the role admin.")
    return user_id or (PLATFORM if user.role == "admin" else user.id)


def _visible(user: User, user_id: str | None) -> str | None:
    """Whose complaints are shown; None: everybody's. Raises Forbidden."""
    if user_id is not None and not may_see(user, user_id):
        raise Forbidden("This needs the role operator or admin.")
    return user_id or scope_of(user)


def _received(text: str | None) -> dt.datetime:
    now = clock.now()
    if text is None:
        return now
    begin, end = fields.span_of("received_at", text)
    moment = min(end - dt.timedelta(milliseconds=1), now)  # of a day: its end, but not the future
    if begin > now:
        raise invalid("received_at", "must not be ahead")
    if moment < now - dt.timedelta(days=_EARLIER_DAYS_MAX):
        raise invalid("received_at", f"must be within the last {_EARLIER_DAYS_MAX} days")
    return moment


# --- how a complaint is shown -------------------------------------------------------------------


async def _with_evidence(one: Complaint) -> ComplaintWithEvidenceOut:
    owner = None if one["owner"] == PLATFORM else one["owner"]
    return ComplaintWithEvidenceOut(
        **_fields(one), **await _standing(owner), evidence=one["evidence"]
    )


async def _standing(owner: str | None) -> dict[str, Any]:
    found = await complaints.get_standing(owner)
    return {
        "complaints_in_ten_days": found.count,
        "warning_at": complaints.WARNING_AT,
        "limit": complaints.LIMIT,
        "level": found.level,
        "what_follows": found.what_follows,
    }


def _fields(one: Complaint) -> dict[str, Any]:
    return {
        "complaint_id": one["_id"],
        "user_id": None if one["owner"] == PLATFORM else one["owner"],
        "number": one["number"],
        "source": one["source"],
        "text": one["text"],
        "received_at": one["received_at"],
        "recorded_at": one["recorded_at"],
        "recorded_by": one["recorded_by"],
    }
