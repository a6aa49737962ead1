"""Reconciliation runs: our payments, refunds and disputes compared with Razorpay's, and repaired."""

import asyncio
import datetime as dt
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
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
from core.database import Document, Index, db
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
_DEEP_AGAIN_SECONDS: Final = 86_400.0
_DEEP_RETRY_SECONDS: Final = 3_600.0
_SLICE: Final = dt.timedelta(days=1)
_ASKED_DAYS: Final = 180  # a bank may dispute again
_SENT_BACK_DAYS: Final = 30  # within this time a bank returns a refund that it cannot book
_OVERLAP_SECONDS: Final = 3_600.0
_LEASE_SECONDS: Final = 120.0
_PROGRESS_SECONDS: Final = 2.0
_WAIT_SECONDS: Final = 30.0
_ANSWER_SECONDS: Final = 25.0
_AT_ONCE: Final = 6
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
    unanswered_count: NotRequired[int]  # absent in what release 0.2.1 wrote: the length of the list
    ok: bool


class StepState(TypedDict):
    """How far a step has come. Each has its own: one that Razorpay refuses keeps no other back."""

    seen_until: NotRequired[dt.datetime]  # until then everything was compared
    deep_at: NotRequired[dt.datetime]  # when everything of the last days was compared
    deep_tried_at: NotRequired[dt.datetime]


class Progress(TypedDict):
    """How far the run has come that is under way."""

    run_id: str
    trigger: str
    started_at: dt.datetime
    step: str
    checked: dict[str, int]
    repaired_count: int
    findings_count: int
    unanswered_count: int


class Schedule(TypedDict):
    """The one record of `reconciliations` that is not a run (`schedule`): the lease, and when to run."""

    _id: str
    next_at: NotRequired[dt.datetime]
    lease_until: NotRequired[dt.datetime | None]  # until then another process runs
    owner: NotRequired[str | None]  # of the lease
    progress: NotRequired[Progress | None]  # of the owner's run
    steps: NotRequired[dict[str, StepState]]
    # Of the step that is furthest behind. Release 0.2.1 knows only these, and wrote no `steps`.
    seen_until: NotRequired[dt.datetime]
    deep_at: NotRequired[dt.datetime]


database.declare("reconciliations", indexes=[Index(("-started_at",))])


@dataclass(slots=True)
class Report:
    """What a reconciliation compared, what it repaired, and what it leaves to a person.

    Lists are cut at 200; the counts are not. Memory stays constant however much there is.
    """

    run_id: str
    since: dt.datetime
    until: dt.datetime
    step: str = ""
    checked: dict[str, int] = field(default_factory=dict)
    repaired: list[Finding] = field(default_factory=list)
    repaired_count: int = 0
    findings: list[Finding] = field(default_factory=list)
    findings_count: int = 0
    unanswered: list[str] = field(default_factory=list)
    unanswered_count: int = 0

    @property
    def ok(self) -> bool:
        """Whether everything could be compared and agreed."""
        return not (self.repaired_count or self.findings_count or self.unanswered_count)

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

    def leave(self, what: str) -> None:
        """Record what could not be compared, or is not decided yet: the next run looks again."""
        if what in self.unanswered:
            return
        self.unanswered_count += 1
        if len(self.unanswered) < _LISTED_MAX:
            self.unanswered.append(what)

    def miss(self, entity_id: str) -> None:
        """Record an entity of Razorpay's lists that cannot be parsed."""
        self.find("unreadable_at_razorpay", entity_id=entity_id)


@dataclass(slots=True)
class Window:
    """The time that a step compares; `seen_until` is how far it has come without a gap."""

    since: dt.datetime
    until: dt.datetime
    deep: bool
    is_complete: bool = True
    seen_until: dt.datetime | None = None

    def slices(self) -> Iterator[tuple[dt.datetime, dt.datetime]]:
        """The window in slices of a day, the oldest first: what was compared when Razorpay stops to
        answer is not compared again."""
        since = self.since
        while since < self.until:
            until = min(since + _SLICE, self.until)
            yield since, until
            self.is_seen(until)
            since = until

    def is_seen(self, until: dt.datetime) -> None:
        """Everything before `until` was compared, unless something was left out before."""
        if self.is_complete:
            self.seen_until = until


