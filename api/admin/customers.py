"""Admin routes of customers: list, create, change, disable; own rates, adjustments, freezing."""

from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

import users
import wallet
from api import downloads, problems
from api.auth import Email, Name, Password, ProfilePhone, SessionOut, session_out
from api.dependencies import Admin, Operator, Page, PageOfAnyCursor
from api.fields import (
    Instant,
    NonNegativeRupeesIn,
    PositiveRupeesIn,
    RateIn,
    Reason,
    RequestModel,
    RupeesOut,
)
from api.idempotency import Answer, Idempotent, IdempotentRequired
from auth import audit_log, sessions
from auth.audit_log import Target
from billing import limits, rates
from core import clock
from core.errors import BalanceHeld, InsufficientBalance, InvalidRequest, NotFound
from ledger import Entry
from reporting import customers
from users import EmailTaken, OwnAccount, OwnLimits, PublicUser, Role, User
from wallet import Adjustment, AlreadyDecided, Balance, OwnWallet, SameAdmin

router = APIRouter(prefix="/api/admin/users", tags=["admin"], route_class=problems.Route)
adjustments = APIRouter(prefix="/api/admin/adjustments", tags=["admin"], route_class=problems.Route)


SHOWN_MAX: Final = 20  # sessions and adjustments in one user's story


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
    disabled: bool


class PeopleOut(BaseModel):
    """A page of users, newest first."""

    users: list[PersonOut]
    next_cursor: str | None


class UserIn(RequestModel):
    """Whose account an admin opens. Without a password the answer has a one-time password; either is to
    be changed at the first log-in."""

    email: Email
    name: Name
    phone: ProfilePhone = None
    role: Role = "user"
    password: Password | None = None


class UserCreated(BaseModel):
    """The account. `one_time_password` is shown until its owner has changed it."""

    id: str
    email: str
    name: str
    phone: str | None
    role: Role
    created_at: Instant
    one_time_password: str | None = None


Calls = Annotated[int, Field(strict=True, ge=0, le=1_000_000)]


class LimitsIn(RequestModel):
    """Limits of this user's calls, instead of those of the settings; null takes one away."""

    concurrent_calls: Annotated[int, Field(strict=True, ge=1, le=100_000)] | None = None
    calls_per_minute: Calls | None = None
    calls_per_day: Calls | None = None
    daily_spend_cap: NonNegativeRupeesIn | None = None


class UserChange(RequestModel):
    """What to change about a user; what is left out stays."""

    role: Role | None = None
    disabled: Annotated[bool, Field(strict=True)] | None = None
    limits: LimitsIn | None = None


class LimitsOut(BaseModel):
    """Limits of a user's calls; null is no limit of that kind."""

    model_config = ConfigDict(from_attributes=True)

    concurrent_calls: int | None = None
    calls_per_minute: int | None = None
    calls_per_day: int | None = None
    daily_spend_cap: RupeesOut | None = Field(None, validation_alias="spend_cap_paise")


class UserOut(PersonOut):
    """One user's whole story. `limits` hold now, `own_limits` are those among them that an admin has set;
    `counts` end at 10,000. `sessions` and `adjustments` are the newest."""

    disabled_at: Instant | None
    second_factor: bool
    password_change_required: bool
    limits: LimitsOut
    own_limits: LimitsOut
    counts: dict[str, int]
    sessions: list[SessionOut]
    adjustments: list["ByHandOut"]


class SessionsEnded(BaseModel):
    """How many sessions have ended by it."""

    user_id: str
    ended: int


class AdjustmentIn(RequestModel):
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


class ReasonIn(RequestModel):
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


class OwnRateIn(RequestModel):
    """The user's own rate, in rupees a minute; null takes it away."""

    rate: RateIn | None


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
    "", status_code=201, response_model=UserCreated, responses=problems.documented(EmailTaken)
)
async def create_user(body: UserIn, admin: Admin, once: Idempotent) -> Response:
    """Open an account for somebody, with a wallet of Rs 0."""

    async def work(seed: str) -> Answer:
        user = await users.create_user(
            user_id=f"usr_{seed}",
            email=body.email,
            name=body.name,
            phone=body.phone,
            role=body.role,
            password=body.password,
        )
        audit_log.describe(
            "user.create", Target("user", user.id), after={"role": user.role, "email": user.email}
        )
        return Answer(201, _created_out(user))

    response = await once(admin.id, work)
    return await _with_one_time_password(response) if body.password is None else response


