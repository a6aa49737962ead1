"""Admin route of rate previews: what a rate card would change, before it is in force."""

import asyncio
from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, Request, UploadFile
from pydantic import BaseModel, BeforeValidator, Field

from api import fields, middleware, problems
from api.dependencies import Operator
from api.fields import Instant, RequestModel, RupeesOut
from billing import rate_card_files, rate_cards
from billing.rate_card_files import InvalidRateCard, Price
from core.csv_files import FileTooLarge, UnreadableFile
from core.errors import InvalidRequest, NotFound, invalid
from reporting import rate_previews
from reporting.rate_previews import Change, Difference, Week

router = APIRouter(prefix="/api/admin/rate-cards", tags=["admin"], route_class=problems.Route)
middleware.allow_large_body(f"{router.prefix}/preview", rate_cards.FILE_BYTES_MAX + 64 * 1024)

_ROWS_SHOWN: Final = 20
_ERRORS_SHOWN: Final = 200

# --- shapes -------------------------------------------------------------------------------------

_blank = BeforeValidator(fields.blank_is_absent)


class PreviewIn(RequestModel):
    """A rate card as a CSV file, or the version of one that is stored."""

    # The Swagger page offers a file to choose for `binary`.
    file: Annotated[UploadFile | None, Field(json_schema_extra={"format": "binary"})] = None
    version: Annotated[int | None, Field(ge=1, le=2**31 - 1), _blank] = None


class PriceOut(BaseModel):
    """A row of a card. Pulses, minimum and fee are null where those of the settings hold."""

    prefix: str
    destination: str
    rate_per_minute: RupeesOut
    first_pulse_seconds: int | None
    pulse_seconds: int | None
    minimum_seconds: int | None
    connection_fee: RupeesOut | None
    valid_from: str | None
    valid_until: str | None


class ChangeOut(BaseModel):
    """What changes for a prefix; null: it has no price on that side."""

    prefix: str
    old: PriceOut | None
    new: PriceOut | None


class DifferenceOut(BaseModel):
    """Against the card in force (`version`; null: there is none). The lists are cut at 100, the counts
    are not; of what changes the largest changes come first."""

    version: int | None
    added_count: int
    removed_count: int
    changed_count: int
    same_count: int
    added: list[ChangeOut]
    removed: list[ChangeOut]
    changed: list[ChangeOut]


class WeekOut(BaseModel):
    """What the answered calls of the last week were charged, and what they would cost with this card.
    `own_rate` calls have a rate of their own in any case; `unrated` ones could not be placed, to numbers
    that begin so (`unrated_prefixes`). Without `is_all` these are the latest 5,000 calls."""

    since: Instant
    until: Instant
    is_all: bool
    calls: int
    seconds: int
    charged: RupeesOut
    with_card: RupeesOut
    own_rate: int
    unrated: int
    unrated_prefixes: list[str]


class PreviewOut(BaseModel):
    """What a card has and would change. With `errors` (the first 200 of `errors_count`) it would not be
    taken, and nothing else is there."""

    ok: bool
    rows_count: int
    rows: list[PriceOut]
    errors: list[dict[str, Any]]
    errors_count: int
    difference: DifferenceOut | None
    last_week: WeekOut | None


# --- the route ----------------------------------------------------------------------------------


@router.post(
    "/preview",
    response_model=PreviewOut,
    responses=problems.documented(InvalidRequest, NotFound, FileTooLarge, UnreadableFile),
)
async def preview_rate_card(
    request: Request,
    _: Operator,
    form: Annotated[PreviewIn, Form(media_type="multipart/form-data")],
) -> PreviewOut:
    """What a file, or a stored version, would change if it were put in force now: refused rows, the
    difference to the card in force, and what the calls of last week would have cost. Nothing is stored."""
    await fields.require_each_field_once(request)
    if (form.file is None) == (form.version is None):
        raise invalid("file", "send a file, or the version of a stored card")
    try:
        prices = await _prices(form)
    except InvalidRateCard as refusal:
        return _refused(refusal)
    rows = rate_previews.rows_of(prices)
    difference, version = await rate_previews.find_difference(rows)
    return PreviewOut(
        ok=True,
        rows_count=len(prices),
        rows=[_price(price) for price in prices[:_ROWS_SHOWN]],
        errors=[],
        errors_count=0,
        difference=_difference(difference, version),
        last_week=_week(await rate_previews.rate_last_week(rows)),
    )


async def _prices(form: PreviewIn) -> list[Price]:
    if form.file is None:
        assert form.version is not None
        return await rate_cards.prices_of_rate_card(form.version)
    content = await form.file.read()
    return await asyncio.to_thread(rate_card_files.parse_file, content)


# --- how it is shown ----------------------------------------------------------------------------


def _refused(refusal: InvalidRateCard) -> PreviewOut:
    return PreviewOut(
        ok=False,
        rows_count=0,
        rows=[],
        errors=refusal.extra["errors"][:_ERRORS_SHOWN],
        errors_count=refusal.extra["errors_count"],
        difference=None,
        last_week=None,
    )


def _difference(found: Difference, version: int | None) -> DifferenceOut:
    return DifferenceOut(
        version=version,
        added_count=found.added_count,
        removed_count=found.removed_count,
        changed_count=found.changed_count,
        same_count=found.same_count,
        added=list(map(_change, found.added)),
        removed=list(map(_change, found.removed)),
        changed=list(map(_change, found.changed)),
    )


def _change(change: Change) -> ChangeOut:
    old, new = change.old, change.new
    return ChangeOut(prefix=change.prefix, old=old and _price(old), new=new and _price(new))


def _price(price: Price) -> PriceOut:
    return PriceOut(
        prefix=price.prefix,
        destination=price.destination,
        rate_per_minute=price.rate_paise_per_minute,
        first_pulse_seconds=price.first_pulse_seconds,
        pulse_seconds=price.pulse_seconds,
        minimum_seconds=price.minimum_seconds,
        connection_fee=price.connection_fee_paise,
        valid_from=price.valid_from and price.valid_from.isoformat(),
        valid_until=price.valid_until and price.valid_until.isoformat(),
    )


def _week(week: Week) -> WeekOut:
    return WeekOut(
        since=week.since,
        until=week.until,
        is_all=week.is_all,
        calls=week.calls,
        seconds=week.seconds,
        charged=week.charged_paise,
        with_card=week.with_card_paise,
        own_rate=week.own_rate,
        unrated=week.unrated,
        unrated_prefixes=week.unrated_prefixes,
    )