Step = Callable[[Report, Window], Awaitable[None]]


# --- verbs --------------------------------------------------------------------------------------


async def run(*, older_than_minutes: int = OLDER_THAN_MINUTES, trigger: str) -> Report:
    """Compare the last days with Razorpay, to the end; the report, which is also stored.

    What is younger than `older_than_minutes` is left to the browser, the webhooks and the poller.
    One run at a time, over all processes: it waits for another one. Raises StillRunning when that
    takes too long, and when another process has taken over.
    """
    deadline = asyncio.get_running_loop().time() + _WAIT_SECONDS
    while (lease := await _Lease.take()) is None:
        if asyncio.get_running_loop().time() > deadline:
            raise StillRunning(
                "Another reconciliation is running; its report will be the latest one.",
                headers={"Retry-After": "30"},
            )
        await asyncio.sleep(0.2)
    return await _run(lease, clock.after(-60.0 * older_than_minutes), deep=True, trigger=trigger)


async def run_and_wait(*, older_than_minutes: int, trigger: str) -> Report:
    """`run`, as a job of this process: StillRunning when it takes longer than a request may wait. The
    run goes on then; `find_progress` says how far it is, and its report will be the latest one."""
    job = asyncio.create_task(run(older_than_minutes=older_than_minutes, trigger=trigger))
    _jobs.add(job)
    job.add_done_callback(_end_job)
    await asyncio.wait({job}, timeout=_ANSWER_SECONDS)
    if not job.done():
        raise StillRunning(
            "The reconciliation goes on; its report will be the latest one.",
            headers={"Retry-After": "10"},
        )
    return job.result()


_jobs: set[asyncio.Task[Report]] = set()


def _end_job(job: asyncio.Task[Report]) -> None:
    _jobs.discard(job)
    if not job.cancelled() and (problem := job.exception()) is not None:
        log.warning("a reconciliation has ended without a report: %s", problem)


async def stop() -> None:
    """Stop the runs of this process; their windows are compared again by the next one."""
    jobs = list(_jobs)
    for job in jobs:
        job.cancel()
    await asyncio.gather(*jobs, return_exceptions=True)


async def run_when_due() -> None:
    """Run when a run is due: every ten minutes; once a day over the last three days, and over what may
    change later. While Razorpay does not answer, nothing is due."""
    if gateway.retry_after_seconds() > 0:
        return
    schedule = await _find_schedule()
    next_at = schedule.get("next_at") if schedule is not None else None
    if next_at is None:
        first = {"next_at": clock.after(_EVERY_SECONDS)}
        await db.reconciliations.update_one({"_id": "schedule"}, {"$set": first}, upsert=True)
        return
    if next_at > clock.now() or (lease := await _Lease.take()) is None:
        return
    await _run(lease, clock.after(-60.0 * OLDER_THAN_MINUTES), deep=False, trigger="worker")


