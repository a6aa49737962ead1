"""Retries: whether and when a contact is called again; pure rules with one budget for each contact."""

import dataclasses
import datetime as dt
import hashlib
from collections.abc import Callable
from typing import Final, Literal
from zoneinfo import ZoneInfo

from campaigns.options import RetryFields
from core import clock

# --- vocabulary ---------------------------------------------------------------------------------

# How a call ended that may be repeated; `machine`: it was answered, by a machine.
Cause = Literal["busy", "no_answer", "failed", "machine"]


# A network that fails a number again is not asked a third time.
_FAILED_RETRIES_MAX: Final = 1
# A retry is never early, and late by a quarter of its delay at most: many that failed in one minute
# are not due in one minute.
_JITTER_SHARE: Final = 0.25
_JITTER_SECONDS_MAX: Final = 1_800
# After no answer another quarter of the day is tried, unless the owner wants to try again sooner.
_OTHER_QUARTER_MINUTES: Final = 60
_QUARTER_HOURS: Final = 6


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """What was tried for a contact: how each attempt ended, and when it began, the oldest first."""

    contact_id: str
    causes: tuple[Cause, ...]
    called_at: tuple[dt.datetime, ...] = ()
    zone: ZoneInfo = clock.IST


# From when on a moment may be dialled: itself inside a window, else when the next one opens; None
# when none does.
NextOpening = Callable[[dt.datetime], dt.datetime | None]


@dataclasses.dataclass(frozen=True, slots=True)
class Retry:
    """The contact is called again at `due_at`."""

    due_at: dt.datetime


@dataclasses.dataclass(frozen=True, slots=True)
class Stop:
    """The contact is not called again. `exhausted`: its attempts are used up; `expired`: the next one
    does not fit before the end of the campaign; `final`: its last call was the last of its kind."""

    why: Literal["exhausted", "expired", "final"]


# --- rules --------------------------------------------------------------------------------------


def next_attempt(
    rule: RetryFields,
    attempts: Attempts,
    at: dt.datetime,
    *,
    end_at: dt.datetime | None = None,
    opening: NextOpening | None = None,
) -> Retry | Stop:
    """What follows on the last of `attempts`, which ended at `at`. Nothing is due at `end_at` or later.

    Numbers that are invalid or on a list, and calls that were answered or cancelled, are no cause:
    they are not passed. `opening` says when calls may be placed; without it, always.
    """
    cause, made = attempts.causes[-1], len(attempts.causes)
    if rule["max_attempts"] <= 1:
        return Stop("final")
    if made >= rule["max_attempts"]:
        return Stop("exhausted")
    delays = rule["delays_minutes"].get(cause, ())
    same = attempts.causes.count(cause)
    if not delays or (cause == "failed" and same > _FAILED_RETRIES_MAX):
        return Stop("final")
    minutes = delays[min(same, len(delays)) - 1]
    due_at = at + dt.timedelta(minutes=minutes)
    late_seconds = min(minutes * 60 * _JITTER_SHARE, _JITTER_SECONDS_MAX)
    late = dt.timedelta(seconds=late_seconds * spread(attempts.contact_id, made))
    opens = opening or (lambda moment: moment)
    if cause == "no_answer" and minutes >= _OTHER_QUARTER_MINUTES:
        due_at = _in_another_quarter(due_at, late, attempts, opens, end_at)
    opens_at = opens(due_at + late)
    if opens_at is None or (end_at is not None and opens_at >= end_at):
        return Stop("expired")
    # Those for whom the window opens are not all due at that moment either.
    later = opens_at if opens_at == due_at + late else opens_at + late
    fits = opens(later) == later and (end_at is None or later < end_at)
    return Retry(later if fits else opens_at)


def spread(contact_id: str, number: int) -> float:
    """A number from 0 to 1 that is always the same for this contact and attempt."""
    digest = hashlib.sha256(f"{contact_id}:{number}".encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32


def _in_another_quarter(
    due_at: dt.datetime,
    late: dt.timedelta,
    attempts: Attempts,
    opens: NextOpening,
    end_at: dt.datetime | None,
) -> dt.datetime:
    """The first moment from `due_at` on in a quarter of the day that was not tried, if calls may be
    placed then within a day; else `due_at`."""
    tried = {_quarter_of(moment, attempts.zone) for moment in attempts.called_at}
    candidate = due_at
    for _ in range(24 // _QUARTER_HOURS + 1):
        opens_at = opens(candidate + late)
        if opens_at is None or (end_at is not None and opens_at >= end_at):
            return due_at
        if _quarter_of(opens_at, attempts.zone) not in tried:
            return candidate
        candidate = _next_quarter(opens_at, attempts.zone)
    return due_at


def _quarter_of(moment: dt.datetime, zone: ZoneInfo) -> int:
    return moment.astimezone(zone).hour // _QUARTER_HOURS


def _next_quarter(moment: dt.datetime, zone: ZoneInfo) -> dt.datetime:
    local = moment.astimezone(zone)
    begins = local.replace(minute=0, second=0, microsecond=0)
    begins -= dt.timedelta(hours=local.hour % _QUARTER_HOURS - _QUARTER_HOURS)
    return begins.astimezone(dt.UTC)
