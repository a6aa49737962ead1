"""Wallet: balances, holds, adjustments and freezing, written by the group commit."""

import asyncio
import collections
import contextlib
import dataclasses
import datetime as dt
import logging
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Literal, NotRequired, TypedDict, cast

from immutables import Map
from prometheus_client import Counter, Gauge, Histogram

import ledger
import transactions
from core import clock, config, database, outbox, pagination
from core.database import Document, Index, Insert, Long, Session, Update, Write, db
from core.errors import Problem, Unavailable
from ledger import Command, Entry, Outcome, Type, Wallet, reservation_of

log = logging.getLogger(__name__)


# --- vocabulary ---------------------------------------------------------------------------------

BATCH_MAX: Final = 256
QUEUE_MAX: Final = 10_000
DEADLINE_SECONDS: Final = 10.0
_ATTEMPTS_TOGETHER: Final = 12
_DUPLICATES_MAX: Final = 4
_LONGS = (
    "balance_paise",
    "held_paise",
    "due_paise",
    "credited_paise",
    "debited_paise",
    "seq",
    "version",
    "credit_count",
    "debit_count",
)

_postings = Counter("wallet_postings_total", "Commands posted", ["command", "result"])
_batch_size = Histogram(
    "wallet_batch_size", "Commands in one group commit", buckets=[2**n for n in range(9)]
)
_commit_seconds = Histogram("wallet_commit_seconds", "Duration of one group commit")
_queue_length = Gauge(
    "wallet_queue_length", "Commands that wait for a commit", multiprocess_mode="livesum"
)


class _WalletFields(TypedDict):
    user_id: str
    currency: str
    balance_paise: Long
    held_paise: Long
    due_paise: Long
    credited_paise: Long
    debited_paise: Long
    seq: Long
    version: Long
    credit_count: Long
    debit_count: Long
    head_hash: str
    frozen: NotRequired[bool]  # wallets of 0.1 have none
    created_at: dt.datetime
    updated_at: dt.datetime


class WalletRecord(_WalletFields):
    """A record of `wallets`: a `ledger.Wallet` as it is stored; the keys of its maps are ids."""

    holds: dict[str, Long]
    dues: dict[str, Long]
    reserves: NotRequired[dict[str, Long]]  # wallets of 0.1 have none


class RecordChanged(Unavailable):
    """A companion write found no record to change: the command was decided on a record that has
    changed since, and was refused. Read the record again and decide again."""


# The writes that commit with an applied command; not called for one that was replayed or refused.
# Every one has to find its record: an update that matches nothing refuses its command.
Companions = Callable[[Outcome], Iterable[Write]]


database.declare(
    "wallets",
    indexes=[Index(("user_id",), unique=True)],
    schema={
        "bsonType": "object",
        "required": [*_LONGS, "user_id", "currency", "holds", "dues", "head_hash"],
        "properties": {
            "user_id": {"bsonType": "string"},
            "currency": {"enum": ["INR"]},
            **{name: {"bsonType": "long", "minimum": 0} for name in _LONGS},
            "holds": {"bsonType": "object", "additionalProperties": {"bsonType": "long"}},
            "dues": {"bsonType": "object", "additionalProperties": {"bsonType": "long"}},
            "reserves": {"bsonType": "object", "additionalProperties": {"bsonType": "long"}},
            "frozen": {"bsonType": "bool"},
            "head_hash": {"bsonType": "string", "minLength": 64, "maxLength": 64},
        },
    },
)


@dataclasses.dataclass(frozen=True, slots=True)
class Balance:
    """A wallet's amounts at one moment."""

    balance_paise: int
    held_paise: int
    due_paise: int
    frozen: bool = False

    @property
    def available_paise(self) -> int:
        """What a new call may reserve."""
        return self.balance_paise - self.held_paise

    @property
    def low(self) -> bool:
        """Whether calls are refused, or would be after the running ones are charged."""
        return self.available_paise < config.settings().minimum_balance_paise


@dataclasses.dataclass(slots=True, eq=False)
class _Posting:
    """A queued command, and the future that its caller awaits."""

    command: Command
    companions: Companions | None
    answer: asyncio.Future[Outcome]


# --- verbs --------------------------------------------------------------------------------------


