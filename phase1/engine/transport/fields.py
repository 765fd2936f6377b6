"""Which fields of an answer does a transport pass on, and as what text? And which one stands in a request's URL?"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from urllib.parse import unquote, urlsplit

from phase1.engine.transport.base import WireRequest

__all__ = ["passed_on", "signed"]

_OF_THE_CONNECTION = frozenset({"connection", "content-length", "keep-alive", "proxy-connection", "transfer-encoding"})
"""They would be a lie further on."""


def passed_on(raw: Sequence[tuple[bytes, bytes]], undone: frozenset[bytes]) -> list[tuple[str, str]]:
    """The fields in wire order, names in lower case. Values are read as httpx does: UTF-8, or all Latin-1.

    `undone` are the codings that the transport decodes. A `content-encoding` of another kind stays, and the body is
    as it came: whoever asked for it can decode it.
    """
    try:
        return _decoded(raw, undone, "utf-8")
    except UnicodeDecodeError:
        return _decoded(raw, undone, "latin-1")


def _decoded(raw: Sequence[tuple[bytes, bytes]], undone: frozenset[bytes], encoding: str) -> list[tuple[str, str]]:
    return [
        (lower, value.strip().decode(encoding))  # older aiohttp leaves spaces at the end
        for name, value in raw
        if (lower := _lower(name)) not in _OF_THE_CONNECTION
        and not (lower == "content-encoding" and value.lower() in undone)
    ]


@lru_cache(maxsize=1024)
def _lower(name: bytes) -> str:
    return name.decode("latin-1").lower()


def signed(request: WireRequest) -> WireRequest:
    """`request` with the user and password of its URL as its `authorization`, in place of any other: httpx's way."""
    parts = urlsplit(request.url)
    userinfo, mark, host = parts.netloc.rpartition("@")
    if not mark:
        return request
    user, _, password = userinfo.partition(":")
    basic = b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()
    kept = [(name, value) for name, value in request.headers if name != "authorization"]
    url = parts._replace(netloc=host).geturl()
    return replace(request, url=url, headers=[*kept, ("authorization", f"Basic {basic}")])
