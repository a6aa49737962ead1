"""Any sequence of what callers, networks, admins and crashes do leaves every call paid for once.

A Hypothesis property over the calls of one wallet, for the three kinds of networks: whose limit can be
raised, whose calls can only be hung up, and those that can neither. Each example is a wallet and the
steps that happen, drawn before the first is taken, so no answer changes what is drawn. Time is the
test's own: it passes as far as a step says, and the worker does its chores on the way. In CI about
1,000 steps; a long run:

    TALK_MACHINE_STEPS=20000 .venv/bin/python -m pytest tests/properties/test_call_sequences.py -s
"""

import asyncio
import datetime as dt
import logging
import math
import os
import pprint
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from decimal import Decimal
from typing import Any, TypeVar, cast

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import wallet
import worker
from billing import limits, pricing, rates
from billing.pricing import Rate
from calls import lifecycle, monitor, placing
from calls.placing import CallSpec
from calls.records import Call
from core import clock, config, database, outbox
from core.database import db
from core.errors import PaymentRequired, TooManyCalls, Unavailable
from reporting import audit
from telephony import CannotHangUp, Report, registry
from tests.support import calls as calling
from tests.support.fake_provider import KINDS, Line, Talks, Time
from tests.support.service import test_settings as settings_of_tests

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., None])

STEPS_WANTED = int(os.environ.get("TALK_MACHINE_STEPS", "600"))
STEPS = 20  # in a run; some of them find nothing to do
NUMBER = "+919876543210"
# The worker looks four times a second; it is allowed to be late.
WORKER_LATE_SECONDS = 0.4

RATES = [
    Rate(rate_paise_per_minute=10_00),
    Rate(rate_paise_per_minute=10_00, pulse_seconds=60),
    Rate(rate_paise_per_minute=7_37, first_pulse_seconds=30, pulse_seconds=6),
    Rate(rate_paise_per_minute=99, minimum_billable_seconds=30, connection_fee_paise=2_50),
]

FAULTS = [
    *(("extend", "not heard"), ("extend", "answer lost"), ("look up", "not heard")),
    *(("hang up", "not heard"), ("hang up", "answer lost")),
]
# What may be answered to whoever asks for something; everything else is a defect.
REFUSALS = (PaymentRequired, TooManyCalls, Unavailable, CannotHangUp)

LASTS = (
    st.integers(1, 59) | st.integers(60, 500) | st.just(500)
)  # seconds, if nobody ends it before
WHICH = st.integers(0, 10**6)


def said(*facts: object) -> str:
    """What a failure has to tell, in full."""
    return "\n".join(pprint.pformat(fact, width=120) for fact in facts)


class Kept(logging.Handler):
    """What the service complained of."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


class World:
    """The parts of the service that calls need, in this process, and a network in a time of its own."""

    def __init__(self, uri: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loop = asyncio.get_running_loop()
        self.time = Time()
        self.network = Talks(kind)
        self.settings = settings_of_tests(uri, call_slice_minutes=1, max_call_minutes=10)
        self.told: Counter[str] = Counter()
        self.complaints = Kept()
        self.rate = RATES[0]
        self.monkeypatch = monkeypatch

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """From Hypothesis' thread: what the service keeps belongs to the one loop of all tests."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    async def start(self) -> None:
        async def rate_for(*_: str) -> Rate:
            return self.rate

        self.monkeypatch.setattr(clock, "now", self.time.ask)
        self.monkeypatch.setattr(rates, "get_rate", rate_for)
        self.monkeypatch.setitem(registry._providers, self.network.name, self.network)
        logging.getLogger("calls.lifecycle").addHandler(self.complaints)
        self.use(cap_rupees=None)
        await database.connect(self.settings.mongodb_uri, self.settings.mongodb_db)
        await database.prepare()
        await wallet.start()
        worker.register_handlers()

    def use(self, *, cap_rupees: int | None) -> None:
        """Settings for the next run. The name of this network is not one that a `.env` may have."""
        cap = None if cap_rupees is None else Decimal(cap_rupees)
        changes = {"telephony_provider": self.network.name, "daily_spend_cap": cap}
        # It is a stand-in, so play money may call with it.
        changes[f"{self.network.name}_base_url"] = "http://127.0.0.1"
        config.use(self.settings.model_copy(update=changes))

    async def stop(self) -> None:
        await wallet.stop()
        await database.client().drop_database(self.settings.mongodb_db)
        await database.close()
        logging.getLogger("calls.lifecycle").removeHandler(self.complaints)
        config.use(None)

    async def dies_doing(
        self, work: list[Coroutine[Any, Any, Any]], *, after_seconds: float
    ) -> None:
        """The process dies in the middle of `work`, wherever it is then, and is started again."""
        tasks = [asyncio.create_task(each) for each in work]
        await asyncio.sleep(after_seconds)
        assert wallet._committer is not None
        days = [lane.task for lane in limits._lanes.values() if lane.task is not None]
        dying = [*tasks, wallet._committer, *days]
        for task in dying:
            task.cancel()
        for answer in await asyncio.gather(*dying, return_exceptions=True):
            if isinstance(answer, Exception) and not isinstance(answer, REFUSALS):
                raise answer
        wallet._waiting.clear()
        limits._lanes.clear()
        for _ in range(10_000):  # what MongoDB was told before goes on without us
            status = await database.client().admin.command("serverStatus")
            if not status["transactions"]["currentOpen"]:
                break
            await asyncio.sleep(0.002)
        await wallet.start()


