"""Rate previews: what a rate card would change, before it is in force."""

import asyncio
import dataclasses
import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Final

from billing import pricing, rate_cards
from billing.pricing import Rate
from billing.rate_card_files import Price
from billing.rate_cards import Card, DestinationNotRated
from core import clock
from core.database import db

# --- vocabulary ---------------------------------------------------------------------------------

CHANGES_SHOWN_MAX: Final = 100
CALLS_MAX: Final = 5_000
DAYS: Final = 7

Rows = Mapping[str, tuple[Price, ...]]  # of a card, by prefix
_TERMS: Final = (
    "rate_paise_per_minute",
    "first_pulse_seconds",
    "pulse_seconds",
    "minimum_seconds",
    "connection_fee_paise",
    "valid_from",
    "valid_until",
)


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """What changes for one prefix; None: it has no price on that side."""

    prefix: str
    old: Price | None
    new: Price | None

    @property
    def size(self) -> float:
        """By how much the price changes, as a share of the old one."""
        if self.old is None or self.new is None:
            return 0.0
        old, new = self.old.rate_paise_per_minute, self.new.rate_paise_per_minute
        return abs(new - old) / old


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """What one card has that another has not: how many prefixes of each kind, and the first of them;
    of those that change the ones that change most."""

    added_count: int
    removed_count: int
    changed_count: int
    same_count: int
    added: list[Change]
    removed: list[Change]
    changed: list[Change]


@dataclasses.dataclass(slots=True)
class Week:
    """What the calls of the last week were charged, and what they would cost with the card: of those
    alone that the card prices (`calls`). `own_rate` have a rate of their own, whatever the card says;
    `unrated` could not be placed. `is_all`: else these are the latest `CALLS_MAX` of the week."""

    since: dt.datetime
    until: dt.datetime
    calls: int = 0
    seconds: int = 0
    charged_paise: int = 0
    with_card_paise: int = 0
    own_rate: int = 0
    unrated: int = 0
    unrated_prefixes: list[str] = dataclasses.field(default_factory=list)
    is_all: bool = True


# --- verbs --------------------------------------------------------------------------------------


def rows_of(prices: Iterable[Price]) -> Rows:
    """The rows of a card by their prefix."""
    rows: dict[str, tuple[Price, ...]] = {}
    for price in prices:
        rows[price.prefix] = (*rows.get(price.prefix, ()), price)
    return rows


async def find_difference(rows: Rows) -> tuple[Difference, int | None]:
    """What these rows change against the card in force, and the version of that; None: there is none."""
    card = await rate_cards.find_card_in_force()
    before: Rows = {} if card is None else card.prices
    day = clock.ist_date(clock.now())
    found = await asyncio.to_thread(difference_of, before, rows, day)
    return found, None if card is None else card.version


def difference_of(before: Rows, after: Rows, day: dt.date) -> Difference:
    """Compare two cards; of a prefix with several prices the one is shown that holds on `day`."""
    added, removed, changed, same_count = [], [], [], 0
    for prefix in sorted({*before, *after}):
        old, new = before.get(prefix, ()), after.get(prefix, ())
        change = Change(prefix, _shown(old, day), _shown(new, day))
        if not old:
            added.append(change)
        elif not new:
            removed.append(change)
        elif set(map(_terms, old)) != set(map(_terms, new)):
            changed.append(change)
        else:
            same_count += 1
    changed.sort(key=lambda change: (-change.size, change.prefix))
    return Difference(
        len(added),
        len(removed),
        len(changed),
        same_count,
        added[:CHANGES_SHOWN_MAX],
        removed[:CHANGES_SHOWN_MAX],
        changed[:CHANGES_SHOWN_MAX],
    )


def _shown(prices: tuple[Price, ...], day: dt.date) -> Price | None:
    valid = [price for price in prices if price.is_valid(day)]
    return (valid or prices or (None,))[0]


def _terms(price: Price) -> tuple[object, ...]:
    return tuple(getattr(price, name) for name in _TERMS)


async def rate_last_week(rows: Rows) -> Week:
    """What the answered calls of the last seven days would have cost with this card, beside what they
    were charged; the latest `CALLS_MAX` of them."""
    until = clock.now()
    week = Week(until - dt.timedelta(days=DAYS), until)
    found = db.calls.find(
        {"status": "completed", "created_at": {"$gte": week.since}},
        {"_id": 0, "to": 1, "duration_seconds": 1, "cost_paise": 1}
        | {"rate_source": 1, "connect_to": 1, "created_at": 1},
        sort=[("created_at", -1), ("_id", -1)],
        limit=CALLS_MAX + 1,
    )
    calls = await found.to_list(None)
    week.is_all = len(calls) <= CALLS_MAX
    if not week.is_all:
        week.since = calls[CALLS_MAX - 1]["created_at"]
    await asyncio.to_thread(_rate, calls[:CALLS_MAX], Card(0, dict(rows)), week)
    return week


def _rate(calls: list[dict[str, object]], card: Card, week: Week) -> None:
    unrated: set[str] = set()
    for call in calls:
        seconds, charged = call.get("duration_seconds"), call.get("cost_paise")
        if not isinstance(seconds, int) or not isinstance(charged, int):
            continue  # it is not over, or waits for a person
        if call.get("rate_source") == "user":
            week.own_rate += 1
            continue
        try:
            rate = _rate_of(call, card, clock.ist_date(week.until))
        except DestinationNotRated:
            week.unrated += 1
            unrated.add(str(call["to"]).removeprefix("+")[:4])
            continue
        week.calls += 1
        week.seconds += seconds
        week.charged_paise += charged
        week.with_card_paise += pricing.cost_paise(seconds, rate)
    week.unrated_prefixes = sorted(unrated)[:20]


def _rate_of(call: Mapping[str, object], card: Card, day: dt.date) -> Rate:
    rate = card.rate_of(str(call["to"]), day)
    connected = call.get("connect_to")
    if not connected:
        return rate
    return dataclasses.replace(rate, connect_rate=card.rate_of(str(connected), day))
