"""Plivo adapter: a live call can be hung up but not extended; callbacks are signed (V3)."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

from core import clock, config
from telephony import signatures
from telephony.http import (
    HttpProvider,
    moment,
    seconds,
    the_one,
    usable_id,
    was_placed_then,
    without_secrets,
)
from telephony.provider import (
    BUSY,
    COUNTRY_NOT_ENABLED,
    OUT_OF_CREDIT,
    RANK,
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
from telephony.scripts import plivo_xml

log = logging.getLogger(__name__)


# --- vocabulary ---------------------------------------------------------------------------------

# The status of an ended call, by `HangupCauseCode`. A code that is not listed is a failure.
CAUSE: Final = {1000: "canceled", 3000: "no_answer", 6010: "no_answer", 3010: "busy"}
OUT_OF_CREDIT_CAUSE: Final = 1010
# More calls at once, or in a second, than the account may have: Plivo accepts them
# and calls nobody.
TOO_MANY_CAUSE: Final = 5030
# Plivo was asked to hang up on machines, and did.
MACHINE_CAUSE: Final = 9100
# The account may not call the country of the number.
COUNTRY_CAUSE: Final = 2030
# The call was answered, and Plivo did not get from us, or could not read, what to say in it: it is
# billed, and the person heard nothing.
UNHEARD_CAUSES: Final = {7011: "our answer was not reached", 8011: "our answer was not understood"}

# Without a code: by Plivo's text of the status.
_ENDED: Final = {
    "completed": "completed",
    "busy": "busy",
    "failed": "failed",
    "timeout": "no_answer",
    "no-answer": "no_answer",
    "cancel": "canceled",
    "canceled": "canceled",
    "cancelled": "canceled",
    "rejected": "failed",
}
_LIVE: Final = {"queued": "queued", "ringing": "ringing", "in-progress": "in_progress"}

_RETRIES: Final = "#rc=3"
_CALLS_LISTED_MAX: Final = 1_000
_CALLS_AT_ONCE: Final = 10  # looked up: Plivo allows 300 requests in 5 seconds
_RECORDS_LISTED: Final = 20  # the most that Plivo lists at once
_RECORD_PAGES_MAX: Final = 25
# Records come by their end: one that ended so much before our call began cannot be it, nor can an older.
_OLDER_SECONDS: Final = 3_600
# Plivo queues calls that come faster than it dials, for up to this time.
_QUEUED_SECONDS_MAX: Final = 900


# --- the network --------------------------------------------------------------------------------


class Plivo(HttpProvider):
    """The adapter. `provider_call_id` is the request's id, which `place` gets; `leg_id` the call's
    own id, which comes with the callbacks."""

    name: str = "plivo"
    can = Capabilities(
        can_extend=False,
        can_hang_up=True,
        reports_ringing=True,
        duration_in_callback=True,
        calls_per_second=2,
        calls_at_once=50,  # more are accepted and end at once, with nobody called (cause 5030)
        can_collect_keys=True,
        can_detect_machines=True,
        visible_after_seconds=600,  # a call is in the records only some time after its end
    )

    def _account(self) -> tuple[str, str, str]:
        chosen = config.settings()
        return (
            chosen.plivo_base_url or "https://api.plivo.com",
            chosen.plivo_auth_id,
            chosen.plivo_auth_token.get_secret_value(),
        )

    def _calls(self) -> str:
        return f"/v1/Account/{config.settings().plivo_auth_id}/Call/"

    async def place(self, dial: Dial) -> str:
        """Place the call; the id of the request, which is not always that of the call."""
        fields = await self.http.place(
            self._calls(),
            json={
                "from": _digits(dial.caller_id) if dial.caller_id else config.settings().plivo_from,
                "to": _digits(dial.to),
                "answer_url": dial.answer_url,
                "answer_method": "POST",
                "ring_url": dial.callback_url + _RETRIES,
                "ring_method": "POST",
                "hangup_url": dial.callback_url
                + _RETRIES,  # else it is sent to the answer's address
                "hangup_method": "POST",
                "time_limit": dial.limit_seconds,
                "ring_timeout": dial.ring_seconds,
                **(_detection(dial) if dial.machine_detection else {}),
            },
        )
        ids = fields.get("request_uuid")
        return usable_id(ids[0] if isinstance(ids, list) and len(ids) == 1 else ids)

    async def extend(self, call: NetworkCall, limit_seconds: int) -> bool:
        """Raise Ambiguous: Plivo cannot do this."""
        raise Ambiguous("plivo cannot raise the limit of a live call")

    async def hang_up(self, call: NetworkCall) -> None:
        """End the call: by the request before the answer, by the call after it. A 404 means it is over."""
        request_id, leg_id = call["provider_call_id"], call.get("provider_leg_id")
        paths = [f"{self._calls()}{usable_id(leg_id or request_id)}/"]
        if request_id is not None:
            account = config.settings().plivo_auth_id
            paths.append(f"/v1/Account/{account}/Request/{usable_id(request_id)}/")
        if call["rank"] < RANK["in_progress"]:
            paths.reverse()
        for path in paths:
            status, _ = await self.http.ask("DELETE", path)
            if status < 300:
                return
            if status != 404:
                raise Ambiguous(f"plivo answered {status}")

    async def look_up(self, call: NetworkCall, others: Others = no_others) -> Report | None:
        """The state of the call: from the record if it is over, else from the live and queued calls."""
        known = call.get("provider_leg_id") or call["provider_call_id"]
        if known is not None:
            report = await self._by_id(call, usable_id(known))
            if report is not None or call.get("provider_leg_id") is not None:
                return report
        return await self._by_number(call, others)

    async def _by_id(self, call: NetworkCall, call_uuid: str) -> Report | None:
        path = f"{self._calls()}{call_uuid}/"
        for state in (None, "live", "queued"):
            status, fields = await self.http.ask(
                "GET", path, params={"status": state} if state else {}
            )
            if status == 200:
                return (
                    self._ended(call, fields) if state is None else self._live(call, fields, state)
                )
            if status != 404:
                raise Ambiguous(f"plivo answered {status}")
        return None

    async def _by_number(self, call: NetworkCall, others: Others) -> Report | None:
        """The call among the records of its number, and among all that is live or queued."""
        number = _digits(call["to"])
        found = await self._records(call, number)
        for state in ("live", "queued"):
            found += [
                {**fields, "state": state}
                for fields in await self._all(state)
                if _digits(str(fields["to"])) == number
            ]
        ids = {fields.get("call_uuid") for fields in found}
        # The request's id of another call, whose own id is not known yet, need not be that id.
        known: list[NetworkCall] = [
            other
            if other.get("provider_leg_id") or other.get("provider_call_id") in ids
            else {**other, "provider_call_id": None}
            for other in await others()
        ]
        one = the_one(found, lambda fields: str(fields.get("call_uuid")), known)
        if one is None:
            return None
        return self._live(call, one, one["state"]) if "state" in one else self._ended(call, one)

    async def _records(self, call: NetworkCall, number: str) -> list[Mapping[str, Any]]:
        """The records of this number that can be of the call: page by page, the newest first, until
        they are older than it."""
        found: list[Mapping[str, Any]] = []
        for page in range(_RECORD_PAGES_MAX):
            offset = page * _RECORDS_LISTED
            asked = {"to_number": number, "limit": str(_RECORDS_LISTED), "offset": str(offset)}
            status, fields = await self.http.ask("GET", self._calls(), params=asked)
            records = fields.get("objects")
            if status != 200 or not isinstance(records, list):
                raise Ambiguous(f"plivo answered {status} to a list")
            oldest = clock.now()
            for record in records:
                begun_at = moment(record.get("initiation_time")) or moment(record.get("end_time"))
                if begun_at is None:
                    raise Ambiguous("plivo listed a call without its moment")
                # Whether they are listed by their beginning or by their end, the end is the later one.
                oldest = min(oldest, moment(record.get("end_time")) or begun_at)
                is_ours = was_placed_then(call, begun_at, within_seconds=_QUEUED_SECONDS_MAX)
                if _digits(str(record["to_number"])) == number and is_ours:
                    found.append(record)
            if len(records) < _RECORDS_LISTED or oldest < clock.after(
                -_OLDER_SECONDS, since=call["created_at"]
            ):
                return found
        raise Ambiguous("plivo has more records of this number than can be looked through")

    async def _all(self, state: str) -> list[Mapping[str, Any]]:
        status, fields = await self.http.ask("GET", self._calls(), params={"status": state})
        ids = fields.get("calls")
        if status != 200 or not isinstance(ids, list) or len(ids) > _CALLS_LISTED_MAX:
            raise Ambiguous(f"plivo answered {status} to a list of what is {state}")
        found: list[Mapping[str, Any]] = []
        for start in range(0, len(ids), _CALLS_AT_ONCE):
            part = ids[start : start + _CALLS_AT_ONCE]
            answers = await asyncio.gather(*(self._one(str(one), state) for one in part))
            found += [answer for answer in answers if answer is not None]
        return found

    async def _one(self, call_uuid: str, state: str) -> Mapping[str, Any] | None:
        path = f"{self._calls()}{usable_id(call_uuid)}/"
        status, fields = await self.http.ask("GET", path, params={"status": state})
        if status == 200:
            return fields
        if status != 404:
            raise Ambiguous(f"plivo answered {status}")
        return None  # it ended meanwhile: the next check finds its record

    def _live(self, call: NetworkCall, fields: Mapping[str, Any], state: str) -> Report:
        status = _LIVE.get(
            str(fields.get("call_status")), "queued" if state == "queued" else "ringing"
        )
        call_uuid = usable_id(fields.get("call_uuid"))
        return Report(
            event_id=f"{call_uuid}:look-up:{status}",
            provider_call_id=call["provider_call_id"],
            leg_id=call_uuid,
            status=status,
            duration_seconds=None,
            occurred_at=clock.now(),
            # When it was answered is not known: the earliest possible moment, so that no more than the
            # reserved money is used.
            answered_at=call["created_at"] if status == "in_progress" else None,
        )

    def _ended(self, call: NetworkCall, fields: Mapping[str, Any]) -> Report:
        call_uuid = usable_id(fields.get("call_uuid"))
        status, duration, reason = _end(
            code=seconds(fields.get("hangup_cause_code")),
            status_text=str(fields.get("call_state") or fields.get("call_status") or ""),
            answered=bool(fields.get("answer_time")),
            duration=seconds(fields.get("call_duration")),
            name=fields.get("hangup_cause_name"),
        )
        return Report(
            event_id=f"{call_uuid}:look-up:{status}",
            provider_call_id=call["provider_call_id"],
            leg_id=call_uuid,
            status=status,
            duration_seconds=duration,
            occurred_at=moment(fields.get("end_time")) or clock.now(),
            answered_at=moment(fields.get("answer_time")) if status == "completed" else None,
            answered_by=_answered_by(None, seconds(fields.get("hangup_cause_code"))),
            reason=reason,
        )

    def read_callback(
        self, headers: Mapping[str, str], body: bytes, url: str, address: str = ""
    ) -> Report:
        """Verify the V3 signature and read the form. `Duration` is seconds."""
        secret = config.settings().plivo_auth_token.get_secret_value()
        if not secret or not signatures.plivo_is_valid(url, headers, body, secret):
            raise InvalidCallbackSignature("The signature is not Plivo's.")
        fields = dict(signatures.form(body))
        status_text, reason, duration = fields.get("CallStatus", ""), None, None
        status = _LIVE.get(status_text, "created")
        answered_at = None
        if fields.get("Event") == "Hangup" or status_text in _ENDED:
            status, duration, reason = _end(
                code=seconds(fields.get("HangupCauseCode")),
                status_text=status_text,
                answered=bool(fields.get("AnswerTime")),
                duration=seconds(fields.get("Duration")),
                name=fields.get("HangupCauseName"),
            )
            answered_at = moment(fields.get("AnswerTime")) if status == "completed" else None
        return Report(
            event_id=f"{fields.get('CallUUID')}:{fields.get('Event', '')}:{status}",
            provider_call_id=fields.get("RequestUUID") or None,
            leg_id=fields.get("CallUUID") or None,
            status=status,
            duration_seconds=duration,
            occurred_at=moment(fields.get("EndTime")) or clock.now(),
            answered_at=answered_at,
            answered_by=_answered_by(fields.get("Machine"), seconds(fields.get("HangupCauseCode"))),
            reason=reason,
            key=fields.get("Digits") or None,
        )

    def script(self, call: NetworkCall, *, keys_url: str = "", pressed: str = "") -> Script:
        """The script in Plivo's XML."""
        caller_id = call.get("caller_id") or config.settings().plivo_from
        return plivo_xml(call, caller_id=caller_id, keys_url=keys_url, pressed=pressed)


