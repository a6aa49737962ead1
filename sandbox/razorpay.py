"""A Razorpay on this machine: the API that the SDK speaks, the checkout script, a page to pay on."""

import base64
import binascii
import contextlib
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from string import Template
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route

import config
from sandbox import bank, faults
from sandbox.bank import Bank, Refusal

HERE = Path(__file__).parent
KEY_PREFIX = "rzp_sandbox_"
PAYMENT_STATES = ("created", "authorized", "captured", "refunded", "failed")

Document = dict[str, Any]
Endpoint = Callable[[Request], Awaitable[Response]]


def create_app(
    *,
    mongodb_uri: str,
    database: str,
    key_id: str,
    key_secret: str,
    webhook_secret: str,
    webhook_url: str,
) -> Starlette:
    """The sandbox, to be mounted at `/sandbox`; its state lives in the MongoDB database `database`.

    `webhook_secret` and `webhook_url` say where a Razorpay would report to. ValueError for a key
    that is not the sandbox's, and in production: play money must not be within reach there.
    """
    if not key_id.startswith(KEY_PREFIX) or config.settings().app_env == "production":
        raise ValueError("the Razorpay sandbox runs with a sandbox key, outside production")
    simulated = Simulated(mongodb_uri, database, key_id, key_secret)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await simulated.bank.start()
        simulated.faults = faults.Faults(simulated.bank.database)
        try:
            yield
        finally:
            await simulated.bank.stop()

    handlers: dict[Any, Any] = {Refusal: _on_refusal, HTTPException: _on_http}
    return Starlette(
        routes=simulated.routes(),
        lifespan=lifespan,
        exception_handlers=handlers,
        middleware=[Middleware(faults.Faulty, owner=simulated)],
    )


async def _on_refusal(_: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, Refusal)
    return JSONResponse({"error": refusal.error}, refusal.status)


async def _on_http(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, HTTPException)
    text = "The requested URL was not found on the server."
    refusal = Refusal(text, "input_validation_failed")
    return JSONResponse({"error": refusal.error}, problem.status_code)


