"""History: pages, sums and the CSV of a million transactions, beside those of a thousand.

    .venv/bin/python -m tests.bench history

Entries of a year are put straight into MongoDB (a fifth of them in one busy wallet), then the same
functions as the routes use are timed: every filter over a million and over a thousand entries in
turns, and the CSV beside a bare cursor with `csv.writer`. The closed days are added up first, as the
worker does it; how long that takes, and the first metrics, are shown below the table.
"""

import asyncio
import csv
import datetime as dt
import itertools
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

from pydantic import SecretStr
from pymongo import MongoClient

import ledger
import transactions
from api import fields
from api.transactions import csv_of
from core import clock, config, database, embedded_mongodb
from core.database import Document, db
from reporting import analytics, customers, totals
from tests.bench.harness import Figure, Scale, ratio_of
from transactions import Filter

BATCH = 5_000
BUSY = "usr_0000"
ENTRIES, WALLETS, FEW_ENTRIES, FEW_WALLETS = 1_000_000, 1_000, 1_000, 10
TIMES = 7  # a query is timed so often in a round; the median counts


def entries_of_a_year(count: int, wallets: int) -> Iterator[transactions.EntryRecord]:
    """Documents with right running totals; the hashes are not what is measured."""
    chance = random.Random(1)
    began = clock.now() - dt.timedelta(days=364)
    step = dt.timedelta(days=364) / count
    states: dict[str, list[int]] = {}
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
        yield transactions.record_of(entry)


# --- the two databases --------------------------------------------------------------------------


async def fill(uri: str, name: str, entries: int, wallets: int) -> None:
    await database.connect(uri, name)
    await database.prepare()
    await database.close()
    await asyncio.to_thread(_insert, uri, name, entries_of_a_year(entries, wallets))


def _insert(uri: str, name: str, documents: Iterator[transactions.EntryRecord]) -> None:
    """Insert without the product's limits of time: filling is not what is measured."""
    with MongoClient[Document](uri, w=1, journal=False) as client:
        target = client[name].transactions
        while batch := cast(list[Document], list(itertools.islice(documents, BATCH))):
            target.insert_many(batch, ordered=False, bypass_document_validation=True)


async def milliseconds(ask: Callable[[], Awaitable[object]], times: int = TIMES) -> float:
    took = []
    for _ in range(times):
        began = time.perf_counter()
        await ask()
        took.append((time.perf_counter() - began) * 1_000)
    return statistics.median(took)


def filters() -> dict[str, Filter]:
    today = clock.ist_date(clock.now())
    # Long enough that a page of the thousand is full as well.
    months = fields.period_of(
        str(today - dt.timedelta(days=340)), str(today - dt.timedelta(days=5))
    )
    return {
        "one user": Filter(user_id=BUSY),
        "one user, eleven months": Filter(user_id=BUSY, period=months),
        "one user, debits": Filter(user_id=BUSY, type="debit"),
        "one user, call charges": Filter(user_id=BUSY, category="call_charge"),
        "one user, recharges": Filter(user_id=BUSY, category="recharge"),
        "a campaign": Filter(campaign_id="cmp_0"),
        "a campaign, eleven months": Filter(campaign_id="cmp_0", period=months),
        "a campaign, credits": Filter(campaign_id="cmp_0", type="credit"),
        "everybody": Filter(),
        "everybody, eleven months": Filter(period=months),
        "everybody, recharges": Filter(category="recharge"),
        "everybody, debits": Filter(type="debit"),
    }


Asked = Callable[[Filter], Awaitable[object]]


async def compared(uri: str, name: str, ask: Asked, scale: Scale) -> Figure:
    """The slowest filter: a million entries beside a thousand, in alternating rounds."""
    took: dict[str, dict[str, list[float]]] = {}
    for _ in range(scale.rounds):
        for size in ("many", "few"):
            await database.connect(uri, size)
            for title, chosen in filters().items():
                await ask(chosen)
                found = await milliseconds(partial(ask, chosen))
                took.setdefault(title, {}).setdefault(size, []).append(found)
            await database.close()
    ratios = {
        title: statistics.median(
            many / few for many, few in zip(sizes["many"], sizes["few"], strict=True)
        )
        for title, sizes in took.items()
    }
    parts = {f"{title} (ratio)": ratio for title, ratio in ratios.items()}
    parts |= {f"{title}, ms": statistics.median(sizes["many"]) for title, sizes in took.items()}
    worst = max(ratios, key=lambda title: ratios[title])
    return Figure(name=name, value=ratios[worst], parts=parts, note=worst)


