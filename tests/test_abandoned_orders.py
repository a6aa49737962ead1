"""What orders cost that nobody pays, in requests to Razorpay, over a simulated time."""

import collections
import datetime as dt
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import SecretStr

import gateway
import payments
from core import clock, config, database
from core.database import db
from reconciliation import reconcile
from tests.support.service import committer

ORDERS = 20
HOURS = 3


@pytest.fixture
async def razorpay_in_test_mode(mongodb_uri: str) -> AsyncIterator[None]:
    """The service's modules with a key of Razorpay's test mode, whose pauses are those of live mode."""
    async with committer(mongodb_uri) as chosen:
        changes = {
            "razorpay_key_id": "rzp_test_abandoned",
            "razorpay_key_secret": SecretStr("a-secret-of-razorpays-test-mode"),
        }
        config.use(chosen.model_copy(update=changes))
        yield
        config.use(chosen)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> collections.Counter[str]:
    """How often Razorpay is asked for what; it has no payments, no refunds and no disputes."""
    counts: collections.Counter[str] = collections.Counter()

    async def payments_of(_: str) -> list[Any]:
        counts["order"] += 1
        return []

    def pages_of(name: str) -> Any:
        async def pages(*_: Any) -> AsyncIterator[list[Any]]:
            counts[name] += 1
            yield []

        return pages

    monkeypatch.setattr(gateway, "fetch_order_payments", payments_of)
    for name in ("payments_between", "refunds_between", "disputes_between", "settlement_lines"):
        monkeypatch.setattr(gateway, name, pages_of(name))
    return counts


class Time:
    """The clock, moved ahead to whatever is due next."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = dt.timedelta()
        real = clock.now
        monkeypatch.setattr(clock, "now", lambda: real() + self.ahead)

    def goes_on_until(self, moment: dt.datetime) -> None:
        self.ahead += max(dt.timedelta(seconds=0.2), moment - clock.now())


async def next_moment(reconciled_at: dt.datetime) -> dt.datetime:
    """When the poller or reconciliation has something to do."""
    sweep = await db.payment_sweeps.find_one({"_id": "test"})
    assert sweep is not None
    due = {"next_check_at": {"$type": "date"}}
    soonest = await db.orders.find_one(due, sort=[("next_check_at", 1)])
    moments: list[dt.datetime] = [sweep["next_at"], clock.after(600, since=reconciled_at)]
    if soonest is not None:
        moments.append(soonest["next_check_at"])
    return min(moments)


async def test_an_order_that_nobody_pays_costs_three_requests(
    razorpay_in_test_mode: None,
    asked: collections.Counter[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Release 0.2.1 asked 180 times a day about each of them."""
    time = Time(monkeypatch)
    began = clock.now()
    await db.orders.insert_many(
        {
            "_id": f"rcpt_abandoned{n}",
            "user_id": "usr_1",
            "order_id": f"order_abandoned{n}",
            "payment_id": None,
            "mode": "test",
            "amount_paise": database.long(10_000),
            "currency": "INR",
            "status": "created",
            "created_at": began,
            "updated_at": began,
            "next_check_at": clock.after(20),
        }
        for n in range(ORDERS)
    )
    reconciled_at, runs = clock.after(-600), 0
    while clock.now() < clock.after(HOURS * 3_600, since=began):
        await payments.poll_pending()
        if clock.now() >= clock.after(600, since=reconciled_at):
            due = {"$set": {"next_at": clock.after(-1)}}
            await db.reconciliations.update_one({"_id": "schedule"}, due, upsert=True)
            await reconcile.run_when_due()
            reconciled_at, runs = clock.now(), runs + 1
        time.goes_on_until(await next_moment(reconciled_at))
    assert runs >= 6 * HOURS - 1
    assert asked["order"] == 3 * ORDERS
    assert await db.orders.count_documents({"next_check_at": {"$type": "date"}}) == 0
    # The rest does not grow with the orders: one list a minute, and those of reconciliation.
    deep_days = 4
    assert asked["payments_between"] <= 60 * HOURS + runs + deep_days + 2
    assert asked["refunds_between"] + asked["disputes_between"] <= 2 * (runs + deep_days)
    assert asked["settlement_lines"] <= 2 * runs + deep_days
