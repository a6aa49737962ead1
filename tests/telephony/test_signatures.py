"""The signatures of Twilio and Plivo: vectors that were made elsewhere, and their own SDKs."""

import itertools
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plivo.utils.signature_v3 import construct_post_url, get_signature_v3, validate_v3_signature
from twilio.request_validator import RequestValidator

from telephony import signatures

# --- Twilio -------------------------------------------------------------------------------------

MYAPP = "https://mycompany.com/myapp.php?foo=1&bar=2"
DIGITS = {
    "CallSid": "CA1234567890ABCDE",
    "Digits": "1234",
    "From": "+14158675309",
    "To": "+18005551212",
    "Caller": "+14158675309",
}
STATUS_URL = "https://voice.example.in/webhooks/twilio/status?call=42"
STATUS = {
    "AccountSid": "AC" + 32 * "0",
    "ApiVersion": "2010-04-01",
    "CallDuration": "61",
    "CallSid": "CA" + 31 * "0" + "1",
    "CallStatus": "completed",
    "CallbackSource": "call-progress-events",
    "Direction": "outbound-api",
    "Duration": "2",
    "From": "+14155550100",
    "SequenceNumber": "3",
    "Timestamp": "Mon, 23 Nov 2026 00:48:59 +0000",
    "To": "+919876543210",
    "SipResponseCode": "200",
}
TOKEN = "12345"


def twilio_takes(url: str, body: bytes, signature: str, **headers: str) -> bool:
    sent = {"x-twilio-signature": signature, **headers}
    return signatures.twilio_is_valid(url, sent, body, TOKEN)


