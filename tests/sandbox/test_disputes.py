"""Disputes of the Razorpay on this machine: opened and decided outside, read over the API."""

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from core import clock
from tests.sandbox.test_razorpay import ask, opened, payment
from tests.support import payments as paying
from tests.support.service import Service, running, test_settings


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for all tests of this file; each makes its own payments."""
    async with running(test_settings(mongodb_uri)) as started:
        yield started


async def outside(service: Service, path: str, **body: Any) -> httpx.Response:
    return await service.client.post(f"/sandbox{path}", json=body)


async def paid(service: Service) -> str:
    """The id of a captured payment of Rs 50."""
    order_id = (await opened(service))["id"]
    return (await paying.pay(service, order_id))["razorpay_payment_id"]


async def disputed(service: Service, payment_id: str, **body: Any) -> dict[str, Any]:
    answer = await outside(service, f"/payments/{payment_id}/disputes", **body)
    assert answer.status_code == 201, answer.text
    dispute: dict[str, Any] = answer.json()
    return dispute


async def decide(service: Service, dispute_id: str, **body: Any) -> dict[str, Any]:
    answer = await outside(service, f"/disputes/{dispute_id}", **body)
    assert answer.status_code == 200, answer.text
    dispute: dict[str, Any] = answer.json()
    return dispute


async def events(service: Service, about: str) -> list[dict[str, Any]]:
    """What is reported about an entity, the oldest first."""
    listed = (await service.client.get("/sandbox/webhooks", params={"about": about})).json()
    found = []
    for item in listed["items"][::-1]:
        shown = (await service.client.get(f"/sandbox/webhooks/{item['id']}")).json()
        found.append(json.loads(shown["body"]))
    return found


async def test_a_dispute_looks_like_razorpays_and_is_reported(service: Service) -> None:
    payment_id = await paid(service)
    dispute = await disputed(service, payment_id, amount=3_900)
    assert re.fullmatch(r"disp_[A-Za-z0-9]{14}", dispute["id"])
    (event,) = await events(service, dispute["id"])
    assert (event["event"], event["contains"]) == (
        "payment.dispute.created",
        ["payment", "dispute"],
    )
    assert event["payload"]["dispute"]["entity"] == dispute
    assert event["payload"]["payment"]["entity"]["id"] == payment_id
    assert (await ask(service, "GET", f"/disputes/{dispute['id']}")).json() == dispute
    evidence, now = dispute.pop("evidence"), int(clock.now().timestamp())
    assert evidence.pop("amount") == 3_900
    assert set(evidence.values()) == {None}
    assert len(evidence) == 13
    assert abs(dispute.pop("created_at") - now) <= 2
    assert dispute.pop("respond_by") > now
    assert dispute == {
        "id": dispute["id"],
        "entity": "dispute",
        "payment_id": payment_id,
        "amount": 3_900,
        "currency": "INR",
        "amount_deducted": 0,
        "reason_code": "processed_invalid_expired_card",
        "status": "open",
        "phase": "chargeback",
    }


async def test_every_decision_is_reported_and_a_new_phase_opens_it_again(service: Service) -> None:
    dispute_id = (await disputed(service, await paid(service), deduct_at_onset=True))["id"]
    seen = []
    for body in (
        {"status": "under_review"},
        {"status": "action_required"},
        {"status": "won"},
        {"phase": "pre_arbitration"},
        {"status": "lost"},
        {"phase": "arbitration", "status": "closed"},
    ):
        dispute = await decide(service, dispute_id, **body)
        seen.append((dispute["phase"], dispute["status"], dispute["amount_deducted"]))
    assert seen == [
        ("chargeback", "under_review", 5_000),
        ("chargeback", "under_review", 5_000),  # action_required is an event alone
        ("chargeback", "won", 0),
        ("pre_arbitration", "open", 5_000),
        ("pre_arbitration", "lost", 5_000),
        ("arbitration", "closed", 0),
    ]
    named = [event["event"].rpartition(".")[2] for event in await events(service, dispute_id)]
    assert named == [
        *("created", "under_review", "action_required", "won"),
        *("created", "lost", "created", "closed"),
    ]


async def test_a_loss_can_be_taken_by_a_refund_too(service: Service) -> None:
    payment_id = await paid(service)
    dispute_id = (await disputed(service, payment_id, amount=2_000))["id"]
    lost = await decide(service, dispute_id, status="lost", as_refund=True)
    assert (lost["status"], lost["amount_deducted"]) == ("lost", 2_000)
    assert (await payment(service, payment_id))["amount_refunded"] == 2_000
    listed = (await ask(service, "GET", f"/payments/{payment_id}/refunds")).json()["items"]
    assert [(refund["amount"], refund["notes"]) for refund in listed] == [(2_000, [])]
    named = [event["event"] for event in await events(service, payment_id)]
    assert named[-2:] == ["payment.dispute.lost", "refund.created"]
    too_much = (await disputed(service, payment_id))["id"]
    answer = await outside(service, f"/disputes/{too_much}", status="lost", as_refund=True)
    assert answer.status_code == 400  # and nothing of it happened
    found = (await ask(service, "GET", f"/disputes/{too_much}")).json()
    assert (found["status"], found["amount_deducted"]) == ("open", 0)


async def test_disputes_are_listed_newest_first(service: Service) -> None:
    payment_id = await paid(service)
    ids = [(await disputed(service, payment_id, amount=100 + n))["id"] for n in range(3)]
    now = int(clock.now().timestamp())
    for query, expected in (
        ("count=3", ids[::-1]),
        ("count=1&skip=2", ids[:1]),
        (f"from={now + 60}", []),
        (f"from={now - 60}&to={now + 60}&count=2", ids[:0:-1]),
    ):
        answer = (await ask(service, "GET", f"/disputes?{query}")).json()
        assert [dispute["id"] for dispute in answer["items"]] == expected, query


async def test_a_dispute_that_there_cannot_be_is_refused(service: Service) -> None:
    payment_id, order_id = await paid(service), (await opened(service))["id"]
    waiting = await paying.force_payment(service, order_id, status="authorized")
    path = f"/payments/{waiting['razorpay_payment_id']}/disputes"
    assert (await outside(service, path)).status_code == 400
    for body in ({"amount": 5_001}, {"amount": 0}, {"phase": "war"}, {"reason_code": 1}, {"x": 1}):
        answer = await outside(service, f"/payments/{payment_id}/disputes", **body)
        assert answer.status_code == 400, body
    dispute_id = (await disputed(service, payment_id))["id"]
    for change in (
        *({}, {"status": "open"}, {"phase": "war"}, {"status": "won", "as_refund": True}),
        *({"phase": "fraud", "status": "x"}, {"amount": 1}),
    ):
        answer = await outside(service, f"/disputes/{dispute_id}", **change)
        assert answer.status_code == 400, change
    assert (await outside(service, "/disputes/disp_A", status="won")).status_code == 400
    assert (await ask(service, "GET", "/disputes/disp_A")).status_code == 400
