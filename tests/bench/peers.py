"""Databases beside ours, where they are installed: PostgreSQL (`pgbench`) and `medici` (npm)."""

from pathlib import Path

from tests.bench.harness import Figure, Scale


async def measure(scale: Scale, folder: Path) -> list[Figure]:
    """Nothing yet."""
    del scale, folder
    return []
