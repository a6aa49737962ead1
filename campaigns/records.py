"""Campaign records: fields and statuses of a campaign, and the table of its transitions."""

import dataclasses
import datetime as dt
import enum
import logging
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple, NotRequired, TypedDict, cast, get_args

from billing import charging
from calls.placing import SpecFields
from campaigns import contacts
from core import clock, database, leases, pagination
from core.database import Document, Index, db
from core.errors import NotFound, Problem, Unavailable

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

_NEWEST: Final = pagination.newest_first("created_at")

# A list that comes in proves every few rows that somebody is at it; so does a dialer.
LEASE_SECONDS: Final = 60


class RejectedRow(TypedDict):
    """A row of the list that is not called."""

    row: int
    value: str
    code: str
    message: str


class NewCampaign(SpecFields):
    """What the owner of a campaign asked for, as it is stored."""

    _id: str
    user_id: str
    name: str
    max_concurrent: int
    calls_per_minute: int | None
    start: bool  # else it is a draft
    start_at: dt.datetime | None


class Campaign(NewCampaign):
    """A document of `campaigns`. What is not required is set later, or was not written by an older
    version."""

    status: Status
    pause_reason: PauseReason | None
    created_at: dt.datetime
    started_at: dt.datetime | None
    completed_at: dt.datetime | None
    # its list
    is_loading: bool  # it is still coming in, and nobody sees the campaign
    is_forgotten: NotRequired[bool]  # it did not come in, and its contacts are being deleted
    rejected: NotRequired[list[RejectedRow]]
    rejected_count: NotRequired[int]
    # who is at it
    look_at: dt.datetime | None  # when somebody has to do something for it
    busy_until: dt.datetime | None
    busy_by: NotRequired[str]
    paced_at: dt.datetime | None  # up to when `calls_per_minute` is used up
    # the telephone network
    probes: NotRequired[int]  # how often in a row it was tried in vain
    probe_at: NotRequired[dt.datetime]  # when one more call is tried
    probe_call_id: NotRequired[str | None]  # the call that shows whether it takes calls again
    rests_until: NotRequired[dt.datetime | None]  # it takes no more calls for a moment
    # what its contacts add up to, kept when it is over
    counts: dict[str, int] | None
    spent_paise: int | None


class InvalidTransition(Problem):
    """A campaign in this status cannot do that."""

    code, status, title = "invalid_transition", 409, "Invalid transition"


# --- transitions --------------------------------------------------------------------------------


class CampaignState(NamedTuple):
    """Where a campaign stands."""

    status: Status
    pause_reason: PauseReason | None = None


