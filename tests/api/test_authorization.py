"""Who may do what: every route of the service × {nobody, a user, another user, an admin}, in one table."""

import asyncio
import dataclasses
from functools import reduce
from typing import Any

import pytest

import disputes
import gateway
import main
import wallet
from core import clock, database, outbox
from reconciliation import webhooks
from tests.support import calls as calling
from tests.support import payments as paying
from tests.support.service import PASSWORD, Person, Service, new_key

ACTORS = ("nobody", "owner", "other", "admin")

# `owner` is the user whom the resources in the address belong to, and has money; `other` has
# neither, so for `other` a 402 says that the route is allowed. Rows are run from top to bottom.
MATRIX: dict[str, tuple[int, int, int, int]] = {
    # --- open to everybody ---
    "GET /health": (200, 200, 200, 200),
    "GET /ready": (200, 200, 200, 200),
    "GET /metrics": (200, 200, 200, 200),
    "GET /problems/{code}": (200, 200, 200, 200),
    "POST /api/auth/signup": (201, 201, 201, 201),
    "POST /api/auth/login": (200, 200, 200, 200),
    "POST /api/auth/token": (200, 200, 200, 200),
    # --- the network alone, by its signature ---
    "POST /api/telephony/{provider}/{call_id}/status": (403, 403, 403, 403),
    "POST /api/telephony/{provider}/{call_id}/answer": (403, 403, 403, 403),
    "GET /api/telephony/exotel/answer": (403, 403, 403, 403),
    # --- everybody with an account, about themselves ---
    "GET /api/auth/me": (401, 200, 200, 200),
    "GET /api/wallet/balance": (401, 200, 200, 200),
    "GET /api/wallet/call-rate": (401, 200, 200, 200),
    "GET /api/payment/razorpay-key": (401, 200, 200, 200),
    "POST /api/payment/create-order": (401, 201, 201, 201),
    "GET /api/payment/orders": (401, 200, 200, 200),
    "GET /api/transactions": (401, 200, 200, 200),
    "GET /api/transactions/download": (401, 200, 200, 200),
    "POST /api/call": (401, 202, 402, 402),
    "POST /api/calls/quote": (401, 200, 200, 200),
    "GET /api/calls": (401, 200, 200, 200),
    "POST /api/campaigns": (401, 201, 402, 402),
    "POST /api/campaigns/upload": (401, 201, 402, 402),
    "GET /api/campaigns": (401, 200, 200, 200),
    # --- the owner and admins; for others it does not exist ---
    "GET /api/payment/orders/{order_id}": (401, 200, 404, 200),
    "GET /api/payment/payments/{payment_id}": (401, 200, 404, 200),
    "GET /api/transactions/{transaction_id}": (401, 200, 404, 200),
    "GET /api/calls/{call_id}": (401, 200, 404, 200),
    "POST /api/calls/{call_id}/hangup": (401, 202, 404, 202),
    "GET /api/campaigns/{campaign_id}": (401, 200, 404, 200),
    "GET /api/campaigns/{campaign_id}/contacts": (401, 200, 404, 200),
    "GET /api/campaigns/{campaign_id}/results": (401, 200, 404, 200),
    "POST /api/campaigns/{campaign_id}/pause": (401, 200, 404, 200),
    "POST /api/campaigns/{campaign_id}/resume": (401, 200, 404, 200),
    "POST /api/campaigns/{campaign_id}/cancel": (401, 200, 404, 200),
    # --- the owner alone: money goes into the wallet of the order's user, brought by that user ---
    "POST /api/payment/verify": (401, 200, 404, 404),
    # --- admins ---
    "GET /api/transactions?user_id={owner_id}": (401, 200, 403, 200),
    "POST /api/wallet/set-call-rate": (401, 403, 403, 200),
    "POST /api/admin/users/{owner_id}/call-rate": (401, 403, 403, 200),
    "POST /api/admin/rate-cards": (401, 403, 403, 201),
    "GET /api/admin/rate-cards": (401, 403, 403, 200),
    "GET /api/admin/rate-cards/{version}/download": (401, 403, 403, 200),
    "POST /api/admin/rate-cards/activate": (401, 403, 403, 200),
    "GET /api/admin/metrics": (401, 403, 403, 200),
    "GET /api/admin/users": (401, 403, 403, 200),
    "GET /api/admin/audit": (401, 403, 403, 200),
    "POST /api/admin/audit": (401, 403, 403, 202),
    "POST /api/admin/audit/repairs": (401, 403, 403, 409),  # there is nothing to repair
    "GET /api/admin/audit-log": (401, 403, 403, 200),
    "GET /api/admin/audit-log/download": (401, 403, 403, 200),
    "GET /api/admin/adjustments": (401, 403, 403, 200),
    "POST /api/admin/adjustments/{waiting_id}/confirm": (
        401,
        403,
        403,
        403,
    ),  # it is the admin's own
    "POST /api/admin/adjustments/{waiting_id}/reject": (401, 403, 403, 403),
    "POST /api/payment/webhook": (400, 400, 400, 400),  # Razorpay's signature opens it, no token
    "POST /api/payment/webhook/{mode}": (404, 404, 404, 404),
    "POST /api/payment/refunds": (401, 403, 403, 201),
    "GET /api/payment/refunds": (401, 200, 200, 200),
    "GET /api/payment/refunds/{refund_id}": (401, 200, 404, 200),
    "POST /api/payment/refunds/{refund_id}/resolve": (401, 403, 403, 200),
    "POST /api/admin/users/{owner_id}/adjustments": (401, 403, 403, 201),
    "GET /api/admin/users/{owner_id}/adjustments": (401, 403, 403, 200),
    "POST /api/admin/users/{owner_id}/freeze": (401, 403, 403, 200),
    "POST /api/admin/users/{owner_id}/unfreeze": (401, 403, 403, 200),
    "GET /api/admin/disputes": (401, 403, 403, 200),
    "POST /api/admin/disputes/{dispute_id}/resolve": (401, 403, 403, 200),
    "GET /api/admin/webhooks": (401, 403, 403, 200),
    "POST /api/admin/webhooks/{webhook_id}/replay": (401, 403, 403, 200),
    "GET /api/admin/reconciliation": (401, 403, 403, 200),
    "POST /api/admin/reconciliation/run": (401, 403, 403, 200),
    "POST /api/admin/payments/{review_id}/resolve": (401, 403, 403, 200),
    "POST /api/admin/calls/{doubtful_id}/resolve": (401, 403, 403, 200),
    "GET /api/admin/settlements": (401, 403, 403, 200),
    # --- last, because they end what the rows above need ---
    "POST /api/auth/change-password": (401, 204, 204, 204),
    "POST /api/auth/logout": (401, 204, 204, 204),
}

