"""Campaigns that move by themselves: within their limits, until the money is gone, past dead processes."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from motor.motor_asyncio import AsyncIOMotorClient

import wallet
from calls import lifecycle
from calls.placing import CallSpec
from campaigns import contacts, dispatcher, records
from core import clock, database
from ledger import Reserve
from telephony import Ambiguous, Dial, NotSent, Refused, Simulate, network_health
from telephony.simulator import Simulator
from tests.support import calls as calling
from tests.support.campaigns import (
    FAST,
    act,
    calls_of,
    create,
    is_over,
    list_of,
    nothing_of,
    numbers_of,
    shown,
    until,
)
from tests.support.processes import processes
from tests.support.service import Person, Service, running
from tests.support.service import test_settings as settings_of_tests


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for all tests of this file; each test has users of its own."""
    async with running(settings_of_tests(mongodb_uri, signups_per_hour=100_000)) as started:
        yield started


async def the_network_is_well() -> None:
    await database.db.network_health.delete_many({})
    network_health._cached.clear()


@pytest.fixture(autouse=True)
async def well(service: Service) -> None:
    await the_network_is_well()


@pytest.fixture
async def person(service: Service) -> Person:
    someone = await service.signup()
    await service.fund(someone, 1_000)
    return someone


async def most_at_once(service: Service, person: Person) -> int:
    """How many of a person's calls were up at the same moment."""
    spans = [(c["created_at"], c["ended_at"]) for c in await calls_of(service, person)]
    counts: list[int] = [sum(a <= begun < b for a, b in spans) for begun, _ in spans]
    return max(counts)


# --- money ----------------------------------------------------------------------------------------


async def test_without_money_there_is_no_campaign(service: Service) -> None:
    person = await service.signup()
    await service.fund(person, 9)
    body = {"name": "Diwali", "numbers": numbers_of(3)}
    refused = await service.post("/api/campaigns", person, json=body)
    assert refused.status_code == 402
    told = refused.json()
    assert (told["code"], told["required"], told["available"], told["shortfall"]) == (
        "insufficient_balance",
        10.0,
        9.0,
        1.0,
    )
    files = {"file": ("people.csv", "\n".join(numbers_of(3)))}
    answer = await service.post(
        "/api/campaigns/upload", person, files=files, data={"name": "Diwali"}
    )
    assert answer.status_code == 402
    assert await nothing_of(service, person)
    await service.fund(person, 1)  # exactly Rs 10.00 passes
    assert (await service.post("/api/campaigns", person, json=body)).status_code == 201


async def test_when_the_money_runs_out_it_waits_and_the_recharge_resumes_it(
    service: Service,
) -> None:
    person = await service.signup()
    await service.fund(person, 25)
    created = await create(service, person, 6, max_concurrent=3)
    # Rs 25 at Rs 5 a call and Rs 10 to begin one: the fifth cannot begin.
    paused = await until(
        service,
        person,
        created,
        lambda c: c["status"] == "paused" and c["counts"]["pending"] == 2,
    )
    assert (paused["pause_reason"], paused["counts"]["answered"]) == ("balance", 4)
    waiting = await list_of(service, person, created, "?state=pending")
    assert {(c["attempts"], c["call_id"]) for c in waiting} <= {(0, None)}
    assert await act(service, person, created, "resume") == 402
    await service.fund(person, 4)  # Rs 9 are still too little
    await asyncio.sleep(1)
    assert (await shown(service, person, created))["status"] == "paused"
    await service.fund(person, 100)
    over = await until(service, person, created, is_over)
    assert over["counts"]["answered"] == over["counts"]["total"] == 6
    assert over["spent"] == 30.0
    assert (await service.balance(person))["balance"] == 25 + 4 + 100 - 30
    numbers_called = [call["to"] for call in await calls_of(service, person)]
    assert sorted(numbers_called) == sorted(numbers_of(6))


async def test_money_that_running_calls_hold_is_waited_for_without_a_pause(
    service: Service,
) -> None:
    person = await service.signup()
    await service.fund(person, 60)  # a slice is Rs 50: the second call takes the last Rs 10
    script = {"outcome": "busy", "duration_seconds": 0, "wall_seconds": 1.0}
    created = await create(service, person, 4, max_concurrent=4, simulate=script)
    seen = set()

    def watched(campaign: dict[str, Any]) -> bool:
        seen.add((campaign["status"], campaign["pause_reason"]))
        return is_over(campaign)

    over = await until(service, person, created, watched)
    assert over["counts"]["busy"] == 4
    assert seen == {("running", None), ("completed", None)}
    assert await most_at_once(service, person) == 2


