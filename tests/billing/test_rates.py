"""The call rate: who may read it, who may set it, and to what."""

import asyncio
import datetime as dt
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from billing import pricing, rates
from core import clock, config, database
from core.database import Document, db
from core.errors import InvalidRequest
from tests.support.service import ROOT, Service, running, test_settings


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for all tests of this file."""
    async with running(test_settings(mongodb_uri)) as started:
        yield started


@pytest.fixture(autouse=True)
async def no_rate_is_set(service: Service) -> None:
    await db.rates.delete_many({})
    await db.wallet_settings.delete_many({})


NO_RATES: list[dict[str, Any]] = [
    {},
    {"params": {"rate": "0"}},
    {"params": {"rate": "-5"}},
    {"params": {"rate": "abc"}},
    {"params": {"rate": ""}},
    {"params": {"rate": "NaN"}},
    {"params": {"rate": "Infinity"}},
    {"params": {"rate": "1e400"}},
    {"params": {"rate": "10.001"}},
    {"params": {"rate": "1000.01"}},
    {"params": {"rate": "9" * 100}},
    {"json": {"rate": "15"}},
    {"json": {"rate": True}},
    {"json": {"rate": 0}},
    {"json": {"rate": 10.005}},
    {"json": {"rate": {"$gt": 0}}},
    {"json": {}},
    {"params": {"rate": "15"}, "json": {"rate": 16}},
]


async def test_a_rate_that_makes_no_sense_is_refused(service: Service) -> None:
    admin = await service.admin()
    for request in NO_RATES:
        answer = await service.post("/api/wallet/set-call-rate", admin, **request)
        assert answer.status_code == 422, (request, answer.text)
        assert answer.json()["code"] == "validation_error"
        assert answer.json()["errors"][0]["field"] == "rate"
    assert (await rates.get_current_rate()).rate_paise_per_minute == 1000


async def test_a_refused_rate_says_what_is_wrong_with_it(service: Service) -> None:
    admin = await service.admin()
    path = "/api/wallet/set-call-rate"
    messages = {
        "": "is missing: send ?rate=15.0 or a JSON body with rate",
        "?rate=0": "must be above 0 and at most 1000.00 rupees a minute",
    }
    for query, message in messages.items():
        answer = (await service.post(path + query, admin)).json()
        assert answer["errors"] == [{"field": "rate", "message": message}]
    answer = (await service.post(f"{path}?rate=abc", admin)).json()
    assert "is missing" not in answer["detail"]


async def test_the_rate_is_the_default_until_an_admin_sets_one(service: Service) -> None:
    person, admin = await service.signup(), await service.admin()
    first = (await service.get("/api/wallet/call-rate", person)).json()
    assert (first["rate_per_minute"], first["currency"], first["pulse_seconds"]) == (10.0, "INR", 1)
    answer = await service.post("/api/wallet/set-call-rate?rate=15.0", admin)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["rate_per_minute"] == 15.0
    assert body["currency"] == "INR"
    assert body["updated_by"] == admin.email
    assert body["updated_at"].endswith("Z")
    assert (await service.get("/api/wallet/call-rate", person)).json()["rate_per_minute"] == 15.0


async def test_a_json_body_sets_the_rate_too(service: Service) -> None:
    admin = await service.admin()
    answer = await service.post("/api/wallet/set-call-rate", admin, json={"rate": 12.5})
    assert answer.status_code == 200, answer.text
    assert (await rates.get_current_rate()).rate_paise_per_minute == 1250


async def test_every_rate_that_was_set_is_kept(service: Service) -> None:
    for rate_paise in (1100, 1200, 1300):
        await rates.set_current_rate(rate_paise, by="admin@example.com")
    kept = [row async for row in db.rates.find({}, sort=[("_id", 1)])]
    assert [int(row["rate_paise_per_minute"]) for row in kept] == [1100, 1200, 1300]
    assert (await rates.get_current_rate()).rate_paise_per_minute == 1300


async def test_the_setting_says_who_changed_it_and_when_as_the_history_does(
    service: Service,
) -> None:
    await rates.set_current_rate(1100, by="first@example.com")
    change = await rates.set_current_rate(1200, by="second@example.com")
    setting = await db.wallet_settings.find_one({"_id": "call_rate_per_minute"})
    row = await db.rates.find_one({"_id": change["_id"]})
    assert setting is not None
    assert row is not None
    assert (setting["value_paise"], setting["updated_by"]) == (1200, "second@example.com")
    assert setting["updated_at"] == row["updated_at"]
    assert await db.wallet_settings.count_documents({}) == 1
    for wrong in ({"value_paise": 12.5}, {"value_paise": database.long(0)}, {"updated_by": None}):
        with pytest.raises(database.AnyError, match="validation"):
            await db.wallet_settings.update_one({"_id": setting["_id"]}, {"$set": wrong})


async def test_a_setting_that_cannot_be_written_leaves_no_row_in_the_history(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "_SETTING", "no_such_setting")  # the validator refuses it
    with pytest.raises(database.AnyError, match="validation"):
        await rates.set_current_rate(1200, by="admin@example.com")
    assert await db.rates.count_documents({}) == 0
    assert await db.wallet_settings.count_documents({}) == 0


# --- a database of 0.2.1 ------------------------------------------------------------------------

_START = """
import asyncio, sys
from billing import rates
from core import database

