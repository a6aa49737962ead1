"""Whatever is sent, whoever sends it: an error is a problem document, and never a 500."""

import base64
import gc
import itertools
import json
import weakref
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, TypeVar

import httpx
import pytest
from fastapi import Request
from fastapi.exceptions import RequestValidationError

import main
from api import problems
from core import clock, errors
from tests.support import payments as paying
from tests.support.service import PASSWORD, Person, Service, running, test_settings

NUMBER = "+919876543210"
# It comes onto lists of whom not to call, so nobody calls it.
LISTED = "+919876543211"
A = TypeVar("A")
B = TypeVar("B")

# A body that each route takes; what is wrong is put into it.
BODIES: dict[str, dict[str, Any]] = {
    "/api/auth/signup": {
        "email": "somebody@example.org",
        "password": "a horse and a battery",
        "name": "Somebody",
        "phone": NUMBER,
    },
    "/api/auth/login": {"email": "nobody@example.org", "password": "a horse and a battery"},
    "/api/auth/change-password": {"current_password": "not this", "new_password": PASSWORD},
    "/api/auth/totp/confirm": {"code": "123456"},
    "/api/admin/users": {
        "email": "made@example.org",
        "name": "Made",
        "phone": NUMBER,
        "role": "operator",
        "password": "a horse and a battery",
    },
    "/api/wallet/set-call-rate": {"rate": 10.0},
    "/api/admin/users/{user_id}/call-rate": {"rate": 5.0},
    "/api/admin/rate-cards/activate": {"version": None, "effective_from": None},
    "/api/payment/create-order": {"amount": 100},
    "/api/payment/webhook": {"event": "payment.captured", "payload": {}},
    "/api/payment/webhook/{mode}": {"event": "payment.captured", "payload": {}},
    "/api/payment/refunds": {
        "payment_id": "pay_ABCDEFGHIJKLMN",
        "amount": 10.0,
        "reason": "asked by mail",
    },
    "/api/payment/refunds/{refund_id}/resolve": {"outcome": "failed", "reason": "never made"},
    "/api/admin/disputes/{dispute_id}/resolve": {
        "action": "unpair",
        "refund_id": "rfnd_ABCDEFGHIJKLMN",
        "reason": "it was for another order",
    },
    "/api/admin/users/{user_id}/adjustments": {
        "type": "debit",
        "amount": 10.0,
        "reason": "a mistake",
    },
    "/api/admin/audit/repairs": {
        "action": "release",
        "user_id": "usr_nobody",
        "subject": "call_never",
        "reason": "a mistake",
    },
    "/api/admin/users/{user_id}/freeze": {"reason": "looks like fraud"},
    "/api/admin/users/{user_id}/unfreeze": {"reason": "all is well"},
    "/api/admin/payments/{payment_id}/resolve": {"note": "refunded"},
    "/api/admin/calls/{call_id}/resolve": {"note": "asked them", "duration_seconds": 30},
    "/api/admin/reconciliation/run": {"older_than_minutes": 15},
    "/api/payment/verify": {
        "razorpay_order_id": "order_ABCDEFGHIJKLMN",
        "razorpay_payment_id": "pay_ABCDEFGHIJKLMN",
        "razorpay_signature": "0" * 64,
    },
    "/api/call": {
        "to": NUMBER,
        "message": "Hello",
        "max_duration_seconds": 60,
        "simulate": {"outcome": "busy", "duration_seconds": 0, "wall_seconds": 0},
    },
    "/api/calls/quote": {"to": NUMBER, "duration_seconds": 30},
    "/api/api-keys/{key_id}/rotate": {"overlap_seconds": 60},
    "/api/api-keys": {"name": "CRM", "scopes": ["calls:read"], "daily_spend_cap": 10.5},
    "/api/do-not-call": {
        "number": LISTED,
        "numbers": [LISTED],
        "list": "own",
        "source": "manual",
        "note": "asked by mail",
    },
    "/api/do-not-call/erase": {"number": LISTED, "list": "own"},
    "/api/complaints": {
        "number": LISTED,
        "source": "network",
        "received_at": "2026-11-01",
        "text": "At night",
        "user_id": None,
    },
    "/api/campaigns": {
        "name": "Diwali",
        "numbers": [NUMBER],
        "message": "Hello",
        "max_concurrent": 1,
        "calls_per_minute": 60,
        "start": False,
        "start_at": clock.iso(clock.after(30 * 86_400)),
        "purpose": "service",
        "budget": 100.5,
        "retry": {"max_attempts": 2},
        "language": "en-IN",
    },
    "/api/campaigns/{campaign_id}/validate": {"duration_seconds": 30},
    "/api/campaigns/{campaign_id}/copy": {"name": "Holi", "numbers": [NUMBER]},
}
FORMS: dict[str, dict[str, str]] = {
    "/api/auth/token": {"username": "nobody@example.org", "password": "a horse and a battery"},
    "/api/campaigns/upload": {"name": "Diwali", "start": "false"},
    "/api/do-not-call/upload": {"list": "own", "note": "from the register"},
    "/api/campaigns/preview": {},
    "/api/admin/rate-cards": {"note": "January"},
    "/api/admin/rate-cards/preview": {},
}

