"""HTTP middleware: request ids, limits of size and of time, security headers, durations."""

import asyncio
import functools
import logging
import re
import secrets
import time
from http import HTTPStatus
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from prometheus_client import Histogram
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match, Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import audit_trail, http_protocol, problems
from auth import audit_log, rate_limits
from auth.rate_limits import Standing
from core import config, database, logs
from core.errors import BodyTooLarge, NotFound, Problem, Unavailable
from core.logs import request_id

log = logging.getLogger("api")

# Enough for every body but lists and files. Where more is taken (`allow_large_body`), the route asks
# for a user: `problems.Route` admits the request before a byte of it is read.
BODY_BYTES_MAX = 64 * 1024
# The longest that a request waits for its answer, unless its address was given more; where large
# bodies are taken it begins with the upload.
ANSWER_SECONDS_MAX = 30.0
UPLOAD_SECONDS_MAX = 600.0

_request_seconds = Histogram(
    "http_request_seconds", "Duration of one request", ["method", "route", "status"]
)

_large_bodies: dict[str, int] = {}
_slow_answers: dict[str, float] = {}
# These answer while the process starts, too.
_ALWAYS_OPEN = {"/health", "/metrics"}
_request_id_form = re.compile(r"[A-Za-z0-9._-]{1,64}")
# The methods that are labels of metrics, and that a 405 may name; any word may be sent as one.
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
OTHER = "other"
# In the scope of a GET that is a HEAD: nothing of its answer but the headers is sent.
IS_HEAD = "wallet.is_head"
# `%0A` and its like: no address has them, and `$` in a pattern of a route overlooks one at the end.
_control_characters = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_LOGGED_PATH_CHARACTERS_MAX = 200


def allow_large_body(path: str, bytes_max: int) -> None:
    """Accept bodies of up to `bytes_max` on exactly this path; elsewhere the limit is 64 KiB.

    Only for routes that need a user: for others whoever comes along could fill the memory.
    """
    _large_bodies[path] = bytes_max
    _slow_answers.setdefault(path, UPLOAD_SECONDS_MAX)


def allow_slow_answer(path: str, seconds_max: float) -> None:
    """Wait up to `seconds_max` for the answer on exactly this path; elsewhere half a minute."""
    _slow_answers[path] = seconds_max


def refuse_requests(app: FastAPI) -> None:
    """Answer every request 503 until `accept_requests`: the process is not ready to serve."""
    app.state.is_starting = True


def accept_requests(app: FastAPI) -> None:
    """Serve requests from now on."""
    app.state.is_starting = False


def install(app: FastAPI) -> None:
    """Add the problem handlers and the middleware to `app`."""
    app.add_exception_handler(Problem, problems.on_problem)
    app.add_exception_handler(RequestValidationError, problems.on_validation)
    app.add_exception_handler(HTTPException, problems.on_http)
    app.add_exception_handler(database.AnyError, problems.on_database)
    app.add_middleware(Gate)
    app.openapi = functools.partial(problems.described, app.openapi)  # type: ignore[method-assign]


# --- security headers ---------------------------------------------------------------------------

# Of pages: what is their own, and Razorpay's Checkout, which brings a script, a frame and a popup.
_PAGE_POLICY = (
    "default-src 'self'; script-src 'self' https://checkout.razorpay.com; img-src 'self' data:;"
    " frame-src 'self' https://api.razorpay.com https://checkout.razorpay.com;"
    " connect-src 'self' https://lumberjack.razorpay.com; object-src 'none'; base-uri 'none';"
    " form-action 'self'; frame-ancestors 'none'"
)
# Of everything else: should a browser show it as a page, nothing in it runs.
_DATA_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def _secure(headers: MutableHeaders, *, is_behind_tls: bool) -> None:
    """The headers that make a browser careful. A page may bring a policy of its own."""
    is_page = headers.get("content-type", "").startswith("text/html")
    headers.setdefault("content-security-policy", _PAGE_POLICY if is_page else _DATA_POLICY)
    headers["x-content-type-options"] = "nosniff"
    headers["x-frame-options"] = "DENY"
    # Razorpay wants to know which site its Checkout is on.
    headers["referrer-policy"] = "strict-origin-when-cross-origin" if is_page else "no-referrer"
    headers["permissions-policy"] = "camera=(), geolocation=(), microphone=()"
    if is_behind_tls:
        headers["strict-transport-security"] = "max-age=31536000"


