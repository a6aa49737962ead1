"""Opening an order: what is refused, and what happens when Razorpay's answer is lost."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import pytest

import payments
from core import clock, config, database
from core.database import db
from gateway import client as gateway_client
from payments import Order
from tests.support import payments as paying
from tests.support.service import Person, Service, running, test_settings


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for all tests of this file; each test has users of its own."""
    async with running(test_settings(mongodb_uri, signups_per_hour=100_000)) as started:
        yield started


@pytest.fixture(scope="module")
async def penniless(service: Service) -> Person:
    """Somebody for the requests that are refused."""
    return await service.signup()


@pytest.fixture(autouse=True)
async def no_faults(service: Service) -> AsyncIterator[None]:
    yield
    await paying.all_faults_over(service)


async def orders_at_gateway(service: Service, receipt: str) -> list[dict[str, Any]]:
    key = (service.settings.gateway_key_id, service.settings.gateway_key_secret)
    query: dict[str, str | int] = {"receipt": receipt, "count": 100}
    answer = await service.client.get("/sandbox/v1/orders", params=query, auth=key)
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def test_the_front_end_learns_the_key_the_mode_and_the_script(service: Service) -> None:
    person = await service.signup()
    answer = await service.get("/api/payment/razorpay-key", person)
    body = answer.json()
    assert body["mode"] == "sandbox"
    assert body["key_id"].startswith("rzp_sandbox_")
    script = await service.client.get(body["checkout_url"])
    assert script.status_code == 200
    assert "window.Razorpay = Razorpay" in script.text


async def test_an_order_has_the_shape_of_the_contract(service: Service) -> None:
    person = await service.signup()
    answer = await service.post("/api/payment/create-order", person, json={"amount": 150.5})
    assert answer.status_code == 201
    body = answer.json()
    assert body["order_id"].startswith("order_")
    assert (body["amount"], body["amount_paise"], body["currency"]) == (150.5, 15_050, "INR")
    assert (body["status"], body["key_id"]) == ("created", service.settings.gateway_key_id)
    assert len(body["receipt"]) <= 40
    assert body["created_at"].endswith("Z")
    [there] = await orders_at_gateway(service, body["receipt"])
    assert (there["id"], there["amount"]) == (body["order_id"], 15_050)


@pytest.mark.parametrize("amount", ["9.99", "0", "-5", "0.01", "-0.0"])
async def test_too_little_is_refused_with_the_minimum(
    service: Service, penniless: Person, amount: str
) -> None:
    answer = await service.post(
        "/api/payment/create-order",
        penniless,
        content=f'{{"amount": {amount}}}',
        headers={"content-type": "application/json"},
    )
    assert answer.status_code == 422
    assert (answer.json()["code"], answer.json()["minimum"]) == ("amount_below_minimum", 10.0)


async def test_both_limits_are_allowed_and_a_paisa_beyond_is_not(service: Service) -> None:
    person = await service.signup()
    for amount, status in ((10, 201), (500_000, 201), (500_000.01, 422)):
        answer = await service.post("/api/payment/create-order", person, json={"amount": amount})
        assert answer.status_code == status, (amount, answer.text)
    assert answer.json()["code"] == "amount_above_maximum"
    assert answer.json()["maximum"] == 500_000.0


@pytest.mark.parametrize(
    "body",
    [
        '{"amount": "100"}',
        '{"amount": true}',
        '{"amount": NaN}',
        '{"amount": Infinity}',
        '{"amount": -Infinity}',
        '{"amount": 1e400}',
        '{"amount": 100.001}',
        '{"amount": 1e30}',
        '{"amount": null}',
        '{"amount": [100]}',
        '{"amount": {"$gt": 0}}',
        "{}",
        "[]",
        "null",
    ],
)
async def test_what_is_no_amount_is_refused_and_nothing_is_ordered(
    service: Service, penniless: Person, body: str
) -> None:
    answer = await service.post(
        "/api/payment/create-order",
        penniless,
        content=body,
        headers={"content-type": "application/json"},
    )
    assert answer.status_code == 422, answer.text
    assert answer.json()["code"] == "validation_error"
    assert await db.orders.count_documents({"user_id": penniless.id}) == 0


async def test_the_same_idempotency_key_opens_one_order(service: Service) -> None:
    person = await service.signup()

    async def one() -> Any:
        return await service.post(
            "/api/payment/create-order",
            person,
            json={"amount": 100},
            headers={"Idempotency-Key": "a-key"},
        )

    answers = await asyncio.gather(*(one() for _ in range(10)))
    opened = {a.json()["order_id"] for a in answers if a.status_code == 201}
    assert len(opened) == 1
    assert {a.status_code for a in answers} <= {201, 409}
    again = await one()
    assert again.json()["order_id"] in opened
    assert again.headers["Idempotency-Replayed"] == "true"


