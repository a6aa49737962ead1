"""Mutants: the single changes that a module's source allows, each with its place and its diff."""

import ast
import dataclasses
import difflib
import hashlib
import itertools
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path


@dataclasses.dataclass(frozen=True, slots=True)
class Mutant:
    """One change: the characters from `start` to `end` of `path` become `text`."""

    path: str
    line: int
    kind: str
    start: int
    end: int
    text: str
    id: str  # the same while the line and its place among equal lines stay

    def applied(self, source: str) -> str:
        """The source with the change."""
        return source[: self.start] + self.text + source[self.end :]

    def diff(self, source: str) -> str:
        """The change as a unified diff without context."""
        lines = difflib.unified_diff(
            source.splitlines(), self.applied(source).splitlines(), lineterm="", n=0
        )
        return "\n".join(line for line in lines if line[:3] not in ("---", "+++", "@@ "))


_COMPARED: dict[type[ast.cmpop], str] = {
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
}
_COMPUTED: dict[type[ast.operator], str] = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "+",
    ast.FloorDiv: "*",
    ast.Mod: "*",
    ast.BitOr: "&",
    ast.BitAnd: "|",
}
_SWAPPED = {"min": "max", "max": "min", "any": "all", "all": "any"}
# A value that the code compares or stores: a state, a category, the name of a field.
_WORD = re.compile(r"^[a-z][a-z_:.]{2,30}$")
# What a test cannot be asked to notice: logs, and what is read by people or by type checkers only.
_NOT_MUTATED = ("log.", "logging.", "TypeVar", "cast", "Literal", "database.declare", "Index")


class _Finder(ast.NodeVisitor):
    """Collects the changes of one module."""

    def __init__(self, path: str, source: str) -> None:
        self.path, self.source = path, source
        self.found: list[tuple[str, int, int, int, str]] = []
        starts = [0]
        for line in source.splitlines(keepends=True):
            starts.append(starts[-1] + len(line))
        self._starts, self._lines = starts, source.splitlines()

    def _at(self, line: int, column: int) -> int:
        prefix = self._lines[line - 1].encode()[:column].decode()
        return self._starts[line - 1] + len(prefix)

    def _span(self, node: ast.AST) -> tuple[int, int]:
        where = node.lineno, node.col_offset, node.end_lineno, node.end_col_offset  # type: ignore[attr-defined]
        return self._at(*where[:2]), self._at(*where[2:])

    def _change(self, node: ast.AST, kind: str, start: int, end: int, text: str) -> None:
        line = self.source.count("\n", 0, start) + 1
        self.found.append((kind, line, start, end, text))

    def _between(self, left: ast.AST, right: ast.AST, kind: str, old: str, new: str) -> None:
        """Replace the operator that stands between two expressions."""
        start, end = self._span(left)[1], self._span(right)[0]
        place = self.source.find(old, start, end)
        if place >= 0 and "#" not in self.source[start:end]:
            self._change(left, kind, place, place + len(old), new)

    # --- what is left alone

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        bases = {ast.unparse(base) for base in node.bases}
        if not bases & {"TypedDict", "Protocol"}:
            for statement in node.body:
                self.visit(statement)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_arguments(self, node: ast.arguments) -> None:
        for default in (*node.defaults, *node.kw_defaults):
            if default is not None:
                self.visit(default)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.visit(node.args)
        for statement in node.body:
            self.visit(statement)

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 - the name that ast asks for

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """A text for people."""

    def visit_Assert(self, node: ast.Assert) -> None:
        """It is a check itself."""

    def visit_Dict(self, node: ast.Dict) -> None:
        """Names of fields are left alone: any test notices another one, which would flatter the tests."""
        for value in node.values:
            self.visit(value)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self.visit(node.value)
        if not isinstance(node.slice, ast.Constant) or isinstance(node.slice.value, int):
            self.visit(node.slice)

    # --- what is changed

    def visit_Call(self, node: ast.Call) -> None:
        name = ast.unparse(node.func)
        if name.startswith(_NOT_MUTATED):
            return
        if isinstance(node.func, ast.Name) and name in _SWAPPED:
            self._change(node, "swapped", *self._span(node.func), _SWAPPED[name])
        self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant):
            return  # a docstring
        call = node.value.value if isinstance(node.value, ast.Await) else node.value
        if isinstance(call, ast.Call):
            if ast.unparse(call.func).startswith(_NOT_MUTATED):
                return
            self._change(node, "call removed", *self._span(node), "pass")
        self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        self._change(node, "raise removed", *self._span(node), "pass")

    def visit_If(self, node: ast.If) -> None:
        start, end = self._span(node.test)
        self._change(node, "negated", start, end, f"not ({self.source[start:end]})")
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        start, end = self._span(node.test)
        self._change(node, "negated", start, end, f"not ({self.source[start:end]})")
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        left: ast.expr = node.left
        for operator, right in zip(node.ops, node.comparators, strict=True):
            old = ast.unparse(ast.Compare(ast.Name("a"), [operator], [ast.Name("b")]))[2:-2]
            self._between(left, right, "compared", old, _COMPARED[type(operator)])
            left = right
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if (new := _COMPUTED.get(type(node.op))) is not None:
            old = ast.unparse(ast.BinOp(ast.Name("a"), node.op, ast.Name("b")))[2:-2]
            self._between(node.left, node.right, "computed", old, new)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if (new := _COMPUTED.get(type(node.op))) is not None:
            old = ast.unparse(ast.BinOp(ast.Name("a"), node.op, ast.Name("b")))[2:-2]
            self._between(node.target, node.value, "computed", f"{old}=", f"{new}=")
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in zip(node.values, node.values[1:], strict=False):
            self._between(left, right, "joined", old, new)
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not):
            start, end = self._span(node)
            self._change(
                node, "negated", start, end, self.source[self._span(node.operand)[0] : end]
            )
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        start, end = self._span(node)
        if isinstance(node.value, bool):
            self._change(node, "constant", start, end, str(not node.value))
        elif isinstance(node.value, int):
            self._change(node, "constant", start, end, str(node.value + 1))
        elif isinstance(node.value, str) and _WORD.match(node.value):
            self._change(node, "constant", start, end, repr(node.value + "~"))


