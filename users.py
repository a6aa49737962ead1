"""Users: accounts, sign-up with an empty wallet, log-in, second factor, roles, disabled accounts."""

import dataclasses
import datetime as dt
import logging
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, NotRequired, TypedDict, cast, get_args

import email_validator

import wallet
from auth import devices, passwords, rate_limits, sessions, signing_keys, totp
from auth.devices import Client
from core import clock, config, database, outbox
from core.database import Document, Index, Update, db
from core.errors import Forbidden, NotFound, Problem, invalid
from wallet import RecordChanged

log = logging.getLogger(__name__)


# --- vocabulary ---------------------------------------------------------------------------------

# `operator` sees everything and changes nothing.
Role = Literal["user", "operator", "admin"]
NAME_CHARACTERS_MAX: Final = 100
_CACHED_MAX: Final = 20_000
# From how many devices and networks a person is remembered to have logged in.
_KNOWN_MAX: Final = 20


# No e-mail is sent, and teams use names such as wallet.local on their own machines.
email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()


class OwnLimits(TypedDict, total=False):
    """Limits of a user's calls that an admin has set instead of those of the settings."""

    concurrent_calls: int
    calls_per_minute: int
    calls_per_day: int
    spend_cap_paise: int


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
    limits: OwnLimits = dataclasses.field(default_factory=OwnLimits)
    has_second_factor: bool = False
    must_change_password: bool = False  # an admin chose it

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
    # records of 0.2 have none of these
    limits: NotRequired[OwnLimits]
    totp: NotRequired[totp.Factor]
    must_change_password: NotRequired[bool]
    decisions: NotRequired[int]  # about other users: see `_decided_by`
    known_devices: NotRequired[list[str]]  # in words, see `devices.describe`
    known_networks: NotRequired[list[str]]


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


class AccountDisabled(Problem):
    """An admin has disabled the account. Its money stays; ask support."""

    code, status, title = "account_disabled", 403, "Account disabled"

    def __init__(self) -> None:
        super().__init__("This account is disabled. Its money stays where it is; ask support.")


class SecondFactorRequired(Problem):
    """The password is right; send `totp_code`, too: of the app, or a recovery code."""

    code, status, title = "second_factor_required", 401, "Second factor required"

    def __init__(
        self, detail: str = "Send totp_code, too: the app's code or a recovery code."
    ) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"})


class SecondFactorSetupRequired(Problem):
    """Admins and operators need a second factor here: set one up at `/api/auth/totp` first."""

    code, status, title = "second_factor_setup_required", 403, "Second factor needed"


class PasswordChangeRequired(Problem):
    """The password was chosen by an admin: change it at `/api/auth/change-password` first."""

    code, status, title = "password_change_required", 403, "Password change needed"


class SecondFactorActive(Problem):
    """There is a second factor already; remove it before you set up another one."""

    code, status, title = "second_factor_active", 409, "Second factor active"


class OwnAccount(Problem):
    """Nobody decides about the own role, disables the own account, or resets the own second factor."""

    code, status, title = "own_account", 403, "Own account"


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
    """The name in `text`, without spaces around it; ValueError when it is empty, longer than
    `NAME_CHARACTERS_MAX`, or has invisible characters."""
    name = unicodedata.normalize("NFC", text.strip())
    if not 1 <= len(name) <= NAME_CHARACTERS_MAX:
        raise ValueError(f"must have 1 to {NAME_CHARACTERS_MAX} characters")
    if any(_is_invisible(character) for character in name):
        raise ValueError("must not contain control characters")
    return name


def _is_invisible(character: str) -> bool:
    # The joiners of Indic scripts (Cf) are parts of letters; marks of text direction are not.
    return (
        unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
        or "\u202a" <= character <= "\u202e"
        or "\u2066" <= character <= "\u2069"
    )


# --- accounts -----------------------------------------------------------------------------------


async def sign_up(
    *, email: str, password: str, name: str, phone: str | None, client: Client | None = None
) -> User:
    """A new account with the role `user`, and its wallet with Rs 0.

    Raises EmailTaken, and InvalidRequest for a weak password.
    """
    passwords.refuse_weak(password, about=(email, email.split("@")[0], name))
    if await db.users.find_one({"email_key": email_key(email)}, {"_id": 1}) is not None:
        raise _taken()  # saves the cost of the hash; the unique index below decides
    return await _insert(
        email=email, password=password, name=name, phone=phone, role="user", client=client
    )


