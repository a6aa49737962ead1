"""Which numbers may be called, who signs what, and the network on localhost."""

import asyncio
import contextlib
import datetime as dt
import hashlib
import hmac
from collections.abc import AsyncIterator, Iterator
from typing import get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from phonenumbers import PhoneNumberType

import telephony
from calls import lifecycle
from core import clock, config, phone_numbers
from core.database import db
from core.errors import NotFound, Problem, Unavailable
from core.phone_numbers import DestinationNotAllowed, InvalidNumber
from telephony import OVER, RANK, Dial, InvalidSignature, NetworkCall, NotSent, Report, Simulate
from telephony.provider import PACE_MAX
from telephony.simulator import SIGNATURE_HEADER, Simulator, sign
from telephony.simulator.lifecycle import (
    PATIENCE_SECONDS,
    SimulatedCall,
    document_of,
    report_of,
    state_of,
)
from tests import caller
from tests.conftest import Service, running, test_settings


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for the tests of this file that need a running network."""
    settings = test_settings(mongodb_uri, call_slice_minutes=1, signups_per_hour=100_000)
    async with running(settings) as started:
        yield started


@pytest.fixture
def settings() -> Iterator[config.Settings]:
    """The settings of the tests, without a service."""
    before = config._current
    chosen = test_settings("", port=8000)
    config.use(chosen)
    yield chosen
    config.use(before)


# --- numbers ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("+919876543210", "+919876543210"),
        ("9876543210", "+919876543210"),
        ("09876543210", "+919876543210"),
        ("919876543210", "+919876543210"),
        ("00919876543210", "+919876543210"),
        ("+91 98765-43210", "+919876543210"),
        ("(+91) 98765 43210", "+919876543210"),
        ("'9876543210", "+919876543210"),  # what a spreadsheet leaves
        ("९८७६५४३२१०", "+919876543210"),
        ("\u200e+91 9876543210\u200e", "+919876543210"),
        ("+91 11 2345 6789", "+911123456789"),
        ("011 2345 6789", "+911123456789"),
    ],
)
def test_a_number_is_read_as_people_write_it(
    settings: config.Settings, text: str, number: str
) -> None:
    assert phone_numbers.checked(text) == number


@pytest.mark.parametrize(
    ("text", "kind", "reason"),
    [
        ("", InvalidNumber, "unparseable"),
        (" ", InvalidNumber, "unparseable"),
        ("\x00", InvalidNumber, "unparseable"),
        ("call me", InvalidNumber, "unparseable"),
        ("98765-FLOWERS", InvalidNumber, "unparseable"),
        ("9.87654321E+09", InvalidNumber, "unparseable"),
        ("9876543210 ext 5", InvalidNumber, "unparseable"),
        ("9" * 41, InvalidNumber, "unparseable"),
        ("12345", InvalidNumber, "invalid_number"),
        ("112", InvalidNumber, "invalid_number"),
        ("1909", InvalidNumber, "invalid_number"),
        ("+919876543210.0", InvalidNumber, "invalid_number"),
        ("9876543210 #5", InvalidNumber, "invalid_number"),
        ("+91 98765 4321", InvalidNumber, "invalid_number"),
        ("1600 123456", InvalidNumber, "invalid_number"),
        ("+999 123 456 789", InvalidNumber, None),
        ("+1 650 253 0000", DestinationNotAllowed, "country_not_allowed"),
        ("+44 20 7946 0958", DestinationNotAllowed, "country_not_allowed"),
        ("+977 984 1234567", DestinationNotAllowed, "country_not_allowed"),
        ("+881 612345678", DestinationNotAllowed, "country_not_allowed"),
        ("1800 103 1111", DestinationNotAllowed, "wrong_type"),
        ("1860 266 1234", DestinationNotAllowed, "wrong_type"),
        ("140 1234567", DestinationNotAllowed, "wrong_type"),
    ],
)
def test_what_may_not_be_called_is_refused_with_the_reason(
    settings: config.Settings, text: str, kind: type[Problem], reason: str | None
) -> None:
    with pytest.raises(kind) as refusal:
        phone_numbers.checked(text)
    if reason is not None:
        assert refusal.value.extra["reason"] == reason


def test_the_countries_are_a_setting(settings: config.Settings) -> None:
    config.use(settings.model_copy(update={"allowed_countries": ["IN", "GB"]}))
    assert phone_numbers.checked("+44 20 7946 0958") == "+442079460958"
    config.use(settings.model_copy(update={"default_region": "GB", "allowed_countries": ["GB"]}))
    assert phone_numbers.checked("020 7946 0958") == "+442079460958"
    with pytest.raises(DestinationNotAllowed):
        phone_numbers.checked("+919876543210")


def test_the_kinds_of_numbers_are_a_setting(settings: config.Settings) -> None:
    config.use(settings.model_copy(update={"allowed_number_types": ["TOLL_FREE"]}))
    assert phone_numbers.checked("1800 103 1111") == "+9118001031111"
    with pytest.raises(DestinationNotAllowed) as refusal:
        phone_numbers.checked("9876543210")
    assert refusal.value.extra["reason"] == "wrong_type"


def test_every_kind_that_can_be_set_is_one_that_the_library_tells_apart() -> None:
    known = {name for name in vars(PhoneNumberType) if name.isupper()} - {"UNKNOWN"}
    assert set(get_args(config.NumberType)) == known


@given(st.text(max_size=60))
def test_no_text_breaks_the_number_check(text: str) -> None:
    before = config._current
    config.use(test_settings("", port=8000))
    try:
        with contextlib.suppress(InvalidNumber, DestinationNotAllowed):
            assert phone_numbers.checked(text).startswith("+91")
    finally:
        config.use(before)


# --- addresses and signatures -------------------------------------------------------------------
def test_a_signature_is_an_hmac_over_the_address_and_the_body(settings: config.Settings) -> None:
    secret = settings.simulator_auth_token.encode()
    expected = hmac.new(secret, b"http://127.0.0.1:8000/a?b=c\n{}", hashlib.sha256).hexdigest()
    assert sign("http://127.0.0.1:8000/a?b=c", b"{}") == expected
    assert settings.simulator_auth_token != settings.jwt_secret.get_secret_value()


def test_every_call_has_an_address_of_its_own_that_another_secret_cannot_guess(
    settings: config.Settings,
) -> None:
    path = telephony.callback_path("simulator", "call_A")
    assert path.startswith("/api/telephony/simulator/call_A/status?token=")
    assert path == telephony.callback_path("simulator", "call_A")
    token = path.rpartition("=")[2]
    assert token != telephony.callback_path("simulator", "call_B").rpartition("=")[2]
    config.use(settings.model_copy(update={"jwt_secret": type(settings.jwt_secret)("other" * 9)}))
    assert token != telephony.callback_path("simulator", "call_A").rpartition("=")[2]


def test_the_simulator_calls_back_on_this_machine_whatever_the_outside_sees(
    settings: config.Settings,
) -> None:
    config.use(settings.model_copy(update={"public_base_url": "https://wallet.example.com"}))
    assert telephony.callback_url("simulator", "call_A").startswith("http://127.0.0.1:8000/api/")


def test_a_callback_is_believed_only_with_token_and_signature(settings: config.Settings) -> None:
    path = telephony.callback_path("simulator", "call_A")
    body = (
        b'{"event_id": "e", "provider_call_id": "sim_A", "status": "completed",'
        b' "duration_seconds": 30, "occurred_at": "2026-11-23T10:00:00.000Z",'
        b' "answered_at": "2026-11-23T09:59:30.000Z", "news": "unknown fields are fine"}'
    )
    headers = {SIGNATURE_HEADER: sign("http://127.0.0.1:8000" + path, body)}

    def read(path: str, headers: dict[str, str], body: bytes) -> Report:
        return telephony.read_callback("simulator", "call_A", path=path, headers=headers, body=body)

    told = read(path, headers, body)
    assert (told.status, told.duration_seconds, told.rank) == ("completed", 30, OVER)
    assert told.occurred_at == dt.datetime(2026, 11, 23, 10, tzinfo=dt.UTC)
    for wrong in (
        (path, {}, body),
        (path, {SIGNATURE_HEADER: "é"}, body),
        (path, {SIGNATURE_HEADER: headers[SIGNATURE_HEADER].upper()}, body),
        (path, headers, body + b" "),
        (path.split("?")[0], headers, body),
        (path + "0", headers, body),
    ):
        with pytest.raises(InvalidSignature):
            read(*wrong)
    with pytest.raises(NotFound):
        telephony.get_provider("nobody")


# --- the life of a simulated call ---------------------------------------------------------------
def placed(script: Simulate, limit: int = 14_400) -> SimulatedCall:
    dial = Dial(
        call_id="call_A",
        to=caller.NUMBER,
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
        "to": caller.NUMBER,
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
        to=caller.NUMBER,
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
                to=caller.NUMBER,
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
    call = await caller.place(service, person, {"duration_seconds": 30, "wall_seconds": 0.1})
    call = await caller.over(service, person, call["call_id"])
    assert refused == [call["call_id"]] * 2
    assert await caller.debits(service, person) == [5.0]


async def test_the_calls_of_a_process_that_died_go_on(service: Service) -> None:
    person = await service.signup()
    await service.fund(person, 10)
    call = await caller.place(service, person, {"duration_seconds": 30, "wall_seconds": 1})
    changed = await db.simulated_calls.update_one(
        {"reference": call["call_id"], "open": True}, {"$set": {"owner": "proc_DEAD"}}
    )
    assert changed.modified_count == 1
    call = await caller.over(service, person, call["call_id"])
    assert (call["status"], call["cost"]) == ("completed", 5.0)
    simulated = await db.simulated_calls.find_one({"reference": call["call_id"]})
    assert simulated is not None
    assert simulated["owner"] != "proc_DEAD"


async def test_calls_go_on_after_the_network_was_restarted(service: Service) -> None:
    person = await service.signup()
    await service.fund(person, 10)
    call = await caller.place(service, person, {"duration_seconds": 30, "wall_seconds": 0.5})
    await telephony.stop()
    await asyncio.sleep(0.6)
    assert (await caller.shown(service, person, call["call_id"]))["billing_status"] == "held"
    await telephony.start()
    call = await caller.over(service, person, call["call_id"])
    assert (call["duration_seconds"], call["cost"]) == (30, 5.0)
