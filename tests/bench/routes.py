"""Routes through HTTP: a call placed, its end, the balance, beside routes that do no such work.

    .venv/bin/python -m tests.bench routes

The service runs in one process of its own with two more routes: one checks the signature of a
callback and answers 204, the other authenticates and answers 204. Requests are prepared bytes over
keep-alive connections, so that the service is what is measured; rounds alternate. A call is placed
with its hold and given to the simulator; its end looks the call up, charges it, releases its hold, and
writes the call, the entry and the event in one commit. At the end the money is counted.
"""

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.applications import Starlette

import telephony
from api.dependencies import CurrentUser
from tests.bench import harness
from tests.bench.harness import Figure, Scale
from tests.support import load_client
from tests.support.processes import Processes, end_of
from tests.support.service import Person

SIGNED = "/bench/simulator/{call_id}/status"
AUTHENTICATED = "/bench/authenticated"
RUPEES = 1_000_000
CALL_RUPEES = 5.0
CALLERS = 32
CALLBACK_CONNECTIONS = 256


# --- the service, with the routes beside it -----------------------------------------------------


def application() -> Starlette:
    """The service, with a route that only checks the signature and one that only authenticates."""
    from sandbox.service import create_app

    app = create_app()

    async def signed(request: Request) -> Response:
        path = f"/api/telephony/simulator/{request.path_params['call_id']}/status"
        telephony.read_callback(
            "simulator",
            request.path_params["call_id"],
            path=f"{path}?{request.url.query}",
            headers=dict(request.headers),
            body=await request.body(),
        )
        return Response(status_code=204)

    async def authenticated(_: CurrentUser) -> Response:
        return Response(status_code=204)

    product = app.router.default
    assert isinstance(product, FastAPI)
    product.add_api_route(SIGNED, signed, methods=["POST"], status_code=204)
    product.add_api_route(AUTHENTICATED, authenticated, methods=["GET"], status_code=204)
    return app


def mount() -> None:
    """Have the service of this process serve the application above."""
    import manage

    manage.application = application


# --- load ---------------------------------------------------------------------------------------


class Load:
    """A service under load: requests of one person, and what they cost."""

    def __init__(self, whole: Processes, person: Person) -> None:
        self.whole, self.person = whole, person
        self.placed = self.ended = 0

    async def send(self, requests: Sequence[bytes], status: int, connections: int) -> float:
        """Requests a second; every answer must have this status."""

        def check(_: int, got: int, body: bytes) -> None:
            if got != status:
                raise SystemExit(f"not {status}: {got} {body!r}")

        began = time.perf_counter()
        await load_client.exchange(
            requests,
            host="127.0.0.1",
            port=self.whole.settings.port,
            connections=connections,
            on_answer=check,
        )
        return len(requests) / (time.perf_counter() - began)

    async def place(self, count: int, connections: int) -> tuple[list[dict[str, Any]], float]:
        """Calls that the simulator will not end by itself, and how many a second."""
        began = time.perf_counter()
        calls = await harness.place(self.whole, self.person, count, connections=connections)
        self.placed += count
        return calls, count / (time.perf_counter() - began)

    async def signed_only(self, calls: Sequence[dict[str, Any]], connections: int) -> float:
        """Their ends a second, sent to the route that only checks the signature."""
        requests = []
        for call in calls:
            url, body, headers = end_of(call)
            path = SIGNED.format(call_id=call["call_id"])
            requests.append(load_client.request("POST", url, headers=headers, body=body, path=path))
        return await self.send(requests, 204, connections)

    async def end(self, calls: Sequence[dict[str, Any]], connections: int) -> float:
        """Their ends a second."""
        requests = []
        for call in calls:
            url, body, headers = end_of(call)
            requests.append(load_client.request("POST", url, headers=headers, body=body))
        self.ended += len(calls)
        return await self.send(requests, 204, connections)

    async def get(self, path: str, status: int, count: int, connections: int) -> float:
        """Requests a second of a path, as the person."""
        url = self.whole.settings.own_url + path
        asked = load_client.request("GET", url, headers=self.person.headers)
        return await self.send([asked] * count, status, connections)

    async def check_money(self) -> None:
        """Every ended call is charged once, and nothing of it stays reserved."""
        balance = await self.whole.service.balance(self.person)
        spent, expected = RUPEES - balance["balance"], CALL_RUPEES * self.ended
        if spent != expected or (balance["held"] and self.ended == self.placed):
            raise SystemExit(f"Rs {spent} were charged, Rs {expected} expected: {balance}")


# --- the figures --------------------------------------------------------------------------------


async def one_caller(load: Load, count: int) -> list[float]:
    """Milliseconds of every answer to a caller who places one call after another, sorted."""
    took = []
    for _ in range(count):
        began = time.perf_counter()
        await load.place(1, 1)
        took.append((time.perf_counter() - began) * 1_000)
    return sorted(took)


async def measure(scale: Scale, folder: Path) -> list[Figure]:
    """The four figures of the routes, and calls placed by 1 and 128 callers."""
    prelude = "from tests.bench import routes; routes.mount()"
    async with harness.service(folder, prelude) as whole:
        person = await whole.service.signup()
        for _ in range(2):  # a recharge is at most Rs 500,000
            await whole.recharge(person, RUPEES // 2)
        load = Load(whole, person)
        await load.end((await load.place(scale.count(200), CALLERS))[0], CALLERS)  # warmed up
        count, few = scale.count(2_000), scale.count(150, at_least=3)
        medians: list[float] = []
        placed: dict[int, list[float]] = {CALLERS: [], 128: []}
        signed: list[float] = []
        ended: list[float] = []
        signed_by_many: list[float] = []
        balances: list[float] = []
        authenticated: list[float] = []
        for _ in range(scale.rounds):
            medians.append(statistics.median(await one_caller(load, few)))
            for callers, rates in placed.items():
                calls, rate = await load.place(count, callers)
                rates.append(rate)
                if callers == CALLERS:
                    signed.append(await load.signed_only(calls, CALLERS))
                signed_by_many.append(await load.signed_only(calls, CALLBACK_CONNECTIONS))
                ended.append(await load.end(calls, CALLBACK_CONNECTIONS))
            authenticated.append(await load.get(AUTHENTICATED, 204, count, CALLERS))
            balances.append(await load.get("/api/wallet/balance", 200, count, CALLERS))
        await load.check_money()
    return [
        harness.ratio_of(
            "place_32", placed[CALLERS], signed, parts=("placed, /s", "signature only, /s")
        ),
        Figure(name="place_p50", value=statistics.median(medians), unit="ms", rounds=medians),
        harness.ratio_of(
            "call_end", ended, signed_by_many, parts=("charged, /s", "signature only, /s")
        ),
        harness.ratio_of(
            "balance", balances, authenticated, parts=("balance, /s", "authenticated only, /s")
        ),
        Figure(
            name="calls placed by 128 callers",
            value=statistics.median(placed[128]),
            unit="/s",
            rounds=placed[128],
        ),
    ]
