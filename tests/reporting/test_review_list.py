"""The review list: everything that waits for a person, in one list."""

import asyncio
from typing import Any

import pytest
from pymongo.errors import AutoReconnect

import disputes
import payments
from core import clock, database
from core.database import db
from reporting import audit_runs, review_list
from reporting.audit import Report, Violation
from tests.support import payments as paying
from tests.support.service import Person, Service, new_key

AT = clock.now()
PATH = "/api/admin/review"


@pytest.fixture
async def admin(service: Service) -> Person:
    return await service.admin()


async def shown(service: Service, admin: Person, query: str = "") -> dict[str, Any]:
    answer = await service.get(f"{PATH}{query}", admin)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def of_another_amount(service: Service, person: Person) -> tuple[str, str]:
    """A payment in review, and its order."""
    order_id = await paying.open_order(service, person)
    paid = await paying.force_payment(service, order_id, status="captured", amount=10_200)
    assert (await paying.verify(service, person, paid)).status_code == 409
    return paid["razorpay_payment_id"], order_id


async def audited_with(*found: Violation) -> None:
    """An audit that has ended with these findings."""
    run = await audit_runs.start_run(by="usr_test")
    await audit_runs.stop()
    kept = audit_runs._document_of(Report(violations=list(found)))
    await db.audit_runs.update_one(
        {"_id": run["_id"]}, {"$set": {"state": "finished", "kept": kept}}
    )


async def test_an_empty_list_says_what_it_does_not_know(service: Service, admin: Person) -> None:
    found = await shown(service, admin)
    assert found["items"] == []
    assert found["unknown"] == {"audit": "never_audited"}
    assert found["counts"] == dict.fromkeys(review_list.KINDS, 0) | {"audit": None}


async def test_a_payment_has_what_was_ordered_and_whose_it_is(
    service: Service, admin: Person
) -> None:
    person = await service.signup()
    payment_id, order_id = await of_another_amount(service, person)
    (item,) = (await shown(service, admin))["items"]
    assert (item["kind"], item["id"], item["reason"]) == ("payment", payment_id, "amount_mismatch")
    assert (item["user_id"], item["user_name"], item["amount"]) == (person.id, "Asha Rao", 102.0)
    assert item["facts"]["ordered"] == 100.0
    assert item["facts"]["order_id"] == order_id
    resolve = f"/api/admin/payments/{payment_id}/resolve"
    assert (await service.post(resolve, admin, json={"note": "refunded"})).status_code == 200
    assert (await shown(service, admin, f"?kind=payment&id={payment_id}"))["items"] == []


async def test_kinds_are_in_one_order_and_the_pages_follow_each_other(
    service: Service, admin: Person
) -> None:
    person = await service.signup()
    await db.events.insert_many(
        {
            "_id": f"hook_{n}",
            "name": "RazorpayReported",
            "user_id": None,
            "data": {"event": "refund.processed", "razorpay_event_id": "evt_1", "body": "{}"},
            "at": clock.after(10 * n, since=AT),
            "state": "dead",
            "failure": "x",
            "attempts": 20,
        }
        for n in range(3)
    )
    await db.adjustments.insert_many(
        {
            "_id": f"adj_{n}",
            "user_id": person.id,
            "action": "credit",
            "reason": "goodwill",
            "by": "usr_another",
            "transaction_id": None,
            "at": clock.after(10 * n + 5, since=AT),
            "amount_paise": database.long(100),
            "status": "waiting",
        }
        for n in range(3)
    )
    expected = [f"{kind}_{n}" for n in range(3) for kind in ("hook", "adj")]
    assert [item["id"] for item in (await shown(service, admin))["items"]] == expected
    seen, cursor = [], ""
    while True:
        page = await shown(service, admin, f"?limit=4{cursor}")
        assert page["counts"] | {"webhook": 3, "adjustment": 3} == page["counts"]
        seen += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == expected
    one = await service.get("/api/admin/webhooks/hook_1", admin)
    assert (one.status_code, one.json()["body"], one.json()["failure"]) == (200, "{}", "x")
    for path in ("/api/admin/webhooks/hook_9", "/api/admin/disputes/disp_9"):
        assert (await service.get(path, admin)).status_code == 404
    one_kind = await shown(service, admin, "?kind=adjustment")
    assert [item["id"] for item in one_kind["items"]] == ["adj_0", "adj_1", "adj_2"]
    for wrong in ("x", "WzFd"):
        refused = await service.get(f"{PATH}?cursor={wrong}", admin)
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_cursor")


