#!/usr/bin/env python
"""What goes into `.env.phase1.example`? Every field of `Settings`, commented out at its default, with its description.

    python scripts/gen_env_example.py     writes the file; a test says when that was forgotten

The lines are in the subset that python-dotenv, `docker --env-file`, systemd's `EnvironmentFile=` and `set -a; . file`
read alike: `KEY=value`, no quotes, no comment behind a value, no `$`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

from phase1.settings import Settings, limits_of_this_version
from phase1.validation import shown

EXAMPLE = Path(__file__).parent.parent / ".env.phase1.example"

GROUPS = {
    "enable_llm_pool": "The toggle, the canary and the kill switches",
    "llm_pool_size": "The pool and its queue",
    "llm_request_deadline": "The clocks, in seconds",
    "llm_pool_debug": "Logs",
    "enable_load_balancer": "Load balancing and nodes",
    "openai_api_key": "The provider",
    "llm_auto_rollout": "Roll-out and start",
    "llm_unblock": "How it runs",
    "llm_admin_token": "Who may see and steer",
    "use_optimized_chat": "Chat endpoints, with the pool on (phase1.chat)",
    "redis_url": "Offload: chats over a task queue",
}
"""The heading above the first field of each group."""

INTRODUCTION = """\
# Settings of phase1: copy this to .env.phase1 in the directory the app starts in; take the # away where you change one.
# The process's environment wins over this file. KEY= (no value) is the same as a line that is not there.
# Write KEY=value without quotes, without a comment behind the value and without a dollar sign: then python-dotenv,
# docker --env-file, systemd (EnvironmentFile=) and a shell (set -a; . ./.env.phase1) read the same.
# A value that cannot be honoured is one clear error line at start, and the app stays on its legacy client.

# Staged roll-out, one week at a time; look at /debug/llm-system before each step.
#   Week 1, watch: nothing changes for users.
#     ENABLE_LLM_POOL=false
#   Week 2, small test: for a part of the users, if you like, with LLM_CANARY_PERCENT=10
#     ENABLE_LLM_POOL=true
#     LLM_POOL_SIZE=3
#     LLM_POOL_DEBUG=true
#   Week 3, production.
#     LLM_POOL_SIZE=5
#     LLM_POOL_DEBUG=false
#   Week 4, high load: 8 to 10 clients.
#     LLM_POOL_SIZE=8
#   Way back, at any time: ENABLE_LLM_POOL=false and a restart.
"""


def main() -> int:
    """Write the file."""
    EXAMPLE.write_text(render(), encoding="utf-8")
    return 0


def render() -> str:
    """Return the text of the file."""
    return "\n".join([INTRODUCTION, *_lines()])


def _lines() -> Iterator[str]:
    for name, field in Settings.model_fields.items():
        if name in GROUPS:
            yield f"# ---- {GROUPS[name]}\n"
        yield from textwrap.wrap(_description(name), 118, initial_indent="# ", subsequent_indent="# ")
        yield f"#{name.upper()}={_value(field.default)}\n"


def _description(name: str) -> str:
    text, limits = Settings.model_fields[name].description or "", limits_of_this_version(name)
    return f"{text} This version: {limits}" if limits else text


def _value(default: object) -> str:
    return "" if default is None else shown(default)


if __name__ == "__main__":
    raise SystemExit(main())
