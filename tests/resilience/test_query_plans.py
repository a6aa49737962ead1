"""No query of the flow reads a whole collection: MongoDB's own profiler is asked."""

import asyncio

import payments
from calls import monitor
from campaigns import records as campaign_records
from core import database
from tests.support import payments as paying
from tests.support.campaigns import create, is_over, until
from tests.support.service import Service

# What is read as a whole on purpose: small, or an operator's sum over all wallets.
WHOLE = {"meta", "rates", "wallet_settings", "users", "wallets", "simulator_processes"}


async def test_no_query_of_the_flow_scans_a_collection(service: Service) -> None:
    person, admin = await service.signup(), await service.admin()
    profiled = database.client()[service.settings.mongodb_db]
    await profiled.command("profile", 2)
    order_id = await paying.open_order(service, person, 500)
    await paying.verify(service, person, await paying.pay(service, order_id))
    placed = await service.post("/api/call", person, json={"to": "+919876543210"})
    assert placed.status_code == 202
    created = await create(service, person, 5)
    await until(service, person, created, is_over)
    for path in (
        *("/api/transactions", "/api/transactions?type=debit", "/api/transactions/download"),
        *("/api/calls", "/api/calls?status=completed", "/api/campaigns", "/api/payment/orders"),
        f"/api/payment/orders/{order_id}",
        f"/api/calls/{placed.json()['call_id']}",
        f"/api/transactions?call_id={placed.json()['call_id']}",
        f"/api/campaigns/{created['campaign_id']}/contacts?state=answered",
        f"/api/campaigns/{created['campaign_id']}/results",
    ):
        assert (await service.get(path, person)).status_code == 200
    for path in ("/api/admin/metrics", "/api/transactions", "/api/calls"):
        assert (await service.get(path, admin)).status_code == 200
    await payments.claim_due_orders(10)
    await campaign_records.list_due_campaigns(10)
    await payments.poll_pending()
    await monitor.sweep_overdue_calls()
    await monitor.extend_due_calls()
    await asyncio.sleep(1.2)  # the worker's own rounds
    await profiled.command("profile", 0)
    scans = {
        (found["ns"].partition(".")[2], str(found.get("command", ""))[:300])
        async for found in profiled["system.profile"].find({"planSummary": "COLLSCAN"})
    }
    scans = {scan for scan in scans if scan[0] not in WHOLE and "system.profile" not in scan[0]}
    assert not scans, "\n".join(map(str, scans))
    assert await profiled["system.profile"].count_documents({"planSummary": {"$regex": "^IXSCAN"}})
