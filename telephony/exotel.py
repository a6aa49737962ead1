"""Exotel adapter: no extension, no hang-up; callbacks are confirmed by asking its API."""

import datetime as dt
import ipaddress
import json
from collections.abc import Mapping
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any, Final

from core import clock, config
from telephony import signatures
from telephony.http import HttpProvider, seconds, the_one, usable_id, was_placed_then
from telephony.provider import (
    Ambiguous,
    Capabilities,
    Dial,
    InvalidCallbackSignature,
    NetworkCall,
    Others,
    Report,
    Script,
    no_others,
)
from telephony.scripts import exotel_text

# --- vocabulary ---------------------------------------------------------------------------------

ENDED: Final = {
    "completed": "completed",
    "busy": "busy",
    "no-answer": "no_answer",
    "failed": "failed",
    "canceled": "canceled",
}
# Exotel reports "in-progress" from the moment that it accepts a call: it need not be answered yet.
_LIVE: Final = {"queued": "queued", "ringing": "ringing", "in-progress": "initiated"}

_HOST: Final = {"singapore": "https://api.exotel.com", "mumbai": "https://api.in.exotel.com"}
_PAGES_MAX: Final = 5
_PARTS_MAX: Final = 100


# --- the network --------------------------------------------------------------------------------


class Exotel(HttpProvider):
    """The adapter. For Exotel, `From` is who is called first: the customer. `CallerId` is ours."""

    name: str = "exotel"
    can = Capabilities(
        can_extend=False,
        can_hang_up=False,
        reports_ringing=False,
        duration_in_callback=False,
        calls_per_second=3,
        calls_at_once=10,  # of the smallest plan
        limit_seconds_max=14_400,
        visible_after_seconds=600,
        duration_after_seconds=300,  # duration, price and end come about five minutes later
    )

    def _account(self) -> tuple[str, str, str]:
        chosen = config.settings()
        return (
            chosen.exotel_base_url or _HOST[chosen.exotel_cluster],
            chosen.exotel_api_key,
            chosen.exotel_api_token.get_secret_value(),
        )

    def _calls(self) -> str:
        return f"/v1/Accounts/{config.settings().exotel_sid}/Calls"

    async def place(self, dial: Dial) -> str:
        """Connect the customer to the flow; Exotel's `Sid` of the call."""
        chosen = config.settings()
        flow = f"http://my.exotel.com/{chosen.exotel_sid}/exoml/start_voice/{chosen.exotel_app_id}"
        fields = await self.http.place(
            f"{self._calls()}/connect.json",
            data={
                "From": dial.to,
                "CallerId": dial.caller_id or chosen.exotel_caller_id,
                "Url": flow,
                "CallType": "trans",
                "TimeLimit": str(dial.limit_seconds),
                "TimeOut": str(dial.ring_seconds),
                "StatusCallback": dial.callback_url,
                "StatusCallbackEvents[0]": "terminal",
                "StatusCallbackEvents[1]": "answered",
                "StatusCallbackContentType": "application/json",
                # The flow passes this (at most 128 characters) to its applets, which send it to us.
                "CustomField": f"{dial.call_id}.{dial.answer_url.rpartition('=')[2]}",
            },
        )
        call = fields.get("Call")
        return usable_id(call.get("Sid") if isinstance(call, dict) else None)

    async def extend(self, call: NetworkCall, limit_seconds: int) -> bool:
        """Raise Ambiguous: Exotel cannot do this."""
        raise Ambiguous("exotel cannot raise the limit of a live call")

    async def hang_up(self, call: NetworkCall) -> None:
        """Raise Ambiguous: Exotel cannot do this."""
        raise Ambiguous("exotel cannot hang up a call")

    async def look_up(self, call: NetworkCall, others: Others = no_others) -> Report | None:
        """The state of the call, from the authenticated API: only this is trusted."""
        if call["provider_call_id"] is None:
            found = await self._find(call, others)
            return None if found is None else self._report(found)
        sid = usable_id(call["provider_call_id"])
        status, fields = await self.http.ask(
            "GET", f"{self._calls()}/{sid}.json", params={"details": "true"}
        )
        if status == 404:
            return None
        if status >= 300 or not isinstance(fields.get("Call"), dict):
            raise Ambiguous(f"exotel answered {status}")
        return self._report(fields["Call"])

    async def _find(self, call: NetworkCall, others: Others) -> Mapping[str, Any] | None:
        """The call among those to its number. Exotel's times have no zone: the query covers a
        wide range, and they are compared as Indian time and as UTC."""
        asked = [clock.after(shift, since=call["created_at"]) for shift in (-600, 6 * 3_600)]
        since, until = (f"{at:%Y-%m-%d %H:%M:%S}" for at in asked)
        path: str | None = f"{self._calls()}.json"
        params = {"From": call["to"], "DateCreated": f"gte:{since};lte:{until}", "PageSize": "100"}
        found: list[Mapping[str, Any]] = []
        for _ in range(_PAGES_MAX):
            status, fields = await self.http.ask("GET", str(path), params=params)
            listed = fields.get("Calls")
            if status != 200 or not isinstance(listed, list):
                raise Ambiguous(f"exotel answered {status} to a list")
            found += [listed_call for listed_call in listed if self._is(listed_call, call)]
            path, params = (fields.get("Metadata") or {}).get("NextPageUri"), {}
            if not path or not str(path).startswith("/"):
                return the_one(found, lambda listed_call: str(listed_call["Sid"]), await others())
        raise Ambiguous("exotel lists more calls than can be looked through")

    def _is(self, listed_call: Mapping[str, Any], call: NetworkCall) -> bool:
        if str(listed_call["From"])[-10:] != call["to"][-10:]:
            return False
        text = str(listed_call["DateCreated"]).replace(" ", "T")
        try:
            written = dt.datetime.fromisoformat(text)
        except ValueError:
            raise Ambiguous("exotel listed a call without its moment") from None
        zones = (clock.IST, dt.UTC)
        return any(was_placed_then(call, written.replace(tzinfo=zone)) for zone in zones)

    def _report(self, fields: Mapping[str, Any]) -> Report:
        status_text = str(fields.get("Status"))
        status = ENDED.get(status_text) or _LIVE.get(status_text)
        if status is None:
            raise Ambiguous(f"exotel says of a call that it is {status_text}")
        sid = usable_id(fields.get("Sid"))
        duration = seconds(fields.get("Duration")) if status == "completed" else None
        # The duration is set later than the status: without an end time, or as zero without a
        # price, it is not final yet.
        if not fields.get("EndTime") or (duration == 0 and fields.get("Price") is None):
            duration = None
        return Report(
            event_id=f"{sid}:look-up:{status}",
            provider_call_id=sid,
            status=status,
            duration_seconds=duration,
            occurred_at=clock.now(),
        )

    def read_callback(
        self, headers: Mapping[str, str], body: bytes, url: str, address: str = ""
    ) -> Report:
        """Read a callback, which Exotel does not sign: it is only a reason to ask the API.

        The token in the address was compared before; the sender's address is compared here when
        there is a list.
        """
        allowed = config.settings().exotel_allowed_addresses
        if allowed and not any(_is_inside(address, network) for network in allowed):
            raise InvalidCallbackSignature("This is not an address of Exotel.")
        fields = _fields(headers.get("content-type", ""), body)
        status_text, event = str(fields.get("Status", "")), str(fields.get("EventType", ""))
        sid, status = str(fields.get("CallSid") or "")[:64], ENDED.get(status_text, "created")
        if event == "answered" and status_text not in ENDED:
            status = "in_progress"
        return Report(
            event_id=f"{sid}:{event[:20]}:{status}",
            provider_call_id=sid or None,
            status=status,
            duration_seconds=None,
            occurred_at=clock.now(),
            is_unverified=True,
        )

    def script(self, call: NetworkCall, *, keys_url: str = "", pressed: str = "") -> Script:
        """The script as an answer to an applet; keys are the flow's own affair."""
        return exotel_text(call)


