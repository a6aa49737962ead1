"""Wallet: balances, holds, adjustments and freezing, written by the group commit."""

import asyncio
import collections
import contextlib
import dataclasses
import datetime as dt
import logging
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Literal, NotRequired, TypedDict, cast, get_args

from immutables import Map
from prometheus_client import Counter, Gauge, Histogram

import ledger
import transactions
from core import clock, config, database, outbox, pagination
from core.database import Document, Index, Insert, Long, Session, Transaction, Update, Write, db
from core.errors import NotFound, Problem, Unavailable
from ledger import Command, Entry, FreezeCause, Outcome, Type, Wallet, reservation_of

log = logging.getLogger(__name__)


# --- vocabulary ---------------------------------------------------------------------------------

BATCH_MAX: Final = 256
QUEUE_MAX: Final = 10_000
DEADLINE_SECONDS: Final = 10.0
_REMEMBERED_MAX: Final = 10_000
_DISTRUST_SECONDS: Final = 5.0
_ATTEMPTS_TOGETHER: Final = 12
_DUPLICATES_MAX: Final = 4
_LONGS: Final = (
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

_RESERVATIONS: Final = ("holds", "dues", "reserves")

_postings = Counter("wallet_postings_total", "Commands posted", ["command", "result"])
_batch_size = Histogram(
    "wallet_batch_size", "Commands in one group commit", buckets=[2**n for n in range(9)]
)
_commit_seconds = Histogram("wallet_commit_seconds", "Duration of one group commit")
_queue_length = Gauge(
    "wallet_queue_length", "Commands that wait for a commit", multiprocess_mode="livesum"
)


class WalletRecord(TypedDict):
    """A record of `wallets`: a `ledger.Wallet` as it is stored; the keys of its maps are ids."""

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
    frozen_for: NotRequired[Sequence[FreezeCause]]  # wallets of 0.2 have none
    created_at: dt.datetime
    updated_at: dt.datetime
    holds: dict[str, Long]
    dues: dict[str, Long]
    reserves: NotRequired[dict[str, Long]]  # wallets of 0.1 have none


class RecordChanged(Unavailable):
    """A companion write found no record to change: the command was decided on a record that has
    changed since, and was refused. Read the record again and decide again."""


# The writes that commit with an applied command; not called for one that was replayed or refused.
# Every one has to find its record: an update that matches nothing refuses its command.
Companions = Callable[[Outcome], Iterable[Write]]


# Together they have every wallet whose available balance is low, in the order of lists of users; they
# change only when a balance passes the minimum, or the first hold is made or the last one ends.
LOW_OR_HELD: Final = (
    Index(
        ("-user_id",),
        only_where=lambda: {
            "balance_paise": {"$lt": Long(config.settings().minimum_balance_paise)}
        },
    ),
    Index(("-user_id", "currency"), only_where={"held_paise": {"$gt": 0}}),
)

database.declare(
    "wallets",
    indexes=[Index(("user_id",), unique=True), *LOW_OR_HELD],
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
            "frozen_for": {"bsonType": "array", "items": {"enum": list(get_args(FreezeCause))}},
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
    reserved_paise: int = 0  # the part of what is held that is for refunds and disputes

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
    late_at: float  # on the clock of the event loop


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
    loop = asyncio.get_running_loop()
    late_at = loop.time() + DEADLINE_SECONDS
    posting = _Posting(command, companions, loop.create_future(), late_at)
    _unanswered[posting] = None
    if _deadline is None:
        _set_deadline(loop)
    _waiting.append(posting)
    _wake.set()
    try:
        return await posting.answer
    finally:
        del _unanswered[posting]


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
_unanswered: dict[_Posting, None] = {}  # waiting or in a commit, the oldest first
_wake = asyncio.Event()
_committer: asyncio.Task[None] | None = None
# When the oldest of the unanswered is late: one timer, because a timer for each takes as long as the rules.
_deadline: asyncio.TimerHandle | None = None
# Commits of single wallets, split off from a batch that lost its race too often.
_separate: set[asyncio.Task[None]] = set()
_stopping = False


async def start() -> None:
    """Start this process's committer."""
    global _committer, _stopping
    _stopping = False
    _memory.clear()
    _clear_deadline()
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
    _clear_deadline()
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


def _set_deadline(loop: asyncio.AbstractEventLoop) -> None:
    global _deadline
    oldest = next(iter(_unanswered), None)
    _deadline = loop.call_at(oldest.late_at, _refuse_what_is_late) if oldest else None


def _clear_deadline() -> None:
    global _deadline
    if _deadline is not None:
        _deadline.cancel()
    _deadline = None


def _refuse_what_is_late() -> None:
    """Answer the postings whose deadline has passed; the committer goes on without them."""
    loop = asyncio.get_running_loop()
    for posting in _unanswered:
        if posting.late_at > loop.time():
            break
        if not posting.answer.done():
            late = "The ledger did not answer in time. Try again; nothing is lost."
            posting.answer.set_exception(Unavailable(late))
    _set_deadline(loop)


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
            fold = await _attempt(batch, expects_news=attempt == 0)
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


async def _attempt(batch: Sequence[_Posting], *, expects_news: bool) -> "_Fold":
    """Fold the batch and commit what it changes.

    With `expects_news` nearly all commands are taken to be new and to change their wallet, as they
    do: then what this process remembers of a wallet will do, because a change is guarded by the
    wallet's version, and keys are not looked up, because the primary key of the entries refuses a known
    one. An answer that no such guard confirms (a refusal, a replay) raises LostRace, and the next attempt
    reads the wallets and the keys.
    """
    user_ids = {posting.command.user_id for posting in batch}
    remembered = _memory.take(user_ids) if expects_news else {}
    async with database.transaction() as transaction:
        wallets, known = dict(remembered), dict[str, Entry]()
        unread = user_ids - remembered.keys()
        keys = [] if expects_news else _entry_ids(batch)

        def read() -> None:
            found = transaction.find("wallets", {"user_id": {"$in": list(unread)}})
            wallets.update((row["user_id"], wallet_from(cast(WalletRecord, row))) for row in found)
            if keys:
                known.update(transactions.read_known(keys, transaction))

        if unread or keys:
            await transaction.run(read)
        fold = _Fold(wallets, known)
        fold.run(batch)
        if expects_news and not fold.is_confirmed_by_its_writes(remembered):
            raise database.LostRace("what was not read may be otherwise")
        try:
            await transaction.commit(lambda: fold.write(transaction))
        except database.LostRace:
            _memory.distrust(remembered)
            raise
    _memory.keep(fold.wallets)
    return fold


def _entry_ids(batch: Sequence[_Posting]) -> list[str]:
    """The ids of the entries that the commands make, or have made."""
    keyed = ((posting.command, ledger.key_of(posting.command)) for posting in batch)
    return [ledger.entry_id(command.user_id, key) for command, key in keyed if key is not None]


class _Memory:
    """Wallets as this process has committed them last: their next commit need not read them."""

    def __init__(self) -> None:
        self._wallets: dict[str, Wallet] = {}  # the one that was committed last stands last
        self._distrusted_until = 0.0

    def take(self, user_ids: Iterable[str]) -> dict[str, Wallet]:
        """The wallets that are known. They are forgotten until `keep`: what a commit leaves that
        fails, or whose result stays unknown, has to be read."""
        found = {user_id: self._wallets.pop(user_id, None) for user_id in user_ids}
        if asyncio.get_running_loop().time() < self._distrusted_until:
            return {}
        return {user_id: known for user_id, known in found.items() if known is not None}

    def keep(self, wallets: Mapping[str, Wallet]) -> None:
        """Remember what was committed just now."""
        self._wallets.update(wallets)
        while len(self._wallets) > _REMEMBERED_MAX:
            del self._wallets[next(iter(self._wallets))]

    def distrust(self, remembered: Mapping[str, Wallet]) -> None:
        """One of these had changed: another process commits, too. For a while reading them costs less
        than a commit that fails."""
        if remembered:
            self._distrusted_until = asyncio.get_running_loop().time() + _DISTRUST_SECONDS

    def clear(self) -> None:
        """Forget everything."""
        self._wallets.clear()
        self._distrusted_until = 0.0


_memory = _Memory()


class _Fold:
    """A batch folded over its wallets: the answers, and what has to be written."""

    def __init__(self, wallets: Mapping[str, Wallet], known: dict[str, Entry]) -> None:
        self.loaded = wallets
        self.wallets = dict(wallets)
        self.known = known
        self.touched: dict[str, set[str]] = {}
        self.entries: list[Entry] = []
        self.companions: list[Write] = []
        self.answers: list[Outcome | Exception] = []
        self.has_pending_events = False
        self._unguarded: set[str] = set()
        self._refused_a_key = False

    def run(self, batch: Sequence[_Posting]) -> None:
        """Apply the commands in their order; a refusal concerns its own command alone."""
        now = clock.now()
        minimum_paise = config.settings().minimum_balance_paise
        for posting in batch:
            command = posting.command
            user_id = command.user_id
            before = self.wallets.get(user_id) or ledger.opened(user_id, now)
            writes: Iterable[Write] = ()
            try:
                outcome = ledger.apply(before, command, at=now, known=self.known)
                if posting.companions is not None and not outcome.replayed:
                    writes = list(posting.companions(outcome))
            except (Problem, ValueError) as refusal:
                self.answers.append(refusal)
                self._unguarded.add(user_id)
                self._refused_a_key |= ledger.key_of(command) is not None
                continue
            self.answers.append(outcome)
            if outcome.replayed:
                self._unguarded.add(user_id)
            if outcome.wallet is not before:
                self._add(before, command, outcome)
                self.companions += writes
                self.companions += self._events(before, command, outcome, minimum_paise)

    def _add(self, before: Wallet, command: Command, outcome: Outcome) -> None:
        after = outcome.wallet
        self.wallets[command.user_id] = after
        touched = self.touched.setdefault(command.user_id, set())
        if (reservation_id := reservation_of(command)) is not None:
            touched.add(reservation_id)
        if outcome.replayed:
            return
        if after.dues is not before.dues:
            touched.update(before.dues.keys(), after.dues.keys())
        self.entries += outcome.entries
        self.known.update((entry.id, entry) for entry in outcome.entries)

    def _events(
        self, before: Wallet, command: Command, outcome: Outcome, minimum_paise: int
    ) -> list[Write]:
        """The events of the change itself: a credit, a low balance."""
        events: list[Write] = []
        after = outcome.wallet
        if outcome.replayed:
            return events
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
        if before.balance_paise >= minimum_paise > after.balance_paise:
            events.append(
                outbox.record_event(
                    "BalanceRanLow", user_id=command.user_id, balance_paise=after.balance_paise
                )
            )
        return events

    def is_confirmed_by_its_writes(self, remembered: Mapping[str, Wallet]) -> bool:
        """Whether the answers are right if the writes succeed: no command was refused whose key was
        not looked up, and what was refused or replayed on a remembered wallet is confirmed by a
        write that this very state guards."""
        unguarded = self._unguarded - self.touched.keys()
        return not self._refused_a_key and unguarded.isdisjoint(remembered)

    def write(self, transaction: Transaction) -> None:
        """Write the changed wallets (guarded by their version), the entries, the companions."""
        writes = [
            _change(self.loaded.get(user_id), self.wallets[user_id], touched)
            for user_id, touched in self.touched.items()
        ]
        if transaction.write_all(writes) != len(writes):
            raise database.LostRace("a wallet changed since it was loaded")
        if self.entries:
            transactions.append(self.entries, transaction)
        if transaction.write_all(self.companions) != len(self.companions):
            raise RecordChanged("The record that this was decided on has changed. Try again.")
        self.has_pending_events = any(
            isinstance(write, Insert) and write.document.get("state") == "pending"
            for write in self.companions
        )


# --- storage ------------------------------------------------------------------------------------


def record_of(state: Wallet) -> WalletRecord:
    """How a wallet is stored."""
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
        "frozen_for": list(state.frozen_for),
        "created_at": state.created_at,
        "updated_at": state.updated_at,
        "holds": {key: Long(paise) for key, paise in state.holds.items()},
        "dues": {key: Long(paise) for key, paise in state.dues.items()},
        "reserves": {key: Long(paise) for key, paise in state.reserves.items()},
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
        frozen=bool(_freeze_causes(record)),
        frozen_for=_freeze_causes(record),
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
        frozen=bool(_freeze_causes(record)),
        reserved_paise=sum(record.get("reserves", {}).values()),
    )


def _freeze_causes(record: WalletRecord) -> tuple[FreezeCause, ...]:
    """Why the wallet is frozen. A process of 0.2 writes `frozen` alone, and means an admin's freeze: it
    neither adds that of a disabled account nor takes it away."""
    causes = tuple(record.get("frozen_for", ()))
    if record.get("frozen", False):
        return causes or ("admin",)
    return tuple(cause for cause in causes if cause != "admin")


def _change(before: Wallet | None, after: Wallet, touched: Iterable[str]) -> Write:
    """The write that turns `before` into `after`: only what differs, and of the reservations only
    those that the commands changed."""
    if before is None:
        return Insert("wallets", record_of(after))
    changed: Document = {
        name: Long(cast(int, value)) if name in _LONGS else value
        for name, was, value in zip(Wallet._fields, before, after, strict=True)
        if name not in _RESERVATIONS and value != was
    }
    gone: dict[str, str] = {}
    for name in _RESERVATIONS:
        known, amounts = getattr(before, name), getattr(after, name)
        if amounts is known:
            continue
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

AdjustmentAction = Literal[
    "credit",
    "debit",
    "freeze",
    "unfreeze",
    "release",  # a hold or reserve that belongs to nothing open
    "reserve",  # what is open, and had lost its hold or reserve
    "write_off",  # of a due
    "recount",  # what is held and due in all
    "post",  # the credit of a captured payment that was missing
    "acknowledge",  # a finding of the audit that nothing can undo
]
# An adjustment above the limit waits for another admin, who confirms or rejects it.
AdjustmentStatus = Literal["waiting", "posted", "rejected"]


class Adjustment(TypedDict):
    """A record of `adjustments`: one manual change."""

    _id: str
    user_id: str
    action: AdjustmentAction
    reason: str
    by: str  # the id of an admin, or `policy`
    transaction_id: str | None  # None: it moved no money
    at: dt.datetime
    subject_id: NotRequired[str]  # what it is about: a call, a refund, a payment, a finding
    amount_paise: NotRequired[Long]
    status: NotRequired[AdjustmentStatus]  # absent: it was made at once
    decided_by: NotRequired[str]  # the second admin
    decided_at: NotRequired[dt.datetime]


class OwnWallet(Problem):
    """An admin cannot change a wallet of his own; another one can."""

    code, status, title = "own_wallet", 403, "Own wallet"


class SameAdmin(Problem):
    """The admin who asked for an adjustment cannot confirm it."""

    code, status, title = "same_admin", 403, "A second admin is needed"


class AlreadyDecided(Problem):
    """The adjustment does not wait any more: it was posted or rejected before."""

    code, status, title = "already_decided", 409, "Already decided"


_WAITING: Final[Document] = {"status": "waiting"}
_WAITING_ORDER: Final = pagination.Order((("at", dt.datetime), ("_id", str)), ascending=True)

database.declare(
    "adjustments",
    indexes=[
        Index(("user_id", "-at", "-_id")),
        Index(("at", "_id"), only_where=_WAITING),
    ],
    schema={
        "bsonType": "object",
        "required": ["user_id", "action", "reason", "by", "at"],
        "properties": {
            "action": {"enum": list(get_args(AdjustmentAction))},
            "reason": {"bsonType": "string", "minLength": 1},
            "by": {"bsonType": "string"},
            "status": {"enum": list(get_args(AdjustmentStatus))},
        },
    },
)


async def adjust(
    user_id: str, *, kind: Type, amount_paise: int, reason: str, by: str, seed: str
) -> tuple[Entry, int]:
    """Credit or debit a wallet, once for each `seed`; the entry and the balance after it.

    A debit takes only what is available, not what is reserved. A credit pays dues first.
    The caller makes sure that the user exists. Raises InsufficientBalance, BalanceHeld and OwnWallet.
    """
    _refuse_own(user_id, by)
    outcome = await _post_adjustment(
        user_id,
        kind,
        amount_paise,
        reason,
        seed,
        lambda entry: _adjustment(seed, user_id, kind, reason, by, transaction_id=entry.id),
    )
    log.info("%s adjusted by %s: %s %d paise", user_id, by, kind, amount_paise)
    return outcome


async def _post_adjustment(
    user_id: str,
    kind: Type,
    amount_paise: int,
    reason: str,
    seed: str,
    with_record: Callable[[Entry], Write],
) -> tuple[Entry, int]:
    posting = ledger.Credit if kind == "credit" else ledger.Debit

    def companions(outcome: Outcome) -> list[Write]:
        assert outcome.entry is not None
        return [with_record(outcome.entry)]

    outcome = await post(
        posting(
            user_id=user_id,
            key=f"adjust:{seed}",
            category="adjustment",
            amount_paise=amount_paise,
            contra="adjustment",
            description=reason,
        ),
        companions,
    )
    assert outcome.entry is not None
    return outcome.entry, outcome.wallet.balance_paise


def _refuse_own(user_id: str, by: str) -> None:
    if user_id == by:
        raise OwnWallet("This is your own wallet. Another admin can do it.")


# --- adjustments that a second admin confirms ---------------------------------------------------


def needs_second_admin(amount_paise: int) -> bool:
    """Whether an adjustment over this amount waits for another admin."""
    limit_paise = config.settings().adjustment_confirm_above_paise
    return limit_paise is not None and amount_paise > limit_paise


async def propose_adjustment(
    user_id: str, *, kind: Type, amount_paise: int, reason: str, by: str, seed: str
) -> Adjustment:
    """Record an adjustment that waits for another admin, once for each `seed`; its record as it is now.

    Raises OwnWallet.
    """
    _refuse_own(user_id, by)
    record = _adjustment_record(seed, user_id, kind, reason, by)
    record["amount_paise"] = database.long(amount_paise)
    record["status"] = "waiting"
    with contextlib.suppress(database.DuplicateKey):
        await db.adjustments.insert_one(cast(Document, record))
        log.warning("%s: %s of %d paise waits for a second admin", user_id, kind, amount_paise)
    return await get_adjustment(seed)


async def confirm_adjustment(adjustment_id: str, *, by: str) -> tuple[Adjustment, Entry, int]:
    """Post an adjustment that waits; its record, the entry, the balance after it. Harmless when it
    was confirmed before: it is posted once.

    Raises NotFound, SameAdmin, OwnWallet, AlreadyDecided (it was rejected), InsufficientBalance,
    BalanceHeld.
    """
    record = await get_adjustment(adjustment_id)
    _refuse_second(record, by)
    if record.get("status") == "rejected":
        raise AlreadyDecided("This adjustment was rejected.", decision="rejected")
    facts = {"status": "posted", "decided_by": by, "decided_at": clock.now()}

    def posted(entry: Entry) -> Update:
        where = {"_id": adjustment_id, **_WAITING}
        return Update("adjustments", where, {"$set": facts | {"transaction_id": entry.id}})

    kind = cast(Type, record["action"])
    amount_paise, user_id = int(record["amount_paise"]), record["user_id"]
    try:
        entry, balance_paise = await _post_adjustment(
            user_id, kind, amount_paise, record["reason"], adjustment_id, posted
        )
    except RecordChanged:  # another admin has decided meanwhile
        return await confirm_adjustment(adjustment_id, by=by)
    log.info("%s: %s of %d paise confirmed by %s", user_id, kind, amount_paise, by)
    return await get_adjustment(adjustment_id), entry, balance_paise


async def reject_adjustment(adjustment_id: str, *, by: str) -> Adjustment:
    """End an adjustment that waits without posting it; harmless when repeated.

    Raises NotFound, SameAdmin, OwnWallet, AlreadyDecided (it was posted).
    """
    record = await get_adjustment(adjustment_id)
    _refuse_second(record, by)
    facts = {"status": "rejected", "decided_by": by, "decided_at": clock.now()}
    await db.adjustments.update_one({"_id": adjustment_id, **_WAITING}, {"$set": facts})
    record = await get_adjustment(adjustment_id)
    if record["status"] != "rejected":
        raise AlreadyDecided("This adjustment was posted.", decision="posted")
    return record


async def get_adjustment(adjustment_id: str) -> Adjustment:
    """The record of a manual change. Raises NotFound."""
    found = await db.adjustments.find_one({"_id": adjustment_id})
    if found is None:
        raise NotFound("There is no such adjustment.")
    return cast(Adjustment, found)


async def list_waiting_adjustments(
    *, limit: int, cursor: str | None = None
) -> tuple[list[Adjustment], str | None]:
    """The adjustments that wait for a second admin, the oldest first, and the next cursor."""
    where = _WAITING | _WAITING_ORDER.behind(cursor)
    found = db.adjustments.find(where, sort=_WAITING_ORDER.sort)
    return _WAITING_ORDER.cut(cast(list[Adjustment], await found.to_list(limit + 1)), limit)


def _refuse_second(record: Adjustment, by: str) -> None:
    if record.get("status") is None:
        raise NotFound("This adjustment was made at once; there is nothing to decide.")
    _refuse_own(record["user_id"], by)
    if record["by"] == by:
        raise SameAdmin("You asked for this adjustment. Another admin has to decide.")


# --- repairs ------------------------------------------------------------------------------------


async def repair(
    command: Command,
    *,
    action: AdjustmentAction,
    subject_id: str,
    reason: str,
    by: str,
    seed: str,
    conditions: Sequence[Update] = (),
) -> Adjustment | None:
    """Post a correction with the record that says who did it and why, once for each `seed`; the
    record, or None when there is nothing to correct any more.

    `conditions` have to find their records in the same commit, else RecordChanged. Raises OwnWallet
    and what the ledger refuses with.
    """
    _refuse_own(command.user_id, by)

    def companions(outcome: Outcome) -> list[Write]:
        record = _adjustment_record(seed, command.user_id, action, reason, by)
        record["subject_id"] = subject_id
        if isinstance(command, ledger.WriteOff):
            record["amount_paise"] = database.long(outcome.due_paise)
        return [Insert("adjustments", record), *conditions]

    outcome = await post(command, companions)
    if not outcome.replayed:
        log.warning("%s: %s of %s by %s", command.user_id, action, subject_id, by)
    return cast(Adjustment | None, await db.adjustments.find_one({"_id": seed}))


async def record_act(
    user_id: str,
    *,
    action: AdjustmentAction,
    subject_id: str,
    reason: str,
    by: str,
    seed: str,
    transaction_id: str | None = None,
) -> Adjustment:
    """Record what an admin did that changes no wallet by itself, once for each `seed`. Raises OwnWallet."""
    _refuse_own(user_id, by)
    record = _adjustment_record(seed, user_id, action, reason, by, transaction_id=transaction_id)
    record["subject_id"] = subject_id
    with contextlib.suppress(database.DuplicateKey):
        await db.adjustments.insert_one(cast(Document, record))
    return await get_adjustment(seed)


# --- freezing -----------------------------------------------------------------------------------


async def set_frozen(
    user_id: str,
    *,
    frozen: bool,
    reason: str,
    by: str,
    cause: FreezeCause = "admin",
    companions: Sequence[Write] = (),
) -> bool:
    """Freeze or unfreeze a wallet; whether that changed anything. `by` is a user or `policy`.

    Frozen: no call starts or is prolonged, live calls are hung up, campaigns wait. Recharges,
    charges and refunds are still posted: they have happened. A wallet that is frozen for two causes
    stays so until both are taken back. `companions` commit with the change; raises RecordChanged when
    one of them matches nothing. The caller makes sure that the user exists.
    """
    event = "WalletFrozen" if frozen else "WalletUnfrozen"
    action: AdjustmentAction = "freeze" if frozen else "unfreeze"

    def with_record(_: Outcome) -> list[Write]:
        return [
            _adjustment(database.new_id("adj"), user_id, action, reason, by),
            outbox.record_event(event, user_id=user_id, pending=True, reason=reason, by=by),
            *companions,
        ]

    outcome = await post(ledger.Freeze(user_id=user_id, frozen=frozen, cause=cause), with_record)
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
    record = _adjustment_record(
        record_id, user_id, action, reason, by, transaction_id=transaction_id
    )
    return Insert("adjustments", record)


def _adjustment_record(
    record_id: str,
    user_id: str,
    action: AdjustmentAction,
    reason: str,
    by: str,
    *,
    transaction_id: str | None = None,
) -> Adjustment:
    return {
        "_id": record_id,
        "user_id": user_id,
        "action": action,
        "reason": reason,
        "by": by,
        "transaction_id": transaction_id,
        "at": clock.now(),
    }
