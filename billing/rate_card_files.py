"""Rate card files: a CSV read row by row into a version, or everything that is wrong with it."""

import csv
import dataclasses
import datetime as dt
import io
import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from billing.pricing import RATE_PAISE_MAX
from core import csv_files, money, texts
from core.errors import Problem

# --- vocabulary ---------------------------------------------------------------------------------

ROWS_MAX: Final = 50_000
ERRORS_SHOWN_MAX: Final = 1_000
_COLUMNS_MAX: Final = 100
_SECONDS_MAX: Final = 3_600
_DESTINATION_LENGTH_MAX: Final = 100

COLUMNS: Final = (
    "prefix",
    "destination",
    "rate_per_minute",
    "first_pulse_seconds",
    "pulse_seconds",
    "minimum_seconds",
    "connection_fee",
    "valid_from",
    "valid_until",
)
_REQUIRED: Final = ("prefix", "rate_per_minute")
_ALIASES: Final = {"rate": "rate_per_minute"} | {texts.plain(name): name for name in COLUMNS}

_AMOUNT: Final = re.compile(r"-?[0-9]{1,12}(?:\.[0-9]{1,12})?")
_WHOLE: Final = re.compile(r"-?[0-9]{1,9}")
_PREFIX: Final = re.compile(r"[1-9][0-9]{0,14}")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """One row: what calls to numbers that begin with `prefix` cost on the days that it is valid.

    A pulse, a minimum or a fee of None is that of the settings. Both dates are days in India and
    included; None is no limit on that side.
    """

    prefix: str
    destination: str
    rate_paise_per_minute: int
    first_pulse_seconds: int | None = None
    pulse_seconds: int | None = None
    minimum_seconds: int | None = None
    connection_fee_paise: int | None = None
    valid_from: dt.date | None = None
    valid_until: dt.date | None = None

    def is_valid(self, day: dt.date) -> bool:
        """Whether it holds on `day`."""
        return (self.valid_from or dt.date.min) <= day <= (self.valid_until or dt.date.max)


@dataclasses.dataclass(frozen=True, slots=True)
class RowError:
    """What is wrong in a line of the file, and with which value."""

    row: int
    column: str
    value: str
    code: str
    message: str


class InvalidRateCard(Problem):
    """There are mistakes in this rate card, and nothing of it was taken; `errors` names the rows."""

    code, status, title = "invalid_rate_card", 422, "Invalid rate card"


