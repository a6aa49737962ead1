"""Who has how much: the users with their balances, for the operator."""

import re
from collections.abc import Sequence
from typing import Annotated, Final

from fastapi import APIRouter, Query
from pydantic import BaseModel

import api
import pagination
import rates
from auth import Admin, Instant
from database import Document, db
from errors import Forbidden, InvalidCursor, InvalidRequest, Unauthenticated, Unavailable
from money import RupeesOut
from wallet import Balance

# --- vocabulary ---------------------------------------------------------------------------------

# Ids begin with their time, so their order is the order of signing up.
_ORDER: Final = pagination.Order((("_id", str),), name="usr")
_PEOPLE_AT_ONCE: Final = 500
_PERSON_FIELDS: Final = ("email", "name", "phone", "role", "created_at")

# --- verbs --------------------------------------------------------------------------------------


async def page_of(
    *, search: str | None, low_balance: bool | None, limit: int, cursor: str | None
) -> tuple[list[tuple[Document, Balance]], str | None]:
    """A page of users with their balances, newest first, and the cursor of the next page.

    `search` is a part of the e-mail address, the name or the phone number, or an id. Raises
    InvalidCursor.
    """
    where = _named(search)
    if cursor is not None:
        where = {"$and": [where, _ORDER.behind(cursor)]}
    found = db.users.find(where, _PERSON_FIELDS, sort=_ORDER.sort)
    batch_size = limit + 1 if low_balance is None else _PEOPLE_AT_ONCE
    page: list[tuple[Document, Balance]] = []
    while len(page) <= limit and (batch := await found.to_list(batch_size)):
        balances = await _balances([person["_id"] for person in batch])
        for person in batch:
            balance = balances.get(person["_id"], Balance(0, 0, 0))
            if low_balance is None or balance.low == low_balance:
                page.append((person, balance))
    await found.close()
    if len(page) <= limit:
        return page, None
    return page[:limit], _ORDER.cursor_of(page[limit - 1][0])


def _named(search: str | None) -> Document:
    """What finds the people whom `search` may mean."""
    text = (search or "").strip()
    if not text:
        return {}
    if "\0" in text:
        return {"_id": {"$in": []}}
    ways: list[Document] = [
        {"_id": text},
        {"email_key": {"$regex": re.escape(text.casefold())}},
        {"name": {"$regex": re.escape(text), "$options": "i"}},
    ]
    digits = re.sub(r"[\s().-]", "", text)
    if re.fullmatch(r"\+?\d{3,}", digits):
        ways.append({"phone": {"$regex": re.escape(digits.lstrip("0"))}})
    return {"$or": ways}


async def _balances(user_ids: Sequence[str]) -> dict[str, Balance]:
    """The balances of those among these users who have a wallet."""
    names = ("user_id", "balance_paise", "held_paise", "due_paise", "frozen")
    shown = {"_id": 0} | dict.fromkeys(names, 1)
    found = db.wallets.find({"user_id": {"$in": list(user_ids)}}, shown, batch_size=1_000)
    return {
        each["user_id"]: Balance(
            each["balance_paise"],
            each["held_paise"],
            each["due_paise"],
            frozen=each.get("frozen", False),
        )
        async for each in found
    }


# --- routes -------------------------------------------------------------------------------------

router = APIRouter(prefix="/api/admin", tags=["admin"])
_problems = api.documented(Unauthenticated, Forbidden, InvalidRequest, InvalidCursor, Unavailable)


class PersonOut(BaseModel):
    """A user and what is in the wallet; `call_rate` is a rate of their own, if they have one."""

    id: str
    email: str
    name: str
    phone: str | None
    role: str
    created_at: Instant
    balance: RupeesOut
    held: RupeesOut
    available: RupeesOut
    due: RupeesOut
    low_balance: bool
    call_rate: RupeesOut | None
    frozen: bool


class PeopleOut(BaseModel):
    """A page of users, newest first."""

    users: list[PersonOut]
    next_cursor: str | None


@router.get("/users", response_model=PeopleOut, responses=_problems)
async def show_people(
    _: Admin,
    search: Annotated[str | None, Query(max_length=100)] = None,
    low_balance: bool | None = None,
    limit: Annotated[int, Query(ge=1, le=api.PAGE_LIMIT_MAX)] = api.PAGE_LIMIT_DEFAULT,
    cursor: str | None = None,
) -> PeopleOut:
    """Users with their balances, newest first; by a part of the e-mail address, name or phone."""
    page, next_cursor = await page_of(
        search=search, low_balance=low_balance, limit=limit, cursor=cursor
    )
    prices = await rates.own_prices(person["_id"] for person, _ in page)
    return PeopleOut(
        users=[_out(person, balance, prices.get(person["_id"])) for person, balance in page],
        next_cursor=next_cursor,
    )


def _out(person: Document, balance: Balance, own_rate_paise: int | None) -> PersonOut:
    return PersonOut(
        id=person["_id"],
        **{name: person.get(name) for name in _PERSON_FIELDS},
        balance=balance.balance_paise,
        held=balance.held_paise,
        available=balance.available_paise,
        due=balance.due_paise,
        low_balance=balance.low,
        call_rate=own_rate_paise,
        frozen=balance.frozen,
    )
