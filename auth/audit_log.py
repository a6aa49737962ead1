"""Audit log: what admins, operators and API keys did, every log-in and every refusal; it only grows."""

import contextlib
import contextvars
import dataclasses
import datetime as dt
import json
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Any, Final, Literal, TypedDict, cast

from auth import rate_limits
from core import clock, database, logs, pagination
from core.database import Document, Index, Insert, db
from core.errors import Problem, Unavailable

log = logging.getLogger(__name__)


# --- vocabulary ---------------------------------------------------------------------------------

# `asked`: it is about to be tried. `done` and `refused` (4xx): how that ended. `failed` (5xx): it is not
# known whether it was done. A row `asked` that no other row names: the process died in between.
Outcome = Literal["asked", "done", "refused", "failed"]

_TEXT_CHARACTERS_MAX: Final = 300
_QUERY_CHARACTERS_MAX: Final = 500
_FACTS_BYTES_MAX: Final = 4_096
# Facts are ids, amounts and states. Should a caller pass a secret all the same, it is not kept.
_secret_name = re.compile(r"password|secret|token|otp|recovery|credential|api_?key", re.IGNORECASE)


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """What it was done to: `Target("user", "usr_…")`."""

    kind: str
    id: str


class TargetRecord(TypedDict):
    """A `Target` as it is stored."""

    kind: str
    id: str


class ActorRecord(TypedDict):
    """Who did it, as it is stored."""

    user_id: str | None
    role: str
    key_id: str | None


class RequestRecord(TypedDict):
    """The request that it was asked with; `status` is that of its answer."""

    method: str
    path: str
    query: str
    status: int | None


class AuditEntry(TypedDict):
    """A row of `audit_log`. `asked_id` is that of the row `asked` which this row is the end of.
    `count`: how often this process saw such a refusal in that minute, by then."""

    _id: str
    at: dt.datetime
    actor: ActorRecord
    address: str
    action: str
    target: TargetRecord | None
    before: Document | None
    after: Document | None
    request: RequestRecord | None
    request_id: str
    outcome: Outcome
    asked_id: str | None
    code: str | None
    count: int


@dataclasses.dataclass(frozen=True, slots=True)
class EntryFilter:
    """Which rows to list; None is no condition. `since` belongs to the period, `until` no longer."""

    actor: str | None = None  # a user's id
    key_id: str | None = None
    action: str | None = None
    target: str | None = None  # the id alone
    outcome: Outcome | None = None
    since: dt.datetime | None = None
    until: dt.datetime | None = None


@dataclasses.dataclass(slots=True)
class _Act:
    """What this request was seen to ask for, and what its route has said about it since."""

    asked_id: str
    action: str
    target: Target | None
    request: RequestRecord
    before: Document | None = None
    after: Document | None = None


# Set for one request: `api/audit_trail.py` resets it at the beginning of each.
_act: contextvars.ContextVar[_Act | None] = contextvars.ContextVar("audited act", default=None)


# --- an act: asked, then done or refused --------------------------------------------------------


def reset() -> None:
    """A request begins, in which nothing was asked for yet."""
    _act.set(None)


async def begin(
    action: str, target: Target | None, *, method: str, path: str, query: str = ""
) -> None:
    """Write that the actor of this request asks for something: before it is done, so that nothing is
    done unseen. Raises an error of the database when that is away: then it must not be done. Once a
    request: a second call changes nothing."""
    if _act.get() is not None:
        return
    request: RequestRecord = {
        "method": method,
        "path": path[:_TEXT_CHARACTERS_MAX],
        "query": query[:_QUERY_CHARACTERS_MAX],
        "status": None,
    }
    entry = _entry(logs.actor.get(), action, target, outcome="asked", request=request)
    await _write(entry)
    _act.set(_Act(entry["_id"], action, target, request))


