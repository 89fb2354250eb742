#!/usr/bin/env bash
# Everything that can be said about the code without running it. Goes through all checks, then fails if one did.
set -uo pipefail
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
failed=()

check() {
    echo "== $*"
    "$@" || failed+=("$1 ${2:-}")
}

check ruff format --check .
check ruff check .
check mypy
check lint-imports
if command -v promtool >/dev/null; then
    check promtool check config prometheus/prometheus.yml
    check promtool test rules prometheus/rules_test.yml
fi

if [ ${#failed[@]} != 0 ]; then
    printf 'Failed: %s\n' "${failed[@]}" >&2
    exit 1
fi
