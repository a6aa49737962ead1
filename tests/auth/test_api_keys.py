"""API keys: their text, what is stored of it, and how they are verified."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import SecretStr

from auth import api_keys
from core import clock, config, database
from core.database import db
from core.errors import NotFound, Unauthenticated, Unavailable
from tests.support.service import committer, until


@pytest.fixture(scope="module")
async def settings(mongodb_uri: str) -> AsyncIterator[config.Settings]:
    """A database without a service: nobody follows its changes, so every key is looked up. Each test
    has a user of its own."""
    async with committer(mongodb_uri) as chosen:
        yield chosen


@pytest.fixture
def owner() -> str:
    return database.new_id("usr")


async def made(user_id: str, **changes: Any) -> tuple[api_keys.ApiKeyRecord, str]:
    given: dict[str, Any] = {
        "name": "CRM",
        "scopes": ["calls:read"],
        "expires_at": None,
        "daily_spend_cap_paise": None,
        "seed": database.new_id("x").removeprefix("x_"),
        **changes,
    }
    record, text = await api_keys.create_api_key(user_id, **given)
    assert text is not None
    return record, text


async def is_valid(text: str) -> bool:
    try:
        await api_keys.get_verified_key(text)
    except Unauthenticated:
        return False
    return True


async def test_a_key_is_recognised_by_its_form_and_stored_only_as_an_hmac(
    settings: config.Settings,
    owner: str,
) -> None:
    record, text = await made(owner)
    assert re.fullmatch(api_keys.KEY_PATTERN, text)
    assert text.startswith("wk_test_")
    stored = str(await db.api_keys.find_one({"_id": record["_id"]}))
    assert text not in stored
    assert text[-38:-6] not in stored, "the secret stands in the database"
    found = await api_keys.get_verified_key(text)
    assert (found.id, found.user_id, list(found.scopes)) == (record["_id"], owner, ["calls:read"])


async def test_a_typing_error_is_refused_without_the_database(
    settings: config.Settings, owner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, text = await made(owner)
    asked: list[str] = []

    async def look_up(_: str, key_id: str) -> None:
        asked.append(key_id)

    monkeypatch.setattr(database, "find_together", look_up)
    for wrong in (
        text[:-1] + ("0" if text[-1] != "0" else "1"),
        text[:20] + ("0" if text[20] != "0" else "1") + text[21:],
        text.replace("wk_test_", "wk_live_"),  # of another kind of installation
        text + "0",
        "wk_test_",
        "wk_" + "[" * 1_900,
    ):
        assert not await is_valid(wrong), wrong
    assert asked == []


async def test_whoever_can_write_to_the_database_cannot_make_a_key(
    settings: config.Settings,
    owner: str,
) -> None:
    """The checksum is no secret, the HMAC's key is: a digest without it opens nothing."""
    record, text = await made(owner)
    forged = api_keys._new_text(record["_id"].removeprefix("key_"))
    digest = api_keys._digest(forged, "another secret")
    await db.api_keys.update_one({"_id": record["_id"]}, {"$set": {"digest": digest}})
    assert not await is_valid(forged)
    assert not await is_valid(text)


