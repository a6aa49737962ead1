"""A quote is what the call then costs: the same rate, the same code, the same sentence."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from core import config
from tests.billing.test_rate_cards import forget_cards, upload
from tests.support import calls as calling
from tests.support.service import Service, running
from tests.support.service import test_settings as settings_of_tests

TALKS = {"outcome": "completed", "duration_seconds": 125, "wall_seconds": 0}


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for all tests of this file."""
    async with running(settings_of_tests(mongodb_uri)) as started:
        yield started


async def quoted(service: Service, person: Any, seconds: int, to: str = calling.NUMBER) -> Any:
    body = {"to": to, "duration_seconds": seconds}
    answer = await service.post("/api/calls/quote", person, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_quote_says_what_thirty_seconds_cost(service: Service) -> None:
    person = await service.signup()
    quote = await quoted(service, person, 30)
    assert (quote["cost"], quote["rate_per_minute"], quote["billable_seconds"]) == (5.0, 10.0, 30)
    assert quote["explanation"] == "30 s at Rs 10.00 a minute: Rs 5.00"
    assert (quote["rate_source"], quote["rate_card_version"]) == ("default", None)
    body = {"to": "1800 103 1111", "duration_seconds": 30}
    refused = await service.post("/api/calls/quote", person, json=body)
    assert refused.json()["code"] == "destination_not_allowed"


@pytest.mark.parametrize(
    ("seconds", "billable", "cost"),
    [(1, 30, 5.0), (30, 30, 5.0), (31, 90, 15.0), (125, 150, 25.0)],
)
async def test_the_single_rate_has_the_first_pulse_of_the_settings(
    service: Service, seconds: int, billable: int, cost: float
) -> None:
    """30/60 at Rs 10 a minute: a first pulse of 30 seconds, then whole minutes."""
    person = await service.signup()
    config.use(service.settings.model_copy(update={"pulse_seconds": 60, "first_pulse_seconds": 30}))
    try:
        quote = await quoted(service, person, seconds)
    finally:
        config.use(service.settings)
    assert (quote["billable_seconds"], quote["cost"]) == (billable, cost)


async def test_the_quote_is_the_charge_for_every_source_of_the_rate(service: Service) -> None:
    """The single rate in pulses, the card's price, the user's own; and the call says which."""
    person, admin = await service.signup(), await service.admin()
    await service.fund(person, 500)
    config.use(service.settings.model_copy(update={"pulse_seconds": 60, "first_pulse_seconds": 30}))
    own_path = f"/api/admin/users/{person.id}/call-rate"
    try:
        for source in ("default", "card", "user"):
            if source == "card":
                card = "prefix,rate,pulse_seconds,connection_fee\n91,1\n9198,2.50,60,0.50\n"
                await upload(service, admin, card)
            if source == "user":
                answer = await service.post(own_path, admin, json={"rate": 4})
                assert answer.status_code == 200, answer.text
            before = await service.balance(person)
            quote = await quoted(service, person, 125)
            call = await calling.place(service, person, TALKS)
            call = await calling.over(service, person, call["call_id"])
            same = {*quote} & {*call}
            assert len(same) == 13
            assert {name: call[name] for name in same} == {name: quote[name] for name in same}
            assert call["rate_source"] == source
            after = await service.balance(person)
            assert round(before["balance"] - after["balance"], 2) == quote["cost"]
            entry = (
                await service.get(f"/api/transactions?call_id={call['call_id']}", person)
            ).json()
            assert quote["explanation"] in entry["transactions"][0]["description"]
            if source == "card":
                assert (call["rate_prefix"], call["cost"]) == ("9198", 8.0)
                assert call["explanation"] == (
                    "125 s = 3 pulses of 60 s × Rs 2.50 + a connection fee of Rs 0.50 = Rs 8.00"
                )
        answer = await service.post(own_path, admin, json={"rate": None})
        assert (answer.status_code, answer.json()["rate_per_minute"]) == (200, None)
        assert (await quoted(service, person, 60))["rate_source"] == "card"
    finally:
        config.use(service.settings)
        await forget_cards()


async def test_both_legs_of_a_connected_call_are_quoted_reserved_and_charged(
    service: Service,
) -> None:
    """A premium number behind a cheap one cost Rs 1 a minute, and not Rs 400."""
    person, admin = await service.signup(), await service.admin()
    await service.fund(person, 2_100)
    await upload(service, admin, "prefix,rate,pulse_seconds\n9198,1,\n9180,399,60\n")
    both = {"to": calling.NUMBER, "connect_to": "+918022223333", "duration_seconds": 61}
    try:
        quote = (await service.post("/api/calls/quote", person, json=both)).json()
        assert (quote["cost"], quote["rate_per_minute"]) == (799.02, 400.0)
        assert [(leg["rate_prefix"], leg["billable_seconds"]) for leg in quote["legs"]] == [
            ("9198", 61),
            ("9180", 120),
        ]
        scenario = TALKS | {"duration_seconds": 61}
        placed = await calling.place(service, person, scenario, connect_to=both["connect_to"])
        assert placed["held"] >= quote["cost"]
        call = await calling.over(service, person, placed["call_id"])
        assert call["cost"] == quote["cost"]
        same = {*quote} & {*call}
        assert {name: call[name] for name in same} == {name: quote[name] for name in same}
        listed = await service.get(f"/api/transactions?call_id={call['call_id']}", person)
        assert listed.json()["transactions"][0]["description"] == (
            f"Call to {calling.NUMBER}, connected to +918022223333, {quote['explanation']}"
        )
        unrated = both | {"connect_to": "+917012345678"}
        body = {name: unrated[name] for name in ("to", "connect_to")}
        campaign = {"name": "x", "numbers": [both["to"]], "connect_to": unrated["connect_to"]}
        for path, asked in (
            ("/api/calls/quote", unrated),
            ("/api/call", body),
            ("/api/campaigns", campaign),
        ):
            refused = await service.post(path, person, json=asked)
            assert (refused.status_code, refused.json()["code"]) == (422, "destination_not_rated")
    finally:
        await forget_cards()


async def test_the_call_rate_is_the_users_and_with_a_number_the_cards(service: Service) -> None:
    person, admin = await service.signup(), await service.admin()

    async def shown(query: str = "") -> tuple[float, str, int | None]:
        answer = await service.get(f"/api/wallet/call-rate{query}", person)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        return body["rate_per_minute"], body["source"], body["rate_card_version"]

    assert await shown() == (10.0, "default", None)
    version = (await upload(service, admin, "prefix,rate\n9198,3\n"))["version"]
    try:
        assert await shown() == (10.0, "default", version)
        assert await shown("?to=9876543210") == (3.0, "card", version)
        refused = await service.get("/api/wallet/call-rate?to=080-22223333", person)
        assert (refused.status_code, refused.json()["code"]) == (422, "destination_not_rated")
        await service.post(f"/api/admin/users/{person.id}/call-rate", admin, json={"rate": 7.5})
        assert await shown() == (7.5, "user", version)
        listed = await service.get(f"/api/admin/users?search={person.id}", admin)
        assert [user["call_rate"] for user in listed.json()["users"]] == [7.5]
    finally:
        await forget_cards()


async def test_an_own_rate_is_for_users_that_there_are_and_makes_sense(service: Service) -> None:
    person, admin = await service.signup(), await service.admin()
    path = f"/api/admin/users/{person.id}/call-rate"
    for bad in ({}, {"rate": 0}, {"rate": -1}, {"rate": "4"}, {"rate": 1000.01}, {"rate": 1.005}):
        assert (await service.post(path, admin, json=bad)).status_code == 422, bad
    unknown = await service.post("/api/admin/users/usr_x/call-rate", admin, json={"rate": 4})
    assert unknown.status_code == 404
    assert (await service.post(path, person, json={"rate": 4})).status_code == 403
