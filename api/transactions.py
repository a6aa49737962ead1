"""Transaction routes: the history in pages, its sums, its CSV."""

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

import transactions
import users
from api import downloads, fields, problems
from api.dependencies import CurrentUser, PageOfAnyCursor, scope_of, sees_everybody
from api.fields import Instant, RupeesOut, When
from core import clock, csv_files, money
from core.csv_files import BYTE_ORDER_MARK
from core.database import Document
from core.errors import Forbidden, InvalidCursor, InvalidRequest, NotFound
from ledger import Category, Entry, Type
from reporting import totals
from transactions import Filter, Period
from users import User

router = APIRouter(prefix="/api/transactions", tags=["transactions"], route_class=problems.Route)


# --- shapes -------------------------------------------------------------------------------------

Id = Annotated[str | None, Query(max_length=100)]


class TransactionOut(BaseModel):
    """One movement of money. `user_email` is there for admins."""

    id: str
    user_id: str
    seq: int
    type: Type
    category: Category
    amount: RupeesOut
    balance_after: RupeesOut
    description: str
    call_id: str | None
    campaign_id: str | None
    order_id: str | None
    payment_id: str | None
    refund_id: str | None
    created_at: Instant
    user_email: str | None = None


class SummaryOut(BaseModel):
    """What the whole filter adds up to, in rupees."""

    total_credits: RupeesOut
    total_debits: RupeesOut
    credit_count: int
    debit_count: int


class HistoryOut(BaseModel):
    """A page of movements, newest first."""

    transactions: list[TransactionOut]
    next_cursor: str | None
    summary: SummaryOut


# --- routes -------------------------------------------------------------------------------------


@problems.raises(Forbidden, InvalidRequest)
async def _filter(
    user: CurrentUser,
    *,
    type: Type | None = None,
    category: Category | None = None,
    from_: Annotated[When, Query(alias="from")] = None,
    to: When = None,
    campaign_id: Id = None,
    call_id: Id = None,
    user_id: Annotated[Id, Query(description="Whose; operators and admins only")] = None,
) -> Filter:
    """The filter of the query parameters, limited to what the user may see."""
    if not sees_everybody(user):
        if user_id not in (None, user.id):
            raise Forbidden("Only an operator may look at another user's transactions.")
        user_id = user.id
    return Filter(
        user_id=user_id,
        type=type,
        category=category,
        period=fields.period_of(from_, to),
        campaign_id=campaign_id,
        call_id=call_id,
    )


Chosen = Annotated[Filter, Depends(_filter)]
_problems = problems.documented(InvalidRequest, InvalidCursor)


@router.get("", response_model=HistoryOut, response_model_exclude_unset=True, responses=_problems)
async def page(user: CurrentUser, page: PageOfAnyCursor, chosen: Chosen) -> HistoryOut:
    """A page of the movements, newest first, and what the whole filter adds up to."""
    (entries, next_cursor), total = await asyncio.gather(
        transactions.list_transactions(chosen, limit=page.limit, cursor=page.cursor),
        totals.summary(chosen),
    )
    return HistoryOut(
        transactions=await _shown(entries, user),
        next_cursor=next_cursor,
        summary=SummaryOut(
            total_credits=total.credited_paise,
            total_debits=total.debited_paise,
            credit_count=total.credit_count,
            debit_count=total.debit_count,
        ),
    )


@router.get(
    "/download",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/csv": {}}, "description": "The CSV"}, **_problems},
)
async def download(
    user: CurrentUser,
    chosen: Chosen,
    excel: Annotated[bool, Query(description="Begin with a byte order mark")] = False,
) -> StreamingResponse:
    """The whole filter as CSV. A download that breaks off was not complete."""
    pieces = csv_of(chosen, for_admin=sees_everybody(user), byte_order_mark=excel)
    return await downloads.attachment(pieces, _file_name(chosen.period))


@router.get(
    "/{transaction_id}",
    response_model=TransactionOut,
    response_model_exclude_unset=True,
    responses=problems.documented(NotFound),
)
async def one(user: CurrentUser, transaction_id: str) -> TransactionOut:
    """One movement."""
    entry = await transactions.get_transaction(transaction_id, scope_of(user))
    return (await _shown([entry], user))[0]


