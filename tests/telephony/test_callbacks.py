"""Which numbers may be called, who signs what, and the network on localhost."""

import datetime as dt
import hashlib
import hmac

import pytest

import telephony
from core import config
from core.errors import NotFound
from telephony import OVER, InvalidCallbackSignature, Report
from telephony.simulator import SIGNATURE_HEADER, sign

# --- addresses and signatures -------------------------------------------------------------------


def test_a_signature_is_an_hmac_over_the_address_and_the_body(settings: config.Settings) -> None:
    secret = settings.simulator_auth_token.encode()
    expected = hmac.new(secret, b"http://127.0.0.1:8000/a?b=c\n{}", hashlib.sha256).hexdigest()
    assert sign("http://127.0.0.1:8000/a?b=c", b"{}") == expected
    assert settings.simulator_auth_token != settings.jwt_secret.get_secret_value()


def test_every_call_has_an_address_of_its_own_that_another_secret_cannot_guess(
    settings: config.Settings,
) -> None:
    path = telephony.callback_path("simulator", "call_A")
    assert path.startswith("/api/telephony/simulator/call_A/status?token=")
    assert path == telephony.callback_path("simulator", "call_A")
    token = path.rpartition("=")[2]
    assert token != telephony.callback_path("simulator", "call_B").rpartition("=")[2]
    config.use(settings.model_copy(update={"jwt_secret": type(settings.jwt_secret)("other" * 9)}))
    assert token != telephony.callback_path("simulator", "call_A").rpartition("=")[2]


def test_the_simulator_calls_back_on_this_machine_whatever_the_outside_sees(
    settings: config.Settings,
) -> None:
    config.use(settings.model_copy(update={"public_base_url": "https://wallet.example.com"}))
    assert telephony.callback_url("simulator", "call_A").startswith("http://127.0.0.1:8000/api/")


def test_a_callback_is_believed_only_with_token_and_signature(settings: config.Settings) -> None:
    path = telephony.callback_path("simulator", "call_A")
    body = (
        b'{"event_id": "e", "provider_call_id": "sim_A", "status": "completed",'
        b' "duration_seconds": 30, "occurred_at": "2026-11-23T10:00:00.000Z",'
        b' "answered_at": "2026-11-23T09:59:30.000Z", "news": "unknown fields are fine"}'
    )
    headers = {SIGNATURE_HEADER: sign("http://127.0.0.1:8000" + path, body)}

    def read(path: str, headers: dict[str, str], body: bytes) -> Report:
        return telephony.read_callback("simulator", "call_A", path=path, headers=headers, body=body)

    told = read(path, headers, body)
    assert (told.status, told.duration_seconds, told.rank) == ("completed", 30, OVER)
    assert told.occurred_at == dt.datetime(2026, 11, 23, 10, tzinfo=dt.UTC)
    for wrong in (
        (path, {}, body),
        (path, {SIGNATURE_HEADER: "é"}, body),
        (path, {SIGNATURE_HEADER: headers[SIGNATURE_HEADER].upper()}, body),
        (path, headers, body + b" "),
        (path.split("?")[0], headers, body),
        (path + "0", headers, body),
    ):
        with pytest.raises(InvalidCallbackSignature):
            read(*wrong)
    with pytest.raises(NotFound):
        telephony.get_provider("nobody")
