"""Call lifecycle: state transitions by provider reports, and the one end that is charged."""

import asyncio
import datetime as dt
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Final, cast, get_args

from billing import charging, pricing
from billing.charging import Charge, Reservation
from calls import records, timing
from calls.records import (
    IN_REVIEW,
    RESOLVED,
    BillingStatus,
    Call,
    CountedResult,
    Reserved,
    Status,
)
from compliance import contact_limits
from core import clock, database, leases, outbox
from core.database import Document, Index, Insert, Session, Update, Write, db
from core.errors import HoldNotFound, NotFound, Unavailable, invalid
from telephony import (
    NETWORK_FAULTS,
    OVER,
    RANK,
    Ambiguous,
    InvalidCallbackSignature,
    Report,
    network_health,
)

log = logging.getLogger(__name__)


# --- vocabulary ---------------------------------------------------------------------------------

# A network may report this much more than the limit that was sent to it: it rounds, and hanging up
# takes a moment.
OVERRUN_SECONDS: Final = 60

_EVENTS_KEPT: Final = 30
_RESERVATIONS_KEPT: Final = 60

# What a call has only until its money is settled or released.
_OPEN_FIELDS: Final = ("next_check_at", "next_extend_at", "dial_at", "unbilled_since")

# How long a claim lasts. What failed is tried again after it; a slice, before the limit is reached.
_LEASE_SECONDS: Final = {"next_extend_at": 4, "next_check_at": 20}

# How many due calls a process works on at once for each of the two times: in all, of one network and of
# one user. A network that does not answer leaves room for the others, and so does a user of many calls.
_AT_ONCE_MAX: Final = 96
_OF_A_NETWORK_MAX: Final = 64
_OF_A_USER_MAX: Final = 16
# The work on one call takes less, or is stopped and tried again.
_WORK_SECONDS: Final = 60.0


# --- reports ------------------------------------------------------------------------------------


async def apply_report(call_id: str, report: Report, *, via: str) -> None:
    """Apply what the network `via` reports; repeated, late and out-of-order reports change nothing.

    Raises NotFound, InvalidCallbackSignature when the report is about another call of the network, and
    Unavailable: then the network has to report again.
    """
    call = await records.find_call(call_id)
    if call is None:
        raise NotFound("There is no call with this id.")
    known_id = call["provider_call_id"]
    if call["provider"] != via:
        raise InvalidCallbackSignature("This call is with another network.")
    if known_id is not None and report.provider_call_id not in (None, known_id):
        raise InvalidCallbackSignature("The report is about another call.")
    if report.key is not None:
        await _record_key(call, report.key)
    if report.rank == OVER and report.is_unverified and report.status != "completed":
        await _note(call, report)
        await update_open_call(call, next_check_at=clock.now(), **fields_of_report(report))
    elif report.rank == OVER:
        await _end(call, report)
    elif report.rank > call["rank"]:
        await _advance(call, report)
    else:
        await _note(call, report)


async def _advance(call: Call, report: Report) -> None:
    changes: Document = {"status": report.status, "rank": report.rank, **fields_of_report(report)}
    if call["rank"] < RANK["queued"]:  # before the network's answer, or that was lost
        changes |= _check_times(call)
    if report.status == "in_progress":
        changes["answered_at"] = report.answered_at or report.occurred_at
        changes["next_check_at"] = timing.latest_end_at(call, changes["answered_at"])
        if timing.is_extendable(call):
            changes["next_extend_at"] = timing.next_balance_check_at(
                call, changes["answered_at"], seconds=call["limit_seconds"]
            )
    await database.write_together(
        Update(
            "calls",
            {"_id": call["_id"], **records.may_become(cast(Status, report.status))},
            {"$set": changes, "$push": push_of_report(report)},
        )
    )


async def _record_key(call: Call, key: str) -> None:
    """Record the first key that was pressed and has a meaning in the call, with its event."""
    meaning = (call.get("keys") or {}).get(key)
    if meaning is None or call.get("pressed") is not None:
        return
    now = clock.now()
    pressed: Document = {"key": key, "meaning": meaning, "at": now}
    change = Update(
        "calls",
        {"_id": call["_id"], "pressed": {"$exists": False}},
        {"$set": {"pressed": pressed, "updated_at": now}},
    )
    event = outbox.record_event(
        "KeyPressed",
        user_id=call["user_id"],
        pending=True,
        call_id=call["_id"],
        campaign_id=call["campaign_id"],
        to=call["to"],
        key=key,
        meaning=meaning,
    )
    await _with_event(change, event)


