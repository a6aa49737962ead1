"""A campaign, from a file as people have it to its results, and what the page says is what the API says."""

import asyncio
import csv
import io
import re
from pathlib import Path
from typing import Any, Final

from playwright.async_api import FilePayload, Page, expect

from tests.browser.visitor import Visitors, axe, axe_in_both_themes, settled
from tests.browser.world import person, t
from tests.support import campaigns
from tests.support.service import Person, Service

# Semicolons, a mark of the byte order and a quoted cell, as a spreadsheet in India writes them.
_ROWS: Final = [
    "नाम;Mobile No.;City",
    "आशा;98123 45601;Pune",
    '"Rao; Ravi";+91-9812345602;Mumbai',
    "Meera;09812345603;Delhi",
    "Twice;9812345601;Pune",
    "Nobody;12;Pune",
    "Silent;;Pune",
    "Blocked;9812345604;Pune",
    "Zara;9812345605;Goa",
]
_FILE: Final[FilePayload] = {
    "name": "Diwali list.csv",
    "mimeType": "text/csv",
    "buffer": ("\ufeff" + "\r\n".join(_ROWS) + "\r\n").encode(),
}
_CALLED: Final = ["+919812345601", "+919812345602", "+919812345603", "+919812345605"]


def button(page: Page, key: str, **values: object) -> Any:
    """A button by its text."""
    return page.get_by_role("button", name=t(key, **values), exact=True)


async def test_a_campaign_from_a_csv_to_results_that_are_those_of_the_api(
    service: Service, visitors: Visitors, tmp_path: Path
) -> None:
    asha = await person(service, "Asha Rao", 500)
    await service.post("/api/do-not-call", asha, json={"number": "+919812345604"})
    page = await visitors.visit("/campaigns/new", asha)
    await page.locator("input[type=file]").set_input_files(_FILE)

    # What was read, before anything is stored.
    main = page.locator("#main")
    await expect(main).to_contain_text("Mobile No.")
    for refused in ("duplicate_in_file", "invalid_number", "empty"):
        await expect(main).to_contain_text(t(f"campaigns.refusals.{refused}"))
    assert await axe(page, "check") == []
    assert await campaigns.nothing_of(service, asha)

    await button(page, "campaigns.check.next").click()
    await page.get_by_label(t("campaigns.message.text"), exact=True).fill(
        "Namaste {{नाम}} from {{City}}"
    )
    await expect(page.locator("figure.heard")).to_contain_text("Namaste आशा from Pune")
    assert await axe(page, "message") == []
    await button(page, "campaigns.message.next").click()
    name = page.get_by_label(t("campaigns.when.name"), exact=True)
    await expect(name).to_have_value("Diwali list")
    await name.fill("Diwali")
    assert await axe(page, "when") == []
    await button(page, "campaigns.when.create").click()

    # A draft: its price, and what is not called; nobody is called before the start.
    start = page.get_by_role("button", name=re.compile(r"^Start: call 4 contacts"))
    await start.wait_for()
    assert await axe_in_both_themes(page, "review") == []
    draft = (await service.get("/api/campaigns", asha)).json()["campaigns"][0]
    assert (draft["status"], draft["counts"]["total"]) == ("draft", 4)
    checked = await service.post(f"/api/campaigns/{draft['campaign_id']}/validate", asha, json={})
    await expect(main).to_contain_text(f"₹{checked.json()['estimate']['cost']:.2f}")
    assert (await service.get("/api/calls", asha)).json()["calls"] == []
    await start.click()

    # Watched to its end, without a reload.
    await page.wait_for_url(f"**/campaigns/{draft['campaign_id']}")
    await expect(main).to_contain_text(t("campaigns.status.completed"), timeout=60_000)
    over = await campaigns.shown(service, asha, draft)
    assert over["counts"]["answered"] == len(_CALLED)
    assert over["spent"] == 20.0  # four calls of 30 seconds at Rs 10 a minute
    await expect(main).to_contain_text("₹20.00")
    await expect(page.get_by_test_id("available")).to_contain_text("₹480.00")
    await settled(page)
    contacts = await campaigns.list_of(service, asha, draft)
    assert sorted(one["to"] for one in contacts) == _CALLED
    rows = page.locator("#contacts tbody tr")
    answered = rows.filter(has_text=t("campaigns.states.answered"))
    await expect(answered).to_have_count(len(_CALLED))  # told of the end, it is read again
    shown = await rows.all_inner_texts()
    assert len(shown) == len(contacts)
    for one in contacts:
        row = [text for text in shown if one["to"][3:8] in text and one["to"][8:] in text]
        assert len(row) == 1, (one, shown)
        assert f"₹{one['cost']:.2f}" in row[0]
    assert await axe_in_both_themes(page, "results") == []

    results = await downloaded(page, t("campaigns.results_csv"), tmp_path)
    # For Excel a number begins with an apostrophe: it stays a text there, with its plus.
    assert [row["to"] for row in results] == [f"'{one['to']}" for one in contacts]
    assert {row["नाम"] for row in results} == {"आशा", "Rao; Ravi", "Meera", "Zara"}
    assert sum(float(row["cost"]) for row in results) == over["spent"]
    refused_rows = await downloaded(
        page, t("campaigns.refused_csv_count", count=over["rejected_count"]), tmp_path
    )
    assert len(refused_rows) == over["rejected_count"] == len(_ROWS) - 1 - len(_CALLED)


