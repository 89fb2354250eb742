#!/usr/bin/env bash
# Sees to the programs that the tests use beside Python: PostgreSQL, a browser, Prometheus, docker-compose.
# Installs what is missing on Debian and Ubuntu as root; elsewhere says what to install.
# Usage: .ci/system-packages.sh            fails while something is missing
#        .ci/system-packages.sh --advise   only says what is missing: the tests that need it say so and are skipped
set -euo pipefail
exec 1>&2

present() {
    case $1 in
        postgresql) command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null ;;
        chromium) command -v chromium || command -v chromium-browser || command -v google-chrome ;;
        prometheus) command -v prometheus && command -v promtool ;;
        docker-compose) command -v docker-compose || docker compose version ;;
    esac >/dev/null 2>&1
}

missing() {
    local package
    for package in postgresql chromium prometheus docker-compose; do
        present "$package" || echo "$package"
    done
}

# Debian starts a service as soon as it is installed; this policy (see invoke-rc.d(8)) keeps PostgreSQL and Prometheus still.
install_quietly() {
    local policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy"
        trap "rm -f $policy" EXIT
    fi
    apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$@" >/dev/null
}

mapfile -t wanted < <(missing)
[ ${#wanted[@]} = 0 ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing ${wanted[*]} …"
    install_quietly "${wanted[@]}" || true
    mapfile -t wanted < <(missing)
    [ ${#wanted[@]} = 0 ] && exit 0
fi
echo "Missing for the tests: ${wanted[*]}. Install them with your system's package manager (as root on Debian and Ubuntu this is done for you)."
[ "${1:-}" = --advise ]
