"""The state tables in docs/states.md, written from the code that keeps to them.

python -m tests.project.state_tables
"""

from collections.abc import Callable
from pathlib import Path

from calls import records as calls
from campaigns import contacts
from campaigns import records as campaigns

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "states.md"

# before, after, by whom and when
Row = tuple[str, str, str]


def _calls() -> list[Row]:
    return [(_several(row.before), f"`{row.after}`", row.by) for row in calls.TRANSITIONS]


def _contacts() -> list[Row]:
    return [(_several(row.before), _several(row.after), row.event) for row in contacts.MOVES]


def _campaigns() -> list[Row]:
    return [
        (
            _several([_state(state) for state in row.before]),
            "`running` or `scheduled`" if row.after is None else f"`{_state(row.after)}`",
            event.value,
        )
        for event, row in campaigns.TRANSITIONS.items()
    ]


def _state(state: campaigns.CampaignState) -> str:
    reason = f" ({state.pause_reason})" if state.pause_reason else ""
    return f"{state.status}{reason}"


def _several(names: "tuple[str, ...] | list[str]") -> str:
    return ", ".join(f"`{name}`" for name in names)


# The name of each table on the page, and its rows.
TABLES: dict[str, Callable[[], list[Row]]] = {
    "calls": _calls,
    "contacts": _contacts,
    "campaigns": _campaigns,
}


def table(name: str) -> str:
    """One state table in Markdown."""
    lines = ["| from | to | by whom, and when |", "| --- | --- | --- |"]
    lines += [f"| {' | '.join(row)} |" for row in TABLES[name]()]
    return "\n".join(lines)


def written_into(page: str) -> str:
    """The page with the tables as they are now."""
    for name in TABLES:
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        before, _, rest = page.partition(begin)
        _, found, after = rest.partition(end)
        assert found, f"the page has no place for the table of {name}"
        page = f"{before}{begin}\n\n{table(name)}\n\n{end}{after}"
    return page


if __name__ == "__main__":
    PAGE.write_text(written_into(PAGE.read_text()))
