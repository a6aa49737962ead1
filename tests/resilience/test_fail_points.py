"""`kill -9` between every two external effects of a refund and of a dispute: the end is the same."""

import asyncio
import contextlib
import dataclasses
import re
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from motor.motor_asyncio import AsyncIOMotorClient

from core import clock, config, fail_points
from tests.support import payments as paying
from tests.support.processes import START_SECONDS_MAX, Processes
from tests.support.service import ROOT, Person, free_port, until
from tests.support.service import test_settings as settings_of_tests

# Razorpay's webhooks and refunds come soon.
SOON = """
from sandbox import events, refunds
events.FIRST_AFTER_SECONDS = refunds.PROCESSED_AFTER_SECONDS = 0.05
"""


class World:
    """The service as a process that kills itself where it is told to, and starts again."""

    def __init__(self, whole: Processes, armed: Path, admin: Person) -> None:
        self.whole, self.armed, self.admin = whole, armed, admin

    def connect(self) -> None:
        """Read the databases of the service: with a client of its own, which has no opinion of them."""
        self.client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(
            self.whole.mongodb_uri(), tz_aware=True
        )
        self.db = self.client["wallet"]

    def arm(self, point: str) -> None:
        self.armed.write_text(point)

    async def died(self) -> None:
        """The process has killed itself at the armed point; nothing is armed any more."""
        process = self.whole._process
        assert process is not None
        try:
            await asyncio.to_thread(process.wait, START_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.armed.read_text()} was not reached") from None
        self.whole._process = None
        assert not self.armed.exists()

    async def outside(self, path: str, **body: Any) -> dict[str, Any]:
        """Something that happens at Razorpay. Its answer may be lost with the process."""
        with contextlib.suppress(httpx.TransportError):
            return await paying.outside(self.whole.service, path, **body)
        return {}

    async def ask_for_refund(self, story: "Story") -> None:
        """What an admin's browser sends, and sends again with the same key when no answer came."""
        body = {"payment_id": story.payment_id, "amount": 40, "reason": "asked by mail"}
        key = {"Idempotency-Key": f"refund-of-{story.payment_id}"}
        with contextlib.suppress(httpx.TransportError):
            path = "/api/payment/refunds"
            await self.whole.service.post(path, self.admin, json=body, headers=key)

    async def refund_id(self, story: "Story") -> str:
        """Razorpay's id of the refund of this payment."""
        found = await self._there()["refunds"].find_one({"payment_id": story.payment_id})
        return str(found["_id"]) if found else ""

    async def dispute_id(self, story: "Story") -> str:
        found = await self._there()["disputes"].find_one({"payment_id": story.payment_id})
        return str(found["_id"]) if found else ""

    def _there(self) -> Any:
        return self.client["wallet_sandbox"]


@dataclasses.dataclass
class Story:
    """One customer with Rs 100, what happens to their payment, and how it must end."""

    point: str
    happens: Callable[[World, "Story"], Awaitable[None]]
    before: Callable[[World, "Story"], Awaitable[None]] | None = None
    balance: float = 60.0
    held: float = 0.0
    record: tuple[str, str] = ("refunds", "processed")
    repeats: bool = False  # what happens is sent again when its answer is lost
    kills_mongod: bool = False
    person: Person | None = None
    payment_id: str = ""

    async def is_at(self, world: World, balance: float, held: float) -> bool:
        assert self.person is not None
        found = await world.whole.service.balance(self.person)
        return (found["balance"], found["held"], found["due"]) == (balance, held, 0.0)

    async def has_ended(self, world: World) -> bool:
        collection, state = self.record
        field = "status" if collection == "refunds" else "state"
        record = await world.db[collection].find_one({"payment_id": self.payment_id})
        if record is None or record[field] != state:
            return False
        return await self.is_at(world, self.balance, self.held)


# --- what happens -------------------------------------------------------------------------------


async def asked(world: World, story: Story) -> None:
    await world.ask_for_refund(story)


async def asked_and_fails(world: World, story: Story) -> None:
    await paying.fault(world.whole.service, "refund_fails", path=story.payment_id)
    await world.ask_for_refund(story)


async def made_at_razorpay(world: World, story: Story) -> None:
    await world.outside(f"/payments/{story.payment_id}/refunds", amount=4_000)


async def went_off(world: World, story: Story) -> None:
    await made_at_razorpay(world, story)
    await until(lambda: story.is_at(world, 60.0, 0.0))


async def fails_after_all(world: World, story: Story) -> None:
    await world.outside(f"/refunds/{await world.refund_id(story)}", status="failed")


async def disputed(world: World, story: Story) -> None:
    await world.outside(f"/payments/{story.payment_id}/disputes", amount=4_000)


async def is_disputed(world: World, story: Story) -> None:
    await disputed(world, story)
    await until(lambda: story.is_at(world, 100.0, 40.0))


async def is_lost(world: World, story: Story) -> None:
    await is_disputed(world, story)
    await becomes(status="lost")(world, story)
    await until(lambda: story.is_at(world, 60.0, 0.0))


