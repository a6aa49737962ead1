"""Who may do what: every route × {nobody, user, other user, operator, admin, disabled, key without the
scope, key with it}."""

import asyncio
import dataclasses
from functools import reduce
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from jose import jwt

import disputes
import gateway
import main
import wallet
from api import access, dependencies, system
from auth.api_keys import SCOPES, Scope
from core import clock, database, outbox
from core.database import Document
from reconciliation import webhooks
from tests.project import access_table
from tests.support import calls as calling
from tests.support import payments as paying
from tests.support.service import PASSWORD, Person, Service, new_key

ACTORS = ("nobody", "owner", "other", "operator", "admin")

# `owner` is the user whom the resources in the address belong to, and has money; `other` has
# neither, so for `other` a 402 says that the route is allowed. Rows are run from top to bottom. What a
# disabled account and API keys get follows from the row and the scope in `access.ROUTES`.
MATRIX: dict[str, tuple[int, int, int, int, int]] = {
    # --- open to everybody ---
    "GET /health": (200, 200, 200, 200, 200),
    "GET /ready": (200, 200, 200, 200, 200),
    "GET /metrics": (200, 200, 200, 200, 200),
    "GET /problems/{code}": (200, 200, 200, 200, 200),
    "POST /api/auth/signup": (201, 201, 201, 201, 201),
    "POST /api/auth/login": (200, 200, 200, 200, 200),
    "POST /api/auth/token": (200, 200, 200, 200, 200),
    "GET /api/payment/orders/{order_id}/checkout": (200, 200, 200, 200, 200),
    # --- the network alone, by its signature ---
    "POST /api/telephony/{provider}/{call_id}/status": (403, 403, 403, 403, 403),
    "POST /api/telephony/{provider}/{call_id}/answer": (403, 403, 403, 403, 403),
    "POST /api/telephony/{provider}/{call_id}/keys": (403, 403, 403, 403, 403),
    "GET /api/telephony/exotel/answer": (403, 403, 403, 403, 403),
    # --- everybody with an account, about themselves ---
    "GET /api/api-keys": (401, 200, 200, 200, 200),
    "POST /api/api-keys": (401, 201, 201, 201, 201),
    "POST /api/api-keys/{key_id}/rotate": (401, 201, 404, 404, 404),
    "DELETE /api/api-keys/{key_id}": (401, 204, 404, 404, 404),
    "GET /api/auth/me": (401, 200, 200, 200, 200),
    "GET /api/auth/sessions": (401, 200, 200, 200, 200),
    "POST /api/auth/totp": (401, 200, 200, 200, 200),
    "POST /api/auth/totp/confirm": (401, 422, 422, 422, 422),  # a wrong code
    "DELETE /api/auth/totp": (401, 404, 404, 404, 404),  # nobody has one
    "GET /api/wallet/balance": (401, 200, 200, 200, 200),
    "GET /api/wallet/call-rate": (401, 200, 200, 200, 200),
    "GET /api/wallet/days": (401, 200, 200, 200, 200),
    "GET /api/payment/razorpay-key": (401, 200, 200, 200, 200),
    "POST /api/payment/create-order": (401, 201, 201, 403, 201),
    "GET /api/payment/orders": (401, 200, 200, 200, 200),
    "GET /api/payment/disputes": (401, 200, 200, 200, 200),
    "GET /api/transactions": (401, 200, 200, 200, 200),
    "GET /api/transactions/download": (401, 200, 200, 200, 200),
    "POST /api/call": (401, 202, 402, 403, 402),
    "POST /api/calls/quote": (401, 200, 200, 200, 200),
    "GET /api/calls": (401, 200, 200, 200, 200),
    "GET /api/calls/download": (401, 200, 200, 200, 200),
    "POST /api/campaigns": (401, 201, 402, 403, 402),
    "POST /api/campaigns/upload": (401, 201, 402, 403, 402),
    "POST /api/campaigns/preview": (401, 200, 200, 403, 200),
    "GET /api/campaigns/imports/{job_id}": (401, 200, 404, 200, 200),
    "POST /api/campaigns/imports/{job_id}/cancel": (401, 200, 404, 403, 200),
    "GET /api/campaigns": (401, 200, 200, 200, 200),
    "GET /api/campaigns/statistics": (401, 200, 200, 200, 200),
    "GET /api/events/stream?seconds=0": (401, 200, 200, 200, 200),
    "GET /api/do-not-call": (401, 200, 200, 200, 200),
    "POST /api/do-not-call": (401, 201, 201, 403, 201),
    "POST /api/do-not-call/erase": (401, 200, 200, 403, 200),
    "POST /api/do-not-call/upload": (401, 201, 201, 403, 201),
    "GET /api/do-not-call/download": (401, 200, 200, 200, 200),
    "DELETE /api/do-not-call?number=%2B919812345678": (401, 204, 204, 403, 204),
    "POST /api/complaints": (401, 201, 201, 403, 201),
    "GET /api/complaints": (401, 200, 200, 200, 200),
    "GET /api/complaints/download": (401, 200, 200, 200, 200),
    "GET /api/calling-hours": (401, 200, 200, 200, 200),
    "GET /api/numbers/{number}/history": (401, 200, 200, 200, 200),
    # --- the owner, operators and admins; for others it does not exist ---
    "GET /api/payment/orders/{order_id}": (401, 200, 404, 200, 200),
    "GET /api/payment/payments/{payment_id}": (401, 200, 404, 200, 200),
    "GET /api/payment/disputes/{dispute_id}": (401, 200, 404, 200, 200),
    "GET /api/transactions/{transaction_id}": (401, 200, 404, 200, 200),
    "GET /api/calls/{call_id}": (401, 200, 404, 200, 200),
    "POST /api/calls/{call_id}/hangup": (401, 202, 404, 403, 202),
    "GET /api/complaints/{complaint_id}": (401, 200, 404, 200, 200),
    "GET /api/campaigns/{campaign_id}": (401, 200, 404, 200, 200),
    "GET /api/campaigns/{campaign_id}/contacts": (401, 200, 404, 200, 200),
    "GET /api/campaigns/{campaign_id}/results": (401, 200, 404, 200, 200),
    "GET /api/campaigns/{campaign_id}/attempts": (401, 200, 404, 200, 200),
    "GET /api/campaigns/{campaign_id}/statistics": (401, 200, 404, 200, 200),
    "GET /api/campaigns/{campaign_id}/rejected": (401, 200, 404, 200, 200),
    "POST /api/campaigns/{campaign_id}/pause": (401, 200, 404, 403, 200),
    "POST /api/campaigns/{campaign_id}/resume": (401, 200, 404, 403, 200),
    "POST /api/campaigns/{campaign_id}/cancel": (401, 200, 404, 403, 200),
    "POST /api/campaigns/{campaign_id}/validate": (401, 200, 404, 200, 200),
    "PATCH /api/campaigns/{campaign_id}": (401, 200, 404, 403, 200),
    "POST /api/campaigns/{campaign_id}/copy": (401, 201, 404, 403, 201),
    "POST /api/campaigns/{campaign_id}/retry-unreached": (401, 409, 404, 403, 409),
    "POST /api/campaigns/{campaign_id}/archive": (401, 200, 404, 403, 200),
    "POST /api/campaigns/{campaign_id}/unarchive": (401, 200, 404, 403, 200),
    "DELETE /api/campaigns/{campaign_id}": (401, 204, 404, 403, 204),
    # --- the owner alone: money goes into the wallet of the order's user, brought by that user ---
    "POST /api/payment/verify": (401, 200, 404, 403, 404),
    # --- operators and admins ---
    "GET /api/transactions?user_id={owner_id}": (401, 200, 403, 200, 200),
    "POST /api/wallet/set-call-rate": (401, 403, 403, 403, 200),
    "POST /api/admin/users/{owner_id}/call-rate": (401, 403, 403, 403, 200),
    "POST /api/admin/rate-cards": (401, 403, 403, 403, 201),
    "GET /api/admin/rate-cards": (401, 403, 403, 200, 200),
    "GET /api/admin/rate-cards/{version}/download": (401, 403, 403, 200, 200),
    "POST /api/admin/rate-cards/preview": (401, 403, 403, 200, 200),
    "POST /api/admin/rate-cards/activate": (401, 403, 403, 403, 200),
    "GET /api/admin/calling-rules": (401, 403, 403, 200, 200),
    "PUT /api/admin/calling-rules": (401, 403, 403, 403, 200),
    "GET /api/admin/metrics": (401, 403, 403, 200, 200),
    "GET /api/admin/metrics/download": (401, 403, 403, 200, 200),
    "GET /api/admin/networks": (401, 403, 403, 200, 200),
    "GET /api/admin/users": (401, 403, 403, 200, 200),
    "POST /api/admin/users": (401, 403, 403, 403, 201),
    "GET /api/admin/users/download": (401, 403, 403, 200, 200),
    "GET /api/admin/users/{owner_id}": (401, 403, 403, 200, 200),
    "PATCH /api/admin/users/{owner_id}": (401, 403, 403, 403, 200),
    "DELETE /api/admin/users/{ended_id}/totp": (401, 403, 403, 403, 204),
    "GET /api/admin/audit": (401, 403, 403, 200, 200),
    "POST /api/admin/audit": (401, 403, 403, 403, 202),
    "POST /api/admin/audit/repairs": (401, 403, 403, 403, 409),  # there is nothing to repair
    "GET /api/admin/audit-log": (401, 403, 403, 200, 200),
    "GET /api/admin/audit-log/download": (401, 403, 403, 200, 200),
    "GET /api/admin/adjustments": (401, 403, 403, 200, 200),
    "POST /api/admin/adjustments/{waiting_id}/confirm": (
        401,
        403,
        403,
        403,
        403,
    ),  # it is the admin's own
    "POST /api/admin/adjustments/{waiting_id}/reject": (401, 403, 403, 403, 403),
    # Razorpay's signature opens it, no token.
    "POST /api/payment/webhook": (400, 400, 400, 400, 400),
    "POST /api/payment/webhook/{mode}": (404, 404, 404, 404, 404),
    "POST /api/payment/refunds": (401, 403, 403, 403, 201),
    "GET /api/payment/refunds": (401, 200, 200, 200, 200),
    "GET /api/payment/refunds/{refund_id}": (401, 200, 404, 200, 200),
    "POST /api/payment/refunds/{refund_id}/resolve": (401, 403, 403, 403, 200),
    "POST /api/admin/users/{owner_id}/adjustments": (401, 403, 403, 403, 201),
    "GET /api/admin/users/{owner_id}/adjustments": (401, 403, 403, 200, 200),
    "POST /api/admin/users/{owner_id}/freeze": (401, 403, 403, 403, 200),
    "POST /api/admin/users/{owner_id}/unfreeze": (401, 403, 403, 403, 200),
    "GET /api/admin/disputes": (401, 403, 403, 200, 200),
    "GET /api/admin/disputes/{dispute_id}": (401, 403, 403, 200, 200),
    "POST /api/admin/disputes/{dispute_id}/resolve": (401, 403, 403, 403, 200),
    "GET /api/admin/webhooks": (401, 403, 403, 200, 200),
    "GET /api/admin/webhooks/{webhook_id}": (401, 403, 403, 200, 200),
    "POST /api/admin/webhooks/{webhook_id}/replay": (401, 403, 403, 403, 200),
    "GET /api/admin/review": (401, 403, 403, 200, 200),
    "GET /api/admin/reconciliation": (401, 403, 403, 200, 200),
    "POST /api/admin/reconciliation/run": (401, 403, 403, 403, 200),
    "POST /api/admin/payments/{review_id}/resolve": (401, 403, 403, 403, 200),
    "POST /api/admin/calls/{doubtful_id}/resolve": (401, 403, 403, 403, 200),
    "GET /api/admin/settlements": (401, 403, 403, 200, 200),
    # --- last, because they end what the rows above need ---
    "POST /api/auth/change-password": (401, 204, 204, 204, 204),
    "DELETE /api/auth/sessions": (401, 204, 204, 204, 204),
    "DELETE /api/admin/users/{ended_id}/sessions": (401, 403, 403, 403, 200),
    "DELETE /api/auth/sessions/{session_id}": (401, 204, 404, 404, 404),  # the owner's own
    "POST /api/auth/logout": (401, 401, 204, 204, 204),  # the owner has just ended that session
}

