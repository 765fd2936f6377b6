"""Which nodes serve a client that has an address and a key of its own?

The configured nodes, when the client means them: its base URL is one of theirs (or, with a list of nodes, just the
default one), and its key is known to the app's configuration, or the app has adopted the client. Any other client
gets a pool for its base URL, with its own keys: another provider's client must never end up at the wrong endpoint,
and a key that came with a request is never replaced by the app's.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from phase1.engine.node import NodeSpec

if TYPE_CHECKING:
    from phase1.engine.manager import Manager
    from phase1.settings import Settings

__all__ = ["DEFAULT_BASE_URL", "MAX_HOMES", "PLACEHOLDER_KEY", "Homes"]

DEFAULT_BASE_URL = "https://api.openai.com/v1"
PLACEHOLDER_KEY = "phase1"
"""What stands for a key where each node brings its own."""
MAX_HOMES = 32
"""Base URLs beyond the configured ones; clients of further ones are left alone."""
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class Homes:
    """The pools of one app: the configured one, and one for each other base URL that its clients have."""

    __slots__ = ("_bases", "_keys", "_manager", "_others")

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        settings = manager.settings
        self._bases = {_normal(node.base_url) for node in manager.nodes}
        if settings.llm_nodes or settings.llm_nodes_file:
            self._bases |= {_normal(settings.openai_base_url or DEFAULT_BASE_URL)}
        configured = settings.openai_api_key
        self._keys = {node.api_key for node in manager.nodes} | {PLACEHOLDER_KEY}
        if configured is not None:
            self._keys.add(configured.get_secret_value())
        self._others: dict[str, Manager] = {}

    def of(self, base_url: str, api_key: str, *, trusted: bool) -> Manager | None:
        """The manager for a client; `trusted`: the app has adopted it. `None` when there are too many base URLs."""
        base = _normal(base_url)
        if self._manager.nodes and base in self._bases and (trusted or api_key in self._keys):
            return self._manager
        other = self._others.get(base)
        if other is None and len(self._others) < MAX_HOMES:
            spec = _own_keys(base, self._manager.settings)
            other = self._others.setdefault(base, self._manager.sibling(spec))  # threads may ask at once
        return other

    def base_of(self, url: str) -> str | None:
        """The app's base URL that `url` lies below."""
        below = [base for base in self._bases if re.match(rf"{re.escape(base)}(?:[/?]|$)", url)]
        return max(below, key=len, default=None)

    def renewed(self) -> Homes:
        """Anew for the manager's nodes of now; what doors have learnt of the old one does not hold any more."""
        homes = Homes(self._manager)
        homes._others = self._others
        return homes

    def all(self) -> list[Manager]:
        """The pools beside the configured one."""
        return list(self._others.values())

    def reopen(self) -> None:
        """Forget that the running loop's connections were closed."""
        for other in self.all():
            other.bindings.reopen()

    async def aclose(self, *, drain: float) -> None:
        """Drain and close them."""
        await asyncio.gather(*(other.aclose(drain=drain) for other in self.all()))


def _normal(base_url: str) -> str:
    """As the SDK's clients have it: names in lower case, no default port; Azure's `?api-version=` says nothing here."""
    parts = urlsplit(base_url)
    host = parts.netloc.lower().removesuffix(_DEFAULT_PORTS.get(parts.scheme, ""))
    return f"{parts.scheme}://{host}{parts.path.rstrip('/')}"


def _own_keys(base_url: str, settings: Settings) -> NodeSpec:
    host = urlsplit(base_url).netloc.rpartition("@")[2]
    rps = settings.openai_rate_limit_requests_per_second
    return NodeSpec(name=host, base_url=base_url, api_key="", pool_size=settings.llm_pool_size, rps=rps)
