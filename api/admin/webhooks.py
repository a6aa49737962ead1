"""Admin routes of webhooks: list what arrived, replay one."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from api import problems
from api.dependencies import Admin
from api.fields import Instant
from core import outbox, pagination
from core.errors import Forbidden, InvalidCursor, NotFound, Unauthenticated
from core.outbox import Event
from reconciliation.webhooks import EVENT, WebhookState

router = APIRouter(prefix="/api/admin/webhooks", tags=["admin"])


class WebhookOut(BaseModel):
    """A stored webhook and what came of it: `outcome` when it is done, else why not in `failure`."""

    webhook_id: str
    event: str
    razorpay_event_id: str
    state: str
    outcome: str | None
    failure: str | None
    attempts: int
    received_at: Instant


class WebhookDetailOut(WebhookOut):
    """With what was received, byte by byte."""

    body: str


class WebhooksOut(BaseModel):
    """A page of webhooks."""

    webhooks: list[WebhookOut]
    next_cursor: str | None


@router.get(
    "",
    response_model=WebhooksOut,
    responses=problems.documented(Unauthenticated, Forbidden, InvalidCursor),
)
async def get_webhooks(
    _: Admin,
    state: WebhookState | None = None,
    limit: Annotated[
        int, Query(ge=1, le=pagination.PAGE_LIMIT_MAX)
    ] = pagination.PAGE_LIMIT_DEFAULT,
    cursor: Annotated[str | None, Query(max_length=1_000)] = None,
) -> WebhooksOut:
    """What Razorpay reported, the newest first; `state=dead` for what needs a person."""
    found, next_cursor = await outbox.list_events(EVENT, state=state, cursor=cursor, limit=limit)
    return WebhooksOut(webhooks=[_out(event) for event in found], next_cursor=next_cursor)


@router.post(
    "/{webhook_id}/replay",
    response_model=WebhookDetailOut,
    responses=problems.documented(Unauthenticated, Forbidden, NotFound),
)
async def replay_webhook(webhook_id: str, _: Admin) -> WebhookDetailOut:
    """Handle a webhook once more, whatever became of it. It credits nothing twice."""
    event = await outbox.retry_event(webhook_id, EVENT)
    if event is None:
        raise NotFound("There is no such webhook.")
    return WebhookDetailOut(**_out(event).model_dump(), body=event["data"]["body"])


def _out(event: Event) -> WebhookOut:
    return WebhookOut(
        webhook_id=event["_id"],
        event=event["data"]["event"],
        razorpay_event_id=event["data"]["razorpay_event_id"],
        state=event["state"],
        outcome=event.get("outcome"),
        failure=event.get("failure"),
        attempts=event["attempts"],
        received_at=event["at"],
    )