def mutants_of(path: Path, root: Path) -> list[Mutant]:
    """Every mutant of the module, in the order of its source."""
    source = path.read_text(encoding="utf-8")
    name = path.relative_to(root).as_posix()
    finder = _Finder(name, source)
    finder.visit(ast.parse(source))
    return list(_numbered(name, source, sorted(finder.found, key=lambda each: each[2:])))


def lines_of(line: int, source: str) -> list[int]:
    """The lines that run when the code in this line does: those of its statement.

    What runs when the module is imported is noticed where it is used: a constant in the statements that
    name it (where there are none: anywhere), the default of a parameter in the body of its function.
    """
    tree = ast.parse(source)
    around = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or 0)
    ]
    inner = max(around, key=lambda node: node.lineno)
    if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
        return list(range(inner.body[0].lineno, (inner.end_lineno or 0) + 1))
    if not any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in around):
        return _uses(tree, inner) or list(range(1, source.count("\n") + 2))
    body = getattr(inner, "body", None)  # of an `if`, `for`, `with`: its head alone
    return list(range(inner.lineno, body[0].lineno if body else (inner.end_lineno or 0) + 1))


def _uses(tree: ast.Module, statement: ast.stmt) -> list[int]:
    """The lines in the bodies of functions that name what this statement assigns."""
    names = {
        node.id
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    return [
        node.lineno
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for part in function.body
        for node in ast.walk(part)
        if isinstance(node, ast.Name) and node.id in names
    ]


def _numbered(
    name: str, source: str, found: Sequence[tuple[str, int, int, int, str]]
) -> Iterator[Mutant]:
    seen: dict[str, int] = {}
    lines = source.splitlines()
    for kind, line, start, end, text in found:
        facts = f"{name}\0{lines[line - 1].strip()}\0{kind}\0{source[start:end]}\0{text}"
        seen[facts] = seen.get(facts, 0) + 1
        digest = hashlib.sha256(f"{facts}\0{seen[facts]}".encode()).hexdigest()[:12]
        yield Mutant(name, line, kind, start, end, text, digest)


def sampled(every: Sequence[Mutant], root: Path, *, seed: int, count: int) -> list[Mutant]:
    """`count` of them, the same for the same seed and source; ordered by file."""
    shuffled = list(every)
    random.Random(seed).shuffle(shuffled)
    chosen = itertools.islice((each for each in shuffled if _compiles(each, root)), count)
    return sorted(chosen, key=lambda mutant: (mutant.path, mutant.start))


def _compiles(mutant: Mutant, root: Path) -> bool:
    source = (root / mutant.path).read_text(encoding="utf-8")
    try:
        compile(mutant.applied(source), mutant.path, "exec")
    except SyntaxError:
        return False
    return True