# Read byte by byte, whatever they are said to be: the signature is over the bytes.
RAW = {"/api/payment/webhook", "/api/payment/webhook/{mode}"}

# A body may be left out, and then everything has its default.
OPTIONAL = {
    "/api/admin/reconciliation/run",
    "/api/campaigns/{campaign_id}/validate",
    "/api/campaigns/{campaign_id}/copy",
}

# Lists of people come as files of up to 50 MiB.
TAKE_MORE = {"/api/campaigns/upload", "/api/campaigns/preview", "/api/do-not-call/upload"}

# What no field takes, whatever it is for, or takes without harm. As JSON text, because some of it
# cannot be written otherwise.
NASTY = [
    *("null", "true", "[]", "{}", '""', '" "', "-1", "0", "0.001", "1e308", "-1e308", "1e400"),
    *("NaN", "Infinity", "-Infinity", "9" * 30, "9" * 5_000, "1." + "9" * 400),
    *('{"$gt": ""}', '{"$ne": null}', '{"$where": "sleep(1000)"}', '[{"$gt": ""}]', '"$where"'),
    *(
        r'"\u0000"',
        r'"a\u0000b"',
        r'"\ud800"',
        r'"\u202e"',
        r'"\ud83d\ude00"',
        '"' + "x" * 70_000 + '"',
    ),
    *('"\'; drop table wallets; --"', '"../../etc/passwd"', '"100"', '"2027-02-30T00:00:00Z"'),
]
# Bodies of what is no POST.
OTHER_BODIES: dict[str, dict[str, Any]] = {
    "PATCH /api/campaigns/{campaign_id}": {
        "name": "Holi",
        "message": "Hello",
        "window": {"days": ["mon"], "start": "10:00", "end": "18:00"},
        "retry": {"max_attempts": 2, "delays_minutes": {"busy": [15]}},
        "budget": 100.5,
        "caller_ids": ["+911204567890"],
        "calls_per_minute": 60,
        "end_at": clock.iso(clock.after(30 * 86_400)),
    },
    "PATCH /api/admin/users/{user_id}": {
        "role": "operator",
        "disabled": False,
        "limits": {"calls_per_day": 1, "daily_spend_cap": 10.5},
    },
    "PUT /api/admin/calling-rules": {
        "version": 1_000,  # which there is not
        "hours": {"promotional": {"start": "03:00", "end": "20:00"}},  # below the floor
        "holidays": [{"date": "2027-01-26", "name": "Republic Day", "purposes": ["collection"]}],
        "note": "a test",
    },
    "DELETE /api/auth/totp": {"password": "a horse and a battery", "code": "123456"},
}

NOT_BODIES = [
    *(b"", b"{", b"[]", b"null", b'"text"', b"12", b"\xff\xfe\x00", b"\x00" * 100, b"a=b&c=d"),
    *(b"[" * 100_000, b'{"a":' * 50_000, b"\xef\xbb\xbf{}", b"9" * 5_000),
]
NASTY_IDS = [
    *("x", "0", "call_unknown", "order_ABCDEFGHIJKLMN", "pay_ABCDEFGHIJKLMN", "$where", "[$ne]"),
    *("%00", "a%00b", "%2e%2e%2fetc", "..%2f..%2f", "%ff%fe", "%F0%9F%98%80", "%ED%A0%80", "'--"),
    *("x" * 5_000, "order_" + "A" * 5_000, "pay_../orders", "%7B%22%24gt%22%3A%22%22%7D"),
]