async def log_in(
    email: str, password: str, *, code: str | None = None, client: Client | None = None
) -> tuple[User, str]:
    """The user and the token of a new session; `code` is the second factor, where there is one.

    Counts the attempt (`rate_limits.limit_logins`). Raises TooManyRequests; InvalidCredentials, in the
    same time for known and unknown addresses; and, when the password is right, AccountDisabled and
    SecondFactorRequired.
    """
    client = client or Client()
    account = email_key(email)
    device_id = devices.find_device(client.device_token, account)
    await rate_limits.limit_logins(client.address, account, device_id=device_id)
    found = await _find({"email_key": account})
    password_hash = found["password_hash"] if found else None
    if not await passwords.verify_password(password, password_hash) or not found:
        raise InvalidCredentials
    await rate_limits.forgive_login(client.address, account, device_id=device_id)
    user = user_from(found)
    if user.disabled:
        raise AccountDisabled
    if user.has_second_factor:
        await _require_second_factor(found, code, device_id)
    await _record_sign_in(found, client, device_id)
    # A password change in the meantime has incremented the epoch: this token is then refused.
    return user, await sessions.create_session(user.id, user.epoch, client)


async def change_password(
    user: User, session_id: str, *, current: str, new: str, client: Client | None = None
) -> User:
    """Set a new password, which ends every session but `session_id`; the user with the new epoch.

    It is one write to one document, so it is atomic, and no log-in with the old password succeeds
    afterwards. Counts as an attempt to log in. Raises TooManyRequests, InvalidCredentials and
    InvalidRequest.
    """
    client = client or Client()
    account = email_key(user.email)
    device_id = devices.find_device(client.device_token, account)
    await rate_limits.limit_logins(client.address, account, device_id=device_id)
    found = await _find({"_id": user.id})
    if found is None or not await passwords.verify_password(current, found["password_hash"]):
        raise InvalidCredentials
    passwords.refuse_weak(
        new, field="new_password", about=(user.email, user.email.split("@")[0], user.name)
    )
    changed = await db.users.find_one_and_update(
        {"_id": user.id, "password_hash": found["password_hash"]},
        {
            "$set": {
                "password_hash": await passwords.hash_password(new),
                "kept_session_id": session_id,
                "must_change_password": False,
            },
            "$inc": {"epoch": 1},
        },
        return_document=True,
    )
    if changed is None:
        raise InvalidCredentials  # a concurrent change was first
    _remove_from_cache(user.id)
    await rate_limits.forgive_login(client.address, account, device_id=device_id)
    # Their tokens are refused already; this takes them out of the list.
    await sessions.revoke_sessions(user.id, except_session_id=session_id)
    return user_from(cast(UserRecord, changed))


async def _require_second_factor(
    found: UserRecord, code: str | None, device_id: str | None
) -> None:
    """Raises SecondFactorRequired unless `code` is one of this user's that was not used before."""
    if not code:
        raise SecondFactorRequired
    await rate_limits.limit_second_factor(found["_id"], device_id=device_id)
    if not await _use_code(found, code):
        raise SecondFactorRequired("totp_code is wrong, or was used before. Send the next one.")
    await rate_limits.forgive_second_factor(found["_id"], device_id=device_id)


async def _use_code(found: UserRecord, code: str) -> bool:
    """Whether the code is right; then it is used up. Two processes cannot take the same one: each is
    taken by one conditional update."""
    user_id, factor, code = found["_id"], found["totp"], totp.plain(code)
    if not totp.is_time_code(code):
        code_hash = totp.recovery_hash(user_id, code)
        used = await db.users.update_one(
            {"_id": user_id, "totp.recovery_hashes": code_hash},
            {"$pull": {"totp.recovery_hashes": code_hash}},
        )
        return used.matched_count == 1
    step = totp.find_step(factor, code, clock.now())
    if step is None:
        return False
    used = await db.users.update_one(
        {
            "_id": user_id,
            "totp.created_at": factor["created_at"],
            "totp.last_step": {"$lt": step},
        },
        {"$set": {"totp.last_step": step}},
    )
    return used.matched_count == 1


async def _record_sign_in(found: UserRecord, client: Client, device_id: str | None) -> None:
    """Record the event `SignedIn` when somebody logs in from a device or a network that is new for the
    account: for a notice to its owner."""
    device = devices.describe(client.user_agent)
    network = rate_limits.login_network(client.address)
    is_new_device = device_id is None and device not in found.get("known_devices", [])
    is_new_network = network not in found.get("known_networks", [])
    if not (is_new_device or is_new_network):
        return
    await outbox.store_event(
        outbox.record_event(
            "SignedIn",
            user_id=found["_id"],
            device=device,
            address=client.address,
            new_device=is_new_device,
            new_network=is_new_network,
        )
    )
    seen = {"known_devices": device} if is_new_device else {}
    seen |= {"known_networks": network} if is_new_network else {}
    pushed = {name: {"$each": [value], "$slice": -_KNOWN_MAX} for name, value in seen.items()}
    await db.users.update_one({"_id": found["_id"]}, {"$push": pushed})


