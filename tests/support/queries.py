"""Queries that the product sends to MongoDB: recorded as shapes, values replaced by their types.

The driver itself says what it sends, so a query is seen whichever way the product sends it. Queries of
tests and of the sandbox are left out: the first file of this repository on the stack, apart from
`core/database.py` and its threads, is the one that asks.
"""

import contextvars
import datetime as dt
import json
import os
import re
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from bson import json_util
from pymongo import monitoring

from core import database

Document = dict[str, Any]

ROOT = Path(__file__).resolve().parent.parent.parent
_COMMANDS = {"find", "aggregate", "count", "distinct", "update", "delete", "findAndModify"}
_NOT_THE_PRODUCT = ("tests/", "sandbox/")
_FACE = ("core/database.py",)  # whoever calls it is the one that asks
_UNKNOWN = "core.database"
_EXAMPLE_VALUES = 3  # of a long `$in`

# Beside what modules declare: the record of the schema, and what the library of the rate limits keeps.
_UNDECLARED = {"meta", "rate_limit_counters", "rate_limit_windows"}

# Keys of a document that are values: the id of a call in `holds.call_01J…`, a place in a list.
_ID_IN_A_KEY = re.compile(r"^(?:[a-z]+_(?=\w*[0-9A-Z])[0-9A-Za-z]{8,}|[0-9a-f]{24,}|\d+)$")

# However it begins and ends: it is a range of an index.
_RANGE = dict.fromkeys(("$gt", "$gte", "$lt", "$lte"), "range")

_asking: contextvars.ContextVar[str | None] = contextvars.ContextVar("asking", default=None)


class Recorder(monitoring.CommandListener):
    """Every query that the product sends while it is switched on, once a shape.

    `shapes` maps the text of a shape to an example: the query with its values, and who asks.
    """

    def __init__(self) -> None:
        self.shapes: dict[str, Document] = {}
        self._lock = threading.Lock()
        self.is_on = False

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if not self.is_on or event.command_name not in _COMMANDS:
            return
        if event.database_name == "admin" or event.database_name.endswith("_sandbox"):
            return
        asking = _who_asks(sys._getframe()) or _asking.get() or _UNKNOWN
        if asking.startswith(_NOT_THE_PRODUCT):
            return
        for query in queries_of(event.command):
            if query["collection"] not in _of_the_product() or _asks_for_nothing(query):
                continue
            with self._lock:
                self.shapes.setdefault(text_of(query), {**shortened(query), "asks": asking})

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Nothing: a query counts when it is sent."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Nothing: a query counts when it is sent."""

    def write(self, folder: Path) -> None:
        """Keep what was recorded in a file of this process."""
        folder.mkdir(parents=True, exist_ok=True)
        whole = json_util.dumps(self.shapes, json_options=json_util.CANONICAL_JSON_OPTIONS)
        (folder / f"{os.getpid()}-{id(self)}.json").write_text(whole, encoding="utf-8")


_recorder: Recorder | None = None


def recorder() -> Recorder:
    """The recorder of this process. Ask before the first client is made: a client that is older than
    it is not heard."""
    global _recorder
    if _recorder is None:
        _recorder = Recorder()
        monitoring.register(_recorder)
        sends: Any = database.Pools._run

        def sends_for(pools: Any, *args: Any, **options: Any) -> Any:
            # The thread that sends has another stack, and a copy of this context.
            token = _asking.set(_who_asks(sys._getframe()) or _asking.get())
            try:
                return sends(pools, *args, **options)
            finally:
                _asking.reset(token)

        database.Pools._run = sends_for  # type: ignore[assignment, method-assign]
    return _recorder


def recorded(folder: Path) -> dict[str, Document]:
    """What all processes wrote into this folder, by the text of the shape."""
    shapes: dict[str, Document] = {}
    for path in sorted(folder.glob("*.json")):
        whole = json_util.loads(path.read_text(encoding="utf-8"), json_options=AWARE)
        shapes |= {text_of(query): query for query in whole.values()}
    return shapes


AWARE = json_util.JSONOptions(tz_aware=True, tzinfo=dt.UTC)


def _who_asks(frame: FrameType | None) -> str | None:
    """The first file and function of this repository on this stack; the file for tests."""
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith(f"{ROOT}/") and "/.venv/" not in path:
            path = path.removeprefix(f"{ROOT}/")
            if path.startswith(_NOT_THE_PRODUCT):
                own = path == "tests/support/queries.py"
                if not own:
                    return path
            elif path not in _FACE:
                module = path.removesuffix(".py").replace("/", ".")
                name = frame.f_code.co_qualname.replace(".<locals>", "")
                return f"{module}.{name}"
        frame = frame.f_back
    return None


# --- what a command asks ------------------------------------------------------------------------


def queries_of(command: Mapping[str, Any]) -> Iterator[Document]:
    """The queries in this command, each as collection, operation, filter, sort and what else matters
    to the plan; values as they are."""
    name = next(iter(command))
    collection = str(command[name])
    if name == "count" and not command.get("query"):
        return  # MongoDB's own count of the collection: no plan
    if name in ("update", "delete"):
        for each in command["updates" if name == "update" else "deletes"]:
            if name == "delete" and not each["q"]:
                continue  # a test empties its database; the product deletes nothing unseen
            many = each.get("multi", False) if name == "update" else each.get("limit") == 0
            yield _query(
                collection,
                name + ("Many" if many else "One"),
                each["q"],
                hint=each.get("hint"),
                upsert=each.get("upsert", False),
            )
    elif name == "aggregate":
        pipeline = list(command["pipeline"])
        if not pipeline or "$changeStream" not in pipeline[0]:
            first = pipeline[0].get("$match") if pipeline else None
            rest = pipeline if first is None else pipeline[1:]
            yield _query(collection, name, first or {}, pipeline=rest, hint=command.get("hint"))
    else:
        yield _query(
            collection,
            name,
            command.get("filter") or command.get("query") or {},
            sort=command.get("sort"),
            limit=bool(command.get("limit")),
            key=command.get("key"),
            hint=command.get("hint"),
            upsert=command.get("upsert", False),
        )


