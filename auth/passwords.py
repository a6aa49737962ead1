"""Passwords: hashed with Argon2, compared in constant time, refused when they are weak."""

import asyncio
import base64
import contextlib
import ctypes
import os
import sys
import threading
import unicodedata
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from passlib.hash import argon2

from core import database
from core.errors import Unavailable, invalid

# --- vocabulary ---------------------------------------------------------------------------------

T = TypeVar("T")

PASSWORD_CHARACTERS_MIN: Final = 8
PASSWORD_CHARACTERS_MAX: Final = 128

# The most frequent of the published lists of leaked passwords, of 8 characters or more, and those
# that are frequent in India.
COMMON_PASSWORDS: Final = frozenset(
    Path(__file__).with_name("common_passwords.txt").read_text("utf-8").split()
)
# Some seconds of work: who comes later is refused at once and may come again.
HASHES_WAITING_MAX: Final = 64
_NICENESS: Final = 5

# OWASP's argon2id parameters (Password Storage Cheat Sheet): 19 MiB, 2 passes, 1 lane.
_hasher = argon2.using(type="ID", memory_cost=19_456, rounds=2, parallelism=1)
_hashes_waiting = 0


def _yield_to_requests() -> None:
    """Lower the priority of this thread: a hash keeps a processor busy for a tenth of a second, and
    requests that need none must not wait for one."""
    if sys.platform == "linux":  # elsewhere the priority is that of the whole process
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


# `mallopt(3)`: blocks from this size on are mapped, and so are the system's again when they are freed.
_M_MMAP_THRESHOLD: Final = -3
_MAPPED_BYTES_MIN: Final = 4 * 1024 * 1024


def _give_memory_back() -> None:
    """Have glibc return the 19 MiB of a hash to the system: by itself it keeps one such block a thread
    for the next time, once it has seen one freed. Other C libraries do not have this switch."""
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError, OSError):
            ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES_MIN)


_give_memory_back()
_threads = ThreadPoolExecutor(
    max_workers=2, thread_name_prefix="argon2", initializer=_yield_to_requests
)


# --- hashes -------------------------------------------------------------------------------------


async def hash_password(password: str) -> str:
    """The argon2id hash of `password`. Raises Unavailable when too many are queued."""
    return await _in_threads(lambda: str(_hasher.hash(_canonical(password))))


async def verify_password(password: str, password_hash: str | None) -> bool:
    """Whether `password` belongs to `password_hash`.

    None is passed for an account that does not exist: the same work is done against a hash that
    nothing matches, so that the response time does not reveal which e-mail addresses are known.
    """
    known = password_hash is not None
    return await _in_threads(lambda: _verify(password, password_hash or _dummy_hash())) and known


def _verify(password: str, password_hash: str) -> bool:
    return bool(_hasher.verify(_canonical(password), password_hash))


_dummy: str | None = None


def _dummy_hash() -> str:
    global _dummy
    if _dummy is None:
        _dummy = str(_hasher.hash(database.new_id("nobody")))
    return _dummy


async def warm_up() -> None:
    """Compute the hash that is verified for unknown accounts: the first would else take twice the time."""
    await _in_threads(_dummy_hash)


def _canonical(password: str) -> str:
    """The password in Unicode NFKC, whatever the keyboard sent (NIST SP 800-63B 3.1.1.2: normalise)."""
    return unicodedata.normalize("NFKC", password)


async def _in_threads(work: Callable[[], T]) -> T:
    """Run `work` in one of two threads, so that many log-ins at once do not exhaust the memory."""
    global _hashes_waiting
    if _hashes_waiting >= HASHES_WAITING_MAX:
        raise Unavailable("Too many people are logging in at this moment; try again shortly.")
    _hashes_waiting += 1
    try:
        return await asyncio.get_running_loop().run_in_executor(_threads, work)
    finally:
        _hashes_waiting -= 1


def readable(data: bytes) -> str:
    """A password that can be read out, of the first 10 bytes of `data`: `abcd-efgh-ijkl-mnop`."""
    text = base64.b32encode(data[:10]).decode().casefold()
    return "-".join(text[start : start + 4] for start in range(0, len(text), 4))


# --- which passwords are refused ----------------------------------------------------------------


def refuse_weak(password: str, *, field: str = "password", about: Iterable[str] = ()) -> None:
    """InvalidRequest for a password that is too short, too long, or among the most common.

    Length counts, composition rules do not (NIST SP 800-63B 3.1.1.2). `about` are texts that the
    password must not be: the e-mail address, the name.
    """
    plain = unicodedata.normalize("NFKC", password)
    lower = plain.casefold().strip()
    message = None
    if not PASSWORD_CHARACTERS_MIN <= len(plain) <= PASSWORD_CHARACTERS_MAX:
        message = f"must have {PASSWORD_CHARACTERS_MIN} to {PASSWORD_CHARACTERS_MAX} characters"
    elif any(unicodedata.category(character) in ("Cc", "Cs") for character in plain):
        message = "must not contain control characters"
    elif lower in COMMON_PASSWORDS or len(set(lower)) < 3:
        message = "is one of the most common passwords; choose another"
    elif lower in {text.casefold().strip() for text in about}:
        message = "must not be your e-mail address or your name"
    if message:
        raise invalid(field, message)
