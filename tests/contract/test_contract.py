"""Three thousand generated requests of every role: no 5xx, nothing that OpenAPI does not say."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
import uvicorn
from fastapi import FastAPI, Response

from tests.contract import generated, roles
from tests.contract.generated import Outcome, Plan
from tests.support.service import Service, running

REQUESTS_MIN = 3_000


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    async with running(roles.settings(mongodb_uri)) as started:
        yield started


async def test_a_defect_and_an_undocumented_answer_are_noticed() -> None:
    faulty = FastAPI()

    @faulty.get("/defect")
    async def defect() -> None:
        raise RuntimeError("a defect")

    @faulty.get("/other")
    async def other() -> Response:
        return Response(status_code=418)

    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(faulty, log_config=None, timeout_graceful_shutdown=2))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        plan = Plan(role="nobody", headers={}, phases=("coverage",), examples=1, seed=1)
        found = await generated.ask(f"http://127.0.0.1:{listening.getsockname()[1]}", [plan])
    finally:
        server.should_exit = True
        await serving
    for said in ("GET /defect: not_a_server_error", "GET /other: status_code_conformance"):
        assert any(each.startswith(said) for each in found.complaints), found.complaints


@pytest.mark.timeout(600)
async def test_generated_requests_of_every_role(service: Service) -> None:
    people = await roles.people(service)
    plans = roles.plans(people, examples=1, seed=1)
    found: Outcome = await generated.ask(str(service.client.base_url).rstrip("/"), plans)
    assert not found.complaints, generated.told(found.complaints)
    assert found.requests >= REQUESTS_MIN, found
    assert {answer.split()[0] for answer in found.answers} == set(people)
