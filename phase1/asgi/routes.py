"""Which page of ours is asked for, and may the caller have it? Served before the app's routing, not in its OpenAPI."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response

from phase1.asgi.access import Verdict, is_cross_origin, is_cross_site, judge_access
from phase1.asgi.answers import Answers, Asked
from phase1.asgi.control import Control
from phase1.observe.monitor import Monitor

if TYPE_CHECKING:
    from starlette.types import Receive, Scope

    from phase1.doors.manager import LLMManager
    from phase1.settings import Settings

__all__ = ["Pages"]

_PRIVATE = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-robots-tag": "noindex",
}
_CHALLENGE = 'Bearer realm="phase1", Basic realm="phase1"'
"""The second one is for browsers: they ask their user, who gives the token as the password."""


@dataclass(frozen=True, slots=True)
class _Page:
    """`locally`: whether a truly local caller may come without a token."""

    method: str
    access: Callable[[Settings], str]
    tokens: tuple[str, ...]
    answer: str
    locally: bool = True


_ADMIN = ("llm_admin_token",)
_DEBUG = _Page("GET", lambda s: s.llm_debug_access, _ADMIN, "debug")
_REQUEST = _Page("GET", lambda s: s.llm_debug_access, _ADMIN, "request")
_METRICS = _Page("GET", lambda s: s.llm_metrics_access, (*_ADMIN, "llm_metrics_token"), "metrics")
_PAGES = {
    "/debug/llm-system": _DEBUG,
    "/debug/llm-system/requests": _Page("GET", lambda s: s.llm_debug_access, _ADMIN, "requests"),
    "/metrics/llm-system": _METRICS,
    "/metrics/llm": _METRICS,
    "/admin/llm-system/log-status": _Page("POST", lambda s: s.llm_admin_access, _ADMIN, "log_status"),
    "/admin/llm-system/control": _Page("POST", lambda s: s.llm_admin_access, _ADMIN, "control", locally=False),
}
_BELOW = "/debug/llm-system/requests/"


class Pages:
    """The pages of one manager, and who watches it for them."""

    __slots__ = ("_answers", "_manager", "control", "monitor")

    def __init__(self, manager: LLMManager, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._manager = manager
        self.monitor = Monitor(manager)
        self.control = Control(manager, self.monitor)
        self._answers = Answers(manager, self.monitor, self.control, clock=clock)

    def known(self, scope: Scope) -> bool:
        """Whether a request may be for one of them: most are not, and each pays for the question."""
        if scope["type"] != "http":
            return False
        path = _path(scope)
        return path in _PAGES or path.startswith(_BELOW)

    async def respond(self, scope: Scope, receive: Receive | None = None) -> Response | None:
        """The answer to a request for one of our pages; `None` = it is the app's."""
        path = _path(scope)
        page = _PAGES.get(path) or (_REQUEST if path.startswith(_BELOW) else None)
        if page is None:
            return None
        headers = Headers(scope=scope)
        settings = self._manager.settings
        tokens = tuple(_secret(settings, name) for name in page.tokens)
        match judge_access(
            access=page.access(settings),
            tokens=tuple(token for token in tokens if token),
            scope=scope,
            headers=headers,
            locally=page.locally,
        ):
            case Verdict.HIDDEN:
                return None
            case Verdict.UNAUTHORIZED:
                return _refusal(401, "a token is needed", {"www-authenticate": _CHALLENGE})
            case _:
                return await self._respond(page, Asked(path.removeprefix(_BELOW), scope, headers, receive))

    async def _respond(self, page: _Page, asked: Asked) -> Response:
        allowed = ("GET", "HEAD") if page.method == "GET" else (page.method,)
        if asked.scope["method"] not in allowed:
            return _refusal(405, "method not allowed", {"allow": ", ".join(allowed)})
        if is_cross_origin(asked.headers) or (page.method != "GET" and is_cross_site(asked.headers)):
            return _refusal(403, "a page of another site may not do this", {})
        response: Response = await getattr(self._answers, page.answer)(asked)
        response.headers.update(_PRIVATE)
        return response


def _path(scope: Scope) -> str:
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path.removeprefix(root) if root and path.startswith(root + "/") else path


def _secret(settings: Settings, name: str) -> bytes:
    secret = getattr(settings, name)
    return secret.get_secret_value().encode() if secret is not None else b""


def _refusal(status: int, text: str, headers: Mapping[str, str]) -> Response:
    return PlainTextResponse(text + "\n", status_code=status, headers={**_PRIVATE, **headers})
