"""System routes: who reads the metrics, and where the pages for developers are not served."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

import main
from core import config
from tests.support.service import Service, running
from tests.support.service import test_settings as settings_of_tests


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for all tests of this file."""
    async with running(settings_of_tests(mongodb_uri)) as started:
        yield started


@pytest.fixture
def change(service: Service) -> Iterator[Any]:
    """Changes settings that are read with each request, until the end of the test."""
    yield lambda **changes: config.use(service.settings.model_copy(update=changes))
    config.use(service.settings)


async def metrics(service: Service, **headers: str) -> tuple[int, str]:
    answer = await service.get("/metrics", headers=headers)
    return answer.status_code, "" if answer.status_code == 200 else answer.json()["code"]


async def test_without_a_token_only_this_machine_reads_the_metrics(
    service: Service, change: Any
) -> None:
    assert await metrics(service) == (200, "")
    for header in ("X-Forwarded-For", "X-Forwarded-Proto", "Forwarded"):
        assert await metrics(service, **{header: "127.0.0.1"}) == (403, "forbidden"), header
    change(app_env="production")
    assert await metrics(service) == (403, "forbidden")


async def test_with_a_token_only_who_sends_it_reads_the_metrics(
    service: Service, change: Any
) -> None:
    change(metrics_token=SecretStr("a token for Prometheus"), app_env="production")
    assert await metrics(service) == (401, "not_authenticated")
    for wrong in ("Bearer another", "Bearer", "Basic a token for Prometheus"):
        assert (await metrics(service, Authorization=wrong))[0] == 401, wrong
    right = {"Authorization": "Bearer a token for Prometheus"}
    assert await metrics(service, **right) == (200, "")
    forwarded = {"X-Forwarded-For": "198.51.100.1", **right}
    assert await metrics(service, **forwarded) == (200, "")


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"app_env": "production"}, 404),
        ({"app_env": "production", "api_docs": True}, 200),
        ({"app_env": "development"}, 200),
        ({"app_env": "development", "api_docs": False}, 404),
    ],
)
async def test_the_pages_for_developers_are_not_served_in_production(
    settings: config.Settings, changes: dict[str, Any], status: int
) -> None:
    chosen = settings.model_copy(update=changes)
    config.use(chosen)
    application = main.create_app()
    config.use(settings)  # requests without the edge's bounds are served
    transport = httpx.ASGITransport(app=application)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        for path in ("/docs", "/openapi.json", "/docs-assets/favicon.png"):
            assert (await client.get(path)).status_code == status, path
        assert (await client.get("/health")).status_code == 200
    assert chosen.recharge_page_url.endswith("/?recharge")
    assert application.openapi()["paths"], "make openapi works all the same"
