"""The group commit over a real replica set."""

import asyncio
import sys
import textwrap
from pathlib import Path
from typing import Any, cast

import pytest
from pymongo.client_session import ClientSession
from pymongo.write_concern import WriteConcern

import ledger
import transactions
import wallet
from core import clock, config, database, embedded_mongodb
from core.database import Insert, Update, db
from core.errors import BalanceHeld, InsufficientBalance, PaymentRequired, Unavailable
from ledger import Collect, Credit, Debit, Hold, Outcome, Release, Reserve, Settle
from reporting import audit
from tests.support.service import ROOT, committer
from transactions import EntryRecord
from wallet import WalletRecord


def recharge(paise: int, key: str = "recharge:pay_1", user_id: str = "usr_1") -> Credit:
    return Credit(
        user_id=user_id,
        key=key,
        category="recharge",
        amount_paise=paise,
        contra="gateway:razorpay",
        description="Recharge",
        payment_id=key.removeprefix("recharge:"),
    )


def spend(paise: int, key: str, user_id: str = "usr_1") -> Debit:
    return Debit(
        user_id=user_id,
        key=key,
        category="adjustment",
        amount_paise=paise,
        contra="adjustment",
        description="Adjustment",
    )


def hold(call_id: str, paise: int, user_id: str = "usr_1") -> Hold:
    return Hold(user_id=user_id, call_id=call_id, amount_paise=paise, amount_paise_min=paise)


async def together(*posts: Any) -> list[Any]:
    return await asyncio.gather(*posts, return_exceptions=True)


async def assert_books_are_right() -> audit.Report:
    """The invariants that need no calls and orders."""
    report = audit.Report()
    async for document in db.wallets.find():
        state = wallet.wallet_from(cast(WalletRecord, document))
        report.add(audit.balance_covers_holds(state))
        chain = audit.Chain(state.user_id)
        async for entry in db.transactions.find({"user_id": state.user_id}).sort("seq", 1):
            report.add(chain.link(transactions.entry_from(cast(EntryRecord, entry))))
        report.add(chain.ends_at(state))
    accounts: dict[str, int] = {}
    async for entry in db.transactions.find():
        paise = entry["amount_paise"] if entry["type"] == "credit" else -entry["amount_paise"]
        accounts[entry["contra"]] = accounts.get(entry["contra"], 0) + paise
    balances = [record["balance_paise"] async for record in db.wallets.find()]
    report.add(audit.books_balance(sum(balances), accounts))
    assert report.ok, report.violations
    return report


# --- the same rupee -----------------------------------------------------------------------------


async def test_fifty_parallel_calls_cannot_spend_the_same_rupee(book: config.Settings) -> None:
    await wallet.post(recharge(100_00))
    answers = await together(*(wallet.post(hold(f"call_{n}", 10_00)) for n in range(50)))
    accepted = [a for a in answers if isinstance(a, Outcome)]
    assert len(accepted) == 10
    assert all(isinstance(a, BalanceHeld) for a in answers if a not in accepted)
    balance = await wallet.get_balance("usr_1")
    assert (balance.balance_paise, balance.available_paise) == (100_00, 0)
    await assert_books_are_right()


async def test_one_payment_credited_fifty_times_at_once_is_one_credit(
    book: config.Settings,
) -> None:
    answers = await together(*(wallet.post(recharge(100_00)) for _ in range(50)))
    assert len({a.entry.id for a in answers}) == 1
    assert [a.replayed for a in answers].count(False) == 1
    assert (await wallet.get_balance("usr_1")).balance_paise == 100_00
    await assert_books_are_right()


async def test_a_refusal_in_a_batch_concerns_its_own_command_alone(book: config.Settings) -> None:
    await wallet.post(recharge(50_00))
    answers = await together(
        wallet.post(spend(40_00, "a")),
        wallet.post(spend(40_00, "b")),
        wallet.post(spend(10_00, "c")),
        wallet.post(spend(1, "d", user_id="usr_2")),
    )
    assert isinstance(answers[0], Outcome)
    assert isinstance(answers[1], InsufficientBalance)
    assert isinstance(answers[2], Outcome)
    assert isinstance(answers[3], InsufficientBalance)
    await assert_books_are_right()