async def test_money_that_a_dispute_reserves_pauses_it_until_a_recharge(service: Service) -> None:
    person = await service.signup()
    await service.fund(person, 30)
    disputed = Reserve(
        user_id=person.id, reserve_id="disp_1:chargeback", amount_paise=15_00, amount_paise_min=0
    )
    await wallet.post(disputed)
    created = await create(service, person, 3, max_concurrent=1)
    # Two calls of Rs 5 leave Rs 20, and only Rs 5 of them are not disputed.
    paused = await until(service, person, created, lambda c: c["status"] != "running")
    assert (paused["status"], paused["pause_reason"]) == ("paused", "balance")
    assert paused["counts"]["answered"] == 2
    await service.fund(person, 5)
    over = await until(service, person, created, is_over)
    assert over["counts"]["answered"] == over["counts"]["total"] == 3


async def test_a_campaign_that_its_owner_paused_is_not_resumed_by_a_recharge(
    service: Service,
) -> None:
    person = await service.signup()
    await service.fund(person, 10)
    created = await create(service, person, 2)
    await until(service, person, created, lambda c: c["pause_reason"] == "balance")
    assert await act(service, person, created, "pause") == 200
    await service.fund(person, 100)
    await asyncio.sleep(1)
    found = await shown(service, person, created)
    assert (found["status"], found["pause_reason"]) == ("paused", "user")
    assert found["counts"]["pending"] == 1


# --- a network that takes no calls ----------------------------------------------------------------


