"""Campaign records: fields and statuses of a campaign, and the table of its transitions."""

import dataclasses
import datetime as dt
import enum
import logging
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple, NotRequired, TypedDict, cast, get_args

from billing import charging, limits
from billing.limits import SpendingKey
from calls.placing import SpecFields
from campaigns import contacts, dial_queue, rejections
from campaigns.options import EstimateFields, OptionFields, RateGroup, purpose_of
from campaigns.phone_columns import ChosenBy
from campaigns.variables import ColumnBlanks
from compliance import calling_hours
from core import clock, database, leases, pagination
from core.database import Document, Index, db
from core.errors import NotFound, Problem, Unavailable

log = logging.getLogger(__name__)


# --- vocabulary ---------------------------------------------------------------------------------

Status = Literal[
    "draft",  # waits for its owner to start it
    "scheduled",  # the dispatcher starts it at its time
    "running",
    "paused",  # it waits for what its reason names; live calls continue
    "completed",  # nobody is left to call
    "canceled",
]
PauseReason = Literal[
    "user",  # until its owner resumes it
    "balance",  # the money ran out; the next recharge resumes it
    "frozen",  # an admin has frozen the wallet; unfreezing it resumes it
    "provider",  # the telephone network does not have an option of it, or an older version paused it
    "cap",  # the day's spend cap or number of calls is reached; the next day resumes it
    "window",  # it has no window that ever opens, until its owner changes that
    "budget",  # its budget is used up, until its owner raises it
]

_NEWEST: Final = pagination.newest_first("created_at")
_LATEST: Final = ("-created_at", "-_id")

# How long a draft lives whose list is being received; it is renewed.
LEASE_SECONDS: Final = 60
# So many contacts are canceled while the owner waits.
_CANCELED_AT_ONCE: Final = 1_000
# A campaign that may be dialled is checked this often as well, in case an event was lost.
_LOOK_SECONDS: Final = 5


class StoredWait(TypedDict):
    """Why a running campaign dials nobody now, and when it is tried again."""

    reason: str
    until: dt.datetime | None
    detail: NotRequired[str]


DRAFTS_MAX: Final = 200  # of one user
CHANGEABLE: Final[tuple[Status, ...]] = ("draft", "paused")
REMOVABLE: Final[tuple[Status, ...]] = ("draft", "completed", "canceled")


class RejectedRow(TypedDict):
    """A row of the list that is not called."""

    row: int
    value: str
    code: str
    message: str


class ListFields(EstimateFields, total=False):
    """What is known of the list of a campaign when it is complete."""

    rejected: list[RejectedRow]
    rejected_count: int
    rejected_by_code: dict[str, int]
    phone_column: str | None  # that was read
    chosen_by: ChosenBy
    columns: list[str]
    blanks: list[ColumnBlanks]  # of each column


class NewCampaign(SpecFields, OptionFields):
    """What the owner of a campaign asked for, as it is stored."""

    _id: str
    user_id: str
    name: str
    max_concurrent: int
    calls_per_minute: int | None
    start: bool  # else it is a draft
    start_at: dt.datetime | None
    api_key_id: NotRequired[str | None]  # the API key that made it: its calls count for its cap
    api_key_cap_paise: NotRequired[int | None]


