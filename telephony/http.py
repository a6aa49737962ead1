"""HTTP client for providers: was the request refused, never sent, or is its outcome unknown."""

import asyncio
import datetime as dt
import email.utils
import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import httpx

from telephony.provider import (
    BUSY,
    CALLER_ID_REFUSED,
    COUNTRY_NOT_ENABLED,
    CREDENTIALS_REFUSED,
    MISCONFIGURED,
    OUT_OF_CREDIT,
    OVER,
    SUSPENDED,
    TOO_SLOW,
    UNREACHABLE,
    Ambiguous,
    NetworkCall,
    NotSent,
    Refused,
)

log = logging.getLogger(__name__)
T = TypeVar("T")


# --- vocabulary ---------------------------------------------------------------------------------

CONNECT_SECONDS: Final = 5.0
READ_SECONDS: Final = 12.0
# Any request but that for a new call can be repeated, and other calls wait for it: a slow answer must
# not delay raising their limits.
ASK_SECONDS: Final = 6.0
# A call that is refused with 429 was not placed, so it may be tried again; a user waits for it.
PLACE_TRIES: Final = 3
_RETRY_SECONDS_MAX: Final = 2.0

# No attempt begins later: its result must be known before the network is asked about the call.
_LAST_TRY_SECONDS: Final = 8.0

# A call may begin this long before ours by the network's records.
_EARLIER_SECONDS: Final = 10

_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
_NO_CREDIT: Final = re.compile(r"(insufficient|low|not enough|out of) (balance|credit|fund)", re.I)
_SUSPENDED: Final = re.compile(r"account.{0,30}(suspended|not active|inactive|closed)", re.I)
# Twilio's codes: the number that we call from is not one of the account, or cannot be called from.
_CALLER_ID_CODES: Final = frozenset({"21210", "21212", "21213"})
_CALLER_ID: Final = re.compile(
    r"(caller.?id|\bfrom\b|\bsrc\b|source number).{0,60}"
    r"(not |in)(a |yours|verified|valid|allowed|found|owned|rented|mapped|belong)",
    re.I,
)
# Twilio's codes: the account's geographic permissions leave out the country of the number.
COUNTRY_CODES: Final = frozenset({"21215", "13227", "32205"})
_COUNTRY: Final = re.compile(
    r"geo(graphic)?[- ]?permission|not (authori[sz]ed|enabled|permitted) to (make )?call"
    r"|(country|destination|international).{0,40}(barred|not enabled|not permitted|disabled)",
    re.I,
)
# In what a network says of a refusal: addresses, and whatever is as long as an id or a secret.
_SECRET: Final = re.compile(r"https?://\S+|[A-Za-z0-9_-]{20,}")
_WORDS_MAX: Final = 140
# What the operator has to do about a refusal of the account.
_REPAIRS: Final = {
    OUT_OF_CREDIT: "is out of credit: it refuses calls until it is paid",
    CREDENTIALS_REFUSED: "refuses the credentials of this service",
    SUSPENDED: "has suspended the account of this service",
    MISCONFIGURED: "does not know the account of this service",
    COUNTRY_NOT_ENABLED: "does not let this account call the country of a number",
    CALLER_ID_REFUSED: "does not let this account show its caller id",
}
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


# --- verbs --------------------------------------------------------------------------------------


