"""Devices: the token by which one is known again, and what the user agent says about it."""

import dataclasses
import re
from typing import Final

from jose import JWTError, jwt

from auth import signing_keys
from core import clock, database

# --- vocabulary ---------------------------------------------------------------------------------

ISSUER: Final = "wallet-device"  # not that of access tokens: neither is accepted as the other
TOKEN_SECONDS: Final = 180 * 86_400
TOKEN_CHARACTERS_MAX: Final = 1_000
_DESCRIPTION_CHARACTERS_MAX: Final = 60

# The first that matches is the name: what comes later pretends to be what comes earlier.
_BROWSERS: Final = (
    ("Edge", r"\bEdgA?/"),
    ("Opera", r"\bOPR/"),
    ("Samsung Internet", r"\bSamsungBrowser/"),
    ("Firefox", r"\b(?:Firefox|FxiOS)/"),
    ("Chrome", r"\b(?:Chrome|CriOS)/"),
    ("Safari", r"\bSafari/"),
)
_SYSTEMS: Final = (
    ("Android", r"\bAndroid\b"),
    ("iPhone", r"\biPhone\b"),
    ("iPad", r"\biPad\b"),
    ("Windows", r"\bWindows\b"),
    ("ChromeOS", r"\bCrOS\b"),
    ("macOS", r"\bMac OS X\b"),
    ("Linux", r"\bLinux\b"),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Client:
    """Who sends a request: the address, what it calls itself, and the device token that it has."""

    address: str = "unknown"
    user_agent: str = ""
    device_token: str | None = dataclasses.field(default=None, repr=False)


# --- what a user agent says ---------------------------------------------------------------------


def describe(user_agent: str) -> str:
    """A few words for a person: `Firefox on Windows`; the program's own name when it is no browser."""
    browser = _first(_BROWSERS, user_agent)
    system = _first(_SYSTEMS, user_agent)
    if browser:
        return f"{browser} on {system}" if system else browser
    name = re.match(r"[A-Za-z][\w.-]*(?:/[\w.-]+)?", user_agent)
    return name[0][:_DESCRIPTION_CHARACTERS_MAX] if name else "unknown"


def _first(known: tuple[tuple[str, str], ...], user_agent: str) -> str | None:
    return next((name for name, form in known if re.search(form, user_agent)), None)


# --- device tokens ------------------------------------------------------------------------------


def create_device_token(account: str) -> str:
    """A token for a device from which somebody has logged in to `account` (an e-mail key).

    It is no credential: it opens nothing. Log-ins with it are counted by themselves, so that others
    who guess passwords do not keep its owner out.
    """
    now = int(clock.now().timestamp())
    claims = {
        "iss": ISSUER,
        "sub": _subject(account),
        "did": database.new_id("dev"),
        "iat": now,
        "exp": now + TOKEN_SECONDS,
    }
    key = signing_keys.current()
    return str(jwt.encode(claims, key.secret, algorithm="HS256", headers={"kid": key.id}))


def find_device(token: str | None, account: str) -> str | None:
    """The id of the device that `token` was given to, if it was for this account and we signed it."""
    if not token or len(token) > TOKEN_CHARACTERS_MAX or not token.isascii():
        return None
    for key in signing_keys.accepted():
        try:
            found = jwt.decode(
                token, key.secret, algorithms=["HS256"], issuer=ISSUER, subject=_subject(account)
            )
        except (JWTError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            continue
        device_id = found.get("did")
        return device_id if isinstance(device_id, str) else None
    return None


def _subject(account: str) -> str:
    return database.stable_id("acc", account)
