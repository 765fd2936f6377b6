"""What is known about one app request? Its manager, its loop, and whose request it is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from starlette.requests import HTTPConnection

from phase1.doors.facade import LLMClient
from phase1.doors.unit import Unit
from phase1.exceptions import Phase1Error

if TYPE_CHECKING:
    from starlette.types import Scope

    from phase1.asgi.keys import KeySource
    from phase1.doors.manager import LLMManager

__all__ = ["SCOPE_KEY", "RequestContext", "context_of"]

SCOPE_KEY = "phase1"


class RequestContext:
    """Opened by the middleware for each request; chooses nothing by itself."""

    __slots__ = ("_client", "app", "unit")

    def __init__(self, manager: LLMManager, scope: Scope, key_source: KeySource) -> None:
        self.app = scope.get("app")
        self.unit = Unit(manager, key_of=lambda: key_source(HTTPConnection(scope)), loop=asyncio.get_running_loop())
        self._client: LLMClient | None = None

    @property
    def client(self) -> LLMClient:
        """The client of this request, keyed as `LLM_CANARY_KEY` or `user_key` say: one, so that there is one route."""
        if self._client is None:
            self._client = LLMClient(self.unit)
        return self._client

    def client_for(self, key: str | None) -> LLMClient:
        """The same, but `key` is whose request it is, if no call has been made yet."""
        self.unit.name(key)
        return self.client


def context_of(request: HTTPConnection) -> RequestContext:
    """The context of `request`. Raises `Phase1Error` when phase1 is not in the app."""
    context = request.scope.get(SCOPE_KEY)
    if context is None:
        raise Phase1Error("phase1 is not in this app: call phase1.install(app), or add phase1.Phase1Middleware")
    return cast("RequestContext", context)
