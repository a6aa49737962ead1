"""A replica set of three members on this machine, each of which can be killed and started again."""

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError
from pymongo.write_concern import WriteConcern

from core import embedded_mongodb
from tests.support.service import free_port

Client = MongoClient[dict[str, Any]]
PATIENCE_SECONDS = 120


class Member:
    """One mongod."""

    def __init__(self, folder: Path, number: int, parameters: Sequence[str] = ()) -> None:
        self.number, self.port, self.parameters = number, free_port(), parameters
        self.data = folder / f"member{number}"
        self.data.mkdir(parents=True)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        options = ["--replSet", "rs0", "--bind_ip", "127.0.0.1", "--nounixsocket", "--quiet"]
        small = ["--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "128"]
        parameters = (
            "transactionLifetimeLimitSeconds=5",
            "diagnosticDataCollectionEnabled=false",
            *self.parameters,
        )
        self.process = subprocess.Popen(
            [
                embedded_mongodb.find_binary(),
                *("--dbpath", self.data, "--port", str(self.port)),
                *("--logpath", self.data.with_suffix(".log"), "--logappend"),
                *options,
                *small,
                *(word for each in parameters for word in ("--setParameter", each)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def send(self, signum: int) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signum)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def hello(self) -> dict[str, Any]:
        """What it says of itself; nothing when it does not answer."""
        patience = {"serverSelectionTimeoutMS": 500, "socketTimeoutMS": 1_000}
        with contextlib.suppress(PyMongoError), self.connect(**patience) as client:
            found: dict[str, Any] = client.admin.command("hello")
            return found
        return {}

    def connect(self, **options: Any) -> Client:
        return Client("127.0.0.1", self.port, directConnection=True, tz_aware=True, **options)


class ReplicaSet:
    """The members; another primary is elected when one has been silent for `election_seconds`."""

    def __init__(
        self,
        folder: Path,
        *,
        size: int = 3,
        election_seconds: int = 3,
        parameters: Sequence[str] = (),
    ) -> None:
        self.members = [Member(folder, number, parameters) for number in range(size)]
        self._election_seconds = election_seconds

    @property
    def uri(self) -> str:
        return f"mongodb://{','.join(m.address for m in self.members)}/?replicaSet=rs0"

    def primary(self) -> Member | None:
        """The member that is the primary now, if one is."""
        for member in self.members:
            if member.is_running and member.hello().get("isWritablePrimary"):
                return member
        return None

    def start(self) -> None:
        for member in self.members:
            member.start()
        members = [{"_id": m.number, "host": m.address} for m in self.members]
        settings = {"electionTimeoutMillis": self._election_seconds * 1_000}
        wanted = {"_id": "rs0", "members": members, "settings": settings}
        for member in reversed(self.members):  # all have to answer before one can begin
            with member.connect(serverSelectionTimeoutMS=PATIENCE_SECONDS * 1_000) as client:
                client.admin.command("ping")
                if member is self.members[0]:
                    client.admin.command({"replSetInitiate": wanted})

    async def keep_primary(self, *, seconds: int) -> Member:
        """Let no election take place for `seconds`, also when the primary sees no other member; the
        primary. Not from the start: the first election waits for that long, too."""
        primary = await self.until_whole()
        with primary.connect() as client:
            found = client.admin.command("replSetGetConfig")["config"]
            found["settings"]["electionTimeoutMillis"] = seconds * 1_000
            found["version"] += 1
            await asyncio.to_thread(client.admin.command, {"replSetReconfig": found})
        return primary

    async def until_whole(self) -> Member:
        """Wait until every member is there; the primary."""
        until = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < until:
            said = [await asyncio.to_thread(member.hello) for member in self.members]
            primaries = [
                m
                for m, hello in zip(self.members, said, strict=True)
                if hello.get("isWritablePrimary")
            ]
            secondaries = [hello for hello in said if hello.get("secondary")]
            if len(primaries) == 1 and len(secondaries) == len(self.members) - 1:
                return primaries[0]
            await asyncio.sleep(0.2)
        raise AssertionError("the replica set did not become whole")

    async def until_writable(self) -> float:
        """Wait until a write of a majority goes through; the moment (`time.monotonic`) it was."""
        with Client(
            self.uri, serverSelectionTimeoutMS=300, heartbeatFrequencyMS=500, retryWrites=False
        ) as client:
            pings = client.beside.get_collection(
                "pings", write_concern=WriteConcern(w="majority", j=True, wtimeout=1_000)
            )
            until = time.monotonic() + PATIENCE_SECONDS
            while time.monotonic() < until:
                with contextlib.suppress(PyMongoError):
                    await asyncio.to_thread(
                        pings.update_one, {"_id": 1}, {"$inc": {"n": 1}}, upsert=True
                    )
                    return time.monotonic()
                await asyncio.sleep(0.1)
        raise AssertionError("the replica set did not take writes again")

    def stop(self) -> None:
        for member in self.members:
            if member.is_running:
                with contextlib.suppress(ProcessLookupError):
                    member.send(signal.SIGCONT)
                member.kill()


@contextlib.asynccontextmanager
async def replica_set(folder: Path, **options: Any) -> AsyncIterator[ReplicaSet]:
    """The set, started and whole; killed at the end."""
    started = ReplicaSet(folder, **options)
    try:
        await asyncio.to_thread(started.start)
        await started.until_whole()
        yield started
    finally:
        await asyncio.to_thread(started.stop)
