"""What does a renderer know of the stream besides its frames? And how is one SSE event written?"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["StreamFacts", "sse"]

RETRY_MS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamFacts:
    """`position`: how many frames this reader has seen before. `created` in seconds since 1970."""

    task: str
    url: str
    model: str
    created: int
    position: int = 0


def sse(data: Mapping[str, Any] | str, *, event: str = "", cursor: object = None, retry: int | None = None) -> bytes:
    """One event. JSON has no line breaks, so `data` is one line."""
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    head = f"retry: {retry}\n" if retry is not None else ""
    head += f"event: {event}\n" if event else ""
    head += f"id: {cursor}\n" if cursor is not None else ""
    return f"{head}data: {text}\n\n".encode()
