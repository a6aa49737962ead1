"""What somebody who calls and a telephone network do, for the tests of calls."""

import asyncio
import json
from typing import Any

import httpx

import telephony
import worker
from calls import lifecycle, placing
from calls.records import Call
from core import clock
from core.database import db
from telephony import network_health
from telephony.simulator import SIGNATURE_HEADER, sign
from tests.support.service import Person, Service

NUMBER = "+919876543210"

# It rings for longer than any test takes, so the test alone says what becomes of the call.
SILENT = {"duration_seconds": 30, "wall_seconds": 3_000}

# Whoever has it does what the worker of the service does, and the worker waits.
turn = asyncio.Lock()


async def reserve_and_submit(user_id: str, **options: Any) -> Call:
    """Reserve a call with these options and ask the network at once, as whoever has a turn does."""
    return await placing.submit_call(await placing.reserve_call(user_id, **options))


def chores_in_turn() -> dict[str, tuple[worker.Job, float]]:
    """The worker's chores, each of which waits while a test does the same: else the worker may claim
    what a test made due, and the test looks at it before the worker is done."""

    def in_turn(chore: worker.Job) -> worker.Job:
        async def run() -> object:
            async with turn:
                done = await chore()
                await lifecycle.wait_for_due_calls()
                return done

        return run

    return {name: (in_turn(chore), pause) for name, (chore, pause) in worker.JOBS.items()}


async def forget_network_health() -> None:
    """As if every network had answered well until now."""
    await db.network_health.delete_many({})
    network_health._cached.clear()
    network_health._accepted.clear()


async def ask(
    service: Service, person: Person | None, scenario: dict[str, Any] | None = None, **body: Any
) -> httpx.Response:
    """Ask for a call; `scenario` is what the simulator shall do."""
    body = {"to": NUMBER, **({"simulate": scenario} if scenario is not None else {}), **body}
    return await service.post("/api/call", person, json=body)


async def place(
    service: Service, person: Person, scenario: dict[str, Any] | None = None, **body: Any
) -> dict[str, Any]:
    """A call that was accepted, once the network was asked for it."""
    answer = await ask(service, person, scenario, **body)
    assert answer.status_code == 202, answer.text
    return await asked_for(service, person, answer.json()["call_id"])


async def asked_for(service: Service, person: Person, call_id: str) -> dict[str, Any]:
    """The call when the network was asked for it, and has answered or not."""
    for _ in range(3_000):
        dialling = [task for task in asyncio.all_tasks() if task.get_name() == f"dial {call_id}"]
        await asyncio.gather(*dialling, return_exceptions=True)
        call = await shown(service, person, call_id)
        if call["status"] not in ("created", "submitting"):
            return call
        await asyncio.sleep(0.005)
    raise AssertionError(f"the call was not dialled: {call}")


async def shown(service: Service, person: Person, call_id: str) -> dict[str, Any]:
    answer = await service.get(f"/api/calls/{call_id}", person)
    assert answer.status_code == 200, answer.text
    call: dict[str, Any] = answer.json()
    return call


async def over(
    service: Service, person: Person, call_id: str, *, seconds: float = 60
) -> dict[str, Any]:
    """The call when its money is resolved."""
    for _ in range(int(seconds / 0.05)):
        call = await shown(service, person, call_id)
        if call["billing_status"] in ("settled", "released"):
            return call
        await asyncio.sleep(0.05)
    raise AssertionError(f"the call is not over: {call}")


async def until(service: Service, person: Person, call_id: str, status: str) -> dict[str, Any]:
    for _ in range(600):
        call = await shown(service, person, call_id)
        if call["status"] == status:
            return call
        await asyncio.sleep(0.05)
    raise AssertionError(f"the call never was {status}: {call}")


def told(call_id: str, status: str, duration: Any = None, **changes: Any) -> dict[str, Any]:
    """What the simulator would say."""
    sim_id = f"sim_{call_id.removeprefix('call_')}"
    return {
        "event_id": f"{sim_id}:{status}:{duration}",
        "provider_call_id": sim_id,
        "reference": call_id,
        "status": status,
        "duration_seconds": duration,
        "occurred_at": clock.iso(clock.now()),
        "answered_at": None,
        "simulated": True,
        **changes,
    }


async def send(
    service: Service,
    call_id: str,
    body: bytes,
    *,
    path: str | None = None,
    signature: str | None = None,
) -> httpx.Response:
    """A callback with this body; signed as the simulator does unless told otherwise."""
    path = path or telephony.callback_path("simulator", call_id)
    url = service.settings.own_url + path
    headers = {
        "content-type": "application/json",
        SIGNATURE_HEADER: sign(url, body) if signature is None else signature,
    }
    return await service.client.post(path, content=body, headers=headers)


async def report(
    service: Service, call_id: str, status: str, duration: Any = None, **changes: Any
) -> httpx.Response:
    """A signed callback that says this."""
    return await send(
        service, call_id, json.dumps(told(call_id, status, duration, **changes)).encode()
    )


async def debits(service: Service, person: Person) -> list[float]:
    """The charges that the person sees, the oldest first."""
    answer = await service.get("/api/transactions?type=debit", person)
    assert answer.status_code == 200, answer.text
    return [entry["amount"] for entry in reversed(answer.json()["transactions"])]
