"""Call scripts: what is said, played or connected on answer, in the language of each provider."""

import json
import re
from typing import Final
from xml.etree import ElementTree

from telephony.provider import NetworkCall, Script

# --- vocabulary ---------------------------------------------------------------------------------

# What is said in a call without a message.
DEFAULT_SENTENCE: Final = "Hello. This is an automated call. There is no message. Goodbye."

# Characters that XML cannot contain.
_UNWRITABLE: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


# --- verbs --------------------------------------------------------------------------------------


def twiml(call: NetworkCall, *, caller_id: str) -> Script:
    """TwiML: `Say`, `Play` or `Dial`."""
    return _xml(call, say="Say", caller_id=caller_id)


def plivo_xml(call: NetworkCall, *, caller_id: str) -> Script:
    """Plivo's XML: `Speak`, `Play` or `Dial`."""
    return _xml(call, say="Speak", caller_id=caller_id)


def exotel_text(call: NetworkCall) -> Script:
    """What an applet of Exotel asks for: a text or the address of a sound (Greeting), or the number
    to connect (Connect)."""
    if call["connect_to"] is not None:
        numbers = {"fetch_after_attempt": False, "destination": {"numbers": [call["connect_to"]]}}
        return Script("application/json", json.dumps(numbers))
    return Script("text/plain", call["audio_url"] or call["message"] or DEFAULT_SENTENCE)


def _xml(call: NetworkCall, *, say: str, caller_id: str) -> Script:
    response = ElementTree.Element("Response")
    if call["connect_to"] is not None:
        dial = ElementTree.SubElement(response, "Dial", {"callerId": caller_id})
        ElementTree.SubElement(dial, "Number").text = call["connect_to"]
    elif call["audio_url"] is not None:
        ElementTree.SubElement(response, "Play").text = _writable(call["audio_url"])
    else:
        ElementTree.SubElement(response, say).text = _writable(call["message"] or DEFAULT_SENTENCE)
    text = ElementTree.tostring(response, encoding="unicode")
    return Script("application/xml", f'<?xml version="1.0" encoding="UTF-8"?>\n{text}')


def _writable(text: str) -> str:
    return _UNWRITABLE.sub(" ", text)
