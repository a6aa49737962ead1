"""Reconciliation runs: our payments, refunds and disputes compared with Razorpay's, and repaired."""

import asyncio
import datetime as dt
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NotRequired, TypedDict, TypeVar, cast

from prometheus_client import Counter, Gauge

import disputes
import gateway
import ledger
import payments
import refunds
import transactions
from core import clock, config, database, leases
from core.database import Index, db
from core.errors import Problem, StillRunning, Unavailable
from disputes import Dispute
from gateway import GatewayRefused, GatewayUnavailable, NoSuchEntity, entities
from payments import Order, OrderNotFound, PaymentMismatch
from reconciliation import settlements, webhooks
from refunds import Refund
from transactions import Filter, Period

log = logging.getLogger(__name__)


# --- vocabulary ---------------------------------------------------------------------------------

Item = TypeVar("Item")

OLDER_THAN_MINUTES: Final = 15
_EVERY_SECONDS: Final = 600.0
_DEEP_DAYS: Final = 3  # for so long Razorpay asks a bank about a payment without an answer
_ASKED_DAYS: Final = 180  # an order may be paid late, a bank may dispute again
_SENT_BACK_DAYS: Final = 30  # within this time a bank returns a refund that it cannot book
_OVERLAP_SECONDS: Final = 3_600.0
_LEASE_SECONDS: Final = 120.0
_WAIT_SECONDS: Final = 30.0
_AT_ONCE: Final = 8
_LISTED_MAX: Final = 200
_PROGRESS_EVERY: Final = 500
_UNANSWERED: Final = (GatewayUnavailable, GatewayRefused, Unavailable)

_repairs = Counter("reconciliation_repaired_total", "What reconciliation repaired", ["kind"])
_findings = Gauge(
    "reconciliation_findings",
    "What the latest reconciliation found: repaired, or waiting for a person",
    multiprocess_mode="mostrecent",
)

Finding = dict[str, str | None]  # its `kind`, and the ids and texts that describe it


class Reconciliation(TypedDict):
    """A record of `reconciliations`: what one run found."""

    _id: str
    trigger: str  # the id of an admin, or `worker`, ...
    started_at: dt.datetime
    finished_at: dt.datetime
    mode: str
    since: dt.datetime
    until: dt.datetime
    checked: dict[str, int]
    repaired_count: int
    repaired: list[Finding]
    findings_count: int
    findings: list[Finding]
    unanswered: list[str]
    ok: bool


class Schedule(TypedDict):
    """The one record of `reconciliations` that is not a run (`schedule`): the lease, and when to run."""

    _id: str
    next_at: NotRequired[dt.datetime]
    lease_until: NotRequired[dt.datetime | None]  # until then another process runs
    seen_until: NotRequired[dt.datetime]  # the end of the last window that was compared completely
    deep_at: NotRequired[dt.datetime]  # when everything was compared


class _ScheduleChanges(TypedDict, total=False):
    next_at: dt.datetime
    lease_until: dt.datetime | None
    seen_until: dt.datetime
    deep_at: dt.datetime


database.declare("reconciliations", indexes=[Index(("-started_at",))])


@dataclass(slots=True)
class Report:
    """What a reconciliation compared, what it repaired, and what it leaves to a person.

    Lists are cut at 200; the counts are not. Memory stays constant however much there is.
    """

    run_id: str
    since: dt.datetime
    until: dt.datetime
    deep: bool = False
    checked: dict[str, int] = field(default_factory=dict)
    repaired: list[Finding] = field(default_factory=list)
    repaired_count: int = 0
    findings: list[Finding] = field(default_factory=list)
    findings_count: int = 0
    unanswered: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything could be compared and agreed."""
        return not (self.repaired_count or self.findings_count or self.unanswered)

    def count(self, what: str, number: int = 1) -> None:
        """Add to the number compared; progress is logged."""
        before = self.checked.get(what, 0)
        self.checked[what] = before + number
        if before // _PROGRESS_EVERY != self.checked[what] // _PROGRESS_EVERY:
            log.info("reconciliation: %d %s looked at", self.checked[what], what)

    def repair(self, kind: str, **facts: str | None) -> None:
        """Record a repair."""
        self.repaired_count += 1
        _repairs.labels(kind).inc()
        log.warning("reconciliation repaired %s: %s", kind, facts)
        if len(self.repaired) < _LISTED_MAX:
            self.repaired.append({"kind": kind, **facts})

    def find(self, kind: str, **facts: str | None) -> None:
        """Record a difference that a person has to decide."""
        self.findings_count += 1
        log.error("reconciliation found %s: %s", kind, facts)
        if len(self.findings) < _LISTED_MAX:
            self.findings.append({"kind": kind, **facts})

    def miss(self, entity_id: str) -> None:
        """Record an entity of Razorpay's lists that cannot be parsed."""
        self.find("unreadable_at_razorpay", entity_id=entity_id)


