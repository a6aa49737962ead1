"""Problem responses: errors as `application/problem+json`, and their place in OpenAPI."""

import json
import logging
import re
from collections.abc import Callable
from typing import Any, cast

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from core import database
from core.errors import (
    BodyTooLarge,
    InternalError,
    InvalidRequest,
    MalformedBody,
    MethodNotAllowed,
    NotFound,
    Problem,
    ProblemBody,
    Unavailable,
    UnsupportedMediaType,
)
from core.logs import request_id

log = logging.getLogger("api")

# In front of the name of a model, the packages that its module stands in.
_package_of_model = re.compile(r"\bapi__(?:[a-z_]+__)*(?=[a-z][a-z_]*__[A-Z])")


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


async def on_problem(_: Request, problem: Exception) -> Response:
    """Answer with the problem that a route or a dependency raised."""
    assert isinstance(problem, Problem)
    return problem_response(problem)


async def on_validation(request: Request, problem: Exception) -> Response:
    """Answer 422 with every field that is wrong, 400 for broken JSON, 415 for another content type."""
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


async def on_http(_: Request, problem: Exception) -> Response:
    """Answer what the framework refuses by itself (404, 405, a broken form) as a problem."""
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


async def on_database(request: Request, problem: Exception) -> Response:
    """Answer 503 while MongoDB is away; anything else that it raises is a defect."""
    if not database.is_away(problem):
        return await on_defect(request, problem)
    log.warning("database away: %s", type(problem).__name__)
    return problem_response(
        Unavailable("The database cannot be reached right now. Nothing was lost; try again.")
    )


async def on_defect(_: Request, problem: Exception) -> Response:
    """Answer 500 with the id of the request, and log the defect."""
    log.error("defect: %s", type(problem).__name__, exc_info=problem)
    return problem_response(
        InternalError(f"Something broke on our side. Request {request_id.get()} tells us what.")
    )


def described(generated: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """OpenAPI with the errors as they are: problems, and those that every route may answer with."""
    described = _with_short_names(generated())
    for path, operations in described["paths"].items():
        for operation in operations.values():
            _describe_problems(operation, is_ours=path.startswith("/api/"))
    for name in ("HTTPValidationError", "ValidationError"):
        described["components"]["schemas"].pop(name, None)
    return described


def _with_short_names(generated: dict[str, Any]) -> dict[str, Any]:
    """OpenAPI in which `api__admin__analytics__CallsOut` is `analytics__CallsOut`.

    Two models of one name are published with their modules; clients are generated from these names,
    so they are the same whatever package a module stands in.
    """
    return cast(dict[str, Any], json.loads(_package_of_model.sub("", json.dumps(generated))))


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