class CampaignEvent(enum.Enum):
    """What moves a campaign from one position to another. The values are for people to read."""

    OWNER_PAUSED = "paused"
    OWNER_RESUMED = "resumed"
    OWNER_CANCELED = "canceled"
    START_TIME_CAME = "started, its time has come"
    MONEY_RAN_OUT = "paused, the money ran out"
    WALLET_FROZEN = "paused, the wallet is frozen"
    MONEY_CAME = "goes on, there is money again"
    DAY_USED_UP = "paused, the day has no room for more calls"
    DAY_BEGAN = "goes on, there is room for a call again"
    NETWORK_FAILED = "paused, the telephone network takes no calls"
    NETWORK_PROBED = "goes on with one call, which shows whether the network takes calls again"
    LIST_DONE = "completed"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One row of the table: from where to where, and what else changes."""

    before: tuple[CampaignState, ...]
    after: CampaignState | None  # None: it runs, or is scheduled while its start time is ahead
    now: tuple[str, ...] = ()  # fields that become the moment of the event
    cleared: tuple[str, ...] = ()  # fields that become None
    counted: tuple[str, ...] = ()  # fields that grow by one
    given: tuple[str, ...] = ()  # fields that come with the event


DRAFT: Final = CampaignState("draft")
SCHEDULED: Final = CampaignState("scheduled")
RUNNING: Final = CampaignState("running")
COMPLETED: Final = CampaignState("completed")
CANCELED: Final = CampaignState("canceled")
PAUSED_BY_OWNER: Final = CampaignState("paused", "user")
WITHOUT_MONEY: Final = CampaignState("paused", "balance")
FROZEN: Final = CampaignState("paused", "frozen")
DAY_IS_FULL: Final = CampaignState("paused", "cap")
NETWORK_IS_DOWN: Final = CampaignState("paused", "provider")
_PAUSED: Final = tuple(CampaignState("paused", reason) for reason in get_args(PauseReason))

TRANSITIONS: Final[dict[CampaignEvent, Transition]] = {
    # A campaign that waits for money, the next day or the network waits for its owner from then on.
    CampaignEvent.OWNER_PAUSED: Transition(
        before=(RUNNING, SCHEDULED, WITHOUT_MONEY, FROZEN, DAY_IS_FULL, NETWORK_IS_DOWN),
        after=PAUSED_BY_OWNER,
        now=("look_at",),
    ),
    CampaignEvent.OWNER_RESUMED: Transition(before=(DRAFT, *_PAUSED), after=None),
    CampaignEvent.OWNER_CANCELED: Transition(
        before=(DRAFT, SCHEDULED, RUNNING, *_PAUSED),
        after=CANCELED,
        now=("look_at", "completed_at"),
    ),
    CampaignEvent.START_TIME_CAME: Transition(before=(SCHEDULED,), after=None),
    CampaignEvent.MONEY_RAN_OUT: Transition(before=(RUNNING,), after=WITHOUT_MONEY),
    CampaignEvent.WALLET_FROZEN: Transition(before=(RUNNING,), after=FROZEN),
    CampaignEvent.MONEY_CAME: Transition(
        before=(WITHOUT_MONEY, FROZEN), after=RUNNING, now=("look_at",)
    ),
    CampaignEvent.DAY_USED_UP: Transition(before=(RUNNING,), after=DAY_IS_FULL),
    CampaignEvent.DAY_BEGAN: Transition(before=(DAY_IS_FULL,), after=RUNNING, now=("look_at",)),
    CampaignEvent.NETWORK_FAILED: Transition(
        before=(RUNNING,),
        after=NETWORK_IS_DOWN,
        cleared=("probe_call_id",),
        counted=("probes",),
        given=("probe_at",),
    ),
    CampaignEvent.NETWORK_PROBED: Transition(
        before=(NETWORK_IS_DOWN,), after=RUNNING, now=("look_at",)
    ),
    CampaignEvent.LIST_DONE: Transition(
        before=(RUNNING, *_PAUSED),
        after=COMPLETED,
        now=("completed_at",),
        given=("counts", "spent_paise"),
    ),
}


async def apply_event(campaign: Campaign, event: CampaignEvent, **given: object) -> Campaign | None:
    """Move a campaign as the table says; None, and nothing changes, when it stands elsewhere by now.

    `given` are the fields that the row asks for.
    """
    row = TRANSITIONS[event]
    assert set(given) == set(row.given), event
    position = _started(campaign) if row.after is None else _fields_of(row)
    update: Document = {"$set": {**position, **given}}
    if row.counted:
        update["$inc"] = dict.fromkeys(row.counted, 1)
    moved = await db.campaigns.find_one_and_update(
        {"_id": campaign["_id"], **_VISIBLE, **_standing_at(row.before)},
        update,
        projection={"rejected": 0},
        return_document=True,
    )
    if moved is not None:
        log.info("campaign %s: %s", campaign["_id"], event.value)
    return cast("Campaign | None", moved)


def _fields_of(row: Transition) -> Document:
    assert row.after is not None
    now = clock.now()
    return {
        "status": row.after.status,
        "pause_reason": row.after.pause_reason,
        **dict.fromkeys(row.now, now),
        **dict.fromkeys(row.cleared),
    }


def _started(campaign: Campaign) -> Document:
    now, starts_at = clock.now(), campaign["start_at"]
    if starts_at is not None and starts_at > now:
        return {"status": "scheduled", "pause_reason": None, "look_at": starts_at}
    started_at = campaign["started_at"] or now
    return {"status": "running", "pause_reason": None, "look_at": now, "started_at": started_at}


def _standing_at(positions: Sequence[CampaignState]) -> Document:
    """The filter of the campaigns that stand at one of these positions."""
    reasons: dict[Status, list[PauseReason | None]] = {}
    for position in positions:
        reasons.setdefault(position.status, []).append(position.pause_reason)
    found: list[Document] = [
        {"status": status, "pause_reason": {"$in": waits}} for status, waits in reasons.items()
    ]
    return found[0] if len(found) == 1 else {"$or": found}


# --- coming to be -------------------------------------------------------------------------------

_VISIBLE: Final[Document] = {"is_loading": False}
_LOADING: Final[Document] = {"is_loading": True, "is_forgotten": False}


async def create_draft(campaign: NewCampaign) -> bool:
    """Keep a campaign whose list is still coming in: nobody sees it, and if the process dies it
    is forgotten. False when this campaign is complete already."""
    draft: Document = {  # a Campaign; mypy cannot see into `**`
        **campaign,
        "status": "draft",
        "pause_reason": None,
        "is_loading": True,
        "is_forgotten": False,
        "created_at": clock.now(),
        "started_at": None,
        "completed_at": None,
        "look_at": clock.after(LEASE_SECONDS),
        "busy_until": None,
        "paced_at": None,
        "probes": 0,
        "probe_call_id": None,
        "rests_until": None,
        "counts": None,
        "spent_paise": None,
    }
    try:
        await db.campaigns.insert_one(draft)
    except database.DuplicateKey:
        return await extend_draft(campaign["_id"])
    return True


async def extend_draft(campaign_id: str) -> bool:
    """Prolong the draft's life while its list comes in; False when it is a draft no more."""
    result = await db.campaigns.update_one(
        {"_id": campaign_id, **_LOADING},
        {"$set": {"look_at": clock.after(LEASE_SECONDS)}},
    )
    return result.matched_count > 0


