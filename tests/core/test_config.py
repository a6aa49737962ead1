"""What keeps the service from starting, and the example of every setting."""

import itertools
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from core import config
from core.config import Settings
from tests.support.service import ROOT

EXAMPLE = (ROOT / ".env.example").read_text()

GOOD: dict[str, Any] = {"jwt_secret": SecretStr("0123456789abcdef-of-the-tests")}

LIVE: dict[str, Any] = {
    "jwt_secret": SecretStr("kQ3v8sYx2mB7wTzR5nLc9dGf4hJp6aUe"),
    "app_env": "production",
    "mongodb_uri": "mongodb://wallet:a-password@db1,db2/?replicaSet=rs0",
    "public_base_url": "https://wallet.example.org",
    "admin_email": "owner@example.org",
    "admin_password": SecretStr("a long enough password"),
    "razorpay_key_id": "rzp_live_ABCDEFGHIJKLMN",
    "razorpay_key_secret": SecretStr("the secret of the key"),
    "razorpay_webhook_secret": SecretStr("the secret of the webhooks"),
    "telephony_provider": "twilio",
    "twilio_account_sid": "AC00000000000000000000000000000000",
    "twilio_auth_token": SecretStr("the token of the network"),
    "twilio_from": "+14155550100",
}


# Secrets that are long and say nothing, with the reason that names them.
GUESSABLE = {
    "kQ3v8sYx2mB7wTzR5nLc9dGf4hJp6aU": "JWT_SECRET has fewer than 32 bytes",
    "secret" * 8: "JWT_SECRET is a repetition",
    "1234567890" * 3 + "12345": "JWT_SECRET is a repetition",
    "a" * 64: "JWT_SECRET is a repetition",
    "abcabcacbaccbabcabcabacbcbaabccabc": "JWT_SECRET is a repetition, or made of few characters",
}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def make(**given: Any) -> Settings:
    return Settings(_env_file=None, **given)


