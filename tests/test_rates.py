"""The call rate: who may read it, who may set it, and to what."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

import rates
from database import db
from errors import InvalidRequest
from tests.conftest import Service, running, test_settings


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for all tests of this file."""
    async with running(test_settings(mongodb_uri)) as started:
        yield started


@pytest.fixture(autouse=True)
async def no_rate_is_set(service: Service) -> None:
    await db.rates.delete_many({})


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
    assert (await rates.current()).rate_paise_per_minute == 1000


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
    assert (await rates.current()).rate_paise_per_minute == 1250


async def test_every_rate_that_was_set_is_kept(service: Service) -> None:
    for rate_paise in (1100, 1200, 1300):
        await rates.set_rate(rate_paise, by="admin@example.com")
    kept = [row async for row in db.rates.find({"_id": {"$ne": "current"}}, sort=[("_id", 1)])]
    assert [int(row["rate_paise_per_minute"]) for row in kept] == [1100, 1200, 1300]
    assert (await rates.current()).rate_paise_per_minute == 1300


async def test_only_an_admin_sets_the_rate(service: Service) -> None:
    person = await service.signup()
    assert (await service.post("/api/wallet/set-call-rate?rate=1", person)).status_code == 403
    assert (await service.post("/api/wallet/set-call-rate?rate=1")).status_code == 401
    assert (await service.get("/api/wallet/call-rate")).status_code == 401
    assert (await rates.current()).rate_paise_per_minute == 1000


async def test_the_largest_rate_passes(service: Service) -> None:
    await rates.set_rate(rates.RATE_PAISE_MAX, by="admin@example.com")
    with pytest.raises(InvalidRequest):
        await rates.set_rate(rates.RATE_PAISE_MAX + 1, by="admin@example.com")
