"""The same calls over every network: charged once, whatever the network says, forgets or repeats."""

import contextlib
import dataclasses
import logging
from collections.abc import AsyncIterator
from typing import Any, cast, get_args
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import telephony
import worker
from api import telephony_callbacks as telephony_callbacks_routes
from calls import monitor, placing, timing
from calls import records as call_records
from calls.records import Call
from campaigns import results
from core import clock, config
from core.database import db
from core.errors import NotFound
from core.outbox import Event
from reporting import audit
from telephony import Ambiguous, InvalidCallbackSignature, NetworkCall, NotSent, Refused, http
from telephony.exotel import Exotel
from telephony.plivo import Plivo
from telephony.provider import OUT_OF_CREDIT
from telephony.simulator import Simulator
from telephony.twilio import Twilio
from tests.support import calls as calling
from tests.support.provider_servers import (
    ExotelHere,
    Network,
    Phone,
    PlivoHere,
    Simulated,
    TwilioHere,
    served,
)
from tests.support.service import Person, Service, running, test_settings

KINDS: dict[str, type[Network]] = {
    kind.name: kind for kind in (Simulated, TwilioHere, PlivoHere, ExotelHere)
}
REAL = [name for name in KINDS if name != "simulator"]


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for all tests of this file, with slices of a minute; its worker does nothing by
    itself, so the tests say when the network is asked and the money extended."""
    settings = test_settings(mongodb_uri, call_slice_minutes=1, signups_per_hour=100_000)
    with pytest.MonkeyPatch.context() as quiet:
        quiet.setattr(worker, "JOBS", {})
        async with running(settings) as started:
            yield started


@pytest.fixture(scope="module")
async def everyone(service: Service) -> AsyncIterator[dict[str, tuple[Network, dict[str, Any]]]]:
    networks = [kind() for kind in KINDS.values()]
    async with served(networks) as url:
        yield {network.name: (network, network.settings(url)) for network in networks}
        await telephony.stop()
        await telephony.start()


@pytest.fixture
async def network(
    request: pytest.FixtureRequest,
    service: Service,
    everyone: dict[str, tuple[Network, dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Network]:
    """The network of the test, chosen in the settings for as long as it lasts."""
    chosen, settings = everyone[request.param]
    chosen.service, chosen.phones, chosen.faults, chosen.asked = service, [], [], 0
    if isinstance(chosen, Simulated):
        real = Simulator.place

        async def place(simulator: Simulator, dial: Any) -> str:
            return await chosen.place_faultily(real, simulator, dial)

        monkeypatch.setattr(Simulator, "place", place)
    config.use(service.settings.model_copy(update=settings))
    yield chosen
    config.use(service.settings)


def over(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("network", names or list(KINDS), indirect=True)


async def funded(service: Service, rupees: int) -> Person:
    person = await service.signup()
    await service.fund(person, rupees)
    return person


async def placed(network: Network, person: Person, **body: Any) -> tuple[str, Phone]:
    call = await calling.place(network.service, person, network.scenario, **body)
    return call["call_id"], network.phone(call)


async def kept(call_id: str) -> Call:
    found = await db.calls.find_one({"_id": call_id})
    assert found is not None
    return cast(Call, found)


@pytest.fixture(autouse=True)
async def _healthy(service: Service) -> None:
    await calling.forget_network_health()


async def asks(call_id: str, **changes: Any) -> Call:
    """As if the time had come to ask the network; the call afterwards."""
    past = {"next_check_at": clock.after(-1)}
    await db.calls.update_one({"_id": call_id}, {"$set": past | changes})
    await monitor.sweep_overdue_calls()
    return await kept(call_id)


async def settled(network: Network, person: Person, call_id: str) -> dict[str, Any]:
    """The call when its money is resolved; a network that tells no duration is asked for it."""
    if not telephony.get_provider(network.name).can.duration_in_callback:
        await asks(call_id)
    return await calling.over(network.service, person, call_id)


# --- the flow -----------------------------------------------------------------------------------


@over()
async def test_a_call_rings_is_answered_ends_and_is_charged_once(network: Network) -> None:
    service = network.service
    person = await funded(service, 100)
    text = 'Your order <no. 5> & "more" is ready.'
    call_id, phone = await placed(network, person, message=text)
    assert (await kept(call_id))["status"] == "queued"
    for step in (network.ring(phone), network.answer(phone), network.end(phone, "completed", 30)):
        answer = await step
        assert answer is None or answer.status_code in (200, 204), answer.text
    for _ in range(2):  # again, and again
        await network.tell(phone)
    call = await settled(network, person, call_id)
    assert (call["status"], call["billing_status"], call["cost"]) == ("completed", "settled", 5.0)
    await network.tell(phone)
    assert await calling.debits(service, person) == [5.0]
    assert (await service.balance(person))["held"] == 0.0
    assert (await kept(call_id))["review_reason"] is None
    assert (await audit.audit(person.id)).ok
    if network.name in ("twilio", "plivo"):
        said = "Say" if network.name == "twilio" else "Speak"
        escaped = 'Your order &lt;no. 5&gt; &amp; "more" is ready.'
        attributes = 'language="en-IN" voice="Polly.Aditi"'
        said_so = f"<Response><{said} {attributes}>{escaped}</{said}></Response>"
        assert said_so in phone.asked["script"]
    elif network.name == "exotel":
        assert phone.asked["script"] == text


@over()
async def test_what_nobody_answered_costs_nothing(network: Network) -> None:
    service = network.service
    person = await funded(service, 100)
    for status in ("busy", "no_answer", "failed", "canceled"):
        call_id, phone = await placed(network, person)
        await network.ring(phone)
        await network.end(phone, status)
        call = await settled(network, person, call_id)
        assert (call["status"], call["billing_status"]) == (status, "released"), status
        assert call["failure_reason"].startswith(status)
    assert await calling.debits(service, person) == []
    assert (await service.balance(person))["available"] == 100.0


@over()
async def test_news_in_the_wrong_order_changes_nothing(network: Network) -> None:
    person = await funded(network.service, 100)
    call_id, phone = await placed(network, person)
    await network.end(phone, "completed", 45)
    call = await settled(network, person, call_id)
    assert call["cost"] == 7.5
    await network.answer(phone)
    await network.ring(phone)
    again = await calling.shown(network.service, person, call_id)
    assert (again["status"], again["cost"], again["billing_status"]) == (
        *("completed", 7.5),
        "settled",
    )
    assert await calling.debits(network.service, person) == [7.5]


@over()
async def test_callbacks_may_come_before_the_networks_answer(network: Network) -> None:
    person = await funded(network.service, 100)
    network.faults = ["calls back first"]
    call_id, _ = await placed(network, person)
    call = await settled(network, person, call_id)
    assert (call["status"], call["cost"]) == ("completed", 2.0)


@over()
async def test_a_forged_callback_is_refused(network: Network) -> None:
    service = network.service
    person = await funded(service, 100)
    call_id, phone = await placed(network, person, max_duration_seconds=60)
    _, other = await placed(network, person, max_duration_seconds=60)
    await network.finish(phone, "completed", 30)
    path = telephony.callback_path(network.name, call_id)
    for forged in (path[:-1], path[:-1] + "x", path.split("?")[0], path + "&a=1"):
        answer = await service.client.post(forged, content=b"Status=completed")
        assert (answer.status_code, answer.json()["code"]) == (403, "invalid_callback_signature")
    if network.name in ("twilio", "plivo"):
        assert isinstance(network, TwilioHere | PlivoHere)
        fields = network.fields(phone)
        signed = network.signed(phone.callback, fields)
        for changed in (
            fields | {"To": "+919876543211"},
            fields | {"More": ""},
            {name: value for name, value in fields.items() if name != "To"},
        ):
            answer = await network._post(phone.callback, changed, signed)
            assert answer.status_code == 403, changed
        spoilt = {n: ("B" if v[0] == "A" else "A") + v[1:] for n, v in signed.items()}
        for header in ({}, spoilt):
            assert (await network._post(phone.callback, fields, header)).status_code == 403
        # Signed for the address of this call, but about another one.
        told = network.fields(other)
        answer = await network._post(phone.callback, told, network.signed(phone.callback, told))
        if network.name == "twilio":
            assert answer.status_code == 403
            told = network.fields(phone) | {"AccountSid": "AC00000000000000000000000000000009"}
            headers = network.signed(phone.callback, told)
            assert (await network._post(phone.callback, told, headers)).status_code == 403
    if network.name == "exotel":
        keys = [phone.answer_at[:-1], f"{call_id}.", call_id, "", other.answer_at[:-1] + "g"]
        for key in keys:
            answer = await service.get(f"/api/telephony/exotel/answer?CustomField={key}")
            assert answer.status_code == 403, key
    assert (await kept(call_id))["billing_status"] == "held"
    assert (await service.balance(person))["balance"] == 100.0


# --- what the network answers -------------------------------------------------------------------


@over()
@pytest.mark.parametrize("fault", ["no answer", "broken answer"])
async def test_an_answer_that_was_lost_is_asked_for_and_nothing_is_redialled(
    network: Network, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = network.service
    person = await funded(service, 10)
    adapter = telephony.get_provider(network.name)
    network.faults = [fault]
    to = f"+91987652{len(fault):02}{list(KINDS).index(network.name):02}"  # by which it is found
    key = {"Idempotency-Key": "lost"}
    body = {"to": to, **({"simulate": network.scenario} if network.scenario else {})}
    with monkeypatch.context() as impatient:
        if network.name != "simulator":
            impatient.setattr(http, "READ_SECONDS", 1.0)
            await adapter.stop()  # its next client has the shorter patience
        call = (await service.post("/api/call", person, json=body, headers=key)).json()
        call = await calling.asked_for(service, person, call["call_id"])
    again = await service.post("/api/call", person, json=body, headers=key)
    assert again.json()["call_id"] == call["call_id"]
    assert (call["status"], call["billing_status"], call["held"]) == ("unknown", "held", 10.0)
    assert network.asked == len(network.phones) == 1
    if network.name != "simulator":
        await adapter.stop()
    [phone] = network.phones
    found = await asks(call["call_id"])
    assert found["rank"] >= telephony.RANK["queued"]
    assert phone.leg_id in (found["provider_call_id"], found.get("provider_leg_id"), found["_id"])
    if fault == "no answer":
        await network.finish(phone, "completed", 30)
        await asks(call["call_id"])
    else:  # and it may still call back
        for step in (network.answer(phone), network.end(phone, "completed", 30)):
            answer = await step
            assert answer is not None
            assert answer.status_code in (200, 204)
        await settled(network, person, call["call_id"])
    call = await calling.over(service, person, call["call_id"])
    assert (call["status"], call["cost"]) == ("completed", 5.0)
    assert network.asked == 1
    assert await calling.debits(service, person) == [5.0]


@over()
async def test_a_call_that_the_network_never_took_is_given_up_only_when_that_is_certain(
    network: Network,
) -> None:
    person = await funded(network.service, 10)
    network.faults = ["never took it"]
    call = await calling.place(network.service, person, network.scenario, to="+919876500001")
    assert (call["status"], call["held"]) == ("unknown", 10.0)
    found = await asks(call["call_id"])
    assert (found["status"], found["billing_status"]) == ("unknown", "held")
    visible_after = (timing.visible_at(found) - timing.submitted_at(found)).total_seconds()
    found = await asks(call["call_id"], submitted_at=clock.after(-visible_after - 1))
    assert (found["status"], found["billing_status"]) == ("failed", "released")
    assert found["failure_reason"] == "not_placed"
    assert (await network.service.balance(person))["available"] == 10.0


@over()
async def test_a_refusal_fails_the_call_and_frees_its_money(network: Network) -> None:
    person = await funded(network.service, 10)
    for faults, reason, asked in (
        (["400"], "provider_refused", 1),
        (["429", "429", "429"], "provider_busy", 3),
    ):
        network.faults, network.asked = list(faults), 0
        call = await calling.place(network.service, person, network.scenario)
        assert (call["status"], call["billing_status"]) == ("failed", "released")
        assert call["failure_reason"].startswith(reason)
        if network.name != "simulator":  # a 429 was not placed: it may be tried again
            assert network.asked == asked
    assert (await network.service.balance(person))["available"] == 10.0
    if network.name != "simulator":
        network.faults = ["429"]
        assert (await calling.place(network.service, person))["status"] == "queued"


@over(*REAL)
async def test_the_networks_own_empty_account_is_not_the_users(
    network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    person = await funded(network.service, 100)
    network.faults = ["402"]
    call = await calling.place(network.service, person)
    assert (call["status"], call["failure_reason"]) == ("failed", OUT_OF_CREDIT)
    assert f"{network.name} is out of credit" in caplog.text
    await calling.forget_network_health()
    network.faults = ["401"]
    call = await calling.place(network.service, person)
    assert call["failure_reason"] == "provider_credentials_refused"
    await calling.forget_network_health()
    network.faults = ["suspended"]
    call = await calling.place(network.service, person)
    assert call["failure_reason"] == "provider_account_suspended"
    for fault, reason in (
        ("not our number", "provider_caller_id_refused"),
        ("not this country", "provider_country_not_enabled"),
        ("404", "provider_misconfigured"),
    ):
        await calling.forget_network_health()
        network.faults = [fault]
        call = await calling.place(network.service, person)
        assert call["failure_reason"] == reason
        assert reason in telephony.ACCOUNT_REFUSALS
    refused = await calling.ask(network.service, person)
    assert (refused.status_code, int(refused.headers["Retry-After"]) > 5) == (503, True)
    assert "provider_misconfigured" in refused.json()["detail"]
    await calling.forget_network_health()
    assert {r.levelno for r in caplog.records if r.name == "telephony.http"} == {logging.ERROR}
    if isinstance(network, PlivoHere):  # it takes the call, and says so at its end
        call_id, phone = await placed(network, person)
        await network.finish(phone, "failed")
        await network.tell(phone, HangupCauseCode="1010", CallStatus="failed")
        assert (await kept(call_id))["failure_reason"] == OUT_OF_CREDIT
        assert "plivo is out of credit" in caplog.text
        await calling.forget_network_health()
        call_id, phone = await placed(network, person)  # likewise when there are too many at once
        await network.finish(phone, "failed")
        await network.tell(phone, HangupCauseCode="5030", CallStatus="failed")
        assert (await kept(call_id))["failure_reason"] == "provider_busy"


@over(*REAL)
async def test_a_network_that_cannot_be_reached_was_not_asked(
    network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    person = await funded(network.service, 10)
    adapter = telephony.get_provider(network.name)
    reachable = config.settings()
    await adapter.stop()
    nobody = {f"{network.name}_base_url": "http://127.0.0.1:1"}
    config.use(reachable.model_copy(update=nobody))
    call = await calling.place(network.service, person)
    assert (call["status"], call["failure_reason"]) == ("failed", "provider_unreachable")
    await adapter.stop()
    config.use(reachable)
    assert "the token that" not in caplog.text
    assert "9876543210" not in caplog.text


@over(*REAL)
async def test_two_calls_that_may_be_meant_are_left_to_a_person(network: Network) -> None:
    """Both answers were lost: a guess would charge one user for the call of the other."""
    first, second = await funded(network.service, 10), await funded(network.service, 10)
    network.faults = ["broken answer", "never took it"]
    number = f"+91987651000{REAL.index(network.name)}"
    ids = [
        (await calling.place(network.service, person, to=number))["call_id"]
        for person in (first, second)
    ]
    for call_id in ids:
        found = await asks(call_id)
        assert (found["status"], found["billing_status"]) == ("unknown", "held")
    # The network itself says which one it is, as soon as it calls back.
    [phone] = network.phones
    await network.answer(phone)
    assert (await kept(ids[0]))["status"] == "in_progress"
    assert (await kept(ids[1]))["status"] == "unknown"


@over("plivo")
async def test_a_call_is_found_behind_the_first_hundred_of_a_list(network: Network) -> None:
    person = await funded(network.service, 10)
    network.faults = ["broken answer"]
    number = "+919876510077"
    call_id = (await calling.place(network.service, person, to=number))["call_id"]
    [phone] = network.phones

    network.phones[:0] = [
        dataclasses.replace(phone, id=f"r{n}", leg_id=f"l{n}", to=f"+9198760{n:05}")
        for n in range(120)
    ]
    found = await asks(call_id)
    assert (found["status"], found.get("provider_leg_id")) == ("queued", phone.leg_id)
    # When it is over it is behind newer records of the same number.
    await network.finish(phone, "busy")
    old = clock.after(-7_200)
    network.phones += [
        dataclasses.replace(phone, id=f"s{n}", leg_id=f"m{n}", created_at=old) for n in range(45)
    ]
    unknown = {"provider_leg_id": None, "provider_call_id": None, "status": "unknown", "rank": 1}
    found = await asks(call_id, **unknown)
    assert found["status"] == "busy"


def test_a_refusal_says_what_the_network_said_without_its_secrets() -> None:
    client = http.HttpClient("twilio", "https://api.example.com", user="u", password="p")

    def said(status: int, **fields: Any) -> str:
        refusal = client._refusal(status, fields)
        assert isinstance(refusal, Refused | NotSent)
        return str(refusal)

    assert said(400, code=21211, message="The 'To' number +9112 is not a valid phone number.") == (
        "provider_refused: 400, code 21211: The 'To' number +9112 is not a valid phone number."
    )
    secret = said(400, code=1, message="AC0123456789abcdef0123456789abcdef at https://x.y/?token=1")
    assert secret == "provider_refused: 400, code 1: … at …"
    assert said(400, error={"to": ["is not a number"]}) == (
        'provider_refused: 400: {"to": ["is not a number"]}'
    )
    exotel = {"Status": 400, "Code": 34001, "Message": "Invalid parameter\nFrom"}
    assert said(400, RestException=exotel) == (
        "provider_refused: 400, code 34001: Invalid parameter From"
    )
    assert said(403, error="Geo permission is not enabled") == "provider_country_not_enabled"
    assert said(400, error="from number is not valid") == "provider_caller_id_refused"


@over("plivo")
async def test_a_cause_of_plivo_reaches_the_call_in_words(network: Network) -> None:
    person = await funded(network.service, 100)
    for cause, name, status, reason in (
        ("2000", "Invalid Destination", "failed", "failed: cause 2000 (Invalid Destination)"),
        ("2030", "Country Barred", "failed", "provider_country_not_enabled"),
        ("7011", "Error Reaching Answer URL", "completed", "not_heard: cause 7011"),
    ):
        await calling.forget_network_health()
        call_id, phone = await placed(network, person)
        await network.finish(phone, status, 3)
        await network.tell(phone, HangupCauseCode=cause, HangupCauseName=name)
        found = await kept(call_id)
        assert found["status"] == status
        assert (found["failure_reason"] or "").startswith(reason)


@over(*REAL)
async def test_nonsense_is_an_answer_that_nobody_can_use(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not as documented neither ends a call nor stops the sweeper; a person is told."""
    person = await funded(network.service, 100)
    call_id, _ = await placed(network, person, max_duration_seconds=60)
    network.faults = ["never took it"]
    lost = await calling.place(network.service, person, to="+919876500002")
    for said in (
        {},
        {"calls": [1], "objects": [1], "Calls": [1], "Call": 1, "status": 1},
        {"calls": [{}], "objects": [{}], "Calls": [{}], "Call": {}, "status": "paused"},
    ):

        async def nonsense(*_: Any, said: dict[str, Any] = said, **__: Any) -> Any:
            return 200, said

        with monkeypatch.context() as broken:
            broken.setattr(http.HttpClient, "ask", nonsense)
            for one in (lost["call_id"], call_id):
                found = await asks(one, created_at=clock.after(-86_400))
                assert found["billing_status"] == "held", said
                assert found["next_check_at"] > clock.now()
            before = found
            found = await asks(call_id, checks=30)
            assert (found["billing_status"], found["review_reason"]) == (
                *("review", "the network cannot be asked"),
            )
            again = {name: before.get(name) for name in ("status", "rank", "failure_reason")}
            again |= {"billing_status": "held", "checks": 0, "ended_at": None}
            await db.calls.update_one({"_id": call_id}, {"$set": again})


