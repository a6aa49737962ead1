"""Every page in its states, light and dark: axe finds nothing, no request leaves, the policy is there."""

import asyncio

import pytest
from playwright.async_api import Page, Route

from tests.browser.visitor import PHONE, Visitors, axe, axe_in_both_themes, settled
from tests.browser.world import World, filled
from tests.project import web
from tests.support.service import Person, Service

PATHS = sorted(web.pages())
DOORS = ("/login", "/signup")
OF_USERS = [path for path in PATHS if not path.startswith("/admin") and path not in DOORS]
OF_STAFF = [path for path in PATHS if path not in (*DOORS, "/")]


@pytest.fixture(scope="session")
async def world(service: Service) -> World:
    """People and things of every kind, made once."""
    return await filled(service)


@pytest.mark.parametrize("path", DOORS)
async def test_the_doors(visitors: Visitors, path: str) -> None:
    page = await visitors.visit(path)
    assert await axe_in_both_themes(page) == []
    await page.locator("button[type=submit]").click()
    assert await axe(page, f"{path} refused") == []
    await page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    assert await axe(page, f"{path} on a phone") == []


async def look(visitors: Visitors, person: Person, paths: list[str]) -> list[str]:
    """What axe finds on these pages of this person, light and dark, and on a phone."""
    context = await visitors.context(person)
    page = await context.new_page()
    found: list[str] = []
    for path in paths:
        await page.goto(path)
        await settled(page)
        found += await axe_in_both_themes(page, path)
        found += await too_wide(page, path)
    await page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    for path in paths:
        await page.goto(path)
        await settled(page)
        found += await axe(page, f"phone {path}")
        found += await too_wide(page, f"phone {path}")
    return found


async def too_wide(page: Page, where: str) -> list[str]:
    """Whether one has to scroll sideways to see the page."""
    wide = await page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    return [f"{where}: {wide} px too wide"] if wide > 0 else []


async def test_the_pages_of_a_user(visitors: Visitors, world: World) -> None:
    assert await look(visitors, world.asha, [world.path(path) for path in OF_USERS]) == []


async def test_the_pages_of_a_new_user_are_empty_and_say_so(
    visitors: Visitors, service: Service
) -> None:
    new = await service.signup()
    empty = [path for path in OF_USERS if ":" not in path]
    assert await look(visitors, new, empty) == []


@pytest.mark.parametrize("half", [0, 1])
async def test_the_pages_of_an_admin(visitors: Visitors, world: World, half: int) -> None:
    assert await look(visitors, world.admin, [world.path(path) for path in OF_STAFF[half::2]]) == []


async def test_the_pages_of_an_operator(visitors: Visitors, world: World) -> None:
    found: list[str] = []
    page = await (await visitors.context(world.operator)).new_page()
    for path in (world.path(path) for path in OF_STAFF):
        await page.goto(path)
        await settled(page)
        found += await axe(page, path)
    assert found == []


async def test_while_it_loads_and_when_it_fails(visitors: Visitors, world: World) -> None:
    """Loading and failing are states with words, not empty pages."""
    context = await visitors.context(world.asha)
    page = await context.new_page()
    gate = asyncio.Event()

    async def wait(route: Route) -> None:
        await gate.wait()
        await route.continue_()

    async def fail(route: Route) -> None:
        await route.fulfill(status=503, json={"status": 503, "code": "service_unavailable"})

    found: list[str] = []
    asked = "**/api/{calls,campaigns,transactions,payment,wallet,do-not-call,numbers}**"
    for path in ("/", "/calls", "/campaigns", "/transactions", "/payments", "/do-not-call"):
        gate.clear()
        await page.route(asked, wait)
        await page.goto(path)
        await page.locator("main .skeleton, main").first.wait_for()
        found += await axe(page, f"{path} loading")
        gate.set()
        await page.unroute_all(behavior="ignoreErrors")
        await page.route(asked, fail)
        await page.goto(path)
        await settled(page)
        assert "₹0.00" not in await page.locator("#main").inner_text(), f"{path}: unknown is not 0"
        found += await axe_in_both_themes(page, f"{path} failed")
        await page.unroute(asked, fail)
    assert found == []


async def test_the_dialogs_of_every_page(visitors: Visitors, world: World) -> None:
    page = await visitors.visit("/", world.asha)
    found: list[str] = []
    for keys, what in (("/", "search"), ("?", "shortcuts"), ("+", "recharge")):
        await page.keyboard.press(keys)
        await page.locator("dialog[open]").wait_for()
        found += await axe_in_both_themes(page, what)
        await page.keyboard.press("Escape")
        await page.locator("dialog[open]").wait_for(state="detached")
    assert found == []


async def test_the_console_in_hindi(visitors: Visitors, world: World) -> None:
    page = await visitors.visit("/", world.asha)
    await page.locator("aside select").first.select_option("hi")
    await page.wait_for_function("() => document.documentElement.lang === 'hi'")
    await settled(page)
    assert web.texts("hi")["nav.calls"] in await page.locator("nav").first.inner_text()
    assert await axe(page, "Hindi") == []
    await page.reload()
    await settled(page)
    assert await page.evaluate("document.documentElement.lang") == "hi"


async def test_an_address_without_a_page_says_so(visitors: Visitors, world: World) -> None:
    page = await visitors.visit("/calls/a/b/c", world.asha)
    await page.get_by_text(web.texts("en")["states.nowhere"]).wait_for()
    assert await axe(page) == []
