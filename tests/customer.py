"""What a customer and an unreliable Razorpay do, for the tests of recharging."""

from typing import Any

import httpx

import reconcile
from tests.conftest import Person, Service

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
    assert (await service.client.delete("/sandbox/faults")).status_code == 204


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


async def audited(service: Service, person: Person) -> None:
    """Every invariant of the money of this person holds."""
    report = await reconcile.audit(person.id)
    assert report.ok, report.violations
