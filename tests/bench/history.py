"""History and monitoring with a million transactions: what a user and an operator wait for.

    .venv/bin/python -m tests.bench.history [--entries 1000000] [--wallets 1000]

Entries of a year are put straight into MongoDB (a fifth of them in one busy wallet), then the same
functions as the routes use are timed, each five times, and the median is printed. The first row of the
metrics computes the sums of days, the second reads those that were kept.
"""

import argparse
import asyncio
import datetime as dt
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import cast

from pydantic import SecretStr

import ledger
import transactions
from api import fields
from core import clock, config, database, embedded_mongodb
from core.database import Document, db
from reporting import analytics, customers
from transactions import Filter

BATCH = 10_000
BUSY = "usr_0000"


def entries_of_a_year(count: int, wallets: int) -> list[transactions.EntryRecord]:
    """Documents with right running totals; the hashes are not what is measured."""
    chance = random.Random(1)
    began = clock.now() - dt.timedelta(days=364)
    step = dt.timedelta(days=364) / count
    states: dict[str, list[int]] = {}
    documents = []
    for number in range(count):
        user_id = BUSY if number % 5 == 0 else f"usr_{chance.randrange(wallets):04d}"
        state = states.setdefault(user_id, [0] * 4)
        balance_paise = state[0] - state[1]
        is_credit = balance_paise < 20_00 or chance.random() < 0.03
        amount_paise = 500_00 if is_credit else chance.randrange(1_00, 15_00)
        state[0 if is_credit else 1] += amount_paise
        state[2 if is_credit else 3] += 1
        moment = began + step * number
        entry = ledger.Entry(
            id=ledger.entry_id(user_id, f"bench:{number}"),
            user_id=user_id,
            seq=state[2] + state[3],
            type="credit" if is_credit else "debit",
            category="recharge" if is_credit else "call_charge",
            amount_paise=amount_paise,
            balance_after_paise=state[0] - state[1],
            contra="gateway:razorpay" if is_credit else "revenue:calls",
            key=f"bench:{number}",
            description="Call to +919876543210, 61 s at Rs 10.00 a minute: Rs 10.17",
            call_id=None if is_credit else f"call_{number:026d}",
            campaign_id=None if is_credit or number % 3 else f"cmp_{number // 100_000}",
            credited_paise=state[0],
            debited_paise=state[1],
            credit_count=state[2],
            debit_count=state[3],
            created_at=moment.replace(microsecond=moment.microsecond // 1_000 * 1_000),
            prev_hash=ledger.GENESIS_HASH,
            hash=ledger.GENESIS_HASH,
        )
        documents.append(transactions.record_of(entry))
    return documents


async def timed(name: str, ask: Callable[[], Awaitable[object]], times: int = 5) -> None:
    took = []
    for _ in range(times):
        began = time.perf_counter()
        await ask()
        took.append((time.perf_counter() - began) * 1_000)
    print(f"{name:62} {statistics.median(took):8.1f} ms", flush=True)


async def run(arguments: argparse.Namespace, uri: str) -> None:
    config.use(config.Settings(_env_file=None, jwt_secret=SecretStr("only for the benchmark")))
    await database.connect(uri, "bench_history")
    await database.prepare()
    began = time.perf_counter()
    documents = entries_of_a_year(arguments.entries, arguments.wallets)
    for begin in range(0, len(documents), BATCH):
        batch = cast(list[Document], documents[begin : begin + BATCH])
        await db.transactions.insert_many(batch, ordered=False)
    print(f"{len(documents)} entries put in in {time.perf_counter() - began:.0f} s")
    month = fields.period_of("2026-06-01", "2026-06-30")
    year = fields.period_of(None, None)
    filters = {
        "one user, everything": Filter(user_id=BUSY),
        "one user, a month": Filter(user_id=BUSY, period=month),
        "one user, debits": Filter(user_id=BUSY, type="debit"),
        "one user, call charges": Filter(user_id=BUSY, category="call_charge"),
        "a campaign": Filter(campaign_id="cmp_3"),
        "everybody, everything": Filter(),
        "everybody, a month": Filter(period=month),
    }
    for name, chosen in filters.items():
        await timed(
            f"page of 50: {name}", partial(transactions.list_transactions, chosen, limit=50)
        )
        await timed(f"summary: {name}", partial(transactions.summary, chosen))
    for name, period in (("30 days", year), ("300 days", fields.period_of("2026-01-25", None))):
        windows = analytics.windows_of(period)
        await timed(f"metrics: {name}, first", partial(analytics.metrics, windows), times=1)
        await timed(f"metrics: {name}, then", partial(analytics.metrics, windows))
    await timed(
        "people: a page of 50",
        partial(customers.list_customers, search=None, low_balance=None, limit=50, cursor=None),
    )
    await database.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--wallets", type=int, default=1_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        running = embedded_mongodb.start(folder)
        try:
            asyncio.run(run(arguments, running.uri))
        finally:
            running.stop()


if __name__ == "__main__":
    main()