@given(st.binary(max_size=200), st.sampled_from(["json", "x-www-form-urlencoded"]))
@example(b"--b\r\n\r\n--b--", "json")
def test_no_body_breaks_the_reading_of_a_callback(body: bytes, kind: str) -> None:
    before = config._current
    config.use(test_settings("", port=8000))
    try:
        for form in (
            f"application/{kind}",
            "multipart/form-data; boundary=b",
            "multipart/form-data",
        ):
            with contextlib.suppress(InvalidCallbackSignature):
                told = Exotel().read_callback({"content-type": form}, body, "http://x/")
                assert told.is_unverified
        for adapter in (Twilio(), Plivo()):
            with pytest.raises(InvalidCallbackSignature):
                adapter.read_callback({"x-plivo-signature-v3-nonce": "1"}, body, "http://x/")
    finally:
        config.use(before)


# --- hanging up ---------------------------------------------------------------------------------


@over(*REAL)
async def test_a_call_is_hung_up_where_the_network_can(network: Network) -> None:
    service = network.service
    person = await funded(service, 100)
    for answered in (False, True):
        call_id, phone = await placed(network, person, max_duration_seconds=60)
        if answered:
            await network.answer(phone)
        answer = await service.post(f"/api/calls/{call_id}/hangup", person)
        if network.name == "exotel":
            assert (answer.status_code, answer.json()["code"]) == (409, "cannot_hang_up")
            continue
        assert answer.status_code == 202, answer.text
        assert phone.is_hung_up
        await network.end(phone, *(("completed", 7) if answered else ("canceled", 0)))
        assert (await service.post(f"/api/calls/{call_id}/hangup", person)).status_code == 202
    if network.name != "exotel":
        assert await calling.debits(service, person) == [1.17]