async def post(command: Command, companions: Companions | None = None) -> Outcome:
    """Apply `command` in the next group commit, with its companion writes; a replay changes nothing.

    Raises what `ledger.apply` refuses with; RecordChanged when a companion write matches nothing:
    then nothing was applied; and Unavailable (503) when the queue is full or MongoDB does not
    answer in time: then it is not known whether the command was applied, and posting it again
    with the same key is safe.
    """
    if _committer is None or _committer.done():
        raise Unavailable("The service is starting or stopping; try again in a moment.")
    if len(_waiting) >= QUEUE_MAX:
        raise Unavailable("More is waiting than can be handled right now; try again.")
    posting = _Posting(command, companions, asyncio.get_running_loop().create_future())
    _waiting.append(posting)
    _wake.set()
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await posting.answer
    except TimeoutError:
        raise Unavailable(
            "The ledger did not answer in time. Try again; nothing is lost."
        ) from None


async def write_companions(writes: Sequence[Write]) -> None:
    """Carry out the writes of a decision that moves no money: all of them or none.

    Raises RecordChanged when one matches nothing, as `post` does.
    """

    async def body(session: Session | None = None) -> None:
        if await database.write_all(writes, session) != len(writes):
            raise RecordChanged("The record that this was decided on has changed. Try again.")

    if len(writes) == 1:
        await body()
    else:
        await database.atomic(body)


async def get_balance(user_id: str) -> Balance:
    """The current balance; zero for a wallet that does not exist yet.

    Concurrent calls are combined into one query.
    """
    found = await database.find_together("wallets", user_id, field="user_id")
    return Balance(0, 0, 0) if found is None else balance_from(cast(WalletRecord, found))


async def ensure_wallet(user_id: str) -> None:
    """Make sure that the user's wallet exists (first log-in, first call)."""
    fresh = record_of(ledger.opened(user_id, clock.now()))
    with contextlib.suppress(database.DuplicateKey):
        await db.wallets.update_one({"user_id": user_id}, {"$setOnInsert": fresh}, upsert=True)


# --- the group commit ---------------------------------------------------------------------------

_waiting: collections.deque[_Posting] = collections.deque()
_wake = asyncio.Event()
_committer: asyncio.Task[None] | None = None
# Commits of single wallets, split off from a batch that lost its race too often.
_separate: set[asyncio.Task[None]] = set()
_stopping = False


async def start() -> None:
    """Start this process's committer."""
    global _committer, _stopping
    _stopping = False
    _committer = asyncio.create_task(_commit_for_ever(), name="committer")


async def stop() -> None:
    """Commit what is queued, then stop."""
    global _committer, _stopping
    if _committer is None:
        return
    _stopping = True
    _wake.set()
    with contextlib.suppress(TimeoutError, asyncio.CancelledError):
        async with asyncio.timeout(DEADLINE_SECONDS):
            await _committer
            await asyncio.gather(*_separate)
    _committer = None


def is_running() -> bool:
    """Whether this process's committer runs (for `/ready`)."""
    return _committer is not None and not _committer.done()


async def _commit_for_ever() -> None:
    while not (_stopping and not _waiting):
        if not _waiting:
            _wake.clear()
            await _wake.wait()
            continue
        # More postings are arriving: add them to this batch.
        counted = 0
        while counted < len(_waiting) < BATCH_MAX:
            counted = len(_waiting)
            await asyncio.sleep(0)
        batch: list[_Posting] = []
        while _waiting and len(batch) < BATCH_MAX:
            posting = _waiting.popleft()
            if not posting.answer.done():  # its caller's deadline has not passed
                batch.append(posting)
        if batch:
            _queue_length.set(len(_waiting))
            _batch_size.observe(len(batch))
            with _commit_seconds.time():
                await _commit_or_fail(batch)


async def _commit_or_fail(batch: Sequence[_Posting], *, apart: bool = False) -> None:
    """Answer every posting of the batch. One that makes the commit fail is found by halving, so that
    it fails alone. A wallet that stays locked (MongoDB keeps the locks of a killed process for some
    seconds) delays no other: after some attempts each wallet is committed separately."""
    try:
        answers = await _commit(batch, apart=apart)
    except database.LostRace:
        log.warning("group commit of %d: others are first all the time: apart", len(batch))
        batches: dict[str, list[_Posting]] = {}
        for posting in batch:
            batches.setdefault(posting.command.user_id, []).append(posting)
        for one in batches.values():
            _separate.add(task := asyncio.create_task(_commit_or_fail(one, apart=True)))
            task.add_done_callback(_separate.discard)
    except RecordChanged as refusal:
        if len(batch) == 1:
            _answer(batch, [refusal])
        else:
            await _commit_halves(batch, apart=apart)
    except Exception as problem:
        if database.is_away(problem) or isinstance(problem, Unavailable):
            log.warning("group commit of %d: MongoDB away: %s", len(batch), type(problem).__name__)
            away = "The database cannot be reached right now. Nothing is lost; try again."
            _answer(batch, [Unavailable(away) for _ in batch])
        elif len(batch) == 1:
            log.error("posting failed: %r", batch[0].command, exc_info=problem)
            _answer(batch, [problem])
        else:
            await _commit_halves(batch, apart=apart)
    else:
        _answer(batch, answers)


