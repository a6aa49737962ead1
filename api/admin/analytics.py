"""Admin routes of analytics: the figures of a period."""

import datetime as dt
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from api import downloads, fields, problems
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
    recharges: int
    recharged: RupeesOut
    spent: RupeesOut
    calls: int
    call_cost: RupeesOut
    failed_payments: int


class FailureReasonOut(BaseModel):
    """A reason for which payments failed, as Razorpay says it; both are empty where it said nothing, and
    `other` those that are not told apart."""

    reason: str
    code: str
    count: int


class MetricsOut(BaseModel):
    """The wallets, the live calls and the payments in review as they are now; recharges, payments and
    calls of the range, which is `from` to `to`."""

    from_: dt.date = Field(serialization_alias="from")
    to: dt.date
    users: int
    total_wallet_balance: RupeesOut
    total_held: RupeesOut
    total_due: RupeesOut
    low_balance_users: int
    recharges: RechargesOut
    failed_payments: int
    failed_payments_by_reason: list[FailureReasonOut]
    calls: CallsOut
    live_calls: int
    payments_in_review: int
    series: list[DayOut]


@router.get("/metrics", response_model=MetricsOut)
async def show_metrics(
    _: Operator,
    from_: Annotated[fields.When, Query(alias="from")] = None,
    to: fields.When = None,
) -> MetricsOut:
    """The figures to watch, over a range of days: the last thirty unless given."""
    windows = analytics.windows_of(fields.period_of(from_, to))
    found = await analytics.metrics(windows)
    total, held = found.total, found.holdings
    # A user without a wallet has a balance of zero.
    without_wallet = max(0, found.user_count - held.wallet_count)
    return MetricsOut(
        from_=windows[0].day,
        to=windows[-1].day,
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
        failed_payments=sum(found.failures.by_day.values()),
        failed_payments_by_reason=_reasons(found.failures),
        calls=CallsOut(
            count=total.call_count,
            answered=total.answered_count,
            total_cost=total.cost_paise,
            average_cost=_average(total.cost_paise, total.answered_count),
        ),
        live_calls=found.live_call_count,
        payments_in_review=found.payments_in_review_count,
        series=[
            DayOut(
                date=date,
                recharges=day.recharge_count,
                recharged=day.recharged_paise,
                spent=day.spent_paise,
                calls=day.call_count,
                call_cost=day.cost_paise,
                failed_payments=found.failures.by_day.get(date, 0),
            )
            for date, day in found.days.items()
        ],
    )


@router.get(
    "/metrics/download",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/csv": {}}, "description": "The CSV"}},
)
async def download_metrics(
    _: Operator,
    from_: Annotated[fields.When, Query(alias="from")] = None,
    to: fields.When = None,
) -> StreamingResponse:
    """The days of the range as CSV, oldest first; amounts in rupees."""
    windows = analytics.windows_of(fields.period_of(from_, to))
    name = f"overview-{windows[0].day}-to-{windows[-1].day}.csv"
    return await downloads.attachment(analytics.csv_of(windows), name)


def _reasons(failures: analytics.Failures) -> list[FailureReasonOut]:
    shown = [
        FailureReasonOut(reason=each.reason, code=each.code, count=each.count)
        for each in failures.reasons
    ]
    if failures.other_count:
        shown.append(FailureReasonOut(reason="other", code="", count=failures.other_count))
    return shown


def _average(paise: int, count: int) -> int:
    return money.div_half_up(paise, count) if count else 0
