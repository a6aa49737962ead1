"""What a person does to a wallet by hand: correct it, freeze it, and say who did it and why."""

import datetime as dt
import logging
from typing import Annotated, Literal, TypedDict, cast

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, StringConstraints

import api
import clock
import database
import events
import ledger
import users
import wallet
from auth import Admin, Instant
from database import Document, Index, Insert, Write, db
from errors import (
    BalanceHeld,
    Forbidden,
    IdempotencyKeyReused,
    InsufficientBalance,
    InvalidCursor,
    InvalidRequest,
    NotFound,
    StillRunning,
    Unauthenticated,
    Unavailable,
)
from ledger import Entry, Outcome, Type
from money import PositiveRupeesIn, RupeesOut

log = logging.getLogger(__name__)

# --- vocabulary ---------------------------------------------------------------------------------

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

# --- verbs --------------------------------------------------------------------------------------


async def adjust(
    user_id: str, *, kind: Type, amount_paise: int, reason: str, by: str, seed: str
) -> tuple[Entry, int]:
    """Put money into a wallet or take it out, once a `seed`; the entry and the balance after it.

    A debit takes what is available and nothing that is reserved. A credit pays what is due first.
    Raises NotFound for a user that there is not, InsufficientBalance and BalanceHeld.
    """
    await _require(user_id)
    posting = ledger.Credit if kind == "credit" else ledger.Debit

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
            events.record(event, user_id=user_id, pending=True, reason=reason, by=by),
        ]

    outcome = await wallet.post(ledger.Freeze(user_id=user_id, frozen=frozen), with_record)
    if not outcome.replayed:
        log.warning("%s: %s by %s", user_id, action, by)
    return not outcome.replayed


async def page(
    user_id: str, *, limit: int, cursor: str | None
) -> tuple[list[Adjustment], str | None]:
    """What was done by hand to a wallet, the newest first, and the next cursor. Raises NotFound for
    no user."""
    await _require(user_id)
    where: Document = {"user_id": user_id} | api.behind(cursor, "at")
    found = db.adjustments.find(where, sort=[("at", -1), ("_id", -1)])
    rows, next_cursor = api.cut(await found.to_list(limit + 1), "at", limit)
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


# --- routes -------------------------------------------------------------------------------------

router = APIRouter(prefix="/api/admin/users/{user_id}", tags=["admin"])
_refusals = (Unauthenticated, Forbidden, NotFound, InvalidRequest, Unavailable)

Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=200)]


class AdjustmentIn(BaseModel):
    """What to correct, and why: the owner of the wallet reads the reason."""

    type: Literal["credit", "debit"]
    amount: PositiveRupeesIn
    reason: Reason


class AdjustmentOut(BaseModel):
    """The transaction that the adjustment made. `balance` is what the wallet holds afterwards, when
    a credit has paid what was due."""

    id: str
    user_id: str
    seq: int
    type: str
    category: str
    amount: RupeesOut
    balance_after: RupeesOut
    balance: RupeesOut
    description: str
    by: str
    created_at: Instant


class ReasonIn(BaseModel):
    """Why."""

    reason: Reason


class FrozenOut(BaseModel):
    """Whether calls are stopped now, and whether this request changed that."""

    user_id: str
    frozen: bool
    changed: bool


class ByHandOut(BaseModel):
    """One thing that was done by hand."""

    action: str
    reason: str
    by: str
    transaction_id: str | None
    at: Instant


class ByHandListOut(BaseModel):
    """A page of what was done by hand, the newest first."""

    adjustments: list[ByHandOut]
    next_cursor: str | None


@router.post(
    "/adjustments",
    status_code=201,
    response_model=AdjustmentOut,
    responses=api.documented(
        *_refusals, InsufficientBalance, BalanceHeld, IdempotencyKeyReused, StillRunning
    ),
)
async def post_adjustment(
    user_id: str, body: AdjustmentIn, admin: Admin, request: Request
) -> Response:
    """Credit or debit a wallet by hand. Send an `Idempotency-Key`: then a repetition is harmless."""

    async def work(seed: str) -> api.Answer:
        entry, balance_paise = await adjust(
            user_id,
            kind=body.type,
            amount_paise=body.amount,
            reason=body.reason,
            by=admin.id,
            seed=seed,
        )
        answer = AdjustmentOut(
            id=entry.id,
            user_id=entry.user_id,
            seq=entry.seq,
            type=entry.type,
            category=entry.category,
            amount=entry.amount_paise,
            balance_after=entry.balance_after_paise,
            balance=balance_paise,
            description=entry.description,
            by=admin.id,
            created_at=entry.created_at,
        )
        return api.Answer(201, answer)

    return await api.once(request, admin.id, work)


@router.get(
    "/adjustments",
    response_model=ByHandListOut,
    responses=api.documented(Unauthenticated, Forbidden, NotFound, InvalidRequest, InvalidCursor),
)
async def get_adjustments(
    user_id: str,
    _: Admin,
    limit: Annotated[int, Query(ge=1, le=api.PAGE_LIMIT_MAX)] = api.PAGE_LIMIT_DEFAULT,
    cursor: Annotated[str | None, Query(max_length=500)] = None,
) -> ByHandListOut:
    """What was done to a wallet by hand: who, what, why."""
    rows, next_cursor = await page(user_id, limit=limit, cursor=cursor)
    return ByHandListOut(adjustments=[_out(row) for row in rows], next_cursor=next_cursor)


@router.post("/freeze", response_model=FrozenOut, responses=api.documented(*_refusals))
async def post_freeze(user_id: str, body: ReasonIn, admin: Admin) -> FrozenOut:
    """No new calls; the live ones are ended. Harmless when repeated."""
    changed = await freeze(user_id, frozen=True, reason=body.reason, by=admin.id)
    return FrozenOut(user_id=user_id, frozen=True, changed=changed)


@router.post("/unfreeze", response_model=FrozenOut, responses=api.documented(*_refusals))
async def post_unfreeze(user_id: str, body: ReasonIn, admin: Admin) -> FrozenOut:
    """Calls are possible again, and campaigns that waited go on. Harmless when repeated."""
    changed = await freeze(user_id, frozen=False, reason=body.reason, by=admin.id)
    return FrozenOut(user_id=user_id, frozen=False, changed=changed)


def _out(record: Adjustment) -> ByHandOut:
    return ByHandOut(
        action=record["action"],
        reason=record["reason"],
        by=record["by"],
        transaction_id=record["transaction_id"],
        at=record["at"],
    )