# --- second factor ------------------------------------------------------------------------------


async def start_second_factor(user: User) -> str:
    """Prepare a second factor, which counts once it is confirmed; its secret. Raises SecondFactorActive."""
    factor, secret = totp.new_factor()
    started = await db.users.update_one(
        {"_id": user.id, "totp.confirmed_at": None}, {"$set": {"totp": factor}}
    )
    if started.matched_count == 0:
        raise _factor_is_active()
    return secret


async def confirm_second_factor(user: User, session_id: str, code: str) -> list[str]:
    """Make the prepared factor count, when the app shows that it has the secret: the recovery codes,
    which are kept as hashes only. It ends every session but `session_id`: they have not shown it.

    Raises NotFound when none is prepared, SecondFactorActive, TooManyRequests, and InvalidRequest for a
    wrong code.
    """
    found = await _find({"_id": user.id})
    if found is None or "totp" not in found:
        raise NotFound("No second factor is being set up: POST /api/auth/totp begins.")
    if found["totp"]["confirmed_at"] is not None:
        raise _factor_is_active()
    await rate_limits.limit_second_factor(user.id)
    now = clock.now()
    code = totp.plain(code)
    step = totp.find_step(found["totp"], code, now) if totp.is_time_code(code) else None
    if step is None:
        raise invalid("code", "is not what the app shows now: check the clock of the device")
    codes = totp.new_recovery_codes()
    confirmed = await db.users.update_one(
        {
            "_id": user.id,
            "totp.created_at": found["totp"]["created_at"],
            "totp.confirmed_at": None,
        },
        {
            "$set": {
                "totp.confirmed_at": now,
                "totp.last_step": step,
                "totp.recovery_hashes": [totp.recovery_hash(user.id, each) for each in codes],
            }
        },
    )
    if confirmed.matched_count == 0:
        raise _factor_is_active()  # another request was first
    _remove_from_cache(user.id)
    await rate_limits.forgive_second_factor(user.id)
    await sessions.revoke_sessions(user.id, except_session_id=session_id)
    return codes


async def remove_own_second_factor(
    user: User, *, password: str | None, code: str | None, client: Client
) -> None:
    """Remove one's second factor, with the password or a code as a proof.

    Raises NotFound when there is none, TooManyRequests, InvalidCredentials, SecondFactorRequired for a
    wrong code, and InvalidRequest without a proof.
    """
    found = await _find({"_id": user.id})
    if found is None or not _has_second_factor(found):
        raise NotFound("There is no second factor.")
    account = email_key(user.email)
    device_id = devices.find_device(client.device_token, account)
    if code:
        await _require_second_factor(found, code, device_id)
    elif password:
        await rate_limits.limit_logins(client.address, account, device_id=device_id)
        if not await passwords.verify_password(password, found["password_hash"]):
            raise InvalidCredentials
        await rate_limits.forgive_login(client.address, account, device_id=device_id)
    else:
        raise invalid("password", "send the password or a code")
    await remove_second_factor(user.id)


async def remove_second_factor(user_id: str) -> bool:
    """Remove a user's second factor, where the device and the recovery codes are lost, say; whether
    there was one."""
    removed = await db.users.update_one(
        {"_id": user_id, "totp": {"$exists": True}}, {"$unset": {"totp": ""}}
    )
    _remove_from_cache(user_id)
    return removed.modified_count == 1


async def reset_second_factor(user_id: str, *, by: User) -> None:
    """Remove the second factor of somebody else, and end their sessions. Raises NotFound, OwnAccount."""
    await get_user(user_id)
    _refuse_own(user_id, by)
    if await remove_second_factor(user_id):
        log.warning("%s: second factor removed by %s", user_id, by.id)
        await sessions.revoke_sessions(user_id)


