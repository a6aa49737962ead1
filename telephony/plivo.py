"""Plivo adapter: a live call can be hung up but not extended; callbacks are signed (V3)."""

import logging
from collections.abc import Mapping
from typing import Any, Final

from core import clock, config
from telephony import signatures
from telephony.http import HttpProvider, moment, seconds, the_one, usable_id, was_placed_then
from telephony.provider import (
    BUSY,
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
_CALLS_LISTED_MAX: Final = 100
_RECORDS_LISTED: Final = 20  # the most that Plivo lists at once
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
                "from": config.settings().plivo_from,
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
        status, fields = await self.http.ask(
            "GET", self._calls(), params={"to_number": number, "limit": str(_RECORDS_LISTED)}
        )
        if status != 200 or not isinstance(fields.get("objects"), list):
            raise Ambiguous(f"plivo answered {status} to a list")
        found: list[Mapping[str, Any]] = []
        oldest = clock.now()
        for record in fields["objects"]:
            begun_at = moment(record.get("initiation_time")) or moment(record.get("end_time"))
            if begun_at is None:
                raise Ambiguous("plivo listed a call without its moment")
            oldest = min(oldest, begun_at)
            is_ours = was_placed_then(call, begun_at, within_seconds=_QUEUED_SECONDS_MAX)
            if _digits(str(record["to_number"])) == number and is_ours:
                found.append(record)
        if len(fields["objects"]) >= _RECORDS_LISTED and not found and oldest > call["created_at"]:
            raise Ambiguous("plivo has more records of this number than it lists")
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

    async def _all(self, state: str) -> list[Mapping[str, Any]]:
        status, fields = await self.http.ask("GET", self._calls(), params={"status": state})
        ids = fields.get("calls")
        if status != 200 or not isinstance(ids, list) or len(ids) > _CALLS_LISTED_MAX:
            raise Ambiguous(f"plivo answered {status} to a list of what is {state}")
        found: list[Mapping[str, Any]] = []
        for call_uuid in ids:
            path = f"{self._calls()}{usable_id(call_uuid)}/"
            status, fields = await self.http.ask("GET", path, params={"status": state})
            if status == 200:
                found.append(fields)
            elif status != 404:  # it ended meanwhile: the next check finds its record
                raise Ambiguous(f"plivo answered {status}")
        return found

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
        )

    def script(self, call: NetworkCall) -> Script:
        """The script in Plivo's XML."""
        return plivo_xml(call, caller_id=config.settings().plivo_from)


def _end(
    *, code: int | None, status_text: str, answered: bool, duration: int | None
) -> tuple[str, int | None, str | None]:
    """Status, seconds and reason of an end: from cause, answer and duration together.

    Plivo's text of the status is not always the outcome. A call that was answered is `completed`,
    also when our answer document then failed: its time is charged.
    """
    if answered or code == MACHINE_CAUSE or (status_text == "completed" and (duration or 0) > 0):
        return "completed", duration, None
    if code == OUT_OF_CREDIT_CAUSE:
        log.error("plivo is out of credit: its calls fail until it is paid")
        return "failed", 0, OUT_OF_CREDIT
    if code == TOO_MANY_CAUSE:
        return "failed", 0, BUSY
    if status_text == "completed" and code in (None, 4000, 4010):
        return "completed", duration, None
    status = CAUSE.get(code, "failed") if code is not None else _ENDED.get(status_text, "failed")
    return status, 0, f"failed: cause {code}" if status == "failed" else None


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
