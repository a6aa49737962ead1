"""Contact import: a CSV of numbers read row by row, in a process of its own."""

import asyncio
import collections
import contextlib
import dataclasses
import itertools
import json
import os
import resource
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, TypedDict, cast

from campaigns import phone_columns
from campaigns.contacts import NewContact
from campaigns.phone_columns import Candidate, ChosenBy, NoPhoneColumn, PhoneColumn
from core import config, csv_files, phone_numbers, texts
from core.csv_files import FileTooLarge, Record, UnreadableFile
from core.errors import Problem, TooManyRequests, Unavailable

# --- vocabulary ---------------------------------------------------------------------------------

ROWS_MAX: Final = 500_000  # of a file
LIST_ROWS_MAX: Final = 100_000  # of a JSON body
FILE_BYTES_MAX: Final = 50 * 1024 * 1024
CHUNK_ROWS: Final = 500
PREVIEW_ROWS: Final = 20
# Of the cells of a row so much is kept, with the contact or with the row that was refused.
CELL_KEPT_CHARACTERS_MAX: Final = 1_000
ROW_KEPT_CHARACTERS_MAX: Final = 64 * 1024
_CHUNK_CHARACTERS_MAX: Final = 128 * 1024
# A chunk is one line between the processes: in JSON a character takes six bytes at most.
_LINE_BYTES_MAX: Final = 4 * 1024 * 1024
_PIECE_BYTES: Final = 256 * 1024

# A small list is read in a thread of this process, and waits for nobody's large one; a larger one in
# a process of its own, because a second of checking numbers would delay all requests of this process.
# What takes time is numbers: so many digits are those of about 2,000.
_SMALL_BYTES: Final = 128 * 1024
_SMALL_DIGITS: Final = 22_000
_NO_DIGITS: Final = bytes(set(range(256)) - set(b"0123456789"))
# Readers of large lists: of one process in all, of one user one at a time. The next ones wait.
_CHILDREN_MAX: Final = 3
LISTS_PER_USER_MAX: Final = 3
_LISTS_MAX: Final = 20
_RETRY_SECONDS: Final = 10
_CHILD_SECONDS_MAX: Final = 300
CPU_SECONDS_MAX: Final = 240

# The child that reads a large list is this module, started from the root of the project.
_ROOT: Final = Path(__file__).resolve().parents[__name__.count(".")]


Cells = Sequence[str]
# A file: its bytes, or where it is large the pieces of it.
Content = bytes | AsyncIterable[bytes]


@dataclasses.dataclass(frozen=True, slots=True)
class RejectedContact:
    """A row that cannot be called. `row` is the line of the file, or the position in the list."""

    row: int
    value: str
    code: str
    message: str
    cells: tuple[str, ...] = ()  # of its row, in the order of the columns


@dataclasses.dataclass(slots=True)
class ContactChunk:
    """Rows that were read: `(row, number)` of those to call, and those that are refused. `cells` are
    those of each usable row, in the order of the columns; a list of numbers has none."""

    usable: list[tuple[int, str]] = dataclasses.field(default_factory=list)
    rejected: list[RejectedContact] = dataclasses.field(default_factory=list)
    column: PhoneColumn = phone_columns.LIST  # from which they were read
    cells: list[list[str]] = dataclasses.field(default_factory=list)
    rows_total: int | None = None  # of the whole file

    def contacts(self) -> Iterator[NewContact]:
        """The usable rows with their cells."""
        for (row, number), cells in itertools.zip_longest(self.usable, self.cells):
            yield NewContact(row, number, cells)


class PreviewRow(TypedDict):
    """A row of a file as it was read: `to` is its number, or `code` and `message` say why there is
    none."""

    row: int
    cells: Sequence[str]
    to: str | None
    code: str | None
    message: str | None


class PreviewCounts(TypedDict):
    """How many rows a file has, and what becomes of them; None while no column is chosen."""

    rows: int
    usable: int | None
    duplicates: int | None  # of those that are refused
    refused: dict[str, int]  # by code, duplicates included


class Preview(TypedDict):
    """What is read out of a file before anything is stored."""

    encoding: str
    delimiter: str
    has_header: bool
    columns: list[str]
    phone_column: str | None  # None: it is not clear; `candidates` are the columns to choose from
    chosen_by: ChosenBy | None
    candidates: list[Candidate]
    question: str | None  # what is not clear
    rows: list[PreviewRow]
    counts: PreviewCounts


