"""Rates: the single rate, a user's own, and the choice of the rate that holds for a call."""

import dataclasses
import datetime as dt
from collections.abc import Iterable
from typing import Final, Literal, NotRequired, TypedDict, cast

import users
from billing import pricing, rate_cards
from billing.pricing import RATE_PAISE_MAX, Rate
from billing.rate_cards import Card, DestinationNotRated, RateCardSchedule
from core import clock, config, database, money
from core.database import Document, Index, Insert, Session, Update, Write, db
from core.errors import invalid

# --- vocabulary ---------------------------------------------------------------------------------

# The setting that holds the current rate, and the document of `rates` that held it until 0.2.1.
_SETTING: Final = "call_rate_per_minute"
_SETTING_UNTIL_0_2_1: Final = "current"


class WalletSetting(TypedDict):
    """A document of `wallet_settings`: what an admin changes at run time, by whom and when."""

    _id: Literal["call_rate_per_minute"]
    value_paise: int
    updated_at: dt.datetime
    updated_by: str


class RateRecord(TypedDict):
    """A document of `rates`: a user's own rate, or one change of a rate. None: it was removed."""

    _id: str
    rate_paise_per_minute: int | None
    updated_at: dt.datetime
    updated_by: str
    user_id: NotRequired[str]  # absent where the current rate was changed


# --- the rate of a call -------------------------------------------------------------------------


async def get_rate(user_id: str, number: str, connect_to: str | None = None) -> Rate:
    """What a call of this user to this number (E.164), which is connected to `connect_to`, costs if
    it is placed now: with `connect_to` both legs have their rates of the same moment.

    While a card is in force, nobody can call a number that it has no price for, not even with a rate
    of their own; nor be connected to one. Raises DestinationNotRated, and Unavailable: no call is
    placed at an unknown rate.
    """
    return (await get_pricing(user_id)).rate_of(number, connect_to)


@dataclasses.dataclass(frozen=True, slots=True)
class Pricing:
    """The rates of one user at one moment, to rate many numbers by."""

    own: Rate | None
    card: Card | None
    single: Rate

    @property
    def is_same_for_all(self) -> bool:
        """Whether every number has the same rate, and none is refused."""
        return self.card is None

    def rate_of(self, number: str, connect_to: str | None = None) -> Rate:
        """What a call to this number (E.164) costs, connected to `connect_to`. Raises
        DestinationNotRated."""
        rate = _rate_of_leg(number, self.own, self.card, self.single)
        if connect_to is None:
            return rate
        second = _rate_of_leg(connect_to, self.own, self.card, self.single)
        return dataclasses.replace(rate, connect_rate=second)


async def get_pricing(user_id: str) -> Pricing:
    """The rates of this user now. Raises Unavailable."""
    return Pricing(*await _what_holds(user_id))


async def find_likely_rate(
    user_id: str, number: str | None = None, connect_to: str | None = None
) -> Rate | None:
    """The rate that the user's next call will probably have; None when it depends on the destination
    and that is not given, or has no price."""
    if number is not None:
        try:
            return await get_rate(user_id, number, connect_to)
        except DestinationNotRated:
            return None
    own, card, single = await _what_holds(user_id)
    rate = own or (single if card is None else None)
    if rate is None or connect_to is None:
        return rate
    try:
        return dataclasses.replace(rate, connect_rate=_rate_of_leg(connect_to, own, card, single))
    except DestinationNotRated:
        return None


def _rate_of_leg(number: str, own: Rate | None, card: Card | None, single: Rate) -> Rate:
    priced = None if card is None else card.rate_of(number, clock.ist_date(clock.now()))
    return own or priced or single


async def _what_holds(user_id: str) -> tuple[Rate | None, Card | None, Rate]:
    """The user's own rate, the card in force and the single rate of this moment.

    They are read for every call (by one query, shared by calls that start at the same moment), so
    what an admin sets applies in every process as soon as it is committed.
    """
    own, schedule, setting = await database.find_all_together(
        {
            "rates": _of(user_id),
            rate_cards.SCHEDULES: rate_cards.SCHEDULE_ID,
            "wallet_settings": _SETTING,
        }
    )
    return (
        _own_rate(cast("RateRecord | None", own)),
        await rate_cards.find_scheduled_card(cast("RateCardSchedule | None", schedule)),
        _single_rate(cast("WalletSetting | None", setting)),
    )


async def find_rate_card_version() -> int | None:
    """The version of the rate card that is in force; None when there is none."""
    card = await rate_cards.find_card_in_force()
    return None if card is None else card.version


# --- the single rate and a user's own -----------------------------------------------------------


async def get_current_rate() -> Rate:
    """The single rate of this moment: what an admin set last, else `DEFAULT_CALL_RATE`.

    Not kept in memory, so a new rate applies in every process as soon as it is committed.
    """
    return _single_rate(await _setting())


def _single_rate(setting: WalletSetting | None) -> Rate:
    if setting is None:
        return pricing.rate_with_default_terms(
            config.settings().default_call_rate_paise, source="default"
        )
    return pricing.rate_with_default_terms(int(setting["value_paise"]), source="default")


