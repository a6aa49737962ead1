"""The people: who they are, what they may, and how they prove it."""

import dataclasses
import datetime as dt
import logging
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

import email_validator
import phonenumbers

import clock
import database
import security
import wallet
from config import settings
from database import Document, Index, db
from errors import NotFound, Problem, invalid

log = logging.getLogger(__name__)

# --- vocabulary ---------------------------------------------------------------------------------

Role = Literal["user", "admin"]

PASSWORD_CHARACTERS_MIN: Final = 8
PASSWORD_CHARACTERS_MAX: Final = 128
NAME_CHARACTERS_MAX: Final = 100
_REMEMBERED_MAX: Final = 20_000

# Addresses are not written to, and teams use names such as wallet.local on their own machines.
email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()


@dataclasses.dataclass(frozen=True, slots=True)
class User:
    """A person with an account. `epoch` counts password changes; a token of an older epoch is dead
    unless it is of `kept_session_id`, the session the password was changed in."""

    id: str
    email: str
    name: str
    phone: str | None
    role: Role
    created_at: dt.datetime
    epoch: int = dataclasses.field(default=0, repr=False)
    kept_session_id: str | None = dataclasses.field(default=None, repr=False)


class EmailTaken(Problem):
    """There is an account with this e-mail address already; log in."""

    code, status, title = "email_taken", 409, "E-mail taken"


class InvalidCredentials(Problem):
    """The e-mail address or the password is wrong."""

    code, status, title = "invalid_credentials", 401, "Invalid credentials"

    def __init__(self) -> None:
        super().__init__(
            "The e-mail address or the password is wrong.", headers={"WWW-Authenticate": "Bearer"}
        )


# --- what people type ---------------------------------------------------------------------------


def email_of(text: str) -> str:
    """The e-mail address in `text`, without spaces around it; ValueError when it is none."""
    try:
        email_validator.validate_email(text.strip(), check_deliverability=False)
    except email_validator.EmailNotValidError as problem:
        raise ValueError(f"must be an e-mail address: {problem}") from None
    return text.strip()


def email_key(email: str) -> str:
    """What makes two spellings the same account: case, spaces and Unicode forms do not count."""
    return unicodedata.normalize("NFKC", email.strip()).casefold()


def name_of(text: str) -> str:
    """The name in `text`, without spaces around it; ValueError when it is empty, longer than
    `NAME_CHARACTERS_MAX`, or has characters that nobody sees."""
    name = unicodedata.normalize("NFC", text.strip())
    if not 1 <= len(name) <= NAME_CHARACTERS_MAX:
        raise ValueError(f"must have 1 to {NAME_CHARACTERS_MAX} characters")
    if any(_is_invisible(character) for character in name):
        raise ValueError("must not contain control characters")
    return name


def _is_invisible(character: str) -> bool:
    # The joiners of Indic scripts (Cf) are letters' parts; what turns the direction of text is not.
    return (
        unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
        or "\u202a" <= character <= "\u202e"
        or "\u2066" <= character <= "\u2069"
    )


def phone_of(text: str) -> str:
    """The phone number in `text` as E.164; ValueError when it cannot be one.

    Numbers without a country are of `DEFAULT_REGION`. Nobody is called at it, so a number only has
    to be possible: numbering plans change faster than their lists.
    """
    try:
        number = phonenumbers.parse(text, settings().default_region)
    except phonenumbers.NumberParseException:
        raise ValueError("must be a phone number, such as +91 98765 43210") from None
    if not phonenumbers.is_possible_number(number) or number.extension:
        raise ValueError("must be a phone number, such as +91 98765 43210")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


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


# --- accounts -----------------------------------------------------------------------------------


async def sign_up(*, email: str, password: str, name: str, phone: str | None) -> User:
    """A new account with the role `user`, and its wallet with Rs 0.

    Raises EmailTaken, and InvalidRequest for a weak password.
    """
    refuse_weak(password, about=(email, email.split("@")[0], name))
    if await db.users.find_one({"email_key": email_key(email)}, {"_id": 1}) is not None:
        raise _taken()  # spares the hash; the unique index below decides
    user = await _insert(email=email, password=password, name=name, phone=phone, role="user")
    await wallet.touch(user.id)
    return user


async def log_in(email: str, password: str) -> tuple[User, str]:
    """The user and the token of a new session. Raises InvalidCredentials, in the same time whether
    the address is known or not."""
    found = await db.users.find_one({"email_key": email_key(email)})
    password_hash = found["password_hash"] if found else None
    if not await security.verify_password(password, password_hash) or not found:
        raise InvalidCredentials
    user = _user(found)
    # A password changed in the meantime has moved the epoch on: this token is then born dead.
    return user, await security.open_session(user.id, user.epoch)


async def change_password(user: User, session_id: str, *, current: str, new: str) -> None:
    """Set a new password; every session but `session_id` is dead with it.

    One write to one document does all of it, so nothing is left half-done and no log-in with the
    old password slips through. Raises InvalidCredentials and InvalidRequest.
    """
    found = await db.users.find_one({"_id": user.id})
    if found is None or not await security.verify_password(current, found["password_hash"]):
        raise InvalidCredentials
    refuse_weak(new, field="new_password", about=(user.email, user.email.split("@")[0], user.name))
    changed = await db.users.update_one(
        {"_id": user.id, "password_hash": found["password_hash"]},
        {
            "$set": {
                "password_hash": await security.hash_password(new),
                "kept_session_id": session_id,
            },
            "$inc": {"epoch": 1},
        },
    )
    if changed.matched_count == 0:
        raise InvalidCredentials  # somebody else changed it a moment ago
    _forget(user.id)


