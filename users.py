"""Users: accounts, sign-up with an empty wallet, log-in, password change, admins."""

import dataclasses
import datetime as dt
import logging
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, NotRequired, TypedDict, cast, get_args

import email_validator

import wallet
from auth import passwords, sessions
from core import clock, config, database, texts
from core.database import Document, Index, db
from core.errors import NotFound, Problem

log = logging.getLogger(__name__)


# --- vocabulary ---------------------------------------------------------------------------------

# `operator` sees everything and changes nothing.
Role = Literal["user", "operator", "admin"]
NAME_CHARACTERS_MAX: Final = 100
_CACHED_MAX: Final = 20_000


# No e-mail is sent, and teams use names such as wallet.local on their own machines.
email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()


@dataclasses.dataclass(frozen=True, slots=True)
class User:
    """A person with an account. `epoch` counts password changes; a token of an older epoch is refused
    unless it is of `kept_session_id`, the session the password was changed in."""

    id: str
    email: str
    name: str
    phone: str | None
    role: Role
    created_at: dt.datetime
    epoch: int = dataclasses.field(default=0, repr=False)
    kept_session_id: str | None = dataclasses.field(default=None, repr=False)
    disabled_at: dt.datetime | None = None

    @property
    def disabled(self) -> bool:
        """Whether an admin has disabled the account: nobody can use it, and nothing is dialled for it."""
        return self.disabled_at is not None


class PublicUser(TypedDict):
    """The fields of a user's record that an admin sees in lists."""

    _id: str
    email: str
    name: str
    phone: str | None
    role: Role
    created_at: dt.datetime
    disabled_at: NotRequired[dt.datetime | None]  # records of 0.2 have none


class UserRecord(PublicUser):
    """A record of `users`."""

    email_key: str  # unique: see `email_key`
    password_hash: str
    epoch: int
    kept_session_id: str | None


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


# --- e-mail addresses and names -----------------------------------------------------------------


def email_of(text: str) -> str:
    """The e-mail address in `text`, without spaces around it; ValueError when it is none."""
    try:
        email_validator.validate_email(text.strip(), check_deliverability=False)
    except email_validator.EmailNotValidError as problem:
        raise ValueError(f"must be an e-mail address: {problem}") from None
    return text.strip()


def email_key(email: str) -> str:
    """The address for comparison: without differences of case, outer spaces and Unicode form."""
    return unicodedata.normalize("NFKC", email.strip()).casefold()


def name_of(text: str) -> str:
    """The name in `text`, without spaces around it; ValueError when it is blank, longer than
    `NAME_CHARACTERS_MAX`, or has invisible characters."""
    if texts.is_blank(text):
        raise ValueError("must not be blank")
    name = unicodedata.normalize("NFC", texts.trimmed(text))
    if len(name) > NAME_CHARACTERS_MAX:
        raise ValueError(f"must have at most {NAME_CHARACTERS_MAX} characters")
    if any(_is_invisible(character) for character in name):
        raise ValueError("must not contain line breaks or other control characters")
    return name


def _is_invisible(character: str) -> bool:
    # The joiners of Indic scripts (Cf) are parts of letters; marks of text direction are not.
    return (
        unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
        or "\u202a" <= character <= "\u202e"
        or "\u2066" <= character <= "\u2069"
    )


# --- accounts -----------------------------------------------------------------------------------


async def sign_up(*, email: str, password: str, name: str, phone: str | None) -> User:
    """A new account with the role `user`, and its wallet with Rs 0.

    Raises EmailTaken, and InvalidRequest for a weak password.
    """
    passwords.refuse_weak(password, about=(email, email.split("@")[0], name))
    if await db.users.find_one({"email_key": email_key(email)}, {"_id": 1}) is not None:
        raise _taken()  # saves the cost of the hash; the unique index below decides
    return await _insert(email=email, password=password, name=name, phone=phone, role="user")


async def log_in(email: str, password: str) -> tuple[User, str]:
    """The user and the token of a new session. Raises InvalidCredentials, in the same time for known and
    unknown addresses."""
    found = await _find({"email_key": email_key(email)})
    password_hash = found["password_hash"] if found else None
    if not await passwords.verify_password(password, password_hash) or not found:
        raise InvalidCredentials
    user = user_from(found)
    # A password change in the meantime has incremented the epoch: this token is then refused.
    return user, await sessions.create_session(user.id, user.epoch)


async def change_password(user: User, session_id: str, *, current: str, new: str) -> None:
    """Set a new password, which ends every session but `session_id`.

    It is one write to one document, so it is atomic, and no log-in with the old password succeeds
    afterwards. Raises InvalidCredentials and InvalidRequest.
    """
    found = await _find({"_id": user.id})
    if found is None or not await passwords.verify_password(current, found["password_hash"]):
        raise InvalidCredentials
    passwords.refuse_weak(
        new, field="new_password", about=(user.email, user.email.split("@")[0], user.name)
    )
    changed = await db.users.update_one(
        {"_id": user.id, "password_hash": found["password_hash"]},
        {
            "$set": {
                "password_hash": await passwords.hash_password(new),
                "kept_session_id": session_id,
            },
            "$inc": {"epoch": 1},
        },
    )
    if changed.matched_count == 0:
        raise InvalidCredentials  # a concurrent change was first
    _remove_from_cache(user.id)


