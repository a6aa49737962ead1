"""Campaign options: purpose, hours, retries, budget and caller ids, as they are stored and checked."""

import datetime as dt
from typing import Any, Final, Literal, NotRequired, TypedDict

from billing.limits import CampaignBudget

# --- vocabulary ---------------------------------------------------------------------------------

Purpose = Literal[
    "promotional",  # it offers something
    "service",  # it concerns what the person has bought or asked for
    "transactional",  # it confirms or completes a transaction of the person
    "collection",  # it asks for money that is due
]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Language = str  # BCP-47: "en-IN", "hi-IN"

PURPOSE_DEFAULT: Final[Purpose] = "service"
RETRIED: Final = ("busy", "no_answer", "failed", "machine")  # the keys of `delays_minutes`


class WindowFields(TypedDict):
    """When the owner of a campaign allows calls, within what its purpose and the platform allow:
    on these days from `start` to before `end` (HH:MM) in this time zone."""

    days: list[Weekday]
    start: str
    end: str
    timezone: str


class RetryFields(TypedDict):
    """How often one contact is called at most, the first call included, and how long after an
    attempt that ended so; a way to end without delays is not called again."""

    max_attempts: int
    delays_minutes: dict[str, list[int]]


class OptionFields(TypedDict):
    """The options of a campaign as they are stored; a campaign of an older version has none of them."""

    purpose: NotRequired[Purpose]  # absent: `PURPOSE_DEFAULT`
    window: NotRequired[WindowFields | None]
    retry: NotRequired[RetryFields]  # absent: each contact is called once
    budget_paise: NotRequired[int | None]
    end_at: NotRequired[dt.datetime | None]  # nobody is called from then on
    caller_ids: NotRequired[list[str]]  # E.164; empty: the one of the settings
    columns: NotRequired[list[str]]  # of its list; the `cells` of a contact are in this order
    rules: NotRequired[dict[str, Any]]  # the outer window of its purpose, frozen when it started
    archived_at: NotRequired[dt.datetime | None]  # not listed unless asked for


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