@router.get(
    "/download",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/csv": {}}, "description": "The CSV"}},
)
async def download_people(
    _: Operator,
    search: Annotated[str | None, Query(max_length=100)] = None,
    low_balance: bool | None = None,
) -> StreamingResponse:
    """The same users as CSV; amounts in rupees, times in India."""
    pieces = customers.csv_of_customers(search=search, low_balance=low_balance)
    return await downloads.attachment(pieces, f"users-{clock.ist_date(clock.now())}.csv")


@router.get("/{user_id}", response_model=UserOut, responses=problems.documented(NotFound))
async def show_user(user_id: str, _: Operator) -> UserOut:
    """One user's whole story."""
    return await _story_of(await users.get_user(user_id))


@router.patch(
    "/{user_id}", response_model=UserOut, responses=problems.documented(NotFound, OwnAccount)
)
async def change_user(user_id: str, body: UserChange, admin: Admin) -> UserOut:
    """Change a user's role, disable or enable the account, or set limits of its calls. Harmless when
    repeated; in force in every process within a second."""
    user = await users.get_user(user_id)
    before = _changeable(user)
    if body.role is not None:
        user = await users.set_role(user_id, body.role, by=admin)
    if body.disabled is not None:
        user = await users.set_disabled(user_id, disabled=body.disabled, by=admin)
    if body.limits is not None:
        user = await users.set_limits(user_id, _limit_changes(body.limits))
    audit_log.describe(
        "user.change", Target("user", user_id), before=before, after=_changeable(user)
    )
    return await _story_of(user)


@router.delete(
    "/{user_id}/sessions", response_model=SessionsEnded, responses=problems.documented(NotFound)
)
async def end_sessions(user_id: str, _: Admin) -> SessionsEnded:
    """End every session of a user. Harmless when repeated."""
    await users.get_user(user_id)
    return SessionsEnded(user_id=user_id, ended=await sessions.revoke_sessions(user_id))


@router.delete(
    "/{user_id}/totp",
    status_code=204,
    response_model=None,
    responses=problems.documented(NotFound, OwnAccount),
)
async def remove_second_factor(user_id: str, admin: Admin) -> Response:
    """Remove the second factor of somebody who has lost the device and the recovery codes, and end their
    sessions. Harmless when repeated."""
    await users.reset_second_factor(user_id, by=admin)
    return Response(status_code=204)


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
            _describe_waiting("adjustment.propose", record)
            return Answer(202, _waiting_out(record))
        entry, balance_paise = await wallet.adjust(
            user_id, kind=body.type, amount_paise=body.amount, **facts
        )
        _describe_posted("adjustment.post", entry, reason=body.reason)
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
    _describe_posted("adjustment.confirm", entry, reason=record["reason"], of=adjustment_id)
    return _posted_out(entry, balance_paise, by=record["by"])


@adjustments.post(
    "/{adjustment_id}/reject",
    response_model=WaitingOut,
    responses=problems.documented(NotFound, OwnWallet, SameAdmin, AlreadyDecided),
)
async def reject(adjustment_id: str, admin: Admin) -> WaitingOut:
    """Refuse an adjustment that another admin asked for. Harmless when repeated."""
    record = await wallet.reject_adjustment(adjustment_id, by=admin.id)
    _describe_waiting("adjustment.reject", record)
    return _waiting_out(record)


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
    _describe_freeze(user_id, frozen=True, changed=changed, reason=body.reason)
    return FrozenOut(user_id=user_id, frozen=True, changed=changed)


@router.post(
    "/{user_id}/unfreeze", response_model=FrozenOut, responses=problems.documented(NotFound)
)
async def post_unfreeze(user_id: str, body: ReasonIn, admin: Admin) -> FrozenOut:
    """Calls are possible again, and campaigns that waited go on. Harmless when repeated. The wallet of a
    disabled account stays frozen until that is enabled."""
    await users.get_user(user_id)
    changed = await wallet.set_frozen(user_id, frozen=False, reason=body.reason, by=admin.id)
    _describe_freeze(user_id, frozen=False, changed=changed, reason=body.reason)
    is_frozen = (await wallet.get_balance(user_id)).frozen
    return FrozenOut(user_id=user_id, frozen=is_frozen, changed=changed)