async def test_a_replay_is_answered_when_the_money_is_gone(book: config.Settings) -> None:
    await wallet.post(recharge(10_00))
    first = await wallet.post(spend(10_00, "a"))
    again = await wallet.post(spend(10_00, "a"))
    assert again.replayed
    assert again.entry == first.entry


# --- what must be true together -----------------------------------------------------------------


async def test_companions_commit_with_their_command_and_once(book: config.Settings) -> None:
    await db.notes.insert_one({"_id": "call_1", "status": "in_progress"})
    await wallet.post(recharge(10_00))
    await wallet.post(hold("call_1", 10_00))

    def ended(outcome: Outcome) -> list[database.Write]:
        facts = {"status": "completed", "cost_paise": outcome.charged_paise}
        return [
            Update("notes", {"_id": "call_1"}, {"$set": facts}),
            Insert("events", {"_id": "evt_1", "at": clock.now()}),
        ]

    settle = Settle(user_id="usr_1", call_id="call_1", cost_paise=5_00, description="Call")
    answers = await together(*(wallet.post(settle, ended) for _ in range(20)))
    assert [a.replayed for a in answers].count(False) == 1
    call = await db.notes.find_one({"_id": "call_1"})
    assert call == {"_id": "call_1", "status": "completed", "cost_paise": 5_00}
    assert await db.events.count_documents({"_id": "evt_1"}) == 1


async def test_a_companion_that_cannot_be_written_takes_its_command_back_and_no_other(
    book: config.Settings,
) -> None:
    await wallet.post(recharge(100_00))
    await db.notes.insert_one({"_id": "call_taken"})
    answers = await together(
        *(wallet.post(spend(1_00, f"good_{n}")) for n in range(5)),
        wallet.post(spend(7_00, "bad"), lambda _: [Insert("notes", {"_id": "call_taken"})]),
        *(wallet.post(spend(1_00, f"fine_{n}")) for n in range(5)),
    )
    assert [isinstance(a, Outcome) for a in answers] == [True] * 5 + [False] + [True] * 5
    assert database.is_duplicate(answers[5])
    assert (await wallet.get_balance("usr_1")).balance_paise == 90_00
    assert not await db.transactions.find_one({"key": "bad"})
    await assert_books_are_right()


async def test_a_companion_that_matches_nothing_refuses_its_command_alone(
    book: config.Settings,
) -> None:
    await db.notes.insert_one({"_id": "note_1", "revision": 1})

    def decided_on(revision: int) -> wallet.Companions:
        where = {"_id": "note_1", "revision": revision}
        return lambda _: [Update("notes", where, {"$set": {"seen": True}})]

    answers = await together(
        wallet.post(recharge(10_00, "recharge:pay_1")),
        wallet.post(recharge(20_00, "recharge:pay_2"), decided_on(0)),
        wallet.post(recharge(40_00, "recharge:pay_3"), decided_on(1)),
        wallet.post(recharge(80_00, "recharge:pay_4", "usr_2"), decided_on(7)),
    )
    assert [type(answer) for answer in answers] == [
        Outcome,
        wallet.RecordChanged,
        Outcome,
        wallet.RecordChanged,
    ]
    assert (await wallet.get_balance("usr_1")).balance_paise == 50_00
    assert (await wallet.get_balance("usr_2")).balance_paise == 0
    again = await wallet.post(recharge(20_00, "recharge:pay_2"), decided_on(1))
    assert not again.replayed
    assert again.wallet.balance_paise == 70_00
    await assert_books_are_right()


async def test_a_replayed_collect_gives_back_what_was_reserved_again(
    book: config.Settings,
) -> None:
    collect = Collect(
        user_id="usr_1",
        key="dispute:disp_1",
        category="refund",
        amount_paise=20_00,
        contra="gateway:razorpay",
        description="Dispute",
        reserve_id="disp_1",
    )
    reserve = Reserve(user_id="usr_1", reserve_id="disp_1", amount_paise=20_00, amount_paise_min=0)
    await wallet.post(recharge(100_00))
    for _ in range(3):
        await wallet.post(reserve)
        await wallet.post(collect)
    balance = await wallet.get_balance("usr_1")
    assert (balance.balance_paise, balance.held_paise) == (80_00, 0)
    await assert_books_are_right()


