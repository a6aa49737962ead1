"""Razorpay client: the official SDK with time limits, current certificates and typed errors."""

import concurrent.futures
import contextvars
import datetime as dt
import functools
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, ClassVar, TypeVar
from urllib.parse import urlsplit

import certifi
import razorpay
import requests
from requests.adapters import HTTPAdapter

from core import config
from core.config import Settings
from core.errors import Problem
from gateway import entities, traffic
from gateway.entities import (
    Dispute,
    Order,
    Payment,
    Refund,
    SettlementLine,
    UnreadableEntity,
    is_id,
)
from gateway.traffic import THREADS, GatewayUnavailable

log = logging.getLogger(__name__)


# --- vocabulary ---------------------------------------------------------------------------------

T = TypeVar("T")
# Called with the id of an entity that is listed and cannot be read.
OnUnreadable = Callable[[str], None]

CONNECT_SECONDS = 3.05
READ_SECONDS = 10.0
# The wait for a thread is included: when Razorpay hangs, callers get an error instead of queueing.
TOTAL_SECONDS = 20.0
CONNECTIONS = 32
_THROTTLED_SECONDS = 10

# Codes of errors on Razorpay's side, whatever the HTTP status is.
_RAZORPAY_FAULTS = ("GATEWAY_ERROR", "SERVER_ERROR", "SERVICE_UNAVAILABLE")

CURRENCY = "INR"
RECEIPT_LENGTH_MAX = 40

PAGE_MAX = 100
SETTLEMENT_PAGE_MAX = 1_000


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


# --- verbs --------------------------------------------------------------------------------------


async def create_order(amount_paise: int, receipt: str, notes: Mapping[str, str]) -> Order:
    """Create an order whose payments are captured automatically.

    Raises GatewayUnavailable and GatewayRefused. After GatewayUnavailable the order may exist all
    the same: ask `find_order_by_receipt`.
    """
    assert 0 < len(receipt) <= RECEIPT_LENGTH_MAX
    body = {
        "amount": amount_paise,
        "currency": CURRENCY,
        "receipt": receipt,
        "notes": dict(notes),
        # Set for each order, because the account's own setting may be changed in Razorpay's dashboard.
        "payment": {
            "capture": "automatic",
            "capture_options": {
                "automatic_expiry_period": 12,
                "manual_expiry_period": 7200,
                "refund_speed": "normal",
            },
        },
    }
    found = await _ask(lambda client: client.order.create(body), entities.read_order)
    if found.receipt != receipt or found.amount_paise != amount_paise:
        raise _unreadable("an order that was not asked for")
    return found


async def find_order_by_receipt(receipt: str) -> Order | None:
    """The oldest order with exactly this receipt, or None. Raises as `create_order`."""
    query = {"receipt": receipt, "count": 100}
    found = await _ask(lambda client: client.order.all(query), _all(entities.read_order))
    # Razorpay's filter also finds receipts that contain this one; the newest order comes first.
    exact = [order for order in found if order.receipt == receipt]
    return exact[-1] if exact else None


async def fetch_order(order_id: str) -> Order:
    """The order as Razorpay has it. Raises NoSuchEntity, GatewayUnavailable, GatewayRefused."""
    _require_id("order", order_id)
    found = await _ask_by_id(lambda client: client.order.fetch(order_id), entities.read_order)
    if found.id != order_id:
        raise _unreadable("another order")
    return found


async def fetch_order_payments(order_id: str) -> list[Payment]:
    """Every attempt to pay this order, failed ones too. Raises as `fetch_order`."""
    _require_id("order", order_id)
    return await _ask_by_id(
        lambda client: client.order.payments(order_id), _all(entities.read_payment)
    )


async def fetch_payment(payment_id: str) -> Payment:
    """The payment as Razorpay has it. Raises NoSuchEntity, GatewayUnavailable, GatewayRefused."""
    _require_id("pay", payment_id)
    found = await _ask_by_id(lambda client: client.payment.fetch(payment_id), entities.read_payment)
    if found.id != payment_id:
        raise _unreadable("another payment")
    return found


async def capture_payment(payment_id: str, amount_paise: int) -> Payment:
    """Capture an authorized payment; `amount_paise` must be what was authorized.

    After a refusal the payment may be captured all the same (by another request): fetch it again.
    Raises GatewayUnavailable and GatewayRefused.
    """
    _require_id("pay", payment_id)

    def capture(client: Any) -> Any:
        # A new dict each time: the SDK's default is shared between threads, which then post
        # each other's amounts (razorpay-python issue 134).
        return client.payment.capture(payment_id, amount_paise, {"currency": CURRENCY})

    return await _ask(capture, entities.read_payment)