# --- the middleware -----------------------------------------------------------------------------


class _TooLarge(Exception):
    pass


class _CheckedRequest:
    """One request: its id, how many bytes of its body are still allowed, and the status of its answer."""

    __slots__ = (
        "_receive",
        "_send",
        "bytes_left",
        "bytes_max",
        "id",
        "is_given_up",
        "routed",
        "scope",
        "standings",
        "status",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope, self._receive, self._send = scope, receive, send
        self.routed = scope  # in which the router notes the route
        self.status = 0
        self.standings = rate_limits.collect()
        self.is_given_up = False
        self.bytes_left = self.bytes_max = _large_bodies.get(scope["path"], BODY_BYTES_MAX)
        headers = dict(scope["headers"])
        declared = headers.get(b"content-length", b"0")
        if not declared.isdigit() or int(declared[:19]) > self.bytes_max:
            self.bytes_left = -1
        offered = headers.get(b"x-request-id", b"").decode("latin-1")
        self.id = offered if _request_id_form.fullmatch(offered) else secrets.token_hex(8)

    async def receive(self) -> Message:
        """The next message of the body, counted."""
        message = await self._receive()
        self.bytes_left -= len(message.get("body", b""))
        if self.bytes_left < 0:
            raise _TooLarge  # the application may have answered it as a defect of the body
        return message

    async def send(self, message: Message) -> None:
        """Send a message of the answer, with the headers that every answer has."""
        if message["type"] == "http.response.start":
            await audit_trail.end(self.scope, message["status"])
        if self.is_given_up:
            return  # it was answered when its time was over
        await self.send_now(message)

    async def send_now(self, message: Message) -> None:
        """The same, also when the request was given up."""
        if self.bytes_left < 0 and not self.status:
            raise _TooLarge
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["x-request-id"] = self.id
            _secure(headers, is_behind_tls=self.scope["scheme"] == "https")
            if self.scope["path"].startswith("/api/"):
                headers.setdefault("cache-control", "no-store")
            if self.status == HTTPStatus.METHOD_NOT_ALLOWED:
                headers["allow"] = ", ".join(_allowed_methods(self.scope))
            if self.standings:
                _add_rate_limit(headers, self.standings)
        await self._send(message)

    @property
    def is_refused_at_the_start(self) -> bool:
        """Whether the process is starting, and this request has to wait for that."""
        state = self.scope["app"].state
        return getattr(state, "is_starting", False) and self.scope["path"] not in _ALWAYS_OPEN

    def give_up(self) -> None:
        """Answer 503 when there is no answer yet. What the request does goes on and ends by itself."""
        if self.status:
            return
        self.is_given_up = True
        log.warning("%s %s: no answer in time", self.scope["method"], self.path_as_sent)
        answer = problems.problem_response(
            Unavailable("There was no answer in time. Whether it was done is not known: ask again.")
        )
        answering = asyncio.ensure_future(answer(self.scope, self._receive, self.send_now))
        _answering.add(answering)
        answering.add_done_callback(_answering.discard)

    def record(self, seconds: float) -> None:
        """Record its duration as a metric, and log its line. Only known methods and routes are labels."""
        method = self.scope["method"]
        route = getattr(self.routed.get("route"), "path", OTHER)
        label = method if method in METHODS else OTHER
        _request_seconds.labels(label, route, self.status).observe(seconds)
        log.info("%s %s %d %.1fms", method, self.path_as_sent, self.status, seconds * 1_000)

    def as_get(self) -> Scope:
        """The request for the routes: HEAD is GET, and the server sends no body with it."""
        if self.scope["method"] == "HEAD":
            self.routed = {**self.scope, "method": "GET", IS_HEAD: True}
        return self.routed

    @property
    def path_as_sent(self) -> str:
        """The path, still percent-encoded, so that no line of the log can be forged with it."""
        raw: bytes = self.scope.get("raw_path") or quote(self.scope["path"]).encode()
        return raw[:_LOGGED_PATH_CHARACTERS_MAX].decode("ascii", "backslashreplace")

    def refusal(self) -> Problem | None:
        """Why this request reaches no route, if it does not."""
        if _control_characters.search(self.scope["path"]):
            return NotFound("There is nothing at this address.")
        if self.is_refused_at_the_start:
            return Unavailable("The service is starting; try again.")
        if not http_protocol.is_bounded(self.scope) and _is_production():
            return Unavailable("This server has no bounds: start the service with manage.py run.")
        return None


_answering: set[asyncio.Future[None]] = set()


def _add_rate_limit(headers: MutableHeaders, standings: list[Standing]) -> None:
    """Of several limits, the one of which least is left."""
    nearest = min(standings, key=lambda standing: standing.remaining)
    headers["ratelimit-limit"] = str(nearest.allowed)
    headers["ratelimit-remaining"] = str(nearest.remaining)
    headers["ratelimit-reset"] = str(nearest.reset_seconds)


def _is_production() -> bool:
    return config.settings().app_env == "production"


def _allowed_methods(scope: Scope) -> list[str]:
    """The methods that this address has, of all routes together; none where nothing is."""
    routes = scope["app"].router.routes
    scope = {**scope, "root_path": ""}  # a mount has moved its own part of the path there
    # Few routers know the address; only those are tried with every method. A mount leaves methods to
    # what is mounted.
    near = [
        route
        for route in routes
        if not isinstance(route, Mount) and route.matches(scope)[0] is not Match.NONE
    ]
    found = {
        method
        for method in METHODS
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in near)
    }
    if "GET" in found or any(_is_file_of(route, scope) for route in routes):
        found |= {"GET", "HEAD"}
    if found:
        found.add("OPTIONS")
    return [method for method in METHODS if method in found]


