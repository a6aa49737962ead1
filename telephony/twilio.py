"""Twilio adapter: a live call's limit can be raised; callbacks are signed."""

import hmac
from collections.abc import Mapping
from typing import Any, Final

from core import clock, config
from telephony import signatures
from telephony.http import (
    COUNTRY_CODES,
    HttpProvider,
    moment,
    seconds,
    the_one,
    usable_id,
    was_placed_then,
)
from telephony.provider import (
    COUNTRY_NOT_ENABLED,
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
from telephony.scripts import twiml

# --- vocabulary ---------------------------------------------------------------------------------

STATUS: Final = {
    "queued": "queued",
    "initiated": "initiated",
    "ringing": "ringing",
    "in-progress": "in_progress",
    "completed": "completed",
    "busy": "busy",
    "no-answer": "no_answer",
    "failed": "failed",
    "canceled": "canceled",
}

# What the codes of a failed call mean, where a user can do something with it.
_IN_WORDS: Final = {
    "403": "the operator of the number refused the call",
    "404": "there is no such number",
    "410": "the number is no longer in use",
    "480": "the number cannot be reached at the moment",
    "484": "the number is not complete",
    "488": "the operator of the number does not take such calls",
    "500": "an error of the operator of the number",
    "503": "the operator of the number is not available",
    "603": "the call was declined",
}

# With these, Twilio repeats a request also after a 5xx or a timeout, not only when the connection fails.
_RETRIES: Final = "#rc=3&rp=5xx,ct,rt"
_CALLS_LISTED: Final = 100
_NOT_IN_PROGRESS: Final = 21220


# --- the network --------------------------------------------------------------------------------


class Twilio(HttpProvider):
    """The adapter. Its limit is counted from the answer; `TimeLimit` of a live call can be raised."""

    name: str = "twilio"
    can = Capabilities(
        can_extend=True,
        can_hang_up=True,
        reports_ringing=True,
        duration_in_callback=True,
        calls_per_second=1,
        can_detect_machines=True,
        can_collect_keys=True,
        visible_after_seconds=120,
    )

    def _account(self) -> tuple[str, str, str]:
        chosen = config.settings()
        return (
            chosen.twilio_base_url or "https://api.twilio.com",
            chosen.twilio_account_sid,
            chosen.twilio_auth_token.get_secret_value(),
        )

    def _calls(self) -> str:
        return f"/2010-04-01/Accounts/{config.settings().twilio_account_sid}/Calls"

    async def place(self, dial: Dial) -> str:
        """Place the call; Twilio's id of it (`CA…`)."""
        fields = await self.http.place(
            f"{self._calls()}.json",
            data={
                "To": dial.to,
                "From": dial.caller_id or config.settings().twilio_from,
                "Url": dial.answer_url + _RETRIES,
                "Method": "POST",
                "StatusCallback": dial.callback_url + _RETRIES,
                "StatusCallbackMethod": "POST",
                # The key is repeated for each value: Twilio ignores one value with all of them.
                "StatusCallbackEvent": ["initiated", "ringing", "answered", "completed"],
                "Timeout": str(dial.ring_seconds),
                "TimeLimit": str(dial.limit_seconds),
                **(_detection(dial) if dial.machine_detection else {}),
            },
        )
        return usable_id(fields.get("sid"))

    async def extend(self, call: NetworkCall, limit_seconds: int) -> bool:
        """Raise the limit, counted from the answer; False when the call is over."""
        return await self._change(call, {"TimeLimit": str(limit_seconds)})

    async def hang_up(self, call: NetworkCall) -> None:
        """End the call, answered or not."""
        await self._change(call, {"Status": "completed"})

    async def _change(self, call: NetworkCall, change: dict[str, str]) -> bool:
        sid = usable_id(call["provider_call_id"])
        status, fields = await self.http.ask("POST", f"{self._calls()}/{sid}.json", data=change)
        if status < 300:
            return True
        if status == 404 or fields.get("code") == _NOT_IN_PROGRESS:
            return False
        raise Ambiguous(f"twilio answered {status}, code {fields.get('code')}")

    async def look_up(self, call: NetworkCall, others: Others = no_others) -> Report | None:
        """The state of the call; one whose id was lost is found by its number and its time."""
        if call["provider_call_id"] is None:
            found = await self._find(call, others)
            return None if found is None else self._report(call, found)
        sid = usable_id(call["provider_call_id"])
        status, fields = await self.http.ask("GET", f"{self._calls()}/{sid}.json")
        if status == 404:
            return None
        if status >= 300:
            raise Ambiguous(f"twilio answered {status}")
        return self._report(call, fields)

    async def _find(self, call: NetworkCall, others: Others) -> Mapping[str, Any] | None:
        status, fields = await self.http.ask(
            "GET",
            f"{self._calls()}.json",
            params={
                "To": call["to"],
                "From": call.get("caller_id") or config.settings().twilio_from,
                "PageSize": str(_CALLS_LISTED),
            },
        )
        listed = fields.get("calls")
        if status != 200 or not isinstance(listed, list):
            raise Ambiguous(f"twilio answered {status} to a list")
        found, oldest = [], clock.now()
        for listed_call in listed:
            created_at = moment(listed_call.get("date_created"))
            if created_at is None:
                raise Ambiguous("twilio listed a call without its date")
            oldest = min(oldest, created_at)
            if listed_call["to"] == call["to"] and was_placed_then(call, created_at):
                found.append(listed_call)
        if fields.get("next_page_uri") and not found and oldest > call["created_at"]:
            raise Ambiguous("twilio knows more calls to this number than it lists")
        return the_one(found, lambda listed_call: str(listed_call["sid"]), await others())

    def _report(self, call: NetworkCall, fields: Mapping[str, Any]) -> Report:
        status = STATUS.get(str(fields.get("status")))
        if status is None:
            raise Ambiguous(f"twilio says of a call that it is {fields.get('status')}")
        sid = usable_id(fields.get("sid"))
        return Report(
            event_id=f"{sid}:look-up:{status}",
            provider_call_id=sid,
            status=status,
            duration_seconds=seconds(fields.get("duration")) if status == "completed" else None,
            occurred_at=moment(fields.get("end_time")) or clock.now(),
            answered_by=_answered_by(fields.get("answered_by")),
            # When it was answered is not known: the earliest possible moment, so that no more than the
            # reserved money is used.
            answered_at=(moment(fields.get("start_time")) or call["created_at"])
            if status == "in_progress"
            else None,
        )

    def read_callback(
        self, headers: Mapping[str, str], body: bytes, url: str, address: str = ""
    ) -> Report:
        """Verify the signature and read the form. `CallDuration` is seconds; `Duration` is minutes."""
        chosen = config.settings()
        secret = chosen.twilio_auth_token.get_secret_value()
        if not secret or not signatures.twilio_is_valid(url, headers, body, secret):
            raise InvalidCallbackSignature("The signature is not Twilio's.")
        fields = dict(signatures.form(body))
        if not hmac.compare_digest(
            fields.get("AccountSid", "").encode(), chosen.twilio_account_sid.encode()
        ):
            raise InvalidCallbackSignature("This is not the account of this service.")
        status = STATUS.get(fields.get("CallStatus", ""), "created")
        code = fields.get("ErrorCode") or fields.get("SipResponseCode")
        answered_by = _answered_by(fields.get("AnsweredBy"))
        number = fields.get("SequenceNumber", answered_by or "")
        return Report(
            event_id=f"{fields.get('CallSid')}:{number}:{status}",
            provider_call_id=fields.get("CallSid") or None,
            status=status,
            duration_seconds=seconds(fields.get("CallDuration")) if status == "completed" else None,
            occurred_at=moment(fields.get("Timestamp")) or clock.now(),
            answered_by=answered_by,
            reason=_reason(code) if status == "failed" and code else None,
            key=fields.get("Digits") or None,
        )

    def script(self, call: NetworkCall, *, keys_url: str = "", pressed: str = "") -> Script:
        """The script in TwiML."""
        caller_id = call.get("caller_id") or config.settings().twilio_from
        return twiml(call, caller_id=caller_id, keys_url=keys_url, pressed=pressed)


def _reason(code: str) -> str:
    """Why a call failed, by the error code or the SIP response that Twilio reports."""
    if code in COUNTRY_CODES:
        return COUNTRY_NOT_ENABLED
    words = _IN_WORDS.get(code)
    return f"failed: code {code}" + (f" ({words})" if words else "")


def _detection(dial: Dial) -> dict[str, str]:
    """The parameters for machine detection during the call, which continues meanwhile."""
    return {
        "MachineDetection": "Enable",
        "AsyncAmd": "true",
        "AsyncAmdStatusCallback": dial.callback_url + _RETRIES,
        "AsyncAmdStatusCallbackMethod": "POST",
    }


def _answered_by(text: object) -> str | None:
    """`machine_start`, `machine_end_beep`, ... and `fax` are machines; `unknown` is None."""
    answered = str(text or "")
    if answered.startswith("machine") or answered == "fax":
        return "machine"
    return "human" if answered == "human" else None