async def _note(call: Call, report: Report) -> None:
    """Store a report that changes no state; a second end that contradicts the first needs a review."""
    if any(event["id"] == report.event_id for event in call["events"]):
        return
    update: Document = {"$push": push_of_report(report)}
    if report.answered_by is not None:
        update["$set"] = {"answered_by": report.answered_by}
    if (reason := contradiction_of(call, report)) is not None:
        log.error("call %s needs a review: %s", call["_id"], reason)
        update["$set"] = update.get("$set", {}) | {"review_reason": reason}
    if "$set" in update:
        update["$set"]["updated_at"] = clock.now()
    change = Update("calls", {"_id": call["_id"], "events.id": {"$ne": report.event_id}}, update)
    is_news = report.answered_by not in (None, call.get("answered_by"))
    if is_news and call["rank"] == OVER and call["campaign_id"] is not None:
        await _with_event(change, result_changed_event(call))
    else:
        await db.calls.update_one(change.where, change.update)


# --- the end ------------------------------------------------------------------------------------


async def end_call(
    call_id: str, *, status: Status, duration_seconds: int | None, reason: str | None = None
) -> None:
    """End a call that the network did not accept, as if the network had reported it."""
    report = Report(
        event_id=f"own:{status}",
        provider_call_id=None,
        status=status,
        duration_seconds=duration_seconds,
        occurred_at=clock.now(),
        reason=reason,
    )
    await _end(await records.get_call(call_id), report)


async def _end(call: Call, report: Report) -> None:
    """Commit final status, charge, release and event together; the first end is the valid one."""
    is_lost = call["failure_reason"] == records.LOST_BY_NETWORK
    contradicts = call["rank"] == OVER and report.status != call["status"] and not is_lost
    if call["billing_status"] in RESOLVED or contradicts:
        if call["billing_status"] in RESOLVED:
            # Repeated here, in case a crash after the charge prevented it.
            await charging.record_price_of_day(call, int(call["cost_paise"] or 0))
            await contact_limits.end_attempt(call["user_id"], call["to"], call["_id"])
        return await _note(call, report)
    if report.status == "completed" and report.duration_seconds is None:
        return await _await_duration(call, report)
    if (reason := impossible_duration(call, report)) is not None:
        return await _review(call, report, reason)
    seconds = report.duration_seconds or 0 if report.status == "completed" else 0
    if not await _settle(call, report, seconds=seconds):
        await _note(await records.get_call(call["_id"]), report)  # another report ended it first
    return None


async def _settle(call: Call, report: Report, *, seconds: int, **extra_fields: Any) -> bool:
    """Charge `seconds` of talk; False when the call was resolved before."""

    def with_charge(charge: Charge) -> Iterable[Write]:
        changes = fields_of_charge(call, report, charge, seconds=seconds) | extra_fields
        return [
            Update(
                "calls",
                {"_id": call["_id"]},
                {
                    "$set": changes,
                    "$unset": dict.fromkeys(_OPEN_FIELDS, ""),
                    "$push": push_of_report(report),
                },
            ),
            call_ended_event(call, report, seconds=seconds, cost_paise=charge.cost_paise),
        ]

    try:
        if seconds:
            charge = await charging.settle(call, duration_seconds=seconds, companions=with_charge)
        else:
            charge = await charging.release(call, companions=with_charge)
    except HoldNotFound:
        return False
    if charge.repeated:
        return False
    _log_overrun(call, charge)
    if report.status == "failed" and report.reason in NETWORK_FAULTS:
        outcome = network_health.outcome_of_fault(report.reason)
        await network_health.record_outcome(call["provider"], outcome)
        await charging.cancel_count_of_day(call)
    await _end_attempt(call, report)
    return True


