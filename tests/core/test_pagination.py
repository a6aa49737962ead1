"""Pages: an order, its cursors and where a page is cut, for every kind of list."""

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import pagination
from core.database import Document, db
from core.errors import InvalidCursor
from core.pagination import Order

NOON = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)

# What clients hold: made by release 0.2.1.
HELD = "W3sidCI6ICIyMDI2LTExLTIzVDEyOjAwOjAwLjAwMFoifSwgInJmbmRfMSJd"

ROWS = [
    {"_id": f"row_{n:02}", "at": NOON + dt.timedelta(seconds=n // 3), "day": f"{n // 3}", "row": n}
    for n in range(1, 20)
]

ORDERS = [
    pagination.newest_first("at"),
    pagination.newest_first("day", str),
    Order((("_id", str),), name="usr"),
    Order((("row", int),), ascending=True),
    Order((("at", dt.datetime), ("day", str), ("row", int)), name="txn"),
]


def test_a_cursor_of_an_earlier_release_is_still_a_place_in_its_list() -> None:
    newest = pagination.newest_first("created_at")
    assert newest.cursor_of({"created_at": NOON, "_id": "rfnd_1"}) == HELD
    assert newest.behind(HELD) == {
        "$or": [{"created_at": {"$lt": NOON}}, {"created_at": NOON, "_id": {"$lt": "rfnd_1"}}]
    }


@pytest.mark.usefixtures("book")
@pytest.mark.parametrize("order", ORDERS)
async def test_the_pages_of_a_list_are_the_list(order: Order) -> None:
    await db.rows.insert_many([dict(row) for row in ROWS])
    whole = await db.rows.find(sort=order.sort).to_list(None)
    for limit in (1, 4, 18, 19, 50):
        assert await pages_of(order, limit) == whole


async def pages_of(order: Order, limit: int) -> list[Document]:
    """All rows, read page by page."""
    pages: list[Document] = []
    cursor: str | None = None
    for _ in range(len(ROWS)):
        found = db.rows.find(order.behind(cursor), sort=order.sort, limit=limit + 1)
        page, cursor = order.cut(await found.to_list(None), limit)
        assert len(page) <= limit
        pages += page
        if cursor is None:
            break
    return pages


@pytest.mark.parametrize(
    ("order", "parts"),
    [
        (Order((("_id", str),), name="usr"), ["txn", "usr_1"]),
        (Order((("_id", str),), name="usr"), ["usr_1"]),
        (Order((("row", int),), ascending=True), ["7"]),
        (Order((("row", int),), ascending=True), [7, 8]),
        (pagination.newest_first("at"), ["now", "row_1"]),
        (pagination.newest_first("day", str), [NOON, "row_1"]),
    ],
)
def test_a_cursor_of_another_list_is_refused(order: Order, parts: list[Any]) -> None:
    with pytest.raises(InvalidCursor):
        order.behind(pagination.encode_cursor(*parts))


# --- cursors ------------------------------------------------------------------------------------


def test_a_cursor_is_read_back() -> None:
    cursor = pagination.encode_cursor("txn", NOON, 42)
    assert pagination.decode_cursor(cursor, str, dt.datetime, int) == ["txn", NOON, 42]


@given(st.text(max_size=200) | st.binary(max_size=60).map(lambda b: b.decode("latin-1")))
def test_whatever_is_sent_as_a_cursor_is_refused_and_breaks_nothing(cursor: str) -> None:
    with pytest.raises(InvalidCursor):
        pagination.decode_cursor(cursor, str, dt.datetime, int)


@pytest.mark.parametrize(
    "parts",
    [
        ("txn",),
        ("txn", 1, NOON),
        (1, NOON, 1),
        ("txn", NOON, True),
        ("txn", NOON, 2**70),
        ("\ud800", NOON, 1),
    ],
)
def test_the_cursor_of_another_list_is_refused(parts: tuple[str | int | dt.datetime, ...]) -> None:
    with pytest.raises(InvalidCursor):
        pagination.decode_cursor(pagination.encode_cursor(*parts), str, dt.datetime, int)
