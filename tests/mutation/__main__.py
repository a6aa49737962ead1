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
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from pymongo import MongoClient

from core import embedded_mongodb
from tests.mutation.forks import Forks
from tests.mutation.mutants import Mutant, lines_of, mutants_of, sampled

ROOT = Path(__file__).resolve().parent.parent.parent
EQUIVALENT = Path(__file__).with_name("equivalent.txt")
_ALREADY_IMPORTED = "ignore:Module already imported:pytest.PytestAssertRewriteWarning"
_KEEP_DATABASES = {"admin", "config", "local"}
_TEST_SECONDS = 30  # for one test, with its fixtures; three times what it took when that is more

# Of each file of tests: the `lines` that it and each of its tests run, `seconds`, and a `digest`.
Records = dict[str, dict[str, Any]]

# The tests of each module, the cheapest first: a run ends with the first that fails.
TESTS: Final[dict[str, tuple[str, ...]]] = {
    "core/money.py": ("tests/core/test_money.py", "tests/billing/test_pricing.py"),
    "ledger.py": ("tests/test_ledger.py", "tests/test_wallet.py"),
    "wallet.py": (
        "tests/test_wallet.py",
        "tests/test_wallet_adjustments.py",
        "tests/test_refunds.py",
        "tests/reporting/test_repairs.py",
        "tests/api/test_second_admin.py",
    ),
    "transactions.py": (
        "tests/api/test_transactions.py",
        "tests/test_wallet.py",
        "tests/reporting/test_totals.py",
    ),
    "payments.py": (
        "tests/test_payment_orders.py",
        "tests/test_payments.py",
        "tests/test_abandoned_orders.py",
        "tests/api/test_payments.py",
        "tests/reconciliation",
    ),
    "refunds.py": (
        "tests/test_refund_decisions.py",
        "tests/test_refunds.py",
        "tests/test_disputes.py",
        "tests/reconciliation",
        "tests/reporting/test_repairs.py",
        "tests/properties/test_refund_dispute_interleavings.py",
    ),
    "disputes.py": (
        "tests/test_dispute_decisions.py",
        "tests/test_disputes.py",
        "tests/test_refunds.py",
        "tests/reconciliation",
        "tests/reporting/test_repairs.py",
        "tests/properties/test_refund_dispute_interleavings.py",
    ),
    "billing/": ("tests/billing", "tests/calls", "tests/api/test_calls.py"),
    "reconciliation/": (
        "tests/reconciliation",
        "tests/test_abandoned_orders.py",
        "tests/test_refunds.py",
        "tests/test_disputes.py",
    ),
}


def test_files(path: str) -> list[str]:
    """The files of the tests of a module, in their order."""
    found: list[str] = []
    for test in tests_of(path):
        place = ROOT / test
        files = sorted(place.glob("test_*.py")) if place.is_dir() else [place]
        found += [file.relative_to(ROOT).as_posix() for file in files]
    return list(dict.fromkeys(found))


def tests_of(path: str) -> tuple[str, ...]:
    """The tests of the module, or of its package; those of files that exist."""
    package, _, file = path.rpartition("/")
    own = f"tests/{package}/test_{file}" if package else f"tests/test_{file}"
    found = TESTS.get(path) or TESTS[f"{package}/"]
    first = tuple(test for test in found if test.endswith("_decisions.py"))  # they take no time
    return tuple(test for test in dict.fromkeys((*first, own, *found)) if (ROOT / test).exists())


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
        self._basetemp = folder / "pytest"
        self.mongod = embedded_mongodb.start(folder / "mongod")
        self._forks = Forks(self.copy, TEST_MONGODB_URI=self.mongod.uri)
        self.records: Records = {}

    def close(self) -> None:
        """Stop the MongoDB and what forks."""
        self._forks.close()
        self.mongod.stop()

    def learn(self, files: Iterable[str], kept: Path) -> None:
        """Know which lines each test of these files runs: from the file `kept`, as far as neither the
        test nor a money module has changed, else from a run of it."""
        known: Records = json.loads(kept.read_text()) if kept.exists() else {}
        modules_now = digest_of(ROOT / name for name in modules())
        for name in files:
            now = f"{modules_now} {digest_of([ROOT / name])}"
            if known.get(name, {}).get("digest") != now:
                found = self._pytest([name], record=modules(), bytecode=True)
                known[name] = {**found["recorded"], "digest": now}
                failed = ", ".join(known[name]["failed"]) or "none"
                print(f"{name}: {found['seconds']:.0f} s, failed: {failed}", flush=True)
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_text(json.dumps(known), encoding="utf-8")
            self.records[name] = known[name]

    def run(self, mutant: Mutant) -> dict[str, Any]:
        """The result of one mutant: `killed`, `survived` or `timed out`, and by which test."""
        target = self.copy / mutant.path
        source = target.read_text(encoding="utf-8")
        row = {
            **{"id": mutant.id, "path": mutant.path, "line": mutant.line, "kind": mutant.kind},
            "diff": mutant.diff(source),
        }
        tests = chosen_tests(mutant, source, self.records)
        if not tests:
            return {**row, "outcome": "survived", "by": "no test runs it", "seconds": 0.0}
        slowest = max(self._seconds(test) for test in tests)
        made = target.stat()
        target.write_text(mutant.applied(source), encoding="utf-8")
        # What was compiled from the source is known by its time and size: neither may be the same.
        os.utime(target, (made.st_atime, made.st_mtime + 10))
        try:
            found = self._pytest(
                [*dict.fromkeys(test.split("::")[0] for test in tests), "-x"],
                tests=tests,
                limit=60 + 5 * sum(map(self._seconds, tests)),
                timeout=max(_TEST_SECONDS, 3 * slowest),
            )
        finally:
            target.write_text(source, encoding="utf-8")
            os.utime(target, (made.st_atime, made.st_mtime))
        return {
            **row,
            "outcome": outcome_of(found["status"], found["output"]),
            "by": failed_test(found["output"]),
            "tests": len(tests),
            "seconds": round(found["seconds"], 1),
            "cpu_seconds": round(found["cpu_seconds"], 1),
        }

    def _seconds(self, test: str) -> float:
        return float(self.records[test.split("::")[0]]["seconds"][test])

    def _pytest(self, arguments: Sequence[str], *, timeout: float = 600, **more: Any) -> Any:
        options = [
            "-q",
            "-p",
            "no:cacheprovider",
            "-W",
            _ALREADY_IMPORTED,
            f"--timeout={timeout:.0f}",
        ]
        options.append(f"--basetemp={self._basetemp}")
        before = cpu_seconds(self.mongod.pid)
        found = self._forks.run([*options, *arguments], **more)
        self._drop_databases()
        found["cpu_seconds"] += cpu_seconds(self.mongod.pid) - before
        return found

    def _drop_databases(self) -> None:
        with MongoClient[dict[str, Any]](self.mongod.uri) as client:
            for name in client.list_database_names():
                if name not in _KEEP_DATABASES:
                    client.drop_database(name)