class Simulated:
    """The endpoints. Who asks the API must know the key's secret; the pages are open, as there."""

    faults: faults.Faults

    def __init__(self, mongodb_uri: str, database: str, key_id: str, key_secret: str) -> None:
        self.bank = Bank(mongodb_uri, database, key_secret)
        self.key_id, self.key_secret = key_id, key_secret

    def routes(self) -> list[Route]:
        """What there is."""

        def api(path: str, endpoint: Endpoint, method: str) -> Route:
            return Route(f"/v1{path}", self._for_merchants(endpoint), methods=[method])

        return [
            api("/orders", self.create_order, "POST"),
            api("/orders", self.list_orders, "GET"),
            api("/orders/{order_id}", self.get_order, "GET"),
            api("/orders/{order_id}/payments", self.get_order_payments, "GET"),
            api("/payments/{payment_id}", self.get_payment, "GET"),
            api("/payments/{payment_id}/capture", self.capture, "POST"),
            Route("/v1/checkout.js", self.checkout_script, methods=["GET"]),
            Route("/pay/{order_id}", self.pay_page, methods=["GET"]),
            Route("/pay/{order_id}", self.pay, methods=["POST"]),
            Route("/faults", self.list_faults, methods=["GET"]),
            Route("/faults", self.ask_for_fault, methods=["POST"]),
            Route("/faults", self.clear_faults, methods=["DELETE"]),
            Route("/orders/{order_id}/payments", self.add_payment, methods=["POST"]),
            Route("/payments/{payment_id}", self.change_payment, methods=["POST"]),
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
        return JSONResponse(bank.order_entity(await self.bank.open_order(await _body(request))))

    async def list_orders(self, request: Request) -> Response:
        """GET /v1/orders?receipt=&count=&skip=&expand[]=payments."""
        query = request.query_params
        found = await self.bank.orders(
            receipt=query.get("receipt"),
            count=_number(query.get("count"), 10, most=100),
            skip=_number(query.get("skip"), 0, most=10**6),
        )
        items = [bank.order_entity(order) for order in found]
        if "payments" in query.getlist("expand[]"):
            for item in items:
                seen = [bank.payment_entity(p) for p in await self.bank.payments_of(item["id"])]
                item["payments"] = _collection(seen)
        return JSONResponse(_collection(items))

    async def get_order(self, request: Request) -> Response:
        """GET /v1/orders/:id."""
        order = await self.bank.order(request.path_params["order_id"])
        return JSONResponse(bank.order_entity(order))

    async def get_order_payments(self, request: Request) -> Response:
        """GET /v1/orders/:id/payments."""
        found = await self.bank.payments_of(request.path_params["order_id"])
        return JSONResponse(_collection([bank.payment_entity(payment) for payment in found]))

    async def get_payment(self, request: Request) -> Response:
        """GET /v1/payments/:id."""
        payment = await self.bank.payment(request.path_params["payment_id"])
        return JSONResponse(bank.payment_entity(payment))

    async def capture(self, request: Request) -> Response:
        """POST /v1/payments/:id/capture."""
        payment_id = request.path_params["payment_id"]
        captured = await self.bank.capture(payment_id, await _body(request))
        return JSONResponse(bank.payment_entity(captured))

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
        return HTMLResponse(page.substitute(state=embedded), status)

    async def _page_state(self, request: Request) -> Document:
        if request.query_params.get("key", self.key_id) != self.key_id:
            return {"error": "Authentication failed: this key does not belong to the sandbox."}
        try:
            order = await self.bank.order(request.path_params["order_id"])
        except Refusal:
            return {"error": "There is no such order."}
        cards = [
            {"number": " ".join(number[i : i + 4] for i in range(0, 16, 4)), "means": card.means}
            for number, card in bank.CARDS.items()
        ]
        return {
            "order": bank.order_entity(order),
            "cards": cards,
            "verify_url": f"{config.settings().base_url}/api/payment/verify",
        }

    async def pay(self, request: Request) -> Response:
        """Pay with a card: JSON or form fields `card_number`, `expiry` (MM/YY), `cvv`.

        Answers what Checkout would hand to the merchant's page, or 400 with Razorpay's error.
        """
        order_id = request.path_params["order_id"]
        fields = await _fields(request)
        await self.bank.order(order_id)
        card = bank.card_of(
            fields.get("card_number") or fields.get("number") or fields.get("card") or "",
            fields.get("expiry", ""),
            fields.get("cvv", ""),
        )
        late = await self.faults.take({"late_capture"}, "POST", request.url.path)
        fee = await self.faults.take({"fee_on_top"}, "POST", request.url.path)
        payment = await self.bank.pay(
            order_id, card, late=late is not None, fee_paise=236 if fee is not None else 0
        )
        return JSONResponse(self.bank.checkout_answer(payment))

    # --- what only a simulator can do ---

    async def list_faults(self, _: Request) -> Response:
        """The kinds there are, and what is waiting to happen."""
        return JSONResponse({"kinds": faults.KINDS, "waiting": await self._waiting()})

    async def ask_for_fault(self, request: Request) -> Response:
        """`{kind, path?, method?, count?, seconds?}`: the next `count` requests meet this fault."""
        body = await _body(request)
        kind, path, method = (body.get(name, "") for name in ("kind", "path", "method"))
        count, seconds = body.get("count", 1), body.get("seconds", 30)
        if not isinstance(kind, str) or kind not in faults.KINDS:
            known = ", ".join(faults.KINDS)
            raise Refusal(f"kind must be one of {known}", "input_validation_failed", field="kind")
        if not isinstance(path, str) or not isinstance(method, str):
            raise Refusal("path and method are strings", "input_validation_failed")
        if type(count) is not int or not 1 <= count <= 1_000:
            raise Refusal("count is 1 to 1000", "input_validation_failed", field="count")
        if type(seconds) not in (int, float) or not 0 <= seconds <= faults.SECONDS_MAX:
            raise Refusal("seconds is 0 to 120", "input_validation_failed", field="seconds")
        await self.faults.ask_for(
            kind, path=path, method=method.upper(), count=count, seconds=float(seconds)
        )
        return JSONResponse({"waiting": await self._waiting()}, 201)

    async def clear_faults(self, _: Request) -> Response:
        """Everything works again."""
        await self.faults.clear()
        return Response(status_code=204)

    async def _waiting(self) -> list[Document]:
        waiting = await self.faults.waiting()
        return [{k: v for k, v in fault.items() if k != "created_at"} for fault in waiting]

    async def add_payment(self, request: Request) -> Response:
        """`{status, amount?, currency?}`: a payment that no page could bring about."""
        facts = _payment_facts(await _body(request))
        payment = await self.bank.add_payment(request.path_params["order_id"], facts)
        answer = {**bank.payment_entity(payment), **self.bank.checkout_answer(payment)}
        return JSONResponse(answer, 201)

    async def change_payment(self, request: Request) -> Response:
        """`{status?, amount?, amount_refunded?, currency?}`: change a payment from outside."""
        facts = _payment_facts(await _body(request))
        changed = await self.bank.change_payment(request.path_params["payment_id"], facts)
        return JSONResponse(bank.payment_entity(changed))


def _payment_facts(body: Document) -> Document:
    readers: dict[str, Callable[[Any], bool]] = {
        "status": lambda value: value in PAYMENT_STATES,
        "amount": lambda value: type(value) is int and value >= 0,
        "amount_refunded": lambda value: type(value) is int and value >= 0,
        "currency": lambda value: isinstance(value, str),
    }
    for name, value in body.items():
        if name not in readers or not readers[name](value):
            raise Refusal(f"{name} is not valid", "input_validation_failed", field=name)
    return body


def _collection(items: list[Document]) -> Document:
    return {"entity": "collection", "count": len(items), "items": items}


def _number(text: str | None, default: int, *, most: int) -> int:
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or int(text[:9]) > most:
        raise Refusal(f"must be a number up to {most}", "input_validation_failed")
    return int(text)


async def _body(request: Request) -> Document:
    try:
        body = json.loads(await request.body() or b"{}")
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise Refusal("The body is not a JSON object", "input_validation_failed")
    return body


async def _fields(request: Request) -> dict[str, str]:
    """Text fields from JSON or a form; a nested `card` is flattened."""
    if request.headers.get("content-type", "").startswith("application/json"):
        body = await _body(request)
        if isinstance(body.get("card"), dict):
            body |= body.pop("card")
        return {name: str(value) for name, value in body.items() if value is not None}
    async with request.form() as form:
        return {name: value for name, value in form.items() if isinstance(value, str)}