@over("plivo")
async def test_an_empty_id_never_reaches_plivo(network: Network) -> None:
    """There, hanging up the call without an id hangs up every call of the account."""
    assert isinstance(network, PlivoHere)
    adapter = telephony.get_provider("plivo")
    for bad in ("", "/", "..", "a/b", " ", None, "a?b"):
        call = cast(NetworkCall, {"_id": "call_A", "rank": 5, "provider_call_id": bad})
        with pytest.raises(Ambiguous):
            await adapter.hang_up(call)
        with pytest.raises(Ambiguous):
            await adapter.hang_up(
                {**call, "provider_call_id": "req-1", "provider_leg_id": bad or "/"}
            )
    assert not network.is_all_hung_up


# --- durations ----------------------------------------------------------------------------------


@over("twilio")
async def test_twilios_minutes_are_not_taken_for_seconds(network: Network) -> None:
    assert isinstance(network, TwilioHere)
    person = await funded(network.service, 100)
    call_id, phone = await placed(network, person)
    await network.answer(phone)
    await network.finish(phone, "completed", 61)
    assert network.fields(phone)["Duration"] == "2"
    await network.tell(phone)
    call = await calling.over(network.service, person, call_id)
    assert (call["duration_seconds"], call["cost"]) == (61, 10.17)


