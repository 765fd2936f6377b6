#!/usr/bin/env bash
# Writes constraints/*.txt: the exact versions that scripts/setup.sh installs, for every system and Python we support.
#
#   scripts/lock.sh             keep what is locked, add and drop what pyproject.toml asks for
#   scripts/lock.sh --upgrade   the newest of everything
set -euo pipefail
cd "$(dirname "$0")/.."

uv="${UV:-uv}"
"$uv" --version >/dev/null 2>&1 || {
    echo 'error: locking for all systems at once needs uv: https://docs.astral.sh/uv/getting-started/installation/' >&2
    exit 1
}

compile() {
    local file="constraints/$1" openai="$2" group="$3"
    shift 3
    echo "$openai" | "$uv" pip compile pyproject.toml - --quiet --universal --python-version 3.11 \
        --all-extras --group "$group" --no-emit-index-url --no-header --output-file "$file" "$@"
    grep '^openai==' "$file" | sed "s|^|$file: |"
}

compile dev.txt 'openai>=3,<4' dev "$@"
compile openai-2.txt 'openai>=2,<3' dev-older "$@"
# pydantic-ai of openai 1 imports a module that opentelemetry-api has dropped.
compile openai-1.txt $'openai>=1,<2\nopentelemetry-api<1.39' dev-older "$@"
