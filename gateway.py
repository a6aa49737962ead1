"""Razorpay through its official SDK, with time limits, certificates and errors that can be trusted."""

import asyncio
import concurrent.futures
import contextvars
import datetime as dt
import functools
import hmac
import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar
from urllib.parse import urlsplit

import certifi
import razorpay
import requests
from requests.adapters import HTTPAdapter

from config import Settings, settings
from errors import Problem

log = logging.getLogger(__name__)

# --- vocabulary ---------------------------------------------------------------------------------

T = TypeVar("T")

CONNECT_SECONDS = 3.05
READ_SECONDS = 10.0
# Waiting for a thread counts, too: when Razorpay hangs, callers are told so instead of queueing.
TOTAL_SECONDS = 20.0
THREADS = 16
CONNECTIONS = 32

CURRENCY = "INR"
RECEIPT_LENGTH_MAX = 40

# The SDK puts ids into URLs as they are, so nothing of another form may reach it.
# Razorpay's ids have 14 characters after the prefix; those of a stand-in may be shorter or longer.
_id_form = re.compile(r"(order|pay|rfnd)_[A-Za-z0-9]{1,40}")
_signature_form = re.compile(r"[0-9a-f]{64}")


class GatewayUnavailable(Problem):
    """Razorpay cannot be reached, is throttling, or answers nonsense; nothing is known, try again."""

    code, status, title = "gateway_unavailable", 503, "Payment gateway unavailable"

    def __init__(self, detail: str, *, retry_after_seconds: int = 5, sent: bool = True) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after_seconds)})
        self.sent = sent  # False: no connection was made, so Razorpay cannot have acted


class GatewayRefused(Problem):
    """Razorpay understood the request and refused it."""

    code: ClassVar[str] = "gateway_error"
    status: ClassVar[int] = 502
    title: ClassVar[str] = "Payment gateway refused"

    def __init__(self, detail: str, *, http_status: int) -> None:
        super().__init__(detail)
        self.http_status = http_status


class NoSuchEntity(GatewayRefused):
    """Razorpay does not know this id (in this mode, for this key)."""


@dataclass(frozen=True, slots=True)
class Order:
    """A Razorpay order, as far as we read it."""

    id: str
    amount_paise: int
    currency: str
    receipt: str
    status: str  # created | attempted | paid


@dataclass(frozen=True, slots=True)
class Payment:
    """A Razorpay payment, as far as we read it.

    `status` alone says whether money was captured: official samples carry `captured: true` beside
    `failed` and `authorized`. `fee_paise` includes the tax and is None until Razorpay knows it.
    """

    id: str
    order_id: str
    amount_paise: int
    currency: str
    status: str  # created | authorized | captured | refunded | failed
    method: str
    amount_refunded_paise: int
    fee_paise: int | None
    tax_paise: int | None
    error_code: str
    error_reason: str
    error_description: str
    created_at: dt.datetime | None


# --- verbs --------------------------------------------------------------------------------------


def is_id(kind: str, text: str) -> bool:
    """Whether `text` has the form of a Razorpay id of this kind (`order`, `pay`, `rfnd`)."""
    return bool(_id_form.fullmatch(text)) and text.startswith(f"{kind}_")


def sign(order_id: str, payment_id: str, key_secret: str) -> str:
    """Checkout's signature: hex HMAC-SHA256 of `order_id|payment_id` under the key's secret.

    Razorpay, Standard Checkout, "verify payment signature".
    """
    message = f"{order_id}|{payment_id}".encode()
    return hmac.new(key_secret.encode(), message, "sha256").hexdigest()


def signature_is_valid(order_id: str, payment_id: str, signature: str) -> bool:
    """Whether Razorpay signed this payment for this order; False for any input that is no such thing.

    `order_id` is the one from our own record. A valid signature says who sent it, not that money
    was captured. Our own HMAC, because the SDK's raises on non-ASCII input and takes an empty
    secret (docs/adr/0003-our-own-signatures.md).
    """
    key_secret = settings().gateway_key_secret
    if not key_secret or not _signature_form.fullmatch(signature):
        return False
    if not is_id("order", order_id) or not is_id("pay", payment_id):
        return False
    return hmac.compare_digest(
        sign(order_id, payment_id, key_secret).encode(), signature.encode("ascii")
    )


async def create_order(amount_paise: int, receipt: str, notes: Mapping[str, str]) -> Order:
    """Open an order that captures by itself. Raises GatewayUnavailable and GatewayRefused.

    After GatewayUnavailable the order may exist all the same: `find_order_by_receipt` tells.
    """
    assert 0 < len(receipt) <= RECEIPT_LENGTH_MAX
    body = {
        "amount": amount_paise,
        "currency": CURRENCY,
        "receipt": receipt,
        "notes": dict(notes),
        # Said per order, because the account's own setting is somebody else's to change.
        "payment": {
            "capture": "automatic",
            "capture_options": {
                "automatic_expiry_period": 12,
                "manual_expiry_period": 7200,
                "refund_speed": "normal",
            },
        },
    }
    found = _order(await _ask(lambda client: client.order.create(body)))
    if found.receipt != receipt or found.amount_paise != amount_paise:
        raise _nonsense("an order that was not asked for")
    return found


