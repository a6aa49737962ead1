"""The application: every router, one lifespan, the Swagger page without the internet."""

import contextlib
import gc
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import fastapi_offline
from fastapi import APIRouter, FastAPI, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    generate_latest,
    multiprocess,
)

import adjustments
import analytics
import api
import auth
import balances
import calls
import campaigns
import config
import database
import disputes
import errors
import exchange
import gateway
import history
import logs
import openitems
import people
import quotes
import ratecards
import rates
import recharges
import reconcile
import refunds
import security
import telephony
import users
import wallet
import webhooks
import worker
from errors import Unavailable

log = logging.getLogger(__name__)

# --- vocabulary ---------------------------------------------------------------------------------

DESCRIPTION = """A prepaid wallet for outbound calling: recharge through Razorpay, calls that are
charged by themselves when they end, and a history that adds up to the paisa.

Amounts are rupees with at most two decimals. Errors are `application/problem+json` with a `code`."""

_ROUTERS: list[APIRouter] = [
    module.router
    for module in (
        auth,
        balances,
        adjustments,
        rates,
        ratecards,
        quotes,
        recharges,
        refunds,
        disputes,
        webhooks,
        history,
        calls,
        exchange,
        campaigns,
        analytics,
        people,
        openitems,
        reconcile,
    )
    if getattr(module, "router", None) is not None
]


# --- verbs --------------------------------------------------------------------------------------


def calm_the_collector() -> None:
    """What is loaded by now stays: the garbage collector need not look at it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@contextlib.asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Connect, prepare, start what runs by itself; stop it in the opposite order."""
    chosen = config.settings()
    found = config.problems(chosen)
    if not chosen.mongodb_uri:
        found.append("MONGODB_URI is empty: start with ./setup_wallet.sh run, which embeds MongoDB")
    if found:
        raise RuntimeError("cannot start:\n- " + "\n- ".join(found))
    await database.connect(chosen.mongodb_uri, chosen.mongodb_db)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(database.close)
        await database.refuse_standalone()
        await database.prepare()
        for part in (gateway, security, wallet, telephony):
            await part.start()
            stack.push_async_callback(part.stop)
        await users.ensure_first_admin()
        await worker.start()
        stack.push_async_callback(worker.stop)
        calm_the_collector()
        log.info("ready: %s, Razorpay %s", chosen.app_env, chosen.gateway_mode)
        yield


def create_app() -> FastAPI:
    """The whole application."""
    app = FastAPI(
        title="Wallet",
        version="0.2.1",
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    api.install(app)
    if origins := config.settings().cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key"],
            expose_headers=[
                "Content-Disposition",
                "Idempotency-Replayed",
                "Retry-After",
                "X-Request-Id",
            ],
        )
    for part in _ROUTERS:
        app.include_router(part)
    app.include_router(router)
    assets = Path(fastapi_offline.__file__).parent / "static"
    app.mount("/docs-assets", StaticFiles(directory=assets), name="docs-assets")
    return app


# --- routes -------------------------------------------------------------------------------------

router = APIRouter(tags=["system"])


@router.get("/health")
@router.head("/health", include_in_schema=False)
async def health() -> dict[str, str]:
    """200 while the process lives."""
    return {"status": "ok"}


@router.get("/ready", responses=api.documented(Unavailable))
@router.head("/ready", include_in_schema=False)
async def ready() -> dict[str, str]:
    """200 when the database answers and the committer and the worker run; else 503."""
    await database.ping()
    if not wallet.is_running() or not worker.is_running():
        raise Unavailable("The committer or the worker of this process is not running.")
    return {"status": "ready"}


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics() -> Response:
    """The figures of every process of the service in Prometheus' text format."""
    registry: CollectorRegistry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


@router.get(
    "/problems/{code}",
    response_class=PlainTextResponse,
    responses=api.documented(errors.NotFound),
)
async def problem(code: str) -> str:
    """What an error code means: the page that a problem's `type` points to."""
    found = [
        f"{kind.status} {code}: {kind.title}\n\n{kind.__doc__}\n"
        for kind in _kinds_of_problem(errors.Problem)
        if vars(kind).get("code") == code
    ]
    if not found:
        raise errors.NotFound("There is no error with this code.")
    return "\n".join(found)


def _kinds_of_problem(kind: type[errors.Problem]) -> list[type[errors.Problem]]:
    found = [kind]
    for child in kind.__subclasses__():
        found += _kinds_of_problem(child)
    return found


@router.get("/docs", include_in_schema=False)
async def docs() -> HTMLResponse:
    """The Swagger page; its assets are served from here."""
    return get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="Wallet API",
        swagger_js_url="/docs-assets/swagger-ui-bundle.js",
        swagger_css_url="/docs-assets/swagger-ui.css",
        swagger_favicon_url="/docs-assets/favicon.png",
        swagger_ui_parameters={"persistAuthorization": True, "displayRequestDuration": True},
    )


@router.get("/", include_in_schema=False)
async def home() -> RedirectResponse:
    """The Swagger page, until there is a console."""
    return RedirectResponse("/docs")


def __getattr__(name: str) -> Any:
    """`uvicorn main:app` asks for `app`; importing this module alone builds nothing."""
    if name == "app":
        logs.configure()
        return create_app()
    raise AttributeError(name)
