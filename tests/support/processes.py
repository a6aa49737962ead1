"""The whole service as a person starts it: real processes, to be raced and to be killed."""

import asyncio
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx

import telephony
from core import clock, config, embedded_mongodb
from telephony import simulator
from tests.support import load_client
from tests.support.service import ROOT, Person, Service, free_port
from tests.support.service import test_settings as settings_of_tests

START_SECONDS_MAX = 150
STOP_SECONDS_MAX = 60


def workers_of(parent: int) -> list[int]:
    """The pids of the processes that serve for `manage.py run`; one that just died is none."""
    found = []
    for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(int(pid))
    return found


# Most of a start is importing: this process does that once, and each start is a fork of it, whose
# environment, folder and log are its own. `prelude` is what a test wants to be otherwise.
_IMPORTER = f"""
import json, os, random, sys, threading
sys.path.insert(0, {str(ROOT)!r})
import sandbox.service, main, manage
assert threading.active_count() == 1
for line in sys.stdin.buffer:
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                break
        except ChildProcessError:
            break
    asked = json.loads(line)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.chdir(asked["folder"])
        os.environ.clear()
        os.environ.update(asked["environment"])
        log = os.open("service.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        random.seed()
        exec(asked["prelude"])
        sys.exit(manage.command_line(["run"]))
    print(pid, flush=True)
"""
_importer: subprocess.Popen[bytes] | None = None


