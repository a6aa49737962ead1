"""HTTP middleware: request ids, limits of size and of time, security headers, durations."""

import asyncio
import functools
import logging
import re
import secrets
import time

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from prometheus_client import Histogram
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import problems
from core import database, logs
from core.errors import BodyTooLarge, Problem, Unavailable
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
        "scope",
        "status",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope, self._receive, self._send = scope, receive, send
        self.status = 0
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
            headers["x-content-type-options"] = "nosniff"
            if self.scope["path"].startswith("/api/"):
                headers.setdefault("cache-control", "no-store")
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
        log.warning("%s %s: no answer in time", self.scope["method"], self.scope["path"])
        answer = problems.problem_response(
            Unavailable("There was no answer in time. Whether it was done is not known: ask again.")
        )
        answering = asyncio.ensure_future(answer(self.scope, self._receive, self.send_now))
        _answering.add(answering)
        answering.add_done_callback(_answering.discard)

    def record(self, seconds: float) -> None:
        """Record its duration as a metric, and log its line."""
        method, path = self.scope["method"], self.scope["path"]
        route = getattr(self.scope.get("route"), "path", "none")
        _request_seconds.labels(method, route, self.status).observe(seconds)
        log.info("%s %s %d %.1fms", method, path, self.status, seconds * 1_000)


_answering: set[asyncio.Future[None]] = set()


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
        seconds_max = _slow_answers.get(scope["path"], ANSWER_SECONDS_MAX)
        limit = asyncio.get_running_loop().call_later(seconds_max, request.give_up)
        try:
            if request.bytes_left < 0:
                raise _TooLarge
            if request.is_refused_at_the_start:
                await _answer(request, Unavailable("The service is starting; try again."))
            elif scope["method"] in ("GET", "HEAD"):
                with database.only_showing():
                    await self.app(scope, request.receive, request.send)
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
