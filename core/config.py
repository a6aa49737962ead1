"""Settings: read once from `.env` and the environment, and what is wrong with them."""

import decimal
import hmac
import ipaddress
import re
import urllib.parse
from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, IPvAnyNetwork, SecretStr
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

# --- vocabulary ---------------------------------------------------------------------------------

SANDBOX_KEY_ID = "rzp_sandbox_local"
SECRET_LENGTH_MIN = 16
JWT_SECRET_BYTES_MIN = 32
_DISTINCT_CHARACTERS_MIN = 8  # 32 random hexadecimal digits have fewer once in a million
PLACEHOLDER = "change-me"  # what .env.example has where a secret belongs

MODE_OF_PREFIX = {"rzp_sandbox_": "sandbox", "rzp_test_": "test", "rzp_live_": "live"}


def _rupees(value: object) -> object:
    if isinstance(value, str):
        try:
            amount = Decimal(value.strip())
        except decimal.InvalidOperation:
            raise ValueError("must be rupees, such as 10 or 10.50") from None
        if not amount.is_finite() or amount.scaleb(2) != amount.scaleb(2).to_integral_value():
            raise ValueError("must be rupees with at most two decimals, such as 10 or 10.50")
        return amount
    return value


Rupees = Annotated[Decimal, BeforeValidator(_rupees), Field(ge=0, le=10**9)]


def _comma_separated(value: object) -> object:
    return (
        [part.strip().upper() for part in value.split(",") if part.strip()]
        if isinstance(value, str)
        else value
    )


def _e164_numbers(value: object) -> object:
    if not isinstance(value, str):
        return value
    numbers = [re.sub(r"[\s-]", "", part) for part in value.split(",") if part.strip()]
    for number in numbers:
        if not re.fullmatch(r"\+[1-9][0-9]{7,14}", number):
            raise ValueError("must be numbers such as +919876543210, separated by commas")
    return numbers


def _lower_words(value: object) -> object:
    if not isinstance(value, str):
        return value
    return [part.strip().lower() for part in value.split(",") if part.strip()]


CallPurpose = Literal["promotional", "service", "transactional", "collection"]

# The kinds of numbers that phonenumbers distinguishes, without UNKNOWN.
NumberType = Literal[
    "MOBILE",
    "FIXED_LINE",
    "FIXED_LINE_OR_MOBILE",
    "VOIP",
    "PERSONAL_NUMBER",
    "PAGER",
    "UAN",
    "VOICEMAIL",
    "TOLL_FREE",
    "SHARED_COST",
    "PREMIUM_RATE",
]


