"""Quotes over HTTP: the rate of a call, and what it would cost, before it is placed."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

import api
import billing
import rates
import tariffs
from auth import CurrentUser
from errors import InvalidRequest, Unauthenticated
from money import RupeesOut
from ratecards import DestinationNotRated
from rates import Rate, Source
from telephony import numbers
from telephony.numbers import DestinationNotAllowed, InvalidNumber

# --- vocabulary ---------------------------------------------------------------------------------

Phone = Annotated[str, Field(min_length=1, max_length=numbers.TEXT_LENGTH_MAX)]

# --- routes -------------------------------------------------------------------------------------

router = APIRouter()


class CallRate(BaseModel):
    """What a call costs, in rupees a minute, and where that comes from."""

    rate_per_minute: RupeesOut
    currency: str = "INR"
    pulse_seconds: int
    first_pulse_seconds: int
    minimum_billable_seconds: int
    connection_fee: RupeesOut
    source: Source
    rate_card_version: int | None


class QuoteIn(BaseModel):
    """A call to price."""

    to: Phone
    duration_seconds: Annotated[int, Field(strict=True, ge=0, le=86_400)]


class QuoteOut(BaseModel):
    """What it would cost at the rate of this moment, and what that is computed from."""

    cost: RupeesOut
    rate_per_minute: RupeesOut
    billable_seconds: int
    pulse_count: int
    first_pulse_seconds: int
    pulse_seconds: int
    minimum_billable_seconds: int
    connection_fee: RupeesOut
    rate_source: Source
    rate_card_version: int | None
    rate_prefix: str | None
    explanation: str


@router.get(
    "/api/wallet/call-rate",
    tags=["wallet"],
    response_model=CallRate,
    responses=api.documented(
        Unauthenticated, InvalidRequest, InvalidNumber, DestinationNotAllowed, DestinationNotRated
    ),
)
async def call_rate(
    user: CurrentUser,
    to: Annotated[str | None, Query(min_length=1, max_length=numbers.TEXT_LENGTH_MAX)] = None,
) -> CallRate:
    """What a call that is placed now costs: to `to`, or, without it, the user's own rate or the
    single one. While `rate_card_version` is there, prices depend on the destination."""
    rate: Rate
    if to is not None:
        rate = await tariffs.rate_for(user.id, numbers.checked(to))
    else:
        rate = await tariffs.likely(user.id) or await rates.current()
    return CallRate(
        rate_per_minute=rate.rate_paise_per_minute,
        pulse_seconds=rate.pulse_seconds,
        first_pulse_seconds=rate.opening_seconds,
        minimum_billable_seconds=rate.minimum_billable_seconds,
        connection_fee=rate.connection_fee_paise,
        source=rate.source,
        rate_card_version=await tariffs.card_version(),
    )


@router.post(
    "/api/calls/quote",
    tags=["calls"],
    response_model=QuoteOut,
    responses=api.documented(
        Unauthenticated, InvalidRequest, InvalidNumber, DestinationNotAllowed, DestinationNotRated
    ),
)
async def quote(user: CurrentUser, body: QuoteIn) -> QuoteOut:
    """What a call would cost: computed by the code that charges."""
    rate = await tariffs.rate_for(user.id, numbers.checked(body.to))
    return QuoteOut(
        cost=billing.cost_paise(body.duration_seconds, rate),
        rate_per_minute=rate.rate_paise_per_minute,
        billable_seconds=billing.billable_seconds(body.duration_seconds, rate),
        pulse_count=billing.pulse_count(body.duration_seconds, rate),
        first_pulse_seconds=rate.opening_seconds,
        pulse_seconds=rate.pulse_seconds,
        minimum_billable_seconds=rate.minimum_billable_seconds,
        connection_fee=rate.connection_fee_paise,
        rate_source=rate.source,
        rate_card_version=rate.card_version,
        rate_prefix=rate.prefix,
        explanation=billing.explanation(body.duration_seconds, rate),
    )
