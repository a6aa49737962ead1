"""The networks as an operator sees them: what is recorded, and nothing that is asked of them."""

from typing import Any

from core import clock
from core.database import db
from telephony import network_health
from telephony.network_health import Outcome
from tests.reporting.test_analytics import call
from tests.support.service import Service


async def seen(service: Service) -> dict[str, Any]:
    answer = await service.get("/api/admin/networks", await service.operator())
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def test_a_network_that_never_failed_accepts_calls(service: Service) -> None:
    body = await seen(service)
    (network,) = body["networks"]
    assert (network["name"], network["chosen"]) == ("simulator", True)
    assert (network["state"], network["reason"], network["since"]) == ("accepting", None, None)
    assert (network["live_calls"], network["placed"]) == ({}, 0)
    assert body["razorpay"]["state"] == "answering"
    assert body["razorpay"]["retry_after_seconds"] is None
    assert body["calls_per_user"] == service.settings.max_concurrent_calls


async def test_a_network_that_accepts_nothing_rests_and_is_then_tried(service: Service) -> None:
    await network_health.record_outcome("plivo", Outcome("stopped", "provider_account_suspended"))
    chosen, other = (await seen(service))["networks"]
    assert (chosen["chosen"], other["chosen"]) == (True, False)
    assert (other["name"], other["state"]) == ("plivo", "resting")
    assert other["reason"] == "provider_account_suspended"
    assert other["since"] < other["until"]
    await db.network_health.update_one({"_id": "plivo"}, {"$set": {"until": clock.now()}})
    assert (await seen(service))["networks"][1]["state"] == "trying"


async def test_failures_are_those_of_the_last_half_minute(service: Service) -> None:
    await network_health.record_outcome("simulator", Outcome("failed", "provider_unreachable"))
    assert (await seen(service))["networks"][0]["failures"] == 1
    old = {"$set": {"window_at": clock.after(-60)}}
    await db.network_health.update_one({"_id": "simulator"}, old)
    assert (await seen(service))["networks"][0]["failures"] == 0


async def test_calls_that_are_not_over_are_counted_by_status(service: Service) -> None:
    asha = await service.signup()
    live = {"provider": "simulator", "billing_status": "held"}
    await call(asha, clock.now(), rank=5, status="in_progress", **live)
    await call(asha, clock.after(-3_600), rank=4, status="ringing", **live)
    await call(asha, clock.after(-3_600), provider="simulator")
    (network,) = (await seen(service))["networks"]
    assert network["live_calls"] == {"in_progress": 1, "ringing": 1}
    assert network["placed"] == 1
