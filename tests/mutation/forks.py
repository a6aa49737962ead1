"""Runs pytest in forks of one process that has imported what is never mutated: a run starts at once.

It is started in a copy of the repository (`python -m tests.mutation.forks`). Each line of its input
is a request, each line of its output the answer (`Forks.run`).
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

_SET_CHILD_SUBREAPER: Final = 36  # prctl(2)
NOT_THERE: Final = "a chosen test is not there"

# What the tests and the product import from others, and takes seconds.
_IMPORTED: Final = (
    *("asyncio", "pytest", "hypothesis", "hypothesis.extra", "httpx", "uvicorn"),
    *("uvicorn.protocols.http.auto", "uvicorn.lifespan.on", "fastapi"),
    *("motor.motor_asyncio", "pymongo", "razorpay", "jose.jwt", "passlib.context", "ulid"),
    *("pydantic_settings", "uvloop", "starlette", "email_validator", "phonenumbers", "openpyxl"),
    *("twilio.request_validator", "plivo.utils.signature_v3", "multipart", "bcrypt", "argon2"),
)


class Forks:
    """The process that forks, as seen from the one that asks."""

    def __init__(self, copy: Path, **environment: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.mutation.forks"],
            cwd=copy,
            env={**os.environ, "PYTEST_ADDOPTS": "", **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, arguments: Sequence[str], **more: Any) -> dict[str, Any]:
        """Run pytest; `status` (None: `limit` seconds were not enough), `output`, `seconds`,
        `cpu_seconds`.

        `tests`: those alone, in this order. `record`: the files whose lines are recorded; `recorded`
        is what `Recorder.found` says. `bytecode`: keep what is compiled.
        """
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"arguments": list(arguments), **more}) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        if answer["recorded"] is None and (more.get("record") or NOT_THERE in answer["output"]):
            raise RuntimeError(f"pytest cannot run: {arguments}\n{answer['output'][-3_000:]}")
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def _serve() -> None:
    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # what a killed run leaves is ours
    for name in _IMPORTED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line))), file=answers, flush=True)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    output, recorded = Path("output.txt"), Path("recorded.json")
    recorded.unlink(missing_ok=True)
    began, before = time.monotonic(), os.times()
    if (pid := os.fork()) == 0:
        _run(request, output, recorded)
    status = _ended(pid, until=began + request.get("limit", 3_600))
    _end_all_children()
    after = os.times()
    return {
        "status": status,
        "output": output.read_text(encoding="utf-8", errors="replace"),
        "seconds": time.monotonic() - began,
        "cpu_seconds": sum(after[2:4]) - sum(before[2:4]),
        "recorded": json.loads(recorded.read_text()) if recorded.exists() else None,
    }


def _run(request: dict[str, Any], output: Path, recorded: Path) -> None:
    """The child: it never returns."""
    import pytest

    from tests.mutation.lines import Chosen, Recorder

    os.setsid()
    written = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(written, 1)
    os.dup2(written, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.dont_write_bytecode = not request.get("bytecode")
    plugins: list[object] = []
    recorder = Recorder(Path.cwd(), request["record"]) if request.get("record") else None
    if recorder is not None:
        recorder.install()
        plugins.append(recorder)
    if request.get("tests"):
        plugins.append(Chosen(request["tests"]))
    status: int = pytest.ExitCode.INTERNAL_ERROR
    try:
        status = pytest.main(request["arguments"], plugins=plugins)
        if recorder is not None:
            recorded.write_text(json.dumps(recorder.found()))
    except Exception:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _ended(pid: int, *, until: float) -> int | None:
    """The exit status of the child; None when it was killed because it took too long."""
    while time.monotonic() < until:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def _end_all_children() -> None:
    """End what a run left: as subreaper, this process is the parent of all orphans."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    while pids := children.read_text().split():
        for child in map(int, pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, 0)


if __name__ == "__main__":
    _serve()
