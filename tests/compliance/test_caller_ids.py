"""Caller ids: which series each purpose must show, however the number is written."""

from collections.abc import Iterator
from typing import Any

import pytest

from compliance import caller_ids
from compliance.caller_ids import CallerIdNotAllowed
from compliance.calling_hours import Purpose
from core import config


@pytest.fixture
def settings() -> Iterator[Any]:
    def use(**changes: Any) -> None:
        config.use(config.Settings(_env_file=None, **{"app_env": "test", **changes}))

    use()
    yield use
    config.use(None)


@pytest.mark.parametrize(
    ("written", "series"),
    [
        ("1409876543", "140"),
        ("+91 140 987 6543", "140"),
        ("01409876543", "140"),
        ("0140-9876543", "140"),
        ("911409876543", "140"),
        ("1600123456", "160"),
        ("+911601123456", "160"),
        ("+919876543210", "ordinary"),
        ("+14098765432", "ordinary"),  # of the United States, not of the series
        ("+16001234567", "ordinary"),
        ("9140987654", "ordinary"),  # ten digits that begin with 91: a mobile number
        ("", "ordinary"),
    ],
)
def test_the_series_of_a_number_however_it_is_written(written: str, series: str) -> None:
    assert caller_ids.series_of(written) == series


@pytest.mark.parametrize(
    ("purpose", "allowed", "refused"),
    [
        ("promotional", ["1409876543"], ["1600123456", "+919876543210"]),
        ("service", ["1600123456", "+919876543210"], ["1409876543"]),
        ("transactional", ["1600123456", "+919876543210"], ["1409876543"]),
        ("collection", ["1600123456", "+919876543210"], ["1409876543"]),
    ],
)
def test_each_purpose_has_its_series(
    settings: Any, purpose: Purpose, allowed: list[str], refused: list[str]
) -> None:
    for number in allowed:
        caller_ids.check_caller_id(number, purpose)
    for number in refused:
        with pytest.raises(CallerIdNotAllowed) as told:
            caller_ids.check_caller_id(number, purpose)
        assert told.value.extra["caller_id"] == number
        assert purpose in str(told.value.extra["rule"])


def test_who_must_use_160_may_use_nothing_else_for_service(settings: Any) -> None:
    settings(caller_id_160_required=True)
    caller_ids.check_caller_id("1600123456", "service")
    with pytest.raises(CallerIdNotAllowed):
        caller_ids.check_caller_id("+919876543210", "service")
    caller_ids.check_caller_id("1409876543", "promotional")  # promotion has its own series


def test_the_number_of_the_platform_warns_or_refuses(settings: Any) -> None:
    settings(caller_id_series="warn")
    told = caller_ids.check_platform_caller_id("+919876543210", "promotional")
    assert told is not None
    assert "140" in told
    assert caller_ids.check_platform_caller_id("1409876543", "promotional") is None
    settings(caller_id_series="strict")
    with pytest.raises(CallerIdNotAllowed):
        caller_ids.check_platform_caller_id("+919876543210", "promotional")


def test_the_simulator_shows_no_number(settings: Any) -> None:
    assert caller_ids.configured_caller_id() is None
    assert caller_ids.check_platform_caller_id(None, "promotional") is None
