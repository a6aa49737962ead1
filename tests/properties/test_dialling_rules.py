"""Whatever happens while campaigns run, nobody is dialled when, or more often than, the rules allow.

The real dispatcher, the check of campaigns, the outbox and the monitor work in a moved time with a
network of the test. What is dialled is judged by a plain model of the rules, which is written here
and asks nothing of the product's own. In CI a few runs; many, or one again:

    DIALLING_RUNS=200 .venv/bin/python -m pytest tests/properties/test_dialling_rules.py -s
    DIALLING_RUNS=1 DIALLING_SEED=17 .venv/bin/python -m pytest tests/properties/test_dialling_rules.py -s
"""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import os
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from typing import Any, cast
from zoneinfo import ZoneInfo

import pytest
from ulid import ULID

import wallet
import worker
from calls import lifecycle, monitor
from calls.placing import CallSpec
from campaigns import contacts, creation, dispatcher, records
from campaigns.contact_import import ContactChunk
from campaigns.options import OptionFields
from compliance import calling_hours, do_not_call
from core import clock, config, database, outbox
from core.database import db
from core.errors import Problem
from reporting import audit
from telephony import Ambiguous, Dial, NotSent, Refused, network_health, registry
from tests.support import calls as calling
from tests.support import databases
from tests.support.fake_provider import KINDS, Line, Talks, Time
from tests.support.service import test_settings as settings_of_tests

