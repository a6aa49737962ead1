"""Campaign creation: checked and stored with all of its contacts, or not at all."""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import Final

import telephony
from billing import charging, rates
from billing.limits import SpendingKey
from calls import records as call_records
from calls.placing import PLAIN_CALL, CallSpec
from campaigns import contacts, options, phone_columns, records, rejections, variables
from campaigns.contact_import import ContactChunk, RejectedContact
from campaigns.contacts import NewContact
from campaigns.estimates import RateGroups
from campaigns.options import OptionFields
from campaigns.records import LEASE_SECONDS, Campaign, ListFields, NewCampaign, RejectedRow
from campaigns.variables import BLANK_ROWS_MAX, ColumnBlanks, MissingVariable, Variable
from compliance import do_not_call
from compliance.do_not_call import DoNotCall
from core import clock, texts
from core.errors import Problem

log = logging.getLogger(__name__)


# --- vocabulary ---------------------------------------------------------------------------------

# This many of the rows that were refused are listed; the rest is only counted.
REJECTED_LISTED_MAX: Final = 1_000
MAX_CONCURRENT_DEFAULT: Final = 10
CALLED_WITHIN_DAYS_MAX: Final = 90


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CampaignPlan:
    """What a campaign says, how fast it dials, and when it starts; its list is given separately."""

    name: str
    spec: CallSpec = PLAIN_CALL
    max_concurrent: int = MAX_CONCURRENT_DEFAULT
    calls_per_minute: int | None = None
    start: bool = True  # else it is a draft
    start_at: dt.datetime | None = None
    options: OptionFields = dataclasses.field(default_factory=OptionFields)
    key: SpendingKey | None = None  # the API key that makes it, for whose cap its calls count


class NoUsableRow(Problem):
    """There is nobody to call in this list; `rejected` says why, row by row, and `phone_column` which
    column was read."""

    code, status, title = "no_usable_row", 422, "No usable row"


# --- verbs --------------------------------------------------------------------------------------


def plan_campaign(campaign_id: str, user_id: str, plan: CampaignPlan) -> NewCampaign:
    """The fields of a campaign as they are stored.

    Raises InvalidRequest for options that exclude each other or that the telephone network does not
    have, and InvalidNumber and DestinationNotAllowed for `connect_to`.
    """
    plan.spec.check(telephony.get_chosen_provider())
    return {
        "_id": campaign_id,
        "user_id": user_id,
        "name": plan.name,
        **plan.spec.normalized().fields(),
        **plan.options,
        "max_concurrent": plan.max_concurrent,
        "calls_per_minute": plan.calls_per_minute,
        "start": plan.start,
        "start_at": plan.start_at,
        **charging.key_fields(plan.key),
    }


async def create_campaign(
    campaign: NewCampaign,
    chunks: AsyncGenerator[ContactChunk, None],
    *,
    called_within_days: int | None = None,
) -> Campaign:
    """Store a planned campaign with all contacts of its list, and start it if that was asked for.
    Whom this user called within these days is refused.

    For a campaign that exists already, returns that one. Raises InvalidRequest, CallerIdNotAllowed,
    DestinationNotRated, DoNotCall, TooManyDrafts and the 402s before the list is read, what reading
    the list raises, NoUsableRow, MissingVariable, and Unavailable; then there is no campaign.
    """
    known = await records.find_campaign(campaign["_id"])
    if known is not None:
        return known
    await check_campaign(campaign)
    intake = await open_intake(campaign, called_within_days)
    try:
        async with contextlib.aclosing(chunks):
            return await _create_and_fill(campaign, chunks, intake)
    except BaseException:
        await records.delete_draft(campaign["_id"])
        raise


async def check_campaign(campaign: NewCampaign) -> None:
    """Raise what `create_campaign` raises before the list is read."""
    user_id, connect_to = campaign["user_id"], campaign["connect_to"]
    await options.check_options(campaign, start_at=campaign["start_at"])
    if not campaign["start"]:
        await records.require_room_for_draft(user_id)
    pricing = await rates.get_pricing(user_id)
    if connect_to is not None:
        pricing.rate_of(connect_to)
        await do_not_call.require_callable(user_id, connect_to)
    await charging.require_can_start(user_id, connect_to=connect_to, key=charging.key_of(campaign))


async def open_intake(campaign: NewCampaign, called_within_days: int | None) -> "Intake":
    """The intake of the list of a campaign, at the prices of this moment."""
    pricing = await rates.get_pricing(campaign["user_id"])
    wanted = variables.variables_of(campaign["message"])
    return Intake(campaign["user_id"], wanted, RateGroups(pricing), called_within_days)


async def _create_and_fill(
    campaign: NewCampaign, chunks: AsyncGenerator[ContactChunk, None], intake: "Intake"
) -> Campaign:
    campaign_id, now = campaign["_id"], asyncio.get_running_loop().time
    is_ours, kept_until = True, 0.0
    async for chunk in chunks:
        usable = await intake.take(chunk)
        if now() >= kept_until:
            is_first = kept_until == 0.0
            write = (
                records.create_draft(campaign) if is_first else records.extend_draft(campaign_id)
            )
            is_ours, kept_until = await write, now() + LEASE_SECONDS / 4
        if not is_ours:  # another attempt was faster, or this draft was deleted
            return await records.get_launched_campaign(campaign_id)
        await store_rows(campaign, usable, intake.refused)
    intake.require_somebody()
    launched = await records.launch_campaign(campaign_id, intake.fields())
    log.info(
        "campaign %s: %d to call, %d refused", campaign_id, intake.count, intake.rejected_count
    )
    return launched


