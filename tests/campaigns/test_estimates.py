"""Estimates: what calling a list costs, how much of it is affordable, and what to recharge."""

import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import pytest

from billing.pricing import Rate
from billing.rate_card_files import Price
from billing.rate_cards import Card
from billing.rates import Pricing
from campaigns import estimates
from campaigns.estimates import Basis, RateGroups, Work
from campaigns.options import RateGroup
from core import config
from tests.support.campaigns import create, numbers_of, shown, upload
from tests.support.service import Person, Service, running
from tests.support.service import test_settings as settings_of_tests

RATE = Rate(rate_paise_per_minute=1_000)


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for all tests of this file; each test has users of its own."""
    async with running(settings_of_tests(mongodb_uri, signups_per_hour=100_000)) as started:
        yield started


@pytest.fixture
async def person(service: Service) -> Person:
    someone = await service.signup()
    await service.fund(someone, 100)
    return someone


def basis(available_paise: int = 10_000, average_seconds: int | None = None) -> Basis:
    return Basis(Pricing(None, None, RATE), available_paise, average_seconds)


def groups(count: int) -> list[RateGroup]:
    counted = RateGroups(Pricing(None, None, RATE))
    counted.add(numbers_of(count))
    return counted.fields()["rate_groups"]


def priced(prefix: str, rate_paise: int) -> Price:
    return Price(prefix=prefix, destination="", rate_paise_per_minute=rate_paise)


@pytest.fixture(autouse=True)
def configured(service: Service) -> None:
    config.use(service.settings)


@pytest.mark.parametrize(
    ("work", "average", "expected"),
    [
        # Rs 5 each, and Rs 100 pay twenty of them
        ({"contacts": 50}, None, ("default", 30, 25_000, 20, 15_000)),
        ({"contacts": 50}, 60, ("average", 60, 50_000, 10, 40_000)),
        ({"contacts": 50, "duration_seconds": 12}, 60, ("given", 12, 10_000, 50, 0)),
        ({"contacts": 50, "duration_seconds_max": 6}, 60, ("average", 6, 5_000, 50, 0)),
        ({"contacts": 50, "budget_left_paise": 5_000}, None, ("default", 30, 25_000, 10, 0)),
        ({"contacts": 0}, None, ("default", 30, 0, 0, 0)),
    ],
)
def test_the_cost_is_contacts_times_duration_times_rate(
    service: Service, work: dict[str, Any], average: int | None, expected: tuple[Any, ...]
) -> None:
    found = estimates.estimate(basis(average_seconds=average), Work(groups=groups(50), **work))
    assert expected == (
        found.duration_source,
        found.duration_seconds,
        found.cost_paise,
        found.affordable_contacts,
        found.recharge_paise,
    )


def test_what_is_missing_is_at_least_what_one_call_needs(service: Service) -> None:
    found = estimates.estimate(basis(0), Work(groups=groups(1), contacts=1))
    assert (found.cost_paise, found.recharge_paise) == (500, 1_000)


def test_the_contacts_that_are_left_share_the_groups(service: Service) -> None:
    two: list[RateGroup] = [
        {"number": "+919800000000", "count": 1},
        {"number": "+919900000000", "count": 2},
    ]
    for left in range(4):
        found = estimates.estimate(basis(), Work(groups=two, contacts=left))
        assert sum(group.contacts for group in found.groups) == left
        assert found.cost_paise == 500 * left


def test_each_group_of_a_list_has_the_rate_of_its_prefix_and_of_its_second_leg(
    service: Service,
) -> None:
    prices = {"91": 100, "9198": 200, "4420": 6_000}
    card = Card(1, {prefix: (priced(prefix, paise),) for prefix, paise in prices.items()})
    rates = Pricing(None, card, RATE)
    counted = RateGroups(rates)
    listed = [*numbers_of(3), "+919700000001"]
    assert counted.find_unrated([*listed, "+12025550123"]) == {"+12025550123"}
    counted.add(listed)
    work = Work(groups=counted.fields()["rate_groups"], contacts=4, duration_seconds=60)
    found = estimates.estimate(Basis(rates, 10_000, None), work)
    assert [(g.prefix, g.contacts, g.cost_paise) for g in found.groups] == [
        ("9198", 3, 600),
        ("91", 1, 100),
    ]
    connected = dataclasses.replace(work, connect_to="+442079460958")
    found = estimates.estimate(Basis(rates, 10_000, None), connected)
    assert found.cost_paise == 700 + 4 * 6_000
    assert (found.affordable_contacts, found.recharge_paise) == (1, 14_700)
    nowhere = dataclasses.replace(work, connect_to="+12025550123")
    assert estimates.estimate(Basis(rates, 10_000, None), nowhere).unrated_contacts == 4


async def test_a_campaign_shows_its_estimate_and_what_to_recharge(
    service: Service, person: Person
) -> None:
    draft = await create(service, person, 50, start=False, expected_duration_seconds=60)
    told = draft["estimate"]
    assert (told["contacts"], told["duration_seconds"], told["duration_source"]) == (
        50,
        60,
        "given",
    )
    assert (told["cost"], told["affordable_contacts"], told["recharge"]) == (500.0, 10, 400.0)
    path = f"/api/campaigns/{draft['campaign_id']}/validate"
    checked = (await service.post(path, person, json={"duration_seconds": 30})).json()
    assert checked["ok"] is True
    assert (checked["estimate"]["cost"], checked["estimate"]["recharge"]) == (250.0, 150.0)
    assert [(p["code"], p["count"]) for p in checked["problems"]] == [("money_for_a_part", 30)]


async def test_what_a_list_lacks_is_told_before_the_start(service: Service, person: Person) -> None:
    content = "phone,name,city\n9876543210,Asha,Pune\n9876543211,,Pune\n12,Uma,\n"
    draft = await upload(
        service, person, content, start="false", message="Namaste {{Name}} in {{city|India}}"
    )
    if not draft["columns"]:
        pytest.fail("the columns of the list were not kept")
    assert draft["missing_variables"] == {"Name": {"count": 1, "rows": [3]}}
    assert draft["rejected_by_code"] == {"invalid_number": 1}
    path = f"/api/campaigns/{draft['campaign_id']}/validate"
    checked = (await service.post(path, person)).json()
    assert {(p["code"], p["count"], p["severity"]) for p in checked["problems"]} == {
        ("missing_variable", 1, "warning"),
        ("rejected_invalid_number", 1, "warning"),
    }
    assert (await shown(service, person, draft))["missing_variables"]["Name"]["count"] == 1
