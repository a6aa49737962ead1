"""Number history: why a number was called, and everything that is known about it, in one answer."""

import asyncio
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from calls.records import Call
from compliance import complaints, contact_limits, do_not_call, scrubbing
from compliance.do_not_call import PLATFORM, Listing
from core import clock
from core.database import Document, db

CALLS_MAX: Final = 200
_SHOWN_OF_CAMPAIGNS: Final = (
    "name",
    "user_id",
    "purpose",
    "window",
    "rules",
    "caller_ids",
    "columns",
    "created_at",
    "started_at",
)
_CONSENT: Final = "consent"


async def get_history(number: str, user_id: str | None) -> dict[str, Any]:
    """What is known about a number (E.164), as JSON: `calls` (the latest 200, each with purpose,
    window, caller id and campaign), `campaigns` with the row of the list it stood in, and what of it
    speaks of consent, `do_not_call`, `scrub_verdicts`, `complaints`, `attempts` that limits count.

    Of this user's calls and lists, and the platform's list; None: of everybody's.
    """
    where: Document = {"to": number} | ({} if user_id is None else {"user_id": user_id})
    rows = db.calls.find(where, sort=[("created_at", -1), ("_id", -1)], limit=CALLS_MAX)
    calls = cast(list[Call], await rows.to_list(None))
    campaigns = await _campaigns_of(calls)
    contacts, listings, verdicts, complained = await asyncio.gather(
        _contacts_of(number, list(campaigns)),
        _listings(number, user_id, calls),
        scrubbing.find_verdicts(number),
        complaints.find_complaints(number, user_id, limit=CALLS_MAX),
    )
    found: dict[str, Any] = _json(
        {
            "number": number,
            "calls": [_call(call, campaigns) for call in calls],
            "campaigns": [_campaign(campaign, contacts) for campaign in campaigns.values()],
            "do_not_call": [_listing(one, user_id) for one in listings],
            "scrub_verdicts": [
                {name: one.get(name) for name in ("purpose", "allowed", "reason", "checked_at")}
                | {"valid_until": one["valid_until"], "history": one.get("history", [])}
                for one in verdicts
            ],
            "complaints": [
                {"complaint_id": one["_id"], "source": one["source"], "text": one["text"]}
                | {"received_at": one["received_at"]}
                for one in complained
            ],
            "attempts": (
                await contact_limits.find_attempts(user_id, number) if user_id is not None else []
            ),
        }
    )
    return found


async def _campaigns_of(calls: Sequence[Call]) -> dict[str, Document]:
    ids = sorted({one for call in calls if (one := call.get("campaign_id"))})
    rows = await db.campaigns.find({"_id": {"$in": ids}}, _SHOWN_OF_CAMPAIGNS).to_list(None)
    return {row["_id"]: row for row in rows}


async def _contacts_of(number: str, campaign_ids: Sequence[str]) -> dict[str, Document]:
    """The rows of the lists that the number was called from."""
    ids = [f"{campaign_id}:{number}" for campaign_id in campaign_ids]
    rows = await db.contacts.find({"_id": {"$in": ids}}).to_list(None)
    return {row["campaign_id"]: row for row in rows}


async def _listings(number: str, user_id: str | None, calls: Sequence[Call]) -> list[Listing]:
    owners = {call["user_id"] for call in calls} if user_id is None else {user_id}
    return await do_not_call.find_listings(number, sorted(owners))


def _call(call: Call, campaigns: Mapping[str, Document]) -> Document:
    campaign = campaigns.get(call.get("campaign_id") or "", {})
    names = ("user_id", "status", "campaign_id", "created_at", "answered_at", "ended_at")
    more = ("failure_reason", "duration_seconds", "provider", "caller_id", "message", "pressed")
    return {
        "call_id": call["_id"],
        **{name: call.get(name) for name in (*names, *more)},
        "purpose": campaign.get("purpose") or "service",
        "campaign_name": campaign.get("name"),
        "window": campaign.get("window"),
        "rules": campaign.get("rules"),
    }


def _campaign(campaign: Document, contacts: Mapping[str, Document]) -> Document:
    contact = contacts.get(campaign["_id"], {})
    columns = campaign.get("columns") or []
    cells = dict(zip(columns, contact.get("cells") or [], strict=False))
    names = ("name", "purpose", "window", "rules", "caller_ids", "created_at", "started_at")
    return {
        "campaign_id": campaign["_id"],
        **{name: campaign.get(name) for name in names},
        "row": contact.get("row"),
        "attempts": contact.get("attempts"),
        "cells": cells,
        "consent": {name: cell for name, cell in cells.items() if _CONSENT in name.casefold()},
    }


def _listing(one: Listing, user_id: str | None) -> Document:
    is_platform = one["owner"] == PLATFORM
    shown: Document = {
        "list": "platform" if is_platform else "own",
        "source": one["source"],
        "added_at": one["added_at"],
        "erased_at": one["erased_at"],
    }
    if user_id is None or not is_platform:  # who put it on the platform's list is nobody else's
        shown |= {"note": one["note"], "added_by": one["added_by"]}
    return shown | ({} if user_id is not None else {"user_id": one["owner"]})


def _json(value: Any) -> Any:
    """`value` with moments as text: as it is answered, and kept with a complaint."""
    if isinstance(value, dt.datetime):
        return clock.iso(value)
    if isinstance(value, Mapping):
        return {str(name): _json(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_json(one) for one in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    return value
