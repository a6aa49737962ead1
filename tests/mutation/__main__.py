"""Runs mutants of the money modules against their tests.

    python -m tests.mutation --seed 9 --count 300            # a sample over all money modules
    python -m tests.mutation --count 20 --modules ledger.py  # of some modules
    python -m tests.mutation --survivors                     # those once more that survived
    python -m tests.mutation --report                        # what is known, without a run

Each result is a line of `--results`; a mutant that has one is not run again. Each runs in a copy of the
repository, with one MongoDB for all of them. docs/testing.md explains the outcomes.
"""

import argparse
import collections
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from pymongo import MongoClient

from core import embedded_mongodb
from tests.mutation.mutants import Mutant, mutants_of, sampled

ROOT = Path(__file__).resolve().parent.parent.parent
EQUIVALENT = Path(__file__).with_name("equivalent.txt")
_KEEP_DATABASES = {"admin", "config", "local"}
_TEST_SECONDS = 60  # for one test, with its fixtures

# The tests of each module, the cheapest first: a run ends with the first that fails.
TESTS: Final[dict[str, tuple[str, ...]]] = {
    "core/money.py": ("tests/core/test_money.py", "tests/billing/test_pricing.py"),
    "ledger.py": ("tests/test_ledger.py", "tests/test_wallet.py"),
    "wallet.py": (
        "tests/test_wallet.py",
        "tests/test_wallet_adjustments.py",
        "tests/test_refunds.py",
        "tests/resilience/test_credit_control.py",
    ),
    "transactions.py": ("tests/api/test_transactions.py", "tests/test_wallet.py"),
    "payments.py": (
        "tests/test_payment_orders.py",
        "tests/test_payments.py",
        "tests/api/test_payments.py",
        "tests/reconciliation",
    ),
    "refunds.py": ("tests/test_refunds.py", "tests/test_disputes.py", "tests/reconciliation"),
    "disputes.py": ("tests/test_disputes.py", "tests/test_refunds.py", "tests/reconciliation"),
    "billing/pricing.py": ("tests/billing/test_pricing.py",),
    "billing/": ("tests/billing", "tests/calls", "tests/api/test_calls.py"),
    "reconciliation/": ("tests/reconciliation", "tests/test_refunds.py", "tests/test_disputes.py"),
}


def tests_of(path: str) -> tuple[str, ...]:
    """The tests of the module, or of its package; those of files that exist."""
    package, _, file = path.rpartition("/")
    own = f"tests/{package}/test_{file}" if package else f"tests/test_{file}"
    found = TESTS.get(path) or TESTS[f"{package}/"]
    return tuple(test for test in dict.fromkeys((own, *found)) if (ROOT / test).exists())


def modules() -> list[str]:
    """The money modules, the files of their packages one by one."""
    return sorted(
        {
            file.relative_to(ROOT).as_posix()
            for name in TESTS
            for file in ((ROOT / name).glob("*.py") if name.endswith("/") else [ROOT / name])
            if file.name != "__init__.py"
        }
    )


class Runner:
    """A copy of the repository, one MongoDB, and the tests of one mutant after the other."""

    def __init__(self, folder: Path) -> None:
        self.copy = folder / "copy"
        listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        files = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout
        for name in filter(None, files.split("\0")):
            if (ROOT / name).is_file():
                (self.copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self.copy / name)
        self.mongod = embedded_mongodb.start(folder / "mongod")
        self.limits: dict[tuple[str, ...], float] = {}

    def close(self) -> None:
        """Stop the MongoDB."""
        self.mongod.stop()

    def run(self, mutant: Mutant) -> dict[str, Any]:
        """The result of one mutant: `killed`, `survived` or `timed out`, and by which test."""
        tests = tests_of(mutant.path)
        if tests not in self.limits:
            status, output, seconds = self._pytest(tests, limit=3_600)
            if status != 0:
                raise SystemExit(f"these tests fail without a mutant: {tests}\n{output[-3_000:]}")
            self.limits[tests] = max(3 * seconds, 60)
        target = self.copy / mutant.path
        source = target.read_text(encoding="utf-8")
        target.write_text(mutant.applied(source), encoding="utf-8")
        try:
            status, output, seconds = self._pytest(tests, limit=self.limits[tests])
        finally:
            target.write_text(source, encoding="utf-8")
        return {
            **{"id": mutant.id, "path": mutant.path, "line": mutant.line, "kind": mutant.kind},
            "diff": mutant.diff(source),
            "outcome": outcome_of(status, output),
            "by": failed_test(output),
            "seconds": round(seconds, 1),
        }

    def _pytest(self, tests: Sequence[str], *, limit: float) -> tuple[int | None, str, float]:
        """Exit status (None: it took too long), what it printed, and seconds."""
        environment = {**os.environ, "TEST_MONGODB_URI": self.mongod.uri}
        environment |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTEST_ADDOPTS": ""}
        options = ["-x", "-q", "-p", "no:cacheprovider", f"--timeout={_TEST_SECONDS}"]
        began = time.monotonic()
        with tempfile.TemporaryFile("w+") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "pytest", *options, *tests],
                cwd=self.copy,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # its own processes end with it
            )
            try:
                status: int | None = process.wait(limit)
            except subprocess.TimeoutExpired:
                status = None
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            output.seek(0)
            text = output.read()
        self._drop_databases()
        return status, text, time.monotonic() - began

    def _drop_databases(self) -> None:
        with MongoClient[dict[str, Any]](self.mongod.uri) as client:
            for name in client.list_database_names():
                if name not in _KEEP_DATABASES:
                    client.drop_database(name)


