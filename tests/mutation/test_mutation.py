"""The mutants of a source, and what is said of their results."""

from pathlib import Path

import pytest

from tests.mutation import __main__ as mutation
from tests.mutation.mutants import Mutant, mutants_of, sampled

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


async def test_a_mutant_is_killed_by_the_tests_of_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The repository itself is never changed."""
    monkeypatch.setitem(mutation.TESTS, "core/money.py", ("tests/core/test_money.py",))
    source = (mutation.ROOT / "core/money.py").read_text(encoding="utf-8")
    start = source.index("def ")
    broken = Mutant("core/money.py", 1, "constant", start, start, "raise ValueError\n", "x")
    runner = mutation.Runner(tmp_path)
    try:
        result = runner.run(broken)
    finally:
        runner.close()
    assert result["outcome"] == "killed"
    assert (mutation.ROOT / "core/money.py").read_text(encoding="utf-8") == source
    assert (runner.copy / "core/money.py").read_text(encoding="utf-8") == source
