"""Campaign options: purpose, hours, retries, budget and caller ids, as they are stored and checked."""

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NotRequired, TypedDict

from billing.limits import CampaignBudget
from compliance import caller_ids, calling_hours
from compliance.calling_hours import Purpose, Rules, Window
from core import clock, config, money
from core.errors import invalid

# --- vocabulary ---------------------------------------------------------------------------------

PURPOSE_DEFAULT: Final[Purpose] = "service"
RETRIED: Final = ("busy", "no_answer", "failed", "machine")  # the keys of `delays_minutes`
ATTEMPTS_MAX: Final = 10
DELAY_MINUTES_MAX: Final = 7 * 24 * 60
CALLER_IDS_MAX: Final = 20

_CALLER_ID: Final = re.compile(r"\+?[0-9]{3,15}")
_SPACING: Final = re.compile(r"[\s().-]")


class RetryFields(TypedDict):
    """How often one contact is called at most, the first call included, and how long after an
    attempt that ended so; a way to end without delays is not called again."""

    max_attempts: int
    delays_minutes: dict[str, list[int]]


class OptionFields(TypedDict):
    """The options of a campaign as they are stored; a campaign of an older version has none of them."""

    purpose: NotRequired[Purpose]  # absent: `PURPOSE_DEFAULT`
    window: NotRequired[Window | None]
    retry: NotRequired[RetryFields]  # absent: each contact is called once
    budget_paise: NotRequired[int | None]
    end_at: NotRequired[dt.datetime | None]  # nobody is called from then on
    caller_ids: NotRequired[list[str]]  # E.164; empty: the one of the settings
    rules: NotRequired[Rules]  # the outer window of its purpose, frozen when it started
    expected_duration_seconds: NotRequired[int | None]  # of an answered call, for the estimate
    archived_at: NotRequired[dt.datetime | None]  # not listed unless asked for


class RateGroup(TypedDict):
    """The numbers of a list that have the same rate: one of them, and how many they are."""

    number: str
    count: int


class EstimateFields(TypedDict):
    """What an estimate needs to know of a list, stored with its campaign when the list comes in."""

    rate_groups: NotRequired[list[RateGroup]]


NO_RETRY: Final[RetryFields] = {"max_attempts": 1, "delays_minutes": {}}
RETRY_DEFAULT: Final[RetryFields] = {
    "max_attempts": 3,
    "delays_minutes": {"busy": [15, 30], "no_answer": [60, 180], "failed": [5]},
}


def purpose_of(campaign: OptionFields) -> Purpose:
    """What a campaign calls for."""
    return campaign.get("purpose", PURPOSE_DEFAULT)


def retry_of(campaign: OptionFields) -> RetryFields:
    """How a campaign calls again; each contact once where it was made by an older version."""
    return campaign.get("retry", NO_RETRY)


def budget_of(campaign_id: str, campaign: OptionFields) -> CampaignBudget | None:
    """What all calls of a campaign may cost; None when it has no budget of its own."""
    budget_paise = campaign.get("budget_paise")
    return None if budget_paise is None else CampaignBudget(campaign_id, int(budget_paise))


# --- checks -------------------------------------------------------------------------------------


async def check_options(campaign: OptionFields, *, start_at: dt.datetime | None) -> None:
    """Raise InvalidRequest for options that no campaign can have, and CallerIdNotAllowed.

    A window is refused that never opens within the hours of the purpose, or not before `end_at`.
    """
    _check_retry(campaign.get("retry"))
    _check_budget(campaign.get("budget_paise"))
    await _check_times(campaign, start_at)
    check_caller_ids(campaign.get("caller_ids", []), purpose_of(campaign))


def normalized_caller_ids(numbers: Sequence[str]) -> list[str]:
    """Caller ids as they are sent to a network, each once. Raises InvalidRequest."""
    found = dict.fromkeys(_SPACING.sub("", number) for number in numbers)
    for number in found:
        if not _CALLER_ID.fullmatch(number):
            raise invalid("caller_ids", f"{number[:40]!r} is no telephone number")
    if len(found) > CALLER_IDS_MAX:
        raise invalid("caller_ids", f"are at most {CALLER_IDS_MAX}")
    return list(found)


def check_caller_ids(numbers: Sequence[str], purpose: Purpose) -> None:
    """Raise CallerIdNotAllowed unless all of them, or else the one of the settings, are of the series
    of the purpose."""
    for number in numbers:
        caller_ids.check_caller_id(number, purpose)
    if not numbers:
        caller_ids.check_platform_caller_id(caller_ids.configured_caller_id(), purpose)


def _check_retry(retry: RetryFields | None) -> None:
    if retry is None:
        return
    if not 0 <= retry["max_attempts"] <= ATTEMPTS_MAX:
        raise invalid("retry.max_attempts", f"must be from 0 to {ATTEMPTS_MAX}")
    for name, delays in retry["delays_minutes"].items():
        if name not in RETRIED:
            raise invalid(f"retry.delays_minutes.{name}", f"must be one of {', '.join(RETRIED)}")
        if len(delays) > ATTEMPTS_MAX or not all(0 <= d <= DELAY_MINUTES_MAX for d in delays):
            raise invalid(
                f"retry.delays_minutes.{name}",
                f"are at most {ATTEMPTS_MAX}, from 0 to {DELAY_MINUTES_MAX} minutes each",
            )


def _check_budget(budget_paise: int | None) -> None:
    least_paise = config.settings().minimum_balance_paise
    if budget_paise is not None and budget_paise < least_paise:
        raise invalid("budget", f"must be at least Rs {money.text(least_paise)}, for one call")


async def _check_times(campaign: OptionFields, start_at: dt.datetime | None) -> None:
    begins_at = max(start_at or clock.now(), clock.now())
    end_at, window = campaign.get("end_at"), campaign.get("window")
    if end_at is not None and end_at <= begins_at:
        raise invalid("end_at", "must be in the future, and after start_at")
    if window is not None:
        calling_hours.check_window(window)
    opens_at = await find_opening(campaign, begins_at)
    if opens_at is None:
        purpose = purpose_of(campaign)
        raise invalid(
            "purpose" if window is None else "window",
            f"is never open within the hours of a {purpose} campaign",
        )
    if end_at is not None and opens_at + calling_hours.RING > end_at:
        raise invalid(
            "end_at",
            f"is before anybody may be called: the next hours begin at {clock.iso(opens_at)}",
        )


async def find_opening(campaign: OptionFields, at: dt.datetime) -> dt.datetime | None:
    """From when on somebody may be called, `at` or later, at home or in the window's time zone; None
    when never."""
    rules = await calling_hours.in_force(purpose_of(campaign), campaign.get("rules"))
    window = campaign.get("window")
    zones = {calling_hours.HOME_TIME_ZONE} | ({window["timezone"]} if window else set())
    moments = [_opening(rules, window, at, zone) for zone in zones]
    return min((moment for moment in moments if moment is not None), default=None)


def _opening(
    rules: Mapping[str, Any], window: Mapping[str, Any] | None, at: dt.datetime, zone: str
) -> dt.datetime | None:
    found = calling_hours.opening(rules, window, at, timezone=zone)
    return at if found.is_open else found.changes_at
