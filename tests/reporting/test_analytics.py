"""The operator's figures: they add up, follow India's days, and are for admins alone."""

import datetime as dt

import pytest

import wallet
from core import clock, database
from core.database import db
from ledger import Debit, Hold
from reporting import totals
from tests.api.test_transactions import seed
from tests.support.service import Person, Service


async def call(person: Person, at: dt.datetime, **facts: object) -> None:
    """A call that is over, as the call book keeps it."""
    await db.calls.insert_one(
        {
            "_id": database.new_id("call"),
            "user_id": person.id,
            "to": "+919876543210",
            "status": "completed",
            "rank": 9,
            "billing_status": "settled",
            "created_at": at,
            "answered_at": at,
            "rate_paise_per_minute": database.long(10_00),
            "connection_fee_paise": database.long(0),
            "held_paise": database.long(0),
            "due_paise": database.long(0),
            "cost_paise": database.long(5_00),
            **facts,
        }
    )


async def failed_payment(person: Person, at: dt.datetime, **facts: object) -> None:
    await db.payments.insert_one(
        {
            "user_id": person.id,
            "order_id": "order_1",
            "amount_paise": database.long(100_00),
            "status": "failed",
            "created_at": at,
            **facts,
        }
    )


async def test_the_figures_of_a_new_service(service: Service) -> None:
    admin = await service.admin()
    asha = await service.signup()
    await service.fund(asha, 500)
    answer = await service.get("/api/admin/metrics", admin)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["users"] == 2
    assert body["total_wallet_balance"] == 500
    assert body["low_balance_users"] == 1
    assert body["recharges"] == {"count": 0, "total": 0, "average": 0}
    assert len(body["series"]) == 30


async def test_the_series_follows_the_days_of_india_and_adds_up(service: Service) -> None:
    admin, asha = await service.admin(), await service.signup()
    midnight = clock.ist_day_start(dt.date(2026, 11, 10))
    before, after = midnight - dt.timedelta(milliseconds=1), midnight
    spent = {"kind": Debit, "category": "call_charge", "amount_paise": 5_00}
    await seed(
        asha,
        [
            {"at": before, "amount_paise": 100_00},
            {"at": before, **spent},
            {"at": after, "amount_paise": 50_00},
            {"at": after, **spent},
            {"at": after, "category": "adjustment", "amount_paise": 1_00},
        ],
    )
    await call(asha, before)
    await call(asha, after)
    await call(asha, after, status="busy", answered_at=None, cost_paise=database.long(0))
    await failed_payment(asha, after)
    for _ in range(2):  # the second time from what was kept of closed days
        answer = await service.get("/api/admin/metrics?from=2026-11-09&to=2026-11-11", admin)
        body = answer.json()
        assert [
            (d["date"], d["recharged"], d["spent"], d["calls"], d["failed_payments"])
            for d in body["series"]
        ] == [
            ("2026-11-09", 100.0, 5.0, 1, 0),
            ("2026-11-10", 50.0, 5.0, 2, 1),
            ("2026-11-11", 0.0, 0.0, 0, 0),
        ]
        assert body["recharges"] == {"count": 2, "total": 150.0, "average": 75.0}
        assert body["calls"] == {
            "count": 3,
            "answered": 2,
            "total_cost": 10.0,
            "average_cost": 5.0,
        }
        assert body["failed_payments"] == 1
    assert await db.daily_metrics.count_documents({}) == 2  # the days on which something was


async def test_today_is_never_kept_and_a_day_with_an_open_call_neither(service: Service) -> None:
    admin, asha = await service.admin(), await service.signup()
    await service.fund(asha, 10)
    open_day = clock.ist_date(clock.now()) - dt.timedelta(days=3)
    at = clock.ist_day_start(open_day)
    await call(asha, at, billing_status="held", cost_paise=None)
    answer = await service.get(f"/api/admin/metrics?from={open_day}", admin)
    assert answer.json()["calls"]["count"] == 1, answer.text
    assert await db.daily_metrics.count_documents({}) == 0


