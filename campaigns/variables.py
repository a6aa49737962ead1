"""Message variables: `{{name}}` in what a campaign says, filled from the columns of its list."""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple, TypedDict

from core import texts
from core.errors import Problem, invalid

# --- vocabulary ---------------------------------------------------------------------------------

# `{{name}}`, or with what is said for an empty cell: `{{name|friend}}`.
_VARIABLE: Final = re.compile(r"\{\{([^{}|]*)(?:\|([^{}]*))?\}\}")
_BRACES: Final = re.compile(r"\{\{|\}\}")
VARIABLES_MAX: Final = 20
# What a cell becomes in speech is no longer than this.
VALUE_LENGTH_MAX: Final = 200
BLANK_ROWS_MAX: Final = 10


class Variable(NamedTuple):
    """A variable of a message; `default` is said when the cell is empty, None: nothing may be."""

    name: str
    default: str | None


class ColumnBlanks(TypedDict):
    """How many rows of a list have nothing in a column, and which are the first of them."""

    count: int
    rows: list[int]


class MissingVariable(Problem):
    """The list has no value for a variable of the message."""

    code, status, title = "missing_variable", 422, "Missing variable"


# --- verbs --------------------------------------------------------------------------------------


def variables_of(message: str | None) -> list[Variable]:
    """The variables of a message in their order, each once.

    Raises InvalidRequest when braces are not closed, a variable has no name, or there are too many.
    """
    if not message:
        return []
    if _BRACES.search(_VARIABLE.sub("", message)):
        raise invalid("message", "write a variable as {{name}} or {{name|said when it is empty}}")
    found = {Variable(m[1].strip(), _default(m)): None for m in _VARIABLE.finditer(message)}
    if any(not texts.plain(variable.name) for variable in found):
        raise invalid("message", "a variable needs the name of a column: {{name}}")
    if len(found) > VARIABLES_MAX:
        raise invalid("message", f"has more than {VARIABLES_MAX} variables")
    return list(found)


def render(message: str, columns: Sequence[str], cells: Sequence[str]) -> str:
    """The message for one contact: every variable replaced by the cell of its column.

    `columns` are the names of the campaign's columns, `cells` those of the contact in this order.
    A column matches a name whatever its case, spaces and punctuation. Raises MissingVariable when
    there is neither a value nor a default, so that `{{name}}` is never read aloud.
    """
    values = _values(columns, cells)

    def value(match: re.Match[str]) -> str:
        found = values.get(texts.plain(match[1])) or _default(match)
        if found is None:
            raise MissingVariable(f"There is no {match[1].strip()} for this contact.")
        return found

    return _VARIABLE.sub(value, message) if "{{" in message else message


def missing_in(
    wanted: Sequence[Variable], columns: Sequence[str], cells: Sequence[str]
) -> list[str]:
    """The names of the variables for which a contact has neither a value nor a default."""
    values = _values(columns, cells)
    return [v.name for v in wanted if v.default is None and not values.get(texts.plain(v.name))]


def without_column(wanted: Sequence[Variable], columns: Sequence[str]) -> list[str]:
    """The names of the variables that no column of the list is named by, and that have no default."""
    known = {texts.plain(name) for name in columns}
    return [v.name for v in wanted if v.default is None and texts.plain(v.name) not in known]


def find_missing(
    wanted: Sequence[Variable],
    columns: Sequence[str],
    blanks: Sequence[ColumnBlanks],
    contacts_count: int,
) -> dict[str, ColumnBlanks]:
    """For each variable without a default, in how many rows of a list of `contacts_count` it has no
    value and which are the first; from the counts of the list, so that no row is read again."""
    found = {
        name: ColumnBlanks(count=contacts_count, rows=[])
        for name in without_column(wanted, columns)
    }
    for variable in wanted:
        if variable.default is not None or variable.name in found:
            continue
        same = [
            blank
            for name, blank in zip(columns, blanks, strict=False)
            if texts.plain(name) == texts.plain(variable.name)
        ]
        fullest = min(same, key=lambda blank: blank["count"], default=None)
        if fullest is not None and fullest["count"]:
            found[variable.name] = fullest
    return found


def _values(columns: Sequence[str], cells: Sequence[str]) -> dict[str, str]:
    """What the cells say by the name of their column; of two equal names the first that says
    something."""
    values: dict[str, str] = {}
    for name, cell in zip(columns, cells, strict=False):
        said = texts.trimmed(cell)[:VALUE_LENGTH_MAX]
        if said and not values.get(texts.plain(name)):
            values[texts.plain(name)] = said
    return values


def _default(match: re.Match[str]) -> str | None:
    return None if match[2] is None else match[2].strip()
