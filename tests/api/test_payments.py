"""Recharges as their owner sees them: every order, its payments, and what became of them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

import gateway
import payments
from api import payments as payments_routes
from core import clock, config
from core.database import db
from gateway.entities import Payment
from payments import Order
from tests.support import payments as paying
from tests.support.service import Person, Service, running, test_settings


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for all tests of this file, without webhooks; each test has users of its own."""
    async with running(test_settings(mongodb_uri, signups_per_hour=100_000)) as started:
        await paying.webhooks(started, enabled=False)
        yield started


@pytest.fixture(autouse=True)
async def no_faults(service: Service) -> AsyncIterator[None]:
    yield
    await paying.all_faults_over(service)


async def shown(service: Service, person: Person, order_id: str) -> dict[str, Any]:
    # Nobody asked just now: this look may.
    await db.orders.update_one({"order_id": order_id}, {"$unset": {"asked_at": ""}})
    answer = await service.get(f"/api/payment/orders/{order_id}", person)
    assert answer.status_code == 200, answer.text
    order: dict[str, Any] = answer.json()
    return order


async def nobody_else_checks(order_id: str) -> None:
    """The worker must not be who finds out."""
    await db.orders.update_one({"order_id": order_id}, {"$unset": {"next_check_at": ""}})


# --- one order ----------------------------------------------------------------------------------


async def test_an_order_tells_its_story(service: Service) -> None:
    person = await service.signup()
    order_id = await paying.open_order(service, person, 150.5)
    order = await shown(service, person, order_id)
    assert (order["order_id"], order["amount"], order["amount_paise"]) == (order_id, 150.5, 15_050)
    assert (order["status"], order["payments"], order["user_id"]) == ("created", [], person.id)
    assert order["message"] == "Not paid yet: Rs 150.50 are to be paid."
    assert (order["paid_at"], order["transaction_id"]) == (None, None)
    declined = await service.client.post(
        f"/sandbox/pay/{order_id}", json={"card_number": paying.DECLINED}
    )
    assert declined.status_code == 400
    order = await shown(service, person, order_id)
    assert order["status"] == "attempted"
    [failed] = order["payments"]
    assert (failed["status"], failed["outcome"]) == ("failed", "failed")
    assert failed["error_reason"] == "payment_failed"
    assert "no money was taken" in order["message"]
    paid = await paying.pay(service, order_id)
    order = await shown(service, person, order_id)
    assert order["status"] == "paid"
    assert order["message"] == "Paid: Rs 150.50 were added to the wallet."
    assert [p["outcome"] for p in order["payments"]] == ["failed", "credited"]
    assert order["payment_id"] == paid["razorpay_payment_id"]
    assert order["transaction_id"] == order["payments"][1]["transaction_id"]
    assert order["paid_at"] >= order["created_at"]
    assert (await service.balance(person))["balance"] == 150.5


async def test_looking_at_an_order_credits_what_was_paid(service: Service) -> None:
    person = await service.signup()
    order_id = await paying.open_order(service, person)
    await nobody_else_checks(order_id)
    await paying.pay(service, order_id)
    assert (await shown(service, person, order_id))["status"] == "paid"
    assert (await service.balance(person))["balance"] == 100.0


async def test_a_payment_on_its_way_is_called_so(service: Service) -> None:
    person = await service.signup()
    order_id = await paying.open_order(service, person)
    await nobody_else_checks(order_id)
    await paying.pay(service, order_id, paying.LATE)
    order = await shown(service, person, order_id)
    assert [p["outcome"] for p in order["payments"]] == ["pending"]
    assert order["message"].startswith("A payment is on its way")


async def test_a_payment_that_fails_after_it_was_on_its_way_is_said_to_have_failed(
    service: Service,
) -> None:
    """Who is told to wait for it does not pay again."""
    person = await service.signup()
    order_id = await paying.open_order(service, person)
    await nobody_else_checks(order_id)
    paid = await paying.pay(service, order_id, paying.LATE)
    assert (await paying.verify(service, person, paid)).status_code == 202
    await paying.outside(service, f"/payments/{paid['razorpay_payment_id']}", status="failed")
    order = await shown(service, person, order_id)
    assert [p["outcome"] for p in order["payments"]] == ["failed"]
    assert order["message"].startswith("The last attempt to pay failed")


async def test_money_that_was_not_credited_is_told_to_its_owner(service: Service) -> None:
    person = await service.signup()
    order_id = await paying.open_order(service, person)
    await paying.force_payment(service, order_id, status="captured", amount=9_999)
    order = await shown(service, person, order_id)
    [payment] = order["payments"]
    assert (payment["outcome"], payment["review_reason"]) == ("review", "amount_mismatch")
    assert (payment["amount"], payment["transaction_id"]) == (99.99, None)
    assert "a person will look at it" in order["message"]
    assert (await service.balance(person))["balance"] == 0


async def test_an_order_is_shown_as_known_while_razorpay_is_away(service: Service) -> None:
    person = await service.signup()
    order_id = await paying.open_order(service, person)
    await paying.fault(service, "500", count=1_000)
    assert (await shown(service, person, order_id))["status"] == "created"


