"""Provider callbacks: their URLs with a token for each call, and their verification."""

import hmac
from collections.abc import Mapping

from core import config
from telephony.provider import InvalidCallbackSignature, Report
from telephony.registry import get_provider
from telephony.simulator import Simulator

# --- verbs --------------------------------------------------------------------------------------


def callback_path(name: str, call_id: str) -> str:
    """Where the network `name` reports a call: path and query, with the call's own token.

    Our id is in the address because a callback may come before the answer with the network's
    id, and the token because not every network signs its callbacks.
    """
    return f"/api/telephony/{name}/{call_id}/status?token={_token(call_id)}"


def callback_url(name: str, call_id: str) -> str:
    """The whole address of `callback_path`, as it is sent to the network."""
    return _base_url(name) + callback_path(name, call_id)


def answer_path(name: str, call_id: str) -> str:
    """Where the network `name` asks what to do when the call is answered: path and query."""
    return f"/api/telephony/{name}/{call_id}/answer?token={_token(call_id)}"


def answer_url(name: str, call_id: str) -> str:
    """The whole address of `answer_path`, as it is sent to the network."""
    return _base_url(name) + answer_path(name, call_id)


def keys_path(name: str, call_id: str) -> str:
    """Where the network `name` reports the key that the person called pressed: path and query."""
    return f"/api/telephony/{name}/{call_id}/keys?token={_token(call_id)}"


def keys_url(name: str, call_id: str) -> str:
    """The whole address of `keys_path`, as it stands in the script of the call."""
    return _base_url(name) + keys_path(name, call_id)


def call_id_of_key(key: str) -> str:
    """The id of the call in a key (`<call id>.<token>`).

    Raises InvalidCallbackSignature when the token is not that of the call.
    """
    call_id, _, token = key.rpartition(".")
    if not call_id or not any(
        hmac.compare_digest(token.encode(), own.encode()) for own in _tokens(call_id)
    ):
        raise InvalidCallbackSignature("This is not the key of a call.")
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
    which a proxy or an attacker may have changed. Raises InvalidCallbackSignature and NotFound.
    """
    adapter = get_provider(name)
    address_of_call, _, token = path.rpartition("?token=")
    known = (
        callback_path(name, call_id),
        answer_path(name, call_id),
        keys_path(name, call_id),
    )
    is_known = address_of_call in {own.rpartition("?token=")[0] for own in known}
    if not is_known or not any(
        hmac.compare_digest(token.encode(), own.encode()) for own in _tokens(call_id)
    ):
        raise InvalidCallbackSignature("This address does not carry the token of the call.")
    return adapter.read_callback(headers, body, _base_url(name) + path, address)


def _base_url(name: str) -> str:
    own = config.settings().own_url  # the simulator runs on this machine
    return own if name == Simulator.name else config.settings().base_url


def _token(call_id: str) -> str:
    return _tokens(call_id)[0]


def _tokens(call_id: str) -> list[str]:
    """The token of a call's addresses, and what it was before the last change of `JWT_SECRET`: a call
    that is up during the change reports to the address that it was given."""
    chosen = config.settings()
    secrets = (chosen.jwt_secret.get_secret_value(), chosen.jwt_secret_previous.get_secret_value())
    purpose = b"telephony callback\0" + call_id.encode()
    return [
        hmac.digest(secret.encode(), purpose, "sha256").hex()[:32] for secret in secrets if secret
    ]
