"""Settlements: what Razorpay owes the merchant, paid out, and listed item by item."""

import datetime as dt
import secrets
import string

from motor.motor_asyncio import AsyncIOMotorCollection

from core import clock
from sandbox import responses
from sandbox.payments import PaymentStore, Session, fee_and_tax
from sandbox.responses import NEWEST_FIRST, Document, Page, Refusal

ITEMS_MAX = 1_000
# Razorpay's samples have all three.
_NOTES: tuple[object, ...] = ("{}", None, {"comment": "from the shop"})
_UTR_LETTERS = string.ascii_lowercase + string.digits


def settlement_entity(settlement: Document) -> Document:
    """A settlement as the API shows it."""
    return {
        "id": settlement["_id"],
        "entity": "settlement",
        "amount": settlement["amount"],
        "status": "processed",
        "fees": settlement["fees"],
        "tax": settlement["tax"],
        "utr": settlement["utr"],
        "created_at": responses.seconds(settlement["created_at"]),
    }


class Settlements:
    """Every payment, refund and dispute is settled once; when it changes later, the difference is.

    `settled_paise` on each of them is what the settlements so far have made of it.
    """

    def __init__(self, store: PaymentStore) -> None:
        self._store = store
        database = store.database
        self._orders = database["orders"]
        self._refunds, self._disputes = database["refunds"], database["disputes"]
        self._settlements, self._items = database["settlements"], database["settlement_items"]
        self._locks = database["switches"]

    async def start(self) -> None:
        """Create the indexes."""
        await self._settlements.create_index(NEWEST_FIRST)
        await self._items.create_index([("settled_at", 1), ("_id", 1)])
        await self._store.payments.create_index("settled_paise")
        await self._locks.update_one(
            {"_id": "settling"}, {"$setOnInsert": {"times": 0}}, upsert=True
        )

    async def settle(self, body: Document) -> tuple[Document | None, list[Document]]:
        """`{settled_at?}` (Unix seconds): settle all that was not; None when there is nothing."""
        unix_seconds = responses.only(body, "settled_at").get("settled_at")
        at = clock.now()
        if unix_seconds is not None:
            if type(unix_seconds) is not int or not 0 < unix_seconds <= responses.UNIX_SECONDS_MAX:
                raise responses.not_valid("settled_at")
            at = responses.moment_of(unix_seconds)

        async def settled(session: Session) -> tuple[Document | None, list[Document]]:
            # Whoever settles at the same time waits here.
            await self._locks.update_one(
                {"_id": "settling"}, {"$inc": {"times": 1}}, session=session
            )
            items = [
                *await self._payment_items(session),
                *await self._refund_items(session),
                *await self._dispute_items(session),
            ]
            if not items:
                return None, []
            settlement = _settlement(items, at)
            for place, item in enumerate(items):
                item["_id"] = f"{settlement['_id']}:{place:09d}"
                item["settled_at"] = at
                item["settlement_id"], item["settlement_utr"] = settlement["_id"], settlement["utr"]
            await self._items.insert_many(items, session=session)
            await self._settlements.insert_one(settlement, session=session)
            shown = settlement_entity(settlement)
            await self._store.outbox.record("settlement.processed", session, settlement=shown)
            return settlement, items

        return await self._store.atomic(settled)

    async def settlement(self, settlement_id: str) -> Document:
        """GET /v1/settlements/:id."""
        found = await self._settlements.find_one({"_id": settlement_id})
        if found is None:
            raise responses.unknown_id()
        return found

    async def listed(self, page: Page) -> list[Document]:
        """GET /v1/settlements: the newest first."""
        return await page.of(self._settlements, {})

    async def recon(
        self, *, year: int, month: int, day: int | None, count: int, skip: int
    ) -> list[Document]:
        """GET /v1/settlements/recon/combined: what was settled in a month, or on a day, of India."""
        try:
            first = last = dt.date(year, month, 1 if day is None else day)
        except ValueError:
            raise Refusal("There is no such day", "input_validation_failed") from None
        if day is None:
            last = (first + dt.timedelta(days=31)).replace(day=1) - dt.timedelta(days=1)
        window = {"$gte": clock.ist_day_start(first), "$lt": clock.ist_day_end(last)}
        found = self._items.find({"settled_at": window}).sort([("settled_at", 1), ("_id", 1)])
        return [_item_entity(item) async for item in found.skip(skip).limit(count)]

    async def _payment_items(self, session: Session) -> list[Document]:
        where = {"captured_at": {"$exists": True}, "settled_paise": None}
        found = await _taken(self._store.payments, where, "$amount", session)
        origins, items = await self._origins(found, session), []
        for payment in found:
            fee_paise, tax_paise = fee_and_tax(payment["amount"])
            item = _item("payment", payment["_id"], payment["amount"], payment)
            item |= origins[payment["_id"]]
            item |= {"credit": payment["amount"] - fee_paise, "fee": fee_paise, "tax": tax_paise}
            items.append(item)
        return items

    async def _refund_items(self, session: Session) -> list[Document]:
        """A refund that failed after it had been settled comes back as an adjustment."""
        owed = {"$cond": [{"$eq": ["$status", "processed"]}, "$amount", 0]}
        where = {"uncaptured": False, **_differs(owed)}
        found = await _taken(self._refunds, where, owed, session)
        of = {"_id": {"$in": [refund["payment_id"] for refund in found]}}
        payments = await self._store.payments.find(of, session=session).to_list(None)
        origins, items = await self._origins(payments, session), []
        for refund in found:
            amount_paise, payment_id = refund["amount"], refund["payment_id"]
            if refund["status"] == "processed":
                item = _item("refund", refund["_id"], amount_paise, refund)
                item |= origins[payment_id] | {"debit": amount_paise}
            else:
                item = _item("adjustment", responses.new_id("adj"), amount_paise, refund)
                item |= {"credit": amount_paise, "description": "Refund reversal"}
            items.append(item | {"payment_id": payment_id})
        return items

    async def _dispute_items(self, session: Session) -> list[Document]:
        """What was deducted, unless a refund took it; given back when it is won after all."""
        where = {"by_refund": {"$ne": True}, **_differs("$amount_deducted")}
        items = []
        for dispute in await _taken(self._disputes, where, "$amount_deducted", session):
            debit_paise = dispute["amount_deducted"] - dispute.get("settled_paise", 0)
            item = _item("adjustment", responses.new_id("adj"), abs(debit_paise), dispute)
            item |= {
                "debit": max(debit_paise, 0),
                "credit": max(-debit_paise, 0),
                "description": "Dispute " + ("deduction" if debit_paise > 0 else "reversal"),
                "payment_id": dispute["payment_id"],
                "dispute_id": dispute["_id"],
            }
            items.append(item)
        return items

    async def _origins(self, payments: list[Document], session: Session) -> dict[str, Document]:
        """Payment id -> where the payment came from."""
        wanted = {"_id": {"$in": [payment["order_id"] for payment in payments]}}
        orders = self._orders.find(wanted, {"receipt": 1}, session=session)
        receipts = {order["_id"]: order["receipt"] async for order in orders}
        card = {"card_network": "Visa", "card_issuer": "HDFC", "card_type": "credit"}
        return {
            payment["_id"]: {
                "order_id": payment["order_id"],
                "order_receipt": receipts.get(payment["order_id"]),
                "method": "card",
                **card,
            }
            for payment in payments
        }


