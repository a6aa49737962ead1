"""docs/nginx.conf fits the service: sizes, times, the client's address, what stays inside."""

import re

import pytest

import main
import manage
from api import middleware
from core.config import Settings
from tests.support.service import ROOT

CONF = (ROOT / "docs" / "nginx.conf").read_text()
LINES = [line.split("#")[0].strip() for line in CONF.splitlines()]
TEXT = "\n".join(line for line in LINES if line)
LOCATIONS = dict(re.findall(r"location (.+?) \{\n(.*?)\n\}", TEXT, re.DOTALL))
OUTSIDE = re.sub(r"location .+? \{\n.*?\n\}", "", TEXT, flags=re.DOTALL)

UNITS = {"": 1, "k": 1024, "m": 1024**2, "s": 1, "d": 86_400}


def number(directive: str, block: str) -> int:
    """The number of a directive in bytes or seconds; that of the whole file where the block has none."""
    found = re.search(rf"^{directive} (\d+)([a-z]?);", block, re.MULTILINE)
    if found is None:
        assert block is not OUTSIDE, f"{directive} is missing"
        return number(directive, OUTSIDE)
    return int(found[1]) * UNITS[found[2]]


@pytest.fixture(scope="module", autouse=True)
def _application() -> None:
    """The routes say what they take when they are made."""
    main.create_app()


def test_every_address_takes_what_the_service_takes_and_no_more_elsewhere() -> None:
    assert number("client_max_body_size", OUTSIDE) == middleware.BODY_BYTES_MAX
    for path, bytes_max in middleware._large_bodies.items():
        allowed = number("client_max_body_size", LOCATIONS[f"= {path}"])
        assert bytes_max <= allowed < bytes_max + 2 * 1024**2, path


def test_the_proxy_waits_longer_than_the_service_so_that_the_service_answers() -> None:
    assert number("proxy_read_timeout", OUTSIDE) > middleware.ANSWER_SECONDS_MAX
    for path, seconds_max in middleware._slow_answers.items():
        block = LOCATIONS.get(f"= {path}", OUTSIDE)
        assert number("proxy_read_timeout", block) > seconds_max, path
    # A connection that the service closes first would fail the next request.
    assert manage._KEEP_ALIVE_SECONDS > 60, "nginx keeps connections upstream for 60 s"


def test_headers_are_bounded_and_slow_clients_cut_off() -> None:
    (count, size) = re.findall(r"large_client_header_buffers (\d+) (\d+)k;", TEXT)[0]
    assert int(count) * int(size) <= 32
    for directive in ("client_header_timeout", "client_body_timeout", "send_timeout"):
        assert 5 <= number(directive, OUTSIDE) <= 30


def test_the_client_cannot_choose_the_address_that_the_limits_see() -> None:
    """X-Forwarded-For is replaced, and TRUSTED_PROXIES believes this machine's proxy alone."""
    assert re.findall(r"proxy_set_header X-Forwarded-For (.*);", TEXT) == ["$remote_addr"]
    assert "$proxy_add_x_forwarded_for" not in TEXT
    assert "proxy_set_header X-Forwarded-Proto $scheme;" in OUTSIDE, "HSTS depends on it"
    assert Settings.model_fields["trusted_proxies"].default == "127.0.0.1"
    # A `proxy_set_header` in a location would drop all of those outside.
    assert not [path for path, block in LOCATIONS.items() if "proxy_set_header" in block]


def test_what_is_for_the_inside_stays_inside_and_every_location_leads_somewhere() -> None:
    for path in ("= /metrics", "^~ /sandbox"):
        assert LOCATIONS[path] == "return 404;"
    ends = ("proxy_pass http://wallet;", "return ", "root ")
    assert [path for path, block in LOCATIONS.items() if not any(e in block for e in ends)] == []
    assert "limit_req zone=log_ins" in LOCATIONS["^~ /api/auth/"]
    for path in ("^~ /api/payment/webhook", "^~ /api/telephony/"):
        assert "limit_req" not in LOCATIONS[path], "a report that is refused comes late"
    assert TEXT.count("{") == TEXT.count("}")


def test_tls_is_of_today() -> None:
    assert "ssl_protocols TLSv1.2 TLSv1.3;" in TEXT
    assert re.findall(r"return 301 (\S+);", TEXT) == ["https://wallet.example.org$request_uri"]
