"""One ordered list, and the walls beside it, held with the standard library alone.

Each test fails with `file:line message`. docs/architecture.md says the same in words.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# THE ARCHITECTURE. A module imports only modules that stand before it.
ORDER = [
    *("config", "clock", "money", "errors", "logs"),
    *("database", "pagination", "leases", "api", "events"),
    *("entities", "signatures", "gateway", "telephony", "sheets"),
    *("security", "commands", "ledger", "transactions", "wallet"),
    *("users", "auth", "history", "balances", "adjustments"),
    *("rates", "ratesheets", "ratecards", "tariffs", "usage", "billing", "quotes"),
    *("orders", "payments", "refundbook", "refunds", "disputes", "recharges"),
    *("deadlines", "pacing", "callreports", "callbook", "talktime", "calls", "exchange"),
    *("phonebook", "contacts", "campaignbook", "dialer", "intake", "campaigns"),
    *("settlements", "webhooks", "clearing", "openitems", "analytics", "people", "reconcile"),
    *("worker", "main"),
    *("mongod", "manage"),
]

# Collection -> the one module that writes it.
OWNER = {
    "meta": "database",
    "idempotency_keys": "api",
    "events": "events",
    "simulated_calls": "telephony",
    "simulator_processes": "telephony",
    "sessions": "security",
    "users": "users",
    "transactions": "transactions",
    "wallets": "wallet",
    "wallet_settings": "rates",
    "rates": "rates",
    "ratecards": "ratecards",
    "ratecard_schedule": "ratecards",
    "usage": "usage",
    "orders": "orders",
    "payments": "payments",
    "refunds": "refundbook",
    "disputes": "disputes",
    "adjustments": "adjustments",
    "settlements": "settlements",
    "reconciliations": "clearing",
    "turns": "pacing",
    "calls": "callbook",
    "campaigns": "campaignbook",
    "contacts": "contacts",
    "daily_metrics": "analytics",
}
READERS = {"analytics", "openitems", "people", "reconcile"}  # may read any collection

INSERTS = {"insert_one", "insert_many"}
CHANGES = {
    *("update_one", "update_many", "replace_one", "delete_one", "delete_many", "bulk_write"),
    *("find_one_and_update", "find_one_and_replace", "find_one_and_delete", "drop"),
}
WRITES = INSERTS | CHANGES
READS = {"find", "find_one", "aggregate", "count_documents", "distinct", "watch"}
HTTP_BY_CHARTER = {"api", "auth", "main"}

LINES_MAX_MODULE = 560
LINES_MAX_FUNCTION = 70


def sources() -> Iterator[tuple[str, Path, ast.Module]]:
    for name in ORDER:
        path = ROOT / f"{name}.py"
        files = [path] if path.exists() else sorted((ROOT / name).rglob("*.py"))
        assert files, f"{name} is in ORDER and nowhere else"
        for file in files:
            yield name, file, ast.parse(file.read_text())


def imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.lineno, node.module.split(".")[0]


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def is_route(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any("router." in ast.unparse(d) for d in function.decorator_list)


def check(problems: list[str]) -> None:
    assert not problems, "\n" + "\n".join(problems)


def collection_uses(tree: ast.AST) -> Iterator[tuple[int, str, str]]:
    """Every `db.<collection>.<verb>` and `db["<collection>"].<verb>`, and what `leases` is given to
    claim from."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("leases."):
            for given in node.args:
                if isinstance(given, ast.Attribute) and ast.unparse(given.value) == "db":
                    yield node.lineno, given.attr, "update_one"
        if not isinstance(node, ast.Attribute):
            continue
        inner = node.value
        if isinstance(inner, ast.Attribute) and ast.unparse(inner.value) in {"db", "database.db"}:
            yield node.lineno, inner.attr, node.attr
        elif isinstance(inner, ast.Subscript) and ast.unparse(inner.value) in {"db", "database.db"}:
            key = inner.slice
            yield node.lineno, str(key.value) if isinstance(key, ast.Constant) else "*", node.attr


