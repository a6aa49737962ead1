"""Razorpay's forms: ids, errors, collections, pages of a list, and how requests are read."""

import dataclasses
import datetime as dt
import json
import re
import secrets
import string
from typing import Any

from motor.motor_asyncio import AsyncIOMotorCollection
from starlette.datastructures import QueryParams
from starlette.requests import Request

Document = dict[str, Any]

_ID_LETTERS = string.ascii_letters + string.digits
UNIX_SECONDS_MAX = 4_102_444_800  # the year 2100
NEWEST_FIRST = [("created_at", -1), ("_id", -1)]


class Refusal(Exception):
    """An error answer, with the members that Razorpay gives it."""

    def __init__(
        self, description: str, reason: str | None, *, status: int = 400, **more: Any
    ) -> None:
        super().__init__(description)
        self.status = status
        self.error: Document = {
            "code": "BAD_REQUEST_ERROR",
            "description": description,
            "source": "business",
            "step": "payment_initiation",
            "reason": reason,
            "metadata": {},
            **more,
        }


def unknown_id() -> Refusal:
    """For an id that nothing has."""
    return Refusal("The id provided does not exist", "input_validation_failed")


def not_valid(field: str) -> Refusal:
    """For a field that cannot be read."""
    return Refusal(f"{field} is not valid", "input_validation_failed", field=field)


def new_id(kind: str) -> str:
    """`pay_` and 14 letters and digits, for example."""
    return f"{kind}_" + letters(14)


def letters(count: int) -> str:
    """So many random letters and digits."""
    return "".join(secrets.choice(_ID_LETTERS) for _ in range(count))


def seconds(moment: dt.datetime) -> int:
    """Unix time, as Razorpay gives all times."""
    return int(moment.timestamp())


def moment_of(unix_seconds: int) -> dt.datetime:
    """The moment of a Unix time."""
    return dt.datetime.fromtimestamp(unix_seconds, dt.UTC)


def collection(items: list[Document]) -> Document:
    """A list, in its envelope."""
    return {"entity": "collection", "count": len(items), "items": items}


# --- what a request says ------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is wanted."""

    count: int
    skip: int
    window: Document

    async def of(
        self, documents: AsyncIOMotorCollection[Document], where: Document
    ) -> list[Document]:
        """The newest first."""
        found = documents.find(where | self.window).sort(NEWEST_FIRST)
        return await found.skip(self.skip).limit(self.count).to_list(None)


def page_of(query: QueryParams, *, most: int = 100) -> Page:
    """`from`, `to` (Unix seconds, both included), `count` and `skip`."""
    window: Document = {}
    if "from" in query:
        window["$gte"] = moment_of(number(query["from"], 0, most=UNIX_SECONDS_MAX))
    if "to" in query:
        window["$lt"] = moment_of(number(query["to"], 0, most=UNIX_SECONDS_MAX) + 1)
    return Page(
        count=number(query.get("count"), 10, most=most),
        skip=number(query.get("skip"), 0, most=10**6),
        window={"created_at": window} if window else {},
    )


def number(text: str | None, default: int, *, most: int) -> int:
    """A number of a query string. Raises Refusal."""
    if text is None:
        return default
    if not text.isascii() or not re.fullmatch(r"[0-9]{1,12}", text) or int(text) > most:
        raise Refusal(f"must be a number up to {most}", "input_validation_failed")
    return int(text)


async def body_of(request: Request) -> Document:
    """The JSON object of the body; nothing is {}. Raises Refusal."""
    try:
        body = json.loads(await request.body() or b"{}")
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise Refusal("The body is not a JSON object", "input_validation_failed")
    return body


async def fields_of(request: Request) -> dict[str, str]:
    """Text fields from JSON or a form; a nested `card` is flattened."""
    if request.headers.get("content-type", "").startswith("application/json"):
        body = await body_of(request)
        if isinstance(body.get("card"), dict):
            body |= body.pop("card")
        return {name: str(value) for name, value in body.items() if value is not None}
    async with request.form() as form:
        return {name: value for name, value in form.items() if isinstance(value, str)}


def only(body: Document, *fields: str) -> Document:
    """The body, when it has no other fields than these. Raises Refusal."""
    for field in body.keys() - set(fields):
        raise Refusal(
            f"{field} is/are not required and should not be sent", "extra_field_sent", field=field
        )
    return body


def notes_of(body: Document) -> Document:
    """At most 15 notes. Raises Refusal."""
    notes = body.get("notes") or {}
    if not isinstance(notes, dict) or len(notes) > 15:
        raise Refusal("The notes are not valid", "input_validation_failed", field="notes")
    return notes


def receipt_of(body: Document) -> str | None:
    """The merchant's own number, up to 40 characters. Raises Refusal."""
    receipt = body.get("receipt")
    if receipt is not None and (not isinstance(receipt, str) or len(receipt) > 40):
        raise Refusal(
            "The receipt may not be greater than 40 characters.",
            "input_validation_failed",
            field="receipt",
        )
    return receipt
