"""Admin routes of webhooks: list what arrived, replay one."""

from fastapi import APIRouter
from pydantic import BaseModel

from api import problems
from api.dependencies import Admin, Operator, PageOfLongCursor
from api.fields import Instant
from auth import audit_log
from auth.audit_log import Target
from core import outbox
from core.errors import InvalidCursor, NotFound
from core.outbox import Event
from reconciliation.webhooks import EVENT, WebhookState

router = APIRouter(prefix="/api/admin/webhooks", tags=["admin"], route_class=problems.Route)


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
    responses=problems.documented(InvalidCursor),
)
async def get_webhooks(
    _: Operator,
    page: PageOfLongCursor,
    state: WebhookState | None = None,
) -> WebhooksOut:
    """What Razorpay reported, the newest first; `state=dead` for what needs a person."""
    found, next_cursor = await outbox.list_events(
        EVENT, state=state, limit=page.limit, cursor=page.cursor
    )
    return WebhooksOut(webhooks=[_out(event) for event in found], next_cursor=next_cursor)


@router.get(
    "/{webhook_id}",
    response_model=WebhookDetailOut,
    responses=problems.documented(NotFound),
)
async def get_webhook(webhook_id: str, _: Operator) -> WebhookDetailOut:
    """A webhook with what was received, byte by byte."""
    event = await outbox.find_event(webhook_id, EVENT)
    if event is None:
        raise NotFound("There is no such webhook.")
    return _with_body(event)


@router.post(
    "/{webhook_id}/replay",
    response_model=WebhookDetailOut,
    responses=problems.documented(NotFound),
)
async def replay_webhook(webhook_id: str, _: Admin) -> WebhookDetailOut:
    """Handle a webhook once more, whatever became of it. It credits nothing twice."""
    event = await outbox.retry_event(webhook_id, EVENT)
    if event is None:
        raise NotFound("There is no such webhook.")
    audit_log.describe(
        "webhook.replay",
        Target("webhook", webhook_id),
        after={"event": event["data"]["event"], "state": event["state"]},
    )
    return _with_body(event)


def _with_body(event: Event) -> WebhookDetailOut:
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
