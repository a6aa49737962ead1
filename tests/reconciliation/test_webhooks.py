"""Webhooks: stored by their bytes, answered at once, handled once, whatever order they come in."""

import asyncio
import collections
import json
from collections.abc import AsyncIterator
from typing import Any, cast

import httpx
import pytest

import gateway
import worker
from core import clock, outbox
from core.database import db
from core.outbox import Event
from gateway import client as gateway_client
from gateway import entities, signatures
from reconciliation import webhooks
from sandbox import refunds as sandbox_refunds
from tests.support import payments as paying
from tests.support.service import Person, Service, running, test_settings, until

OLD_SECRET = "the secret before the last change"


async def nothing() -> None:
    """A job that is switched off."""


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for all tests of this file; the sandbox reports only what a test asks for."""
    settings = test_settings(
        mongodb_uri, signups_per_hour=100_000, razorpay_webhook_secret_previous=OLD_SECRET
    )
    with pytest.MonkeyPatch.context() as patient:
        # Only the webhooks tell of a payment here.
        patient.setitem(worker.JOBS, "poll payments", (nothing, 60.0))
        async with running(settings) as started:
            await paying.webhooks(started, enabled=False)
            yield started


@pytest.fixture(autouse=True)
async def quick(service: Service, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    monkeypatch.setattr(sandbox_refunds, "PROCESSED_AFTER_SECONDS", 0.05)
    monkeypatch.setattr(webhooks, "_UNKNOWN_ATTEMPTS", 2)
    yield
    await paying.all_faults_over(service)


@pytest.fixture(scope="module")
async def admin(service: Service) -> Person:
    return await service.admin()


def payload(event: str, **named: Any) -> bytes:
    told = {name: {"entity": entity} for name, entity in named.items()}
    body = {"entity": "event", "account_id": "acc_1", "event": event, "payload": told}
    return json.dumps(body | {"contains": list(named), "created_at": 1567675356}).encode()


async def send(
    service: Service, body: bytes, *, secret: str | None = None, path: str = "", **headers: str
) -> httpx.Response:
    secret = service.settings.gateway_webhook_secret if secret is None else secret
    sent = {
        "content-type": "application/json",
        "x-razorpay-signature": signatures.sign_webhook(body, secret),
        "x-razorpay-event-id": "evt_1",
    } | {name.replace("_", "-"): value for name, value in headers.items()}
    return await service.client.post(f"/api/payment/webhook{path}", content=body, headers=sent)


async def handled(body: bytes) -> Event:
    """The stored webhook once nothing more happens to it."""
    for _ in range(3_000):
        found = await db.events.find_one({"name": webhooks.EVENT, "data.body": body.decode()})
        if found is not None and found["state"] != "pending":
            return cast(Event, found)
        await asyncio.sleep(0.02)
    raise AssertionError(f"not handled: {found}")


async def paid_and_forgotten(service: Service, person: Person) -> tuple[str, str]:
    """A captured payment whose browser never came back: its order and its own id."""
    order_id = await paying.open_order(service, person)
    return order_id, (await paying.pay(service, order_id))["razorpay_payment_id"]


async def rupees(service: Service, person: Person) -> float:
    found: float = (await service.balance(person))["balance"]
    return found


# --- the money arrives --------------------------------------------------------------------------


async def test_row_06_the_webhook_credits_what_the_closed_browser_did_not(service: Service) -> None:
    person = await service.signup()
    order_id, payment_id = await paid_and_forgotten(service, person)
    body = payload("payment.captured", payment={"id": payment_id, "order_id": order_id})
    answer = await send(service, body)
    assert (answer.status_code, answer.json()) == (200, {"status": "stored"})
    assert (await handled(body))["outcome"] == "credited"
    assert await rupees(service, person) == 100.0


async def test_row_04_captured_and_order_paid_are_one_rupee(service: Service) -> None:
    person = await service.signup()
    order_id, payment_id = await paid_and_forgotten(service, person)
    payment = {"id": payment_id, "order_id": order_id, "amount": 10_000}
    bodies = [
        payload("payment.authorized", payment=payment),
        payload("payment.captured", payment=payment),
        payload("order.paid", payment=payment, order={"id": order_id}),
    ]
    await asyncio.gather(*(send(service, body) for body in bodies * 3))
    for body in bodies:
        assert (await handled(body))["state"] == "done"
    assert await rupees(service, person) == 100.0
    assert await db.transactions.count_documents({"user_id": person.id}) == 1


async def test_row_01_browser_and_webhook_at_once_credit_once(service: Service) -> None:
    person = await service.signup()
    order_id = await paying.open_order(service, person)
    paid = await paying.pay(service, order_id)
    body = payload("payment.captured", payment={"id": paid["razorpay_payment_id"]})
    answers = await asyncio.gather(
        *(paying.verify(service, person, paid) for _ in range(10)),
        *(send(service, body) for _ in range(10)),
    )
    assert {answer.status_code for answer in answers} == {200}
    await handled(body)
    assert await db.transactions.count_documents({"user_id": person.id}) == 1
    assert await rupees(service, person) == 100.0


async def test_row_09_failed_and_then_captured_credits(service: Service) -> None:
    person = await service.signup()
    order_id = await paying.open_order(service, person)
    forced = await paying.force_payment(service, order_id, status="failed")
    payment_id = forced["razorpay_payment_id"]
    failed = payload("payment.failed", payment={"id": payment_id})
    await send(service, failed)
    assert (await handled(failed))["outcome"] == "not credited: failed"
    await paying.outside(service, f"/payments/{payment_id}", status="captured")
    captured = payload("payment.captured", payment={"id": payment_id})
    await send(service, captured)
    assert (await handled(captured))["outcome"] == "credited"
    assert await rupees(service, person) == 100.0


async def test_row_05_a_stored_failure_does_not_swallow_the_later_success_of_the_order(
    service: Service,
) -> None:
    person = await service.signup()
    order_id = await paying.open_order(service, person)
    failed = await paying.force_payment(service, order_id, status="failed")
    await send(service, payload("payment.failed", payment={"id": failed["razorpay_payment_id"]}))
    paid = await paying.pay(service, order_id)
    body = payload("payment.captured", payment={"id": paid["razorpay_payment_id"]})
    await send(service, body)
    assert (await handled(body))["outcome"] == "credited"
    assert await rupees(service, person) == 100.0


async def test_row_07_an_authorized_payment_is_captured_by_us_and_credited(
    service: Service,
) -> None:
    person = await service.signup()
    order_id = await paying.open_order(service, person)
    paid = await paying.pay(service, order_id, paying.AUTHORIZED)
    body = payload("payment.authorized", payment={"id": paid["razorpay_payment_id"]})
    await send(service, body)
    assert (await handled(body))["outcome"] == "credited"
    assert await rupees(service, person) == 100.0


async def test_row_28_an_amount_that_differs_goes_to_the_review_and_never_into_the_wallet(
    service: Service, admin: Person
) -> None:
    person = await service.signup()
    order_id = await paying.open_order(service, person)
    forced = await paying.force_payment(service, order_id, status="captured", amount=10_236)
    payment_id = forced["razorpay_payment_id"]
    body = payload("payment.captured", payment={"id": payment_id, "amount": 10_000})
    await send(service, body)
    assert (await handled(body))["outcome"] == "not credited: amount_mismatch"
    assert await rupees(service, person) == 0.0
    open_items = (await service.get("/api/admin/reconciliation", admin)).json()
    assert payment_id in [each["payment_id"] for each in open_items["payments_in_review"]]
    path = f"/api/admin/payments/{payment_id}/resolve"
    resolved = await service.post(path, admin, json={"note": "credited by an adjustment"})
    assert (resolved.status_code, resolved.json()["reason"]) == (200, "amount_mismatch")
    await webhooks.apply_webhook(await handled(body))  # told again: it does not come back
    open_items = (await service.get("/api/admin/reconciliation", admin)).json()
    assert payment_id not in [each["payment_id"] for each in open_items["payments_in_review"]]
    assert (await service.post(path, admin, json={"note": "twice"})).status_code == 404


async def test_row_10_the_second_payment_of_an_order_is_not_credited_and_its_refund_takes_nothing(
    service: Service, admin: Person
) -> None:
    person = await service.signup()
    order_id = await paying.open_order(service, person)
    await paying.verify(service, person, await paying.pay(service, order_id))
    second = await paying.force_payment(service, order_id, status="captured", auto_refund=True)
    payment_id = second["razorpay_payment_id"]
    body = payload("payment.captured", payment={"id": payment_id})
    await send(service, body)
    assert str((await handled(body))["outcome"]).startswith("not credited")
    await asyncio.sleep(0.1)
    for told in await gateway.fetch_refunds_of(payment_id):
        back = payload("refund.processed", refund={"id": told.id})
        await send(service, back)
        assert (await handled(back))["state"] == "done"
    assert await rupees(service, person) == 100.0


async def test_row_14_what_the_payload_says_of_amounts_and_users_is_not_believed(
    service: Service,
) -> None:
    person, other = await service.signup(), await service.signup()
    _, payment_id = await paid_and_forgotten(service, person)
    lies = {
        "id": payment_id,
        "order_id": "order_of_nobody",
        "amount": 99_999_900,
        "notes": {"user_id": other.id, "gst": "-500"},
    }
    body = payload("payment.captured", payment=lies)
    await send(service, body)
    assert (await handled(body))["outcome"] == "credited"
    assert (await rupees(service, person), await rupees(service, other)) == (100.0, 0.0)


async def test_refund_and_dispute_webhooks_do_what_the_facts_say(
    service: Service, admin: Person
) -> None:
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    refund = await paying.outside(service, f"/payments/{payment_id}/refunds", amount=2_500)
    await asyncio.sleep(0.1)
    dispute = await paying.outside(service, f"/payments/{payment_id}/disputes", amount=1_000)
    bodies = [
        payload("refund.processed", refund={"id": refund["id"]}, payment={"id": payment_id}),
        payload("refund.created", refund={"id": refund["id"], "payment_id": "pay_other"}),
        payload("payment.dispute.created", dispute={"id": dispute["id"]}),
    ]
    for body in bodies:
        await send(service, body)
    outcomes = [(await handled(body))["outcome"] for body in bodies]
    assert outcomes == ["refund processed", "refund processed", "dispute reserved"]
    balance = await service.balance(person)
    assert (balance["balance"], balance["held"]) == (75.0, 10.0)
    await paying.audited(service, person)


# --- who sent it --------------------------------------------------------------------------------


async def test_row_15_a_webhook_without_a_right_signature_is_refused_and_not_stored(
    service: Service,
) -> None:
    person = await service.signup()
    _, payment_id = await paid_and_forgotten(service, person)
    body = payload("payment.captured", payment={"id": payment_id})
    refused = [
        await send(service, body, secret="forged"),
        await send(service, body, secret=""),
        await send(service, body, x_razorpay_signature=""),
        await send(service, body, x_razorpay_signature="0" * 64),
        await send(service, body, secret=service.settings.gateway_key_secret),  # row 18
        await service.client.post("/api/payment/webhook", content=body),
    ]
    for answer in refused:
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_signature")
    assert await db.events.count_documents({"data.body": body.decode()}) == 0
    assert await rupees(service, person) == 0.0


async def test_row_16_the_signature_is_over_the_raw_bytes(service: Service) -> None:
    body = b'{ "event" :"payment.unheard_of",\n "payload": {"x": "\xe0\xa4\xb0"} }'
    assert (await send(service, body)).status_code == 200
    again = json.dumps(json.loads(body)).encode()
    signature = signatures.sign_webhook(body, service.settings.gateway_webhook_secret)
    assert (await send(service, again, x_razorpay_signature=signature)).status_code == 400


async def test_the_previous_secret_is_good_for_what_was_signed_with_it(service: Service) -> None:
    person = await service.signup()
    _, payment_id = await paid_and_forgotten(service, person)
    body = payload("payment.captured", payment={"id": payment_id})
    assert (await send(service, body, secret=OLD_SECRET)).status_code == 200
    assert (await handled(body))["outcome"] == "credited"


async def test_row_36_an_address_for_another_mode_is_not_there(service: Service) -> None:
    body = payload("payment.captured", payment={"id": "pay_1"})
    for mode in ("test", "live"):  # this service runs in the sandbox's
        assert (await send(service, body, path=f"/{mode}")).status_code == 404
    assert (await send(service, body, path="/elsewhere")).status_code == 422


# --- what it stores, and what it answers --------------------------------------------------------


async def test_row_20_the_same_bytes_are_stored_once_whatever_their_event_id(
    service: Service,
) -> None:
    person = await service.signup()
    _, payment_id = await paid_and_forgotten(service, person)
    body = payload("payment.captured", payment={"id": payment_id})
    answers = [await send(service, body, x_razorpay_event_id=f"evt_{n}") for n in range(5)]
    assert [a.json()["status"] for a in answers] == ["stored"] + ["repeated"] * 4
    assert await db.events.count_documents({"data.body": body.decode()}) == 1
    assert (await handled(body))["attempts"] == 1


async def test_row_20_a_hanging_razorpay_holds_up_no_webhook(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_client, "READ_SECONDS", 4.0)
    person = await service.signup()
    _, payment_id = await paid_and_forgotten(service, person)
    await paying.fault(service, "timeout", path=f"/payments/{payment_id}", seconds=5)
    body = payload("payment.captured", payment={"id": payment_id})
    assert (await send(service, body)).status_code == 200
    stored = await db.events.find_one({"name": webhooks.EVENT, "data.body": body.decode()})
    assert stored is not None
    assert stored["state"] == "pending"  # answered while Razorpay has not said anything
    assert (await handled(body))["state"] == "done"
    assert await rupees(service, person) == 100.0


async def test_an_old_body_under_a_new_events_id_drops_nothing(service: Service) -> None:
    """The event id stands outside the signature: it decides nothing."""
    person = await service.signup()
    _, payment_id = await paid_and_forgotten(service, person)
    old = payload("payment.unheard_of")
    await send(service, old, x_razorpay_event_id="evt_of_the_next")
    body = payload("payment.captured", payment={"id": payment_id})
    await send(service, body, x_razorpay_event_id="evt_of_the_next")
    assert (await handled(body))["outcome"] == "credited"


async def test_row_19_foreign_orders_and_unknown_events_are_answered_200(service: Service) -> None:
    stranger = await service.signup()
    order_id, payment_id = await paid_and_forgotten(service, stranger)
    await db.orders.delete_one({"order_id": order_id})  # another app of the same account made it
    told = {
        payload("payment.captured", payment={"id": payment_id}): "ignored: of an order",
        payload("payment.pending", payment={"id": payment_id}): "ignored: of an order",
        payload("payment_link.paid", payment_link={"id": "plink_1"}): "ignored: nothing is done",
        payload("order.notification.delivered"): "ignored: nothing is done",
        payload("payment.downtime.started", **{"payment.downtime": {"id": "down_1"}}): (
            "ignored: nothing is done"
        ),
    }
    for body, outcome in told.items():
        assert (await send(service, body)).status_code == 200
        assert str((await handled(body))["outcome"]).startswith(outcome)


def captured_with_id(json_id: str) -> bytes:
    entity = f'{{"entity": {{"id": {json_id}}}}}'
    return f'{{"event": "payment.captured", "payload": {{"payment": {entity}}}}}'.encode()


NO_JSON = ("dead", "The body is no JSON.")
NOTHING_TO_DO = ("done", "ignored: nothing is done about this event")
NO_PAYMENT = ("dead", "The payload names no payment.")
NO_REFUND = ("dead", "The payload names no refund.")
UNKNOWN = ("dead", "Razorpay does not know what this tells of.")


@pytest.mark.parametrize(
    ("body", "end"),
    [
        (b"", NO_JSON),
        (b"no json", NO_JSON),
        (b"[]", NOTHING_TO_DO),
        (b"null", NOTHING_TO_DO),
        (b'"text"', NOTHING_TO_DO),
        (b"{}", NOTHING_TO_DO),
        (b"\xff\xfe", NO_JSON),
        (b'{"event": 5}', NOTHING_TO_DO),
        (b'{"event": "\\ud83d"}', NOTHING_TO_DO),  # half a character
        pytest.param(b"[" * 50_000, NO_JSON, id="deeper than Python reads"),
        (b'{"event": "payment.captured"}', NO_PAYMENT),
        (b'{"event": "payment.captured", "payload": []}', NO_PAYMENT),
        (b'{"event": "payment.captured", "payload": {"payment": []}}', NO_PAYMENT),
        (captured_with_id('""'), NO_PAYMENT),
        (captured_with_id('"pay_/../x"'), NO_PAYMENT),
        (captured_with_id('{"$gt": ""}'), NO_PAYMENT),
        (b'{"event": "refund.processed", "payload": {"refund": {"entity": null}}}', NO_REFUND),
        (captured_with_id('"pay_nobody"'), UNKNOWN),
    ],
)
async def test_row_21_what_can_never_succeed_is_answered_200_and_kept_with_a_reason(
    service: Service, admin: Person, body: bytes, end: tuple[str, str]
) -> None:
    assert (await send(service, body)).status_code == 200
    for _ in range(3_000):
        page = (await service.get("/api/admin/webhooks?limit=200", admin)).json()["webhooks"]
        if all(each["state"] != "pending" for each in page):
            break
        await asyncio.sleep(0.02)
    stored = await db.events.find_one(
        {"name": webhooks.EVENT, "data.body": body.decode("utf-8", "replace")}
    )
    assert stored is not None
    state, words = end
    assert stored["state"] == state
    assert str(stored["failure" if state == "dead" else "outcome"]).startswith(words)


async def test_a_body_of_ten_megabytes_is_refused(service: Service) -> None:
    assert (await send(service, b"x" * 10_000_000)).status_code == 413


async def test_while_razorpay_is_away_a_webhook_waits_and_is_handled_afterwards(
    service: Service, admin: Person
) -> None:
    person = await service.signup()
    _, payment_id = await paid_and_forgotten(service, person)
    await paying.fault(service, "502_html", path=f"/payments/{payment_id}")
    body = payload("payment.captured", payment={"id": payment_id})
    assert (await send(service, body)).status_code == 200
    # After a pause, without anybody; the poller may have been first.
    assert (await handled(body))["outcome"] in ("credited", "was credited before")
    assert (await handled(body))["attempts"] == 2
    assert await rupees(service, person) == 100.0


async def test_one_that_razorpay_does_not_know_for_a_moment_is_asked_again(
    service: Service,
) -> None:
    """A 400 may be a hiccup of Razorpay's, and nobody would send the webhook again."""
    person = await service.signup()
    _, payment_id = await paid_and_forgotten(service, person)
    await paying.fault(service, "captured_elsewhere", path=f"/payments/{payment_id}", method="GET")
    body = payload("payment.captured", payment={"id": payment_id})
    assert (await send(service, body)).status_code == 200
    stored = await handled(body)
    assert (stored["outcome"], stored["attempts"]) == ("credited", 2)


