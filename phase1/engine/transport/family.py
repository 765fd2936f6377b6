"""Which httpx is the OpenAI SDK built on? `httpx2` from openai 3 on, `httpx` before; the two have the same classes.

Importing this imports the SDK's base module: only modules that are loaded when a pool starts may do so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx2 as httpx
else:
    from openai import _base_client

    httpx = getattr(_base_client, "httpx2", None) or _base_client.httpx

__all__ = ["httpx"]
