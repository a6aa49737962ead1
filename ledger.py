"""Ledger rules, pure: a wallet and a command in, a wallet and entries out, or a refusal."""

import dataclasses
import datetime as dt
import functools
import hashlib
import json
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, Protocol

from immutables import Map

from core import clock, money
from core.errors import (
    BalanceHeld,
    HoldNotFound,
    InsufficientBalance,
    PaymentRequired,
    TooManyCalls,
    WalletFrozen,
)

# --- vocabulary ---------------------------------------------------------------------------------

GENESIS_HASH: Final = "0" * 64

Type = Literal["credit", "debit"]
Category = Literal[
    "recharge",  # money that came in through Razorpay
    "call_charge",  # the cost of one call
    "refund",  # money that went back through Razorpay
    "refund_reversal",  # a refund that failed: the money is here again
    "adjustment",  # an admin's correction, with a reason
    "due_recovery",  # what could not be collected before, taken from money that came in
]
# The other account of the double entry.
Contra = Literal["gateway:razorpay", "revenue:calls", "adjustment"]
# Why a wallet is frozen: an admin or a dispute froze it (`admin`), or its account is disabled.
FreezeCause = Literal["admin", "account"]


# What a fold makes by the thousand are named tuples: as immutable as the commands, and made in a
# fraction of the time that a frozen dataclass takes.


class Entry(NamedTuple):
    """One immutable movement: how much, why, and the business fact (`key`) that makes it unique for
    its user. The totals are the wallet's running totals after it."""

    id: str
    user_id: str
    key: str
    category: Category
    amount_paise: int
    contra: Contra
    description: str
    seq: int
    type: Type
    balance_after_paise: int
    credited_paise: int
    debited_paise: int
    credit_count: int
    debit_count: int
    created_at: dt.datetime
    prev_hash: str
    hash: str
    call_id: str | None = None
    campaign_id: str | None = None
    order_id: str | None = None
    payment_id: str | None = None
    refund_id: str | None = None


class Wallet(NamedTuple):
    """One user's money. `available_paise` is what a new call may reserve."""

    user_id: str
    created_at: dt.datetime
    updated_at: dt.datetime
    currency: str = "INR"
    balance_paise: int = 0
    held_paise: int = 0
    due_paise: int = 0
    credited_paise: int = 0
    debited_paise: int = 0
    seq: int = 0
    version: int = 0
    credit_count: int = 0
    debit_count: int = 0
    head_hash: str = GENESIS_HASH
    frozen: bool = False  # whether `frozen_for` names anything
    frozen_for: tuple[FreezeCause, ...] = ()
    holds: Map[str, int] = Map()  # call_id -> paise
    dues: Map[str, int] = Map()  # call_id or reserve_id -> paise owed
    reserves: Map[str, int] = Map()  # reserve_id -> paise; part of what is held

    @property
    def available_paise(self) -> int:
        """The balance less what is held."""
        return self.balance_paise - self.held_paise

    @property
    def reserved_paise(self) -> int:
        """The part of what is held that is not for calls, but for refunds and disputes."""
        return sum(self.reserves.values())


# --- commands -----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """A command that makes an entry: how much, why, and the business fact (`key`) that makes it unique
    for its user."""

    user_id: str
    key: str
    category: Category
    amount_paise: int
    contra: Contra
    description: str
    call_id: str | None = None
    campaign_id: str | None = None
    order_id: str | None = None
    payment_id: str | None = None
    refund_id: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Credit(Movement):
    """Put money in. It pays dues first, by entries of their own."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Debit(Movement):
    """Take money out that is not held; refused when there is not enough."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Reserve up to `amount_paise` for a call, at least `amount_paise_min`."""

    user_id: str
    call_id: str
    amount_paise: int
    amount_paise_min: int
    holds_max: int | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ExtendHold:
    """Raise a call's hold to `amount_paise` in all, or to what is available, at least `amount_paise_min`."""

    user_id: str
    call_id: str
    amount_paise: int
    amount_paise_min: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settle:
    """Charge a call that ended and release the rest of its hold; what is missing becomes due."""

    user_id: str
    call_id: str
    cost_paise: int
    description: str
    campaign_id: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Release a call's hold; it cost nothing."""

    user_id: str
    call_id: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Reserve:
    """Reserve money that may be collected later by its `reserve_id` (a refund, a dispute).

    As much of `amount_paise` as is available, refused below `amount_paise_min`. With a minimum of
    zero it is never refused: `Collect` then finds a reserve of zero, once.
    """

    user_id: str
    reserve_id: str
    amount_paise: int
    amount_paise_min: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Collect(Movement):
    """Take what was reserved, and what that lacks from what is available; the rest becomes due.

    The reserve is used up by it, so the same money is collected once. A replay takes nothing, and
    releases what was reserved under this id meanwhile.
    """

    reserve_id: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Unreserve:
    """Release a reserve; nothing is taken."""

    user_id: str
    reserve_id: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Freeze:
    """Refuse new holds and longer ones (`frozen`), or allow them again, as far as `cause` goes: a wallet
    is frozen while any cause is left."""

    user_id: str
    frozen: bool
    cause: FreezeCause = "admin"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WriteOff:
    """Give up `amount_paise` of what is due for `owed_for`, at most all of it; no money moves."""

    user_id: str
    owed_for: str
    amount_paise: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Recount:
    """Make what is held and what is due, in all, the sums of the holds, reserves and dues again."""

    user_id: str


