"""The first load of the console: bytes, requests, and the time until the balance is there.

    .venv/bin/python -m tests.browser.first_load http://127.0.0.1:8000

Of a service that was filled by `manage.py demo`, in Chromium with an empty cache, the median of some rounds.
"""

import argparse
import asyncio
import shutil
import statistics
import sys
import time
from typing import Any, Final

from playwright.async_api import Browser, async_playwright

from sandbox.demo_data import PASSWORD
from tests.browser.screenshots import USER, log_in
from tests.browser.visitor import DESKTOP, FLAGS

ROUNDS: Final = 7


async def load(browser: Browser, base: str, token: str) -> dict[str, float]:
    """One load with an empty cache."""
    context = await browser.new_context(viewport=DESKTOP, base_url=base)  # type: ignore[arg-type]
    cookie: Any = {"name": "session", "value": token, "url": base}
    await context.add_cookies([cookie])
    page = await context.new_page()
    session = await context.new_cdp_session(page)
    seen = {"requests": 0, "bytes": 0.0}

    def finished(event: dict[str, Any]) -> None:
        seen["requests"] += 1
        seen["bytes"] += event["encodedDataLength"]

    session.on("Network.loadingFinished", finished)
    await session.send("Network.enable")
    began = time.perf_counter()
    await page.goto("/", wait_until="commit")
    await page.get_by_test_id("available").get_by_text("₹").wait_for()
    seconds = time.perf_counter() - began
    await context.close()
    return {**seen, "seconds": seconds}


async def main() -> int:
    """Print the medians."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("base", help="where the service of the demo runs")
    base = parser.parse_args().base.rstrip("/")
    token = await log_in(base, USER, PASSWORD)
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        rounds = [await load(browser, base, token) for _ in range(ROUNDS)]
        await browser.close()
    for name, unit in (
        ("bytes", "bytes"),
        ("requests", "requests"),
        ("seconds", "s to the balance"),
    ):
        print(f"{statistics.median(each[name] for each in rounds):10.3f} {unit}")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
