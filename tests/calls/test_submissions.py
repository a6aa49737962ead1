"""A call whose placing ended without an answer is dialled by one repetition, or says what is known."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

import wallet
import worker
from billing import charging
from billing.charging import Reservation
from calls import lifecycle, submissions
from core import clock, database
from core.database import db
from core.errors import Unavailable
from reporting import audit
from telephony import Ambiguous, Dial
from telephony.simulator import Simulator
from tests.support import calls as calling
from tests.support.service import Person, Service, running, test_settings, until

KEY = {"Idempotency-Key": "one-call"}


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    settings = test_settings(mongodb_uri, call_slice_minutes=1, signups_per_hour=100_000)
    with pytest.MonkeyPatch.context() as patient:
        patient.setattr(worker, "JOBS", calling.chores_in_turn())
        async with running(settings) as started:
            yield started


@pytest.fixture
async def person(service: Service) -> Person:
    found = await service.signup()
    await service.fund(found, 100)
    return found


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The calls that the network was asked for, once each time."""
    asked: list[str] = []
    place = Simulator.place

    async def counted(network: Simulator, dial: Dial) -> str:
        asked.append(dial.call_id)
        return await place(network, dial)

    monkeypatch.setattr(Simulator, "place", counted)
    return asked


@pytest.fixture
def lost_answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """How the next reservations end: `lost`, their commit happens and nobody learns of it; `repeated`,
    its repetition found it."""
    kinds: list[str] = []
    reserve = charging.reserve

    async def reserved(user_id: str, **options: Any) -> Reservation:
        kind = kinds.pop(0) if kinds else ""
        found = await reserve(user_id, **options)
        if kind == "lost":
            raise Unavailable("The ledger did not answer in time.")
        return dataclasses.replace(found, repeated=True) if kind == "repeated" else found

    monkeypatch.setattr(charging, "reserve", reserved)
    yield kinds
    submissions._abandoned.clear()


async def ask(service: Service, person: Person) -> httpx.Response:
    body = {"to": calling.NUMBER, "simulate": calling.SILENT}
    return await service.post("/api/call", person, json=body, headers=KEY)


async def test_the_request_after_a_503_dials_the_call_that_the_first_one_stored(
    service: Service, person: Person, dialled: list[str], lost_answers: list[str]
) -> None:
    lost_answers.append("lost")
    assert (await ask(service, person)).status_code == 503
    call = await db.calls.find_one({"user_id": person.id})
    assert call is not None
    assert call["status"] == "submitting"
    again = await ask(service, person)
    assert (again.status_code, again.json()["status"]) == (202, "queued")
    assert (await ask(service, person)).headers["Idempotency-Replayed"] == "true"
    assert dialled == [again.json()["call_id"]] == [call["_id"]]
    assert (await service.balance(person))["held"] == 10.0


async def test_another_process_dials_it_as_soon_as_the_first_has_released_it(
    service: Service, person: Person, dialled: list[str], lost_answers: list[str]
) -> None:
    lost_answers.append("lost")
    assert (await ask(service, person)).status_code == 503

    async def released() -> bool:
        return await db.calls.find_one({"user_id": person.id, "attempt": None}) is not None

    await until(released)
    submissions._abandoned.clear()  # what the other process does not know
    again = await ask(service, person)
    assert (again.status_code, again.json()["status"]) == (202, "queued")
    assert len(dialled) == 1


async def test_repetitions_at_once_dial_it_once(
    service: Service, person: Person, dialled: list[str], lost_answers: list[str]
) -> None:
    lost_answers.append("lost")
    assert (await ask(service, person)).status_code == 503
    answers = await asyncio.gather(*(ask(service, person) for _ in range(10)))
    assert {answer.status_code for answer in answers} <= {202, 409, 503}
    assert "submitting" not in {a.json()["status"] for a in answers if a.status_code == 202}
    assert len(dialled) == 1


async def test_an_attempt_that_finds_its_own_commit_goes_on(
    service: Service, person: Person, dialled: list[str], lost_answers: list[str]
) -> None:
    """The commit was repeated after a lost answer, and is a replay of itself."""
    lost_answers.append("repeated")
    placed = await ask(service, person)
    assert (placed.status_code, placed.json()["status"]) == (202, "queued")
    assert len(dialled) == 1


async def test_while_it_is_unknown_whether_it_was_dialled_the_answer_is_503_and_then_its_end(
    service: Service, person: Person, dialled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first process died, before or after it asked the network: nobody else may ask again."""

    async def dies(*_: Any) -> Any:
        raise Unavailable("killed here")

    with monkeypatch.context() as killed:
        killed.setattr(lifecycle, "mark_queued", dies)
        assert (await ask(service, person)).status_code == 503
    again = await ask(service, person)
    assert (again.status_code, again.json()["code"]) == (503, "service_unavailable")
    assert again.headers["Retry-After"] == "5"
    assert len(dialled) == 1
    call = await db.calls.find_one({"user_id": person.id})
    assert call is not None
    assert (await calling.report(service, call["_id"], "ringing")).status_code == 204
    at_last = await ask(service, person)
    assert (at_last.status_code, at_last.json()["status"]) == (202, "ringing")
    assert len(dialled) == 1


@pytest.mark.parametrize("by", ["the next request", "the job"])
async def test_a_network_that_gave_no_answer_is_recorded_when_the_database_is_back(
    service: Service, person: Person, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    async def no_answer(*_: Any) -> Any:
        raise Ambiguous("no answer")

    async def away(*_: Any) -> Any:
        raise database.Away("no primary")

    with monkeypatch.context() as broken:
        broken.setattr(Simulator, "place", no_answer)
        broken.setattr(lifecycle, "mark_unknown", away)
        assert (await ask(service, person)).status_code == 503
    if by == "the job":

        async def recorded() -> bool:
            where = {"user_id": person.id, "status": "unknown"}
            return await db.calls.find_one(where) is not None

        await until(recorded)
    again = await ask(service, person)
    assert (again.status_code, again.json()["status"]) == (202, "unknown")
    assert not submissions._unanswered


async def test_a_repetition_that_comes_too_late_ends_the_call_and_releases_its_money(
    service: Service, person: Person, dialled: list[str], lost_answers: list[str]
) -> None:
    lost_answers.append("lost")
    assert (await ask(service, person)).status_code == 503
    long_ago = {"$set": {"created_at": clock.after(-30)}}
    await db.calls.update_one({"user_id": person.id}, long_ago)
    again = await ask(service, person)
    assert (again.status_code, again.json()["status"]) == (202, "failed")
    assert dialled == []
    assert (await service.balance(person))["held"] == 0.0
    assert (await wallet.get_balance(person.id)).held_paise == 0
    assert (await audit.audit(person.id)).ok