async def find_own_rate(user_id: str) -> Rate | None:
    """The rate that an admin set for this user alone, if any."""
    return _own_rate(await _own_record(user_id))


def _own_rate(record: RateRecord | None) -> Rate | None:
    if record is None or record["rate_paise_per_minute"] is None:
        return None
    return pricing.rate_with_default_terms(int(record["rate_paise_per_minute"]), source="user")


async def list_own_rates(user_ids: Iterable[str]) -> dict[str, int]:
    """The paise a minute of those among these users who have a rate of their own."""
    found = db.rates.find({"_id": {"$in": [_of(user_id) for user_id in user_ids]}})
    return {
        row["user_id"]: int(row["rate_paise_per_minute"])
        async for row in found
        if row["rate_paise_per_minute"] is not None
    }


async def set_current_rate(rate_paise_per_minute: int, *, by: str) -> RateRecord:
    """Make this the current rate, of calls that are placed from now on; the record of the change.

    `by` names the admin. Raises InvalidRequest outside of 0 < rate ≤ `RATE_PAISE_MAX`.
    """
    change = _change(rate_paise_per_minute, by=by)
    setting: Document = {
        "value_paise": change["rate_paise_per_minute"],
        "updated_at": change["updated_at"],
        "updated_by": by,
    }
    await _record(
        change, Update("wallet_settings", {"_id": _SETTING}, {"$set": setting}, upsert=True)
    )
    return change


async def set_own_rate(user_id: str, rate_paise_per_minute: int | None, *, by: str) -> RateRecord:
    """Give this user a rate of their own, or with None remove it; the record of the change.

    Raises NotFound when there is no such user, and InvalidRequest as `set_current_rate` does.
    """
    await users.get_user(user_id)
    change = _change(rate_paise_per_minute, by=by)
    change["user_id"] = user_id
    own_rate: Document = {**change}
    del own_rate["_id"]
    await _record(change, Update("rates", {"_id": _of(user_id)}, {"$set": own_rate}, upsert=True))
    return change


def _change(rate_paise_per_minute: int | None, *, by: str) -> RateRecord:
    """The record of a change of a rate. Raises InvalidRequest when it is out of range."""
    if rate_paise_per_minute is not None and not 0 < rate_paise_per_minute <= RATE_PAISE_MAX:
        highest = money.text(RATE_PAISE_MAX)
        raise invalid("rate", f"must be above 0 and at most {highest} rupees a minute")
    return {
        "_id": database.new_id("rate"),
        "rate_paise_per_minute": (
            None if rate_paise_per_minute is None else database.long(rate_paise_per_minute)
        ),
        "updated_at": clock.now(),
        "updated_by": by,
    }


# --- storage ------------------------------------------------------------------------------------


def _of(user_id: str) -> str:
    return f"own:{user_id}"


async def _setting() -> WalletSetting | None:
    found = await database.find_together("wallet_settings", _SETTING)
    return cast("WalletSetting | None", found)


async def _own_record(user_id: str) -> RateRecord | None:
    found = await database.find_together("rates", _of(user_id))
    return cast("RateRecord | None", found)


async def _record(change: RateRecord, setting: Update) -> None:
    """Write the new rate, and the record of its change, in one commit."""

    async def both(session: Session) -> None:
        writes: list[Write] = [setting, Insert("rates", change)]
        await database.write_all(writes, session)

    await database.atomic(both)


async def _move_current_rate() -> None:
    """Copy the current rate of a database of 0.2.1 to `wallet_settings`, unless there is one.

    The old document stays as it is: processes of 0.2.1 that still run until they are replaced
    charge by it (docs/operations.md).
    """
    old = await db.rates.find_one({"_id": _SETTING_UNTIL_0_2_1})
    if old is None:
        return
    setting = {
        "value_paise": old["rate_paise_per_minute"],
        "updated_at": old["updated_at"],
        "updated_by": old["updated_by"],
    }
    try:
        await db.wallet_settings.update_one(
            {"_id": _SETTING}, {"$setOnInsert": setting}, upsert=True
        )
    except database.DuplicateKey:
        pass  # another process copied it first


database.migrate("rates: the current rate moves to wallet_settings", _move_current_rate)

database.declare(
    "wallet_settings",
    schema={
        "bsonType": "object",
        "required": ["value_paise", "updated_at", "updated_by"],
        "properties": {
            "_id": {"enum": [_SETTING]},
            "value_paise": {"bsonType": "long", "minimum": 1, "maximum": RATE_PAISE_MAX},
            "updated_at": {"bsonType": "date"},
            "updated_by": {"bsonType": "string"},
        },
    },
)

database.declare(
    "rates",
    indexes=[Index(("-updated_at",))],
    schema={
        "bsonType": "object",
        "required": ["rate_paise_per_minute", "updated_at", "updated_by"],
        "properties": {
            "rate_paise_per_minute": {
                "bsonType": ["long", "null"],
                "minimum": 1,
                "maximum": RATE_PAISE_MAX,
            },
            "updated_at": {"bsonType": "date"},
            "updated_by": {"bsonType": "string"},
        },
    },
)
