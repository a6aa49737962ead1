"""Campaign records: each event moves a campaign as its row says, and no other."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from campaigns import dial_queue
from campaigns import records as campaign_records
from campaigns.creation import CampaignPlan, plan_campaign
from campaigns.records import (
    RUNNING,
    TRANSITIONS,
    Campaign,
    CampaignEvent,
    CampaignState,
    InvalidTransition,
)
from core import config, database
from core.database import db
from tests.support.service import test_settings as settings_of_tests

POSITIONS = sorted(
    {position for row in TRANSITIONS.values() for position in row.before}
    | {row.after for row in TRANSITIONS.values() if row.after is not None},
    key=str,
)

GIVEN: dict[CampaignEvent, dict[str, Any]] = {
    CampaignEvent.OPTIONS_LACKING: {"waiting_for": {"reason": "options", "until": None}},
    CampaignEvent.NEVER_OPEN: {"waiting_for": {"reason": "window", "until": None}},
    CampaignEvent.LIST_DONE: {"counts": {"total": 0}, "spent_paise": 0},
}


@pytest.fixture(scope="module")
async def records(mongodb_uri: str) -> AsyncIterator[None]:
    """A database, and nothing that runs by itself."""
    chosen = settings_of_tests(mongodb_uri)
    config.use(chosen)
    await database.connect(chosen.mongodb_uri, chosen.mongodb_db)
    await database.prepare()
    yield
    await database.client().drop_database(chosen.mongodb_db)
    await database.close()
    config.use(None)


async def campaign_at(position: CampaignState, *, is_loading: bool = False) -> Campaign:
    """A campaign that stands there."""
    draft = plan_campaign(
        database.new_id("cmp"), database.new_id("usr"), CampaignPlan(name="Diwali")
    )
    assert await campaign_records.create_draft(draft)
    if not is_loading:
        await campaign_records.launch_campaign(draft["_id"], {"rejected": [], "rejected_count": 0})
    stands = {"status": position.status, "pause_reason": position.pause_reason}
    await db.campaigns.update_one({"_id": draft["_id"]}, {"$set": stands})
    found: Any = await db.campaigns.find_one({"_id": draft["_id"]})
    campaign: Campaign = found
    return campaign


async def position_of(campaign: Campaign) -> CampaignState:
    found = await campaign_records.get_campaign(campaign["_id"])
    return CampaignState(found["status"], found["pause_reason"])


@pytest.mark.parametrize("event", CampaignEvent)
async def test_an_event_moves_a_campaign_from_where_its_row_says_and_from_nowhere_else(
    records: None, event: CampaignEvent
) -> None:
    row = TRANSITIONS[event]
    for position in POSITIONS:
        campaign = await campaign_at(position)
        moved = await campaign_records.apply_event(campaign, event, **GIVEN.get(event, {}))
        if position in row.before:
            assert moved is not None
            assert await position_of(campaign) == (row.after or RUNNING)
            assert all(moved.get(field) is not None for field in (*row.now, *row.given))
        else:
            assert moved is None
            assert await position_of(campaign) == position


async def test_of_two_events_at_once_one_moves_the_campaign(records: None) -> None:
    campaign = await campaign_at(RUNNING)
    moved = await asyncio.gather(
        campaign_records.apply_event(campaign, CampaignEvent.MONEY_RAN_OUT),
        campaign_records.apply_event(campaign, CampaignEvent.DAY_USED_UP),
        campaign_records.apply_event(campaign, CampaignEvent.WALLET_FROZEN),
    )
    assert [each is not None for each in moved].count(True) == 1


async def test_a_campaign_whose_list_comes_in_is_moved_by_nobody(records: None) -> None:
    campaign = await campaign_at(CampaignState("draft"), is_loading=True)
    assert await campaign_records.apply_event(campaign, CampaignEvent.OWNER_CANCELED) is None


async def test_only_a_campaign_that_runs_has_turns(records: None) -> None:
    for event in CampaignEvent:
        row = TRANSITIONS[event]
        campaign = await campaign_at(row.before[0])
        moved = await campaign_records.apply_event(campaign, event, **GIVEN.get(event, {}))
        assert moved is not None
        assert moved.get("is_ready", False) == (moved["status"] == "running"), event


async def test_a_campaign_that_was_canceled_while_its_last_call_ended_stays_canceled(
    records: None,
) -> None:
    campaign = await campaign_at(RUNNING)
    await campaign_records.cancel_campaign(campaign)
    await campaign_records.close_campaign(campaign)  # by a process that saw it run
    assert await position_of(campaign) == CampaignState("canceled")
    with pytest.raises(InvalidTransition) as refusal:
        await campaign_records.pause_campaign(campaign)
    assert refusal.value.body()["campaign_status"] == "canceled"


async def test_money_resumes_what_waits_for_it_and_nothing_else(records: None) -> None:
    for position in POSITIONS:
        campaign = await campaign_at(position)
        waits = position in TRANSITIONS[CampaignEvent.MONEY_CAME].before
        assert await campaign_records.is_any_waiting_for_money(campaign["user_id"]) == waits
        await campaign_records.resume_campaigns_with_money(campaign["user_id"])
        assert await position_of(campaign) == (RUNNING if waits else position)


async def test_a_user_who_comes_new_has_the_next_turn(records: None) -> None:
    await db.dial_queue.delete_many({})
    for user_id in ("usr_old", "usr_older"):
        await dial_queue.wake_user(user_id)
    served = [await dial_queue.take_user() for _ in range(4)]
    assert len({user["_id"] for user in served[:2] if user}) == 2
    await dial_queue.wake_user("usr_new")
    newest = await dial_queue.take_user()
    assert newest is not None
    assert newest["_id"] == "usr_new"
    await dial_queue.wake_user("usr_new")  # something came while nothing was found
    await dial_queue.rest_user(newest)
    assert await dial_queue.count_ready_users(10) == 3
