"""Finding people: what a search may mean. No money moves, so a simulated MongoDB will do."""

import datetime as dt
from typing import Any

import pytest
from mongomock_motor import AsyncMongoMockClient

import users
from core import config, database
from core.database import db
from reporting import customers
from tests.support.service import test_settings as settings_of_tests

NAMES = ["Asha Rao", "Bela (Sales)", "Chandra. K", "Dev $100"]


@pytest.fixture
async def directory(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Four users, the third of them with money."""
    config.use(settings_of_tests(""))
    monkeypatch.setattr(database, "_database", AsyncMongoMockClient()["people"])
    monkeypatch.setattr(database, "_collections", {})
    for number, name in enumerate(NAMES):
        await db.users.insert_one(
            {
                "_id": f"usr_{number}",
                "email": f"{name.split()[0]}@Example.com",
                "email_key": f"{name.split()[0].casefold()}@example.com",
                "name": name,
                "phone": f"+9198765432{number}0",
                "role": "user",
                "created_at": dt.datetime(2026, 11, number + 1, tzinfo=dt.UTC),
            }
        )
    await db.wallets.insert_one(
        {"user_id": "usr_2", "balance_paise": 50_00, "held_paise": 45_00, "due_paise": 0}
    )
    yield
    config.use(None)


async def found(search: str | None, low_balance: bool | None = None) -> list[str]:
    page, cursor = await customers.list_customers(
        search=search, low_balance=low_balance, limit=50, cursor=None
    )
    assert cursor is None
    return [person["_id"] for person, _ in page]


@pytest.mark.parametrize(
    ("search", "ids"),
    [
        (None, ["usr_3", "usr_2", "usr_1", "usr_0"]),
        ("  ", ["usr_3", "usr_2", "usr_1", "usr_0"]),
        ("asha", ["usr_0"]),
        ("BELA@EXAMPLE", ["usr_1"]),
        ("(sales)", ["usr_1"]),
        ("a. k", ["usr_2"]),
        ("$100", ["usr_3"]),
        ("usr_1", ["usr_1"]),
        ("98765 43210", ["usr_1"]),
        ("098765-43220", ["usr_2"]),
        (".*", []),
        ("a\0", []),
    ],
)
async def test_a_search_finds_parts_and_takes_nothing_for_a_pattern(
    directory: None, search: str | None, ids: list[str]
) -> None:
    assert await found(search) == ids


async def test_low_is_what_is_available_and_not_what_is_held(directory: None) -> None:
    await db.wallets.update_one({"user_id": "usr_2"}, {"$set": {"held_paise": 40_00}})
    assert await found(None, low_balance=False) == ["usr_2"]
    await db.wallets.update_one({"user_id": "usr_2"}, {"$set": {"held_paise": 45_00}})
    assert await found(None, low_balance=False) == []


@pytest.mark.parametrize(
    "typed",
    [
        "jos\u00e9",
        "jose\u0301",  # as a Mac types it
        "\u0b95\u0bca",
        "\u0b95\u0bc6\u0bbe",  # a Tamil vowel sign, typed as its two parts
    ],
    ids=ascii,
)
async def test_a_name_is_found_in_whichever_form_it_is_typed(directory: Any, typed: str) -> None:
    name = users.name_of("José \u0b95\u0bc6\u0bbe")
    await db.users.update_one({"_id": "usr_3"}, {"$set": {"name": name}})
    assert await found(typed) == ["usr_3"]


async def test_the_csv_has_every_user_of_the_filter_over_all_pages(
    directory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(customers, "_PEOPLE_AT_ONCE", 3)
    pieces = [piece async for piece in customers.csv_of_customers(search=None, low_balance=None)]
    head, *rows = "".join(pieces).splitlines()
    assert head == ",".join(customers.CSV_COLUMNS)
    assert [row.split(",")[0] for row in rows] == ["usr_3", "usr_2", "usr_1", "usr_0"]
    assert rows[1].split(",")[6:] == ["50.00", "45.00", "5.00", "0.00", "yes", "no", "no", ""]
