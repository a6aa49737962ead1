"""Refunds and disputes told by many at once, with delays anywhere: the wallet ends as a plain model says.

Each run is one customer with three payments. Refunds are made and fail at Razorpay, disputes are
opened, decided, paid back by a refund, and opened again in a new phase, while every piece of news is
told one to three times, each at its own time, and every step of ours may be slow. Then all are told
twice more, a person decides what is unclear as it really was, and wallet and model are compared.

    RACE_RUNS=5000 .venv/bin/python -m pytest tests/properties/test_refund_dispute_races.py -s
"""

import asyncio
import contextlib
import contextvars
import logging
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

import disputes
import gateway
import ledger
import payments
import refunds
import wallet
from core import clock, config, database, leases
from core.database import db
from core.errors import Unavailable
from disputes import NotPairable
from gateway import entities
from reconciliation import webhooks
from reporting import audit
from sandbox import disputes as sandbox_disputes
from sandbox import refunds as sandbox_refunds
from sandbox.disputes import Disputes, dispute_entity
from sandbox.faults import Faults
from sandbox.payments import PaymentStore
from sandbox.refunds import Refunds, refund_entity
from sandbox.responses import Refusal
from tests.support.service import committer

RUNS = int(os.environ.get("RACE_RUNS", "24"))
SEED = int(os.environ.get("RACE_SEED", "1"))
AT_ONCE = 16
LATE_SECONDS = 0.02

_rng: contextvars.ContextVar[random.Random] = contextvars.ContextVar("rng")


# --- Razorpay's records, asked without HTTP ------------------------------------------------------


class Razorpay:
    """The sandbox's own records and rules."""

    def __init__(self, uri: str, name: str) -> None:
        self.store = PaymentStore(uri, name, "no-secret-needed")

    async def start(self) -> None:
        await self.store.start()
        self.refunds = Refunds(self.store, Faults(self.store.database))
        self.disputes = Disputes(self.store, self.refunds)
        await self.refunds.start()
        await self.disputes.start()
        await self.store.outbox.switch(enabled=False)

    async def fetch_refund(self, refund_id: str) -> entities.Refund:
        return entities.read_refund(refund_entity(await self.refunds.refund(refund_id)))

    async def fetch_dispute(self, dispute_id: str) -> entities.Dispute:
        return entities.read_dispute(dispute_entity(await self.disputes.dispute(dispute_id)))


@pytest.fixture
async def razorpay(mongodb_uri: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Razorpay]:
    """Our wallet and Razorpay's records in this process, with delays in every step of ours."""
    monkeypatch.setattr(sandbox_refunds, "PROCESSED_AFTER_SECONDS", 0.05)
    monkeypatch.setattr(logging.root.manager, "disable", logging.ERROR)  # thousands of disputes
    async with committer(mongodb_uri) as chosen:
        there = Razorpay(mongodb_uri, f"{chosen.mongodb_db}_sandbox")
        await there.start()
        monkeypatch.setattr(gateway, "fetch_refund", there.fetch_refund)
        monkeypatch.setattr(gateway, "fetch_dispute", there.fetch_dispute)
        make_late(monkeypatch)
        yield there
        await database.client().drop_database(f"{config.settings().mongodb_db}_sandbox")
        await there.store.stop()