@router.post(
    "/{user_id}/call-rate",
    response_model=OwnRateSet,
    responses=problems.documented(NotFound),
)
async def set_own_rate(user_id: str, body: OwnRateIn, admin: Admin) -> OwnRateSet:
    """Give a user a rate of their own for calls placed from now on; null takes it away. It comes
    before the rate card's prices and the single rate."""
    before = await rates.find_own_rate(user_id)
    kept = await rates.set_own_rate(user_id, body.rate, by=admin.email)
    audit_log.describe(
        "own_rate.set",
        Target("user", user_id),
        before={"rate_paise_per_minute": before and before.rate_paise_per_minute},
        after={"rate_paise_per_minute": body.rate},
    )
    return OwnRateSet(
        user_id=user_id,
        rate_per_minute=kept["rate_paise_per_minute"],
        updated_at=kept["updated_at"],
        updated_by=kept["updated_by"],
    )


# --- what the audit log has of them -------------------------------------------------------------


def _changeable(user: User) -> dict[str, object]:
    return {"role": user.role, "disabled": user.disabled, "limits": dict(user.limits)}


def _describe_posted(action: str, entry: Entry, *, reason: str, of: str | None = None) -> None:
    """The entry says what the wallet held before: nothing came in between."""
    change_paise = entry.amount_paise if entry.type == "credit" else -entry.amount_paise
    audit_log.describe(
        action,
        Target("user", entry.user_id),
        before={"balance_paise": entry.balance_after_paise - change_paise},
        after={
            "balance_paise": entry.balance_after_paise,
            "transaction_id": entry.id,
            "type": entry.type,
            "amount_paise": entry.amount_paise,
            "reason": reason,
            "adjustment_id": of,
        },
    )


def _describe_waiting(action: str, record: Adjustment) -> None:
    audit_log.describe(
        action,
        Target("user", record["user_id"]),
        after={
            "adjustment_id": record["_id"],
            "type": record["action"],
            "amount_paise": int(record["amount_paise"]),
            "reason": record["reason"],
            "status": record.get("status"),
        },
    )


def _describe_freeze(user_id: str, *, frozen: bool, changed: bool, reason: str) -> None:
    audit_log.describe(
        "wallet.freeze" if frozen else "wallet.unfreeze",
        Target("user", user_id),
        before={"frozen": frozen ^ changed},
        after={"frozen": frozen, "reason": reason},
    )


# --- how a user and an adjustment are shown -----------------------------------------------------


def _created_out(user: User) -> UserCreated:
    return UserCreated(
        id=user.id,
        email=user.email,
        name=user.name,
        phone=user.phone,
        role=user.role,
        created_at=user.created_at,
    )


async def _with_one_time_password(response: Response) -> Response:
    """Add the password to an answer about a user who has not changed it. It is added here, so that the
    answer that is kept for repetitions does not hold it."""
    created = UserCreated.model_validate_json(bytes(response.body))
    user = await users.find_user(created.id)
    if user is None or not user.must_change_password:
        return response
    created.one_time_password = users.one_time_password(created.id)
    replayed = response.headers.get("idempotency-replayed")
    return Response(
        created.model_dump_json(),
        status_code=response.status_code,
        headers={"Idempotency-Replayed": replayed} if replayed else None,
        media_type="application/json",
    )


def _limit_changes(given: LimitsIn) -> dict[str, int | None]:
    """The limits that the request names, as they are stored."""
    changes: dict[str, int | None] = given.model_dump(exclude_unset=True)
    if "daily_spend_cap" in changes:
        changes["spend_cap_paise"] = changes.pop("daily_spend_cap")
    return changes


async def _story_of(user: User) -> UserOut:
    balance = await wallet.get_balance(user.id)
    prices = await rates.list_own_rates([user.id])
    opened, _ = await sessions.list_sessions(user.id, limit=SHOWN_MAX, cursor=None)
    by_hand, _ = await wallet.list_adjustments(user.id, limit=SHOWN_MAX, cursor=None)
    own: OwnLimits = user.limits
    return UserOut(
        id=user.id,
        email=user.email,
        name=user.name,
        phone=user.phone,
        role=user.role,
        created_at=user.created_at,
        balance=balance.balance_paise,
        held=balance.held_paise,
        available=balance.available_paise,
        due=balance.due_paise,
        low_balance=balance.low,
        call_rate=prices.get(user.id),
        frozen=balance.frozen,
        disabled=user.disabled,
        disabled_at=user.disabled_at,
        second_factor=user.has_second_factor,
        password_change_required=user.must_change_password,
        limits=LimitsOut.model_validate(await limits.get_limits(user.id)),
        own_limits=LimitsOut.model_validate(own),
        counts=await customers.count_records(user.id),
        sessions=[session_out(row, current_id=None) for row in opened],
        adjustments=[by_hand_out(row) for row in by_hand],
    )


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
        disabled=person.get("disabled_at") is not None,
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
