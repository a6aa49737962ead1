"""Contact import: a CSV of numbers read row by row, in a process of its own."""

import asyncio
import contextlib
import dataclasses
import json
import os
import sys
from collections.abc import AsyncGenerator, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from core import config, csv_files, phone_numbers
from core.csv_files import UnreadableFile
from core.errors import Problem, Unavailable

# --- vocabulary ---------------------------------------------------------------------------------

ROWS_MAX: Final = 100_000
FILE_BYTES_MAX: Final = 32 * 1024 * 1024
CHUNK_ROWS: Final = 500

# Up to this size a list is read in a thread of this process; a larger one in a process of its own,
# because a second of checking numbers would delay all requests of this process.
_SMALL_BYTES: Final = 32 * 1024
_CHILDREN_WAITING_MAX: Final = 20
_CHILD_SECONDS_MAX: Final = 180
_SAMPLE_RECORDS: Final = 20

# Names of a column of numbers, the surest first; compared without case and punctuation.
_COLUMNS: Final = (
    "phone",
    "phonenumber",
    "mobile",
    "mobilenumber",
    "contactnumber",
    "number",
    "phoneno",
    "mobileno",
    "contactno",
    "telephone",
    "telephonenumber",
    "tel",
    "cell",
    "cellphone",
    "msisdn",
    "whatsapp",
    "whatsappnumber",
    "contact",
    "to",
)

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
    """Rows that were read: `(row, number)` of those to call, and those that are refused."""

    usable: list[tuple[int, str]] = dataclasses.field(default_factory=list)
    rejected: list[RejectedContact] = dataclasses.field(default_factory=list)


class NoPhoneColumn(Problem):
    """It is not clear which column holds the numbers; name it in `phone_column`."""

    code, status, title = "phone_column_not_found", 422, "Phone column not found"


class TooManyRows(Problem):
    """The list is longer than one campaign takes; send it in parts."""

    code, status, title = "too_many_rows", 413, "Too many rows"


_REFUSALS: Final[dict[str, type[Problem]]] = {
    kind.code: kind for kind in (UnreadableFile, NoPhoneColumn, TooManyRows)
}


# --- verbs --------------------------------------------------------------------------------------


async def read_csv_contacts(
    content: bytes, *, phone_column: str | None = None
) -> AsyncGenerator[ContactChunk, None]:
    """Read a CSV file. Raises UnreadableFile, NoPhoneColumn, TooManyRows before the first chunk,
    and Unavailable when too many large files are being read."""
    if len(content) <= _SMALL_BYTES:
        reading = _in_thread(check_csv_rows(content, phone_column))
    else:
        reading = _in_child({"phone_column": phone_column, "form": "csv"}, content)
    async with contextlib.aclosing(reading):
        async for chunk in reading:
            yield chunk


async def read_list_contacts(values: list[str]) -> AsyncGenerator[ContactChunk, None]:
    """Read numbers that came as a JSON list; their position counts from 1. Raises TooManyRows."""
    if len(values) > ROWS_MAX:
        raise _too_many()
    if sum(map(len, values)) <= _SMALL_BYTES:
        reading = _in_thread(check_list_rows(values))
    else:
        reading = _in_child({"form": "list"}, json.dumps(values).encode())
    async with contextlib.aclosing(reading):
        async for chunk in reading:
            yield chunk


def check_list_rows(values: Iterable[str]) -> Iterator[ContactChunk]:
    """The numbers of a list, checked, in chunks."""
    yield from _checked_chunks(enumerate(values, 1))


def check_csv_rows(content: bytes, phone_column: str | None) -> Iterator[ContactChunk]:
    """The numbers of a CSV file, checked, in chunks; rows are named by their physical line."""
    text = csv_files.decoded(content)
    delimiter, text_from = csv_files.delimiter_of(text)
    records = csv_files.records(text, delimiter, text_from)
    sample = [record for record, _ in zip(records, range(_SAMPLE_RECORDS), strict=False)]
    if not sample:
        raise UnreadableFile("The file has no rows.")
    column, has_header = _column_of([cells for _, cells in sample], phone_column)
    # Counted before the first chunk, so that nothing of a file that is refused is stored.
    count = sum(1 for _ in csv_files.records(text, delimiter, text_from)) - has_header
    if count > ROWS_MAX:
        raise _too_many()
    rows = csv_files.records(text, delimiter, text_from)
    if has_header:
        next(rows)
    yield from _checked_chunks(
        (row, cells[column] if column < len(cells) else "") for row, cells in rows
    )


# --- numbers ------------------------------------------------------------------------------------


