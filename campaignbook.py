"""Every campaign and where it stands: the record, what its owner may do, and who is at it."""

import datetime as dt
import logging
from typing import Any, Final, Literal

import billing
import clock
import contacts
import database
from database import Document, Index, db
from errors import NotFound, Problem, Unavailable

log = logging.getLogger(__name__)

# --- vocabulary ---------------------------------------------------------------------------------

Status = Literal[
    "draft",  # waits for its owner to start it
    "scheduled",  # starts by itself at its time
    "running",
    "paused",  # the reason says what it waits for; calls that are up go on
    "completed",  # nobody is left to call
    "canceled",
]
PauseReason = Literal[
    "user",  # until its owner resumes it
    "balance",  # the money ran out; the next recharge resumes it
    "frozen",  # an admin has frozen the wallet; unfreezing it resumes it
    "provider",  # the telephone network takes no calls; it is tried again by itself
    "cap",  # the day's calls cost, or are, as many as they may; the next day resumes it
]

# A list that comes in proves every few rows that somebody is at it; so does a dialer.
LEASE_SECONDS: Final = 60

_OWN: Final[Document] = {"is_loading": False}
_LOADING: Final[Document] = {"is_loading": True, "is_forgotten": False}
_FOR_MONEY: Final[Document] = {
    "status": "paused",
    "pause_reason": {"$in": ["balance", "frozen"]},
}
_FOR_THE_DAY: Final[Document] = {"status": "paused", "pause_reason": "cap"}
_FOR_THE_NETWORK: Final[Document] = {"status": "paused", "pause_reason": "provider"}


class InvalidTransition(Problem):
    """A campaign in this status cannot do that."""

    code, status, title = "invalid_transition", 409, "Invalid transition"


# --- coming to be -------------------------------------------------------------------------------


async def open_draft(campaign: Document) -> bool:
    """Keep a campaign whose list is still coming in: nobody sees it, and if the process dies it
    is forgotten. False when this campaign is complete already."""
    draft = campaign | {
        "status": "draft",
        "pause_reason": None,
        **_LOADING,
        "created_at": clock.now(),
        "started_at": None,
        "completed_at": None,
        "look_at": clock.after(LEASE_SECONDS),
        "busy_until": None,
        "paced_at": None,
        "probes": 0,  # how often in a row the network was tried in vain
        "probe_call_id": None,  # the call that shows whether it takes calls again
        "rests_until": None,  # it takes no more calls for a moment
        "counts": None,
        "spent_paise": None,
    }
    try:
        await db.campaigns.insert_one(draft)
    except database.DuplicateKey:
        return await still_loading(campaign["_id"])
    return True


async def still_loading(campaign_id: str) -> bool:
    """Prolong the draft's life while its list comes in; False when it is a draft no more."""
    result = await db.campaigns.update_one(
        {"_id": campaign_id, **_LOADING},
        {"$set": {"look_at": clock.after(LEASE_SECONDS)}},
    )
    return result.matched_count > 0


async def launch(campaign_id: str, **known: Any) -> Document:
    """The list is in: the campaign is there, and starts if it should. Unavailable if it was
    forgotten meanwhile."""
    draft = await db.campaigns.find_one({"_id": campaign_id})
    if draft is not None and draft["is_loading"]:
        changes = _started(draft) if draft["start"] else {"look_at": None}
        draft = await db.campaigns.find_one_and_update(
            {"_id": campaign_id, **_LOADING},
            {"$set": changes | known | _OWN},
            return_document=True,
        )
    if draft is None:
        raise Unavailable("The list did not come in in time; send it again.")
    return draft


async def forget(campaign_id: str) -> None:
    """A campaign whose list did not come in leaves nothing behind; harmless when it did."""
    # Marked first, so that nobody launches it while its contacts go, and kept until they are gone,
    # so that whoever finds it after a crash goes on with this.
    marked = await db.campaigns.update_one(
        {"_id": campaign_id, "is_loading": True}, {"$set": {"is_forgotten": True}}
    )
    if not marked.matched_count and await known(campaign_id) is not None:
        return
    await contacts.discard(campaign_id)
    await db.campaigns.delete_one({"_id": campaign_id, "is_loading": True})


def _started(campaign: Document) -> Document:
    now = clock.now()
    starts_at: dt.datetime | None = campaign["start_at"]
    if starts_at is not None and starts_at > now:
        return {"status": "scheduled", "pause_reason": None, "look_at": starts_at}
    started_at = campaign["started_at"] or now
    return {"status": "running", "pause_reason": None, "look_at": now, "started_at": started_at}


# --- its owner ----------------------------------------------------------------------------------


async def find(campaign_id: str) -> Document:
    """The campaign, without the rows that were refused; NotFound when there is none (yet)."""
    found = await db.campaigns.find_one({"_id": campaign_id, **_OWN}, {"rejected": 0})
    if found is None:
        raise NotFound("There is no campaign with this id.")
    return found


