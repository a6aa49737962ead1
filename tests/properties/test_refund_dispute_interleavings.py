"""Two processes hear of the same refund or dispute, and one of them is a moment behind the other."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import pytest
from ulid import ULID

import disputes
import gateway
import ledger
import payments
import refunds
import wallet
import worker
from core import clock, database
from core.database import Update, db
from gateway import entities
from reconciliation import webhooks
from refunds import RefundExceedsUnspent
from sandbox import refunds as sandbox_refunds
from tests.support import payments as paying
from tests.support.service import Person, Service, running, test_settings
from wallet import RecordChanged


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for all tests of this file, without webhooks; each test has users of its own."""
    async with running(test_settings(mongodb_uri, signups_per_hour=100_000)) as started:
        await paying.webhooks(started, enabled=False)
        yield started


@pytest.fixture(autouse=True)
async def quiet(service: Service, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Nobody else hears of anything."""
    monkeypatch.setattr(sandbox_refunds, "PROCESSED_AFTER_SECONDS", 0.05)

    async def nothing() -> int:
        return 0

    for name in ("poll payments", "poll refunds", "reconcile"):
        monkeypatch.setitem(worker.JOBS, name, (nothing, worker.JOBS[name][1]))
    yield
    await paying.all_faults_over(service)


@pytest.fixture(scope="module")
async def admin(service: Service) -> Person:
    return await service.admin()


class Behind:
    """Makes the task named B wait in a function of ours, until it may go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._waits = asyncio.Event()

    def at(self, module: Any, name: str, *, after: bool = True) -> asyncio.Event:
        """B waits in this function, after it has read (or before it begins), for the event."""
        go_on = asyncio.Event()
        real = getattr(module, name)

        async def held(*given: Any, **named: Any) -> Any:
            task = asyncio.current_task()
            is_b = task is not None and task.get_name() == "B" and not go_on.is_set()
            if is_b and not after:
                self._waits.set()
                await go_on.wait()
            found = await real(*given, **named)
            if is_b and after:
                self._waits.set()
                await go_on.wait()
            return found

        self._monkeypatch.setattr(module, name, held)
        return go_on

    async def start(self, work: Any) -> asyncio.Task[Any]:
        """Start B; it waits by now."""
        task = asyncio.create_task(work, name="B")
        waits = asyncio.create_task(self._waits.wait())
        await asyncio.wait({task, waits}, return_when=asyncio.FIRST_COMPLETED)
        assert not task.done(), "B did not wait"
        self._waits.clear()
        return task


@pytest.fixture
def behind(monkeypatch: pytest.MonkeyPatch) -> Behind:
    return Behind(monkeypatch)


async def money(service: Service, person: Person) -> tuple[float, float, float]:
    found = await service.balance(person)
    return found["balance"], found["held"], found["due"]


async def opened(service: Service, payment_id: str, **facts: object) -> str:
    made = await paying.outside(service, f"/payments/{payment_id}/disputes", **facts)
    return str(made["id"])


async def dispute_of(dispute_id: str) -> dict[str, Any]:
    record = await db.disputes.find_one({"_id": dispute_id})
    assert record is not None
    return record


async def told_of_all(payment_id: str) -> None:
    """Everything about the payment is told twice more."""
    for _ in range(2):
        for refund in await gateway.fetch_refunds_of(payment_id):
            await webhooks.apply_refund_update(refund)
        for record in await disputes.find_disputes_of_payments([payment_id]):
            await disputes.apply_update(await gateway.fetch_dispute(record["_id"]))


async def uncredited_refund(service: Service, person: Person) -> tuple[str, entities.Refund]:
    """A refund that is reported before its payment is credited, and the payment is credited then."""
    payment_id = await paying.recharge(service, person)
    where = {"_id": payment_id}
    payment = await db.payments.find_one_and_update(where, {"$set": {"transaction_id": None}})
    assert payment is not None
    made = await paying.outside(service, f"/payments/{payment_id}/refunds", amount=4_000)
    await paying.outside(service, f"/refunds/{made['id']}", status="processed")
    reported = await gateway.fetch_refund(made["id"])
    await refunds.apply_update(reported)
    credited = {"transaction_id": payment["transaction_id"]}
    await db.payments.update_one(where, {"$set": credited})
    return payment_id, reported


async def test_case_a_a_refund_that_two_tell_after_its_payment_was_credited_leaves_no_reserve(
    service: Service, behind: Behind
) -> None:
    person = await service.signup()
    _, reported = await uncredited_refund(service, person)
    go_on = behind.at(payments, "find_payment")
    late = await behind.start(refunds.apply_update(reported))
    assert await refunds.apply_update(reported) == "refund processed"
    go_on.set()
    assert await late == "refund processed"
    assert await money(service, person) == (60.0, 0.0, 0.0)
    await paying.audited(service, person)


async def test_case_a_five_at_once_leave_no_reserve_either(service: Service) -> None:
    for _ in range(5):
        person = await service.signup()
        _, reported = await uncredited_refund(service, person)

        async def one(number: int, refund: entities.Refund = reported) -> str:
            await asyncio.sleep(0.004 * number)
            return await webhooks.apply_refund_update(refund)

        await asyncio.gather(*(one(number) for number in range(5)))
        assert await money(service, person) == (60.0, 0.0, 0.0)
        await paying.audited(service, person)


async def test_case_a_a_dispute_that_is_lost_in_a_new_phase_is_taken_once_by_two(
    service: Service, behind: Behind
) -> None:
    person = await service.signup()
    dispute_id = await opened(service, await paying.recharge(service, person), amount=6_000)
    await disputes.apply_update(await gateway.fetch_dispute(dispute_id))
    await paying.outside(service, f"/disputes/{dispute_id}", status="won")
    await disputes.apply_update(await gateway.fetch_dispute(dispute_id))
    assert await money(service, person) == (100.0, 0.0, 0.0)
    lost = {"phase": "pre_arbitration", "status": "lost"}
    await paying.outside(service, f"/disputes/{dispute_id}", **lost)
    reported = await gateway.fetch_dispute(dispute_id)
    go_on = behind.at(disputes, "_freeze", after=False)
    late = await behind.start(disputes.apply_update(reported))
    assert await disputes.apply_update(reported) == "dispute debited"
    go_on.set()
    assert await late == "dispute debited"
    assert await money(service, person) == (40.0, 0.0, 0.0)
    assert (await dispute_of(dispute_id))["state"] == "debited"
    await paying.audited(service, person)


async def test_case_a_a_dispute_lost_won_and_lost_in_one_phase_is_debited_again(
    service: Service,
) -> None:
    person = await service.signup()
    dispute_id = await opened(service, await paying.recharge(service, person), amount=6_000)
    await paying.outside(service, f"/disputes/{dispute_id}", status="lost")
    stale = await gateway.fetch_dispute(dispute_id)
    assert await disputes.apply_update(stale) == "dispute debited"
    there = database.client()[f"{database.database_name()}_sandbox"]

    async def decided(status: str, deducted_paise: int) -> str:
        facts = {"status": status, "amount_deducted": deducted_paise}
        await there["disputes"].update_one({"_id": dispute_id}, {"$set": facts})
        return await disputes.apply_update(await gateway.fetch_dispute(dispute_id))

    assert await decided("won", 0) == "dispute released"
    assert await money(service, person) == (100.0, 0.0, 0.0)
    assert await disputes.apply_update(stale) == "dispute released"  # it came last, and is older
    assert await money(service, person) == (100.0, 0.0, 0.0)
    for _ in range(2):
        assert await decided("lost", 6_000) == "dispute debited"
        assert await money(service, person) == (40.0, 0.0, 0.0)
        record = await dispute_of(dispute_id)
        assert (record["attempt"], record["taken_paise"]) == (2, 6_000)
    assert await decided("won", 0) == "dispute released"
    assert await money(service, person) == (100.0, 0.0, 0.0)
    await paying.audited(service, person)


async def test_case_e_a_refund_that_was_given_up_and_made_after_all_is_taken_once_by_two(
    service: Service, admin: Person, behind: Behind
) -> None:
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    await paying.fault(service, "refund_slow", path=payment_id)
    made = await refunds.create_refund(
        payment_id, amount_paise=4_000, reason="asked by mail", by=admin.id, seed=str(ULID())
    )
    assert (await refunds.mark_failed(made, "given up"))["status"] == "failed"
    assert await money(service, person) == (100.0, 0.0, 0.0)
    await paying.outside(service, f"/refunds/{made['gateway_id']}", status="processed")
    reported = await gateway.fetch_refund(str(made["gateway_id"]))
    go_on = behind.at(refunds, "find_refund_by_gateway_id")
    late = await behind.start(refunds.apply_update(reported))
    assert await refunds.apply_update(reported) == "refund processed"
    go_on.set()
    assert await late == "refund processed"
    assert await money(service, person) == (60.0, 0.0, 0.0)
    record = await refunds.get_refund(made["_id"], None)
    assert (record.get("attempt"), record.get("taken_paise")) == (2, 4_000)
    await paying.audited(service, person)


async def test_case_e_a_refund_that_was_all_due_is_taken_and_its_failure_costs_nothing(
    service: Service, admin: Person
) -> None:
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    spent = {"type": "debit", "amount": 100, "reason": "spent elsewhere"}
    key = {"Idempotency-Key": f"spent-{person.id}"}
    path = f"/api/admin/users/{person.id}/adjustments"
    assert (await service.post(path, admin, json=spent, headers=key)).status_code == 201
    made = await paying.outside(service, f"/payments/{payment_id}/refunds", amount=4_000)
    await paying.outside(service, f"/refunds/{made['id']}", status="processed")
    stale = await gateway.fetch_refund(made["id"])
    assert await refunds.apply_update(stale) == "refund processed"
    record = await refunds.get_refund(made["id"], None)
    assert (record["transaction_id"], record.get("taken_paise")) == (None, 4_000)
    assert await money(service, person) == (0.0, 0.0, 40.0)
    await paying.outside(service, f"/refunds/{made['id']}", status="failed")
    assert await refunds.apply_update(await gateway.fetch_refund(made["id"])) == "refund failed"
    assert await money(service, person) == (0.0, 0.0, 0.0)
    await paying.recharge(service, person)
    assert await refunds.apply_update(stale) == "refund failed"  # it came last, and is older
    for _ in range(2):
        reported = await gateway.fetch_refund(made["id"])
        assert await refunds.apply_update(reported) == "refund failed"
    assert await money(service, person) == (100.0, 0.0, 0.0)
    await paying.audited(service, person)


async def test_case_e_a_refund_fails_while_another_process_takes_it(
    service: Service,
) -> None:
    """Who tells of the failure read the record before the money was taken."""
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    made = await paying.outside(service, f"/payments/{payment_id}/refunds", amount=4_000)
    await paying.outside(service, f"/refunds/{made['id']}", status="processed")
    processed = await gateway.fetch_refund(made["id"])
    await refunds.apply_update(dataclasses.replace(processed, status="pending"))
    stale = await refunds.get_refund(made["id"], None)
    await refunds.apply_update(processed)
    await paying.outside(service, f"/refunds/{made['id']}", status="failed")
    ended = await refunds.advance_refund(stale, await gateway.fetch_refund(made["id"]))
    assert ended["status"] == "failed"
    assert await money(service, person) == (100.0, 0.0, 0.0)
    payment = await payments.find_payment(payment_id)
    assert payment is not None
    assert payment.get("refunds") == {}
    await paying.audited(service, person)


async def lost_as_refund(service: Service, payment_id: str) -> tuple[str, entities.Refund]:
    """A dispute that Razorpay has lost as a refund; we know of neither."""
    dispute_id = await opened(service, payment_id, amount=2_000)
    lost = {"status": "lost", "as_refund": True}
    await paying.outside(service, f"/disputes/{dispute_id}", **lost)
    [refund] = await gateway.fetch_refunds_of(payment_id)
    await paying.outside(service, f"/refunds/{refund.id}", status="processed")
    return dispute_id, await gateway.fetch_refund(refund.id)


@pytest.mark.parametrize(
    "where", [(refunds, "find_refund_by_gateway_id"), (disputes, "find_disputes_of_payments")]
)
async def test_case_i_a_dispute_lost_as_a_refund_is_taken_whoever_comes_late(
    service: Service, behind: Behind, where: tuple[Any, str]
) -> None:
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    dispute_id, processed = await lost_as_refund(service, payment_id)
    pending = dataclasses.replace(processed, status="pending")
    go_on = behind.at(*where)
    late = await behind.start(webhooks.apply_refund_update(processed))
    await webhooks.apply_refund_update(pending)  # refund.created: the dispute is not known here yet
    lost = await gateway.fetch_dispute(dispute_id)
    await disputes.apply_update(dataclasses.replace(lost, status="open"))
    go_on.set()
    await late
    await disputes.apply_update(lost)
    await told_of_all(payment_id)
    assert await money(service, person) == (80.0, 0.0, 0.0)
    assert (await dispute_of(dispute_id))["state"] == "refunded"
    await paying.audited(service, person)


async def test_case_j_the_dispute_is_reported_lost_before_the_late_one_takes_it(
    service: Service, behind: Behind
) -> None:
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    dispute_id, processed = await lost_as_refund(service, payment_id)
    pending = dataclasses.replace(processed, status="pending")
    first = behind.at(refunds, "find_refund_by_gateway_id")
    late = await behind.start(webhooks.apply_refund_update(processed))
    await webhooks.apply_refund_update(pending)
    lost = await gateway.fetch_dispute(dispute_id)
    await disputes.apply_update(dataclasses.replace(lost, status="open"))
    then = behind.at(wallet, "post", after=False)
    first.set()
    await asyncio.wait({late}, timeout=0.3)
    await disputes.apply_update(lost)
    then.set()
    await late
    await told_of_all(payment_id)
    assert await money(service, person) == (80.0, 0.0, 0.0)
    await paying.audited(service, person)


@pytest.mark.parametrize("place", ["post", "find_disputes_of_payments"])
async def test_case_i_closed_beside_a_new_phase_leaves_the_open_dispute_its_reserve(
    service: Service, behind: Behind, place: str
) -> None:
    person = await service.signup()
    dispute_id = await opened(service, await paying.recharge(service, person), amount=4_000)
    opening = await gateway.fetch_dispute(dispute_id)
    await disputes.apply_update(opening)
    await paying.outside(service, f"/disputes/{dispute_id}", status="closed")
    closed = await gateway.fetch_dispute(dispute_id)
    await paying.outside(service, f"/disputes/{dispute_id}", phase="pre_arbitration")
    again = await gateway.fetch_dispute(dispute_id)
    module = wallet if place == "post" else disputes
    go_on = behind.at(module, place, after=place != "post")
    late = await behind.start(disputes.apply_update(closed))
    assert await disputes.apply_update(again) == "dispute reserved"
    go_on.set()
    assert await late == "dispute reserved"
    assert await money(service, person) == (100.0, 40.0, 0.0)
    record = await dispute_of(dispute_id)
    assert (record["state"], record["phase"]) == ("reserved", "pre_arbitration")
    await paying.audited(service, person)


async def test_case_n_a_command_whose_record_has_changed_is_refused(service: Service) -> None:
    person = await service.signup()
    await service.fund(person, 10)
    reserve = ledger.Reserve(
        user_id=person.id, reserve_id="refund_x", amount_paise=100, amount_paise_min=0
    )
    where = {"_id": "refund_x", "status": "failed"}
    change = Update("refunds", where, {"$set": {"status": "reserved"}})
    with pytest.raises(RecordChanged):
        await wallet.post(reserve, lambda _: [change])
    assert await money(service, person) == (10.0, 0.0, 0.0)


async def test_case_m_a_refund_that_is_repeated_late_and_another_never_pass_the_payment_together(
    service: Service, admin: Person, behind: Behind
) -> None:
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    await paying.recharge(service, person)
    old = str(ULID.from_datetime(clock.after(-1_200)))

    async def asked(seed: str) -> refunds.Refund:
        return await refunds.create_refund(
            payment_id, amount_paise=10_000, reason="asked by mail", by=admin.id, seed=seed
        )

    go_on = behind.at(refunds, "insert_refund", after=False)
    late = await behind.start(asked(old))
    second = await asked(str(ULID()))
    go_on.set()
    with pytest.raises(RefundExceedsUnspent) as refused:
        await late
    assert refused.value.extra["refundable"] == 0.0
    assert second["status"] in ("pending", "processed")
    assert (await service.balance(person))["available"] == 100.0


async def heard_of(service: Service, dispute_id: str, **facts: object) -> tuple[str, str]:
    """Something happens to a dispute, and is reported; its state and the refund that paid it back."""
    if facts:
        await paying.outside(service, f"/disputes/{dispute_id}", **facts)
    await disputes.apply_update(await gateway.fetch_dispute(dispute_id))
    record = await dispute_of(dispute_id)
    return record["state"], record["refund_id"] or ""


@pytest.mark.parametrize("reopening_is_seen", [False, True])
async def test_seed_1000090_a_loss_in_a_new_phase_is_not_the_one_that_a_refund_paid_back(
    service: Service, reopening_is_seen: bool
) -> None:
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    dispute_id, processed = await lost_as_refund(service, payment_id)
    assert await heard_of(service, dispute_id) == ("debited", "")
    await webhooks.apply_refund_update(processed)
    assert (await dispute_of(dispute_id))["refund_id"] == processed.id
    assert await money(service, person) == (80.0, 0.0, 0.0)
    await paying.outside(service, f"/disputes/{dispute_id}", phase="pre_arbitration")
    if reopening_is_seen:
        assert await heard_of(service, dispute_id) == ("reserved", "")
        assert await money(service, person) == (80.0, 20.0, 0.0)
    assert await heard_of(service, dispute_id, status="lost") == ("debited", "")
    await told_of_all(payment_id)
    assert await money(service, person) == (60.0, 0.0, 0.0)
    assert "unclear" not in await dispute_of(dispute_id)
    await paying.audited(service, person)


async def test_a_new_phase_that_was_won_unseen_leaves_the_refund_its_money(
    service: Service,
) -> None:
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    dispute_id, processed = await lost_as_refund(service, payment_id)
    await heard_of(service, dispute_id)
    await webhooks.apply_refund_update(processed)
    won = {"phase": "pre_arbitration", "status": "won"}
    assert await heard_of(service, dispute_id, **won) == ("released", "")
    await told_of_all(payment_id)
    assert await money(service, person) == (80.0, 0.0, 0.0)
    await paying.audited(service, person)


async def test_seed_1000313_what_was_handed_over_is_no_entry_of_the_next_attempt(
    service: Service, admin: Person
) -> None:
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    dispute_id, processed = await lost_as_refund(service, payment_id)
    assert await heard_of(service, dispute_id) == ("debited", "")
    await webhooks.apply_refund_update(processed)
    assert (await heard_of(service, dispute_id))[0] == "refunded"
    assert (await heard_of(service, dispute_id, phase="arbitration"))[0] == "reserved"
    assert await money(service, person) == (80.0, 20.0, 0.0)
    await paying.audited(service, person)
    reserve_id = (await dispute_of(dispute_id))["reserve_id"]
    assert reserve_id == f"{dispute_id}:arbitration:2"
    body = {"action": "release", "subject": reserve_id, "reason": "looks collected"}
    body["user_id"], key = person.id, {"Idempotency-Key": f"mend-{person.id}"}
    path = "/api/admin/audit/repairs"
    refused = await service.post(path, admin, json=body, headers=key)
    assert (refused.status_code, refused.json()["code"]) == (409, "still_open")
    assert (await heard_of(service, dispute_id, status="lost"))[0] == "debited"
    assert await money(service, person) == (60.0, 0.0, 0.0)
    await paying.audited(service, person)


@pytest.mark.parametrize("seen", [False, True])
async def test_seed_1000428_a_phase_that_moves_back_is_followed(
    service: Service, seen: bool
) -> None:
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    dispute_id = await opened(service, payment_id, amount=4_000)
    await heard_of(service, dispute_id, phase="pre_arbitration")
    stale = await gateway.fetch_dispute(dispute_id)
    assert await heard_of(service, dispute_id, status="closed") == ("released", "")
    assert await disputes.apply_update(stale) == "dispute released"
    assert await money(service, person) == (100.0, 0.0, 0.0)
    await paying.outside(service, f"/disputes/{dispute_id}", phase="arbitration")
    if seen:
        assert await heard_of(service, dispute_id) == ("reserved", "")
    assert await heard_of(service, dispute_id, phase="pre_arbitration") == ("reserved", "")
    assert await money(service, person) == (100.0, 40.0, 0.0)
    assert (await dispute_of(dispute_id))["phase"] == "pre_arbitration"
    await paying.audited(service, person)


async def test_a_refund_from_before_the_phase_that_was_lost_waits_for_an_admin(
    service: Service,
) -> None:
    person = await service.signup()
    payment_id = await paying.recharge(service, person)
    dispute_id = await opened(service, payment_id, amount=2_000)
    assert await heard_of(service, dispute_id) == ("reserved", "")
    lost = {"status": "lost", "as_refund": True}
    await paying.outside(service, f"/disputes/{dispute_id}", **lost)
    [refund] = await gateway.fetch_refunds_of(payment_id)
    await paying.outside(service, f"/refunds/{refund.id}", status="processed")
    again = {"phase": "pre_arbitration", "status": "lost"}
    assert await heard_of(service, dispute_id, **again) == ("debited", "")
    await told_of_all(payment_id)
    await webhooks.apply_refund_update(await gateway.fetch_refund(refund.id))
    record = await dispute_of(dispute_id)
    assert (record["state"], record["unclear"]["reason"]) == ("refunded", "earlier_phase")
    assert record["unclear"]["refund_ids"] == [refund.id]
    assert await money(service, person) == (80.0, 0.0, 0.0)
    for _ in range(2):
        ended = await disputes.resolve(
            dispute_id, action="unpair", refund_id=refund.id, by="usr_admin", reason="seen"
        )
        assert (ended["state"], ended.get("unclear")) == ("debited", None)
        assert await money(service, person) == (60.0, 0.0, 0.0)
        await told_of_all(payment_id)
    await paying.audited(service, person)


async def test_only_a_report_fetched_after_the_record_was_read_moves_a_dispute_back(
    service: Service,
) -> None:
    person = await service.signup()
    dispute_id = await opened(service, await paying.recharge(service, person), amount=4_000)
    await heard_of(service, dispute_id, phase="arbitration")
    await heard_of(service, dispute_id, status="won")
    record = await dispute_of(dispute_id)
    reported = await gateway.fetch_dispute(dispute_id)
    for older in ({"status": "open"}, {"phase": "pre_arbitration"}):
        case = disputes.Case(
            record=record,  # type: ignore[arg-type]
            reported=dataclasses.replace(reported, **older),  # type: ignore[arg-type]
            is_credited=True,
            refunds=[],
            others=[],
        )
        assert disputes.decide(case) == disputes.Decision(ask_again=True)
        assert not disputes.decide(dataclasses.replace(case, is_fresh=True)).ask_again
