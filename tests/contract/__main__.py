"""A long run: `python -m tests.contract --requests 50000`. Prints every complaint, and the figures."""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from core import embedded_mongodb
from tests.contract import generated, roles
from tests.contract.generated import Outcome
from tests.support.service import running

_EXAMPLES = 20


async def _run(requests_min: int, first_seed: int) -> Outcome:
    """Rounds with one seed after the other, each on a database of its own, until there were so many."""
    found, seed, began = Outcome(), first_seed, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        mongod = embedded_mongodb.start(Path(folder))
        try:
            while found.requests < requests_min:
                async with running(roles.settings(mongod.uri)) as service:
                    people = await roles.people(service)
                    plans = roles.plans(people, examples=_EXAMPLES, seed=seed)
                    base_url = str(service.client.base_url).rstrip("/")
                    found.add(await generated.ask(base_url, plans))
                minutes = (time.monotonic() - began) / 60
                print(
                    f"seed {seed}: {found.requests} requests in {minutes:.1f} minutes", flush=True
                )
                print(generated.told(found.complaints), flush=True)
                seed += 1
        finally:
            mongod.stop()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    found = asyncio.run(_run(chosen.requests, chosen.seed))
    for answer, count in sorted(found.answers.items()):
        print(f"{answer:>14} {count:>7}")
    print(f"{found.requests} requests, {len(found.complaints)} complaints")
    sys.exit(1 if found.complaints else 0)


if __name__ == "__main__":
    main()
