"""The mutants of a source, and what is said of their results."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.mutation import __main__ as mutation
from tests.mutation.mutants import Mutant, lines_of, mutants_of, sampled

SOURCE = '''"""A module."""

import logging

log = logging.getLogger(__name__)


def taken(held: int, *, limit: int = 5) -> int:
    """What is taken."""
    if not held or held >= limit and held != 7:
        raise ValueError(f"held {held}")
    log.info("held")
    forget(held)
    return min(held + 1, limit) if limit else {"state": "reserved"}["state"]
'''


@pytest.fixture
def module(tmp_path: Path) -> Path:
    path = tmp_path / "held.py"
    path.write_text(SOURCE, encoding="utf-8")
    return path


def test_every_kind_of_change_is_made_and_texts_are_left_alone(module: Path) -> None:
    found = mutants_of(module, module.parent)
    changes = {(mutant.line, SOURCE[mutant.start : mutant.end], mutant.text) for mutant in found}
    assert changes == {
        (8, "5", "6"),
        (10, "not held or held >= limit and held != 7", f"not ({SOURCE.splitlines()[9][7:-1]})"),
        (10, "not held", "held"),
        (10, "or", "and"),
        (10, ">=", ">"),
        (10, "and", "or"),
        (10, "!=", "=="),
        (10, "7", "8"),
        (11, 'raise ValueError(f"held {held}")', "pass"),
        (13, "forget(held)", "pass"),
        (14, "min", "max"),
        (14, "+", "-"),
        (14, "1", "2"),
        (14, "limit", "not (limit)"),
        (14, '"reserved"', "'reserved~'"),
    }


def test_a_mutant_is_one_change_that_compiles_and_is_shown_as_a_diff(module: Path) -> None:
    (mutant,) = (m for m in mutants_of(module, module.parent) if m.text == "max")
    assert mutant.applied(SOURCE) == SOURCE.replace("min(", "max(")
    assert mutant.diff(SOURCE).splitlines()[1].strip("+ ").startswith("return max(held + 1, limit)")


def test_a_mutant_keeps_its_id_when_other_lines_change(module: Path) -> None:
    before = {mutant.id: mutant.text for mutant in mutants_of(module, module.parent)}
    module.write_text(SOURCE.replace('    log.info("held")\n', "\n\n"), encoding="utf-8")
    assert {mutant.id: mutant.text for mutant in mutants_of(module, module.parent)} == before


def test_a_seed_chooses_the_same_mutants(module: Path) -> None:
    every = mutants_of(module, module.parent)
    assert sampled(every, module.parent, seed=1, count=5) == sampled(
        every, module.parent, seed=1, count=5
    )
    assert sampled(every, module.parent, seed=1, count=5) != sampled(
        every, module.parent, seed=2, count=5
    )
    assert len(sampled(every, module.parent, seed=1, count=1_000)) == len(every)


def test_each_money_module_has_mutants_and_tests_that_exist() -> None:
    names = mutation.modules()
    assert {"wallet.py", "ledger.py", "refunds.py", "billing/limits.py"} <= set(names)
    for name in names:
        assert mutants_of(mutation.ROOT / name, mutation.ROOT), name
        assert mutation.tests_of(name), name


@pytest.mark.parametrize(
    ("status", "output", "outcome"),
    [
        (0, "3 passed", "survived"),
        (1, "FAILED tests/test_x.py::test_y - assert", "killed"),
        (2, "ERROR tests/test_x.py", "killed"),
        (None, "", "timed out"),
        (1, "E  Failed: Timeout (>60.0s) from pytest-timeout.", "timed out"),
    ],
)
def test_the_outcome_is_read_from_pytest(status: int | None, output: str, outcome: str) -> None:
    assert mutation.outcome_of(status, output) == outcome


def test_the_report_names_survivors_and_counts_without_the_equivalent() -> None:
    def row(mutant_id: str, outcome: str) -> dict[str, object]:
        place = {"path": "ledger.py", "line": 7, "kind": "compared", "diff": "-a\n+b"}
        return {"id": mutant_id, "outcome": outcome, **place}

    outcomes = ["killed", "timed out", "survived", "survived"]
    rows = [row(str(number), outcome) for number, outcome in enumerate(outcomes)]
    text = mutation.report(rows, {"3": "the limit is never reached"})
    assert "ledger.py:7 compared (2)\n-a\n+b" in text
    assert "(3)" not in text
    assert text.splitlines()[-1] == (
        "4 mutants, 1 equivalent; of the others 1 killed, 1 timed out, 1 survived: 66.7 % found"
    )


@pytest.mark.parametrize(
    ("found", "lines"),
    [
        ("LIMIT = 5", {"return min(a, LIMIT)"}),
        ("if a > b:", {"if a > b:"}),
        ("b: int = 7", {"if a > b:", "return 1", "return min(a, LIMIT)"}),
        ("return min(a, LIMIT)", {"return min(a, LIMIT)"}),
    ],
)
def test_a_mutant_concerns_the_tests_that_run_its_statement_or_use_its_constant(
    found: str, lines: set[str]
) -> None:
    source = "LIMIT = 5\n\ndef f(a: int, b: int = 7) -> int:\n    if a > b:\n        return 1\n"
    source += "    return min(a, LIMIT)\n"
    line = 1 + next(n for n, each in enumerate(source.splitlines()) if found in each)
    assert {source.splitlines()[n - 1].strip() for n in lines_of(line, source)} == lines


def test_the_tests_of_a_line_come_in_the_order_of_their_files_the_quickest_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = ["tests/core/test_money.py", "tests/billing/test_pricing.py"]
    monkeypatch.setattr(mutation, "test_files", lambda path: files)
    path, source = "core/money.py", "def f(a):\n    a += 1\n    return a\n"
    money, pricing = (
        {test: {path: lines} for test, lines in each}
        for each in (
            [
                (f"{files[0]}::slow", [2]),
                (f"{files[0]}::quick", [2, 3]),
                (f"{files[0]}::other", [3]),
            ],
            [(files[1], [2]), (f"{files[1]}::any", [])],
        )
    )
    seconds = {f"{files[0]}::slow": 9, f"{files[0]}::quick": 1, f"{files[1]}::any": 0}
    records = {
        files[0]: {"lines": money, "seconds": seconds},
        files[1]: {"lines": pricing, "seconds": seconds},
    }
    mutant = Mutant(path, 2, "computed", 15, 17, "-=", "x")
    assert mutation.chosen_tests(mutant, source, records) == [
        f"{files[0]}::quick",
        f"{files[0]}::slow",
        f"{files[1]}::any",  # its fixtures run the line
    ]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one module, its tests, and what runs them."""
    root = tmp_path / "project"
    for name in ("__init__", "forks", "lines"):
        copied = root / "tests" / "mutation" / f"{name}.py"
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(mutation.ROOT / "tests" / "mutation" / f"{name}.py", copied)
    (root / "tests" / "__init__.py").touch()
    (root / "halves.py").write_text(
        "UNIT = 2\n\n\ndef half(a: int) -> int:\n    if a < 0:\n        raise ValueError\n"
        "    return a // UNIT\n"
    )
    (root / "tests" / "test_halves.py").write_text(
        "import halves\n\n\ndef test_half() -> None:\n    assert halves.half(8) == 4\n\n\n"
        "def test_nothing() -> None:\n    pass\n"
    )
    subprocess.run(["git", "init", "-q", root], check=True)
    monkeypatch.setattr(mutation, "ROOT", root)
    monkeypatch.setattr(mutation, "TESTS", {"halves.py": ("tests/test_halves.py",)})
    return root


def test_a_mutant_is_killed_by_the_tests_of_a_copy(project: Path, tmp_path: Path) -> None:
    """The repository itself is never changed."""
    path, tests = "halves.py", "tests/test_halves.py"
    source = (project / path).read_text(encoding="utf-8")
    runner = mutation.Runner(tmp_path)
    try:
        runner.learn([tests], tmp_path / "lines.json")
        results = [runner.run(mutant) for mutant in mutants_of(project / path, project)]
    finally:
        runner.close()
    half = runner.records[tests]["lines"][f"{tests}::test_half"]
    assert half == {path: [5, 7]}
    assert not runner.records[tests]["lines"][f"{tests}::test_nothing"]
    assert [(row["line"], row["kind"], row["outcome"], row["by"]) for row in results] == [
        (1, "constant", "killed", f"{tests}::test_half"),
        (5, "negated", "killed", f"{tests}::test_half"),
        (5, "compared", "survived", None),
        (5, "constant", "survived", None),
        (6, "raise removed", "survived", None),  # seen by no test, so all were run
        (7, "computed", "killed", f"{tests}::test_half"),
    ]
    for root in (project, runner.copy):
        assert (root / path).read_text(encoding="utf-8") == source
