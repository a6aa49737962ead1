"""Every query of the product is in the list of query plans, and uses the index that is named there."""

import asyncio
import itertools
from collections.abc import Iterator
from typing import Any

import pytest

import main as product
import worker
from core import clock, database
from core.database import Index, db
from reporting import audit
from sandbox import refunds as sandbox_refunds
from tests.api.test_authorization import ACTORS, MATRIX, built
from tests.project import query_plans
from tests.support import calls as calling
from tests.support import payments as paying
from tests.support import queries
from tests.support.campaigns import FAST, SLOW, act, create, is_over, until
from tests.support.service import Person, Service, new_key
from tests.support.service import until as eventually


@pytest.fixture
def recording() -> Iterator[queries.Recorder]:
    """The recorder of this process, switched on; a client that is made from now on is heard."""
    found = queries.recorder()
    before, found.is_on = found.is_on, True
    yield found
    found.is_on = before


# --- the list -----------------------------------------------------------------------------------


def test_every_query_in_the_list_uses_its_index(mongodb_uri: str) -> None:
    """On a database in which thousands of documents miss a query by one of its conditions."""
    entries = query_plans.listed()
    assert len(entries) > 140
    found = query_plans.problems(entries, query_plans.explained(mongodb_uri, entries))
    assert not found, "\n".join(found)


def test_every_change_of_one_document_is_allowed_on_shards() -> None:
    found = {text: query_plans.not_for_shards(e["example"]) for text, e in listed_changes()}
    assert found, "no change of a sharded collection is in the list"
    assert not [f"{text}: {why}" for text, why in found.items() if why]


def test_every_unique_index_of_a_sharded_collection_begins_with_the_shard_key() -> None:
    product.create_app()
    unique = {
        collection: [index.keys for index in database._declared[collection][1] if index.unique]
        for collection in query_plans.SHARD_KEYS
    }
    assert sum(map(len, unique.values())) >= 3
    for collection, found in unique.items():
        assert all(keys[0] == query_plans.SHARD_KEYS[collection] for keys in found), collection


def listed_changes() -> list[tuple[str, dict[str, Any]]]:
    sharded = query_plans.SHARD_KEYS
    return [
        (text, entry)
        for text, entry in query_plans.listed().items()
        if entry["example"]["collection"] in sharded
    ]


@pytest.mark.timeout(400)
async def test_the_product_sends_no_query_that_is_not_in_the_list(
    recording: queries.Recorder, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox_refunds, "PROCESSED_AFTER_SECONDS", 0.05)
    before = set(recording.shapes)
    known = query_plans.listed()
    admin = await service.admin()
    person = await service.signup()
    await asyncio.gather(
        recharges_refunds_and_disputes(service, person, admin),
        campaigns_and_calls(service, await service.signup(), admin),
    )
    await lists(service, person, admin)
    await jobs()
    await everything_that_anybody_may_ask(service)
    sent = {text: example for text, example in recording.shapes.items() if text not in before}
    assert len(sent) > 120, "the recorder hears little of what the product sends"
    new = [f"{text}\n    {sent[text]['asks']}" for text in sorted(set(sent) - set(known))]
    why = "not in tests/project/query_plans.json; run python -m tests.project.query_plans --record"
    assert not new, "\n".join([why, *new])


# --- a story with everything in it --------------------------------------------------------------


async def recharges_refunds_and_disputes(service: Service, person: Person, admin: Person) -> None:
    paid = [await paying.recharge(service, person, 100) for _ in range(4)]
    order_id = await paying.open_order(service, person)
    await paying.verify(service, person, await paying.pay(service, order_id, paying.AUTHORIZED))
    await paying.decline(service, await paying.open_order(service, person))
    body = {"payment_id": paid[0], "reason": "asked by mail", "amount": 40}
    refunded = await service.post("/api/payment/refunds", admin, json=body, headers=new_key())
    assert refunded.status_code == 201
    await paying.outside(service, f"/payments/{paid[1]}/refunds", amount=3_000)
    for payment_id, ends in zip(paid[1:], ("won", "lost", "closed"), strict=True):
        made = await paying.outside(service, f"/payments/{payment_id}/disputes", amount=2_000)
        await until_recorded("disputes", {"_id": made["id"]})
        await paying.outside(service, f"/disputes/{made['id']}", status=ends)
        await until_recorded("disputes", {"_id": made["id"], "status": ends})
    await paying.audited(service, person)


async def campaigns_and_calls(service: Service, person: Person, admin: Person) -> None:
    await service.fund(person, 300)
    short = await create(service, person, 5, simulate=FAST)
    await until(service, person, short, is_over)
    long = await create(service, person, 3, simulate=SLOW)
    await until(service, person, long, lambda shown: shown["status"] == "running")
    await act(service, person, long, "pause")
    await act(service, person, long, "resume")
    call = await calling.place(service, person, calling.SILENT)
    await calling.shown(service, person, call["call_id"])
    freeze = f"/api/admin/users/{person.id}"
    reason = {"reason": "a test"}
    assert (await service.post(f"{freeze}/freeze", admin, json=reason)).status_code == 200
    await calling.over(service, person, call["call_id"])
    assert (await service.post(f"{freeze}/unfreeze", admin, json=reason)).status_code == 200
    await act(service, person, long, "cancel")
    await calling.over(
        service, person, (await calling.place(service, person, {"outcome": "busy"}))["call_id"]
    )


