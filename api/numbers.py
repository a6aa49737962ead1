"""Number routes: why a number was called."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel

from api import fields, problems
from api.dependencies import CurrentUser, may_see, scope_of
from core.errors import Forbidden
from core.phone_numbers import InvalidNumber
from reporting import number_history

router = APIRouter(prefix="/api/numbers", tags=["complaints"], route_class=problems.Route)


class HistoryOut(BaseModel):
    """What is known about a number. `calls`: the latest 200, each with campaign, purpose, window and
    caller id; `campaigns`: those that called it, with the row of their list and what it says of
    consent; `attempts`: what the contact limits count."""

    number: str
    calls: list[dict[str, Any]]
    campaigns: list[dict[str, Any]]
    do_not_call: list[dict[str, Any]]
    scrub_verdicts: list[dict[str, Any]]
    complaints: list[dict[str, Any]]
    attempts: list[dict[str, Any]]


@router.get(
    "/{number}/history", response_model=HistoryOut, responses=problems.documented(InvalidNumber)
)
async def get_number_history(
    number: str,
    user: CurrentUser,
    user_id: Annotated[str | None, Query(max_length=100)] = None,
) -> HistoryOut:
    """Why was this number called? Of one's own calls and lists; for operators and admins of
    everybody's, or a user's."""
    if user_id is not None and not may_see(user, user_id):
        raise Forbidden("This needs the role operator or admin.")
    found = await number_history.get_history(fields.number_of(number), user_id or scope_of(user))
    return HistoryOut(**found)