async def test_a_balance_says_what_of_it_refunds_and_disputes_reserve(
    book: config.Settings,
) -> None:
    await wallet.post(recharge(100_00))
    for n, paise in enumerate((20_00, 30_00)):
        reserve_id = f"refund_{n}"
        await wallet.post(
            Reserve(user_id="usr_1", reserve_id=reserve_id, amount_paise=paise, amount_paise_min=0)
        )
    await wallet.post(hold("call_1", 40_00))
    balance = await wallet.get_balance("usr_1")
    assert (balance.held_paise, balance.reserved_paise) == (90_00, 50_00)
    assert isinstance(ledger.refusal(balance, 50_00), BalanceHeld)
    assert isinstance(ledger.refusal(balance, 50_01), InsufficientBalance)


async def test_a_refused_command_writes_no_companion(book: config.Settings) -> None:
    with pytest.raises(PaymentRequired):
        await wallet.post(hold("call_1", 10_00), lambda _: [Insert("notes", {"_id": "call_1"})])
    assert not await db.notes.find_one({"_id": "call_1"})
    assert not await db.wallets.find_one({"user_id": "usr_1"})


async def test_a_credit_tells_the_rest_of_the_house(book: config.Settings) -> None:
    await wallet.post(recharge(12_00))
    await wallet.post(recharge(12_00))
    await wallet.post(spend(3_00, "a"))
    names = [event["name"] async for event in db.events.find().sort("at", 1)]
    assert sorted(names) == ["BalanceRanLow", "WalletCredited"]


async def test_the_accounts_after_a_story_with_everything_in_it(book: config.Settings) -> None:
    def reserve(reserve_id: str, paise: int) -> Reserve:
        return Reserve(
            user_id="usr_1", reserve_id=reserve_id, amount_paise=paise, amount_paise_min=0
        )

    def collect(reserve_id: str, paise: int) -> Collect:
        return Collect(
            user_id="usr_1",
            key=f"refund:{reserve_id}",
            category="refund",
            amount_paise=paise,
            contra="gateway:razorpay",
            description="Refund",
            reserve_id=reserve_id,
        )

    def charge(call_id: str, paise: int) -> Settle:
        return Settle(user_id="usr_1", call_id=call_id, cost_paise=paise, description="Call")

    await wallet.post(recharge(100_00, "recharge:pay_1"))
    await wallet.post(reserve("rfnd_1", 30_00))
    await wallet.post(collect("rfnd_1", 30_00))  # 70 left
    await wallet.post(hold("call_1", 20_00))
    await wallet.post(charge("call_1", 15_00))  # 55 left
    await wallet.post(spend(5_00, "adjust:1"))  # 50 left
    await wallet.post(hold("call_2", 50_00))
    await wallet.post(reserve("disp_1:chargeback", 10_00))
    await wallet.post(charge("call_2", 57_00))  # 0 left, 7 due for the call
    await wallet.post(collect("disp_1:chargeback", 10_00))  # 10 due for the dispute
    await wallet.post(recharge(40_00, "recharge:pay_2"))  # 23 left
    assert await audit.trial_balance() == {
        "gateway:razorpay": 100_00 - 30_00 + 40_00 - 10_00,
        "revenue:calls": -(15_00 + 50_00 + 7_00),
        "adjustment": -5_00,
    }
    found = db.transactions.find({"user_id": "usr_1"}, sort=[("seq", 1)])
    story = [(e["category"], e["amount_paise"], e["contra"]) async for e in found]
    assert story == [
        ("recharge", 100_00, "gateway:razorpay"),
        ("refund", 30_00, "gateway:razorpay"),
        ("call_charge", 15_00, "revenue:calls"),
        ("adjustment", 5_00, "adjustment"),
        ("call_charge", 50_00, "revenue:calls"),
        ("recharge", 40_00, "gateway:razorpay"),
        ("due_recovery", 7_00, "revenue:calls"),
        ("due_recovery", 10_00, "gateway:razorpay"),
    ]
    await assert_books_are_right()


