"""What may an operator write that cannot be honoured? The environment, and the one line that must say so."""

from __future__ import annotations

__all__ = ["BAD_INPUT"]

KEY = {"OPENAI_API_KEY": "sk-0123456789"}

BAD_INPUT = {
    "pool size 0": (KEY | {"LLM_POOL_SIZE": "0"}, "LLM_POOL_SIZE=0: must be at least 1"),
    "pool size negative": (KEY | {"LLM_POOL_SIZE": "-3"}, "LLM_POOL_SIZE=-3: must be at least 1"),
    "percent 101": (KEY | {"LLM_CANARY_PERCENT": "101"}, "LLM_CANARY_PERCENT=101: must be between 0 and 100"),
    "unreadable nodes file": (
        {"LLM_NODES_FILE": "nowhere/nodes.toml"},
        "LLM_NODES_FILE=nowhere/nodes.toml: cannot be read (No such file or directory)",
    ),
    "missing key": (
        {},
        "OPENAI_API_KEY is not set: give the provider's key, or list the nodes in LLM_NODES or LLM_NODES_FILE",
    ),
    "unknown strategy": (
        KEY | {"LOAD_BALANCE_STRATEGY": "fastest"},
        "LOAD_BALANCE_STRATEGY=fastest: must be one of round_robin, weighted, least_busy, latency, adaptive, sticky",
    ),
    "missing function": (
        KEY | {"LLM_CANARY_KEY": "json:missing"},
        (
            "LLM_CANARY_KEY=json:missing: must name a function(request) that can be imported"
            " (module 'json' has no attribute 'missing')"
        ),
    ),
    "two at once": (
        KEY | {"LLM_POOL_SIZE": "0", "LLM_CANARY_PERCENT": "101"},
        "LLM_CANARY_PERCENT=101: must be between 0 and 100; LLM_POOL_SIZE=0: must be at least 1",
    ),
}
