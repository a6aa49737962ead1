"""Attacks from ten anonymous connections, and what they do to the others and to the memory.

    .venv/bin/python -m tests.bench attacks

The service runs in one process, on its simulated networks. While each attack runs, `/health` is asked
twenty times a second on a connection of its own; the figure is the p99 of its answers. The attackers
are processes of their own, and a bound that ends their connection makes them open the next one. Memory
is that of the serving process: how much it has grown at its highest, and what of it is left when the
attack is over.
"""

import asyncio
import contextlib
import itertools
import json
import multiprocessing
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Final

from tests.bench import harness
from tests.bench.harness import Figure, Scale
from tests.support import load_client
from tests.support.processes import Processes

CONNECTIONS: Final = 10
ASKED_PER_SECOND: Final = 20
HOST: Final = b"Host: 127.0.0.1\r\n"
_PIECE: Final = 64 * 1024

# An attack gives the pieces that one connection sends, with the pauses after them in seconds. When it
# ends, its connection waits for what comes, and the next one is opened.
Attack = Callable[[], Iterator[tuple[bytes, float]]]


# --- the attacks --------------------------------------------------------------------------------


def endless_headers() -> Iterator[tuple[bytes, float]]:
    """Headers, for as long as somebody reads them."""
    yield b"GET /health HTTP/1.1\r\n" + HOST, 0
    while True:
        yield b"A: " + b"b" * _PIECE + b"\r\n", 0


def endless_bodies() -> Iterator[tuple[bytes, float]]:
    """A body of a terabyte."""
    yield _post("/api/auth/login", 10**12), 0
    while True:
        yield b" " * _PIECE, 0


def half_requests() -> Iterator[tuple[bytes, float]]:
    """A header a second, and never the last one."""
    yield b"GET /health HTTP/1.1\r\n" + HOST, 0
    while True:
        yield b"A: b\r\n", 1


def deep_json() -> Iterator[tuple[bytes, float]]:
    """The deepest JSON that fits into a body."""
    body = b"[" * 60_000
    while True:
        yield _post("/api/auth/login", len(body)) + body, 0.02


_names = itertools.count()


def failed_log_ins() -> Iterator[tuple[bytes, float]]:
    """Ten wrong passwords a second, for accounts that there are not."""
    while True:
        name = f"nobody{next(_names)}@example.com"
        body = json.dumps({"email": name, "password": "not the password"}).encode()
        yield _post("/api/auth/login", len(body)) + body, 1 / CONNECTIONS


def odd_metrics() -> Iterator[tuple[bytes, float]]:
    """`/metrics`, with every method that there is."""
    for method in itertools.cycle((b"GET", b"PROPFIND", b"MKCOL", b"GET", b"REPORT", b"SEARCH")):
        yield method + b" /metrics HTTP/1.1\r\n" + HOST + b"\r\n", 0.02


ATTACKS: Final[dict[str, Attack]] = {
    "endless headers": endless_headers,
    "endless bodies": endless_bodies,
    "half requests": half_requests,
    "deep JSON": deep_json,
    "100 failed log-ins a second": failed_log_ins,
    "/metrics with odd methods": odd_metrics,
}


def _post(path: str, length: int) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\n".encode()
        + HOST
        + f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n".encode()
    )


async def _attack_once(attack: Attack, port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def read() -> None:
        while await reader.read(_PIECE):
            pass

    reading = asyncio.create_task(read())
    try:
        for piece, pause in attack():
            writer.write(piece)
            await writer.drain()
            if pause:
                await asyncio.sleep(pause)
            if reading.done():
                return
    finally:
        writer.close()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def _attack(name: str, port: int) -> None:
    async def connection() -> None:
        while True:
            with contextlib.suppress(OSError):
                await _attack_once(ATTACKS[name], port)
            await asyncio.sleep(0)

    await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))


def attack_from_here(name: str, port: int) -> None:
    """Attack from ten connections until this process is ended."""
    os.nice(5)  # the service is what is measured, on however few cores
    asyncio.run(_attack(name, port))


@contextlib.asynccontextmanager
async def under(name: str | None, port: int) -> AsyncIterator[None]:
    """In the block, the attack goes on; None is no attack."""
    if name is None:
        yield
        return
    spawn = multiprocessing.get_context("spawn")
    attacker = spawn.Process(target=attack_from_here, args=(name, port), daemon=True)
    attacker.start()
    try:
        await asyncio.sleep(1)  # until it has begun
        yield
    finally:
        attacker.kill()
        attacker.join()


# --- the figures --------------------------------------------------------------------------------


def memory_mb(pid: int) -> float:
    """What a process has in memory, without what it shares with files."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    found = next(line for line in lines if line.startswith("RssAnon:"))
    return int(found.split()[1]) / 1024


async def health(whole: Processes, count: int, pid: int) -> tuple[float, float]:
    """The p99 of `/health` in milliseconds, and the most memory of the process meanwhile in MB."""
    asked = load_client.request("GET", f"{whole.settings.own_url}/health", headers={})
    began: dict[int, float] = {}
    took: list[float] = []
    most = memory_mb(pid)

    def answered(number: int, status: int, _: bytes) -> None:
        nonlocal most
        if status != 200:
            raise SystemExit(f"/health was answered {status}")
        took.append((time.perf_counter() - began[number]) * 1_000)
        most = max(most, memory_mb(pid))

    await load_client.exchange(
        [asked] * count,
        host="127.0.0.1",
        port=whole.settings.port,
        connections=1,
        on_answer=answered,
        per_second=ASKED_PER_SECOND,
        on_send=lambda number: began.setdefault(number, time.perf_counter()),
    )
    return sorted(took)[min(len(took) - 1, int(len(took) * 0.99))], most


async def measure(scale: Scale, folder: Path) -> list[Figure]:
    """`/health` and the memory without an attack, and while each of them runs."""
    count = scale.count(400, at_least=5)
    figures = []
    async with harness.service(folder, signups_per_hour=1_000_000) as whole:
        pid = whole.pid
        await health(whole, count, pid)  # warmed up
        for name in (None, *ATTACKS):
            before = memory_mb(pid)
            async with under(name, whole.settings.port):
                milliseconds, most = await health(whole, count, pid)
            await asyncio.sleep(min(3, scale.seconds))  # what was refused is read for 2 seconds
            figures.append(
                Figure(
                    name=f"/health p99: {name or 'no attack'}",
                    value=milliseconds,
                    unit="ms",
                    parts={
                        "memory grew, MB": most - before,
                        "left of it, MB": memory_mb(pid) - before,
                    },
                )
            )
    worst = max(figures[1:], key=lambda figure: figure.value)
    largest = max(figure.parts["memory grew, MB"] for figure in figures)
    return [
        Figure(name="attacked_p99", value=worst.value, unit="ms", note=worst.name),
        Figure(name="attacked_memory", value=max(0.0, largest), unit="MB"),
        *figures,
    ]
