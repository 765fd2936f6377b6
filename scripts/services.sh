#!/usr/bin/env bash
# Makes the programs available that the tests start for themselves: PostgreSQL's server binaries, Redis, Chromium.
#
# No system service needs to run: the tests start private ones in temporary directories. As root on Debian or Ubuntu
# the packages are installed; elsewhere the one command to run is printed and the tests that need it are skipped (with
# CI=true: an error, because there nothing may be skipped silently).
set -euo pipefail

# Where Debian, Red Hat and Homebrew put it; Debian's is not on PATH.
has_postgresql() {
    local postgres
    for postgres in "$(command -v postgres || true)" \
        /usr/lib/postgresql/*/bin/postgres /usr/pgsql-*/bin/postgres \
        /opt/homebrew/opt/postgresql*/bin/postgres /usr/local/opt/postgresql*/bin/postgres; do
        [ -n "$postgres" ] && [ -x "$postgres" ] && return
    done
    return 1
}

has_redis() { command -v redis-server >/dev/null || command -v valkey-server >/dev/null; }

has_chromium() { command -v chromedriver >/dev/null && { command -v chromium || command -v google-chrome; } >/dev/null; }

# Apt talks a lot: it is heard only when it fails.
apt_get() {
    local log
    log="$(mktemp)"
    if ! DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=3 -qq "$@" >"$log" 2>&1; then
        cat "$log" >&2
        return 1
    fi
    rm -f "$log"
}

# The package would make and start a cluster of its own; it is told not to, and the setting put back.
apt_install_postgresql() {
    local config=/etc/postgresql-common/createcluster.conf
    apt_get install -y --no-install-recommends postgresql-common
    if [ -f "$config" ]; then
        cp -p "$config" "$config.phase1"
        # shellcheck disable=SC2064 # the path is meant as it is now
        trap "mv -f '$config.phase1' '$config'" EXIT
        printf '\ncreate_main_cluster = false\n' >>"$config"
    fi
    apt_get install -y --no-install-recommends postgresql
}

# The package would start a server on the usual port; a policy that is there only meanwhile says no.
apt_install_redis() {
    local policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
        # shellcheck disable=SC2064 # the path is meant as it is now
        trap "rm -f '$policy'" EXIT
    fi
    apt_get install -y --no-install-recommends redis-server
}

apt_install_chromium() { apt_get install -y --no-install-recommends chromium chromium-driver; }

how_to_install() {
    local name="$1" brew debian
    case "$name" in
    postgresql) brew='postgresql@17' debian=postgresql ;;
    redis) brew=redis debian=redis-server ;;
    chromium) brew='--cask chromium chromedriver' debian='chromium chromium-driver' ;;
    esac
    if [ "$(uname)" = Darwin ]; then
        echo "brew install $brew"
    elif command -v apt-get >/dev/null; then
        echo "sudo apt-get install $debian"
    else
        echo "install $name by the package manager of this system"
    fi
}

# In a subshell, so that what a package's installation changes meanwhile is put back after it.
installed() (
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || exit 1
    printf 'services: installing %s\n' "$1" >&2
    apt_get update && "apt_install_$1" && "has_$1"
)

status=0
for service in postgresql redis chromium; do
    if "has_$service" || installed "$service"; then
        continue
    fi
    if [ "${CI-}" = true ]; then
        printf 'error: %s is needed for the tests; run: %s\n' "$service" "$(how_to_install "$service")" >&2
        status=1
    else
        printf 'services: no %s, so its tests are skipped; to run them: %s\n' "$service" "$(how_to_install "$service")" >&2
    fi
done
exit "$status"
