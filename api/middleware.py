"""HTTP middleware: request ids, the size limit of bodies, security headers, durations."""

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
from core import database
from core.errors import BodyTooLarge, Problem
from core.logs import request_id

log = logging.getLogger("api")

BODY_BYTES_MAX = 1024 * 1024

_request_seconds = Histogram(
    "http_request_seconds", "Duration of one request", ["method", "route", "status"]
)

_large_bodies: dict[str, int] = {}
_request_id_form = re.compile(r"[A-Za-z0-9._-]{1,64}")


def allow_large_body(path: str, bytes_max: int) -> None:
    """Accept bodies of up to `bytes_max` on exactly this path; elsewhere the limit is 1 MiB."""
    _large_bodies[path] = bytes_max


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

    __slots__ = ("_receive", "_send", "bytes_left", "bytes_max", "id", "scope", "status")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope, self._receive, self._send = scope, receive, send
        self.status = 0
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

    def record(self, seconds: float) -> None:
        """Record its duration as a metric, and log its line."""
        method, path = self.scope["method"], self.scope["path"]
        route = getattr(self.scope.get("route"), "path", "none")
        _request_seconds.labels(method, route, self.status).observe(seconds)
        log.info("%s %s %d %.1fms", method, path, self.status, seconds * 1_000)


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
        try:
            if request.bytes_left < 0:
                raise _TooLarge
            await self.app(scope, request.receive, request.send)
        except _TooLarge:
            request.bytes_left = 0
            problem = BodyTooLarge(f"This endpoint takes at most {request.bytes_max} bytes.")
            await problems.problem_response(problem)(scope, receive, request.send)
        except Exception as defect:
            if request.status:
                raise
            response = await problems.on_defect(Request(scope), defect)
            await response(scope, receive, request.send)
        finally:
            request.record(time.perf_counter() - began)
            request_id.reset(token)