async def delete(user_id: str) -> None:
    """Remove the account; its tokens are refused from now on. Raises NotFound."""
    removed = await db.users.delete_one({"_id": user_id})
    _forget(user_id)
    await security.revoke_all(user_id)
    if removed.deleted_count == 0:
        raise NotFound("There is no such user.")


async def ensure_first_admin() -> None:
    """Make the admin that the settings name, when there is no admin at all."""
    email, password = settings().admin_email, settings().admin_password.get_secret_value()
    if not (email and password) or await db.users.find_one({"role": "admin"}, {"_id": 1}):
        return
    try:
        user = await _insert(
            email=email_of(email), password=password, name="Admin", phone=None, role="admin"
        )
    except EmailTaken:
        if not await db.users.find_one({"role": "admin"}, {"_id": 1}):
            # Whoever signed up with it chose its password: not a reason to hand over the service.
            log.error("ADMIN_EMAIL is an ordinary account: run `python manage.py create-admin`")
    else:
        log.info("first admin made: %s", user.id)


async def create_admin(email: str, password: str) -> User:
    """Make this account an admin with this password, a new one or one that exists (which ends all
    its sessions). Raises ValueError for no e-mail address, InvalidRequest for a weak password."""
    address = email_of(email)
    refuse_weak(password, about=(address, address.split("@")[0]))
    try:
        return await _insert(
            email=address, password=password, name="Admin", phone=None, role="admin"
        )
    except EmailTaken:
        found = await db.users.find_one_and_update(
            {"email_key": email_key(address)},
            {
                "$set": {
                    "role": "admin",
                    "password_hash": await security.hash_password(password),
                    "kept_session_id": None,
                },
                "$inc": {"epoch": 1},
            },
            return_document=True,
        )
        if found is None:
            raise NotFound("The account was deleted a moment ago; try again.") from None
        _forget(found["_id"])
        return _user(found)


async def find(user_id: str) -> User | None:
    """The user, or None."""
    found = await database.find_together("users", user_id)
    return _user(found) if found else None


async def emails_of(ids: Iterable[str]) -> dict[str, str]:
    """The e-mail addresses of these users, by id; unknown ids are left out."""
    wanted = list(set(ids))
    cursor = db.users.find({"_id": {"$in": wanted}}, {"email": 1})
    return {found["_id"]: found["email"] async for found in cursor}


async def _insert(*, email: str, password: str, name: str, phone: str | None, role: Role) -> User:
    document: Document = {
        "_id": database.new_id("usr"),
        "email": email,
        "email_key": email_key(email),
        "password_hash": await security.hash_password(password),
        "name": name,
        "phone": phone,
        "role": role,
        "epoch": 0,
        "kept_session_id": None,
        "created_at": clock.now(),
    }
    try:
        await db.users.insert_one(document)
    except database.DuplicateKey:
        raise _taken() from None
    return _user(document)


def _taken() -> EmailTaken:
    return EmailTaken("There is an account with this e-mail address already; log in instead.")


def _user(document: Mapping[str, Any]) -> User:
    return User(
        id=document["_id"],
        email=document["email"],
        name=document["name"],
        phone=document["phone"],
        role=document["role"],
        created_at=document["created_at"],
        epoch=document["epoch"],
        kept_session_id=document["kept_session_id"],
    )


# --- remembered, as long as the change stream vouches for it ------------------------------------

_remembered: dict[str, User] = {}
_generation = 0  # moves with every change heard, so that an answer read before it is not kept


async def known(user_id: str) -> User | None:
    """The user as `find`, without a question to the database while nothing about them changed."""
    if security.in_step() and (user := _remembered.get(user_id)) is not None:
        return user
    generation = _generation
    user = await find(user_id)
    if user is not None and generation == _generation and security.in_step():
        if len(_remembered) >= _REMEMBERED_MAX:
            _remembered.clear()
        _remembered[user_id] = user
    return user


def _hear(change: Mapping[str, Any] | None) -> None:
    if change is None or "documentKey" not in change:
        global _generation
        _generation += 1
        _remembered.clear()
    else:
        _forget(change["documentKey"]["_id"])


def _forget(user_id: str) -> None:
    global _generation
    _generation += 1
    _remembered.pop(user_id, None)


security.listen("users", _hear)

# --- storage ------------------------------------------------------------------------------------

database.declare(
    "users",
    indexes=[
        Index(("email_key",), unique=True),
        Index(("role",), only_where={"role": "admin"}),
    ],
    schema={
        "bsonType": "object",
        "required": ["email", "email_key", "password_hash", "name", "role", "created_at"],
        "properties": {
            "_id": {"bsonType": "string"},
            "email": {"bsonType": "string"},
            "email_key": {"bsonType": "string"},
            "password_hash": {"bsonType": "string"},
            "name": {"bsonType": "string"},
            "phone": {"bsonType": ["string", "null"]},
            "role": {"enum": ["user", "admin"]},
            "epoch": {"bsonType": ["int", "long"]},
            "kept_session_id": {"bsonType": ["string", "null"]},
            "created_at": {"bsonType": "date"},
        },
    },
)

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
