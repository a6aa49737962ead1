"""Field types of requests and answers: rupees, moments, days, telephone numbers."""

import datetime as dt
import re
from typing import Annotated, Any

from fastapi import Query, Request
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
)

from core import clock, money, phone_numbers, texts
from core.errors import invalid
from transactions import Period

Instant = Annotated[dt.datetime, PlainSerializer(clock.iso, return_type=str)]


# --- the period ---------------------------------------------------------------------------------

_date_form = re.compile(r"\d{4}-\d{2}-\d{2}")
_moment_form = re.compile(r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}[0-9:.]*)(Z|[ +-]\d{2}:\d{2})")


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
    """When the day or the millisecond that `text` names begins, and when it is over."""
    try:
        if _date_form.fullmatch(text):
            day = dt.date.fromisoformat(text)
            return clock.ist_day_start(day), clock.ist_day_end(day)
        if parts := _moment_form.fullmatch(text):
            # An unescaped + of an offset is decoded to a space.
            written = dt.datetime.fromisoformat(parts[1] + parts[2].replace(" ", "+"))
            moment = written.astimezone(dt.UTC)
            moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
            return moment, moment + dt.timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        pass
    raise invalid(field, "must be a day (2026-11-01) or a moment (2026-11-01T09:00:00Z)")


When = Annotated[
    str | None,
    Query(description="A day in India (`2026-11-01`) or a moment (`2026-11-01T09:00:00Z`)"),
]


# --- fields of requests and responses ------------------------------------------------------------

_rupees_schema = WithJsonSchema(
    {"type": "number", "multipleOf": 0.01, "examples": [150.5], "description": "Rupees"}
)

# A request field: rupees in JSON, parsed to int paise.
RupeesIn = Annotated[int, BeforeValidator(money.paise_of), _rupees_schema]
# The same, strictly positive.
PositiveRupeesIn = Annotated[int, BeforeValidator(money.paise_of), Field(gt=0), _rupees_schema]


def _rupees_out(paise: Any) -> float:
    return money.rupees(paise)


# A response field: int paise, written as rupees in JSON.
RupeesOut = Annotated[int, PlainSerializer(_rupees_out, return_type=float), _rupees_schema]


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
