"""The audit log over HTTP: every act of an admin, operator or key is in it before it is done, with before
and after; log-ins, refusals, the filters, the CSV."""

import asyncio
import csv
import io
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from api import middleware
from auth import audit_log
from core import database, logs
from core.database import db
from tests.support.service import Person, Service, new_key, running
from tests.support.service import test_settings as settings_of_tests


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for all tests of this file; each test has users of its own."""
    settings = settings_of_tests(
        mongodb_uri, signups_per_hour=100_000, login_attempts_per_minute=1_000
    )
    async with running(settings) as started:
        yield started


@pytest.fixture(autouse=True)
def no_refusals_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other tests were refused in the same minute is not counted together with this test's."""
    monkeypatch.setattr(audit_log, "_refusals", audit_log._Refusals())


async def entries(service: Service, reader: Person, **filters: Any) -> list[dict[str, Any]]:
    answer = await service.get("/api/admin/audit-log", reader, params=filters)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["entries"]
    return found


async def operator(service: Service) -> Person:
    person = await service.signup()
    await db.users.update_one({"_id": person.id}, {"$set": {"role": "operator"}})
    answer = await service.post(
        "/api/auth/login", json={"email": person.email, "password": "correct horse battery"}
    )
    return Person(person.id, person.email, answer.json()["access_token"])


# --- acts ---------------------------------------------------------------------------------------


async def test_a_freeze_is_asked_and_done_with_who_whose_before_and_after(service: Service) -> None:
    asha, admin = await service.signup(), await service.admin()
    frozen = await service.post(
        f"/api/admin/users/{asha.id}/freeze", admin, json={"reason": "Stolen card"}
    )
    assert frozen.status_code == 200
    done, asked = await entries(service, admin, target=asha.id)
    assert (asked["outcome"], asked["action"]) == (
        "asked",
        "POST /api/admin/users/{user_id}/freeze",
    )
    assert (done["outcome"], done["action"]) == ("done", "wallet.freeze")
    assert done["asked_id"] == asked["id"]
    assert (done["actor"], done["actor_email"], done["role"]) == (admin.id, admin.email, "admin")
    assert (done["address"], done["status"]) == ("127.0.0.1", 200)
    assert done["request_id"] == frozen.headers["x-request-id"]
    assert done["target"] == {"kind": "user", "id": asha.id}
    assert done["before"] == {"frozen": False}
    assert done["after"] == {"frozen": True, "reason": "Stolen card"}


async def test_an_adjustment_has_the_balance_before_and_after_it(service: Service) -> None:
    asha, admin = await service.signup(), await service.admin()
    await service.fund(asha, 50)
    for kind, amount in (("credit", 10.5), ("debit", 20)):
        answer = await service.post(
            f"/api/admin/users/{asha.id}/adjustments",
            admin,
            json={"type": kind, "amount": amount, "reason": "Correction"},
            headers=new_key(),
        )
        assert answer.status_code == 201
    debit, credit = await entries(service, admin, target=asha.id, action="adjustment.post")
    assert credit["before"] == {"balance_paise": 5_000}
    assert (credit["after"]["balance_paise"], credit["after"]["amount_paise"]) == (6_050, 1_050)
    assert (debit["before"], debit["after"]["balance_paise"]) == ({"balance_paise": 6_050}, 4_050)
    assert debit["after"]["transaction_id"] == answer.json()["id"]


async def test_rates_have_what_held_before(service: Service) -> None:
    asha, admin = await service.signup(), await service.admin()
    await service.post("/api/wallet/set-call-rate", admin, params={"rate": "12.5"})
    await service.post("/api/wallet/set-call-rate", admin, params={"rate": "10"})
    (now, _) = await entries(service, admin, action="rate.set")
    assert now["before"] == {"rate_paise_per_minute": 1_250}
    assert now["after"] == {"rate_paise_per_minute": 1_000}
    for rate in (7, None):
        await service.post(f"/api/admin/users/{asha.id}/call-rate", admin, json={"rate": rate})
    (taken, given) = await entries(service, admin, action="own_rate.set", target=asha.id)
    assert (given["before"], given["after"]) == (
        {"rate_paise_per_minute": None},
        {"rate_paise_per_minute": 700},
    )
    assert taken["before"] == {"rate_paise_per_minute": 700}


