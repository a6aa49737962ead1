"""Problem responses: errors as `application/problem+json`, and their place in OpenAPI."""

import dataclasses
import inspect
import json
import logging
import re
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, TypeVar, cast

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.params import Depends
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from api import access, strict_requests
from api.strict_requests import StrictRequest
from auth import rate_limits
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
    TooManyRequests,
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


@dataclasses.dataclass(frozen=True, slots=True)
class _Header:
    """A header that a dependency reads, as OpenAPI has it, and those of the answer that come of it."""

    parameter: dict[str, Any]
    answers: dict[str, str]


_read_by: dict[Callable[..., object], _Header] = {}


def reads(
    parameter: dict[str, Any], *, answers: dict[str, str]
) -> Callable[[Dependency], Dependency]:
    """Declare the header that a dependency reads from the request itself, and the headers (name and
    meaning) of the answers: every `Route` that depends on it documents them."""

    def mark(dependency: Dependency) -> Dependency:
        _read_by[dependency] = _Header(parameter, answers)
        return dependency

    return mark


def _dependencies_of(called: Callable[..., object]) -> list[Callable[..., Any]]:
    """The dependencies of an endpoint, each after those that it depends on itself."""
    found: list[Callable[..., Any]] = []
    for parameter in inspect.signature(called).parameters.values():
        for extra in getattr(parameter.annotation, "__metadata__", ()):
            if isinstance(extra, Depends) and extra.dependency is not None:
                found += [*_dependencies_of(extra.dependency), extra.dependency]
    return list(dict.fromkeys(found))


class Route(APIRoute):
    """A route that documents the problems that it names in `responses`, and after them those of its
    dependencies, which need not be named there. It admits a request as the table in `access` says,
    before the body is read, and refuses query parameters that it does not read."""

    reads_any_query: ClassVar[bool] = False

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
        methods = frozenset(options.get("methods") or ("GET",))
        is_limited = bool(rate_limits.limits_of_route(methods, path))
        if is_limited:
            refusals += (TooManyRequests,)
        dependencies = _dependencies_of(endpoint)
        raised = [problem for each in dependencies for problem in _raised_by.get(each, ())]
        for problem in (*raised, *refusals):
            _add(answers, problem.status, problem)
        if not self.reads_any_query:
            _add(answers, InvalidRequest.status, InvalidRequest)
        super().__init__(path, endpoint, responses=answers, **options)
        headers = [_read_by[each] for each in dependencies if each in _read_by]
        if headers or is_limited:
            self.openapi_extra = _documented_headers(
                headers, self.status_code or 200, is_limited=is_limited
            )

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler behind the admission: nothing of a body is read for who may not call it, and
        what is read is a `StrictRequest`."""
        handle = super().get_route_handler()
        found = access.find_access(self.methods or (), self.path)
        known = strict_requests.parameters_of(self.dependant)
        limits = rate_limits.limits_of_route(frozenset(self.methods or ()), self.path)

        async def admitted(request: Request) -> Response:
            if found is None:
                raise RuntimeError(f"{request.method} {self.path} has no entry in api/access.py")
            await access.admit(request, found)
            for limit in limits:
                await rate_limits.count(limit, (await access.authenticate(request)).user.id)
            if self.reads_any_query:
                return await handle(request)
            strict = StrictRequest(request.scope, request.receive)
            strict_requests.refuse_unknown_parameters(strict, known)
            if self.body_field is None and request.method != "GET":
                await strict_requests.refuse_unread_fields(strict)
            return await handle(strict)

        return admitted


class LenientRoute(Route):
    """A route for what others send as they like: telephone networks, Razorpay, monitoring. Query
    parameters that it does not read are ignored."""

    reads_any_query: ClassVar[bool] = True


_RATE_LIMIT_HEADERS: dict[str, str] = {
    "RateLimit-Limit": "How many are allowed, of the limit of which least is left",
    "RateLimit-Remaining": "How many are left",
    "RateLimit-Reset": "Seconds until its window ends",
}


def _documented_headers(headers: list[_Header], status: int, *, is_limited: bool) -> dict[str, Any]:
    """What OpenAPI has of these headers, in the request and in the answer."""
    answers = {
        name: {"description": meaning, "schema": {"type": "string"}}
        for header in headers
        for name, meaning in header.answers.items()
    }
    if is_limited:
        answers |= {
            name: {"description": meaning, "schema": {"type": "integer", "minimum": 0}}
            for name, meaning in _RATE_LIMIT_HEADERS.items()
        }
    return {
        "parameters": [header.parameter for header in headers],
        "responses": {str(status): {"headers": answers}},
    }


# --- problem responses --------------------------------------------------------------------------


def problem_response(problem: Problem) -> Response:
    """The problem as `application/problem+json`."""
    return Response(
        # A surrogate that stands alone can come from a client's JSON; UTF-8 has none.
        json.dumps(problem.body(), ensure_ascii=False).encode("utf-8", "replace"),
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
    _let_go(problem)
    found = problem.errors()
    sent = request.headers.get("content-type", "").split(";")[0].strip().lower()
    body_unread = any(tuple(e["loc"]) == ("body",) and e["type"] != "missing" for e in found)
    if (broken := next((e for e in found if e["type"] == "json_invalid"), None)) is not None:
        return problem_response(
            MalformedBody(f"The body cannot be read as JSON: {broken['ctx']['error']}.")
        )
    if body_unread and not sent.endswith("json"):
        return problem_response(
            UnsupportedMediaType("Send the body as JSON with Content-Type: application/json.")
        )
    wrong = strict_requests.errors_of(request, problem)
    first = wrong[0]
    return problem_response(InvalidRequest(f"{first['field']}: {first['message']}", errors=wrong))


def _let_go(problem: BaseException) -> None:
    """Free what the frames of a handled error hold, a body of 64 KiB among it: FastAPI keeps the error
    in a variable of such a frame, a cycle that else lives until the collector comes."""
    problem.__traceback__ = problem.__cause__ = problem.__context__ = None


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
        for method, operation in operations.items():
            _describe_problems(
                operation, is_ours=path.startswith("/api/"), has_body=method != "get"
            )
    for name in ("HTTPValidationError", "ValidationError"):
        schema["components"]["schemas"].pop(name, None)
    return schema


def _with_short_names(generated: dict[str, Any]) -> dict[str, Any]:
    """OpenAPI in which `api__admin__analytics__CallsOut` is `analytics__CallsOut`.

    Two models of one name are published with their modules; clients are generated from these names,
    so they must not depend on the package of a module.
    """
    return cast(dict[str, Any], json.loads(_package_of_model.sub("", json.dumps(generated))))


# What the answer of a status always has, for OpenAPI.
_HEADERS_OF: dict[str, dict[str, Any]] = {
    "401": {"WWW-Authenticate": {"required": True, "schema": {"type": "string"}}},
    "429": {"Retry-After": {"required": True, "schema": {"type": "integer", "minimum": 0}}},
    "503": {"Retry-After": {"required": True, "schema": {"type": "integer", "minimum": 0}}},
}


def _describe_problems(operation: dict[str, Any], *, is_ours: bool, has_body: bool) -> None:
    answers = operation["responses"]
    shared: list[type[Problem]] = [Unavailable] if is_ours else []
    if has_body:
        shared.append(BodyTooLarge)
    if "requestBody" in operation:
        shared += [InvalidRequest, MalformedBody, UnsupportedMediaType]
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
            if status in _HEADERS_OF:
                answer["headers"] = _HEADERS_OF[status]
    operation["responses"] = dict(sorted(answers.items()))
