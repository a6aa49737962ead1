"""The worker: the handlers of events stand in one list, and the outbox knows all of them."""

import ast
from pathlib import Path

import pytest

import worker
from core import outbox
from tests.support.service import ROOT

OTHERS = {"tests", "bench", "sandbox"}

MODULES = [
    path
    for path in [*ROOT.glob("*.py"), *ROOT.glob("[a-z]*/**/*.py")]
    if path.relative_to(ROOT).parts[0] not in OTHERS
]


def names_in(path: Path) -> set[str]:
    """The texts of a module, among which are the names of the events that it records."""
    tree = ast.parse(path.read_text())
    texts = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return {text for text in texts if isinstance(text, str)}


@pytest.mark.parametrize("name", sorted(worker.HANDLERS))
def test_an_event_that_has_handlers_is_recorded_by_somebody(name: str) -> None:
    recorders = [
        path.name
        for path in MODULES
        if path.name != "worker.py"
        and "outbox.record_event(" in path.read_text()
        and name in names_in(path)
    ]
    assert recorders, f"{name} has handlers, and no module records it"


def test_the_outbox_knows_each_handler_once_however_often_they_are_registered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outbox, "_handlers", {})
    worker.register_handlers()
    worker.register_handlers()
    assert outbox._handlers == worker.HANDLERS


def test_only_the_worker_registers_handlers() -> None:
    found = [
        path.name
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "outbox.on"
    ]
    assert found == ["worker.py"]