def example() -> dict[str, str]:
    lines = [line for line in EXAMPLE.splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


# --- .env.example -------------------------------------------------------------------------------


def test_every_setting_stands_in_the_example_and_nothing_else_does() -> None:
    assert sorted(example()) == sorted(name.upper() for name in Settings.model_fields)


def test_every_line_of_the_example_is_explained_by_the_one_above() -> None:
    lines = EXAMPLE.splitlines()
    bare = [
        line
        for above, line in itertools.pairwise(lines)
        if "=" in line
        and not line.startswith("#")
        and not (above.startswith("# ") and above.endswith("."))
    ]
    assert bare == []


def test_the_example_says_the_defaults() -> None:
    written = Settings(_env_file=ROOT / ".env.example")
    by_default = make()
    different = {
        name
        for name in Settings.model_fields
        if getattr(written, name) != getattr(by_default, name)
    }
    assert different == {"jwt_secret", "admin_email", "admin_password", "razorpay_webhook_secret"}


def test_the_environment_wins_over_the_env_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("PORT=1234\nMONGODB_DB=from_file\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PORT", "4321")
    monkeypatch.setenv("MONGODB_DB", "")
    assert (Settings().port, Settings().mongodb_db) == (4321, "from_file")


# --- what is refused ----------------------------------------------------------------------------


def test_a_development_configuration_with_a_secret_has_no_problem() -> None:
    assert config.problems(make(**GOOD)) == []


def test_a_production_configuration_with_everything_has_no_problem() -> None:
    assert config.problems(make(**LIVE)) == []


NETWORKS = {
    "twilio": ("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_FROM"),
    "plivo": ("PLIVO_AUTH_ID", "PLIVO_AUTH_TOKEN", "PLIVO_FROM"),
    "exotel": (
        *("EXOTEL_SID", "EXOTEL_API_KEY", "EXOTEL_API_TOKEN"),
        *("EXOTEL_CALLER_ID", "EXOTEL_APP_ID"),
    ),
}


@pytest.mark.parametrize("network", NETWORKS)
def test_each_missing_credential_of_the_chosen_network_is_named(network: str) -> None:
    bare = make(**GOOD, telephony_provider=network, test_call_numbers="+919876543210")
    assert [line.split()[0] for line in config.problems(bare)] == [
        *NETWORKS[network],
        "PUBLIC_BASE_URL",
    ]
    given = {name.lower(): "something" for name in NETWORKS[network]}
    public = {"public_base_url": "https://wallet.example.org"}
    ours = {"test_call_numbers": "+919876543210, +91 98765-43211"}
    assert (
        config.problems(make(**GOOD, **given, **public, **ours, telephony_provider=network)) == []
    )
    local = {f"{network}_base_url": "http://127.0.0.1:1"}  # an emulator reaches us on this machine
    assert config.problems(make(**GOOD, **given, **local, telephony_provider=network)) == []


def test_the_addresses_of_exotel_are_addresses_or_networks() -> None:
    chosen = make(exotel_allowed_addresses="203.0.113.7, 198.51.100.0/24")
    assert [str(one) for one in chosen.exotel_allowed_addresses] == [
        *("203.0.113.7/32", "198.51.100.0/24"),
    ]
    with pytest.raises(ValidationError):
        make(exotel_allowed_addresses="exotel.com")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"jwt_secret": SecretStr("")}, "JWT_SECRET is missing"),
        ({"jwt_secret": SecretStr("change-me")}, "JWT_SECRET is missing"),
        ({"razorpay_key_id": "rzp_test_x"}, "RAZORPAY_KEY_SECRET is missing"),
        (
            {"razorpay_key_id": "rzp_prod_x", "razorpay_key_secret": SecretStr("s")},
            "RAZORPAY_KEY_ID must begin with",
        ),
        (
            {
                "razorpay_key_id": "rzp_test_x",
                "razorpay_key_secret": SecretStr("same"),
                "razorpay_webhook_secret": SecretStr("same"),
            },
            "RAZORPAY_WEBHOOK_SECRET is the same",
        ),
        (
            {"razorpay_key_id": "rzp_live_x", "razorpay_key_secret": SecretStr("s")},
            "live money needs APP_ENV=production",
        ),
        (
            {"minimum_recharge": "100", "maximum_recharge": "50"},
            "MINIMUM_RECHARGE is above MAXIMUM_RECHARGE",
        ),
        ({"minimum_recharge": "0.50"}, "MINIMUM_RECHARGE is below Rs 1"),
        ({"minimum_balance": "0"}, "MINIMUM_BALANCE must be above 0"),
        ({"daily_spend_cap": "9.99"}, "DAILY_SPEND_CAP is below MINIMUM_BALANCE"),
        (
            {"new_account_days": "7", "new_account_daily_spend_cap": "5"},
            "NEW_ACCOUNT_DAILY_SPEND_CAP is below MINIMUM_BALANCE",
        ),
    ],
)
def test_outside_production_this_alone_is_refused(changes: dict[str, Any], expected: str) -> None:
    found = config.problems(make(**{**GOOD, **changes}))
    assert len(found) == 1
    assert expected in found[0]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"jwt_secret": SecretStr("")}, "JWT_SECRET is missing, a default"),
        ({"jwt_secret": SecretStr("too short")}, "JWT_SECRET is missing, a default"),
        ({"jwt_secret": SecretStr("change-me-change-me")}, "JWT_SECRET is missing, a default"),
        ({"admin_password": SecretStr("too short")}, "ADMIN_PASSWORD is a default, or shorter"),
        ({"jwt_secret_previous": SecretStr("too short")}, "JWT_SECRET_PREVIOUS is shorter"),
        ({"razorpay_webhook_secret": SecretStr("")}, "RAZORPAY_WEBHOOK_SECRET is missing"),
        ({"razorpay_key_id": ""}, "RAZORPAY_KEY_ID is empty"),
        ({"razorpay_key_id": "rzp_sandbox_x"}, "RAZORPAY_KEY_ID is empty or a sandbox key"),
        ({"razorpay_key_id": "rzp_test_x"}, "RAZORPAY_KEY_ID is a test key"),
        ({"razorpay_key_secret": SecretStr("")}, "RAZORPAY_KEY_SECRET is missing"),
        ({"razorpay_base_url": "http://127.0.0.1:1"}, "RAZORPAY_BASE_URL must be empty"),
        ({"mongodb_uri": ""}, "MONGODB_URI is missing"),
        ({"public_base_url": ""}, "PUBLIC_BASE_URL is missing"),
        ({"public_base_url": "http://wallet.example.org"}, "PUBLIC_BASE_URL is missing"),
        ({"admin_email": ""}, "ADMIN_EMAIL is missing"),
        ({"admin_email": "admin@example.com"}, "ADMIN_EMAIL is the default"),
        ({"trusted_proxies": "*"}, "TRUSTED_PROXIES is *"),
        ({"telephony_provider": "simulator"}, "TELEPHONY_PROVIDER=simulator"),
        ({"twilio_auth_token": SecretStr("")}, "TWILIO_AUTH_TOKEN is missing"),
        *[({"jwt_secret": SecretStr(secret)}, why) for secret, why in GUESSABLE.items()],
        ({"admin_password": SecretStr("passwordpassword")}, "ADMIN_PASSWORD is a repetition"),
        (
            {"razorpay_webhook_secret": SecretStr("abababababababab")},
            "RAZORPAY_WEBHOOK_SECRET is a repetition",
        ),
        (
            {"razorpay_webhook_secret": LIVE["jwt_secret"]},
            "JWT_SECRET is the same as RAZORPAY_WEBHOOK_SECRET",
        ),
        ({"trusted_proxies": "0.0.0.0/0"}, "TRUSTED_PROXIES has 0.0.0.0/0"),
        ({"trusted_proxies": "10.0.0.1, ::/0"}, "TRUSTED_PROXIES has ::/0"),
        ({"trusted_proxies": "128.0.0.0/1"}, "TRUSTED_PROXIES has 128.0.0.0/1"),
        ({"trusted_proxies": "nginx"}, "TRUSTED_PROXIES has nginx, which is no address"),
        ({"cors_origins": "https://app.example.org, *"}, "CORS_ORIGINS has *"),
        ({"cors_origins": "null"}, "CORS_ORIGINS has null"),
        ({"cors_origins": "http://app.example.org"}, "CORS_ORIGINS has http://app.example.org"),
        ({"cors_origins": "https://app.example.org/"}, "CORS_ORIGINS has https://app"),
        ({"recharge_url": "http://app.example.org/pay"}, "RECHARGE_URL is no https:// URL"),
        ({"log_level": "DEBUG"}, "LOG_LEVEL=DEBUG"),
        ({"test_call_numbers": "+919876543210"}, "TEST_CALL_NUMBERS must be empty"),
        ({"mongodb_uri": "mongodb://db1,127.0.0.1/?replicaSet=rs0"}, "MONGODB_URI has no user"),
        ({"mongodb_uri": "mongodb+srv://cluster.example.org"}, "MONGODB_URI has no user"),
        (
            {"mongodb_uri": "mongodb://a:b@db1/?tls=true&tlsAllowInvalidCertificates=true"},
            "MONGODB_URI accepts any certificate",
        ),
        ({"security_contact": "security at example.org"}, "SECURITY_CONTACT must begin with"),
        ({"twilio_base_url": "http://127.0.0.1:1"}, "TWILIO_BASE_URL must be empty"),
        ({"plivo_base_url": "http://127.0.0.1:1"}, "PLIVO_BASE_URL must be empty"),
        ({"exotel_base_url": "http://127.0.0.1:1"}, "EXOTEL_BASE_URL must be empty"),
    ],
)
def test_production_names_what_it_refuses(changes: dict[str, Any], expected: str) -> None:
    found = config.problems(make(**{**LIVE, **changes}))
    assert [line for line in found if expected in line]
    assert len(found) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"trusted_proxies": "10.0.0.0/8,2001:db8::/32,192.0.2.7"},
        {"cors_origins": "https://app.example.org,https://app.example.org:8443"},
        {"mongodb_uri": "mongodb://127.0.0.1:27017,[::1]:27018/?replicaSet=rs0"},
        {"mongodb_uri": "mongodb://db1/?authMechanism=MONGODB-X509&tls=true"},
        {"security_contact": "mailto:security@example.org"},
        {"jwt_secret": SecretStr("0f1e2d3c4b5a69788796a5b4c3d2e1f0")},
    ],
)
def test_production_takes_what_is_safe(changes: dict[str, Any]) -> None:
    assert config.problems(make(**{**LIVE, **changes})) == []