def digest_of(files: Iterable[Path]) -> str:
    """A digest of what is in these files."""
    content = b"\0".join(file.read_bytes() for file in files)
    return hashlib.sha256(content).hexdigest()[:12]


def cpu_seconds(pid: int) -> float:
    """What this process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def chosen_tests(mutant: Mutant, source: str, records: Records) -> list[str]:
    """The tests that run a changed line, as `TESTS` orders their files, the quickest of a file first;
    where none of its own tests does, those of the other modules. What runs in other processes alone is
    seen by nobody: then all tests of its file."""
    wanted = set(lines_of(mutant.line, source))
    own = test_files(mutant.path)
    others = [file for file in records if file not in own]
    for files in (own, others):
        if tests := _running(wanted, mutant.path, files, records):
            return tests
    record = records[own[0]]
    return sorted((set(record["lines"]) - {own[0]}), key=record["seconds"].__getitem__)


def _running(wanted: set[int], path: str, files: Sequence[str], records: Records) -> list[str]:
    tests = []
    for file in files:
        if (record := records.get(file)) is None:  # it came while this ran
            continue
        shared = wanted & set(record["lines"].get(file, {}).get(path, ()))
        found = [
            test
            for test, lines in record["lines"].items()
            if test != file and (shared or wanted & set(lines.get(path, ())))
        ]
        tests += sorted(found, key=record["seconds"].__getitem__)
    return tests


def outcome_of(status: int | None, output: str) -> str:
    """What pytest's exit status and its output say of a mutant."""
    if status is None or "Timeout (>" in output or "+ Timeout +" in output:
        return "timed out"
    return "survived" if status == 0 else "killed"


def failed_test(output: str) -> str | None:
    """The first test that failed, from pytest's summary."""
    for line in output.splitlines():
        if line.startswith(("FAILED tests/", "ERROR tests/")):
            return line.split(" ")[1]
    return "an import" if "ImportError while loading conftest" in output else None


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


def in_memory() -> str | None:
    """A folder without a disk behind it, where the machine has one: databases are made all the time."""
    memory = Path("/dev/shm")
    return str(memory) if os.access(memory, os.W_OK) else None


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.mutation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--modules", nargs="+", default=modules(), metavar="FILE")
    parser.add_argument("--results", type=Path, default=ROOT / ".data" / "mutants.jsonl")
    parser.add_argument("--part", type=_part, default=(1, 1), help="2/3: every third one")
    parser.add_argument("--survivors", action="store_true", help="run again what survived")
    parser.add_argument("--report", action="store_true", help="run nothing")
    return parser.parse_args()


def _part(text: str) -> tuple[int, int]:
    number, of = map(int, text.split("/"))
    return number, of


def main() -> int:
    """The command line; 1 when a mutant survived that is not known to be equivalent."""
    arguments = _arguments()
    results, known = read(arguments.results), equivalent()
    every = [mutant for name in arguments.modules for mutant in mutants_of(ROOT / name, ROOT)]
    chosen = sampled(every, ROOT, seed=arguments.seed, count=arguments.count)
    number, of = arguments.part
    chosen = chosen[number - 1 :: of]
    if arguments.survivors:
        survived = {id for id, row in results.items() if row["outcome"] == "survived"}
        chosen = [mutant for mutant in every if mutant.id in survived - set(known)]
    else:
        chosen = [mutant for mutant in chosen if mutant.id not in {*results, *known}]
    if chosen and not arguments.report:
        arguments.results.parent.mkdir(parents=True, exist_ok=True)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # what was started ends too
        with tempfile.TemporaryDirectory(dir=in_memory()) as folder:
            runner = Runner(Path(folder))
            try:
                files = dict.fromkeys(file for name in modules() for file in test_files(name))
                runner.learn(files, arguments.results.with_name("mutants_lines.json"))
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