async def find_order_by_receipt(receipt: str) -> Order | None:
    """The oldest order with exactly this receipt, or None. Raises as `create_order`."""
    query = {"receipt": receipt, "count": 100}
    answer = await _ask(lambda client: client.order.all(query))
    # Razorpay's filter means "contains"; the newest comes first.
    exact = [order for order in map(_order, _items(answer)) if order.receipt == receipt]
    return exact[-1] if exact else None


async def fetch_order(order_id: str) -> Order:
    """The order as Razorpay has it. Raises NoSuchEntity, GatewayUnavailable, GatewayRefused."""
    _require_id("order", order_id)
    found = _order(await _look_up(lambda client: client.order.fetch(order_id)))
    if found.id != order_id:
        raise _nonsense("another order")
    return found


async def fetch_order_payments(order_id: str) -> list[Payment]:
    """Every attempt to pay this order, failed ones too. Raises as `fetch_order`."""
    _require_id("order", order_id)
    answer = await _look_up(lambda client: client.order.payments(order_id))
    return [_payment(item) for item in _items(answer)]


async def fetch_payment(payment_id: str) -> Payment:
    """The payment as Razorpay has it. Raises NoSuchEntity, GatewayUnavailable, GatewayRefused."""
    _require_id("pay", payment_id)
    found = _payment(await _look_up(lambda client: client.payment.fetch(payment_id)))
    if found.id != payment_id:
        raise _nonsense("another payment")
    return found


async def capture_payment(payment_id: str, amount_paise: int) -> Payment:
    """Take the money of an authorized payment; `amount_paise` must be what was authorized.

    A refusal says little (somebody else may have captured it): fetch the payment again.
    Raises GatewayUnavailable and GatewayRefused.
    """
    _require_id("pay", payment_id)

    def capture(client: Any) -> Any:
        # A fresh dict each time: the SDK's default is shared between threads, which then post
        # each other's amounts (razorpay-python issue 134).
        return client.payment.capture(payment_id, amount_paise, {"currency": CURRENCY})

    return _payment(await _ask(capture))


# --- the client ---------------------------------------------------------------------------------

_threads: concurrent.futures.ThreadPoolExecutor | None = None
_client: Any = None
_client_of: tuple[str, str, str] | None = None


async def start() -> None:
    """Make the client and the threads of this process."""
    _ready(settings())


async def stop() -> None:
    """Close the connections and let the threads go; a request under way is not waited for."""
    global _threads, _client, _client_of
    if _client is not None:
        _client.session.close()
    if _threads is not None:
        _threads.shutdown(wait=False, cancel_futures=True)
    _threads, _client, _client_of = None, None, None


def _ready(chosen: Settings) -> tuple[Any, concurrent.futures.ThreadPoolExecutor]:
    global _threads, _client, _client_of
    wanted = (chosen.gateway_base_url, chosen.gateway_key_id, chosen.gateway_key_secret)
    if _client is None or _client_of != wanted:
        base_url, key_id, key_secret = wanted
        client = razorpay.Client(
            session=_Session(base_url), auth=(key_id, key_secret), base_url=base_url
        )
        client.cert_path = certifi.where()  # the SDK's own bundle is of 2015
        _client, _client_of = client, wanted
    if _threads is None:
        _threads = concurrent.futures.ThreadPoolExecutor(THREADS, thread_name_prefix="razorpay")
    return _client, _threads


# --- the wire -----------------------------------------------------------------------------------


class _Session(requests.Session):
    """What the SDK sends its requests through.

    It adds a time limit and raises our own problems before the SDK sees an error: it would lose the
    HTTP status, and print to standard output.
    """

    def __init__(self, base_url: str) -> None:
        super().__init__()
        adapter = HTTPAdapter(pool_connections=2, pool_maxsize=CONNECTIONS)
        self.mount("https://", adapter)
        self.mount("http://", adapter)
        # A proxy of the environment is for the outside, not for a stand-in on this machine.
        self.trust_env = urlsplit(base_url).hostname not in ("127.0.0.1", "localhost", "::1")

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **kw: Any) -> Any:
        kw["timeout"] = (CONNECT_SECONDS, READ_SECONDS)
        kw["allow_redirects"] = False
        verb, path = str(method).upper(), urlsplit(str(url)).path
        began = time.perf_counter()
        try:
            response = self._send(verb, url, *args, **kw)
        except requests.exceptions.RequestException as problem:
            log.warning("razorpay %s %s: %s", verb, path, type(problem).__name__)
            raise GatewayUnavailable(
                "Razorpay cannot be reached right now.", sent=not _is_unsent(problem)
            ) from None
        seconds = time.perf_counter() - began
        log.info("razorpay %s %s %d in %.3f s", verb, path, response.status_code, seconds)
        _refuse_errors(response)
        return response

    def _send(self, verb: str, url: str | bytes, *args: Any, **kw: Any) -> requests.Response:
        try:
            return super().request(verb, url, *args, **kw)
        except requests.exceptions.Timeout:
            raise
        except (requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError):
            # A kept-alive connection that was closed meanwhile. Only a question is asked twice.
            if verb != "GET":
                raise
            return super().request(verb, url, *args, **kw)


