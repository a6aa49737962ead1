"""Rate previews: what a rate card would change, before it is in force."""

import datetime as dt
from typing import Any

import pytest

from billing import rate_card_files
from core import clock
from core.database import db
from reporting import rate_previews
from tests.support.ended_calls import ended_call, store
from tests.support.service import Person, Service

PATH = "/api/admin/rate-cards/preview"
DAY = dt.date(2026, 11, 25)


@pytest.fixture
async def admin(service: Service) -> Person:
    return await service.admin()


def rows(*lines: str, head: str = "prefix,rate") -> rate_previews.Rows:
    text = "\n".join([head, *lines]) + "\n"
    return rate_previews.rows_of(rate_card_files.parse_file(text.encode()))


async def preview(service: Service, admin: Person, text: str) -> dict[str, Any]:
    answer = await service.post(PATH, admin, files={"file": ("card.csv", text.encode())})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_added_removed_and_changed_prefixes_are_told_apart() -> None:
    found = rate_previews.difference_of(
        rows("91,10", "44,3", "1,2", "49,5"), rows("91,12", "44,6", "33,4", "49,5"), DAY
    )
    assert [change.prefix for change in found.added] == ["33"]
    assert [change.prefix for change in found.removed] == ["1"]
    assert [change.prefix for change in found.changed] == ["44", "91"]  # the largest first
    assert found.same_count == 1
    counts = (found.added_count, found.removed_count, found.changed_count)
    assert counts == (1, 1, 2)


def test_terms_and_dates_are_changes_and_names_are_not() -> None:
    head = "prefix,destination,rate,pulse_seconds,valid_from"
    before = rows("91,India,10,60,", "44,UK,3,,", "1,USA,2,,", head=head)
    after = rows("91,India,10,1,", "44,England,3,,", "1,USA,2,,2027-01-01", head=head)
    found = rate_previews.difference_of(before, after, DAY)
    assert [change.prefix for change in found.changed] == ["1", "91"]
    assert [change.size for change in found.changed] == [0.0, 0.0]


def test_of_several_prices_that_of_the_day_is_shown() -> None:
    head = "prefix,rate,valid_from,valid_until"
    found = rate_previews.difference_of(
        rows("91,10,,", head=head), rows("91,8,,2026-11-30", "91,12,2026-12-01,", head=head), DAY
    )
    (change,) = found.changed
    assert change.new is not None
    assert change.new.rate_paise_per_minute == 800


def test_long_lists_are_cut_and_counted() -> None:
    found = rate_previews.difference_of({}, rows(*(f"9{n},1" for n in range(100, 250))), DAY)
    assert (found.added_count, len(found.added)) == (150, rate_previews.CHANGES_SHOWN_MAX)


async def test_the_calls_of_last_week_are_priced_and_nothing_is_stored(
    service: Service, admin: Person
) -> None:
    now = clock.now()
    yesterday, earlier = clock.after(-86_400, since=now), clock.after(-8 * 86_400, since=now)
    await store(
        ended_call("cmp_a", created_at=yesterday),  # 30 s were charged Rs 5.00
        ended_call("cmp_a", created_at=yesterday, duration_seconds=60, cost_paise=1_000),
        ended_call("cmp_a", created_at=yesterday, to="+442079460000"),
        ended_call("cmp_a", created_at=yesterday, rate_source="user"),
        ended_call("cmp_a", created_at=yesterday, status="busy"),
        ended_call("cmp_a", created_at=earlier),
    )
    found = await preview(service, admin, "prefix,rate\n91,12\n")
    week = found["last_week"]
    assert (week["calls"], week["seconds"], week["is_all"]) == (2, 90, True)
    assert (week["charged"], week["with_card"]) == (15.0, 18.0)
    assert (week["own_rate"], week["unrated"], week["unrated_prefixes"]) == (1, 1, ["4420"])
    assert found["difference"]["version"] is None
    assert found["difference"]["added_count"] == 1
    assert await db.ratecards.find_one({}) is None


async def test_a_sample_says_that_it_is_one(
    service: Service, admin: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate_previews, "CALLS_MAX", 2)
    moments = [clock.after(-60 * n) for n in range(1, 4)]
    await store(*(ended_call("cmp_a", created_at=at) for at in moments))
    week = (await preview(service, admin, "prefix,rate\n91,12\n"))["last_week"]
    assert (week["is_all"], week["calls"]) == (False, 2)
    assert week["since"] == clock.iso(moments[1])


async def test_a_connected_call_costs_both_legs(service: Service, admin: Person) -> None:
    both = ended_call("cmp_a", created_at=clock.after(-60), connect_to="+912240001234")
    await store(both)
    week = (await preview(service, admin, "prefix,rate\n91,12\n"))["last_week"]
    assert week["with_card"] == 12.0


async def test_a_stored_version_is_compared_with_the_one_in_force(
    service: Service, admin: Person
) -> None:
    for rate in (10, 12):
        files = {"file": ("card.csv", f"prefix,rate\n91,{rate}\n".encode())}
        assert (await service.post("/api/admin/rate-cards", admin, files=files)).status_code == 201
    answer = await service.post(PATH, admin, data={"version": "1"}, files={})
    found = answer.json()
    assert answer.status_code == 200, answer.text
    assert found["difference"]["version"] == 2
    (change,) = found["difference"]["changed"]
    assert (change["old"]["rate_per_minute"], change["new"]["rate_per_minute"]) == (12.0, 10.0)
    unknown = await service.post(PATH, admin, data={"version": "9"}, files={})
    assert unknown.status_code == 404


async def test_a_file_with_mistakes_is_answered_with_them(service: Service, admin: Person) -> None:
    found = await preview(service, admin, "prefix,rate\n91,abc\n,3\n")
    assert (found["ok"], found["errors_count"]) == (False, 2)
    assert [error["row"] for error in found["errors"]] == [2, 3]
    assert found["difference"] is None


async def test_a_card_of_a_real_size_is_compared(service: Service, admin: Person) -> None:
    lines = [f"91{prefix},0.95" for prefix in range(10_000, 20_000)]
    text = "\n".join(["prefix,rate", *lines])
    assert len(text) > 64 * 1024  # more than the body of any other request
    found = await preview(service, admin, text)
    assert (found["ok"], found["rows_count"]) == (True, 10_000)


async def test_neither_or_both_are_refused(service: Service, admin: Person) -> None:
    files = {"file": ("card.csv", b"prefix,rate\n91,10\n")}
    asked: list[dict[str, Any]] = [{"data": {}}, {"data": {"version": "1"}, "files": files}]
    for options in asked:
        refused = await service.post(PATH, admin, **options)
        assert refused.status_code == 422, refused.text


async def test_the_schedule_is_what_holds_and_what_comes(service: Service, admin: Person) -> None:
    files = {"file": ("card.csv", b"prefix,rate\n91,10\n")}
    path = "/api/admin/rate-cards"
    assert (await service.get(path, admin)).json()["schedule"] == []
    later = clock.iso(clock.after(86_400))
    for data in ({}, {"effective_from": later}):
        made = await service.post(path, admin, files=files, data=data)
        assert made.status_code == 201, made.text
    shown = (await service.get(path, admin)).json()["schedule"]
    assert [each["version"] for each in shown] == [1, 2]
    assert shown[1]["effective_from"] == later
