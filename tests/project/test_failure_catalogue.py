"""The failure catalogue: every row says what is done about it, and names the tests that show it."""

import ast
import importlib.metadata
import re
import subprocess
import sys

from tests.support.service import ROOT

PAGE = (ROOT / "docs" / "payment-failures.md").read_text()
NOT_IN_THE_PRODUCT = {32, 33}  # monthly mandates

_named = re.compile(r"`(tests/(?:\w+/)*test_\w+\.py)::(test_\w+)`")


def rows() -> dict[int, tuple[list[str], set[tuple[str, str]]]]:
    """By number: the cells of the row, and the tests that it names by file and function."""
    found = {}
    for line in PAGE.splitlines():
        if re.match(r"\| \d+ \|", line):
            cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            found[int(cells[0])] = (cells[1:3], set(_named.findall(line)))
    return found


def functions(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in tree.body if isinstance(node, kinds)}


def test_every_row_is_there_and_says_what_is_done() -> None:
    assert list(rows()) == list(range(1, 37))
    for number, (cells, named) in rows().items():
        assert len(cells) == 2, number
        assert all(len(cell) > 20 for cell in cells), number
        assert bool(named) != (number in NOT_IN_THE_PRODUCT), number
        assert ("Not in the product" in cells[1]) == (number in NOT_IN_THE_PRODUCT), number


def test_every_test_that_a_row_names_exists() -> None:
    named = {each for _, tests in rows().values() for each in tests}
    missing = {(path, name) for path, name in named if name not in functions(path)}
    assert not missing
    assert PAGE.count("::test_") == sum(len(tests) for _, tests in rows().values())


def test_every_test_of_a_row_is_named_by_it() -> None:
    known, seen = rows(), set()
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        file = path.relative_to(ROOT).as_posix()
        for name in functions(file):
            if row := re.match(r"test_row_(\d\d)_", name):
                assert (file, name) in known[int(row[1])][1], name
                seen.add(int(row[1]))
    assert len(seen) >= 20


def test_row_31_the_sdk_is_pinned_to_a_version_that_imports_without_setuptools() -> None:
    assert "razorpay==2.0.1" in (ROOT / "requirements.txt").read_text().splitlines()
    assert importlib.metadata.version("razorpay") == "2.0.1"
    blocked = "import sys; sys.modules['pkg_resources'] = sys.modules['setuptools'] = None"
    done = subprocess.run(
        [sys.executable, "-c", f"{blocked}; import razorpay"], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