CallCommand = Hold | ExtendHold | Settle | Release
ReserveCommand = Reserve | Collect | Unreserve
CorrectionCommand = WriteOff | Recount
Command = Credit | Debit | Freeze | CallCommand | ReserveCommand | CorrectionCommand


def reservation_of(command: Command) -> str | None:
    """The id of the hold or the reserve that the command is about, if it is about one."""
    match command:
        case Hold() | ExtendHold() | Settle() | Release():
            return command.call_id
        case Reserve() | Collect() | Unreserve():
            return command.reserve_id
    return None


def key_of(command: Command) -> str | None:
    """The business fact that makes the command's entry unique for its user, if it makes one."""
    if isinstance(command, Movement):
        return command.key
    if isinstance(command, Settle) and command.cost_paise > 0:
        return f"call:{command.call_id}"
    return None


# --- rules: a command folded over a wallet ------------------------------------------------------


class Outcome(NamedTuple):
    """The result of a command. When `replayed`, it was applied before and nothing changed now, except
    that a replayed `Collect` releases its reserve.

    `held_paise` is what is reserved for the call, or was when it was settled.
    """

    wallet: Wallet
    entries: tuple[Entry, ...] = ()
    replayed: bool = False
    held_paise: int = 0
    charged_paise: int = 0
    due_paise: int = 0

    @property
    def entry(self) -> Entry | None:
        """The entry of the command itself (dues that it paid follow it in `entries`)."""
        return self.entries[0] if self.entries else None


def opened(user_id: str, at: dt.datetime) -> Wallet:
    """A new wallet, with zero in it."""
    return Wallet(user_id=user_id, created_at=at, updated_at=at)


@functools.lru_cache(maxsize=4_096)  # asked for once to look for a replay, once for the entry
def entry_id(user_id: str, key: str) -> str:
    """The id of the entry of this key: as the primary key it makes posting idempotent."""
    digest = hashlib.sha256(f"{user_id} {key}".encode()).hexdigest()
    return f"txn_{digest[:32]}"


def apply(
    wallet: Wallet, command: Command, *, at: dt.datetime, known: Mapping[str, Entry]
) -> Outcome:
    """Fold one command over `wallet`.

    `known` holds, by id, the entries that exist already: a command whose key is among them is
    answered with the first result before funds are checked. `at` never decreases within
    a wallet. Raises InsufficientBalance, BalanceHeld or WalletFrozen (402), TooManyCalls (429),
    HoldNotFound, and ValueError for amounts out of range; the wallet is then unchanged.
    """
    at = max(at, wallet.updated_at)
    key = key_of(command)
    if key is not None:
        first = known.get(entry_id(command.user_id, key))
        if first is not None:
            if isinstance(command, Collect):
                # Reserved again beside a report that had collected already: nobody else would release it.
                wallet = _release_reservation(wallet, "reserves", command.reserve_id, at).wallet
            charged = first.amount_paise if isinstance(command, Settle | Collect) else 0
            return Outcome(wallet=wallet, entries=(first,), replayed=True, charged_paise=charged)
    match command:
        case Hold() | ExtendHold() | Settle() | Release():
            return _apply_to_hold(wallet, command, at)
        case Reserve() | Collect() | Unreserve():
            return _apply_to_reserve(wallet, command, at)
        case Credit():
            return _credit(wallet, command, at)
        case Debit():
            return _debit(wallet, command, at)
        case Freeze():
            return _freeze(wallet, command, at)
        case WriteOff() | Recount():
            return _correct(wallet, command, at)