def forged(*parts: Any) -> str:
    """A cursor of our form that we did not make."""
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


NASTY_CURSORS = [
    *("x", "====", "%00", "é", "null", "x" * 5_000, forged(), forged(None), forged(1), forged("a")),
    *(forged({"$gt": ""}), forged("txn", "a", "b", "c"), forged(2**64), forged({"t": 1}, "a")),
    *(forged({"t": "2026-11-23"}, "call_1"), forged("usr", {"$gt": ""}), forged({"t": "x"}, "a")),
    forged({"t": "2026-11-23T00:00:00"}, "call_1"),
    forged("txn", {"t": "2026-11-23T00:00:00Z"}, "usr", 2**70),
    forged("txn", {"t": "9999-12-31T23:59:59-23:59"}, "usr", 1),
    base64.urlsafe_b64encode(b"[" * 3_000).decode(),
]


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for all of them, which does not limit how often they may try."""
    settings = test_settings(mongodb_uri, login_attempts_per_minute=100_000)
    async with running(settings) as started:
        yield started


@pytest.fixture(scope="module")
async def admin(service: Service) -> Person:
    """Nobody is allowed more, so for an admin it is the input that is refused."""
    found = await service.admin()
    await service.fund(found, 1_000)
    return found


def spread(first: Sequence[A], second: Sequence[B]) -> Iterator[tuple[A, B]]:
    """Every other pair of the two, as the black fields of a chessboard: each of `first` and each of
    `second` comes up in many pairs, in half the time of all. Any pair may come up in tests/contract."""
    for (row, left), (column, right) in itertools.product(enumerate(first), enumerate(second)):
        if (row + column) % 2 == 0:
            yield left, right


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path and description of every route."""
    for path, methods in main.create_app().openapi()["paths"].items():
        for method, described in methods.items():
            yield method.upper(), path, described


def complaint(answer: httpx.Response) -> str | None:
    """What is wrong with an error answer; None when it is as it should be, or none at all."""
    if answer.status_code < 400:
        return None
    said = f"{answer.status_code} {answer.text[:300]}"
    if answer.headers.get("content-type") != "application/problem+json":
        return f"no problem: {answer.headers.get('content-type')}: {said}"
    body = answer.json()
    if answer.status_code >= 500:
        return f"our fault: {said}"
    if missing := {"type", "title", "status", "detail", "code"} - set(body):
        return f"without {missing}: {said}"
    if body["status"] != answer.status_code or body["type"] != f"/problems/{body['code']}":
        return f"contradicts itself: {said}"
    if answer.status_code == 401 and "www-authenticate" not in answer.headers:
        return f"401 without WWW-Authenticate: {said}"
    if body["code"] == "validation_error" and not all(
        set(e) == {"field", "message"} for e in body["errors"]
    ):
        return f"does not name the fields: {said}"
    return None


class Complaints(list[str]):
    """What went wrong, with what was sent."""

    def look_at(self, answer: httpx.Response, *, sent: object = "") -> None:
        if (found := complaint(answer)) is not None:
            request = answer.request
            self.append(f"{request.method} {request.url.path[:80]} {str(sent)[:80]}: {found}")


def check(found: list[str]) -> None:
    assert not found, f"{len(found)} answers:\n" + "\n".join(found[:30])


def test_the_check_notices_what_is_no_problem() -> None:
    request = httpx.Request("GET", "http://x/")
    kind = {"content-type": "application/problem+json"}
    body = {"type": "/problems/a", "title": "A", "status": 404, "detail": "a", "code": "a"}
    assert complaint(httpx.Response(404, json=body, headers=kind, request=request)) is None
    assert complaint(httpx.Response(404, json=body, request=request))
    assert complaint(
        httpx.Response(500, json=body | {"status": 500}, headers=kind, request=request)
    )
    assert complaint(httpx.Response(409, json=body, headers=kind, request=request))
    assert complaint(httpx.Response(404, json={"code": "a"}, headers=kind, request=request))