class HttpClient:
    """The connections to one network's API, with the account of this service there."""

    def __init__(self, name: str, base_url: str, *, user: str, password: str) -> None:
        self.name = name
        # Connecting and waiting for a free connection mean "not sent"; reading means "unknown".
        self._client = httpx.AsyncClient(
            base_url=base_url.rstrip("/"),
            auth=(user, password),
            timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS, pool=CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=200, max_keepalive_connections=50),
            follow_redirects=False,
            trust_env=urlsplit(base_url).hostname not in _LOOPBACK,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def place(self, path: str, **content: Any) -> dict[str, Any]:
        """POST a new call; the fields of the answer. Raises Refused, NotSent, Ambiguous.

        Only a 429 is tried again: no network promises to recognise a repeated request, and after a
        5xx or without an answer there may be a call.
        """
        last_try_at = asyncio.get_running_loop().time() + _LAST_TRY_SECONDS
        for left in reversed(range(PLACE_TRIES)):
            answer = await self._post_call(path, content)
            is_late = asyncio.get_running_loop().time() > last_try_at
            if answer.status_code != 429 or left == 0 or is_late:
                break
            await asyncio.sleep(_retry_after(answer))
        status = answer.status_code
        if status == 429:
            raise NotSent(BUSY)
        if status < 200 or 300 <= status < 400 or status == 408 or status >= 500:
            raise Ambiguous(f"{self.name} answered {status}")
        fields = _object(answer)
        if status >= 400:
            raise self._refusal(status, fields)
        if fields is None:
            raise Ambiguous(f"{self.name} answered {status} without an object")
        return fields

    async def _post_call(self, path: str, content: dict[str, Any]) -> httpx.Response:
        try:
            return await self._client.post(path, **content)
        except httpx.PoolTimeout as problem:  # all our connections were in use
            raise NotSent(TOO_SLOW) from problem
        except (httpx.ConnectError, httpx.ConnectTimeout) as problem:
            log.warning("%s cannot be reached: %s", self.name, type(problem).__name__)
            raise NotSent(UNREACHABLE) from problem
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as problem:
            raise NotSent(UNREACHABLE) from problem
        except httpx.HTTPError as problem:
            raise Ambiguous(f"{self.name}: {type(problem).__name__}") from problem

    def _refusal(self, status: int, fields: Mapping[str, Any] | None) -> Refused | NotSent:
        """Why there is no call, without any data of the account."""
        code, said = _said(fields or {})
        detail = f"{status}" + (f", code {code}" if code else "") + (f": {said}" if said else "")
        if (fault := self._fault(status, code, str(fields))) is not None:
            log.error("%s %s (%s)", self.name, _REPAIRS[fault], detail)
            return NotSent(fault, detail)
        return Refused(f"provider_refused: {detail}")

    def _fault(self, status: int, code: str, answer: str) -> str | None:
        """What is wrong with the account of this service at the network; None when it is the call."""
        if status == 402 or _NO_CREDIT.search(answer):
            return OUT_OF_CREDIT
        if status == 401:
            return CREDENTIALS_REFUSED
        if _SUSPENDED.search(answer):
            return SUSPENDED
        if code in COUNTRY_CODES or _COUNTRY.search(answer):
            return COUNTRY_NOT_ENABLED
        if code in _CALLER_ID_CODES or _CALLER_ID.search(answer):
            return CALLER_ID_REFUSED
        # The address of a new call contains no id but the account's.
        return MISCONFIGURED if status == 404 else None

    async def ask(self, method: str, path: str, **content: Any) -> tuple[int, dict[str, Any]]:
        """Any other request: its status (2xx, or a 4xx that concerns the call) and its fields.

        Raises Ambiguous for every answer that leaves open how the call is.
        """
        try:
            async with asyncio.timeout(ASK_SECONDS):
                answer = await self._client.request(method, path, **content)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as problem:
            raise Ambiguous(f"{self.name}: {type(problem).__name__}") from problem
        status = answer.status_code
        if status < 200 or 300 <= status < 400 or status >= 500 or status in (401, 403, 408, 429):
            raise Ambiguous(f"{self.name} answered {status}")
        fields = _object(answer)
        if fields is None and status < 300 and answer.content:
            raise Ambiguous(f"{self.name} answered {status} without an object")
        return status, fields or {}