async def launch_campaign(
    campaign_id: str, rejected: Sequence[RejectedRow], rejected_count: int
) -> Campaign:
    """The list is in: the campaign is there, and starts if it should. Unavailable if it was
    forgotten meanwhile."""
    found = await db.campaigns.find_one({"_id": campaign_id})
    if found is not None and found["is_loading"]:
        draft = cast(Campaign, found)
        changes = _started(draft) if draft["start"] else {"look_at": None}
        changes |= {"rejected": list(rejected), "rejected_count": rejected_count}
        found = await db.campaigns.find_one_and_update(
            {"_id": campaign_id, **_LOADING},
            {"$set": changes | _VISIBLE},
            return_document=True,
        )
    if found is None:
        raise _out_of_time()
    return cast(Campaign, found)


async def get_launched_campaign(campaign_id: str) -> Campaign:
    """The campaign, if another attempt at the same was faster. Unavailable if it was forgotten."""
    found = await find_campaign(campaign_id)
    if found is None:
        raise _out_of_time()
    return found


def _out_of_time() -> Unavailable:
    return Unavailable("The list did not come in in time; send it again.")


async def delete_draft(campaign_id: str) -> None:
    """A campaign whose list did not come in leaves nothing behind; harmless when it did."""
    # Marked first, so that nobody launches it while its contacts go, and kept until they are gone,
    # so that whoever finds it after a crash goes on with this.
    marked = await db.campaigns.update_one(
        {"_id": campaign_id, "is_loading": True}, {"$set": {"is_forgotten": True}}
    )
    if not marked.matched_count and await find_campaign(campaign_id) is not None:
        return
    await contacts.delete_contacts(campaign_id)
    await db.campaigns.delete_one({"_id": campaign_id, "is_loading": True})


