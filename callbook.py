"""Calls: storage and queries, and the lifecycle from the placed call to its one end."""

import asyncio
import datetime as dt
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, cast, get_args

import billing
import callreports
import deadlines
from billing import Charge, Reservation
from callrecords import RESOLVED, BillingStatus, Call, Status
from core import clock, database, outbox
from core.database import Document, Index, Insert, Session, Update, Write, db
from core.errors import HoldNotFound, NotFound, Unavailable, invalid
from telephony import NETWORK_FAULTS, OVER, RANK, Ambiguous, InvalidSignature, Report

log = logging.getLogger(__name__)


# --- vocabulary ---------------------------------------------------------------------------------

# How long a claim holds. What failed is tried again after it: a slice before the limit is reached.
_LEASE_SECONDS: Final = {"next_extend_at": 4, "next_check_at": 20}


# A network that queues may begin a call so much later than we placed it.
_NEAR_SECONDS: Final = 1_000


_BATCH_MAX: Final = 200


_PARALLEL_MAX: Final = 16


# --- verbs --------------------------------------------------------------------------------------
def written(call: Call) -> Insert:
    """The companion write that stores a new call."""
    return Insert("calls", call)


async def find(call_id: str) -> Call:
    """The call; NotFound when there is none."""
    found = await db.calls.find_one({"_id": call_id})
    if found is None:
        raise NotFound("There is no call with this id.")
    return cast(Call, found)


async def known(call_id: str) -> Call | None:
    """The call if there is one; callers share the document and do not change it."""
    return cast("Call | None", await database.find_together("calls", call_id))


async def page(where: Document, *, after: tuple[dt.datetime, str] | None, limit: int) -> list[Call]:
    """At most `limit` calls, newest first, that come after that creation time and id."""
    if after is not None:
        at, call_id = after
        older = [{"created_at": {"$lt": at}}, {"created_at": at, "_id": {"$lt": call_id}}]
        where = where | {"$or": older}
    found = db.calls.find(where, sort=[("created_at", -1), ("_id", -1)], limit=limit)
    return cast(list[Call], await found.to_list(None))


async def queued(call: Call, provider_call_id: str) -> Call:
    """Record that the network took the call; the call as it is now (a callback may have come first)."""
    its_id = {"provider_call_id": provider_call_id}
    took = _awaited(call) | {"status": "queued", "rank": RANK["queued"], **its_id}
    found = await db.calls.find_one_and_update(
        {"_id": call["_id"], "rank": {"$lt": RANK["queued"]}}, {"$set": took}, return_document=True
    )
    if found is None:  # not every callback carries the network's id
        await db.calls.update_one({"_id": call["_id"], "provider_call_id": None}, {"$set": its_id})
    return cast(Call, found) if found is not None else await find(call["_id"])


def _awaited(call: Call) -> Document:
    """When to ask about a call that the network has, in case it never reports anything."""
    changes: Document = {"next_check_at": deadlines.latest_end(call, call["created_at"])}
    if deadlines.grows(call):
        rings_seconds = call["ring_seconds"] if call["pace"] > 1 else 0.0
        since = clock.after(rings_seconds, since=call["created_at"])
        changes["next_extend_at"] = deadlines.extend_at(call, since, seconds=call["limit_seconds"])
    return changes


async def unknown(call: Call) -> Call:
    """Record that it is unknown whether the network took the call: it is asked later, and nothing
    is redialled."""
    await db.calls.update_one(
        {"_id": call["_id"], "status": "submitting"}, {"$set": {"status": "unknown"}}
    )
    return await find(call["_id"])


async def change(call: Call, *, forget: str | None = None, **changes: Any) -> None:
    """Set fields of a call whose money is open, or take one away."""
    update: Document = {}
    if changes:
        update["$set"] = changes
    if forget is not None:
        update["$unset"] = {forget: ""}
    await db.calls.update_one(
        {"_id": call["_id"], "billing_status": {"$nin": list(RESOLVED)}}, update
    )


