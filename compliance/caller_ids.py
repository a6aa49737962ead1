"""Caller ids: the series of numbers that India prescribes for each purpose of a call.

140… is for promotion and for nothing else; 160… (1600, 1601) for service and transactional calls, and
banks, insurers and the like must use it (`CALLER_ID_160_REQUIRED`); an ordinary number must not be
used for promotion.
"""

import re
from typing import Final, Literal

from compliance.calling_hours import Purpose
from core import config
from core.errors import Problem

# --- vocabulary ---------------------------------------------------------------------------------

Series = Literal["140", "160", "ordinary"]

_RULES: Final[dict[Purpose, frozenset[Series]]] = {
    "promotional": frozenset({"140"}),
    "service": frozenset({"160", "ordinary"}),
    "transactional": frozenset({"160", "ordinary"}),
    "collection": frozenset({"160", "ordinary"}),
}
_SHOWN: Final[dict[Series, str]] = {
    "140": "140…",
    "160": "160…",
    "ordinary": "an ordinary number",
}


class CallerIdNotAllowed(Problem):
    """The caller id is not of the series that the purpose prescribes; `rule` says what is."""

    code, status, title = "caller_id_not_allowed", 422, "Caller id not allowed"


# --- verbs --------------------------------------------------------------------------------------


def series_of(caller_id: str) -> Series:
    """The series of a number, written in any usual way (+91 140…, 0140…, 140…)."""
    digits = re.sub(r"\D", "", caller_id)
    if caller_id.strip().startswith("+") and not digits.startswith("91"):
        return "ordinary"  # of another country
    national = digits.removeprefix("0")
    if len(national) > 10 and national.startswith("91"):
        national = national[2:]
    for series in ("140", "160"):
        if national.startswith(series):
            return "140" if series == "140" else "160"
    return "ordinary"


def check_caller_id(caller_id: str, purpose: Purpose) -> None:
    """Raise CallerIdNotAllowed unless calls of this purpose may show this number."""
    allowed = _allowed(purpose)
    series = series_of(caller_id)
    if series in allowed:
        return
    listed = " or ".join(_SHOWN[one] for one in sorted(allowed))
    raise CallerIdNotAllowed(
        f"A {purpose} call must come from {listed}; {caller_id} is {_SHOWN[series]}.",
        rule=f"{purpose}: {listed}",
        purpose=purpose,
        series=series,
        allowed_series=sorted(allowed),
        caller_id=caller_id,
    )


def check_platform_caller_id(caller_id: str | None, purpose: Purpose) -> str | None:
    """The same for the one number that the settings give the platform, where a campaign names none.

    `CALLER_ID_SERIES=strict` raises, `warn` returns the sentence to show. None: nothing to say, also
    where the network shows no number (the simulator).
    """
    if not caller_id:
        return None
    try:
        check_caller_id(caller_id, purpose)
    except CallerIdNotAllowed as refusal:
        if config.settings().caller_id_series == "strict":
            raise
        return refusal.detail
    return None


def configured_caller_id() -> str | None:
    """The number that the configured telephone network shows; None for the simulator's calls."""
    chosen = config.settings()
    numbers = {
        "twilio": chosen.twilio_from,
        "plivo": chosen.plivo_from,
        "exotel": chosen.exotel_caller_id,
    }
    return numbers.get(chosen.telephony_provider) or None


def _allowed(purpose: Purpose) -> frozenset[Series]:
    allowed = _RULES[purpose]
    if config.settings().caller_id_160_required and "160" in allowed:
        return frozenset({"160"})
    return allowed
