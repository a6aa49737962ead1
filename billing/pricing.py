"""Call pricing, pure: pulses, minimum, connection fee, cost, and the seconds that money buys."""

import bisect
import dataclasses
from typing import Final, Literal, NotRequired, TypedDict

from core import config, money

# --- vocabulary ---------------------------------------------------------------------------------

RATE_PAISE_MAX: Final = 1_000_00  # Rs 1,000 a minute: a higher one was probably entered in paise

# No call is longer than a day: this many seconds are affordable where the rate is zero.
SECONDS_MAX: Final = 86_400

Source = Literal[
    "default",  # the single rate
    "user",  # the user's own
    "card",  # the rate card's, for the destination
]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """What a call costs; every call that is placed stores a copy of its rate.

    Talk time is paid for in pulses: the first of `first_pulse_seconds` (None: like the others),
    then of `pulse_seconds` each. `source` is where it comes from; a rate of a card has the card's
    version and the prefix that matched.

    A call that connects two people is two calls to the network. `connect_rate` is what the second
    of them costs; the call costs both over the same time, each in its own pulses. The properties
    and the functions about pulses speak of the first.
    """

    rate_paise_per_minute: int
    pulse_seconds: int = 1
    first_pulse_seconds: int | None = None
    minimum_billable_seconds: int = 0
    connection_fee_paise: int = 0
    source: Source = "default"
    card_version: int | None = None
    prefix: str | None = None
    connect_rate: "Rate | None" = None

    @property
    def opening_seconds(self) -> int:
        """The length of the first pulse."""
        return self.first_pulse_seconds or self.pulse_seconds

    @property
    def legs(self) -> tuple["Rate", ...]:
        """The rate of the number that is called, and that of the number that it is connected to."""
        return (self,) if self.connect_rate is None else (self, self.connect_rate)

    @property
    def total_paise_per_minute(self) -> int:
        """What a minute of the whole call costs."""
        return sum(leg.rate_paise_per_minute for leg in self.legs)

    @property
    def total_fee_paise(self) -> int:
        """The connection fees of the whole call."""
        return sum(leg.connection_fee_paise for leg in self.legs)


class RatedLeg(TypedDict):
    """The rate of one leg as it is stored. Calls of older versions have no `rate_source` and no first
    pulse."""

    rate_paise_per_minute: int
    pulse_seconds: int
    first_pulse_seconds: NotRequired[int]
    minimum_billable_seconds: int
    connection_fee_paise: int
    rate_source: NotRequired[Source]
    rate_card_version: NotRequired[int | None]
    rate_prefix: NotRequired[str | None]


class RatedCall(RatedLeg):
    """The rate that a call was placed at, as it is stored with the call: a later change of rates does
    not affect it. `connect_rate` is that of the number that it is connected to; a call of an older
    version pays for the first leg only, to its end."""

    connect_rate: NotRequired[RatedLeg | None]


def rate_with_default_terms(rate_paise_per_minute: int, *, source: Source) -> Rate:
    """A price a minute with the pulses, the minimum and the fee of the settings."""
    chosen = config.settings()
    return Rate(
        rate_paise_per_minute=rate_paise_per_minute,
        pulse_seconds=chosen.pulse_seconds,
        first_pulse_seconds=chosen.first_pulse_seconds or chosen.pulse_seconds,
        minimum_billable_seconds=chosen.minimum_billable_seconds,
        connection_fee_paise=chosen.connection_fee_paise,
        source=source,
    )


def rate_of(call: RatedCall) -> Rate:
    """The rate that was stored with a call, with that of its second leg."""
    connected = call.get("connect_rate")
    rate = _leg_of(call)
    if connected is None:
        return rate
    return dataclasses.replace(rate, connect_rate=_leg_of(connected))


def _leg_of(stored: RatedLeg) -> Rate:
    return Rate(
        rate_paise_per_minute=int(stored["rate_paise_per_minute"]),
        pulse_seconds=stored["pulse_seconds"],
        first_pulse_seconds=stored.get("first_pulse_seconds"),
        minimum_billable_seconds=stored["minimum_billable_seconds"],
        connection_fee_paise=int(stored["connection_fee_paise"]),
        source=stored.get("rate_source", "default"),
        card_version=stored.get("rate_card_version"),
        prefix=stored.get("rate_prefix"),
    )


# --- what a duration costs ----------------------------------------------------------------------


def billable_seconds(duration_seconds: int, rate: Rate) -> int:
    """How many seconds of a duration are charged: at least the minimum, rounded up to whole pulses.

    30/6 of a rate card is a first pulse of 30 seconds and others of 6. A call that was not
    answered has no billable seconds.
    """
    following = pulse_count(duration_seconds, rate) - 1
    return 0 if following < 0 else rate.opening_seconds + following * rate.pulse_seconds


def pulse_count(duration_seconds: int, rate: Rate) -> int:
    """How many pulses are charged, the first one included."""
    if duration_seconds <= 0:
        return 0
    at_least = max(duration_seconds, rate.minimum_billable_seconds)
    after_the_first = max(0, at_least - rate.opening_seconds)
    return 1 + money.ceil_div(after_the_first, rate.pulse_seconds)


def cost_paise(duration_seconds: int, rate: Rate) -> int:
    """The price of a call: `billable seconds / 60 × rate` plus the connection fee, once; of two legs
    the sum of both.

    Rounded half up to the paisa, once, at the end (docs/money.md): the sum is rounded, not each
    leg. A call of zero seconds is free.
    """
    if duration_seconds <= 0:
        return 0
    numerator = rate.rate_paise_per_minute * billable_seconds(duration_seconds, rate)
    fee_paise, connected = rate.connection_fee_paise, rate.connect_rate
    if connected is not None:
        numerator += connected.rate_paise_per_minute * billable_seconds(duration_seconds, connected)
        fee_paise += connected.connection_fee_paise
    return fee_paise + money.div_half_up(numerator, 60)


