"""`kill -9` in the middle of hundreds of calls ending: of the service, then of MongoDB.

KILLED_CALLS=2000 .venv/bin/python -m pytest tests/resilience/test_kill_minus_nine.py
"""

import asyncio
import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ledger
from core import clock, database
from core.database import db
from gateway import signatures
from tests.support import load_client
from tests.support import payments as paying
from tests.support.processes import Processes, end_of, processes
from tests.support.service import Person

CALLS = int(os.environ.get("KILLED_CALLS", "600"))
CONNECTIONS = 64


async def exchange(
    whole: Processes, requests: list[bytes], on_answer: load_client.OnAnswer
) -> None:
    await load_client.exchange(
        requests,
        host="127.0.0.1",
        port=whole.settings.port,
        connections=CONNECTIONS,
        on_answer=on_answer,
    )


async def place_calls(whole: Processes, person: Person) -> list[dict[str, Any]]:
    placed: list[dict[str, Any]] = []

    def keep(_: int, status: int, body: bytes) -> None:
        assert status == 202, body
        placed.append(json.loads(body))

    await exchange(whole, [whole.place_request(person)] * CALLS, keep)
    return placed


def ends_of(calls: list[dict[str, Any]]) -> list[bytes]:
    """The signed callbacks with which the network reports the end of each call."""
    return [
        load_client.request("POST", url, headers=headers, body=body)
        for url, body, headers in map(end_of, calls)
    ]


async def end_calls_until(
    whole: Processes, calls: list[dict[str, Any]], kill_after: int, kill: Callable[[], None]
) -> set[str]:
    """Report the end of every call, kill something in the middle; the calls that got their 204."""
    acknowledged: set[str] = set()
    killed = False

    def note(number: int, status: int, _: bytes) -> None:
        nonlocal killed
        if status == 204:
            acknowledged.add(calls[number]["call_id"])
        if len(acknowledged) >= kill_after and not killed:
            killed = True
            kill()

    await exchange(whole, ends_of(calls), note)
    assert killed
    return acknowledged


async def charges_of(person: Person, call_ids: set[str]) -> set[str]:
    """Which of the calls have their charge in the ledger."""
    ids = {ledger.entry_id(person.id, f"call:{call_id}"): call_id for call_id in call_ids}
    return {ids[d["_id"]] async for d in db.transactions.find({"_id": {"$in": list(ids)}})}


async def repeat_until_settled(whole: Processes, calls: list[dict[str, Any]]) -> None:
    """The network repeats every callback, also those that were acknowledged, until each is taken."""
    waiting = ends_of(calls)
    for _ in range(100):
        refused: list[bytes] = []

        def note(
            number: int,
            status: int,
            _: bytes,
            sent: list[bytes] = waiting,
            again: list[bytes] = refused,
        ) -> None:
            if status != 204:
                again.append(sent[number])

        await exchange(whole, waiting, note)
        if not refused:
            return
        waiting = refused
        await asyncio.sleep(0.2)
    raise AssertionError(f"{len(waiting)} calls could not be reported")


async def assert_each_is_charged_once(
    whole: Processes, person: Person, calls: list[dict[str, Any]], expected: int
) -> None:
    charges = await db.transactions.find({"user_id": person.id, "category": "call_charge"}).to_list(
        None
    )
    assert len(charges) == expected
    assert len({charge["call_id"] for charge in charges}) == expected
    assert {call["call_id"] for call in calls} <= {charge["call_id"] for charge in charges}
    assert {charge["amount_paise"] for charge in charges} == {5_00}
    assert (await whole.service.balance(person))["held"] == 0.0
    audit = await whole.service.get("/api/admin/audit", await whole.service.admin())
    report = audit.json()
    assert report["ok"], report["violations"]
    assert report["entries"] == expected + 1