def _checked_chunks(rows: Iterable[tuple[int, str]]) -> Iterator[ContactChunk]:
    """Check each value; every further row of a number is a duplicate."""
    first_row: dict[str, int] = {}
    chunk = ContactChunk()
    for row, value in rows:
        found = _checked(row, value)
        if isinstance(found, RejectedContact):
            chunk.rejected.append(found)
        elif (before := first_row.setdefault(found, row)) != row:
            message = f"{found} stands in row {before} already; it is called once."
            chunk.rejected.append(
                RejectedContact(row, csv_files.shown(value), "duplicate_in_file", message)
            )
        else:
            chunk.usable.append((row, found))
        if len(chunk.usable) + len(chunk.rejected) >= CHUNK_ROWS:
            yield chunk
            chunk = ContactChunk()
    if chunk.usable or chunk.rejected:
        yield chunk


def _checked(row: int, value: str) -> str | RejectedContact:
    """The number in E.164, or why there is none."""
    text = value.translate(csv_files.INVISIBLE).strip().lstrip("'").strip()
    if not text:
        return RejectedContact(row, "", "empty", "There is no number in this row.")
    if csv_files.SCIENTIFIC.fullmatch(text):
        message = (
            "The spreadsheet shortened this number and its last digits are lost. Format the "
            "column as text, enter the numbers again, and export it once more."
        )
        return RejectedContact(row, csv_files.shown(value), "unparseable", message)
    # A spreadsheet that took the number for a quantity writes 9876543210.0.
    text = text[:-2] if text.endswith(".0") else text
    try:
        return phone_numbers.checked(text)
    except (phone_numbers.InvalidNumber, phone_numbers.DestinationNotAllowed) as refusal:
        code = str(refusal.extra.get("reason", refusal.code))
        return RejectedContact(row, csv_files.shown(value), code, refusal.detail)


def _too_many() -> TooManyRows:
    return TooManyRows(f"One campaign takes at most {ROWS_MAX} rows; send the list in parts.")


# --- columns ------------------------------------------------------------------------------------


def _column_of(sample: list[list[str]], phone_column: str | None) -> tuple[int, bool]:
    """The column of the numbers, and whether the first record is a header."""
    first = sample[0]
    names = [csv_files.plain(cell) for cell in first]
    if phone_column is not None:
        if csv_files.plain(phone_column) not in names:
            raise _no_column(f"There is no column {phone_column!r}.", first)
        return names.index(csv_files.plain(phone_column)), True
    known = [names.index(name) for name in _COLUMNS if name in names]
    if known:
        return known[0], True
    width = max(map(len, sample))
    if width == 1:
        return 0, not any(c.isdigit() for c in first[0])
    # No known name: the only column in which most of the first rows are numbers.
    has_header = not any(isinstance(_checked(0, cell), str) for cell in first)
    body = sample[has_header:]
    holds = [
        sum(isinstance(_checked(0, cells[i]), str) for cells in body if i < len(cells))
        for i in range(width)
    ]
    likely = [i for i, count in enumerate(holds) if 2 * count > len(body)]
    if len(likely) != 1:
        raise _no_column("It is not clear which column holds the numbers.", first)
    return likely[0], has_header


def _no_column(what: str, first: list[str]) -> NoPhoneColumn:
    columns = [csv_files.shown(cell.strip()) for cell in first[:50]]
    return NoPhoneColumn(f"{what} Name it in phone_column.", columns=columns)


# --- threads and processes ----------------------------------------------------------------------

_one_at_a_time = asyncio.Semaphore(1)
_children = 0


async def _in_thread(chunks: Iterator[ContactChunk]) -> AsyncGenerator[ContactChunk, None]:
    while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
        yield chunk


async def _in_child(
    task: dict[str, str | None], content: bytes
) -> AsyncGenerator[ContactChunk, None]:
    """Read in a process of its own, one at a time. It ends when this process does, because its pipe
    closes."""
    global _children
    if _children >= _CHILDREN_WAITING_MAX:
        raise Unavailable("Too many lists are being read right now.", retry_after_seconds=10)
    _children += 1
    try:
        async with _one_at_a_time, asyncio.timeout(_CHILD_SECONDS_MAX):
            async for chunk in _chunks_of_child(task, content):
                yield chunk
    except TimeoutError:
        raise Unavailable("The list could not be read in time; try again.") from None
    finally:
        _children -= 1


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
            )
        raise Unavailable("The list could not be read to its end; try again.")
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()


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
    content = source.read()

    def send(answer: object) -> None:
        sink.write(json.dumps(answer, separators=(",", ":")).encode() + b"\n")
        sink.flush()

    try:
        chunks = (
            check_csv_rows(content, head["phone_column"])
            if head["form"] == "csv"
            else check_list_rows(json.loads(content))
        )
        for chunk in chunks:
            rejected = [dataclasses.astuple(rejection) for rejection in chunk.rejected]
            send({"usable": chunk.usable, "rejected": rejected})
    except (UnreadableFile, NoPhoneColumn, TooManyRows) as refusal:
        send({"refused": refusal.code, "detail": refusal.detail, "extra": refusal.extra})
    else:
        send({"end": True})


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        _serve(sys.stdin.buffer, sys.stdout.buffer)
