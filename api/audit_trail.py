"""Audit trail of requests: a row before and after what an admin, an operator or an API key does."""

from fastapi import Request
from starlette.types import Scope

from auth import audit_log
from auth.audit_log import Target
from core import logs

_SHOWING = frozenset({"GET", "HEAD", "OPTIONS"})
# What these routes hand out leaves the house as a file, so who took it is recorded.
_EXPORTS = ("/download", "/results")


async def begin(request: Request) -> None:
    """Write that this request is about to be done, if it is one to record: a change, or an export, by
    anybody but a user with a token. Called by `access` once the user is known and admitted, before the
    body is read; an error of the database refuses the request."""
    who, path = logs.actor.get(), _route_path(request.scope)
    if who.role == "user" and who.key_id is None:
        return
    if request.method in _SHOWING and not path.endswith(_EXPORTS):
        return
    await audit_log.begin(
        f"{request.method} {path}",
        _target(request, path),
        method=request.method,
        path=request.url.path,
        query=request.url.query,
    )


async def end(scope: Scope, status: int) -> None:
    """Write how what was begun has ended; and without it, that somebody was refused who has no
    business with an admin's or another's address."""
    if await audit_log.end(status) or status not in (401, 403):
        return
    path = _route_path(scope)
    # A token that ran out is everyday life, except where only admins have business. Telephone
    # networks and Razorpay have no users: their refusals are counted as metrics.
    if path.startswith("/api/admin/") or (status == 403 and not path.startswith("/api/telephony/")):
        code = "unauthenticated" if status == 401 else "forbidden"
        action = f"{scope['method']} {path}"
        await audit_log.record_refusal(action, Target("route", path), code=code)


def _route_path(scope: Scope) -> str:
    """The address with the names of its parameters; what was asked for where no route is."""
    return str(getattr(scope.get("route"), "path", scope["path"]))


def _target(request: Request, path: str) -> Target:
    """The last parameter of the address (`user_id`: a user), until the route says better."""
    if not request.path_params:
        return Target("route", path)
    name, value = list(request.path_params.items())[-1]
    return Target(name.removesuffix("_id"), str(value))
