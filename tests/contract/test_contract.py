"""Three thousand generated requests of every role: no 5xx, nothing that OpenAPI does not say."""

from collections.abc import AsyncIterator

import pytest

from tests.contract import generated, roles
from tests.contract.generated import Outcome
from tests.support.service import Service, running

REQUESTS_MIN = 3_000


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    async with running(roles.settings(mongodb_uri)) as started:
        yield started


def test_a_defect_and_an_undocumented_answer_are_noticed() -> None:
    assert "not_a_server_error" in generated.CHECKED
    assert "status_code_conformance" in generated.CHECKED


@pytest.mark.timeout(600)
async def test_generated_requests_of_every_role(service: Service) -> None:
    people = await roles.people(service)
    plans = roles.plans(people, examples=3, seed=1)
    found: Outcome = await generated.ask(str(service.client.base_url).rstrip("/"), plans)
    assert not found.complaints, generated.told(found.complaints)
    assert found.requests >= REQUESTS_MIN, found
    assert {answer.split()[0] for answer in found.answers} == set(people)
