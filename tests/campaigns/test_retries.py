"""Retries: one budget for each contact, the same times for the same contact, nothing outside the window."""

import datetime as dt

from hypothesis import given
from hypothesis import strategies as st

from campaigns.options import RETRY_DEFAULT
from campaigns.retries import Attempts, Cause, Retry, Stop, next_attempt, spread
from core import clock

NOON = dt.datetime(2026, 11, 27, 12, 0, tzinfo=clock.IST)


def after(*causes: Cause, contact_id: str = "cmp_1:+919876543210") -> Attempts:
    return Attempts(contact_id=contact_id, causes=causes, called_at=(NOON,) * len(causes))


@given(st.lists(st.sampled_from(["busy", "no_answer", "failed"]), min_size=1, max_size=6))
def test_whatever_the_ways_to_fail_the_budget_is_the_contacts(causes: list[Cause]) -> None:
    follows = next_attempt(RETRY_DEFAULT, after(*causes), NOON)
    if len(causes) >= RETRY_DEFAULT["max_attempts"]:
        assert follows == Stop("exhausted")
    elif causes[-1] == "failed" and causes.count("failed") > 1:
        assert follows == Stop("final")
    else:
        assert isinstance(follows, Retry)


def test_a_retry_is_never_early_and_the_same_for_the_same_contact() -> None:
    due = {next_attempt(RETRY_DEFAULT, after("busy", contact_id=str(i)), NOON) for i in range(500)}
    moments = [each.due_at for each in due if isinstance(each, Retry)]
    assert len(moments) > 400  # they are not due in one moment
    assert min(moments) >= NOON + dt.timedelta(minutes=15)
    assert max(moments) <= NOON + dt.timedelta(minutes=15 * 1.25)
    assert spread("a", 1) == spread("a", 1) != spread("a", 2)


def test_after_no_answer_another_quarter_of_the_day_is_tried() -> None:
    follows = next_attempt(RETRY_DEFAULT, after("no_answer"), NOON)
    assert isinstance(follows, Retry)
    assert follows.due_at.astimezone(clock.IST).hour == 18


def test_what_does_not_fit_before_the_end_has_expired_at_once() -> None:
    end_at = NOON + dt.timedelta(minutes=14)
    assert next_attempt(RETRY_DEFAULT, after("busy"), NOON, end_at=end_at) == Stop("expired")
