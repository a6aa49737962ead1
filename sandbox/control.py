"""Control routes: faults on request, and what customers, banks and Razorpay do by themselves."""

from collections.abc import Callable
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core import config
from sandbox import disputes, events, faults, payments, refunds, responses, settlements
from sandbox.responses import Document, Refusal
from sandbox.simulator import Simulator

PAYMENT_STATES = ("created", "authorized", "captured", "refunded", "failed")


_DATA_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


class OwnMachineMiddleware:
    """Lets in what this machine asks for itself: the endpoints make money, and ask for no password.

    The client has to be on this machine, the `Host` has to name it (a page whose name was pointed at
    127.0.0.1 sends its own name: DNS rebinding), and a page that asks has to be one of the sandbox.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (why := _why_foreign(scope)) is not None:
            refusal = Refusal(f"The sandbox is for this machine alone: {why}.", "access_denied")
            await JSONResponse({"error": refusal.error}, 403)(scope, receive, send)
            return

        async def careful(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["x-content-type-options"] = "nosniff"
                headers["referrer-policy"] = "no-referrer"
                headers.setdefault("content-security-policy", _DATA_POLICY)
            await send(message)

        await self.app(scope, receive, careful)


def _why_foreign(scope: Scope) -> str | None:
    headers = Headers(scope=scope)
    client, hosts = scope.get("client"), headers.getlist("host")
    if client is None or not config.is_loopback(client[0]):
        return "the request comes from another one"
    if len(hosts) != 1 or not config.is_loopback(config.host_of(hosts[0])):
        return "the Host is another one's"
    if any(origin != f"http://{hosts[0]}" for origin in headers.getlist("origin")):
        return "the page that asks is not the sandbox's"
    return None


class Control:
    """The endpoints; they ask for no password, `OwnMachineMiddleware` keeps strangers out."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator

    def routes(self) -> list[Route]:
        """Their addresses."""
        return [
            Route("/faults", self.list_faults, methods=["GET"]),
            Route("/faults", self.ask_for_fault, methods=["POST"]),
            Route("/faults", self.clear_faults, methods=["DELETE"]),
            Route("/orders/{order_id}/payments", self.add_payment, methods=["POST"]),
            Route("/payments/{payment_id}", self.change_payment, methods=["POST"]),
            Route("/payments/{payment_id}/refunds", self.add_refund, methods=["POST"]),
            Route("/payments/{payment_id}/auto-refund", self.send_back, methods=["POST"]),
            Route("/refunds/{refund_id}", self.change_refund, methods=["POST"]),
            Route("/payments/{payment_id}/disputes", self.add_dispute, methods=["POST"]),
            Route("/disputes/{dispute_id}", self.change_dispute, methods=["POST"]),
            Route("/settle", self.settle, methods=["POST"]),
            Route("/webhooks", self.list_webhooks, methods=["GET"]),
            Route("/webhooks", self.switch_webhooks, methods=["POST"]),
            Route("/webhooks/{event_id}", self.get_webhook, methods=["GET"]),
            Route("/webhooks/{event_id}/replay", self.replay_webhook, methods=["POST"]),
        ]

    # --- faults ---

    async def list_faults(self, _: Request) -> Response:
        """The kinds there are, and what is waiting to happen."""
        return JSONResponse({"kinds": faults.KINDS, "waiting": await self._waiting()})

    async def ask_for_fault(self, request: Request) -> Response:
        """`{kind, path?, method?, count?, seconds?}`: the next `count` requests meet this fault."""
        body = await responses.body_of(request)
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
        if kind == "webhook_old_secret":
            self.simulator.receiver.signature("previous", b"")
        await self.simulator.faults.ask_for(
            kind, path=path, method=method.upper(), count=count, seconds=float(seconds)
        )
        return JSONResponse({"waiting": await self._waiting()}, 201)

    async def clear_faults(self, _: Request) -> Response:
        """Everything works again."""
        await self.simulator.faults.clear()
        return Response(status_code=204)

    async def _waiting(self) -> list[Document]:
        waiting = await self.simulator.faults.waiting()
        return [{k: v for k, v in fault.items() if k != "created_at"} for fault in waiting]

    # --- payments and refunds ---

    async def add_payment(self, request: Request) -> Response:
        """`{status, amount?, currency?, auto_refund?}`: a payment that no page could bring about.

        `auto_refund`: the order is paid already, and Razorpay sends this payment back.
        """
        body = await responses.body_of(request)
        order_id, surplus = request.path_params["order_id"], body.pop("auto_refund", False)
        facts = _payment_facts(body)
        if surplus:
            payment = await self.simulator.refunds.add_surplus_payment(order_id, facts)
        else:
            payment = await self.simulator.store.add_payment(order_id, facts)
        proof = self.simulator.store.checkout_answer(payment)
        return JSONResponse({**payments.payment_entity(payment), **proof}, 201)

    async def change_payment(self, request: Request) -> Response:
        """`{status?, amount?, amount_refunded?, currency?}`: change a payment from outside."""
        facts = _payment_facts(await responses.body_of(request))
        changed = await self.simulator.store.change_payment(
            request.path_params["payment_id"], facts
        )
        return JSONResponse(payments.payment_entity(changed))

    async def add_refund(self, request: Request) -> Response:
        """`{amount?, status?}`: a refund that somebody makes in Razorpay's dashboard."""
        body, payment_id = await responses.body_of(request), request.path_params["payment_id"]
        refund = await self.simulator.refunds.from_outside(payment_id, body)
        return JSONResponse(refunds.refund_entity(refund), 201)

    async def send_back(self, request: Request) -> Response:
        """Razorpay sends back a payment that was authorized and never captured."""
        refund = await self.simulator.refunds.send_back(request.path_params["payment_id"])
        return JSONResponse(refunds.refund_entity(refund), 201)

    async def change_refund(self, request: Request) -> Response:
        """`{status}`: pending, processed or failed."""
        body, refund_id = await responses.body_of(request), request.path_params["refund_id"]
        refund = await self.simulator.refunds.change(refund_id, body)
        return JSONResponse(refunds.refund_entity(refund))

    # --- disputes and settlements ---

    async def add_dispute(self, request: Request) -> Response:
        """`{amount?, phase?, reason_code?, deduct_at_onset?}`: a bank disputes a payment."""
        body, payment_id = await responses.body_of(request), request.path_params["payment_id"]
        dispute = await self.simulator.disputes.open(payment_id, body)
        return JSONResponse(disputes.dispute_entity(dispute), 201)

    async def change_dispute(self, request: Request) -> Response:
        """`{status?, phase?, as_refund?}`: what the bank or Razorpay decides."""
        body, dispute_id = await responses.body_of(request), request.path_params["dispute_id"]
        dispute = await self.simulator.disputes.change(dispute_id, body)
        return JSONResponse(disputes.dispute_entity(dispute))

    async def settle(self, request: Request) -> Response:
        """`{settled_at?}`: pay out all that was not; how many items it has."""
        settlement, items = await self.simulator.settlements.settle(
            await responses.body_of(request)
        )
        shown = None if settlement is None else settlements.settlement_entity(settlement)
        return JSONResponse({"settlement": shown, "items": len(items)}, 201)

    # --- webhooks ---

    async def list_webhooks(self, request: Request) -> Response:
        """`?event=&about=&state=&count=&skip=`, `about` being the id of an entity."""
        query = request.query_params
        found = await self.simulator.outbox.listed(
            event=query.get("event"),
            about=query.get("about"),
            state=query.get("state"),
            count=responses.number(query.get("count"), 100, most=1_000),
            skip=responses.number(query.get("skip"), 0, most=10**6),
        )
        items = [events.event_entity(event) for event in found]
        enabled = await self.simulator.outbox.is_on()
        return JSONResponse({**responses.collection(items), "enabled": enabled})

    async def switch_webhooks(self, request: Request) -> Response:
        """`{enabled}`: while webhooks are off, events are held."""
        enabled = (await responses.body_of(request)).get("enabled")
        if not isinstance(enabled, bool):
            raise responses.not_valid("enabled")
        await self.simulator.outbox.switch(enabled=enabled)
        return JSONResponse({"enabled": enabled})

    async def get_webhook(self, request: Request) -> Response:
        """One event, with the body as it is sent."""
        event = await self.simulator.outbox.event(request.path_params["event_id"])
        return JSONResponse(events.event_entity(event))

    async def replay_webhook(self, request: Request) -> Response:
        """`{secret?, unsigned?, new_event_id?}`: send it now; the receiver's status."""
        body = responses.only(
            await responses.body_of(request), "secret", "unsigned", "new_event_id"
        )
        secret = body.get("secret", "current")
        if secret not in ("current", "previous", "wrong"):
            raise responses.not_valid("secret")
        answer = await self.simulator.delivery.replay(
            request.path_params["event_id"],
            signing="unsigned" if body.get("unsigned") else secret,
            new_event_id=bool(body.get("new_event_id")),
        )
        return JSONResponse(answer)


def _payment_facts(body: Document) -> Document:
    readers: dict[str, Callable[[Any], bool]] = {
        "status": lambda value: value in PAYMENT_STATES,
        "amount": lambda value: type(value) is int and value >= 0,
        "amount_refunded": lambda value: type(value) is int and value >= 0,
        "currency": lambda value: isinstance(value, str),
    }
    for name, value in body.items():
        if name not in readers or not readers[name](value):
            raise responses.not_valid(name)
    return body
