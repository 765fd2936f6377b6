#!/usr/bin/env bash
# Makes the programs available that the tests start for themselves: PostgreSQL's server binaries, Redis, nginx,
# Prometheus with promtool, and Chromium.
#
# No system service needs to run: the tests start their own, in temporary directories. As root on Debian or Ubuntu the
# packages are installed; elsewhere the one command to run is printed and the tests that need it are skipped
# (with CI=true: an error, because there nothing may be skipped silently).
set -euo pipefail

# Where Debian, Red Hat and Homebrew put it; Debian's is not on PATH.
has_postgres() {
    local postgres
    for postgres in "$(command -v postgres || true)" \
        /usr/lib/postgresql/*/bin/postgres /usr/pgsql-*/bin/postgres \
        /opt/homebrew/opt/postgresql*/bin/postgres /usr/local/opt/postgresql*/bin/postgres; do
        [ -n "$postgres" ] && [ -x "$postgres" ] && return
    done
    return 1
}

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
apt_install_postgres() {
    local config=/etc/postgresql-common/createcluster.conf
    printf 'services: installing postgresql\n' >&2
    apt_get update
    apt_get install -y --no-install-recommends postgresql-common
    if [ -f "$config" ]; then
        cp -p "$config" "$config.phase1"
        # shellcheck disable=SC2064 # the path is meant as it is now
        trap "mv -f '$config.phase1' '$config'" EXIT
        printf '\ncreate_main_cluster = false\n' >>"$config"
    fi
    apt_get install -y --no-install-recommends postgresql
}

# Debian's prometheus package would start a server of its own; promtool and the program are all that is wanted.
apt_install_prometheus() {
    printf 'services: installing prometheus\n' >&2
    apt_get update
    without_starting apt_get install -y --no-install-recommends prometheus
}

# Debian's redis-server package would start a server on the usual port; the program is all that is wanted.
apt_install_redis() {
    printf 'services: installing redis-server\n' >&2
    apt_get update
    without_starting apt_get install -y --no-install-recommends redis-server
}

has_redis() { command -v redis-server >/dev/null || command -v valkey-server >/dev/null; }

# Packages ask this script whether they may start their service: 101 is no.
without_starting() {
    local policy=/usr/sbin/policy-rc.d status=0
    if [ -e "$policy" ]; then
        "$@"
        return
    fi
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    "$@" || status=$?
    rm -f "$policy"
    return "$status"
}

has_prometheus() { command -v promtool >/dev/null && command -v prometheus >/dev/null; }
# The same holds for nginx.
apt_install_nginx() {
    printf 'services: installing nginx-light\n' >&2
    apt_get update
    without_starting apt_get install -y --no-install-recommends nginx-light
}

has_nginx() { command -v nginx >/dev/null || [ -x /usr/sbin/nginx ]; }

apt_install_chromium() {
    printf 'services: installing chromium and chromedriver\n' >&2
    apt_get update
    apt_get install -y --no-install-recommends chromium chromium-driver
}

has_chromium() {
    command -v chromedriver >/dev/null &&
        { command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null
}

# What a person has to run, by the names of Debian's packages and of Homebrew's.
how_to_install() {
    if [ "$(uname)" = Darwin ]; then
        echo "brew install $2"
    elif command -v apt-get >/dev/null; then
        echo "sudo apt-get install $1"
    else
        echo "install $1 by the package manager of this system"
    fi
}

# provide NAME CHECK INSTALL DEBIAN HOMEBREW
provide() {
    "$2" && return
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && "$3" && "$2"; then
        return
    fi
    if [ "${CI-}" = true ]; then
        printf 'error: %s is needed for the tests; run: %s\n' "$1" "$(how_to_install "$4" "$5")" >&2
        exit 1
    fi
    printf 'services: no %s, so its tests are skipped; to run them: %s\n' "$1" "$(how_to_install "$4" "$5")" >&2
}

provide PostgreSQL has_postgres apt_install_postgres postgresql postgresql@17
provide Prometheus has_prometheus apt_install_prometheus prometheus prometheus
provide Redis has_redis apt_install_redis redis-server redis
provide nginx has_nginx apt_install_nginx nginx-light nginx
provide Chromium has_chromium apt_install_chromium 'chromium chromium-driver' 'chromium chromedriver'
