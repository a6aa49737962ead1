"""History over HTTP: pages that do not shift, sums of the whole filter, CSV, nobody else's money."""

import csv
import datetime as dt
import io
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any

import httpx
import pytest

import ledger
import transactions
import wallet
from core import clock, database, pagination
from core.database import Document, db
from ledger import Credit, Debit, Entry, Settle
from tests.support.service import Person, Service, running
from tests.support.service import test_settings as settings_of_tests

NOON = dt.datetime(2026, 11, 10, 6, 30, tzinfo=dt.UTC)  # 12:00 in India
HEADER = "transaction_id,date,type,category,amount,balance_after,description,call_id,campaign_id,payment_id"


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for all tests of this file; each test has users of its own."""
    async with running(settings_of_tests(mongodb_uri)) as started:
        yield started


async def seed(person: Person, movements: list[dict[str, Any]]) -> list[Entry]:
    """Entries at chosen times, as the ledger itself would have made them."""
    state = ledger.opened(person.id, movements[0]["at"])
    entries: list[Entry] = []
    for number, movement in enumerate(movements):
        facts: dict[str, Any] = {
            "user_id": person.id,
            "key": f"seed:{number}",
            "category": "recharge",
            "amount_paise": 1_00,
            "contra": "gateway:razorpay",
            "description": "Seed",
            **movement,
        }
        at, kind = facts.pop("at"), facts.pop("kind", Credit)
        outcome = ledger.apply(state, kind(**facts), at=at, known={})
        state = outcome.wallet
        entries += outcome.entries
    for begin in range(0, len(entries), 5_000):
        part = entries[begin : begin + 5_000]
        await db.transactions.insert_many([dict(transactions.record_of(entry)) for entry in part])
    return entries


async def listed(service: Service, person: Person, query: str = "") -> dict[str, Any]:
    answer = await service.get(f"/api/transactions{query}", person)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def rows(service: Service, person: Person, query: str = "") -> list[dict[str, str]]:
    answer = await service.get(f"/api/transactions/download{query}", person)
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.text)))


# --- pages --------------------------------------------------------------------------------------


async def test_a_page_has_the_newest_first_and_the_sum_of_the_whole_filter(
    service: Service,
) -> None:
    asha = await service.signup()
    for rupees in (100, 200, 300):
        await service.fund(asha, rupees)
    body = await listed(service, asha, "?limit=2")
    assert [t["amount"] for t in body["transactions"]] == [300, 200]
    assert [t["seq"] for t in body["transactions"]] == [3, 2]
    totals = {"total_credits": 600, "total_debits": 0, "credit_count": 3, "debit_count": 0}
    assert body["summary"] == totals
    rest = await listed(service, asha, f"?limit=2&cursor={body['next_cursor']}")
    assert [t["amount"] for t in rest["transactions"]] == [100]
    assert rest["next_cursor"] is None
    assert rest["summary"] == totals


async def test_pages_do_not_shift_or_repeat_while_new_entries_arrive(service: Service) -> None:
    asha = await service.signup()
    await seed(asha, [{"at": NOON} for _ in range(25)])  # all within one millisecond
    seen, query = [], "?limit=10"
    for _ in range(3):
        body = await listed(service, asha, query)
        seen += [t["seq"] for t in body["transactions"]]
        query = f"?limit=10&cursor={body['next_cursor']}"
        late = ledger.entry_id(asha.id, f"late:{len(seen)}")
        document = await db.transactions.find_one({"user_id": asha.id, "seq": 25})
        assert document is not None
        await db.transactions.insert_one(
            document
            | {"_id": late, "seq": database.long(100 + len(seen)), "created_at": clock.now()}
        )
    assert seen == list(range(25, 0, -1))
    assert body["next_cursor"] is None


async def test_a_transaction_shows_everything_the_contract_names(service: Service) -> None:
    asha, admin = await service.signup(), await service.admin()
    await service.fund(asha, 10)
    (mine,) = (await listed(service, asha))["transactions"]
    assert list(mine) == [
        *("id", "user_id", "seq", "type", "category", "amount", "balance_after", "description"),
        *("call_id", "campaign_id", "order_id", "payment_id", "refund_id", "created_at"),
    ]
    assert mine["created_at"].endswith("Z")
    assert (mine["type"], mine["category"], mine["balance_after"]) == ("credit", "adjustment", 10.0)
    one = await service.get(f"/api/transactions/{mine['id']}", asha)
    assert one.json() == mine
    (shown,) = (await listed(service, admin, f"?user_id={asha.id}"))["transactions"]
    assert shown["user_email"] == asha.email


# --- filters ------------------------------------------------------------------------------------


async def test_a_day_is_a_day_in_india_with_both_ends_included(service: Service) -> None:
    asha = await service.signup()
    first = dt.datetime(2026, 11, 9, 18, 30, tzinfo=dt.UTC)  # 00:00 on the 10th in India
    last = dt.datetime(2026, 11, 10, 18, 29, 59, 999000, tzinfo=dt.UTC)
    just = dt.timedelta(milliseconds=1)
    await seed(asha, [{"at": at} for at in (first - just, first, last, last + just)])
    body = await listed(service, asha, "?from=2026-11-10&to=2026-11-10")
    assert [t["seq"] for t in body["transactions"]] == [3, 2]
    assert body["summary"]["credit_count"] == 2
    body = await listed(service, asha, "?from=2026-11-11")
    assert [t["seq"] for t in body["transactions"]] == [4]
    body = await listed(service, asha, "?to=2026-11-09")
    assert [t["seq"] for t in body["transactions"]] == [1]
    body = await listed(service, asha, "?from=2026-11-09T18:30:00Z&to=2026-11-09T18:30:00Z")
    assert [t["seq"] for t in body["transactions"]] == [2]


MIXED: list[dict[str, Any]] = [
    {"at": NOON, "amount_paise": 500_00, "payment_id": "pay_1"},
    {"at": NOON, "kind": Debit, "category": "call_charge", "amount_paise": 20_00}
    | {"call_id": "call_1", "campaign_id": "cmp_1", "contra": "revenue:calls"},
    {"at": NOON + dt.timedelta(days=1), "kind": Debit, "category": "call_charge"}
    | {"amount_paise": 30_00, "call_id": "call_2", "campaign_id": "cmp_2"},
    {"at": NOON + dt.timedelta(days=2), "kind": Debit, "category": "adjustment"}
    | {"amount_paise": 7_00},
    {"at": NOON + dt.timedelta(days=3), "category": "adjustment", "amount_paise": 3_00},
    {"at": NOON + dt.timedelta(days=3), "kind": Debit, "category": "call_charge"}
    | {"amount_paise": 11_00, "call_id": "call_3", "campaign_id": "cmp_1"},
]


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?type=credit",
        "?type=debit",
        "?category=call_charge",
        "?category=adjustment",
        "?category=adjustment&type=debit",
        "?category=call_charge&type=credit",
        "?campaign_id=cmp_1",
        "?call_id=call_2",
        "?from=2026-11-11&to=2026-11-12",
        "?from=2026-11-11&type=debit",
        "?to=2026-11-12&category=call_charge",
        "?campaign_id=cmp_1&from=2026-11-11",
        "?campaign_id=nobody",
    ],
)
async def test_list_summary_and_csv_of_a_filter_say_the_same(service: Service, query: str) -> None:
    await db.transactions.delete_many({})  # then everybody is these two
    asha, bela = await service.signup(), await service.signup()
    await seed(asha, MIXED)
    await seed(bela, MIXED)
    admin = await service.admin()
    narrowed = f"{query}{'&' if query else '?'}user_id={asha.id}"
    for person, asked in ((asha, query), (admin, narrowed)):
        body = await listed(service, person, asked)
        entries = body["transactions"]
        assert {t["user_id"] for t in entries} <= {asha.id}
        by_type = {
            kind: [round(t["amount"] * 100) for t in entries if t["type"] == kind]
            for kind in ("credit", "debit")
        }
        assert body["summary"] == {
            "total_credits": sum(by_type["credit"]) / 100,
            "total_debits": sum(by_type["debit"]) / 100,
            "credit_count": len(by_type["credit"]),
            "debit_count": len(by_type["debit"]),
        }
        table = await rows(service, person, asked)
        assert [r["transaction_id"] for r in table] == [t["id"] for t in entries]
    everybody = await listed(service, admin, query)
    doubled = {name: 2 * value for name, value in body["summary"].items()}
    assert everybody["summary"] == doubled
    assert len(everybody["transactions"]) == 2 * len(entries)


@pytest.mark.parametrize(
    "query",
    [
        "?type=both",
        "?category=theft",
        "?from=yesterday",
        "?from=2026-13-01",
        "?from=2026-11-12&to=2026-11-11",
        "?from=10000-01-01",
        "?limit=0",
        "?limit=201",
        "?limit=ten",
        "?cursor=forged",
        "?cursor=WyJhIl0",
        "?cursor=%00",
        f"?cursor={pagination.encode_cursor('txn', NOON, chr(0xD800), 1)}",
        f"?cursor={'A' * 5_000}",
        f"?campaign_id={'x' * 101}",
    ],
)
async def test_a_question_that_makes_no_sense_is_422(service: Service, query: str) -> None:
    asha = await service.signup()
    for path in ("/api/transactions", "/api/transactions/download"):
        if path.endswith("download") and ("limit" in query or "cursor" in query):
            continue  # a download has no pages
        answer = await service.get(f"{path}{query}", asha)
        assert answer.status_code == 422, (path, answer.text)
        assert answer.json()["code"] in ("validation_error", "invalid_cursor")


async def test_operators_are_only_strings_and_find_nothing(service: Service) -> None:
    asha = await service.signup()
    await service.fund(asha, 10)
    for query, count in {
        "?campaign_id=%7B%22%24gt%22%3A%22%22%7D": 0,
        "?call_id=%00": 0,
    }.items():
        assert len((await listed(service, asha, query))["transactions"]) == count, query
    # No parameter of this name: it would filter nothing, and is refused.
    answer = await service.get("/api/transactions?call_id[$gt]=", asha)
    assert answer.json()["errors"] == [
        {"field": "call_id[$gt]", "message": "Unknown parameter; did you mean `call_id`?"}
    ]


# --- whose --------------------------------------------------------------------------------------


async def test_nobody_sees_the_movements_of_another_user(service: Service) -> None:
    asha, bela = await service.signup(), await service.signup()
    await service.fund(asha, 10)
    (mine,) = (await listed(service, asha))["transactions"]
    assert (await service.get(f"/api/transactions/{mine['id']}", bela)).status_code == 404
    assert (await listed(service, bela))["transactions"] == []
    assert (await service.get(f"/api/transactions?user_id={asha.id}", bela)).status_code == 403
    assert (await service.get(f"/api/transactions?user_id={bela.id}", bela)).status_code == 200
    answer = await service.get(f"/api/transactions/download?user_id={asha.id}", bela)
    assert answer.status_code == 403
    admin = await service.admin()
    assert (await service.get(f"/api/transactions/{mine['id']}", admin)).status_code == 200


# --- CSV ----------------------------------------------------------------------------------------


async def test_the_csv_has_the_columns_of_the_contract_and_a_file_name(service: Service) -> None:
    asha, admin = await service.signup(), await service.admin()
    await seed(asha, MIXED)
    answer = await service.get("/api/transactions/download", asha)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"].startswith("attachment; filename=")
    assert ".csv" in answer.headers["content-disposition"]
    assert answer.text.splitlines()[0] == HEADER
    assert answer.text.count("\r\n") == len(MIXED) + 1
    first = (await rows(service, asha))[-1]
    assert (first["amount"], first["balance_after"], first["payment_id"]) == (
        *("500.00", "500.00", "pay_1"),
    )
    table = await service.get("/api/transactions/download", admin)
    columns = HEADER.replace("date,", "date,user_id,user_email,")
    assert table.text.splitlines()[0] == columns
    emails = {row["user_id"]: row["user_email"] for row in await rows(service, admin)}
    assert emails[asha.id] == asha.email


async def test_an_empty_csv_is_its_header(service: Service) -> None:
    asha = await service.signup()
    answer = await service.get("/api/transactions/download", asha)
    assert answer.text == HEADER + "\r\n"


async def test_no_cell_runs_in_a_spreadsheet_and_quoting_survives(service: Service) -> None:
    asha = await service.signup()
    nasty = ["=1+1", "+91 98765", "-2", "@SUM(A1)", "\tx", "\rx", 'say "hi", twice', "a\nb", " =1"]
    await seed(asha, [{"at": NOON, "description": text} for text in nasty])
    cells = [row["description"] for row in await rows(service, asha)][::-1]
    assert cells == [
        *("'=1+1", "'+91 98765", "'-2", "'@SUM(A1)", "'\tx", "'\rx"),
        *('say "hi", twice', "a\nb", "' =1"),
    ]


async def test_twenty_thousand_rows_come_out_whole(service: Service) -> None:
    asha = await service.signup()
    await seed(asha, [{"at": NOON + dt.timedelta(seconds=n)} for n in range(20_000)])
    table = await rows(service, asha)
    assert len(table) == 20_000
    assert len({row["transaction_id"] for row in table}) == 20_000
    assert table[0]["balance_after"] == "20000.00"


async def test_a_download_that_breaks_off_does_not_look_complete(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    asha = await service.signup()
    await service.fund(asha, 10)
    whole = transactions.rows

    async def broken(
        chosen: transactions.Filter, fields: Sequence[str]
    ) -> AsyncGenerator[list[Document], None]:
        async for batch in whole(chosen, fields):
            yield batch
        raise database.AWAY[0]("the database is gone")

    monkeypatch.setattr(transactions, "rows", broken)
    with pytest.raises(httpx.RemoteProtocolError):
        await service.get("/api/transactions/download", asha)


async def test_a_download_without_a_database_is_503(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    asha = await service.signup()

    async def gone(
        chosen: transactions.Filter, fields: Sequence[str]
    ) -> AsyncGenerator[list[Document], None]:
        if chosen is not None:
            raise database.AWAY[0]("the database is gone")
        yield []

    monkeypatch.setattr(transactions, "rows", gone)
    answer = await service.get("/api/transactions/download", asha)
    assert (answer.status_code, answer.json()["code"]) == (503, "service_unavailable")


async def test_a_call_shows_up_with_what_it_names(service: Service) -> None:
    asha = await service.signup()
    await service.fund(asha, 100)
    hold = ledger.Hold(
        user_id=asha.id, call_id="call_x", amount_paise=10_00, amount_paise_min=10_00
    )
    await wallet.post(hold)
    await wallet.post(
        Settle(user_id=asha.id, call_id="call_x", cost_paise=5_00, description="Call to +91…")
    )
    (charge,) = (await listed(service, asha, "?call_id=call_x"))["transactions"]
    assert (charge["category"], charge["amount"], charge["balance_after"]) == (
        *("call_charge", 5.0, 95.0),
    )
