"""What a minute costs: the one current rate, the users' own, and every rate there ever was."""

import dataclasses
from collections.abc import Iterable
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, WithJsonSchema

import api
import clock
import config
import database
import money
import users
from auth import Admin, Instant
from database import Document, Index, Insert, Session, Update, Write, db
from errors import Forbidden, InvalidRequest, NotFound, Unauthenticated
from money import RupeesIn, RupeesOut

# --- vocabulary ---------------------------------------------------------------------------------

RATE_PAISE_MAX: Final = 1_000_00  # Rs 1,000 a minute: above it somebody meant paise

Source = Literal[
    "default",  # the single rate
    "user",  # the user's own
    "card",  # the rate card's, for the destination
]

_CURRENT = "current"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """What a call costs; a snapshot of it goes with every call that is placed.

    Talk time is paid for in pulses: the first of `first_pulse_seconds` (None: like the others),
    then of `pulse_seconds` each. `source` says where it comes from; a card's names its version and
    the prefix that matched.
    """

    rate_paise_per_minute: int
    pulse_seconds: int = 1
    first_pulse_seconds: int | None = None
    minimum_billable_seconds: int = 0
    connection_fee_paise: int = 0
    source: Source = "default"
    card_version: int | None = None
    prefix: str | None = None

    @property
    def opening_seconds(self) -> int:
        """The length of the first pulse."""
        return self.first_pulse_seconds or self.pulse_seconds


# --- verbs --------------------------------------------------------------------------------------


async def current() -> Rate:
    """The single rate of this moment: what an admin set last, else `DEFAULT_CALL_RATE`.

    It is read for every call (calls that start at the same moment share the query), so a new rate
    holds in every process as soon as it is committed.
    """
    found = await database.find_together("rates", _CURRENT)
    if found is None:
        return on_our_terms(config.settings().default_call_rate_paise, source="default")
    return on_our_terms(int(found["rate_paise_per_minute"]), source="default")


async def own(user_id: str) -> Rate | None:
    """The rate that an admin set for this user alone, if any."""
    found = await database.find_together("rates", _of(user_id))
    if found is None or found["rate_paise_per_minute"] is None:
        return None
    return on_our_terms(int(found["rate_paise_per_minute"]), source="user")


async def own_prices(user_ids: Iterable[str]) -> dict[str, int]:
    """The paise a minute of those among these users who have a rate of their own."""
    found = db.rates.find({"_id": {"$in": [_of(user_id) for user_id in user_ids]}})
    return {
        row["user_id"]: int(row["rate_paise_per_minute"])
        async for row in found
        if row["rate_paise_per_minute"] is not None
    }


def on_our_terms(rate_paise_per_minute: int, *, source: Source) -> Rate:
    """A price a minute with the pulses, the minimum and the fee of the settings."""
    chosen = config.settings()
    return Rate(
        rate_paise_per_minute=rate_paise_per_minute,
        pulse_seconds=chosen.pulse_seconds,
        first_pulse_seconds=chosen.first_pulse_seconds or chosen.pulse_seconds,
        minimum_billable_seconds=chosen.minimum_billable_seconds,
        connection_fee_paise=chosen.connection_fee_paise,
        source=source,
    )


async def set_rate(rate_paise_per_minute: int, *, by: str) -> Document:
    """Make this the single rate of calls that are placed from now on; what is kept of it.

    `by` names the admin. Raises InvalidRequest outside of 0 < rate ≤ `RATE_PAISE_MAX`.
    """
    return await _keep(_CURRENT, rate_paise_per_minute, by=by, user_id=None)


async def set_own(user_id: str, rate_paise_per_minute: int | None, *, by: str) -> Document:
    """Give this user a rate of their own, or with None take it away; what is kept of it.

    Raises NotFound when there is no such user, and InvalidRequest as `set_rate` does.
    """
    if await users.find(user_id) is None:
        raise NotFound("There is no user with this id.")
    return await _keep(_of(user_id), rate_paise_per_minute, by=by, user_id=user_id)


