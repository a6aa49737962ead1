"""Options of campaigns in requests: what a campaign says, to whom it may, when, how often, for how much."""

import datetime as dt
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field

from api.calls import Keys, Language, SimulateIn, Url, Voice, to_scenario
from api.fields import Message, Phone, PositiveRupeesIn, RequestModel, Title
from billing.limits import SpendingKey
from calls.placing import CallSpec, MachineDetection
from campaigns import options as campaign_options
from campaigns.creation import CALLED_WITHIN_DAYS_MAX, MAX_CONCURRENT_DEFAULT, CampaignPlan
from campaigns.options import (
    ATTEMPTS_MAX,
    CALLER_IDS_MAX,
    DELAY_MINUTES_MAX,
    PURPOSE_DEFAULT,
    RETRY_DEFAULT,
    OptionFields,
    RetryFields,
)
from compliance.calling_hours import HOME_TIME_ZONE, WEEKDAYS, Purpose, Weekday, Window
from core import clock

_WITHIN_DAYS: Final = 366


# --- fields -------------------------------------------------------------------------------------


def _moment(text: object) -> object:
    if text is not None and not isinstance(text, str):
        raise ValueError("must be a moment such as 2026-11-24T09:00:00+05:30")
    return text


def _soon(moment: dt.datetime) -> dt.datetime:
    ahead = moment - clock.now()
    if not dt.timedelta(days=-1) < ahead < dt.timedelta(days=_WITHIN_DAYS):
        raise ValueError(f"must be a moment within the next {_WITHIN_DAYS} days")
    utc = moment.astimezone(dt.UTC)
    return utc.replace(microsecond=utc.microsecond // 1000 * 1000)


def _texts(values: object) -> object:
    """Raise one error for the first number that is not a string, not one for each of 100,000."""
    if isinstance(values, list):
        for position, value in enumerate(values, 1):
            if not isinstance(value, str):
                raise ValueError(f"number {position} is no string; send numbers as strings")
    return values


# A moment with its offset, as RFC 3339 writes it.
Soon = Annotated[AwareDatetime, BeforeValidator(_moment), AfterValidator(_soon)]
Numbers = Annotated[list[str], Field(min_length=1), BeforeValidator(_texts)]
Seconds = Annotated[int, Field(strict=True, ge=1, le=86_400)]
Concurrency = Annotated[int, Field(strict=True, ge=1, le=1_000)]
Pace = Annotated[int, Field(strict=True, ge=1, le=10_000)]
# Who was called within so many days is refused when the list comes in.
Days = Annotated[int, Field(strict=True, ge=1, le=CALLED_WITHIN_DAYS_MAX)]
CallerIds = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=40)]], Field(max_length=CALLER_IDS_MAX)
]
_Delays = Annotated[
    list[Annotated[int, Field(strict=True, ge=0, le=DELAY_MINUTES_MAX)]],
    Field(max_length=ATTEMPTS_MAX),
]


class WindowIn(RequestModel):
    """Hours and weekdays, which narrow what the purpose and the platform allow; the end is not in it."""

    days: Annotated[
        list[Weekday], Field(min_length=1, max_length=7, default_factory=lambda: list(WEEKDAYS))
    ]
    start: Annotated[str, Field(max_length=5, examples=["09:00"])]
    end: Annotated[str, Field(max_length=5, examples=["21:00"])]
    timezone: Annotated[str, Field(max_length=64)] = HOME_TIME_ZONE

    def stored(self) -> Window:
        """As it is stored with the campaign."""
        days: list[Weekday] = [day for day in WEEKDAYS if day in self.days]
        return {"days": days, "start": self.start, "end": self.end, "timezone": self.timezone}


class RetryIn(RequestModel):
    """How often one contact is called at most, the first call included, and how many minutes after an
    attempt that ended so. A way to end that is not named is not called again."""

    max_attempts: Annotated[int, Field(strict=True, ge=0, le=ATTEMPTS_MAX)] = RETRY_DEFAULT[
        "max_attempts"
    ]
    delays_minutes: dict[Literal["busy", "no_answer", "failed", "machine"], _Delays] | None = None

    def stored(self) -> RetryFields:
        """As it is stored with the campaign: nobody is called less than once."""
        delays = dict(RETRY_DEFAULT["delays_minutes"])
        if self.delays_minutes is not None:
            delays = {str(name): minutes for name, minutes in self.delays_minutes.items()}
        return {"max_attempts": max(1, self.max_attempts), "delays_minutes": delays}


