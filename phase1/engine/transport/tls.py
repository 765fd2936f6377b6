"""Whom does a connection believe? Those whom the SDK's httpx believes: one context for both transports.

`SSL_CERT_FILE` or `SSL_CERT_DIR` name other authorities. There is no setting that turns verification off, and none for
client certificates: an endpoint that asks for one is reached through a local proxy that has it.
"""

from __future__ import annotations

import ssl
from functools import lru_cache

from phase1.engine.transport.family import httpx
from phase1.exceptions import ConfigurationError

__all__ = ["ssl_context"]


@lru_cache(maxsize=1)
def ssl_context() -> ssl.SSLContext:
    """A context that verifies certificate and host name; the same for all clients: making one takes 10 to 40 ms."""
    try:
        context = httpx.create_ssl_context()
    except OSError as exc:  # ssl.SSLError is one, too
        raise ConfigurationError(f"SSL_CERT_FILE, SSL_CERT_DIR: cannot be read ({exc.strerror or exc})") from exc
    context.set_alpn_protocols(["http/1.1"])
    return context
