"""Scrubbing: an external service asked whether numbers may be called; its verdicts kept with their time.

`SCRUBBER_URL` switches it on for the purposes in `SCRUB_PURPOSES`. It is sent
`{"purpose", "numbers": [...]}` and answers `{"verdicts": [{"number", "allowed", "valid_until"?,
"reason"?}]}`. A verdict holds for `SCRUB_VALID_DAYS` at most. A number without a valid verdict is not
called: when the service does not answer, everybody waits.
"""

import datetime as dt
import hashlib
import hmac
import json
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NotRequired, TypedDict, cast
from urllib.parse import urlsplit

import httpx

from compliance.calling_hours import Purpose
from core import clock, config, database
from core.database import Index, Update, db

log = logging.getLogger(__name__)

# --- vocabulary ---------------------------------------------------------------------------------

BATCH: Final = 500
_SECONDS_MAX: Final = 15.0
_ANSWER_BYTES_MAX: Final = 4 * 1024 * 1024
# After a failure nobody is asked for so long: each call would wait for the same silence.
REST_SECONDS: Final = 5.0
_HISTORY_MAX: Final = 20
_KEPT_DAYS: Final = 400


class PastVerdict(TypedDict):
    """What the scrubber said at a moment."""

    allowed: bool
    reason: str
    checked_at: dt.datetime
    valid_until: dt.datetime


class ScrubVerdict(PastVerdict):
    """A document of `scrub_verdicts`: what the scrubber says about a number for a purpose."""

    _id: str
    number: str
    purpose: Purpose
    history: NotRequired[list[PastVerdict]]  # this one and those before it, the latest last
    expires_at: dt.datetime


# --- verbs --------------------------------------------------------------------------------------


def is_required(purpose: Purpose) -> bool:
    """Whether numbers have to be scrubbed before they are called for this purpose."""
    chosen = config.settings()
    return bool(chosen.scrubber_url) and purpose in chosen.scrub_purposes


async def get_verdicts(
    numbers: Iterable[str], purpose: Purpose, *, at: dt.datetime | None = None
) -> dict[str, ScrubVerdict]:
    """The verdicts about these numbers (E.164) that are valid now: kept ones, and for the others the
    scrubber is asked, in batches. A number that is missing is unknown: it must not be called."""
    moment = at or clock.now()
    wanted = list(dict.fromkeys(numbers))
    found = await _kept(wanted, purpose, moment)
    missing = [number for number in wanted if number not in found]
    for start in range(0, len(missing), BATCH):
        batch = missing[start : start + BATCH]
        answered = await _ask(batch, purpose, moment)
        if answered is None:
            break
        await _keep(answered)
        found |= {verdict["number"]: verdict for verdict in answered}
    return found


async def find_verdicts(number: str) -> list[ScrubVerdict]:
    """What the scrubber has said about a number, for every purpose, valid or not; it is not asked."""
    rows = await db.scrub_verdicts.find({"number": number}, sort=[("_id", 1)]).to_list(None)
    return cast(list[ScrubVerdict], rows)


# --- the scrubber -------------------------------------------------------------------------------

_rests_until = 0.0


def forget_failure() -> None:
    """Ask the scrubber again at once (tests)."""
    global _rests_until
    _rests_until = 0.0


async def _ask(
    numbers: Sequence[str], purpose: Purpose, at: dt.datetime
) -> list[ScrubVerdict] | None:
    """The verdicts about a batch; None when the scrubber did not give an answer that can be read."""
    global _rests_until
    if time.monotonic() < _rests_until:
        return None
    try:
        answer = await _post({"purpose": purpose, "numbers": list(numbers)})
        return _verdicts_of(answer, frozenset(numbers), purpose, at)
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError) as problem:
        log.error("the scrubber gives no answer, nobody is called: %s", type(problem).__name__)
        _rests_until = time.monotonic() + REST_SECONDS
        return None