async def known(campaign_id: str) -> Document | None:
    """The campaign with the rows that were refused, if its list came in."""
    return await db.campaigns.find_one({"_id": campaign_id, **_OWN})


async def page(
    where: Document, *, after: tuple[dt.datetime, str] | None, limit: int
) -> list[Document]:
    """At most `limit` campaigns, newest first, that come after that creation time and id."""
    where = where | _OWN
    if after is not None:
        at, campaign_id = after
        where["$or"] = [
            {"created_at": {"$lt": at}},
            {"created_at": at, "_id": {"$lt": campaign_id}},
        ]
    found = db.campaigns.find(
        where, {"rejected": 0}, sort=[("created_at", -1), ("_id", -1)], limit=limit
    )
    return await found.to_list(None)


async def pause(campaign_id: str) -> Document:
    """Place no more calls; those that are up end as they will. Raises InvalidTransition.

    A campaign that waits for money, the next day or the network waits for its owner from then on.
    """
    waits = [_FOR_MONEY, _FOR_THE_DAY, _FOR_THE_NETWORK]
    may = {"$or": [{"status": {"$in": ["running", "scheduled"]}}, *waits]}
    changes = {"status": "paused", "pause_reason": "user", "look_at": clock.now()}
    return await _move(campaign_id, may, changes, "paused")


async def resume(campaign_id: str) -> Document:
    """Go on, or start a draft. Raises InvalidTransition, and the 402s when there is no money."""
    campaign = await find(campaign_id)
    from_here = ["draft", "paused"]
    if campaign["status"] in from_here:
        await billing.can_start(campaign["user_id"])
    may = {"status": {"$in": from_here}}
    return await _move(campaign_id, may, _started(campaign), "resumed")


async def cancel(campaign_id: str) -> Document:
    """Call nobody else; calls that are up end as they will. Raises InvalidTransition."""
    may = {"status": {"$in": ["draft", "scheduled", "running", "paused"]}}
    now = clock.now()
    changes = {"status": "canceled", "pause_reason": None, "look_at": now, "completed_at": now}
    campaign = await _move(campaign_id, may, changes, "canceled")
    # The dialer does it again, in case that this process does not live to.
    await contacts.cancel_pending(campaign_id)
    return campaign


async def _move(campaign_id: str, may: Document, changes: Document, what: str) -> Document:
    moved = await db.campaigns.find_one_and_update(
        {"_id": campaign_id, **_OWN, **may},
        {"$set": changes},
        projection={"rejected": 0},
        return_document=True,
    )
    if moved is None:
        status = (await find(campaign_id))["status"]
        raise InvalidTransition(
            f"The campaign is {status}; it cannot be {what} now.", campaign_status=status
        )
    log.info("campaign %s: %s", campaign_id, what)
    return moved


# --- the dialer ---------------------------------------------------------------------------------


async def due(limit: int) -> list[str]:
    """The campaigns for which it is time that somebody does something."""
    found = db.campaigns.find(
        {"look_at": {"$lte": clock.now(), "$type": "date"}},
        {"_id": 1},
        sort=[("look_at", 1)],
        limit=limit,
    )
    return [campaign["_id"] for campaign in await found.to_list(None)]


async def look_again(campaign_id: str, at: dt.datetime) -> None:
    """Have somebody look at the campaign at `at`, if nobody would before."""
    await db.campaigns.update_one({"_id": campaign_id}, {"$min": {"look_at": at}})


async def take(campaign_id: str) -> Document | None:
    """The campaign, for this caller alone until `put_down`; None while another process is at it.

    One at a time, so that the limits of a campaign hold over all processes. When the process dies,
    the campaign is due again as soon as its lease is over.
    """
    now, until = clock.now(), clock.after(LEASE_SECONDS)
    lease = {"busy_until": until, "busy_by": database.new_id("dial"), "look_at": until}
    return await db.campaigns.find_one_and_update(
        {"_id": campaign_id, "$or": [{"busy_until": None}, {"busy_until": {"$lt": now}}]},
        {"$set": lease},
        projection={"rejected": 0},
        return_document=True,
    )


async def put_down(campaign: Document, again_seconds: float | None) -> None:
    """Let others have the campaign, in `again_seconds` or, with None, when there is news."""
    mine = {"_id": campaign["_id"], "busy_by": campaign["busy_by"]}
    if again_seconds is None:  # unless its owner did something meanwhile
        quiet = mine | {"look_at": campaign["look_at"]}
        await db.campaigns.update_one(quiet, {"$set": {"look_at": None}})
        await db.campaigns.update_one(mine, {"$set": {"busy_until": None}})
    else:
        again = {"look_at": clock.after(again_seconds)}
        await db.campaigns.update_one(mine, {"$set": {"busy_until": None}, "$min": again})


async def goes_on(campaign: Document, *, paced_at: dt.datetime | None) -> bool:
    """Whether it still runs and is still the caller's, who keeps it; its pace moves to `paced_at`."""
    result = await db.campaigns.update_one(
        {"_id": campaign["_id"], "status": "running", "busy_by": campaign["busy_by"]},
        {"$set": {"busy_until": clock.after(LEASE_SECONDS), "paced_at": paced_at}},
    )
    return result.matched_count > 0


