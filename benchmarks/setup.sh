#!/usr/bin/env bash
# Makes what the benchmark compares with: .venv-openai1, .venv-openai2 and .venv-litellm. Quick when they are there.
#
#   benchmarks/setup.sh          those that are missing; LiteLLM's from constraints/litellm.txt, anew when that changes
#   benchmarks/setup.sh lock     write constraints/litellm.txt (needs uv; --upgrade for the newest versions)
#
# What cannot be made is skipped: its rows are left out. PYTHON=... and UV=... as for scripts/setup.sh.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly venv=.venv-litellm lock=constraints/litellm.txt wanted='litellm>=1.80'
uv="${UV-uv}"

say() { printf 'benchmarks: %s\n' "$*" >&2; }
has_uv() { [ -n "$uv" ] && "$uv" --version >/dev/null 2>&1; }

if [ "${1-}" = lock ]; then
    shift
    printf '%s\nuvloop; sys_platform != "win32"\n' "$wanted" | "$uv" pip compile - --quiet --universal \
        --python-version 3.11 --no-emit-index-url --no-header --output-file "$lock" "$@"
    exit
fi

make_litellm() {
    local python
    python="$(.venv/bin/python -c 'import sys; print(sys._base_executable)')" # the one that .venv was made with
    rm -rf "$venv"
    say "installing $lock into $venv"
    if has_uv; then
        "$uv" venv --quiet --python "$python" "$venv"
        "$uv" pip install --python "$venv/bin/python" --quiet --no-deps -r "$lock"
    else
        "$python" -m venv "$venv"
        "$venv/bin/python" -m pip --disable-pip-version-check --quiet install --no-input --no-deps -r "$lock"
    fi
}

for major in 1 2; do
    [ -x ".venv-openai$major/bin/python" ] || scripts/setup.sh "openai$major" || say "no openai $major here"
done

readonly stamp="$venv/.stamp"
fingerprint="$(printf '%s\n' "$PWD" && cksum "$lock" benchmarks/setup.sh)"
if [ "$(cat "$stamp" 2>/dev/null)" != "$fingerprint" ]; then
    if make_litellm; then
        printf '%s\n' "$fingerprint" >"$stamp"
    else
        rm -rf "$venv"
        say 'no LiteLLM here'
    fi
fi