class HttpProvider:
    """What the adapters of real networks share: an HTTP client each, opened when it is first needed."""

    name: str

    def __init__(self) -> None:
        self._http: HttpClient | None = None

    async def start(self) -> None:
        """Do nothing: the client is opened with the first request."""

    async def stop(self) -> None:
        """Close the connections."""
        if self._http is not None:
            await self._http.close()
            self._http = None

    def _account(self) -> tuple[str, str, str]:
        """The address of the API, the user and the password; empty where it is not configured."""
        raise NotImplementedError

    @property
    def http(self) -> HttpClient:
        """The client. Raises Ambiguous where this service has no account at the network."""
        if self._http is None:
            base_url, user, password = self._account()
            if not (user and password):
                raise Ambiguous(f"{self.name} is not configured")
            self._http = HttpClient(self.name, base_url, user=user, password=password)
        return self._http


def usable_id(text: object) -> str:
    """An id of a network that can stand in an address. Raises Ambiguous.

    An address with an empty id is that of all calls of the account: Plivo would hang up all of them.
    """
    if not isinstance(text, str) or not _ID.fullmatch(text):
        raise Ambiguous("the network's id of this call is not known yet")
    return text


def moment(text: object) -> dt.datetime | None:
    """A moment as networks write it (RFC 2822, or ISO 8601 with an offset); None for anything else."""
    if not isinstance(text, str) or not text:
        return None
    for read in (dt.datetime.fromisoformat, email.utils.parsedate_to_datetime):
        try:
            found = read(text)
        except ValueError:
            continue
        if found.tzinfo is not None:
            return found.astimezone(dt.UTC)
    return None


def seconds(value: object) -> int | None:
    """A duration as networks write it; None when there is none."""
    text = str(value if value is not None else "").strip()
    return int(text) if re.fullmatch(r"-?\d{1,9}", text) else None


def was_placed_then(
    call: NetworkCall, begun_at: dt.datetime, *, within_seconds: float = 60
) -> bool:
    """Whether a call that began at the network at that moment can be this one."""
    since_ours: float = (begun_at - call["created_at"]).total_seconds()
    return -_EARLIER_SECONDS <= since_ours <= within_seconds


def the_one(
    found: Sequence[T], id_of: Callable[[T], str], others: Sequence[NetworkCall]
) -> T | None:
    """The only call of `found` that is not one of the `others`, and so can be ours; None without one.

    Raises Ambiguous when there are two, or when another of our calls could be it: the wrong
    one would charge a user for the call of another.
    """
    known = [{o.get("provider_call_id"), o.get("provider_leg_id")} - {None} for o in others]
    free = [one for one in found if not any(id_of(one) in ids for ids in known)]
    if not free:
        return None
    rivals = [o for o, ids in zip(others, known, strict=True) if not ids and o["rank"] < OVER]
    if len(free) > 1 or rivals:
        raise Ambiguous("the network has several calls to this number that can be meant")
    return free[0]


def without_secrets(text: str) -> str:
    """What a network said, short, on one line and without addresses, ids and secrets."""
    return " ".join(_SECRET.sub("…", text).split())[:_WORDS_MAX]


def _said(fields: Mapping[str, Any]) -> tuple[str, str]:
    """The code of a refusal and its words, as each network writes them; empty where it has none."""
    exotel, said = fields.get("RestException"), fields.get("message") or fields.get("error") or ""
    code = fields.get("code")
    if isinstance(exotel, dict):
        code, said = exotel.get("Code"), exotel.get("Message") or ""
    words = said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)
    is_code = isinstance(code, int | str) and re.fullmatch(r"\d{1,6}", str(code))
    return str(code) if is_code else "", without_secrets(words)


def _object(answer: httpx.Response) -> dict[str, Any] | None:
    try:
        fields = answer.json()
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


def _retry_after(answer: httpx.Response) -> float:
    asked = seconds(answer.headers.get("retry-after"))
    return min(_RETRY_SECONDS_MAX, max(0.2, float(asked) if asked is not None else 0.5))
