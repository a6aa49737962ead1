"""A day of an admin: the rate, an adjustment with a second admin, a freeze, what waits, the audit."""

import re

import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser.test_staff import second_admin
from tests.browser.visitor import Visitors, axe, axe_in_both_themes, settled
from tests.browser.world import person, recharged, t
from tests.support import calls
from tests.support import payments as paying
from tests.support.service import Person, Service

NUMBER = "+919876543210"


def submit(page: Page) -> Locator:
    """The button of the dialog that is open."""
    return page.locator("dialog[open] button[type=submit]")


async def deed(page: Page, name: str) -> None:
    """Begin a deed on the page of a user."""
    await page.get_by_role("button", name=f"{t(f'users.deeds.{name}')} …", exact=True).click()
    await page.locator("dialog[open]").wait_for()


async def test_the_rate_that_an_admin_sets_is_what_the_next_call_costs(
    service: Service, visitors: Visitors
) -> None:
    admin, asha = await service.admin(), await person(service, "Asha Rao", 100)
    page = await visitors.visit("/admin/rates", admin)
    await page.get_by_role("button", name=t("rates.change"), exact=True).first.click()
    field = page.get_by_label(t("rates.new_rate"), exact=True)
    await field.fill("twelve")
    await expect(page.locator("dialog[open]")).to_contain_text(t("rates.wrong"))
    await field.fill("12.50")
    assert await axe(page, "rate") == []
    await submit(page).click()
    await expect(page.locator("#main")).to_contain_text("₹12.50")
    try:
        rate = (await service.get("/api/wallet/call-rate", asha)).json()
        assert rate["rate_per_minute"] == 12.5
        scenario = {"outcome": "completed", "duration_seconds": 60, "wall_seconds": 0.1}
        call = await calls.place(service, asha, scenario)
        over = await calls.over(service, asha, call["call_id"])
        assert over["cost"] == 12.5
        page = await visitors.visit(f"/calls/{call['call_id']}", asha)
        await expect(page.locator("#main")).to_contain_text("₹12.50")
    finally:  # the other tests share the service
        await service.post("/api/wallet/set-call-rate", admin, json={"rate": 10})


async def test_an_admin_asks_for_an_adjustment_and_another_one_confirms_it(
    service: Service, visitors: Visitors
) -> None:
    admin, second = await service.admin(), await second_admin(service)
    asha = await person(service, "Asha Rao", 100)
    page = await visitors.visit(f"/admin/users/{asha.id}", admin)
    await page.get_by_role("button", name=t("users.deeds.adjust"), exact=True).click()
    dialog = page.locator("dialog[open]")
    await dialog.get_by_label(t("recharge.amount"), exact=True).fill("2500")
    await dialog.get_by_label(t("fields.reason"), exact=True).fill("The annual plan, paid twice")
    await expect(dialog).to_contain_text("₹2,600.00")
    await submit(page).click()
    await expect(dialog).to_contain_text(t("users.waiting.title"))
    assert await axe(page, "waits") == []
    assert (await service.balance(asha))["balance"] == 100.0

    # Who asked for it cannot confirm it; the other admin can.
    await page.goto("/admin/review?kind=adjustment")
    await chosen(page, "2,500.00", "adjustment")
    await expect(page.locator(".review-item")).to_contain_text(t("review.adjustment.mine"))
    page = await visitors.visit("/admin/review?kind=adjustment", second)
    await chosen(page, "2,500.00", "adjustment")
    await page.get_by_role(
        "button", name=t("review.adjustment.credit", amount="₹2,500.00"), exact=True
    ).click()
    await expect(page.locator("#main")).not_to_contain_text("The annual plan, paid twice")
    assert (await service.balance(asha))["balance"] == 2_600.0


async def chosen(page: Page, text: str, kind: str) -> None:
    """Choose the row with this text, once it is there."""
    await settled(page)
    row = page.locator(".review-rows tbody tr", has_text=text).first
    await row.locator("a.row-link").click()
    await page.wait_for_url(re.compile(f"item={kind}"))
    await settled(page)