class TooManyRows(Problem):
    """The list is longer than one campaign takes; send it in parts."""

    code, status, title = "too_many_rows", 413, "Too many rows"


_REFUSALS: Final[dict[str, type[Problem]]] = {
    kind.code: kind for kind in (UnreadableFile, FileTooLarge, NoPhoneColumn, TooManyRows)
}


# --- verbs --------------------------------------------------------------------------------------


async def read_csv_contacts(
    content: Content, *, user_id: str, phone_column: str | None = None
) -> AsyncGenerator[ContactChunk, None]:
    """Read a CSV file. Raises UnreadableFile, FileTooLarge, NoPhoneColumn, TooManyRows before the
    first chunk, TooManyRequests when too many lists of this user wait to be read, and Unavailable
    when too many of all do."""
    if isinstance(content, bytes) and is_small(content):
        reading = _in_thread(check_csv_rows(content, phone_column))
    else:
        reading = _in_child({"phone_column": phone_column, "form": "csv"}, content, user_id)
    async with contextlib.aclosing(reading):
        async for chunk in reading:
            yield chunk


async def read_stored_contacts(
    content: AsyncIterable[bytes], *, phone_column: str | None
) -> AsyncGenerator[ContactChunk, None]:
    """Read a CSV file for a job, which bounds how many there are at once; the same chunks each time.
    Raises what `read_csv_contacts` does but TooManyRequests."""
    async with contextlib.aclosing(
        _answers_of_child({"phone_column": phone_column, "form": "csv"}, content)
    ) as answers:
        async for chunk in _chunks_in(answers):
            yield chunk


async def preview_csv(
    content: Content, *, user_id: str, phone_column: str | None = None
) -> Preview:
    """What would be read out of a CSV file. Raises what `read_csv_contacts` does but NoPhoneColumn."""
    if isinstance(content, bytes) and is_small(content):
        return await asyncio.to_thread(check_preview, content, phone_column)
    task = {"phone_column": phone_column, "form": "preview"}
    answers = _answers_of_child(task, content)
    async with _turn(user_id), _limited_seconds(), contextlib.aclosing(answers):
        return cast(Preview, (await anext(answers))["preview"])


async def read_list_contacts(
    values: list[str], *, user_id: str
) -> AsyncGenerator[ContactChunk, None]:
    """Read numbers that came as a JSON list; their position counts from 1. Raises TooManyRows,
    TooManyRequests and Unavailable."""
    if len(values) > LIST_ROWS_MAX:
        raise _too_many(LIST_ROWS_MAX)
    if sum(map(len, values)) <= _SMALL_DIGITS:
        reading = _in_thread(check_list_rows(values))
    else:
        reading = _in_child({"form": "list"}, json.dumps(values).encode(), user_id)
    async with contextlib.aclosing(reading):
        async for chunk in reading:
            yield chunk


def is_small(content: bytes) -> bool:
    """Whether a file is read in a thread of this process."""
    if len(content) > _SMALL_BYTES:
        return False
    return len(content.translate(None, _NO_DIGITS)) <= _SMALL_DIGITS


def check_list_rows(values: Iterable[str]) -> Iterator[ContactChunk]:
    """The numbers of a list, checked, in chunks."""
    yield from _checked_chunks(((row, value, ()) for row, value in enumerate(values, 1)), _LIST)


def check_csv_rows(content: bytes, phone_column: str | None) -> Iterator[ContactChunk]:
    """The numbers of a CSV file, checked, in chunks; rows are named by their physical line."""
    file = _CsvFile.opened(content)
    del content  # else a large file stands in memory twice
    column = file.chosen(phone_column)
    # All of it before the first chunk, so that nothing of a file that is refused is stored.
    total = file.count_rows(column)
    yield from _checked_chunks(file.rows(column), column, total)


def check_preview(content: bytes, phone_column: str | None) -> Preview:
    """What would be read out of a CSV file, without storing it."""
    file = _CsvFile.opened(content)
    del content
    try:
        column = file.chosen(phone_column)
    except NoPhoneColumn as question:
        return _preview_without_column(file, question)
    shown: list[PreviewRow] = []
    counts = collections.Counter[str]()
    for row, found, cells in _checked_rows(_counted(file.rows(column))):
        counts[found.code if isinstance(found, RejectedContact) else ""] += 1
        if len(shown) < PREVIEW_ROWS:
            shown.append(_preview_row(row, found, cells))
    usable = counts.pop("", 0)
    return {
        "encoding": file.encoding,
        "delimiter": file.delimiter,
        "has_header": column.has_header,
        "columns": list(column.columns),
        "phone_column": column.name,
        "chosen_by": column.chosen_by,
        "candidates": phone_columns.list_candidates(file.sample, column, _is_number),
        "question": None,
        "rows": shown,
        "counts": {
            "rows": usable + counts.total(),
            "usable": usable,
            "duplicates": counts["duplicate_in_file"],
            "refused": {code: count for code, count in counts.items() if count},
        },
    }