def _apply_to_hold(wallet: Wallet, command: CallCommand, at: dt.datetime) -> Outcome:
    match command:
        case Hold():
            return _hold(wallet, command, at)
        case ExtendHold():
            return _extend(wallet, command, at)
        case Settle():
            return _settle(wallet, command, at)
        case Release():
            return _release_reservation(wallet, "holds", command.call_id, at)


def _apply_to_reserve(wallet: Wallet, command: ReserveCommand, at: dt.datetime) -> Outcome:
    match command:
        case Reserve():
            return _reserve(wallet, command, at)
        case Collect():
            return _collect(wallet, command, at)
        case Unreserve():
            return _release_reservation(wallet, "reserves", command.reserve_id, at)


def _correct(wallet: Wallet, command: CorrectionCommand, at: dt.datetime) -> Outcome:
    match command:
        case WriteOff():
            return _write_off(wallet, command, at)
        case Recount():
            return _recount(wallet, at)


def _credit(wallet: Wallet, command: Credit, at: dt.datetime) -> Outcome:
    wallet, entry = _append_entry(wallet, command, at)
    entries = [entry]
    for owed_for in sorted(wallet.dues):  # call ids sort by time: the oldest debt first
        amount_paise = min(wallet.dues[owed_for], wallet.available_paise)
        if amount_paise <= 0:
            break
        wallet, paid = _append_entry(wallet, _recovery(entry, owed_for, amount_paise), at)
        rest_paise = wallet.dues[owed_for] - amount_paise
        dues = wallet.dues
        dues = dues.set(owed_for, rest_paise) if rest_paise else dues.delete(owed_for)
        wallet = wallet._replace(dues=dues, due_paise=wallet.due_paise - amount_paise)
        entries.append(paid)
    return Outcome(wallet=wallet, entries=tuple(entries))


def _recovery(source: Entry, owed_for: str, amount_paise: int) -> Debit:
    """The debit that pays a due: to the account of calls for a call, of the gateway for a refund or
    a dispute."""
    is_call = owed_for.startswith("call_")
    return Debit(
        user_id=source.user_id,
        key=f"due:{owed_for}:{source.id}",
        category="due_recovery",
        amount_paise=amount_paise,
        contra="revenue:calls" if is_call else "gateway:razorpay",
        description=(
            f"Due for {'call ' if is_call else ''}{owed_for}, paid from {source.description.lower()}"
        ),
        call_id=owed_for if is_call else None,
    )


def _debit(wallet: Wallet, command: Debit, at: dt.datetime) -> Outcome:
    if command.amount_paise > wallet.available_paise:
        raise _shortage(wallet, command.amount_paise)
    wallet, entry = _append_entry(wallet, command, at)
    return Outcome(wallet=wallet, entries=(entry,))


def _hold(wallet: Wallet, command: Hold, at: dt.datetime) -> Outcome:
    before_paise = wallet.holds.get(command.call_id)
    if before_paise is not None:
        return Outcome(wallet=wallet, replayed=True, held_paise=before_paise)
    if not 0 < command.amount_paise_min <= command.amount_paise:
        raise ValueError("a hold needs 0 < amount_paise_min <= amount_paise")
    if wallet.frozen or wallet.available_paise < command.amount_paise_min:
        raise refusal(wallet, command.amount_paise_min)
    if command.holds_max is not None and len(wallet.holds) >= command.holds_max:
        raise TooManyCalls(
            f"{command.holds_max} calls of this account are running, which is its limit. "
            "Try again when one has ended.",
            headers={"Retry-After": "5"},
            limit=command.holds_max,
        )
    amount_paise = min(command.amount_paise, wallet.available_paise)
    return _set_reservation(wallet, "holds", command.call_id, amount_paise, at)


