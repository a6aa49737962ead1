"""One real mongod for the run, one database and one real server for each test that asks."""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import itertools
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import pytest
import uvicorn
from motor.motor_asyncio import AsyncIOMotorClient
from pydantic import SecretStr

import wallet
from core import clock, config, database, embedded_mongodb
from ledger import Credit
from sandbox.service import create_app

# How long an example takes says more of what else the machine does than of the code.
hypothesis.settings.register_profile(
    "wallet", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)


hypothesis.settings.load_profile("wallet")


ROOT = Path(__file__).resolve().parent.parent


PASSWORD = "correct horse battery"


_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def mongodb_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of a real one-node replica set that lives as long as the test run."""
    running = embedded_mongodb.start(tmp_path_factory.mktemp("mongod"))
    yield running.uri
    running.stop()


@dataclasses.dataclass
class Person:
    """Somebody with an account."""

    id: str
    email: str
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


class Service:
    """A running service, and what a test wants of it."""

    def __init__(self, client: httpx.AsyncClient, settings: config.Settings) -> None:
        self.client = client
        self.settings = settings

    async def signup(self, email: str | None = None, *, password: str = PASSWORD) -> Person:
        email = email or f"user{next(_numbers)}@example.com"
        answer = await self.client.post(
            "/api/auth/signup", json={"email": email, "password": password, "name": "Asha Rao"}
        )
        assert answer.status_code == 201, answer.text
        body = answer.json()
        return Person(id=body["user"]["id"], email=email, token=body["access_token"])

    async def admin(self) -> Person:
        answer = await self.client.post(
            "/api/auth/login",
            json={
                "email": self.settings.admin_email,
                "password": self.settings.admin_password.get_secret_value(),
            },
        )
        assert answer.status_code == 200, answer.text
        body = answer.json()
        return Person(
            id=body["user"]["id"], email=self.settings.admin_email, token=body["access_token"]
        )

    async def fund(self, person: Person, rupees: int) -> None:
        """Put money into a wallet, as an adjustment."""
        await wallet.post(
            Credit(
                user_id=person.id,
                key=f"adjust:{database.new_id('test')}",
                category="adjustment",
                amount_paise=rupees * 100,
                contra="adjustment",
                description="Test money",
            )
        )

    async def balance(self, person: Person) -> dict[str, Any]:
        answer = await self.get("/api/wallet/balance", person)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def get(self, path: str, person: Person | None = None, **options: Any) -> httpx.Response:
        return await self.request("GET", path, person, **options)

    async def post(self, path: str, person: Person | None = None, **options: Any) -> httpx.Response:
        return await self.request("POST", path, person, **options)

    async def request(
        self, method: str, path: str, person: Person | None = None, **options: Any
    ) -> httpx.Response:
        headers = {**(person.headers if person else {}), **options.pop("headers", {})}
        return await self.client.request(method, path, headers=headers, **options)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_settings(mongodb_uri: str, **changes: Any) -> config.Settings:
    """The settings of a test's service: nothing of the machine's `.env` or environment."""
    given: dict[str, Any] = {
        "app_env": "test",
        "port": free_port(),
        "mongodb_uri": mongodb_uri,
        "mongodb_db": f"test_{next(_numbers)}",
        "jwt_secret": SecretStr("a-secret-for-the-tests-only-0123456789"),
        "razorpay_webhook_secret": SecretStr("another-secret-for-the-tests"),
        "admin_email": "admin@example.com",
        "admin_password": SecretStr("an admin of the tests"),
        "log_level": "WARNING",
        **changes,
    }
    return config.Settings(_env_file=None, **given)


test_settings.__test__ = False  # type: ignore[attr-defined]


@contextlib.asynccontextmanager
async def serving(settings: config.Settings) -> AsyncIterator[Service]:
    """A real server in this process, with the sandbox; its databases stay when it has stopped."""
    config.use(settings)
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(),
            host="127.0.0.1",
            port=settings.port,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=2,
        )
    )
    task = asyncio.create_task(server.serve())
    try:
        while not server.started:
            if task.done():
                await task
                raise RuntimeError("the server did not start; its log says why")
            await asyncio.sleep(0.01)
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{settings.port}",
            timeout=120,
            limits=httpx.Limits(max_connections=200),
        ) as client:
            yield Service(client, settings)
    finally:
        server.should_exit = True
        await task
        config.use(None)


@contextlib.asynccontextmanager
async def running(settings: config.Settings) -> AsyncIterator[Service]:
    """A real server in this process, with the sandbox, on a database of its own."""
    try:
        async with serving(settings) as started:
            yield started
    finally:
        cleaner: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(settings.mongodb_uri)
        await cleaner.drop_database(settings.mongodb_db)
        await cleaner.drop_database(f"{settings.mongodb_db}_sandbox")
        cleaner.close()


Ahead = Callable[[], None]


@pytest.fixture
def past_the_boundary(monkeypatch: pytest.MonkeyPatch) -> Ahead:
    """Moves the clock of this process ahead, so that what follows does not reach over the end of the
    clock's minute, nor of the day in India; where neither is near, nothing moves."""
    real = clock.now

    def move_ahead() -> None:
        at = clock.now()
        day_end = clock.ist_day_end(clock.ist_date(at))
        ahead = dt.timedelta()
        if day_end - at < dt.timedelta(minutes=5):
            ahead = day_end - at + dt.timedelta(seconds=1)
        elif at.second > 30:
            ahead = dt.timedelta(seconds=61 - at.second)
        shift = at + ahead - real()
        monkeypatch.setattr(clock, "now", lambda: real() + shift)

    return move_ahead


@pytest.fixture
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """The service with the settings of the tests."""
    async with running(test_settings(mongodb_uri)) as started:
        yield started


# The files that take longest begin first: two at a time, the last ones are then short.
SLOW = (
    "test_dialer",
    "test_machine",
    "test_crash",
    "test_talk_machine",
    "test_manage",
    "test_races",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {name: place for place, name in enumerate(SLOW)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(SLOW)))
