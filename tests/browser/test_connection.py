"""The service goes away while somebody works, and comes back: real processes, killed with `kill -9`."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from core import config
from tests.browser.visitor import Visitors, axe_in_both_themes, settled
from tests.browser.world import t
from tests.support.processes import Processes, processes
from tests.support.service import Service

NUMBER = "+919876543210"


@pytest.fixture
async def apart(service: Service, tmp_path: Path) -> AsyncIterator[Processes]:
    """A service of its own, which can be killed; the settings of this process stay those of `service`."""
    try:
        async with processes(tmp_path) as whole:
            config.use(service.settings)
            yield whole
    finally:
        config.use(service.settings)


async def test_what_is_typed_while_the_service_is_away_is_done_once_when_it_is_back(
    apart: Processes, browser: Browser
) -> None:
    asha = await apart.service.signup()
    await apart.recharge(asha, 500)
    visitors = Visitors(apart.service, browser)
    page = await visitors.visit("/calls/new", asha)
    available, main = page.get_by_test_id("available"), page.locator("#main")
    await expect(available).to_contain_text("₹500.00")
    number = page.get_by_label(t("calls.number"), exact=True)
    await number.fill(NUMBER)
    call = page.get_by_role("button", name=t("calls.call_now"), exact=True)
    await expect(call).to_be_enabled()

    other = await page.context.new_page()
    await other.goto("/")
    await settled(other)

    await asyncio.to_thread(apart.kill)
    await expect(main).to_contain_text(t("notices.out_of_touch"))
    await call.click()
    await expect(main).to_contain_text(t("problems.unreachable"))
    await expect(number).to_have_value(NUMBER)
    await expect(available).to_contain_text("₹500.00")  # what was known last, and said to be old
    assert await axe_in_both_themes(page, "away") == []
    # A page that was not opened yet is unknown, which is not empty.
    await other.get_by_role("link", name=t("nav.transactions"), exact=True).first.click()
    await expect(other.locator("#main")).to_contain_text(t("problems.unreachable"))

    await apart.start()
    await expect(main).not_to_contain_text(t("notices.out_of_touch"), timeout=60_000)
    await expect(other.locator("#main")).to_contain_text("₹500.00")  # by itself
    await expect(call).to_be_enabled()
    await call.click()
    await page.wait_for_url("**/calls/call_*")
    assert len((await apart.service.get("/api/calls", asha)).json()["calls"]) == 1
    await apart.recharge(asha, 100)  # told, as before
    await settled(page)
    left = (await apart.service.get("/api/wallet/balance", asha)).json()["available"]
    await expect(available).to_contain_text(f"₹{left:.2f}")
    await visitors.aclose()
    assert visitors.complaints == []