@over("twilio")
async def test_an_end_without_a_duration_is_asked_about(network: Network) -> None:
    person = await funded(network.service, 100)
    call_id, phone = await placed(network, person)
    await network.finish(phone, "completed", 30)
    await network.tell(phone, CallDuration="")
    assert (await kept(call_id))["billing_status"] == "pending_duration"
    await asks(call_id)
    call = await calling.over(network.service, person, call_id)
    assert (call["duration_seconds"], call["cost"]) == (30, 5.0)


@over("twilio", "plivo")
async def test_a_duration_that_cannot_be_is_for_a_person(network: Network) -> None:
    person = await funded(network.service, 100)
    call_id, phone = await placed(network, person)
    name = "CallDuration" if network.name == "twilio" else "Duration"
    await network.answer(phone)
    await network.finish(phone, "completed", 30)
    await network.tell(phone, **{name: "99999"})
    assert (await kept(call_id))["billing_status"] == "review"
    assert (await network.service.balance(person))["held"] == 10.0


@over("exotel")
async def test_exotel_is_asked_five_minutes_after_the_end_and_not_before(network: Network) -> None:
    person = await funded(network.service, 100)
    call_id, phone = await placed(network, person, max_duration_seconds=60)
    found = await kept(call_id)
    talk = placing.RING_SECONDS + 60
    assert found["next_check_at"] >= clock.after(talk + 300, since=found["created_at"])
    phone.is_filled_in = False
    await network.answer(phone)
    await network.end(phone, "completed", 30)
    found = await kept(call_id)
    assert (found["status"], found["billing_status"]) == ("completed", "pending_duration")
    assert clock.after(290) < found["next_check_at"] <= clock.after(300)
    found = await asks(call_id)  # it does not know yet
    assert found["billing_status"] == "pending_duration"
    assert found["next_check_at"] > clock.after(290)
    phone.is_filled_in = True
    await asks(call_id)
    call = await calling.over(network.service, person, call_id)
    assert (call["duration_seconds"], call["cost"]) == (30, 5.0)