async def test_a_hanging_razorpay_holds_up_a_look_only_shortly(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payments_routes, "_CHECK_SECONDS", 0.2)
    person = await service.signup()
    order_id = await paying.open_order(service, person)
    await nobody_else_checks(order_id)
    await paying.fault(service, "timeout", seconds=15, path=order_id)
    began = clock.now()
    assert (await shown(service, person, order_id))["status"] == "created"
    assert (clock.now() - began).total_seconds() < 8


async def test_reloading_a_page_does_not_ask_razorpay_each_time(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await service.signup()
    order_id = await paying.open_order(service, person)
    await nobody_else_checks(order_id)
    asked: list[str] = []

    async def counted(order_id: str) -> list[Payment]:
        asked.append(order_id)
        return []

    monkeypatch.setattr(gateway, "fetch_order_payments", counted)
    for _ in range(10):
        answer = await service.get(f"/api/payment/orders/{order_id}", person)
        assert answer.status_code == 200
    assert asked.count(order_id) == 1


# --- who ----------------------------------------------------------------------------------------


async def test_another_users_recharges_are_not_found(service: Service) -> None:
    owner, other, admin = await service.signup(), await service.signup(), await service.admin()
    order_id = await paying.open_order(service, owner)
    payment_id = (await paying.pay(service, order_id))["razorpay_payment_id"]
    answer = await service.get(f"/api/payment/orders/{order_id}", other)
    assert (answer.status_code, answer.json()["code"]) == (404, "order_not_found")
    answer = await service.get(f"/api/payment/payments/{payment_id}", other)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    listed = await service.get("/api/payment/orders", other)
    assert listed.json() == {"orders": [], "next_cursor": None}
    for person in (owner, admin):
        assert (await service.get(f"/api/payment/orders/{order_id}", person)).status_code == 200
        answer = await service.get(f"/api/payment/payments/{payment_id}", person)
        assert answer.status_code == 200
    all_of_them = (await service.get("/api/payment/orders", admin)).json()["orders"]
    assert order_id in [order["order_id"] for order in all_of_them]


@pytest.mark.parametrize("path", ["razorpay-key", "orders", "orders/order_A", "payments/pay_A"])
async def test_nobody_looks_without_a_token(service: Service, path: str) -> None:
    assert (await service.get(f"/api/payment/{path}")).status_code == 401


async def test_nobody_pays_without_a_token(service: Service) -> None:
    for path in ("create-order", "verify"):
        assert (await service.post(f"/api/payment/{path}", json={})).status_code == 401


@pytest.mark.parametrize("order_id", ["order_AAAAAAAAAAAAAA", "nothing", "..%2Fpayments", "%00"])
async def test_an_order_that_does_not_exist_is_not_found(service: Service, order_id: str) -> None:
    admin = await service.admin()
    answer = await service.get(f"/api/payment/orders/{order_id}", admin)
    assert answer.status_code == 404


# --- lists --------------------------------------------------------------------------------------


async def test_pages_of_orders_do_not_shift_when_new_ones_arrive(service: Service) -> None:
    person = await service.signup()
    ids = [await paying.open_order(service, person, 10 + n) for n in range(5)]
    page = (await service.get("/api/payment/orders?limit=2", person)).json()
    await paying.open_order(service, person, 99)
    seen = [order["order_id"] for order in page["orders"]]
    while page["next_cursor"]:
        query = {"limit": 2, "cursor": page["next_cursor"]}
        page = (await service.get("/api/payment/orders", person, params=query)).json()
        seen += [order["order_id"] for order in page["orders"]]
    assert seen == ids[::-1]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "limit=x", "cursor=nonsense", "cursor=e30", "cursor="]
)
async def test_a_list_asked_for_badly_is_refused(service: Service, query: str) -> None:
    admin = await service.admin()
    answer = await service.get(f"/api/payment/orders?{query}", admin)
    assert answer.status_code == 422
    assert answer.json()["code"] in ("validation_error", "invalid_cursor")


async def test_a_list_names_each_orders_own_payments(service: Service) -> None:
    person = await service.signup()
    first, second = [await paying.open_order(service, person, n) for n in (10, 20)]
    await paying.verify(service, person, await paying.pay(service, first))
    listed = (await service.get("/api/payment/orders", person)).json()["orders"]
    assert [order["order_id"] for order in listed] == [second, first]
    assert [len(order["payments"]) for order in listed] == [0, 1]
    assert listed[1]["payments"][0]["outcome"] == "credited"


# --- one payment --------------------------------------------------------------------------------


