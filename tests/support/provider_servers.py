"""Twilio, Plivo and Exotel on this machine, as far as the service sees them, and what goes wrong there.

A network takes calls over its own API and rings nobody: the test says what becomes of each call,
and the network then tells the service, signed by its vendor's own SDK.
"""

import asyncio
import base64
import contextlib
import dataclasses
import datetime as dt
import html
import json
import re
import secrets
from collections.abc import AsyncIterator
from typing import Any, ClassVar
from urllib.parse import urlencode, urlsplit

import httpx
import uvicorn
from plivo.utils.signature_v3 import construct_post_url, get_signature_v3
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from twilio.request_validator import RequestValidator

from core import clock
from core.database import db
from telephony.simulator import Simulator
from tests.support import calls
from tests.support.service import Service, free_port

TOKEN = "the token that the network signs with"
LIVE = ("queued", "ringing", "in_progress")


@dataclasses.dataclass(eq=False)
class Phone:
    """One call as the network has it."""

    id: str
    leg_id: str
    to: str
    asked: dict[str, Any]
    callback: str = ""
    answer_at: str = ""
    limit_seconds: int = 0
    status: str = "queued"
    duration: int | None = None
    answered: bool = False
    created_at: dt.datetime = dataclasses.field(default_factory=clock.now)
    is_hung_up: bool = False
    is_filled_in: bool = True  # Exotel tells the duration some minutes after the end
    told: int = 0


class Network:
    """What the networks have in common, and what a test does with them."""

    name = ""
    sdk_status: ClassVar[dict[str, str]] = {}

    def __init__(self) -> None:
        self.phones: list[Phone] = []
        self.faults: list[str] = []
        self.asked = 0
        self.slow_seconds = 0.0
        self.service: Service

    def settings(self, url: str) -> dict[str, Any]:
        raise NotImplementedError

    def routes(self) -> list[Route]:
        return []

    @property
    def scenario(self) -> dict[str, Any] | None:
        """What the simulator is to do; the others are told what to do by the test."""
        return None

    def phone(self, call: dict[str, Any]) -> Phone:
        """The network's side of a call."""
        return next(p for p in self.phones if p.id == call["provider_call_id"])

    # --- what the test lets happen ---

    async def ring(self, phone: Phone) -> httpx.Response | None:
        phone.status = "ringing"
        return await self.tell(phone)

    async def answer(self, phone: Phone) -> httpx.Response | None:
        """Somebody answers: the network says so and asks what to say."""
        phone.status, phone.answered = "in_progress", True
        return await self.tell(phone)

    async def end(self, phone: Phone, status: str, seconds: int = 0) -> httpx.Response | None:
        await self.finish(phone, status, seconds)
        return await self.tell(phone)

    async def finish(self, phone: Phone, status: str, seconds: int = 0) -> None:
        """It ends, and nobody is told."""
        phone.status, phone.duration = status, seconds if status == "completed" else 0
        phone.answered = status == "completed"

    async def tell(self, phone: Phone, **changes: Any) -> httpx.Response | None:
        """Call back with how the call stands."""
        raise NotImplementedError

    async def press(self, phone: Phone, key: str) -> httpx.Response:
        """The person presses a key, and the network reports it where the script says."""
        found = re.search(r'action="([^"]+)"', phone.asked["script"])
        assert found is not None, phone.asked["script"]
        url, fields = html.unescape(found[1]), self.fields(phone) | {"Digits": key}
        fields.pop("SequenceNumber", None)
        return await self._post(url, fields, self.signed(url, fields))

    def fields(self, phone: Phone) -> dict[str, Any]:
        raise NotImplementedError

    def signed(self, url: str, fields: dict[str, Any]) -> dict[str, str]:
        raise NotImplementedError

    async def _post(
        self, url: str, fields: dict[str, Any], headers: dict[str, str]
    ) -> httpx.Response:
        parts = urlsplit(url)
        return await self.service.client.post(
            f"{parts.path}?{parts.query}",
            content=urlencode(fields),
            headers={"content-type": "application/x-www-form-urlencoded", **headers},
        )

    # --- the API ---

    async def take(self, phone: Phone, answer: Response) -> Response:
        """Take a call, or do what the next fault says."""
        self.asked += 1
        fault = self.faults.pop(0) if self.faults else ""
        if fault.isdigit():
            return self.refusal(int(fault))
        if fault == "suspended":
            return self.refusal(403, code=20005, message="Account not active")
        if fault == "not our number":
            return self.refusal(400, code=21210, message="'From' number is not yours")
        if fault == "not this country":
            return self.refusal(400, code=21215, message="Account not authorized to call +91")
        if fault == "never took it":
            return Response("<html>Bad gateway</html>", status_code=502)
        self.phones.append(phone)
        if fault == "calls back first":
            await self.ring(phone)
            await self.answer(phone)
            await self.end(phone, "completed", 12)
        if fault == "no answer":
            await asyncio.sleep(1.5)
        if fault == "broken answer":
            return Response("<html>Bad gateway</html>", status_code=502)
        return answer

    def refusal(
        self, status: int, *, code: int = 21211, message: str = "Invalid 'To' number"
    ) -> Response:
        said = {"code": code, "message": message, "status": status}
        return JSONResponse(said, status_code=status, headers={"Retry-After": "0"})

    def found(self, one_id: str) -> Phone | None:
        return next((p for p in self.phones if one_id in (p.id, p.leg_id)), None)


