"""What a customer and an unreliable Razorpay do, for the tests of recharging."""

from typing import Any

import httpx
from motor.motor_asyncio import AsyncIOMotorClient

from core import clock, database
from core.database import db
from gateway import traffic
from reporting import audit
from tests.support.service import Person, Service

GOOD = "4111 1111 1111 1111"
DECLINED = "4000 0000 0000 0002"
AUTHORIZED = "4000 0000 0000 0077"
LATE = "4000 0000 0000 3220"


async def open_order(service: Service, person: Person, amount: float = 100) -> str:
    answer = await service.post("/api/payment/create-order", person, json={"amount": amount})
    assert answer.status_code == 201, answer.text
    order_id: str = answer.json()["order_id"]
    return order_id


async def pay(service: Service, order_id: str, card: str = GOOD) -> dict[str, str]:
    answer = await service.client.post(f"/sandbox/pay/{order_id}", json={"card_number": card})
    assert answer.status_code == 200, answer.text
    paid: dict[str, str] = answer.json()
    return paid


async def decline(service: Service, order_id: str) -> None:
    body = {"card_number": DECLINED}
    answer = await service.client.post(f"/sandbox/pay/{order_id}", json=body)
    assert answer.status_code == 400, answer.text


async def verify(service: Service, person: Person, paid: dict[str, Any]) -> httpx.Response:
    return await service.post("/api/payment/verify", person, json=paid)


async def fault(service: Service, kind: str, **options: Any) -> None:
    answer = await service.client.post("/sandbox/faults", json={"kind": kind, **options})
    assert answer.status_code == 201, answer.text


async def all_faults_over(service: Service) -> None:
    """Razorpay answers again, and this process has forgotten that it did not."""
    assert (await service.client.delete("/sandbox/faults")).status_code == 204
    traffic.forget()


async def force_payment(service: Service, order_id: str, **facts: Any) -> dict[str, str]:
    """A payment that no page could bring about, and what Checkout would hand over for it."""
    answer = await service.client.post(f"/sandbox/orders/{order_id}/payments", json=facts)
    assert answer.status_code == 201, answer.text
    return {k: v for k, v in answer.json().items() if k.startswith("razorpay_")}


async def recharge(service: Service, person: Person, amount: float = 100) -> str:
    """Recharge through the sandbox; the payment's id."""
    paid = await pay(service, await open_order(service, person, amount))
    answer = await verify(service, person, paid)
    assert answer.status_code == 200, answer.text
    return paid["razorpay_payment_id"]


async def webhooks(service: Service, *, enabled: bool) -> None:
    """Let the sandbox report what happens, or keep it to itself."""
    answer = await service.client.post("/sandbox/webhooks", json={"enabled": enabled})
    assert answer.status_code in (200, 201, 204), answer.text


async def outside(service: Service, path: str, **body: Any) -> dict[str, Any]:
    """Something that happens at Razorpay without us: a refund in the dashboard, a dispute."""
    answer = await service.client.post(f"/sandbox{path}", json=body)
    assert answer.status_code in (200, 201), answer.text
    done: dict[str, Any] = answer.json()
    return done


# What payments leave behind, with us and at Razorpay.
_LEDGER = ("wallets", "transactions")
_BOTH = ("orders", "payments", "refunds", "disputes", "settlements")
_OURS = (*_LEDGER, *_BOTH, "reconciliations", "payment_sweeps")
_THEIRS = (*_BOTH, "refund_keys", "settlement_items", "faults")


async def empty_the_books(client: AsyncIOMotorClient[dict[str, Any]], name: str) -> None:
    """Forget all money, ours and Razorpay's; the users stay. For reports that are about everybody."""
    for collection in _OURS:
        await client[name][collection].delete_many({})
    for collection in _THEIRS:
        await client[f"{name}_sandbox"][collection].delete_many({})


async def audited(service: Service, person: Person) -> None:
    """Every invariant of the money of this person holds."""
    report = await audit.audit(person.id)
    assert report.ok, report.violations


async def paid_and_forgotten(user_ids: list[str], count: int) -> list[tuple[str, str]]:
    """Payments that were captured an hour ago, 200 a second, and that nobody told us of: order and payment
    ids.

    Written into both databases, because a thousand customers at the checkout take their time.
    """
    run = database.new_id("lost").removeprefix("lost_")
    ids = [(f"order_{run}{n}", f"pay_{run}{n}") for n in range(count)]
    at = clock.after(-3_600)
    times = [clock.after(n / 200, since=at) for n in range(count)]
    whole = {"amount": 10_000, "currency": "INR"}
    there = database.client()[f"{database.database_name()}_sandbox"]
    await there["orders"].insert_many(
        {"_id": order_id, "receipt": None, "notes": {}, "captures": True, "attempts": 1}
        | {"status": "paid", "created_at": made_at, **whole}
        for (order_id, _), made_at in zip(ids, times, strict=True)
    )
    await there["payments"].insert_many(
        {"_id": payment_id, "order_id": order_id, "amount_refunded": 0}
        | {"status": "captured", "captured_at": made_at, "created_at": made_at, **whole}
        for (order_id, payment_id), made_at in zip(ids, times, strict=True)
    )
    await db.orders.insert_many(
        {
            "_id": f"rcpt_{order_id}",
            "user_id": user_ids[n % len(user_ids)],
            "order_id": order_id,
            "payment_id": None,
            "mode": "sandbox",
            "amount_paise": database.long(10_000),
            "currency": "INR",
            "status": "created",
            "created_at": at,
            "updated_at": at,
            "next_check_at": clock.after(3_600),
        }
        for n, (order_id, _) in enumerate(ids)
    )
    return ids