def test_every_route_with_a_body_is_attacked() -> None:
    with_body = {
        f"{method} {path}" for method, path, described in operations() if "requestBody" in described
    }
    assert with_body == {f"POST {path}" for path in [*BODIES, *FORMS]} | set(OTHER_BODIES)


async def test_bodies_of_other_methods(service: Service, admin: Person) -> None:
    found = Complaints()
    for row, body in OTHER_BODIES.items():
        method, path = row.split()
        sent = [*NOT_BODIES]
        for name, nasty in itertools.product(body, NASTY):
            sent.append(json.dumps(body | {name: "@@"}).replace('"@@"', nasty).encode())
        for content in sent:
            answer = await service.request(
                method, path, admin, content=content, headers={"content-type": "application/json"}
            )
            found.look_at(answer, sent=content[:40])
            if answer.status_code < 400:
                found.append(f"{row} {content[:40]!r}: {answer.status_code}")
    check(found)


async def test_no_token_and_no_such_token(service: Service) -> None:
    found = Complaints()
    tokens = [None, "x", "a.b.c", "é".encode(), b"\xff", "Bearer x", "x" * 5_000, "null"]
    for method, path, described in operations():
        for token in tokens:
            headers: dict[str, Any] = (
                {}
                if token is None
                else {
                    "authorization": b"Bearer "
                    + (token.encode() if isinstance(token, str) else token)
                }
            )
            answer = await service.request(method, path, headers=headers)
            found.look_at(answer, sent=token)
            if "security" in described and answer.status_code != 401:
                found.append(f"{method} {path} with {token!r}: {answer.status_code}")
    check(found)


async def test_methods_that_are_not_there(service: Service, admin: Person) -> None:
    found = Complaints()
    for path, methods in main.create_app().openapi()["paths"].items():
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - {m.upper() for m in methods}:
            answer = await service.request(method, path, admin)
            found.look_at(answer)
            # /api/calls/quote is also a name that /api/calls/{call_id} takes, for which a body is read.
            no_such_thing = {"GET": 404, "DELETE": 404, "PATCH": 422}.get(method)
            if answer.status_code not in (405, no_such_thing):
                found.append(f"{method} {path}: {answer.status_code} instead of 405")
    check(found)


async def test_addresses_that_are_not_there(service: Service, admin: Person) -> None:
    found = Complaints()
    for path in ("/api", "/api/nothing", "/api/calls/a/b/c", "/x" * 2_000, "/api//call", "/%00"):
        answer = await service.get(path, admin)
        found.look_at(answer)
        assert answer.status_code in (404, 405), path
    check(found)


async def test_ids_that_are_none(service: Service, admin: Person) -> None:
    found = Complaints()
    for method, path, _ in operations():
        if "{" not in path or path.startswith("/problems"):
            continue
        for nasty in NASTY_IDS:
            parts = [nasty if part.startswith("{") else part for part in path.split("/")]
            answer = await service.request(method, "/".join(parts), admin, json={})
            found.look_at(answer, sent=nasty)
            if answer.status_code < 400:
                found.append(f"{method} {path} {nasty[:40]}: {answer.status_code}")
    check(found)


async def test_bodies_that_are_none(service: Service, admin: Person) -> None:
    found = Complaints()
    for path in BODIES:
        for body, kind in spread(
            NOT_BODIES, ("application/json", "text/plain", "application/xml", "", "x" * 300)
        ):
            answer = await service.post(path, admin, content=body, headers={"content-type": kind})
            found.look_at(answer, sent=(body[:20], kind))
            is_left_out = path in OPTIONAL and body in (b"", b"null", b"\xef\xbb\xbf{}")
            if answer.status_code < 400 and not is_left_out:
                found.append(f"{path} {body[:20]!r} {kind}: {answer.status_code}")
    for path in FORMS:
        for body, kind in spread(
            NOT_BODIES,
            (
                *("application/json", "application/x-www-form-urlencoded", "multipart/form-data"),
                *("multipart/form-data; boundary=x", "multipart/form-data; boundary=é", "text/csv"),
            ),
        ):
            headers = {"content-type": kind.encode("latin-1")}
            answer = await service.post(path, admin, content=body, headers=headers)
            found.look_at(answer, sent=(body[:20], kind))
            if answer.status_code < 400:
                found.append(f"{path} {body[:20]!r} {kind}: {answer.status_code}")
    check(found)


