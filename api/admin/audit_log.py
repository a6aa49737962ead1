"""Routes of the audit log: who did what, who logged in, who was refused; as pages and as CSV."""

import asyncio
import datetime as dt
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

import users
from api import downloads, fields, problems
from api.dependencies import Operator, Page
from api.fields import Instant
from auth import audit_log
from auth.audit_log import AuditEntry, EntryFilter, Outcome
from core import clock, csv_files
from core.csv_files import BYTE_ORDER_MARK
from core.errors import InvalidCursor, InvalidRequest

router = APIRouter(prefix="/api/admin/audit-log", tags=["admin"], route_class=problems.Route)


# --- shapes -------------------------------------------------------------------------------------


class TargetOut(BaseModel):
    """What it was done to."""

    kind: str
    id: str


class EntryOut(BaseModel):
    """One row. What an admin, an operator or a key does has two: `asked` before it, and `done`,
    `refused` or `failed` (a 5xx: not known) after it, with the first one's id in `asked_id`. `count`:
    how many refusals like this one a process had seen in that minute; only the 1st, 10th, 100th … have
    a row. `role`: `nobody` without an account, `system` for the service itself."""

    id: str
    at: Instant
    actor: str | None
    actor_email: str | None
    role: str
    key_id: str | None
    address: str
    action: str
    target: TargetOut | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    outcome: Outcome
    code: str | None
    count: int
    asked_id: str | None
    method: str | None
    path: str | None
    query: str | None
    status: int | None
    request_id: str


class EntriesOut(BaseModel):
    """A page of the audit log, newest first."""

    entries: list[EntryOut]
    next_cursor: str | None


# --- routes -------------------------------------------------------------------------------------

_Text = Annotated[str | None, Query(max_length=300)]


@problems.raises(InvalidRequest)
async def _filter(
    *,
    actor: Annotated[str | None, Query(max_length=100, description="A user's id")] = None,
    key_id: Annotated[str | None, Query(max_length=100, description="An API key's id")] = None,
    action: _Text = None,
    target: _Text = None,
    account: Annotated[
        str | None,
        Query(max_length=320, description="The e-mail address that somebody logged in with"),
    ] = None,
    outcome: Outcome | None = None,
    from_: Annotated[fields.When, Query(alias="from")] = None,
    to: fields.When = None,
) -> EntryFilter:
    """The filter of the query parameters."""
    period = fields.period_of(from_, to)
    if account is not None:
        target = audit_log.account_target(users.email_key(account)).id
    return EntryFilter(
        actor=actor,
        key_id=key_id,
        action=action,
        target=target,
        outcome=outcome,
        since=period.since,
        until=period.until,
    )


Chosen = Annotated[EntryFilter, Depends(_filter)]


@router.get("", response_model=EntriesOut, responses=problems.documented(InvalidCursor))
async def list_entries(_: Operator, page: Page, chosen: Chosen) -> EntriesOut:
    """What admins, operators and API keys did, every log-in, and every refusal; newest first."""
    found, next_cursor = await audit_log.list_entries(chosen, limit=page.limit, cursor=page.cursor)
    emails = await _emails_of(found)
    return EntriesOut(entries=[_out(row, emails) for row in found], next_cursor=next_cursor)


@router.get(
    "/download",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/csv": {}}, "description": "The CSV"}},
)
async def download_entries(
    _: Operator,
    chosen: Chosen,
    excel: Annotated[bool, Query(description="Begin with a byte order mark")] = False,
) -> StreamingResponse:
    """The whole filter as CSV, newest first. A download that breaks off was not complete."""
    name = f"audit-log-{clock.ist_date(clock.now())}.csv"
    return await downloads.attachment(_csv_of(chosen, byte_order_mark=excel), name)


# --- how a row is shown -------------------------------------------------------------------------


async def _emails_of(rows: Sequence[AuditEntry]) -> dict[str, str]:
    return await users.find_emails(
        {user_id for row in rows if (user_id := row["actor"]["user_id"]) is not None}
    )


def _out(row: AuditEntry, emails: Mapping[str, str]) -> EntryOut:
    actor, request = row["actor"], row["request"]
    return EntryOut(
        id=row["_id"],
        at=row["at"],
        actor=actor["user_id"],
        actor_email=emails.get(actor["user_id"] or ""),
        role=actor["role"],
        key_id=actor["key_id"],
        address=row["address"],
        action=row["action"],
        target=None if row["target"] is None else TargetOut(**row["target"]),
        before=_json_of(row["before"]),
        after=_json_of(row["after"]),
        outcome=row["outcome"],
        code=row["code"],
        count=row["count"],
        asked_id=row["asked_id"],
        method=request and request["method"],
        path=request and request["path"],
        query=request and request["query"],
        status=request and request["status"],
        request_id=row["request_id"],
    )


def _json_of(facts: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The facts with their moments written as everywhere in the API."""
    if facts is None:
        return None
    return {
        name: clock.iso(value) if isinstance(value, dt.datetime) else value
        for name, value in facts.items()
    }


# --- the CSV ------------------------------------------------------------------------------------

_COLUMNS = (
    "id",
    "at",
    "actor",
    "actor_email",
    "role",
    "key_id",
    "address",
    "action",
    "target_kind",
    "target_id",
    "outcome",
    "code",
    "count",
    "before",
    "after",
    "method",
    "path",
    "query",
    "status",
    "request_id",
    "asked_id",
)


async def _csv_of(chosen: EntryFilter, *, byte_order_mark: bool) -> AsyncGenerator[str, None]:
    """The rows of the filter as CSV (RFC 4180), one piece for each batch, in constant memory; the
    lines are made in a thread."""
    head = (BYTE_ORDER_MARK if byte_order_mark else "") + csv_files.lines([_COLUMNS])
    async for batch in audit_log.rows(chosen):
        emails = await _emails_of(batch)
        shown = [_out(row, emails) for row in batch]
        yield head + await asyncio.to_thread(_lines, shown)
        head = ""
    if head:
        yield head


def _lines(rows: Sequence[EntryOut]) -> str:
    return csv_files.lines([csv_files.harmless(cell) for cell in _cells(row)] for row in rows)


def _cells(row: EntryOut) -> list[str]:
    """The cells of a row, in the order of `_COLUMNS`; nearly all can hold what a client has sent."""
    told: dict[str, Any] = {
        **row.model_dump(exclude={"target", "at"}),
        "at": clock.iso(row.at),
        "target_kind": row.target and row.target.kind,
        "target_id": row.target and row.target.id,
        "before": row.before and json.dumps(row.before, ensure_ascii=False),
        "after": row.after and json.dumps(row.after, ensure_ascii=False),
    }
    return ["" if told[name] is None else str(told[name]) for name in _COLUMNS]
