"""Who may see a page of ours?

A truly local caller, or one with the right token. Truly local is more than a loopback address: uvicorn trusts loopback
proxies, so a forwarding header, a public Host, or a unix socket means that somebody else stands behind the connection.
To everybody else the pages do not exist, or, when a token is set, ask for it.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from starlette.types import Scope

__all__ = ["Access", "Verdict", "is_cross_origin", "is_cross_site", "is_truly_local", "judge_access"]

_FORWARDING = frozenset({"forwarded", "x-real-ip", "via", "cf-connecting-ip"})
_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


class Access(StrEnum):
    """The setting `LLM_DEBUG_ACCESS`, `LLM_METRICS_ACCESS` or `LLM_ADMIN_ACCESS`."""

    AUTO = "auto"
    OFF = "off"


class Verdict(StrEnum):
    """What the caller gets."""

    ALLOWED = "allowed"
    HIDDEN = "hidden"
    UNAUTHORIZED = "unauthorized"


def judge_access(
    *, access: str, tokens: tuple[bytes, ...], scope: Scope, headers: Mapping[str, str], locally: bool = True
) -> Verdict:
    """Decide: off, local, token. `headers` have lower-case names; `locally`: a truly local caller needs no token."""
    if access == Access.OFF:
        return Verdict.HIDDEN
    if (locally and is_truly_local(scope, headers)) or _has_token(headers.get("authorization", ""), tokens):
        return Verdict.ALLOWED
    return Verdict.UNAUTHORIZED if tokens else Verdict.HIDDEN


def is_truly_local(scope: Scope, headers: Mapping[str, str]) -> bool:
    """Loopback address, a TCP connection, no sign of a proxy, a local Host."""
    client = scope.get("client")
    if not client or not client[1] or not _is_loopback(client[0]):
        return False  # a unix socket has no client, or one without a port
    if scope.get("http_version") == "1.0":
        return False  # nginx, left at its defaults: HTTP/1.0, our own name as Host, and no forwarding header
    if any(name in _FORWARDING or name.startswith("x-forwarded-") for name in headers):
        return False
    return _is_local_host(headers.get("host", ""))


def _is_loopback(address: str) -> bool:
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(ip, "ipv4_mapped", None)
    return (mapped or ip).is_loopback


def _is_local_host(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return name in _LOCAL_HOSTS or name.endswith(".localhost")


def _has_token(authorization: str, tokens: tuple[bytes, ...]) -> bool:
    given = _given_token(authorization)
    return given is not None and any(hmac.compare_digest(given, token) for token in tokens)


def _given_token(authorization: str) -> bytes | None:
    scheme, _, value = authorization.partition(" ")
    match scheme.lower():
        case "bearer":
            return value.strip().encode()
        case "basic":
            return _password(value.strip())
        case _:
            return None


def _password(encoded: str) -> bytes | None:
    try:
        return base64.b64decode(encoded, validate=True).partition(b":")[2]
    except (binascii.Error, ValueError):
        return None


def is_cross_site(headers: Mapping[str, str]) -> bool:
    """Whether a browser sends this on behalf of another site."""
    return headers.get("sec-fetch-site", "none") not in {"none", "same-origin"} or is_cross_origin(headers)


def is_cross_origin(headers: Mapping[str, str]) -> bool:
    """Whether a script of another origin wants to read the answer: the app's own CORS headers might let it."""
    origin = headers.get("origin")
    return origin is not None and _authority(origin) != headers.get("host", "")


def _authority(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc or None
    except ValueError:
        return None