class Campaign(NewCampaign):
    """A document of `campaigns`. What is not required is set later, or was not written by an older
    version."""

    status: Status
    pause_reason: PauseReason | None
    created_at: dt.datetime
    started_at: dt.datetime | None
    completed_at: dt.datetime | None
    updated_at: NotRequired[dt.datetime]  # when its status changed last
    # its list
    is_loading: bool  # it is being received, and the campaign is not visible yet
    import_id: NotRequired[str | None]  # of the import that reads its list
    is_forgotten: NotRequired[bool]  # it was not completed, and its contacts are being deleted
    rejected: NotRequired[list[RejectedRow]]
    rejected_count: NotRequired[int]
    rejected_by_code: NotRequired[dict[str, int]]
    phone_column: NotRequired[str | None]  # that was read
    chosen_by: NotRequired[ChosenBy]
    columns: NotRequired[list[str]]  # the `cells` of a contact are in this order
    blanks: NotRequired[list[ColumnBlanks]]
    rate_groups: NotRequired[list[RateGroup]]
    # its turns
    look_at: dt.datetime | None  # when the dispatcher checks it, whatever happens
    is_ready: NotRequired[bool]  # somebody of its list may be dialled now; absent: nobody may
    wakes: NotRequired[int]  # how often that began
    served_at: NotRequired[dt.datetime]  # when it had its last turn
    waiting_for: NotRequired[StoredWait | None]
    # of older versions
    busy_until: NotRequired[dt.datetime | None]
    busy_by: NotRequired[str]
    paced_at: NotRequired[dt.datetime | None]
    probes: NotRequired[int]
    probe_at: NotRequired[dt.datetime]
    probe_call_id: NotRequired[str | None]
    rests_until: NotRequired[dt.datetime | None]
    # the totals of its contacts, stored when it is over
    counts: dict[str, int] | None
    spent_paise: int | None


class TooManyDrafts(Problem):
    """There are as many drafts of this user as one may have."""

    code, status, title = "too_many_drafts", 409, "Too many drafts"


class InvalidTransition(Problem):
    """A campaign in this status cannot do that."""

    code, status, title = "invalid_transition", 409, "Invalid transition"


# --- transitions --------------------------------------------------------------------------------


class CampaignState(NamedTuple):
    """The status of a campaign, with the reason of a pause."""

    status: Status
    pause_reason: PauseReason | None = None


