"""Databases that release 0.2.1 wrote are opened by this version: every answer is the same, and what was
under way when 0.2.1 was killed goes on. What is in them says `release_0_2_1/generate.py`."""

import asyncio
import contextlib
import copy
import datetime as dt
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from motor.motor_asyncio import AsyncIOMotorClient

from core import config
from tests.release_0_2_1 import snapshot
from tests.release_0_2_1.snapshot import ApiClient, Document, Question, Snapshot
from tests.support.service import ROOT, free_port, serving
from tests.support.service import test_settings as settings_of_tests

# Of each reconciliation its own.
MOVING = ("run_id", "trigger", "started_at", "finished_at", "since", "until")

# Questions that depend on much, to be asked again after the second start.
WHOLE = re.compile(r"wallet/|quote|rate-cards|metrics|users|audit|reconciliation")


class Opened:
    """A database of 0.2.1, on which this version can be started as often as one likes."""

    def __init__(self, kept: Snapshot, settings: config.Settings) -> None:
        self.snapshot, self.settings = kept, settings
        self.tokens: dict[str, str] = {}

    @contextlib.asynccontextmanager
    async def started(self) -> AsyncIterator[ApiClient]:
        """This version, and the people of the snapshot, who are logged in once."""
        async with serving(self.settings) as running:
            service = ApiClient(running.client, self.tokens)
            if not self.tokens:
                await service.log_in(self.snapshot.about["people"])
            yield service


@contextlib.asynccontextmanager
async def opened(mongodb_uri: str, name: str) -> AsyncIterator[Opened]:
    """The snapshot of a file, put into a fresh database; gone at the end."""
    port = free_port()
    kept = snapshot.read(name, port=port, now=dt.datetime.now(dt.UTC))
    same = {name.lower(): value for name, value in kept.about["settings"].items()}
    same.pop("mongodb_db")
    settings = settings_of_tests(mongodb_uri, port=port, **same)
    try:
        await asyncio.to_thread(snapshot.load, kept, mongodb_uri, settings.mongodb_db)
        yield Opened(kept, settings)
    finally:
        client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(mongodb_uri)
        for database in (settings.mongodb_db, f"{settings.mongodb_db}_sandbox"):
            await client.drop_database(database)
        client.close()


async def until(is_so: Callable[[], Awaitable[object]], seconds: float = 60) -> None:
    """Wait for what has to come."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not await is_so():
        assert asyncio.get_running_loop().time() < deadline, is_so
        await asyncio.sleep(0.05)


# --- nothing is under way -----------------------------------------------------------------------


def says_the_same(before: Any, now: Any) -> bool:
    """Whether an answer says all that it said before; an object may have more fields by now."""
    if isinstance(before, dict) and isinstance(now, dict):
        return all(name in now and says_the_same(before[name], now[name]) for name in before)
    if isinstance(before, list) and isinstance(now, list):
        pairs = zip(before, now, strict=False)
        return len(before) == len(now) and all(says_the_same(*pair) for pair in pairs)
    return bool(before == now)


def corrected(before: Any, now: Any) -> Any:
    """The answer of 0.2.1 with what it had wrong put right, each correction checked.

    In metrics money recovered for a refund was 'spent', and a call was not answered whose `in-progress`
    never came. What waits for a person is listed the oldest first now.
    """
    for place, was in enumerate(before.get("pages", ())):
        if isinstance(was, str) and was.lstrip("\ufeff").startswith("row,to,state"):
            # There are more columns behind those of 0.2.1; no cell there has a comma or a line break.
            width = was.split("\r\n")[0].count(",") + 1
            lines = now["pages"][place].split("\r\n")
            now["pages"][place] = "\r\n".join(",".join(line.split(",")[:width]) for line in lines)
    for was, page in zip(before.get("pages", ()), now.get("pages", ()), strict=False):
        if "series" in was and "calls" in was:
            assert page["calls"]["answered"] >= was["calls"]["answered"]
            was["calls"] |= {name: page["calls"][name] for name in ("answered", "average_cost")}
            for old_day, day in zip(was["series"], page["series"], strict=True):
                assert day["spent"] == day["call_cost"]  # nothing else is spent in this database
                old_day["spent"] = day["spent"]
        if "waiting" in was:
            was["waiting"].sort(key=lambda each: each["id"])
            page["waiting"].sort(key=lambda each: each["id"])
    return before


async def differences(service: ApiClient, answers: list[Document]) -> list[str]:
    """Where this version answers otherwise than 0.2.1 did."""
    room = asyncio.Semaphore(8)

    async def compared(kept: Document) -> str | None:
        question = Question(**kept["question"])
        async with room:
            answer = await service.answer(question)
        if says_the_same(corrected(copy.deepcopy(kept["answer"]), answer), answer):
            return None
        asked = f"{question.who}: {question.method} {question.path}"
        return f"{asked}\n  0.2.1 {kept['answer']}\n  now   {answer}"

    found = await asyncio.gather(*map(compared, answers))
    return [each for each in found if each is not None]


async def requests_are_recognised(service: ApiClient, replayed: list[Document]) -> None:
    """What was asked for with a key gets the first answer again."""
    for kept in replayed:
        headers = {"Idempotency-Key": kept["key"]}
        answer = await service.send(
            kept["who"], "POST", kept["path"], json=kept["body"], headers=headers
        )
        assert answer.json() == kept["answer"]
        assert answer.headers["Idempotency-Replayed"] == "true"


async def the_reconciliation_finds_the_same(service: ApiClient, expected: Document) -> None:
    """And looks at as much as 0.2.1 did, but for orders that nobody tried to pay: those are not asked
    one by one any more, because a payment of theirs stands in Razorpay's list."""
    path = "/api/admin/reconciliation/run"
    report = await service.done("admin", "POST", path, json={"older_than_minutes": 0})
    assert expected["checked"]["payments"] > 10
    assert 0 < report["checked"].pop("orders") <= expected["checked"].pop("orders")
    for name in expected.keys() - set(MOVING):
        assert report[name] == expected[name], name


