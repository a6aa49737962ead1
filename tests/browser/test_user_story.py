"""A new user: from sign-up through 402 and a recharge to a call that goes on by itself and is charged."""

import re

from playwright.async_api import Page, expect

from tests.api.test_second_factor import code_of
from tests.browser.visitor import DECLINED_CARD, GOOD_CARD, LATE_CARD, Visitors, axe, pay, settled
from tests.browser.world import person, t
from tests.support import calls
from tests.support.service import PASSWORD, Person, Service

NUMBER = "+919876543210"


async def open_checkout(page: Page) -> Page:
    """Press 'Pay', and be on the payment page that opens."""
    async with page.context.expect_page() as opened:
        await page.locator("dialog[open] button[type=submit]").click()
    payment = await opened.value
    await payment.wait_for_url("**/pay/order_*")
    await payment.frame_locator("iframe").locator("#pay").wait_for()
    return payment


async def logged_in(service: Service, page: Page) -> Person:
    """The person whose browser this is."""
    cookies = {cookie["name"]: cookie["value"] for cookie in await page.context.cookies()}
    found = Person("", "", cookies["session"])
    me = (await service.get("/api/auth/me", found)).json()
    return Person(me["id"], me["email"], found.token)


async def test_from_sign_up_through_402_to_a_call_that_is_charged(
    service: Service, visitors: Visitors
) -> None:
    page = await visitors.visit("/signup?next=/calls/new")
    await page.get_by_label(t("fields.name"), exact=True).fill("Asha Rao")
    await page.get_by_label(t("fields.email"), exact=True).fill("asha.story@example.com")
    await page.get_by_label(t("fields.password"), exact=True).fill(PASSWORD)
    await page.get_by_role("button", name=t("sign_up.create")).click()
    await expect(page.get_by_test_id("available")).to_contain_text("₹0.00")
    assert page.url.endswith("/calls/new")
    asha = await logged_in(service, page)

    await page.get_by_label(t("calls.number"), exact=True).fill(NUMBER)
    await page.get_by_role("button", name=t("calls.call_now"), exact=True).click()
    dialog = page.locator("dialog[open]")
    await expect(dialog).to_contain_text("₹10.00")  # what is missing
    assert await axe(page, "402") == []

    payment = await open_checkout(page)
    await pay(payment, DECLINED_CARD)
    await expect(payment.locator("#main")).to_contain_text("declined")
    await payment.frame_locator("iframe").locator("#close").click()
    await expect(payment.locator("#main")).to_contain_text(t("pay.dismissed"))
    assert await axe(payment, "payment page") == []
    assert (await service.balance(asha))["balance"] == 0.0
    await payment.locator("#main button").click()
    await pay(payment, GOOD_CARD)
    await expect(payment.locator("#main")).to_contain_text("is in the wallet")

    # The call that was refused is placed by itself, and watched to its end.
    await page.wait_for_url("**/calls/call_*")
    await expect(page.locator("#main")).to_contain_text(t("calls.statuses.completed"))
    call_id = page.url.rsplit("/", 1)[1]
    call = await calls.over(service, asha, call_id)
    assert (call["to"], call["billing_status"]) == (NUMBER, "settled")
    await expect(page.locator("#main")).to_contain_text(f"₹{call['cost']:.2f}")
    left = (await service.balance(asha))["available"]
    await expect(page.get_by_test_id("available")).to_contain_text(f"₹{left:.2f}")
    assert len((await service.get("/api/calls", asha)).json()["calls"]) == 1
    assert await axe(page, "call") == []


async def test_a_payment_that_is_confirmed_late_arrives_by_itself(
    service: Service, visitors: Visitors
) -> None:
    asha = await person(service, "Asha Rao")
    page = await visitors.visit("/", asha)
    await page.get_by_role("button", name=t("actions.recharge")).first.click()
    payment = await open_checkout(page)
    await pay(payment, LATE_CARD)
    await expect(payment.locator("#main")).to_contain_text(t("pay.pending"))
    assert (await service.balance(asha))["balance"] == 0.0
    await expect(page.get_by_test_id("available")).to_contain_text("₹500.00", timeout=60_000)
    await expect(page.locator("dialog[open]")).to_have_count(0)
    await expect(payment.locator("#main")).to_contain_text("is in the wallet", timeout=30_000)