# How the rows name the owner's things, and how the routes do.
PLACES = {
    "{owner_id}": "{user_id}",
    "{review_id}": "{payment_id}",
    "{doubtful_id}": "{call_id}",
    "{waiting_id}": "{adjustment_id}",
    "{ended_id}": "{user_id}",
}
NUMBER = "+919876543210"
LISTED = "+919812345678"  # on the do-not-call lists
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
            "POST /api/api-keys": {"json": {"name": "CRM", "scopes": ["calls:read"]}},
            "POST /api/auth/totp/confirm": {"json": {"code": "000000"}},
            "DELETE /api/auth/totp": {"json": {"password": PASSWORD}},
            "POST /api/admin/users": {"json": {"email": f"made-{actor}@example.org", "name": "A"}},
            "PATCH /api/admin/users/{owner_id}": {"json": {"disabled": False}},
            "POST /api/wallet/set-call-rate": {"params": {"rate": "10.0"}},
            "POST /api/admin/users/{owner_id}/call-rate": {"json": {"rate": None}},
            "POST /api/admin/rate-cards": {
                "files": {"file": ("card.csv", b"prefix,rate\n91,10\n")}
            },
            "POST /api/admin/rate-cards/preview": {
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
            "PATCH /api/campaigns/{campaign_id}": {"json": {"name": "B"}},
            "POST /api/campaigns/upload": {
                "data": {"name": "A", "start": "false"},
                "files": {"file": ("list.csv", f"phone\n{NUMBER}\n".encode())},
            },
            "POST /api/do-not-call": {"json": {"number": LISTED}},
            "POST /api/do-not-call/erase": {"json": {"number": LISTED}},
            "POST /api/do-not-call/upload": {
                "files": {"file": ("list.csv", f"phone\n{LISTED}\n".encode())}
            },
            "POST /api/complaints": {"json": {"number": LISTED, "source": "network"}},
            "PUT /api/admin/calling-rules": {"json": {"version": 0}},
            "POST /api/campaigns/preview": {
                "files": {"file": ("list.csv", f"phone\n{NUMBER}\n".encode())},
            },
            "POST /api/telephony/{provider}/{call_id}/status": {"json": {}},
            "POST /api/telephony/{provider}/{call_id}/answer": {"json": {}},
            "POST /api/telephony/{provider}/{call_id}/keys": {"json": {}},
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
        elif row.endswith(("/resume", "/cancel", "/archive", "-unreached")) or row.startswith(
            "PATCH /api/campaigns/"
        ):
            self.place["campaign_id"] = await self.campaign(**LATER, start=False)
        elif row.startswith("DELETE /api/do-not-call"):  # an earlier actor has removed it
            await self.service.post("/api/do-not-call", self.people[actor], json={"number": LISTED})
        method, path = row.split(" ")
        place = dict(self.place)
        if row.startswith("DELETE /api/campaigns/"):  # the others are not about one that is gone
            place["campaign_id"] = await self.campaign(**LATER, start=False)
        answer = await self.service.request(
            method, path.format(**place), self.people[actor], **self.body(row, actor)
        )
        return answer.status_code


async def stored_webhook() -> str:
    """The id of some webhook of the sandbox."""
    for _ in range(1_200):
        if found := (await outbox.list_events(webhooks.EVENT, state=None, limit=1))[0]:
            return str(found[0]["_id"])
        await asyncio.sleep(0.05)
    raise AssertionError("the sandbox reports nothing")


async def canceled_import(owner: Person) -> str:
    """The id of a list that is read no more."""
    nothing: Document = {
        "rows_done": 0,
        "rows_total": None,
        "usable": 0,
        "refused": {},
        "error": None,
    }
    times = dict.fromkeys(("created_at", "updated_at", "ended_at"), clock.now())
    whose = {"_id": "imp_canceled", "campaign_id": "cmp_canceled", "user_id": owner.id}
    job = whose | nothing | times | {"state": "canceled", "file_bytes": 1, "lease_until": None}
    await database.db.imports.insert_one(job)
    return "imp_canceled"


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
    complaint = {"number": LISTED, "source": "network"}
    complained = await service.post("/api/complaints", owner, json=complaint)
    history = await service.get("/api/transactions", owner)
    admin = await service.admin()
    waiting = await wallet.propose_adjustment(
        owner.id, kind="credit", amount_paise=100, reason="a test", by=admin.id, seed="adj_waits"
    )
    found = World(
        service,
        {
            "nobody": None,
            "owner": owner,
            "other": other,
            "operator": await service.operator(),
            "admin": await service.admin(),
            "disabled": await service.disabled(),
        },
        proof,
        {
            "code": "not_found",
            "provider": "simulator",
            "order_id": order_id,
            "payment_id": proof["razorpay_payment_id"],
            "transaction_id": history.json()["transactions"][0]["id"],
            "call_id": call.json()["call_id"],
            "owner_id": owner.id,
            "ended_id": (await service.signup()).id,
            "session_id": jwt.get_unverified_claims(owner.token)["sid"],
            "mode": "live",
            "refund_id": refund.json()["refund_id"],
            "dispute_id": disputed["id"],
            "review_id": forced["razorpay_payment_id"],
            "doubtful_id": await doubtful_call(service, owner),
            "job_id": await canceled_import(owner),
            "waiting_id": waiting["_id"],
            "webhook_id": await stored_webhook(),
            "version": "1",
            "number": LISTED,
            "complaint_id": complained.json()["complaint_id"],
            "key_id": (await made_key(service, owner, ["calls:read"]))[0],
        },
    )
    found.place["campaign_id"] = await found.campaign(start=False)
    return found


async def made_key(service: Service, person: Person, scopes: list[Scope]) -> tuple[str, Person]:
    """The id of a new API key of this person, and the person who comes with it."""
    body = {"name": "CRM", "scopes": scopes}
    made = await service.post("/api/api-keys", person, json=body)
    assert made.status_code == 201, made.text
    return made.json()["key_id"], dataclasses.replace(person, token=made.json()["key"])


@pytest.fixture
async def world(service: Service) -> World:
    return await built(service)


def entry_of(row: str) -> access.Access:
    method, path = row.split("?")[0].split(" ")
    return access.ROUTES[method, TEMPLATES.get(path, path)]


# Where a row names whose or which, instead of only what it is.
TEMPLATES = {
    path: reduce(lambda found, pair: found.replace(*pair), PLACES.items(), path)
    for path in (row.split("?")[0].split(" ")[1] for row in MATRIX)
}


def _routes_of(app: FastAPI) -> dict[str, APIRoute]:
    """Every route of the application but that of the schema, as `METHOD /path`."""
    found = {}
    for router in (*main.ROUTERS, system.pages):
        for route in router.routes:
            assert isinstance(route, APIRoute)
            for method in (route.methods or set()) - {"HEAD"}:
                found[f"{method} {route.path}"] = route
    assert {f"{m.upper()} {p}" for p, ms in app.openapi()["paths"].items() for m in ms} <= {*found}
    return found


def _dependencies_of(dependant: Dependant) -> set[object]:
    return {dependant.call}.union(*map(_dependencies_of, dependant.dependencies))


def test_every_route_is_in_both_tables() -> None:
    routes = _routes_of(main.create_app())
    assert {*routes} == {f"{method} {path}" for method, path in access.ROUTES}
    # open, and no part of OpenAPI
    pages = {"GET /", "GET /docs", "GET /.well-known/security.txt", "GET /{page:console_page}"}
    pages |= {"GET /pay/{order_id}", "GET /assets/{digest}/{name:path}"}
    rows = {row.split("?")[0] for row in MATRIX}
    assert {*routes} - pages == {f"{r.split(' ')[0]} {TEMPLATES[r.split(' ')[1]]}" for r in rows}


READERS = frozenset({"operator", "admin"})


def test_what_a_route_depends_on_agrees_with_the_table() -> None:
    """A route that asks for an admin is not open to others, and one that asks for nobody has none."""
    for name, route in _routes_of(main.create_app()).items():
        entry, needed = entry_of(name), _dependencies_of(route.dependant)
        assert (dependencies.signed_in in needed) == (entry.roles is not None), name
        assert (dependencies._admin in needed) == (entry.roles == frozenset({"admin"})), name
        assert (dependencies._operator in needed) == (entry.roles == READERS), name


def test_the_tables_of_this_file_and_of_the_product_agree() -> None:
    for row, (nobody, owner, _, operator, admin) in MATRIX.items():
        entry = entry_of(row)
        assert (nobody == 401) == (entry.roles is not None), row
        if entry.roles is not None:
            for role, got in (("user", owner), ("operator", operator), ("admin", admin)):
                if role not in entry.roles:
                    assert got == 403, f"{row}: {role}"


def test_the_documentation_has_the_table() -> None:
    page = access_table.PAGE.read_text()
    assert access_table.written_into(page) == page, "run `python -m tests.project.access_table`"


async def keys_of(world: World) -> dict[Scope | None, tuple[Person, Person]]:
    """For each scope a key that has all but it, and one that has it; for None one with all scopes."""
    service, owner, admin = world.service, world.people["owner"], world.people["admin"]
    assert owner is not None
    assert admin is not None
    scopes: list[Scope] = [scope for scope in SCOPES if scope != "admin:read"]
    _, full = await made_key(service, owner, scopes)
    keys: dict[Scope | None, tuple[Person, Person]] = {None: (full, full)}
    for scope in scopes:
        others = [one for one in scopes if one != scope]
        keys[scope] = ((await made_key(service, owner, others))[1], full)
    _, blind = await made_key(service, admin, scopes)
    keys["admin:read"] = (blind, (await made_key(service, admin, ["admin:read"]))[1])
    return keys


def expected_of(row: str) -> dict[str, int]:
    """The status that each actor gets. A disabled account is refused, a key with the scope gets
    what its account gets, and one without it, or where no key may be, is refused."""
    expected = dict(zip(ACTORS, MATRIX[row], strict=True))
    entry = entry_of(row)
    if entry.roles is not None:
        expected |= {"disabled": 403, "without": 403}
        if entry.scope is not None:
            expected["with"] = expected["admin" if entry.scope == "admin:read" else "owner"]
    return expected


async def test_everybody_gets_what_the_table_says(world: World) -> None:
    keys = await keys_of(world)
    wrong = []
    for row in MATRIX:
        world.people["without"], world.people["with"] = keys[entry_of(row).scope]
        for actor, status in expected_of(row).items():
            got = await world.ask(row, actor)
            if got != status:
                wrong.append(f"{row}: {actor} got {got} instead of {status}")
    assert not wrong, "\n".join(wrong)


async def test_a_key_says_which_scope_it_lacks_and_is_told_where_no_key_may_be(
    service: Service,
) -> None:
    asha, admin = await service.signup(), await service.admin()
    _, key = await made_key(service, asha, ["wallet:read"])
    for method, path, scope in (
        ("POST", "/api/call", "calls:write"),
        ("GET", "/api/calls", "calls:read"),
        ("GET", "/api/calls/download", "calls:read"),
        ("GET", "/api/admin/users", "admin:read"),
    ):
        answer = await service.request(method, path, key)
        assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope"), path
        assert answer.json()["scope"] == scope
    _, strong = await made_key(service, admin, list(SCOPES))
    for method, path in (
        ("POST", "/api/auth/change-password"),
        ("POST", "/api/api-keys"),
        ("POST", "/api/payment/refunds"),
        ("POST", "/api/wallet/set-call-rate"),
    ):
        answer = await service.request(method, path, strong)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), path
    refused = await service.post(
        "/api/api-keys", asha, json={"name": "A", "scopes": ["admin:read"]}
    )
    assert (refused.status_code, refused.json()["code"]) == (422, "validation_error")


async def test_lists_show_a_user_their_own_and_operators_and_admins_everybodys(
    service: Service,
) -> None:
    asha, ravi, admin = await asyncio.gather(service.signup(), service.signup(), service.admin())
    operator = await service.operator()
    reads: list[Scope] = ["payments:read", "transactions:read", "calls:read", "campaigns:read"]
    _, reading_all = await made_key(service, admin, [*reads, "admin:read"])
    _, blind = await made_key(service, admin, reads)
    _, key_of_asha = await made_key(service, asha, reads)
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
            (reading_all, both),
            (blind, set()),
            (key_of_asha, {asha.id}),
        ):
            rows = (await service.get(path, reader)).json()[name]
            assert {row["user_id"] for row in rows} == whose, (path, reader.email)
        for person in (asha, ravi):
            mine = await service.get(f"{path}?user_id={person.id}", admin)
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