def _end(
    *, code: int | None, status_text: str, answered: bool, duration: int | None, name: object
) -> tuple[str, int | None, str | None]:
    """Status, seconds and reason of an end: from cause, answer and duration together.

    Plivo's text of the status is not always the outcome. A call that was answered is `completed`,
    also when our answer document then failed: its time is charged.
    """
    if answered or code == MACHINE_CAUSE or (status_text == "completed" and (duration or 0) > 0):
        unheard = UNHEARD_CAUSES.get(code or 0)
        return "completed", duration, f"not_heard: cause {code} ({unheard})" if unheard else None
    if code == COUNTRY_CAUSE:
        log.error("plivo does not let this account call the country of a number")
        return "failed", 0, COUNTRY_NOT_ENABLED
    if code == OUT_OF_CREDIT_CAUSE:
        log.error("plivo is out of credit: its calls fail until it is paid")
        return "failed", 0, OUT_OF_CREDIT
    if code == TOO_MANY_CAUSE:
        return "failed", 0, BUSY
    if status_text == "completed" and code in (None, 4000, 4010):
        return "completed", duration, None
    status = CAUSE.get(code, "failed") if code is not None else _ENDED.get(status_text, "failed")
    if status != "failed":
        return status, 0, None
    words = without_secrets(str(name)) if name else ""
    return status, 0, f"failed: cause {code}" + (f" ({words})" if words else "")


def _detection(dial: Dial) -> dict[str, str]:
    """The parameters for machine detection during the call: Plivo reports a machine or hangs up."""
    return {
        "machine_detection": "hangup" if dial.machine_detection == "hang_up" else "true",
        "machine_detection_url": dial.callback_url,
        "machine_detection_method": "POST",
    }


def _answered_by(machine: str | None, code: int | None) -> str | None:
    if code == MACHINE_CAUSE or machine == "true":
        return "machine"
    return "human" if machine == "false" else None


def _digits(number: str) -> str:
    return number.removeprefix("+")
