"""A running service for tests, and what a test wants of it: people, money, requests."""

import asyncio
import contextlib
import dataclasses
import itertools
import os
import socket
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from pydantic import SecretStr

import users
import wallet
from api import http_protocol
from auth import sessions
from core import clock, config, database
from sandbox.service import create_app
from tests.support import databases

ROOT = Path(__file__).resolve().parent.parent.parent
PASSWORD = "correct horse battery"
# Longer than httpx keeps an idle connection (5 seconds): a server that closes one at the moment at which
# a test uses it again is a ReadError.
KEEP_ALIVE_SECONDS = 75
_numbers = itertools.count(1)


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

    async def operator(self) -> Person:
        """A new account with the role operator."""
        person = await self.signup()
        await database.db.users.update_one({"_id": person.id}, {"$set": {"role": "operator"}})
        await until(lambda: _is_operator(person))
        return person

    async def disabled(self) -> Person:
        """A new account that is disabled."""
        person = await self.signup()
        now = {"$set": {"disabled_at": clock.now()}}
        await database.db.users.update_one({"_id": person.id}, now)
        await until(lambda: _is_disabled(person))
        return person

    async def fund(self, person: Person, rupees: int) -> None:
        """Put money into a wallet, as an adjustment."""
        await wallet.adjust(
            person.id,
            kind="credit",
            amount_paise=rupees * 100,
            reason="Test money",
            by="policy",
            seed=database.new_id("test"),
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


def new_key() -> dict[str, str]:
    """The header of a request that is made once."""
    return {"Idempotency-Key": database.new_id("key")}


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
        # Tests run at night, too, and call the same numbers again and again.
        "calling_hours": "off",
        "contact_gap_minutes": 0,
        "contact_calls_per_day": 0,
        "contact_calls_per_week": 0,
        **changes,
    }
    return config.Settings(_env_file=None, **given)


def _on_its_database(settings: config.Settings) -> config.Settings:
    name = databases.take(settings.mongodb_uri, settings.mongodb_db)
    return settings.model_copy(update={"mongodb_db": name})


@contextlib.asynccontextmanager
async def committer(mongodb_uri: str) -> AsyncIterator[config.Settings]:
    """The wallet of this process alone: no HTTP, no worker."""
    chosen = _on_its_database(test_settings(mongodb_uri))
    config.use(chosen)
    await database.connect(chosen.mongodb_uri, chosen.mongodb_db)
    await database.prepare()
    await wallet.start()
    try:
        yield chosen
    finally:
        await wallet.stop()
        await database.close()
        config.use(None)
        with contextlib.suppress(database.AnyError):
            await databases.give_back(mongodb_uri, chosen.mongodb_db)


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
            http=http_protocol.PROTOCOL,
            ws="none",
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
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
    """A real server in this process, with the sandbox, on a database of its own: `settings` of what
    is yielded name it."""
    settings = _on_its_database(settings)
    try:
        async with serving(settings) as started:
            yield started
    finally:
        await databases.give_back(settings.mongodb_uri, settings.mongodb_db)


SECRET = "a-secret-for-the-tests-only-0123456789"  # conftest.test_settings


@contextlib.asynccontextmanager
async def second_process(settings: config.Settings) -> AsyncIterator[httpx.AsyncClient]:
    """Another real process of the same service, on the same database."""
    port = free_port()
    environment = {
        **os.environ,
        "APP_ENV": "test",
        "PORT": str(port),
        "MONGODB_URI": settings.mongodb_uri,
        "MONGODB_DB": settings.mongodb_db,
        "JWT_SECRET": settings.jwt_secret.get_secret_value(),
        "LOGIN_ATTEMPTS_PER_MINUTE": str(settings.login_attempts_per_minute),
        "LOG_LEVEL": "WARNING",
        "CALLING_HOURS": settings.calling_hours,
        "CONTACT_GAP_MINUTES": str(settings.contact_gap_minutes),
        "CONTACT_CALLS_PER_DAY": str(settings.contact_calls_per_day),
        "CONTACT_CALLS_PER_WEEK": str(settings.contact_calls_per_week),
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uvicorn", "main:app", "--port", str(port)),
        *("--http", http_protocol.PROTOCOL, "--ws", "none"),
        *("--no-access-log", "--log-level", "warning"),
        *("--timeout-keep-alive", str(KEEP_ALIVE_SECONDS)),
        cwd=ROOT,
        env=environment,
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            for _ in range(300):
                assert process.returncode is None, "the second process did not start"
                with contextlib.suppress(httpx.TransportError):
                    if (await client.get("/health")).status_code == 200:
                        break
                await asyncio.sleep(0.1)
            yield client
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def until(question: Any, *, seconds: float = 60.0) -> float:
    """Ask until the answer is true; how many seconds it took."""
    began = time.monotonic()
    while not await question():
        assert time.monotonic() - began < seconds, "it never became true"
        await asyncio.sleep(0.02)
    return time.monotonic() - began


async def _is_operator(person: Person) -> bool:
    user = await users.find_user_cached(person.id)
    return user is not None and user.role == "operator"


async def _is_disabled(person: Person) -> bool:
    user = await users.find_user_cached(person.id)
    return user is not None and user.disabled


async def in_step() -> bool:
    return sessions.is_current()


async def status_of(service: Service, token: str) -> int:
    answer = await service.get("/api/auth/me", headers={"Authorization": f"Bearer {token}"})
    return answer.status_code


test_settings.__test__ = False  # type: ignore[attr-defined]
