"""Rate cards: a price for each destination, in versions that are in force by date."""

import asyncio
import dataclasses
import datetime as dt
import hashlib
import logging
import zlib
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, Final, NotRequired, TypedDict, TypeVar, cast

from billing import rate_card_files
from billing.pricing import Rate
from billing.rate_card_files import Price
from core import clock, config, csv_files, database
from core.database import Index, Insert, Session, Update, Write, db
from core.errors import NotFound, Problem, Unavailable
from core.pagination import Order

log = logging.getLogger(__name__)
T = TypeVar("T")


# --- vocabulary ---------------------------------------------------------------------------------

FILE_BYTES_MAX: Final = 4 * 1024 * 1024
_CARDS_KEPT: Final = 3
_BY_VERSION: Final = Order((("version", int),), name="card")
SCHEDULES: Final = "ratecard_schedule"
SCHEDULE_ID: Final = "schedule"  # of the document that says what is in force now and later


class DestinationNotRated(Problem):
    """The rate card has no price for this number, so it cannot be called."""

    code, status, title = "destination_not_rated", 422, "Destination not rated"


class RateCard(TypedDict):
    """A document of `ratecards`: one version, never changed. Lists leave out `content`."""

    _id: str
    version: int
    rows_count: int
    note: str
    sha256: str
    created_at: dt.datetime
    created_by: str
    content: NotRequired[bytes]  # the CSV, compressed


class RateCardScheduleEntry(TypedDict):
    """Which version is in force from when on; None for no rate card at all."""

    card_id: str | None
    version: int | None
    effective_from: dt.datetime


class RateCardSchedule(TypedDict):
    """The one document of `ratecard_schedule` that says what is in force now and later."""

    _id: str
    entries: list[RateCardScheduleEntry]
    last_version: int
    updated_at: dt.datetime


class RateCardActivation(RateCardScheduleEntry):
    """Every other document of `ratecard_schedule`: one change of the schedule, kept for ever."""

    _id: str
    created_at: dt.datetime
    created_by: str


@dataclasses.dataclass(frozen=True, slots=True)
class Card:
    """A version of the rate card in memory, to find prices in."""

    version: int
    prices: dict[str, tuple[Price, ...]]

    def price_of(self, number: str, day: dt.date) -> Price | None:
        """The price of a number (E.164) on a day: of the prices that are valid then, that of the
        longest prefix."""
        digits = number.removeprefix("+")
        for length in range(len(digits), 0, -1):
            for price in self.prices.get(digits[:length], ()):
                if price.is_valid(day):
                    return price
        return None

    def rate_of(self, number: str, day: dt.date) -> Rate:
        """The price as a rate; what the row leaves empty is taken from the settings.

        Raises DestinationNotRated: a number without a price is not called.
        """
        price = self.price_of(number, day)
        if price is None:
            raise DestinationNotRated(
                f"The rate card has no price for {number}.", rate_card_version=self.version
            )
        chosen = config.settings()
        pulse = price.pulse_seconds or chosen.pulse_seconds
        # A row that has a pulse of its own and no first one means that pulse from the beginning.
        first = price.first_pulse_seconds or (
            pulse if price.pulse_seconds else chosen.first_pulse_seconds or pulse
        )
        minimum, fee_paise = price.minimum_seconds, price.connection_fee_paise
        return Rate(
            rate_paise_per_minute=price.rate_paise_per_minute,
            pulse_seconds=pulse,
            first_pulse_seconds=first,
            minimum_billable_seconds=(
                chosen.minimum_billable_seconds if minimum is None else minimum
            ),
            connection_fee_paise=chosen.connection_fee_paise if fee_paise is None else fee_paise,
            source="card",
            card_version=self.version,
            prefix=price.prefix,
        )


# --- the card in force --------------------------------------------------------------------------


async def find_card_in_force() -> Card | None:
    """The card that is in force now; None when there is none.

    The schedule is read for every call (calls that start together share the query); the card itself
    never changes and is kept in memory.
    """
    found = await database.find_together(SCHEDULES, SCHEDULE_ID)
    return await find_scheduled_card(cast("RateCardSchedule | None", found))


