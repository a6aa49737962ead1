"""The telephone networks: one adapter each, behind one protocol."""

import hmac
from collections.abc import Mapping

import config
from errors import NotFound
from telephony.exotel import Exotel
from telephony.plivo import Plivo
from telephony.provider import (
    BUSY,
    NETWORK_DOWN,
    NETWORK_FAULTS,
    OVER,
    RANK,
    TOO_SLOW,
    Ambiguous,
    CannotHangUp,
    Capabilities,
    Dial,
    InvalidSignature,
    NotSent,
    Provider,
    Refused,
    Report,
    Script,
    Simulate,
)
from telephony.simulated import PATIENCE_SECONDS
from telephony.simulator import Simulator
from telephony.twilio import Twilio

__all__ = [
    "BUSY",
    "NETWORK_DOWN",
    "NETWORK_FAULTS",
    "OVER",
    "PATIENCE_SECONDS",
    "RANK",
    "TOO_SLOW",
    "Ambiguous",
    "CannotHangUp",
    "Capabilities",
    "Dial",
    "InvalidSignature",
    "NotSent",
    "Provider",
    "Refused",
    "Report",
    "Script",
    "Simulate",
]

# --- vocabulary ---------------------------------------------------------------------------------

_providers: dict[str, Provider] = {
    adapter.name: adapter for adapter in (Simulator(), Twilio(), Plivo(), Exotel())
}

# --- verbs --------------------------------------------------------------------------------------


async def start() -> None:
    """Start the network that new calls go to."""
    await chosen().start()


async def stop() -> None:
    """Stop it, and what was asked about calls of another one."""
    for adapter in _providers.values():
        await adapter.stop()


def chosen() -> Provider:
    """The network that new calls go to (`TELEPHONY_PROVIDER`)."""
    return provider(config.settings().telephony_provider)


def provider(name: str) -> Provider:
    """The network with this name; NotFound when there is none."""
    found = _providers.get(name)
    if found is None:
        raise NotFound("There is no telephone network with this name.")
    return found


def callback_path(name: str, call_id: str) -> str:
    """Where the network `name` reports a call: path and query, with the call's own token.

    Our id is in the address because a callback may come before the answer that tells us the
    network's id, and the token because not every network signs what it sends.
    """
    return f"/api/telephony/{name}/{call_id}/status?token={_token(call_id)}"


def callback_url(name: str, call_id: str) -> str:
    """The whole address of `callback_path`, as the network is told it."""
    return _base_url(name) + callback_path(name, call_id)


def answer_path(name: str, call_id: str) -> str:
    """Where the network `name` asks what to do when the call is answered: path and query."""
    return f"/api/telephony/{name}/{call_id}/answer?token={_token(call_id)}"


def answer_url(name: str, call_id: str) -> str:
    """The whole address of `answer_path`, as the network is told it."""
    return _base_url(name) + answer_path(name, call_id)


def call_of(key: str) -> str:
    """The call that a key (`<call id>.<token>`) opens. Raises InvalidSignature."""
    call_id, _, token = key.rpartition(".")
    if not call_id or not hmac.compare_digest(token.encode(), _token(call_id).encode()):
        raise InvalidSignature("This is not the key of a call.")
    return call_id


def read_callback(
    name: str,
    call_id: str,
    *,
    path: str,
    headers: Mapping[str, str],
    body: bytes,
    address: str = "",
) -> Report:
    """What a request to `path` (with its query, as received) from `address` reports of a call.

    The address that was signed is put together from our own settings, never from the Host header,
    which a proxy or an attacker may have changed. Raises InvalidSignature and NotFound.
    """
    adapter = provider(name)
    if not any(
        hmac.compare_digest(path.encode(), own(name, call_id).encode())
        for own in (callback_path, answer_path)
    ):
        raise InvalidSignature("This address does not carry the token of the call.")
    return adapter.read_callback(headers, body, _base_url(name) + path, address)


def _base_url(name: str) -> str:
    own = config.settings().own_url  # the simulator lives on this machine
    return own if name == Simulator.name else config.settings().base_url


def _token(call_id: str) -> str:
    secret = config.settings().jwt_secret.get_secret_value().encode()
    return hmac.digest(secret, b"telephony callback\0" + call_id.encode(), "sha256").hex()[:32]