# --- its owner ----------------------------------------------------------------------------------


async def get_campaign(campaign_id: str) -> Campaign:
    """The campaign, without the rows that were refused; NotFound when there is none (yet)."""
    found = await db.campaigns.find_one({"_id": campaign_id, **_VISIBLE}, {"rejected": 0})
    if found is None:
        raise NotFound("There is no campaign with this id.")
    return cast(Campaign, found)


async def find_campaign(campaign_id: str) -> Campaign | None:
    """The campaign with the rows that were refused, if its list came in."""
    found = await db.campaigns.find_one({"_id": campaign_id, **_VISIBLE})
    return cast("Campaign | None", found)


async def list_campaigns(
    user_id: str | None, *, status: Status | None, limit: int, cursor: str | None
) -> tuple[list[Campaign], str | None]:
    """Campaigns without the rows that were refused, newest first, and the next cursor. `user_id`
    None: everybody's; `status` None: all."""
    where: Document = {} if user_id is None else {"user_id": user_id}
    if status is not None:
        where["status"] = status
    where |= _VISIBLE | _NEWEST.behind(cursor)
    found = db.campaigns.find(where, {"rejected": 0}, sort=_NEWEST.sort, limit=limit + 1)
    return _NEWEST.cut(cast(list[Campaign], await found.to_list(None)), limit)


async def pause_campaign(campaign: Campaign) -> Campaign:
    """Place no more calls; those that are up end as they will. Raises InvalidTransition."""
    return await _by_owner(campaign, CampaignEvent.OWNER_PAUSED)


async def resume_campaign(campaign: Campaign) -> Campaign:
    """Go on, or start a draft. Raises InvalidTransition, and the 402s when there is no money."""
    if _position_of(campaign) in TRANSITIONS[CampaignEvent.OWNER_RESUMED].before:
        await charging.require_can_start(campaign["user_id"])
    return await _by_owner(campaign, CampaignEvent.OWNER_RESUMED)


async def cancel_campaign(campaign: Campaign) -> Campaign:
    """Call nobody else; calls that are up end as they will. Raises InvalidTransition."""
    canceled = await _by_owner(campaign, CampaignEvent.OWNER_CANCELED)
    # The dialer does it again, in case that this process does not live to.
    await contacts.mark_pending_canceled(campaign["_id"])
    return canceled


async def _by_owner(campaign: Campaign, event: CampaignEvent) -> Campaign:
    moved = await apply_event(campaign, event)
    if moved is None:
        status = (await get_campaign(campaign["_id"]))["status"]
        raise InvalidTransition(
            f"The campaign is {status}; it cannot be {event.value} now.", campaign_status=status
        )
    return moved


def _position_of(campaign: Campaign) -> CampaignState:
    return CampaignState(campaign["status"], campaign["pause_reason"])


# --- who is at it -------------------------------------------------------------------------------


async def list_due_campaigns(limit: int) -> list[str]:
    """The ids of the campaigns that are due, the longest overdue first."""
    return await leases.due_ids(db.campaigns, "look_at", limit=limit)


async def mark_due(campaign_id: str, at: dt.datetime) -> None:
    """Make the campaign due at `at`, if it is not due before."""
    await db.campaigns.update_one({"_id": campaign_id}, {"$min": {"look_at": at}})


async def acquire_lease(campaign_id: str) -> Campaign | None:
    """The campaign, for this caller alone until `release_lease`; None while another process is at it.

    One at a time, so that the limits of a campaign hold over all processes. When the process dies,
    the campaign is due again as soon as its lease is over.
    """
    now, until = clock.now(), clock.after(LEASE_SECONDS)
    lease = {"busy_until": until, "busy_by": database.new_id("dial"), "look_at": until}
    taken = await db.campaigns.find_one_and_update(
        {"_id": campaign_id, "$or": [{"busy_until": None}, {"busy_until": {"$lt": now}}]},
        {"$set": lease},
        projection={"rejected": 0},
        return_document=True,
    )
    return cast("Campaign | None", taken)


