"""The benchmarks run, at a scale whose figures mean nothing. Nothing here asserts a time."""

import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench import harness
from tests.bench.__main__ import MODULES, machine, table
from tests.bench.harness import ASKED, Figure
from tests.support.service import ROOT


def has_figures(module: str) -> bool:
    """Whether the module has the `measure` that `tests/bench/harness.py` describes."""
    measure = getattr(importlib.import_module(f"tests.bench.{module}"), "measure", None)
    return measure is not None and list(inspect.signature(measure).parameters) == [
        "scale",
        "folder",
    ]


MEASURED = [name for name in MODULES if has_figures(name)]


def run(module: str, path: Path) -> str:
    """What `python -m tests.bench MODULE` prints at the tiny scale."""
    command = [sys.executable, "-m", "tests.bench", module, "--scale", "tiny"]
    done = subprocess.run(
        [*command, "--json", str(path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("module", MEASURED)
def test_each_module_measures_what_is_asked_of_it(module: str, tmp_path: Path) -> None:
    printed = run(module, tmp_path / "figures.json")
    written = json.loads((tmp_path / "figures.json").read_text())
    measured = {figure["name"]: figure["value"] for figure in written["figures"]}
    asked = {name for name, figure in ASKED.items() if figure.module == module}
    assert asked <= set(measured)
    assert all(value >= 0 for value in measured.values())
    assert written["machine"]["python"] in printed
    assert "not measured" not in printed


def test_the_machine_and_the_versions_are_named() -> None:
    facts = machine()
    assert {"cpu", "cores", "python", "mongodb", "commit", "motor", "fastapi"} <= set(facts)
    assert facts["mongodb"][0].isdigit()


def test_a_figure_is_met_by_its_own_direction() -> None:
    assert Figure(name="place_p50", value=7.0).is_met
    assert not Figure(name="place_p50", value=7.1).is_met
    assert Figure(name="place_32", value=0.4).is_met
    assert not Figure(name="place_32", value=0.39).is_met
    assert Figure(name="something else", value=1.0).is_met is None


def test_the_table_names_what_was_not_measured() -> None:
    figure = harness.ratio_of("place_32", [1.0, 3.0, 2.0], [2.0, 3.0, 8.0], parts=("a", "b"))
    assert figure.value == 0.5
    lines = table([figure, Figure(name="beside", value=12.5, unit="/s")], ["routes"]).splitlines()
    assert len(lines) == 1 + sum(asked.module == "routes" for asked in ASKED.values()) + 1
    assert "0.50" in lines[1]
    assert "met" in lines[1]
    assert "not measured" in lines[2]
    assert lines[-1].startswith("beside")
