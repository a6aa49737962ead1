"""The HTTP manners that every route shares: problems, pages, request ids, limits, idempotency."""

import dataclasses
import functools
import hashlib
import json
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from prometheus_client import Histogram
from pydantic import BaseModel
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from ulid import ULID

import clock
import database
from database import Index, db
from errors import (
    BodyTooLarge,
    IdempotencyKeyReused,
    InternalError,
    InvalidRequest,
    MalformedBody,
    MethodNotAllowed,
    NotFound,
    Problem,
    ProblemBody,
    StillRunning,
    Unavailable,
    UnsupportedMediaType,
)
from logs import request_id
from pagination import behind as behind  # these four for the routes that say `api.` still
from pagination import cut as cut
from pagination import decode_cursor as decode_cursor
from pagination import encode_cursor as encode_cursor

log = logging.getLogger("api")

# --- vocabulary ---------------------------------------------------------------------------------

BODY_BYTES_MAX = 1024 * 1024
PAGE_LIMIT_MAX = 200
PAGE_LIMIT_DEFAULT = 50
_LEASE_SECONDS = 60
_KEPT_DAYS = 7

_request_seconds = Histogram(
    "http_request_seconds", "Duration of one request", ["method", "route", "status"]
)

_large_bodies: dict[str, int] = {}
_request_id_form = re.compile(r"[A-Za-z0-9._-]{1,64}")
_idempotency_key_form = re.compile(r"[\x21-\x7e]{1,255}")


def allow_large_body(path: str, bytes_max: int) -> None:
    """Let bodies of up to `bytes_max` through on exactly this path; elsewhere it is 1 MiB."""
    _large_bodies[path] = bytes_max


