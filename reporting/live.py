"""Live events: what changed of balances, calls, campaigns and imports, by one query a second for all."""

import asyncio
import collections
import contextlib
import dataclasses
import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Final, Literal, cast

import prometheus_client

from campaigns import contacts
from core import clock
from core.database import Document, db
from core.errors import TooManyRequests

# --- vocabulary ---------------------------------------------------------------------------------

Kind = Literal["balance", "call", "campaign", "job"]

POLL_SECONDS: Final = 1.0
LISTENERS_MAX: Final = 2_000  # of a process
LISTENERS_PER_USER_MAX: Final = 10  # of a process
# What a listener has not taken; one that is further behind is dropped.
BEHIND_MAX: Final = 2_000
# A commit may become visible so much later than the moment that it carries.
_OVERLAP: Final = dt.timedelta(seconds=3)
# Who was away for longer has to read everything again.
KEPT: Final = dt.timedelta(minutes=5)
_CALLS_MAX: Final = 5_000
_OTHERS_MAX: Final = 500
_RETRY_SECONDS: Final = 5

_CALL_FIELDS: Final = (
    "user_id",
    "to",
    "status",
    "billing_status",
    "campaign_id",
    "duration_seconds",
    "cost_paise",
    "answered_by",
    "failure_reason",
    "created_at",
    "answered_at",
    "ended_at",
)
_CAMPAIGN_FIELDS: Final = ("user_id", "name", "status", "pause_reason")
_JOB_FIELDS: Final = ("user_id", "campaign_id", "state", "rows_done", "rows_total", "usable")
_WALLET_FIELDS: Final = ("user_id", "balance_paise", "held_paise", "due_paise", "frozen")

_listening = prometheus_client.Gauge(
    "live_listeners", "Listeners of live events", multiprocess_mode="livesum"
)


@dataclasses.dataclass(slots=True, eq=False)
class Change:
    """Something as it is now, because it has changed: the fields of `kind`, up to when everything that
    had changed is told with it, and what it looks like where it is sent (written out once for all)."""

    kind: Kind
    id: str
    user_id: str
    fields: Document
    position: dt.datetime
    text: bytes | None = None