def limit_raised(call: Call, reservation: Reservation) -> Update:
    """The companion write that goes with more money reserved for a running call."""
    raised: Call = {**call, "limit_seconds": reservation.limit_seconds}
    changes: Document = {
        "held_paise": database.long(reservation.held_paise),
        "limit_seconds": reservation.limit_seconds,
        "next_check_at": deadlines.latest_end(raised, clock.now()),
    }
    return Update("calls", {"_id": call["_id"]}, {"$set": changes})


async def siblings(call: Call) -> list[Call]:
    """Our other calls to the same number that are up or were placed at about that time, for a
    network that cannot distinguish them."""
    near = {"$gte": clock.after(-_NEAR_SECONDS, since=call["created_at"])}
    near["$lte"] = clock.after(_NEAR_SECONDS, since=call["created_at"])
    found = db.calls.find(
        {
            "$or": [{"created_at": near}, {"next_check_at": {"$exists": True}}],
            "to": call["to"],
            "provider": call["provider"],
            "_id": {"$ne": call["_id"]},
        }
    )
    return cast(list[Call], await found.to_list(None))


async def runs_out(call: Call, *, seconds_left: int, warned_at: int) -> None:
    """Record that a call will end for want of money; once for each `warned_at`, and none before it."""
    not_yet = {"billing_status": "held", "warned_at": {"$not": {"$lte": warned_at}}}
    change = Update("calls", {"_id": call["_id"], **not_yet}, {"$set": {"warned_at": warned_at}})
    event = outbox.record(
        "CallRunsOut",
        user_id=call["user_id"],
        seconds_left=seconds_left,
        call_id=call["_id"],
        campaign_id=call["campaign_id"],
    )
    await _with_event(change, event)


async def _with_event(change: Update, event: Insert) -> None:
    """The change, and the event if there was something to change, in one commit."""

    async def both(session: Session) -> None:
        if await database.write_all([change], session):
            await database.write_all([event], session)

    await database.atomic(both)


async def claim_due(field: str, work: Callable[[Call], Awaitable[None]]) -> int:
    """Do `work` on the calls whose `field` (a time) has come; how many there were.

    Each is claimed by moving its time ahead by a lease, so that any number of processes may do
    this, and what a dead one had claimed is due again. What fails is due again, too; it is an error
    in the log unless the database or the network was away.
    """
    now = clock.now()
    due = db.calls.find({field: {"$lte": now}}, {"_id": 1}, sort=[(field, 1)], limit=_BATCH_MAX)
    ids = [found["_id"] for found in await due.to_list(None)]
    slots = asyncio.Semaphore(_PARALLEL_MAX)

    async def one(call_id: str) -> None:
        async with slots:
            claim: Document = {"$set": {field: clock.after(_LEASE_SECONDS[field])}}
            if field == "next_check_at":
                claim["$inc"] = {"checks": 1}
            call = await db.calls.find_one_and_update(
                {"_id": call_id, field: {"$lte": clock.now()}},
                claim,
            )
            if call is None:
                return
            try:
                await work(cast(Call, call))
            except Exception as problem:
                passes = isinstance(problem, Unavailable | Ambiguous)
                if passes or database.is_away(problem):
                    log.warning("call %s: %s: %s; tried again", call_id, field, problem)
                else:  # a defect of ours: it keeps neither the other calls nor the worker up
                    log.error("call %s: %s: a defect", call_id, field, exc_info=problem)

    await asyncio.gather(*(one(call_id) for call_id in ids))
    return len(ids)