class Settings(BaseSettings):
    """Every setting; `.env.example` lists each with a line of explanation."""

    model_config = SettingsConfigDict(
        env_file=".env", extra="ignore", env_ignore_empty=True, frozen=True
    )

    app_env: Literal["development", "test", "production"] = "development"
    fail_points_file: str = ""  # names the point at which a test kills this process
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    web_concurrency: Annotated[int, Field(ge=1, le=64)] = 1
    public_base_url: str = ""
    recharge_url: str = ""
    security_contact: str = ""  # https:// or mailto:, for /.well-known/security.txt
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["text", "json"] = "text"
    cors_origins: Annotated[
        list[str],
        NoDecode,
        BeforeValidator(
            lambda v: [p.strip() for p in v.split(",") if p.strip()] if isinstance(v, str) else v
        ),
    ] = []
    api_docs: bool | None = None
    metrics_token: SecretStr = SecretStr("")
    trusted_proxies: str = "127.0.0.1"
    # Of one process; those of TRUSTED_PROXIES are many people's and count only in all.
    max_connections: Annotated[int, Field(ge=16)] = 1000
    max_connections_per_address: Annotated[int, Field(ge=1)] = 200

    mongodb_uri: str = ""
    mongodb_db: str = "wallet"
    data_dir: str = ".data"

    jwt_secret: SecretStr = SecretStr("")
    jwt_secret_previous: SecretStr = SecretStr("")
    access_token_minutes: Annotated[int, Field(ge=1, le=60 * 24 * 30)] = 60 * 12
    admin_email: str = ""
    admin_password: SecretStr = SecretStr("")
    login_attempts_per_minute: Annotated[int, Field(ge=1)] = 10
    require_2fa: bool = False
    signups_per_hour: Annotated[int, Field(ge=1)] | None = None

    razorpay_key_id: str = ""
    razorpay_key_secret: SecretStr = SecretStr("")
    razorpay_key_secret_previous: SecretStr = SecretStr("")
    razorpay_webhook_secret: SecretStr = SecretStr("")
    razorpay_webhook_secret_previous: SecretStr = SecretStr("")
    razorpay_base_url: str = ""
    razorpay_requests_per_second: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    dispute_freezes_wallet: bool = False
    # What one user may do to bound what their orders cost in requests to Razorpay.
    unpaid_orders_per_hour: Annotated[int, Field(ge=1)] = 20
    unpaid_orders_per_day: Annotated[int, Field(ge=1)] = 60
    payment_lookups_per_minute: Annotated[int, Field(ge=1)] = 60
    # auth/rate_limits.py has what these are while they are empty.
    orders_per_minute: Annotated[int, Field(ge=1)] | None = None
    campaigns_per_hour: Annotated[int, Field(ge=1)] | None = None
    uploads_per_minute: Annotated[int, Field(ge=1)] | None = None
    downloads_per_minute: Annotated[int, Field(ge=1)] | None = None
    quotes_per_minute: Annotated[int, Field(ge=1)] | None = None
    checkouts_per_minute: Annotated[int, Field(ge=1)] | None = None
    idempotency_keys_per_hour: Annotated[int, Field(ge=1)] | None = None
    adjustment_confirm_above: Rupees | None = None

    default_call_rate: Rupees = Decimal(10)
    minimum_balance: Rupees = Decimal(10)
    minimum_recharge: Rupees = Decimal(10)
    maximum_recharge: Rupees = Decimal(500000)
    pulse_seconds: Annotated[int, Field(ge=1, le=3600)] = 1
    first_pulse_seconds: Annotated[int, Field(ge=1, le=3600)] | None = None
    minimum_billable_seconds: Annotated[int, Field(ge=0, le=3600)] = 0
    connection_fee: Rupees = Decimal(0)
    call_slice_minutes: Annotated[int, Field(ge=1, le=240)] = 5
    max_call_minutes: Annotated[int, Field(ge=1, le=1440)] = 240

    telephony_provider: Literal["simulator", "twilio", "plivo", "exotel"] = "simulator"
    telephony_calls_per_second: Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)] = 0
    twilio_account_sid: str = ""
    twilio_auth_token: SecretStr = SecretStr("")
    twilio_from: str = ""
    twilio_base_url: str = ""
    plivo_auth_id: str = ""
    plivo_auth_token: SecretStr = SecretStr("")
    plivo_from: str = ""
    plivo_base_url: str = ""
    exotel_sid: str = ""
    exotel_api_key: str = ""
    exotel_api_token: SecretStr = SecretStr("")
    exotel_caller_id: str = ""
    exotel_app_id: str = ""
    exotel_cluster: Literal["singapore", "mumbai"] = "singapore"
    exotel_base_url: str = ""
    exotel_allowed_addresses: Annotated[
        list[IPvAnyNetwork], NoDecode, BeforeValidator(_comma_separated)
    ] = []
    # Where the money is play money, a real network calls these numbers and no other.
    test_call_numbers: Annotated[list[str], NoDecode, BeforeValidator(_e164_numbers)] = []
    default_region: str = "IN"
    allowed_countries: Annotated[list[str], NoDecode, BeforeValidator(_comma_separated)] = ["IN"]
    # Numbers that belong to a person or an office: no premium rate, no shared cost (toll fraud).
    allowed_number_types: Annotated[
        list[NumberType], NoDecode, BeforeValidator(_comma_separated)
    ] = ["MOBILE", "FIXED_LINE", "FIXED_LINE_OR_MOBILE", "VOIP"]
    # Which numbers may be called when and how often (compliance/); 0 is no limit.
    calling_hours: Literal["on", "off"] = "on"
    contact_gap_minutes: Annotated[int, Field(ge=0, le=60 * 24 * 7)] = 60
    contact_calls_per_day: Annotated[int, Field(ge=0, le=100)] = 3
    contact_calls_per_week: Annotated[int, Field(ge=0, le=500)] = 6
    # Of the one caller id that the platform has; those that a campaign names are always checked.
    caller_id_series: Literal["warn", "strict"] = "warn"
    caller_id_160_required: bool = False
    scrubber_url: str = ""
    scrubber_token: SecretStr = SecretStr("")
    scrub_purposes: Annotated[list[CallPurpose], NoDecode, BeforeValidator(_lower_words)] = [
        "promotional"
    ]
    scrub_valid_days: Annotated[int, Field(ge=1, le=30)] = 7
    max_concurrent_calls: Annotated[int, Field(ge=1)] = 100
    # What one user may do, to bound what a stolen account can cost; 0 is no limit, and None what
    # `call_limit_per_minute` and its siblings say.
    calls_per_minute: Annotated[int, Field(ge=0)] | None = None
    calls_per_day: Annotated[int, Field(ge=0)] | None = None
    daily_spend_cap: Rupees | None = None
    new_account_days: Annotated[int, Field(ge=0, le=3650)] = 0
    new_account_concurrent_calls: Annotated[int, Field(ge=1)] = 5
    new_account_daily_spend_cap: Rupees = Decimal(500)

    # --- what follows from them ---

    @property
    def base_url(self) -> str:
        """The public URL of the service, without a trailing slash."""
        return self.public_base_url.rstrip("/") or self.own_url

    @property
    def own_url(self) -> str:
        """The URL under which this machine reaches the service."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::", "") else self.host  # noqa: S104 - a comparison
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def recharge_page_url(self) -> str:
        """The page to recharge at that the answer 402 names."""
        return self.recharge_url or f"{self.base_url}/?recharge"

    @property
    def serves_docs(self) -> bool:
        """Whether /docs and /openapi.json are served. Unless set: everywhere but in production."""
        return self.app_env != "production" if self.api_docs is None else self.api_docs

    @property
    def calls_real_people(self) -> bool:
        """Whether new calls go to a real telephone network. The simulator is none, and neither is a
        stand-in on a loopback address."""
        if self.telephony_provider == "simulator":
            return False
        replaced = getattr(self, f"{self.telephony_provider}_base_url", "")
        return not (replaced and is_loopback(host_of(replaced)))

    @property
    def callable_numbers(self) -> list[str] | None:
        """The only numbers that may be called, because wallets hold play money; None: no such limit."""
        is_play_money = self.gateway_mode != "live"
        return self.test_call_numbers if is_play_money and self.calls_real_people else None

    def is_replaced(self, network: str) -> bool:
        """Whether this telephone network's API is replaced by another address, as tests do."""
        return bool(getattr(self, f"{network}_base_url", ""))

    @property
    def gateway_key_id(self) -> str:
        """The Razorpay key id; the sandbox's own when none is set."""
        return self.razorpay_key_id or SANDBOX_KEY_ID

    @property
    def gateway_key_secret(self) -> str:
        """The Razorpay key's secret; for the sandbox derived from `JWT_SECRET` when none is set."""
        return self.razorpay_key_secret.get_secret_value() or (
            "" if self.razorpay_key_id else self._derived("razorpay sandbox key")
        )

    @property
    def gateway_webhook_secret(self) -> str:
        """What webhooks are signed with; the sandbox's is derived when none is set."""
        return self.razorpay_webhook_secret.get_secret_value() or (
            self._derived("razorpay sandbox webhook") if self.gateway_mode == "sandbox" else ""
        )

    @property
    def simulator_auth_token(self) -> str:
        """What the telephony simulator signs its callbacks with."""
        return self._derived("telephony simulator")

    def _derived(self, purpose: str) -> str:
        return hmac.new(
            self.jwt_secret.get_secret_value().encode(), purpose.encode(), "sha256"
        ).hexdigest()

    @property
    def gateway_mode(self) -> str:
        """`sandbox`, `test` or `live`, read from the key's prefix; `unknown` for anything else."""
        return next(
            (
                mode
                for prefix, mode in MODE_OF_PREFIX.items()
                if self.gateway_key_id.startswith(prefix)
            ),
            "unknown",
        )

    @property
    def gateway_base_url(self) -> str:
        """The base URL of the Razorpay API."""
        if self.razorpay_base_url:
            return self.razorpay_base_url.rstrip("/")
        return (
            f"{self.own_url}/sandbox"
            if self.gateway_mode == "sandbox"
            else "https://api.razorpay.com"
        )

    @property
    def gateway_requests_per_second(self) -> float | None:
        """What all processes together send to Razorpay in a second; None, no limit: the sandbox's.
        Razorpay publishes no number."""
        if self.razorpay_requests_per_second is not None:
            return self.razorpay_requests_per_second
        return None if self.gateway_mode == "sandbox" else 50.0

    @property
    def default_call_rate_paise(self) -> int:
        """Paise a minute, until an admin sets another rate."""
        return int(self.default_call_rate.scaleb(2))

    @property
    def minimum_balance_paise(self) -> int:
        """Below this, calls and campaigns are refused."""
        return int(self.minimum_balance.scaleb(2))

    @property
    def recharge_paise_min(self) -> int:
        """The smallest recharge."""
        return int(self.minimum_recharge.scaleb(2))

    @property
    def recharge_paise_max(self) -> int:
        """The largest recharge."""
        return int(self.maximum_recharge.scaleb(2))

    @property
    def connection_fee_paise(self) -> int:
        """Charged once for an answered call."""
        return int(self.connection_fee.scaleb(2))

    @property
    def adjustment_confirm_above_paise(self) -> int | None:
        """Above what amount a second admin confirms an adjustment; None: never."""
        above = self.adjustment_confirm_above
        return None if above is None else int(above.scaleb(2))

    @property
    def call_limit_per_minute(self) -> int | None:
        """Calls that one user may start in a minute; None is no limit. Unless set: 300 in production."""
        return self._or_in_production(self.calls_per_minute, 300)

    @property
    def call_limit_per_day(self) -> int | None:
        """Calls that one user may start in a day; None is no limit. Unless set: 10,000 in production."""
        return self._or_in_production(self.calls_per_day, 10_000)

    @property
    def spend_cap_paise(self) -> int | None:
        """What a user's calls of one day in India may cost; None is no limit. Unless set: Rs 50,000 in
        production."""
        cap = self.daily_spend_cap
        return self._or_in_production(None if cap is None else int(cap.scaleb(2)), 50_000_00)

    def _or_in_production(self, given: int | None, unless_set: int) -> int | None:
        if given is None:
            return unless_set if self.app_env == "production" else None
        return given or None

    @property
    def new_account_spend_cap_paise(self) -> int:
        """The same for an account younger than `NEW_ACCOUNT_DAYS`."""
        return int(self.new_account_daily_spend_cap.scaleb(2))


