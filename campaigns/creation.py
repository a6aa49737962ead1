"""Campaign creation: checked and stored with all of its contacts, or not at all."""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import logging
from collections.abc import AsyncGenerator
from typing import Final, cast

import telephony
from billing import charging, rates
from billing.limits import SpendingKey
from calls.placing import PLAIN_CALL, CallSpec
from campaigns import contacts, phone_columns, records
from campaigns.contact_import import ContactChunk
from campaigns.options import OptionFields
from campaigns.records import LEASE_SECONDS, Campaign, NewCampaign, RejectedRow
from core.errors import Problem

log = logging.getLogger(__name__)


# --- vocabulary ---------------------------------------------------------------------------------

# This many of the rows that were refused are listed; the rest is only counted.
REJECTED_LISTED_MAX: Final = 1_000
MAX_CONCURRENT_DEFAULT: Final = 10


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CampaignPlan:
    """What a campaign says, how fast it dials, and when it starts; its list is given separately."""

    name: str
    spec: CallSpec = PLAIN_CALL
    max_concurrent: int = MAX_CONCURRENT_DEFAULT
    calls_per_minute: int | None = None
    start: bool = True  # else it is a draft
    start_at: dt.datetime | None = None
    options: OptionFields = dataclasses.field(default_factory=OptionFields)
    key: SpendingKey | None = None  # the API key that makes it, for whose cap its calls count


class NoUsableRow(Problem):
    """There is nobody to call in this list; `rejected` says why, row by row, and `phone_column` which
    column was read."""

    code, status, title = "no_usable_row", 422, "No usable row"


# --- verbs --------------------------------------------------------------------------------------


def plan_campaign(campaign_id: str, user_id: str, plan: CampaignPlan) -> NewCampaign:
    """The fields of a campaign as they are stored.

    Raises InvalidRequest for options that exclude each other or that the telephone network does not
    have, and InvalidNumber and DestinationNotAllowed for `connect_to`.
    """
    plan.spec.check(telephony.get_chosen_provider())
    return {
        "_id": campaign_id,
        "user_id": user_id,
        "name": plan.name,
        **plan.spec.normalized().fields(),
        **plan.options,
        "max_concurrent": plan.max_concurrent,
        "calls_per_minute": plan.calls_per_minute,
        "start": plan.start,
        "start_at": plan.start_at,
        **charging.key_fields(plan.key),
    }


async def create_campaign(
    campaign: NewCampaign, chunks: AsyncGenerator[ContactChunk, None]
) -> Campaign:
    """Store a planned campaign with all contacts of its list, and start it if that was asked for.

    For a campaign that exists already, returns that one. Raises DestinationNotRated where the number
    that the calls are connected to has no price, and the 402s before the list is read,
    what reading the list raises, NoUsableRow, and Unavailable; then there is no campaign.
    """
    known = await records.find_campaign(campaign["_id"])
    if known is not None:
        return known
    connect_to = campaign["connect_to"]
    if connect_to is not None:  # of the second leg there is one for the whole list
        await rates.get_rate(campaign["user_id"], connect_to)
    await charging.require_can_start(
        campaign["user_id"], connect_to=connect_to, key=charging.key_of(campaign)
    )
    try:
        async with contextlib.aclosing(chunks):
            return await _create_and_fill(campaign, chunks)
    except BaseException:
        await records.delete_draft(campaign["_id"])
        raise


async def _create_and_fill(
    campaign: NewCampaign, chunks: AsyncGenerator[ContactChunk, None]
) -> Campaign:
    campaign_id, now = campaign["_id"], asyncio.get_running_loop().time
    rejected: list[RejectedRow] = []
    count = rejected_count = 0
    is_ours, kept_until = True, 0.0
    column = phone_columns.LIST
    async for chunk in chunks:
        column = chunk.column
        for row in chunk.rejected[: REJECTED_LISTED_MAX - len(rejected)]:
            rejected.append(cast(RejectedRow, dataclasses.asdict(row)))
        rejected_count += len(chunk.rejected)
        if chunk.usable and now() >= kept_until:
            write = records.extend_draft(campaign_id) if count else records.create_draft(campaign)
            is_ours, kept_until = await write, now() + LEASE_SECONDS / 4
        if not is_ours:  # another attempt was faster, or this draft was deleted
            return await records.get_launched_campaign(campaign_id)
        if chunk.usable:
            await contacts.create_contacts(campaign_id, campaign["user_id"], chunk.usable)
            count += len(chunk.usable)
    if not count:
        raise NoUsableRow(
            f"None of the {rejected_count} rows can be called.",
            rejected=rejected,
            rejected_count=rejected_count,
            phone_column=column.name,
            chosen_by=column.chosen_by,
        )
    launched = await records.launch_campaign(campaign_id, rejected, rejected_count, column)
    log.info("campaign %s: %d to call, %d refused", campaign_id, count, rejected_count)
    return launched
