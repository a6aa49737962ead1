"""Passwords: hashed with Argon2, compared in constant time, refused when they are weak."""

import asyncio
import unicodedata
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from passlib.hash import argon2

from core import database
from core.errors import Unavailable, invalid

T = TypeVar("T")


HASHES_WAITING_MAX: Final = 256


# OWASP's argon2id parameters (Password Storage Cheat Sheet): 19 MiB, 2 passes, 1 lane.
_hasher = argon2.using(type="ID", memory_cost=19_456, rounds=2, parallelism=1)


_threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="argon2")


_hashes_waiting = 0


# --- passwords ----------------------------------------------------------------------------------
async def hash_password(password: str) -> str:
    """The argon2id hash of `password`. Unavailable when too many wait for one."""
    return await _in_threads(lambda: str(_hasher.hash(_canonical(password))))


async def verify_password(password: str, password_hash: str | None) -> bool:
    """Whether `password` belongs to `password_hash`.

    None stands for an account that does not exist: the same work is done against a hash that
    nothing matches, so that the time of the answer does not tell which e-mail addresses are known.
    """
    known = password_hash is not None
    return await _in_threads(lambda: _verify(password, password_hash or _nobody())) and known


def _verify(password: str, password_hash: str) -> bool:
    return bool(_hasher.verify(_canonical(password), password_hash))


_nobodys_hash: str | None = None


def _nobody() -> str:
    global _nobodys_hash
    if _nobodys_hash is None:
        _nobodys_hash = str(_hasher.hash(database.new_id("nobody")))
    return _nobodys_hash


async def warm_up() -> None:
    """Make the hash that stands for unknown accounts, or the first of them would take twice the time."""
    await _in_threads(_nobody)


def _canonical(password: str) -> str:
    """One form for what two keyboards type differently (NIST SP 800-63B 3.1.1.2: normalise)."""
    return unicodedata.normalize("NFKC", password)


async def _in_threads(work: Callable[[], T]) -> T:
    """Run `work` in one of two threads: a rush of log-ins neither stops the loop nor the memory."""
    global _hashes_waiting
    if _hashes_waiting >= HASHES_WAITING_MAX:
        raise Unavailable("Too many people are logging in at this moment; try again shortly.")
    _hashes_waiting += 1
    try:
        return await asyncio.get_running_loop().run_in_executor(_threads, work)
    finally:
        _hashes_waiting -= 1


PASSWORD_CHARACTERS_MIN: Final = 8


PASSWORD_CHARACTERS_MAX: Final = 128