@over("exotel")
async def test_an_end_that_exotel_did_not_sign_moves_no_money(network: Network) -> None:
    """Whoever knows the address of a call cannot make it free: the API is asked."""
    person = await funded(network.service, 100)
    call_id, phone = await placed(network, person)
    await network.answer(phone)
    answer = await network.tell(phone, Status="busy", EventType="terminal")
    assert answer is not None
    assert answer.status_code == 204
    found = await asks(call_id)
    assert (found["status"], found["billing_status"]) == ("in_progress", "held")
    await network.end(phone, "completed", 30)
    call = await settled(network, person, call_id)
    assert call["cost"] == 5.0


@over("exotel")
async def test_exotel_is_believed_only_at_its_addresses_when_they_are_listed(
    network: Network,
) -> None:
    person = await funded(network.service, 100)
    call_id, phone = await placed(network, person)
    body = 'Content-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'
    parts = [("CallSid", phone.id), ("EventType", "answered"), ("Status", "in-progress")]
    form = "".join("--b\r\n" + body.format(*part) for part in parts) + "--b--\r\n"
    chosen = config.settings()
    for addresses, status in (("203.0.113.0/24", 403), ("203.0.113.7,127.0.0.0/8", 204)):
        listed = test_settings("", exotel_allowed_addresses=addresses).exotel_allowed_addresses
        config.use(chosen.model_copy(update={"exotel_allowed_addresses": listed}))
        parts_of = urlsplit(phone.callback)
        answer = await network.service.client.post(
            f"{parts_of.path}?{parts_of.query}",
            content=form,
            headers={"content-type": "multipart/form-data; boundary=b"},
        )
        assert answer.status_code == status, answer.text
    assert (await kept(call_id))["status"] == "in_progress"


# --- who answers --------------------------------------------------------------------------------


async def said_who_answered(network: Network, phone: Phone, who: str) -> int:
    """What Twilio and Plivo report beside the call; the status of our answer."""
    if isinstance(network, TwilioHere):
        fields = {"CallSid": phone.id, "AccountSid": network.sid, "AnsweredBy": who}
        fields["MachineDetectionDuration"] = "3200"
        url = phone.asked["AsyncAmdStatusCallback"].split("#")[0]
    else:
        assert isinstance(network, PlivoHere)
        fields = network.fields(phone) | {"Event": "MachineDetection"}
        fields["Machine"] = "true" if who.startswith("machine") else "false"
        url = phone.asked["machine_detection_url"]
    answer = await network._post(url, fields, network.signed(url, fields))
    return answer.status_code


@over("twilio", "plivo")
async def test_a_machine_is_found_out_while_the_call_goes_on(network: Network) -> None:
    person = await funded(network.service, 100)
    for told, known in (("human", "human"), ("machine_start", "machine")):
        call_id, phone = await placed(network, person, machine_detection="report")
        await network.answer(phone)
        for _ in range(2):
            assert await said_who_answered(network, phone, told) == 204
        shown = await calling.shown(network.service, person, call_id)
        assert (shown["answered_by"], shown["status"]) == (known, "in_progress")
        assert not phone.is_hung_up
        await network.end(phone, "completed", 30)
        shown = await calling.shown(network.service, person, call_id)
        assert (shown["answered_by"], shown["cost"]) == (
            known,
            5.0,
        )  # an answered call like another
    asked = phone.asked.get("MachineDetection"), phone.asked.get("machine_detection")
    assert asked in (("Enable", None), (None, "true"))


@over("twilio", "plivo")
async def test_on_a_machine_it_is_hung_up_if_the_call_says_so(network: Network) -> None:
    person = await funded(network.service, 100)
    _, phone = await placed(network, person, machine_detection="hang_up")
    await network.answer(phone)
    assert await said_who_answered(network, phone, "human") == 204
    assert not phone.is_hung_up
    await network.end(phone, "completed", 30)
    call_id, phone = await placed(network, person, machine_detection="hang_up")
    await network.answer(phone)
    assert await said_who_answered(network, phone, "machine_end_beep") == 204
    assert phone.is_hung_up
    causes = {"HangupCauseCode": "9100"} if network.name == "plivo" else {}
    await network.finish(phone, "completed", 4)
    assert (await network.tell(phone, **causes)).status_code == 204  # type: ignore[union-attr]
    shown = await calling.shown(network.service, person, call_id)
    assert (shown["status"], shown["answered_by"]) == ("completed", "machine")
    assert (shown["duration_seconds"], shown["cost"]) == (4, 0.67)
    assert await said_who_answered(network, phone, "machine_end_beep") == 204  # late, and harmless


