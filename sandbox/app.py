"""Sandbox routes: the part of Razorpay's API that we use, the checkout script, the payment page."""

import asyncio
import base64
import binascii
import contextlib
import hmac
import json
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from string import Template
from typing import Any

from pymongo.errors import ConnectionFailure
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from core import clock, config
from sandbox import disputes, faults, payments, refunds, responses, settlements
from sandbox.control import Control, OwnMachineMiddleware
from sandbox.payments import CARDS, GOOD_CARD, Card, PaymentStore
from sandbox.responses import Document, Refusal
from sandbox.simulator import Simulator
from sandbox.webhook_delivery import Receiver

HERE = Path(__file__).parent
KEY_PREFIX = "rzp_sandbox_"
# So long the start waits for MongoDB before requests are served, which then fail until it is there.
_START_SECONDS = 5.0

# The page asks the sandbox alone; it is framed by the front ends of this machine, as Checkout is.
_PAGE_POLICY = (
    "default-src 'none'; script-src 'nonce-NONCE'; style-src 'nonce-NONCE'; connect-src 'self';"
    " img-src data:; base-uri 'none'; form-action 'self';"
    " frame-ancestors 'self' http://127.0.0.1:* http://localhost:*"
)

Endpoint = Callable[[Request], Awaitable[Response]]


def create_app(
    *,
    mongodb_uri: str,
    database: str,
    key_id: str,
    key_secret: str,
    webhook_secret: str,
    webhook_url: str,
    webhook_secret_previous: str = "",
) -> Starlette:
    """The sandbox, to be mounted at `/sandbox`; its state lives in the MongoDB database `database`.

    It reports to `webhook_url`, signed with `webhook_secret`. ValueError for a key that is not
    the sandbox's, and in production, where nobody may be credited with simulated money.
    """
    if not key_id.startswith(KEY_PREFIX) or config.settings().app_env == "production":
        raise ValueError("the Razorpay sandbox runs with a sandbox key, outside production")
    receiver = Receiver(webhook_url, webhook_secret, webhook_secret_previous)
    simulator = Simulator(PaymentStore(mongodb_uri, database, key_secret), receiver)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        starting = asyncio.create_task(_start_when_possible(simulator))
        await asyncio.wait({starting}, timeout=_START_SECONDS)
        if starting.done():
            starting.result()
        try:
            yield
        finally:
            if starting.done():
                await simulator.stop()
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)

    handlers: dict[Any, Any] = {Refusal: _on_refusal, HTTPException: _on_http}
    return Starlette(
        routes=[*Endpoints(simulator, key_id, key_secret).routes(), *Control(simulator).routes()],
        lifespan=lifespan,
        exception_handlers=handlers,
        middleware=[
            Middleware(OwnMachineMiddleware),
            Middleware(_AwayMiddleware),
            Middleware(faults.FaultMiddleware, owner=simulator),
        ],
    )


