"""Campaign editing: what of a campaign may change while it is a draft or paused, and its copies."""

from collections.abc import AsyncGenerator
from typing import Any, Final, cast

import telephony
from billing import charging
from calls.placing import CallSpec
from campaigns import budgets, contacts, creation, options, records, variables
from campaigns.contact_import import ContactChunk
from campaigns.phone_columns import LIST, PhoneColumn
from campaigns.records import Campaign, CampaignEvent, InvalidTransition, NewCampaign
from campaigns.variables import MissingVariable
from core import clock
from core.errors import invalid

# --- vocabulary ---------------------------------------------------------------------------------

# What a copy takes over; its list, its start and its end are its own.
_COPIED: Final = (
    "message",
    "audio_url",
    "connect_to",
    "max_duration_seconds",
    "machine_detection",
    "simulate",
    "language",
    "voice",
    "keys",
    "max_concurrent",
    "calls_per_minute",
    "purpose",
    "window",
    "retry",
    "budget_paise",
    "caller_ids",
    "expected_duration_seconds",
)
_CHUNK_ROWS: Final = 500
UNREACHED: Final = ("no_answer", "busy", "failed", "exhausted", "expired")  # the counts of whom


# --- verbs --------------------------------------------------------------------------------------


async def change_campaign(campaign: Campaign, changes: dict[str, Any]) -> Campaign:
    """Change what has not been used yet of a draft or paused campaign: calls that were placed keep what
    they were placed with.

    Raises InvalidTransition in other states and what creating a campaign with these options raises.
    """
    if campaign["status"] not in records.CHANGEABLE:
        raise await records.not_now(campaign, "changed; pause it first")
    if "start_at" in changes and campaign["started_at"] is not None:
        raise invalid("start_at", "has passed: the campaign has started")
    changed = cast(Campaign, {**campaign, **changes})
    CallSpec.of(changed).check(telephony.get_chosen_provider())
    missing = variables.without_column(
        variables.variables_of(changed["message"]), changed.get("columns", [])
    )
    if missing:
        raise MissingVariable(
            f"The list has no column {missing[0]}, which the message says.", variables=missing
        )
    await options.check_options(changed, start_at=changed["start_at"])
    if "budget_paise" in changes:
        await budgets.change_budget(campaign, changes["budget_paise"])
    changed = await records.change_campaign(campaign, changes)
    # What it waited for has changed: it goes on by itself.
    ended_by = {"budget": ("budget_paise",), "window": ("window", "end_at")}
    if any(name in changes for name in ended_by.get(str(campaign["pause_reason"]), ())):
        return await records.apply_event(changed, CampaignEvent.OWNER_RESUMED) or changed
    return changed


async def retry_unreached(campaign: Campaign) -> Campaign:
    """Call everybody of a campaign again who was called and not reached, with all their attempts: busy,
    no answer, failed, exhausted, expired. The campaign goes on, also when it was completed.

    Raises InvalidTransition for a draft, while it runs, after it was canceled, after its end, and when
    nobody is unreached; and the 402s.
    """
    end_at = campaign.get("end_at")
    if end_at is not None and end_at <= clock.now():
        raise InvalidTransition(
            "The end of the campaign has passed; copy it, or pause it and change its end.",
            campaign_status=campaign["status"],
        )
    await charging.require_can_start(
        campaign["user_id"], connect_to=campaign["connect_to"], key=charging.key_of(campaign)
    )
    totals = (await contacts.count_contacts([campaign["_id"]]))[campaign["_id"]].counts
    if not sum(getattr(totals, name) for name in UNREACHED):
        raise InvalidTransition("Nobody is unreached.", campaign_status=campaign["status"])
    # First paused, then the contacts, then on again: whatever dies in between, the campaign waits for
    # its owner, and nobody is pending in one that is completed.
    paused = await records.reopen_campaign(campaign)
    await contacts.requeue_unreached(campaign["_id"])
    return await records.apply_event(paused, CampaignEvent.OWNER_RESUMED) or paused


async def copy_campaign(
    source: Campaign,
    campaign_id: str,
    *,
    name: str | None = None,
    numbers: AsyncGenerator[ContactChunk, None] | None = None,
) -> Campaign:
    """A draft with the options of `source` and its list, or with these `numbers` instead.

    The rows are checked again: whoever is on a do-not-call list meanwhile is not in it. Raises what
    creating a campaign raises; a message whose variables a new list has no columns for is refused.
    """
    stored: dict[str, Any] = {**source}
    draft = cast(
        NewCampaign,
        {field: stored[field] for field in _COPIED if field in stored}
        | {
            "_id": campaign_id,
            "user_id": source["user_id"],
            "name": name or f"{source['name']} (copy)"[:200],
            "start": False,
            "start_at": None,
            "end_at": None,
            "api_key_id": None,
            "api_key_cap_paise": None,
        },
    )
    return await creation.create_campaign(draft, numbers or _list_of(source))


async def _list_of(campaign: Campaign) -> AsyncGenerator[ContactChunk, None]:
    """The list of a campaign, as it is read from a file."""
    column = LIST
    if campaign.get("phone_column") is not None:
        columns = tuple(campaign.get("columns", []))
        chosen_by = campaign.get("chosen_by", "named")
        column = PhoneColumn(campaign.get("phone_column"), chosen_by, columns=columns)
    chunk = ContactChunk(column=column)
    async for contact in contacts.iterate_contacts(campaign["_id"]):
        chunk.usable.append((contact["row"], contact["to"]))
        chunk.cells.append(contact.get("cells", []))
        if len(chunk.usable) >= _CHUNK_ROWS:
            yield chunk
            chunk = ContactChunk(column=column)
    if chunk.usable:
        yield chunk
