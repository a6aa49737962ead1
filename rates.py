"""What a minute costs: the one current rate, and every rate there ever was."""

import dataclasses
from typing import Annotated, Final

from fastapi import APIRouter, Query
from pydantic import BaseModel, WithJsonSchema

import api
import clock
import config
import database
import money
from auth import Admin, CurrentUser, Instant
from database import Document, Index, Insert, Session, Update, Write
from errors import Forbidden, InvalidRequest, Unauthenticated
from money import RupeesIn, RupeesOut

# --- vocabulary ---------------------------------------------------------------------------------

RATE_PAISE_MAX: Final = 1_000_00  # Rs 1,000 a minute: above it somebody meant paise

_CURRENT = "current"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """What a call costs; a snapshot of it goes with every call that is placed."""

    rate_paise_per_minute: int
    pulse_seconds: int = 1
    minimum_billable_seconds: int = 0
    connection_fee_paise: int = 0


# --- verbs --------------------------------------------------------------------------------------


async def current() -> Rate:
    """The rate of this moment: what an admin set last, else `DEFAULT_CALL_RATE`.

    It is read for every call (calls that start at the same moment share the query), so a new rate
    holds in every process as soon as it is committed.
    """
    found = await database.find_together("rates", _CURRENT)
    return _rate(found)


async def set_rate(rate_paise_per_minute: int, *, by: str) -> Document:
    """Make this the rate of calls that are placed from now on; what is kept of it.

    `by` names the admin. Raises InvalidRequest outside of 0 < rate ≤ `RATE_PAISE_MAX`.
    """
    if not 0 < rate_paise_per_minute <= RATE_PAISE_MAX:
        raise _invalid(f"must be above 0 and at most {money.text(RATE_PAISE_MAX)} rupees a minute")
    kept: Document = {
        "rate_paise_per_minute": database.long(rate_paise_per_minute),
        "updated_at": clock.now(),
        "updated_by": by,
    }
    row = {"_id": database.new_id("rate"), **kept}

    async def both(session: Session) -> None:
        writes: list[Write] = [
            Update("rates", {"_id": _CURRENT}, {"$set": kept}, upsert=True),
            Insert("rates", row),
        ]
        await database.write_all(writes, session)

    await database.atomic(both)
    return kept


def _rate(found: Document | None) -> Rate:
    chosen = config.settings()
    return Rate(
        rate_paise_per_minute=(
            int(found["rate_paise_per_minute"]) if found else chosen.default_call_rate_paise
        ),
        pulse_seconds=chosen.pulse_seconds,
        minimum_billable_seconds=chosen.minimum_billable_seconds,
        connection_fee_paise=chosen.connection_fee_paise,
    )


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
            "rate_paise_per_minute": {"bsonType": "long", "minimum": 1, "maximum": RATE_PAISE_MAX},
            "updated_at": {"bsonType": "date"},
            "updated_by": {"bsonType": "string"},
        },
    },
)


# --- routes -------------------------------------------------------------------------------------

router = APIRouter(prefix="/api/wallet", tags=["wallet"])


class CallRate(BaseModel):
    """What a call costs, in rupees a minute."""

    rate_per_minute: RupeesOut
    currency: str = "INR"
    pulse_seconds: int
    minimum_billable_seconds: int
    connection_fee: RupeesOut


class CallRateSet(BaseModel):
    """The rate as it is now, and who set it."""

    rate_per_minute: RupeesOut
    currency: str = "INR"
    updated_at: Instant
    updated_by: str


class CallRateIn(BaseModel):
    """The new rate, in rupees a minute."""

    rate: RupeesIn


@router.get("/call-rate", response_model=CallRate, responses=api.documented(Unauthenticated))
async def call_rate(user: CurrentUser) -> CallRate:
    """What a call that is placed now costs."""
    rate = await current()
    return CallRate(
        rate_per_minute=rate.rate_paise_per_minute,
        pulse_seconds=rate.pulse_seconds,
        minimum_billable_seconds=rate.minimum_billable_seconds,
        connection_fee=rate.connection_fee_paise,
    )


@router.post(
    "/set-call-rate",
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
