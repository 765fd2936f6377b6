"""What does a browser get? The client as a module with its types, and a chat page for those who may see debug pages."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from phase1.asgi.access import Verdict, judge_access
from phase1.settings import Settings

__all__ = ["page_routes"]

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'"
)
_SCRIPT: Final = "text/javascript"


def page_routes(settings_of: Callable[[Request], Settings]) -> list[Route]:
    """The static routes; `settings_of` tells those of the app."""

    async def page(request: Request) -> Response:
        settings = settings_of(request)
        token = settings.llm_admin_token
        tokens = (token.get_secret_value().encode(),) if token else ()
        verdict = judge_access(
            access=settings.llm_debug_access, tokens=tokens, scope=request.scope, headers=request.headers
        )
        if verdict is Verdict.ALLOWED:
            return _file("chat.html", "text/html", {"content-security-policy": _POLICY, "cache-control": "no-store"})
        if verdict is Verdict.HIDDEN:
            return Response(status_code=404)
        return Response(status_code=401, headers={"www-authenticate": 'Basic realm="phase1"'})

    return [
        Route("/chat", page, methods=["GET"]),
        _static("chat.js", _SCRIPT),
        _static("chat.css", "text/css"),
        _static("async-chat-client.js", _SCRIPT),
        _static("async-chat-client.d.ts", "text/plain"),
    ]


def _static(name: str, media_type: str) -> Route:
    async def endpoint(request: Request) -> Response:  # noqa: ARG001 - Starlette's signature
        return _file(name, media_type, {"cache-control": "no-cache"})

    return Route(f"/{name}", endpoint, methods=["GET"])


def _file(name: str, media_type: str, headers: dict[str, str]) -> Response:
    body = (files("phase1.offload") / "client" / name).read_bytes()
    return Response(body, media_type=media_type, headers={"x-content-type-options": "nosniff", **headers})
