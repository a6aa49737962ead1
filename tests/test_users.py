"""One account a person, names and numbers as people write them, passwords that nobody guesses."""

import asyncio
import string

import pytest

import users
import wallet
from auth import passwords, sessions
from auth.devices import Client
from core import config, database, phone_numbers
from core.errors import InvalidRequest, NotFound
from tests.support.service import PASSWORD, Service, running, test_settings

# --- what people type ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "email",
    [
        "asha@example.com",
        "  asha@example.com\t",
        "a.b+c@wallet.local",
        "admin@shop.test",
        "अ@उदाहरण.भारत",
    ],
)
def test_an_email_address_is_taken_as_it_is_given(email: str) -> None:
    assert users.email_of(email) == email.strip()


@pytest.mark.parametrize(
    "email",
    ["", "asha", "asha@", "@example.com", "a b@example.com", "a@b@example.com", "a\0@example.com",
     "a@example.com\nBcc: x@example.com", "<a@example.com>", "a@exam ple.com"],
)  # fmt: skip
def test_what_is_no_email_address_is_refused(email: str) -> None:
    with pytest.raises(ValueError, match="e-mail address"):
        users.email_of(email)


def test_case_spaces_and_unicode_forms_are_the_same_account() -> None:
    spellings = ["jose\u0301@example.com", " JOS\u00c9@EXAMPLE.com ", "jos\u00e9@Example.COM"]
    assert len({users.email_key(spelling) for spelling in spellings}) == 1


@pytest.mark.parametrize("name", ["Asha Rao", "आशा", "क्\u200dष", "O'Brien-Smith", "x", "n" * 100])
def test_names_of_people_are_names(name: str) -> None:
    assert users.name_of(f"  {name} ") == name


@pytest.mark.parametrize(
    "name", ["", "   ", "n" * 101, "a\0b", "a\nb", "a\u202eb", "a\u2028b", "\x1b"]
)
def test_what_nobody_can_read_is_no_name(name: str) -> None:
    with pytest.raises(ValueError, match="must"):
        users.name_of(name)


@pytest.mark.parametrize("text", ["9876543210", "098765 43210", "+91-98765-43210", "+919876543210"])
def test_a_phone_number_of_the_default_region_is_kept_as_e164(text: str) -> None:
    config.use(test_settings("mongodb://127.0.0.1:1"))
    try:
        assert phone_numbers.phone_of(text) == "+919876543210"
        assert phone_numbers.phone_of("+1 (212) 555-0123") == "+12125550123"
    finally:
        config.use(None)


@pytest.mark.parametrize(
    "text", ["123", "call me", "+999123", "9876543210 ext. 5", "+91" + "9" * 20]
)
def test_what_cannot_be_a_phone_number_is_refused(text: str) -> None:
    config.use(test_settings("mongodb://127.0.0.1:1"))
    try:
        with pytest.raises(ValueError, match="phone number"):
            phone_numbers.phone_of(text)
    finally:
        config.use(None)


