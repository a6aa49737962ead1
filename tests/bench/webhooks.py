"""Webhooks: how soon one is acknowledged at 200 a second, and how fast waiting ones are credited.

    .venv/bin/python -m tests.bench webhooks

The service runs in one process of its own, with the sandbox in it. Every webhook is of a payment of its
own that was not reported before, so each is looked up in the sandbox and credited.

1. Acknowledged: webhooks arrive at 200 a second and are handled meanwhile. The time is from the first
   byte sent to the last byte of the answer; beside it stands `/health` at the same rate.
2. Credited: 4,000 webhooks are stored and wait, as after an outage of Razorpay's; then they are
   credited. The rate is that of the entries, from the first to the last of them.

At the end every payment must be credited once.
"""

import asyncio
import json
import time
from pathlib import Path

from core import clock, database
from core.database import Document, db
from gateway import signatures
from tests.bench import harness
from tests.bench.harness import Figure, Scale
from tests.support import load_client
from tests.support import payments as paying
from tests.support.processes import Processes
from tests.support.service import Person

CONNECTIONS = 32
PER_SECOND = 200.0
CREDIT_SECONDS_MAX = 180.0


async def measure(scale: Scale, folder: Path) -> list[Figure]:
    """The two figures that are asked for."""
    async with harness.service(folder, log_level="ERROR") as whole:
        await database.connect(whole.mongodb_uri(), "wallet")
        try:
            people = [await whole.service.signup() for _ in range(10)]
            acknowledged = await _acknowledgements(whole, people, scale)
            credited = await _credits(whole, people, scale)
        finally:
            await database.close()
    return [acknowledged, credited]


# --- acknowledged -------------------------------------------------------------------------------


async def _acknowledgements(whole: Processes, people: list[Person], scale: Scale) -> Figure:
    health = load_client.request("GET", f"{whole.settings.own_url}/health", headers={})
    idle, busy = [], []
    for _ in range(scale.rounds):
        count = scale.count(1_000)
        webhooks = [_request(whole, body) for body in await _bodies(people, count)]
        before = await _credited()
        idle.append(_p99(await _latencies([health] * count, whole)))
        busy.append(_p99(await _latencies(webhooks, whole)))
        await _until_credited(before + count)
    parts = ("webhook p99, ms", "/health p99, ms")
    return harness.ratio_of("webhook_p99", busy, idle, parts=parts)


async def _latencies(requests: list[bytes], whole: Processes) -> list[float]:
    """Milliseconds of every answer; each has to be 200."""
    began: dict[int, float] = {}
    took: list[float] = []

    def note(number: int, status: int, body: bytes) -> None:
        if status != 200:
            raise SystemExit(f"not acknowledged: {status} {body!r}")
        took.append((time.perf_counter() - began[number]) * 1_000)

    await load_client.exchange(
        requests,
        host="127.0.0.1",
        port=whole.settings.port,
        connections=CONNECTIONS,
        on_answer=note,
        per_second=PER_SECOND,
        on_send=lambda number: began.__setitem__(number, time.perf_counter()),
    )
    return took


def _p99(took: list[float]) -> float:
    return sorted(took)[min(len(took) - 1, int(len(took) * 0.99))]


# --- credited -----------------------------------------------------------------------------------


async def _credits(whole: Processes, people: list[Person], scale: Scale) -> Figure:
    """Stored as the route stores them, all due at one moment; then the first and the last credit."""
    count = scale.count(4_000)
    before = await _credited()
    due_at = clock.after(1.0)
    events: list[Document] = [
        {
            "_id": database.new_id("hook"),
            "name": "RazorpayReported",
            "user_id": None,
            "data": {
                "event": "payment.captured",
                "razorpay_event_id": "",
                "mode": "sandbox",
                "body": body.decode(),
            },
            "at": clock.now(),
            "state": "pending",
            "due_at": due_at,
            "attempts": 0,
        }
        for body in await _bodies(people, count)
    ]
    await db.events.insert_many(events)
    counts = [(time.perf_counter(), 0)]
    while (done := await _credited() - before) < count:
        now = time.perf_counter()
        if now - counts[0][0] > CREDIT_SECONDS_MAX:
            raise SystemExit(f"of {count} webhooks that wait only {done} were credited")
        if done == 0:
            counts = [(now, 0)]
        counts.append((now, done))
        await asyncio.sleep(0.1)
    seconds = time.perf_counter() - counts[0][0]
    if done != count or await _credited() != len(await db.transactions.distinct("payment_id")):
        raise SystemExit("not every payment was credited once")
    return Figure(
        name="credits_beside_webhooks",
        value=count / seconds,
        unit="/s",
        parts={"webhooks": float(count), "seconds": seconds},
    )


# --- webhooks -----------------------------------------------------------------------------------


async def _bodies(people: list[Person], count: int) -> list[bytes]:
    """What Razorpay sends of as many new payments."""
    ids = await paying.paid_and_forgotten([person.id for person in people], count)
    made = (
        await database.client()["wallet_sandbox"]["payments"]
        .find({"_id": {"$in": [payment_id for _, payment_id in ids]}}, {"created_at": 1})
        .to_list(None)
    )
    times = {payment["_id"]: int(payment["created_at"].timestamp()) for payment in made}
    return [
        json.dumps(
            {
                "event": "payment.captured",
                "created_at": times[payment_id],
                "payload": {
                    "payment": {
                        "entity": {
                            "id": payment_id,
                            "order_id": order_id,
                            "amount": 10_000,
                            "created_at": times[payment_id],
                        }
                    }
                },
            }
        ).encode()
        for order_id, payment_id in ids
    ]


def _request(whole: Processes, body: bytes) -> bytes:
    signature = signatures.sign_webhook(body, whole.settings.gateway_webhook_secret)
    headers = {"x-razorpay-signature": signature, "content-type": "application/json"}
    url = f"{whole.settings.own_url}/api/payment/webhook"
    return load_client.request("POST", url, headers=headers, body=body)


async def _credited() -> int:
    return await db.transactions.count_documents({"category": "recharge"})


async def _until_credited(count: int) -> None:
    began = time.perf_counter()
    while await _credited() < count:
        if time.perf_counter() - began > CREDIT_SECONDS_MAX:
            raise SystemExit("some acknowledged webhooks were not credited")
        await asyncio.sleep(0.1)
