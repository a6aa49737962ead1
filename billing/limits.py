"""Call limits of a user: calls at once, a minute and a day, the day's spend cap, and budgets."""

import asyncio
import dataclasses
import datetime as dt
import math
import random
from collections.abc import Callable
from typing import Any, Final, NotRequired, TypedDict, TypeVar, cast

import users
from core import clock, config, database, money
from core.database import Document, Index, db
from core.errors import BudgetReached, Problem, SpendCapReached, TooManyCalls, Unavailable, invalid
from users import OwnLimits, User

T = TypeVar("T")


# --- vocabulary ---------------------------------------------------------------------------------

_KEPT_DAYS: Final = 40
# In place of the day: what counts for the budget of a campaign counts for as long as it is there.
_BUDGET: Final = "budget"
_ATTEMPTS_MAX: Final = 50


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The call limits of one user; None is no limit."""

    concurrent_calls: int
    calls_per_minute: int | None = None
    calls_per_day: int | None = None
    spend_cap_paise: int | None = None

    @property
    def are_counted(self) -> bool:
        """Whether any of them needs the calls or the money of the day."""
        limits = (self.calls_per_minute, self.calls_per_day, self.spend_cap_paise)
        return any(limit is not None for limit in limits)


@dataclasses.dataclass(frozen=True, slots=True)
class SpendingKey:
    """An API key with which a call is placed, and what its calls may cost a day (None: no cap).

    Its day is counted as a user's is, under the key's id instead of the user's.
    """

    id: str
    spend_cap_paise: int | None

    @property
    def limits(self) -> Limits:
        """The cap as limits; the number of calls is limited for the user, not for the key."""
        return Limits(concurrent_calls=0, spend_cap_paise=self.spend_cap_paise)


@dataclasses.dataclass(frozen=True, slots=True)
class CampaignBudget:
    """What the calls of a campaign may cost in all; it is counted as a day is, under the campaign's
    id, and never ends."""

    campaign_id: str
    budget_paise: int


@dataclasses.dataclass(slots=True, kw_only=True)
class Day:
    """The calls and the spending of a user (or an API key) on a day in India: that on which a call
    was placed; or those of a campaign that has a budget.

    `held` is what is reserved of the cap for each running call, `spent_paise` what the ended ones
    cost. `budget_paise` is the budget that was set last, whatever a process remembers.
    """

    calls: int = 0
    minute: dt.datetime | None = None
    minute_calls: int = 0
    spent_paise: int = 0
    held: dict[str, int] = dataclasses.field(default_factory=dict)
    budget_paise: int | None = None

    @property
    def held_paise(self) -> int:
        """What is reserved of the day's cap."""
        return sum(self.held.values())


class UsageDay(TypedDict):
    """A document of `usage`: a `Day` as it is stored, with its version."""

    _id: str
    user_id: str
    day: str  # the date in India, YYYY-MM-DD; `budget` where a budget is counted
    calls: int
    minute: dt.datetime | None
    minute_calls: int
    spent_paise: int
    held: dict[str, int]
    version: int
    expires_at: dt.datetime | None
    budget_paise: NotRequired[int | None]


# --- rules, without a database ------------------------------------------------------------------


def reserve(
    day: Day,
    limits: Limits,
    *,
    call_id: str,
    amount_paise: int,
    amount_paise_min: int,
    at: dt.datetime,
) -> int:
    """Count a call and reserve up to `amount_paise` of the day's cap for it, at least the minimum;
    what was reserved. Raises TooManyCalls and SpendCapReached; then nothing was counted."""
    minute = at.replace(second=0, microsecond=0)
    in_minute = day.minute_calls if day.minute == minute else 0
    if limits.calls_per_minute is not None and in_minute >= limits.calls_per_minute:
        ends_at = minute + dt.timedelta(minutes=1)
        raise _too_many("calls_per_minute", limits.calls_per_minute, "this minute", ends_at, at)
    if limits.calls_per_day is not None and day.calls >= limits.calls_per_day:
        raise _too_many("calls_per_day", limits.calls_per_day, "today", _resets_at(at), at)
    if limits.spend_cap_paise is not None:
        amount_paise = _granted(day, limits.spend_cap_paise, amount_paise, amount_paise_min, at)
        day.held[call_id] = amount_paise
    day.calls += 1
    day.minute, day.minute_calls = minute, in_minute + 1
    return amount_paise