def companion_writes(tree: ast.AST) -> Iterator[tuple[int, str, str]]:
    """Every `Insert("<collection>", …)` and `Update("<collection>", …)`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            kind = ast.unparse(node.func).split(".")[-1]
            if kind in {"Insert", "Update"} and node.args:
                name = node.args[0]
                found = str(name.value) if isinstance(name, ast.Constant) else "*"
                yield node.lineno, found, kind


def test_every_module_is_in_the_ordered_list() -> None:
    files = {path.stem for path in ROOT.glob("*.py")}
    check([f"{name}.py is not in ORDER" for name in sorted(files - set(ORDER))])


def test_imports_point_backward() -> None:
    rank = {name: place for place, name in enumerate(ORDER)}
    check(
        [
            f"{file.name}:{line} {name} imports {other}, which stands after it"
            for name, file, tree in sources()
            for line, other in imports(tree)
            if other in rank and other != name and rank[other] > rank[name]
        ]
    )


def test_only_the_edges_know_the_vendors() -> None:
    only = {
        "motor": {"database"},
        "pymongo": {"database"},
        "bson": {"database"},
        "razorpay": {"gateway"},
        "jose": {"security"},
        "passlib": {"security"},
        "uvicorn": {"manage"},
        "sandbox": {"manage"},
        "tests": set(),
        "bench": set(),
    }
    check(
        [
            f"{file.name}:{line} {name} imports {other}"
            for name, file, tree in sources()
            for line, other in imports(tree)
            if other in only and name not in only[other]
        ]
    )


def test_the_sandbox_knows_nothing_of_the_products_insides() -> None:
    allowed = {"config", "clock", "money", "sandbox", "main", "database", "api", "errors"}
    problems = []
    for file in sorted((ROOT / "sandbox").glob("*.py")):
        for line, other in imports(ast.parse(file.read_text())):
            if other in ORDER and other not in allowed:
                problems.append(f"sandbox/{file.name}:{line} imports {other}")
    check(problems)


def test_calls_and_campaigns_reach_money_through_billing() -> None:
    check(
        [
            f"{file.name}:{line} {name} imports {other}; speak to billing"
            for name, file, tree in sources()
            if name in {"callbook", "callreports", "talktime", "calls", "phonebook", "campaigns"}
            for line, other in imports(tree)
            if other == "wallet"
        ]
    )


def test_the_ledger_only_grows_and_only_the_wallet_appends() -> None:
    problems = []
    for name, file, tree in sources():
        for line, collection, verb in collection_uses(tree):
            if collection in {"transactions", "*"} and verb in CHANGES and name != "database":
                problems.append(f"{file.name}:{line} may rewrite the ledger: {collection}.{verb}")
            if collection == "transactions" and verb in INSERTS and name != "transactions":
                problems.append(f"{file.name}:{line} inserts entries past transactions.append")
        for line, collection, kind in companion_writes(tree):
            if collection == "transactions":
                problems.append(f"{file.name}:{line} {kind} on the ledger")
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and ast.unparse(node.func) == "transactions.append"
                and name != "wallet"
            ):
                problems.append(f"{file.name}:{node.lineno} only wallet appends entries")
    check(problems)


def test_only_the_wallet_writes_balances() -> None:
    problems = []
    for name, file, tree in sources():
        if name == "wallet":
            continue
        for line, collection, verb in [*collection_uses(tree), *companion_writes(tree)]:
            if collection == "wallets" and verb not in READS:
                problems.append(f"{file.name}:{line} {name} writes wallets: {verb}")
    check(problems)


def test_a_collection_has_one_writing_module() -> None:
    problems = []
    for name, file, tree in sources():
        if name == "database":
            continue
        for line, collection, verb in [*collection_uses(tree), *companion_writes(tree)]:
            if verb not in WRITES | READS | {"Insert", "Update"}:
                continue
            if collection not in OWNER:
                if not (collection == "*" and verb in READS and name in READERS):
                    problems.append(f"{file.name}:{line} {collection} has no owner in OWNER")
            elif OWNER[collection] != name and not (verb in READS and name in READERS):
                problems.append(f"{file.name}:{line} {name} uses {collection}.{verb}")
    check(problems)


def test_routes_touch_no_storage_and_verbs_take_no_request() -> None:
    problems = []
    for name, file, tree in sources():
        if name in HTTP_BY_CHARTER:
            continue
        routes = [function for function in functions(tree) if is_route(function)]
        inside = {id(node) for route in routes for node in ast.walk(route)}
        for function in functions(tree):
            if id(function) in inside:
                continue
            for word in ("Request", "Depends("):
                if word in ast.unparse(function.args):
                    problems.append(f"{file.name}:{function.lineno} {function.name} takes {word}")
        problems += [
            f"{file.name}:{line} route {route.name} reaches into {collection}"
            for route in routes
            for line, collection, _ in collection_uses(route)
        ]
    check(problems)


def test_paise_are_never_divided_or_floated_outside_money() -> None:
    problems = []
    for name, file, tree in sources():
        if name == "money":
            continue
        for node in ast.walk(tree):
            divides = isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div | ast.FloorDiv)
            floats = isinstance(node, ast.Call) and ast.unparse(node.func) == "float"
            if (divides or floats) and "_paise" in ast.unparse(node):
                line = getattr(node, "lineno", 0)
                problems.append(f"{file.name}:{line} {ast.unparse(node)}")
    check(problems)


def test_no_name_is_borrowed() -> None:
    """No module shadows the standard library; no local name hides a module its file imports."""
    problems = [
        f"{n}.py shadows the standard library" for n in ORDER if n in sys.stdlib_module_names
    ]
    for _, file, tree in sources():
        mine = {other for _, other in imports(tree)} & set(ORDER)
        fields = {  # a model's field is an attribute: it hides nothing
            id(part.target)
            for model in ast.walk(tree)
            if isinstance(model, ast.ClassDef)
            for part in model.body
            if isinstance(part, ast.AnnAssign)
        }
        for node in ast.walk(tree):
            if id(node) in fields:
                continue
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in mine:
                problems.append(f"{file.name}:{node.lineno} `{node.id}` hides a module")
            if isinstance(node, ast.arg) and node.arg in mine:
                problems.append(f"{file.name}:{node.lineno} argument `{node.arg}` hides a module")
    check(problems)


def test_every_module_opens_with_its_charter_and_the_docs_say_the_same() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    problems = []
    for name, file, tree in sources():
        charter = (ast.get_docstring(tree) or "").split("\n")[0]
        if not charter.endswith("."):
            problems.append(f"{file.name}:1 the first docstring line must be one sentence")
        elif charter not in text:
            problems.append(f"{file.name}:1 {name}'s charter is not in docs/architecture.md")
    check(problems)


def test_public_functions_and_classes_say_what_they_mean() -> None:
    problems = []
    for _, file, tree in sources():
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not (
                node.name.startswith("_") or ast.get_docstring(node)
            ):
                problems.append(f"{file.name}:{node.lineno} {node.name} has no docstring")
    check(problems)


def test_modules_and_functions_stay_short() -> None:
    problems = []
    for _, file, tree in sources():
        lines = len(file.read_text().splitlines())
        if lines > LINES_MAX_MODULE:
            problems.append(f"{file.name} has {lines} lines: is a noun missing?")
        for function in functions(tree):
            length = (function.end_lineno or 0) - function.lineno + 1
            if length > LINES_MAX_FUNCTION:
                problems.append(f"{file.name}:{function.lineno} {function.name}: {length} lines")
    check(problems)


def test_no_money_rides_on_background_tasks() -> None:
    check(
        [
            f"{file.name}:{node.lineno} BackgroundTasks"
            for _, file, tree in sources()
            for node in ast.walk(tree)
            if isinstance(node, ast.Name | ast.Attribute)
            and ast.unparse(node).endswith("BackgroundTasks")
        ]
    )