@pytest.fixture
async def world(
    mongodb_uri: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    world = World(mongodb_uri, request.param, monkeypatch)
    await world.start()
    yield world
    await world.stop()


Step = tuple[str, dict[str, Any]]
_steps: list[st.SearchStrategy[Step]] = []


def rule(**given: st.SearchStrategy[Any]) -> Callable[[F], F]:
    """What may happen, in any order, any number of times; with such arguments."""

    def kept(method: F) -> F:
        named = st.just(method.__name__)
        _steps.append(st.tuples(named, st.fixed_dictionaries(given)))
        return method

    return kept


class Machine:
    """One wallet, its calls, and what may happen to them."""

    def __init__(self, world: World) -> None:
        self.world, self.network, self.time = world, world.network, world.time
        self.network.begin_anew()
        self.user_id = ""
        self.cap_paise: int | None = None
        self.call_ids: list[str] = []
        self.adjusted: Counter[str] = Counter()  # paise by seed, of what was acknowledged
        self.heard: list[tuple[str, Report]] = []  # news that the service had
        self.reserved: defaultdict[str, int] = defaultdict(int)  # the most that a call ever held
        self.complaint_lost: set[str] = set()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.world.do(work)

    def step(self, what: str) -> None:
        self.world.told[what] += 1

    def line(self, what: str, which: int) -> Line | None:
        """A call of the network, mostly one that is up; without one this is no step."""
        lines = list(self.network.lines.values())
        if which % 8:
            lines = [line for line in lines if line.ended_at is None] or lines
        if not lines:
            return None
        self.step(what)
        return lines[which // 8 % len(lines)]

    def sign_up(self, rate: Rate, rupees: int, cap_rupees: int | None, lasts: list[int]) -> None:
        self.user_id = database.new_id("usr")
        self.cap_paise = None if cap_rupees is None else cap_rupees * 100
        self.world.rate = rate
        self.world.use(cap_rupees=cap_rupees)
        self.world.complaints.lines.clear()
        self.do(self._signed_up(rupees))
        for number, seconds in enumerate(lasts):  # whatever comes, it comes during some calls
            self.place(seconds, rings=number + 1)

    async def _signed_up(self, rupees: int) -> None:
        facts = {"email": self.user_id, "email_key": self.user_id, "role": "user", "epoch": 0}
        facts |= {"name": "Asha", "phone": None, "password_hash": "", "kept_session_id": None}
        await db.users.insert_one({"_id": self.user_id, "created_at": clock.now(), **facts})
        await self._adjust("credit", rupees * 100)

    # --- what the user and the admin do ---

    async def _adjust(self, kind: Any, amount_paise: int) -> None:
        seed = database.new_id("seed")
        await wallet.adjust(
            self.user_id, kind=kind, amount_paise=amount_paise, reason="test", by="me", seed=seed
        )
        self.adjusted[seed] = amount_paise if kind == "credit" else -amount_paise

    async def _place(self, call_id: str, max_seconds: int | None = None) -> None:
        await calling.reserve_and_submit(
            self.user_id,
            call_id=call_id,
            to=NUMBER,
            spec=CallSpec(max_duration_seconds=max_seconds),
        )

    async def _tried(self, work: Awaitable[object]) -> None:
        """Do it; to be refused is fine."""
        try:
            await work
        except REFUSALS as refusal:
            self.step(f"({refusal.code})")

    @rule(
        lasts=LASTS,
        overrun=st.sampled_from([0, 0, 0, 1, 7, 60]),
        rings=st.sampled_from([1, 10, 45, None]),
        most=st.sampled_from([None, None, 20, 61, 200]),
        fault=st.sampled_from(["", "", "", "", "refused", "busy", "not heard", "answer lost"]),
        again=st.booleans(),
    )
    def place(
        self,
        lasts: int,
        overrun: int = 0,
        rings: int | None = 1,
        most: int | None = None,
        fault: str = "",
        again: bool = False,
    ) -> None:
        self.step(f"place, {fault}" if fault else "place")
        self.network.faults["place"] = fault
        self.network.next = {"would_last_seconds": lasts, "overrun_seconds": overrun}
        self.network.next["picked_up_after_seconds"] = rings
        call_id = database.new_id("call")
        self.call_ids.append(call_id)
        self.do(self._tried(self._place(call_id, most)))
        if again:
            self.do(self._tried(self._place(call_id, most)))
        self.do(self._looked())

    @rule(paise=st.integers(1, 60_00))
    def recharge(self, paise: int) -> None:
        self.step("recharge")
        self.do(self._adjust("credit", paise))
        self.do(self._looked())

    @rule(paise=st.integers(1, 60_00))
    def drain(self, paise: int) -> None:
        self.step("drain")
        self.do(self._tried(self._adjust("debit", paise)))
        self.do(self._looked())

    @rule(which=WHICH)
    def hang_up(self, which: int) -> None:
        line = self.line("hang up", which)
        if line is not None:
            self.do(self._tried(placing.hang_up_call(line.call_id)))

    @rule(frozen=st.sampled_from([False, False, True]), is_prompt=st.booleans())
    def freeze(self, frozen: bool, is_prompt: bool) -> None:
        self.step("freeze" if frozen else "unfreeze")

        async def work() -> None:
            await wallet.set_frozen(self.user_id, frozen=frozen, reason="test", by="me")
            if is_prompt:
                await outbox.deliver_due()

        self.do(work())

    # --- what the network does ---

    @rule(which=WHICH)
    def ring(self, which: int) -> None:
        line = self.line("ring", which)
        if line is not None:
            self.network.ring(line)

    @rule(which=WHICH)
    def answer(self, which: int) -> None:
        line = self.line("answer", which)
        if line is not None:
            self.network.answer(line)

    @rule(which=WHICH, status=st.sampled_from(["busy", "no_answer", "failed", "canceled"]))
    def end(self, which: int, status: str) -> None:
        line = self.line("end", which)
        if line is not None:
            self.network.end(line, status)

    @rule(which=st.just(0) | WHICH, times=st.sampled_from([1, 1, 2, 5]))
    def call_back(self, which: int, times: int) -> None:
        """The oldest news, or any other: then it comes out of order."""
        if self.network.news:
            news = self.network.news.pop(which % len(self.network.news))
            self.step("callback out of order" if which else "callback in order")
            self.do(self._hears([news] * times))

    @rule(which=WHICH)
    def lose_a_callback(self, which: int) -> None:
        if self.network.news:
            self.step("lost callback")
            self.network.news.pop(which % len(self.network.news))

    @rule(which=WHICH, times=st.integers(1, 3))
    def repeat_a_callback(self, which: int, times: int) -> None:
        if self.heard:
            self.step("repeated callback")
            self.do(self._hears([self.heard[which % len(self.heard)]] * times))

    async def _hears(self, news: list[tuple[str, Report]]) -> None:
        await asyncio.gather(
            *(
                lifecycle.apply_report(call_id, report, via=self.network.name)
                for call_id, report in news
            )
        )
        self.heard += news[:1]
        await self._looked()

    @rule(fault=st.sampled_from(FAULTS))
    def something_will_go_wrong(self, fault: tuple[str, str]) -> None:
        self.step("fault")
        what, how = fault
        self.network.faults[what] = how

    # --- the worker, time and death ---

    @rule(seconds=st.sampled_from([1, 5, 20]), is_told=st.booleans())
    def time_passes(self, seconds: int, is_told: bool) -> None:
        self.step("time passes")
        self.do(self._pass(seconds, is_told=is_told))

    @rule(seconds=st.sampled_from([50, 90, 200]), is_told=st.booleans())
    def much_time_passes(self, seconds: int, is_told: bool) -> None:
        self.step("much time passes")
        self.do(self._pass(seconds, is_told=is_told))

    @rule(is_forced=st.booleans())
    def extend(self, is_forced: bool) -> None:
        """Now, or as if the time had come for all."""
        self.step("extend")
        self.do(self._chore("next_extend_at", monitor.extend_due_calls, is_forced))

    @rule(is_forced=st.booleans())
    def sweep(self, is_forced: bool) -> None:
        self.step("sweep")
        self.do(self._chore("next_check_at", monitor.sweep_overdue_calls, is_forced))

    async def _chore(
        self, field: str, chore: Callable[[], Awaitable[object]], is_forced: bool
    ) -> None:
        if is_forced:
            where = {"user_id": self.user_id, field: {"$exists": True}}
            await db.calls.update_many(where, {"$set": {field: clock.now()}})
        await asyncio.gather(*(chore() for _ in range(2)))
        await self._looked()

    @rule(
        things=st.lists(st.integers(0, 8), min_size=2, max_size=6),
        dies=st.none() | st.sampled_from([0, 0.001, 0.002, 0.004, 0.006, 0.01]),
        dead_seconds=st.sampled_from([0, 0, 3, 70]),
    )
    def much_at_once(self, things: list[int], dies: float | None, dead_seconds: int) -> None:
        """Several things race, and perhaps the process dies in their middle."""
        self.step("much at once")
        work = [self._thing(number) for number in things]
        if dies is None:
            self.do(self._race(work))
        else:
            self.step("death")
            self.do(self._death(work, dies, dead_seconds))

    async def _race(self, work: list[Coroutine[Any, Any, Any]]) -> None:
        await asyncio.gather(*work)
        await self._looked()

    async def _death(
        self, work: list[Coroutine[Any, Any, Any]], after_seconds: float, dead_seconds: int
    ) -> None:
        self.complaint_lost |= set(self.network.lines)
        await self.world.dies_doing(work, after_seconds=after_seconds)
        await self._looked()
        if dead_seconds:
            for line in self.network.lines.values():  # nobody was there to hang it up
                line.is_excused |= self.network.is_hung_up_by_us and line.ended_at is None
            await self._pass(dead_seconds, is_alive=False)

    async def _thing(self, number: int) -> None:
        """One of the things that happen at once."""
        news = self.network.news
        match number:
            case 0:
                call_id = database.new_id("call")
                self.call_ids.append(call_id)
                await self._tried(self._place(call_id))
            case 1:
                await monitor.extend_due_calls()
            case 2:
                await monitor.sweep_overdue_calls()
            case 3:
                await self._tried(self._adjust("debit", 7_00))
            case 4:
                await self._tried(self._adjust("credit", 9_00))
            case 5 | 6 | 7 if news:  # a callback, and the same one again
                call_id, report = news[0] if number == 5 else news.pop(0)
                self.heard.append((call_id, report))
                await self._tried(lifecycle.apply_report(call_id, report, via=self.network.name))
            case 8 if self.network.lines:
                line = next(reversed(self.network.lines.values()))
                await self._tried(placing.hang_up_call(line.call_id))

    async def _pass(self, seconds: float, *, is_alive: bool = True, is_told: bool = False) -> None:
        """Let time pass, from one moment at which something is due to the next. With `is_told` the
        network calls back as things happen."""
        until = clock.after(seconds)
        due = await self._due() if is_alive else []
        if is_alive:
            await outbox.deliver_due()
        for _ in range(5_000):
            moments = [line.changes_at for line in self.network.lines.values()]
            to = min([m for m in moments if m is not None] + due + [until])
            self.time.now = max(self.time.now, to)
            self.network.look_at_the_clock()
            while is_told and self.network.news:
                await self._hears([self.network.news.pop(0)])
            if is_alive:
                await asyncio.gather(monitor.extend_due_calls(), monitor.sweep_overdue_calls())
                due = await self._due()
            if self.time.now >= until:
                return
        raise AssertionError("the chores do not come to rest")

    async def _due(self) -> list[dt.datetime]:
        """When the worker looks at each of the calls again: a little later than it is to."""
        soonest = clock.after(0.05)
        return [
            max(soonest, clock.after(WORKER_LATE_SECONDS, since=call[field]))
            for call in await self._looked()
            for field in ("next_extend_at", "next_check_at")
            if field in call
        ]

    # --- what must hold at every moment ---

    async def _looked(self) -> list[Call]:
        """The calls that are open; the wallet and they agree, and nothing is negative."""

        mine = {"user_id": self.user_id}
        where = mine | {"billing_status": {"$nin": ["settled", "released"]}}
        found, open_documents = await asyncio.gather(
            db.wallets.find_one(mine), db.calls.find(where).to_list(None)
        )
        assert found is not None
        open_calls = cast(list[Call], open_documents)
        for call_id, held_paise in found["holds"].items():
            self.reserved[call_id] = max(self.reserved[call_id], held_paise)
        facts = said(found, open_calls)
        assert found["holds"] == {c["_id"]: c["held_paise"] for c in open_calls}, facts
        held_paise = sum(found["holds"].values())
        assert 0 <= held_paise == found["held_paise"] <= found["balance_paise"], facts
        for call in open_calls:
            line = self.network.lines.get(call["_id"])
            limit_paise = pricing.cost_paise(call["limit_seconds"], pricing.rate_of(call))
            assert limit_paise <= call["held_paise"], facts
            # The network was told no more than is reserved, unless we hang up ourselves.
            if line is not None and not self.network.is_hung_up_by_us:
                assert line.limit_seconds <= call["limit_seconds"], said(call, line)
        if self.cap_paise is not None and self._all_kept_their_limits():
            await self._is_within_its_cap(self.cap_paise, open_calls)
        return open_calls

    async def _is_within_its_cap(self, cap_paise: int, open_calls: list[Call]) -> None:
        """What the calls of a day did cost and what the others hold is no more than it may be."""
        async for day in db.usage.find({"user_id": self.user_id}):
            held = [c for c in open_calls if c["counted_on"] == day["day"]]
            held_paise = sum(call["held_paise"] for call in held)
            assert day["spent_paise"] + held_paise <= cap_paise, said(day, held)

    # --- and in the end ---

    def finish(self) -> None:
        self.do(self._all_over())
        self.do(self._is_right())

    async def _all_over(self) -> None:
        """The faults are over, and so are all calls, by and by; what the network still had to say
        is heard or is lost."""
        self.network.faults.clear()
        if len(self.heard) % 2:
            for call_id, report in self.network.news:
                await lifecycle.apply_report(call_id, report, via=self.network.name)
        self.network.news.clear()
        await wallet.set_frozen(self.user_id, frozen=False, reason="test", by="me")
        for seconds in (300, 600, 1_200, 3_600, 7_200, 36_000):
            await self._pass(seconds)
            open_calls = await self._looked()
            if not open_calls:
                return
        raise AssertionError(f"these calls are never over: {open_calls}")

    async def _is_right(self) -> None:
        mine = {"user_id": self.user_id}
        found = {call["_id"]: call async for call in db.calls.find(mine)}
        assert set(self.network.lines) <= set(found) <= set(self.call_ids)
        costs_paise: Counter[str] = Counter()
        for call in found.values():
            self._call_is_right(cast(Call, call), self.network.lines.get(call["_id"]))
            costs_paise[call.get("counted_on") or ""] += call["cost_paise"]
        entries = await db.transactions.find(mine).to_list(None)
        charged = Counter(e["call_id"] for e in entries if e["category"] == "call_charge")
        assert set(charged.values()) <= {1}, charged
        ends = await db.events.find(mine | {"name": "CallEnded"}).to_list(None)
        assert Counter(end["data"]["call_id"] for end in ends) == Counter(found.keys())
        adjusted = {
            e["key"].removeprefix("adjust:"): e["amount_paise"]
            * (1 if e["type"] == "credit" else -1)
            for e in entries
            if e["category"] == "adjustment"
        }
        # What a dying process did not acknowledge may have been done.
        assert self.adjusted.items() <= adjusted.items(), said(self.adjusted, adjusted)
        state = await db.wallets.find_one(mine)
        assert state is not None
        assert (state["holds"], state["held_paise"]) == ({}, 0)
        net_paise = sum(adjusted.values()) - sum(costs_paise.values())
        assert state["balance_paise"] - state["due_paise"] == net_paise, said(
            state, adjusted, found
        )
        if self.cap_paise is not None and self._all_kept_their_limits():
            assert max(costs_paise.values(), default=0) <= self.cap_paise, said(costs_paise, found)
        report = await audit.audit(self.user_id)
        assert report.ok, said(report.violations)

    def _call_is_right(self, call: Call, line: Line | None) -> None:
        """It cost what the network says that it lasted, and no more than was reserved for it."""
        facts = said(call, line)
        cost_paise, duration = 0, 0
        if line is not None:
            assert call["status"] == line.status, facts
            duration = line.duration_seconds
            cost_paise = pricing.cost_paise(duration, pricing.rate_of(call))
        assert (call["duration_seconds"], call["cost_paise"]) == (duration, cost_paise), facts
        assert call["billing_status"] == ("settled" if cost_paise else "released"), facts
        limit_paise = pricing.cost_paise(call["limit_seconds"], pricing.rate_of(call))
        reserved_paise = max(self.reserved[call["_id"]], limit_paise)
        if line is None or not (line.overrun_seconds or line.is_excused):
            assert cost_paise <= reserved_paise, said(reserved_paise, call, line)
            assert call["due_paise"] == 0, facts
        logged = any(
            call["_id"] in text and "cost more than was reserved" in text
            for text in self.world.complaints.lines
        )
        # That a person has to look commits with the charge; a log line may be lost.
        assert (call["review_reason"] is not None) == (cost_paise > reserved_paise), facts
        if cost_paise > reserved_paise:
            assert str(call["review_reason"]).startswith("it cost "), facts
            assert logged or call["_id"] in self.complaint_lost, facts
            self.step("(cost more than was reserved)")
        else:
            assert not logged, said(reserved_paise, call, line)
        if call["due_paise"]:
            self.step("(left a due)")
        self.step(f"({call['billing_status']})")
        self.step("(more than a slice)" if call["limit_seconds"] > 60 else "(one slice)")

    def _all_kept_their_limits(self) -> bool:
        lines = self.network.lines.values()
        return not any(line.overrun_seconds or line.is_excused for line in lines)


WALLETS = st.fixed_dictionaries(
    {
        "rate": st.sampled_from(RATES),
        "rupees": st.sampled_from([15, 40, 100, 200, 400]),
        "cap_rupees": st.none() | st.integers(15, 60),
        "lasts": st.lists(LASTS, min_size=1, max_size=4),
    }
)


@pytest.mark.timeout(300 + STEPS_WANTED)
@pytest.mark.parametrize("world", list(KINDS), indirect=True)
async def test_any_sequence_of_events_leaves_every_call_paid_for_once_and_within_its_reservation(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    @settings(
        max_examples=max(1, math.ceil(STEPS_WANTED / len(KINDS) / STEPS)),
        deadline=None,
        database=None,
        phases=[Phase.generate],  # to shrink it takes minutes: the list of the steps is there
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    @given(WALLETS, st.lists(st.one_of(_steps), min_size=STEPS, max_size=STEPS))
    def anything_happens(wallet_drawn: dict[str, Any], steps: list[Step]) -> None:
        machine = Machine(world)
        machine.sign_up(**wallet_drawn)
        for name, arguments in steps:
            getattr(machine, name)(**arguments)
        machine.finish()

    began = time.monotonic()
    await asyncio.to_thread(anything_happens)
    steps = sum(count for what, count in world.told.items() if what[0] != "(")
    with capsys.disabled():
        print(
            f"\n{world.network.name}: {steps} steps in {time.monotonic() - began:.1f} s: "
            f"{dict(world.told.most_common())}; the network was asked {dict(world.network.asked)}"
        )
    assert steps >= STEPS_WANTED / len(KINDS) / 2