async def create_refund(
    payment_id: str, amount_paise: int, *, key: str, notes: Mapping[str, str]
) -> Refund:
    """Refund `amount_paise` of a captured payment. `key` is our own id of the refund: the idempotency
    header and the receipt, so that a repetition finds the first one. The amount is always sent:
    without one Razorpay refunds everything. Raises GatewayUnavailable and GatewayRefused; after
    either the refund may exist (a 409 says so): ask `fetch_refunds_of`.
    """
    _require_id("pay", payment_id)
    assert amount_paise > 0
    body = {"amount": amount_paise, "speed": "normal", "receipt": key, "notes": dict(notes)}

    def create(client: Any) -> Any:
        headers = {"X-Refund-Idempotency": key}  # a new dict: the SDK writes into it
        return client.payment.refund(payment_id, body, headers=headers)

    found = await _ask(create, entities.read_refund)
    if found.payment_id != payment_id or found.amount_paise != amount_paise:
        raise _unreadable("a refund that was not asked for")
    return found


async def fetch_refund(refund_id: str) -> Refund:
    """The refund as Razorpay has it. Raises as `fetch_order`."""
    _require_id("rfnd", refund_id)
    return await _ask_by_id(lambda client: client.refund.fetch(refund_id), entities.read_refund)


async def fetch_refunds_of(payment_id: str) -> list[Refund]:
    """The refunds of a payment, at most a hundred. Raises as `fetch_order`."""
    _require_id("pay", payment_id)
    query = {"count": PAGE_MAX}
    return await _ask_by_id(
        lambda client: client.payment.fetch_multiple_refund(payment_id, query),
        _all(entities.read_refund),
    )


async def fetch_dispute(dispute_id: str) -> Dispute:
    """The dispute as Razorpay has it. Raises as `fetch_order`."""
    _require_id("disp", dispute_id)
    return await _ask_by_id(lambda client: client.dispute.fetch(dispute_id), entities.read_dispute)


async def payments_between(
    since: dt.datetime, until: dt.datetime, missed: OnUnreadable | None = None
) -> AsyncIterator[list[Payment]]:
    """The payments made from `since` on and before `until`, in pages. Raises as `create_order`.

    The window should be in the past, because pages are requested by offset. An entity that cannot be
    read is left out, and `missed` is called with its id: it must not prevent reading the others.
    """
    lister, read = (lambda client: client.payment.all), entities.read_payment
    async for page in _pages(lister, since, until, read, missed):
        yield page


async def refunds_between(
    since: dt.datetime, until: dt.datetime, missed: OnUnreadable | None = None
) -> AsyncIterator[list[Refund]]:
    """The refunds of a window, as `payments_between`."""
    lister, read = (lambda client: client.refund.all), entities.read_refund
    async for page in _pages(lister, since, until, read, missed):
        yield page


async def disputes_between(
    since: dt.datetime, until: dt.datetime, missed: OnUnreadable | None = None
) -> AsyncIterator[list[Dispute]]:
    """The disputes of a window, as `payments_between`."""
    lister, read = (lambda client: client.dispute.all), entities.read_dispute
    async for page in _pages(lister, since, until, read, missed):
        yield page


async def settlement_lines(
    day: dt.date, missed: OnUnreadable | None = None
) -> AsyncIterator[list[SettlementLine]]:
    """The lines of the settlements of a day in India, as `payments_between`."""
    that_day = {"year": day.year, "month": day.month, "day": day.day}
    async for page in _paged(
        lambda client: client.settlement.report, that_day, SETTLEMENT_PAGE_MAX
    ):
        yield _read_page(page, entities.read_settlement_line, missed)


async def _pages(
    lister: Callable[[Any], Any],
    since: dt.datetime,
    until: dt.datetime,
    read: Callable[[Any], T],
    missed: OnUnreadable | None,
) -> AsyncIterator[list[T]]:
    window = {"from": int(since.timestamp()), "to": int(until.timestamp())}
    async for page in _paged(lister, window, PAGE_MAX):
        yield _read_page(page, read, missed)


async def _paged(
    lister: Callable[[Any], Any], query: dict[str, int], count: int
) -> AsyncIterator[list[Any]]:
    skip = 0
    while True:
        asked = {**query, "count": count, "skip": skip}
        page = await _ask(
            lambda client, asked=asked: lister(client)(asked),  # type: ignore[misc]
            entities.read_items,
        )
        yield page
        if len(page) < count:
            return
        skip += len(page)


def _read_page(page: list[Any], read: Callable[[Any], T], missed: OnUnreadable | None) -> list[T]:
    found = []
    for item in page:
        try:
            found.append(read(item))
        except UnreadableEntity as problem:
            fields = item if isinstance(item, dict) else {}
            entity_id = entities.read_text(fields.get("id")) or entities.read_text(
                fields.get("entity_id")
            )
            log.error("razorpay lists %s, which cannot be read: %s", entity_id or "it", problem)
            if missed is not None:
                missed(entity_id)
    return found


# --- the client ---------------------------------------------------------------------------------

