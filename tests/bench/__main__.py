"""All benchmarks: every figure as one table, with the machine and the versions, and as JSON.

    .venv/bin/python -m tests.bench [MODULE ...] [--scale full|tiny] [--json PATH]

Each module runs in a process of its own on a MongoDB of its own. Without `--json` the JSON goes to
`bench.json` in the data folder of this machine (`.data/`). Figures mean something on a machine
that does nothing else; the ratios are medians of alternating rounds of one run.
"""

import argparse
import dataclasses
import importlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop

from core import database, embedded_mongodb
from tests.bench import harness
from tests.bench.harness import ASKED, SCALES, Figure, Scale
from tests.support.service import ROOT

MODULES = ("ledger", "routes", "webhooks", "history", "attacks", "uploads", "campaigns", "peers")
PACKAGES = ("fastapi", "uvicorn", "uvloop", "httptools", "motor", "pymongo", "pydantic")
MODULE_SECONDS_MAX = 600


# --- one module ---------------------------------------------------------------------------------


def measure_here(module: str, scale: Scale) -> list[Figure]:
    """The figures of a module, measured in this process."""
    measure = importlib.import_module(f"tests.bench.{module}").measure
    with tempfile.TemporaryDirectory() as folder:
        figures: list[Figure] = uvloop.run(measure(scale, Path(folder)))
    return figures


def measure_apart(module: str, scale_name: str) -> list[Figure]:
    """The figures of a module, measured in a process of its own; none when it fails, which it says."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figures.json"
        command = [sys.executable, "-m", "tests.bench", "--here", module]
        finished = subprocess.run(
            [*command, "--scale", scale_name, "--json", str(path)],
            cwd=ROOT,
            timeout=MODULE_SECONDS_MAX,
            check=False,
        )
        if finished.returncode:
            print(f"{module}: failed, see above", file=sys.stderr)
            return []
        return [Figure(**figure) for figure in json.loads(path.read_text())]


# --- the machine --------------------------------------------------------------------------------


def machine() -> dict[str, Any]:
    """What the figures were measured on and with."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "mongodb": _mongodb_version(),
        "commit": _commit(),
        "load_at_start": round(os.getloadavg()[0], 2),
        **{name: _version(name) for name in PACKAGES},
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _mongodb_version() -> str:
    with tempfile.TemporaryDirectory() as folder:
        running = embedded_mongodb.start(folder)
        try:
            return str(database.ask(running.port, {"buildInfo": 1})["version"])
        finally:
            running.stop()


def _commit() -> str:
    try:
        asked = ["git", "describe", "--always", "--dirty"]
        return subprocess.run(
            asked, cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


# --- the table ----------------------------------------------------------------------------------


def table(figures: list[Figure], modules: list[str]) -> str:
    """Every figure that was asked of these modules, measured or not, then the others."""
    measured = {figure.name: figure for figure in figures}
    rows = [("figure", "0.2.1", "asked", "measured", "", "from")]
    for name, asked in ASKED.items():
        if asked.module not in modules:
            continue
        figure = measured.pop(name, None)
        sign = "≤" if asked.at_most else "≥"
        before = "" if asked.before is None else _text(asked.before, asked.unit)
        target = f"{sign} {_text(asked.value, asked.unit)}"
        if figure is None:
            rows.append((asked.title, before, target, "not measured", "NOT MET", ""))
        else:
            verdict = "met" if figure.is_met else "NOT MET"
            value = _text(figure.value, asked.unit)
            rows.append((asked.title, before, target, value, verdict, _parts(figure)))
    for figure in measured.values():
        rows.append((figure.name, "", "", _text(figure.value, figure.unit), "", _parts(figure)))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[5]])
        for row in rows
    )


def _text(value: float, unit: str) -> str:
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}{' ' + unit if unit and unit[0] != '/' else unit}"


def _parts(figure: Figure) -> str:
    parts = [
        f"{name} {value:,.{0 if value >= 100 else 1}f}" for name, value in figure.parts.items()
    ]
    return "; ".join([*parts, *([figure.note] if figure.note else [])])


# --- the command --------------------------------------------------------------------------------


def run_all(modules: list[str], scale_name: str, path: Path) -> int:
    """Measure, print the table, write the JSON; 1 when a module failed, never for a slow figure."""
    began = time.monotonic()
    facts = machine()
    figures: list[Figure] = []
    failed = False
    for module in modules:
        print(f"--- {module}", file=sys.stderr, flush=True)
        found = measure_apart(module, scale_name)
        failed = failed or (not found and module != "peers")
        figures += found
    seconds = time.monotonic() - began
    print("\n".join(f"{name}: {value}" for name, value in facts.items()))
    print(f"scale: {scale_name}; {seconds:.0f} s\n")
    print(table(figures, modules))
    path.parent.mkdir(parents=True, exist_ok=True)
    written = {
        "machine": facts,
        "scale": scale_name,
        "seconds": round(seconds),
        "figures": [
            {
                **dataclasses.asdict(figure),
                "asked": dataclasses.asdict(ASKED[figure.name]) if figure.name in ASKED else None,
                "is_met": figure.is_met,
            }
            for figure in figures
        ],
    }
    path.write_text(json.dumps(written, indent=2, ensure_ascii=False) + "\n")
    print(f"\nwritten to {path}")
    return int(failed)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description=__doc__.splitlines()[0] if __doc__ else None,
    )
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=", ".join(MODULES))
    parser.add_argument("--scale", choices=sorted(SCALES), default="full")
    parser.add_argument("--json", type=Path, default=ROOT / ".data" / "bench.json")
    parser.add_argument("--here", action="store_true", help="one module, in this process")
    arguments = parser.parse_args()
    modules = arguments.modules or list(MODULES)
    if unknown := set(modules) - set(MODULES):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(MODULES)}")
    if arguments.here:
        figures = measure_here(modules[0], harness.SCALES[arguments.scale])
        arguments.json.write_text(json.dumps([dataclasses.asdict(figure) for figure in figures]))
        return 0
    return run_all(modules, arguments.scale, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