class _InvalidCell(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


# --- verbs --------------------------------------------------------------------------------------


def parse_file(content: bytes) -> list[Price]:
    """The prices of a CSV file. Raises UnreadableFile, and InvalidRateCard with every mistake."""
    text = csv_files.decoded(content)
    delimiter, text_from = csv_files.delimiter_of(text)
    records = csv_files.records(text, delimiter, text_from)
    first = next(records, csv_files.Record(1, [], []))
    row = first.row
    columns = _columns_of(row, first.cells)
    prices: list[tuple[int, Price]] = []
    mistakes: list[RowError] = []
    omitted_count = 0
    for count, record in enumerate(records, 1):
        row = record.row
        if count > ROWS_MAX:
            raise _refusal([_too_many(row)])
        found = _price_of(record, columns)
        if isinstance(found, Price):
            prices.append((row, found))
        elif len(mistakes) < ERRORS_SHOWN_MAX:
            mistakes += found
        else:  # only counted: 50,000 messages would help nobody
            omitted_count += len(found)
    mistakes += _overlaps(prices)
    if not prices and not mistakes:
        mistakes = [RowError(row, "", "", "no_rows", "There is no row below the column names.")]
    if mistakes:
        raise _refusal(sorted(mistakes, key=lambda mistake: mistake.row), omitted_count)
    return [price for _, price in prices]


def stored_text(prices: Iterable[Price]) -> str:
    """The prices as CSV, as they are stored: `prices_of_stored_text` reads it."""
    rows = ([_cell(getattr(price, field)) for field in _FIELDS] for price in prices)
    return csv_files.lines(itertools.chain([COLUMNS], rows))


def prices_of_stored_text(text: str) -> list[Price]:
    """The prices of a `stored_text`. They are not checked again: a stored version stays valid."""
    rows = csv.reader(io.StringIO(text, newline=""))
    next(rows)
    return [
        Price(**dict(zip(_FIELDS, map(_stored, _FIELDS, cells), strict=True))) for cells in rows
    ]


_FIELDS: Final = (
    "prefix",
    "destination",
    "rate_paise_per_minute",
    "first_pulse_seconds",
    "pulse_seconds",
    "minimum_seconds",
    "connection_fee_paise",
    "valid_from",
    "valid_until",
)


def _cell(value: str | int | dt.date | None) -> str:
    return "" if value is None else str(value)


def _stored(field: str, cell: str) -> Any:  # the type of the field
    if field in ("prefix", "destination"):
        return cell
    if not cell:
        return None
    return dt.date.fromisoformat(cell) if field.startswith("valid") else int(cell)


def rows_for_download(prices: Iterable[Price]) -> Iterator[list[str]]:
    """The rows of a card as they may be sent again: in rupees, and harmless in a spreadsheet."""
    yield list(COLUMNS)
    for price in prices:
        cells = {
            name: _cell(getattr(price, field)) for name, field in zip(COLUMNS, _FIELDS, strict=True)
        }
        fee_paise = price.connection_fee_paise
        yield list(
            (
                cells
                | {
                    "destination": csv_files.harmless(price.destination),
                    "rate_per_minute": money.text(price.rate_paise_per_minute),
                    "connection_fee": "" if fee_paise is None else money.text(fee_paise),
                }
            ).values()
        )


# --- rows ---------------------------------------------------------------------------------------


def _columns_of(row: int, header: list[str]) -> list[str]:
    """The name of each column. An unknown one is refused: otherwise a fee in a misspelt column would
    be ignored, and calls would cost no fee."""
    if len(header) > _COLUMNS_MAX:
        message = f"There are {len(header)} columns; a rate card has {len(COLUMNS)}."
        raise _refusal([RowError(row, "", "", "too_many_columns", message)])
    names = [_ALIASES.get(texts.plain(cell), "") for cell in header]
    while names and not names[-1] and not header[len(names) - 1].strip():
        names.pop()
    mistakes = []
    for position, name in enumerate(names):
        value = csv_files.shown(header[position])
        if not name:
            message = f"There is no column of this name; there are: {', '.join(COLUMNS)}."
            mistakes.append(RowError(row, value, value, "unknown_column", message))
        elif name in names[:position]:
            mistakes.append(RowError(row, name, value, "duplicate_column", "It is there twice."))
    for name in _REQUIRED:
        if name not in names:
            message = f"The first row must name the columns; {name} is not among them."
            mistakes.append(RowError(row, name, "", "missing_column", message))
    if mistakes:
        raise _refusal(mistakes)
    return names


def _price_of(record: csv_files.Record, columns: list[str]) -> Price | list[RowError]:
    row, cells, lines = record
    if len(lines) > 1:  # nothing in a rate card has line breaks
        message = f"A quotation mark opens here and is closed in line {row + len(lines) - 1} only."
        return [RowError(row, "", csv_files.shown(lines[0]), "stray_quotation_mark", message)]
    mistakes: list[RowError] = []
    if any(cell.strip() for cell in cells[len(columns) :]):
        message = f"It has {len(cells)} cells, and there are {len(columns)} columns."
        mistakes.append(RowError(row, "", csv_files.shown(cells[-1]), "too_many_cells", message))
    found: dict[str, Any] = {}
    for position, name in enumerate(columns):
        raw = cells[position] if position < len(cells) else ""
        text = raw.translate(csv_files.INVISIBLE).strip().lstrip("'").strip()
        if not text and name not in _REQUIRED:
            continue
        try:
            if name != "destination" and csv_files.SCIENTIFIC.fullmatch(text):
                raise _InvalidCell(
                    "shortened",
                    "The spreadsheet shortened this number. Format the column as text, enter the "
                    "numbers again, and export it once more.",
                )
            found[_FIELDS[COLUMNS.index(name)]] = _READERS[name](text)
        except _InvalidCell as wrong:
            mistakes.append(RowError(row, name, csv_files.shown(raw), wrong.code, str(wrong)))
    since, until = found.get("valid_from"), found.get("valid_until")
    if since is not None and until is not None and since > until:
        message = f"It ends before it begins, on {since}."
        mistakes.append(RowError(row, "valid_until", str(until), "dates_reversed", message))
    return mistakes or Price(**({"destination": ""} | found))


def _prefix(text: str) -> str:
    digits = re.sub(r"[\s-]", "", text.removeprefix("+"))
    if not _PREFIX.fullmatch(digits):
        raise _InvalidCell(
            "invalid_prefix",
            "must be the first digits of numbers in international form, such as 91 or 9198"
            if text
            else "is missing",
        )
    return digits


def _destination(text: str) -> str:
    if not text.isprintable():
        raise _InvalidCell(
            "invalid_destination", "must not contain line breaks or other control characters"
        )
    if len(text) > _DESTINATION_LENGTH_MAX:
        raise _InvalidCell(
            "invalid_destination", f"must have at most {_DESTINATION_LENGTH_MAX} characters"
        )
    return text


def _rupees(code: str, paise_min: int) -> Callable[[str], int]:
    def reader(text: str) -> int:
        if not _AMOUNT.fullmatch(text):
            raise _InvalidCell(code, "must be rupees, such as 1.20" if text else "is missing")
        try:
            paise = money.paise_of_text(text)
        except ValueError as problem:
            raise _InvalidCell(code, str(problem)) from None
        if not paise_min <= paise <= RATE_PAISE_MAX:
            least = "above 0" if paise_min else "0 or more"
            raise _InvalidCell(code, f"must be {least} and at most {money.text(RATE_PAISE_MAX)}")
        return paise

    return reader


def _seconds(seconds_min: int) -> Callable[[str], int]:
    def reader(text: str) -> int:
        if not _WHOLE.fullmatch(text) or not seconds_min <= int(text) <= _SECONDS_MAX:
            raise _InvalidCell("invalid_seconds", f"must be {seconds_min} to {_SECONDS_MAX}, whole")
        return int(text)

    return reader


def _date(text: str) -> dt.date:
    if _DATE.fullmatch(text):
        try:
            return dt.date.fromisoformat(text)
        except ValueError:
            pass
    raise _InvalidCell("invalid_date", "must be a day such as 2026-12-01")


_READERS: Final[dict[str, Callable[[str], Any]]] = {
    "prefix": _prefix,
    "destination": _destination,
    "rate_per_minute": _rupees("invalid_rate", 1),
    "first_pulse_seconds": _seconds(1),
    "pulse_seconds": _seconds(1),
    "minimum_seconds": _seconds(0),
    "connection_fee": _rupees("invalid_fee", 0),
    "valid_from": _date,
    "valid_until": _date,
}


def _overlaps(prices: list[tuple[int, Price]]) -> list[RowError]:
    """The errors of rows of one prefix that are valid on the same day: the price would be ambiguous."""

    def begins(entry: tuple[int, Price]) -> tuple[str, dt.date, int]:
        row, price = entry
        return price.prefix, price.valid_from or dt.date.min, row

    mistakes = []
    longest: tuple[int, Price] | None = None  # of the prefix, the one that ends last
    for row, price in sorted(prices, key=begins):
        if longest is None or longest[1].prefix != price.prefix:
            longest = row, price
            continue
        before, other = longest
        until = other.valid_until or dt.date.max
        if (price.valid_from or dt.date.min) <= until:
            same = (price.valid_from, price.valid_until) == (other.valid_from, other.valid_until)
            code = "duplicate_prefix" if same else "overlapping_validity"
            first, second = sorted((before, row))
            what = "stands" if same else "is valid on the same days"
            message = f"{price.prefix} {what} in row {first} already."
            mistakes.append(RowError(second, "prefix", price.prefix, code, message))
        if (price.valid_until or dt.date.max) > until:
            longest = row, price
    return mistakes


def _too_many(row: int) -> RowError:
    message = f"A rate card has at most {ROWS_MAX} rows."
    return RowError(row, "", "", "too_many_rows", message)


def _refusal(mistakes: list[RowError], omitted_count: int = 0) -> InvalidRateCard:
    first, count = mistakes[0], len(mistakes) + omitted_count
    where = f"row {first.row}" + (f", {first.column}" if first.column else "")
    return InvalidRateCard(
        f"{where}: {first.message}" + ("" if count == 1 else f" ({count} in all)"),
        errors=[dataclasses.asdict(mistake) for mistake in mistakes[:ERRORS_SHOWN_MAX]],
        errors_count=count,
    )
