#!/usr/bin/env bash
# From a fresh clone to a running service, or to a green test run. `./setup_wallet.sh help` says more.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
VENV=.venv

say() { printf '%s\n' "$*" >&2; }
die() { say "setup_wallet.sh: $*"; exit 1; }

help() {
    cat <<'TEXT'
usage: ./setup_wallet.sh COMMAND

  run                       install, write .env, start the service with everything it needs
  demo                      fill an empty database with a month of believable life, to look at
  check [--mode test|live]  say what is wrong with the configuration, and what Razorpay's
                            test or live mode still needs
  test [PYTEST ARGUMENTS]   install, then the formatter, the linter, the types and the tests
  help                      this

It needs Python 3.11 or newer and a package index for pip, nothing else.
WALLET_PYTHON=/path/to/python uses that Python as it is and installs nothing.
TEXT
}

# --- Python ---

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }
has_module() { "$1" -c "import $2" >/dev/null 2>&1; }

find_python() {
    local candidate second=""
    for candidate in python3 python3.11 python3.12 python3.13 python3.14 python; do
        is_new_enough "$candidate" || continue
        if has_module "$candidate" "venv, ensurepip"; then
            printf '%s\n' "$candidate"
            return
        fi
        second=${second:-$candidate}
    done
    [ -n "$second" ] || die "no Python 3.11 or newer here (tried python3, python3.11 to python3.14).
Install one, for example: sudo apt install python3 python3-venv, or brew install python"
    printf '%s\n' "$second"
}

make_venv() {
    if [ -x "$VENV/bin/python" ] && is_new_enough "$VENV/bin/python" && has_module "$VENV/bin/python" pip; then
        return
    fi
    local found
    found=$(find_python)
    say "making $VENV with $("$found" --version 2>&1) ..."
    if [ -f "$VENV/pyvenv.cfg" ]; then rm -rf "$VENV"; fi
    if has_module "$found" "venv, ensurepip"; then
        "$found" -m venv "$VENV"
    elif has_module "$found" virtualenv; then
        "$found" -m virtualenv --quiet "$VENV"
    elif has_module "$found" "venv, pip"; then
        "$found" -m venv --without-pip "$VENV"
        "$found" -m pip --python "$VENV/bin/python" install --quiet --disable-pip-version-check pip
    else
        die "$found cannot make a virtual environment: its venv package is missing.
Install it, for example: sudo apt install python3-venv"
    fi
}

# --- packages: installed again only when the requirements changed ---

fingerprint() {
    "$VENV/bin/python" - "$@" <<'PY'
import hashlib, pathlib, sys
print(hashlib.sha256(b"".join(pathlib.Path(p).read_bytes() for p in sys.argv[1:])).hexdigest())
PY
}

install() {
    local wanted=$1 stamp want
    stamp="$VENV/.installed-$wanted"
    if [ "$wanted" = requirements-dev.txt ]; then
        want=$(fingerprint requirements.txt requirements-dev.txt)
    else
        want=$(fingerprint requirements.txt)
    fi
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ]; then return; fi
    say "installing $wanted (the first time about a minute) ..."
    "$VENV/bin/python" -m pip install --quiet --no-input --disable-pip-version-check -r "$wanted" ||
        die "the packages of $wanted could not be installed; pip says why above"
    printf '%s\n' "$want" >"$stamp"
}

PYTHON=""
prepare() {
    if [ -n "${WALLET_PYTHON:-}" ]; then
        is_new_enough "$WALLET_PYTHON" || die "WALLET_PYTHON=$WALLET_PYTHON is no Python 3.11 or newer"
        PYTHON=$WALLET_PYTHON
        return
    fi
    make_venv
    install "$1"
    PYTHON="$PWD/$VENV/bin/python"
}

# --- .env: written once, never again ---

write_env() {
    if [ -e .env ]; then return; fi
    "$PYTHON" - <<'PY'
import os, pathlib, secrets

lines = pathlib.Path(".env.example").read_text(encoding="utf-8").splitlines()
text = "\n".join(
    line[: -len("change-me")] + secrets.token_urlsafe(32) if line.endswith("=change-me") else line
    for line in lines
)
if "TELEPHONY_PROVIDER=simulator" in lines:  # no phone rings, so a first campaign dials at any hour
    text = text.replace("\nCALLING_HOURS=on\n", "\nCALLING_HOURS=off\n")
draft = f".env.{os.getpid()}"
with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
    file.write(text + "\n")
try:
    os.link(draft, ".env")  # whole or not at all, and never over one that is there
except FileExistsError:
    pass
finally:
    os.unlink(draft)
PY
    say "wrote .env with fresh secrets"
}

# --- the commands ---

command=${1:-help}
[ $# -eq 0 ] || shift
case $command in
run)
    prepare requirements.txt
    write_env
    exec "$PYTHON" manage.py run "$@"
    ;;
demo)
    prepare requirements.txt
    write_env
    exec "$PYTHON" manage.py demo "$@"
    ;;
check)
    prepare requirements.txt
    [ -e .env ] || say "there is no .env yet: ./setup_wallet.sh run writes one"
    exec "$PYTHON" manage.py check "$@"
    ;;
test)
    prepare requirements-dev.txt
    say "formatter, linter, types ..."
    "$PYTHON" -m ruff format --check --quiet .
    "$PYTHON" -m ruff check --quiet .
    "$PYTHON" -m mypy --no-error-summary .
    say "tests ..."
    # Much of a test's time is waiting, so three at a time, also on two cores; a file is never divided.
    [ $# -gt 0 ] || set -- -n 3 --dist loadfile --no-loadscope-reorder
    exec "$PYTHON" -m pytest "$@"
    ;;
help | -h | --help)
    help
    ;;
*)
    help >&2
    exit 2
    ;;
esac
