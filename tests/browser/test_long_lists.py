"""Pages of long histories and lists: 10,000 transactions, and a campaign as long as CONSOLE_CONTACTS says."""

import asyncio
import os
from typing import Final

from playwright.async_api import Page, expect

import wallet
from core import database
from tests.browser.visitor import Visitors, axe, settled
from tests.browser.world import person, t
from tests.support import campaigns
from tests.support.service import Service

TRANSACTIONS: Final = 10_000
# 500,000 were tried by hand (docs/console.md); a list is read from the same index whatever its length.
CONTACTS: Final = int(os.environ.get("CONSOLE_CONTACTS", "20000"))
ELEMENTS_MAX: Final = 3_000  # of a page, whatever the length of what it is about


async def elements(page: Page) -> int:
    """How many elements the page has."""
    found: int = await page.evaluate("document.querySelectorAll('*').length")
    return found


async def test_ten_thousand_transactions_are_pages_with_the_sum_of_all_of_them(
    service: Service, visitors: Visitors
) -> None:
    asha = await person(service, "Asha Rao")
    await asyncio.gather(
        *(
            wallet.adjust(
                asha.id,
                kind="credit",
                amount_paise=100 + n,
                reason=f"Number {n}",
                by="policy",
                seed=database.new_id("test"),
            )
            for n in range(TRANSACTIONS)
        )
    )
    total_paise = sum(100 + n for n in range(TRANSACTIONS))
    page = await visitors.visit("/transactions", asha)
    main = page.locator("#main")
    await expect(main).to_contain_text(indian(total_paise))
    await expect(main).to_contain_text("10,000")
    assert await elements(page) < ELEMENTS_MAX
    first = await page.locator("#main tbody tr").first.inner_text()
    await page.get_by_role("button", name=t("table.older"), exact=True).click()
    await expect(page.locator("#main tbody tr").first).not_to_contain_text(first.split("\n")[1])
    await settled(page)
    await expect(main).to_contain_text(indian(total_paise))  # of the filter, not of the page
    assert await axe(page, "older transactions") == []
    await page.get_by_role("button", name=t("table.newer"), exact=True).click()
    await expect(page.locator("#main tbody tr").first).to_contain_text(first.split("\n")[1])
    for path in ("/", "/transactions?type=debit"):
        await page.goto(path)
        await settled(page)
        assert await elements(page) < ELEMENTS_MAX


def indian(amount_paise: int) -> str:
    """An amount as the console writes it: ₹1,23,456.78."""
    whole, paise = divmod(amount_paise, 100)
    digits, groups = str(whole)[:-3], [str(whole)[-3:]]
    while digits:
        groups.insert(0, digits[-2:])
        digits = digits[:-2]
    return f"₹{','.join(groups)}.{paise:02d}"


async def test_a_campaign_of_a_long_list_is_shown_searched_and_paged(
    service: Service, visitors: Visitors
) -> None:
    asha = await person(service, "Asha Rao", 100)
    rows = [f"+9198{n:08d},Person {n}" for n in range(CONTACTS)]
    content = "\n".join(["phone,name", *rows])
    answer = await service.post(
        "/api/campaigns/upload",
        asha,
        files={"file": ("long.csv", content.encode(), "text/csv")},
        data={"name": "A long list", "message": "Hello {{name}}", "start": "false"},
    )
    assert answer.status_code in (201, 202), answer.text
    made = answer.json()
    await campaigns.until(
        service,
        asha,
        made,
        lambda one: one["counts"]["total"] == CONTACTS,
        seconds=120 + CONTACTS / 1_000,
    )
    page = await visitors.visit(f"/campaigns/{made['campaign_id']}", asha)
    main = page.locator("#main")
    await expect(main).to_contain_text(f"{CONTACTS:,}" if CONTACTS < 100_000 else "5,00,000")
    assert await elements(page) < ELEMENTS_MAX
    await expect(page.locator("#contacts tbody tr")).to_have_count(25)
    await page.get_by_role("button", name=t("table.older"), exact=True).click()
    await page.wait_for_url("**contacts=*")
    await settled(page)
    await expect(page.locator("#contacts tbody tr")).to_have_count(25)
    wanted = CONTACTS - 7
    await page.get_by_label(t("campaigns.contacts.search"), exact=True).fill(f"+9198{wanted:08d}")
    await expect(page.locator("#contacts tbody tr")).to_have_count(1)
    assert await axe(page, "a long list") == []
    await page.goto("/campaigns")
    await settled(page)
    assert await elements(page) < ELEMENTS_MAX
