"""Admin routes of customers: list, own rates, adjustments, freezing."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel

import users
import wallet
from api import problems
from api.dependencies import Admin, Operator, Page, PageOfAnyCursor
from api.fields import Instant, PositiveRupeesIn, Reason, RupeesIn, RupeesOut
from api.idempotency import Answer, IdempotentRequired
from billing import rates
from core.errors import BalanceHeld, InsufficientBalance, InvalidRequest, NotFound
from ledger import Entry
from reporting import customers
from users import PublicUser
from wallet import Adjustment, AlreadyDecided, Balance, OwnWallet, SameAdmin

router = APIRouter(prefix="/api/admin/users", tags=["admin"], route_class=problems.Route)
adjustments = APIRouter(prefix="/api/admin/adjustments", tags=["admin"], route_class=problems.Route)


# --- shapes -------------------------------------------------------------------------------------


class PersonOut(BaseModel):
    """A user and what is in the wallet; `call_rate` is a rate of their own, if they have one."""

    id: str
    email: str
    name: str
    phone: str | None
    role: str
    created_at: Instant
    balance: RupeesOut
    held: RupeesOut
    available: RupeesOut
    due: RupeesOut
    low_balance: bool
    call_rate: RupeesOut | None
    frozen: bool


class PeopleOut(BaseModel):
    """A page of users, newest first."""

    users: list[PersonOut]
    next_cursor: str | None


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


class WaitingOut(BaseModel):
    """An adjustment that a second admin decides about, or has decided about."""

    adjustment_id: str
    status: Literal["waits_for_second_admin", "posted", "rejected"]
    user_id: str
    type: str
    amount: RupeesOut
    reason: str
    by: str
    at: Instant
    decided_by: str | None
    decided_at: Instant | None
    transaction_id: str | None


class WaitingListOut(BaseModel):
    """A page of the adjustments that wait for a second admin, the oldest first."""

    adjustments: list[WaitingOut]
    next_cursor: str | None


class ReasonIn(BaseModel):
    """Why."""

    reason: Reason


class FrozenOut(BaseModel):
    """Whether calls are stopped now, and whether this request changed that."""

    user_id: str
    frozen: bool
    changed: bool


class ByHandOut(BaseModel):
    """One thing that was done by hand. `subject_id`: what it was about, where that is something else
    than the wallet; `status` and `decided_by`: of one that a second admin decides about."""

    action: str
    reason: str
    by: str
    transaction_id: str | None
    at: Instant
    subject_id: str | None = None
    amount: RupeesOut | None = None
    status: Literal["waits_for_second_admin", "posted", "rejected"] | None = None
    decided_by: str | None = None


class ByHandListOut(BaseModel):
    """A page of what was done by hand, the newest first."""

    adjustments: list[ByHandOut]
    next_cursor: str | None


class OwnRateIn(BaseModel):
    """The user's own rate, in rupees a minute; null takes it away."""

    rate: RupeesIn | None


class OwnRateSet(BaseModel):
    """The user's own rate as it is now (null: none), and who set it."""

    user_id: str
    rate_per_minute: RupeesOut | None
    currency: str = "INR"
    updated_at: Instant
    updated_by: str


# --- routes -------------------------------------------------------------------------------------


@router.get("", response_model=PeopleOut, responses=problems.documented(InvalidRequest))
async def show_people(
    _: Operator,
    page: PageOfAnyCursor,
    search: Annotated[str | None, Query(max_length=100)] = None,
    low_balance: bool | None = None,
) -> PeopleOut:
    """Users with their balances, newest first; by a part of the e-mail address, name or phone."""
    found, next_cursor = await customers.list_customers(
        search=search, low_balance=low_balance, limit=page.limit, cursor=page.cursor
    )
    prices = await rates.list_own_rates(person["_id"] for person, _ in found)
    return PeopleOut(
        users=[
            _customer_out(person, balance, prices.get(person["_id"])) for person, balance in found
        ],
        next_cursor=next_cursor,
    )


@router.post(
    "/{user_id}/adjustments",
    status_code=201,
    response_model=AdjustmentOut,
    responses={
        202: {"model": WaitingOut, "description": "It waits for a second admin"},
        **problems.documented(
            NotFound, InvalidRequest, InsufficientBalance, BalanceHeld, OwnWallet
        ),
    },
)
async def post_adjustment(
    user_id: str, body: AdjustmentIn, admin: Admin, once: IdempotentRequired
) -> Response:
    """Credit or debit a wallet by hand, once for each `Idempotency-Key`. Above
    `ADJUSTMENT_CONFIRM_ABOVE` it waits for a second admin: 202."""

    await users.get_user(user_id)

    async def work(seed: str) -> Answer:
        facts = {"reason": body.reason, "by": admin.id, "seed": seed}
        if wallet.needs_second_admin(body.amount):
            record = await wallet.propose_adjustment(
                user_id, kind=body.type, amount_paise=body.amount, **facts
            )
            return Answer(202, _waiting_out(record))
        entry, balance_paise = await wallet.adjust(
            user_id, kind=body.type, amount_paise=body.amount, **facts
        )
        return Answer(201, _posted_out(entry, balance_paise, by=admin.id))

    return await once(admin.id, work)


@adjustments.get("", response_model=WaitingListOut)
async def list_waiting(_: Operator, page: Page) -> WaitingListOut:
    """The adjustments that wait for a second admin, the oldest first."""
    rows, next_cursor = await wallet.list_waiting_adjustments(limit=page.limit, cursor=page.cursor)
    return WaitingListOut(adjustments=[_waiting_out(row) for row in rows], next_cursor=next_cursor)


