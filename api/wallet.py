"""Wallet routes: the balance and the call rate."""

import datetime as dt
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

import wallet
from api import fields, problems
from api.dependencies import Admin, CurrentUser, may_see
from api.fields import Instant, RateIn, RequestModel, RupeesOut
from auth import audit_log
from auth.audit_log import Target
from billing import rates
from billing.pricing import Rate, Source
from billing.rate_cards import DestinationNotRated
from core import config, money, phone_numbers
from core.errors import Forbidden, InvalidRequest, invalid
from core.phone_numbers import DestinationNotAllowed, InvalidNumber
from reporting import analytics

router = APIRouter(prefix="/api/wallet", tags=["wallet"], route_class=problems.Route)


class BalanceOut(BaseModel):
    """A wallet as its owner sees it, in rupees."""

    balance: RupeesOut
    held: RupeesOut
    available: RupeesOut
    due: RupeesOut
    currency: str
    minimum_balance: RupeesOut
    low_balance: bool
    frozen: bool


@router.get("/balance", response_model=BalanceOut)
async def balance(user: CurrentUser) -> BalanceOut:
    """The balance, what of it is reserved, what is owed, and whether it is frozen."""
    found = await wallet.get_balance(user.id)
    return BalanceOut(
        balance=found.balance_paise,
        held=found.held_paise,
        available=found.available_paise,
        due=found.due_paise,
        currency="INR",
        minimum_balance=config.settings().minimum_balance_paise,
        low_balance=found.low,
        frozen=found.frozen,
    )


class DayOut(BaseModel):
    """A day in India. `spent` is what the wallet paid for calls that day, `charged_calls` how many."""

    date: dt.date
    recharged: RupeesOut
    recharges: int
    spent: RupeesOut
    charged_calls: int


class DaysOut(BaseModel):
    """What a wallet received and paid, day by day, the oldest first; and all of them together."""

    user_id: str
    recharged: RupeesOut
    spent: RupeesOut
    charged_calls: int
    days: list[DayOut]


@router.get("/days", response_model=DaysOut, responses=problems.documented(Forbidden))
async def days(
    user: CurrentUser,
    from_: Annotated[fields.When, Query(alias="from")] = None,
    to: fields.When = None,
    user_id: Annotated[
        str | None, Query(max_length=100, description="Whose; operators and admins only")
    ] = None,
) -> DaysOut:
    """Recharges and spending of each day, over a range of days: the last thirty unless given."""
    whose = user.id if user_id is None else user_id
    if not may_see(user, whose):
        raise Forbidden("Only an operator may look at another user's wallet.")
    windows = analytics.windows_of(fields.period_of(from_, to))
    found = await analytics.days_of(whose, windows)
    return DaysOut(
        user_id=whose,
        recharged=sum(day.recharged_paise for day in found.values()),
        spent=sum(day.spent_paise for day in found.values()),
        charged_calls=sum(day.charged_call_count for day in found.values()),
        days=[
            DayOut(
                date=date,
                recharged=day.recharged_paise,
                recharges=day.recharge_count,
                spent=day.spent_paise,
                charged_calls=day.charged_call_count,
            )
            for date, day in found.items()
        ],
    )


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


@router.get(
    "/call-rate",
    response_model=CallRate,
    responses=problems.documented(
        InvalidRequest, InvalidNumber, DestinationNotAllowed, DestinationNotRated
    ),
)
async def call_rate(
    user: CurrentUser,
    to: Annotated[str | None, Query(min_length=1, max_length=phone_numbers.TEXT_LENGTH_MAX)] = None,
) -> CallRate:
    """What a call that is placed now costs: to `to`, or, without it, the user's own rate or the
    single one. While `rate_card_version` is there, prices depend on the destination."""
    rate: Rate
    if to is not None:
        rate = await rates.get_rate(user.id, phone_numbers.checked(to))
    else:
        rate = await rates.find_likely_rate(user.id) or await rates.get_current_rate()
    return CallRate(
        rate_per_minute=rate.rate_paise_per_minute,
        pulse_seconds=rate.pulse_seconds,
        first_pulse_seconds=rate.opening_seconds,
        minimum_billable_seconds=rate.minimum_billable_seconds,
        connection_fee=rate.connection_fee_paise,
        source=rate.source,
        rate_card_version=await rates.find_rate_card_version(),
    )


class CallRateSet(BaseModel):
    """The rate as it is now, and who set it."""

    rate_per_minute: RupeesOut
    currency: str = "INR"
    updated_at: Instant
    updated_by: str


class CallRateIn(RequestModel):
    """The new rate, in rupees a minute."""

    rate: RateIn


@router.post(
    "/set-call-rate",
    response_model=CallRateSet,
)
async def set_call_rate(
    admin: Admin,
    rate: Annotated[
        str | None,
        Query(max_length=40),
        fields.rate_schema,
    ] = None,
    body: CallRateIn | None = None,
) -> CallRateSet:
    """Set the rate of calls that are placed from now on: `?rate=15.0`, or a JSON body `{rate}`."""
    asked: list[int] = [body.rate] if body is not None else []
    if rate is not None:
        try:
            asked.append(money.paise_of_text(rate))
        except ValueError as problem:
            raise invalid("rate", str(problem)) from None
    if not asked:
        raise invalid("rate", "is missing: send ?rate=15.0 or a JSON body with rate")
    if len(set(asked)) > 1:
        raise invalid("rate", "the query and the body name two different rates")
    before = await rates.get_current_rate()
    kept = await rates.set_current_rate(asked[0], by=admin.email)
    audit_log.describe(
        "rate.set",
        Target("rate", "call_rate_per_minute"),
        before={"rate_paise_per_minute": before.rate_paise_per_minute},
        after={"rate_paise_per_minute": asked[0]},
    )
    return CallRateSet(
        rate_per_minute=kept["rate_paise_per_minute"],
        updated_at=kept["updated_at"],
        updated_by=kept["updated_by"],
    )