def _is_file_of(route: BaseRoute, scope: Scope) -> bool:
    return isinstance(route, Mount) and route.matches(scope)[0] is Match.FULL


class Gate:
    """The outermost middleware: a request id, a body limit, a log line, and a problem for every defect."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        request = _CheckedRequest(scope, receive, send)
        token = request_id.set(request.id)
        client = scope.get("client")
        nobody = logs.Actor(user_id=None, role="nobody", address=client[0] if client else "unknown")
        actor_token = logs.actor.set(nobody)
        audit_log.reset()
        seconds_max = _slow_answers.get(scope["path"], ANSWER_SECONDS_MAX)
        limit = asyncio.get_running_loop().call_later(seconds_max, request.give_up)
        try:
            if request.bytes_left < 0:
                raise _TooLarge
            if (refusal := request.refusal()) is not None:
                await _answer(request, refusal)
            elif scope["method"] == "OPTIONS" and (methods := _allowed_methods(scope)):
                await _answer_methods(request, methods)
            elif scope["method"] in ("GET", "HEAD"):
                with database.only_showing():
                    await self.app(request.as_get(), request.receive, request.send)
            else:
                await self.app(scope, request.receive, request.send)
        except _TooLarge:
            request.bytes_left = 0
            await _answer(
                request, BodyTooLarge(f"This endpoint takes at most {request.bytes_max} bytes.")
            )
        except Exception as defect:
            await _answer_defect(request, defect)
        finally:
            limit.cancel()
            request.record(time.perf_counter() - began)
            request_id.reset(token)
            logs.actor.reset(actor_token)


async def _answer(request: _CheckedRequest, problem: Problem) -> None:
    await problems.problem_response(problem)(request.scope, request.receive, request.send)


async def _answer_methods(request: _CheckedRequest, methods: list[str]) -> None:
    response = Response(status_code=204, headers={"Allow": ", ".join(methods)})
    await response(request.scope, request.receive, request.send)


async def _answer_defect(request: _CheckedRequest, defect: Exception) -> None:
    """Answer what no handler took; when the answer has begun, end it where it is."""
    if request.is_given_up:
        log.warning("after no answer in time: %s", type(defect).__name__)
    elif request.status and database.is_away(defect):
        # An answer of many rows: its reader sees that it was broken off. Not a defect of ours.
        log.warning("database away in the middle of an answer: %s", type(defect).__name__)
    elif request.status:
        raise defect
    else:
        response = await problems.on_database(Request(request.scope), defect)
        await response(request.scope, request.receive, request.send)