def documented(*problems: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of a route: these problems, with their meaning, for OpenAPI."""
    found: dict[int | str, dict[str, Any]] = {}
    for problem in problems:
        line = f"`{problem.code}`: {(problem.__doc__ or problem.title).strip().splitlines()[0]}"
        if problem.status in found:
            found[problem.status]["description"] += f"\n\n{line}"
        else:
            found[problem.status] = {"model": ProblemBody, "description": line}
    return found


# --- problems -----------------------------------------------------------------------------------


def problem_response(problem: Problem) -> Response:
    """The problem as `application/problem+json`."""
    return Response(
        json.dumps(problem.body(), ensure_ascii=False),
        status_code=problem.status,
        headers=problem.headers,
        media_type="application/problem+json",
    )


async def _on_problem(_: Request, problem: Exception) -> Response:
    assert isinstance(problem, Problem)
    return problem_response(problem)


async def _on_validation(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, RequestValidationError)
    found = problem.errors()
    sent = request.headers.get("content-type", "").split(";")[0].strip().lower()
    body_unread = any(tuple(e["loc"]) == ("body",) and e["type"] != "missing" for e in found)
    if any(e["type"] == "json_invalid" for e in found):
        return problem_response(MalformedBody("The body is not valid JSON."))
    if body_unread and not sent.endswith("json"):
        return problem_response(
            UnsupportedMediaType("Send the body as JSON with Content-Type: application/json.")
        )
    told = [
        {
            "field": ".".join(
                str(part) for part in e["loc"] if part not in ("body", "query", "path")
            )
            or str(e["loc"][0]),
            "message": e["msg"].removeprefix("Value error, "),
        }
        for e in found
    ]
    first = told[0]
    return problem_response(InvalidRequest(f"{first['field']}: {first['message']}", errors=told))


async def _on_http(_: Request, problem: Exception) -> Response:
    assert isinstance(problem, HTTPException)
    known: dict[int, type[Problem]] = {
        404: NotFound,
        405: MethodNotAllowed,
        400: MalformedBody,
        413: BodyTooLarge,
    }
    detail = {404: "There is nothing at this address.", 405: "This address has other methods."}.get(
        problem.status_code, str(problem.detail)
    )
    kind = known.get(problem.status_code, InternalError)
    return problem_response(kind(detail, headers=dict(problem.headers or {})))


async def _on_database(request: Request, problem: Exception) -> Response:
    if not database.is_away(problem):
        return await _on_defect(request, problem)
    log.warning("database away: %s", type(problem).__name__)
    return problem_response(
        Unavailable("The database cannot be reached right now. Nothing was lost; try again.")
    )


async def _on_defect(_: Request, problem: Exception) -> Response:
    log.error("defect: %s", type(problem).__name__, exc_info=problem)
    return problem_response(
        InternalError(f"Something broke on our side. Request {request_id.get()} tells us what.")
    )


def install(app: FastAPI) -> None:
    """Give `app` the problem handlers and the gate."""
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(database.AnyError, _on_database)
    app.add_middleware(Gate)
    app.openapi = functools.partial(_described, app.openapi)  # type: ignore[method-assign]


def _described(generated: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """OpenAPI with the errors as they are: problems, and those that every route may answer with."""
    described = generated()
    for path, operations in described["paths"].items():
        for operation in operations.values():
            _describe_problems(operation, is_ours=path.startswith("/api/"))
    for name in ("HTTPValidationError", "ValidationError"):
        described["components"]["schemas"].pop(name, None)
    return described


def _describe_problems(operation: dict[str, Any], *, is_ours: bool) -> None:
    answers = operation["responses"]
    shared: list[type[Problem]] = [Unavailable] if is_ours else []
    if "requestBody" in operation:
        shared += [InvalidRequest, MalformedBody, UnsupportedMediaType, BodyTooLarge]
    if "HTTPValidationError" in str(answers.get("422")):
        del answers["422"]
        if any(asked["in"] != "path" for asked in operation.get("parameters", [])):
            shared.append(InvalidRequest)
    for problem in shared:
        for status, answer in documented(problem).items():
            known = answers.setdefault(str(status), answer)
            if f"`{problem.code}`" not in known["description"]:
                known["description"] += f"\n\n{answer['description']}"
    for status, answer in answers.items():
        if int(status) >= 400:
            answer.pop("model", None)
            schema = {"$ref": "#/components/schemas/ProblemBody"}
            answer["content"] = {"application/problem+json": {"schema": schema}}


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
            await problem_response(problem)(scope, receive, labelled)
        except Exception as defect:
            if status:
                raise
            response = await _on_defect(Request(scope), defect)
            await response(scope, receive, labelled)
        finally:
            seconds = time.perf_counter() - began
            route = getattr(scope.get("route"), "path", "none")
            _request_seconds.labels(scope["method"], route, status).observe(seconds)
            log.info("%s %s %d %.1fms", scope["method"], scope["path"], status, seconds * 1_000)
            request_id.reset(token)


# --- idempotency --------------------------------------------------------------------------------

database.declare(
    "idempotency_keys", indexes=[Index(("created_at",), expire_seconds=_KEPT_DAYS * 86_400)]
)


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What `once` sends and keeps: a status and a model."""

    status: int
    model: BaseModel


async def once(
    request: Request,
    user_id: str,
    work: Callable[[str], Awaitable[Answer]],
    *,
    fingerprint: bytes | None = None,
) -> Response:
    """Answer a POST that creates something; honour its `Idempotency-Key`.

    `work(seed)` does it and gives the answer. `seed` is the same in every attempt with the same
    key, so ids made from it (`call_{seed}`) are found again after a crash between doing the work
    and keeping the answer. Only answers that are no problem are kept: after a 402 the same key
    may be tried again once the wallet is recharged. `fingerprint` stands for the body where it is
    not JSON (uploads). Raises IdempotencyKeyReused and StillRunning.
    """
    key = request.headers.get("idempotency-key")
    if key is None:
        answer = await work(str(ULID()))
        return _json(answer.status, answer.model.model_dump_json())
    if not _idempotency_key_form.fullmatch(key):
        message = "1 to 255 printable ASCII characters without spaces"
        raise InvalidRequest(
            f"Idempotency-Key: {message}",
            errors=[{"field": "Idempotency-Key", "message": message}],
        )
    body = fingerprint if fingerprint is not None else await request.body()
    digest = hashlib.sha256(request.url.query.encode() + b"\0" + body).hexdigest()
    record_id = database.stable_id("idem", user_id, request.method, request.url.path, key)
    record = await _claim(record_id, digest, user_id)
    if record["body_digest"] != digest:
        raise IdempotencyKeyReused(
            "This Idempotency-Key was used with another body. Use a new key for a new request."
        )
    if record["answer"] is not None:
        kept = record["answer"]
        return _json(kept["status"], kept["body"], {"Idempotency-Replayed": "true"})
    if not record["mine"]:
        raise StillRunning(
            "The first request with this Idempotency-Key is still running; ask again shortly.",
            headers={"Retry-After": "1"},
        )
    try:
        answer = await work(record["seed"])
    except BaseException:
        await db.idempotency_keys.update_one({"_id": record_id}, {"$set": {"lease_until": None}})
        raise
    text = answer.model.model_dump_json()
    await db.idempotency_keys.update_one(
        {"_id": record_id}, {"$set": {"answer": {"status": answer.status, "body": text}}}
    )
    return _json(answer.status, text)


async def _claim(record_id: str, digest: str, user_id: str) -> dict[str, Any]:
    """The record of this key, and in `mine` whether this request may do the work."""
    now = clock.now()
    fresh = {
        "_id": record_id,
        "user_id": user_id,
        "body_digest": digest,
        "seed": str(ULID()),
        "answer": None,
        "lease_until": clock.after(_LEASE_SECONDS),
        "created_at": now,
    }
    try:
        await db.idempotency_keys.insert_one(fresh)
    except database.DuplicateKey:
        taken = await db.idempotency_keys.find_one_and_update(
            {
                "_id": record_id,
                "body_digest": digest,
                "answer": None,
                "$or": [{"lease_until": None}, {"lease_until": {"$lt": now}}],
            },
            {"$set": {"lease_until": clock.after(_LEASE_SECONDS)}},
        )
        if taken is not None:
            return {**taken, "mine": True}
        existing = await db.idempotency_keys.find_one({"_id": record_id})
        if existing is None:  # it expired in this very moment
            raise StillRunning("Please send the request again.") from None
        return {**existing, "mine": False}
    return {**fresh, "mine": True}


def _json(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    return Response(text, status_code=status, headers=headers, media_type="application/json")
