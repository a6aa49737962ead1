"""Razorpay's webhook route: the signature checked, the event stored, answered at once."""

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel

from api import problems
from core import config
from core.errors import NotFound
from payments import InvalidSignature
from reconciliation import webhooks

router = APIRouter(
    prefix="/api/payment/webhook", tags=["payment"], route_class=problems.LenientRoute
)


class ReceivedOut(BaseModel):
    """`repeated`: it is stored already."""

    status: Literal["stored", "repeated"]


_header = {"in": "header", "schema": {"type": "string"}}
_openapi = {
    "requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}},
    "parameters": [
        {"name": "X-Razorpay-Signature", "required": True, **_header},
        {"name": "x-razorpay-event-id", "required": False, **_header},
    ],
}


@router.post(
    "",
    response_model=ReceivedOut,
    responses=problems.documented(InvalidSignature),
    openapi_extra=_openapi,
)
async def post_webhook(request: Request) -> ReceivedOut:
    """Razorpay reports an event. Answered when it is stored; what follows from it comes after."""
    fresh = await webhooks.record_webhook(
        await request.body(),
        signature=request.headers.get("x-razorpay-signature", ""),
        event_id=request.headers.get("x-razorpay-event-id", ""),
    )
    return ReceivedOut(status="stored" if fresh else "repeated")


@router.post(
    "/{mode}",
    response_model=ReceivedOut,
    responses=problems.documented(InvalidSignature, NotFound),
    openapi_extra=_openapi,
)
async def post_webhook_of_mode(mode: Literal["test", "live"], request: Request) -> ReceivedOut:
    """The same at an address for one mode: a webhook does not say which mode it is of."""
    if mode != config.settings().gateway_mode:
        raise NotFound(f"This service runs in {config.settings().gateway_mode} mode.")
    return await post_webhook(request)
