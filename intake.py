"""A campaign comes in: what it says, how fast, and everybody on its list, or nothing at all."""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import json
import logging
from collections.abc import AsyncGenerator
from typing import Annotated, Final

from fastapi import UploadFile
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, Field

import billing
import campaignbook
import clock
import contacts
import telephony
from calls import MachineDetection, SimulateIn, Url
from campaignbook import LEASE_SECONDS
from database import Document
from errors import Problem, invalid
from phonebook import Chunk
from quotes import Phone
from telephony import numbers

log = logging.getLogger(__name__)

# --- vocabulary ---------------------------------------------------------------------------------

# So many of the rows that were refused are told; the rest is counted.
REJECTED_TOLD_MAX: Final = 1_000
MAX_CONCURRENT_DEFAULT: Final = 10
_START_WITHIN_DAYS: Final = 366


class NoUsableRow(Problem):
    """There is nobody to call in this list; `rejected` says why, row by row."""

    code, status, title = "no_usable_row", 422, "No usable row"


def _name(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text.strip()


def _moment(text: object) -> object:
    if text is not None and not isinstance(text, str):
        raise ValueError("must be a moment such as 2026-11-24T09:00:00+05:30")
    return text


def _soon(moment: dt.datetime) -> dt.datetime:
    ahead = moment - clock.now()
    if not dt.timedelta(days=-1) < ahead < dt.timedelta(days=_START_WITHIN_DAYS):
        raise ValueError(f"must be a moment within the next {_START_WITHIN_DAYS} days")
    utc = moment.astimezone(dt.UTC)
    return utc.replace(microsecond=utc.microsecond // 1000 * 1000)


def _not_yet(value: object) -> None:
    if value is not None:
        raise ValueError("is not supported yet; leave it out")


def _texts(values: object) -> object:
    """One complaint about the first number that is no text, not one about each of 100,000."""
    if isinstance(values, list):
        for position, value in enumerate(values, 1):
            if not isinstance(value, str):
                raise ValueError(f"number {position} is no string; send numbers as strings")
    return values


def _json(text: object) -> object:
    try:
        return json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        raise ValueError("must be JSON, as in a body") from None


def _blank_is_absent(value: object) -> object:
    return None if value == "" else value


NotYet = Annotated[None, BeforeValidator(_not_yet)]
Starts = Annotated[AwareDatetime, BeforeValidator(_moment), AfterValidator(_soon)]


class Options(BaseModel):
    """What a campaign says, how fast, and when; at most one of `message`, `audio_url` and
    `connect_to`."""

    name: Annotated[str, Field(max_length=200), AfterValidator(_name)]
    message: Annotated[str, Field(min_length=1, max_length=1_000)] | None = None
    audio_url: Url | None = None
    connect_to: Phone | None = None
    max_duration_seconds: Annotated[int, Field(strict=True, ge=1, le=86_400)] | None = None
    machine_detection: MachineDetection | None = None
    max_concurrent: Annotated[int, Field(strict=True, ge=1, le=1_000)] = MAX_CONCURRENT_DEFAULT
    calls_per_minute: Annotated[int, Field(strict=True, ge=1, le=10_000)] | None = None
    simulate: SimulateIn | None = None
    start: Annotated[bool, Field(strict=True)] = True
    start_at: Starts | None = None
    window: NotYet = None
    retry: NotYet = None
    budget: NotYet = None


class CampaignIn(Options):
    """A campaign whose numbers come with it."""

    numbers: Annotated[list[str], Field(min_length=1), BeforeValidator(_texts)]


_blank = BeforeValidator(_blank_is_absent)


class UploadIn(Options):
    """A campaign whose numbers stand in a CSV file. A field that is left blank is not set."""

    # The Swagger page offers a file to choose for `binary`.
    file: Annotated[UploadFile, Field(json_schema_extra={"format": "binary"})]
    phone_column: Annotated[str | None, Field(max_length=200), _blank] = None
    message: Annotated[Annotated[str, Field(max_length=1_000)] | None, _blank] = None
    audio_url: Annotated[Url | None, _blank] = None
    connect_to: Annotated[Phone | None, _blank] = None
    max_duration_seconds: Annotated[Annotated[int, Field(ge=1, le=86_400)] | None, _blank] = None
    machine_detection: Annotated[MachineDetection | None, _blank] = None
    max_concurrent: Annotated[int, Field(ge=1, le=1_000)] = MAX_CONCURRENT_DEFAULT
    calls_per_minute: Annotated[Annotated[int, Field(ge=1, le=10_000)] | None, _blank] = None
    simulate: Annotated[SimulateIn | None, BeforeValidator(_json), _blank] = None
    start: bool = True
    start_at: Annotated[Starts | None, _blank] = None


# --- verbs --------------------------------------------------------------------------------------


def planned(campaign_id: str, user_id: str, options: Options) -> Document:
    """What is kept of a campaign. Raises InvalidRequest for options that do not go together, and
    InvalidNumber and DestinationNotAllowed for `connect_to`."""
    chosen = [n for n in ("message", "audio_url", "connect_to") if getattr(options, n) is not None]
    if len(chosen) > 1:
        raise invalid(chosen[1], "send one of message, audio_url and connect_to")
    if options.simulate is not None and not telephony.chosen().can.can_simulate:
        raise invalid("simulate", "works only where the simulator is the network")
    if options.machine_detection and not telephony.chosen().can.can_detect_machines:
        raise invalid("machine_detection", "works only where the network detects machines")
    connect_to = options.connect_to
    return {
        "_id": campaign_id,
        "user_id": user_id,
        "name": options.name,
        "message": options.message,
        "audio_url": options.audio_url,
        "connect_to": numbers.checked(connect_to) if connect_to is not None else None,
        "max_duration_seconds": options.max_duration_seconds,
        "machine_detection": options.machine_detection,
        "max_concurrent": options.max_concurrent,
        "calls_per_minute": options.calls_per_minute,
        "simulate": options.simulate and options.simulate.model_dump(),
        "start": options.start,
        "start_at": options.start_at,
    }


async def create(campaign: Document, chunks: AsyncGenerator[Chunk, None]) -> Document:
    """Keep a planned campaign with everybody on its list, and start it if it should.

    The same campaign again is the one that there is. Raises the 402s before the list is read, what
    the phonebook raises, NoUsableRow, and Unavailable; then there is no campaign.
    """
    known = await campaignbook.known(campaign["_id"])
    if known is not None:
        return known
    await billing.can_start(campaign["user_id"])
    try:
        async with contextlib.aclosing(chunks):
            return await _filled(campaign, chunks)
    except BaseException:
        await campaignbook.forget(campaign["_id"])
        raise


async def _filled(campaign: Document, chunks: AsyncGenerator[Chunk, None]) -> Document:
    campaign_id, now = campaign["_id"], asyncio.get_running_loop().time
    told: list[Document] = []
    count = refused_count = 0
    is_ours, kept_until = True, 0.0
    async for chunk in chunks:
        told += map(dataclasses.asdict, chunk.rejected[: REJECTED_TOLD_MAX - len(told)])
        refused_count += len(chunk.rejected)
        if chunk.usable and now() >= kept_until:
            keep = (
                campaignbook.still_loading(campaign_id)
                if count
                else campaignbook.open_draft(campaign)
            )
            is_ours, kept_until = await keep, now() + LEASE_SECONDS / 4
        if not is_ours:  # another attempt at the same was faster, or this one was given up
            return await campaignbook.launch(campaign_id)
        if chunk.usable:
            await contacts.add(campaign_id, campaign["user_id"], chunk.usable)
            count += len(chunk.usable)
    if not count:
        raise NoUsableRow(
            f"None of the {refused_count} rows can be called.",
            rejected=told,
            rejected_count=refused_count,
        )
    launched = await campaignbook.launch(campaign_id, rejected=told, rejected_count=refused_count)
    log.info("campaign %s: %d to call, %d refused", campaign_id, count, refused_count)
    return launched
