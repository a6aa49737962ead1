"""CSV files: read in any spreadsheet's dialect, written so that no spreadsheet runs a cell."""

import asyncio
import csv
import datetime as dt
import io
import itertools
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple, TypeVar

from core import clock
from core.errors import Problem

# --- vocabulary ---------------------------------------------------------------------------------

VALUE_LENGTH_MAX: Final = 100
LINES_MAX: Final = 1_000_000  # blank ones too
LINE_CHARACTERS_MAX: Final = 1_000_000
COLUMNS_MAX: Final = 1_000
CELL_CHARACTERS_MAX: Final = 32_767  # what Excel takes
_ROWS_AT_ONCE: Final = 500  # of a file that is written
_HEAD_CHARACTERS: Final = 64 * 1024
_SAMPLE_RECORDS: Final = 20
_DELIMITERS: Final = ",;\t|"

# How a spreadsheet writes a long number that it read as a quantity.
SCIENTIFIC: Final = re.compile(r"[+-]?\d(?:[.,]\d+)?[eE]\+?\d{1,2}")
# Invisible characters that come with pasted text.
INVISIBLE: Final = dict.fromkeys([*range(0x200B, 0x2010), *range(0x202A, 0x202F), 0x2060, 0xFEFF])
_CONTROLS: Final = re.compile("[\x00-\x08\x0e-\x19\x1b-\x1f\x7f]")
_UTF16_MARKS: Final = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
BYTE_ORDER_MARK = "\ufeff"
# What a spreadsheet reads as the beginning of a formula (OWASP, CSV injection), also full-width.
_formula_form = re.compile(r"[\s\x00]*[=+\-@＝＋－＠]|[\t\r\n]")


Row = TypeVar("Row")


class UnreadableFile(Problem):
    """This file is no CSV in UTF-8; the detail says what it seems to be."""

    code, status, title = "unreadable_file", 422, "Unreadable file"


class FileTooLarge(Problem):
    """The file has more than is read of it: `limit` says what, `maximum` how much is read."""

    code, status, title = "file_too_large", 413, "File too large"


class Record(NamedTuple):
    """A record of a file: the physical line on which it begins, its cells, and its physical lines as
    they stand in the file."""

    row: int
    cells: list[str]
    lines: list[str]


# --- reading ------------------------------------------------------------------------------------


def decoded(content: bytes) -> str:
    """The file as text, its lines ended by `\\n`, without byte order marks.

    Raises UnreadableFile, which says what to do, for a file that is not text.
    """
    return read_text(content)[0]


def read_text(content: bytes) -> tuple[str, str]:
    """The same, and the encoding in which it was read: `utf-8`, `utf-16-le`, `utf-16-be`, `cp1252`."""
    if content.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise UnreadableFile("The file is an Excel workbook. Save it as 'CSV UTF-8'.")
    text, encoding = _text(content)
    text = text.removesuffix("\x1a")  # old programs end a text with Ctrl-Z
    if _CONTROLS.search(text):
        raise UnreadableFile("The file is binary or UTF-16. Save the list as 'CSV UTF-8'.")
    # Two programs may have marked it, one after the other.
    text = text.lstrip(BYTE_ORDER_MARK)
    ended = text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
    return ended, encoding


def _text(content: bytes) -> tuple[str, str]:
    """`content` as text, and its encoding. A mark says it, and is no part of what is guessed from."""
    encoding = _UTF16_MARKS.get(content[:2])
    if encoding is not None:
        try:
            return content[2:].decode(encoding), encoding
        except UnicodeDecodeError:
            raise UnreadableFile("The file is broken UTF-16. Save it as 'CSV UTF-8'.") from None
    content = content.removeprefix(b"\xef\xbb\xbf")
    try:
        return content.decode(), "utf-8"
    except UnicodeDecodeError:
        text = content.decode(errors="replace")
    # A few bytes may be broken in a file in UTF-8. Else it is in the code page of a country, as
    # Windows programs save names; digits are the same in all of them.
    other_count = len(text) - len(text.encode("ascii", "ignore"))
    if 2 * text.count("\ufffd") < other_count:
        return text, "utf-8"
    return content.decode("cp1252", errors="replace"), "cp1252"


def delimiter_of(text: str) -> tuple[str, int]:
    """The delimiter, and where the rows begin: the one that cuts the first records most evenly."""
    declared = re.match(r"sep=([,;\t|])\n", text, re.IGNORECASE)
    if declared:  # Excel's `sep=` line
        return declared[1], declared.end()
    head = text[:_HEAD_CHARACTERS]

    def score(delimiter: str) -> tuple[int, int]:
        reader = csv.reader(io.StringIO(head), delimiter=delimiter)
        filled = (cells for cells in reader if "".join(cells).strip())
        widths = [len(cells) for cells in itertools.islice(filled, _SAMPLE_RECORDS)]
        return (widths.count(widths[0]), widths[0]) if widths and widths[0] > 1 else (0, 0)

    best = max(_DELIMITERS, key=score)
    return (best if score(best) > (0, 0) else ","), 0