async def test_every_answer_is_the_same(mongodb_uri: str) -> None:
    """Also after a second start: what the first one has moved in the database, if anything, stays as
    it is. (A migration that is repeated must be harmless.)"""
    async with opened(mongodb_uri, "quiet") as old:
        about = old.snapshot.about
        answers = about["answers"]
        assert len(answers) > 250
        async with old.started() as service:
            wrong = await differences(service, answers)
            assert not wrong, f"{len(wrong)} of {len(answers)}:\n" + "\n".join(wrong[:5])
        async with old.started() as service:
            whole = [each for each in answers if WHOLE.search(each["question"]["path"])]
            assert len(whole) > 60
            wrong = await differences(service, whole)
            assert not wrong, f"{len(wrong)} of {len(whole)}:\n" + "\n".join(wrong[:5])
            await requests_are_recognised(service, about["replayed"])
            await the_reconciliation_finds_the_same(service, about["reconciliation"])
            for command in about["commands"]:
                done = await asyncio.to_thread(run, old.settings, *command["words"])
                assert (done.returncode, done.stdout) == (command["status"], command["stdout"])


def run(settings: config.Settings, *words: str) -> subprocess.CompletedProcess[str]:
    """A command of `manage.py` beside the running service."""
    given = {"MONGODB_URI": settings.mongodb_uri, "MONGODB_DB": settings.mongodb_db}
    secret = settings.jwt_secret.get_secret_value()
    return subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), *words],
        cwd=ROOT / "tests" / "release_0_2_1",  # no `.env` of this machine
        env={"PATH": os.environ["PATH"], "APP_ENV": "test", "JWT_SECRET": secret, **given},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_snapshot_lies_within_one_day_in_india_whenever_it_is_opened() -> None:
    """Else the figures of its day would be those of two."""
    midnight = dt.datetime(2031, 3, 9, tzinfo=snapshot.INDIA)
    for seconds in (0, 61, 150, 86_399):
        kept = snapshot.read("quiet", port=8000, now=midnight + dt.timedelta(seconds=seconds))
        days = {
            entry["created_at"].astimezone(snapshot.INDIA).date().isoformat()
            for entry in kept.documents["transactions"]
        }
        asked = f"/api/admin/metrics?from={min(days)}&to={max(days)}"
        assert len(days) == 1
        assert asked in [each["question"]["path"] for each in kept.about["answers"]]


def test_the_hashes_of_0_2_1_are_those_that_the_documents_describe() -> None:
    """Else the entries, whose times are moved, would be given other hashes than 0.2.1 gives them."""
    entries = snapshot.read("quiet", port=8000).documents["transactions"]
    assert len(entries) > 30
    assert [snapshot.hash_of(entry) for entry in entries] == [entry["hash"] for entry in entries]


# --- killed in the middle of its work -----------------------------------------------------------


async def the_calls_end(service: ApiClient, facts: Document) -> float:
    """Calls that were talking end, and are charged; one that rang is hung up, and is free."""
    who, ringing, cost = facts["who"], facts["calls"]["ringing"], 0.0
    await service.done(who, "POST", f"/api/calls/{ringing}/hangup")
    for call_id in (ringing, *facts["calls"]["ends"]):
        call: Document = {}

        async def is_over(call_id: str = call_id, call: Document = call) -> bool:
            call.update(await service.done(who, "GET", f"/api/calls/{call_id}"))
            return call["billing_status"] in ("settled", "released")

        await until(is_over)
        expected = ("canceled", "released") if call_id == ringing else ("completed", "settled")
        assert (call["status"], call["billing_status"]) == expected
        cost += call["cost"] or 0.0
    return cost