NUMBER = "+919876543210"
LATER = {"start_at": clock.iso(clock.after(30 * 86_400))}


@dataclasses.dataclass
class World:
    """A service, the people who ask, and what belongs to `owner`."""

    service: Service
    people: dict[str, Person | None]
    proof: dict[str, str]
    place: dict[str, str]

    def body(self, row: str, actor: str) -> dict[str, Any]:
        """What a well-meaning client sends to this route."""
        person = self.people[actor]
        email = person.email if person else "asha@example.org"
        known = {"username": "owner@example.org", "password": PASSWORD}
        bodies: dict[str, dict[str, Any]] = {
            "POST /api/auth/signup": {
                "json": {"email": f"new-{actor}@example.org", "password": PASSWORD, "name": "New"}
            },
            "POST /api/auth/login": {"json": {"email": "owner@example.org", "password": PASSWORD}},
            "POST /api/auth/token": {"data": known},
            "POST /api/auth/change-password": {
                "json": {
                    "current_password": self.passwords(email),
                    "new_password": "another horse battery",
                }
            },
            "POST /api/wallet/set-call-rate": {"params": {"rate": "10.0"}},
            "POST /api/admin/users/{owner_id}/call-rate": {"json": {"rate": None}},
            "POST /api/admin/rate-cards": {
                "files": {"file": ("card.csv", b"prefix,rate\n91,10\n")}
            },
            "POST /api/admin/rate-cards/activate": {"json": {"version": None}},
            "POST /api/payment/create-order": {"json": {"amount": 100}},
            "POST /api/payment/refunds": {
                "json": {
                    "payment_id": self.place["payment_id"],
                    "amount": 1,
                    "reason": "asked by mail",
                },
                "headers": {"Idempotency-Key": database.new_id("key")},
            },
            "POST /api/admin/users/{owner_id}/adjustments": {
                "json": {"type": "credit", "amount": 1, "reason": "goodwill"},
                "headers": new_key(),
            },
            "POST /api/admin/audit/repairs": {
                "json": {
                    "action": "release",
                    "user_id": self.place["owner_id"],
                    "subject": "call_never",
                    "reason": "a test",
                },
                "headers": new_key(),
            },
            "POST /api/admin/users/{owner_id}/freeze": {"json": {"reason": "a test"}},
            "POST /api/admin/users/{owner_id}/unfreeze": {"json": {"reason": "a test"}},
            "POST /api/payment/refunds/{refund_id}/resolve": {
                "json": {"outcome": "failed", "reason": "Razorpay lost it"}
            },
            "POST /api/admin/disputes/{dispute_id}/resolve": {
                "json": {"action": "keep", "reason": "all is right"}
            },
            "POST /api/admin/payments/{review_id}/resolve": {"json": {"note": "refunded"}},
            "POST /api/admin/calls/{doubtful_id}/resolve": {"json": {"note": "asked them"}},
            "POST /api/payment/verify": {"json": self.proof},
            "POST /api/call": {"json": {"to": NUMBER, "simulate": {"outcome": "busy"}}},
            "POST /api/calls/quote": {"json": {"to": NUMBER, "duration_seconds": 30}},
            "POST /api/campaigns": {"json": {"name": "A", "numbers": [NUMBER], "start": False}},
            "POST /api/campaigns/upload": {
                "data": {"name": "A", "start": "false"},
                "files": {"file": ("list.csv", f"phone\n{NUMBER}\n".encode())},
            },
            "POST /api/telephony/{provider}/{call_id}/status": {"json": {}},
            "POST /api/telephony/{provider}/{call_id}/answer": {"json": {}},
        }
        return bodies.get(row, {})

    def passwords(self, email: str) -> str:
        admin = email == self.service.settings.admin_email
        return self.service.settings.admin_password.get_secret_value() if admin else PASSWORD

    async def campaign(self, **options: Any) -> str:
        """A campaign of `owner` that does not dial."""
        body = {"name": "A", "numbers": [NUMBER], **options}
        made = await self.service.post("/api/campaigns", self.people["owner"], json=body)
        assert made.status_code == 201, made.text
        campaign_id: str = made.json()["campaign_id"]
        return campaign_id

    async def ask(self, row: str, actor: str) -> int:
        """The status of the answer that `actor` gets."""
        if row.endswith("/pause"):
            self.place["campaign_id"] = await self.campaign(**LATER)
        elif row.endswith(("/resume", "/cancel")):
            self.place["campaign_id"] = await self.campaign(**LATER, start=False)
        method, path = row.split(" ")
        answer = await self.service.request(
            method, path.format(**self.place), self.people[actor], **self.body(row, actor)
        )
        return answer.status_code