async def test_what_was_owed_for_a_dispute_is_not_spent_and_a_call_that_lasted_was_answered(
    service: Service,
) -> None:
    admin, asha = await service.admin(), await service.signup()
    at = clock.ist_day_start(dt.date(2026, 11, 10))
    due = {"kind": Debit, "category": "due_recovery", "amount_paise": 4_00}
    await seed(
        asha,
        [
            {"at": at, "amount_paise": 100_00},
            {"at": at, **due, "contra": "gateway:razorpay"},
            {"at": at, **due, "contra": "revenue:calls"},
        ],
    )
    await call(asha, at, answered_at=None, duration_seconds=30)
    # As release 0.2.1 kept the day.
    await db.daily_metrics.insert_one({"_id": "2026-11-10", "spent_paise": 8_00})
    for _ in range(2):
        answer = await service.get("/api/admin/metrics?from=2026-11-10&to=2026-11-10", admin)
        assert answer.json()["series"][0]["spent"] == 4.0
        assert answer.json()["calls"]["answered"] == 1


@pytest.mark.parametrize(
    "query",
    [
        "?from=2026-11-02&to=2026-11-01",
        "?from=never",
        "?from=2020-01-01&to=2026-01-01",
        "?to=0001-01-01",
    ],
)
async def test_a_range_that_makes_no_sense_is_422(service: Service, query: str) -> None:
    answer = await service.get(f"/api/admin/metrics{query}", await service.admin())
    assert answer.status_code == 422, answer.text


async def test_the_figures_are_for_admins_alone(service: Service) -> None:
    asha = await service.signup()
    for path in ("/api/admin/metrics", "/api/admin/users", "/api/admin/audit"):
        assert (await service.get(path)).status_code == 401
        assert (await service.get(path, asha)).status_code == 403


async def test_people_are_found_by_parts_and_by_a_low_balance_page_by_page(
    service: Service,
) -> None:
    admin = await service.admin()
    everybody = [await service.signup(f"Person.{n}@Example.com") for n in range(5)]
    await service.fund(everybody[3], 500)
    found = (await service.get("/api/admin/users?limit=2", admin)).json()
    assert [u["email"] for u in found["users"]] == ["Person.4@Example.com", "Person.3@Example.com"]
    assert (found["users"][1]["balance"], found["users"][1]["low_balance"]) == (500.0, False)
    seen = [u["id"] for u in found["users"]]
    while found["next_cursor"]:
        path = f"/api/admin/users?limit=2&cursor={found['next_cursor']}"
        found = (await service.get(path, admin)).json()
        seen += [u["id"] for u in found["users"]]
    assert len(seen) == len(set(seen)) == 6
    rich = (await service.get("/api/admin/users?low_balance=false", admin)).json()["users"]
    assert [u["id"] for u in rich] == [everybody[3].id]
    low, cursor = [], ""
    while cursor is not None:
        found = (
            await service.get(f"/api/admin/users?low_balance=true&limit=2{cursor}", admin)
        ).json()
        low += [u["id"] for u in found["users"]]
        cursor = found["next_cursor"] and f"&cursor={found['next_cursor']}"
    assert low == [each.id for each in (*everybody[4:], *everybody[2::-1], admin)]
    await wallet.post(
        Hold(user_id=everybody[3].id, call_id="c", amount_paise=495_00, amount_paise_min=495_00)
    )
    path = "/api/admin/users?low_balance=true&search=person.3"
    found = (await service.get(path, admin)).json()["users"]
    assert [(u["id"], u["available"]) for u in found] == [(everybody[3].id, 5.0)]
    named = (await service.get("/api/admin/users?search=PERSON.2", admin)).json()["users"]
    assert [u["id"] for u in named] == [everybody[2].id]
    for search in (".*", "(", "%00", "$where", "{}"):
        answer = await service.get(f"/api/admin/users?search={search}", admin)
        assert answer.status_code == 200, answer.text
        assert answer.json()["users"] == []
    forged = await service.get("/api/admin/users?cursor=WyJhIl0", admin)
    assert (forged.status_code, forged.json()["code"]) == (422, "invalid_cursor")