async def _end_attempt(call: Call, report: Report) -> None:
    """The number may be called again after the gap; at once, where nobody was called."""
    if call["provider_call_id"] or report.provider_call_id:  # a network had it
        await contact_limits.end_attempt(call["user_id"], call["to"], call["_id"])
    else:
        await contact_limits.cancel_attempt(call["user_id"], call["to"], call["_id"])


def _log_overrun(call: Call, charge: Charge) -> None:
    if charge.cost_paise > charge.reserved_paise:
        log.error(
            "call %s cost more than was reserved: %d paise of %d, %d are due",
            call["_id"],
            charge.cost_paise,
            charge.reserved_paise,
            charge.due_paise,
        )


async def _await_duration(call: Call, report: Report) -> None:
    """Store an end without its duration, and when to ask the network for it: not before it can know."""
    next_check_at = clock.after(max(1, timing.capabilities_of(call).duration_after_seconds))
    await db.calls.update_one(
        {"_id": call["_id"], "billing_status": "held"},
        {
            "$set": fields_of_end(report)
            | {
                "billing_status": "pending_duration",
                "next_check_at": next_check_at,
                "checks": 0,
                "unbilled_since": clock.now(),
            },
            "$unset": {"next_extend_at": ""},
            "$push": push_of_report(report),
        },
    )


async def _review(call: Call, report: Report, reason: str) -> None:
    """Store an end whose price a person has to decide: nothing is charged, the hold stays."""
    log.error("call %s needs a review: %s", call["_id"], reason)
    change = Update(
        "calls",
        {"_id": call["_id"], "billing_status": {"$in": ["held", "pending_duration"]}},
        {
            "$set": fields_of_end(report)
            | {
                "billing_status": "review",
                "review_reason": reason,
                "unbilled_since": clock.now(),
            },
            "$unset": {"next_check_at": "", "next_extend_at": ""},
            "$push": push_of_report(report),
        },
    )
    await _with_event(change, call_ended_event(call, report, seconds=0, cost_paise=0))


async def mark_lost(call: Call, reason: str) -> None:
    """End a call of which its network cannot say what became of it: `failed` if it was not over, its line
    free. Its money is held until a person decides, or the network reports an end after all."""
    report = Report(
        event_id="own:lost",
        provider_call_id=None,
        status=call["status"] if call["rank"] == OVER else "failed",
        duration_seconds=None,
        occurred_at=call["ended_at"] or clock.now(),
        reason=call["failure_reason"] or records.LOST_BY_NETWORK,
    )
    await _review(call, report, reason)


async def resolve_review(call_id: str, *, duration_seconds: int | None, by: str, note: str) -> Call:
    """Apply a person's decision: charge the duration, if the money is still held, and end the review;
    the call as it is then.

    Raises InvalidRequest when the money is held and no duration is given, NotFound when the call
    is in no review, and Unavailable.
    """
    call = await records.get_call(call_id)
    reviewed = {"review_reason": None, "reviewed": {"by": by, "note": note, "at": clock.now()}}
    if call["billing_status"] == "review":
        if duration_seconds is None:
            raise invalid("duration_seconds", "must be given: the money of this call is still held")
        report = report_of_decision(call, duration_seconds, by=by)
        if await _settle(call, report, seconds=duration_seconds, **reviewed):
            log.warning("call %s: %s decided that it lasted %d s", call_id, by, duration_seconds)
            return await records.get_call(call_id)
    waits = {"billing_status": {"$in": list(RESOLVED)}, "review_reason": {"$type": "string"}}
    taken_out = await db.calls.update_one({"_id": call_id, **waits}, {"$set": reviewed})
    if not taken_out.matched_count:
        raise NotFound("There is no call with this id that waits for a person.")
    return await records.get_call(call_id)


# --- changes of a placed or running call --------------------------------------------------------


def written(call: Call) -> Insert:
    """The companion write that stores a new call."""
    return Insert("calls", {**call, "updated_at": clock.now()})