async def _taken(
    documents: AsyncIOMotorCollection[Document], where: Document, owed: object, session: Session
) -> list[Document]:
    """What is to be settled, as it was; it then counts as settled."""
    found = await documents.find(where, session=session).sort("created_at", 1).to_list(None)
    ids = {"_id": {"$in": [document["_id"] for document in found]}}
    await documents.update_many(ids, [{"$set": {"settled_paise": owed}}], session=session)
    return found


def _differs(owed: object) -> Document:
    return {"$expr": {"$ne": [{"$ifNull": ["$settled_paise", 0]}, owed]}}


def _settlement(items: list[Document], at: dt.datetime) -> Document:
    suffix = "".join(secrets.choice(_UTR_LETTERS) for _ in range(6))
    return {
        "_id": responses.new_id("setl"),
        "amount": sum(item["credit"] - item["debit"] for item in items),
        "fees": sum(item["fee"] for item in items),
        "tax": sum(item["tax"] for item in items),
        "utr": f"{responses.seconds(at)}{suffix}",
        "created_at": at,
    }


def _item(kind: str, entity_id: str, amount_paise: int, document: Document) -> Document:
    """An item with the fields that all kinds have."""
    nothing = ("description", "payment_id", "order_id", "order_receipt", "method", "dispute_id")
    return {
        "entity_id": entity_id,
        "type": kind,
        "debit": 0,
        "credit": 0,
        "amount": amount_paise,
        "currency": document["currency"],
        "fee": 0,
        "tax": 0,
        "created_at": document["created_at"],
        **dict.fromkeys((*nothing, "card_network", "card_issuer", "card_type")),
    }


def _item_entity(item: Document) -> Document:
    """An item as the report shows it."""
    shown = {name: value for name, value in item.items() if name != "_id"}
    return shown | {
        "on_hold": False,
        "settled": True,
        "created_at": responses.seconds(item["created_at"]),
        "settled_at": responses.seconds(item["settled_at"]),
        "posted_at": None,
        "credit_type": "default",
        "notes": _NOTES[sum(item["entity_id"].encode()) % len(_NOTES)],
    }
