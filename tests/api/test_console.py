"""The console as the service serves it: pages with their policies, assets, the payment page."""

import gzip
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from api import console
from core import config
from tests.support.service import Service, running, status_of
from tests.support.service import test_settings as settings_of_tests

PAGES = [
    *("/", "/login", "/signup", "/calls", "/calls/new", "/calls/call_1", "/campaigns"),
    *("/campaigns/cmp_1/edit", "/transactions", "/payments", "/payments/order_1", "/do-not-call"),
    *("/numbers/+919876543210", "/account", "/more", "/admin", "/admin/users/usr_1"),
    *("/calls?status=completed&limit=10", "/?recharge"),
]


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for the questions of this module."""
    settings = settings_of_tests(mongodb_uri, login_attempts_per_minute=1000)
    async with running(settings) as started:
        yield started


async def asset_paths(service: Service) -> list[str]:
    page = await service.get("/")
    found: list[str] = re.findall(r'(?:href|src)="(/assets/[^"]+)"', page.text)
    return found


# --- pages --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES)
async def test_every_address_of_the_console_is_its_page_under_the_strict_policy(
    service: Service, path: str
) -> None:
    page = await service.get(path)
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"] == console.POLICY
    assert page.headers["cache-control"] == "no-cache"
    assert '<div id="app"></div>' in page.text
    assert 'content="sandbox"' in page.text
    assert "{" not in re.sub(r"<script.*?</script>", "", page.text)


def test_the_policy_allows_nothing_of_another_origin_and_nothing_inline() -> None:
    parts = dict(part.strip().split(" ", 1) for part in console.POLICY.split(";"))
    assert parts.pop("default-src") == "'none'"
    assert parts.pop("frame-ancestors") == parts.pop("base-uri") == "'none'"
    assert parts.pop("require-trusted-types-for") == "'script'"
    assert parts.pop("trusted-types") == "'none'"
    assert {source for value in parts.values() for source in value.split()} == {
        "'self'",
        "'none'",
        "data:",
    }


@pytest.mark.parametrize("path", ["/", "/login", "/pay/order_ABCDEFGHIJKLMN"])
async def test_pages_hold_nothing_inline_and_name_no_other_origin(
    service: Service, path: str
) -> None:
    text = (await service.get(path)).text
    assert "http:" not in text
    assert "https:" not in text
    assert re.findall(r"<style|\sstyle=|\son\w+=|javascript:", text) == []
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", text))


@pytest.mark.parametrize(
    "path", ["/nowhere", "/callsx", "/adminx", "/api", "/api/nothing", "/assets", "/pay", "/index"]
)
async def test_an_address_of_nothing_is_still_a_problem(service: Service, path: str) -> None:
    answer = await service.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/", "/calls", "/pay/order_1"])
async def test_the_head_of_a_page_is_that_of_the_page(service: Service, path: str) -> None:
    head, page = await service.request("HEAD", path), await service.get(path)
    assert head.status_code == 200
    assert head.content == b""
    for name in ("content-type", "content-security-policy", "cache-control", "vary"):
        assert head.headers[name] == page.headers[name]


@pytest.mark.parametrize("path", ["/", "/calls"])
async def test_a_page_is_only_read(service: Service, path: str) -> None:
    answer = await service.post(path, json={})
    assert answer.status_code == 405
    assert answer.json()["code"] == "method_not_allowed"


# --- assets -------------------------------------------------------------------------------------


async def test_everything_that_the_page_names_is_there_for_a_year(service: Service) -> None:
    paths = await asset_paths(service)
    assert len(paths) > 10
    for path in paths:
        answer = await service.get(path)
        assert answer.status_code == 200, path
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        kind = answer.headers["content-type"]
        assert kind.split(";")[0] in ("text/javascript", "text/css", "image/svg+xml")
        assert answer.headers["x-content-type-options"] == "nosniff"


async def test_what_the_first_screen_imports_is_named_ahead(service: Service) -> None:
    text = (await service.get("/")).text
    ahead = set(re.findall(r'modulepreload" href="/assets/\w+/([^"]+)"', text))
    assert {"vendor/preact.js", "core/api.js", "components/shell.js", "texts/en.js"} <= ahead
    assert not any(name.startswith("pages/") for name in ahead), "pages are loaded when needed"
    assert "vendor/uplot.js" not in ahead
    assert "texts/hi.js" not in ahead


@pytest.mark.parametrize("encoding", ["gzip", "br, gzip", "identity", ""])
async def test_an_asset_is_packed_for_who_takes_it(service: Service, encoding: str) -> None:
    path = next(path for path in await asset_paths(service) if path.endswith("main.js"))
    url = f"{service.settings.own_url}{path}"
    async with httpx.AsyncClient() as client:
        request = client.build_request("GET", url, headers={"accept-encoding": encoding})
        answer = await client.send(request, stream=True)
        raw = b"".join([piece async for piece in answer.aiter_raw()])
    assert answer.headers["vary"] == "Accept-Encoding"
    assert ("content-encoding" in answer.headers) == ("gzip" in encoding)
    assert int(answer.headers["content-length"]) == len(raw)
    content = gzip.decompress(raw) if "gzip" in encoding else raw
    assert content == (console.FOLDER / "main.js").read_bytes()


async def test_the_head_of_an_asset_has_its_length(service: Service) -> None:
    path = next(path for path in await asset_paths(service) if path.endswith("look.css"))
    head, whole = await service.request("HEAD", path), await service.get(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == whole.headers["content-length"]


@pytest.mark.parametrize(
    "name",
    [
        *("nothing.js", "index.html", "pay.html", "../main.py", "..%2fmain.py", "%2e%2e/main.py"),
        *("", "vendor", "texts/en.js%00", "x" * 5_000),
    ],
)
async def test_an_unknown_asset_is_a_problem(service: Service, name: str) -> None:
    digest = console.assets().digest
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{service.settings.own_url}/assets/{digest}/{name}")
    assert answer.status_code in (400, 404, 414)
    assert answer.headers["content-type"] == "application/problem+json"
    assert "immutable" not in answer.headers.get("cache-control", "")


async def test_an_asset_of_another_version_is_not_there(service: Service) -> None:
    for digest in ("0" * 16, "x", console.assets().digest.upper() + "a"):
        answer = await service.get(f"/assets/{digest}/main.js")
        assert answer.status_code == 404
        assert "immutable" not in answer.headers.get("cache-control", "")


def test_the_digest_changes_with_any_file(tmp_path: Any) -> None:
    for name in ("index.html", "pay.html"):
        (tmp_path / name).write_text("{assets}")
    (tmp_path / "main.js").write_text("export {};")
    first = console._Assets(tmp_path)
    assert first.digest == console._Assets(tmp_path).digest
    (tmp_path / "main.js").write_text("export { };")
    assert first.digest != console._Assets(tmp_path).digest
    (tmp_path / "main.js").rename(tmp_path / "other.js")
    assert len({each.digest for each in (first, console._Assets(tmp_path))}) == 2


# --- the payment page ---------------------------------------------------------------------------


async def test_the_payment_page_has_a_policy_of_its_own(service: Service) -> None:
    page = await service.get("/pay/order_ABCDEFGHIJKLMN")
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert policy == console.payment_policy()
    own = service.settings.own_url
    assert f"script-src 'self' {own};" in policy
    assert f"frame-src 'self' {own};" in policy
    assert "frame-ancestors 'none'" in policy
    assert "razorpay" not in policy
    assert "pay.js" in page.text


@pytest.mark.parametrize(
    ("key", "mode"), [("rzp_test_1234567890", "test"), ("rzp_live_1234567890", "live")]
)
def test_with_razorpay_the_payment_page_lets_its_checkout_in_and_nothing_else(
    settings: config.Settings, key: str, mode: str
) -> None:
    chosen = settings.model_copy(
        update={"razorpay_key_id": key, "razorpay_key_secret": SecretStr("x" * 24)}
    )
    config.use(chosen)
    policy = console.payment_policy()
    assert chosen.gateway_mode == mode
    assert "script-src 'self' https://checkout.razorpay.com;" in policy
    assert "frame-src 'self' https://api.razorpay.com https://checkout.razorpay.com;" in policy
    assert "connect-src 'self'" in policy
    assert "https://lumberjack.razorpay.com" in policy
    hosts = set(re.findall(r"https?://[^\s;]+", policy))
    assert all(host.endswith(".razorpay.com") for host in hosts)
    assert "'unsafe-eval'" not in policy
    assert "script-src 'self' 'unsafe-inline'" not in policy
    config.use(settings)


async def test_an_order_tells_its_payment_page_nothing_about_its_owner(service: Service) -> None:
    asha = await service.signup("asha.checkout@example.com")
    made = await service.post("/api/payment/create-order", asha, json={"amount": 250})
    order = made.json()
    path = f"/api/payment/orders/{order['order_id']}/checkout"
    found = await service.get(path)
    assert found.status_code == 200
    assert found.json() == {
        "key_id": order["key_id"],
        "mode": "sandbox",
        "checkout_url": f"{service.settings.own_url}/sandbox/v1/checkout.js",
        "order_id": order["order_id"],
        "amount": 250.0,
        "currency": "INR",
        "is_paid": False,
        "is_pending": False,
        "can_be_paid": True,
    }
    assert asha.id not in found.text
    paid = await service.post(
        f"/sandbox/pay/{order['order_id']}", json={"card_number": "4111 1111 1111 1111"}
    )
    proof = {name: value for name, value in paid.json().items() if name.startswith("razorpay_")}
    assert (await service.post("/api/payment/verify", asha, json=proof)).status_code == 200
    later = (await service.get(path)).json()
    assert (later["is_paid"], later["can_be_paid"]) == (True, False)


@pytest.mark.parametrize("order_id", ["order_ABCDEFGHIJKLMN", "x", "%24where", "x" * 3_000])
async def test_the_checkout_of_no_order_is_not_there(service: Service, order_id: str) -> None:
    answer = await service.get(f"/api/payment/orders/{order_id}/checkout")
    assert answer.status_code == 404
    assert answer.json()["code"] == "order_not_found"


async def test_how_often_one_network_reads_orders_is_limited(service: Service) -> None:
    path = "/api/payment/orders/order_ABCDEFGHIJKLMN/checkout"
    away = {"X-Forwarded-For": "203.0.113.7"}
    before = config.settings()
    config.use(before.model_copy(update={"checkouts_per_minute": 3}))
    try:
        answers = [await service.get(path, headers=away) for _ in range(8)]
    finally:
        config.use(before)
    assert [answer.status_code for answer in answers[:3]] == [404] * 3
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["retry-after"]) > 0


# --- sessions of browsers -----------------------------------------------------------------------


async def test_a_sign_up_in_a_browser_gives_cookies_and_no_token(service: Service) -> None:
    ours = {"Origin": service.settings.own_url}
    body = {
        "email": "browser@example.com",
        "password": "correct horse battery",
        "name": "Asha",
        "session": "cookie",
    }
    async with httpx.AsyncClient(base_url=service.settings.own_url) as browser:
        refused = await browser.post("/api/auth/signup", json=body)
        assert (refused.status_code, refused.json()["code"]) == (403, "foreign_origin")
        made = await browser.post("/api/auth/signup", json=body, headers=ours)
        assert made.status_code == 201, made.text
        assert made.json()["access_token"] is None
        assert set(browser.cookies) == {"session", "device"}
        me = await browser.get("/api/auth/me")
        assert me.json()["email"] == "browser@example.com"
        token = browser.cookies["session"]
        left = await browser.post("/api/auth/logout", headers=ours)
        assert left.status_code == 204
        assert set(browser.cookies) == {"device"}
    assert await status_of(service, token) == 401


async def cookie_names(url: str, headers: dict[str, str], email: str) -> tuple[list[str], str]:
    """The names of the cookies of a log-in, and the first one whole."""
    body = {"email": email, "password": "correct horse battery", "session": "cookie"}
    async with httpx.AsyncClient(base_url=url) as browser:
        answer = await browser.post("/api/auth/login", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    given = answer.headers.get_list("set-cookie")
    return [cookie.split("=")[0] for cookie in given], given[0]


async def test_the_names_of_the_cookies_follow_the_connection(service: Service) -> None:
    """`__Host-` and `Secure`, but over plain HTTP on this machine, where browsers may refuse them."""
    asha = await service.signup()
    url = service.settings.own_url
    plain, cookie = await cookie_names(url, {"Origin": url}, asha.email)
    assert plain == ["session", "device"]
    assert "secure" not in cookie.lower().split("; ")
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    tls = {"X-Forwarded-Proto": "https", "Origin": url.replace("http:", "https:")}
    packed, cookie = await cookie_names(url, tls, asha.email)
    assert packed == ["__Host-session", "__Host-device"]
    assert "Secure" in cookie
    away = {"Host": "wallet.example.org", "Origin": "http://wallet.example.org"}
    assert (await cookie_names(url, away, asha.email))[0] == ["__Host-session", "__Host-device"]


async def test_in_production_cookies_are_always_bound_to_the_host(service: Service) -> None:
    asha = await service.signup()
    url = service.settings.own_url
    before = config.settings()
    config.use(before.model_copy(update={"app_env": "production"}))
    try:
        names, cookie = await cookie_names(url, {"Origin": url}, asha.email)
    finally:
        config.use(before)
    assert names == ["__Host-session", "__Host-device"]
    assert "Secure" in cookie


@pytest.mark.parametrize(
    ("site", "status"),
    [(None, 201), ("same-origin", 201), ("same-site", 403), ("cross-site", 403), ("none", 403)],
)
async def test_a_write_with_a_cookie_has_to_be_of_the_same_origin_as_the_browser_says(
    service: Service, site: str | None, status: int
) -> None:
    asha = await service.signup()
    headers = {"Origin": service.settings.own_url, "Cookie": f"session={asha.token}"}
    if site is not None:
        headers["Sec-Fetch-Site"] = site
    async with httpx.AsyncClient(base_url=service.settings.own_url) as browser:
        answer = await browser.post(
            "/api/payment/create-order", json={"amount": 100}, headers=headers
        )
    assert answer.status_code == status, answer.text


def test_every_page_of_the_browser_is_served() -> None:
    """The sections of api/console.py are those of web/main.js."""
    text = (console.FOLDER / "main.js").read_text(encoding="utf-8")
    sections = {path.split("/")[1] for path in re.findall(r'^  "(/[\w/:-]*)": \(\)', text, re.M)}
    assert sections - {""} == set(console._SECTIONS)
