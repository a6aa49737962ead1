"""CSV files: read in any spreadsheet's dialect, written so that no spreadsheet runs a cell."""

import contextlib
import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from core.errors import Problem

# --- vocabulary ---------------------------------------------------------------------------------

VALUE_LENGTH_MAX: Final = 100
_RECORD_LINES_MAX: Final = 50
_SAMPLE_RECORDS: Final = 20
_DELIMITERS: Final = ",;\t|"

# How a spreadsheet writes a long number that it read as a quantity.
SCIENTIFIC: Final = re.compile(r"[+-]?\d(?:[.,]\d+)?[eE]\+?\d{1,2}")
# Invisible characters that come with pasted text.
INVISIBLE: Final = dict.fromkeys([*range(0x200B, 0x2010), *range(0x202A, 0x202F), 0x2060, 0xFEFF])
_CONTROLS: Final = re.compile(rb"[\x00-\x08\x0e-\x19\x1b-\x1f\x7f]")
BYTE_ORDER_MARK = "\ufeff"
# What a spreadsheet reads as the beginning of a formula (OWASP, CSV injection), also full-width.
_formula_form = re.compile(r"[\s\x00]*[=+\-@＝＋－＠]|[\t\r\n]")


class UnreadableFile(Problem):
    """This file is no CSV in UTF-8; the detail says what it seems to be."""

    code, status, title = "unreadable_file", 422, "Unreadable file"


# --- reading ------------------------------------------------------------------------------------


def decoded(content: bytes) -> str:
    """The file as text. Raises UnreadableFile, which says what to do, for a file that is not text."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UnreadableFile("The file is UTF-16. Save it as 'CSV UTF-8' and upload that.")
    if content.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise UnreadableFile("The file is an Excel workbook. Save it as 'CSV UTF-8'.")
    content = content.removesuffix(b"\x1a")  # old programs end a text with Ctrl-Z
    if _CONTROLS.search(content):
        raise UnreadableFile("The file is binary or UTF-16. Save the list as 'CSV UTF-8'.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        # Windows programs save names in the code page of the country; digits are the same.
        return content.decode("cp1252", errors="replace")


def delimiter_of(text: str) -> tuple[str, int]:
    """The delimiter, and where the rows begin: the one that cuts the first records most evenly."""
    declared = re.match(r"sep=([,;\t|])\r?\n", text, re.IGNORECASE)
    if declared:  # Excel's `sep=` line
        return declared[1], declared.end()
    head = text[: 64 * 1024]

    def score(delimiter: str) -> tuple[int, int]:
        with contextlib.suppress(UnreadableFile):
            widths = [
                len(cells)
                for (_, cells), _ in zip(
                    records(head, delimiter, 0, is_whole=False),
                    range(_SAMPLE_RECORDS),
                    strict=False,
                )
            ]
            if widths and widths[0] > 1:
                return widths.count(widths[0]), widths[0]
        return 0, 0

    best = max(_DELIMITERS, key=score)
    return (best if score(best) > (0, 0) else ","), 0


def records(
    text: str, delimiter: str, text_from: int, *, is_whole: bool = True
) -> Iterator[tuple[int, list[str]]]:
    """The records that are not empty, each with the physical line on which it begins."""
    lines = io.StringIO(text, newline="")
    lines.seek(text_from)
    reader = csv.reader(lines, delimiter=delimiter)
    offset = text.count("\n", 0, text_from)
    began = 1
    try:
        for cells in reader:
            length = reader.line_num - began + 1
            is_last = lines.tell() >= len(text)
            if length > _RECORD_LINES_MAX or (
                is_whole and length > 1 and is_last and text.count('"', text_from) % 2
            ):
                raise _unclosed(began + offset)
            if any(cell.strip() for cell in cells):
                yield began + offset, cells
            began = reader.line_num + 1
    except csv.Error:
        raise _unclosed(began + offset) from None


def _unclosed(row: int) -> UnreadableFile:
    return UnreadableFile(f"A quotation mark that opens in line {row} is not closed.")


def plain(name: str) -> str:
    """A column's name without case and punctuation, for comparing."""
    return "".join(c for c in name.casefold() if c.isalnum())


def shown(value: str) -> str:
    """A cell as an error quotes it: short, and without what cannot be printed."""
    kept = "".join(c if c.isprintable() else " " for c in value[:VALUE_LENGTH_MAX])
    return kept if len(value) <= VALUE_LENGTH_MAX else kept + "…"


# --- writing ------------------------------------------------------------------------------------


def lines(rows: Iterable[Sequence[str]]) -> str:
    """The rows as lines of CSV; cells of free text have to be made `harmless` first."""
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def harmless(text: str) -> str:
    """`text` with an apostrophe before what a spreadsheet would run; a phone number is not changed."""
    if text[:1].isalnum():
        return text  # nearly every cell
    return f"'{text}" if _formula_form.match(text) else text
