"""Sessions: signed access tokens, and their revocation in every process within a second."""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import logging
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NotRequired, TypedDict, cast

from jose import JWTError, jwt

from auth import devices, passwords, rate_limits, signing_keys
from auth.devices import Client
from auth.signing_keys import SigningKey
from core import clock, config, database, pagination
from core.database import Document, Index, Update, db
from core.errors import NotFound, Unauthenticated, Unavailable

log = logging.getLogger(__name__)


# --- vocabulary ---------------------------------------------------------------------------------

ISSUER: Final = "wallet"
ALGORITHMS: Final = ["HS256"]  # the only ones accepted: the token's header does not choose
TOKEN_CHARACTERS_MAX: Final = 2_000
# The stream answers every half second; after this long without an answer it counts as down.
STREAM_SILENCE_SECONDS_MAX: Final = 2.0
LOOK_UP_SECONDS_MAX: Final = 5.0
_VERIFIED_TOKENS_MAX: Final = 10_000
_NEWEST: Final = pagination.newest_first("created_at")


_BY_USER: Final = Index(("user_id", "-created_at", "-_id"))


class SessionRecord(TypedDict):
    """A record of `sessions`; MongoDB deletes it when its token has expired."""

    _id: str
    user_id: str
    created_at: dt.datetime
    expires_at: dt.datetime
    revoked_at: dt.datetime | None  # None: the session is valid
    # records of 0.2 have none of these
    device: NotRequired[str]  # in a few words: `Firefox on Windows`
    address: NotRequired[str]  # from which somebody logged in
    last_used_at: NotRequired[dt.datetime]  # written once a minute at most


@dataclasses.dataclass(frozen=True, slots=True)
class Claims:
    """The claims of a valid token."""

    user_id: str
    session_id: str
    epoch: int


@dataclasses.dataclass(frozen=True, slots=True)
class _VerifiedToken:
    """What a token says whose signature was verified with `key`."""

    claims: Claims
    expires_at: int  # seconds since the epoch
    key: str


# --- sessions and tokens ------------------------------------------------------------------------


def token_seconds() -> int:
    """How long a token is valid."""
    return config.settings().access_token_minutes * 60


async def create_session(user_id: str, epoch: int, client: Client | None = None) -> str:
    """Create a session and return its signed token. `epoch` counts the user's password changes;
    `client` is who logs in, for the list of sessions."""
    now = clock.now()
    session: SessionRecord = {
        "_id": database.new_id("ses"),
        "user_id": user_id,
        "created_at": now,
        "expires_at": clock.after(token_seconds(), since=now),
        "revoked_at": None,
        "last_used_at": now,
    }
    if client is not None:
        session["device"] = devices.describe(client.user_agent)
        session["address"] = client.address
    await db.sessions.insert_one(cast(Document, session))
    claims = {
        "iss": ISSUER,
        "sub": user_id,
        "sid": session["_id"],
        "epoch": epoch,
        "iat": int(now.timestamp()),
        "exp": int(now.timestamp()) + token_seconds(),
    }
    key = signing_keys.current()
    return str(
        jwt.encode(claims, key.secret, algorithm=ALGORITHMS[0], headers={"kid": key.id}),
    )


async def get_claims(token: str) -> Claims:
    """The claims of `token`, if we signed it, it has not expired, and its session is not revoked.

    Raises Unauthenticated; Unavailable when MongoDB does not answer whether it is revoked.
    """
    claims = _claims_of(token)
    if not is_current():
        await _require_not_revoked(claims.session_id)
    elif claims.session_id in _revoked:
        raise Unauthenticated("This session has ended. Log in again.")
    _used_at[claims.session_id] = clock.now()
    return claims


async def list_sessions(
    user_id: str, *, limit: int, cursor: str | None
) -> tuple[list[SessionRecord], str | None]:
    """The sessions of a user that have not ended, the newest first, and the next cursor.

    Raises InvalidCursor. A use of the last minute may be missing when another process saw it.
    """
    valid: Document = {
        "user_id": user_id,
        "revoked_at": None,
        "expires_at": {"$gt": clock.now()},
    }
    found = db.sessions.find(valid | _NEWEST.behind(cursor), sort=_NEWEST.sort)
    rows = cast(list[SessionRecord], await found.to_list(limit + 1))
    for row in rows:
        if (used_at := _used_at.get(row["_id"])) is not None:
            row["last_used_at"] = used_at
    return _NEWEST.cut(rows, limit)


