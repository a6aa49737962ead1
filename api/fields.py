"""Field types of requests and answers: rupees, moments, days, telephone numbers."""

import datetime as dt
import re
from typing import Annotated, Any, Final

from fastapi import Query, Request
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
)

from billing.pricing import RATE_PAISE_MAX
from core import clock, money, phone_numbers, texts
from core.errors import invalid
from transactions import Period


class RequestModel(BaseModel):
    """The base of every body and form of a request: a field that is not known is refused, for it
    would do nothing, and its sender believes that it does."""

    model_config = ConfigDict(extra="forbid")


Instant = Annotated[
    dt.datetime,
    PlainSerializer(clock.iso, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


# --- the period ---------------------------------------------------------------------------------

# Later than any deadline of ours, and far enough from the end of the calendar that a day can be added
# in every time zone. Nothing here is older than the first day.
FIRST_DAY: Final = dt.date(1970, 1, 1)
LAST_DAY: Final = dt.date(9998, 12, 31)
_DAY: Final = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME: Final = r"T[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?"
_date_form = re.compile(_DAY)
# An unescaped + of an offset is decoded to a space.
_moment_form = re.compile(f"({_DAY}{_TIME})(Z|[ +-][0-9]{{2}}:[0-9]{{2}})")

# A day or a moment in a request, for `span_of`. The pattern is for clients: the refusal is ours.
WhenText = Annotated[
    str,
    Field(
        max_length=64,
        json_schema_extra={
            "pattern": f"^{_DAY}({_TIME}(Z|[+-][0-9]{{2}}:[0-9]{{2}}))?$",
            "examples": ["2026-11-01", "2026-11-01T09:00:00Z"],
        },
    ),
]


def period_of(first: str | None, last: str | None) -> Period:
    """The period of the query parameters `from` and `to`, both ends included.

    `2026-11-01` is that day in India; `2026-11-01T09:00:00Z` is a moment, with its offset. Raises
    InvalidRequest, also when `first` is after `last`.
    """
    since = None if first is None else span_of("from", first)[0]
    until = None if last is None else span_of("to", last)[1]
    if since is not None and until is not None and since >= until:
        raise invalid("from", "must not be after `to`")
    return Period(since, until)


def span_of(field: str, text: str) -> tuple[dt.datetime, dt.datetime]:
    """When the day or the millisecond that `text` names begins, and when it is over.

    Raises InvalidRequest, also for what is not between `FIRST_DAY` and `LAST_DAY`.
    """
    try:
        begin, end = _day_of(text) or _millisecond_of(text)
    except ValueError:
        raise invalid(
            field, "must be a day (2026-11-01) or a moment (2026-11-01T09:00:00Z)"
        ) from None
    except OverflowError:
        raise invalid(field, f"must be between {FIRST_DAY} and {LAST_DAY}") from None
    if not clock.ist_day_start(FIRST_DAY) <= begin < clock.ist_day_end(LAST_DAY):
        raise invalid(field, f"must be between {FIRST_DAY} and {LAST_DAY}")
    return begin, end


def _day_of(text: str) -> tuple[dt.datetime, dt.datetime] | None:
    """The day in India that `text` names; None when it is not written as a day."""
    if not _date_form.fullmatch(text):
        return None
    day = dt.date.fromisoformat(text)
    return clock.ist_day_start(day), clock.ist_day_end(day)


def _millisecond_of(text: str) -> tuple[dt.datetime, dt.datetime]:
    parts = _moment_form.fullmatch(text)
    if parts is None:
        raise ValueError("no moment")
    written = dt.datetime.fromisoformat(parts[1] + parts[2].replace(" ", "+"))
    moment = written.astimezone(dt.UTC)
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    return moment, moment + dt.timedelta(milliseconds=1)


When = Annotated[
    WhenText | None,
    Query(description="A day in India (`2026-11-01`) or a moment (`2026-11-01T09:00:00Z`)"),
]


# --- fields of requests and responses ------------------------------------------------------------

# No `multipleOf: 0.01`: a client that checks it with floats refuses every ninth valid amount.
_RUPEES: Final = {
    "type": "number",
    "description": "Rupees, with at most two decimals",
    "examples": [150.5],
}
_rupees_sent = WithJsonSchema({**_RUPEES, "exclusiveMinimum": 0, "maximum": money.RUPEES_MAX})

# A request field: rupees in JSON, parsed to int paise. What is not positive is refused, by the field
# or by the one who knows the smallest amount.
RupeesIn = Annotated[int, BeforeValidator(money.paise_of), _rupees_sent]
# The same, strictly positive.
PositiveRupeesIn = Annotated[int, BeforeValidator(money.paise_of), Field(gt=0), _rupees_sent]
# The same, or nothing at all.
NonNegativeRupeesIn = Annotated[
    int,
    BeforeValidator(money.paise_of),
    Field(ge=0),
    WithJsonSchema({**_RUPEES, "minimum": 0, "maximum": money.RUPEES_MAX}),
]
# A rate in rupees a minute; `billing.rates` refuses the others.
rate_schema = WithJsonSchema(
    {**_RUPEES, "exclusiveMinimum": 0, "maximum": money.floor_div(RATE_PAISE_MAX, 100)}
)
RateIn = Annotated[int, BeforeValidator(money.paise_of), rate_schema]


def _rupees_out(paise: Any) -> float:
    return money.rupees(paise)


# A response field: int paise, written as rupees in JSON.
RupeesOut = Annotated[int, PlainSerializer(_rupees_out, return_type=float), WithJsonSchema(_RUPEES)]


def _spoken(text: str) -> str:
    texts.required(text)
    return text


def _explained(text: str) -> str:
    return texts.required(text, length_min=_REASON_CHARACTERS_MIN)


_REASON_CHARACTERS_MIN = 3
# What is said in a call; not trimmed, but something must be left to say.
Message = Annotated[str, Field(min_length=1, max_length=1_000), AfterValidator(_spoken)]
# What somebody calls a thing of theirs.
Title = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(texts.required)]
# Why somebody did something that others have to understand later.
Reason = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=_REASON_CHARACTERS_MIN, max_length=200),
    AfterValidator(_explained),
]
Note = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=_REASON_CHARACTERS_MIN, max_length=500),
    AfterValidator(_explained),
]


def blank_is_absent(value: object) -> object:
    """None for a field of a form that was left blank."""
    return None if isinstance(value, str) and texts.is_blank(value) else value


async def require_each_field_once(request: Request) -> None:
    """InvalidRequest when a form has a field or a file twice: one of them would be ignored."""
    names = [name for name, _ in (await request.form()).multi_items()]
    for name in names:
        if names.count(name) > 1:
            raise invalid(texts.trimmed(name), f"is there {names.count(name)} times; send it once")


Phone = Annotated[str, Field(min_length=1, max_length=phone_numbers.TEXT_LENGTH_MAX)]


def number_of(text: str) -> str:
    """The telephone number in `text` as E.164, of any country and kind. Raises InvalidNumber."""
    try:
        return phone_numbers.phone_of(text)
    except ValueError as refusal:
        raise phone_numbers.InvalidNumber(
            f"The number {refusal}", reason="invalid_number"
        ) from None
