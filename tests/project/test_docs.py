"""The documents say what the code does: what can be run is run, what can be compared is compared."""

import ast
import asyncio
import importlib
import inspect
import json
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import SecretStr
from pymongo import MongoClient
from pymongo.errors import OperationFailure

import ledger
import main
import manage
from core import clock, config, embedded_mongodb, errors
from reporting import audit
from sandbox import faults
from sandbox import payments as sandbox_payments
from tests.project import architecture
from tests.project.architecture import CHANGES, collection_uses, companion_writes
from tests.support import payments as paying
from tests.support.processes import Processes, processes
from tests.support.service import ROOT, Person, Service, free_port, new_key

HOUSE = architecture.read(ROOT)
PRODUCT = [source for source in HOUSE.sources if source.room != "sandbox"]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text()
GUIDE = (DOCS / "WALLET_README.md").read_text()
API = (DOCS / "WALLET_API_DOCUMENTATION.md").read_text()
ARCHITECTURE = (DOCS / "architecture.md").read_text()
MONEY = (DOCS / "money.md").read_text()
OPERATIONS = (DOCS / "operations.md").read_text()

SCHEMA: dict[str, Any] = main.create_app().openapi()


def headings(text: str) -> list[tuple[int, int, str]]:
    """Line number, level and title of the headings; what stands in a fenced block is none."""
    found, is_fenced = [], False
    for number, line in enumerate(text.splitlines()):
        is_fenced ^= line.startswith("```")
        if not is_fenced and (head := re.fullmatch(r"(#+) (.*)", line)):
            found.append((number, len(head[1]), head[2]))
    return found


def section(text: str, title: str) -> str:
    """What stands under the heading `title`, up to the next one of its level or above."""
    known, lines = headings(text), text.splitlines(keepends=True)
    begin, level = next((n, level) for n, level, name in known if name == title)
    ends = (n for n, other, _ in known if n > begin and other <= level)
    return "".join(lines[begin + 1 : next(ends, len(lines))])


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


