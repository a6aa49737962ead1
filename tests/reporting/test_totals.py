"""Sums from kept totals: the same as adding up the entries, whatever the period and the filter."""

import dataclasses
import datetime as dt
import random

import pytest

import ledger
import transactions
from core import clock, config
from core.database import Document, db
from reporting import totals
from transactions import CATEGORIES, TYPES, Filter, Period, Summary

NOW = clock.now()
USERS = ("usr_a", "usr_b")


@pytest.fixture
async def entries(book: config.Settings, monkeypatch: pytest.MonkeyPatch) -> list[ledger.Entry]:
    """Five hundred entries of the last hundred days and the next minute, in a random order of kinds."""
    monkeypatch.setattr(totals, "_FEW", 0)
    chance, made = random.Random(7), []
    states: dict[str, list[int]] = {user_id: [0, 0, 0, 0] for user_id in USERS}
    moments = sorted(NOW - dt.timedelta(seconds=chance.randrange(100 * 86_400)) for _ in range(500))
    midnight = clock.ist_day_start(clock.ist_date(NOW - dt.timedelta(days=40)))
    moments[:0] = [NOW - dt.timedelta(days=101)]
    moments += [NOW]
    for number, moment in enumerate(sorted([*moments, midnight, midnight])):
        user_id, kind = chance.choice(USERS), chance.choice(TYPES)
        state, paise = states[user_id], chance.randrange(1, 10_000)
        state[0 if kind == "credit" else 1] += paise
        state[2 if kind == "credit" else 3] += 1
        category = chance.choice(CATEGORIES)
        made.append(
            ledger.Entry(
                id=f"txn_{number}",
                user_id=user_id,
                seq=state[2] + state[3],
                type=kind,
                category=category,
                amount_paise=paise,
                balance_after_paise=abs(state[0] - state[1]),
                contra=chance.choice(("gateway:razorpay", "revenue:calls")),
                key=f"k{number}",
                description="x",
                campaign_id=chance.choice((None, "cmp_1", "cmp_2")),
                credited_paise=state[0],
                debited_paise=state[1],
                credit_count=state[2],
                debit_count=state[3],
                created_at=moment.replace(microsecond=moment.microsecond // 1_000 * 1_000),
                prev_hash=ledger.GENESIS_HASH,
                hash=ledger.GENESIS_HASH,
            )
        )
    documents: list[Document] = [dict(transactions.record_of(entry)) for entry in made]
    await db.transactions.insert_many(documents)
    return made


def added_up(entries: list[ledger.Entry], chosen: Filter) -> Summary:
    found = Summary()
    for entry in entries:
        period = chosen.period
        wanted = (
            chosen.user_id in (None, entry.user_id)
            and chosen.type in (None, entry.type)
            and chosen.category in (None, entry.category)
            and chosen.campaign_id in (None, entry.campaign_id)
            and (period.since is None or period.since <= entry.created_at)
            and (period.until is None or entry.created_at < period.until)
        )
        if wanted and entry.type == "credit":
            found = dataclasses.replace(
                found,
                credited_paise=found.credited_paise + entry.amount_paise,
                credit_count=found.credit_count + 1,
            )
        elif wanted:
            found = dataclasses.replace(
                found,
                debited_paise=found.debited_paise + entry.amount_paise,
                debit_count=found.debit_count + 1,
            )
    return found


async def test_kept_sums_are_what_the_entries_add_up_to(entries: list[ledger.Entry]) -> None:
    chance = random.Random(11)
    day = clock.ist_day_start(clock.ist_date(NOW - dt.timedelta(days=30)))
    ends: list[dt.datetime | None] = [
        None,
        day,
        day - dt.timedelta(days=45),
        day + dt.timedelta(hours=5),
        NOW - dt.timedelta(minutes=61),
        NOW - dt.timedelta(days=200),
        dt.datetime(1, 1, 2, tzinfo=dt.UTC),
        *(NOW - dt.timedelta(seconds=chance.randrange(90 * 86_400)) for _ in range(6)),
    ]
    for number in range(150):
        chosen = Filter(
            user_id=chance.choice((None, *USERS)),
            type=chance.choice((None, *TYPES)),
            category=chance.choice((None, *CATEGORIES)),
            campaign_id=chance.choice((None, None, "cmp_1", "cmp_9")),
            period=Period(chance.choice(ends), chance.choice(ends)),
        )
        assert await totals.summary(chosen) == added_up(entries, chosen), (number, chosen)
    assert await db.entry_totals.count_documents({"_id": {"$regex": "^all/\\d{4}-\\d\\d$"}})


async def test_what_is_not_closed_is_never_kept(entries: list[ledger.Entry]) -> None:
    await totals.keep_closed_days()
    today = clock.ist_date(clock.now())
    ids = [record["_id"] async for record in db.entry_totals.find()]
    assert len(ids) > 60
    assert f"all/{today}" not in ids
    assert f"all/{today - dt.timedelta(days=50)}" in ids
    before = await totals.summary(Filter())
    at = clock.now().replace(microsecond=0)  # not when this file was imported: that may be long ago
    late = entries[-1]._replace(id="txn_late", seq=10_000, key="late", created_at=at)
    await db.transactions.insert_one(dict(transactions.record_of(late)))
    after = await totals.summary(Filter())
    count = before.credit_count + before.debit_count
    assert after.credit_count + after.debit_count == count + 1


async def test_days_split_what_was_owed_by_the_account_it_went_to(
    entries: list[ledger.Entry],
) -> None:
    since, until = NOW - dt.timedelta(days=90), NOW
    found = await totals.days(Period(since, until))
    for contra in ("gateway:razorpay", "revenue:calls"):
        kept = sum(
            each["paise"]
            for sums in found.values()
            for each in sums
            if (each["category"], each["contra"]) == ("due_recovery", contra)
        )
        assert kept == sum(
            entry.amount_paise
            for entry in entries
            if (entry.category, entry.contra) == ("due_recovery", contra)
            and since <= entry.created_at < until
        )