async def test_a_change_of_a_role_has_the_role_before(service: Service) -> None:
    asha, admin = await service.signup(), await service.admin()
    path = f"/api/admin/users/{asha.id}"
    changed = await service.request("PATCH", path, admin, json={"role": "operator"})
    assert changed.status_code == 200, changed.text
    (row,) = await entries(service, admin, action="user.change", target=asha.id)
    assert (row["before"]["role"], row["after"]["role"]) == ("user", "operator")
    assert (row["before"]["disabled"], row["after"]["disabled"]) == (False, False)


async def test_what_is_refused_is_in_it_too(service: Service) -> None:
    admin = await service.admin()
    refused = await service.post(
        f"/api/admin/users/{admin.id}/adjustments",
        admin,
        json={"type": "credit", "amount": 1_000, "reason": "For myself"},
        headers=new_key(),
    )
    assert (refused.status_code, refused.json()["code"]) == (403, "own_wallet")
    (row, _) = await entries(service, admin, target=admin.id)
    assert (row["outcome"], row["status"]) == ("refused", 403)


async def test_nothing_is_done_when_it_cannot_be_written_down_first(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed write of the row is not silent: the act is refused with 503."""
    asha, admin = await service.signup(), await service.admin()

    async def away(_: object) -> None:
        raise database.Away("no primary")

    with monkeypatch.context() as patch:
        patch.setattr(audit_log, "_write", away)
        refused = await service.post(
            f"/api/admin/users/{asha.id}/freeze", admin, json={"reason": "Stolen card"}
        )
        # A user's own requests do not depend on it.
        assert (await service.get("/api/wallet/balance", asha)).status_code == 200
    assert (refused.status_code, refused.json()["code"]) == (503, "service_unavailable")
    people = await service.get("/api/admin/users", admin, params={"search": asha.email})
    assert people.json()["users"][0]["frozen"] is False


async def test_an_end_that_cannot_be_written_is_an_error_in_the_log(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asha, admin = await service.signup(), await service.admin()
    write = audit_log._write

    async def only_asked(entry: audit_log.AuditEntry) -> None:
        if entry["outcome"] != "asked":
            raise database.Away("no primary")
        await write(entry)

    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        patch.setattr(audit_log, "_write", only_asked)
        frozen = await service.post(
            f"/api/admin/users/{asha.id}/freeze", admin, json={"reason": "Stolen card"}
        )
    assert frozen.status_code == 200, "it was done, and the answer says so"
    (asked,) = await entries(service, admin, target=asha.id)
    assert asked["outcome"] == "asked"
    assert f"audit row not written: wallet.freeze done {{'kind': 'user', 'id': '{asha.id}'" in (
        caplog.text
    )


async def test_a_user_leaves_no_rows_and_an_api_key_of_the_user_does(service: Service) -> None:
    asha, admin = await service.signup(), await service.admin()
    before = len(await entries(service, admin, actor=asha.id))
    await service.post("/api/payment/create-order", asha, json={"amount": 100})
    assert len(await entries(service, admin, actor=asha.id)) == before
    wanted = {"name": "Dialler", "scopes": ["calls:write"]}
    key = (await service.post("/api/api-keys", asha, json=wanted)).json()
    machine = {"Authorization": f"Bearer {key['key']}"}
    call = {"to": "+919876543210", "message": "Hello"}
    assert (await service.post("/api/call", headers=machine, json=call)).status_code == 402
    assert (await service.get("/api/wallet/balance", headers=machine)).status_code == 403
    lacking, refused, asked = await entries(service, admin, key_id=key["key_id"])
    assert (asked["outcome"], asked["action"], asked["actor"]) == (
        "asked",
        "POST /api/call",
        asha.id,
    )
    assert (refused["outcome"], refused["status"]) == ("refused", 402)
    assert (lacking["action"], lacking["code"]) == ("GET /api/wallet/balance", "forbidden")
    assert key["key"] not in str(await db.audit_log.find({}).to_list(None))


async def test_the_next_request_on_the_same_connection_has_nothing_of_the_one_before(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pipelined requests share a task's context in uvicorn: neither the user nor the act may be inherited."""
    asha, admin = await service.signup(), await service.admin()
    await service.post(f"/api/admin/users/{asha.id}/freeze", admin, json={"reason": "Stolen"})
    seen: list[logs.Actor] = []
    monkeypatch.setattr(middleware.log, "info", lambda *_: seen.append(logs.actor.get()))
    body = b'{"reason": "Found again"}'
    request = (
        f"POST /api/admin/users/{asha.id}/unfreeze HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {admin.token}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    reader, writer = await asyncio.open_connection("127.0.0.1", service.settings.port)
    writer.write(request + b"GET /api/admin/users HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answers = await reader.read()
    writer.close()
    assert answers.count(b"HTTP/1.1 ") == 2
    assert b"HTTP/1.1 401" in answers
    assert [actor.user_id for actor in seen] == [admin.id, None]
    rows = await entries(service, admin, target=asha.id)
    assert [row["outcome"] for row in rows] == ["done", "asked", "done", "asked"]


# --- log-ins and refusals -----------------------------------------------------------------------


async def test_log_ins_are_found_by_the_address_they_were_tried_with(service: Service) -> None:
    asha, admin = await service.signup(), await service.admin()
    for password in ("wrong password 1", "correct horse battery"):
        await service.post("/api/auth/login", json={"email": asha.email, "password": password})
    done, refused, signed_up = await entries(service, admin, account=asha.email.upper())
    assert (signed_up["action"], signed_up["outcome"]) == ("sign_up", "done")
    assert (refused["action"], refused["outcome"], refused["code"]) == (
        "log_in",
        "refused",
        "invalid_credentials",
    )
    assert (done["action"], done["outcome"], done["actor"]) == ("log_in", "done", asha.id)
    assert "wrong password" not in str(await db.audit_log.find({}).to_list(None))


async def test_who_has_no_business_with_the_admin_routes_is_named(service: Service) -> None:
    asha, admin = await service.signup(), await service.admin()
    assert (await service.get("/api/admin/users", asha)).status_code == 403
    assert (await service.get("/api/admin/metrics")).status_code == 401
    (forbidden,) = await entries(service, admin, actor=asha.id, outcome="refused")
    assert (forbidden["action"], forbidden["code"]) == ("GET /api/admin/users", "forbidden")
    (anonymous,) = await entries(service, admin, action="GET /api/admin/metrics")
    assert (anonymous["code"], anonymous["role"]) == ("unauthenticated", "nobody")


# --- who reads it, and how ----------------------------------------------------------------------


async def test_an_operator_reads_and_downloads_it_and_that_is_in_it_as_well(
    service: Service,
) -> None:
    asha, admin, reader = await service.signup(), await service.admin(), await operator(service)
    reason = '=HYPERLINK("http://evil.example.com")'
    await service.post(f"/api/admin/users/{asha.id}/freeze", admin, json={"reason": reason})
    answer = await service.get(
        "/api/admin/audit-log/download",
        reader,
        params={"target": asha.id},
        headers={"X-Request-Id": "download-1"},
    )
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert 'filename="audit-log-' in answer.headers["content-disposition"]
    done, asked = list(csv.DictReader(io.StringIO(answer.text)))
    assert (done["action"], asked["outcome"]) == ("wallet.freeze", "asked")
    assert (done["actor_email"], done["target_id"]) == (admin.email, asha.id)
    assert "HYPERLINK" in done["after"]
    taken, began = await entries(
        service, admin, actor=reader.id, target="/api/admin/audit-log/download"
    )
    assert (began["outcome"], taken["outcome"]) == ("asked", "done")
    assert (taken["query"], taken["request_id"]) == (f"target={asha.id}", "download-1")


async def test_no_cell_of_the_csv_is_a_formula(service: Service) -> None:
    """CSV injection: an action, a path, a request id can hold what a stranger has sent."""
    admin = await service.admin()
    path = "/api/admin/users/%3DHYPERLINK(1)/freeze"
    assert (await service.post(path, admin, json={"reason": "Why not"})).status_code == 404
    answer = await service.get(
        "/api/admin/audit-log/download", admin, params={"target": "=HYPERLINK(1)"}
    )
    found = list(csv.DictReader(io.StringIO(answer.text)))
    assert {row["target_id"] for row in found} == {"'=HYPERLINK(1)"}
    assert len(found) == 2


async def test_a_user_may_not_read_it_and_a_foreign_cursor_is_refused(service: Service) -> None:
    asha, admin = await service.signup(), await service.admin()
    for path in ("/api/admin/audit-log", "/api/admin/audit-log/download"):
        assert (await service.get(path, asha)).status_code == 403
        assert (await service.get(path)).status_code == 401
    wrong = await service.get("/api/admin/audit-log", admin, params={"cursor": "xyz"})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "invalid_cursor")