async def _keep(
    name: str, rate_paise_per_minute: int | None, *, by: str, user_id: str | None
) -> Document:
    """Set what `name` holds, and add the change to those that there were."""
    if rate_paise_per_minute is not None and not 0 < rate_paise_per_minute <= RATE_PAISE_MAX:
        raise _invalid(f"must be above 0 and at most {money.text(RATE_PAISE_MAX)} rupees a minute")
    price = None if rate_paise_per_minute is None else database.long(rate_paise_per_minute)
    kept: Document = {"rate_paise_per_minute": price, "updated_at": clock.now(), "updated_by": by}
    if user_id is not None:
        kept["user_id"] = user_id
    row = {"_id": database.new_id("rate"), **kept}

    async def both(session: Session) -> None:
        writes: list[Write] = [
            Update("rates", {"_id": name}, {"$set": kept}, upsert=True),
            Insert("rates", row),
        ]
        await database.write_all(writes, session)

    await database.atomic(both)
    return kept


def _of(user_id: str) -> str:
    return f"own:{user_id}"


def _invalid(message: str) -> InvalidRequest:
    return InvalidRequest(f"rate: {message}", errors=[{"field": "rate", "message": message}])


# --- storage ------------------------------------------------------------------------------------

database.declare(
    "rates",
    indexes=[Index(("-updated_at",))],
    schema={
        "bsonType": "object",
        "required": ["rate_paise_per_minute", "updated_at", "updated_by"],
        "properties": {
            "rate_paise_per_minute": {
                "bsonType": ["long", "null"],
                "minimum": 1,
                "maximum": RATE_PAISE_MAX,
            },
            "updated_at": {"bsonType": "date"},
            "updated_by": {"bsonType": "string"},
        },
    },
)


# --- routes -------------------------------------------------------------------------------------

router = APIRouter()


class CallRateSet(BaseModel):
    """The rate as it is now, and who set it."""

    rate_per_minute: RupeesOut
    currency: str = "INR"
    updated_at: Instant
    updated_by: str


class CallRateIn(BaseModel):
    """The new rate, in rupees a minute."""

    rate: RupeesIn


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


@router.post(
    "/api/wallet/set-call-rate",
    tags=["wallet"],
    response_model=CallRateSet,
    responses=api.documented(InvalidRequest, Unauthenticated, Forbidden),
)
async def set_call_rate(
    admin: Admin,
    rate: Annotated[
        str | None, Query(max_length=40), WithJsonSchema({"type": "number", "examples": [15.0]})
    ] = None,
    body: CallRateIn | None = None,
) -> CallRateSet:
    """Set the rate of calls that are placed from now on: `?rate=15.0`, or a JSON body `{rate}`."""
    asked: list[int] = [body.rate] if body is not None else []
    if rate is not None:
        try:
            asked.append(money.paise_of_text(rate))
        except ValueError as problem:
            raise _invalid(str(problem)) from None
    if not asked:
        raise _invalid("is missing: send ?rate=15.0 or a JSON body with rate")
    if len(set(asked)) > 1:
        raise _invalid("the query and the body name two different rates")
    kept = await set_rate(asked[0], by=admin.email)
    return CallRateSet(
        rate_per_minute=kept["rate_paise_per_minute"],
        updated_at=kept["updated_at"],
        updated_by=kept["updated_by"],
    )


@router.post(
    "/api/admin/users/{user_id}/call-rate",
    tags=["admin"],
    response_model=OwnRateSet,
    responses=api.documented(InvalidRequest, Unauthenticated, Forbidden, NotFound),
)
async def set_own_rate(user_id: str, body: OwnRateIn, admin: Admin) -> OwnRateSet:
    """Give a user a rate of their own for calls placed from now on; null takes it away. It comes
    before the rate card's prices and the single rate."""
    kept = await set_own(user_id, body.rate, by=admin.email)
    return OwnRateSet(
        user_id=user_id,
        rate_per_minute=kept["rate_paise_per_minute"],
        updated_at=kept["updated_at"],
        updated_by=kept["updated_by"],
    )
