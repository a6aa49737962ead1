"""A telephone network of any kind in a time of its own, for calls that last minutes in no time."""

import asyncio
import dataclasses
import datetime as dt
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from core import clock
from core.database import new_id
from telephony import Ambiguous, Capabilities, Dial, NotSent, Refused, Report, Script
from telephony.provider import Others, no_others

RINGS_SECONDS_MAX = 60
# A call that was just taken is not in the records yet.
HIDDEN_SECONDS = 20

KINDS: dict[str, Capabilities] = {
    "extends": Capabilities(
        can_extend=True, can_hang_up=True, reports_ringing=True, duration_in_callback=True
    ),
    "hangs-up": Capabilities(
        can_extend=False,
        can_hang_up=True,
        reports_ringing=True,
        duration_in_callback=True,
        limit_seconds_max=500,
    ),
    "neither": Capabilities(
        can_extend=False,
        can_hang_up=False,
        reports_ringing=False,
        duration_in_callback=False,
        limit_seconds_max=400,
        duration_after_seconds=300,
    ),
}


class Time:
    """What time it is: as late as somebody let it become."""

    def __init__(self) -> None:
        self.now = clock.now()

    def ask(self) -> dt.datetime:
        return self.now


@dataclasses.dataclass(eq=False)
class Line:
    """One call as the network has it."""

    id: str
    call_id: str
    limit_seconds: int
    would_last_seconds: int
    overrun_seconds: int  # what the network lets it talk, and bills, beyond its limit
    placed_at: dt.datetime
    picked_up_after_seconds: int | None  # None: not by itself
    status: str = "queued"
    answered_at: dt.datetime | None = None
    ended_at: dt.datetime | None = None
    duration_seconds: int = 0
    is_excused: bool = False  # nobody was there, or nobody was heard, who would have hung it up
    unanswered: str = "no_answer"  # how it ends if nobody picks it up
    answered_by: str | None = None

    @property
    def changes_at(self) -> dt.datetime | None:
        """When it is answered or ends by itself if nobody changes anything; None when it is over."""
        if self.ended_at is not None:
            return None
        if self.answered_at is None:
            seconds = self.picked_up_after_seconds
            return clock.after(
                RINGS_SECONDS_MAX if seconds is None else seconds, since=self.placed_at
            )
        return clock.after(self.lasts_seconds, since=self.answered_at)

    @property
    def lasts_seconds(self) -> int:
        return min(self.would_last_seconds, self.limit_seconds + self.overrun_seconds)


