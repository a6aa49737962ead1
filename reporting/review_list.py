"""Review list: everything that waits for a person, of all kinds in one list, the oldest first."""

import asyncio
import dataclasses
import datetime as dt
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Literal, get_args

import disputes
import payments
import refunds
import wallet
from calls import records as call_records
from compliance import complaints
from compliance.do_not_call import PLATFORM
from core import clock, database, pagination
from core.database import db
from core.errors import Unavailable
from disputes import Dispute
from refunds import Refund
from reporting import audit_runs, repairs, review_queue
from reporting.audit import EVERYBODY, Violation

log = logging.getLogger(__name__)

# --- vocabulary ---------------------------------------------------------------------------------

Kind = Literal[
    "payment",  # taken, and not credited by itself
    "call",  # its end or its duration is unknown, or contradicted
    "refund",  # refused, unknown or told otherwise by Razorpay
    "dispute",  # open, so evidence is due; or something about it is unclear
    "webhook",  # cannot be handled
    "audit",  # a finding of the last audit that ended
    "reconciliation",  # a finding of the latest comparisons with Razorpay
    "adjustment",  # waits for a second admin
    "complaint",  # so many complaints that the networks act against the sender
]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

# Why a part could not be read: it is unknown then, not empty.
Unknown = Literal["unavailable", "never_audited"]

# Of each kind the oldest so many are listed; the list moves on as they are decided.
LISTED_MAX: Final = 200
_RECONCILED_SECONDS: Final = 25 * 3_600.0  # everything is compared once a day
_ORDER: Final = pagination.Order(
    (("since", dt.datetime), ("kind", str), ("id", str)), name="review", ascending=True
)
# Listed as what they are about: a refund or a dispute.
_OTHERWISE_LISTED: Final = ("refund_unknown_at_razorpay", "dispute_unknown_at_razorpay")

Fact = str | int | float | bool | list[str] | None


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """One thing that waits. `reason` is a code, `detail` a sentence of whoever found it; `facts` are
    what belongs to its kind; `decisions` what an admin can do, by the route of its kind."""

    kind: Kind
    id: str
    since: dt.datetime
    reason: str
    detail: str | None = None
    user_id: str | None = None
    amount_paise: int | None = None
    due_at: dt.datetime | None = None
    decisions: tuple[str, ...] = ()
    facts: Mapping[str, Fact] = dataclasses.field(default_factory=dict)

    @property
    def key(self) -> dict[str, Any]:
        """Its place in the list."""
        return {"since": self.since, "kind": self.kind, "id": self.id}


@dataclasses.dataclass(frozen=True, slots=True)
class ReviewList:
    """A page of the list. `counts` has None for a kind that could not be read, for which `unknown` says
    why; a count is `LISTED_MAX` at most. `names` are those of the users."""

    page: list[Item]
    next_cursor: str | None
    counts: dict[Kind, int | None]
    unknown: dict[Kind, Unknown]
    names: dict[str, str]


class _NeverAudited(Exception):
    """No audit has come to its end."""


# --- the list -----------------------------------------------------------------------------------


async def list_items(
    *, kind: Kind | None, item_id: str | None, limit: int, cursor: str | None
) -> ReviewList:
    """A page of what waits: of one kind, or of all. A part that cannot be read is told as unknown.

    Raises InvalidCursor.
    """
    after = None if cursor is None else tuple(_ORDER.position(cursor))
    found, counts, unknown = await _read_all()
    wanted = [
        item for item in found if (kind is None or item.kind == kind) and item_id in (None, item.id)
    ]
    rows = [item for item in wanted if after is None or tuple(item.key.values()) > after]
    page, next_cursor = rows[:limit], None
    if len(rows) > limit:
        next_cursor = _ORDER.cursor_of(page[-1].key)
    names = await _names({item.user_id for item in page if item.user_id is not None})
    return ReviewList(page, next_cursor, counts, unknown, names)


async def _read_all() -> tuple[list[Item], dict[Kind, int | None], dict[Kind, Unknown]]:
    answers = await asyncio.gather(*(_read(kind) for kind in KINDS))
    found: list[Item] = []
    counts: dict[Kind, int | None] = {}
    unknown: dict[Kind, Unknown] = {}
    for kind, answer in zip(KINDS, answers, strict=True):
        if isinstance(answer, str):
            counts[kind], unknown[kind] = None, answer
        else:
            counts[kind] = len(answer)
            found += answer
    return sorted(found, key=lambda item: tuple(item.key.values())), counts, unknown


