"""Through which proxy does a request go? `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, in either case.

They are read as the SDK's httpx reads them (on macOS and Windows the system's settings stand in for them), and both
transports ask here: httpx 0.28 and httpx2 do not agree on what `NO_PROXY` may hold. It may hold names (with all names
below them), `.name` or `*.name` (only those below it), addresses, networks, each with `:port` or `scheme://`, or `*`.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field, replace
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network
from typing import Self
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies

from phase1.exceptions import ConfigurationError
from phase1.validation import public_url

__all__ = ["Proxies", "Proxy"]

_PORTS = {"http": 80, "https": 443}
_SCHEMES = ("http", "https", "socks5", "socks5h")


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy, and the variable that names it. The URL may hold a password."""

    url: str = field(repr=False)
    variable: str

    @property
    def socks(self) -> bool:
        """Whether it speaks SOCKS."""
        return self.url.startswith("socks")

    def __str__(self) -> str:
        return f"{self.variable}={public_url(self.url)}"


@dataclass(frozen=True)
class Proxies:
    """Which proxy stands before which address. `by_scheme` has the keys `http`, `https` and `all`."""

    by_scheme: dict[str, Proxy] = field(default_factory=dict)
    bypasses: tuple[Bypass, ...] = ()

    @classmethod
    def from_environment(cls) -> Self:
        """Read them now. Raises `ConfigurationError` that names the variable of what is no proxy."""
        found = getproxies()
        exempt = [entry.strip().lower() for entry in found.get("no", "").split(",")]
        if "*" in exempt:
            return cls()
        named = {scheme: _proxy(scheme, found[scheme]) for scheme in ("http", "https", "all") if found.get(scheme)}
        return cls(named, tuple(bypass for entry in exempt if entry and (bypass := Bypass.parse(entry))))

    @property
    def socks(self) -> Proxy | None:
        """A SOCKS proxy among them."""
        return next((proxy for proxy in self.by_scheme.values() if proxy.socks), None)

    def of(self, url: str) -> Proxy | None:
        """The proxy before `url`; `None` = there is none. Thought about once per scheme, host and port."""
        if not self.by_scheme:
            return None
        origin = "/".join(url.split("/", 3)[:3])
        if origin not in self._known:
            self._known[origin] = self._of_origin(urlsplit(origin))
        return self._known[origin]

    @cached_property
    def _known(self) -> dict[str, Proxy | None]:
        return {}

    def _of_origin(self, url: SplitResult) -> Proxy | None:
        if any(bypass.covers(url) for bypass in self.bypasses):
            return None
        return self.by_scheme.get(url.scheme, self.by_scheme.get("all"))


def _proxy(scheme: str, value: str) -> Proxy:
    proxy = Proxy(value if "://" in value else f"http://{value}", f"{scheme.upper()}_PROXY")
    try:
        parts = urlsplit(proxy.url)
        usable = parts.scheme in _SCHEMES and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigurationError(f"{proxy}: must be the URL of a proxy, http://host:port or https://host:port")
    return replace(proxy, url=parts.geturl())


@dataclass(frozen=True, slots=True)
class Bypass:
    """One entry of `NO_PROXY`. A `host` that starts with a dot means the names below it; `also_below` means both."""

    scheme: str = ""
    host: str = ""
    also_below: bool = False
    port: int | None = None
    network: IPv4Network | IPv6Network | None = None

    @classmethod
    def parse(cls, entry: str) -> Self | None:
        """Read an entry; `None` for one that means nothing: like curl, we pass over it."""
        scheme, mark, rest = entry.rpartition("://")
        scheme = "" if scheme == "all" else scheme
        try:
            return cls(scheme, network=ipaddress.ip_network(rest.strip("[]"), strict=False))
        except ValueError:
            pass
        try:
            parts = urlsplit(f"//{rest.removeprefix('*')}")
            return cls(scheme, *_named(parts, exactly=bool(mark)), port=parts.port)
        except ValueError:
            return None

    def covers(self, url: SplitResult) -> bool:
        """Whether requests to `url` go without a proxy."""
        if self.scheme not in {"", url.scheme} or self.port not in {None, url.port or _PORTS.get(url.scheme)}:
            return False
        host = url.hostname or ""
        if self.network is not None:
            return _is_in(host, self.network)
        if self.host.startswith("."):
            return host.endswith(self.host)
        return not self.host or host == self.host or (self.also_below and host.endswith(f".{self.host}"))


def _named(parts: SplitResult, *, exactly: bool) -> tuple[str, bool]:
    host = parts.hostname or ""
    return host, not exactly and host != "localhost"


def _is_in(host: str, network: IPv4Network | IPv6Network) -> bool:
    try:
        return ipaddress.ip_address(host) in network
    except ValueError:
        return False
