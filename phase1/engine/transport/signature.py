"""Which header field stands in a request's URL?"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace
from urllib.parse import unquote, urlsplit

from phase1.engine.transport.base import WireRequest

__all__ = ["signed"]


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
