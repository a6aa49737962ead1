"""CSV files: the encoding they come in, and how much of them is read."""

import pytest

from core import csv_files
from core.csv_files import FileTooLarge, UnreadableFile

ASHA = "name,मोबाइल\nJosé,9876543210\n"


@pytest.mark.parametrize(
    "content",
    [
        ASHA.encode(),
        b"\xef\xbb\xbf" + ASHA.encode(),
        b"\xef\xbb\xbf\xef\xbb\xbf" + ASHA.encode(),  # marked by two programs
        ASHA.encode("utf-16"),
        b"\xfe\xff" + ASHA.encode("utf-16-be"),
        ASHA.replace("\n", "\r\n").encode() + b"\x1a",
        ASHA.replace("\n", "\r").encode(),
    ],
)
def test_the_mark_of_the_encoding_is_no_part_of_the_text(content: bytes) -> None:
    assert csv_files.decoded(content) == ASHA


def test_a_mark_goes_before_the_encoding_is_guessed() -> None:
    """A marked file with one name in a Windows code page began with ï»¿, and its first column was
    not found."""
    content = b"\xef\xbb\xbf" + "phone,name\n9876543210,José\n".encode("cp1252")
    assert csv_files.decoded(content) == "phone,name\n9876543210,José\n"


def test_one_broken_byte_does_not_change_the_encoding_of_all_others() -> None:
    content = ASHA.encode() + b"Ra\xff,9812345678\n"
    assert csv_files.decoded(content) == ASHA + "Ra\ufffd,9812345678\n"


def test_what_cannot_be_decoded_is_refused() -> None:
    for content in (b"\xff\xfea\0b", b"\xff\xfe\0\0p\0\0\0", "phone\n".encode("utf-16-le")):
        with pytest.raises(UnreadableFile):
            csv_files.decoded(content)


# --- how much is read -----------------------------------------------------------------------------


def limit_of(text: str) -> tuple[str, int]:
    with pytest.raises(FileTooLarge) as refused:
        list(csv_files.records(text, ",", 0))
    assert refused.value.status == 413
    assert (
        f"{refused.value.extra['maximum']:,} {refused.value.extra['limit']}" in refused.value.detail
    )
    return refused.value.extra["limit"], refused.value.extra["maximum"]


@pytest.mark.parametrize(
    ("text", "limit", "maximum"),
    [
        ("a,b\n" + "\n" * csv_files.LINES_MAX, "lines", 1_000_000),
        ("a," * 1_000_000, "columns", 1_000),
        ("a," * csv_files.COLUMNS_MAX + "b\n", "columns", 1_000),
        ("a" * (csv_files.CELL_CHARACTERS_MAX + 1), "characters in one cell", 32_767),
        ("a" * (csv_files.LINE_CHARACTERS_MAX + 1), "characters", 1_000_000),
        ('a,"' + "b" * 200_000 + '"\n', "characters in one cell", 32_767),
        ('a,"' + "b\n" * 100_000 + '"\n', "characters in one cell", 32_767),
    ],
    ids=["blank lines", "a million columns", "columns", "cell", "line", "quoted", "quoted lines"],
)
def test_more_than_is_read_is_refused_by_its_kind(text: str, limit: str, maximum: int) -> None:
    assert limit_of(text) == (limit, maximum)


def test_as_much_as_is_allowed_is_read() -> None:
    longest = "b" * csv_files.CELL_CHARACTERS_MAX
    text = "a," * (csv_files.COLUMNS_MAX - 1) + "\n" + longest + "\n" * 1_000
    widths = [len(record.cells) for record in csv_files.records(text, ",", 0)]
    assert widths == [csv_files.COLUMNS_MAX, 1]


def test_an_endless_cell_whose_mark_is_not_closed_is_said_to_be_that() -> None:
    with pytest.raises(UnreadableFile) as refused:
        list(csv_files.records('a\n"b' + "c\n" * 100_000, ",", 0))
    assert refused.value.detail == "A quotation mark that opens in line 2 is not closed."
