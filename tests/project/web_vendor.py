"""The libraries of the console, as ES modules in web/vendor/: exact versions, licences, SHA-256.

    python -m tests.project.web_vendor           # compare the files with web/vendor/versions.json
    python -m tests.project.web_vendor --write   # fetch them with npm, write them and the record

Browsers cannot import a bare name without an inline import map, which the policy of the pages forbids;
so what is written imports by a relative path.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent.parent.parent / "web" / "vendor"
RECORD = FOLDER / "versions.json"
# By file: package, version, the file in it, what is appended.
FILES = {
    "preact.js": ("preact", "11.2.0", "dist/preact.mjs", ""),
    "preact-hooks.js": ("preact", "11.2.0", "hooks/dist/hooks.mjs", ""),
    "htm.js": ("htm", "3.1.1", "dist/htm.module.js", ""),
    "signals.js": ("@preact/signals", "2.11.4", "dist/signals.module.js", ""),
    "signals-core.js": ("@preact/signals-core", "1.14.5", "dist/signals-core.module.js", ""),
    "uplot.js": ("uplot", "1.6.32", "dist/uPlot.iife.min.js", "\nexport default uPlot;\n"),
    "uplot.css": ("uplot", "1.6.32", "dist/uPlot.min.css", ""),
}
# The bare names that they import each other by.
IMPORTS = {
    "preact/hooks": "./preact-hooks.js",
    "preact": "./preact.js",
    "@preact/signals-core": "./signals-core.js",
    "htm": "./htm.js",
}


def vendored(text: str, appended: str = "") -> str:
    """A module as it is stored: relative imports, no reference to a source map that is not there."""
    for name, path in IMPORTS.items():
        text = text.replace(f'from"{name}"', f'from"{path}"').replace(
            f"from'{name}'", f"from'{path}'"
        )
    lines = [line for line in text.splitlines() if not line.startswith("//# sourceMappingURL")]
    return "\n".join(lines).rstrip() + "\n" + appended.lstrip("\n")


def differences() -> list[str]:
    """What of web/vendor/ is not as it is recorded; nothing when all is well."""
    record: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
    found = [name for name in record if record[name]["sha256"] != _sha256(FOLDER / name)]
    there = {path.name for path in FOLDER.iterdir()} - {RECORD.name}
    unknown = sorted(there - record.keys() - {one["licence_file"] for one in record.values()})
    return [f"{name} is not what versions.json says" for name in found] + [
        f"{name} is not in versions.json" for name in unknown
    ]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _packed(package: str, version: str, into: Path) -> Path:
    name = subprocess.run(
        ["npm", "pack", f"{package}@{version}", "--silent"],
        cwd=into,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    unpacked = into / f"{package.replace('/', '+')}-{version}"
    with tarfile.open(into / name) as archive:
        archive.extractall(unpacked, filter="data")
    return unpacked / "package"


def write() -> None:
    """Fetch every package, write its files, and record what was written."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    record: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        packages: dict[str, Path] = {}
        for name, (package, version, source, appended) in FILES.items():
            if package not in packages:
                packages[package] = _packed(package, version, Path(folder))
            root = packages[package]
            text = (root / source).read_text(encoding="utf-8")
            (FOLDER / name).write_text(vendored(text, appended), encoding="utf-8")
            licence = f"{package.removeprefix('@').replace('/', '-')}.LICENSE"
            (FOLDER / licence).write_bytes((root / "LICENSE").read_bytes())
            about = json.loads((root / "package.json").read_text(encoding="utf-8"))
            record[name] = {
                "package": package,
                "version": version,
                "file": source,
                "licence": about["license"],
                "licence_file": licence,
                "sha256": _sha256(FOLDER / name),
            }
    RECORD.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def main() -> int:
    """Write or compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true", help="fetch the packages with npm")
    if parser.parse_args().write:
        write()
    found = differences()
    print("\n".join(found) or "web/vendor/ is what versions.json says")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