def rows(text: str) -> list[list[str]]:
    """The cells of the tables' rows, without their heads."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    is_rule = [set(line) <= set("|- ") for line in lines]
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line, here, below in zip(lines, is_rule, [*is_rule[1:], False], strict=True)
        if not here and not below
    ]


def check(problems: list[str]) -> None:
    assert not problems, "\n" + "\n".join(problems)


# --- all pages ----------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """What can be linked to on a page, as GitHub makes it from the headings."""
    titles = [title.lower() for _, _, title in headings(page.read_text())]
    return {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in titles}


def test_links_lead_somewhere() -> None:
    problems = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            if target.startswith("https://"):
                continue
            path, _, anchor = target.partition("#")
            there = (page.parent / path).resolve() if path else page
            if not there.exists():
                problems.append(f"{page.name}: {target} is not there")
            elif anchor and anchor not in anchors(there):
                problems.append(f"{page.name}: {target} has no such heading")
    check(problems)


def test_files_that_are_named_exist() -> None:
    packages = {source.room for source in HOUSE.sources if "/" in source.path}
    folders = "|".join(sorted({*packages, "tests", "docs", r"\.ci"}))
    form = re.compile(rf"`((?:{folders})/[\w./-]*|\w+\.(?:py|sh))`")
    check(
        [
            f"{page.name}: {name} is not there"
            for page in PAGES
            for name in form.findall(page.read_text())
            if not (ROOT / name).exists()
        ]
    )


def test_functions_that_are_named_exist() -> None:
    """`wallet.post` on a page is a function of the wallet."""
    problems = []
    for page in PAGES:
        for dotted in re.findall(r"`([a-z_]+(?:\.\w+)+)[`(]", page.read_text()):
            module, _, name = dotted.rpartition(".")
            known = module not in HOUSE.by_module or name in ("py", "md", "json")
            is_there = dotted in HOUSE.by_module
            if not (known or is_there or hasattr(importlib.import_module(module), name)):
                problems.append(f"{page.name}: there is no {dotted}")
    check(problems)


def test_blocks_are_what_they_say() -> None:
    problems = []
    for page in PAGES:
        text = page.read_text()
        for block in blocks(text, "json"):
            try:
                json.loads(block)
            except ValueError as problem:
                problems.append(f"{page.name}: {problem}: {block[:60]}")
        for block in blocks(text, "bash"):
            said = subprocess.run(
                ["bash", "-n", "-c", block], capture_output=True, text=True, check=False
            )
            if said.returncode:
                problems.append(f"{page.name}: {said.stderr}")
    check(problems)


# --- README -------------------------------------------------------------------------------------


def differences(script: str, printed: str) -> list[str]:
    """Where what was printed is not what the `#>` lines promise; `…` stands for anything."""
    promised = [line.removeprefix("#> ") for line in script.splitlines() if line.startswith("#> ")]
    lines = printed.splitlines()
    found = [
        f"promised {promise!r}, printed {line!r}"
        for promise, line in zip(promised, lines, strict=False)
        if not re.fullmatch(".+".join(map(re.escape, promise.split("…"))), line)
    ]
    if len(promised) != len(lines):
        found.append(f"{len(promised)} lines promised, {len(lines)} printed:\n{printed}")
    return found


def test_a_promise_that_is_not_kept_is_noticed() -> None:
    script = "say\n#> id …, 5.00\n"
    assert not differences(script, "id 7, 5.00\n")
    assert differences(script, "id 7, 5.01\n")
    assert differences(script, "id , 5.00\n")
    assert differences(script, "id 7, 5.00\nand more\n")
    assert differences(script, "")


async def test_the_flow_of_the_readme_prints_what_the_readme_says(tmp_path: Path) -> None:
    scripts = blocks(section(README, "The whole flow in curl"), "bash")
    assert len(scripts) == 1, "the flow is one script"
    async with processes(tmp_path) as whole:
        bash = await asyncio.create_subprocess_exec(
            *("bash", "-eu", "-o", "pipefail", "-c", scripts[0]),
            env={"PATH": os.environ["PATH"], "BASE": whole.settings.own_url},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        printed, complaints = await asyncio.wait_for(bash.communicate(), 60)
        assert bash.returncode == 0, complaints.decode()
    found = differences(scripts[0], printed.decode())
    assert not found, "\n".join(found)


def test_the_readme_shows_what_the_start_prints() -> None:
    chosen = config.Settings(
        _env_file=None,
        port=8000,
        jwt_secret=SecretStr("x"),
        admin_email="admin@example.com",
        admin_password=SecretStr("(a fresh password)"),
        app_env="development",
    )
    shown = blocks(section(README, "Two commands"), "text")[0]
    assert "\n".join(manage._greeting(chosen)).strip("\n") == shown.strip("\n")


# --- the guide ----------------------------------------------------------------------------------


def test_the_guide_has_every_setting_as_the_example_has_it() -> None:
    said = {
        name.strip("`"): (default, meaning)
        for name, default, meaning in rows(section(GUIDE, "Configuration"))
    }
    expected, above = {}, ""
    for line in (ROOT / ".env.example").read_text().splitlines():
        if line.startswith("#"):
            above = line.removeprefix("# ")
        elif "=" in line:
            name, value = line.split("=", 1)
            default = {"": "empty", "change-me": "a fresh secret"}.get(value, f"`{value}`")
            expected[name] = (default, above)
    assert said == expected


def test_the_guide_has_every_refusal_of_a_start() -> None:
    """By the variable that each refusal names, which is how a person looks it up."""
    everywhere = (config._secret_problems, config._amount_problems)
    for functions, title in (
        ((config.problems, *everywhere), "It does not start"),
        ((config._production_problems,), "Going live"),
    ):
        source = "\n".join(map(inspect.getsource, functions))
        texts = [
            node.value
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        names = {found[0] for text in texts if (found := re.match(r"[A-Z]+_[A-Z_]+", text))}
        assert len(names) >= 6
        there = section(GUIDE, title)
        check([f"{title}: {name} is missing" for name in names if f"`{name}`" not in there])


def test_the_guide_has_every_card_and_every_fault() -> None:
    cards, kinds = rows(section(GUIDE, "Paying with test cards")), faults.KINDS
    said = {cell[0].replace(" ", ""): cell[1] for cell in cards if cell[0][0].isdigit()}
    assert said == {number: card.means for number, card in sandbox_payments.CARDS.items()}
    table = {kind.strip("`"): means for kind, means in rows(section(GUIDE, "Faults on request"))}
    assert table == kinds


# --- the API ------------------------------------------------------------------------------------

# What the page says once for all, under "What holds everywhere".
EVERYWHERE = {
    *("service_unavailable", "not_authenticated", "validation_error"),
    *("malformed_body", "body_too_large", "unsupported_media_type"),
    *("forbidden", "missing_scope"),
    *("account_disabled", "foreign_origin"),
    *("password_change_required", "second_factor_setup_required"),
}


def endpoints() -> dict[str, str]:
    """`METHOD /path` and what the page says about it."""
    parts = re.split(
        r"^### ((?:GET|POST|PUT|PATCH|DELETE) \S+)\n", API.split("## Error codes")[0], flags=re.M
    )
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def operations() -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": described
        for path, methods in SCHEMA["paths"].items()
        for method, described in methods.items()
    }


def test_every_endpoint_is_on_the_page_and_no_other() -> None:
    assert set(endpoints()) == set(operations())


def test_each_endpoint_names_the_errors_that_it_has() -> None:
    problems = []
    for name, described in operations().items():
        known = {
            (int(status), code)
            for status, answer in described["responses"].items()
            if int(status) >= 400
            for code in re.findall(r"^`(\w+)`: ", answer["description"], re.M)
            if code not in EVERYWHERE
        }
        line = re.search(r"^Errors: (.*)$", endpoints()[name], re.M)
        said = re.findall(r"(\d{3}) `(\w+)`", line[1]) if line else []
        if name.startswith("GET /problems"):
            continue
        if {(int(status), code) for status, code in said if code not in EVERYWHERE} != known:
            problems.append(f"{name}: {sorted(known)}")
    check(problems)


def test_each_parameter_is_named() -> None:
    check(
        [
            f"{name}: {asked['name']}"
            for name, described in operations().items()
            for asked in described.get("parameters", [])
            if asked["in"] == "query" and asked["name"] != "token"
            if not re.search(rf"[`?]{asked['name']}\b", endpoints()[name])
            # "The same filters" stand one section above.
            and not (name.endswith("/download") and f"`{asked['name']}`" in API)
        ]
    )


def misfit(value: Any, schema: dict[str, Any], place: str = "") -> list[str]:
    """Where an example is not what OpenAPI promises: missing, unknown and mistyped members."""
    if "$ref" in schema:
        named: dict[str, Any] = SCHEMA["components"]["schemas"][schema["$ref"].split("/")[-1]]
        return misfit(value, named, place)
    if "anyOf" in schema:
        tries = [misfit(value, one, place) for one in schema["anyOf"]]
        return min(tries, key=len)
    kinds: dict[str, Any] = {
        **{"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)},
        **{"number": (int, float), "integer": int},
    }
    kind = schema.get("type")
    if kind is not None and not isinstance(value, kinds[kind]):
        return [f"{place} is no {kind}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{place} is none of {schema['enum']}"]
    if kind == "array":
        return [p for one in value for p in misfit(one, schema["items"], f"{place}[]")]
    if kind != "object" or "properties" not in schema:
        return []
    problems = [f"{place}.{n} is missing" for n in schema.get("required", []) if n not in value]
    for name, member in value.items():
        if name in schema["properties"]:
            problems += misfit(member, schema["properties"][name], f"{place}.{name}")
        elif not schema.get("additionalProperties"):
            problems.append(f"{place}.{name} is not in OpenAPI")
    return problems


def test_the_examples_of_answers_are_what_openapi_promises() -> None:
    problems, seen = [], 0
    for name, text in endpoints().items():
        answers = operations()[name]["responses"]
        for status, body in re.findall(r"^Answer (\d+).*?^```json\n(.*?)^```$", text, re.M | re.S):
            assert status in answers, f"{name} never answers {status}"
            schema = answers[status]["content"]["application/json"]["schema"]
            problems += [f"{name} {status}: {p}" for p in misfit(json.loads(body), schema)]
            seen += 1
        for body in blocks(text, "json"):
            problem = json.loads(body)
            if "code" in problem and "status" in problem:
                assert set(problem) >= {"type", "title", "status", "detail", "code"}, body
                assert f"`{problem['code']}`" in answers[str(problem["status"])]["description"]
    check(problems)
    assert seen >= 30


def test_the_examples_of_requests_are_what_openapi_asks_for() -> None:
    problems, seen = [], 0
    for name, text in endpoints().items():
        content = operations()[name].get("requestBody", {}).get("content", {})
        before = text.split("Answer 20")[0]
        for body in blocks(before, "json"):
            schema = content["application/json"]["schema"]
            problems += [f"{name}: {p}" for p in misfit(json.loads(body), schema)]
            seen += 1
    check(problems)
    assert seen >= 7


def test_every_code_is_in_the_table_with_its_status_and_its_meaning() -> None:
    kinds, expected = [errors.Problem], {}
    for kind in kinds:
        kinds += kind.__subclasses__()
        if "code" in vars(kind):
            meaning = " ".join((kind.__doc__ or "").split("\n\n")[0].split())
            expected[kind.status, kind.code] = meaning
    table = rows(section(API, "Error codes"))
    assert {(int(s), code.strip("`")): meaning for s, code, meaning in table} == expected


def test_the_javascript_asks_for_what_there_is() -> None:
    script = "\n".join(blocks(API, "js"))
    asked = set(re.findall(r"/api/[\w/-]+", script))
    assert len(asked) >= 6
    assert asked <= set(SCHEMA["paths"])


def test_the_openapi_file_is_what_the_code_says() -> None:
    kept = json.loads((DOCS / "openapi.json").read_text())
    assert kept == json.loads(json.dumps(SCHEMA)), "run `make openapi`"


# --- architecture -------------------------------------------------------------------------------


def test_the_collections_on_the_page_are_those_of_the_code() -> None:
    said = {
        name.strip("` "): owner.strip("`")
        for names, owner, _ in rows(section(ARCHITECTURE, "Collections"))
        for name in names.split(",")
    }
    assert said == architecture.writers(HOUSE)


def test_where_to_find_what_has_its_answers() -> None:
    answers = rows(section(ARCHITECTURE, "Where do I find what"))
    assert len(answers) >= 20
    assert all("`" in file for _, file in answers)


def test_every_requirement_has_its_reason() -> None:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    required = [line.split("==")[0] for line in lines if not line.startswith("#")]
    reasons = rows(section(ARCHITECTURE, "Why each dependency is there"))
    assert [cells[0].strip("`") for cells in reasons] == required


def test_every_decision_is_in_the_index() -> None:
    index = (DOCS / "adr" / "README.md").read_text()
    files = sorted(path.name for path in (DOCS / "adr").glob("0*.md"))
    assert re.findall(r"\((0\d{3}-[\w-]+\.md)\)", index) == files
    for name in files:
        title = (DOCS / "adr" / name).read_text().splitlines()[0].split(". ", 1)[1]
        assert f"]({name}) | {title} |" in index, name


# --- money --------------------------------------------------------------------------------------


def test_categories_and_accounts_are_those_of_the_ledger() -> None:
    table = rows(section(MONEY, "Entries"))
    categories = {c[0].strip("`"): c[2] for c in table if len(c) == 3}
    assert set(categories) == set(get_args(ledger.Category))
    comments = dict(re.findall(r'^    "(\w+)",  # (.*)$', inspect.getsource(ledger), re.M))
    assert categories == comments
    accounts = {c[0].strip("`") for c in table if len(c) == 2}
    assert accounts == set(get_args(ledger.Contra))


def test_every_invariant_has_its_function() -> None:
    table = rows(section(MONEY, "The invariants, and the audit").split("\n### ")[0])
    assert [cells[0] for cells in table] == ["1", "2", "3", "4", "4", "5", "6"]
    for _, _, by in table:
        for name in re.findall(r"`([\w.]+)`", by.split("the sources")[0]):
            found: Any = audit
            for part in name.split("."):
                found = getattr(found, part)
            assert callable(found)


async def test_the_python_of_the_page_follows_a_real_chain(service: Service) -> None:
    person = await service.signup()
    for rupees in (100, 50):
        await service.fund(person, rupees)
    body = {
        "to": "+919876543210",
        "simulate": {"outcome": "completed", "duration_seconds": 7, "wall_seconds": 0},
    }
    call = (await service.post("/api/call", person, json=body)).json()
    while not call["ended_at"]:
        await asyncio.sleep(0.05)
        call = (await service.get(f"/api/calls/{call['call_id']}", person)).json()
    page: dict[str, Any] = {}
    exec(blocks(section(MONEY, "The hash chain"), "python")[0], page)
    uri = service.settings.mongodb_uri
    with MongoClient[dict[str, Any]](uri, tz_aware=True) as client:
        database = client[service.settings.mongodb_db]
        entries = list(database.transactions.find({"user_id": person.id}).sort("seq"))
        stored = database.wallets.find_one({"user_id": person.id})
    assert stored is not None
    assert len(entries) == 3
    assert page["head_of"](entries) == stored["head_hash"]
    for entry in entries:
        with pytest.raises(AssertionError):
            page["head_of"]([{**e, "amount_paise": 1} if e is entry else e for e in entries])


# --- operations ---------------------------------------------------------------------------------


def test_the_lines_to_watch_for_are_in_the_code() -> None:
    code = "\n".join(source.text for source in PRODUCT)
    watched = [cells[0] for cells in rows(section(OPERATIONS, "Watching"))]
    lines = [cell for cell in watched if "(ERROR)" in cell or "(WARNING)" in cell]
    assert len(lines) >= 15
    for line in lines:
        for piece in re.split("…|20", re.findall("`(.*)`", line)[0]):
            assert piece.strip() in code, line


def test_the_metrics_to_watch_are_there() -> None:
    code = "\n".join(source.text for source in PRODUCT)
    named = [c[0].strip("`") for c in rows(section(OPERATIONS, "Watching")) if "(" not in c[0]]
    assert len(named) >= 5
    check([name for name in named if f'"{name}"' not in code])


def test_the_role_allows_every_change_that_the_code_makes_and_none_of_an_entry() -> None:
    page = section(OPERATIONS, "The role that makes the ledger insert-only")
    allowed: dict[str, set[str]] = {}
    for privilege in json.loads(blocks(page, "json")[0])["privileges"]:
        allowed[privilege["resource"]["collection"]] = set(privilege["actions"])
    assert not {"update", "remove"} & allowed[""]
    assert "transactions" not in allowed
    missing = set()
    for source in PRODUCT:
        changes = [*collection_uses(source.tree), *companion_writes(source.tree)]
        for _, collection, verb in changes:
            if verb in CHANGES | {"Update"} and collection not in ("*", "transactions"):
                action = "remove" if "delete" in verb else "update"
                if action not in allowed.get(collection, set()):
                    missing.add((collection, action))
    assert not missing


def test_the_newest_version_in_the_changelog_is_this_one() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    newest = re.search(r"^## (\d\S*)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert newest is not None
    assert newest[1] == version == SCHEMA["info"]["version"]


@pytest.fixture
def guarded_mongod(tmp_path: Path) -> Iterator[int]:
    """The port of a real one-node replica set that asks for passwords; its admin is root:root."""
    port, key = free_port(), tmp_path / "keyfile"
    key.write_text("aKeyThatTheMembersShare0123456789abc")
    key.chmod(0o600)
    (tmp_path / "guarded").mkdir()
    process = subprocess.Popen(
        [
            *(
                embedded_mongodb.find_binary(),
                "--dbpath",
                tmp_path / "guarded",
                "--port",
                str(port),
            ),
            *("--replSet", "rs0", "--bind_ip", "127.0.0.1", "--nounixsocket", "--keyFile", key),
            *("--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "64"),
            *("--logpath", tmp_path / "guarded.log"),
        ],
        stdout=subprocess.DEVNULL,
    )
    try:
        with MongoClient[dict[str, Any]](
            f"mongodb://127.0.0.1:{port}/?directConnection=true", serverSelectionTimeoutMS=30_000
        ) as first:
            members = [{"_id": 0, "host": f"127.0.0.1:{port}"}]
            first.admin.command({"replSetInitiate": {"_id": "rs0", "members": members}})
            while not first.admin.command("hello")["isWritablePrimary"]:
                assert process.poll() is None
            first.admin.command({"createUser": "root", "pwd": "root", "roles": ["root"]})
        yield port
    finally:
        process.terminate()
        process.wait(30)


async def test_under_the_role_of_the_operations_page_the_service_runs_and_entries_stay(
    guarded_mongod: int, tmp_path: Path
) -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    role = json.loads(
        blocks(section(page, "The role that makes the ledger insert-only"), "json")[0]
    )
    address = f"127.0.0.1:{guarded_mongod}"
    with MongoClient[dict[str, Any]](f"mongodb://root:root@{address}/?replicaSet=rs0") as root:
        root["wallet"].command(role)
        sandbox = {"role": "readWrite", "db": "wallet_sandbox"}  # as the page says of the sandbox
        roles = [role["createRole"], sandbox]
        root["wallet"].command({"createUser": "wallet", "pwd": "secret", "roles": roles})
    uri = f"mongodb://wallet:secret@{address}/?replicaSet=rs0&authSource=wallet"
    whole = Processes(tmp_path)
    whole.settings = whole.service.settings = whole.settings.model_copy(update={"mongodb_uri": uri})
    config.use(whole.settings)
    try:
        await whole.start()
        await everything_moves(whole)
        assert "not authorized" not in (tmp_path / "service.log").read_text()
    finally:
        await whole.stop()
        await whole.client.aclose()
        config.use(None)
    with MongoClient[dict[str, Any]](uri) as service:
        entries, rows = service["wallet"]["transactions"], service["wallet"]["audit_log"]
        one = entries.find_one()
        assert one is not None
        for forbidden in (
            lambda: entries.update_one({"_id": one["_id"]}, {"$set": {"amount_paise": 1}}),
            lambda: entries.replace_one({"_id": one["_id"]}, one),
            lambda: entries.delete_one({"_id": one["_id"]}),
            entries.drop,
            lambda: service.drop_database("wallet"),
            lambda: entries.aggregate([{"$limit": 1}, {"$out": "transactions"}]),
            lambda: rows.update_one({}, {"$set": {"action": "nothing"}}),
            lambda: rows.delete_many({}),
        ):
            with pytest.raises(OperationFailure, match="not authorized"):
                forbidden()
        assert entries.find_one({"_id": one["_id"]}) == one
        assert rows.count_documents({"outcome": "done"}) > 0


async def everything_moves(whole: Processes) -> None:
    """A recharge, a call that is charged, a campaign, a refund, a dispute, a correction, a freeze, the
    reconciliation, a log-out, a wrong password, the audit."""
    service, person = whole.service, await whole.service.signup()
    await whole.recharge(person, 100)
    call = (await whole.place(person)).json()
    assert (await whole.call_back(call)).status_code == 204
    body = {
        "name": "A",
        "numbers": ["+919876543210", "+919876543211"],
        "simulate": {"outcome": "completed", "duration_seconds": 6, "wall_seconds": 0.2},
    }
    made = await service.post("/api/campaigns", person, json=body)
    assert made.status_code == 201, made.text
    path = f"/api/campaigns/{made.json()['campaign_id']}"
    while (campaign := (await service.get(path, person)).json())["status"] != "completed":
        assert campaign["status"] == "running"
        await asyncio.sleep(0.1)
    assert campaign["counts"]["answered"] == 2
    assert (await service.balance(person))["balance"] == 93.0
    wrong = {"email": person.email, "password": "not the password"}
    assert (await service.post("/api/auth/login", json=wrong)).status_code == 401
    admin = await service.admin()
    a_month_ago = clock.ist_date(clock.after(-30 * 86_400))
    metrics = await service.get(f"/api/admin/metrics?from={a_month_ago}", admin)
    assert metrics.status_code == 200, metrics.text
    await money_goes_back(service, person, admin)
    report = (await service.get("/api/admin/audit", admin)).json()
    assert report["ok"], report["violations"]
    assert (await service.post("/api/auth/logout", person)).status_code == 204
    assert (await service.get("/api/auth/me", person)).status_code == 401


async def money_goes_back(service: Service, person: Person, admin: Person) -> None:
    order = (await service.get("/api/payment/orders", person)).json()["orders"][0]
    payment_id = order["payment_id"]
    user, why = f"/api/admin/users/{person.id}", {"reason": "as agreed"}
    await paying.outside(service, f"/payments/{payment_id}/disputes", amount=1_000)
    posts: dict[str, tuple[int, dict[str, Any]]] = {
        "/api/payment/refunds": (201, {"payment_id": payment_id, "amount": 10, **why}),
        f"{user}/adjustments": (201, {"type": "credit", "amount": 5, **why}),
        f"{user}/freeze": (200, why),
        f"{user}/unfreeze": (200, why),
        "/sandbox/settle": (201, {}),
        "/api/admin/reconciliation/run": (200, {"older_than_minutes": 0}),
    }
    for path, (status, body) in posts.items():
        answer = await service.post(path, admin, json=body, headers=new_key())
        assert answer.status_code == status, answer.text
    assert answer.json()["unanswered"] == []
    for path in ("disputes", "settlements", "reconciliation"):
        found = (await service.get(f"/api/admin/{path}", admin)).json()
        assert found.get(path, True), path