def cancel(day: Day, *, call_id: str, at: dt.datetime) -> None:
    """Undo a `reserve` of the moment `at`, because the wallet refused the call."""
    day.held.pop(call_id, None)
    day.calls = max(0, day.calls - 1)
    if day.minute == at.replace(second=0, microsecond=0):
        day.minute_calls = max(0, day.minute_calls - 1)


def extend(
    day: Day,
    cap_paise: int,
    *,
    call_id: str,
    amount_paise: int,
    amount_paise_min: int,
    at: dt.datetime,
) -> int:
    """Reserve `amount_paise` in all for a running call, or what the cap leaves of it; what is
    reserved now. Raises SpendCapReached when that is less than the minimum."""
    before_paise = day.held.get(call_id, 0)
    more_paise = max(0, amount_paise - before_paise)
    if more_paise:
        least_paise = max(0, amount_paise_min - before_paise)
        more_paise = _granted(day, cap_paise, more_paise, least_paise, at)
    day.held[call_id] = before_paise + more_paise
    return before_paise + more_paise


def settle(day: Day, *, call_id: str, cost_paise: int) -> None:
    """Replace what was reserved for a call by what it cost; harmless when repeated."""
    if day.held.pop(call_id, None) is not None:
        day.spent_paise += cost_paise


def _granted(
    day: Day, cap_paise: int, amount_paise: int, amount_paise_min: int, at: dt.datetime
) -> int:
    left_paise = cap_paise - day.spent_paise - day.held_paise
    if left_paise < max(1, amount_paise_min):
        resets_at = _resets_at(at)
        raise SpendCapReached(
            cap_paise=cap_paise,
            spent_paise=day.spent_paise,
            held_paise=day.held_paise,
            required_paise=amount_paise_min,
            resets_at=resets_at,
            seconds_left=_seconds_until(resets_at, at),
        )
    return min(amount_paise, left_paise)


def reserve_of_budget(day: Day, *, call_id: str, amount_paise: int, amount_paise_min: int) -> int:
    """Reserve `amount_paise` in all of a campaign's budget for a call, or what the budget leaves of it;
    what is reserved now. Raises BudgetReached when that is less than the minimum."""
    assert day.budget_paise is not None
    before_paise = day.held.get(call_id, 0)
    left_paise = day.budget_paise - day.spent_paise - (day.held_paise - before_paise)
    if left_paise < max(1, amount_paise_min):
        raise BudgetReached(
            budget_paise=day.budget_paise,
            spent_paise=day.spent_paise,
            held_paise=day.held_paise,
            required_paise=amount_paise_min,
        )
    day.held[call_id] = max(before_paise, min(amount_paise, left_paise))
    return day.held[call_id]


def set_budget(day: Day, budget_paise: int) -> None:
    """Change the budget. Raises InvalidRequest when more than that is spent or reserved already."""
    used_paise = day.spent_paise + day.held_paise
    if budget_paise < used_paise:
        raise invalid("budget", f"Rs {money.text(used_paise)} of it are spent or reserved already")
    day.budget_paise = budget_paise


def _too_many(
    name: str, limit: int, when: str, ends_at: dt.datetime, at: dt.datetime
) -> TooManyCalls:
    return TooManyCalls(
        f"{limit} calls of this account were started {when}, which is its limit.",
        headers={"Retry-After": str(_seconds_until(ends_at, at))},
        limit=limit,
        limited_by=name,
        resets_at=clock.iso(ends_at),
    )


def _resets_at(at: dt.datetime) -> dt.datetime:
    return clock.ist_day_end(clock.ist_date(at))


def _seconds_until(moment: dt.datetime, at: dt.datetime) -> int:
    return max(1, math.ceil((moment - at).total_seconds()))


# --- verbs --------------------------------------------------------------------------------------