async def claim_submission(call: Call) -> Call | None:
    """Claim a committed call for its submission: `created` becomes `submitting`. The call as it is then;
    None when somebody else has claimed it, or it was withdrawn."""
    now = clock.now()
    changes: Document = {
        "status": "submitting",
        "rank": RANK["submitting"],
        "attempt": database.new_id("attempt"),
        "submitted_at": now,
        "updated_at": now,
        "next_check_at": clock.after(timing.VISIBILITY_SECONDS, since=now),
    }
    claim = Update(
        "calls",
        {"_id": call["_id"], **records.may_become("submitting")},
        {"$set": changes, "$unset": {"dial_at": ""}},
    )
    if await database.write_together(claim):
        return cast(Call, call | changes)
    found = await records.get_call(call["_id"])
    is_ours = found["status"] == "submitting" and found.get("attempt") == changes["attempt"]
    return found if is_ours else None


def is_end_unfinished(call: Call) -> bool:
    """Whether a call was ended that was never submitted, and its hold is not released yet."""
    return call["rank"] == OVER and call["billing_status"] == "held"


async def end_unsubmitted(call: Call, *, status: Status, reason: str) -> None:
    """End a call that the network was never asked for; idempotent. One that was submitted meanwhile
    stays as it is.

    It is claimed first, so that nobody submits it while its hold is released; if the process ends in
    between, the check of overdue calls does the rest.
    """
    now = clock.now()
    ended: Document = {"status": status, "rank": OVER, "failure_reason": reason}
    await db.calls.update_one(
        {"_id": call["_id"], "status": "created"},
        {
            "$set": ended | {"ended_at": now, "updated_at": now, "next_check_at": clock.after(5)},
            "$unset": {"dial_at": ""},
        },
    )
    found = await records.get_call(call["_id"])
    if is_end_unfinished(found):
        await end_call(
            found["_id"],
            status=found["status"],
            duration_seconds=0,
            reason=found["failure_reason"],
        )


async def mark_queued(call: Call, provider_call_id: str) -> Call:
    """Record that the network accepted the call; the call as it is then (a callback may be earlier)."""
    its_id = {"provider_call_id": provider_call_id}
    changes = _check_times(call) | {"status": "queued", "rank": RANK["queued"], **its_id}
    changes["accepted_at"] = clock.now()
    not_yet = {"_id": call["_id"], **records.may_become("queued")}
    if await database.write_together(Update("calls", not_yet, {"$set": changes})):
        return cast(Call, call | changes)
    found = await records.get_call(call["_id"])
    if found["provider_call_id"] is None:  # not every callback carries the network's id
        await db.calls.update_one({"_id": call["_id"], "provider_call_id": None}, {"$set": its_id})
        return await records.get_call(call["_id"])
    return found


def _check_times(call: Call) -> Document:
    """When to check and extend a call that the network accepted, in case it never reports anything."""
    changes: Document = {"next_check_at": timing.latest_end_at(call, call["created_at"])}
    changes["updated_at"] = clock.now()
    if timing.is_extendable(call):
        rings_seconds = call["ring_seconds"] if call["pace"] > 1 else 0.0
        since = clock.after(rings_seconds, since=call["created_at"])
        changes["next_extend_at"] = timing.next_extension_at(
            call, since, seconds=call["limit_seconds"]
        )
    return changes


async def mark_unknown(call: Call) -> Call:
    """Record that it is unknown whether the network accepted the call: the network is asked later,
    and nothing is redialled."""
    await db.calls.update_one(
        {"_id": call["_id"], **records.may_become("unknown")},
        {"$set": {"status": "unknown", "updated_at": clock.now()}},
    )
    return await records.get_call(call["_id"])


async def update_open_call(call: Call, *, forget: str | None = None, **changes: Any) -> None:
    """Set fields of a call that is not settled or released, or remove the field `forget`."""
    update: Document = {}
    if changes:
        update["$set"] = changes
    if forget is not None:
        update["$unset"] = {forget: ""}
    await db.calls.update_one(
        {"_id": call["_id"], "billing_status": {"$nin": list(RESOLVED)}}, update
    )


def update_of_limit(call: Call, reservation: Reservation) -> Update:
    """The companion write that goes with more money reserved for a running call."""
    raised: Call = {**call, "limit_seconds": reservation.limit_seconds}
    reserved = reserved_of(reservation, clock.now())
    changes: Document = {
        "held_paise": reserved["held_paise"],
        "limit_seconds": reserved["limit_seconds"],
        "next_check_at": timing.latest_end_at(raised, reserved["at"]),
        "updated_at": reserved["at"],
    }
    kept = {"$each": [reserved], "$slice": -_RESERVATIONS_KEPT}
    return Update("calls", {"_id": call["_id"]}, {"$set": changes, "$push": {"reservations": kept}})


