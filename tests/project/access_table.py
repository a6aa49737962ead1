"""The table of routes, roles and scopes in docs/WALLET_API_DOCUMENTATION.md, written from api/access.py.

python -m tests.project.access_table
"""

from pathlib import Path

from api import access

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "WALLET_API_DOCUMENTATION.md"
BEGIN = "<!-- from api/access.py by `python -m tests.project.access_table`: begin -->"
END = "<!-- from api/access.py: end -->"


def table() -> str:
    """The table of every route in Markdown."""
    head = ["route", "nobody", *access.ROLES, "scope of an API key"]
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join(["---"] * len(head)) + " |"]
    for (method, path), entry in access.ROUTES.items():
        roles = access.ROLES if entry.roles is None else entry.roles
        who = ["yes" if entry.roles is None else ""]
        who += ["yes" if role in roles else "" for role in access.ROLES]
        scope = f"`{entry.scope}`" if entry.scope else ""
        lines.append(" | ".join([f"| {method} `{path}`", *who, scope]) + " |")
    return "\n".join(lines)


def written_into(page: str) -> str:
    """The page with the table as it is now."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    assert rest, "the page has no place for the table"
    assert after, "the place for the table has no end"
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(written_into(PAGE.read_text()))
