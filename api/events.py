"""Live event routes: server-sent events of one's own balance, calls, campaigns and imports."""

import datetime as dt
import json
import time
from collections.abc import AsyncGenerator
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from api import access, http_protocol, middleware, problems
from api.access import Caller
from api.dependencies import CurrentUser, sees_everybody
from core import clock, money
from core.errors import Problem, TooManyRequests
from reporting import live
from reporting.live import Change, Kind, Listener

router = APIRouter(prefix="/api/events", tags=["events"], route_class=problems.Route)

# --- vocabulary ---------------------------------------------------------------------------------

STREAM_SECONDS_MAX: Final = 3_600
_HEARTBEAT_SECONDS: Final = 15.0
# So often it is looked whether the session still holds, and the process is to stop.
_CHECK_SECONDS: Final = 2.0
_WAKE_SECONDS: Final = 1.0
_RETRY_MS: Final = 2_000
_HEADERS: Final = {"X-Accel-Buffering": "no", "Cache-Control": "no-store"}
_NEEDS: Final[dict[Kind, str]] = {
    "balance": "wallet:read",
    "call": "calls:read",
    "campaign": "campaigns:read",
    "job": "campaigns:read",
}


# --- routes -------------------------------------------------------------------------------------


@router.get(
    "/stream",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/event-stream": {}}, "description": "Events, until it is closed"},
        **problems.documented(TooManyRequests),
    },
)
async def stream(
    request: Request,
    user: CurrentUser,
    seconds: Annotated[
        int, Query(ge=0, le=STREAM_SECONDS_MAX, description="The stream ends after so long")
    ] = STREAM_SECONDS_MAX,
    last_event_id: Annotated[str | None, Header(max_length=64)] = None,
) -> StreamingResponse:
    """What changes of one's balance, calls, campaigns and imports, as server-sent events; an
    operator or admin hears everybody's. Each event is a thing as it is now: one that comes twice does no
    harm."""
    caller = await access.authenticate(request)
    listener = live.open_listener(
        user.id, hears_everybody=sees_everybody(user), since=_moment_of(last_event_id)
    )
    if last_event_id is not None and listener.since is None:
        listener.must_reload = True
    frames = _frames(
        request, listener, caller, 0 if middleware.IS_HEAD in request.scope else seconds
    )
    return _Stream(frames, listener)


class _Stream(StreamingResponse):
    """The answer; its listener ends with it, also when the client has left before it began."""

    media_type = "text/event-stream"

    def __init__(self, frames: AsyncGenerator[bytes, None], listener: Listener) -> None:
        super().__init__(frames, headers=_HEADERS)
        self._frames, self._listener = frames, listener

    async def __call__(self, *args: Any) -> None:
        """Send it."""
        try:
            await super().__call__(*args)
        finally:
            live.close_listener(self._listener)
            await self._frames.aclose()


# --- the stream ---------------------------------------------------------------------------------


async def _frames(
    request: Request, listener: Listener, caller: Caller, seconds: int
) -> AsyncGenerator[bytes, None]:
    """The events, as they are sent, until the time is over, the client is too slow, the session has
    ended, or the process stops."""
    yield format_sse_event(
        event="ready", data_str="{}", id=_id_of(listener.position), retry=_RETRY_MS
    )
    ends_at = time.monotonic() + seconds
    checked_at = sent_at = time.monotonic()
    while (now := time.monotonic()) < ends_at:
        changes = await listener.wait(min(_WAKE_SECONDS, ends_at - now))
        if listener.is_dropped or http_protocol.is_stopping(request.scope):
            return
        now = time.monotonic()
        if now > checked_at + _CHECK_SECONDS:
            if not await _still_holds(request, caller):
                return
            checked_at = now
        sent = [_frame(change) for change in changes if _may_hear(caller, change.kind)]
        if listener.must_reload:
            listener.must_reload = False
            position = _id_of(listener.position)
            sent.append(format_sse_event(event="reload", data_str="{}", id=position))
        if sent:
            yield b"".join(sent)
            sent_at = now
        elif now > sent_at + _HEARTBEAT_SECONDS:
            yield KEEPALIVE_COMMENT
            sent_at = now


async def _still_holds(request: Request, caller: Caller) -> bool:
    """Whether the session or key is valid and says of the caller what it said at the beginning. What
    cannot be found out does not hold: the client comes back."""
    try:
        now = await access.authenticate_again(request)
    except Problem:
        return False
    scopes = [None if one.key is None else one.key.scopes for one in (now, caller)]
    return now.user.role == caller.user.role and scopes[0] == scopes[1]


def _may_hear(caller: Caller, kind: Kind) -> bool:
    return caller.key is None or _NEEDS[kind] in caller.key.scopes


def _frame(change: Change) -> bytes:
    if change.text is None:
        data = json.dumps(_shown(change), ensure_ascii=False, separators=(",", ":"))
        change.text = format_sse_event(event=change.kind, data_str=data, id=_id_of(change.position))
    return change.text


def _shown(change: Change) -> dict[str, Any]:
    """The fields as everywhere else on the wire: rupees, and moments in UTC."""
    fields = dict(change.fields)
    if change.kind == "balance":
        fields["available_paise"] = fields["balance_paise"] - fields["held_paise"]
        fields["frozen"] = bool(fields.get("frozen"))  # wallets of 0.1 have none
    else:
        fields = {f"{change.kind}_id": change.id} | fields
    return {name.removesuffix("_paise"): _value(name, fields[name]) for name in fields}


def _value(name: str, value: Any) -> Any:
    if name.endswith("_paise") and value is not None:
        return money.rupees(int(value))
    return clock.iso(value) if isinstance(value, dt.datetime) else value


def _id_of(position: dt.datetime) -> str:
    """Up to when everything that had changed was told, in milliseconds."""
    return str(int(position.timestamp() * 1000))


def _moment_of(event_id: str | None) -> dt.datetime | None:
    """The moment of an id of ours; None for anything else."""
    if event_id is None or not event_id.isascii() or not event_id.isdigit() or len(event_id) > 15:
        return None
    try:
        return dt.datetime.fromtimestamp(int(event_id) / 1000, dt.UTC)
    except (OverflowError, ValueError, OSError):
        return None