async def get_limits(user_id: str) -> Limits:
    """The limits of this user now: their own where an admin has set some, else those of the settings,
    which are lower for a new account."""
    chosen = config.settings()
    person = await users.find_user_cached(user_id)
    own = person.limits if person is not None else OwnLimits()
    cap_paise, concurrent_calls = chosen.spend_cap_paise, chosen.max_concurrent_calls
    if chosen.new_account_days and _is_new(person, chosen.new_account_days):
        lower_paise = chosen.new_account_spend_cap_paise
        cap_paise = lower_paise if cap_paise is None else min(cap_paise, lower_paise)
        concurrent_calls = min(concurrent_calls, chosen.new_account_concurrent_calls)
    return Limits(
        concurrent_calls=own.get("concurrent_calls", concurrent_calls),
        calls_per_minute=own.get("calls_per_minute", chosen.call_limit_per_minute),
        calls_per_day=own.get("calls_per_day", chosen.call_limit_per_day),
        spend_cap_paise=own.get("spend_cap_paise", cap_paise),
    )


def _is_new(person: User | None, days: int) -> bool:
    return person is None or clock.now() < person.created_at + dt.timedelta(days=days)


async def reserve_today(
    user_id: str, limits: Limits, *, call_id: str, amount_paise: int, amount_paise_min: int
) -> "Counted":
    """`reserve` for a call that is placed now."""
    at = clock.now()
    on = clock.ist_date(at).isoformat()

    def rule(day: Day) -> tuple[int, bool]:
        if call_id in day.held:  # another attempt at the same call has counted it
            return day.held[call_id], False
        granted_paise = reserve(
            day,
            limits,
            call_id=call_id,
            amount_paise=amount_paise,
            amount_paise_min=amount_paise_min,
            at=at,
        )
        return granted_paise, True

    granted_paise, is_first = await _change(user_id, on, rule)
    is_capped = limits.spend_cap_paise is not None
    return Counted(user_id, call_id, on, at, granted_paise, is_first, is_capped)


@dataclasses.dataclass(frozen=True, slots=True)
class Counted:
    """A call that was counted, on which day, and what of the day's cap is reserved for it."""

    user_id: str
    call_id: str
    on: str
    at: dt.datetime
    amount_paise: int
    is_first: bool
    is_capped: bool  # what it costs counts, too

    async def undo(self) -> None:
        """Cancel the count, because the wallet refused the call."""
        if not self.is_first:
            return
        await _change(
            self.user_id, self.on, lambda day: cancel(day, call_id=self.call_id, at=self.at)
        )

    async def lower_to(self, amount_paise: int) -> None:
        """Reserve only `amount_paise` of the cap, because the wallet could hold no more."""

        def rule(day: Day) -> None:
            if self.call_id in day.held:
                day.held[self.call_id] = amount_paise

        await _change(self.user_id, self.on, rule)


async def extend_reservation(
    user_id: str, on: str, *, call_id: str, amount_paise: int, amount_paise_min: int
) -> int:
    """`extend` for a running call that was counted on the day `on`; `amount_paise` while there is
    no cap."""
    cap_paise = (await get_limits(user_id)).spend_cap_paise
    if cap_paise is None:
        return amount_paise
    return await extend_reservation_of_key(
        SpendingKey(user_id, cap_paise),
        on,
        call_id=call_id,
        amount_paise=amount_paise,
        amount_paise_min=amount_paise_min,
    )


async def extend_reservation_of_key(
    key: SpendingKey, on: str, *, call_id: str, amount_paise: int, amount_paise_min: int
) -> int:
    """`extend` for a running call that was counted for this key on the day `on`."""
    cap_paise = key.spend_cap_paise
    if cap_paise is None:
        return amount_paise

    def rule(day: Day) -> int:
        return extend(
            day,
            cap_paise,
            call_id=call_id,
            amount_paise=amount_paise,
            amount_paise_min=amount_paise_min,
            at=clock.now(),
        )

    return await _change(key.id, on, rule)


async def count_for_budget(
    budget: CampaignBudget, *, call_id: str, amount_paise: int, amount_paise_min: int
) -> "Counted":
    """`reserve_of_budget` for a call that is placed now. The budget that `change_budget` set holds,
    else this one."""

    def rule(day: Day) -> tuple[int, bool]:
        if call_id in day.held:  # another attempt at the same call has counted it
            return day.held[call_id], False
        if day.budget_paise is None:
            day.budget_paise = budget.budget_paise
        granted_paise = reserve_of_budget(
            day, call_id=call_id, amount_paise=amount_paise, amount_paise_min=amount_paise_min
        )
        day.calls += 1
        return granted_paise, True

    name = budget.campaign_id
    granted_paise, is_first = await _change(name, _BUDGET, rule)
    return Counted(name, call_id, _BUDGET, clock.now(), granted_paise, is_first, True)


