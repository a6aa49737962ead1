"""Reconciliation with Razorpay: what either side lacks is found, repaired once, or told to a person."""

import asyncio
import resource
from collections.abc import AsyncIterator
from typing import Any

import pytest

import disputes
import gateway
import ledger
import payments
import refunds
import wallet
import worker
from core import clock, database
from core.database import db
from core.errors import StillRunning, Unavailable
from gateway.entities import Payment
from payments import Order
from reconciliation import reconcile, settlements
from sandbox import refunds as sandbox_refunds
from tests.support import payments as paying
from tests.support.service import Person, Service, running, test_settings


@pytest.fixture(scope="module")
async def service_of_all(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for all tests of this file. The browser and the webhooks are lost; the worker's own
    looks are to be, too."""

    async def nothing() -> int:
        return 0

    with pytest.MonkeyPatch.context() as patient:
        for name in ("poll payments", "poll refunds", "reconcile"):
            pause_seconds = worker.JOBS[name][1]
            patient.setitem(worker.JOBS, name, (nothing, pause_seconds))
        async with running(test_settings(mongodb_uri, signups_per_hour=100_000)) as started:
            await paying.webhooks(started, enabled=False)
            yield started


@pytest.fixture
async def service(service_of_all: Service) -> Service:
    """The service with empty books, ours and Razorpay's: reports are about everybody."""
    await paying.empty_the_books(database.client(), service_of_all.settings.mongodb_db)
    return service_of_all


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox_refunds, "PROCESSED_AFTER_SECONDS", 0.05)


async def run(service: Service, admin: Person, **body: Any) -> dict[str, Any]:
    """The report of a run; on a busy machine the answer does not wait for its end."""
    body = {"older_than_minutes": 0} | body
    answer = await service.post("/api/admin/reconciliation/run", admin, json=body)
    if answer.status_code == 200:
        report: dict[str, Any] = answer.json()
        return report
    assert (answer.status_code, answer.json()["code"]) == (409, "request_in_progress")
    for _ in range(3_000):
        shown = (await service.get("/api/admin/reconciliation", admin)).json()
        if shown["running"] is None:
            latest: dict[str, Any] = shown["runs"][0]
            return latest
        await asyncio.sleep(0.1)
    raise AssertionError("it does not end")


async def made_ago(seconds: float, **where: str) -> None:
    """Move the payments at Razorpay to an earlier time."""
    there = database.client()[f"{database.database_name()}_sandbox"]
    earlier = {"$set": {"created_at": clock.after(-seconds)}}
    await there["payments"].update_many(where, earlier)


async def kinds(report: dict[str, Any]) -> list[str]:
    return sorted(each["kind"] for each in report["repaired"] + report["findings"])


async def test_when_both_sides_agree_nothing_is_found(service: Service) -> None:
    admin, person = await service.admin(), await service.signup()
    payment_id = await paying.recharge(service, person)
    refund = {"payment_id": payment_id, "amount": 10, "reason": "asked by mail"}
    key = {"Idempotency-Key": "both-sides-agree"}
    made = (await service.post("/api/payment/refunds", admin, json=refund, headers=key)).json()
    await asyncio.sleep(0.1)
    first = await run(service, admin)
    assert first["ok"], first  # our own open refund was followed to its end: that is no finding
    shown = await service.get(f"/api/payment/refunds/{made['refund_id']}", person)
    assert shown.json()["status"] == "processed"
    again = await run(service, admin)
    assert again["ok"], again
    assert again["checked"]["payments"] >= 1
    assert again["checked"]["credits"] == 1
    shown = await service.get("/api/admin/reconciliation", admin)
    assert [each["run_id"] for each in shown.json()["runs"]] == [again["run_id"], first["run_id"]]
    await paying.audited(service, person)


