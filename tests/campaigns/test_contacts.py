"""Contacts: claimed once, called once, counted as they are; by any number of processes."""

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest

from campaigns import contacts
from campaigns.contacts import CallEnd, ClaimedContact, Contact, ContactCategory, Counts
from core import clock, config, database, pagination
from core.database import db
from tests.support.service import test_settings as settings_of_tests


@pytest.fixture(scope="module")
async def book(mongodb_uri: str) -> AsyncIterator[None]:
    """A database, and nothing that runs by itself."""
    chosen = settings_of_tests(mongodb_uri)
    config.use(chosen)
    await database.connect(chosen.mongodb_uri, chosen.mongodb_db)
    await database.prepare()
    yield
    await database.client().drop_database(chosen.mongodb_db)
    await database.close()
    config.use(None)


@pytest.fixture
async def campaign_id(book: None) -> str:
    """A campaign with ten people to call."""
    campaign_id = database.new_id("cmp")
    await contacts.create_contacts(campaign_id, "usr_1", rows_of(10))
    return campaign_id


def rows_of(count: int) -> list[tuple[int, str]]:
    return [(row, f"+9198{row:08d}") for row in range(1, count + 1)]


async def counts_of(campaign_id: str) -> Counts:
    return (await contacts.count_contacts([campaign_id]))[campaign_id].counts


async def as_it_is(contact: Contact | ClaimedContact) -> Contact:
    found = await db.contacts.find_one({"_id": contact["_id"]})
    assert found is not None
    return cast(Contact, found)


async def lease_is_over(contact: Contact | ClaimedContact) -> None:
    past = {"$set": {"lease_until": clock.after(-1)}}
    await db.contacts.update_one({"_id": contact["_id"]}, past)


async def test_who_is_added_twice_is_there_once_and_stays_as_they_were(campaign_id: str) -> None:
    claimed = await contacts.claim_contacts(campaign_id, 4)
    await contacts.create_contacts(campaign_id, "usr_1", rows_of(12))
    counts = await counts_of(campaign_id)
    assert (counts.total, counts.pending, counts.in_call) == (12, 8, 4)
    assert (await as_it_is(claimed[0]))["call_id"] == claimed[0]["call_id"]


async def test_many_claim_at_once_and_each_contact_is_claimed_by_one(campaign_id: str) -> None:
    claims = await asyncio.gather(*(contacts.claim_contacts(campaign_id, 3) for _ in range(20)))
    while more := await contacts.claim_contacts(campaign_id, 3):
        claims.append(more)
    claimed = [contact["to"] for claim in claims for contact in claim]
    assert len(claimed) == len(set(claimed)) == 10
    ids = [contact["call_id"] for claim in claims for contact in claim]
    assert len(set(ids)) == 10
    assert await contacts.count_live_contacts(campaign_id) == 10
    assert not await contacts.has_contacts(campaign_id, ("pending",))


async def test_they_are_called_in_the_order_of_the_list(campaign_id: str) -> None:
    first = await contacts.claim_contacts(campaign_id, 3)
    assert [contact["row"] for contact in first] == [1, 2, 3]
    await contacts.release_contact(first[1])
    assert [contact["row"] for contact in await contacts.claim_contacts(campaign_id, 2)] == [2, 4]


async def test_who_is_put_back_has_used_no_attempt_and_is_claimed_with_another_call(
    campaign_id: str,
) -> None:
    (contact,) = await contacts.claim_contacts(campaign_id, 1)
    assert contact["attempts"] == 0
    await contacts.release_contact(contact)
    again = await as_it_is(contact)
    assert (again["state"], again["attempts"], again["call_id"]) == ("pending", 0, None)
    (claimed,) = await contacts.claim_contacts(campaign_id, 1)
    assert claimed["_id"] == contact["_id"]
    assert claimed["call_id"] != contact["call_id"]
    # News of the first claim is no news of the second.
    assert not await contacts.release_contact(contact)
    assert not await contacts.fence_contact(contact)
    await contacts.mark_in_call(contact)
    await contacts.mark_skipped(contact, "invalid_number")
    assert await as_it_is(contact) == claimed


async def test_the_end_of_a_call_counts_once_and_the_first_one_stands(campaign_id: str) -> None:
    one, two, three = await contacts.claim_contacts(campaign_id, 3)
    assert await contacts.fence_contact(one)
    await contacts.mark_in_call(one)
    answered = CallEnd(status="completed", duration_seconds=30, cost_paise=500)
    for _ in range(3):
        await contacts.apply_call_end(one["call_id"], answered)
    await contacts.apply_call_end(one["call_id"], CallEnd(status="failed"))
    # A call may end before the process that placed it heard that it was placed.
    await contacts.apply_call_end(two["call_id"], CallEnd(status="busy"))
    await contacts.mark_in_call(two)
    await contacts.apply_call_end(three["call_id"], CallEnd(status="canceled"))
    await contacts.apply_call_end("call_of_nobody", CallEnd(status="busy"))
    summed = (await contacts.count_contacts([campaign_id]))[campaign_id]
    assert summed.counts == Counts(answered=1, busy=1, canceled=1, pending=7, total=10)
    assert summed.spent_paise == 500


async def test_a_lease_that_is_over_is_looked_into_by_one(campaign_id: str) -> None:
    dead, alive = await contacts.claim_contacts(campaign_id, 2)
    await lease_is_over(dead)
    looks = await asyncio.gather(*(contacts.claim_stalled_contacts() for _ in range(10)))
    found = [contact["_id"] for look in looks for contact in look]
    assert found == [dead["_id"]]
    assert await contacts.claim_stalled_contacts() == []
    assert not await contacts.fence_contact(dead)  # its process wakes up after its lease
    assert await contacts.fence_contact(alive)
    await lease_is_over(alive)
    assert [c["_id"] for c in await contacts.claim_stalled_contacts()] == [alive["_id"]]


async def test_who_is_canceled_is_not_called_and_who_is_in_a_call_stays(campaign_id: str) -> None:
    claimed = await contacts.claim_contacts(campaign_id, 2)
    await contacts.mark_skipped(claimed[1], "destination_not_allowed")
    await contacts.mark_pending_canceled(campaign_id)
    assert await counts_of(campaign_id) == Counts(in_call=1, skipped=1, canceled=8, total=10)
    assert await contacts.claim_contacts(campaign_id, 5) == []
    await contacts.delete_contacts(campaign_id)
    assert await counts_of(campaign_id) == Counts()


async def test_a_page_shows_each_state_under_the_name_that_it_is_counted_by(
    campaign_id: str,
) -> None:
    one, two, three, four = await contacts.claim_contacts(campaign_id, 4)
    await contacts.fence_contact(one)
    await contacts.apply_call_end(two["call_id"], CallEnd(status="no_answer"))
    await contacts.mark_skipped(three, "invalid_number")
    assert four["state"] == "claimed"

    async def rows(state: ContactCategory | None, cursor: str | None = None) -> list[int]:
        found, _ = await contacts.list_contacts(campaign_id, state=state, limit=200, cursor=cursor)
        assert {contacts.counted_as(c) for c in found} <= {state} or state is None
        return [contact["row"] for contact in found]

    assert await rows("in_call") == [1, 4]
    assert await rows("no_answer") == [2]
    assert await rows("skipped") == [3]
    assert await rows("pending", pagination.encode_cursor(6)) == [7, 8, 9, 10]
    assert await rows("answered") == []
    assert await rows(None) == list(range(1, 11))
    everyone = [contact["row"] async for contact in contacts.iterate_contacts(campaign_id)]
    assert everyone == list(range(1, 11))
