"""Somebody in front of a browser: contexts that are logged in, pages that are watched, axe."""

import json
import re
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import axe_playwright_python
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    Response,
    expect,
)

from tests.support.service import Person, Service

FLAGS: Final = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
DESKTOP: Final = {"width": 1280, "height": 860}
PHONE: Final = {"width": 390, "height": 844}
PATIENCE_MS: Final = 30_000
expect.set_options(timeout=PATIENCE_MS)
GOOD_CARD, DECLINED_CARD, LATE_CARD = (
    "4111 1111 1111 1111",
    "4000 0000 0000 0002",
    "4000 0000 0000 3220",
)
_AXE: Final = Path(axe_playwright_python.__file__).parent / "axe.min.js"
# What a browser says of every answer above 399; the tests expect some of them.
_EXPECTED: Final = re.compile(r"Failed to load resource: (the server responded|net::ERR)")
# Nothing moves, so that nothing is looked at half way.
_STILL: Final = """() => {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync("*, *::before, *::after { animation: none !important; transition: none !important; }");
    document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
}"""


class Visitors:
    """The visitors of one test."""

    def __init__(self, service: Service, browser: Browser) -> None:
        self.service, self._browser = service, browser
        self.url = service.settings.own_url
        self.complaints: list[str] = []
        self._contexts: list[BrowserContext] = []

    async def context(self, person: Person | None = None, **options: Any) -> BrowserContext:
        """A browser of its own; with the cookie of `person`, when there is one."""
        options = {"viewport": DESKTOP, "locale": "en-IN", **options}
        made = await self._browser.new_context(base_url=self.url, **options)
        made.set_default_timeout(PATIENCE_MS)
        made.on("request", self._on_request)
        made.on("response", self._on_response)
        made.on("console", self._on_console)
        made.on("weberror", lambda error: self.complaints.append(f"error: {error.error}"))
        self._contexts.append(made)
        if person is not None:
            cookie: Any = {"name": "session", "value": person.token, "url": self.url}
            await made.add_cookies([cookie])
        return made

    async def visit(self, path: str, person: Person | None = None, **options: Any) -> Page:
        """A page of a browser of its own, at this address."""
        page = await (await self.context(person, **options)).new_page()
        await page.goto(path)
        await settled(page)
        return page

    async def aclose(self) -> None:
        """Close every browser."""
        for context in self._contexts:
            await context.close()

    def _on_request(self, request: Request) -> None:
        if not request.url.startswith((f"{self.url}/", "data:", "blob:", "about:")):
            self.complaints.append(f"asked another origin: {request.url}")

    def _on_response(self, response: Response) -> None:
        """Every page has a policy, and the console the strict one."""
        if response.request.resource_type != "document" or response.request.frame.parent_frame:
            return
        path = urlsplit(response.url).path
        policy = response.headers.get("content-security-policy", "")
        if "default-src 'none'" not in policy:
            self.complaints.append(f"{path}: no policy: {policy}")
        if not path.startswith(("/pay/", "/sandbox/")) and "unsafe" in policy:
            self.complaints.append(f"{path}: a loose policy: {policy}")

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not _EXPECTED.search(message.text):
            self.complaints.append(f"{message.type}: {message.text[:500]}")


async def settled(page: Page) -> None:
    """Until the page has drawn what it asked for."""
    await page.locator("#main").first.wait_for()
    await page.wait_for_function("""() => !document.querySelector('#main .skeleton')""")


async def axe(page: Page, where: str = "") -> list[str]:
    """What axe finds on the page as it is now, a line each."""
    await page.evaluate(_STILL)
    await page.evaluate(_AXE.read_text(encoding="utf-8"))
    found = await page.evaluate(
        "async () => (await axe.run(document, { resultTypes: ['violations'] })).violations"
    )
    return [
        f"{where or page.url}: {each['id']} ({each['impact']}): {node['html'][:160]}"
        f" {json.dumps([check['message'] for check in node['any'][:1]])}"
        for each in found
        for node in each["nodes"][:3]
    ]


async def axe_in_both_themes(page: Page, where: str = "") -> list[str]:
    """What axe finds, light and dark."""
    found = []
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme)
        found += [f"{scheme} {line}" for line in await axe(page, where)]
    return found


async def pay(page: Page, card: str = GOOD_CARD) -> None:
    """Pay in the sandbox's Checkout, on the payment page."""
    frame = page.frame_locator("iframe")
    await frame.locator("#number").fill(card)
    await frame.locator("#pay").click()
