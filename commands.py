"""What can be asked of a wallet: the commands, and the shapes that they work on."""

import dataclasses
import datetime as dt
from typing import Final, Literal

from immutables import Map

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


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """How much, why, and the business fact (`key`) that makes it unique for its user."""

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
    """Put money in. It pays what is due first, by entries of its own."""


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
    """Raise a call's hold to `amount_paise` in all, or what can be had from `amount_paise_min` on."""

    user_id: str
    call_id: str
    amount_paise: int
    amount_paise_min: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settle:
    """Charge a call that ended and give back the rest of its hold; what is missing becomes due."""

    user_id: str
    call_id: str
    cost_paise: int
    description: str
    campaign_id: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Give back a call's hold; it cost nothing."""

    user_id: str
    call_id: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Reserve:
    """Set money aside for what may be taken later by its `reserve_id` (a refund, a dispute).

    As much of `amount_paise` as there is, refused below `amount_paise_min`. With a minimum of zero
    it is never refused: a reserve of nothing still is what `Collect` finds, once.
    """

    user_id: str
    reserve_id: str
    amount_paise: int
    amount_paise_min: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Collect(Movement):
    """Take what was reserved, and what is missing of it from what is available; the rest is due.

    The reserve is used up by it, so the same money is collected once.
    """

    reserve_id: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Unreserve:
    """Give back a reserve; nothing is taken."""

    user_id: str
    reserve_id: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Freeze:
    """Refuse new holds and longer ones (`frozen`), or allow them again."""

    user_id: str
    frozen: bool


Command = (
    Credit | Debit | Hold | ExtendHold | Settle | Release | Reserve | Collect | Unreserve | Freeze
)


def reservation_of(command: Command) -> str | None:
    """The id of the hold or the reserve that the command is about, if it is about one."""
    match command:
        case Hold() | ExtendHold() | Settle() | Release():
            return command.call_id
        case Reserve() | Collect() | Unreserve():
            return command.reserve_id
    return None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Entry(Movement):
    """One immutable movement. The totals are the wallet's running totals after it."""

    id: str
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


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wallet:
    """One user's money. `available_paise` is what a new call may reserve."""

    user_id: str
    currency: str = "INR"
    balance_paise: int = 0
    held_paise: int = 0
    holds: Map[str, int] = Map()  # call_id -> paise  # noqa: RUF009 - immutable
    due_paise: int = 0
    dues: Map[str, int] = Map()  # call_id or reserve_id -> paise owed  # noqa: RUF009
    reserves: Map[str, int] = Map()  # reserve_id -> paise; part of what is held  # noqa: RUF009
    frozen: bool = False
    seq: int = 0
    version: int = 0
    head_hash: str = GENESIS_HASH
    credited_paise: int = 0
    debited_paise: int = 0
    credit_count: int = 0
    debit_count: int = 0
    created_at: dt.datetime
    updated_at: dt.datetime

    @property
    def available_paise(self) -> int:
        """The balance less what is held."""
        return self.balance_paise - self.held_paise


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a command did. When `replayed`, it was done before and nothing changed now.

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
