"""One service, one browser, and visitors: pages that may speak to the service alone and have no errors."""

import contextlib
import shutil
from collections.abc import AsyncIterator
from typing import Final

import pytest
from playwright.async_api import Browser, async_playwright

from tests.browser.visitor import FLAGS, Visitors
from tests.support.service import Service, running, test_settings

SETTINGS: Final = {
    "login_attempts_per_minute": 1_000,
    "adjustment_confirm_above": 1_000,
    "unpaid_orders_per_hour": 1_000,
    "unpaid_orders_per_day": 1_000,
}


@pytest.fixture(scope="session")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """The service of all tests in a browser: each makes its own people."""
    async with running(test_settings(mongodb_uri, **SETTINGS)) as started:
        yield started


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Chromium, started once."""
    chromium = shutil.which("chromium")
    assert chromium, "Chromium is not installed: apt-get install chromium"
    async with async_playwright() as driver:
        started = await driver.chromium.launch(executable_path=chromium, args=FLAGS)
        yield started
        await started.close()


@pytest.fixture
async def visitors(service: Service, browser: Browser) -> AsyncIterator[Visitors]:
    """Who visits in this test. What they asked of another origin, or a script complained about, fails it."""
    async with contextlib.aclosing(Visitors(service, browser)) as found:
        yield found
        assert found.complaints == []
