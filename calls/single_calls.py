"""Single calls: ordered by one request each, committed at once, then dialled in turn, fair over users."""

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine, Iterable
from typing import Any, Final

import telephony
from billing.limits import SpendingKey
from calls import lifecycle, placing, records
from calls.placing import PLAIN_CALL, CallSpec
from calls.records import Call
from core import clock, database
from core.errors import Unavailable
from telephony import network_health, throttle

log = logging.getLogger(__name__)


# --- vocabulary ---------------------------------------------------------------------------------

# How many networks' answers this process waits for at once, for single calls.
_AT_ONCE_MAX: Final = 64
# So old is a call that the process which committed it does not dial: it died, or it may not.
_LEFT_BEHIND_SECONDS: Final = 1.0
_LISTED_MAX: Final = 500
_WAIT_SECONDS_MAX: Final = 1.0
_PASS_SECONDS_MAX: Final = 60.0
_STOP_SECONDS: Final = 5.0


class _Dialler:
    """The single calls that this process dials: those that it committed, and those that it found."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[Call]] = {}  # by user; who is first in it is next
        self._at_work: set[asyncio.Task[None]] = set()
        self.is_passing = False

    def add(self, call: Call) -> None:
        """Dial a call of this process at once, or after those of the other users that wait."""
        self._waiting.setdefault(call["user_id"], deque()).append(call)
        self._go_on()

    def start(self, claimed: Call) -> None:
        """Ask the network for a call that is claimed already."""
        self._begin(claimed, placing.submit_claimed(claimed))

    @property
    def has_room(self) -> bool:
        """Whether another network's answer may be waited for."""
        return len(self._at_work) < _AT_ONCE_MAX

    async def stop(self) -> None:
        """Wait a moment for the networks' answers: a call that is cut off is unknown for a minute."""
        self._waiting.clear()
        if self._at_work:
            await asyncio.wait(self._at_work, timeout=_STOP_SECONDS)
        for task in self._at_work:
            task.cancel()

    def _go_on(self) -> None:
        while self._waiting and self.has_room:
            user_id = next(iter(self._waiting))
            calls = self._waiting.pop(user_id)
            call = calls.popleft()
            if calls:  # the user's next one comes after one of each other user
                self._waiting[user_id] = calls
            self._begin(call, _submit_if_admitted(call))

    def _begin(self, call: Call, work: Coroutine[Any, Any, Call | None]) -> None:
        task = asyncio.create_task(_logged(work), name=f"dial {call['_id']}")
        self._at_work.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._at_work.discard(task)
        if not task.cancelled():
            self._go_on()


_dialler = _Dialler()


# --- verbs --------------------------------------------------------------------------------------


async def order_call(
    user_id: str,
    *,
    call_id: str,
    to: str,
    spec: CallSpec = PLAIN_CALL,
    key: SpendingKey | None = None,
    is_new: bool = False,
) -> Call:
    """Commit a single call (`created`, its money held) and have it dialled as soon as it has its turn.

    With the `call_id` of a call that exists, returns that call as it is. Raises what
    `placing.reserve_call` raises, and Unavailable before any money is held while the telephone network
    accepts no calls. A call that gets no turn in `throttle.PATIENCE_SECONDS` is ended as `failed`, its
    money released.
    """
    if not is_new and (known := await records.find_call(call_id)) is not None:
        return known
    network = telephony.get_chosen_provider()
    health = await network_health.get_health(network.name)
    if health.is_open:
        raise Unavailable(
            f"The telephone network accepts no calls now ({health.reason}). Nothing was reserved; try "
            "again later.",
            retry_after_seconds=health.retry_after_seconds,
        )
    call = await placing.reserve_call(
        user_id, call_id=call_id, to=to, spec=spec, key=key, is_new=True
    )
    if call["status"] != "created":
        return call
    if throttle.is_limited(network):
        _pass_soon()
    else:
        _dialler.add(call)
    return call


