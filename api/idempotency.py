"""Idempotency keys: the answer of a POST kept for a week and given again."""

import dataclasses
import hashlib
import re
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request, Response
from pydantic import BaseModel
from ulid import ULID

from core import clock, database
from core.database import Index, db
from core.errors import IdempotencyKeyReused, InvalidRequest, StillRunning

_LEASE_SECONDS = 60


_KEPT_DAYS = 7


_idempotency_key_form = re.compile(r"[\x21-\x7e]{1,255}")


# --- idempotency --------------------------------------------------------------------------------
database.declare(
    "idempotency_keys", indexes=[Index(("created_at",), expire_seconds=_KEPT_DAYS * 86_400)]
)


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What `once` sends and keeps: a status and a model."""

    status: int
    model: BaseModel


async def once(
    request: Request,
    user_id: str,
    work: Callable[[str], Awaitable[Answer]],
    *,
    fingerprint: bytes | None = None,
) -> Response:
    """Answer a POST that creates something; honour its `Idempotency-Key`.

    `work(seed)` does it and gives the answer. `seed` is the same in every attempt with the same
    key, so ids made from it (`call_{seed}`) are found again after a crash between doing the work
    and keeping the answer. Only answers that are no problem are kept: after a 402 the same key
    may be tried again once the wallet is recharged. `fingerprint` stands for the body where it is
    not JSON (uploads). Raises IdempotencyKeyReused and StillRunning.
    """
    key = request.headers.get("idempotency-key")
    if key is None:
        answer = await work(str(ULID()))
        return _json(answer.status, answer.model.model_dump_json())
    if not _idempotency_key_form.fullmatch(key):
        message = "1 to 255 printable ASCII characters without spaces"
        raise InvalidRequest(
            f"Idempotency-Key: {message}",
            errors=[{"field": "Idempotency-Key", "message": message}],
        )
    body = fingerprint if fingerprint is not None else await request.body()
    digest = hashlib.sha256(request.url.query.encode() + b"\0" + body).hexdigest()
    record_id = database.stable_id("idem", user_id, request.method, request.url.path, key)
    record = await _claim(record_id, digest, user_id)
    if record["body_digest"] != digest:
        raise IdempotencyKeyReused(
            "This Idempotency-Key was used with another body. Use a new key for a new request."
        )
    if record["answer"] is not None:
        kept = record["answer"]
        return _json(kept["status"], kept["body"], {"Idempotency-Replayed": "true"})
    if not record["mine"]:
        raise StillRunning(
            "The first request with this Idempotency-Key is still running; ask again shortly.",
            headers={"Retry-After": "1"},
        )
    try:
        answer = await work(record["seed"])
    except BaseException:
        await db.idempotency_keys.update_one({"_id": record_id}, {"$set": {"lease_until": None}})
        raise
    text = answer.model.model_dump_json()
    await db.idempotency_keys.update_one(
        {"_id": record_id}, {"$set": {"answer": {"status": answer.status, "body": text}}}
    )
    return _json(answer.status, text)


async def _claim(record_id: str, digest: str, user_id: str) -> dict[str, Any]:
    """The record of this key, and in `mine` whether this request may do the work."""
    now = clock.now()
    fresh = {
        "_id": record_id,
        "user_id": user_id,
        "body_digest": digest,
        "seed": str(ULID()),
        "answer": None,
        "lease_until": clock.after(_LEASE_SECONDS),
        "created_at": now,
    }
    try:
        await db.idempotency_keys.insert_one(fresh)
    except database.DuplicateKey:
        taken = await db.idempotency_keys.find_one_and_update(
            {
                "_id": record_id,
                "body_digest": digest,
                "answer": None,
                "$or": [{"lease_until": None}, {"lease_until": {"$lt": now}}],
            },
            {"$set": {"lease_until": clock.after(_LEASE_SECONDS)}},
        )
        if taken is not None:
            return {**taken, "mine": True}
        existing = await db.idempotency_keys.find_one({"_id": record_id})
        if existing is None:  # it expired in this very moment
            raise StillRunning("Please send the request again.") from None
        return {**existing, "mine": False}
    return {**fresh, "mine": True}


def _json(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    return Response(text, status_code=status, headers=headers, media_type="application/json")