async def test_failed_payments_are_told_apart_by_reason_up_to_twelve(service: Service) -> None:
    admin, asha = await service.admin(), await service.signup()
    now = clock.now()
    for number in range(14):
        for _ in range(20 - number):
            await failed_payment(asha, now, error_reason=f"reason_{number}", error_code="BAD")
    await failed_payment(asha, now)
    body = (await service.get("/api/admin/metrics", admin)).json()
    shown = body["failed_payments_by_reason"]
    assert shown[0] == {"reason": "reason_0", "code": "BAD", "count": 20}
    assert [row["reason"] for row in shown[-2:]] == ["reason_11", "other"]
    assert shown[-1]["count"] == 8 + 7 + 1
    assert sum(row["count"] for row in shown) == body["failed_payments"]
    assert body["series"][-1]["failed_payments"] == body["failed_payments"]


async def test_a_payment_that_failed_without_a_reason_has_an_empty_one(service: Service) -> None:
    admin, asha = await service.admin(), await service.signup()
    await failed_payment(asha, clock.now())
    body = (await service.get("/api/admin/metrics", admin)).json()
    assert body["failed_payments_by_reason"] == [{"reason": "", "code": "", "count": 1}]


async def test_live_calls_are_those_that_are_not_over(service: Service) -> None:
    admin, asha = await service.admin(), await service.signup()
    await call(asha, clock.now())
    await call(asha, clock.now(), rank=5, status="in_progress", billing_status="held")
    body = (await service.get("/api/admin/metrics", admin)).json()
    assert (body["live_calls"], body["payments_in_review"]) == (1, 0)


async def test_the_days_can_be_downloaded(service: Service) -> None:
    admin, asha = await service.admin(), await service.signup()
    await call(asha, clock.now())
    await failed_payment(asha, clock.now())
    today = clock.ist_date(clock.now()).isoformat()
    path = f"/api/admin/metrics/download?from={today}&to={today}"
    answer = await service.get(path, admin)
    assert answer.headers["content-disposition"] == (
        f'attachment; filename="overview-{today}-to-{today}.csv"'
    )
    head, row = answer.text.splitlines()
    assert head == "date,recharges,recharged,failed_payments,calls,answered,call_cost,spent"
    assert row == f"{today},0,0.00,1,1,1,5.00,0.00"
    assert (await service.get(path, asha)).status_code == 403


@pytest.mark.parametrize("few", [0, 2_000])  # from kept sums, and added up
async def test_a_user_has_their_own_days(
    service: Service, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(totals, "_FEW", few)
    asha, ravi, operator = await service.signup(), await service.signup(), await service.operator()
    midnight = clock.ist_day_start(dt.date(2026, 11, 10))
    before, after = midnight - dt.timedelta(milliseconds=1), midnight
    spent = {"kind": Debit, "category": "call_charge", "amount_paise": 5_00}
    await seed(
        asha,
        [
            {"at": before, "amount_paise": 100_00},
            {"at": before, **spent},
            {"at": after, **spent},
            {"at": after, **spent},
            {"at": after, "category": "adjustment", "amount_paise": 1_00},
        ],
    )
    path = "/api/wallet/days?from=2026-11-09&to=2026-11-11"
    for _ in range(2):
        body = (await service.get(path, asha)).json()
        assert (body["recharged"], body["spent"], body["charged_calls"]) == (100.0, 15.0, 3)
        assert [tuple(day.values()) for day in body["days"]] == [
            ("2026-11-09", 100.0, 1, 5.0, 1),
            ("2026-11-10", 0.0, 0, 10.0, 2),
            ("2026-11-11", 0.0, 0, 0.0, 0),
        ]
    assert (await service.get(f"{path}&user_id={asha.id}", operator)).json() == body
    assert (await service.get(path, ravi)).json()["spent"] == 0
    refused = await service.get(f"{path}&user_id={asha.id}", ravi)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert len((await service.get("/api/wallet/days", ravi)).json()["days"]) == 30
    too_long = await service.get("/api/wallet/days?from=2020-01-01&to=2026-01-01", asha)
    assert too_long.status_code == 422