async def _commit_halves(batch: Sequence[_Posting], *, apart: bool) -> None:
    half = len(batch) // 2
    await _commit_or_fail(batch[:half], apart=apart)
    await _commit_or_fail(batch[half:], apart=apart)


def _answer(batch: Sequence[_Posting], answers: Sequence[Outcome | Exception]) -> None:
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    for posting, answer in zip(batch, answers, strict=True):
        if isinstance(answer, Exception):
            result = getattr(answer, "code", "defect")
        else:
            result = "replayed" if answer.replayed else "applied"
        counts[type(posting.command).__name__, result] += 1
        if posting.answer.done():
            continue
        if isinstance(answer, Exception):
            posting.answer.set_exception(answer)
        else:
            posting.answer.set_result(answer)
    for (command, result), count in counts.items():
        _postings.labels(command, result).inc(count)


async def _commit(batch: Sequence[_Posting], *, apart: bool) -> list[Outcome | Exception]:
    """Load, fold, write and commit; retried while another process commits first, until the attempts
    are used up (LostRace) or, when `apart`, until the deadline has passed (Unavailable)."""
    deadline = asyncio.get_running_loop().time() + DEADLINE_SECONDS
    attempt = 0
    while True:
        try:
            async with database.transaction() as session:
                # Almost every key is new, so the first attempt does not read it: the primary key of
                # the entries refuses a known one, and a refused command is tried again with the keys.
                fold = await _Fold.load(batch, session, look_up=attempt > 0)
                fold.run(batch)
                if attempt == 0 and fold.refused_a_key:
                    raise database.LostRace("is what was refused a replay?")
                await fold.write(session)
        except Exception as problem:
            if not database.is_transient(problem):
                raise
            if attempt >= _DUPLICATES_MAX and database.is_duplicate(problem):
                raise  # not a race: a companion inserts what is there already
            if asyncio.get_running_loop().time() > deadline:
                raise Unavailable("Too many were first; try again.") from problem
            if attempt >= _ATTEMPTS_TOGETHER and not apart:
                raise database.LostRace("too often") from problem
            if attempt > 0:
                await asyncio.sleep(random.uniform(0, 0.001 * 2 ** min(attempt, 6)))  # noqa: S311
            attempt += 1
            continue
        if fold.has_pending_events:
            outbox.wake()
        return fold.answers