async def test_a_key_ends_when_it_expires_or_is_revoked(
    settings: config.Settings, owner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, text = await made(owner, expires_at=clock.after(60))
    assert await is_valid(text)
    with monkeypatch.context() as later:
        at = clock.after(61)
        later.setattr(clock, "now", lambda: at)
        assert not await is_valid(text)
    with pytest.raises(NotFound):
        await api_keys.revoke_api_key(record["_id"], "usr_of_another")
    for _ in range(2):
        await api_keys.revoke_api_key(record["_id"], owner)
    assert not await is_valid(text)
    assert await api_keys.list_api_keys(owner) == []
    with pytest.raises(NotFound):
        await api_keys.rotate_api_key(record["_id"], owner, overlap_seconds=60, seed="s")


async def test_after_a_rotation_both_texts_are_valid_for_a_while(
    settings: config.Settings, owner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, old = await made(owner)
    _, new = await api_keys.rotate_api_key(record["_id"], owner, overlap_seconds=60, seed="s1")
    again = await api_keys.rotate_api_key(record["_id"], owner, overlap_seconds=60, seed="s1")
    assert new is not None
    assert again[1] is None, "repeated with the same seed it is not rotated again"
    assert await is_valid(old)
    assert await is_valid(new)
    with monkeypatch.context() as later:
        at = clock.after(61)
        later.setattr(clock, "now", lambda: at)
        assert not await is_valid(old)
        assert await is_valid(new)
    _, newest = await api_keys.rotate_api_key(record["_id"], owner, overlap_seconds=0, seed="s2")
    assert newest is not None
    assert [await is_valid(text) for text in (old, new, newest)] == [False, False, True]


async def test_rotations_at_the_same_moment_leave_one_new_text(
    settings: config.Settings, owner: str
) -> None:
    record, _ = await made(owner)
    answers = await asyncio.gather(
        *(
            api_keys.rotate_api_key(record["_id"], owner, overlap_seconds=0, seed=f"s{number}")
            for number in range(5)
        ),
        return_exceptions=True,
    )
    texts = [answer[1] for answer in answers if not isinstance(answer, BaseException)]
    assert all(isinstance(each, tuple | Unavailable) for each in answers), answers
    assert [await is_valid(text) for text in texts if text].count(True) == 1


async def test_many_at_once_do_not_make_more_keys_than_an_account_may_have(
    settings: config.Settings, owner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_keys, "KEYS_PER_USER_MAX", 5)
    answers = await asyncio.gather(*(made(owner) for _ in range(12)), return_exceptions=True)
    refused = [each for each in answers if isinstance(each, api_keys.TooManyApiKeys)]
    assert len(refused) == 7, answers
    keys = await api_keys.list_api_keys(owner)
    assert sorted(key["slot"] or 0 for key in keys) == [0, 1, 2, 3, 4]
    await api_keys.revoke_api_key(keys[0]["_id"], owner)
    await made(owner)
    await made(database.new_id("usr"))


async def test_a_repetition_with_the_seed_makes_no_second_key(
    settings: config.Settings, owner: str
) -> None:
    record, _ = await made(owner)
    seed = record["_id"].removeprefix("key_")
    again, text = await api_keys.create_api_key(
        owner,
        name="CRM",
        scopes=["calls:read"],
        expires_at=None,
        daily_spend_cap_paise=None,
        seed=seed,
    )
    assert (again["_id"], text) == (record["_id"], None)
    assert len(await api_keys.list_api_keys(owner)) == 1


async def test_the_use_is_noted_once_a_minute(
    settings: config.Settings, owner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, text = await made(owner)
    notes: list[str] = []
    write = api_keys._write_use

    async def counted(key: api_keys.ApiKeyRecord, sent: str, *, is_renewed: bool) -> None:
        notes.append(key["_id"])
        await write(key, sent, is_renewed=is_renewed)

    monkeypatch.setattr(api_keys, "_write_use", counted)
    for _ in range(20):
        await api_keys.get_verified_key(text)

    async def noted() -> bool:
        (key,) = await api_keys.list_api_keys(owner)
        return key["last_used_at"] is not None

    await until(noted)
    assert notes == [record["_id"]]
    (before,) = await api_keys.list_api_keys(owner)
    # Another process, which has not noted it yet, asks the record.
    api_keys._touched.clear()
    await api_keys.get_verified_key(text)
    await asyncio.gather(*api_keys._touching)
    (after,) = await api_keys.list_api_keys(owner)
    assert after["last_used_at"] == before["last_used_at"]
    assert len(notes) == 2


async def test_mongodb_that_does_not_answer_is_503_and_no_refusal(
    settings: config.Settings, owner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, text = await made(owner)

    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(database, "find_together", never)
    monkeypatch.setattr(api_keys, "LOOK_UP_SECONDS_MAX", 0.01)
    with pytest.raises(Unavailable):
        await api_keys.get_verified_key(text)


async def test_another_jwt_secret_makes_every_key_invalid(
    settings: config.Settings, owner: str
) -> None:
    _, text = await made(owner)
    other = settings.model_copy(update={"jwt_secret": SecretStr("x" * 40)})
    config.use(other)
    try:
        assert not await is_valid(text)
    finally:
        config.use(settings)
    assert await is_valid(text)


async def test_a_key_outlives_a_change_of_the_jwt_secret_when_it_is_used_meanwhile(
    settings: config.Settings, owner: str
) -> None:
    """Two secrets at a time: what is used is stored with the new one, and the old one can go."""
    _, used = await made(owner)
    _, unused = await made(owner)
    new = SecretStr("another-secret-for-the-tests-0123456789")
    both = {"jwt_secret": new, "jwt_secret_previous": settings.jwt_secret}
    try:
        config.use(settings.model_copy(update=both))
        api_keys._touched.clear()  # a process that was started with the new settings
        assert await is_valid(used)
        await asyncio.gather(*api_keys._touching)
        config.use(settings.model_copy(update={"jwt_secret": new}))
        assert [await is_valid(text) for text in (used, unused)] == [True, False]
    finally:
        config.use(settings)
