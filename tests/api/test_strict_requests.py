"""What is sent means one thing and is refused when it means nothing: numbers, moments, names."""

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

import main
from api import fields, strict_requests
from api.fields import RequestModel
from core import clock
from core.errors import InvalidRequest
from tests.support.service import Person, Service, new_key, running, test_settings

NUMBER = "+919876543210"


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    async with running(test_settings(mongodb_uri)) as started:
        yield started


@pytest.fixture(scope="module")
async def admin(service: Service) -> Person:
    found = await service.admin()
    await service.fund(found, 1_000)
    return found


def refusal(answer: httpx.Response, status: int = 422) -> tuple[str, str]:
    """The first field that is refused, and why."""
    assert answer.status_code == status, f"{answer.status_code} {answer.text[:300]}"
    assert answer.json()["code"] == "validation_error"
    first = answer.json()["errors"][0]
    return first["field"], first["message"]


# --- moments near the ends of the calendar --------------------------------------------------------

PERIODS = (
    "/api/admin/metrics",
    "/api/transactions",
    "/api/transactions/download",
)
FAR = (
    *("9999-12-31T18:30:00Z", "9999-12-31T18:29:59.999Z", "9999-12-31", "9999-12-30"),
    *("9999-12-31T23:59:59.999999-23:59", "9999-12-31T23:59:59.999Z", "9999-01-01"),
    *(
        "0001-01-01",
        "0001-01-01T00:00:00Z",
        "0001-01-01T00:00:00+23:59",
        "0001-01-02",
        "1969-12-31",
    ),
)


@pytest.mark.parametrize("path", PERIODS)
async def test_a_moment_near_the_ends_of_the_calendar_is_refused(
    service: Service, admin: Person, path: str
) -> None:
    """`to=9999-12-31T18:30:00Z` answered 500."""
    for name in ("from", "to"):
        for text in FAR:
            answer = await service.get(path, admin, params={name: text})
            said = refusal(answer)
            assert said == (name, "must be between 1970-01-01 and 9998-12-31"), text


async def test_the_first_and_the_last_day_are_read(service: Service, admin: Person) -> None:
    for query in ("from=1970-01-01", "to=9998-12-31", "from=9998-12-31&to=9998-12-31"):
        for path in ("/api/transactions", "/api/transactions/download"):
            assert (await service.get(f"{path}?{query}", admin)).status_code == 200, query
    for query in ("from=9998-12-31&to=9998-12-31", "to=1970-01-01"):
        answer = await service.get(f"/api/admin/metrics?{query}", admin)
        assert answer.status_code in (200, 422), query
    answer = await service.get("/api/admin/metrics?from=9998-12-31&to=9998-12-31", admin)
    assert [each["date"] for each in answer.json()["series"]] == ["9998-12-31"]


async def test_a_rate_card_is_asked_for_at_no_such_moment(service: Service, admin: Person) -> None:
    answer = await service.get(
        "/api/admin/rate-cards", admin, params={"at": "9999-12-31T23:59:59.999Z"}
    )
    assert refusal(answer)[0] == "at"


@pytest.mark.parametrize("text", ["2026-02-30", "2026-11-01T25:00:00Z", "2026-1-1", "now", ""])
def test_what_is_no_moment_is_said_to_be_none(text: str) -> None:
    with pytest.raises(InvalidRequest, match="must be a day"):
        fields.span_of("to", text)


# --- amounts and rates: one rule ------------------------------------------------------------------

TAIL = "0" * 27 + "1"
NO_AMOUNTS = {
    "1e1000000": "is larger than any amount this service handles",
    "-1e1000000": "is larger than any amount this service handles",
    "1e400": "is larger than any amount this service handles",
    "10000000000000.01": "is larger than any amount this service handles",
    "1e-1000000": "must have at most two decimals",
    f"15.{TAIL}": "must have at most two decimals",
    f"15.00{TAIL}": "must have at most two decimals",
    "15.001": "must have at most two decimals",
    "0.1" + "0" * 60: "must be a number of at most 40 characters",
}


@pytest.mark.parametrize("text", NO_AMOUNTS)
async def test_a_rate_in_the_query_and_in_json_is_read_by_the_same_rule(
    service: Service, admin: Person, text: str
) -> None:
    """`rate=1e1000000` answered 500, and a tail of 28 digits was accepted."""
    path, kind = "/api/wallet/set-call-rate", {"content-type": "application/json"}
    before = (await service.get("/api/wallet/call-rate", admin)).json()
    body = await service.post(path, admin, content=f'{{"rate": {text}}}', headers=kind)
    assert refusal(body) == ("rate", NO_AMOUNTS[text])
    query = await service.post(path, admin, params={"rate": text})
    assert refusal(query)[0] == "rate"
    if len(text) <= 40:
        assert refusal(query) == refusal(body)
    assert (await service.get("/api/wallet/call-rate", admin)).json() == before