async def extend_for_budget(
    campaign_id: str, *, call_id: str, amount_paise: int, amount_paise_min: int
) -> int:
    """`reserve_of_budget` for a running call that was counted for its campaign's budget."""

    def rule(day: Day) -> int:
        if day.budget_paise is None:  # it was deleted with its campaign
            return amount_paise
        return reserve_of_budget(
            day, call_id=call_id, amount_paise=amount_paise, amount_paise_min=amount_paise_min
        )

    return await _change(campaign_id, _BUDGET, rule)


async def settle_for_budget(campaign_id: str, *, call_id: str, cost_paise: int) -> None:
    """`settle` a call that was counted for its campaign's budget."""
    await settle_on_day(campaign_id, _BUDGET, call_id=call_id, cost_paise=cost_paise)


async def change_budget(budget: CampaignBudget, *, spent_before_paise: int = 0) -> None:
    """`set_budget`: it holds for calls that are placed or extended from now on, in every process.

    `spent_before_paise` is what the campaign has cost while it had none. Raises InvalidRequest.
    """

    def rule(day: Day) -> None:
        if day.budget_paise is None:
            day.spent_paise += spent_before_paise
        set_budget(day, budget.budget_paise)

    await _change(budget.campaign_id, _BUDGET, rule)


async def find_budget_use(campaign_id: str) -> Day | None:
    """What counts for the budget of a campaign; None when nothing was counted yet."""
    found = await db.usage.find_one({"_id": _id(campaign_id, _BUDGET)})
    return None if found is None else _day(cast(UsageDay, found))


async def delete_budget(campaign_id: str) -> None:
    """Forget the budget of a campaign that is deleted."""
    await db.usage.delete_one({"_id": _id(campaign_id, _BUDGET)})


async def settle_on_day(user_id: str, on: str, *, call_id: str, cost_paise: int) -> None:
    """`settle` a call that was counted on the day `on`."""
    await _change(user_id, on, lambda day: settle(day, call_id=call_id, cost_paise=cost_paise))


async def cancel_on_day(user_id: str, *, call_id: str, at: dt.datetime) -> None:
    """`cancel` a call that was placed at the moment `at`, because its network did not accept it."""
    on = clock.ist_date(at).isoformat()
    await _change(user_id, on, lambda day: cancel(day, call_id=call_id, at=at))


async def check_spend_cap(user_id: str, limits: Limits, required_paise: int) -> None:
    """SpendCapReached when the day's cap leaves less than `required_paise`; reserves nothing."""
    if limits.spend_cap_paise is not None:
        at = clock.now()
        day = await _today(user_id, at)
        _granted(day, limits.spend_cap_paise, required_paise, required_paise, at)


async def is_call_limit_reached(user_id: str, limits: Limits) -> bool:
    """Whether the user started as many calls today as a day may have."""
    if limits.calls_per_day is None:
        return False
    return (await _today(user_id, clock.now())).calls >= limits.calls_per_day


async def _today(user_id: str, at: dt.datetime) -> Day:
    found = await database.find_together("usage", _id(user_id, clock.ist_date(at).isoformat()))
    return _day(cast("UsageDay | None", found))


# --- storage ------------------------------------------------------------------------------------

database.declare("usage", indexes=[Index(("expires_at",), expire_seconds=0)])


_Rule = Callable[[Day], Any]