async def test_a_thousand_lost_payments_are_credited_once_each_in_constant_memory(
    service: Service,
) -> None:
    """Every browser verify is lost, every webhook is lost: one run brings the money."""
    admin = await service.admin()
    people = [await service.signup() for _ in range(5)]
    await paying.paid_and_forgotten([person.id for person in people], 1_000)
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report = await run(service, admin)
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib
    assert (report["repaired_count"], len(report["repaired"])) == (1_000, 200)
    assert {each["kind"] for each in report["repaired"]} == {"payment_credited"}
    assert report["findings_count"] == 0
    assert peak_kib < 60 * 1024
    for person in people:
        assert (await service.balance(person))["balance"] == 20_000.0
        assert await db.transactions.count_documents({"user_id": person.id}) == 200
        await paying.audited(service, person)
    assert (await run(service, admin))["ok"]


async def test_two_processes_at_once_never_repair_the_same_thing_twice(service: Service) -> None:
    admin, person = await service.admin(), await service.signup()
    for _ in range(5):
        await paying.pay(service, await paying.open_order(service, person))
    reports = await asyncio.gather(*(run(service, admin) for _ in range(3)))
    assert sorted(report["repaired_count"] for report in reports) == [0, 0, 5]
    assert (await service.balance(person))["balance"] == 500.0


async def test_row_08_an_authorized_payment_is_captured_before_razorpay_sends_it_back(
    service: Service,
) -> None:
    admin, person = await service.admin(), await service.signup()
    order_id = await paying.open_order(service, person)
    await paying.pay(service, order_id, paying.AUTHORIZED)
    report = await run(service, admin)
    assert await kinds(report) == ["payment_credited"]
    assert (await service.balance(person))["balance"] == 100.0


async def test_a_payment_that_cannot_be_captured_is_no_peace(service: Service) -> None:
    admin, person = await service.admin(), await service.signup()
    order_id = await paying.open_order(service, person)
    await paying.pay(service, order_id, paying.AUTHORIZED)
    await paying.fault(service, "500", path="/capture", count=20)
    report = await run(service, admin)
    assert not report["ok"]
    assert report["unanswered"] == [f"{order_id}: authorized, not captured yet"]
    await paying.all_faults_over(service)
    assert await kinds(await run(service, admin)) == ["payment_credited"]
    assert (await run(service, admin))["ok"]
    assert (await service.balance(person))["balance"] == 100.0


async def test_what_is_young_is_left_to_the_others(service: Service) -> None:
    admin, person = await service.admin(), await service.signup()
    await paying.pay(service, await paying.open_order(service, person))
    report = await run(service, admin, older_than_minutes=15)
    assert report["ok"]
    assert (await service.balance(person))["balance"] == 0.0


async def test_a_credit_that_razorpay_knows_nothing_of_is_told_to_a_person(
    service: Service,
) -> None:
    admin, person = await service.admin(), await service.signup()
    await wallet.post(
        ledger.Credit(
            user_id=person.id,
            key="recharge:pay_never",
            category="recharge",
            amount_paise=10_000,
            contra="gateway:razorpay",
            description="Recharge",
            payment_id="pay_never",
        )
    )
    report = await run(service, admin)
    [finding] = report["findings"]
    assert (finding["kind"], finding["payment_id"]) == ("credit_without_payment", "pay_never")
    assert finding["detail"] == "razorpay_does_not_know_it"
    assert (await service.balance(person))["balance"] == 100.0  # told, not taken


async def test_refunds_and_disputes_made_at_razorpay_are_booked_once(service: Service) -> None:
    admin, person = await service.admin(), await service.signup()
    first, second = [await paying.recharge(service, person) for _ in range(2)]
    await paying.outside(service, f"/payments/{first}/refunds", amount=2_500)
    dispute = await paying.outside(service, f"/payments/{second}/disputes", amount=4_000)
    await asyncio.sleep(0.1)
    report = await run(service, admin)
    assert await kinds(report) == ["dispute_booked", "refund_booked"]
    balance = await service.balance(person)
    assert (balance["balance"], balance["held"]) == (175.0, 40.0)
    await paying.outside(service, f"/disputes/{dispute['id']}", status="lost")
    assert await kinds(await run(service, admin)) == ["dispute_booked"]
    assert (await service.balance(person))["balance"] == 135.0
    assert (await run(service, admin))["ok"]
    await paying.audited(service, person)


