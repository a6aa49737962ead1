"""Access: who may call each route, with which scope of an API key, and who is calling.

`ROUTES` is the one table of it. `api/problems.Route` admits each request by it before a byte of the
body is read; docs/WALLET_API_DOCUMENTATION.md shows it
(`python -m tests.project.access_table` writes it there).
"""

import dataclasses
from collections.abc import Iterable
from typing import Final, get_args

from fastapi import Request
from fastapi.security import OAuth2PasswordBearer

import users
from api import audit_trail, session_cookies
from api.session_cookies import ForeignOrigin
from auth import api_keys, sessions
from auth.api_keys import ApiKey, Scope
from auth.sessions import Claims
from core import logs
from core.errors import Forbidden, Problem, Unauthenticated
from users import (
    AccountDisabled,
    PasswordChangeRequired,
    Role,
    SecondFactorSetupRequired,
    User,
)

# --- vocabulary ---------------------------------------------------------------------------------

bearer: Final = OAuth2PasswordBearer(tokenUrl="/api/auth/token", auto_error=False)
ROLES: Final[tuple[Role, ...]] = get_args(Role)


@dataclasses.dataclass(frozen=True, slots=True)
class Access:
    """Who may call a route. `roles` None: everybody, without a token. `scope` None: no API key."""

    roles: frozenset[Role] | None
    scope: Scope | None = None

    @property
    def problems(self) -> tuple[type[Problem], ...]:
        """What a request that is not admitted is answered with."""
        if self.roles is None:
            return ()
        refusals: tuple[type[Problem], ...] = (
            Unauthenticated,
            Forbidden,
            AccountDisabled,
            ForeignOrigin,
            PasswordChangeRequired,
            SecondFactorSetupRequired,
        )
        return refusals if self.scope is None else (*refusals, MissingScope)


@dataclasses.dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling: a user, by the token of a session (`claims`) or by an API key (`key`).

    `role` is that of the account, `user.role` the one that the request has: with a key without
    `admin:read` it is `user`, with one that has it `operator` at most, so no key acts as an admin.
    """

    user: User
    role: Role
    claims: Claims | None = None
    key: ApiKey | None = None


class MissingScope(Problem):
    """The API key does not have the scope that this needs; `scope` names it."""

    code, status, title = "missing_scope", 403, "Missing scope"

    def __init__(self, scope: Scope) -> None:
        super().__init__(f"This needs an API key with the scope {scope}.", scope=scope)


# --- the table ----------------------------------------------------------------------------------


def _anybody() -> Access:
    """Open: health, log-in, and what others sign in a way of their own."""
    return Access(None)


def _account() -> Access:
    """What everybody does about their own account, in person: no API key."""
    return Access(frozenset(ROLES))


def _everyone(scope: Scope) -> Access:
    """Reads, of one's own or as an operator or admin everybody's."""
    return Access(frozenset(ROLES), scope)


def _customer(scope: Scope) -> Access:
    """Writes: not for an operator, who changes nothing."""
    return Access(frozenset({"user", "admin"}), scope)


def _operator() -> Access:
    """Reads of everybody's."""
    return Access(frozenset({"operator", "admin"}), "admin:read")


def _admin() -> Access:
    """Decisions about others, in person: no API key, which has no second factor."""
    return Access(frozenset({"admin"}))


