"""Razorpay entities: orders, payments, refunds, disputes and settlement lines, parsed and checked.

Parsing is tolerant where nothing depends on it ("" or "NA" for null, notes as a list, unknown and
missing fields), and strict where money does: ids, amounts, states.
"""

import datetime as dt
import re
from dataclasses import dataclass
from typing import Any, Literal, get_args

# --- vocabulary ---------------------------------------------------------------------------------

# The SDK puts ids into URLs unescaped, so only ids of this form may be passed to it.
# Razorpay's ids have 14 characters after the prefix; those of a sandbox may be shorter or longer.
_id_form = re.compile(r"(order|pay|rfnd|disp|setl)_[A-Za-z0-9]{1,40}")

RefundStatus = Literal["pending", "processed", "failed"]
DisputeStatus = Literal["open", "under_review", "won", "lost", "closed"]
_refund_statuses: dict[str, RefundStatus] = {status: status for status in get_args(RefundStatus)}
_dispute_statuses: dict[str, DisputeStatus] = {status: status for status in get_args(DisputeStatus)}


class UnreadableEntity(ValueError):
    """This is not what Razorpay sends: nothing can be concluded from it."""


@dataclass(frozen=True, slots=True)
class Order:
    """A Razorpay order, as far as we read it."""

    id: str
    amount_paise: int
    currency: str
    receipt: str
    status: str  # created | attempted | paid


@dataclass(frozen=True, slots=True)
class Payment:
    """A Razorpay payment, as far as we read it.

    `status` alone says whether money was captured: official samples carry `captured: true` beside
    `failed` and `authorized`. `fee_paise` includes the tax and is None until Razorpay knows it.
    """

    id: str
    order_id: str
    amount_paise: int
    currency: str
    status: str  # created | authorized | captured | refunded | failed
    method: str
    amount_refunded_paise: int
    fee_paise: int | None
    tax_paise: int | None
    error_code: str
    error_reason: str
    error_description: str
    created_at: dt.datetime | None


@dataclass(frozen=True, slots=True)
class Refund:
    """A Razorpay refund.

    `processed` means accepted: the customer may not have the money yet, and the refund may still fail.
    """

    id: str
    payment_id: str
    amount_paise: int
    status: RefundStatus
    receipt: str
    created_at: dt.datetime | None


@dataclass(frozen=True, slots=True)
class Dispute:
    """A Razorpay dispute: a customer's bank wants a payment, or a part of it, back."""

    id: str
    payment_id: str
    amount_paise: int
    deducted_paise: int
    status: DisputeStatus
    phase: str  # fraud | retrieval | chargeback | pre_arbitration | arbitration
    reason_code: str
    respond_by: dt.datetime | None
    created_at: dt.datetime | None


@dataclass(frozen=True, slots=True)
class SettlementLine:
    """One line of a settlement report. `credit_paise` is the amount less the fee, which includes
    the tax."""

    entity_id: str
    type: str  # payment | refund | transfer | adjustment
    amount_paise: int
    credit_paise: int
    debit_paise: int
    fee_paise: int
    tax_paise: int
    settled: bool
    settlement_id: str
    utr: str
    payment_id: str
    dispute_id: str
    settled_at: dt.datetime | None


# --- verbs --------------------------------------------------------------------------------------


def is_id(kind: str, text: str) -> bool:
    """Whether `text` has the form of a Razorpay id of this kind (`order`, `pay`, `rfnd`, ...)."""
    return bool(_id_form.fullmatch(text)) and text.startswith(f"{kind}_")


def read_items(answer: Any) -> list[Any]:
    """The items of a list. Raises UnreadableEntity."""
    found = answer.get("items") if isinstance(answer, dict) else None
    if not isinstance(found, list):
        raise UnreadableEntity("a list without items")
    return found


def read_order(answer: Any) -> Order:
    """An order. Raises UnreadableEntity."""
    body = _body(answer)
    return Order(
        id=_id("order", body.get("id")),
        amount_paise=_paise(body.get("amount")),
        currency=read_text(body.get("currency")),
        receipt=read_text(body.get("receipt")),
        status=read_text(body.get("status")),
    )


