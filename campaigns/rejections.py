"""Rejected rows: the rows of a list that are not called, each with its reason and its original cells."""

from collections.abc import AsyncGenerator, Sequence
from typing import Final, TypedDict, cast

from campaigns.contact_import import RejectedContact
from core import csv_files, database
from core.database import Document, Index, db

# --- vocabulary ---------------------------------------------------------------------------------

_BATCH_MAX: Final = 1_000
_CSV_ROWS: Final = 100
_CSV_COLUMNS: Final = ("row", "value", "code", "message")


class Rejection(TypedDict):
    """A document of `rejected_rows`: a row of a campaign's list that is not called. `row` is the line
    of the file or the position in the list; `cells` are in the order of the campaign's columns."""

    _id: str  # the campaign's id and the row
    campaign_id: str
    row: int
    value: str
    code: str
    message: str
    cells: list[str]


# --- verbs --------------------------------------------------------------------------------------


async def create_rejections(campaign_id: str, rows: Sequence[RejectedContact]) -> None:
    """Store the rows of a campaign that were refused; one that is stored already is not changed."""
    records: list[Rejection] = [
        {
            "_id": f"{campaign_id}:{row.row}",
            "campaign_id": campaign_id,
            "row": row.row,
            "value": row.value,
            "code": row.code,
            "message": row.message,
            "cells": list(row.cells),
        }
        for row in rows
    ]
    if not records:
        return
    try:
        await db.rejected_rows.insert_many(cast(list[Document], records), ordered=False)
    except database.AnyError as problem:
        if not database.is_duplicate(problem):
            raise


async def delete_rejections(campaign_id: str, *, behind_row: int = 0) -> None:
    """Delete the rows of a campaign that were refused, those behind this row; harmless when repeated."""
    where = {"campaign_id": campaign_id, "row": {"$gt": behind_row}}
    while found := await db.rejected_rows.find(where, {"_id": 1}, limit=_BATCH_MAX).to_list(None):
        await db.rejected_rows.delete_many({"_id": {"$in": [row["_id"] for row in found]}})


async def list_rejections(campaign_id: str, *, limit: int) -> list[Rejection]:
    """The first rows of a campaign that were refused, in the order of the list."""
    found = db.rejected_rows.find({"campaign_id": campaign_id}, sort=[("row", 1)], limit=limit)
    return cast(list[Rejection], await found.to_list(None))


async def rejected_csv(
    campaign_id: str, columns: Sequence[str], *, byte_order_mark: bool
) -> AsyncGenerator[str, None]:
    """All rows of a campaign that were refused as CSV, with the columns of its list behind the
    reason, batch by batch, so that memory is bounded."""
    names = [*_CSV_COLUMNS, *map(csv_files.harmless, columns)]
    head = (csv_files.BYTE_ORDER_MARK if byte_order_mark else "") + csv_files.lines([names])
    rows: list[list[str]] = []
    found = db.rejected_rows.find(
        {"campaign_id": campaign_id}, sort=[("row", 1)], batch_size=_BATCH_MAX
    )
    async for rejection in found:
        rows.append(_line_of(cast(Rejection, rejection), len(columns)))
        if len(rows) >= _CSV_ROWS:
            yield head + csv_files.lines(rows)
            head, rows = "", []
    if head or rows:
        yield head + csv_files.lines(rows)


def _line_of(rejection: Rejection, width: int) -> list[str]:
    """A line of the CSV; a row that has fewer cells than there are columns is filled up."""
    told = [rejection["value"], rejection["code"], rejection["message"]]
    cells = rejection["cells"] + [""] * (width - len(rejection["cells"]))
    return [str(rejection["row"]), *map(csv_files.harmless, [*told, *cells])]


# --- storage ------------------------------------------------------------------------------------

database.declare("rejected_rows", indexes=[Index(("campaign_id", "row"), unique=True)])
