"""Campaign results: every contact and its call as CSV."""

from collections.abc import AsyncGenerator
from typing import Final

from calls import records as call_records
from campaigns import contacts
from core import clock, csv_files, money
from core.outbox import Event

# --- vocabulary ---------------------------------------------------------------------------------

_RESULT_ROWS: Final = 100
_RESULT_COLUMNS: Final = (
    "row",
    "to",
    "state",
    "reason",
    "attempts",
    "call_id",
    "duration_seconds",
    "cost",
    "updated_at",
)


# --- verbs --------------------------------------------------------------------------------------


async def results_csv(campaign_id: str, *, byte_order_mark: bool) -> AsyncGenerator[str, None]:
    """The results of all contacts as CSV (RFC 4180), batch by batch, so that memory is bounded."""
    head = (csv_files.BYTE_ORDER_MARK if byte_order_mark else "") + csv_files.lines(
        [list(_RESULT_COLUMNS)]
    )
    rows: list[list[str]] = []
    async for contact in contacts.iterate_contacts(campaign_id):
        rows.append(_result_of(contact))
        if len(rows) >= _RESULT_ROWS:
            yield head + csv_files.lines(rows)
            head, rows = "", []
    if head or rows:
        yield head + csv_files.lines(rows)


async def on_result_changed(event: Event) -> None:
    """Pass on to its contact what became known of a call after its end (`CallResultChanged`)."""
    await contacts.apply_late_result(await call_records.get_call(event["data"]["call_id"]))


def _result_of(contact: contacts.Contact) -> list[str]:
    duration = contact["duration_seconds"]
    return [
        str(contact["row"]),
        csv_files.harmless(contact["to"]),
        contacts.counted_as(contact),
        csv_files.harmless(contact["reason"] or ""),
        str(contact["attempts"]),
        contact["call_id"] or "",
        "" if duration is None else str(duration),
        money.text(contact["cost_paise"]),
        clock.iso(contact["updated_at"]),
    ]
