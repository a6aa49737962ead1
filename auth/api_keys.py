"""API keys: made, rotated and revoked by their owner, verified without a look-up in each request.

A key is text such as `wk_live_01KB…`: a prefix that says for which kind of installation it is, the
number of the key, a secret of 32 characters, and a checksum. With the checksum a typing error or any
other text is refused without the database, and scanners of source code find real keys only
(`KEY_PATTERN`). Stored is an HMAC of the text, keyed by a secret that is derived from `JWT_SECRET`:
who reads the database learns no key, and who can write to it cannot make one either.
"""

import asyncio
import contextvars
import dataclasses
import datetime as dt
import hashlib
import hmac
import logging
import re
import secrets
import string
import time
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypedDict, cast, get_args

from auth import sessions
from core import clock, config, database
from core.database import Document, Index, db
from core.errors import NotFound, Problem, Unauthenticated, Unavailable

log = logging.getLogger(__name__)


# --- vocabulary ---------------------------------------------------------------------------------

Scope = Literal[
    "wallet:read",  # who the key belongs to, balance and rate
    "payments:read",  # orders, payments and refunds
    "payments:write",  # open an order, report that it was paid
    "transactions:read",  # the history, also as CSV
    "calls:read",  # calls and what they would cost
    "calls:write",  # place a call, hang up
    "campaigns:read",  # campaigns, their contacts and results
    "campaigns:write",  # create, upload, pause, resume, cancel
    "admin:read",  # a key of an operator or admin: everybody's, and what the pages for admins show
]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)

KEYS_PER_USER_MAX: Final = 20
NAME_CHARACTERS_MAX: Final = 100
OVERLAP_SECONDS_DEFAULT: Final = 86_400
OVERLAP_SECONDS_MAX: Final = 7 * 86_400
# `last_used_at` is written so often at most.
USE_RECORDED_SECONDS: Final = 60
LOOK_UP_SECONDS_MAX: Final = 5.0

KEY_PATTERN: Final = r"wk_(live|test)_([0-9A-HJKMNP-TV-Z]{26})[0-9A-Za-z]{32}([0-9A-Za-z]{6})"
_key_form = re.compile(KEY_PATTERN)
_DIGITS: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_SECRET_CHARACTERS: Final = 32  # 190 bits
_CACHED_MAX: Final = 10_000
_TOUCHED_MAX: Final = 10_000


class ApiKeyRecord(TypedDict):
    """A record of `api_keys`. It stays when the key is revoked: calls and the audit log name it."""

    _id: str
    user_id: str
    name: str
    scopes: list[Scope]
    daily_spend_cap_paise: int | None
    # Which of the user's places it takes; unique, so that nobody has more than there are. None: revoked.
    slot: int | None
    prefix: str  # how the text begins, to recognise it
    digest: str
    digest_seed: str  # of the request that made the present text
    previous_digest: str | None  # of the text before the last rotation
    previous_until: dt.datetime | None
    created_at: dt.datetime
    expires_at: dt.datetime | None
    last_used_at: dt.datetime | None
    revoked_at: dt.datetime | None


@dataclasses.dataclass(frozen=True, slots=True)
class ApiKey:
    """A key that was verified: whose it is, and what it may do."""

    id: str
    user_id: str
    scopes: frozenset[Scope]
    daily_spend_cap_paise: int | None


class TooManyApiKeys(Problem):
    """This account has as many API keys as it may have; revoke one."""

    code, status, title = "too_many_api_keys", 409, "Too many API keys"


# --- the text of a key --------------------------------------------------------------------------


def is_api_key(text: str) -> bool:
    """Whether a bearer token is meant as an API key, a valid one or not."""
    return text.startswith("wk_")


def _prefix() -> str:
    return "wk_live_" if config.settings().app_env == "production" else "wk_test_"


def _new_text(seed: str) -> str:
    secret = "".join(secrets.choice(_DIGITS) for _ in range(_SECRET_CHARACTERS))
    text = f"{_prefix()}{seed}{secret}"
    return text + _checksum(text)


def _checksum(text: str) -> str:
    number, digits = zlib.crc32(text.encode()), ""
    for _ in range(6):
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits


def _id_in(text: str) -> str | None:
    """The id of the key that `text` is written like; None when it cannot be one of this installation."""
    found = _key_form.fullmatch(text)
    if found is None or not text.startswith(_prefix()):
        return None
    if not hmac.compare_digest(found[3], _checksum(text[:-6])):
        return None
    return f"key_{found[2]}"


def _digest(text: str, secret: str) -> str:
    key = hmac.digest(secret.encode(), b"wallet API keys", hashlib.sha256)
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _jwt_secrets() -> list[str]:
    """The secrets that keys may have been stored with, the present one first."""
    chosen = config.settings()
    secrets_in_use = (chosen.jwt_secret, chosen.jwt_secret_previous)
    return [text for secret in secrets_in_use if (text := secret.get_secret_value())]


