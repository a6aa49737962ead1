"""Route dependencies: the current user, the admin, the parameters of a page."""

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import OAuth2PasswordBearer

import users
from auth import sessions
from auth.sessions import Claims
from core.errors import Forbidden, Unauthenticated
from users import User

# --- who is asking ------------------------------------------------------------------------------
_bearer = OAuth2PasswordBearer(tokenUrl="/api/auth/token", auto_error=False)


async def _claims(token: Annotated[str | None, Depends(_bearer)]) -> Claims:
    if not token:
        raise Unauthenticated("Send a token: Authorization: Bearer <token>.")
    return await sessions.get_claims(token)


async def _current_user(claims: Annotated[Claims, Depends(_claims)]) -> User:
    user = await users.find_user_cached(claims.user_id)
    if user is None or (claims.epoch != user.epoch and claims.session_id != user.kept_session_id):
        raise Unauthenticated("The token is not valid (any more). Log in again.")
    return user


CurrentClaims = Annotated[Claims, Depends(_claims)]


CurrentUser = Annotated[User, Depends(_current_user)]


async def _admin(user: CurrentUser) -> User:
    if user.role != "admin":
        raise Forbidden("This needs the role admin.")
    return user


Admin = Annotated[User, Depends(_admin)]


def client_address(request: Request) -> str:
    """The address that the request came from, which rate limits are counted by."""
    return request.client.host if request.client else "unknown"
