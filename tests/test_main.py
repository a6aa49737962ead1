"""The application as a whole: health, readiness, problems explained, logs that tell a story."""

import io
import json
import logging

import pytest

import main
import wallet
from core import config, errors, logs
from tests.support.service import Service, running
from tests.support.service import test_settings as settings_of_tests


async def test_health_ready_and_metrics_answer_anybody(service: Service) -> None:
    assert (await service.get("/health")).json() == {"status": "ok"}
    assert (await service.get("/ready")).json() == {"status": "ready"}
    for address in ("/health", "/ready"):  # load balancers ask for the head alone
        answer = await service.client.head(address)
        assert (answer.status_code, answer.content) == (200, b"")
    metrics = await service.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain")
    assert "wallet_commit_seconds" in metrics.text


async def test_a_process_without_its_committer_is_not_ready(service: Service) -> None:
    await wallet.stop()
    answer = await service.get("/ready")
    assert (answer.status_code, answer.json()["code"]) == (503, "service_unavailable")
    assert answer.headers["retry-after"]
    await wallet.start()
    assert (await service.get("/ready")).status_code == 200


async def test_the_type_of_a_problem_leads_to_its_explanation(service: Service) -> None:
    refused = (await service.get("/api/wallet/balance")).json()
    page = await service.get(refused["type"])
    assert page.status_code == 200
    assert (errors.Unauthenticated.__doc__ or "").splitlines()[0] in page.text
    assert (await service.get("/problems/no_such_code")).status_code == 404


async def test_the_swagger_page_asks_nothing_of_the_internet(service: Service) -> None:
    page = (await service.get("/docs")).text
    assert "http://" not in page
    assert "https://" not in page
    for asset in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"):
        assert asset in page
        assert (await service.get(f"/docs-assets/{asset}")).status_code == 200
    assert (await service.get("/")).headers["content-type"].startswith("text/html")


async def test_a_service_without_a_secret_does_not_start() -> None:
    config.use(settings_of_tests("", jwt_secret=""))
    try:
        with pytest.raises(RuntimeError, match=r"JWT_SECRET(.|\n)*MONGODB_URI"):
            async with main.lifespan(main.create_app()):
                pass
    finally:
        config.use(None)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_line_of_the_log_names_its_request_and_its_user(log_format: str) -> None:
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    config.use(settings_of_tests("", log_format=log_format, log_level="INFO"))
    token = logs.request_id.set("req-7")
    who = logs.actor.set(logs.Actor(user_id="usr_1", role="user", address="-", key_id="key_2"))
    try:
        logs.configure()
        (handler,) = (h for h in root.handlers if isinstance(h, logging.StreamHandler))
        handler.setStream(out := io.StringIO())
        logging.getLogger("calls").info("call %s ended", "call_1")
        line = out.getvalue()
        if log_format == "json":
            told = json.loads(line)
            assert (told["request_id"], told["message"]) == ("req-7", "call call_1 ended")
            assert told["user"] == "usr_1/key_2"
            assert told["at"].endswith("Z")
        else:
            assert "INFO req-7 usr_1/key_2 calls call" in line
            assert "call call_1 ended" in line
    finally:
        logs.request_id.reset(token)
        logs.actor.reset(who)
        root.handlers[:], root.level = before
        config.use(None)


async def test_a_page_of_a_named_origin_may_ask_and_read_what_it_needs(mongodb_uri: str) -> None:
    page, stranger = "https://app.example.com", "https://evil.example.com"
    async with running(settings_of_tests(mongodb_uri, cors_origins=[page])) as service:
        asked = {"Access-Control-Request-Method": "POST"}
        asked["Access-Control-Request-Headers"] = "authorization,content-type,idempotency-key"
        for origin, status in ((page, 200), (stranger, 400)):
            answer = await service.client.options("/api/call", headers={"Origin": origin} | asked)
            assert answer.status_code == status
        documented = "idempotency-key,if-match,if-none-match,last-event-id,x-request-id"
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"):
            asked["Access-Control-Request-Method"] = method
            asked["Access-Control-Request-Headers"] = f"authorization,content-type,{documented}"
            answer = await service.client.options("/api/call", headers={"Origin": page} | asked)
            assert answer.status_code == 200, answer.text
        refused = await service.client.get("/api/wallet/balance", headers={"Origin": page})
        assert refused.status_code == 401
        assert refused.headers["Access-Control-Allow-Origin"] == page
        exposed = refused.headers["Access-Control-Expose-Headers"]
        needed = {"Allow", "Content-Disposition", "RateLimit-Remaining", "Retry-After"}
        assert needed <= set(exposed.split(", "))
        refused = await service.client.get("/api/wallet/balance", headers={"Origin": stranger})
        assert "Access-Control-Allow-Origin" not in refused.headers
