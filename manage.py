"""Command line: run, check, create-admin, audit, reconcile, demo."""

import argparse
import asyncio
import contextlib
import getpass
import http.client
import logging
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from pathlib import Path
from types import FrameType
from typing import Any, Literal, NoReturn

import uvicorn
from pydantic import ValidationError
from starlette.types import ASGIApp
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from core import config, database, database_members, embedded_mongodb, logs
from core.config import Settings

# --- vocabulary ---------------------------------------------------------------------------------

ROOT = Path(__file__).resolve().parent
REFUSED = 2  # the exit status of a configuration that cannot be started
FAILED = 1

_GRACE_SECONDS = 20
_HEALTH_SECONDS = 20  # a serving process that does not answer its parent for so long is replaced
# Longer than load balancers and clients keep a connection, so that they close it and not we.
_KEEP_ALIVE_SECONDS = 75


class Refused(Exception):
    """The command cannot do what it was asked; a line each says why."""

    def __init__(self, *lines: str, status: int = FAILED) -> None:
        super().__init__("\n".join(lines))
        self.lines, self.status = lines, status


# --- run ----------------------------------------------------------------------------------------


def run(_: argparse.Namespace) -> int:
    """Start everything, serve until SIGTERM or SIGINT, stop everything in the opposite order."""
    chosen = _load()
    if found := config.problems(chosen):
        raise Refused(
            f"cannot start with this configuration (APP_ENV={chosen.app_env}):",
            *(f"  - {problem}" for problem in found),
            status=REFUSED,
        )
    _refuse_taken_port(chosen)
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, _stop)
    with _database(chosen) as uri, tempfile.TemporaryDirectory(prefix="wallet-metrics-") as folder:
        os.environ["MONGODB_URI"] = uri  # the worker processes read it there
        if chosen.web_concurrency > 1:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder  # where they combine their metrics
        config.use(None)
        logs.configure()  # it says what it waits for
        asyncio.run(_prepare(uri, chosen.mongodb_db))
        _print_greeting_when_ready(config.settings())
        return _serve(config.settings())


def application() -> ASGIApp:
    """What a serving process runs; with the Razorpay sandbox beside it when there is no key."""
    import main  # here, so that the other commands do not import the whole service

    logs.configure()
    if multiprocessing.parent_process() is not None:
        threading.Thread(target=_exit_with_parent, name="parent watch", daemon=True).start()
    if config.settings().gateway_mode != "sandbox":
        return main.create_app()
    from sandbox import service

    return service.create_app()


def _serve(chosen: Settings) -> int:
    serving = uvicorn.Config(
        "manage:application",
        factory=True,
        host=chosen.host,
        port=chosen.port,
        workers=chosen.web_concurrency,
        loop="uvloop",
        http="api.http_protocol:BoundedHttp",
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=True,
        forwarded_allow_ips=chosen.trusted_proxies,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        timeout_worker_healthcheck=_HEALTH_SECONDS,
    )
    sys.path.insert(0, str(ROOT))  # as `uvicorn.run` does with `app_dir`
    return _serve_alone(serving) if chosen.web_concurrency == 1 else _supervise(serving)


def _serve_alone(serving: uvicorn.Config) -> int:
    import main

    server = uvicorn.Server(serving)
    try:
        server.run()
    except _Stopped:
        pass  # uvicorn has finished the running requests and raises the signal again
    return 0 if server.started and not main.has_failed else FAILED


def _supervise(serving: uvicorn.Config) -> int:
    """Serve with several processes, each of which is started again when it dies. One that cannot be
    started ends them all; while MongoDB is away they serve, and answer 503."""
    supervisor = Multiprocess(serving, sockets=[serving.bind_socket()])
    supervisor.run()
    cannot_start = any(worker.exitcode == STARTUP_FAILURE for worker in supervisor.processes)
    return FAILED if cannot_start else 0


class _Stopped(SystemExit):
    """SIGTERM or SIGINT was received."""


def _stop(signum: int, _: FrameType | None) -> NoReturn:
    raise _Stopped(128 + signum)


