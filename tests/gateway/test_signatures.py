"""Who sent it: vectors of the official SDK, and everything that is no signature."""

import hmac
import json
from collections.abc import Iterator
from typing import Any

import pytest
import razorpay
from pydantic import SecretStr

from core import config
from gateway import signatures


@pytest.fixture
def secrets() -> Iterator[Any]:
    """Settings with these secrets and nothing else."""

    def use(
        *, key: str = "key_secret", key_before: str = "", hook: str = "", previous: str = ""
    ) -> None:
        config.use(
            config.Settings(
                _env_file=None,
                jwt_secret=SecretStr("a-secret-for-the-tests-only-0123456789"),
                razorpay_key_id="rzp_test_elsewhere",
                razorpay_key_secret=SecretStr(key),
                razorpay_key_secret_previous=SecretStr(key_before),
                razorpay_webhook_secret=SecretStr(hook),
                razorpay_webhook_secret_previous=SecretStr(previous),
            )
        )

    before = config._current
    yield use
    config.use(before)


# --- Checkout -----------------------------------------------------------------------------------

VECTOR = ("order_fake", "pay_fake")


def test_our_hmac_agrees_with_the_vectors_of_razorpays_own_sdk() -> None:
    assert (
        signatures.sign_checkout("fake_order_id", "fake_payment_id", "key_secret")
        == "b2335e3b0801106b84a7faff035df56ecffde06918c9ddd1f0fafbb37a51cc89"
    )
    # The subscription's vector has the same form, with the payment first.
    assert (
        signatures.sign_checkout(
            "pay_IDZNwZZFtnjyym", "sub_ID6MOhgkcoHj9I", "EnLs21M47BllR3X8PSFtjtbd"
        )
        == "601f383334975c714c91a7d97dd723eb56520318355863dcf3821c0d07a17693"
    )


def test_a_signature_is_valid_for_its_own_order_and_payment_alone(secrets: Any) -> None:
    secrets()
    signature = signatures.sign_checkout(*VECTOR, "key_secret")
    assert signatures.checkout_is_valid(*VECTOR, signature)
    assert not signatures.checkout_is_valid("order_other", "pay_fake", signature)
    assert not signatures.checkout_is_valid("order_fake", "pay_other", signature)
    for place in range(len(signature)):
        flipped = "0" if signature[place] != "0" else "1"
        tampered = signature[:place] + flipped + signature[place + 1 :]
        assert not signatures.checkout_is_valid(*VECTOR, tampered)


def test_what_was_begun_with_the_key_before_is_still_believed(secrets: Any) -> None:
    """Checkout was open in a browser when the key was changed."""
    signature = signatures.sign_checkout(*VECTOR, "key_secret")
    secrets(key="the new secret", key_before="key_secret")
    assert signatures.checkout_is_valid(*VECTOR, signature)
    assert signatures.checkout_is_valid(
        *VECTOR, signatures.sign_checkout(*VECTOR, "the new secret")
    )
    secrets(key="the new secret")
    assert not signatures.checkout_is_valid(*VECTOR, signature)
    assert not signatures.checkout_is_valid(*VECTOR, signatures.sign_checkout(*VECTOR, ""))


def test_no_odd_input_is_a_signature_and_none_raises(secrets: Any) -> None:
    secrets()
    signature = signatures.sign_checkout(*VECTOR, "key_secret")
    odd = ["", " ", signature.upper(), signature + "0", signature[:-1], f" {signature}", "é" * 64]
    odd += ["\x00" * 64, "٣" * 64, signature + "\n"]
    for text in odd:
        assert not signatures.checkout_is_valid(*VECTOR, text), text
    # Both halves joined elsewhere have the same HMAC; their form gives them away.
    shifted = hmac.new(b"key_secret", b"order_a|pay_b|pay_c", "sha256").hexdigest()
    assert not signatures.checkout_is_valid("order_a", "pay_b|pay_c", shifted)
    assert not signatures.checkout_is_valid("order_a|pay_b", "pay_c", shifted)


def test_an_empty_secret_signs_nothing(secrets: Any) -> None:
    secrets(key="")
    assert not signatures.checkout_is_valid(*VECTOR, signatures.sign_checkout(*VECTOR, ""))


# --- webhooks -----------------------------------------------------------------------------------

BODY = json.dumps({"event": "payment.captured", "name": "A\u0301sha रमेश", "paise": 100}).encode()


def test_the_sdk_signs_webhooks_and_payments_as_we_do(secrets: Any) -> None:
    """A second opinion: what our functions sign, the official SDK verifies, and nothing else."""
    secrets(hook="webhook_secret")
    client = razorpay.Client(auth=("rzp_test_elsewhere", "key_secret"))
    signature = signatures.sign_webhook(BODY, "webhook_secret")
    client.utility.verify_webhook_signature(BODY.decode(), signature, "webhook_secret")
    with pytest.raises(razorpay.errors.SignatureVerificationError):
        client.utility.verify_webhook_signature(BODY.decode() + " ", signature, "webhook_secret")
    client.utility.verify_payment_signature(
        {
            "razorpay_order_id": VECTOR[0],
            "razorpay_payment_id": VECTOR[1],
            "razorpay_signature": signatures.sign_checkout(*VECTOR, "key_secret"),
        }
    )


def test_a_webhook_is_valid_byte_for_byte(secrets: Any) -> None:
    secrets(hook="webhook_secret")
    signature = signatures.sign_webhook(BODY, "webhook_secret")
    assert signatures.webhook_is_valid(BODY, signature)
    again = json.dumps(json.loads(BODY), ensure_ascii=False).encode()  # the same JSON, other bytes
    for body in (BODY + b" ", BODY[:-1], again, b"", b"\xff" + BODY):
        assert not signatures.webhook_is_valid(body, signature)


def test_the_previous_secret_is_accepted_and_a_third_is_not(secrets: Any) -> None:
    secrets(hook="the new secret", previous="the old secret")
    assert signatures.webhook_is_valid(BODY, signatures.sign_webhook(BODY, "the new secret"))
    assert signatures.webhook_is_valid(BODY, signatures.sign_webhook(BODY, "the old secret"))
    assert not signatures.webhook_is_valid(BODY, signatures.sign_webhook(BODY, "key_secret"))


def test_without_a_webhook_secret_nothing_is_valid(secrets: Any) -> None:
    secrets(hook="", previous="")
    assert not signatures.webhook_is_valid(BODY, signatures.sign_webhook(BODY, ""))


def test_no_odd_header_is_a_webhooks_signature_and_none_raises(secrets: Any) -> None:
    secrets(hook="webhook_secret")
    right = signatures.sign_webhook(BODY, "webhook_secret")
    for odd in ("", " ", right.upper(), f"{right} ", "é" * 64, "٣" * 64, "0" * 10_000):
        assert not signatures.webhook_is_valid(BODY, odd)