# --- the settings of this process ---------------------------------------------------------------

_current: Settings | None = None


def settings() -> Settings:
    """The settings of this process, read at the first call."""
    global _current
    if _current is None:
        _current = Settings()
    return _current


def use(chosen: Settings | None) -> None:
    """Use `chosen` instead of the environment's settings (tests); None reads the environment again."""
    global _current
    _current = chosen


# --- addresses ----------------------------------------------------------------------------------


def host_of(url: str) -> str:
    """The host in a URL, or in a `Host` header; empty when there is none."""
    try:
        return urllib.parse.urlsplit(url if "//" in url else f"//{url}").hostname or ""
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """Whether this host is this machine alone: `localhost`, 127.0.0.0/8 or ::1."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


# --- validation ---------------------------------------------------------------------------------


def _is_repetition(value: str) -> bool:
    """Whether it is one block again and again, or made of a few characters."""
    return len(set(value)) < _DISTINCT_CHARACTERS_MIN or any(
        value[period:] == value[:-period] for period in range(1, len(value) // 2 + 1)
    )


def _is_weak(secret: SecretStr) -> bool:
    value = secret.get_secret_value()
    return len(value) < SECRET_LENGTH_MIN or PLACEHOLDER in value


def problems(chosen: Settings) -> list[str]:
    """Why the service refuses to start with these settings, a sentence each; empty when it starts.

    Development and test need a JWT secret, and the key's secret when there is a Razorpay key.
    Production refuses everything that is a default, a sandbox, a simulator or missing.
    """
    found = _secret_problems(chosen) + _amount_problems(chosen) + _telephony_problems(chosen)
    found += _contact_problems(chosen) + _scrubber_problems(chosen) + _play_money_problems(chosen)
    if chosen.app_env == "production":
        found += _production_problems(chosen)
    elif chosen.gateway_mode == "live":
        found.append("RAZORPAY_KEY_ID is a live key: live money needs APP_ENV=production")
    if chosen.fail_points_file and chosen.app_env != "test":
        found.append("FAIL_POINTS_FILE kills the service: only tests set it, with APP_ENV=test")
    return found


def _secret_problems(chosen: Settings) -> list[str]:
    found = []
    key_secret = chosen.razorpay_key_secret.get_secret_value()
    if chosen.app_env != "production" and chosen.jwt_secret.get_secret_value() in ("", PLACEHOLDER):
        found.append(
            "JWT_SECRET is missing: set it in .env (./setup_wallet.sh run writes a fresh one)"
        )
    previous = chosen.jwt_secret_previous
    if previous.get_secret_value() and (_is_weak(previous) or previous == chosen.jwt_secret):
        found.append(
            f"JWT_SECRET_PREVIOUS is shorter than {SECRET_LENGTH_MIN} characters, a default, or JWT_SECRET"
            " itself: empty it, or set the secret that tokens were signed with before"
        )
    if chosen.razorpay_key_id and not key_secret:
        found.append("RAZORPAY_KEY_SECRET is missing: RAZORPAY_KEY_ID is set, its secret is not")
    if chosen.gateway_mode == "unknown":
        found.append(
            "RAZORPAY_KEY_ID must begin with rzp_test_ or rzp_live_ (or be empty for the sandbox)"
        )
    if key_secret and chosen.razorpay_key_secret == chosen.razorpay_webhook_secret:
        found.append(
            "RAZORPAY_WEBHOOK_SECRET is the same as RAZORPAY_KEY_SECRET: they are two different secrets"
        )
    if chosen.razorpay_webhook_secret_previous.get_secret_value() and _is_weak(
        chosen.razorpay_webhook_secret_previous
    ):
        found.append(
            f"RAZORPAY_WEBHOOK_SECRET_PREVIOUS is shorter than {SECRET_LENGTH_MIN} characters:"
            " empty it, or set the secret that webhooks were signed with before"
        )
    return found


def _amount_problems(chosen: Settings) -> list[str]:
    found = []
    if chosen.minimum_recharge > chosen.maximum_recharge:
        found.append("MINIMUM_RECHARGE is above MAXIMUM_RECHARGE")
    if chosen.recharge_paise_min < 100:
        found.append("MINIMUM_RECHARGE is below Rs 1, the least that Razorpay takes")
    if chosen.minimum_balance_paise < 1:
        found.append("MINIMUM_BALANCE must be above 0: it is what a call has to reserve")
    cap_paise = chosen.spend_cap_paise
    if cap_paise is not None and cap_paise < chosen.minimum_balance_paise:
        found.append("DAILY_SPEND_CAP is below MINIMUM_BALANCE: nobody could place a single call")
    if (
        chosen.new_account_days
        and chosen.new_account_spend_cap_paise < chosen.minimum_balance_paise
    ):
        found.append(
            "NEW_ACCOUNT_DAILY_SPEND_CAP is below MINIMUM_BALANCE: new accounts could place no call"
        )
    return found


# The settings that each telephone network needs, besides the public URL that it calls back.
_CREDENTIALS = {
    "simulator": (),
    "twilio": ("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_FROM"),
    "plivo": ("PLIVO_AUTH_ID", "PLIVO_AUTH_TOKEN", "PLIVO_FROM"),
    "exotel": (
        "EXOTEL_SID",
        "EXOTEL_API_KEY",
        "EXOTEL_API_TOKEN",
        "EXOTEL_CALLER_ID",
        "EXOTEL_APP_ID",
    ),
}
_BASE_URLS = ("TWILIO_BASE_URL", "PLIVO_BASE_URL", "EXOTEL_BASE_URL")


def _telephony_problems(chosen: Settings) -> list[str]:
    network = chosen.telephony_provider

    def value(name: str) -> str:
        given = getattr(chosen, name.lower())
        return given.get_secret_value() if isinstance(given, SecretStr) else given

    found = [
        f"{name} is missing: TELEPHONY_PROVIDER={network} needs it"
        for name in _CREDENTIALS[network]
        if value(name).strip() in ("", PLACEHOLDER)
    ]
    if chosen.app_env == "production":
        found += [f"{name} must be empty in production" for name in _BASE_URLS if value(name)]
    elif network != "simulator" and not (
        chosen.public_base_url or value(f"{network.upper()}_BASE_URL")
    ):
        found.append(f"PUBLIC_BASE_URL is missing: {network} calls back to it")
    return found


def _play_money_problems(chosen: Settings) -> list[str]:
    """Where money costs nothing, it must not buy calls that cost something and ring at somebody's.
    In production every other money than live money is refused anyway."""
    found: list[str] = []
    if chosen.app_env == "production":
        return found
    if chosen.callable_numbers == []:
        found.append(
            f"TELEPHONY_PROVIDER={chosen.telephony_provider} calls real people, and the money of"
            f" Razorpay's {chosen.gateway_mode} mode is play money: name in TEST_CALL_NUMBERS the"
            " numbers that may be called"
        )
    if chosen.gateway_mode == "sandbox" and not is_loopback(chosen.host):
        found.append(
            f"HOST={chosen.host}: the Razorpay sandbox listens on loopback only (127.0.0.1), anybody"
            " who reaches it makes money"
        )
    return found


def _scrubber_problems(chosen: Settings) -> list[str]:
    url = chosen.scrubber_url
    if not url:
        return []
    if not re.fullmatch(r"https?://[\x21-\x7e]+", url):
        return ["SCRUBBER_URL must begin with https:// or http://"]
    if chosen.app_env == "production":
        if not url.startswith("https://") and not is_loopback(host_of(url)):
            return ["SCRUBBER_URL must be an https:// URL: numbers of people are sent there"]
        if not chosen.scrubber_token.get_secret_value():
            return ["SCRUBBER_TOKEN is missing: the scrubber knows this service by it"]
    return []


def _contact_problems(chosen: Settings) -> list[str]:
    contact = chosen.security_contact
    if contact and not re.fullmatch(r"(https://|mailto:)[\x21-\x7e]+", contact):
        return ["SECURITY_CONTACT must begin with https:// or mailto:"]
    return []


def missing_for(chosen: Settings, mode: Literal["test", "live"]) -> list[str]:
    """What is missing to use Razorpay in `mode`, a sentence each; empty when nothing is."""
    if mode == "live":
        found = problems(chosen.model_copy(update={"app_env": "production"}))
        if chosen.app_env != "production":
            found.insert(0, f"APP_ENV is {chosen.app_env}: live money needs APP_ENV=production")
        return found
    found = problems(chosen)
    if chosen.gateway_mode != "test":
        found.append(
            "RAZORPAY_KEY_ID is not a test key (rzp_test_…): the Razorpay dashboard makes one in its"
            " test mode, under Account & Settings, API keys"
        )
    if not chosen.razorpay_key_secret.get_secret_value():
        found.append("RAZORPAY_KEY_SECRET is missing: Razorpay shows it once, with the key")
    if chosen.razorpay_base_url:
        found.append(
            "RAZORPAY_BASE_URL is set: Razorpay's test mode is at its own address, empty it"
        )
    return found


def _production_problems(chosen: Settings) -> list[str]:
    secrets = {
        "JWT_SECRET": chosen.jwt_secret,
        "RAZORPAY_WEBHOOK_SECRET": chosen.razorpay_webhook_secret,
    }
    found = [
        f"{name} is missing, a default, or shorter than {SECRET_LENGTH_MIN} characters"
        for name, secret in secrets.items()
        if _is_weak(secret)
    ]
    found += _weak_secrets(chosen) + _open_doors(chosen)
    if chosen.gateway_mode == "sandbox":
        found.append(
            "RAZORPAY_KEY_ID is empty or a sandbox key: production needs a live key (rzp_live_…)"
        )
    if chosen.gateway_mode == "test":
        found.append("RAZORPAY_KEY_ID is a test key: production needs a live key (rzp_live_…)")
    if chosen.razorpay_base_url:
        found.append("RAZORPAY_BASE_URL must be empty in production")
    if chosen.telephony_provider == "simulator":
        found.append(
            "TELEPHONY_PROVIDER=simulator: production does not run on a simulator, set a real network"
        )
    if not chosen.mongodb_uri:
        found.append(
            "MONGODB_URI is missing: production does not run on the embedded MongoDB, set a replica set's URI"
        )
    if not chosen.public_base_url.startswith("https://"):
        found.append(
            "PUBLIC_BASE_URL is missing or no https:// URL: Razorpay and the networks call back to it"
        )
    if chosen.calling_hours == "off":
        found.append("CALLING_HOURS=off: production calls nobody at night, set it to on")
    if "*" in chosen.trusted_proxies:
        found.append(
            "TRUSTED_PROXIES is *: anybody could choose the address that the rate limits see"
        )
    return found + _first_admin_problems(chosen)


def _first_admin_problems(chosen: Settings) -> list[str]:
    """What is wrong with the first admin's settings. Without them `manage.py create-admin` makes one, and
    no password stands in a file."""
    found = []
    if chosen.admin_password.get_secret_value():
        if _is_weak(chosen.admin_password):
            found.append(
                f"ADMIN_PASSWORD is a default, or shorter than {SECRET_LENGTH_MIN} characters"
            )
        if not chosen.admin_email:
            found.append(
                "ADMIN_EMAIL is missing: ADMIN_PASSWORD is set, and the admin is made from both"
            )
    if chosen.admin_email.endswith(("@example.com", "@wallet.local")):
        found.append("ADMIN_EMAIL is the default: set your own address")
    return found


def _weak_secrets(chosen: Settings) -> list[str]:
    """What is long enough and still guessable: who has the secret of the tokens is every user."""
    found = []
    for name in ("jwt_secret", "jwt_secret_previous"):
        secret = getattr(chosen, name, SecretStr("")).get_secret_value()
        is_short = SECRET_LENGTH_MIN <= len(secret.encode()) < JWT_SECRET_BYTES_MIN
        if is_short and PLACEHOLDER not in secret:
            found.append(f"{name.upper()} has fewer than {JWT_SECRET_BYTES_MIN} bytes")
    secrets = {
        name: value.get_secret_value()
        for name in type(chosen).model_fields
        if isinstance(value := getattr(chosen, name), SecretStr) and value.get_secret_value()
    }
    # The others come from Razorpay and the networks.
    ours = ("jwt_secret", "jwt_secret_previous", "razorpay_webhook_secret", "admin_password")
    found += [
        f"{name.upper()} is a repetition, or made of few characters: make one with"
        " `openssl rand -base64 32`"
        for name in ours
        if len(secrets.get(name, "")) >= SECRET_LENGTH_MIN
        and PLACEHOLDER not in secrets[name]
        and _is_repetition(secrets[name])
    ]
    jwt_secret = secrets.pop("jwt_secret", None)
    found += [
        f"JWT_SECRET is the same as {name.upper()}: whoever has to know the one could sign tokens"
        for name, value in secrets.items()
        if jwt_secret == value and PLACEHOLDER not in value
    ]
    return found


def _open_doors(chosen: Settings) -> list[str]:
    """Settings that let others in: as a proxy, as a web page, on the way, or at the database."""
    found = [*_trust_problems(chosen.trusted_proxies), *_origin_problems(chosen.cors_origins)]
    if chosen.recharge_url and not chosen.recharge_url.startswith("https://"):
        found.append("RECHARGE_URL is no https:// URL: customers pay there")
    if chosen.log_level == "DEBUG":
        found.append("LOG_LEVEL=DEBUG writes what is nobody's business: INFO is enough")
    if chosen.test_call_numbers:
        found.append("TEST_CALL_NUMBERS must be empty in production: live money calls any number")
    return found + list(_database_problems(chosen.mongodb_uri))


def _trust_problems(proxies: str) -> Iterator[str]:
    """0.0.0.0/0 is `*` in other words, and so are its two halves."""
    for part in (part.strip() for part in proxies.split(",")):
        if part in ("", "*"):
            continue
        try:
            network = ipaddress.ip_network(part, strict=False)
        except ValueError:
            yield f"TRUSTED_PROXIES has {part}, which is no address: nothing would be believed"
            continue
        if network.prefixlen < (8 if network.version == 4 else 16):
            yield (
                f"TRUSTED_PROXIES has {part}: so many could choose the address that the rate"
                " limits see, name the proxy"
            )


def _origin_problems(origins: list[str]) -> Iterator[str]:
    for origin in origins:
        parts = urllib.parse.urlsplit(origin)
        if origin in ("*", "null"):
            yield f"CORS_ORIGINS has {origin}: any page could call the API, name the front ends"
        elif parts.scheme != "https" or f"https://{parts.netloc}" != origin:
            yield f"CORS_ORIGINS has {origin}: an origin is https:// and a host, without a path"


def _database_problems(uri: str) -> Iterator[str]:
    """MongoDB without a password, or with certificates that nobody checks."""
    if not uri:
        return
    hosts = re.sub(r"^[a-z+]+://", "", uri).split("/")[0].split("?")[0]
    user, _, members = hosts.rpartition("@")
    options = uri.partition("?")[2].lower()
    is_local = all(is_loopback(host_of(member)) for member in members.split(","))
    if not user and not is_local and "authmechanism=mongodb-x509" not in options:
        yield "MONGODB_URI has no user: who reaches the database would own every wallet"
    if re.search(r"tls(insecure|allowinvalid\w+)=true", options):
        yield "MONGODB_URI accepts any certificate (tlsInsecure, tlsAllowInvalid…): remove that"
