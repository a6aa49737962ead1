"""Razorpay signatures: of Checkout's answer in the browser, and of webhooks.

Our own HMAC over raw bytes, because the SDK's raises on bytes and on non-ASCII input, and takes an
empty secret (docs/adr/0003-our-own-signatures.md).
"""

import hmac
import re

from core import config
from gateway.entities import is_id

_form = re.compile(r"[0-9a-f]{64}")


# --- verbs --------------------------------------------------------------------------------------


def sign_checkout(order_id: str, payment_id: str, key_secret: str) -> str:
    """Checkout's signature: hex HMAC-SHA256 of `order_id|payment_id` under the key's secret.

    Razorpay, Standard Checkout, "verify payment signature".
    """
    message = f"{order_id}|{payment_id}".encode()
    return hmac.new(key_secret.encode(), message, "sha256").hexdigest()


def checkout_is_valid(order_id: str, payment_id: str, signature: str) -> bool:
    """Whether Razorpay signed this payment for this order; False for any malformed input.

    `order_id` is the one from our own record. A valid signature proves who sent it, not that money
    was captured. The key's previous secret is accepted, too: Checkout may have been open in a
    browser when the key was changed.
    """
    chosen = config.settings()
    previous = chosen.razorpay_key_secret_previous.get_secret_value()
    if not chosen.gateway_key_secret or not _form.fullmatch(signature):
        return False
    if not is_id("order", order_id) or not is_id("pay", payment_id):
        return False
    return any(
        hmac.compare_digest(
            sign_checkout(order_id, payment_id, secret).encode(), signature.encode("ascii")
        )
        for secret in (chosen.gateway_key_secret, previous)
        if secret
    )


def webhook_is_valid(body: bytes, signature: str) -> bool:
    """Whether Razorpay signed these bytes with the current or the previous webhook secret; False
    for any malformed input, and always without a secret."""
    chosen = config.settings()
    previous = chosen.razorpay_webhook_secret_previous.get_secret_value()
    if not _form.fullmatch(signature):
        return False
    return any(
        hmac.compare_digest(sign_webhook(body, secret).encode(), signature.encode("ascii"))
        for secret in (chosen.gateway_webhook_secret, previous)
        if secret
    )


def sign_webhook(body: bytes, secret: str) -> str:
    """`X-Razorpay-Signature`: hex HMAC-SHA256 of the raw body under the webhook's secret."""
    return hmac.new(secret.encode(), body, "sha256").hexdigest()
