"""What the owner of a campaign does and sees, for the tests of campaigns."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from core import database
from tests.support.service import Person, Service

FAST = {"outcome": "completed", "duration_seconds": 30, "wall_seconds": 0.1}
# Each contact is called once, unless a test says otherwise.
ONCE = {"max_attempts": 1}
SLOW = {"outcome": "completed", "duration_seconds": 30, "wall_seconds": 120.0}


def numbers_of(count: int, first: int = 0) -> list[str]:
    return [f"+9198{i:08d}" for i in range(first, first + count)]


async def create(
    service: Service, person: Person, count: int = 3, **options: Any
) -> dict[str, Any]:
    body = {"name": "Diwali", "numbers": numbers_of(count), "simulate": FAST, "retry": ONCE}
    body |= options
    answer = await service.post("/api/campaigns", person, json=body)
    assert answer.status_code == 201, answer.text
    created: dict[str, Any] = answer.json()
    return created


async def upload(
    service: Service, person: Person, content: bytes | str, **fields: Any
) -> dict[str, Any]:
    answer = await service.post(
        "/api/campaigns/upload",
        person,
        files={"file": ("people.csv", content, "text/csv")},
        data={"name": "Diwali", "simulate": json.dumps(FAST), "retry": json.dumps(ONCE), **fields},
    )
    assert answer.status_code == 201, answer.text
    created: dict[str, Any] = answer.json()
    return created


async def shown(service: Service, person: Person, campaign: dict[str, Any]) -> dict[str, Any]:
    answer = await service.get(f"/api/campaigns/{campaign['campaign_id']}", person)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def until(
    service: Service,
    person: Person,
    campaign: dict[str, Any],
    is_so: Callable[[dict[str, Any]], bool],
    seconds: float = 60,
) -> dict[str, Any]:
    """The campaign as soon as it is as the test waits for."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not is_so(found := await shown(service, person, campaign)):
        assert asyncio.get_running_loop().time() < deadline, found
        await asyncio.sleep(0.05)
    return found


def is_over(campaign: dict[str, Any]) -> bool:
    done: bool = campaign["status"] == "completed"
    return done


async def act(service: Service, person: Person, campaign: dict[str, Any], verb: str) -> int:
    """Pause, resume or cancel; the status of the answer."""
    answer = await service.post(f"/api/campaigns/{campaign['campaign_id']}/{verb}", person)
    if answer.status_code == 409:
        assert answer.json()["code"] == "invalid_transition"
    return answer.status_code


async def calls_of(service: Service, person: Person) -> list[dict[str, Any]]:
    answer = await service.get("/api/calls?limit=200", person)
    found: list[dict[str, Any]] = answer.json()["calls"]
    return found


async def calls_placed(
    service: Service, person: Person, count: int, seconds: float = 60
) -> list[dict[str, Any]]:
    """The calls, as soon as there are so many. A contact counts as in a call from its claim on, a
    moment before its call is there."""
    deadline = asyncio.get_running_loop().time() + seconds
    while len(found := await calls_of(service, person)) < count:
        assert asyncio.get_running_loop().time() < deadline, found
        await asyncio.sleep(0.05)
    return found


async def list_of(
    service: Service, person: Person, campaign: dict[str, Any], query: str = ""
) -> list[dict[str, Any]]:
    answer = await service.get(f"/api/campaigns/{campaign['campaign_id']}/contacts{query}", person)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["contacts"]
    return found


async def nothing_of(service: Service, person: Person) -> bool:
    """Whether there is no campaign of this person, visible or not."""
    assert (await service.get("/api/campaigns", person)).json()["campaigns"] == []
    hers = {"user_id": person.id}
    kept = [await database.db[name].count_documents(hers) for name in ("campaigns", "contacts")]
    return kept == [0, 0]
