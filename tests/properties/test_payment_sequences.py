"""Any sequence of what Razorpay, browsers, admins and crashes do leaves the wallets as a plain model.

A state machine over HTTP against real processes, its steps drawn by Hypothesis: in CI 20 runs of
100 steps each; a long run:

    MACHINE_RUNS=100 .venv/bin/python -m pytest tests/properties/test_payment_sequences.py -s

The model is the plainest there is: what Razorpay's own records say was captured, refunded and lost,
less what was spent. After each run every wallet must equal it, and every invariant must hold. A run
begins with empty books: what it costs to reconcile does not grow with the runs before it.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from motor.motor_asyncio import AsyncIOMotorClient

from core import config
from tests.support import payments as paying
from tests.support.processes import Processes
from tests.support.service import Person

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., None])

RUNS = int(os.environ.get("MACHINE_RUNS", "6"))
STEPS = 100
_UNPAID_MAX = 3

SOON = """
from sandbox import events, refunds
events.FIRST_AFTER_SECONDS = refunds.PROCESSED_AFTER_SECONDS = 0.05
refunds.FAILS_LATE_AFTER_SECONDS = 0.1
"""

# What the next request to Razorpay, or its next webhook, meets.
FAULTS = [
    *("429", "500", "502_html", "error_null", "empty_list", "reset", "lost_connection"),
    *("captured_elsewhere", "merchant_balance_low", "refund_nonsense", "refund_in_progress"),
    *("refund_fails", "refund_fails_late", "webhook_lost", "webhook_repeated"),
    *("webhook_reordered", "webhook_late", "webhook_wrong_secret", "webhook_unsigned"),
]


class World:
    """The running service, and the one loop that speaks to it."""

    def __init__(self, folder: Path) -> None:
        self.runner = asyncio.Runner()
        self.whole = Processes(folder, prelude=SOON, signups_per_hour=1_000_000, log_level="ERROR")
        self.do(self.whole.start())
        self.admin = self.do(self.whole.service.admin())
        self.told: Counter[str] = Counter()
        self.wanted: Counter[str] = Counter()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    async def forget(self) -> None:
        """Empty the books of both sides, so that a run reconciles its own payments and not those of
        all runs before it; the users stay."""
        client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(self.whole.mongodb_uri())
        await paying.empty_the_books(client, self.whole.settings.mongodb_db)
        client.close()

    def close(self) -> None:
        self.do(self.whole.stop())
        self.do(self.whole.client.aclose())
        self.runner.close()
        config.use(None)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    opened = World(tmp_path)
    yield opened
    opened.close()


Drawn = tuple[str, dict[str, Any]]  # a step's name, and what was drawn for it
_steps: list[st.SearchStrategy[Drawn]] = []


def step(**drawn: st.SearchStrategy[Any]) -> Callable[[F], F]:
    """Make a method one of the steps. What is drawn never depends on what the service answered."""

    def register(method: F) -> F:
        _steps.append(st.tuples(st.just(method.__name__), st.fixed_dictionaries(drawn)))
        return method

    return register


class Machine:
    """What may happen, in any order, any number of times."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.service = world.whole.service
        self.people: list[Person] = []
        self.orders: list[tuple[Person, str]] = []
        self.proofs: list[tuple[Person, dict[str, str]]] = []
        self.disputes: list[str] = []
        self.unpaid = 0
        self.spent: Counter[str] = Counter()  # paise by user

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.world.do(work)

    def answered(self, what: str, answer: Any, *expected: int) -> Any:
        """Every answer is one that is documented, never a defect."""
        self.world.told[what] += 1
        assert answer.status_code in expected, (what, answer.status_code, answer.text)
        return answer.json() if answer.content else None

    def seldom(self, what: str, times: int) -> bool:
        """Whether what takes its time is left out: it happens once in so many."""
        self.world.wanted[what] += 1
        return self.world.wanted[what] % times != 0

    def outside(self, what: str, path: str, **body: Any) -> Any:
        return self.answered(
            what,
            self.do(self.service.client.post(f"/sandbox{path}", json=body)),
            200,
            201,
            204,
            400,
        )

    # --- customers ---

    def sign_up(self) -> None:
        self.people = [self.do(self.service.signup()) for _ in range(2)]

    @step(who=st.integers(0, 1), rupees=st.integers(10, 500))
    def open_an_order(self, who: int, rupees: int) -> None:
        if self.unpaid >= _UNPAID_MAX:  # the worker asks about each of them in its first minutes
            return
        person = self.people[who]
        path, body = "/api/payment/create-order", {"amount": rupees}
        opened = self.answered(
            "order", self.do(self.service.post(path, person, json=body)), 201, 502, 503
        )
        if "order_id" in opened:
            self.orders.append((person, opened["order_id"]))
            self.unpaid += 1

    @step(
        which=st.integers(0, 10**6),
        card=st.sampled_from([paying.GOOD, paying.GOOD, paying.AUTHORIZED, paying.DECLINED]),
    )
    def pay(self, which: int, card: str) -> None:
        if not self.orders:
            return
        person, order_id = self.orders[which % len(self.orders)]
        paid = self.outside("pay", f"/pay/{order_id}", card_number=card)
        if "razorpay_payment_id" in paid:
            self.unpaid -= 1
            self.proofs.append((person, paid))

    @step(which=st.integers(0, 10**6), times=st.integers(1, 3))
    def the_browser_comes_back(self, which: int, times: int) -> None:
        if not self.proofs:
            return
        person, proof = self.proofs[which % len(self.proofs)]

        async def verify() -> list[Any]:
            asked = (paying.verify(self.service, person, proof) for _ in range(times))
            return await asyncio.gather(*asked)

        for answer in self.do(verify()):
            self.answered("verify", answer, 200, 202, 409, 503)

    @step(which=st.integers(0, 10**6))
    def somebody_forges(self, which: int) -> None:
        if not self.proofs:
            return
        person, proof = self.proofs[which % len(self.proofs)]
        forged = proof | {"razorpay_signature": "0" * 64}
        self.answered("forged", self.do(paying.verify(self.service, person, forged)), 400)
        other = next(each for each in self.people if each is not person)
        self.answered("stolen", self.do(paying.verify(self.service, other, proof)), 404)
        hook = self.service.client.post(
            "/api/payment/webhook",
            json={"event": "payment.captured"},
            headers={"x-razorpay-signature": "0" * 64},
        )
        self.answered("forged webhook", self.do(hook), 400)

    @step(who=st.integers(0, 1), rupees=st.integers(1, 400))
    def spend(self, who: int, rupees: int) -> None:
        person = self.people[who]
        body = {"type": "debit", "amount": rupees, "reason": "what calls would cost"}
        path = f"/api/admin/users/{person.id}/adjustments"
        self.world.wanted["spend"] += 1
        key = {"Idempotency-Key": f"spend-{self.world.wanted['spend']}"}
        for _ in range(10):
            answer = self.do(self.service.post(path, self.world.admin, json=body, headers=key))
            if answer.status_code not in (409, 503):  # then it is not known, and asked again
                break
            self.do(asyncio.sleep(0.5))
        self.answered("spend", answer, 201, 402)
        if answer.status_code == 201:
            self.spent[person.id] += rupees * 100

    # --- money goes back ---

    @step(which=st.integers(0, 10**6), rupees=st.none() | st.integers(1, 300))
    def an_admin_refunds(self, which: int, rupees: int | None) -> None:
        if not self.proofs:
            return
        _, proof = self.proofs[which % len(self.proofs)]
        body = {"payment_id": proof["razorpay_payment_id"], "reason": "asked by mail"}
        if rupees is not None:
            body |= {"amount": rupees}  # type: ignore[dict-item]
        self.world.wanted["refund"] += 1
        key = {"Idempotency-Key": f"refund-{self.world.wanted['refund']}"}
        path = "/api/payment/refunds"
        answer = self.do(self.service.post(path, self.world.admin, json=body, headers=key))
        self.answered("refund", answer, 201, 404, 409, 422, 502, 503)

    @step(which=st.integers(0, 10**6), rupees=st.integers(1, 300))
    def somebody_refunds_in_the_dashboard(self, which: int, rupees: int) -> None:
        if not self.proofs:
            return
        _, proof = self.proofs[which % len(self.proofs)]
        path = f"/payments/{proof['razorpay_payment_id']}/refunds"
        self.outside("dashboard refund", path, amount=rupees * 100)

    @step(which=st.integers(0, 10**6))
    def a_bank_disputes(self, which: int) -> None:
        if not self.proofs:
            return
        _, proof = self.proofs[which % len(self.proofs)]
        # An amount that no refund has, so that the two cannot be taken for each other.
        path = f"/payments/{proof['razorpay_payment_id']}/disputes"
        made = self.outside("dispute", path, amount=100 * (which % 9 + 1) + 37)
        if "id" in made:
            self.disputes.append(made["id"])

    @step(
        which=st.integers(0, 10**6),
        end=st.sampled_from(["under_review", "won", "lost", "closed", "lost as refund"]),
    )
    def a_dispute_goes_on(self, which: int, end: str) -> None:
        if not self.disputes:
            return
        body: dict[str, Any] = {"status": end}
        if end == "lost as refund":
            body = {"status": "lost", "as_refund": True}
        self.outside(
            "dispute goes on", f"/disputes/{self.disputes[which % len(self.disputes)]}", **body
        )

    # --- the network, the operator, the machine ---

    @step(kind=st.sampled_from(FAULTS))
    def something_will_go_wrong(self, kind: str) -> None:
        self.outside("fault", "/faults", kind=kind, seconds=0.2)

    @step()
    def reconcile(self) -> None:
        if self.seldom("reconcile", 8):
            return
        path, body = "/api/admin/reconciliation/run", {"older_than_minutes": 0}
        answer = self.do(self.service.post(path, self.world.admin, json=body))
        self.answered("reconcile", answer, 200, 409)

    @step()
    def the_process_is_killed(self) -> None:
        if self.seldom("kill", 25):
            return
        self.world.told["kill -9"] += 1
        self.world.whole.kill()
        self.do(self.world.whole.start())

    # --- and in the end ---

    def check(self) -> None:
        """At rest, every wallet equals the model, and every invariant holds."""
        self.do(self._settled())
        for person in self.people:
            self.do(self._equals_the_model(person))
        audit = self.do(self.service.get("/api/admin/audit", self.world.admin))
        assert audit.json()["ok"], audit.json()["violations"]

    async def _settled(self) -> None:
        """All faults are over, and two reconciliations in a row find nothing: a refund that went
        off may still fail a moment later."""
        await paying.all_faults_over(self.service)
        agreed = 0
        for _ in range(60):
            path, body = "/api/admin/reconciliation/run", {"older_than_minutes": 0}
            report = await self.service.post(path, self.world.admin, json=body)
            open_ones = [
                each
                for person in self.people
                for each in (await self.service.get("/api/payment/refunds", person)).json()[
                    "refunds"
                ]
                if each["status"] == "pending"
            ]
            rests = report.status_code == 200 and report.json()["ok"] and not open_ones
            agreed = agreed + 1 if rests else 0
            if agreed == 2:
                return
            await asyncio.sleep(0.15)
        raise AssertionError(f"it does not come to rest: {report.text} {open_ones}")

    async def _equals_the_model(self, person: Person) -> None:
        mine = [order_id for owner, order_id in self.orders if owner is person]
        net_paise = -self.spent[person.id]
        for order_id in mine:
            shown = (await self.service.get(f"/api/payment/orders/{order_id}", person)).json()
            for payment in shown["payments"]:
                if payment["outcome"] == "credited":
                    net_paise += await self._kept_paise(payment["payment_id"])
                elif payment["review_reason"] == "second_payment" and (
                    payment["status"] == "authorized"
                ):
                    continue  # it came to an order that was paid: its money is never taken
                elif payment["outcome"] == "review":  # it went back before it could be credited
                    refunds = await self._razorpay(f"/payments/{payment['payment_id']}/refunds")
                    assert refunds["items"], str((payment, shown["message"]))
                else:
                    assert payment["status"] in ("failed", "created"), str((payment, shown))
        balance = await self.service.balance(person)
        paise = round(balance["balance"] * 100) - round(balance["due"] * 100)
        assert paise == net_paise, (balance, net_paise)
        audit = await self.service.get(f"/api/admin/audit?user_id={person.id}", self.world.admin)
        assert audit.json()["ok"], audit.json()["violations"]

    async def _kept_paise(self, payment_id: str) -> int:
        """What Razorpay's records say of a captured payment: its amount less what went back."""
        kept_paise: int = (await self._razorpay(f"/payments/{payment_id}"))["amount"]
        refunds = (await self._razorpay(f"/payments/{payment_id}/refunds"))["items"]
        lost = []
        for dispute_id in self.disputes:
            dispute = await self._razorpay(f"/disputes/{dispute_id}")
            if dispute["payment_id"] == payment_id and dispute["status"] == "lost":
                lost.append(dispute["amount_deducted"])
        kept_paise -= sum(lost)
        for refund in refunds:
            if refund["status"] != "processed":
                continue
            if refund["amount"] in lost:  # the same loss, told as a refund
                lost.remove(refund["amount"])
            else:
                kept_paise -= refund["amount"]
        return kept_paise

    async def _razorpay(self, path: str) -> Any:
        chosen = self.world.whole.settings
        auth = (chosen.gateway_key_id, chosen.gateway_key_secret)
        answer = await self.service.client.get(f"/sandbox/v1{path}", auth=auth)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.mark.timeout(300 + 30 * RUNS)
def test_any_sequence_of_events_leaves_the_wallets_as_the_plain_model(world: World) -> None:
    done = 0

    @settings(
        max_examples=RUNS,
        deadline=None,
        database=None,
        phases=[Phase.generate],  # to shrink it takes minutes, and the steps are told anyway
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(st.one_of(_steps), min_size=STEPS, max_size=STEPS))
    def run(steps: list[Drawn]) -> None:
        nonlocal done
        world.do(world.forget())
        machine = Machine(world)
        machine.sign_up()
        for name, drawn in steps:
            getattr(machine, name)(**drawn)
            done += 1
        machine.check()

    run()
    print(f"{done} steps, over HTTP {sum(world.told.values())}: {dict(world.told)}")
    assert done >= RUNS * STEPS