def _is_unsent(problem: Exception) -> bool:
    """Whether no connection was made at all."""
    if isinstance(problem, requests.exceptions.ConnectTimeout):
        return True
    cause = problem.args[0] if problem.args else None
    return type(getattr(cause, "reason", None)).__name__ == "NewConnectionError"


def _refuse_errors(response: requests.Response) -> None:
    """Raise what the HTTP status means; return for a JSON object with 2xx.

    The status decides, never the description, whose words change.
    """
    status = response.status_code
    if status == 429:
        raise GatewayUnavailable(
            "Razorpay is throttling us; try again shortly.", retry_after_seconds=10
        )
    if status >= 500:
        raise GatewayUnavailable(f"Razorpay has a problem of its own (HTTP {status}).")
    try:
        body = response.json()
    except ValueError:
        raise _nonsense(f"HTTP {status} without JSON") from None
    if not isinstance(body, dict):
        raise _nonsense(f"HTTP {status} without a JSON object")
    if 200 <= status < 300 and "error" not in body:
        return
    error = body.get("error")
    if not isinstance(error, dict):
        raise _nonsense(f"HTTP {status} with an error that says nothing")
    reason, description = _text(error.get("reason")), _text(error.get("description"))
    log.warning("razorpay refused: HTTP %d, reason %s, %s", status, reason or "-", description)
    raise GatewayRefused(
        "Razorpay does not accept our key; check RAZORPAY_KEY_ID and RAZORPAY_KEY_SECRET."
        if status in (401, 403)
        else "Razorpay refused the request.",
        http_status=status,
    )


def _nonsense(what: str) -> GatewayUnavailable:
    log.warning("razorpay answered %s", what)
    return GatewayUnavailable("Razorpay answered something that cannot be understood.")


async def _ask(work: Callable[[Any], Any]) -> Any:
    """Run one SDK call in a thread of our own."""
    client, threads = _ready(settings())
    call = functools.partial(contextvars.copy_context().run, work, client)
    try:
        return await asyncio.wait_for(
            asyncio.get_running_loop().run_in_executor(threads, call), TOTAL_SECONDS
        )
    except TimeoutError:
        raise GatewayUnavailable("Razorpay takes too long to answer.") from None


async def _look_up(work: Callable[[Any], Any]) -> Any:
    """`_ask` for an entity by its id, where a 400 can only mean that there is none.

    Razorpay answers an unknown id with 400, not with 404, and the id's form was checked before.
    """
    try:
        return await _ask(work)
    except GatewayRefused as refusal:
        status = refusal.http_status
        if status not in (400, 404):
            raise
        raise NoSuchEntity("Razorpay does not know this id.", http_status=status) from None


def _require_id(kind: str, text: str) -> None:
    if not is_id(kind, text):
        raise NoSuchEntity(f"This is not the id of a Razorpay {kind}.", http_status=404)


# --- reading ------------------------------------------------------------------------------------
# Tolerant in what does not matter ("" or "NA" for null, notes as a list, unknown fields), strict in
# what money depends on.


def _items(answer: Any) -> list[Any]:
    items = answer.get("items") if isinstance(answer, dict) else None
    if not isinstance(items, list):
        raise _nonsense("a list without items")
    return items


def _order(answer: Any) -> Order:
    body = _body(answer)
    return Order(
        id=_id("order", body.get("id")),
        amount_paise=_paise(body.get("amount")),
        currency=_text(body.get("currency")),
        receipt=_text(body.get("receipt")),
        status=_text(body.get("status")),
    )


def _payment(answer: Any) -> Payment:
    body = _body(answer)
    return Payment(
        id=_id("pay", body.get("id")),
        order_id=_text(body.get("order_id")),
        amount_paise=_paise(body.get("amount")),
        currency=_text(body.get("currency")),
        status=_text(body.get("status")),
        method=_text(body.get("method")),
        amount_refunded_paise=_paise_or_none(body.get("amount_refunded")) or 0,
        fee_paise=_paise_or_none(body.get("fee")),
        tax_paise=_paise_or_none(body.get("tax")),
        error_code=_text(body.get("error_code")),
        error_reason=_text(body.get("error_reason")),
        error_description=_text(body.get("error_description")),
        created_at=_time(body.get("created_at")),
    )


def _body(answer: Any) -> dict[str, Any]:
    if not isinstance(answer, dict):
        raise _nonsense("no JSON object")
    return answer


def _id(kind: str, value: Any) -> str:
    if not isinstance(value, str) or not is_id(kind, value):
        raise _nonsense(f"no id of a {kind}")
    return value


def _text(value: Any) -> str:
    return value if isinstance(value, str) and value != "NA" else ""


def _time(seconds: Any) -> dt.datetime | None:
    if type(seconds) is not int or not 0 < seconds < 2**34:
        return None
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


def _paise(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise _nonsense("an amount that is no number of paise")
    return value


def _paise_or_none(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None
