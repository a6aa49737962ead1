"""Compliance: at what hours, how often and which numbers may be called, and what shows it later.

`check_number` answers whether a number may be called now, by every rule but the limits, in one question. The
dispatcher asks it as the last thing before a call, the contact limits (`contact_limits.reserve_attempt`)
beside it, because they count.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from compliance import calling_hours, do_not_call, scrubbing
from compliance.calling_hours import HOME_TIME_ZONE, Purpose
from core import clock

# --- vocabulary ---------------------------------------------------------------------------------

RefusalCode = Literal[
    "do_not_call",  # on the list of the user or of the platform
    "scrub_refused",  # the external scrubber forbids it
    "scrub_unknown",  # the scrubber does not answer: wait
    "outside_hours",
    "holiday",
    "outside_window",
    "invalid_window",  # also rules and time zones that cannot be read
    "never_open",
]

_INDIA: Final = "+91"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a number may not be called now.

    `is_final`: never in this campaign (`skipped`). Otherwise `not_before` says when to ask again; None:
    not before somebody changes the window or the rules.
    """

    code: RefusalCode
    detail: str
    is_final: bool
    not_before: dt.datetime | None = None


# --- verbs --------------------------------------------------------------------------------------


async def check_number(
    user_id: str,
    number: str,
    *,
    purpose: Purpose = "service",
    window: Mapping[str, Any] | None = None,
    rules: Mapping[str, Any] | None = None,
    at: dt.datetime | None = None,
    timezone: str | None = None,
) -> Refusal | None:
    """None when this user may call this number (E.164) now; else the first rule that forbids it.

    `rules` are those that were frozen in the campaign; what the platform shortened since holds as well.
    `timezone` is the contact's own; a number in India is always in India. Nothing is counted.
    """
    moment = at or clock.now()
    present = await calling_hours.in_force(purpose, rules)
    opening = calling_hours.opening(
        present, window, moment, timezone=time_zone_of(number, timezone)
    )
    listed = await do_not_call.find_listed(user_id, [number])
    if number in listed:
        whose = "the platform's" if listed[number]["owner"] == do_not_call.PLATFORM else "the own"
        return Refusal("do_not_call", f"The number is on {whose} do-not-call list.", True)
    if not opening.is_open:
        return Refusal(_code(opening.reason), _DETAILS[opening.reason], False, opening.changes_at)
    return await _scrubbed(number, purpose, moment)


async def _scrubbed(number: str, purpose: Purpose, at: dt.datetime) -> Refusal | None:
    if not scrubbing.is_required(purpose):
        return None
    verdict = (await scrubbing.get_verdicts([number], purpose, at=at)).get(number)
    if verdict is None:
        again_at = at + dt.timedelta(seconds=scrubbing.REST_SECONDS)
        return Refusal("scrub_unknown", "The scrubber does not answer.", False, again_at)
    if not verdict["allowed"]:
        return Refusal(
            "scrub_refused", f"The scrubber forbids it. {verdict['reason']}".strip(), True
        )
    return None


def time_zone_of(number: str, timezone: str | None) -> str:
    """Where the person of this number lives: for a number of India always there, whatever a list says."""
    return HOME_TIME_ZONE if number.startswith(_INDIA) else timezone or HOME_TIME_ZONE


_DETAILS: Final[dict[calling_hours.Reason, str]] = {
    "open": "",
    "outside_hours": "It is outside of the calling hours of this purpose.",
    "holiday": "It is a holiday, on which this purpose is not called.",
    "outside_window": "It is outside of the campaign's window.",
    "invalid_window": "The campaign's window cannot be read, so it is never open.",
    "invalid_rules": "The calling rules cannot be read, so they are never open.",
    "invalid_timezone": "The contact's time zone does not exist.",
    "never_open": "The campaign's window and the calling hours have nothing in common.",
}


def _code(reason: calling_hours.Reason) -> RefusalCode:
    if reason == "outside_hours" or reason == "holiday" or reason == "outside_window":
        return reason
    return "never_open" if reason == "never_open" else "invalid_window"