async def start_scheduled(campaign: Document) -> None:
    """Its time has come."""
    await db.campaigns.update_one(
        {"_id": campaign["_id"], "status": "scheduled"}, {"$set": _started(campaign)}
    )


async def running_count(user_id: str) -> int:
    """How many campaigns of a user run."""
    return await db.campaigns.count_documents({"user_id": user_id, "status": "running"})


async def pause_for_money(campaign: Document, reason: Literal["balance", "frozen"]) -> None:
    """The money ran out, or must not be spent."""
    await db.campaigns.update_one(
        {"_id": campaign["_id"], "status": "running"},
        {"$set": {"status": "paused", "pause_reason": reason}},
    )
    log.info("campaign %s: paused, %s", campaign["_id"], reason)


async def pause_for_the_day(campaign: Document) -> None:
    """The day's calls cost, or are, as many as they may."""
    await db.campaigns.update_one(
        {"_id": campaign["_id"], "status": "running"}, {"$set": _FOR_THE_DAY}
    )
    log.info("campaign %s: paused, the day has no room for more calls", campaign["_id"])


async def resume_with_the_day(campaign: Document) -> None:
    """There is room for a call again."""
    running = {"status": "running", "pause_reason": None, "look_at": clock.now()}
    await db.campaigns.update_one({"_id": campaign["_id"], **_FOR_THE_DAY}, {"$set": running})


async def pause_for_the_network(campaign: Document, why: str, probe_at: dt.datetime) -> None:
    """The telephone network takes no calls: one more is tried from `probe_at` on."""
    paused = await db.campaigns.update_one(
        {"_id": campaign["_id"], "status": "running"},
        {
            "$set": {**_FOR_THE_NETWORK, "probe_at": probe_at, "probe_call_id": None},
            "$inc": {"probes": 1},
        },
    )
    if paused.matched_count:
        log.error("campaign %s: paused, the telephone network: %s", campaign["_id"], why)


async def probe_the_network(campaign: Document) -> None:
    """Go on with one call, which shows whether the network takes calls again."""
    running = {"status": "running", "pause_reason": None, "look_at": clock.now()}
    await db.campaigns.update_one({"_id": campaign["_id"], **_FOR_THE_NETWORK}, {"$set": running})


async def probed_with(campaign: Document, call_id: str) -> None:
    """This call is the one."""
    await db.campaigns.update_one(
        {"_id": campaign["_id"], "status": "running"}, {"$set": {"probe_call_id": call_id}}
    )


async def rest(campaign_id: str, until: dt.datetime) -> None:
    """The network takes no more calls for a moment: place none until then."""
    await db.campaigns.update_one({"_id": campaign_id}, {"$max": {"rests_until": until}})


async def network_is_back(campaign: Document) -> None:
    """It let a call ring."""
    await db.campaigns.update_one(
        {"_id": campaign["_id"]}, {"$set": {"probes": 0, "probe_call_id": None}}
    )
    log.info("campaign %s: the telephone network takes calls again", campaign["_id"])


async def waits_for_money(user_id: str) -> bool:
    """Whether a recharge, or a thaw, would let a campaign of this user go on."""
    return await db.campaigns.find_one({"user_id": user_id, **_FOR_MONEY}, {"_id": 1}) is not None


async def resume_with_money(user_id: str) -> None:
    """There is money again: what waits for it goes on."""
    running = {"status": "running", "pause_reason": None, "look_at": clock.now()}
    await db.campaigns.update_many({"user_id": user_id, **_FOR_MONEY}, {"$set": running})


async def close(campaign: Document) -> None:
    """Nobody is called any more: keep what the contacts add up to."""
    kept = await _summed(campaign["_id"])
    if campaign["status"] != "canceled":
        kept |= {"status": "completed", "pause_reason": None, "completed_at": clock.now()}
    await db.campaigns.update_one(
        {"_id": campaign["_id"], "status": {"$in": ["running", "paused", "canceled"]}},
        {"$set": kept},
    )
    log.info("campaign %s: over", campaign["_id"])


async def recount(campaign_id: str) -> None:
    """What its contacts add up to has changed after it was over."""
    over = {"_id": campaign_id, "counts": {"$ne": None}}
    await db.campaigns.update_one(over, {"$set": await _summed(campaign_id)})


async def _summed(campaign_id: str) -> Document:
    summed = (await contacts.tally([campaign_id]))[campaign_id]
    return {
        "counts": summed.counts.model_dump(),
        "spent_paise": database.long(summed.spent_paise),
    }


# --- storage ------------------------------------------------------------------------------------

database.declare(
    "campaigns",
    indexes=[
        Index(("user_id", "-created_at", "-_id")),
        Index(("-created_at", "-_id")),
        Index(("user_id", "status")),
        # Only campaigns that something has to be done for are in this one.
        Index(("look_at",), only_where={"look_at": {"$type": "date"}}),
    ],
)
