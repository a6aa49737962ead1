"""Second factor: time-based one-time passwords (TOTP, RFC 6238) and recovery codes."""

import base64
import datetime as dt
import hashlib
import logging
import secrets
from typing import Final, TypedDict

import pyotp
from cryptography.fernet import Fernet, InvalidToken

from auth import passwords, signing_keys
from auth.signing_keys import SigningKey
from core import clock

log = logging.getLogger(__name__)


# --- vocabulary ---------------------------------------------------------------------------------

ISSUER: Final = "Wallet"
STEP_SECONDS: Final = 30
# A code of the step before or after is taken, too: clocks differ, and typing takes time.
_STEPS_EACH_WAY: Final = 1
RECOVERY_CODES: Final = 10  # of 80 bits each: nobody tries them all, so a fast hash suffices


class Factor(TypedDict):
    """A second factor as it is stored with its user."""

    secret: str  # encrypted, see `_cipher`
    key_id: str  # of the signing key that the encryption is derived from
    created_at: dt.datetime
    confirmed_at: dt.datetime | None  # None: the user has not shown that the app has the secret
    last_step: int  # of the last code that was used: no code is taken twice
    recovery_hashes: list[str]  # of the codes that were not used yet


# --- secrets ------------------------------------------------------------------------------------


def new_factor() -> tuple[Factor, str]:
    """A factor that waits for its confirmation, and its secret in base32, to be shown once."""
    secret = pyotp.random_base32()
    key = signing_keys.current()
    factor: Factor = {
        "secret": _cipher(key).encrypt(secret.encode()).decode(),
        "key_id": key.id,
        "created_at": clock.now(),
        "confirmed_at": None,
        "last_step": 0,
        "recovery_hashes": [],
    }
    return factor, secret


def uri_of(secret: str, email: str) -> str:
    """What an authenticator app reads as a QR code (`otpauth://`)."""
    return pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=ISSUER)


def reencrypted(factor: Factor) -> Factor | None:
    """The factor under the current signing key; None when neither key of ours opens it."""
    secret = _secret_of(factor)
    if secret is None:
        return None
    key = signing_keys.current()
    again = _cipher(key).encrypt(secret.encode()).decode()
    return {**factor, "secret": again, "key_id": key.id}


def _secret_of(factor: Factor) -> str | None:
    for key in signing_keys.accepted():
        try:
            return _cipher(key).decrypt(factor["secret"].encode()).decode()
        except InvalidToken:
            continue
    return None


def _cipher(key: SigningKey) -> Fernet:
    """Encrypts secrets: whoever has a copy of the database alone can make no codes from it.

    Its key is derived from `JWT_SECRET`, so there is no further secret to keep; whoever has that one
    can sign tokens anyway, and needs no codes.
    """
    return Fernet(base64.urlsafe_b64encode(key.derive("secrets of second factors")))


# --- codes --------------------------------------------------------------------------------------


def find_step(factor: Factor, code: str, at: dt.datetime) -> int | None:
    """The step of time that `code` is of, among those that are taken at the moment `at`; None when it is
    wrong. The caller makes sure that no step is used twice."""
    secret = _secret_of(factor)
    if secret is None:
        log.error("a second factor is encrypted with a key that is gone: reset it")
        return None
    generator = pyotp.TOTP(secret, interval=STEP_SECONDS)
    now = int(at.timestamp()) // STEP_SECONDS
    found = None
    for step in range(now - _STEPS_EACH_WAY, now + _STEPS_EACH_WAY + 1):
        # Every step is compared, each in constant time.
        if secrets.compare_digest(generator.generate_otp(step).encode(), code.encode()):
            found = step
    return found


def is_time_code(code: str) -> bool:
    """Whether `code` has the form of an app's code; what has not is taken for a recovery code."""
    return len(code) == 6 and code.isascii() and code.isdigit()


def plain(code: str) -> str:
    """The code without what people type between its parts."""
    return code.replace(" ", "").replace("-", "").casefold()


def new_recovery_codes() -> list[str]:
    """Codes that each replace the app once, to be shown once: `abcd-efgh-ijkl-mnop`."""
    return [passwords.readable(secrets.token_bytes(10)) for _ in range(RECOVERY_CODES)]


def recovery_hash(user_id: str, code: str) -> str:
    """How a recovery code is stored."""
    return hashlib.sha256(f"{user_id}:{plain(code)}".encode()).hexdigest()