# --- following a call ---------------------------------------------------------------------------
async def receive(call_id: str, report: Report, *, via: str) -> None:
    """Apply what the network `via` reports; repeated, late and out-of-order reports change nothing.

    Raises NotFound, InvalidSignature when the report is about another call of the network, and
    Unavailable: then the network has to report again.
    """
    call = await known(call_id)
    if call is None:
        raise NotFound("There is no call with this id.")
    known_id = call["provider_call_id"]
    if call["provider"] != via:
        raise InvalidSignature("This call is with another network.")
    if known_id is not None and report.provider_call_id not in (None, known_id):
        raise InvalidSignature("The report is about another call.")
    if report.rank == OVER and report.is_unverified and report.status != "completed":
        await _note(call, report)
        await change(call, next_check_at=clock.now(), **callreports.facts(report))
    elif report.rank == OVER:
        await _end(call, report)
    elif report.rank > call["rank"]:
        await _advance(call, report)
    else:
        await _note(call, report)


async def _advance(call: Call, report: Report) -> None:
    changes: Document = {"status": report.status, "rank": report.rank, **callreports.facts(report)}
    if call["rank"] < RANK["queued"]:  # faster than the network's answer, or that was lost
        changes |= _awaited(call)
    if report.status == "in_progress":
        changes["answered_at"] = report.answered_at or report.occurred_at
        changes["next_check_at"] = deadlines.latest_end(call, changes["answered_at"])
        if deadlines.grows(call):
            changes["next_extend_at"] = deadlines.look_at(
                call, changes["answered_at"], seconds=call["limit_seconds"]
            )
    await db.calls.update_one(
        {"_id": call["_id"], "rank": {"$lt": report.rank}},
        {"$set": changes, "$push": callreports.event(report)},
    )


async def finish(
    call_id: str, *, status: Status, duration_seconds: int | None, reason: str | None = None
) -> None:
    """End a call by our own knowledge, as if the network had reported it."""
    report = Report(
        event_id=f"own:{status}",
        provider_call_id=None,
        status=status,
        duration_seconds=duration_seconds,
        occurred_at=clock.now(),
        reason=reason,
    )
    await _end(await find(call_id), report)


async def _end(call: Call, report: Report) -> None:
    """Final status, charge, release and event in one commit; the first end stands."""
    contradicts = call["rank"] == OVER and report.status != call["status"]
    if call["billing_status"] in RESOLVED or contradicts:
        if call["billing_status"] in RESOLVED:
            await billing.count(call, int(call["cost_paise"] or 0))  # if a crash came in between
        return await _note(call, report)
    if report.status == "completed" and report.duration_seconds is None:
        return await _await_duration(call, report)
    if (reason := callreports.impossible(call, report)) is not None:
        return await _review(call, report, reason)
    seconds = report.duration_seconds or 0 if report.status == "completed" else 0
    if not await _settle(call, report, seconds=seconds):
        await _note(await find(call["_id"]), report)  # another report was first
    return None


async def _settle(call: Call, report: Report, *, seconds: int, **also: Any) -> bool:
    """Charge what was talked; False when that was done before."""

    def with_charge(charge: Charge) -> Iterable[Write]:
        changes = callreports.charged(call, report, charge, seconds=seconds) | also
        return [
            Update(
                "calls",
                {"_id": call["_id"]},
                {
                    "$set": changes,
                    "$unset": {"next_check_at": "", "next_extend_at": ""},
                    "$push": callreports.event(report),
                },
            ),
            callreports.ended_event(call, report, seconds=seconds, cost_paise=charge.cost_paise),
        ]

    try:
        if seconds:
            charge = await billing.settle(call, duration_seconds=seconds, companions=with_charge)
        else:
            charge = await billing.release(call, companions=with_charge)
    except HoldNotFound:
        return False
    if charge.repeated:
        return False
    _log_overrun(call, charge)
    if report.status == "failed" and report.reason in NETWORK_FAULTS:
        await billing.uncount(call)
    return True


def _log_overrun(call: Call, charge: Charge) -> None:
    if charge.cost_paise > charge.reserved_paise:
        log.error(
            "call %s cost more than was reserved: %d paise of %d, %d are due",
            *(call["_id"], charge.cost_paise, charge.reserved_paise, charge.due_paise),
        )


