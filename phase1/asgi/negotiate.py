"""Does the caller want a page to look at, or JSON? By the Accept header, as RFC 9110 §12.5.1 weighs it."""

from __future__ import annotations

__all__ = ["prefers_html", "prefers_json"]


def prefers_html(accept: str) -> bool:
    """Whether `text/html` is named, at least as dear as JSON. Browsers do that; curl, fetch and Prometheus do not."""
    weights = _weights(accept)
    html = weights.get("text/html", 0.0)
    json = weights.get("application/json", weights.get("application/*", weights.get("*/*", 0.0)))
    return html > 0 and html >= json


def prefers_json(accept: str) -> bool:
    """Whether JSON is what is named first."""
    return accept.partition(",")[0].strip().startswith("application/json")


def _weights(accept: str) -> dict[str, float]:
    return dict(_weight(part) for part in accept.split(",") if part.strip())


def _weight(part: str) -> tuple[str, float]:
    media, *parameters = (word.strip().lower() for word in part.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            return media, _quality(value.strip())
    return media, 1.0


def _quality(value: str) -> float:
    try:
        return min(1.0, max(0.0, float(value)))
    except ValueError:
        return 0.0