# --- verbs --------------------------------------------------------------------------------------


async def run(*, older_than_minutes: int = OLDER_THAN_MINUTES, trigger: str) -> Report:
    """Compare the last days with Razorpay; the report, which is also stored.

    What is younger than `older_than_minutes` is left to the browser, the webhooks and the poller.
    One run at a time, over all processes: it waits for another one. Raises StillRunning when that
    takes too long.
    """
    deadline = asyncio.get_running_loop().time() + _WAIT_SECONDS
    while not await _lease():
        if asyncio.get_running_loop().time() > deadline:
            raise StillRunning(
                "Another reconciliation is running; its report will be the latest one.",
                headers={"Retry-After": "30"},
            )
        await asyncio.sleep(0.2)
    return await _run(clock.after(-60.0 * older_than_minutes), deep=True, trigger=trigger)


async def run_when_due() -> None:
    """Run when a run is due: every ten minutes; once a day over the last three days, and over every
    order and dispute of half a year."""
    schedule = await _find_schedule()
    next_at = schedule.get("next_at") if schedule is not None else None
    if schedule is None or next_at is None:
        await _schedule({"next_at": clock.after(_EVERY_SECONDS)})
        return
    if next_at > clock.now() or not await _lease():
        return
    deep_at = schedule.get("deep_at")
    deep = deep_at is None or deep_at < clock.after(-86_400)
    await _run(clock.after(-60.0 * OLDER_THAN_MINUTES), deep=deep, trigger="worker")


async def _run(until: dt.datetime, *, deep: bool, trigger: str) -> Report:
    """All steps, while the lease is renewed; a step that Razorpay does not answer is retried next time."""
    schedule = await _find_schedule()
    seen_until = schedule.get("seen_until") if schedule is not None else None
    since = clock.after(-86_400 * _DEEP_DAYS, since=until)
    if seen_until is not None:
        overlapping = clock.after(-_OVERLAP_SECONDS, since=seen_until)
        since = min(since, overlapping) if deep else overlapping
    report = Report(database.new_id("recon"), since, max(until, since), deep)
    started_at = clock.now()
    keeping = asyncio.create_task(_keep_lease())
    changes: _ScheduleChanges = {}
    try:
        await _run_step(_orders, report)
        missed = len(report.unanswered)  # orders are checked again whatever the window is
        for step in _WINDOW_STEPS:
            await _run_step(step, report)
        # Only here: a run that failed, or whose process was stopped, has not compared its window.
        if len(report.unanswered) == missed:
            changes["seen_until"] = max(report.until, seen_until or report.until)
            if deep:
                changes["deep_at"] = clock.now()
    finally:
        keeping.cancel()
        changes["lease_until"] = None
        changes["next_at"] = clock.after(_EVERY_SECONDS)
        await _schedule(changes)
    _findings.set(report.repaired_count + report.findings_count)
    record = _record(report, trigger=trigger, started_at=started_at)
    await db.reconciliations.insert_one(dict(record))
    log.info("reconciliation %s: %s", report.run_id, "all agrees" if report.ok else "see report")
    return report


async def _run_step(step: Callable[[Report], Awaitable[None]], report: Report) -> None:
    try:
        await step(report)
    except Exception as problem:
        what, why = step.__name__.strip("_"), type(problem).__name__
        if isinstance(problem, Problem):  # of Razorpay, or our ledger did not answer in time
            why = problem.detail
            log.warning("reconciliation of %s not finished: %s", what, why)
        else:
            log.exception("reconciliation of %s not finished", what)
        report.unanswered.append(f"{what}: {why}")


async def list_reports(limit: int) -> list[Reconciliation]:
    """The latest reports, newest first."""
    found = db.reconciliations.find({"started_at": {"$type": "date"}}).sort("started_at", -1)
    return cast(list[Reconciliation], await found.to_list(limit))


async def get_report(run_id: str) -> Reconciliation:
    """The stored report of a run that has ended."""
    found = await db.reconciliations.find_one({"_id": run_id})
    assert found is not None
    return cast(Reconciliation, found)


# --- the steps ----------------------------------------------------------------------------------


