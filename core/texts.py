"""Texts: what is blank although it has characters, and how names are compared."""

import re
import unicodedata
from typing import Final

# Characters that are letters, marks or symbols by their category and show nothing: fillers of
# Hangul, inherent vowels of Khmer, the blank of Braille, the joiner of graphemes.
_EMPTY: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
# Format characters that are never a part of a word; joiners and the tags of flags are.
_TRIMMED: Final = frozenset("\u00ad\u180e\u200b\u200e\u200f\u2060\ufeff") | _EMPTY
_VARIATION_SELECTORS: Final = frozenset(map(chr, range(0xFE00, 0xFE10)))
_SPACES: Final = ("Zs", "Zl", "Zp", "Cc")
_KEPT_CONTROLS: Final = "\t\n\r"

_word_form: Final = re.compile(r"[a-z](?=[A-Z])|[^\W\d_](?=\d)|\d(?=[^\W\d_])")


def is_blank(text: str) -> bool:
    """Whether nothing of `text` can be seen or said: spaces, zero-width characters, blanks of Braille
    and Hangul, control characters such as NUL."""
    if "!" <= text[:1] <= "~":  # most cells of most lists begin with such a character
        return False
    return all(
        unicodedata.category(c) in (*_SPACES, "Cf", "Cs")
        or c in _EMPTY
        or c in _VARIATION_SELECTORS
        for c in text
    )


def trimmed(text: str) -> str:
    """`text` without what cannot be seen at its ends."""
    first, last = 0, len(text)
    while first < last and _is_trimmed(text[first]):
        first += 1
    while last > first and _is_trimmed(text[last - 1]):
        last -= 1
    return text[first:last]


def required(text: str, *, length_min: int = 1) -> str:
    """A text that a person has to read, without blanks at its ends. ValueError when it is blank, has
    control characters other than line breaks and tabs, or is shorter than `length_min`."""
    if is_blank(text):
        raise ValueError("must not be blank")
    if any(unicodedata.category(c) in ("Cc", "Cs") and c not in _KEPT_CONTROLS for c in text):
        raise ValueError("must not contain control characters")
    kept = trimmed(text)
    if len(kept) < length_min:
        raise ValueError(f"must have at least {length_min} characters")
    return kept


def _is_trimmed(character: str) -> bool:
    return character in _TRIMMED or unicodedata.category(character) in _SPACES


# --- names --------------------------------------------------------------------------------------


def exact(name: str) -> str:
    """A name for comparing, whatever its case, its spaces and the Unicode form it was typed in."""
    return unicodedata.normalize("NFC", " ".join(trimmed(name).split()).casefold())


def plain(name: str) -> str:
    """A name without case and punctuation, for comparing. The signs of a script stay, and symbols
    such as ☎: without them `पति` and `पिता` would be the same. Empty when nothing is left."""
    text = unicodedata.normalize("NFKC", name).casefold()
    return "".join(c for c in unicodedata.normalize("NFC", text) if _is_told_apart(c))


def words(name: str) -> list[str]:
    """The words of a name, each `plain`: `MobileNo1` has three."""
    text = _word_form.sub(r"\g<0> ", unicodedata.normalize("NFC", name))
    parts = "".join(c if _is_told_apart(c) or c in "\u200c\u200d" else " " for c in text).split()
    # A symbol is a word of its own.
    whole = " ".join(parts)
    spaced = "".join(f" {c} " if unicodedata.category(c) == "So" else c for c in whole)
    return [word for part in spaced.split() if (word := plain(part))]


def _is_told_apart(character: str) -> bool:
    category = unicodedata.category(character)
    if character in _EMPTY or character in _VARIATION_SELECTORS:
        return False
    return category[0] in "LMN" or category == "So"
