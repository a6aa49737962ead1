"""The rules of docs/architecture.md, checked by reading the source: layers, walls, sizes, names.

`problems(root)` lists what breaks them as `file:line message`. It knows packages and the files at
the root, never the files inside a package, so a new file needs no change here.
`python -m tests.project.architecture` counts rooms, floors and imports.
"""

import ast
import dataclasses
import functools
import importlib.metadata
import io
import sys
import tokenize
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

# THE ARCHITECTURE. A file imports from the lines above its own and from its own package, nothing
# else. Where a line has two columns, left and right never import each other, on any line.
LAYERS = [
    "core",
    "auth gateway telephony ledger.py",
    "transactions.py",
    "wallet.py",
    "users.py",
    "billing | payments.py",
    "compliance",
    "calls | refunds.py",
    "campaigns | disputes.py",
    "reconciliation",
    "reporting",
    "worker.py",
    "api",
    "main.py",
    "sandbox",
    "manage.py",
]

BESIDE_THE_PRODUCT = {"tests", "bench", "docs"}

# Package of a vendor -> the one place that may import it; a path that ends in `/` is a package.
EDGES: dict[str, tuple[str, ...]] = {
    "motor": ("core/database.py",),
    "pymongo": ("core/database.py",),
    "bson": ("core/database.py",),
    "phonenumbers": ("core/phone_numbers.py",),
    "jose": ("auth/",),
    "passlib": ("auth/",),
    "pyotp": ("auth/",),
    "cryptography": ("auth/",),
    "limits": ("auth/",),
    "razorpay": ("gateway/",),
    "requests": ("gateway/",),
    "httpx": ("telephony/", "compliance/scrubbing.py"),
    "fastapi": ("api/", "main.py"),
    "fastapi_offline": ("api/", "main.py"),
    "starlette": ("api/", "main.py", "manage.py"),
    "uvicorn": ("manage.py", "api/http_protocol.py"),
    "httptools": ("api/http_protocol.py",),
    "tests": (),
    "bench": (),
}
# The sandbox plays a service of somebody else, with a database and a web server of its own.
FREE_IN_THE_SANDBOX = {"motor", "pymongo", "bson", "httpx", "starlette"}
SANDBOX_MAY_IMPORT = {"core", "main.py", "api"}
MAY_IMPORT_API = {"main.py", "sandbox/service.py"}
REACH_MONEY_THROUGH_BILLING = {"calls", "campaigns"}
MONEY = {"wallet.py", "ledger.py", "transactions.py"}

DATABASE = "core/database.py"
OWNER_OF_MONEY = {"transactions": "transactions.py", "wallets": "wallet.py"}
READER_OF_EVERYTHING = "reporting"

INSERTS = {"insert_one", "insert_many"}
CHANGES = {
    "update_one",
    "update_many",
    "replace_one",
    "delete_one",
    "delete_many",
    "bulk_write",
    "find_one_and_update",
    "find_one_and_replace",
    "find_one_and_delete",
    "drop",
}
READS = {"find", "find_one", "aggregate", "count_documents", "distinct", "watch"}

FUNCTION_LINES_MAX = 70
SMALL_MODULE_LINES = 150

Function = ast.FunctionDef | ast.AsyncFunctionDef


# --- the source, read once ----------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Import:
    """One imported name: `from core import clock` is module `core`, name and bound `clock`."""

    line: int
    module: str
    name: str
    bound: str