def _extend(wallet: Wallet, command: ExtendHold, at: dt.datetime) -> Outcome:
    before_paise = wallet.holds.get(command.call_id)
    if before_paise is None:
        raise HoldNotFound(f"Nothing is reserved for {command.call_id} any more.")
    wanted_paise = max(command.amount_paise, before_paise)
    amount_paise = min(wanted_paise, before_paise + wallet.available_paise)
    if wallet.frozen or amount_paise < command.amount_paise_min:
        raise refusal(wallet, command.amount_paise_min - before_paise, own_paise=before_paise)
    if amount_paise == before_paise:
        return Outcome(wallet=wallet, replayed=True, held_paise=before_paise)
    return _set_reservation(wallet, "holds", command.call_id, amount_paise, at)


def _settle(wallet: Wallet, command: Settle, at: dt.datetime) -> Outcome:
    if command.cost_paise < 0:
        raise ValueError("a call cannot cost less than nothing")
    if command.cost_paise == 0:
        return _release_reservation(wallet, "holds", command.call_id, at)
    reserved_paise = wallet.holds.get(command.call_id)
    if reserved_paise is None:
        raise HoldNotFound(f"Nothing is reserved for {command.call_id} any more.")
    wallet = _release_reservation(wallet, "holds", command.call_id, at).wallet
    charged_paise = min(command.cost_paise, wallet.available_paise)
    missing_paise = command.cost_paise - charged_paise
    entries: tuple[Entry, ...] = ()
    if charged_paise:
        charge = Debit(
            user_id=command.user_id,
            key=f"call:{command.call_id}",
            category="call_charge",
            amount_paise=charged_paise,
            contra="revenue:calls",
            description=command.description,
            call_id=command.call_id,
            campaign_id=command.campaign_id,
        )
        wallet, entry = _append_entry(wallet, charge, at)
        entries = (entry,)
    outcome = _outcome_with_due(wallet, command.call_id, missing_paise, entries)
    return outcome._replace(held_paise=reserved_paise)


def _reserve(wallet: Wallet, command: Reserve, at: dt.datetime) -> Outcome:
    before_paise = wallet.reserves.get(command.reserve_id)
    if before_paise is not None:
        return Outcome(wallet=wallet, replayed=True, held_paise=before_paise)
    if not 0 <= command.amount_paise_min <= command.amount_paise or command.amount_paise == 0:
        raise ValueError("a reserve needs 0 <= amount_paise_min <= amount_paise, and an amount")
    if wallet.available_paise < command.amount_paise_min:
        raise _shortage(wallet, command.amount_paise_min)
    amount_paise = min(command.amount_paise, wallet.available_paise)
    return _set_reservation(wallet, "reserves", command.reserve_id, amount_paise, at)


def _collect(wallet: Wallet, command: Collect, at: dt.datetime) -> Outcome:
    if command.amount_paise <= 0:
        raise ValueError("what is collected has an amount")
    if command.reserve_id not in wallet.reserves:
        raise HoldNotFound(f"Nothing is reserved for {command.reserve_id} any more.")
    wallet = _release_reservation(wallet, "reserves", command.reserve_id, at).wallet
    taken_paise = min(command.amount_paise, wallet.available_paise)
    entries: tuple[Entry, ...] = ()
    if taken_paise:
        wallet, entry = _append_entry(
            wallet, dataclasses.replace(command, amount_paise=taken_paise), at
        )
        entries = (entry,)
    return _outcome_with_due(
        wallet, command.reserve_id, command.amount_paise - taken_paise, entries
    )


def _freeze(wallet: Wallet, command: Freeze, at: dt.datetime) -> Outcome:
    if (command.cause in wallet.frozen_for) == command.frozen:
        return Outcome(wallet=wallet, replayed=True)
    causes = tuple(cause for cause in wallet.frozen_for if cause != command.cause)
    if command.frozen:
        causes += (command.cause,)
    wallet = wallet._replace(
        frozen=bool(causes), frozen_for=causes, version=wallet.version + 1, updated_at=at
    )
    return Outcome(wallet=wallet)


def _write_off(wallet: Wallet, command: WriteOff, at: dt.datetime) -> Outcome:
    due_paise = wallet.dues.get(command.owed_for)
    if due_paise is None:
        return Outcome(wallet=wallet, replayed=True)
    if command.amount_paise <= 0:
        raise ValueError("what is written off has an amount")
    amount_paise = min(command.amount_paise, due_paise)
    rest_paise = due_paise - amount_paise
    dues = wallet.dues
    wallet = wallet._replace(
        dues=dues.set(command.owed_for, rest_paise)
        if rest_paise
        else dues.delete(command.owed_for),
        due_paise=wallet.due_paise - amount_paise,
        version=wallet.version + 1,
        updated_at=at,
    )
    return Outcome(wallet=wallet, due_paise=amount_paise)


