"""Live events over a real server: what changed, for whom, again after a break, until the session ends."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from auth import sessions
from reporting import live
from tests.support import campaigns
from tests.support.service import Person, Service, running, test_settings, until

WAIT_SECONDS = 60


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    async with running(test_settings(mongodb_uri)) as started:
        yield started


class Stream:
    """An open stream, and the events that came."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self._lines = answer.aiter_lines()

    async def event(self) -> dict[str, str]:
        """The next event; empty when the stream has ended."""
        found: dict[str, str] = {}
        async with asyncio.timeout(WAIT_SECONDS):
            async for line in self._lines:
                name, _, value = line.partition(": ")
                if not line and "event" in found:
                    return found
                found[name] = value
        return {}

    async def until(self, name: str, **fields: Any) -> dict[str, Any]:
        """The data of the next event of this name that has these fields."""
        while event := await self.event():
            data: dict[str, Any] = json.loads(event["data"])
            if event["event"] == name and data.items() >= fields.items():
                return data | {"id": event["id"]}
        raise AssertionError(f"the stream ended without {name}")


@contextlib.asynccontextmanager
async def streaming(service: Service, person: Person, **headers: str) -> AsyncIterator[Stream]:
    given = person.headers | {name.replace("_", "-"): value for name, value in headers.items()}
    async with service.client.stream("GET", "/api/events/stream", headers=given) as answer:
        assert answer.status_code == 200
        stream = Stream(answer)
        assert (await stream.event())["event"] == "ready"
        yield stream


async def test_each_hears_what_is_theirs_and_an_operator_everybody(service: Service) -> None:
    asha, ravi, operator = await service.signup(), await service.signup(), await service.operator()
    async with (
        streaming(service, asha) as hers,
        streaming(service, ravi) as his,
        streaming(service, operator) as all_of_them,
    ):
        assert hers.answer.headers["x-accel-buffering"] == "no"
        assert hers.answer.headers["content-type"].startswith("text/event-stream")
        await service.fund(asha, 100)
        created = await campaigns.create(service, asha, 2)
        campaign_id = created["campaign_id"]
        for stream in (hers, all_of_them):
            done = await stream.until("campaign", campaign_id=campaign_id, status="completed")
            assert done["counts"]["answered"] == 2
        await service.fund(ravi, 50)
        assert (await his.event())["event"] == "balance"
        note = "a note of this length makes the list one that a job reads " * 2
        listed = "phone,note\n" + "".join(
            f"{number},{note}\n" for number in campaigns.numbers_of(20_000, first=100)
        )
        asked = await service.post(
            "/api/campaigns/upload",
            asha,
            files={"file": ("people.csv", listed, "text/csv")},
            data={"name": "Holi", "start": "false"},
        )
        assert asked.status_code == 202, asked.text
        imported = await hers.until("job", state="completed")
        assert (imported["rows_done"], imported["usable"]) == (20_000, 20_000)
        assert imported["campaign_id"] == asked.json()["campaign_id"]
        assert live.LISTENERS_PER_USER_MAX > 3


async def test_a_freeze_is_told_to_the_owner_of_the_wallet(service: Service) -> None:
    person, admin = await service.signup(), await service.admin()
    await service.fund(person, 100)
    # Also while somebody of the staff listens, who hears of everybody whose money moves.
    async with streaming(service, admin), streaming(service, person) as stream:
        for deed, frozen in (("freeze", True), ("unfreeze", False)):
            path = f"/api/admin/users/{person.id}/{deed}"
            answer = await service.post(path, admin, json={"reason": "complaints"})
            assert answer.status_code == 200, answer.text
            await stream.until("balance", balance=100.0, frozen=frozen)


async def test_who_comes_back_hears_what_was_missed(service: Service) -> None:
    person = await service.signup()
    async with streaming(service, person) as stream:
        await service.fund(person, 100)
        seen = await stream.until("balance", balance=100.0, available=100.0)
    await service.fund(person, 11)
    created = await campaigns.create(service, person, 1)
    await campaigns.until(service, person, created, campaigns.is_over)
    async with streaming(service, person, last_event_id=seen["id"]) as stream:
        call = await stream.until("call", campaign_id=created["campaign_id"], status="completed")
        assert call["cost"] == 5.0
    for other in ("1", "no id of ours"):
        async with streaming(service, person, last_event_id=other) as stream:
            await stream.until("reload")  # the end of the campaign may be told before


async def test_a_stream_ends_with_its_session_and_its_listener_with_it(service: Service) -> None:
    person, other = await service.signup(), await service.signup()
    async with streaming(service, person) as stream, streaming(service, other) as others:
        ended = await service.post("/api/auth/logout", person)
        assert ended.status_code == 204
        while await stream.event():
            pass
        await service.fund(other, 5)
        await others.until("balance", balance=5.0)

    async def nobody_listens() -> bool:
        return not live._listeners

    await until(nobody_listens)
    assert sessions.is_current()


async def test_listeners_are_bounded_and_a_head_request_has_no_stream(service: Service) -> None:
    person = await service.signup()
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(live.LISTENERS_PER_USER_MAX):
            await stack.enter_async_context(streaming(service, person))
        refused = await service.get("/api/events/stream", person)
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        assert int(refused.headers["retry-after"]) > 0
    head = await service.request("HEAD", "/api/events/stream", await service.signup())
    assert head.status_code == 200
    assert (await service.get("/api/events/stream?seconds=0", person)).text.startswith(
        "event: ready"
    )


async def test_a_listener_that_takes_nothing_is_dropped(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "BEHIND_MAX", 0)
    person = await service.signup()
    async with streaming(service, person) as stream:
        await service.fund(person, 5)
        assert await stream.event() == {}


async def test_what_a_poll_that_failed_missed_is_found_by_the_next(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await service.signup()
    changes, failed = live._changes, asyncio.Event()

    async def fail(*args: Any) -> Any:
        failed.set()
        raise RuntimeError("a failed poll")

    async with streaming(service, person) as stream:
        await service.fund(person, 5)
        await stream.until("balance", balance=5.0)
        monkeypatch.setattr(live, "_changes", fail)
        await service.fund(person, 5)
        await failed.wait()
        monkeypatch.setattr(live, "_changes", changes)
        await stream.until("balance", balance=10.0)
