"""In Chromium: the checkout script, the pay page, and the Swagger page, none of it from outside.

Not part of `./setup_wallet.sh test`, which needs nothing but Python: `.ci/run` installs Chromium
and calls `pytest tests/browser`.
"""

import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import FrameLocator, Page, Request, async_playwright

from tests.support.service import PASSWORD, Person, Service

FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


@pytest.fixture
async def page(service: Service) -> AsyncIterator[Page]:
    """A page that may speak to the service alone."""
    chromium = shutil.which("chromium")
    assert chromium, "Chromium is not installed: apt-get install chromium"
    foreign: list[str] = []

    def watch(request: Request) -> None:
        if not request.url.startswith((service.settings.own_url, "data:", "blob:", "about:")):
            foreign.append(request.url)

    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=chromium, args=FLAGS)
        opened = await browser.new_page()
        opened.set_default_timeout(15_000)
        opened.on("request", watch)
        yield opened
        await browser.close()
    assert foreign == [], "the page asked the internet"


async def order_of(service: Service, person: Person) -> dict[str, Any]:
    answer = await service.post("/api/payment/create-order", person, json={"amount": 250})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def open_checkout(
    service: Service, page: Page, person: Person, order_id: str
) -> FrameLocator:
    """Do what a front end does: load the script that the service names, open Checkout."""
    key = (await service.get("/api/payment/razorpay-key", person)).json()
    shop = f"{service.settings.own_url}/shop"  # a front end's own page; ours have a policy
    await page.route(shop, lambda asked: asked.fulfill(body="Shop", content_type="text/html"))
    await page.goto(shop)
    await page.add_script_tag(url=key["checkout_url"])
    await page.evaluate(
        """([key, order]) => {
            window.told = [];
            const checkout = new Razorpay({
                key, order_id: order, name: "Calls", description: "Recharge",
                handler: (response) => told.push(["paid", response]),
                modal: { ondismiss: () => told.push(["dismissed"]) },
            });
            checkout.on("payment.failed", (response) => told.push(["failed", response.error]));
            checkout.open();
        }""",
        [key["key_id"], order_id],
    )
    return page.frame_locator("iframe")


async def pay(frame: FrameLocator, card: str) -> None:
    await frame.locator("#number").fill(card)
    await frame.locator("#pay").click()


async def test_checkout_pays_and_the_wallet_is_recharged(service: Service, page: Page) -> None:
    asha = await service.signup()
    order = await order_of(service, asha)
    frame = await open_checkout(service, page, asha, order["order_id"])
    assert "simulator" in (await frame.locator(".notice").inner_text()).lower()
    await pay(frame, "4111 1111 1111 1111")
    await page.wait_for_function("told.length > 0")
    ((what, response),) = await page.evaluate("told")
    assert what == "paid"
    verified = await service.post("/api/payment/verify", asha, json=response)
    assert verified.json()["status"] == "credited", verified.text
    assert (await service.balance(asha))["balance"] == 250.0
    assert await page.locator("iframe").count() == 0


async def test_a_declined_card_is_told_and_another_one_may_be_tried(
    service: Service, page: Page
) -> None:
    asha = await service.signup()
    order = await order_of(service, asha)
    frame = await open_checkout(service, page, asha, order["order_id"])
    await pay(frame, "4000 0000 0000 0002")
    await page.wait_for_function("told.length == 1")
    ((what, error),) = await page.evaluate("told")
    assert what == "failed"
    assert error["metadata"]["order_id"] == order["order_id"]
    assert error["code"] == "BAD_REQUEST_ERROR"
    await pay(frame, "4111 1111 1111 1111")
    await page.wait_for_function("told.length == 2")
    assert (await page.evaluate("told[1][0]")) == "paid"


async def test_who_closes_checkout_is_told_to_the_front_end_and_pays_nothing(
    service: Service, page: Page
) -> None:
    asha = await service.signup()
    order = await order_of(service, asha)
    frame = await open_checkout(service, page, asha, order["order_id"])
    await frame.locator("#close").click()
    await page.wait_for_function("told.length == 1")
    assert await page.evaluate("told") == [["dismissed"]]
    assert (await service.balance(asha))["balance"] == 0.0


async def test_a_person_without_a_front_end_pays_on_the_page_and_has_the_money(
    service: Service, page: Page
) -> None:
    asha = await service.signup()
    order = await order_of(service, asha)
    await page.goto(order["pay_url"])
    await page.locator("#pay").click()
    await page.locator("#values").wait_for()
    assert order["order_id"] in await page.locator("#values").inner_text()
    for _ in range(60):  # the service asks about open orders every few seconds
        if (await service.balance(asha))["balance"] == 250.0:
            break
        await page.wait_for_timeout(250)
    assert (await service.balance(asha))["balance"] == 250.0


async def test_the_swagger_page_works_without_the_internet_and_authorizes(
    service: Service, page: Page
) -> None:
    asha = await service.signup()
    await page.goto(f"{service.settings.own_url}/docs")
    await page.locator(".information-container .title").wait_for()
    await page.locator("button.authorize").first.click()
    await page.locator("input[name=username], #oauth_username").first.fill(asha.email)
    await page.locator("input[name=password], #oauth_password").first.fill(PASSWORD)
    await page.locator(".auth-btn-wrapper button.authorize").first.click()
    await page.get_by_role("button", name="Logout").first.wait_for()
    await page.locator(".auth-btn-wrapper button.btn-done").first.click()
    await page.locator("#operations-wallet-balance_api_wallet_balance_get").click()
    await page.get_by_role("button", name="Try it out").click()
    await page.get_by_role("button", name="Execute").click()
    answer = page.locator(".live-responses-table .response-col_description code").first
    await answer.wait_for()
    assert '"balance": 0' in await answer.inner_text()
