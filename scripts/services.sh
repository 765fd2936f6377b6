#!/usr/bin/env bash
# Makes the programs available that the tests start for themselves: PostgreSQL's server binaries.
#
# No system service needs to run: the tests make a private cluster in a temporary directory. As root on Debian or
# Ubuntu the package is installed; elsewhere the one command to run is printed and the tests that need it are skipped
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

how_to_install() {
    if [ "$(uname)" = Darwin ]; then
        echo 'brew install postgresql@17'
    elif command -v apt-get >/dev/null; then
        echo 'sudo apt-get install postgresql'
    else
        echo 'install the PostgreSQL server by the package manager of this system'
    fi
}

has_postgres && exit
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt_install_postgres && has_postgres; then
    exit
fi
if [ "${CI-}" = true ]; then
    printf 'error: PostgreSQL is needed for the tests; run: %s\n' "$(how_to_install)" >&2
    exit 1
fi
printf 'services: no PostgreSQL, so its tests are skipped; to run them: %s\n' "$(how_to_install)" >&2
