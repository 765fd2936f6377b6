"""What does a browser get? One file with its style and its script inside: nothing is fetched but our own JSON."""

from __future__ import annotations

from functools import cache
from pathlib import Path

__all__ = ["page"]

_HERE = Path(__file__).parent


def page(nonce: str) -> str:
    """The page, for a Content-Security-Policy with this nonce."""
    return _template().replace("%nonce%", nonce)


@cache
def _template() -> str:
    text = (_HERE / "page.html").read_text(encoding="utf-8")
    for name in ("page.css", "page.js"):
        text = text.replace(f"%{name}%", (_HERE / name).read_text(encoding="utf-8"))
    return text
