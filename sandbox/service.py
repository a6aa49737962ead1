"""The service as it runs without Razorpay keys: the product, and the Razorpay sandbox mounted in it."""

import contextlib
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.routing import Mount

import main
from core import config
from sandbox import app
from sandbox import demo as demo  # for `manage.py demo`: other packages know this file alone


def create_app() -> Starlette:
    """The product at `/` and a Razorpay at `/sandbox`, started and stopped together.

    The product does not know: it reaches the sandbox over HTTP, at the base URL of its settings.
    """
    chosen = config.settings()
    gateway_app = app.create_app(
        mongodb_uri=chosen.mongodb_uri,
        database=f"{chosen.mongodb_db}_sandbox",
        key_id=chosen.gateway_key_id,
        key_secret=chosen.gateway_key_secret,
        webhook_secret=chosen.gateway_webhook_secret,
        webhook_secret_previous=chosen.razorpay_webhook_secret_previous.get_secret_value(),
        webhook_url=f"{chosen.own_url}/api/payment/webhook",
    )
    product = main.create_app()

    @contextlib.asynccontextmanager
    async def both(_: Starlette) -> AsyncIterator[None]:
        async with (
            gateway_app.router.lifespan_context(gateway_app),
            product.router.lifespan_context(product),
        ):
            yield

    whole = Starlette(routes=[Mount("/sandbox", app=gateway_app)], lifespan=both)
    # Not mounted at "/": a mount does not match an address with a line break in it.
    whole.router.default = product
    whole.router.redirect_slashes = False
    return whole
