"""Which numbers may be called, who signs what, and the network on localhost."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import telephony
from calls import lifecycle
from core import clock
from core.database import db
from core.errors import Unavailable
from telephony import OVER, RANK, Dial, NetworkCall, NotSent, Report, Simulate
from telephony.provider import PACE_MAX
from telephony.simulator import Simulator
from telephony.simulator.lifecycle import (
    PATIENCE_SECONDS,
    SimulatedCall,
    document_of,
    report_of,
    state_of,
)
from tests.support import calls as calling
from tests.support.service import Service, running, test_settings


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for the tests of this file that need a running network."""
    settings = test_settings(mongodb_uri, call_slice_minutes=1, signups_per_hour=100_000)
    async with running(settings) as started:
        yield started


# --- the life of a simulated call ---------------------------------------------------------------


def placed(script: Simulate, limit: int = 14_400) -> SimulatedCall:
    dial = Dial(
        call_id="call_A",
        to=calling.NUMBER,
        callback_url="http://127.0.0.1/",
        limit_seconds=limit,
        ring_seconds=60,
        simulate=script,
    )
    return document_of(dial, clock.now(), "proc_A")


scripts = st.builds(
    Simulate,
    outcome=st.sampled_from(["completed", "busy", "no_answer", "failed"]),
    duration_seconds=st.integers(0, 14_400),
    wall_seconds=st.one_of(st.floats(0, 3_600), st.floats(0, 2)),
)


@given(scripts, st.integers(1, 14_400), st.lists(st.floats(0, 20_000), max_size=20))
@example(Simulate(duration_seconds=14_400, wall_seconds=1e-9), 10_001, [])
def test_a_call_only_goes_forward_and_ends_at_its_limit(
    script: Simulate, limit: int, moments: list[float]
) -> None:
    call = placed(script, limit)
    states = [state_of(call, clock.after(s, since=call["placed_at"])) for s in sorted(moments)]
    ranks = [RANK[state.status] for state in states]
    assert ranks == sorted(ranks)
    end = state_of(call, clock.after(10**8, since=call["placed_at"]))
    assert end.changes_at is None
    assert end.status == script.outcome
    talked = min(script.duration_seconds, limit) if script.outcome == "completed" else 0
    assert end.duration_seconds == talked
    lasts = (end.at - call["placed_at"]).total_seconds()
    cut = script.outcome == "completed" and limit < script.duration_seconds
    slack = PATIENCE_SECONDS if cut else 0.0
    fastest = script.duration_seconds / PACE_MAX  # no call is faster, however short it shall be
    assert lasts <= max(script.wall_seconds, fastest) + slack + 0.01
    if not cut and script.pace < PACE_MAX:
        assert lasts == pytest.approx(script.wall_seconds, abs=0.01)


@given(scripts, st.integers(1, 14_400))
def test_a_call_says_itself_when_it_changes(script: Simulate, limit: int) -> None:
    call = placed(script, limit)
    now, seen = call["placed_at"], []
    while True:
        state = state_of(call, now)
        seen.append(RANK[state.status])
        if state.changes_at is None:
            break
        assert state.changes_at > now
        assert state_of(call, state.changes_at - dt.timedelta(microseconds=1)) == state
        now = state.changes_at
    assert seen == sorted(set(seen))
    assert len(seen) <= 4


def test_what_is_reported_names_the_same_news_by_the_same_id() -> None:
    call = placed(Simulate(duration_seconds=30, wall_seconds=1))
    end = clock.after(5, since=call["placed_at"])
    first, again = (report_of(call, state_of(call, end)) for _ in range(2))
    assert first == again
    assert (first.status, first.duration_seconds) == ("completed", 30)
    assert first.answered_at == call["pick_up_at"]
    ringing = report_of(call, state_of(call, clock.after(0.2, since=call["placed_at"])))
    assert (ringing.status, ringing.duration_seconds, ringing.answered_at) == (
        "ringing",
        None,
        None,
    )
    assert ringing.event_id != first.event_id


