"""The product keeps every rule of tests/project/architecture.py, and every rule finds what breaks it."""

import ast
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.project import architecture
from tests.project.architecture import LAYERS, ROOT, RULES, House, Rule

Files = dict[str, str]
PAGE = "docs/architecture.md"
BARE = "# a file without a docstring\n"


@pytest.fixture(scope="module")
def house() -> House:
    return architecture.read(ROOT)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_product_keeps_the_rule(rule: Rule, house: House) -> None:
    found = architecture.broken(rule, house)
    assert not found, "\n" + "\n".join(found)


def test_the_whole_product_is_read(house: House) -> None:
    paths = {source.path for source in house.sources}
    assert {"main.py", "core/database.py", "api/admin/customers.py", "sandbox/service.py"} <= paths
    assert "twilio.py" in {path.split("/")[-1] for path in paths}
    assert not any(path.startswith(("tests/", "docs/", ".venv/")) for path in paths)
    assert {"wallets", "transactions", "calls"} <= set(architecture.writers(house))


# --- a small house in which every rule is broken once -------------------------------------------

Build = Callable[[Files], Path]


def small_house() -> Files:
    """A file a room, and the few that the rules name; nothing in it breaks a rule."""
    files = {}
    for room in " ".join(LAYERS).replace("|", "").split():
        path = room if room.endswith(".py") else f"{room}/__init__.py"
        files[path] = f'"""The room {room}."""\n'
    for path in (
        "core/clock.py",
        "core/database.py",
        "core/money.py",
        "billing/charging.py",
        "calls/records.py",
        "calls/placing.py",
        "telephony/twilio.py",
        "telephony/simulator/__init__.py",
        "api/calls.py",
    ):
        files[path] = f'"""The file {path}."""\n'
    files["calls/records.py"] += 'from core import database\n\ndatabase.declare("calls")\n'
    files["wallet.py"] += 'from core import database\n\ndatabase.declare("wallets")\n'
    files["transactions.py"] += 'from core import database\n\ndatabase.declare("transactions")\n'
    return files


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Writes the small house with what is added to its files, and the page that belongs to it."""

    def write(added: Files) -> Path:
        files = small_house()
        for path, text in added.items():
            above = "" if text.startswith(BARE) else f'"""The file {path}."""\n'
            files[path] = text if path == PAGE else files.get(path, above) + text
        rows = ["```text", *LAYERS, "```"]
        for path, text in files.items():
            if path != PAGE:
                sentence = (ast.get_docstring(ast.parse(text)) or "").split("\n")[0]
                is_face = path.endswith("__init__.py")
                rows.append(sentence if is_face else f"| `{path}` | {sentence} |")
        files.setdefault(PAGE, "\n".join(rows))
        for path, text in files.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
        return tmp_path

    return write


def test_the_small_house_keeps_every_rule(build: Build) -> None:
    assert architecture.problems(build({})) == []


LONG = "".join(f"    number = {n}\n" for n in range(70))
ROUTE = "from core.database import db\n\n\n@router.get('/x')\nasync def x() -> None:\n"

# What is added to the small house -> the rule that it breaks, and where.
BROKEN: dict[str, tuple[Files, str, str]] = {
    "a new file at the root": ({"invoices.py": ""}, "every_room_has_its_layer", "invoices.py:1"),
    "a new package": ({"invoicing/pdf.py": ""}, "every_room_has_its_layer", "invoicing:1"),
    "an import upward": (
        {"core/clock.py": "import wallet\n"},
        "imports_point_down",
        "core/clock.py:2 imports wallet.py",
    ),
    "an import upward inside a function": (
        {"wallet.py": "\n\ndef _f() -> None:\n    from billing import charging\n"},
        "imports_point_down",
        "wallet.py:8 imports billing/charging.py",
    ),
    "an import upward for its types": (
        {
            "ledger.py": "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n"
            "    from users import User\n"
        },
        "imports_point_down",
        "ledger.py:5 imports users.py",
    ),
    "an import of a neighbour on the same line": (
        {"auth/__init__.py": "import telephony\n"},
        "imports_point_down",
        "auth/__init__.py:2 imports telephony/__init__.py",
    ),
    "money in from money out": (
        {"calls/placing.py": "import payments\n"},
        "imports_point_down",
        "calls/placing.py:2 imports payments.py across the two columns",
    ),
    "money out from money in": (
        {"disputes.py": "from billing.charging import settle\n"},
        "imports_point_down",
        "disputes.py:2 imports billing/charging.py across the two columns",
    ),
    "a circle": (
        {
            "calls/records.py": "from calls import placing\n",
            "calls/placing.py": "from calls import records\n",
        },
        "no_circles",
        "calls/placing.py:2 imports calls/records.py",
    ),
    "a circle by relative names": (
        {
            "calls/records.py": "from . import placing\n",
            "calls/placing.py": "from .records import Call\n",
        },
        "no_circles",
        "calls/placing.py:2 imports calls/records.py",
    ),
    "a circle of three, closed inside a function": (
        {
            "core/clock.py": "from core import money\n",
            "core/money.py": "import core.database\n",
            "core/database.py": "\n\ndef _f() -> None:\n    from core.clock import now\n",
        },
        "no_circles",
        "core/database.py:5 imports core/clock.py",
    ),
    "a second file that speaks to MongoDB": (
        {"wallet.py": "from pymongo.errors import PyMongoError\n"},
        "vendors_have_one_edge",
        "wallet.py:5 imports pymongo: only core/database.py may",
    ),
    "a second file that speaks to Razorpay": (
        {"payments.py": "import razorpay\n"},
        "vendors_have_one_edge",
        "payments.py:2 imports razorpay",
    ),
    "a second file that speaks to the networks": (
        {"campaigns/__init__.py": "import httpx\n"},
        "vendors_have_one_edge",
        "campaigns/__init__.py:2 imports httpx",
    ),
    "tokens outside of auth": (
        {"users.py": "from jose import jwt\n"},
        "vendors_have_one_edge",
        "users.py:2 imports jose",
    ),
    "FastAPI outside of the API": (
        {"billing/charging.py": "from fastapi import APIRouter\n"},
        "vendors_have_one_edge",
        "billing/charging.py:2 imports fastapi",
    ),
    "FastAPI in the sandbox": (
        {"sandbox/app.py": "import fastapi\n"},
        "vendors_have_one_edge",
        "sandbox/app.py:2 imports fastapi",
    ),
    "a server outside of manage": (
        {"main.py": "import uvicorn\n"},
        "vendors_have_one_edge",
        "main.py:2 imports uvicorn",
    ),
    "the tests in the product": (
        {"worker.py": "from tests import conftest\n"},
        "vendors_have_one_edge",
        "worker.py:2 imports tests",
    ),
    "the API imported from below": (
        {"worker.py": "from api import calls\n"},
        "the_api_is_imported_by_main_alone",
        "worker.py:2 imports api/calls.py",
    ),
    "the API imported by a command": (
        {"manage.py": "import api.calls\n"},
        "the_api_is_imported_by_main_alone",
        "manage.py:2 imports api/calls.py",
    ),
    "the sandbox looks into the wallet": (
        {"sandbox/app.py": "import wallet\n"},
        "the_sandbox_knows_nothing_of_the_product",
        "sandbox/app.py:2 imports wallet.py",
    ),
    "a call takes money by itself": (
        {"calls/placing.py": "import wallet\n"},
        "calls_and_campaigns_reach_money_through_billing",
        "calls/placing.py:2 imports wallet.py",
    ),
    "a campaign reads the entries": (
        {"campaigns/__init__.py": "from transactions import Entry\n"},
        "calls_and_campaigns_reach_money_through_billing",
        "campaigns/__init__.py:2 imports transactions.py",
    ),
    "a second writer": (
        {
            "calls/placing.py": "\n\nasync def _f() -> None:\n    await db.calls.update_one({}, {})\n"
        },
        "one_file_writes_a_collection",
        "calls/placing.py:5 calls.update_one: calls/records.py owns it",
    ),
    "a second writer by a companion write": (
        {"billing/charging.py": 'WRITE = database.Update("calls", {}, {})\n'},
        "one_file_writes_a_collection",
        "billing/charging.py:2 calls.Update",
    ),
    "a collection that is handed on": (
        {"billing/charging.py": "CALLS = db.calls\n"},
        "one_file_writes_a_collection",
        "billing/charging.py:2 calls.*",
    ),
    "a second reader": (
        {"worker.py": 'FOUND = database.db["calls"].find({})\n'},
        "one_file_writes_a_collection",
        "worker.py:2 calls.find",
    ),
    "a report that writes": (
        {"reporting/__init__.py": "DONE = db.calls.delete_many({})\n"},
        "one_file_writes_a_collection",
        "reporting/__init__.py:2 calls.delete_many",
    ),
    "a collection that nobody declares": (
        {"users.py": "FOUND = db.people.find({})\n"},
        "one_file_writes_a_collection",
        "users.py:2 nobody declares the collection people",
    ),
    "a collection that two declare": (
        {"worker.py": 'database.declare("calls")\n'},
        "one_file_writes_a_collection",
        "calls/records.py:4 declares calls, as worker.py does",
    ),
    "a collection without a name": (
        {"worker.py": "FOUND = db[name].find({})\n"},
        "one_file_writes_a_collection",
        "worker.py:2 find on a collection that the source does not name",
    ),
    "a balance that is changed outside of the wallet": (
        {"disputes.py": "DONE = db.wallets.update_one({}, {})\n"},
        "money_has_its_owners",
        "disputes.py:2 wallets.update_one: only wallet.py writes wallets",
    ),
    "an entry that is changed by its own file": (
        {"transactions.py": "DONE = db.transactions.update_one({}, {})\n"},
        "the_ledger_only_grows",
        "transactions.py:5 may rewrite the ledger: update_one",
    ),
    "an entry that is removed": (
        {"transactions.py": "DONE = db['transactions'].delete_many({})\n"},
        "the_ledger_only_grows",
        "transactions.py:5 may rewrite the ledger: delete_many",
    ),
    "a row of the audit log that is changed": (
        {"auth/audit_log.py": "DONE = db.audit_log.update_one({}, {})\n"},
        "the_ledger_only_grows",
        "auth/audit_log.py:2 may rewrite the audit log: update_one",
    ),
    "a change of any collection": (
        {"reporting/__init__.py": "DONE = db[name].delete_many({})\n"},
        "the_ledger_only_grows",
        "reporting/__init__.py:2 may rewrite the ledger: delete_many on any collection",
    ),
    "an entry as a companion write": (
        {"wallet.py": 'WRITE = Insert("transactions", {})\n'},
        "the_ledger_only_grows",
        "wallet.py:5 Insert on the ledger",
    ),
    "entries that somebody else appends": (
        {"payments.py": "import transactions\n\nDONE = transactions.append([])\n"},
        "the_ledger_only_grows",
        "payments.py:4 only wallet.py appends entries",
    ),
    "entries that are appended by another name": (
        {"refunds.py": "from transactions import append as put\n"},
        "the_ledger_only_grows",
        "refunds.py:2 only wallet.py appends entries",
    ),
    "a handler that an import registers": (
        {"campaigns/__init__.py": 'from core import outbox\n\noutbox.on("CallEnded", print)\n'},
        "handlers_stand_in_one_list",
        "campaigns/__init__.py:4 only worker.py registers handlers",
    ),
    "a handler that is registered by another name": (
        {"reconciliation/__init__.py": "from core.outbox import on as register\n"},
        "handlers_stand_in_one_list",
        "reconciliation/__init__.py:2 only worker.py registers handlers",
    ),
    "a route that reads MongoDB": (
        {"api/calls.py": ROUTE + "    await db.calls.find_one({})\n"},
        "routes_touch_no_collection",
        "api/calls.py:7 route x touches calls",
    ),
    "a route that writes MongoDB": (
        {"api/calls.py": ROUTE + '    await write([Insert("calls", {})])\n'},
        "routes_touch_no_collection",
        "api/calls.py:7 route x writes calls",
    ),
    "work in the background": (
        {"api/calls.py": "async def _f(tasks: fastapi.BackgroundTasks) -> None: ...\n"},
        "no_money_rides_on_background_tasks",
        "api/calls.py:2 BackgroundTasks",
    ),
    "paise that are divided": (
        {"billing/charging.py": "HALF = amount_paise / 2\n"},
        "only_money_divides_paise",
        "billing/charging.py:2 amount_paise / 2",
    ),
    "paise that are divided in place": (
        {"billing/charging.py": "amount_paise //= 2\n"},
        "only_money_divides_paise",
        "billing/charging.py:2 amount_paise //= 2",
    ),
    "paise as a float": (
        {"api/calls.py": "RUPEES = float(call.cost_paise)\n"},
        "only_money_divides_paise",
        "api/calls.py:2 float(call.cost_paise)",
    ),
    "a file that hides the standard library": (
        {"queue.py": ""},
        "no_room_shadows_another_package",
        "queue.py:1",
    ),
    "a package that hides the SDK": (
        {"razorpay/__init__.py": ""},
        "no_room_shadows_another_package",
        "razorpay:1",
    ),
    "a variable that hides a module": (
        {"payments.py": "import wallet\n\n\ndef _f() -> None:\n    wallet = 1\n"},
        "no_variable_hides_a_module",
        "payments.py:6 `wallet`",
    ),
    "an argument that hides a module of a package": (
        {"wallet.py": "from core import clock\n\n\ndef _f(clock: int) -> None: ...\n"},
        "no_variable_hides_a_module",
        "wallet.py:8 `clock`",
    ),
    "a module that does not say what it is": (
        {"api/admin/audit.py": BARE},
        "every_module_says_what_it_is",
        "api/admin/audit.py:1 the first line",
    ),
    "a sentence that the page does not have": (
        {"api/admin/audit.py": "", PAGE: "| `api/admin/audit.py` | Audits. |"},
        "every_module_says_what_it_is",
        "api/admin/audit.py:1 docs/architecture.md does not have",
    ),
    "a page with other layers": (
        {PAGE: "\n".join(["```text", *LAYERS[1:], "```"])},
        "the_page_shows_the_layers",
        "docs/architecture.md:1",
    ),
    "a function without a docstring": (
        {"wallet.py": "\n\ndef post() -> None: ...\n"},
        "public_names_say_what_they_mean",
        "wallet.py:7 post",
    ),
    "a class without a docstring": (
        {"wallet.py": "\n\nclass Wallet: ...\n"},
        "public_names_say_what_they_mean",
        "wallet.py:7 Wallet",
    ),
    "a function of 71 lines": (
        {"wallet.py": f"\n\nasync def _f() -> None:\n{LONG}"},
        "functions_stay_short",
        "wallet.py:7 _f: 71 lines",
    ),
    "a line that the formatter may not touch": (
        {"wallet.py": "X = 1  # fmt: skip\n"},
        "nothing_is_packed",
        "wallet.py:5 # fmt: skip",
    ),
    "a packed list": (
        {"wallet.py": 'NAMES = [*("a", "b"), "c"]\n'},
        "nothing_is_packed",
        "wallet.py:5 packed",
    ),
    "a packed dict": (
        {"wallet.py": 'NAMES = {**{"a": 1}, "b": 2}\n'},
        "nothing_is_packed",
        "wallet.py:5 packed",
    ),
    "a small module for one importer": (
        {
            "billing/charging.py": "from billing import charging_helpers\n",
            "billing/charging_helpers.py": "",
        },
        "a_small_module_has_more_than_one_importer",
        "billing/charging_helpers.py:1 1 lines for one importer, billing/charging.py",
    ),
    "a small module for one file that is no route file": (
        {
            "reporting/customers.py": "",
            "reporting/analytics.py": "",
            "api/fields.py": "from reporting import analytics, customers\n",
        },
        "a_small_module_has_more_than_one_importer",
        "reporting/customers.py:1 1 lines for one importer, api/fields.py",
    ),
    "a small module of core for one importer": (
        {
            "calls/records.py": "from core import leases, clock\n",
            "worker.py": "from core import clock\n",
            "core/leases.py": "",
        },
        "a_small_module_has_more_than_one_importer",
        "core/leases.py:1 1 lines for one importer, calls/records.py",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_breaks_a_rule_is_found(what: str, build: Build) -> None:
    added, rule, where = BROKEN[what]
    root = build(added)
    by_rule = {one.__name__: one for one in RULES}
    found = architecture.broken(by_rule[rule], architecture.read(root))
    assert len([line for line in found if line.startswith(where)]) == 1, found
    assert set(found) <= set(architecture.problems(root))


def test_every_rule_is_broken_once_at_least() -> None:
    assert {rule for _, rule, _ in BROKEN.values()} == {rule.__name__ for rule in RULES}


FACE = "from gateway.client import fetch\nfrom gateway.entities import Payment\n"

ALLOWED: dict[str, Files] = {
    "a new file in a package": {"reporting/customers.py": "", "api/admin/customers.py": ""},
    "imports downward, by module and by name": {
        "calls/placing.py": "import telephony\nfrom billing import charging\nfrom core import clock\n"
        "from users import User\n",
        "worker.py": "from core import clock\n",
    },
    "money in above the two columns": {"reconciliation/__init__.py": "import payments, billing\n"},
    "the owner of a collection": {
        "calls/records.py": "FOUND = db.calls.find_one_and_update({}, {})\nALL = db.calls\n"
    },
    "a report that reads everything": {
        "reporting/audit.py": "A = db.calls.find({})\nB = db[name].aggregate([])\n"
    },
    "two files of the simulator and its collection": {
        "telephony/simulator/adapter.py": 'database.declare("simulated_calls")\n',
        "telephony/simulator/runner.py": "DONE = db.simulated_calls.update_many({}, {})\n",
    },
    "a face, and what it hands on": {
        "gateway/client.py": "",
        "gateway/entities.py": "",
        "gateway/__init__.py": FACE,
        "payments.py": "import gateway\n",
        "disputes.py": "import gateway\n",
    },
    "an adapter": {
        "telephony/registry.py": "from telephony.twilio import Twilio\n" + "#\n" * 150,
        "telephony/twilio.py": '\n\nclass Twilio:\n    """One."""\n\n    can = object()\n',
    },
    "what only a route file calls": {
        "reporting/customers.py": "",
        "reporting/analytics.py": "",
        "api/admin/customers.py": "from reporting import customers\n\n\n@router.get('')\n"
        "async def _a() -> None: ...\n",
        "api/admin/analytics.py": "from reporting import analytics\n\n\n@router.get('')\n"
        "async def _a() -> None: ...\n",
    },
    "the one file of a package that others import": {
        "sandbox/service.py": "import main\n",
        "manage.py": "from sandbox import service\n",
    },
    "a web server in the sandbox": {"sandbox/app.py": "import starlette\nimport motor\n"},
    "telephony/http.py, which hides nothing": {"telephony/http.py": "import http\n"},
    "a field that is called like a module": {
        "api/calls.py": 'import wallet\n\n\nclass Out:\n    """One."""\n\n    wallet: int\n'
    },
    "paise that money.py divides": {"core/money.py": "HALF = amount_paise // 2\n"},
    "arguments that are spread": {"wallet.py": "X = [*names, *(n for n in names)]\n"},
    "a function of 70 lines": {
        "wallet.py": f"\n\ndef _f() -> None:\n{LONG.removesuffix(f'    number = {69}{chr(10)}')}"
    },
}


@pytest.mark.parametrize("what", ALLOWED)
def test_what_keeps_the_rules_is_let_through(what: str, build: Build) -> None:
    assert architecture.problems(build(ALLOWED[what])) == []


def test_the_rooms_floors_and_imports_are_counted(build: Build) -> None:
    root = build({"payments.py": "import wallet\nfrom wallet import x\nfrom core import clock\n"})
    counted = architecture.count(architecture.read(root))
    rooms = len(" ".join(LAYERS).replace("|", "").split())
    # core <- wallet <- payments; wallet, transactions and calls declare a collection
    assert counted == architecture.Count(files=len(small_house()), rooms=rooms, floors=3, imports=5)


def test_rooms_that_import_each_other_share_a_floor(build: Build) -> None:
    root = build({"core/clock.py": "import wallet\n", "payments.py": "import wallet\n"})
    assert architecture.count(architecture.read(root)).floors == 2
