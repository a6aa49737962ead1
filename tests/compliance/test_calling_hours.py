"""When a number may be called: pure rules, with a moved clock."""

import datetime as dt
from typing import Any, cast
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance import calling_hours
from compliance.calling_hours import (
    DEFAULT_HOURS,
    PURPOSES,
    RING,
    WEEKDAYS,
    WIDEST_HOURS,
    Purpose,
    Rules,
    Window,
    opening,
)
from core import clock
from core.errors import InvalidRequest

# A Saturday.
DAY = dt.date(2026, 11, 28)


def at(time: str, day: dt.date = DAY) -> dt.datetime:
    """A time of day in India."""
    return dt.datetime.combine(day, dt.time.fromisoformat(time), clock.IST).astimezone(dt.UTC)


def rules(purpose: Purpose = "promotional", **changes: Any) -> Rules:
    plain: Rules = {
        "purpose": purpose,
        "version": 0,
        "hours": DEFAULT_HOURS[purpose],
        "timezone": "Asia/Kolkata",
        "holidays": [],
    }
    return cast(Rules, {**plain, **changes})


def window(**changes: Any) -> dict[str, Any]:
    plain: Window = {
        "days": list(WEEKDAYS),
        "start": "08:00",
        "end": "22:00",
        "timezone": "Asia/Kolkata",
    }
    return {**plain, **changes}


@pytest.mark.parametrize(
    ("purpose", "first", "end"),
    [
        ("promotional", "10:00", "21:00"),
        ("service", "09:00", "21:00"),
        ("transactional", "09:00", "21:00"),
        ("collection", "08:00", "19:00"),
    ],
)
def test_each_purpose_has_its_hours_and_the_ring_is_over_before_they_end(
    purpose: Purpose, first: str, end: str
) -> None:
    second = dt.timedelta(seconds=1)
    last = at(end) - RING
    assert not opening(rules(purpose), None, at(first) - second).is_open
    assert opening(rules(purpose), None, at(first)).is_open
    assert opening(rules(purpose), None, last - second).is_open
    shut = opening(rules(purpose), None, last)
    assert (shut.is_open, shut.reason) == (False, "outside_hours")
    assert shut.changes_at == at(first, DAY + dt.timedelta(days=1))
    assert opening(rules(purpose), None, at(first)).changes_at == last


def test_a_users_window_narrows_and_never_widens() -> None:
    wide = window(start="00:00", end="24:00")
    assert not opening(rules(), wide, at("09:59")).is_open
    narrow = window(start="12:00", end="13:00", days=["mon"])
    found = opening(rules(), narrow, at("12:30"))
    assert (found.is_open, found.reason) == (False, "outside_window")
    monday = DAY + dt.timedelta(days=2)
    assert found.changes_at == at("12:00", monday)
    assert opening(rules(), narrow, at("12:30", monday)).is_open


def test_a_window_has_a_time_zone_of_its_own() -> None:
    berlin = window(start="09:00", end="10:00", timezone="Europe/Berlin")  # 13:30 to 14:30 in India
    assert not opening(rules(), berlin, at("13:29")).is_open
    assert opening(rules(), berlin, at("13:30")).is_open
    assert not opening(rules(), berlin, at("14:29")).is_open


def test_the_hours_are_those_where_the_person_lives() -> None:
    ten_in_india = at("10:30")  # 00:00 in New York
    assert opening(rules(), None, ten_in_india).is_open
    found = opening(rules(), None, ten_in_india, timezone="America/New_York")
    assert not found.is_open
    assert found.changes_at == dt.datetime(2026, 11, 28, 10, tzinfo=ZoneInfo("America/New_York"))


def test_a_holiday_is_shut_for_its_purpose_and_says_so() -> None:
    found = opening(rules(holidays=[DAY.isoformat()]), None, at("12:00"))
    assert (found.is_open, found.reason) == (False, "holiday")
    assert found.changes_at == at("10:00", DAY + dt.timedelta(days=1))


@pytest.mark.parametrize(
    "broken",
    [
        *({}, window(days=[]), window(days=["someday"]), window(days="mon"), window(start="9")),
        *(window(start="25:00"), window(end=None), window(start="22:00", end="08:00")),
        *(window(start="10:00", end="10:00"), window(timezone="Nowhere/Land"), window(timezone=5)),
    ],
)
def test_a_window_that_cannot_be_read_is_never_open(broken: dict[str, Any]) -> None:
    found = opening(rules(), broken, at("12:00"))
    assert (found.is_open, found.changes_at, found.reason) == (False, None, "invalid_window")
    with pytest.raises(InvalidRequest):
        calling_hours.check_window(broken)


def test_a_window_shorter_than_a_ring_is_refused_and_never_open() -> None:
    short = window(start="12:00", end="12:01")
    assert not opening(rules(), short, at("12:00")).is_open
    with pytest.raises(InvalidRequest, match="60 seconds"):
        calling_hours.check_window(short)
    calling_hours.check_window(window())


