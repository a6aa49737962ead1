"""Databases beside ours, where they are installed: PostgreSQL (`pgbench`) and `medici` (npm).

    .venv/bin/python -m tests.bench peers

The same posting as in `tests/bench/ledger.py`: a wallet that has enough gives 10 paise, and an entry
says so. PostgreSQL does it in one statement, durable as it comes; `medici`, a ledger on MongoDB, in
a transaction for each posting. What is not installed is named and left out. `medici` is found in
`NODE_PATH` or among the global packages of npm.
"""

import asyncio
import contextlib
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

from core import embedded_mongodb
from tests.bench.harness import Figure, Scale
from tests.support.service import free_port

CALLERS: Final = 32
WALLETS: Final = 1_000

SCHEMA: Final = """
CREATE TABLE wallets (id int PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0),
                      seq bigint NOT NULL DEFAULT 0);
CREATE TABLE entries (wallet int NOT NULL, seq bigint NOT NULL, amount bigint NOT NULL,
                      balance_after bigint NOT NULL, category text NOT NULL,
                      created_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (wallet, seq));
INSERT INTO wallets SELECT n, 100000000000 FROM generate_series(1, 1000) AS n;
"""
POSTING: Final = """
\\set wallet random(1, {wallets})
WITH moved AS (UPDATE wallets SET balance = balance - 10, seq = seq + 1
               WHERE id = :wallet AND balance >= 10 RETURNING id, balance, seq)
INSERT INTO entries SELECT id, seq, -10, balance, 'call_charge' FROM moved;
"""

MEDICI: Final = """
const mongoose = require('mongoose');
const { Book, initModels, mongoTransaction } = require('medici');
const [uri, callers, wallets, seconds] = process.argv.slice(2);
(async () => {
  await mongoose.connect(uri, { maxPoolSize: 64 });
  await initModels();
  const book = new Book('wallets');
  let posted = 0;
  const until = Date.now() + seconds * 1000;
  async function caller() {
    while (Date.now() < until) {
      const wallet = Math.floor(Math.random() * wallets);
      await mongoTransaction(async (session) => {
        await book.entry('call').debit(`wallet:${wallet}`, 10).credit('revenue', 10)
          .commit({ session });
      });
      posted += 1;
    }
  }
  const began = Date.now();
  await Promise.all(Array.from({ length: Number(callers) }, caller));
  console.log(JSON.stringify({ rate: posted / ((Date.now() - began) / 1000) }));
  await mongoose.disconnect();
})().catch((problem) => { console.error(problem); process.exit(1); });
"""


# --- PostgreSQL ---------------------------------------------------------------------------------


def _tool(name: str) -> str | None:
    """A program of PostgreSQL's server, which distributions keep outside of the path."""
    found = shutil.which(name)
    if found is None:
        known = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
        found = str(known[-1]) if known else None
    return found


