"""The embedded MongoDB keeps what it acknowledged, is started once, and is left running by nobody."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError
from pymongo.write_concern import WriteConcern

from core import database, embedded_mongodb
from tests.support.service import ROOT


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """A data directory, with a space in its path; no mongod is left on it."""
    path = tmp_path / "my data"
    yield path
    home = embedded_mongodb._Home(path.resolve() / "mongod")
    if home.path.exists():
        embedded_mongodb._end(home)


def is_running(data_dir: Path) -> bool:
    return embedded_mongodb._is_running(embedded_mongodb._Home(data_dir.resolve() / "mongod"))


def rows(uri: str) -> Any:
    """A collection, and a client that closes with the `with` block."""
    return MongoClient[dict[str, Any]](uri, serverSelectionTimeoutMS=10_000)


def insert_until_killed(uri: str, acknowledged: list[int], stop: threading.Event) -> None:
    with rows(uri) as client:
        written = client.shop.get_collection(
            "rows", write_concern=WriteConcern(w="majority", j=True)
        )
        n = 0
        while not stop.is_set():
            n += 1
            try:
                written.insert_one({"_id": n})
            except PyMongoError:
                return
            acknowledged.append(n)


def test_no_acknowledged_write_is_lost_when_mongod_is_killed(data_dir: Path) -> None:
    first = embedded_mongodb.start(data_dir)
    acknowledged: list[int] = []
    stop = threading.Event()
    writer = threading.Thread(target=insert_until_killed, args=(first.uri, acknowledged, stop))
    writer.start()
    while len(acknowledged) < 200:
        time.sleep(0.01)
    os.kill(first.pid, signal.SIGKILL)
    time.sleep(0.2)
    second = embedded_mongodb.start(data_dir)
    stop.set()
    writer.join()

    assert second.pid != first.pid
    assert second.port == first.port
    with rows(second.uri) as client:
        there = {row["_id"] for row in client.shop.rows.find()}
    assert set(acknowledged) <= there
    assert len(acknowledged) >= 200
    second.stop()
    first.stop()
    assert not is_running(data_dir)


def test_the_guard_starts_a_killed_mongod_again(data_dir: Path) -> None:
    running = embedded_mongodb.start(data_dir)
    running.guard()
    with rows(running.uri) as client:
        client.shop.rows.insert_one({"_id": "kept"})
        killed = running.pid
        os.kill(killed, signal.SIGKILL)
        deadline = time.monotonic() + 60
        while running.pid == killed and time.monotonic() < deadline:
            time.sleep(0.05)
        assert running.pid != killed
        assert client.shop.rows.count_documents({}) == 1
    running.stop()
    assert not is_running(data_dir)


def test_a_log_that_grows_too_long_is_rotated_while_mongod_runs(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_mongodb, "LOG_BYTES_MAX", 10_000)
    running = embedded_mongodb.start(data_dir)
    running.guard()
    log_file = data_dir / "mongod" / "mongod.log"
    deadline = time.monotonic() + 60
    while not log_file.with_name("mongod.log.1").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    while not log_file.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert log_file.stat().st_size < log_file.with_name("mongod.log.1").stat().st_size
    running.stop()
    # What it says when it stops goes into the new file: it was really opened.
    assert "shutting down" in log_file.read_text()


def test_a_second_start_uses_the_same_mongod_and_the_last_to_leave_stops_it(
    data_dir: Path,
) -> None:
    first = embedded_mongodb.start(data_dir)
    second = embedded_mongodb.start(data_dir)
    assert (first.adopted, second.adopted) == (False, True)
    assert (second.pid, second.uri) == (first.pid, first.uri)
    first.stop()
    assert is_running(data_dir)
    second.stop()
    assert not is_running(data_dir)
    second.stop()  # once more does nothing


def test_four_starts_at_the_same_moment_make_one_mongod(data_dir: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        started = list(pool.map(embedded_mongodb.start, [data_dir] * 4))
    assert len({running.pid for running in started}) == 1
    assert sorted(running.adopted for running in started) == [False, True, True, True]
    for running in started:
        running.stop()
    assert not is_running(data_dir)


def test_a_mongod_whose_starter_was_killed_is_adopted_and_then_stopped(data_dir: Path) -> None:
    code = (
        "import sys, time; from core import embedded_mongodb;"
        " running = embedded_mongodb.start(sys.argv[1]);"
        " print(running.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, data_dir], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        starter.kill()
    assert is_running(data_dir)
    running = embedded_mongodb.start(data_dir)
    assert running.adopted
    assert running.pid == pid
    running.stop()
    assert not is_running(data_dir)


def test_a_start_that_is_interrupted_leaves_no_mongod(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(embedded_mongodb, "_await_primary", interrupted)
    with pytest.raises(KeyboardInterrupt):
        embedded_mongodb.start(data_dir)
    assert not is_running(data_dir)


def test_a_port_that_is_taken_is_refused_in_words_and_can_be_changed(data_dir: Path) -> None:
    first = embedded_mongodb.start(data_dir)
    with rows(first.uri) as client:
        client.shop.rows.insert_one({"_id": "kept"})
    first.stop()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", first.port))
        other.listen()
        with pytest.raises(
            embedded_mongodb.CannotStart, match=f"port {first.port} .* is taken"
        ) as refused:
            embedded_mongodb.start(data_dir)
        assert not is_running(data_dir)
    port_file = data_dir.resolve() / "mongod" / "port"
    assert str(port_file) in str(refused.value)
    port_file.write_text(str(embedded_mongodb._free_port()))
    moved = embedded_mongodb.start(data_dir)
    assert moved.port != first.port
    with rows(moved.uri) as client:
        assert client.shop.rows.count_documents({}) == 1
    moved.stop()


def test_a_mongod_that_hangs_is_named_and_not_started_twice(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = embedded_mongodb.start(data_dir)
    os.kill(running.pid, signal.SIGSTOP)
    try:
        monkeypatch.setattr(embedded_mongodb, "STOP_SECONDS_MAX", 1)
        with pytest.raises(embedded_mongodb.CannotStart, match=f"kill {running.pid}"):
            embedded_mongodb.start(data_dir)
    finally:
        os.kill(running.pid, signal.SIGCONT)
    monkeypatch.undo()
    running.stop()
    assert not is_running(data_dir)


def home_of(data_dir: Path) -> embedded_mongodb._Home:
    return embedded_mongodb._Home(data_dir.resolve() / "mongod")


def test_it_listens_on_this_machine_only_journals_and_has_transactions(data_dir: Path) -> None:
    running = embedded_mongodb.start(data_dir)
    login = home_of(data_dir).as_service
    options = database.ask(running.port, {"getCmdLineOpts": 1}, login=login)["parsed"]
    assert options["net"]["bindIp"] == "127.0.0.1"
    assert options["net"]["unixDomainSocket"] == {"enabled": False}
    assert options["net"]["compression"] == {"compressors": "disabled"}
    assert (data_dir / "mongod" / "data" / "journal").is_dir()
    with rows(running.uri) as client, client.start_session() as session:
        session.start_transaction()
        client.shop.rows.insert_one({"_id": 1}, session=session)
        session.abort_transaction()
        with session.start_transaction():
            client.shop.rows.insert_one({"_id": 2}, session=session)
        assert [row["_id"] for row in client.shop.rows.find()] == [2]
    running.stop()


def test_only_who_reads_the_files_of_the_data_may_use_it(data_dir: Path) -> None:
    running = embedded_mongodb.start(data_dir)
    assert embedded_mongodb.uri_of(data_dir) == running.uri
    for secret in (home_of(data_dir).key, home_of(data_dir).password):
        assert secret.stat().st_mode & 0o777 == 0o600
        assert len(secret.read_text().strip()) >= 32
    for command in ({"listDatabases": 1}, {"createUser": "me", "pwd": "x", "roles": ["root"]}):
        with pytest.raises(PyMongoError, match="authentication"):
            database.ask(running.port, command)
    secrets = home_of(data_dir).key.read_text(), home_of(data_dir).password.read_text()
    running.stop()
    again = embedded_mongodb.start(data_dir)
    assert (home_of(data_dir).key.read_text(), home_of(data_dir).password.read_text()) == secrets
    again.stop()


def test_a_password_that_was_lost_is_made_again(data_dir: Path) -> None:
    first = embedded_mongodb.start(data_dir)
    first.stop()
    home_of(data_dir).password.unlink()
    second = embedded_mongodb.start(data_dir)
    with rows(second.uri) as client:
        client.shop.rows.insert_one({"_id": "allowed"})
    assert second.uri != first.uri
    second.stop()


@pytest.fixture
def of_0_2_1(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> embedded_mongodb.Running:
    """A mongod as release 0.2.1 starts it: without a password. It runs, and has a row."""
    home = home_of(data_dir)
    real = subprocess.Popen

    def without_a_key(command: list[Any], **options: Any) -> subprocess.Popen[bytes]:
        if "--keyFile" in command:
            at = command.index("--keyFile")
            command = [*command[:at], *command[at + 2 :]]
        return real(command, **options)

    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", without_a_key)
        running = embedded_mongodb.start(data_dir)
    home.key.unlink()
    home.password.unlink()
    with rows(f"mongodb://127.0.0.1:{running.port}/?replicaSet=rs0") as client:
        client.shop.rows.insert_one({"_id": "kept"})
    return running


def test_data_of_0_2_1_gets_its_password_at_the_first_start(
    data_dir: Path, of_0_2_1: embedded_mongodb.Running
) -> None:
    of_0_2_1.stop()
    upgraded = embedded_mongodb.start(data_dir)
    with rows(upgraded.uri) as client:
        assert client.shop.rows.count_documents({}) == 1
    with pytest.raises(PyMongoError, match="authentication"):
        database.ask(upgraded.port, {"listDatabases": 1})
    upgraded.stop()


def test_a_mongod_that_0_2_1_left_behind_is_started_again_with_a_password(
    data_dir: Path, of_0_2_1: embedded_mongodb.Running
) -> None:
    of_0_2_1._user.close()  # as the kernel does when its process is killed
    upgraded = embedded_mongodb.start(data_dir)
    assert not upgraded.adopted
    assert "@" in upgraded.uri
    with rows(upgraded.uri) as client:
        assert client.shop.rows.count_documents({}) == 1
    upgraded.stop()


def test_a_mongod_that_0_2_1_still_uses_is_used_as_it_is(
    data_dir: Path, of_0_2_1: embedded_mongodb.Running
) -> None:
    beside = embedded_mongodb.start(data_dir)
    assert (beside.adopted, beside.pid) == (True, of_0_2_1.pid)
    with rows(beside.uri) as client:
        assert client.shop.rows.count_documents({}) == 1
    beside.stop()
    of_0_2_1.stop()
    assert not is_running(data_dir)


def test_only_the_last_few_logs_are_kept(tmp_path: Path) -> None:
    log_file = tmp_path / "mongod.log"
    for n in range(8):
        log_file.write_text(str(n))
        embedded_mongodb._rotate(log_file)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "mongod.log.1": "7",
        "mongod.log.2": "6",
        "mongod.log.3": "5",
    }


def fake_mongod(folder: Path, *, says: str = "", status: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "mongod"
    path.write_text(f"#!/bin/sh\necho '{says}'\nexit {status}\n")
    path.chmod(0o755)
    return path


def test_a_mongod_on_the_path_is_preferred_when_it_is_new_enough_and_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    newer = fake_mongod(tmp_path, says="db version v7.0.12")
    assert embedded_mongodb.find_binary() == newer
    fake_mongod(tmp_path, says="db version v5.0.30")
    assert embedded_mongodb.find_binary() != newer
    fake_mongod(tmp_path, says="db version v7.0.12", status=1)
    assert embedded_mongodb.find_binary() != newer


def test_the_version_that_wrote_the_data_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written_by = "{}.{}".format(*embedded_mongodb.version_of(embedded_mongodb.find_binary()))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    newer = fake_mongod(tmp_path, says="db version v99.0.1")
    assert embedded_mongodb.find_binary() == newer
    assert embedded_mongodb.find_binary(written_by) != newer
    assert embedded_mongodb.find_binary("98.0") == newer


def test_no_mongod_at_all_is_said_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(embedded_mongodb.CannotStart, match=r"requirements\.txt.*MONGODB_URI"):
        embedded_mongodb.find_binary()


def test_a_mongod_that_cannot_start_is_told_with_its_last_words(data_dir: Path) -> None:
    data = data_dir / "mongod" / "data"
    data.mkdir(parents=True)
    (data / "WiredTiger").write_text("not a database")
    (data / "WiredTiger.wt").write_text("not a database")
    (data / "storage.bson").write_bytes(b"not a database")
    with pytest.raises(embedded_mongodb.CannotStart, match=r"did not start: .*mongod\.log"):
        embedded_mongodb.start(data_dir)
    assert not is_running(data_dir)
