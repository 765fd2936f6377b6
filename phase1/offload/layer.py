"""How does offload get into an app that has phase1? As a layer inside the middleware, before its routes.

It opens with the app's lifespan and closes before the pool does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import Match, Mount

from phase1.offload.hooks import Hooks
from phase1.offload.routes import HOME, KEY, router
from phase1.offload.service import Offload

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from phase1.asgi.middleware import Phase1Middleware

__all__ = ["OffloadLayer", "add_layer"]


def add_layer(middleware: Phase1Middleware, hooks: Hooks | None) -> Offload:
    """Put offload inside `middleware`. Twice is once. Raises `ConfigurationError` and `MissingExtraError`."""
    if isinstance(middleware.app, OffloadLayer):
        return middleware.app.offload
    offload = Offload(middleware.manager, hooks)
    middleware.app = OffloadLayer(middleware.app, offload)
    return offload


class OffloadLayer:
    """An ASGI app around the app."""

    def __init__(self, app: ASGIApp, offload: Offload) -> None:
        self._app = app
        self.offload = offload
        self._mount = Mount(HOME, app=router)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve our routes; everything else is the app's."""
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        elif scope["type"] == "http" and (child := self._ours(scope)) is not None:
            await router({**scope, **child, KEY: self.offload}, receive, send)
        else:
            await self._app(scope, receive, send)

    def _ours(self, scope: Scope) -> Scope | None:
        """What a mount adds to the scope of a request for one of our routes; of the others under its path nothing."""
        match, child = self._mount.matches(scope)
        if match is Match.NONE:
            return None
        inner = {**scope, **child}
        return child if any(route.matches(inner)[0] is not Match.NONE for route in router.routes) else None

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def receive_and_close() -> Message:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await self.offload.aclose()
            return message

        async def send_after_starting(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                self.offload.start()
            await send(message)

        await self._app(scope, receive_and_close, send_after_starting)