def _query(collection: str, operation: str, where: Any, **others: Any) -> Document:
    given = {name: value for name, value in others.items() if value}
    return {"collection": collection, "operation": operation, "filter": dict(where), **given}


def _of_the_product() -> set[str]:
    return _UNDECLARED | set(database._declared)


def _asks_for_nothing(query: Document) -> bool:
    """Whether it has an empty `$in`: MongoDB answers without a look at any document."""
    conditions = query["filter"].values()
    return any(isinstance(each, Mapping) and each.get("$in") == [] for each in conditions)


def text_of(query: Document) -> str:
    """The shape of this query in one line: the same for all values that use the same plan.

    A query with a hint has its plan: it only matters whether it names fields that are not in the index.
    """
    words = [query["collection"], query["operation"]]
    literals = _literals_of(query["collection"])
    where = shape_of(query["filter"], literals)
    if hint := query.get("hint"):
        inside = set(keys_of_hint(query["collection"], hint) or ())
        where = {} if inside.issuperset(_fields(where)) else "and fields beside the index"
    words.append(_written(where))
    if "pipeline" in query:
        words.append(_written([_stage(stage, literals) for stage in query["pipeline"]]))
    if "sort" in query:
        words.append("sort " + ", ".join(f"{k} {v}" for k, v in dict(query["sort"]).items()))
    words += [f"{name} {query[name]}" for name in ("key", "hint") if name in query]
    words += [name for name in ("limit", "upsert") if name in query]
    return " ".join(words)


def _fields(where: Any) -> set[str]:
    """The fields that a filter names, also inside of `$or`."""
    if isinstance(where, list):
        return set().union(*map(_fields, where))
    names = {name for name in where if not name.startswith("$")}
    return names.union(*(_fields(v) for k, v in where.items() if k in ("$or", "$and")))


def keys_of_hint(collection: str, hint: Any) -> tuple[str, ...] | None:
    """The fields of the declared index that a hint names (by its name or its keys); None: there is none."""
    _, indexes = database._declared.get(collection, (None, ()))
    for index in indexes:
        model = index.model().document
        if hint in (model["name"], dict(model["key"])) or hint == list(model["key"].items()):
            return tuple(key.lstrip("-") for key in index.keys)
    return None


def shortened(query: Document) -> Document:
    """The query with no more than a few values in each list."""

    def short(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: short(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [short(each) for each in value[:_EXAMPLE_VALUES]]
        return value

    whole = ("pipeline", "sort")
    return {k: (v if k in whole else short(v)) for k, v in query.items()}


def _stage(stage: Mapping[str, Any], literals: frozenset[str]) -> Any:
    (name, body), *_ = stage.items()
    if name == "$sort":
        return {name: dict(body)}
    if name in ("$match", "$lookup", "$unionWith"):
        return {name: shape_of(body, literals, is_expression=name != "$match")}
    if name == "$facet":
        return {name: {k: [_stage(s, literals) for s in v] for k, v in body.items()}}
    return name


def _literals_of(collection: str) -> frozenset[str]:
    """The strings on which a partial index of the collection depends: those stay in a shape."""
    _, indexes = database._declared.get(collection, (None, ()))
    found: set[str] = set()

    def collect(value: Any) -> None:
        if isinstance(value, Mapping):
            for key, each in value.items():
                if key != "$type":
                    collect(each)
        elif isinstance(value, list | tuple):
            for each in value:
                collect(each)
        elif isinstance(value, str):
            found.add(value)

    for index in indexes:
        collect(index.only_where or {})
    return frozenset(found)


def shape_of(
    value: Any, literals: frozenset[str] = frozenset(), *, is_expression: bool = False
) -> Any:
    """`value` with its values replaced by the names of their types; operators stay."""
    if isinstance(value, Mapping) and "$regex" in value:
        return "Regex"  # what it becomes when it is stored and read again
    if isinstance(value, Mapping):
        shaped = {
            _RANGE.get(k, _key(k)): v
            if k in ("$type", "coll", "from")  # the last two name collections
            else shape_of(v, literals, is_expression=is_expression or k == "$expr")
            for k, v in value.items()
        }
        if set(shaped) & {"$or", "$and", "$nor"}:
            for name in set(shaped) & {"$or", "$and", "$nor"}:
                shaped[name] = _distinct(shaped[name])
        return dict(sorted(shaped.items()))
    if isinstance(value, list | tuple):
        return _distinct([shape_of(v, literals, is_expression=is_expression) for v in value])
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return value if value in literals or (is_expression and value[:1] == "$") else "str"
    return {dt.datetime: "date", int: "int", float: "float"}.get(type(value), _name(value))


def _name(value: Any) -> str:
    return "int" if isinstance(value, int) else type(value).__name__


def _key(key: str) -> str:
    return ".".join("*" if _ID_IN_A_KEY.match(part) else part for part in key.split("."))


def _distinct(values: Sequence[Any]) -> list[Any]:
    by_text = {_written(value): value for value in values}
    return [by_text[text] for text in sorted(by_text)]


def _written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).replace('"', "")
