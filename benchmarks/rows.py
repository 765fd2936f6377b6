"""Who is measured? One row per client, each in a process of its own, in the environment that it needs."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import ROOT, Refused

__all__ = ["ROWS", "Row", "python_of", "row"]


@dataclass(frozen=True, slots=True)
class Row:
    """`venv`: a directory of the repository, or empty for the environment that runs this; `setup` makes it."""

    name: str
    title: str
    client: str
    variant: str
    venv: str = ""
    setup: str = ""


_RAW, _STOCK, _OURS = "benchmarks.clients.raw", "benchmarks.clients.stock", "benchmarks.clients.ours"
_LITELLM = "benchmarks.clients.litellm"

ROWS = (
    Row("raw-aiohttp", "raw aiohttp", _RAW, "aiohttp"),
    Row("raw-httpx", "raw httpx", _RAW, "httpx"),
    Row("raw-httpx2", "raw httpx2", _RAW, "httpx2"),
    Row("openai1", "openai 1, stock", _STOCK, "stock", ".venv-openai1", "scripts/setup.sh openai1"),
    Row("openai2", "openai 2, stock", _STOCK, "stock", ".venv-openai2", "scripts/setup.sh openai2"),
    Row("openai3", "openai 3, stock", _STOCK, "stock"),
    Row("openai3-aiohttp", "openai 3, its aiohttp client", _STOCK, "aiohttp"),
    Row("litellm", "LiteLLM Router, 3 deployments", _LITELLM, "", ".venv-litellm", "benchmarks/setup.sh"),
    Row("phase1-httpx", "phase1.AsyncOpenAI, httpx", _OURS, "httpx"),
    Row("phase1-aiohttp", "phase1.AsyncOpenAI, aiohttp", _OURS, "aiohttp"),
    Row("phase1-full-httpx", "phase1, all features, httpx", _OURS, "httpx-full"),
    Row("phase1-full", "phase1, all features", _OURS, "auto-full"),
    Row("phase1-facade", "phase1.LLM, all features", _OURS, "auto-full-facade"),
)


def row(name: str) -> Row:
    """The row of that name. Raises `ValueError`."""
    for each in ROWS:
        if each.name == name:
            return each
    raise ValueError(f"there is no client {name!r}; known: {', '.join(each.name for each in ROWS)}")


def python_of(each: Row) -> Path:
    """The interpreter that `each` runs in. Raises `Refused`, with the way to get it."""
    if not each.venv:
        return Path(sys.executable)
    python = ROOT / each.venv / "bin" / "python"
    if not os.access(python, os.X_OK):
        raise Refused(f"{each.venv} is missing: run {each.setup}")
    return python
