"""How bytes get to an upstream and back: one narrow Protocol, one module per HTTP library."""

from __future__ import annotations

from phase1.engine.transport.base import Broken, NeverSent, Transport, TransportError, WireRequest, WireResponse
from phase1.engine.transport.fields import Fields

__all__ = ["Broken", "Fields", "NeverSent", "Transport", "TransportError", "WireRequest", "WireResponse"]