# --- several processes --------------------------------------------------------------------------


async def test_a_wallet_that_another_process_changed_is_read_again(book: config.Settings) -> None:
    await wallet.post(recharge(10_00, "recharge:pay_1"))
    await wallet.post(hold("call_1", 10_00))
    remembered = dict(wallet._memory._wallets)

    def forget_what_came_after() -> None:
        """As if another process had made the later commits."""
        wallet._memory.clear()
        wallet._memory.keep(remembered)

    await wallet.post(Release(user_id="usr_1", call_id="call_1"))
    forget_what_came_after()
    assert (await wallet.post(spend(4_00, "a"))).wallet.balance_paise == 6_00
    forget_what_came_after()
    assert (await wallet.post(spend(6_00, "b"))).wallet.balance_paise == 0
    await wallet.post(recharge(50_00, "recharge:pay_2"))
    forget_what_came_after()  # Rs 10, all of them held
    assert not (await wallet.post(hold("call_1", 20_00))).replayed
    await wallet.post(Release(user_id="usr_1", call_id="call_1"))
    forget_what_came_after()
    assert (await wallet.post(hold("call_2", 45_00))).held_paise == 45_00
    forget_what_came_after()
    with pytest.raises(BalanceHeld) as refusal:
        await wallet.post(hold("call_3", 10_00))
    assert refusal.value.available_paise == 5_00
    forget_what_came_after()
    assert (await wallet.post(recharge(50_00, "recharge:pay_2"))).replayed
    await assert_books_are_right()


async def test_what_is_remembered_of_wallets_is_bounded(
    book: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wallet, "_REMEMBERED_MAX", 3)
    for n in range(5):
        await wallet.post(recharge(1_00, user_id=f"usr_{n}"))
    await wallet.post(recharge(1_00, "recharge:pay_2", user_id="usr_2"))
    await wallet.post(recharge(1_00, "recharge:pay_2", user_id="usr_0"))
    assert list(wallet._memory._wallets) == ["usr_4", "usr_2", "usr_0"]
    await assert_books_are_right()


_POSTER = """
    import asyncio, sys
    import wallet
    from core import config, database
    from core.errors import PaymentRequired
    from tests.test_wallet import hold, recharge, spend

    async def main(uri, name, me):
        config.use(config.Settings(_env_file=None, jwt_secret="a secret for the tests"))
        await database.connect(uri, name)
        await wallet.start()
        async def one(n):
            try:
                # The same keys in both processes: each is done once, by whoever is first.
                return not (await wallet.post(spend(1_00, f"key_{n}"))).replayed
            except PaymentRequired:
                return False
        done = await asyncio.gather(*(one(n) for n in range(400)))
        print(sum(done))
        await wallet.stop()
        await database.close()

    asyncio.run(main(*sys.argv[1:]))
"""


async def test_two_processes_on_one_wallet_do_each_thing_once_and_never_overspend(
    book: config.Settings,
) -> None:
    await wallet.post(recharge(250_00))

    async def process(name: str) -> int:
        started = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            textwrap.dedent(_POSTER),
            book.mongodb_uri,
            book.mongodb_db,
            name,
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await started.communicate()
        assert started.returncode == 0
        return int(out)

    done = await asyncio.gather(process("a"), process("b"))
    assert sum(done) == 250
    assert (await wallet.get_balance("usr_1")).balance_paise == 0
    await assert_books_are_right()


# --- when MongoDB is away, and when too much waits ----------------------------------------------