@pytest.mark.parametrize(
    "password",
    ["", "short 1", "x" * 129, "password", "PassWord1", "12345678", "qwertyuiop", "India@123",
     "aaaaaaaaaaaa", "abababababab", "with a nul \0 inside", "asha@example.com", "ASHA.RAO", "Asha Rao"],
)  # fmt: skip
def test_passwords_that_everybody_tries_first_are_refused(password: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        passwords.refuse_weak(password, about=("Asha@Example.com", "asha.rao", "asha rao"))
    assert refused.value.extra["errors"][0]["field"] == "password"


@pytest.mark.parametrize(
    "password", [PASSWORD, "8charsok", "x1 " * 42, "पासवर्ड बहुत लंबा", "asha rao 19"]
)
def test_length_counts_and_composition_does_not(password: str) -> None:
    passwords.refuse_weak(password, about=("asha@example.com", "asha", "asha rao"))


def test_the_ban_is_of_a_few_hundred_passwords_that_the_length_would_let_through() -> None:
    assert len(passwords.COMMON_PASSWORDS) > 300
    for password in passwords.COMMON_PASSWORDS:
        assert len(password) >= passwords.PASSWORD_CHARACTERS_MIN, password
        assert password == password.casefold(), password
        assert not set(password) - set(string.printable), password


# --- accounts -----------------------------------------------------------------------------------


async def test_twenty_simultaneous_sign_ups_of_one_person_make_one_account(
    service: Service,
) -> None:
    async def sign_up(number: int) -> int:
        email = ("Asha@Example.com", " asha@example.COM ", "ASHA@EXAMPLE.COM")[number % 3]
        answer = await service.post(
            "/api/auth/signup", json={"email": email, "password": PASSWORD, "name": "Asha"}
        )
        if answer.status_code != 201:
            assert answer.json()["code"] == "email_taken"
        return answer.status_code

    statuses = await asyncio.gather(*(sign_up(number) for number in range(20)))
    assert sorted(statuses) == [201] + [409] * 19
    assert await database.db.users.count_documents({"email_key": "asha@example.com"}) == 1


async def test_a_deleted_user_is_gone_with_all_tokens(service: Service) -> None:
    person = await service.signup()
    await users.delete_user(person.id)
    assert (await service.get("/api/auth/me", person)).status_code == 401
    assert await users.find_user(person.id) is None
    assert (
        await database.db.sessions.count_documents({"user_id": person.id, "revoked_at": None}) == 0
    )
    with pytest.raises(NotFound):
        await users.delete_user(person.id)
    again = await service.signup(person.email)
    assert again.id != person.id


async def test_emails_of_leaves_unknown_ids_out(service: Service) -> None:
    person, other = await service.signup(), await service.signup()
    found = await users.find_emails([person.id, other.id, person.id, "usr_nobody"])
    assert found == {person.id: person.email, other.id: other.email}


async def test_a_log_in_with_the_old_password_does_not_survive_the_change_it_races(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await service.signup()
    me = await users.find_user(person.id)
    assert me is not None
    open_session = sessions.create_session

    async def late(user_id: str, epoch: int, client: Client | None = None) -> str:
        # The old password was right; now it changes before the session is opened.
        await users.change_password(me, "ses_mine", current=PASSWORD, new="the newest one of all")
        return await open_session(user_id, epoch, client)

    monkeypatch.setattr(sessions, "create_session", late)
    answer = await service.post(
        "/api/auth/login", json={"email": person.email, "password": PASSWORD}
    )
    token = answer.json()["access_token"]
    born_dead = await service.get("/api/auth/me", headers={"Authorization": f"Bearer {token}"})
    assert born_dead.status_code == 401


async def test_a_password_is_kept_as_a_hash_only(service: Service) -> None:
    person = await service.signup()
    kept = await database.db.users.find_one({"_id": person.id})
    assert kept is not None
    assert kept["password_hash"].startswith("$argon2id$")
    assert PASSWORD not in str(kept)
    assert kept["password_hash"] not in repr(await users.find_user(person.id))


# --- admins -------------------------------------------------------------------------------------


async def test_the_first_admin_is_made_once_by_however_many_processes(service: Service) -> None:
    await database.db.users.delete_many({})
    await asyncio.gather(*(users.ensure_first_admin() for _ in range(8)))
    await users.ensure_first_admin()
    assert await database.db.users.count_documents({"role": "admin"}) == 1
    # Another address in the settings later makes no second one.
    config.use(service.settings.model_copy(update={"admin_email": "second@example.com"}))
    await users.ensure_first_admin()
    config.use(service.settings)
    assert await database.db.users.count_documents({}) == 1
    admin = await database.db.users.find_one({"role": "admin"})
    assert admin is not None
    assert await database.db.wallets.count_documents({"user_id": admin["_id"]}) == 1


async def test_an_admin_has_a_wallet_from_the_beginning_and_keeps_the_one_of_before(
    service: Service,
) -> None:
    async def wallets_of(user_id: str) -> int:
        return await database.db.wallets.count_documents({"user_id": user_id})

    fresh = await users.create_admin("with.wallet@example.com", "chosen by the operator")
    assert await wallets_of(fresh.id) == 1
    again = await users.create_admin("with.wallet@example.com", "chosen another time")
    assert (again.id, await wallets_of(fresh.id)) == (fresh.id, 1)
    person = await service.signup()
    await service.fund(person, 100)
    await users.create_admin(person.email, "chosen by the operator")
    assert (await wallet.get_balance(person.id)).balance_paise == 100_00
    # An account of an older release that never logged in has none.
    await database.db.wallets.delete_one({"user_id": fresh.id})
    await users.create_admin("with.wallet@example.com", "chosen by the operator")
    assert await wallets_of(fresh.id) == 1


async def test_an_ordinary_account_does_not_become_the_first_admin_by_its_address(
    mongodb_uri: str,
) -> None:
    settings = test_settings(mongodb_uri, admin_email="")
    async with running(settings) as service:
        person = await service.signup("boss@example.com")
        config.use(settings.model_copy(update={"admin_email": "Boss@example.com"}))
        await users.ensure_first_admin()
        found = await users.find_user(person.id)
        assert found is not None
        assert found.role == "user"


async def test_create_admin_promotes_with_a_new_password_and_ends_the_old_sessions(
    service: Service,
) -> None:
    person = await service.signup()
    promoted = await users.create_admin(person.email.upper(), "chosen by the operator")
    assert (promoted.id, promoted.role) == (person.id, "admin")
    assert (await service.get("/api/auth/me", person)).status_code == 401
    login = {"email": person.email, "password": "chosen by the operator"}
    answer = await service.post("/api/auth/login", json=login)
    assert answer.json()["user"]["role"] == "admin"
    fresh = await users.create_admin("new.admin@example.com", "chosen by the operator")
    assert fresh.role == "admin"
    with pytest.raises(InvalidRequest):
        await users.create_admin("third@example.com", "short")
    disabled = await service.disabled()
    with pytest.raises(users.AccountDisabled):
        await users.create_admin(disabled.email, "chosen by the operator")
    with pytest.raises(ValueError, match="e-mail"):
        await users.create_admin("third", "chosen by the operator")
