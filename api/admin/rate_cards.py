"""Admin routes of rate cards: upload, list, activate, download."""

import asyncio
import datetime as dt
import hashlib
from typing import Annotated, Final

from fastapi import APIRouter, Form, Request, Response, UploadFile
from fastapi.responses import StreamingResponse
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from api import downloads, fields, middleware, problems
from api.dependencies import Admin, Operator, Page
from api.fields import Instant, RequestModel
from api.idempotency import Answer, Idempotent
from auth import audit_log
from auth.audit_log import Target
from billing import rate_card_files, rate_cards, rates
from billing.rate_card_files import InvalidRateCard
from billing.rate_cards import FILE_BYTES_MAX, RateCard
from core import clock, texts
from core.csv_files import FileTooLarge, UnreadableFile
from core.errors import InvalidRequest, NotFound, invalid

router = APIRouter(prefix="/api/admin/rate-cards", tags=["admin"], route_class=problems.Route)
_AHEAD_DAYS: Final = 366


middleware.allow_large_body(router.prefix, FILE_BYTES_MAX + 64 * 1024)


# --- shapes -------------------------------------------------------------------------------------

_blank = BeforeValidator(fields.blank_is_absent)


class RateCardIn(RequestModel):
    """A rate card as a CSV file, what it is about, and from when on it holds."""

    # The Swagger page offers a file to choose for `binary`.
    file: Annotated[UploadFile, Field(json_schema_extra={"format": "binary"})]
    note: Annotated[str, Field(max_length=200), AfterValidator(texts.trimmed)] = ""
    effective_from: Annotated[fields.WhenText | None, _blank] = None


class RateCardOut(BaseModel):
    """A version of the rate card."""

    version: int
    rows_count: int
    note: str
    sha256: str
    created_at: Instant
    created_by: str


class ScheduledOut(BaseModel):
    """Which version is in force from when on; null for no card at all."""

    version: int | None
    effective_from: Instant


class RateCardsOut(BaseModel):
    """Versions, newest first, and the one in force at the moment that was asked for. `schedule`: what
    is in force now, if a card was ever put in force, and what comes later, in this order."""

    active_version: int | None
    schedule: list[ScheduledOut]
    rate_cards: list[RateCardOut]
    next_cursor: str | None


class ActivationIn(RequestModel):
    """The version to put in force, or null for no card at all: then the single rate holds."""

    version: Annotated[int, Field(strict=True, ge=1, le=2**31 - 1)] | None
    effective_from: fields.WhenText | None = None


class ActivationOut(BaseModel):
    """What is in force from when on."""

    version: int | None
    effective_from: Instant


# --- routes -------------------------------------------------------------------------------------


@router.post(
    "",
    status_code=201,
    response_model=RateCardOut,
    responses=problems.documented(InvalidRequest, FileTooLarge, UnreadableFile, InvalidRateCard),
)
async def upload_rate_card(
    request: Request,
    admin: Admin,
    form: Annotated[RateCardIn, Form(media_type="multipart/form-data")],
    once: Idempotent,
) -> Response:
    """Put a new rate card in force, now or from `effective_from` on: all of it, or, when any row is
    wrong, nothing of it."""
    await fields.require_each_field_once(request)
    content = await form.file.read()
    since = _since(form.effective_from)

    async def work(seed: str) -> Answer:
        prices = await asyncio.to_thread(rate_card_files.parse_file, content)
        before = await rates.find_rate_card_version()
        card = await rate_cards.create_rate_card(
            f"card_{seed}", prices, effective_from=since, by=admin.email, note=form.note
        )
        audit_log.describe(
            "rate_card.create",
            Target("rate_card", str(card["version"])),
            before={"version": before},
            after={
                "version": card["version"],
                "rows": card["rows_count"],
                "sha256": card["sha256"],
                "effective_from": since,
            },
        )
        return Answer(201, _out(card))

    digest = hashlib.sha256(content)
    digest.update(form.model_dump_json(exclude={"file"}).encode())
    return await once(admin.id, work, fingerprint=digest.digest())


@router.post(
    "/activate",
    response_model=ActivationOut,
    responses=problems.documented(InvalidRequest, NotFound),
)
async def activate_rate_card(admin: Admin, body: ActivationIn) -> ActivationOut:
    """Put an earlier version in force again, or none."""
    before = await rates.find_rate_card_version()
    since = await rate_cards.activate_rate_card(
        body.version, effective_from=_since(body.effective_from), by=admin.email
    )
    audit_log.describe(
        "rate_card.activate",
        Target("rate_card", str(body.version)),
        before={"version": before},
        after={"version": body.version, "effective_from": since},
    )
    return ActivationOut(version=body.version, effective_from=since)


@router.get(
    "",
    response_model=RateCardsOut,
    responses=problems.documented(InvalidRequest),
)
async def list_rate_cards(
    _: Operator,
    page: Page,
    at: fields.When = None,
) -> RateCardsOut:
    """Every version, newest first, and which one is in force now, or at `at` (a day: at its end)."""
    moment = (
        clock.now() if at is None else fields.span_of("at", at)[1] - dt.timedelta(milliseconds=1)
    )
    found, next_cursor = await rate_cards.list_rate_cards(limit=page.limit, cursor=page.cursor)
    return RateCardsOut(
        active_version=await rate_cards.find_version_at(moment),
        schedule=[
            ScheduledOut(version=each["version"], effective_from=each["effective_from"])
            for each in await rate_cards.list_schedule()
        ],
        rate_cards=[_out(card) for card in found],
        next_cursor=next_cursor,
    )


@router.get(
    "/{version}/download",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/csv": {}}, "description": "The CSV"},
        **problems.documented(InvalidRequest, NotFound),
    },
)
async def download_rate_card(
    _: Operator, version: Annotated[int, Field(ge=1, le=2**31 - 1)]
) -> StreamingResponse:
    """A version as CSV, which can be changed and sent again."""
    return await downloads.attachment(
        rate_cards.csv_of_rate_card(version), f"rate-card-{version}.csv"
    )


def _since(text: str | None) -> dt.datetime | None:
    """The moment or the beginning of the day in India that `text` names; not the past."""
    if text is None:
        return None
    moment = fields.span_of("effective_from", text)[0]
    ahead = moment - clock.now()
    if not dt.timedelta(days=-1) < ahead < dt.timedelta(days=_AHEAD_DAYS):
        raise invalid("effective_from", f"must be within the next {_AHEAD_DAYS} days")
    return moment


# --- how a rate card is shown -------------------------------------------------------------------


def _out(card: RateCard) -> RateCardOut:
    return RateCardOut(
        version=card["version"],
        rows_count=card["rows_count"],
        note=card["note"],
        sha256=card["sha256"],
        created_at=card["created_at"],
        created_by=card["created_by"],
    )
