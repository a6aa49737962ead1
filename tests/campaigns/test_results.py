"""Results as CSV: contacts with the columns of their list, attempts, and what a search finds."""

import csv
import datetime as dt
import io
from collections.abc import AsyncGenerator
from typing import Any, cast

import pytest

from campaigns import contacts, results
from campaigns.records import Campaign
from core import clock, config, csv_files
from core.database import db
from core.errors import InvalidCursor
from tests.support.ended_calls import DIALLED_AT, ended_call, store

ASHA, RAVI, LATA = "+919876543210", "+919876500000", "+919123456789"
CAMPAIGN = cast(
    Campaign,
    {
        "_id": "cmp_a",
        "user_id": "usr_a",
        "purpose": "collection",
        "columns": ["Name", "to", "=cmd"],
        "keys": {"1": "confirm", "9": "stop"},
    },
)


async def rows_of(pieces: AsyncGenerator[str, None]) -> list[dict[str, str]]:
    text = "".join([piece async for piece in pieces])
    return list(csv.DictReader(io.StringIO(text)))


async def add_contacts(*cells: list[str]) -> None:
    rows = list(zip(range(2, 5), (ASHA, RAVI, LATA), strict=True))
    await contacts.create_contacts("cmp_a", "usr_a", rows)
    for (_, to), its_cells in zip(rows, cells, strict=False):
        await db.contacts.update_one({"to": to}, {"$set": {"cells": its_cells}})


async def test_a_contact_has_its_columns_its_times_and_its_key(book: config.Settings) -> None:
    await add_contacts(["Asha Rao", "x", "=1+1"], ["Ravi"])
    _, second = await store(
        ended_call("cmp_a", to=ASHA, status="busy"),
        ended_call("cmp_a", to=ASHA, created_at=DIALLED_AT + dt.timedelta(hours=2)),
    )
    await store(ended_call("cmp_b", to=ASHA, created_at=DIALLED_AT - dt.timedelta(days=1)))
    done = {"state": "done", "disposition": "answered", "attempts": 2, "call_id": second}
    done |= {"pressed": "stop", "answered_by": "human"}
    await db.contacts.update_one({"to": ASHA}, {"$set": done})
    asha, ravi, lata = await rows_of(results.results_csv(CAMPAIGN, byte_order_mark=False))
    assert list(asha)[:9] == [
        *("row", "to", "state", "reason", "attempts", "call_id", "duration_seconds", "cost"),
        "updated_at",
    ]
    assert asha | {"row": "", "call_id": "", "updated_at": "", "exported_ist": ""} == {
        "row": "",
        "to": f"'{ASHA}",
        "state": "answered",
        "reason": "",
        "attempts": "2",
        "call_id": "",
        "duration_seconds": "",
        "cost": "0.00",
        "updated_at": "",
        "answered_by": "human",
        "pressed_key": "9",
        "pressed_meaning": "stop",
        "first_call_ist": "2026-11-23 11:00:00",
        "last_call_ist": "2026-11-23 13:00:00",
        "purpose": "collection",
        "exported_ist": "",
        "Name": "Asha Rao",
        "to (2)": "x",
        "'=cmd": "'=1+1",
    }
    assert {row["purpose"] for row in (asha, ravi, lata)} == {"collection"}
    assert len({row["exported_ist"] for row in (asha, ravi, lata)}) == 1
    assert (ravi["Name"], ravi["to (2)"], ravi["first_call_ist"], lata["Name"]) == (
        "Ravi",
        *[""] * 3,
    )


async def test_an_empty_campaign_has_the_names_of_the_columns(book: config.Settings) -> None:
    for pieces in (results.results_csv, results.attempts_csv):
        text = "".join([piece async for piece in pieces(CAMPAIGN, byte_order_mark=True)])
        assert text.startswith("\ufeff")
        assert text.count("\r\n") == 1


