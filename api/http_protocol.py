"""HTTP/1.1 edge: bounds of heads, bodies, pipelines, times and connections, before a route is looked for.

uvicorn with httptools has none of them: it reads headers for as long as somebody sends some. What
starts the service names `PROTOCOL` as uvicorn's `http`, and "none" as its `ws`; the gate refuses in
production what came in by another server (`is_bounded`). docs/operations.md ("The edge") has the bounds.
"""

import asyncio
import dataclasses
import enum
import functools
import heapq
import ipaddress
import json
import re
import resource
import weakref
from collections import Counter
from typing import Any, ClassVar, Final, cast

import httptools
import prometheus_client
from starlette.types import Scope
from uvicorn.protocols.http import httptools_impl
from uvicorn.server import ServerState

from auth import rate_limits
from core import config
from core.errors import BadRequest, HeadTooLarge, Problem, RequestTimeout, Unavailable, UrlTooLong

PROTOCOL: Final = "api.http_protocol:BoundedHttp"

_refusals = prometheus_client.Counter(
    "http_refused_total", "Requests and connections that the HTTP edge refused", ["reason"]
)

# --- the bounds ---------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one connection may do; times are counted in whole sweeps, one a second."""

    url_bytes: int = 8 * 1024
    head_bytes: int = 32 * 1024
    headers: int = 100
    # Requests that wait while the one before them is answered.
    pipelined: int = 16
    head_seconds: int = 10
    # A body has so long, and a second more for each so many bytes of it.
    body_seconds: int = 10
    body_bytes_per_second: int = 1024
    # A client that takes nothing of its answer for so long is gone.
    stalled_seconds: int = 60
    # After a refusal in the middle of a request: so long, and so much more of it, is read and
    # dropped, so that the refusal is read before the connection is reset.
    linger_seconds: int = 2
    linger_bytes: int = 64 * 1024 * 1024
    # A larger body, or one without a length, is the last thing that its connection carries.
    kept_body_bytes: int = 64 * 1024
    # Chunks, beyond one for each 64 bytes of the body, and bytes that frame the body.
    small_chunks: int = 512
    framing_bytes: int = 16 * 1024
    sweep_seconds: float = 1.0


class _Phase(enum.Enum):
    HEAD = "head"  # nothing of a request yet, or a part of its head
    BODY = "body"
    DONE = "done"  # the request is read: it is answered, or the connection is idle


