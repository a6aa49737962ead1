"""Campaign validation: what keeps a campaign from calling somebody, and what calling will cost."""

import dataclasses
from collections.abc import AsyncIterator, Iterable
from typing import Literal

import telephony
from billing import charging
from billing.charging import Outlook
from calls.placing import CallSpec
from campaigns import budgets, contacts, estimates, options, variables
from campaigns.contacts import Counts
from campaigns.estimates import Basis, Estimate, Work
from campaigns.options import RateGroup
from campaigns.records import Campaign
from compliance import do_not_call
from compliance.caller_ids import CallerIdNotAllowed
from core import clock, money, phone_numbers
from core.errors import InvalidRequest, Problem, Unavailable

# --- vocabulary ---------------------------------------------------------------------------------

Severity = Literal[
    "error",  # the campaign calls nobody, or not these contacts
    "warning",  # it calls, and its owner should know this before
]


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """Something that keeps a campaign from calling `count` of its contacts (None: any)."""

    code: str
    message: str
    count: int | None = None
    severity: Severity = "error"


@dataclasses.dataclass(frozen=True, slots=True)
class Validation:
    """What was found. `ok`: no finding is an error."""

    findings: list[Finding]
    estimate: Estimate

    @property
    def ok(self) -> bool:
        """Whether nothing keeps it from calling."""
        return all(finding.severity != "error" for finding in self.findings)


# --- verbs --------------------------------------------------------------------------------------


async def validate_campaign(
    campaign: Campaign, counts: Counts, *, duration_seconds: int | None = None
) -> Validation:
    """What would happen if the campaign went on now; reads no contact. `duration_seconds` is how long
    its owner expects a call to last. Raises Unavailable."""
    basis = await estimates.get_basis(campaign["user_id"])
    left_paise = await budgets.find_left_paise(campaign)
    found_estimate = await estimate_of(
        campaign, counts, basis, left_paise=left_paise, duration_seconds=duration_seconds
    )
    outlook = await charging.get_outlook(
        campaign["user_id"], connect_to=campaign["connect_to"], key=charging.key_of(campaign)
    )
    findings = [
        *_of_list(campaign, counts, found_estimate),
        *_of_money(outlook, found_estimate, left_paise),
    ]
    findings += [finding async for finding in _of_call(campaign, basis)]
    findings += [finding async for finding in _of_hours(campaign)]
    return Validation(findings, found_estimate)


async def estimate_of(
    campaign: Campaign,
    counts: Counts,
    basis: Basis,
    *,
    left_paise: int | None = None,
    duration_seconds: int | None = None,
) -> Estimate:
    """What calling those costs who are left. `left_paise` is what is left of its budget."""
    return estimates.estimate(
        basis,
        Work(
            groups=await _groups_of(campaign, counts),
            contacts=contacts_left(counts),
            connect_to=campaign["connect_to"],
            duration_seconds=duration_seconds or campaign.get("expected_duration_seconds"),
            duration_seconds_max=campaign["max_duration_seconds"],
            budget_left_paise=left_paise,
        ),
    )


async def _groups_of(campaign: Campaign, counts: Counts) -> list[RateGroup]:
    """The groups of its list; of an older version nobody has counted them, and the next number stands
    for all."""
    if (known := campaign.get("rate_groups")) is not None:
        return known
    number = await contacts.find_next_number(campaign["_id"])
    return [] if number is None else [{"number": number, "count": contacts_left(counts)}]


def contacts_left(counts: Counts) -> int:
    """How many contacts wait for a call, or for another one."""
    return sum(getattr(counts, name, 0) for name in ("pending", "retry_wait"))


# --- what is looked at --------------------------------------------------------------------------


def _of_list(campaign: Campaign, counts: Counts, found: Estimate) -> Iterable[Finding]:
    if not contacts_left(counts):
        yield Finding("empty_list", "Nobody is left to call.")
    missing = variables.find_missing(
        variables.variables_of(campaign["message"]),
        campaign.get("columns", []),
        campaign.get("blanks", []),
        counts.total,
    )
    for name, blanks in missing.items():
        rows = ", ".join(map(str, blanks["rows"]))
        where = f": rows {rows}" if rows else ""
        yield Finding(
            "missing_variable",
            f"{blanks['count']} contacts have no {name} and are skipped{where}.",
            blanks["count"],
            "error" if blanks["count"] >= counts.total else "warning",
        )
    if found.unrated_contacts:
        yield Finding(
            "destination_not_rated",
            "The rate card has no price for numbers of this list.",
            found.unrated_contacts,
            "error" if found.unrated_contacts >= found.contacts else "warning",
        )
    for code, count in campaign.get("rejected_by_code", {}).items():
        yield Finding(f"rejected_{code}", "Rows of the list that are not called.", count, "warning")


def _of_money(outlook: Outlook, found: Estimate, left_paise: int | None) -> Iterable[Finding]:
    if (refusal := outlook.refusal) is not None:
        yield Finding(refusal.code, refusal.detail)
    if left_paise is not None and left_paise < outlook.required_paise:
        yield Finding("budget_reached", f"Rs {money.text(left_paise)} are left of the budget.")
    unpaid = found.contacts - found.unrated_contacts - found.affordable_contacts
    if unpaid > 0:
        text = f"All calls cost about Rs {money.text(found.cost_paise)}"
        if found.recharge_paise:
            text += f"; recharge Rs {money.text(found.recharge_paise)}"
        yield Finding("money_for_a_part", f"{text}.", unpaid, "warning")


async def _of_call(campaign: Campaign, basis: Basis) -> AsyncIterator[Finding]:
    """What the network, the message, the caller ids and the second leg are refused for."""
    spec, connect_to = CallSpec.of(campaign), campaign["connect_to"]
    try:
        spec.check(telephony.get_chosen_provider())
    except Problem as refusal:
        is_option = isinstance(refusal, InvalidRequest)
        yield Finding("not_supported_by_network" if is_option else refusal.code, refusal.detail)
    try:
        options.check_caller_ids(campaign.get("caller_ids", []), options.purpose_of(campaign))
    except CallerIdNotAllowed as refusal:
        yield Finding(refusal.code, refusal.detail)
    if connect_to is None:
        return
    try:
        phone_numbers.checked(connect_to)
        basis.pricing.rate_of(connect_to)
        await do_not_call.require_callable(campaign["user_id"], connect_to)
    except Unavailable:
        raise
    except Problem as refusal:
        yield Finding(refusal.code, f"connect_to: {refusal.detail}")


async def _of_hours(campaign: Campaign) -> AsyncIterator[Finding]:
    now, end_at = clock.now(), campaign.get("end_at")
    begins_at = max(now, campaign["start_at"] or now)
    opens_at = await options.find_opening(campaign, begins_at)
    if opens_at is None:
        yield Finding("window_never_open", "The window is never open within the hours allowed.")
    elif end_at is not None and opens_at >= end_at:
        yield Finding(
            "ends_before_window",
            f"It ends at {clock.iso(end_at)}, and nobody may be called before {clock.iso(opens_at)}.",
        )
    elif opens_at > now:
        yield Finding(
            "starts_later", f"Nobody is called before {clock.iso(opens_at)}.", None, "warning"
        )
