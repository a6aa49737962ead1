"""A rate card's file: what is read, and what is told about the rows that cannot be."""

import datetime as dt
from typing import Any

import pytest

from billing import rate_card_files
from billing.rate_card_files import InvalidRateCard, Price
from core.csv_files import FileTooLarge, UnreadableFile

HEAD = "prefix,rate_per_minute,first_pulse_seconds,valid_from,valid_until\n"


def mistakes(content: str | bytes) -> list[dict[str, Any]]:
    """What is told about a file that is refused."""
    with pytest.raises(InvalidRateCard) as refused:
        rate_card_files.parse_file(content.encode() if isinstance(content, str) else content)
    found: list[dict[str, Any]] = refused.value.extra["errors"]
    assert all(set(e) == {"row", "column", "value", "code", "message"} for e in found)
    return found


def codes(content: str | bytes) -> list[tuple[int, str]]:
    return [(mistake["row"], mistake["code"]) for mistake in mistakes(content)]


def test_a_whole_card_is_read_as_it_is_written() -> None:
    content = (
        "prefix,destination,rate_per_minute,first_pulse_seconds,pulse_seconds,minimum_seconds,"
        "connection_fee,valid_from,valid_until\n"
        '91,"India, all",1.20,30,6,10,0.50,2026-12-01,2026-12-31\n'
        "+91 98,=mobile,0.75,,,,,,\n"
    )
    india, mobile = prices = rate_card_files.parse_file(content.encode())
    assert india == Price(
        prefix="91",
        destination="India, all",
        rate_paise_per_minute=120,
        first_pulse_seconds=30,
        pulse_seconds=6,
        minimum_seconds=10,
        connection_fee_paise=50,
        valid_from=dt.date(2026, 12, 1),
        valid_until=dt.date(2026, 12, 31),
    )
    assert mobile == Price(prefix="9198", destination="=mobile", rate_paise_per_minute=75)
    assert rate_card_files.prices_of_stored_text(rate_card_files.stored_text(prices)) == prices
    rows = list(rate_card_files.rows_for_download(prices))
    assert rows[2][:3] == ["9198", "'=mobile", "0.75"]  # a spreadsheet runs nothing of it


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfprefix,rate\r\n91,1.20\r\n",
        b"Prefix;Rate per minute\n91;1.20\n",
        b"sep=;\nPREFIX;rate_per_minute\n91;1.20\n",
        b"prefix\trate\n'91\t1.2\n\n",
        b"rate,prefix,\n1.20,+91,\n",
        "prefix,rate\n\u200b91\u200b, 1.20 \n".encode(),
    ],
)
def test_what_spreadsheets_make_of_it_is_understood(content: bytes) -> None:
    assert rate_card_files.parse_file(content) == [
        Price(prefix="91", destination="", rate_paise_per_minute=120)
    ]


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ("9.1E+01,1.20", "shortened"),
        ("91,1.2E+00", "shortened"),
        ("91,-1.20", "invalid_rate"),
        ("91,0", "invalid_rate"),
        ("91,1.205", "invalid_rate"),
        ("91,1000.01", "invalid_rate"),
        ('91,"1,20"', "invalid_rate"),
        ("91,NaN", "invalid_rate"),
        ("91,", "invalid_rate"),
        (",1.20", "invalid_prefix"),
        ("091,1.20", "invalid_prefix"),
        ("9x,1.20", "invalid_prefix"),
        ("1234567890123456,1.20", "invalid_prefix"),
        ("91,1.20,0", "invalid_seconds"),
        ("91,1.20,1.5", "invalid_seconds"),
        ("91,1.20,3601", "invalid_seconds"),
        ("91,1.20,,01/12/2026", "invalid_date"),
        ("91,1.20,,2026-02-30", "invalid_date"),
        ("91,1.20,,2026-12-02,2026-12-01", "dates_reversed"),
        ("91,1.20,,,,7", "too_many_cells"),
    ],
)
def test_a_row_that_is_wrong_is_named_with_its_value(row: str, code: str) -> None:
    found = mistakes(f"{HEAD}44,1.00\n{row}\n")
    assert [(mistake["row"], mistake["code"]) for mistake in found] == [(3, code)]
    assert found[0]["message"]


def test_a_price_may_hold_for_a_single_day() -> None:
    [price] = rate_card_files.parse_file(f"{HEAD}91,1.20,,2026-12-02,2026-12-02\n".encode())
    assert price.valid_from == price.valid_until


