"""The group commit against the textbook transaction: both designs, one run, one MongoDB.

    .venv/bin/python -m tests.bench.ledger [--callers 32] [--rounds 3] [--seconds 5]

The textbook: for every posting a MongoDB transaction with a conditional update of the wallet and an
insert of the entry. The group commit: `wallet.post`, as the service uses it. Both write the same
documents to collections with the same indexes and validators, with `w=majority`, in a process whose
garbage collector is set as the service sets it. Rounds alternate, so that a slower moment of the
machine hits both; the ratio is what counts, not the figures.
"""

import argparse
import asyncio
import itertools
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from typing import cast

import uvloop
from pydantic import SecretStr

import ledger
import main as service
import transactions
import wallet
from core import clock, config, database, embedded_mongodb
from core.database import db
from core.errors import InsufficientBalance
from ledger import Credit, Debit

START_PAISE = 10**11
PAISE = 10

Post = Callable[[Debit], Awaitable[object]]


def spend(user_id: str, key: str) -> Debit:
    return Debit(
        user_id=user_id,
        key=key,
        category="call_charge",
        amount_paise=PAISE,
        contra="revenue:calls",
        description="Call",
    )


async def textbook(command: Debit) -> None:
    """One posting, one transaction, repeated by the driver while another one was first."""

    async def body(session: database.Session) -> None:
        after = await db.wallets.find_one_and_update(
            {"user_id": command.user_id, "balance_paise": {"$gte": command.amount_paise}},
            {
                "$inc": {
                    "balance_paise": -command.amount_paise,
                    "debited_paise": command.amount_paise,
                    "seq": 1,
                    "version": 1,
                    "debit_count": 1,
                }
            },
            return_document=True,
            session=session,
        )
        if after is None:
            raise InsufficientBalance("", required_paise=0, available_paise=0)
        state = wallet.wallet_from(cast(wallet.WalletRecord, after))
        # The same entry as the group commit writes, as far as one posting alone can know it.
        entry = ledger.Entry(
            id=ledger.entry_id(command.user_id, command.key),
            user_id=command.user_id,
            seq=state.seq,
            type="debit",
            category=command.category,
            amount_paise=command.amount_paise,
            balance_after_paise=state.balance_paise,
            contra=command.contra,
            key=command.key,
            description=command.description,
            credited_paise=state.credited_paise,
            debited_paise=state.debited_paise,
            credit_count=state.credit_count,
            debit_count=state.debit_count,
            created_at=clock.now(),
            prev_hash=ledger.GENESIS_HASH,
            hash=ledger.GENESIS_HASH,
        )
        await transactions.append([entry], session)

    await database.atomic(body)


async def group(command: Debit) -> None:
    await wallet.post(command)


async def measure(
    design: str, post: Post, *, wallets: int, callers: int, seconds: float
) -> tuple[float, float]:
    """Postings a second and their p99 in milliseconds, over wallets of its own."""
    run = database.new_id("run")
    people = [f"{design}_{run}_{n}" for n in range(wallets)]
    await asyncio.gather(
        *(
            wallet.post(
                Credit(
                    user_id=user_id,
                    key="start",
                    category="recharge",
                    amount_paise=START_PAISE,
                    contra="gateway:razorpay",
                    description="Start",
                )
            )
            for user_id in people
        )
    )
    numbers, latencies = itertools.count(), []
    began = time.perf_counter()
    until = began + seconds

    async def caller() -> None:
        while (now := time.perf_counter()) < until:
            n = next(numbers)
            await post(spend(people[n % wallets], f"{run}:{n}"))
            latencies.append(time.perf_counter() - now)

    await asyncio.gather(*(caller() for _ in range(callers)))
    took = time.perf_counter() - began
    spent = 0
    async for document in db.wallets.find({"user_id": {"$in": people}}):
        spent += START_PAISE - document["balance_paise"]
    if spent != PAISE * len(latencies):
        raise SystemExit(f"{design}: {len(latencies)} postings, but {spent} paise were spent")
    latencies.sort()
    return len(latencies) / took, latencies[int(len(latencies) * 0.99)] * 1_000


async def compare(wallets: int, callers: int, rounds: int, seconds: float) -> float:
    """The median ratio of group commit to textbook, printed round by round."""
    ratios = []
    for number in range(1, rounds + 1):
        slow, slow_p99 = await measure(
            "textbook", textbook, wallets=wallets, callers=callers, seconds=seconds
        )
        fast, fast_p99 = await measure(
            "group", group, wallets=wallets, callers=callers, seconds=seconds
        )
        ratios.append(fast / slow)
        print(
            f"{wallets:>5} wallets, {callers} callers, round {number}: "
            f"textbook {slow:7.0f}/s (p99 {slow_p99:7.1f} ms)   "
            f"group commit {fast:7.0f}/s (p99 {fast_p99:6.1f} ms)   ratio {fast / slow:6.1f}",
            flush=True,
        )
    return statistics.median(ratios)


async def run(arguments: argparse.Namespace, uri: str) -> None:
    config.use(config.Settings(_env_file=None, jwt_secret=SecretStr("only for the benchmark")))
    await database.connect(uri, "bench_ledger")
    await database.prepare()
    await wallet.start()
    service.calm_the_collector()
    one = await compare(1, arguments.callers, arguments.rounds, arguments.seconds)
    many = await compare(1_000, arguments.callers, arguments.rounds, arguments.seconds)
    print(f"one busy wallet: {one:.1f} × the textbook transaction (asked for: 50)")
    print(f"1,000 wallets:   {many:.1f} × the textbook transaction (asked for: 4)")
    await wallet.stop()
    await database.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--callers", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        running = embedded_mongodb.start(folder)
        try:
            uvloop.run(run(arguments, running.uri))
        finally:
            running.stop()


if __name__ == "__main__":
    main()