@over("exotel")
async def test_where_no_machine_is_found_out_it_cannot_be_asked_for(network: Network) -> None:
    person = await funded(network.service, 100)
    for refused in (
        await calling.ask(network.service, person, machine_detection="report"),
        await network.service.post(
            "/api/campaigns",
            person,
            json={"name": "x", "numbers": [calling.NUMBER], "machine_detection": "hang_up"},
        ),
    ):
        assert (refused.status_code, refused.json()["code"]) == (422, "validation_error")
        assert refused.json()["errors"][0]["field"] == "machine_detection"
    assert (await network.service.balance(person))["held"] == 0


# --- what is said -------------------------------------------------------------------------------


@over(*REAL)
async def test_a_sound_a_number_or_a_polite_sentence(network: Network) -> None:
    person = await funded(network.service, 100)
    url = "https://example.com/a.mp3?x=1&y=<2>"
    expected = {
        "twilio": (
            "<Play>https://example.com/a.mp3?x=1&amp;y=&lt;2&gt;</Play>",
            '<Dial callerId="+14155550100"><Number>+919876543211</Number></Dial>',
            '<Say language="en-IN" voice="Polly.Aditi">Hello. This is an automated call.',
        ),
        "plivo": (
            "<Play>https://example.com/a.mp3?x=1&amp;y=&lt;2&gt;</Play>",
            '<Dial callerId="918035000000"><Number>+919876543211</Number></Dial>',
            '<Speak language="en-IN" voice="Polly.Aditi">Hello. This is an automated call.',
        ),
        "exotel": (url, '"numbers": ["+919876543211"]', "Hello. This is an automated call."),
    }[network.name]
    given: list[dict[str, str]] = [{"audio_url": url}, {"connect_to": "9876543211"}, {}]
    for body, script in zip(given, expected, strict=True):
        call_id, phone = await placed(network, person, max_duration_seconds=60, **body)
        await network.answer(phone)
        assert script in phone.asked["script"]
        with pytest.raises(NotFound):
            await telephony_callbacks_routes.script_for(call_id, via="simulator")
    if network.name == "exotel":  # asks for the head first, and wants the same headers
        path = f"/api/telephony/exotel/answer?CustomField={phone.answer_at}"
        head, whole = await network.service.request("HEAD", path), await network.service.get(path)
        assert head.status_code == 200
        assert head.headers["content-type"] == whole.headers["content-type"]
        assert whole.headers["content-type"].startswith("text/plain")


@over(*REAL)
async def test_hindi_is_read_by_a_voice_that_can_and_refused_by_a_network_that_cannot(
    network: Network,
) -> None:
    person = await funded(network.service, 100)
    hindi = "नमस्ते, आपका ऑर्डर तैयार है।"
    if network.name == "exotel":
        unread: list[dict[str, Any]] = [{"message": hindi}]
        for body in (*unread, {"message": "Namaste", "language": "hi-IN"}):
            refused = await calling.ask(network.service, person, **body)
            assert (refused.status_code, refused.json()["code"]) == (422, "language_not_supported")
            assert refused.json()["supported"] == ["en-IN"]
        assert (await network.service.balance(person))["held"] == 0
        return
    say = {"twilio": "Say", "plivo": "Speak"}[network.name]
    for body, attributes in (
        ({"message": hindi}, 'language="hi-IN" voice="Polly.Aditi"'),
        ({"message": "Namaste", "language": "hi-IN"}, 'language="hi-IN" voice="Polly.Aditi"'),
        (
            {"message": "Hello", "language": "en-IN", "voice": "Polly.Raveena"},
            'language="en-IN" voice="Polly.Raveena"',
        ),
    ):
        _, phone = await placed(network, person, **body)
        await network.answer(phone)
        assert f"<{say} {attributes}>{body['message']}</{say}>" in phone.asked["script"]
    for message, language, voice in (
        (hindi, "en-IN", None),
        ("Namaste", "hi-IN", "Polly.Raveena"),
    ):
        refused = await calling.ask(
            network.service, person, message=message, language=language, voice=voice
        )
        assert (refused.status_code, refused.json()["code"]) == (422, "language_not_supported")


# --- keys ---------------------------------------------------------------------------------------


async def listed_numbers(person: Person) -> list[str]:
    """The do-not-call list of a user when the events of keys are handled, twice."""
    pressed = db.events.find({"name": "KeyPressed", "user_id": person.id})
    for event in [*await pressed.to_list(None)] * 2:
        await results.on_key_pressed(cast(Event, event))
    found = await db.do_not_call.find({"owner": person.id}).to_list(None)
    return [f"{row['number']} {row['source']}" for row in found]


@over("twilio", "plivo")
async def test_a_key_has_its_meaning_on_the_call_and_nine_ends_further_calls(
    network: Network,
) -> None:
    service = network.service
    person = await funded(service, 100)
    keys = {"1": "confirm", "9": "stop"}
    number = {"twilio": "+919876540901", "plivo": "+919876540902"}[network.name]
    call_id, phone = await placed(network, person, to=number, message="नमस्ते", keys=keys)
    await network.answer(phone)
    asking = {"twilio": "<Gather ", "plivo": "<GetInput "}[network.name]
    assert asking in phone.asked["script"]
    again = await network.press(phone, "5")  # means nothing: it is asked for once more
    assert asking in again.text
    assert (await calling.shown(service, person, call_id))["pressed"] is None
    for key in ("9", "9", "1"):  # reported again; and what comes later changes nothing
        answer = await network.press(phone, key)
        assert answer.status_code == 200
        assert asking not in answer.text
    assert "धन्यवाद" in answer.text
    pressed = (await calling.shown(service, person, call_id))["pressed"]
    assert (pressed["key"], pressed["meaning"]) == ("9", "stop")
    assert await db.events.count_documents({"name": "KeyPressed", "user_id": person.id}) == 1
    assert await listed_numbers(person) == [f"{number} key_press"]
    forged = await service.client.post(
        f"{telephony.keys_path(network.name, call_id)}", content="Digits=9"
    )
    assert (forged.status_code, forged.json()["code"]) == (403, "invalid_callback_signature")