@pytest.mark.parametrize(
    ("url", "fields", "signature"),
    [
        (MYAPP, DIGITS, "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
        (MYAPP, DIGITS, "kvajT1Ptam85bY51eRf/AJRuM3w="),  # made with :443
        (MYAPP.replace(".com/", ".com:443/"), DIGITS, "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
        (MYAPP.replace("https", "http"), DIGITS, "0ZXoZLH/DfblKGATFgpif+LLRf4="),  # with :80
        (
            MYAPP.replace("https", "http").replace(".com/", ".com:1234/"),
            DIGITS,
            "Zmvh+3yNM1Phv2jhDCwEM3q5ebU=",
        ),
        (STATUS_URL, STATUS, "+zZNWtga76S5V4Hq3Hu9O57wSd4="),
    ],
)
def test_twilios_vectors_are_accepted_and_nothing_else(
    url: str, fields: dict[str, str], signature: str
) -> None:
    body = urlencode(fields).encode()
    assert twilio_takes(url, body, signature)
    assert not twilio_takes(url, body + b"&More=", signature)
    assert not twilio_takes(url + "#rc=3", body, signature)
    assert not twilio_takes(url.replace("?", "/?"), body, signature)
    assert not twilio_takes(url.swapcase(), body, signature)
    assert not twilio_takes(url, body, signature.swapcase())
    assert not twilio_takes(url, body, "")
    assert not signatures.twilio_is_valid(url, {"x-twilio-signature": signature}, body, "54321")


def test_a_repeated_field_is_signed_once_a_value() -> None:
    fields = [("Sid", "CA123"), ("SidAccount", "AC123")]
    fields += [("Digits", value) for value in ("5678", "1234", "1234")]
    signature = "IK+Dwps556ElfBT0I3Rgjkr1wJU="
    assert signatures.twilio(MYAPP, fields, TOKEN) == signature
    assert twilio_takes(MYAPP, urlencode(fields).encode(), signature)


def test_a_body_that_is_no_form_is_covered_by_its_digest_in_the_address() -> None:
    digest = "0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620"
    body = b'{"property": "value", "boolean": true}'
    url, signature = f"{MYAPP}&bodySHA256={digest}", "a9nBmqA0ju/hNViExpshrM61xv4="
    assert twilio_takes(url, body, signature)
    assert not twilio_takes(url, body + b" ", signature)


def test_another_algorithm_than_that_of_the_auth_token_is_refused() -> None:
    for url, fields, signature in (
        (MYAPP, DIGITS, "033hgUJA9M/hXIZsYjwkerEP/DBm35nEri5FhCYjA5s="),
        (STATUS_URL, STATUS, "pcyUzdZOVdB0rCXk9hf16bMvEGJIFYPb95kLCVeUpXU="),
    ):
        assert signatures.twilio(url, fields.items(), TOKEN, "sha256") == signature
        body = urlencode(fields).encode()
        settings = {"x-twilio-webhooks-signature-settings": "key=K1,algorithm=HMAC_SHA256"}
        assert not twilio_takes(url, body, signature, **settings)
        valid = signatures.twilio(url, fields.items(), TOKEN)
        assert not twilio_takes(url, body, valid, **settings)
        settings = {"x-twilio-webhooks-signature-settings": "key=K1, algorithm=HMAC_SHA1"}
        assert twilio_takes(url, body, valid, **settings)


names = st.text("abcAB_1", min_size=1, max_size=6)
values = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(st.dictionaries(names, values, max_size=6), st.integers(0, 10**6))
def test_what_twilios_sdk_signs_is_accepted_and_a_changed_byte_is_not(
    fields: dict[str, str], place: int
) -> None:
    url = "https://wallet.example.org/api/telephony/twilio/call_A/status?token=0123"
    signature = RequestValidator(TOKEN).compute_signature(url, fields)
    body = urlencode(fields).encode()
    assert twilio_takes(url, body, signature)
    place %= len(url)
    changed = url[:place] + ("x" if url[place] != "x" else "y") + url[place + 1 :]
    assert not twilio_takes(changed, body, signature)
    assert not twilio_takes(url, body + b"x", signature)


# --- Plivo --------------------------------------------------------------------------------------

NONCE = "12345678901234567890"
HANGUP = "https://example.com/plivo/hangup"
ENDED = {
    "CallUUID": "abc-1",
    "From": "919876543210",
    "To": "919812345678",
    "CallStatus": "completed",
    "Duration": "61",
    "BillDuration": "60",
}
VECTORS: list[tuple[str, str, Any, str, str]] = [
    (
        "POST",
        HANGUP,
        ENDED,
        f"{HANGUP}?BillDuration60CallStatuscompletedCallUUIDabc-1Duration61"
        "From919876543210To919812345678",
        "aSP+PDMMe8gCf0REO4rMst7+wiQwVNQ3Bd4CiE+ixN4=",
    ),
    (
        "POST",
        f"{HANGUP}?call=42&b=2",
        {"CallUUID": "abc-1", "Duration": "61"},
        f"{HANGUP}?b=2&call=42.CallUUIDabc-1Duration61",
        "dKbz4b56zWaGazj9HnKCiELCdMX6WKFgmT8cln505Gw=",
    ),
    (
        "POST",
        f"{HANGUP}?b=2&a=hello%20world",
        {"CallUUID": "abc-1"},
        f"{HANGUP}?a=hello world&b=2.CallUUIDabc-1",
        "efQzAyLgHFXBMLConZx4tZsjauJ9zFRZQbGj5B189PQ=",
    ),
    ("POST", HANGUP, {}, HANGUP, "Pt5amKkULvKagZQ7fFsGBw42FLX+E6rf7I5d743139c="),
    (
        "POST",
        f"{HANGUP}?b=2&a=1",
        {},
        f"{HANGUP}?a=1&b=2",
        "bjN6xi5ZQY+MXtja8M/OTfPjBXy8v8QY4JG7Vr+0ERQ=",
    ),
    (
        "GET",
        "https://example.com/plivo/ring?b=2&a=1",
        {},
        "https://example.com/plivo/ring?a=1&b=2",
        "cpXoqWwq7rNrjmmZw/thk3p1Hl11oD7DFPebInLcwrc=",
    ),
    (
        "GET",
        "https://example.com/plivo/ring",
        {},
        "https://example.com/plivo/ring",
        "7E9KtupfUIXgY4l5xf0zghlwIr6w7lbAprwhA5ylQVw=",
    ),
    (
        "POST",
        "https://example.com:8443/plivo/hangup#ct=2000&rc=3",
        {"A": ""},
        "https://example.com:8443/plivo/hangup?A",
        "pCTb1cw3vGNaOTPbJVTTM+tenWGcX3aH1EmcUACx0P8=",
    ),
    (
        "POST",
        "https://example.com/p",
        [("k", "z"), ("k", "a")],
        "https://example.com/p?kakz",
        "dye5eHfw7Ic8BAXR7FVJwVoem1JSqvZ7eMkU0zWKcxU=",
    ),
]


def plivo_takes(
    url: str,
    body: bytes,
    signature: str,
    *,
    token: str = "my_auth_token",
    nonce: str = NONCE,
    method: str = "POST",
    header: str = "x-plivo-signature-v3",
) -> bool:
    headers = {header: signature, "x-plivo-signature-v3-nonce": nonce}
    return signatures.plivo_is_valid(url, headers, body, token, method=method)


@pytest.mark.parametrize(("method", "url", "fields", "text", "signature"), VECTORS)
def test_plivos_vectors_are_accepted_and_nothing_else(
    method: str, url: str, fields: Any, text: str, signature: str
) -> None:
    body = urlencode(fields).encode()
    assert signatures.plivo_text(method, url, signatures.form(body)) == text
    assert plivo_takes(url, body, signature, method=method)
    assert plivo_takes(url, body, signature, method=method, header="x-plivo-signature-ma-v3")
    assert plivo_takes(url, body, f"AAAA, {signature}", method=method)
    for wrong in (
        plivo_takes(url, body + b"&x=1", signature, method=method),
        plivo_takes(url.replace("example", "elpmaxe"), body, signature, method=method),
        plivo_takes(url, body, signature, method=method, nonce=NONCE + "1"),
        plivo_takes(url, body, signature, method=method, nonce=""),
        plivo_takes(url, body, signature, method=method, token="another"),
        plivo_takes(url, body, signature, method=method, header="x-plivo-signature-v2"),
        plivo_takes(url, body, "", method=method),
    ):
        assert not wrong


def test_a_signature_that_somebody_else_made_is_accepted() -> None:
    fields = {
        "CallUUID": "4vbcpem8-0u46-x1ha-9af1-438vc92bf374",
        "Digits": "1234",
        "From": "+15551111111",
        "To": "+15555555555",
    }
    assert plivo_takes(
        "https://example.com/abcd?foo=bar",
        urlencode(fields).encode(),
        "Rd0E/xpBKM9WgLTg4CX7mKwJlvGex3GvJivzq1ESO6c=",
        token="plivo_test_auth_token",
        nonce="kjsdhfsd87sd7yisud2",
    )


def test_what_plivos_prose_describes_is_refused() -> None:
    url, body = "https://example.com/p", b"A=1"
    for signature, valid in (
        ("+0g/fTJTugnhnSnuIKaXEyHNXUyeJT7cmID87xd71bs=", True),
        ("hvK1rdfafsMwL25KftcJph1dGV/Pb3WSxPt0GbQsgOg=", False),
        ("ehV3IKhLysWBxC1sy8INm0qGoQYdYsHwuoKjsX7FsXc=", False),  # V2
    ):
        assert plivo_takes(url, body, signature, token="t", nonce="n") is valid


@given(st.dictionaries(names, values, max_size=6), st.integers(0, 10**6))
def test_what_plivos_sdk_signs_is_accepted_and_a_changed_byte_is_not(
    fields: dict[str, str], place: int
) -> None:
    url = "https://wallet.example.org/api/telephony/plivo/call_A/status?token=0123"
    text = construct_post_url(url, dict(fields)).decode()
    signature = get_signature_v3("my_auth_token", text, NONCE).decode()
    assert validate_v3_signature("POST", url, NONCE, "my_auth_token", signature, dict(fields))
    body = urlencode(fields).encode()
    assert plivo_takes(url, body, signature)
    place %= len(url)
    changed = url[:place] + ("x" if url[place] != "x" else "y") + url[place + 1 :]
    assert not plivo_takes(changed, body, signature)
    assert not plivo_takes(url, body + b"x", signature)


def test_signatures_of_different_schemes_are_never_the_same() -> None:
    made = [
        signatures.twilio(HANGUP, ENDED.items(), TOKEN),
        signatures.twilio(HANGUP, ENDED.items(), TOKEN, "sha256"),
        signatures.plivo("POST", HANGUP, list(ENDED.items()), NONCE, TOKEN),
        signatures.plivo("GET", HANGUP, list(ENDED.items()), NONCE, TOKEN),
    ]
    assert all(one != other for one, other in itertools.combinations(made, 2))
