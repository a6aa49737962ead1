"""How soon a webhook is acknowledged while two hundred a second arrive and are handled.

    .venv/bin/python -m tests.bench.webhooks [--count 4000] [--per-second 200] [--processes 1]

The service runs in processes of its own, with the sandbox in them. Every webhook is of a payment of
its own that was not reported before, so each is fetched from the sandbox and credited while the others
arrive. The time is from the first byte sent to the last byte of the answer; at the end every
payment must be credited once. What counts is the p99 beside that of `/health` at the same rate.
"""

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path

import uvloop

from core import database
from core.database import db
from gateway import signatures
from tests.bench import harness
from tests.support import load_client
from tests.support import payments as paying
from tests.support.processes import Processes

CONNECTIONS = 32


async def latencies(
    requests: list[bytes], whole: Processes, per_second: float
) -> tuple[list[float], int]:
    """Milliseconds of every answer, sorted, and how many were 200."""
    began: dict[int, float] = {}
    took: list[float] = []
    good = 0

    def note(number: int, status: int, _: bytes) -> None:
        nonlocal good
        good += status == 200
        took.append((time.perf_counter() - began[number]) * 1_000)

    await load_client.exchange(
        requests,
        host="127.0.0.1",
        port=whole.settings.port,
        connections=CONNECTIONS,
        on_answer=note,
        per_second=per_second,
        on_send=lambda number: began.__setitem__(number, time.perf_counter()),
    )
    return sorted(took), good


def p(sorted_ms: list[float], share: float) -> float:
    return sorted_ms[min(len(sorted_ms) - 1, int(len(sorted_ms) * share))]


async def run(arguments: argparse.Namespace, folder: Path) -> None:
    program = "import manage; sys.exit(manage.command_line(['run']))"
    async with harness.service(
        folder, program, web_concurrency=arguments.processes, log_level="ERROR"
    ) as whole:
        await database.connect(whole.mongodb_uri(), "wallet")
        people = [await whole.service.signup() for _ in range(10)]
        ids = await paying.paid_and_forgotten([each.id for each in people], arguments.count)
        url = f"{whole.settings.own_url}/api/payment/webhook"
        requests = []
        for order_id, payment_id in ids:
            entity = {"id": payment_id, "order_id": order_id, "amount": 10_000}
            event = {"event": "payment.captured", "payload": {"payment": {"entity": entity}}}
            body = json.dumps(event).encode()
            signature = signatures.sign_webhook(body, whole.settings.gateway_webhook_secret)
            headers = {"x-razorpay-signature": signature, "content-type": "application/json"}
            requests.append(load_client.request("POST", url, headers=headers, body=body))
        empty = [load_client.request("GET", f"{whole.settings.own_url}/health", headers={})] * 1_000
        idle, _ = await latencies(empty, whole, arguments.per_second)
        print(f"/health:  p50 {p(idle, 0.5):6.1f} ms   p99 {p(idle, 0.99):6.1f} ms")
        took, good = await latencies(requests, whole, arguments.per_second)
        print(
            f"webhooks: p50 {p(took, 0.5):6.1f} ms   p99 {p(took, 0.99):6.1f} ms   "
            f"max {took[-1]:6.1f} ms   {good} of {len(requests)} acknowledged (asked for: p99 50 ms)"
        )
        began = time.perf_counter()
        while await db.transactions.count_documents({"category": "recharge"}) < good:
            if time.perf_counter() - began > 120:
                raise SystemExit("some acknowledged webhooks were not credited")
            await asyncio.sleep(0.1)
        print(f"all credited {time.perf_counter() - began:.1f} s after the last one came")
        if await db.transactions.count_documents({"category": "recharge"}) != len(requests):
            raise SystemExit("not every payment was credited once")
        await database.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=4_000)
    parser.add_argument("--per-second", type=float, default=200.0)
    parser.add_argument("--processes", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        uvloop.run(run(arguments, Path(folder)))


if __name__ == "__main__":
    main()
