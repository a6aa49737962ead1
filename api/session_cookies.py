"""Session cookies: a browser's session that no script can read, and the origin that its writes need."""

from typing import Final
from urllib.parse import urlsplit

from fastapi import Request, Response

from auth import sessions
from auth.devices import TOKEN_SECONDS, Client
from core import config
from core.errors import Problem

# The prefix makes browsers refuse them from a subdomain or over plain HTTP (RFC 6265bis 4.1.3.2).
SESSION_COOKIE: Final = "__Host-session"
DEVICE_COOKIE: Final = "__Host-device"
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class ForeignOrigin(Problem):
    """A write with a session cookie has to come from a page of this service: `Origin` says otherwise."""

    code, status, title = "foreign_origin", 403, "Foreign origin"


def find_token(request: Request) -> str | None:
    """The access token in the request's session cookie; None without one.

    Raises ForeignOrigin for a write that no page of ours sends: a browser adds the cookie whoever made
    the page, but no page chooses the `Origin`.
    """
    token = request.cookies.get(SESSION_COOKIE)
    if token is not None and request.method not in _SAFE_METHODS:
        require_own_origin(request)
    return token


def require_own_origin(request: Request) -> None:
    """Raises ForeignOrigin unless `Origin` is the public address of the service, or the one that the
    request was sent to."""
    public = urlsplit(config.settings().base_url)
    sent_to = f"{request.url.scheme}://{request.headers.get('host')}"
    own = (sent_to, f"{public.scheme}://{public.netloc}")
    if request.headers.get("origin") not in own:
        raise ForeignOrigin("With a session cookie, writes need an Origin of this service.")


def client_of(request: Request) -> Client:
    """Who sends the request: for limits, for the list of sessions, to know a device again."""
    return Client(
        address=request.client.host if request.client else "unknown",
        user_agent=request.headers.get("user-agent", ""),
        device_token=request.headers.get("x-device-token") or request.cookies.get(DEVICE_COOKIE),
    )


def set_cookies(response: Response, token: str, device_token: str | None = None) -> None:
    """Give the browser the session, and what it is known again by."""
    _set(response, SESSION_COOKIE, token, sessions.token_seconds())
    if device_token is not None:
        _set(response, DEVICE_COOKIE, device_token, TOKEN_SECONDS)


def forget_session(request: Request, response: Response) -> None:
    """Take the session away from a browser that has it as a cookie; the device stays known."""
    if SESSION_COOKIE in request.cookies:
        response.delete_cookie(
            SESSION_COOKIE, path="/", secure=True, httponly=True, samesite="strict"
        )


def _set(response: Response, name: str, value: str, seconds: int) -> None:
    response.set_cookie(
        name, value, max_age=seconds, path="/", secure=True, httponly=True, samesite="strict"
    )