async def test_a_refund_told_before_its_payment_was_credited_is_taken_without_another_webhook(
    service: Service,
) -> None:
    """The payment was fetched before the refund and credited after it was told."""
    admin, person = await service.admin(), await service.signup()
    payment_id = await paying.recharge(service, person)
    early = {"$set": {"transaction_id": None}}
    payment = await db.payments.find_one_and_update({"_id": payment_id}, early)
    assert payment is not None
    made = await paying.outside(service, f"/payments/{payment_id}/refunds", amount=4_000)
    await asyncio.sleep(0.1)
    await refunds.apply_update(await gateway.fetch_refund(made["id"]))
    await db.payments.update_one(
        {"_id": payment_id}, {"$set": {"transaction_id": payment["transaction_id"]}}
    )
    assert (await service.balance(person))["balance"] == 100.0
    assert await kinds(await run(service, admin)) == ["refund_booked"]
    assert (await service.balance(person))["balance"] == 60.0
    assert (await run(service, admin))["ok"]
    await paying.audited(service, person)


async def test_one_entity_that_cannot_be_read_is_told_and_hides_no_other(service: Service) -> None:
    """A status that Razorpay has thought of since; else no refund were booked any more."""
    admin, person = await service.admin(), await service.signup()
    first, second = [await paying.recharge(service, person) for _ in range(2)]
    booked = {"amount": 2_500, "status": "processed"}
    await paying.outside(service, f"/payments/{first}/refunds", **booked)
    odd = await paying.outside(service, f"/payments/{second}/refunds", **booked)
    there = database.client()[f"{database.database_name()}_sandbox"]
    await there["refunds"].update_one({"_id": odd["id"]}, {"$set": {"status": "thought_over"}})
    report = await run(service, admin)
    assert (await kinds(report), report["unanswered"]) == (
        ["refund_booked", "unreadable_at_razorpay"],
        [],
    )
    assert report["findings"] == [{"kind": "unreadable_at_razorpay", "entity_id": odd["id"]}]
    assert (await service.balance(person))["balance"] == 175.0