class CampaignEvent(enum.Enum):
    """What moves a campaign from one state to another. The values are for the log and for errors."""

    OWNER_PAUSED = "paused"
    OWNER_RESUMED = "resumed"
    OWNER_CANCELED = "canceled"
    START_TIME_CAME = "started, its time has come"
    MONEY_RAN_OUT = "paused, the money ran out"
    WALLET_FROZEN = "paused, the wallet is frozen"
    MONEY_CAME = "goes on, there is money again"
    DAY_USED_UP = "paused, the day has no room for more calls"
    DAY_BEGAN = "goes on, there is room for a call again"
    OPTIONS_LACKING = "paused, the telephone network does not have its options"
    NEVER_OPEN = "paused, its window never opens"
    BUDGET_USED_UP = "paused, its budget is used up"
    NETWORK_BACK = "goes on, the health of the network is no longer a matter of the campaign"
    LIST_DONE = "completed"
    OWNER_REOPENED = "paused, its unreached contacts wait for a call again"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One row of the table: the states before, the state after, and what else changes."""

    before: tuple[CampaignState, ...]
    after: CampaignState | None  # None: it runs, or is scheduled while its start time is ahead
    now: tuple[str, ...] = ()  # fields that are set to the moment of the event
    cleared: tuple[str, ...] = ()  # fields that are set to None
    given: tuple[str, ...] = ()  # fields that the caller passes with the event


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
WITHOUT_WINDOW: Final = CampaignState("paused", "window")
WITHOUT_BUDGET: Final = CampaignState("paused", "budget")
_PAUSED: Final = tuple(CampaignState("paused", reason) for reason in get_args(PauseReason))

TRANSITIONS: Final[dict[CampaignEvent, Transition]] = {
    # A campaign that waits for money, the next day or the network then waits for its owner instead.
    CampaignEvent.OWNER_PAUSED: Transition(
        before=(
            RUNNING,
            SCHEDULED,
            WITHOUT_MONEY,
            FROZEN,
            DAY_IS_FULL,
            NETWORK_IS_DOWN,
            WITHOUT_WINDOW,
            WITHOUT_BUDGET,
        ),
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
    CampaignEvent.OPTIONS_LACKING: Transition(
        before=(RUNNING,), after=NETWORK_IS_DOWN, now=("look_at",), given=("waiting_for",)
    ),
    CampaignEvent.NEVER_OPEN: Transition(
        before=(RUNNING,), after=WITHOUT_WINDOW, now=("look_at",), given=("waiting_for",)
    ),
    CampaignEvent.BUDGET_USED_UP: Transition(
        before=(RUNNING,), after=WITHOUT_BUDGET, now=("look_at",)
    ),
    CampaignEvent.NETWORK_BACK: Transition(
        before=(NETWORK_IS_DOWN,), after=RUNNING, now=("look_at",)
    ),
    CampaignEvent.LIST_DONE: Transition(
        before=(SCHEDULED, RUNNING, *_PAUSED),
        after=COMPLETED,
        now=("completed_at",),
        given=("counts", "spent_paise"),
    ),
    CampaignEvent.OWNER_REOPENED: Transition(
        before=(COMPLETED, *_PAUSED),
        after=PAUSED_BY_OWNER,
        cleared=("completed_at", "counts", "spent_paise"),
    ),
}


async def apply_event(campaign: Campaign, event: CampaignEvent, **given: object) -> Campaign | None:
    """Change a campaign as the table defines; None when it is no longer in a state of the row.

    Then nothing has changed. `given` are the fields that the row requires.
    """
    row = TRANSITIONS[event]
    assert set(given) == set(row.given), event
    state = _started(campaign) if row.after is None else _fields_of(row)
    update = _update_of({"updated_at": clock.now(), **state, **given})
    changed = await db.campaigns.find_one_and_update(
        {"_id": campaign["_id"], **_VISIBLE, **_in_states(row.before)},
        update,
        projection={"rejected": 0},
        return_document=True,
    )
    if changed is not None:
        log.info("campaign %s: %s", campaign["_id"], event.value)
        if changed["status"] == "running":
            await dial_queue.wake_user(campaign["user_id"])
    return cast("Campaign | None", changed)


def _update_of(fields: Document) -> Document:
    """The update to these fields: a campaign that runs has turns, and no other has."""
    fields = {"waiting_for": None, **fields}
    if fields["status"] == "running":
        return {"$set": fields | {"is_ready": True}, "$inc": {"wakes": 1}}
    return {"$set": fields, "$unset": {"is_ready": ""}}


def _fields_of(row: Transition) -> Document:
    assert row.after is not None
    now = clock.now()
    return {
        "updated_at": now,
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


def _in_states(states: Sequence[CampaignState]) -> Document:
    """The filter of the campaigns that are in one of these states."""
    reasons: dict[Status, list[PauseReason | None]] = {}
    for state in states:
        reasons.setdefault(state.status, []).append(state.pause_reason)
    found: list[Document] = [
        {"status": status, "pause_reason": {"$in": pause_reasons}}
        for status, pause_reasons in reasons.items()
    ]
    return found[0] if len(found) == 1 else {"$or": found}


# --- drafts and their launch --------------------------------------------------------------------

_VISIBLE: Final[Document] = {"is_loading": False}
# Shown while it comes in, but nothing moves it.
_SHOWN: Final[Document] = {"$nor": [{"is_loading": True, "import_id": None}]}
_LOADING: Final[Document] = {"is_loading": True, "is_forgotten": False}


async def create_draft(campaign: NewCampaign, *, import_id: str | None = None) -> bool:
    """Store a campaign whose list is being received: it is not visible, and it is deleted if the
    process dies. False when this campaign is complete already.

    With `import_id` its list comes from that import, which deletes it if it fails: it is shown.
    """
    draft: Document = {  # a Campaign; mypy cannot see into `**`
        **campaign,
        "status": "draft",
        "pause_reason": None,
        "is_loading": True,
        "is_forgotten": False,
        "created_at": clock.now(),
        "started_at": None,
        "completed_at": None,
        "look_at": clock.after(LEASE_SECONDS) if import_id is None else None,
        "import_id": import_id,
        "rejected_count": 0,
        "counts": None,
        "spent_paise": None,
    }
    try:
        await db.campaigns.insert_one(draft)
    except database.DuplicateKey:
        return import_id is not None or await extend_draft(campaign["_id"])
    return True


async def extend_draft(campaign_id: str) -> bool:
    """Renew the draft while its list is being received; False when it is no longer such a draft."""
    result = await db.campaigns.update_one(
        {"_id": campaign_id, **_LOADING},
        {"$set": {"look_at": clock.after(LEASE_SECONDS)}},
    )
    return result.matched_count > 0


async def launch_campaign(campaign_id: str, fields: ListFields) -> Campaign:
    """Make a campaign visible whose list is complete, with what is known of it, and start it if that
    was asked for. Raises Unavailable when its draft was deleted meanwhile."""
    found = await db.campaigns.find_one({"_id": campaign_id})
    if found is not None and found["is_loading"]:
        draft = cast(Campaign, found)
        await contacts.recount_contacts(campaign_id)
        update = _update_of({"status": "draft", "look_at": None})
        changes: Document = dict(fields)
        if draft["start"]:
            update = _update_of(_started(draft))
            changes["rules"] = await calling_hours.freeze_rules(purpose_of(draft))
        changes["updated_at"] = clock.now()
        found = await db.campaigns.find_one_and_update(
            {"_id": campaign_id, **_LOADING},
            update | {"$set": update["$set"] | changes | _VISIBLE},
            return_document=True,
        )
        if found is not None and found["status"] == "running":
            await dial_queue.wake_user(found["user_id"])
    if found is None:
        raise _out_of_time()
    return cast(Campaign, found)


async def get_launched_campaign(campaign_id: str) -> Campaign:
    """The campaign that another attempt launched. Raises Unavailable when its draft was deleted."""
    found = await find_campaign(campaign_id)
    if found is None:
        raise _out_of_time()
    return found


def _out_of_time() -> Unavailable:
    return Unavailable("The list did not come in in time; send it again.")


async def delete_draft(campaign_id: str) -> None:
    """Delete a campaign whose list was not completed, with its contacts; harmless when it was."""
    # Marked first, so that no attempt launches it while its contacts are being deleted, and deleted
    # last, so that after a crash another process continues with this.
    marked = await db.campaigns.update_one(
        {"_id": campaign_id, "is_loading": True}, {"$set": {"is_forgotten": True}}
    )
    if not marked.matched_count and await find_campaign(campaign_id) is not None:
        return
    await contacts.delete_contacts(campaign_id)
    await rejections.delete_rejections(campaign_id)
    await limits.delete_budget(campaign_id)
    await db.campaigns.delete_one({"_id": campaign_id, "is_loading": True})


# --- for its owner ------------------------------------------------------------------------------


async def get_campaign(campaign_id: str) -> Campaign:
    """The campaign, without the rows that were refused; NotFound when there is none (yet)."""
    found = await db.campaigns.find_one({"_id": campaign_id, **_SHOWN}, {"rejected": 0})
    if found is None:
        raise NotFound("There is no campaign with this id.")
    return cast(Campaign, found)


async def find_campaign(campaign_id: str) -> Campaign | None:
    """The campaign with the rows that were refused; None when there is none (yet)."""
    found = await db.campaigns.find_one({"_id": campaign_id, **_VISIBLE})
    return cast("Campaign | None", found)


async def find_campaign_briefly(campaign_id: str) -> Campaign | None:
    """The campaign without the rows that were refused; None when there is none (yet)."""
    found = await db.campaigns.find_one({"_id": campaign_id, **_VISIBLE}, {"rejected": 0})
    return cast("Campaign | None", found)


async def list_campaigns(
    user_id: str | None,
    *,
    status: Status | None,
    archived: bool = True,
    limit: int,
    cursor: str | None,
) -> tuple[list[Campaign], str | None]:
    """Campaigns without the rows that were refused, newest first, and the next cursor. `user_id`
    None: everybody's; `status` None: all; `archived` False: without those that were archived."""
    where: Document = {} if user_id is None else {"user_id": user_id}
    if not archived:
        where["archived_at"] = None
    if status is not None:
        where["status"] = status
    where |= _VISIBLE | _NEWEST.behind(cursor)
    by = "status" if status is not None else "archived_at" if not archived else None
    index = Index((*(["user_id"] if user_id is not None else []), *([by] if by else []), *_LATEST))
    found = db.campaigns.find(
        where, {"rejected": 0}, sort=_NEWEST.sort, limit=limit + 1, hint=index.name
    )
    return _NEWEST.cut(cast(list[Campaign], await found.to_list(None)), limit)


