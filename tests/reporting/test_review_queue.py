"""The lists of an admin, page by page."""

from typing import Any

import pytest

import payments
from core import clock, database
from core.database import db
from tests.support.service import Person, Service, new_key

AT = clock.now()


@pytest.fixture
async def admin(service: Service) -> Person:
    return await service.admin()


async def pages(service: Service, admin: Person, path: str, name: str) -> list[list[Any]]:
    """The list, two rows at a time."""
    found, cursor = [], ""
    while True:
        answer = await service.get(f"{path}?limit=2{cursor}", admin)
        assert answer.status_code == 200, answer.text
        found.append(answer.json()[name])
        if answer.json()["next_cursor"] is None:
            return found
        cursor = f"&cursor={answer.json()['next_cursor']}"


async def test_of_more_than_fifty_the_oldest_are_shown(service: Service, admin: Person) -> None:
    person = await service.signup()
    paise = {"amount_paise": database.long(100), "due_paise": database.long(0)}
    ids = {"payment_id": "pay_1", "order_id": "order_1", "user_id": person.id}
    numbers = [(n * 7) % 60 for n in range(60)]  # not in the order of their age
    await db.events.insert_many(
        {
            "_id": f"hook_{n:02}",
            "name": "RazorpayReported",
            "user_id": None,
            "data": {},
            "at": clock.after(n, since=AT),
            "state": "dead",
            "failure": "x",
        }
        for n in numbers
    )
    await db.disputes.insert_many(
        {
            "_id": f"disp_{n:02}",
            "state": "reserved",
            "status": "open",
            "respond_by": None,
            "created_at": clock.after(n, since=AT),
            **ids,
            **paise,
        }
        for n in numbers
    )
    await db.refunds.insert_many(
        {
            "_id": f"refund_{n:02}",
            "gateway_id": None,
            "status": "reserved",
            "effect": "debit",
            "failure": "Razorpay refuses it for now; it is asked for again.",
            "next_check_at": clock.after(86_400),
            "created_at": clock.after(n, since=AT),
            **ids,
            **paise,
        }
        for n in numbers
    )
    await db.payments.insert_many(
        {
            "_id": f"pay_{n:02}",
            "user_id": person.id,
            "order_id": "order_1",
            "status": "captured",
            "amount_paise": database.long(100),
            "created_at": AT,
            "review": {"reason": "refunded", "at": clock.after(n, since=AT)},
        }
        for n in numbers
    )
    shown = (await service.get("/api/admin/reconciliation", admin)).json()
    found = {
        kind: [row["id"] for row in shown["waiting"] if row["kind"] == kind]
        for kind in ("webhook", "dispute", "refund")
    }
    found["pay"] = [row["payment_id"] for row in shown["payments_in_review"]]
    for kind, prefix in (("webhook", "hook"), ("dispute", "disp"), ("refund", "refund")):
        assert found[kind] == [f"{prefix}_{n:02}" for n in range(50)]
    assert found["pay"] == [f"pay_{n:02}" for n in range(50)]


async def test_what_waits_is_read_by_an_index(service: Service, admin: Person) -> None:
    """Also when there are many of which nothing waits."""
    profiled = database.client()[service.settings.mongodb_db]
    await profiled.command("profile", 2)
    assert (await service.get("/api/admin/reconciliation", admin)).status_code == 200
    assert [batch async for batch in payments.orders_in_doubt(clock.now(), deep=True)] == []
    await profiled.command("profile", 0)
    read = profiled["system.profile"].find({"op": "query", "ns": {"$not": {"$regex": "profile"}}})
    plans = {
        (found["ns"].partition(".")[2], found["planSummary"])
        async for found in read
        if found["ns"].endswith((".orders", ".payments", ".refunds", ".disputes", ".events"))
    }
    assert {name for name, _ in plans} == {"orders", "payments", "refunds", "disputes", "events"}
    assert all(plan.startswith("IXSCAN") for _, plan in plans), plans


async def test_every_list_goes_on_to_its_end(service: Service, admin: Person) -> None:
    person = await service.signup()
    by_hand = f"/api/admin/users/{person.id}/adjustments"
    for amount in range(1, 6):
        body = {"type": "credit", "amount": amount, "reason": "goodwill"}
        made = await service.post(by_hand, admin, json=body, headers=new_key())
        assert made.status_code == 201
    paise = {"amount_paise": database.long(100), "due_paise": database.long(0)}
    for number in range(5):
        # Two were made at the same moment: the id decides.
        facts = {
            "status": "won",
            "state": "released",
            "created_at": clock.after(number // 2, since=AT),
        }
        ids = {"payment_id": "pay_1", "order_id": "order_1", "user_id": person.id}
        nothing = dict.fromkeys(("refund_id", "transaction_id", "respond_by")) | {
            "reason_code": "x"
        }
        dispute = {
            "_id": f"disp_{number}",
            "phase": "chargeback",
            **facts,
            **ids,
            **paise,
            **nothing,
        }
        await db.disputes.insert_one(dispute)
        sums = ("gross_paise", "fee_paise", "tax_paise", "refunded_paise", "net_paise")
        day = f"2026-11-2{number // 2}"
        settlement = {"_id": f"setl_{number}", "day": day, "utr": "1", "lines": 1, "unmatched": []}
        await db.settlements.insert_one(settlement | dict.fromkeys(sums, database.long(1)))
    for path, name, key, expected in (
        (by_hand, "adjustments", "reason", ["goodwill"] * 5),
        ("/api/admin/disputes", "disputes", "dispute_id", [f"disp_{n}" for n in (4, 3, 2, 1, 0)]),
        (
            *("/api/admin/settlements", "settlements", "settlement_id"),
            [f"setl_{n}" for n in (4, 3, 2, 1, 0)],
        ),
    ):
        found = await pages(service, admin, path, name)
        assert [len(page) for page in found] == [2, 2, 1], path
        assert [row[key] for page in found for row in page] == expected
        for cursor in ("x", "eyIkZ3QiOjF9", "WzFd"):
            refused = await service.get(f"{path}?cursor={cursor}", admin)
            assert (refused.status_code, refused.json()["code"]) == (422, "invalid_cursor")