async def _run(lease: "_Lease", until: dt.datetime, *, deep: bool, trigger: str) -> Report:
    """All steps, while the lease is renewed; what Razorpay does not answer is compared the next time."""
    report = Report(database.new_id("recon"), until, until)
    started_at = clock.now()
    with gateway.on_behalf_of("reconciliation"):
        work = asyncio.create_task(_run_steps(report, lease, deep=deep))
        keeping = asyncio.create_task(lease.keep(report, trigger, started_at))
    try:
        await asyncio.wait({work, keeping}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise StillRunning("Another process has taken the reconciliation over.")
        work.result()
    finally:
        for task in (work, keeping):
            task.cancel()
        await asyncio.gather(work, keeping, return_exceptions=True)
        await lease.give_back()
    _findings.set(report.repaired_count + report.findings_count)
    record = _record(report, trigger=trigger, started_at=started_at)
    await db.reconciliations.insert_one(dict(record))
    log.info("reconciliation %s: %s", report.run_id, "all agrees" if report.ok else "see report")
    return report


async def _run_steps(report: Report, lease: "_Lease", *, deep: bool) -> None:
    for name, step in _STEPS.items():
        report.step = name
        await _run_step(name, step, report, lease, deep=deep)


async def _run_step(name: str, step: Step, report: Report, lease: "_Lease", *, deep: bool) -> None:
    """Run a step over its own window, and store how far it came."""
    state = lease.state_of(name)
    window = _window(state, report.until, deep=deep or _is_deep_due(state))
    report.since = min(report.since, window.since)
    if window.deep:
        state["deep_tried_at"] = clock.now()
    try:
        await step(report, window)
    except Exception as problem:
        window.is_complete = False
        why = type(problem).__name__
        if isinstance(problem, Problem):  # of Razorpay, or our ledger did not answer in time
            why = problem.detail
            log.warning("reconciliation of %s not finished: %s", name, why)
        elif database.is_away(problem):
            log.warning("reconciliation of %s not finished: database away: %s", name, why)
        else:
            log.exception("reconciliation of %s not finished", name)
        report.leave(f"{name}: {why}")
    # Only now: a run whose process was stopped has not compared its window.
    if window.is_complete:
        window.seen_until = window.until
        if window.deep:
            state["deep_at"] = clock.now()
    if window.seen_until is not None:
        state["seen_until"] = max(window.seen_until, state.get("seen_until", window.seen_until))
    await lease.store_step(name, state)


def _is_deep_due(state: StepState) -> bool:
    """Whether a day has passed since the last deep comparison, and an hour since the last attempt."""
    deep_at, tried_at = state.get("deep_at"), state.get("deep_tried_at")
    return (deep_at is None or deep_at < clock.after(-_DEEP_AGAIN_SECONDS)) and (
        tried_at is None or tried_at < clock.after(-_DEEP_RETRY_SECONDS)
    )


def _window(state: StepState, until: dt.datetime, *, deep: bool) -> Window:
    """From an hour before what was compared last; a deep one at least over the last three days."""
    since = clock.after(-86_400 * _DEEP_DAYS, since=until)
    if (seen_until := state.get("seen_until")) is not None:
        overlapping = clock.after(-_OVERLAP_SECONDS, since=seen_until)
        since = min(since, overlapping) if deep else overlapping
    return Window(min(since, until), until, deep)


async def find_progress() -> Progress | None:
    """How far the run has come that is under way, in whatever process; None when there is none."""
    schedule = await _find_schedule()
    lease_until = schedule.get("lease_until") if schedule is not None else None
    if schedule is None or lease_until is None or lease_until < clock.now():
        return None
    return schedule.get("progress")


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


async def _orders(report: Report, window: Window) -> None:
    """Check orders that are not paid although somebody has signed or authorized a payment; once a day also
    those that somebody has tried to pay in the last week. All others are left alone: there are
    many, most were abandoned, and a payment of theirs is in the window of the payments."""

    async def one(order: Order) -> None:
        try:
            receipts = await payments.check_order(order)
            if not receipts and await payments.has_uncaptured_payment(order):
                report.leave(_not_captured(order["order_id"]))
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

    async for batch in payments.orders_in_doubt(window.until, deep=window.deep):
        await _all(report, window, one, batch)


async def _payments(report: Report, window: Window) -> None:
    """Razorpay's payments of the window: each captured one is credited, or is in review."""

    async def one(payment: entities.Payment) -> None:
        try:
            order = await payments.get_order(payment.order_id, None)
        except OrderNotFound:
            return report.count("payments_of_others")
        try:
            receipt = await payments.credit(order, await gateway.fetch_payment(payment.id))
        except PaymentMismatch as mismatch:
            return _count_in_review(report, payment, str(mismatch.extra.get("reason")))
        if receipt is None:  # the poller credits it later
            await payments.mark_payment_pending(order, payment.id)
            report.leave(_not_captured(order["order_id"]))
        elif not receipt.already_processed:
            report.repair(
                "payment_credited",
                payment_id=payment.id,
                user_id=order["user_id"],
                transaction_id=receipt.transaction_id,
            )
        return None

    for since, until in window.slices():
        async for page in gateway.payments_between(since, until, report.miss):
            await _all(report, window, one, await _uncredited(report, page))


async def _uncredited(report: Report, page: list[entities.Payment]) -> list[entities.Payment]:
    """Those of these payments that were taken, and are neither credited nor in review as they are now."""
    report.count("payments", len(page))
    taken = [each for each in page if each.status in ("authorized", "captured")]
    credited = await payments.mark_confirmed(report.run_id, [each.id for each in taken])
    left = [each for each in taken if each.id not in credited]
    known = await payments.find_payments([each.id for each in left])
    found = []
    for payment in left:
        record = known.get(payment.id)
        if record is not None and payments.is_known(payment, record):
            if "review" in record:  # else it was credited meanwhile
                _count_in_review(report, payment, record["review"]["reason"])
        else:
            found.append(payment)
    return found


def _count_in_review(report: Report, payment: entities.Payment, reason: str) -> None:
    report.count(f"payments_not_credited_{reason}")
    if payment.status == "authorized" and reason != "second_payment":
        report.leave(_not_captured(payment.order_id))


def _not_captured(order_id: str) -> str:
    """Razorpay refunds it after some days: until then the report is not without findings."""
    return f"{order_id}: authorized, not captured yet"


async def _credits(report: Report, window: Window) -> None:
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
                await payments.mark_confirmed(report.run_id, [payment.id])
                return
            wrong = f"razorpay_says_{payment.status}_{payment.amount_paise}_paise"
        report.find(
            "credit_without_payment",
            transaction_id=entry.id,
            payment_id=entry.payment_id,
            user_id=entry.user_id,
            detail=wrong,
        )

    for since, until in window.slices():
        of_recharges = Filter(type="credit", category="recharge", period=Period(since, until))
        async for batch in transactions.batches(of_recharges):
            report.count("credits", len(batch))
            confirmed = await payments.find_confirmed([entry.payment_id or "" for entry in batch])
            left = [entry for entry in batch if entry.payment_id not in confirmed]
            await _all(report, window, one, left)


async def _refunds(report: Report, window: Window) -> None:
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
            await _note_unknown_refund(report, record)

    async for batch in refunds.open_refunds_before(window.until):
        report.count("open_refunds", len(batch))
        await _all(report, window, refunds.check_refund, batch)
    for since, until in window.slices():
        async for page in gateway.refunds_between(since, until, report.miss):
            report.count("refunds", len(page))
            await _all(report, window, one, page)
    since = clock.after(-86_400 * _SENT_BACK_DAYS) if window.deep else window.since
    async for batch in refunds.processed_refunds_between(min(since, window.since), window.until):
        report.count("booked_refunds", len(batch))
        await _all(report, window, again, batch)


async def _note_unknown_refund(report: Report, record: Refund) -> None:
    if await refunds.mark_unknown(record):
        report.find("refund_unknown_at_razorpay", refund_id=record["_id"])


async def _disputes(report: Report, window: Window) -> None:
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

    for since, until in window.slices():
        async for page in gateway.disputes_between(since, until, report.miss):
            report.count("disputes", len(page))
            await _all(report, window, one, page)
    decided_since = clock.after(-86_400 * _ASKED_DAYS) if window.deep else None
    async for batch in disputes.disputes_to_check(decided_since=decided_since):
        report.count("open_disputes", sum(each["state"] == "reserved" for each in batch))
        await _all(report, window, again, batch)


async def _settlements(report: Report, window: Window) -> None:
    """Match what was paid out on the days of the window line by line."""
    day, last = clock.ist_date(window.since), clock.ist_date(clock.now())
    while day <= last:
        count, strangers = await settlements.match_day(day, report.miss)
        report.count("settlement_lines", count)
        for entity_id in strangers:
            report.count("settlement_lines_of_others")
            log.info("settlement line of %s is not ours", entity_id)
        window.is_seen(min(clock.ist_day_end(day), window.until))
        day += dt.timedelta(days=1)


_STEPS: Final[dict[str, Step]] = {
    "orders": _orders,
    "payments": _payments,
    "credits": _credits,
    "refunds": _refunds,
    "disputes": _disputes,
    "settlements": _settlements,
}


async def _all(
    report: Report,
    window: Window,
    work: Callable[[Item], Awaitable[object]],
    batch: Sequence[Item],
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
        window.is_complete = False
        report.leave(f"{len(missed)} of {len(batch)} {report.step}: {missed[0]}")


def _name_of(item: object) -> str:
    found = item.get("_id") if isinstance(item, dict) else getattr(item, "id", None)
    return str(found)


# --- storage ------------------------------------------------------------------------------------


class _Lease:
    """The right to run, of one process at a time; its owner renews it, and nobody else."""

    def __init__(self, owner: str, schedule: Schedule, until: dt.datetime) -> None:
        self._owner = owner
        self._until = until  # as it is stored
        self._tried_until = until  # as it may be stored, if that was not answered
        old: StepState = {}
        if "seen_until" in schedule:
            old["seen_until"] = schedule["seen_until"]
        if "deep_at" in schedule:
            old["deep_at"] = schedule["deep_at"]
        stored = schedule.get("steps", {})
        self._states: dict[str, StepState] = {name: {**stored.get(name, old)} for name in _STEPS}

    @classmethod
    async def take(cls) -> "_Lease | None":
        """The lease; None while another run has it."""
        owner, until = database.new_id("run"), clock.after(_LEASE_SECONDS)
        free = [{"lease_until": None}, {"lease_until": {"$lt": clock.now()}}]
        try:
            taken = await db.reconciliations.find_one_and_update(
                {"_id": "schedule", "$or": free},
                {"$set": {"lease_until": until, "owner": owner, "progress": None}},
                upsert=True,
                return_document=True,
            )
        except database.DuplicateKey:
            return None
        return cls(owner, cast(Schedule, taken), until)

    def state_of(self, step: str) -> StepState:
        """How far this step has come; in what release 0.2.1 wrote, all steps as far as each other."""
        return {**self._states[step]}

    async def keep(self, report: Report, trigger: str, started_at: dt.datetime) -> None:
        """Renew the lease and store the progress; returns when the lease is lost."""
        while True:
            progress: Progress = {
                "run_id": report.run_id,
                "trigger": trigger,
                "started_at": started_at,
                "step": report.step,
                "checked": dict(report.checked),
                "repaired_count": report.repaired_count,
                "findings_count": report.findings_count,
                "unanswered_count": report.unanswered_count,
            }
            until = clock.after(_LEASE_SECONDS)
            renewed: Document = {"lease_until": until, "progress": progress}
            try:
                if not await self._change(renewed):
                    log.error("reconciliation %s: another process has its lease", report.run_id)
                    return
                self._until = until
            except database.AnyError as problem:
                log.warning("reconciliation's lease not renewed: %s", type(problem).__name__)
                if self._until < clock.now():
                    return  # another process may have it by now
            await asyncio.sleep(_PROGRESS_SECONDS)

    async def store_step(self, name: str, state: StepState) -> None:
        """Store how far a step has come, and the step that is furthest behind for release 0.2.1."""
        if state == self._states[name]:
            return
        self._states[name] = state
        changes: Document = {"steps": self._states}
        seen = [each.get("seen_until") for each in self._states.values()]
        deep = [each.get("deep_at") for each in self._states.values()]
        for field_name, moments in (("seen_until", seen), ("deep_at", deep)):
            known = [moment for moment in moments if moment is not None]
            if len(known) == len(moments):
                changes[field_name] = min(known)
        await self._change(changes)

    async def give_back(self) -> None:
        """The run is over, or broke off: the next one is due after the usual pause."""
        await self._change(
            {
                "lease_until": None,
                "owner": None,
                "progress": None,
                "next_at": clock.after(_EVERY_SECONDS),
            }
        )

    async def _change(self, changes: Document) -> bool:
        """Whether the lease is still this run's, and the record changed."""
        mine = {
            "_id": "schedule",
            "owner": self._owner,
            # Release 0.2.1 takes an expired lease over without a name: it is longer than ours then.
            "lease_until": {"$ne": None, "$lte": self._tried_until},
        }
        self._tried_until = changes.get("lease_until") or self._tried_until
        changed = await db.reconciliations.update_one(mine, {"$set": changes})
        return changed.matched_count == 1


async def _find_schedule() -> Schedule | None:
    return cast(Schedule | None, await db.reconciliations.find_one({"_id": "schedule"}))


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
        "unanswered_count": report.unanswered_count,
        "ok": report.ok,
    }
