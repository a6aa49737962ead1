"""Lists of numbers: what is read out of a CSV file, what is refused, and in which words."""

import asyncio
import json
import random
import sys
import time
from collections.abc import AsyncIterator

import pytest

from campaigns import contact_import
from campaigns.contact_import import ContactChunk, TooManyRows
from campaigns.phone_columns import NoPhoneColumn
from core import config
from core.csv_files import UnreadableFile
from core.errors import TooManyRequests

ASHA, RAVI, OFFICE = "+919876543210", "+919812345678", "+912227785000"


@pytest.fixture(autouse=True)
def _settings() -> None:
    config.use(config.Settings(_env_file=None))


async def read(
    content: bytes | str, phone_column: str | None = None
) -> contact_import.ContactChunk:
    whole = contact_import.ContactChunk()
    data = content.encode() if isinstance(content, str) else content
    async for chunk in contact_import.read_csv_contacts(
        data, user_id="usr_a", phone_column=phone_column
    ):
        whole.usable += chunk.usable
        whole.rejected += chunk.rejected
    return whole


async def usable(content: bytes | str, phone_column: str | None = None) -> list[tuple[int, str]]:
    found = await read(content, phone_column)
    assert found.rejected == []
    return found.usable


@pytest.mark.parametrize(
    "content",
    [
        f"name,phone\nAsha,{ASHA}\nRavi,9812345678\n",
        f"name;phone\r\nAsha;{ASHA}\r\nRavi;9812345678\r\n",
        f"name\tphone\nAsha\t{ASHA}\nRavi\t9812345678",
        f"name|phone\nAsha|{ASHA}\nRavi|9812345678",
        f"name,phone\rAsha,{ASHA}\rRavi,9812345678\r",
        f"\ufeffPhone Number,name\n{ASHA},Asha\n09812345678,Ravi\n",
        f'Name,Contact_Number,City\n"Rao, Asha",{ASHA},Pune\nRavi,\'9812345678,Pune\n',
        "name,MOBILE\nAsha,9876543210.0\nRavi,00919812345678\n",
        "name,mobile\nAsha,+91 98765-43210\nRavi,\u200b९८१२३४५६७८\n",
        "who,calls\nAsha,9876543210\nRavi,9812345678\n",
    ],
)
async def test_the_number_is_found_however_the_file_is_written(content: str) -> None:
    assert await usable(content) == [(2, ASHA), (3, RAVI)]


async def test_a_file_of_one_column_needs_no_header() -> None:
    assert await usable("9876543210\n9812345678\n") == [(1, ASHA), (2, RAVI)]
    assert await usable("customers\n9876543210") == [(2, ASHA)]
    assert await usable("9876543210") == [(1, ASHA)]


async def test_a_file_without_header_is_read_by_its_one_column_of_numbers() -> None:
    assert await usable("Asha,9876543210\nRavi,9812345678\n") == [(1, ASHA), (2, RAVI)]


async def test_excels_own_delimiter_line_is_obeyed_and_counted() -> None:
    assert await usable("sep=;\nname;phone\nAsha, B;9876543210\n") == [(3, ASHA)]


async def test_the_named_column_is_read() -> None:
    content = "phone,Second Phone\n9876543210,9812345678\n"
    assert await usable(content, "phone") == [(2, ASHA)]
    assert await usable(content, "second phone") == [(2, RAVI)]
    for named in (None, "third"):
        with pytest.raises(NoPhoneColumn) as refused:
            await read(content, named)
        assert refused.value.extra["columns"] == ["phone", "Second Phone"]
        assert refused.value.extra["candidates"] == [
            {"column": "phone", "numbers": 1},
            {"column": "Second Phone", "numbers": 1},
        ]


async def test_two_columns_of_numbers_without_a_known_name_are_a_question() -> None:
    with pytest.raises(NoPhoneColumn):
        await read("home,away\n9876543210,9812345678\n")
    with pytest.raises(NoPhoneColumn):
        await read("name,city\nAsha,Pune\nRavi,Mumbai\n")