def becomes(**facts: Any) -> Callable[[World, Story], Awaitable[None]]:
    async def happens(world: World, story: Story) -> None:
        await world.outside(f"/disputes/{await world.dispute_id(story)}", **facts)

    return happens


LOST = ("disputes", "debited")
OPEN = ("disputes", "reserved")
FREE = ("disputes", "released")
PAID_BACK = ("disputes", "refunded")
FAILED = ("refunds", "failed")

STORIES = [
    Story("refund.reserved", asked, repeats=True),
    Story("refund.requested", asked, repeats=True, kills_mongod=True),
    Story("refund.noted", asked, repeats=True),
    Story("refund.decided", asked, repeats=True),
    Story("refund.collected", asked, repeats=True),
    Story("refund.released", asked_and_fails, balance=100.0, record=FAILED),
    Story("refund.reversed", fails_after_all, went_off, balance=100.0, record=FAILED),
    Story("refund.recorded", made_at_razorpay),
    Story("refund.reserved_again", made_at_razorpay),
    Story("webhook.paired", made_at_razorpay),
    Story("webhook.applied", made_at_razorpay),
    Story("dispute.decided", disputed, balance=100.0, held=40.0, record=OPEN),
    Story("dispute.reserved", disputed, balance=100.0, held=40.0, record=OPEN),
    Story("dispute.collected", becomes(status="lost"), is_disputed, record=LOST, kills_mongod=True),
    Story("dispute.released", becomes(status="won"), is_disputed, balance=100.0, record=FREE),
    Story(
        "dispute.given_back",
        becomes(phase="pre_arbitration"),
        is_lost,
        balance=100.0,
        held=40.0,
        record=OPEN,
    ),
    Story("dispute.noted", becomes(status="lost", as_refund=True), is_disputed, record=PAID_BACK),
]


# --- and how it ends ----------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def world_in(folder: Path) -> AsyncIterator[World]:
    armed = folder / "armed"
    whole = Processes(folder, prelude=SOON, fail_points_file=str(armed), log_level="WARNING")
    try:
        await whole.start()
        world = World(whole, armed, await whole.service.admin())
        world.connect()
        yield world
        world.client.close()
    finally:
        await whole.stop()
        await whole.client.aclose()
        config.use(None)


async def live_through(world: World, story: Story) -> None:
    """What happens kills the service on its way; after a restart it ends as without."""
    assert story.person is not None
    if story.before is not None:
        await story.before(world, story)
    world.arm(story.point)
    await story.happens(world, story)
    await world.died()
    if story.kills_mongod:
        world.whole.kill_mongod()
    await world.whole.start()
    if story.kills_mongod:  # it may have another port
        world.client.close()
        world.connect()
    # What the dead process had claimed is due again after a minute; nobody waits in a test.
    await world.db.events.update_many({"state": "pending"}, {"$set": {"due_at": clock.now()}})
    await world.db.idempotency_keys.update_many({"answer": None}, {"$set": {"lease_until": None}})
    if story.repeats:
        await story.happens(world, story)
    await until(lambda: story.has_ended(world), seconds=120)
    path = f"/api/admin/audit?user_id={story.person.id}"
    audit = (await world.whole.service.get(path, world.admin)).json()
    assert audit["ok"], (story.point, audit["violations"])
    assert await world._there()["refunds"].count_documents({"payment_id": story.payment_id}) <= 1


@pytest.mark.timeout(900)
async def test_killed_between_any_two_effects_a_refund_and_a_dispute_end_as_without(
    tmp_path: Path,
) -> None:
    async with world_in(tmp_path) as world:
        for story in STORIES:
            story.person = await world.whole.service.signup()
            proof = await world.whole.recharge(story.person, 100)
            story.payment_id = proof["razorpay_payment_id"]
        for story in STORIES:
            await live_through(world, story)
        audit = (await world.whole.service.get("/api/admin/audit", world.admin)).json()
        assert audit["ok"], audit["violations"]


def test_every_point_is_reached_somewhere_and_has_its_story() -> None:
    product = [*ROOT.glob("*.py"), *(ROOT / "reconciliation").glob("*.py")]
    text = "".join(file.read_text() for file in product)
    reached = set(re.findall(r'"((?:refund|dispute|webhook)\.[a-z_]+)"', text))
    assert reached == fail_points.POINTS
    assert {story.point for story in STORIES} == fail_points.POINTS


def test_outside_of_tests_the_service_refuses_to_start_with_fail_points() -> None:
    refused = "FAIL_POINTS_FILE kills the service: only tests set it, with APP_ENV=test"
    chosen = settings_of_tests("", port=free_port(), fail_points_file="/tmp/armed")
    assert refused not in config.problems(chosen)
    for environment in ("development", "production"):
        other = chosen.model_copy(update={"app_env": environment})
        assert refused in config.problems(other)


def test_without_that_setting_a_point_does_nothing() -> None:
    config.use(settings_of_tests("", port=free_port()))
    try:
        for point in fail_points.POINTS:
            fail_points.reach(point)
    finally:
        config.use(None)
    assert config.Settings.model_fields["fail_points_file"].default == ""