class Simulated(Network):
    """The simulator, which lives in the service: only what it is told to say comes from here."""

    name = "simulator"

    def settings(self, url: str) -> dict[str, Any]:
        return {"telephony_provider": self.name}

    @property
    def scenario(self) -> dict[str, Any] | None:
        return calls.SILENT

    def phone(self, call: dict[str, Any]) -> Phone:
        known = [p for p in self.phones if p.leg_id == call["call_id"]]
        if not known:
            sim_id = f"sim_{call['call_id'].removeprefix('call_')}"
            known = [Phone(id=sim_id, leg_id=call["call_id"], to=call["to"], asked={})]
            self.phones += known
        return known[0]

    async def finish(self, phone: Phone, status: str, seconds: int = 0) -> None:
        await super().finish(phone, status, seconds)
        end = {"status": status, "duration_seconds": phone.duration, "at": clock.now()}
        change = {"$set": {"ended": end, "open": False}, "$inc": {"version": 1}}
        await db.simulated_calls.update_one({"_id": phone.id}, change)

    async def tell(self, phone: Phone, **changes: Any) -> httpx.Response | None:
        return await calls.report(
            self.service, phone.leg_id, phone.status, phone.duration, **changes
        )

    async def place_faultily(self, real: Any, simulator: Simulator, dial: Any) -> str:
        """What `take` does, in the place of `Simulator.place`."""
        from telephony import Ambiguous, NotSent, Refused

        self.asked += 1
        fault = self.faults.pop(0) if self.faults else ""
        if fault.isdigit():
            raise NotSent("provider_busy") if fault == "429" else Refused("provider_refused")
        if fault == "never took it":
            raise Ambiguous("bad gateway")
        placed: str = await real(simulator, dial)
        phone = self.phone({"call_id": dial.call_id, "to": dial.to})
        if fault == "calls back first":
            await self.ring(phone)
            await self.answer(phone)
            await self.end(phone, "completed", 12)
        if fault in ("no answer", "broken answer"):
            raise Ambiguous(fault)
        return placed