def make_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the calls wait before they are made, half of them before they answer."""

    def late(real: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def delayed(*given: Any, **named: Any) -> Any:
            rng = _rng.get(None)
            if rng is not None and rng.random() < 0.5:
                await asyncio.sleep(rng.random() * LATE_SECONDS)
            found = await real(*given, **named)
            if rng is not None and rng.random() < 0.5:
                await asyncio.sleep(rng.random() * LATE_SECONDS)
            return found

        return delayed

    for module, names in (
        (payments, ("find_payment", "claim_for_refund", "release_refund_claim")),
        (refunds, ("find_refund_by_gateway_id", "find_refunds_of_payments", "_get_refund_by_id")),
        (disputes, ("find_disputes_of_payments", "_freeze")),
        (gateway, ("fetch_refund", "fetch_dispute")),
        (wallet, ("post", "write_companions")),
    ):
        for name in names:
            monkeypatch.setattr(module, name, late(getattr(module, name)))


async def posted(credit: ledger.Credit) -> ledger.Entry:
    """The entry of this credit, however long the machine takes for it."""
    while True:
        try:
            outcome = await wallet.post(credit)
        except Unavailable:
            await asyncio.sleep(0.1)
        else:
            assert outcome.entry is not None
            return outcome.entry


# --- one run ------------------------------------------------------------------------------------


class Run:
    """One customer, what happens to their payments at Razorpay, and who tells us of it when."""

    def __init__(self, razorpay: Razorpay, seed: int) -> None:
        self.there = razorpay
        self.rng = random.Random(seed)
        self.user_id = f"usr_race{seed}"
        self.payment_ids = [f"pay_race{seed}n{number}" for number in range(3)]
        self.refund_ids: list[str] = []
        self.made_by_hand: list[str] = []
        self.dispute_ids: list[str] = []
        self.told: list[asyncio.Task[None]] = []
        self.log: list[str] = []
        self.decided_by_hand = 0

    async def recharge(self) -> None:
        """Three payments that are in the wallet: what may go back never becomes due."""
        at = clock.now()
        paid = list(zip(self.payment_ids, (10_000, 10_000, 30_000), strict=True))
        entries = await asyncio.gather(*(self._credited(*each) for each in paid))
        ours, orders, theirs = [], [], []
        for (payment_id, paise), entry in zip(paid, entries, strict=True):
            order_id = payment_id.replace("pay_", "order_")
            ours.append(
                {
                    "_id": payment_id,
                    "user_id": self.user_id,
                    "order_id": order_id,
                    "amount_paise": database.long(paise),
                    "status": "captured",
                    "created_at": at,
                    "transaction_id": entry.id,
                }
            )
            orders.append(
                {
                    "_id": order_id.replace("order_", "rcpt_"),
                    "user_id": self.user_id,
                    "order_id": order_id,
                    "payment_id": payment_id,
                    "mode": "sandbox",
                    "amount_paise": database.long(paise),
                    "currency": "INR",
                    "status": "paid",
                    "created_at": at,
                    "updated_at": at,
                    "transaction_id": entry.id,
                    "paid_at": at,
                }
            )
            theirs.append(
                {
                    "_id": payment_id,
                    "order_id": order_id,
                    "amount": paise,
                    "amount_refunded": 0,
                    "currency": "INR",
                    "status": "captured",
                    "captured_at": at,
                    "created_at": at,
                }
            )
        await db.payments.insert_many(ours)
        await db.orders.insert_many(orders)
        await self.there.store.payments.insert_many(theirs)

    async def _credited(self, payment_id: str, paise: int) -> ledger.Entry:
        credit = ledger.Credit(
            user_id=self.user_id,
            key=f"recharge:{payment_id}",
            category="recharge",
            amount_paise=paise,
            contra="gateway:razorpay",
            description="Recharge",
            order_id=payment_id.replace("pay_", "order_"),
            payment_id=payment_id,
        )
        return await posted(credit)

    def tell(self, kind: str, entity_id: str) -> None:
        """Let one to three processes hear of it, each at its own time."""

        async def once(pause_seconds: float) -> None:
            await asyncio.sleep(pause_seconds)
            await self.hear(kind, entity_id)

        for _ in range(self.rng.randint(1, 3)):
            self.told.append(asyncio.create_task(once(self.rng.random() * 0.06)))

    async def hear(self, kind: str, entity_id: str) -> None:
        while True:
            try:
                if kind == "refund":
                    await webhooks.apply_refund_update(await gateway.fetch_refund(entity_id))
                else:
                    await disputes.apply_update(await gateway.fetch_dispute(entity_id))
            except Unavailable:  # 503: the outbox brings it again
                await asyncio.sleep(0.1)
            else:
                return

    async def happen(self) -> None:
        """Three to seven things happen at Razorpay, if as many can; what it refuses does not."""
        steps = {
            "refund": self.refund,
            "dispute": self.dispute,
            "decide": self.decide,
            "fail": self.fail,
            "phase": self.phase,
        }
        wanted = self.rng.randint(3, 7)
        for _ in range(4 * wanted):
            before = len(self.log)
            what = self.rng.choice(["refund", "dispute", "decide", "decide", "fail", "phase"])
            with contextlib.suppress(Refusal):
                await steps[what]()
            if len(self.log) > before:
                wanted -= 1
                await asyncio.sleep(self.rng.random() * 0.06)
            if wanted == 0:
                break
        await asyncio.gather(*self.told)

    async def refund(self) -> None:
        body = {"amount": self.rng.choice([2_000, 4_000])}
        made = await self.there.refunds.from_outside(self.payment_ids[0], body)
        self.refund_ids.append(made["_id"])
        self.made_by_hand.append(made["_id"])
        self.log.append(f"{made['_id']} {body}")
        self.tell("refund", made["_id"])

    async def dispute(self) -> None:
        body = {"amount": self.rng.choice([2_000, 4_000])}
        made = await self.there.disputes.open(self.payment_ids[1], body)
        self.dispute_ids.append(made["_id"])
        self.log.append(f"{made['_id']} {body}")
        self.tell("dispute", made["_id"])

    async def decide(self) -> None:
        if not self.dispute_ids:
            return
        dispute_id = self.rng.choice(self.dispute_ids)
        body: dict[str, Any] = {"status": self.rng.choice(["won", "lost", "lost", "closed"])}
        if body["status"] == "lost" and self.rng.random() < 0.4:
            body["as_refund"] = True
        changed = await self.there.disputes.change(dispute_id, body)
        self.log.append(f"{dispute_id} {body}")
        self.tell("dispute", dispute_id)
        if "as_refund" in body:
            paid_by = changed["paid_by"][-1]
            self.refund_ids.append(paid_by)
            self.log.append(f"{dispute_id} is paid back by {paid_by}")
            self.tell("refund", paid_by)

    async def fail(self) -> None:
        if self.made_by_hand:
            refund_id = self.rng.choice(self.made_by_hand)
            await self.there.refunds.change(refund_id, {"status": "failed"})
            self.log.append(f"{refund_id} failed")
            self.tell("refund", refund_id)

    async def phase(self) -> None:
        if self.dispute_ids:
            dispute_id = self.rng.choice(self.dispute_ids)
            phase = self.rng.choice(sandbox_disputes.PHASES[-2:])
            await self.there.disputes.change(dispute_id, {"phase": phase})
            self.log.append(f"{dispute_id} {phase}")
            self.tell("dispute", dispute_id)

    async def come_to_rest(self) -> None:
        """Everything is told twice more, and a person decides what is unclear."""
        await asyncio.sleep(0.06)
        for _ in range(2):
            for refund_id in self.refund_ids:
                await self.hear("refund", refund_id)
            for dispute_id in self.dispute_ids:
                await self.hear("dispute", dispute_id)
        while unclear := await db.disputes.find_one(
            {"user_id": self.user_id, "unclear.at": {"$type": "date"}}
        ):
            self.decided_by_hand += 1
            for dispute_id in unclear["unclear"]["dispute_ids"]:
                await self.decide_by_hand(dispute_id)
            await disputes.resolve(unclear["_id"], action="keep", by="usr_admin", reason="seen")

    async def decide_by_hand(self, dispute_id: str) -> None:
        """What an admin does who sees in Razorpay's dashboard which refund was made for what."""
        there = await self.there.disputes.dispute(dispute_id)
        paid_by = there.get("paid_by", [])
        reason = {"by": "usr_admin", "reason": "as Razorpay's dashboard says"}
        record = await db.disputes.find_one({"_id": dispute_id})
        assert record is not None
        latest = paid_by[-1] if there["status"] == "lost" and there["by_refund"] else None
        for paired in await db.refunds.find({"dispute_id": dispute_id}).to_list(None):
            says_latest = record["refund_id"] == paired["_id"]  # it may be of an earlier phase
            if paired["_id"] not in paid_by or (says_latest and paired["_id"] != latest):
                await disputes.resolve(
                    dispute_id, action="unpair", refund_id=paired["_id"], **reason
                )
        if latest is not None:
            await disputes.resolve(dispute_id, action="pair", refund_id=latest, **reason)
        else:
            with contextlib.suppress(NotPairable):
                await disputes.resolve(dispute_id, action="keep", **reason)

    async def difference(self) -> str | None:
        """What differs from the plain model: each refund that went off and each loss that no refund
        paid back is gone, each open dispute is reserved."""
        balance_paise, held_paise = 50_000, 0
        mine = {"payment_id": {"$in": self.payment_ids}}
        for refund in await self.there.refunds.refunds.find(mine).to_list(None):
            if refund["status"] == "processed":
                balance_paise -= refund["amount"]
        for dispute in await self.there.disputes.disputes.find(mine).to_list(None):
            if dispute["status"] == "lost" and not dispute["by_refund"]:
                balance_paise -= dispute["amount"]
            if dispute["status"] == "open":
                held_paise += dispute["amount"]
        found = await wallet.get_balance(self.user_id)
        got = (found.balance_paise, found.held_paise, found.due_paise)
        wanted = (balance_paise, held_paise, 0)
        return None if got == wanted else await self.described(f"{got}, not {wanted}")

    async def described(self, what: str) -> str:
        """What was found, what had happened, and the records at the end."""
        records = [
            [each async for each in collection.find({"user_id": self.user_id})]
            for collection in (db.refunds, db.disputes)
        ]
        return f"{self.user_id}: {what}: {self.log} {records}"