async def lists(service: Service, person: Person, admin: Person) -> None:
    """Every list with every combination of its filters, and what comes after its first row."""
    today = clock.ist_date(clock.now()).isoformat()
    history = {
        "type": "debit",
        "category": "refund",
        "from": today,
        "campaign_id": "cmp_1",
        "call_id": "call_1",
    }
    for whose in (person, admin):
        await combined(service, whose, "/api/transactions", history)
        await combined(service, whose, "/api/transactions/download", history, is_list=False)
        for path, filters in {
            "/api/calls": {"status": "completed"},
            "/api/campaigns": {"status": "completed"},
            "/api/payment/orders": {},
            "/api/payment/refunds": {"payment_id": "pay_1"},
            "/api/payment/disputes": {},
        }.items():
            await combined(service, whose, path, filters)
    for path in ("/api/calls", "/api/campaigns"):
        await combined(service, admin, path, {"status": "completed", "user_id": person.id})
    for path, filters in {
        "/api/admin/users": {"search": "user", "low_balance": "true"},
        "/api/admin/disputes": {"state": "reserved"},
        "/api/admin/webhooks": {"state": "dead"},
        "/api/admin/settlements": {},
        "/api/admin/rate-cards": {"at": clock.iso(clock.now())},
        f"/api/admin/users/{person.id}/adjustments": {},
    }.items():
        await combined(service, admin, path, filters)
    for path in ("metrics", "networks", "reconciliation", "audit", f"audit?user_id={person.id}"):
        assert (await service.get(f"/api/admin/{path}", admin)).status_code == 200


async def combined(
    service: Service, whose: Person, path: str, filters: dict[str, str], *, is_list: bool = True
) -> None:
    first = (await service.get(path, whose, params={"limit": 1})).json() if is_list else {}
    cursor = first.get("next_cursor")
    after = [{}, {"cursor": cursor}] if cursor else [{}]
    for chosen in itertools.product((False, True), repeat=len(filters)):
        asked = {name: filters[name] for name in itertools.compress(filters, chosen)}
        for further in after:
            answer = await service.get(path, whose, params=asked | further)
            assert answer.status_code == 200, (path, asked, answer.text)


async def jobs() -> None:
    """Every job once, with something due for each."""
    due = clock.after(-60)
    for name, field in (("orders", "next_check_at"), ("refunds", "next_check_at")):
        await db[name].update_many({field: {"$type": "date"}}, {"$set": {field: due}})
    for job, _ in worker.JOBS.values():
        await job()
    assert (await audit.audit()).ok


async def everything_that_anybody_may_ask(service: Service) -> None:
    world = await built(service)
    for row in MATRIX:
        for actor in ACTORS:
            assert await world.ask(row, actor) < 500


async def until_recorded(collection: str, where: dict[str, Any]) -> None:
    async def is_there() -> bool:
        return await db[collection].find_one(where) is not None

    await eventually(is_there)


# --- the tool itself ----------------------------------------------------------------------------


def test_a_query_without_an_index_and_one_that_reads_others_documents_are_found(
    mongodb_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    due = Index(("due_at",), only_where={"due_at": {"$type": "date"}})
    monkeypatch.setitem(database._declared, "tried", (None, (due,)))
    moment = clock.now()
    asked: dict[str, dict[str, Any]] = {
        "by due_at": {"due_at": {"$lte": moment, "$type": "date"}},
        "by due_at and mode": {"due_at": {"$lte": moment, "$type": "date"}, "mode": "live"},
        "by mode": {"mode": "live"},
        "the type is not named": {"due_at": "x"},
    }
    example = {"collection": "tried", "operation": "find", "limit": True, "sort": {"due_at": 1}}
    entries = {
        text: {"query": text, "asks": "a test", "indexes": [], "example": example | {"filter": f}}
        for text, f in asked.items()
    }
    plans = query_plans.explained(mongodb_uri, entries)
    assert {text: plan.needs() for text, plan in plans.items()} == {
        "by due_at": set(),
        "by due_at and mode": {"reads_more"},
        "by mode": {"reads_all", "sorts"},
        "the type is not named": {"reads_all", "sorts"},
    }
    assert plans["by due_at"].indexes == ("due_at_1",)
    assert len(query_plans.problems(entries, plans)) == 7  # two indexes, five reasons


def test_a_change_of_one_document_names_its_shard_or_its_exact_id() -> None:
    def why(operation: str, where: dict[str, Any], **more: Any) -> str | None:
        example = {"collection": "calls", "operation": operation, "filter": where, **more}
        return query_plans.not_for_shards(example)

    assert why("updateOne", {"_id": "call_1", "rank": 1}) is None
    assert why("updateOne", {"user_id": "usr_1", "rank": 1}) is None
    assert why("updateMany", {"rank": 1}) is None
    assert why("updateOne", {"_id": {"$in": ["call_1"]}}) is not None
    assert why("updateOne", {"rank": 1}) is not None
    assert why("updateOne", {"_id": "call_1"}, upsert=True) is not None
    assert why("findAndModify", {"_id": "call_1"}) is not None
    assert why("findAndModify", {"_id": "call_1", "user_id": "usr_1"}) is None


def test_the_same_query_with_other_values_has_the_same_shape() -> None:
    def text(**where: Any) -> str:
        return queries.text_of({"collection": "calls", "operation": "find", "filter": where})

    assert text(user_id="usr_1", at={"$gt": clock.now()}) == text(
        at={"$gt": clock.after(-5)}, user_id="usr_2"
    )
    assert text(_id={"$in": ["a", "b"]}) == text(_id={"$in": ["c"]})
    assert text(_id="a") != text(_id={"$in": ["a"]})
    assert text(user_id=None) != text(user_id="a")
    ids = (database.new_id("call"), database.new_id("call"))
    assert text(**{f"holds.{ids[0]}": 1}) == text(**{f"holds.{ids[1]}": 1})
