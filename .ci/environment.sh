#!/usr/bin/env bash
# Creates .venv and installs a lock file and the project into it: with uv where it is there, else with venv and pip.
# Prints to standard error only, so that `make demo ARGS="--once --json"` leaves standard output to the demo.
# Usage: .ci/environment.sh LOCK        PYTHON=… chooses the interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."
exec 1>&2
lock=$1
new_enough='import sys; sys.exit(sys.version_info < (3, 11))'

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
        if command -v "$candidate" >/dev/null && "$candidate" -c "$new_enough" 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "modelwatch needs Python 3.11 or newer and found none: install it, or name it with PYTHON=/path/to/python make …" >&2
    return 1
}

# Debian keeps what `python3 -m venv` needs in a package of its own.
install_venv_module() {
    local package
    package="python$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "$1 cannot create virtual environments: install its venv module (on Debian and Ubuntu: apt-get install $package)."
        return 1
    fi
    apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$package"
}

create_environment() {
    local python
    python=$(find_python)
    if command -v uv >/dev/null; then
        UV_PYTHON_DOWNLOADS=never uv venv --quiet --allow-existing --python "$python" .venv
        return
    fi
    "$python" -c 'import ensurepip, venv' 2>/dev/null || install_venv_module "$python"
    "$python" -m venv .venv
}

# Byte code is compiled here, as pip does by itself: else the first start of every service would wait for it.
install() {
    if command -v uv >/dev/null; then
        uv pip install --quiet --compile-bytecode --python .venv/bin/python "$@"
    else
        .venv/bin/python -m pip --quiet --disable-pip-version-check install "$@"
    fi
}

# An environment that uv made has no pip; one whose Python was removed does not start.
usable() { .venv/bin/python -c "$new_enough" 2>/dev/null && { command -v uv >/dev/null || .venv/bin/python -c 'import pip' 2>/dev/null; }; }

usable || { rm -rf .venv && create_environment; }
echo "Installing $lock into .venv (under a minute with pip, seconds with uv) …"
install --require-hashes --requirement "$lock"
install --no-deps --no-build-isolation --editable .