class TwilioHere(Network):
    """`/2010-04-01/Accounts/{AC}/Calls`: forms in, JSON out."""

    name = "twilio"
    sid = "AC00000000000000000000000000000001"
    number = "+14155550100"
    sdk_status: ClassVar = {"in_progress": "in-progress", "no_answer": "no-answer"}

    def settings(self, url: str) -> dict[str, Any]:
        return {
            "telephony_provider": self.name,
            "twilio_account_sid": self.sid,
            "twilio_auth_token": SecretStr(TOKEN),
            "twilio_from": self.number,
            "twilio_base_url": url,
        }

    def routes(self) -> list[Route]:
        path = f"/2010-04-01/Accounts/{self.sid}/Calls"
        return [
            Route(f"{path}.json", self.create, methods=["POST"]),
            Route(f"{path}.json", self.listed, methods=["GET"]),
            Route(path + "/{sid}.json", self.fetch, methods=["GET"]),
            Route(path + "/{sid}.json", self.change, methods=["POST"]),
        ]

    async def create(self, request: Request) -> Response:
        form = await request.form()
        events = [str(one) for one in form.getlist("StatusCallbackEvent")]
        assert events == ["initiated", "ringing", "answered", "completed"]
        assert form["From"] == self.number
        one_id = f"CA{secrets.token_hex(16)}"
        phone = Phone(
            id=one_id,
            leg_id=one_id,
            to=str(form["To"]),
            asked={name: str(value) for name, value in form.items()},
            callback=str(form["StatusCallback"]).split("#")[0],
            answer_at=str(form["Url"]).split("#")[0],
            limit_seconds=int(str(form["TimeLimit"])),
        )
        return await self.take(phone, JSONResponse(self.shown(phone), status_code=201))

    def shown(self, phone: Phone) -> dict[str, Any]:
        is_over = phone.status not in LIVE
        return {
            "sid": phone.id,
            "status": self.sdk_status.get(phone.status, phone.status),
            "to": phone.to,
            "from": self.number,
            "duration": str(phone.duration) if is_over else None,
            "date_created": f"{phone.created_at:%a, %d %b %Y %H:%M:%S} +0000",
            "end_time": f"{clock.now():%a, %d %b %Y %H:%M:%S} +0000" if is_over else None,
            "price": None,
        }

    async def listed(self, request: Request) -> Response:
        asked = request.query_params
        found = [self.shown(p) for p in reversed(self.phones) if p.to == asked["To"]]
        return JSONResponse({"calls": found, "next_page_uri": None})

    async def fetch(self, request: Request) -> Response:
        await asyncio.sleep(self.slow_seconds)
        phone = self.found(request.path_params["sid"])
        return JSONResponse(self.shown(phone)) if phone else self.refusal(404)

    async def change(self, request: Request) -> Response:
        phone, form = self.found(request.path_params["sid"]), await request.form()
        if phone is None:
            return self.refusal(404)
        if phone.status not in LIVE:
            return JSONResponse({"code": 21220, "status": 400}, status_code=400)
        if "TimeLimit" in form:
            phone.limit_seconds = int(str(form["TimeLimit"]))
        if form.get("Status") == "completed":
            phone.is_hung_up = True
        return JSONResponse(self.shown(phone))

    async def answer(self, phone: Phone) -> httpx.Response | None:
        told = await super().answer(phone)
        fields = self.fields(phone)
        asked = await self._post(phone.answer_at, fields, self.signed(phone.answer_at, fields))
        phone.asked["script"] = asked.text
        return told if asked.status_code == 200 else asked

    def fields(self, phone: Phone) -> dict[str, Any]:
        phone.told += 1
        fields = {
            "CallSid": phone.id,
            "AccountSid": self.sid,
            "From": self.number,
            "To": phone.to,
            "CallStatus": self.sdk_status.get(phone.status, phone.status),
            "Direction": "outbound-api",
            "SequenceNumber": str(phone.told),
            "Timestamp": f"{clock.now():%a, %d %b %Y %H:%M:%S} +0000",
            "CallbackSource": "call-progress-events",
            "SomethingNew": "",  # what is empty and unknown is signed as well
        }
        if phone.duration is not None:
            fields |= {"CallDuration": str(phone.duration), "SipResponseCode": "200"}
            fields["Duration"] = str(-(-phone.duration // 60))  # in minutes
        return fields

    def signed(self, url: str, fields: dict[str, Any]) -> dict[str, str]:
        return {"X-Twilio-Signature": RequestValidator(TOKEN).compute_signature(url, fields)}

    async def tell(self, phone: Phone, **changes: Any) -> httpx.Response | None:
        fields = self.fields(phone) | changes
        return await self._post(phone.callback, fields, self.signed(phone.callback, fields))


class PlivoHere(Network):
    """`/v1/Account/{MA}/Call/`: JSON in, JSON out; the request and the call have ids of their own."""

    name = "plivo"
    auth_id = "MAXXXXXXXXXXXXXXXXXX"
    number = "918035000000"
    causes: ClassVar = {
        **{"completed": 4000, "busy": 3010, "no_answer": 3000},
        **{"failed": 3080, "canceled": 1000},
    }

    def __init__(self) -> None:
        super().__init__()
        self.is_all_hung_up = False

    def settings(self, url: str) -> dict[str, Any]:
        return {
            "telephony_provider": self.name,
            "plivo_auth_id": self.auth_id,
            "plivo_auth_token": SecretStr(TOKEN),
            "plivo_from": self.number,
            "plivo_base_url": url,
        }

    def routes(self) -> list[Route]:
        path = f"/v1/Account/{self.auth_id}"
        return [
            Route(f"{path}/Call/", self.create, methods=["POST"]),
            Route(f"{path}/Call/", self.listed, methods=["GET"]),
            Route(f"{path}/Call/", self.hang_up_everything, methods=["DELETE"]),
            Route(path + "/Call/{uuid}/", self.fetch, methods=["GET"]),
            Route(path + "/Call/{uuid}/", self.hang_up, methods=["DELETE"]),
            Route(path + "/Request/{uuid}/", self.hang_up, methods=["DELETE"]),
        ]

    async def create(self, request: Request) -> Response:
        asked = await request.json()
        assert asked["from"] == self.number
        phone = Phone(
            id=f"req-{secrets.token_hex(8)}",
            leg_id=f"leg-{secrets.token_hex(8)}",
            to=f"+{asked['to']}",
            asked=asked,
            callback=asked["hangup_url"].split("#")[0],
            answer_at=asked["answer_url"],
            limit_seconds=asked["time_limit"],
        )
        said = {"message": "call fired", "request_uuid": phone.id, "api_id": "x"}
        return await self.take(phone, JSONResponse(said, status_code=201))

    def shown(self, phone: Phone) -> dict[str, Any]:
        common = {"call_uuid": phone.leg_id, "api_id": "x"}
        if phone.status in LIVE:
            status = phone.status.replace("_", "-")
            return {**common, "to": phone.to[1:], "from": self.number, "call_status": status}
        at = f"{clock.now().astimezone(clock.IST):%Y-%m-%d %H:%M:%S}+05:30"
        begun = f"{phone.created_at.astimezone(clock.IST):%Y-%m-%d %H:%M:%S}+05:30"
        return {
            **common,
            "to_number": phone.to[1:],
            "from_number": self.number,
            "call_duration": phone.duration,
            "bill_duration": phone.duration,
            "billed_duration": 60,
            "initiation_time": begun,
            "answer_time": begun if phone.answered else None,
            "end_time": at,
            "hangup_cause_code": self.causes[phone.status],
        }

    async def listed(self, request: Request) -> Response:
        state = request.query_params.get("status")
        if state is not None:
            states = ("queued",) if state == "queued" else ("ringing", "in_progress")
            ids = [p.leg_id for p in self.phones if p.status in states]
            return JSONResponse({"api_id": "x", "calls": ids})
        number = request.query_params["to_number"]
        over = [p for p in reversed(self.phones) if p.status not in LIVE and p.to[1:] == number]
        since = int(request.query_params["offset"])
        page = over[since : since + int(request.query_params["limit"])]
        return JSONResponse({"api_id": "x", "meta": {}, "objects": [self.shown(p) for p in page]})

    async def fetch(self, request: Request) -> Response:
        phone = next((p for p in self.phones if p.leg_id == request.path_params["uuid"]), None)
        state = request.query_params.get("status")
        if phone is None or (phone.status in LIVE) != (state is not None):
            return JSONResponse({"error": "not found"}, status_code=404)
        if state is not None and (phone.status == "queued") != (state == "queued"):
            return JSONResponse({"error": "not found"}, status_code=404)
        return JSONResponse(self.shown(phone))

    async def hang_up(self, request: Request) -> Response:
        phone = self.found(request.path_params["uuid"])
        if phone is None or phone.status not in LIVE:
            return JSONResponse({"error": "not found"}, status_code=404)
        if ("/Request/" in request.url.path) == phone.answered:
            return JSONResponse({"error": "not found"}, status_code=404)
        phone.is_hung_up = True
        return Response(status_code=204)

    async def hang_up_everything(self, _: Request) -> Response:
        self.is_all_hung_up = True
        return Response(status_code=204)

    def fields(self, phone: Phone) -> dict[str, Any]:
        ids = {"CallUUID": phone.leg_id, "RequestUUID": phone.id}
        fields = {**ids, "From": self.number, "To": phone.to[1:], "Direction": "outbound"}
        if phone.status in LIVE:
            event = "Ring" if phone.status == "ringing" else "StartApp"
            return {**fields, "Event": event, "CallStatus": phone.status.replace("_", "-")}
        # Whatever the outcome, the word may be "completed": the cause tells it.
        fields |= {"Event": "Hangup", "CallStatus": "completed"}
        fields |= {"HangupCauseCode": str(self.causes[phone.status])}
        fields |= {"Duration": str(phone.duration), "BillDuration": str(phone.duration)}
        if phone.answered:
            fields["AnswerTime"] = f"{phone.created_at:%Y-%m-%d %H:%M:%S}"  # without its zone
        return fields

    def signed(self, url: str, fields: dict[str, Any]) -> dict[str, str]:
        nonce = secrets.token_hex(10)
        text = construct_post_url(url, fields).decode()
        signature = get_signature_v3(TOKEN, text, nonce).decode()
        return {"X-Plivo-Signature-V3": signature, "X-Plivo-Signature-V3-Nonce": nonce}

    async def answer(self, phone: Phone) -> httpx.Response | None:
        phone.status, phone.answered = "in_progress", True
        fields = self.fields(phone)
        asked = await self._post(phone.answer_at, fields, self.signed(phone.answer_at, fields))
        phone.asked["script"] = asked.text
        return asked

    async def tell(self, phone: Phone, **changes: Any) -> httpx.Response | None:
        fields = self.fields(phone) | changes
        return await self._post(phone.callback, fields, self.signed(phone.callback, fields))


class ExotelHere(Network):
    """`/v1/Accounts/{sid}/Calls`: signs nothing, tells no duration, and fills it in later."""

    name = "exotel"
    sid = "wallet1"
    sdk_status: ClassVar = {
        "in_progress": "in-progress",
        "no_answer": "no-answer",
        "ringing": "in-progress",
    }

    def settings(self, url: str) -> dict[str, Any]:
        return {
            "telephony_provider": self.name,
            "exotel_sid": self.sid,
            "exotel_api_key": "key",
            "exotel_api_token": SecretStr(TOKEN),
            "exotel_caller_id": "08035000000",
            "exotel_app_id": "4711",
            "exotel_base_url": url,
        }

    def routes(self) -> list[Route]:
        path = f"/v1/Accounts/{self.sid}/Calls"
        return [
            Route(f"{path}/connect.json", self.create, methods=["POST"]),
            Route(f"{path}.json", self.listed, methods=["GET"]),
            Route(path + "/{sid}.json", self.fetch, methods=["GET"]),
        ]

    async def create(self, request: Request) -> Response:
        form = await request.form()
        assert form["Url"] == f"http://my.exotel.com/{self.sid}/exoml/start_voice/4711"
        assert len(str(form["CustomField"])) <= 128
        one_id = secrets.token_hex(16)
        phone = Phone(
            id=one_id,
            leg_id=one_id,
            to=str(form["From"]),
            asked={name: str(value) for name, value in form.items()},
            callback=str(form["StatusCallback"]),
            answer_at=str(form["CustomField"]),
            limit_seconds=int(str(form["TimeLimit"])),
        )
        return await self.take(phone, JSONResponse({"Call": self.shown(phone)}))

    def shown(self, phone: Phone) -> dict[str, Any]:
        status = self.sdk_status.get(phone.status, phone.status)
        is_told = phone.status not in LIVE and phone.is_filled_in
        return {
            "Sid": phone.id,
            "From": f"0{phone.to[3:]}",
            "To": "08035000000",
            "DateCreated": f"{phone.created_at.astimezone(clock.IST):%Y-%m-%d %H:%M:%S}",
            "Status": "in-progress" if status == "queued" else status,
            "Duration": str(phone.duration) if is_told else None,
            "EndTime": "2026-11-23 10:00:00" if is_told else None,
            "Price": "1.500" if is_told else None,
        }

    async def listed(self, request: Request) -> Response:
        number = request.query_params["From"]
        found = [self.shown(p) for p in self.phones if p.to == number]
        return JSONResponse({"Metadata": {"NextPageUri": None}, "Calls": found})

    async def fetch(self, request: Request) -> Response:
        phone = self.found(request.path_params["sid"])
        return JSONResponse({"Call": self.shown(phone)}) if phone else self.refusal(404)

    async def ring(self, phone: Phone) -> httpx.Response | None:
        phone.status = "ringing"  # of which Exotel says nothing
        return None

    async def answer(self, phone: Phone) -> httpx.Response | None:
        told = await super().answer(phone)
        asked = await self.service.get(
            "/api/telephony/exotel/answer",
            params={"CallSid": phone.id, "From": phone.to, "CustomField": phone.answer_at},
        )
        phone.asked["script"] = asked.text
        return told if asked.status_code == 200 else asked

    async def tell(self, phone: Phone, **changes: Any) -> httpx.Response | None:
        fields = {"CallSid": phone.id, "DateUpdated": "2026-11-23 10:00:00"}
        if phone.status in LIVE:
            fields |= {"EventType": "answered", "Status": "in-progress"}
        else:
            status = self.sdk_status.get(phone.status, phone.status)
            fields |= {"EventType": "terminal", "Status": status}
        parts = urlsplit(phone.callback)
        return await self.service.client.post(
            f"{parts.path}?{parts.query}",
            content=json.dumps(fields | changes),
            headers={"content-type": "application/json"},
        )


@contextlib.asynccontextmanager
async def served(networks: list[Network]) -> AsyncIterator[str]:
    """All their APIs on one free port; the address."""
    api = Starlette(routes=[route for network in networks for route in network.routes()])

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        """Who does not know the token is nobody."""
        if scope["type"] == "http":
            _, _, given = Headers(scope=scope).get("authorization", "").partition("Basic ")
            if not base64.b64decode(given).decode().endswith(f":{TOKEN}"):
                return await JSONResponse({"code": 20003}, status_code=401)(scope, receive, send)
        return await api(scope, receive, send)

    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, access_log=False)
    )
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await serving