def _preview_without_column(file: "_CsvFile", question: NoPhoneColumn) -> Preview:
    """The preview of a file that has several columns that may be meant, or none."""
    rows: list[PreviewRow] = [
        {"row": record.row, "cells": _kept(record.cells), "to": None, "code": None, "message": None}
        for record in file.sample[:PREVIEW_ROWS]
    ]
    return {
        "encoding": file.encoding,
        "delimiter": file.delimiter,
        "has_header": False,
        "columns": question.extra["columns"],
        "phone_column": None,
        "chosen_by": None,
        "candidates": question.extra["candidates"],
        "question": question.detail,
        "rows": rows,
        "counts": {
            "rows": sum(1 for _ in file.records()),
            "usable": None,
            "duplicates": None,
            "refused": {},
        },
    }


def _preview_row(row: int, found: str | RejectedContact, cells: Cells) -> PreviewRow:
    if isinstance(found, str):
        return {"row": row, "cells": cells, "to": found, "code": None, "message": None}
    refused = {"code": found.code, "message": found.message}
    return cast(PreviewRow, {"row": row, "cells": cells or found.cells, "to": None, **refused})


# --- rows ---------------------------------------------------------------------------------------

# A row of a list: its number as it was written, or why it is refused, and its cells.
_Row = tuple[int, str | RejectedContact, Cells]


@dataclasses.dataclass(frozen=True, slots=True)
class _CsvFile:
    """A file that was decoded: it is read record by record, as often as is needed."""

    text: str
    encoding: str
    delimiter: str
    begins_at: int
    sample: list[Record]  # its first records

    @classmethod
    def opened(cls, content: bytes) -> "_CsvFile":
        """Decode a file. Raises UnreadableFile and FileTooLarge."""
        text, encoding = csv_files.read_text(content)
        delimiter, begins_at = csv_files.delimiter_of(text)
        records = csv_files.records(text, delimiter, begins_at)
        first = next(records, None)
        if first is None:
            raise UnreadableFile("The file has no rows.")
        sample = [first, *itertools.islice(records, phone_columns.sample_size(first) - 1)]
        return cls(text, encoding, delimiter, begins_at, sample)

    def chosen(self, phone_column: str | None) -> PhoneColumn:
        """The column of the numbers. Raises NoPhoneColumn and UnreadableFile."""
        column = phone_columns.choose(self.sample, phone_column, _is_number)
        if column.has_header:
            _require_only_names(self.sample[0], self.delimiter)
        return column

    def records(self) -> Iterator[Record]:
        """The records, the names of the columns included."""
        return csv_files.records(self.text, self.delimiter, self.begins_at)

    def rows(self, column: PhoneColumn) -> Iterator[_Row]:
        """The rows, with the cell of the number or why a row is refused."""
        for record in itertools.islice(self.records(), column.has_header, None):
            yield from _rows_of(record, column, self.delimiter)

    def count_rows(self, column: PhoneColumn) -> int:
        """Read all of it. Raises UnreadableFile, FileTooLarge and TooManyRows."""
        return sum(1 for _ in _counted(self.rows(column)))


def _counted(rows: Iterable[_Row]) -> Iterator[_Row]:
    """The rows. Raises TooManyRows behind the last one that is taken."""
    for count, row in enumerate(rows, 1):
        if count > ROWS_MAX:
            raise _too_many(ROWS_MAX)
        yield row


def _kept(cells: Sequence[str]) -> list[str]:
    """The cells as they are stored: the longest are cut, and of a very long row its end."""
    kept = [cell[:CELL_KEPT_CHARACTERS_MAX] for cell in cells]
    if sum(map(len, kept)) > ROW_KEPT_CHARACTERS_MAX:
        left = ROW_KEPT_CHARACTERS_MAX
        for place, cell in enumerate(kept):
            kept[place] = cell[:left]
            left -= len(kept[place])
    return kept