def refuse_weak(password: str, *, field: str = "password", about: Iterable[str] = ()) -> None:
    """InvalidRequest for a password that is too short, too long, or the first that anybody tries.

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


# What everybody tries first: the heads of the published lists of leaked passwords, of 8 characters
# or more, and India's own.
COMMON_PASSWORDS: Final = frozenset(
    """
    12345678 123456789 1234567890 12345678910 0123456789 012345678 87654321 987654321 9876543210
    0987654321 123123123 123321123 12341234 11223344 1122334455 112233445566 123454321 147258369
    147852369 159357258 741852963 789456123 963852741 135792468 123456123 12345612 123456654321
    1234554321 12121212 10203040 20202020 19871987 11235813 31415926 123456789a 123456789q a123456789
    q123456789 1234qwer qwer1234 1q2w3e4r 1q2w3e4r5t 1qaz2wsx 1qaz2wsx3edc 1qazxsw2 zaq12wsx zaq1zaq1
    zaq1xsw2 q1w2e3r4 q1w2e3r4t5 qazwsxedc qazwsx123 qwertyui qwertyuiop qwerty12 qwerty123 qwerty1234
    qwerty12345 qwerty123456 123qweasd 123qwe123 123qwe123qwe qweasdzxc qweasd123 qwe123qwe qweqweqwe
    asdfghjk asdfghjkl asdf1234 asdfasdf asdasdasd asd123asd zxcvbnm1 zxcvbnm123 zxcvbnm, zxcvzxcv
    1234abcd abcd1234 abc12345 abc123456 abcdefgh abcdefghi abcd12345 a1b2c3d4 a1b2c3d4e5 aa123456
    aa12345678 abc123abc 123abc123 a12345678 abcabcabc aaaaaaaa1 password passw0rd p@ssword p@ssw0rd
    pa55word password1 password12 password123 password1234 password12345 password! password1!
    password123! password@1 password@12 password@123 passw0rd1 passw0rd! passw0rd123 p@ssw0rd1
    p@ssw0rd! p@ssw0rd123 p@ssword1 p@ssword123 pass1234 pass12345 pass@123 pass@1234 passpass
    passwords mypassword newpassword yourpassword mypass123 passcode drowssap changeme changeme1
    changeme123 changeme! change-me letmein1 letmein123 letmein! letmeinnow welcome1 welcome12
    welcome123 welcome1! welcome@1 welcome@123 welcome2024 welcome2025 welcome2026 admin123 admin1234
    admin12345 admin123456 admin@123 admin@1234 admin123! administrator administrator1 adminadmin
    adminpass adminpassword root1234 rootroot toor1234 test1234 test12345 test@123 testtest testing1
    testing123 tester123 testuser user1234 username user@123 guest123 guest1234 demo1234 demo@123
    default1 secret123 secret12 topsecret superuser superman superman1 batman123 spiderman spiderman1
    iloveyou iloveyou1 iloveyou2 iloveyou! iloveyou123 ilovegod iloveme1 iloveyouso loveyou1 lovelove
    lovely123 sunshine sunshine1 princess princess1 football football1 baseball baseball1 basketball
    cricket1 cricket123 cricketlover liverpool liverpool1 arsenal1 chelsea1 manchester barcelona
    realmadrid juventus jordan23 michael1 michelle michelle1 jennifer jennifer1 jessica1 ashley12
    charlie1 victoria victoria1 elizabeth alexander alexandra christian christine samantha jonathan
    danielle benjamin nicholas patricia stephanie trustno1 whatever whatever1 starwars starwars1
    computer computer1 internet internet1 corvette mercedes maverick midnight mountain butterfly
    butterfly1 chocolate chocolate1 cheesecake blink182 pokemon1 pokemon123 minecraft minecraft1
    fortnite dragon123 monkey123 shadow123 master123 hello123 hello1234 hello@123 hellohello
    helloworld google123 facebook facebook1 samsung1 samsung123 nintendo playstation qwertyqwerty
    welcomehome happiness freedom1 america1 thailand australia pakistan pakistan1 pakistan123
    bangladesh india123 india1234 india@123 indian123 india2024 india2025 india2026 incredibleindia
    jaihind1 jaihind123 jaihind@123 bharat123 bharat@123 hindustan vandemataram ganesha1 ganesh123
    ganpati1 krishna1 krishna123 radhakrishna jaishreeram jaishriram jaimatadi shreeram sairam123
    omsairam omnamahshivay saibaba1 sachin10 sachin123 sachintendulkar viratkohli virat@18 msdhoni7
    dhoni007 mumbai123 mumbai@123 delhi123 delhi@123 bangalore bengaluru chennai1 chennai123
    hyderabad kolkata1 kolkata123 rahul123 rohit123 amit1234 priya123 pooja123 deepak123 sanjay123
    rajesh123 ramesh123 suresh123 kumar123 singh123 sharma123 abcd@123 abcd@1234 abc@1234 abc@12345
    asdf@123 qwerty@123 qwerty@1 test@1234 summer2024 summer2025 summer2026 winter2024 winter2025
    winter2026 spring2026 autumn2026 company1 company123 business1 business123 temp1234 temp@123
    temppass temporary letmein2 access14 access123 login123 login1234 football123 monkey12 qwert123
    q2w3e4r5 1a2b3c4d 1a2b3c4d5e asdqwe123 poiuytrewq lkjhgfdsa mnbvcxz1 0o9i8u7y 5t6y7u8i 99999999a
    """.split()  # noqa: SIM905 - a list that stays readable
)