async def test_a_link_to_a_payment_is_paid_by_somebody_who_is_not_logged_in(
    service: Service, visitors: Visitors
) -> None:
    asha = await person(service, "Asha Rao")
    order = (await service.post("/api/payment/create-order", asha, json={"amount": 250})).json()
    page = await visitors.visit(f"/pay/{order['order_id']}")
    assert asha.email not in await page.content()
    await pay(page)
    await expect(page.locator("#main")).to_contain_text("is in the wallet", timeout=30_000)
    assert (await service.balance(asha))["balance"] == 250.0
    await page.goto("/pay/order_ABCDEFGHIJKLMN")
    await page.get_by_text(t("pay.unknown")).wait_for()
    assert await axe(page) == []


async def test_two_tabs_show_the_same_balance(service: Service, visitors: Visitors) -> None:
    asha = await person(service, "Asha Rao", 100)
    first = await visitors.visit("/", asha)
    second = await first.context.new_page()
    await second.goto("/transactions")
    await settled(second)
    for tab in (first, second):
        await expect(tab.get_by_test_id("available")).to_contain_text("₹100.00")
    await service.fund(asha, 1_250)
    for tab in (first, second):
        await expect(tab.get_by_test_id("available")).to_contain_text("₹1,350.00")
    await first.close()  # it may have been the one that listens
    await service.fund(asha, 50)
    await expect(second.get_by_test_id("available")).to_contain_text("₹1,400.00")


async def test_an_expired_session_asks_for_the_password_where_one_is(
    service: Service, visitors: Visitors
) -> None:
    asha = await person(service, "Asha Rao", 100)
    page = await visitors.visit("/transactions?type=credit", asha)
    await service.post("/api/auth/logout", asha)
    await page.get_by_role("link", name=t("nav.home"), exact=True).first.click()
    dialog = page.locator("dialog[open]")
    await expect(dialog).to_contain_text(t("log_in.expired"))
    assert await axe(page, "expired") == []
    await dialog.get_by_label(t("fields.password"), exact=True).fill(PASSWORD)
    await dialog.locator("button[type=submit]").click()
    await expect(page.locator("dialog[open]")).to_have_count(0)
    await expect(page.get_by_test_id("available")).to_contain_text("₹100.00")


async def test_after_the_log_in_one_is_where_one_wanted_to_be(
    service: Service, visitors: Visitors
) -> None:
    asha = await person(service, "Asha Rao")
    page = await visitors.visit("/transactions?type=credit")
    await page.wait_for_url(re.compile(r"/login\?next="))
    await page.get_by_label(t("fields.email"), exact=True).fill(asha.email)
    await page.get_by_label(t("fields.password"), exact=True).fill("not this one")
    await page.locator("button[type=submit]").click()
    await page.get_by_text(t("problems.invalid_credentials")).wait_for()
    await page.get_by_label(t("fields.password"), exact=True).fill(PASSWORD)
    await page.locator("button[type=submit]").click()
    await page.wait_for_url("**/transactions?type=credit")
    await page.goto("/login?next=//evil.example/")
    await page.wait_for_url(f"{service.settings.own_url}/")


async def test_a_second_factor_is_set_up_and_asked_for_at_the_next_log_in(
    service: Service, visitors: Visitors
) -> None:
    asha = await person(service, "Asha Rao", 100)
    page = await visitors.visit("/account", asha)
    await page.get_by_role("button", name=t("account.totp_start"), exact=True).click()
    dialog = page.locator("dialog[open]")
    await dialog.get_by_role("button", name=t("account.totp_start"), exact=True).click()
    secret = await dialog.get_by_label(t("account.totp_secret"), exact=True).inner_text()
    assert await axe(page, "second factor") == []
    code = dialog.get_by_label(t("account.totp_code"), exact=True)
    await code.fill("000000")
    await dialog.locator("button[type=submit]").click()
    await expect(dialog).to_contain_text(t("problems.second_factor_required"))
    await code.fill(code_of(secret.replace(" ", "")))
    await dialog.locator("button[type=submit]").click()
    codes = (await dialog.get_by_label(t("account.codes"), exact=True).inner_text()).split()
    await dialog.get_by_role("checkbox").check()
    await dialog.get_by_role("button", name=t("account.done"), exact=True).click()
    await expect(page.locator("#main")).to_contain_text(t("account.totp_on_about"))

    page = await visitors.visit("/login")
    await page.get_by_label(t("fields.email"), exact=True).fill(asha.email)
    await page.get_by_label(t("fields.password"), exact=True).fill(PASSWORD)
    await page.locator("button[type=submit]").click()
    await page.get_by_label(t("fields.totp"), exact=True).fill(codes[0])
    assert await axe(page, "second step") == []
    await page.locator("button[type=submit]").click()
    await expect(page.get_by_test_id("available")).to_contain_text("₹100.00")
