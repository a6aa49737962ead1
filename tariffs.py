"""Rate selection: the user's own rate, else the rate card's, else the current one."""

import asyncio

import ratecards
import rates
from core import clock
from ratecards import DestinationNotRated
from rates import Rate


# --- verbs --------------------------------------------------------------------------------------
async def rate_for(user_id: str, number: str) -> Rate:
    """What a call of this user to this number (E.164) costs if it is placed now.

    While a card is in force, a number that it has no price for is not called by anybody, whatever
    rate they have of their own. Raises DestinationNotRated, and Unavailable: unknown is never cheap.
    """
    own, card, single = await asyncio.gather(
        rates.own(user_id), ratecards.in_force(), rates.current()
    )
    priced = None if card is None else card.rate_of(number, clock.ist_date(clock.now()))
    return own or priced or single


async def likely(user_id: str, number: str | None = None) -> Rate | None:
    """The rate that the user's next call will probably have; None when it depends on the destination
    and that is not given, or has no price."""
    if number is not None:
        try:
            return await rate_for(user_id, number)
        except DestinationNotRated:
            return None
    own, card, single = await asyncio.gather(
        rates.own(user_id), ratecards.in_force(), rates.current()
    )
    return own or (single if card is None else None)


async def card_version() -> int | None:
    """The version of the rate card that is in force; None when there is none."""
    card = await ratecards.in_force()
    return None if card is None else card.version