ROUTES: Final[dict[tuple[str, str], Access]] = {
    # system
    ("GET", "/"): _anybody(),
    ("GET", "/{page:console_page}"): _anybody(),
    ("GET", "/pay/{order_id}"): _anybody(),
    ("GET", "/assets/{digest}/{name:path}"): _anybody(),
    ("GET", "/docs"): _anybody(),
    ("GET", "/.well-known/security.txt"): _anybody(),
    ("GET", "/health"): _anybody(),
    ("GET", "/ready"): _anybody(),
    ("GET", "/metrics"): _anybody(),
    ("GET", "/problems/{code}"): _anybody(),
    # accounts
    ("POST", "/api/auth/signup"): _anybody(),
    ("POST", "/api/auth/login"): _anybody(),
    ("POST", "/api/auth/token"): _anybody(),
    ("POST", "/api/auth/logout"): _account(),
    ("POST", "/api/auth/change-password"): _account(),
    ("GET", "/api/auth/me"): _everyone("wallet:read"),
    ("GET", "/api/auth/sessions"): _account(),
    ("DELETE", "/api/auth/sessions"): _account(),
    ("DELETE", "/api/auth/sessions/{session_id}"): _account(),
    ("POST", "/api/auth/totp"): _account(),
    ("POST", "/api/auth/totp/confirm"): _account(),
    ("DELETE", "/api/auth/totp"): _account(),
    ("GET", "/api/api-keys"): _account(),
    ("POST", "/api/api-keys"): _account(),
    ("POST", "/api/api-keys/{key_id}/rotate"): _account(),
    ("DELETE", "/api/api-keys/{key_id}"): _account(),
    # wallet
    ("GET", "/api/wallet/balance"): _everyone("wallet:read"),
    ("GET", "/api/wallet/call-rate"): _everyone("wallet:read"),
    ("GET", "/api/wallet/days"): _everyone("wallet:read"),
    ("POST", "/api/wallet/set-call-rate"): _admin(),
    # payments
    ("GET", "/api/payment/razorpay-key"): _everyone("payments:read"),
    ("POST", "/api/payment/create-order"): _customer("payments:write"),
    ("POST", "/api/payment/verify"): _customer("payments:write"),
    ("GET", "/api/payment/orders"): _everyone("payments:read"),
    ("GET", "/api/payment/orders/{order_id}/checkout"): _anybody(),
    ("GET", "/api/payment/orders/{order_id}"): _everyone("payments:read"),
    ("GET", "/api/payment/payments/{payment_id}"): _everyone("payments:read"),
    ("POST", "/api/payment/refunds"): _admin(),
    ("GET", "/api/payment/refunds"): _everyone("payments:read"),
    ("GET", "/api/payment/refunds/{refund_id}"): _everyone("payments:read"),
    ("POST", "/api/payment/refunds/{refund_id}/resolve"): _admin(),
    ("GET", "/api/payment/disputes"): _everyone("payments:read"),
    ("GET", "/api/payment/disputes/{dispute_id}"): _everyone("payments:read"),
    ("POST", "/api/payment/webhook"): _anybody(),  # signed by Razorpay
    ("POST", "/api/payment/webhook/{mode}"): _anybody(),
    # transactions
    ("GET", "/api/transactions"): _everyone("transactions:read"),
    ("GET", "/api/transactions/download"): _everyone("transactions:read"),
    ("GET", "/api/transactions/{transaction_id}"): _everyone("transactions:read"),
    # calls
    ("POST", "/api/call"): _customer("calls:write"),
    ("GET", "/api/calls"): _everyone("calls:read"),
    ("GET", "/api/calls/download"): _everyone("calls:read"),
    ("POST", "/api/calls/quote"): _everyone("calls:read"),
    ("GET", "/api/calls/{call_id}"): _everyone("calls:read"),
    ("POST", "/api/calls/{call_id}/hangup"): _customer("calls:write"),
    ("POST", "/api/telephony/{provider}/{call_id}/status"): _anybody(),  # signed by the network
    ("POST", "/api/telephony/{provider}/{call_id}/answer"): _anybody(),
    ("POST", "/api/telephony/{provider}/{call_id}/keys"): _anybody(),
    ("GET", "/api/telephony/exotel/answer"): _anybody(),
    # campaigns
    ("POST", "/api/campaigns"): _customer("campaigns:write"),
    ("POST", "/api/campaigns/preview"): _customer("campaigns:write"),
    ("POST", "/api/campaigns/upload"): _customer("campaigns:write"),
    ("GET", "/api/campaigns/imports/{job_id}"): _everyone("campaigns:read"),
    ("POST", "/api/campaigns/imports/{job_id}/cancel"): _customer("campaigns:write"),
    ("GET", "/api/campaigns"): _everyone("campaigns:read"),
    ("GET", "/api/campaigns/{campaign_id}"): _everyone("campaigns:read"),
    ("GET", "/api/campaigns/{campaign_id}/contacts"): _everyone("campaigns:read"),
    ("GET", "/api/campaigns/{campaign_id}/results"): _everyone("campaigns:read"),
    ("GET", "/api/campaigns/{campaign_id}/attempts"): _everyone("campaigns:read"),
    ("GET", "/api/campaigns/{campaign_id}/statistics"): _everyone("campaigns:read"),
    ("GET", "/api/campaigns/statistics"): _everyone("campaigns:read"),
    ("GET", "/api/campaigns/{campaign_id}/rejected"): _everyone("campaigns:read"),
    ("POST", "/api/campaigns/{campaign_id}/pause"): _customer("campaigns:write"),
    ("POST", "/api/campaigns/{campaign_id}/resume"): _customer("campaigns:write"),
    ("POST", "/api/campaigns/{campaign_id}/cancel"): _customer("campaigns:write"),
    ("POST", "/api/campaigns/{campaign_id}/validate"): _everyone("campaigns:read"),
    ("PATCH", "/api/campaigns/{campaign_id}"): _customer("campaigns:write"),
    ("POST", "/api/campaigns/{campaign_id}/copy"): _customer("campaigns:write"),
    ("POST", "/api/campaigns/{campaign_id}/retry-unreached"): _customer("campaigns:write"),
    ("POST", "/api/campaigns/{campaign_id}/archive"): _customer("campaigns:write"),
    ("POST", "/api/campaigns/{campaign_id}/unarchive"): _customer("campaigns:write"),
    ("DELETE", "/api/campaigns/{campaign_id}"): _customer("campaigns:write"),
    # live events; an API key hears what its scopes allow it to read
    ("GET", "/api/events/stream"): _everyone("calls:read"),
    # what may be called, and why somebody was
    ("GET", "/api/do-not-call"): _everyone("campaigns:read"),
    ("POST", "/api/do-not-call"): _customer("campaigns:write"),
    ("DELETE", "/api/do-not-call"): _customer("campaigns:write"),
    ("POST", "/api/do-not-call/erase"): _customer("campaigns:write"),
    ("POST", "/api/do-not-call/upload"): _customer("campaigns:write"),
    ("GET", "/api/do-not-call/download"): _everyone("campaigns:read"),
    ("POST", "/api/complaints"): _customer("campaigns:write"),
    ("GET", "/api/complaints"): _everyone("campaigns:read"),
    ("GET", "/api/complaints/download"): _everyone("campaigns:read"),
    ("GET", "/api/complaints/{complaint_id}"): _everyone("campaigns:read"),
    ("GET", "/api/calling-hours"): _everyone("campaigns:read"),
    ("GET", "/api/numbers/{number}/history"): _everyone("calls:read"),
    # operators and admins
    ("GET", "/api/admin/calling-rules"): _operator(),
    ("PUT", "/api/admin/calling-rules"): _admin(),
    ("GET", "/api/admin/users"): _operator(),
    ("POST", "/api/admin/users"): _admin(),
    ("GET", "/api/admin/users/download"): _operator(),
    ("GET", "/api/admin/users/{user_id}"): _operator(),
    ("PATCH", "/api/admin/users/{user_id}"): _admin(),
    ("DELETE", "/api/admin/users/{user_id}/sessions"): _admin(),
    ("DELETE", "/api/admin/users/{user_id}/totp"): _admin(),
    ("GET", "/api/admin/users/{user_id}/adjustments"): _operator(),
    ("POST", "/api/admin/users/{user_id}/adjustments"): _admin(),
    ("POST", "/api/admin/users/{user_id}/freeze"): _admin(),
    ("POST", "/api/admin/users/{user_id}/unfreeze"): _admin(),
    ("POST", "/api/admin/users/{user_id}/call-rate"): _admin(),
    ("GET", "/api/admin/adjustments"): _operator(),
    ("POST", "/api/admin/adjustments/{adjustment_id}/confirm"): _admin(),
    ("POST", "/api/admin/adjustments/{adjustment_id}/reject"): _admin(),
    ("GET", "/api/admin/rate-cards"): _operator(),
    ("POST", "/api/admin/rate-cards"): _admin(),
    ("POST", "/api/admin/rate-cards/activate"): _admin(),
    ("GET", "/api/admin/rate-cards/{version}/download"): _operator(),
    ("POST", "/api/admin/rate-cards/preview"): _operator(),
    ("GET", "/api/admin/metrics"): _operator(),
    ("GET", "/api/admin/metrics/download"): _operator(),
    ("GET", "/api/admin/networks"): _operator(),
    ("GET", "/api/admin/review"): _operator(),
    ("GET", "/api/admin/reconciliation"): _operator(),
    ("POST", "/api/admin/reconciliation/run"): _admin(),
    ("GET", "/api/admin/settlements"): _operator(),
    ("POST", "/api/admin/payments/{payment_id}/resolve"): _admin(),
    ("POST", "/api/admin/calls/{call_id}/resolve"): _admin(),
    ("GET", "/api/admin/webhooks"): _operator(),
    ("GET", "/api/admin/webhooks/{webhook_id}"): _operator(),
    ("POST", "/api/admin/webhooks/{webhook_id}/replay"): _admin(),
    ("GET", "/api/admin/disputes"): _operator(),
    ("GET", "/api/admin/disputes/{dispute_id}"): _operator(),
    ("POST", "/api/admin/disputes/{dispute_id}/resolve"): _admin(),
    ("GET", "/api/admin/audit"): _operator(),
    ("POST", "/api/admin/audit"): _admin(),
    ("POST", "/api/admin/audit/repairs"): _admin(),
    ("GET", "/api/admin/audit-log"): _operator(),
    ("GET", "/api/admin/audit-log/download"): _operator(),
}