async def test_each_row_that_cannot_be_called_is_named_with_its_line_and_its_reason() -> None:
    content = (
        "name,phone\n"
        "Asha,9876543210\n"
        '"Rao,\nRavi",9812345678\n'  # lines 3 and 4
        "\n"
        ",,\n"
        "Nobody,\n"
        "Short,12345\n"
        "Word,call me\n"
        "Free,1800 123 4567\n"
        "Abroad,+14155550132\n"
        "Again,+91 98765 43210\n"
        "Excel,9.87654321E+09\n"
        "Extension,022 2778 5000 ext 5\n"
        "Office,022 2778 5000\n"
        "Ragged\n"
    )
    found = await read(content)
    assert found.usable == [(2, ASHA), (3, RAVI), (15, OFFICE)]
    assert [(r.row, r.code) for r in found.rejected] == [
        (7, "empty"),
        (8, "invalid_number"),
        (9, "unparseable"),
        (10, "wrong_type"),
        (11, "country_not_allowed"),
        (12, "duplicate_in_file"),
        (13, "unparseable"),
        (14, "unparseable"),
        (16, "empty"),
    ]
    hint = found.rejected[6].message
    assert "Format the column as text" in hint


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no rows"),
        (b"\xef\xbb\xbf\r\n\r\n", "no rows"),
        (b"\xff\xfe" + "phone\n".encode("utf-16-le")[:-1], "broken UTF-16"),
        ("phone\n9876543210\n".encode("utf-16-le"), "UTF-16"),
        (b"PK\x03\x04" + b"\x14\x00" * 50, "Excel"),
        (bytes(range(256)) * 4, "binary"),
        (random.Random(1).randbytes(50_000), "binary"),
        (b'name,phone\n"Asha,9876543210\nRavi,9812345678\n', "line 2 is not closed"),
        (b'name,phone\n"Asha,9876543210\n' + b"Ravi,9812345678\n" * 9_000, "not closed"),
    ],
)
async def test_what_is_no_csv_is_refused_in_words_that_help(content: bytes, words: str) -> None:
    with pytest.raises(UnreadableFile) as refused:
        await read(content)
    assert words in refused.value.detail


async def test_names_in_a_windows_code_page_do_not_matter() -> None:
    assert await usable("name,phone\nJosé,9876543210\n".encode("cp1252")) == [(2, ASHA)]


async def test_a_large_file_is_read_in_another_process_with_the_same_result() -> None:
    lines = ["name,phone"] + [f"N{i},98{i:08d}" for i in range(5_000)] + ["dup,9800000007"]
    content = "\n".join(lines).encode()
    assert not contact_import.is_small(content)
    found = await read(content)
    here = list(contact_import.check_csv_rows(content, None))
    assert found.usable == [pair for chunk in here for pair in chunk.usable]
    assert len(found.usable) == 5_000
    assert [(r.row, r.code) for r in found.rejected] == [(5_002, "duplicate_in_file")]


async def test_the_other_process_allows_the_countries_and_kinds_that_this_one_does() -> None:
    config.use(
        config.Settings(
            _env_file=None,
            default_region="GB",
            allowed_countries=["GB"],
            allowed_number_types=["TOLL_FREE"],
        )
    )
    lines = ["0800 123 4567", "+919876543210", "020 7946 0958"] + ["9"] * 40_000
    content = "\n".join(lines).encode()
    assert not contact_import.is_small(content)
    found = await read(content)
    assert found.usable == [(1, "+448001234567")]
    assert [r.code for r in found.rejected[:2]] == ["country_not_allowed", "wrong_type"]


async def test_a_list_that_is_too_long_is_refused_before_anything_is_handed_out() -> None:
    content = b"9876543210\n" * (contact_import.ROWS_MAX + 1)
    with pytest.raises(TooManyRows):
        await anext(contact_import.read_csv_contacts(content, user_id="usr_a"))
    values = ["9876543210"] * (contact_import.LIST_ROWS_MAX + 1)
    with pytest.raises(TooManyRows):
        await anext(contact_import.read_list_contacts(values, user_id="usr_a"))