async def find_scheduled_card(schedule: RateCardSchedule | None) -> Card | None:
    """The card that this schedule puts in force now; None when there is none."""
    if schedule is None:
        return None
    entry = _entry_at(schedule["entries"], clock.now())
    return None if entry is None or entry["card_id"] is None else await _card(entry["card_id"])


def _entry_at(
    entries: list[RateCardScheduleEntry], at: dt.datetime
) -> RateCardScheduleEntry | None:
    begun = [entry for entry in entries if entry["effective_from"] <= at]
    return begun[-1] if begun else None


_cards: dict[str, Card] = {}
_loading: dict[str, asyncio.Task[Card]] = {}


async def _card(card_id: str) -> Card:
    known = _cards.get(card_id)
    if known is not None:
        return known
    task = _loading.get(card_id)
    if task is None:
        task = _loading[card_id] = asyncio.create_task(_load(card_id))
        task.add_done_callback(lambda _: _loading.pop(card_id, None))
    return await asyncio.shield(task)


async def _load(card_id: str) -> Card:
    found = cast("RateCard | None", await db.ratecards.find_one({"_id": card_id}))
    if found is None:
        raise Unavailable("The rate card cannot be read right now; try again.")
    card = await asyncio.to_thread(_built, found["version"], bytes(found["content"]))
    while len(_cards) >= _CARDS_KEPT:
        _cards.pop(next(iter(_cards)))
    _cards[card_id] = card
    log.info("rate card %d: %d prefixes", card.version, len(card.prices))
    return card


def _built(version: int, content: bytes) -> Card:
    prices: dict[str, tuple[Price, ...]] = {}
    for price in rate_card_files.prices_of_stored_text(zlib.decompress(content).decode()):
        prices[price.prefix] = (*prices.get(price.prefix, ()), price)
    return Card(version, prices)


# --- versions -----------------------------------------------------------------------------------


async def create_rate_card(
    card_id: str, prices: list[Price], *, effective_from: dt.datetime | None, by: str, note: str
) -> RateCard:
    """Store a new version and put it in force from `effective_from` (None: now) on, in one commit.

    With the `card_id` of a version that exists, returns that one.
    """
    known = await db.ratecards.find_one({"_id": card_id}, {"content": 0})
    if known is not None:
        return cast(RateCard, known)
    text = rate_card_files.stored_text(prices)
    content = await asyncio.to_thread(zlib.compress, text.encode())

    async def card_and_schedule(session: Session) -> RateCard:
        schedule = await _schedule(session)
        version = (schedule["last_version"] if schedule else 0) + 1
        card: RateCard = {
            "_id": card_id,
            "version": version,
            "rows_count": len(prices),
            "note": note,
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
            "created_at": clock.now(),
            "created_by": by,
        }
        writes = _scheduled(schedule, version, card, effective_from, by)
        # The schedule first: of two uploads at once, the second fails there and is repeated.
        kept: RateCard = {**card, "content": content}
        await database.write_all([*writes, Insert("ratecards", kept)], session)
        return card

    card = await _write_schedule(card_and_schedule)
    log.info("rate card %d: %d rows, by %s", card["version"], len(prices), by)
    return card


async def activate_rate_card(
    version: int | None, *, effective_from: dt.datetime | None, by: str
) -> dt.datetime:
    """Put a stored version in force, or with None no card at all; the moment from which it is.

    Raises NotFound when there is no such version.
    """
    card = None if version is None else await get_rate_card(version)
    since = effective_from or clock.now()

    async def schedule_and_activation(session: Session) -> None:
        schedule = await _schedule(session)
        last = schedule["last_version"] if schedule else 0
        await database.write_all(_scheduled(schedule, last, card, since, by), session)

    await _write_schedule(schedule_and_activation)
    log.info("rate card %s in force from %s, by %s", version, clock.iso(since), by)
    return since


async def _write_schedule(body: Callable[[Session], Coroutine[Any, Any, T]]) -> T:
    """`database.atomic`, repeated once when another process wrote the very first schedule meanwhile."""
    try:
        return await database.atomic(body)
    except database.AnyError as problem:
        if not database.is_duplicate(problem):
            raise
        return await database.atomic(body)