async def test_a_defect_that_one_payment_meets_is_told_and_stops_no_other(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin, person = await service.admin(), await service.signup()
    odd, *others = [await paying.open_order(service, person) for _ in range(3)]
    for order_id in (odd, *others):
        await paying.pay(service, order_id)
    credit = payments.credit

    async def defective(order: Order, payment: Payment) -> payments.Receipt | None:
        if payment.order_id == odd:
            raise KeyError("a field of an old version")
        return await credit(order, payment)

    monkeypatch.setattr(payments, "credit", defective)
    report = await run(service, admin)
    told = ["defect", "payment_credited", "payment_credited"]
    assert (await kinds(report), report["unanswered"]) == (told, [])
    assert (await service.balance(person))["balance"] == 200.0


async def test_a_refund_that_the_bank_sends_back_after_days_is_in_the_wallet_again(
    service: Service,
) -> None:
    admin, person = await service.admin(), await service.signup()
    payment_id = await paying.recharge(service, person)
    made = await paying.outside(service, f"/payments/{payment_id}/refunds", status="processed")
    await run(service, admin)
    assert (await service.balance(person))["balance"] == 0.0
    there = database.client()[f"{database.database_name()}_sandbox"]
    days_ago = {"$set": {"created_at": clock.after(-9 * 86_400)}}
    await there["refunds"].update_one({"_id": made["id"]}, days_ago)
    await db.refunds.update_one({"_id": made["id"]}, days_ago)
    await paying.outside(service, f"/refunds/{made['id']}", status="failed")
    assert await kinds(await run(service, admin)) == ["refund_booked"]
    assert (await service.balance(person))["balance"] == 100.0
    await paying.audited(service, person)


async def test_settlements_are_matched_and_their_fee_and_tax_booked(service: Service) -> None:
    admin, person = await service.admin(), await service.signup()
    payment_id = await paying.recharge(service, person)
    stranger = await paying.open_order(service, person)
    forced = await paying.force_payment(service, stranger, status="captured", amount=5_000)
    await db.orders.delete_one({"order_id": stranger})  # another app of the same account
    await paying.outside(service, "/settle")
    report = await run(service, admin)
    assert report["findings"] == []
    [settlement] = (await service.get("/api/admin/settlements", admin)).json()["settlements"]
    assert settlement["gross"] == 150.0
    assert settlement["unmatched"] == [forced["razorpay_payment_id"]]
    assert settlement["net"] == pytest.approx(settlement["gross"] - settlement["fee"])
    assert settlement["tax"] > 0
    known = await db.payments.find_one({"_id": payment_id})
    assert known is not None
    assert (known["settlement_id"], known["fee_paise"]) == (settlement["settlement_id"], 236)
    assert known["tax_paise"] == 36


async def test_a_refund_has_its_settlement_and_the_settlement_adds_up(service: Service) -> None:
    admin, person = await service.admin(), await service.signup()
    payment_id = await paying.recharge(service, person)
    made = await paying.outside(
        service, f"/payments/{payment_id}/refunds", amount=4_000, status="processed"
    )
    await run(service, admin)
    await paying.outside(service, "/settle")
    await run(service, admin)
    [settlement] = (await service.get("/api/admin/settlements", admin)).json()["settlements"]
    assert settlement["refunded"] == 40.0
    assert settlement["unmatched"] == []
    left = settlement["gross"] - settlement["fee"] - settlement["refunded"]
    assert settlement["net"] == pytest.approx(left)
    refund = await db.refunds.find_one({"gateway_id": {"$eq": made["id"], "$type": "string"}})
    assert refund is not None
    assert refund["settlement_id"] == settlement["settlement_id"]
    assert refund["settled_at"] is not None


async def test_where_razorpay_does_not_answer_it_is_said_and_looked_at_again(
    service: Service,
) -> None:
    admin, person = await service.admin(), await service.signup()
    await paying.pay(service, await paying.open_order(service, person))
    await paying.fault(service, "502_html", path="/payments", count=50)
    report = await run(service, admin)
    assert not report["ok"]
    assert report["unanswered"]
    assert (await service.balance(person))["balance"] == 0.0
    await paying.all_faults_over(service)
    report = await run(service, admin)
    assert (report["repaired_count"], report["unanswered"]) == (1, [])
    assert (await service.balance(person))["balance"] == 100.0


async def test_one_payment_that_is_not_answered_does_not_keep_the_others_waiting(
    service: Service,
) -> None:
    admin, person = await service.admin(), await service.signup()
    orders = [await paying.open_order(service, person) for _ in range(5)]
    paid = [await paying.pay(service, order_id) for order_id in orders]
    odd = paid[2]["razorpay_payment_id"]
    await paying.fault(service, "502_html", path=f"/payments/{odd}", count=5)
    report = await run(service, admin)
    assert [each.partition(":")[0] for each in report["unanswered"]] == ["1 of 5 payments"]
    assert (await service.balance(person))["balance"] == 400.0
    steps = (await schedule())["steps"]
    assert steps["payments"]["seen_until"] < clock.after(-3_600)
    assert "deep_at" not in steps["payments"]
    assert steps["refunds"]["seen_until"] > clock.after(-3_600)
    assert "deep_at" in steps["refunds"]
    await paying.all_faults_over(service)
    await run(service, admin)
    assert (await service.balance(person))["balance"] == 500.0
    assert (await run(service, admin))["ok"]


async def test_the_worker_runs_it_when_it_is_time_and_no_process_twice(service: Service) -> None:
    person = await service.signup()
    await paying.pay(service, await paying.open_order(service, person))
    await made_ago(3_600)
    await reconcile.run_when_due()  # the first one only sets the time
    await asyncio.gather(*(reconcile.run_when_due() for _ in range(3)))
    assert await reconcile.list_reports(10) == []
    await db.reconciliations.update_one({"_id": "schedule"}, {"$set": {"next_at": clock.after(-1)}})
    await asyncio.gather(*(reconcile.run_when_due() for _ in range(3)))
    [report] = await reconcile.list_reports(10)
    assert (report["trigger"], report["repaired_count"]) == ("worker", 1)
    assert (await service.balance(person))["balance"] == 100.0


async def test_a_run_whose_process_died_blocks_the_next_one_for_two_minutes_at_most(
    service: Service,
) -> None:
    admin = await service.admin()
    dead = {"lease_until": clock.after(0.5)}
    await db.reconciliations.update_one({"_id": "schedule"}, {"$set": dead}, upsert=True)
    assert (await run(service, admin))["ok"]


async def schedule() -> dict[str, Any]:
    found = await db.reconciliations.find_one({"_id": "schedule"})
    return found or {}


async def by_the_worker(**changes: Any) -> reconcile.Reconciliation:
    """The report of a run that is due now, and no deep one unless `changes` say so."""
    changes = {"next_at": clock.after(-1), "deep_at": clock.now()} | changes
    update = {"$set": changes, "$unset": {"steps": ""}}  # as release 0.2.1 left it
    await db.reconciliations.update_one({"_id": "schedule"}, update, upsert=True)
    await reconcile.run_when_due()
    [report] = await reconcile.list_reports(1)
    return report


async def test_a_run_that_breaks_off_has_not_seen_its_window(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else what lies in it is looked at by nobody, when the last run was long ago."""
    long_ago = clock.after(-20 * 86_400)
    await db.reconciliations.insert_one({"_id": "schedule", "seen_until": long_ago})
    begun = asyncio.Event()

    async def broken(*_: object) -> tuple[int, list[str]]:
        raise RuntimeError("a defect")

    async def endless(*_: object) -> tuple[int, list[str]]:
        begun.set()
        await asyncio.Event().wait()
        return 0, []

    monkeypatch.setattr(settlements, "match_day", broken)
    report = await reconcile.run(older_than_minutes=0, trigger="test")
    assert report.unanswered == ["settlements: RuntimeError"]
    found = await schedule()
    assert (found["seen_until"], found.get("deep_at")) == (long_ago, None)
    monkeypatch.setattr(settlements, "match_day", endless)
    running_now = asyncio.create_task(reconcile.run(older_than_minutes=0, trigger="test"))
    await begun.wait()
    running_now.cancel()  # the process is stopped, for a new version
    with pytest.raises(asyncio.CancelledError):
        await running_now
    found = await schedule()
    assert (found["seen_until"], found["lease_until"]) == (long_ago, None)


async def test_a_ledger_that_does_not_answer_is_told_and_looked_at_again(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin, person = await service.admin(), await service.signup()
    await paying.pay(service, await paying.open_order(service, person))
    with monkeypatch.context() as away:

        async def unavailable(*_: object) -> object:
            raise Unavailable("The ledger did not answer in time.")

        away.setattr(wallet, "post", unavailable)
        report = await run(service, admin)
    assert [each.partition(":")[0] for each in report["unanswered"]] == ["payments"]
    assert (await schedule())["seen_until"] < clock.after(-3_600)
    assert await kinds(await run(service, admin)) == ["payment_credited"]
    assert (await service.balance(person))["balance"] == 100.0


async def test_a_payment_that_cannot_be_captured_does_not_hold_the_window_open(
    service: Service,
) -> None:
    admin, person = await service.admin(), await service.signup()
    order_id = await paying.open_order(service, person)
    await paying.force_payment(service, order_id, status="authorized", amount=10_236)
    report = await run(service, admin)
    assert report["unanswered"] == [f"{order_id}: authorized, not captured yet"]
    assert "seen_until" in await schedule()


async def test_what_an_earlier_run_has_seen_stays_seen(service: Service) -> None:
    admin = await service.admin()
    await run(service, admin)
    before = await schedule()
    await run(service, admin, older_than_minutes=60 * 24 * 10)
    assert (await schedule())["seen_until"] == before["seen_until"]


async def test_orders_that_nobody_has_tried_to_pay_are_not_asked_about(service: Service) -> None:
    """There are many. A payment of theirs is in the window, however old the order is."""
    person = await service.signup()
    young, old, tried, signed = [await paying.open_order(service, person) for _ in range(4)]
    for order_id, seconds in ((young, 3_600), (old, 10 * 86_400), (tried, 86_400)):
        made = {"created_at": clock.after(-seconds)}
        await db.orders.update_one({"order_id": order_id}, {"$set": made})
    await payments.mark_order_attempted(await payments.get_order(tried, None))
    await payments.mark_payment_pending(await payments.get_order(signed, None), "pay_signed")
    hour_ago = {"$set": {"pending_since": clock.after(-3_600)}}
    await db.orders.update_one({"order_id": signed}, hour_ago)
    assert (await by_the_worker())["checked"]["orders"] == 1
    assert (await by_the_worker(deep_at=clock.after(-90_000)))["checked"]["orders"] == 2
    await paying.pay(service, old)
    await by_the_worker(seen_until=clock.after(-60))
    assert (await service.balance(person))["balance"] == 0.0  # and younger than 15 minutes
    await made_ago(1_800, order_id=old)
    assert (await by_the_worker())["repaired_count"] == 1
    assert (await service.balance(person))["balance"] == 100.0


async def test_a_step_that_razorpay_refuses_keeps_no_other_back(service: Service) -> None:
    """Else every run is the deep one, over a window that grows for ever."""
    person = await service.signup()
    await paying.recharge(service, person)
    ten_days_ago = clock.after(-10 * 86_400)
    await paying.fault(service, "401", path="/settlements", count=1_000)
    before = await by_the_worker(seen_until=ten_days_ago, deep_at=clock.after(-90_000))
    assert before["since"] < clock.after(-10 * 86_400)
    assert [each.partition(":")[0] for each in before["unanswered"]] == ["settlements"]
    found = await schedule()
    steps = found["steps"]
    assert (steps["settlements"]["seen_until"], steps["payments"]["seen_until"]) == (
        ten_days_ago,
        before["until"],
    )
    assert found["seen_until"] == ten_days_ago  # what release 0.2.1 goes on from
    again = {"$set": {"next_at": clock.after(-1)}}
    await db.reconciliations.update_one({"_id": "schedule"}, again)
    windows: dict[str, tuple[Any, bool]] = {}
    with pytest.MonkeyPatch.context() as patient:
        for name, step in reconcile._STEPS.items():

            async def noted(
                report: reconcile.Report,
                window: reconcile.Window,
                name: str = name,
                step: reconcile.Step = step,
            ) -> None:
                windows[name] = (window.since, window.deep)
                await step(report, window)

            patient.setitem(reconcile._STEPS, name, noted)
        await reconcile.run_when_due()
    an_hour_before = clock.after(-3_600, since=before["until"])
    settled = windows.pop("settlements")
    assert settled == (clock.after(-3_600, since=ten_days_ago), False)  # deep again in an hour
    assert set(windows.values()) == {(an_hour_before, False)}


async def test_what_was_compared_before_razorpay_stopped_to_answer_is_not_compared_again(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    async def pages(since: Any, until: Any, missed: Any = None) -> AsyncIterator[list[Payment]]:
        asked.append(round((clock.now() - since).total_seconds() / 86_400))
        if len(asked) == 3:
            raise gateway.GatewayUnavailable("away")
        yield []

    monkeypatch.setattr(gateway, "payments_between", pages)
    ten_days_ago = clock.after(-10 * 86_400)
    await by_the_worker(seen_until=ten_days_ago)
    assert asked == [10, 9, 8]
    seen_until = (await schedule())["steps"]["payments"]["seen_until"]
    assert round((clock.now() - seen_until).total_seconds() / 86_400) == 8


async def test_a_run_that_finds_nothing_new_writes_nothing_but_its_own_record(
    service: Service,
) -> None:
    admin, person = await service.admin(), await service.signup()
    paid = [await paying.recharge(service, person) for _ in range(4)]
    await paying.outside(service, f"/payments/{paid[0]}/refunds", amount=2_500, status="processed")
    order_id = await paying.open_order(service, person)
    await paying.force_payment(service, order_id, status="captured", amount=5_000)
    await paying.outside(service, "/settle")
    await run(service, admin)
    assert (await run(service, admin))["ok"]
    profiled = database.client()[service.settings.mongodb_db]
    await profiled.command("profile", 2)
    report = await run(service, admin)
    await profiled.command("profile", 0)
    writes = {
        found["ns"].partition(".")[2]
        async for found in profiled["system.profile"].find(
            {
                "$or": [
                    {"op": {"$in": ["insert", "update", "remove"]}},
                    {"command.findAndModify": {"$exists": True}},
                ]
            }
        )
    }
    assert report["checked"]["payments"] == 5
    assert report["checked"]["settlement_lines"] >= 5
    assert "reconciliations" in writes
    ours = {"orders", "payments", "refunds", "settlements", "disputes", "transactions", "wallets"}
    assert not writes & ours


async def test_a_run_tells_how_far_it_is_and_does_not_keep_a_request_waiting(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "_ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(reconcile, "_PROGRESS_SECONDS", 0.05)
    admin = await service.admin()
    go_on = asyncio.Event()

    async def waits(report: reconcile.Report, _: reconcile.Window) -> None:
        report.count("refunds", 7)
        await go_on.wait()

    monkeypatch.setitem(reconcile._STEPS, "refunds", waits)
    answer = await service.post("/api/admin/reconciliation/run", admin)
    assert (answer.status_code, answer.json()["code"]) == (409, "request_in_progress")
    assert int(answer.headers["Retry-After"]) > 0
    shown = (await service.get("/api/admin/reconciliation", admin)).json()
    assert (shown["running"]["step"], shown["running"]["trigger"]) == ("refunds", admin.id)
    assert shown["running"]["checked"]["refunds"] == 7
    assert shown["runs"] == []
    go_on.set()
    await asyncio.gather(*reconcile._jobs)
    shown = (await service.get("/api/admin/reconciliation", admin)).json()
    assert shown["running"] is None
    assert [each["trigger"] for each in shown["runs"]] == [admin.id]


async def test_a_lease_outlives_a_hiccup_of_the_database(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only its owner renews it, and a renewal that fails is tried again: no second run begins."""
    monkeypatch.setattr(reconcile, "_PROGRESS_SECONDS", 0.02)
    monkeypatch.setattr(reconcile, "_WAIT_SECONDS", 0.3)
    running_now = most = failed = 0
    change = reconcile._Lease._change

    async def hiccups(lease: Any, changes: dict[str, Any]) -> bool:
        nonlocal failed
        if "progress" in changes and changes["progress"] is not None and failed < 3:
            failed += 1
            raise database.AWAY[0]("one hiccup")
        return await change(lease, changes)

    async def slow(_: reconcile.Report, __: reconcile.Window) -> None:
        nonlocal running_now, most
        running_now += 1
        most = max(most, running_now)
        await asyncio.sleep(0.6)
        running_now -= 1

    monkeypatch.setattr(reconcile._Lease, "_change", hiccups)
    monkeypatch.setitem(reconcile._STEPS, "orders", slow)
    reports = await asyncio.gather(
        *(reconcile.run(older_than_minutes=0, trigger="test") for _ in range(2)),
        return_exceptions=True,
    )
    assert (most, failed) == (1, 3)
    assert sum(isinstance(report, reconcile.Report) for report in reports) == 1


@pytest.mark.parametrize("named", [True, False])
async def test_a_run_whose_lease_another_process_has_taken_ends(
    service: Service, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    """Another owner, or release 0.2.1, which writes no name."""
    monkeypatch.setattr(reconcile, "_PROGRESS_SECONDS", 0.02)
    begun = asyncio.Event()

    async def endless(_: reconcile.Report, __: reconcile.Window) -> None:
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setitem(reconcile._STEPS, "orders", endless)
    going = asyncio.create_task(reconcile.run(older_than_minutes=0, trigger="test"))
    await begun.wait()
    taken: dict[str, Any] = {"lease_until": clock.after(3_600)}
    if named:
        taken["owner"] = "run_of_another"
    await db.reconciliations.update_one({"_id": "schedule"}, {"$set": taken})
    with pytest.raises(StillRunning):
        await going
    assert (await schedule())["lease_until"] == taken["lease_until"]
    assert await reconcile.list_reports(1) == []


async def test_what_is_unanswered_is_counted_and_the_list_has_an_end() -> None:
    report = reconcile.Report("recon_1", clock.now(), clock.now())
    for number in range(1_000):
        report.leave(f"order_{number}: authorized, not captured yet")
        report.leave("order_0: authorized, not captured yet")
    assert (len(report.unanswered), report.unanswered_count, report.ok) == (200, 1_000, False)


async def test_a_new_payment_of_an_old_order_that_is_not_captured_yet_is_looked_at_soon(
    service: Service,
) -> None:
    """The order's own turn may be a day away, and the window has passed the payment by then."""
    person = await service.signup()
    order_id = await paying.open_order(service, person)
    forced = await paying.force_payment(service, order_id, status="authorized")
    there = database.client()[f"{database.database_name()}_sandbox"]
    half_an_hour_ago = {"$set": {"created_at": clock.after(-1_800)}}
    await there["payments"].update_one({"order_id": order_id}, half_an_hour_ago)
    old = {"created_at": clock.after(-10 * 86_400), "next_check_at": clock.after(86_400)}
    await db.orders.update_one({"order_id": order_id}, {"$set": old})
    await paying.fault(service, "500", path="/capture", count=20)
    assert (await by_the_worker())["repaired_count"] == 0
    await paying.all_faults_over(service)
    order = await db.orders.find_one({"order_id": order_id})
    assert order is not None
    assert order["pending_payment_id"] == forced["razorpay_payment_id"]
    assert order["next_check_at"] < clock.after(60)


async def test_a_decided_dispute_that_comes_back_after_weeks_is_found(service: Service) -> None:
    admin, person = await service.admin(), await service.signup()
    payment_id = await paying.recharge(service, person)
    made = await paying.outside(service, f"/payments/{payment_id}/disputes", amount=4_000)
    await run(service, admin)
    await paying.outside(service, f"/disputes/{made['id']}", status="won")
    await run(service, admin)
    assert (await service.balance(person))["held"] == 0.0
    there = database.client()[f"{database.database_name()}_sandbox"]
    weeks_ago = {"$set": {"created_at": clock.after(-30 * 86_400)}}
    for collection in (there["disputes"], db.disputes):
        await collection.update_one({"_id": made["id"]}, weeks_ago)
    await paying.outside(service, f"/disputes/{made['id']}", phase="pre_arbitration")
    assert await kinds(await run(service, admin)) == ["dispute_booked"]
    assert (await service.balance(person))["held"] == 40.0
    assert (await run(service, admin))["ok"]


async def test_every_open_dispute_is_asked_about(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disputes, "_BATCH", 2)
    admin, person = await service.admin(), await service.signup()
    payment_id = await paying.recharge(service, person)
    for _ in range(5):
        await paying.outside(service, f"/payments/{payment_id}/disputes", amount=100)
    await run(service, admin)
    report = await run(service, admin)
    assert (report["checked"]["open_disputes"], report["ok"]) == (5, True)


async def test_only_an_admin_reconciles(service: Service) -> None:
    person = await service.signup()
    answer = await service.post("/api/admin/reconciliation/run", person)
    assert answer.status_code == 403
    assert (await service.get("/api/admin/reconciliation", person)).status_code == 403
    admin = await service.admin()
    for odd in (-1, "15", 1.5, True):
        body = {"older_than_minutes": odd}
        answer = await service.post("/api/admin/reconciliation/run", admin, json=body)
        assert answer.status_code == 422
