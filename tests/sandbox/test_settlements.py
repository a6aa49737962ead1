"""Settlements of the Razorpay on this machine: everything once, and the report day by day."""

import asyncio
import datetime as dt
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from core import clock
from tests.conftest import Ahead
from tests.sandbox.test_razorpay import ask, opened
from tests.support import payments as paying
from tests.support.service import Service, running, test_settings

# The last second of a day in India, which is not the last of that day in UTC.
LATE = dt.datetime(2031, 3, 31, 23, 59, 59, tzinfo=clock.IST)
EARLY = LATE + dt.timedelta(seconds=1)


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for all tests of this file; each settles what it made."""
    async with running(test_settings(mongodb_uri)) as started:
        yield started


@pytest.fixture(autouse=True)
async def nothing_unsettled(service: Service) -> AsyncIterator[None]:
    yield
    await outside(service, "/settle")


async def outside(service: Service, path: str, **body: Any) -> dict[str, Any]:
    answer = await service.client.post(f"/sandbox{path}", json=body)
    assert answer.is_success, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def paid(service: Service, **order: Any) -> str:
    """The id of a captured payment of Rs 50."""
    order_id = (await opened(service, **order))["id"]
    return (await paying.pay(service, order_id))["razorpay_payment_id"]


async def settled(service: Service, at: dt.datetime | None = None) -> list[dict[str, Any]]:
    """What one settlement consists of, as the report has it."""
    moment = at or clock.now().replace(microsecond=0)
    made = await outside(service, "/settle", settled_at=int(moment.timestamp()))
    items = await recon(service, clock.ist_date(moment))
    return [item for item in items if item["settlement_id"] == made["settlement"]["id"]]


async def recon(service: Service, day: dt.date, query: str = "") -> list[dict[str, Any]]:
    path = f"year={day.year}&month={day.month}&day={day.day}&count=1000{query}"
    answer = await ask(service, "GET", f"/settlements/recon/combined?{path}")
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def test_payments_refunds_and_disputes_are_settled_once(service: Service) -> None:
    payment_id = await paid(service, receipt="rcpt settled")
    refund = await outside(
        service, f"/payments/{payment_id}/refunds", amount=1_000, status="processed"
    )
    await outside(service, f"/payments/{payment_id}/refunds", amount=500, status="pending")
    dispute = await outside(service, f"/payments/{payment_id}/disputes", amount=700)
    await outside(service, f"/disputes/{dispute['id']}", status="lost")
    moment = clock.now().replace(microsecond=0)
    made = await outside(service, "/settle", settled_at=int(moment.timestamp()))
    settlement = made["settlement"]
    assert made["items"] == 3
    assert re.fullmatch(r"setl_[A-Za-z0-9]{14}", settlement["id"])
    assert (settlement["amount"], settlement["fees"], settlement["tax"]) == (3_182, 118, 18)
    items = {item["type"]: item for item in await recon(service, clock.ist_date(moment))}
    for item in items.values():
        assert item.pop("settlement_id") == settlement["id"]
        assert item.pop("settlement_utr") == settlement["utr"]
        assert item.pop("settled_at") == int(moment.timestamp())
        assert abs(item.pop("created_at") - moment.timestamp()) < 10
        assert item.pop("notes") in ("{}", None, {"comment": "from the shop"})
        fixed = ("on_hold", "settled", "posted_at", "credit_type", "currency")
        assert [item.pop(name) for name in fixed] == [False, True, None, "default", "INR"]
    money = ("entity_id", "amount", "debit", "credit", "fee", "tax", "payment_id", "dispute_id")
    one = items["payment"]
    assert [one.pop(name) for name in money] == [payment_id, 5_000, 0, 4_882, 118, 18, None, None]
    assert one.pop("order_id").startswith("order_")
    assert one == {
        "type": "payment",
        "description": None,
        "order_receipt": "rcpt settled",
        "method": "card",
        "card_network": "Visa",
        "card_issuer": "HDFC",
        "card_type": "credit",
    }
    two, three = items["refund"], items["adjustment"]
    assert [two[name] for name in money] == [refund["id"], 1_000, 1_000, 0, 0, 0, payment_id, None]
    assert [three[name] for name in money[1:]] == [700, 700, 0, 0, 0, payment_id, dispute["id"]]
    assert await outside(service, "/settle") == {"settlement": None, "items": 0}
    events = (
        await service.client.get("/sandbox/webhooks", params={"about": settlement["id"]})
    ).json()["items"]
    assert [event["event"] for event in events] == ["settlement.processed"]
    assert (await ask(service, "GET", f"/settlements/{settlement['id']}")).json() == settlement
    assert (await ask(service, "GET", "/settlements?count=1")).json()["items"] == [settlement]
    assert (await ask(service, "GET", "/settlements/setl_A")).status_code == 400


async def test_what_changes_after_its_settlement_comes_back_as_an_adjustment(
    service: Service,
) -> None:
    payment_id = await paid(service)
    refund_path = f"/payments/{payment_id}/refunds"
    refund = await outside(service, refund_path, amount=1_000, status="processed")
    dispute_path = f"/payments/{payment_id}/disputes"
    dispute = await outside(service, dispute_path, amount=700, deduct_at_onset=True)
    assert [item["debit"] for item in await settled(service)] == [0, 1_000, 700]
    await outside(service, f"/refunds/{refund['id']}", status="failed")
    await outside(service, f"/disputes/{dispute['id']}", status="won")
    back = await settled(service)
    assert [(item["type"], item["credit"]) for item in back] == [
        ("adjustment", 1_000),
        ("adjustment", 700),
    ]
    assert [item["dispute_id"] for item in back] == [None, dispute["id"]]


async def test_a_loss_that_a_refund_takes_is_settled_once(service: Service) -> None:
    payment_id = await paid(service)
    dispute = await outside(service, f"/payments/{payment_id}/disputes", amount=700)
    await outside(service, f"/disputes/{dispute['id']}", status="lost", as_refund=True)
    (refund,) = (await ask(service, "GET", f"/payments/{payment_id}/refunds")).json()["items"]
    await outside(service, f"/refunds/{refund['id']}", status="processed")
    assert [(item["type"], item["debit"]) for item in await settled(service)] == [
        ("payment", 0),
        ("refund", 700),
    ]


async def test_money_that_never_came_is_not_settled(service: Service) -> None:
    order_id = (await opened(service))["id"]
    paid = await paying.pay(service, order_id, paying.AUTHORIZED)
    refund = await outside(service, f"/payments/{paid['razorpay_payment_id']}/auto-refund")
    await outside(service, f"/refunds/{refund['id']}", status="processed")
    await paying.force_payment(service, (await opened(service))["id"], status="failed")
    assert (await outside(service, "/settle"))["settlement"] is None


async def test_settling_ten_times_at_once_settles_once(
    service: Service, past_the_boundary: Ahead
) -> None:
    past_the_boundary()
    ids = {await paid(service) for _ in range(3)}
    made = await asyncio.gather(*(outside(service, "/settle") for _ in range(10)))
    assert sorted(each["items"] for each in made) == [0] * 9 + [3]
    items = await recon(service, clock.ist_date(clock.now()))
    assert [item["entity_id"] in ids for item in items].count(True) == 3


async def test_the_days_of_the_report_are_indias(service: Service) -> None:
    for moment in (LATE, EARLY):
        await paid(service)
        await paid(service)
        assert len(await settled(service, moment)) == 2
    late = await recon(service, LATE.date())
    assert {item["settled_at"] for item in late} == {int(LATE.timestamp())}
    early = await recon(service, EARLY.date())
    assert {item["settled_at"] for item in early} == {int(EARLY.timestamp())}
    path = "/settlements/recon/combined?year=2031&month=03"
    assert (await ask(service, "GET", path)).json()["items"] == late
    assert (await ask(service, "GET", f"{path}&count=1&skip=1")).json()["items"] == late[1:]
    assert await recon(service, dt.date(2031, 3, 30)) == []
    for query in (
        *("", "year=2031", "month=3", "year=2031&month=13", "year=2031&month=2&day=30"),
        *("year=2031&month=3&count=1001", "year=0&month=3"),
    ):
        answer = await ask(service, "GET", f"/settlements/recon/combined?{query}")
        assert answer.status_code == 400, query
    bad = await service.client.post("/sandbox/settle", json={"settled_at": "today"})
    assert bad.status_code == 400
