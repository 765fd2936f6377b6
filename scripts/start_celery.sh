#!/usr/bin/env bash
# Starts the Celery workers of one host: one for LLM calls (threads), one for feedback and general tasks, one for
# analytics (processes). Ctrl-C or SIGTERM ends all of them; when one ends by itself, the others are ended too.
#
#   scripts/start_celery.sh            the settings come from the environment and .env.phase1
#   LLM_CONCURRENCY=64 scripts/start_celery.sh
#   FLOWER_BASIC_AUTH=user:password scripts/start_celery.sh     with Flower on http://127.0.0.1:5555 (pip install flower)
set -euo pipefail

phase1="${PHASE1:-phase1}"
command -v "$phase1" >/dev/null || {
    echo 'error: there is no command phase1: pip install "phase1[cli,offload]", or PHASE1=/path/to/phase1' >&2
    exit 1
}
[ -z "${FLOWER_BASIC_AUTH-}" ] || events=--events

"$phase1" worker --check

pids=()
start() { "$@" & pids+=("$!"); }

# Each gets the signal once, and its time; wait returns early when a signal comes, so it is asked again.
stop() {
    trap '' TERM INT
    kill -TERM "${pids[@]}" 2>/dev/null || true
    wait "${pids[@]}" 2>/dev/null || true
}
trap 'stop; exit 143' TERM
trap 'stop; exit 130' INT

start "$phase1" worker --queues llm ${LLM_CONCURRENCY:+--concurrency "$LLM_CONCURRENCY"} ${events-}
start "$phase1" worker --queues default,feedback ${events-}
start "$phase1" worker --queues analytics --concurrency 1 ${events-}
if [ -n "${FLOWER_BASIC_AUTH-}" ]; then
    start python -m celery -A phase1.offload.worker flower --address=127.0.0.1 --port="${FLOWER_PORT:-5555}" \
        --basic-auth="$FLOWER_BASIC_AUTH"
fi

status=0
wait -n "${pids[@]}" || status=$?
echo 'start_celery: a worker has ended; ending the others' >&2
stop
exit "$status"