def explanation(duration_seconds: int, rate: Rate) -> str:
    """The price of a call in a sentence: `30 s at Rs 10.00 a minute: Rs 5.00`, and in pulses
    `125 s = 3 pulses of 60 s × Rs 10.00 = Rs 30.00`. Of two legs it names both:
    `called number 30 s at Rs 1.00 a minute + connected number 30 s at Rs 9.00 a minute: Rs 5.00`."""
    if rate.connect_rate is not None and duration_seconds > 0:
        called, connected = (_leg_in_words(duration_seconds, leg) for leg in rate.legs)
        total = money.text(cost_paise(duration_seconds, rate))
        return f"called number {called} + connected number {connected}: Rs {total}"
    cost = f"Rs {money.text(cost_paise(duration_seconds, rate))}"
    if duration_seconds <= 0:
        return f"not answered: {cost}"
    price = f"at Rs {money.text(rate.rate_paise_per_minute)} a minute"
    fee = f"a connection fee of Rs {money.text(rate.connection_fee_paise)}"
    billable = billable_seconds(duration_seconds, rate)
    counted = f"{duration_seconds} s"
    if rate.opening_seconds == rate.pulse_seconds == 1:
        if billable != duration_seconds:
            counted += f", billed as {billable} s,"
        sentence = f"{counted} {price}" + (f" and {fee}" if rate.connection_fee_paise else "")
        return f"{sentence}: {cost}"
    if duration_seconds < rate.minimum_billable_seconds:
        counted += f", at least {rate.minimum_billable_seconds} s,"
    pulses = _pulses(pulse_count(duration_seconds, rate), rate)
    pulse_paise_by_60 = rate.rate_paise_per_minute * rate.pulse_seconds
    if rate.opening_seconds == rate.pulse_seconds and pulse_paise_by_60 % 60 == 0:
        pulses += f" × Rs {money.text(money.div_half_up(pulse_paise_by_60, 60))}"
    else:  # a pulse costs no whole paise: the sum is rounded, once
        pulses += f" = {billable} s {price}"
    sentence = f"{counted} = {pulses}" + (f" + {fee}" if rate.connection_fee_paise else "")
    return f"{sentence} = {cost}"


def _leg_in_words(duration_seconds: int, rate: Rate) -> str:
    """`30 s at Rs 1.00 a minute`; with the pulses where there are some, and without the price, which
    is rounded for both legs together."""
    billable = billable_seconds(duration_seconds, rate)
    words = f"{billable} s at Rs {money.text(rate.rate_paise_per_minute)} a minute"
    if billable != duration_seconds:
        words = f"{duration_seconds} s, billed as {words}"
    if rate.opening_seconds != 1 or rate.pulse_seconds != 1:
        words += f" in {_pulses(pulse_count(duration_seconds, rate), rate)}"
    if rate.connection_fee_paise:
        words += f" and a connection fee of Rs {money.text(rate.connection_fee_paise)}"
    return words


def _pulses(count: int, rate: Rate) -> str:
    first, others = rate.opening_seconds, rate.pulse_seconds
    if first == others:
        return f"{count} {'pulse' if count == 1 else 'pulses'} of {others} s"
    rest = f" + {count - 1} {'pulse' if count == 2 else 'pulses'} of {others} s"
    return f"1 pulse of {first} s" + (rest if count > 1 else "")


# --- what money buys ----------------------------------------------------------------------------


def affordable_seconds(amount_paise: int, rate: Rate) -> int:
    """The largest duration whose cost is at most `amount_paise`: the exact inverse of the cost.

    Half-up rounding of `b × rate / 60` stays within m exactly when `2 × b × rate < 60 × (2m + 1)`,
    so the most that can be billed is `b = floor((60 m + 29) / rate)`. At most `SECONDS_MAX`.
    Two legs have pulses of different lengths and no such formula; their price never falls with the
    duration, so the largest one is found by halving.
    """
    if rate.connect_rate is not None:
        durations = range(1, SECONDS_MAX + 1)
        return bisect.bisect_right(
            durations, amount_paise, key=lambda duration: cost_paise(duration, rate)
        )
    minutes_paise = amount_paise - rate.connection_fee_paise
    if minutes_paise < 0:
        return 0
    affordable = SECONDS_MAX
    if rate.rate_paise_per_minute > 0:
        most = money.floor_div(60 * minutes_paise + 29, rate.rate_paise_per_minute)
        affordable = min(SECONDS_MAX, most)
    if affordable < billable_seconds(1, rate):  # the first pulse, and the minimum
        return 0
    following = (affordable - rate.opening_seconds) // rate.pulse_seconds
    return rate.opening_seconds + following * rate.pulse_seconds


# --- what a call reserves -----------------------------------------------------------------------


def hold_paise_min(rate: Rate) -> int:
    """What has to be available for a call: the minimum balance, or the first pulse if that is more."""
    return max(config.settings().minimum_balance_paise, cost_paise(1, rate))


def hold_paise(rate: Rate, seconds_max: int, *, whole: bool = False) -> int:
    """What a call reserves when it is placed: one slice of `CALL_SLICE_MINUTES`, less if the call
    may not last that long, never less than `hold_paise_min`. With `whole` all that it may cost."""
    slice_seconds = seconds_max if whole else config.settings().call_slice_minutes * 60
    return max(hold_paise_min(rate), cost_paise(min(slice_seconds, seconds_max), rate))
