"""The commands that a person types, run as they are: real processes, a real mongod, real signals."""

import dataclasses
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import manage
from core import config, embedded_mongodb
from sandbox import demo_data
from tests.support.processes import workers_of
from tests.support.service import ROOT

PATIENCE_SECONDS = 60


def environment(**given: str) -> dict[str, str]:
    """This machine's environment without any setting of the service, and then what is given."""
    settings = {name.upper() for name in config.Settings.model_fields}
    kept = {name: value for name, value in os.environ.items() if name not in settings}
    return {**kept, "JWT_SECRET": "a-secret-for-the-tests-0123456789", **given}


def call(*words: str, cwd: Path, **given: str) -> subprocess.CompletedProcess[str]:
    """Run `manage.py` where there is no `.env`, to its end."""
    return call_within(PATIENCE_SECONDS, *words, cwd=cwd, **given)


def call_within(
    seconds: int, /, *words: str, cwd: Path, **given: str
) -> subprocess.CompletedProcess[str]:
    """The same, with as much time."""
    return subprocess.run(
        [sys.executable, ROOT / "manage.py", *words],
        cwd=cwd,
        env=environment(**given),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclasses.dataclass
class Started:
    """A `manage.py run` that serves."""

    process: subprocess.Popen[str]
    port: int
    home: Path
    output: Path

    def ask(
        self, path: str, body: dict[str, Any] | None = None, *, token: str = ""
    ) -> tuple[int, Any]:
        """Status and JSON; status 0 when nobody answers."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"}
            | ({"Authorization": f"Bearer {token}"} if token else {}),
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, json.load(refusal)
        except OSError:
            return 0, None

    def said(self) -> str:
        return self.output.read_text()

    def until(self, told: str) -> str:
        """Wait for `told` in what it prints."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while told not in self.said():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.05)
        return self.said()

    def stop(self, signum: int = signal.SIGTERM) -> int:
        self.process.send_signal(signum)
        return self.process.wait(PATIENCE_SECONDS)

    def mongod_runs(self) -> bool:
        return embedded_mongodb._is_running(
            embedded_mongodb._Home(self.home.resolve() / ".data" / "mongod")
        )

    def workers(self) -> list[int]:
        """The pids of the processes that serve."""
        return workers_of(self.process.pid)


class Runner:
    """Starts `manage.py run` and ends whatever is left of it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.started: list[Started] = []

    def __call__(self, **given: str) -> Started:
        output = self.home / f"output{len(self.started)}"
        port = int(given.setdefault("PORT", str(free_port())))
        with output.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, ROOT / "manage.py", "run"],
                cwd=self.home,
                env=environment(
                    ADMIN_EMAIL="boss@example.com", ADMIN_PASSWORD="the password of the boss"
                )
                | given,
                stdout=file,
                stderr=subprocess.STDOUT,
                text=True,
            )
        self.started.append(Started(process, port, self.home, output))
        self.started[-1].until("stop          Ctrl-C")
        return self.started[-1]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Runner]:
    """Starts the service in an empty directory, with a space in its path."""
    home = tmp_path / "some where"
    home.mkdir()
    runner = Runner(home)
    yield runner
    for started in runner.started:
        if started.process.poll() is None:
            started.process.kill()
            started.process.wait()
    data = embedded_mongodb._Home(home.resolve() / ".data" / "mongod")
    if data.path.exists():
        embedded_mongodb._end(data)


# --- run ----------------------------------------------------------------------------------------


def test_run_says_what_to_open_keeps_the_data_and_stops_everything(run: Runner) -> None:
    first = run()
    said = first.said()
    assert f"http://127.0.0.1:{first.port}/docs" in said
    assert "boss@example.com  the password of the boss" in said
    assert "simulated: no money moves" in said
    assert "simulated: no phone rings" in said
    person = {"email": "asha@example.com", "password": "correct horse battery", "name": "Asha"}
    assert first.ask("/api/auth/signup", person)[0] == 201
    assert first.mongod_runs()
    assert first.stop() == 0
    assert not first.mongod_runs()

    second = run()
    del person["name"]
    assert second.ask("/api/auth/login", person)[0] == 200
    assert second.stop(signal.SIGINT) == 0
    assert not second.mongod_runs()
    assert "Traceback" not in first.said() + second.said()


def test_two_processes_serve_and_one_that_dies_is_replaced(run: Runner) -> None:
    started = run(WEB_CONCURRENCY="2")
    before = started.workers()
    assert len(before) == 2
    os.kill(before[0], signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(set(started.workers()) - set(before)) < 1 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(started.workers()) == 2
    while started.ask("/ready")[0] != 200 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert started.ask("/ready")[0] == 200
    assert started.stop() == 0
    assert not started.mongod_runs()


def test_after_kill_9_of_the_parent_the_workers_leave_and_the_next_run_takes_over(
    run: Runner,
) -> None:
    first = run(WEB_CONCURRENCY="2")
    first.stop(signal.SIGKILL)
    assert first.mongod_runs()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while first.ask("/health")[0] != 0 and time.monotonic() < deadline:
        time.sleep(0.1)
    second = run(PORT=str(first.port))
    assert second.ask("/ready")[0] == 200
    assert second.stop() == 0
    assert not second.mongod_runs()


def test_a_killed_mongod_comes_back_under_a_running_service(run: Runner) -> None:
    started = run()
    lock = started.home / ".data" / "mongod" / "data" / "mongod.lock"
    os.kill(int(lock.read_text()), signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE_SECONDS
    person = {"email": "asha@example.com", "password": "correct horse battery", "name": "Asha"}
    statuses = set()
    while 201 not in statuses and time.monotonic() < deadline:
        statuses.add(started.ask("/api/auth/signup", person)[0])
    # A sign-up whose answer was lost may have been written: then the e-mail is taken.
    assert statuses <= {201, 503, 409}
    while started.ask("/ready")[0] != 200 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert started.ask("/ready")[0] == 200
    assert started.stop() == 0


def test_run_refuses_a_taken_port_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        done = call("run", cwd=tmp_path, PORT=port)
    assert done.returncode == manage.FAILED
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
    assert not (tmp_path / ".data").exists()


def test_run_in_production_names_everything_it_refuses_and_starts_nothing(tmp_path: Path) -> None:
    done = call("run", cwd=tmp_path, APP_ENV="production")
    assert done.returncode == manage.REFUSED
    for name in ("RAZORPAY_KEY_ID", "TELEPHONY_PROVIDER", "MONGODB_URI", "PUBLIC_BASE_URL"):
        assert name in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / ".data").exists()


def test_a_value_that_cannot_be_read_is_named_and_never_shown(tmp_path: Path) -> None:
    done = call("run", cwd=tmp_path, PORT="eighty", MINIMUM_BALANCE="ten")
    assert done.returncode == manage.REFUSED
    assert "PORT: " in done.stderr
    assert "MINIMUM_BALANCE: " in done.stderr
    assert "eighty" not in done.stderr


def test_a_standalone_mongodb_is_refused_with_what_to_do(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "data").mkdir()
    options = ["--bind_ip", "127.0.0.1", "--nounixsocket", "--wiredTigerCacheSizeGB", "0.25"]
    alone = subprocess.Popen(
        [
            embedded_mongodb.find_binary(),
            "--dbpath",
            tmp_path / "data",
            "--port",
            str(port),
            *options,
        ],
        stdout=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        uri = f"mongodb://127.0.0.1:{port}/"
        ran = call("run", cwd=tmp_path, MONGODB_URI=uri, PORT=str(free_port()))
        checked = call("check", cwd=tmp_path, MONGODB_URI=uri)
    finally:
        alone.terminate()
        alone.wait()
    assert ran.returncode == manage.FAILED
    assert "standalone MongoDB, which has no transactions" in ran.stderr
    assert "--replSet" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert checked.returncode == manage.REFUSED
    assert "standalone MongoDB" in checked.stdout


def test_a_mongodb_that_is_away_is_said_without_its_password(tmp_path: Path) -> None:
    uri = f"mongodb://user:s3cr3t@127.0.0.1:{free_port()}/?replicaSet=rs0"
    done = call("check", cwd=tmp_path, MONGODB_URI=uri)
    assert done.returncode == manage.REFUSED
    assert "cannot use MongoDB" in done.stdout
    assert "s3cr3t" not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_a_start_without_a_mongodb_waits_for_it_and_says_so(tmp_path: Path) -> None:
    uri = f"mongodb://user:s3cr3t@127.0.0.1:{free_port()}/?replicaSet=rs0"
    output = tmp_path / "output"
    with output.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, ROOT / "manage.py", "run"],
            cwd=tmp_path,
            env=environment(MONGODB_URI=uri, PORT=str(free_port())),
            stdout=file,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        started = Started(process, 0, tmp_path, output)
        said = started.until("MongoDB cannot be reached, or has no primary")
        assert "WARNING" in said
        assert "s3cr3t" not in said
        assert process.poll() is None
        assert started.stop() != 0
        assert "Traceback" not in started.said()
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("uri", ["mongodb://", "mongodb://127.0.0.1:port/", "mongodb://u:s3cr3t@"])
def test_a_mongodb_uri_that_is_none_is_refused_in_words(tmp_path: Path, uri: str) -> None:
    done = call("check", cwd=tmp_path, MONGODB_URI=uri)
    assert done.returncode == manage.REFUSED
    assert "  - MongoDB: MONGODB_URI cannot be used" in done.stdout
    assert "s3cr3t" not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


# --- check --------------------------------------------------------------------------------------


def test_check_is_green_for_a_development_configuration(tmp_path: Path) -> None:
    done = call("check", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "READY to start" in done.stdout
    assert "embedded" in done.stdout
    assert not (tmp_path / ".data").exists()


@pytest.mark.parametrize(
    ("mode", "names"),
    [
        ("test", {"RAZORPAY_KEY_ID", "RAZORPAY_KEY_SECRET"}),
        ("live", {"APP_ENV", "MONGODB_URI", "PUBLIC_BASE_URL", "TELEPHONY_PROVIDER=simulator:"}),
    ],
)
def test_check_names_what_a_razorpay_mode_still_needs(
    tmp_path: Path, mode: str, names: set[str]
) -> None:
    done = call("check", "--mode", mode, cwd=tmp_path)
    assert done.returncode == manage.REFUSED
    assert f"NOT READY for Razorpay {mode} mode" in done.stdout
    told = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("  - ")}
    assert names <= told


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["check", "--help"]])
def test_every_command_explains_itself(tmp_path: Path, words: list[str]) -> None:
    done = call(*words, cwd=tmp_path)
    assert done.returncode == 0
    assert "usage: manage.py" in done.stdout


# --- create-admin -------------------------------------------------------------------------------


def test_create_admin_makes_an_admin_while_the_service_runs(run: Runner) -> None:
    started = run()
    words = ["create-admin", "--email", "second@example.com", "--password"]
    nobody = ["create-admin", "--email", "nobody", "--password", "a password of an admin"]
    for refused in (call(*words, "short", cwd=run.home), call(*nobody, cwd=run.home)):
        assert refused.returncode == manage.FAILED
        assert refused.stderr.strip()
        assert "Traceback" not in refused.stderr
    made = call(*words, "a password of an admin", cwd=run.home)
    assert made.returncode == 0, made.stderr
    credentials = {"email": "second@example.com", "password": "a password of an admin"}
    status, answer = started.ask("/api/auth/login", credentials)
    assert status == 200
    assert answer["user"]["role"] == "admin"
    path, token = "/api/admin/audit-log?action=admin.create", answer["access_token"]
    (row,) = started.ask(path, token=token)[1]["entries"]
    assert (row["role"], row["target"]["id"]) == ("system", answer["user"]["id"])
    assert started.ask("/ready")[0] == 200  # its mongod was shared, not stopped
    assert started.stop() == 0


# --- audit --------------------------------------------------------------------------------------


def test_audit_looks_at_the_books_of_a_running_service_and_of_a_stopped_one(run: Runner) -> None:
    started = run()
    account = {"email": "asha@example.com", "password": "monsoon in pune", "name": "Asha"}
    status, _ = started.ask("/api/auth/signup", account)
    assert status == 201
    beside = call("audit", cwd=run.home)
    assert beside.returncode == 0, beside.stderr
    assert beside.stdout.splitlines()[-1] == "2 wallets, 0 entries: the books are right"
    assert started.stop() == 0
    alone = call("audit", "--user", "usr_nobody", cwd=run.home)
    assert alone.returncode == 0, alone.stderr
    assert alone.stdout.splitlines()[-1] == "0 wallets, 0 entries: the books are right"


def test_reconcile_brings_the_money_of_a_closed_browser_and_says_so(run: Runner) -> None:
    started = run()
    account = {"email": "asha@example.com", "password": "monsoon in pune", "name": "Asha"}
    _, admission = started.ask("/api/auth/signup", account)
    token = admission["access_token"]
    started.ask("/sandbox/webhooks", {"enabled": False})
    _, order = started.ask("/api/payment/create-order", {"amount": 100}, token=token)
    started.ask(f"/sandbox/pay/{order['order_id']}", {"card_number": "4111 1111 1111 1111"})
    first = call("reconcile", "--older-than", "0", cwd=run.home, PORT=str(started.port))
    lines = first.stdout.splitlines()
    # The poller of the service may have been faster: then the money is there, and nothing to repair.
    repaired = sum("kind=payment_credited" in line for line in lines)
    assert lines[-1] == f"{repaired} repaired, 0 for a person, 0 not answered", first.stderr
    _, credited = started.ask("/api/wallet/balance", token=token)
    assert credited["balance"] == 100.0
    again = call("reconcile", "--older-than", "0", cwd=run.home, PORT=str(started.port))
    assert (again.returncode, again.stdout.splitlines()[-1]) == (
        0,
        "0 repaired, 0 for a person, 0 not answered",
    ), again.stderr
    assert started.stop() == 0
    alone = call(
        "reconcile", "--older-than", "0", cwd=run.home, PORT=str(started.port)
    )  # the sandbox is gone with it
    assert alone.returncode == 1, alone.stdout
    assert "not looked at" in alone.stdout


# --- demo ---------------------------------------------------------------------------------------


@pytest.mark.timeout(400)
def test_demo_fills_an_empty_database_whose_books_are_right_and_no_other(run: Runner) -> None:
    admin = {"ADMIN_EMAIL": "admin@example.com", "ADMIN_PASSWORD": "an admin of the tests"}
    given = admin | {"PORT": str(free_port())}
    filled = call_within(300, "demo", "--small", cwd=run.home, **given)
    assert filled.returncode == 0, filled.stderr
    assert "the books are right" in filled.stdout
    audited = call("audit", cwd=run.home)
    assert audited.stdout.splitlines()[-1].endswith("the books are right"), audited.stderr
    again = call("demo", "--small", cwd=run.home, **given)
    assert again.returncode == manage.FAILED
    assert "this database is not empty" in again.stderr
    # Who it made can log in, and sees what they have lived through.
    started = run()
    credentials = {"email": demo_data.PEOPLE[0].email, "password": demo_data.PASSWORD}
    status, admission = started.ask("/api/auth/login", credentials)
    assert status == 200
    token = admission["access_token"]
    for path, name in (
        ("/api/transactions", "transactions"),
        ("/api/calls", "calls"),
        ("/api/campaigns", "campaigns"),
        ("/api/payment/orders", "orders"),
    ):
        status, answer = started.ask(path, token=token)
        assert (status, bool(answer[name])) == (200, True), path
    refused = call("demo", cwd=run.home, APP_ENV="production", **given)
    assert refused.returncode == manage.REFUSED
    assert "APP_ENV is production" in refused.stderr
    assert started.stop() == 0


# --- setup_wallet.sh ----------------------------------------------------------------------------


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What a clone has, as far as the script's `check` needs it; nothing is installed."""
    path = tmp_path / "a fresh clone"
    path.mkdir()
    for item in ROOT.iterdir():
        if item.suffix == ".py" or item.name in (".env.example", "setup_wallet.sh"):
            shutil.copy2(item, path / item.name)
        elif (item / "__init__.py").exists() and item.name != "tests":
            shutil.copytree(item, path / item.name, ignore=shutil.ignore_patterns("__pycache__"))
    return path


def script(clone: Path, *words: str, **given: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [clone / "setup_wallet.sh", *words],
        cwd="/",
        env=environment(WALLET_PYTHON=sys.executable) | given,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def test_the_script_explains_itself_and_refuses_other_words(clone: Path) -> None:
    for words in ([], ["help"]):
        done = script(clone, *words)
        assert done.returncode == 0
        for command in ("run", "check", "test", "help"):
            assert f"\n  {command}" in done.stdout
    assert script(clone, "dance").returncode == 2


def test_the_script_writes_env_once_with_fresh_secrets_that_only_the_owner_reads(
    clone: Path,
) -> None:
    refused = {"APP_ENV": "production"}  # `run` writes .env and then stops at the first refusal
    assert script(clone, "run", **refused).returncode == manage.REFUSED
    env = clone / ".env"
    written = env.read_text()
    assert stat.S_IMODE(env.stat().st_mode) == 0o600
    assert "=change-me" not in written
    values = dict(line.split("=", 1) for line in written.splitlines() if line[:1].isupper())
    secrets = [values[name] for name in ("JWT_SECRET", "ADMIN_PASSWORD", "RAZORPAY_WEBHOOK_SECRET")]
    assert len(set(secrets)) == 3
    assert min(map(len, secrets)) >= 32
    assert config.problems(config.Settings(_env_file=env)) == []

    script(clone, "run", **refused)
    assert env.read_text() == written
    assert [path.name for path in clone.glob(".env*")].count(".env") == 1
    assert len(list(clone.glob(".env*"))) == 2  # no draft is left


def test_the_script_checks_the_configuration(clone: Path) -> None:
    done = script(clone, "check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "READY to start" in done.stdout
    assert "there is no .env yet" in done.stderr
    missing = script(clone, "check", "--mode", "live", JWT_SECRET="")
    assert missing.returncode == manage.REFUSED
    assert "  - JWT_SECRET is missing" in missing.stdout


def test_the_script_says_which_python_it_wants(clone: Path, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "cat", "dirname"):
        found = shutil.which(name)
        assert found is not None
        (tools / name).symlink_to(found)
    broken = tools / "python3"  # like a pyenv shim of a version that is not there
    broken.write_text("#!/bin/sh\necho 'pyenv: python3: command not found' >&2\nexit 127\n")
    broken.chmod(0o755)
    done = script(clone, "run", WALLET_PYTHON="", PATH=str(tools))
    assert done.returncode == 1
    assert "no Python 3.11 or newer" in done.stderr
    assert not (clone / ".env").exists()
