"""Benchmark harness: figures, their scale, and the service on a MongoDB of its own.

A benchmark module offers `async def measure(scale: Scale, folder: Path) -> list[Figure]`;
`tests/bench/__main__.py` runs each in a process of its own and prints all figures as one table.
"""

import contextlib
import dataclasses
import json
import statistics
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.support import load_client
from tests.support.processes import Processes
from tests.support.service import Person

# --- figures ------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a figure has to be: at least `value`, or with `at_most` no more than that.

    `module` measures it. `before` is what release 0.2.1 had, None where nobody measured it.
    """

    module: str
    title: str
    value: float
    unit: str = ""  # empty for a ratio
    at_most: bool = False
    before: float | None = None


ASKED: Final[dict[str, Asked]] = {
    "wallets_32": Asked(
        module="ledger",
        title="1,000 wallets, 32 callers / bare synchronous loop",
        value=0.65,
        before=0.42,
    ),
    "wallets_256": Asked(
        module="ledger",
        title="1,000 wallets, 256 callers / bare synchronous loop",
        value=0.5,
        before=0.26,
    ),
    "busy_256": Asked(
        module="ledger",
        title="one busy wallet, 256 callers / the prototype",
        value=1.1,
        before=0.74,
    ),
    "busy_32": Asked(
        module="ledger", title="one busy wallet, 32 callers / textbook", value=100, before=95
    ),
    "place_32": Asked(
        module="routes",
        title="POST /api/call, 32 callers / a route that only checks a signature",
        value=0.4,
        before=0.2,
    ),
    "place_p50": Asked(
        module="routes",
        title="POST /api/call, one caller, p50",
        value=7,
        unit="ms",
        at_most=True,
        before=15,
    ),
    "call_end": Asked(
        module="routes",
        title="call-end over HTTP / a route that only checks a signature",
        value=0.65,
        before=0.61,
    ),
    "balance": Asked(
        module="routes", title="balance over HTTP / a route that only authenticates", value=0.6
    ),
    "webhook_p99": Asked(
        module="webhooks",
        title="webhook acknowledged at 200 a second, p99 / that of /health",
        value=15,
        at_most=True,
        before=40,
    ),
    "credits_beside_webhooks": Asked(
        module="webhooks",
        title="credits a second while 4,000 webhooks wait",
        value=300,
        unit="/s",
        before=64,
    ),
    "history_pages": Asked(
        module="history",
        title="page of 50 at 1,000,000 / at 1,000 transactions, the slowest filter",
        value=1.3,
        at_most=True,
    ),
    "history_sums": Asked(
        module="history",
        title="sums at 1,000,000 / at 1,000 transactions, the slowest filter",
        value=1.3,
        at_most=True,
    ),
    "csv_speed": Asked(
        module="history", title="CSV of 1,000,000 rows / bare cursor and csv.writer", value=0.5
    ),
    "attacked_p99": Asked(
        module="attacks",
        title="/health under the worst attack from ten connections, p99",
        value=50,
        unit="ms",
        at_most=True,
        before=7_800,
    ),
    "attacked_memory": Asked(
        module="attacks",
        title="growth of memory under the worst of these attacks",
        value=50,
        unit="MB",
        at_most=True,
    ),
    "csv_memory": Asked(
        module="history",
        title="CSV of 1,000,000 rows, growth of memory",
        value=40,
        unit="MB",
        at_most=True,
    ),
    "dial_rate": Asked(
        module="campaigns",
        title="calls dialled by a campaign / POST /api/call served",
        value=0.5,
    ),
    "claim_cost": Asked(
        module="campaigns",
        title="the next contact of 500,000 / of 1,000",
        value=1.3,
        at_most=True,
    ),
    "fair_share": Asked(
        module="campaigns",
        title="nine users with 100 contacts beside one with 100,000 / ten equals",
        value=1.2,
        at_most=True,
    ),
    "import_rate": Asked(
        module="uploads",
        title="500,000 rows imported / a plain insert_many",
        value=0.3,
    ),
    "import_memory": Asked(
        module="uploads",
        title="growth of memory while they are imported",
        value=100,
        unit="MB",
        at_most=True,
    ),
    "balance_beside_import": Asked(
        module="uploads",
        title="another user's balance while they are imported, p99",
        value=50,
        unit="ms",
        at_most=True,
    ),
    "list_beside_uploads": Asked(
        module="uploads",
        title="a list of 1,000 rows beside another user's worst files, the slowest",
        value=3,
        unit="s",
        at_most=True,
        before=88,
    ),
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured figure. `name` is a key of `ASKED`, or free for what nothing is asked of.

    `value` is the median of the rounds. `parts` are medians of what it was computed from, by name
    with their unit: `{"service, /s": 2254, "bare loop, /s": 5380}`.
    """

    name: str
    value: float
    unit: str = ""
    parts: Mapping[str, float] = dataclasses.field(default_factory=dict)
    rounds: Sequence[float] = ()
    note: str = ""

    @property
    def is_met(self) -> bool | None:
        """Whether it is as asked; None where nothing is asked."""
        asked = ASKED.get(self.name)
        if asked is None:
            return None
        return self.value <= asked.value if asked.at_most else self.value >= asked.value


def ratio_of(
    name: str, ours: Sequence[float], beside: Sequence[float], *, parts: tuple[str, str]
) -> Figure:
    """The median of the ratios of alternating rounds, with the medians of both sides."""
    ratios = [our / other for our, other in zip(ours, beside, strict=True)]
    return Figure(
        name=name,
        value=statistics.median(ratios),
        parts={parts[0]: statistics.median(ours), parts[1]: statistics.median(beside)},
        rounds=ratios,
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is measured. The figures count at `FULL`; `TINY` only shows that the benchmark runs.

    `seconds` is the length of a measurement that lasts a given time, `share` that part of a
    module's own counts (of a million entries, of 4,000 webhooks).
    """

    rounds: int
    seconds: float
    share: float

    def count(self, full: int, *, at_least: int = 1) -> int:
        """This scale's share of a module's own count."""
        return max(at_least, int(full * self.share))


FULL: Final = Scale(rounds=3, seconds=3.0, share=1.0)
TINY: Final = Scale(rounds=1, seconds=0.2, share=0.002)
SCALES: Final = {"full": FULL, "tiny": TINY}


# --- a service to measure -----------------------------------------------------------------------


def folder_in(folder: Path, name: str) -> Path:
    """A folder of its own for a second service of a module."""
    made = folder / name
    made.mkdir()
    return made


@contextlib.asynccontextmanager
async def service(folder: Path, prelude: str = "", **changes: Any) -> AsyncIterator[Processes]:
    """The service on data of its own; the Python `prelude` runs in its process before it."""
    chosen = {"call_slice_minutes": 1, "max_concurrent_calls": 100_000, **changes}
    whole = Processes(folder, prelude=prelude, **chosen)
    try:
        await whole.start()
        yield whole
    finally:
        await whole.stop()
        await whole.client.aclose()


async def place(
    whole: Processes, person: Person, count: int, *, connections: int = 64
) -> list[dict[str, Any]]:
    """Calls of one person that the simulator will not end by itself."""
    placed: list[dict[str, Any]] = []

    def keep(_: int, status: int, body: bytes) -> None:
        if status != 202:
            raise SystemExit(f"a call was not placed: {status} {body!r}")
        placed.append(json.loads(body))

    await load_client.exchange(
        [whole.place_request(person)] * count,
        host="127.0.0.1",
        port=whole.settings.port,
        connections=connections,
        on_answer=keep,
    )
    return placed
