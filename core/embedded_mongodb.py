"""Embedded MongoDB: one real mongod on this machine, for this service alone, its data kept between runs."""

import base64
import contextlib
import dataclasses
import fcntl
import importlib.util
import logging
import os
import random
import re
import secrets
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from core import database
from core.database import Login

log = logging.getLogger(__name__)


# --- vocabulary ---------------------------------------------------------------------------------

REPLICA_SET = "rs0"
VERSION_MIN = (6, 0)
START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 30
LOG_BYTES_MAX = 10_000_000
LOGS_KEPT = 3

_ALREADY_INITIALIZED = 23
_AUTHENTICATION_FAILED = 18
_USER_EXISTS = 51003
_USER = "wallet"

# Below the range of ephemeral ports: a replica set stores its port, so no other program may be
# assigned it by accident between two runs.
_PORTS = range(27_100, 29_900)

_OPTIONS = (
    "--replSet",
    REPLICA_SET,
    "--bind_ip",
    "127.0.0.1",
    "--nounixsocket",
    # CVE-2025-14847: compressed messages let anybody who reaches the port read its memory.
    "--networkMessageCompressors",
    "disabled",
    "--wiredTigerCacheSizeGB",
    "0.25",
    "--oplogSize",
    "512",
    "--quiet",
    "--slowms",
    "1000",
    "--logappend",
    "--logRotate",
    "reopen",
    "--setParameter",
    "diagnosticDataCollectionEnabled=false",
    # Nobody may make the first user but us, who log in with the key file.
    "--setParameter",
    "enableLocalhostAuthBypass=false",
    # A transaction whose process was killed keeps its wallets locked until it is this old.
    "--setParameter",
    "transactionLifetimeLimitSeconds=5",
    # There is no secondary to step down to: do not wait 15 seconds for one at shutdown.
    "--setParameter",
    "shutdownTimeoutMillisForSignaledShutdown=100",
)


class CannotStart(RuntimeError):
    """The embedded MongoDB cannot be started; the message says what to do."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Home:
    """The files under `DATA_DIR/mongod`."""

    path: Path

    @property
    def data(self) -> Path:
        return self.path / "data"

    @property
    def log(self) -> Path:
        return self.path / "mongod.log"

    @property
    def port(self) -> Path:
        return self.path / "port"

    @property
    def version(self) -> Path:
        return self.path / "version"

    @property
    def key(self) -> Path:
        """What the members of the replica set share; with it one logs in as the server itself."""
        return self.path / "keyfile"

    @property
    def password(self) -> Path:
        """The password of the service's user."""
        return self.path / "password"

    @property
    def as_server(self) -> Login:
        return Login("__system", self.key.read_text().strip(), "local")

    @property
    def as_service(self) -> Login:
        return Login(_USER, self.password.read_text().strip(), "admin")


class Running:
    """A mongod that answers. Each `Running` is one user of it; the last one to `stop` ends the mongod.

    Each user holds a shared lock on a file, which ends with its process: a mongod whose starter was
    killed is used by the next start, and stopped by it.
    """

    def __init__(self, home: _Home, *, port: int, pid: int, user: IO[str], adopted: bool) -> None:
        self._home, self._user = home, user
        self._uri = _uri_of(home, port)
        self._over = threading.Event()
        self._guard: threading.Thread | None = None
        self.port, self.pid, self.adopted = port, pid, adopted

    @property
    def uri(self) -> str:
        """The value for `MONGODB_URI`, with the password."""
        return self._uri

    def guard(self) -> None:
        """From now on restart the mongod when it ends, and rotate its log."""
        self._guard = threading.Thread(target=self._watch, name="mongod guard", daemon=True)
        self._guard.start()

    def stop(self) -> None:
        """Stop using it. The mongod is shut down cleanly unless another process uses it as well."""
        self._over.set()
        if self._guard is not None:
            self._guard.join()
        with _starting(self._home):
            if self._user.closed:
                return
            others = not _locked(self._user, fcntl.LOCK_EX)
            self._user.close()
            if not others:
                _end(self._home)

    def _watch(self) -> None:
        while not self._over.wait(0.5):
            try:
                if not _is_running(self._home):
                    log.error("mongod, pid %s, is gone; starting it again", self.pid)
                    with _starting(self._home):
                        self.pid = _ensure(self._home, self._user)[1]
                    log.info("mongod runs again, pid %s", self.pid)
                elif self._home.log.stat().st_size > LOG_BYTES_MAX:
                    _rotate(self._home.log)
                    # Makes it open the new file.
                    _ask(self._home, self.port, {"logRotate": "server"})
            except (CannotStart, OSError, database.AnyError) as problem:
                log.error("the guard of mongod: %s", problem)
                self._over.wait(5)