@dataclasses.dataclass(frozen=True)
class Source:
    """One file of the product, by its path under the root."""

    path: str
    text: str
    tree: ast.Module

    @property
    def room(self) -> str:
        """The package, or the file at the root, that it belongs to."""
        return self.path.split("/")[0]

    @property
    def module(self) -> str:
        """Its dotted name, as it is imported."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def is_face(self) -> bool:
        """Whether it is the `__init__.py` of a package."""
        return self.path.endswith("/__init__.py")

    @functools.cached_property
    def imports(self) -> list[Import]:
        """Every import, also those in functions and under `TYPE_CHECKING`."""
        found = []
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    bound = alias.asname or alias.name.split(".")[0]
                    found.append(Import(node.lineno, alias.name, "", bound))
            elif isinstance(node, ast.ImportFrom):
                module = self._absolute(node)
                for alias in node.names:
                    bound = alias.asname or alias.name
                    found.append(Import(node.lineno, module, alias.name, bound))
        return found

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        package = self.path.split("/")[:-1]
        parents = package[: len(package) - node.level + 1]
        return ".".join([*parents, *([node.module] if node.module else [])])


@dataclasses.dataclass(frozen=True)
class House:
    """All files of the product under one root."""

    root: Path
    sources: list[Source]

    @functools.cached_property
    def by_module(self) -> dict[str, Source]:
        """The files by their dotted names."""
        return {source.module: source for source in self.sources}

    def target(self, imported: Import) -> Source | None:
        """The file of the product that is imported, if it is one."""
        if imported.name:
            member = self.by_module.get(f"{imported.module}.{imported.name}")
            if member is not None:
                return member
        return self.by_module.get(imported.module)

    def links(self) -> Iterator[tuple[Source, int, Source]]:
        """Importing file, line, imported file."""
        for source in self.sources:
            for imported in source.imports:
                target = self.target(imported)
                if target is not None:
                    yield source, imported.line, target


def read(root: Path) -> House:
    """The product under `root`: the files at the root and the packages beside them."""
    files = sorted(root.glob("*.py"))
    for folder in sorted(root.iterdir()):
        is_product = folder.name not in BESIDE_THE_PRODUCT and folder.name[0] not in "._"
        if folder.is_dir() and is_product:
            files += sorted(folder.rglob("*.py"))
    sources = []
    for file in files:
        text = file.read_text()
        sources.append(Source(file.relative_to(root).as_posix(), text, ast.parse(text)))
    return House(root, sources)


def functions(tree: ast.AST) -> Iterator[Function]:
    """Every function, also those inside of others."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def is_route(function: Function) -> bool:
    """Whether it answers HTTP requests."""
    return any("router." in ast.unparse(decorator) for decorator in function.decorator_list)


def _is_db(node: ast.expr) -> bool:
    if isinstance(node, ast.Name):
        return node.id == "db"
    return (
        isinstance(node, ast.Attribute)
        and node.attr == "db"
        and isinstance(node.value, ast.Name)
        and node.value.id == "database"
    )


def _collection(node: ast.expr) -> str | None:
    """`x` of `db.x` and `db["x"]`, `*` when only the running program knows; else None."""
    if isinstance(node, ast.Attribute) and _is_db(node.value):
        return node.attr
    if isinstance(node, ast.Subscript) and _is_db(node.value):
        return _constant(node.slice)
    return None


def _constant(node: ast.expr) -> str:
    return str(node.value) if isinstance(node, ast.Constant) else "*"


def collection_uses(tree: ast.AST) -> Iterator[tuple[int, str, str]]:
    """Line, collection and verb of every `db.<collection>.<verb>`.

    The verb is `*` where the collection is handed on, because then anything may be done to it.
    """
    followed = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            collection = _collection(node.value)
            if collection is not None:
                followed.add(id(node.value))
                yield node.lineno, collection, node.attr
        if isinstance(node, ast.Attribute | ast.Subscript) and id(node) not in followed:
            collection = _collection(node)
            if collection is not None:
                yield node.lineno, collection, "*"


def companion_writes(tree: ast.AST) -> Iterator[tuple[int, str, str]]:
    """Line, collection and kind of every `Insert("<collection>", …)` and `Update(…)`."""
    for node, kind in _calls(tree, {"Insert", "Update"}):
        yield node.lineno, _constant(node.args[0]), kind


