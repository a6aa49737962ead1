"""Idempotency keys: the answer of a POST kept for a week and given again."""

import asyncio
import dataclasses
import datetime as dt
import hashlib
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, NotRequired, TypedDict, cast

from fastapi import Depends, Request, Response
from pydantic import BaseModel
from ulid import ULID

from api import problems
from auth import rate_limits
from core import clock, database, leases
from core.database import Document, Index, db
from core.errors import (
    IdempotencyKeyRequired,
    IdempotencyKeyReused,
    InvalidRequest,
    StillRunning,
    TooManyRequests,
    Unavailable,
    invalid,
)
from core.leases import Lease

log = logging.getLogger(__name__)

# Renewed while the work goes on; so long a key answers 409 after the process died that had it.
_LEASE_SECONDS = 5
# The answer is not delayed by a database that does not confirm the end of the lease.
_CONFIRM_SECONDS = 1.0
_KEPT_DAYS = 7
_idempotency_key_form = re.compile(r"[\x21-\x7e]{1,255}")


# --- idempotency --------------------------------------------------------------------------------

database.declare(
    "idempotency_keys", indexes=[Index(("created_at",), expire_seconds=_KEPT_DAYS * 86_400)]
)


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What `Once` sends and stores: a status and a model. `kept` is what is stored and sent to a
    repetition instead, where the answer has a secret in it that is shown once."""

    status: int
    model: BaseModel
    kept: BaseModel | None = None


class KeptAnswer(TypedDict):
    """An answer as it was sent: the status and the JSON text."""

    status: int
    body: str


class IdempotencyKey(TypedDict):
    """A document of `idempotency_keys`: a key of one user at one address, and its answer.

    `body_digest` is of the query and the body. `answer` is None until the work is done;
    `lease_until` is the end of the lease of the request that does it, `lease_owner` the mark of
    that request (older versions wrote none).
    """

    _id: str
    user_id: str
    body_digest: str
    seed: str
    answer: KeptAnswer | None
    lease_until: dt.datetime | None
    lease_owner: NotRequired[str | None]
    created_at: dt.datetime


class Once:
    """Answers a POST that creates something, once for each `Idempotency-Key`."""

    def __init__(self, request: Request, *, required: bool = False) -> None:
        self._request = request
        self._required = required
        # Whether the seed was made in this request, so that nothing can exist that was made from it.
        self.seed_is_new = "idempotency-key" not in request.headers

    async def __call__(
        self,
        user_id: str,
        work: Callable[[str], Awaitable[Answer]],
        *,
        fingerprint: bytes | None = None,
    ) -> Response:
        """The answer of `work`, or the stored one of an earlier request with the same key.

        `work(seed)` does it and gives the answer. `seed` is the same in every attempt with the same
        key, so ids made from it (`call_{seed}`) are found again after a crash between doing the work
        and storing the answer. Only successful answers are stored: after a 402 the same key
        may be tried again once the wallet is recharged. `fingerprint` stands for the body where it is
        not JSON (uploads). Raises IdempotencyKeyReused and StillRunning, and IdempotencyKeyRequired
        where the route requires a key and there is none.
        """
        key = self._request.headers.get("idempotency-key")
        if key is None and self._required:
            raise IdempotencyKeyRequired(
                "Send an Idempotency-Key: 1 to 255 printable ASCII characters, a new one for each new "
                "request and the same one to repeat it."
            )
        if key is None:
            answer = await work(str(ULID()))
            return _json(answer.status, answer.model.model_dump_json())
        record, lease = await self._record_of(key, user_id, fingerprint)
        if (kept := record["answer"]) is not None:
            return _json(kept["status"], kept["body"], {"Idempotency-Replayed": "true"})
        if lease is None:
            raise StillRunning(
                "The first request with this Idempotency-Key is still running; ask again shortly.",
                headers={"Retry-After": "1"},
            )
        return await _do(work, record, lease)

    async def _record_of(
        self, key: str, user_id: str, fingerprint: bytes | None
    ) -> tuple[IdempotencyKey, Lease | None]:
        """The record of this key, and the lease with which this request does the work."""
        request = self._request
        if not _idempotency_key_form.fullmatch(key):
            raise invalid("Idempotency-Key", "1 to 255 printable ASCII characters without spaces")
        body = fingerprint if fingerprint is not None else await request.body()
        digest = hashlib.sha256(request.url.query.encode() + b"\0" + body).hexdigest()
        await rate_limits.count("idempotency_keys", user_id)
        record_id = database.stable_id("idem", user_id, request.method, request.url.path, key)
        record, lease = await _claim(record_id, digest, user_id)
        if record["body_digest"] != digest:
            raise IdempotencyKeyReused(
                "This Idempotency-Key was used with another body. Use a new key for a new request."
            )
        return record, lease


_KEY_HEADER = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "A new one for each new request, the same one to repeat it",
    "schema": {"type": "string", "pattern": "^[!-~]+$", "minLength": 1, "maxLength": 255},
}


@problems.reads(_KEY_HEADER, answers={"Idempotency-Replayed": "`true`: the first answer, again"})
@problems.raises(InvalidRequest, IdempotencyKeyReused, StillRunning, TooManyRequests)
async def _once(request: Request) -> Once:
    return Once(request)


@problems.reads(
    {**_KEY_HEADER, "required": True},
    answers={"Idempotency-Replayed": "`true`: the first answer, again"},
)
@problems.raises(
    InvalidRequest, IdempotencyKeyRequired, IdempotencyKeyReused, StillRunning, TooManyRequests
)
async def _once_required(request: Request) -> Once:
    return Once(request, required=True)


# `once: Idempotent` in a route that creates something: `return await once(user.id, work)`.
Idempotent = Annotated[Once, Depends(_once)]
# The same in a route that refuses a request without a key.
IdempotentRequired = Annotated[Once, Depends(_once_required)]


async def _do(
    work: Callable[[str], Awaitable[Answer]], record: IdempotencyKey, lease: Lease
) -> Response:
    """Do the work and store its answer; if it fails, the next request with the key may do it.

    Where the database does not confirm either, this request is answered all the same, and a
    repetition does the work again with the same seed when the lease is over.
    """
    try:
        async with leases.renewing(lease.renew, seconds=lease.seconds):
            answer = await work(record["seed"])
    except BaseException:
        await _finish(lease.release())
        raise
    text = answer.model.model_dump_json()
    again = text if answer.kept is None else answer.kept.model_dump_json()
    kept: KeptAnswer = {"status": answer.status, "body": again}
    await _finish(db.idempotency_keys.update_one(lease.mine, {"$set": {"answer": kept}}))
    return _json(answer.status, text)


# Ends of leases that go on after their request was answered.
_finishing: set[asyncio.Task[None]] = set()


async def _finish(write: Awaitable[Any]) -> None:
    """Carry out the last write of a request, and wait for it `_CONFIRM_SECONDS` at most."""

    async def carried_out() -> None:
        try:
            await write
        except (Unavailable, database.AnyError) as problem:
            log.warning("an Idempotency-Key runs out by itself: %s", type(problem).__name__)

    task = asyncio.create_task(carried_out())
    _finishing.add(task)
    task.add_done_callback(_finishing.discard)
    await asyncio.wait([task], timeout=_CONFIRM_SECONDS)


async def _claim(record_id: str, digest: str, user_id: str) -> tuple[IdempotencyKey, Lease | None]:
    """The record of this key, and its lease, if this request may do the work."""
    now = clock.now()
    owner = database.new_id("owner")
    lease = Lease(db.idempotency_keys, record_id, owner, _LEASE_SECONDS)
    fresh: IdempotencyKey = {
        "_id": record_id,
        "user_id": user_id,
        "body_digest": digest,
        "seed": str(ULID()),
        "answer": None,
        "lease_until": clock.after(_LEASE_SECONDS),
        "lease_owner": owner,
        "created_at": now,
    }
    try:
        await db.idempotency_keys.insert_one(cast(Document, fresh))
    except database.DuplicateKey:
        taken = await db.idempotency_keys.find_one_and_update(
            {
                "_id": record_id,
                "body_digest": digest,
                "answer": None,
                "$or": [{"lease_until": None}, {"lease_until": {"$lt": now}}],
            },
            {"$set": {"lease_until": clock.after(_LEASE_SECONDS), "lease_owner": owner}},
        )
        if taken is not None:
            return cast(IdempotencyKey, taken), lease
        # Of what a majority has (`database.connect`): an answer that is given again stays.
        existing = await db.idempotency_keys.find_one({"_id": record_id})
        if existing is None:  # MongoDB expired it between the two queries
            raise StillRunning("Please send the request again.") from None
        return cast(IdempotencyKey, existing), None
    return fresh, lease


def _json(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    return Response(text, status_code=status, headers=headers, media_type="application/json")