async def reencrypt_second_factors() -> int:
    """Encrypt with the current key what was encrypted with the previous one, so that that can go; how
    many there were. Those that no key opens are logged: an admin resets them."""
    current_id = signing_keys.current().id
    where = {"totp.key_id": {"$type": "string", "$ne": current_id}}
    count = 0
    async for document in db.users.find(where, {"totp": 1}):
        found = cast(UserRecord, document)
        renewed = totp.reencrypted(found["totp"])
        if renewed is None:
            log.error("%s: no key opens the second factor, reset it", found["_id"])
            continue
        changed = await db.users.update_one(
            {"_id": found["_id"], "totp.secret": found["totp"]["secret"]},
            {"$set": {"totp.secret": renewed["secret"], "totp.key_id": renewed["key_id"]}},
        )
        count += changed.modified_count
    return count


def _has_second_factor(record: UserRecord) -> bool:
    return "totp" in record and record["totp"]["confirmed_at"] is not None


def _factor_is_active() -> SecondFactorActive:
    return SecondFactorActive("There is a second factor already: DELETE /api/auth/totp removes it.")


def require_ready(user: User) -> None:
    """Refuse a user who may reach nothing but `/api/auth/` yet. Raises PasswordChangeRequired, and
    SecondFactorSetupRequired for admins and operators where `REQUIRE_2FA` is on."""
    if user.must_change_password:
        raise PasswordChangeRequired(
            "Your password was chosen by an admin: choose one at POST /api/auth/change-password."
        )
    if config.settings().require_2fa and user.role != "user" and not user.has_second_factor:
        raise SecondFactorSetupRequired(
            f"The role {user.role} needs a second factor here: POST /api/auth/totp sets one up."
        )


# --- what an admin decides ----------------------------------------------------------------------


async def create_user(
    *, user_id: str, email: str, name: str, phone: str | None, role: Role, password: str | None
) -> User:
    """A new account with this id, which somebody else opens for its owner, who has to change the password
    first; without one it is `one_time_password(user_id)`. Repeating it gives the account again.

    Raises EmailTaken, and InvalidRequest for a weak password.
    """
    if password is not None:
        passwords.refuse_weak(password, about=(email, email.split("@")[0], name))
    try:
        return await _insert(
            user_id=user_id,
            email=email,
            password=password or one_time_password(user_id),
            name=name,
            phone=phone,
            role=role,
            must_change_password=True,
        )
    except EmailTaken:
        # An earlier attempt of the same request may have created it, and died before its answer.
        found = await find_user(user_id)
        if found is None:
            raise
        await wallet.ensure_wallet(user_id)
        return found


def one_time_password(user_id: str) -> str:
    """The first password of an account that an admin creates without one. It is derived, so that the
    answer to the admin can be repeated although the password is kept nowhere."""
    return passwords.readable(signing_keys.current().derive(f"one-time password {user_id}"))


async def set_role(user_id: str, role: Role, *, by: User) -> User:
    """Change a user's role, in every process within a second; harmless when repeated.

    Raises NotFound, OwnAccount, and Forbidden when `by` is no admin any more.
    """
    user = await get_user(user_id)
    if user.role == role:
        return user
    _refuse_own(user_id, by)
    role_set = Update("users", {"_id": user_id}, {"$set": {"role": role}})
    try:
        await wallet.write_companions([_decided_by(by), role_set])
    except RecordChanged:
        await _refuse_former_admin(by)
        raise
    log.warning("%s: role %s by %s", user_id, role, by.id)
    _remove_from_cache(user_id)
    return await get_user(user_id)


async def set_disabled(user_id: str, *, disabled: bool, by: User) -> User:
    """Disable an account or enable it again; harmless when repeated.

    Disabled: nobody can log in, every token is refused within a second, live calls are hung up and
    campaigns wait, as for a frozen wallet. The money stays, and what has happened is still charged and
    credited. Enabled: campaigns go on; the tokens of before stay refused. Raises NotFound,
    OwnAccount, and Forbidden when `by` is no admin any more.
    """
    user = await get_user(user_id)
    if user.disabled == disabled:
        return user
    _refuse_own(user_id, by)
    await wallet.ensure_wallet(user_id)
    changed: Document = {"$set": {"disabled_at": clock.now() if disabled else None}}
    if disabled:
        # A process of 0.2 knows nothing of disabled accounts, but of epochs and frozen wallets.
        changed["$set"]["kept_session_id"] = None
        changed["$inc"] = {"epoch": 1}
    else:
        await sessions.revoke_sessions(user_id)
    try:
        await wallet.set_frozen(
            user_id,
            frozen=disabled,
            reason="The account was disabled." if disabled else "The account was enabled.",
            by=by.id,
            cause="account",
            companions=[_decided_by(by), Update("users", {"_id": user_id}, changed)],
        )
    except RecordChanged:
        await _refuse_former_admin(by)
        raise
    _remove_from_cache(user_id)
    return await get_user(user_id)