# --- for the owner ------------------------------------------------------------------------------


async def create_api_key(
    user_id: str,
    *,
    name: str,
    scopes: Sequence[Scope],
    expires_at: dt.datetime | None,
    daily_spend_cap_paise: int | None,
    seed: str,
) -> tuple[ApiKeyRecord, str | None]:
    """A new key and its text, which nobody can find out again.

    With the `seed` of a key that exists already, that key, and None for the text. Raises
    TooManyApiKeys.
    """
    text = _new_text(seed)
    record: ApiKeyRecord = {
        "_id": f"key_{seed}",
        "user_id": user_id,
        "name": name,
        "scopes": [scope for scope in SCOPES if scope in scopes],
        "daily_spend_cap_paise": (
            None if daily_spend_cap_paise is None else database.long(daily_spend_cap_paise)
        ),
        "slot": 0,
        "prefix": text[:12],
        "digest": _digest(text, _jwt_secrets()[0]),
        "digest_seed": seed,
        "previous_digest": None,
        "previous_until": None,
        "created_at": clock.now(),
        "expires_at": expires_at,
        "last_used_at": None,
        "revoked_at": None,
    }
    taken = {key["slot"] for key in await list_api_keys(user_id)}
    for slot in range(KEYS_PER_USER_MAX):
        if slot in taken:
            continue
        try:
            await db.api_keys.insert_one(cast(Document, {**record, "slot": slot}))
        except database.DuplicateKey:  # another request took the place, or this one was here before
            known = await _find(record["_id"])
            if known is not None:
                return known, None
            continue
        return record, text
    raise TooManyApiKeys(
        f"An account has at most {KEYS_PER_USER_MAX} API keys; revoke one that is not used any more."
    )


async def list_api_keys(user_id: str) -> list[ApiKeyRecord]:
    """The user's keys that are not revoked, the newest first; expired ones are among them."""
    found = db.api_keys.find({"user_id": user_id, "revoked_at": None}).limit(KEYS_PER_USER_MAX)
    keys = cast(list[ApiKeyRecord], await found.to_list(None))
    return sorted(keys, key=lambda key: key["_id"], reverse=True)


async def rotate_api_key(
    key_id: str, user_id: str, *, overlap_seconds: int, seed: str
) -> tuple[ApiKeyRecord, str | None]:
    """The key with a new text, and that text; the text until now is valid for `overlap_seconds` more,
    one from an earlier rotation no longer. Name, scopes, end and the day's spending stay.

    Repeated with the same `seed`, the key as it is, and None for the text. Raises NotFound.
    """
    found = await _find(key_id)
    if found is None or found["user_id"] != user_id or found["revoked_at"] is not None:
        raise NotFound("You have no API key with this id.")
    if found["digest_seed"] == seed:
        return found, None
    text = _new_text(key_id.removeprefix("key_"))
    changed = await db.api_keys.find_one_and_update(
        {"_id": key_id, "digest": found["digest"], "revoked_at": None},
        {
            "$set": {
                "digest": _digest(text, _jwt_secrets()[0]),
                "digest_seed": seed,
                "previous_digest": found["digest"] if overlap_seconds else None,
                "previous_until": clock.after(overlap_seconds) if overlap_seconds else None,
            }
        },
        return_document=True,
    )
    if changed is None:
        raise Unavailable("This key was changed at the same moment; try again.")
    _remove_from_cache(key_id)
    return cast(ApiKeyRecord, changed), text


async def revoke_api_key(key_id: str, user_id: str) -> ApiKeyRecord:
    """End a key: in this process now, in every other one within a second. Harmless when repeated.
    Raises NotFound."""
    await db.api_keys.update_one(
        {"_id": key_id, "user_id": user_id, "revoked_at": None},
        {"$set": {"revoked_at": clock.now(), "slot": None}},
    )
    _remove_from_cache(key_id)
    found = await _find(key_id)
    if found is None or found["user_id"] != user_id:
        raise NotFound("You have no API key with this id.")
    return found


async def _find(key_id: str) -> ApiKeyRecord | None:
    return cast(ApiKeyRecord | None, await db.api_keys.find_one({"_id": key_id}))


# --- verification -------------------------------------------------------------------------------


async def get_verified_key(text: str) -> ApiKey:
    """The key with this text, and a note that it was used.

    Raises Unauthenticated when there is none, or it is revoked or has expired; Unavailable when
    MongoDB does not answer.
    """
    refusal = Unauthenticated("This API key is not valid (any more).")
    key_id = _id_in(text)
    if key_id is None:
        raise refusal
    record = await _find_cached(key_id)
    if record is None or record["revoked_at"] is not None:
        raise refusal
    now = clock.now()
    if record["expires_at"] is not None and record["expires_at"] <= now:
        raise refusal
    secret = _matching_secret(text, record, now)
    if secret is None:
        raise refusal
    _record_use(record, text, is_renewed=secret != _jwt_secrets()[0])
    return ApiKey(
        id=key_id,
        user_id=record["user_id"],
        scopes=frozenset(record["scopes"]),
        daily_spend_cap_paise=record["daily_spend_cap_paise"],
    )


