"""A member with another setting than the one that is asked for is reported, once for each value."""

import logging

import pytest

from core import config, database, database_members


async def test_the_embedded_member_has_the_right_setting(book: config.Settings) -> None:
    assert await database.transaction_lifetimes() == {5}
    assert await database_members.find_wrong_setting() is None


async def test_another_setting_is_reported_once_and_again_when_it_changes(
    book: config.Settings, caplog: pytest.LogCaptureFixture
) -> None:
    admin = database.client().admin
    caplog.set_level(logging.WARNING, "core.database_members")
    try:
        for seconds in (60, 60, 30):
            await admin.command({"setParameter": 1, "transactionLifetimeLimitSeconds": seconds})
            await database_members.report_wrong_setting()
    finally:
        await admin.command({"setParameter": 1, "transactionLifetimeLimitSeconds": 5})
        await database_members.report_wrong_setting()
    reported = [record.getMessage() for record in caplog.records]
    assert [text.split(": ")[0].split("=")[1] for text in reported] == ["60", "30"]
    assert all("docs/operations.md" in text for text in reported)