# --- verbs --------------------------------------------------------------------------------------


def find_binary(made_by: str = "") -> Path:
    """The mongod to run: the one on PATH when it is 6.0 or newer, else the one from PyPI.

    `made_by` is the version (`6.0`) that wrote the data: a mongod of that version is preferred,
    because MongoDB opens the files of adjacent versions only.
    """
    candidates = []
    on_path = shutil.which("mongod")
    if on_path:
        candidates.append(Path(on_path))
    spec = importlib.util.find_spec("fiftyone")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        candidates.append(Path(folder) / "db" / "bin" / "mongod")
    versions = {path: version_of(path) for path in candidates if path.is_file()}
    usable = [path for path, version in versions.items() if version >= VERSION_MIN]
    if not usable:
        raise CannotStart(
            f"no mongod that runs here and is {VERSION_MIN[0]}.{VERSION_MIN[1]} or newer"
            f" (looked at: {', '.join(map(str, candidates)) or 'nothing'}). Install the packages of"
            " requirements.txt, or set MONGODB_URI to a MongoDB of your own (a replica set)."
        )
    usable.sort(key=lambda path: ".".join(map(str, versions[path])) != made_by)
    return usable[0]


def version_of(binary: Path) -> tuple[int, int]:
    """Its (major, minor) version; (0, 0) when it does not run."""
    try:
        output = subprocess.run(  # noqa: S603 - the mongod itself
            [binary, "--version"], capture_output=True, text=True, timeout=30, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return (0, 0)
    found = re.search(r"db version v(\d+)\.(\d+)", output)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def start(data_dir: str | Path) -> Running:
    """Start the mongod of `data_dir`, or use the one that already runs there.

    Returns when the replica set has its primary. Raises `CannotStart` with what to do.
    """
    home = _Home(Path(data_dir).resolve() / "mongod")
    home.data.mkdir(parents=True, exist_ok=True)
    home.path.chmod(0o700)
    with _starting(home):
        _keep_secret(home.key, base64.b64encode(secrets.token_bytes(96)).decode())
        _keep_secret(home.password, secrets.token_urlsafe(32))
        user = (home.path / "users.lock").open("a")
        _locked(user, fcntl.LOCK_SH)
        try:
            port, pid, adopted = _ensure(home, user)
        except BaseException:  # also a signal while we wait: stop what was started
            if _locked(user, fcntl.LOCK_EX):
                _end(home)
            user.close()
            raise
    log.info("mongod %s on 127.0.0.1:%s, pid %s", "adopted" if adopted else "started", port, pid)
    return Running(home, port=port, pid=pid, user=user, adopted=adopted)


def uri_of(data_dir: str | Path) -> str:
    """The URI of the mongod that runs on this data."""
    home = _Home(Path(data_dir).resolve() / "mongod")
    port = _kept_port(home)
    if port is None:
        raise CannotStart(f"no mongod was started in {home.path}")
    return _uri_of(home, port)


_children: dict[int, subprocess.Popen[bytes]] = {}  # by pid: the ones this process started


# --- the process --------------------------------------------------------------------------------


def _ensure(home: _Home, user: IO[str]) -> tuple[int, int, bool]:
    """Its port, its pid, and whether it ran before: adopt it or launch it, and await the primary.

    One that 0.2.1 started asks nobody for a password: it is started again, unless others use it.
    """
    port = _kept_port(home)
    adopted = _is_running(home) and _is_there(home, port)
    if adopted and port is not None and _is_open(port):
        if _locked(user, fcntl.LOCK_EX):
            _locked(user, fcntl.LOCK_SH)
            _end(home)
            adopted = False
        else:
            log.warning("mongod asks for no password until the older release that uses it stops")
    if not adopted:
        port = _launch(home, port)
    assert port is not None
    _await_primary(home, port)
    if not _is_open(port):
        _make_user(home, port)
    return port, _pid(home), adopted


def _launch(home: _Home, port: int | None) -> int:
    binary = find_binary(home.version.read_text().strip() if home.version.exists() else "")
    for _ in range(5):
        chosen = port or _free_port()
        if not _is_free(chosen):
            raise CannotStart(
                f"port {chosen} of 127.0.0.1 is taken by another program, and the embedded MongoDB in"
                f" {home.path} uses it. Stop that program, or write another free port into"
                f" {home.port}, or set MONGODB_URI to a MongoDB of your own."
            )
        _rotate(home.log)
        for child in _children.values():
            child.poll()  # reap the ones that ended
        process = subprocess.Popen(  # noqa: S603 - the mongod itself
            [
                binary,
                "--dbpath",
                home.data,
                "--port",
                str(chosen),
                "--logpath",
                home.log,
                "--keyFile",
                home.key,
                *_OPTIONS,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the service, which then stops its mongod
        )
        _children[process.pid] = process
        if _answers(home, chosen, process):
            home.port.write_text(f"{chosen}\n")
            home.version.write_text(".".join(map(str, version_of(binary))) + "\n")
            return chosen
        if port is not None or _is_free(chosen):
            break
    raise CannotStart(
        f"{binary} did not start: {_failure_in_log(home)} (the whole log: {home.log})"
    )


def _answers(home: _Home, port: int, process: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + START_SECONDS_MAX
    while process.poll() is None and time.monotonic() < deadline:
        if _is_ours(home, port):
            return True
        time.sleep(0.05)
    if process.poll() is None:
        process.kill()
        process.wait()
    return False


def _await_primary(home: _Home, port: int) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline:
        with contextlib.suppress(database.AnyError):
            hello = database.ask(port, {"hello": 1})
            if hello.get("isWritablePrimary"):
                return
            if hello.get("isreplicaset") and "setName" not in hello:
                _initiate(home, port)
        if not _is_running(home):
            raise CannotStart(f"mongod ended: {_failure_in_log(home)} (the whole log: {home.log})")
        time.sleep(0.05)
    raise CannotStart(f"the replica set has no primary yet; {home.log} says why")


def _initiate(home: _Home, port: int) -> None:
    members = [{"_id": 0, "host": f"127.0.0.1:{port}"}]
    try:
        _ask(home, port, {"replSetInitiate": {"_id": REPLICA_SET, "members": members}})
    except database.AnyError as problem:
        if getattr(problem, "code", None) != _ALREADY_INITIALIZED:
            raise
        # The data was made on another port: its replica set configuration does not name this one.
        known = _ask(home, port, {"replSetGetConfig": 1})["config"]
        known |= {"version": known["version"] + 1, "members": members}
        _ask(home, port, {"replSetReconfig": known, "force": True})


def _make_user(home: _Home, port: int) -> None:
    """The service's user, made again with the kept password when it cannot log in."""
    with contextlib.suppress(database.AnyError):
        database.ask(port, {"ping": 1}, login=home.as_service)
        return
    service = home.as_service
    try:
        _ask(home, port, {"createUser": _USER, "pwd": service.password, "roles": ["root"]})
    except database.AnyError as problem:
        if getattr(problem, "code", None) != _USER_EXISTS:
            raise CannotStart(f"the user of the service cannot be made: {problem}") from problem
        _ask(home, port, {"updateUser": _USER, "pwd": service.password, "roles": ["root"]})


def _ask(home: _Home, port: int, command: database.Document) -> database.Document:
    """Its answer to the server itself, which may do everything; without a login where none is asked."""
    try:
        return database.ask(port, command, login=home.as_server)
    except database.AnyError as refusal:
        if getattr(refusal, "code", None) != _AUTHENTICATION_FAILED:
            raise
    return database.ask(port, command)


def _is_open(port: int) -> bool:
    """Whether it asks nobody for a password."""
    try:
        database.ask(port, {"listDatabases": 1, "nameOnly": True})
    except database.AnyError:
        return False
    return True


def _is_there(home: _Home, port: int | None) -> bool:
    """Whether the mongod that runs on this data answers; waits while it starts or stops."""
    deadline = time.monotonic() + STOP_SECONDS_MAX
    while _is_running(home) and time.monotonic() < deadline:
        if port is not None and _is_ours(home, port):
            return True
        time.sleep(0.1)
    if _is_running(home):
        raise CannotStart(
            f"a mongod (pid {_pid(home)}) holds {home.data} and does not answer on port {port}."
            f" Stop it (kill {_pid(home)}) and start again."
        )
    return False


def _is_ours(home: _Home, port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=0.3).close()  # a refusal is quick
        options = _ask(home, port, {"getCmdLineOpts": 1})["parsed"]
    except (OSError, database.AnyError):
        return False
    return Path(options.get("storage", {}).get("dbPath", "")).resolve() == home.data


def _end(home: _Home) -> None:
    if not _is_running(home) or (pid := _pid(home)) == 0:
        return
    log.info("stopping mongod, pid %s", pid)
    for how in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, how)
        deadline = time.monotonic() + STOP_SECONDS_MAX
        while _is_running(home) and time.monotonic() < deadline:
            time.sleep(0.05)
        if not _is_running(home):
            break
        log.warning("mongod, pid %s, did not stop in time and is killed", pid)
    if pid in _children:
        _children.pop(pid).wait()


def _is_running(home: _Home) -> bool:
    """Whether a mongod has this data open: it holds a lock on a file there until it ends."""
    try:
        with (home.data / "mongod.lock").open() as file:
            return not _locked(file, fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


def _pid(home: _Home) -> int:
    """The pid that the mongod of this data wrote to its lock file; 0 when it stopped cleanly."""
    return int((home.data / "mongod.lock").read_text().strip() or 0)


# --- files, locks, ports ------------------------------------------------------------------------


def _keep_secret(path: Path, fresh: str) -> None:
    """Write `fresh` into a file that only this account reads, unless it is there."""
    if path.exists():
        return
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(fresh + "\n")
    draft.replace(path)  # whole or not at all


def _uri_of(home: _Home, port: int) -> str:
    where = f"127.0.0.1:{port}/?replicaSet={REPLICA_SET}"
    if _is_open(port):
        return f"mongodb://{where}"
    return f"mongodb://{_USER}:{home.as_service.password}@{where}&authSource=admin"


@contextlib.contextmanager
def _starting(home: _Home) -> Iterator[None]:
    """A lock: one process at a time starts or stops the mongod of this data."""
    with (home.path / "start.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _locked(file: IO[str], how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _kept_port(home: _Home) -> int | None:
    try:
        return int(home.port.read_text())
    except (OSError, ValueError):
        return None


def _free_port() -> int:
    for port in random.sample(_PORTS, k=200):
        if _is_free(port):
            return port
    raise CannotStart(f"no free port between {_PORTS.start} and {_PORTS.stop}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _rotate(log_file: Path) -> None:
    """Rename mongod.log to mongod.log.1, and so on; `LOGS_KEPT` old files remain."""
    for n in range(LOGS_KEPT, 0, -1):
        older = log_file.with_name(f"{log_file.name}.{n}")
        newer = log_file.with_name(f"{log_file.name}.{n - 1}") if n > 1 else log_file
        if newer.exists():
            newer.replace(older)


def _failure_in_log(home: _Home) -> str:
    try:
        lines = home.log.read_text(errors="replace").splitlines()
    except OSError:
        return "it left no log"
    errors = [line for line in lines if '"s":"E"' in line or '"s":"F"' in line]
    return (errors or lines or ["it left an empty log"])[-1][:500]
