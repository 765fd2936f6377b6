"""How does phase1 share an app's lifespan? Pool up → the app's own start → serve → the app's own end → pool down."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette

from phase1.asgi.install import install, installed
from phase1.asgi.middleware import installed_middleware

if TYPE_CHECKING:
    from phase1.asgi.keys import KeySource
    from phase1.settings import Settings

__all__ = ["lifespan"]

State = Mapping[str, Any] | None
AppLifespan = Callable[[Any], AbstractAsyncContextManager[Any]]


def lifespan(
    inner: AppLifespan | None = None,
    legacy: object | Callable[[], object] | None = None,
    settings: Settings | None = None,
    user_key: KeySource | None = None,
) -> AppLifespan:
    """`FastAPI(lifespan=phase1.lifespan(my_lifespan, legacy=lambda: llm_client))`.

    `inner` is the app's own lifespan; its state is yielded unchanged. The other arguments are those of `install`, which
    happens at start-up; calling it before as well changes nothing.
    """

    @contextlib.asynccontextmanager
    async def composed(app: Starlette) -> AsyncIterator[State]:
        already = installed(app)
        manager = already or install(app, legacy, settings, user_key)
        await manager.start()
        middleware = None if already else installed_middleware(app)
        if middleware is not None:
            await middleware.follow()
        try:
            if inner is None:
                yield None
            else:
                async with inner(app) as state:
                    yield state
        finally:
            if middleware is not None:
                middleware.stop_following()
                await manager.aclose()

    return composed
