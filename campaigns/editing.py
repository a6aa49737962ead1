"""Campaign editing: what of a campaign may change while it is a draft or paused, and its copies."""

from collections.abc import AsyncGenerator
from typing import Any, Final, cast

import telephony
from calls.placing import CallSpec
from campaigns import budgets, contacts, creation, options, records, variables
from campaigns.contact_import import ContactChunk
from campaigns.phone_columns import LIST, PhoneColumn
from campaigns.records import Campaign, NewCampaign
from campaigns.variables import MissingVariable
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
    return await records.change_campaign(campaign, changes)


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
        column = PhoneColumn(campaign.get("phone_column"), campaign.get("chosen_by", "named"))
    columns = campaign.get("columns", [])
    chunk = ContactChunk(column=column, columns=columns)
    async for contact in contacts.iterate_contacts(campaign["_id"]):
        chunk.usable.append((contact["row"], contact["to"]))
        chunk.cells.append(contact.get("cells", []))
        if len(chunk.usable) >= _CHUNK_ROWS:
            yield chunk
            chunk = ContactChunk(column=column, columns=columns)
    if chunk.usable:
        yield chunk