def _calls(tree: ast.AST, names: set[str]) -> Iterator[tuple[ast.Call, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            name = ast.unparse(node.func).split(".")[-1]
            if name in names:
                yield node, name


def _writes_and_reads(source: Source) -> list[tuple[int, str, str]]:
    return [*collection_uses(source.tree), *companion_writes(source.tree)]


def declarations(house: House) -> Iterator[tuple[Source, int, str]]:
    """File, line and collection of every `database.declare("<collection>", …)`."""
    for source in house.sources:
        for node, _ in _calls(source.tree, {"declare"}):
            yield source, node.lineno, _constant(node.args[0])


def writers(house: House) -> dict[str, str]:
    """Collection -> who writes it: the file that declares it, or that file's nested package
    (`telephony/simulator/`). What `core/database.py` keeps for itself is its own."""
    found = {}
    for source, _, collection in declarations(house):
        folders = source.path.split("/")[:-1]
        found[collection] = "/".join(folders) + "/" if len(folders) > 1 else source.path
    for source in house.sources:
        if source.path == DATABASE:
            for _, collection, _ in collection_uses(source.tree):
                if collection != "*":
                    found.setdefault(collection, DATABASE)
    return found


def _is_of_the_same_package(source: Source, owner: str) -> bool:
    return "/" in source.path and source.room == owner.split("/")[0]


def _is_within(path: str, place: str) -> bool:
    return path.startswith(place) if place.endswith("/") else path == place


# --- layers -------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where a room stands: its line in LAYERS, and its column where the line has two."""

    floor: int
    column: int | None


def plan(layers: Sequence[str]) -> dict[str, Place]:
    """The place of every room."""
    places = {}
    for floor, line in enumerate(layers):
        columns = line.split("|")
        for column, rooms in enumerate(columns):
            for room in rooms.split():
                places[room] = Place(floor, column if len(columns) > 1 else None)
    return places


def every_room_has_its_layer(house: House) -> Iterator[str]:
    """What stands on the disk stands in LAYERS, and the other way round."""
    planned, there = set(plan(LAYERS)), {source.room for source in house.sources}
    for room in sorted(there - planned):
        yield f"{room}:1 has no line in LAYERS"
    for room in sorted(planned - there):
        yield f"{room}:1 is in LAYERS and nowhere else"


def imports_point_down(house: House) -> Iterator[str]:
    """Only from the lines above, and never across the two columns."""
    places = plan(LAYERS)
    for source, line, target in house.links():
        if source.room == target.room or not {source.room, target.room} <= set(places):
            continue
        mine, other = places[source.room], places[target.room]
        if None not in (mine.column, other.column) and mine.column != other.column:
            yield f"{source.path}:{line} imports {target.path} across the two columns"
        elif other.floor >= mine.floor:
            yield f"{source.path}:{line} imports {target.path}, which is not in a layer above it"


def no_circles(house: House) -> Iterator[str]:
    """No file imports itself by way of others, not even inside of functions."""
    onward: dict[str, set[str]] = {source.path: set() for source in house.sources}
    lines: dict[tuple[str, str], int] = {}
    for source, line, target in house.links():
        onward[source.path].add(target.path)
        lines.setdefault((source.path, target.path), line)
    reached = {path: _reachable(path, onward) for path in onward}
    for path in onward:
        for other in sorted(onward[path]):
            if path in reached[other] or path == other:
                yield f"{path}:{lines[path, other]} imports {other}, which imports it: a circle"


def _reachable(start: str, onward: Mapping[str, Iterable[str]]) -> set[str]:
    seen: set[str] = set()
    waiting = list(onward[start])
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            waiting += onward[path]
    return seen


# --- walls --------------------------------------------------------------------------------------


def vendors_have_one_edge(house: House) -> Iterator[str]:
    """A vendor's package is imported where EDGES says and nowhere else; so is FastAPI."""
    for source in house.sources:
        for imported in source.imports:
            vendor = imported.module.split(".")[0]
            if vendor not in EDGES or imported.module in house.by_module:
                continue
            if source.room == "sandbox" and vendor in FREE_IN_THE_SANDBOX:
                continue
            if not any(_is_within(source.path, place) for place in EDGES[vendor]):
                allowed = " and ".join(EDGES[vendor]) or "no file of the product"
                yield f"{source.path}:{imported.line} imports {vendor}: only {allowed} may"


def the_api_is_imported_by_main_alone(house: House) -> Iterator[str]:
    """Nothing below HTTP knows HTTP."""
    for source, line, target in house.links():
        if target.room == "api" and source.room != "api" and source.path not in MAY_IMPORT_API:
            yield f"{source.path}:{line} imports {target.path}: only main.py and the sandbox may"


def the_sandbox_knows_nothing_of_the_product(house: House) -> Iterator[str]:
    """It speaks to the product over HTTP, as Razorpay does."""
    for source, line, target in house.links():
        if source.room == "sandbox" and target.room not in SANDBOX_MAY_IMPORT | {"sandbox"}:
            yield f"{source.path}:{line} imports {target.path}: the sandbox knows core and main"


def calls_and_campaigns_reach_money_through_billing(house: House) -> Iterator[str]:
    """They never import the wallet, the ledger or the entries."""
    for source, line, target in house.links():
        if source.room in REACH_MONEY_THROUGH_BILLING and target.path in MONEY:
            yield f"{source.path}:{line} imports {target.path}: reach money through billing/"


def one_file_writes_a_collection(house: House) -> Iterator[str]:
    """The file that declares it. Others use its functions; `reporting/` may read any."""
    declared: dict[str, str] = {}
    for source, line, collection in declarations(house):
        if declared.setdefault(collection, source.path) != source.path:
            yield f"{source.path}:{line} declares {collection}, as {declared[collection]} does"
    owner = writers(house)
    for source in house.sources:
        if source.path == DATABASE:
            continue
        for line, collection, verb in _writes_and_reads(source):
            if verb in READS and (
                source.room == READER_OF_EVERYTHING
                or _is_of_the_same_package(source, owner.get(collection, ""))
            ):
                continue
            if collection == "*":
                yield f"{source.path}:{line} {verb} on a collection that the source does not name"
            elif collection not in owner:
                yield f"{source.path}:{line} nobody declares the collection {collection}"
            elif not _is_within(source.path, owner[collection]):
                yield f"{source.path}:{line} {collection}.{verb}: {owner[collection]} owns it"


def money_has_its_owners(house: House) -> Iterator[str]:
    """Balances are written by the wallet, entries by the transactions, whoever declares what."""
    for source in house.sources:
        for line, collection, verb in _writes_and_reads(source):
            owner = OWNER_OF_MONEY.get(collection, source.path)
            if verb not in READS and source.path != owner:
                yield f"{source.path}:{line} {collection}.{verb}: only {owner} writes {collection}"


def the_ledger_only_grows(house: House) -> Iterator[str]:
    """No entry is changed or removed, and only the wallet appends some."""
    for source in house.sources:
        for line, collection, verb in collection_uses(source.tree):
            is_change = verb in CHANGES or verb == "*"
            if collection == "transactions" and is_change:
                yield f"{source.path}:{line} may rewrite the ledger: {verb}"
            if collection == "audit_log" and is_change:
                yield f"{source.path}:{line} may rewrite the audit log: {verb}"
            if collection == "*" and verb in CHANGES and source.path != DATABASE:
                yield f"{source.path}:{line} may rewrite the ledger: {verb} on any collection"
        for line, collection, kind in companion_writes(source.tree):
            if collection == "transactions":
                yield f"{source.path}:{line} {kind} on the ledger: entries are appended"
            if collection == "audit_log" and kind != "Insert":
                yield f"{source.path}:{line} {kind} on the audit log: rows are only added"
        if source.path != "wallet.py":
            yield from _appends(source)


def _appends(source: Source) -> Iterator[str]:
    message = "only wallet.py appends entries"
    for imported in source.imports:
        if (imported.module, imported.name) == ("transactions", "append"):
            yield f"{source.path}:{imported.line} {message}"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "transactions.append":
            yield f"{source.path}:{node.lineno} {message}"


def handlers_stand_in_one_list(house: House) -> Iterator[str]:
    """Only the worker says who handles an event; no import does so by the way."""
    for source in house.sources:
        if source.path in {"worker.py", "core/outbox.py"}:
            continue
        for imported in source.imports:
            if (imported.module, imported.name) == ("core.outbox", "on"):
                yield f"{source.path}:{imported.line} only worker.py registers handlers"
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Attribute) and ast.unparse(node) == "outbox.on":
                yield f"{source.path}:{node.lineno} only worker.py registers handlers"


def routes_touch_no_collection(house: House) -> Iterator[str]:
    """A route reads its request, calls one function, shapes the answer."""
    for source in house.sources:
        for function in functions(source.tree):
            if is_route(function):
                for line, collection, _ in collection_uses(function):
                    yield f"{source.path}:{line} route {function.name} touches {collection}"
                for line, collection, _ in companion_writes(function):
                    yield f"{source.path}:{line} route {function.name} writes {collection}"


def no_money_rides_on_background_tasks(house: House) -> Iterator[str]:
    """What they had to do is lost with the process."""
    for source in house.sources:
        for node in ast.walk(source.tree):
            name = node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")
            if name == "BackgroundTasks":
                yield f"{source.path}:{getattr(node, 'lineno', 0)} BackgroundTasks"


def only_money_divides_paise(house: House) -> Iterator[str]:
    """`/`, `//` and `float()` never meet a name that ends in `_paise`."""
    for source in house.sources:
        if source.path == "core/money.py":
            continue
        for node in ast.walk(source.tree):
            is_division = isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(
                node.op, ast.Div | ast.FloorDiv
            )
            is_float = isinstance(node, ast.Call) and ast.unparse(node.func) == "float"
            if (is_division or is_float) and "_paise" in ast.unparse(node):
                line = getattr(node, "lineno", 0)
                yield f"{source.path}:{line} {ast.unparse(node)}: only core/money.py divides paise"


# --- names --------------------------------------------------------------------------------------


def no_room_shadows_another_package(house: House) -> Iterator[str]:
    """A file `queue.py` or a package `razorpay/` at the root would be imported in its place."""
    taken = set(sys.stdlib_module_names) | set(importlib.metadata.packages_distributions())
    for room in sorted({source.room for source in house.sources}):
        if room.removesuffix(".py") in taken:
            yield f"{room}:1 shadows the standard library or a dependency"


def no_variable_hides_a_module(house: House) -> Iterator[str]:
    """`wallet = …` in a file that imports `wallet` is an error that waits."""
    for source in house.sources:
        modules = {
            imported.bound
            for imported in source.imports
            if (target := house.target(imported)) is not None
            and target.module in (f"{imported.module}.{imported.name}", imported.module)
            and (not imported.name or target.module.endswith(f".{imported.name}"))
        }
        for line, name in _bindings(source.tree):
            if name in modules:
                yield f"{source.path}:{line} `{name}` hides an imported module"


def _bindings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    fields = {  # a model's field is an attribute: it hides nothing
        id(part.target)
        for model in ast.walk(tree)
        if isinstance(model, ast.ClassDef)
        for part in model.body
        if isinstance(part, ast.AnnAssign)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            if id(node) not in fields:
                yield node.lineno, node.id
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            yield node.lineno, node.name


# --- words --------------------------------------------------------------------------------------


def every_module_says_what_it_is(house: House) -> Iterator[str]:
    """In one sentence, its first line, which docs/architecture.md has beside its name."""
    page = house.root / "docs" / "architecture.md"
    text = page.read_text() if page.exists() else ""
    for source in house.sources:
        sentence = (ast.get_docstring(source.tree) or "").split("\n")[0]
        if not sentence.endswith("."):
            yield f"{source.path}:1 the first line of the docstring must be one sentence"
            continue
        row = sentence if source.is_face else f"| `{source.path}` | {sentence} |"
        if row not in text:
            yield f"{source.path}:1 docs/architecture.md does not have: {row}"


def the_page_shows_the_layers(house: House) -> Iterator[str]:
    """The picture of the layers in docs/architecture.md is LAYERS."""
    page = house.root / "docs" / "architecture.md"
    if not page.exists() or "\n".join(["```text", *LAYERS, "```"]) not in page.read_text():
        yield "docs/architecture.md:1 does not show the lines of LAYERS as a block of text"


def public_names_say_what_they_mean(house: House) -> Iterator[str]:
    """A public function or class of a module has a docstring."""
    for source in house.sources:
        for node in source.tree.body:
            if isinstance(node, Function | ast.ClassDef) and not (
                node.name.startswith("_") or ast.get_docstring(node)
            ):
                yield f"{source.path}:{node.lineno} {node.name} has no docstring"


# --- sizes --------------------------------------------------------------------------------------


def functions_stay_short(house: House) -> Iterator[str]:
    """A module has no limit; a function has."""
    for source in house.sources:
        for function in functions(source.tree):
            lines = (function.end_lineno or 0) - function.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield f"{source.path}:{function.lineno} {function.name}: {lines} lines"


def nothing_is_packed(house: House) -> Iterator[str]:
    """No `# fmt:` comment, and no literal inside of a literal that only saves lines."""
    for source in house.sources:
        for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
            if token.type == tokenize.COMMENT and token.string.startswith("# fmt:"):
                yield f"{source.path}:{token.start[0]} {token.string}"
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Starred) and isinstance(
                node.value, ast.Tuple | ast.List | ast.Set
            ):
                yield f"{source.path}:{node.lineno} packed to save lines: {ast.unparse(node)}"
            if isinstance(node, ast.Dict):
                for key, value in zip(node.keys, node.values, strict=True):
                    if key is None and isinstance(value, ast.Dict):
                        yield f"{source.path}:{value.lineno} packed: **{ast.unparse(value)}"


def a_small_module_has_more_than_one_importer(house: House) -> Iterator[str]:
    """Else it is a part of its importer, unless it has a reason of its own to be a file.

    The reasons: it is a file of the root, the face of its package (`__init__.py`, or the one file
    that other packages import), a route file, an adapter, or called by a single route file, which
    may hold no more than routes. What a face hands on counts as imported by whom imports the face.
    """
    importers = _importers(house)
    by_path = {source.path: source for source in house.sources}
    for source in house.sources:
        lines = len(source.text.splitlines())
        if lines >= SMALL_MODULE_LINES or "/" not in source.path:
            continue
        if source.is_face or _has_routes(source) or _is_adapter(source):
            continue
        found = importers[source.path]
        if len(found) == 1 and not _is_only_door(source, importers, house):
            other = next(iter(found))
            if source.room == "api" or not _has_routes(by_path[other]):
                yield f"{source.path}:1 {lines} lines for one importer, {other}: merge them"


def _importers(house: House) -> dict[str, set[str]]:
    direct: dict[str, set[str]] = {source.path: set() for source in house.sources}
    for source, _, target in house.links():
        if source is not target:
            direct[target.path].add(source.path)
    found = {}
    for path, importers in direct.items():
        through = {face for face in importers if face.endswith("/__init__.py")}
        outer = {one for face in through for one in direct[face]} - through - {path}
        found[path] = (importers - through) | outer or through
    return found


def _has_routes(source: Source) -> bool:
    return source.room == "api" and any(map(is_route, functions(source.tree)))


def _is_adapter(source: Source) -> bool:
    """Whether it says what its network can do, as every adapter of a network does."""
    return source.room == "telephony" and any(
        isinstance(part, ast.Assign) and ast.unparse(part.targets[0]) == "can"
        for node in source.tree.body
        if isinstance(node, ast.ClassDef)
        for part in node.body
    )


def _is_only_door(source: Source, importers: Mapping[str, set[str]], house: House) -> bool:
    """Whether it is the only file of its package that others import."""
    doors = {
        other.path
        for other in house.sources
        if other.room == source.room
        and any(importer.split("/")[0] != source.room for importer in importers[other.path])
    }
    return doors == {source.path}


# --- all of them --------------------------------------------------------------------------------

Rule = Callable[[House], Iterator[str]]

RULES: tuple[Rule, ...] = (
    every_room_has_its_layer,
    imports_point_down,
    no_circles,
    vendors_have_one_edge,
    the_api_is_imported_by_main_alone,
    the_sandbox_knows_nothing_of_the_product,
    calls_and_campaigns_reach_money_through_billing,
    one_file_writes_a_collection,
    money_has_its_owners,
    the_ledger_only_grows,
    handlers_stand_in_one_list,
    routes_touch_no_collection,
    no_money_rides_on_background_tasks,
    only_money_divides_paise,
    no_room_shadows_another_package,
    no_variable_hides_a_module,
    every_module_says_what_it_is,
    the_page_shows_the_layers,
    public_names_say_what_they_mean,
    functions_stay_short,
    nothing_is_packed,
    a_small_module_has_more_than_one_importer,
)


def problems(root: Path) -> list[str]:
    """Everything that breaks a rule, as `file:line message`."""
    house = read(root)
    return [problem for rule in RULES for problem in broken(rule, house)]


def broken(rule: Rule, house: House) -> list[str]:
    """What breaks one rule; a line that breaks it twice is named once."""
    return list(dict.fromkeys(rule(house)))


@dataclasses.dataclass(frozen=True, slots=True)
class Count:
    """How much there is to know: rooms, the longest chain of them, and who imports whom."""

    files: int
    rooms: int
    floors: int
    imports: int


def count(house: House) -> Count:
    """The rooms (packages and files of the root), and the pairs of them that import each other."""
    onward: dict[str, set[str]] = {source.room: set() for source in house.sources}
    for source, _, target in house.links():
        if source.room != target.room:
            onward[source.room].add(target.room)

    reached = {room: _reachable(room, onward) for room in onward}

    @functools.cache
    def floor(room: str) -> int:  # the rooms of a circle share one
        circle = {other for other in reached[room] if room in reached[other]} | {room}
        below = {other for one in circle for other in onward[one]} - circle
        return 1 + max(map(floor, sorted(below)), default=0)

    return Count(
        files=len(house.sources),
        rooms=len(onward),
        floors=max(map(floor, onward), default=0),
        imports=sum(map(len, onward.values())),
    )


def main(words: Sequence[str]) -> None:
    """Print the figures of the product under a root (this one, unless it is named)."""
    found = count(read(Path(words[0]) if words else ROOT))
    print(
        f"{found.files} files, {found.rooms} rooms, {found.floors} floors, {found.imports} imports"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