async def stored_webhook() -> str:
    """The id of some webhook of the sandbox."""
    for _ in range(1_200):
        if found := (await outbox.list_events(webhooks.EVENT, state=None, limit=1))[0]:
            return str(found[0]["_id"])
        await asyncio.sleep(0.05)
    raise AssertionError("the sandbox reports nothing")


async def doubtful_call(service: Service, owner: Person) -> str:
    """A call of which the network later said something else."""
    call = await calling.place(service, owner, {"outcome": "busy", "wall_seconds": 0})
    await calling.over(service, owner, call["call_id"])
    doubt = {"$set": {"review_reason": "the network later reported completed, 50 s"}}
    await database.db.calls.update_one({"_id": call["call_id"]}, doubt)
    return str(call["call_id"])


async def built(service: Service) -> World:
    """The world in which every route of the table has something to act on."""
    owner, other = await service.signup("owner@example.org"), await service.signup()
    await service.fund(owner, 1_000)
    order_id = await paying.open_order(service, owner)
    proof = await paying.pay(service, order_id)
    assert (await paying.verify(service, owner, proof)).status_code == 200
    forced = await paying.force_payment(
        service, await paying.open_order(service, owner), status="captured", amount=10_236
    )
    await paying.verify(service, owner, forced)  # it waits for a person
    body = {"payment_id": proof["razorpay_payment_id"], "amount": 1, "reason": "asked by mail"}
    key = {"Idempotency-Key": "the-refund-of-the-world"}
    admin = await service.admin()
    refund = await service.post("/api/payment/refunds", admin, json=body, headers=key)
    path = f"/payments/{proof['razorpay_payment_id']}/disputes"
    disputed = await paying.outside(service, path, amount=100)
    await disputes.apply_update(await gateway.fetch_dispute(disputed["id"]))
    call = await service.post(
        "/api/call", owner, json={"to": NUMBER, "simulate": {"outcome": "busy"}}
    )
    history = await service.get("/api/transactions", owner)
    admin = await service.admin()
    waiting = await wallet.propose_adjustment(
        owner.id, kind="credit", amount_paise=100, reason="a test", by=admin.id, seed="adj_waits"
    )
    found = World(
        service,
        {"nobody": None, "owner": owner, "other": other, "admin": await service.admin()},
        proof,
        {
            "code": "not_found",
            "provider": "simulator",
            "order_id": order_id,
            "payment_id": proof["razorpay_payment_id"],
            "transaction_id": history.json()["transactions"][0]["id"],
            "call_id": call.json()["call_id"],
            "owner_id": owner.id,
            "mode": "live",
            "refund_id": refund.json()["refund_id"],
            "dispute_id": disputed["id"],
            "review_id": forced["razorpay_payment_id"],
            "doubtful_id": await doubtful_call(service, owner),
            "waiting_id": waiting["_id"],
            "webhook_id": await stored_webhook(),
            "version": "1",
        },
    )
    found.place["campaign_id"] = await found.campaign(start=False)
    return found


