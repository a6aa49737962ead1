"""A client that costs next to nothing, for load: prepared bytes over keep-alive connections."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

# The answer to one request: which one, its status (0: the connection broke), its body.
OnAnswer = Callable[[int, int, bytes], None]


def request(
    method: str, url: str, *, headers: dict[str, str], body: bytes = b"", path: str | None = None
) -> bytes:
    """The bytes of a request to `url`, or to another `path` with the same query."""
    parts = urlsplit(url)
    query = f"?{parts.query}" if parts.query else ""
    lines = [f"{method} {path or parts.path}{query} HTTP/1.1", f"host: {parts.netloc}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"content-length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


async def exchange(
    requests: Iterable[bytes],
    *,
    host: str,
    port: int,
    connections: int,
    on_answer: OnAnswer,
    per_second: float | None = None,
    on_send: Callable[[int], object] = lambda _: None,
) -> None:
    """Send each request once; `on_answer` learns what came back. A broken connection is replaced,
    its request counts as unanswered. With `per_second` they leave evenly, late ones at once."""
    waiting = enumerate(requests)
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def connection() -> None:
        writer: asyncio.StreamWriter | None = None
        for number, sent in waiting:
            if per_second is not None:
                await asyncio.sleep(began + number / per_second - loop.time())
            try:
                if writer is None:
                    reader, writer = await asyncio.open_connection(host, port)
                on_send(number)
                writer.write(sent)
                status, body = await _answer(reader)
            except (OSError, EOFError, ValueError):
                if writer is not None:
                    writer.close()
                    writer = None
                status, body = 0, b""
            on_answer(number, status, body)
        if writer is not None:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    await asyncio.gather(*(connection() for _ in range(connections)))


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    status_line, *fields = head.decode("latin-1").split("\r\n")
    length = 0
    for field in fields:
        name, _, value = field.partition(":")
        if name.lower() == "content-length":
            length = int(value)
    return int(status_line.split()[1]), await reader.readexactly(length)