async def change_campaign(campaign: Campaign, changes: Document) -> Campaign:
    """Change fields of a draft or of a paused campaign. Raises InvalidTransition in other states."""
    changed = await db.campaigns.find_one_and_update(
        {"_id": campaign["_id"], **_VISIBLE, "status": {"$in": list(CHANGEABLE)}},
        {"$set": changes},
        projection={"rejected": 0},
        return_document=True,
    )
    if changed is None:
        raise await not_now(campaign, "changed; pause it first")
    return cast(Campaign, changed)


async def reopen_campaign(campaign: Campaign) -> Campaign:
    """Pause a campaign that is completed or paused, so that its contacts may be called again. Raises
    InvalidTransition in other states."""
    return await _by_owner(campaign, CampaignEvent.OWNER_REOPENED)


async def archive_campaign(campaign: Campaign, *, is_archived: bool = True) -> Campaign:
    """Hide a campaign that is a draft or over from the list, or show it again; repeated, nothing
    changes. Raises InvalidTransition while it runs, waits or pauses."""
    changed = await db.campaigns.find_one_and_update(
        {"_id": campaign["_id"], **_VISIBLE, "status": {"$in": list(REMOVABLE)}},
        {"$set": {"archived_at": clock.now() if is_archived else None}},
        projection={"rejected": 0},
        return_document=True,
    )
    if changed is None:
        raise await not_now(campaign, "archived")
    return cast(Campaign, changed)


