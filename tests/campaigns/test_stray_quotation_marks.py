"""Quotation marks that stand where they should not: nobody is lost, and nobody else is dialled."""

import csv
import io
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from campaigns import contact_import
from campaigns.contact_import import ContactChunk
from core import config
from core.csv_files import UnreadableFile

NUMBERS = [f"98765432{i:02d}" for i in range(100)]


@pytest.fixture(autouse=True)
def _settings() -> None:
    config.use(config.Settings(_env_file=None))


def read(content: str, phone_column: str | None = None) -> ContactChunk:
    whole = ContactChunk()
    for chunk in contact_import.check_csv_rows(content.encode(), phone_column):
        whole.usable += chunk.usable
        whole.rejected += chunk.rejected
        whole.column = chunk.column
    return whole


def called(content: str) -> list[tuple[int, str]]:
    return [(row, number.removeprefix("+91987654")) for row, number in read(content).usable]


def refused(content: str) -> list[tuple[int, str]]:
    return [(r.row, r.code) for r in read(content).rejected]


# --- examples -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        # It opens in one row and closes in another, at the beginning and at the end of cells.
        (f'name,phone\n"A,{NUMBERS[1]}\nB,{NUMBERS[2]}\nC",{NUMBERS[3]}\n', [2, 3, 4]),
        (f'phone,name\n{NUMBERS[1]},"A\n{NUMBERS[2]},B\n{NUMBERS[3]},C"\n', [2, 3, 4]),
        (f'name,phone,x\nA,{NUMBERS[1]},"n\nB,{NUMBERS[2]},n"\n', [2, 3]),
        # It is closed by one that opens a cell.
        (f'name,phone\n"A,{NUMBERS[1]}\nB,{NUMBERS[2]}\n"C, D",{NUMBERS[3]}\n', [2, 3, 4]),
        # Within the number itself, and in a file of one column.
        (f'name,phone\nA,"{NUMBERS[1]}\nB,{NUMBERS[2]}"\n', [2, 3]),
        (f'phone\n"{NUMBERS[1]}\n{NUMBERS[2]}"\n', [2, 3]),
        # What it swallows cannot be called either, and is named all the same.
        ('name,phone\n"A,12345\nB,23456\nC",34567\n', [2, 3, 4]),
    ],
)
def test_rows_that_are_joined_are_refused_line_by_line(content: str, rows: list[int]) -> None:
    last = content.count("\n") + 1
    found = read(content + f"Z,{NUMBERS[9]}\n" if "," in content else content + NUMBERS[9])
    if "phone,name" in content:
        found = read(content + f"{NUMBERS[9]},Z\n")
    assert [(r.row, r.code) for r in found.rejected] == [
        (row, "stray_quotation_mark") for row in rows
    ]
    assert f"Lines {rows[0]} to {rows[-1]}" in found.rejected[0].message
    assert found.usable == [(last, "+91" + NUMBERS[9])]


def test_one_that_is_never_closed_refuses_the_file() -> None:
    with pytest.raises(UnreadableFile) as problem:
        read(f'name,phone\n"A,{NUMBERS[1]}\n' + f"B,{NUMBERS[2]}\n" * 60)
    assert "opens in line 2" in problem.value.detail


def test_a_closed_note_of_sixty_lines_is_fine() -> None:
    note = "\n".join(f"line {i}, and more; 10 of 12" for i in range(60))
    content = f'name,phone,note\nA,{NUMBERS[1]},"{note}"\nB,{NUMBERS[2]},short\n'
    assert called(content) == [(2, "3201"), (62, "3202")]
    content = f'note,phone\n"{note}",{NUMBERS[1]}\nshort,{NUMBERS[2]}\n'
    assert called(content) == [(2, "3201"), (62, "3202")]


