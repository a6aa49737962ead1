"""Call scripts: what is said, played or connected on answer, in the language of each provider."""

import json
import re
from typing import Final
from xml.etree import ElementTree

from telephony.provider import NetworkCall, Script
from telephony.speech import ENGLISH, HINDI, speech_of

# --- vocabulary ---------------------------------------------------------------------------------

# What is said in a call without a message.
DEFAULT_SENTENCE: Final = "Hello. This is an automated call. There is no message. Goodbye."

# How long a key is waited for after the message.
KEY_SECONDS: Final = 8

# What is said after a key, by language; in English where there is none. `stop` is the meaning of
# the key that asks for no more calls.
STOP: Final = "stop"
_AFTER_A_KEY: Final = {
    HINDI: ("धन्यवाद। नमस्ते।", "आपको दोबारा कॉल नहीं किया जाएगा। नमस्ते।"),
    ENGLISH: ("Thank you. Goodbye.", "You will not be called again. Goodbye."),
}

# Characters that XML cannot contain.
_UNWRITABLE: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


# --- verbs --------------------------------------------------------------------------------------


def twiml(call: NetworkCall, *, caller_id: str, keys_url: str = "", pressed: str = "") -> Script:
    """TwiML: `Say`, `Play` or `Dial`; within `Gather` where the call asks for a key."""
    gather = {
        "input": "dtmf",
        "numDigits": "1",
        "finishOnKey": "",  # else `#` only ends the input
        "timeout": str(KEY_SECONDS),
        "action": keys_url,
        "method": "POST",
    }
    asking = ("Gather", gather) if call.get("keys") and keys_url else None
    return _xml(call, "twilio", say="Say", caller_id=caller_id, asking=asking, pressed=pressed)


def plivo_xml(
    call: NetworkCall, *, caller_id: str, keys_url: str = "", pressed: str = ""
) -> Script:
    """Plivo's XML: `Speak`, `Play` or `Dial`; within `GetInput` where the call asks for a key."""
    get_input = {
        "inputType": "dtmf",
        "numDigits": "1",
        "finishOnKey": "none",
        "executionTimeout": str(KEY_SECONDS),
        "action": keys_url,
        "method": "POST",
        "redirect": "true",
    }
    asking = ("GetInput", get_input) if call.get("keys") and keys_url else None
    return _xml(call, "plivo", say="Speak", caller_id=caller_id, asking=asking, pressed=pressed)


def exotel_text(call: NetworkCall) -> Script:
    """What an applet of Exotel asks for: a text or the address of a sound (Greeting), or the number
    to connect (Connect)."""
    if call["connect_to"] is not None:
        numbers = {"fetch_after_attempt": False, "destination": {"numbers": [call["connect_to"]]}}
        return Script("application/json", json.dumps(numbers))
    return Script("text/plain", call["audio_url"] or call["message"] or DEFAULT_SENTENCE)


def _xml(
    call: NetworkCall,
    network: str,
    *,
    say: str,
    caller_id: str,
    asking: tuple[str, dict[str, str]] | None,
    pressed: str,
) -> Script:
    response = ElementTree.Element("Response")
    if pressed:
        _speak(response, say, network, call, _after_a_key(call, pressed))
    elif call["connect_to"] is not None:
        dial = ElementTree.SubElement(response, "Dial", {"callerId": caller_id})
        ElementTree.SubElement(dial, "Number").text = call["connect_to"]
    else:
        around = response if asking is None else ElementTree.SubElement(response, *asking)
        if call["audio_url"] is not None:
            ElementTree.SubElement(around, "Play").text = _writable(call["audio_url"])
        else:
            _speak(around, say, network, call, call["message"] or DEFAULT_SENTENCE)
    text = ElementTree.tostring(response, encoding="unicode")
    return Script("application/xml", f'<?xml version="1.0" encoding="UTF-8"?>\n{text}')


def _speak(
    around: ElementTree.Element, say: str, network: str, call: NetworkCall, text: str
) -> None:
    is_own = text == call["message"]
    # A sentence of ours is in the language of its own script, whatever the message is in.
    language = call.get("language") if is_own else None
    speech = speech_of(network, text, language, call.get("voice") if is_own else None)
    attributes = {"language": speech.language, "voice": speech.voice}
    ElementTree.SubElement(around, say, attributes).text = _writable(text)


def _after_a_key(call: NetworkCall, meaning: str) -> str:
    language = speech_of("", call["message"] or "", call.get("language"), None).language
    thanks, no_more = _AFTER_A_KEY.get(language, _AFTER_A_KEY[ENGLISH])
    return no_more if meaning == STOP else thanks


def _writable(text: str) -> str:
    return _UNWRITABLE.sub(" ", text)
