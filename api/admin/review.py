"""Admin route of the review list: everything that waits for a person, the oldest first."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from api import problems
from api.dependencies import Operator, Page
from api.fields import Instant, RupeesOut
from core import money
from core.errors import InvalidCursor
from reporting import review_list
from reporting.review_list import Fact, Item, Kind, Unknown

router = APIRouter(prefix="/api/admin", tags=["admin"], route_class=problems.Route)


class ReviewItemOut(BaseModel):
    """One thing that waits. `reason` is a code of its kind, `detail` a sentence of whoever found it.
    `amount` is what was paid, reserved, disputed or asked for. `decisions` are what an admin can do."""

    kind: Kind
    id: str
    since: Instant
    reason: str
    detail: str | None
    user_id: str | None
    user_name: str | None
    amount: RupeesOut | None
    due_at: Instant | None
    decisions: list[str]
    facts: dict[str, Fact]


class ReviewOut(BaseModel):
    """A page of what waits. `counts` of each kind, at most `counted_max`; null where a part could not be
    read: `unknown` says why, and what is listed is not all then."""

    items: list[ReviewItemOut]
    next_cursor: str | None
    counts: dict[Kind, int | None]
    counted_max: int
    unknown: dict[Kind, Unknown]


@router.get("/review", response_model=ReviewOut, responses=problems.documented(InvalidCursor))
async def get_review(
    _: Operator,
    page: Page,
    kind: Kind | None = None,
    item_id: Annotated[str | None, Query(alias="id", max_length=200)] = None,
) -> ReviewOut:
    """What waits for a person, of all kinds, the oldest first; of each kind at most the oldest 200.
    With `kind` and `id` one item, or none when it does not wait any more."""
    found = await review_list.list_items(
        kind=kind, item_id=item_id, limit=page.limit, cursor=page.cursor
    )
    return ReviewOut(
        items=[_out(item, found.names) for item in found.page],
        next_cursor=found.next_cursor,
        counts=found.counts,
        counted_max=review_list.LISTED_MAX,
        unknown=found.unknown,
    )


def _out(item: Item, names: dict[str, str]) -> ReviewItemOut:
    return ReviewItemOut(
        kind=item.kind,
        id=item.id,
        since=item.since,
        reason=item.reason,
        detail=item.detail,
        user_id=item.user_id,
        user_name=names.get(item.user_id or ""),
        amount=item.amount_paise,
        due_at=item.due_at,
        decisions=list(item.decisions),
        facts=dict(map(_fact, item.facts.items())),
    )


def _fact(fact: tuple[str, Fact]) -> tuple[str, Fact]:
    """Amounts in rupees, as everywhere."""
    name, value = fact
    if name.endswith("_paise") and isinstance(value, int):
        return name.removesuffix("_paise"), money.rupees(value)
    return name.removesuffix("_paise"), value