async def test_webhooks_that_come_together_are_each_stored_once_whatever_is_there_already(
    service: Service,
) -> None:
    bodies = [payload("payment.downtime.started", number={"id": n}) for n in range(20)]
    assert (await send(service, bodies[7])).json() == {"status": "stored"}
    sent = [body for body in bodies for _ in range(3)]
    answers = await asyncio.gather(*(send(service, body) for body in sent))
    assert {answer.status_code for answer in answers} == {200}
    fresh = [answer for answer in answers if answer.json()["status"] == "stored"]
    assert len(fresh) == 19
    for body in bodies:
        found = db.events.find({"name": webhooks.EVENT, "data.body": body.decode()})
        assert len(await found.to_list(None)) == 1


async def test_payments_that_wait_together_are_read_from_the_list_and_credited_once(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await service.signup()
    ids = await paying.paid_and_forgotten([person.id], 40)
    asked: collections.Counter[str] = collections.Counter()
    fetch, listed = gateway.fetch_payment, gateway.payments_between

    async def counted(payment_id: str) -> entities.Payment:
        asked["fetched"] += 1
        return await fetch(payment_id)

    def counted_list(*window: Any) -> AsyncIterator[list[entities.Payment]]:
        asked["listed"] += 1
        return listed(*window)

    monkeypatch.setattr(gateway, "fetch_payment", counted)
    monkeypatch.setattr(gateway, "payments_between", counted_list)
    made_at = int(clock.after(-3_600).timestamp())
    stored = []
    for n, (order_id, payment_id) in enumerate(ids):
        entity = {"id": payment_id, "order_id": order_id, "created_at": made_at + n // 200}
        event = outbox.record_event(
            webhooks.EVENT,
            user_id=None,
            pending=True,
            event="payment.captured",
            razorpay_event_id="",
            mode="sandbox",
            body=payload("payment.captured", payment=entity).decode(),
        )
        stored.append(outbox.store_event(event))
    assert all(await asyncio.gather(*stored))

    async def all_credited() -> bool:
        return await rupees(service, person) == 4_000.0

    await until(all_credited)
    assert asked["fetched"] + asked["listed"] < 20
    await paying.audited(service, person)


class SlowRazorpay:
    """Razorpay as `gateway` shows it: each request waits until it may be answered."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lists: list[asyncio.Event] = []
        self.fetched: list[str] = []
        monkeypatch.setattr(gateway, "fetch_payment", self.fetch_payment)
        monkeypatch.setattr(gateway, "payments_between", self.payments_between)
        monkeypatch.setattr(webhooks, "_LISTED_EVERY_SECONDS", 0.0)

    async def fetch_payment(self, payment_id: str) -> entities.Payment:
        self.fetched.append(payment_id)
        raise gateway.NoSuchEntity("unknown", http_status=400)

    async def payments_between(self, *_: Any) -> AsyncIterator[list[entities.Payment]]:
        self.lists.append(asyncio.Event())
        await self.lists[-1].wait()
        yield []


async def test_a_slow_list_delays_no_other_payment_and_what_it_lacks_is_fetched_by_its_id(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    razorpay, fetches = SlowRazorpay(monkeypatch), webhooks._Fetches()
    made_at = clock.now()

    def ask(*numbers: int) -> list["asyncio.Task[entities.Payment]"]:
        return [asyncio.create_task(fetches.fetch(f"pay_{n}", made_at)) for n in numbers]

    together = ask(*range(10))
    await until(lambda: asyncio.sleep(0, len(razorpay.lists) == 1))
    [alone] = ask(10)
    with pytest.raises(gateway.NoSuchEntity):
        await alone
    assert razorpay.fetched == ["pay_10"]
    razorpay.lists[0].set()
    ends = await asyncio.gather(*together, return_exceptions=True)
    assert {type(end) for end in ends} == {gateway.NoSuchEntity}
    assert sorted(razorpay.fetched) == sorted(f"pay_{n}" for n in range(11))


async def test_a_dead_webhook_is_seen_by_admins_and_replayed(
    service: Service, admin: Person
) -> None:
    person = await service.signup()
    order_id, payment_id = await paid_and_forgotten(service, person)
    body = payload("payment.captured", payment={"id": payment_id})
    stored = outbox.record_event(
        webhooks.EVENT,
        user_id=None,
        event_id="hook_dead",
        event="payment.captured",
        razorpay_event_id="evt_9",
        mode="sandbox",
        body=body.decode(),
    ).document
    dead = {"state": "dead", "failure": "GatewayUnavailable: away", "attempts": 20}
    await db.events.insert_one({**stored, **dead})
    shown = (await service.get("/api/admin/webhooks?state=dead", admin)).json()["webhooks"]
    assert "hook_dead" in [each["webhook_id"] for each in shown]
    replayed = await service.post("/api/admin/webhooks/hook_dead/replay", admin)
    assert (replayed.status_code, replayed.json()["body"]) == (200, body.decode())
    assert (await handled(body))["outcome"] == "credited"
    assert await rupees(service, person) == 100.0
    assert (await service.post("/api/admin/webhooks/hook_none/replay", admin)).status_code == 404
    person_sees = await service.get("/api/admin/webhooks", person)
    assert person_sees.status_code == 403
    assert order_id


async def test_webhooks_are_listed_in_pages_that_do_not_shift(
    service: Service, admin: Person
) -> None:
    for n in range(5):
        await send(service, payload(f"page.event_{n}"))
    first = (await service.get("/api/admin/webhooks?limit=2", admin)).json()
    await send(service, payload("page.event_late"))
    path = f"/api/admin/webhooks?limit=2&cursor={first['next_cursor']}"
    second = (await service.get(path, admin)).json()
    names = [each["event"] for each in first["webhooks"] + second["webhooks"]]
    assert names == [f"page.event_{n}" for n in (4, 3, 2, 1)]
    forged = await service.get("/api/admin/webhooks?cursor=forged", admin)
    assert (forged.status_code, forged.json()["code"]) == (422, "invalid_cursor")


# --- the sandbox sends them ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", [None, "webhook_repeated", "webhook_reordered", "webhook_old_secret", "webhook_late"]
)
async def test_the_sandboxes_webhooks_credit_a_closed_browsers_payment_by_themselves(
    service: Service, kind: str | None
) -> None:
    await paying.webhooks(service, enabled=True)
    try:
        if kind is not None:
            await paying.fault(service, kind, path="payment.captured", seconds=0.5)
        person = await service.signup()
        await paid_and_forgotten(service, person)
        without_the_poller = {"$set": {"next_check_at": clock.after(600)}}
        await db.orders.update_many({"user_id": person.id}, without_the_poller)
        for _ in range(1_200):
            if await rupees(service, person) == 100.0:
                break
            await asyncio.sleep(0.05)
        assert await rupees(service, person) == 100.0
        assert await db.transactions.count_documents({"user_id": person.id}) == 1
    finally:
        await paying.webhooks(service, enabled=False)
