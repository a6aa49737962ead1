"""Hashes, tokens, revocations that every process hears, and limits that hold across processes."""

import asyncio

import pytest

from auth import passwords
from tests.support.service import PASSWORD

pytestmark = pytest.mark.usefixtures("real_hashes")

# --- passwords ----------------------------------------------------------------------------------


async def test_an_unknown_account_costs_the_same_hash_as_a_known_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = await passwords.hash_password(PASSWORD)
    assert real.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    verified: list[str] = []
    verify = passwords._verify

    def counted(password: str, password_hash: str) -> bool:
        verified.append(password_hash)
        return verify(password, password_hash)

    monkeypatch.setattr(passwords, "_verify", counted)
    assert await passwords.verify_password(PASSWORD, real)
    assert not await passwords.verify_password("another one", real)
    assert not await passwords.verify_password(PASSWORD, None)
    assert len(verified) == 3
    known, unknown = (found.rsplit("$", 2)[0] for found in (verified[0], verified[2]))
    assert known == unknown, "the same kind of hash with the same parameters"


async def test_a_password_typed_on_another_keyboard_is_the_same_password() -> None:
    composed, decomposed = "caf\u00e9 am See 12", "cafe\u0301 am See 12"
    assert await passwords.verify_password(decomposed, await passwords.hash_password(composed))


async def test_hashing_leaves_the_loop_free_and_a_flood_is_refused() -> None:
    beats = 0

    async def heart() -> None:
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0.005)

    beating = asyncio.create_task(heart())
    results = await asyncio.gather(
        *(passwords.hash_password(PASSWORD) for _ in range(passwords.HASHES_WAITING_MAX + 5)),
        return_exceptions=True,
    )
    beating.cancel()
    refused = [r for r in results if isinstance(r, Exception)]
    assert len(refused) == 5
    assert {type(r).__name__ for r in refused} == {"Unavailable"}
    assert beats > 50
