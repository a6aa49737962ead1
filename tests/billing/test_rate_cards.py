"""The rate card over HTTP: all or nothing, one version after the other, the longest prefix."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from billing import rate_card_files, rate_cards, rates
from billing.rate_card_files import Price
from billing.rate_cards import Card, DestinationNotRated
from core import clock
from core.database import db
from tests.conftest import Ahead
from tests.support import calls as calling
from tests.support import campaigns as campaigning
from tests.support.service import Person, Service, running
from tests.support.service import test_settings as settings_of_tests

PATH = "/api/admin/rate-cards"


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for all tests of this file."""
    async with running(settings_of_tests(mongodb_uri)) as started:
        yield started


@pytest.fixture
async def no_card(service: Service) -> None:
    await forget_cards()


async def forget_cards() -> None:
    """There never was a card."""
    await db.ratecards.delete_many({})
    await db.ratecard_schedule.delete_many({})


async def send(
    service: Service, admin: Person, content: bytes | str, key: str | None = None, **fields: str
) -> httpx.Response:
    return await service.post(
        PATH,
        admin,
        files={"file": ("card.csv", content, "text/csv")},
        data=fields,
        headers={"Idempotency-Key": key} if key else {},
    )


async def upload(
    service: Service, admin: Person, content: bytes | str, **fields: str
) -> dict[str, Any]:
    """A card that is taken."""
    answer = await send(service, admin, content, **fields)
    assert answer.status_code == 201, answer.text
    card: dict[str, Any] = answer.json()
    return card


async def in_force() -> int | None:
    card = await rate_cards.find_card_in_force()
    return None if card is None else card.version


# --- the longest prefix -------------------------------------------------------------------------


def card_of(*rows: tuple[str, int, str | None, str | None]) -> Card:
    prices: dict[str, tuple[Price, ...]] = {}
    for prefix, paise, since, until in rows:
        price = Price(
            prefix=prefix,
            destination="",
            rate_paise_per_minute=paise,
            valid_from=dt.date.fromisoformat(since) if since else None,
            valid_until=dt.date.fromisoformat(until) if until else None,
        )
        prices[prefix] = (*prices.get(prefix, ()), price)
    return Card(1, prices)


@pytest.mark.parametrize(
    ("number", "paise"),
    [
        ("+919876543210", 300),
        ("+918022223333", 200),
        ("+12125550100", 500),
        ("+12425550100", 900),
        ("+447911123456", None),
        ("+9", None),
    ],
)
def test_the_longest_prefix_of_a_number_has_its_price(number: str, paise: int | None) -> None:
    rows = [("91", 200), ("9198", 300), ("1", 500), ("1242", 900), ("91987654321099", 1)]
    card = card_of(*((prefix, rate, None, None) for prefix, rate in rows))
    price = card.price_of(number, dt.date(2026, 12, 1))
    assert (price.rate_paise_per_minute if price else None) == paise


@pytest.mark.parametrize(
    ("day", "paise"),
    [("2026-05-31", 200), ("2026-06-01", 300), ("2026-06-30", 300), ("2026-07-01", 400)],
)
def test_a_price_holds_on_its_days_both_ends_included(day: str, paise: int) -> None:
    card = card_of(
        ("91", 200, None, None),
        ("9198", 300, "2026-06-01", "2026-06-30"),
        ("9198", 400, "2026-07-01", None),
    )
    price = card.price_of("+919876543210", dt.date.fromisoformat(day))
    assert price is not None
    assert price.rate_paise_per_minute == paise


def test_what_has_no_price_is_refused_and_never_cheap() -> None:
    with pytest.raises(DestinationNotRated):
        card_of(("1", 1, None, None)).rate_of("+919876543210", dt.date(2026, 12, 1))


def test_what_a_row_leaves_open_is_as_the_settings_say(service: Service) -> None:
    text = "prefix,rate,pulse_seconds,minimum_seconds\n91,1,60,0\n92,1,,\n"
    card = Card(7, {price.prefix: (price,) for price in rate_card_files.parse_file(text.encode())})
    row = card.rate_of("+911", dt.date(2026, 12, 1))
    assert (row.pulse_seconds, row.opening_seconds, row.card_version) == (60, 60, 7)
    assert card.rate_of("+921", dt.date(2026, 12, 1)).opening_seconds == 1


# --- versions -----------------------------------------------------------------------------------