@over("simulator")
async def test_a_simulated_person_presses_a_key(network: Network) -> None:
    service = network.service
    person = await funded(service, 100)
    number = "+919876540903"
    scenario = {"duration_seconds": 5, "wall_seconds": 0, "press_key": "9"}
    placed_call = await calling.place(
        service, person, scenario, to=number, message="Hello", keys={"9": "stop"}
    )
    call = await calling.over(service, person, placed_call["call_id"])
    assert (call["pressed"]["key"], call["pressed"]["meaning"]) == ("9", "stop")
    assert await listed_numbers(person) == [f"{number} key_press"]


@over("exotel")
async def test_where_no_key_is_reported_none_can_be_asked_for(network: Network) -> None:
    person = await funded(network.service, 100)
    refused = await calling.ask(network.service, person, message="Hello", keys={"1": "yes"})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "keys")


# --- the talk-time contract, network by network --------------------------------------------------


async def about_to_run_out(call_id: str, seconds_left: float) -> Call:
    """As if it had talked until so much of what is reserved is left; then what the worker does."""
    found = await kept(call_id)
    began = clock.after(seconds_left - found["limit_seconds"])
    due = {"answered_at": began, "next_extend_at": clock.after(-1)}
    await db.calls.update_one({"_id": call_id}, {"$set": due})
    await monitor.extend_due_calls()
    return await kept(call_id)


async def warnings(call_id: str) -> list[int]:
    found = db.events.find({"name": "CallRunsOut", "data.call_id": call_id}, sort=[("at", 1)])
    return [event["data"]["seconds_left"] for event in await found.to_list(None)]


@over("twilio")
async def test_where_the_limit_can_be_raised_it_is_raised_slice_by_slice(network: Network) -> None:
    person = await funded(network.service, 25)
    call_id, phone = await placed(network, person)
    assert phone.limit_seconds == 60
    await network.answer(phone)
    found = await about_to_run_out(call_id, 40)  # there is money: it can wait
    assert (phone.limit_seconds, found["limit_seconds"]) == (60, 60)
    await about_to_run_out(call_id, 14)
    found = await about_to_run_out(call_id, 14)
    assert (phone.limit_seconds, found["limit_seconds"]) == (150, 150)  # all that Rs 25 buy
    assert await warnings(call_id) == []
    for left in (61, 59, 30, 20, 10):
        found = await about_to_run_out(call_id, left)
        assert clock.now() < found["next_extend_at"] < timing.talk_ends_at(found)
    assert await warnings(call_id) == [61, 20]
    await network.service.fund(person, 5)  # a recharge lets it go on
    await about_to_run_out(call_id, 8)
    assert phone.limit_seconds == 180
    found = await about_to_run_out(call_id, 0.2)
    assert "next_extend_at" not in found  # its network ends it
    assert await warnings(call_id) == [61, 20]
    assert not phone.is_hung_up


