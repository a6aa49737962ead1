"""Contact import: a CSV of numbers read row by row, in a process of its own."""

import asyncio
import contextlib
import dataclasses
import itertools
import json
import os
import resource
import signal
import sys
from collections.abc import AsyncGenerator, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from campaigns import phone_columns
from campaigns.contacts import NewContact
from campaigns.phone_columns import NoPhoneColumn, PhoneColumn
from core import config, csv_files, phone_numbers, texts
from core.csv_files import FileTooLarge, Record, UnreadableFile
from core.errors import Problem, TooManyRequests, Unavailable

# --- vocabulary ---------------------------------------------------------------------------------

ROWS_MAX: Final = 100_000
FILE_BYTES_MAX: Final = 32 * 1024 * 1024
CHUNK_ROWS: Final = 500

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
_CHILD_SECONDS_MAX: Final = 180
CPU_SECONDS_MAX: Final = 60

# The child that reads a large list is this module, started from the root of the project.
_ROOT: Final = Path(__file__).resolve().parents[__name__.count(".")]


@dataclasses.dataclass(frozen=True, slots=True)
class RejectedContact:
    """A row that cannot be called. `row` is the line of the file, or the position in the list."""

    row: int
    value: str
    code: str
    message: str


@dataclasses.dataclass(slots=True)
class ContactChunk:
    """Rows that were read: `(row, number)` of those to call, and those that are refused. `cells` are
    those of each usable row, in the order of `columns`; a list of numbers has none."""

    usable: list[tuple[int, str]] = dataclasses.field(default_factory=list)
    rejected: list[RejectedContact] = dataclasses.field(default_factory=list)
    column: PhoneColumn = phone_columns.LIST  # from which they were read
    columns: list[str] = dataclasses.field(default_factory=list)
    cells: list[list[str]] = dataclasses.field(default_factory=list)

    def contacts(self) -> Iterator[NewContact]:
        """The usable rows with their cells."""
        for (row, number), cells in itertools.zip_longest(self.usable, self.cells):
            yield NewContact(row, number, cells)


class TooManyRows(Problem):
    """The list is longer than one campaign takes; send it in parts."""

    code, status, title = "too_many_rows", 413, "Too many rows"


_REFUSALS: Final[dict[str, type[Problem]]] = {
    kind.code: kind for kind in (UnreadableFile, FileTooLarge, NoPhoneColumn, TooManyRows)
}


# --- verbs --------------------------------------------------------------------------------------


async def read_csv_contacts(
    content: bytes, *, user_id: str, phone_column: str | None = None
) -> AsyncGenerator[ContactChunk, None]:
    """Read a CSV file. Raises UnreadableFile, FileTooLarge, NoPhoneColumn, TooManyRows before the
    first chunk, TooManyRequests when too many lists of this user wait to be read, and Unavailable
    when too many of all do."""
    if is_small(content):
        reading = _in_thread(check_csv_rows(content, phone_column))
    else:
        reading = _in_child({"phone_column": phone_column, "form": "csv"}, content, user_id)
    async with contextlib.aclosing(reading):
        async for chunk in reading:
            yield chunk


async def read_list_contacts(
    values: list[str], *, user_id: str
) -> AsyncGenerator[ContactChunk, None]:
    """Read numbers that came as a JSON list; their position counts from 1. Raises TooManyRows,
    TooManyRequests and Unavailable."""
    if len(values) > ROWS_MAX:
        raise _too_many()
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
    yield from _checked_chunks(enumerate(values, 1), phone_columns.LIST)


def check_csv_rows(content: bytes, phone_column: str | None) -> Iterator[ContactChunk]:
    """The numbers of a CSV file, checked, in chunks; rows are named by their physical line."""
    text = csv_files.decoded(content)
    delimiter, text_from = csv_files.delimiter_of(text)
    records = csv_files.records(text, delimiter, text_from)
    first = next(records, None)
    if first is None:
        raise UnreadableFile("The file has no rows.")
    sample = [first, *itertools.islice(records, phone_columns.sample_size(first) - 1)]
    column = phone_columns.choose(sample, phone_column, _is_number)
    if column.has_header:
        _require_only_names(sample.pop(0), delimiter)
    # All of it before the first chunk, so that nothing of a file that is refused is stored.
    rows: list[tuple[int, str | RejectedContact]] = []
    for record in itertools.chain(sample, records):
        rows += _rows_of(record, column, delimiter)
        if len(rows) > ROWS_MAX:
            raise _too_many()
    yield from _checked_chunks(rows, column)


# --- rows ---------------------------------------------------------------------------------------


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


