"""Campaign results: contacts and attempts as CSV, and the contacts that a search finds."""

import asyncio
import datetime as dt
import functools
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

import telephony
from calls import records as call_records
from calls.records import Call
from campaigns import contacts
from campaigns.contacts import Contact, ContactCategory
from campaigns.options import purpose_of
from campaigns.records import Campaign
from compliance import do_not_call
from core import clock, csv_files, money, phone_numbers
from core.database import Document, db
from core.outbox import Event
from core.pagination import Order

# --- vocabulary ---------------------------------------------------------------------------------

_CONTACT_COLUMNS: Final = (
    "row",
    "to",
    "state",
    "reason",
    "attempts",
    "call_id",
    "duration_seconds",
    "cost",
    "updated_at",
    "answered_by",
    "pressed_key",
    "pressed_meaning",
    "first_call_ist",
    "last_call_ist",
    "purpose",
    "exported_ist",
)
_ATTEMPT_COLUMNS: Final = (
    "call_id",
    "to",
    "attempt",
    "status",
    "failure_reason",
    "answered_by",
    "caller_id",
    "purpose",
    "created_ist",
    "answered_ist",
    "ended_ist",
    "duration_seconds",
    "cost",
    "billing_status",
    "exported_ist",
)

# A request reads at most so many contacts that a search may not find; the next one goes on there.
_SEARCHED_MAX: Final = 1_000
_BY_ROW: Final = Order((("row", int),), name="search", ascending=True)
_BY_NUMBER: Final = Order((("_id", str),), name="number", ascending=True)
_DIALLING_MARKS: Final = str.maketrans("", "", " -()./")


class CallTimes(NamedTuple):
    """When a number was called for the first and for the last time."""

    first: dt.datetime
    last: dt.datetime


# --- the contacts as CSV ------------------------------------------------------------------------


async def results_csv(campaign: Campaign, *, byte_order_mark: bool) -> AsyncGenerator[str, None]:
    """One row for each contact, in the order of the list, with the columns of the list behind those
    of the result (RFC 4180), batch by batch, so that memory is bounded.

    Contacts that are called meanwhile are as they were when their batch was read; `exported_ist` is
    when the export began. Times of calls are in India's time, `updated_at` is in UTC.
    """
    listed = list(campaign.get("columns", ()))
    names = _distinct([*_CONTACT_COLUMNS, *map(csv_files.harmless, listed)])
    constant = (purpose_of(campaign), csv_files.ist(clock.now()))
    keys = campaign.get("keys") or {}
    head = (csv_files.BYTE_ORDER_MARK if byte_order_mark else "") + csv_files.lines([names])
    async for batch in csv_files.batches(contacts.iterate_contacts(campaign["_id"])):
        times = await _times_of(campaign, batch)
        one_row = functools.partial(
            _result_of, times=times, keys=keys, constant=constant, cell_count=len(listed)
        )
        yield head + await asyncio.to_thread(csv_files.lines_of, batch, one_row)
        head = ""
    if head:
        yield head


def _result_of(
    contact: Contact,
    *,
    times: Mapping[str, CallTimes],
    keys: Mapping[str, str],
    constant: Sequence[str],
    cell_count: int,
) -> list[str]:
    duration, called = contact["duration_seconds"], times.get(contact["to"])
    cells = contact.get("cells", [])[:cell_count]
    return [
        str(contact["row"]),
        csv_files.harmless(contact["to"]),
        contacts.counted_as(contact),
        csv_files.harmless(contact["reason"] or ""),
        str(contact["attempts"]),
        contact["call_id"] or "",
        "" if duration is None else str(duration),
        money.text(contact["cost_paise"]),
        clock.iso(contact["updated_at"]),
        contact.get("answered_by") or "",
        *_pressed(contact.get("pressed"), keys),
        csv_files.ist(called.first) if called else "",
        csv_files.ist(called.last) if called else "",
        *constant,
        *map(csv_files.harmless, cells),
        *[""] * (cell_count - len(cells)),
    ]


def _pressed(meaning: str | None, keys: Mapping[str, str]) -> tuple[str, str]:
    """The key that was pressed, and what it means."""
    key = next((key for key, its_meaning in keys.items() if its_meaning == meaning), "")
    return csv_files.harmless(key), csv_files.harmless(meaning or "")


async def _times_of(campaign: Campaign, batch: Sequence[Contact]) -> dict[str, CallTimes]:
    """When these contacts were called for this campaign."""
    numbers = [contact["to"] for contact in batch if contact["attempts"] or contact["call_id"]]
    times: dict[str, CallTimes] = {}
    for call in await call_records.list_calls_to(campaign["user_id"], numbers, campaign["_id"]):
        at, known = call["created_at"], times.get(call["to"])
        first, last = (at, at) if known is None else (min(known.first, at), max(known.last, at))
        times[call["to"]] = CallTimes(first, last)
    return times