class Forked:
    """A service that the importing process forked; like a `Popen` as far as `Processes` uses it."""

    def __init__(self, asked: dict[str, Any]) -> None:
        global _importer
        if _importer is None:
            _importer = subprocess.Popen(
                [sys.executable, "-c", _IMPORTER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
            )
        assert _importer.stdin is not None
        assert _importer.stdout is not None
        _importer.stdin.write(json.dumps(asked).encode() + b"\n")
        self.pid = int(_importer.stdout.readline())
        # It is not our child: its end is seen, its exit code is not.
        self._end: int | None = os.pidfd_open(self.pid)

    def poll(self) -> int | None:
        """0 when it has ended, whatever its exit code was."""
        if self._end is not None and select.select([self._end], [], [], 0)[0]:
            os.close(self._end)
            self._end = None
        return 0 if self._end is None else None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end. Raises TimeoutExpired."""
        if self._end is not None and not select.select([self._end], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired("the service", timeout or 0)
        return self.poll() or 0

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None and self._end is not None:
            signal.pidfd_send_signal(self._end, number)


def end_importer() -> None:
    """End the importing process, after the last test."""
    global _importer
    if _importer is not None:
        _importer.communicate()
        _importer = None


class Processes:
    """`python manage.py run` on its own data, port and secrets.

    `prelude` is Python that runs before it, in its process.
    """

    def __init__(self, folder: Path, *, prelude: str = "", **changes: Any) -> None:
        self.folder, self.prelude = folder, prelude
        self.settings = settings_of_tests(
            "", port=free_port(), data_dir=str(folder), mongodb_db="wallet", **changes
        )
        self.client = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.settings.port}",
            timeout=120,
            limits=httpx.Limits(max_connections=128, max_keepalive_connections=128),
        )
        self.service = Service(self.client, self.settings)
        self._process: Forked | None = None
        config.use(self.settings)

    def environment(self) -> dict[str, str]:
        """The settings as the environment of the processes, and nothing of this machine's."""
        given = {}
        for name in self.settings.model_fields_set:
            value = getattr(self.settings, name)
            plain = value.get_secret_value() if hasattr(value, "get_secret_value") else value
            given[name.upper()] = str(plain)
        return {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/tmp"), **given}

    async def start(self) -> float:
        """Start and wait until it is ready; the seconds that it took."""
        began = time.monotonic()
        self._process = await asyncio.to_thread(self._spawn)
        while time.monotonic() < began + START_SECONDS_MAX:
            if self._process.poll() is not None:
                break
            with contextlib.suppress(httpx.TransportError):
                if (await self.client.get("/ready")).status_code == 200:
                    return time.monotonic() - began
            await asyncio.sleep(0.05)
        raise AssertionError((self.folder / "service.log").read_text()[-3_000:])

    def _spawn(self) -> Forked:
        asked = {"environment": self.environment(), "prelude": self.prelude}
        return Forked({**asked, "folder": str(self.folder)})  # where there is no `.env`

    def kill(self) -> None:
        """`kill -9` on every process of the service, until their sockets are free; MongoDB stays."""
        assert self._process is not None
        killed = []
        for pid in [self._process.pid, *self.workers()]:
            with contextlib.suppress(ProcessLookupError):
                killed.append(os.pidfd_open(pid))
                os.kill(pid, signal.SIGKILL)
        for end in killed:
            select.select([end], [], [])
            os.close(end)
        self._process.wait()
        self._process = None

    @property
    def pid(self) -> int:
        """The process that was started; it serves alone when there is one."""
        assert self._process is not None
        return self._process.pid

    def workers(self) -> list[int]:
        """The processes that serve, by their parent."""
        assert self._process is not None
        return workers_of(self._process.pid)

    def mongodb_uri(self) -> str:
        """Where the embedded MongoDB is."""
        return embedded_mongodb.uri_of(self.folder)

    def mongod_pid(self) -> int:
        """The embedded MongoDB's process."""
        return int((self.folder / "mongod" / "data" / "mongod.lock").read_text())

    def kill_mongod(self) -> None:
        """`kill -9` on the database."""
        os.kill(self.mongod_pid(), signal.SIGKILL)

    async def stop(self) -> None:
        """Stop as a person does, and wait until everything is gone. What does not stop is killed, so
        that it does not stay for the tests after this one, and fails the test."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                await asyncio.to_thread(self._process.wait, STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self.kill()
                self.kill_mongod()
                raise
            self._process = None

    async def recharge(self, person: Person, rupees: int) -> dict[str, str]:
        """Recharge through the sandbox, as a customer does; what Checkout handed over."""
        order = await self.service.post(
            "/api/payment/create-order", person, json={"amount": rupees}
        )
        assert order.status_code == 201, order.text
        order_id = order.json()["order_id"]
        paid = await self.client.post(
            f"/sandbox/pay/{order_id}", json={"card_number": "4111 1111 1111 1111"}
        )
        assert paid.status_code == 200, paid.text
        proof = {name: paid.json()[name] for name in paid.json() if name.startswith("razorpay_")}
        verified = await self.service.post("/api/payment/verify", person, json=proof)
        assert verified.status_code == 200, verified.text
        return proof

    async def place(self, person: Person, **simulate: Any) -> httpx.Response:
        """Place a call that the simulator will not end during the test."""
        scenario = {"outcome": "completed", "duration_seconds": 30, "wall_seconds": 3_600}
        body = {"to": "+919876543210", "simulate": scenario | simulate}
        return await self.service.post("/api/call", person, json=body)

    def place_request(self, person: Person) -> bytes:
        """The bytes that place such a call, for load."""
        scenario = {"outcome": "completed", "duration_seconds": 30, "wall_seconds": 3_600}
        return load_client.request(
            "POST",
            f"{self.settings.own_url}/api/call",
            headers={"content-type": "application/json", **person.headers},
            body=json.dumps({"to": "+919876543210", "simulate": scenario}).encode(),
        )

    async def call_back(self, call: dict[str, Any], *, seconds: int = 30) -> httpx.Response:
        """Be the network: report the end of a call, signed."""
        url, body, headers = end_of(call, seconds=seconds)
        return await self.client.post(url, content=body, headers=headers)


def end_of(call: dict[str, Any], *, seconds: int = 30) -> tuple[str, bytes, dict[str, str]]:
    """The signed callback with which the simulator reports the end of a call."""
    url = telephony.callback_url("simulator", call["call_id"])
    its_id = f"sim_{call['call_id'].removeprefix('call_')}"  # the call is perhaps not dialled yet
    told = {
        "event_id": f"{its_id}:completed",
        "provider_call_id": its_id,
        "status": "completed",
        "duration_seconds": seconds,
        "occurred_at": clock.iso(clock.now()),
        "answered_at": None,
    }
    body = json.dumps(told).encode()
    signature = simulator.sign(url, body)
    return url, body, {simulator.SIGNATURE_HEADER: signature, "content-type": "application/json"}


@contextlib.asynccontextmanager
async def processes(folder: Path, **changes: Any) -> AsyncIterator[Processes]:
    """The service, started; stopped at the end, whatever happened in between."""
    whole = Processes(folder, **changes)
    try:
        await whole.start()
        yield whole
    finally:
        await whole.stop()
        await whole.client.aclose()
        config.use(None)