async def delete_user(user_id: str) -> None:
    """Remove the account; its tokens are refused from now on. Raises NotFound."""
    removed = await db.users.delete_one({"_id": user_id})
    _remove_from_cache(user_id)
    await sessions.revoke_sessions(user_id)
    if removed.deleted_count == 0:
        raise NotFound("There is no such user.")


async def ensure_first_admin() -> None:
    """Create the admin that the settings name, with a wallet, when there is no admin."""
    chosen = config.settings()
    email, password = chosen.admin_email, chosen.admin_password.get_secret_value()
    if not (email and password) or await db.users.find_one({"role": "admin"}, {"_id": 1}):
        return
    try:
        user = await _insert(
            email=email_of(email), password=password, name="Admin", phone=None, role="admin"
        )
    except EmailTaken:
        if not await db.users.find_one({"role": "admin"}, {"_id": 1}):
            # Somebody else may have signed up with it and chosen its password: that must not make an admin.
            log.error("ADMIN_EMAIL is an ordinary account: run `python manage.py create-admin`")
    else:
        log.info("first admin made: %s", user.id)


async def create_admin(email: str, password: str) -> User:
    """Make this account an admin with this password, a new one or one that exists (which ends all
    its sessions), and make sure that it has a wallet. Raises ValueError for no e-mail address,
    InvalidRequest for a weak password."""
    address = email_of(email)
    passwords.refuse_weak(password, about=(address, address.split("@")[0]))
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
                    "password_hash": await passwords.hash_password(password),
                    "kept_session_id": None,
                },
                "$inc": {"epoch": 1},
            },
            return_document=True,
        )
        if found is None:
            raise NotFound("The account was deleted a moment ago; try again.") from None
        _remove_from_cache(found["_id"])
        await wallet.ensure_wallet(found["_id"])
        return user_from(cast(UserRecord, found))


async def get_user(user_id: str) -> User:
    """The user. Raises NotFound."""
    user = await find_user(user_id)
    if user is None:
        raise NotFound("There is no user with this id.")
    return user


async def find_user(user_id: str) -> User | None:
    """The user, or None."""
    found = await database.find_together("users", user_id)
    return user_from(cast(UserRecord, found)) if found else None


async def find_emails(ids: Iterable[str]) -> dict[str, str]:
    """The e-mail addresses of these users, by id; unknown ids are left out."""
    wanted = list(set(ids))
    cursor = db.users.find({"_id": {"$in": wanted}}, {"email": 1})
    return {found["_id"]: found["email"] async for found in cursor}


async def _insert(*, email: str, password: str, name: str, phone: str | None, role: Role) -> User:
    """A new account with its wallet. Raises EmailTaken."""
    record: UserRecord = {
        "_id": database.new_id("usr"),
        "email": email,
        "email_key": email_key(email),
        "password_hash": await passwords.hash_password(password),
        "name": name,
        "phone": phone,
        "role": role,
        "epoch": 0,
        "kept_session_id": None,
        "created_at": clock.now(),
    }
    try:
        await db.users.insert_one(cast(Document, record))
    except database.DuplicateKey:
        raise _taken() from None
    await wallet.ensure_wallet(record["_id"])
    return user_from(record)


async def _find(where: Document) -> UserRecord | None:
    return cast(UserRecord | None, await db.users.find_one(where))


def _taken() -> EmailTaken:
    return EmailTaken("There is an account with this e-mail address already; log in instead.")


def user_from(record: UserRecord) -> User:
    """The user that a record holds."""
    return User(
        id=record["_id"],
        email=record["email"],
        name=record["name"],
        phone=record["phone"],
        role=record["role"],
        created_at=record["created_at"],
        epoch=record["epoch"],
        kept_session_id=record["kept_session_id"],
        disabled_at=record.get("disabled_at"),
    )


# --- the cache, valid while the change stream reports that nothing changed ----------------------

_cache: dict[str, User] = {}
_generation = 0  # counts the changes, so that a record that was read before one is not cached


async def find_user_cached(user_id: str) -> User | None:
    """As `find_user`, without asking the database while nothing about the user has changed."""
    if sessions.is_current() and (user := _cache.get(user_id)) is not None:
        return user
    generation = _generation
    user = await find_user(user_id)
    if user is not None and generation == _generation and sessions.is_current():
        if len(_cache) >= _CACHED_MAX:
            _cache.clear()
        _cache[user_id] = user
    return user


def _apply_change(change: Mapping[str, Any] | None) -> None:
    if change is None or "documentKey" not in change:
        global _generation
        _generation += 1
        _cache.clear()
    else:
        _remove_from_cache(change["documentKey"]["_id"])


def _remove_from_cache(user_id: str) -> None:
    global _generation
    _generation += 1
    _cache.pop(user_id, None)


sessions.on_change("users", _apply_change)


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
            "role": {"enum": list(get_args(Role))},
            "epoch": {"bsonType": ["int", "long"]},
            "kept_session_id": {"bsonType": ["string", "null"]},
            "created_at": {"bsonType": "date"},
            "disabled_at": {"bsonType": ["date", "null"]},
        },
    },
)
