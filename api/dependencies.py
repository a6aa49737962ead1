"""Route dependencies: the current user, the admin, the parameters of a page."""

import dataclasses
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Query, Request
from fastapi.security.base import SecurityBase

from api import access
from api.problems import raises
from auth.sessions import Claims
from billing.limits import SpendingKey
from core import pagination
from core.errors import Forbidden, InvalidCursor, Unauthenticated
from users import User

# --- the current user ---------------------------------------------------------------------------


class _SignedIn(SecurityBase):
    """The user who is calling. One dependency, which is also the scheme that OpenAPI names: each
    one costs every request."""

    model = access.bearer.model
    scheme_name = access.bearer.scheme_name

    async def __call__(self, request: Request) -> User:
        return (await access.authenticate(request)).user


signed_in = raises(Unauthenticated)(_SignedIn())
CurrentUser = Annotated[User, Depends(signed_in)]


@raises(Forbidden)
async def _claims(request: Request, _: CurrentUser) -> Claims:
    claims = (await access.authenticate(request)).claims
    if claims is None:
        raise Forbidden("An API key may not do this: log in with e-mail address and password.")
    return claims


async def _spending_key(request: Request, _: CurrentUser) -> SpendingKey | None:
    key = (await access.authenticate(request)).key
    return None if key is None else SpendingKey(key.id, key.daily_spend_cap_paise)


# The API key for whose cap counts what the request spends; None when a person asks.
PayingKey = Annotated[SpendingKey | None, Depends(_spending_key)]
CurrentClaims = Annotated[Claims, Depends(_claims)]


# The table in `access` has refused other roles already; these hold where a route has no entry yet.
@raises(Forbidden)
async def _admin(user: CurrentUser) -> User:
    if user.role != "admin":
        raise Forbidden("This needs the role admin.")
    return user


@raises(Forbidden)
async def _operator(user: CurrentUser) -> User:
    if not sees_everybody(user):
        raise Forbidden("This needs the role operator or admin.")
    return user


Admin = Annotated[User, Depends(_admin)]
# Who may look at everybody's: an operator or an admin. What changes something asks for `Admin`.
Operator = Annotated[User, Depends(_operator)]


def client_address(request: Request) -> str:
    """The client's address, which is the key of rate limits."""
    return request.client.host if request.client else "unknown"


def sees_everybody(user: User) -> bool:
    """Whether this user may look at the records of all users: an operator or an admin."""
    return user.role in ("operator", "admin")


def scope_of(user: User) -> str | None:
    """Whose records this user may see: their own, by their id; those of all users (None) for an
    operator and an admin."""
    return None if sees_everybody(user) else user.id


def may_see(user: User, owner_id: str) -> bool:
    """Whether this user may look at a record of `owner_id`."""
    return owner_id == user.id or sees_everybody(user)


def may_change(user: User, owner_id: str) -> bool:
    """Whether this user may change a record of `owner_id`: an operator may not."""
    return owner_id == user.id or user.role == "admin"


# --- pages --------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class PageParams:
    """The page of a list to return: at most `limit` rows, those after the `cursor`."""

    limit: int
    cursor: str | None


def _page_params(cursor_length_max: int | None) -> Callable[..., Awaitable[PageParams]]:
    @raises(InvalidCursor)
    async def page_params(
        limit: Annotated[
            int, Query(ge=1, le=pagination.PAGE_LIMIT_MAX)
        ] = pagination.PAGE_LIMIT_DEFAULT,
        cursor: Annotated[str | None, Query(max_length=cursor_length_max)] = None,
    ) -> PageParams:
        return PageParams(limit, cursor)

    return page_params


# The longest cursor is published in OpenAPI, so each list keeps its own limit.
Page = Annotated[PageParams, Depends(_page_params(500))]
PageOfLongCursor = Annotated[PageParams, Depends(_page_params(1_000))]
PageOfAnyCursor = Annotated[PageParams, Depends(_page_params(None))]