def test_all_mistakes_are_told_at_once_and_counted_when_they_are_many() -> None:
    assert codes(f"{HEAD}x,-1,0\n91,1\n44,y\n") == [
        (2, "invalid_prefix"),
        (2, "invalid_rate"),
        (2, "invalid_seconds"),
        (4, "invalid_rate"),
    ]
    with pytest.raises(InvalidRateCard) as refused:
        rate_card_files.parse_file((HEAD + "x,1\n" * 1_500).encode())
    assert len(refused.value.extra["errors"]) == rate_card_files.ERRORS_SHOWN_MAX
    assert refused.value.extra["errors_count"] == 1_500


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", [(1, "missing_column"), (1, "missing_column")]),
        (HEAD, [(1, "no_rows")]),
        ("prefix\n91\n", [(1, "missing_column")]),
        ("prefix,rate,conection_fee\n91,1,5\n", [(1, "unknown_column")]),
        ("prefix,rate,rate_per_minute\n91,1,5\n", [(1, "duplicate_column")]),
        ("91,1.20\n", [(1, "unknown_column"), (1, "unknown_column")]),
        ("prefix,rate" + ",x" * 500 + "\n91,1\n", [(1, "too_many_columns")]),
    ],
)
def test_a_file_without_the_columns_is_refused(
    content: str, expected: list[tuple[int, str]]
) -> None:
    assert codes(content)[: len(expected)] == expected


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe" + "prefix,rate\n91,1\n".encode("utf-16-le")[:-1],
        b"PK\x03\x04 a workbook",
        b"\x00\x01\x02\x03",
        b'prefix,rate\n91,"1\n92,2\n',
    ],
)
def test_what_is_no_csv_is_refused(content: bytes) -> None:
    with pytest.raises(UnreadableFile):
        rate_card_files.parse_file(content)


def test_a_file_of_a_hundred_thousand_columns_is_not_read() -> None:
    with pytest.raises(FileTooLarge):
        rate_card_files.parse_file(b"prefix,rate" + b",x" * 100_000 + b"\n91,1\n")


def test_excels_unicode_text_is_read() -> None:
    prices = rate_card_files.parse_file("prefix\trate\n91\t1.20\n".encode("utf-16"))
    assert [price.rate_paise_per_minute for price in prices] == [120]


def test_stray_quotation_marks_swallow_no_price() -> None:
    """`"91\\n92"` was read as the prefix 9192, and the price of 92 was lost."""
    with pytest.raises(InvalidRateCard) as refused:
        rate_card_files.parse_file(b'prefix,rate\n"91\n92",1\n')
    assert [(e["row"], e["code"]) for e in refused.value.extra["errors"]] == [
        (2, "stray_quotation_mark")
    ]


def test_a_destination_with_a_line_break_is_not_said_to_be_too_long() -> None:
    with pytest.raises(InvalidRateCard) as refused:
        rate_card_files.parse_file("prefix,rate,destination\n91,1,In\u2028dia\n".encode())
    [error] = refused.value.extra["errors"]
    assert "line breaks" in error["message"]
    assert "100" not in error["message"]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("91,1\n91,2\n", [(3, "duplicate_prefix")]),
        ("91,1\n+9 1,1\n", [(3, "duplicate_prefix")]),
        ("91,1,,2026-01-01,2026-06-30\n91,2,,2026-07-01,\n", []),
        ("91,2,,2026-07-01,\n91,1,,,2026-06-30\n9,1\n", []),
        ("91,1,,2026-01-01,2026-06-30\n91,2,,2026-06-30,\n", [(3, "overlapping_validity")]),
        ("91,2,,2026-07-01,\n91,1\n", [(3, "overlapping_validity")]),
        # The long one reaches over the short one to the third.
        (
            "91,1,,2026-01-01,2026-12-31\n91,2,,2026-02-01,2026-02-02\n91,3,,2026-05-01,2026-05-02\n",
            [(3, "overlapping_validity"), (4, "overlapping_validity")],
        ),
    ],
)
def test_two_prices_of_a_prefix_on_one_day_are_refused(
    rows: str, expected: list[tuple[int, str]]
) -> None:
    if expected:
        assert codes(HEAD + rows) == expected
    else:
        assert len(rate_card_files.parse_file((HEAD + rows).encode())) == rows.count("\n")


def test_twenty_thousand_rows_are_read_and_too_many_are_refused() -> None:
    rows = "".join(f"{9_100_000 + n},1.5,30\n" for n in range(20_000))
    prices = rate_card_files.parse_file((HEAD + rows).encode())
    assert len({price.prefix for price in prices}) == 20_000
    too_many = HEAD + "91,1\n" * (rate_card_files.ROWS_MAX + 1)
    assert codes(too_many) == [(rate_card_files.ROWS_MAX + 2, "too_many_rows")]