async def test_a_card_is_in_force_at_once_and_can_be_downloaded(
    service: Service, no_card: None
) -> None:
    admin = await service.admin()
    first = await upload(service, admin, "prefix;rate\n91;1.20\n", note="first")
    second = await upload(service, admin, "prefix,rate,destination\n9198,2,=Mobile\n")
    assert (first["version"], second["version"], second["rows_count"]) == (1, 2, 1)
    assert (first["note"], first["created_by"]) == ("first", admin.email)
    listed = (await service.get(f"{PATH}?limit=1", admin)).json()
    assert (listed["active_version"], listed["rate_cards"]) == (2, [second])
    rest = await service.get(f"{PATH}?cursor={listed['next_cursor']}", admin)
    assert rest.json()["rate_cards"] == [first]
    file = await service.get(f"{PATH}/2/download", admin)
    assert file.headers["content-type"] == "text/csv; charset=utf-8"
    assert file.text.splitlines() == [",".join(rate_card_files.COLUMNS), "9198,'=Mobile,2.00,,,,,,"]
    assert (await upload(service, admin, file.content))["sha256"] == second["sha256"]
    assert (await service.get(f"{PATH}/9/download", admin)).status_code == 404


async def test_a_card_with_one_bad_row_changes_nothing(service: Service, no_card: None) -> None:
    person, admin = await service.signup(), await service.admin()
    await service.fund(person, 100)
    await upload(service, admin, "prefix,rate\n91,1\n")
    for content in (
        b"",
        b"\x00\x01",
        "prefix,rate\n91,2\n".encode("utf-16-le"),
        b"prefix,rate\n91,-2\n",
    ):
        answer = await send(service, admin, content)
        assert answer.status_code == 422, answer.text
        assert answer.json()["code"] in ("invalid_rate_card", "unreadable_file")
    answer = await send(service, admin, b"prefix,rate\n9198,9\n91,2\n91,3\n")
    assert answer.json()["errors"] == [
        {
            "row": 4,
            "column": "prefix",
            "value": "91",
            "code": "duplicate_prefix",
            "message": "91 stands in row 3 already.",
        }
    ]
    assert await db.ratecards.count_documents({}) == 1
    assert (await rates.get_rate(person.id, calling.NUMBER)).rate_paise_per_minute == 100


async def test_the_same_key_is_one_version_and_a_large_file_is_refused(
    service: Service, no_card: None
) -> None:
    admin = await service.admin()
    answers = [await send(service, admin, "prefix,rate\n91,1\n", "k") for _ in range(2)]
    assert [a.json()["version"] for a in answers] == [1, 1]
    assert answers[1].headers["Idempotency-Replayed"] == "true"
    other = await send(service, admin, "prefix,rate\n91,2\n", "k")
    assert other.json()["code"] == "idempotency_key_reused"
    assert await db.ratecards.count_documents({}) == 1
    huge = await send(service, admin, b"x" * (rate_cards.FILE_BYTES_MAX + 128 * 1024))
    assert huge.status_code == 413


async def test_twenty_thousand_rows_are_one_upload_and_one_look_up(
    service: Service, no_card: None
) -> None:
    person, admin = await service.signup(), await service.admin()
    rows = "".join(f"{9_180_000 + n},1.{n % 100:02d}\n" for n in range(20_000))
    await upload(service, admin, f"prefix,rate\n{rows}")
    rate = await rates.get_rate(person.id, "+919190123456")
    assert (rate.prefix, rate.rate_paise_per_minute) == ("9191901", 101)


async def test_versions_uploaded_at_once_have_numbers_without_a_gap(
    service: Service, no_card: None
) -> None:
    admin = await service.admin()
    cards = await asyncio.gather(
        *(upload(service, admin, f"prefix,rate\n91,{n}\n") for n in range(1, 7))
    )
    assert sorted(card["version"] for card in cards) == [1, 2, 3, 4, 5, 6]
    assert await in_force() in range(1, 7)


async def test_the_card_in_force_is_a_matter_of_the_date(
    service: Service, no_card: None, past_the_boundary: Ahead
) -> None:
    admin = await service.admin()
    past_the_boundary()
    tomorrow = clock.ist_date(clock.now()) + dt.timedelta(days=1)
    await upload(service, admin, "prefix,rate\n91,1\n")
    await upload(service, admin, "prefix,rate\n91,2\n", effective_from=tomorrow.isoformat())
    assert await in_force() == 1

    async def active(at: str) -> int | None:
        answer = await service.get(f"{PATH}?at={at}", admin)
        version: int | None = answer.json()["active_version"]
        return version

    assert await active("2020-01-01") is None
    assert await active(clock.iso(clock.now())) == 1
    assert await active(tomorrow.isoformat()) == 2
    activations = await db.ratecard_schedule.distinct("_id", {"_id": {"$ne": "schedule"}})
    assert all(len(each) == len("act_") + 26 and each[:4] == "act_" for each in activations)
    schedule = await db.ratecard_schedule.find_one({"_id": "schedule"})
    assert schedule is not None
    at_midnight = rate_cards._entry_at(schedule["entries"], clock.ist_day_start(tomorrow))
    assert at_midnight is not None
    assert at_midnight["version"] == 2
    for bad in ("yesterday", "2020-01-01", "2999-01-01"):
        refused = await send(service, admin, "prefix,rate\n91,2\n", effective_from=bad)
        assert (refused.status_code, refused.json()["code"]) == (422, "validation_error"), bad