def describe(
    action: str,
    target: Target,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Say what the act of this request is in the terms of its subject: it becomes a part of the row
    that `end` writes. Ids, amounts in paise and states; never a secret. Without an act (a user's
    own request) nothing happens."""
    act = _act.get()
    if act is None:
        return
    act.action, act.target = action, target
    act.before = dict(before) if before is not None else act.before
    act.after = dict(after) if after is not None else act.after


async def end(status: int) -> bool:
    """Write how the act of this request ended, by the status of its answer; False when there is none.

    What is done is done: when the database is away now, the error is in the log, and the row `asked`
    stays without an end.
    """
    act = _act.get()
    if act is None:
        return False
    _act.set(None)
    outcome: Outcome = "done" if status < 400 else "refused" if status < 500 else "failed"
    entry = _entry(
        logs.actor.get(),
        act.action,
        act.target,
        outcome=outcome,
        before=act.before,
        after=act.after,
        request={**act.request, "status": status},
    )
    entry["asked_id"] = act.asked_id
    await _write_or_log(entry)
    return True


async def record(
    actor: logs.Actor | None,
    action: str,
    target: Target | None,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Write that something was done, at once; by the actor of this request when `actor` is None.
    Raises an error of the database when that is away."""
    who = actor or logs.actor.get()
    await _write(_entry(who, action, target, outcome="done", before=before, after=after))


# --- log-ins and refusals -----------------------------------------------------------------------


def account_target(account: str) -> Target:
    """The target of log-ins to an account, by the key of its e-mail address: what was typed there may
    have been a password, so it is not kept."""
    return Target("account", database.stable_id("acc", account))


@contextlib.asynccontextmanager
async def logging_in(account: str, action: str = "log_in") -> AsyncIterator[None]:
    """Write how the attempt in the body ends: done, or refused with the code of its problem. The body
    identifies the user (`logs.identify`) when it succeeds. A log-in that cannot be written down is
    refused by the error of the database."""
    target = account_target(account)
    try:
        yield
    except Unavailable:
        raise
    except Problem as problem:
        await record_refusal(action, target, code=problem.code)
        raise
    await record(None, action, target)


async def record_refusal(action: str, target: Target, *, code: str) -> None:
    """Write that the actor of this request was refused; of many alike in a minute only the 1st, the
    10th, the 100th and so on, with their count. It does not raise: refused it is in any case."""
    who = logs.actor.get()
    counted = _refusals.counted(rate_limits.login_network(who.address), action, target, code)
    if counted is None:
        return
    target, count = counted
    entry = _entry(who, action, target, outcome="refused")
    entry["code"], entry["count"] = code, count
    await _write_or_log(entry)


class _Refusals:
    """The refusals of this minute in this process, counted so that a flood does not fill the disk.

    A network has rows for few targets in a minute, all networks together for a few hundred: what is
    beyond that is counted under the target `*`, then under one row for all networks.
    """

    TARGETS_MAX: Final = 20  # of one network
    ROWS_MAX: Final = 200  # of all together
    MANY: Final = "*"

    def __init__(self) -> None:
        self._minute = 0
        self._counts: dict[tuple[str, str, str, str], int] = {}
        self._targets: dict[str, int] = {}  # network -> how many targets it has rows for

    def counted(
        self, network: str, action: str, target: Target, code: str
    ) -> tuple[Target, int] | None:
        """The target and the count to write, or None where it is only counted."""
        minute = int(clock.now().timestamp()) // 60
        if minute != self._minute:
            self._minute = minute
            self._counts.clear()
            self._targets.clear()
        key = (network, action, target.id, code)
        if key not in self._counts:
            if self._targets.get(network, 0) >= self.TARGETS_MAX:
                target = Target(target.kind, self.MANY)
                key = (network, action, self.MANY, code)
            if key not in self._counts and len(self._counts) >= self.ROWS_MAX:
                target = Target(target.kind, self.MANY)
                key = (self.MANY, self.MANY, self.MANY, self.MANY)
            if key not in self._counts:
                self._targets[network] = self._targets.get(network, 0) + 1
        count = self._counts[key] = self._counts.get(key, 0) + 1
        is_written = str(count).strip("0") == "1"  # 1, 10, 100, …
        return (target, count) if is_written else None


_refusals = _Refusals()


# --- the list -----------------------------------------------------------------------------------

_NEWEST = pagination.newest_first("at")
_BATCH_ROWS: Final = 1_000


async def list_entries(
    chosen: EntryFilter, *, limit: int, cursor: str | None
) -> tuple[list[AuditEntry], str | None]:
    """The rows of the filter, newest first, and the next cursor. Raises InvalidCursor."""
    found = db.audit_log.find(_where(chosen) | _NEWEST.behind(cursor), sort=_NEWEST.sort)
    return _NEWEST.cut(cast(list[AuditEntry], await found.to_list(limit + 1)), limit)


async def rows(chosen: EntryFilter) -> AsyncGenerator[Sequence[AuditEntry], None]:
    """All rows of the filter, newest first, in batches; each is a query of its own, so that nothing
    at the database waits for a slow reader."""
    cursor: str | None = None
    while True:
        batch, cursor = await list_entries(chosen, limit=_BATCH_ROWS, cursor=cursor)
        if batch:
            yield batch
        if cursor is None:
            return


def _where(chosen: EntryFilter) -> Document:
    conditions = {
        "actor.user_id": chosen.actor,
        "actor.key_id": chosen.key_id,
        "action": chosen.action,
        "target.id": chosen.target,
        "outcome": chosen.outcome,
    }
    where: Document = {field: value for field, value in conditions.items() if value is not None}
    period = {"$gte": chosen.since, "$lt": chosen.until}
    if within := {bound: moment for bound, moment in period.items() if moment is not None}:
        where["at"] = within
    return where


# --- storage ------------------------------------------------------------------------------------


def _entry(
    who: logs.Actor,
    action: str,
    target: Target | None,
    *,
    outcome: Outcome,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    request: RequestRecord | None = None,
) -> AuditEntry:
    return {
        "_id": database.new_id("aud"),
        "at": clock.now(),
        "actor": {"user_id": who.user_id, "role": who.role, "key_id": who.key_id},
        "address": who.address,
        "action": action[:_TEXT_CHARACTERS_MAX],
        "target": None if target is None else _target_record(target),
        "before": _kept(before),
        "after": _kept(after),
        "request": request,
        "request_id": logs.request_id.get(),
        "outcome": outcome,
        "asked_id": None,
        "code": None,
        "count": 1,
    }


def _target_record(target: Target) -> TargetRecord:
    return {"kind": target.kind, "id": target.id[:_TEXT_CHARACTERS_MAX]}


def _kept(facts: Mapping[str, Any] | None) -> Document | None:
    """The facts without what looks like a secret, and of bounded size."""
    if facts is None:
        return None
    kept = {name: "…" if _secret_name.search(name) else value for name, value in facts.items()}
    size = len(json.dumps(kept, default=str))
    return kept if size <= _FACTS_BYTES_MAX else {"left_out_bytes": size}


async def _write(entry: AuditEntry) -> None:
    await database.write_together(Insert("audit_log", cast(Document, entry)))


async def _write_or_log(entry: AuditEntry) -> None:
    try:
        await _write(entry)
    except (database.AnyError, Unavailable) as problem:
        log.error(
            "audit row not written: %s %s %s of %s: %s",
            entry["action"],
            entry["outcome"],
            entry["target"],
            entry["asked_id"],
            type(problem).__name__,
        )


database.declare(
    "audit_log",
    indexes=[
        Index(("-at", "-_id")),
        Index(("actor.user_id", "-at", "-_id")),
        Index(("actor.key_id", "-at", "-_id"), only_where={"actor.key_id": {"$type": "string"}}),
        Index(("action", "-at", "-_id")),
        Index(("target.id", "-at", "-_id")),
        Index(("outcome", "-at", "-_id")),
    ],
    schema={
        "bsonType": "object",
        "required": ["at", "actor", "address", "action", "outcome", "request_id"],
        "properties": {
            "_id": {"bsonType": "string"},
            "at": {"bsonType": "date"},
            "actor": {"bsonType": "object", "required": ["user_id", "role", "key_id"]},
            "address": {"bsonType": "string"},
            "action": {"bsonType": "string"},
            "outcome": {"enum": ["asked", "done", "refused", "failed"]},
            "request_id": {"bsonType": "string"},
        },
    },
)
