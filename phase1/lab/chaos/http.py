"""With what is an app asked? With a client that needs little of the machine: its own work must not look like the app's.

Each request has a connection of its own: one that is kept, and is just being closed, would look like a lost answer.
"""

from __future__ import annotations

import aiohttp

__all__ = ["HTTPError", "http_client"]

HTTPError = aiohttp.ClientError
"""The connection broke, or was never made."""


def http_client() -> aiohttp.ClientSession:
    """A client without clocks and limits of its own."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        timeout=aiohttp.ClientTimeout(total=None),
        cookie_jar=aiohttp.DummyCookieJar(),
    )
