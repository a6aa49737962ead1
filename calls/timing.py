"""Call timing: when a call is extended, warned, checked and overdue."""

import datetime as dt
from typing import Final

import telephony
from calls.records import Call
from core import clock
from telephony import Capabilities

# --- vocabulary ---------------------------------------------------------------------------------

# How long after its latest end the network is asked about a call whose end was not reported.
GRACE_SECONDS: Final = 15
# A network may need this long until it can be asked about a call that it accepted, or longer by its
# capabilities; by then our request to place the call is over.
VISIBILITY_SECONDS: Final = 60
# A call that is committed and is not submitted after this long never is: its process died.
UNSUBMITTED_SECONDS: Final = 30
# How long before the limit the next slice is reserved, at most.
LEAD_SECONDS: Final = 15.0
# When so much of the reserved talk is left and no slice can be reserved, `CallRunsOut` is recorded.
WARNED_AT_SECONDS: Final = (60, 20)


# --- verbs --------------------------------------------------------------------------------------


def capabilities_of(call: Call) -> Capabilities:
    """What the network of this call can do."""
    return telephony.get_provider(call["provider"]).can


def is_extendable(call: Call) -> bool:
    """Whether more may be reserved for this call while it lasts."""
    is_whole = call["limit_seconds"] >= call["max_duration_seconds"]
    return not (is_whole or capabilities_of(call).reserves_whole)


def limit_seconds_max(call: Call) -> int:
    """The highest limit that more money allows: not above one at the network that cannot be raised."""
    return (
        call["max_duration_seconds"]
        if capabilities_of(call).can_extend
        else call["told_limit_seconds"]
    )


def latest_end_at(call: Call, since: dt.datetime) -> dt.datetime:
    """When a call that was placed or answered at `since` is over at the latest, and its end
    reported."""
    talk_seconds = call["limit_seconds"] / max(1.0, call["pace"])
    grace_seconds = GRACE_SECONDS + capabilities_of(call).duration_after_seconds
    return clock.after(call["ring_seconds"] + talk_seconds + grace_seconds, since=since)


def visible_at(call: Call) -> dt.datetime:
    """From when on a network that does not know this call has never accepted it."""
    seconds = max(VISIBILITY_SECONDS, capabilities_of(call).visible_after_seconds)
    return clock.after(seconds, since=submitted_at(call))


def submitted_at(call: Call) -> dt.datetime:
    """When the network was asked for this call; an older version stored only when it was committed."""
    return call.get("submitted_at") or call["created_at"]


def next_extension_at(call: Call, since: dt.datetime, *, seconds: int) -> dt.datetime:
    """When more has to be reserved for a call that may talk `seconds` from `since` on.

    In real time before the limit. In a simulated call whose seconds are faster than ours, at the
    limit itself, where the simulator waits: a call that ends within its slice reserves no other.
    """
    wall_seconds = seconds / call["pace"]
    lead_seconds = -0.1 if call["pace"] > 1 else min(LEAD_SECONDS, wall_seconds / 2)
    return clock.after(wall_seconds - lead_seconds, since=since)


def next_balance_check_at(call: Call, since: dt.datetime, *, seconds: int) -> dt.datetime:
    """When to check whether there is money for more: in real time, early enough for a warning."""
    if call["pace"] > 1:
        return next_extension_at(call, since, seconds=seconds)
    wall_seconds = seconds / call["pace"]
    lead_seconds = min(WARNED_AT_SECONDS[0] + 1, max(wall_seconds / 2, wall_seconds - 5))
    return clock.after(wall_seconds - lead_seconds, since=since)


def talk_ends_at(call: Call) -> dt.datetime:
    """When the reserved talk of an answered call is over."""
    seconds = call["limit_seconds"] / call["pace"]
    return clock.after(seconds, since=call["answered_at"] or call["created_at"])
