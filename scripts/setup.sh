#!/usr/bin/env bash
# Makes a virtual environment with locked versions: by uv if it is there, else by venv and pip.
#
#   scripts/setup.sh            .venv           from constraints/dev.txt
#   scripts/setup.sh openai1    .venv-openai1   from constraints/openai-1.txt, then the newest openai 1.x; also openai2, openai3
#
# Quick when nothing has changed. PYTHON=... chooses the interpreter, UV=... the uv binary (UV= means: use pip).
set -euo pipefail
cd "$(dirname "$0")/.."

readonly python_min='3.11'
uv="${UV-uv}"

say() { printf 'setup: %s\n' "$*" >&2; }
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

case "${1-}" in
'') venv=.venv lock=constraints/dev.txt major='' ;;
openai[12]) venv=".venv-$1" lock="constraints/openai-${1#openai}.txt" major="${1#openai}" ;;
openai3) venv=.venv-openai3 lock=constraints/dev.txt major=3 ;;
*) die "unknown environment '$1': none (the main one), openai1, openai2 or openai3" ;;
esac
readonly venv lock major

has_uv() { [ -n "$uv" ] && "$uv" --version >/dev/null 2>&1; }

# A name on PATH is not enough: version managers leave shims behind that only print an error.
new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if new_enough "$candidate"; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    return 1
}

# Debian and Ubuntu ship Python without ensurepip, which venv needs.
need_ensurepip() {
    "$1" -c 'import ensurepip' >/dev/null 2>&1 && return
    local package
    package="$("$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing $package"
        apt-get update -qq >/dev/null
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null
    else
        die "$1 has no ensurepip, so it cannot make a virtual environment; run: sudo apt-get install $package"
    fi
}

create_venv() {
    local python
    rm -rf "$venv"
    if python="$(find_python)"; then
        say "creating $venv with $("$python" -V) and $(has_uv && echo uv || echo 'venv + pip')"
    elif has_uv && [ -z "${PYTHON-}" ]; then
        say "no Python $python_min or newer on PATH: uv brings one for $venv"
        python='3.13'
    else
        die "Python $python_min or newer is needed and ${PYTHON:-python3 (also python3.11 to python3.14)} is none; install one from https://www.python.org/downloads/ or name it with PYTHON=/path/to/python3"
    fi
    if has_uv; then
        "$uv" venv --quiet --python "$python" "$venv"
    else
        need_ensurepip "$python"
        "$python" -m venv "$venv"
    fi
}

install() {
    if has_uv; then
        "$uv" pip install --python "$venv/bin/python" --quiet "$@"
    else
        "$venv/bin/python" -m pip --disable-pip-version-check --quiet install --no-input "$@"
    fi
}

# The lock names every version of the extras and of the group dev, so installing it needs no resolver;
# the second step fails if pyproject.toml asks for something that the lock contradicts.
install_locked() {
    say "installing $lock into $venv"
    install --no-deps -r "$lock"
    install --no-build-isolation -c "$lock" -e '.[all]'
}

usable() {
    new_enough "$venv/bin/python" && [ "$(head -n 1 "$stamp" 2>/dev/null)" = "$where" ] &&
        { has_uv || "$venv/bin/python" -m pip --version >/dev/null 2>&1; }
}

# Line 1: where the environment was made (it cannot be moved) and with what; the rest: from what.
readonly stamp="$venv/.phase1-stamp" where="$PWD ${PYTHON-}"
fingerprint="$(printf '%s\n' "$where" && cksum pyproject.toml "$lock" scripts/setup.sh)"
if [ ! -x "$venv/bin/python" ] || [ "$(cat "$stamp" 2>/dev/null)" != "$fingerprint" ]; then
    usable || create_venv
    install_locked
    printf '%s\n' "$fingerprint" >"$stamp"
fi

if [ -n "$major" ]; then
    install --upgrade "openai>=$major,<$((major + 1))"
    say "$venv has $("$venv/bin/python" -c 'import openai; print("openai", openai.__version__)')"
fi
