"""What does an app's answer to the sample request say about the request? One line, or nothing: then it is fine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import httpx

from phase1.lab.processes import Server
from phase1.lab.target import Ask

__all__ = ["complaint_about"]

_SHOWN: Final = 200
_ROUTES: Final = 8
_NO_ROUTE: Final = frozenset({404, 405})
_ADVICE: Final = {
    400: "give a body that it takes by --body",
    401: 'it needs auth; give what it asks for by --header "Authorization: Bearer …"',
    403: 'it needs auth; give what it asks for by --header "Authorization: Bearer …"',
    422: "give a body that it takes by --body",
    429: "it limits its callers; switch that off for the run by --env NAME=VALUE",
}


async def complaint_about(response: httpx.Response, ask: Ask, server: Server) -> str | None:
    """What is wrong, and what to do about it; `None` for a success."""
    if response.is_success:
        return None
    said = f"{ask.method} {ask.route} answers {response.status_code}"
    if response.status_code in _NO_ROUTE:
        return await _about_route(said, response, ask, server)
    if response.is_redirect:
        return f"{said}: it redirects to {response.headers.get('location', '?')}; give that by --route"
    if response.status_code in _ADVICE:
        return f"{said} to the sample request{_reason(response)}: {_ADVICE[response.status_code]}"
    return f"{said} to the sample request{_reason(response)}{server.last_words() if response.is_server_error else ''}"


async def _about_route(said: str, response: httpx.Response, ask: Ask, server: Server) -> str:
    routes = await _routes(server)
    if any(route == f"{ask.method} {ask.route}" for route in routes):
        return f"{said} to the sample request{_reason(response)}"
    others = [route for route in routes if route.startswith(ask.method)] or routes
    shown = ", ".join(others[:_ROUTES]) + (", …" if len(others) > _ROUTES else "")
    there = f"; it has {shown}" if shown else ""
    return f"{said}: the app has no such route (--route, --method){there}"


async def _routes(server: Server) -> list[str]:
    """What the app itself says about its routes, if it does (FastAPI's /openapi.json)."""
    try:
        async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
            found = (await client.get("/openapi.json")).json()
    except (httpx.HTTPError, ValueError):
        return []
    return list(_operations(found))


def _operations(document: Any) -> Iterator[str]:  # noqa: ANN401 - somebody's JSON
    paths = document.get("paths") if isinstance(document, dict) else None
    for path, operations in paths.items() if isinstance(paths, dict) else ():
        for method in operations if isinstance(operations, dict) else ():
            yield f"{str(method).upper()} {path}"


def _reason(response: httpx.Response) -> str:
    text = " ".join(response.text.split())
    return f" ({text[:_SHOWN]}{'…' if len(text) > _SHOWN else ''})" if text else ""
