"""A call from the first request to the last callback, over HTTP, with the simulator as the network."""

import asyncio
import csv
import io
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

import telephony
import worker
from billing import rates
from calls import lifecycle, monitor, timing
from calls.placing import CallSpec
from core import clock, config
from core.database import db
from core.errors import InvalidRequest, Unavailable
from reporting import audit
from telephony import Ambiguous, Dial, NotSent, Refused, Report, Simulate
from telephony.simulator import Simulator, sign
from tests.support import calls as calling
from tests.support.service import Person, Service, running, test_settings, until


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for all tests of this file, with slices of a minute; each has its own users."""
    settings = test_settings(mongodb_uri, call_slice_minutes=1, signups_per_hour=100_000)
    with pytest.MonkeyPatch.context() as patient:
        patient.setattr(worker, "JOBS", calling.chores_in_turn())
        async with running(settings) as started:
            yield started


@pytest.fixture(scope="module")
async def penniless(service: Service) -> Person:
    """Somebody for the requests that are refused before money matters."""
    return await service.signup()


# --- the flow -----------------------------------------------------------------------------------


async def test_a_call_of_thirty_seconds_costs_five_rupees(service: Service) -> None:
    person = await service.signup()
    await service.fund(person, 100)
    call = await calling.place(service, person, {"duration_seconds": 30, "wall_seconds": 0.5})
    assert call["call_id"].startswith("call_")
    assert (call["status"], call["billing_status"], call["held"]) == ("queued", "held", 10.0)
    assert (call["to"], call["rate_per_minute"], call["cost"]) == (calling.NUMBER, 10.0, None)
    balance = await service.balance(person)
    assert (balance["balance"], balance["held"], balance["available"]) == (100.0, 10.0, 90.0)
    call = await calling.over(service, person, call["call_id"])
    assert (call["status"], call["billing_status"]) == ("completed", "settled")
    assert (call["duration_seconds"], call["cost"], call["held"], call["due"]) == (30, 5.0, 0, 0)
    assert call["explanation"] == "30 s at Rs 10.00 a minute: Rs 5.00"
    assert call["created_at"] <= call["answered_at"] <= call["ended_at"]
    assert call["ended_at"].endswith("Z")
    balance = await service.balance(person)
    assert (balance["balance"], balance["held"]) == (95.0, 0.0)
    [entry] = (await service.get("/api/transactions?type=debit", person)).json()["transactions"]
    assert (entry["category"], entry["amount"], entry["call_id"]) == (
        "call_charge",
        5.0,
        call["call_id"],
    )


async def test_the_end_of_a_call_is_an_event_that_commits_with_it(service: Service) -> None:
    person = await service.signup()
    await service.fund(person, 100)
    call = await calling.place(service, person, {"wall_seconds": 0})
    await calling.over(service, person, call["call_id"])
    [event] = await db.events.find({"name": "CallEnded", "user_id": person.id}).to_list(None)
    assert event["data"] == {
        "call_id": call["call_id"],
        "campaign_id": None,
        "status": "completed",
        "answered_by": None,
        "duration_seconds": 30,
        "cost_paise": 500,
    }
    assert event["state"] == "recorded"  # nobody waits for it: the call belongs to no campaign


@pytest.mark.parametrize(
    ("outcome", "duration"), [("busy", 30), ("no_answer", 30), ("failed", 30), ("completed", 0)]
)
async def test_what_nobody_answered_costs_nothing_and_leaves_no_entry(
    service: Service, outcome: str, duration: int
) -> None:
    person = await service.signup()
    await service.fund(person, 10)
    scenario = {"outcome": outcome, "duration_seconds": duration, "wall_seconds": 0.1}
    call = await calling.place(service, person, scenario)
    call = await calling.over(service, person, call["call_id"])
    assert (call["status"], call["billing_status"]) == (outcome, "released")
    assert (call["cost"], call["duration_seconds"], call["held"]) == (0, 0, 0)
    assert call["failure_reason"] == (None if outcome == "completed" else outcome)
    assert await calling.debits(service, person) == []
    assert (await service.balance(person))["available"] == 10.0


async def test_the_rate_is_the_one_of_the_moment_the_call_was_placed(service: Service) -> None:
    person, admin = await service.signup(), await service.admin()
    await service.fund(person, 100)
    before = await calling.place(service, person, calling.SILENT)
    try:
        answer = await service.post("/api/wallet/set-call-rate?rate=20", admin)
        assert answer.status_code == 200
        after = await calling.place(service, person, calling.SILENT)
        assert (before["rate_per_minute"], after["rate_per_minute"]) == (10.0, 20.0)
        assert after["held"] == 20.0
        for call in (before, after):
            await calling.report(service, call["call_id"], "completed", 30)
        assert await calling.debits(service, person) == [5.0, 10.0]
    finally:
        await rates.set_current_rate(1000, by="the tests")


async def test_a_repeated_request_with_its_key_places_one_call(service: Service) -> None:
    person = await service.signup()
    await service.fund(person, 100)
    request = {"json": {"to": calling.NUMBER, "simulate": calling.SILENT}}
    key = {"Idempotency-Key": "one-call"}
    answers = await asyncio.gather(
        *(service.post("/api/call", person, headers=key, **request) for _ in range(10))
    )
    assert {a.status_code for a in answers} <= {202, 409}
    again = await service.post("/api/call", person, headers=key, **request)
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (202, "true")
    assert await db.calls.count_documents({"user_id": person.id}) == 1
    assert (await service.balance(person))["held"] == 10.0


async def test_a_call_that_exists_is_not_dialled_again(service: Service) -> None:
    """What the retry of a request finds whose process died before it could answer."""
    person = await service.signup()
    await service.fund(person, 100)
    first = await calling.place(service, person, calling.SILENT)
    again = await calling.reserve_and_submit(person.id, call_id=first["call_id"], to=calling.NUMBER)
    assert again["_id"] == first["call_id"]
    at_once = await asyncio.gather(
        *(
            calling.reserve_and_submit(person.id, call_id="call_TWICE", to=calling.NUMBER)
            for _ in range(5)
        ),
        return_exceptions=True,
    )
    unknown = [answer for answer in at_once if isinstance(answer, Unavailable)]
    placed = [answer for answer in at_once if not isinstance(answer, BaseException)]
    assert {call["_id"] for call in placed} == {"call_TWICE"}
    assert len(placed) + len(unknown) == 5
    assert await db.simulated_calls.count_documents({"reference": "call_TWICE"}) == 1
    assert (await service.balance(person))["held"] == 20.0


# --- the gate -----------------------------------------------------------------------------------


async def test_an_empty_wallet_is_told_what_is_missing(service: Service) -> None:
    person = await service.signup()
    await service.fund(person, 4)
    answer = await calling.ask(service, person)
    assert answer.status_code == 402
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (body["code"], body["title"], body["status"]) == (
        "insufficient_balance",
        "Insufficient balance",
        402,
    )
    assert (body["required"], body["available"], body["shortfall"]) == (10.0, 4.0, 6.0)
    assert body["recharge_url"].startswith("http")
    assert body["detail"]
    assert "retry-after" not in answer.headers
    assert await db.calls.count_documents({"user_id": person.id}) == 0


async def test_money_that_running_calls_hold_is_told_apart(service: Service) -> None:
    person = await service.signup()
    await service.fund(person, 10)
    first = await calling.place(service, person, calling.SILENT)  # exactly Rs 10 passes
    answer = await calling.ask(service, person)
    assert (answer.status_code, answer.json()["code"]) == (402, "balance_held")
    assert int(answer.headers["retry-after"]) > 0
    assert (answer.json()["required"], answer.json()["available"]) == (10.0, 0.0)
    await calling.report(service, first["call_id"], "busy")
    assert (await calling.ask(service, person, {"wall_seconds": 0})).status_code == 202


async def test_fifty_parallel_calls_cannot_spend_the_same_rupee(service: Service) -> None:
    person = await service.signup()
    await service.fund(person, 100)
    scenario = {"duration_seconds": 45, "wall_seconds": 2}
    answers = await asyncio.gather(*(calling.ask(service, person, scenario) for _ in range(50)))
    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(202), statuses.count(402)) == (10, 40)
    balance = await service.balance(person)
    assert (balance["balance"], balance["held"], balance["available"]) == (100.0, 100.0, 0.0)
    for answer in answers:
        if answer.status_code == 202:
            await calling.over(service, person, answer.json()["call_id"])
    assert await calling.debits(service, person) == [7.5] * 10
    balance = await service.balance(person)
    assert (balance["balance"], balance["held"], balance["due"]) == (25.0, 0.0, 0.0)
    report = await audit.audit(person.id)
    assert report.ok, report.violations


async def test_an_account_has_no_more_calls_at_once_than_it_may(service: Service) -> None:
    person = await service.signup()
    await service.fund(person, 1_000)
    config.use(service.settings.model_copy(update={"max_concurrent_calls": 3}))
    try:
        answers = await asyncio.gather(
            *(calling.ask(service, person, calling.SILENT) for _ in range(20))
        )
        statuses = [answer.status_code for answer in answers]
        assert (statuses.count(202), statuses.count(429)) == (3, 17)
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert refused.json()["code"] == "too_many_calls"
        assert int(refused.headers["retry-after"]) > 0
        running_one = next(answer for answer in answers if answer.status_code == 202)
        await calling.report(service, running_one.json()["call_id"], "no_answer")
        assert (await calling.ask(service, person, calling.SILENT)).status_code == 202
    finally:
        config.use(service.settings)


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"to": "12345"}, "invalid_number"),
        ({"to": "hello"}, "invalid_number"),
        ({"to": "+91 98765 43210 ext 5"}, "invalid_number"),
        ({"to": "9.87654321E+09"}, "invalid_number"),
        ({"to": "+1 650 253 0000"}, "destination_not_allowed"),
        ({"to": "1800 103 1111"}, "destination_not_allowed"),
        ({"connect_to": "+1 650 253 0000"}, "destination_not_allowed"),
        ({"to": ""}, "validation_error"),
        ({"to": None}, "validation_error"),
        ({"to": {"$ne": None}}, "validation_error"),
        ({"to": 9876543210}, "validation_error"),
        ({"to": "9" * 41}, "validation_error"),
        ({"message": ""}, "validation_error"),
        ({"message": "x" * 1_001}, "validation_error"),
        ({"message": "a", "audio_url": "https://example.com/a.mp3"}, "validation_error"),
        ({"message": "a", "connect_to": "9876543211"}, "validation_error"),
        ({"audio_url": "ftp://example.com/a.mp3"}, "validation_error"),
        ({"audio_url": "file:///etc/passwd"}, "validation_error"),
        ({"audio_url": "https://"}, "validation_error"),
        ({"audio_url": "https://[::1"}, "validation_error"),
        ({"audio_url": "https://example.com/" + "a" * 2_048}, "validation_error"),
        ({"max_duration_seconds": 0}, "validation_error"),
        ({"max_duration_seconds": -1}, "validation_error"),
        ({"max_duration_seconds": 86_401}, "validation_error"),
        ({"max_duration_seconds": "60"}, "validation_error"),
        ({"max_duration_seconds": True}, "validation_error"),
        ({"simulate": {"outcome": "explodes"}}, "validation_error"),
        ({"simulate": {"duration_seconds": -1}}, "validation_error"),
        ({"simulate": {"duration_seconds": 14_401}}, "validation_error"),
        ({"simulate": {"duration_seconds": 1.5}}, "validation_error"),
        ({"simulate": {"wall_seconds": -0.1}}, "validation_error"),
        ({"simulate": {"wall_seconds": 3_601}}, "validation_error"),
        ({"simulate": {"wall_seconds": "1"}}, "validation_error"),
        ({"simulate": []}, "validation_error"),
    ],
)
async def test_what_is_no_call_is_refused_before_money_is_touched(
    service: Service, penniless: Person, change: dict[str, Any], code: str
) -> None:
    answer = await service.post("/api/call", penniless, json={"to": calling.NUMBER} | change)
    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text
    assert await db.calls.count_documents({"user_id": penniless.id}) == 0


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e400"])
async def test_a_wall_time_that_is_no_number_is_refused(
    service: Service, penniless: Person, text: str
) -> None:
    body = f'{{"to": "{calling.NUMBER}", "simulate": {{"wall_seconds": {text}}}}}'
    answer = await service.post(
        "/api/call", penniless, content=body, headers={"content-type": "application/json"}
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")


async def test_nobody_calls_without_a_token(service: Service) -> None:
    for method, path in (
        ("POST", "/api/call"),
        ("GET", "/api/calls"),
        ("GET", "/api/calls/call_X"),
        ("POST", "/api/calls/call_X/hangup"),
        ("POST", "/api/calls/quote"),
    ):
        assert (await service.request(method, path)).status_code == 401, path


async def test_only_the_simulator_can_be_told_what_to_do(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = telephony.Capabilities(
        can_extend=True, can_hang_up=True, reports_ringing=True, duration_in_callback=True
    )
    monkeypatch.setattr(Simulator, "can", real)
    person = await service.signup()
    await service.fund(person, 100)
    answer = await calling.ask(service, person, {"duration_seconds": 5})
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")
    assert answer.json()["errors"][0]["field"] == "simulate"


# --- what the network answers -------------------------------------------------------------------


@pytest.mark.parametrize("refusal", [Refused("no such line"), NotSent("no connection")])
async def test_a_call_that_the_network_does_not_take_fails_and_frees_its_money(
    service: Service, monkeypatch: pytest.MonkeyPatch, refusal: Exception
) -> None:
    async def refuse(*_: Any) -> str:
        raise refusal

    monkeypatch.setattr(Simulator, "place", refuse)
    person = await service.signup()
    await service.fund(person, 10)
    call = await calling.place(service, person)
    assert (call["status"], call["billing_status"], call["cost"]) == ("failed", "released", 0)
    assert call["failure_reason"] == str(refusal)
    assert (await service.balance(person))["available"] == 10.0
    assert await calling.debits(service, person) == []


async def due_now(call_id: str, **changes: Any) -> None:
    """As if the time had come to ask the network; then ask it."""
    async with calling.turn:
        past = clock.after(-1)
        await db.calls.update_one({"_id": call_id}, {"$set": {"next_check_at": past, **changes}})
        await monitor.sweep_overdue_calls()


async def test_an_unknown_call_keeps_its_money_until_the_network_says_what_became_of_it(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network took the call, and its answer was lost."""
    real = Simulator.place

    async def answer_is_lost(self: Simulator, dial: Dial) -> str:
        await real(self, dial)
        raise Ambiguous("read timeout")

    monkeypatch.setattr(Simulator, "place", answer_is_lost)
    person = await service.signup()
    await service.fund(person, 10)
    call = await calling.place(service, person, {"duration_seconds": 6, "wall_seconds": 1})
    assert (call["status"], call["billing_status"]) == ("unknown", "held")
    assert (await calling.ask(service, person)).status_code == 402  # nothing is dialled with it
    call = await calling.over(service, person, call["call_id"])
    assert (call["status"], call["cost"]) == ("completed", 1.0)
    assert await db.simulated_calls.count_documents({"reference": call["call_id"]}) == 1