_WATCHED: Final = frozenset((b"host", b"content-length", b"transfer-encoding", b"expect"))
# A name, an IPv4 address or an IPv6 address in brackets, and a port.
_host_form = re.compile(rb"(?:[A-Za-z0-9._~%!$&'()*+,;=-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
_EXTENSION: Final = "wallet.bounds"


def is_bounded(scope: Scope) -> bool:
    """Whether this request came in through the bounds of this module."""
    return _EXTENSION in scope.get("extensions", ())


def is_stopping(scope: Scope) -> bool:
    """Whether the server is to stop: an answer that goes on and on has to end now."""
    return bool(scope.get("extensions", {}).get(_EXTENSION, {}).get("is_stopping"))


class _Refused(Exception):
    """What was sent is refused; the connection ends with this problem."""

    def __init__(self, problem: Problem, reason: str) -> None:
        super().__init__(problem.detail)
        self.problem, self.reason = problem, reason


def _bad(detail: str, reason: str) -> _Refused:
    return _Refused(BadRequest(detail), reason)


def _cause_of(error: httptools.HttpParserError) -> _Refused:
    """What one of our callbacks raised, or else that the parser cannot read it."""
    cause = error.__context__
    if isinstance(cause, _Refused):
        return cause
    return _bad("This is not HTTP/1.1 that can be read.", "not_http")


def _head_too_large(bounds: Bounds) -> _Refused:
    return _Refused(
        HeadTooLarge(
            f"The headers of a request may have {bounds.head_bytes} bytes, and be {bounds.headers}."
        ),
        "head_too_large",
    )


# --- one connection -----------------------------------------------------------------------------


class _Wire:
    """A transport whose `close` lets the client read a refusal that came while it was sending."""

    __slots__ = ("_leave", "_transport", "is_leaving")

    def __init__(self, transport: asyncio.Transport, leave: Any) -> None:
        self._transport, self._leave = transport, leave
        self.is_leaving = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self.is_leaving:
            self._transport.write(data)

    def is_closing(self) -> bool:
        return self.is_leaving or self._transport.is_closing()

    def close(self) -> None:
        self._leave()

    def close_now(self) -> None:
        self._transport.close()

    def forget(self) -> None:
        """Let go of the connection, so that it needs no garbage collector."""
        self._leave = self._transport.close

    def end_writing(self) -> None:
        """Send what was written and the end; from now on nothing is written."""
        self.is_leaving = True
        if not self._transport.is_closing() and self._transport.can_write_eof():
            self._transport.write_eof()


class BoundedHttp(httptools_impl.HttpToolsProtocol):
    """uvicorn's httptools protocol with `Bounds`. No upgrades: there is nothing to upgrade to."""

    bounds: ClassVar[Bounds] = Bounds()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._phase = _Phase.HEAD
        self._began_here = False  # whether a head began within the data that is being parsed
        self._is_last = False  # whether the connection ends with the answer that is being made
        self._waited = self._stalled = 0  # sweeps
        self._head_fed = 0  # bytes of a head of which httptools has not told yet
        self._head_left = self.bounds.head_bytes
        self._body_bytes = self._chunks = 0
        self._framing_left = self.bounds.framing_bytes
        self._linger_left = self.bounds.linger_bytes
        self._watched: list[tuple[bytes, bytes]] = []
        self._wire: _Wire

    # --- the connection ---

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or refuse it when there are too many."""
        self._wire = _Wire(transport, self._leave)
        super().connection_made(cast(asyncio.Transport, self._wire))
        self._crowd = _crowd_of(self.server_state, self.loop, self.bounds)
        if refused := self._crowd.refuse(self):
            self._answer(refused)
            self._wire.close_now()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._crowd.forget(self)
        super().connection_lost(exc)
        self._wire.forget()

    def shutdown(self) -> None:
        """End an idle connection now, a busy one after its answer."""
        if self.cycle is None or self.cycle.response_complete:
            self._wire.close_now()
        else:
            self.cycle.scope["extensions"][_EXTENSION]["is_stopping"] = True
        super().shutdown()

    def _leave(self) -> None:
        """Close, at once where the request was read; else the client may read the answer first."""
        if self._wire.is_leaving:
            return
        if self._phase is _Phase.DONE or self.parser is None:
            self._wire.close_now()
            return
        self._waited = 0
        self._wire.end_writing()
        self.flow.resume_reading()

    # --- what is read ---

    def data_received(self, data: bytes) -> None:
        """Parse what came, within the bounds."""
        if self._wire.is_leaving:
            self._linger_left -= len(data)
            if self._linger_left < 0:
                self._wire.abort()
            return
        self._unset_keepalive_if_required()
        if self._phase is _Phase.DONE:
            self._begin_head()
        phase, self._began_here = self._phase, False
        try:
            self.parser.feed_data(data)
            self._count(len(data), phase)
        except httptools.HttpParserUpgrade:
            # It was handled as a request without an upgrade; what follows it is no HTTP of ours.
            self.flow.pause_reading()
            self._is_last = True
        except httptools.HttpParserError as error:
            # No name for the cause: its traceback leads to this frame, and with it to `data`, which
            # would stay until the garbage collector comes.
            self._refuse(_cause_of(error))
        except _Refused as refused:
            self._refuse(refused)

    def _count(self, length: int, phase: _Phase) -> None:
        """Count what the parser took without telling of it, which it keeps."""
        if self._phase is _Phase.HEAD and phase is _Phase.HEAD and not self._began_here:
            self._head_fed += length
            if self._head_fed > self.bounds.head_bytes + self.bounds.url_bytes:
                raise _head_too_large(self.bounds)
        elif phase is _Phase.BODY:
            self._framing_left -= length
            if self._framing_left < 0:
                raise _bad("The body has more framing than content.", "framing")

    def _begin_head(self) -> None:
        self._phase = _Phase.HEAD
        self._waited = self._head_fed = 0
        self._head_left = self.bounds.head_bytes
        self._watched = []

    def on_message_begin(self) -> None:
        """A request begins."""
        if self._phase is not _Phase.HEAD:
            self._began_here = True
            self._begin_head()
        super().on_message_begin()
        self.scope["extensions"] = {_EXTENSION: {}}

    def on_url(self, url: bytes) -> None:
        """A piece of the address."""
        super().on_url(url)
        if len(self.url) > self.bounds.url_bytes:
            raise _Refused(
                UrlTooLong(f"An address may have {self.bounds.url_bytes} bytes."), "url_too_long"
            )

    def on_header(self, name: bytes, value: bytes) -> None:
        """A whole header, or after the body a trailer, which is counted and dropped."""
        name = name.lower()
        self._head_left -= len(name) + len(value) + 4
        if self._head_left < 0 or len(self.headers) >= self.bounds.headers:
            raise _head_too_large(self.bounds)
        if self._phase is not _Phase.HEAD:
            self._head_left -= self.bounds.head_bytes // self.bounds.headers
            return
        self.headers.append((name, value))
        if name in _WATCHED:
            self._watched.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is read: check it, and start the request or queue it."""
        watched = self._watched
        hosts = [value for name, value in watched if name == b"host"]
        if len(hosts) > 1 or (not hosts and self.parser.get_http_version() == "1.1"):
            raise _bad("Send one Host header.", "host")
        if hosts and not _host_form.fullmatch(hosts[0]):
            raise _bad("The Host header names no host.", "host")
        if len(self.pipeline) >= self.bounds.pipelined:
            raise _bad("Too many requests were sent before an answer was read.", "pipeline")
        self.expect_100_continue = (b"expect", b"100-continue") in [
            (name, value.lower()) for name, value in watched
        ]
        super().on_headers_complete()
        self._phase = _Phase.BODY
        self._waited = self._body_bytes = self._chunks = 0
        self._framing_left = self.bounds.framing_bytes
        if self.parser.should_upgrade() or _is_large(watched, self.bounds.kept_body_bytes):
            self.cycle.keep_alive = False

    def on_chunk_header(self) -> None:
        """A chunk of a body without a length begins."""
        self._chunks += 1
        if self._chunks > self.bounds.small_chunks + self._body_bytes // 64:
            raise _bad("The chunks of the body are too small.", "framing")

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._body_bytes += len(body)
        self._framing_left += 2 * len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is read."""
        self._phase = _Phase.DONE
        super().on_message_complete()

    def _should_upgrade_to_ws(self) -> bool:
        return False

    # --- what is answered ---

    def on_response_complete(self) -> None:
        """Take the next request of the connection, unless this was the last one."""
        super().on_response_complete()
        self._waited = 0
        if self._is_last:
            self.transport.close()

    def _refuse(self, refused: _Refused) -> None:
        """End the connection with a problem: at once, or after the answer that is being made."""
        _refusals.labels(refused.reason).inc()
        cycle = self.cycle
        self._is_last = True
        is_its_body = self._phase is _Phase.BODY and not self.pipeline
        self.pipeline.clear()
        if cycle is None or cycle.response_complete:
            if not is_its_body:  # else its answer was sent before its body was read
                self._answer(refused.problem)
        elif is_its_body:
            if not cycle.response_started:
                self._answer(refused.problem)
            cycle.disconnected = True
            cycle.message_event.set()
        else:  # an earlier request is being answered
            self.flow.pause_reading()
            return
        self.transport.close()

    def _answer(self, problem: Problem) -> None:
        body = json.dumps(problem.body(), ensure_ascii=False).encode()
        headers = {
            "content-type": "application/problem+json",
            "content-length": str(len(body)),
            "connection": "close",
            "cache-control": "no-store",
            "x-content-type-options": "nosniff",
            **problem.headers,
        }
        head = b"".join(
            [
                httptools_impl.STATUS_LINE[problem.status],
                *(b"%b: %b\r\n" % header for header in self.server_state.default_headers),
                *(f"{name}: {value}\r\n".encode() for name, value in headers.items()),
            ]
        )
        self.transport.write(head + b"\r\n" + body)

    # --- its time ---

    @property
    def is_waiting(self) -> bool:
        """Whether it has no whole request: it may be ended when others need its place."""
        return not self._wire.is_closing() and (
            self.cycle is None or (self.cycle.response_complete and not self.pipeline)
        )

    @property
    def waited(self) -> int:
        """For how many seconds it has waited."""
        return self._waited

    def close_now(self) -> None:
        """End it without a word."""
        self._wire.close_now()

    def sweep(self) -> None:
        """Count a second, and end what takes too long."""
        bounds = self.bounds
        if self._wire.is_closing():
            self._waited += 1
            if self._waited > bounds.linger_seconds + (0 if self._wire.is_leaving else 10):
                self._wire.abort()
        elif self.flow.write_paused:
            self._stalled += 1
            if self._stalled > bounds.stalled_seconds:
                _refusals.labels("stalled").inc()
                self._wire.abort()
        else:
            self._stalled = 0
            self._sweep_request()

    def _sweep_request(self) -> None:
        bounds = self.bounds
        if self._phase is not _Phase.BODY and self.is_waiting:
            self._waited += 1
            if self._phase is _Phase.HEAD and self._waited > bounds.head_seconds:
                self._end_late_head()
        elif self._phase is _Phase.BODY and not self.flow.read_paused:
            self._waited += 1
            if self._waited > bounds.body_seconds + self._body_bytes / bounds.body_bytes_per_second:
                self._refuse(_Refused(RequestTimeout("The body came too slowly."), "slow_body"))

    def _end_late_head(self) -> None:
        if self._head_fed:
            self._refuse(_Refused(RequestTimeout("The headers came too slowly."), "slow_head"))
        else:  # it never sent anything: a connection that was opened in advance
            self._wire.close_now()


def _is_large(watched: list[tuple[bytes, bytes]], kept_bytes: int) -> bool:
    for name, value in watched:
        if name == b"transfer-encoding":
            return True
        if name == b"content-length" and (len(value) > 9 or int(value or 0) > kept_bytes):
            return True
    return False


# --- all connections of a server ----------------------------------------------------------------

_EVICTED_AT_ONCE = 16
_FILES_FOR_OTHERS = 128


class _Crowd:
    """The connections of one server: how many there are, from where, and what they wait for.

    When all places are taken, the connections that have waited longest without a whole request make
    room: whoever opens connections and sends nothing keeps nobody out.
    """

    def __init__(self, state: ServerState, loop: asyncio.AbstractEventLoop, bounds: Bounds) -> None:
        self._state, self._loop, self._bounds = state, loop, bounds
        self._counted: dict[BoundedHttp, str] = {}
        self._of_address: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    def refuse(self, connection: BoundedHttp) -> Problem | None:
        """Count a new connection; the problem with which it is refused, or None."""
        if self._timer is None:
            self._timer = self._loop.call_later(self._bounds.sweep_seconds, self._sweep)
        chosen = config.settings()
        host = connection.client[0] if connection.client else ""
        if host and not _is_trusted(host, chosen.trusted_proxies):
            address = rate_limits.network_of(host)
            if self._of_address[address] >= chosen.max_connections_per_address:
                _refusals.labels("connections_of_address").inc()
                return Unavailable("Too many connections from this address.")
            self._counted[connection] = address
            self._of_address[address] += 1
        if len(self._state.connections) > _places(chosen.max_connections):
            return self._make_room(connection)
        return None

    def _make_room(self, newest: BoundedHttp) -> Problem | None:
        waiting = [
            each
            for each in self._state.connections
            if isinstance(each, BoundedHttp) and each is not newest and each.is_waiting
        ]
        longest = heapq.nlargest(_EVICTED_AT_ONCE, waiting, key=lambda each: each.waited)
        for each in longest:
            _refusals.labels("evicted").inc()
            each.close_now()
        if longest:
            return None
        _refusals.labels("connections").inc()
        return Unavailable("Too many requests are being answered; try again.")

    def forget(self, connection: BoundedHttp) -> None:
        """A connection has ended."""
        address = self._counted.pop(connection, None)
        if address is not None:
            self._of_address[address] -= 1
            if not self._of_address[address]:
                del self._of_address[address]

    def _sweep(self) -> None:
        self._timer = None
        for connection in list(self._state.connections):
            if isinstance(connection, BoundedHttp):
                connection.sweep()
        if self._state.connections:
            self._timer = self._loop.call_later(self._bounds.sweep_seconds, self._sweep)


_crowds: weakref.WeakKeyDictionary[ServerState, _Crowd] = weakref.WeakKeyDictionary()


def _crowd_of(state: ServerState, loop: asyncio.AbstractEventLoop, bounds: Bounds) -> _Crowd:
    if state not in _crowds:
        _crowds[state] = _Crowd(state, loop, bounds)
    return _crowds[state]


@functools.lru_cache(maxsize=8)
def _places(wanted: int) -> int:
    """The connections that a process can have: files are needed for other things, too."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return wanted
    return max(16, min(wanted, files - _FILES_FOR_OTHERS))


@functools.lru_cache(maxsize=1024)
def _is_trusted(host: str, proxies: str) -> bool:
    """Whether this is one of `TRUSTED_PROXIES`, whose connections are those of many people."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    for part in (part.strip() for part in proxies.split(",")):
        if part in ("*", host):
            return True
        try:
            if address in ipaddress.ip_network(part, strict=False):
                return True
        except ValueError:
            continue  # a name: uvicorn compares it as it is written
    return False