def outcome_of(status: int | None, output: str) -> str:
    """What pytest's exit status and its output say of a mutant."""
    if status is None or "Timeout (>" in output or "+ Timeout +" in output:
        return "timed out"
    return "survived" if status == 0 else "killed"


def failed_test(output: str) -> str | None:
    """The first test that failed, from pytest's summary."""
    for line in output.splitlines():
        if line.startswith(("FAILED ", "ERROR ")):
            return line.split(" ")[1]
    return None


# --- results ------------------------------------------------------------------------------------


def read(path: Path) -> dict[str, dict[str, Any]]:
    """The results so far, by the id of the mutant; the latest counts."""
    if not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    return {result["id"]: result for result in map(json.loads, lines)}


def equivalent() -> dict[str, str]:
    """The mutants that change nothing, by id, each with the reason: lines `id reason` of a file."""
    if not EQUIVALENT.exists():
        return {}
    lines = EQUIVALENT.read_text(encoding="utf-8").splitlines()
    named = [line.split(" ", 1) for line in lines if line.strip() and line[0] != "#"]
    return {each[0]: each[-1] for each in named}


def report(results: Iterable[dict[str, Any]], known: dict[str, str]) -> str:
    """The figures, and every survivor by its place and its diff."""
    rows = list(results)
    of_interest = [row for row in rows if row["id"] not in known]
    counts = collections.Counter(row["outcome"] for row in of_interest)
    found = counts["killed"] + counts["timed out"]
    share = f"{100 * found / len(of_interest):.1f} %" if of_interest else "none"
    lines = []
    for row in sorted(of_interest, key=lambda row: (row["path"], row["line"])):
        if row["outcome"] == "survived":
            lines += [f"{row['path']}:{row['line']} {row['kind']} ({row['id']})", row["diff"], ""]
    lines.append(
        f"{len(rows)} mutants, {len(rows) - len(of_interest)} equivalent; of the others "
        f"{counts['killed']} killed, {counts['timed out']} timed out, "
        f"{counts['survived']} survived: {share} found"
    )
    return "\n".join(lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.mutation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--modules", nargs="+", default=modules(), metavar="FILE")
    parser.add_argument("--results", type=Path, default=ROOT / ".data" / "mutants.jsonl")
    parser.add_argument("--survivors", action="store_true", help="run again what survived")
    parser.add_argument("--report", action="store_true", help="run nothing")
    return parser.parse_args()


def main() -> int:
    """The command line; 1 when a mutant survived that is not known to be equivalent."""
    arguments = _arguments()
    results, known = read(arguments.results), equivalent()
    every = [mutant for name in arguments.modules for mutant in mutants_of(ROOT / name, ROOT)]
    chosen = sampled(every, ROOT, seed=arguments.seed, count=arguments.count)
    if arguments.survivors:
        survived = {id for id, row in results.items() if row["outcome"] == "survived"}
        chosen = [mutant for mutant in every if mutant.id in survived - set(known)]
    else:
        chosen = [mutant for mutant in chosen if mutant.id not in {*results, *known}]
    if chosen and not arguments.report:
        arguments.results.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            runner = Runner(Path(folder))
            try:
                for number, mutant in enumerate(chosen, 1):
                    row = results[mutant.id] = runner.run(mutant)
                    with arguments.results.open("a", encoding="utf-8") as kept:
                        kept.write(json.dumps(row) + "\n")
                    place = f"{row['path']}:{row['line']}"
                    spent = f"{row['outcome']}, {row['seconds']} s"
                    print(f"{number}/{len(chosen)} {place} {row['kind']}: {spent}", flush=True)
            finally:
                runner.close()
    print(report(results.values(), known))
    kept_alive = [
        r for r in results.values() if r["outcome"] == "survived" and r["id"] not in known
    ]
    return int(bool(kept_alive))


if __name__ == "__main__":
    sys.exit(main())