async def test_a_call_that_the_network_never_saw_is_given_up_only_after_a_while(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nobody_heard(*_: Any) -> str:
        raise Ambiguous("read timeout")

    monkeypatch.setattr(Simulator, "place", nobody_heard)
    person = await service.signup()
    await service.fund(person, 10)
    call = await calling.place(service, person, calling.SILENT)
    await due_now(call["call_id"])
    call = await calling.shown(service, person, call["call_id"])
    assert (call["status"], call["billing_status"], call["held"]) == ("unknown", "held", 10.0)
    long_ago = clock.after(-timing.VISIBILITY_SECONDS - 1)
    await due_now(call["call_id"], submitted_at=long_ago)
    call = await calling.shown(service, person, call["call_id"])
    assert (call["status"], call["billing_status"]) == ("failed", "released")
    assert call["failure_reason"] == "not_placed"
    assert (await service.balance(person))["available"] == 10.0


async def test_a_callback_may_come_before_the_networks_answer(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow(_: Simulator, dial: Dial) -> str:
        for status, duration in (("ringing", None), ("in_progress", None), ("completed", 12)):
            answer = await calling.report(service, dial.call_id, status, duration)
            assert answer.status_code == 204, answer.text
        return f"sim_{dial.call_id.removeprefix('call_')}"

    monkeypatch.setattr(Simulator, "place", slow)
    person = await service.signup()
    await service.fund(person, 10)
    call = await calling.place(service, person, calling.SILENT)
    call = await calling.over(service, person, call["call_id"])
    assert (call["status"], call["billing_status"], call["cost"]) == ("completed", "settled", 2.0)
    assert (await service.balance(person))["balance"] == 8.0


async def test_the_networks_id_is_kept_when_the_callback_that_was_faster_did_not_carry_it(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow(_: Simulator, dial: Dial) -> str:
        bare = Report(
            event_id="1",
            provider_call_id=None,
            status="in_progress",
            duration_seconds=None,
            occurred_at=clock.now(),
        )
        await lifecycle.apply_report(dial.call_id, bare, via="simulator")
        return f"sim_{dial.call_id.removeprefix('call_')}"

    monkeypatch.setattr(Simulator, "place", slow)
    person = await service.signup()
    await service.fund(person, 10)
    call = await calling.place(service, person, calling.SILENT)
    assert call["status"] == "in_progress"
    its_id = f"sim_{call['call_id'].removeprefix('call_')}"

    async def is_kept() -> bool:
        found = await calling.shown(service, person, call["call_id"])
        return bool(found["provider_call_id"] == its_id)

    await until(is_kept)


async def test_the_simulator_says_who_answered_when_it_is_asked_to_find_out(
    service: Service,
) -> None:
    person = await service.signup()
    await service.fund(person, 100)
    machine = {"duration_seconds": 30, "wall_seconds": 0.1, "answered_by": "machine"}
    for detection, told in ((None, None), ("report", "machine")):
        call = await calling.place(service, person, machine, machine_detection=detection)
        call = await calling.over(service, person, call["call_id"])
        assert (call["machine_detection"], call["answered_by"]) == (detection, told)
        assert (call["duration_seconds"], call["cost"]) == (30, 5.0)
    slow = {"duration_seconds": 600, "wall_seconds": 12.0, "answered_by": "machine"}
    call = await calling.place(service, person, slow, machine_detection="hang_up")
    call = await calling.over(service, person, call["call_id"])
    assert (call["status"], call["answered_by"]) == ("completed", "machine")
    assert call["duration_seconds"] < 600


# --- who may report -----------------------------------------------------------------------------


async def test_a_forged_callback_is_refused_and_changes_nothing(service: Service) -> None:
    person = await service.signup()
    await service.fund(person, 100)
    call_id = (await calling.place(service, person, calling.SILENT))["call_id"]
    other_id = (await calling.place(service, person, calling.SILENT))["call_id"]
    body = json.dumps(calling.told(call_id, "completed", 30)).encode()
    path = telephony.callback_path("simulator", call_id)
    url = service.settings.own_url + path
    bare = path.split("?")[0]
    own = telephony.callback_path("simulator", other_id)
    forged: list[dict[str, Any]] = [
        {"signature": ""},
        {"signature": "0" * 64},
        {"signature": sign(url, body + b" ")},
        {"signature": sign(url + "&x=1", body)},
        {"path": bare},
        {"path": f"{bare}?token="},
        {"path": f"{bare}?token={'0' * 32}"},
        {"path": f"{path}&more=1"},
        {"path": f"{bare}?{own.split('?')[1]}"},  # the token of another call
        {"path": own},  # signed, for another call than the body says
    ]
    for options in forged:
        answer = await calling.send(service, call_id, body, **options)
        assert (answer.status_code, answer.json()["code"]) == (403, "invalid_callback_signature"), (
            options
        )
    for nonsense in (
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff",
        json.dumps(calling.told(call_id, "exploded")).encode(),
        json.dumps(calling.told(call_id, "completed", "x")).encode(),
        json.dumps(calling.told(call_id, "completed", 10**30)).encode(),
        json.dumps(calling.told(call_id, "completed", float("inf"))).encode(),
        json.dumps(calling.told(call_id, "completed", occurred_at="yesterday")).encode(),
        json.dumps(calling.told(call_id, "completed", occurred_at="2026-11-23T10:00:00")).encode(),
    ):
        answer = await calling.send(service, call_id, nonsense)
        assert (answer.status_code, answer.json()["code"]) == (403, "invalid_callback_signature"), (
            nonsense
        )
    for missing in ("call_NOBODY", "call_" + "A" * 500):
        answer = await calling.report(service, missing, "completed", 30)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    path = telephony.callback_path("nobody", call_id)
    assert (await calling.send(service, call_id, body, path=path)).status_code == 404
    for one in (call_id, other_id):
        call = await calling.shown(service, person, one)
        assert (call["status"], call["billing_status"]) == ("queued", "held")
    assert (await service.balance(person))["held"] == 20.0


# --- hanging up ---------------------------------------------------------------------------------


async def test_a_call_that_is_hung_up_costs_the_seconds_that_were_talked(service: Service) -> None:
    person = await service.signup()
    await service.fund(person, 100)
    call = await calling.place(service, person, {"duration_seconds": 55, "wall_seconds": 5})
    await calling.until(service, person, call["call_id"], "in_progress")
    answer = await service.post(f"/api/calls/{call['call_id']}/hangup", person)
    assert answer.status_code == 202
    call = await calling.over(service, person, call["call_id"])
    assert call["status"] == "completed"
    assert 0 < call["duration_seconds"] < 55
    assert await calling.debits(service, person) == [call["cost"]]
    again = await service.post(f"/api/calls/{call['call_id']}/hangup", person)
    lists_have = {name: call[name] for name in call if name not in ("pace", "timeline")}
    assert (again.status_code, again.json()) == (202, lists_have)


async def test_a_call_that_is_hung_up_while_it_rings_is_free(service: Service) -> None:
    person = await service.signup()
    await service.fund(person, 100)
    call = await calling.place(service, person, calling.SILENT)
    for _ in range(2):
        answer = await service.post(f"/api/calls/{call['call_id']}/hangup", person)
        assert answer.status_code == 202
    call = await calling.over(service, person, call["call_id"])
    assert (call["status"], call["cost"], call["billing_status"]) == ("canceled", 0, "released")
    assert (await service.balance(person))["available"] == 100.0


async def test_a_network_that_does_not_answer_leaves_the_call_as_it_is(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(*_: Any) -> None:
        raise Ambiguous("timeout")

    monkeypatch.setattr(Simulator, "hang_up", silent)
    person = await service.signup()
    await service.fund(person, 100)
    call = await calling.place(service, person, calling.SILENT)
    answer = await service.post(f"/api/calls/{call['call_id']}/hangup", person)
    assert (answer.status_code, answer.json()["code"]) == (503, "service_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert (await calling.shown(service, person, call["call_id"]))["billing_status"] == "held"


# --- looking ------------------------------------------------------------------------------------


async def test_another_users_call_is_not_found_and_not_touched(service: Service) -> None:
    owner, other, admin = await service.signup(), await service.signup(), await service.admin()
    await service.fund(owner, 100)
    call = await calling.place(service, owner, calling.SILENT)
    path = f"/api/calls/{call['call_id']}"
    for answer in (
        await service.get(path, other),
        await service.post(f"{path}/hangup", other),
        await service.get("/api/calls/call_NOBODY", owner),
        await service.get("/api/calls/%00", owner),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert (await service.get("/api/calls", other)).json() == {"calls": [], "next_cursor": None}
    foreign = await service.get(f"/api/calls?user_id={owner.id}", other)
    assert foreign.json()["calls"] == []
    assert (await service.get(path, admin)).json()["user_id"] == owner.id
    seen = (await service.get(f"/api/calls?user_id={owner.id}", admin)).json()["calls"]
    assert [c["call_id"] for c in seen] == [call["call_id"]]
    assert (await service.post(f"{path}/hangup", admin)).status_code == 202


async def test_pages_of_calls_do_not_shift_and_can_be_filtered(service: Service) -> None:
    person = await service.signup()
    await service.fund(person, 100)
    ids = [(await calling.place(service, person, calling.SILENT))["call_id"] for _ in range(5)]
    await calling.report(service, ids[0], "busy")
    first = (await service.get("/api/calls?limit=2", person)).json()
    ids.append((await calling.place(service, person, calling.SILENT))["call_id"])
    seen = [call["call_id"] for call in first["calls"]]
    cursor = first["next_cursor"]
    while cursor:
        page = (await service.get(f"/api/calls?limit=2&cursor={cursor}", person)).json()
        seen += [call["call_id"] for call in page["calls"]]
        cursor = page["next_cursor"]
    assert seen == ids[4::-1]
    busy = (await service.get("/api/calls?status=busy", person)).json()["calls"]
    assert [call["call_id"] for call in busy] == [ids[0]]
    for query in ("status=gone", "limit=0", "limit=201", "cursor=nonsense", "cursor=W10"):
        assert (await service.get(f"/api/calls?{query}", person)).status_code == 422, query


async def test_calls_are_found_by_their_number_and_while_they_last(service: Service) -> None:
    person, admin = await service.signup(), await service.admin()
    await service.fund(person, 100)
    first = (await calling.place(service, person, calling.SILENT))["call_id"]
    other = await calling.place(service, person, calling.SILENT, to="+919876543211")
    await calling.report(service, first, "busy")
    for reader in (person, admin):
        whose = f"user_id={person.id}"
        found = (await service.get(f"/api/calls?{whose}&number=98765 43210", reader)).json()
        assert [call["call_id"] for call in found["calls"]] == [first]
        live = (await service.get(f"/api/calls?{whose}&live=true", reader)).json()
        assert [call["call_id"] for call in live["calls"]] == [other["call_id"]]
    everybody = (await service.get("/api/calls?live=true&limit=200", admin)).json()["calls"]
    assert other["call_id"] in [call["call_id"] for call in everybody]
    refused = await service.get("/api/calls?number=nobody", person)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_number")


async def test_calls_are_downloaded_by_the_filter_of_their_list(service: Service) -> None:
    asha, other, admin = [*[await service.signup() for _ in range(2)], await service.admin()]
    for person in (asha, other):
        await service.fund(person, 100)
    scenario = {"outcome": "completed", "duration_seconds": 42, "wall_seconds": 0.1}
    answered = await calling.place(service, asha, scenario)
    await calling.over(service, asha, answered["call_id"])
    busy = await calling.place(service, asha, {"outcome": "busy", "wall_seconds": 0})
    await calling.over(service, asha, busy["call_id"])
    theirs = await calling.place(service, other, {"outcome": "busy", "wall_seconds": 0})
    await calling.over(service, other, theirs["call_id"])

    async def rows(person: Person, query: str = "") -> list[dict[str, str]]:
        answer = await service.get(f"/api/calls/download{query}", person)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        assert re.search(r'filename="calls-\d{4}-\d\d-\d\d.csv"', str(answer.headers))
        return list(csv.DictReader(io.StringIO(answer.text)))

    mine = await rows(asha, f"?user_id={other.id}")  # somebody else's are never shown
    assert [row["call_id"] for row in mine] == [busy["call_id"], answered["call_id"]]
    (row,) = await rows(asha, "?status=completed")
    shown = (await service.get(f"/api/calls/{answered['call_id']}", asha)).json()
    assert (row["to"], row["cost"]) == (f"'{shown['to']}", f"{shown['cost']:.2f}")
    assert (row["duration_seconds"], row["rate_per_minute"]) == ("42", "10.00")
    assert (row["status"], row["billing_status"]) == ("completed", "settled")
    assert {row["user_id"] for row in await rows(admin, f"?user_id={other.id}")} == {other.id}
    assert {row["user_id"] for row in await rows(admin)} >= {asha.id, other.id}
    assert await rows(asha, "?live=true") == []
    assert (await service.get("/api/calls/download?number=12", asha)).status_code == 422
    text = (await service.get("/api/calls/download?excel=true", asha)).text
    assert text.startswith("\ufeffcall_id,")


async def test_a_call_tells_what_happened_to_it(service: Service) -> None:
    person = await service.signup()
    await service.fund(person, 100)
    placed = await calling.place(
        service, person, {"duration_seconds": 30, "wall_seconds": 0.5}, keys={"1": "confirm"}
    )
    await calling.over(service, person, placed["call_id"])
    call = (await service.get(f"/api/calls/{placed['call_id']}", person)).json()
    steps = [(step["what"], step["status"]) for step in call["timeline"]]
    assert steps[:3] == [("asked_for", None), ("submitted", None), ("accepted", None)]
    assert ("reported", "in_progress") in steps
    assert steps[-1] == ("reported", "completed")
    asked = call["timeline"][0]
    assert (asked["at"], asked["held"], asked["limit_seconds"]) == (call["created_at"], 10.0, 60)
    assert call["pace"] > 1
    assert "timeline" not in (await service.get("/api/calls", person)).json()["calls"][0]


# --- what a call says -----------------------------------------------------------------------------


def test_what_a_call_says_is_stored_and_read_as_it_was() -> None:
    script = Simulate(outcome="busy", duration_seconds=0, wall_seconds=2.5, answered_by="machine")
    whole = CallSpec(
        audio_url="https://example.com/a.mp3",
        max_duration_seconds=90,
        machine_detection="report",
        simulate=script,
    )
    for spec in (CallSpec(), CallSpec(message="Hello"), whole):
        assert CallSpec.of(spec.fields()) == spec
    forwards = CallSpec(connect_to="09876543210").normalized()
    assert forwards.connect_to == "+919876543210"


@pytest.mark.parametrize(
    ("spec", "network", "field"),
    [
        (CallSpec(message="Hello", connect_to="+919876543210"), "simulator", "connect_to"),
        (CallSpec(simulate=Simulate()), "plivo", "simulate"),
        (CallSpec(machine_detection="report"), "exotel", "machine_detection"),
    ],
)
def test_what_does_not_go_together_or_the_network_cannot_do_is_refused_by_its_name(
    spec: CallSpec, network: str, field: str
) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        spec.check(telephony.get_provider(network))
    assert [error["field"] for error in refusal.value.body()["errors"]] == [field]
