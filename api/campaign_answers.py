"""Answers about campaigns: how a campaign, its estimate and its rejected rows are shown."""

import asyncio
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from api.fields import Instant, RupeesOut
from api.idempotency import Answer
from calls.placing import MachineDetection
from campaigns import (
    budgets,
    contacts,
    dispatcher,
    estimates,
    imports,
    options,
    statistics,
    validation,
    variables,
)
from campaigns.contacts import Counts
from campaigns.estimates import Basis, DurationSource, Estimate
from campaigns.imports import Import
from campaigns.phone_columns import ChosenBy
from campaigns.records import Campaign, PauseReason, Status
from compliance.calling_hours import Purpose, Weekday
from core import clock
from core.errors import InvalidRequest

# --- shapes -------------------------------------------------------------------------------------


class RejectedOut(BaseModel):
    """A row that is not called. `row` is the line of the file, or the position in the list."""

    row: int
    value: str
    code: str
    message: str


class ImportOut(BaseModel):
    """A list that is read by a job, and how far that is."""

    job_id: str
    campaign_id: str
    state: imports.State
    file_bytes: int
    rows_done: int
    rows_total: int | None = Field(description="Null until the file was read once")
    usable: int
    rejected_count: int
    rejected_by_code: dict[str, int]
    error: dict[str, Any] | None = Field(description="Why it failed: a problem document")
    created_at: Instant
    updated_at: Instant
    ended_at: Instant | None


class GroupOut(BaseModel):
    """The numbers of a list that have the same rate."""

    prefix: str | None = Field(description="Of the rate card; null where no card is in force")
    contacts: int
    rate_per_minute: RupeesOut
    cost: RupeesOut


class EstimateOut(BaseModel):
    """What calling everybody who is left costs if all answer; unanswered calls cost nothing."""

    contacts: int
    duration_seconds: int
    duration_source: DurationSource
    cost: RupeesOut
    affordable_contacts: int = Field(description="That the money pays which is available now")
    recharge: RupeesOut = Field(description="What is missing in the wallet for all of them")
    unrated_contacts: int
    groups: list[GroupOut]


class WaitingOut(BaseModel):
    """Why nobody is called right now, and what ends that."""

    reason: str
    until: Instant | None
    text: str


class MissingOut(BaseModel):
    """In how many rows a variable of the message has no value, and which are the first."""

    count: int
    rows: list[int]


class WindowOut(BaseModel):
    """Hours and weekdays of a campaign."""

    days: list[Weekday]
    start: str
    end: str
    timezone: str


class RetryOut(BaseModel):
    """How often one contact is called at most, and how long after an attempt that ended so."""

    max_attempts: int
    delays_minutes: dict[str, list[int]]


