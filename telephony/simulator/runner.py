"""Simulator runner: sends the callbacks of simulated calls, also those of processes that died."""

import asyncio
import datetime as dt
import heapq
import json
import logging
from typing import Final, cast

import httpx

from core import clock, database
from core.database import Index, Update, db
from telephony.provider import OVER, RANK
from telephony.simulator.lifecycle import (
    SIGNATURE_HEADER,
    SimulatedCall,
    SimulatedEnd,
    State,
    report_of,
    sign,
    state_of,
)

log = logging.getLogger(__name__)


# --- vocabulary ---------------------------------------------------------------------------------

_DELIVERIES_MAX: Final = 64
_DELIVERY_SECONDS: Final = 12.0
_RETRY_SECONDS: Final = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
_HEARTBEAT_SECONDS: Final = 2.0
_DEAD_AFTER_SECONDS: Final = 7.0
# So long it sleeps at most: the clock of the machine may be set meanwhile.
_SLEEP_SECONDS: Final = 0.5


database.declare("simulator_processes", indexes=[Index(("alive_at",), expire_seconds=3_600)])


# --- the runner ---------------------------------------------------------------------------------


class Runner:
    """Sends the callbacks of the calls of this process and of processes that died.

    It has one heap of moments for all calls; the callbacks of one call are sent one after another.
    """

    def __init__(self) -> None:
        self.me = database.new_id("proc")
        self._heap: list[tuple[dt.datetime, str]] = []
        self._reported: dict[str, int] = {}  # the last rank that was delivered
        self._attempts: dict[str, int] = {}
        self._wake = asyncio.Event()
        self._slots = asyncio.Semaphore(_DELIVERIES_MAX)
        self._serving: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._client = httpx.AsyncClient(
            timeout=_DELIVERY_SECONDS,
            trust_env=False,
            limits=httpx.Limits(max_connections=_DELIVERIES_MAX, keepalive_expiry=5),
        )

    async def start(self) -> None:
        """Start sending callbacks."""
        await self._beat()
        self._loops = [
            asyncio.create_task(self._run(), name="simulator"),
            asyncio.create_task(self._keep_taking_over(), name="simulator take-over"),
        ]

    async def stop(self) -> None:
        """Stop; the calls stay in the database."""
        tasks = [*self._loops, *self._serving]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.aclose()
        try:
            await db.simulator_processes.delete_one({"_id": self.me})
        except database.AnyError:
            pass  # then the other processes notice by its last heartbeat

    def watch(self, simulated_id: str, at: dt.datetime) -> None:
        """Report the state of this call at that moment."""
        heapq.heappush(self._heap, (at, simulated_id))
        if self._heap[0][1] == simulated_id:
            self._wake.set()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            pause = (self._heap[0][0] - clock.now()).total_seconds() if self._heap else 3_600.0
            if pause > 0:
                try:
                    async with asyncio.timeout(
                        min(pause, _SLEEP_SECONDS)
                    ):  # `wait_for` may forget to be cancelled
                        await self._wake.wait()
                except TimeoutError:
                    pass
                continue
            await self._slots.acquire()
            _, simulated_id = heapq.heappop(self._heap)
            task = asyncio.create_task(self._serve(simulated_id))
            self._serving.add(task)
            task.add_done_callback(self._served)

    def _served(self, task: asyncio.Task[None]) -> None:
        self._serving.discard(task)
        self._slots.release()

    async def _serve(self, simulated_id: str) -> None:
        try:
            again_at = await self._report(simulated_id)
        except Exception as problem:
            log.warning("simulated call %s: %s", simulated_id, type(problem).__name__)
            again_at = clock.after(1.0)
        if again_at is not None:
            self.watch(simulated_id, again_at)
        else:
            self._reported.pop(simulated_id, None)
            self._attempts.pop(simulated_id, None)

    async def _report(self, simulated_id: str) -> dt.datetime | None:
        """Send the call's state if it is not reported yet; when to check again, None for never."""
        found = await database.find_together("simulated_calls", simulated_id)
        call = cast("SimulatedCall | None", found)
        if call is None or not call["open"] or call["owner"] != self.me:
            return None
        state = state_of(call, clock.now())
        rank = RANK[state.status]
        if rank <= max(self._reported.get(simulated_id, 0), RANK["queued"]):
            return state.changes_at
        if rank == OVER and call["ended"] is None and not await self._freeze(call, state):
            return clock.now()  # it was extended or hung up in this moment
        wait_seconds = await self._deliver(call, state)
        if wait_seconds is not None:
            return clock.after(wait_seconds)
        self._reported[simulated_id] = rank
        if rank < OVER:
            return state.changes_at
        closed = Update("simulated_calls", {"_id": simulated_id}, {"$set": {"open": False}})
        await database.write_together(closed)
        return None

    async def _freeze(self, call: SimulatedCall, state: State) -> bool:
        """Make the end final before it is reported; False when the call may have changed meanwhile."""
        end: SimulatedEnd = {
            "status": state.status,
            "duration_seconds": state.duration_seconds,
            "at": state.at,
        }
        return await database.write_together(
            Update(
                "simulated_calls",
                {"_id": call["_id"], "version": call["version"], "ended": None},
                {"$set": {"ended": end}, "$inc": {"version": 1}},
            )
        )

    async def _deliver(self, call: SimulatedCall, state: State) -> float | None:
        """Send one callback; None when it is delivered (or refused), else the pause before the next
        attempt. A network stops trying after a while: then the service has to ask."""
        report = report_of(call, state)
        fields = {
            "event_id": report.event_id,
            "provider_call_id": report.provider_call_id,
            "reference": call["reference"],
            "status": report.status,
            "duration_seconds": report.duration_seconds,
            "occurred_at": clock.iso(report.occurred_at),
            "answered_at": clock.iso(report.answered_at) if report.answered_at else None,
            "answered_by": report.answered_by,
            "key": report.key,
            "simulated": True,
        }
        body = json.dumps(fields).encode()
        headers = {
            "content-type": "application/json",
            SIGNATURE_HEADER: sign(call["callback_url"], body),
        }
        try:
            answer = await self._client.post(call["callback_url"], content=body, headers=headers)
            status = answer.status_code
        except httpx.HTTPError as problem:
            status = 0
            log.info("simulated call %s: callback: %s", call["_id"], type(problem).__name__)
        attempt = self._attempts.get(call["_id"], 0)
        if (0 < status < 500 and status != 429) or attempt == len(_RETRY_SECONDS):
            self._attempts.pop(call["_id"], None)
            if status not in (200, 204):
                log.warning("simulated call %s: gave up, status %d", call["_id"], status)
            return None
        self._attempts[call["_id"]] = attempt + 1
        return _RETRY_SECONDS[attempt]

    async def _keep_taking_over(self) -> None:
        while True:
            try:
                await self._beat()
                await self._take_over()
            except Exception as problem:
                log.warning("simulator take-over: %s", type(problem).__name__)
            await asyncio.sleep(_HEARTBEAT_SECONDS)

    async def _beat(self) -> None:
        await db.simulator_processes.update_one(
            {"_id": self.me}, {"$set": {"alive_at": clock.now()}}, upsert=True
        )

    async def _take_over(self) -> None:
        """Take over the calls of processes without a recent heartbeat."""
        since = clock.after(-_DEAD_AFTER_SECONDS)
        alive = await db.simulator_processes.distinct("_id", {"alive_at": {"$gt": since}})
        owners = await db.simulated_calls.distinct("owner", {"open": True, "owner": {"$gt": ""}})
        dead = sorted(set(owners) - set(alive))
        if not dead:
            return
        claim = {"open": True, "owner": {"$in": dead}}
        ids = [call["_id"] async for call in db.simulated_calls.find(claim, {"_id": 1})]
        result = await db.simulated_calls.update_many(
            {"_id": {"$in": ids}, **claim}, {"$set": {"owner": self.me}}
        )
        log.info("simulator: took over %d calls", result.modified_count)
        # Those that another process took over are dropped when they are due.
        for simulated_id in ids:
            self.watch(simulated_id, clock.now())