@pytest.mark.parametrize("app_env", ["development", "test"])
@pytest.mark.parametrize(
    "gateway",
    [{}, {"razorpay_key_id": "rzp_test_x", "razorpay_key_secret": SecretStr("of the key")}],
    ids=["sandbox", "test"],
)
def test_play_money_and_a_real_network_are_refused_together(
    app_env: str, gateway: dict[str, Any]
) -> None:
    """Play money never buys real calls, in no APP_ENV: a setting has to name the numbers."""
    network = {name: value for name, value in LIVE.items() if "twilio" in str(name)}
    given = {
        **GOOD,
        **network,
        **gateway,
        "app_env": app_env,
        "telephony_provider": "twilio",
        "public_base_url": "https://wallet.example.org",
    }
    (found,) = config.problems(make(**given))
    assert "is play money: name in TEST_CALL_NUMBERS the numbers" in found
    assert config.problems(make(**given, test_call_numbers="+919876543210")) == []
    assert config.problems(make(**given, twilio_base_url="http://127.0.0.1:1")) == []
    elsewhere = config.problems(make(**given, twilio_base_url="http://192.0.2.1:1"))
    assert elsewhere == [found]


def test_the_sandbox_listens_on_loopback_only() -> None:
    for host in ("0.0.0.0", "::", "192.0.2.7", "wallet.internal"):
        (found,) = config.problems(make(**GOOD, host=host))
        assert f"HOST={host}: the Razorpay sandbox listens on loopback only" in found
    for host in ("127.0.0.1", "127.1.2.3", "localhost", "::1"):
        assert config.problems(make(**GOOD, host=host)) == []
    assert config.problems(make(**LIVE, host="0.0.0.0")) == []


