"""Campaign budgets: how much is left, changed by the owner, and set right after a crash."""

import datetime as dt
from typing import Final

from ulid import ULID

from billing import limits
from billing.limits import CampaignBudget
from calls import records as call_records
from campaigns import contacts, options
from campaigns.records import Campaign, InvalidTransition
from core import clock
from core.errors import invalid

# --- vocabulary ---------------------------------------------------------------------------------

# A call that is counted and is still not there after this time was never placed.
_PLACED_WITHIN: Final = dt.timedelta(minutes=5)
_CHECKED_MAX: Final = 1_000


# --- verbs --------------------------------------------------------------------------------------


async def find_left_paise(campaign: Campaign) -> int | None:
    """What is neither spent nor reserved of a campaign's budget; None when it has none."""
    budget = options.budget_of(campaign["_id"], campaign)
    if budget is None:
        return None
    used = await limits.find_budget_use(budget.campaign_id)
    used_paise = 0 if used is None else used.spent_paise + used.held_paise
    return max(0, budget.budget_paise - used_paise)


async def change_budget(campaign: Campaign, budget_paise: int | None) -> None:
    """Set the budget of a draft or paused campaign, in every process before the campaign shows it.

    Raises InvalidRequest when more than that is spent or reserved, and when a campaign that has
    called somebody shall have none any more; InvalidTransition when one without a budget shall have
    one while calls of it are up, for nobody has counted what they may cost.
    """
    campaign_id, before = campaign["_id"], options.budget_of(campaign["_id"], campaign)
    has_begun = campaign["started_at"] is not None
    if budget_paise is None:
        if before is not None and has_begun:
            raise invalid("budget", "can be raised but not taken away once calls were placed")
        return
    after = CampaignBudget(campaign_id, budget_paise)
    if before is not None or not has_begun:
        await settle_forgotten(campaign_id)
        await limits.change_budget(after)
        return
    totals = (await contacts.count_contacts([campaign_id]))[campaign_id]
    if totals.counts.in_call:
        raise InvalidTransition(
            "A campaign without a budget gets one when none of its calls is up.",
            campaign_status=campaign["status"],
        )
    await limits.change_budget(after, spent_before_paise=totals.spent_paise)


async def settle_forgotten(campaign_id: str) -> None:
    """Settle what a budget still reserves for calls that are over or were never placed: their process
    died before it could. To be called before a campaign is paused because its budget is used up."""
    used = await limits.find_budget_use(campaign_id)
    for call_id in list(used.held if used is not None else ())[:_CHECKED_MAX]:
        call = await call_records.find_call(call_id)
        if call is not None and call["billing_status"] in call_records.RESOLVED:
            cost_paise = int(call["cost_paise"] or 0)
            await limits.settle_for_budget(campaign_id, call_id=call_id, cost_paise=cost_paise)
        elif call is None and _is_old(call_id):
            await limits.settle_for_budget(campaign_id, call_id=call_id, cost_paise=0)


def _is_old(call_id: str) -> bool:
    made_at = ULID.from_str(call_id.partition("_")[2]).datetime
    return made_at < clock.now() - _PLACED_WITHIN