async def set_limits(user_id: str, changes: Mapping[str, int | None]) -> User:
    """Give a user limits of their own, for calls placed from now on; None takes one away. The keys are
    those of `OwnLimits`. Raises NotFound."""
    update: Document = {}
    for name, limit in changes.items():
        operator, value = ("$unset", "") if limit is None else ("$set", database.long(limit))
        update.setdefault(operator, {})[f"limits.{name}"] = value
    if update:
        await db.users.update_one({"_id": user_id}, update)
        _remove_from_cache(user_id)
    return await get_user(user_id)


def _refuse_own(user_id: str, by: User) -> None:
    if user_id == by.id:
        raise OwnAccount("Nobody decides this about their own account: ask another admin.")


def _decided_by(admin: User) -> Update:
    """The write that goes with a decision about another user: it finds `admin` only while they are one.

    It changes their record, so two admins who decide about each other at the same moment conflict, and
    the second is none any more. That leaves an admin, always: the one who decided last.
    """
    still_admin = {"_id": admin.id, "role": "admin", "disabled_at": None}
    return Update("users", still_admin, {"$inc": {"decisions": 1}})


async def _refuse_former_admin(by: User) -> None:
    now = await find_user(by.id)
    if now is None or now.role != "admin" or now.disabled:
        raise Forbidden("You are no admin any more: another one has decided so.")


async def delete_user(user_id: str) -> None:
    """Remove the account; its tokens are refused from now on. Raises NotFound."""
    removed = await db.users.delete_one({"_id": user_id})
    _remove_from_cache(user_id)
    await sessions.revoke_sessions(user_id)
    if removed.deleted_count == 0:
        raise NotFound("There is no such user.")


async def ensure_first_admin() -> None:
    """Create the admin that the settings name, with a wallet, when there is no admin; say what is to be
    done where the settings name none, or still have the password."""
    chosen = config.settings()
    email, password = chosen.admin_email, chosen.admin_password.get_secret_value()
    if await db.users.find_one({"role": "admin"}, {"_id": 1}):
        if password and chosen.app_env == "production":
            log.warning(
                "there is an admin: ADMIN_PASSWORD is not needed, remove it from the settings"
            )
        return
    if not (email and password):
        log.warning("there is no admin yet: `python manage.py create-admin --email …` makes one")
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
    InvalidRequest for a weak password, AccountDisabled."""
    address = email_of(email)
    passwords.refuse_weak(password, about=(address, address.split("@")[0]))
    try:
        return await _insert(
            email=address, password=password, name="Admin", phone=None, role="admin"
        )
    except EmailTaken:
        found = await db.users.find_one_and_update(
            {"email_key": email_key(address), "disabled_at": None},
            {
                "$set": {
                    "role": "admin",
                    "password_hash": await passwords.hash_password(password),
                    "kept_session_id": None,
                    "must_change_password": False,
                },
                "$inc": {"epoch": 1},
            },
            return_document=True,
        )
        if found is None:
            if await _find({"email_key": email_key(address)}) is not None:
                raise AccountDisabled from None  # its wallet is frozen, too: an admin enables both
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


async def _insert(
    *,
    email: str,
    password: str,
    name: str,
    phone: str | None,
    role: Role,
    user_id: str | None = None,
    must_change_password: bool = False,
    client: Client | None = None,
) -> User:
    """A new account with its wallet. Raises EmailTaken."""
    record: UserRecord = {
        "_id": user_id or database.new_id("usr"),
        "email": email,
        "email_key": email_key(email),
        "password_hash": await passwords.hash_password(password),
        "name": name,
        "phone": phone,
        "role": role,
        "epoch": 0,
        "kept_session_id": None,
        "must_change_password": must_change_password,
        "created_at": clock.now(),
    }
    if client is not None:
        record["known_devices"] = [devices.describe(client.user_agent)]
        record["known_networks"] = [rate_limits.login_network(client.address)]
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
        limits=record.get("limits", {}),
        has_second_factor=_has_second_factor(record),
        must_change_password=record.get("must_change_password", False),
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
        Index(("totp.key_id",), only_where={"totp.key_id": {"$type": "string"}}),
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
            "limits": {"bsonType": "object", "additionalProperties": {"bsonType": "long"}},
            "totp": {"bsonType": "object"},
            "must_change_password": {"bsonType": "bool"},
            "known_devices": {"bsonType": "array", "items": {"bsonType": "string"}},
            "known_networks": {"bsonType": "array", "items": {"bsonType": "string"}},
        },
    },
)