async def end_session(user_id: str, session_id: str) -> None:
    """End one session of the user; harmless when it has ended. Raises NotFound for any other."""
    session = await db.sessions.find_one_and_update(
        {"_id": session_id, "user_id": user_id},
        {"$set": {"revoked_at": clock.now()}},
        return_document=True,
    )
    if session is None:
        raise NotFound("There is no such session.")
    _revoked[session_id] = session["expires_at"]


async def record_use() -> None:
    """Write when the sessions of this process were used last, for the list that their owners see."""
    while _used_at:
        batch = [_used_at.popitem() for _ in range(min(len(_used_at), _USES_WRITTEN_TOGETHER))]
        await database.write_all(
            Update("sessions", {"_id": session_id}, {"$max": {"last_used_at": used_at}})
            for session_id, used_at in batch
        )


async def revoke_session(claims: Claims) -> None:
    """End the session: in this process now, in every other one within a second."""
    expires_at = clock.after(token_seconds())
    await db.sessions.update_one(
        {"_id": claims.session_id},
        {
            "$set": {"revoked_at": clock.now()},
            "$setOnInsert": {
                "user_id": claims.user_id,
                "created_at": clock.now(),
                "expires_at": expires_at,
            },
        },
        upsert=True,
    )
    _revoked[claims.session_id] = expires_at


async def revoke_sessions(user_id: str, *, except_session_id: str | None = None) -> int:
    """End every session of the user but one; how many have ended now."""
    ended = await db.sessions.update_many(
        {"user_id": user_id, "revoked_at": None, "_id": {"$ne": except_session_id}},
        {"$set": {"revoked_at": clock.now()}},
        hint=_BY_USER.name,  # not that of `_id`, of which every session but one is a match
    )
    now = clock.now()
    await _load_revoked(
        {"user_id": user_id, "revoked_at": {"$type": "date"}, "expires_at": {"$gt": now}}
    )
    return ended.modified_count


# A token is sent with every request and never changes, so its signature is verified once. Its end and
# its revocation are checked every time.
_verified_tokens: dict[str, _VerifiedToken] = {}


def _claims_of(token: str) -> Claims:
    known = _verified_tokens.get(token)
    if (
        known is not None
        and known.expires_at >= int(time.time())
        and signing_keys.is_accepted(known.key)
    ):
        return known.claims
    _verified_tokens.pop(token, None)
    verified = _verify(token)
    while len(_verified_tokens) >= _VERIFIED_TOKENS_MAX:
        del _verified_tokens[next(iter(_verified_tokens))]
    _verified_tokens[token] = verified
    return verified.claims


def _verify(token: str) -> _VerifiedToken:
    refusal = Unauthenticated("The token is not valid (any more). Log in again.")
    if len(token) > TOKEN_CHARACTERS_MAX or not token.isascii():
        raise refusal
    for key in _keys_of(token):
        try:
            found = jwt.decode(
                token,
                key.secret,
                algorithms=ALGORITHMS,
                issuer=ISSUER,
                options={f"require_{claim}": True for claim in ("exp", "iat", "iss", "sub")},
            )
            break
        except _UNREADABLE:
            continue
    else:
        raise refusal
    user_id, session_id, epoch = found.get("sub"), found.get("sid"), found.get("epoch")
    if not (isinstance(user_id, str) and isinstance(session_id, str) and type(epoch) is int):
        raise refusal
    return _VerifiedToken(Claims(user_id, session_id, epoch), int(found["exp"]), key.secret)


# What the library raises for what is no token of ours; RecursionError for JSON that is nested deeply.
_UNREADABLE: Final = (
    JWTError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    OverflowError,
    RecursionError,
)


def _keys_of(token: str) -> list[SigningKey]:
    """The keys that may have signed `token`: the one that its `kid` names, else (0.2) any of ours."""
    try:
        kid = jwt.get_unverified_header(token).get("kid")
    except _UNREADABLE:
        return []
    return [key for key in signing_keys.accepted() if kid is None or kid == key.id]


# --- revocations by every process ---------------------------------------------------------------

# Each process follows one change stream of the sessions (and of the users, for users.py), so that
# no request needs a look-up. While the stream is down, each request reads its session from the database.
_revoked: dict[str, dt.datetime] = {}  # session id -> when its token expires by itself
_used_at: dict[str, dt.datetime] = {}  # session id -> its last use, where that is not written yet
_USES_WRITTEN_TOGETHER: Final = 500
_answered_at = -math.inf  # time.monotonic() of the stream's last answer; -inf: not followed
_listeners: dict[str, Callable[[Mapping[str, Any] | None], None]] = {}
_follower: asyncio.Task[None] | None = None
_stopping = False


