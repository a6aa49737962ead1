"""Simulator adapter: the provider protocol over simulated calls."""

import datetime as dt
import hmac
import json
import math
from collections.abc import Mapping
from typing import Final, cast

from core import clock, database
from core.database import Document, Insert, db
from core.errors import NotFound
from telephony.provider import (
    OVER,
    RANK,
    UNREACHABLE,
    Ambiguous,
    Capabilities,
    Dial,
    InvalidCallbackSignature,
    NetworkCall,
    NotSent,
    Others,
    Report,
    Script,
    no_others,
)
from telephony.simulator.lifecycle import (
    SIGNATURE_HEADER,
    SimulatedCall,
    SimulatedEnd,
    document_of,
    id_of,
    report_of,
    sign,
    state_of,
    talked_seconds,
)
from telephony.simulator.runner import Runner

# More than any call lasts, and less than MongoDB can store.
_SECONDS_MAX: Final = 2**31


# --- the network --------------------------------------------------------------------------------


class Simulator:
    """The adapter: it stores calls and their changes. The runner of the process sends callbacks."""

    name: str = "simulator"
    can = Capabilities(
        can_extend=True,
        can_hang_up=True,
        reports_ringing=True,
        duration_in_callback=True,
        can_simulate=True,
        can_detect_machines=True,
        can_collect_keys=True,
    )

    def __init__(self) -> None:
        self._runner: Runner | None = None

    async def start(self) -> None:
        """Start this process's runner."""
        self._runner = Runner()
        await self._runner.start()

    async def stop(self) -> None:
        """Stop it; another process, or this one after a restart, takes over its calls."""
        if self._runner is not None:
            await self._runner.stop()
            self._runner = None

    async def place(self, dial: Dial) -> str:
        """Place the call; the id of one that is placed twice is the same."""
        runner = self._runner
        if runner is None:
            raise NotSent(UNREACHABLE)
        call = document_of(dial, clock.now(), runner.me)
        try:
            await database.write_together(Insert("simulated_calls", call))
        except database.DuplicateKey:
            return call["_id"]
        except database.AnyError as problem:
            raise Ambiguous(f"the simulator's database: {type(problem).__name__}") from problem
        runner.watch(call["_id"], call["ring_at"])
        return call["_id"]

    async def extend(self, call: NetworkCall, limit_seconds: int) -> bool:
        """Raise the limit of a live call; False when it is over."""
        while True:
            found = await self._find(call)
            now = clock.now()
            if found is None or RANK[state_of(found, now).status] == OVER:
                return False
            change: Document = {"limit_seconds": max(limit_seconds, found["limit_seconds"])}
            if now > found["base_at"]:
                change |= {"base_at": now, "base_seconds": talked_seconds(found, now)}
            if await self._change(found, change):
                return True

    async def hang_up(self, call: NetworkCall) -> None:
        """End the call: `canceled` before the answer, else `completed` with the seconds so far."""
        runner = self._running()
        while True:
            found = await self._find(call)
            now = clock.now()
            if found is None or RANK[(state := state_of(found, now)).status] == OVER:
                return
            answered = state.status == "in_progress"
            end: SimulatedEnd = {
                "status": "completed" if answered else "canceled",
                "duration_seconds": math.ceil(talked_seconds(found, now)) if answered else 0,
                "at": now,
            }
            if await self._change(found, {"ended": end, "owner": runner.me}):
                runner.watch(found["_id"], now)
                return

    async def look_up(self, call: NetworkCall, others: Others = no_others) -> Report | None:
        """The state of the call; None when it was never placed."""
        found = await self._find(call)
        return None if found is None else report_of(found, state_of(found, clock.now()))

    def read_callback(
        self, headers: Mapping[str, str], body: bytes, url: str, address: str = ""
    ) -> Report:
        """Verify the signature over the address and the body, and read the body."""
        sent = headers.get(SIGNATURE_HEADER, "").encode()
        if not hmac.compare_digest(sent, sign(url, body).encode()):
            raise InvalidCallbackSignature("The signature is not the simulator's.")
        try:
            fields = json.loads(body)
            answered_at = fields["answered_at"]
            if fields["status"] not in RANK:
                raise ValueError(fields["status"])
            duration, answered_by = fields["duration_seconds"], fields.get("answered_by")
            occurred_at = dt.datetime.fromisoformat(fields["occurred_at"])
            if occurred_at.tzinfo is None or abs(duration or 0) > _SECONDS_MAX:
                raise ValueError("no moment, or no duration")
            if answered_by not in (None, "human", "machine"):
                raise ValueError("nobody answers")
            return Report(
                event_id=str(fields["event_id"]),
                provider_call_id=str(fields["provider_call_id"]),
                status=fields["status"],
                duration_seconds=None if duration is None else int(duration),
                occurred_at=occurred_at,
                answered_at=dt.datetime.fromisoformat(answered_at) if answered_at else None,
                answered_by=answered_by,
                key=_key(fields.get("key")),
            )
        except (ValueError, KeyError, TypeError):
            raise InvalidCallbackSignature("The simulator does not send such a body.") from None

    def script(self, call: NetworkCall, *, keys_url: str = "", pressed: str = "") -> Script:
        """Raise NotFound: nothing is said in a simulated call."""
        raise NotFound("The simulator says nothing in its calls.")

    def _running(self) -> Runner:
        if self._runner is None:
            raise Ambiguous("the simulator is not running in this process")
        return self._runner

    async def _find(self, call: NetworkCall) -> SimulatedCall | None:
        try:
            found = await db.simulated_calls.find_one({"_id": id_of(call["_id"])})
        except database.AnyError as problem:
            raise Ambiguous(f"the simulator's database: {type(problem).__name__}") from problem
        return cast("SimulatedCall | None", found)

    async def _change(self, found: SimulatedCall, change: Document) -> bool:
        """Change the call if its version is still the one that was found."""
        try:
            result = await db.simulated_calls.update_one(
                {"_id": found["_id"], "version": found["version"], "ended": None},
                {"$set": change, "$inc": {"version": 1}},
            )
        except database.AnyError as problem:
            raise Ambiguous(f"the simulator's database: {type(problem).__name__}") from problem
        return result.matched_count == 1


def _key(value: object) -> str | None:
    if value is None or (isinstance(value, str) and len(value) == 1):
        return value
    raise ValueError("that is no key")
