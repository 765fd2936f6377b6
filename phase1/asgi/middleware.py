"""How does a request meet phase1? A pure ASGI middleware: lifespan, request context, our pages; no request state.

Alone (`app.add_middleware(phase1.Phase1Middleware, legacy=...)`) it is a complete integration: it brings the pool up
before the app's own start-up and down after its shutdown. In a mounted app, or with `--lifespan off`, the pool starts
with the first request.

A start that `LLM_STRICT_START=true` forbids is told to the server in the lifespan's own words. Starlette builds its
middleware inside that call, and uvicorn's default `--lifespan auto` takes an exception there for an app without a
lifespan: it would go on and serve errors.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from phase1.asgi.children import give_portals_to_children
from phase1.asgi.context import SCOPE_KEY, RequestContext
from phase1.asgi.departure import Departure
from phase1.asgi.extras import extras_of
from phase1.asgi.keys import KeySource, key_source
from phase1.asgi.routes import Pages
from phase1.asgi.testers import testers_of
from phase1.doors.manager import LLMManager
from phase1.doors.portal import in_portal
from phase1.doors.slices import slices_here
from phase1.doors.stages import tell_stages
from phase1.doors.unit import current_unit
from phase1.exceptions import ConfigurationError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from phase1.rollout.agent import Agent
    from phase1.settings import Settings

__all__ = ["Phase1Middleware", "installed_middleware"]

_FIRST_WORD = 1.5
"""Seconds that the start of an app waits for the store."""
_LAST_WORDS = frozenset({"lifespan.startup.failed", "lifespan.shutdown.complete", "lifespan.shutdown.failed"})


class Phase1Middleware:
    """Put phase1 into an ASGI app.

    `legacy`: the app's own LLM client, or a callable that returns it. `settings`: default = the environment.
    `user_key(request)`: whose request it is, instead of `LLM_CANARY_KEY`. `manager`: one that exists already.
    `refusal` is why the app must not start (only with `LLM_STRICT_START=true`); then there is no `manager`.
    """

    manager: LLMManager

    def __init__(
        self,
        app: ASGIApp,
        legacy: object | Callable[[], object] | None = None,
        settings: Settings | None = None,
        user_key: KeySource | None = None,
        *,
        manager: LLMManager | None = None,
    ) -> None:
        self.app = app
        self.refusal: ConfigurationError | None = None
        try:
            self.manager = manager or LLMManager(settings, legacy)
            self._key_source = user_key or self._configured_key()
            self._pages = Pages(self.manager)
            self._agent = _agent_of(self.manager, self._pages)
        except ConfigurationError as exc:
            self.refusal = exc
        else:
            self._extras = extras_of(self.manager.settings)
            self._testers = testers_of(self.manager.settings, self.manager.tester_headers)
            self._watches = self.manager.settings.llm_cancel_on_disconnect

    def _configured_key(self) -> KeySource:
        try:
            return key_source(self.manager.settings.llm_canary_key)
        except ConfigurationError as exc:
            self.manager.give_up(exc)
            return key_source("auto")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, or the lifespan."""
        if self.refusal is not None:
            await _refuse(self.refusal, scope, receive, send)
        elif self._is_nested(scope):
            await self.app(scope, receive, send)
        elif scope["type"] == "lifespan":
            scope[SCOPE_KEY] = self
            await self._live(scope, receive, send)
        elif scope["type"] in {"http", "websocket"}:
            await self._serve(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _is_nested(self, scope: Scope) -> bool:
        """Twice in one app is once, and `install` is the one; a mounted app with its own phase1 keeps its own."""
        if installed_middleware(scope.get("app")) not in {None, self}:
            return True
        outer = scope.get(SCOPE_KEY)
        if isinstance(outer, RequestContext):
            return outer.app is scope.get("app") or outer.app is None
        return outer is not None

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._pages.monitor.watch()
        if self._agent is not None:
            self._agent.watch()
        if self._pages.known(scope) and (response := await self._pages.respond(scope, receive)) is not None:
            await response(scope, receive, send)
            return
        context = scope[SCOPE_KEY] = RequestContext(self.manager, scope, self._key_source)
        if self._testers is not None:
            context.unit.wanted = self._testers.route_of(scope)
        if self._extras is not None and scope["type"] == "http":
            send = self._extras.around(send, context.unit)
        if self._watches and scope["type"] == "http" and self.manager.switches.enabled:
            await self._watched(scope, context, receive, send)
        else:
            await self._run(scope, context, receive, send)

    async def _watched(self, scope: Scope, context: RequestContext, receive: Receive, send: Send) -> None:
        """The same for a client that may leave."""
        departure = context.unit.departure = Departure(scope, receive, send, self.manager.events)
        try:
            await self._run(scope, context, departure.receive, departure.send)
        except BaseException as exc:
            if not departure.excuses(exc):
                raise
        finally:
            departure.close()
        await departure.answer()

    async def _run(self, scope: Scope, context: RequestContext, receive: Receive, send: Send) -> None:
        token = current_unit.set(context.unit)
        try:
            if self.manager.switches.enabled:
                context.unit.slices = slices_here()
                await context.unit.slices.next()
            if context.unit.unblocks:
                give_portals_to_children(asyncio.get_running_loop())
                await in_portal(self.app(scope, receive, send))
            else:
                await self.app(scope, receive, send)
        finally:
            current_unit.reset(token)
            if scope["type"] == "http":
                tell_stages(context.unit)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_after_closing(message: Message) -> None:
            if message["type"] in _LAST_WORDS:
                self._pages.monitor.close()
                self.stop_following()
                await self.manager.aclose()
            await send(message)

        try:
            await self.manager.start()
        except ConfigurationError as exc:
            await _refuse(exc, scope, receive, send)
        self._pages.monitor.watch()
        await self.follow()
        await self.app(scope, receive, send_after_closing)

    async def follow(self) -> None:
        """Follow the state that workers share, if they do; its first word is waited for, a moment."""
        if self._agent is not None:
            self._agent.watch()
            await self._agent.ready(_FIRST_WORD)

    def stop_following(self) -> None:
        """The worker is about to end."""
        if self._agent is not None:
            self._agent.close()


def _agent_of(manager: LLMManager, pages: Pages) -> Agent | None:
    settings, switches = manager.settings, manager.switches
    wanted = settings.llm_state_url != "memory:" or settings.llm_auto_rollout
    if not wanted or not switches.enabled or switches.emergency:
        return None
    from phase1.rollout.layer import attach  # noqa: PLC0415 - only who wants it loads it

    return attach(manager, pages.control)


def installed_middleware(app: object) -> Phase1Middleware | None:
    """What `install` has put around `app`'s router."""
    outermost = getattr(getattr(app, "router", None), "middleware_stack", None)
    return outermost if isinstance(outermost, Phase1Middleware) else None


async def _refuse(refusal: ConfigurationError, scope: Scope, receive: Receive, send: Send) -> NoReturn:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.failed", "message": str(refusal)})
    raise refusal.with_traceback(None)
