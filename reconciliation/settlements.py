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

    Every payment is stored with its fee (which includes the tax), its tax and its settlement, every
    refund with its settlement; every settlement with the sums of its lines. The fee is ours, not the
    user's, so no wallet changes. Idempotent: the same lines lead to the same documents, and write
    nothing. A line that cannot be parsed is passed to `missed`. Raises GatewayUnavailable,
    GatewayRefused.
    """
    sums: dict[str, _Sum] = {}
    count, unmatched = 0, []
    async for page in gateway.settlement_lines(day, missed):
        lines = [line for line in page if line.settled and line.settlement_id]
        count += len(lines)
        ours = await _record_lines(lines)
        for line in lines:
            total = sums.setdefault(line.settlement_id, _Sum(line.utr, line.settled_at))
            _add(total, line)
            if line.type in ("payment", "refund", "transfer") and line.entity_id not in ours:
                unmatched.append(line.entity_id)
                total.unmatched.append(line.entity_id)
    await _record_sums({key: _record(key, total, day) for key, total in sums.items()})
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


async def _record_lines(lines: list[SettlementLine]) -> set[str]:
    """Store the settlement with our payments and refunds of these lines; the ids that are ours.

    Adjustments are disputes and Razorpay's own corrections: they match nothing, and need not."""
    of_payments: dict[str, payments.Settled] = {}
    of_refunds: dict[str, refunds.Settled] = {}
    for line in lines:
        if line.type == "payment":
            of_payments[line.entity_id] = {
                "fee_paise": database.long(line.fee_paise),
                "tax_paise": database.long(line.tax_paise),
                "settlement_id": line.settlement_id,
                "settled_at": line.settled_at,
            }
        elif line.type == "refund":
            of_refunds[line.entity_id] = {
                "settlement_id": line.settlement_id,
                "settled_at": line.settled_at,
            }
    ours = await payments.record_settlements(of_payments) if of_payments else set()
    return ours | (await refunds.record_settlements(of_refunds) if of_refunds else set())


async def _record_sums(records: dict[str, Settlement]) -> None:
    """Store the settlements that differ from what is stored."""
    found = db.settlements.find({"_id": {"$in": list(records)}})
    stored = {each["_id"]: each for each in cast(list[Settlement], await found.to_list(None))}
    for settlement_id, record in records.items():
        before = stored.get(settlement_id)
        if before is None or record | {"updated_at": before["updated_at"]} != before:
            await db.settlements.update_one({"_id": settlement_id}, {"$set": record}, upsert=True)


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
