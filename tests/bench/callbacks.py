"""Call-end callbacks on one busy wallet, through HTTP, against a route that does no work.

    .venv/bin/python -m tests.bench.callbacks [--calls 2000] [--connections 256] [--rounds 3]

The service runs in one process of its own with one more route, which only checks the callback's
signature and answers 204. Calls are placed first; then the same signed callbacks go to the empty
route and to the real one, in turn, over the same keep-alive connections. The real one looks the
call up, charges it, releases its hold, and writes the call, the entry and the event in one commit.
The client is bare sockets, so that the service is what is measured. The ratio is what counts.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop
from fastapi import Request, Response
from starlette.applications import Starlette

import telephony
from tests.bench import harness
from tests.support import load_client
from tests.support.processes import end_of

NULL = "/bench/simulator/{call_id}/status"


def application() -> Starlette:
    """The service, with a route that only checks the signature."""
    from sandbox.service import create_app

    app = create_app()

    async def null(request: Request) -> Response:
        path = f"/api/telephony/simulator/{request.path_params['call_id']}/status"
        telephony.read_callback(
            "simulator",
            request.path_params["call_id"],
            path=f"{path}?{request.url.query}",
            headers=dict(request.headers),
            body=await request.body(),
        )
        return Response(status_code=204)

    product = app.routes[-1].app  # type: ignore[attr-defined]
    product.add_api_route(NULL, null, methods=["POST"], status_code=204)
    return app


async def send(requests: Sequence[bytes], port: int, connections: int) -> float:
    """Requests a second; every answer must be 204."""

    def check(_: int, status: int, body: bytes) -> None:
        if status != 204:
            raise SystemExit(f"not 204: {status} {body!r}")

    began = time.perf_counter()
    await load_client.exchange(
        requests, host="127.0.0.1", port=port, connections=connections, on_answer=check
    )
    return len(requests) / (time.perf_counter() - began)


async def run(arguments: argparse.Namespace, folder: Path) -> None:
    async with harness.service(
        folder, "from tests.bench import callbacks; callbacks.serve()"
    ) as whole:
        person = await whole.service.signup()
        await whole.recharge(person, 400_000)
        ratios = []
        for number in range(1, arguments.rounds + 1):
            began = time.perf_counter()
            calls = await harness.place(whole, person, arguments.calls)
            placed = len(calls) / (time.perf_counter() - began)
            ends = [end_of(call) for call in calls]
            null = [
                load_client.request(
                    "POST",
                    url,
                    headers=headers,
                    body=body,
                    path=NULL.format(call_id=call["call_id"]),
                )
                for call, (url, body, headers) in zip(calls, ends, strict=True)
            ]
            real = [
                load_client.request("POST", url, headers=headers, body=body)
                for url, body, headers in ends
            ]
            empty = await send(null, whole.settings.port, arguments.connections)
            charged = await send(real, whole.settings.port, arguments.connections)
            ratios.append(charged / empty)
            print(
                f"round {number}: placed {placed:5.0f}/s   only the signature {empty:6.0f}/s   "
                f"charged {charged:6.0f}/s   ratio {charged / empty:.2f}",
                flush=True,
            )
        balance = await whole.service.balance(person)
        spent = 400_000 - balance["balance"]
        expected = 5.0 * arguments.calls * arguments.rounds
        if spent != expected or balance["held"]:
            raise SystemExit(f"Rs {spent} were charged, Rs {expected} expected: {balance}")
        print(f"median ratio {statistics.median(ratios):.2f} (asked for: 0.40)")


def serve() -> int:
    """What the service's process runs: the usual command, with the application above."""
    import manage

    manage.application = application
    return manage.command_line(["run"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--calls", type=int, default=2_000)
    parser.add_argument("--connections", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        uvloop.run(run(arguments, Path(folder)))


if __name__ == "__main__":
    main()