class Listener:
    """Somebody who is told what changes; made by `open_listener`."""

    def __init__(self, user_id: str, *, hears_everybody: bool, since: dt.datetime | None) -> None:
        self.user_id = user_id
        self.hears_everybody = hears_everybody
        self.since = since  # what has changed since then is still to be found
        self.must_reload = False  # changes may be missing: everything has to be read again
        self.is_dropped = False  # it did not take what came
        self.position = since or clock.now()  # up to when it was told everything
        self._waiting: list[Change] = []
        self._has_news = asyncio.Event()

    async def wait(self, seconds: float) -> list[Change]:
        """What has changed, as soon as something has; nothing after so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._has_news.wait()
        self._has_news.clear()
        found, self._waiting = self._waiting, []
        return found

    def tell(self, changes: Iterable[Change]) -> None:
        """Give it those of the changes that are its own."""
        if self.is_dropped:
            return
        mine = [c for c in changes if self.hears_everybody or c.user_id == self.user_id]
        self._waiting += mine
        if len(self._waiting) > BEHIND_MAX:
            self.is_dropped, self._waiting = True, []
        if mine or self.is_dropped or self.must_reload:
            self._has_news.set()


_listeners: dict[Listener, None] = {}
_polled_at: dt.datetime | None = None
# What the last poll has found, so that the overlap tells nothing twice: by kind and id, as it was.
_told: dict[tuple[Kind, str], Document] = {}


# --- verbs --------------------------------------------------------------------------------------


def open_listener(
    user_id: str, *, hears_everybody: bool = False, since: dt.datetime | None = None
) -> Listener:
    """A listener to what is this user's, or everybody's, until `close_listener`.

    With `since` it is also told what changed after that moment, or that it has to read everything again.
    Raises TooManyRequests when this user, or this process, has as many listeners as it may.
    """
    own = sum(listener.user_id == user_id for listener in _listeners)
    if own >= LISTENERS_PER_USER_MAX or len(_listeners) >= LISTENERS_MAX:
        raise TooManyRequests(
            f"A user may have {LISTENERS_PER_USER_MAX} live streams; close one, or try again.",
            headers={"Retry-After": str(_RETRY_SECONDS)},
        )
    listener = Listener(user_id, hears_everybody=hears_everybody, since=since)
    if since is not None and not clock.now() - KEPT <= since <= clock.now() + _OVERLAP:
        listener.since, listener.must_reload = None, True
    _listeners[listener] = None
    _listening.set(len(_listeners))
    return listener


def close_listener(listener: Listener) -> None:
    """End a listener; harmless when repeated."""
    _listeners.pop(listener, None)
    _listening.set(len(_listeners))


async def poll() -> int:
    """Tell the listeners of this process what has changed since the last time; how many changes there
    were. What fails is found by the next poll, because it begins where the last one that succeeded did.
    """
    global _polled_at, _told
    listeners = list(_listeners)
    if not listeners:
        _polled_at, _told = None, {}
        return 0
    began, since = clock.now(), _polled_at
    if since is None or began - since > KEPT:
        for listener in listeners if since is not None else ():
            listener.must_reload = True
        since = began
    found = await _changes(since - _OVERLAP, began, listeners)
    news = [change for change in found if _told.get((change.kind, change.id)) != change.fields]
    returning = [listener for listener in listeners if listener.since is not None]
    missed: list[Change] = []
    if returning:
        earliest = min(cast(dt.datetime, listener.since) for listener in returning)
        missed = await _changes(earliest - _OVERLAP, began, returning)
    _told = {(change.kind, change.id): change.fields for change in found}
    for listener in listeners:
        listener.tell(news if listener.since is None else missed)
        listener.since, listener.position = None, began
    _polled_at = began
    return len(news)


# --- what has changed ---------------------------------------------------------------------------


async def _changes(
    since: dt.datetime, now: dt.datetime, listeners: Sequence[Listener]
) -> list[Change]:
    """What has changed since then of what the listeners hear. One query; two more where campaigns or
    the balances of everybody are among it."""
    everybody = any(listener.hears_everybody for listener in listeners)
    users = None if everybody else sorted({listener.user_id for listener in listeners})
    rows: dict[str, list[Document]] = collections.defaultdict(list)
    async for row in db.calls.aggregate(_pipeline(since, users), hint="updated_at_1_user_id_1"):
        rows[row["kind"]].append(row["found"])
    if len(rows["call"]) >= _CALLS_MAX or any(
        len(rows[kind]) >= _OTHERS_MAX for kind in ("campaign", "counted", "job")
    ):
        for listener in listeners:
            listener.must_reload = True
    wallets = rows["balance"]
    if users is None:
        ids = {row["user_id"] for name in rows for row in rows[name] if row["user_id"]}
        # Of the listeners themselves also what moves no money, such as a freeze or a reserve.
        ids |= {listener.user_id for listener in listeners}
        wallets = await db.wallets.find(
            {"user_id": {"$in": sorted(ids)}, "updated_at": {"$gt": since}},
            dict.fromkeys(_WALLET_FIELDS, 1),
        ).to_list(_OTHERS_MAX)
    found: list[tuple[Kind, str, Document]] = [("balance", row["user_id"], row) for row in wallets]
    for kind in ("call", "job"):
        found += [(kind, row["_id"], row) for row in rows[kind]]
    campaign_ids = {row["_id"] for name in ("campaign", "counted") for row in rows[name]}
    campaign_ids |= {row["campaign_id"] for row in rows["call"] if row.get("campaign_id")}
    if campaign_ids:
        campaigns = await _campaigns(sorted(campaign_ids)[-_OTHERS_MAX:])
        found += [("campaign", campaign["_id"], campaign) for campaign in campaigns]
    return [
        Change(kind, of, row["user_id"], {n: row[n] for n in row if n != "_id"}, position=now)
        for kind, of, row in found
    ]


def _pipeline(since: dt.datetime, users: list[str] | None) -> list[Document]:
    """The documents that changed, each as `{kind, found}`, the oldest change first."""
    of_users: Document = {} if users is None else {"user_id": {"$in": users}}
    changed: Document = {"updated_at": {"$gt": since}} | of_users
    others: list[tuple[str, str, Document, Sequence[str]]] = [
        ("campaigns", "campaign", changed, _CAMPAIGN_FIELDS),
        ("campaign_statistics", "counted", changed, ("user_id",)),
        ("imports", "job", changed, _JOB_FIELDS),
    ]
    if users is None:
        # Whose money moved; what they have is looked up.
        moved: Document = {"created_at": {"$gt": since}}
        others.append(("transactions", "moved", moved, ("user_id",)))
    else:
        others.append(("wallets", "balance", of_users | changed, _WALLET_FIELDS))
    return [
        *_stages("call", changed, _CALL_FIELDS, {"updated_at": 1}, _CALLS_MAX),
        *(
            {
                "$unionWith": {
                    "coll": collection,
                    "pipeline": _stages(kind, where, fields, None, _OTHERS_MAX),
                }
            }
            for collection, kind, where, fields in others
        ),
    ]


def _stages(
    kind: str, where: Document, fields: Sequence[str], sort: Document | None, limit: int
) -> list[Document]:
    shown = {name: f"${name}" for name in ("_id", *fields)}
    return [
        {"$match": where},
        *([{"$sort": sort}] if sort else []),
        {"$limit": limit},
        {"$project": {"_id": 0, "kind": {"$literal": kind}, "found": shown}},
    ]


async def _campaigns(ids: list[str]) -> list[Document]:
    """These campaigns with the counts of their contacts."""
    wanted = {"_id": {"$in": ids}, "is_loading": False}
    fields = dict.fromkeys(_CAMPAIGN_FIELDS, 1)
    found = await db.campaigns.find(wanted, fields).to_list(None)
    totals = await contacts.count_contacts([campaign["_id"] for campaign in found])
    for campaign in found:
        its = totals[campaign["_id"]]
        campaign["counts"] = dataclasses.asdict(its.counts)
        campaign["spent_paise"] = its.spent_paise
    return found
