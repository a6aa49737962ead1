"""Admin route of the networks: how the telephone networks and Razorpay are."""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from api import problems
from api.dependencies import Operator
from api.fields import Instant
from core import config
from reporting import networks
from reporting.networks import State

router = APIRouter(prefix="/api/admin/networks", tags=["admin"], route_class=problems.Route)


class NetworkOut(BaseModel):
    """A telephone network. `chosen`: new calls go to it. While it is not `accepting`, `reason` says why,
    `since` from when on, and `until` when the next call may try it. Of the last half minute `failures`,
    of the last minute `placed`; `live_calls` by their status. null is no limit."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    chosen: bool = Field(validation_alias="is_chosen")
    state: State
    reason: str | None
    since: Instant | None
    until: Instant | None
    failures: int = Field(validation_alias="failed_count")
    calls_per_second: float | None
    calls_at_once: int | None
    placed: int = Field(validation_alias="placed_count")
    live_calls: dict[str, int] = Field(validation_alias="live_counts")


class RazorpayOut(BaseModel):
    """Razorpay as the process that answers knows it. While it is `resting`, requests fail at once, and in
    `retry_after_seconds` one finds out whether it is back. null is no limit."""

    mode: str
    state: Literal["answering", "resting"]
    retry_after_seconds: float | None
    processes: int
    requests_per_second: float | None


class NetworksOut(BaseModel):
    """What new calls and payments depend on. `calls_per_user`: how many a user may have at once, unless
    an admin has set another limit."""

    networks: list[NetworkOut]
    razorpay: RazorpayOut
    calls_per_user: int


@router.get("", response_model=NetworksOut)
async def list_networks(_: Operator) -> NetworksOut:
    """The telephone networks and Razorpay, from what is recorded: nothing is asked of them."""
    chosen = config.settings()
    found, razorpay = await networks.find_networks(), await networks.find_razorpay()
    return NetworksOut(
        networks=[NetworkOut.model_validate(network) for network in found],
        razorpay=RazorpayOut(
            mode=chosen.gateway_mode,
            state="answering" if razorpay.is_answering else "resting",
            retry_after_seconds=None if razorpay.is_answering else razorpay.retry_after_seconds,
            processes=razorpay.process_count,
            requests_per_second=razorpay.requests_per_second,
        ),
        calls_per_user=chosen.max_concurrent_calls,
    )