_threads: concurrent.futures.ThreadPoolExecutor | None = None
_client: Any = None
_client_of: tuple[str, str, str] | None = None


async def start() -> None:
    """Create the client and the threads of this process, and take part in the shared budget."""
    _connected(config.settings())
    await traffic.start()


async def stop() -> None:
    """Close the connections and end the threads, without waiting for requests under way."""
    global _threads, _client, _client_of
    await traffic.stop()
    if _client is not None:
        _client.session.close()
    if _threads is not None:
        _threads.shutdown(wait=False, cancel_futures=True)
    _threads, _client, _client_of = None, None, None


def _connected(chosen: Settings) -> tuple[Any, concurrent.futures.ThreadPoolExecutor]:
    global _threads, _client, _client_of
    wanted = (chosen.gateway_base_url, chosen.gateway_key_id, chosen.gateway_key_secret)
    if _client is None or _client_of != wanted:
        base_url, key_id, key_secret = wanted
        client = razorpay.Client(
            session=_Session(base_url), auth=(key_id, key_secret), base_url=base_url
        )
        client.cert_path = certifi.where()  # the certificates in the SDK are of 2015
        _client, _client_of = client, wanted
    if _threads is None:
        _threads = concurrent.futures.ThreadPoolExecutor(THREADS, thread_name_prefix="razorpay")
    return _client, _threads


# --- HTTP ---------------------------------------------------------------------------------------


class _Session(requests.Session):
    """The HTTP session of the SDK.

    It adds a time limit, and raises our own errors before the SDK handles a response: the SDK would
    drop the HTTP status, and print to standard output.
    """

    def __init__(self, base_url: str) -> None:
        super().__init__()
        adapter = HTTPAdapter(pool_connections=2, pool_maxsize=CONNECTIONS)
        self.mount("https://", adapter)
        self.mount("http://", adapter)
        # A proxy of the environment is for the internet, not for the sandbox on this machine.
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
            # A kept-alive connection that was closed meanwhile. Only a GET is safe to repeat.
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
    """Raise the error that the HTTP status means; return for a JSON object with 2xx.

    The status decides, never the description, whose wording changes.
    """
    status = response.status_code
    if status == 429:
        raise GatewayUnavailable(
            "Razorpay is throttling us; try again shortly.",
            retry_after_seconds=_THROTTLED_SECONDS,
        )
    if status >= 500:
        raise GatewayUnavailable(f"Razorpay has a problem of its own (HTTP {status}).")
    try:
        body = response.json()
    except (ValueError, RecursionError):
        raise _unreadable(f"HTTP {status} without JSON") from None
    if not isinstance(body, dict):
        raise _unreadable(f"HTTP {status} without a JSON object")
    if 200 <= status < 300 and "error" not in body:
        return
    error = body.get("error")
    if not isinstance(error, dict):
        raise _unreadable(f"HTTP {status} with an error that says nothing")
    if error.get("code") in _RAZORPAY_FAULTS:
        raise GatewayUnavailable(f"Razorpay has a problem of its own ({error['code']}).")
    reason = entities.read_text(error.get("reason"))
    description = entities.read_text(error.get("description"))
    log.warning("razorpay refused: HTTP %d, reason %s, %s", status, reason or "-", description)
    raise GatewayRefused(
        "Razorpay does not accept our key; check RAZORPAY_KEY_ID and RAZORPAY_KEY_SECRET."
        if status in (401, 403)
        else "Razorpay refused the request.",
        http_status=status,
    )


def _unreadable(what: str) -> GatewayUnavailable:
    log.warning("razorpay answered %s", what)
    return GatewayUnavailable("Razorpay answered something that cannot be understood.")


async def _ask(work: Callable[[Any], Any], read: Callable[[Any], T]) -> T:
    """Run one request of the SDK in one of our threads, and parse its answer."""
    client, threads = _connected(config.settings())
    call = functools.partial(contextvars.copy_context().run, work, client)
    answer = await traffic.send(threads, call, seconds=TOTAL_SECONDS)
    try:
        return read(answer)
    except UnreadableEntity as problem:
        raise _unreadable(str(problem)) from None


def _all(read: Callable[[Any], T]) -> Callable[[Any], list[T]]:
    return lambda answer: [read(item) for item in entities.read_items(answer)]


async def _ask_by_id(work: Callable[[Any], Any], read: Callable[[Any], T]) -> T:
    """`_ask` for an entity by its id, where a 400 can only mean that there is none.

    Razorpay answers an unknown id with 400, not with 404, and the id's form was checked before.
    """
    try:
        return await _ask(work, read)
    except GatewayRefused as refusal:
        status = refusal.http_status
        if status not in (400, 404):
            raise
        raise NoSuchEntity("Razorpay does not know this id.", http_status=status) from None


def _require_id(kind: str, text: str) -> None:
    if not is_id(kind, text):
        raise NoSuchEntity(f"This is not the id of a Razorpay {kind}.", http_status=404)