async def test_a_wallet_that_a_killed_process_left_locked_holds_nobody_else_up(
    book: config.Settings,
) -> None:
    await wallet.post(recharge(100_00))
    await wallet.post(recharge(100_00, user_id="usr_2"))
    async with await database.client().start_session() as killed:
        killed.start_transaction()
        locked = {"$set": {"balance_paise": database.long(0)}}
        await db.wallets.update_one({"user_id": "usr_1"}, locked, session=killed)
        waits = asyncio.create_task(wallet.post(spend(10_00, "adjust:1")))
        beside = await wallet.post(spend(20_00, "adjust:1", user_id="usr_2"))
        later = await wallet.post(spend(30_00, "adjust:2", user_id="usr_2"))
        assert not waits.done()
        await killed.abort_transaction()
    assert (beside.wallet.balance_paise, later.wallet.balance_paise) == (80_00, 50_00)
    assert (await waits).wallet.balance_paise == 90_00
    await assert_books_are_right()


async def test_who_waits_too_long_is_503_and_the_next_ones_are_answered(
    book: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await wallet.post(recharge(100_00))
    monkeypatch.setattr(wallet, "DEADLINE_SECONDS", 0.3)
    begun, go_on = asyncio.Event(), asyncio.Event()
    commit = wallet._commit

    async def stuck(batch: Any, *, apart: bool) -> Any:
        begun.set()
        await go_on.wait()
        return await commit(batch, apart=apart)

    monkeypatch.setattr(wallet, "_commit", stuck)
    in_commit = asyncio.create_task(wallet.post(spend(1_00, "a")))
    await begun.wait()
    queued = asyncio.create_task(wallet.post(spend(2_00, "b")))
    for answer in await together(in_commit, queued):
        assert isinstance(answer, Unavailable)
    monkeypatch.setattr(wallet, "DEADLINE_SECONDS", 60.0)
    later = asyncio.create_task(wallet.post(spend(4_00, "c")))
    again = asyncio.create_task(wallet.post(spend(1_00, "a")))
    await asyncio.sleep(0)
    go_on.set()
    # What nobody waited for any more was committed where it was in a commit, and else dropped.
    assert (await again).replayed
    assert (await later).wallet.balance_paise == 95_00
    await assert_books_are_right()


@pytest.mark.parametrize("memory", ["remembered", "read"])
@pytest.mark.parametrize(
    "command",
    [recharge(100_00), hold("call_1", 10_00), spend(500_00, "a")],
    ids=["replay by key", "replay without key", "refusal"],
)
async def test_what_writes_nothing_is_answered_when_its_reads_are_committed_with_a_majority(
    book: config.Settings, monkeypatch: pytest.MonkeyPatch, command: Any, memory: str
) -> None:
    """What a transaction has read may be taken away by a failover until its commit has succeeded."""
    await wallet.post(recharge(100_00))
    await wallet.post(hold("call_1", 10_00))
    if memory == "read":
        wallet._memory.clear()
    commit = ClientSession.commit_transaction
    sent: list[tuple[bool, WriteConcern | None]] = []

    def fail(session: ClientSession) -> None:
        options = session._transaction.opts
        assert options is not None
        # The driver sends nothing for a transaction that has neither read nor written.
        sent.append((not session._transaction.starting(), options.write_concern))
        raise database.Away("no majority")

    monkeypatch.setattr(ClientSession, "commit_transaction", fail)
    with pytest.raises(Unavailable):
        await wallet.post(command)
    assert sent == [(True, WriteConcern(w="majority", j=True))]
    monkeypatch.setattr(ClientSession, "commit_transaction", commit)
    [answer] = await together(wallet.post(command))
    if isinstance(command, Debit):
        assert isinstance(answer, PaymentRequired)
    else:
        assert answer.replayed
    await assert_books_are_right()


async def test_stop_commits_what_is_queued_and_before_the_start_it_is_503(
    book: config.Settings,
) -> None:
    posted = [asyncio.create_task(wallet.post(recharge(1_00, f"recharge:{n}"))) for n in range(5)]
    await asyncio.sleep(0)
    await wallet.stop()
    assert [type(answer) for answer in await together(*posted)] == [Outcome] * 5
    assert not wallet.is_running()
    with pytest.raises(Unavailable):
        await wallet.post(recharge(1_00, "recharge:6"))
    await wallet.start()
    assert (await wallet.post(recharge(1_00, "recharge:6"))).wallet.balance_paise == 6_00
    await assert_books_are_right()


async def test_a_full_queue_is_503_and_nothing_is_lost(
    book: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wallet, "QUEUE_MAX", 5)
    answers = await together(*(wallet.post(recharge(1_00, f"recharge:{n}")) for n in range(20)))
    refused = [a for a in answers if isinstance(a, Unavailable)]
    assert refused
    assert all(a.headers["Retry-After"] for a in refused)
    accepted = len(answers) - len(refused)
    assert (await wallet.get_balance("usr_1")).balance_paise == accepted * 1_00


async def test_without_mongodb_it_is_503_and_it_recovers_without_a_restart(tmp_path: Path) -> None:
    running = embedded_mongodb.start(tmp_path)
    try:
        async with committer(running.uri):
            await wallet.post(recharge(10_00))
            running.stop()
            with pytest.raises(Unavailable):
                await wallet.post(spend(1_00, "while away"))
            running = embedded_mongodb.start(tmp_path)
            for _ in range(120):
                try:
                    outcome = await wallet.post(spend(1_00, "while away"))
                    break
                except Unavailable:
                    await asyncio.sleep(0.25)
            assert outcome.wallet.balance_paise == 9_00
            await assert_books_are_right()
    finally:
        running.stop()


# --- what the database itself refuses -----------------------------------------------------------


async def test_the_validators_refuse_a_double_where_paise_belong(book: config.Settings) -> None:
    await wallet.post(recharge(10_00))
    for change in ({"balance_paise": 9.5}, {"balance_paise": -1}, {"held_paise": "0"}):
        with pytest.raises(database.AnyError, match="validation"):
            await db.wallets.update_one({"user_id": "usr_1"}, {"$set": change})


async def test_the_audit_finds_a_changed_entry_and_a_changed_balance(
    book: config.Settings,
) -> None:
    kinds: tuple[ledger.Type, ...] = ("credit", "debit")
    for kind, seed in zip(kinds, "ab", strict=True):
        await wallet.adjust(
            "usr_1", kind=kind, amount_paise=10_00, reason="a test", by="usr_2", seed=seed
        )
    assert (await audit.audit()).ok
    changed = {"description": "something else"}
    await db.transactions.update_one({"key": "adjust:b"}, {"$set": changed})
    report = await audit.audit()
    assert [(v.invariant, v.seq) for v in report.violations] == [("chain_follows", 2)]
    more = {"balance_paise": database.long(99_00)}
    await db.wallets.update_one({"user_id": "usr_1"}, {"$set": more})
    found = {v.invariant for v in (await audit.audit()).violations}
    assert found == {"chain_follows", "balance_is_its_entries", "books_balance"}


async def test_the_audit_finds_a_hold_without_a_call_and_a_charge_without_one(
    book: config.Settings,
) -> None:
    await wallet.post(recharge(100_00))
    await wallet.post(hold("call_ghost", 10_00))
    await wallet.post(hold("call_gone", 10_00))
    await wallet.post(
        Settle(user_id="usr_1", call_id="call_gone", cost_paise=5_00, description="Call")
    )
    found = {v.invariant for v in (await audit.audit("usr_1")).violations}
    assert found == {
        "running_calls_and_holds_agree",
        "charges_belong_to_ended_calls",
        "entries_have_their_cause",  # the recharge of this test
    }
    await wallet.post(Release(user_id="usr_1", call_id="call_ghost"))


async def test_touching_a_wallet_twice_makes_one(book: config.Settings) -> None:
    await together(*(wallet.ensure_wallet("usr_9") for _ in range(10)))
    assert await db.wallets.count_documents({"user_id": "usr_9"}) == 1
    assert (await wallet.get_balance("usr_9")).balance_paise == 0
    assert (await wallet.get_balance("nobody")).balance_paise == 0


def test_the_entry_id_is_the_key_of_one_user_alone() -> None:
    assert ledger.entry_id("usr_1", "k") == ledger.entry_id("usr_1", "k")
    assert ledger.entry_id("usr_1", "k") != ledger.entry_id("usr_2", "k")
