"""Which transport? `LLM_TRANSPORT`: `aiohttp`, `httpx`, or `auto`, the faster of those that can do what is wanted here.

SOCKS proxies are httpx's alone. What cannot be had is a `ConfigurationError` when the pool starts.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from phase1.engine.transport.base import Transport
from phase1.engine.transport.proxies import Proxies, Proxy
from phase1.exceptions import ConfigurationError

__all__ = ["transport_factory"]

_OLDEST_AIOHTTP_3 = 13


def transport_factory(wanted: str) -> Callable[[int, float], Transport]:
    """`(connections, connect_timeout) -> Transport` for a value of `LLM_TRANSPORT`."""

    def make(connections: int, connect_timeout: float) -> Transport:
        proxies = Proxies.from_environment()
        if _takes_aiohttp(wanted, proxies.socks):
            from phase1.engine.transport.aio import AiohttpTransport  # noqa: PLC0415 - the extra `fast`

            return AiohttpTransport(connect_timeout=connect_timeout, proxies=proxies)
        from phase1.engine.transport.httpx import HttpxTransport  # noqa: PLC0415 - imports the SDK

        return HttpxTransport(connections=connections, connect_timeout=connect_timeout, proxies=proxies)

    return make


def _takes_aiohttp(wanted: str, socks: Proxy | None) -> bool:
    if wanted == "aiohttp" and socks:
        raise ConfigurationError(f"{socks}: a SOCKS proxy needs LLM_TRANSPORT=httpx")
    if socks and find_spec("socksio") is None:
        raise ConfigurationError(f"{socks}: a SOCKS proxy needs an optional library: pip install socksio")
    if wanted == "aiohttp" and not _has_aiohttp():
        raise ConfigurationError('LLM_TRANSPORT=aiohttp: aiohttp 3.13 or newer is missing: pip install "phase1[fast]"')
    return wanted != "httpx" and not socks and _has_aiohttp()


def _has_aiohttp() -> bool:
    """Whether it is installed, of a version that `aio` was written for."""
    try:
        found = re.match(r"3\.(\d+)", version("aiohttp"))
    except PackageNotFoundError:
        return False
    return found is not None and int(found[1]) >= _OLDEST_AIOHTTP_3