async def test_a_reader_that_is_given_up_leaves_no_process_behind() -> None:
    content = "\n".join(f"98{i:08d}" for i in range(20_000)).encode()
    reading = contact_import.read_csv_contacts(content, user_id="usr_a")
    await anext(reading)
    await reading.aclose()
    assert (contact_import._waiting, contact_import._turns) == (0, {})
    assert len(await usable("\n".join(f"97{i:08d}" for i in range(5_000)))) == 5_000


async def test_a_list_of_json_numbers_counts_from_one() -> None:
    whole = contact_import.ContactChunk()
    async for chunk in contact_import.read_list_contacts(
        ["9876543210", "", "9876543210"], user_id="usr_a"
    ):
        whole.usable += chunk.usable
        whole.rejected += chunk.rejected
    assert whole.usable == [(1, ASHA)]
    assert [(r.row, r.code) for r in whole.rejected] == [(2, "empty"), (3, "duplicate_in_file")]


def test_a_hundred_thousand_rows_are_read_in_seconds() -> None:
    content = "\n".join(f"98{i:08d}" for i in range(100_000)).encode()
    began = time.process_time()
    count = sum(len(chunk.usable) for chunk in contact_import.check_csv_rows(content, None))
    assert count == 100_000
    assert time.process_time() - began < 120


# --- turns ----------------------------------------------------------------------------------------


def large(first: int) -> bytes:
    return "\n".join(f"98{i:08d}" for i in range(first, first + 3_100)).encode()


async def read_by(user_id: str, first: int = 0) -> int:
    reading = contact_import.read_csv_contacts(large(first), user_id=user_id)
    return sum([len(chunk.usable) async for chunk in reading])


async def test_lists_of_one_user_are_read_one_after_the_other_and_others_beside_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running: list[str] = []
    most: dict[str, int] = {}
    together: set[int] = set()

    async def chunks_of_child(
        task: dict[str, str | None], content: bytes
    ) -> AsyncIterator[ContactChunk]:
        user_id = "usr_a" if content < large(500) else "usr_b"
        running.append(user_id)
        most[user_id] = max(most.get(user_id, 0), running.count(user_id))
        together.add(len(running))
        await asyncio.sleep(0.05)
        yield ContactChunk()
        running.remove(user_id)

    monkeypatch.setattr(contact_import, "_chunks_of_child", chunks_of_child)
    tasks = [read_by("usr_a", i) for i in range(contact_import.LISTS_PER_USER_MAX)]
    answers = asyncio.gather(*tasks, read_by("usr_b", 1_000))
    await asyncio.sleep(0.01)
    with pytest.raises(TooManyRequests) as refused:
        await read_by("usr_a")
    assert refused.value.headers["Retry-After"] == "10"
    await answers
    assert (most, max(together)) == ({"usr_a": 1, "usr_b": 1}, 2)
    assert (contact_import._waiting, contact_import._turns) == (0, {})


async def test_a_reader_that_needs_too_much_of_the_processor_is_ended() -> None:
    """The bound is the operating system's: it holds wherever the time goes."""
    program = (
        "import io, json, sys; from campaigns import contact_import as c; c.CPU_SECONDS_MAX = 1;"
        "head = dict(region='IN', countries='IN', types='MOBILE', form='csv', phone_column=None);"
        "rows = '\\n'.join(f'98{i:08d}' for i in range(99_000));"
        "c._serve(io.BytesIO((json.dumps(head) + '\\n' + rows).encode()), sys.stdout.buffer)"
    )
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, cwd=contact_import._ROOT, stdout=asyncio.subprocess.PIPE
    )
    told, _ = await child.communicate()
    last = json.loads(told.splitlines()[-1])
    assert (last["refused"], last["extra"]) == (
        "file_too_large",
        {"limit": "seconds", "maximum": 1},
    )
    assert "send it in parts" in last["detail"]