@pytest.fixture
async def world(service: Service) -> World:
    return await built(service)


def test_every_route_is_in_the_table() -> None:
    paths = main.create_app().openapi()["paths"]
    routes = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    place = {"{owner_id}": "{user_id}", "{review_id}": "{payment_id}"}
    place |= {"{doubtful_id}": "{call_id}", "{waiting_id}": "{adjustment_id}"}
    rows = {row.split("?")[0] for row in MATRIX}
    assert routes == {reduce(lambda r, p: r.replace(*p), place.items(), row) for row in rows}


async def test_everybody_gets_what_the_table_says(world: World) -> None:
    wrong = []
    for row, expected in MATRIX.items():
        for actor, status in zip(ACTORS, expected, strict=True):
            got = await world.ask(row, actor)
            if got != status:
                wrong.append(f"{row}: {actor} got {got} instead of {status}")
    assert not wrong, "\n".join(wrong)


async def test_lists_show_a_user_their_own_and_operators_and_admins_everybodys(
    service: Service,
) -> None:
    asha, ravi, admin = await asyncio.gather(service.signup(), service.signup(), service.admin())
    operator = await service.operator()
    for person in (asha, ravi):
        await service.fund(person, 100)
        await paying.open_order(service, person)
        script = {"outcome": "busy", "wall_seconds": 0}
        await service.post("/api/call", person, json={"to": NUMBER, "simulate": script})
        body = {"name": "A", "numbers": [NUMBER], "start": False}
        await service.post("/api/campaigns", person, json=body)
    for path, name in {
        "/api/transactions": "transactions",
        "/api/payment/orders": "orders",
        "/api/calls": "calls",
        "/api/campaigns": "campaigns",
    }.items():
        both = {asha.id, ravi.id}
        for reader, whose in (
            (asha, {asha.id}),
            (ravi, {ravi.id}),
            (admin, both),
            (operator, both),
        ):
            rows = (await service.get(path, reader)).json()[name]
            assert {row["user_id"] for row in rows} == whose, (path, reader.email)
        for person in (asha, ravi):
            mine = await service.get(f"{path}?user_id={person.id}", admin)
            if path != "/api/payment/orders":
                assert {row["user_id"] for row in mine.json()[name]} == {person.id}, path


async def test_asking_for_somebody_elses_list_never_shows_it(service: Service) -> None:
    asha, ravi = await service.signup(), await service.signup()
    await service.fund(asha, 100)
    script = {"outcome": "busy", "wall_seconds": 0}
    await service.post("/api/call", asha, json={"to": NUMBER, "simulate": script})
    for path, name in {"/api/calls": "calls", "/api/campaigns": "campaigns"}.items():
        assert (await service.get(f"{path}?user_id={asha.id}", ravi)).json()[name] == []
    assert (await service.get(f"/api/transactions?user_id={asha.id}", ravi)).status_code == 403
    assert (
        await service.get(f"/api/transactions/download?user_id={asha.id}", ravi)
    ).status_code == 403
