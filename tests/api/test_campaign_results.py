"""The results of a campaign over HTTP: statistics, attempts, search, and who may see them."""

from typing import Any

from core.database import db
from tests.support import campaigns
from tests.support.service import Service


async def test_a_campaign_is_counted_searched_and_exported(service: Service) -> None:
    person, other = await service.signup(), await service.signup()
    await service.fund(person, 1_000)
    created = await campaigns.create(service, person, 3)
    over = await campaigns.until(service, person, created, campaigns.is_over)
    path = f"/api/campaigns/{created['campaign_id']}"

    async def is_counted() -> bool:
        return bool((await figures())["calls"]["ended"] == 3)

    async def figures() -> dict[str, Any]:
        answer = await service.get(f"{path}/statistics", person)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    while not await is_counted():
        pass
    found = await figures()
    calls = found["calls"]
    assert found["counts"] == over["counts"]
    assert found["eta"] is None
    assert (calls["dialled"], calls["answered"], calls["connect_rate"]) == (3, 3, 1.0)
    assert (calls["spent"], calls["average_talk_seconds"]) == (over["spent"], 30.0)
    assert calls["by_attempt"] == [{"attempt": 1, "dialled": 3, "answered": 3, "connect_rate": 1.0}]
    assert sum(hour["dialled"] for hour in calls["heat_map"]) == 3
    mine = (await service.get("/api/campaigns/statistics", person)).json()
    assert mine["calls"] == calls
    assert (await service.get("/api/campaigns/statistics", other)).json()["calls"]["ended"] == 0
    attempts = await service.get(f"{path}/attempts", person)
    assert attempts.headers["content-type"] == "text/csv; charset=utf-8"
    assert len(attempts.text.splitlines()) == 4
    number = campaigns.numbers_of(3)[1]
    assert [
        c["to"] for c in await campaigns.list_of(service, person, created, f"?search={number[3:]}")
    ] == [number]
    for tail in ("/statistics", "/attempts"):
        assert (await service.get(path + tail, other)).status_code == 404
    call = await db.calls.find_one({"campaign_id": created["campaign_id"]})
    assert call is not None
    assert call["counted"]["disposition"] == "answered"


async def test_a_campaign_that_has_called_nobody_has_figures(service: Service) -> None:
    person = await service.signup()
    await service.fund(person, 100)
    created = await campaigns.create(service, person, 2, start=False)
    answer = await service.get(f"/api/campaigns/{created['campaign_id']}/statistics", person)
    found = answer.json()
    assert (found["eta"], found["calls"]["connect_rate"], found["calls"]["heat_map"]) == (
        *(None, None),
        [],
    )
    assert found["counts"]["pending"] == 2
    assert len(await campaigns.list_of(service, person, created, "?search=")) == 2
    path = f"/api/campaigns/{created['campaign_id']}/contacts?search={'9' * 101}"
    assert (await service.get(path, person)).status_code == 422