RUNS = int(os.environ.get("DIALLING_RUNS", "2"))
SEED = int(os.environ.get("DIALLING_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
STEPS = 30
IST = ZoneInfo("Asia/Kolkata")
ZONES = ("Asia/Kolkata", "Asia/Kolkata", "America/New_York", "Europe/London", "Asia/Kathmandu")
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
RING_SECONDS = 60
GAP_MINUTES, DAY_CALLS, WEEK_CALLS = 60, 3, 6
PAISE_A_MINUTE = 10_00
DAYS_TO_THE_END = 60
# A window of five minutes is not slept through.
STEP_SECONDS_MAX = 120.0
# What the service does later by itself, and when.
DUE = (
    ("campaigns", "look_at"),
    ("calls", "next_check_at"),
    ("events", "due_at"),
    ("contacts", "lease_until"),
)

Hours = dict[str, tuple[str, str]]
HOURS: Hours = {
    "promotional": ("10:00", "21:00"),
    "service": ("09:00", "21:00"),
    "transactional": ("09:00", "21:00"),
    "collection": ("08:00", "19:00"),
}


# --- the rules, once more -------------------------------------------------------------------------


@dataclasses.dataclass
class Platform:
    """The platform's hours and holidays at one moment."""

    hours: Hours
    holidays: frozenset[str]

    def is_open(self, purpose: str, at: dt.datetime) -> bool:
        local = at.astimezone(IST)
        start, end = self.hours[purpose]
        return start <= f"{local:%H:%M}" < end and f"{local:%Y-%m-%d}" not in self.holidays


@dataclasses.dataclass
class Plan:
    """A campaign as the model knows it."""

    id: str
    user_id: str
    purpose: str
    window: dict[str, Any] | None
    attempts_max: int
    delays: dict[str, list[int]]
    end_at: dt.datetime | None
    budget_paise: int | None
    numbers: list[str]
    frozen: Platform
    stopped: str | None = None  # why nobody may be dialled, since that was answered
    asked: set[str] = dataclasses.field(default_factory=set)  # calls of that moment

    def is_open(self, at: dt.datetime) -> bool:
        if self.window is None:
            return True
        local = at.astimezone(ZoneInfo(self.window["timezone"]))
        is_day = DAYS[local.weekday()] in self.window["days"]
        return is_day and self.window["start"] <= f"{local:%H:%M}" < self.window["end"]


@dataclasses.dataclass
class Dialled:
    """A call that the network has taken."""

    user_id: str
    number: str
    campaign_id: str | None
    line: Line

    @property
    def at(self) -> dt.datetime:
        return self.line.placed_at

    @property
    def cause(self) -> str | None:
        """How it ended, if it may be repeated then."""
        if self.line.answered_at is not None:
            return "machine" if self.line.answered_by == "machine" else None
        return self.line.status


class Model:
    """What may be dialled, and what was."""

    def __init__(self) -> None:
        self.platform = Platform(HOURS, frozenset())
        self.plans: dict[str, Plan] = {}
        self.listed: dict[str, set[str]] = {}  # by owner
        self.asked: set[tuple[str, str]] = set()  # calls of the moment at which a number was listed
        self.dialled: list[Dialled] = []

    def wrong(self, call: dict[str, Any], at: dt.datetime) -> list[str]:
        """What is against the rules when the network is asked for this call now."""
        user_id, number = call["user_id"], call["to"]
        plan = self.plans.get(call["campaign_id"] or "")
        owners = [o for o in (user_id, "platform") if number in self.listed.get(o, ())]
        found = [f"on the list of {o}" for o in owners if (call["_id"], number) not in self.asked]
        if plan is None:
            return found
        if plan.stopped and call["_id"] not in plan.asked:
            found.append(f"the campaign was {plan.stopped}")
        if plan.end_at is not None and at >= plan.end_at:
            found.append("the campaign has ended")
        for seconds in (0, 20, 40, RING_SECONDS - 0.001):
            moment = at + dt.timedelta(seconds=seconds)
            for hours in (self.platform, plan.frozen):
                if not hours.is_open(plan.purpose, moment):
                    found.append(f"outside the hours, {seconds} s later")
            if not plan.is_open(moment):
                found.append(f"outside the window, {seconds} s later")
        return found + self._limits(user_id, number, at) + self._retries(plan, number, at)

    def _limits(self, user_id: str, number: str, at: dt.datetime) -> list[str]:
        hers = [d for d in self.dialled if (d.user_id, d.number) == (user_id, number)]
        today = at.astimezone(IST).date()
        days = [(today - d.at.astimezone(IST).date()).days for d in hers]
        found = []
        if any(d.line.ended_at is None for d in hers):
            found.append("twice at once")
        ends = [d.line.ended_at or d.at for d in hers]
        if ends and at - max(ends) < dt.timedelta(minutes=GAP_MINUTES):
            found.append("within the gap")
        if days.count(0) >= DAY_CALLS:
            found.append("too often in a day")
        if sum(day < 7 for day in days) >= WEEK_CALLS:
            found.append("too often in a week")
        return found

    def _retries(self, plan: Plan, number: str, at: dt.datetime) -> list[str]:
        before = self.attempts_of(plan, number)
        if not before:
            return []
        causes = [d.cause for d in before]
        last = causes[-1]
        if len(before) >= plan.attempts_max:
            return ["more often than its budget of attempts"]
        delays = plan.delays.get(last or "", [])
        if not delays:
            return [f"again after {last or 'an answer'}"]
        minutes = delays[min(causes.count(last), len(delays)) - 1]
        ended_at = before[-1].line.ended_at
        if ended_at is None or at < ended_at + dt.timedelta(minutes=minutes):
            return [f"again within {minutes} minutes after {last}"]
        return []

    def attempts_of(self, plan: Plan, number: str) -> list[Dialled]:
        """The calls of a contact that the network has taken, the oldest first."""
        return [d for d in self.dialled if (d.campaign_id, d.number) == (plan.id, number)]

    def edges(self, at: dt.datetime) -> list[dt.datetime]:
        """Moments ahead at which a rule changes its answer."""
        today = at.astimezone(IST).date()
        found = [dt.datetime.combine(today + dt.timedelta(days=1), dt.time(), IST)]
        for plan in self.plans.values():
            spans = [(IST, *self.platform.hours[plan.purpose])]
            if plan.window is not None:
                zone = ZoneInfo(plan.window["timezone"])
                spans.append((zone, plan.window["start"], plan.window["end"]))
            for zone, *times in spans:
                for text in times:
                    clock_time = dt.time.fromisoformat(text) if text != "24:00" else dt.time()
                    for days in (0, 1):
                        day = at.astimezone(zone).date() + dt.timedelta(days=days)
                        found.append(dt.datetime.combine(day, clock_time, zone))
            if plan.end_at is not None:
                found.append(plan.end_at)
        for dialled in self.dialled[-3:]:
            if dialled.line.ended_at is not None:
                found.append(dialled.line.ended_at + dt.timedelta(minutes=GAP_MINUTES))
        return [moment.astimezone(dt.UTC) for moment in found if moment > at]


# --- the network, and time ------------------------------------------------------------------------


class Network(Talks):
    """It tells the model of every request, and has outages."""

    def __init__(self) -> None:
        super().__init__("extends")
        self.name = "talks-rules"
        self.can = dataclasses.replace(KINDS["extends"], can_detect_machines=True)
        self.random = random.Random(0)
        self.outage = ""
        self.model = Model()
        self.wrong: list[str] = []

    def _behaviour(self) -> dict[str, Any]:
        """What the person does who is called."""
        match self.random.choice(("answers", "answers", "machine", "busy", "no_answer", "failed")):
            case "answers":
                return {"would_last_seconds": self.random.randint(1, 58)}
            case "machine":
                return {"would_last_seconds": self.random.randint(1, 20), "answered_by": "machine"}
            case ends:
                return {"picked_up_after_seconds": None, "unanswered": ends}
        raise AssertionError

    async def place(self, dial: Dial) -> str:
        found = await db.calls.find_one({"_id": dial.call_id})
        assert found is not None
        at = clock.now()
        self.wrong += [f"{dial.to} at {at}: {why} ({found})" for why in self.model.wrong(found, at)]
        if self.outage == "account":
            raise Refused("provider_out_of_credit")
        if self.outage == "busy" and self.random.random() < 0.5:
            raise NotSent("provider_busy")
        if self.outage == "number" and self.random.random() < 0.3:
            raise Refused("provider_refused")
        if self.outage == "unreachable":
            raise NotSent("provider_unreachable")
        if self.outage == "502" and self.random.random() < 0.5:
            raise Ambiguous("502")
        self.next = self._behaviour()
        self.faults["place"] = "answer lost" if self.outage == "502" else ""
        try:
            return await super().place(dial)
        finally:
            if (line := self.lines.get(dial.call_id)) is not None:
                mine = Dialled(found["user_id"], dial.to, found["campaign_id"], line)
                self.model.dialled.append(mine)


class Sleeps:
    """asyncio for the dispatcher, which sleeps in the moved time."""

    def __init__(self) -> None:
        self.waiting: list[tuple[dt.datetime, asyncio.Future[None]]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append((clock.after(seconds), future))
        await future

    def wake(self) -> None:
        due = [f for at, f in self.waiting if at <= clock.now()]
        self.waiting = [(at, f) for at, f in self.waiting if at > clock.now() and not f.done()]
        for future in due:
            if not future.done():
                future.set_result(None)


def _new_id(kind: str) -> str:
    return f"{kind}_{ULID.from_datetime(clock.now())}"


class World:
    """The parts of the service that dial, in this process and in a time of its own."""

    def __init__(self, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.time, self.network, self.sleeps = Time(), Network(), Sleeps()
        self.monkeypatch = monkeypatch
        chosen = settings_of_tests(
            uri,
            calling_hours="on",
            contact_gap_minutes=GAP_MINUTES,
            contact_calls_per_day=DAY_CALLS,
            contact_calls_per_week=WEEK_CALLS,
        )
        name = databases.take(uri, chosen.mongodb_db)
        changes = {"mongodb_db": name, f"{self.network.name}_base_url": "http://127.0.0.1"}
        changes["telephony_provider"] = self.network.name
        self.settings = chosen.model_copy(update=changes)

    async def start(self) -> None:
        self.monkeypatch.setattr(clock, "now", self.time.ask)
        self.monkeypatch.setattr(dispatcher, "asyncio", self.sleeps)
        # How old a call is, is read from its id.
        self.monkeypatch.setattr(database, "new_id", _new_id)
        self.monkeypatch.setitem(registry._providers, self.network.name, self.network)
        config.use(self.settings)
        await database.connect(self.settings.mongodb_uri, self.settings.mongodb_db)
        await database.prepare()
        await wallet.start()
        worker.register_handlers()

    async def stop(self) -> None:
        for task in [*dispatcher._placing, *dispatcher._wakes.values()]:
            task.cancel()
        dispatcher._placing.clear()
        dispatcher._wakes.clear()
        await wallet.stop()
        await database.close()
        config.use(None)
        await databases.give_back(self.settings.mongodb_uri, self.settings.mongodb_db)


@pytest.fixture
async def world(mongodb_uri: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    world = World(mongodb_uri, monkeypatch)
    await world.start()
    yield world
    await world.stop()


# --- what happens ---------------------------------------------------------------------------------


class Run:
    """Two users, their campaigns, and what happens to them, drawn from one seed."""

    def __init__(self, world: World, seed: int) -> None:
        self.world, self.network, self.time = world, world.network, world.time
        self.random, self.seed = random.Random(seed), seed
        self.model = self.network.model = Model()
        self.network.begin_anew()
        self.network.random, self.network.outage = self.random, ""
        self.steps: list[str] = []
        self.users = [database.new_id("usr") for _ in range(2)]
        area = seed % 1000
        self.numbers = [f"+9198{area:03}{i:05}" for i in range(7)]

    def told(self, *more: object) -> str:
        lines = [f"DIALLING_SEED={self.seed}", *self.steps, *map(str, more)]
        return "\n".join(lines)

    async def begin(self) -> None:
        self.time.now += dt.timedelta(minutes=self.random.randrange(7 * 24 * 60))
        for user_id in self.users:
            facts = {"email": user_id, "email_key": user_id, "role": "user", "epoch": 0}
            facts |= {"name": "Asha", "phone": None, "password_hash": "", "kept_session_id": None}
            await db.users.insert_one({"_id": user_id, "created_at": clock.now(), **facts})
            await self._credit(user_id, self.random.choice((30, 100, 400)))
        await self._set_platform(HOURS, frozenset())
        for _ in range(2):
            await self.create()

    async def _credit(self, user_id: str, rupees: int, kind: Any = "credit") -> None:
        seed = database.new_id("seed")
        amount_paise = rupees * 100
        await wallet.adjust(
            user_id, kind=kind, amount_paise=amount_paise, reason="test", by="me", seed=seed
        )

    async def _set_platform(self, hours: Hours, holidays: frozenset[str]) -> None:
        version = (await calling_hours.get_platform_hours())["_id"]
        given = {name: {"start": start, "end": end} for name, (start, end) in hours.items()}
        days = [{"date": d, "name": "", "purposes": list(HOURS)} for d in sorted(holidays)]
        await calling_hours.create_platform_hours(
            hours=cast(Any, given), holidays=cast(Any, days), note="", based_on=version, by="me"
        )
        self.model.platform = Platform(dict(hours), holidays)

    # --- campaigns ---

    def _window(self) -> dict[str, Any] | None:
        if self.random.random() < 0.4:
            return None
        start = self.random.randrange(0, 23 * 60)
        end = min(24 * 60, start + self.random.choice((5, 30, 120, 600, 1440)))
        texts = [f"{minutes // 60:02}:{minutes % 60:02}" for minutes in (start, end)]
        days = self.random.sample(DAYS, self.random.choice((1, 3, 7, 7)))
        zone = self.random.choice(ZONES)
        return {"days": days, "start": texts[0], "end": texts[1], "timezone": zone}

    async def create(self) -> None:
        pick = self.random.choice
        minutes = (0, 1, 15, 60, 240)
        delays = {
            cause: [pick(minutes) for _ in range(self.random.randint(1, 2))]
            for cause in ("busy", "no_answer", "failed", "machine")
            if self.random.random() < 0.8
        }
        hours_to_end = pick((None, None, 2, 30, 100))
        plan = Plan(
            id=database.new_id("cmp"),
            user_id=pick(self.users),
            purpose=pick(("service", "service", "transactional")),
            window=self._window(),
            attempts_max=pick((1, 2, 3, 5)),
            delays=delays,
            end_at=None if hours_to_end is None else clock.after(hours_to_end * 3600),
            budget_paise=pick((None, None, 15_00, 40_00)),
            numbers=self.random.sample(self.numbers, self.random.randint(1, 5)),
            frozen=self.model.platform,
        )
        stored = {
            "purpose": plan.purpose,
            "window": plan.window,
            "retry": {"max_attempts": plan.attempts_max, "delays_minutes": delays},
            "budget_paise": plan.budget_paise,
            "end_at": plan.end_at,
        }
        wanted = creation.CampaignPlan(
            name=plan.id,
            spec=CallSpec(machine_detection="report"),
            max_concurrent=pick((1, 2, 10)),
            calls_per_minute=pick((None, None, 6)),
            options=cast(OptionFields, stored),
        )
        self.model.plans[plan.id] = plan
        try:
            planned = creation.plan_campaign(plan.id, plan.user_id, wanted)
            await creation.create_campaign(planned, _list_of(plan.numbers))
        except Problem as refusal:
            del self.model.plans[plan.id]
            self.steps.append(f"  refused: {refusal.code} {refusal}")
        else:
            listed = self.model.listed
            plan.numbers = [  # the others are refused when the list comes in
                number
                for number in plan.numbers
                if number not in listed.get(plan.user_id, set()) | listed.get("platform", set())
            ]
            self.steps.append(f"  {plan}")

    def _plan(self) -> Plan | None:
        plans = [p for p in self.model.plans.values() if p.stopped != "canceled"]
        return self.random.choice(plans) if plans else None

    async def _stop(self, plan: Plan, verb: str) -> None:
        campaign = await records.get_campaign(plan.id)
        try:
            if verb == "paused":
                await records.pause_campaign(campaign)
            else:
                await records.cancel_campaign(campaign)
        except records.InvalidTransition:
            return
        # Whom the network was being asked for at that moment is called.
        live = {"campaign_id": plan.id, "state": "in_call"}
        plan.stopped = verb
        plan.asked = {c["call_id"] async for c in db.contacts.find(live, {"call_id": 1})}

    async def pause(self) -> None:
        if (plan := self._plan()) is not None:
            await self._stop(plan, "paused")

    async def cancel(self) -> None:
        if self.random.random() < 0.3 and (plan := self._plan()) is not None:
            await self._stop(plan, "canceled")

    async def resume(self) -> None:
        paused = [p for p in self.model.plans.values() if p.stopped == "paused"]
        if paused:
            await self._resume(self.random.choice(paused))

    async def _resume(self, plan: Plan) -> None:
        before, plan.stopped = plan.stopped, None
        try:
            await records.resume_campaign(await records.get_campaign(plan.id))
        except Problem as refusal:
            plan.stopped = before
            self.steps.append(f"  refused: {refusal.code}")

    # --- money, lists, hours, networks ---

    async def recharge(self) -> None:
        await self._credit(self.random.choice(self.users), self.random.choice((5, 20, 200)))

    async def drain(self) -> None:
        user_id = self.random.choice(self.users)
        with contextlib.suppress(Problem):
            await self._credit(user_id, self.random.choice((10, 50)), "debit")

    async def list_number(self) -> None:
        owner = self.random.choice([*self.users, *self.users, "platform"])
        number = self.random.choice(self.numbers)
        await do_not_call.add_numbers(owner, [number], source="manual", by="me")
        self.model.listed.setdefault(owner, set()).add(number)
        live = {"to": number, "state": {"$in": ["claimed", "in_call"]}}
        async for contact in db.contacts.find(live, {"call_id": 1}):
            self.model.asked.add((contact["call_id"], number))

    async def single_call(self) -> None:
        user_id, number = self.random.choice(self.users), self.random.choice(self.numbers)
        with contextlib.suppress(Problem):
            await calling.reserve_and_submit(user_id, call_id=database.new_id("call"), to=number)

    async def change_hours(self) -> None:
        hours = dict(HOURS)
        if self.random.random() < 0.5:
            hours["service"] = self.random.choice((("10:00", "18:00"), ("08:00", "20:30")))
        today = clock.ist_date(clock.now())
        days = {str(today + dt.timedelta(days=self.random.randint(0, 3))) for _ in range(2)}
        await self._set_platform(hours, frozenset(days if self.random.random() < 0.5 else ()))

    async def outage(self) -> None:
        kinds = ("", "", "account", "busy", "number", "unreachable", "502")
        self.network.outage = self.random.choice(kinds)
        self.steps.append(f"  {self.network.outage or 'none'}")

    async def repeat_events(self) -> None:
        """What was delivered is delivered again."""
        where = {"user_id": {"$in": self.users}, "name": {"$in": list(worker.HANDLERS)}}
        found = await db.events.find(where | {"state": "done"}).to_list(None)
        for event in self.random.sample(found, min(5, len(found))):
            for handler in worker.HANDLERS[event["name"]][1]:
                await handler(cast(outbox.Event, event))

    async def race(self) -> None:
        """Somebody stops a campaign, lists a number or recharges while calls are being placed."""
        for plan in self.model.plans.values():
            if plan.stopped is None:
                await records.wake_campaign(plan.id, plan.user_id)
        doing = [self.pause, self.list_number, self.recharge, self.single_call, self.cancel]
        await asyncio.gather(
            self._dispatched(), *(do() for do in self.random.sample(doing, 2)), self._checked()
        )
        await self._settled()

    # --- time ---

    async def pass_time(self) -> None:
        await self._pass(clock.after(self.random.choice((5, 40, 200, 1_000, 4_000, 30_000))))

    async def pass_to_an_edge(self) -> None:
        edges = [at for at in self.model.edges(clock.now()) if at < clock.after(86_400)]
        if edges:
            early = self.random.choice((-90, -61, -60, -59, -30, -1, 0, 0, 1, 30))
            at = self.random.choice(edges) + dt.timedelta(seconds=early)
            await self._pass(max(at, clock.now()))

    async def _pass(self, until: dt.datetime) -> None:
        step_seconds = 1.0
        for _ in range(5_000):
            known = len(self.model.dialled) + sum(
                line.ended_at is not None for line in self.network.lines.values()
            )
            await self._tick()
            again = len(self.model.dialled) + sum(
                line.ended_at is not None for line in self.network.lines.values()
            )
            if clock.now() >= until:
                return
            step_seconds = 1.0 if again != known else step_seconds * 2
            self.time.now = min(until, await self._next(step_seconds))
        raise AssertionError(self.told("it does not come to rest"))

    async def _next(self, step_seconds: float) -> dt.datetime:
        """The next moment at which something may happen: soon, or when nothing is on its way, later."""
        moments = [line.changes_at for line in self.network.lines.values()]
        moments += [at for at, _ in self.world.sleeps.waiting]
        soon = clock.after(min(step_seconds, STEP_SECONDS_MAX))
        if any(at is not None for at in moments) or step_seconds < STEP_SECONDS_MAX:
            return max(clock.after(0.05), min([soon, *(at for at in moments if at is not None)]))
        due = [await self._first_due(name, field) for name, field in DUE]
        return max(soon, min([at for at in due if at is not None], default=clock.after(86_400)))

    async def _first_due(self, name: str, field: str) -> dt.datetime | None:
        where = {field: {"$type": "date"}}
        first = await db[name].find_one(where, {field: 1}, sort=[(field, 1)])
        return None if first is None else cast(dt.datetime, first[field])

    async def _tick(self) -> None:
        """Everything that is due now is done."""
        network_health._cached.clear()
        calling_hours._forget()
        self.world.sleeps.wake()
        self.network.look_at_the_clock()
        news, self.network.news = self.network.news, []
        for call_id, report in news:
            for _ in range(self.random.choice((0, 1, 1, 1, 1, 2))):
                await lifecycle.apply_report(call_id, report, via=self.network.name)
        await asyncio.gather(
            monitor.extend_due_calls(), monitor.sweep_overdue_calls(), outbox.deliver_due()
        )
        await self._checked()
        await self._dispatched()
        await self._settled()
        await self._holds()

    async def _checked(self) -> None:
        await dispatcher.check_due_campaigns()

    async def _dispatched(self) -> None:
        await dispatcher.dispatch()

    async def _settled(self) -> None:
        while dispatcher._placing:
            await asyncio.wait(dispatcher._placing)
            dispatcher._placing.difference_update([t for t in dispatcher._placing if t.done()])
        assert not self.network.wrong, self.told(*self.network.wrong)

    async def _holds(self) -> None:
        """What is reserved is what the open calls hold, and no budget is exceeded."""
        for state in await db.wallets.find({"user_id": {"$in": self.users}}).to_list(None):
            held_paise = sum(state["holds"].values())
            assert held_paise == state["held_paise"] <= state["balance_paise"], self.told(state)
        for plan in self.model.plans.values():
            if plan.budget_paise is None:
                continue
            calls = await db.calls.find({"campaign_id": plan.id}).to_list(None)
            used_paise = sum(
                call["cost_paise" if _is_resolved(call) else "held_paise"] for call in calls
            )
            assert used_paise <= plan.budget_paise, self.told(plan, used_paise, *calls)

    # --- and in the end ---

    async def finish(self) -> None:
        """The network is well, there is money, and time passes until nobody is left who can be called."""
        self.steps.append("finish")
        self.network.outage = ""
        await self._set_platform(HOURS, frozenset())
        for user_id in self.users:
            await self._credit(user_id, 2_000)
        for plan in self.model.plans.values():
            if plan.stopped == "paused" and self.random.random() < 0.7:
                await self._resume(plan)
        for _ in range(DAYS_TO_THE_END):
            await self._pass(clock.after(86_400))
            if not await self._left():
                break
        await self._is_right()
        for plan in self.model.plans.values():  # the next run has the dispatcher for itself
            if plan.stopped == "paused":
                await self._stop(plan, "canceled")

    async def _left(self) -> list[dict[str, Any]]:
        """The contacts without a result, but for those of campaigns that wait for their owner."""
        waits = {"status": "paused", "pause_reason": {"$in": ["user", "budget", "window"]}}
        ids = list(self.model.plans)
        paused = [c["_id"] async for c in db.campaigns.find({"_id": {"$in": ids}} | waits)]
        running = [i for i in ids if i not in paused]
        final = {"campaign_id": {"$in": running}, "state": {"$nin": list(contacts.FINAL)}}
        open_calls = {"user_id": {"$in": self.users}}
        open_calls |= {"billing_status": {"$nin": ["settled", "released"]}}
        found = await db.contacts.find(final).to_list(None)
        return found + await db.calls.find(open_calls).to_list(None)

    async def _is_right(self) -> None:
        left = await self._left()
        campaigns = await db.campaigns.find({"_id": {"$in": list(self.model.plans)}}).to_list(None)
        assert not left, self.told(*left, *campaigns)
        for campaign in campaigns:
            await self._campaign_is_right(campaign)
        calls = await db.calls.find({"user_id": {"$in": self.users}}).to_list(None)
        lines = self.network.lines
        assert set(lines) <= {call["_id"] for call in calls}, self.told()
        for call in calls:
            line = lines.get(call["_id"])
            seconds = 0 if line is None else line.duration_seconds
            cost_paise = _cost_paise(seconds)
            facts = self.told(call, line)
            assert (call["duration_seconds"], call["cost_paise"]) == (seconds, cost_paise), facts
            assert line is None or call["status"] == line.status, facts
        for user_id in self.users:
            mine = {"user_id": user_id}
            state = await db.wallets.find_one(mine)
            assert state is not None
            assert (state["holds"], state["held_paise"]) == ({}, 0), self.told(state)
            entries = await db.transactions.find(mine | {"category": "call_charge"}).to_list(None)
            charged_paise = sum(entry["amount_paise"] for entry in entries)
            spent_paise = sum(c["cost_paise"] for c in calls if c["user_id"] == user_id)
            assert charged_paise == spent_paise, self.told(charged_paise, spent_paise)
            report = await audit.audit(user_id)
            assert report.ok, self.told(report.violations)

    async def _campaign_is_right(self, campaign: dict[str, Any]) -> None:
        plan = self.model.plans[campaign["_id"]]
        people = await db.contacts.find({"campaign_id": plan.id}).to_list(None)
        facts = self.told(campaign, *people)
        assert sorted(p["to"] for p in people) == sorted(plan.numbers), facts
        kept, counted = await contacts.verify_counts(plan.id)
        assert kept == counted, facts
        if campaign["status"] == "paused":
            assert await dispatcher.get_waiting_for(cast(Any, campaign)) is not None, facts
        else:
            assert campaign["status"] in ("completed", "canceled"), facts
        for person in people:
            self._contact_is_right(plan, person)

    def _contact_is_right(self, plan: Plan, person: dict[str, Any]) -> None:
        """It has the result of its last call, and costs what its calls cost."""
        attempts = self.model.attempts_of(plan, person["to"])
        facts = self.told(person, plan, *attempts)
        seconds = [d.line.duration_seconds for d in attempts]
        cost_paise = sum(map(_cost_paise, seconds))
        assert person["cost_paise"] == cost_paise, facts
        answered = [d for d in attempts if d.cause is None]
        is_answered = (person["state"], person.get("answered_by") != "machine") == ("done", True)
        is_answered = is_answered and person["disposition"] == "answered"
        assert is_answered == bool(answered), facts
        if person["state"] in ("done", "exhausted"):
            assert person["attempts"] >= len(attempts), facts


def _is_resolved(call: dict[str, Any]) -> bool:
    """Whether nothing is reserved for it any more."""
    return call["billing_status"] in ("settled", "released")


def _cost_paise(seconds: int) -> int:
    """Half a paisa is rounded up."""
    return (2 * seconds * PAISE_A_MINUTE + 60) // 120


async def _list_of(numbers: list[str]) -> AsyncGenerator[ContactChunk, None]:
    yield ContactChunk(usable=list(enumerate(numbers, 1)))


STEPS_WEIGHTED = {
    "pass_time": 8,
    "pass_to_an_edge": 8,
    "create": 3,
    "single_call": 3,
    "race": 4,
    "pause": 2,
    "resume": 3,
    "cancel": 1,
    "recharge": 2,
    "drain": 2,
    "list_number": 2,
    "change_hours": 1,
    "outage": 3,
    "repeat_events": 2,
}


@pytest.mark.timeout(120 + 60 * RUNS)
async def test_nobody_is_dialled_against_the_rules_and_nobody_is_lost(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    told: Counter[str] = Counter()
    began = time.process_time()
    for seed in range(SEED, SEED + RUNS):
        run = Run(world, seed)
        try:
            await run.begin()
            names, weights = list(STEPS_WEIGHTED), list(STEPS_WEIGHTED.values())
            for name in run.random.choices(names, weights, k=STEPS):
                run.steps.append(f"{clock.iso(clock.now())} {name}")
                told[name] += 1
                step: Awaitable[None] = getattr(run, name)()
                await step
                await run._tick()
            await run.finish()
        except Exception as problem:
            problem.add_note(f"DIALLING_SEED={seed}")
            raise
        told["(dialled)"] += len(run.model.dialled)
        told["(campaigns)"] += len(run.model.plans)
    with capsys.disabled():
        print(f"\nseed {SEED}, {RUNS} runs: {time.process_time() - began:.1f} s: {dict(told)}")
    assert told["(dialled)"] >= RUNS
