"""Plugins of pytest: which statements of the money modules each test runs, and a choice of tests by name."""

import ast
import builtins
import collections
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import pytest

from tests.mutation.forks import NOT_THERE

Line = tuple[str, int]
_RAN = "_line_ran"  # among the builtins


class _Instrument(ast.NodeTransformer):
    """Puts before each statement of a function a call that says that it runs."""

    def __init__(self, name: str) -> None:
        self._name = name

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._inside(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._inside(node)

    def _inside(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        for part in ast.walk(node):
            for block in ("body", "orelse", "finalbody"):
                statements = getattr(part, block, None)
                if isinstance(statements, list) and not isinstance(part, ast.ClassDef):
                    setattr(part, block, self._marked(statements))
        return node

    def _marked(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        marked: list[ast.stmt] = []
        for statement in statements:
            if not getattr(statement, "is_mark", False):
                place: list[ast.expr] = [ast.Constant(self._name), ast.Constant(statement.lineno)]
                mark = ast.Expr(ast.Call(ast.Name(_RAN, ast.Load()), place, []))
                mark.is_mark = True  # type: ignore[attr-defined]
                marked.append(ast.copy_location(mark, statement))
            marked.append(statement)
        return marked


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads a module with its marks; nothing of that is kept as bytecode."""

    def __init__(self, module: str, path: str, name: str) -> None:
        super().__init__(module, path)
        self._name = name

    def get_code(self, fullname: str) -> CodeType:
        tree = _Instrument(self._name).visit(ast.parse(self.get_data(self.path)))
        code: CodeType = compile(ast.fix_missing_locations(tree), self.path, "exec")
        return code


class Recorder(importlib.abc.MetaPathFinder):
    """Knows which statements of these files ran while a test did."""

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        self._root = root
        self._names = {name.removesuffix(".py").replace("/", "."): name for name in names}
        self._seen: set[Line] = set()
        self._lines: dict[str, set[Line]] = collections.defaultdict(set)
        self._seconds: dict[str, float] = {}
        self._failed: set[str] = set()

    def _ran(self, name: str, line: int) -> None:
        self._seen.add((name, line))

    def find_spec(
        self, fullname: str, path: Any = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        name = self._names.get(fullname)
        if name is None:
            return None
        file = str(self._root / name)
        return importlib.util.spec_from_file_location(
            fullname, file, loader=_Loader(fullname, file, name)
        )

    def install(self) -> None:
        """Mark these files when they are imported, from now on: before pytest imports a `conftest.py`."""
        setattr(builtins, _RAN, self._ran)
        sys.meta_path.insert(0, self)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        began = time.monotonic()
        self._seen = set()
        yield
        self._lines[item.nodeid] |= self._seen
        self._seconds[item.nodeid] = time.monotonic() - began

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Iterator[None]:
        yield
        # A file's fixtures run for its first test and count for all of them.
        self._lines[item.nodeid.split("::")[0]] |= self._seen

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.passed:
            self._failed.add(report.nodeid)

    def found(self) -> dict[str, Any]:
        """For each file and each test that passed: the lines it ran, and a test's seconds."""
        lines: dict[str, dict[str, list[int]]] = {}
        for test, seen in self._lines.items():
            if test not in self._failed:
                of_test = lines[test] = {}
                for name, line in sorted(seen):
                    of_test.setdefault(name, []).append(line)
        seconds = {test: round(took, 2) for test, took in self._seconds.items()}
        return {"lines": lines, "seconds": seconds, "failed": sorted(self._failed)}


class Chosen:
    """Runs these tests alone, in this order."""

    def __init__(self, tests: Sequence[str]) -> None:
        self._place = {test: place for place, test in enumerate(tests)}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        chosen = [item for item in items if item.nodeid in self._place]
        if len(chosen) != len(self._place):
            raise pytest.UsageError(NOT_THERE)
        items[:] = sorted(chosen, key=lambda item: self._place[item.nodeid])
