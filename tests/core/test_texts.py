"""What is blank, what a required text is, and how names are compared."""

import pytest

from core import texts

BLANKS = [
    "",
    " ",
    "\u00a0\u2009\u202f",
    "\u200b\u200d\ufeff",
    "\u2800\u2800",
    "\u3164",
    "\u115f\u1160",
    "\0",
    "\ufe0f",
    "\n\t",
]


@pytest.mark.parametrize("text", BLANKS, ids=ascii)
def test_what_shows_nothing_is_blank(text: str) -> None:
    assert texts.is_blank(text)
    assert not texts.is_blank(text + "क")
    with pytest.raises(ValueError, match="blank"):
        texts.required(text)


def test_a_required_text_keeps_what_belongs_to_its_words() -> None:
    assert texts.required(" \u2800Diwali\u200b\n") == "Diwali"
    assert texts.required("ഫോണ്\u200d") == "ഫോണ്\u200d"  # a joiner at the end is part of a letter
    assert texts.required("one\ntwo") == "one\ntwo"
    for text, words in (
        ("a\0b", "control"),
        ("a\x1bb", "control"),
        ("a\u200b\u200b", "at least 3"),
    ):
        with pytest.raises(ValueError, match=words):
            texts.required(text, length_min=3)


def test_names_are_compared_without_losing_signs() -> None:
    assert texts.plain("पति का मोबाइल") != texts.plain("पिता का मोबाइल")
    assert texts.plain("Ph. No.") == texts.plain("PH NO") == "phno"
    assert texts.plain("☎️") == "☎"
    assert texts.plain("--") == ""
    assert texts.exact(" Cafe\u0301  No ") == texts.exact("café no")
    assert texts.words("MobileNo1 📱ph") == ["mobile", "no", "1", "📱", "ph"]