def _rows_of(
    record: Record, column: PhoneColumn, delimiter: str
) -> Iterable[tuple[int, str | RejectedContact]]:
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
        return _refused(record, "stray_quotation_mark", message)
    if len(cells) > column.width and position and "".join(cells[column.width :]).strip():
        message = (
            f"This row has {len(cells)} cells, and there are {column.width} columns: put a cell that "
            "contains the delimiter into quotation marks."
        )
        return _refused(record, "too_many_cells", message)
    if _joins_cells(record, column, delimiter):
        message = "Stray quotation marks in this row join cells of several columns."
        return _refused(record, "stray_quotation_mark", message)
    return [(row, cells[position] if position < len(cells) else "")]


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


def _refused(record: Record, code: str, message: str) -> list[tuple[int, RejectedContact]]:
    return [
        (row, RejectedContact(row, csv_files.shown(line.strip()), code, message))
        for row, line in enumerate(record.lines, record.row)
        if line.strip()
    ]


# --- numbers ------------------------------------------------------------------------------------


def _checked_chunks(
    rows: Iterable[tuple[int, str | RejectedContact]], column: PhoneColumn
) -> Iterator[ContactChunk]:
    """Check each value; every further row of a number is a duplicate."""
    first_row: dict[str, int] = {}
    chunk = ContactChunk(column=column)
    for row, value in rows:
        found = value if isinstance(value, RejectedContact) else _checked(row, value)
        if isinstance(found, RejectedContact):
            chunk.rejected.append(found)
        elif (before := first_row.setdefault(found, row)) != row:
            message = f"{found} stands in row {before} already; it is called once."
            shown = csv_files.shown(str(value))
            chunk.rejected.append(RejectedContact(row, shown, "duplicate_in_file", message))
        else:
            chunk.usable.append((row, found))
        if len(chunk.usable) + len(chunk.rejected) >= CHUNK_ROWS:
            yield chunk
            chunk = ContactChunk(column=column)
    if chunk.usable or chunk.rejected:
        yield chunk


def _checked(row: int, value: str) -> str | RejectedContact:
    """The number in E.164, or why there is none."""
    if texts.is_blank(value):
        return RejectedContact(row, "", "empty", "There is no number in this row.")
    try:
        return phone_numbers.checked(value)
    except (phone_numbers.InvalidNumber, phone_numbers.DestinationNotAllowed) as refusal:
        code = str(refusal.extra.get("reason", refusal.code))
        return RejectedContact(row, csv_files.shown(value), code, refusal.detail)


def _is_number(cell: str) -> bool:
    return isinstance(_checked(0, cell), str)


def _too_many() -> TooManyRows:
    return TooManyRows(f"One campaign takes at most {ROWS_MAX:,} rows; send the list in parts.")


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
    task: dict[str, str | None], content: bytes, user_id: str
) -> AsyncGenerator[ContactChunk, None]:
    """Read in a process of its own, one of a user at a time. It ends when this process does, because
    its pipe closes."""
    async with _turn(user_id):
        try:
            async with asyncio.timeout(_CHILD_SECONDS_MAX):
                async for chunk in _chunks_of_child(task, content):
                    yield chunk
        except TimeoutError:
            raise Unavailable("The list could not be read in time; try again.") from None


async def _chunks_of_child(
    task: dict[str, str | None], content: bytes
) -> AsyncGenerator[ContactChunk, None]:
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
        limit=4 * 1024 * 1024,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        with contextlib.suppress(
            ConnectionError
        ):  # it refused the list before it had read all of it
            child.stdin.write(json.dumps(head).encode() + b"\n" + content)
            await child.stdin.drain()
        child.stdin.close()
        while line := await child.stdout.readline():
            answer = json.loads(line)
            if "refused" in answer:
                raise _REFUSALS[answer["refused"]](answer["detail"], **answer["extra"])
            if "end" in answer:
                return
            yield ContactChunk(
                [(row, number) for row, number in answer["usable"]],
                [RejectedContact(*fields) for fields in answer["rejected"]],
                PhoneColumn(*answer["column"]),
            )
        raise Unavailable("The list could not be read to its end; try again.")
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()


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
        sink.write(json.dumps(answer, separators=(",", ":")).encode() + b"\n")
        sink.flush()

    try:
        with _limited_cpu():
            content = source.read()
            chunks = (
                check_csv_rows(content, head["phone_column"])
                if head["form"] == "csv"
                else check_list_rows(json.loads(content))
            )
            for chunk in chunks:
                rejected = [dataclasses.astuple(rejection) for rejection in chunk.rejected]
                column = dataclasses.astuple(chunk.column)
                send({"usable": chunk.usable, "rejected": rejected, "column": column})
    except tuple(_REFUSALS.values()) as refusal:
        send({"refused": refusal.code, "detail": refusal.detail, "extra": refusal.extra})
    else:
        send({"end": True})


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        _serve(sys.stdin.buffer, sys.stdout.buffer)
