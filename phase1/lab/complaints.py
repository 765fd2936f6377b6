"""Does an app answer the sample request? If not, one line that says what is wrong with which of the two."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import httpx

from phase1.lab.target import Ask

__all__ = ["ask_once"]

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


async def ask_once(
    url: str, ask: Ask, *, timeout: float, local: bool = True, last_words: Callable[[], str] = str
) -> str | None:
    """Ask `url` as user 1: what is wrong, and what to do about it; `None` for a success.

    `last_words`: `: ` and what the app has just said to its log. Raises `httpx.TransportError` when there is no answer.
    """
    async with httpx.AsyncClient(timeout=timeout, trust_env=not local) as client:
        response = await client.request(ask.method, url, content=ask.body_of(1), headers=ask.headers_of(1))
        return await _complaint(client, response, ask, last_words)


async def _complaint(
    client: httpx.AsyncClient, response: httpx.Response, ask: Ask, last_words: Callable[[], str]
) -> str | None:
    if response.is_success:
        return None
    said = f"{ask.method} {ask.route} answers {response.status_code}"
    if response.status_code in _NO_ROUTE:
        return await _about_route(client, said, response, ask)
    if response.is_redirect:
        return f"{said}: it redirects to {response.headers.get('location', '?')}; give that by --route"
    if response.status_code in _ADVICE:
        return f"{said} to the sample request{_reason(response)}: {_ADVICE[response.status_code]}"
    return f"{said} to the sample request{_reason(response)}{last_words() if response.is_server_error else ''}"


async def _about_route(client: httpx.AsyncClient, said: str, response: httpx.Response, ask: Ask) -> str:
    routes = await _routes(client, response.request.url)
    if any(_is(route, ask) for route in routes):
        return f"{said} to the sample request{_reason(response)}"
    others = [route for route in routes if route.startswith(ask.method)] or routes
    shown = ", ".join(others[:_ROUTES]) + (", …" if len(others) > _ROUTES else "")
    there = f"; it has {shown}" if shown else ""
    return f"{said}: the app has no such route (--route, --method){there}"


async def _routes(client: httpx.AsyncClient, url: httpx.URL) -> list[str]:
    """What the app itself says about its routes, if it does (FastAPI's /openapi.json)."""
    try:
        found = (await client.get(url.join("/openapi.json"))).json()
    except (httpx.HTTPError, ValueError):
        return []
    return list(_operations(found))


def _is(route: str, ask: Ask) -> bool:
    """Whether it is this one; `{theme_id}` in it stands for anything."""
    pattern = re.sub(r"\\\{.*?\\\}", "[^/]+", re.escape(route))
    return re.fullmatch(pattern, f"{ask.method} {ask.route.partition('?')[0]}") is not None


def _operations(document: Any) -> Iterator[str]:  # noqa: ANN401 - somebody's JSON
    paths = document.get("paths") if isinstance(document, dict) else None
    for path, operations in paths.items() if isinstance(paths, dict) else ():
        for method in operations if isinstance(operations, dict) else ():
            yield f"{str(method).upper()} {path}"


def _reason(response: httpx.Response) -> str:
    text = " ".join(response.text.split())
    return f" ({text[:_SHOWN]}{'…' if len(text) > _SHOWN else ''})" if text else ""