async def forget_campaign(campaign: Campaign) -> None:
    """Delete a campaign that is a draft or over: nobody sees it from now on, and its contacts are
    deleted in batches by the job of the dispatcher. Its calls and their charges stay.

    Raises InvalidTransition in other states, and while a call of it is not over.
    """
    if await contacts.has_contacts(campaign["_id"], contacts.LIVE):
        raise await not_now(campaign, "deleted while calls of it are up")
    marked = await db.campaigns.update_one(
        {"_id": campaign["_id"], **_VISIBLE, "status": {"$in": list(REMOVABLE)}},
        {"$set": {"is_loading": True, "is_forgotten": True, "look_at": clock.now()}},
    )
    if not marked.matched_count:
        raise await not_now(campaign, "deleted")


async def require_room_for_draft(user_id: str) -> None:
    """Raise TooManyDrafts when the user has as many drafts as one may have."""
    drafts = {"user_id": user_id, "status": "draft"}
    if await db.campaigns.count_documents(drafts, limit=DRAFTS_MAX) >= DRAFTS_MAX:
        raise TooManyDrafts(
            f"There are {DRAFTS_MAX} drafts; start or delete some.", limit=DRAFTS_MAX
        )


async def not_now(campaign: Campaign, what: str) -> InvalidTransition:
    """The refusal of something that the campaign cannot do in the status that it has now."""
    status = (await get_campaign(campaign["_id"]))["status"]
    return InvalidTransition(
        f"The campaign is {status}; it cannot be {what} now.", campaign_status=status
    )


async def pause_campaign(campaign: Campaign) -> Campaign:
    """Place no more calls; live calls continue to their end. Raises InvalidTransition."""
    return await _by_owner(campaign, CampaignEvent.OWNER_PAUSED)


