"""What do our own pages answer? Served before the app's routing, absent from its OpenAPI."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, QueryParams
from starlette.responses import JSONResponse, PlainTextResponse, Response

from phase1.asgi.access import Verdict, is_cross_origin, is_cross_site, judge_access
from phase1.observe.exposition import AVAILABLE, render

if TYPE_CHECKING:
    from starlette.types import Scope

    from phase1.doors.manager import LLMManager
    from phase1.settings import Settings

__all__ = ["Pages"]

_PRIVATE = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-robots-tag": "noindex",
}
_LOG_INTERVAL = 1.0


@dataclass(frozen=True, slots=True)
class _Page:
    method: str
    access: Callable[[Settings], str]
    tokens: tuple[str, ...]
    answer: str


_METRICS = _Page("GET", lambda s: s.llm_metrics_access, ("llm_admin_token", "llm_metrics_token"), "_metrics")
_PAGES = {
    "/debug/llm-system": _Page("GET", lambda s: s.llm_debug_access, ("llm_admin_token",), "_debug"),
    "/metrics/llm-system": _METRICS,
    "/metrics/llm": _METRICS,
    "/admin/llm-system/log-status": _Page("POST", lambda s: s.llm_admin_access, ("llm_admin_token",), "_log_status"),
}


class Pages:
    """The pages of one manager."""

    __slots__ = ("_clock", "_logged_at", "_manager")

    def __init__(self, manager: LLMManager, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._manager = manager
        self._clock = clock
        self._logged_at = float("-inf")

    def known(self, scope: Scope) -> bool:
        """Whether a request may be for one of them: most are not, and each pays for the question."""
        return scope["type"] == "http" and _path(scope) in _PAGES

    async def respond(self, scope: Scope) -> Response | None:
        """The answer to a request for one of our pages; `None` = it is the app's."""
        page = _PAGES.get(_path(scope))
        if page is None:
            return None
        headers = Headers(scope=scope)
        settings = self._manager.settings
        tokens = tuple(_secret(settings, name) for name in page.tokens)
        match judge_access(
            access=page.access(settings), tokens=tuple(t for t in tokens if t), scope=scope, headers=headers
        ):
            case Verdict.HIDDEN:
                return None
            case Verdict.UNAUTHORIZED:
                return _answer(401, "a token is needed", {"www-authenticate": 'Bearer realm="phase1"'})
            case _:
                return await self._respond(page, scope, headers)

    async def _respond(self, page: _Page, scope: Scope, headers: Headers) -> Response:
        allowed = ("GET", "HEAD") if page.method == "GET" else (page.method,)
        if scope["method"] not in allowed:
            return _answer(405, "method not allowed", {"allow": ", ".join(allowed)})
        if is_cross_origin(headers) or (page.method != "GET" and is_cross_site(headers)):
            return _answer(403, "a page of another site may not do this", {})
        response: Response = await getattr(self, page.answer)(scope, headers)
        response.headers.update(_PRIVATE)
        return response

    async def _debug(self, _scope: Scope, _headers: Headers) -> Response:
        return JSONResponse(self._manager.status(), headers={"vary": "accept"})

    async def _metrics(self, scope: Scope, headers: Headers) -> Response:
        wanted = _wanted_format(QueryParams(scope["query_string"]).get("format"), headers.get("accept", "*/*"))
        if wanted == "json" or not AVAILABLE:
            return JSONResponse(self._manager.get_metrics(), headers={"vary": "accept"})
        body, content_type = await run_in_threadpool(render, self._manager, headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type, "vary": "accept"})

    async def _log_status(self, _scope: Scope, _headers: Headers) -> Response:
        now = self._clock()
        if now - self._logged_at < _LOG_INTERVAL:
            return _answer(429, "the status was logged a moment ago", {"retry-after": "1"})
        self._logged_at = now
        self._manager.log_status()
        return JSONResponse({"logged": True})


def _path(scope: Scope) -> str:
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path.removeprefix(root) if root and path.startswith(root + "/") else path


def _secret(settings: Settings, name: str) -> bytes:
    secret = getattr(settings, name)
    return secret.get_secret_value().encode() if secret is not None else b""


def _wanted_format(query: str | None, accept: str) -> str:
    if query is not None:
        return query
    return "json" if accept.partition(",")[0].strip().startswith("application/json") else "prometheus"


def _answer(status: int, text: str, headers: Mapping[str, str]) -> Response:
    return PlainTextResponse(text + "\n", status_code=status, headers={**_PRIVATE, **headers})
