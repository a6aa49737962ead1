"""Settlements: Razorpay's payouts to our bank, matched line by line, with fees and taxes."""

import datetime as dt
from dataclasses import dataclass, field
from typing import TypedDict, cast

import gateway
import payments
import refunds
from core import clock, database, pagination
from core.database import Index, db
from gateway.entities import SettlementLine

# --- vocabulary ---------------------------------------------------------------------------------

_UNMATCHED_KEPT = 100
_LATEST = pagination.newest_first("day", str)


database.declare(
    "settlements",
    indexes=[Index(("-day", "-_id"))],
    schema={
        "bsonType": "object",
        "required": ["day", "utr", "gross_paise", "fee_paise", "tax_paise", "net_paise"],
        "properties": {
            name: {"bsonType": "long"}
            for name in ("gross_paise", "fee_paise", "tax_paise", "refunded_paise", "net_paise")
        },
    },
)


class Settlement(TypedDict):
    """A record of `settlements`: what Razorpay paid out at once."""

    _id: str  # Razorpay's
    day: str  # in India, 2026-01-31
    utr: str  # of the bank transfer
    settled_at: dt.datetime | None
    lines: int
    gross_paise: int
    fee_paise: int  # includes the tax
    tax_paise: int
    refunded_paise: int
    net_paise: int
    unmatched: list[str]  # the first of the ids that match none of our records
    updated_at: dt.datetime


@dataclass(slots=True)
class _Sum:
    """The sums over the lines of one settlement."""

    utr: str
    settled_at: dt.datetime | None
    lines: int = 0
    gross_paise: int = 0
    fee_paise: int = 0
    tax_paise: int = 0
    refunded_paise: int = 0
    net_paise: int = 0
    unmatched: list[str] = field(default_factory=list)


# --- verbs --------------------------------------------------------------------------------------


async def match_day(
    day: dt.date, missed: gateway.OnUnreadable | None = None
) -> tuple[int, list[str]]:
    """Match what was settled on a day in India; how many lines there were, and the ids of those
    that match none of our records.

    Every payment is stored with its fee (which includes the tax), its tax and its settlement; every
    settlement with the sums of its lines. The fee is ours, not the user's, so no wallet changes.
    Idempotent: the same lines lead to the same documents. A line that cannot be parsed is passed to
    `missed`. Raises GatewayUnavailable, GatewayRefused.
    """
    sums: dict[str, _Sum] = {}
    count, unmatched = 0, []
    async for page in gateway.settlement_lines(day, missed):
        for line in page:
            if not line.settled or not line.settlement_id:
                continue
            count += 1
            total = sums.setdefault(line.settlement_id, _Sum(line.utr, line.settled_at))
            _add(total, line)
            if not await _matches(line):
                unmatched.append(line.entity_id)
                total.unmatched.append(line.entity_id)
    for settlement_id, total in sums.items():
        record = _record(settlement_id, total, day)
        await db.settlements.update_one({"_id": settlement_id}, {"$set": record}, upsert=True)
    return count, unmatched


async def list_settlements(
    *, limit: int, cursor: str | None
) -> tuple[list[Settlement], str | None]:
    """Settlements, the latest first, and the next cursor."""
    found = db.settlements.find(_LATEST.behind(cursor), sort=_LATEST.sort)
    return _LATEST.cut(cast(list[Settlement], await found.to_list(limit + 1)), limit)


def _add(total: _Sum, line: SettlementLine) -> None:
    total.lines += 1
    total.net_paise += line.credit_paise - line.debit_paise
    if line.type == "payment":
        total.gross_paise += line.amount_paise
        total.fee_paise += line.fee_paise
        total.tax_paise += line.tax_paise
    else:
        total.refunded_paise += line.debit_paise - line.credit_paise


async def _matches(line: SettlementLine) -> bool:
    """Whether the line settles a record of ours; then the settlement is stored there."""
    if line.type == "payment":
        return await payments.record_settlement(
            line.entity_id,
            fee_paise=line.fee_paise,
            tax_paise=line.tax_paise,
            settlement_id=line.settlement_id,
            settled_at=line.settled_at,
        )
    if line.type == "refund":
        return await refunds.find_refund_by_gateway_id(line.entity_id) is not None
    return line.type != "transfer"  # adjustments: disputes and Razorpay's own corrections


def _record(settlement_id: str, total: _Sum, day: dt.date) -> Settlement:
    return {
        "_id": settlement_id,
        "day": day.isoformat(),
        "utr": total.utr,
        "settled_at": total.settled_at,
        "lines": total.lines,
        "gross_paise": database.long(total.gross_paise),
        "fee_paise": database.long(total.fee_paise),
        "tax_paise": database.long(total.tax_paise),
        "refunded_paise": database.long(total.refunded_paise),
        "net_paise": database.long(total.net_paise),
        "unmatched": total.unmatched[:_UNMATCHED_KEPT],
        "updated_at": clock.now(),
    }