async def test_a_part_that_cannot_be_read_is_unknown_and_the_others_are_shown(
    service: Service, admin: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await service.signup()
    await of_another_amount(service, person)

    async def away(_: int) -> list[Any]:
        raise AutoReconnect("away")

    monkeypatch.setattr(disputes, "list_unclear_pairs", away)
    found = await shown(service, admin)
    assert found["unknown"]["dispute"] == "unavailable"
    assert found["counts"]["dispute"] is None
    assert [item["kind"] for item in found["items"]] == ["payment"]

    async def defect(_: int) -> list[Any]:
        raise KeyError("a defect is no absence")

    monkeypatch.setattr(disputes, "list_unclear_pairs", defect)
    with pytest.raises(KeyError):
        await review_list.list_items(kind=None, item_id=None, limit=1, cursor=None)


async def test_a_finding_leaves_when_it_is_repaired_or_acknowledged(
    service: Service, admin: Person
) -> None:
    person = await service.signup()
    lost = Violation(
        "running_calls_and_holds_agree", person.id, None, "call_lost has a hold", "call_lost"
    )
    broken = Violation("chain_follows", person.id, 3, "entry 3 does not follow", "txn_3")
    await audited_with(lost, broken)
    found = {item["id"]: item for item in (await shown(service, admin))["items"]}
    assert set(found) == {lost.finding_id, broken.finding_id}
    assert found[lost.finding_id]["decisions"] == ["release", "reserve", "acknowledge"]
    assert found[broken.finding_id]["decisions"] == ["acknowledge"]
    acts = {"release": lost.subject, "acknowledge": broken.finding_id}
    for left, (action, subject) in zip((1, 0), acts.items(), strict=True):
        await db.adjustments.insert_one(
            {
                "_id": database.new_id("adj"),
                "user_id": person.id,
                "action": action,
                "reason": "a test",
                "by": admin.id,
                "transaction_id": None,
                "at": clock.now(),
                "subject_id": subject,
            }
        )
        assert (await shown(service, admin))["counts"]["audit"] == left


async def test_a_difference_stays_until_everything_is_compared_again(
    service: Service, admin: Person
) -> None:
    finding = {"kind": "order_unknown_at_razorpay", "order_id": "order_strange"}
    run = {"trigger": "worker", "findings": [finding], "finished_at": AT}
    await db.reconciliations.insert_many(
        run | {"_id": f"recon_{n}", "started_at": clock.after(-60 * n, since=AT)} for n in (1, 2, 3)
    )
    (item,) = (await shown(service, admin))["items"]
    assert (item["kind"], item["reason"]) == ("reconciliation", "order_unknown_at_razorpay")
    assert item["since"] == clock.iso(clock.after(-180, since=AT))
    assert item["facts"] == {"order_id": "order_strange"}
    compared = await service.post("/api/admin/reconciliation/run", admin)
    assert compared.status_code == 200
    assert (await shown(service, admin))["counts"]["reconciliation"] == 0


async def test_complaints_at_the_limit_wait_until_the_wallet_is_frozen(
    service: Service, admin: Person
) -> None:
    person, other = await service.signup(), await service.signup()
    for whose, count in ((person, 5), (other, 4)):
        for _ in range(count):
            body = {"number": "+919812345678", "source": "network", "user_id": whose.id}
            made = await service.post("/api/complaints", admin, json=body, headers=new_key())
            assert made.status_code == 201
    found = await shown(service, admin, "?kind=complaint")
    assert {item["id"]: item["facts"]["complaints"] for item in found["items"]} == {
        person.id: 5,
        "platform": 9,
    }
    freeze = f"/api/admin/users/{person.id}/freeze"
    assert (await service.post(freeze, admin, json={"reason": "complaints"})).status_code == 200
    left = await shown(service, admin, "?kind=complaint")
    assert [item["id"] for item in left["items"]] == ["platform"]


async def test_calls_refunds_and_disputes_say_what_can_be_decided(
    service: Service, admin: Person
) -> None:
    person = await service.signup()
    paid = [await paying.recharge(service, person, 100) for _ in range(2)]
    made = await paying.outside(service, f"/payments/{paid[0]}/disputes", amount=2_000)
    body = {"payment_id": paid[1], "reason": "asked by mail", "amount": 40}
    refund = await service.post("/api/payment/refunds", admin, json=body, headers=new_key())
    refund_id = refund.json()["refund_id"]
    for _ in range(600):  # what Razorpay reports of the refund ends the doubt, so it comes again
        await db.refunds.update_one({"_id": refund_id}, {"$set": {"waits": "other_facts"}})
        found = {item["kind"]: item for item in (await shown(service, admin))["items"]}
        if {"dispute", "refund"} <= set(found):
            break
        await asyncio.sleep(0.05)
    assert found["refund"]["decisions"] == ["processed", "failed"]
    assert found["refund"]["reason"] == "other_facts"
    assert found["dispute"]["decisions"] == []  # it is answered at Razorpay
    assert found["dispute"]["due_at"] is not None
    assert (await service.get(f"/api/admin/disputes/{made['id']}", admin)).json()[
        "dispute_id"
    ] == made["id"]
    unclear = {"reason": "unknown_at_razorpay", "refund_ids": [], "dispute_ids": [], "at": AT}
    await db.disputes.update_one({"_id": made["id"]}, {"$set": {"unclear": unclear}})
    (item,) = (await shown(service, admin, "?kind=dispute"))["items"]
    assert item["decisions"] == ["release", "take", "keep"]
    assert await payments.list_in_review(1) == []