class Outage:
    """Has the network take no call, for a reason, as long as there is one; counts what was tried."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, reason: str) -> None:
        self.reason: str | None = reason
        self.tried: list[str] = []
        place = Simulator.place

        async def placed(network: Simulator, dial: Dial) -> str:
            if self.reason is not None:
                self.tried.append(dial.to)
                raise NotSent(self.reason)
            return await place(network, dial)

        monkeypatch.setattr(Simulator, "place", placed)


async def all_were_called_once(service: Service, person: Person, outage: Outage) -> None:
    calls_made = await calls_of(service, person)
    reached = [call["to"] for call in calls_made if call["status"] == "completed"]
    assert sorted(reached) == sorted(numbers_of(6))
    assert len(calls_made) == len(reached) + len(outage.tried)
    assert (await service.balance(person))["balance"] == 1_000 - 30
    assert (await service.balance(person))["held"] == 0


async def test_a_network_that_takes_no_calls_is_waited_for_and_nobody_of_the_list_is_lost(
    service: Service, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network_health, "STOPPED_SECONDS", 0.2)
    outage = Outage(monkeypatch, "provider_credentials_refused")
    created = await create(service, person, 6, max_concurrent=3)
    await until(service, person, created, lambda _: len(outage.tried) >= 5)
    # The first three were tried at once, then one at a time: nobody has used an attempt.
    waiting = await list_of(service, person, created, "?state=pending")
    assert {c["attempts"] for c in waiting} == {0}
    monkeypatch.setattr(network_health, "STOPPED_SECONDS", 30)
    async with asyncio.timeout(30):
        while (found := await waiting_for(created)) is None:  # noqa: ASYNC110 - nobody says
            await asyncio.sleep(0.02)
    assert found.reason == "provider"
    assert "provider_credentials_refused" in found.text
    assert (await shown(service, person, created))["status"] == "running"
    outage.reason = None
    await the_network_is_well()
    over = await until(service, person, created, is_over)
    assert over["counts"]["answered"] == over["counts"]["total"] == 6
    await all_were_called_once(service, person, outage)


async def waiting_for(created: dict[str, Any]) -> dispatcher.WaitingFor | None:
    return await dispatcher.get_waiting_for(await records.get_campaign(created["campaign_id"]))


async def test_a_busy_network_is_waited_for_without_a_pause(
    service: Service, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "_NETWORK_SECONDS", 0.3)
    outage = Outage(monkeypatch, "provider_busy")
    created = await create(service, person, 6, max_concurrent=3)
    seen = set()

    def watched(campaign: dict[str, Any]) -> bool:
        seen.add((campaign["status"], campaign["pause_reason"]))
        if len(outage.tried) >= 6:
            outage.reason = None
        return is_over(campaign)

    over = await until(service, person, created, watched)
    assert over["counts"]["answered"] == 6
    assert ("paused", "provider") not in seen
    await all_were_called_once(service, person, outage)


async def test_a_network_that_answers_every_second_request_with_502_costs_nobody_their_call(
    service: Service, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, asked = Simulator.place, 0

    async def placed(network: Simulator, dial: Dial) -> str:
        nonlocal asked
        asked += 1
        if asked % 2:
            raise NotSent("provider_unreachable")
        return await place(network, dial)

    monkeypatch.setattr(Simulator, "place", placed)
    monkeypatch.setattr(dispatcher, "_NETWORK_SECONDS", 0.1)
    monkeypatch.setattr(network_health, "OPEN_SECONDS", 0.1)
    monkeypatch.setattr(network_health, "OPEN_SECONDS_MAX", 0.2)
    created = await create(service, person, 20, max_concurrent=5)
    over = await until(service, person, created, is_over)
    # Before: 20 of 40 had failed for good.
    assert over["counts"]["answered"] == over["counts"]["total"] == 20
    called = [c for c in await calls_of(service, person) if c["status"] == "completed"]
    assert len(called) == len({c["to"] for c in called}) == 20


async def test_a_network_that_does_not_answer_is_not_dialled_through_the_list(
    service: Service, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def placed(network: Simulator, dial: Dial) -> str:
        raise Ambiguous("it answered 502")

    monkeypatch.setattr(Simulator, "place", placed)
    created = await create(service, person, 60, max_concurrent=40)
    async with asyncio.timeout(30):
        while not (found := await waiting_for(created)) or found.reason != "provider":  # noqa: ASYNC110 - nobody says
            await asyncio.sleep(0.02)
    counts = (await shown(service, person, created))["counts"]
    # Those may have been called: they keep their calls, and nobody dials them again.
    assert counts["in_call"] < 40
    assert counts["in_call"] + counts["pending"] == 60
    seen = {c["status"] for c in await calls_of(service, person)}
    assert seen <= {"created", "submitting", "unknown"}
    assert await act(service, person, created, "cancel") == 200


def the_first_number_meets(monkeypatch: pytest.MonkeyPatch, problem: Exception) -> None:
    place = Simulator.place

    async def placed(network: Simulator, dial: Dial) -> str:
        if dial.to == numbers_of(1)[0]:
            raise problem
        return await place(network, dial)

    monkeypatch.setattr(Simulator, "place", placed)


async def test_one_call_without_an_answer_does_not_stop_the_others(
    service: Service, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    the_first_number_meets(monkeypatch, Ambiguous("it answered 502"))
    created = await create(service, person, 6, max_concurrent=3)
    found = await until(service, person, created, lambda c: c["counts"]["answered"] == 5)
    assert (found["status"], found["counts"]["in_call"]) == ("running", 1)


async def test_too_many_calls_for_the_network_are_waited_for_also_when_it_says_so_late(
    service: Service, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "_NETWORK_SECONDS", 0.5)
    place = Simulator.place
    refused: list[str] = []

    async def placed(network: Simulator, dial: Dial) -> str:
        taken = await place(network, dial)
        if len(refused) < 3:
            refused.append(dial.to)
            await lifecycle.end_call(
                dial.call_id, status="failed", duration_seconds=0, reason="provider_busy"
            )
        return taken

    monkeypatch.setattr(Simulator, "place", placed)
    created = await create(service, person, 6, max_concurrent=3)
    over = await until(service, person, created, is_over)
    assert (over["counts"]["answered"], over["counts"]["failed"]) == (6, 0)


async def test_a_number_that_the_network_refuses_has_failed_and_the_others_are_called(
    service: Service, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    the_first_number_meets(monkeypatch, Refused("provider_refused: 400"))
    created = await create(service, person, 3)
    over = await until(service, person, created, is_over)
    assert (over["counts"]["answered"], over["counts"]["failed"]) == (2, 1)


# --- how fast -------------------------------------------------------------------------------------


async def test_never_more_at_once_than_the_campaign_says(service: Service, person: Person) -> None:
    script = FAST | {"wall_seconds": 0.3}
    created = await create(service, person, 12, max_concurrent=3, simulate=script)
    most = 0

    def watched(campaign: dict[str, Any]) -> bool:
        nonlocal most
        most = max(most, campaign["counts"]["in_call"])
        return is_over(campaign)

    await until(service, person, created, watched)
    assert most == 3
    assert await most_at_once(service, person) == 3


async def test_calls_per_minute_are_spread_over_the_minute(
    service: Service, person: Person
) -> None:
    created = await create(service, person, 8, max_concurrent=8, calls_per_minute=120)
    await until(service, person, created, is_over)
    begun = sorted(
        dt.datetime.fromisoformat(call["created_at"]) for call in await calls_of(service, person)
    )
    # One every half a second; the clock may be ahead by the one second that a pause earns.
    assert 2.0 < (begun[-1] - begun[0]).total_seconds() < 15
    for first, third in zip(begun[2:], begun[5:], strict=False):
        assert (third - first).total_seconds() > 0.9


async def test_two_campaigns_share_what_one_user_may_have(service: Service) -> None:
    person = await service.signup()
    await service.fund(person, 200)  # at Rs 50 a call: four at once
    script = FAST | {"wall_seconds": 1.0}
    both = [await create(service, person, 8, max_concurrent=8, simulate=script) for _ in "ab"]
    shares: list[tuple[int, int]] = []
    while True:
        a, b = [await shown(service, person, campaign) for campaign in both]
        if is_over(a) and is_over(b):
            break
        shares.append((a["counts"]["in_call"], b["counts"]["in_call"]))
        await asyncio.sleep(0.05)
    assert any(a and b for a, b in shares), shares
    # A contact that is claimed for a moment counts, so the first one may seem to have all alone.
    assert max(max(share) for share in shares if all(share)) < 8, shares
    assert (a["counts"]["answered"], b["counts"]["answered"]) == (8, 8)


# --- processes that die ---------------------------------------------------------------------------


async def test_a_contact_whose_process_died_is_called_unless_its_call_exists(
    service: Service, person: Person
) -> None:
    created = await create(service, person, 2, start=False)
    first, second = await contacts.claim_contacts(created["campaign_id"], 2)
    # The first process died before its call was kept, the second after that.
    await calling.reserve_and_submit(
        person.id,
        call_id=second["call_id"],
        to=second["to"],
        spec=CallSpec(simulate=Simulate(wall_seconds=0.1)),
        campaign_id=created["campaign_id"],
    )
    await database.db.contacts.update_many(
        {"_id": {"$in": [first["_id"], second["_id"]]}},
        {"$set": {"lease_until": clock.after(-1)}},
    )
    assert await act(service, person, created, "resume") == 200
    over = await until(service, person, created, is_over)
    assert (over["counts"]["answered"], over["spent"]) == (2, 10.0)
    called = await calls_of(service, person)
    assert sorted(c["to"] for c in called) == sorted([first["to"], second["to"]])
    assert {c["attempts"] for c in await list_of(service, person, created)} == {1}


async def test_a_call_whose_end_nobody_heard_of_is_looked_up(
    service: Service, person: Person
) -> None:
    created = await create(service, person, 1, start=False)
    (contact,) = await contacts.claim_contacts(created["campaign_id"], 1)
    # Its end is not told to the campaign: the call says nothing of it.
    await calling.reserve_and_submit(
        person.id,
        call_id=contact["call_id"],
        to=contact["to"],
        spec=CallSpec(simulate=Simulate(wall_seconds=0.1)),
    )
    async with asyncio.timeout(60):
        while not (await calls_of(service, person))[0]["ended_at"]:  # noqa: ASYNC110 - nobody says
            await asyncio.sleep(0.05)
    assert (await shown(service, person, created))["counts"]["in_call"] == 1
    past = {"$set": {"lease_until": clock.after(-1)}}
    await database.db.contacts.update_one({"_id": contact["_id"]}, past)
    assert await act(service, person, created, "resume") == 200
    over = await until(service, person, created, is_over)
    assert (over["counts"]["answered"], over["spent"]) == (1, 5.0)


async def leases_run_out(uri: str) -> None:
    """A minute passes: what dead processes had taken is there to be taken."""
    client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(uri)
    book, past = client.wallet, clock.after(-1)
    live = {"state": {"$in": ["claimed", "in_call"]}}
    await book.contacts.update_many(live, {"$set": {"lease_until": past}})
    await book.campaigns.update_many(
        {"status": "running"}, {"$set": {"busy_until": past, "look_at": past}}
    )
    client.close()


async def test_two_processes_that_are_killed_call_nobody_twice(tmp_path: Path) -> None:
    count = 120
    async with processes(tmp_path, web_concurrency=2) as whole:
        person = await whole.service.signup()
        await whole.recharge(person, 5_000)
        script = FAST | {"wall_seconds": 0.5}
        created = await create(whole.service, person, count, max_concurrent=20, simulate=script)
        await until(whole.service, person, created, lambda c: c["counts"]["answered"] > 20)
        whole.kill()
        await whole.start()
        await leases_run_out(whole.mongodb_uri())
        # A call that was committed and perhaps never sent is asked about a minute after that.
        over = await until(whole.service, person, created, is_over, seconds=120)
        assert over["counts"]["total"] == count
        assert over["counts"]["pending"] == over["counts"]["skipped"] == 0
        # Calls that the network never had were withdrawn, or found to be none, and their contacts
        # were called with another call.
        called = [c for c in await calls_of(whole.service, person) if c["provider_call_id"]]
        assert len(called) == len({call["to"] for call in called}) == count
        assert over["spent"] == sum(call["cost"] for call in called)
        balance = await whole.service.balance(person)
        assert (balance["balance"], balance["held"]) == (5_000 - over["spent"], 0.0)
        audit = await whole.service.get("/api/admin/audit", await whole.service.admin())
        assert audit.json()["ok"], audit.json()["violations"]
