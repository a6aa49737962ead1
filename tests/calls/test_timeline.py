"""What happened to a call, from what is stored with it."""

import datetime as dt
from typing import Any, cast

from calls.records import Call
from calls.timeline import timeline_of

BEGAN = dt.datetime(2026, 11, 28, 12, 0, tzinfo=dt.UTC)


def at(seconds: float) -> dt.datetime:
    """So many seconds after the call was asked for."""
    return BEGAN + dt.timedelta(seconds=seconds)


def call_with(**fields: Any) -> Call:
    """A call that was asked for, and nothing more."""
    nothing: dict[str, Any] = {
        "answered_at": None,
        "ended_at": None,
        "status": "created",
        "events": [],
    }
    return cast(Call, {"created_at": BEGAN, **nothing, **fields})


def event(status: str, seconds: float, duration: int | None = None, by: str = "sim") -> Any:
    """A report of the network, as it is stored."""
    return {
        "id": f"{by}:{status}:{seconds}",
        "status": status,
        "duration_seconds": duration,
        "occurred_at": at(seconds),
        "received_at": at(seconds + 1),
    }


def steps(call: Call) -> list[tuple[float, str, str | None]]:
    """When, what and which status."""
    return [
        ((each.at - BEGAN).total_seconds(), each.what, each.status) for each in timeline_of(call)
    ]


def test_a_call_tells_each_step_in_its_order() -> None:
    call = call_with(
        status="completed",
        submitted_at=at(0.1),
        accepted_at=at(0.2),
        answered_at=at(5),
        ended_at=at(400),
        reservations=[
            {"at": BEGAN, "held_paise": 50_00, "limit_seconds": 300},
            {"at": at(290), "held_paise": 100_00, "limit_seconds": 600},
        ],
        events=[
            event("completed", 400, 395),
            event("ringing", 2),
            event("in_progress", 5),
            event("in_progress", 6),  # networks repeat themselves
        ],
        pressed={"key": "1", "meaning": "confirm", "at": at(20)},
    )
    assert steps(call) == [
        (0, "asked_for", None),
        (0.1, "submitted", None),
        (0.2, "accepted", None),
        (2, "reported", "ringing"),
        (5, "reported", "in_progress"),
        (20, "pressed", None),
        (290, "extended", None),
        (400, "reported", "completed"),
    ]
    asked, extended = timeline_of(call)[0], timeline_of(call)[6]
    assert (asked.held_paise, asked.limit_seconds) == (50_00, 300)
    assert (extended.held_paise, extended.limit_seconds) == (100_00, 600)


def test_what_no_report_says_is_told_by_the_call_itself() -> None:
    refused = call_with(status="failed", ended_at=at(1), events=[event("failed", 1, 0, by="own")])
    assert steps(refused) == [(0, "asked_for", None), (1, "ended", "failed")]
    answered = call_with(
        status="completed", answered_at=at(3), ended_at=at(9), events=[event("completed", 9, 6)]
    )
    assert [step[1] for step in steps(answered)] == ["asked_for", "answered", "reported"]
    reviewed = call_with(
        status="completed",
        ended_at=at(9),
        events=[event("completed", 9, 9_000), event("completed", 9, 6, by="reviewed")],
        reviewed={"by": "usr_A", "note": "as told", "at": at(900)},
    )
    assert [step[1] for step in steps(reviewed)] == ["asked_for", "reported", "reviewed"]


def test_a_call_of_an_older_version_lacks_its_first_reservation() -> None:
    older = call_with(reservations=[{"at": at(290), "held_paise": 100_00, "limit_seconds": 600}])
    asked, extended = timeline_of(older)
    assert (asked.what, asked.held_paise, asked.limit_seconds) == ("asked_for", None, None)
    assert (extended.what, extended.held_paise) == ("extended", 100_00)
    assert timeline_of(call_with())[0].held_paise is None
