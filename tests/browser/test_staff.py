"""Operators and admins: what an admin decides in a day, and an operator who can do nothing."""

from typing import Any

from playwright.async_api import Page, expect

from tests.browser.visitor import Visitors, axe, settled
from tests.browser.world import LONG, NASTY, RIGHT_TO_LEFT, person, recharged
from tests.support.service import Person, Service, new_key

# What may be pressed on a page that changes nothing.
_HARMLESS = """() => [...document.querySelectorAll('#main button, #main input[type=submit]')]
    .filter((one) => !one.disabled && one.offsetParent !== null)
    .map((one) => one.textContent.trim() || one.getAttribute('aria-label'))"""


async def second_admin(service: Service) -> Person:
    """Another admin, who has chosen a password."""
    admin = await service.admin()
    found = await person(service, "Vikram Desai")
    change = {"role": "admin"}
    answer = await service.request("PATCH", f"/api/admin/users/{found.id}", admin, json=change)
    assert answer.status_code == 200, answer.text
    return found


async def test_an_adjustment_waits_for_a_second_admin_who_confirms_it(
    service: Service, visitors: Visitors
) -> None:
    admin, second, asha = (
        await service.admin(),
        await second_admin(service),
        await person(service, "Asha Rao", 100),
    )
    path = f"/api/admin/users/{asha.id}/adjustments"
    big = {"type": "credit", "amount": 2_000, "reason": "Refund of the annual plan"}
    asked = await service.post(path, admin, json=big, headers=new_key())
    assert asked.status_code == 202
    page = await visitors.visit(f"/admin/users/{asha.id}", second)
    await expect(page.locator("#main")).to_contain_text("Refund of the annual plan")
    assert await axe(page) == []
    page = await visitors.visit("/admin/review", second)
    await expect(page.locator("#main")).to_contain_text("Refund of the annual plan")


async def test_an_operator_sees_everything_and_can_change_nothing(
    service: Service, visitors: Visitors
) -> None:
    operator, asha = await service.operator(), await person(service, "Asha Rao", 100)
    paid = await recharged(service, asha)
    await service.post(f"/sandbox/payments/{paid['payment_id']}/disputes", json={})
    page = await (await visitors.context(operator)).new_page()
    writes: list[str] = []
    page.on("request", lambda sent: _note_write(writes, sent))
    offered: dict[str, Any] = {}
    for path in (
        *("/admin", "/admin/users", f"/admin/users/{asha.id}", "/admin/review", "/admin/rates"),
        *("/admin/books", "/admin/complaints", "/admin/rules", "/admin/network", "/admin/log"),
        *("/calls", "/campaigns", "/transactions", "/payments", "/do-not-call"),
        *(f"/payments/{paid['order_id']}",),
    ):
        await page.goto(path)
        await settled(page)
        offered[path] = await page.evaluate(_HARMLESS)
    words = ("Freeze", "Credit ", "Debit ", "Refund ", "Resolve", "Confirm", "Reject", "Upload")
    deeds = [
        f"{path}: {text}"
        for path, texts in offered.items()
        for text in texts
        if text and text.startswith((*words, "Activate", "Delete", "Remove", "Save", "Create"))
    ]
    assert deeds == []
    assert writes == []


def _note_write(writes: list[str], sent: Any) -> None:
    if sent.method != "GET":
        writes.append(f"{sent.method} {sent.url}")


async def test_names_of_any_kind_break_nothing_and_run_nothing(
    service: Service, visitors: Visitors
) -> None:
    admin = await service.admin()
    for number, name in enumerate((NASTY, RIGHT_TO_LEFT, LONG, "🙂" * 50, "\u202eevil")):
        found = await service.post(
            "/api/auth/signup",
            json={
                "email": f"nasty{number}@example.com",
                "password": "correct horse battery",
                "name": name,
            },
        )
        if found.status_code != 201:  # the service refuses some; then there is nothing to show
            continue
        user_id = found.json()["user"]["id"]
        page = await visitors.visit(f"/admin/users/{user_id}", admin)
        page.on("dialog", lambda _: visitors.complaints.append("a script ran"))
        await nothing_ran(page)
        own = Person(user_id, "", found.json()["access_token"])
        await nothing_ran(await visitors.visit("/account", own))
    await nothing_ran(await visitors.visit("/admin/users", admin))


async def nothing_ran(page: Page) -> None:
    await settled(page)
    assert await page.locator("#main script, #main img[src=x]").count() == 0
    wide = await page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    assert wide <= 0
