"""Writes the databases of release 0.2.1 that `tests/project/test_release_0_2_1.py` opens.

It ran on commit 8641b0e (release 0.2.1), with this folder copied into the checkout:

    .venv/bin/python -m tests.release_0_2_1.generate

It starts `manage.py run` with the embedded MongoDB, is the customers, the admins, the telephone network
and the banks behind Razorpay over HTTP, and writes two files:

- `quiet.json.gz`: nothing is under way; beside the databases, what 0.2.1 answers to every question.
- `killed.json.gz`: the same service a little later, in the middle of its work, after `kill -9`.

It runs about a minute and a half. It is kept so that it can be read what is in the files; it is of use
on that commit alone.
"""

import asyncio
import contextlib
import datetime as dt
import hmac
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from pymongo import MongoClient
from pymongo.database import Database

from tests.release_0_2_1 import snapshot
from tests.release_0_2_1.snapshot import ApiClient, Document, Question, Snapshot

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "monsoon in pune"
GOOD, DECLINED, LATE = "4111 1111 1111 1111", "4000 0000 0000 0002", "4000 0000 0000 3220"
NUMBER = "+919876543210"

SETTINGS = {
    "APP_ENV": "test",
    "MONGODB_DB": "wallet",
    "JWT_SECRET": "a-secret-for-the-tests-only-0123456789",
    "RAZORPAY_WEBHOOK_SECRET": "another-secret-for-the-tests",
    "ADMIN_EMAIL": "admin@example.com",
    "ADMIN_PASSWORD": "an admin of the tests",
    "LOG_LEVEL": "WARNING",
    "LOGIN_ATTEMPTS_PER_MINUTE": "1000",
    "CALLS_PER_DAY": "1000",
    "DAILY_SPEND_CAP": "5000",
}

CARD_1 = """prefix,destination,rate_per_minute,first_pulse_seconds,pulse_seconds,connection_fee,valid_from
91,India,9,1,1,0,
9198,India mobile,15,30,15,0.50,2020-01-01
"""
CARD_2 = """prefix,destination,rate_per_minute
91,India,8.5
"""