async def test_attempts_are_the_calls_of_the_campaign_in_their_order(
    book: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_files, "_ROWS_AT_ONCE", 2)
    later = DIALLED_AT + dt.timedelta(minutes=5)
    await store(
        ended_call("cmp_a", created_at=later, attempt_number=2, caller_id="+911409876543"),
        ended_call("cmp_a", status="failed", failure_reason="=HYPERLINK(1)"),
        ended_call("cmp_a", created_at=later, status="in_progress", ended_at=None),
        ended_call("cmp_b"),
    )
    rows = await rows_of(results.attempts_csv(CAMPAIGN, byte_order_mark=False))
    assert [row["attempt"] for row in rows] == ["1", "2", "1"]
    assert rows[0]["failure_reason"] == "'=HYPERLINK(1)"
    assert rows[1] | {"call_id": "", "exported_ist": ""} == {
        "call_id": "",
        "to": f"'{ASHA}",
        "attempt": "2",
        "status": "completed",
        "failure_reason": "",
        "answered_by": "",
        "caller_id": "'+911409876543",
        "purpose": "collection",
        "created_ist": "2026-11-23 11:05:00",
        "answered_ist": "2026-11-23 11:05:05",
        "ended_ist": "2026-11-23 11:05:35",
        "duration_seconds": "30",
        "cost": "5.00",
        "billing_status": "settled",
        "exported_ist": "",
    }
    assert rows[2]["ended_ist"] == ""


async def found(search: str, **options: Any) -> tuple[list[str], str | None]:
    chosen = {"state": None, "limit": 50, "cursor": None} | options
    page, cursor = await results.search_contacts("cmp_a", search, **chosen)
    return [contact["to"] for contact in page], cursor


async def test_a_search_finds_the_beginning_of_a_number_and_a_part_of_a_cell(
    book: config.Settings,
) -> None:
    await add_contacts(["Asha Rao", "Pune"], ["Ravi", "pune 411"], ["Lata 98765", "Agra"])
    await contacts.create_contacts("cmp_b", "usr_a", [(1, ASHA)])
    assert (await found("98765"))[0] == [RAVI, ASHA]
    assert (await found("+91 98765-4"))[0] == [ASHA]
    assert (await found("09123"))[0] == [LATA]
    assert (await found("91"))[0] == [LATA, RAVI, ASHA]
    assert (await found("PUNE"))[0] == [ASHA, RAVI]
    assert (await found("nobody"))[0] == []
    await db.contacts.update_one({"to": RAVI}, {"$set": {"state": "skipped"}})
    assert (await found("98765", state="skipped"))[0] == [RAVI]
    assert (await found("pune", state="pending"))[0] == [ASHA]


@pytest.mark.parametrize(
    ("search", "order"), [("91", [LATA, RAVI, ASHA]), ("a", [ASHA, RAVI, LATA])]
)
async def test_the_pages_of_a_search_go_on_behind_what_was_looked_at(
    book: config.Settings, monkeypatch: pytest.MonkeyPatch, search: str, order: list[str]
) -> None:
    await add_contacts(["Asha"], ["Ravi"], ["Lata"])
    for searched_max, state in ((1_000, None), (1, None), (2, "pending")):
        monkeypatch.setattr(results, "_SEARCHED_MAX", searched_max)
        seen: list[str] = []
        cursor: str | None = None
        for _ in range(10):
            page, cursor = await found(search, limit=1, cursor=cursor, state=state)
            seen += page
            if cursor is None:
                break
        assert (seen, cursor) == (order, None)


async def test_the_cursor_of_one_search_is_not_that_of_another(book: config.Settings) -> None:
    await add_contacts(["Asha"], ["Ravi"], ["Lata"])
    _, cursor = await found("91", limit=1)
    with pytest.raises(InvalidCursor):
        await found("a", cursor=cursor)


async def test_who_answered_reaches_the_contact_after_the_end(book: config.Settings) -> None:
    await add_contacts()
    [call_id] = await store(ended_call("cmp_a", answered_by="machine"))
    done = {"state": "done", "disposition": "answered", "call_id": call_id}
    await db.contacts.update_one({"to": ASHA}, {"$set": done})
    event: Any = {"_id": "evt_1", "name": "CallResultChanged", "user_id": "usr_a", "data": {}}
    event |= {"data": {"call_id": call_id, "campaign_id": "cmp_a"}, "at": clock.now()}
    for _ in range(2):
        await results.on_result_changed(event)
    contact = await db.contacts.find_one({"to": ASHA})
    assert contact is not None
    assert (contact["reason"], contact["answered_by"]) == ("answered_by_machine", "machine")