async def _await_duration(call: Call, report: Report) -> None:
    """It ended, and the network will say after how long: not before it can know."""
    next_check_at = clock.after(max(1, deadlines.can(call).duration_after_seconds))
    await db.calls.update_one(
        {"_id": call["_id"], "billing_status": "held"},
        {
            "$set": callreports.ended(report)
            | {
                "billing_status": "pending_duration",
                "next_check_at": next_check_at,
                "checks": 0,
            },
            "$unset": {"next_extend_at": ""},
            "$push": callreports.event(report),
        },
    )


async def _review(call: Call, report: Report, reason: str) -> None:
    """The call is over, but what it costs is for a person to decide: charge nothing, keep the hold."""
    log.error("call %s needs a review: %s", call["_id"], reason)
    change = Update(
        "calls",
        {"_id": call["_id"], "billing_status": {"$in": ["held", "pending_duration"]}},
        {
            "$set": callreports.ended(report)
            | {"billing_status": "review", "review_reason": reason},
            "$unset": {"next_check_at": "", "next_extend_at": ""},
            "$push": callreports.event(report),
        },
    )
    await _with_event(change, callreports.ended_event(call, report, seconds=0, cost_paise=0))


async def _note(call: Call, report: Report) -> None:
    """Keep a report that changes nothing; a second end that contradicts the first needs a review."""
    if any(event["id"] == report.event_id for event in call["events"]):
        return
    update: Document = {"$push": callreports.event(report)}
    if report.answered_by is not None:
        update["$set"] = {"answered_by": report.answered_by}
    if (reason := callreports.contradiction(call, report)) is not None:
        log.error("call %s needs a review: %s", call["_id"], reason)
        update["$set"] = update.get("$set", {}) | {"review_reason": reason}
    await db.calls.update_one({"_id": call["_id"], "events.id": {"$ne": report.event_id}}, update)


async def resolve(call_id: str, *, duration_seconds: int | None, by: str, note: str) -> Call:
    """A person has looked: charge what was talked, if the money is still held, and take the call out
    of the review; the call as it stands.

    Raises InvalidRequest when the money is held and no duration is given, NotFound when the call
    is in no review, and Unavailable.
    """
    call = await find(call_id)
    reviewed = {"review_reason": None, "reviewed": {"by": by, "note": note, "at": clock.now()}}
    if call["billing_status"] == "review":
        if duration_seconds is None:
            raise invalid("duration_seconds", "must be given: the money of this call is still held")
        report = callreports.decided(call, duration_seconds, by=by)
        if await _settle(call, report, seconds=duration_seconds, **reviewed):
            log.warning("call %s: %s decided that it lasted %d s", call_id, by, duration_seconds)
            return await find(call_id)
    waits = {"billing_status": {"$in": list(RESOLVED)}, "review_reason": {"$type": "string"}}
    taken_out = await db.calls.update_one({"_id": call_id, **waits}, {"$set": reviewed})
    if not taken_out.matched_count:
        raise NotFound("There is no call with this id that waits for a person.")
    return await find(call_id)


async def waiting(limit: int) -> list[Call]:
    """The calls that wait for a person, the oldest first: their money is held, or what their
    network said of them does not fit together."""
    found = db.calls.find(_WAITS, sort=[("created_at", 1)], limit=limit)
    return cast(list[Call], await found.to_list(None))


# --- storage ------------------------------------------------------------------------------------
_WAITS: Final[Document] = {"review_reason": {"$type": "string"}}


_PAISE = ("rate_paise_per_minute", "connection_fee_paise", "held_paise", "due_paise")


database.declare(
    "calls",
    indexes=[
        Index(("user_id", "-created_at", "-_id")),
        Index(("user_id", "status", "-created_at", "-_id")),
        Index(("-created_at", "-_id")),
        # Only what is open, or waits for a person, is in these, so finding it costs nothing.
        Index(("created_at",), only_where=_WAITS),
        Index(("next_check_at",), only_where={"next_check_at": {"$exists": True}}),
        Index(("next_extend_at",), only_where={"next_extend_at": {"$exists": True}}),
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