async def test_every_amount_in_a_body_has_the_rule(service: Service, admin: Person) -> None:
    asha = await service.signup()
    for path, rest in (
        ("/api/payment/create-order", {}),
        ("/api/payment/refunds", {"payment_id": "pay_1", "reason": "asked"}),
        (f"/api/admin/users/{asha.id}/adjustments", {"type": "credit", "reason": "asked"}),
    ):
        for text, message in NO_AMOUNTS.items():
            sent = json.dumps({"amount": "@", **rest}).replace('"@"', text)
            headers = {"content-type": "application/json", **new_key()}
            answer = await service.post(path, admin, content=sent, headers=headers)
            assert refusal(answer) == ("amount", message), (path, text)
    assert (await service.balance(asha))["balance"] == 0


async def test_the_rate_as_it_was_always_sent_is_taken(service: Service, admin: Person) -> None:
    path = "/api/wallet/set-call-rate"
    for sent in ("15", "15.0", "15.00", "1.5e1"):
        answer = await service.post(f"{path}?rate={sent}", admin)
        assert (answer.status_code, answer.json()["rate_per_minute"]) == (200, 15.0), sent
        kind = {"content-type": "application/json"}
        answer = await service.post(path, admin, content=f'{{"rate": {sent}}}', headers=kind)
        assert (answer.status_code, answer.json()["rate_per_minute"]) == (200, 15.0), sent


# --- fields and parameters that are not known -----------------------------------------------------


async def test_a_misspelt_start_dials_nobody(service: Service, admin: Person) -> None:
    """`{"strat": false}` dialled at once."""
    body = {"name": "Diwali", "numbers": [NUMBER], "message": "Hello", "strat": False}
    answer = await service.post("/api/campaigns", admin, json=body)
    assert refusal(answer) == ("strat", "Unknown field; did you mean `start`?")
    assert answer.json()["detail"] == "strat: Unknown field; did you mean `start`?"
    form = {name: value for name, value in body.items() if name != "numbers"} | {"strat": "false"}
    files = {"file": ("a.csv", f"phone\n{NUMBER}\n", "text/csv")}
    answer = await service.post("/api/campaigns/upload", admin, data=form, files=files)
    assert refusal(answer) == ("strat", "Unknown field; did you mean `start`?")
    assert (await service.get("/api/campaigns", admin)).json()["campaigns"] == []


@pytest.mark.parametrize(
    ("path", "body", "field", "meant"),
    [
        ("/api/payment/create-order", {"amout": 100}, "amout", "amount"),
        ("/api/payment/create-order", {"amount": 100, "Amount": 1}, "Amount", "amount"),
        ("/api/calls/quote", {"durationSeconds": 9}, "durationSeconds", "duration_seconds"),
        ("/api/call", {"to": NUMBER, "simulate": {"outcom": 1}}, "simulate.outcom", "outcome"),
        ("/api/call", {"to": NUMBER, "xyzzy": 1}, "xyzzy", None),
        ("/api/auth/login", {"email": "a@b.c", "password": "x", "xyz": "1"}, "xyz", None),
        ("/api/admin/reconciliation/run", {"older_then": 0}, "older_then", "older_than_minutes"),
    ],
)
async def test_an_unknown_field_is_refused_with_what_was_meant(
    service: Service,
    admin: Person,
    path: str,
    body: dict[str, Any],
    field: str,
    meant: str | None,
) -> None:
    answer = await service.post(path, admin, json=body)
    end = f"; did you mean `{meant}`?" if meant else ""
    assert refusal(answer) == (field, f"Unknown field{end}")


@pytest.mark.parametrize(
    ("path", "name", "meant"),
    [
        ("/api/transactions", "form", "from"),
        ("/api/transactions/download", "campain_id", "campaign_id"),
        ("/api/calls", "Status", "status"),
        ("/api/admin/users", "serach", "search"),
        ("/api/admin/audit", "userId", "user_id"),
        ("/api/campaigns", "limits", "limit"),
    ],
)
async def test_a_misspelt_filter_does_not_show_everything(
    service: Service, admin: Person, path: str, name: str, meant: str
) -> None:
    answer = await service.get(path, admin, params={name: "2026-01-01"})
    assert refusal(answer) == (name, f"Unknown parameter; did you mean `{meant}`?")


async def test_a_parameter_that_is_given_twice_is_refused(service: Service, admin: Person) -> None:
    answer = await service.get("/api/transactions?type=credit&type=debit", admin)
    assert refusal(answer) == ("type", "is given twice")


