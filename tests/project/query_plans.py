"""Query plans: every query of the product, the index that it uses, and what may read more than it gives.

    python -m tests.project.query_plans                   # explain the list, and say what is wrong
    python -m tests.project.query_plans --record          # with what the story of the test sends
    python -m tests.project.query_plans --record --suite  # with what all tests make the product send
    python -m tests.project.query_plans --record FOLDER   # with what runs with RECORD_QUERIES=FOLDER sent

`--prune` also drops what was not recorded. docs/testing.md says how the list is reviewed.
"""

import argparse
import contextlib
import dataclasses
import datetime as dt
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import bson
from bson import json_util
from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo import MongoClient, WriteConcern
from pymongo.errors import BulkWriteError, OperationFailure

import main as product
from core import database, embedded_mongodb
from tests.support import queries
from tests.support.queries import Document

LIST = Path(__file__).with_name("query_plans.json")
STORY = "tests/resilience/test_query_plans.py"

# A query may have this many documents (or keys) too many before it counts as one that reads more.
SLACK: Final = 40
_MATCHING = 130  # documents that a query finds
_NEAR = 150  # documents that miss one of its conditions, for each condition
_LIMIT = 50

# What an entry may have to explain, and the field that holds the explanation.
REASONS: Final = {
    "reads_all": "reads the whole collection",
    "reads_more": "reads documents or keys that it does not return",
    "sorts": "sorts in memory",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """How MongoDB carries a query out."""

    indexes: tuple[str, ...]
    reads_all: bool
    reads_more: int  # documents and keys that were examined and not returned
    sorts: bool

    def needs(self) -> set[str]:
        """Which of `REASONS` apply to it."""
        found = {"reads_all": self.reads_all, "sorts": self.sorts}
        found["reads_more"] = self.reads_more > SLACK and not self.reads_all
        return {name for name, applies in found.items() if applies}


def listed() -> dict[str, Document]:
    """The list: what is known of each query, by its text."""
    if not LIST.exists():
        return {}
    entries = json_util.loads(LIST.read_text(encoding="utf-8"), json_options=queries.AWARE)
    return {entry["query"]: entry for entry in entries}


def write(entries: Mapping[str, Document]) -> None:
    """Write the list: one query after the other, a line for each fact of it."""
    options = json_util.RELAXED_JSON_OPTIONS
    rows = []
    for text in sorted(entries):
        entry = entries[text]
        order = ["query", "asks", "indexes", *REASONS, "example"]
        lines = [
            f"  {json.dumps(name)}: "
            + json_util.dumps(entry[name], json_options=options, ensure_ascii=False)
            for name in order
            if name in entry
        ]
        rows.append(" {\n" + ",\n".join(lines) + "\n }")
    LIST.write_text("[\n" + ",\n".join(rows) + "\n]\n", encoding="utf-8")


# --- documents that make a wrong plan cost something --------------------------------------------

_MISSING = object()
_INTEGERS = {"seq", "row", "version", "rank"}
_BASE = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
_TYPES: dict[str, Any] = {"date": _BASE, "string": "some", "long": 1, "int": 1, "object": {}}


class _NotUnderstood(Exception):
    """A condition for which no document can be made."""


def documents_for(where: Document, filled: Sequence[str], sorted_by: Sequence[str]) -> list[Any]:
    """Documents that `where` finds, and for each of its conditions some that miss that one only.

    `filled` are fields that need a value of their own in each document.
    """
    atoms = list(_atoms(where))
    made: list[Document] = []
    for missed in (None, *range(len(atoms))):
        for n in range(_MATCHING if missed is None else _NEAR):
            document: Document = {"_id": f"doc{next(_numbers)}"}
            for name in (*filled, *sorted_by):
                if name != "_id":
                    _put(document, name, _spread(name, n) if name in sorted_by else _own(name))
            for place, atom in enumerate(atoms):
                for path, value in _chosen(atom, n, holds=place != missed):
                    _put(document, path, value)
            made.append(document)
    return made


_numbers = itertools.count(1)


def _own(name: str) -> Any:
    number = next(_numbers)
    return number if name.split(".")[-1] in _INTEGERS else f"own{number}"


def _spread(name: str, n: int) -> Any:
    number = n * 7_919 % 1_009
    if name.split(".")[-1] in _INTEGERS:
        return number * 100_000 + next(_numbers)
    return _BASE + dt.timedelta(seconds=number)


def _put(document: Document, path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for parent in parents:
        nested = document.setdefault(parent, {})
        if not isinstance(nested, dict):
            nested = document[parent] = {}
        document = nested
    if value is _MISSING:
        document.pop(last, None)
    else:
        document[last] = value


Atom = tuple[str, Any]


def _atoms(where: Mapping[str, Any]) -> Iterator[Atom]:
    for path, condition in where.items():
        if path == "$and":
            for each in condition:
                yield from _atoms(each)
        else:
            yield path, condition


def _chosen(atom: Atom, n: int, *, holds: bool) -> Iterator[tuple[str, Any]]:
    """Fields and values by which the condition holds, or does not."""
    path, condition = atom
    if path in ("$or", "$nor"):
        if holds == (path == "$or"):
            branch = condition[n % len(condition)]
            for each in _atoms(branch):
                yield from _chosen(each, n, holds=True)
        else:
            for branch in condition:
                first = next(_atoms(branch))
                yield from _chosen(first, n, holds=False)
    elif path.startswith("$"):
        raise _NotUnderstood(path)
    elif isinstance(condition, Mapping) and any(key.startswith("$") for key in condition):
        yield path, _within(condition, n, holds=holds)
    else:
        yield path, condition if holds else _other(condition)


def _other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, dt.datetime):
        return value + dt.timedelta(days=400)
    if isinstance(value, int | float):
        return value + 1_000_000
    return f"{value}~" if isinstance(value, str) else "other"


_UPPER, _LOWER = ("$lt", "$lte"), ("$gt", "$gte")


def _between(condition: Mapping[str, Any], n: int, *, holds: bool) -> Any:
    """A value in the range of this condition, the `n`th of many; or one beyond it."""
    upper = next((condition[name] for name in _UPPER if name in condition), None)
    lower = next((condition[name] for name in _LOWER if name in condition), None)
    part = (n * 7_919 % 1_009 + 1) / 1_010
    if isinstance(upper, str) or isinstance(lower, str):
        below = str(upper)[:-1] + f"!{n}" if upper is not None else f"{lower}~{n}"
        return below if holds else f"{upper}~" if upper is not None else ""
    if not holds:
        return _moved(upper, 1) if upper is not None else _moved(lower, -1)
    if upper is not None and lower is not None:
        inside = lower + (upper - lower) * part
        return int(inside) if isinstance(upper, int) else inside
    return _moved(upper, -part) if upper is not None else _moved(lower, part)


def _within(condition: Mapping[str, Any], n: int, *, holds: bool) -> Any:
    """A value for a field with these operators."""
    if any(name in _UPPER + _LOWER for name in condition):
        return _between(condition, n, holds=holds)
    for name, value in condition.items():
        if name == "$not":
            return _within(value, n, holds=not holds)
        if name in ("$ne", "$nin"):
            return _by_operator({"$ne": "$eq", "$nin": "$in"}[name], value, holds=not holds)
        return _by_operator(name, value, holds=holds)
    raise _NotUnderstood(str(condition))


def _by_operator(name: str, value: Any, *, holds: bool) -> Any:
    if name == "$eq":
        return value if holds else _other(value)
    if name == "$in" and value:
        return value[0] if holds else _other(value[0])
    if name == "$exists":
        return "there" if holds == bool(value) else _MISSING
    if name == "$elemMatch":
        element = {path: one for path, one in _chosen_all(value) if one is not _MISSING}
        return [element] if holds else []
    if name == "$type" and value in _TYPES:
        some = f"some{next(_numbers)}" if value == "string" else _TYPES[value]
        return some if holds else None
    raise _NotUnderstood(name)


def _chosen_all(where: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for atom in _atoms(where):
        yield from _chosen(atom, 0, holds=True)


def _moved(value: Any, by: float) -> Any:
    if isinstance(value, dt.datetime):
        return value + dt.timedelta(days=40 * by)
    if isinstance(value, int | float):
        return type(value)(value + 1_000_000 * by)
    raise _NotUnderstood(str(value))


# --- explain ------------------------------------------------------------------------------------


def explained(uri: str, entries: Mapping[str, Document]) -> dict[str, Plan]:
    """The plan of each of these queries, on a database of its own with the product's indexes and with
    documents that nearly match. Raises nothing for a plan that is bad."""
    client: MongoClient[Document] = MongoClient(uri, tz_aware=True)
    name = f"plans_{os.getpid()}"
    try:
        kept = client.get_database(name, write_concern=WriteConcern(w=1, j=False))
        with _classic_engine(client):
            for collection in sorted(
                {entry["example"]["collection"] for entry in entries.values()}
            ):
                _fill(kept, collection, [entry["example"] for entry in entries.values()])
            return {
                text: _plan_of(_explained(kept, _command(entry["example"])))
                for text, entry in entries.items()
            }
    finally:
        client.drop_database(name)
        client.close()


@contextlib.contextmanager
def _classic_engine(client: MongoClient[Document]) -> Iterator[None]:
    """The engine whose explanation counts each stage; the index is the same in both."""
    names: Document = {
        "internalQueryFrameworkControl": "forceClassicEngine",
        "internalQueryForceClassicEngine": True,  # what 6.0 calls it
    }
    before: Document = {}
    for name, value in names.items():
        with contextlib.suppress(OperationFailure):  # this version has no such parameter
            was = client.admin.command({"getParameter": 1, name: 1})[name]
            client.admin.command({"setParameter": 1, name: value})
            before[name] = was
    try:
        yield
    finally:
        for name, was in before.items():
            client.admin.command({"setParameter": 1, name: was})


def _fill(kept: Any, collection: str, examples: Sequence[Document]) -> None:
    _, indexes = database._declared.get(collection, (None, ()))
    # Without expiry: the documents here have fixed dates.
    models = [dataclasses.replace(index, expire_seconds=None).model() for index in indexes]
    if models:
        kept[collection].create_indexes(models)
    filled = {key.lstrip("-") for index in indexes if index.unique for key in index.keys}
    seen = set()
    for example in examples:
        if example["collection"] != collection or not example["filter"]:
            continue
        sort = tuple(dict(example.get("sort", {})))
        key = json_util.dumps([example["filter"], sort])
        if key in seen:
            continue
        seen.add(key)
        with contextlib.suppress(_NotUnderstood):
            documents = documents_for(example["filter"], sorted(filled), sort)
            try:
                kept[collection].insert_many(documents, ordered=False)
            except BulkWriteError as refused:
                # A unique index: then no two such documents exist.
                codes = {error["code"] for error in refused.details["writeErrors"]}
                if codes != {11000}:
                    raise


def _command(query: Document) -> Document:
    """The command by which a query is explained; it changes nothing."""
    collection, operation, where = query["collection"], query["operation"], query["filter"]
    nothing = {"$set": {"_explained": 1}}
    many, upsert = operation.endswith("Many"), "upsert" in query
    hint = {"hint": query["hint"]} if "hint" in query else {}
    if operation.startswith("update"):
        update = {"q": where, "u": nothing, "multi": many, "upsert": upsert, **hint}
        return {"update": collection, "updates": [update]}
    if operation.startswith("delete"):
        return {"delete": collection, "deletes": [{"q": where, "limit": int(not many), **hint}]}
    if operation == "aggregate":
        pipeline = [{"$match": where}, *query.get("pipeline", [])]
        return {"aggregate": collection, "pipeline": pipeline, "cursor": {}, **hint}
    if operation == "find":
        limit = {"limit": _LIMIT} if "limit" in query else {}
        sort = {"sort": bson.SON(query["sort"])} if "sort" in query else {}
        return {"find": collection, "filter": where, **sort, **limit, **hint}
    if operation == "findAndModify":
        sort = {"sort": bson.SON(query["sort"])} if "sort" in query else {}
        return {operation: collection, "query": where, "update": nothing, "upsert": upsert, **sort}
    key = {"key": query["key"]} if "key" in query else {}
    return {operation: collection, "query": where, **key, **hint}


def _explained(kept: Any, command: Document) -> Any:
    # It has dates that Python does not have: the ends of a range.
    options: CodecOptions[Document] = CodecOptions(
        datetime_conversion=DatetimeConversion.DATETIME_AUTO
    )
    return kept.command("explain", command, verbosity="executionStats", codec_options=options)


def _plan_of(explanation: Any) -> Plan:
    indexes: set[str] = set()
    reads_all, sorts, more = False, False, 0
    for stage in _stages(explanation):
        name = stage.get("stage", "")
        reads_all = reads_all or name == "COLLSCAN" or bool(stage.get("collectionScans"))
        sorts = sorts or name == "SORT"
        if name == "IDHACK":
            indexes.add("_id_")
        elif "indexName" in stage:
            indexes.add(stage["indexName"])
            if name == "IXSCAN":
                more += max(stage["keysExamined"] - stage["nReturned"], 0)
        elif name == "FETCH":
            more += max(stage["docsExamined"] - stage["nReturned"], 0)
        indexes |= set(stage.get("indexesUsed", ()))
    return Plan(tuple(sorted(indexes)), reads_all, more, sorts)


def _stages(explanation: Any, inside: bool = False) -> Iterator[Document]:
    """The executed stages of an explanation, wherever they stand in it."""
    if isinstance(explanation, list):
        for each in explanation:
            yield from _stages(each, inside)
    elif isinstance(explanation, Mapping):
        if (inside and "stage" in explanation) or "collectionScans" in explanation:
            yield dict(explanation)
        if "$sort" in explanation and "totalDataSizeSortedBytesEstimate" in explanation:
            yield {"stage": "SORT"}
        for key, each in explanation.items():
            if key not in ("queryPlanner", "command", "serverInfo"):
                yield from _stages(each, inside or key == "executionStages")


def problems(entries: Mapping[str, Document], plans: Mapping[str, Plan]) -> list[str]:
    """What is wrong with the list: an index that is not used, and what nobody has given a reason for."""
    found = []
    for text, plan in plans.items():
        entry = entries[text]
        said = {name for name in REASONS if entry.get(name)}
        # Where no index fits, MongoDB may take one today and another one tomorrow; where two fit
        # alike, both are listed.
        if not set(plan.indexes) <= set(entry.get("indexes", ())) and not said:
            found.append(f"{text}\n    uses {list(plan.indexes)}, not {entry.get('indexes')}")
        for name in sorted(plan.needs() - said):
            found.append(
                f"{text}\n    {REASONS[name]} ({plan.reads_more} too many): {entry['asks']}"
            )
    return found


# --- shards -------------------------------------------------------------------------------------

# docs/operations.md, "Growing": the collections that would have a shard key.
SHARD_KEYS: Final = dict.fromkeys(("wallets", "transactions", "calls", "orders"), "user_id")

_ONE = ("updateOne", "deleteOne", "findAndModify")


def not_for_shards(example: Document) -> str | None:
    """Why MongoDB 6.0 refuses this query on a sharded collection, or None.

    An update or a deletion of one document names the shard key or the exact `_id`; findAndModify and
    an upsert name the shard key.
    """
    key = SHARD_KEYS.get(example["collection"])
    if key is None or example["operation"] not in _ONE:
        return None
    named = {path for path, condition in _atoms(example["filter"]) if _is_equality(condition)}
    if key in named:
        return None
    if example["operation"] == "findAndModify" or "upsert" in example:
        return f"does not name the shard key {key}"
    return None if "_id" in named else f"names neither the shard key {key} nor the exact _id"


def _is_equality(condition: Any) -> bool:
    return not isinstance(condition, Mapping) or "$eq" in condition


# --- the command --------------------------------------------------------------------------------


def merged(
    known: Mapping[str, Document], found: Mapping[str, Document], *, prune: bool = False
) -> dict[str, Document]:
    """The list with what was recorded; an entry that is known stays as it is, with its reasons."""
    entries = {
        text: {
            "query": text,
            "asks": example["asks"],
            "example": {name: value for name, value in example.items() if name != "asks"},
        }
        for text, example in found.items()
    }
    for text, entry in known.items():
        if text in entries:
            entries[text] = {**entry, "asks": entries[text]["asks"]}
        elif not prune:
            entries[text] = entry
    return entries


def _is_asked(entry: Document) -> bool:
    """Whether the function that asks is still there, and the index that its query demands."""
    example = entry["example"]
    hint = example.get("hint")
    if hint and queries.keys_of_hint(example["collection"], hint) is None:
        return False
    parts = entry["asks"].split(".")
    for length in range(len(parts) - 1, 0, -1):
        path = queries.ROOT.joinpath(*parts[:length]).with_suffix(".py")
        if path.is_file():
            name = parts[length]
            return name.startswith("<") or f" {name}" in path.read_text(encoding="utf-8")
    return True  # by the access to the database itself


def _record(arguments: argparse.Namespace) -> dict[str, Document]:
    if arguments.record is not True:
        return queries.recorded(Path(arguments.record))
    with tempfile.TemporaryDirectory() as folder:
        what = ["-n", "2", "--dist", "loadfile", "tests"] if arguments.suite else [STORY]
        environment = {**os.environ, "RECORD_QUERIES": folder}
        command = [sys.executable, "-m", "pytest", *what]
        subprocess.run(command, env=environment, cwd=queries.ROOT, check=False)  # it may fail
        return queries.recorded(Path(folder))


def main() -> int:
    """The command line; 1 when the list has a problem."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", nargs="?", const=True, metavar="FOLDER")
    parser.add_argument("--suite", action="store_true", help="record all tests, not the story")
    parser.add_argument("--prune", action="store_true", help="drop what was not recorded")
    arguments = parser.parse_args()
    product.create_app()
    entries = known = listed()
    if arguments.record:
        entries = merged(known, _record(arguments), prune=arguments.prune)
        entries = {text: entry for text, entry in entries.items() if _is_asked(entry)}
    with tempfile.TemporaryDirectory() as folder:
        running = embedded_mongodb.start(folder)
        try:
            plans = explained(running.uri, entries)
        finally:
            running.stop()
    if arguments.record:
        for text, plan in plans.items():
            seen = entries[text].get("indexes", ())
            entries[text]["indexes"] = sorted({*seen, *plan.indexes})
        write(entries)
        for text in sorted(set(entries) - set(known)):
            print("new:", text)
        for text in sorted(set(known) - set(entries)):
            print("gone:", text)
    wrong = problems(entries, plans)
    refused = [(t, not_for_shards(e["example"])) for t, e in entries.items()]
    wrong += [f"{text}\n    {why}" for text, why in refused if why]
    print(f"{len(entries)} queries", *wrong, sep="\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
