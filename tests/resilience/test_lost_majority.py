"""While a replica set has no majority, nothing is answered as credited: a failover may take it away."""

import asyncio
import hashlib
import hmac
import signal
import time
from pathlib import Path
from typing import cast

import pytest
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern

import gateway
import payments
import wallet
from core import clock, config, database
from core.database import Document, db
from core.errors import Unavailable
from gateway import entities
from payments import Receipt
from reporting import audit
from tests.support.replica_set import Client, Member, ReplicaSet, replica_set
from tests.support.service import committer, until

USER, ORDER, PAYMENT = "usr_majority", "order_Lost1234567890"[:20], "pay_Lost1234567890"[:18]
PAISE = 50_000
# A primary steps down when it has not seen a majority for so long: the window has to stay open.
ELECTION_SECONDS = 300
REPEATED_AT_ONCE = 4


async def open_order() -> None:
    """An order that was paid, as our own records and Razorpay know it."""
    now = clock.now()
    order: Document = {
        "_id": "rcpt_majority",
        "user_id": USER,
        "order_id": ORDER,
        "payment_id": None,
        "mode": config.settings().gateway_mode,
        "amount_paise": database.long(PAISE),
        "currency": gateway.CURRENCY,
        "status": "created",
        "created_at": now,
        "updated_at": now,
    }
    await db.orders.insert_one(order)


async def fetch_payment(payment_id: str) -> entities.Payment:
    """Razorpay, which has the customer's money."""
    return entities.Payment(
        id=payment_id,
        order_id=ORDER,
        amount_paise=PAISE,
        currency=gateway.CURRENCY,
        status="captured",
        method="card",
        amount_refunded_paise=0,
        fee_paise=None,
        tax_paise=None,
        error_code="",
        error_reason="",
        error_description="",
        created_at=None,
    )


async def verify() -> Receipt | None:
    """What the browser asks for when Checkout has closed; None for an answer of 503."""
    secret = config.settings().gateway_key_secret.encode()
    signature = hmac.new(secret, f"{ORDER}|{PAYMENT}".encode(), hashlib.sha256).hexdigest()
    try:
        return await payments.confirm(USER, order_id=ORDER, payment_id=PAYMENT, signature=signature)
    except (Unavailable, *database.AWAY):
        return None


def entries_on(client: Client, concern: str) -> list[Document]:
    found = client.get_database(config.settings().mongodb_db, read_concern=ReadConcern(concern))
    return list(found.transactions.find({"user_id": USER}))


async def until_written(primary: Member) -> None:
    """Wait until the credit is on the primary, of which no other member can know."""
    with primary.connect() as client:

        async def is_written() -> bool:
            return bool(await asyncio.to_thread(entries_on, client, "local"))

        await until(is_written, seconds=60)
        assert entries_on(client, "majority") == []


async def elect(member: Member) -> None:
    """Make this member the primary now, and not when the election's timeout is over."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        if member.hello().get("isWritablePrimary"):
            return
        try:
            with member.connect(serverSelectionTimeoutMS=1_000) as client:
                await asyncio.to_thread(client.admin.command, "replSetStepUp")
        except PyMongoError:  # the other one has not answered it yet
            await asyncio.sleep(0.3)
    raise AssertionError("no election")


class Stopped:
    """The members beside the primary, which hear nothing until `go_on`."""

    def __init__(self, members: ReplicaSet, primary: Member) -> None:
        self.members = [member for member in members.members if member is not primary]
        for member in self.members:
            member.send(signal.SIGSTOP)

    def go_on(self) -> None:
        for member in self.members:
            member.send(signal.SIGCONT)


@pytest.fixture
def razorpay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "fetch_payment", fetch_payment)


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("razorpay")
async def test_nothing_is_credited_without_a_majority_and_once_after_the_failover(
    tmp_path: Path,
) -> None:
    """The other members stop, a verify writes its credit to the primary alone, and is repeated there;
    then the primary is killed, and the others elect one without that credit, or with it."""
    async with replica_set(tmp_path / "set") as members:
        primary = await members.keep_primary(seconds=ELECTION_SECONDS)
        async with committer(members.uri):
            await open_order()
            await wallet.ensure_wallet(USER)
            stopped = Stopped(members, primary)
            first = asyncio.create_task(verify())
            await until_written(primary)
            answers = [await verify()]  # before the first one has its answer
            answers += await asyncio.gather(*(verify() for _ in range(REPEATED_AT_ONCE)))
            answers.append(await first)
            with primary.connect() as client:
                assert entries_on(client, "local"), "the window was not open"
                assert client.admin.command("hello")["isWritablePrimary"]
            assert answers == [None] * len(answers)

            primary.kill()
            stopped.go_on()
            await elect(stopped.members[0])
            with Client(members.uri) as client:
                assert len(entries_on(client, "majority")) <= 1
                await until(verify, seconds=90)
                [entry] = entries_on(client, "majority")
            again = cast(Receipt, await verify())
            assert (again.already_processed, again.transaction_id) == (True, entry["_id"])
            assert (await wallet.get_balance(USER)).balance_paise == PAISE
            assert (await audit.audit(USER)).ok