async def _read(kind: Kind) -> list[Item] | Unknown:
    try:
        found = await _PARTS[kind]()
    except _NeverAudited:
        return "never_audited"
    except Exception as problem:
        if not (isinstance(problem, Unavailable) or database.is_away(problem)):
            raise
        log.warning("the review list lacks %s: %s", kind, type(problem).__name__)
        return "unavailable"
    return sorted(found, key=lambda item: (item.since, item.id))[:LISTED_MAX]


async def _names(user_ids: set[str]) -> dict[str, str]:
    rows = db.users.find({"_id": {"$in": sorted(user_ids)}}, {"name": 1, "email": 1})
    return {row["_id"]: row["name"] or row["email"] async for row in rows}


# --- its parts ----------------------------------------------------------------------------------


async def _payments() -> list[Item]:
    found = await payments.list_in_review(LISTED_MAX)
    orders = db.orders.find(
        {"order_id": {"$in": [each["order_id"] for each in found]}},
        {"_id": 0, "order_id": 1, "amount_paise": 1},
    )
    ordered = {row["order_id"]: int(row["amount_paise"]) async for row in orders}
    return [
        Item(
            "payment",
            each["_id"],
            each["review"]["at"],
            each["review"]["reason"],
            user_id=each["user_id"],
            amount_paise=int(each["amount_paise"]),
            decisions=("credit", "refund", "resolve"),
            facts={
                "order_id": each["order_id"],
                "status": each["status"],
                "currency": each.get("currency"),
                "ordered_paise": ordered.get(each["order_id"]),
                "refunded_paise": int(each.get("amount_refunded_paise", 0)),
            },
        )
        for each in found
    ]


async def _calls() -> list[Item]:
    found = await call_records.list_calls_in_review(LISTED_MAX)
    return [
        Item(
            "call",
            each["_id"],
            each["created_at"],
            "money_held" if each["billing_status"] == "review" else "charged_otherwise",
            detail=each.get("review_reason"),
            user_id=each["user_id"],
            amount_paise=int(each["held_paise"]),
            decisions=("resolve",),
            facts={"to": each["to"], "status": each["status"]},
        )
        for each in found
    ]


async def _refunds() -> list[Item]:
    refused = await review_queue.list_refused_refunds(LISTED_MAX)
    doubtful = await refunds.list_waiting(LISTED_MAX)
    return list({each["_id"]: _refund(each) for each in (*refused, *doubtful)}.values())


def _refund(record: Refund) -> Item:
    return Item(
        "refund",
        record["_id"],
        record["created_at"],
        record.get("waits") or "refused",
        detail=record["failure"],
        user_id=record["user_id"],
        amount_paise=int(record["amount_paise"]),
        decisions=("processed", "failed"),
        facts={"payment_id": record["payment_id"], "status": record["status"]},
    )


async def _disputes() -> list[Item]:
    opened = await review_queue.list_open_disputes(LISTED_MAX)
    unclear = await disputes.list_unclear_pairs(LISTED_MAX)
    return list({each["_id"]: _dispute(each) for each in (*opened, *unclear)}.values())


def _dispute(record: Dispute) -> Item:
    unclear = record.get("unclear")
    reason = unclear["reason"] if unclear else "evidence_due"
    decisions: tuple[str, ...] = ()  # it is answered in Razorpay's dashboard
    if reason == "unknown_at_razorpay":
        decisions = ("release", "take", "keep")
    elif unclear:
        decisions = ("pair", "unpair", "keep") if unclear["refund_ids"] else ("unpair", "keep")
    return Item(
        "dispute",
        record["_id"],
        unclear["at"] if unclear else record["created_at"],
        reason,
        user_id=record["user_id"],
        amount_paise=int(record["amount_paise"]),
        due_at=record["respond_by"] if record["state"] == "reserved" else None,
        decisions=decisions,
        facts={
            "payment_id": record["payment_id"],
            "status": record["status"],
            "state": record["state"],
            "refund_ids": list(unclear["refund_ids"]) if unclear else [],
        },
    )


