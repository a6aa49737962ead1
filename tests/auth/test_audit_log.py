"""The audit log by itself: secrets, sizes, floods of refusals, filters and pages."""

import datetime as dt
from collections.abc import AsyncIterator

import pytest

from auth import audit_log
from auth.audit_log import EntryFilter, Target
from core import clock, config, database, logs
from core.database import db
from core.errors import Forbidden, TooManyRequests
from tests.support.service import test_settings as settings_of_tests


@pytest.fixture(scope="module")
async def connected(mongodb_uri: str) -> AsyncIterator[None]:
    """MongoDB alone: no HTTP, no wallet."""
    chosen = settings_of_tests(mongodb_uri)
    config.use(chosen)
    await database.connect(chosen.mongodb_uri, chosen.mongodb_db)
    await database.prepare()
    yield
    await database.client().drop_database(chosen.mongodb_db)
    await database.close()
    config.use(None)


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test counts from zero."""
    monkeypatch.setattr(audit_log, "_refusals", audit_log._Refusals())
    audit_log.reset()


@pytest.fixture
def one_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock stands, because refusals are counted by the minute."""
    moment = clock.now()
    monkeypatch.setattr(clock, "now", lambda: moment)


def acting(address: str = "203.0.113.9", user_id: str | None = None, role: str = "nobody") -> None:
    logs.actor.set(logs.Actor(user_id=user_id, role=role, address=address))


async def rows_of(target_id: str) -> list[audit_log.AuditEntry]:
    found, _ = await audit_log.list_entries(EntryFilter(target=target_id), limit=200, cursor=None)
    return found


@pytest.mark.usefixtures("connected")
async def test_a_secret_never_reaches_a_row_and_a_large_fact_is_named_by_its_size() -> None:
    acting(user_id="usr_1", role="admin")
    facts = {"password": "p4ss", "new_api_key": "wk_live_1", "totp_secret": "JBSW", "paise": 5}
    await audit_log.record(None, "test.secret", Target("user", "usr_s"), before=facts, after=facts)
    await audit_log.record(None, "test.large", Target("user", "usr_l"), after={"x": "y" * 5_000})
    (row,), (large,) = await rows_of("usr_s"), await rows_of("usr_l")
    assert row["before"] == row["after"] == {**dict.fromkeys(facts, "…"), "paise": 5}
    assert large["after"] == {"left_out_bytes": 5_009}


@pytest.mark.usefixtures("connected", "one_minute")
async def test_a_thousand_failed_log_ins_of_one_account_are_four_rows_with_their_count() -> None:
    """A flood of failed log-ins must not fill the disk."""
    acting()
    target = audit_log.account_target("asha@example.com")
    for _ in range(1_000):
        await audit_log.record_refusal("log_in", target, code="invalid_credentials")
    rows = await rows_of(target.id)
    assert sorted(row["count"] for row in rows) == [1, 10, 100, 1_000]
    assert {row["outcome"] for row in rows} == {"refused"}
    assert "asha" not in str(rows), "what was typed as an address may have been a password"


@pytest.mark.usefixtures("connected", "one_minute")
async def test_a_flood_of_other_accounts_and_other_networks_stays_a_few_hundred_rows() -> None:
    before = await db.audit_log.count_documents({})
    for n in range(3_000):
        acting(f"2001:db8:{n % 1_000:x}::{n:x}")
        target = audit_log.account_target(f"nobody{n}@example.com")
        await audit_log.record_refusal("log_in", target, code="invalid_credentials")
    assert await db.audit_log.count_documents({}) - before <= 210
    acting("198.51.100.1")
    for n in range(500):
        target = audit_log.account_target(f"other{n}@example.com")
        await audit_log.record_refusal("log_in", target, code="invalid_credentials")
    assert await db.audit_log.count_documents({}) - before <= 220
    assert len(audit_log._refusals._counts) <= 201, "the memory is bounded as well"


def test_one_network_has_few_targets_in_a_minute_and_the_next_minute_begins_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = clock.now()
    monkeypatch.setattr(clock, "now", lambda: now)
    refusals = audit_log._Refusals()

    def counted(account: str, network: str = "203.0.113.9") -> tuple[Target, int] | None:
        return refusals.counted(network, "log_in", Target("account", account), "wrong")

    assert [counted(f"acc_{n}") for n in range(20)] == [
        (Target("account", f"acc_{n}"), 1) for n in range(20)
    ]
    assert counted("acc_20") == (Target("account", "*"), 1)
    assert counted("acc_21") is None
    assert counted("acc_0") is None, "a known target is still counted by itself"
    assert counted("acc_21", "203.0.113.10") == (Target("account", "acc_21"), 1)
    now += dt.timedelta(minutes=1)
    assert counted("acc_21") == (Target("account", "acc_21"), 1)


@pytest.mark.usefixtures("connected")
async def test_a_log_in_is_done_or_refused_with_its_code() -> None:
    acting()
    for problem in (TooManyRequests("slowly"), Forbidden("disabled")):
        with pytest.raises(type(problem)):
            async with audit_log.logging_in("meera@example.com"):
                raise problem
    async with audit_log.logging_in("meera@example.com"):
        logs.identify("usr_meera", "operator")
    rows = await rows_of(audit_log.account_target("meera@example.com").id)
    assert [(row["outcome"], row["code"], row["actor"]["user_id"]) for row in rows] == [
        ("done", None, "usr_meera"),
        ("refused", "forbidden", None),
        ("refused", "rate_limited", None),
    ]


@pytest.mark.usefixtures("connected")
async def test_every_filter_finds_its_rows_and_pages_do_not_overlap() -> None:
    await db.audit_log.database.command({"drop": "audit_log"})
    for n in range(5):
        acting(user_id=f"usr_{n % 2}", role="admin")
        logs.identify(f"usr_{n % 2}", "admin", "key_7" if n == 3 else None)
        await audit_log.record(None, f"act.{n % 3}", Target("user", f"usr_t{n}"))
    middle = (await rows_of("usr_t2"))[0]["at"]

    async def found(**conditions: object) -> list[str]:
        chosen = EntryFilter(**conditions)  # type: ignore[arg-type]
        rows, _ = await audit_log.list_entries(chosen, limit=10, cursor=None)
        return sorted(row["target"]["id"][-1] for row in rows if row["target"])

    assert await found() == list("01234")
    assert await found(actor="usr_0") == list("024")
    assert await found(key_id="key_7") == list("3")
    assert await found(action="act.1") == list("14")
    assert await found(target="usr_t4") == list("4")
    assert await found(outcome="done", actor="usr_1", action="act.0") == list("3")
    assert set(await found(since=middle)) >= set("234")
    assert set(await found(until=middle)) <= set("01")
    seen, cursor = [], None
    while True:
        page, cursor = await audit_log.list_entries(EntryFilter(), limit=2, cursor=cursor)
        seen += [row["_id"] for row in page]
        if cursor is None:
            break
    batches = [row["_id"] async for batch in audit_log.rows(EntryFilter()) for row in batch]
    assert seen == batches
    assert len(set(seen)) == 5