async def test_a_payment_is_shown_as_razorpay_has_it_now(service: Service) -> None:
    person = await service.signup()
    order_id = await paying.open_order(service, person)
    paid = await paying.pay(service, order_id)
    credited = (await paying.verify(service, person, paid)).json()
    answer = await service.get(f"/api/payment/payments/{paid['razorpay_payment_id']}", person)
    body = answer.json()
    assert (body["order_id"], body["amount"], body["currency"]) == (order_id, 100.0, "INR")
    assert (body["status"], body["outcome"]) == ("captured", "credited")
    assert body["transaction_id"] == credited["transaction_id"]
    assert (body["fee"], body["tax"], body["amount_refunded"]) == (None, None, 0.0)
    assert body["created_at"].endswith("Z")


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [("500", 503, "gateway_unavailable"), ("401", 502, "gateway_error")],
)
async def test_a_payment_cannot_be_shown_while_razorpay_is_away(
    service: Service, kind: str, status: int, code: str
) -> None:
    person = await service.signup()
    paid = await paying.pay(service, await paying.open_order(service, person))
    await paying.fault(service, kind, path="/v1/payments", count=10)
    answer = await service.get(f"/api/payment/payments/{paid['razorpay_payment_id']}", person)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize("payment_id", ["pay_AAAAAAAAAAAAAA", "nothing", "..%2Forders", "%00"])
async def test_a_payment_that_does_not_exist_is_not_found(
    service: Service, payment_id: str
) -> None:
    admin = await service.admin()
    answer = await service.get(f"/api/payment/payments/{payment_id}", admin)
    assert answer.status_code == 404


async def test_an_order_is_shown_in_three_seconds_also_when_its_capture_hangs(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await service.signup()
    order_id = await paying.open_order(service, person)
    await db.orders.update_one({"order_id": order_id}, {"$unset": {"next_check_at": ""}})
    await paying.force_payment(service, order_id, status="authorized")
    given: list[float | None] = []
    begun, never = asyncio.Event(), asyncio.Event()
    check = payments.check_order

    async def hangs(*_: Any) -> Any:
        begun.set()
        await never.wait()

    async def checked(order: Order, *, seconds: float | None = None) -> Any:
        given.append(seconds)
        return await check(order, seconds=0.3)

    monkeypatch.setattr(gateway, "capture_payment", hangs)
    monkeypatch.setattr(payments, "check_order", checked)
    order = await shown(service, person, order_id)
    assert begun.is_set()
    assert given == [3.0]
    assert order["status"] in ("created", "attempted")


@pytest.fixture
def three_lookups(service: Service) -> Iterator[None]:
    """Three look-ups at Razorpay a minute for each user."""
    before = config.settings()
    config.use(before.model_copy(update={"payment_lookups_per_minute": 3}))
    yield
    config.use(before)


async def test_payments_are_looked_up_for_a_user_so_many_times_a_minute(
    service: Service, three_lookups: None, past_the_boundary: Callable[[], None]
) -> None:
    admin, person, other = await service.admin(), await service.signup(), await service.signup()
    past_the_boundary()
    asked = 0
    for number in range(5):
        answer = await service.get(f"/api/payment/payments/pay_nobodys{number}", person)
        assert answer.status_code in (404, 429)
        if answer.status_code == 429:
            assert answer.json()["code"] == "rate_limited"
            assert int(answer.headers["Retry-After"]) > 0
        else:
            asked += 1
    assert 3 <= asked <= 4  # a minute may have ended meanwhile
    for somebody in (admin, other):
        answer = await service.get("/api/payment/payments/pay_nobodys", somebody)
        assert answer.status_code == 404


async def test_somebody_elses_payment_is_not_looked_up(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our own record says whose it is."""
    owner, other = await service.signup(), await service.signup()
    payment_id = await paying.recharge(service, owner)

    async def asked(_: str) -> Any:
        raise AssertionError("Razorpay was asked")

    monkeypatch.setattr(gateway, "fetch_payment", asked)
    answer = await service.get(f"/api/payment/payments/{payment_id}", other)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_an_open_order_is_shown_as_last_known_above_the_look_ups_of_a_minute(
    service: Service, three_lookups: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await service.signup()
    orders = [await paying.open_order(service, person) for _ in range(10)]
    asked: list[str] = []

    async def noted(order_id: str) -> list[Any]:
        if order_id in orders:
            asked.append(order_id)
        return []

    monkeypatch.setattr(gateway, "fetch_order_payments", noted)
    await db.orders.update_many({"user_id": person.id}, {"$unset": {"next_check_at": ""}})
    for order_id in orders:
        assert (await shown(service, person, order_id))["status"] == "created"
    assert len(asked) <= 6  # a minute may have ended meanwhile


async def test_failed_attempts_are_kept_for_the_metrics(service: Service) -> None:
    person, began = await service.signup(), clock.now()
    order_id = await paying.open_order(service, person)
    for _ in range(2):
        await service.client.post(f"/sandbox/pay/{order_id}", json={"card_number": paying.DECLINED})
    assert await payments.claim_order_check(await payments.get_order(order_id, None), by=None)
    await shown(service, person, order_id)
    kept = await db.payments.find({"user_id": person.id}).to_list(None)
    assert [payment["status"] for payment in kept] == ["failed", "failed"]
    for payment in kept:  # Razorpay says the second
        assert clock.after(-1, since=began) <= payment["created_at"] <= clock.now()
