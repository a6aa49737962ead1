"""Message variables: filled from the columns of the list, and never read aloud as `{{name}}`."""

import pytest

from campaigns import variables
from campaigns.variables import MissingVariable, Variable
from core.errors import InvalidRequest


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("Namaste {{name}}", "Namaste Asha"),
        ("Namaste {{ Name }}, {{NAME}}", "Namaste Asha, Asha"),
        ("Rs {{amount_due}} by {{due-date}}", "Rs 1,200 by Friday"),
        ("नमस्ते {{नाम}}", "नमस्ते आशा"),
        ("Dear {{title|friend}}", "Dear friend"),
        ("Dear {{name|friend}}", "Dear Asha"),
        ("Dear {{title|}}!", "Dear !"),
        ("Nothing { to } fill", "Nothing { to } fill"),
    ],
)
def test_a_variable_is_the_cell_of_its_column(message: str, said: str) -> None:
    columns = ["Name", "Amount Due", "due date", "नाम", "title", "name"]
    cells = [" Asha ", "1,200", "Friday", "आशा", "", "Second"]
    assert variables.render(message, columns, cells) == said


@pytest.mark.parametrize(
    ("columns", "cells"),
    [([], []), (["name"], ["  "]), (["name"], []), (["city"], ["Pune"])],
)
def test_what_the_list_does_not_say_is_not_read_aloud(columns: list[str], cells: list[str]) -> None:
    with pytest.raises(MissingVariable):
        variables.render("Namaste {{name}}", columns, cells)
    assert variables.missing_in([Variable("name", None)], columns, cells) == ["name"]
    assert variables.missing_in([Variable("name", "friend")], columns, cells) == []


def test_a_cell_cannot_smuggle_a_variable_or_a_long_speech() -> None:
    assert variables.render("Hi {{a}}", ["a", "b"], ["{{b}}", "secret"]) == "Hi {{b}}"
    said = variables.render("{{a}}", ["a"], ["x" * 10_000])
    assert len(said) == variables.VALUE_LENGTH_MAX


def test_variables_are_listed_once_in_their_order() -> None:
    found = variables.variables_of("{{name}} {{ city | Pune }} {{name}}")
    assert found == [Variable("name", None), Variable("city", "Pune")]
    assert variables.variables_of(None) == []


@pytest.mark.parametrize(
    "message",
    [
        "Hi {{name",
        "Hi name}}",
        "Hi {{}}",
        "Hi {{ - }}",
        "".join(f"{{{{v{i}}}}}" for i in range(21)),
    ],
)
def test_a_variable_that_is_none_is_refused_by_name(message: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        variables.variables_of(message)
    assert refused.value.extra["errors"][0]["field"] == "message"