class Writer(ApiClient):
    """Everybody who does something to the service of 0.2.1."""

    def __init__(self, folder: Path, port: int) -> None:
        super().__init__(httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60))
        self.folder, self.port = folder, port
        self.people: dict[str, Document] = {}
        self.questions: list[Question] = []
        self.replayed: list[Document] = []
        self.moment = ""
        self._process: subprocess.Popen[bytes] | None = None

    # --- the processes ---

    def environment(self) -> dict[str, str]:
        given = {"PORT": str(self.port), "DATA_DIR": str(self.folder), **SETTINGS}
        return {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/tmp"), **given}

    async def start(self) -> None:
        """`manage.py run`, and wait until it is ready."""
        self._process = subprocess.Popen(  # noqa: ASYNC220 - nothing else is to be done meanwhile
            [sys.executable, str(ROOT / "manage.py"), "run"],
            cwd=self.folder,
            env=self.environment(),
            start_new_session=True,
        )
        await self.until(self._is_ready)
        uri = (self.folder / "mongod" / "port").read_text().strip()
        self.mongodb_uri = f"mongodb://127.0.0.1:{uri}/?directConnection=true"
        self.mongo: MongoClient[Document] = MongoClient(self.mongodb_uri, tz_aware=True)
        self.db: Database[Document] = self.mongo["wallet"]

    async def _is_ready(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return (await self.client.get("/ready")).status_code == 200
        return False

    def kill(self) -> None:
        """`kill -9`; the embedded MongoDB stays."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop_mongod(self) -> None:
        """End what the killed service left behind."""
        self.mongo.close()
        pid = int((self.folder / "mongod" / "data" / "mongod.lock").read_text())
        os.kill(pid, signal.SIGTERM)
        with contextlib.suppress(ProcessLookupError):
            while True:
                os.kill(pid, 0)
                time.sleep(0.1)

    def command(self, *words: str) -> Document:
        """A command of `manage.py` beside the running service: its status and what it prints."""
        done = subprocess.run(
            [sys.executable, str(ROOT / "manage.py"), *words],
            cwd=self.folder,
            env={**self.environment(), "MONGODB_URI": self.mongodb_uri.partition("/?")[0]},
            capture_output=True,
            text=True,
            check=False,
        )
        return {"words": list(words), "status": done.returncode, "stdout": done.stdout}

    async def until(self, is_so: Callable[[], Any], seconds: float = 90) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := await is_so()):
            assert time.monotonic() < deadline, is_so
            await asyncio.sleep(0.05)
        return found

    # --- customers and admins ---

    async def sign_up(self, who: str, phone: str | None = None) -> None:
        person = {"email": f"{who}@example.com", "password": PASSWORD, "name": f"{who.title()} Rao"}
        body = {**person, "phone": phone}
        self.admit(who, await self.done("", "POST", "/api/auth/signup", json=body))
        self.people[who] = person

    async def post(self, who: str, path: str, **body: Any) -> Any:
        return await self.done(who, "POST", path, json=body)

    async def admin(self, path: str, **body: Any) -> Any:
        return await self.post("admin", f"/api/admin{path}", **body)

    async def order(self, who: str, amount: float) -> str:
        created = await self.post(who, "/api/payment/create-order", amount=amount)
        return str(created["order_id"])

    async def recharge(self, who: str, amount: float) -> str:
        paid = await self.pay(await self.order(who, amount))
        await self.post(who, "/api/payment/verify", **paid)
        return str(paid["razorpay_payment_id"])

    async def place(
        self, who: str, to: str = NUMBER, limit: int | None = None, **simulate: Any
    ) -> str:
        body: Document = {"to": to, "simulate": {"wall_seconds": 0.2, **simulate}}
        if limit is not None:
            body["max_duration_seconds"] = limit
        return str((await self.post(who, "/api/call", **body))["call_id"])

    async def call(self, who: str, **options: Any) -> str:
        """A call whose money is resolved."""
        call_id = await self.place(who, **options)
        await self.is_over(who, call_id)
        return call_id

    async def is_over(self, who: str, call_id: str) -> None:
        async def is_so() -> bool:
            call = await self.done(who, "GET", f"/api/calls/{call_id}")
            return call["billing_status"] in ("settled", "released")

        await self.until(is_so)

    async def campaign(self, who: str, name: str, count: int, **options: Any) -> str:
        first = 43210 + 100 * len(name)
        numbers = [f"+9198765{first + n}" for n in range(count)]
        fast = {"outcome": "completed", "duration_seconds": 30, "wall_seconds": 0.2}
        body = {"name": name, "numbers": [*numbers, "12345"], "simulate": fast, **options}
        created = await self.post(who, "/api/campaigns", **body)
        return str(created["campaign_id"])

    async def campaign_is(self, who: str, campaign_id: str, status: str) -> None:
        async def is_so() -> bool:
            found = await self.done(who, "GET", f"/api/campaigns/{campaign_id}")
            return bool(found["status"] == status)

        await self.until(is_so)

    async def refund_is(self, refund_id: str, status: str) -> Document:
        async def is_so() -> Any:
            found = await self.done("admin", "GET", f"/api/payment/refunds/{refund_id}")
            return found if found["status"] == status else None

        found: Document = await self.until(is_so)
        return found

    async def refund(self, payment_id: str, status: str = "processed", **body: Any) -> Document:
        body = {"payment_id": payment_id, "reason": "asked by mail", **body}
        asked = await self.post("admin", "/api/payment/refunds", **body)
        return await self.refund_is(asked["refund_id"], status)

    # --- Razorpay and the telephone network ---

    async def sandbox(self, where: str, **body: Any) -> Document:
        """Something that happens at Razorpay."""
        found: Document = await self.done("", "POST", f"/sandbox{where}", json=body)
        return found

    async def pay(self, order_id: str, card: str = GOOD) -> Document:
        """Pay an order; what Checkout hands over."""
        paid = await self.sandbox(f"/pay/{order_id}", card_number=card)
        return {name: paid[name] for name in paid if name.startswith("razorpay_")}

    async def fault(self, kind: str, **options: Any) -> None:
        await self.sandbox("/faults", kind=kind, **options)

    async def webhook(self, body: bytes | Document) -> None:
        """What somebody with Razorpay's secret sends."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        secret = SETTINGS["RAZORPAY_WEBHOOK_SECRET"].encode()
        headers = {"x-razorpay-signature": hmac.new(secret, raw, "sha256").hexdigest()}
        await self.done("", "POST", "/api/payment/webhook", content=raw, headers=headers)

    async def network_says(self, call_id: str, status: str, duration_seconds: int) -> None:
        """The simulator's callback, forged with its key: a network that errs."""
        simulated = self.db["simulated_calls"].find_one({"reference": call_id})
        assert simulated is not None
        told = {
            "event_id": f"{simulated['_id']}:{status}:{duration_seconds}",
            "provider_call_id": simulated["_id"],
            "status": status,
            "duration_seconds": duration_seconds,
            "occurred_at": dt.datetime.now(dt.UTC).isoformat(),
            "answered_at": None,
        }
        url, body = simulated["callback_url"], json.dumps(told).encode()
        token = hmac.new(SETTINGS["JWT_SECRET"].encode(), b"telephony simulator", "sha256")
        signature = hmac.new(token.hexdigest().encode(), url.encode() + b"\n" + body, "sha256")
        headers = {"x-simulator-signature": signature.hexdigest()}
        await self.done("", "POST", url, content=body, headers=headers)

    async def is_quiet(self) -> bool:
        """Nothing waits to be handled here, and Razorpay has nothing left to report."""
        waiting = (await self.done("", "GET", "/sandbox/webhooks?state=waiting"))["items"]
        return not waiting and self.db["events"].count_documents({"state": "pending"}) == 0


# --- what happens in quiet.json.gz --------------------------------------------------------------


async def the_readme(w: Writer) -> None:
    """README's flow, and an order that was declined and one that nobody paid."""
    await w.sign_up("asha", "98765 43210")
    assert (await w.send("asha", "POST", "/api/call", json={"to": NUMBER})).status_code == 402
    await w.recharge("asha", 100)
    await w.call("asha", outcome="completed", duration_seconds=30, wall_seconds=1.0)
    assert (await w.done("asha", "GET", "/api/wallet/balance"))["balance"] == 95.0
    w.moment = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    declined = await w.order("asha", 250)
    body = {"card_number": DECLINED}
    assert (await w.send("", "POST", f"/sandbox/pay/{declined}", json=body)).status_code == 400
    path, key, wanted = "/api/payment/create-order", "order-once-0001", {"amount": 150}
    headers = {"Idempotency-Key": key}
    created = await w.done("asha", "POST", path, json=wanted, headers=headers)
    w.replayed.append({"who": "asha", "path": path, "key": key, "body": wanted, "answer": created})


async def rates(w: Writer) -> None:
    """The single rate, a rate of somebody's own, a card in force, another from tomorrow on."""
    await w.done("admin", "POST", "/api/wallet/set-call-rate?rate=12.5")
    await w.sign_up("ravi")
    await w.admin(f"/users/{w.ids['ravi']}/call-rate", rate=7.5)
    await w.recharge("asha", 500)
    await w.call("asha", outcome="completed", duration_seconds=41)  # at the single rate
    tomorrow = (dt.datetime.now(dt.UTC) + dt.timedelta(days=1)).isoformat(timespec="seconds")
    for content, fields in ((CARD_1, {"note": "first"}), (CARD_2, {"effective_from": tomorrow})):
        file = {"file": ("card.csv", content, "text/csv")}
        await w.done("admin", "POST", "/api/admin/rate-cards", files=file, data=fields)
    await w.admin("/rate-cards/activate", version=None)
    await w.admin("/rate-cards/activate", version=1)


async def calls(w: Writer) -> None:
    """Single calls with every end, at the card's rate and at a rate of somebody's own."""
    await w.call("asha", outcome="completed", duration_seconds=61)
    await w.call("asha", to="+911123456789", outcome="completed", duration_seconds=20)
    for outcome in ("busy", "no_answer", "failed"):
        await w.call("asha", outcome=outcome)
    hung_up = await w.place("asha", wall_seconds=3_000.0)
    await w.post("asha", f"/api/calls/{hung_up}/hangup")
    await w.is_over("asha", hung_up)
    await w.recharge("ravi", 200)
    await w.call("ravi", outcome="completed", duration_seconds=90)
    await w.sign_up("kavya")
    await w.recharge("kavya", 300)
    for end in ("stays", "is resolved"):
        call_id = await w.place("kavya", limit=60, wall_seconds=3_000.0)
        await w.network_says(call_id, "completed", 3_600)
        if end == "is resolved":
            await w.admin(
                f"/calls/{call_id}/resolve", note="its record says 40 s", duration_seconds=40
            )


async def campaigns(w: Writer) -> None:
    """Completed, with nobody who answers, paused in the middle, a draft, canceled, frozen."""
    for name, outcome in (("Diwali", "completed"), ("Nobody home", "no_answer")):
        simulate = {"outcome": outcome, "duration_seconds": 30, "wall_seconds": 0.2}
        campaign_id = await w.campaign("asha", name, 5, simulate=simulate)
        await w.campaign_is("asha", campaign_id, "completed")
    paused = await w.campaign("asha", "Paused", 6, max_concurrent=1)

    async def has_begun() -> bool:
        found = await w.done("asha", "GET", f"/api/campaigns/{paused}")
        return bool(found["counts"]["answered"] >= 2)

    await w.until(has_begun)
    await w.post("asha", f"/api/campaigns/{paused}/pause")
    await w.campaign("asha", "Draft", 3, start=False)
    canceled = await w.campaign("asha", "Canceled at once", 3, start=False)
    await w.post("asha", f"/api/campaigns/{canceled}/cancel")
    await w.sign_up("farah")
    await w.recharge("farah", 120)
    slow = {"outcome": "completed", "duration_seconds": 30, "wall_seconds": 120.0}
    frozen = await w.campaign("farah", "Frozen", 4, max_concurrent=1, simulate=slow)
    await w.admin(f"/users/{w.ids['farah']}/freeze", reason="looks like toll fraud")
    await w.campaign_is("farah", frozen, "paused")


async def by_hand(w: Writer) -> None:
    """Adjustments, a freeze that is over, and refunds: in part, whole, failed, failed late, outside."""
    ravi = f"/users/{w.ids['ravi']}"
    await w.admin(f"{ravi}/adjustments", type="credit", amount=50, reason="goodwill")
    await w.admin(f"{ravi}/adjustments", type="debit", amount=20.25, reason="counted twice")
    await w.admin(f"{ravi}/freeze", reason="to be checked")
    await w.admin(f"{ravi}/unfreeze", reason="checked with the owner")
    await w.refund(await w.recharge("ravi", 100), amount=40)
    await w.refund(await w.recharge("ravi", 60))
    await w.fault("refund_fails")
    await w.refund(await w.recharge("ravi", 30), "failed", amount=10)
    late = await w.refund(await w.recharge("ravi", 35), amount=15)
    await w.sandbox(f"/refunds/{late['razorpay_refund_id']}", status="failed")
    await w.refund_is(late["refund_id"], "failed")
    await w.sandbox(f"/payments/{await w.recharge('ravi', 45)}/refunds", amount=2_500)


async def dues(w: Writer) -> None:
    """Money that went back although it was spent: still due, and paid by the next recharge."""
    for who in ("dilip", "gita"):
        await w.sign_up(who)
        payment_id = await w.recharge(who, 20)
        await w.call(who, outcome="completed", duration_seconds=45)
        await w.sandbox(f"/payments/{payment_id}/refunds", amount=2_000)

        async def is_due(who: str = who) -> bool:
            return bool((await w.done(who, "GET", "/api/wallet/balance"))["due"] > 0)

        await w.until(is_due)
    await w.recharge("gita", 80)


async def disputes(w: Writer) -> None:
    """Open, lost, won, and won after it was lost."""
    await w.sign_up("meera")
    for ends in (["open"], ["lost"], ["won"], ["lost", "won"]):
        payment_id = await w.recharge("meera", 70)
        dispute = await w.sandbox(f"/payments/{payment_id}/disputes", amount=4_000)
        for status in ends:
            if status == "open":
                continue
            again = {"phase": "pre_arbitration"} if ends[0] != status else {}
            await w.until(w.is_quiet)
            await w.sandbox(f"/disputes/{dispute['id']}", status=status, **again)
        await w.until(w.is_quiet)


async def reviews(w: Writer) -> None:
    """Payments that were not credited: waiting, gone back by themselves, resolved by an admin."""
    await w.sign_up("vikram")
    order_id = await w.order("vikram", 90)
    await w.post("vikram", "/api/payment/verify", **await w.pay(order_id))
    for facts in ({"status": "captured"}, {"status": "captured", "auto_refund": True}):
        await w.sandbox(f"/orders/{order_id}/payments", **facts)
        await w.until(w.is_quiet)
    mismatch = await w.order("vikram", 100)
    paid = await w.sandbox(f"/orders/{mismatch}/payments", status="captured", amount=10_236)
    await w.until(w.is_quiet)
    await w.admin(f"/payments/{paid['id']}/resolve", note="credited by an adjustment")
    adjustment = {"type": "credit", "amount": 102.36, "reason": "the payment with the fee"}
    await w.admin(f"/users/{w.ids['vikram']}/adjustments", **adjustment)


async def webhooks_and_settlement(w: Writer) -> None:
    """Dead webhooks, an ignored one, and Razorpay's settlement."""
    nobody = {"payment": {"entity": {"id": "pay_AAAAAAAAAAAAAA"}}}
    await w.webhook({"entity": "event", "event": "payment.captured", "payload": nobody})
    await w.webhook({"entity": "event", "event": "payment.downtime.started", "payload": {}})
    await w.webhook(b"no JSON")
    await w.sandbox("/settle")


# --- what is asked ------------------------------------------------------------------------------


async def ask_everything(w: Writer) -> None:
    """The questions, made from what there is."""
    for who in [each for each in w.people if each != "admin"]:
        await ask_about(w, who)
    today = dt.datetime.now(snapshot.INDIA).date().isoformat()
    for path in (
        f"metrics?from={today}&to={today}",
        "users?limit=3",
        "users?search=ravi",
        "users?low_balance=true",
        "users?low_balance=false",
        "rate-cards?limit=1",
        "rate-cards/1/download",
        "rate-cards/2/download",
        "disputes?limit=2",
        "disputes?state=reserved",
        "settlements",
        "audit",
        "webhooks?limit=10",
        "webhooks?state=dead",
        "webhooks?state=done",
        "webhooks?state=pending",
        "reconciliation?limit=5",
    ):
        w.questions.append(Question("admin", f"/api/admin/{path}"))
    tomorrow = (dt.datetime.now(dt.UTC) + dt.timedelta(days=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
    w.questions.append(Question("admin", f"/api/admin/rate-cards?at={tomorrow}"))
    moving = ["next_check_at", "message"]
    for path in (
        "transactions?limit=20",
        "transactions/download",
        "campaigns",
        "calls?limit=10",
        "payment/refunds?limit=4",
        "wallet/call-rate",
        "auth/me",
    ):
        w.questions.append(Question("admin", f"/api/{path}"))
    w.questions.append(Question("admin", "/api/payment/orders?limit=6", leave_out=moving))
    for who, user_id in w.ids.items():
        for path in (f"audit?user_id={user_id}", f"users/{user_id}/adjustments?limit=2"):
            w.questions.append(Question("admin", f"/api/admin/{path}"))
        if who != "admin":
            w.questions.append(Question("admin", f"/api/calls?user_id={user_id}"))


async def ask_about(w: Writer, who: str) -> None:
    """The questions of one person."""
    today = dt.datetime.now(snapshot.INDIA).date().isoformat()
    paths = [
        "auth/me",
        "wallet/balance",
        "wallet/call-rate",
        "payment/razorpay-key",
        "wallet/call-rate?to=%2B919876543210",
        "wallet/call-rate?to=%2B911123456789",
        "transactions?limit=3",
        "transactions?type=debit",
        "transactions?category=refund",
        f"transactions?from={today}&to={today}",
        f"transactions?from={w.moment}&limit=4",
        f"transactions?to={w.moment}",
        "transactions/download",
        "transactions/download?excel=true&type=credit",
        "payment/refunds?limit=2",
        "calls?limit=3",
        "calls?status=completed",
        "campaigns?limit=2",
        "campaigns?status=paused",
    ]
    pages = await w.done(who, "GET", "/api/transactions?limit=200")
    paths += [f"transactions/{entry['id']}" for entry in pages["transactions"]]
    charges = [entry for entry in pages["transactions"] if entry["call_id"]]
    paths += [f"transactions?call_id={entry['call_id']}" for entry in charges[:2]]
    for refund in (await w.done(who, "GET", "/api/payment/refunds?limit=200"))["refunds"]:
        paths += [f"payment/refunds/{refund['refund_id']}"]
    for call in (await w.done(who, "GET", "/api/calls?limit=200"))["calls"]:
        paths += [f"calls/{call['call_id']}"]
    for campaign in (await w.done(who, "GET", "/api/campaigns?limit=200"))["campaigns"]:
        campaign_id = campaign["campaign_id"]
        own = ("", "/contacts?limit=2", "/contacts?state=answered", "/results?excel=true")
        paths += [f"campaigns/{campaign_id}{part}" for part in own]
        paths += [f"transactions?campaign_id={campaign_id}"]
    moving = ["next_check_at", "message"]
    for order in (await w.done(who, "GET", "/api/payment/orders?limit=200"))["orders"]:
        is_open = order["status"] != "paid"
        path = f"/api/payment/orders/{order['order_id']}"
        w.questions.append(Question(who, path, leave_out=moving if is_open else []))
        paths += [f"payment/payments/{payment['payment_id']}" for payment in order["payments"]]
    w.questions += [Question(who, f"/api/{path}") for path in paths]
    w.questions.append(Question(who, "/api/payment/orders?limit=2", leave_out=moving))
    for to in (NUMBER, "+911123456789", "+15005550006"):
        body = {"to": to, "duration_seconds": 47}
        w.questions.append(Question(who, "/api/calls/quote", "POST", body))


# --- what is under way --------------------------------------------------------------------------


async def under_way(w: Writer) -> Document:
    """Begin what 0.2.1 does not end before it is killed; what the test has to know of it."""
    await w.sign_up("leela")
    payment_id = await w.recharge("leela", 900)
    await w.fault("refund_slow", path=f"/payments/{payment_id}/refund")
    refund = await w.refund(payment_id, "pending", amount=33)

    async def is_known_there() -> Any:
        found = await w.done("admin", "GET", f"/api/payment/refunds/{refund['refund_id']}")
        return found["razorpay_refund_id"]

    told = await w.until(is_known_there)
    await w.until(w.is_quiet)
    # A webhook whose refund cannot be asked for stays pending.
    await w.fault("500", path=f"/refunds/{told}", count=1_000)
    payload = {"refund": {"entity": {"id": told}}}
    await w.webhook({"entity": "event", "event": "refund.processed", "payload": payload})
    stuck = {"state": "pending", "failure": {"$type": "string"}}

    async def is_stuck() -> bool:
        return w.db["events"].find_one(stuck) is not None

    await w.until(is_stuck)
    ringing = await w.place("leela", wall_seconds=3_600.0)
    ends_later = await w.place("leela", duration_seconds=50, wall_seconds=68.0)
    ended_meanwhile = await w.place("leela", duration_seconds=14, wall_seconds=20.0)
    late, unverified = await w.order("leela", 70), await w.order("leela", 80)
    slow = {"outcome": "completed", "duration_seconds": 30, "wall_seconds": 1.5}
    running = await w.campaign("leela", "Running", 16, max_concurrent=4, simulate=slow)
    talks = {"status": "in_progress", "_id": ended_meanwhile}

    async def is_in_the_middle() -> bool:
        counts = (await w.done("leela", "GET", f"/api/campaigns/{running}"))["counts"]
        talking = w.db["calls"].find_one(talks) is not None
        return bool(counts["in_call"] and counts["answered"] >= 4 and talking)

    await w.until(is_in_the_middle)
    await w.pay(late, LATE)
    await w.pay(unverified)
    # While Razorpay does not answer, this process handles no other event: they pile up.
    await w.done("", "DELETE", "/sandbox/faults")
    await w.fault("timeout", path=f"/refunds/{told}", seconds=60)
    await w.webhook({"entity": "event", "event": "refund.created", "payload": payload})

    async def pile_up() -> bool:
        waiting = {each["name"] for each in w.db["events"].find({"state": "pending"})}
        return waiting >= {"RazorpayReported", "WalletCredited", "CallEnded"}

    await w.until(pile_up)
    await w.done("", "DELETE", "/sandbox/faults")
    return {
        "who": "leela",
        "calls": {"ringing": ringing, "ends": [ends_later, ended_meanwhile]},
        "orders": [late, unverified],
        "recharged": 900 + 70 + 80,
        "refunded": 33,
        "campaign_id": running,
        "refund": {"refund_id": refund["refund_id"], "razorpay_refund_id": told},
    }


# --- the two files ------------------------------------------------------------------------------


def keep(w: Writer, name: str, began_at: dt.datetime, **more: Any) -> None:
    """Write the databases as they are now."""
    about = {
        "release": "0.2.1",
        "commit": "8641b0e",
        "port": w.port,
        "began_at": began_at.isoformat(),
        "ended_at": dt.datetime.now(dt.UTC).isoformat(),
        "settings": SETTINGS,
        "people": w.people,
        **more,
    }
    databases = {
        "service": snapshot.dump(w.mongo["wallet"]),
        "sandbox": snapshot.dump(w.mongo["wallet_sandbox"]),
    }
    print(name, snapshot.write(name, Snapshot(about, databases)), "bytes")


async def write_quiet(w: Writer, began_at: dt.datetime) -> None:
    """Everything that comes to rest, and the answers of 0.2.1 to every question about it."""
    for chapter in (the_readme, rates, calls, campaigns, by_hand, dues, disputes, reviews):
        await chapter(w)
        print(chapter.__name__, flush=True)
    await webhooks_and_settlement(w)
    await w.until(w.is_quiet)
    await asyncio.sleep(6)  # Razorpay says what a payment cost five seconds after its capture
    await w.admin("/reconciliation/run", older_than_minutes=0)
    repeated = await w.admin("/reconciliation/run", older_than_minutes=0)
    await w.until(w.is_quiet)
    await ask_everything(w)
    answers = [
        {"question": vars(question), "answer": await w.answer(question)} for question in w.questions
    ]
    again = [await w.answer(question) for question in w.questions]
    for kept, second in zip(answers, again, strict=True):
        assert kept["answer"] == second, kept["question"]
    keep(
        w,
        "quiet",
        began_at,
        answers=answers,
        replayed=w.replayed,
        reconciliation=repeated,
        commands=[w.command("audit")],
    )


async def write_both(folder: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    began_at = dt.datetime.now(dt.UTC)
    w = Writer(folder, port)
    await w.start()
    w.people["admin"] = {"email": SETTINGS["ADMIN_EMAIL"], "password": SETTINGS["ADMIN_PASSWORD"]}
    await w.log_in(w.people)
    try:
        await write_quiet(w, began_at)
        facts = await under_way(w)
        w.kill()
        keep(w, "killed", began_at, under_way=facts)
        print("under way:", [each["name"] for each in w.db["events"].find({"state": "pending"})])
    finally:
        await w.client.aclose()
        with contextlib.suppress(AssertionError):
            w.kill()
        w.stop_mongod()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as given:
        asyncio.run(write_both(Path(given)))
