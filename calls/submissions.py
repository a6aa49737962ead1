"""Call submissions: which attempt asks the network for a stored call, when attempts are repeated."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from calls import lifecycle, records
from calls.records import Call
from core import database
from core.errors import Unavailable

log = logging.getLogger(__name__)

# A commit whose outcome was not reported has happened by then, or never does.
_KNOWN_AFTER_SECONDS = 30.0

# The attempts of this process that ended before they asked the network: their call, and until when
# it may still turn up.
_abandoned: dict[str, tuple[str, float]] = {}
# The calls for which the network was asked and gave no answer, which is not stored yet.
_unanswered: dict[str, Call] = {}


@contextlib.asynccontextmanager
async def attempted(call_id: str, attempt: str) -> AsyncIterator[None]:
    """What `attempt` does before it asks the network for a call. When the block fails because the
    database is away, the call is perhaps stored, and another attempt may take it over."""
    try:
        yield
    except (Unavailable, database.AnyError, asyncio.CancelledError):
        until = asyncio.get_running_loop().time() + _KNOWN_AFTER_SECONDS
        _abandoned[attempt] = (call_id, until)
        raise


async def record_unknown(call: Call) -> Call:
    """Record that the network was asked for a call and gave no answer; the call as it is then.

    While the database is away this raises, and is repeated by `release_abandoned`.
    """
    _unanswered[call["_id"]] = call
    found = await lifecycle.mark_unknown(call)
    _unanswered.pop(call["_id"], None)
    return found


async def take_over(call: Call, attempt: str) -> Call:
    """A stored call, for another attempt with its id: with `attempt` in it if this attempt has to ask the
    network now, as it is otherwise.

    The submission of a call passes on only when the attempt that had it ended before it asked the
    network, and to one attempt alone. Raises Unavailable while it is unknown whether the network
    was asked: the check of overdue calls finds it out.
    """
    if call["status"] != "submitting":
        return call
    if call["_id"] in _unanswered:
        return await record_unknown(call)
    own = {name for name, (call_id, _) in _abandoned.items() if call_id == call["_id"]}
    async with attempted(call["_id"], attempt):
        taken = await lifecycle.claim_submission(call["_id"], attempt, others=own | {attempt})
    if taken is not None:
        log.info("call %s: its submission was taken over", call["_id"])
        return taken
    known = await records.get_call(call["_id"])
    if known["status"] == "submitting":
        raise Unavailable(
            "It is not known yet whether the network was asked for this call. Ask again shortly; "
            "it is not dialled twice.",
            retry_after_seconds=5,
        )
    return known


async def release_abandoned() -> int:
    """Store which attempts of this process ended before they asked the network, so that other processes
    know it, too; how many there were. Repeated until their commits have happened or never will.

    Store as well which calls the network gave no answer about, where that could not be stored.
    """
    for call in list(_unanswered.values()):
        await record_unknown(call)
    loop_seconds = asyncio.get_running_loop().time()
    for attempt, (_, until) in list(_abandoned.items()):
        if loop_seconds > until:
            del _abandoned[attempt]
    attempts = {attempt: call_id for attempt, (call_id, _) in _abandoned.items()}
    if attempts:
        await lifecycle.release_submissions(attempts)
    return len(attempts)
