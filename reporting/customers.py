"""Customers: users with their balances and rates, for an admin."""

import asyncio
import re
import unicodedata
from collections.abc import AsyncGenerator, Sequence
from typing import Final, cast

import wallet
from billing import rates
from core import clock, config, csv_files, database, money, pagination
from core.database import Document, db
from users import PublicUser, email_key
from wallet import Balance, WalletRecord

# Ids begin with their time, so they sort by the time of sign-up.
_ORDER: Final = pagination.Order((("_id", str),), name="usr")
COUNTED_MAX: Final = 10_000
_PEOPLE_AT_ONCE: Final = 500
_BALANCE: Final = (
    "user_id",
    "balance_paise",
    "held_paise",
    "due_paise",
    "frozen",
    "frozen_for",
    "reserves",
)
_OF_A_BALANCE: Final = {"_id": 0} | dict.fromkeys(_BALANCE, 1)
_SHOWN: Final = ("email", "name", "phone", "role", "created_at", "disabled_at")


async def list_customers(
    *, search: str | None, low_balance: bool | None, limit: int, cursor: str | None
) -> tuple[list[tuple[PublicUser, Balance]], str | None]:
    """A page of users with their balances, newest first, and the cursor of the next page.

    `search` is a part of the e-mail address, the name or the phone number, or an id. Raises
    InvalidCursor.
    """
    where = _named(search)
    if low_balance:
        return await _list_low(where, limit=limit, cursor=cursor)
    if cursor is not None:
        where = {"$and": [where, _ORDER.behind(cursor)]}
    found = db.users.find(where, _SHOWN, sort=_ORDER.sort)
    batch_size = limit + 1 if low_balance is None else _PEOPLE_AT_ONCE
    page: list[tuple[PublicUser, Balance]] = []
    while len(page) <= limit and (rows := await found.to_list(batch_size)):
        batch = cast(list[PublicUser], rows)
        balances = await _balances([person["_id"] for person in batch])
        for person in batch:
            balance = balances.get(person["_id"], Balance(0, 0, 0))
            if low_balance is None or balance.low == low_balance:
                page.append((person, balance))
    await found.close()
    if len(page) <= limit:
        return page, None
    return page[:limit], _ORDER.cursor_of(page[limit - 1][0])


CSV_COLUMNS: Final = (
    "user_id",
    "email",
    "name",
    "phone",
    "role",
    "created_at",
    "balance",
    "held",
    "available",
    "due",
    "low_balance",
    "frozen",
    "disabled",
    "call_rate",
)


async def csv_of_customers(
    *, search: str | None, low_balance: bool | None
) -> AsyncGenerator[str, None]:
    """The whole filter as CSV, newest first, in constant memory; amounts in rupees, times in India."""
    head, cursor = csv_files.lines([CSV_COLUMNS]), None
    while True:
        page, cursor = await list_customers(
            search=search, low_balance=low_balance, limit=_PEOPLE_AT_ONCE, cursor=cursor
        )
        prices = await rates.list_own_rates(person["_id"] for person, _ in page)
        rows = [_csv_row(person, held, prices.get(person["_id"])) for person, held in page]
        yield head + csv_files.lines(rows)
        head = ""
        if cursor is None:
            return


def _csv_row(person: PublicUser, balance: Balance, own_rate_paise: int | None) -> Sequence[str]:
    amounts = (balance.balance_paise, balance.held_paise, balance.available_paise)
    flags = (balance.low, balance.frozen, person.get("disabled_at") is not None)
    return (
        person["_id"],
        csv_files.harmless(person["email"]),
        csv_files.harmless(person["name"]),
        person["phone"] or "",
        person["role"],
        person["created_at"].astimezone(clock.IST).strftime("%Y-%m-%d %H:%M:%S"),
        *(money.text(paise) for paise in (*amounts, balance.due_paise)),
        *("yes" if flag else "no" for flag in flags),
        "" if own_rate_paise is None else money.text(own_rate_paise),
    )


async def count_records(user_id: str) -> dict[str, int]:
    """How many records of each kind a user has; `COUNTED_MAX` stands for that many or more."""
    names = ("calls", "campaigns", "orders", "refunds", "disputes")
    counts = await asyncio.gather(
        *(db[name].count_documents({"user_id": user_id}, limit=COUNTED_MAX) for name in names)
    )
    return dict(zip(names, counts, strict=True))


async def _list_low(
    where: Document, *, limit: int, cursor: str | None
) -> tuple[list[tuple[PublicUser, Balance]], str | None]:
    """A page of those with a low balance: their wallets are looked for, and then who they are."""
    page: list[tuple[PublicUser, Balance]] = []
    before = None if cursor is None else _ORDER.position(cursor)[0]
    while len(page) <= limit:
        balances = await _low_or_held(before)
        if not balances:
            return page, None
        ids = [user_id for user_id, balance in balances.items() if balance.low]
        found = db.users.find({"$and": [{"_id": {"$in": ids}}, where]}, _SHOWN, sort=_ORDER.sort)
        people = cast(list[PublicUser], await found.to_list(None))
        page += [(person, balances[person["_id"]]) for person in people]
        before = min(balances)
    return page[:limit], _ORDER.cursor_of(page[limit - 1][0])


async def _low_or_held(before: str | None) -> dict[str, Balance]:
    """The next balances that are low, or would be if nothing were reserved: by user, newest first."""
    behind: Document = {} if before is None else {"user_id": {"$lt": before}}
    minimum_paise = database.long(config.settings().minimum_balance_paise)
    conditions: tuple[Document, ...] = (
        {"balance_paise": {"$lt": minimum_paise}},
        {"held_paise": {"$gt": 0}},
    )
    records: dict[str, WalletRecord] = {}
    for condition, index in zip(conditions, wallet.LOW_OR_HELD, strict=True):
        found = db.wallets.find(
            condition | behind, _OF_A_BALANCE, sort=[("user_id", -1)], hint=index.name
        ).limit(_PEOPLE_AT_ONCE)
        records |= {each["user_id"]: cast(WalletRecord, each) async for each in found}
    nearest = sorted(records, reverse=True)[:_PEOPLE_AT_ONCE]
    return {user_id: wallet.balance_from(records[user_id]) for user_id in nearest}


def _named(search: str | None) -> Document:
    """The filter for the users whom `search` may mean."""
    # Names are stored in this form, whichever the keyboard of the admin types.
    text = unicodedata.normalize("NFC", (search or "").strip())
    if not text:
        return {}
    if "\0" in text:
        return {"_id": {"$in": []}}
    ways: list[Document] = [
        {"_id": text},
        {"email_key": {"$regex": re.escape(email_key(text))}},
        {"name": {"$regex": re.escape(text), "$options": "i"}},
    ]
    digits = re.sub(r"[\s().-]", "", text)
    if re.fullmatch(r"\+?\d{3,}", digits):
        ways.append({"phone": {"$regex": re.escape(digits.lstrip("0"))}})
    return {"$or": ways}


async def _balances(user_ids: Sequence[str]) -> dict[str, Balance]:
    """The balances of those among these users who have a wallet."""
    found = db.wallets.find({"user_id": {"$in": list(user_ids)}}, _OF_A_BALANCE, batch_size=1_000)
    return {each["user_id"]: wallet.balance_from(cast(WalletRecord, each)) async for each in found}
