"""Fields of requests: what is blank is refused wherever a text is required."""

from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter, ValidationError

import users
from api import auth, campaign_options, fields
from api.admin import audit, customers, disputes, reconciliation
from api.calls import CallIn
from api.refunds import RefundIn
from core import config
from main import ROUTERS, create_app
from tests.support.service import test_settings as settings_of_tests

BLANKS = [
    "   ",
    "\u200b\u200d\u2060",
    "\u2800\u2800\u2800",
    "\u3164\u3164\u3164",
    "\0\0\0",
    "\u00a0\u2009\u202f",
]


@pytest.fixture(autouse=True)
def _settings() -> None:
    config.use(config.Settings(_env_file=None))


def refused(model: type[BaseModel], **body: Any) -> list[str]:
    """The fields of a body that are refused."""
    with pytest.raises(ValidationError) as problem:
        model.model_validate(body)
    return [str(error["loc"][0]) for error in problem.value.errors()]


@pytest.mark.parametrize("blank", BLANKS, ids=ascii)
def test_a_blank_text_is_refused_wherever_one_is_required(blank: str) -> None:
    number = "+919876543210"
    amount: dict[str, Any] = {"type": "credit", "amount": 5}
    assert refused(CallIn, to=number, message=blank) == ["message"]
    assert refused(campaign_options.CampaignIn, name=blank, numbers=[number]) == ["name"]
    assert refused(campaign_options.CampaignIn, name="a", message=blank, numbers=[number]) == [
        "message"
    ]
    assert refused(customers.AdjustmentIn, **amount, reason=blank) == ["reason"]
    assert refused(customers.ReasonIn, reason=blank) == ["reason"]
    assert refused(RefundIn, payment_id="pay_1", reason=blank) == ["reason"]
    assert refused(disputes.ResolveDisputeIn, action="close", reason=blank)[-1] == "reason"
    assert refused(reconciliation.ResolveIn, note=blank) == ["note"]
    assert refused(audit.RepairIn, action="acknowledge", subject="x", reason=blank) == ["reason"]
    signup = {"email": "a@example.com", "password": "correct horse battery"}
    assert refused(auth.SignUp, **signup, name=blank) == ["name"]
    assert auth.SignUp.model_validate(signup | {"name": "Asha", "phone": blank}).phone is None


def test_a_reason_of_one_visible_character_is_too_short() -> None:
    reason = TypeAdapter(fields.Reason)
    assert reason.validate_python("  a reason\u200b ") == "a reason"
    with pytest.raises(ValidationError):
        reason.validate_python("a\u200b\u200b\u200b")
    with pytest.raises(ValidationError):
        reason.validate_python("a reason\0")


def test_a_name_is_refused_in_words_that_are_true() -> None:
    """A line break was said to be more than 100 characters."""
    for name, words in (
        ("Asha\nRao", "line breaks"),
        ("\n", "blank"),
        ("\u2800", "blank"),
        ("a" * 101, "at most 100 characters"),
    ):
        with pytest.raises(ValueError, match=words):
            users.name_of(name)
    assert users.name_of("\u200bAsha\u2800") == "Asha"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0919876543210", "+919876543210"),
        ("9876543210.00", "+919876543210"),
        ("p:+919876543210", "+919876543210"),
        ("98765\u202f43210", "+919876543210"),
        ("+1 415 555 2671", "+14155552671"),  # of any country: it is not called
        ("98765-FLOWERS", None),
        ("9876543210 ext 5", None),
        ("9876543210;12", None),
        ("9.87654E+09", None),
        ("12345678", None),
    ],
)
def test_the_phone_of_a_sign_up_is_read_as_every_other_number(
    text: str, number: str | None
) -> None:
    body = {"email": "a@example.com", "password": "correct horse battery", "name": "Asha"}
    if number is None:
        assert refused(auth.SignUp, **body, phone=text) == ["phone"]
    else:
        assert auth.SignUp.model_validate(body | {"phone": text}).phone == number


# --- CORS -----------------------------------------------------------------------------------------


async def test_a_page_may_send_the_headers_that_the_api_documents() -> None:
    config.use(settings_of_tests("", cors_origins=["https://app.example.com"]))
    transport = httpx.ASGITransport(app=create_app())
    methods = {
        m
        for router in ROUTERS
        for r in router.routes
        if isinstance(r, APIRoute)
        for m in r.methods or ()
    }
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        for method in methods:
            answer = await client.options(
                "/api/campaigns",
                headers={
                    "Origin": "https://app.example.com",
                    "Access-Control-Request-Method": method,
                    "Access-Control-Request-Headers": (
                        "authorization, content-type, idempotency-key, x-request-id"
                    ),
                },
            )
            assert answer.status_code == 200, answer.text
            assert answer.headers["access-control-allow-origin"] == "https://app.example.com"
