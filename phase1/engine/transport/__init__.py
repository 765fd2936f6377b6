"""How bytes get to an upstream and back: one narrow Protocol, one module per HTTP library."""

from __future__ import annotations

from phase1.engine.transport.base import Broken, NeverSent, Transport, TransportError, WireRequest, WireResponse

__all__ = ["Broken", "NeverSent", "Transport", "TransportError", "WireRequest", "WireResponse"]
