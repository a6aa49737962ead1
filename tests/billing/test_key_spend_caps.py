"""The spend cap of an API key: what is placed with it never costs more in a day, its owner is free."""

import asyncio
import dataclasses
from collections import Counter
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

from campaigns import dispatcher
from core import config
from core.database import db
from tests.conftest import Ahead
from tests.support import calls as calling
from tests.support import campaigns as campaigning
from tests.support.service import Person, Service, running
from tests.support.service import test_settings as settings_of_tests


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for all tests of this file; a call reserves Rs 10."""
    async with running(settings_of_tests(mongodb_uri, call_slice_minutes=1)) as started:
        yield started


@pytest.fixture(autouse=True)
def within_a_day(past_the_boundary: Ahead) -> None:
    """No test reaches over midnight in India: its limits are those of one day."""
    past_the_boundary()


@dataclasses.dataclass
class Machine(Person):
    """Somebody who comes with an API key."""

    key_id: str

    async def day(self) -> dict[str, Any]:
        """What counts for the key's cap today."""
        found = await db.usage.find_one({"user_id": self.key_id})
        assert found is not None
        return dict(found)


async def keyed(service: Service, cap: float | None, rupees: int = 1_000) -> tuple[Person, Machine]:
    """A person with money, and a machine that has a key of theirs with this cap."""
    person = await service.signup()
    await service.fund(person, rupees)
    scopes = ["calls:read", "calls:write", "campaigns:read", "campaigns:write"]
    body = {"name": "Dialler", "scopes": scopes, "daily_spend_cap": cap}
    made = await service.post("/api/api-keys", person, json=body)
    assert made.status_code == 201, made.text
    key = made.json()
    return person, Machine(person.id, person.email, key["key"], key["key_id"])


async def outcomes_at_once(service: Service, person: Person, count: int) -> Counter[str]:
    """What becomes of so many calls at the same moment; they ring until the test is over."""
    asked = (calling.ask(service, person, calling.SILENT) for _ in range(count))
    return Counter(answer.json().get("code", "placed") for answer in await asyncio.gather(*asked))


async def test_calls_at_once_cannot_pass_the_cap_of_their_key(service: Service) -> None:
    person, machine = await keyed(service, 105)
    assert await outcomes_at_once(service, machine, 30) == {"placed": 10, "spend_cap_reached": 20}
    refused = await calling.ask(service, machine, calling.SILENT)
    assert refused.status_code == 402
    assert (refused.json()["cap"], refused.json()["limited_by"]) == (105.0, "api_key")
    assert (await service.balance(person))["held"] == 100.0
    # It is the key's cap and not its owner's.
    assert await outcomes_at_once(service, person, 3) == {"placed": 3}
    # What the calls did cost takes the place of what they could.
    for call_id in (await machine.day())["held"]:
        for _ in range(2):
            assert (await calling.report(service, call_id, "completed", 30)).status_code == 204
    day = await machine.day()
    assert (int(day["spent_paise"]), day["held"]) == (5_000, {})
    assert await outcomes_at_once(service, machine, 10) == {"placed": 5, "spend_cap_reached": 5}


async def test_a_running_call_is_not_extended_past_the_cap_of_its_key(service: Service) -> None:
    _, machine = await keyed(service, 25)
    script = {"outcome": "completed", "duration_seconds": 600, "wall_seconds": 1}
    call = await calling.place(service, machine, script)
    call = await calling.over(service, machine, call["call_id"])
    assert (call["duration_seconds"], call["cost"]) == (150, 25.0)
    for _ in range(600):
        if (spent_paise := int((await machine.day())["spent_paise"])) > 0:
            break
        await asyncio.sleep(0.05)  # it is counted after the call's end
    assert spent_paise == 2_500


