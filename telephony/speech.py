"""Speech: which voice of a network reads a text in which language, and what it cannot read."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Final

from telephony.provider import LanguageNotSupported

# --- vocabulary ---------------------------------------------------------------------------------

ENGLISH: Final = "en-IN"
HINDI: Final = "hi-IN"


@dataclasses.dataclass(frozen=True, slots=True)
class Speech:
    """How a text is read: the language (BCP-47), and the voice as the network names it; an empty
    one is that of the network."""

    language: str
    voice: str = ""


# The languages that each network reads, with the voices of each; the first is chosen where none is
# asked for. A network that is not listed (the simulator) reads any language with any voice.
VOICES: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "twilio": {
        ENGLISH: (
            "Polly.Aditi",
            "Polly.Raveena",
            "Polly.Kajal-Neural",
            "Google.en-IN-Standard-A",
            "Google.en-IN-Standard-B",
        ),
        HINDI: (
            "Polly.Aditi",
            "Polly.Kajal-Neural",
            "Google.hi-IN-Standard-A",
            "Google.hi-IN-Standard-B",
        ),
        "en-US": ("Polly.Joanna", "Polly.Matthew"),
        "en-GB": ("Polly.Amy", "Polly.Brian"),
        "bn-IN": ("Google.bn-IN-Standard-A", "Google.bn-IN-Standard-B"),
        "gu-IN": ("Google.gu-IN-Standard-A", "Google.gu-IN-Standard-B"),
        "kn-IN": ("Google.kn-IN-Standard-A", "Google.kn-IN-Standard-B"),
        "ml-IN": ("Google.ml-IN-Standard-A", "Google.ml-IN-Standard-B"),
        "mr-IN": ("Google.mr-IN-Standard-A", "Google.mr-IN-Standard-B"),
        "pa-IN": ("Google.pa-IN-Standard-A", "Google.pa-IN-Standard-B"),
        "ta-IN": ("Google.ta-IN-Standard-A", "Google.ta-IN-Standard-B"),
        "te-IN": ("Google.te-IN-Standard-A", "Google.te-IN-Standard-B"),
    },
    "plivo": {
        ENGLISH: ("Polly.Aditi", "Polly.Raveena"),
        HINDI: ("Polly.Aditi",),
        "en-US": ("Polly.Joanna", "Polly.Matthew", "WOMAN", "MAN"),
        "en-GB": ("Polly.Amy", "Polly.Brian", "WOMAN", "MAN"),
    },
    # The flow in Exotel's dashboard reads the text that an applet gets, in its own English voice:
    # neither can be chosen for a call.
    "exotel": {ENGLISH: ("",)},
}

# The scripts of India, and the language that a text in one of them is read in when none is given.
# Marathi is written in the script of Hindi: it has to be given.
_SCRIPTS: Final = (
    (re.compile("[\u0900-\u097f]"), HINDI, ("hi", "mr", "ne", "sa", "kok", "mai", "bho")),
    (re.compile("[\u0980-\u09ff]"), "bn-IN", ("bn", "as")),
    (re.compile("[\u0a00-\u0a7f]"), "pa-IN", ("pa",)),
    (re.compile("[\u0a80-\u0aff]"), "gu-IN", ("gu",)),
    (re.compile("[\u0b80-\u0bff]"), "ta-IN", ("ta",)),
    (re.compile("[\u0c00-\u0c7f]"), "te-IN", ("te",)),
    (re.compile("[\u0c80-\u0cff]"), "kn-IN", ("kn",)),
    (re.compile("[\u0d00-\u0d7f]"), "ml-IN", ("ml",)),
)


_LATIN: Final = re.compile("[A-Za-z]")


# --- verbs --------------------------------------------------------------------------------------


def check_speech(
    network: str, language: str | None, voice: str | None, *, text: str | None = None
) -> None:
    """Raise LanguageNotSupported where the network (by its name) cannot read a text in this language
    with this voice, or where most of the text is in a script that the language is not written in."""
    written = _other_language(text or "", language)
    if language is not None and written is not None and _is_mostly_indian(text or ""):
        raise LanguageNotSupported(
            f"The message is written in the script of {written}, and {language} does not use it.",
            language=language,
        )
    known, chosen = VOICES.get(network), language or written or ENGLISH
    if known is None:
        return
    if chosen not in known:
        raise LanguageNotSupported(
            f"{network.title()} cannot read a text in {chosen}; it reads {', '.join(known)}. "
            "Send an audio_url instead, or change the language.",
            language=chosen,
            supported=list(known),
        )
    if voice is not None and voice not in known[chosen]:
        raise LanguageNotSupported(
            f"{network.title()} has no voice {voice} for {chosen}.",
            language=chosen,
            voices=[name for name in known[chosen] if name],
        )


def speech_of(network: str, text: str, language: str | None, voice: str | None) -> Speech:
    """How the network reads a text that was checked: in the language that is given, else in that of
    its script, else in Indian English; with the voice that is given, else the first of that language.

    Refuses nothing: a name in another script (a variable of a message) is read as well as can be.
    """
    chosen = language or _other_language(text, None) or ENGLISH
    voices = VOICES.get(network, {}).get(chosen, ("",))
    return Speech(chosen, voice or voices[0])


def _other_language(text: str, language: str | None) -> str | None:
    """The language of the first Indian script in the text that `language` is not written in; None
    where there is none."""
    own = (language or "").partition("-")[0].lower()
    for script, its_language, languages in _SCRIPTS:
        if own not in languages and script.search(text):
            return its_language
    return None


def _is_mostly_indian(text: str) -> bool:
    indian = sum(len(script.findall(text)) for script, _, _ in _SCRIPTS)
    return indian > len(_LATIN.findall(text))