class _Fold:
    """One attempt at a batch: what was loaded, the results, and what has to be written."""

    def __init__(self, loaded: dict[str, Wallet], known: dict[str, Entry]) -> None:
        self.loaded = loaded
        self.known = known
        self.current = dict(loaded)
        self.touched: dict[str, set[str]] = {}
        self.entries: list[Entry] = []
        self.companions: list[Write] = []
        self.answers: list[Outcome | Exception] = []
        self.has_pending_events = False
        self.refused_a_key = False

    @classmethod
    async def load(cls, batch: Sequence[_Posting], session: Session, *, look_up: bool) -> "_Fold":
        """Read the wallets and, with `look_up`, the entries that exist under the batch's keys."""
        user_ids = list({posting.command.user_id for posting in batch})
        found = db.wallets.find({"user_id": {"$in": user_ids}}, batch_size=1_000, session=session)
        records = cast(list[WalletRecord], await found.to_list(None))
        loaded = {record["user_id"]: wallet_from(record) for record in records}
        if not look_up:
            return cls(loaded, {})
        keyed = ((posting.command, ledger.key_of(posting.command)) for posting in batch)
        ids = [ledger.entry_id(command.user_id, key) for command, key in keyed if key is not None]
        return cls(loaded, await transactions.find_transactions(ids, session) if ids else {})

    def run(self, batch: Sequence[_Posting]) -> None:
        """Apply the commands in their order; a refusal concerns its own command alone."""
        now = clock.now()
        for posting in batch:
            command = posting.command
            before = self.current.get(command.user_id) or ledger.opened(command.user_id, now)
            try:
                outcome = ledger.apply(before, command, at=now, known=self.known)
                writes = (
                    list(posting.companions(outcome))
                    if posting.companions is not None and not outcome.replayed
                    else []
                )
            except (Problem, ValueError) as refusal:
                self.answers.append(refusal)
                self.refused_a_key |= ledger.key_of(command) is not None
                continue
            self.answers.append(outcome)
            if outcome.wallet is before:
                continue
            self.current[command.user_id] = outcome.wallet
            touched = self.touched.setdefault(command.user_id, set())
            if (reservation_id := reservation_of(command)) is not None:
                touched.add(reservation_id)
            if outcome.replayed:
                continue
            if outcome.wallet.dues is not before.dues:
                touched.update(before.dues.keys(), outcome.wallet.dues.keys())
            self.entries.extend(outcome.entries)
            self.known.update((entry.id, entry) for entry in outcome.entries)
            self.companions += writes
            self.companions += self._events(before, command, outcome)

    def _events(self, before: Wallet, command: Command, outcome: Outcome) -> list[Write]:
        """The events of the change itself: a credit, a low balance."""
        events: list[Write] = []
        after = outcome.wallet
        minimum_paise = config.settings().minimum_balance_paise
        if isinstance(command, ledger.Credit):
            events.append(
                outbox.record_event(
                    "WalletCredited",
                    user_id=command.user_id,
                    pending=True,
                    category=command.category,
                    amount_paise=command.amount_paise,
                    balance_paise=after.balance_paise,
                )
            )
            self.has_pending_events = True
        if before.balance_paise >= minimum_paise > after.balance_paise:
            events.append(
                outbox.record_event(
                    "BalanceRanLow", user_id=command.user_id, balance_paise=after.balance_paise
                )
            )
        return events

    async def write(self, session: Session) -> None:
        """Write the changed wallets (guarded by their version), the entries, the companions."""
        writes = [
            _change(self.loaded.get(user_id), self.current[user_id], touched)
            for user_id, touched in self.touched.items()
        ]
        if not writes:
            return
        matched = await database.write_all(writes, session)
        if matched != len(writes):
            raise database.LostRace("a wallet changed since it was loaded")
        if self.entries:
            await transactions.append(self.entries, session)
        if self.companions:
            self.has_pending_events = self.has_pending_events or any(
                isinstance(w, Insert) and w.document.get("state") == "pending"
                for w in self.companions
            )
            if await database.write_all(self.companions, session) != len(self.companions):
                raise RecordChanged("The record that this was decided on has changed. Try again.")


# --- storage ------------------------------------------------------------------------------------


def record_of(state: Wallet) -> WalletRecord:
    """How a wallet is stored."""
    return {
        **_fields_of(state),
        "holds": {key: Long(paise) for key, paise in state.holds.items()},
        "dues": {key: Long(paise) for key, paise in state.dues.items()},
        "reserves": {key: Long(paise) for key, paise in state.reserves.items()},
    }


def _fields_of(state: Wallet) -> _WalletFields:
    return {
        "user_id": state.user_id,
        "currency": state.currency,
        "balance_paise": Long(state.balance_paise),
        "held_paise": Long(state.held_paise),
        "due_paise": Long(state.due_paise),
        "credited_paise": Long(state.credited_paise),
        "debited_paise": Long(state.debited_paise),
        "seq": Long(state.seq),
        "version": Long(state.version),
        "credit_count": Long(state.credit_count),
        "debit_count": Long(state.debit_count),
        "head_hash": state.head_hash,
        "frozen": state.frozen,
        "created_at": state.created_at,
        "updated_at": state.updated_at,
    }


def wallet_from(record: WalletRecord) -> Wallet:
    """The wallet that a record holds."""
    return Wallet(
        user_id=record["user_id"],
        currency=record["currency"],
        balance_paise=record["balance_paise"],
        held_paise=record["held_paise"],
        holds=Map(record["holds"]),
        due_paise=record["due_paise"],
        dues=Map(record["dues"]),
        reserves=Map(record.get("reserves", {})),
        frozen=record.get("frozen", False),
        seq=record["seq"],
        version=record["version"],
        head_hash=record["head_hash"],
        credited_paise=record["credited_paise"],
        debited_paise=record["debited_paise"],
        credit_count=record["credit_count"],
        debit_count=record["debit_count"],
        created_at=record["created_at"],
        updated_at=record["updated_at"],
    )


def balance_from(record: WalletRecord) -> Balance:
    """The balance that a record holds."""
    return Balance(
        record["balance_paise"],
        record["held_paise"],
        record["due_paise"],
        frozen=record.get("frozen", False),
    )