async def run_one(razorpay: Razorpay, seed: int) -> tuple[Run, str | None]:
    """A run at its end, and the difference that it ends with, if there is one."""
    run = Run(razorpay, seed)
    _rng.set(run.rng)
    await run.recharge()
    await run.happen()
    await run.come_to_rest()
    return run, await run.difference()


@pytest.mark.timeout(300 + RUNS)
async def test_however_refunds_and_disputes_are_told_the_wallet_ends_as_the_plain_model(
    razorpay: Razorpay,
) -> None:
    async def one(seed: int) -> tuple[Run, str | None]:
        return await asyncio.create_task(run_one(razorpay, seed))

    seeds = [SEED * 1_000_000 + number for number in range(RUNS)]
    ended = await leases.gather_bounded(one, seeds, AT_ONCE)
    different = [difference for _, difference in ended if difference is not None]
    # One audit of all wallets costs less than one of each.
    runs = {run.user_id: run for run, _ in ended}
    for violation in (await audit.audit()).violations:
        run = runs.get(violation.user_id or "")
        different.append(await run.described(str(violation)) if run else str(violation))
    happened = sum(len(run.log) for run in runs.values())
    by_hand = sum(1 for run in runs.values() if run.decided_by_hand)
    print(f"{RUNS} runs, {happened} events, {by_hand} with a decision by hand")
    print(f"{len(different)} differences", *different, sep="\n")
    assert different == []