def _matching_secret(text: str, record: ApiKeyRecord, now: dt.datetime) -> str | None:
    """The secret with which this text is one that the record accepts now; None when it is none."""
    accepted = [record["digest"]]
    until, previous = record["previous_until"], record["previous_digest"]
    if until is not None and previous is not None and now < until:
        accepted.append(previous)
    for secret in _jwt_secrets():
        digest = _digest(text, secret)
        if any(hmac.compare_digest(digest, each) for each in accepted):
            return secret
    return None


_touched: dict[str, float] = {}  # key id -> time.monotonic() of the last note of its use
_touching: set[asyncio.Task[None]] = set()


def _record_use(record: ApiKeyRecord, text: str, *, is_renewed: bool) -> None:
    """Write `last_used_at` behind the request's back, once a minute at most; and where the text was
    stored with the secret before the present one, store it with the present one."""
    now = time.monotonic()
    if now - _touched.get(record["_id"], -USE_RECORDED_SECONDS) < USE_RECORDED_SECONDS:
        return
    if len(_touched) >= _TOUCHED_MAX:
        _touched.clear()
    _touched[record["_id"]] = now
    # A context of its own: the request may be one that only reads.
    task = asyncio.get_running_loop().create_task(
        _write_use(record, text, is_renewed=is_renewed), context=contextvars.Context()
    )
    _touching.add(task)
    task.add_done_callback(_touching.discard)


async def _write_use(record: ApiKeyRecord, text: str, *, is_renewed: bool) -> None:
    key_id, now = record["_id"], clock.now()
    try:
        await db.api_keys.update_one(
            {
                "_id": key_id,
                "$or": [
                    {"last_used_at": None},
                    {"last_used_at": {"$lte": clock.after(-USE_RECORDED_SECONDS, since=now)}},
                ],
            },
            {"$set": {"last_used_at": now}},
        )
        if is_renewed:
            for old in _jwt_secrets()[1:]:
                await db.api_keys.update_one(
                    {"_id": key_id, "digest": _digest(text, old)},
                    {"$set": {"digest": _digest(text, _jwt_secrets()[0])}},
                )
    except (Unavailable, database.AnyError) as problem:
        log.warning("API key %s: use not noted: %s", key_id, type(problem).__name__)


# --- the cache, valid while the change stream reports that nothing changed ----------------------

_cache: dict[str, ApiKeyRecord] = {}
_generation = 0  # counts the changes, so that a record that was read before one is not cached


async def _find_cached(key_id: str) -> ApiKeyRecord | None:
    if sessions.is_current() and (known := _cache.get(key_id)) is not None:
        return known
    generation = _generation
    try:
        async with asyncio.timeout(LOOK_UP_SECONDS_MAX):
            found = await database.find_together("api_keys", key_id)
    except TimeoutError:
        raise Unavailable("The API key cannot be checked right now; try again.") from None
    record = cast(ApiKeyRecord | None, found)
    if record is not None and generation == _generation and sessions.is_current():
        if len(_cache) >= _CACHED_MAX:
            _cache.clear()
        _cache[key_id] = record
    return record


def _apply_change(change: Mapping[str, Any] | None) -> None:
    if change is None or "documentKey" not in change:
        global _generation
        _generation += 1
        _cache.clear()
        return
    changed = change.get("updateDescription", {}).get("updatedFields", {})
    if set(changed) != {"last_used_at"}:  # which says nothing about whether it is valid
        _remove_from_cache(change["documentKey"]["_id"])


def _remove_from_cache(key_id: str) -> None:
    global _generation
    _generation += 1
    _cache.pop(key_id, None)


sessions.on_change("api_keys", _apply_change)


database.declare(
    "api_keys",
    indexes=[
        Index(("user_id", "slot"), unique=True, only_where={"slot": {"$type": "int"}}),
        Index(("user_id", "revoked_at")),
    ],
    schema={
        "bsonType": "object",
        "required": ["user_id", "name", "scopes", "digest", "created_at", "revoked_at"],
        "properties": {
            "_id": {"bsonType": "string"},
            "user_id": {"bsonType": "string"},
            "name": {"bsonType": "string"},
            "scopes": {"bsonType": "array", "items": {"bsonType": "string"}},
            "daily_spend_cap_paise": {"bsonType": ["long", "null"]},
            "slot": {"bsonType": ["int", "null"]},
            "digest": {"bsonType": "string"},
            "created_at": {"bsonType": "date"},
            "expires_at": {"bsonType": ["date", "null"]},
            "revoked_at": {"bsonType": ["date", "null"]},
        },
    },
)
