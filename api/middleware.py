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
    """Let bodies of up to `bytes_max` through on exactly this path; elsewhere it is 1 MiB."""
    _large_bodies[path] = bytes_max


def install(app: FastAPI) -> None:
    """Give `app` the problem handlers and the gate."""
    app.add_exception_handler(Problem, problems.on_problem)
    app.add_exception_handler(RequestValidationError, problems.on_validation)
    app.add_exception_handler(HTTPException, problems.on_http)
    app.add_exception_handler(database.AnyError, problems.on_database)
    app.add_middleware(Gate)
    app.openapi = functools.partial(problems.described, app.openapi)  # type: ignore[method-assign]


# --- the gate -----------------------------------------------------------------------------------
class _TooLarge(Exception):
    pass


class Gate:
    """Outermost: a request id, an upper bound for bodies, a line in the log, and never a bare 500."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        offered = headers.get(b"x-request-id", b"").decode("latin-1")
        mine = offered if _request_id_form.fullmatch(offered) else secrets.token_hex(8)
        token = request_id.set(mine)
        began = time.perf_counter()
        status = 0
        bytes_left = bytes_max = _large_bodies.get(scope["path"], BODY_BYTES_MAX)

        async def counted() -> Message:
            nonlocal bytes_left
            message = await receive()
            bytes_left -= len(message.get("body", b""))
            if bytes_left < 0:
                raise _TooLarge  # the application may take it for a defect of the body
            return message

        async def labelled(message: Message) -> None:
            nonlocal status
            if bytes_left < 0 and not status:
                raise _TooLarge
            if message["type"] == "http.response.start":
                status = message["status"]
                out = MutableHeaders(scope=message)
                out["x-request-id"] = mine
                out["x-content-type-options"] = "nosniff"
                if scope["path"].startswith("/api/"):
                    out.setdefault("cache-control", "no-store")
            await send(message)

        try:
            declared = headers.get(b"content-length", b"0")
            if not declared.isdigit() or int(declared[:19]) > bytes_max:
                raise _TooLarge
            await self.app(scope, counted, labelled)
        except _TooLarge:
            bytes_left = 0
            problem = BodyTooLarge(f"This endpoint takes at most {bytes_max} bytes.")
            await problems.problem_response(problem)(scope, receive, labelled)
        except Exception as defect:
            if status:
                raise
            response = await problems.on_defect(Request(scope), defect)
            await response(scope, receive, labelled)
        finally:
            seconds = time.perf_counter() - began
            route = getattr(scope.get("route"), "path", "none")
            _request_seconds.labels(scope["method"], route, status).observe(seconds)
            log.info("%s %s %d %.1fms", scope["method"], scope["path"], status, seconds * 1_000)
            request_id.reset(token)