async def _webhooks() -> list[Item]:
    return [
        Item(
            "webhook",
            each["_id"],
            each["at"],
            each["data"]["event"],
            detail=each.get("failure"),
            decisions=("replay",),
            facts={"event": each["data"]["event"], "attempts": each.get("attempts", 0)},
        )
        for each in await review_queue.list_dead_webhooks(LISTED_MAX)
    ]


async def _audit() -> list[Item]:
    """What the last audit found, without what an admin has repaired or acknowledged since."""
    run = await audit_runs.find_finished()
    if run is None:
        raise _NeverAudited
    found = audit_runs.report_of(run).violations
    users = sorted({each.user_id or EVERYBODY for each in found})
    acts = db.adjustments.find(
        {"user_id": {"$in": users}, "action": {"$in": list(repairs.ACTIONS)}},
        {"subject_id": 1, "action": 1, "at": 1},
    )
    begun = run["started_at"]
    done = {
        act.get("subject_id")
        async for act in acts
        if act["action"] == "acknowledge" or act["at"] >= begun
    }
    left = [each for each in found if not {each.finding_id, each.subject} & done]
    return [_finding(each, begun) for each in left]


def _finding(found: Violation, at: dt.datetime) -> Item:
    return Item(
        "audit",
        found.finding_id,
        at,
        found.invariant,
        detail=found.detail,
        user_id=found.user_id,
        decisions=tuple(repairs.ways_out(found)),
        facts={"subject": found.subject, "seq": found.seq},
    )


async def _reconciliation() -> list[Item]:
    """What the comparisons of the last day found, from the last one that a person asked for on: such
    a one compares everything again."""
    since = clock.after(-_RECONCILED_SECONDS)
    rows = db.reconciliations.find(
        {"started_at": {"$gte": since}},
        {"started_at": 1, "trigger": 1, "findings": 1},
        sort=[("started_at", -1)],
    )
    found: dict[str, Item] = {}
    async for run in rows:
        for finding in run["findings"]:
            if finding["kind"] not in _OTHERWISE_LISTED:
                item = _difference(finding, run["started_at"])
                found[item.id] = item  # of the runs that found it, the oldest
        if run["trigger"] != "worker":
            break
    return list(found.values())


def _difference(finding: Mapping[str, Any], at: dt.datetime) -> Item:
    said = [str(finding[name]) for name in sorted(finding) if name != "detail"]
    return Item(
        "reconciliation",
        database.stable_id("dif", *said),
        at,
        finding["kind"],
        detail=finding.get("detail"),
        user_id=finding.get("user_id"),
        decisions=("run",),
        facts={name: value for name, value in finding.items() if name not in ("kind", "detail")},
    )


async def _adjustments() -> list[Item]:
    found, _ = await wallet.list_waiting_adjustments(limit=LISTED_MAX)
    return [
        Item(
            "adjustment",
            each["_id"],
            each["at"],
            each["action"],
            detail=each["reason"],
            user_id=each["user_id"],
            amount_paise=int(each["amount_paise"]),
            decisions=("confirm", "reject"),
            facts={"by": each["by"]},
        )
        for each in found
    ]


async def _complaints() -> list[Item]:
    """Whose calls have reached the limit, unless the wallet is frozen: then no call is placed."""
    reached = await complaints.find_owners_at_limit(limit=LISTED_MAX)
    found = []
    for owner, count, latest in reached:
        is_platform = owner == PLATFORM
        if not is_platform and (await wallet.get_balance(owner)).frozen:
            continue
        found.append(
            Item(
                "complaint",
                owner,
                latest,
                "platform" if is_platform else "user",
                user_id=None if is_platform else owner,
                decisions=() if is_platform else ("freeze",),
                facts={"complaints": count, "limit": complaints.LIMIT},
            )
        )
    return found


_PARTS: Final[dict[Kind, Callable[[], Awaitable[Sequence[Item]]]]] = {
    "payment": _payments,
    "call": _calls,
    "refund": _refunds,
    "dispute": _disputes,
    "webhook": _webhooks,
    "audit": _audit,
    "reconciliation": _reconciliation,
    "adjustment": _adjustments,
    "complaint": _complaints,
}
