"""A world for the console: people, and things of every kind that a page can show."""

import dataclasses
import itertools
from typing import Any

from tests.project import web
from tests.support import calls
from tests.support.service import Person, Service, new_key

TEXTS = web.texts("en")
NASTY = '<script>alert(1)</script><img src=x onerror="alert(2)">'
RIGHT_TO_LEFT = "محمد علي"
LONG = "A very long name " * 5 + "of 100 letters."
_numbers = itertools.count(1)


def t(key: str, **values: object) -> str:
    """The text of a key, in English."""
    text = TEXTS[key]
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", str(value))
    return text


@dataclasses.dataclass(frozen=True)
class World:
    """Who and what there is."""

    asha: Person
    operator: Person
    admin: Person
    ids: dict[str, str]

    def path(self, pattern: str) -> str:
        """The address of a page about one of the things."""
        for name, value in self.ids.items():
            pattern = pattern.replace(name, value)
        assert ":" not in pattern, pattern
        return pattern


async def recharged(service: Service, person: Person, rupees: int = 500) -> dict[str, Any]:
    """A payment in the sandbox; the order and the payment."""
    order = await service.post("/api/payment/create-order", person, json={"amount": rupees})
    assert order.status_code == 201, order.text
    order_id = order.json()["order_id"]
    paid = await service.post(
        f"/sandbox/pay/{order_id}", json={"card_number": "4111 1111 1111 1111"}
    )
    proof = {name: value for name, value in paid.json().items() if name.startswith("razorpay_")}
    verified = await service.post("/api/payment/verify", person, json=proof)
    assert verified.status_code == 200, verified.text
    return {"order_id": order_id, "payment_id": proof["razorpay_payment_id"]}


async def person(service: Service, name: str, rupees: int = 0) -> Person:
    """Somebody new with this name, and so much money."""
    email = f"console{next(_numbers)}@example.com"
    body = {"email": email, "password": "correct horse battery", "name": name}
    answer = await service.post("/api/auth/signup", json=body)
    assert answer.status_code == 201, answer.text
    found = Person(answer.json()["user"]["id"], email, answer.json()["access_token"])
    if rupees:
        await service.fund(found, rupees)
    return found


async def filled(service: Service) -> World:
    """One of everything, of somebody with a long name."""
    asha = await person(service, LONG)
    admin, operator = await service.admin(), await service.operator()
    paid = await recharged(service, asha)
    second = await recharged(service, asha, 300)
    scenario = {"outcome": "completed", "duration_seconds": 42, "wall_seconds": 0.1}
    call = await calls.place(service, asha, scenario, message=NASTY)
    await calls.over(service, asha, call["call_id"])
    await calls.place(service, asha, {"outcome": "completed", "wall_seconds": 3_000})
    csv = f"phone,name\n+919812345601,{RIGHT_TO_LEFT}\n+919812345602,Ravi\n12,wrong\n"
    made = await service.post(
        "/api/campaigns/upload",
        asha,
        files={"file": ("people.csv", csv.encode(), "text/csv")},
        data={"name": NASTY[:60], "message": "Hello {{name}}", "start": "false"},
    )
    assert made.status_code == 201, made.text
    for body in ({"number": "+919812345699", "note": NASTY}, {"number": "+919812345698"}):
        await service.post("/api/do-not-call", asha, json=body)
    complained = {"number": "+919812345697", "source": "e-mail", "text": NASTY, "user_id": asha.id}
    await service.post("/api/complaints", admin, json=complained)
    refund = {"payment_id": second["payment_id"], "amount": 100, "reason": "By mistake"}
    await service.post("/api/payment/refunds", admin, json=refund, headers=new_key())
    dispute = await service.post(f"/sandbox/payments/{paid['payment_id']}/disputes", json={})
    assert dispute.status_code == 201, dispute.text
    big = {"type": "credit", "amount": 5_000, "reason": "It waits for a second admin"}
    path = f"/api/admin/users/{asha.id}/adjustments"
    assert (await service.post(path, admin, json=big, headers=new_key())).status_code == 202
    history = await service.get("/api/transactions", asha)
    ids = {
        "/calls/:id": f"/calls/{call['call_id']}",
        "/campaigns/:id": f"/campaigns/{made.json()['campaign_id']}",
        "/transactions/:id": f"/transactions/{history.json()['transactions'][0]['id']}",
        "/payments/:id": f"/payments/{paid['order_id']}",
        "/numbers/:number": "/numbers/+919876543210",
        "/admin/users/:id": f"/admin/users/{asha.id}",
    }
    return World(asha, operator, admin, ids)