async def test_the_lower_of_the_two_caps_holds_and_nothing_stays_counted_for_a_refusal(
    service: Service,
) -> None:
    _, machine = await keyed(service, 500, rupees=1_000)
    config.use(service.settings.model_copy(update={"daily_spend_cap": Decimal(30)}))
    try:
        assert await outcomes_at_once(service, machine, 6) == {"placed": 3, "spend_cap_reached": 3}
        assert len((await machine.day())["held"]) == 3
    finally:
        config.use(service.settings)
    config.use(service.settings.model_copy(update={"daily_spend_cap": Decimal(1_000)}))
    try:
        _, other = await keyed(service, 20)
        answers = await outcomes_at_once(service, other, 5)
        assert answers == {"placed": 2, "spend_cap_reached": 3}
        mine = await db.usage.find_one({"user_id": other.id})
        assert mine is not None
        assert (len(mine["held"]), mine["calls"]) == (2, 2), "the owner's count was not undone"
    finally:
        config.use(service.settings)


async def test_the_wallets_refusal_and_an_unanswered_call_leave_nothing_of_the_cap(
    service: Service,
) -> None:
    person, machine = await keyed(service, 100, rupees=15)
    assert await outcomes_at_once(service, machine, 3) == {"placed": 1, "balance_held": 2}
    (call_id,) = (await machine.day())["held"]
    await calling.report(service, call_id, "busy", 0)
    day = await machine.day()
    assert (int(day["spent_paise"]), day["held"]) == (0, {})
    assert (await service.balance(person))["held"] == 0


async def test_a_rotation_begins_no_new_day_and_a_key_without_a_cap_counts_nothing(
    service: Service,
) -> None:
    person, machine = await keyed(service, 10)
    assert await outcomes_at_once(service, machine, 2) == {"placed": 1, "spend_cap_reached": 1}
    rotated = await service.post(f"/api/api-keys/{machine.key_id}/rotate", person)
    machine = dataclasses.replace(machine, token=rotated.json()["key"])
    assert await outcomes_at_once(service, machine, 1) == {"spend_cap_reached": 1}
    _, free = await keyed(service, None)
    assert await outcomes_at_once(service, free, 3) == {"placed": 3}
    assert await db.usage.find_one({"user_id": free.key_id}) is None
    call = await db.calls.find_one({"user_id": free.id})
    assert call is not None
    assert call["api_key_id"] == free.key_id


async def test_the_later_calls_of_a_campaign_count_for_the_key_that_made_it(
    service: Service,
) -> None:
    person, machine = await keyed(service, 22)
    campaign = await campaigning.create(service, machine, 6)
    paused = await campaigning.until(
        service, person, campaign, lambda c: c["status"] == "paused", 30
    )
    assert paused["pause_reason"] == "cap"
    assert (paused["counts"]["answered"], paused["counts"]["pending"]) == (3, 3)
    await dispatcher.check_campaign(campaign["campaign_id"])
    assert (await campaigning.shown(service, person, campaign))["pause_reason"] == "cap"
    for asking in (machine, person):
        resume = f"/api/campaigns/{campaign['campaign_id']}/resume"
        answer = await service.post(resume, asking)
        assert (answer.status_code, answer.json()["code"]) == (402, "spend_cap_reached")
    another = {"name": "A", "numbers": [calling.NUMBER]}
    refused = await service.post("/api/campaigns", machine, json=another)
    assert (refused.status_code, refused.json()["code"]) == (402, "spend_cap_reached")
    # As if the next day had begun.
    await db.usage.delete_many({"user_id": machine.key_id})
    await dispatcher.check_campaign(campaign["campaign_id"])
    done = await campaigning.until(service, person, campaign, campaigning.is_over, 30)
    assert (done["counts"]["answered"], done["counts"]["failed"]) == (6, 0)


async def test_a_key_cannot_spend_more_than_its_cap_by_starting_what_its_owner_prepared(
    service: Service,
) -> None:
    person, machine = await keyed(service, 12)
    draft = await campaigning.create(service, person, 6, start=False)
    path = f"/api/campaigns/{draft['campaign_id']}/resume"
    assert (await service.post(path, machine)).status_code == 200
    paused = await campaigning.until(service, person, draft, lambda c: c["status"] == "paused", 30)
    assert (paused["pause_reason"], paused["counts"]["answered"]) == ("cap", 1)
    assert int((await machine.day())["spent_paise"]) <= 1_200
