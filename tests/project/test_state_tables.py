"""The state tables: the page is that of the code, and the table of calls is that of the ranks."""

from typing import cast

import pytest

from calls import records
from calls.records import Status
from telephony import OVER, RANK
from tests.project import state_tables


def test_the_page_shows_the_tables_of_the_code() -> None:
    page = state_tables.PAGE.read_text()
    assert state_tables.written_into(page) == page, "run `python -m tests.project.state_tables`"


@pytest.mark.parametrize("after", [name for name, rank in RANK.items() if rank not in (0, 1)])
def test_a_call_takes_a_status_of_its_network_from_every_lower_rank_and_never_goes_back(
    after: str,
) -> None:
    reported = {
        before
        for row in records.TRANSITIONS
        if row.after == after and row.by.startswith("the network ") and "cannot" not in row.by
        for before in row.before
    }
    assert reported - set(records._ENDS) >= {
        before for before, rank in RANK.items() if rank < RANK[after]
    } - ({"created"} if RANK[after] == OVER else set())
    for row in records.TRANSITIONS:
        assert all(RANK[before] <= RANK[row.after] for before in row.before)


def test_only_a_committed_call_is_submitted() -> None:
    assert records.may_become("submitting") == {"status": {"$in": ["created"]}}
    every = {cast(Status, status) for status in RANK}
    assert {row.after for row in records.TRANSITIONS} == every - {"created"}