async def _orders(report: Report) -> None:
    """Check orders that are not paid: this credits payments whose browser was closed and whose
    webhook was lost. The older ones once a day: there are many, most were abandoned, and a new
    payment of theirs is in the window."""

    async def one(order: Order) -> None:
        try:
            receipts = await payments.check_order(order)
            if not receipts and await payments.has_uncaptured_payment(order):
                # Razorpay refunds it after three days: the report must not be without findings.
                report.unanswered.append(f"{order['order_id']}: authorized, not captured yet")
            for receipt in receipts:
                report.repair(
                    "payment_credited",
                    order_id=order["order_id"],
                    user_id=order["user_id"],
                    transaction_id=receipt.transaction_id,
                )
        except NoSuchEntity:
            report.find("order_unknown_at_razorpay", order_id=order["order_id"])
        report.count("orders")

    days = _ASKED_DAYS if report.deep else _DEEP_DAYS
    async for batch in payments.unpaid_orders_between(clock.after(-86_400 * days), report.until):
        await _all(report, one, batch)


async def _payments(report: Report) -> None:
    """Razorpay's payments of the window: each captured one is credited, or is in review."""

    async def one(payment: entities.Payment) -> None:
        try:
            order = await payments.get_order(payment.order_id, None)
        except OrderNotFound:
            return report.count("payments_of_others")
        try:
            receipt = await payments.credit(order, await gateway.fetch_payment(payment.id))
        except PaymentMismatch as mismatch:
            reason = mismatch.extra.get("reason")
            return report.count(f"payments_not_credited_{reason}")
        if receipt is None:  # the poller credits it later
            await payments.mark_payment_pending(order, payment.id)
        elif not receipt.already_processed:
            report.repair(
                "payment_credited",
                payment_id=payment.id,
                user_id=order["user_id"],
                transaction_id=receipt.transaction_id,
            )
        return None

    async for page in gateway.payments_between(report.since, report.until, report.miss):
        report.count("payments", len(page))
        taken = [payment for payment in page if payment.status in ("authorized", "captured")]
        credited = await payments.mark_confirmed(report.run_id, [payment.id for payment in taken])
        await _all(report, one, [payment for payment in taken if payment.id not in credited])


async def _credits(report: Report) -> None:
    """The ledger's recharges of the window: each is a captured payment at Razorpay."""

    async def one(entry: ledger.Entry) -> None:
        try:
            payment = await gateway.fetch_payment(entry.payment_id or "")
        except NoSuchEntity:
            wrong = "razorpay_does_not_know_it"
        else:
            if payment.status in ("captured", "refunded") and (
                payment.amount_paise == entry.amount_paise
            ):
                return
            wrong = f"razorpay_says_{payment.status}_{payment.amount_paise}_paise"
        report.find(
            "credit_without_payment",
            transaction_id=entry.id,
            payment_id=entry.payment_id,
            user_id=entry.user_id,
            detail=wrong,
        )

    window = Filter(type="credit", category="recharge", period=Period(report.since, report.until))
    async for batch in transactions.batches(window):
        report.count("credits", len(batch))
        ids = [entry.payment_id or "" for entry in batch]
        confirmed = await payments.find_confirmed(report.run_id, ids)
        await _all(report, one, [entry for entry in batch if entry.payment_id not in confirmed])


async def _refunds(report: Report) -> None:
    """Check our open refunds; apply Razorpay's of the window; check that those we have processed exist
    there, and once a day whether a bank has returned one since."""

    async def one(refund: entities.Refund) -> None:
        before = await refunds.find_refund_by_gateway_id(refund.id)
        # One that debits nothing is applied again: its payment may have been credited since.
        if before is not None and before["status"] == refund.status and before["effect"] != "none":
            return
        await webhooks.apply_refund_update(refund)
        after = await refunds.find_refund_by_gateway_id(refund.id)
        now, then = ((r and (r["status"], r["effect"])) for r in (after, before))
        if after is not None and now != then:
            report.repair(
                "refund_booked",
                refund_id=after["_id"],
                payment_id=refund.payment_id,
                user_id=after["user_id"],
                status=after["status"],
                effect=after["effect"],
            )

    async def again(record: Refund) -> None:
        assert record["gateway_id"] is not None  # as `processed_between` finds them
        try:
            await one(await gateway.fetch_refund(record["gateway_id"]))
        except NoSuchEntity:
            if await refunds.mark_unknown(record):
                report.find("refund_unknown_at_razorpay", refund_id=record["_id"])

    async for batch in refunds.open_refunds_before(report.until):
        report.count("open_refunds", len(batch))
        await _all(report, refunds.check_refund, batch)
    async for page in gateway.refunds_between(report.since, report.until, report.miss):
        report.count("refunds", len(page))
        await _all(report, one, page)
    since = clock.after(-86_400 * _SENT_BACK_DAYS) if report.deep else report.since
    async for batch in refunds.processed_refunds_between(min(since, report.since), report.until):
        report.count("booked_refunds", len(batch))
        await _all(report, again, batch)


