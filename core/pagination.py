"""Pagination: cursors, and the pages of a list that they continue."""

import base64
import binascii
import dataclasses
import datetime as dt
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from core import clock
from core.database import Document
from core.errors import InvalidCursor

Row = TypeVar("Row", bound=Mapping[str, Any])


# --- cursors ------------------------------------------------------------------------------------


def encode_cursor(*parts: str | int | dt.datetime) -> str:
    """An opaque cursor that holds the sort key of the last row of a page."""
    plain = [{"t": clock.iso(p)} if isinstance(p, dt.datetime) else p for p in parts]
    return base64.urlsafe_b64encode(json.dumps(plain).encode()).decode().rstrip("=")


def decode_cursor(cursor: str, *kinds: type) -> list[Any]:
    """The parts of a cursor, each of the type in `kinds`; InvalidCursor for anything else."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        plain = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        parts = [_moment(p["t"]) if isinstance(p, dict) else p for p in plain]
        for part in parts:
            if isinstance(part, str):
                part.encode()  # JSON can hold a lone surrogate, which BSON cannot
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError, binascii.Error):
        raise _not_this_list() from None
    if len(parts) != len(kinds) or any(
        type(part) is not kind for part, kind in zip(parts, kinds, strict=True)
    ):
        raise _not_this_list()
    if any(isinstance(p, int) and not -(2**63) <= p < 2**63 for p in parts):
        raise _not_this_list()
    return parts


def _not_this_list() -> InvalidCursor:
    return InvalidCursor("This cursor is not one of this list's; start without a cursor.")


def _moment(text: str) -> dt.datetime:
    moment = dt.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a moment without its offset")
    return moment.astimezone(dt.UTC)


# --- lists --------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Order:
    """How a list is sorted, by which its pages are cut.

    `keys` are the fields, each with the kind of its values; together they are unique. Descending
    unless `ascending`. A cursor holds their values, after the `name` of the list if it has one:

        found = db.orders.find(where | NEWEST.behind(cursor), sort=NEWEST.sort, limit=limit + 1)
        page, next_cursor = NEWEST.cut(await found.to_list(None), limit)
    """

    keys: tuple[tuple[str, type], ...]
    name: str | None = None
    ascending: bool = False

    @property
    def sort(self) -> list[tuple[str, int]]:
        """The sort argument of the driver's `find` and `sort`."""
        return [(field, 1 if self.ascending else -1) for field, _ in self.keys]

    def position(self, cursor: str) -> list[Any]:
        """The values of `keys` at the cursor. Raises InvalidCursor, also for another list's."""
        kinds = [kind for _, kind in self.keys]
        if self.name is None:
            return decode_cursor(cursor, *kinds)
        name, *values = decode_cursor(cursor, str, *kinds)
        if name != self.name:
            raise _not_this_list()
        return values

    def behind(self, cursor: str | None) -> Document:
        """The filter for the rows after the cursor; all rows without one.

        With more than one key it is an `$or`: join it by `$and` with a filter that has one.
        """
        if cursor is None:
            return {}
        than = "$gt" if self.ascending else "$lt"
        values = self.position(cursor)
        fields = [field for field, _ in self.keys]
        ways: list[Document] = [
            {**dict(zip(fields[:n], values, strict=False)), fields[n]: {than: values[n]}}
            for n in range(len(fields))
        ]
        return ways[0] if len(ways) == 1 else {"$or": ways}

    def cut(self, rows: Sequence[Row], limit: int) -> tuple[list[Row], str | None]:
        """The page and the next cursor, from rows that were read with one more than `limit`."""
        if len(rows) <= limit:
            return list(rows), None
        return list(rows[:limit]), self.cursor_of(rows[limit - 1])

    def cursor_of(self, row: Mapping[str, Any]) -> str:
        """The cursor of the rows after this one."""
        values = [row[field] for field, _ in self.keys]
        return encode_cursor(*([] if self.name is None else [self.name]), *values)


def newest_first(by: str, kind: type = dt.datetime) -> Order:
    """The order of most lists: by the field `by`, a time, and by id, the latest first."""
    return Order(((by, kind), ("_id", str)))


PAGE_LIMIT_MAX = 200
PAGE_LIMIT_DEFAULT = 50