def records(text: str, delimiter: str, text_from: int) -> Iterator[Record]:
    """The records that are not empty.

    Raises UnreadableFile when a quotation mark is not closed and other lines stand behind it, and
    FileTooLarge above the limits of lines, columns and characters, blank lines and cells included.
    """
    source = _Lines(text, text_from, delimiter)
    reader = csv.reader(source, delimiter=delimiter)
    while True:
        try:
            cells = next(reader, None)
        except csv.Error:  # a cell is longer than the module takes
            raise source.endless_cell() from None
        if cells is None:
            return
        row, lines = source.take()
        if not "".join(cells).strip():
            continue
        if source.is_over and len(lines) > 1:
            raise _unclosed(row)
        if len(cells) > COLUMNS_MAX:
            raise _too_large("columns", COLUMNS_MAX, row)
        may_be_long = len(lines) > 1 or len(lines[0]) > CELL_CHARACTERS_MAX
        if may_be_long and max(map(len, cells)) > CELL_CHARACTERS_MAX:
            raise _too_large("characters in one cell", CELL_CHARACTERS_MAX, row)
        yield Record(row, cells, lines)


class _Lines:
    """The physical lines of a text, and those that were read since the last record."""

    def __init__(self, text: str, text_from: int, delimiter: str) -> None:
        self.is_over = False  # more was asked for than there is: a quotation mark is not closed
        self._text, self._at, self._delimiter = text, text_from, delimiter
        self._began_at = text_from
        self._count = text.count("\n", 0, text_from)
        self._taken: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._at >= len(self._text):
            self.is_over = True
            raise StopIteration
        end = self._text.find("\n", self._at) + 1 or len(self._text)
        line = self._text[self._at : end]
        self._at, self._count = end, self._count + 1
        if self._count > LINES_MAX:
            raise _too_large("lines", LINES_MAX)
        if len(line) > LINE_CHARACTERS_MAX:
            if line.count(self._delimiter) >= COLUMNS_MAX:
                raise _too_large("columns", COLUMNS_MAX, self._count)
            raise _too_large("characters", LINE_CHARACTERS_MAX, self._count)
        self._taken.append(line)
        return line

    def take(self) -> tuple[int, list[str]]:
        """The lines of the record that was read, and on which line it begins."""
        taken, self._taken = self._taken, []
        self._began_at = self._at
        return self._count - len(taken) + 1, taken

    def endless_cell(self) -> Problem:
        """Why a cell does not end: it is long, or its quotation mark is not closed."""
        row = self._count - len(self._taken) + 1
        if self._text.count('"', self._began_at) % 2:
            return _unclosed(row)
        return _too_large("characters in one cell", CELL_CHARACTERS_MAX, row)


def is_well_quoted(lines: Sequence[str], delimiter: str) -> bool:
    """Whether these lines are one record whose quotation marks stand at the ends of cells."""
    try:
        return len(list(csv.reader(lines, delimiter=delimiter, strict=True))) == 1
    except csv.Error:
        return False


def _unclosed(row: int) -> UnreadableFile:
    return UnreadableFile(f"A quotation mark that opens in line {row} is not closed.")


def _too_large(limit: str, maximum: int, row: int | None = None) -> FileTooLarge:
    if row is None:
        what = f"The file has more than {maximum:,} {limit}, blank ones included"
    else:
        what = f"Line {row} has more than {maximum:,} {limit}"
    return FileTooLarge(f"{what}; that is more than is read.", limit=limit, maximum=maximum)


def shown(value: str) -> str:
    """A cell as an error quotes it: short, and without what cannot be printed."""
    # The joiners of Indic scripts are parts of letters.
    kept = "".join(
        c if c.isprintable() or c in "\u200c\u200d" else " " for c in value[:VALUE_LENGTH_MAX]
    )
    return kept if len(value) <= VALUE_LENGTH_MAX else kept + "…"


# --- writing ------------------------------------------------------------------------------------


def lines(rows: Iterable[Sequence[str]]) -> str:
    """The rows as lines of CSV; cells of free text have to be made `harmless` first."""
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


async def pieces(
    found: AsyncIterator[Row],
    columns: Sequence[str],
    cells_of: Callable[[Row], list[str]],
    *,
    mark: bool,
) -> AsyncGenerator[str, None]:
    """Rows as a CSV file (RFC 4180) with these columns, batch by batch, so that memory is bounded; the lines
    are made in a thread. `mark`: it begins with a byte order mark, so that Excel reads it as UTF-8."""
    head = (BYTE_ORDER_MARK if mark else "") + lines([columns])
    async for batch in batches(found):
        yield head + await asyncio.to_thread(lines_of, batch, cells_of)
        head = ""
    if head:
        yield head


async def batches(found: AsyncIterator[Row]) -> AsyncGenerator[list[Row], None]:
    """Rows, so many together as are made into lines at once."""
    batch: list[Row] = []
    async for row in found:
        batch.append(row)
        if len(batch) >= _ROWS_AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


def lines_of(batch: Sequence[Row], cells_of: Callable[[Row], list[str]]) -> str:
    """The lines of rows."""
    return lines(map(cells_of, batch))


def ist(moment: dt.datetime | None) -> str:
    """A moment as a spreadsheet in India reads it: `2026-11-28 14:05:06`; empty for None."""
    return "" if moment is None else f"{moment.astimezone(clock.IST):%Y-%m-%d %H:%M:%S}"


def harmless(text: str) -> str:
    """`text` with an apostrophe before what a spreadsheet would run or calculate, such as a plus."""
    if text[:1].isalnum():
        return text  # nearly every cell
    return f"'{text}" if _formula_form.match(text) else text
