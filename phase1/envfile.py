"""What goes into a fresh `.env.phase1`? Every field of `Settings`, commented out at its default, with its description.

`phase1 init` writes it for an app, `scripts/gen_env_example.py` as `.env.phase1.example`.

The lines are in the subset that python-dotenv, `docker --env-file`, systemd's `EnvironmentFile=` and `set -a; . file`
read alike: `KEY=value`, no quotes, no comment behind a value, no `$`.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from phase1.exceptions import Phase1Error
from phase1.settings import Settings, limits_of_this_version
from phase1.validation import shown

__all__ = ["GROUPS", "render", "write"]

GROUPS: Final = {
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

_INTRODUCTION: Final = """\
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


def write(path: Path) -> None:
    """Write a fresh file that only its owner may read: it is where keys go.

    Raises `Phase1Error` when there is one already, or it cannot be written.
    """
    try:
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:
            file.write(render())
    except FileExistsError:
        raise Phase1Error(f"{path} is there already; it is left as it is") from None
    except OSError as exc:
        raise Phase1Error(f"{path} cannot be written: {exc.strerror}") from exc


def render() -> str:
    """The text of the file."""
    return "\n".join([_INTRODUCTION, *_lines()])


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