async def test_a_content_type_that_is_not_read_is_named(service: Service, admin: Person) -> None:
    for path, body in BODIES.items():
        if path in RAW:
            continue
        text = json.dumps(body)
        answer = await service.post(
            path, admin, content=text, headers={"content-type": "text/plain"}
        )
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type"), path


async def test_ten_megabytes_are_refused_everywhere(service: Service, admin: Person) -> None:
    found = Complaints()
    huge = b'{"a": "' + b"x" * 10_000_000 + b'"}'
    for method, path, _ in operations():
        if method != "POST" or path in TAKE_MORE:
            continue
        try:
            answer = await service.post(
                path, admin, content=huge, headers={"content-type": "application/json"}
            )
        except httpx.TransportError:
            continue  # the answer came, and the connection was closed on what was still being sent
        found.look_at(answer)
        if answer.status_code != 413:
            found.append(f"{path}: {answer.status_code}")
    check(found)


async def test_ten_megabytes_that_do_not_say_so_are_refused(
    service: Service, admin: Person
) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(160):
            yield b"x" * 65_536

    for path in ("/api/call", "/api/payment/verify", "/api/auth/login"):
        try:
            answer = await service.post(path, admin, content=endless())
        except httpx.TransportError:
            continue
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


async def test_fields_that_hold_anything(service: Service, admin: Person) -> None:
    found = Complaints()
    for path, body in BODIES.items():
        places: list[tuple[Any, ...]] = [(name,) for name in body]
        places += [("simulate", name) for name in body.get("simulate", ())]
        places += [("numbers", 0)] if "numbers" in body else []
        for place, nasty in spread(places, NASTY):
            text = json.dumps(put(body, place, "@@")).replace('"@@"', nasty)
            answer = await service.post(
                path, admin, content=text, headers={"content-type": "application/json"}
            )
            found.look_at(answer, sent=(place, nasty))
    check(found)


def put(body: dict[str, Any], place: tuple[Any, ...], value: Any) -> Any:
    """A copy of `body` with `value` at `place`."""
    copy = json.loads(json.dumps(body))
    target = copy
    for name in place[:-1]:
        target = target[name]
    target[place[-1]] = value
    return copy


async def test_form_fields_that_hold_anything(service: Service, admin: Person) -> None:
    found = Complaints()
    texts = [
        "",
        " ",
        "\0",
        "\u202e",
        "😀",
        "x" * 70_000,
        "$where",
        "NaN",
        "-1",
        "1e400",
        "[]",
        "{}",
    ]
    names = ["name", "message", "audio_url", "connect_to", "max_duration_seconds", "phone_column"]
    names += ["max_concurrent", "calls_per_minute", "simulate", "start", "start_at", "window"]
    for name, text in itertools.product(names, texts):
        form = FORMS["/api/campaigns/upload"] | {name: text}
        files = {"file": ("list.csv", f"phone\n{NUMBER}\n".encode())}
        answer = await service.post("/api/campaigns/upload", admin, data=form, files=files)
        found.look_at(answer, sent=(name, text))
    for name, text in itertools.product(("username", "password", "grant_type", "scope"), texts):
        form = FORMS["/api/auth/token"] | {name: text}
        found.look_at(await service.post("/api/auth/token", data=form), sent=(name, text))
    for name, text in itertools.product(("note", "effective_from", "file"), texts):
        files = {"file": ("card.csv", b"prefix,rate\n91,10\n")} if name != "file" else {}
        form = FORMS["/api/admin/rate-cards"] | {name: text}
        answer = await service.post("/api/admin/rate-cards", admin, data=form, files=files)
        found.look_at(answer, sent=(name, text))
    check(found)