async def release_lease(campaign: Campaign, again_seconds: float | None) -> None:
    """Let others have the campaign: in `again_seconds` or, with None, when something happens to it."""
    mine = {"_id": campaign["_id"], "busy_by": campaign["busy_by"]}
    if again_seconds is None:  # unless its owner did something meanwhile
        quiet = mine | {"look_at": campaign["look_at"]}
        await db.campaigns.update_one(quiet, {"$set": {"look_at": None}})
        await db.campaigns.update_one(mine, {"$set": {"busy_until": None}})
    else:
        again = {"look_at": clock.after(again_seconds)}
        await db.campaigns.update_one(mine, {"$set": {"busy_until": None}, "$min": again})


async def renew_lease(campaign: Campaign, *, paced_at: dt.datetime | None) -> bool:
    """Whether it still runs and is still the caller's, who keeps it; its pace moves to `paced_at`."""
    result = await db.campaigns.update_one(
        {"_id": campaign["_id"], "status": "running", "busy_by": campaign["busy_by"]},
        {"$set": {"busy_until": clock.after(LEASE_SECONDS), "paced_at": paced_at}},
    )
    return result.matched_count > 0


# --- the dialer ---------------------------------------------------------------------------------


async def count_running_campaigns(user_id: str) -> int:
    """How many campaigns of a user run."""
    return await db.campaigns.count_documents({"user_id": user_id, "status": "running"})


async def is_any_waiting_for_money(user_id: str) -> bool:
    """Whether a recharge, or a thaw, would let a campaign of this user go on."""
    waiting = {"user_id": user_id, **_standing_at(TRANSITIONS[CampaignEvent.MONEY_CAME].before)}
    return await db.campaigns.find_one(waiting, {"_id": 1}) is not None


async def resume_campaigns_with_money(user_id: str) -> None:
    """There is money again: all campaigns of this user that wait for it go on."""
    row = TRANSITIONS[CampaignEvent.MONEY_CAME]
    waiting = {"user_id": user_id, **_standing_at(row.before)}
    await db.campaigns.update_many(waiting, {"$set": _fields_of(row)})


async def mark_probed(campaign: Campaign, call_id: str) -> None:
    """This call shows whether the network takes calls again."""
    await db.campaigns.update_one(
        {"_id": campaign["_id"], "status": "running"}, {"$set": {"probe_call_id": call_id}}
    )


async def mark_network_resting(campaign_id: str, until: dt.datetime) -> None:
    """The network takes no more calls for a moment: place none until then."""
    await db.campaigns.update_one({"_id": campaign_id}, {"$max": {"rests_until": until}})


async def mark_network_back(campaign: Campaign) -> None:
    """It let a call ring."""
    await db.campaigns.update_one(
        {"_id": campaign["_id"]}, {"$set": {"probes": 0, "probe_call_id": None}}
    )
    log.info("campaign %s: the telephone network takes calls again", campaign["_id"])


async def close_campaign(campaign: Campaign) -> None:
    """Nobody is left to call: the campaign is over. Keep what its contacts add up to."""
    summed = await _summed(campaign["_id"])
    if campaign["status"] == "canceled":
        await db.campaigns.update_one({"_id": campaign["_id"]}, {"$set": summed})
    else:
        await apply_event(campaign, CampaignEvent.LIST_DONE, **summed)


async def update_counts(campaign_id: str) -> None:
    """Add its contacts up again, because one has changed after the campaign was over."""
    over = {"_id": campaign_id, "counts": {"$ne": None}}
    await db.campaigns.update_one(over, {"$set": await _summed(campaign_id)})


async def _summed(campaign_id: str) -> dict[str, Any]:
    summed = (await contacts.count_contacts([campaign_id]))[campaign_id]
    return {
        "counts": dataclasses.asdict(summed.counts),
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
