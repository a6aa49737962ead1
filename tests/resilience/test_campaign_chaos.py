"""A campaign through kills, a restart, an outage of its network and an empty wallet, three times.

More of it, with three processes as in production:

    CHAOS_CONTACTS=20000 .venv/bin/python -m pytest tests/resilience/test_campaign_chaos.py -s
"""

import asyncio
import contextlib
import datetime as dt
import itertools
import os
import random
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from core import database
from core.database import db
from tests.support.campaigns import create, shown
from tests.support.processes import Processes, processes
from tests.support.service import Person

CONTACTS = int(os.environ.get("CHAOS_CONTACTS", "60"))
OUTAGE_SECONDS = 60 if CONTACTS >= 20_000 else 3
MINUTES_MAX = 4 + CONTACTS / 300
RUPEES_A_CALL = 5
RECHARGES = 3
SCENARIO = {"outcome": "completed", "duration_seconds": 30, "wall_seconds": 0.5}


@contextlib.asynccontextmanager
async def outage() -> AsyncIterator[None]:
    """The simulated network refuses whatever is new with an error that does not say whether there is
    a call now; the calls that it has go on."""
    wallet = database.client()["wallet"]
    command = {"collMod": "simulated_calls", "validationLevel": "moderate"}
    await wallet.command(command | {"validator": {"nothing_is_like_this": True}})
    try:
        yield
    finally:
        await wallet.command(command | {"validator": {}})


def kill_one(whole: Processes) -> None:
    """`kill -9` on one of the processes that serve; its parent begins another."""
    os.kill(random.choice(whole.workers()), signal.SIGKILL)


async def disturb(whole: Processes) -> None:
    """Everything that happens to a service in its worst night, one after another."""
    await asyncio.sleep(1)
    kill_one(whole)
    async with outage():
        await asyncio.sleep(OUTAGE_SECONDS)
    kill_one(whole)
    await asyncio.sleep(1)
    await whole.stop()
    await whole.start()


async def recharge_when_empty(whole: Processes, person: Person, created: dict[str, Any]) -> int:
    """Recharge each time that the campaign has paused for lack of money; how often it did."""
    part = CONTACTS * RUPEES_A_CALL // (RECHARGES + 1) + 10
    deadline, times = time.monotonic() + MINUTES_MAX * 60, 0
    while time.monotonic() < deadline:
        await asyncio.sleep(0.5)
        with contextlib.suppress(Exception):  # the service may be away: it is asked again
            found = await shown(whole.service, person, created)
            if found["status"] == "completed":
                return times
            if found["pause_reason"] == "balance":
                await whole.recharge(person, max(part, 100))
                times += 1
    found = await shown(whole.service, person, created)
    raise AssertionError(f"not over after {MINUTES_MAX} minutes: {found}")


def moments_of(call: dict[str, Any]) -> tuple[dt.datetime, dt.datetime]:
    """From when to when the network had a call."""
    end = call["ended"]["at"] if call["ended"] else call["pick_up_at"]
    return call["placed_at"], max(end, call["placed_at"])


async def check_calls(campaign_id: str) -> int:
    """Nobody was called twice at once, or again after an answer; what the calls cost in paise."""
    by_number: dict[str, list[dict[str, Any]]] = {}
    async for call in db.simulated_calls.find():
        by_number.setdefault(call["to"], []).append(call)
    assert len(by_number) == CONTACTS
    for number, calls in by_number.items():
        calls.sort(key=lambda call: call["placed_at"])
        for before, after in itertools.pairwise(calls):
            assert moments_of(before)[1] <= moments_of(after)[0], number
        assert len(calls) == 1, f"{number} answered, and was called again"
    costs = [call["cost_paise"] or 0 async for call in db.calls.find({"campaign_id": campaign_id})]
    return sum(map(int, costs))


async def check_contacts(campaign_id: str) -> None:
    """Every contact has exactly one final result, and its call answers for it."""
    contacts = await db.contacts.find({"campaign_id": campaign_id}).to_list(None)
    assert len(contacts) == CONTACTS
    assert {(contact["state"], contact["disposition"]) for contact in contacts} == {
        ("done", "answered")
    }
    ids = {contact["call_id"] for contact in contacts}
    assert len(ids) == CONTACTS
    answered = await db.calls.count_documents({"_id": {"$in": sorted(ids)}, "status": "completed"})
    assert answered == CONTACTS


@pytest.mark.timeout(60 * (MINUTES_MAX + 5))
async def test_every_contact_has_one_result_and_every_rupee_its_call(tmp_path: Path) -> None:
    limits = {"max_concurrent_calls": 1_000, "new_account_days": 0, "web_concurrency": 3}
    async with processes(tmp_path, **limits) as whole:
        person = await whole.service.signup()
        await whole.recharge(person, 100)
        uri = whole.mongodb_uri()
        created = await create(
            whole.service, person, CONTACTS, max_concurrent=100, simulate=SCENARIO
        )
        await database.connect(uri, "wallet")
        try:
            _, times = await asyncio.gather(
                disturb(whole), recharge_when_empty(whole, person, created)
            )
            cost_paise = await check_calls(created["campaign_id"])
            await check_contacts(created["campaign_id"])
        finally:
            await database.close()
        over = await shown(whole.service, person, created)
        assert over["counts"]["answered"] == over["counts"]["total"] == CONTACTS
        assert round(over["spent"] * 100) == cost_paise == CONTACTS * RUPEES_A_CALL * 100
        summary = await whole.service.get(
            f"/api/transactions?campaign_id={created['campaign_id']}&type=debit", person
        )
        assert summary.json()["summary"]["total_debits"] == over["spent"]
        balance = await whole.service.balance(person)
        assert balance["held"] == 0
        audit = await whole.service.get("/api/admin/audit", await whole.service.admin())
        assert audit.json()["ok"], audit.json()["violations"]
        print(f"{CONTACTS} contacts, recharged {times} times when the wallet was empty")
        assert times >= RECHARGES
