"""Errors: the base class, one code and one status each, and those that several modules raise."""

import datetime as dt
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from core import clock, config, money


class Problem(Exception):
    """An answer that is not the one asked for, as RFC 9457 `application/problem+json`.

    Subclasses fix `code`, `status` and `title`; an instance says in `detail` what to do about it
    and may carry `extra` members and response `headers`.
    """

    code: ClassVar[str]
    status: ClassVar[int]
    title: ClassVar[str]

    def __init__(self, detail: str, *, headers: dict[str, str] | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = headers or {}
        self.extra = extra

    def body(self) -> dict[str, Any]:
        """The problem document."""
        return {
            "type": f"/problems/{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            **self.extra,
        }


class ProblemBody(BaseModel):
    """The shape of every error (OpenAPI)."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    code: str


# --- the request --------------------------------------------------------------------------------


class InvalidRequest(Problem):
    """The request does not have the shape that is asked for; `errors` names each field."""

    code, status, title = "validation_error", 422, "Invalid request"


def invalid(field: str, message: str) -> InvalidRequest:
    """The refusal of one field or query parameter."""
    return InvalidRequest(f"{field}: {message}", errors=[{"field": field, "message": message}])


class InvalidCursor(Problem):
    """The cursor was not made by this list; start again without one."""

    code, status, title = "invalid_cursor", 422, "Invalid cursor"


class MalformedBody(Problem):
    """The body cannot be read at all."""

    code, status, title = "malformed_body", 400, "Malformed body"


class BadRequest(Problem):
    """What was sent is not HTTP that can be read; the connection is closed."""

    code, status, title = "bad_request", 400, "Bad request"


class RequestTimeout(Problem):
    """The request came too slowly; the connection is closed."""

    code, status, title = "request_timeout", 408, "Request timeout"


class UrlTooLong(Problem):
    """The address is longer than 8 KiB; the connection is closed."""

    code, status, title = "url_too_long", 414, "Address too long"


class HeadTooLarge(Problem):
    """There are more than 100 headers, or more than 32 KiB of them; the connection is closed."""

    code, status, title = "headers_too_large", 431, "Headers too large"


class BodyTooLarge(Problem):
    """The body is larger than this endpoint takes."""

    code, status, title = "body_too_large", 413, "Body too large"


class UnsupportedMediaType(Problem):
    """The content type is not one this endpoint reads."""

    code, status, title = "unsupported_media_type", 415, "Unsupported media type"


class NotFound(Problem):
    """There is no such thing, or it belongs to somebody else."""

    code, status, title = "not_found", 404, "Not found"


class MethodNotAllowed(Problem):
    """The path exists, the method does not."""

    code, status, title = "method_not_allowed", 405, "Method not allowed"


class TooManyRequests(Problem):
    """The caller is faster than the limit; `Retry-After` says when to come back."""

    code, status, title = "rate_limited", 429, "Too many requests"


class IdempotencyKeyReused(Problem):
    """The `Idempotency-Key` was used before with another body."""

    code, status, title = "idempotency_key_reused", 422, "Idempotency key reused"


class IdempotencyKeyRequired(Problem):
    """This request moves money by hand and needs an `Idempotency-Key`, so that it can be repeated."""

    code, status, title = "idempotency_key_required", 422, "Idempotency key required"


class StillRunning(Problem):
    """The first request with this `Idempotency-Key` has not been answered yet."""

    code, status, title = "request_in_progress", 409, "Still running"


# --- authentication and roles -------------------------------------------------------------------


class Unauthenticated(Problem):
    """No token, or one that is not valid (any more)."""

    code, status, title = "not_authenticated", 401, "Not authenticated"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"})


class Forbidden(Problem):
    """The role does not allow it."""

    code, status, title = "forbidden", 403, "Forbidden"


# --- money --------------------------------------------------------------------------------------


class PaymentRequired(Problem):
    """The wallet cannot cover it (402); subclasses say why."""

    status, title = 402, "Insufficient balance"

    def __init__(
        self,
        detail: str,
        *,
        required_paise: int,
        available_paise: int,
        retry_after_seconds: int = 0,
    ) -> None:
        super().__init__(
            detail,
            headers={"Retry-After": str(retry_after_seconds)} if retry_after_seconds else None,
            required=money.rupees(required_paise),
            available=money.rupees(available_paise),
            shortfall=money.rupees(max(0, required_paise - available_paise)),
            recharge_url=config.settings().recharge_page_url,
        )
        self.required_paise = required_paise
        self.available_paise = available_paise


class InsufficientBalance(PaymentRequired):
    """There is not enough money in the wallet."""

    code = "insufficient_balance"


class BalanceHeld(PaymentRequired):
    """There is enough money, but calls that are running have reserved it."""

    code = "balance_held"


class WalletFrozen(PaymentRequired):
    """An admin has frozen the wallet: no calls until it is unfrozen."""

    code = "wallet_frozen"


class SpendCapReached(PaymentRequired):
    """The calls of this day cost as much as they may, running ones included; `resets_at` says when
    the next day begins.

    `is_held` when it is running calls that take up the rest: when one ends there may be room.
    """

    code = "spend_cap_reached"

    def __init__(
        self,
        *,
        cap_paise: int,
        spent_paise: int,
        held_paise: int,
        required_paise: int,
        resets_at: dt.datetime,
        seconds_left: int,
    ) -> None:
        self.is_held = spent_paise + required_paise <= cap_paise
        self.resets_at = resets_at
        super().__init__(
            f"The calls of a day may cost Rs {money.text(cap_paise)}: today's cost "
            f"Rs {money.text(spent_paise)}, and running ones have reserved "
            f"Rs {money.text(held_paise)}. A call needs Rs {money.text(required_paise)}.",
            required_paise=required_paise,
            available_paise=max(0, cap_paise - spent_paise - held_paise),
            retry_after_seconds=5 if self.is_held else seconds_left,
        )
        self.extra |= {"cap": money.rupees(cap_paise), "resets_at": clock.iso(resets_at)}


class BudgetReached(PaymentRequired):
    """The calls of a campaign cost as much as its budget allows, running ones included; a higher
    budget ends it.

    `is_held` when it is running calls that take up the rest: when one ends there may be room.
    """

    code = "budget_reached"

    def __init__(
        self, *, budget_paise: int, spent_paise: int, held_paise: int, required_paise: int
    ) -> None:
        self.is_held = spent_paise + required_paise <= budget_paise
        super().__init__(
            f"The calls of this campaign may cost Rs {money.text(budget_paise)}: they have cost "
            f"Rs {money.text(spent_paise)}, and running ones have reserved "
            f"Rs {money.text(held_paise)}. A call needs Rs {money.text(required_paise)}.",
            required_paise=required_paise,
            available_paise=max(0, budget_paise - spent_paise - held_paise),
            retry_after_seconds=5 if self.is_held else 0,
        )
        self.extra |= {"budget": money.rupees(budget_paise)}


# The reasons for which a call or a campaign is refused with 402.
PAYMENT_REQUIRED: tuple[type[Problem], ...] = (
    InsufficientBalance,
    BalanceHeld,
    WalletFrozen,
    SpendCapReached,
)


class TooManyCalls(Problem):
    """As many calls run, or were started in this minute or today, as the account may have."""

    code, status, title = "too_many_calls", 429, "Too many calls"


class HoldNotFound(Problem):
    """The reservation is not there: it was settled or released before."""

    code, status, title = "hold_not_found", 409, "Hold not found"


# --- failures of ours and of what we depend on --------------------------------------------------


class Unavailable(Problem):
    """It cannot be found out right now; nothing is lost, try again."""

    code, status, title = "service_unavailable", 503, "Service unavailable"

    def __init__(self, detail: str, *, retry_after_seconds: int = 1) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after_seconds)})


class InternalError(Problem):
    """A defect of ours; the request id finds it in the log."""

    code, status, title = "internal_error", 500, "Internal error"