class _Lane:
    """The changes of one user's day: all that are waiting are written together, if the version is
    still the same, so that many calls at once do not conflict over the document."""

    def __init__(self, user_id: str, on: str) -> None:
        self.user_id, self.on = user_id, on
        self.waiting: list[tuple[_Rule, asyncio.Future[Any]]] = []
        self.batch: list[tuple[_Rule, asyncio.Future[Any]]] = []
        self.task: asyncio.Task[None] | None = None

    async def work(self) -> None:
        while self.waiting:
            self.batch, self.waiting = self.waiting, []
            await self._answer(self.batch)
        _lanes.pop(_id(self.user_id, self.on), None)

    def refuse_when_cancelled(self, task: asyncio.Task[None]) -> None:
        """Nobody waits for ever, and the next change has a lane that works."""
        if not task.cancelled():
            return
        _lanes.pop(_id(self.user_id, self.on), None)
        for _, future in [*self.batch, *self.waiting]:
            if not future.done():
                future.set_exception(Unavailable("The service is stopping; try again."))

    async def _answer(self, batch: list[tuple[_Rule, asyncio.Future[Any]]]) -> None:
        try:
            answers = await self._write([rule for rule, _ in batch])
        except Exception as problem:
            answers = [_as_problem(problem)] * len(batch)
        for (_, future), answer in zip(batch, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)

    async def _write(self, rules: list[_Rule]) -> list[Any]:
        for attempt in range(_ATTEMPTS_MAX):
            document = await db.usage.find_one({"_id": _id(self.user_id, self.on)})
            found = cast("UsageDay | None", document)
            day, answers = _day(found), []
            for rule in rules:
                try:
                    answers.append(rule(day))
                except Problem as refusal:  # it has changed nothing
                    answers.append(refusal)
            if all(isinstance(answer, Exception) for answer in answers):
                return answers
            if await self._replaced(found, day):
                return answers
            await asyncio.sleep(random.uniform(0, min(0.1, 0.002 * 2**attempt)))  # noqa: S311
        raise Unavailable("Too many calls of this account were first; try again.")

    async def _replaced(self, found: UsageDay | None, day: Day) -> bool:
        """Store the day; False when another process changed it meanwhile."""
        document = self._document(day, version=found["version"] + 1 if found else 1)
        if found is None:
            try:
                await db.usage.insert_one(cast(Document, document))
            except database.DuplicateKey:
                return False
            return True
        guard = {"_id": document["_id"], "version": found["version"]}
        replaced = await db.usage.replace_one(guard, cast(Document, document))
        return replaced.matched_count > 0

    def _document(self, day: Day, *, version: int) -> UsageDay:
        budget_paise = None if day.budget_paise is None else database.long(day.budget_paise)
        return {
            "_id": _id(self.user_id, self.on),
            "user_id": self.user_id,
            "day": self.on,
            "calls": day.calls,
            "minute": day.minute,
            "minute_calls": day.minute_calls,
            "spent_paise": database.long(day.spent_paise),
            "held": {call_id: database.long(paise) for call_id, paise in day.held.items()},
            "version": version,
            "expires_at": self._expires_at(),
            "budget_paise": budget_paise,
        }

    def _expires_at(self) -> dt.datetime | None:
        if self.on == _BUDGET:
            return None
        return clock.after(
            _KEPT_DAYS * 86_400, since=clock.ist_day_end(dt.date.fromisoformat(self.on))
        )


_lanes: dict[str, _Lane] = {}


async def _change(user_id: str, on: str, rule: Callable[[Day], T]) -> T:
    """Apply `rule` to a user's day and store the day; what the rule returned. Raises what it raised."""
    lane = _lanes.get(_id(user_id, on))
    if lane is None:
        lane = _lanes[_id(user_id, on)] = _Lane(user_id, on)
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    lane.waiting.append((rule, future))
    if lane.task is None:
        lane.task = asyncio.create_task(lane.work())
        lane.task.add_done_callback(lane.refuse_when_cancelled)
    return cast(T, await future)


def _as_problem(problem: Exception) -> Exception:
    if database.is_away(problem):
        return Unavailable("The database cannot be reached right now. Nothing is lost; try again.")
    return problem


def _id(user_id: str, on: str) -> str:
    return f"{user_id}:{on}"


def _day(found: UsageDay | None) -> Day:
    if found is None:
        return Day()
    budget_paise = found.get("budget_paise")
    return Day(
        budget_paise=None if budget_paise is None else int(budget_paise),
        calls=found["calls"],
        minute=found["minute"],
        minute_calls=found["minute_calls"],
        spent_paise=int(found["spent_paise"]),
        held={call_id: int(paise) for call_id, paise in found["held"].items()},
    )