# --- how an entry is shown ----------------------------------------------------------------------


async def _shown(entries: Sequence[Entry], user: User) -> list[TransactionOut]:
    """The entries as the user may see them."""
    emails: dict[str, str] | None = None
    if sees_everybody(user):
        emails = await users.find_emails({entry.user_id for entry in entries})
    return [_out(entry, emails) for entry in entries]


def _out(entry: Entry, emails: dict[str, str] | None) -> TransactionOut:
    shown = TransactionOut(
        id=entry.id,
        user_id=entry.user_id,
        seq=entry.seq,
        type=entry.type,
        category=entry.category,
        amount=entry.amount_paise,
        balance_after=entry.balance_after_paise,
        description=entry.description,
        call_id=entry.call_id,
        campaign_id=entry.campaign_id,
        order_id=entry.order_id,
        payment_id=entry.payment_id,
        refund_id=entry.refund_id,
        created_at=entry.created_at,
    )
    if emails is not None:
        shown.user_email = emails.get(entry.user_id)
    return shown


# --- the CSV ------------------------------------------------------------------------------------

_COLUMNS = (
    "transaction_id",
    "date",
    "user_id",
    "user_email",
    "type",
    "category",
    "amount",
    "balance_after",
    "description",
    "call_id",
    "campaign_id",
    "payment_id",
)
_ADMINS_COLUMNS = frozenset({"user_id", "user_email"})
_FIELDS = (
    "user_id",
    "type",
    "category",
    "amount_paise",
    "balance_after_paise",
    "description",
    "call_id",
    "campaign_id",
    "payment_id",
)
_EMAILS_MAX = 20_000


async def csv_of(
    chosen: Filter, *, for_admin: bool, byte_order_mark: bool = False
) -> AsyncGenerator[str, None]:
    """The entries of the filter as CSV (RFC 4180), one piece for each batch, in constant memory.

    The first piece needs the database: take it before the status is sent, and an outage is a 503.
    The lines are made in a thread, so that a large file delays nobody else.
    """
    columns = [name for name in _COLUMNS if for_admin or name not in _ADMINS_COLUMNS]
    head = (BYTE_ORDER_MARK if byte_order_mark else "") + csv_files.lines([columns])
    emails: dict[str, str] = {}
    async with contextlib.aclosing(transactions.rows(chosen, _FIELDS)) as found:
        async for batch in found:
            if for_admin:
                await _add_emails(emails, {row["user_id"] for row in batch})
            yield head + await asyncio.to_thread(_lines, batch, emails if for_admin else None)
            head = ""
    if head:
        yield head


async def _add_emails(emails: dict[str, str], user_ids: set[str]) -> None:
    """Look up the addresses that are not known yet; few at a time are kept."""
    if len(emails) > _EMAILS_MAX:
        emails.clear()
    if unknown := user_ids - emails.keys():
        emails |= dict.fromkeys(unknown, "") | await users.find_emails(unknown)


def _lines(batch: Sequence[Document], emails: Mapping[str, str] | None) -> str:
    """The lines of these documents; with the columns of admins when there are `emails`."""
    harmless, text = csv_files.harmless, money.text
    return csv_files.lines(
        (
            row["_id"],
            f"{row['created_at'].isoformat(timespec='milliseconds')}Z",
            *(
                (harmless(row["user_id"]), harmless(emails.get(row["user_id"], "")))
                if emails is not None
                else ()
            ),
            row["type"],
            row["category"],
            text(row["amount_paise"]),
            text(row["balance_after_paise"]),
            harmless(row["description"]),
            harmless(row["call_id"] or ""),
            harmless(row["campaign_id"] or ""),
            harmless(row["payment_id"] or ""),
        )
        for row in batch
    )


def _file_name(period: Period) -> str:
    """`transactions-2026-11-23.csv`, or with the days it covers."""
    first = period.since and clock.ist_date(period.since)
    last = period.until and clock.ist_date(period.until - dt.timedelta(milliseconds=1))
    if first is None and last is None:
        return f"transactions-{clock.ist_date(clock.now())}.csv"
    return f"transactions-{first or 'beginning'}-to-{last or clock.ist_date(clock.now())}.csv"