def _recount(wallet: Wallet, at: dt.datetime) -> Outcome:
    held_paise = sum(wallet.holds.values()) + sum(wallet.reserves.values())
    due_paise = sum(wallet.dues.values())
    if (wallet.held_paise, wallet.due_paise) == (held_paise, due_paise):
        return Outcome(wallet=wallet, replayed=True)
    wallet = wallet._replace(
        held_paise=held_paise,
        due_paise=due_paise,
        version=wallet.version + 1,
        updated_at=at,
    )
    return Outcome(wallet=wallet)


_Earmarks = Literal["holds", "reserves"]


def _set_reservation(
    wallet: Wallet, kind: _Earmarks, owner_id: str, amount_paise: int, at: dt.datetime
) -> Outcome:
    """Reserve `amount_paise` in all for a call (a hold), a refund or a dispute (a reserve)."""
    amounts = wallet.holds if kind == "holds" else wallet.reserves
    added_paise = amount_paise - amounts.get(owner_id, 0)
    wallet = _held(wallet, kind, amounts.set(owner_id, amount_paise), added_paise, at)
    return Outcome(wallet=wallet, held_paise=amount_paise)


def _release_reservation(
    wallet: Wallet, kind: _Earmarks, owner_id: str, at: dt.datetime
) -> Outcome:
    """Release what was reserved; nothing to do when it was released before."""
    amounts = wallet.holds if kind == "holds" else wallet.reserves
    before_paise = amounts.get(owner_id)
    if before_paise is None:
        return Outcome(wallet=wallet, replayed=True)
    return Outcome(wallet=_held(wallet, kind, amounts.delete(owner_id), -before_paise, at))


def _held(
    wallet: Wallet, kind: _Earmarks, amounts: Map[str, int], added_paise: int, at: dt.datetime
) -> Wallet:
    is_holds = kind == "holds"
    return wallet._replace(
        holds=amounts if is_holds else wallet.holds,
        reserves=wallet.reserves if is_holds else amounts,
        held_paise=wallet.held_paise + added_paise,
        version=wallet.version + 1,
        updated_at=at,
    )


def _outcome_with_due(
    wallet: Wallet, owed_for: str, missing_paise: int, entries: tuple[Entry, ...]
) -> Outcome:
    """The outcome of a charge, with what could not be collected as a due."""
    if missing_paise:
        owed_paise = wallet.dues.get(owed_for, 0) + missing_paise
        wallet = wallet._replace(
            dues=wallet.dues.set(owed_for, owed_paise),
            due_paise=wallet.due_paise + missing_paise,
        )
    charged_paise = entries[0].amount_paise if entries else 0
    return Outcome(
        wallet=wallet, entries=entries, charged_paise=charged_paise, due_paise=missing_paise
    )


def _append_entry(wallet: Wallet, posting: Movement, at: dt.datetime) -> tuple[Wallet, Entry]:
    """Append the entry of `posting` and update the running totals."""
    amount_paise = posting.amount_paise
    if amount_paise <= 0 or amount_paise > money.PAISE_MAX:
        raise ValueError(f"an entry's amount must be positive, not {amount_paise}")
    is_credit = isinstance(posting, Credit)
    kind: Type = "credit" if is_credit else "debit"
    balance_paise = wallet.balance_paise + (amount_paise if is_credit else -amount_paise)
    seq = wallet.seq + 1
    entry = Entry(
        id=entry_id(posting.user_id, posting.key),
        user_id=posting.user_id,
        key=posting.key,
        category=posting.category,
        amount_paise=amount_paise,
        contra=posting.contra,
        description=posting.description,
        call_id=posting.call_id,
        campaign_id=posting.campaign_id,
        order_id=posting.order_id,
        payment_id=posting.payment_id,
        refund_id=posting.refund_id,
        seq=seq,
        type=kind,
        balance_after_paise=balance_paise,
        credited_paise=wallet.credited_paise + (amount_paise if is_credit else 0),
        debited_paise=wallet.debited_paise + (0 if is_credit else amount_paise),
        credit_count=wallet.credit_count + is_credit,
        debit_count=wallet.debit_count + (not is_credit),
        created_at=at,
        prev_hash=wallet.head_hash,
        hash=_digest(posting, kind, seq, balance_paise, at, wallet.head_hash),
    )
    after = wallet._replace(
        balance_paise=balance_paise,
        seq=seq,
        version=wallet.version + 1,
        head_hash=entry.hash,
        credited_paise=entry.credited_paise,
        debited_paise=entry.debited_paise,
        credit_count=entry.credit_count,
        debit_count=entry.debit_count,
        updated_at=at,
    )
    return after, entry