async def test_an_earlier_version_and_no_card_at_all_can_be_put_in_force(
    service: Service, no_card: None
) -> None:
    person, admin = await service.signup(), await service.admin()
    for rate in (1, 2):
        await upload(service, admin, f"prefix,rate\n91,{rate}\n")
    path = f"{PATH}/activate"
    for version, paise in ((1, 100), (2, 200), (None, 1000)):
        answer = await service.post(path, admin, json={"version": version})
        assert answer.status_code == 200, answer.text
        assert (await rates.get_rate(person.id, calling.NUMBER)).rate_paise_per_minute == paise
    assert (await service.post(path, admin, json={"version": 9})).status_code == 404
    assert (await service.post(path, admin, json={})).status_code == 422


async def test_with_a_card_a_number_without_a_price_is_not_called_by_anybody(
    service: Service, no_card: None
) -> None:
    person, admin = await service.signup(), await service.admin()
    await service.fund(person, 100)
    await upload(service, admin, "prefix,rate\n9180,1\n")
    own = {"rate": 5}
    assert (
        await service.post(f"/api/admin/users/{person.id}/call-rate", admin, json=own)
    ).status_code == 200
    refused = await calling.ask(service, person, {"outcome": "busy", "wall_seconds": 0})
    assert (refused.status_code, refused.json()["code"]) == (422, "destination_not_rated")
    assert (await service.balance(person))["held"] == 0
    landline = await calling.place(
        service, person, {"outcome": "busy", "wall_seconds": 0}, to="+918022223333"
    )
    assert (landline["rate_per_minute"], landline["rate_source"]) == (5.0, "user")


async def test_a_call_keeps_its_price_when_the_card_changes(
    service: Service, no_card: None
) -> None:
    person, admin = await service.signup(), await service.admin()
    await service.fund(person, 100)
    await upload(service, admin, "prefix,rate\n91,6\n")
    call = await calling.place(service, person, calling.SILENT)
    await upload(service, admin, "prefix,rate\n91,60\n")
    await calling.report(service, call["call_id"], "in_progress")
    await calling.report(service, call["call_id"], "completed", 10)
    call = await calling.over(service, person, call["call_id"])
    assert (call["cost"], call["rate_card_version"], call["rate_prefix"]) == (1.0, 1, "91")


async def test_a_campaign_skips_what_has_no_price_and_pauses_for_what_it_cannot_pay(
    service: Service, no_card: None
) -> None:
    """The price of whom it calls next decides: Rs 30 are enough for the first, not for the second."""
    person, admin = await service.signup(), await service.admin()
    await service.fund(person, 30)
    await upload(service, admin, "prefix,rate,pulse_seconds\n9198,5,\n918022,60,60\n")
    numbers = ["+919876543210", "+918122223333", "+918022223333"]
    made = await service.post(
        "/api/campaigns",
        person,
        json={"name": "A", "numbers": numbers, "simulate": campaigning.FAST, "max_concurrent": 1},
    )
    assert made.status_code == 201, made.text
    campaign = made.json()
    assert [row["code"] for row in campaign["rejected"]] == ["destination_not_rated"]

    def waits_with_one_answer(found: dict[str, Any]) -> bool:
        counts = {name: count for name, count in found["counts"].items() if count}
        return found["status"] == "paused" and counts == {"answered": 1, "pending": 1, "total": 2}

    paused = await campaigning.until(service, person, campaign, waits_with_one_answer)
    assert paused["pause_reason"] == "balance"
    await service.fund(person, 60)
    done = await campaigning.until(service, person, campaign, campaigning.is_over)
    assert (done["counts"]["answered"], done["spent"]) == (2, 62.5)
    contacts = await campaigning.list_of(service, person, campaign)
    assert [contact["to"] for contact in contacts] == [numbers[0], numbers[2]]
