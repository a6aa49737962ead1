"""The application: routers, start and stop of everything, the OpenAPI schema."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import fastapi_offline
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.staticfiles import StaticFiles

import gateway
import telephony
import users
import wallet
import worker
from api import (
    api_keys,
    calling_hours,
    calls,
    campaign_life,
    campaign_results,
    campaign_uploads,
    campaigns,
    complaints,
    console,
    do_not_call,
    events,
    middleware,
    numbers,
    payments,
    razorpay_webhooks,
    refunds,
    system,
    telephony_callbacks,
    transactions,
)
from api import auth as auth_routes
from api import disputes as dispute_routes
from api import wallet as wallet_routes
from api.admin import (
    analytics,
    audit,
    audit_log,
    calling_rules,
    customers,
    disputes,
    networks,
    rate_cards,
    rate_previews,
    reconciliation,
    review,
    webhooks,
)
from auth import sessions
from core import config, database, logs

log = logging.getLogger(__name__)

DESCRIPTION = """A prepaid wallet for outbound calling: recharge through Razorpay, calls that are
charged by themselves when they end, and a history that adds up to the paisa.

Amounts are rupees with at most two decimals. Errors are `application/problem+json` with a `code`."""

# In the order in which the Swagger page shows them.
ROUTERS = (
    auth_routes.router,
    api_keys.router,
    wallet_routes.router,
    payments.router,
    refunds.router,
    dispute_routes.router,
    razorpay_webhooks.router,
    transactions.router,
    calls.router,
    telephony_callbacks.router,
    campaign_results.router,  # `/api/campaigns/statistics` comes before `/{campaign_id}`
    campaigns.router,
    campaign_uploads.router,
    campaign_life.router,
    events.router,
    do_not_call.router,
    complaints.router,
    calling_hours.router,
    numbers.router,
    calling_rules.router,
    customers.router,
    customers.adjustments,
    rate_previews.router,
    rate_cards.router,
    analytics.router,
    networks.router,
    reconciliation.router,
    review.router,
    webhooks.router,
    disputes.router,
    audit.router,
    audit_log.router,
    system.router,
    console.router,
)


# Whether the start failed after this process had begun to serve (for the start command).
has_failed = False


def calm_the_collector() -> None:
    """Exempt what is loaded by now from the garbage collector, and collect less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Connect, prepare, start what runs by itself; stop it in the opposite order.

    While MongoDB is away, this process serves: every request is answered 503 until it is back.
    """
    chosen = config.settings()
    found = config.problems(chosen)
    if not chosen.mongodb_uri:
        found.append("MONGODB_URI is empty: start with ./setup_wallet.sh run, which embeds MongoDB")
    if found:
        raise RuntimeError("cannot start:\n- " + "\n- ".join(found))
    await database.connect(chosen.mongodb_uri, chosen.mongodb_db)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(database.close)
        middleware.refuse_requests(app)
        starting = asyncio.create_task(_start_parts(app, stack), name="start")
        stack.push_async_callback(_end, starting)
        while not starting.done() and not database.is_known_to_be_away():
            await asyncio.wait({starting}, timeout=0.1)
        if starting.done():
            starting.result()
        else:
            log.warning("MongoDB is away: requests are answered 503 until it is back")
            starting.add_done_callback(_give_up_when_failed)
        yield


async def _start_parts(app: FastAPI, stack: contextlib.AsyncExitStack) -> None:
    """Start everything, each as soon as MongoDB is there; what is to be stopped goes on the stack."""
    await database.when_back(database.refuse_standalone)
    await database.when_back(database.prepare)
    for part in (gateway, sessions, wallet, telephony):
        await database.when_back(part.start)
        stack.push_async_callback(part.stop)
    await database.when_back(users.ensure_first_admin)
    await database.when_back(users.reencrypt_second_factors)
    await worker.start()
    stack.push_async_callback(worker.stop)
    calm_the_collector()
    middleware.accept_requests(app)
    chosen = config.settings()
    mode = chosen.gateway_mode
    log.info("ready in process %d: %s, Razorpay %s", os.getpid(), chosen.app_env, mode)


async def _end(starting: asyncio.Task[None]) -> None:
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)


def _give_up_when_failed(starting: asyncio.Task[None]) -> None:
    """End the process: what started it starts another one, or says why it cannot be started."""
    if not starting.cancelled() and (problem := starting.exception()) is not None:
        global has_failed
        has_failed = True
        log.error("cannot start: %s", problem, exc_info=problem)
        os.kill(os.getpid(), signal.SIGTERM)


def create_app() -> FastAPI:
    """The whole application."""
    chosen = config.settings()
    app = FastAPI(
        title="Wallet",
        version="0.2.1",
        description=DESCRIPTION,
        lifespan=lifespan,
        openapi_url="/openapi.json" if chosen.serves_docs else None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # it would lead to whatever `Host` says
    )
    middleware.install(app)
    if origins := chosen.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=[
                "Authorization",
                "Content-Type",
                "Idempotency-Key",
                "If-Match",
                "If-Modified-Since",
                "If-None-Match",
                "If-Unmodified-Since",
                "Last-Event-ID",
                "X-Device-Token",
                "X-Request-Id",
            ],
            expose_headers=[
                "Allow",
                "Content-Disposition",
                "ETag",
                "Idempotency-Replayed",
                "Location",
                "RateLimit-Limit",
                "RateLimit-Remaining",
                "RateLimit-Reset",
                "Retry-After",
                "X-Request-Id",
            ],
        )
    for router in ROUTERS:
        app.include_router(router)
    if chosen.serves_docs:
        app.include_router(system.pages)
        assets = Path(fastapi_offline.__file__).parent / "static"
        app.mount("/docs-assets", StaticFiles(directory=assets), name="docs-assets")
    return app


def __getattr__(name: str) -> FastAPI:
    """The attribute `app`, for `uvicorn main:app`: built when it is asked for, not by an import."""
    if name == "app":
        logs.configure()
        return create_app()
    raise AttributeError(name)
