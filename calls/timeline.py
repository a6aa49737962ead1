"""Call timelines, pure: what happened to a call, in its order, from what is stored with it."""

import dataclasses
import datetime as dt
from collections.abc import Iterator
from typing import Final, Literal, cast, get_args

from calls.records import Call, Status

Step = Literal[
    "asked_for",  # committed, with its first reservation
    "extended",  # more was reserved
    "submitted",  # the network was asked
    "accepted",  # the network answered that it has it
    "reported",  # the network reported a status
    "answered",  # somebody answered, by what was reported later
    "pressed",  # the person pressed a key
    "ended",  # it ended, and no report says it
    "reviewed",  # a person decided about its money
]

_STATUSES: Final = frozenset(get_args(Status))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A step of a call: when, what, and what belongs to it."""

    at: dt.datetime
    what: Step
    status: Status | None = None
    received_at: dt.datetime | None = None
    held_paise: int | None = None
    limit_seconds: int | None = None
    key: str | None = None
    meaning: str | None = None


def timeline_of(call: Call) -> list[Moment]:
    """The steps of a call, the oldest first. What happened at one moment is in the order of `Step`."""
    order = {step: place for place, step in enumerate(get_args(Step))}
    return sorted(
        [*_asked_and_reserved(call), *_submitted(call), *_reported(call), *_others(call)],
        key=lambda moment: (moment.at, order[moment.what]),
    )


def _asked_and_reserved(call: Call) -> Iterator[Moment]:
    """The reservations; of a call of an older version the first one is not known."""
    kept = call.get("reservations") or []
    if not kept or kept[0]["at"] != call["created_at"]:
        yield Moment(at=call["created_at"], what="asked_for")
    for reserved in kept:
        yield Moment(
            at=reserved["at"],
            what="asked_for" if reserved["at"] == call["created_at"] else "extended",
            held_paise=int(reserved["held_paise"]),
            limit_seconds=reserved["limit_seconds"],
        )


def _submitted(call: Call) -> Iterator[Moment]:
    if (submitted_at := call.get("submitted_at")) is not None:
        yield Moment(at=submitted_at, what="submitted")
    if (accepted_at := call.get("accepted_at")) is not None:
        yield Moment(at=accepted_at, what="accepted")


def _reported(call: Call) -> Iterator[Moment]:
    """What the network reported, each status once: networks repeat themselves."""
    seen: set[tuple[str, int | None]] = set()
    for event in call["events"]:
        known = (event["status"], event["duration_seconds"])
        is_own = event["id"].startswith(("own:", "reviewed:"))
        if is_own or known in seen or event["status"] not in _STATUSES:
            continue
        seen.add(known)
        yield Moment(
            at=event["occurred_at"],
            what="reported",
            status=cast(Status, event["status"]),
            received_at=event["received_at"],
        )


def _others(call: Call) -> Iterator[Moment]:
    reported = {event["status"] for event in call["events"] if not event["id"].startswith("own:")}
    if call["answered_at"] is not None and "in_progress" not in reported:
        yield Moment(at=call["answered_at"], what="answered")
    if (pressed := call.get("pressed")) is not None:
        yield Moment(
            at=pressed["at"], what="pressed", key=pressed["key"], meaning=pressed["meaning"]
        )
    if call["ended_at"] is not None and call["status"] not in reported:
        yield Moment(at=call["ended_at"], what="ended", status=call["status"])
    if (reviewed := call.get("reviewed")) is not None:
        yield Moment(at=reviewed["at"], what="reviewed")