def on_change(collection: str, callback: Callable[[Mapping[str, Any] | None], None]) -> None:
    """Call `callback` with every change of `collection`, and with None when some may have been missed."""
    _listeners[collection] = callback


def is_current() -> bool:
    """Whether this process's cache is at most two seconds behind the database."""
    return time.monotonic() - _answered_at < STREAM_SILENCE_SECONDS_MAX


async def start() -> None:
    """Follow revocations from now on; until the stream is open, each request reads its session."""
    global _follower, _stopping
    _stopping = False
    await passwords.warm_up()
    _follower = asyncio.create_task(_follow_always(), name="follow sessions")


async def stop() -> None:
    """Stop following."""
    global _follower, _stopping, _answered_at
    _stopping, _answered_at = True, -math.inf
    rate_limits.forget_connection()
    task, _follower = _follower, None
    if task is not None:
        with contextlib.suppress(asyncio.CancelledError, TimeoutError):
            # Not `wait_for`: in Python 3.11 it loses a cancellation that coincides with the task's end.
            async with asyncio.timeout(1.5):  # an answer without a change takes half a second
                await task
    _revoked.clear()
    _used_at.clear()
    _verified_tokens.clear()


async def _follow_always() -> None:
    global _answered_at
    while not _stopping:
        try:
            await _follow()
        except Exception as problem:
            log.warning("session stream down, looking sessions up: %s", type(problem).__name__)
        _answered_at = -math.inf
        if not _stopping:
            await asyncio.sleep(0.2)


async def _follow() -> None:
    global _answered_at
    async with database.changes(_followed()) as answers:
        # The stream is open: earlier revocations are in the collection, later ones in the stream.
        for callback in _listeners.values():
            callback(None)
        await _load_revoked({"revoked_at": {"$type": "date"}, "expires_at": {"$gt": clock.now()}})
        forget_at = time.monotonic() + 60
        log.info("session stream up, %d revoked sessions remembered", len(_revoked))
        async for change in answers:
            if _stopping:
                return
            if change is not None:
                _apply_change(change)
            _answered_at = time.monotonic()
            if _answered_at > forget_at:
                _forget_expired()
                forget_at = _answered_at + 60


def _followed() -> Document:
    """The server filters log-ins, uses and expiries out: many of them must not delay a revocation."""
    return {
        "$or": [
            {"ns.coll": {"$in": list(_listeners)}},
            {
                "ns.coll": "sessions",
                "operationType": "update",
                "updateDescription.updatedFields.revoked_at": {"$exists": True},
            },
            {"ns.coll": "sessions", "operationType": "replace"},
            {
                "ns.coll": "sessions",
                "operationType": "insert",
                "fullDocument.revoked_at": {"$ne": None},
            },
        ]
    }


async def _load_revoked(where: Document) -> None:
    async for session in db.sessions.find(where, {"expires_at": 1}):
        _revoked[session["_id"]] = session["expires_at"]


def _apply_change(change: Mapping[str, Any]) -> None:
    collection = change["ns"]["coll"]
    if collection in _listeners:
        _listeners[collection](change)
    if collection == "sessions":
        session = cast(SessionRecord | None, change.get("fullDocument"))
        if session is not None and session["revoked_at"] is not None:
            _revoked[session["_id"]] = session["expires_at"]


def _forget_expired() -> None:
    now = clock.now()
    for session_id in [s for s, expires_at in _revoked.items() if expires_at < now]:
        del _revoked[session_id]


async def _require_not_revoked(session_id: str) -> None:
    try:
        async with asyncio.timeout(LOOK_UP_SECONDS_MAX):
            found = await database.find_together("sessions", session_id)
    except TimeoutError:
        raise Unavailable("The session cannot be checked right now; try again.") from None
    session = cast(SessionRecord | None, found)
    if session is None or session["revoked_at"] is not None:
        raise Unauthenticated("This session has ended. Log in again.")


database.declare(
    "sessions",
    indexes=[
        _BY_USER,
        Index(("revoked_at",), only_where={"revoked_at": {"$type": "date"}}),
        Index(("expires_at",), expire_seconds=0),
    ],
    schema={
        "bsonType": "object",
        "required": ["user_id", "created_at", "expires_at", "revoked_at"],
        "properties": {
            "_id": {"bsonType": "string"},
            "user_id": {"bsonType": "string"},
            "created_at": {"bsonType": "date"},
            "expires_at": {"bsonType": "date"},
            "revoked_at": {"bsonType": ["date", "null"]},
            "device": {"bsonType": "string"},
            "address": {"bsonType": "string"},
            "last_used_at": {"bsonType": "date"},
        },
    },
)
