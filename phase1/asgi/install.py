"""How does phase1 get into an existing app with one line?

Around the app's router, inside all of its middleware: there a `BaseHTTPMiddleware`, which runs the rest of the app in
another task, cannot take the request's context away, and it works whether the app has a `lifespan=`, `on_event`
handlers or neither.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.applications import Starlette

from phase1.asgi.middleware import Phase1Middleware, installed_middleware

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from phase1.asgi.keys import KeySource
    from phase1.doors.manager import LLMManager
    from phase1.offload.hooks import Hooks
    from phase1.settings import Settings

__all__ = ["install", "installed"]


def install(
    app: ASGIApp,
    legacy: object | Callable[[], object] | None = None,
    settings: Settings | None = None,
    user_key: KeySource | None = None,
    *,
    offload: bool | Hooks = False,
) -> LLMManager:
    """Put phase1 into `app` (Starlette or FastAPI) and return its manager. A second call changes nothing.

    `legacy`: the app's own LLM client, or a callable that returns it (`legacy=lambda: llm_client`); `settings`:
    default = the environment; `user_key(request)`: whose request it is, instead of `LLM_CANARY_KEY`. `offload`: also
    serve chats that outlive their request, under `/api/async`; `phase1.offload.Hooks` tell what only the app knows.

    Raises `TypeError` for another kind of app (wrap it in `Phase1Middleware`), and `ConfigurationError` only with
    `LLM_STRICT_START=true`, or when offload is asked for in a way that cannot be honoured. For offload over Redis
    `MissingExtraError` says what to install.
    """
    if not isinstance(app, Starlette):
        kind = type(app).__name__
        raise TypeError(f"phase1.install needs a Starlette or FastAPI app, not {kind}: use phase1.Phase1Middleware")
    existing = installed(app)
    if existing is not None:
        _offload(app.router.middleware_stack, offload)
        return existing
    middleware = Phase1Middleware(app.router.middleware_stack, legacy, settings, user_key)
    if middleware.refusal is not None:
        raise middleware.refusal
    _offload(middleware, offload)
    app.router.middleware_stack = middleware
    return middleware.manager


def _offload(middleware: ASGIApp, wanted: bool | Hooks) -> None:  # noqa: FBT001 - what `install` was given
    if wanted is False or not isinstance(middleware, Phase1Middleware):
        return
    from phase1.offload.layer import add_layer  # noqa: PLC0415 - only who asks for it loads it

    add_layer(middleware, None if wanted is True else wanted)


def installed(app: Starlette) -> LLMManager | None:
    """The manager that `install` has put into `app`."""
    middleware = installed_middleware(app)
    return None if middleware is None else middleware.manager