async def the_campaign_ends(service: ApiClient, who: str, campaign_id: str) -> float:
    """Everybody on the list has been called, and answered; what that cost."""
    campaign: Document = {}

    async def is_over() -> bool:
        campaign.update(await service.done(who, "GET", f"/api/campaigns/{campaign_id}"))
        return bool(campaign["status"] == "completed")

    await until(is_over)
    assert campaign["counts"]["answered"] == campaign["counts"]["total"] > 0
    return float(campaign["spent"])


async def what_rests_is_resumed(service: ApiClient, who: str) -> None:
    """A campaign that its owner had paused, and a draft."""
    found = (await service.done(who, "GET", "/api/campaigns?limit=200"))["campaigns"]
    resting = [each for each in found if each["status"] in ("paused", "draft")]
    assert {each["status"] for each in resting} == {"paused", "draft"}
    for campaign in resting:
        campaign_id = campaign["campaign_id"]
        await service.done(who, "POST", f"/api/campaigns/{campaign_id}/resume")
        await the_campaign_ends(service, who, campaign_id)


async def the_orders_are_credited(service: ApiClient, facts: Document) -> None:
    """Orders that were paid just before, which nobody has reported yet; and one that is paid now."""
    for order_id in facts["orders"]:

        async def is_paid(order_id: str = order_id) -> bool:
            path = f"/api/payment/orders/{order_id}"
            return bool((await service.done(facts["who"], "GET", path))["status"] == "paid")

        await until(is_paid)
    orders = (await service.done("asha", "GET", "/api/payment/orders?limit=200"))["orders"]
    still_open = next(order for order in orders if order["status"] == "created")
    path, card = f"/sandbox/pay/{still_open['order_id']}", {"card_number": "4111 1111 1111 1111"}
    paid = await service.done("", "POST", path, json=card)
    proof = {name: paid[name] for name in paid if name.startswith("razorpay_")}
    verified = await service.done("asha", "POST", "/api/payment/verify", json=proof)
    assert (verified["status"], verified["amount"]) == ("credited", still_open["amount"])


async def the_refund_ends(service: ApiClient, refund: Document) -> None:
    """Razorpay sends off what it had taken."""
    there = f"/sandbox/refunds/{refund['razorpay_refund_id']}"
    await service.done("", "POST", there, json={"status": "processed"})

    async def is_processed() -> bool:
        path = f"/api/payment/refunds/{refund['refund_id']}"
        return bool((await service.done("admin", "GET", path))["status"] == "processed")

    await until(is_processed)


async def figures(service: ApiClient) -> list[Any]:
    """The balances of everybody, the rate, and the audit."""
    paths = ("admin/users", "wallet/call-rate", "admin/audit", "admin/reconciliation?limit=1")
    return [await service.done("admin", "GET", f"/api/{path}") for path in paths]


async def test_what_was_under_way_goes_on(mongodb_uri: str) -> None:
    async with opened(mongodb_uri, "killed") as old:
        facts = old.snapshot.about["under_way"]
        who = facts["who"]
        client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(mongodb_uri)
        events = client[old.settings.mongodb_db]["events"]
        pending = {"state": "pending"}
        names = set(await events.distinct("name", pending))
        assert names >= {"RazorpayReported", "WalletCredited", "CallEnded"}
        contacts = client[old.settings.mongodb_db]["contacts"]
        assert await contacts.count_documents({"state": "in_call"}) > 0

        async def nothing_waits() -> bool:
            waiting = await service.done("", "GET", "/sandbox/webhooks?state=waiting")
            return not waiting["items"] and await events.count_documents(pending) == 0

        async with old.started() as service:
            assert (await service.done("admin", "GET", "/api/admin/audit"))["violations"] == []
            of_calls, of_campaign, *_ = await asyncio.gather(
                the_calls_end(service, facts),
                the_campaign_ends(service, who, facts["campaign_id"]),
                what_rests_is_resumed(service, "asha"),
                the_orders_are_credited(service, facts),
                the_refund_ends(service, facts["refund"]),
            )
            await until(nothing_waits)
            entries = await service.done(who, "GET", "/api/transactions?category=call_charge")
            assert entries["summary"]["total_debits"] == round(of_calls + of_campaign, 2) > 0
            balance = await service.done(who, "GET", "/api/wallet/balance")
            rest = facts["recharged"] - facts["refunded"] - of_calls - of_campaign
            assert balance["balance"] == round(rest, 2)
            assert (balance["held"], balance["due"]) == (0.0, 0.0)
            at_rest = await figures(service)
            assert (await service.done("admin", "GET", "/api/admin/audit"))["violations"] == []
        async with old.started() as service:
            assert await figures(service) == at_rest
        client.close()