def _require_only_names(header: Record, delimiter: str) -> None:
    """UnreadableFile when a quotation mark in the names of the columns swallows rows."""
    if len(header.lines) == 1:
        return
    swallowed = [c for line in header.lines for c in line.split(delimiter) if _has_digits(c, 4)]
    if swallowed or not csv_files.is_well_quoted(header.lines, delimiter):
        last = header.row + len(header.lines) - 1
        raise UnreadableFile(
            f"A quotation mark that opens in line {header.row}, among the names of the columns, is "
            f"closed in line {last} only."
        )


def _rows_of(record: Record, column: PhoneColumn, delimiter: str) -> Iterable[_Row]:
    """The cell of the number, or why a record is refused: each of its lines, where it is not certain
    that they are one row."""
    row, cells, lines = record
    position = column.position
    if len(lines) > 1 and _swallows_rows(record, column, delimiter):
        last = row + len(lines) - 1
        message = (
            f"Lines {row} to {last} stand within one pair of quotation marks. If they are several "
            "rows, remove the stray mark; if they are one, write its cell in one line."
        )
        return _refused(record, delimiter, "stray_quotation_mark", message)
    if len(cells) > column.width and position and "".join(cells[column.width :]).strip():
        message = (
            f"This row has {len(cells)} cells, and there are {column.width} columns: put a cell that "
            "contains the delimiter into quotation marks."
        )
        return _refused(record, delimiter, "too_many_cells", message)
    if _joins_cells(record, column, delimiter):
        message = "Stray quotation marks in this row join cells of several columns."
        return _refused(record, delimiter, "stray_quotation_mark", message)
    value = cells[position] if position < len(cells) else ""
    return [(row, value, _kept(cells[: column.width]))]


def _joins_cells(record: Record, column: PhoneColumn, delimiter: str) -> bool:
    """Whether quotation marks may have joined cells, so that the number of another column stands where
    this one's should: a cell has the delimiter in it, and cells are missing or marks are misplaced."""
    count = len(record.cells)
    written = sum(line.count(delimiter) for line in record.lines) + 1
    if written == count:
        return False
    is_short = count < column.width <= written
    return is_short or not csv_files.is_well_quoted(record.lines, delimiter)


def _swallows_rows(record: Record, column: PhoneColumn, delimiter: str) -> bool:
    """Whether the lines of a record may be rows of their own, joined by stray quotation marks.

    They are one row when the marks stand at the ends of cells, at most one line, the row's own, has
    a number where the column is, and no line has a telephone number that no cell is.
    """
    position = column.position
    own = record.cells[position].strip() if position < len(record.cells) else ""
    if "\n" in own or not csv_files.is_well_quoted(record.lines, delimiter):
        return True
    numbered = long_count = 0
    for line in record.lines:
        naive = line.split(delimiter)
        is_row = position < len(naive) and (len(naive) > 1 or column.width == 1)
        numbered += is_row and _has_digits(naive[position], 4)
        long_count += sum(_has_digits(cell, 7) for cell in naive)
    cells = [cell for cell in record.cells if "\n" not in cell.strip()]
    return numbered > _has_digits(own, 4) or long_count > sum(_has_digits(c, 7) for c in cells)


def _has_digits(cell: str, count_min: int) -> bool:
    """Whether a cell holds a number, valid or not, rather than words."""
    text = cell.strip().strip('"')
    return sum(map(str.isdigit, text)) >= count_min and sum(map(str.isalpha, text)) <= 1


def _refused(record: Record, delimiter: str, code: str, message: str) -> Iterator[_Row]:
    for row, line in enumerate(record.lines, record.row):
        if line.strip():
            cells = tuple(_kept(line.rstrip("\n").split(delimiter)))
            shown = csv_files.shown(line.strip())
            yield row, RejectedContact(row, shown, code, message, cells), cells


# --- numbers ------------------------------------------------------------------------------------


_LIST: Final = phone_columns.LIST


def _checked_chunks(
    rows: Iterable[_Row], column: PhoneColumn, total: int | None = None
) -> Iterator[ContactChunk]:
    """Check each value, in chunks."""
    chunk, characters = ContactChunk(column=column, rows_total=total), 0
    for row, found, cells in _checked_rows(rows):
        if isinstance(found, RejectedContact):
            chunk.rejected.append(found)
        else:
            chunk.usable.append((row, found))
            if column is not _LIST:
                chunk.cells.append(list(cells))
        count = len(chunk.usable) + len(chunk.rejected)
        characters += sum(map(len, cells))
        if count >= CHUNK_ROWS or characters >= _CHUNK_CHARACTERS_MAX:
            yield chunk
            chunk, characters = ContactChunk(column=column, rows_total=total), 0
    if chunk.usable or chunk.rejected:
        yield chunk