def find_access(methods: Iterable[str], path: str) -> Access | None:
    """The access of a route, by its methods and the template of its path; None when it has no entry."""
    for method in methods:
        found = ROUTES.get(("GET" if method == "HEAD" else method, path))
        if found is not None:
            return found
    return None


# --- who is calling -----------------------------------------------------------------------------


async def admit(request: Request, access: Access) -> None:
    """Authenticate the caller and check role and scope, unless the route is open.

    What is recorded is recorded from here on (`audit_trail`). Raises Unauthenticated, Forbidden,
    MissingScope, and Unavailable. The body is not read.
    """
    if access.roles is None:
        return
    caller = await authenticate(request)
    key = caller.key
    if key is not None:
        if access.scope is None:
            raise Forbidden("An API key may not do this: log in with e-mail address and password.")
        if access.scope not in key.scopes:
            raise MissingScope(access.scope)
    if caller.role not in access.roles:
        roles = " or ".join(role for role in ROLES if role in access.roles)
        raise Forbidden(f"This needs the role {roles}.")
    await audit_trail.begin(request)


async def authenticate(request: Request) -> Caller:
    """Who is calling; found out once for each request.

    Raises Unauthenticated, AccountDisabled, ForeignOrigin, Unavailable, and outside of `/api/auth/` what
    `users.require_ready` raises.
    """
    state = request.scope.setdefault("state", {})
    known: Caller | None = state.get("caller")
    if known is not None:
        return known
    token = await bearer(request) or session_cookies.find_token(request)
    if not token:
        raise Unauthenticated("Send a token: Authorization: Bearer <token>.")
    if api_keys.is_api_key(token):
        caller = await _caller_of_key(token)
    else:
        caller = await _caller_of_session(token)
    logs.identify(caller.user.id, caller.role, caller.key.id if caller.key else None)
    if not request.scope["path"].startswith("/api/auth/"):
        is_key = caller.key is not None
        users.require_ready(
            dataclasses.replace(caller.user, role=caller.role) if is_key else caller.user
        )
    state["caller"] = caller
    return caller


async def authenticate_again(request: Request) -> Caller:
    """Who is calling, found out anew: for an answer that goes on while a session may end. Raises what
    `authenticate` does."""
    request.scope.setdefault("state", {}).pop("caller", None)
    return await authenticate(request)


async def _caller_of_session(token: str) -> Caller:
    claims = await sessions.get_claims(token)
    user = await users.find_user_cached(claims.user_id)
    if user is not None and user.disabled:
        raise AccountDisabled
    if user is None or (claims.epoch != user.epoch and claims.session_id != user.kept_session_id):
        raise Unauthenticated("The token is not valid (any more). Log in again.")
    return Caller(user, user.role, claims=claims)


async def _caller_of_key(text: str) -> Caller:
    key = await api_keys.get_verified_key(text)
    user = await users.find_user_cached(key.user_id)
    if user is not None and user.disabled:
        raise AccountDisabled
    if user is None:
        raise Unauthenticated("This API key is not valid (any more).")
    acts_as: Role = "operator" if user.role != "user" and "admin:read" in key.scopes else "user"
    return Caller(dataclasses.replace(user, role=acts_as), user.role, key=key)