class _AwayMiddleware:
    """While MongoDB is away, a request of this Razorpay fails as one of the real one may."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.app(scope, receive, send)
        except ConnectionFailure:
            refusal = Refusal("We are facing some trouble.", "server_error")
            await JSONResponse({"error": refusal.error}, 503)(scope, receive, send)


async def _start_when_possible(simulator: Simulator) -> None:
    """Start it; while MongoDB is away, again and again, beside the product that does the same."""
    while True:
        try:
            return await simulator.start()
        except ConnectionFailure:
            await simulator.store.stop()
            await asyncio.sleep(0.5)


async def _on_refusal(_: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, Refusal)
    return JSONResponse({"error": refusal.error}, refusal.status)


async def _on_http(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, HTTPException)
    text = "The requested URL was not found on the server."
    refusal = Refusal(text, "input_validation_failed")
    return JSONResponse({"error": refusal.error}, problem.status_code)


class Endpoints:
    """The endpoints. The API asks for the key and its secret; the pages are open, as at Razorpay."""

    def __init__(self, simulator: Simulator, key_id: str, key_secret: str) -> None:
        self.simulator, self.store = simulator, simulator.store
        self.key_id, self.key_secret = key_id, key_secret

    def routes(self) -> list[Route]:
        """Razorpay's own addresses, and those of the payment page."""

        def api(path: str, endpoint: Endpoint, method: str) -> Route:
            return Route(f"/v1{path}", self._for_merchants(endpoint), methods=[method])

        return [
            api("/orders", self.create_order, "POST"),
            api("/orders", self.list_orders, "GET"),
            api("/orders/{order_id}", self.get_order, "GET"),
            api("/orders/{order_id}/payments", self.get_order_payments, "GET"),
            api("/payments", self.list_payments, "GET"),
            api("/payments/{payment_id}", self.get_payment, "GET"),
            api("/payments/{payment_id}/capture", self.capture, "POST"),
            api("/payments/{payment_id}/refund", self.create_refund, "POST"),
            api("/payments/{payment_id}/refunds", self.list_refunds, "GET"),
            api("/refunds", self.list_refunds, "GET"),
            api("/refunds/{refund_id}", self.get_refund, "GET"),
            api("/disputes", self.list_disputes, "GET"),
            api("/disputes/{dispute_id}", self.get_dispute, "GET"),
            api("/settlements", self.list_settlements, "GET"),
            api("/settlements/recon/combined", self.recon, "GET"),
            api("/settlements/{settlement_id}", self.get_settlement, "GET"),
            Route("/v1/checkout.js", self.checkout_script, methods=["GET"]),
            Route("/pay/{order_id}", self.pay_page, methods=["GET"]),
            Route("/pay/{order_id}", self.pay, methods=["POST"]),
        ]

    def _for_merchants(self, endpoint: Endpoint) -> Endpoint:
        async def checked(request: Request) -> Response:
            if not self._knows_the_key(request.headers.get("authorization", "")):
                raise Refusal("Authentication failed", "authentication_failed", status=401)
            return await endpoint(request)

        return checked

    def _knows_the_key(self, authorization: str) -> bool:
        scheme, _, encoded = authorization.partition(" ")
        try:
            offered = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            return False
        expected = f"{self.key_id}:{self.key_secret}".encode()
        return scheme.lower() == "basic" and hmac.compare_digest(offered, expected)

    # --- the API ---

    async def create_order(self, request: Request) -> Response:
        """POST /v1/orders."""
        body, taken = await responses.body_of(request), None
        if body.get("receipt"):
            taken = await self.simulator.faults.take(faults.OF_ORDERING, "POST", request.url.path)
        if taken is None:
            return JSONResponse(payments.order_entity(await self.store.open_order(body)))
        if taken["kind"] == "receipt_refused":
            await self.store.open_order(body | {"unique_receipt": True})
        text = "Order receipt should be unique."
        raise Refusal(text, "input_validation_failed", field="receipt", step="order_creation")

    async def list_orders(self, request: Request) -> Response:
        """GET /v1/orders?receipt=&count=&skip=&expand[]=payments."""
        query = request.query_params
        found = await self.store.orders(
            receipt=query.get("receipt"),
            count=responses.number(query.get("count"), 10, most=100),
            skip=responses.number(query.get("skip"), 0, most=10**6),
        )
        items = [payments.order_entity(order) for order in found]
        if "payments" in query.getlist("expand[]"):
            for item in items:
                seen = [
                    payments.payment_entity(p) for p in await self.store.payments_of(item["id"])
                ]
                item["payments"] = responses.collection(seen)
        return JSONResponse(responses.collection(items))

    async def get_order(self, request: Request) -> Response:
        """GET /v1/orders/:id."""
        order = await self.store.order(request.path_params["order_id"])
        return JSONResponse(payments.order_entity(order))

    async def get_order_payments(self, request: Request) -> Response:
        """GET /v1/orders/:id/payments."""
        found = await self.store.payments_of(request.path_params["order_id"])
        return JSONResponse(
            responses.collection([payments.payment_entity(payment) for payment in found])
        )

    async def get_payment(self, request: Request) -> Response:
        """GET /v1/payments/:id."""
        payment = await self.store.payment(request.path_params["payment_id"])
        return JSONResponse(payments.payment_entity(payment))

    async def capture(self, request: Request) -> Response:
        """POST /v1/payments/:id/capture."""
        payment_id = request.path_params["payment_id"]
        captured = await self.store.capture(payment_id, await responses.body_of(request))
        return JSONResponse(payments.payment_entity(captured))

    async def list_payments(self, request: Request) -> Response:
        """GET /v1/payments?from=&to=&count=&skip=."""
        found = await self.store.listed(responses.page_of(request.query_params))
        return JSONResponse(
            responses.collection([payments.payment_entity(payment) for payment in found])
        )

    async def create_refund(self, request: Request) -> Response:
        """POST /v1/payments/:id/refund."""
        payment_id, path = request.path_params["payment_id"], request.url.path
        body, key = await responses.body_of(request), request.headers.get("x-refund-idempotency")
        fault = await self.simulator.faults.take(faults.OF_ASKING_FOR_REFUNDS, "POST", path)
        if fault is not None:
            raise refunds.refusal_of(fault["kind"])
        refund = await self.simulator.refunds.create(payment_id, body, key=key)
        return JSONResponse(refunds.refund_entity(refund))

    async def list_refunds(self, request: Request) -> Response:
        """GET /v1/refunds, and GET /v1/payments/:id/refunds: ?from=&to=&count=&skip=."""
        page = responses.page_of(request.query_params)
        found = await self.simulator.refunds.listed(page, request.path_params.get("payment_id"))
        return JSONResponse(
            responses.collection([refunds.refund_entity(refund) for refund in found])
        )

    async def get_refund(self, request: Request) -> Response:
        """GET /v1/refunds/:id."""
        refund = await self.simulator.refunds.refund(request.path_params["refund_id"])
        return JSONResponse(refunds.refund_entity(refund))

    async def list_disputes(self, request: Request) -> Response:
        """GET /v1/disputes?from=&to=&count=&skip=."""
        found = await self.simulator.disputes.listed(responses.page_of(request.query_params))
        return JSONResponse(responses.collection([disputes.dispute_entity(each) for each in found]))

    async def get_dispute(self, request: Request) -> Response:
        """GET /v1/disputes/:id."""
        found = await self.simulator.disputes.dispute(request.path_params["dispute_id"])
        return JSONResponse(disputes.dispute_entity(found))

    async def list_settlements(self, request: Request) -> Response:
        """GET /v1/settlements?from=&to=&count=&skip=."""
        found = await self.simulator.settlements.listed(responses.page_of(request.query_params))
        shown = [settlements.settlement_entity(settlement) for settlement in found]
        return JSONResponse(responses.collection(shown))

    async def get_settlement(self, request: Request) -> Response:
        """GET /v1/settlements/:id."""
        found = await self.simulator.settlements.settlement(request.path_params["settlement_id"])
        return JSONResponse(settlements.settlement_entity(found))

    async def recon(self, request: Request) -> Response:
        """GET /v1/settlements/recon/combined?year=&month=&day=&count=&skip=."""
        query = request.query_params
        found = await self.simulator.settlements.recon(
            year=responses.number(query.get("year", "-"), 0, most=9_998),
            month=responses.number(query.get("month", "-"), 0, most=12),
            day=responses.number(query["day"], 0, most=31) if "day" in query else None,
            count=responses.number(query.get("count"), 10, most=settlements.ITEMS_MAX),
            skip=responses.number(query.get("skip"), 0, most=10**6),
        )
        return JSONResponse(responses.collection(found))

    # --- what a customer sees ---

    async def checkout_script(self, _: Request) -> Response:
        """`window.Razorpay`."""
        headers = {"cache-control": "no-cache"}
        return FileResponse(HERE / "checkout.js", media_type="text/javascript", headers=headers)

    async def pay_page(self, request: Request) -> Response:
        """A page to pay an order on, alone or in the frame that the script opens."""
        status, state = 200, await self._page_state(request)
        if "error" in state:
            status = 404
        page = Template((HERE / "pay.html").read_text("utf-8"))
        # In a script element only "<" could end the element.
        embedded = json.dumps(state).replace("<", "\\u003c")
        nonce = secrets.token_urlsafe(16)
        policy = _PAGE_POLICY.replace("NONCE", nonce)
        shown = page.substitute(state=embedded, nonce=nonce)
        return HTMLResponse(shown, status, {"content-security-policy": policy})

    async def _page_state(self, request: Request) -> Document:
        if request.query_params.get("key", self.key_id) != self.key_id:
            return {"error": "Authentication failed: this key does not belong to the sandbox."}
        try:
            order = await self.store.order(request.path_params["order_id"])
        except Refusal:
            return {"error": "There is no such order."}
        cards = [
            {"number": " ".join(number[i : i + 4] for i in range(0, 16, 4)), "means": card.means}
            for number, card in payments.CARDS.items()
        ]
        return {
            "order": payments.order_entity(order),
            "cards": cards,
            "verify_url": f"{config.settings().base_url}/api/payment/verify",
        }

    async def pay(self, request: Request) -> Response:
        """Pay with a card: JSON or form fields `card_number`, `expiry` (MM/YY), `cvv`.

        Answers what Checkout would hand to the merchant's page, or 400 with Razorpay's error.
        """
        order_id = request.path_params["order_id"]
        fields = await responses.fields_of(request)
        await self.store.order(order_id)
        card = card_of(
            fields.get("card_number") or fields.get("number") or fields.get("card") or "",
            fields.get("expiry", ""),
            fields.get("cvv", ""),
        )
        late = await self.simulator.faults.take({"late_capture"}, "POST", request.url.path)
        fee = await self.simulator.faults.take({"fee_on_top"}, "POST", request.url.path)
        payment = await self.store.pay(
            order_id, card, late=late is not None, fee_paise=236 if fee is not None else 0
        )
        return JSONResponse(self.store.checkout_answer(payment))


# --- cards --------------------------------------------------------------------------------------


def card_of(number: str, expiry: str, cvv: str) -> Card:
    """The card with this number. Raises Refusal for what no card reader takes."""
    digits = re.sub(r"[\s-]", "", number)
    if not re.fullmatch(r"[0-9]{12,19}", digits) or not _passes_luhn(digits):
        raise Refusal("Your card number is not valid", "input_validation_failed", field="number")
    if expiry and not _is_future(expiry):
        raise Refusal("Your card has expired", "card_expired", field="expiry")
    if cvv and not re.fullmatch(r"[0-9]{3,4}", cvv):
        raise Refusal("The CVV is not valid", "input_validation_failed", field="cvv")
    return CARDS.get(digits, GOOD_CARD)


def _passes_luhn(digits: str) -> bool:
    doubled = [int(d) * (2 if i % 2 else 1) for i, d in enumerate(reversed(digits))]
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0


def _is_future(expiry: str) -> bool:
    form = re.fullmatch(r"\s*(0?[1-9]|1[0-2])\s*/?\s*(20)?([0-9]{2})\s*", expiry)
    if form is None:
        return False
    today = clock.ist_date(clock.now())
    return (2000 + int(form[3]), int(form[1])) >= (today.year, today.month)