def test_one_in_a_single_row_shifts_no_column() -> None:
    """`"A,Pune"` is one cell, and the number of the agent stood where the customer's was."""
    content = (
        "name,city,phone,agent\n"
        f'"A,Pune",{NUMBERS[1]},{NUMBERS[2]}\n'
        f'B,"Goa",{NUMBERS[3]},\n'
        f'"C, D",Goa,{NUMBERS[4]},\n'
        f'5" pipe,"Goa" North,{NUMBERS[5]},\n'
    )
    found = read(content, "phone")
    assert [(r.row, r.code) for r in found.rejected] == [(2, "stray_quotation_mark")]
    assert [row for row, _ in found.usable] == [3, 4, 5]


def test_a_delimiter_without_quotation_marks_shifts_no_column() -> None:
    content = f"name,office,phone\nA,,{NUMBERS[1]}\nB, C,{NUMBERS[2]},{NUMBERS[3]}\n"
    assert called(content) == [(2, "3201")]
    assert refused(content) == [(3, "too_many_cells")]
    # Nothing stands before the first column that could shift it.
    assert called(f"phone\n{NUMBERS[1]},note\n") == [(2, "3201")]


def test_a_line_break_around_a_number_is_no_second_row() -> None:
    assert called(f'name,phone\nA,"{NUMBERS[1]}\n"\nB,{NUMBERS[2]}\n') == [(2, "3201"), (4, "3202")]


# --- every file -----------------------------------------------------------------------------------


class Row(NamedTuple):
    """A row of a file that is made up. Its number is one of its own, and so is its agent's."""

    name: str
    phone_form: str
    note: str


# Quotation marks, delimiters and line breaks where they belong: within cells that are quoted.
_words = st.text("ab ,;\"'\n|\té\u200d☎1", max_size=8)
_forms = st.sampled_from(
    [
        "98765432{:02}",
        "+91 98765 432{:02}",
        "98765432{:02}.00",
        "1234{:02}",
        "9.87{:02}E+09",
        "{:05}",
    ]
)
_rows = st.lists(st.builds(Row, _words, _forms, _words), min_size=1, max_size=6)
HEAD = "name,phone,agent,note\n"


def written(rows: list[Row]) -> tuple[str, list[range]]:
    """The rows as a file, and the physical lines of each."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    lines = []
    for i, row in enumerate(rows):
        began = text.getvalue().count("\n") + 2
        writer.writerow([row.name, row.phone_form.format(i), f"98123456{i:02}", row.note])
        lines.append(range(began, text.getvalue().count("\n") + 2))
    return text.getvalue(), lines


@settings(max_examples=300)
@given(_rows, st.lists(st.integers(0, 400), max_size=3))
@example([Row("a", "98765432{:02}", "")] * 3, [0, 30])
def test_every_row_is_called_or_refused_by_its_line(rows: list[Row], marks: list[int]) -> None:
    """Whatever is in the cells, and wherever stray marks stand: a row is called at the number its
    column holds or is named by its line, or the file is refused; and nobody else is called."""
    content, lines = written(rows)
    for mark in marks:
        at = mark % len(content)
        content = content[:at] + '"' + content[at:]
    try:
        found = read(HEAD + content, "phone")
    except UnreadableFile:
        assert marks
        return
    called_numbers = {number for _, number in found.usable}
    assert called_numbers <= {f"+9198765432{i:02}" for i in range(len(rows))}
    for i, row in enumerate(rows):
        is_called = f"+9198765432{i:02}" in called_numbers
        # A record may begin before the row, with what a stray mark has cut off from the one before.
        is_named = any(
            rejected.row in lines[i] or row.phone_form.format(i) in rejected.value.replace('"', "")
            for rejected in found.rejected
        )
        assert is_called or is_named, f"row {i}"
    if not marks:  # nothing is wrong with the file
        valid = [i for i, row in enumerate(rows) if "98765" in row.phone_form.replace(" ", "")]
        assert found.usable == [(lines[i][0], f"+9198765432{i:02}") for i in valid]