def _change(before: Wallet | None, after: Wallet, touched: Iterable[str]) -> Write:
    """The write that turns `before` into `after`: only what differs, and of the reservations only
    those that the commands changed."""
    if before is None:
        return Insert("wallets", record_of(after))
    was: Mapping[str, object] = _fields_of(before)
    changed = {name: value for name, value in _fields_of(after).items() if value != was[name]}
    gone: dict[str, str] = {}
    reservations = (
        ("holds", before.holds, after.holds),
        ("dues", before.dues, after.dues),
        ("reserves", before.reserves, after.reserves),
    )
    for name, known, amounts in reservations:
        for key in touched:
            if key in amounts:
                changed[f"{name}.{key}"] = Long(amounts[key])
            elif key in known:
                gone[f"{name}.{key}"] = ""
    update: Document = {"$set": changed}
    if gone:
        update["$unset"] = gone
    return Update("wallets", {"user_id": before.user_id, "version": before.version}, update)


# --- what admins do to a wallet -----------------------------------------------------------------

AdjustmentAction = Literal["credit", "debit", "freeze", "unfreeze"]


class Adjustment(TypedDict):
    """A record of `adjustments`: one manual change."""

    _id: str
    user_id: str
    action: AdjustmentAction
    reason: str
    by: str  # the id of an admin, or `policy`
    transaction_id: str | None  # None: it moved no money
    at: dt.datetime


database.declare(
    "adjustments",
    indexes=[Index(("user_id", "-at", "-_id"))],
    schema={
        "bsonType": "object",
        "required": ["user_id", "action", "reason", "by", "at"],
        "properties": {
            "action": {"enum": ["credit", "debit", "freeze", "unfreeze"]},
            "reason": {"bsonType": "string", "minLength": 1},
            "by": {"bsonType": "string"},
        },
    },
)


async def adjust(
    user_id: str, *, kind: Type, amount_paise: int, reason: str, by: str, seed: str
) -> tuple[Entry, int]:
    """Credit or debit a wallet, once for each `seed`; the entry and the balance after it.

    A debit takes only what is available, not what is reserved. A credit pays dues first.
    The caller makes sure that the user exists. Raises InsufficientBalance and BalanceHeld.
    """
    posting = ledger.Credit if kind == "credit" else ledger.Debit

    def with_record(outcome: Outcome) -> list[Write]:
        assert outcome.entry is not None
        return [_adjustment(seed, user_id, kind, reason, by, transaction_id=outcome.entry.id)]

    outcome = await post(
        posting(
            user_id=user_id,
            key=f"adjust:{seed}",
            category="adjustment",
            amount_paise=amount_paise,
            contra="adjustment",
            description=reason,
        ),
        with_record,
    )
    assert outcome.entry is not None
    log.info("%s adjusted by %s: %s %d paise", user_id, by, kind, amount_paise)
    return outcome.entry, outcome.wallet.balance_paise


async def set_frozen(user_id: str, *, frozen: bool, reason: str, by: str) -> bool:
    """Freeze or unfreeze a wallet; whether that changed anything. `by` is a user or `policy`.

    Frozen: no call starts or is prolonged, live calls are hung up, campaigns wait. Recharges,
    charges and refunds are still posted: they have happened. The caller makes sure that the user exists.
    """
    event = "WalletFrozen" if frozen else "WalletUnfrozen"
    action: AdjustmentAction = "freeze" if frozen else "unfreeze"

    def with_record(_: Outcome) -> list[Write]:
        return [
            _adjustment(database.new_id("adj"), user_id, action, reason, by),
            outbox.record_event(event, user_id=user_id, pending=True, reason=reason, by=by),
        ]

    outcome = await post(ledger.Freeze(user_id=user_id, frozen=frozen), with_record)
    if not outcome.replayed:
        log.warning("%s: %s by %s", user_id, action, by)
    return not outcome.replayed


async def list_adjustments(
    user_id: str, *, limit: int, cursor: str | None
) -> tuple[list[Adjustment], str | None]:
    """The manual changes of a wallet, the newest first, and the next cursor."""
    order = pagination.newest_first("at")
    where: Document = {"user_id": user_id} | order.behind(cursor)
    found = db.adjustments.find(where, sort=order.sort)
    return order.cut(cast(list[Adjustment], await found.to_list(limit + 1)), limit)


def _adjustment(
    record_id: str,
    user_id: str,
    action: AdjustmentAction,
    reason: str,
    by: str,
    *,
    transaction_id: str | None = None,
) -> Insert:
    record: Adjustment = {
        "_id": record_id,
        "user_id": user_id,
        "action": action,
        "reason": reason,
        "by": by,
        "transaction_id": transaction_id,
        "at": clock.now(),
    }
    return Insert("adjustments", record)
