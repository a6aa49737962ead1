"""System routes: health, readiness, metrics, the pages of the error codes, Swagger."""

import asyncio
import base64
import datetime as dt
import hashlib
import hmac
import ipaddress
import os
import re
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, PlainTextResponse
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
from core import clock, config, database, errors
from core.errors import Forbidden, Unauthenticated, Unavailable

router = APIRouter(tags=["system"], route_class=problems.LenientRoute)
# The Swagger page, where it is served (`API_DOCS`).
pages = APIRouter(include_in_schema=False, route_class=problems.LenientRoute)


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


_METRICS_KEPT_SECONDS = 1.0
_rendering: asyncio.Task[bytes] | None = None
_rendered_at = 0.0


async def _metrics_text() -> bytes:
    """The text, made in a thread at most once a second: it takes the interpreter from all others."""
    global _rendering, _rendered_at
    loop = asyncio.get_running_loop()
    is_over = _rendering is not None and _rendering.done()
    is_old = is_over and loop.time() > _rendered_at + _METRICS_KEPT_SECONDS
    if _rendering is None or is_old or _rendering.get_loop() is not loop:
        _rendered_at = loop.time()
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
    page = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="Wallet API",
        swagger_js_url="/docs-assets/swagger-ui-bundle.js",
        swagger_css_url="/docs-assets/swagger-ui.css",
        swagger_favicon_url="/docs-assets/favicon.png",
        swagger_ui_parameters={"persistAuthorization": True, "displayRequestDuration": True},
    )
    page.headers["content-security-policy"] = _policy_of_docs(bytes(page.body))
    return page


def _policy_of_docs(page: bytes) -> str:
    """Its own scripts and styles alone: the script in the page is named by its hash."""
    hashes = [
        f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'"
        for script in re.findall(rb"<script>(.*?)</script>", page, re.DOTALL)
    ]
    return (
        f"default-src 'self'; script-src 'self' {' '.join(hashes)}; img-src 'self' data:;"
        " style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'none'"
    )


_CONTACT_DAYS = 180


@router.get("/.well-known/security.txt", include_in_schema=False, response_class=PlainTextResponse)
async def security_contact() -> str:
    """Where to report a weakness (RFC 9116); 404 unless `SECURITY_CONTACT` is set."""
    chosen = config.settings()
    if not chosen.security_contact:
        raise errors.NotFound("There is nothing at this address.")
    expires = clock.now().replace(microsecond=0) + dt.timedelta(days=_CONTACT_DAYS)
    lines = [
        f"Contact: {chosen.security_contact}",
        f"Expires: {expires:%Y-%m-%dT%H:%M:%SZ}",
        "Preferred-Languages: en",
        f"Canonical: {chosen.base_url}/.well-known/security.txt",
    ]
    return "\n".join(lines) + "\n"