async def test_lists_with_parameters_of_any_kind(service: Service, admin: Person) -> None:
    found = Complaints()
    texts = ["", "x", "\0", "-1", "0", "1e9", "9" * 40, "$ne", "2026-13-01", "0001-01-01", "true"]
    texts += [
        "9999-12-31",
        "2026-11-23T00:00:00+99:99",
        "😀",
        "x" * 5_000,
        "%ED%A0%80",
    ]
    for number, (method, path, described) in enumerate(operations()):
        for asked in described.get("parameters", []):
            if asked["in"] != "query" or method != "GET":
                continue
            name = asked["name"]
            values = [*texts, *NASTY_CURSORS] if name == "cursor" else texts
            for value in values[number % 2 :: 2]:
                answer = await service.get(path, admin, params={name: value})
                found.look_at(answer, sent=(name, value))
                refused = answer.status_code in (404, 422)  # 404: the {id} in the path
                if name in ("cursor", "limit") and not refused and value not in ("", "true"):
                    found.append(f"{path} {name}={value[:60]}: {answer.status_code}")
            nested = await service.get(path, admin, params={f"{name}[$ne]": "x", name: "x"})
            found.look_at(nested, sent=name)
    check(found)


async def test_an_idempotency_key_of_any_kind(service: Service, admin: Person) -> None:
    found = Complaints()
    for key in (b"a b", b"\xff", b"x" * 256, "é".encode(), b"$where", b"{}", b"a\tb"):
        for path in ("/api/payment/create-order", "/api/campaigns"):
            answer = await service.post(
                path, admin, json=BODIES[path], headers={"idempotency-key": key}
            )
            found.look_at(answer, sent=key)
            good = key in (b"$where", b"{}")
            if good != (answer.status_code == 201):
                found.append(f"{path} with the key {key!r}: {answer.status_code}")
    check(found)


async def test_nothing_of_all_that_moved_any_money(service: Service, admin: Person) -> None:
    """It runs last, after whatever the tests above sent."""
    asha = await service.signup()
    await service.fund(asha, 50)
    order_id = await paying.open_order(service, asha, 10)
    for signature in ("", "0" * 64, "é", "x" * 500):
        answer = await service.post(
            "/api/payment/verify",
            asha,
            json={
                "razorpay_order_id": order_id,
                "razorpay_payment_id": "pay_ABCDEFGHIJKLMN",
                "razorpay_signature": signature,
            },
        )
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_signature")
    assert (await service.balance(asha))["balance"] == 50.0
    audit = (await service.get("/api/admin/audit", admin)).json()
    assert audit["ok"], audit["violations"]


# --- the pages that a problem's type points to --------------------------------------------------


def codes() -> dict[str, set[int]]:
    """Every code that a problem of ours can have, with its status."""
    found: dict[str, set[int]] = {}

    def collect(kind: type[errors.Problem]) -> None:
        if "code" in vars(kind) or hasattr(kind, "code"):
            found.setdefault(kind.code, set()).add(kind.status)
        for child in kind.__subclasses__():
            collect(child)

    collect(errors.Problem)
    return found


def test_no_code_has_two_statuses() -> None:
    assert len(codes()) > 20
    assert {code: found for code, found in codes().items() if len(found) > 1} == {}


async def test_every_code_has_a_page_that_explains_it(service: Service) -> None:
    assert len(codes()) > 20
    for code, statuses in codes().items():
        page = await service.get(f"/problems/{code}")
        assert page.status_code == 200, code
        assert any(page.text.startswith(f"{status} {code}: ") for status in statuses), page.text
        assert len(page.text.splitlines()[2]) > 10, f"{code} is not explained"


async def test_a_code_that_is_not_there_has_no_page(service: Service) -> None:
    answer = await service.get("/problems/nothing_of_the_kind")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_an_answered_error_does_not_keep_its_body_until_the_collector_comes() -> None:
    class Body(bytearray):
        pass

    def refuse(body: Body) -> None:
        refusal = RequestValidationError([{"type": "json_invalid", "loc": ("body",)}], body=None)
        try:
            json.loads("[")
        except json.JSONDecodeError as broken:
            raise refusal from broken  # the frame names the error that names the frame: a cycle

    async def answered() -> weakref.ref[Body]:
        body = Body(b"[")
        kept = weakref.ref(body)
        try:
            refuse(body)
        except RequestValidationError as problem:
            problem.errors()[0]["ctx"] = {"error": "it ends too early"}
            answer = await problems.on_validation(Request({"type": "http", "headers": []}), problem)
            assert answer.status_code == 400
        return kept

    gc.disable()
    try:
        assert (await answered())() is None
    finally:
        gc.enable()
