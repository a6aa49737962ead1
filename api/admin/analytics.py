"""Admin routes of analytics: the figures of a period."""

import datetime as dt
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from api import fields, problems
from api.dependencies import Operator
from api.fields import RupeesOut
from core import money
from reporting import analytics

router = APIRouter(prefix="/api/admin", tags=["admin"], route_class=problems.Route)


class RechargesOut(BaseModel):
    """Money that came in through Razorpay in the range."""

    count: int
    total: RupeesOut
    average: RupeesOut


class CallsOut(BaseModel):
    """Calls placed in the range. `average_cost` is that of an answered call."""

    count: int
    answered: int
    total_cost: RupeesOut
    average_cost: RupeesOut


class DayOut(BaseModel):
    """A day in India. `spent` is what wallets paid for calls that day."""

    date: dt.date
    recharged: RupeesOut
    spent: RupeesOut
    calls: int
    call_cost: RupeesOut
    failed_payments: int


class MetricsOut(BaseModel):
    """The wallets as they are now; recharges, payments and calls of the range."""

    users: int
    total_wallet_balance: RupeesOut
    total_held: RupeesOut
    total_due: RupeesOut
    low_balance_users: int
    recharges: RechargesOut
    failed_payments: int
    calls: CallsOut
    series: list[DayOut]


@router.get("/metrics", response_model=MetricsOut)
async def show_metrics(
    _: Operator,
    from_: Annotated[fields.When, Query(alias="from")] = None,
    to: fields.When = None,
) -> MetricsOut:
    """The figures to watch, over a range of days: the last thirty unless given."""
    found = await analytics.metrics(analytics.windows_of(fields.period_of(from_, to)))
    total, held = found.total, found.holdings
    # A user without a wallet has a balance of zero.
    without_wallet = max(0, found.user_count - held.wallet_count)
    return MetricsOut(
        users=found.user_count,
        total_wallet_balance=held.balance_paise,
        total_held=held.held_paise,
        total_due=held.due_paise,
        low_balance_users=held.low_count + without_wallet,
        recharges=RechargesOut(
            count=total.recharge_count,
            total=total.recharged_paise,
            average=_average(total.recharged_paise, total.recharge_count),
        ),
        failed_payments=sum(found.failed_payments.values()),
        calls=CallsOut(
            count=total.call_count,
            answered=total.answered_count,
            total_cost=total.cost_paise,
            average_cost=_average(total.cost_paise, total.answered_count),
        ),
        series=[
            DayOut(
                date=date,
                recharged=day.recharged_paise,
                spent=day.spent_paise,
                calls=day.call_count,
                call_cost=day.cost_paise,
                failed_payments=found.failed_payments.get(date, 0),
            )
            for date, day in found.days.items()
        ],
    )


def _average(paise: int, count: int) -> int:
    return money.div_half_up(paise, count) if count else 0