@adjustments.post(
    "/{adjustment_id}/confirm",
    response_model=AdjustmentOut,
    responses=problems.documented(
        NotFound,
        OwnWallet,
        SameAdmin,
        AlreadyDecided,
        InsufficientBalance,
        BalanceHeld,
    ),
)
async def confirm(adjustment_id: str, admin: Admin) -> AdjustmentOut:
    """Post an adjustment that another admin asked for. Harmless when repeated."""
    record, entry, balance_paise = await wallet.confirm_adjustment(adjustment_id, by=admin.id)
    return _posted_out(entry, balance_paise, by=record["by"])


@adjustments.post(
    "/{adjustment_id}/reject",
    response_model=WaitingOut,
    responses=problems.documented(NotFound, OwnWallet, SameAdmin, AlreadyDecided),
)
async def reject(adjustment_id: str, admin: Admin) -> WaitingOut:
    """Refuse an adjustment that another admin asked for. Harmless when repeated."""
    return _waiting_out(await wallet.reject_adjustment(adjustment_id, by=admin.id))


@router.get(
    "/{user_id}/adjustments",
    response_model=ByHandListOut,
    response_model_exclude_unset=True,
    responses=problems.documented(NotFound, InvalidRequest),
)
async def get_adjustments(
    user_id: str,
    _: Operator,
    page: Page,
) -> ByHandListOut:
    """What was done to a wallet by hand: who, what, why."""
    await users.get_user(user_id)
    rows, next_cursor = await wallet.list_adjustments(user_id, limit=page.limit, cursor=page.cursor)
    return ByHandListOut(adjustments=[by_hand_out(row) for row in rows], next_cursor=next_cursor)


@router.post("/{user_id}/freeze", response_model=FrozenOut, responses=problems.documented(NotFound))
async def post_freeze(user_id: str, body: ReasonIn, admin: Admin) -> FrozenOut:
    """No new calls; the live ones are ended. Harmless when repeated."""
    await users.get_user(user_id)
    changed = await wallet.set_frozen(user_id, frozen=True, reason=body.reason, by=admin.id)
    return FrozenOut(user_id=user_id, frozen=True, changed=changed)


@router.post(
    "/{user_id}/unfreeze", response_model=FrozenOut, responses=problems.documented(NotFound)
)
async def post_unfreeze(user_id: str, body: ReasonIn, admin: Admin) -> FrozenOut:
    """Calls are possible again, and campaigns that waited go on. Harmless when repeated."""
    await users.get_user(user_id)
    changed = await wallet.set_frozen(user_id, frozen=False, reason=body.reason, by=admin.id)
    return FrozenOut(user_id=user_id, frozen=False, changed=changed)


@router.post(
    "/{user_id}/call-rate",
    response_model=OwnRateSet,
    responses=problems.documented(NotFound),
)
async def set_own_rate(user_id: str, body: OwnRateIn, admin: Admin) -> OwnRateSet:
    """Give a user a rate of their own for calls placed from now on; null takes it away. It comes
    before the rate card's prices and the single rate."""
    kept = await rates.set_own_rate(user_id, body.rate, by=admin.email)
    return OwnRateSet(
        user_id=user_id,
        rate_per_minute=kept["rate_paise_per_minute"],
        updated_at=kept["updated_at"],
        updated_by=kept["updated_by"],
    )


# --- how a user and an adjustment are shown -----------------------------------------------------


def _customer_out(person: PublicUser, balance: Balance, own_rate_paise: int | None) -> PersonOut:
    return PersonOut(
        id=person["_id"],
        email=person["email"],
        name=person["name"],
        phone=person["phone"],
        role=person["role"],
        created_at=person["created_at"],
        balance=balance.balance_paise,
        held=balance.held_paise,
        available=balance.available_paise,
        due=balance.due_paise,
        low_balance=balance.low,
        call_rate=own_rate_paise,
        frozen=balance.frozen,
    )


def by_hand_out(record: Adjustment) -> ByHandOut:
    """How a manual change is shown."""
    shown = ByHandOut(
        action=record["action"],
        reason=record["reason"],
        by=record["by"],
        transaction_id=record["transaction_id"],
        at=record["at"],
    )
    if "subject_id" in record:
        shown.subject_id = record["subject_id"]
    if "amount_paise" in record:
        shown.amount = int(record["amount_paise"])
    if "status" in record:
        shown.status, shown.decided_by = _status_of(record), record.get("decided_by")
    return shown


def _status_of(
    record: Adjustment,
) -> Literal["waits_for_second_admin", "posted", "rejected"] | None:
    status = record.get("status")
    return "waits_for_second_admin" if status == "waiting" else status


def _waiting_out(record: Adjustment) -> WaitingOut:
    status = _status_of(record)
    assert status is not None
    return WaitingOut(
        adjustment_id=record["_id"],
        status=status,
        user_id=record["user_id"],
        type=record["action"],
        amount=int(record["amount_paise"]),
        reason=record["reason"],
        by=record["by"],
        at=record["at"],
        decided_by=record.get("decided_by"),
        decided_at=record.get("decided_at"),
        transaction_id=record["transaction_id"],
    )


def _posted_out(entry: Entry, balance_paise: int, *, by: str) -> AdjustmentOut:
    return AdjustmentOut(
        id=entry.id,
        user_id=entry.user_id,
        seq=entry.seq,
        type=entry.type,
        category=entry.category,
        amount=entry.amount_paise,
        balance_after=entry.balance_after_paise,
        balance=balance_paise,
        description=entry.description,
        by=by,
        created_at=entry.created_at,
    )
