"""What does `GET /api/debug/agent-cache` answer, and to whom? The numbers of one cached agent in this process.

Who may see it is decided as for `/debug/llm-system`: a truly local caller, or the admin token (`LLM_DEBUG_ACCESS`). To
all others it is the app's own 404.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from phase1.asgi.access import Verdict, is_cross_origin, judge_access
from phase1.settings import Settings

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.types import Receive, Scope, Send

    from phase1.chat.agent_cache import CacheInfo

__all__ = ["PATH", "add_agent_cache_route"]

PATH = "/api/debug/agent-cache"


class _Cached(Protocol):
    """What `cached_agent` makes."""

    def cache_info(self) -> CacheInfo:
        """The numbers."""

    def peek(self) -> object | None:
        """The agent."""


def add_agent_cache_route(
    app: Starlette,
    agent: _Cached,
    *,
    settings: Settings | None = None,
    path: str = PATH,
) -> None:
    """Serve the numbers of `agent` below `app`, outside of its API description.

    `settings`: default = those of `phase1.install(app)`, else of the environment.
    """
    page = _Page(agent, settings or _settings_of(app))
    app.router.routes.insert(0, Route(path, page, include_in_schema=False))  # before what the app mounts at "/"


def _settings_of(app: Starlette) -> Settings:
    from phase1.asgi.install import installed  # noqa: PLC0415 - imports the SDK

    manager = installed(app)
    return manager.settings if manager is not None else Settings.load()


class _Page:
    """An ASGI app rather than a function: to those who may not see it every method is a 404."""

    def __init__(self, agent: _Cached, settings: Settings) -> None:
        self._agent = agent
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        request = Request(scope)
        self._admit(request)
        response = JSONResponse(self._facts(), headers={"cache-control": "no-store", "x-robots-tag": "noindex"})
        await response(scope, receive, send)

    def _admit(self, request: Request) -> None:
        token = self._settings.llm_admin_token
        tokens = () if token is None else (token.get_secret_value().encode(),)
        access = self._settings.llm_debug_access
        match judge_access(access=access, tokens=tokens, scope=request.scope, headers=request.headers):
            case Verdict.HIDDEN:
                raise HTTPException(404)
            case Verdict.UNAUTHORIZED:
                raise HTTPException(401, "a token is needed", {"www-authenticate": 'Bearer realm="phase1"'})
            case _:
                pass
        if request.method not in {"GET", "HEAD"}:
            raise HTTPException(405, headers={"allow": "GET, HEAD"})
        if is_cross_origin(request.headers):
            raise HTTPException(403, "a page of another site may not do this")

    def _facts(self) -> dict[str, object]:
        info, agent = self._agent.cache_info(), self._agent.peek()
        return {
            "cache_info": str(info),
            "agent_id": None if agent is None else id(agent),
            "message": "statistics of the cached agent, in this process only",
            "hits": info.hits,
            "misses": info.misses,
            "size": info.currsize,
            "age_seconds": None if info.age is None else round(info.age, 3),
            "process": os.getpid(),
        }