async def dial_committed() -> int:
    """Dial the single calls that wait, until none does or a minute has passed; how many. A call waits
    for its turn at the network, or because the process that committed it is gone.

    Any number of processes may do it: a turn goes to the user who had one the longest ago, and there
    to the oldest call. Those that wait for too long are ended.
    """
    if _dialler.is_passing:
        return 0
    _dialler.is_passing = True
    dialled, until = 0, clock.after(_PASS_SECONDS_MAX)
    try:
        while clock.now() < until and _dialler.has_room:
            waiting = await _end_expired(await records.list_committed_calls(limit=_LISTED_MAX))
            found, pause_seconds = await _dial_one(waiting)
            dialled += found
            if pause_seconds is None:
                break
            await asyncio.sleep(pause_seconds)
    finally:
        _dialler.is_passing = False
    return dialled


async def stop() -> None:
    """Wait a moment for the networks that are being asked; what waits is dialled by other processes."""
    await _dialler.stop()


# --- turns --------------------------------------------------------------------------------------


async def _dial_one(waiting: list[Call]) -> tuple[int, float | None]:
    """Dial one of the calls if there is a turn; how many, and after how many seconds to go on (None:
    there is nothing to do)."""
    pause_seconds: float | None = None
    left_behind_at = clock.after(-_LEFT_BEHIND_SECONDS)
    for name in dict.fromkeys(call["provider"] for call in waiting):
        network = telephony.get_provider(name)
        is_limited = throttle.is_limited(network)
        its = [
            call
            for call in waiting
            if call["provider"] == name and (is_limited or call["created_at"] < left_behind_at)
        ]
        if not its:
            continue
        pause_seconds = _WAIT_SECONDS_MAX
        if not await network_health.admit(name):
            continue
        wait_seconds = await throttle.take_turn(network, "single")
        if wait_seconds > 0:
            return 0, min(_WAIT_SECONDS_MAX, wait_seconds)
        users = sorted({call["user_id"] for call in its})
        first = await throttle.take_user(network, users) if is_limited else users[0]
        for call in _in_turn(its, users, first):
            if (claimed := await lifecycle.claim_submission(call)) is not None:
                _dialler.start(claimed)
                return 1, 0.0
    return 0, pause_seconds


def _in_turn(waiting: Iterable[Call], users: list[str], first: str) -> list[Call]:
    """The calls of the user who is next, then those of the others, the oldest first."""
    place = users.index(first)
    order = {user_id: at for at, user_id in enumerate(users[place:] + users[:place])}
    return sorted(waiting, key=lambda call: (order[call["user_id"]], call["created_at"]))


async def _end_expired(waiting: list[Call]) -> list[Call]:
    """End the calls whose patience is over; the others."""
    expired_at = clock.after(-throttle.PATIENCE_SECONDS)
    left = []
    for call in waiting:
        if call["created_at"] > expired_at:
            left.append(call)
            continue
        health = await network_health.get_health(call["provider"])
        reason = health.reason if health.is_open else None
        log.warning("call %s: no turn in time", call["_id"])
        await lifecycle.end_unsubmitted(call, status="failed", reason=reason or telephony.BUSY)
    return left


async def _submit_if_admitted(call: Call) -> Call | None:
    """Submit a call, unless its network may not be asked now: then it waits for `dial_committed`."""
    if not await network_health.admit(call["provider"]):
        return None
    return await placing.submit_call(call)


async def _logged(work: Coroutine[Any, Any, Call | None]) -> None:
    try:
        await work
    except Exception as problem:
        if isinstance(problem, Unavailable) or database.is_away(problem):
            log.warning("a single call: %s; its check finds out", type(problem).__name__)
        else:
            log.error("a single call: a defect", exc_info=problem)


_passes: set[asyncio.Task[int]] = set()


def _pass_soon() -> None:
    """Look for calls that wait now, and not only when the worker does."""
    if not _dialler.is_passing:
        task = asyncio.create_task(dial_committed())
        _passes.add(task)
        task.add_done_callback(_passes.discard)