def _exit_with_parent() -> None:
    """End a worker process whose parent was killed: it would keep the port, and nothing would stop it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _refuse_taken_port(chosen: Settings) -> None:
    family = socket.AF_INET6 if ":" in chosen.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((chosen.host, chosen.port))
        except OSError as problem:
            raise Refused(
                f"cannot listen on {chosen.host}:{chosen.port}: {problem.strerror}. Stop the program"
                " that uses it (an earlier run?), or set PORT to another one."
            ) from None


def _print_greeting_when_ready(chosen: Settings) -> None:
    own_host = chosen.own_url.removeprefix("http://").rpartition(":")[0].strip("[]")

    def wait() -> None:
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection = http.client.HTTPConnection(own_host, chosen.port, timeout=5)
                connection.request("GET", "/ready")
                if connection.getresponse().status == http.HTTPStatus.OK:
                    print("\n".join(_greeting(chosen)), flush=True)
                    return
            time.sleep(0.1)

    threading.Thread(target=wait, name="greeting", daemon=True).start()


def _greeting(chosen: Settings) -> list[str]:
    lines = ["", f"  The wallet service runs at {chosen.base_url}", ""]
    lines.append(f"  console       {chosen.base_url}/")
    if chosen.serves_docs:
        lines.append(f"  the API       {chosen.base_url}/docs")
    if chosen.app_env == "development" and chosen.admin_email:
        password = chosen.admin_password.get_secret_value()
        lines.append(f"  first admin   {chosen.admin_email}  {password}  (ADMIN_* in .env)")
    if chosen.gateway_mode == "sandbox":
        lines.append("  Razorpay      simulated: no money moves. Cards: 4111 1111 1111 1111 pays,")
        lines.append("                4000 0000 0000 0002 is declined")
    else:
        lines.append(f"  Razorpay      {chosen.gateway_mode} mode, key {chosen.gateway_key_id}")
    if chosen.telephony_provider == "simulator":
        lines.append("  phone calls   simulated: no phone rings")
    lines += ["  stop          Ctrl-C", ""]
    return lines


# --- check --------------------------------------------------------------------------------------


def check(arguments: argparse.Namespace) -> int:
    """Print what is wrong with the configuration, and what is missing for test or live mode."""
    chosen = _load()
    print(f"APP_ENV      {chosen.app_env}")
    print(f"Razorpay     {chosen.gateway_mode}")
    print(f"telephony    {chosen.telephony_provider}")
    mode: Literal["test", "live"] | None = arguments.mode
    found = config.missing_for(chosen, mode) if mode else config.problems(chosen)
    try:
        print(f"MongoDB      {_check_database(chosen)}")
    except (embedded_mongodb.CannotStart, Refused) as problem:
        print("MongoDB      not usable")
        found.append(f"MongoDB: {problem}")
    for problem_line in found:
        print(f"  - {problem_line}")
    what = f"for Razorpay {mode} mode" if mode else "to start"
    print(f"NOT READY {what}: {len(found)} to mend" if found else f"READY {what}")
    return REFUSED if found else 0


def _check_database(chosen: Settings) -> str:
    if not chosen.mongodb_uri:
        binary = embedded_mongodb.find_binary()
        version = ".".join(map(str, embedded_mongodb.version_of(binary)))
        return f"embedded {version}, data in {Path(chosen.data_dir).resolve() / 'mongod'}"
    wrong: list[str | None] = []

    async def look() -> None:
        wrong.append(await database_members.find_wrong_setting())

    asyncio.run(_connected(chosen.mongodb_uri, chosen.mongodb_db, look))
    if wrong[0] is not None:
        return f"reached; but {wrong[0]}"
    return "reached, a replica set or a mongos"


# --- create-admin -------------------------------------------------------------------------------


def create_admin(arguments: argparse.Namespace) -> int:
    """Create an admin, beside the running service or without it."""
    import main  # noqa: F401 - it loads every module that declares a collection
    import users
    from auth import audit_log
    from core.errors import Problem

    chosen = _load()
    password = arguments.password or getpass.getpass("password: ")

    async def create() -> None:
        admin = await users.create_admin(arguments.email, password)
        await audit_log.record(logs.SYSTEM, "admin.create", audit_log.Target("user", admin.id))
        if arguments.reset_second_factor:
            await users.remove_second_factor(admin.id)
            await audit_log.record(
                logs.SYSTEM, "second_factor.reset", audit_log.Target("user", admin.id)
            )

    with _database(chosen) as uri:
        try:
            asyncio.run(_connected(uri, chosen.mongodb_db, database.prepare, create))
        except (Problem, ValueError) as problem:
            raise Refused(str(problem)) from None
    print(f"{arguments.email} is an admin now")
    return 0


# --- audit --------------------------------------------------------------------------------------


def audit(arguments: argparse.Namespace) -> int:
    """Check every invariant of the money, beside the running service or without it."""
    import main  # noqa: F401 - it loads every module that declares a collection
    from reporting import audit as money_audit

    chosen = _load()
    found: list[money_audit.Report] = []

    async def run_audit() -> None:
        found.append(await money_audit.audit(arguments.user))

    with _database(chosen) as uri:
        asyncio.run(_connected(uri, chosen.mongodb_db, run_audit))
    report = found[0]
    for violation in report.violations:
        print(f"{violation.invariant}: {violation.user_id} {violation.detail}")
    print(f"{report.wallets} wallets, {report.entries} entries: ", end="")
    print("the books are right" if report.ok else f"{len(report.violations)} violations")
    return 0 if report.ok else FAILED


# --- reconcile ----------------------------------------------------------------------------------


def reconcile(arguments: argparse.Namespace) -> int:
    """Compare with Razorpay, repair what can be repaired, print the rest; with or without the service.

    The sandbox is a part of the service, so without a Razorpay key the service has to run.
    """
    import main  # noqa: F401 - it loads every module that declares a collection

    logs.configure()  # its progress is in the log
    chosen = _load()
    import wallet
    from core.errors import Problem
    from gateway import client as gateway
    from reconciliation import reconcile as reconciling

    found: list[reconciling.Report] = []

    async def compare() -> None:
        await gateway.start()
        await wallet.start()
        try:
            found.append(
                await reconciling.run(older_than_minutes=arguments.older_than, trigger="command")
            )
        finally:
            await wallet.stop()
            await gateway.stop()

    with _database(chosen) as uri:
        try:
            asyncio.run(_connected(uri, chosen.mongodb_db, database.prepare, compare))
        except Problem as problem:
            raise Refused(problem.detail) from None
    report = found[0]
    for line in [*report.repaired, *report.findings]:
        print(" ".join(f"{name}={value}" for name, value in line.items()))
    for missed in report.unanswered:
        print(f"not looked at: {missed}")
    counts = ", ".join(f"{number} {what}" for what, number in report.checked.items())
    print(f"{report.run_id}: {counts}")
    print(
        f"{report.repaired_count} repaired, {report.findings_count} for a person, "
        f"{report.unanswered_count} not answered"
    )
    return 0 if report.ok else FAILED


# --- demo ---------------------------------------------------------------------------------------


def demo(arguments: argparse.Namespace) -> int:
    """Fill an empty development database with a month of believable life, made through the API."""
    from sandbox.service import demo as month

    chosen = _load()
    if wrong := _why_no_demo(chosen):
        raise Refused("no demo data here:", *(f"  - {line}" for line in wrong), status=REFUSED)
    _refuse_taken_port(chosen)
    scale = month.SMALL if arguments.small else month.Scale()
    began = time.monotonic()
    with _database(chosen) as uri, month.MovedClock() as moved:
        config.use(chosen.model_copy(update={"mongodb_uri": uri, **_DEMO_SETTINGS}))
        logs.configure()
        logging.getLogger("disputes").setLevel(logging.CRITICAL)  # that there are some is meant
        asyncio.run(_connected(uri, chosen.mongodb_db, database.prepare, _refuse_users))
        print("living a month; this takes a minute or two ...", flush=True)
        admin = (chosen.admin_email, chosen.admin_password.get_secret_value())
        try:
            counts = asyncio.run(_fill(month.Demo(chosen.own_url, moved, admin, scale, _print_now)))
        except month.CannotFill as problem:
            raise Refused(f"the demo data could not be made: {problem}") from None
    print("\n".join(month.greeting(admin, counts, time.monotonic() - began)))
    return 0


def _print_now(line: str) -> None:
    print(line, flush=True)


# A day is over in a second, and nobody waits for tomorrow.
_DEMO_SETTINGS = {
    "web_concurrency": 1,
    "log_level": "ERROR",
    "access_token_minutes": 60 * 24 * 30,
    "calling_hours": "off",
    "contact_gap_minutes": 0,
    "contact_calls_per_day": 0,
    "contact_calls_per_week": 0,
    "adjustment_confirm_above": Decimal(5_000),
}


def _why_no_demo(chosen: Settings) -> list[str]:
    found = config.problems(chosen)
    if chosen.app_env == "production":
        found.append("APP_ENV is production")
    if chosen.gateway_mode != "sandbox":
        found.append("RAZORPAY_KEY_ID is set: the demo pays in the sandbox")
    if chosen.telephony_provider != "simulator":
        found.append(f"TELEPHONY_PROVIDER is {chosen.telephony_provider}: the demo calls nobody")
    if not (chosen.admin_email and chosen.admin_password.get_secret_value()):
        found.append("ADMIN_EMAIL and ADMIN_PASSWORD are empty: the demo needs the first admin")
    return found


async def _refuse_users() -> None:
    from reporting import customers

    found, _ = await customers.list_customers(search=None, low_balance=None, limit=2, cursor=None)
    others = [user["email"] for user, _ in found if user["email"] != config.settings().admin_email]
    if others:
        raise Refused(
            f"this database is not empty: {others[0]} has an account. The demo fills an empty one"
            " (a new DATA_DIR or MONGODB_DB)."
        )


async def _fill(month: Any) -> dict[str, int]:
    """Serve as `run` does, in this process, until the demo has been filled in."""
    chosen = config.settings()
    serving = uvicorn.Config(
        application(),
        host=chosen.host,
        port=chosen.port,
        http="api.http_protocol:BoundedHttp",
        ws="none",
        log_config=None,
        access_log=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(serving)
    task = asyncio.create_task(server.serve())
    try:
        while not server.started:
            if task.done():
                raise Refused("the service did not start; its log says why")
            await asyncio.sleep(0.05)
        counts: dict[str, int] = await month.fill()
        return counts
    finally:
        server.should_exit = True
        await asyncio.gather(task, return_exceptions=True)


# --- shared by the commands ---------------------------------------------------------------------


def _load() -> Settings:
    try:
        return config.settings()
    except ValidationError as invalid:
        raise Refused(
            "the configuration cannot be read:",
            *(
                f"  - {'.'.join(map(str, error['loc'])).upper()}: {error['msg']}"
                for error in invalid.errors(include_url=False, include_input=False)
            ),
            status=REFUSED,
        ) from None


@contextlib.contextmanager
def _database(chosen: Settings) -> Iterator[str]:
    """The URI to use; when none is set, that of the embedded MongoDB, which runs during the block."""
    if chosen.mongodb_uri:
        yield chosen.mongodb_uri
        return
    print("starting the embedded MongoDB ...", flush=True)
    running = embedded_mongodb.start(chosen.data_dir)
    try:
        running.guard()
        yield running.uri
    finally:
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, signal.SIG_IGN)  # a second signal must not interrupt the stop
        running.stop()


async def _prepare(uri: str, name: str) -> None:
    import main  # noqa: F401 - it loads every module that declares a collection

    async def whenever_it_is_there() -> None:
        await database.when_back(database.refuse_standalone)
        await database.when_back(database.prepare)

    await _connected(uri, name, whenever_it_is_there, is_patient=True)


async def _connected(
    uri: str, name: str, *steps: Callable[[], Awaitable[None]], is_patient: bool = False
) -> None:
    try:
        await database.connect(uri, name)
    except (ValueError, database.AnyError) as problem:
        raise Refused(f"MONGODB_URI cannot be used: {problem}") from None
    try:
        if not is_patient:
            await database.refuse_standalone()
        for step in steps:
            await step()
    except (RuntimeError, database.AnyError) as problem:
        raise Refused(f"cannot use MongoDB: {problem}") from None
    finally:
        await database.close()


def command_line(words: list[str] | None = None) -> int:
    """Run the command that the arguments `words` name; the exit status."""
    parser = argparse.ArgumentParser(prog="manage.py", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _command(commands, "run", run, "start the service, and MongoDB when MONGODB_URI is empty")
    checking = _command(commands, "check", check, "what is wrong with the configuration")
    checking.add_argument(
        "--mode", choices=["test", "live"], help="also: what is missing for this Razorpay mode"
    )
    creating = _command(
        commands, "create-admin", create_admin, "make an admin, or set the password of one"
    )
    creating.add_argument("--email", required=True)
    creating.add_argument("--password", help="asked for when left out")
    creating.add_argument(
        "--reset-second-factor",
        action="store_true",
        help="of an account that exists: its owner has lost the device and the recovery codes",
    )
    auditing = _command(commands, "audit", audit, "check every invariant of the money")
    auditing.add_argument("--user", help="one user's id; everybody when left out")
    comparing = _command(commands, "reconcile", reconcile, "compare with Razorpay, repair and tell")
    comparing.add_argument(
        "--older-than",
        type=int,
        default=15,
        metavar="MINUTES",
        help="leave alone what is younger (15)",
    )
    demonstration = _command(
        commands, "demo", demo, "fill an empty development database with a month of believable life"
    )
    demonstration.add_argument(
        "--small", action="store_true", help="two days of it, for a quick look"
    )
    arguments = parser.parse_args(words)
    try:
        return int(arguments.do(arguments))
    except Refused as refused:
        print("\n".join(refused.lines), file=sys.stderr)
        return refused.status
    except embedded_mongodb.CannotStart as problem:
        print(f"cannot start the embedded MongoDB: {problem}", file=sys.stderr)
        return FAILED


def _command(commands: Any, name: str, do: Any, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(do=do)
    return parser


if __name__ == "__main__":
    sys.exit(command_line())
