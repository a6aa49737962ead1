"""Signing keys: the current `JWT_SECRET` and the previous one, their ids, and keys derived from them."""

import dataclasses
import hmac

from core import config


@dataclasses.dataclass(frozen=True, slots=True)
class SigningKey:
    """A secret that tokens are signed with."""

    secret: str = dataclasses.field(repr=False)

    @property
    def id(self) -> str:
        """What a token's header names it by (`kid`). It says nothing about the secret."""
        return self.derive("key id").hex()[:16]

    def derive(self, purpose: str) -> bytes:
        """A key of 32 bytes for one purpose: who has it learns neither the secret nor another key."""
        return hmac.digest(self.secret.encode(), purpose.encode(), "sha256")


def current() -> SigningKey:
    """The key that signs. Raises RuntimeError when there is none."""
    secret = config.settings().jwt_secret.get_secret_value()
    if not secret:
        raise RuntimeError("JWT_SECRET is missing: nothing can be signed")
    return SigningKey(secret)


def accepted() -> tuple[SigningKey, ...]:
    """The keys whose signatures are valid: the current one, and the previous one where it is set."""
    previous = config.settings().jwt_secret_previous.get_secret_value()
    return (current(), SigningKey(previous)) if previous else (current(),)


def is_accepted(secret: str) -> bool:
    """Whether what was signed with `secret` is still valid."""
    return any(key.secret == secret for key in accepted())