def _scheduled(
    schedule: RateCardSchedule | None,
    last_version: int,
    card: RateCard | None,
    effective_from: dt.datetime | None,
    by: str,
) -> list[Write]:
    """The writes that schedule a card. Past entries leave the schedule; their activations stay."""
    now = clock.now()
    entry: RateCardScheduleEntry = {
        "card_id": card and card["_id"],
        "version": card and card["version"],
        "effective_from": max(now, effective_from or now),
    }
    before = schedule["entries"] if schedule else []
    current = _entry_at(before, now)
    ahead = [other for other in before if other is current or other["effective_from"] > now]
    entries = sorted([*ahead, entry], key=lambda other: other["effective_from"])
    changed = {"entries": entries, "last_version": last_version, "updated_at": now}
    activation: RateCardActivation = {
        "_id": database.new_id("act"),
        **entry,
        "created_at": now,
        "created_by": by,
    }
    return [
        Update("ratecard_schedule", {"_id": SCHEDULE_ID}, {"$set": changed}, upsert=True),
        Insert("ratecard_schedule", activation),
    ]


async def get_rate_card(version: int, *, with_content: bool = False) -> RateCard:
    """A version of the card; NotFound when there is none."""
    shown = None if with_content else {"content": 0}
    found = await db.ratecards.find_one({"version": version}, shown)
    if found is None:
        raise NotFound("There is no rate card of this version.")
    return cast(RateCard, found)


async def find_version_at(at: dt.datetime) -> int | None:
    """The version in force at a moment, past or (by the present schedule) future; None for none."""
    found = await db.ratecard_schedule.find_one(
        {"effective_from": {"$lte": at}}, sort=[("effective_from", -1), ("_id", -1)]
    )
    version: int | None = found["version"] if found else None
    return version


async def list_rate_cards(*, limit: int, cursor: str | None) -> tuple[list[RateCard], str | None]:
    """The versions without their content, newest first, and the next cursor."""
    where = _BY_VERSION.behind(cursor)
    found = db.ratecards.find(where, {"content": 0}, sort=_BY_VERSION.sort, limit=limit + 1)
    return _BY_VERSION.cut(cast(list[RateCard], await found.to_list(None)), limit)


async def prices_of_rate_card(version: int) -> list[Price]:
    """The prices of a version. Raises NotFound."""
    found = await get_rate_card(version, with_content=True)
    return await asyncio.to_thread(_prices_in, bytes(found["content"]))


def _prices_in(content: bytes) -> list[Price]:
    return rate_card_files.prices_of_stored_text(zlib.decompress(content).decode())


async def list_schedule() -> list[RateCardScheduleEntry]:
    """What is in force now, if anything is, and what comes into force later, in this order."""
    found = await db.ratecard_schedule.find_one({"_id": SCHEDULE_ID})
    entries = cast(RateCardSchedule, found)["entries"] if found is not None else []
    now = clock.now()
    current = _entry_at(entries, now)
    return [each for each in entries if each is current or each["effective_from"] > now]


async def csv_of_rate_card(version: int) -> AsyncGenerator[str, None]:
    """A version as CSV, which can be changed and uploaded again, in pieces."""
    found = await get_rate_card(version, with_content=True)
    rows = rate_card_files.rows_for_download(
        rate_card_files.prices_of_stored_text(zlib.decompress(found["content"]).decode())
    )
    while piece := [row for row, _ in zip(rows, range(1_000), strict=False)]:
        yield csv_files.lines(piece)
        await asyncio.sleep(0)


# --- storage ------------------------------------------------------------------------------------


async def _schedule(session: Session) -> RateCardSchedule | None:
    found = await db.ratecard_schedule.find_one({"_id": SCHEDULE_ID}, session=session)
    return cast("RateCardSchedule | None", found)


database.declare("ratecards", indexes=[Index(("version",), unique=True)])
database.declare("ratecard_schedule", indexes=[Index(("-effective_from", "-_id"))])