async def resume_campaign(campaign: Campaign, *, key: SpendingKey | None = None) -> Campaign:
    """Resume a campaign, or start a draft. Raises InvalidTransition, and the 402s without money.

    Resumed with an API key that has a cap, it counts for that key from now on, whoever made it:
    else a key could spend more than it may by what others have prepared.
    """
    takes_over = key is not None and key.spend_cap_paise is not None
    payer = key if takes_over else charging.key_of(campaign)
    if _state_of(campaign) in TRANSITIONS[CampaignEvent.OWNER_RESUMED].before:
        await charging.require_can_start(
            campaign["user_id"], connect_to=campaign["connect_to"], key=payer
        )
        await _freeze_rules(campaign)
        if takes_over:
            await db.campaigns.update_one(
                {"_id": campaign["_id"]}, {"$set": dict(charging.key_fields(key))}
            )
    return await _by_owner(campaign, CampaignEvent.OWNER_RESUMED)


async def _freeze_rules(campaign: Campaign) -> None:
    """Keep the rules of the moment at which a campaign starts; those of its first start stay."""
    if campaign.get("rules") is None:
        rules = await calling_hours.freeze_rules(purpose_of(campaign))
        await db.campaigns.update_one(
            {"_id": campaign["_id"], "rules": None}, {"$set": {"rules": rules}}
        )


async def cancel_campaign(campaign: Campaign) -> Campaign:
    """Cancel the campaign; live calls continue to their end. Raises InvalidTransition."""
    canceled = await _by_owner(campaign, CampaignEvent.OWNER_CANCELED)
    # What a long list has more is left to the dispatcher, as is all when this process dies before.
    await contacts.mark_pending_canceled(campaign["_id"], at_most=_CANCELED_AT_ONCE)
    return canceled


async def _by_owner(campaign: Campaign, event: CampaignEvent) -> Campaign:
    changed = await apply_event(campaign, event)
    if changed is None:
        raise await not_now(campaign, event.value)
    return changed


def _state_of(campaign: Campaign) -> CampaignState:
    return CampaignState(campaign["status"], campaign["pause_reason"])


# --- turns --------------------------------------------------------------------------------------


async def list_due_campaigns(limit: int) -> list[str]:
    """The ids of the campaigns that have to be checked, the longest overdue first."""
    return await leases.due_ids(db.campaigns, "look_at", limit=limit)


async def claim_look(campaign_id: str) -> Campaign | None:
    """The campaign, to be checked by this caller alone for a few seconds; None when it is not due."""
    until = clock.after(_LOOK_SECONDS)
    return cast(
        "Campaign | None", await leases.claim(db.campaigns, campaign_id, "look_at", until=until)
    )


async def mark_due(campaign_id: str, at: dt.datetime) -> None:
    """Have the campaign checked at `at`, if it is not before."""
    later: Document = {"$or": [{"look_at": None}, {"look_at": {"$gt": at}}]}
    await db.campaigns.update_one({"_id": campaign_id, **later}, {"$set": {"look_at": at}})


async def look_again(campaign: Campaign, at: dt.datetime | None) -> None:
    """Have a campaign that was claimed by `claim_look` checked at `at` again; None: at its next event."""
    claimed = clock.after(_LOOK_SECONDS + 1)
    where: Document = {"_id": campaign["_id"], "status": campaign["status"]}
    await db.campaigns.update_one(
        where | {"look_at": {"$gt": clock.now(), "$lt": claimed}}, {"$set": {"look_at": at}}
    )


async def wake_campaign(campaign_id: str, user_id: str) -> bool:
    """Give a running campaign turns: somebody of its list may be dialled. False when it does not run."""
    changed = await db.campaigns.update_one(
        {"_id": campaign_id, "status": "running"},
        {
            "$set": {"is_ready": True, "waiting_for": None, "look_at": clock.after(_LOOK_SECONDS)},
            "$inc": {"wakes": 1},
        },
    )
    if changed.matched_count:
        await dial_queue.wake_user(user_id)
    return bool(changed.matched_count)


