"""What a person does to a wallet by hand: correct it, freeze it, and say who did it and why."""

import datetime as dt
import logging
from typing import Literal, TypedDict, cast

import commands
import users
import wallet
from commands import Entry, Outcome, Type
from core import clock, database, outbox, pagination
from core.database import Document, Index, Insert, Write, db
from core.errors import NotFound

log = logging.getLogger(__name__)


Action = Literal["credit", "debit", "freeze", "unfreeze"]


class Adjustment(TypedDict):
    """A record of `adjustments`: one thing that was done by hand."""

    _id: str
    user_id: str
    action: Action
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
    """Put money into a wallet or take it out, once a `seed`; the entry and the balance after it.

    A debit takes what is available and nothing that is reserved. A credit pays what is due first.
    Raises NotFound for a user that there is not, InsufficientBalance and BalanceHeld.
    """
    await _require(user_id)
    posting = commands.Credit if kind == "credit" else commands.Debit

    def with_record(outcome: Outcome) -> list[Write]:
        assert outcome.entry is not None
        return [_record(seed, user_id, kind, reason, by, transaction_id=outcome.entry.id)]

    outcome = await wallet.post(
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


async def freeze(user_id: str, *, frozen: bool, reason: str, by: str) -> bool:
    """Freeze or unfreeze a wallet; whether that changed anything. `by` is a user or `policy`.

    Frozen: no call starts or is prolonged, the live ones are hung up, campaigns wait. Recharges,
    charges, refunds go on: what happened has to be booked. Raises NotFound.
    """
    await _require(user_id)
    event = "WalletFrozen" if frozen else "WalletUnfrozen"
    action: Action = "freeze" if frozen else "unfreeze"

    def with_record(_: Outcome) -> list[Write]:
        return [
            _record(database.new_id("adj"), user_id, action, reason, by),
            outbox.record(event, user_id=user_id, pending=True, reason=reason, by=by),
        ]

    outcome = await wallet.post(commands.Freeze(user_id=user_id, frozen=frozen), with_record)
    if not outcome.replayed:
        log.warning("%s: %s by %s", user_id, action, by)
    return not outcome.replayed


async def page(
    user_id: str, *, limit: int, cursor: str | None
) -> tuple[list[Adjustment], str | None]:
    """What was done by hand to a wallet, the newest first, and the next cursor. Raises NotFound for
    no user."""
    await _require(user_id)
    where: Document = {"user_id": user_id} | pagination.behind(cursor, "at")
    found = db.adjustments.find(where, sort=[("at", -1), ("_id", -1)])
    rows, next_cursor = pagination.cut(await found.to_list(limit + 1), "at", limit)
    return cast(list[Adjustment], rows), next_cursor


async def _require(user_id: str) -> None:
    if await users.find(user_id) is None:
        raise NotFound("There is no user with this id.")


def _record(
    record_id: str,
    user_id: str,
    action: Action,
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
