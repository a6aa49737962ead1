"""Session cookies: a browser's session that no script can read, and the origin that its writes need."""

from typing import Final
from urllib.parse import urlsplit

from fastapi import Request, Response

from auth import sessions
from auth.devices import TOKEN_SECONDS, Client
from core import config
from core.errors import Problem

# The prefix makes browsers refuse them from a subdomain or over plain HTTP (RFC 6265bis 4.1.3.2).
_PREFIX: Final = "__Host-"
SESSION_COOKIE: Final = f"{_PREFIX}session"
DEVICE_COOKIE: Final = f"{_PREFIX}device"
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class ForeignOrigin(Problem):
    """A write with a session cookie has to come from a page of this service: `Origin` says otherwise."""

    code, status, title = "foreign_origin", 403, "Foreign origin"


def find_token(request: Request) -> str | None:
    """The access token in the request's session cookie; None without one.

    Raises ForeignOrigin for a write that no page of ours sends: a browser adds the cookie whoever made
    the page, but no page chooses the `Origin`.
    """
    token = request.cookies.get(session_cookie(request))
    if token is not None and request.method not in _SAFE_METHODS:
        require_own_origin(request)
    return token


def require_own_origin(request: Request) -> None:
    """Raises ForeignOrigin unless `Origin` is the public address of the service, or the one that the
    request was sent to, and the browser, where it says so, calls it the same origin."""
    public = urlsplit(config.settings().base_url)
    sent_to = f"{request.url.scheme}://{request.headers.get('host')}"
    own = (sent_to, f"{public.scheme}://{public.netloc}")
    site = request.headers.get("sec-fetch-site", "same-origin")
    if request.headers.get("origin") not in own or site != "same-origin":
        raise ForeignOrigin("With a session cookie, writes need an Origin of this service.")


def client_of(request: Request) -> Client:
    """Who sends the request: for limits, for the list of sessions, to know a device again."""
    return Client(
        address=request.client.host if request.client else "unknown",
        user_agent=request.headers.get("user-agent", ""),
        device_token=request.headers.get("x-device-token")
        or request.cookies.get(_name(request, DEVICE_COOKIE)),
    )


def session_cookie(request: Request) -> str:
    """The name of the cookie with the session of a browser that sends such requests."""
    return _name(request, SESSION_COOKIE)


def set_cookies(
    request: Request, response: Response, token: str, device_token: str | None = None
) -> None:
    """Give the browser the session, and what it is known again by."""
    _set(request, response, SESSION_COOKIE, token, sessions.token_seconds())
    if device_token is not None:
        _set(request, response, DEVICE_COOKIE, device_token, TOKEN_SECONDS)


def forget_session(request: Request, response: Response) -> None:
    """Take the session away from a browser that has it as a cookie; the device stays known."""
    name = session_cookie(request)
    if name in request.cookies:
        response.delete_cookie(
            name, path="/", secure=name == SESSION_COOKIE, httponly=True, samesite="strict"
        )


def _is_plain(request: Request) -> bool:
    """Whether the browser is on this machine and speaks plain HTTP, as nobody does in production: there
    it may refuse a cookie that is `Secure`."""
    return (
        config.settings().app_env != "production"
        and request.url.scheme == "http"
        and request.url.hostname in _LOOPBACK
    )


def _name(request: Request, name: str) -> str:
    return name.removeprefix(_PREFIX) if _is_plain(request) else name


def _set(request: Request, response: Response, name: str, value: str, seconds: int) -> None:
    response.set_cookie(
        _name(request, name),
        value,
        max_age=seconds,
        path="/",
        secure=not _is_plain(request),
        httponly=True,
        samesite="strict",
    )
