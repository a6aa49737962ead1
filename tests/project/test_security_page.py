"""SECURITY.md: every threat has a test that shows what stops it, and every test named there exists."""

import ast
import re

from tests.support.service import ROOT

PAGE = (ROOT / "SECURITY.md").read_text()
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)


def test_every_test_that_is_named_exists() -> None:
    missing = []
    for path, name in NAMED:
        file = ROOT / path
        found: set[str] = set()
        if file.exists():
            tree = ast.parse(file.read_text())
            kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
            found = {node.name for node in tree.body if isinstance(node, kinds)}
        if name not in found:
            missing.append(f"{path}::{name}")
    assert missing == []


def test_every_threat_names_a_test() -> None:
    threats = [line for line in PAGE.splitlines() if re.match(r"\| (?!threat|---)", line)]
    assert len(threats) > 20
    assert [line for line in threats if not re.search(r"`tests/[\w/]+\.py::\w+` ?[,|]", line)] == []
    assert PAGE.count("::test_") == len(NAMED), "a test is written in another form"