async def store_rows(
    campaign: NewCampaign, usable: Sequence[NewContact], refused: Sequence[RejectedContact]
) -> None:
    """Store rows of a list: those to call as contacts, the others with their reason. Harmless when
    repeated."""
    if usable:
        await contacts.create_contacts(campaign["_id"], campaign["user_id"], usable)
    await rejections.create_rejections(campaign["_id"], refused)


# --- the list as it comes in --------------------------------------------------------------------


class Intake:
    """What is refused and counted while a list comes in. `refused` are the rows of the last chunk that
    are not called."""

    def __init__(
        self,
        user_id: str,
        wanted: list[Variable],
        groups: RateGroups,
        called_within_days: int | None,
    ) -> None:
        self._user_id, self._wanted, self._groups = user_id, wanted, groups
        self._called_within_days = called_within_days
        self.refused: list[RejectedContact] = []
        self._rejected: list[RejectedRow] = []
        self._by_code: Counter[str] = Counter()
        self._column = phone_columns.LIST
        self._columns: list[str] = []
        self._blanks: list[ColumnBlanks] = []
        self.count = 0

    @property
    def rejected_count(self) -> int:
        """How many rows are not called."""
        return self._by_code.total()

    @property
    def rejected_by_code(self) -> dict[str, int]:
        """How many rows are not called, for which reason."""
        return dict(self._by_code)

    async def take(self, chunk: ContactChunk) -> list[NewContact]:
        """The rows of a chunk that are called. Raises MissingVariable when no row can have what the
        message says."""
        self._column = chunk.column
        if not self._columns and chunk.column.columns:
            self._columns = list(chunk.column.columns)
            self._blanks = [{"count": 0, "rows": []} for _ in self._columns]
        if chunk.usable and not self.count:
            self._require_columns()
        rows = list(chunk.contacts())
        refused = await self._refused([row.to for row in rows])
        usable = [row for row in rows if row.to not in refused]
        known = [
            RejectedContact(row.row, row.to, *refused[row.to], tuple(row.cells or ()))
            for row in rows
            if row.to in refused
        ]
        self.refused = sorted([*known, *chunk.rejected], key=lambda row: row.row)
        self._reject(self.refused)
        self._groups.add([row.to for row in usable])
        for row in usable:
            self._count_blanks(row)
        self.count += len(usable)
        return usable

    def fields(self) -> ListFields:
        """What is stored with the campaign."""
        return {
            "rejected": self._rejected,
            "rejected_count": self.rejected_count,
            "rejected_by_code": dict(self._by_code),
            "phone_column": self._column.name,
            "chosen_by": self._column.chosen_by,
            "columns": self._columns,
            "blanks": self._blanks,
            **self._groups.fields(),
        }

    def require_somebody(self) -> None:
        """Raise NoUsableRow when nobody is left to call."""
        if not self.count:
            raise NoUsableRow(
                f"None of the {self.rejected_count} rows can be called.",
                rejected=self._rejected,
                rejected_count=self.rejected_count,
                rejected_by_code=dict(self._by_code),
                phone_column=self._column.name,
                chosen_by=self._column.chosen_by,
            )

    async def _refused(self, numbers: list[str]) -> dict[str, tuple[str, str]]:
        """The code and the message of each of these numbers that is not called."""
        listed = await do_not_call.find_listed(self._user_id, numbers)
        refused = {
            number: ("do_not_call", DoNotCall(number, listing).detail)
            for number, listing in listed.items()
        }
        for number in self._groups.find_unrated(numbers):
            refused[number] = ("destination_not_rated", "The rate card has no price for it.")
        if self._called_within_days is not None:
            since = clock.now() - dt.timedelta(days=self._called_within_days)
            called = await call_records.find_called_numbers(self._user_id, numbers, since)
            for number in called - refused.keys():
                refused[number] = (
                    "called_recently",
                    "It was called within the days that were asked.",
                )
        return refused

    def _reject(self, rows: Iterable[RejectedContact]) -> None:
        for row in rows:
            self._by_code[row.code] += 1
            if len(self._rejected) < REJECTED_LISTED_MAX:
                self._rejected.append(_listed(row))

    def _require_columns(self) -> None:
        names = variables.without_column(self._wanted, self._columns)
        if names:
            raise MissingVariable(
                f"The list has no column {names[0]}, which the message says.",
                variables=names,
                columns=self._columns,
            )

    def _count_blanks(self, row: NewContact) -> None:
        cells = row.cells or []
        for position, blanks in enumerate(self._blanks):
            if position >= len(cells) or texts.is_blank(cells[position]):
                blanks["count"] += 1
                if len(blanks["rows"]) < BLANK_ROWS_MAX:
                    blanks["rows"].append(row.row)


def _listed(row: RejectedContact) -> RejectedRow:
    """A row that was refused, as the campaign lists it: without its cells."""
    return {"row": row.row, "value": row.value, "code": row.code, "message": row.message}