@over("twilio")
async def test_the_last_slice_is_told_although_the_first_attempt_failed(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await funded(network.service, 100)
    call_id, phone = await placed(network, person, max_duration_seconds=100)
    await network.answer(phone)

    async def unreachable(*_: Any) -> bool:
        raise Ambiguous("timeout")

    with monkeypatch.context() as broken:
        broken.setattr(Twilio, "extend", unreachable)
        found = await about_to_run_out(call_id, 14)
    assert (found["limit_seconds"], found["told_limit_seconds"]) == (100, 60)
    found = await about_to_run_out(call_id, 50)
    assert (phone.limit_seconds, found["told_limit_seconds"]) == (100, 100)
    assert "next_extend_at" not in found
    assert await warnings(call_id) == []


@over("plivo")
async def test_where_a_call_can_only_be_hung_up_it_is_hung_up_when_no_slice_can_be_had(
    network: Network,
) -> None:
    service = network.service
    person = await funded(service, 40)
    call_id, phone = await placed(network, person)
    found = await kept(call_id)
    assert (phone.limit_seconds, found["limit_seconds"]) == (240, 60)  # what it may cost; a slice
    assert (await service.balance(person))["held"] == 10.0
    await network.answer(phone)
    other_id, other = await placed(network, person)  # takes a slice of the same money
    found = await about_to_run_out(call_id, 14)
    assert (phone.limit_seconds, found["limit_seconds"]) == (240, 120)
    await about_to_run_out(call_id, 14)
    for left in (59, 20, 5):
        found = await about_to_run_out(call_id, left)
    assert (found["limit_seconds"], await warnings(call_id)) == (180, [59, 20])
    assert not phone.is_hung_up  # 5 seconds before its money is talked away
    await network.end(other, "busy")  # frees a slice: the call goes on
    assert (await kept(other_id))["billing_status"] == "released"
    found = await about_to_run_out(call_id, 5)
    assert (found["limit_seconds"], phone.limit_seconds) == (240, 240)
    await service.fund(person, 100)  # the limit that Plivo was told stands, and it ends it there
    await about_to_run_out(call_id, 1.5)
    assert await warnings(call_id) == [59, 20]
    await about_to_run_out(call_id, 0.4)
    assert "next_extend_at" not in await kept(call_id)
    assert not phone.is_hung_up
    await network.end(phone, "completed", 240)
    call = await calling.over(service, person, call_id)
    assert (call["cost"], call["due"]) == (40.0, 0.0)


@over("plivo")
async def test_a_call_is_hung_up_just_before_its_money_is_talked_away(network: Network) -> None:
    service = network.service
    person = await funded(service, 30)
    call_id, phone = await placed(network, person)
    await network.answer(phone)
    for _ in range(2):
        await placed(network, person)  # others take the rest of the money
    assert phone.limit_seconds == 180
    found = await about_to_run_out(call_id, 3)
    assert not phone.is_hung_up
    assert clock.now() < found["next_extend_at"] < timing.talk_ends_at(found)
    found = await about_to_run_out(call_id, 1.9)
    assert phone.is_hung_up
    assert "next_extend_at" not in found
    await network.end(phone, "completed", 59)
    call = await calling.over(service, person, call_id)
    assert (call["cost"], call["due"]) == (9.83, 0.0)


@over("twilio", "plivo")
async def test_the_answer_whose_news_was_lost_is_found_before_the_limit(network: Network) -> None:
    person = await funded(network.service, 100)
    network.faults = ["broken answer"]
    number = f"+9198765200{REAL.index(network.name):02}"
    call = await calling.place(network.service, person, to=number)
    [phone] = network.phones
    await network.ring(phone)  # the only news that comes through
    phone.status, phone.answered = "in_progress", True
    due = {"next_extend_at": clock.after(-1)}
    await db.calls.update_one(
        {"_id": call["call_id"], "next_extend_at": {"$gt": clock.now()}}, {"$set": due}
    )
    await monitor.extend_due_calls()
    found = await kept(call["call_id"])
    assert found["status"] == "in_progress"
    assert found["answered_at"] == found["created_at"]  # at the earliest then
    assert found["next_extend_at"] > clock.now()


@over("exotel")
async def test_where_nothing_can_be_done_everything_is_reserved_first(network: Network) -> None:
    service = network.service
    person = await funded(service, 100)
    call_id, phone = await placed(network, person, max_duration_seconds=180)
    found = await kept(call_id)
    assert (phone.limit_seconds, found["limit_seconds"]) == (180, 180)
    assert (await service.balance(person))["held"] == 30.0
    _, rest = await placed(network, person)  # what is left of the money is its limit
    assert (rest.limit_seconds, (await service.balance(person))["available"]) == (420, 0.0)
    assert (await calling.ask(service, person)).status_code == 402
    await network.answer(phone)
    assert "next_extend_at" not in await kept(call_id)
    await network.end(phone, "completed", 30)
    await settled(network, person, call_id)
    assert (await service.balance(person))["available"] == 25.0  # Rs 5.00, the rest is free


@over("exotel")
async def test_no_call_is_longer_than_its_network_takes(network: Network) -> None:
    person = await funded(network.service, 5_000)
    config.use(config.settings().model_copy(update={"max_call_minutes": 1_440}))
    _, phone = await placed(network, person)
    assert phone.limit_seconds == 14_400


@over("twilio", "plivo")
async def test_what_a_network_bills_beyond_the_reservation_becomes_due_and_is_told(
    network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    service = network.service
    person = await funded(service, 10)
    call_id, phone = await placed(network, person)
    await network.answer(phone)
    await network.end(phone, "completed", 66)
    call = await calling.over(service, person, call_id)
    assert (call["cost"], call["due"]) == (11.0, 1.0)
    assert (await service.balance(person))["balance"] == 0.0
    told = [r for r in caplog.records if "cost more than was reserved" in r.message]
    assert [record.levelno for record in told] == [logging.ERROR]
    assert (await audit.audit(person.id)).ok


@over("plivo")
async def test_a_call_that_nobody_looked_after_goes_on_to_the_limit_that_its_network_was_told(
    network: Network,
) -> None:
    """Our processes were down: it talked longer than was reserved, and that is paid or due."""
    service = network.service
    person = await funded(service, 30)
    call_id, phone = await placed(network, person)
    assert phone.limit_seconds == 180
    await network.answer(phone)
    await placed(network, person)  # holds Rs 10 of the 30
    await network.end(phone, "completed", 180)
    call = await calling.over(service, person, call_id)
    assert (call["cost"], call["due"], call["billing_status"]) == (30.0, 10.0, "settled")
    assert await calling.debits(service, person) == [20.0]
    assert (await audit.audit(person.id)).ok


@over("twilio")
async def test_a_network_that_takes_its_time_is_asked_again_later(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await funded(network.service, 10)
    call_id, phone = await placed(network, person)
    await network.finish(phone, "completed", 30)
    monkeypatch.setattr(http, "ASK_SECONDS", 0.1)
    network.slow_seconds = 0.3
    found = await asks(call_id)
    network.slow_seconds = 0.0
    assert (found["status"], found["billing_status"]) == ("queued", "held")
    monkeypatch.undo()
    assert (await asks(call_id))["billing_status"] == "settled"


@over("twilio", "plivo")
async def test_a_call_that_its_network_does_not_end_is_ended_by_the_sweeper(
    network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    person = await funded(network.service, 10)
    call_id, phone = await placed(network, person)
    await network.answer(phone)
    await asks(call_id)
    assert not phone.is_hung_up
    await asks(call_id, answered_at=clock.after(-200))
    assert phone.is_hung_up
    assert "is up after its limit" in caplog.text


def test_every_status_of_a_network_is_one_of_ours() -> None:
    from telephony import exotel, plivo, twilio

    ours = set(get_args(call_records.Status))
    for table in (
        twilio.STATUS,
        plivo.CAUSE,
        plivo._ENDED,
        plivo._LIVE,
        exotel.ENDED,
        exotel._LIVE,
    ):
        assert set(table.values()) <= ours


async def test_a_network_without_credentials_is_not_asked(service: Service) -> None:
    with pytest.raises(Ambiguous, match="not configured"):
        await Plivo().look_up(cast(NetworkCall, {"_id": "call_A", "provider_call_id": "req-1"}))