class CampaignOut(BaseModel):
    """A campaign as its owner sees it."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    campaign_id: str
    user_id: str
    name: str
    status: Status
    pause_reason: PauseReason | None
    waiting_for: WaitingOut | None = None
    counts: Counts
    spent: RupeesOut
    budget: RupeesOut | None = None
    estimate: EstimateOut | None = Field(None, description="Null when nobody is left to call")
    eta: Instant | None = None
    purpose: Purpose
    window: WindowOut | None = None
    rules: dict[str, Any] | None = Field(
        None, description="The hours of its purpose, as they were when it started"
    )
    retry: RetryOut
    rejected_count: int
    rejected_by_code: dict[str, int] = {}
    missing_variables: dict[str, MissingOut] = {}
    phone_column: str | None = Field(
        None,
        description="The column from which the numbers were read, `column 2` in a file without names; "
        "null for `numbers`",
    )
    chosen_by: ChosenBy | None = Field(
        None,
        description="How it was chosen: it was named in the request, by its name, by its content, as "
        "the only column; or the numbers came as a list. Null for campaigns of older versions",
    )
    columns: list[str] = []
    message: str | None
    audio_url: str | None
    connect_to: str | None
    language: str | None = None
    voice: str | None = None
    keys: dict[str, str] | None = None
    caller_ids: list[str] = []
    max_duration_seconds: int | None
    expected_duration_seconds: int | None = None
    machine_detection: MachineDetection | None = None
    max_concurrent: int
    calls_per_minute: int | None
    start_at: Instant | None
    end_at: Instant | None = None
    created_at: Instant
    started_at: Instant | None
    completed_at: Instant | None
    archived_at: Instant | None = None
    import_: ImportOut | None = Field(
        None,
        alias="import",
        description="The job that reads its list; null where the list came with its request, and in "
        "lists of campaigns. Nothing moves the campaign until the job is completed",
    )


class CreatedOut(CampaignOut):
    """A campaign that was created, and the rows of its list that are not called."""

    rejected: list[RejectedOut]


# --- how a campaign is shown --------------------------------------------------------------------


async def shown(campaigns: list[Campaign]) -> list[CampaignOut]:
    """Campaigns as their owner sees them, with an estimate where somebody is left to call."""
    totals = await contacts.count_contacts([c["_id"] for c in campaigns if c["counts"] is None])
    basis = await _bases(c["user_id"] for c in campaigns if c["counts"] is None)
    return [
        CampaignOut(
            **_options(campaign),
            **_progress(campaign, totals.get(campaign["_id"])),
            estimate=await _estimate(campaign, totals.get(campaign["_id"]), basis),
            waiting_for=await _waiting_for(campaign),
        )
        for campaign in campaigns
    ]


async def one(campaign: Campaign) -> CampaignOut:
    """One campaign as its owner sees it, with the time at which it will probably be over."""
    found = (await shown([campaign]))[0]
    if campaign["status"] == "running":
        figures = await statistics.find_statistics(campaign["_id"])
        found.eta = statistics.find_eta(campaign, found.counts, figures, clock.now())
    if (import_id := campaign.get("import_id")) is not None:
        job = await imports.find_import(import_id)
        found.import_ = None if job is None else import_out(job)
    return found


def import_out(job: Import) -> ImportOut:
    """An import as its owner sees it."""
    stored: dict[str, Any] = {**job}
    same = {name: stored[name] for name in ImportOut.model_fields if name in stored}
    counts = {"rejected_count": sum(job["refused"].values()), "rejected_by_code": job["refused"]}
    return ImportOut(job_id=job["_id"], **counts, **same)


async def created(campaign: Campaign) -> Answer:
    """The answer 201 of a campaign that was created, with the rows that are not called."""
    rejected = [RejectedOut(**row) for row in campaign.get("rejected", [])]
    found = await one(campaign)
    # Not `dict(found)`: with a field `keys` a model looks like a mapping.
    fields = {name: getattr(found, name) for name in CampaignOut.model_fields}
    return Answer(201, CreatedOut(**fields, rejected=rejected))


def estimate_out(found: Estimate) -> EstimateOut:
    """An estimate as it is shown."""
    return EstimateOut(
        contacts=found.contacts,
        duration_seconds=found.duration_seconds,
        duration_source=found.duration_source,
        cost=found.cost_paise,
        affordable_contacts=found.affordable_contacts,
        recharge=found.recharge_paise,
        unrated_contacts=found.unrated_contacts,
        groups=[
            GroupOut(
                prefix=group.prefix,
                contacts=group.contacts,
                rate_per_minute=group.rate_paise_per_minute,
                cost=group.cost_paise,
            )
            for group in found.groups
        ],
    )


async def _waiting_for(campaign: Campaign) -> WaitingOut | None:
    found = await dispatcher.get_waiting_for(campaign)
    if found is None:
        return None
    return WaitingOut(reason=found.reason, until=found.until, text=found.text)


async def _bases(user_ids: Iterable[str]) -> dict[str, Basis]:
    distinct = list(dict.fromkeys(user_ids))
    found = await asyncio.gather(*map(estimates.get_basis, distinct))
    return dict(zip(distinct, found, strict=True))


async def _estimate(
    campaign: Campaign, totals: contacts.ContactTotals | None, basis: dict[str, Basis]
) -> EstimateOut | None:
    if totals is None or not validation.contacts_left(totals.counts):
        return None
    return estimate_out(
        await validation.estimate_of(
            campaign,
            totals.counts,
            basis[campaign["user_id"]],
            left_paise=await budgets.find_left_paise(campaign),
        )
    )


def _options(campaign: Campaign) -> dict[str, Any]:
    """What the owner has chosen."""
    stored: dict[str, Any] = {**campaign}
    same = {name: stored[name] for name in _SAME if name in stored}
    return same | {
        "campaign_id": campaign["_id"],
        "budget": campaign.get("budget_paise"),
        "purpose": options.purpose_of(campaign),
        "retry": options.retry_of(campaign),
    }


_COMPUTED = {"campaign_id", "counts", "spent", "budget", "estimate", "eta", "purpose", "retry"}
_COMPUTED |= {"missing_variables", "waiting_for"}
_SAME = set(CampaignOut.model_fields) - _COMPUTED


def _progress(campaign: Campaign, totals: contacts.ContactTotals | None) -> dict[str, Any]:
    """How far it is, and which of its contacts are skipped for what is missing in their rows."""
    counts = campaign["counts"] if totals is None else totals.counts
    total = counts.total if isinstance(counts, Counts) else (counts or {}).get("total", 0)
    missing = variables.find_missing(
        _variables_of(campaign["message"]),
        campaign.get("columns", []),
        campaign.get("blanks", []),
        total,
    )
    return {
        "counts": counts,
        "spent": campaign["spent_paise"] if totals is None else totals.spent_paise,
        "missing_variables": missing,
    }


def _variables_of(message: str | None) -> list[variables.Variable]:
    """Those of a message that was checked; an older version may have stored one that was not."""
    try:
        return variables.variables_of(message)
    except InvalidRequest:
        return []