async def test_fields_for_a_route_that_reads_none_are_refused(
    service: Service, admin: Person
) -> None:
    body = {"numbers": [NUMBER], "name": "Diwali", "start": False}
    campaign = (await service.post("/api/campaigns", admin, json=body)).json()
    path = f"/api/campaigns/{campaign['campaign_id']}/cancel"
    answer = await service.post(path, admin, json={"dry_run": True})
    assert refusal(answer) == ("dry_run", "Unknown field")
    assert (await service.post(path, admin, json={})).status_code == 200


async def test_what_others_send_is_read_as_they_send_it(service: Service, admin: Person) -> None:
    """OAuth2 clients, networks, Razorpay and monitoring add parameters of their own."""
    form = {"username": admin.email, "password": "an admin of the tests", "audience": "x"}
    assert (await service.post("/api/auth/token", data=form)).status_code == 200
    for path in ("/health?probe=1", "/ready?x=1", "/problems/not_found?x=1"):
        assert (await service.get(path)).status_code == 200, path
    hook = await service.post("/api/payment/webhook?utm=1", content=b"{}")
    assert (hook.status_code, hook.json()["code"]) == (400, "invalid_signature")
    report = await service.post(
        "/api/telephony/twilio/call_1/status?token=x&extra=1", data={"a": "b"}
    )
    assert report.status_code in (403, 404)


async def test_names_of_any_kind_are_answered(service: Service, admin: Person) -> None:
    """A name that no UTF-8 has, three thousand names, and one that is very long."""
    kind = {"content-type": "application/json"}
    no_name = r'{"\ud800": 1}'
    answer = await service.post("/api/payment/create-order", admin, content=no_name, headers=kind)
    assert answer.status_code == 422
    for sent in (
        r'{"amount": 1, "\u0000": 1}',
        json.dumps({f"f{n}": n for n in range(3_000)}),
        json.dumps({"x" * 60_000: 1}),
    ):
        answer = await service.post("/api/payment/create-order", admin, content=sent, headers=kind)
        assert refusal(answer)[1].startswith("Unknown field"), sent[:30]
        assert len(answer.content) < 5_000
    assert refusal(await service.get("/api/calls?%ED%A0%80=1", admin))[1].startswith("Unknown")


def test_every_body_is_strict() -> None:
    """A form of others (OAuth2) is the only one that is not; Razorpay's webhook is no model."""
    described = main.create_app().openapi()
    bodies = {
        reference.rpartition("/")[2]
        for methods in described["paths"].values()
        for operation in methods.values()
        for content in operation.get("requestBody", {}).get("content", {}).values()
        for reference in re.findall(r"#/components/schemas/\w+", json.dumps(content))
    }
    assert len(bodies) > 15
    schemas = described["components"]["schemas"]
    lenient = {name for name in bodies if schemas[name].get("additionalProperties") is not False}
    assert lenient == {"Body_token_api_auth_token_post"}


def test_the_name_that_was_meant_is_found_whatever_its_spelling() -> None:
    assert strict_requests.unknown("field", "maxConcurrent", ["max_concurrent", "name"]) == (
        "Unknown field; did you mean `max_concurrent`?"
    )
    assert strict_requests.unknown("field", "zzz", ["max_concurrent"]) == "Unknown field"
    assert RequestModel.model_config["extra"] == "forbid"


# --- JSON that means two things -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        ('{"amount": 10, "amount": 9999}', "an object names `amount` twice"),
        (r'{"amount": 10, "\u0061mount": 9999}', "an object names `amount` twice"),
        ('{"x": {"a": 1, "a": 2}, "amount": 10}', "an object names `a` twice"),
        (r'{"\ud800": 1, "\ud800": 2}', "an object names `?` twice"),
        ('{"amount": ' + "9" * 5_000 + "}", "a number has too many digits"),
        ('{"a":' * 10_000, "it is nested too deeply"),
    ],
)
async def test_json_that_means_two_things_is_refused(
    service: Service, admin: Person, sent: str, why: str
) -> None:
    kind = {"content-type": "application/json"}
    answer = await service.post("/api/payment/create-order", admin, content=sent, headers=kind)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_body")
    assert answer.json()["detail"] == f"The body cannot be read as JSON: {why}."


async def test_json_that_is_no_utf8_is_said_to_be_none(service: Service, admin: Person) -> None:
    kind = {"content-type": "application/json"}
    sent = b'{"amount": "\xff"}'
    answer = await service.post("/api/payment/create-order", admin, content=sent, headers=kind)
    assert answer.json()["detail"] == "The body cannot be read as JSON: it is not UTF-8."


def test_the_last_day_is_before_what_the_calendar_can_add_to() -> None:
    assert clock.ist_date(clock.ist_day_end(fields.LAST_DAY)).year == 9999