def reserved_of(reservation: Reservation, at: dt.datetime) -> Reserved:
    """A reservation of this moment as it is kept among those of its call."""
    return {
        "at": at,
        "held_paise": database.long(reservation.held_paise),
        "limit_seconds": reservation.limit_seconds,
    }


async def record_running_out(call: Call, *, seconds_left: int, warned_at: int) -> None:
    """Record that a call will end for lack of money: once for each `warned_at`, in falling order."""
    not_yet = {"billing_status": "held", "warned_at": {"$not": {"$lte": warned_at}}}
    change = Update("calls", {"_id": call["_id"], **not_yet}, {"$set": {"warned_at": warned_at}})
    event = outbox.record_event(
        "CallRunsOut",
        user_id=call["user_id"],
        seconds_left=seconds_left,
        call_id=call["_id"],
        campaign_id=call["campaign_id"],
    )
    await _with_event(change, event)


async def _with_event(change: Update, event: Insert) -> None:
    """Write the change, and the event if the change matched a call, in one commit."""

    async def change_and_event(session: Session) -> None:
        if await database.write_all([change], session):
            await database.write_all([event], session)

    await database.atomic(change_and_event)


# --- due work -----------------------------------------------------------------------------------


class _DueWork:
    """The due calls that this process works on for one field, each in a task of its own."""

    def __init__(self) -> None:
        self.tasks: dict[asyncio.Task[None], tuple[str, str]] = {}
        self.unclaimed: set[str] = set()

    @property
    def room(self) -> int:
        """How many more may be begun."""
        return _AT_ONCE_MAX - len(self.tasks)

    def full(self) -> tuple[list[str], list[str]]:
        """The users and the networks that have as many as they may."""
        users = Counter(user_id for user_id, _ in self.tasks.values())
        networks = Counter(network for _, network in self.tasks.values())
        return (
            [user_id for user_id, count in users.items() if count >= _OF_A_USER_MAX],
            [network for network, count in networks.items() if count >= _OF_A_NETWORK_MAX],
        )

    def begin(self, call: Call, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Begin the work on a call."""
        task = asyncio.create_task(work)
        self.tasks[task] = call["user_id"], call["provider"]
        task.add_done_callback(lambda done: self.tasks.pop(done, None))
        return task


_due_work: Final = {field: _DueWork() for field in _LEASE_SECONDS}


async def claim_due_calls(field: str, work: Callable[[Call], Awaitable[None]]) -> int:
    """`start_due_calls`, and wait until all that was started is done; how many there were."""
    count = 0
    while started := await start_due_calls(field, work):
        count += len(started)
        await asyncio.wait(started)
    return count


async def start_due_calls(
    field: str, work: Callable[[Call], Awaitable[None]]
) -> list[asyncio.Task[None]]:
    """Begin `work` on each call whose `field` (a time) has passed, in a task of its own; the tasks.

    None waits for another, whatever its network takes to answer: of one user and of one network there
    are only so many at once, and the calls of the others go past them. Each is claimed by moving its
    time ahead by a lease, so that any number of processes may do this, and what a process had claimed
    that died is due again. What fails is due again, too; it is logged as an error unless the database
    or the network could not be reached.
    """
    due, started = _due_work[field], []
    while due.room > 0:
        users, networks = due.full()
        found = db.calls.find(
            {
                # The type is named because only then MongoDB uses a partial index over dates.
                field: {"$lte": clock.now(), "$type": "date"},
                "_id": {"$nin": sorted(due.unclaimed)},
                "user_id": {"$nin": users},
                "provider": {"$nin": networks},
            },
            {"user_id": 1, "provider": 1},
            sort=[(field, 1)],
            limit=due.room,
        )
        begun = 0
        for call in cast(list[Call], await found.to_list(None)):
            users, networks = due.full()
            if call["user_id"] not in users and call["provider"] not in networks:
                due.unclaimed.add(call["_id"])
                started.append(due.begin(call, _claim_and_work(call["_id"], field, work)))
                begun += 1
        if not begun:
            break
    return started


async def _claim_and_work(
    call_id: str, field: str, work: Callable[[Call], Awaitable[None]]
) -> None:
    try:
        call = await leases.claim(
            db.calls,
            call_id,
            field,
            until=clock.after(_LEASE_SECONDS[field]),
            count="checks" if field == "next_check_at" else None,
        )
        _due_work[field].unclaimed.discard(call_id)
        if call is not None:
            async with asyncio.timeout(_WORK_SECONDS):
                await work(cast(Call, call))
    except Exception as problem:
        is_passing = isinstance(problem, Unavailable | Ambiguous | TimeoutError)
        if is_passing or database.is_away(problem):
            log.warning("call %s: %s: %s; tried again", call_id, field, problem)
        else:  # a defect of ours: it must stop neither the other calls nor the worker
            log.error("call %s: %s: a defect", call_id, field, exc_info=problem)
    finally:
        _due_work[field].unclaimed.discard(call_id)


async def wait_for_due_calls() -> None:
    """Wait until nothing of what was started is still worked on in this process."""
    while tasks := [task for due in _due_work.values() for task in due.tasks]:
        await asyncio.wait(tasks)


async def stop_due_calls() -> None:
    """Stop what was started; it is due again when its lease is over."""
    tasks = [task for due in _due_work.values() for task in due.tasks]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


# --- fields and events of a report --------------------------------------------------------------


def fields_of_report(report: Report) -> Document:
    """The fields that a report sets beside the status: ids, who answered, and when it came."""
    given = {
        "updated_at": clock.now(),
        "provider_call_id": report.provider_call_id,
        "provider_leg_id": report.leg_id,
        "answered_by": report.answered_by,
    }
    return {name: value for name, value in given.items() if value is not None}


def push_of_report(report: Report) -> Document:
    """The `$push` that stores a report among the latest ones of the call."""
    kept = {
        "id": report.event_id,
        "status": report.status,
        "duration_seconds": report.duration_seconds,
        "occurred_at": report.occurred_at,
        "received_at": clock.now(),
    }
    return {"events": {"$each": [kept], "$slice": -_EVENTS_KEPT}}


def fields_of_end(report: Report) -> Document:
    """The fields that every end sets."""
    changes: Document = {"status": report.status, "rank": OVER, "ended_at": report.occurred_at}
    if report.answered_at is not None:
        changes["answered_at"] = report.answered_at
    changes |= fields_of_report(report)
    if report.status != "completed":
        changes["failure_reason"] = report.reason or report.status
    elif report.reason is not None:  # it was answered, and the person heard nothing
        changes["failure_reason"] = report.reason
    return changes


def fields_of_charge(call: Call, report: Report, charge: Charge, *, seconds: int) -> Document:
    """The fields of an end that settles or releases the call. A call that cost more than was reserved
    needs a review."""
    rate = pricing.rate_of(call)
    too_much = charge.cost_paise > charge.reserved_paise
    overrun = f"it cost {charge.cost_paise} paise, {charge.reserved_paise} were reserved"
    return fields_of_end(report) | {
        "billing_status": "settled" if charge.cost_paise else "released",
        "review_reason": overrun if too_much else None,
        "duration_seconds": seconds,
        "billable_seconds": pricing.billable_seconds(seconds, rate),
        "pulse_count": pricing.pulse_count(seconds, rate),
        "cost_paise": database.long(charge.cost_paise),
        "due_paise": database.long(charge.due_paise),
        "held_paise": database.long(0),
        "explanation": pricing.explanation(seconds, rate),
    }


def call_ended_event(call: Call, report: Report, *, seconds: int, cost_paise: int) -> Insert:
    """The event that is committed with every end."""
    return outbox.record_event(
        "CallEnded",
        user_id=call["user_id"],
        pending=call["campaign_id"] is not None,
        call_id=call["_id"],
        campaign_id=call["campaign_id"],
        status=report.status,
        answered_by=report.answered_by or call.get("answered_by"),
        duration_seconds=seconds,
        cost_paise=cost_paise,
    )


def result_changed_event(call: Call) -> Insert:
    """The event that is committed with what becomes known of a campaign's call after its end."""
    return outbox.record_event(
        "CallResultChanged",
        user_id=call["user_id"],
        pending=True,
        call_id=call["_id"],
        campaign_id=call["campaign_id"],
    )


def update_of_counted(call: Call, counted: CountedResult) -> Update:
    """The companion write that goes with counting the result of a call of a campaign."""
    return Update("calls", {"_id": call["_id"]}, {"$set": {"counted": counted}})


def report_of_decision(call: Call, duration_seconds: int, *, by: str) -> Report:
    """The report of an end that a person decided."""
    status = "completed" if duration_seconds else "failed"
    if call["rank"] == OVER and not duration_seconds:
        status = call["status"]
    return Report(
        event_id=f"reviewed:{by}",
        provider_call_id=None,
        status=status,
        duration_seconds=duration_seconds,
        occurred_at=call["ended_at"] or clock.now(),
        reason=call["failure_reason"] or "reviewed",
    )


# --- reasons for a review -----------------------------------------------------------------------


def impossible_duration(call: Call, report: Report) -> str | None:
    """Why the duration cannot be true; None when it can."""
    limit_seconds = max(call["limit_seconds"], call["told_limit_seconds"])
    duration = report.duration_seconds
    if duration is None or 0 <= duration <= limit_seconds + OVERRUN_SECONDS:
        return None
    return f"{duration} s reported, {limit_seconds} s were the limit"


def contradiction_of(call: Call, report: Report) -> str | None:
    """How a second end contradicts the first; None when it does not."""
    if report.rank < OVER or report.is_unverified:
        return None
    known = (call["status"], call["duration_seconds"] or 0)
    reported = (report.status, report.duration_seconds or 0)
    if report.duration_seconds is None and report.status == call["status"]:
        reported = known  # it has no duration, so it contradicts nothing
    if reported == known:
        return None
    return f"the network later reported {report.status}, {report.duration_seconds} s"


# --- storage ------------------------------------------------------------------------------------

_PAISE = ("rate_paise_per_minute", "connection_fee_paise", "held_paise", "due_paise")

database.declare(
    "calls",
    indexes=[
        Index(("user_id", "-created_at", "-_id")),
        Index(("user_id", "status", "-created_at", "-_id")),
        Index(("user_id", "to", "-created_at", "-_id")),
        Index(("-created_at", "-_id")),
        Index(("status", "-created_at", "-_id")),
        # These hold only calls that are open or need a review, so their queries read no others.
        Index(("created_at",), only_where=IN_REVIEW),
        Index(("user_id", "created_at", "_id"), only_where={"rank": {"$lt": OVER}}),
        Index(("created_at", "_id"), only_where={"rank": {"$lt": OVER}}),
        Index(("next_check_at",), only_where={"next_check_at": {"$exists": True}}),
        Index(("next_extend_at",), only_where={"next_extend_at": {"$exists": True}}),
        Index(("dial_at",), only_where={"dial_at": {"$exists": True}}),
        Index(("user_id",), only_where={"unbilled_since": {"$exists": True}}),
        Index(("campaign_id",), only_where={"billing_status": "pending_duration"}),
        # The attempts of a campaign, in their order.
        Index(
            ("campaign_id", "created_at", "_id"), only_where={"campaign_id": {"$type": "string"}}
        ),
        # The calls to a number, of everybody.
        Index(("to", "-created_at", "-_id")),
        # What changed a moment ago, of everybody or of some users.
        Index(("updated_at", "user_id"), only_where={"updated_at": {"$type": "date"}}),
    ],
    schema={
        "bsonType": "object",
        "required": [*_PAISE, "user_id", "to", "status", "rank", "billing_status", "created_at"],
        "properties": {
            "user_id": {"bsonType": "string"},
            "status": {"enum": list(get_args(Status))},
            "billing_status": {"enum": list(get_args(BillingStatus))},
            **{name: {"bsonType": "long", "minimum": 0} for name in _PAISE},
            "cost_paise": {"bsonType": ["long", "null"], "minimum": 0},
            "limit_seconds": {"bsonType": "int", "minimum": 0},
        },
    },
)