def read_payment(answer: Any) -> Payment:
    """A payment. Raises UnreadableEntity."""
    body = _body(answer)
    return Payment(
        id=_id("pay", body.get("id")),
        order_id=read_text(body.get("order_id")),
        amount_paise=_paise(body.get("amount")),
        currency=read_text(body.get("currency")),
        status=read_text(body.get("status")),
        method=read_text(body.get("method")),
        amount_refunded_paise=_paise_or_none(body.get("amount_refunded")) or 0,
        fee_paise=_paise_or_none(body.get("fee")),
        tax_paise=_paise_or_none(body.get("tax")),
        error_code=read_text(body.get("error_code")),
        error_reason=read_text(body.get("error_reason")),
        error_description=read_text(body.get("error_description")),
        created_at=read_time(body.get("created_at")),
    )


def read_refund(answer: Any) -> Refund:
    """A refund. Raises UnreadableEntity."""
    body = _body(answer)
    status = _refund_statuses.get(read_text(body.get("status")))
    if status is None:
        raise UnreadableEntity("a refund of an unknown status")
    return Refund(
        id=_id("rfnd", body.get("id")),
        payment_id=_id("pay", body.get("payment_id")),
        amount_paise=_paise(body.get("amount")),
        status=status,
        receipt=read_text(body.get("receipt")),
        created_at=read_time(body.get("created_at")),
    )


def read_dispute(answer: Any) -> Dispute:
    """A dispute. Raises UnreadableEntity."""
    body = _body(answer)
    status = _dispute_statuses.get(read_text(body.get("status")))
    if status is None:
        raise UnreadableEntity("a dispute of an unknown status")
    return Dispute(
        id=_id("disp", body.get("id")),
        payment_id=_id("pay", body.get("payment_id")),
        amount_paise=_paise(body.get("amount")),
        deducted_paise=_paise_or_none(body.get("amount_deducted")) or 0,
        status=status,
        phase=re.sub(r"[^a-z_]", "", read_text(body.get("phase"))) or "chargeback",
        reason_code=read_text(body.get("reason_code")),
        respond_by=read_time(body.get("respond_by")),
        created_at=read_time(body.get("created_at")),
    )


def read_settlement_line(answer: Any) -> SettlementLine:
    """A line of `settlements/recon/combined`. Raises UnreadableEntity."""
    body = _body(answer)
    return SettlementLine(
        entity_id=read_text(body.get("entity_id")),
        type=read_text(body.get("type")),
        amount_paise=_paise(body.get("amount")),
        credit_paise=_paise(body.get("credit")),
        debit_paise=_paise(body.get("debit")),
        fee_paise=_paise_or_none(body.get("fee")) or 0,
        tax_paise=_paise_or_none(body.get("tax")) or 0,
        settled=body.get("settled") is True,
        settlement_id=read_text(body.get("settlement_id")),
        utr=read_text(body.get("settlement_utr")),
        payment_id=read_text(body.get("payment_id")),
        dispute_id=read_text(body.get("dispute_id")),
        settled_at=read_time(body.get("settled_at")),
    )


def _body(answer: Any) -> dict[str, Any]:
    if not isinstance(answer, dict):
        raise UnreadableEntity("no JSON object")
    return answer


def _id(kind: str, value: Any) -> str:
    if not isinstance(value, str) or not is_id(kind, value):
        raise UnreadableEntity(f"no id of a {kind}")
    return value


def read_text(value: Any) -> str:
    """A text that may be missing: "" for null, for "NA", and for any other type."""
    return value if isinstance(value, str) and value != "NA" else ""


def read_time(seconds: Any) -> dt.datetime | None:
    """A time from whole seconds since 1970; None for anything else."""
    if type(seconds) is not int or not 0 < seconds < 2**34:
        return None
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


def _paise(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise UnreadableEntity("an amount that is no number of paise")
    return value


def _paise_or_none(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None