def _is_inside(address: str, network: Any) -> bool:
    try:
        return ipaddress.ip_address(address) in network
    except ValueError:
        return False


def _text(part: Any) -> str:
    content = part.get_payload(decode=True)
    return content.decode("utf-8", "replace").strip() if isinstance(content, bytes) else ""


def _fields(content_type: str, body: bytes) -> dict[str, Any]:
    """The fields of a callback: JSON where it was asked for, a form or a multipart form elsewhere."""
    kind = content_type.split(";")[0].strip().lower()
    if kind == "multipart/form-data":
        # Parts within parts are parsed for many seconds; Exotel's are flat, and a dozen.
        if b"boundary=" in body.lower() or body.count(b"\n--") > _PARTS_MAX:
            raise InvalidCallbackSignature("Exotel does not send such a body.")
        head = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1", "replace")
        message = BytesParser(policy=HTTP).parsebytes(head + body)
        return {
            str(part.get_param("name", header="content-disposition")): _text(part)
            for part in (message.iter_parts() if message.is_multipart() else ())
        }
    if kind == "application/json":
        try:
            fields = json.loads(body)
        except (ValueError, RecursionError):
            raise InvalidCallbackSignature("Exotel does not send such a body.") from None
        return fields if isinstance(fields, dict) else {}
    return dict(signatures.form(body))