async def _disputes(report: Report) -> None:
    """Apply Razorpay's disputes of the window, those that are open here whatever their age, and once a
    day the decided ones, because a bank may open one again or change its decision."""

    async def one(dispute: entities.Dispute) -> None:
        before = await disputes.find_dispute_state(dispute.id)
        await disputes.apply_update(dispute)
        after = await disputes.find_dispute_state(dispute.id)
        if before != after:
            report.repair(
                "dispute_booked", dispute_id=dispute.id, payment_id=dispute.payment_id, state=after
            )

    async def again(record: Dispute) -> None:
        try:
            await one(await gateway.fetch_dispute(record["_id"]))
        except NoSuchEntity:
            if await disputes.mark_unknown(record):
                report.find("dispute_unknown_at_razorpay", dispute_id=record["_id"])

    async for page in gateway.disputes_between(report.since, report.until, report.miss):
        report.count("disputes", len(page))
        await _all(report, one, page)
    decided_since = clock.after(-86_400 * _ASKED_DAYS) if report.deep else None
    async for batch in disputes.disputes_to_check(decided_since=decided_since):
        report.count("open_disputes", sum(each["state"] == "reserved" for each in batch))
        await _all(report, again, batch)


async def _settlements(report: Report) -> None:
    """Match what was paid out on the days of the window line by line."""
    day, last = clock.ist_date(report.since), clock.ist_date(clock.now())
    while day <= last:
        count, strangers = await settlements.match_day(day, report.miss)
        report.count("settlement_lines", count)
        for entity_id in strangers:
            report.count("settlement_lines_of_others")
            log.info("settlement line of %s is not ours", entity_id)
        day += dt.timedelta(days=1)


_WINDOW_STEPS: Final = (_payments, _credits, _refunds, _disputes, _settlements)


async def _all(
    report: Report, work: Callable[[Item], Awaitable[object]], batch: Sequence[Item]
) -> None:
    """Call `work` for each item, some in parallel. One without an answer is left for the next run; when
    most have none, Razorpay is unreachable, and the step ends. A defect in one does not stop others."""
    missed: list[Exception] = []

    async def one(item: Item) -> None:
        try:
            await work(item)
        except Exception as problem:
            if isinstance(problem, _UNANSWERED) or database.is_away(problem):
                missed.append(problem)
                return
            log.exception("reconciliation met a defect")
            report.find("defect", item=_name_of(item), detail=repr(problem)[:200])

    await leases.gather_bounded(one, batch, _AT_ONCE)
    if missed and len(missed) * 2 > len(batch):
        raise missed[0]
    if missed:
        report.unanswered.append(f"{len(missed)} of {len(batch)}: {missed[0]}")


def _name_of(item: object) -> str:
    found = item.get("_id") if isinstance(item, dict) else getattr(item, "id", None)
    return str(found)


# --- storage ------------------------------------------------------------------------------------


async def _lease() -> bool:
    """Take the lease; whether this process may run now, and no other."""
    now = clock.now()
    try:
        await db.reconciliations.update_one(
            {"_id": "schedule", "$or": [{"lease_until": None}, {"lease_until": {"$lt": now}}]},
            {"$set": {"lease_until": clock.after(_LEASE_SECONDS)}},
            upsert=True,
        )
    except database.DuplicateKey:
        return False
    return True


async def _keep_lease() -> None:
    while True:
        await asyncio.sleep(_LEASE_SECONDS / 4)
        await _schedule({"lease_until": clock.after(_LEASE_SECONDS)})


async def _find_schedule() -> Schedule | None:
    return cast(Schedule | None, await db.reconciliations.find_one({"_id": "schedule"}))


async def _schedule(changes: _ScheduleChanges) -> None:
    await db.reconciliations.update_one({"_id": "schedule"}, {"$set": changes}, upsert=True)


def _record(report: Report, *, trigger: str, started_at: dt.datetime) -> Reconciliation:
    return {
        "_id": report.run_id,
        "trigger": trigger,
        "started_at": started_at,
        "finished_at": clock.now(),
        "mode": config.settings().gateway_mode,
        "since": report.since,
        "until": report.until,
        "checked": report.checked,
        "repaired_count": report.repaired_count,
        "repaired": report.repaired,
        "findings_count": report.findings_count,
        "findings": report.findings,
        "unanswered": report.unanswered,
        "ok": report.ok,
    }