class Options(RequestModel):
    """What a campaign says, for what, how fast, and when; at most one of `message`, `audio_url` and
    `connect_to`. `{{name}}` in the message is the cell of this column of the list."""

    name: Title
    message: Message | None = None
    audio_url: Url | None = None
    connect_to: Phone | None = None
    language: Language | None = None
    voice: Voice | None = None
    keys: Keys | None = None
    purpose: Purpose = PURPOSE_DEFAULT
    window: WindowIn | None = None
    retry: RetryIn | None = None
    budget: PositiveRupeesIn | None = None
    caller_ids: CallerIds | None = None
    max_duration_seconds: Seconds | None = None
    expected_duration_seconds: Seconds | None = None
    machine_detection: MachineDetection | None = None
    max_concurrent: Concurrency = MAX_CONCURRENT_DEFAULT
    calls_per_minute: Pace | None = None
    simulate: SimulateIn | None = None
    start: Annotated[bool, Field(strict=True)] = True
    start_at: Soon | None = None
    end_at: Soon | None = None


class CampaignIn(Options):
    """A campaign whose numbers come with it."""

    numbers: Numbers
    skip_called_within_days: Days | None = None


# What a PATCH may change; the purpose, the list and what decides where a call goes are not among it.
class ChangesIn(RequestModel):
    """What is to be different; a field that is not sent stays, one that is null is not set any more."""

    name: Title | None = None
    message: Message | None = None
    audio_url: Url | None = None
    language: Language | None = None
    voice: Voice | None = None
    keys: Keys | None = None
    window: WindowIn | None = None
    retry: RetryIn | None = None
    budget: PositiveRupeesIn | None = None
    caller_ids: CallerIds | None = None
    max_duration_seconds: Seconds | None = None
    expected_duration_seconds: Seconds | None = None
    machine_detection: MachineDetection | None = None
    max_concurrent: Concurrency | None = None
    calls_per_minute: Pace | None = None
    start_at: Soon | None = None
    end_at: Soon | None = None


# --- as they are stored -------------------------------------------------------------------------


def plan_of(options: Options, key: SpendingKey | None) -> CampaignPlan:
    """The plan that a body or a form describes; `key` is the API key that it came with.

    Raises InvalidRequest for caller ids that are no numbers.
    """
    return CampaignPlan(
        name=options.name,
        spec=CallSpec(
            message=options.message,
            audio_url=options.audio_url,
            connect_to=options.connect_to,
            max_duration_seconds=options.max_duration_seconds,
            machine_detection=options.machine_detection,
            language=options.language,
            voice=options.voice,
            keys=options.keys,
            simulate=to_scenario(options.simulate),
        ),
        max_concurrent=options.max_concurrent,
        calls_per_minute=options.calls_per_minute,
        start=options.start,
        start_at=options.start_at,
        options=_option_fields(options),
        key=key,
    )


def _option_fields(options: Options) -> OptionFields:
    return {
        "purpose": options.purpose,
        "window": None if options.window is None else options.window.stored(),
        "retry": (options.retry or RetryIn()).stored(),
        "budget_paise": options.budget,
        "end_at": options.end_at,
        "caller_ids": campaign_options.normalized_caller_ids(options.caller_ids or []),
        "expected_duration_seconds": options.expected_duration_seconds,
    }


def changes_of(body: ChangesIn) -> dict[str, Any]:
    """The fields of a campaign that a PATCH sets, as they are stored. Raises InvalidRequest."""
    changes: dict[str, Any] = {name: getattr(body, name) for name in body.model_fields_set}
    if "window" in changes:
        changes["window"] = None if body.window is None else body.window.stored()
    if "retry" in changes:
        changes["retry"] = (body.retry or RetryIn()).stored()
    if "budget" in changes:
        changes["budget_paise"] = changes.pop("budget")
    if "caller_ids" in changes:
        changes["caller_ids"] = campaign_options.normalized_caller_ids(body.caller_ids or [])
    if "max_concurrent" in changes and body.max_concurrent is None:
        changes["max_concurrent"] = MAX_CONCURRENT_DEFAULT
    if "name" in changes and body.name is None:
        del changes["name"]
    return changes