def test_production_with_nothing_set_names_everything_at_once() -> None:
    names = {line.split()[0].split("=")[0] for line in config.problems(make(app_env="production"))}
    assert names == {
        "JWT_SECRET",
        "RAZORPAY_WEBHOOK_SECRET",
        "RAZORPAY_KEY_ID",
        "TELEPHONY_PROVIDER",
        "MONGODB_URI",
        "PUBLIC_BASE_URL",
    }


def test_production_starts_without_the_first_admins_password() -> None:
    assert config.problems(make(**{**LIVE, "admin_password": SecretStr("")})) == []
    nobody = {"admin_password": SecretStr(""), "admin_email": ""}
    assert config.problems(make(**{**LIVE, **nobody})) == []


def test_no_problem_ever_tells_a_secret() -> None:
    secret = "s3cr3t"
    chosen = make(
        app_env="production",
        jwt_secret=SecretStr(secret),
        admin_password=SecretStr(secret),
        razorpay_key_secret=SecretStr(secret),
        razorpay_webhook_secret=SecretStr(secret),
        telephony_provider="exotel",
        exotel_api_key=secret,
        exotel_api_token=SecretStr(secret),
        mongodb_uri=f"mongodb://user:{secret}@db/",
    )
    assert config.problems(chosen)
    assert secret not in " ".join(config.problems(chosen))


@pytest.mark.parametrize(
    "changes",
    [
        {"default_call_rate": "ten"},
        {"default_call_rate": "10.005"},
        {"default_call_rate": "-1"},
        {"default_call_rate": "NaN"},
        {"minimum_balance": "Infinity"},
        {"port": "0"},
        {"port": "70000"},
        {"web_concurrency": "0"},
        {"pulse_seconds": "0"},
        {"app_env": "prod"},
        {"telephony_provider": "carrier pigeon"},
        {"test_call_numbers": "9876543210"},
        {"test_call_numbers": "+91*"},
    ],
)
def test_a_value_that_makes_no_sense_is_refused_when_it_is_read(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        make(**changes)


# --- going to test and to live mode -------------------------------------------------------------


def test_test_mode_lacks_the_key_and_its_secret() -> None:
    missing = config.missing_for(make(**GOOD), "test")
    assert [line.split()[0] for line in missing] == ["RAZORPAY_KEY_ID", "RAZORPAY_KEY_SECRET"]


def test_test_mode_lacks_nothing_with_a_test_key() -> None:
    chosen = make(
        **GOOD, razorpay_key_id="rzp_test_x", razorpay_key_secret=SecretStr("secret of the key")
    )
    assert config.missing_for(chosen, "test") == []


def test_live_mode_lacks_what_production_refuses_and_production_itself() -> None:
    missing = config.missing_for(make(**GOOD), "live")
    assert missing[0].startswith("APP_ENV is development")
    assert missing[1:] == config.problems(make(**GOOD, app_env="production"))


# --- what follows from the settings -------------------------------------------------------------


@pytest.mark.parametrize(
    ("key_id", "mode"),
    [("", "sandbox"), ("rzp_test_1", "test"), ("rzp_live_1", "live"), ("pk_1", "unknown")],
)
def test_the_prefix_of_the_key_decides_the_mode(key_id: str, mode: str) -> None:
    assert make(razorpay_key_id=key_id).gateway_mode == mode


def test_rupees_become_paise_exactly() -> None:
    chosen = make(default_call_rate="10.29", maximum_recharge=Decimal("500000"))
    assert chosen.default_call_rate_paise == 1029
    assert chosen.recharge_paise_max == 50_000_000


def test_the_derived_secrets_differ_by_purpose_and_follow_the_jwt_secret() -> None:
    one, other = make(**GOOD), make(jwt_secret=SecretStr("another secret altogether"))
    secrets = [
        value
        for chosen in (one, other)
        for value in (
            chosen.gateway_key_secret,
            chosen.gateway_webhook_secret,
            chosen.simulator_auth_token,
        )
    ]
    assert len(set(secrets)) == 6


def test_a_real_key_never_gets_a_derived_secret() -> None:
    chosen = make(**GOOD, razorpay_key_id="rzp_test_x")
    assert chosen.gateway_key_secret == ""
    assert chosen.gateway_webhook_secret == ""


def test_where_it_is_reached_does_not_depend_on_where_it_listens() -> None:
    chosen = make(host="0.0.0.0", port=9000)
    assert chosen.own_url == "http://127.0.0.1:9000"
    assert chosen.base_url == chosen.own_url
    assert make(public_base_url="https://w.example.org/").base_url == "https://w.example.org"
    assert make(host="::1").own_url == "http://[::1]:8000"
