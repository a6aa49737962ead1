"""Play money never buys real calls: with a sandbox or test gateway and a real network, only the numbers
in TEST_CALL_NUMBERS are called, whoever names them and wherever."""

from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from calls.placing import CallSpec
from core import config, phone_numbers
from core.database import db
from core.phone_numbers import DestinationNotAllowed
from tests.support.service import Service, running
from tests.support.service import test_settings as settings_of_tests

OURS, THEIRS = "+919876543210", "+919876543211"


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """The sandbox's money, and a network that is not on this machine (and never answers)."""
    settings = settings_of_tests(
        mongodb_uri,
        telephony_provider="twilio",
        twilio_account_sid="AC00000000000000000000000000000000",
        twilio_auth_token=SecretStr("the token of the network"),
        twilio_from="+14155550100",
        twilio_base_url="http://192.0.2.1:9",
        test_call_numbers=[OURS],
    )
    async with running(settings) as started:
        yield started


async def test_no_other_number_is_called_as_to_or_as_connect_to(service: Service) -> None:
    asha = await service.signup()
    await service.fund(asha, 1_000)
    for body in (
        {"to": THEIRS, "message": "Hello"},
        {"to": "98765 43211", "message": "Hello"},
        {"to": OURS, "connect_to": THEIRS},
    ):
        answer = await service.post("/api/call", asha, json=body)
        assert (answer.status_code, answer.json()["reason"]) == (422, "not_a_test_number")
    assert await db.calls.count_documents({}) == 0


async def test_no_campaign_calls_another_number(service: Service) -> None:
    asha = await service.signup()
    await service.fund(asha, 1_000)
    connecting = {"name": "A", "numbers": [OURS], "connect_to": THEIRS}
    refused = await service.post("/api/campaigns", asha, json=connecting)
    assert (refused.status_code, refused.json()["reason"]) == (422, "not_a_test_number")
    none = {"name": "A", "numbers": [THEIRS], "message": "Hello"}
    assert (await service.post("/api/campaigns", asha, json=none)).status_code == 422
    assert await db.contacts.count_documents({"to": THEIRS}) == 0


def test_a_network_on_this_machine_is_no_real_network(mongodb_uri: str) -> None:
    """A stand-in on a loopback address calls nobody; one elsewhere may."""
    for url, is_real in (
        ("http://127.0.0.1:9", False),
        ("http://localhost:9/v1", False),
        ("http://[::1]:9", False),
        ("http://127.0.0.1.evil.example.com", True),
        ("http://192.0.2.1:9", True),
        ("", True),
    ):
        chosen = settings_of_tests(mongodb_uri, telephony_provider="plivo", plivo_base_url=url)
        assert chosen.calls_real_people is is_real, url
        assert chosen.callable_numbers == ([] if is_real else None)
    assert settings_of_tests(mongodb_uri).callable_numbers is None


def test_every_way_to_a_number_asks_for_the_list(mongodb_uri: str) -> None:
    before = config._current
    config.use(
        settings_of_tests(mongodb_uri, telephony_provider="exotel", test_call_numbers=[OURS])
    )
    try:
        assert phone_numbers.checked("098765 43210") == OURS
        assert CallSpec(connect_to="98765-43210").normalized().connect_to == OURS
        for way in (phone_numbers.checked, lambda n: CallSpec(connect_to=n).normalized()):
            with pytest.raises(DestinationNotAllowed, match="TEST_CALL_NUMBERS"):
                way(THEIRS)
    finally:
        config.use(before)
