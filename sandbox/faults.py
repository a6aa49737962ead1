"""Faults on request: lost answers, errors and delays as the real Razorpay has, at a chosen moment."""

import asyncio
import datetime as dt
import json
from collections.abc import Iterable
from typing import Any

from motor.motor_asyncio import AsyncIOMotorDatabase
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core import clock

Document = dict[str, Any]

# Each with what the client sees.
INSTEAD = {
    "timeout": "no answer, and nothing happened",
    "reset": "the connection breaks, and nothing happened",
    "429": "throttled",
    "500": "SERVER_ERROR",
    "502_html": "a proxy's HTML page",
    "200_html": "200 with an HTML page",
    "error_null": '400 with {"error": null}',
    "empty_list": "200 with []",
    "401": "the key is refused",
}
AFTERWARDS = {
    "lost_response": "it happens, but no answer comes",
    "lost_connection": "it happens, but the connection breaks before the answer",
    "captured_elsewhere": "it happens, but the answer says that somebody else did it",
}
OF_PAYING = {
    "late_capture": "the next payment is authorized, and captured some seconds later",
    "fee_on_top": "the next payment is larger than its order by a fee",
}
OF_ORDERING = {
    "receipt_refused": "the receipt is said to be taken, and an order with it does exist",
    "receipt_refused_wrongly": "the receipt is said to be taken, and no order has it",
}
OF_ASKING_FOR_REFUNDS = {
    "merchant_balance_low": "no refund: the merchant's balance is too low",
    "refund_nonsense": 'no refund: "invalid request sent", and nothing more',
    "refund_in_progress": "no refund: 409, the same request is said to be in progress",
}
OF_REFUNDING = {
    "refund_fails": "the next refund fails",
    "refund_fails_late": "the next refund is processed, and fails some seconds later",
    "refund_slow": "the next refund stays pending until it is changed from outside",
}
OF_WEBHOOKS = {
    "webhook_lost": "the next webhook never arrives",
    "webhook_late": "the next webhook arrives `seconds` later",
    "webhook_repeated": "the next webhook arrives three times at once",
    "webhook_reordered": "the next webhook arrives after one that is younger",
    "webhook_old_secret": "the next webhook is signed with the previous secret",
    "webhook_wrong_secret": "the next webhook is signed with a wrong secret",
    "webhook_unsigned": "the next webhook has no signature",
}

KINDS = INSTEAD | AFTERWARDS | OF_PAYING | OF_ORDERING


KINDS |= OF_ASKING_FOR_REFUNDS | OF_REFUNDING | OF_WEBHOOKS


SECONDS_MAX = 120.0

_html = (b"text/html", b"<html><body><h1>502 Bad Gateway</h1></body></html>")


def _error(code: str, description: str, reason: str | None) -> tuple[bytes, bytes]:
    error = {"code": code, "description": description, "source": "NA", "step": "NA"}
    return (
        b"application/json",
        json.dumps({"error": error | {"reason": reason, "metadata": {}}}).encode(),
    )


_answers: dict[str, tuple[int, tuple[bytes, bytes]]] = {
    "429": (429, _error("BAD_REQUEST_ERROR", "Too many requests", None)),
    "500": (500, _error("SERVER_ERROR", "We are facing some trouble", "server_error")),
    "502_html": (502, _html),
    "200_html": (200, _html),
    "error_null": (400, (b"application/json", b'{"error": null}')),
    "empty_list": (200, (b"application/json", b"[]")),
    "401": (401, _error("BAD_REQUEST_ERROR", "Authentication failed", None)),
    "captured_elsewhere": (
        400,
        _error("BAD_REQUEST_ERROR", "This payment has already been captured", None),
    ),
}


class Faults:
    """The faults that were asked for; each is used up by `count` matching requests, in whatever
    process they arrive."""

    def __init__(self, database: AsyncIOMotorDatabase[Document]) -> None:
        self._faults = database["faults"]

    async def ask_for(
        self, kind: str, *, path: str, method: str, count: int, seconds: float
    ) -> None:
        """From now on, `count` requests whose path contains `path` meet this fault."""
        await self._faults.insert_one(
            {
                "kind": kind,
                "path": path,
                "method": method,
                "left": count,
                "seconds": seconds,
                "created_at": clock.now(),
            }
        )

    async def waiting(self) -> list[Document]:
        """What has not been used up, the oldest first."""
        found = self._faults.find({"left": {"$gt": 0}}, {"_id": 0}).sort("created_at", 1)
        return await found.to_list(None)

    async def clear(self) -> None:
        """Remove them all."""
        await self._faults.delete_many({})

    async def take(
        self, kinds: Iterable[str], method: str, path: str, *, since: dt.datetime | None = None
    ) -> Document | None:
        """The fault that this request meets, if any; used up once, however many processes ask.

        `since`: only what had been asked for by then.
        """
        where: Document = {"left": {"$gt": 0}, "kind": {"$in": list(kinds)}}
        if since is not None:
            where["created_at"] = {"$lte": since}
        found = self._faults.find(where)
        for fault in await found.sort("created_at", 1).to_list(None):
            if fault["path"] not in path or fault["method"] not in ("", method):
                continue
            taken = await self._faults.update_one(
                {"_id": fault["_id"], "left": {"$gt": 0}}, {"$inc": {"left": -1}}
            )
            if taken.modified_count:
                return fault
        return None


class FaultMiddleware:
    """Middleware: a request to the API that meets a fault is answered by it."""

    def __init__(self, app: ASGIApp, owner: Any) -> None:
        self.app = app
        self.owner = owner  # has `.faults` once it is started

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = (
            scope["path"].removeprefix(scope.get("root_path", ""))
            if scope["type"] == "http"
            else ""
        )
        if not path.startswith("/v1/") or path.endswith(".js"):
            await self.app(scope, receive, send)
            return
        found = await self.owner.faults.take(INSTEAD | AFTERWARDS, scope["method"], path)
        if found is None:
            await self.app(scope, receive, send)
            return
        kind = found["kind"]
        if kind in AFTERWARDS:

            async def lost(_: Message) -> None:
                pass

            await self.app(scope, receive, lost)
        if kind in ("timeout", "lost_response"):
            await _hang(receive, found["seconds"])
            await _answer(send, *_answers["502_html"])
        elif kind in ("reset", "lost_connection"):
            await _break_off(send)
        else:
            await _answer(send, *_answers[kind])


async def _hang(receive: Receive, seconds: float) -> None:
    """Wait until the client gives up, at most `seconds`."""

    async def given_up() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    try:
        await asyncio.wait_for(given_up(), seconds)
    except TimeoutError:
        pass


async def _answer(send: Send, status: int, content: tuple[bytes, bytes]) -> None:
    headers = [(b"content-type", content[0]), (b"content-length", b"%d" % len(content[1]))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content[1]})


async def _break_off(send: Send) -> None:
    """Promise more than comes: the server then closes the connection."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"1000")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b'{"id": "or', "more_body": True})