# --- refusals -----------------------------------------------------------------------------------


class Funds(Protocol):
    """What a refusal is computed from: a `Wallet`, or a balance that was read."""

    @property
    def balance_paise(self) -> int:
        """All that is in the wallet."""

    @property
    def held_paise(self) -> int:
        """The part of it that is reserved."""

    @property
    def reserved_paise(self) -> int:
        """The part of what is reserved that is for refunds and disputes: no end of a call frees it."""

    @property
    def available_paise(self) -> int:
        """The part of it that is not."""

    @property
    def frozen(self) -> bool:
        """Whether an admin has frozen the wallet."""


def refusal(balance: Funds, required_paise: int, *, own_paise: int = 0) -> PaymentRequired:
    """Why a call is refused that needs `required_paise`: WalletFrozen, else BalanceHeld when
    there will be enough money as soon as other calls end, else InsufficientBalance.

    `own_paise` is what the call itself has reserved already. For a wallet that is frozen or has less
    than `required_paise` available; it raises nothing.
    """
    if balance.frozen:
        return WalletFrozen(
            "This wallet is frozen: no calls can be made. Ask support; recharging does not help.",
            required_paise=max(0, required_paise),
            available_paise=balance.available_paise,
        )
    return _shortage(balance, required_paise, own_paise=own_paise)


def _shortage(balance: Funds, required_paise: int, *, own_paise: int = 0) -> PaymentRequired:
    """Why `required_paise` is not available: not enough money, or enough that running calls hold.

    What is reserved for a refund or a dispute may stay so for weeks: it counts as not being there.
    """
    available_paise, reserved_paise = balance.available_paise, balance.reserved_paise
    needs = f"This needs Rs {money.text(required_paise)}"
    calls_paise = balance.held_paise - reserved_paise
    if available_paise + calls_paise - own_paise >= required_paise:
        return BalanceHeld(
            f"{needs}; the wallet holds Rs {money.text(balance.balance_paise)}, but running calls "
            f"have reserved Rs {money.text(calls_paise)}. Try again when one has ended.",
            required_paise=required_paise,
            available_paise=available_paise,
            retry_after_seconds=5,
        )
    kept = f", Rs {money.text(reserved_paise)} are reserved for refunds or disputes"
    return InsufficientBalance(
        f"{needs}; the wallet has Rs {money.text(available_paise)} available"
        f"{kept if reserved_paise else ''}. "
        f"Recharge at least Rs {money.text(required_paise - available_paise)}.",
        required_paise=required_paise,
        available_paise=available_paise,
    )


# --- the chain of hashes ------------------------------------------------------------------------

_plain_json = json.JSONEncoder(separators=(",", ":")).encode
_iso = functools.lru_cache(maxsize=64)(clock.iso)  # the entries of a commit have one time


def hash_of(entry: Entry) -> str:
    """SHA-256 over the entry's facts and the hash before it, in hexadecimal.

    The text is a JSON array without spaces, in the order below, non-ASCII escaped, the time as
    ISO 8601 with milliseconds: it can be recomputed in any language (docs/money.md).
    """
    return _digest(
        entry, entry.type, entry.seq, entry.balance_after_paise, entry.created_at, entry.prev_hash
    )


def _digest(
    facts: Movement | Entry,
    kind: Type,
    seq: int,
    balance_after_paise: int,
    created_at: dt.datetime,
    prev_hash: str,
) -> str:
    place = (prev_hash, facts.user_id, seq, kind, facts.category, facts.amount_paise)
    why = (balance_after_paise, facts.contra, facts.key, facts.description)
    refs = (facts.call_id, facts.campaign_id, facts.order_id, facts.payment_id, facts.refund_id)
    text = _plain_json([*place, *why, *refs, _iso(created_at)])
    return hashlib.sha256(text.encode()).hexdigest()