async def take_campaign(user_id: str) -> Campaign | None:
    """The campaign of this user that was served least recently of those that may be dialled, served
    now; None when none may."""
    found = await db.campaigns.find_one_and_update(
        {"user_id": user_id, "is_ready": True},
        {"$set": {"served_at": clock.now()}},
        sort=[("served_at", 1)],
        projection={"rejected": 0},
        return_document=True,
    )
    return cast("Campaign | None", found)


async def rest_campaign(
    campaign: Campaign, reason: str, until: dt.datetime | None, *, look_at: dt.datetime
) -> None:
    """Give a campaign no turns until `look_at`, or the next event; `reason` and `until` are shown.
    Nothing happens when it was woken since it was taken."""
    await db.campaigns.update_one(
        {"_id": campaign["_id"], "status": "running", "wakes": campaign.get("wakes", 0)},
        {
            "$set": {"waiting_for": {"reason": reason, "until": until}, "look_at": look_at},
            "$unset": {"is_ready": ""},
        },
    )


async def is_running(campaign_id: str) -> bool:
    """Whether the campaign runs at this moment: it is read after this is asked."""
    found = await database.find_together("campaigns", campaign_id)
    return found is not None and found["status"] == "running"


# --- for the dispatcher -------------------------------------------------------------------------


async def count_running_campaigns(user_id: str) -> int:
    """How many campaigns of a user run."""
    return await db.campaigns.count_documents({"user_id": user_id, "status": "running"})


async def is_any_waiting_for_money(user_id: str) -> bool:
    """Whether a recharge, or unfreezing the wallet, would resume a campaign of this user."""
    waiting = {"user_id": user_id, **_in_states(TRANSITIONS[CampaignEvent.MONEY_CAME].before)}
    return await db.campaigns.find_one(waiting, {"_id": 1}) is not None


async def resume_campaigns_with_money(user_id: str) -> None:
    """Resume all campaigns of this user that wait for money."""
    row = TRANSITIONS[CampaignEvent.MONEY_CAME]
    waiting = {"user_id": user_id, **_in_states(row.before)}
    resumed = await db.campaigns.update_many(waiting, _update_of(_fields_of(row)))
    if resumed.modified_count:
        await dial_queue.wake_user(user_id)


async def close_campaign(campaign: Campaign) -> None:
    """Complete a campaign that has nobody left to call, and store the totals of its contacts."""
    totals = await _totals(campaign["_id"])
    if campaign["status"] == "canceled":
        await db.campaigns.update_one({"_id": campaign["_id"]}, {"$set": totals})
    else:
        await apply_event(campaign, CampaignEvent.LIST_DONE, **totals)


async def update_counts(campaign_id: str) -> None:
    """Store the totals again, because a contact has changed after the campaign was over."""
    over = {"_id": campaign_id, "counts": {"$ne": None}}
    await db.campaigns.update_one(over, {"$set": await _totals(campaign_id)})


async def _totals(campaign_id: str) -> dict[str, Any]:
    totals = (await contacts.count_contacts([campaign_id]))[campaign_id]
    return {
        "counts": dataclasses.asdict(totals.counts),
        "spent_paise": database.long(totals.spent_paise),
    }


# --- storage ------------------------------------------------------------------------------------

database.declare(
    "campaigns",
    indexes=[
        Index(("user_id", *_LATEST)),
        Index(_LATEST),
        Index(("user_id", "status", *_LATEST)),
        Index(("status", *_LATEST)),
        Index(("user_id", "archived_at", *_LATEST)),
        Index(("archived_at", *_LATEST)),
        # What changed a moment ago, of everybody or of some users.
        Index(("updated_at", "user_id"), only_where={"updated_at": {"$type": "date"}}),
        # These hold only the campaigns that the dispatcher has to work on.
        Index(("look_at",), only_where={"look_at": {"$type": "date"}}),
        Index(("user_id", "served_at"), only_where={"is_ready": True}),
    ],
)