def _checked_rows(rows: Iterable[_Row]) -> Iterator[_Row]:
    """Check each value: the number in E.164, or why there is none. Every further row of a number is a
    duplicate."""
    first_row: dict[int, int] = {}  # of each number, without its +, which takes less memory
    for row, value, cells in rows:
        found = value if isinstance(value, RejectedContact) else _checked(row, value, cells)
        if isinstance(found, str) and (before := first_row.setdefault(int(found[1:]), row)) != row:
            message = f"{found} stands in row {before} already; it is called once."
            shown = csv_files.shown(str(value))
            found = RejectedContact(row, shown, "duplicate_in_file", message, tuple(cells))
        yield row, found, cells


def _checked(row: int, value: str, cells: Cells = ()) -> str | RejectedContact:
    """The number in E.164, or why there is none."""
    if texts.is_blank(value):
        return RejectedContact(row, "", "empty", "There is no number in this row.", tuple(cells))
    try:
        return phone_numbers.checked(value)
    except (phone_numbers.InvalidNumber, phone_numbers.DestinationNotAllowed) as refusal:
        code = str(refusal.extra.get("reason", refusal.code))
        shown = csv_files.shown(value)
        return RejectedContact(row, shown, code, refusal.detail, tuple(cells))


def _is_number(cell: str) -> bool:
    return isinstance(_checked(0, cell), str)


def _too_many(maximum: int) -> TooManyRows:
    return TooManyRows(
        f"One campaign takes at most {maximum:,} rows; send the list in parts.", maximum=maximum
    )


# --- threads and processes ----------------------------------------------------------------------

# Of one process, which works for all of its users.
_slots = asyncio.Semaphore(_CHILDREN_MAX)
_waiting = 0


class _Turns:
    """The lists of one user that wait to be read: one after the other."""

    __slots__ = ("count", "one_at_a_time")

    def __init__(self) -> None:
        self.one_at_a_time, self.count = asyncio.Semaphore(1), 0


_turns: dict[str, _Turns] = {}


@contextlib.asynccontextmanager
async def _turn(user_id: str) -> AsyncGenerator[None, None]:
    """Wait until a list of this user may be read. Raises TooManyRequests and Unavailable when too many
    wait already."""
    global _waiting
    turns = _turns.setdefault(user_id, _Turns())
    if turns.count >= LISTS_PER_USER_MAX:
        raise TooManyRequests(
            f"{LISTS_PER_USER_MAX} lists of yours are being read or wait for it; try again when one "
            "is done.",
            headers={"Retry-After": str(_RETRY_SECONDS)},
            retry_after_seconds=_RETRY_SECONDS,
        )
    if _waiting >= _LISTS_MAX:
        raise Unavailable("Too many lists are being read.", retry_after_seconds=_RETRY_SECONDS)
    turns.count, _waiting = turns.count + 1, _waiting + 1
    try:
        async with turns.one_at_a_time, _slots:
            yield
    finally:
        turns.count, _waiting = turns.count - 1, _waiting - 1
        if not turns.count:
            _turns.pop(user_id, None)


async def _in_thread(chunks: Iterator[ContactChunk]) -> AsyncGenerator[ContactChunk, None]:
    while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
        yield chunk


async def _in_child(
    task: dict[str, str | None], content: Content, user_id: str
) -> AsyncGenerator[ContactChunk, None]:
    """Read in a process of its own, one of a user at a time. It ends when this process does, because
    its pipe closes."""
    async with _turn(user_id), _limited_seconds():
        async for chunk in _chunks_of_child(task, content):
            yield chunk


@contextlib.asynccontextmanager
async def _limited_seconds() -> AsyncGenerator[None, None]:
    try:
        async with asyncio.timeout(_CHILD_SECONDS_MAX):
            yield
    except TimeoutError:
        raise Unavailable("The list could not be read in time; try again.") from None


async def _chunks_of_child(
    task: dict[str, str | None], content: Content
) -> AsyncGenerator[ContactChunk, None]:
    async with contextlib.aclosing(_answers_of_child(task, content)) as answers:
        async for chunk in _chunks_in(answers):
            yield chunk