async def test_an_order_whose_answer_was_lost_is_found_by_its_receipt(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_client, "READ_SECONDS", 1.5)
    person = await service.signup()
    await paying.fault(service, "lost_response", method="POST", path="/v1/orders")
    answer = await service.post("/api/payment/create-order", person, json={"amount": 100})
    assert answer.status_code == 201, answer.text
    [only] = await orders_at_gateway(service, answer.json()["receipt"])
    assert only["id"] == answer.json()["order_id"]


async def test_a_retry_after_an_outage_finds_what_the_first_attempt_created(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the answer nor the look-up came through; the client repeats with its key."""
    monkeypatch.setattr(gateway_client, "READ_SECONDS", 1.5)
    person = await service.signup()
    key = {"Idempotency-Key": "again"}
    await paying.fault(service, "lost_response", method="POST", path="/v1/orders")
    # Enough of them: the worker asks about earlier orders at an address that begins the same.
    await paying.fault(service, "500", method="GET", path="/v1/orders", count=1_000)
    request = {"json": {"amount": 100}, "headers": key}
    first = await service.post("/api/payment/create-order", person, **request)
    assert (first.status_code, first.json()["code"]) == (503, "gateway_unavailable")
    assert int(first.headers["Retry-After"]) > 0
    await paying.all_faults_over(service)
    second = await service.post("/api/payment/create-order", person, **request)
    assert second.status_code == 201, second.text
    assert len(await orders_at_gateway(service, second.json()["receipt"])) == 1
    assert await db.orders.count_documents({"user_id": person.id}) == 1


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("429", 503, "gateway_unavailable"),
        ("500", 503, "gateway_unavailable"),
        ("502_html", 503, "gateway_unavailable"),
        ("reset", 503, "gateway_unavailable"),
        ("401", 502, "gateway_error"),
    ],
)
async def test_an_outage_is_told_and_leaves_no_order_to_pay(
    service: Service, kind: str, status: int, code: str
) -> None:
    person = await service.signup()
    await paying.fault(service, kind, path="/v1/orders", count=10)
    answer = await service.post("/api/payment/create-order", person, json={"amount": 100})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    await paying.all_faults_over(service)
    listed = await service.get("/api/payment/orders", person)
    assert listed.json() == {"orders": [], "next_cursor": None}


def order_of_age(mode: str, **age: float) -> Order:
    return cast(
        Order,
        {"mode": mode, "status": "created", "created_at": clock.now() - dt.timedelta(**age)},
    )


def pause(order: Order) -> float | None:
    """The seconds until the order is checked again."""
    next_at = payments._next_check_at(order)
    return None if next_at is None else round((next_at - clock.now()).total_seconds())


def test_an_order_that_nobody_has_tried_to_pay_is_asked_about_three_times() -> None:
    assert pause(order_of_age("live", seconds=1)) == 19
    assert pause(order_of_age("live", seconds=20)) == 70
    assert pause(order_of_age("live", seconds=100)) == 320
    assert pause(order_of_age("live", seconds=420)) is None
    assert pause(order_of_age("live", days=100)) is None
    assert pause(order_of_age("sandbox", seconds=1)) == 4
    assert pause(order_of_age("sandbox", seconds=90)) is None


def test_an_order_with_an_attempt_is_asked_about_less_and_less_for_half_a_year() -> None:
    order = order_of_age("live", days=200)
    for seconds, expected in ((1, 10), (60, 30), (86_400, 43_200), (100 * 86_400, 30 * 86_400)):
        order["attempted_at"] = clock.after(-seconds)
        assert pause(order) == pytest.approx(expected, abs=1)
    order["attempted_at"] = clock.after(-181 * 86_400)
    assert pause(order) is None
    of_0_2_1 = order_of_age("live", days=2)
    of_0_2_1["status"] = "attempted"
    assert pause(of_0_2_1) == pytest.approx(86_400, abs=1)
    of_0_2_1["status"] = "paid"
    assert pause(of_0_2_1) is None


def test_a_signed_order_is_asked_about_at_least_daily_for_half_a_year() -> None:
    order = order_of_age("live", days=200)
    for seconds, expected in ((1, 10), (240, 60), (100 * 86_400, 86_400)):
        order["pending_since"] = clock.after(-seconds)
        assert pause(order) == pytest.approx(expected, abs=1)
    order["pending_since"] = clock.after(-181 * 86_400)
    assert pause(order) is None


async def test_orders_of_another_mode_are_not_examined(service: Service) -> None:
    """A sandbox's twenty thousand that nobody will ever pay were read every two seconds."""
    person = await service.signup()
    await db.orders.insert_many(
        {
            "user_id": person.id,
            "order_id": f"order_of_test{n}",
            "payment_id": None,
            "mode": "test",
            "amount_paise": database.long(100),
            "currency": "INR",
            "status": "created",
            "created_at": clock.after(-86_400),
            "next_check_at": clock.after(-3_600),
        }
        for n in range(500)
    )
    where = {"next_check_at": {"$lte": clock.now(), "$type": "date"}, "mode": "sandbox"}
    explained = await database.client()[service.settings.mongodb_db].command(
        "explain",
        {"find": "orders", "filter": where, "sort": {"next_check_at": 1}, "limit": 8},
        verbosity="executionStats",
    )
    assert explained["executionStats"]["totalDocsExamined"] < 100


# --- limits -------------------------------------------------------------------------------------


@pytest.fixture
def few(service: Service) -> Iterator[None]:
    """Three unpaid orders an hour, four a day."""
    before = config.settings()
    config.use(before.model_copy(update={"unpaid_orders_per_hour": 3, "unpaid_orders_per_day": 4}))
    yield
    config.use(before)


async def test_only_so_many_unpaid_orders_an_hour_and_a_day(service: Service, few: None) -> None:
    person, other = await service.signup(), await service.signup()
    request = {"json": {"amount": 100}, "headers": {"Idempotency-Key": "mine"}}
    orders = [await paying.open_order(service, person) for _ in range(3)]
    refused = await service.post("/api/payment/create-order", person, **request)
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_open_orders")
    assert (refused.json()["limit"], refused.json()["seconds"]) == (3, 3_600)
    assert 3_500 < int(refused.headers["Retry-After"]) <= 3_600
    assert await db.orders.count_documents({"user_id": person.id}) == 3
    await paying.open_order(service, other)  # of each user, not of all
    await paying.verify(service, person, await paying.pay(service, orders[0]))
    opened = await service.post("/api/payment/create-order", person, **request)
    assert opened.status_code == 201, opened.text  # what is paid does not count
    again = await service.post("/api/payment/create-order", person, **request)
    assert again.json() == opened.json()
    two_hours_ago = {"$set": {"created_at": clock.after(-7_200)}}
    await db.orders.update_many({"user_id": person.id}, two_hours_ago)
    await paying.open_order(service, person)
    refused = await service.post("/api/payment/create-order", person, json={"amount": 100})
    assert (refused.json()["limit"], refused.json()["seconds"]) == (4, 86_400)
    assert 79_000 < int(refused.headers["Retry-After"]) <= 79_200


async def test_of_orders_opened_at_once_as_many_pass_as_may(service: Service, few: None) -> None:
    person = await service.signup()
    answers = await asyncio.gather(
        *(
            service.post("/api/payment/create-order", person, json={"amount": 100})
            for _ in range(10)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [429] * 7
    assert await db.orders.count_documents({"user_id": person.id}) == 3


async def test_orders_that_an_outage_prevented_count_for_a_minute(
    service: Service, few: None
) -> None:
    person = await service.signup()
    await paying.fault(service, "500", path="/v1/orders", count=1_000)
    for _ in range(3):
        answer = await service.post("/api/payment/create-order", person, json={"amount": 100})
        assert answer.status_code == 503
    await paying.all_faults_over(service)
    answer = await service.post("/api/payment/create-order", person, json={"amount": 100})
    assert answer.status_code == 429
    await db.orders.update_many({"user_id": person.id}, {"$set": {"created_at": clock.after(-61)}})
    await paying.open_order(service, person)


async def test_an_order_is_taken_by_one_process_and_let_go_after_half_a_year(
    service: Service,
) -> None:
    person = await service.signup()
    order_id = await paying.open_order(service, person)

    async def due_now(**age: float) -> list[str]:
        long_ago = clock.now() - dt.timedelta(**age)
        await db.orders.update_one(
            {"order_id": order_id},
            {"$set": {"created_at": long_ago, "next_check_at": clock.after(-3_600)}},
        )
        batches = await asyncio.gather(*(payments.claim_due_orders(50) for _ in range(5)))
        return [found["order_id"] for batch in batches for found in batch]

    # The worker of the service may have been the one.
    assert (await due_now(days=1)).count(order_id) <= 1
    assert (await due_now(days=181)).count(order_id) <= 1
    for _ in range(100):
        found = await db.orders.find_one({"order_id": order_id})
        assert found is not None
        if "next_check_at" not in found:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it is still expected")