@pytest.mark.parametrize(
    "broken",
    [
        *({}, rules(hours="all"), rules(hours={"start": "10:00"}), rules(holidays=["never"])),
        *({**rules(), "purpose": "party"}, rules(hours={"start": "21:00", "end": "23:00"})),
    ],
)
def test_rules_that_cannot_be_read_are_never_open(broken: dict[str, Any]) -> None:
    found = opening(broken, None, at("12:00"))
    assert (found.is_open, found.reason) == (False, "invalid_rules")


def test_a_time_zone_that_does_not_exist_is_never_open() -> None:
    assert opening(rules(), None, at("12:00"), timezone="Mars/Base").reason == "invalid_timezone"


def test_what_is_open_at_no_time_says_so() -> None:
    found = opening(rules(), window(start="22:00", end="23:00"), at("12:00"))
    assert (found.is_open, found.changes_at, found.reason) == (False, None, "never_open")


def test_stored_hours_that_are_wider_than_the_floor_do_not_widen_it() -> None:
    always = rules(hours={"start": "00:00", "end": "24:00"})
    assert not opening(always, None, at("08:59")).is_open
    assert opening(always, None, at("09:00")).is_open
    assert not opening(always, None, at("20:59")).is_open


def test_without_hours_only_the_own_window_holds() -> None:
    off = rules(hours=None)
    assert opening(off, None, at("03:00")) == calling_hours.Opening(True, None, "open")
    assert opening(off, window(), at("03:00")).reason == "outside_window"
    # By day and by night: no gap at midnight, and no end.
    whole = window(start="00:00", end="24:00")
    assert opening(off, whole, at("23:59:30")) == calling_hours.Opening(True, None, "open")


@pytest.mark.parametrize(
    ("zone", "forward", "back"),
    [
        ("America/New_York", "2026-03-08", "2026-11-01"),
        ("Europe/Berlin", "2026-03-29", "2026-10-25"),
        ("Australia/Lord_Howe", "2026-10-04", "2026-04-05"),  # by half an hour
    ],
)
def test_where_clocks_are_changed_nobody_is_called_outside_by_the_clock_on_the_wall(
    zone: str, forward: str, back: str
) -> None:
    night = window(start="01:45", end="02:45", timezone=zone)
    for day in (forward, back):
        moment = dt.datetime.fromisoformat(f"{day}T00:00:00").replace(tzinfo=ZoneInfo(zone))
        moment = moment.astimezone(dt.UTC)
        for _ in range(5 * 6):
            moment += dt.timedelta(minutes=10)
            if opening(rules(hours=None), night, moment).is_open:
                wall = moment.astimezone(ZoneInfo(zone)).time()
                assert dt.time(1, 45) <= wall < dt.time(2, 45)


TIMES = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.sampled_from([0, 1, 30, 59]))
ZONES = st.sampled_from(["Asia/Kolkata", "Europe/London", "America/Los_Angeles", "Asia/Tokyo"])


@given(
    purpose=st.sampled_from(PURPOSES),
    days=st.lists(st.sampled_from(WEEKDAYS), min_size=1, unique=True),
    start=TIMES,
    end=TIMES,
    zone=ZONES,
    home=ZONES,
    minutes=st.integers(0, 60 * 24 * 14),
    holidays=st.lists(st.integers(0, 14), max_size=3),
)
def test_open_means_within_everything_and_changes_at_is_when_it_changes(
    purpose: Purpose,
    days: list[str],
    start: str,
    end: str,
    zone: str,
    home: str,
    minutes: int,
    holidays: list[int],
) -> None:
    dates = [(DAY + dt.timedelta(days=n)).isoformat() for n in holidays]
    plain, own = (
        rules(purpose, holidays=dates),
        window(days=days, start=start, end=end, timezone=zone),
    )
    moment = at("00:00") + dt.timedelta(minutes=minutes)
    found = opening(plain, own, moment, timezone=home)
    if found.is_open:
        for instant in (moment, moment + RING):
            there, here = instant.astimezone(ZoneInfo(home)), instant.astimezone(ZoneInfo(zone))
            floor, hours = WIDEST_HOURS[purpose], DEFAULT_HOURS[purpose]
            assert max(floor["start"], hours["start"]) <= f"{there:%H:%M}" < hours["end"]
            assert there.date().isoformat() not in dates
            assert start <= f"{here:%H:%M}" < end
            assert WEEKDAYS[here.weekday()] in days
    if found.changes_at is not None:
        assert found.changes_at > moment
        after = opening(plain, own, found.changes_at, timezone=home)
        assert after.is_open is not found.is_open
        halfway = moment + (found.changes_at - moment) / 2
        assert opening(plain, own, halfway, timezone=home).is_open is found.is_open
