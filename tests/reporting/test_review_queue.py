"""The lists of an admin, page by page."""

from typing import Any

import pytest

from core import clock, database
from core.database import db
from tests.support.service import Person, Service, new_key

AT = clock.now()


@pytest.fixture
async def admin(service: Service) -> Person:
    return await service.admin()


async def pages(service: Service, admin: Person, path: str, name: str) -> list[list[Any]]:
    """The list, two rows at a time."""
    found, cursor = [], ""
    while True:
        answer = await service.get(f"{path}?limit=2{cursor}", admin)
        assert answer.status_code == 200, answer.text
        found.append(answer.json()[name])
        if answer.json()["next_cursor"] is None:
            return found
        cursor = f"&cursor={answer.json()['next_cursor']}"


async def test_every_list_goes_on_to_its_end(service: Service, admin: Person) -> None:
    person = await service.signup()
    by_hand = f"/api/admin/users/{person.id}/adjustments"
    for amount in range(1, 6):
        body = {"type": "credit", "amount": amount, "reason": "goodwill"}
        made = await service.post(by_hand, admin, json=body, headers=new_key())
        assert made.status_code == 201
    paise = {"amount_paise": database.long(100), "due_paise": database.long(0)}
    for number in range(5):
        # Two were made at the same moment: the id decides.
        facts = {
            "status": "won",
            "state": "released",
            "created_at": clock.after(number // 2, since=AT),
        }
        ids = {"payment_id": "pay_1", "order_id": "order_1", "user_id": person.id}
        nothing = dict.fromkeys(("refund_id", "transaction_id", "respond_by")) | {
            "reason_code": "x"
        }
        dispute = {
            "_id": f"disp_{number}",
            "phase": "chargeback",
            **facts,
            **ids,
            **paise,
            **nothing,
        }
        await db.disputes.insert_one(dispute)
        sums = ("gross_paise", "fee_paise", "tax_paise", "refunded_paise", "net_paise")
        day = f"2026-11-2{number // 2}"
        settlement = {"_id": f"setl_{number}", "day": day, "utr": "1", "lines": 1, "unmatched": []}
        await db.settlements.insert_one(settlement | dict.fromkeys(sums, database.long(1)))
    for path, name, key, expected in (
        (by_hand, "adjustments", "reason", ["goodwill"] * 5),
        ("/api/admin/disputes", "disputes", "dispute_id", [f"disp_{n}" for n in (4, 3, 2, 1, 0)]),
        (
            *("/api/admin/settlements", "settlements", "settlement_id"),
            [f"setl_{n}" for n in (4, 3, 2, 1, 0)],
        ),
    ):
        found = await pages(service, admin, path, name)
        assert [len(page) for page in found] == [2, 2, 1], path
        assert [row[key] for page in found for row in page] == expected
        for cursor in ("x", "eyIkZ3QiOjF9", "WzFd"):
            refused = await service.get(f"{path}?cursor={cursor}", admin)
            assert (refused.status_code, refused.json()["code"]) == (422, "invalid_cursor")
