"""The console's source, read as far as its rules need: texts, their uses, modules and their imports."""

import gzip
import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).resolve().parent.parent.parent / "web"
TEXTS: Final = FOLDER / "texts"

_TOKEN: Final = re.compile(
    r"""\s+ | //[^\n]* | /\*.*?\*/ | (?P<text>"(?:[^"\\]|\\.)*") | (?P<name>[A-Za-z_$][\w$]*|\d+)
    | (?P<sign>[{}:,;])""",
    re.VERBOSE | re.DOTALL,
)


def sources() -> Iterator[tuple[str, str]]:
    """The name under web/ and the text of each module that is ours."""
    for path in sorted(FOLDER.rglob("*.js")):
        name = path.relative_to(FOLDER).as_posix()
        if not name.startswith("vendor/"):
            yield name, path.read_text(encoding="utf-8")


def code_of(text: str) -> str:
    """A module without its comments."""
    return re.sub(r"/\*.*?\*/|^\s*//[^\n]*", "", text, flags=re.DOTALL | re.MULTILINE)


def pages() -> dict[str, str]:
    """The module of each address that web/main.js knows."""
    text = (FOLDER / "main.js").read_text(encoding="utf-8")
    return dict(re.findall(r'^  "(/[\w/:-]*)": \(\) => import\("\./([\w/]+\.js)"\)', text, re.M))


# --- texts --------------------------------------------------------------------------------------


def texts(language: str) -> dict[str, str]:
    """The texts of a language, by their whole key: `actions.save`; ValueError where it is no plain object."""
    text = (TEXTS / f"{language}.js").read_text(encoding="utf-8")
    tokens = list(_tokens(text))
    start = next(i for i, token in enumerate(tokens) if token == ("name", "default")) + 1
    value, end = _value(tokens, start)
    if tokens[end:] not in ([("sign", ";")], []):
        raise ValueError(f"{language}: there is something behind the texts: {tokens[end:][:3]}")
    return dict(_flat(value, ""))


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise ValueError(f"no plain object at: {text[at : at + 40]!r}")
        at = found.end()
        if found.lastgroup is not None:
            yield found.lastgroup, found[found.lastgroup]


def _value(tokens: list[tuple[str, str]], at: int) -> tuple[Any, int]:
    kind, word = tokens[at]
    if kind == "text":
        return json.loads(word), at + 1
    if (kind, word) != ("sign", "{"):
        raise ValueError(f"a text or an object, not {word!r}")
    found: dict[str, Any] = {}
    at += 1
    while tokens[at] != ("sign", "}"):
        kind, word = tokens[at]
        key = json.loads(word) if kind == "text" else word
        if key in found:
            raise ValueError(f"{key!r} is there twice")
        if tokens[at + 1] != ("sign", ":"):
            raise ValueError(f"no value of {key!r}")
        found[key], at = _value(tokens, at + 2)
        if tokens[at] == ("sign", ","):
            at += 1
    return found, at + 1


def _flat(value: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield key, value
    else:
        for name, inner in value.items():
            yield from _flat(inner, f"{key}.{name}" if key else name)


def placeholders(text: str) -> set[str]:
    """The names that a text has a place for."""
    return set(re.findall(r"\{(\w+)\}", text))


def asked_for_as(key: str, keys: Collection[str]) -> str:
    """The key that a module names for this one: `t` chooses between `one` and `other` by the count."""
    base, _, last = key.rpartition(".")
    is_plural = last in ("one", "other") and {f"{base}.one", f"{base}.other"} <= set(keys)
    return base if is_plural else key


def named_keys(text: str) -> set[str]:
    """The keys that a module asks for by their whole name."""
    return set(re.findall(r'\bt\(\s*["\']([^"\'$]+)["\']', text))


def words(text: str) -> set[str]:
    """Every literal of a module that looks like a key: where it is chosen before it is asked for."""
    return set(re.findall(r"""["'`]([a-z][\w-]*(?:\.[\w-]+)*)["'`]""", text))


def groups(text: str) -> set[str]:
    """What a module asks for by a group and a value: t(`problems.${code}`). Not `named(group, value)`,
    which shows a value that has no text."""
    return set(re.findall(r"\bt\(\s*`([a-z]\w*(?:\.\w+)*)\.\$\{", text))


def beginnings(text: str) -> set[str]:
    """With what keys begin that a module puts together: `account.overlap_${seconds}`, and what it names
    by a group: named("roles", …)."""
    named = re.findall(r'\bnamed\(\s*["\'`]([\w.]+)["\'`]', text)
    return {f"{one}." for one in named} | set(re.findall(r"`([a-z][\w.]*[._])\$\{", text))


def imports(text: str) -> set[str]:
    """What a module imports, at once or later."""
    named = re.findall(r"""^(?:import|export)\s[^"'`;=()]*\bfrom\s*["']([^"']+)["']""", text, re.M)
    at_once = named + re.findall(r"""^import\s*["']([^"']+)["']""", text, re.M)
    return {*at_once, *re.findall(r"""\bimport\(\s*["']([^"']+)["']\s*\)""", text)}


# --- what a browser loads first -----------------------------------------------------------------

_IMPORT: Final = re.compile(r"""(?:from|^import)\s*["'](\.{1,2}/[^"']+)["']""", re.MULTILINE)


def loaded_by(*entries: str) -> list[str]:
    """The modules that these import, and theirs, and themselves."""
    found: list[str] = []
    waiting = list(entries)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.append(name)
        text = (FOLDER / name).read_text(encoding="utf-8")
        here = (FOLDER / name).parent
        waiting += [
            (here / each).resolve().relative_to(FOLDER).as_posix() for each in _IMPORT.findall(text)
        ]
    return sorted(found)


def packed_bytes(*names: str) -> int:
    """How large these files are on the way to a browser."""
    return sum(len(gzip.compress((FOLDER / name).read_bytes(), 9, mtime=0)) for name in names)