# --- the network at work ------------------------------------------------------------------------


def a_call(call_id: str) -> NetworkCall:
    return {
        "_id": call_id,
        "to": calling.NUMBER,
        "rank": RANK["queued"],
        "created_at": clock.now(),
        "provider_call_id": None,
        "message": None,
        "audio_url": None,
        "connect_to": None,
    }


async def test_a_call_that_is_placed_twice_is_one_call(service: Service) -> None:
    network = telephony.get_chosen_provider()
    dial = Dial(
        call_id="call_TWICE",
        to=calling.NUMBER,
        callback_url=telephony.callback_url("simulator", "call_TWICE"),
        limit_seconds=60,
        ring_seconds=60,
        simulate=Simulate(wall_seconds=3_000),
    )
    ids = {await network.place(dial) for _ in range(3)}
    assert ids == {"sim_TWICE"}
    assert await db.simulated_calls.count_documents({"reference": "call_TWICE"}) == 1
    assert await network.extend(a_call("call_TWICE"), 120)
    await network.hang_up(a_call("call_TWICE"))
    await network.hang_up(a_call("call_TWICE"))
    report = await network.look_up(a_call("call_TWICE"))
    assert report is not None
    assert (report.status, report.duration_seconds) == ("canceled", 0)
    assert not await network.extend(a_call("call_TWICE"), 180)


async def test_a_call_that_was_never_placed_is_unknown_to_the_network(service: Service) -> None:
    network = telephony.get_chosen_provider()
    assert await network.look_up(a_call("call_NEVER")) is None
    assert not await network.extend(a_call("call_NEVER"), 60)
    await network.hang_up(a_call("call_NEVER"))


async def test_a_network_that_is_switched_off_was_not_asked() -> None:
    with pytest.raises(NotSent):
        await Simulator().place(
            Dial(
                call_id="call_OFF",
                to=calling.NUMBER,
                callback_url="http://127.0.0.1/",
                limit_seconds=60,
                ring_seconds=60,
            )
        )


async def test_the_network_calls_back_again_until_the_service_takes_it(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[str] = []
    real = lifecycle.apply_report

    async def away(call_id: str, report: Report, *, via: str) -> None:
        if report.rank == OVER and len(refused) < 2:
            refused.append(call_id)
            raise Unavailable("The database is away.")
        await real(call_id, report, via=via)

    monkeypatch.setattr(lifecycle, "apply_report", away)
    person = await service.signup()
    await service.fund(person, 10)
    call = await calling.place(service, person, {"duration_seconds": 30, "wall_seconds": 0.1})
    call = await calling.over(service, person, call["call_id"])
    assert refused == [call["call_id"]] * 2
    assert await calling.debits(service, person) == [5.0]


async def test_the_calls_of_a_process_that_died_go_on(service: Service) -> None:
    person = await service.signup()
    await service.fund(person, 10)
    # It lasts, so that its process loses it before it has reported the end by itself.
    call = await calling.place(service, person, {"duration_seconds": 30, "wall_seconds": 5})
    changed = await db.simulated_calls.update_one(
        {"reference": call["call_id"], "open": True}, {"$set": {"owner": "proc_DEAD"}}
    )
    assert changed.modified_count == 1
    call = await calling.over(service, person, call["call_id"])
    assert (call["status"], call["cost"]) == ("completed", 5.0)
    simulated = await db.simulated_calls.find_one({"reference": call["call_id"]})
    assert simulated is not None
    assert simulated["owner"] != "proc_DEAD"


async def test_calls_go_on_after_the_network_was_restarted(service: Service) -> None:
    person = await service.signup()
    await service.fund(person, 10)
    call = await calling.place(service, person, {"duration_seconds": 30, "wall_seconds": 0.5})
    await telephony.stop()
    await asyncio.sleep(0.6)
    assert (await calling.shown(service, person, call["call_id"]))["billing_status"] == "held"
    await telephony.start()
    call = await calling.over(service, person, call["call_id"])
    assert (call["duration_seconds"], call["cost"]) == (30, 5.0)
