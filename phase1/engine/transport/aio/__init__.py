"""A transport over aiohttp's connections and parser. Extra `fast`."""

from __future__ import annotations

from phase1.engine.transport.aio.transport import AiohttpTransport

__all__ = ["AiohttpTransport"]