async def test_a_frozen_wallet_places_no_call_until_it_is_unfrozen(
    service: Service, visitors: Visitors
) -> None:
    admin, asha = await service.admin(), await person(service, "Asha Rao", 100)
    hers = await visitors.visit("/", asha)
    page = await visitors.visit(f"/admin/users/{asha.id}", admin)
    await deed(page, "freeze")
    await expect(submit(page)).to_be_disabled()  # without a reason
    await page.get_by_label(t("fields.reason"), exact=True).fill("Complaints of the network")
    assert await axe(page, "freeze") == []
    await submit(page).click()
    await expect(page.locator("#main")).to_contain_text("Complaints of the network")
    await expect(hers.locator("#main")).to_contain_text(t("notices.frozen"))  # by itself
    assert await axe_in_both_themes(hers, "frozen") == []
    refused = await service.post("/api/call", asha, json={"to": NUMBER})
    assert (refused.status_code, refused.json()["code"]) == (402, "wallet_frozen")
    await deed(page, "unfreeze")
    await page.get_by_label(t("fields.reason"), exact=True).fill("It was settled")
    await submit(page).click()
    await expect(hers.locator("#main")).not_to_contain_text(t("notices.frozen"))
    assert (await service.post("/api/call", asha, json={"to": NUMBER})).status_code == 202
    page = await visitors.visit(f"/admin/log?target={asha.id}", admin)
    for action in ("wallet_freeze", "wallet_unfreeze"):
        await expect(page.locator("#main")).to_contain_text(t(f"log.actions.{action}"))


@pytest.mark.parametrize("decision", ["credit", "refund"])
async def test_money_that_was_not_credited_is_credited_or_goes_back_by_one_decision(
    service: Service, visitors: Visitors, decision: str
) -> None:
    admin, asha = await service.admin(), await person(service, f"Asha {decision.title()}")
    order_id = await paying.open_order(service, asha)
    paid = await paying.force_payment(service, order_id, status="captured", amount=10_200)
    assert (await paying.verify(service, asha, paid)).status_code == 409
    page = await visitors.visit("/admin/review?kind=payment", admin)
    await chosen(page, f"Asha {decision.title()}", "payment")
    item = page.locator(".review-item")
    for amount in ("₹100.00", "₹102.00", "+₹2.00"):
        await expect(item).to_contain_text(amount)
    assert await axe_in_both_themes(page, "payment in review") == []
    amount = "₹100.00" if decision == "credit" else "₹102.00"
    button = item.get_by_role("button", name=t(f"review.payment.{decision}", amount=amount))
    await button.click()
    await expect(item).to_contain_text(t("fields.reason_missing"))  # nothing without one
    assert (await service.balance(asha))["balance"] == 0
    await item.get_by_label(t("fields.reason"), exact=True).fill("A fee of the bank on top")
    await button.click()
    await expect(page.locator("#main")).not_to_contain_text(f"Asha {decision.title()}")
    await nothing_is_counted_that_does_not_wait(service, page, admin)
    assert (await service.balance(asha))["balance"] == (100.0 if decision == "credit" else 0)
    order = (await service.get(f"/api/payment/orders/{order_id}", asha)).json()
    assert len(order["payments"]) == 1
    left = await service.get(
        f"/api/admin/review?kind=payment&id={paid['razorpay_payment_id']}", admin
    )
    assert left.json()["items"] == []


async def nothing_is_counted_that_does_not_wait(
    service: Service, page: Page, admin: Person
) -> None:
    """The number in the rail is that of the list, at once after a decision."""
    counts = (await service.get("/api/admin/review", admin)).json()["counts"]
    left = sum(one for one in counts.values() if one)
    await expect(page.locator(".rail .count")).to_have_text([str(left)] if left else [])


async def test_an_audit_is_begun_and_read(service: Service, visitors: Visitors) -> None:
    admin, asha = await service.admin(), await person(service, "Asha Rao")
    await recharged(service, asha)
    page = await visitors.visit("/admin/books", admin)
    await page.get_by_role("button", name=t("books.audit.run"), exact=True).click()
    await expect(page.locator("#main")).to_contain_text(t("books.audit.in_order"), timeout=60_000)
    found = (await service.get("/api/admin/audit", admin)).json()
    assert found["ok"] is True
    await expect(page.locator("#main")).to_contain_text(f"{found['entries']:,}")
    await expect(page.locator("#main")).to_contain_text(t("books.trial.adds_up"))
    assert await axe_in_both_themes(page, "audit") == []