async def _post(body: Mapping[str, Any]) -> Mapping[str, Any]:
    chosen = config.settings()
    content = json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    if token := chosen.scrubber_token.get_secret_value():
        digest = hmac.new(token.encode(), content, hashlib.sha256).hexdigest()
        headers |= {"Authorization": f"Bearer {token}", "X-Signature": f"sha256={digest}"}
    is_local = config.is_loopback(urlsplit(chosen.scrubber_url).hostname or "")
    async with httpx.AsyncClient(
        timeout=_SECONDS_MAX, follow_redirects=False, trust_env=not is_local
    ) as client:
        answer = await client.post(chosen.scrubber_url, content=content, headers=headers)
    if answer.status_code != 200 or len(answer.content) > _ANSWER_BYTES_MAX:
        raise ValueError(f"it answered {answer.status_code}")
    fields = answer.json()
    if not isinstance(fields, dict):
        raise ValueError("its answer is no object")
    return fields


def _verdicts_of(
    answer: Mapping[str, Any], asked: frozenset[str], purpose: Purpose, at: dt.datetime
) -> list[ScrubVerdict]:
    """What can be read of an answer; a number of which it says nothing clear stays unknown."""
    longest = at + dt.timedelta(days=config.settings().scrub_valid_days)
    rows = answer.get("verdicts")
    if not isinstance(rows, list):
        raise ValueError("its answer has no verdicts")
    found = []
    for row in rows:
        if not isinstance(row, dict):
            continue
        number, allowed = row.get("number"), row.get("allowed")
        if number not in asked or not isinstance(allowed, bool):
            continue
        valid_until = min(longest, _moment(row.get("valid_until")) or longest)
        if valid_until <= at:  # it is over already
            continue
        past: PastVerdict = {
            "allowed": allowed,
            "reason": str(row.get("reason") or "")[:200],
            "checked_at": at,
            "valid_until": valid_until,
        }
        expires_at = at + dt.timedelta(days=_KEPT_DAYS)
        found.append(
            cast(
                ScrubVerdict,
                {
                    "_id": _id(purpose, number),
                    "number": number,
                    "purpose": purpose,
                    **past,
                    "expires_at": expires_at,
                },
            )
        )
    return found


def _moment(text: object) -> dt.datetime | None:
    """The moment in an answer; one that cannot be read is none, and raises ValueError."""
    if text is None:
        return None
    moment = dt.datetime.fromisoformat(str(text))
    if moment.tzinfo is None:
        raise ValueError("a moment needs its offset")
    return moment.astimezone(dt.UTC)


# --- storage ------------------------------------------------------------------------------------


async def _kept(
    numbers: Sequence[str], purpose: Purpose, at: dt.datetime
) -> dict[str, ScrubVerdict]:
    found: dict[str, ScrubVerdict] = {}
    for start in range(0, len(numbers), 1_000):
        ids = [_id(purpose, number) for number in numbers[start : start + 1_000]]
        rows = db.scrub_verdicts.find({"_id": {"$in": ids}}, {"history": 0})
        for row in cast(list[ScrubVerdict], await rows.to_list(None)):
            if row["valid_until"] > at:
                found[row["number"]] = row
    return found


async def _keep(verdicts: Sequence[ScrubVerdict]) -> None:
    names = ("allowed", "reason", "checked_at", "valid_until")
    await database.write_all(
        Update(
            "scrub_verdicts",
            {"_id": verdict["_id"]},
            {
                "$set": {name: value for name, value in verdict.items() if name != "_id"},
                "$push": {
                    "history": {
                        "$each": [{name: verdict[name] for name in names}],  # type: ignore[literal-required]
                        "$slice": -_HISTORY_MAX,
                    }
                },
            },
            upsert=True,
        )
        for verdict in verdicts
    )


def _id(purpose: Purpose, number: str) -> str:
    return f"{purpose}:{number}"


database.declare(
    "scrub_verdicts",
    indexes=[Index(("number", "_id")), Index(("expires_at",), expire_seconds=0)],
)
