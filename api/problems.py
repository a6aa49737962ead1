"""Problem responses: errors as `application/problem+json`, and their place in OpenAPI."""

import inspect
import json
import logging
import re
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.params import Depends
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from api import access
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

Dependency = TypeVar("Dependency", bound=Callable[..., object])

# The package prefix that FastAPI puts before the name of a model.
_package_of_model = re.compile(r"\bapi__(?:[a-z_]+__)*(?=[a-z][a-z_]*__[A-Z])")


# --- what a route documents ---------------------------------------------------------------------


def documented(*problems: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of a route: these problems, with their meaning, for OpenAPI."""
    answers: dict[int | str, dict[str, Any]] = {}
    for problem in problems:
        _add(answers, problem.status, problem)
    return answers


def _add(answers: dict[Any, dict[str, Any]], status: int | str, problem: type[Problem]) -> None:
    """Add a problem to the answers of this status, unless it is there."""
    meaning = f"`{problem.code}`: {(problem.__doc__ or problem.title).strip().splitlines()[0]}"
    answer = answers.setdefault(status, {"model": ProblemBody, "description": meaning})
    if f"`{problem.code}`" not in answer["description"]:
        answer["description"] += f"\n\n{meaning}"


def raises(*problems: type[Problem]) -> Callable[[Dependency], Dependency]:
    """Declare which problems a dependency raises: every `Route` that depends on it documents them."""

    def mark(dependency: Dependency) -> Dependency:
        _raised_by[dependency] = problems
        return dependency

    return mark


_raised_by: dict[Callable[..., object], tuple[type[Problem], ...]] = {}


def _problems_of(called: Callable[..., object]) -> list[type[Problem]]:
    """The problems of the dependencies of an endpoint, and of those that these depend on."""
    found: list[type[Problem]] = []
    for parameter in inspect.signature(called).parameters.values():
        for extra in getattr(parameter.annotation, "__metadata__", ()):
            if isinstance(extra, Depends) and extra.dependency is not None:
                found += _problems_of(extra.dependency)
                found += _raised_by.get(extra.dependency, ())
    return list(dict.fromkeys(found))


class Route(APIRoute):
    """A route that documents the problems that it names in `responses`, and after them those of its
    dependencies, which need not be named there. It admits a request as the table in `access` says,
    before the body is read."""

    def __init__(
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        responses: dict[int | str, dict[str, Any]] | None = None,
        **options: Any,
    ) -> None:
        answers = {status: {**answer} for status, answer in (responses or {}).items()}
        found = access.find_access(options.get("methods") or ("GET",), path)
        refusals = () if found is None else found.problems
        for problem in (*_problems_of(endpoint), *refusals):
            _add(answers, problem.status, problem)
        super().__init__(path, endpoint, responses=answers, **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler behind the admission: nothing of a body is read for who may not call it."""
        handle = super().get_route_handler()
        found = access.find_access(self.methods or (), self.path)

        async def admitted(request: Request) -> Response:
            if found is None:
                raise RuntimeError(f"{request.method} {self.path} has no entry in api/access.py")
            await access.admit(request, found)
            return await handle(request)

        return admitted


# --- problem responses --------------------------------------------------------------------------


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
    wrong = [
        {
            "field": ".".join(
                str(part) for part in e["loc"] if part not in ("body", "query", "path")
            )
            or str(e["loc"][0]),
            "message": e["msg"].removeprefix("Value error, "),
        }
        for e in found
    ]
    first = wrong[0]
    return problem_response(InvalidRequest(f"{first['field']}: {first['message']}", errors=wrong))


async def on_http(_: Request, problem: Exception) -> Response:
    """Answer the framework's own errors (404, 405, a broken form) as a problem."""
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


# --- OpenAPI ------------------------------------------------------------------------------------


def described(generated: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """OpenAPI with our errors: as problems, and with those that every route may answer with."""
    schema = _with_short_names(generated())
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            _describe_problems(operation, is_ours=path.startswith("/api/"))
    for name in ("HTTPValidationError", "ValidationError"):
        schema["components"]["schemas"].pop(name, None)
    return schema


def _with_short_names(generated: dict[str, Any]) -> dict[str, Any]:
    """OpenAPI in which `api__admin__analytics__CallsOut` is `analytics__CallsOut`.

    Two models of one name are published with their modules; clients are generated from these names,
    so they must not depend on the package of a module.
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
        _add(answers, str(problem.status), problem)
    for status, answer in answers.items():
        if int(status) >= 400:
            answer.pop("model", None)
            schema = {"$ref": "#/components/schemas/ProblemBody"}
            answer["content"] = {"application/problem+json": {"schema": schema}}
    operation["responses"] = dict(sorted(answers.items()))