# --- the CSV ------------------------------------------------------------------------------------

COLUMNS = (
    *("_id", "created_at", "user_id", "type", "category", "amount_paise"),
    *("balance_after_paise", "description", "call_id", "campaign_id", "payment_id"),
)


def bare(uri: str) -> float:
    """Rows a second of the plainest program: a cursor, and `csv.writer`."""
    began, count = time.perf_counter(), 0
    with MongoClient[Document](uri) as client, Path("/dev/null").open("w") as sink:
        writer = csv.writer(sink)
        found = client["many"].transactions.find({}, dict.fromkeys(COLUMNS, 1))
        for row in found.sort([("user_id", 1), ("seq", 1)]):
            cells: list[Any] = [row.get(name) for name in COLUMNS]
            cells[1] = cells[1].isoformat()
            cells[5], cells[6] = cells[5] / 100, cells[6] / 100
            writer.writerow(cells)
            count += 1
    return count / (time.perf_counter() - began)


async def ours(entries: int) -> tuple[float, float]:
    """Rows a second of the download of everybody's entries, and how many MB the process grew."""
    before = peak = memory_mb()
    began, count = time.perf_counter(), -1  # the line of the names
    async for piece in csv_of(Filter(), for_admin=True):
        count += piece.encode().count(b"\r\n")
        peak = max(peak, memory_mb())
    if count != entries:
        raise SystemExit(f"the CSV has {count} rows, not {entries}")
    return count / (time.perf_counter() - began), peak - before


def memory_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


async def csv_figures(uri: str, scale: Scale, entries: int) -> list[Figure]:
    await database.connect(uri, "many")
    beside, speeds, grown = [], [], []
    for _ in range(scale.rounds):
        beside.append(await asyncio.to_thread(bare, uri))
        speed, megabytes = await ours(entries)
        speeds.append(speed)
        grown.append(megabytes)
    await database.close()
    parts = ("ours, rows/s", "bare, rows/s")
    return [
        ratio_of("csv_speed", speeds, beside, parts=parts),
        Figure(name="csv_memory", value=max(grown), unit="MB", rounds=grown),
    ]


# --- all of it ----------------------------------------------------------------------------------


async def sums_are_right() -> None:
    found = await totals.summary(Filter())
    counted = await db.transactions.count_documents({})
    if found.credit_count + found.debit_count != counted:
        raise SystemExit(f"{found} of {counted} entries")


async def first_times(uri: str) -> list[Figure]:
    """What the worker does once, and what metrics cost before and after it."""
    figures = []
    await database.connect(uri, "few")
    await totals.keep_closed_days()
    await database.close()
    await database.connect(uri, "many")
    today = clock.ist_date(clock.now())
    since = str(today - dt.timedelta(days=299))
    windows = analytics.windows_of(fields.period_of(since, None))
    year = partial(totals.summary, Filter(period=fields.period_of(since, None)))
    for title, ask in (
        ("closed days added up, once", totals.keep_closed_days),
        ("metrics of 300 days", partial(analytics.metrics, windows)),
        ("everybody's 300 days", year),
        (
            "customers with a low balance, a page of 50",
            partial(customers.list_customers, search=None, low_balance=True, limit=50, cursor=None),
        ),
    ):
        took = await milliseconds(ask, times=1)
        figures.append(Figure(name=title, value=took, unit="ms"))
    await sums_are_right()
    await database.close()
    return figures


async def measure(scale: Scale, folder: Path) -> list[Figure]:
    """Pages, sums and the CSV."""
    config.use(config.Settings(_env_file=None, jwt_secret=SecretStr("only for the benchmark")))
    entries = scale.count(ENTRIES, at_least=FEW_ENTRIES)
    running = embedded_mongodb.start(folder)
    try:
        await fill(running.uri, "few", FEW_ENTRIES, FEW_WALLETS)
        await fill(running.uri, "many", entries, WALLETS)
        once = await first_times(running.uri)
        pages = partial(transactions.list_transactions, limit=50)
        return [
            await compared(running.uri, "history_pages", pages, scale),
            await compared(running.uri, "history_sums", totals.summary, scale),
            *await csv_figures(running.uri, scale, entries),
            *once,
        ]
    finally:
        running.stop()
        config.use(None)