@pytest.mark.timeout(600)
async def test_a_killed_service_and_a_killed_database_lose_and_double_nothing(
    tmp_path: Path,
) -> None:
    """Calls end while the service is killed, as many others while MongoDB is: after the
    restart and the repeated callbacks every call has exactly one charge, every acknowledged
    charge is there, the hash chain verifies."""
    async with contextlib.AsyncExitStack() as stack:
        whole = await stack.enter_async_context(
            processes(
                tmp_path, web_concurrency=2, call_slice_minutes=1, max_concurrent_calls=2 * CALLS
            )
        )
        person = await whole.service.signup()
        await whole.recharge(person, 100_000)
        first = await place_calls(whole, person)

        acknowledged = await end_calls_until(whole, first, CALLS // 3, whole.kill)
        assert CALLS // 3 <= len(acknowledged) < CALLS
        await whole.start()
        await database.connect(whole.mongodb_uri(), "wallet")
        stack.push_async_callback(database.close)
        assert await charges_of(person, acknowledged) == acknowledged
        await repeat_until_settled(whole, first)
        await assert_each_is_charged_once(whole, person, first, CALLS)

        second = await place_calls(whole, person)
        # MongoDB is started again while the callbacks wait: all of them may be acknowledged.
        acknowledged = await end_calls_until(whole, second, CALLS // 3, whole.kill_mongod)
        assert len(acknowledged) >= CALLS // 3
        await repeat_until_settled(whole, second)
        assert await charges_of(person, acknowledged) == acknowledged
        await assert_each_is_charged_once(whole, person, second, 2 * CALLS)


@pytest.mark.timeout(600)
async def test_no_acknowledged_webhook_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    """600 webhooks come in, the service is killed in the middle: every one that got its 200 is
    credited after the restart, once, and so are the others when Razorpay repeats them."""
    async with contextlib.AsyncExitStack() as stack:
        whole = await stack.enter_async_context(processes(tmp_path, web_concurrency=2))
        await database.connect(whole.mongodb_uri(), "wallet")
        stack.push_async_callback(database.close)
        person = await whole.service.signup()
        ids = await paying.paid_and_forgotten([person.id], 600)
        requests = [webhook_of(whole, payment_id) for _, payment_id in ids]
        acknowledged: set[str] = set()
        killed = False

        def note(number: int, status: int, _: bytes) -> None:
            nonlocal killed
            if status == 200:
                acknowledged.add(ids[number][1])
            if len(acknowledged) == 200 and not killed:
                killed = True
                whole.kill()

        await exchange(whole, requests, note)
        assert 200 <= len(acknowledged) < 600
        await whole.start()
        # What the dead process had claimed is due again after a minute; nobody waits in a test.
        await db.events.update_many({"state": "pending"}, {"$set": {"due_at": clock.now()}})
        assert await credited(acknowledged) == acknowledged
        await exchange(whole, requests, lambda _, status, __: None)  # Razorpay repeats them all
        everybody = {payment_id for _, payment_id in ids}
        assert await credited(everybody) == everybody
        assert await db.transactions.count_documents({"user_id": person.id}) == 600
        assert (await whole.service.balance(person))["balance"] == 60_000.0


def webhook_of(whole: Processes, payment_id: str) -> bytes:
    told = {"event": "payment.captured", "payload": {"payment": {"entity": {"id": payment_id}}}}
    body = json.dumps(told).encode()
    signature = signatures.sign_webhook(body, whole.settings.gateway_webhook_secret)
    return load_client.request(
        "POST",
        f"{whole.settings.own_url}/api/payment/webhook",
        headers={"x-razorpay-signature": signature, "content-type": "application/json"},
        body=body,
    )


async def credited(payment_ids: set[str]) -> set[str]:
    """Which of these payments are in the ledger, once those that are being handled are."""
    found: set[str] = set()
    for _ in range(300):
        where = {"category": "recharge", "payment_id": {"$in": list(payment_ids)}}
        found = {each["payment_id"] async for each in db.transactions.find(where)}
        if found == payment_ids:
            break
        await asyncio.sleep(0.1)
    return found
