"""System routes: health, readiness, metrics, the pages of the error codes, Swagger."""

import asyncio
import hmac
import ipaddress
import os
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    generate_latest,
    multiprocess,
)

import wallet
import worker
from api import dependencies, problems
from core import config, database, errors
from core.errors import Forbidden, Unauthenticated, Unavailable

router = APIRouter(tags=["system"], route_class=problems.Route)
# The Swagger page, where it is served (`API_DOCS`).
pages = APIRouter(include_in_schema=False, route_class=problems.Route)


@router.get("/health")
async def health() -> dict[str, str]:
    """200 while the process lives."""
    return {"status": "ok"}


@router.get("/ready", responses=problems.documented(Unavailable))
async def ready() -> dict[str, str]:
    """200 when the database answers and the committer and the worker run; else 503, within 2 seconds."""
    await database.ping()
    if not wallet.is_running() or not worker.is_running():
        stuck = "".join(f" Stuck: {name}." for name in worker.stuck_jobs())
        raise Unavailable(f"The committer or the worker of this process is not running.{stuck}")
    return {"status": "ready"}


@problems.raises(Unauthenticated, Forbidden)
async def _reader_of_metrics(request: Request) -> None:
    """Who sends `METRICS_TOKEN`. Without that setting, in production nobody, and elsewhere what asks
    from this machine: not through a proxy, since one on this machine may not say for whom it asks."""
    chosen = config.settings()
    token = chosen.metrics_token.get_secret_value()
    if token:
        scheme, _, sent = request.headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(sent.strip().encode(), token.encode())
        if scheme.lower() != "bearer" or not right:
            raise Unauthenticated("Send METRICS_TOKEN: Authorization: Bearer <token>.")
    elif chosen.app_env == "production":
        raise Forbidden("Nobody reads the metrics here until METRICS_TOKEN is set.")
    elif _is_forwarded(request) or not _is_loopback(dependencies.client_address(request)):
        raise Forbidden("Without METRICS_TOKEN, only this machine reads the metrics.")


def _is_forwarded(request: Request) -> bool:
    return any(name == "forwarded" or name.startswith("x-forwarded-") for name in request.headers)


def _is_loopback(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return (getattr(parsed, "ipv4_mapped", None) or parsed).is_loopback


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(reader: Annotated[None, Depends(_reader_of_metrics)]) -> Response:
    """The figures of every process of the service in Prometheus' text format."""
    return Response(await _metrics_text(), media_type=CONTENT_TYPE_LATEST)


_rendering: asyncio.Task[bytes] | None = None


async def _metrics_text() -> bytes:
    """The text, made in a thread; who asks while it is made shares it."""
    global _rendering
    loop = asyncio.get_running_loop()
    if _rendering is None or _rendering.done() or _rendering.get_loop() is not loop:
        _rendering = asyncio.create_task(asyncio.to_thread(_render_metrics))
    return await asyncio.shield(_rendering)


def _render_metrics() -> bytes:
    registry: CollectorRegistry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


@router.get(
    "/problems/{code}",
    response_class=PlainTextResponse,
    responses=problems.documented(errors.NotFound),
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


@pages.get("/docs")
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


@pages.get("/")
async def home() -> RedirectResponse:
    """The Swagger page, until there is a console."""
    return RedirectResponse("/docs")
