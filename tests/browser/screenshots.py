"""Pictures of the console in docs/console/: light and dark, at a desk and on a phone.

    ./setup_wallet.sh demo && ./setup_wallet.sh run      # in another terminal
    .venv/bin/python -m tests.browser.screenshots http://127.0.0.1:8000 [--only home,call]

The service is one that was filled by `demo`: people, ids and figures are those of its month.
"""

import argparse
import asyncio
import base64
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any, Final

import httpx
from playwright.async_api import Browser, Page, async_playwright

from sandbox.demo_data import PASSWORD
from tests.browser.visitor import DESKTOP, FLAGS, PHONE, settled

FOLDER: Final = Path(__file__).resolve().parent.parent.parent / "docs" / "console"
BYTES_MAX: Final = 60_000
USER, ADMIN = "asha@example.com", os.environ.get("ADMIN_EMAIL", "admin@example.com")
# Name of the picture: whose page, at which address, what is pressed before.
PICTURES: Final[dict[str, tuple[str, str, str]]] = {
    "log-in": ("", "/login", ""),
    "sign-up": ("", "/signup", ""),
    "home": (USER, "/", ""),
    "recharge": (USER, "/", "+"),
    "payment": (USER, "/pay/:order", ""),
    "calls": (USER, "/calls", ""),
    "new-call": (USER, "/calls/new?to=%2B919876543210", ""),
    "call": (USER, "/calls/:call", ""),
    "campaigns": (USER, "/campaigns", ""),
    "new-campaign": (USER, "/campaigns/new", ""),
    "campaign": (USER, "/campaigns/:campaign", ""),
    "transactions": (USER, "/transactions", ""),
    "payments": (USER, "/payments", ""),
    "order": (USER, "/payments/:order", ""),
    "do-not-call": (USER, "/do-not-call", ""),
    "number": (USER, "/numbers/:number", ""),
    "account": (USER, "/account", ""),
    "overview": (ADMIN, "/admin", ""),
    "users": (ADMIN, "/admin/users", ""),
    "user": (ADMIN, "/admin/users/:user", ""),
    "review": (ADMIN, "/admin/review", ""),
    "rates": (ADMIN, "/admin/rates", ""),
    "books": (ADMIN, "/admin/books", ""),
    "complaints": (ADMIN, "/admin/complaints", ""),
    "rules": (ADMIN, "/admin/rules", ""),
    "network": (ADMIN, "/admin/network", ""),
    "audit-log": (ADMIN, "/admin/log", ""),
    "search": (ADMIN, "/admin", "/"),
}


async def log_in(base: str, email: str, password: str) -> str:
    """The token of somebody of the demo."""
    async with httpx.AsyncClient(base_url=base) as client:
        answer = await client.post("/api/auth/login", json={"email": email, "password": password})
    if answer.status_code != httpx.codes.OK:
        raise SystemExit(f"{email} cannot log in: {answer.text}\nIs it a service of the demo?")
    return str(answer.json()["access_token"])


async def things(base: str, token: str) -> dict[str, str]:
    """The ids that stand in the addresses: of the newest things of the user."""
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=base, headers=headers) as client:

        async def first(path: str, name: str) -> dict[str, Any]:
            rows: list[dict[str, Any]] = (await client.get(path)).json()[name]
            return rows[0]

        call = await first("/api/calls?status=completed", "calls")
        me = (await client.get("/api/auth/me")).json()
        return {
            ":call": call["call_id"],
            ":number": call["to"],
            ":campaign": (await first("/api/campaigns?status=running", "campaigns"))["campaign_id"],
            ":order": (await first("/api/payment/orders", "orders"))["order_id"],
            ":user": me["id"],
        }


async def picture(page: Page) -> bytes:
    """What is on the page, as WebP that is small enough."""
    session = await page.context.new_cdp_session(page)
    for quality in (82, 70, 55, 40):
        asked = {"format": "webp", "quality": quality}
        shot = await session.send("Page.captureScreenshot", asked)
        content = base64.b64decode(shot["data"])
        if len(content) <= BYTES_MAX:
            break
    await session.detach()
    return content


def _keep(name: str, content: bytes) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{name}.webp").write_bytes(content)


async def take(browser: Browser, base: str, names: list[str]) -> list[str]:
    """Take the pictures; what went wrong on the pages."""
    tokens = {USER: await log_in(base, USER, PASSWORD)}
    tokens[ADMIN] = await log_in(base, ADMIN, os.environ.get("ADMIN_PASSWORD", PASSWORD))
    ids, wrong = await things(base, tokens[USER]), []
    for size, viewport in (("desk", DESKTOP), ("phone", PHONE)):
        for whose in ("", USER, ADMIN):
            context = await browser.new_context(
                viewport=viewport,  # type: ignore[arg-type]
                base_url=base,
                locale="en-IN",
                device_scale_factor=1 if size == "desk" else 1.5,
            )
            context.set_default_timeout(60_000)
            if whose:
                cookie: Any = {"name": "session", "value": tokens[whose], "url": base}
                await context.add_cookies([cookie])
            page = await context.new_page()
            page.on("pageerror", lambda error: wrong.append(str(error)))
            for name in (each for each in names if PICTURES[each][0] == whose):
                _, path, key = PICTURES[name]
                await page.goto(re.sub(r":[a-z]+", lambda found: ids[found[0]], path))
                await settled(page)
                if key:
                    await page.keyboard.press(key)
                    await page.locator("dialog[open]").wait_for()
                for scheme in ("light", "dark"):
                    await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
                    await page.evaluate("document.fonts.ready.then(() => true)")
                    _keep(f"{name}-{size}-{scheme}", await picture(page))
                print(f"{name} {size}", flush=True)
            await context.close()
    return wrong


async def main() -> int:
    """Take them all, or those that are asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("base", help="where the service of the demo runs")
    parser.add_argument("--only", default=",".join(PICTURES), help="names, with commas")
    given = parser.parse_args()
    chromium = shutil.which("chromium")
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=chromium, args=FLAGS)
        wrong = await take(browser, given.base.rstrip("/"), given.only.split(","))
        await browser.close()
    print("\n".join(wrong) or "no page broke")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
