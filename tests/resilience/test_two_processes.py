"""Two real processes, one wallet, and everything at once."""

import asyncio
from pathlib import Path

from tests.support.processes import processes


async def test_fifty_calls_at_once_on_two_processes_spend_a_hundred_rupees_and_no_more(
    tmp_path: Path,
) -> None:
    """Rs 100 and a hold of Rs 10 a call: 10 are accepted, 40 get 402, nothing is negative."""
    async with processes(tmp_path, web_concurrency=2, call_slice_minutes=1) as whole:
        assert len(whole.workers()) == 2
        person = await whole.service.signup()
        await whole.recharge(person, 100)
        answers = await asyncio.gather(*(whole.place(person) for _ in range(50)))
        statuses = [answer.status_code for answer in answers]
        assert (statuses.count(202), statuses.count(402)) == (10, 40)
        refused = [a.json() for a in answers if a.status_code == 402]
        assert {r["code"] for r in refused} == {"balance_held"}
        balance = await whole.service.balance(person)
        assert (balance["balance"], balance["held"], balance["available"]) == (100.0, 100.0, 0.0)
        # They end when all are answered, however long that takes.
        placed = [answer.json() for answer in answers if answer.status_code == 202]
        ends = await asyncio.gather(*(whole.call_back(call, seconds=60) for call in placed * 2))
        assert {end.status_code for end in ends} == {204}
        balance = await whole.service.balance(person)
        assert balance["held"] == 0.0
        assert balance["balance"] == 0.0
        listed = await whole.service.get("/api/transactions?type=debit", person)
        assert [t["amount"] for t in listed.json()["transactions"]] == [10.0] * 10
        audit = await whole.service.get("/api/admin/audit", await whole.service.admin())
        assert audit.json()["ok"], audit.json()["violations"]


async def test_one_payment_verified_fifty_times_at_once_on_two_processes_is_credited_once(
    tmp_path: Path,
) -> None:
    async with processes(tmp_path, web_concurrency=2) as whole:
        person = await whole.service.signup()
        order = await whole.service.post(
            "/api/payment/create-order", person, json={"amount": 250.5}
        )
        paid = await whole.client.post(
            f"/sandbox/pay/{order.json()['order_id']}", json={"card_number": "4111111111111111"}
        )
        proof = {name: paid.json()[name] for name in paid.json() if name.startswith("razorpay_")}
        answers = await asyncio.gather(
            *(whole.service.post("/api/payment/verify", person, json=proof) for _ in range(50))
        )
        assert {a.status_code for a in answers} == {200}
        bodies = [a.json() for a in answers]
        # One of them did it; but for that, the fifty answers are equal.
        assert [b.pop("already_processed") for b in bodies].count(False) <= 1
        assert all(body == bodies[0] for body in bodies)
        assert bodies[0]["amount"] == bodies[0]["balance"] == 250.5
        listed = (await whole.service.get("/api/transactions", person)).json()
        assert [t["id"] for t in listed["transactions"]] == [bodies[0]["transaction_id"]]
        audit = await whole.service.get("/api/admin/audit", await whole.service.admin())
        assert audit.json()["ok"], audit.json()["violations"]


async def test_the_metrics_of_two_processes_are_one_answer(tmp_path: Path) -> None:
    async with processes(tmp_path, web_concurrency=2) as whole:
        person = await whole.service.signup()
        await whole.recharge(person, 100)
        for _ in range(20):
            await asyncio.gather(*(whole.client.get("/health") for _ in range(10)))
        text = (await whole.client.get("/metrics")).text
        (line,) = (
            line
            for line in text.splitlines()
            if line.startswith("http_request_seconds_count") and 'route="/health"' in line
        )
        assert float(line.split()[-1]) == 200.0
        assert 'wallet_postings_total{command="Credit",result="applied"} 1.0' in text