class Postgres:
    """A PostgreSQL server on data of its own; as `postgres` where we are root, which it refuses."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        folder.mkdir()
        self.user: str | None = None
        if os.geteuid() == 0:
            self.user = "postgres"
            account = pwd.getpwnam(self.user)
            os.chown(folder, account.pw_uid, account.pw_gid)
            # The folders above it are those of `tempfile`, which only we may enter.
            folder.parent.chmod(0o755)

    async def run(self, *command: str, text: str | None = None) -> str:
        """What a command prints; raises with its error output when it fails."""
        done = await asyncio.to_thread(
            subprocess.run,
            command,
            input=text,
            capture_output=True,
            text=True,
            cwd=self.folder,
            user=self.user,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{command[0]}: {done.stderr}")
        return str(done.stdout)

    def address(self) -> tuple[str, ...]:
        """The arguments of a client."""
        return ("-h", str(self.folder), "-p", str(self.port), "-U", "bench")


@contextlib.asynccontextmanager
async def postgres(folder: Path, tools: dict[str, str]) -> AsyncIterator[Postgres]:
    """A server with the wallets; stopped at the end."""
    server = Postgres(folder)
    data = str(folder / "data")
    await server.run(tools["initdb"], "-D", data, "-U", "bench", "-A", "trust", "--no-sync")
    options = f"-p {server.port} -k {folder} -c listen_addresses= -c max_connections=300"
    log = str(folder / "log")
    await server.run(tools["pg_ctl"], "-D", data, "-w", "-l", log, "-o", options, "start")
    try:
        await server.run(tools["psql"], *server.address(), "-q", "-d", "postgres", text=SCHEMA)
        yield server
    finally:
        await server.run(tools["pg_ctl"], "-D", data, "-m", "fast", "-w", "stop")


async def measure_postgres(scale: Scale, folder: Path) -> list[Figure]:
    """Postings a second over 1,000 wallets and on one, each by one statement."""
    found = {name: _tool(name) for name in ("initdb", "pg_ctl", "psql", "pgbench")}
    tools = {name: path for name, path in found.items() if path is not None}
    if len(tools) < len(found):
        return _left_out("PostgreSQL", sorted(set(found) - set(tools)))
    figures = []
    async with postgres(folder / "postgres", tools) as server:
        version = (await server.run(tools["pgbench"], "--version")).split()[2]
        for wallets, title in ((WALLETS, "1,000 wallets"), (1, "one busy wallet")):
            script = server.folder / f"posting_{wallets}.sql"
            script.write_text(POSTING.format(wallets=wallets))
            printed = await server.run(
                *(tools["pgbench"], *server.address(), "-n", "-M", "prepared"),
                *("-c", str(CALLERS), "-j", "2", "-T", str(max(1, round(scale.seconds)))),
                *("-f", str(script), "postgres"),
            )
            rate = re.search(r"tps = ([\d.]+)", printed)
            assert rate is not None, printed
            name = f"PostgreSQL {version}, {title}, {CALLERS} callers"
            figures.append(Figure(name=name, value=float(rate[1]), unit="/s"))
    return figures


# --- medici -------------------------------------------------------------------------------------


async def _output_of(*command: str, env: dict[str, str] | None = None) -> str | None:
    """What a command prints; None when it cannot be run or fails."""
    try:
        done = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, check=False, env=env
        )
    except OSError:
        return None
    if done.returncode:
        print(done.stderr[-500:], file=sys.stderr)
        return None
    return str(done.stdout)


async def measure_medici(scale: Scale, folder: Path) -> list[Figure]:
    """Postings a second of `medici` over 1,000 wallets, on the same MongoDB as ours."""
    if shutil.which("node") is None:
        return _left_out("medici", ["node"])
    packages = os.environ.get("NODE_PATH")
    if not packages and shutil.which("npm") is not None:
        packages = ((await _output_of("npm", "root", "-g")) or "").strip()
    environment = {**os.environ, "NODE_PATH": packages or ""}
    asks = (
        "try { require.resolve('medici'); require.resolve('mongoose') } catch { process.exit(0) }"
    )
    asks += " console.log(require('medici/package.json').version)"
    version = ((await _output_of("node", "-e", asks, env=environment)) or "").strip()
    if not version:
        return _left_out("medici", ["the npm packages medici and mongoose"])
    (folder / "mongod").mkdir()
    running = await asyncio.to_thread(embedded_mongodb.start, folder / "mongod")
    try:
        printed = await _output_of(
            *("node", "-e", MEDICI, "bench", running.uri.replace("/?", "/medici?")),
            *(str(CALLERS), str(WALLETS), str(scale.seconds)),
            env=environment,
        )
    finally:
        await asyncio.to_thread(running.stop)
    if printed is None:
        return _left_out("medici", ["a run that ends"])
    name = f"medici {version}, 1,000 wallets, {CALLERS} callers"
    return [Figure(name=name, value=json.loads(printed)["rate"], unit="/s")]


# --- both ---------------------------------------------------------------------------------------


def _left_out(what: str, missing: Sequence[str]) -> list[Figure]:
    print(f"{what} is left out: {', '.join(missing)} not found", file=sys.stderr)
    return []


async def measure(scale: Scale, folder: Path) -> list[Figure]:
    """What is installed of the two."""
    return [*await measure_postgres(scale, folder), *await measure_medici(scale, folder)]