async def start():
    await database.connect(*sys.argv[1:])
    await database.prepare()
    print((await rates.get_current_rate()).rate_paise_per_minute)

asyncio.run(start())
"""


async def _started(chosen: config.Settings) -> int:
    """Start another process on this database; the paise a minute that it charges."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _START, chosen.mongodb_uri, chosen.mongodb_db),
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "APP_ENV": "test"},
    )
    answer, _ = await process.communicate()
    assert process.returncode == 0
    return int(answer)


def _rate_of_0_2_1(rate_paise: int, at: dt.datetime, **more: str) -> Document:
    rate = {"rate_paise_per_minute": database.long(rate_paise), "updated_by": "admin@example.com"}
    return {**rate, "updated_at": at, **more}


async def test_a_database_of_0_2_1_keeps_its_rate_and_its_history(
    service: Service, mongodb_uri: str
) -> None:
    chosen = test_settings(mongodb_uri)
    old = database.client()[chosen.mongodb_db]
    at = clock.now().replace(microsecond=0)
    history = [
        _rate_of_0_2_1(1100, at - dt.timedelta(days=1), _id="rate_1"),
        _rate_of_0_2_1(700, at - dt.timedelta(hours=1), _id="rate_2", user_id="usr_1"),
        _rate_of_0_2_1(1750, at, _id="rate_3"),
    ]
    own = _rate_of_0_2_1(700, at - dt.timedelta(hours=1), _id="own:usr_1", user_id="usr_1")
    current = _rate_of_0_2_1(1750, at, _id="current")
    await old.rates.insert_many([*history, own, current])
    before = await old.rates.find({}, sort=[("_id", 1)]).to_list(None)
    try:
        first, second = await asyncio.gather(_started(chosen), _started(chosen))
        assert (first, second) == (1750, 1750)
        moved = await old.wallet_settings.find({}).to_list(None)
        assert moved == [
            {
                "_id": "call_rate_per_minute",
                "value_paise": 1750,
                "updated_at": at,
                "updated_by": "admin@example.com",
            }
        ]
        assert await old.rates.find({}, sort=[("_id", 1)]).to_list(None) == before
        # A rate that was set since is not overwritten by the old document at the next migration.
        await old.wallet_settings.update_one({}, {"$set": {"value_paise": database.long(1800)}})
        await old.meta.update_one({"_id": "schema"}, {"$set": {"fingerprint": "another version"}})
        assert await _started(chosen) == 1800
        assert await old.wallet_settings.count_documents({}) == 1
        assert await old.rates.find({}, sort=[("_id", 1)]).to_list(None) == before
    finally:
        await database.client().drop_database(chosen.mongodb_db)


async def test_only_an_admin_sets_the_rate(service: Service) -> None:
    person = await service.signup()
    assert (await service.post("/api/wallet/set-call-rate?rate=1", person)).status_code == 403
    assert (await service.post("/api/wallet/set-call-rate?rate=1")).status_code == 401
    assert (await service.get("/api/wallet/call-rate")).status_code == 401
    assert (await rates.get_current_rate()).rate_paise_per_minute == 1000


async def test_the_largest_rate_passes(service: Service) -> None:
    await rates.set_current_rate(pricing.RATE_PAISE_MAX, by="admin@example.com")
    with pytest.raises(InvalidRequest):
        await rates.set_current_rate(pricing.RATE_PAISE_MAX + 1, by="admin@example.com")