async def _chunks_in(
    answers: AsyncGenerator[dict[str, Any], None],
) -> AsyncGenerator[ContactChunk, None]:
    column = _LIST
    async for answer in answers:
        if (of := answer["column"]) is not None:  # only with the first chunk: there may be many
            column = dataclasses.replace(PhoneColumn(*of), columns=tuple(of[-1]))
        yield ContactChunk(
            [(row, number) for row, number in answer["usable"]],
            [_rejection(*told) for told in answer["rejected"]],
            column,
            answer["cells"],
            answer["total"],
        )


def _rejection(row: int, value: str, code: str, message: str, cells: list[str]) -> RejectedContact:
    return RejectedContact(row, value, code, message, tuple(cells))


async def _answers_of_child(
    task: dict[str, str | None], content: Content
) -> AsyncGenerator[dict[str, Any], None]:
    """What the child process answers, line by line. Raises what it refuses the list with."""
    chosen = config.settings()
    head = {
        **task,
        "region": chosen.default_region,
        "countries": ",".join(chosen.allowed_countries),
        "types": ",".join(chosen.allowed_number_types),
    }
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        __name__,
        cwd=_ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LINE_BYTES_MAX,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        with contextlib.suppress(
            ConnectionError
        ):  # it refused the list before it had read all of it
            child.stdin.write(json.dumps(head).encode() + b"\n")
            async for piece in _pieces_of(content):
                child.stdin.write(piece)
                await child.stdin.drain()
        child.stdin.close()
        while line := await child.stdout.readline():
            answer: dict[str, Any] = json.loads(line)
            if "refused" in answer:
                raise _REFUSALS[answer["refused"]](answer["detail"], **answer["extra"])
            if "end" in answer:
                return
            yield answer
        raise Unavailable("The list could not be read to its end; try again.")
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()


async def _pieces_of(content: Content) -> AsyncGenerator[bytes, None]:
    """A file in pieces: the pipe would copy the whole."""
    if not isinstance(content, bytes):
        async for piece in content:
            yield piece
        return
    for at in range(0, len(content), _PIECE_BYTES):
        yield content[at : at + _PIECE_BYTES]


@contextlib.contextmanager
def _limited_cpu() -> Iterator[None]:
    """FileTooLarge after `CPU_SECONDS_MAX`, in the child process; soon afterwards it is killed."""

    def give_up(*_: object) -> None:
        raise FileTooLarge(
            f"Reading this file takes more than {CPU_SECONDS_MAX} seconds; send it in parts.",
            limit="seconds",
            maximum=CPU_SECONDS_MAX,
        )

    signal.signal(signal.SIGXCPU, give_up)
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS_MAX, CPU_SECONDS_MAX + 5))
    yield
    signal.signal(signal.SIGXCPU, signal.SIG_IGN)


def _serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Read a list from `source` and write its chunks to `sink`, in the child process."""
    if hasattr(os, "nice"):
        os.nice(10)  # requests come first
    head = json.loads(source.readline())
    config.use(
        config.Settings(
            _env_file=None,
            default_region=head["region"],
            allowed_countries=head["countries"],
            allowed_number_types=head["types"],
        )
    )

    def send(answer: object) -> None:
        line = json.dumps(answer, separators=(",", ":"), ensure_ascii=False)
        sink.write(line.encode() + b"\n")
        sink.flush()

    try:
        with _limited_cpu():
            for answer in _answers(head, source):
                send(answer)
    except tuple(_REFUSALS.values()) as refusal:
        send({"refused": refusal.code, "detail": refusal.detail, "extra": refusal.extra})
    else:
        send({"end": True})


def _answers(head: dict[str, str], source: BinaryIO) -> Iterator[object]:
    """What the child process answers to its task."""
    if head["form"] == "preview":
        yield {"preview": check_preview(source.read(), head["phone_column"])}
        return
    chunks = (
        check_csv_rows(source.read(), head["phone_column"])
        if head["form"] == "csv"
        else check_list_rows(json.loads(source.read()))
    )
    column: object = None
    for chunk in chunks:
        is_first = column is None
        column = dataclasses.astuple(chunk.column)
        yield {
            "usable": chunk.usable,
            "rejected": [dataclasses.astuple(rejection) for rejection in chunk.rejected],
            "column": column if is_first else None,
            "cells": chunk.cells,
            "total": chunk.rows_total,
        }


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        _serve(sys.stdin.buffer, sys.stdout.buffer)