async def downloaded(page: Page, link: str, folder: Path) -> list[dict[str, str]]:
    """The rows of a CSV that is downloaded from this page."""
    async with page.expect_download() as started:
        await page.get_by_role("link", name=link, exact=True).click()
    file = folder / "download.csv"
    await (await started.value).save_as(file)
    text = await asyncio.to_thread(file.read_text, encoding="utf-8-sig")
    return list(csv.DictReader(io.StringIO(text)))


async def test_a_campaign_that_waits_for_money_goes_on_by_the_recharge_that_its_page_offers(
    service: Service, visitors: Visitors
) -> None:
    asha = await person(service, "Asha Rao", 12)
    made = await campaigns.create(service, asha, count=6, max_concurrent=1)
    page = await visitors.visit(f"/campaigns/{made['campaign_id']}", asha)
    main = page.locator("#main")
    await expect(main).to_contain_text(t("campaigns.waits.balance"), timeout=60_000)
    assert await axe_in_both_themes(page, "waits for money") == []
    paused = await campaigns.shown(service, asha, made)
    assert paused["counts"]["answered"] < 6
    await button(page, "campaigns.end.balance").click()
    await expect(page.locator("dialog[open]")).to_be_visible()
    await service.fund(asha, 500)  # from elsewhere: whatever brings the money, it goes on
    await expect(main).to_contain_text(t("campaigns.status.completed"), timeout=60_000)
    assert (await campaigns.shown(service, asha, made))["counts"]["answered"] == 6


async def test_pause_and_cancel_do_what_their_buttons_say(
    service: Service, visitors: Visitors
) -> None:
    asha = await person(service, "Asha Rao", 500)
    made = await campaigns.create(
        service, asha, count=50, max_concurrent=1, simulate=campaigns.SLOW
    )
    page = await visitors.visit(f"/campaigns/{made['campaign_id']}", asha)
    main = page.locator("#main")
    await button(page, "campaigns.deeds.pause").click()
    await expect(main).to_contain_text(t("campaigns.waits.user"))
    assert (await campaigns.shown(service, asha, made))["status"] == "paused"
    await button(page, "campaigns.deeds.resume").first.click()
    await expect(main).to_contain_text(t("campaigns.status.running"))
    await (
        button(page, "campaigns.deeds.cancel")
        .or_(page.get_by_label(t("campaigns.menu", name=made["name"])))
        .first.click()
    )
    dialog = page.locator("dialog[open]")
    if not await dialog.count():
        await button(page, "campaigns.deeds.cancel").click()
    assert await axe(page, "cancel") == []
    await dialog.locator("button[type=submit]").click()
    await expect(main).to_contain_text(t("campaigns.status.canceled"))
    left = await canceled_contacts(service, asha, made)
    assert left >= 48


async def canceled_contacts(service: Service, owner: Person, campaign: dict[str, Any]) -> int:
    """How many of a campaign's contacts are not called any more."""
    counts: dict[str, int] = (await campaigns.shown(service, owner, campaign))["counts"]
    return counts["canceled"]