class Talks:
    """The network. It keeps the limit that it is told, but for a line's `overrun_seconds`."""

    def __init__(self, kind: str) -> None:
        self.name = f"talks-{kind}"
        self.can = KINDS[kind]
        self.asked: Counter[str] = Counter()
        self.begin_anew()

    @property
    def is_hung_up_by_us(self) -> bool:
        """Whether it may be told more than is reserved, because we end its calls in time."""
        return self.can.can_hang_up and not self.can.can_extend

    def begin_anew(self) -> None:
        self.lines: dict[str, Line] = {}
        self.faults: dict[str, str] = {}
        self.news: list[tuple[str, Report]] = []  # what it has to say, the oldest first
        self.next: dict[str, Any] = {}  # of the next call

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    # --- what the test lets happen ---

    def ring(self, line: Line) -> None:
        if line.status == "queued":
            line.status = "ringing"
            if self.can.reports_ringing:
                self._say(line)

    def answer(self, line: Line) -> None:
        if line.status in ("queued", "ringing"):
            line.status, line.answered_at = "in_progress", clock.now()
            self._say(line)

    def end(self, line: Line, status: str) -> None:
        """One of the two ends it: `status` is of one that was not answered."""
        if line.answered_at is not None:
            self._over(line, "completed", clock.now())
        elif line.ended_at is None:
            self._over(line, status, clock.now())

    def look_at_the_clock(self) -> None:
        """Let happen what is to have happened by now."""
        for line in self.lines.values():
            while (at := line.changes_at) is not None and at <= clock.now():
                if line.answered_at is not None:
                    self._over(line, "completed", at)
                elif line.picked_up_after_seconds is None:
                    self._over(line, line.unanswered, at)
                else:
                    line.status, line.answered_at = "in_progress", at
                    self._say(line)

    def _over(self, line: Line, status: str, at: dt.datetime) -> None:
        if line.ended_at is not None:
            return
        line.status, line.ended_at = status, at
        if line.answered_at is not None:
            talked_seconds = math.ceil((at - line.answered_at).total_seconds())
            line.duration_seconds = min(talked_seconds, line.lasts_seconds)
        self._say(line)

    def _say(self, line: Line) -> None:
        self.news.append((line.call_id, self._report(line, "callback")))

    def _report(self, line: Line, via: str) -> Report:
        is_over = line.ended_at is not None
        known_at = clock.after(self.can.duration_after_seconds, since=line.ended_at)
        tells_duration = is_over and clock.now() >= known_at
        if via == "callback":
            tells_duration = is_over and self.can.duration_in_callback
        at = line.ended_at or line.answered_at or line.placed_at
        return Report(
            event_id=f"{line.id}:{via}:{line.status}",
            provider_call_id=line.id,
            status=line.status,
            duration_seconds=line.duration_seconds if tells_duration else None,
            occurred_at=at,
            answered_at=line.answered_at if via == "callback" else None,
            answered_by=line.answered_by if line.answered_at is not None else None,
            is_unverified=via == "callback" and not self.can.duration_in_callback,
        )

    # --- what the service asks for ---

    async def _asked(self, what: str) -> str:
        await asyncio.sleep(0)
        self.asked[what] += 1
        self.look_at_the_clock()
        return self.faults.pop(what, "")

    async def place(self, dial: Dial) -> str:
        fault = await self._asked("place")
        if fault == "refused":
            raise Refused("provider_refused")
        if fault == "busy":
            raise NotSent("provider_busy")
        if fault == "not heard":
            raise Ambiguous("no answer")
        assert dial.call_id not in self.lines, f"{dial.call_id} was dialled twice"
        line = Line(
            id=new_id("line"),
            call_id=dial.call_id,
            limit_seconds=dial.limit_seconds,
            placed_at=clock.now(),
            **{"would_last_seconds": 30, "overrun_seconds": 0, "picked_up_after_seconds": 5}
            | self.next,
        )
        self.lines[dial.call_id] = line
        await asyncio.sleep(0)
        if fault == "answer lost":
            raise Ambiguous("no answer")
        return line.id

    async def extend(self, call: Mapping[str, Any], limit_seconds: int) -> bool:
        assert self.can.can_extend
        fault = await self._asked("extend")
        line = self.lines[call["_id"]]
        if fault == "not heard":
            raise Ambiguous("no answer")
        if line.ended_at is not None:
            return False
        line.limit_seconds = max(line.limit_seconds, limit_seconds)
        await asyncio.sleep(0)
        if fault == "answer lost":
            raise Ambiguous("no answer")
        return True

    async def hang_up(self, call: Mapping[str, Any]) -> None:
        assert self.can.can_hang_up
        fault = await self._asked("hang up")
        line = self.lines.get(call["_id"])
        if line is None:
            return
        if fault == "not heard":
            line.is_excused = True
            raise Ambiguous("no answer")
        self.end(line, "canceled")
        await asyncio.sleep(0)
        if fault == "answer lost":
            raise Ambiguous("no answer")

    async def look_up(self, call: Mapping[str, Any], others: Others = no_others) -> Report | None:
        if await self._asked("look up"):
            raise Ambiguous("no answer")
        line = self.lines.get(call["_id"])
        if line is None or clock.now() < clock.after(HIDDEN_SECONDS, since=line.placed_at):
            return None
        report = self._report(line, "look-up")
        if report.status == "in_progress" and not self.can.can_extend:
            if not self.can.can_hang_up:  # like one that calls everything so that it took
                return dataclasses.replace(report, status="initiated")
            # When it was answered is not told: at the earliest then.
            return dataclasses.replace(report, answered_at=call["created_at"])
        return dataclasses.replace(report, answered_at=line.answered_at)

    def read_callback(
        self, headers: Mapping[str, str], body: bytes, url: str, address: str = ""
    ) -> Report:
        raise NotImplementedError

    def script(self, call: Mapping[str, Any], *, keys_url: str = "", pressed: str = "") -> Script:
        raise NotImplementedError
