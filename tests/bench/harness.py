"""Benchmark service: real processes on a MongoDB of their own, and calls that wait for their end."""

import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests.support import load_client
from tests.support.processes import Processes
from tests.support.service import ROOT, Person


@contextlib.asynccontextmanager
async def service(folder: Path, program: str, **changes: Any) -> AsyncIterator[Processes]:
    """The service on data of its own, started by the Python `program`."""
    chosen = {"call_slice_minutes": 1, "max_concurrent_calls": 100_000, **changes}
    whole = Processes(folder, **chosen)
    whole.command = [
        sys.executable,
        "-c",
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); {program}",
    ]
    try:
        await whole.start()
        yield whole
    finally:
        await whole.stop()
        await whole.client.aclose()


async def place(whole: Processes, person: Person, count: int) -> list[dict[str, Any]]:
    """Calls of one person that the simulator will not end by itself."""
    placed: list[dict[str, Any]] = []

    def keep(_: int, status: int, body: bytes) -> None:
        if status != 202:
            raise SystemExit(f"a call was not placed: {status} {body!r}")
        placed.append(json.loads(body))

    await load_client.exchange(
        [whole.place_request(person)] * count,
        host="127.0.0.1",
        port=whole.settings.port,
        connections=64,
        on_answer=keep,
    )
    return placed