# --- the attempts as CSV ------------------------------------------------------------------------


def attempts_csv(campaign: Campaign, *, byte_order_mark: bool) -> AsyncGenerator[str, None]:
    """One row for each call of a campaign, the oldest first; calls that are not over have no end, and
    no cost yet. `exported_ist` is when the export began."""
    one_row = functools.partial(
        _attempt_of, purpose=purpose_of(campaign), exported=csv_files.ist(clock.now())
    )
    found = call_records.iterate_calls_of(campaign["_id"])
    return csv_files.pieces(found, _ATTEMPT_COLUMNS, one_row, mark=byte_order_mark)


def _attempt_of(call: Call, *, purpose: str, exported: str) -> list[str]:
    duration, cost_paise = call["duration_seconds"], call["cost_paise"]
    return [
        call["_id"],
        csv_files.harmless(call["to"]),
        str(call.get("attempt_number") or 1),
        call["status"],
        csv_files.harmless(call["failure_reason"] or ""),
        call.get("answered_by") or "",
        csv_files.harmless(call.get("caller_id") or ""),
        purpose,
        csv_files.ist(call["created_at"]),
        csv_files.ist(call["answered_at"]),
        csv_files.ist(call["ended_at"]),
        "" if duration is None else str(duration),
        "" if cost_paise is None else money.text(int(cost_paise)),
        call["billing_status"],
        exported,
    ]


def _distinct(names: Sequence[str]) -> list[str]:
    """The names of the columns; one that is there already gets a number."""
    found: dict[str, None] = {}
    for name in names:
        number, distinct = 1, name
        while distinct in found:
            number += 1
            distinct = f"{name} ({number})"
        found[distinct] = None
    return list(found)


# --- the search ---------------------------------------------------------------------------------


async def search_contacts(
    campaign_id: str,
    search: str,
    *,
    state: ContactCategory | None,
    limit: int,
    cursor: str | None,
) -> tuple[list[Contact], str | None]:
    """The contacts whose number begins with `search`, in the order of the numbers, or one of whose
    cells contains it, in the order of the list; and the next cursor.

    A page costs the same at any size: it may be short, or empty, and have a cursor nevertheless,
    because so many contacts were looked at without a match. Raises InvalidCursor.
    """
    prefixes = _prefixes_of(search)
    order = _BY_NUMBER if prefixes else _BY_ROW
    where: Document = {"campaign_id": campaign_id}
    if prefixes:
        ranges = [
            {"_id": {"$gte": f"{campaign_id}:{prefix}", "$lt": f"{campaign_id}:{prefix}:"}}
            for prefix in prefixes
        ]
        where = {"$and": [{"$or": ranges}, order.behind(cursor)]} if cursor else {"$or": ranges}
    else:
        where |= order.behind(cursor)
    read_max = limit + 1 if prefixes and state is None else _SEARCHED_MAX
    read = cast(
        list[Contact], await db.contacts.find(where, sort=order.sort, limit=read_max).to_list(None)
    )
    wanted = search.casefold()
    found = [
        contact
        for contact in read
        if (state is None or contacts.counted_as(contact) == state)
        and (prefixes or _has_cell(contact, wanted))
    ]
    page, next_cursor = order.cut(cast(list[Any], found), limit)
    if next_cursor is None and len(read) == read_max:
        next_cursor = order.cursor_of(read[-1])
    return page, next_cursor


def _prefixes_of(search: str) -> list[str]:
    """What the numbers begin with that somebody looks for: as it was written, and in the country of the
    settings. Empty when it is no number."""
    plain = search.translate(_DIALLING_MARKS)
    digits = plain.removeprefix("+")
    if not digits.isascii() or not digits.isdigit():
        return []
    if plain.startswith("+"):
        return [plain]
    national = digits.lstrip("0")
    code = phone_numbers.country_code()
    return sorted({f"+{digits}", f"+{code}{national}"}) if national else [f"+{digits}"]


def _has_cell(contact: Contact, wanted: str) -> bool:
    return any(wanted in cell.casefold() for cell in contact.get("cells", ()))


# --- late results -------------------------------------------------------------------------------


async def on_result_changed(event: Event) -> None:
    """Pass on to its contact what became known of a call after its end (`CallResultChanged`)."""
    await contacts.apply_late_result(await call_records.get_call(event["data"]["call_id"]))


async def on_key_pressed(event: Event) -> None:
    """Pass on to its contact what the key means that was pressed in a call (`KeyPressed`); with the
    meaning `stop` the number goes on the do-not-call list of the user."""
    data, user_id = event["data"], event["user_id"]
    await contacts.mark_pressed(data["call_id"], data["meaning"])
    if data["meaning"] == telephony.STOP and user_id is not None:
        await do_not_call.add_numbers(
            user_id,
            [data["to"]],
            source="key_press",
            by=data["call_id"],
            note=f"pressed {data['key']} in {data['call_id']}",
        )
