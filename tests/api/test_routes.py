"""What a route documents: the problems that it names, and those of its dependencies."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI

from api import problems
from api.dependencies import Admin, Page
from api.idempotency import Idempotent
from core.errors import InvalidRequest, NotFound, TooManyRequests, Unavailable


def responses_of(router: APIRouter) -> dict[str, Any]:
    """Status and description of every answer of the router's only route."""
    app = FastAPI()
    app.include_router(router)
    (path,) = app.openapi()["paths"].values()
    (operation,) = path.values()
    return {status: each["description"] for status, each in operation["responses"].items()}


def codes_of(description: str) -> list[str]:
    return [line.split("`")[1] for line in description.split("\n\n")]


def test_a_route_documents_what_its_dependencies_and_theirs_answer_with() -> None:
    router = APIRouter(route_class=problems.Route)

    @router.post("/things")
    async def create(_: Admin, once: Idempotent) -> None: ...

    found = responses_of(router)
    assert codes_of(found["401"]) == ["not_authenticated"]
    assert codes_of(found["403"]) == ["forbidden"]
    assert codes_of(found["409"]) == ["request_in_progress"]
    assert codes_of(found["422"]) == ["validation_error", "idempotency_key_reused"]


def test_what_a_route_names_comes_first_and_nothing_twice() -> None:
    router = APIRouter(route_class=problems.Route)

    @problems.raises(NotFound, TooManyRequests)
    async def dependency() -> int:
        return 1

    @router.get("/things", responses=problems.documented(InvalidRequest, NotFound))
    async def show(page: Page, number: Annotated[int, Depends(dependency)]) -> None: ...

    found = responses_of(router)
    assert codes_of(found["422"]) == ["validation_error", "invalid_cursor"]
    assert codes_of(found["404"]) == ["not_found"]
    assert codes_of(found["429"]) == ["rate_limited"]


def test_routes_that_share_their_responses_do_not_change_each_other() -> None:
    shared = problems.documented(Unavailable)
    before = {status: dict(answer) for status, answer in shared.items()}

    @problems.raises(NotFound, Unavailable)
    async def dependency() -> int:
        return 1

    router = APIRouter(route_class=problems.Route)

    @router.get("/things", responses=shared)
    async def show(number: Annotated[int, Depends(dependency)]) -> None: ...

    assert shared == before
    assert codes_of(responses_of(router)["404"]) == ["not_found"]


def test_a_page_and_an_idempotency_key_ask_for_limit_cursor_and_the_header() -> None:
    app = FastAPI()
    router = APIRouter(route_class=problems.Route)

    @router.post("/things")
    async def create(page: Page, once: Idempotent) -> None: ...

    app.include_router(router)
    operation = app.openapi()["paths"]["/things"]["post"]
    names = [each["name"] for each in operation["parameters"]]
    assert names == ["limit", "cursor", "Idempotency-Key"]
    assert list(operation["responses"]["200"]["headers"]) == ["Idempotency-Replayed"]
    assert "requestBody" not in operation
